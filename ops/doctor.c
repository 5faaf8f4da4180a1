/*
 * doctor.c - `lens doctor`: is this machine, this home and this configuration fit to run? Each finding comes
 * with the next command.
 */
#include "ops/machine.h"
#include "ops/service.h"
#include "ops/stack.h"
#include "ops/verbs.h"
#include "runtime/topics.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ASK_MS = 2000, DISK_LOW_MIB = 2048, FINDING_SIZE = 400 };

struct doctor {
    struct lens *lens;
    struct stack stack;
    json_t *findings; /* with --json */
    int bad_count;
};

/* One line: what was looked at, whether it is well, the fact, and what to do. */
static void note(struct doctor *doctor, bool good, const char *what, const char *next, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));
static void note(struct doctor *doctor, bool good, const char *what, const char *next, const char *format,
                 ...)
{
    char fact[FINDING_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(fact, sizeof fact, format, args);
    va_end(args);
    doctor->bad_count += good ? 0 : 1;
    if (doctor->findings != NULL) {
        json_array_append_new(doctor->findings, json_pack("{s:s, s:b, s:s, s:s}", "what", what, "good", good,
                                                          "fact", fact, "next", good ? "" : next));
        return;
    }
    printf("%-4s %-14s %s\n", good ? "ok" : "BAD", what, fact);
    if (!good)
        printf("     %-14s next: %s\n", "", next);
}

static void check_configuration(struct doctor *doctor)
{
    const struct config *config = &doctor->lens->config;
    char path[PATH_SIZE];
    struct ll_err err;
    static struct topics topics;
    if (doctor->lens->config_err.text[0] != '\0')
        note(doctor, false, "configuration", "mend that line, or give another file with --config FILE", "%s",
             doctor->lens->config_err.text);
    else
        note(doctor, true, "configuration", "", "%s", config->file);
    bool good =
        topics_load(config_share_path(config, "topics.conf", path, sizeof path), &topics, &err) == LL_OK;
    note(doctor, good, "topics", "mend topics.conf", "%s", good ? path : err.text);
}

/* Runs deploy/install-packages --check, which knows the list. */
static void check_packages(struct doctor *doctor)
{
    char path[PATH_SIZE], line[FINDING_SIZE] = "", command[PATH_SIZE + 64];
    config_share_path(&doctor->lens->config, "deploy/install-packages", path, sizeof path);
    if (!stack_path_is_plain(path) || access(path, X_OK) != 0) {
        note(doctor, true, "packages", "", "%s is not here: not looked at", path);
        return;
    }
    snprintf(command, sizeof command, "'%s' --check 2>&1", path);
    FILE *output = popen(command, "re");
    if (output == NULL)
        return;
    if (fgets(line, sizeof line, output) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\n")] = '\0';
    while (getc(output) != EOF)
        continue;
    bool good = pclose(output) == 0;
    note(doctor, good, "packages", "deploy/install-packages", "%s", good ? "all installed" : line);
}

static void check_jars(struct doctor *doctor)
{
    const struct stack *stack = &doctor->stack;
    char command[2 * PATH_SIZE + 64];
    if (!stack->is_private[STACK_KAFKA])
        return;
    note(doctor, stack->java[0] != '\0', "java", "deploy/install-packages", "%s",
         stack->java[0] != '\0' ? stack->java : "there is no Java 17");
    if (!stack_path_is_plain(stack->jars) || !path_exists(stack->jars)) {
        note(doctor, false, "kafka's jars", "deploy/install-packages", "not in %s", stack->jars);
        return;
    }
    snprintf(command, sizeof command,
             "cd '%s' && sha256sum --quiet -c '%s/deploy/kafka/jars.sha256' >/dev/null 2>&1", stack->jars,
             doctor->lens->config.share);
    FILE *check = popen(command, "re");
    bool good = check != NULL && pclose(check) == 0;
    char next[PATH_SIZE + 64];
    snprintf(next, sizeof next, "rm -r '%s'; deploy/install-packages", stack->jars);
    note(doctor, good, "kafka's jars", next, "%s: %s", stack->jars,
         good ? "checksums as they should be" : "checksums differ from deploy/kafka/jars.sha256");
}

static void check_home(struct doctor *doctor)
{
    const char *home = doctor->lens->config.home;
    char above[PATH_SIZE], mark[PATH_SIZE];
    path_of(above, "%s", home);
    while (!path_exists(above) && strrchr(above, '/') != above)
        *strrchr(above, '/') = '\0';
    if (!path_exists(above))
        path_of(above, "/");
    bool may_write = access(above, W_OK | X_OK) == 0;
    note(doctor, may_write, "home", "give a directory of yours with --home DIR", "%s%s", home,
         !may_write                                             ? ": not ours to write"
         : path_exists(stack_mark(&doctor->lens->config, mark)) ? ""
                                                                : " (not made yet)");
    int64_t free_mib = machine_disk_free_mib(above);
    note(doctor, free_mib >= DISK_LOW_MIB, "disk", "make room, or choose another place with --home DIR",
         "%lld MB free on its file system", (long long)free_mib);
    bool runs = supervisor_pid(home) > 0;
    int strays = runs ? 0 : machine_each_of_stack(home, NULL, NULL);
    note(doctor, strays == 0, "supervisor", "lens down && lens up",
         strays == 0 ? "%s" : "%s, and %d processes of this home have none", runs ? "runs" : "does not run",
         strays);
}

static void check_port(struct doctor *doctor, enum stack_service service, int port)
{
    char dir[PATH_SIZE], owner[128];
    struct service_state state;
    service_read(stack_service_dir(&doctor->stack, service, dir), &state);
    if (port == 0 || state.step == SERVICE_RUNNING)
        return;
    bool good = machine_port_is_free(port);
    if (!good)
        machine_port_owner(port, owner, sizeof owner);
    note(doctor, good, "port", "stop that, or: lens down && lens up --new-ports", "%d of %s is %s%s", port,
         stack_name(service), good ? "free" : "in use by ", good ? "" : owner);
}

static void check_services(struct doctor *doctor)
{
    const struct stack *stack = &doctor->stack;
    bool ran = supervisor_pid(doctor->lens->config.home) > 0;
    check_port(doctor, STACK_KAFKA, stack->is_private[STACK_KAFKA] ? stack->kafka_port : 0);
    check_port(doctor, STACK_REDIS, stack->is_private[STACK_REDIS] ? stack->redis_port : 0);
    check_port(doctor, STACK_POSTGRES, stack->is_private[STACK_POSTGRES] ? stack->postgres_port : 0);
    for (int at = 0; at < STACK_SERVICE_COUNT; at++) {
        struct ll_err err = { "" };
        char address[PATH_SIZE], log[PATH_SIZE], next[PATH_SIZE + 64];
        if (stack->is_private[at] && !ran)
            continue;
        stack_address(stack, (enum stack_service)at, address, sizeof address);
        bool good = stack_ask(stack, (enum stack_service)at, ASK_MS, &err) == LL_OK;
        snprintf(next, sizeof next, stack->is_private[at] ? "lens up; its log: %s" : "mend its address in %s",
                 stack->is_private[at] ? stack_log(stack, (enum stack_service)at, log)
                                       : doctor->lens->config.file);
        note(doctor, good, stack_name((enum stack_service)at), next, "%s%s%s", address, good ? "" : ": ",
             good ? " answers" : err.text);
    }
}

int verb_doctor(struct lens *lens, int argc, char **argv)
{
    static struct doctor doctor;
    struct ll_err err;
    if (argc > 1)
        return lens_usage(lens, "\"%s\" is too much", argv[1]);
    doctor.lens = lens;
    doctor.findings = lens->json ? json_array() : NULL;
    check_configuration(&doctor);
    check_packages(&doctor);
    if (stack_open(&lens->config, &doctor.stack, &err) != LL_OK) {
        note(&doctor, false, "stack", "lens up --new-ports", "%s", err.text);
    } else {
        check_jars(&doctor);
        if (lens->config.home[0] != '\0')
            check_home(&doctor);
        if (lens->config_err.text[0] == '\0')
            check_services(&doctor);
    }
    bool good = doctor.bad_count == 0;
    if (lens->json) {
        int code = lens_print_json(lens, json_pack("{s:b, s:o}", "good", good, "findings", doctor.findings));
        return code != LENS_DONE ? code : good ? LENS_DONE : LENS_BAD;
    }
    return good ? LENS_DONE : LENS_BAD;
}
