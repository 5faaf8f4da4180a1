#include "schemas/registry.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_SIZE = 1024 };

struct unknown {
    int32_t id;
    int64_t until_ms; /* steady; 0: empty */
};

struct answer {
    char *data;
    size_t size;
    long http;
};

struct registry {
    CURL *curl;
    struct clock_source clock;
    char base[URL_SIZE];  /* no slash at its end */
    char shown[URL_SIZE]; /* the same without user and password */
    char problem[CURL_ERROR_SIZE];
    struct unknown unknown[REGISTRY_UNKNOWN_SLOTS];
};

/* The URL without what stands between :// and @. */
static void hide_password(const char *url, char to[static URL_SIZE])
{
    const char *host = strstr(url, "://") + 3, *slash = strchr(host, '/'), *at = strchr(host, '@');
    if (at == NULL || (slash != NULL && at > slash))
        at = host;
    else
        at++;
    snprintf(to, URL_SIZE, "%.*s%s", (int)(host - url), url, at);
}

static size_t keep_answer(char *data, size_t size, size_t count, void *arg)
{
    struct answer *answer = arg;
    size_t more = size * count;
    if (more > REGISTRY_ANSWER_SIZE_MAX - answer->size)
        return 0; /* curl ends the transfer */
    char *longer = realloc(answer->data, answer->size + more + 1);
    if (longer == NULL)
        abort();
    memcpy(longer + answer->size, data, more);
    answer->data = longer;
    answer->size += more;
    return more;
}

enum ll_status registry_open(const char *url, int64_t timeout_ms, struct clock_source clock,
                             struct registry **ret, struct ll_err *err)
{
    if ((strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) || strlen(url) >= URL_SIZE / 2)
        return ll_fail(err, LL_FATAL, "registry.url is to begin with http:// or https://");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ll_fail(err, LL_FATAL, "libcurl cannot start");

    struct registry *registry = calloc(1, sizeof *registry);
    if (registry == NULL)
        abort();
    registry->clock = clock;
    snprintf(registry->base, sizeof registry->base, "%s", url);
    for (size_t size = strlen(registry->base); registry->base[size - 1] == '/'; size--)
        registry->base[size - 1] = '\0';
    hide_password(registry->base, registry->shown);

    registry->curl = curl_easy_init();
    if (registry->curl == NULL)
        abort();
    curl_easy_setopt(registry->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(registry->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(registry->curl, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(registry->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    curl_easy_setopt(registry->curl, CURLOPT_WRITEFUNCTION, keep_answer);
    curl_easy_setopt(registry->curl, CURLOPT_ERRORBUFFER, registry->problem);
    *ret = registry;
    return LL_OK;
}

void registry_close(struct registry *registry)
{
    if (registry == NULL)
        return;
    curl_easy_cleanup(registry->curl);
    free(registry);
    curl_global_cleanup();
}

/* GET of base/path. LL_OK: there is an HTTP answer, whatever it says. The caller frees its data. */
static enum ll_status ask(struct registry *registry, const char *path, struct answer *ret, struct ll_err *err)
{
    char url[2 * URL_SIZE];
    *ret = (struct answer){0};
    registry->problem[0] = '\0';
    snprintf(url, sizeof url, "%s/%s", registry->base, path);
    curl_easy_setopt(registry->curl, CURLOPT_URL, url);
    curl_easy_setopt(registry->curl, CURLOPT_WRITEDATA, ret);

    CURLcode result = curl_easy_perform(registry->curl);
    if (result == CURLE_OK) {
        curl_easy_getinfo(registry->curl, CURLINFO_RESPONSE_CODE, &ret->http);
        return LL_OK;
    }
    free(ret->data);
    *ret = (struct answer){0};
    const char *why = registry->problem[0] != '\0' ? registry->problem : curl_easy_strerror(result);
    return ll_fail(err, LL_RETRY, "the schema registry %s does not answer (%s); is it up? (registry.url)",
                   registry->shown, why);
}

/* An answer that is neither yes nor no. */
static enum ll_status odd_answer(const struct registry *registry, const char *path, long http,
                                 struct ll_err *err)
{
    const char *hint = http == 401 || http == 403 ? "; check user and password in registry.url"
                       : http / 100 == 2 ? " with something else than a registry's JSON; check registry.url"
                                         : "";
    return ll_fail(err, LL_RETRY, "the schema registry answers HTTP %ld to %s/%s%s", http, registry->shown,
                   path, hint);
}

static struct unknown *unknown_slot(struct registry *registry, int32_t id)
{
    return &registry->unknown[(uint32_t)id % REGISTRY_UNKNOWN_SLOTS];
}

static enum ll_status say_unknown(const struct registry *registry, int32_t id, enum code *ret_code,
                                  struct ll_err *err)
{
    *ret_code = CODE_SCHEMA_UNKNOWN;
    return ll_fail(err, LL_POISON, "the schema registry %s has no schema %d", registry->shown, id);
}

static enum ll_status read_schema(const json_t *json, int32_t id, char **ret_json, enum code *ret_code,
                                  struct ll_err *err)
{
    const char *type = json_string_value(json_object_get(json, "schemaType"));
    const json_t *text = json_object_get(json, "schema");
    *ret_code = CODE_SCHEMA_INCOMPATIBLE;
    if (type != NULL && strcmp(type, "AVRO") != 0)
        return ll_fail(err, LL_POISON, "schema %d of the registry is %.20s, not Avro", id, type);
    if (json_array_size(json_object_get(json, "references")) > 0)
        return ll_fail(err, LL_POISON,
                       "schema %d of the registry refers to other schemas, which is not supported", id);
    *ret_json = strdup(json_string_value(text));
    if (*ret_json == NULL)
        abort();
    return LL_OK;
}

enum ll_status registry_schema(struct registry *registry, int32_t id, char **ret_json, enum code *ret_code,
                               struct ll_err *err)
{
    char path[64];
    struct answer answer;
    struct unknown *unknown = unknown_slot(registry, id);
    int64_t now_ms = registry->clock.steady_ms(registry->clock.self);

    if (unknown->id == id && now_ms < unknown->until_ms)
        return say_unknown(registry, id, ret_code, err);
    snprintf(path, sizeof path, "schemas/ids/%d", id);
    enum ll_status status = ask(registry, path, &answer, err);
    if (status != LL_OK)
        return status;

    json_t *json = json_loadb(answer.data == NULL ? "" : answer.data, answer.size, 0, NULL);
    if (answer.http == 404) {
        *unknown = (struct unknown){id, now_ms + REGISTRY_UNKNOWN_MS};
        status = say_unknown(registry, id, ret_code, err);
    } else if (answer.http != 200 || !json_is_string(json_object_get(json, "schema"))) {
        status = odd_answer(registry, path, answer.http, err);
    } else {
        status = read_schema(json, id, ret_json, ret_code, err);
    }
    json_decref(json);
    free(answer.data);
    return status;
}
