#include "ops/mail_show.h"

#include "runtime/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct text column(const struct postgres_rows *rows, size_t row, const char *name)
{
    return postgres_rows_text(rows, row, name);
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Quoted-printable, RFC 2045 6.7. */
static char *unquote(struct text text, size_t *ret_size)
{
    char *to = malloc((size_t)text.size + 1);
    size_t used = 0;
    if (to == NULL)
        abort();
    for (uint32_t at = 0; at < text.size; at++) {
        const char *rest = text.data + at;
        uint32_t left = text.size - at;
        if (rest[0] == '\r')
            continue;
        if (rest[0] == '=' && left >= 3 && rest[1] == '\r' && rest[2] == '\n') {
            at += 2;
        } else if (rest[0] == '=' && left >= 3 && nibble(rest[1]) >= 0 && nibble(rest[2]) >= 0) {
            to[used++] = (char)(nibble(rest[1]) << 4 | nibble(rest[2]));
            at += 2;
        } else {
            to[used++] = rest[0];
        }
    }
    to[used] = '\0';
    *ret_size = used;
    return to;
}

char *mail_text_part(struct text message, size_t *ret_size)
{
    static const char type[] = "Content-Type: text/plain", blank[] = "\r\n\r\n", boundary[] = "\r\n--=_lens_";
    const char *end = message.data + message.size;
    const char *part =
        message.data == NULL ? NULL : memmem(message.data, message.size, type, sizeof type - 1);
    const char *body = part == NULL ? NULL : memmem(part, (size_t)(end - part), blank, sizeof blank - 1);
    if (body == NULL)
        return NULL;
    body += sizeof blank - 1;
    const char *stop = memmem(body, (size_t)(end - body), boundary, sizeof boundary - 1);
    return unquote((struct text){ body, (uint32_t)((stop == NULL ? end : stop) - body) }, ret_size);
}

json_t *mail_letter_json(const struct postgres_rows *rows, size_t row, bool whole)
{
    static const char *const texts[] = { "customer_id", "letter", "class",   "list",    "transition",
                                         "state",       "reason", "subject", "address", "reply" };
    json_t *json = json_pack("{s:o}", "id", inert_json(column(rows, row, "letter_id")));
    for (size_t at = 0; at < sizeof texts / sizeof texts[0]; at++)
        json_object_set_new(json, texts[at], inert_json(column(rows, row, texts[at])));
    json_object_set_new(json, "attempts", json_integer(postgres_rows_int(rows, row, "attempts")));
    json_object_set_new(json, "noted", event_json_time(postgres_rows_int(rows, row, "noted_ms")));
    json_object_set_new(json, "due", event_json_time(postgres_rows_int(rows, row, "due_ms")));
    bool is_sent = column(rows, row, "sent_ms").data != NULL;
    json_object_set_new(json, "sent",
                        is_sent ? event_json_time(postgres_rows_int(rows, row, "sent_ms")) : json_null());
    if (!whole)
        return json;
    struct text message = column(rows, row, "message");
    size_t size = 0;
    char *text = mail_text_part(message, &size);
    /* As it is: JSON escapes what could act on anything. */
    json_object_set_new(json, "message",
                        message.data == NULL ? json_null() : json_stringn(message.data, message.size));
    json_object_set_new(json, "text", text == NULL ? json_null() : json_stringn(text, size));
    free(text);
    return json;
}

static void print_lines(struct text text)
{
    for (uint32_t at = 0; at < text.size;) {
        const char *end = memchr(text.data + at, '\n', text.size - at);
        uint32_t size = end == NULL ? text.size - at : (uint32_t)(end - text.data) - at;
        uint32_t shown = size > 0 && text.data[at + size - 1] == '\r' ? size - 1 : size;
        inert_print((struct text){ text.data + at, shown }, stdout);
        fputc('\n', stdout);
        at += size + 1;
    }
}

static void print_field(const char *name, struct text value)
{
    if (value.data == NULL || value.size == 0)
        return;
    printf("%-10s ", name);
    inert_print(value, stdout);
    fputc('\n', stdout);
}

void mail_letter_head(const struct postgres_rows *rows)
{
    printf("letter ");
    inert_print(column(rows, 0, "letter_id"), stdout);
    printf(": ");
    inert_print(column(rows, 0, "letter"), stdout);
    printf(" to customer ");
    inert_print(column(rows, 0, "customer_id"), stdout);
    printf(", %.*s\n", TEXT_ARG(column(rows, 0, "state")));
}

void mail_letter_print(const struct postgres_rows *rows, bool raw)
{
    struct text message = column(rows, 0, "message");
    char when[32];
    size_t size = 0;
    if (raw) {
        print_lines(message);
        return;
    }
    mail_letter_head(rows);
    print_field("reason", column(rows, 0, "reason"));
    print_field("about", column(rows, 0, "transition"));
    printf("%-10s %s\n", "noted", clock_format(postgres_rows_int(rows, 0, "noted_ms"), when, sizeof when));
    if (column(rows, 0, "sent_ms").data != NULL)
        printf("%-10s %s\n", "sent", clock_format(postgres_rows_int(rows, 0, "sent_ms"), when, sizeof when));
    print_field("reply", column(rows, 0, "reply"));
    print_field("to", column(rows, 0, "address"));
    print_field("subject", column(rows, 0, "subject"));
    char *text = mail_text_part(message, &size);
    if (text == NULL) {
        puts("\n(it was never written)");
        return;
    }
    fputc('\n', stdout);
    print_lines((struct text){ text, (uint32_t)size });
    free(text);
}
