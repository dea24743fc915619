/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Answers what a supervisor and a scraper ask of a process: is it alive, is it ready, what are its numbers.
 *
 *   GET or HEAD /livez is 200 while all loops of the process turn, 503 with the name of one that does not; /readyz 200 or 503 as the
 *   owner says, /metrics Prometheus text. Anything else is 404, another method 405.
 *
 * STATE
 *   A thread of its own over an http_server; it touches nothing of the actors but is_ready() and the atomics.
 *
 * FAILURES
 *   An address that cannot be listened on is refused at start with the reason. A head that cannot be served is a problem document.
 *
 * LIMITS
 *   CONNECTIONS_MAX connections: this is not the gateway. SO_REUSEPORT is not set, so a second process on the port is refused.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"
#include "kit/base/clock.h"
#include "http_server.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics_page.h"
#include "kit/place/neighbours.h"

#define CONNECTIONS_MAX 32
#define BACKLOG 128
#define BODY_MAX ((uint64_t)65536)
#define EVENTS_MAX 32
#define WATCH_WAKE 1U

struct probe {
    struct http_server *server;
    pthread_t thread;
    bool is_started;
    int epoll_fd;
    int wake_fd; /* readable: end */
    int port;
    atomic_int connections;
    bool (*is_ready)(void *);
    void *context;
};

/* Kept with a request's record: what its answer points to. */
struct page {
    struct wire_buffer text;
    struct metrics_page *metrics;
};

/* --- answers --- */

static struct page *
page_of(struct http_request *request)
{
    if (request->owner == NULL) {
        request->owner = memory_new(1, sizeof(struct page));
    }
    return request->owner;
}

static void
answer(struct probe *probe, struct http_request *request, int status, const char *type)
{
    const struct page *page = page_of(request);
    http_answer_line(request, "Content-Type", type);
    http_answer_line(request, "Cache-Control", "no-store");
    http_answer(probe->server, request, status,
                page->metrics != NULL ? metrics_page_text(page->metrics) : wire_buffer_slice(&page->text));
}

static void
answer_text(struct probe *probe, struct http_request *request, int status, const char *text)
{
    wire_buffer_append(&page_of(request)->text, text, strlen(text));
    answer(probe, request, status, "text/plain; charset=utf-8");
}

static void
answer_alive(struct probe *probe, struct http_request *request)
{
    char name[BEAT_NAME_SIZE];
    char text[BEAT_NAME_SIZE + 80];
    int64_t stuck_ms = 0;
    if (!beat_find_stuck(name, &stuck_ms)) {
        answer_text(probe, request, 200, "alive\n");
        return;
    }
    (void)snprintf(text, sizeof text, "%s has stood still for %lld ms\n", name, (long long)stuck_ms);
    answer_text(probe, request, 503, text);
}

static void
answer_ready(struct probe *probe, struct http_request *request)
{
    char reason[ERR_TEXT_MAX];
    char text[ERR_TEXT_MAX + 16];
    bool is_ready = probe->is_ready(probe->context);
    neighbours_reason(reason);
    (void)snprintf(text, sizeof text, "not ready%s%s\n", reason[0] == '\0' ? "" : ": ", reason);
    answer_text(probe, request, is_ready ? 200 : 503, is_ready ? "ready\n" : text);
}

static void
on_refusal(void *context, struct http_request *request, err code, const char *reason)
{
    char text[512];
    int size = snprintf(text, sizeof text, "{\"type\":\"urn:larder:problem:%s\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\"}",
                        err_symbol(code), err_words(code), err_http(code), reason);
    wire_buffer_append(&page_of(request)->text, text, (size_t)size);
    answer(context, request, err_http(code), "application/problem+json");
}

static void
on_head(void *context, struct http_request *request)
{
    (void)context;
    request->is_unwanted = true;
}

static void
on_request(void *context, struct http_request *request)
{
    struct probe *probe = context;
    struct slice path = request->head.path;
    const uint8_t *mark = path.size > 0 ? memchr(path.data, '?', path.size) : NULL;
    path.size = mark != NULL ? (size_t)(mark - path.data) : path.size;
    if (!request->head.is_head && !slice_equal(request->head.method, slice_of("GET"))) {
        http_answer_line(request, "Allow", "GET, HEAD");
        answer_text(probe, request, 405, "GET or HEAD\n");
    } else if (slice_equal(path, slice_of("/livez"))) {
        answer_alive(probe, request);
    } else if (slice_equal(path, slice_of("/readyz"))) {
        answer_ready(probe, request);
    } else if (slice_equal(path, slice_of("/metrics"))) {
        page_of(request)->metrics = metrics_page_take();
        answer(probe, request, 200, METRICS_PAGE_TYPE);
    } else {
        answer_text(probe, request, 404, "/livez, /readyz or /metrics\n");
    }
}

static void
on_over(void *context, struct http_request *request)
{
    struct page *page = request->owner;
    (void)context;
    if (page != NULL) {
        page->text.size = 0;
        metrics_page_give_back(&page->metrics);
    }
}

static void
on_forget(void *context, struct http_request *request)
{
    struct page *page = request->owner;
    (void)context;
    if (page != NULL) {
        wire_buffer_fini(&page->text);
        free(page);
    }
}

/* --- the thread --- */

static bool
wait_and_serve(struct probe *probe)
{
    struct epoll_event events[EVENTS_MAX];
    bool goes_on = true;
    int64_t left_us = http_server_next_us(probe->server) - clock_steady_us();
    int count = epoll_wait(probe->epoll_fd, events, EVENTS_MAX, left_us > 0 ? (int)(left_us / 1000) + 1 : 0);
    if (count < 0 && errno != EINTR) {
        log_error("probes_ended", LOG_TEXT("reason", strerror(errno)));
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 == WATCH_WAKE) {
            goes_on = false;
        } else {
            http_server_event(probe->server, &events[i]);
        }
    }
    http_server_run(probe->server, clock_steady_us());
    return goes_on;
}

static void *
run(void *argument)
{
    struct probe *probe = argument;
    log_actor("probes");
    while (wait_and_serve(probe)) {
    }
    return NULL;
}

/* --- life --- */

static int
listen_on(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 || listen(fd, BACKLOG) != 0) {
        int kept_errno = errno;
        close(fd);
        errno = kept_errno;
        return -1;
    }
    return fd;
}

/* What the thread needs. The listening socket is taken over when all succeeds. */
static err
open_parts(struct probe *probe, int listen_fd, struct err_text *why)
{
    const struct http_owner owner = {probe, on_head, on_request, on_refusal, on_over, on_forget};
    const struct http_limits limits = {.body_max = BODY_MAX,
                                       .body_drain_max = BODY_MAX,
                                       .connections = &probe->connections,
                                       .connections_max = CONNECTIONS_MAX,
                                       .connections_spare = CONNECTIONS_MAX};
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = WATCH_WAKE};
    probe->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    probe->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (probe->epoll_fd < 0 || probe->wake_fd < 0 || epoll_ctl(probe->epoll_fd, EPOLL_CTL_ADD, probe->wake_fd, &event) != 0) {
        return err_say(why, ERR_internal, "probes: no descriptor: %s", strerror(errno));
    }
    return http_server_open(&owner, &limits, probe->epoll_fd, listen_fd, &probe->server, why);
}

/* A listening socket, and where it is. */
static err
open_socket(const char *address, int port, struct sockaddr_in *where, int *fd, struct err_text *why)
{
    *where = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, strcmp(address, "localhost") == 0 ? "127.0.0.1" : address, &where->sin_addr) != 1) {
        return err_say(why, ERR_wrong_setting, "probes: \"%s\" is not an IPv4 address", address);
    }
    *fd = listen_on(where);
    if (*fd < 0) {
        return err_say(why, ERR_wrong_setting, "probes: cannot listen on %s:%d: %s", address, port, strerror(errno));
    }
    socklen_t size = sizeof *where;
    getsockname(*fd, (struct sockaddr *)where, &size);
    return ERR_ok;
}

err
probe_start(const char *address, int port, bool (*is_ready)(void *), void *context, struct probe **probe, struct err_text *why)
{
    struct sockaddr_in where;
    int fd = -1;
    err failed = open_socket(address, port, &where, &fd, why);
    if (failed != ERR_ok) {
        return failed;
    }

    struct probe *made = memory_new(1, sizeof *made);
    made->port = ntohs(where.sin_port);
    made->is_ready = is_ready;
    made->context = context;
    failed = open_parts(made, fd, why);
    if (failed != ERR_ok) {
        (void)close(fd);
    } else if (pthread_create(&made->thread, NULL, run, made) != 0) {
        failed = err_say(why, ERR_internal, "probes: no thread");
    } else {
        made->is_started = true;
    }
    if (failed != ERR_ok) {
        probe_stop(&made);
        return failed;
    }
    *probe = made;
    return ERR_ok;
}

int
probe_port(const struct probe *probe)
{
    return probe->port;
}

void
probe_stop(struct probe **probe)
{
    struct probe *stopped = *probe;
    const uint64_t one = 1;
    *probe = NULL;
    if (stopped == NULL) {
        return;
    }
    if (stopped->is_started) {
        if (write(stopped->wake_fd, &one, sizeof one) < 0) {
            log_error("probes_not_told", LOG_TEXT("reason", strerror(errno)));
        }
        pthread_join(stopped->thread, NULL);
    }
    http_server_close(&stopped->server);
    if (stopped->epoll_fd >= 0) {
        (void)close(stopped->epoll_fd);
    }
    if (stopped->wake_fd >= 0) {
        (void)close(stopped->wake_fd);
    }
    free(stopped);
}
