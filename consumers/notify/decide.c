#include "consumers/notify/decide.h"

#include "consumers/notify/address.h"

static const char *const names[] = {
#define X(name, words) #name,
    DECIDE_REASONS(X)
#undef X
};
static const char *const meanings[] = {
#define X(name, words) words,
    DECIDE_REASONS(X)
#undef X
};

const char *decide_name(enum decide_reason reason)
{
    return names[reason];
}
const char *decide_words(enum decide_reason reason)
{
    return meanings[reason];
}

/* An hour of a day; one that the clocks skip begins with the next. */
static bool find_hour(struct calendar *calendar, int32_t day, int32_t hour, int64_t *ret_ms)
{
    int year, month, date;
    calendar_date(day, &year, &month, &date);
    for (; hour < 24; hour++)
        if (calendar_time(calendar, year, month, date, hour, 0, 0, ret_ms))
            return true;
    return false;
}

/* True within quiet hours; then *ret_until_ms is their end. */
static bool is_quiet(const struct config *config, struct calendar *calendar, int64_t now_ms,
                     int64_t *ret_until_ms)
{
    int32_t from = config->notify.quiet_from_hour, to = config->notify.quiet_to_hour;
    if (from == to)
        return false;
    int32_t today = calendar_day(calendar, now_ms);
    for (int32_t day = today - 1; day <= today; day++) {
        int64_t begins, ends;
        int32_t end_day = to < from ? day + 1 : day;
        if (!find_hour(calendar, day, from, &begins) || !find_hour(calendar, end_day, to, &ends))
            return false;
        if (now_ms >= begins && now_ms < ends) {
            *ret_until_ms = ends;
            return true;
        }
    }
    return false;
}

static bool is_true(const struct decide_facts *facts)
{
    switch (facts->truth) {
    case TRUTH_ALWAYS:
        return true;
    case TRUTH_POINTS:
        return facts->points + facts->reversed > 0;
    case TRUTH_INSIDE:
        return facts->inside;
    case TRUTH_OUTSIDE:
        return !facts->inside;
    }
    return false;
}

enum decide_reason decide_at_once(const struct config *config, int64_t happened_ms, int64_t now_ms)
{
    if (config->program.run != config->notify.live_run)
        return DECIDE_REPLAY;
    return now_ms - happened_ms > config->notify.age_ms ? DECIDE_TOO_OLD : DECIDE_OK;
}

enum decide_reason decide(const struct config *config, struct calendar *calendar,
                          const struct decide_facts *facts, int64_t now_ms, int64_t *ret_until_ms)
{
    bool is_marketing = facts->class == CLASS_MARKETING;
    enum decide_reason at_once = decide_at_once(config, facts->happened_ms, now_ms);
    if (at_once != DECIDE_OK)
        return at_once;
    if (facts->erased)
        return DECIDE_ERASED;
    if (!facts->known || text_empty(facts->address))
        return DECIDE_NO_ADDRESS;
    if (!facts->mailable || !address_valid(facts->address))
        return DECIDE_BAD_ADDRESS;
    if (facts->bounced)
        return DECIDE_BOUNCED;
    if (facts->unsubscribed)
        return DECIDE_UNSUBSCRIBED;
    if (is_marketing && !facts->consent)
        return DECIDE_NO_CONSENT;
    if (facts->sent)
        return DECIDE_ALREADY_SENT;
    if (!is_true(facts))
        return DECIDE_NOT_TRUE;
    if (is_marketing && facts->recent >= config->notify.cap_letters)
        return DECIDE_CAPPED;
    if (facts->class != CLASS_TRANSACTIONAL && is_quiet(config, calendar, now_ms, ret_until_ms))
        return DECIDE_QUIET_HOURS;
    return DECIDE_OK;
}

int64_t decide_backoff_ms(const struct config *config, int64_t attempt, double chance)
{
    int64_t ms = config->notify.backoff_ms;
    for (int64_t at = 1; at < attempt && ms < config->notify.backoff_max_ms; at++)
        ms *= 2;
    if (ms > config->notify.backoff_max_ms)
        ms = config->notify.backoff_max_ms;
    return ms / 2 + (int64_t)((double)(ms - ms / 2) * chance);
}
