/* SPDX-License-Identifier: MPL-2.0 */
/*
 * upstream: requests to the actors and the way back of their answers
 *
 * PURPOSE
 *   Sends a request to the actor and shard that owns it and finds the caller of each answer. Nothing is repeated here: whether to
 *   try again, with the same key, is the HTTP client's decision.
 *
 * MESSAGES
 *   out [request_header][body], in [reply_header][body], on a DEALER each; any.ping and every operation of routes.def.
 *
 * STATE
 *   Outstanding calls stand in a table by id and in a list by expiry. Several calls may have the same id at once (a client that
 *   repeats a keyed request while its first attempt is still waiting): an answer to a keyed request belongs to all of them, because
 *   some of their own answers may be lost, and the client may have left all but the last one.
 *
 * FAILURES
 *   A peer that nobody listens at takes no message (ZMQ_IMMEDIATE) and is `unavailable` at once. A peer that leaves with requests
 *   in hand is known by their deadlines. Answers that nobody waits for, or that cannot be read, are counted and dropped.
 *
 * LIMITS
 *   PEER_WINDOW outstanding requests per peer, below the ROUTERs' send mark, so that no answer is ever dropped for want of room.
 *   An answer that comes after its caller was told 504 may be handed to the repetition that waits by then: the same id and, as
 *   long as both are under way, the same body.
 */
#include "upstream.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include <czmq.h>

#include "hash.h"
#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "kit/settings/topology.h"

#define STOPPING "the gateway is being stopped"
#define PEER_WINDOW 4000
#define FLUSH_AT 16
#define SEND_MARK 4096
#define RECEIVE_MARK 8192
#define BUCKETS 4096

#define RECONNECT_MS 50
#define RECONNECT_MAX_MS 1000
#define LINGER_MS 200

struct peer {
    char name[32];
    const char *actor;
    int shard;
    bool is_local;
    zsock_t *socket;
    void *raw;
    int outstanding;
    struct link_pulse pulse;
    bool may_have; /* its descriptor was reported, or something was sent: only then is it worth a look */
};

struct upstream {
    struct peer peers[UPSTREAM_PEERS_MAX];
    int peer_count;
    struct upstream_call *buckets[BUCKETS];
    struct upstream_call *soonest;
    struct upstream_call *latest;
    struct upstream_call *unsent; /* the line for upstream_flush(), and where it ends */
    struct upstream_call **unsent_end;
    int unsent_count; /* at the most */
    bool is_shut;
    struct wire_buffer header;
    struct metric *late;
    struct metric *unreadable;
    struct metric *refused;
};

static const char *const actor_names[] = {
#define ACTOR(name, offset) #name,
#include "kit/settings/topology.def"
};

/* --- life --- */

static err
peer_watch(const struct peer *peer, int epoll_fd, uint32_t number, struct err_text *why)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, (int)zsock_fd(peer->socket), &event) != 0) {
        return err_say(why, ERR_internal, "cannot watch %s: %s", peer->name, strerror(errno));
    }
    return ERR_ok;
}

static err
peer_open(const struct settings *settings, const char *actor, int shard, struct peer *peer, struct err_text *why)
{
    char endpoint[ENDPOINT_MAX];
    topology_connect(settings, actor, shard, ENDPOINT_REQUESTS, endpoint);
    peer->actor = actor;
    peer->shard = shard;
    peer->is_local = topology_is_local(actor);
    (void)snprintf(peer->name, sizeof peer->name, "%s/%d", actor, shard);
    peer->socket = zsock_new(ZMQ_DEALER);
    if (peer->socket == NULL) {
        return err_say(why, ERR_internal, "no socket for %s: %s", peer->name, zmq_strerror(zmq_errno()));
    }
    zsock_set_immediate(peer->socket, 1);
    zsock_set_sndhwm(peer->socket, SEND_MARK);
    zsock_set_rcvhwm(peer->socket, RECEIVE_MARK);
    zsock_set_maxmsgsize(peer->socket, WIRE_FRAME_MAX);
    zsock_set_linger(peer->socket, LINGER_MS);
    link_notice_loss(peer->socket, LINK_GONE_MS);
    zsock_set_reconnect_ivl(peer->socket, RECONNECT_MS);
    zsock_set_reconnect_ivl_max(peer->socket, RECONNECT_MAX_MS);
    if (zsock_connect(peer->socket, "%s", endpoint) != 0) {
        return err_say(why, ERR_wrong_setting, "cannot connect to %s at %s: %s", peer->name, endpoint, zmq_strerror(zmq_errno()));
    }
    peer->raw = zsock_resolve(peer->socket);
    peer->may_have = true;
    return ERR_ok;
}

err
upstream_open(const struct settings *settings, int epoll_fd, struct upstream **upstream, struct err_text *why)
{
    struct upstream *made = memory_new(1, sizeof *made);
    made->unsent_end = &made->unsent;
    made->late = metric(METRIC_COUNTER, "larder_gateway_late_replies_total", "", "Answers that nobody waited for any more.");
    made->unreadable = metric(METRIC_COUNTER, "larder_gateway_unreadable_replies_total", "", "Answers that could not be read.");
    made->refused = metric(METRIC_COUNTER, "larder_gateway_unsent_requests_total", "", "Requests that no actor could take.");
    for (size_t i = 0; i < sizeof actor_names / sizeof *actor_names; i++) {
        int shards = topology_shards(settings, actor_names[i]);
        for (int shard = 0; shard < shards; shard++) {
            assert(made->peer_count < UPSTREAM_PEERS_MAX);
            struct peer *peer = &made->peers[made->peer_count++];
            err failed = peer_open(settings, actor_names[i], shard, peer, why);
            if (failed == ERR_ok) {
                failed = peer_watch(peer, epoll_fd, (uint32_t)(peer - made->peers), why);
            }
            if (failed != ERR_ok) {
                upstream_close(&made);
                return failed;
            }
        }
    }
    *upstream = made;
    return ERR_ok;
}

void
upstream_close(struct upstream **upstream)
{
    struct upstream *closed = *upstream;
    *upstream = NULL;
    if (closed == NULL) {
        return;
    }
    assert(closed->soonest == NULL);
    for (int i = 0; i < closed->peer_count; i++) {
        zsock_destroy(&closed->peers[i].socket);
    }
    wire_buffer_fini(&closed->header);
    free(closed);
}

/* --- peers --- */

int
upstream_peer(const struct upstream *upstream, const char *actor, int shard)
{
    for (int i = 0; i < upstream->peer_count; i++) {
        if (upstream->peers[i].shard == shard && strcmp(upstream->peers[i].actor, actor) == 0) {
            return i;
        }
    }
    return -1;
}

int
upstream_shards(const struct upstream *upstream, const char *actor)
{
    int shards = 0;
    while (upstream_peer(upstream, actor, shards) >= 0) {
        shards++;
    }
    return shards;
}

int
upstream_peer_count(const struct upstream *upstream)
{
    return upstream->peer_count;
}

const char *
upstream_peer_name(const struct upstream *upstream, int peer)
{
    return upstream->peers[peer].name;
}

bool
upstream_peer_is_local(const struct upstream *upstream, int peer)
{
    return upstream->peers[peer].is_local;
}

/* --- the table --- */

static void
forget_unsent(struct upstream *upstream, struct upstream_call *call);

static struct upstream_call **
bucket_of(struct upstream *upstream, const struct id *id)
{
    return &upstream->buckets[id_hash(id) % BUCKETS];
}

static uint64_t
fingerprint_of(const struct upstream_call *call)
{
    return hash_bytes(HASH_FIRST ^ (uint64_t)call->op, call->body.data, call->body.size);
}

static void
table_add(struct upstream *upstream, struct upstream_call *call)
{
    struct upstream_call **end = bucket_of(upstream, &call->id);
    while (*end != NULL) {
        end = &(*end)->next_in_bucket;
    }
    *end = call;
    call->next_in_bucket = NULL;

    struct upstream_call *before = upstream->latest;
    while (before != NULL && before->expires_us > call->expires_us) {
        before = before->sooner;
    }
    call->sooner = before;
    call->later = before != NULL ? before->later : upstream->soonest;
    *(before != NULL ? &before->later : &upstream->soonest) = call;
    *(call->later != NULL ? &call->later->sooner : &upstream->latest) = call;
    call->is_outstanding = true;
    upstream->peers[call->peer].outstanding++;
}

static void
table_remove(struct upstream *upstream, struct upstream_call *call)
{
    struct upstream_call **at = bucket_of(upstream, &call->id);
    while (*at != call) {
        at = &(*at)->next_in_bucket;
    }
    *at = call->next_in_bucket;
    *(call->sooner != NULL ? &call->sooner->later : &upstream->soonest) = call->later;
    *(call->later != NULL ? &call->later->sooner : &upstream->latest) = call->sooner;
    call->is_outstanding = false;
    upstream->peers[call->peer].outstanding--;
    if (call->is_unsent) {
        forget_unsent(upstream, call);
    }
}

static struct upstream_call *
table_find(struct upstream *upstream, const struct id *id, bool again, int peer)
{
    struct upstream_call *call = *bucket_of(upstream, id);
    while (call != NULL && !(id_equal(&call->id, id) && call->again == again && call->peer == peer)) {
        call = call->next_in_bucket;
    }
    return call;
}

static void
end_call(struct upstream *upstream, struct upstream_call *call, const struct upstream_reply *reply)
{
    table_remove(upstream, call);
    call->done(call, reply);
}

/* --- sending --- */

static void
write_header(struct upstream *upstream, const struct upstream_call *call)
{
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, call->id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[call->op].name));
    WIRE_SET(&header, request_header, deadline, clock_utc_ms() + call->timeout_ms);
    if (call->again) {
        WIRE_SET(&header, request_header, again, true);
    }
    if (call->traceparent.size > 0) {
        WIRE_SET(&header, request_header, traceparent, call->traceparent);
    }
    if (call->role.size > 0) {
        WIRE_SET(&header, request_header, role, call->role);
    }
    if (call->user != NULL) {
        WIRE_SET(&header, request_header, user, *call->user);
    }
    if (call->client.size > 0) {
        WIRE_SET(&header, request_header, peer, call->client);
    }
    if (call->secret.size > 0) {
        WIRE_SET(&header, request_header, secret, call->secret);
    }
    upstream->header.size = 0;
    wire_encode(&request_header_body, &header, &upstream->header);
}

err
upstream_send(struct upstream *upstream, struct upstream_call *call, struct err_text *why)
{
    struct peer *peer = &upstream->peers[call->peer];
    call->fingerprint = call->again ? fingerprint_of(call) : 0;
    if (upstream->is_shut) {
        return err_say(why, ERR_unavailable, STOPPING);
    }
    if (peer->outstanding >= PEER_WINDOW) {
        metric_add(upstream->refused, 1);
        return err_say(why, ERR_overloaded, "%s has %d requests to answer before this one", peer->name, peer->outstanding);
    }
    struct upstream_call *same = table_find(upstream, &call->id, call->again, call->peer);
    if (same != NULL && same->fingerprint != call->fingerprint) {
        return err_say(why, ERR_idempotency_mismatch, "another request with this key is being done right now");
    }
    call->expires_us = clock_steady_us() + call->timeout_ms * 1000;
    table_add(upstream, call);
    call->is_unsent = true;
    call->next_unsent = NULL;
    *upstream->unsent_end = call;
    upstream->unsent_end = &call->next_unsent;
    upstream->unsent_count++;
    return ERR_ok;
}

static struct upstream_call *
next_unsent(struct upstream *upstream)
{
    struct upstream_call *call = upstream->unsent;
    if (call != NULL) {
        call->is_unsent = false;
        upstream->unsent = call->next_unsent;
        upstream->unsent_end = upstream->unsent == NULL ? &upstream->unsent : upstream->unsent_end;
    }
    return call;
}

void
upstream_flush(struct upstream *upstream)
{
    upstream->unsent_count = 0;
    for (struct upstream_call *call = next_unsent(upstream); call != NULL; call = next_unsent(upstream)) {
        struct peer *peer = &upstream->peers[call->peer];
        write_header(upstream, call);
        peer->may_have = true;
        enum message_sent sent = message_send(peer->raw, wire_buffer_slice(&upstream->header), call->body);
        if (sent == MESSAGE_UNSAID) {
            log_error("cannot_be_said", LOG_TEXT("op", wire_ops[call->op].name), LOG_ID("req", &call->id));
            end_call(upstream, call, &(struct upstream_reply){.status = ERR_internal, .why = err_words(ERR_internal)});
        } else if (sent != MESSAGE_SENT) {
            metric_add(upstream->refused, 1);
            char why[sizeof peer->name + 16];
            snprintf(why, sizeof why, "%s is not there", peer->name);
            end_call(upstream, call, &(struct upstream_reply){.status = ERR_unavailable, .why = why});
        }
    }
}

/* Out of the line, when it ends before it was sent. */
static void
forget_unsent(struct upstream *upstream, struct upstream_call *call)
{
    struct upstream_call **at = &upstream->unsent;
    while (*at != call) {
        at = &(*at)->next_unsent;
    }
    *at = call->next_unsent;
    upstream->unsent_end = *at == NULL ? at : upstream->unsent_end;
    call->is_unsent = false;
}

void
upstream_flush_many(struct upstream *upstream)
{
    if (upstream->unsent_count >= FLUSH_AT) {
        upstream_flush(upstream);
    }
}

bool
upstream_has_unsent(const struct upstream *upstream)
{
    return upstream->unsent != NULL;
}

void
upstream_cancel(struct upstream *upstream, struct upstream_call *call)
{
    if (call->is_outstanding) {
        table_remove(upstream, call);
    }
}

/* --- receiving --- */

void
upstream_mark(struct upstream *upstream, uint32_t peer)
{
    upstream->peers[peer].may_have = true;
}

/* What an answer's status means; a symbol that this version does not know is somebody's bug. */
static err
status_of(const struct wire_reply_header *header, const struct peer *peer)
{
    err status = err_find((const char *)header->status.data, header->status.size);
    if (status != ERR_COUNT) {
        return status;
    }
    log_error("unknown_status", LOG_TEXT("peer", peer->name), LOG_SLICE("status", header->status), LOG_ID("req", &header->id));
    return ERR_internal;
}

static void
take_reply(struct upstream *upstream, int peer, struct message *message)
{
    struct err_text why;
    struct wire_reply_header header;
    err failed = wire_decode(&reply_header_body, message_header(message), &header, &why);
    if (failed == ERR_ok && header.v != WIRE_VERSION) {
        failed = err_say(&why, ERR_unknown_version, "version %lld", (long long)header.v);
    }
    if (failed != ERR_ok) {
        metric_add(upstream->unreadable, 1);
        log_error("unreadable_reply", LOG_TEXT("peer", upstream->peers[peer].name), LOG_TEXT("why", why.text));
        return;
    }
    link_heard(&upstream->peers[peer].pulse, clock_steady_us() / 1000);
    bool again = WIRE_HAS(&header, reply_header, again) && header.again;
    struct upstream_call *call = table_find(upstream, &header.id, again, peer);
    if (call == NULL) {
        metric_add(upstream->late, 1);
        log_debug("late_reply", LOG_TEXT("peer", upstream->peers[peer].name), LOG_ID("req", &header.id));
        return;
    }
    struct upstream_reply reply = {
        .status = status_of(&header, &upstream->peers[peer]),
        .is_replayed = WIRE_HAS(&header, reply_header, replayed) && header.replayed,
        .body = message_body(message),
    };
    do {
        end_call(upstream, call, &reply);
        call = again ? table_find(upstream, &header.id, again, peer) : NULL;
    } while (call != NULL);
}

static void
receive_from(struct upstream *upstream, int peer)
{
    enum message_result result = MESSAGE_OK;
    upstream->peers[peer].may_have = false;
    while (result == MESSAGE_OK || result == MESSAGE_BROKEN) {
        struct message message;
        result = message_receive(upstream->peers[peer].raw, false, &message);
        if (result == MESSAGE_OK) {
            take_reply(upstream, peer, &message);
        } else if (result == MESSAGE_BROKEN) {
            metric_add(upstream->unreadable, 1);
            log_error("unreadable_reply", LOG_TEXT("peer", upstream->peers[peer].name), LOG_TEXT("why", "not two frames"));
        }
        message_fini(&message);
    }
}

void
upstream_receive(struct upstream *upstream)
{
    for (int i = 0; i < upstream->peer_count; i++) {
        if (upstream->peers[i].may_have) {
            receive_from(upstream, i);
        }
    }
}

/* --- time --- */

void
upstream_expire(struct upstream *upstream, int64_t now_us)
{
    const struct upstream_reply reply = {.status = ERR_deadline_exceeded, .why = "the actor did not answer in time"};
    while (upstream->soonest != NULL && upstream->soonest->expires_us <= now_us) {
        struct peer *peer = &upstream->peers[upstream->soonest->peer];
        if (link_missed(peer->socket, &peer->pulse, now_us / 1000)) {
            log_warn("peer_silent", LOG_TEXT("peer", peer->name), LOG_TEXT("now", "it is connected anew"));
            peer->may_have = true;
        }
        end_call(upstream, upstream->soonest, &reply);
    }
}

int64_t
upstream_next_expiry_us(const struct upstream *upstream)
{
    return upstream->soonest != NULL ? upstream->soonest->expires_us : INT64_MAX;
}

void
upstream_fail_all(struct upstream *upstream)
{
    upstream->is_shut = true;
    const struct upstream_reply reply = {.status = ERR_unavailable, .why = STOPPING};
    while (upstream->soonest != NULL) {
        end_call(upstream, upstream->soonest, &reply);
    }
}
