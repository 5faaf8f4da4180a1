/*
 * The Kafka bus on a real broker: LENS_TEST_KAFKA names one (host:port) whose topics may be filled. What
 * librdkafka's mock cannot show is here: aborts, fencing, offsets within transactions, static members,
 * transaction markers.
 */
#include "runtime/clock.h"
#include "runtime/kafka.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 30000, PART = 3 };

static struct config config;
static struct topics topics;
static struct ll_err err;
static char group[64];
static char transactional_id[72];

static int64_t now_ms(void)
{
    struct clock_source clock = clock_real();
    return clock.steady_ms(clock.self);
}

static void create_topics(void)
{
    struct kafka_admin *admin;
    int created;
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK, "%s", err.text);
    enum ll_status status;
    int64_t until_ms = now_ms() + WAIT_MS;
    while ((status = kafka_admin_create_topics(admin, &topics, &created, 5000, &err)) == LL_RETRY &&
           now_ms() < until_ms)
        ;
    cr_assert_eq(status, LL_OK, "%s", err.text);
    kafka_admin_close(admin);
}

/* Criterion runs tests side by side; these count each other's records. The lock goes with the process. */
static void take_turn(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/lens-test-kafka.%d.lock", (int)getuid());
    int lock = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    cr_assert(lock >= 0 && flock(lock, LOCK_EX) == 0, "%s", path);
}

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    (void)tests;
    if (getenv("LENS_TEST_KAFKA") == NULL)
        fputs("skipped: LENS_TEST_KAFKA names no broker whose topics may be filled (host:port)\n", stderr);
}

static void set_up(void)
{
    const char *bootstrap = getenv("LENS_TEST_KAFKA");
    if (bootstrap == NULL)
        cr_skip_test("no broker");
    take_turn();
    config_defaults(&config);
    snprintf(config.kafka.bootstrap, sizeof config.kafka.bootstrap, "%s", bootstrap);
    config.kafka.session_timeout_ms = 6000;
    cr_assert_eq(topics_load(LENS_SOURCE_DIR "/topics.conf", &topics, &err), LL_OK, "%s", err.text);
    snprintf(group, sizeof group, "test-%d-%lld", (int)getpid(), (long long)now_ms());
    snprintf(transactional_id, sizeof transactional_id, "%s-tx", group);
    create_topics();
}

TestSuite(kafka, .init = set_up, .timeout = 100);

static struct bus_consumer open_consumer(const char *instance)
{
    static const enum topic wanted[] = {TOPIC_TRANSACTIONS};
    struct kafka_consumer_options options = {
        .group = group, .instance = instance, .topics = wanted, .topic_count = 1};
    struct bus_consumer consumer;
    cr_assert_eq(kafka_consumer_open(&config, &options, &consumer, &err), LL_OK, "%s", err.text);
    return consumer;
}

static struct bus_producer open_producer(const char *id)
{
    struct bus_producer producer;
    cr_assert_eq(kafka_producer_open(&config, id, &producer, &err), LL_OK, "%s", err.text);
    return producer;
}

static int64_t end_of(enum topic topic, int32_t partition)
{
    struct kafka_admin *admin;
    int64_t low, high;
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK);
    cr_assert_eq(kafka_admin_watermarks(admin, topic, partition, &low, &high, 5000, &err), LL_OK, "%s",
                 err.text);
    kafka_admin_close(admin);
    return high;
}

static int64_t committed_of(int32_t partition)
{
    struct kafka_admin *admin;
    int64_t offsets[8];
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK);
    cr_assert_eq(kafka_admin_group_offsets(admin, group, TOPIC_TRANSACTIONS, offsets, 8, 5000, &err), LL_OK,
                 "%s", err.text);
    kafka_admin_close(admin);
    return offsets[partition];
}

/* A commit is decided when it returns; its markers, which make it seen, follow within milliseconds. */
static void expect_settled(int64_t committed, int64_t valid_end)
{
    int64_t until_ms = now_ms() + WAIT_MS;
    while ((committed_of(PART) != committed || end_of(TOPIC_TRANSACTIONS_VALID, PART) != valid_end) &&
           now_ms() < until_ms)
        ;
    cr_assert_eq(committed_of(PART), committed);
    cr_assert_eq(end_of(TOPIC_TRANSACTIONS_VALID, PART), valid_end);
}

static enum ll_status send_text(struct bus_producer *producer, enum topic topic, int32_t partition,
                                const char *value)
{
    struct bus_out out = {.topic = topic, .partition = partition, .key = TEXT("k"), .value = text_of(value)};
    return producer->ops->send(producer->self, &out, &err);
}

static void send_raw(int count)
{
    struct bus_producer producer = open_producer(NULL);
    for (int at = 0; at < count; at++) {
        char value[32];
        snprintf(value, sizeof value, "%s-%d", "raw", at);
        cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS, PART, value), LL_OK, "%s", err.text);
    }
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK, "%s", err.text);
    producer.ops->close(producer.self);
}

static enum bus_event next(struct bus_consumer *consumer, struct bus_record *ret)
{
    enum bus_event event = BUS_NONE;
    for (int64_t until_ms = now_ms() + WAIT_MS; event == BUS_NONE && now_ms() < until_ms;)
        event = consumer->ops->poll(consumer->self, 100, ret, &err);
    return event;
}

/* Waits for the partitions and starts: PART at its offset, the others at their ends. */
static void start_at(struct bus_consumer *consumer, int64_t offset)
{
    struct bus_record none;
    cr_assert_eq(next(consumer, &none), BUS_ASSIGNED, "%s", err.text);
    size_t count;
    bool lost;
    const struct bus_position *changed = consumer->ops->changed(consumer->self, &count, &lost);
    cr_assert_eq(count, 8);
    struct bus_position from[8];
    for (size_t at = 0; at < count; at++) {
        from[at] = changed[at];
        cr_assert_eq(changed[at].topic, TOPIC_TRANSACTIONS);
        from[at].offset =
            changed[at].partition == PART ? offset : end_of(TOPIC_TRANSACTIONS, changed[at].partition);
    }
    cr_assert_eq(consumer->ops->start(consumer->self, from, count, &err), LL_OK, "%s", err.text);
}

/* A consumer that stands before three new records, raw-0 to raw-2. */
static struct bus_consumer open_at_three(int64_t *ret_raw)
{
    *ret_raw = end_of(TOPIC_TRANSACTIONS, PART);
    send_raw(3);
    struct bus_consumer consumer = open_consumer(NULL);
    start_at(&consumer, *ret_raw);
    return consumer;
}

static void expect_raw(struct bus_consumer *consumer, int64_t offset, const char *value)
{
    struct bus_record record;
    cr_assert_eq(next(consumer, &record), BUS_RECORD, "%s", err.text);
    cr_assert_eq(record.topic, TOPIC_TRANSACTIONS);
    cr_assert_eq(record.partition, PART);
    cr_assert_eq(record.offset, offset);
    cr_assert(text_equal(record.value, text_of(value)), "%.*s", TEXT_ARG(record.value));
    consumer->ops->release(consumer->self, &record);
}

/* How many records of a partition a fresh reader sees from an offset on, up to the end; it must find the end.
 */
static int count_from(enum topic topic, int32_t partition, int64_t offset)
{
    struct kafka_reader *reader;
    cr_assert_eq(kafka_reader_open(&config, &topics, &topic, 1, &reader, &err), LL_OK, "%s", err.text);
    for (int32_t other = 0; other < topics.facts[topic].partitions; other++)
        kafka_reader_start_at(reader, topic, other, other == partition ? offset : end_of(topic, other));
    int count = 0;
    int64_t until_ms = now_ms() + WAIT_MS;
    while (!kafka_reader_at_end(reader)) {
        struct bus_record record;
        enum bus_event event = kafka_reader_read(reader, 1000, &record, &err);
        cr_assert(event == BUS_RECORD || event == BUS_NONE, "%s", err.text);
        if (event == BUS_RECORD) {
            count++;
            kafka_reader_release(reader, &record);
        }
        cr_assert_lt(now_ms(), until_ms, "the reader does not find the end");
    }
    kafka_reader_close(reader);
    return count;
}

Test(kafka, topics_are_made_once_and_compared)
{
    struct kafka_admin *admin;
    int created = -1;
    int32_t partitions;
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK);
    cr_assert_eq(kafka_admin_ping(admin, 5000, &err), LL_OK, "%s", err.text);
    cr_assert_eq(kafka_admin_create_topics(admin, &topics, &created, 5000, &err), LL_OK, "%s", err.text);
    cr_assert_eq(created, 0, "set_up has made them");
    cr_assert_eq(kafka_admin_partitions(admin, TOPIC_LEDGER, &partitions, 5000, &err), LL_OK);
    cr_assert_eq(partitions, 8);
    topics.facts[TOPIC_LEDGER].retention_ms = 1000;
    topics.facts[TOPIC_STORES].partitions = 2;
    topics.facts[TOPIC_STORES_VALID].compacted = false;
    cr_assert_eq(kafka_admin_create_topics(admin, &topics, &created, 5000, &err), LL_FATAL);
    cr_assert(strstr(err.text, "ledger: retention.ms is -1, topics.conf says 1000") != NULL, "%s", err.text);
    cr_assert(strstr(err.text, "stores: partitions is 1, topics.conf says 2") != NULL, "%s", err.text);
    cr_assert(strstr(err.text, "cleanup.policy is compact") != NULL, "%s", err.text);
    kafka_admin_close(admin);
}

Test(kafka, a_group_without_offsets_has_none)
{
    cr_assert_eq(committed_of(0), -1);
}

Test(kafka, keys_go_where_partition_of_says)
{
    static const char *const keys[] = {"", "a", "12345", "17850", "customer-0001", "\xc3\xa9t\xc3\xa9"};
    struct bus_producer producer = open_producer(NULL);
    for (size_t at = 0; at < sizeof keys / sizeof keys[0]; at++) {
        int32_t partition = kafka_partition_of(text_of(keys[at]), 8);
        int64_t before = end_of(TOPIC_LEDGER, partition);
        struct bus_out out = {
            .topic = TOPIC_LEDGER, .partition = BUS_BY_KEY, .key = text_of(keys[at]), .value = TEXT("v")};
        cr_assert_eq(producer.ops->send(producer.self, &out, &err), LL_OK, "%s", err.text);
        cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK, "%s", err.text);
        cr_assert_eq(end_of(TOPIC_LEDGER, partition), before + 1, "key \"%s\"", keys[at]);
    }
    producer.ops->close(producer.self);
}

Test(kafka, records_keep_headers_time_and_nulls)
{
    int64_t before = end_of(TOPIC_DEAD_LETTER, 5);
    struct bus_producer producer = open_producer(NULL);
    struct bus_header headers[] = {{TEXT("ll-codes"), TEXT("A,B")}, {TEXT("ll-empty"), TEXT("")}};
    struct bus_out out = {.topic = TOPIC_DEAD_LETTER,
                          .partition = 5,
                          .timestamp_ms = 1298896440000,
                          .value = TEXT("\0\1"),
                          .headers = headers,
                          .header_count = 2};
    cr_assert_eq(producer.ops->send(producer.self, &out, &err), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK, "%s", err.text);
    producer.ops->close(producer.self);
    struct kafka_reader *reader;
    enum topic topic = TOPIC_DEAD_LETTER;
    cr_assert_eq(kafka_reader_open(&config, &topics, &topic, 1, &reader, &err), LL_OK);
    for (int32_t other = 0; other < 8; other++)
        kafka_reader_start_at(reader, topic, other, other == 5 ? before : end_of(topic, other));
    struct bus_record record;
    enum bus_event event;
    while ((event = kafka_reader_read(reader, 5000, &record, &err)) == BUS_NONE)
        ;
    cr_assert_eq(event, BUS_RECORD, "%s", err.text);
    cr_assert_null(record.key.data);
    cr_assert(text_equal(record.value, TEXT("\0\1")));
    cr_assert_eq(record.timestamp_ms, 1298896440000, "dead letters keep the refused record's time");
    struct bus_header got[BUS_HEADERS_MAX];
    cr_assert_eq(kafka_reader_headers(reader, &record, got), 2);
    cr_assert(text_equal(got[0].name, TEXT("ll-codes")) && text_equal(got[0].value, TEXT("A,B")));
    cr_assert(text_equal(got[1].name, TEXT("ll-empty")) && got[1].value.size == 0);
    kafka_reader_release(reader, &record);
    kafka_reader_close(reader);
}

Test(kafka, a_record_that_is_too_large_is_poison)
{
    struct bus_producer producer = open_producer(NULL);
    char *large = calloc(1, 5 << 20);
    struct bus_out out = {.topic = TOPIC_DEAD_LETTER, .partition = 0, .value = {large, 5 << 20}};
    cr_assert_eq(producer.ops->send(producer.self, &out, &err), LL_POISON, "%s", err.text);
    out.value.size = 2 << 20; /* a dead letter may hold a whole record and its headers */
    memset(large, 'x', 2 << 20);
    cr_assert_eq(producer.ops->send(producer.self, &out, &err), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK, "%s", err.text);
    producer.ops->close(producer.self);
    free(large);
}

Test(kafka, what_the_broker_refuses_is_named_by_flush)
{
    struct bus_producer producer = open_producer(NULL);
    cr_assert_eq(send_text(&producer, TOPIC_STORES, 7, "x"), LL_FATAL, "stores has one partition");
    char *large =
        malloc(2 << 20); /* above what the broker takes for a raw topic, and lz4 makes it no smaller */
    unsigned noise = 1;
    for (int at = 0; at < 2 << 20; at++)
        large[at] = (char)((noise = noise * 1664525u + 1013904223u) >> 24);
    struct bus_out out = {.topic = TOPIC_STORES, .partition = 0, .value = {large, 2 << 20}};
    cr_assert_eq(producer.ops->send(producer.self, &out, &err), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_FATAL);
    cr_assert(strstr(err.text, "stores[0]: a record of 2097152 bytes was not taken") != NULL, "%s", err.text);
    producer.ops->close(producer.self);
    free(large);
}

Test(kafka, transaction_takes_records_and_offsets_together)
{
    int64_t raw = end_of(TOPIC_TRANSACTIONS, PART), valid = end_of(TOPIC_TRANSACTIONS_VALID, PART);
    send_raw(3);
    struct bus_consumer consumer = open_consumer("one");
    start_at(&consumer, raw);
    cr_assert_eq(consumer.ops->position(consumer.self, TOPIC_TRANSACTIONS, PART), -1);
    expect_raw(&consumer, raw, "raw-0");
    expect_raw(&consumer, raw + 1, "raw-1");
    cr_assert_eq(consumer.ops->position(consumer.self, TOPIC_TRANSACTIONS, PART), raw + 2);
    struct bus_producer producer = open_producer(transactional_id);
    struct bus_position next_offset = {.topic = TOPIC_TRANSACTIONS, .partition = PART, .offset = raw + 2};
    cr_assert_eq(producer.ops->begin(producer.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS_VALID, PART, "v0"), LL_OK, "%s", err.text);
    cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS_VALID, PART, "v1"), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->send_offsets(producer.self, &consumer, &next_offset, 1, &err), LL_OK, "%s",
                 err.text);
    cr_assert_eq(count_from(TOPIC_TRANSACTIONS_VALID, PART, valid), 0, "an open transaction is not seen");
    cr_assert_eq(producer.ops->commit(producer.self, &err), LL_OK, "%s", err.text);
    expect_settled(raw + 2, valid + 3); /* two records and a marker */
    cr_assert_eq(count_from(TOPIC_TRANSACTIONS_VALID, PART, valid), 2);

    cr_assert_eq(producer.ops->begin(producer.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS_VALID, PART, "aborted"), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK, "%s", err.text);
    next_offset.offset = raw + 3;
    cr_assert_eq(producer.ops->send_offsets(producer.self, &consumer, &next_offset, 1, &err), LL_OK, "%s",
                 err.text);
    cr_assert_eq(producer.ops->abort(producer.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->abort(producer.self, &err), LL_OK, "twice is harmless");
    expect_settled(raw + 2, valid + 5);
    cr_assert_eq(count_from(TOPIC_TRANSACTIONS_VALID, PART, valid), 2,
                 "the reader passes aborted records and markers");
    producer.ops->close(producer.self);
    consumer.ops->close(consumer.self);
}

Test(kafka, position_and_watermark_stand_behind_the_marker)
{
    struct bus_producer producer = open_producer(transactional_id);
    int64_t raw = end_of(TOPIC_TRANSACTIONS, PART);
    cr_assert_eq(producer.ops->begin(producer.self, &err), LL_OK);
    cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS, PART, "in"), LL_OK);
    cr_assert_eq(producer.ops->commit(producer.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(producer.ops->begin(producer.self, &err), LL_OK);
    cr_assert_eq(send_text(&producer, TOPIC_TRANSACTIONS, PART, "out"), LL_OK);
    cr_assert_eq(producer.ops->flush(producer.self, WAIT_MS, &err), LL_OK);
    cr_assert_eq(producer.ops->abort(producer.self, &err), LL_OK, "%s", err.text);
    struct bus_consumer consumer = open_consumer(NULL);
    start_at(&consumer, raw);
    expect_raw(&consumer, raw, "in");
    int64_t low, high = -1, position = -1;
    for (int64_t until_ms = now_ms() + WAIT_MS; high != raw + 4 && now_ms() < until_ms;)
        cr_assert_eq(consumer.ops->watermarks(consumer.self, TOPIC_TRANSACTIONS, PART, &low, &high, &err),
                     LL_OK);
    cr_assert_eq(high, raw + 4);
    for (int64_t until_ms = now_ms() + WAIT_MS; position != high && now_ms() < until_ms;) {
        struct bus_record record;
        cr_assert_eq(consumer.ops->poll(consumer.self, 50, &record, &err), BUS_NONE,
                     "the aborted record is not seen");
        position = consumer.ops->position(consumer.self, TOPIC_TRANSACTIONS, PART);
    }
    cr_assert_eq(position, high);
    producer.ops->close(producer.self);
    consumer.ops->close(consumer.self);
}

/* A process that dies within its transaction: records sent, offsets sent, no commit. */
static void die_within_transaction(int64_t raw)
{
    struct bus_consumer consumer = open_consumer("static-1");
    start_at(&consumer, raw);
    struct bus_producer producer = open_producer(transactional_id);
    struct bus_position offset = {.topic = TOPIC_TRANSACTIONS, .partition = PART, .offset = raw + 1};
    struct bus_record record;
    if (next(&consumer, &record) != BUS_RECORD || producer.ops->begin(producer.self, &err) != LL_OK)
        _exit(3);
    producer.ops->send_offsets(producer.self, &consumer, &offset, 1, &err);
    if (producer.ops->commit(producer.self, &err) != LL_OK ||
        producer.ops->begin(producer.self, &err) != LL_OK)
        _exit(4);
    offset.offset = raw + 2;
    if (send_text(&producer, TOPIC_TRANSACTIONS_VALID, PART, "lost") != LL_OK ||
        producer.ops->send_offsets(producer.self, &consumer, &offset, 1, &err) != LL_OK ||
        producer.ops->flush(producer.self, WAIT_MS, &err) != LL_OK)
        _exit(5);
    kill(getpid(), SIGKILL);
}

Test(kafka, a_successor_reads_on_where_the_last_commit_was)
{
    int64_t raw = end_of(TOPIC_TRANSACTIONS, PART), valid = end_of(TOPIC_TRANSACTIONS_VALID, PART);
    send_raw(3);
    pid_t child = fork();
    if (child == 0)
        die_within_transaction(raw);
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status), "exit %d", WEXITSTATUS(status));

    int64_t since_ms = now_ms();
    struct bus_consumer consumer = open_consumer("static-1");
    struct bus_record record;
    cr_assert_eq(next(&consumer, &record), BUS_ASSIGNED, "%s", err.text);
    cr_assert_lt(now_ms() - since_ms, 3000, "a static member gets its partitions back at once");
    size_t count;
    bool lost;
    const struct bus_position *changed = consumer.ops->changed(consumer.self, &count, &lost);
    struct bus_position from[8];
    memcpy(from, changed, sizeof from);
    cr_assert_eq(consumer.ops->start(consumer.self, from, count, &err), LL_RETRY,
                 "offsets are in an open transaction");
    cr_assert(strstr(err.text, "transaction of a predecessor is open") != NULL, "%s", err.text);
    struct bus_producer producer = open_producer(transactional_id); /* aborts it */
    cr_assert_eq(consumer.ops->start(consumer.self, from, count, &err), LL_OK, "%s", err.text);
    struct bus_record again = {.partition = -1};
    while (again.partition != PART) /* other partitions have no commit: they come from their beginning */
        if (next(&consumer, &again) == BUS_RECORD && again.partition != PART)
            consumer.ops->release(consumer.self, &again);
    cr_assert_eq(again.offset, raw + 1);
    consumer.ops->release(consumer.self, &again);
    cr_assert_eq(count_from(TOPIC_TRANSACTIONS_VALID, PART, valid), 0);
    producer.ops->close(producer.self);
    consumer.ops->close(consumer.self);
}

Test(kafka, a_producer_that_was_fenced_is_fatal)
{
    struct bus_producer old = open_producer(transactional_id);
    cr_assert_eq(old.ops->begin(old.self, &err), LL_OK);
    cr_assert_eq(send_text(&old, TOPIC_LEDGER, 0, "old"), LL_OK);
    struct bus_producer new = open_producer(transactional_id);
    cr_assert_eq(old.ops->commit(old.self, &err), LL_FATAL, "%s", err.text);
    cr_assert_eq(new.ops->begin(new.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(send_text(&new, TOPIC_LEDGER, 0, "new"), LL_OK);
    cr_assert_eq(new.ops->commit(new.self, &err), LL_OK, "%s", err.text);
    old.ops->close(old.self);
    new.ops->close(new.self);
}

/* What a process that was killed at work leaves: librdkafka itself asks a second time after half a second. */
Test(kafka, a_successor_of_an_open_transaction_need_not_wait_half_a_second)
{
    struct bus_producer dead = open_producer(transactional_id), next = { 0 };
    int64_t end = end_of(TOPIC_TRANSACTIONS_VALID, PART), took_ms = INT64_MAX;
    for (int tries = 0; tries < 5 && took_ms > 400; tries++) { /* a busy machine may be slow once */
        cr_assert_eq(dead.ops->begin(dead.self, &err), LL_OK, "%s", err.text);
        cr_assert_eq(send_text(&dead, TOPIC_TRANSACTIONS_VALID, PART, "never seen"), LL_OK, "%s", err.text);
        dead.ops->flush(dead.self, WAIT_MS, &err);
        int64_t began_ms = now_ms();
        bool is_ready = false;
        cr_assert_eq(kafka_producer_begin(&config, transactional_id, 0, &next, &err), LL_OK, "%s", err.text);
        while (!is_ready && now_ms() < began_ms + WAIT_MS)
            cr_assert_eq(kafka_producer_ready(&next, 1, &is_ready, &err), LL_OK, "%s", err.text);
        cr_assert(is_ready);
        took_ms = now_ms() - began_ms;
        dead.ops->close(dead.self);
        dead = next;
    }
    cr_assert_leq(took_ms, 400);
    cr_assert_eq(dead.ops->begin(dead.self, &err), LL_OK, "%s", err.text);
    cr_assert_eq(send_text(&dead, TOPIC_TRANSACTIONS_VALID, PART, "seen"), LL_OK, "%s", err.text);
    cr_assert_eq(dead.ops->commit(dead.self, &err), LL_OK, "the last opening is not fenced by its own: %s",
                 err.text);
    dead.ops->close(dead.self);
    cr_assert_gt(end_of(TOPIC_TRANSACTIONS_VALID, PART), end);
}

/* From the end of a transaction with so many records to the begin of the next one. */
static int64_t pace_after(struct bus_producer *producer, int records)
{
    cr_assert_eq(producer->ops->begin(producer->self, &err), LL_OK, "%s", err.text);
    for (int i = 0; i < records; i++)
        cr_assert_eq(send_text(producer, TOPIC_LEDGER, 0, "x"), LL_OK, "%s", err.text);
    cr_assert_eq(producer->ops->commit(producer->self, &err), LL_OK, "%s", err.text);
    int64_t ended_ms = now_ms();
    cr_assert_eq(producer->ops->begin(producer->self, &err), LL_OK, "%s", err.text);
    int64_t took_ms = now_ms() - ended_ms;
    cr_assert_eq(producer->ops->abort(producer->self, &err), LL_OK, "%s", err.text);
    return took_ms;
}

Test(kafka, small_transactions_are_paced_and_large_ones_are_not)
{
    enum { PACE_MS = 1000 };
    struct bus_producer paced, other = open_producer("other");
    bool is_ready = false;
    cr_assert_eq(kafka_producer_begin(&config, transactional_id, PACE_MS, &paced, &err), LL_OK, "%s", err.text);
    while (!is_ready)
        cr_assert_eq(kafka_producer_ready(&paced, 100, &is_ready, &err), LL_OK, "%s", err.text);
    cr_expect_geq(pace_after(&paced, 1), PACE_MS - 1);
    cr_expect_lt(pace_after(&paced, 5000), PACE_MS / 2);
    cr_expect_lt(pace_after(&other, 1), PACE_MS / 2, "and nobody who did not ask for it");
    paced.ops->close(paced.self);
    other.ops->close(other.self);
}

Test(kafka, ends_of_many_partitions_are_one_question)
{
    struct bus_position ends[] = { { TOPIC_TRANSACTIONS, 1, 0 },
                                   { TOPIC_TRANSACTIONS_VALID, PART, 0 },
                                   { TOPIC_TRANSACTIONS, 0, 0 } };
    enum { COUNT = sizeof ends / sizeof ends[0] };
    struct kafka_admin *admin;
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK);
    cr_assert_eq(kafka_admin_ends(admin, ends, COUNT, 5000, &err), LL_OK, "%s", err.text);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_eq(ends[i].offset, end_of(ends[i].topic, ends[i].partition));
    cr_assert_eq(kafka_admin_group_positions(admin, group, ends, COUNT, 5000, &err), LL_OK, "%s", err.text);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_eq(ends[i].offset, -1);
    kafka_admin_close(admin);
}

Test(kafka, a_second_process_of_one_instance_breaks_the_first)
{
    struct bus_consumer first = open_consumer("twin");
    start_at(&first, end_of(TOPIC_TRANSACTIONS, PART));
    struct bus_consumer second = open_consumer("twin");
    struct bus_record record;
    cr_assert_eq(next(&second, &record), BUS_ASSIGNED, "%s", err.text);
    enum bus_event event = next(&first, &record);
    if (event == BUS_REVOKED) {
        cr_assert_eq(first.ops->stop(first.self, &err), LL_OK);
        event = next(&first, &record);
    }
    cr_assert_eq(event, BUS_BROKEN, "%s", err.text);
    cr_assert(strstr(err.text, "FENCED") != NULL, "%s", err.text);
    first.ops->close(first.self);
    second.ops->close(second.self);
}

Test(kafka, partitions_move_when_a_second_member_joins)
{
    struct bus_consumer first = open_consumer("m-1");
    start_at(&first, end_of(TOPIC_TRANSACTIONS, PART));
    struct bus_consumer second = open_consumer("m-2");
    struct bus_record record;
    bool lost;
    size_t count;
    cr_assert_eq(next(&first, &record), BUS_REVOKED, "%s", err.text);
    first.ops->changed(first.self, &count, &lost);
    cr_assert_eq(count, 8);
    cr_assert_not(lost);
    cr_assert_eq(first.ops->poll(first.self, 0, &record, &err), BUS_REVOKED, "said again until stop()");
    cr_assert_eq(first.ops->stop(first.self, &err), LL_OK);
    enum bus_event events[2] = {BUS_NONE, BUS_NONE};
    for (int64_t until_ms = now_ms() + WAIT_MS;
         now_ms() < until_ms && (events[0] == BUS_NONE || events[1] == BUS_NONE);) {
        if (events[0] == BUS_NONE)
            events[0] = first.ops->poll(first.self, 20, &record, &err);
        if (events[1] == BUS_NONE)
            events[1] = second.ops->poll(second.self, 20, &record, &err);
    }
    cr_assert(events[0] == BUS_ASSIGNED && events[1] == BUS_ASSIGNED);
    first.ops->changed(first.self, &count, &lost);
    cr_assert_eq(count, 4);
    second.ops->changed(second.self, &count, &lost);
    cr_assert_eq(count, 4);
    cr_assert_eq(first.ops->poll(first.self, 0, &record, &err), BUS_NONE, "nothing flows before start()");
    first.ops->close(first.self);
    second.ops->close(second.self);
}

Test(kafka, an_offset_outside_the_log_breaks_the_consumer)
{
    struct bus_consumer consumer = open_consumer(NULL);
    start_at(&consumer, end_of(TOPIC_TRANSACTIONS, PART) + 1000);
    struct bus_record record;
    cr_assert_eq(next(&consumer, &record), BUS_BROKEN);
    cr_assert(strstr(err.text, "transactions[3]") != NULL, "%s", err.text);
    consumer.ops->close(consumer.self);
}

Test(kafka, a_paused_partition_waits_and_loses_nothing)
{
    int64_t raw;
    struct bus_consumer consumer = open_at_three(&raw);
    expect_raw(&consumer, raw, "raw-0");
    cr_assert_eq(consumer.ops->pause(consumer.self, TOPIC_TRANSACTIONS, PART, true, &err), LL_OK, "%s",
                 err.text);
    struct bus_record record;
    for (int at = 0; at < 10; at++)
        cr_assert_eq(consumer.ops->poll(consumer.self, 20, &record, &err), BUS_NONE);
    cr_assert_eq(consumer.ops->pause(consumer.self, TOPIC_TRANSACTIONS, PART, false, &err), LL_OK, "%s",
                 err.text);
    expect_raw(&consumer, raw + 1, "raw-1");
    struct bus_position done = {.topic = TOPIC_TRANSACTIONS, .partition = PART, .offset = raw + 2};
    consumer.ops->commit(consumer.self, &done, 1);
    for (int64_t until_ms = now_ms() + WAIT_MS; committed_of(PART) != raw + 2 && now_ms() < until_ms;)
        if (consumer.ops->poll(consumer.self, 20, &record, &err) == BUS_RECORD)
            consumer.ops->release(consumer.self, &record);
    cr_assert_eq(committed_of(PART), raw + 2);
    consumer.ops->close(consumer.self);
}

Test(kafka, to_resume_what_is_not_paused_changes_nothing)
{
    int64_t raw;
    struct bus_consumer consumer = open_at_three(&raw);
    expect_raw(&consumer, raw, "raw-0");
    expect_raw(&consumer, raw + 1, "raw-1");
    cr_assert_eq(consumer.ops->pause(consumer.self, TOPIC_TRANSACTIONS, PART, false, &err), LL_OK, "%s", err.text);
    expect_raw(&consumer, raw + 2, "raw-2");
    consumer.ops->close(consumer.self);
}

/* A doubt may follow the one before at once, and a revoke a start. */
Test(kafka, starts_in_quick_succession_begin_where_they_say)
{
    int64_t raw;
    struct bus_consumer consumer = open_at_three(&raw);
    expect_raw(&consumer, raw, "raw-0");
    expect_raw(&consumer, raw + 1, "raw-1");
    for (int round = 0; round < 300; round++) {
        struct bus_record record;
        struct bus_position from = {.topic = TOPIC_TRANSACTIONS, .partition = PART, .offset = raw};
        cr_assert_eq(consumer.ops->start(consumer.self, &from, 1, &err), LL_OK, "%s", err.text);
        cr_assert_eq(consumer.ops->position(consumer.self, TOPIC_TRANSACTIONS, PART), -1, "round %d: where it stood before",
                     round);
        if (round % 3 == 0 && consumer.ops->poll(consumer.self, 0, &record, &err) == BUS_RECORD)
            consumer.ops->release(consumer.self, &record);
        if (round % 10 == 0) {
            cr_assert_eq(consumer.ops->start(consumer.self, &from, 1, &err), LL_OK, "%s", err.text);
            expect_raw(&consumer, raw, "raw-0");
            expect_raw(&consumer, raw + 1, "raw-1");
        }
    }
    cr_assert_eq(consumer.ops->stop(consumer.self, &err), LL_OK, "%s", err.text);
    consumer.ops->close(consumer.self);
}

/* Whoever starts anew, after a doubt or a transaction that was aborted, has forgotten what he paused before. */
Test(kafka, a_start_lets_flow_what_was_paused)
{
    int64_t raw;
    struct bus_consumer consumer = open_at_three(&raw);
    for (int round = 0; round < 3; round++) {
        expect_raw(&consumer, raw, "raw-0");
        cr_assert_eq(consumer.ops->pause(consumer.self, TOPIC_TRANSACTIONS, PART, true, &err), LL_OK, "%s", err.text);
        struct bus_record record;
        for (int at = 0; at < 10 * round; at++)
            cr_assert_eq(consumer.ops->poll(consumer.self, 20, &record, &err), BUS_NONE);
        struct bus_position from = {.topic = TOPIC_TRANSACTIONS, .partition = PART, .offset = raw};
        cr_assert_eq(consumer.ops->start(consumer.self, &from, 1, &err), LL_OK, "%s", err.text);
    }
    for (int at = 0; at < 3; at++)
        expect_raw(&consumer, raw + at, (const char *[]){"raw-0", "raw-1", "raw-2"}[at]);
    consumer.ops->close(consumer.self);
}
