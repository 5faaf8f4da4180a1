/*
 * reach.h - open what the reading verbs read, with one way of saying that it does not answer.
 * Errors: each returns LENS_DONE, or the exit code with the words printed (LENS_USAGE: the configuration cannot be read).
 */
#pragma once

#include "ops/lens.h"
#include "runtime/kafka.h"
#include "runtime/topics.h"
#include "schemas/codec.h"
#include "state/postgres.h"
#include "state/redis.h"

enum { REACH_TIMEOUT_MS = 10000 };

int reach_postgres(struct lens *lens, struct postgres **ret);
int reach_redis(struct lens *lens, struct redis **ret);
int reach_admin(struct lens *lens, struct kafka_admin **ret);
int reach_topics(struct lens *lens, struct topics *ret);
/* Schemas of the local id table alone: what came in by a registry's schema is decodable where the registry is configured. */
int reach_codec(struct lens *lens, struct codec **ret);
