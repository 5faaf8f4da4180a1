#include "producers/generate/truth.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { POINT_MINOR = 1000, PATH_SIZE = GENERATE_PATH_SIZE + 64 };

/* A sale that more will come about. */
struct watched {
    bool seen, voided;
    int32_t customer;
    int64_t target; /* points posted so far */
    int line_count;
    int32_t products[MADE_LINES_MAX];
    int64_t sold_minor[MADE_LINES_MAX], returned_minor[MADE_LINES_MAX];
    struct waiting *waiting; /* returns that came first, in their order */
};

struct waiting {
    struct made made;
    struct waiting *next;
};

struct account {
    int64_t earned, reversed, net_minor;
    int64_t transactions;
};

struct truth {
    const struct generate_options *options;
    struct account *accounts;
    struct account unidentified;
    struct watched **watched; /* by number of the sale; NULL: not, or not yet */
    FILE *defects;
    int64_t rows, references, transactions_written, lines_written;
    int64_t sales, returns, voids, duplicates, defects_planted, excess;
    int64_t dead_transactions, dead_letters[STAGE_COUNT], bad_by_code[CODE_COUNT];
};

static void *zeroed(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        abort();
    return memory;
}

static char *truth_path(const struct generate_options *options, const char *name, char to[PATH_SIZE])
{
    snprintf(to, PATH_SIZE, "%s/truth%s", options->out, name);
    return to;
}

static FILE *open_file(const struct generate_options *options, const char *name, struct ll_err *err)
{
    char path[PATH_SIZE];
    FILE *file = fopen(truth_path(options, name, path), "w");
    if (file == NULL)
        ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
    return file;
}

static enum ll_status close_file(FILE *file, const struct generate_options *options, const char *name,
                                 struct ll_err *err)
{
    char path[PATH_SIZE];
    bool bad = ferror(file) != 0;
    if (fclose(file) != 0 || bad)
        return ll_fail(err, LL_FATAL, "%s: %s", truth_path(options, name, path), strerror(errno));
    return LL_OK;
}

enum ll_status truth_new(const struct generate_options *options, struct truth **ret, struct ll_err *err)
{
    char path[PATH_SIZE];
    if (mkdir(truth_path(options, "", path), 0777) != 0 && errno != EEXIST)
        return ll_fail(err, LL_FATAL, "%s: %s", path, strerror(errno));
    FILE *defects = open_file(options, "/defects.csv", err);
    if (defects == NULL)
        return LL_FATAL;
    fputs("stage,file,line,id,codes,severity,defect\n", defects);
    struct truth *truth = zeroed(1, sizeof *truth);
    truth->options = options;
    truth->accounts = zeroed((size_t)options->customers, sizeof *truth->accounts);
    truth->watched = zeroed((size_t)options->sales + 1, sizeof *truth->watched);
    truth->defects = defects;
    *ret = truth;
    return LL_OK;
}

static void watched_free(struct watched *watched)
{
    if (watched == NULL)
        return;
    for (struct waiting *waiting = watched->waiting, *next; waiting != NULL; waiting = next) {
        next = waiting->next;
        free(waiting);
    }
    free(watched);
}

void truth_free(struct truth *truth)
{
    if (truth == NULL)
        return;
    for (int64_t i = 0; i <= truth->options->sales; i++)
        watched_free(truth->watched[i]);
    if (truth->defects != NULL)
        fclose(truth->defects);
    free(truth->watched);
    free(truth->accounts);
    free(truth);
}

/* Points. */

static struct account *account_of(struct truth *truth, int32_t customer)
{
    return customer < 0 ? &truth->unidentified : &truth->accounts[customer];
}

static void post(struct truth *truth, int32_t customer, int64_t points, int64_t net_minor)
{
    struct account *account = account_of(truth, customer);
    if (points > 0)
        account->earned += points;
    else
        account->reversed -= points;
    account->net_minor += net_minor;
    account->transactions++;
}

static int64_t worth(int32_t customer, int64_t minor)
{
    return customer < 0 ? 0 : minor / POINT_MINOR;
}

static int64_t left_of(const struct watched *sale)
{
    int64_t sum = 0;
    for (int i = 0; i < sale->line_count && !sale->voided; i++)
        if (sale->returned_minor[i] < sale->sold_minor[i])
            sum += sale->sold_minor[i] - sale->returned_minor[i];
    return sum;
}

static void post_back(struct truth *truth, struct watched *sale, const struct made *made)
{
    int64_t before_minor = left_of(sale);
    sale->voided = sale->voided || made->type == TRANSACTION_VOID;
    for (int i = 0; i < made->line_count; i++)
        for (int j = 0; j < sale->line_count; j++)
            if (sale->products[j] == made->lines[i].product)
                sale->returned_minor[j] += made->lines[i].amount_minor;
    int64_t after_minor = left_of(sale), target = worth(sale->customer, after_minor);
    post(truth, sale->customer, target - sale->target, after_minor - before_minor);
    sale->target = target;
}

static struct watched *watch(struct truth *truth, int64_t number)
{
    if (truth->watched[number] == NULL)
        truth->watched[number] = zeroed(1, sizeof(struct watched));
    return truth->watched[number];
}

static void post_sale(struct truth *truth, const struct made *made)
{
    int64_t points = worth(made->customer, made->total_minor);
    post(truth, made->customer, points, made->total_minor);
    if (!made->sale_watched)
        return;
    struct watched *sale = watch(truth, made->sale);
    sale->seen = true;
    sale->customer = made->customer;
    sale->target = points;
    sale->line_count = made->line_count;
    for (int i = 0; i < made->line_count; i++) {
        sale->products[i] = made->lines[i].product;
        sale->sold_minor[i] = made->lines[i].amount_minor;
    }
    for (struct waiting *waiting = sale->waiting; waiting != NULL; waiting = waiting->next)
        post_back(truth, sale, &waiting->made);
}

static void post_return(struct truth *truth, const struct made *made)
{
    if (made->sale < 0) {
        post(truth, made->customer, -worth(made->customer, made->total_minor), -made->total_minor);
        return;
    }
    struct watched *sale = watch(truth, made->sale);
    if (sale->seen) {
        post_back(truth, sale, made);
        return;
    }
    struct waiting **end = &sale->waiting;
    while (*end != NULL)
        end = &(*end)->next;
    *end = zeroed(1, sizeof **end);
    (*end)->made = *made;
}

/* Dead letters. */

static void label(struct truth *truth, enum made_stage stage, const char *file, int64_t line, const char *id,
                  uint64_t codes, const char *defect)
{
    static const char *const STAGES[STAGE_COUNT] = { "", "import", "validate", "accrue" };
    char names[512];
    bool warns = true;
    for (int code = 1; code < CODE_COUNT; code++) {
        if ((codes & code_bit((enum code)code)) == 0)
            continue;
        truth->bad_by_code[code]++;
        warns = warns && code_info((enum code)code)->severity == CODE_WARN;
    }
    if (!warns)
        truth->dead_letters[stage]++;
    fprintf(truth->defects, "%s,%s,%.0" PRId64 ",%s,\"%s\",%s,%s\n", STAGES[stage], file, line, id,
            code_names(codes, names, sizeof names), warns ? "warn" : "reject", defect);
}

/* Each row of the transaction becomes a dead letter. */
static void label_rows(struct truth *truth, const struct made *made, const struct placed *placed,
                       uint64_t head_codes, uint64_t item_codes)
{
    if (placed->head_line > 0)
        label(truth, STAGE_IMPORT, placed->head_file, placed->head_line, made->transaction_id, head_codes,
              made->defect);
    for (int i = 0; i < made->line_count; i++)
        label(truth, STAGE_IMPORT, placed->item_file, placed->item_line + i, made->transaction_id, item_codes,
              made->defect);
}

static void label_made(struct truth *truth, const struct made *made, const struct placed *placed)
{
    bool unreadable = made->damage == DAMAGE_QUOTE || made->damage == DAMAGE_COLUMNS;
    if (made->stage != STAGE_IMPORT) {
        label(truth, made->stage, placed->head_file, placed->head_line, made->transaction_id, made->codes,
              made->defect == NULL ? "refund_excess" : made->defect);
    } else if (unreadable && made->damaged_line < 0) { /* nobody knows whose header it was */
        label_rows(truth, made, placed, made->codes, code_bit(CODE_HEADER_MISSING));
    } else if (unreadable) { /* the row alone; then the total does not fit any more */
        label(truth, STAGE_IMPORT, placed->item_file, placed->item_line + made->damaged_line,
              made->transaction_id, made->codes, made->defect);
        label(truth, STAGE_VALIDATE, placed->head_file, placed->head_line, made->transaction_id,
              code_bit(CODE_TOTAL_MISMATCH), made->defect);
    } else {
        label_rows(truth, made, placed, made->codes, made->codes);
    }
}

void truth_reference(struct truth *truth, const char *file, int64_t line, const char *id, uint64_t codes,
                     const char *defect)
{
    truth->defects_planted++;
    label(truth, STAGE_VALIDATE, file, line, id, codes, defect);
}

void truth_count_reference(struct truth *truth)
{
    truth->references++;
}

void truth_take(struct truth *truth, const struct made *made, const struct placed *placed)
{
    truth->transactions_written++;
    truth->lines_written += made->line_count;
    if (made->codes != 0)
        label_made(truth, made, placed);
    if (made->stage != STAGE_NONE) {
        truth->dead_transactions++;
        truth->defects_planted++;
        return;
    }
    if (made->codes != 0)
        truth->excess++;
    if (made->repetition) {
        truth->duplicates++;
        return;
    }
    if (made->type == TRANSACTION_SALE) {
        truth->sales++;
        post_sale(truth, made);
        return;
    }
    if (made->type == TRANSACTION_RETURN)
        truth->returns++;
    else
        truth->voids++;
    post_return(truth, made);
}

/* The files. */

static enum ll_status write_customers(const struct truth *truth, struct ll_err *err)
{
    FILE *file = open_file(truth->options, "/customers.csv", err);
    if (file == NULL)
        return LL_FATAL;
    fputs("customer_id,points_earned,points_reversed,points_balance,net_minor,transactions\n", file);
    for (int32_t i = 0; i < truth->options->customers; i++) {
        const struct account *account = &truth->accounts[i];
        char id[WORLD_ID_SIZE];
        if (account->transactions > 0)
            fprintf(file, "%s,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 "\n",
                    world_customer_id(i, id), account->earned, account->reversed,
                    account->earned - account->reversed, account->net_minor, account->transactions);
    }
    return close_file(file, truth->options, "/customers.csv", err);
}

static void write_number(FILE *file, const char *name, int64_t value)
{
    fprintf(file, "  \"%s\": %" PRId64 ",\n", name, value);
}

static void write_totals(const struct truth *truth, FILE *file, struct generate_result *ret)
{
    struct account all = truth->unidentified;
    int64_t customers = 0, below_zero = 0;
    for (int32_t i = 0; i < truth->options->customers; i++) {
        const struct account *account = &truth->accounts[i];
        all.earned += account->earned;
        all.reversed += account->reversed;
        all.net_minor += account->net_minor;
        all.transactions += account->transactions;
        customers += account->transactions > 0;
        below_zero += account->earned < account->reversed;
    }
    write_number(file, "transactions", all.transactions);
    write_number(file, "net_minor", all.net_minor);
    write_number(file, "customers", customers);
    write_number(file, "customers_below_zero", below_zero);
    write_number(file, "points_earned", all.earned);
    write_number(file, "points_reversed", all.reversed);
    write_number(file, "points_balance", all.earned - all.reversed);
    write_number(file, "unidentified_transactions", truth->unidentified.transactions);
    write_number(file, "unidentified_net_minor", truth->unidentified.net_minor);
    ret->points_balance = all.earned - all.reversed;
}

static enum ll_status write_summary(const struct truth *truth, struct generate_result *ret,
                                    struct ll_err *err)
{
    FILE *file = open_file(truth->options, "/summary.json", err);
    if (file == NULL)
        return LL_FATAL;
    fputs("{\n", file);
    write_number(file, "seed", (int64_t)truth->options->seed);
    write_number(file, "references_written", truth->references);
    write_number(file, "transactions_written", truth->transactions_written);
    write_number(file, "lines_written", truth->lines_written);
    write_totals(truth, file, ret);
    write_number(file, "sales", truth->sales);
    write_number(file, "returns", truth->returns);
    write_number(file, "voids", truth->voids);
    write_number(file, "duplicates", truth->duplicates);
    write_number(file, "refund_excess", truth->excess);
    write_number(file, "refused_transactions", truth->dead_transactions);
    write_number(file, "dead_letters_import", truth->dead_letters[STAGE_IMPORT]);
    write_number(file, "dead_letters_validate", truth->dead_letters[STAGE_VALIDATE]);
    write_number(file, "dead_letters_accrue", truth->dead_letters[STAGE_ACCRUE]);
    fputs("  \"by_code\": {", file);
    const char *comma = "";
    for (int code = 1; code < CODE_COUNT; code++) {
        if (truth->bad_by_code[code] == 0)
            continue;
        fprintf(file, "%s\n    \"%s\": %" PRId64, comma, code_info((enum code)code)->name,
                truth->bad_by_code[code]);
        comma = ",";
    }
    fputs("\n  }\n}\n", file);
    ret->transactions = truth->transactions_written;
    ret->lines = truth->lines_written;
    ret->defects = truth->defects_planted;
    return close_file(file, truth->options, "/summary.json", err);
}

enum ll_status truth_finish(struct truth *truth, struct generate_result *ret, struct ll_err *err)
{
    enum ll_status status = write_customers(truth, err);
    if (status == LL_OK)
        status = write_summary(truth, ret, err);
    FILE *defects = truth->defects;
    truth->defects = NULL;
    enum ll_status closed = close_file(defects, truth->options, "/defects.csv", status == LL_OK ? err : NULL);
    return status == LL_OK ? closed : status;
}
