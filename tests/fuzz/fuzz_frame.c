/* A value as it comes from Kafka, read as every kind of event. */
#include "tests/fuzz/fuzz.h"

#include "schemas/bind.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct codec_scratch *scratch;
    if (scratch == NULL)
        scratch = codec_scratch_new();
    struct text value = { (const char *)data, (uint32_t)size };
    struct codec *codec = fuzz_codec();
    struct ll_err err = { "" };
    enum code code = CODE_NONE;
    enum event_kind said = EVENT_KINDS;
    int32_t id = codec_schema_id(value, &code);
    fuzz_claim((id == -1) == (code != CODE_NONE) || size >= CODEC_FRAME_SIZE, "schema id %d, code %d", id, code);
    enum ll_status status = codec_kind(codec, value, &said, &code, &err);
    fuzz_claim(status == LL_OK || (status == LL_POISON && code_info(code) != NULL), "kind: status %d, code %d", status, code);
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        struct event event;
        code = CODE_NONE;
        status = codec_read(codec, (enum event_kind)kind, value, scratch, &event, &code, &err);
        fuzz_claim(status == LL_OK || (status == LL_POISON && code_info(code) != NULL), "%s: status %d, code %d",
                   event_kind_name((enum event_kind)kind), status, code);
        if (status == LL_OK)
            fuzz_claim_event(&event);
    }
    return 0;
}
