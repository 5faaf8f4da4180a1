#include "runtime/kafka_client.h"

#include "runtime/clock.h"
#include "runtime/kafka.h"
#include "runtime/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { HEALTH_MS = 1000, PROBE_MS = 200, FORGOTTEN_MS = 60000, KAFKA_SECRET_SIZE = 256 };

enum ll_status kafka_set(rd_kafka_conf_t *settings, const char *name, const char *value, struct ll_err *err)
{
    char words[200];
    if (rd_kafka_conf_set(settings, name, value, words, sizeof words) == RD_KAFKA_CONF_OK)
        return LL_OK;
    return ll_fail(err, LL_FATAL, "kafka: %s", words);
}

enum ll_status kafka_set_number(rd_kafka_conf_t *settings, const char *name, int64_t value,
                                struct ll_err *err)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return kafka_set(settings, name, text, err);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *words)
{
    (void)rk;
    /* Levels are syslog's: up to 3 error, 4 warning, 7 debug. */
    enum log_level ours = level <= 3 ? LOG_WARN : level == 4 ? LOG_WARN : level < 7 ? LOG_INFO : LOG_DEBUG;
    log_line(ours, "kafka_client", "facility=%s text=%s", log_quote_c(facility), log_quote_c(words));
}

void kafka_client_broke(struct kafka_client *client, rd_kafka_t *rk)
{
    char why[200] = "";
    rd_kafka_resp_err_t cause = rd_kafka_fatal_error(rk, why, sizeof why);
    snprintf(client->trouble, sizeof client->trouble, "%s: %.190s", rd_kafka_err2name(cause), why);
    client->broken_by = cause;
    client->is_broken = true;
}

static bool was_away(const struct kafka_client *client)
{
    struct clock_source clock = clock_real();
    return client->failed_ms != 0 && clock.steady_ms(clock.self) - client->failed_ms < FORGOTTEN_MS;
}

bool kafka_client_was_forgotten(const struct kafka_client *client)
{
    return client->is_broken && client->broken_by == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID && was_away(client);
}

/* It was not let in. The password may have been changed, or its file mended: what the file holds now is for the next try. */
static void on_refused(struct kafka_client *client, rd_kafka_t *rk, const char *words)
{
    char password[KAFKA_SECRET_SIZE];
    struct ll_err why = {""};
    if (client->password_file[0] == '\0') {
        snprintf(client->trouble, sizeof client->trouble, "%s", words);
        return;
    }
    if (config_secret(client->password_file, password, sizeof password, &why) != LL_OK) {
        snprintf(client->trouble, sizeof client->trouble, "%s", why.text);
        return;
    }
    rd_kafka_error_t *error = rd_kafka_sasl_set_credentials(rk, client->user, password);
    explicit_bzero(password, sizeof password);
    snprintf(client->trouble, sizeof client->trouble,
             "authentication failed; look at kafka.sasl_username (%.60s) and at the password in %.120s", client->user,
             client->password_file);
    rd_kafka_error_destroy(error);
}

static void on_error(rd_kafka_t *rk, int code, const char *words, void *opaque)
{
    struct kafka_client *client = opaque;
    struct clock_source clock = clock_real();
    if (code != RD_KAFKA_RESP_ERR__FATAL)
        client->failed_ms = clock.steady_ms(clock.self);
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__FATAL:
        kafka_client_broke(client, rk);
        break;
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        client->is_down = true; /* trouble keeps the reason, which came just before */
        break;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        client->is_down = client->is_refused = true;
        on_refused(client, rk, words);
        break;
    case RD_KAFKA_RESP_ERR__SSL:
        client->is_down = true;
        snprintf(client->trouble, sizeof client->trouble, "%s", words);
        break;
    default:
        client->is_doubtful = true;
        snprintf(client->trouble, sizeof client->trouble, "%s", words);
        break;
    }
    if (client->is_down || client->is_broken)
        rd_kafka_yield(rk);
}

static enum ll_status set_security(rd_kafka_conf_t *settings, const struct config *config, struct ll_err *err)
{
    enum ll_status status = kafka_set(settings, "security.protocol", config->kafka.security_protocol, err);
    const char *const files[][2] = {
        {"ssl.ca.location", config->kafka.ssl_ca_file},
        {"ssl.certificate.location", config->kafka.ssl_certificate_file},
        {"ssl.key.location", config->kafka.ssl_key_file},
    };
    for (size_t at = 0; at < sizeof files / sizeof files[0] && status == LL_OK; at++) {
        if (files[at][1][0] == '\0')
            continue;
        /* OpenSSL's own words would not name the file. */
        if (access(files[at][1], R_OK) != 0)
            return ll_fail(err, LL_FATAL, "kafka: %s: %s", files[at][1], strerror(errno));
        status = kafka_set(settings, files[at][0], files[at][1], err);
    }
    if (status != LL_OK || strncmp(config->kafka.security_protocol, "sasl_", 5) != 0)
        return status;
    char password[KAFKA_SECRET_SIZE];
    status = config_secret(config->kafka.sasl_password_file, password, sizeof password, err);
    if (status == LL_OK)
        status = kafka_set(settings, "sasl.mechanisms", config->kafka.sasl_mechanism, err);
    if (status == LL_OK)
        status = kafka_set(settings, "sasl.username", config->kafka.sasl_username, err);
    if (status == LL_OK)
        status = kafka_set(settings, "sasl.password", password, err);
    explicit_bzero(password, sizeof password);
    return status;
}

enum ll_status kafka_client_settings(struct kafka_client *client, const struct config *config,
                                     const char *role, rd_kafka_conf_t **ret, struct ll_err *err)
{
    /* The defaults of back-off cost 2 to 10 s after a broker's restart (KAFKA.md 5). */
    static const char *const alike[][2] = {
        {"reconnect.backoff.ms", "50"},        {"reconnect.backoff.max.ms", "500"},
        {"socket.nagle.disable", "true"},      {"socket.keepalive.enable", "true"},
        {"log.connection.close", "false"},     {"log.queue", "true"},
        {"allow.auto.create.topics", "false"},
    };
    if (config->kafka.bootstrap[0] == '\0')
        return ll_fail(
            err, LL_FATAL,
            "kafka.bootstrap is empty and %.120s/stack.conf names no broker: start the private stack with "
            "`lens up`, or name one in %.80s",
            config->home, config->file);
    client->role = role;
    snprintf(client->address, sizeof client->address, "%s", config->kafka.bootstrap);
    if (strncmp(config->kafka.security_protocol, "sasl_", 5) == 0) {
        snprintf(client->user, sizeof client->user, "%s", config->kafka.sasl_username);
        snprintf(client->password_file, sizeof client->password_file, "%s", config->kafka.sasl_password_file);
    }
    rd_kafka_conf_t *settings = rd_kafka_conf_new();
    enum ll_status status = kafka_set(settings, "bootstrap.servers", config->kafka.bootstrap, err);
    for (size_t at = 0; at < sizeof alike / sizeof alike[0] && status == LL_OK; at++)
        status = kafka_set(settings, alike[at][0], alike[at][1], err);
    if (status == LL_OK)
        status = kafka_set(settings, "client.id", "loyalty-lens", err);
    if (status == LL_OK)
        status = set_security(settings, config, err);
    if (status != LL_OK) {
        rd_kafka_conf_destroy(settings);
        return status;
    }
    rd_kafka_conf_set_opaque(settings, client);
    rd_kafka_conf_set_log_cb(settings, on_log);
    rd_kafka_conf_set_error_cb(settings, on_error);
    *ret = settings;
    return LL_OK;
}

enum ll_status kafka_client_start(struct kafka_client *client, rd_kafka_type_t type,
                                  rd_kafka_conf_t *settings, struct ll_err *err)
{
    char words[200];
    client->rk = rd_kafka_new(type, settings, words, sizeof words);
    if (client->rk == NULL) {
        rd_kafka_conf_destroy(settings); /* librdkafka takes it only when it succeeds */
        return ll_fail(err, LL_FATAL, "kafka %.100s: %s", client->address, words);
    }
    rd_kafka_set_log_queue(client->rk, NULL);
    return LL_OK;
}

static void *close_and_destroy(void *rk)
{
    if (rd_kafka_type(rk) == RD_KAFKA_CONSUMER)
        rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return NULL;
}

bool kafka_client_end(struct kafka_client *client, int timeout_ms)
{
    if (client->rk == NULL)
        return true;
    rd_kafka_t *rk = client->rk;
    client->rk = NULL;
    /* librdkafka 2.0.2 can hang here for ever (KAFKA.md B): on a thread of its own it cannot hold the
     * process. */
    pthread_t closer;
    if (pthread_create(&closer, NULL, close_and_destroy, rk) != 0) {
        log_line(LOG_ERROR, "kafka_close", "role=%s result=no_thread", client->role);
        return false;
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    if (pthread_timedjoin_np(closer, NULL, &until) == ETIMEDOUT) {
        pthread_detach(closer);
        log_line(LOG_ERROR, "kafka_close", "role=%s result=hangs waited_ms=%d", client->role, timeout_ms);
        return false;
    }
    return true;
}

static bool answers(struct kafka_client *client)
{
    const struct rd_kafka_metadata *metadata = NULL;
    if (rd_kafka_metadata(client->rk, 0, NULL, &metadata, PROBE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    rd_kafka_metadata_destroy(metadata);
    return true;
}

enum bus_event kafka_client_health(struct kafka_client *client, struct ll_err *err)
{
    if (!client->is_down && !client->is_broken && !client->is_doubtful)
        return BUS_NONE;
    if (client->is_broken) {
        ll_fail(err, LL_FATAL, "kafka %.100s: %s; the process must start again", client->address,
                client->trouble);
        return BUS_BROKEN;
    }
    struct clock_source clock = clock_real();
    int64_t now_ms = clock.steady_ms(clock.self);
    if (client->asked_ms == 0 || now_ms - client->asked_ms >= HEALTH_MS) {
        client->asked_ms = now_ms;
        if (client->is_refused && client->password_file[0] != '\0')
            on_refused(client, client->rk, ""); /* librdkafka tells the same error once in 30 s */
        if (answers(client)) {
            if (client->is_down)
                log_line(LOG_INFO, "kafka_up", "role=%s address=%s", client->role,
                         log_quote_c(client->address));
            client->is_down = client->is_doubtful = client->is_refused = false;
            client->asked_ms = 0;
            return BUS_NONE;
        }
        client->is_down = true;
    }
    if (!client->is_down)
        return BUS_NONE;
    ll_fail(err, LL_RETRY, "kafka %.100s: no broker answers%s%s", client->address,
            client->trouble[0] == '\0' ? "" : ": ", client->trouble);
    return BUS_DOWN;
}

/* What waiting does not heal: somebody must change a right, a name or a topic. */
static bool is_lasting(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return true;
    default:
        return false;
    }
}

static bool is_absence(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
           code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

enum ll_status kafka_fail(const struct kafka_client *client, struct ll_err *err, rd_kafka_resp_err_t code,
                          const char *what)
{
    /* A broker that has just come back tells of its topics before it has read them. */
    bool lasting = is_lasting(code) && !(is_absence(code) && was_away(client));
    const char *more = lasting ? "" : client->trouble; /* why nobody answered */
    if (lasting && (code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART))
        more = "`lens up` creates the topics of topics.conf";
    if (lasting && code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
        more = "the broker's topic has fewer partitions than topics.conf says";
    return ll_fail(err, lasting ? LL_FATAL : LL_RETRY, "kafka %.100s: %s: %s%s%s", client->address, what,
                   rd_kafka_err2str(code), more[0] == '\0' ? "" : "; ", more);
}

rd_kafka_topic_partition_list_t *kafka_list_new(const struct bus_position *positions, size_t count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t at = 0; at < count; at++)
        rd_kafka_topic_partition_list_add(list, topic_name(positions[at].topic), positions[at].partition)
            ->offset = positions[at].offset;
    return list;
}

int32_t kafka_partition_of(struct text key, int32_t partitions)
{
    /* Neither the topic nor the opaque pointers are looked at; a null key hashes as an empty one. */
    return rd_kafka_msg_partitioner_murmur2(NULL, key.data == NULL ? "" : key.data, key.size, partitions,
                                            NULL, NULL);
}
