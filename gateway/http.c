/* SPDX-License-Identifier: MPL-2.0 */
/*
 * http: libmicrohttpd around exchanges
 *
 * PURPOSE
 *   One loop per thread over libmicrohttpd's epoll descriptor and the thread's DEALERs: a request is read, run, its connection
 *   suspended while an actor works, resumed with the answer. No thread of the library, no lock.
 *
 * STATE
 *   An exchange per request, a connection record per connection; both are taken from lists of used ones. Only the library's
 *   "completed" callback gives an exchange back. A suspended connection always has a call outstanding, so it is always resumed:
 *   by the answer, by the call's deadline, or at the end.
 *
 * FAILURES
 *   Heads that proxies read differently (two lengths, length and chunks, two hosts, a blank before a colon) are refused and the
 *   connection is closed. A body over BODY_MAX is read and thrown away up to BODY_DRAIN_MAX so that the client gets to read its
 *   413. More connections than the setting are answered 503 and closed. A NUL in an address would be its end to the library: refused.
 *
 * LIMITS
 *   HEAD_MAX, BODY_MAX; a first head within HEAD_MS, any later one and any body within SLOW_MS, IDLE_S without a byte. What the
 *   library refuses by itself (a broken first line, a head over POOL_SIZE, a length that is no number) has its own plain answer.
 */
#include "http.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "auth.h"
#include "beat.h"
#include "clock.h"
#include "exchange.h"
#include "head_scan.h"
#include "log.h"
#include "metrics.h"

#define POOL_SIZE ((size_t)16384)
#define HEAD_MAX 8192
#define BODY_MAX ((uint64_t)1024 * 1024)
#define BODY_DRAIN_MAX ((uint64_t)8 * 1024 * 1024)
#define IDLE_S 30U
#define HEAD_MS 10000
#define SLOW_MS 60000
#define SWEEP_MS INT64_C(1000)
#define STOP_MS INT64_C(2000)
#define STATUSES_MAX 24
#define CHALLENGE "Bearer realm=\"larder\""

/* what the epoll set holds beside the peers */
#define WATCH_LIBRARY 1000U
#define WATCH_WAKE 1001U

#define FLAGS (MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC | MHD_USE_ERROR_LOG)

/* What a connection is doing, and with it how long it may. */
enum connection_phase { PHASE_FIRST, PHASE_IDLE, PHASE_HEAD, PHASE_BODY, PHASE_BUSY };

struct connection {
    struct connection *next;
    struct connection *previous;
    enum connection_phase phase;
    int64_t since_us;
    int fd; /* the library's; only ever shut down here */
    bool is_over_limit;
    bool is_shut;
};

enum request_phase { REQUEST_NEW, REQUEST_BODY, REQUEST_WAITING };

struct request {
    struct exchange exchange; /* first: what the library carries for us */
    struct request *next_free;
    struct http *http;
    struct MHD_Connection *connection;
    struct connection *record;
    enum request_phase phase;
    bool is_suspended;
    bool must_close;
    bool is_too_large;
    uint64_t received;
    size_t target_size; /* of the address in the first line, up to a NUL */
};

/* How often a route was answered with a status. */
struct status_count {
    int status;
    struct metric *metric;
};

struct http {
    struct gateway_state *state;
    struct upstream *upstream;
    struct auth *auth;
    struct MHD_Daemon *daemon;
    int epoll_fd;
    int wake_fd;
    bool is_quiesced;
    bool has_resumed; /* since the library last ran; its own MHD_get_timeout() does not always say so */
    int in_flight;
    int64_t next_sweep_us;
    int64_t stop_by_us;
    struct request *free_requests;
    struct connection *free_connections;
    struct connection *connections;
    struct status_count counts[ROUTE_COUNT + 1][STATUSES_MAX];
    struct metric *latency[ROUTE_COUNT + 1];
    struct metric *open_connections;
    struct metric *over_limit;
    struct metric *swept;
};

/* --- metrics --- */

static size_t
route_index(const struct exchange *exchange)
{
    return exchange->match.route != NULL ? (size_t)(exchange->match.route - routes) : ROUTE_COUNT;
}

static struct metric *
status_metric(struct http *http, const struct exchange *exchange)
{
    char labels[96];
    struct status_count *counts = http->counts[route_index(exchange)];
    size_t i = 0;
    while (i < STATUSES_MAX - 1 && counts[i].metric != NULL && counts[i].status != exchange->answer.status) {
        i++;
    }
    if (counts[i].metric == NULL) {
        counts[i].status = exchange->answer.status;
        (void)snprintf(labels, sizeof labels, "route=\"%s\",status=\"%d\"", exchange_route_name(exchange), exchange->answer.status);
        counts[i].metric = metric(METRIC_COUNTER, "larder_http_requests_total", labels, "Answers by route and status.");
    }
    return counts[i].metric;
}

static void
count_answer(struct http *http, const struct exchange *exchange)
{
    char labels[64];
    size_t index = route_index(exchange);
    int64_t took_us = clock_steady_us() - exchange->started_us;
    if (http->latency[index] == NULL) {
        (void)snprintf(labels, sizeof labels, "route=\"%s\"", exchange_route_name(exchange));
        http->latency[index] = metric(METRIC_HISTOGRAM, "larder_http_request_seconds", labels, "From the request to its answer.");
    }
    metric_observe_us(http->latency[index], took_us);
    metric_add(status_metric(http, exchange), 1);
    log_debug("http", LOG_TEXT("route", exchange_route_name(exchange)), LOG_I64("status", exchange->answer.status),
              LOG_I64("took_us", took_us), LOG_ID("req", &exchange->id));
}

/* --- connections --- */

static void
enter(struct connection *record, enum connection_phase phase)
{
    record->phase = phase;
    record->since_us = clock_steady_us();
}

static struct connection *
connection_open(struct http *http, struct MHD_Connection *library)
{
    struct connection *record = http->free_connections;
    if (record != NULL) {
        http->free_connections = record->next;
    } else {
        record = malloc(sizeof *record);
    }
    assert(record != NULL);
    *record = (struct connection){.next = http->connections};
    record->fd = MHD_get_connection_info(library, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    if (record->next != NULL) {
        record->next->previous = record;
    }
    http->connections = record;
    enter(record, PHASE_FIRST);
    int open = atomic_fetch_add(&http->state->connections, 1) + 1;
    record->is_over_limit = open > http->state->connections_max;
    metric_add(http->open_connections, 1);
    return record;
}

static void
connection_close(struct http *http, struct connection *record)
{
    if (record->previous != NULL) {
        record->previous->next = record->next;
    } else {
        http->connections = record->next;
    }
    if (record->next != NULL) {
        record->next->previous = record->previous;
    }
    record->next = http->free_connections;
    http->free_connections = record;
    atomic_fetch_sub(&http->state->connections, 1);
    metric_add(http->open_connections, -1);
}

static void
on_connection(void *context, struct MHD_Connection *library, void **record, enum MHD_ConnectionNotificationCode what)
{
    switch (what) {
    case MHD_CONNECTION_NOTIFY_STARTED:
        *record = connection_open(context, library);
        break;
    case MHD_CONNECTION_NOTIFY_CLOSED:
        connection_close(context, *record);
        *record = NULL;
        break;
    }
}

static int64_t
allowed_ms(enum connection_phase phase)
{
    switch (phase) {
    case PHASE_FIRST:
    case PHASE_HEAD:
        return HEAD_MS;
    case PHASE_IDLE:
    case PHASE_BODY:
        return SLOW_MS;
    case PHASE_BUSY:
        break;
    }
    return INT64_MAX / 1000;
}

/* The library's epoll is edge-triggered: when a client's last bytes and its end come together, it notices the bytes alone. */
static bool
has_left(const struct connection *record)
{
    char byte = 0;
    bool is_sending = record->phase == PHASE_FIRST || record->phase == PHASE_HEAD || record->phase == PHASE_BODY;
    return is_sending && recv(record->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* The library's time-out counts from the last byte, so one byte a second would live for ever: this counts from the first. */
static void
sweep(struct http *http, int64_t now_us)
{
    if (now_us < http->next_sweep_us) {
        return;
    }
    http->next_sweep_us = now_us + SWEEP_MS * 1000;
    for (struct connection *record = http->connections; record != NULL; record = record->next) {
        bool is_slow = (now_us - record->since_us) / 1000 >= allowed_ms(record->phase);
        if (record->is_shut || (!is_slow && !has_left(record))) {
            continue;
        }
        record->is_shut = true;
        (void)shutdown(record->fd, SHUT_RDWR);
        if (!is_slow) {
            continue;
        }
        metric_add(http->swept, 1);
        log_debug("slow_client", LOG_I64("phase", record->phase));
    }
}

/* --- requests --- */

static void
on_answered(struct exchange *exchange)
{
    struct request *request = (struct request *)(void *)exchange;
    if (!request->is_suspended) {
        return;
    }
    request->is_suspended = false;
    request->http->has_resumed = true;
    MHD_resume_connection(request->connection);
}

static struct request *
request_take(struct http *http)
{
    struct request *request = http->free_requests;
    if (request != NULL) {
        http->free_requests = request->next_free;
        return request;
    }
    request = calloc(1, sizeof *request);
    assert(request != NULL);
    request->http = http;
    request->exchange.state = http->state;
    request->exchange.upstream = http->upstream;
    request->exchange.auth = http->auth;
    request->exchange.answered = on_answered;
    return request;
}

/* The first line of a request has been read. */
static void *
on_uri(void *context, const char *uri, struct MHD_Connection *library)
{
    struct http *http = context;
    struct request *request = request_take(http);
    request->connection = library;
    request->record = MHD_get_connection_info(library, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    request->phase = REQUEST_NEW;
    request->is_suspended = false;
    request->must_close = false;
    request->is_too_large = false;
    request->received = 0;
    request->target_size = strlen(uri);
    exchange_address(&request->exchange, uri);
    enter(request->record, PHASE_HEAD);
    http->in_flight++;
    return request;
}

static void
on_completed(void *context, struct MHD_Connection *library, void **carried, enum MHD_RequestTerminationCode why)
{
    struct http *http = context;
    struct request *request = *carried;
    (void)library;
    (void)why;
    if (request == NULL) {
        return;
    }
    *carried = NULL;
    enter(request->record, PHASE_IDLE);
    exchange_clear(&request->exchange);
    request->next_free = http->free_requests;
    http->free_requests = request;
    http->in_flight--;
}

/* --- the head --- */

/* The library ends every text at its first NUL. The version stands in the same line one blank behind the address. */
static bool
is_target_cut(const struct request *request, const char *url, const char *version)
{
    return version > url && (size_t)(version - url) != request->target_size + 1;
}

/* Looks at the head. What is wrong with it becomes the exchange's answer; true when it must be given now, with the connection's end,
 * because the body cannot or need not be read. */
static bool
read_head(struct request *request, const char *url, const char *method, const char *version)
{
    struct exchange *exchange = &request->exchange;
    struct head_scan scan = {.head = &exchange->head};
    size_t head_size = MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE)->header_size;
    head_scan_read(&scan, request->connection, version);
    exchange_open(exchange, routes_method(method));
    if (is_target_cut(request, url, version)) {
        head_scan_refuse(&scan, ERR_malformed, "there is a NUL in the address");
    }
    if (head_size > HEAD_MAX) {
        head_scan_refuse(&scan, ERR_header_too_large, "the head of a request may have 8 KiB");
    }
    if (request->record->is_over_limit) {
        metric_add(request->http->over_limit, 1);
        head_scan_refuse(&scan, ERR_overloaded, "there are as many connections as this gateway takes");
    }
    if (scan.refusal == NULL && scan.length > BODY_DRAIN_MAX) {
        head_scan_refuse(&scan, ERR_too_large, "a body may have 1 MiB");
    }
    if (scan.refusal != NULL) {
        exchange->answer.allow[0] = 0;
        exchange_refuse(exchange, scan.code, scan.refusal);
        return true;
    }
    request->is_too_large = scan.length > BODY_MAX;
    if (exchange_is_answered(exchange)) {
        return scan.has_body && scan.expects;
    }
    if (request->is_too_large) {
        exchange_refuse(exchange, ERR_too_large, "a body may have 1 MiB");
    } else if (scan.has_body && exchange->match.route->input == INPUT_JSON && !head_scan_is_json(&scan)) {
        exchange_refuse(exchange, ERR_unsupported_media_type, "Content-Type: must be application/json");
    }
    return exchange_is_answered(exchange) && scan.has_body && scan.expects;
}

/* --- the answer --- */

static void
add(struct MHD_Response *response, const char *name, const char *value)
{
    if (value[0] != 0) {
        (void)MHD_add_response_header(response, name, value);
    }
}

static const char *
content_type(enum exchange_content content)
{
    switch (content) {
    case CONTENT_NONE:
        break;
    case CONTENT_JSON:
        return "application/json";
    case CONTENT_PROBLEM:
        return "application/problem+json";
    case CONTENT_METRICS:
        return "text/plain; version=0.0.4; charset=utf-8";
    }
    return "";
}

static enum MHD_Result
send_answer(struct request *request)
{
    struct exchange *exchange = &request->exchange;
    const struct exchange_answer *answer = &exchange->answer;
    size_t size = answer->content == CONTENT_NONE ? 0 : exchange->out.size;
    struct MHD_Response *response = MHD_create_response_from_buffer(size, exchange->out.data, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }
    add(response, "Content-Type", content_type(answer->content));
    add(response, "ETag", answer->etag);
    add(response, "Location", answer->location);
    add(response, "Allow", answer->allow);
    if (answer->status == 401) {
        add(response, "WWW-Authenticate", answer->is_bad_token ? CHALLENGE ", error=\"invalid_token\"" : CHALLENGE);
    }
    if (answer->is_later) {
        add(response, "Retry-After", "1");
    }
    if (answer->is_async_applied) {
        add(response, "Preference-Applied", "respond-async");
    }
    if (answer->is_replayed) {
        add(response, "Idempotent-Replayed", "true");
    }
    if (exchange->link.size > 0) {
        wire_buffer_append(&exchange->link, "", 1);
        add(response, "Link", (const char *)exchange->link.data);
    }
    if (request->must_close || atomic_load_explicit(&request->http->state->is_draining, memory_order_relaxed)) {
        add(response, "Connection", "close");
    }
    enum MHD_Result queued = MHD_queue_response(request->connection, (unsigned)answer->status, response);
    MHD_destroy_response(response);
    enter(request->record, PHASE_BUSY);
    count_answer(request->http, exchange);
    return queued;
}

/* --- the body --- */

static enum MHD_Result
take_body(struct request *request, const char *bytes, size_t *size)
{
    struct exchange *exchange = &request->exchange;
    request->received += *size;
    if (request->received > BODY_DRAIN_MAX) {
        return MHD_NO;
    }
    if (request->received > BODY_MAX && !request->is_too_large) {
        request->is_too_large = true;
        if (!exchange_is_answered(exchange)) {
            exchange_refuse(exchange, ERR_too_large, "a body may have 1 MiB");
        }
    }
    if (!exchange_is_answered(exchange)) {
        wire_buffer_append(&exchange->body, bytes, *size);
    }
    *size = 0;
    return MHD_YES;
}

static enum MHD_Result
on_request(void *context, struct MHD_Connection *library, const char *url, const char *method, const char *version, const char *bytes,
           size_t *size, void **carried)
{
    struct request *request = *carried;
    (void)context;
    if (request == NULL) {
        return MHD_NO;
    }
    if (request->phase == REQUEST_NEW) {
        request->phase = REQUEST_BODY;
        enter(request->record, PHASE_BODY);
        if (!read_head(request, url, method, version)) {
            return MHD_YES;
        }
        request->must_close = true;
        return send_answer(request);
    }
    if (*size > 0) {
        return take_body(request, bytes, size);
    }
    if (request->phase == REQUEST_BODY) {
        request->phase = REQUEST_WAITING;
        enter(request->record, PHASE_BUSY);
        exchange_run(&request->exchange);
        if (request->exchange.is_waiting) {
            request->is_suspended = true;
            MHD_suspend_connection(library);
            upstream_flush_many(request->http->upstream);
            return MHD_YES;
        }
    }
    return exchange_is_answered(&request->exchange) ? send_answer(request) : MHD_YES;
}

/* --- the library --- */

/* Escapes stay: an address is split before it is decoded. */
static size_t
on_unescape(void *context, struct MHD_Connection *library, char *text)
{
    (void)context;
    (void)library;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void
on_log(void *context, const char *format, va_list arguments)
{
    char text[256];
    (void)context;
    (void)vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = 0;
    log_debug("http_library", LOG_TEXT("says", text));
}

static struct MHD_Daemon *
start_daemon(struct http *http, int listen_fd)
{
    unsigned limit = (unsigned)http->state->connections_max + (unsigned)http->state->connections_max / 5 + 8;
    return MHD_start_daemon(FLAGS, 0, NULL, NULL, on_request, http, /* */
                            MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, listen_fd,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, POOL_SIZE, MHD_OPTION_CONNECTION_LIMIT, limit,
                            MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_URI_LOG_CALLBACK, on_uri, http,
                            MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
                            MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

static void
make_metrics(struct http *http)
{
    http->open_connections = metric(METRIC_GAUGE, "larder_http_connections", "", "Open HTTP connections.");
    http->over_limit =
        metric(METRIC_COUNTER, "larder_http_connections_refused_total", "", "Requests refused for too many connections.");
    http->swept =
        metric(METRIC_COUNTER, "larder_http_slow_clients_total", "", "Connections ended because a head or body came too slowly.");
}

static err
watch(const struct http *http, int fd, uint32_t what, struct err_text *why)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = what};
    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return err_say(why, ERR_internal, "cannot watch a descriptor: %s", strerror(errno));
    }
    return ERR_ok;
}

/* Opens what the loop watches; the library comes last, as it takes the listening socket over. */
static err
open_parts(struct http *http, int listen_fd, struct err_text *why)
{
    http->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (http->epoll_fd < 0) {
        return err_say(why, ERR_internal, "no epoll descriptor: %s", strerror(errno));
    }
    err failed = watch(http, http->wake_fd, WATCH_WAKE, why);
    if (failed == ERR_ok) {
        failed = upstream_open(http->state->settings, http->epoll_fd, &http->upstream, why);
    }
    if (failed != ERR_ok) {
        return failed;
    }
    http->auth = auth_create(http->state->settings, http->upstream);
    http->daemon = start_daemon(http, listen_fd);
    if (http->daemon == NULL) {
        return err_say(why, ERR_internal, "the HTTP library did not start");
    }
    return watch(http, MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, WATCH_LIBRARY, why);
}

err
http_open(struct gateway_state *state, int listen_fd, int wake_fd, struct http **http, struct err_text *why)
{
    struct http *made = calloc(1, sizeof *made);
    assert(made != NULL);
    made->state = state;
    made->wake_fd = wake_fd;
    make_metrics(made);
    err failed = open_parts(made, listen_fd, why);
    if (failed != ERR_ok) {
        if (made->daemon != NULL) {
            (void)MHD_quiesce_daemon(made->daemon); /* the socket stays the caller's */
        }
        http_close(&made);
        return failed;
    }
    *http = made;
    return ERR_ok;
}

/* --- the loop --- */

static int
wait_ms(const struct http *http, int64_t now_us)
{
    MHD_UNSIGNED_LONG_LONG library_ms = 0;
    if (http->has_resumed || upstream_has_unsent(http->upstream)) {
        return 0;
    }
    int64_t until_us = http->next_sweep_us;
    int64_t expiry_us = upstream_next_expiry_us(http->upstream);
    if (expiry_us < until_us) {
        until_us = expiry_us;
    }
    int64_t ms = until_us > now_us ? (until_us - now_us + 999) / 1000 : 0;
    if (MHD_get_timeout(http->daemon, &library_ms) == MHD_YES && (int64_t)library_ms < ms) {
        ms = (int64_t)library_ms;
    }
    return (int)ms;
}

static err
wait_for_work(struct http *http)
{
    struct epoll_event events[UPSTREAM_PEERS_MAX + 2];
    uint64_t wakes = 0;
    int count = epoll_wait(http->epoll_fd, events, UPSTREAM_PEERS_MAX + 2, wait_ms(http, clock_steady_us()));
    if (count < 0 && errno != EINTR) {
        return ERR_internal;
    }
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 < UPSTREAM_PEERS_MAX) {
            upstream_mark(http->upstream, events[i].data.u32);
        } else if (events[i].data.u32 == WATCH_WAKE && read(http->wake_fd, &wakes, sizeof wakes) < 0 && errno != EAGAIN) {
            return ERR_internal;
        }
    }
    return ERR_ok;
}

/* New customers go elsewhere; those who are here get their answers. */
static void
drain(struct http *http)
{
    if (http->is_quiesced || !atomic_load_explicit(&http->state->is_draining, memory_order_relaxed)) {
        return;
    }
    http->is_quiesced = true;
    int fd = MHD_quiesce_daemon(http->daemon);
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* Whether the loop may end. When time is up, everybody who waits is told so and gets one more round. */
static bool
is_finished(struct http *http, int64_t now_us)
{
    if (!atomic_load_explicit(&http->state->is_stopping, memory_order_relaxed)) {
        return false;
    }
    if (http->stop_by_us == 0) {
        http->stop_by_us = now_us + STOP_MS * 1000;
    }
    if (http->in_flight == 0) {
        return true;
    }
    if (now_us < http->stop_by_us) {
        return false;
    }
    upstream_fail_all(http->upstream);
    return now_us >= http->stop_by_us + STOP_MS * 1000 / 4;
}

err
http_serve(struct http *http)
{
    for (;;) {
        int64_t now_us = clock_steady_us();
        beat_turn();
        drain(http);
        sweep(http, now_us);
        if (is_finished(http, now_us)) {
            return ERR_ok;
        }
        if (wait_for_work(http) != ERR_ok) {
            return ERR_internal;
        }
        upstream_receive(http->upstream);
        upstream_expire(http->upstream, clock_steady_us());
        auth_tick(http->auth, now_us);
        http->has_resumed = false;
        if (MHD_run(http->daemon) != MHD_YES) {
            return ERR_internal;
        }
        upstream_flush(http->upstream);
        upstream_receive(http->upstream);
    }
}

static void
free_lists(struct http *http)
{
    while (http->free_requests != NULL) {
        struct request *request = http->free_requests;
        http->free_requests = request->next_free;
        exchange_fini(&request->exchange);
        free(request);
    }
    while (http->free_connections != NULL) {
        struct connection *record = http->free_connections;
        http->free_connections = record->next;
        free(record);
    }
}

void
http_close(struct http **http)
{
    struct http *closed = *http;
    *http = NULL;
    if (closed == NULL) {
        return;
    }
    /* the library ends the process when a connection is still suspended; after a resume it needs one round to see it */
    if (closed->daemon != NULL) {
        upstream_fail_all(closed->upstream);
        (void)MHD_run(closed->daemon);
        MHD_stop_daemon(closed->daemon);
    }
    free_lists(closed);
    auth_destroy(&closed->auth);
    upstream_close(&closed->upstream);
    if (closed->epoll_fd >= 0) {
        (void)close(closed->epoll_fd);
    }
    free(closed);
}
