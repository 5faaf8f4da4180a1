/*
 * config.h - every setting of every process, read from deploy/lens.conf (libconfig).
 * Shape:  one table in config.c holds each setting's path, type, unit, default, range and help; the struct below, the
 *         checks, `lens config` and deploy/lens.conf are the same facts. A key that the table does not know, a value out
 *         of range or of another type, a file that is not there: one error with file and line.
 * Units:  in the name: _ms, _size (bytes), _events, _minor.
 * Where:  the file is --config FILE, else $LENS_CONFIG, else LENS_HOME/lens.conf if it is there, else deploy/lens.conf.
 *         Addresses that it leaves empty are taken from LENS_HOME/stack.conf, which `lens up` writes for its private
 *         stack. LENS_HOME is $LENS_HOME, else .lens in the current directory's checkout.
 */
#pragma once

#include "runtime/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CONFIG_TEXT_SIZE = 256 };

struct config {
    char home[CONFIG_TEXT_SIZE];  /* LENS_HOME, absolute */
    char file[CONFIG_TEXT_SIZE];  /* the file that was read */
    char share[CONFIG_TEXT_SIZE]; /* where schemas/, topics.conf, state/migrations, deploy/ lie: $LENS_SHARE, else the
                                     source tree that this was built from */

    struct {
        char name[CONFIG_TEXT_SIZE];
        char currency[4];
        char time_zone[64]; /* IANA, e.g. Europe/London */
        int32_t run;        /* run id in every key and table (replay gets its own) */
    } program;

    struct {
        char bootstrap[CONFIG_TEXT_SIZE];
        char security_protocol[32]; /* plaintext | ssl | sasl_plaintext | sasl_ssl */
        char sasl_mechanism[32];
        char sasl_username[64];
        char sasl_password_file[CONFIG_TEXT_SIZE];
        char ssl_ca_file[CONFIG_TEXT_SIZE];
        char ssl_certificate_file[CONFIG_TEXT_SIZE];
        char ssl_key_file[CONFIG_TEXT_SIZE];
        char group_prefix[64]; /* group ids are <prefix><process> */
        int64_t session_timeout_ms;
        int64_t queue_size;      /* prefetch bound of one consumer, bytes */
        int64_t transaction_timeout_ms;
        int64_t linger_ms;
        char compression[16];
    } kafka;

    struct {
        char host[CONFIG_TEXT_SIZE];
        int32_t port;
        char socket[CONFIG_TEXT_SIZE]; /* unix socket; preferred over host and port when set */
        char username[64]; /* empty: the password alone, as before Redis had users */
        char password_file[CONFIG_TEXT_SIZE];
        int64_t timeout_ms;
    } redis;

    struct {
        char host[CONFIG_TEXT_SIZE]; /* a directory is a unix socket's */
        int32_t port;
        char user[64];
        char database[64];
        char password_file[CONFIG_TEXT_SIZE];
        char sslmode[16];
        char sslrootcert_file[CONFIG_TEXT_SIZE];
        int64_t timeout_ms;
    } postgres;

    struct {
        char url[CONFIG_TEXT_SIZE]; /* empty: the local id table alone */
        int64_t timeout_ms;
    } registry;

    struct {
        int64_t batch_events;     /* at most in one Kafka transaction */
        int64_t batch_ms;         /* at most before it is committed */
        int64_t grace_ms;         /* how long a missing reference is waited for */
        int64_t tick_ms;          /* TICK records */
        int64_t refused_window;   /* records looked back on */
        int64_t refused_min;      /* at least so many refused ... */
        int64_t refused_percent;  /* ... and more than this share pauses the partition */
        int64_t hang_ms;          /* CPU on one record, at most; 0: any */
        int32_t metrics_port;     /* 0: any free one, told in LENS_HOME/run/<process>.port */
    } validate;

    struct {
        int64_t batch_events;    /* at most in one Redis call */
        int64_t batch_ms;        /* at most between poll and Redis */
        int64_t flush_ms;        /* between Postgres commits */
        int64_t flush_events;    /* ... or so many events, whichever comes first */
        int64_t flush_size;      /* ... or so many bytes of rows */
        int64_t hold_ms;         /* a return waits so long for its sale, by the log's clock */
        int64_t dedupe_events;   /* identities in memory per partition; older ones are looked up in Postgres */
        int64_t customers_max;   /* balances in memory per partition */
        int64_t skew_ms;         /* an event's time is at most so much later than its arrival (validate's largest skew) */
        char unreferenced_return[16]; /* reverse | ignore */
        int64_t hang_ms;         /* CPU on one record, or to decide one batch, at most; 0: any */
        int32_t metrics_port;
    } accrue;

    struct {
        int64_t poll_ms;    /* between looks at Postgres while there is nothing to relay */
        int64_t slice_rows; /* of one partition in one Kafka transaction; the rows of one offset are never cut */
        int64_t tick_ms;    /* a TICK follows the rows when the clock has come to another multiple of this */
        int32_t metrics_port;
    } relay;

    struct {
        char clock[16];            /* log | event */
        int64_t flush_ms;          /* between Postgres commits, at least */
        int64_t flush_rows;        /* ... or so many rows */
        int64_t ahead_records;     /* of one partition, held while others come to the same day */
        int64_t quiet_ms;          /* clock = event: a partition is at its end if its clock is so far beyond all rows */
        int64_t tier_silver, tier_gold; /* points of twelve months */
        int32_t weight_trajectory, weight_engagement, weight_breadth, weight_points; /* sum to 100 */
        int32_t at_risk_days;
        int32_t high_spender_percent, hysteresis_percent;
        int32_t metrics_port;
    } segment;

    struct {
        char delivery[8];   /* file | smtp | off */
        char points[16];    /* transaction | daily | off */
        int32_t live_run;   /* the run whose letters go out; any other one's are held back */
        int64_t delay_ms;   /* a letter waits so long before it is judged */
        int64_t age_ms;     /* what happened longer ago is no news any more */
        int32_t digest_hour;
        int32_t quiet_from_hour, quiet_to_hour; /* equal: none */
        int64_t cap_letters, cap_ms;            /* marketing letters per customer */
        int64_t rate;       /* letters per second */
        int64_t attempts;   /* before a letter is given up */
        int64_t backoff_ms, backoff_max_ms;
        char unknown[8];    /* hold | resend */
        char letters_dir[CONFIG_TEXT_SIZE];
        char mail_dir[CONFIG_TEXT_SIZE];
        char from_address[CONFIG_TEXT_SIZE], from_name[CONFIG_TEXT_SIZE];
        char unsubscribe_url[CONFIG_TEXT_SIZE];
        char unsubscribe_key_file[CONFIG_TEXT_SIZE];
        char smtp_host[CONFIG_TEXT_SIZE];
        int32_t smtp_port;
        char smtp_tls[16];  /* starttls | tls | none */
        char smtp_ca_file[CONFIG_TEXT_SIZE];
        char smtp_helo[CONFIG_TEXT_SIZE];
        char smtp_username[CONFIG_TEXT_SIZE];
        char smtp_password_file[CONFIG_TEXT_SIZE];
        int64_t smtp_timeout_ms;
        int32_t metrics_port;
    } notify;
};

/* Fills *ret from defaults, the file and LENS_HOME/stack.conf. file NULL: look where the header says. Does not connect. */
enum ll_status config_load(const char *file, struct config *ret, struct ll_err *err);
/* The defaults alone, for tests. */
void config_defaults(struct config *ret);
/* Prints every setting: path, value, unit, default, help. json: one object. Secrets are file names, never contents. */
void config_print(const struct config *config, bool json, FILE *to);
/* Prints deploy/lens.conf: the table as a file with comments (a test compares it with the checked-in one). */
void config_print_defaults(FILE *to);
/* Who this is: "%p" in the settings of users, passwords and keys becomes the process's name ("admin" for `lens`), so that one
 * file serves processes that may do different things. */
enum ll_status config_as(struct config *config, const char *process, struct ll_err *err);
/* Reads a secret file's first line into to. Empty path: to becomes "". A file that others can read is refused. */
enum ll_status config_secret(const char *path, char *to, size_t size, struct ll_err *err);
/* share + "/" + name into to; returns to. */
char *config_share_path(const struct config *config, const char *name, char *to, size_t size);
char *config_home_path(const struct config *config, const char *name, char *to, size_t size);
