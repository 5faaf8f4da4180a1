/*
 * notify_world.h - a world around the loop of lens-notify: bus, post and clock in memory; the store is the real one, on Postgres.
 * Shape:  the linker wraps what notify calls of state/mail_store.h (--wrap), so that any call may by seed fail before it is done,
 *         be done with its reply lost, be done long after (a backend that outlives its client), or be the last thing that the
 *         process sees, before or after it is done. A dead process is one whose calls do nothing more: it unwinds, and its memory
 *         is dropped. What was really done is noted as it passes (notify_store.c); what may not be is a complaint in seed.bad.
 */
#pragma once

#include "consumers/notify/notify.h"
#include "tests/sim/seed.h"

enum {
    WORLD_CUSTOMERS = 8,
    WORLD_LOGS = 5,
    WORLD_RECORDS_MAX = 200,
    WORLD_LETTERS_MAX = 200,
    WORLD_KEY_SIZE = 128
};

enum world_policy { POLICY_HOLD, POLICY_RESEND, POLICY_FILES };

struct world_log {
    enum topic topic;
    int32_t partition;
    char *values[WORLD_RECORDS_MAX];
    uint32_t sizes[WORLD_RECORDS_MAX];
    int64_t count, visible;
};

/* What happened to one letter outside of Postgres. */
struct world_letter {
    char id[OUTBOX_ID_SIZE];
    char to[64];
    int accepted, refused;
    int doubts;      /* moments after which nobody can know whether it was handed over */
    bool is_unnoted; /* accepted, and its row does not say so yet */
};

struct world_version {
    int customer;
    int64_t from_ms, offset; /* offset: in the customers' log */
    bool consent, mailable, erased;
    char email[64];
};

/* A process. */
struct world_client {
    struct world *world;
    struct notify notify;
    bool is_dead, is_in_transaction;
    bool told, flowing;
    bool is_out;    /* another has its partitions; told: it knows */
    bool is_fenced; /* another of its name has joined the group: it hears so */
    int64_t asleep_to_ms;
    int64_t next[WORLD_LOGS];
    char sending[OUTBOX_ID_SIZE]; /* the letter whose row says so, for it */
};

struct world {
    struct sim_seed seed;
    uint64_t number;
    enum world_policy policy;
    struct config config;
    struct codec *codec;
    int64_t now_ms;

    /* what is in the logs */
    struct world_log logs[WORLD_LOGS];
    int order[WORLD_LOGS * WORLD_RECORDS_MAX]; /* in which the logs' records come to be there */
    size_t order_count, revealed;
    struct world_version versions[32];
    size_t version_count;
    int64_t balance[WORLD_CUSTOMERS], reversed;
    char keys[WORLD_LETTERS_MAX][WORLD_KEY_SIZE]; /* the letters that these inputs call for */
    size_t key_count;

    struct bus_position changed[WORLD_LOGS];

    /* the post */
    struct world_letter letters[WORLD_LETTERS_MAX];
    size_t letter_count;
    int post_faults_left;

    /* processes and their store */
    struct world_client *runs; /* whose calls come in now */
    int kills, doubtful_kills;
    int64_t lost, customers_taken; /* lost: letters that mail.recover found in doubt */
    bool unsubscribed[WORLD_CUSTOMERS][2];
    char suppressed[32][64];
    size_t suppressed_count;
    char late_function[16], *late_json;
    struct mail_store *late_store;
};

/* The inputs, by seed. codec is kept. */
void world_fill(struct world *w, const struct token_key *key);
void world_done(struct world *w);
/* Whose calls the linker's wrappers serve from now on. */
void world_enter(struct world *w);

struct bus_consumer world_consumer(struct world_client *client);
struct post world_post(struct world *w);
struct clock_source world_clock(struct world *w);
/* All records are there, read and taken. */
bool world_is_drained(const struct world *w, const struct notify *notify);
/* Whoever comes next cannot know what became of the letter that this process is sending. */
void world_doubt(struct world_client *client);
/* What it has in its memory is lost. */
void world_die(struct world_client *client);
struct world_letter *world_letter(struct world *w, const char *id);
