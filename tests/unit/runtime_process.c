/* What every process shows and understands: options, --check, /metrics, /readyz, signals. And Kafka that is
 * not there. */
#include "runtime/kafka.h"
#include "runtime/log.h"
#include "runtime/process.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char folder[64];

static void set_up(void)
{
    snprintf(folder, sizeof folder, "/tmp/lens-process-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    setenv("LENS_HOME", folder, 1);
    unsetenv("LENS_CONFIG");
    unsetenv("LENS_SHARE");
}

static void tear_down(void)
{
    char path[96];
    snprintf(path, sizeof path, "%s/lens.conf", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/run", folder);
    rmdir(path);
    cr_expect_eq(rmdir(folder), 0, "nothing is left in LENS_HOME");
}

TestSuite(process, .init = set_up, .fini = tear_down);

static struct process *open_with(int *ret_exit, char *one, char *two)
{
    char name[] = "lens-accrue";
    char *argv[] = {name, one, two, NULL};
    return process_open(one == NULL ? 1 : two == NULL ? 2 : 3, argv, "accrue", ret_exit);
}

static void write_config(const char *text)
{
    char path[96];
    snprintf(path, sizeof path, "%s/lens.conf", folder);
    FILE *to = fopen(path, "w");
    cr_assert_not_null(to);
    fputs(text, to);
    fclose(to);
}

static uint16_t read_port(const char *instance)
{
    char path[128];
    unsigned port = 0;
    snprintf(path, sizeof path, "%s/run/%s.port", folder, instance);
    FILE *from = fopen(path, "r");
    cr_assert_not_null(from, "%s", path);
    cr_assert_eq(fscanf(from, "%u", &port), 1);
    fclose(from);
    return (uint16_t)port;
}

static const char *get(uint16_t port, const char *request_line)
{
    static char text[64 << 10];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    char request[256];
    int size = snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                        request_line);
    cr_assert_eq(write(fd, request, (size_t)size), size);
    size_t used = 0;
    ssize_t more;
    while ((more = read(fd, text + used, sizeof text - 1 - used)) > 0)
        used += (size_t)more;
    text[used] = '\0';
    close(fd);
    return text;
}

Test(process, check_says_that_the_configuration_is_right, .init = cr_redirect_stdout)
{
    set_up();
    int code = -1;
    char check[] = "--check";
    cr_assert_null(open_with(&code, check, NULL));
    cr_assert_eq(code, 0);
    fflush(stdout);
    cr_assert_stdout_eq_str("configuration ok: " LENS_SOURCE_DIR "/deploy/lens.conf\n");
}

Test(process, check_finds_a_mistake)
{
    int code = -1;
    char check[] = "--check";
    write_config("accrue: { flush_ms = 1; };");
    cr_assert_null(open_with(&code, check, NULL));
    cr_assert_eq(code, 2);
    write_config("redis: { password_file = \"/nowhere\"; };");
    cr_assert_null(open_with(&code, check, NULL));
    cr_assert_eq(code, 2, "a secret that is not there is found before the start");
}

Test(process, usage_errors_end_with_2)
{
    int code = -1;
    char unknown[] = "--nothing", argument[] = "file.csv", instance[] = "--instance", evil[] = "../../etc/x";
    cr_assert_null(open_with(&code, unknown, NULL));
    cr_assert_eq(code, 2);
    code = -1;
    cr_assert_null(open_with(&code, argument, NULL));
    cr_assert_eq(code, 2);
    code = -1;
    cr_assert_null(open_with(&code, instance, evil), "an instance names a file");
    cr_assert_eq(code, 2);
}

Test(process, help_and_version_end_with_0)
{
    int code = -1;
    char help[] = "--help", version[] = "--version";
    cr_assert_null(open_with(&code, help, NULL));
    cr_assert_eq(code, 0);
    code = -1;
    cr_assert_null(open_with(&code, version, NULL));
    cr_assert_eq(code, 0);
}

static enum ll_status never(const struct config *config, struct ll_err *err)
{
    return ll_fail(err, LL_FATAL, "%s: not this one", config->program.currency);
}

Test(process, a_process_adds_its_own_check)
{
    int code = -1;
    char name[] = "lens-validate";
    char *argv[] = {name, NULL};
    cr_assert_null(process_open_checked(1, argv, "validate", never, &code));
    cr_assert_eq(code, 2);
}

Test(process, shows_itself_on_loopback)
{
    int code = -1;
    struct process *process = open_with(&code, NULL, NULL);
    cr_assert_not_null(process);
    cr_assert_str_eq(process_instance(process), "accrue-1");
    uint16_t port = read_port("accrue-1");

    cr_expect_not_null(strstr(get(port, "GET /livez"), "200 OK"));
    cr_expect_not_null(strstr(get(port, "GET /readyz"), "503 "));
    cr_expect_not_null(strstr(get(port, "GET /readyz"), "starting\n"));
    process_waits_for(process, "postgres 127.0.0.1:5432: connection refused");
    cr_expect_not_null(
        strstr(get(port, "GET /readyz"), "waits for postgres 127.0.0.1:5432: connection refused\n"));
    process_ready(process, true);
    cr_expect_not_null(strstr(get(port, "GET /readyz"), "503 "), "ready, but it waits");
    process_waits_for(process, NULL);
    cr_expect_not_null(strstr(get(port, "GET /readyz"), "200 OK"));
    cr_expect_not_null(strstr(get(port, "GET /nothing"), "404 "));
    cr_expect_not_null(strstr(get(port, "POST /metrics"), "405 "));

    static const double bounds[] = {0.001, 0.01};
    struct metric *rows = metric_counter(process, "lens_rows_total", "partition=\"3\"", "Rows.");
    struct metric *lag = metric_gauge(process, "lens_lag", NULL, "Lag.");
    struct metric *other = metric_counter(process, "lens_rows_total", "partition=\"4\"", "Rows.");
    struct metric *took = metric_histogram(process, "lens_took_seconds", NULL, "Time.", bounds, 2);
    cr_expect_eq(metric_counter(process, "lens_rows_total", "partition=\"3\"", "Rows."), rows,
                 "one series, however often");
    metric_add(rows, 5);
    metric_add(rows, 2);
    metric_add(other, 1);
    metric_set(lag, -1);
    metric_observe(took, 0.0005);
    metric_observe(took, 0.01);
    metric_observe(took, 5);
    metric_add(NULL, 1);
    metric_set(NULL, 1);
    metric_observe(NULL, 1);
    const char *text = get(port, "GET /metrics");
    cr_expect_not_null(strstr(text, "lens_build_info{process=\"accrue\",instance=\"accrue-1\",version=\""));
    cr_expect_not_null(strstr(text, "process_resident_memory_bytes "));
    cr_expect_not_null(strstr(text, "# TYPE lens_rows_total counter\nlens_rows_total{partition=\"3\"} 7\n"
                                    "lens_rows_total{partition=\"4\"} 1\n"),
                       "a family stays together: %s", text);
    cr_expect_not_null(strstr(text, "lens_lag -1\n"));
    cr_expect_not_null(
        strstr(text, "lens_took_seconds_bucket{le=\"0.001\"} 1\nlens_took_seconds_bucket{le=\"0.01\"} 2\n"
                     "lens_took_seconds_bucket{le=\"+Inf\"} 3\nlens_took_seconds_sum 5.0105\n"
                     "lens_took_seconds_count 3\n"),
        "%s", text);
    cr_expect_not_null(strstr(text, "lens_ready 1\n"));

    cr_assert_not(process_stopping());
    raise(SIGPIPE);
    raise(SIGTERM);
    cr_assert(process_stopping());
    process_close(process);
}

Test(process, a_port_in_use_is_named)
{
    int first = socket(AF_INET, SOCK_STREAM, 0), code = -1;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(first, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(first, 1), 0);
    cr_assert_eq(getsockname(first, (struct sockaddr *)&address, &size), 0);
    char text[64];
    snprintf(text, sizeof text, "accrue: { metrics_port = %u; };", ntohs(address.sin_port));
    write_config(text);
    cr_assert_null(open_with(&code, NULL, NULL));
    cr_assert_eq(code, 1);
    close(first);
}

Test(process, a_home_that_cannot_be_written_is_named)
{
    int code = -1;
    setenv("LENS_HOME", "/proc/nowhere", 1);
    cr_assert_null(open_with(&code, NULL, NULL));
    cr_assert_eq(code, 1);
}

/* A port on which nobody listens. */
static void point_nowhere(struct config *config)
{
    config_defaults(config);
    snprintf(config->kafka.bootstrap, sizeof config->kafka.bootstrap, "127.0.0.1:1");
}

Test(no_kafka, no_address_says_what_to_do)
{
    struct config config;
    struct kafka_admin *admin;
    struct ll_err err;
    config_defaults(&config);
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_FATAL);
    cr_assert_not_null(strstr(err.text, "`lens up`"), "%s", err.text);
}

Test(no_kafka, a_broker_that_is_away_is_told_and_waited_for)
{
    struct config config;
    struct kafka_admin *admin;
    struct kafka_reader *reader;
    struct topics topics;
    struct ll_err err;
    point_nowhere(&config);
    cr_assert_eq(kafka_admin_open(&config, &admin, &err), LL_OK);
    cr_assert_eq(kafka_admin_ping(admin, 2000, &err), LL_RETRY);
    cr_assert_not_null(strstr(err.text, "127.0.0.1:1"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "refused"), "%s", err.text);
    kafka_admin_close(admin);

    cr_assert_eq(topics_load(LENS_SOURCE_DIR "/topics.conf", &topics, &err), LL_OK);
    enum topic topic = TOPIC_STORES;
    cr_assert_eq(kafka_reader_open(&config, &topics, &topic, 1, &reader, &err), LL_RETRY, "%s", err.text);

    struct kafka_consumer_options options = {.group = "g", .topics = &topic, .topic_count = 1};
    struct bus_consumer consumer;
    struct bus_record record;
    cr_assert_eq(kafka_consumer_open(&config, &options, &consumer, &err), LL_OK);
    int downs = 0;
    for (int at = 0; at < 15; at++) {
        enum bus_event event = consumer.ops->poll(consumer.self, 100, &record, &err);
        cr_expect(event == BUS_DOWN || (event == BUS_NONE && downs == 0), "said until it is over");
        downs += event == BUS_DOWN;
    }
    cr_expect_geq(downs, 10);
    cr_expect_not_null(strstr(err.text, "no broker answers"), "%s", err.text);
    consumer.ops->close(consumer.self);
}

Test(no_kafka, a_wrong_setting_is_an_error_not_a_crash)
{
    struct config config;
    struct bus_producer producer;
    struct ll_err err;
    point_nowhere(&config);
    snprintf(config.kafka.security_protocol, sizeof config.kafka.security_protocol, "ssl");
    snprintf(config.kafka.ssl_ca_file, sizeof config.kafka.ssl_ca_file, "/nowhere/ca.pem");
    cr_assert_eq(kafka_producer_open(&config, NULL, &producer, &err), LL_FATAL);
    cr_assert_not_null(strstr(err.text, "/nowhere/ca.pem"), "%s", err.text);
    snprintf(config.kafka.security_protocol, sizeof config.kafka.security_protocol, "sasl_plaintext");
    snprintf(config.kafka.sasl_password_file, sizeof config.kafka.sasl_password_file, "/nowhere/secret");
    cr_assert_eq(kafka_producer_open(&config, NULL, &producer, &err), LL_FATAL);
    cr_assert_not_null(strstr(err.text, "/nowhere"), "%s", err.text);
}
