#include "ops/lens.h"

#include "ops/verbs.h"
#include "runtime/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verb {
    const char *noun, *usage, *help;
    int (*run)(struct lens *lens, int argc, char **argv);
    bool any_config; /* runs also where the configuration is broken */
};

static const struct verb verbs[] = {
    { "up", "up [--no-processes] [--bench] [--new-ports] [--secure]", "start the private Kafka, Redis, Postgres and our processes", verb_up, false },
    { "down", "down [--purge]", "stop them; --purge also removes their data", verb_down, true },
    { "status", "status", "what runs, since when, and what it waits for", verb_status, false },
    { "env", "env [--export]", "the services' addresses as shell assignments", verb_env, false },
    { "doctor", "doctor", "check this machine, each finding with the next command", verb_doctor, true },
    { "import", "import PROFILE FILE...|DIRECTORY [--again] [--dry-run]", "CSV files onto the topics, each row once; goes on where it was stopped",
      verb_import, false },
    { "wait", "wait [--timeout S]", "until all that was produced is credited", verb_wait, false },
    { "report", "report [--top N] [--as-of DAY]", "lines read, good, bad by reason; points, customers; standing, letters", verb_report, false },
    { "customer", "customer ID [--limit N]", "a customer's balance in both stores, and the last postings", verb_customer, false },
    { "ledger", "ledger ID [--limit N]", "ledger rows of a customer or a transaction, by rule and line", verb_ledger, false },
    { "verify", "verify", "recompute everything: conservation, ledger, accounts, Redis; exit 3 if anything differs", verb_verify, false },
    { "dlq", "dlq list|show REF|stats [--code C] [--stage S] [--topic T] [--since T] [--limit N]",
      "what was refused and why (redrive and discard are not there yet)", verb_dlq, false },
    { "mail", "mail list [--state S] [--reason R] [--customer ID] [--letter L] [--limit N] | show ID [--raw] | why ID | retry ID | unsubscribe TOKEN",
      "letters: what went, what waits, what was held back and why", verb_mail, false },
    { "resume", "resume TOPIC[/PARTITION]...|all", "go on with a partition that was paused because too much was refused",
      verb_resume, false },
    { "segments", "segments [list] [--as-of DAY] | history ID [--limit N] | wait [--timeout S]",
      "who is in what, now or as of a day; one customer's changes; wait until every ledger row is in", verb_segments, false },
    { "explain", "explain [CODE] | segment ID",
      "what a code of refused records means, and what to do next; why a customer stands where it does", verb_explain, true },
    { "rules", "rules check|publish FILE [--yes] | show [VERSION]", "check a rule set, publish it, show what is published", verb_rules, false },
    { "generate", "generate --out DIR [--seed N] [--days N] [--customers N] [--products N] [--stores N] [--sales N] [--start DATE]"
      " [--defects PERCENT] [--returns PERCENT] [--duplicates PERCENT] [--currency CODE] [--topics [--rate N]]",
      "synthetic sales, as CSV files or onto the topics", verb_generate, true },
    { "bench", "bench accrue|line|latency|recovery|segment|load [--events N] [--customers N] [--rate N] [--seconds S] [--seed N] [--keep]",
      "measure the real line on this machine, in a home of its own", verb_bench, false },
    { "config", "config [--defaults]", "every setting with its value, unit and default", verb_config, true },
};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

static void print_help(FILE *to)
{
    fprintf(to, "lens - streaming loyalty over Apache Kafka\n\n"
                "usage: lens [--json] [--config FILE] [--home DIR] NOUN ...\n\n");
    for (size_t at = 0; at < VERB_COUNT; at++)
        fprintf(to, "  lens %s\n        %s\n", verbs[at].usage, verbs[at].help);
    fprintf(to, "\n"
                "  --json         one JSON value on stdout instead of text\n"
                "  --config FILE  configuration; default LENS_HOME/lens.conf, else deploy/lens.conf\n"
                "  --home DIR     LENS_HOME, where the private stack lives; default .lens in the checkout\n\n"
                "exit code: 0 done, 1 failed, 2 usage or configuration, 3 checked and found bad, 4 a service does not answer\n");
}

static const struct verb *find_verb(const char *noun)
{
    for (size_t at = 0; at < VERB_COUNT; at++)
        if (strcmp(verbs[at].noun, noun) == 0)
            return &verbs[at];
    return NULL;
}

/* The options that every noun has, taken out of argv wherever they stand. */
struct common {
    const char *config, *home;
    bool help, version;
};

static const char *option_value(const char *name, int argc, char **argv, int *at)
{
    size_t size = strlen(name);
    if (strncmp(argv[*at], name, size) != 0)
        return NULL;
    if (argv[*at][size] == '=')
        return argv[*at] + size + 1;
    if (argv[*at][size] != '\0' || *at + 1 >= argc)
        return NULL;
    return argv[++*at];
}

static int take_common(struct lens *lens, int argc, char **argv, struct common *ret)
{
    int kept = 1, at = 1;
    for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
        const char *value;
        if (strcmp(argv[at], "--json") == 0)
            lens->json = true;
        else if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0)
            ret->help = true;
        else if (strcmp(argv[at], "--version") == 0)
            ret->version = true;
        else if ((value = option_value("--config", argc, argv, &at)) != NULL)
            ret->config = value;
        else if ((value = option_value("--home", argc, argv, &at)) != NULL)
            ret->home = value;
        else
            argv[kept++] = argv[at];
    }
    for (; at < argc; at++)
        argv[kept++] = argv[at];
    argv[kept] = NULL;
    return kept;
}

/* Children (lens-import, the supervisor's services) find the same home and file by the environment. */
static int load_config(struct lens *lens, const struct verb *verb, const struct common *common)
{
    struct ll_err err;
    char absolute[4096];
    if (common->home != NULL && (common->home[0] == '\0' || setenv("LENS_HOME", common->home, 1) != 0))
        return lens_usage(lens, "--home needs a directory");
    const char *file = common->config != NULL ? common->config : getenv("LENS_CONFIG");
    if (file != NULL && file[0] != '\0')
        setenv("LENS_CONFIG", realpath(file, absolute) != NULL ? absolute : file, 1);
    if (config_load(NULL, &lens->config, &err) == LL_OK && config_as(&lens->config, "admin", &err) == LL_OK) {
        setenv("LENS_HOME", lens->config.home, 1);
        return LENS_DONE;
    }
    if (!verb->any_config) {
        lens_say(lens, "%s", err.text);
        return LENS_USAGE;
    }
    lens->config_err = err;
    return LENS_DONE;
}

int main(int argc, char **argv)
{
    static struct lens lens;
    struct common common = { 0 };
    lens.progress = isatty(STDERR_FILENO) == 1;
    bool is_set = getenv("LENS_LOG") != NULL;
    /* A tool says itself what went wrong; the clients' own warnings are for processes' logs. */
    if (!is_set)
        setenv("LENS_LOG", "error", 1);
    log_init("lens");
    if (!is_set)
        unsetenv("LENS_LOG");
    argc = take_common(&lens, argc, argv, &common);
    if (common.version) {
        printf("lens %s\n", LENS_VERSION);
        return LENS_DONE;
    }
    if (argc < 2) {
        print_help(common.help ? stdout : stderr);
        return common.help ? LENS_DONE : LENS_USAGE;
    }
    const struct verb *verb = find_verb(argv[1]);
    if (verb == NULL)
        return lens_usage(&lens, "there is no \"%s\"; `lens --help` lists what there is", argv[1]);
    lens.noun = verb->noun;
    lens.usage = verb->usage;
    if (common.help) {
        printf("usage: lens %s\n\n%s\n", verb->usage, verb->help);
        return LENS_DONE;
    }
    int code = load_config(&lens, verb, &common);
    if (code != LENS_DONE)
        return code;
    code = verb->run(&lens, argc - 1, argv + 1);
    lens_progress_end(&lens);
    return code;
}
