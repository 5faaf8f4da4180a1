#include "ops/verbs.h"

#include "runtime/config.h"

#include <getopt.h>
#include <stdio.h>

int verb_config(struct lens *lens, int argc, char **argv)
{
    static const struct option options[] = { { "defaults", no_argument, NULL, 'd' }, { NULL, 0, NULL, 0 } };
    bool defaults = false;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'd')
            return LENS_USAGE;
        defaults = true;
    }
    if (optind < argc)
        return lens_usage(lens, "takes no argument, got \"%s\"", argv[optind]);
    if (defaults)
        config_print_defaults(stdout);
    else if (lens->config_err.text[0] != '\0')
        return lens_usage(lens, "%s", lens->config_err.text);
    else
        config_print(&lens->config, lens->json, stdout);
    return fflush(stdout) == 0 ? LENS_DONE : lens_fail(lens, "cannot write to stdout");
}
