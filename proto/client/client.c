/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Asks actors: one request at a time, or many under way. An attempt that hears nothing, or RETRY, is followed by another with the
 *   same id and again = true, at the peer's next address if it has several, until an answer is final or the time is over.
 *
 * STATE
 *   Per request one slot: its encoded body, what it waits for, and, once finished, the answer until it is given to the caller. A slot
 *   is UNSENT (no address takes it), SENT, PAUSED (before another attempt) or DONE. Slots and their buffers are made once and used
 *   again, so nothing is allocated per request.
 *
 * FAILURES
 *   An ok is believed from any attempt. A refusal is believed when its `again` is that of the latest attempt: what the first one is
 *   told after a second went out may be older than what the second did. No answer in time is ERR_deadline_exceeded, and
 *   ERR_unavailable if nothing ever left this process. Answers that nobody waits for are counted and dropped.
 *
 * LIMITS
 *   LARDER_WINDOW requests per peer. One thread.
 */
#include "larder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "link.h"
#include "message.h"
#include "pending.h"

#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 1000
#define TIMEOUT_MOST_MS INT64_C(31536000000) /* a year */
#define DRAIN_MAX 256
#define NEVER INT64_MAX

struct address {
    zsock_t *dealer;
    void *socket;
    struct link_pulse pulse;
};

struct peer {
    int first; /* of its addresses in the client's */
    int count;
    int current; /* 0..count-1: where requests go first */
    int pending; /* requests that are not done */
    int unsent;  /* of these, UNSENT ones */
};

enum slot_state { SLOT_UNSENT, SLOT_SENT, SLOT_PAUSED, SLOT_DONE };

struct slot {
    enum slot_state state;
    enum op op;
    struct id id;
    uint64_t tag;
    int shard;
    bool again;   /* the caller's: on the first attempt too */
    bool unknown; /* an attempt went out and was not answered */
    int attempts; /* that went out */
    int attempts_max;
    int64_t attempt_ms;
    int64_t deadline_utc_ms;
    int64_t deadline_ms; /* the same, steady */
    int64_t due_ms;      /* when its state ends by itself */
    int64_t started_us;
    struct wire_buffer bytes; /* traceparent, auth, body, one after the other */
    size_t traceparent_size;
    size_t auth_size;
    zmq_msg_t answer; /* of a DONE one: the reply's body */
    bool has_answer;
    err status; /* the latest heard; ERR_COUNT before */
    bool replayed;
    const char *detail; /* in our own words, when there is no answer */
    int32_t next_done;
};

struct larder_client {
    struct address *addresses;
    zmq_pollitem_t *items; /* one per address */
    int address_count;
    struct peer *peers;
    int peer_count;
    struct pending pending;
    struct slot *slots;
    int32_t first_done; /* the finished, oldest first */
    int32_t last_done;
    int done;
    int unsent;
    int64_t next_due_ms; /* not later than that of any slot */
    int64_t strays;
    uint64_t jitter;
    struct err_text unsaid; /* why the last request was refused here; empty: it was not for what it says */
    struct wire_buffer header;
    zmq_msg_t given; /* the body that the caller was shown */
};

/* --- life --- */

static void *
allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

/* Connects to every address of one peer. */
static err
connect_peer(struct larder_client *client, const char *endpoints, struct peer *peer, struct err_text *why)
{
    peer->first = client->address_count;
    while (*endpoints != '\0') {
        size_t size = strcspn(endpoints, ",");
        char endpoint[640];
        if (size == 0 || size >= sizeof endpoint || peer->count == LARDER_ADDRESSES_MAX) {
            return err_say(why, ERR_wrong_setting, "%.200s: an address is empty or too long, or there are too many", endpoints);
        }
        memcpy(endpoint, endpoints, size);
        endpoint[size] = '\0';
        struct address *address = &client->addresses[client->address_count];
        err status = link_requests(endpoint, &address->dealer, why);
        if (status != ERR_ok) {
            return status;
        }
        address->socket = zsock_resolve(address->dealer);
        client->items[client->address_count].socket = address->socket;
        client->address_count++;
        peer->count++;
        endpoints += size + (endpoints[size] == ',' ? 1 : 0);
    }
    return peer->count > 0 ? ERR_ok : err_say(why, ERR_wrong_setting, "there is no address to connect to");
}

err
larder_client_create(const char *const *peers, int count, struct larder_client **out, struct err_text *why)
{
    if (count < 1 || count > LARDER_PEERS_MAX) {
        return err_say(why, ERR_wrong_setting, "there must be 1 to %d peers, not %d", LARDER_PEERS_MAX, count);
    }
    struct larder_client *client = allocate(1, sizeof *client);
    client->peer_count = count;
    client->peers = allocate((size_t)count, sizeof *client->peers);
    client->addresses = allocate((size_t)count * LARDER_ADDRESSES_MAX, sizeof *client->addresses);
    client->items = allocate((size_t)count * LARDER_ADDRESSES_MAX, sizeof *client->items);
    client->slots = allocate((size_t)count * LARDER_WINDOW, sizeof *client->slots);
    pending_init(&client->pending, count * LARDER_WINDOW);
    zmq_msg_init(&client->given);
    client->first_done = PENDING_NONE;
    client->last_done = PENDING_NONE;
    client->next_due_ms = NEVER;
    struct id seed = id_new();
    memcpy(&client->jitter, seed.bytes + 8, sizeof client->jitter);
    for (int i = 0; i < count; i++) {
        err status = connect_peer(client, peers[i], &client->peers[i], why);
        if (status != ERR_ok) {
            larder_client_destroy(&client);
            return status;
        }
    }
    *out = client;
    return ERR_ok;
}

void
larder_client_destroy(struct larder_client **client)
{
    struct larder_client *last = *client;
    if (last == NULL) {
        return;
    }
    for (int32_t i = 0; i < last->pending.capacity; i++) {
        if (last->slots[i].has_answer) {
            zmq_msg_close(&last->slots[i].answer);
        }
        wire_buffer_fini(&last->slots[i].bytes);
    }
    for (int i = 0; i < last->address_count; i++) {
        zsock_destroy(&last->addresses[i].dealer);
    }
    zmq_msg_close(&last->given);
    wire_buffer_fini(&last->header);
    pending_fini(&last->pending);
    free(last->slots);
    free(last->items);
    free(last->addresses);
    free(last->peers);
    free(last);
    *client = NULL;
}

int
larder_client_pending(const struct larder_client *client)
{
    return client->pending.count;
}

int64_t
larder_client_strays(const struct larder_client *client)
{
    return client->strays;
}

/* --- slots --- */

static void
wake_at(struct larder_client *client, struct slot *slot, int64_t due_ms)
{
    slot->due_ms = due_ms < slot->deadline_ms ? due_ms : slot->deadline_ms;
    if (slot->due_ms < client->next_due_ms) {
        client->next_due_ms = slot->due_ms;
    }
}

static void
enter(struct larder_client *client, struct slot *slot, enum slot_state state)
{
    int change = (state == SLOT_UNSENT) - (slot->state == SLOT_UNSENT);
    client->unsent += change;
    client->peers[slot->shard].unsent += change;
    slot->state = state;
}

/* The outcome is known, or will not be. */
static void
finish(struct larder_client *client, struct slot *slot, err status, const char *detail)
{
    assert(slot->state != SLOT_DONE);
    enter(client, slot, SLOT_DONE);
    slot->status = status;
    slot->detail = detail;
    slot->next_done = PENDING_NONE;
    int32_t number = (int32_t)(slot - client->slots);
    if (client->last_done == PENDING_NONE) {
        client->first_done = number;
    } else {
        client->slots[client->last_done].next_done = number;
    }
    client->last_done = number;
    client->done++;
    client->peers[slot->shard].pending--;
}

/* Time or attempts are used up. What was last heard is the outcome only if no attempt went unanswered. */
static void
give_up(struct larder_client *client, struct slot *slot)
{
    if (slot->attempts == 0) {
        finish(client, slot, ERR_unavailable, "there was no connection, nothing was sent");
    } else if (slot->unknown || slot->status == ERR_COUNT) {
        finish(client, slot, ERR_deadline_exceeded, "no answer came in time; it is not known whether it was done");
    } else {
        finish(client, slot, slot->status, "every attempt was told to come again later");
    }
}

static int64_t
backoff_ms(struct larder_client *client, int attempts)
{
    int64_t pause_ms = attempts < 6 ? (int64_t)BACKOFF_FIRST_MS << (attempts - 1) : BACKOFF_MAX_MS;
    if (pause_ms > BACKOFF_MAX_MS) {
        pause_ms = BACKOFF_MAX_MS;
    }
    client->jitter = client->jitter * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return pause_ms * 3 / 4 + (int64_t)((client->jitter >> 33) % (uint64_t)(pause_ms / 2));
}

/* --- sending --- */

static bool
encode_header(struct larder_client *client, const struct slot *slot)
{
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, slot->id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[slot->op].name));
    WIRE_SET(&header, request_header, deadline, slot->deadline_utc_ms);
    if (slot->again || slot->attempts > 0) {
        WIRE_SET(&header, request_header, again, true);
    }
    if (slot->traceparent_size > 0) {
        WIRE_SET(&header, request_header, traceparent, (struct slice){slot->bytes.data, slot->traceparent_size});
    }
    if (slot->auth_size > 0) {
        WIRE_SET(&header, request_header, auth, (struct slice){slot->bytes.data + slot->traceparent_size, slot->auth_size});
    }
    client->header.size = 0;
    return wire_encode(&request_header_body, &header, &client->header);
}

static struct slice
body_of(const struct slot *slot)
{
    size_t before = slot->traceparent_size + slot->auth_size;
    return (struct slice){slot->bytes.data + before, slot->bytes.size - before};
}

/* One attempt, at the first address of the peer that takes it; none does: the slot is UNSENT. */
static void
attempt(struct larder_client *client, struct slot *slot, int64_t now_ms)
{
    struct peer *peer = &client->peers[slot->shard];
    bool is_encoded = encode_header(client, slot);
    for (int i = 0; is_encoded && i < peer->count; i++) {
        int which = (peer->current + i) % peer->count;
        struct address *address = &client->addresses[peer->first + which];
        if (message_send(address->socket, wire_buffer_slice(&client->header), body_of(slot)) == MESSAGE_SENT) {
            peer->current = which;
            slot->attempts++;
            enter(client, slot, SLOT_SENT);
            wake_at(client, slot, now_ms + slot->attempt_ms);
            return;
        }
    }
    if (slot->state != SLOT_UNSENT) {
        enter(client, slot, SLOT_UNSENT);
    }
    wake_at(client, slot, slot->deadline_ms);
}

static void
move_on(struct peer *peer)
{
    peer->current = (peer->current + 1) % peer->count;
}

/* What a slot does when its time has come. */
static void
expire(struct larder_client *client, struct slot *slot, int64_t now_ms)
{
    if (slot->state == SLOT_SENT) {
        struct peer *peer = &client->peers[slot->shard];
        struct address *address = &client->addresses[peer->first + peer->current];
        slot->unknown = true;
        (void)link_missed(address->dealer, &address->pulse, now_ms);
        move_on(&client->peers[slot->shard]);
    }
    if (now_ms >= slot->deadline_ms || slot->attempts >= slot->attempts_max) {
        give_up(client, slot);
    } else {
        attempt(client, slot, now_ms);
    }
}

static bool
is_under_way(const struct larder_client *client, int32_t number)
{
    return pending_is_taken(&client->pending, number) && client->slots[number].state != SLOT_DONE;
}

static void
run_timers(struct larder_client *client, int64_t now_ms)
{
    if (now_ms < client->next_due_ms) {
        return;
    }
    client->next_due_ms = NEVER;
    for (int32_t i = 0; i < client->pending.capacity; i++) {
        if (!is_under_way(client, i)) {
            continue;
        }
        struct slot *slot = &client->slots[i];
        if (now_ms >= slot->due_ms) {
            expire(client, slot, now_ms);
        } else {
            wake_at(client, slot, slot->due_ms);
        }
    }
}

static void
send_unsent(struct larder_client *client, int64_t now_ms)
{
    for (int32_t i = 0; client->unsent > 0 && i < client->pending.capacity; i++) {
        if (is_under_way(client, i) && client->slots[i].state == SLOT_UNSENT) {
            attempt(client, &client->slots[i], now_ms);
        }
    }
}

/* Other than ERR_ok: the body, or what goes into the header, is not as the tables have it. */
static err
keep_bytes(struct larder_client *client, struct slot *slot, const struct larder_request *request)
{
    const struct larder_options *options = &request->options;
    slot->bytes.size = 0;
    slot->traceparent_size = options->traceparent.size;
    slot->auth_size = options->auth.size;
    wire_buffer_append(&slot->bytes, options->traceparent.data, options->traceparent.size);
    wire_buffer_append(&slot->bytes, options->auth.data, options->auth.size);
    if (request->body == NULL) {
        wire_buffer_append(&slot->bytes, request->frame.data, request->frame.size);
    } else if (!wire_encode(wire_ops[request->op].request, request->body, &slot->bytes)) {
        return wire_fault_say(&client->unsaid, wire_fault()->field == NULL ? ERR_too_large : ERR_invalid_field);
    }
    if (body_of(slot).size > WIRE_FRAME_MAX) {
        return ERR_too_large;
    }
    return encode_header(client, slot) ? ERR_ok : wire_fault_say(&client->unsaid, ERR_invalid_field);
}

static err
check(const struct larder_client *client, const struct larder_request *request)
{
    const struct larder_options *options = &request->options;
    if (request->op >= OP_COUNT || options->shard < 0 || options->shard >= client->peer_count ||
        (request->body == NULL && request->frame.size == 0)) {
        return ERR_invalid_field;
    }
    if (client->peers[options->shard].pending == LARDER_WINDOW || client->pending.count == client->pending.capacity) {
        return ERR_overloaded;
    }
    return pending_find(&client->pending, &options->id) == PENDING_NONE ? ERR_ok : ERR_idempotency_mismatch;
}

/* No longer than a deadline can say. */
static int64_t
or_default(int64_t value, int64_t fallback)
{
    return value <= 0 ? fallback : value > TIMEOUT_MOST_MS ? TIMEOUT_MOST_MS : value;
}

static err
submit(struct larder_client *client, const struct larder_request *request, int32_t *out)
{
    err status = check(client, request);
    client->unsaid.text[0] = '\0';
    if (status != ERR_ok) {
        return status;
    }
    const struct larder_options *options = &request->options;
    struct id id = id_is_zero(&options->id) ? id_new() : options->id;
    int32_t number = pending_add(&client->pending, &id);
    struct slot *slot = &client->slots[number];
    int64_t timeout_ms = or_default(options->timeout_ms, LARDER_TIMEOUT_MS);
    int64_t now_us = link_steady_us();
    *slot = (struct slot){
        .state = SLOT_PAUSED,
        .op = request->op,
        .id = id,
        .tag = request->tag,
        .shard = options->shard,
        .again = options->again,
        .attempts_max = options->attempts > 0 ? options->attempts : INT32_MAX,
        .attempt_ms = or_default(options->attempt_ms, LARDER_ATTEMPT_MS),
        .deadline_utc_ms = link_utc_ms() + timeout_ms,
        .deadline_ms = now_us / 1000 + timeout_ms,
        .started_us = now_us,
        .bytes = slot->bytes,
        .status = ERR_COUNT,
    };
    if (slot->attempts_max == 1) {
        slot->attempt_ms = timeout_ms;
    }
    status = keep_bytes(client, slot, request);
    if (status != ERR_ok) {
        pending_remove(&client->pending, number);
        return status;
    }
    client->peers[slot->shard].pending++;
    attempt(client, slot, now_us / 1000);
    *out = number;
    return ERR_ok;
}

err
larder_client_send(struct larder_client *client, const struct larder_request *request)
{
    int32_t number = PENDING_NONE;
    return submit(client, request, &number);
}

/* --- receiving --- */

/* RETRY: the same again after a pause, elsewhere if there is an elsewhere. */
static void
put_off(struct larder_client *client, struct slot *slot, err status, int64_t now_ms)
{
    slot->status = status;
    move_on(&client->peers[slot->shard]);
    enter(client, slot, SLOT_PAUSED);
    wake_at(client, slot, now_ms + backoff_ms(client, slot->attempts));
}

static err
status_of(const struct wire_reply_header *header)
{
    if (header->v != WIRE_VERSION) {
        return ERR_unknown_version;
    }
    err status = err_find((const char *)header->status.data, header->status.size);
    return status == ERR_COUNT ? ERR_internal : status;
}

/* One reply. Takes its body over if it is the outcome of a slot. */
static void
hear(struct larder_client *client, struct message *message, int64_t now_ms)
{
    struct wire_reply_header header;
    int32_t number = PENDING_NONE;
    if (wire_decode(&reply_header_body, message_header(message), &header, NULL) == ERR_ok) {
        number = pending_find(&client->pending, &header.id);
    }
    if (number == PENDING_NONE || client->slots[number].state == SLOT_DONE) {
        client->strays++;
        return;
    }
    struct slot *slot = &client->slots[number];
    err status = status_of(&header);
    bool is_of_latest = header.again == (slot->again || slot->attempts > 1);
    bool is_last = slot->attempts >= slot->attempts_max;
    if (status != ERR_ok && (!is_of_latest || slot->state != SLOT_SENT)) {
        client->strays++;
    } else if (err_disposition(status) == ERR_RETRY && !is_last) {
        put_off(client, slot, status, now_ms);
    } else {
        slot->replayed = header.replayed;
        slot->has_answer = true;
        zmq_msg_init(&slot->answer);
        zmq_msg_move(&slot->answer, &message->body);
        finish(client, slot, status, NULL);
    }
}

static void
drain(struct larder_client *client, int64_t now_ms)
{
    for (int i = 0; i < client->address_count; i++) {
        for (int taken = 0; taken < DRAIN_MAX; taken++) {
            struct message message;
            enum message_result result = message_receive(client->addresses[i].socket, false, &message);
            if (result == MESSAGE_OK) {
                link_heard(&client->addresses[i].pulse, now_ms);
                hear(client, &message, now_ms);
            } else if (result == MESSAGE_BROKEN) {
                client->strays++;
            }
            message_fini(&message);
            if (result == MESSAGE_NONE || result == MESSAGE_CLOSED) {
                break;
            }
        }
    }
}

/* Waits for the first of: something to read, room for what is unsent, a timer, `until_ms`. */
static void
wait_until(struct larder_client *client, int64_t until_ms)
{
    int64_t now_ms = link_steady_ms();
    int64_t wake_ms = client->next_due_ms < until_ms ? client->next_due_ms : until_ms;
    long wait_ms = wake_ms > now_ms ? (long)(wake_ms - now_ms) : 0;
    for (int i = 0; i < client->peer_count; i++) {
        const struct peer *peer = &client->peers[i];
        for (int j = peer->first; j < peer->first + peer->count; j++) {
            client->items[j].events = (short)(peer->unsent > 0 ? ZMQ_POLLIN | ZMQ_POLLOUT : ZMQ_POLLIN);
        }
    }
    if (zmq_poll(client->items, client->address_count, wait_ms) > 0 && client->unsent > 0) {
        send_unsent(client, link_steady_ms());
    }
}

static void
work(struct larder_client *client)
{
    int64_t now_ms = link_steady_ms();
    drain(client, now_ms);
    run_timers(client, now_ms);
}

static void
unlink_done(struct larder_client *client, int32_t number)
{
    int32_t before = PENDING_NONE;
    int32_t at = client->first_done;
    while (at != number) {
        before = at;
        at = client->slots[at].next_done;
    }
    int32_t next = client->slots[number].next_done;
    if (before == PENDING_NONE) {
        client->first_done = next;
    } else {
        client->slots[before].next_done = next;
    }
    if (client->last_done == number) {
        client->last_done = before;
    }
    client->done--;
}

static void
read_problem(struct larder_reply *reply, const char *detail)
{
    if (detail == NULL && wire_decode(&problem_body, reply->frame, &reply->problem, NULL) == ERR_ok) {
        return;
    }
    reply->problem = (struct wire_problem){0};
    WIRE_SET(&reply->problem, problem, detail, slice_of(detail != NULL ? detail : "the refusal's own words cannot be read"));
}

/* Shows the caller what came, and frees the slot. */
static void
give(struct larder_client *client, int32_t number, struct larder_reply *reply)
{
    struct slot *slot = &client->slots[number];
    *reply = (struct larder_reply){
        .status = slot->status,
        .replayed = slot->replayed,
        .was_sent = slot->attempts > 0,
        .attempts = slot->attempts,
        .op = slot->op,
        .id = slot->id,
        .tag = slot->tag,
        .waited_us = link_steady_us() - slot->started_us,
    };
    if (slot->has_answer) {
        zmq_msg_move(&client->given, &slot->answer);
        zmq_msg_close(&slot->answer);
        slot->has_answer = false;
        reply->frame = (struct slice){zmq_msg_data(&client->given), zmq_msg_size(&client->given)};
    }
    if (reply->status != ERR_ok) {
        read_problem(reply, slot->detail);
    }
    unlink_done(client, number);
    pending_remove(&client->pending, number);
}

err
larder_client_receive(struct larder_client *client, int64_t timeout_ms, struct larder_reply *reply)
{
    int64_t until_ms = link_steady_ms() + timeout_ms;
    while (client->first_done == PENDING_NONE) {
        work(client);
        if (client->first_done != PENDING_NONE) {
            break;
        }
        if (client->pending.count == 0 || link_steady_ms() >= until_ms) {
            return ERR_deadline_exceeded;
        }
        wait_until(client, until_ms);
    }
    give(client, client->first_done, reply);
    return ERR_ok;
}

err
larder_client_call(struct larder_client *client, const struct larder_request *request, struct larder_reply *reply)
{
    int32_t number = PENDING_NONE;
    err status = submit(client, request, &number);
    if (status != ERR_ok) {
        *reply = (struct larder_reply){.status = status, .op = request->op, .id = request->options.id, .tag = request->tag};
        read_problem(reply, client->unsaid.text[0] != '\0' ? client->unsaid.text : "the client itself refused to send it");
        return status;
    }
    while (client->slots[number].state != SLOT_DONE) {
        wait_until(client, NEVER);
        work(client);
    }
    give(client, number, reply);
    return reply->status;
}

err
larder_reply_decode(const struct larder_reply *reply, void *target, struct err_text *why)
{
    return wire_decode(wire_ops[reply->op].reply, reply->frame, target, why);
}

/* --- routing --- */

static const struct wire_field *
find_field(const struct wire_body *body, const char *name, uint64_t has)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if (strcmp(body->fields[i].name, name) == 0) {
            return has >> i & 1U ? &body->fields[i] : NULL;
        }
    }
    return NULL;
}

static const void *
value_of(const struct wire_field *field, const void *source)
{
    return (const char *)source + field->offset;
}

/* The product of a body, or of the first of its lines; empty when it names none. */
static struct slice
product_of(const struct wire_body *body, const void *source)
{
    uint64_t has = 0;
    memcpy(&has, source, sizeof has);
    struct slice product = {0};
    const struct wire_field *field = find_field(body, "product", has);
    const struct wire_field *lines = find_field(body, "lines", has);
    if (field != NULL) {
        memcpy(&product, value_of(field, source), sizeof product);
    } else if (lines != NULL) {
        struct wire_list list;
        struct wire_stock_line line;
        memcpy(&list, value_of(lines, source), sizeof list);
        assert(lines->element == &stock_line_body);
        if (wire_list_next(&list, lines->element, &line)) {
            product = line.product;
        }
    }
    return product;
}

err
larder_route(enum op op, const void *body, int shards, int *shard, struct err_text *why)
{
    if ((wire_ops[op].traits & OP_ROUTED) == 0 || shards == 1) {
        *shard = 0;
        return ERR_ok;
    }
    struct slice product = product_of(wire_ops[op].request, body);
    if (product.size == 0) {
        return err_say(why, ERR_invalid_field, "%s.product: needed, it says which of %d shards", wire_ops[op].request->name, shards);
    }
    *shard = wire_shard_of(product, shards);
    return ERR_ok;
}

err
larder_client_exchange(struct larder_client *client, const struct larder_options *options, const struct larder_exchange *exchange,
                       struct err_text *why)
{
    struct larder_request request = {.op = exchange->op, .body = exchange->body};
    if (options != NULL) {
        request.options = *options;
    }
    if ((wire_ops[exchange->op].traits & OP_ROUTED) != 0) {
        err routed = larder_route(exchange->op, exchange->body, client->peer_count, &request.options.shard, why);
        if (routed != ERR_ok) {
            return routed;
        }
    }
    struct larder_reply reply;
    err status = larder_client_call(client, &request, &reply);
    if (status != ERR_ok) {
        return err_say(why, status, "%.*s", (int)reply.problem.detail.size, (const char *)reply.problem.detail.data);
    }
    return exchange->answer == NULL ? ERR_ok : larder_reply_decode(&reply, exchange->answer, why);
}

#define OP(owner, verb, request, reply, traits, doc)                                                                                 \
    err owner##_client_##verb(struct larder_client *client, const struct larder_options *options, const struct wire_##request *body, \
                              struct wire_##reply *answer, struct err_text *why)                                                     \
    {                                                                                                                                \
        struct larder_exchange exchange = {.op = OP_##owner##_##verb, .body = body, .answer = answer};                               \
        return larder_client_exchange(client, options, &exchange, why);                                                              \
    }
#include "messages.def"
