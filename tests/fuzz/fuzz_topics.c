/* topics.conf: what is accepted says all that the set-up needs of each topic. */
#include "tests/fuzz/fuzz.h"

#include "runtime/topics.h"

#include <string.h>

static void claim_topic(enum topic topic, const struct topic_fact *fact)
{
    fuzz_claim(memchr(fact->name, '\0', sizeof fact->name) != NULL && strcmp(fact->name, topic_name(topic)) == 0, "%s is called %s",
               topic_name(topic), fact->name);
    fuzz_claim(fact->partitions > 0, "%s has %d partitions", fact->name, fact->partitions);
    fuzz_claim(fact->retention_ms == -1 || fact->retention_ms > 0, "%s is kept %lld ms", fact->name, (long long)fact->retention_ms);
    fuzz_claim(fact->schema[0] != '\0' && fact->writers[0] != '\0' && fact->readers[0] != '\0', "%s is not told whole", fact->name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct topics topics;
    struct ll_err err = { "" };
    if (topics_load(fuzz_file(0, (struct text){ (const char *)data, (uint32_t)size }), &topics, &err) != LL_OK) {
        fuzz_claim(err.text[0] != '\0', "refused without a word");
        return 0;
    }
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        claim_topic((enum topic)topic, &topics.facts[topic]);
    int32_t partitions = topics.facts[TOPIC_TRANSACTIONS].partitions;
    fuzz_claim(topics.facts[TOPIC_TRANSACTIONS_RETRY].partitions == partitions &&
                   topics.facts[TOPIC_TRANSACTIONS_VALID].partitions == partitions &&
                   topics.facts[TOPIC_LEDGER].partitions == partitions,
               "a record would not keep its partition");
    return 0;
}
