#include "ops/readyz.h"

#include "ops/files.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_SIZE = 1024 };

static int port_of(const struct config *config, const char *process)
{
    char path[PATH_SIZE];
    return (int)file_number(path_of(path, "%s/run/%s-1.port", config->home, process), 0);
}

void readyz_address(const struct config *config, const char *process, char *to, size_t size)
{
    int port = port_of(config, process);
    to[0] = '\0';
    if (port > 0)
        snprintf(to, size, "127.0.0.1:%d", port);
}

/* One request, one answer; the server closes. Returns the answer's size, -1 if there was none. */
static ssize_t get(int port, const char *request, int timeout_ms, char answer[ANSWER_SIZE])
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct timeval wait = { timeout_ms / 1000, (timeout_ms % 1000) * 1000 };
    ssize_t used = -1, got = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request))
        for (used = 0; used < ANSWER_SIZE - 1 &&
                       (got = recv(fd, answer + used, (size_t)(ANSWER_SIZE - 1 - used), 0)) > 0;)
            used += got;
    close(fd);
    answer[used < 0 ? 0 : used] = '\0';
    return used;
}

enum ll_status readyz_ask(const struct config *config, const char *process, int timeout_ms,
                          struct ll_err *err)
{
    char answer[ANSWER_SIZE];
    int port = port_of(config, process);
    if (port <= 0)
        return ll_fail(err, LL_RETRY, "%s has not started", process);
    if (get(port, "GET /readyz HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n", timeout_ms,
            answer) <= 0)
        return ll_fail(err, LL_RETRY, "%s does not answer on 127.0.0.1:%d", process, port);
    const char *code = strchr(answer, ' ');
    if (code != NULL && atoi(code) == 200)
        return LL_OK;
    char *body = strstr(answer, "\r\n\r\n");
    body = body == NULL ? answer : body + 4;
    static const char said[] = "waits for "; /* who asks says that himself */
    if (strncmp(body, said, sizeof said - 1) == 0)
        body += sizeof said - 1;
    size_t size = strlen(body);
    while (size > 0 && isspace((unsigned char)body[size - 1]))
        body[--size] = '\0';
    return ll_fail(err, LL_RETRY, "%s", size > 0 ? body : "not ready");
}
