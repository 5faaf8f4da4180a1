/* The files of the import profile header_lines. */
#include "producers/generate/sink.h"

#include "runtime/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum file_kind {
    FILE_STORES,
    FILE_PRODUCTS,
    FILE_CUSTOMERS,
    FILE_PROMOTIONS,
    FILE_SALES,
    FILE_SALE_LINES,
    FILE_KINDS
};

static const struct {
    const char *name, *head;
} FILES[FILE_KINDS] = {
    { "stores.csv", "store_id,name,city,opened,closed,effective_from" },
    { "products.csv", "product_id,name,category,brand,unit_price,active,effective_from" },
    { "customers.csv",
      "customer_id,name,email,phone,language,country,consent_marketing,erased,effective_from" },
    { "promotions.csv", "promotion_id,name,start,end,product_ids,categories,effective_from" },
    { "sales.csv",
      "transaction_id,type,original_transaction_id,event_time,store_id,customer_id,currency,total,channel" },
    { "sale_lines.csv",
      "transaction_id,line_no,product_id,quantity,unit_price,discount,amount,promotion_id" },
};

struct csv {
    const struct generate_options *options;
    FILE *files[FILE_KINDS];
    int64_t lines[FILE_KINDS]; /* written so far */
};

static const char *csv_path(const struct csv *csv, enum file_kind kind, char to[GENERATE_PATH_SIZE + 32])
{
    snprintf(to, GENERATE_PATH_SIZE + 32, "%s/%s", csv->options->out, FILES[kind].name);
    return to;
}

/* Quoted where it must be (RFC 4180). */
static void put_text(FILE *file, struct text text)
{
    bool quotes = false;
    for (uint32_t i = 0; i < text.size && !quotes; i++)
        quotes = strchr(",\"\r\n", text.data[i]) != NULL;
    if (!quotes) {
        fprintf(file, "%.*s", TEXT_ARG(text));
        return;
    }
    putc('"', file);
    for (uint32_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"')
            putc('"', file);
        putc(text.data[i], file);
    }
    putc('"', file);
}

static void put_cell(FILE *file, struct text text)
{
    putc(',', file);
    put_text(file, text);
}

static void put_money(FILE *file, int64_t minor)
{
    int64_t absolute = minor < 0 ? -minor : minor;
    fprintf(file, ",%s%" PRId64 ".%02" PRId64, minor < 0 ? "-" : "", absolute / 100, absolute % 100);
}

static void put_day(FILE *file, bool present, int32_t day)
{
    int year = 0, month = 0, day_of_month = 0;
    calendar_date(day, &year, &month, &day_of_month);
    if (present)
        fprintf(file, ",%04d-%02d-%02d", year, month, day_of_month);
    else
        putc(',', file);
}

static void put_time(FILE *file, int64_t time_ms)
{
    char text[40];
    clock_format(time_ms, text, sizeof text);
    fprintf(file, ",%.19sZ", text); /* whole seconds */
}

static void put_list(FILE *file, const struct text *items, uint32_t count)
{
    putc(',', file);
    for (uint32_t i = 0; i < count; i++)
        fprintf(file, "%s%.*s", i == 0 ? "" : ";", TEXT_ARG(items[i]));
}

static void end_row(struct csv *csv, enum file_kind kind)
{
    putc('\n', csv->files[kind]);
    csv->lines[kind]++;
}

static void write_store(FILE *file, const struct store *store)
{
    put_text(file, store->store_id);
    put_cell(file, store->name);
    put_cell(file, store->city);
    put_day(file, store->has_opened, store->opened_day);
    put_day(file, store->has_closed, store->closed_day);
    put_time(file, store->effective_from_ms);
}

static void write_product(FILE *file, const struct product *product)
{
    put_text(file, product->product_id);
    put_cell(file, product->name);
    put_cell(file, product->category);
    put_cell(file, product->brand);
    put_money(file, product->unit_price_minor);
    fputs(product->active ? ",true" : ",false", file);
    put_time(file, product->effective_from_ms);
}

static void write_customer(FILE *file, const struct customer *customer)
{
    put_text(file, customer->customer_id);
    put_cell(file, customer->name);
    put_cell(file, customer->email);
    put_cell(file, customer->phone);
    put_cell(file, customer->language);
    put_cell(file, customer->country);
    fputs(customer->consent_marketing ? ",true" : ",false", file);
    fputs(customer->erased ? ",true" : ",false", file);
    put_time(file, customer->effective_from_ms);
}

static void write_promotion(FILE *file, const struct promotion *promotion)
{
    put_text(file, promotion->promotion_id);
    put_cell(file, promotion->name);
    put_day(file, true, promotion->start_day);
    put_day(file, true, promotion->end_day);
    put_list(file, promotion->product_ids, promotion->product_count);
    put_list(file, promotion->categories, promotion->category_count);
    put_time(file, promotion->effective_from_ms);
}

static enum ll_status check(const struct csv *csv, enum file_kind kind, struct ll_err *err)
{
    char path[GENERATE_PATH_SIZE + 32];
    if (ferror(csv->files[kind]) == 0)
        return LL_OK;
    return ll_fail(err, LL_FATAL, "%s: cannot be written: %s", csv_path(csv, kind, path), strerror(errno));
}

static enum ll_status csv_reference(void *self, const struct event *event, struct placed *ret,
                                    struct ll_err *err)
{
    struct csv *csv = self;
    enum file_kind kind = FILE_STORES;
    if (event->kind == EVENT_STORE) {
        write_store(csv->files[kind], &event->store);
    } else if (event->kind == EVENT_PRODUCT) {
        kind = FILE_PRODUCTS;
        write_product(csv->files[kind], &event->product);
    } else if (event->kind == EVENT_CUSTOMER) {
        kind = FILE_CUSTOMERS;
        write_customer(csv->files[kind], &event->customer);
    } else {
        kind = FILE_PROMOTIONS;
        write_promotion(csv->files[kind], &event->promotion);
    }
    end_row(csv, kind);
    *ret = (struct placed){ .head_file = FILES[kind].name, .head_line = csv->lines[kind] };
    return check(csv, kind, err);
}

static enum ll_status csv_settle(void *self, struct ll_err *err)
{
    (void)self;
    (void)err;
    return LL_OK;
}

static void write_head(FILE *file, const struct made *made, enum made_damage damage)
{
    static const char *const TYPES[] = { "SALE", "RETURN", "VOID" };
    fprintf(file, "%s,%s,%s", made->transaction_id, damage == DAMAGE_TYPE ? "SWAP" : TYPES[made->type],
            made->original_id);
    if (damage == DAMAGE_TIME)
        fputs(",2026-13-45T99:00:00Z", file);
    else
        put_time(file, made->event_time_ms);
    fprintf(file, ",%s,%s,%s", made->store_id, made->customer_id, made->currency);
    put_money(file, made->total_minor);
    fprintf(file, ",%s%s", made->channel,
            damage == DAMAGE_QUOTE      ? "st\"ore"
            : damage == DAMAGE_CONTROL  ? "st\x01ore"
            : damage == DAMAGE_ENCODING ? "caf\xe9"
            : damage == DAMAGE_COLUMNS  ? ",one,more"
                                        : "");
    for (int i = 0; damage == DAMAGE_LONG_TEXT && i <= EVENT_TEXT_SIZE_MAX; i++)
        putc('+', file);
}

static void write_line(FILE *file, const struct made *made, const struct made_line *line,
                       enum made_damage damage)
{
    fprintf(file, "%s,%" PRId32 ",%s", made->transaction_id, line->line_no, line->product_id);
    fprintf(file, damage == DAMAGE_QUANTITY_TEXT ? ",%" PRId64 ".5" : ",%" PRId64, line->quantity);
    if (damage == DAMAGE_PRICE_TEXT)
        fputs(",1O.99", file); /* a letter for a digit */
    else
        put_money(file, line->unit_price_minor);
    if (damage == DAMAGE_PRICE_SCALE)
        putc('5', file);
    put_money(file, line->discount_minor);
    put_money(file, line->amount_minor);
    fprintf(file, ",%s%s", line->promotion_id,
            damage == DAMAGE_QUOTE     ? "no\"quote"
            : damage == DAMAGE_COLUMNS ? ",one,more"
                                       : "");
}

static enum ll_status csv_transaction(void *self, const struct made *made, struct placed *ret,
                                      struct ll_err *err)
{
    struct csv *csv = self;
    *ret = (struct placed){ .head_file = FILES[FILE_SALES].name, .item_file = FILES[FILE_SALE_LINES].name };
    if (made->damage != DAMAGE_NO_HEADER) {
        write_head(csv->files[FILE_SALES], made, made->damaged_line < 0 ? made->damage : DAMAGE_NONE);
        end_row(csv, FILE_SALES);
        ret->head_line = csv->lines[FILE_SALES];
    }
    ret->item_line = csv->lines[FILE_SALE_LINES] + 1;
    for (int i = 0; i < made->line_count; i++) {
        write_line(csv->files[FILE_SALE_LINES], made, &made->lines[i],
                   made->damaged_line == i ? made->damage : DAMAGE_NONE);
        end_row(csv, FILE_SALE_LINES);
    }
    enum ll_status status = check(csv, FILE_SALES, err);
    return status == LL_OK ? check(csv, FILE_SALE_LINES, err) : status;
}

static enum ll_status csv_finish(void *self, struct ll_err *err)
{
    struct csv *csv = self;
    for (enum file_kind kind = 0; kind < FILE_KINDS; kind++) {
        char path[GENERATE_PATH_SIZE + 32];
        FILE *file = csv->files[kind];
        csv->files[kind] = NULL;
        bool bad = ferror(file) != 0;
        if (fclose(file) != 0 || bad)
            return ll_fail(err, LL_FATAL, "%s: cannot be written: %s", csv_path(csv, kind, path),
                           strerror(errno));
    }
    return LL_OK;
}

static void csv_close(void *self)
{
    struct csv *csv = self;
    for (enum file_kind kind = 0; kind < FILE_KINDS; kind++)
        if (csv->files[kind] != NULL)
            fclose(csv->files[kind]);
    free(csv);
}

static const struct sink_ops OPS = { csv_reference, csv_settle, csv_transaction, csv_finish, csv_close };

enum ll_status sink_csv_open(const struct generate_options *options, struct sink *ret, struct ll_err *err)
{
    struct csv *csv = calloc(1, sizeof *csv);
    if (csv == NULL)
        abort();
    csv->options = options;
    for (enum file_kind kind = 0; kind < FILE_KINDS; kind++) {
        char path[GENERATE_PATH_SIZE + 32];
        csv->files[kind] = fopen(csv_path(csv, kind, path), "w");
        if (csv->files[kind] == NULL) {
            ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
            csv_close(csv);
            return LL_FATAL;
        }
        fputs(FILES[kind].head, csv->files[kind]);
        end_row(csv, kind);
    }
    *ret = (struct sink){ &OPS, csv };
    return LL_OK;
}
