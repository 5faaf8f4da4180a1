/* A record that kills the process: found in a bounded number of deaths, and nobody else is refused for it. */
#include "runtime/bus.h"
#include "runtime/hang.h"
#include "runtime/isolate.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char path[64];
static struct isolate *isolate;

static void live(void)
{
    struct ll_err err = { "" };
    cr_assert_eq(isolate_open(path, &isolate, &err), LL_OK, "%s", err.text);
}

/* As the kernel ends a process: nothing is said any more. */
static void die(void)
{
    isolate_close(isolate);
    live();
}

static void open_file(void)
{
    setenv("LENS_LOG", "none", 1);
    snprintf(path, sizeof path, "/tmp/lens-isolate-%d", (int)getpid());
    unlink(path);
    live();
}

static void close_file(void)
{
    isolate_close(isolate);
    unlink(path);
}
TestSuite(isolate, .init = open_file, .fini = close_file);

enum { PARTITIONS = 3 };

/* A process over partitions in turn, in batches of at most so many records; poison[p] kills it when it is read. Returns how
 * many deaths it took until all is committed; *ret_refused: how many were refused unread. */
static int run(const int64_t count[PARTITIONS], const int64_t poison[PARTITIONS], int64_t batch, int *ret_refused)
{
    int64_t committed[PARTITIONS] = { 0 };
    int deaths = 0;
    *ret_refused = 0;
    for (bool more = true; more;) {
        int64_t at[PARTITIONS], most = isolate_most(isolate) < batch ? isolate_most(isolate) : batch, taken = 0;
        int refused = 0;
        bool dies = false;
        more = false;
        for (int p = 0; p < PARTITIONS; p++)
            at[p] = committed[p];
        for (int p = deaths % PARTITIONS, idle = 0; taken < most && idle < PARTITIONS && !dies; p = (p + 1) % PARTITIONS) {
            if (at[p] == count[p]) {
                idle++;
                continue;
            }
            idle = 0;
            isolate_take(isolate, TOPIC_TRANSACTIONS, p, 2 * at[p]); /* a marker between */
            taken++;
            if (isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, p, 2 * at[p]))
                refused++;
            else
                dies = at[p] == poison[p];
            at[p]++;
            isolate_work(isolate, dies);
        }
        if (dies) {
            cr_assert_lt(++deaths, 100, "it goes on dying");
            die();
            more = true;
            continue;
        }
        for (int p = 0; p < PARTITIONS; p++) {
            if (at[p] > committed[p])
                isolate_settle(isolate, TOPIC_TRANSACTIONS, p, 2 * at[p] - 1);
            committed[p] = at[p];
            more = more || committed[p] < count[p];
        }
        isolate_release(isolate);
        *ret_refused += refused;
    }
    return deaths;
}

static const struct {
    const char *why;
    int64_t count[PARTITIONS], poison[PARTITIONS], batch;
    int refused, deaths; /* at most */
} cases[] = {
    { "none", { 5000, 10, 0 }, { -1, -1, -1 }, 1000, 0, 0 },
    { "the only record", { 1, 0, 0 }, { 0, -1, -1 }, 1000, 1, 2 },
    { "the first of many", { 5000, 0, 0 }, { 0, -1, -1 }, 4096, 1, 3 },
    { "deep in a batch", { 5000, 0, 0 }, { 4000, -1, -1 }, 4096, 1, 7 },
    { "the last of all", { 4096, 0, 0 }, { 4095, -1, -1 }, 4096, 1, 7 },
    { "among other partitions", { 3000, 3000, 3000 }, { -1, 2999, -1 }, 4096, 1, 7 },
    { "one in each partition", { 3000, 3000, 3000 }, { 7, 1500, 2999 }, 4096, 3, 21 },
    { "batches of one", { 50, 50, 50 }, { 9, -1, -1 }, 1, 1, 2 },
    { "half a million in hand", { 500000, 0, 0 }, { 250000, -1, -1 }, 500000, 1, 9 },
};

Test(isolate, one_record_goes_in_a_bounded_number_of_deaths)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int refused;
        int deaths = run(cases[i].count, cases[i].poison, cases[i].batch, &refused);
        cr_expect_eq(refused, cases[i].refused, "%s: %d refused", cases[i].why, refused);
        cr_expect_leq(deaths, cases[i].deaths, "%s: %d deaths", cases[i].why, deaths);
        cr_expect_eq(isolate_most(isolate), INT64_MAX, "%s: somebody is still suspected", cases[i].why);
        close_file();
        open_file();
    }
}

Test(isolate, a_death_while_it_waits_suspects_nobody)
{
    for (int i = 0; i < 100; i++)
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, i);
    isolate_work(isolate, false);
    die();
    cr_assert_eq(isolate_most(isolate), INT64_MAX);
}

Test(isolate, a_kill_at_work_slows_it_down_and_condemns_nobody)
{
    for (int i = 0; i < 100; i++)
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, i);
    die();
    cr_assert_eq(isolate_most(isolate), 12);
    for (int i = 0; i < 100; i++) {
        cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, i));
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, i);
        isolate_work(isolate, false);
        isolate_settle(isolate, TOPIC_TRANSACTIONS, 0, i + 1);
    }
    cr_assert_eq(isolate_most(isolate), INT64_MAX);
}

Test(isolate, alone_once_may_be_chance)
{
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 7);
    die();
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 7));
    cr_assert_eq(isolate_most(isolate), 1);
    isolate_take(isolate, TOPIC_TRANSACTIONS, 1, 3);
    die();
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 1, 3), "the count is the record's own");
    isolate_take(isolate, TOPIC_TRANSACTIONS, 1, 3);
    die();
    cr_assert(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 1, 3));
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS_RETRY, 1, 3));
}

Test(isolate, a_verdict_stands_until_it_is_committed)
{
    for (int i = 0; i < 2; i++) {
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 7);
        die();
    }
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 7);
    isolate_work(isolate, false); /* refused, and killed before the commit */
    die();
    cr_assert(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 7));
    isolate_settle(isolate, TOPIC_TRANSACTIONS, 0, 8);
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 7));
}

Test(isolate, a_partition_that_goes_takes_its_suspects_along)
{
    for (int i = 0; i < 10; i++)
        isolate_take(isolate, TOPIC_TRANSACTIONS, i % 2, i);
    die();
    cr_assert_eq(isolate_most(isolate), 1);
    struct bus_position owned = { .topic = TOPIC_TRANSACTIONS, .partition = 2 };
    isolate_keep(isolate, &owned, 1);
    cr_assert_eq(isolate_most(isolate), INT64_MAX);
}

Test(isolate, a_file_that_is_damaged_or_of_another_map_begins_anew)
{
    isolate_close(isolate);
    FILE *file = fopen(path, "wb");
    for (int i = 0; i < 40000; i++)
        fputc(0x7f, file);
    fclose(file);
    live();
    cr_assert_eq(isolate_most(isolate), INT64_MAX);
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 1);
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 1));
}

static volatile int64_t spins;

static void spin_ms(int64_t cpu_ms)
{
    struct timespec begun, now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
    do {
        spins++;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    } while ((now.tv_sec - begun.tv_sec) * 1000 + (now.tv_nsec - begun.tv_nsec) / 1000000 < cpu_ms);
}

/* What a process that does this with its loop ends with. */
static int exit_of(void (*life)(void))
{
    isolate_close(isolate);
    pid_t pid = fork();
    if (pid == 0) {
        live();
        isolate_watch(isolate, 300);
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 4);
        isolate_work(isolate, false);
        isolate_release(isolate);
        life();
        _exit(0);
    }
    int status = -1;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    live();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void hang_in_one(void)
{
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 50);
    spin_ms(20000);
}

static void work_on_many(void)
{
    for (int i = 0; i < 20; i++) {
        isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 5 + i);
        spin_ms(50);
    }
}

static void be_busy_elsewhere(void)
{
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 5);
    isolate_work(isolate, false);
    spin_ms(1000);
}

static void wait_inside_of_one(void)
{
    isolate_take(isolate, TOPIC_TRANSACTIONS, 0, 5);
    poll(NULL, 0, 1000); /* for a broker, or stopped: no CPU is used */
}

Test(isolate, a_record_that_hangs_is_found_like_one_that_kills)
{
    cr_expect_eq(exit_of(work_on_many), 0, "each took its time, together more than the limit");
    isolate_release(isolate);
    cr_expect_eq(exit_of(be_busy_elsewhere), 0, "not at work on a record");
    cr_expect_eq(exit_of(wait_inside_of_one), 0, "waiting is not hanging");
    isolate_drop(isolate, TOPIC_TRANSACTIONS, 0);
    cr_assert_eq(exit_of(hang_in_one), HANG_EXIT);
    cr_expect_eq(isolate_most(isolate), 1);
    cr_assert_not(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 50));
    cr_assert_eq(exit_of(hang_in_one), HANG_EXIT);
    cr_assert(isolate_is_condemned(isolate, TOPIC_TRANSACTIONS, 0, 50));
}

Test(isolate, without_a_file_nothing_is_isolated)
{
    struct isolate *none = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(isolate_open("/nonexistent/x", &none, &err), LL_RETRY);
    isolate_take(NULL, TOPIC_TRANSACTIONS, 0, 1);
    isolate_settle(NULL, TOPIC_TRANSACTIONS, 0, 2);
    isolate_release(NULL);
    cr_assert_eq(isolate_most(NULL), INT64_MAX);
    isolate_close(NULL);
}
