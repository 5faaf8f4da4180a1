/*
 * lens-fuzz-seeds DIR - writes the seeds of the fuzz targets under DIR/<target>/: real encodings of every kind of event, and our
 * own configuration files without their comments.
 */
#include "schemas/bind.h"
#include "schemas/codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SEED_MAX = 32 << 10 };

struct seed {
    size_t size;
    char bytes[SEED_MAX];
};

static void add(struct seed *seed, const void *bytes, size_t size)
{
    if (seed->size + size > SEED_MAX)
        abort();
    memcpy(seed->bytes + seed->size, bytes, size);
    seed->size += size;
}

static void add_text(struct seed *seed, const char *text)
{
    add(seed, text, strlen(text));
}

static void add_number(struct seed *seed, uint32_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        add(seed, &(char){ (char)(value >> (8 * i)) }, 1);
}

static void save(const char *folder, const char *target, const char *name, const struct seed *seed)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(seed->bytes, 1, seed->size, file) != seed->size || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

/* A file of the tree; is_conf: without comments and blank lines. */
static void add_file(struct seed *seed, const char *name, bool is_conf)
{
    char path[1024], line[4096];
    snprintf(path, sizeof path, "%s/%s", LENS_SOURCE_DIR, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    while (fgets(line, sizeof line, file) != NULL) {
        size_t first = strspn(line, " \t");
        if (is_conf && (line[first] == '#' || line[first] == '\n' || strncmp(line + first, "//", 2) == 0))
            continue;
        add_text(seed, line);
    }
    fclose(file);
}

/* ---- events ---- */

static struct event event_of(enum event_kind kind)
{
    static struct line lines[] = {
        { 1, { "P1", 2 }, 2, 500, 0, 1000, { NULL, 0 }, { "tea", 3 } },
        { 2, { "P2", 2 }, 1, 300, 50, 250, { "X1", 2 }, { NULL, 0 } },
    };
    static struct text ids[] = { { "P1", 2 }, { "P2", 2 } };
    static struct ledger_line posted[] = { { { "P1", 2 }, { "tea", 3 }, { NULL, 0 }, 1000, 0 } };
    static struct ledger_rule rules[] = { { 1, 1 } };
    struct event event = { .kind = kind };
    struct text s = TEXT("pos"), ref = TEXT("till:1");
    switch (kind) {
    case EVENT_TRANSACTION:
    case EVENT_TRANSACTION_VALID:
        event.transaction = (struct transaction){
            .transaction_id = TEXT("T1"), .type = TRANSACTION_RETURN, .original_transaction_id = TEXT("T0"),
            .event_time_ms = INT64_C(1700000000000), .store_id = TEXT("S1"), .customer_id = TEXT("C1"), .currency = TEXT("GBP"),
            .has_total = true, .total_minor = 1250, .source = s, .source_ref = ref, .channel = TEXT("web"), .lines = lines,
            .line_count = 2, .content_hash = 1, .raw_topic = TEXT("transactions"), .raw_partition = 1, .raw_offset = 4711,
        };
        break;
    case EVENT_CONTROL:
        event.control = (struct control){ CONTROL_TICK, 0, INT64_C(1700000000000) };
        break;
    case EVENT_CUSTOMER:
        event.customer = (struct customer){ .customer_id = TEXT("C1"), .name = TEXT("Zo\xc3\xab"), .email = TEXT("a@b.example"),
                                            .consent_marketing = true, .source = s, .source_ref = ref };
        break;
    case EVENT_PRODUCT:
        event.product = (struct product){ .product_id = TEXT("P1"), .category = TEXT("tea"), .has_unit_price = true,
                                          .unit_price_minor = 500, .active = true, .source = s, .source_ref = ref };
        break;
    case EVENT_STORE:
        event.store = (struct store){ .store_id = TEXT("S1"), .has_opened = true, .opened_day = 18000, .source = s, .source_ref = ref };
        break;
    case EVENT_PROMOTION:
        event.promotion = (struct promotion){ .promotion_id = TEXT("X1"), .start_day = 1, .end_day = 9, .product_ids = ids,
                                              .product_count = 2, .source = s, .source_ref = ref };
        break;
    case EVENT_INVENTORY:
        event.inventory = (struct inventory){ .store_id = TEXT("S1"), .product_id = TEXT("P1"), .on_hand = 3, .source = s,
                                              .source_ref = ref };
        break;
    case EVENT_LOYALTY_RULES:
        event.loyalty_rules = (struct loyalty_rules){ 1, 2, 3, TEXT("rules = ();") };
        break;
    case EVENT_LEDGER:
        event.ledger = (struct ledger_entry){ .run = 1, .source = s, .transaction_id = TEXT("T1"), .customer_id = TEXT("C1"),
                                              .net_minor = 1000, .lines = posted, .line_count = 1, .points = 1, .rules = rules,
                                              .rule_count = 1 };
        break;
    case EVENT_COMMAND:
        event.command = (struct command){ TEXT("validate"), TEXT("resume"), TEXT("transactions"), 3, INT64_C(1700000000000) };
        break;
    case EVENT_SEGMENT_CHANGE:
        event.segment_change = (struct segment_change){ .change_id = TEXT("00ff"), .customer_id = TEXT("C1"), .segment = TEXT("AT_RISK"),
                                                        .reason = SEGMENT_TIME, .sequence = 7, .snapshot = { .tier = TEXT("GOLD") } };
        break;
    case EVENT_KINDS:
        break;
    }
    return event;
}

static struct text value_of(const struct codec *codec, enum event_kind kind)
{
    static char value[4096];
    struct event event = event_of(kind);
    size_t size = codec_write(codec, &event, value, sizeof value);
    return (struct text){ value, (uint32_t)size };
}

static void write_frames(const char *folder, const struct codec *codec)
{
    struct seed seed = { .size = 0 };
    for (int kind = 0; kind < EVENT_KINDS; kind++) {
        struct text value = value_of(codec, (enum event_kind)kind);
        const char *name = event_kind_name((enum event_kind)kind);
        seed.size = 0;
        add(&seed, value.data, value.size);
        save(folder, "frame", name, &seed);
        seed.size = 0;
        add_number(&seed, (uint32_t)kind, 1);
        add_number(&seed, 0, 1);
        add(&seed, value.data + CODEC_FRAME_SIZE, value.size - CODEC_FRAME_SIZE);
        save(folder, "decode", name, &seed);
    }
    seed.size = 0;
    add(&seed, "\0\0\0\x03", 4);
    save(folder, "frame", "short", &seed);
}

static void write_schemas(const char *folder)
{
    static const struct {
        const char *name;
        enum event_kind kind;
        const char *json, *bytes;
        size_t size;
    } writers[] = {
#define BYTES(text) text, sizeof text - 1
        { "order", EVENT_COMMAND,
          "{\"type\":\"record\",\"name\":\"a.B\",\"fields\":[{\"name\":\"time\",\"type\":\"int\"},{\"name\":\"topic\",\"type\":"
          "[\"null\",\"string\"]},{\"name\":\"partition\",\"type\":\"int\"},{\"name\":\"verb\",\"type\":\"string\"},{\"name\":"
          "\"process\",\"type\":\"string\"}]}",
          BYTES("\x04\x02\x02t\x02\x02v\x02p") },
        { "enum", EVENT_CONTROL,
          "{\"type\":\"record\",\"name\":\"c\",\"fields\":[{\"name\":\"kind\",\"type\":{\"type\":\"enum\",\"name\":\"E\","
          "\"symbols\":[\"OTHER\",\"RULES\",\"TICK\"]}},{\"name\":\"time\",\"type\":\"long\"}]}",
          BYTES("\x04\x0a") },
        { "skip", EVENT_PRODUCT,
          "{\"type\":\"record\",\"name\":\"p\",\"fields\":[{\"name\":\"n\",\"type\":{\"type\":\"record\",\"name\":\"N\",\"fields\":"
          "[{\"name\":\"next\",\"type\":[\"null\",\"N\"]}]}},{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":{\"type\":"
          "\"array\",\"items\":\"bytes\"}}},{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}},{\"name\":"
          "\"product_id\",\"type\":\"string\"},{\"name\":\"effective_from\",\"type\":{\"type\":\"long\",\"logicalType\":"
          "\"timestamp-millis\"}},{\"name\":\"unit_price\",\"type\":[\"string\",\"null\",\"int\"]},{\"name\":\"source\",\"type\":"
          "\"string\"}]}",
          BYTES("\x02\x02\0\x01\x06\x02k\x02\x02z\0\0ab\x02P\x02\x04\x06\x02s") },
        { "list", EVENT_PROMOTION,
          "{\"type\":\"record\",\"name\":\"p\",\"fields\":[{\"name\":\"promotion_id\",\"type\":\"string\"},{\"name\":"
          "\"effective_from\",\"type\":\"long\"},{\"name\":\"start_day\",\"type\":\"int\"},{\"name\":\"end_day\",\"type\":\"int\"},"
          "{\"name\":\"product_ids\",\"type\":{\"type\":\"array\",\"items\":[\"null\",\"string\"]}},{\"name\":\"source\","
          "\"type\":\"string\",\"default\":\"x\"}]}",
          BYTES("\x02X\x02\x04\x06\x04\x02\x02a\x02\x02"
                "b\0\x02s") },
#undef BYTES
    };
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++) {
        struct seed seed = { .size = 0 };
        add_number(&seed, (uint32_t)writers[i].kind, 1);
        add_number(&seed, 1, 1);
        add_number(&seed, (uint32_t)strlen(writers[i].json), 2);
        add_text(&seed, writers[i].json);
        add(&seed, writers[i].bytes, writers[i].size);
        save(folder, "decode", writers[i].name, &seed);
    }
}

/* ---- files ---- */

static void write_csv(const char *folder)
{
    struct seed seed = { .size = 0 };
    add_file(&seed, "deploy/profiles/online_retail.conf", true);
    add_text(&seed, "%%\nInvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\r\n"
                    "536365,85123A,\"HOLDER, \"\"WHITE\"\"\",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\r\n"
                    "536365,71053,LANTERN,6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom\r\n"
                    "C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom\r\n"
                    "536381,22139,\"open,1,x\r\n536382,22139,,1,2010-12-01 09:41:00,0.001,,\r\n");
    save(folder, "csv", "online_retail", &seed);
    seed.size = 0;
    add_text(&seed,
             "source = \"t\"; line_breaks = true; bad_row = \"reject_transaction\"; open_rows = 2;\nfiles = (\n"
             "{ kind = \"sales\"; match = \"a.csv\"; topic = \"transactions\"; header = [\"id\", \"type\", \"of\", \"at\", \"total\"];\n"
             " fields = { transaction_id = { column = \"id\"; }; type = { column = \"type\"; sale = \"S\"; return = \"R\"; };\n"
             "  original_transaction_id = { column = \"of\"; }; total = { column = \"total\"; };\n"
             "  event_time = { column = \"at\"; format = [\"%Y-%m-%d\", \"%Y-%m-%dT%H:%M:%S.%f%z\"]; }; }; },\n"
             "{ kind = \"sale_lines\"; match = \"b.csv\"; topic = \"transactions\"; header = [\"id\", \"no\", \"p\", \"q\", \"u\", \"a\"];\n"
             " fields = { transaction_id = { column = \"id\"; }; line_no = { column = \"no\"; }; product_id = { column = \"p\"; };\n"
             "  quantity = { column = \"q\"; }; unit_price = { column = \"u\"; }; amount = { column = \"a\"; }; }; } );\n"
             "%%\nid,type,of,at,total\n1,S,,2024-03-31,12.50\n2,R,1,2024-03-31T01:30:00.5+01:00,2.50\n3,S,,2024-02-30,1\n"
             "%%\nid,no,p,q,u,a\n1,1,\"P\n1\",2,5.00,10.00\n2,1,P1,1,2.50,2.50\n1,2,P2,1,2.50,2.50\n4,1,P,1,1,1\n");
    save(folder, "csv", "heads_and_lines", &seed);
    seed.size = 0;
    add_text(&seed,
             "source = \"t\"; encoding = \"windows-1252\"; delimiter = \";\";\nfiles = (\n"
             "{ kind = \"customers\"; match = \"a.csv\"; topic = \"customers\"; header = [\"id\", \"name\", \"ok\"];\n"
             " fields = { customer_id = { column = \"id\"; pattern = \"[A-Z]+[0-9]*\"; strip = true; }; name = { column = \"name\"; };\n"
             "  consent_marketing = { column = \"ok\"; true = [\"y\", \"1\"]; false = [\"n\"]; default = \"n\"; }; country = { value = \"GB\"; }; }; },\n"
             "{ kind = \"promotions\"; match = \"b.csv\"; topic = \"promotions\"; header = [\"id\", \"from\", \"to\", \"p\"];\n"
             " fields = { promotion_id = { column = \"id\"; }; start = { column = \"from\"; format = \"%d.%m.%Y\"; };\n"
             "  end = { column = \"to\"; format = \"%d.%m.%Y\"; }; product_ids = { column = \"p\"; separator = \"|\"; }; }; } );\n"
             "%%\nid;name;ok\n C1 ;Zo\xeb;y\nC2;\x80\x81;\n"
             "%%\nid;from;to;p\nX;01.02.2024;29.02.2024;P1|P2\nY;1.2.24;;\n");
    save(folder, "csv", "references", &seed);
}

static void write_conf(const char *folder)
{
    struct seed seed = { .size = 0 };
    add_file(&seed, "deploy/lens.conf", true);
    save(folder, "config", "lens.conf", &seed);
    seed.size = 0;
    add_text(&seed, "kafka: { security_protocol = \"sasl_ssl\"; sasl_username = \"u\"; sasl_password_file = \"/f\"; };\n"
                    "accrue = { flush_ms = 4294967297L; hold_ms = 0x10; };\nprogram: { time_zone = \"Asia/Tokyo\"; }\n");
    save(folder, "config", "some", &seed);
    seed.size = 0;
    add_text(&seed, "@include \"/etc/hostname\"\nkafka: (1, [2.5, 1e9], { a = true; });\n");
    save(folder, "config", "foreign", &seed);
    seed.size = 0;
    add_file(&seed, "topics.conf", true);
    save(folder, "topics", "topics.conf", &seed);
}

static void add_header(struct seed *seed, const char *name, const char *value)
{
    add_number(seed, (uint32_t)strlen(name), 4);
    add_text(seed, name);
    add_number(seed, value == NULL ? UINT32_MAX : (uint32_t)strlen(value), 4);
    if (value != NULL)
        add_text(seed, value);
}

static void write_letter(const char *folder, const char *name, uint32_t flags, const struct seed *headers, struct text value)
{
    struct seed seed = { .size = 0 };
    add_number(&seed, flags, 1);
    add_number(&seed, (uint32_t)headers->size, 2);
    add(&seed, headers->bytes, headers->size);
    add_number(&seed, 2, 2);
    add_text(&seed, "C1");
    add(&seed, value.data, value.size);
    save(folder, "letter", name, &seed);
}

static void write_letters(const char *folder, const struct codec *codec)
{
    struct seed headers = { .size = 0 };
    static const char *const validate[][2] = {
        { "trace", "abc" }, { "ll-codes", "TOTAL_MISMATCH,TIME_LATE" }, { "ll-stage", "validate" }, { "ll-topic", "transactions" },
        { "ll-partition", "1" }, { "ll-offset", "17" }, { "ll-timestamp", "1700000000000" }, { "ll-schema-id", "1001" },
        { "ll-group", "lens-validate" }, { "ll-attempt", "2" }, { "ll-first-at", "1690000000000" }, { "ll-message", "\x1b[31mwhy\x07" },
    };
    static const char *const import[][2] = { { "ll-codes", "CSV_SYNTAX" }, { "ll-stage", "import" }, { "ll-topic", "transactions" },
                                             { "ll-file", "a\xe2\x80\xae.csv" }, { "ll-line", "12" }, { "ll-message", NULL } };
    for (size_t i = 0; i < sizeof validate / sizeof validate[0]; i++)
        add_header(&headers, validate[i][0], validate[i][1]);
    write_letter(folder, "validate", 0, &headers, value_of(codec, EVENT_TRANSACTION));
    write_letter(folder, "validate_json", 1, &headers, value_of(codec, EVENT_TRANSACTION));
    write_letter(folder, "accrue", 8 + 16, &headers, value_of(codec, EVENT_TRANSACTION_VALID));
    headers.size = 0;
    for (size_t i = 0; i < sizeof import / sizeof import[0]; i++)
        add_header(&headers, import[i][0], import[i][1]);
    write_letter(folder, "import", 0, &headers, TEXT("1,\"2,3"));
    headers.size = 0;
    for (int i = 0; i < 30; i++)
        add_header(&headers, "h", "v");
    write_letter(folder, "many_headers", 0, &headers, TEXT("x"));
}

int main(int argc, char **argv)
{
    struct codec *codec = NULL;
    struct ll_err err = { "" };
    if (argc != 2) {
        fprintf(stderr, "lens-fuzz-seeds DIR\n");
        return 2;
    }
    if (codec_new(LENS_SOURCE_DIR "/schemas", NULL, &codec, &err) != LL_OK) {
        fprintf(stderr, "lens-fuzz-seeds: %s\n", err.text);
        return 1;
    }
    write_frames(argv[1], codec);
    write_schemas(argv[1]);
    write_csv(argv[1]);
    write_conf(argv[1]);
    write_letters(argv[1], codec);
    codec_free(codec);
    return 0;
}
