/* May a letter go now: the order of the rules, quiet hours in local time, back-off. */
#include "consumers/notify/decide.h"

#include <criterion/criterion.h>

#include <string.h>

static const int64_t NOON_MS = INT64_C(1795262400000); /* 2026-11-21T12:00Z, a Saturday, in London too */
enum { MINUTE_MS = 60000, HOUR_MS = 3600000 };

static struct config config_of(void)
{
    struct config config;
    config_defaults(&config);
    return config;
}

static struct calendar *london(void)
{
    struct calendar *calendar = NULL;
    struct ll_err err = { "" };
    cr_assert_eq(calendar_new("Europe/London", &calendar, &err), LL_OK, "%s", err.text);
    return calendar;
}

/* Every rule but the first ones stops this letter: taking one fault away after the other must show them in their order. */
static struct decide_facts all_wrong(void)
{
    return (struct decide_facts){
        .class = CLASS_MARKETING,
        .truth = TRUTH_INSIDE,
        .happened_ms = NOON_MS - INT64_C(30) * 24 * HOUR_MS,
        .erased = true,
        .known = false,
        .mailable = false,
        .consent = false,
        .unsubscribed = true,
        .sent = true,
        .address = TEXT("a@mail.example>"),
        .bounced = true,
        .inside = false,
        .recent = 99,
    };
}

Test(notify_decide, rules_stop_a_letter_in_their_order)
{
    static const enum decide_reason order[] = {
        DECIDE_REPLAY,      DECIDE_TOO_OLD, DECIDE_ERASED,       DECIDE_NO_ADDRESS, DECIDE_BAD_ADDRESS,
        DECIDE_BAD_ADDRESS, DECIDE_BOUNCED, DECIDE_UNSUBSCRIBED, DECIDE_NO_CONSENT, DECIDE_ALREADY_SENT,
        DECIDE_NOT_TRUE,    DECIDE_CAPPED,  DECIDE_QUIET_HOURS,  DECIDE_OK
    };
    struct config config = config_of();
    struct calendar *calendar = london();
    struct decide_facts facts = all_wrong();
    int64_t until_ms = 0, now_ms = NOON_MS + 10 * HOUR_MS;
    config.program.run = 2;
    for (int fixed = 0; fixed < (int)(sizeof order / sizeof order[0]); fixed++) {
        cr_expect_eq(decide(&config, calendar, &facts, now_ms, &until_ms), order[fixed],
                     "after %d repairs: %s, not %s", fixed,
                     decide_name(decide(&config, calendar, &facts, now_ms, &until_ms)),
                     decide_name(order[fixed]));
        switch (fixed) {
        case 0:
            config.program.run = 1;
            break;
        case 1:
            facts.happened_ms = NOON_MS;
            break;
        case 2:
            facts.erased = false;
            break;
        case 3:
            facts.known = true;
            break;
        case 4:
            facts.mailable = true;
            break;
        case 5:
            facts.address = TEXT("a@mail.example");
            break;
        case 6:
            facts.bounced = false;
            break;
        case 7:
            facts.unsubscribed = false;
            break;
        case 8:
            facts.consent = true;
            break;
        case 9:
            facts.sent = false;
            break;
        case 10:
            facts.inside = true;
            break;
        case 11:
            facts.recent = 1;
            break;
        default:
            now_ms = NOON_MS;
            break;
        }
    }
    calendar_free(calendar);
}

static const struct {
    const char *why;
    enum letter_class class;
    enum letter_truth truth;
    int64_t points, reversed, recent;
    bool consent, inside, address;
    int hour; /* UTC on that day */
    enum decide_reason reason;
} cases[] = {
    { "points go without consent", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, 0, 0, false, false, true, 12,
      DECIDE_OK },
    { "points go at night", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, 0, 0, false, false, true, 23, DECIDE_OK },
    { "points are not capped", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, 0, 99, false, false, true, 12,
      DECIDE_OK },
    { "a part of the points is left", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, -4, 0, true, false, true, 12,
      DECIDE_OK },
    { "nothing of the points is left", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, -5, 0, true, false, true, 12,
      DECIDE_NOT_TRUE },
    { "more was taken back than given", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, -9, 0, true, false, true, 12,
      DECIDE_NOT_TRUE },
    { "taken back: always true", CLASS_TRANSACTIONAL, TRUTH_ALWAYS, -5, 0, 0, true, false, true, 12,
      DECIDE_OK },
    { "service needs no consent", CLASS_SERVICE, TRUTH_INSIDE, 0, 0, 9, false, true, true, 12, DECIDE_OK },
    { "service is quiet at night", CLASS_SERVICE, TRUTH_INSIDE, 0, 0, 9, false, true, true, 22,
      DECIDE_QUIET_HOURS },
    { "marketing needs consent", CLASS_MARKETING, TRUTH_INSIDE, 0, 0, 0, false, true, true, 12,
      DECIDE_NO_CONSENT },
    { "welcome back, and still away", CLASS_MARKETING, TRUTH_OUTSIDE, 0, 0, 0, true, true, true, 12,
      DECIDE_NOT_TRUE },
    { "welcome back", CLASS_MARKETING, TRUTH_OUTSIDE, 0, 0, 0, true, false, true, 12, DECIDE_OK },
    { "one more than the cap", CLASS_MARKETING, TRUTH_INSIDE, 0, 0, 2, true, true, true, 12, DECIDE_CAPPED },
    { "the last under the cap", CLASS_MARKETING, TRUTH_INSIDE, 0, 0, 1, true, true, true, 12, DECIDE_OK },
    { "nowhere to send it", CLASS_TRANSACTIONAL, TRUTH_POINTS, 5, 0, 0, true, false, false, 12,
      DECIDE_NO_ADDRESS },
};

Test(notify_decide, classes_and_truth)
{
    struct config config = config_of();
    struct calendar *calendar = london();
    for (size_t at = 0; at < sizeof cases / sizeof cases[0]; at++) {
        int64_t now_ms = NOON_MS + (cases[at].hour - 12) * (int64_t)HOUR_MS, until_ms = 0;
        const struct decide_facts facts = { .class = cases[at].class,
                                            .truth = cases[at].truth,
                                            .happened_ms = now_ms - MINUTE_MS,
                                            .known = true,
                                            .mailable = true,
                                            .consent = cases[at].consent,
                                            .address = cases[at].address ? TEXT("a@mail.example")
                                                                         : (struct text){ NULL, 0 },
                                            .inside = cases[at].inside,
                                            .points = cases[at].points,
                                            .reversed = cases[at].reversed,
                                            .recent = cases[at].recent };
        enum decide_reason reason = decide(&config, calendar, &facts, now_ms, &until_ms);
        cr_expect_eq(reason, cases[at].reason, "%s: %s", cases[at].why, decide_name(reason));
    }
    calendar_free(calendar);
}

static const struct {
    const char *why;
    int from, to;
    int64_t at_ms;    /* after midnight UTC of 2026-11-21 */
    int64_t until_ms; /* -1: not quiet */
} quiet[] = {
    { "the first moment", 21, 8, 21 * HOUR_MS, 32 * HOUR_MS },
    { "the moment before", 21, 8, 21 * HOUR_MS - 1, -1 },
    { "after midnight", 21, 8, 3 * HOUR_MS, 8 * HOUR_MS },
    { "the last moment", 21, 8, 8 * HOUR_MS - 1, 8 * HOUR_MS },
    { "the moment after", 21, 8, 8 * HOUR_MS, -1 },
    { "within a day", 12, 14, 13 * HOUR_MS, 14 * HOUR_MS },
    { "before it", 12, 14, 11 * HOUR_MS, -1 },
    { "none", 9, 9, 9 * HOUR_MS, -1 },
};

Test(notify_decide, quiet_hours_end)
{
    struct config config = config_of();
    struct calendar *calendar = london();
    int64_t midnight_ms = NOON_MS - 12 * (int64_t)HOUR_MS;
    for (size_t at = 0; at < sizeof quiet / sizeof quiet[0]; at++) {
        int64_t until_ms = -1, now_ms = midnight_ms + quiet[at].at_ms;
        const struct decide_facts facts = { .class = CLASS_SERVICE,
                                            .happened_ms = now_ms,
                                            .known = true,
                                            .mailable = true,
                                            .address = TEXT("a@mail.example") };
        config.notify.quiet_from_hour = quiet[at].from;
        config.notify.quiet_to_hour = quiet[at].to;
        enum decide_reason reason = decide(&config, calendar, &facts, now_ms, &until_ms);
        cr_expect_eq(reason, quiet[at].until_ms < 0 ? DECIDE_OK : DECIDE_QUIET_HOURS, "%s", quiet[at].why);
        if (quiet[at].until_ms >= 0)
            cr_expect_eq(until_ms, midnight_ms + quiet[at].until_ms, "%s", quiet[at].why);
    }
    calendar_free(calendar);
}

Test(notify_decide, quiet_hours_end_by_the_clock_on_the_wall_when_the_clocks_change)
{
    struct config config = config_of();
    struct calendar *calendar = london();
    int64_t until_ms = 0,
            night_ms = INT64_C(1774659600000);   /* 2026-03-28T01:00Z + 1 day: the night of the change */
    night_ms += INT64_C(24) * HOUR_MS - HOUR_MS; /* 2026-03-29T00:00Z */
    const struct decide_facts facts = { .class = CLASS_SERVICE,
                                        .happened_ms = night_ms,
                                        .known = true,
                                        .mailable = true,
                                        .address = TEXT("a@mail.example") };
    cr_assert_eq(decide(&config, calendar, &facts, night_ms, &until_ms), DECIDE_QUIET_HOURS);
    cr_expect_eq(until_ms, night_ms + 7 * (int64_t)HOUR_MS, "8 o'clock is 7 UTC from that morning on");
    calendar_free(calendar);
}

Test(notify_decide, back_off_doubles_up_to_its_most_and_half_of_it_is_chance)
{
    struct config config = config_of();
    config.notify.backoff_ms = 1000;
    config.notify.backoff_max_ms = 5000;
    static const int64_t whole[] = { 1000, 2000, 4000, 5000, 5000 };
    for (int at = 0; at < 5; at++) {
        cr_expect_eq(decide_backoff_ms(&config, at + 1, 0.0), whole[at] / 2);
        cr_expect_eq(decide_backoff_ms(&config, at + 1, 1.0), whole[at]);
    }
    cr_expect_eq(decide_backoff_ms(&config, INT64_MAX, 1.0), 5000);
}
