#include "consumers/validate/loop.h"

#include "runtime/log.h"

#include <inttypes.h>

enum { FOLLOW_EVENTS = 20000, SETTLE_MS = 250 };

static void on_command(struct validate *v, const struct command *command, enum ll_status *status,
                       struct ll_err *err)
{
    if (!text_equal(command->process, TEXT("validate")) || !text_equal(command->verb, TEXT("resume")))
        return;
    enum topic topic = TOPIC_COUNT; /* all */
    if (command->topic.size > 0) {
        char name[TOPIC_NAME_SIZE] = "";
        if (command->topic.size >= sizeof name)
            return;
        memcpy(name, command->topic.data, command->topic.size);
        topic = topic_find(name);
        if (topic == TOPIC_COUNT)
            return;
    }
    *status = parts_resume(v, topic, command->partition, command->time_ms, err);
}

/* Takes in what another part of the system has accepted already; what does not decode is told, and left out.
 */
static enum ll_status take_in(struct validate *v, const struct bus_record *record, struct ll_err *err)
{
    static const struct {
        enum topic topic;
        enum event_kind kind;
    } KINDS[] = {
        {TOPIC_STORES_VALID, EVENT_STORE},          {TOPIC_PRODUCTS_VALID, EVENT_PRODUCT},
        {TOPIC_CUSTOMERS_VALID, EVENT_CUSTOMER},    {TOPIC_PROMOTIONS_VALID, EVENT_PROMOTION},
        {TOPIC_LOYALTY_RULES, EVENT_LOYALTY_RULES}, {TOPIC_COMMANDS, EVENT_COMMAND},
    };
    if (record->value.data == NULL)
        return LL_OK;
    size_t i = 0;
    while (i < sizeof KINDS / sizeof KINDS[0] && KINDS[i].topic != record->topic)
        i++;
    if (i == sizeof KINDS / sizeof KINDS[0])
        return LL_OK;
    struct event event;
    enum code code = CODE_NONE;
    struct ll_err why = {""};
    enum ll_status status =
        codec_read(v->needs.codec, KINDS[i].kind, record->value, v->feed_scratch, &event, &code, &why);
    if (status == LL_POISON) {
        log_line(LOG_ERROR, "record_ignored", "topic=%s partition=%d offset=%" PRId64 " code=%s error=%s",
                 topic_name(record->topic), record->partition, record->offset, code_info(code)->name,
                 log_quote_c(why.text));
        return LL_OK;
    }
    if (status != LL_OK) /* our own schemas need no registry */
        return ll_fail(err, LL_FATAL, "%s", why.text);
    if (event.kind == EVENT_LOYALTY_RULES) {
        if (event.loyalty_rules.version > v->rules_version)
            v->rules_version = event.loyalty_rules.version;
    } else if (event.kind == EVENT_COMMAND) {
        on_command(v, &event.command, &status, err);
    } else {
        references_put(v->references, &event);
        v->news = true;
    }
    return status;
}

enum ll_status follow(struct validate *v, struct ll_err *err)
{
    struct bus_record record;
    /* Loading goes on as fast as it can; after it, what has come is taken in and nothing is waited for. */
    int wait_ms = v->phase != PHASE_LOADING ? 0 : steady_ms(v) < v->quick_ms ? 1 : 10;
    for (int i = 0; i < FOLLOW_EVENTS; i++) {
        int timeout_ms = i == 0 ? wait_ms : 0;
        switch (v->needs.feed.ops->read(v->needs.feed.self, timeout_ms, &record, err)) {
        case BUS_RECORD: {
            enum ll_status status = take_in(v, &record, err);
            v->needs.feed.ops->release(v->needs.feed.self, &record);
            if (status != LL_OK)
                return status;
            break;
        }
        case BUS_BROKEN:
            return LL_FATAL;
        case BUS_DOWN:
            v->down = true;
            report_waits_for(v, err->text);
            return LL_OK;
        case BUS_NONE:
        case BUS_ASSIGNED:
        case BUS_REVOKED:
            return LL_OK;
        }
    }
    return LL_OK;
}

static void settled_as_due(struct validate *v)
{
    if (!v->marked || !v->needs.feed.ops->at_end(v->needs.feed.self))
        return;
    v->marked = false;
    v->known_ms = v->marking_ms;
    v->retry_due_ms = 0;
}

/* First everything raw that is there is judged, by whichever process of the group; then the valid records
 * that came of it are read to their end. What was sent before the first of these steps is known after the
 * last. */
enum ll_status follow_settle(struct validate *v, struct ll_err *err)
{
    bool wanted =
        v->phase == PHASE_REFERENCES ? v->assigned && v->producer.ops != NULL : parts_waiting(v) > 0;
    if (v->phase == PHASE_LOADING || (!wanted && !v->marked))
        return LL_OK;
    if (v->marked) {
        settled_as_due(v);
        v->behind =
            v->behind || (v->marked && steady_ms(v) >= v->quick_ms); /* the raw ones need not wait for it */
        return LL_OK;
    }
    int64_t now_ms = steady_ms(v);
    if (now_ms < v->settle_due_ms)
        return LL_OK;
    v->settle_due_ms = now_ms + (v->phase == PHASE_REFERENCES ? SETTLE_MS / 10 : SETTLE_MS);
    v->marking_ms = wall_ms(v);
    bool judged = false;
    enum ll_status status = v->needs.feed.ops->judged(v->needs.feed.self, &judged, err);
    if (status == LL_OK && judged) {
        status = v->needs.feed.ops->mark_end(v->needs.feed.self, err);
        v->marked = status == LL_OK;
        settled_as_due(v); /* nothing may have come since */
    }
    v->behind = v->behind || (!v->marked && v->known_ms < v->assigned_ms);
    if (status != LL_RETRY)
        return status;
    v->down = true; /* asked again: nothing that was decided is in doubt */
    report_waits_for(v, err->text);
    return LL_OK;
}
