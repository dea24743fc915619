/* SPDX-License-Identifier: MPL-2.0 */
/*
 * listener: one address, a socket for each thread
 *
 * PURPOSE
 *   The kernel spreads connections over sockets that share an address by SO_REUSEPORT. That same option would let a second process
 *   start on the port unnoticed and take half of the customers, so a probe without it is bound first: it fails when anybody
 *   listens there already.
 *
 * FAILURES
 *   Every failure is ERR_wrong_setting and names the address.
 *
 * LIMITS
 *   Between probe and bind another process can slip in; it would then have been the one to notice us.
 */
#include "listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ADDRESS_MAX 256
#define BACKLOG 1024

struct address {
    struct sockaddr_storage storage;
    socklen_t size;
};

static err
refuse(const char *address, const char *reason, struct err_text *why)
{
    return err_say(why, ERR_wrong_setting, "http: cannot listen at %s: %s", address, reason);
}

static err
resolve(const char *text, struct address *address, struct err_text *why)
{
    char host[ADDRESS_MAX];
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host) {
        return refuse(text, "it must be address:port", why);
    }
    bool has_brackets = text[0] == '[' && colon[-1] == ']';
    size_t size = (size_t)(colon - text) - (has_brackets ? 2 : 0);
    memcpy(host, text + (has_brackets ? 1 : 0), size);
    host[size] = 0;
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed != 0) {
        return refuse(text, gai_strerror(failed), why);
    }
    memcpy(&address->storage, found->ai_addr, found->ai_addrlen);
    address->size = found->ai_addrlen;
    freeaddrinfo(found);
    return ERR_ok;
}

/* A bound socket, or -1 with errno. */
static int
bind_socket(const struct address *address, bool is_shared)
{
    int on = 1;
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        (!is_shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
        bind(fd, (const struct sockaddr *)&address->storage, address->size) == 0) {
        return fd;
    }
    int reason = errno;
    close(fd);
    errno = reason;
    return -1;
}

/* Writes the port that was bound into the address, so that the next socket takes the same. */
static int
settle_port(int fd, struct address *address)
{
    address->size = sizeof address->storage;
    if (getsockname(fd, (struct sockaddr *)&address->storage, &address->size) != 0) {
        return -1;
    }
    if (address->storage.ss_family == AF_INET6) {
        return ntohs(((const struct sockaddr_in6 *)(const void *)&address->storage)->sin6_port);
    }
    return ntohs(((const struct sockaddr_in *)(const void *)&address->storage)->sin_port);
}

err
listener_open(const char *text, int *fds, int count, int *port, struct err_text *why)
{
    struct address address = {0};
    int opened = 0;
    err failed = resolve(text, &address, why);
    if (failed != ERR_ok) {
        return failed;
    }
    int probe = bind_socket(&address, false);
    if (probe < 0) {
        return refuse(text, errno == EADDRINUSE ? "somebody listens there already" : strerror(errno), why);
    }
    close(probe);
    for (; opened < count; opened++) {
        fds[opened] = bind_socket(&address, true);
        if (fds[opened] < 0) {
            break;
        }
        *port = settle_port(fds[opened], &address);
        if (*port < 0 || listen(fds[opened], BACKLOG) != 0) {
            opened++;
            break;
        }
    }
    if (opened == count && *port >= 0) {
        return ERR_ok;
    }
    failed = refuse(text, strerror(errno), why);
    while (opened > 0) {
        close(fds[--opened]);
    }
    return failed;
}
