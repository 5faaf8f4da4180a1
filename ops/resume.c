#include "ops/verbs.h"

#include "ops/options.h"
#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "schemas/codec.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum { COMMANDS_MAX = 64, ALL = -1, FLUSH_MS = 10000, VALUE_SIZE = 512 };

/* What validate reads, and may have paused. */
static const enum topic RAW[] = {TOPIC_TRANSACTIONS, TOPIC_CUSTOMERS,  TOPIC_PRODUCTS,
                                 TOPIC_STORES,       TOPIC_PROMOTIONS, TOPIC_INVENTORY};

struct resume {
    struct text topic; /* "": every one */
    int32_t partition; /* ALL: every one of the topic */
};

/* "all", TOPIC, TOPIC/PARTITION. */
static bool parse(const char *argument, const struct topics *topics, struct resume *ret)
{
    *ret = (struct resume){.topic = TEXT(""), .partition = ALL};
    if (strcmp(argument, "all") == 0)
        return true;
    const char *slash = strchr(argument, '/');
    ret->topic = slash == NULL ? text_of(argument) : (struct text){argument, (uint32_t)(slash - argument)};
    for (size_t i = 0; i < sizeof RAW / sizeof RAW[0]; i++) {
        if (!text_equal(ret->topic, text_of(topic_name(RAW[i]))))
            continue;
        int64_t partition = ALL;
        if (slash != NULL && !option_int(slash + 1, 0, topics->facts[RAW[i]].partitions - 1, &partition))
            return false;
        ret->partition = (int32_t)partition;
        return true;
    }
    return false;
}

static enum ll_status send_commands(struct lens *lens, struct codec *codec, const struct resume *resumes,
                                    int count, struct ll_err *err)
{
    struct bus_producer producer;
    enum ll_status status = kafka_producer_open(&lens->config, NULL, &producer, err);
    if (status != LL_OK)
        return status;
    struct clock_source clock = clock_real();
    for (int i = 0; status == LL_OK && i < count; i++) {
        char value[VALUE_SIZE];
        struct event event = {
            .kind = EVENT_COMMAND,
            .command =
                {
                    .process = TEXT("validate"),
                    .verb = TEXT("resume"),
                    .topic = resumes[i].topic,
                    .partition = resumes[i].partition,
                    .time_ms = clock.wall_ms(clock.self),
                },
        };
        struct bus_out out = {
            .topic = TOPIC_COMMANDS,
            .partition = 0,
            .key = TEXT("validate"),
            .value = {value, (uint32_t)codec_write(codec, &event, value, sizeof value)},
        };
        status = producer.ops->send(producer.self, &out, err);
    }
    if (status == LL_OK)
        status = producer.ops->flush(producer.self, FLUSH_MS, err);
    producer.ops->close(producer.self);
    return status;
}

int verb_resume(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = {{NULL, 0, NULL, 0}};
    struct resume resumes[COMMANDS_MAX];
    struct topics topics;
    struct codec *codec = NULL;
    struct ll_err err = {""};
    char path[2 * CONFIG_TEXT_SIZE];
    if (getopt_long(argc, argv, "", options, NULL) != -1)
        return lens_usage(lens, "there are no options of its own");
    int count = argc - optind;
    if (count < 1 || count > COMMANDS_MAX)
        return lens_usage(
            lens, "name 1 to %d of TOPIC, TOPIC/PARTITION, or all; `lens status` tells what is paused",
            COMMANDS_MAX);
    enum ll_status status =
        topics_load(config_share_path(&lens->config, "topics.conf", path, sizeof path), &topics, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    for (int i = 0; i < count; i++)
        if (!parse(argv[optind + i], &topics, &resumes[i]))
            return lens_usage(
                lens,
                "%s: validate reads transactions, customers, products, stores, promotions, inventory; "
                "topics.conf says how many partitions each has",
                argv[optind + i]);
    status = codec_new(config_share_path(&lens->config, "schemas", path, sizeof path), NULL, &codec, &err);
    if (status == LL_OK)
        status = send_commands(lens, codec, resumes, count, &err);
    codec_free(codec);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    if (lens->json)
        return lens_print_json(lens, json_pack("{s:i}", "commands", count));
    printf("told validate to go on; `lens status` shows whether it does\n");
    return LENS_DONE;
}
