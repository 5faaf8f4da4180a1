/*
 * lens-import: CSV files -> raw topics. main.c reads the options; run.c does it.
 */
#include "producers/import/run.h"
#include "runtime/config.h"
#include "runtime/log.h"
#include "runtime/process.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: lens-import [--again] [--json] [--dry-run] [--check] [--config FILE] PROFILE FILE...|DIRECTORY\n"
    "  PROFILE          the name of a profile in LENS_HOME/profiles or deploy/profiles (online_retail, "
    "header_lines), or a .conf file\n"
    "  --again          send a file that was imported before once more, from its start; nothing is credited "
    "twice\n"
    "  --dry-run        read and judge all rows, send nothing, connect to nothing\n"
    "  --check          look at the configuration, and at PROFILE if it is given; connect to nothing\n"
    "  --json           print the summary as one JSON value\n"
    "  --config FILE    settings; else LENS_CONFIG, LENS_HOME/lens.conf, deploy/lens.conf\n"
    "exit: 0 done, 1 failed, 2 usage or configuration, 3 imported before and nothing sent, 4 Kafka does not "
    "answer\n";

static const struct option known[] = {
    {"again", no_argument, NULL, 'a'},        {"json", no_argument, NULL, 'j'},
    {"dry-run", no_argument, NULL, 'n'},      {"check", no_argument, NULL, 'k'},
    {"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'v'},      {NULL, 0, NULL, 0},
};

static int say_usage(const char *why)
{
    fprintf(stderr, "lens-import: %s\n%s", why, usage);
    return RUN_USAGE;
}

int main(int argc, char **argv)
{
    struct run_options options = {.is_terminal = isatty(STDERR_FILENO) == 1};
    const char *config_file = NULL;
    for (int option; (option = getopt_long(argc, argv, "c:h", known, NULL)) != -1;) {
        switch (option) {
        case 'a':
            options.again = true;
            break;
        case 'j':
            options.json = true;
            break;
        case 'n':
            options.dry_run = true;
            break;
        case 'k':
            options.check = true;
            break;
        case 'c':
            config_file = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return RUN_DONE;
        case 'v':
            printf("lens-import %s\n", LENS_VERSION);
            return RUN_DONE;
        default:
            return say_usage("that is no option of it");
        }
    }
    if (optind == argc && !options.check)
        return say_usage("PROFILE is missing");
    if (optind + 1 == argc && !options.check)
        return say_usage("FILE is missing");
    options.profile = argv[optind]; /* argv ends in NULL */
    options.paths = argv + optind + 1;
    options.path_count = argc - optind - 1;

    /* It speaks to people itself, and says what failed: the client's own remarks only if they are asked for.
     */
    setenv("LENS_LOG", "error", 0);
    log_init("import");
    process_take_signals();
    struct config *config = malloc(sizeof *config);
    struct ll_err err;
    if (config == NULL)
        abort();
    int code = RUN_USAGE;
    if (config_load(config_file, config, &err) == LL_OK && config_as(config, "import", &err) == LL_OK)
        code = run_import(config, &options);
    else
        fprintf(stderr, "lens-import: %s\n", err.text);
    free(config);
    return code;
}
