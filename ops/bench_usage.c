#include "ops/bench.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /proc/<pid>/stat from the state on: field 3 of proc(5) is fields[0]. */
enum {
    STAT_PARENT = 1,
    STAT_USER = 11,
    STAT_SYSTEM = 12,
    STAT_CHILD_USER = 13,
    STAT_CHILD_SYSTEM = 14,
    STAT_FIELDS = 20
};

static bool read_stat(const char *path, int64_t fields[STAT_FIELDS], char *name, size_t name_size)
{
    char text[2048];
    if (file_read(path, text, sizeof(text)) <= 0)
        return false;
    char *open = strchr(text, '('), *close = strrchr(text, ')'); /* the name may hold anything */
    if (open == NULL || close == NULL)
        return false;
    if (name != NULL)
        snprintf(name, name_size, "%.*s", (int)(close - open - 1), open + 1);
    char *at = close + 2;
    for (int i = 0; i < STAT_FIELDS; i++) {
        fields[i] = i == 0 ? 0 : strtoll(at, NULL, 10);
        at = strchr(at, ' ');
        if (at == NULL)
            return i + 1 == STAT_FIELDS;
        at++;
    }
    return true;
}

static int64_t ticks_us(int64_t ticks)
{
    return ticks * (1000000 / sysconf(_SC_CLK_TCK));
}

/* Calls each for every process whose parent it is. */
static void each_child(pid_t parent, void (*each)(void *arg, pid_t pid, const int64_t *fields), void *arg)
{
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(proc)) != NULL;) {
        char path[300];
        int64_t fields[STAT_FIELDS] = { 0 };
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
        if (read_stat(path, fields, NULL, 0) && fields[STAT_PARENT] == parent)
            each(arg, (pid_t)strtol(entry->d_name, NULL, 10), fields);
    }
    closedir(proc);
}

static void add_cpu(void *arg, pid_t pid, const int64_t *fields)
{
    (void)pid;
    *(int64_t *)arg += ticks_us(fields[STAT_USER] + fields[STAT_SYSTEM]);
}

int64_t bench_cpu_us(pid_t pid, bool with_children)
{
    char path[64];
    int64_t fields[STAT_FIELDS] = { 0 };
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_stat(path, fields, NULL, 0))
        return 0;
    int64_t us = ticks_us(fields[STAT_USER] + fields[STAT_SYSTEM]);
    if (!with_children)
        return us;
    us += ticks_us(fields[STAT_CHILD_USER] + fields[STAT_CHILD_SYSTEM]);
    each_child(pid, add_cpu, &us);
    return us;
}

/* A line "Name:   123 kB" of a file in /proc. */
static int64_t kib_of(pid_t pid, const char *file, const char *name)
{
    char path[64], text[8192];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    if (file_read(path, text, sizeof(text)) <= 0)
        return 0;
    const char *line = strstr(text, name);
    return line == NULL ? 0 : strtoll(line + strlen(name), NULL, 10);
}

static void add_pss(void *arg, pid_t pid, const int64_t *fields)
{
    (void)fields;
    *(int64_t *)arg += kib_of(pid, "smaps_rollup", "\nPss:");
}

int64_t bench_rss_kib(pid_t pid, bool with_children)
{
    if (!with_children)
        return kib_of(pid, "status", "VmHWM:");
    int64_t kib = kib_of(pid, "smaps_rollup", "\nPss:");
    each_child(pid, add_pss, &kib);
    return kib;
}

json_t *bench_threads(pid_t pid, int64_t events)
{
    json_t *to = json_object();
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return to;
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
        char stat[400], name[64];
        int64_t fields[STAT_FIELDS] = { 0 };
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        snprintf(stat, sizeof(stat), "%s/%s/stat", path, entry->d_name);
        if (!read_stat(stat, fields, name, sizeof(name)))
            continue;
        double us =
            (double)ticks_us(fields[STAT_USER] + fields[STAT_SYSTEM]) / (double)(events > 0 ? events : 1);
        double before = json_real_value(json_object_get(to, name));
        if (us > 0)
            json_object_set_new(to, name, json_real(before + us));
    }
    closedir(tasks);
    return to;
}
