/*
 * Templates, small files and numbers of the tools: what is written, what is refused, and what a terminal is
 * spared.
 */
#include "ops/files.h"
#include "ops/lens.h"
#include "ops/machine.h"
#include "ops/service.h"
#include "ops/stack.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/lens-unit-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void)
{
    path_remove(folder, NULL);
}

TestSuite(ops_files, .init = make_folder, .fini = remove_folder);

struct fill_case {
    const char *why, *template, *expect; /* expect NULL: refused */
};

static const struct fill_case fills[] = {
    { "a blank is filled", "port=@PORT@\n", "port=1234\n" },
    { "twice, too", "@PORT@@PORT@", "12341234" },
    { "an empty value leaves nothing", "a@NONE@b", "ab" },
    { "mail addresses and shell arrays are no blanks", "me@example.org \"$@\" @port@",
      "me@example.org \"$@\" @port@" },
    { "an at sign at the end is no blank", "x@", "x@" },
    { "what nobody knows is an error, not an empty setting", "a=@UNKNOWN@", NULL },
};

Test(ops_files, fill_in_what_stands_between_at_signs)
{
    static const struct file_blank blanks[] = { { "PORT", "1234" }, { "NONE", "" } };
    for (size_t at = 0; at < sizeof fills / sizeof fills[0]; at++) {
        char from[PATH_SIZE], to[PATH_SIZE], got[256] = "";
        struct ll_err err = { "" };
        cr_assert_eq(file_write(path_of(from, "%s/template", folder), fills[at].template, 0644, NULL, &err),
                     LL_OK, "%s", err.text);
        enum ll_status status =
            file_fill(from, path_of(to, "%s/filled-%zu", folder, at), 0644, blanks, 2, NULL, &err);
        if (fills[at].expect == NULL) {
            cr_expect_eq(status, LL_FATAL, "%s", fills[at].why);
            cr_expect(strstr(err.text, "UNKNOWN") != NULL, "%s: %s", fills[at].why, err.text);
            cr_expect(!path_exists(to), "%s", fills[at].why);
            continue;
        }
        file_read(to, got, sizeof got);
        cr_expect_str_eq(got, fills[at].expect, "%s", fills[at].why);
    }
}

Test(ops_files, what_is_so_already_is_not_written_again)
{
    char path[PATH_SIZE];
    bool changed = false;
    path_of(path, "%s/run", folder);
    cr_assert_eq(file_write(path, "one", 0644, &changed, NULL), LL_OK);
    cr_expect(changed, "a new file is a change");
    changed = false;
    cr_assert_eq(file_write(path, "one", 0644, &changed, NULL), LL_OK);
    cr_expect(!changed, "the same contents are none");
    cr_assert_eq(file_write(path, "one", 0755, &changed, NULL), LL_OK);
    cr_expect(changed, "another mode is one");
    struct stat facts;
    cr_assert_eq(stat(path, &facts), 0);
    cr_expect_eq(facts.st_mode & 07777, 0755);
}

Test(ops_files, removing_does_not_follow_links)
{
    char outside[PATH_SIZE], inside[PATH_SIZE], link[PATH_SIZE];
    struct ll_err err = { "" };
    cr_assert_eq(path_make_dir(path_of(inside, "%s/a/b/c", folder), &err), LL_OK, "%s", err.text);
    cr_assert_eq(path_make_dir(path_of(outside, "%s/outside", folder), &err), LL_OK);
    cr_assert_eq(file_write(path_of(outside, "%s/outside/kept", folder), "mine", 0644, NULL, &err), LL_OK);
    path_of(outside, "%s/outside", folder);
    cr_assert_eq(symlink(outside, path_of(link, "%s/a/b/link", folder)), 0);
    cr_assert_eq(path_remove(path_of(inside, "%s/a", folder), &err), LL_OK, "%s", err.text);
    cr_expect(!path_exists(inside));
    cr_expect(path_exists(path_of(outside, "%s/outside/kept", folder)), "what the link named is still there");
    cr_expect_eq(path_remove(inside, &err), LL_OK, "nothing there is no error");
}

Test(ops_files, a_file_in_the_way_of_a_directory_is_named)
{
    char path[PATH_SIZE];
    struct ll_err err = { "" };
    cr_assert_eq(file_write(path_of(path, "%s/taken", folder), "", 0644, NULL, &err), LL_OK);
    cr_expect_eq(path_make_dir(path, &err), LL_FATAL);
    cr_expect(strstr(err.text, path) != NULL, "%s", err.text);
}

struct line_case {
    const char *why, *contents, *expect;
};

static const struct line_case lines[] = {
    { "the last line", "one\ntwo\n", "two" },
    { "without a newline at the end", "one\ntwo", "two" },
    { "empty lines at the end do not count", "one\n\n \n", "one" },
    { "an empty file says nothing", "", "" },
    { "a terminal must not obey a log", "a\033[2Jb\n", "a [2Jb" },
};

Test(ops_files, last_line_of_a_log)
{
    for (size_t at = 0; at < sizeof lines / sizeof lines[0]; at++) {
        char path[PATH_SIZE], got[64];
        cr_assert_eq(file_write(path_of(path, "%s/log-%zu", folder, at), lines[at].contents, 0644, NULL,
                                NULL),
                     LL_OK);
        file_last_line(path, got, sizeof got);
        cr_expect_str_eq(got, lines[at].expect, "%s", lines[at].why);
    }
}

static const struct line_case faults[] = {
    { "without one the last line", "one\ntwo\n", "two" },
    { "an empty file says nothing", "", "" },
    { "Postgres says it before it says that it is down",
      "a LOG:  x\na FATAL:  could not write: No space\na LOG:  database system is shut down\n",
      "a FATAL:  could not write: No space" },
    { "and tells those who knock that it is not there",
      "a PANIC:  no room\na FATAL:  the database system is starting up\na FATAL:  password authentication failed\n",
      "a PANIC:  no room" },
    { "Kafka", "1 ERROR Exiting: disk\njava.lang.Error\n\tat x\n", "1 ERROR Exiting: disk" },
    { "ours", "ts=1 level=error process=a event=stopped\nts=1 level=info process=a event=stop\n",
      "ts=1 level=error process=a event=stopped" },
    { "the last of several", "1 ERROR one\n1 ERROR two\nthree\n", "1 ERROR two" },
    { "a terminal must not obey a log", "1 ERROR a\033[2Jb\nx\n", "1 ERROR a [2Jb" },
};

Test(ops_files, last_fault_in_a_log)
{
    for (size_t at = 0; at < sizeof faults / sizeof faults[0]; at++) {
        char path[PATH_SIZE], got[64];
        cr_assert_eq(file_write(path_of(path, "%s/fault-%zu", folder, at), faults[at].contents, 0644, NULL,
                                NULL),
                     LL_OK);
        file_last_fault(path, got, sizeof got);
        cr_expect_str_eq(got, faults[at].expect, "%s", faults[at].why);
    }
}

Test(ops_files, runits_status_is_read)
{
    /* TAI64N of 2026-01-01T00:00:00Z, pid 4321, wanted up, running. */
    static const unsigned char status[20] = { 0x40, 0, 0,    0,    0x69, 0x55, 0xb9, 0x0a, 0, 0,
                                              0,    0, 0xe1, 0x10, 0,    0,    0,    'u',  0, 1 };
    char path[PATH_SIZE];
    struct service_state state;
    cr_assert_eq(path_make_dir(path_of(path, "%s/redis/supervise", folder), NULL), LL_OK);
    FILE *file = fopen(path_of(path, "%s/redis/supervise/status", folder), "we");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(status, 1, sizeof status, file), sizeof status);
    fclose(file);
    path_of(path, "%s/redis", folder);
    service_read(path, &state);
    cr_expect_eq(state.step, SERVICE_ABSENT, "without runsv the file is old news");
    char ok[PATH_SIZE];
    cr_assert_eq(mkfifo(path_of(ok, "%s/supervise/ok", path), 0600), 0);
    FILE *reader = fopen(ok, "r+e"); /* as runsv holds it */
    cr_assert_not_null(reader);
    service_read(path, &state);
    fclose(reader);
    cr_expect_eq(state.step, SERVICE_RUNNING);
    cr_expect_eq(state.pid, 4321);
    cr_expect_eq(state.since_s, INT64_C(1767225600), "%lld", (long long)state.since_s);
    cr_expect(state.wants_up);
}

struct number_case {
    int64_t value;
    const char *expect, *money;
};

static const struct number_case numbers[] = {
    { 0, "0", "0.00 GBP" },
    { 5, "5", "0.05 GBP" },
    { -5, "-5", "-0.05 GBP" },
    { 999, "999", "9.99 GBP" },
    { 1000, "1,000", "10.00 GBP" },
    { -123456, "-123,456", "-1,234.56 GBP" },
    { INT64_MAX, "9,223,372,036,854,775,807", "92,233,720,368,547,758.07 GBP" },
    { INT64_MIN, "-9,223,372,036,854,775,808", "-92,233,720,368,547,758.08 GBP" },
};

Test(ops_files, numbers_for_people)
{
    static struct lens lens;
    config_defaults(&lens.config);
    for (size_t at = 0; at < sizeof numbers / sizeof numbers[0]; at++) {
        cr_expect_str_eq(lens_number(numbers[at].value), numbers[at].expect);
        cr_expect_str_eq(lens_money(&lens, numbers[at].value), numbers[at].money);
    }
}

Test(ops_files, paths_that_would_break_a_configuration_file)
{
    cr_expect(stack_path_is_plain("/home/me/loyalty lens/.lens-2"));
    static const char *const bad[] = { "/a'b",  "/a\"b", "/a,b", "/a$b", "/a@b",
                                       "/a\nb", "/a`b",  "/a*b", "/a\\b" };
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++)
        cr_expect(!stack_path_is_plain(bad[at]), "%s", bad[at]);
}

Test(ops_files, a_port_that_somebody_holds)
{
    int base = machine_find_ports(7, 2);
    cr_assert_gt(base, 0);
    cr_expect(machine_port_is_free(base));
    cr_expect(!machine_port_answers(base));
    char owner[128];
    machine_port_owner(base, owner, sizeof owner);
    cr_expect_str_eq(owner, "another process", "nobody holds it");
}
