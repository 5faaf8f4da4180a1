/* The registry's client, against a server of a few lines that answers from a table. */
#include "schemas_kit.h"

#include "schemas/registry.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REQUEST_SIZE = 1 << 16, TIMEOUT_MS = 2000 };

/* What the server does; shared with its process, for a test to change its mind and count what was asked. */
struct answers {
    int status;     /* 0: take the request and close */
    char path[256]; /* of the last request, with its method */
    char body[4096];
    char text[8192];
    unsigned times; /* the text is sent so often */
    unsigned asked;
};

struct server {
    pid_t pid;
    uint16_t port;
    struct answers *answers;
};

static void answer_one(int connection, struct answers *answers)
{
    static char request[REQUEST_SIZE], head[256];
    size_t size = 0;
    for (ssize_t got; size < sizeof request - 1 &&
                      (got = read(connection, request + size, sizeof request - 1 - size)) > 0;) {
        size += (size_t)got;
        request[size] = '\0';
        const char *end = strstr(request, "\r\n\r\n"), *length = strcasestr(request, "content-length:");
        if (end == NULL)
            continue;
        if (length == NULL || strlen(end + 4) >= strtoul(length + 15, NULL, 10))
            break;
    }
    answers->asked++;
    snprintf(answers->path, sizeof answers->path, "%.*s", (int)strcspn(request, "\r"), request);
    const char *body = strstr(request, "\r\n\r\n");
    snprintf(answers->body, sizeof answers->body, "%.4000s", body == NULL ? "" : body + 4);
    if (answers->status == 0)
        return;
    int head_size =
        snprintf(head, sizeof head, "HTTP/1.1 %d x\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                 answers->status, strlen(answers->text) * answers->times);
    bool open = write(connection, head, (size_t)head_size) > 0;
    for (unsigned i = 0; i < answers->times && open; i++)
        open = send(connection, answers->text, strlen(answers->text), MSG_NOSIGNAL) > 0;
}

static struct server server_start(void)
{
    struct server server = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    server.answers =
        mmap(NULL, sizeof *server.answers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(listen(listener, 16), 0);
    getsockname(listener, (struct sockaddr *)&address, &size);
    server.port = ntohs(address.sin_port);
    server.pid = fork();
    if (server.pid == 0) {
        for (;;) {
            int connection = accept(listener, NULL, NULL);
            answer_one(connection, server.answers);
            close(connection);
        }
    }
    close(listener);
    return server;
}

static void server_stop(struct server *server)
{
    if (server->pid == 0)
        return;
    kill(server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = 0;
}

/* A clock that stands still until it is moved. */
static int64_t now_ms;
static int64_t steady_ms(void *self)
{
    (void)self;
    return now_ms;
}

static struct server server;
static struct registry *registry;
static struct codec *codec;
static struct codec_scratch *scratch;

static void setup(void)
{
    char url[128];
    struct ll_err err = {.text = ""};
    now_ms = 1000;
    server = server_start();
    snprintf(url, sizeof url, "http://me:secret@127.0.0.1:%u/apis/ccompat/v7/", server.port);
    cr_assert_eq(
        registry_open(url, TIMEOUT_MS, (struct clock_source){.steady_ms = steady_ms}, &registry, &err), LL_OK,
        "%s", err.text);
    scratch = codec_scratch_new();
    server.answers->status = 404;
    codec = kit_codec(NULL, registry);
    server.answers->asked = 0;
}

static void teardown(void)
{
    codec_free(codec);
    codec_scratch_free(scratch);
    registry_close(registry);
    server_stop(&server);
    munmap(server.answers, sizeof *server.answers);
}

TestSuite(registry, .init = setup, .fini = teardown);

static void answer(int status, const char *text)
{
    server.answers->status = status;
    server.answers->times = 1;
    snprintf(server.answers->text, sizeof server.answers->text, "%s", text);
}

/* As a registry wraps it: the schema is a string within JSON. */
static void answer_schema(const char *schema)
{
    json_t *json = json_pack("{s:s}", "schema", schema);
    char *text = json_dumps(json, JSON_COMPACT);
    answer(200, text);
    free(text);
    json_decref(json);
}

static enum ll_status read_command(int32_t id, const char *script, struct event *ret, enum code *ret_code,
                                   struct ll_err *err)
{
    static struct kit_bytes value;
    kit_value(&value, id, script);
    return codec_read(codec, EVENT_COMMAND, kit_text(&value), scratch, ret, ret_code, err);
}

#define ACME                                                                                                 \
    "{\"type\":\"record\",\"name\":\"acme.Order\",\"fields\":[{\"name\":\"time\",\"type\":\"int\"},"         \
    "{\"name\":\"process\",\"type\":\"string\"},{\"name\":\"verb\",\"type\":\"string\"},"                    \
    "{\"name\":\"topic\",\"type\":\"string\"},{\"name\":\"partition\",\"type\":\"int\"}]}"

Test(registry, an_unknown_id_is_asked_for_once_and_kept)
{
    struct event event;
    enum code code;
    struct ll_err err = {.text = ""};
    answer_schema(ACME);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(read_command(7, "5 'p 'v 't 1", &event, &code, &err), LL_OK, "%s", err.text);
        cr_expect_eq(event.command.time_ms, 5);
        cr_expect(text_equal(event.command.topic, TEXT("t")));
    }
    cr_expect_eq(server.answers->asked, 1u);
    cr_expect_str_eq(server.answers->path, "GET /apis/ccompat/v7/schemas/ids/7 HTTP/1.1");
}

Test(registry, a_404_is_the_records_fault_and_is_believed_for_a_while)
{
    struct event event;
    enum code code;
    struct ll_err err = {.text = ""};
    answer(404, "{\"error_code\":40403,\"message\":\"Schema 7 not found\"}");
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(read_command(7, "", &event, &code, &err), LL_POISON);
        cr_expect_eq(code, CODE_SCHEMA_UNKNOWN);
    }
    cr_expect_eq(server.answers->asked, 1u);

    now_ms += REGISTRY_UNKNOWN_MS;
    answer_schema(ACME);
    cr_expect_eq(read_command(7, "5 'p 'v 't 1", &event, &code, &err), LL_OK, "%s", err.text);
    cr_expect_eq(server.answers->asked, 2u);
}

/* clang-format off */
static const struct {
    const char *why;
    int status;
    const char *text;
    enum ll_status want;
    enum code code; /* with LL_POISON */
    const char *words;
} ANSWERS[] = {
    { "down within", 500, "{\"error_code\":50001}", LL_RETRY, CODE_NONE, "HTTP 500" },
    { "a proxy without a registry", 503, "<html>", LL_RETRY, CODE_NONE, "HTTP 503" },
    { "a wrong password", 401, "", LL_RETRY, CODE_NONE, "user and password" },
    { "too many requests", 429, "", LL_RETRY, CODE_NONE, "HTTP 429" },
    { "a redirect is not followed", 302, "", LL_RETRY, CODE_NONE, "HTTP 302" },
    { "some other server", 200, "<html>hello</html>", LL_RETRY, CODE_NONE, "check registry.url" },
    { "JSON of another kind", 200, "{\"hello\":1}", LL_RETRY, CODE_NONE, "check registry.url" },
    { "nothing at all", 200, "", LL_RETRY, CODE_NONE, "check registry.url" },
    { "hung up on", 0, "", LL_RETRY, CODE_NONE, "does not answer" },
    { "unknown", 404, "", LL_POISON, CODE_SCHEMA_UNKNOWN, "has no schema" },
    { "protobuf", 200, "{\"schema\":\"syntax=\",\"schemaType\":\"PROTOBUF\"}", LL_POISON, CODE_SCHEMA_INCOMPATIBLE,
      "PROTOBUF" },
    { "references", 200, "{\"schema\":\"\\\"int\\\"\",\"references\":[{\"name\":\"a\"}]}", LL_POISON,
      CODE_SCHEMA_INCOMPATIBLE, "refers to other schemas" },
    { "a schema that is none", 200, "{\"schema\":\"{\"}", LL_POISON, CODE_SCHEMA_INCOMPATIBLE, "not JSON" },
    { "a schema that is not ours", 200, "{\"schema\":\"\\\"int\\\"\",\"schemaType\":\"AVRO\",\"references\":[]}", LL_POISON,
      CODE_SCHEMA_INCOMPATIBLE, "cannot be read from the writer's int" },
};
/* clang-format on */

Test(registry, what_an_answer_means)
{
    for (size_t i = 0; i < sizeof ANSWERS / sizeof ANSWERS[0]; i++) {
        struct event event;
        enum code code = CODE_NONE;
        struct ll_err err = {.text = ""};
        answer(ANSWERS[i].status, ANSWERS[i].text);
        cr_expect_eq(read_command(100 + (int32_t)i, "", &event, &code, &err), ANSWERS[i].want, "%s: %s",
                     ANSWERS[i].why, err.text);
        if (ANSWERS[i].want == LL_POISON)
            cr_expect_eq(code, ANSWERS[i].code, "%s: %s", ANSWERS[i].why, kit_code_name(code));
        cr_expect_not_null(strstr(err.text, ANSWERS[i].words), "%s: %s", ANSWERS[i].why, err.text);
        cr_expect_null(strstr(err.text, "secret"), "%s: %s", ANSWERS[i].why, err.text);
    }
}

Test(registry, a_registry_that_is_down_is_never_the_records_fault)
{
    struct event event;
    enum code code;
    struct ll_err err = {.text = ""};
    server_stop(&server);
    cr_expect_eq(read_command(7, "", &event, &code, &err), LL_RETRY);
    cr_expect_not_null(strstr(err.text, "http://127.0.0.1"), "%s", err.text);
    cr_expect_null(strstr(err.text, "secret"), "%s", err.text);

    /* What is known needs no registry. */
    cr_expect_eq(read_command(1011, "'p 'v 't 1 2", &event, &code, &err), LL_OK);
}

Test(registry, an_answer_beyond_its_limit_is_not_read_to_its_end)
{
    struct event event;
    enum code code;
    struct ll_err err = {.text = ""};
    static char huge[sizeof server.answers->text];
    memset(huge, 'a', sizeof huge - 1);
    answer(200, huge);
    server.answers->times = REGISTRY_ANSWER_SIZE_MAX / (sizeof huge - 1) + 2;
    cr_expect_eq(read_command(7, "", &event, &code, &err), LL_RETRY);
    cr_expect_not_null(strstr(err.text, "does not answer"), "%s", err.text);
}

Test(registry, more_schemas_than_are_kept_are_asked_for_again)
{
    struct event event;
    enum code code;
    struct ll_err err = {.text = ""};
    answer_schema(ACME);
    for (int32_t id = 1; id <= 1000; id++)
        cr_assert_eq(read_command(id, "5 'p 'v 't 1", &event, &code, &err), LL_OK, "%s", err.text);
    for (int32_t id = 2001; id <= 2100; id++)
        cr_assert_eq(read_command(id, "5 'p 'v 't 1", &event, &code, &err), LL_OK, "%s", err.text);
    cr_expect_eq(read_command(1011, "'p 'v 't 1 2", &event, &code, &err), LL_OK);
    cr_expect_eq(server.answers->asked, 1100u);
    cr_expect_eq(read_command(1, "5 'p 'v 't 1", &event, &code, &err), LL_OK);
    cr_expect_eq(server.answers->asked, 1101u);
}

Test(registry, a_kind_is_told_by_our_names_and_by_no_others)
{
    static struct kit_bytes value;
    enum event_kind kind;
    enum code code;
    struct ll_err err = {.text = ""};
    answer_schema(ACME);
    kit_value(&value, 7, "");
    cr_assert_eq(codec_kind(codec, kit_text(&value), &kind, &code, &err), LL_OK);
    cr_expect_eq(kind, EVENT_KINDS);

    char *own = kit_file(LENS_SOURCE_DIR "/schemas/control.avsc", NULL);
    answer_schema(own);
    kit_value(&value, 8, "");
    cr_assert_eq(codec_kind(codec, kit_text(&value), &kind, &code, &err), LL_OK);
    cr_expect_eq(kind, EVENT_CONTROL);
    free(own);
}

Test(registry, an_id_that_means_two_schemas_stops_the_start)
{
    struct codec *other = NULL;
    struct ll_err err = {.text = ""};
    now_ms += REGISTRY_UNKNOWN_MS;
    answer_schema(ACME);
    cr_expect_eq(codec_new(LENS_SOURCE_DIR "/schemas", registry, &other, &err), LL_FATAL);
    cr_expect_not_null(strstr(err.text, "id 1001 is schemas/transaction.avsc"), "%s", err.text);
    answer(500, "");
    cr_expect_eq(codec_new(LENS_SOURCE_DIR "/schemas", registry, &other, &err), LL_RETRY);
}

Test(registry_url, only_http_is_a_registry)
{
    struct registry *none = NULL;
    struct ll_err err;
    static const char *const URLS[] = {"", "registry:8081", "ftp://a/b", "file:///etc/passwd"};
    for (size_t i = 0; i < sizeof URLS / sizeof URLS[0]; i++)
        cr_expect_eq(registry_open(URLS[i], TIMEOUT_MS, (struct clock_source){0}, &none, &err), LL_FATAL,
                     "%s", URLS[i]);
}
