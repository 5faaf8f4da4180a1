/* Configuration: what a file may say, and how a mistake is told. */
#include "runtime/config.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static struct config config;
static struct ll_err err;

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/lens-config-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    setenv("LENS_HOME", folder, 1);
    unsetenv("LENS_CONFIG");
    unsetenv("LENS_SHARE");
}

static void tear_down(void)
{
    static const char *const names[] = {"lens.conf", "stack.conf", "other.conf", "secret"};
    for (size_t at = 0; at < sizeof names / sizeof names[0]; at++) {
        char path[96];
        snprintf(path, sizeof path, "%s/%s", folder, names[at]);
        unlink(path);
    }
    rmdir(folder);
}

TestSuite(config, .init = set_up, .fini = tear_down);

static const char *write_file(const char *name, const char *text)
{
    static char path[96];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *to = fopen(path, "w");
    cr_assert_not_null(to);
    fputs(text, to);
    fclose(to);
    cr_assert_eq(chmod(path, 0600), 0);
    return path;
}

static const struct refused {
    const char *text, *words, *why;
} refused[] = {
    {"accrue: { flush_mss = 5; };", ":1: unknown setting accrue.flush_mss; did you mean accrue.flush_ms?",
     "mistyped key"},
    {"\n\nflush_ms = 5;", ":3: unknown setting flush_ms; did you mean accrue.flush_ms?",
     "key without its group"},
    {"acrue: {\n flush_ms = 5; };", ":2: unknown setting acrue.flush_ms; did you mean accrue.flush_ms?",
     "mistyped group"},
    {"validate: { flush_ms = 5; };", "did you mean accrue.flush_ms?", "right key, wrong group"},
    {"zzzzzzzzzzzzzz = 1;", ":1: unknown setting zzzzzzzzzzzzzz; `lens config` lists all", "nothing is near"},
    {"accrue = 5;", ":1: accrue is a group", "a group is not a number"},
    {"accrue: { flush_ms = \"5\"; };", ":1: accrue.flush_ms must be a whole number of ms",
     "text for a number"},
    {"accrue: { flush_ms = 5.5; };", "must be a whole number of ms", "a fraction"},
    {"accrue: {\nflush_ms = 5; };", ":2: accrue.flush_ms is 5; it must be from 10 to 60000 ms", "too small"},
    {"accrue: { flush_ms = 9223372036854775807L; };", "it must be from 10 to 60000 ms",
     "too large for anything"},
    {"accrue: { flush_ms = 4294967396; };", ":1: accrue.flush_ms is 4294967396; it must be from 10 to 60000 ms",
     "100 beyond 32 bits, which libconfig would take for 100"},
    {"redis: { port = 65536; };", ":1: redis.port is 65536; it must be from 1 to 65535", "no such port"},
    {"redis: { port = -1; };", "it must be from 1 to 65535", "negative"},
    {"program: { name = 5; };", ":1: program.name must be a text", "number for a text"},
    {"program: { currency = \"gbp\"; };", "program.currency is \"gbp\"; it must be three capital letters",
     "small letters"},
    {"program: { currency = \"POUND\"; };", "program.currency must have 3 to 3 characters, not 5",
     "too long"},
    {"program:\n{\n time_zone = \"Europe/Lond\";\n};",
     ":3: program.time_zone: time zone \"Europe/Lond\" is not in", "no zone"},
    {"program: { time_zone = \"../../../etc/passwd\"; };", "is not in /usr/share/zoneinfo",
     "a path is no zone"},
    {"program: { name = \"a\\x1bb\"; };", "program.name holds a control character", "would reach a terminal"},
    {"kafka: { compression = \"lzma\"; };", "it must be one of none|gzip|snappy|lz4|zstd", "unknown choice"},
    {"kafka: { compression = \"lz\"; };", "it must be one of", "a prefix of a choice is none"},
    {"kafka: { security_protocol = \"sasl_ssl\"; };", "needs sasl_username and sasl_password_file",
     "half a login"},
    {"kafka: { ssl_key_file = \"/k\"; };", "ssl_certificate_file and kafka.ssl_key_file go together",
     "half a pair"},
    {"validate: { refused_min = 2000; };", "would ever pause", "at odds with refused_window"},
    {"accrue: { flush_ms = 50; flush_ms = 60; };", ":1: duplicate setting name", "said twice"},
    {"accrue: {\n flush_ms = ;\n};", ":2: syntax error", "not libconfig"},
    {"accrue: { flush_ms = [ 50 ]; };", "must be a whole number", "a list"},
    {"accrue: { flush: { ms = 50; }; };", "unknown setting accrue.flush", "too deep"},
};

Test(config, mistakes_are_told_with_file_and_line)
{
    for (size_t at = 0; at < sizeof refused / sizeof refused[0]; at++) {
        const char *path = write_file("lens.conf", refused[at].text);
        err.text[0] = '\0';
        cr_expect_eq(config_load(NULL, &config, &err), LL_FATAL, "%s", refused[at].why);
        cr_expect(strncmp(err.text, path, strlen(path)) == 0, "%s: file first: %s", refused[at].why,
                  err.text);
        cr_expect(strstr(err.text, refused[at].words) != NULL, "%s: %s", refused[at].why, err.text);
    }
}

Test(config, an_empty_file_gives_the_defaults)
{
    struct config defaults;
    config_defaults(&defaults);
    cr_assert_eq(config_load(write_file("other.conf", ""), &config, &err), LL_OK, "%s", err.text);
    cr_assert_eq(config.accrue.flush_ms, 1000);
    cr_assert_eq(config.accrue.hold_ms, INT64_C(604800000));
    cr_assert_str_eq(config.program.currency, "GBP");
    cr_assert_str_eq(config.accrue.unreferenced_return, "reverse");
    memcpy(defaults.home, config.home, sizeof defaults.home);
    memcpy(defaults.file, config.file, sizeof defaults.file);
    memcpy(defaults.share, config.share, sizeof defaults.share);
    cr_assert_eq(memcmp(&defaults, &config, sizeof config), 0);
}

Test(config, values_of_every_type_arrive)
{
    const char *text = "program: { name = \"M\\\"s\"; run = 7; }; accrue: { hold_ms = 31536000000; };"
                       "validate: { metrics_port = 0x1234; };";
    cr_assert_eq(config_load(write_file("other.conf", text), &config, &err), LL_OK, "%s", err.text);
    cr_assert_str_eq(config.program.name, "M\"s");
    cr_assert_eq(config.program.run, 7);
    cr_assert_eq(config.accrue.hold_ms, INT64_C(31536000000));
    cr_assert_eq(config.validate.metrics_port, 0x1234);
}

Test(config, a_missing_file_is_an_error)
{
    cr_assert_eq(config_load("/nowhere/lens.conf", &config, &err), LL_FATAL);
    cr_assert(strstr(err.text, "/nowhere/lens.conf: No such file") != NULL, "%s", err.text);
    cr_assert_eq(config_load(folder, &config, &err), LL_FATAL, "a folder is no file");
    cr_assert(strstr(err.text, "not a file") != NULL, "%s", err.text);
}

Test(config, the_file_is_looked_for_in_order)
{
    cr_assert_eq(config_load(NULL, &config, &err), LL_OK, "%s", err.text);
    cr_assert_str_eq(config.file, LENS_SOURCE_DIR "/deploy/lens.conf");
    cr_assert_str_eq(config.home, folder);
    write_file("lens.conf", "program: { run = 2; };");
    cr_assert_eq(config_load(NULL, &config, &err), LL_OK, "%s", err.text);
    cr_assert_eq(config.program.run, 2, "LENS_HOME/lens.conf");
    setenv("LENS_CONFIG", write_file("other.conf", "program: { run = 3; };"), 1);
    cr_assert_eq(config_load(NULL, &config, &err), LL_OK, "%s", err.text);
    cr_assert_eq(config.program.run, 3, "LENS_CONFIG");
    cr_assert_eq(config_load(write_file("secret", "program: { run = 4; };"), &config, &err), LL_OK, "%s",
                 err.text);
    cr_assert_eq(config.program.run, 4, "--config");
}

Test(config, the_private_stack_fills_only_what_is_empty)
{
    write_file("stack.conf", "kafka: { bootstrap = \"127.0.0.1:1\"; }; redis: { socket = \"/s\"; };\n"
                             "postgres: { host = \"/pg\"; port = 1234; user = \"u\"; };");
    write_file("lens.conf", "redis: { host = \"cache\"; port = 6400; };");
    cr_assert_eq(config_load(NULL, &config, &err), LL_OK, "%s", err.text);
    cr_assert_str_eq(config.kafka.bootstrap, "127.0.0.1:1");
    cr_assert_str_eq(config.redis.host, "cache");
    cr_assert_str_eq(config.redis.socket, "", "a service that is named is not mixed with the stack's");
    cr_assert_eq(config.redis.port, 6400);
    cr_assert_str_eq(config.postgres.host, "/pg");
    cr_assert_eq(config.postgres.port, 1234);
    cr_assert_str_eq(config.postgres.user, "u");
    cr_assert_str_eq(config.postgres.database, "lens", "what the stack does not say keeps its value");
    const char *path = write_file("stack.conf", "\naccrue: { flush_ms = 50; };");
    cr_assert_eq(config_load(NULL, &config, &err), LL_FATAL);
    cr_assert(strncmp(err.text, path, strlen(path)) == 0 &&
                  strstr(err.text, ":2: accrue.flush_ms is not an address"),
              "%s", err.text);
}

static char *print_defaults(void)
{
    static char text[64 << 10];
    FILE *to = fmemopen(text, sizeof text, "w");
    config_print_defaults(to);
    fclose(to);
    return text;
}

Test(config, deploy_lens_conf_is_what_the_table_says)
{
    static char file[64 << 10];
    FILE *from = fopen(LENS_SOURCE_DIR "/deploy/lens.conf", "r");
    cr_assert_not_null(from);
    size_t size = fread(file, 1, sizeof file - 1, from);
    file[size] = '\0';
    fclose(from);
    cr_assert_str_eq(print_defaults(), file, "print it with `lens config --defaults` and check it in");
}

Test(config, json_names_every_setting)
{
    static char text[128 << 10];
    config_defaults(&config);
    FILE *to = fmemopen(text, sizeof text, "w");
    config_print(&config, true, to);
    fclose(to);
    cr_assert(strstr(text, "\"accrue.flush_ms\": {") != NULL);
    cr_assert(strstr(text, "\"value\": 1000") != NULL);
}

Test(config, secrets_are_one_line_of_a_file)
{
    char secret[16];
    cr_assert_eq(config_secret("", secret, sizeof secret, &err), LL_OK);
    cr_assert_str_eq(secret, "", "no file, no secret");
    cr_assert_eq(config_secret(write_file("secret", "pa ss\r\nmore"), secret, sizeof secret, &err), LL_OK,
                 "%s", err.text);
    cr_assert_str_eq(secret, "pa ss");
    cr_assert_eq(config_secret(write_file("secret", "no newline"), secret, sizeof secret, &err), LL_OK, "%s",
                 err.text);
    cr_assert_str_eq(secret, "no newline");
    cr_assert_eq(config_secret(write_file("secret", "\n"), secret, sizeof secret, &err), LL_FATAL, "empty");
    cr_assert_eq(config_secret(write_file("secret", "0123456789abcdefg\n"), secret, sizeof secret, &err),
                 LL_FATAL, "cut");
    cr_assert_eq(config_secret("/nowhere", secret, sizeof secret, &err), LL_FATAL);
    cr_assert(strstr(err.text, "secret file /nowhere: No such file") != NULL, "%s", err.text);
}

Test(config, a_secret_that_others_can_read_is_refused)
{
    char secret[16];
    static const unsigned modes[] = {0640, 0604, 0644, 0620, 0666};
    const char *path = write_file("secret", "hush\n");
    for (size_t at = 0; at < sizeof modes / sizeof modes[0]; at++) {
        cr_assert_eq(chmod(path, modes[at]), 0);
        cr_expect_eq(config_secret(path, secret, sizeof secret, &err), LL_FATAL, "%o", modes[at]);
        cr_expect(strstr(err.text, "chmod 600") != NULL && strstr(err.text, "hush") == NULL, "%s", err.text);
        cr_expect_str_eq(secret, "");
    }
    cr_assert_eq(chmod(path, 0400), 0);
    cr_assert_eq(config_secret(path, secret, sizeof secret, &err), LL_OK, "%s", err.text);
    cr_assert_str_eq(secret, "hush");
}

Test(config, one_file_serves_processes_of_several_names)
{
    const char *text = "kafka: { sasl_username = \"%p\"; sasl_password_file = \"/s/%p/%p.kafka\"; };\n"
                       "redis: { username = \"100%\"; };\n"
                       "postgres: { user = \"lens_%p\"; database = \"%p\"; };\n";
    cr_assert_eq(config_load(write_file("other.conf", text), &config, &err), LL_OK, "%s", err.text);
    cr_assert_eq(config_as(&config, "accrue", &err), LL_OK, "%s", err.text);
    cr_expect_str_eq(config.kafka.sasl_username, "accrue");
    cr_expect_str_eq(config.kafka.sasl_password_file, "/s/accrue/accrue.kafka");
    cr_expect_str_eq(config.redis.username, "100%");
    cr_expect_str_eq(config.postgres.user, "lens_accrue");
    cr_expect_str_eq(config.postgres.database, "%p", "what is nobody's secret stays");

    char name[60];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    cr_assert_eq(config_load(write_file("other.conf", text), &config, &err), LL_OK, "%s", err.text);
    cr_assert_eq(config_as(&config, name, &err), LL_FATAL, "a cut name would be another user's");
    cr_expect(strstr(err.text, "postgres.user is too long") != NULL, "%s", err.text);
}
