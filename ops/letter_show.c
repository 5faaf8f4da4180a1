#include "ops/letter_show.h"

#include "ops/event_json.h"
#include "ops/inert.h"
#include "ops/table.h"
#include "runtime/clock.h"

#include <stdlib.h>

enum { DUMP_SIZE = 4096, TEXT_SIZE = 160 };

void letter_where(const struct letter *letter, char *to, size_t size)
{
    char file[TEXT_SIZE], row[32];
    if (letter->file.data != NULL)
        snprintf(to, size, "%s:%s", inert_write(letter->file, file, sizeof(file)),
                 inert_write(letter->row, row, sizeof(row)));
    else
        snprintf(to, size, "%d/%lld%s%s", letter->origin_partition, (long long)letter->origin_offset,
                 letter->line_alone ? " line " : "",
                 letter->line_alone ? inert_write(letter->row, row, sizeof(row)) : "");
}

static json_t *codes_json(uint64_t set)
{
    json_t *all = json_array();
    for (int code = 1; code < CODE_COUNT; code++)
        if ((set & code_bit((enum code)code)) != 0) {
            const struct code_info *info = code_info((enum code)code);
            json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "code", info->name, "meaning",
                                                 info->meaning, "next", info->next));
        }
    return all;
}

static json_t *hex_json(struct text text)
{
    if (text.data == NULL)
        return json_null();
    char *hex = malloc(2 * (size_t)text.size + 1);
    if (hex == NULL)
        abort();
    hex[0] = '\0';
    for (uint32_t i = 0; i < text.size; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned char)text.data[i]);
    json_t *value = json_string(hex);
    free(hex);
    return value;
}

static int show_json(struct lens *lens, const struct letter *letter, json_t *event)
{
    char ref[LETTER_REF_SIZE], where[TEXT_SIZE];
    letter_where(letter, where, sizeof(where));
    json_t *headers = json_array();
    for (size_t i = 0; i < letter->header_count; i++)
        json_array_append_new(headers, json_pack("{s:o, s:o}", "name", inert_json(letter->headers[i].name),
                                                 "value", inert_json(letter->headers[i].value)));
    json_t *all = json_pack("{s:s, s:o, s:o, s:s, s:o, s:o, s:o}", "ref", letter_ref_write(&letter->ref, ref),
                            "stage", inert_json(letter->stage), "topic", inert_json(letter->topic), "where",
                            where, "codes", codes_json(letter->codes), "message", inert_json(letter->message),
                            "refused_at", event_json_time(letter->dead_at_ms));
    json_object_set_new(all, "timestamp", event_json_time(letter->timestamp_ms));
    json_object_set_new(all, "headers", headers);
    json_object_set_new(all, "key", inert_json(letter->key));
    json_object_set_new(all, "value_hex", hex_json(letter->value));
    json_object_set_new(all, "value_text", inert_json(letter->value));
    json_object_set_new(all, "event", event != NULL ? event : json_null());
    return lens_print_json(lens, all);
}

static void show_text(const struct letter *letter, json_t *event)
{
    char ref[LETTER_REF_SIZE], where[TEXT_SIZE], when[32], was[32];
    letter_where(letter, where, sizeof(where));
    printf("%s  refused by ", letter_ref_write(&letter->ref, ref));
    inert_print(letter->stage, stdout);
    printf(" at %s\n", clock_format(letter->dead_at_ms, when, sizeof(when)));
    fputs("from ", stdout);
    inert_print(letter->topic, stdout);
    printf(" %s, record of %s\n", where, clock_format(letter->timestamp_ms, was, sizeof(was)));
    if (!text_empty(letter->message)) {
        fputs("why  ", stdout);
        inert_print(letter->message, stdout);
        fputc('\n', stdout);
    }
    fputs("\ncodes\n", stdout);
    for (int code = 1; code < CODE_COUNT; code++)
        if ((letter->codes & code_bit((enum code)code)) != 0) {
            const struct code_info *info = code_info((enum code)code);
            printf("  %s: %s\n    next: %s\n", info->name, info->meaning, info->next);
        }
    fputs("\nheaders\n", stdout);
    struct table *table = table_new("|");
    for (size_t i = 0; i < letter->header_count; i++) {
        table_text(table, letter->headers[i].name);
        table_text(table, letter->headers[i].value);
    }
    table_print(table, 2, stdout);
    fputs("\nkey\n", stdout);
    inert_dump(letter->key, DUMP_SIZE, stdout);
    printf("\nvalue, %u bytes\n", letter->value.size);
    inert_dump(letter->value, DUMP_SIZE, stdout);
    if (event == NULL)
        return;
    fputs("\nevent\n", stdout);
    json_dumpf(event, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
    json_decref(event);
}

int letter_show(struct lens *lens, const struct letter *letter, json_t *event)
{
    if (lens->json)
        return show_json(lens, letter, event);
    show_text(letter, event);
    return LENS_DONE;
}
