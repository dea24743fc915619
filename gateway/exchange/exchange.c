/* SPDX-License-Identifier: MPL-2.0 */
/*
 * exchange: match, authenticate, transcode, forward, translate the answer
 *
 * PURPOSE
 *   The whole of what the gateway means by a request. It decides nothing about stock or orders: who asks is known by the token and
 *   told to the actor; path, query and body become the request of one operation, which goes to the actor and shard that own it, and
 *   the reply becomes JSON, or a problem document.
 *
 * MESSAGES
 *   Every operation of routes.def. A list that is spread asks one shard after the other until its page is full. A request that may be
 *   done later goes to the dlq as dlq.hand_over under its own id: one that asks for it (Prefer: respond-async), and, of the routes
 *   that are LATER, one whose actor is not there. It was validated before like any other, and 202 is answered with its letter.
 *
 * STATE
 *   One request. Its id is derived from the Idempotency-Key, the route and who asks, or new; everything that it causes carries that
 *   id.
 *
 * FAILURES
 *   What the client did wrong is answered here by the name of the field and never reaches an actor. What the actor refuses is
 *   passed on with its words and numbers. An actor that is away, busy or late is 503 or 504, and the client repeats with its key. So
 *   is the dlq when it should keep a request; of a request that may have reached its actor it is never asked to.
 *   A reply that cannot be read is our own bug: 500, and a line in the log.
 *
 * LIMITS
 *   A reply is at most one frame of 1 MiB. Conditional requests: If-Match where the operation takes a version, If-None-Match on what
 *   has an ETag. Which order is whose, the actors judge; the gateway only knows the least role of a route.
 */
#include "exchange.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "answer.h"
#include "field.h"
#include "kit/base/clock.h"
#include "intake.h"
#include "key.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics_page.h"
#include "readiness.h"

#define BUFFER_KEPT_MAX ((size_t)64 * 1024)
#define PRINCIPAL_SIZE (AUTH_NAME_SIZE + 24)
#define SECRET_MAX 64

static void
run_as_asked(struct exchange *exchange);
static void
forward(struct exchange *exchange, int shard);
static void
ask_next_shard(struct exchange *exchange);
static bool
keep_for_later(struct exchange *exchange);

/* --- the address --- */

void
exchange_address(struct exchange *exchange, struct slice uri)
{
    exchange->uri.size = 0;
    if (uri.size == 0 || uri.data[0] == '?') {
        wire_buffer_append(&exchange->uri, "/", 1);
    }
    wire_buffer_append(&exchange->uri, uri.data, uri.size);
}

/* Splits off the query and normalises the path, which then stands at the start of `uri` with the query right behind it. */
static struct slice
split_address(struct exchange *exchange)
{
    uint8_t *uri = exchange->uri.data;
    const uint8_t *mark = memchr(uri, '?', exchange->uri.size);
    size_t raw_size = mark != NULL ? (size_t)(mark - uri) : exchange->uri.size;
    exchange->path_size = routes_normalise(uri, raw_size);
    memmove(uri + exchange->path_size, uri + raw_size, exchange->uri.size - raw_size);
    exchange->uri.size -= raw_size - exchange->path_size;
    return (struct slice){uri, exchange->path_size};
}

void
exchange_open(struct exchange *exchange, enum route_method method)
{
    struct slice path = split_address(exchange);
    exchange->method = method;
    exchange->id = id_new();
    exchange->started_us = clock_steady_us();
    bool is_everything = method == METHOD_OPTIONS && path.size == 1 && path.data[0] == '*';
    err failed = routes_match(method, path, &exchange->match);
    if (failed == ERR_ok) {
        return;
    }
    if (is_everything) {
        exchange->match.methods = 1U << METHOD_GET | 1U << METHOD_POST | 1U << METHOD_PUT | 1U << METHOD_PATCH | 1U << METHOD_DELETE;
    }
    if (exchange->match.methods == 0) {
        answer_refuse(exchange, ERR_not_found, "this address is none of the gateway's");
        return;
    }
    routes_allow(exchange->match.methods, exchange->answer.allow);
    if (method == METHOD_OPTIONS) {
        answer_give(exchange, 204, CONTENT_NONE);
    } else {
        answer_refuse(exchange, ERR_method_not_allowed, "the Allow header says which methods this address takes");
    }
}

/* --- who asks --- */

/* The secret that goes to the actor. What cannot be one goes as a wrong one, so that its answer is that of every wrong one. */
static struct slice
secret_of(const struct exchange *exchange)
{
    struct slice given = exchange->head.secret;
    if (given.size == 0 || !routes_has(exchange->match.route, TRAIT_SECRET)) {
        return (struct slice){0};
    }
    bool is_text = given.size <= SECRET_MAX;
    for (size_t i = 0; is_text && i < given.size; i++) {
        is_text = given.data[i] > 0x20 && given.data[i] < 0x7f;
    }
    return is_text ? given : slice_of("-");
}

/* 401 for who has shown no token, 403 for who has shown one of too small a role. */
static void
judge_role(struct exchange *exchange)
{
    char detail[ERR_TEXT_MAX];
    const struct asker *asker = &exchange->asker;
    const char *wanted = role_name(exchange->match.route->role);
    if (asker->role >= exchange->match.route->role || secret_of(exchange).size > 0) {
        return;
    }
    if (asker->role == ROLE_ANONYMOUS) {
        (void)snprintf(detail, sizeof detail, "Authorization: this needs the token of a person whose role is %s or more%s", wanted,
                       routes_has(exchange->match.route, TRAIT_SECRET) ? ", or Order-Secret: that of a guest's order" : "");
        answer_refuse(exchange, ERR_unauthenticated, detail);
        return;
    }
    (void)snprintf(detail, sizeof detail, "the token's role is %s, and this needs %s or more", role_name(asker->role), wanted);
    answer_refuse(exchange, ERR_forbidden, detail);
}

/* A token that is shown is verified wherever it is shown. False: it is answered already, or waits for the keys. */
static bool
judge_token(struct exchange *exchange)
{
    struct err_text why;
    if (exchange->head.authorizations > 1) {
        exchange->answer.is_bad_token = true;
        answer_refuse(exchange, ERR_unauthenticated, "Authorization: comes more than once");
        return false;
    }
    switch (auth_judge(exchange->auth, exchange->head.authorization, &exchange->waiter, &exchange->asker, &why)) {
    case AUTH_KNOWN:
        return true;
    case AUTH_REFUSED:
        exchange->answer.is_bad_token = true;
        answer_refuse(exchange, ERR_unauthenticated, why.text);
        break;
    case AUTH_AWAY:
        answer_refuse(exchange, ERR_unavailable, why.text);
        break;
    case AUTH_WAITS:
        exchange->is_waiting = true;
        break;
    }
    return false;
}

/* Without a token: everything in an open house, and else what everybody may. */
static bool
know_asker(struct exchange *exchange)
{
    if (exchange->head.authorizations > 0) {
        return judge_token(exchange);
    }
    bool is_open = exchange->state->is_open;
    exchange->asker = (struct asker){.role = is_open ? ROLE_OPERATOR : ROLE_ANONYMOUS, .is_told = !is_open};
    return true;
}

static void
keys_came(struct auth_waiter *waiter)
{
    struct exchange *exchange = (struct exchange *)(void *)((char *)waiter - offsetof(struct exchange, waiter));
    exchange->is_waiting = false;
    run_as_asked(exchange);
    if (exchange_is_answered(exchange)) {
        exchange->answered(exchange);
    }
}

/* --- its identity --- */

static err
read_identity(struct exchange *exchange, struct err_text *why)
{
    const struct route *route = exchange->match.route;
    struct key key;
    char name[AUTH_NAME_SIZE];
    exchange->call.again = false;
    if (exchange->head.has_key && (wire_ops[route->op].traits & OP_WRITES) != 0) {
        err failed = key_parse(exchange->head.key, &key, why);
        if (failed != ERR_ok) {
            return failed;
        }
        /* by such a key somebody else's order came back, or somebody else's sale was told as his own */
        if (exchange->asker.role == ROLE_ANONYMOUS && !routes_has(route, TRAIT_SIGNED) && !key_is_uuid(&key)) {
            return err_say(why, ERR_invalid_field,
                           "Idempotency-Key: must be a UUID of version 4 or 7 here, as all who show no token share one space of keys");
        }
        auth_name(&exchange->asker, name);
        exchange->id = key_id(name, route->name, &key);
        exchange->call.again = true;
    }
    if (trace_is_valid(exchange->head.traceparent)) {
        memcpy(exchange->traceparent, exchange->head.traceparent.data, TRACE_SIZE);
    } else {
        trace_make(&exchange->id, exchange->traceparent);
    }
    return ERR_ok;
}

/* --- where it goes --- */

/* The product that says which shard: `product`, or that of the first of `lines`. */
static bool
find_product(const struct wire_body *body, const union json_any *request, struct slice *product)
{
    const struct slice *named = field_value(body, request, slice_of("product"));
    const struct wire_list *lines = field_value(body, request, slice_of("lines"));
    struct wire_list left = lines != NULL ? *lines : (struct wire_list){0};
    struct wire_stock_line line;
    if (named == NULL && !wire_list_next(&left, &stock_line_body, &line)) {
        return false;
    }
    *product = named != NULL ? *named : line.product;
    return true;
}

static err
find_shard(const struct exchange *exchange, int *shard, struct err_text *why)
{
    const struct wire_op *op = &wire_ops[exchange->match.route->op];
    int shards = upstream_shards(exchange->upstream, op->owner);
    struct slice product;
    *shard = 0;
    if (routes_has(exchange->match.route, TRAIT_SPREAD)) {
        *shard = exchange->cursor.shard;
        return *shard < shards ? ERR_ok : err_say(why, ERR_invalid_field, "cursor: is not one that was given out here");
    }
    if (shards <= 1 || (op->traits & OP_ROUTED) == 0) {
        return ERR_ok;
    }
    if (!find_product(op->request, &exchange->request, &product)) {
        return err_say(why, ERR_invalid_field, "product: is needed, as it says which of the %d shards is asked", shards);
    }
    *shard = wire_shard_of(product, shards);
    return ERR_ok;
}

/* --- what the actor said --- */

static void
replied(struct upstream_call *call, const struct upstream_reply *reply)
{
    struct exchange *exchange = (struct exchange *)(void *)((char *)call - offsetof(struct exchange, call));
    const struct wire_body *body = wire_ops[call->op].reply;
    struct err_text why;
    union json_any value;
    bool is_not_taken = reply->status == ERR_unavailable && reply->why != NULL;
    if (is_not_taken && keep_for_later(exchange)) {
        return;
    }
    exchange->answer.is_replayed = reply->is_replayed && reply->status != ERR_idempotency_mismatch;
    if (reply->status != ERR_ok) {
        answer_refusal(exchange, reply);
    } else if (wire_decode(body, reply->body, &value, &why) != ERR_ok) {
        log_error("unreadable_body", LOG_TEXT("route", exchange_route_name(exchange)), LOG_TEXT("why", why.text),
                  LOG_ID("req", &exchange->id));
        answer_refuse(exchange, ERR_internal, "the actor's answer could not be read");
    } else if (call->op == OP_dlq_hand_over) {
        answer_kept(exchange, &value);
    } else if (!answer_reply(exchange, body, &value)) {
        ask_next_shard(exchange);
    }
    if (exchange_is_answered(exchange)) {
        exchange->answered(exchange);
    }
}

/* --- forwarding --- */

/* Sends a body; what cannot be sent is answered. */
static void
ask(struct exchange *exchange, enum op op, int shard, const struct wire_buffer *body)
{
    struct err_text why;
    struct upstream_call *call = &exchange->call;
    int64_t spent_ms = (clock_steady_us() - exchange->started_us) / 1000;
    call->id = exchange->id;
    call->op = op;
    call->peer = upstream_peer(exchange->upstream, wire_ops[op].owner, shard);
    call->timeout_ms = exchange->state->settings->request_timeout_ms - spent_ms;
    call->traceparent = (struct slice){(const uint8_t *)exchange->traceparent, TRACE_SIZE};
    call->role = exchange->asker.is_told ? slice_of(role_name(exchange->asker.role)) : (struct slice){0};
    call->user = exchange->asker.has_user ? &exchange->asker.user : NULL;
    call->client = slice_of(exchange->peer);
    call->secret = op == exchange->match.route->op ? secret_of(exchange) : (struct slice){0};
    call->body = wire_buffer_slice(body);
    call->done = replied;
    assert(call->peer >= 0);
    if (call->timeout_ms <= 0) {
        answer_refuse(exchange, ERR_deadline_exceeded, "the time for this request is over");
        return;
    }
    err failed = upstream_send(exchange->upstream, call, &why);
    if (failed != ERR_ok) {
        answer_refuse(exchange, failed, why.text);
    } else {
        exchange->is_waiting = true;
    }
}

/* Sends what stands in `frame`. */
static void
forward(struct exchange *exchange, int shard)
{
    ask(exchange, exchange->match.route->op, shard, &exchange->frame);
}

/* False: it is refused. What was read is within its bounds, so most likely it is too long with all that goes around it. */
static bool
encode(struct exchange *exchange, const struct wire_body *body, const void *source, struct wire_buffer *out)
{
    struct err_text why;
    out->size = 0;
    if (wire_encode(body, source, out)) {
        return true;
    }
    (void)wire_fault_say(&why, ERR_internal);
    if (wire_fault()->kind == WIRE_FAULT_SIZE && (wire_fault()->field == NULL || wire_fault()->field->kind == WIRE_BYTES)) {
        answer_refuse(exchange, ERR_too_large, why.text);
        return false;
    }
    log_error("cannot_be_said", LOG_TEXT("body", body->name), LOG_TEXT("reason", why.text), LOG_ID("req", &exchange->id));
    answer_refuse(exchange, ERR_internal, err_words(ERR_internal));
    return false;
}

/* From its start, for as many elements as the page has room. */
static void
ask_next_shard(struct exchange *exchange)
{
    const struct wire_body *body = wire_ops[exchange->match.route->op].request;
    union json_any request;
    struct err_text why;
    char room[32];
    (void)snprintf(room, sizeof room, "%" PRId64, exchange->page.room);
    json_reader_begin(&exchange->reader, body, &request, NULL);
    err failed = json_reader_text(&exchange->reader, slice_of("limit"), slice_of(room), &why);
    assert(failed == ERR_ok);
    if (encode(exchange, body, &request, &exchange->frame)) {
        forward(exchange, exchange->page.last.shard);
    }
}

/* Gives what stands in `frame` to the dlq, to be done under the same id when its actor is there. */
static void
hand_over(struct exchange *exchange)
{
    struct wire_dlq_hand_over order = {0};
    char principal[PRINCIPAL_SIZE];
    WIRE_SET(&order, dlq_hand_over, op, slice_of(wire_ops[exchange->match.route->op].name));
    WIRE_SET(&order, dlq_hand_over, shard, exchange->shard);
    WIRE_SET(&order, dlq_hand_over, request, exchange->id);
    WIRE_SET(&order, dlq_hand_over, body, wire_buffer_slice(&exchange->frame));
    if (exchange->asker.is_told) {
        char name[AUTH_NAME_SIZE];
        auth_name(&exchange->asker, name);
        (void)snprintf(principal, sizeof principal, "%s as %s", name, role_name(exchange->asker.role));
        WIRE_SET(&order, dlq_hand_over, principal, slice_of(principal));
    }
    if (encode(exchange, &dlq_hand_over_body, &order, &exchange->kept)) {
        ask(exchange, OP_dlq_hand_over, 0, &exchange->kept);
    }
}

/* Whether this request may be handed over at all: it changes something, and it is not about letters itself. */
static bool
can_be_kept(const struct exchange *exchange)
{
    const struct wire_op *op = &wire_ops[exchange->match.route->op];
    return (op->traits & OP_WRITES) != 0 && strcmp(op->owner, wire_ops[OP_dlq_hand_over].owner) != 0;
}

/* Whether a request may wait for its actor although it asks to. The dlq delivers as itself, and shows what it keeps to operators: so
 * nothing personal goes there, and nothing whose outcome depends on who asks. A webhook is too old by then. */
static err
judge_async(const struct exchange *exchange, struct err_text *why)
{
    const struct route *route = exchange->match.route;
    if (routes_has(route, TRAIT_PERSONAL)) {
        return err_say(why, ERR_not_implemented, "Prefer: respond-async is not taken here, as nothing personal is kept for later");
    }
    if (route->input == INPUT_RAW || (routes_has(route, TRAIT_JUDGED) && exchange->asker.role < ROLE_OPERATOR)) {
        return err_say(why, ERR_not_implemented, "Prefer: respond-async is not taken here, as it is judged by who asks and when");
    }
    return ERR_ok;
}

/* Its actor was not there and has not seen it: a LATER route gives it to the dlq. False: it does not, and the refusal is told. */
static bool
keep_for_later(struct exchange *exchange)
{
    if (exchange->call.op == OP_dlq_hand_over || !routes_has(exchange->match.route, TRAIT_LATER) || !can_be_kept(exchange)) {
        return false;
    }
    hand_over(exchange);
    return !exchange_is_answered(exchange);
}

/* The asker is known and may ask. */
static void
run_request(struct exchange *exchange)
{
    struct err_text why;
    int shard = 0;
    bool is_for_later = exchange->head.prefers_async && can_be_kept(exchange);
    err failed = read_identity(exchange, &why);
    if (failed == ERR_ok) {
        failed = intake_read(exchange, &why);
    }
    if (failed == ERR_ok) {
        failed = find_shard(exchange, &shard, &why);
    }
    if (failed == ERR_ok && is_for_later) {
        failed = judge_async(exchange, &why);
    }
    if (failed != ERR_ok) {
        answer_refuse(exchange, failed, why.text);
        return;
    }
    exchange->page.last.shard = shard;
    exchange->shard = shard;
    if (!encode(exchange, wire_ops[exchange->match.route->op].request, &exchange->request, &exchange->frame)) {
        return;
    }
    if (is_for_later) {
        hand_over(exchange);
    } else {
        forward(exchange, shard);
    }
}

static void
run_as_asked(struct exchange *exchange)
{
    if (!know_asker(exchange)) {
        return;
    }
    judge_role(exchange);
    if (!exchange_is_answered(exchange)) {
        run_request(exchange);
    }
}

void
exchange_run(struct exchange *exchange)
{
    if (exchange_is_answered(exchange)) {
        return;
    }
    if (exchange->match.route->work != WORK_FORWARD) {
        readiness_run(exchange);
        return;
    }
    /* the time that the client took to send its body is not the actors' */
    exchange->started_us = clock_steady_us();
    exchange->waiter.ready = keys_came;
    run_as_asked(exchange);
}

/* --- life --- */

static void
empty(struct wire_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->capacity > BUFFER_KEPT_MAX) {
        wire_buffer_fini(buffer);
    }
}

void
exchange_clear(struct exchange *exchange)
{
    upstream_cancel(exchange->upstream, &exchange->call);
    auth_forget(exchange->auth, &exchange->waiter);
    readiness_cancel(exchange);
    metrics_page_give_back(&exchange->metrics);
    json_reader_clear(&exchange->reader);
    exchange->match = (struct route_match){0};
    exchange->head = (struct exchange_head){0};
    exchange->is_waiting = false;
    exchange->answer.status = 0;
    exchange->answer.is_replayed = false;
    exchange->answer.is_later = false;
    exchange->answer.is_async_applied = false;
    exchange->answer.is_bad_token = false;
    exchange->waiter.has_asked = false;
    exchange->asker = (struct asker){0};
    exchange->answer.etag[0] = 0;
    exchange->peer[0] = 0;
    exchange->answer.location[0] = 0;
    exchange->answer.allow[0] = 0;
    exchange->page = (struct page){0};
    exchange->cursor = (struct page_cursor){0};
    empty(&exchange->uri);
    empty(&exchange->text);
    exchange->body = NULL;
    empty(&exchange->frame);
    empty(&exchange->kept);
    empty(&exchange->out);
    empty(&exchange->link);
}

void
exchange_fini(struct exchange *exchange)
{
    exchange_clear(exchange);
    json_reader_fini(&exchange->reader);
    wire_buffer_fini(&exchange->uri);
    wire_buffer_fini(&exchange->text);
    wire_buffer_fini(&exchange->frame);
    wire_buffer_fini(&exchange->kept);
    wire_buffer_fini(&exchange->out);
    wire_buffer_fini(&exchange->link);
}
