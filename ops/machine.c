#include "ops/machine.h"

#include "ops/files.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static bool try_port(int port, bool listens)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one,
               sizeof one); /* as servers do: old connections may linger */
    bool done = listens ? bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0
                        : connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return done;
}

bool machine_port_is_free(int port)
{
    return try_port(port, true);
}

bool machine_port_answers(int port)
{
    return try_port(port, false);
}

int machine_find_ports(uint32_t seed, int count)
{
    enum { FIRST = 20000, SPAN = 12000, STEP = 8 };
    for (uint32_t tries = 0; tries < SPAN / STEP; tries++) {
        int base = FIRST + (int)((seed + tries * 7919) % (SPAN / STEP)) * STEP;
        int free_count = 0;
        while (free_count < count && machine_port_is_free(base + free_count))
            free_count++;
        if (free_count == count)
            return base;
    }
    return 0;
}

/* The inode of the socket that listens on a port, from one of /proc/net/tcp and tcp6. */
static unsigned long listener_inode(const char *table, int port)
{
    char line[512];
    unsigned long found = 0;
    FILE *file = fopen(table, "re");
    if (file == NULL)
        return 0;
    while (found == 0 && fgets(line, sizeof line, file) != NULL) {
        unsigned local_port, step;
        unsigned long inode;
        if (sscanf(line, "%*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &local_port,
                   &step, &inode) == 3 &&
            (int)local_port == port && step == 0x0A)
            found = inode;
    }
    fclose(file);
    return found;
}

static bool has_socket(pid_t pid, unsigned long inode)
{
    char path[PATH_SIZE], wanted[64], link[64];
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *fds = opendir(path_of(path, "/proc/%ld/fd", (long)pid));
    if (fds == NULL)
        return false;
    bool found = false;
    struct dirent *entry;
    while (!found && (entry = readdir(fds)) != NULL) {
        path_of(path, "/proc/%ld/fd/%s", (long)pid, entry->d_name);
        ssize_t size = readlink(path, link, sizeof link - 1);
        if (size > 0) {
            link[size] = '\0';
            found = strcmp(link, wanted) == 0;
        }
    }
    closedir(fds);
    return found;
}

static pid_t next_pid(DIR *proc)
{
    struct dirent *entry;
    while ((entry = readdir(proc)) != NULL)
        if (isdigit((unsigned char)entry->d_name[0]))
            return (pid_t)atol(entry->d_name);
    return 0;
}

void machine_port_owner(int port, char *to, size_t size)
{
    char path[PATH_SIZE], name[64];
    snprintf(to, size, "another process");
    unsigned long inode = listener_inode("/proc/net/tcp", port);
    if (inode == 0)
        inode = listener_inode("/proc/net/tcp6", port);
    DIR *proc = inode == 0 ? NULL : opendir("/proc");
    if (proc == NULL)
        return;
    for (pid_t pid; (pid = next_pid(proc)) != 0;) {
        if (!has_socket(pid, inode))
            continue;
        if (file_read(path_of(path, "/proc/%ld/comm", (long)pid), name, sizeof name) > 0)
            snprintf(to, size, "pid %ld (%.*s)", (long)pid, (int)strcspn(name, "\n"), name);
        break;
    }
    closedir(proc);
}

static int64_t own_rss_kib(pid_t pid)
{
    char path[PATH_SIZE], text[4096];
    if (file_read(path_of(path, "/proc/%ld/status", (long)pid), text, sizeof text) < 0)
        return 0;
    const char *line =
        strstr(text, "\nRssAnon:"); /* shared buffers would be counted once for every backend */
    const char *file = strstr(text, "\nRssFile:");
    return line == NULL || file == NULL ? 0 : atol(line + 9) + atol(file + 9);
}

static int64_t own_shared_kib(pid_t pid)
{
    char path[PATH_SIZE], text[4096];
    if (file_read(path_of(path, "/proc/%ld/status", (long)pid), text, sizeof text) < 0)
        return 0;
    const char *line = strstr(text, "\nRssShmem:");
    return line == NULL ? 0 : atol(line + 10);
}

static pid_t parent_of(pid_t pid)
{
    char path[PATH_SIZE], text[512];
    if (file_read(path_of(path, "/proc/%ld/stat", (long)pid), text, sizeof text) <= 0)
        return 0;
    const char *after_name = strrchr(text, ')');
    long parent = 0;
    return after_name != NULL && sscanf(after_name + 1, " %*c %ld", &parent) == 1 ? (pid_t)parent : 0;
}

int64_t machine_rss_kib(pid_t pid)
{
    int64_t sum = own_rss_kib(pid), shared = own_shared_kib(pid);
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return sum + shared;
    for (pid_t other; (other = next_pid(proc)) != 0;) {
        if (parent_of(other) != pid)
            continue;
        sum += own_rss_kib(other);
        int64_t more = own_shared_kib(other);
        shared = more > shared ? more : shared;
    }
    closedir(proc);
    return sum + shared;
}

bool machine_is_of_stack(pid_t pid, const char *home)
{
    char path[PATH_SIZE], wanted[PATH_SIZE];
    enum { ENVIRONMENT_MAX = 128 * 1024 };
    char *text = malloc(ENVIRONMENT_MAX);
    if (text == NULL)
        abort();
    ssize_t size = file_read(path_of(path, "/proc/%ld/environ", (long)pid), text, ENVIRONMENT_MAX);
    path_of(wanted, "LENS_STACK=%s", home);
    bool found = false;
    for (const char *at = text; size > 0 && !found && at < text + size; at += strlen(at) + 1)
        found = strcmp(at, wanted) == 0;
    free(text);
    return found;
}

int machine_each_of_stack(const char *home, void (*each)(void *arg, pid_t pid), void *arg)
{
    int count = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    for (pid_t pid; (pid = next_pid(proc)) != 0;) {
        if (pid == getpid() || !machine_is_of_stack(pid, home))
            continue;
        count++;
        if (each != NULL)
            each(arg, pid);
    }
    closedir(proc);
    return count;
}

bool machine_program_is_gone(pid_t pid)
{
    static const char mark[] = " (deleted)";
    char path[PATH_SIZE], program[PATH_SIZE];
    ssize_t size = readlink(path_of(path, "/proc/%ld/exe", (long)pid), program, sizeof program - 1);
    if (size < (ssize_t)sizeof mark)
        return false;
    program[size] = '\0';
    return strcmp(program + size - (ssize_t)(sizeof mark - 1), mark) == 0;
}

int64_t machine_disk_free_mib(const char *path)
{
    struct statvfs facts;
    if (statvfs(path, &facts) != 0)
        return -1;
    return (int64_t)(facts.f_bavail * facts.f_frsize / (1024 * 1024));
}

void machine_pause_ms(int ms)
{
    struct timespec time = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&time, NULL);
}
