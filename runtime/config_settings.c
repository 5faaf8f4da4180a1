#include "runtime/config_settings.h"

#include <stdio.h>
#include <string.h>

#define AT(group, field) offsetof(struct config, group.field), sizeof(((struct config *)0)->group.field)
#define TEXT_ROW(group, field, preset, least, help)                                                          \
    {                                                                                                        \
#group "." #field, SETTING_TEXT, AT(group, field), preset, NULL, 0, least,                           \
            (int64_t)sizeof(((struct config *)0)->group.field) - 1, NULL, help                               \
    }
#define CHOICE_ROW(group, field, preset, choices, help)                                                      \
    {                                                                                                        \
#group "." #field, SETTING_TEXT, AT(group, field), preset, choices, 0, 0,                            \
            (int64_t)sizeof(((struct config *)0)->group.field) - 1, NULL, help                               \
    }
#define INT_ROW(group, field, preset, min, max, unit, help)                                                  \
    {                                                                                                        \
#group "." #field, SETTING_INT32, AT(group, field), NULL, NULL, preset, min, max, unit, help         \
    }
#define LONG_ROW(group, field, preset, min, max, unit, help)                                                 \
    {                                                                                                        \
#group "." #field, SETTING_INT64, AT(group, field), NULL, NULL, preset, min, max, unit, help         \
    }

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define MIB       (INT64_C(1) << 20)

const struct setting config_settings[] = {
    TEXT_ROW(program, name, "Loyalty Lens", 1, "the program's name, as reports and letters call it"),
    TEXT_ROW(program, currency, "GBP", 3, "ISO 4217; sales in any other currency are dead letters"),
    TEXT_ROW(program, time_zone, "Europe/London", 1, "IANA zone in which a day begins and ends"),
    INT_ROW(program, run, 1, 1, 1000000, NULL, "run id, part of every key and table; a replay gets its own"),

    TEXT_ROW(kafka, bootstrap, "", 0,
             "brokers, \"host:port,host:port\"; empty: the private stack of `lens up`"),
    CHOICE_ROW(kafka, security_protocol, "plaintext", "plaintext|ssl|sasl_plaintext|sasl_ssl",
               "how brokers are talked to"),
    CHOICE_ROW(kafka, sasl_mechanism, "SCRAM-SHA-512", "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512",
               "used with sasl_*"),
    TEXT_ROW(kafka, sasl_username, "", 0,
             "used with sasl_*; in users, passwords and keys %p is the process's name (of `lens`: admin)"),
    TEXT_ROW(kafka, sasl_password_file, "", 0,
             "file whose first line is the password; only its owner may read it (chmod 600)"),
    TEXT_ROW(kafka, ssl_ca_file, "", 0,
             "PEM of the authority that signed the brokers' certificates; empty: the system's"),
    TEXT_ROW(kafka, ssl_certificate_file, "", 0, "PEM of our own certificate, for mutual TLS"),
    TEXT_ROW(kafka, ssl_key_file, "", 0, "PEM of its key, without a passphrase"),
    TEXT_ROW(kafka, group_prefix, "lens-", 0, "group ids are this and the process's name"),
    LONG_ROW(kafka, session_timeout_ms, 10000, 4000, 300000, "ms",
             "a process silent for so long loses its partitions; longer than a broker's restart is best"),
    LONG_ROW(kafka, queue_size, 128 * MIB, MIB, 2048 * MIB - 1024, "bytes",
             "records fetched ahead by one consumer, at most; small ones take three times as much memory"),
    LONG_ROW(kafka, transaction_timeout_ms, 60000, 10000, 900000, "ms",
             "a broker may be away for so long before a transaction is lost and its process starts again"),
    LONG_ROW(kafka, linger_ms, 5, 0, 1000, "ms", "a producer waits so long to fill a batch"),
    CHOICE_ROW(kafka, compression, "lz4", "none|gzip|snappy|lz4|zstd", "of batches on the wire and on disk"),

    TEXT_ROW(redis, host, "", 0, "empty, with socket empty: the private stack of `lens up`"),
    INT_ROW(redis, port, 6379, 1, 65535, NULL, "used with host"),
    TEXT_ROW(redis, socket, "", 0, "path of a unix socket; preferred over host and port"),
    TEXT_ROW(redis, username, "", 0, "of its access list; empty: a password without user"),
    TEXT_ROW(redis, password_file, "", 0, "file whose first line is the password"),
    LONG_ROW(redis, timeout_ms, 2000, 10, 60000, "ms", "connect, and each call"),

    TEXT_ROW(postgres, host, "", 0,
             "host, or the directory of a unix socket; empty: the private stack of `lens up`"),
    INT_ROW(postgres, port, 5432, 1, 65535, NULL, "also part of a unix socket's name"),
    TEXT_ROW(postgres, user, "lens", 1, "role"),
    TEXT_ROW(postgres, database, "lens", 1, "database"),
    TEXT_ROW(postgres, password_file, "", 0, "file whose first line is the password"),
    CHOICE_ROW(postgres, sslmode, "prefer", "disable|allow|prefer|require|verify-ca|verify-full",
               "as libpq takes it"),
    TEXT_ROW(postgres, sslrootcert_file, "", 0, "PEM of the authority that signed the server's certificate"),
    LONG_ROW(postgres, timeout_ms, 5000, 100, 600000, "ms", "connect, and each statement of a live process"),

    TEXT_ROW(registry, url, "", 0,
             "Confluent-compatible schema registry, with its path; empty: schemas/ids.conf alone"),
    LONG_ROW(registry, timeout_ms, 2000, 10, 60000, "ms", "connect, and each request"),

    LONG_ROW(validate, batch_events, 20000, 1, 1000000, "records", "in one Kafka transaction, at most"),
    LONG_ROW(validate, batch_ms, 50, 1, 10000, "ms", "from a batch's first record to its commit, at most"),
    LONG_ROW(validate, grace_ms, 10000, 0, DAY_MS, "ms",
             "a sale waits so long for a store, product, ... that is not known yet"),
    LONG_ROW(validate, tick_ms, 10000, 100, HOUR_MS, "ms",
             "between TICK records, the clock of every later process"),
    LONG_ROW(validate, refused_window, 1000, 10, 1000000, "records",
             "how far back the share of refused records is looked at"),
    LONG_ROW(validate, refused_min, 50, 1, 1000000, "records",
             "fewer refused records than this never pause a partition"),
    LONG_ROW(validate, refused_percent, 20, 1, 100, "percent",
             "more refused records than this share pause a partition until `lens resume`; 100: never"),
    LONG_ROW(validate, hang_ms, 30000, 0, HOUR_MS, "ms",
             "of CPU on one record: it ends the process, and is refused when it is found; 0: never"),
    INT_ROW(validate, metrics_port, 0, 0, 65535, NULL,
            "loopback port of /metrics; 0: a free one, told in run/<instance>.port"),

    LONG_ROW(accrue, batch_events, 8192, 1, 1000000, "records", "in one Redis call, at most"),
    LONG_ROW(accrue, batch_ms, 5, 1, 1000, "ms", "from a record's arrival to Redis, at most"),
    LONG_ROW(accrue, flush_ms, 1000, 10, 60000, "ms", "between commits in Postgres"),
    LONG_ROW(accrue, flush_events, 800000, 1, 10000000, "records",
             "... or after so many, whichever comes first"),
    LONG_ROW(accrue, flush_size, 256 * MIB, 64 * 1024, 1024 * MIB, "bytes",
             "... or after so many bytes of rows"),
    LONG_ROW(accrue, hold_ms, 7 * DAY_MS, 0, 3650 * DAY_MS, "ms",
             "a return waits so long for its sale, by the log's clock"),
    LONG_ROW(accrue, dedupe_events, 1000000, 0, 100000000, "identities",
             "kept in memory per partition; older ones are looked up in Postgres"),
    LONG_ROW(accrue, customers_max, 4000000, 1000, 100000000, "customers",
             "balances in memory per partition, at most"),
    LONG_ROW(accrue, skew_ms, 5 * MINUTE_MS, 0, DAY_MS, "ms",
             "an event's time is at most so much later than its arrival (validate's largest skew)"),
    CHOICE_ROW(accrue, unreferenced_return, "reverse", "reverse|ignore",
               "a return that names no sale takes points back by the rules at its time, or none"),
    LONG_ROW(accrue, hang_ms, 30000, 0, HOUR_MS, "ms",
             "of CPU on one record or one batch's decisions: the same as validate.hang_ms"),
    INT_ROW(accrue, metrics_port, 0, 0, 65535, NULL,
            "loopback port of /metrics; 0: a free one, told in run/<instance>.port"),

    LONG_ROW(relay, poll_ms, 50, 1, 60000, "ms", "between looks for committed rows while there are none"),
    LONG_ROW(relay, slice_rows, 10000, 1, 1000000, "rows",
             "of one partition in one Kafka transaction; rows of one offset are never parted"),
    LONG_ROW(relay, tick_ms, MINUTE_MS, 100, HOUR_MS, "ms",
             "a TICK follows the rows when the log's clock has come to another multiple of this"),
    INT_ROW(relay, metrics_port, 0, 0, 65535, NULL,
            "loopback port of /metrics; 0: a free one, told in run/<instance>.port"),

    CHOICE_ROW(segment, clock, "log", "log|event",
               "a day ends when the log's clock has left it (live), or by the sales' own times (history, replay)"),
    LONG_ROW(segment, flush_ms, 200, 10, 60000, "ms", "between commits in Postgres, at least"),
    LONG_ROW(segment, flush_rows, 5000000, 1, 100000000, "rows", "... or after so many, whichever comes first"),
    LONG_ROW(segment, ahead_records, 20000, 1, 10000000, "records",
             "held of a partition that has come to another day, until all have; more are not fetched"),
    LONG_ROW(segment, quiet_ms, 15000, 0, HOUR_MS, "ms",
             "clock = event: a partition has come to its end when its clock is so far beyond every row's"),
    LONG_ROW(segment, tier_silver, 500, 1, 1000000000000, "points", "of twelve months: SILVER"),
    LONG_ROW(segment, tier_gold, 2000, 1, 1000000000000, "points", "of twelve months: GOLD"),
    INT_ROW(segment, weight_trajectory, 10, 0, 100, "percent",
            "of the potential: how spend per visit moves; the four weights sum to 100"),
    INT_ROW(segment, weight_engagement, 45, 0, 100, "percent", "of the potential: how many weeks with a visit"),
    INT_ROW(segment, weight_breadth, 25, 0, 100, "percent", "of the potential: how many categories"),
    INT_ROW(segment, weight_points, 20, 0, 100, "percent", "of the potential: points in hand"),
    INT_ROW(segment, at_risk_days, 30, 1, 365, "days", "without a visit, with points to spend: at risk"),
    INT_ROW(segment, high_spender_percent, 10, 1, 100, "percent",
            "of those who spent in twelve months are high spenders, ties in"),
    INT_ROW(segment, hysteresis_percent, 0, 0, 50, "percent",
            "a high spender stays one until the spend is so far below the threshold; 0: exactly those at or above it"),
    INT_ROW(segment, metrics_port, 0, 0, 65535, NULL,
            "loopback port of /metrics; 0: a free one, told in run/<instance>.port"),

    CHOICE_ROW(notify, delivery, "file", "file|smtp|off",
               "letters as .eml files, or to a mail server; off: nothing is read and nothing sent"),
    CHOICE_ROW(notify, points, "transaction", "transaction|daily|off",
               "letters about points: one for each sale or return, one a day, or none"),
    INT_ROW(notify, live_run, 1, 1, 1000000, NULL,
            "the run whose letters go out; those of any other (program.run of a replay) are held back"),
    LONG_ROW(notify, delay_ms, 2000, 0, DAY_MS, "ms",
             "a letter waits so long before it is judged: a return may come at once"),
    LONG_ROW(notify, age_ms, 3 * DAY_MS, 1000, 36500 * DAY_MS, "ms",
             "what happened longer ago is no news: its letter is held back"),
    INT_ROW(notify, digest_hour, 8, 0, 23, NULL, "with points = daily: the next day's hour, in program.time_zone"),
    INT_ROW(notify, quiet_from_hour, 21, 0, 23, NULL,
            "no letter but those about points from this hour, in program.time_zone, ..."),
    INT_ROW(notify, quiet_to_hour, 8, 0, 23, NULL, "... until this one; the same hour: at any time"),
    LONG_ROW(notify, cap_letters, 2, 0, 1000, "letters", "marketing letters per customer, at most, ..."),
    LONG_ROW(notify, cap_ms, 7 * DAY_MS, 1000, 3650 * DAY_MS, "ms", "... within so long"),
    LONG_ROW(notify, rate, 100, 1, 100000, "letters/s", "sent at most"),
    LONG_ROW(notify, attempts, 8, 1, 100, "attempts", "a letter that a server put off so often is given up"),
    LONG_ROW(notify, backoff_ms, 30000, 10, DAY_MS, "ms",
             "after the first put-off; doubled each time, and half of it left to chance"),
    LONG_ROW(notify, backoff_max_ms, 4 * HOUR_MS, 10, 7 * DAY_MS, "ms", "... up to this"),
    CHOICE_ROW(notify, unknown, "hold", "hold|resend",
               "a connection lost after DATA: wait for `lens mail retry`, or send again under the same Message-ID"),
    TEXT_ROW(notify, letters_dir, "", 0, "templates and letters.conf; empty: deploy/letters"),
    TEXT_ROW(notify, mail_dir, "", 0, "where .eml files go; empty: LENS_HOME/mail"),
    TEXT_ROW(notify, from_address, "loyalty@example.com", 3,
             "From and envelope sender; its domain is that of every Message-ID"),
    TEXT_ROW(notify, from_name, "", 0, "shown beside it; empty: program.name"),
    TEXT_ROW(notify, unsubscribe_url, "https://example.com/unsubscribe/", 9,
             "https; the token is appended, and a POST to it must end in `lens mail unsubscribe TOKEN` (RFC 8058)"),
    TEXT_ROW(notify, unsubscribe_key_file, "", 0,
             "at least 32 bytes that sign tokens; empty: LENS_HOME/notify.key, made at the first start"),
    TEXT_ROW(notify, smtp_host, "", 0, "mail server, with delivery = smtp"),
    INT_ROW(notify, smtp_port, 587, 1, 65535, NULL, "used with smtp_host"),
    CHOICE_ROW(notify, smtp_tls, "starttls", "starttls|tls|none",
               "starttls and tls are required, not tried; with none no password is sent"),
    TEXT_ROW(notify, smtp_ca_file, "", 0,
             "PEM of the authority that signed the server's certificate; empty: the system's"),
    TEXT_ROW(notify, smtp_helo, "", 0, "the name in EHLO; empty: from_address's domain"),
    TEXT_ROW(notify, smtp_username, "", 0, "empty: no AUTH"),
    TEXT_ROW(notify, smtp_password_file, "", 0, "file whose first line is the password"),
    LONG_ROW(notify, smtp_timeout_ms, 20000, 100, 40000, "ms", "one letter, from connecting to the last reply"),
    INT_ROW(notify, metrics_port, 0, 0, 65535, NULL,
            "loopback port of /metrics; 0: a free one, told in run/<instance>.port"),
};

const size_t config_setting_count = sizeof config_settings / sizeof config_settings[0];

const struct setting *config_setting_find(const char *path)
{
    for (size_t at = 0; at < config_setting_count; at++)
        if (strcmp(config_settings[at].path, path) == 0)
            return &config_settings[at];
    return NULL;
}

enum { NAME_MAX_SIZE = 64 };

/* Levenshtein's distance: how many letters were mistyped. */
static size_t distance(const char *a, const char *b)
{
    size_t a_size = strnlen(a, NAME_MAX_SIZE), b_size = strnlen(b, NAME_MAX_SIZE);
    size_t row[NAME_MAX_SIZE + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t best = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_size];
}

const char *config_setting_nearest(const char *path)
{
    const char *leaf = strrchr(path, '.');
    leaf = leaf == NULL ? path : leaf + 1;
    const char *nearest = NULL;
    size_t least = SIZE_MAX;
    for (size_t at = 0; at < config_setting_count; at++) {
        const char *known = config_settings[at].path;
        const char *known_leaf = strrchr(known, '.') + 1;
        size_t whole = distance(path, known);
        /* The right name in the wrong group is as near as one wrong letter. */
        size_t apart = strcmp(leaf, known_leaf) == 0 && whole > 1 ? 1 : whole;
        if (apart < least) {
            least = apart;
            nearest = known;
        }
    }
    return least <= 2 + strlen(path) / 4 ? nearest : NULL;
}

char *config_setting_write(const struct setting *setting, const struct config *config, char *to, size_t size)
{
    const char *field = (const char *)config + setting->offset;
    int32_t narrow = 0;
    int64_t wide = 0;
    switch (setting->type) {
    case SETTING_TEXT: {
        size_t used = 0;
        to[used++] = '"';
        for (const char *c = field; *c != '\0' && used + 4 < size; c++) {
            if (*c == '"' || *c == '\\')
                to[used++] = '\\';
            to[used++] = *c;
        }
        to[used++] = '"';
        to[used] = '\0';
        return to;
    }
    case SETTING_INT32:
        memcpy(&narrow, field, sizeof narrow);
        snprintf(to, size, "%d", narrow);
        return to;
    case SETTING_INT64:
        memcpy(&wide, field, sizeof wide);
        /* libconfig wants to be told that a number does not fit into 32 bits. */
        snprintf(to, size, "%lld%s", (long long)wide, wide > INT32_MAX || wide < INT32_MIN ? "L" : "");
        return to;
    }
    return to;
}

void config_setting_default(const struct setting *setting, struct config *config)
{
    char *field = (char *)config + setting->offset;
    int32_t narrow = (int32_t)setting->number;
    switch (setting->type) {
    case SETTING_TEXT:
        snprintf(field, setting->size, "%s", setting->text);
        break;
    case SETTING_INT32:
        memcpy(field, &narrow, sizeof narrow);
        break;
    case SETTING_INT64:
        memcpy(field, &setting->number, sizeof setting->number);
        break;
    }
}
