/* SPDX-License-Identifier: MPL-2.0 */
/*
 * http: the gateway's HTTP, requests to exchanges and back
 *
 * PURPOSE
 *   One loop per thread over one epoll set: the server of the kit (kit/http_server.h), the thread's DEALERs, an eventfd. A request is
 *   read, run, waits while an actor works, is answered. No lock.
 *
 * STATE
 *   An exchange per request record of the server, used again with it.
 *
 * FAILURES
 *   What cannot be served is a problem document like any other refusal. A body over BODY_MAX is read and thrown away up to
 *   BODY_DRAIN_MAX so that the client gets to read its 413. More connections than the setting are answered 503 and closed, but for
 *   /livez and /readyz.
 *
 * LIMITS
 *   BODY_MAX; the server's own times and sizes.
 */
#include "http.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "auth.h"
#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"
#include "kit/base/clock.h"
#include "door.h"
#include "exchange/answer.h"
#include "head_scan.h"
#include "kit/http/http_server.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "kit/telemetry/metrics.h"
#include "kit/telemetry/metrics_page.h"

#define BODY_MAX ((uint64_t)1024 * 1024)
#define BODY_DRAIN_MAX ((uint64_t)8 * 1024 * 1024)
#define STOP_MS INT64_C(2000)
#define CLOCK_SAID_US INT64_C(3000000)
#define CLOCK_STEPS "Times that the clock was found to have been set."
#define STATUSES_MAX 24
#define EVENTS_MAX 256
#define CHALLENGE "Bearer realm=\"larder\""

/* What the epoll set holds beside the peers and the server. */
#define WATCH_WAKE UPSTREAM_PEERS_MAX
#define WATCH_SERVER 4096U

/* What the server keeps for us with a request's record. */
struct request {
    struct exchange exchange; /* first: what its callback gets */
    struct http *http;
    struct http_request *http_request;
    bool is_opened;     /* its address was looked at */
    bool is_wrong_type; /* of a body, if there is one */
    bool is_waiting;
    char page[DOOR_ORIGIN_SIZE]; /* the origin of LARDER_ORIGINS that asks, or "" */
};

/* Why a request was not even looked at. */
enum turned_away { AWAY_FRAMING, AWAY_HOST, AWAY_ORIGIN, AWAY_TYPE, AWAY_REASONS };

/* How often a route was answered with a status. */
struct status_count {
    int status;
    struct metric *metric;
};

struct http {
    struct gateway_state *state;
    struct upstream *upstream;
    struct auth *auth;
    struct http_server *server;
    int epoll_fd;
    int wake_fd;
    int64_t stop_by_us;
    int stop_rounds;
    struct status_count counts[ROUTE_COUNT + 1][STATUSES_MAX];
    struct metric *latency[ROUTE_COUNT + 1];
    struct metric *over_limit;
    struct metric *turned_away[AWAY_REASONS];
    int64_t next_flush_us;
    struct clock_watch clock;
    struct metric *clock_back;
    struct metric *clock_forward;
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

/* --- the answer --- */

static void
add(struct http_request *request, const char *name, const char *value)
{
    if (value[0] != 0) {
        http_answer_line(request, name, value);
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
        return METRICS_PAGE_TYPE;
    }
    return "";
}

/* What a browser wants to be told before its page may send JSON and headers, and read what is answered. */
static void
add_permissions(const struct request *request)
{
    struct http_request *to = request->http_request;
    if (request->page[0] == 0) {
        return;
    }
    add(to, "Vary", "Origin");
    add(to, "Access-Control-Allow-Origin", request->page);
    add(to, "Access-Control-Expose-Headers", "ETag, Idempotent-Replayed, Link, Location, Preference-Applied, Retry-After");
    if (request->exchange.method == METHOD_OPTIONS) {
        add(to, "Access-Control-Allow-Methods", request->exchange.answer.allow);
        add(to, "Access-Control-Allow-Headers",
            "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Order-Secret, Prefer, traceparent");
        add(to, "Access-Control-Max-Age", "600");
    }
}

static void
send_answer(struct request *request)
{
    struct http_request *to = request->http_request;
    struct exchange *exchange = &request->exchange;
    const struct exchange_answer *answer = &exchange->answer;
    add(to, "Content-Type", content_type(answer->content));
    add(to, "ETag", answer->etag);
    add(to, "Location", answer->location);
    add(to, "Allow", answer->allow);
    add_permissions(request);
    if (answer->status == 401) {
        add(to, "WWW-Authenticate", answer->is_bad_token ? CHALLENGE ", error=\"invalid_token\"" : CHALLENGE);
    }
    if (answer->is_later) {
        add(to, "Retry-After", "1");
    }
    if (answer->is_async_applied) {
        add(to, "Preference-Applied", "respond-async");
    }
    if (answer->is_replayed) {
        add(to, "Idempotent-Replayed", "true");
    }
    if (exchange->link.size > 0) {
        wire_buffer_append(&exchange->link, "", 1);
        add(to, "Link", (const char *)exchange->link.data);
    }
    struct slice content = answer->content == CONTENT_NONE ? (struct slice){NULL, 0} : wire_buffer_slice(&exchange->out);
    if (answer->content == CONTENT_METRICS) {
        content = metrics_page_text(exchange->metrics);
    }
    to->must_close = to->must_close || atomic_load_explicit(&request->http->state->is_draining, memory_order_relaxed);
    http_answer(request->http->server, to, answer->status, content);
    count_answer(request->http, exchange);
}

/* --- requests --- */

static void
on_answered(struct exchange *exchange)
{
    struct request *request = (struct request *)(void *)exchange;
    if (request->is_waiting) {
        request->is_waiting = false;
        send_answer(request);
    }
}

static struct request *
request_of(struct http *http, struct http_request *from)
{
    struct request *request = from->owner;
    if (request == NULL) {
        request = memory_new(1, sizeof *request);
        request->http = http;
        request->http_request = from;
        request->exchange.state = http->state;
        request->exchange.upstream = http->upstream;
        request->exchange.auth = http->auth;
        request->exchange.answered = on_answered;
        from->owner = request;
    }
    return request;
}

static const char *const away_words[] = {"framing", "host", "origin", "type"};

static void
make_away_metrics(struct http *http)
{
    char labels[32];
    for (int i = 0; i < AWAY_REASONS; i++) {
        (void)snprintf(labels, sizeof labels, "reason=\"%s\"", away_words[i]);
        http->turned_away[i] =
            metric(METRIC_COUNTER, "larder_http_turned_away_total", labels,
                   "Requests refused for how they are framed, the name they ask for, whose page they are of, their body's type.");
    }
}

/* Counted, and one line a second for each reason. */
static void
turn_away(struct http *http, enum turned_away why, const char *words)
{
    metric_add(http->turned_away[why], 1);
    log_often(LOG_LEVEL_INFO, "turned_away", away_words[why], LOG_TEXT("for", away_words[why]), LOG_TEXT("reason", words));
}

static void
on_refusal(void *context, struct http_request *from, err code, const char *reason)
{
    struct http *http = context;
    struct request *request = request_of(http, from);
    if (!request->is_opened) {
        request->exchange.id = id_new();
        request->exchange.started_us = clock_steady_us();
        turn_away(http, AWAY_FRAMING, reason);
    }
    request->exchange.answer.allow[0] = 0;
    answer_refuse(&request->exchange, code, reason);
    send_answer(request);
}

/* Answers now: the connection ends. */
static void
refuse_head(struct request *request, err code, const char *reason)
{
    request->http_request->must_close = true;
    on_refusal(request->http, request->http_request, code, reason);
}

static enum route_method
method_of(const struct http_head *head)
{
    char name[16];
    if (head->method.size >= sizeof name) {
        return METHOD_OTHER;
    }
    memcpy(name, head->method.data, head->method.size);
    name[head->method.size] = 0;
    return routes_method(name);
}

static bool
is_safe(enum route_method method)
{
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_OPTIONS;
}

/* Whether the request may go on to its exchange; else that has been answered. */
static bool
pass_door(struct request *request, const struct head_scan *scan)
{
    struct err_text why;
    const struct exchange *exchange = &request->exchange;
    const struct door_visit visit = {
        .host = request->http_request->head.host,
        .origin = scan->origin,
        .origins = scan->origins,
        .is_from_foreign = scan->is_from_foreign,
        .is_safe = is_safe(exchange->method),
        .is_probe = exchange->match.route != NULL && exchange->match.route->work != WORK_FORWARD,
    };
    if (door_is_listed(request->http->state->door, &visit)) {
        (void)snprintf(request->page, sizeof request->page, "%.*s", (int)scan->origin.size, (const char *)scan->origin.data);
    }
    err failed = door_judge(request->http->state->door, &visit, &why);
    if (failed == ERR_ok) {
        return true;
    }
    turn_away(request->http, failed == ERR_misdirected ? AWAY_HOST : AWAY_ORIGIN, why.text);
    request->exchange.answer.allow[0] = 0;
    answer_refuse(&request->exchange, failed, why.text);
    return false;
}

static void
refuse_type(struct request *request)
{
    const char *words = "Content-Type: must be application/json";
    turn_away(request->http, AWAY_TYPE, words);
    answer_refuse(&request->exchange, ERR_unsupported_media_type, words);
}

/* Supervisors ask in need above all, so that their question is answered on a connection that is one too many. */
static bool
is_probe(const struct exchange *exchange)
{
    const struct route *route = exchange->match.route;
    return route != NULL && (route->work == WORK_LIVE || route->work == WORK_READY);
}

static void
on_head(void *context, struct http_request *from)
{
    struct http *http = context;
    struct request *request = request_of(http, from);
    struct exchange *exchange = &request->exchange;
    struct head_scan scan = {.head = &exchange->head};
    exchange_address(exchange, from->head.path);
    exchange_open(exchange, method_of(&from->head));
    request->is_opened = true;
    if (!exchange_is_answered(exchange) && routes_has(exchange->match.route, TRAIT_PEER)) {
        http_request_peer(from, exchange->peer);
    }
    head_scan_read(&scan, &from->head);
    if (scan.refusal != NULL) {
        turn_away(http, AWAY_FRAMING, scan.refusal);
        refuse_head(request, ERR_malformed, scan.refusal);
        return;
    }
    if (from->is_over_limit && !is_probe(exchange)) {
        metric_add(http->over_limit, 1);
        refuse_head(request, ERR_overloaded, "there are as many connections as this gateway takes");
        return;
    }
    if (pass_door(request, &scan) && !exchange_is_answered(exchange)) {
        bool has_type = exchange->match.route->input == INPUT_RAW || is_safe(exchange->method);
        request->is_wrong_type = !has_type && !door_is_json(scan.content_type);
        if (request->is_wrong_type && from->head.length > 0) {
            refuse_type(request);
        }
    }
    from->is_unwanted = exchange_is_answered(exchange);
    if (from->is_unwanted && http_head_has_body(&from->head) && from->head.expects_continue) {
        send_answer(request);
    }
}

static void
on_request(void *context, struct http_request *from)
{
    struct http *http = context;
    struct request *request = from->owner;
    struct exchange *exchange = &request->exchange;
    if (!exchange_is_answered(exchange) && request->is_wrong_type && from->reading.received > 0) {
        refuse_type(request);
    }
    if (!exchange_is_answered(exchange)) {
        exchange->body = &from->body;
        exchange_run(exchange);
    }
    if (exchange->is_waiting) {
        request->is_waiting = true;
        upstream_flush_many(http->upstream);
    } else {
        send_answer(request);
    }
}

static void
on_over(void *context, struct http_request *from)
{
    struct request *request = from->owner;
    (void)context;
    if (request != NULL) {
        request->is_waiting = false;
        request->is_opened = false;
        request->is_wrong_type = false;
        request->page[0] = 0;
        exchange_clear(&request->exchange);
    }
}

static void
on_forget(void *context, struct http_request *from)
{
    struct request *request = from->owner;
    (void)context;
    if (request != NULL) {
        exchange_fini(&request->exchange);
        free(request);
    }
}

/* --- life --- */

static err
watch(const struct http *http, int fd, uint64_t what, struct err_text *why)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};
    if (epoll_ctl(http->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        return err_say(why, ERR_internal, "cannot watch a descriptor: %s", strerror(errno));
    }
    return ERR_ok;
}

static err
open_server(struct http *http, int listen_fd, struct err_text *why)
{
    const struct http_owner owner = {http, on_head, on_request, on_refusal, on_over, on_forget};
    const struct http_limits limits = {
        .body_max = BODY_MAX,
        .body_drain_max = BODY_DRAIN_MAX,
        .connections = &http->state->connections,
        .connections_max = http->state->connections_max,
        .connections_spare = http->state->connections_max / 5 + 8,
        .open = metric(METRIC_GAUGE, "larder_http_connections", "", "Open HTTP connections."),
        .swept = metric(METRIC_COUNTER, "larder_http_slow_clients_total", "",
                        "Connections ended because a head or body came too slowly, or an answer was read so."),
        .not_accepted = metric(METRIC_COUNTER, "larder_http_accepts_paused_total", "",
                               "Pauses in accepting connections because there were no file descriptors."),
    };
    return http_server_open(&owner, &limits, http->epoll_fd, listen_fd, &http->server, why);
}

/* Opens what the loop watches; the server comes last, as it takes the listening socket over. */
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
    return open_server(http, listen_fd, why);
}

err
http_open(struct gateway_state *state, int listen_fd, int wake_fd, struct http **http, struct err_text *why)
{
    struct http *made = memory_new(1, sizeof *made);
    made->state = state;
    made->wake_fd = wake_fd;
    clock_watch_init(&made->clock);
    made->clock_back = metric(METRIC_COUNTER, "larder_clock_steps_total", "actor=\"gateway\",way=\"back\"", CLOCK_STEPS);
    made->clock_forward = metric(METRIC_COUNTER, "larder_clock_steps_total", "actor=\"gateway\",way=\"forward\"", CLOCK_STEPS);
    made->over_limit =
        metric(METRIC_COUNTER, "larder_http_connections_refused_total", "", "Requests refused for too many connections.");
    make_away_metrics(made);
    err failed = open_parts(made, listen_fd, why);
    if (failed != ERR_ok) {
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
    int64_t until_us = http_server_next_us(http->server);
    int64_t expiry_us = upstream_next_expiry_us(http->upstream);
    if (upstream_has_unsent(http->upstream) || http->stop_rounds == 1) {
        return 0;
    }
    if (expiry_us < until_us) {
        until_us = expiry_us;
    }
    return until_us > now_us ? (int)((until_us - now_us + 999) / 1000) : 0;
}

/* Waits, and takes what the actors say before what the clients do. */
static err
wait_for_work(struct http *http)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t wakes = 0;
    int count = epoll_wait(http->epoll_fd, events, EVENTS_MAX, wait_ms(http, clock_steady_us()));
    if (count < 0 && errno != EINTR) {
        return ERR_internal;
    }
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 < UPSTREAM_PEERS_MAX) {
            upstream_mark(http->upstream, (uint32_t)events[i].data.u64);
        } else if (events[i].data.u64 == WATCH_WAKE && read(http->wake_fd, &wakes, sizeof wakes) < 0 && errno != EAGAIN) {
            return ERR_internal;
        }
    }
    upstream_receive(http->upstream);
    upstream_expire(http->upstream, clock_steady_us());
    for (int i = 0; i < count; i++) {
        if (events[i].data.u64 >= WATCH_SERVER) {
            http_server_event(http->server, &events[i]);
        }
    }
    return ERR_ok;
}

/* Whether the loop may end: nothing is under way, and what clients had sent by then was looked at. When time is up, everybody who
 * waits is told so and gets one more round. */
static bool
is_finished(struct http *http, int64_t now_us)
{
    if (!atomic_load_explicit(&http->state->is_stopping, memory_order_relaxed)) {
        return false;
    }
    if (http->stop_by_us == 0) {
        http->stop_by_us = now_us + STOP_MS * 1000;
    }
    http->stop_rounds++;
    if (http_server_in_flight(http->server) == 0) {
        return http->stop_rounds > 1;
    }
    if (now_us < http->stop_by_us) {
        return false;
    }
    upstream_fail_all(http->upstream);
    http_server_finish(http->server);
    return http_server_in_flight(http->server) == 0 || now_us >= http->stop_by_us + STOP_MS * 1000 / 4;
}

/* Tokens begin and end by the wall clock. Every thread sees that it was set, and the first of them says so. */
static void
look_at_clock(struct http *http, int64_t now_us)
{
    int64_t by_ms = 0;
    (void)clock_watch_look(&http->clock, &by_ms);
    if (by_ms == 0) {
        return;
    }
    auth_hurry(http->auth, now_us);
    bool is_back = by_ms < 0;
    if (now_us - atomic_exchange(&http->state->clock_said_us[is_back], now_us) < CLOCK_SAID_US) {
        return;
    }
    metric_add(is_back ? http->clock_back : http->clock_forward, 1);
    log_warn(is_back ? "clock_went_back" : "clock_went_forward", LOG_I64("by_ms", is_back ? -by_ms : by_ms),
             LOG_TEXT("when", "while running"), LOG_TEXT("now", "tokens are judged by it as it is"));
}

err
http_serve(struct http *http)
{
    for (;;) {
        int64_t now_us = clock_steady_us();
        beat_turn();
        if (atomic_load_explicit(&http->state->is_draining, memory_order_relaxed)) {
            http_server_drain(http->server);
        }
        if (is_finished(http, now_us)) {
            return ERR_ok;
        }
        if (wait_for_work(http) != ERR_ok) {
            return ERR_internal;
        }
        auth_tick(http->auth, now_us);
        if (now_us >= http->next_flush_us) {
            http->next_flush_us = now_us + INT64_C(1000000);
            look_at_clock(http, now_us);
            log_often_flush();
        }
        http_server_run(http->server, clock_steady_us());
        upstream_flush(http->upstream);
        upstream_receive(http->upstream);
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
    http_server_close(&closed->server);
    log_often_end();
    auth_destroy(&closed->auth);
    upstream_close(&closed->upstream);
    if (closed->epoll_fd >= 0) {
        (void)close(closed->epoll_fd);
    }
    free(closed);
}
