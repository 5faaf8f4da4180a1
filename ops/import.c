/* lens import: hands over to lens-import, which stands beside this program; it is a process of its own. */
#include "ops/lens.h"
#include "ops/verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

static bool find_program(char to[PATH_SIZE])
{
    static const char name[] = "lens-import";
    ssize_t size = readlink("/proc/self/exe", to, PATH_SIZE - sizeof name - 1);
    if (size <= 0)
        return false;
    to[size] = '\0';
    char *slash = strrchr(to, '/');
    if (slash == NULL)
        return false;
    memcpy(slash + 1, name, sizeof name);
    return access(to, X_OK) == 0;
}

int verb_import(struct lens *lens, int argc, char **argv)
{
    static char json[] = "--json";
    char program[PATH_SIZE];
    if (argc < 2)
        return lens_usage(lens, "PROFILE is missing: a profile's name (online_retail, header_lines), or a .conf file");
    if (!find_program(program))
        return lens_fail(lens, "lens-import is not beside this program; next: cmake --build build");
    /* Home and configuration file are in the environment by now. */
    char **to = calloc((size_t)argc + 2, sizeof *to);
    if (to == NULL)
        abort();
    int count = 0;
    to[count++] = program;
    if (lens->json)
        to[count++] = json;
    for (int i = 1; i < argc; i++)
        to[count++] = argv[i];
    fflush(NULL);
    execv(program, to);
    int why = errno;
    free(to);
    return lens_fail(lens, "%s cannot be started: %s", program, strerror(why));
}
