/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Answers what a supervisor and a scraper ask of a process: is it alive, is it ready, what are its numbers.
 *
 *   GET or HEAD /livez is 200 while all loops of the process turn, 503 with the name of one that does not; /readyz 200 or 503 as the owner says, /metrics Prometheus text. Anything
 *   else is 404, another method 405.
 *
 * STATE
 *   A libmicrohttpd daemon with one thread of its own; it touches nothing of the actors but is_ready() and the atomics.
 *
 * FAILURES
 *   An address that cannot be listened on is refused at start with the reason.
 *
 * LIMITS
 *   32 connections, 10 s idle: this is not the gateway. SO_REUSEPORT is not set, so a second process on the port is refused.
 */
#include "probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "beat.h"
#include "metrics.h"

#define CONNECTIONS_MAX 32U
#define IDLE_TIMEOUT_SECONDS 10U
#define POOL_BYTES ((size_t)8192)

struct probe {
    struct MHD_Daemon *daemon;
    int port;
    bool (*is_ready)(void *);
    void *context;
};

static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *type, struct slice body)
{
    /* Copied by libmicrohttpd, which only reads; its parameter is not const. */
    union {
        const uint8_t *bytes;
        void *data;
    } borrowed = {.bytes = body.data};
    struct MHD_Response *response = MHD_create_response_from_buffer(body.size, borrowed.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result
answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8", slice_of(text));
}

static enum MHD_Result
answer_alive(struct MHD_Connection *connection)
{
    char name[BEAT_NAME_SIZE];
    char text[BEAT_NAME_SIZE + 80];
    int64_t stuck_ms = 0;
    if (!beat_find_stuck(name, &stuck_ms)) {
        return answer_text(connection, MHD_HTTP_OK, "alive\n");
    }
    (void)snprintf(text, sizeof text, "%s has stood still for %lld ms\n", name, (long long)stuck_ms);
    return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result
answer_metrics(struct MHD_Connection *connection)
{
    struct wire_buffer page = {0};
    metrics_print(&page);
    enum MHD_Result result = answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", wire_buffer_slice(&page));
    wire_buffer_fini(&page);
    return result;
}

static enum MHD_Result
handle(void *context, struct MHD_Connection *connection, const char *url, const char *method, const char *version,
       const char *upload_data, size_t *upload_size, void **request)
{
    (void)version;
    (void)upload_data;
    static int seen;
    const struct probe *probe = context;
    if (*request == NULL) {
        *request = &seen;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET or HEAD\n");
    }
    if (strcmp(url, "/livez") == 0) {
        return answer_alive(connection);
    }
    if (strcmp(url, "/readyz") == 0) {
        bool is_ready = probe->is_ready(probe->context);
        return answer_text(connection, is_ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, is_ready ? "ready\n" : "not ready\n");
    }
    if (strcmp(url, "/metrics") == 0) {
        return answer_metrics(connection);
    }
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "/livez, /readyz or /metrics\n");
}

static int
listen_on(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -1;
    }
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0 || listen(fd, (int)CONNECTIONS_MAX) != 0) {
        int kept_errno = errno;
        close(fd);
        errno = kept_errno;
        return -1;
    }
    return fd;
}

err
probe_start(const char *address, int port, bool (*is_ready)(void *), void *context, struct probe **probe, struct err_text *why)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, strcmp(address, "localhost") == 0 ? "127.0.0.1" : address, &where.sin_addr) != 1) {
        return err_say(why, ERR_wrong_setting, "probes: \"%s\" is not an IPv4 address", address);
    }
    int fd = listen_on(&where);
    if (fd < 0) {
        return err_say(why, ERR_wrong_setting, "probes: cannot listen on %s:%d: %s", address, port, strerror(errno));
    }
    socklen_t size = sizeof where;
    getsockname(fd, (struct sockaddr *)&where, &size);

    struct probe *made = calloc(1, sizeof *made);
    if (made == NULL) {
        abort();
    }
    *made = (struct probe){.port = ntohs(where.sin_port), .is_ready = is_ready, .context = context};
    made->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, &handle, made, MHD_OPTION_LISTEN_SOCKET, fd,
                         MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_SECONDS,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_BYTES, MHD_OPTION_END);
    if (made->daemon == NULL) {
        close(fd);
        free(made);
        return err_say(why, ERR_internal, "probes: the HTTP server does not start");
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
    if (*probe == NULL) {
        return;
    }
    MHD_stop_daemon((*probe)->daemon);
    free(*probe);
    *probe = NULL;
}
