/* lens generate: synthetic sales from a seed, as CSV files or onto the raw topics. */
#include "producers/generate/generate.h"
#include "ops/files.h"
#include "ops/verbs.h"
#include "runtime/clock.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum option_id {
    O_SEED = 1000,
    O_DAYS,
    O_CUSTOMERS,
    O_PRODUCTS,
    O_STORES,
    O_SALES,
    O_START,
    O_DEFECTS,
    O_RETURNS,
    O_DUPLICATES,
    O_CURRENCY,
    O_OUT,
    O_TOPICS,
    O_RATE
};

static const struct option OPTIONS[] = {
    { "seed", required_argument, NULL, O_SEED },
    { "days", required_argument, NULL, O_DAYS },
    { "customers", required_argument, NULL, O_CUSTOMERS },
    { "products", required_argument, NULL, O_PRODUCTS },
    { "stores", required_argument, NULL, O_STORES },
    { "sales", required_argument, NULL, O_SALES },
    { "start", required_argument, NULL, O_START },
    { "defects", required_argument, NULL, O_DEFECTS },
    { "returns", required_argument, NULL, O_RETURNS },
    { "duplicates", required_argument, NULL, O_DUPLICATES },
    { "currency", required_argument, NULL, O_CURRENCY },
    { "out", required_argument, NULL, O_OUT },
    { "topics", no_argument, NULL, O_TOPICS },
    { "rate", required_argument, NULL, O_RATE },
    { NULL, 0, NULL, 0 },
};

/* Digits alone. */
static bool read_number(const char *text, int64_t max, int64_t *ret)
{
    int64_t value = 0;
    if (*text == '\0' || strlen(text) > 18)
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (*text - '0');
    *ret = value;
    return *text == '\0' && value <= max;
}

static bool read_count(const char *text, int32_t *ret)
{
    int64_t value;
    if (!read_number(text, INT32_MAX, &value))
        return false;
    *ret = (int32_t)value;
    return true;
}

/* "1", "0.5", "12.25%": percent into hundredths of one. */
static bool read_percent(const char *text, int32_t *ret)
{
    int32_t value = 0;
    int digits = 0, places = -1; /* -1: no point yet */
    for (; (*text >= '0' && *text <= '9') || (*text == '.' && places < 0); text++) {
        if (*text == '.') {
            places = 0;
            continue;
        }
        value = value * 10 + (*text - '0');
        digits++;
        places += places >= 0;
        if (digits > 5 || places > 2)
            return false;
    }
    for (int place = places < 0 ? 0 : places; place < 2; place++)
        value *= 10;
    if (*text == '%')
        text++;
    *ret = value;
    return digits > 0 && *text == '\0' && value <= 10000;
}

static bool read_day(const char *text, int32_t *ret)
{
    int year, month, day, used = 0;
    return sscanf(text, "%4d-%2d-%2d%n", &year, &month, &day, &used) == 3 && used == 10 && text[10] == '\0' &&
           calendar_day_of(year, month, day, ret);
}

static bool read_text(const char *text, char *to, size_t size)
{
    if (text[0] == '\0' || strlen(text) >= size)
        return false;
    strcpy(to, text);
    return true;
}

static bool take_option(struct generate_options *options, int id, const char *value)
{
    int64_t number;
    switch (id) {
    case O_SEED:
        if (!read_number(value, INT64_MAX, &number))
            return false;
        options->seed = (uint64_t)number;
        return true;
    case O_DAYS:
        return read_count(value, &options->days);
    case O_CUSTOMERS:
        return read_count(value, &options->customers);
    case O_PRODUCTS:
        return read_count(value, &options->products);
    case O_STORES:
        return read_count(value, &options->stores);
    case O_SALES:
        return read_number(value, INT64_MAX, &options->sales);
    case O_START:
        return read_day(value, &options->start_day);
    case O_DEFECTS:
        return read_percent(value, &options->defects_permyriad);
    case O_RETURNS:
        return read_percent(value, &options->returns_permyriad);
    case O_DUPLICATES:
        return read_percent(value, &options->duplicates_permyriad);
    case O_CURRENCY:
        return strlen(value) == 3 && read_text(value, options->currency, sizeof options->currency);
    case O_OUT:
        return read_text(value, options->out, sizeof options->out);
    case O_RATE:
        return read_number(value, 10000000, &options->rate_per_s) && options->rate_per_s > 0;
    default:
        break;
    }
    options->topics = true;
    return true;
}

static void show_progress(void *arg, int64_t done, int64_t total)
{
    lens_progress(arg, "%s of %s sales", lens_number(done), lens_number(total));
}

static int print_result(struct lens *lens, const struct generate_options *options,
                        const struct generate_result *result)
{
    if (lens->json)
        return lens_print_json(lens,
                               json_pack("{s:s, s:I, s:I, s:I, s:I}", "out", options->out, "transactions",
                                         (json_int_t)result->transactions, "lines", (json_int_t)result->lines,
                                         "defects", (json_int_t)result->defects, "points_balance",
                                         (json_int_t)result->points_balance));
    printf("%s transactions, %s lines, %s defects planted; they are worth %s points\n",
           lens_number(result->transactions), lens_number(result->lines), lens_number(result->defects),
           lens_number(result->points_balance));
    if (options->topics)
        printf("sent to the raw topics; what must come of it: %s/truth\n", options->out);
    else
        printf("written to %s; what must come of it: %s/truth\nnext: lens import header_lines %s\n",
               options->out, options->out, options->out);
    return LENS_DONE;
}

int verb_generate(struct lens *lens, int argc, char **argv)
{
    struct generate_options options;
    generate_defaults(&options);
    if (lens->config_err.text[0] == '\0')
        memcpy(options.currency, lens->config.program.currency, sizeof options.currency);
    opterr = 0; /* our words, not getopt's */
    for (int id; (id = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        if (id == '?')
            return lens_usage(lens, "%s is no option, or lacks its value", argv[optind - 1]);
        if (!take_option(&options, id, optarg))
            return lens_usage(lens, "cannot take \"%s\" for %s", optarg, argv[optind - 2]);
    }
    if (optind < argc)
        return lens_usage(lens, "too much: %s", argv[optind]);
    if (options.rate_per_s > 0 && !options.topics)
        return lens_usage(lens, "--rate needs --topics");
    struct ll_err err = { "" };
    if (generate_check(&options, &err) != LL_OK)
        return lens_usage(lens, "%s", err.text);
    struct generate_result result = { 0 };
    enum ll_status status = path_make_dir(options.out, &err);
    if (status == LL_OK)
        status = generate_run(&options, &lens->config, show_progress, lens, &result, &err);
    lens_progress_end(lens);
    return status == LL_OK ? print_result(lens, &options, &result) : lens_end(lens, status, &err);
}
