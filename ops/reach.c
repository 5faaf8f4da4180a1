#include "ops/reach.h"

int reach_postgres(struct lens *lens, struct postgres **ret)
{
    struct ll_err err = { "" };
    return lens_end(lens, postgres_open(&lens->config, "lens", ret, &err), &err);
}

int reach_redis(struct lens *lens, struct redis **ret)
{
    struct ll_err err = { "" };
    return lens_end(lens, redis_open(&lens->config, ret, &err), &err);
}

int reach_admin(struct lens *lens, struct kafka_admin **ret)
{
    struct ll_err err = { "" };
    enum ll_status status = kafka_admin_open(&lens->config, ret, &err);
    if (status != LL_OK)
        return lens_end(lens, status, &err);
    status = kafka_admin_ping(*ret, REACH_TIMEOUT_MS, &err);
    if (status != LL_OK) {
        kafka_admin_close(*ret);
        *ret = NULL;
    }
    return lens_end(lens, status, &err);
}

int reach_topics(struct lens *lens, struct topics *ret)
{
    struct ll_err err = { "" };
    char path[2 * CONFIG_TEXT_SIZE];
    if (topics_load(config_share_path(&lens->config, "topics.conf", path, sizeof(path)), ret, &err) != LL_OK)
        return lens_usage(lens, "%s", err.text);
    return LENS_DONE;
}

int reach_codec(struct lens *lens, struct codec **ret)
{
    struct ll_err err = { "" };
    char path[2 * CONFIG_TEXT_SIZE];
    enum ll_status status =
        codec_new(config_share_path(&lens->config, "schemas", path, sizeof(path)), NULL, ret, &err);
    return lens_end(lens, status, &err);
}
