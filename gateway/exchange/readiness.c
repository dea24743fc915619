/* SPDX-License-Identifier: MPL-2.0 */
/*
 * readiness: the probes
 *
 * PURPOSE
 *   /livez: all loops of the process turn. /readyz: requests sent here now would be served: the gateway is not draining, the actors in
 *   this process say that they are ready, and each of the others answers any.ping within PING_TIMEOUT_MS. Stock, sales and factory
 *   are needed. The others are asked too but not needed: without them a shop sells what it has, so they are named and nothing more.
 *   /metrics: everything that this process counts; only where the settings say so, as it is for the operator and not for customers.
 *
 * FAILURES
 *   Not ready is 503 with {"status":"not ready","away":["stock/0"]}, or "draining". "optional_away" names what is not needed.
 *
 * LIMITS
 *   One ping per actor and shard for each question: it is meant for probes, not for traffic.
 */
#include "readiness.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "answer.h"
#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"
#include "kit/telemetry/metrics_page.h"
#include "kit/settings/topology.h"

#define PING_TIMEOUT_MS 800
#define OPTIONAL_TIMEOUT_MS 200

/* Pings under way for one question. */
struct readiness {
    struct exchange *exchange;
    int pending;
    bool is_started; /* all are sent: the last answer may finish it */
    bool is_away[UPSTREAM_PEERS_MAX];
    struct ping {
        struct upstream_call call; /* first: the callback gets here from it */
        struct readiness *readiness;
    } pings[UPSTREAM_PEERS_MAX];
};

static const char *(*health)(void *);
static void *health_argument;

void
readiness_set_health(const char *(*unready)(void *), void *argument)
{
    health = unready;
    health_argument = argument;
}

static void
say(struct exchange *exchange, int status, const char *json)
{
    exchange->out.size = 0;
    wire_buffer_append(&exchange->out, json, strlen(json));
    answer_give(exchange, status, CONTENT_JSON);
}

/* An away dlq stops nobody, and a donut shop without the restaurant's actors is whole. */
static bool
is_optional(const struct exchange *exchange, int peer)
{
    static const char *const optional[] = {"dlq/", "product/", "user/", "order/", "payment/"};
    const char *name = upstream_peer_name(exchange->upstream, peer);
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++) {
        if (strncmp(name, optional[i], strlen(optional[i])) == 0) {
            return true;
        }
    }
    return false;
}

static int
count_away(const struct readiness *readiness, bool optional)
{
    int count = 0;
    for (int i = 0; i < upstream_peer_count(readiness->exchange->upstream); i++) {
        count += readiness->is_away[i] && is_optional(readiness->exchange, i) == optional ? 1 : 0;
    }
    return count;
}

/* Appends ,"<name>":[...]; `unready` is one of this process, or NULL. */
static void
put_away(const struct readiness *readiness, const char *name, const char *unready, bool optional)
{
    struct exchange *exchange = readiness->exchange;
    const char *lead = unready == NULL ? "" : ",";
    wire_buffer_append(&exchange->out, ",", 1);
    json_write_text(slice_of(name), &exchange->out);
    wire_buffer_append(&exchange->out, ":[", 2);
    if (unready != NULL) {
        json_write_text(slice_of(unready), &exchange->out);
    }
    for (int i = 0; i < upstream_peer_count(exchange->upstream); i++) {
        if (readiness->is_away[i] && is_optional(exchange, i) == optional) {
            wire_buffer_append(&exchange->out, lead, strlen(lead));
            json_write_text(slice_of(upstream_peer_name(exchange->upstream, i)), &exchange->out);
            lead = ",";
        }
    }
    wire_buffer_append(&exchange->out, "]", 1);
}

static void
answer(struct readiness *readiness)
{
    struct exchange *exchange = readiness->exchange;
    const char *unready = health == NULL ? NULL : health(health_argument);
    bool is_ready = unready == NULL && count_away(readiness, false) == 0;
    say(exchange, is_ready ? 200 : 503, is_ready ? "{\"status\":\"ready\"" : "{\"status\":\"not ready\"");
    if (!is_ready) {
        put_away(readiness, "away", unready, false);
    }
    if (count_away(readiness, true) > 0) {
        put_away(readiness, "optional_away", NULL, true);
    }
    wire_buffer_append(&exchange->out, "}", 1);
}

static void
pinged(struct upstream_call *call, const struct upstream_reply *reply)
{
    struct readiness *readiness = ((struct ping *)(void *)call)->readiness;
    readiness->is_away[call->peer] = reply->status != ERR_ok;
    readiness->pending--;
    if (readiness->pending > 0 || !readiness->is_started) {
        return;
    }
    answer(readiness);
    readiness->exchange->answered(readiness->exchange);
}

static void
ping(struct readiness *readiness, int peer, const struct wire_buffer *frame)
{
    struct err_text why;
    struct upstream_call *call = &readiness->pings[peer].call;
    *call = (struct upstream_call){.id = id_new(), .op = OP_any_ping, .peer = peer, .done = pinged};
    call->timeout_ms = is_optional(readiness->exchange, peer) ? OPTIONAL_TIMEOUT_MS : PING_TIMEOUT_MS;
    call->body = wire_buffer_slice(frame);
    readiness->pings[peer].readiness = readiness;
    readiness->is_away[peer] = upstream_send(readiness->exchange->upstream, call, &why) != ERR_ok;
    if (!readiness->is_away[peer]) {
        readiness->pending++;
    }
}

static void
run_ready(struct exchange *exchange)
{
    const struct wire_nothing nothing = {0};
    if (atomic_load(&exchange->state->is_draining)) {
        say(exchange, 503, "{\"status\":\"draining\",\"away\":[]}");
        return;
    }
    struct readiness *readiness = memory_new(1, sizeof *readiness);
    readiness->exchange = exchange;
    exchange->readiness = readiness;
    exchange->frame.size = 0;
    wire_encode(&nothing_body, &nothing, &exchange->frame);
    for (int i = 0; i < upstream_peer_count(exchange->upstream); i++) {
        if (!upstream_peer_is_local(exchange->upstream, i)) {
            ping(readiness, i, &exchange->frame);
        }
    }
    readiness->is_started = true;
    if (readiness->pending == 0) {
        answer(readiness);
    } else {
        exchange->is_waiting = true;
    }
}

static void
run_live(struct exchange *exchange)
{
    char name[BEAT_NAME_SIZE];
    char json[BEAT_NAME_SIZE + 80];
    int64_t stuck_ms = 0;
    if (!beat_find_stuck(name, &stuck_ms)) {
        say(exchange, 200, "{\"status\":\"alive\"}");
        return;
    }
    (void)snprintf(json, sizeof json, "{\"status\":\"stuck\",\"loop\":\"%s\",\"stuck_ms\":%lld}", name, (long long)stuck_ms);
    say(exchange, 503, json);
}

void
readiness_cancel(struct exchange *exchange)
{
    struct readiness *readiness = exchange->readiness;
    if (readiness == NULL) {
        return;
    }
    for (int i = 0; i < UPSTREAM_PEERS_MAX; i++) {
        upstream_cancel(exchange->upstream, &readiness->pings[i].call);
    }
    free(readiness);
    exchange->readiness = NULL;
}

static void
run_metrics(struct exchange *exchange)
{
    char words[ERR_TEXT_MAX];
    const struct settings *settings = exchange->state->settings;
    if (strcmp(settings->metrics, "public") == 0) {
        exchange->metrics = metrics_page_take();
        answer_give(exchange, 200, CONTENT_METRICS);
        return;
    }
    (void)snprintf(words, sizeof words, "/metrics is served at %.64s:%d; LARDER_METRICS=public serves it here as well", settings->bind,
                   topology_gateway_probe_port(settings));
    answer_refuse(exchange, ERR_not_found, words);
}

void
readiness_run(struct exchange *exchange)
{
    switch (exchange->match.route->work) {
    case WORK_FORWARD:
        break;
    case WORK_LIVE:
        run_live(exchange);
        break;
    case WORK_READY:
        run_ready(exchange);
        break;
    case WORK_METRICS:
        run_metrics(exchange);
        break;
    }
}
