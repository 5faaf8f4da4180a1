/*
 * state_bench.c - lens-bench-state: what a ledger row, an account and a balance cost on our side and on the
 * servers'.
 * Shape:  lens-bench-state [ROWS [CUSTOMERS [FLUSHES]]] on the servers of the configuration (a run of its
 *         own, run id 999000 and up); three lines a row, 10 % without a customer, 8 partitions. CPU is user +
 *         system of the one process. LENS_TEST_SERVERS (tests/unit/state_servers) may name the servers
 *         instead.
 */
#include "runtime/config.h"
#include "state/hot.h"
#include "state/ledger_postgres.h"
#include "state/postgres.h"
#include "state/redis_link.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PARTITIONS = 8 };

struct bench {
    struct config config;
    struct ledger ledger;
    struct hot hot;
    int64_t rows, customers, flushes;
    int redis_pid;
    struct ledger_claim claims[PARTITIONS];
    struct row_buffer postings[PARTITIONS];
    struct ledger_account *accounts[PARTITIONS];
    size_t account_count[PARTITIONS];
    char (*ids)[24];
    bool *known;
    struct hot_balance *balances;
    int64_t next[PARTITIONS];
};

static void need(enum store_reply reply, const struct ll_err *err)
{
    if (reply == STORE_OK)
        return;
    fprintf(stderr, "lens-bench-state: %s\n", err->text);
    exit(1);
}

static double wall_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double own_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static double server_us(int pid)
{
    char path[64], text[128] = "";
    snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL || fgets(text, sizeof text, file) == NULL)
        text[0] = '\0';
    if (file != NULL)
        fclose(file);
    return strtod(text, NULL) / 1e3;
}

static int backend(const struct bench *bench)
{
    const struct ledger_postgres *store = bench->ledger.self;
    return PQbackendPID(store->lanes[0].link.conn);
}

static void find_servers(struct config *config)
{
    struct ll_err err = { "" };
    const char *pointer = getenv("LENS_TEST_SERVERS");
    char folder[128] = "";
    FILE *file = pointer == NULL ? NULL : fopen(pointer, "re");
    if (file != NULL && fgets(folder, sizeof folder, file) != NULL) {
        fclose(file);
        folder[strcspn(folder, "\n")] = '\0';
        config_defaults(config);
        snprintf(config->share, sizeof config->share, "%s", LENS_SOURCE_DIR);
        snprintf(config->postgres.host, sizeof config->postgres.host, "%s", folder);
        snprintf(config->redis.socket, sizeof config->redis.socket, "%s/redis.sock", folder);
    } else if (config_load(NULL, config, &err) != LL_OK) {
        need(STORE_BROKEN, &err);
    }
    const char *host =
        getenv("LENS_BENCH_POSTGRES"); /* "HOST:PORT": TCP beside the socket of the same server */
    if (host != NULL)
        sscanf(host, "%255[^:]:%" SCNd32, config->postgres.host, &config->postgres.port);
}

static void write_rows(struct bench *bench, int64_t flush)
{
    for (int32_t p = 0; p < PARTITIONS; p++) {
        row_buffer_clear(&bench->postings[p]);
        bench->account_count[p] = 0;
    }
    bool *touched = calloc((size_t)bench->customers, sizeof *touched);
    uint64_t random = (uint64_t)(flush + 1) * UINT64_C(0x9e3779b97f4a7c15);
    struct posting_line lines[3] = { { TEXT("P00001"), TEXT("grocery"), { NULL, 0 }, 1299, 0 },
                                     { TEXT("P02342"), TEXT("beverages"), { NULL, 0 }, 450, 0 },
                                     { TEXT("P00777"), TEXT("household"), { NULL, 0 }, 88, 0 } };
    struct posting_rule rule = { 1, 18 };
    struct posting posting = { .run = bench->config.program.run,
                               .source = TEXT("generated"),
                               .store_id = TEXT("S012"),
                               .net_minor = 1837,
                               .lines = lines,
                               .line_count = 3,
                               .sale_day = 19700,
                               .points = 18,
                               .rules_version = 1,
                               .rules = &rule,
                               .rule_count = 1,
                               .raw_topic = TEXT("transactions") };
    for (int64_t row = 0; row < bench->rows; row++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t customer = (int64_t)((random >> 20) % (uint64_t)bench->customers);
        int32_t partition = (int32_t)(customer % PARTITIONS);
        char id[24];
        snprintf(id, sizeof id, "T%012" PRId64, flush * bench->rows + row);
        posting.partition = posting.raw_partition = partition;
        posting.offset = posting.event_offset = posting.raw_offset = bench->next[partition]++;
        posting.identity_hash = posting.sale_hash = (int64_t)(random * UINT64_C(0xff51afd7ed558ccd));
        posting.content_hash = (int64_t)random;
        posting.transaction_id = text_of(id);
        posting.customer_id = row % 10 == 3 ? (struct text){ NULL, 0 } : text_of(bench->ids[customer]);
        posting.event_time_ms = 1700000000000 + row * 3;
        posting.posted_at_ms = posting.event_time_ms + 40;
        posting_write(&bench->postings[partition], &posting);
        if (posting.customer_id.data == NULL || touched[customer])
            continue;
        touched[customer] = true;
        bench->accounts[partition][bench->account_count[partition]++] =
            (struct ledger_account){ posting.customer_id,  bench->known[customer], 18, 18, 0, 1837, 1,
                                     posting.event_time_ms };
        bench->known[customer] = true;
    }
    free(touched);
}

static void flush_once(struct bench *bench, int64_t flush, bool with_accounts, int pause_us, const char *what)
{
    struct ll_err err = { "" };
    int64_t first[PARTITIONS];
    memcpy(first, bench->next, sizeof first);
    double encode = own_us();
    write_rows(bench, flush);
    encode = own_us() - encode;
    struct ledger_part parts[PARTITIONS];
    size_t accounts = 0, known = 0, bytes = 0;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        parts[p] = (struct ledger_part){ .partition = p,
                                         .epoch = bench->claims[p].epoch,
                                         .first_offset = first[p],
                                         .next_offset = bench->next[p],
                                         .clock_ms = 1700000000000,
                                         .rules_version = 1,
                                         .postings = &bench->postings[p],
                                         .accounts = bench->accounts[p],
                                         .account_count = with_accounts ? bench->account_count[p] : 0 };
        bytes += bench->postings[p].size;
        for (size_t at = 0; at < parts[p].account_count; at++)
            known += bench->accounts[p][at].known;
        accounts += parts[p].account_count;
    }
    double wall = wall_us(), own = own_us(), server = server_us(backend(bench));
    need(bench->ledger.ops->flush_begin(bench->ledger.self, parts, PARTITIONS, &err), &err);
    enum store_reply reply = STORE_BUSY;
    int64_t polls = 0;
    while (reply == STORE_BUSY) {
        reply = bench->ledger.ops->flush_poll(bench->ledger.self, pause_us > 0 ? 0 : 100, &err);
        polls++;
        double until = wall_us() + pause_us; /* as a loop that is busy with its own work */
        while (pause_us > 0 && wall_us() < until)
            nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL);
    }
    need(reply, &err);
    wall = wall_us() - wall;
    own = own_us() - own;
    server = server_us(backend(bench)) - server;
    double rows = (double)bench->rows;
    printf("flush  %-28s %8.0f rows/s  server %5.2f us/row  client %4.2f us/row  %3.0f B/row  accounts %6zu "
           "(%zu known)"
           "  encode+fold %4.2f us/row  %lld polls\n",
           what, rows / wall * 1e6, server / rows, own / rows, (double)bytes / rows, accounts, known,
           encode / rows, (long long)polls);
    fflush(stdout);
}

static void count_identity(void *arg, int64_t identity_hash, int64_t event_offset, int64_t posted_at_ms)
{
    (void)identity_hash, (void)event_offset, (void)posted_at_ms;
    ++*(int64_t *)arg;
}

static void count_account(void *arg, struct text customer_id, int64_t points)
{
    (void)customer_id, (void)points;
    ++*(int64_t *)arg;
}

static void count_held(void *arg, const struct kept_record *record)
{
    (void)record;
    ++*(int64_t *)arg;
}

static void count_posting(void *arg, const struct posting *posting)
{
    (void)posting;
    ++*(int64_t *)arg;
}

static void reads(struct bench *bench)
{
    struct ll_err err = { "" };
    int64_t count = 0;
    bool a, b;
    double wall = wall_us();
    for (int32_t p = 0; p < PARTITIONS; p++) {
        struct ledger_mark mark = { p, bench->claims[p].epoch, bench->next[p] };
        struct ledger_loader loader = { &count, count_identity, count_account, count_held };
        need(bench->ledger.ops->load(bench->ledger.self, &mark, 100000000, 100000000, &loader, &a, &b, &err),
             &err);
    }
    wall = wall_us() - wall;
    printf("load   identities and accounts     %8.0f rows/s  %.3f s\n", (double)count / wall * 1e6,
           wall / 1e6);
    enum { LOOKUPS = 2000 };
    static int64_t hashes[LOOKUPS];
    for (int at = 0; at < LOOKUPS; at++)
        hashes[at] = (int64_t)((uint64_t)at * UINT64_C(0x9e3779b97f4a7c15));
    count = 0;
    wall = wall_us();
    need(bench->ledger.ops->find(bench->ledger.self, &(struct ledger_view){ .epoch = -1 }, hashes, LOOKUPS,
                                 hashes, LOOKUPS, count_posting, &count, &err),
         &err);
    printf("find   %d misses                 %8.2f us each\n", 3 * LOOKUPS,
           (wall_us() - wall) / (3 * LOOKUPS));
    struct text names[LOOKUPS];
    for (int at = 0; at < LOOKUPS; at++)
        names[at] = text_of(bench->ids[(int64_t)at * PARTITIONS % bench->customers]);
    count = 0;
    wall = wall_us();
    need(bench->ledger.ops->balances(bench->ledger.self, &(struct ledger_view){ .epoch = -1 }, names, LOOKUPS,
                                     count_account, &count, &err),
         &err);
    printf("find   %lld of %d balances       %8.2f us each\n", (long long)count, LOOKUPS,
           (wall_us() - wall) / LOOKUPS);
}

static void apply_rounds(struct bench *bench, size_t each)
{
    enum { ROUNDS = 50 };
    struct ll_err err = { "" };
    static int64_t next[PARTITIONS], token;
    token++;
    for (int32_t p = 0; p < PARTITIONS; p++) {
        int64_t stored;
        need(bench->hot.ops->claim(bench->hot.self, p, bench->claims[p].epoch + token, 0, &stored, &err),
             &err);
        need(bench->hot.ops->reset(bench->hot.self, p, bench->claims[p].epoch + token, token, &err), &err);
        need(bench->hot.ops->finish(bench->hot.self, p, bench->claims[p].epoch + token, token, 0, 0, &err),
             &err);
        next[p] = 0;
    }
    double wall = wall_us(), own = own_us(), server = server_us(bench->redis_pid), in_apply = 0;
    size_t at = 0, total = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct hot_batch batches[PARTITIONS];
        for (int32_t p = 0; p < PARTITIONS; p++) {
            if (at + each > (size_t)bench->customers)
                at = 0;
            batches[p] = (struct hot_batch){ .partition = p,
                                             .epoch = bench->claims[p].epoch + token,
                                             .first = next[p],
                                             .next = next[p] + 1,
                                             .balances = bench->balances + at,
                                             .count = each };
            next[p]++;
            at += each;
            total += each;
        }
        double before = wall_us();
        need(bench->hot.ops->apply(bench->hot.self, batches, PARTITIONS, &err), &err);
        in_apply += wall_us() - before;
        need(bench->hot.ops->collect(bench->hot.self, &err), &err);
    }
    wall = wall_us() - wall;
    own = own_us() - own;
    server = server_us(bench->redis_pid) - server;
    printf("apply  8 x %-5zu customers          %8.0f customers/s  server %5.2f us  client %4.2f us  apply() "
           "blocks %4.0f us\n",
           each, (double)total / wall * 1e6, server / (double)total, own / (double)total, in_apply / ROUNDS);
}

static int redis_pid(const struct config *config)
{
    struct redis_link link = { .config = config };
    struct ll_err err = { "" };
    need(redis_link_open(&link, &err), &err);
    redisReply *reply = redisCommand(link.context, "INFO server");
    const char *found =
        reply == NULL || reply->type != REDIS_REPLY_STRING ? NULL : strstr(reply->str, "process_id:");
    int pid = found == NULL ? 0 : (int)strtol(found + 11, NULL, 10);
    freeReplyObject(reply);
    redis_link_drop(&link);
    return pid;
}

static void prepare(struct bench *bench)
{
    struct ll_err err = { "" };
    int applied = 0;
    find_servers(&bench->config);
    bench->config.program.run = 999000 + (int32_t)(time(NULL) % 1000);
    bench->config.postgres.timeout_ms = 60000;
    need(postgres_migrate(&bench->config, &applied, &err) == LL_OK ? STORE_OK : STORE_BROKEN, &err);
    ledger_postgres_open(&bench->config, &bench->ledger, &err);
    hot_redis_open(&bench->config, &bench->hot, &err);
    bench->redis_pid = redis_pid(&bench->config);
    for (int32_t p = 0; p < PARTITIONS; p++) {
        need(bench->ledger.ops->claim(bench->ledger.self, p, 1, &bench->claims[p], &err), &err);
        bench->accounts[p] = calloc((size_t)bench->customers, sizeof *bench->accounts[p]);
    }
    bench->ids = calloc((size_t)bench->customers, sizeof *bench->ids);
    bench->known = calloc((size_t)bench->customers, sizeof *bench->known);
    bench->balances = calloc((size_t)bench->customers, sizeof *bench->balances);
    for (int64_t at = 0; at < bench->customers; at++) {
        snprintf(bench->ids[at], sizeof bench->ids[at], "C%09" PRId64, at);
        bench->balances[at] = (struct hot_balance){ text_of(bench->ids[at]), at * 17 };
    }
}

int main(int argc, char **argv)
{
    static struct bench bench;
    bench.rows = argc > 1 ? strtoll(argv[1], NULL, 10) : 200000;
    bench.customers = argc > 2 ? strtoll(argv[2], NULL, 10) : 200000;
    bench.flushes = argc > 3 ? strtoll(argv[3], NULL, 10) : 5;
    signal(SIGPIPE, SIG_IGN);
    prepare(&bench);
    int64_t flush = 0;
    flush_once(&bench, flush++, true, 0, "first, accounts new");
    for (int64_t at = 0; at < bench.flushes; at++)
        flush_once(&bench, flush++, true, 0, "accounts known");
    for (int64_t at = 0; at < bench.flushes; at++)
        flush_once(&bench, flush++, false, 0, "rows alone");
    flush_once(&bench, flush++, false, 1000, "rows alone, polled each 1 ms");
    flush_once(&bench, flush++, false, 5000, "rows alone, polled each 5 ms");
    flush_once(&bench, flush++, false, 20000, "rows alone, each 20 ms");
    reads(&bench);
    apply_rounds(&bench, 100);
    apply_rounds(&bench, 1000);
    apply_rounds(&bench, 3000);
    bench.ledger.ops->close(bench.ledger.self);
    bench.hot.ops->close(bench.hot.self);
    return 0;
}
