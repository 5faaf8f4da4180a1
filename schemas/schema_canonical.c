#include "schemas/schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Names and symbols are identifiers by now, so that nothing needs escaping. */
struct printer {
    FILE *to;
    bool *told; /* named types: in full the first time, then by name */
};

static void print_node(const struct printer *printer, const struct schema_node *node);

static void print_record(const struct printer *printer, const struct schema_node *node)
{
    fprintf(printer->to, "{\"name\":\"%s\",\"type\":\"record\",\"fields\":[", node->name);
    for (uint32_t i = 0; i < node->count; i++) {
        fprintf(printer->to, "%s{\"name\":\"%s\",\"type\":", i == 0 ? "" : ",", node->fields[i].name);
        print_node(printer, node->fields[i].type);
        fputc('}', printer->to);
    }
    fputs("]}", printer->to);
}

static void print_enum(const struct printer *printer, const struct schema_node *node)
{
    fprintf(printer->to, "{\"name\":\"%s\",\"type\":\"enum\",\"symbols\":[", node->name);
    for (uint32_t i = 0; i < node->count; i++)
        fprintf(printer->to, "%s\"%s\"", i == 0 ? "" : ",", node->symbols[i]);
    fputs("]}", printer->to);
}

static void print_union(const struct printer *printer, const struct schema_node *node)
{
    fputc('[', printer->to);
    for (uint32_t i = 0; i < node->count; i++) {
        if (i > 0)
            fputc(',', printer->to);
        print_node(printer, node->branches[i]);
    }
    fputc(']', printer->to);
}

static void print_items(const struct printer *printer, const struct schema_node *node)
{
    const char *type = schema_type_name(node->type), *items = node->type == SCHEMA_MAP ? "values" : "items";
    fprintf(printer->to, "{\"type\":\"%s\",\"%s\":", type, items);
    print_node(printer, node->items);
    fputc('}', printer->to);
}

static void print_node(const struct printer *printer, const struct schema_node *node)
{
    if (node->name != NULL && printer->told[node->index]) {
        fprintf(printer->to, "\"%s\"", node->name);
        return;
    }
    printer->told[node->index] = true;

    switch (node->type) {
    case SCHEMA_RECORD:
        print_record(printer, node);
        break;
    case SCHEMA_ENUM:
        print_enum(printer, node);
        break;
    case SCHEMA_FIXED:
        fprintf(printer->to, "{\"name\":\"%s\",\"type\":\"fixed\",\"size\":%" PRIu32 "}", node->name,
                node->size);
        break;
    case SCHEMA_UNION:
        print_union(printer, node);
        break;
    case SCHEMA_ARRAY:
    case SCHEMA_MAP:
        print_items(printer, node);
        break;
    case SCHEMA_NULL:
    case SCHEMA_BOOLEAN:
    case SCHEMA_INT:
    case SCHEMA_LONG:
    case SCHEMA_FLOAT:
    case SCHEMA_DOUBLE:
    case SCHEMA_BYTES:
    case SCHEMA_STRING:
        fprintf(printer->to, "\"%s\"", schema_type_name(node->type));
        break;
    }
}

char *schema_canonical(const struct schema *schema)
{
    char *text = NULL;
    size_t size = 0;
    struct printer printer = {.to = open_memstream(&text, &size),
                              .told = calloc(schema_node_count(schema) + 1, sizeof(bool))};
    if (printer.to == NULL || printer.told == NULL)
        abort();
    print_node(&printer, schema_root(schema));
    if (fclose(printer.to) != 0)
        abort();
    free(printer.told);
    return text;
}

/* CRC-64-AVRO, bit by bit: it runs once per schema. */
uint64_t schema_fingerprint(const struct schema *schema)
{
    const uint64_t empty = UINT64_C(0xc15d213aa4d7a795);
    uint64_t crc = empty;
    char *canonical = schema_canonical(schema);
    for (const char *at = canonical; *at != '\0'; at++) {
        crc ^= (unsigned char)*at;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (empty & (0 - (crc & 1)));
    }
    free(canonical);
    return crc;
}
