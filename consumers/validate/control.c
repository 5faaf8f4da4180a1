#include "consumers/validate/loop.h"

/* A partition that has been quiet for so long has been read to its end, so that its clock may follow the
 * wall's. */
enum { QUIET_MS = 1000 };

static enum ll_status send_control(struct validate *v, const struct part *part, enum control_kind kind,
                                   int32_t version, int64_t time_ms, struct ll_err *err)
{
    struct event event = {
        .kind = EVENT_CONTROL,
        .control = {.kind = kind, .rules_version = version, .time_ms = time_ms},
    };
    struct bus_out out = {
        .topic = TOPIC_TRANSACTIONS_VALID,
        .partition = part->partition,
        .timestamp_ms = time_ms,
        .value = batch_encode(v, &event),
    };
    return batch_send(v, &out, err);
}

/* The log's clock must not run ahead of records that are still to be judged: behind a backlog it is their own
 * time. */
static int64_t log_time(const struct part *part, int64_t now_ms, int64_t now_wall_ms)
{
    bool behind = part->waiting_count > 0 || part->is_paused || now_ms - part->last_record_ms < QUIET_MS;
    return behind ? part->log_ms : now_wall_ms;
}

enum ll_status control_write(struct validate *v, struct ll_err *err)
{
    if (v->phase != PHASE_RUNNING || !v->started)
        return LL_OK;
    int64_t now_ms = steady_ms(v), now_wall_ms = wall_ms(v);
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part)) {
        if (part->topic != TOPIC_TRANSACTIONS)
            continue;
        enum ll_status status = LL_OK;
        if (part->rules_told < v->rules_version) {
            status = send_control(v, part, CONTROL_RULES, v->rules_version, now_wall_ms, err);
            part->rules_telling = v->rules_version;
        }
        if (status != LL_OK)
            return status;
        int64_t time_ms = log_time(part, now_ms, now_wall_ms);
        if (now_ms < part->tick_due_ms || time_ms <= part->tick_ms)
            continue;
        status = send_control(v, part, CONTROL_TICK, 0, time_ms, err);
        if (status != LL_OK)
            return status;
        part->tick_ms = time_ms;
        part->tick_due_ms = now_ms + v->needs.config->validate.tick_ms;
    }
    return LL_OK;
}

void control_committed(struct validate *v)
{
    for (struct part *part = part_next(v, NULL); part != NULL; part = part_next(v, part))
        part->rules_told = part->rules_telling;
}
