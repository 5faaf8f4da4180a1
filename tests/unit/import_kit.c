#include "import_kit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void kit_init(struct kit *kit)
{
    *kit = (struct kit){ .folder = "/tmp/lens-import-XXXXXX", .out_size = 1 << 16 };
    kit->out = calloc(1, kit->out_size);
    if (kit->out == NULL || mkdtemp(kit->folder) == NULL)
        abort();
}

void kit_done(struct kit *kit)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", kit->folder);
    if (system(command) != 0)
        fprintf(stderr, "%s is left behind\n", kit->folder);
    free(kit->out);
}

void kit_print(struct kit *kit, const char *format, ...)
{
    for (;;) {
        va_list args;
        va_start(args, format);
        int need = vsnprintf(kit->out + kit->out_used, kit->out_size - kit->out_used, format, args);
        va_end(args);
        if ((size_t)need < kit->out_size - kit->out_used) {
            kit->out_used += (size_t)need;
            return;
        }
        kit->out_size *= 2;
        kit->out = realloc(kit->out, kit->out_size);
        if (kit->out == NULL)
            abort();
    }
}

const char *kit_file(struct kit *kit, const char *name, const char *bytes, size_t size)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", kit->folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        abort();
    return path;
}

enum ll_status kit_profile(struct kit *kit, const char *text, struct profile **ret)
{
    char path[256];
    snprintf(path, sizeof path, "%s", kit_file(kit, "p.conf", text, strlen(text)));
    enum ll_status status = profile_load(path, "GBP", "Europe/London", ret, &kit->err);
    unlink(path);
    return status;
}

static void print_text(struct kit *kit, const char *label, struct text text)
{
    if (text.data != NULL)
        kit_print(kit, " %s=%.*s", label, TEXT_ARG(text));
}

static void print_transaction(struct kit *kit, const struct transaction *t)
{
    static const char *const types[] = { "SALE", "RETURN", "VOID" };
    char at[32];
    kit_print(kit, "%s %.*s %s", types[t->type], TEXT_ARG(t->transaction_id), clock_format(t->event_time_ms, at, sizeof at));
    print_text(kit, "of", t->original_transaction_id);
    print_text(kit, "store", t->store_id);
    print_text(kit, "customer", t->customer_id);
    kit_print(kit, " %.*s", TEXT_ARG(t->currency));
    if (t->has_total)
        kit_print(kit, " total=%lld", (long long)t->total_minor);
    print_text(kit, "channel", t->channel);
    kit_print(kit, " from %.*s", TEXT_ARG(t->source_ref));
    for (uint32_t i = 0; i < t->line_count; i++) {
        const struct line *line = &t->lines[i];
        kit_print(kit, " [%d %.*s %lldx%lld-%lld=%lld", line->line_no, TEXT_ARG(line->product_id), (long long)line->quantity,
                  (long long)line->unit_price_minor, (long long)line->discount_minor, (long long)line->amount_minor);
        print_text(kit, "promotion", line->promotion_id);
        kit_print(kit, "]");
    }
    kit_print(kit, "\n");
}

static void print_customer(struct kit *kit, const struct customer *c)
{
    kit_print(kit, "customer %.*s from=%lld", TEXT_ARG(c->customer_id), (long long)c->effective_from_ms);
    print_text(kit, "name", c->name);
    print_text(kit, "email", c->email);
    print_text(kit, "phone", c->phone);
    print_text(kit, "language", c->language);
    print_text(kit, "country", c->country);
    kit_print(kit, "%s%s\n", c->consent_marketing ? " consent" : "", c->erased ? " erased" : "");
}

static void print_promotion(struct kit *kit, const struct promotion *p)
{
    kit_print(kit, "promotion %.*s %d..%d products", TEXT_ARG(p->promotion_id), p->start_day, p->end_day);
    for (uint32_t i = 0; i < p->product_count; i++)
        kit_print(kit, " %.*s", TEXT_ARG(p->product_ids[i]));
    kit_print(kit, " categories");
    for (uint32_t i = 0; i < p->category_count; i++)
        kit_print(kit, " %.*s", TEXT_ARG(p->categories[i]));
    kit_print(kit, "\n");
}

static void print_event(struct kit *kit, const struct event *event)
{
    if (event->kind == EVENT_TRANSACTION)
        print_transaction(kit, &event->transaction);
    else if (event->kind == EVENT_CUSTOMER)
        print_customer(kit, &event->customer);
    else if (event->kind == EVENT_PROMOTION)
        print_promotion(kit, &event->promotion);
    else if (event->kind == EVENT_PRODUCT)
        kit_print(kit, "product %.*s %.*s price=%lld %s from=%lld\n", TEXT_ARG(event->product.product_id),
                  TEXT_ARG(event->product.category), event->product.has_unit_price ? (long long)event->product.unit_price_minor : -1,
                  event->product.active ? "active" : "gone", (long long)event->product.effective_from_ms);
    else if (event->kind == EVENT_STORE)
        kit_print(kit, "store %.*s %.*s open=%d closed=%d\n", TEXT_ARG(event->store.store_id), TEXT_ARG(event->store.city),
                  event->store.has_opened ? event->store.opened_day : -1, event->store.has_closed ? event->store.closed_day : -1);
    else
        kit_print(kit, "inventory %.*s %.*s %lld\n", TEXT_ARG(event->inventory.store_id), TEXT_ARG(event->inventory.product_id),
                  (long long)event->inventory.on_hand);
}

static enum ll_status fails(struct kit *kit, struct ll_err *err)
{
    return kit->fail_at > 0 && --kit->fail_at == 0 ? ll_fail(err, LL_RETRY, "the sink failed") : LL_OK;
}

static enum ll_status take_event(void *self, enum topic topic, struct text key, const struct event *event, struct ll_err *err)
{
    struct kit *kit = self;
    (void)topic;
    kit_print(kit, "%.*s> ", TEXT_ARG(key));
    print_event(kit, event);
    return fails(kit, err);
}

static enum ll_status take_dead(void *self, const struct dead_row *row, struct ll_err *err)
{
    struct kit *kit = self;
    char codes[512];
    kit_print(kit, "dead %s:%lld %s", row->file, (long long)row->line, code_names(row->codes, codes, sizeof codes));
    if (row->topic != TOPIC_TRANSACTIONS)
        kit_print(kit, " of %s", topic_name(row->topic));
    kit_print(kit, "\n");
    return fails(kit, err);
}

static enum ll_status take_settle(void *self, struct ll_err *err)
{
    (void)err;
    ((struct kit *)self)->settled++;
    return LL_OK;
}

enum ll_status kit_run(struct kit *kit, const struct profile *profile, char *const *paths, int path_count, int step_rows)
{
    struct import_sink sink = { take_event, take_dead, take_settle, kit };
    struct fileset files;
    struct calendar *calendar = NULL;
    struct importer *importer = NULL;
    bool more = true;
    enum ll_status status = fileset_open(profile, paths, path_count, &files, &kit->err);
    if (status == LL_OK)
        status = calendar_new(profile->time_zone, &calendar, &kit->err);
    if (status == LL_OK)
        status = importer_open(profile, &files, calendar, &sink, &importer, &kit->err);
    while (status == LL_OK && more)
        status = importer_step(importer, step_rows, &more, &kit->err);
    if (importer != NULL)
        kit->counts = *importer_counts(importer);
    importer_close(importer);
    calendar_free(calendar);
    fileset_close(&files);
    return status;
}

enum ll_status kit_import(struct kit *kit, const char *profile_name, const char *profile_text, int step_rows)
{
    struct profile *profile;
    char path[256];
    snprintf(path, sizeof path, "%s/deploy/profiles/%s.conf", LENS_SOURCE_DIR, profile_name != NULL ? profile_name : "");
    enum ll_status status = profile_text != NULL ? kit_profile(kit, profile_text, &profile)
                                                 : profile_load(path, "GBP", "Europe/London", &profile, &kit->err);
    if (status != LL_OK)
        return status;
    char *paths[] = { kit->folder };
    status = kit_run(kit, profile, paths, 1, step_rows);
    profile_free(profile);
    return status;
}
