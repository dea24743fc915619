/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Peers of an order under test.
 * STATE     What was asked, by id, and what it led to; the stream of events. Under the lock, as the test's thread reads it while the
 *           peer's answers.
 * FAILURES  A message that nobody may send, and another body under a known id, fail the test.
 * LIMITS    PEER_ASKS_MAX ids, PEER_EVENTS_MAX events. The thread looks up each POLL_MS whether it is to end.
 */
#include "scripted_peer.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>

#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "message.h"
#include "kit/settings/topology.h"

enum { POLL_MS = 5, HEAD_TURNS = 20, PEER_ASKS_MAX = 4096, PEER_EVENTS_MAX = 4096 };

enum hold { HOLD_NONE, HOLD_OPEN, HOLD_COMMITTED, HOLD_RELEASED, HOLD_RETURNED };

/* One id that was asked for. A hold has the id of its reserve; one that was released before it was made is here as well. */
struct asked {
    struct id id;
    enum op op; /* OP_COUNT: a hold that was never asked for */
    struct slice frame;
    bool is_done;
    enum hold hold;
};

struct plan {
    enum peer_script script;
    err status;
    int times;
};

/* A request whose answer tarries. */
struct kept {
    struct message message;
    struct wire_request_header header; /* borrows from the message */
    err status;
    bool is_there;
};

struct told {
    struct slice header;
    struct slice body;
};

struct scripted_peer {
    pthread_mutex_t lock;
    pthread_t thread;
    _Atomic bool is_ending;
    _Atomic bool is_paused;
    char actor[16];
    char source[24];
    zsock_t *router;
    zsock_t *publisher;
    struct arena arena;
    struct id incarnation;
    struct asked asks[PEER_ASKS_MAX];
    size_t ask_count;
    struct plan plans[OP_COUNT];
    struct kept kept;
    int asked[OP_COUNT];
    int done[OP_COUNT];
    struct id latest[OP_COUNT];
    struct slice frames[OP_COUNT]; /* of the latest */
    bool forgot_again;
    char charges[16];
    char refunds[16];
    struct told events[PEER_EVENTS_MAX];
    size_t event_count;
};

/* --- answers --- */

static void
send_reply(struct scripted_peer *peer, struct message *message, const struct wire_request_header *asked, err status, struct slice body)
{
    struct wire_reply_header header = {0};
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, asked->id);
    if (WIRE_HAS(asked, request_header, again)) {
        WIRE_SET(&header, reply_header, again, asked->again);
    }
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(status)));
    enum message_sent sent =
        message_reply(zsock_resolve(peer->router), message, arena_encode(&peer->arena, &reply_header_body, &header), body);
    cr_assert(sent == MESSAGE_SENT || sent == MESSAGE_GONE);
}

static void
refuse(struct scripted_peer *peer, struct message *message, const struct wire_request_header *asked, err status)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("the peer is told to refuse"));
    send_reply(peer, message, asked, status, arena_encode(&peer->arena, &problem_body, &problem));
}

static struct asked *
find(struct scripted_peer *peer, const struct id *id)
{
    for (size_t i = 0; i < peer->ask_count; i++) {
        if (id_equal(&peer->asks[i].id, id)) {
            return &peer->asks[i];
        }
    }
    return NULL;
}

static struct asked *
add(struct scripted_peer *peer, const struct id *id, enum op op, struct slice frame)
{
    cr_assert(peer->ask_count < PEER_ASKS_MAX);
    struct asked *asked = &peer->asks[peer->ask_count++];
    *asked = (struct asked){.id = *id, .op = op, .frame = arena_copy(&peer->arena, frame)};
    return asked;
}

static struct slice
stock_answer(struct scripted_peer *peer, const struct id *hold)
{
    struct wire_stock_done done = {0};
    WIRE_SET(&done, stock_done, levels, (struct wire_list){0});
    WIRE_SET(&done, stock_done, hold, *hold);
    return arena_encode(&peer->arena, &stock_done_body, &done);
}

/* What stock does to a hold; a refusal of its own when the hold is not in a state for it. */
static err
change_hold(struct scripted_peer *peer, const struct id *id, enum hold from, enum hold to)
{
    struct asked *hold = find(peer, id);
    if ((hold == NULL || hold->hold == HOLD_NONE) && to == HOLD_RELEASED) {
        hold = hold == NULL ? add(peer, id, OP_COUNT, (struct slice){0}) : hold;
        hold->hold = HOLD_RELEASED; /* the late reserve will be refused */
        return ERR_ok;
    }
    if (hold == NULL || hold->hold == HOLD_NONE) {
        return ERR_unknown_hold;
    }
    if (hold->hold == to) {
        return ERR_ok;
    }
    if (hold->hold != from) {
        return ERR_hold_closed;
    }
    hold->hold = to;
    return ERR_ok;
}

static err
do_stock(struct scripted_peer *peer, struct asked *ask, const void *body, struct slice *answer)
{
    struct id hold = ask->id;
    err code = ERR_ok;
    if (ask->op == OP_stock_reserve) {
        code = ask->hold == HOLD_RELEASED ? ERR_hold_closed : ERR_ok;
        ask->hold = code == ERR_ok ? HOLD_OPEN : ask->hold;
    } else if (ask->op == OP_stock_commit) {
        hold = ((const struct wire_stock_commit *)body)->hold;
        code = change_hold(peer, &hold, HOLD_OPEN, HOLD_COMMITTED);
    } else if (ask->op == OP_stock_release) {
        hold = ((const struct wire_stock_release *)body)->hold;
        code = change_hold(peer, &hold, HOLD_OPEN, HOLD_RELEASED);
    } else {
        hold = ((const struct wire_stock_return *)body)->hold;
        code = change_hold(peer, &hold, HOLD_COMMITTED, HOLD_RETURNED);
    }
    *answer = stock_answer(peer, &hold);
    return code;
}

static struct slice
charge_answer(struct scripted_peer *peer, const struct id *id, const struct id *order, const char *status)
{
    struct wire_charge charge = {0};
    struct wire_money amount = {0};
    WIRE_SET(&amount, money, amount, 1);
    WIRE_SET(&amount, money, currency, slice_of("BRL"));
    WIRE_SET(&charge, charge, id, *id);
    WIRE_SET(&charge, charge, number, 1);
    WIRE_SET(&charge, charge, order, *order);
    WIRE_SET(&charge, charge, amount, amount);
    WIRE_SET(&charge, charge, method, slice_of("pix"));
    WIRE_SET(&charge, charge, provider, slice_of("simulated"));
    WIRE_SET(&charge, charge, status, slice_of(status));
    WIRE_SET(&charge, charge, refunded, 0);
    WIRE_SET(&charge, charge, created, 1);
    WIRE_SET(&charge, charge, changed, 1);
    return arena_encode(&peer->arena, &charge_body, &charge);
}

static struct slice
refund_answer(struct scripted_peer *peer, const struct id *id, const struct id *charge)
{
    struct wire_refund refund = {0};
    struct wire_money amount = {0};
    WIRE_SET(&amount, money, amount, 1);
    WIRE_SET(&amount, money, currency, slice_of("BRL"));
    WIRE_SET(&refund, refund, id, *id);
    WIRE_SET(&refund, refund, charge, *charge);
    WIRE_SET(&refund, refund, order, *charge);
    WIRE_SET(&refund, refund, amount, amount);
    WIRE_SET(&refund, refund, status, slice_of(peer->refunds));
    WIRE_SET(&refund, refund, created, 1);
    WIRE_SET(&refund, refund, changed, 1);
    return arena_encode(&peer->arena, &refund_body, &refund);
}

static struct slice
card_answer(struct scripted_peer *peer, struct slice product)
{
    struct wire_product_card card = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, 700);
    WIRE_SET(&price, money, currency, slice_of("BRL"));
    WIRE_SET(&card, product_card, product, product);
    WIRE_SET(&card, product_card, name, product);
    WIRE_SET(&card, product_card, category, slice_of("other"));
    WIRE_SET(&card, product_card, price, price);
    WIRE_SET(&card, product_card, active, true);
    WIRE_SET(&card, product_card, version, 1);
    WIRE_SET(&card, product_card, changed, 1);
    return arena_encode(&peer->arena, &product_card_body, &card);
}

static struct slice
buried_answer(struct scripted_peer *peer)
{
    struct wire_dlq_buried buried = {0};
    WIRE_SET(&buried, dlq_buried, taken, 1);
    return arena_encode(&peer->arena, &dlq_buried_body, &buried);
}

/* What the operation does when nothing is wrong. */
static err
perform(struct scripted_peer *peer, struct asked *ask, const void *body, struct slice *answer)
{
    switch ((int)ask->op) {
    case OP_stock_reserve:
    case OP_stock_commit:
    case OP_stock_release:
    case OP_stock_return:
        return do_stock(peer, ask, body, answer);
    case OP_payment_charge:
        *answer = charge_answer(peer, &ask->id, &((const struct wire_payment_charge *)body)->order, peer->charges);
        return ERR_ok;
    case OP_payment_cancel:
        *answer = charge_answer(peer, &((const struct wire_payment_cancel *)body)->charge,
                                &((const struct wire_payment_cancel *)body)->order, "cancelled");
        return ERR_ok;
    case OP_payment_refund:
        *answer = refund_answer(peer, &ask->id, &((const struct wire_payment_refund *)body)->charge);
        return ERR_ok;
    case OP_dlq_bury:
        *answer = buried_answer(peer);
        return ERR_ok;
    case OP_product_get:
        *answer = card_answer(peer, ((const struct wire_product_get *)body)->product);
        return ERR_ok;
    default:
        return ERR_unavailable;
    }
}

/* --- events --- */

static void
answer_fetch(struct scripted_peer *peer, struct message *message, const struct wire_request_header *asked,
             const struct wire_fetch *fetch)
{
    struct wire_fetched fetched = {0};
    struct wire_list list = {0};
    struct wire_buffer elements = {0};
    for (size_t i = (size_t)fetch->position; i < peer->event_count && (int64_t)list.count < fetch->limit; i++) {
        struct wire_fetched_event event = {0};
        WIRE_SET(&event, fetched_event, header, peer->events[i].header);
        WIRE_SET(&event, fetched_event, body, peer->events[i].body);
        wire_list_add(&list, &fetched_event_body, &event, &elements);
    }
    wire_list_end(&list, &elements);
    WIRE_SET(&fetched, fetched, incarnation, peer->incarnation);
    WIRE_SET(&fetched, fetched, head, (int64_t)peer->event_count);
    WIRE_SET(&fetched, fetched, events, list);
    send_reply(peer, message, asked, ERR_ok, arena_encode(&peer->arena, &fetched_body, &fetched));
    wire_buffer_fini(&elements);
}

static void
publish(struct scripted_peer *peer, const char *topic, const struct told *told)
{
    void *raw = zsock_resolve(peer->publisher);
    (void)zmq_send(raw, topic, strlen(topic), ZMQ_SNDMORE);
    (void)zmq_send(raw, told->header.data, told->header.size, ZMQ_SNDMORE);
    (void)zmq_send(raw, told->body.data, told->body.size, 0);
}

/* So that who was not there yet when something was told fetches it. */
static void
publish_head(struct scripted_peer *peer)
{
    struct wire_event_header header = {0};
    struct wire_head head = {0};
    struct told told;
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of(peer->source));
    WIRE_SET(&header, event_header, incarnation, peer->incarnation);
    WIRE_SET(&header, event_header, seq, (int64_t)peer->event_count);
    WIRE_SET(&header, event_header, type, slice_of("head"));
    WIRE_SET(&header, event_header, key, slice_of(""));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    WIRE_SET(&head, head, head, (int64_t)peer->event_count);
    WIRE_SET(&head, head, oldest, 1);
    WIRE_SET(&head, head, positions, (struct wire_list){0});
    told.header = arena_encode(&peer->arena, &event_header_body, &header);
    told.body = arena_encode(&peer->arena, &head_body, &head);
    publish(peer, "head", &told);
}

void
scripted_peer_emit(struct scripted_peer *peer, enum event_type type, struct slice key, const void *body)
{
    struct wire_event_header header = {0};
    char topic[128];
    pthread_mutex_lock(&peer->lock);
    cr_assert(peer->event_count < PEER_EVENTS_MAX);
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of(peer->source));
    WIRE_SET(&header, event_header, incarnation, peer->incarnation);
    WIRE_SET(&header, event_header, seq, (int64_t)peer->event_count + 1);
    WIRE_SET(&header, event_header, type, slice_of(wire_events[type].name));
    WIRE_SET(&header, event_header, key, key);
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    struct told *told = &peer->events[peer->event_count++];
    told->header = arena_encode(&peer->arena, &event_header_body, &header);
    told->body = arena_encode(&peer->arena, wire_events[type].body, body);
    (void)snprintf(topic, sizeof topic, "%s.%.*s", wire_events[type].name, (int)key.size, (const char *)key.data);
    publish(peer, topic, told);
    pthread_mutex_unlock(&peer->lock);
}

/* --- requests --- */

static struct asked *
note_ask(struct scripted_peer *peer, struct message *message, const struct wire_request_header *header, enum op op)
{
    bool again = WIRE_HAS(header, request_header, again) && header->again;
    struct asked *ask = find(peer, &header->id);
    peer->asked[op]++;
    peer->latest[op] = header->id;
    peer->frames[op] = arena_copy(&peer->arena, message_body(message));
    if (ask == NULL) {
        return add(peer, &header->id, op, message_body(message));
    }
    if (ask->op == OP_COUNT) {
        ask->op = op; /* a reserve that comes behind its release */
        ask->frame = arena_copy(&peer->arena, message_body(message));
        return ask;
    }
    peer->forgot_again = peer->forgot_again || !again;
    cr_assert(ask->op == op && slice_equal(ask->frame, message_body(message)), "another %s under the same id", wire_ops[op].name);
    return ask;
}

static void
keep(struct scripted_peer *peer, struct message *message, const struct wire_request_header *header, err status)
{
    cr_assert(!peer->kept.is_there, "one at a time");
    peer->kept = (struct kept){.message = *message, .header = *header, .status = status, .is_there = true};
    message->envelope_count = 0;
    message->has_frames = false;
}

static void
answer_kept(struct scripted_peer *peer)
{
    refuse(peer, &peer->kept.message, &peer->kept.header, peer->kept.status);
    message_fini(&peer->kept.message);
    peer->kept.is_there = false;
}

static void
answer(struct scripted_peer *peer, struct message *message)
{
    struct wire_request_header header;
    struct err_text why = {""};
    struct slice body = {0};
    cr_assert(wire_decode(&request_header_body, message_header(message), &header, &why) == ERR_ok, "%s", why.text);
    enum op op = wire_op_find((const char *)header.op.data, header.op.size);
    cr_assert(op != OP_COUNT);
    void *request = arena_alloc(&peer->arena, wire_ops[op].request->size);
    cr_assert(wire_decode(wire_ops[op].request, message_body(message), request, &why) == ERR_ok, "%s", why.text);
    if (op == OP_any_fetch) {
        answer_fetch(peer, message, &header, request);
        return;
    }
    struct asked *ask = note_ask(peer, message, &header, op);
    struct plan plan = peer->plans[op].times > 0 ? peer->plans[op] : (struct plan){PEER_DOES, ERR_ok, 0};
    peer->plans[op].times -= peer->plans[op].times > 0;
    if (plan.script == PEER_REFUSES) {
        refuse(peer, message, &header, plan.status);
        return;
    }
    if (plan.script == PEER_SILENT) {
        return;
    }
    if (plan.script == PEER_TARRIES) {
        keep(peer, message, &header, plan.status);
        return;
    }
    if (peer->kept.is_there && id_equal(&peer->kept.header.id, &header.id)) {
        answer_kept(peer);
    }
    err code = perform(peer, ask, request, &body);
    peer->done[op] += code == ERR_ok && !ask->is_done;
    ask->is_done = ask->is_done || code == ERR_ok;
    if (plan.script == PEER_LOSES) {
        return;
    }
    if (code == ERR_ok) {
        send_reply(peer, message, &header, ERR_ok, body);
    } else {
        refuse(peer, message, &header, code);
    }
}

static void *
run(void *argument)
{
    struct scripted_peer *peer = argument;
    zmq_pollitem_t item = {.socket = zsock_resolve(peer->router), .events = ZMQ_POLLIN};
    for (int turn = 1; !atomic_load(&peer->is_ending); turn++) {
        struct message message;
        (void)zmq_poll(&item, 1, POLL_MS);
        if (turn % HEAD_TURNS == 0) {
            pthread_mutex_lock(&peer->lock);
            publish_head(peer);
            pthread_mutex_unlock(&peer->lock);
        }
        while (!atomic_load(&peer->is_paused) && message_receive(zsock_resolve(peer->router), true, &message) == MESSAGE_OK) {
            pthread_mutex_lock(&peer->lock);
            answer(peer, &message);
            pthread_mutex_unlock(&peer->lock);
            message_fini(&message);
        }
    }
    return NULL;
}

/* --- life --- */

/* By inproc: a test has one process, and no port of a second shard is kept for it. */
static zsock_t *
bind_socket(const char *actor, int shard, int type, enum endpoint_kind kind)
{
    char endpoint[ENDPOINT_MAX];
    zsock_t *socket = zsock_new(type);
    zsock_set_linger(socket, 0);
    zsock_set_sndhwm(socket, 10000);
    topology_inproc(actor, shard, kind, endpoint);
    cr_assert(zsock_bind(socket, "%s", endpoint) >= 0, "%s", endpoint);
    return socket;
}

struct scripted_peer *
scripted_peer_open(const char *actor, int shard)
{
    struct scripted_peer *peer = calloc(1, sizeof *peer);
    cr_assert(peer != NULL);
    topology_set_local(actor);
    pthread_mutex_init(&peer->lock, NULL);
    (void)snprintf(peer->actor, sizeof peer->actor, "%s", actor);
    (void)snprintf(peer->source, sizeof peer->source, "%s/%d", peer->actor, shard);
    (void)snprintf(peer->charges, sizeof peer->charges, "pending");
    (void)snprintf(peer->refunds, sizeof peer->refunds, "pending");
    peer->incarnation = id_of_bytes(peer->source, strlen(peer->source));
    peer->router = bind_socket(actor, shard, ZMQ_ROUTER, ENDPOINT_REQUESTS);
    peer->publisher = bind_socket(actor, shard, ZMQ_PUB, ENDPOINT_EVENTS);
    cr_assert(pthread_create(&peer->thread, NULL, run, peer) == 0);
    return peer;
}

void
scripted_peer_close(struct scripted_peer **peer)
{
    atomic_store(&(*peer)->is_ending, true);
    cr_assert(pthread_join((*peer)->thread, NULL) == 0);
    cr_assert(!(*peer)->kept.is_there, "what tarries was not asked again");
    zsock_destroy(&(*peer)->router);
    zsock_destroy(&(*peer)->publisher);
    arena_fini(&(*peer)->arena);
    pthread_mutex_destroy(&(*peer)->lock);
    free(*peer);
    *peer = NULL;
}

/* --- what the test says and sees --- */

void
scripted_peer_set(struct scripted_peer *peer, enum op op, enum peer_script script, err status, int times)
{
    pthread_mutex_lock(&peer->lock);
    peer->plans[op] = (struct plan){script, status, times};
    pthread_mutex_unlock(&peer->lock);
}

void
scripted_peer_pause(struct scripted_peer *peer, bool is_paused)
{
    atomic_store(&peer->is_paused, is_paused);
}

void
scripted_peer_forget_counts(struct scripted_peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    memset(peer->asked, 0, sizeof peer->asked);
    memset(peer->done, 0, sizeof peer->done);
    pthread_mutex_unlock(&peer->lock);
}

void
scripted_peer_set_money(struct scripted_peer *peer, const char *charges, const char *refunds)
{
    pthread_mutex_lock(&peer->lock);
    (void)snprintf(peer->charges, sizeof peer->charges, "%s", charges);
    (void)snprintf(peer->refunds, sizeof peer->refunds, "%s", refunds);
    pthread_mutex_unlock(&peer->lock);
}

int
scripted_peer_asked(struct scripted_peer *peer, enum op op)
{
    pthread_mutex_lock(&peer->lock);
    int asked = peer->asked[op];
    pthread_mutex_unlock(&peer->lock);
    return asked;
}

int
scripted_peer_done(struct scripted_peer *peer, enum op op)
{
    pthread_mutex_lock(&peer->lock);
    int done = peer->done[op];
    pthread_mutex_unlock(&peer->lock);
    return done;
}

struct id
scripted_peer_latest(struct scripted_peer *peer, enum op op)
{
    pthread_mutex_lock(&peer->lock);
    struct id latest = peer->latest[op];
    pthread_mutex_unlock(&peer->lock);
    return latest;
}

void
scripted_peer_latest_body(struct scripted_peer *peer, enum op op, void *body)
{
    struct err_text why = {""};
    pthread_mutex_lock(&peer->lock);
    cr_assert(wire_decode(wire_ops[op].request, peer->frames[op], body, &why) == ERR_ok, "%s", why.text);
    pthread_mutex_unlock(&peer->lock);
}

bool
scripted_peer_forgot_again(struct scripted_peer *peer)
{
    pthread_mutex_lock(&peer->lock);
    bool forgot_again = peer->forgot_again;
    pthread_mutex_unlock(&peer->lock);
    return forgot_again;
}

static int
count_holds(struct scripted_peer *peer, enum hold state)
{
    int count = 0;
    pthread_mutex_lock(&peer->lock);
    for (size_t i = 0; i < peer->ask_count; i++) {
        count += peer->asks[i].hold == state;
    }
    pthread_mutex_unlock(&peer->lock);
    return count;
}

int
scripted_peer_held(struct scripted_peer *peer)
{
    return count_holds(peer, HOLD_OPEN);
}

int
scripted_peer_sold(struct scripted_peer *peer)
{
    return count_holds(peer, HOLD_COMMITTED);
}
