/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Requests of one actor to others, without waiting: sent after the commit, matched with their replies by id and `again`,
 *           given up at their deadline.
 *
 * STATE     Asks lie in a slab; those under one id (two attempts of the same request) hang together in a list behind the id's slot
 *           in `pending`. `unsent` are those whose outcome is known without a reply.
 *
 * FAILURES  A peer that is not connected takes nothing (ZMQ_IMMEDIATE): ERR_unavailable at once. A peer that dies with our request
 *           in its queue: ERR_deadline_exceeded. A reply nobody waits for is dropped and counted. A reply that cannot be read is
 *           counted; its ask ends by its deadline. An outcome that its owner could not handle comes again, at once or later: none is
 *           dropped.
 *
 * LIMITS    ASKS_MAX under way; one more is ERR_overloaded. The slab grows for those that were not sent, whose outcomes are taken out
 *           batch by batch.
 */
#include "asks.h"

#include <assert.h>
#include <stdlib.h>

#include <czmq.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "pending.h"
#include "kit/settings/topology.h"
#include "kit/base/wakeup.h"

enum { PEERS_MAX = 64, ASKS_MAX = 16384, SLAB = ASKS_MAX + 8192, NONE = -1 };

struct peer {
    char actor[WIRE_NAME_MAX + 1];
    int shard;
    zsock_t *dealer;
    void *raw;
    struct wake_source source;
    struct link_pulse pulse;
};

struct entry {
    struct ask_sent ask;
    err failure;       /* of an unsent one */
    int64_t later_ms;  /* of one that is put off: not before */
    int32_t next;      /* in the list of its id, of the free ones, of the unsent ones, or of those that are put off */
    bool is_taken;     /* waits for a reply */
    struct peer *peer; /* of such a one */
};

struct asks {
    const struct settings *settings;
    int wakeup_fd;
    struct peer peers[PEERS_MAX];
    size_t peer_count;
    size_t turn; /* which peer is looked at first */
    struct entry *entries;
    int32_t used;     /* of the slab, ever */
    int32_t capacity; /* of the slab */
    int32_t free;
    int32_t unsent;
    int32_t put_off;
    int32_t *first; /* per slot of `pending`: first entry of the id */
    struct pending pending;
    size_t count;
    int64_t next_ms;  /* lower bound of the deadlines under way */
    int64_t later_ms; /* when the first that is put off comes */
    struct metric *strays;
};

struct asks *
asks_create(const struct settings *settings, int wakeup_fd)
{
    struct asks *asks = memory_new(1, sizeof *asks);
    struct entry *entries = memory_new(SLAB, sizeof *entries);
    int32_t *first = memory_new(ASKS_MAX, sizeof *first);
    *asks = (struct asks){.settings = settings,
                          .wakeup_fd = wakeup_fd,
                          .capacity = SLAB,
                          .entries = entries,
                          .first = first,
                          .free = NONE,
                          .unsent = NONE,
                          .put_off = NONE,
                          .next_ms = INT64_MAX,
                          .later_ms = INT64_MAX};
    pending_init(&asks->pending, ASKS_MAX);
    asks->strays = metric(METRIC_COUNTER, "larder_stray_replies_total", "", "Replies that came when nobody waited for them any more.");
    return asks;
}

void
asks_destroy(struct asks **asks)
{
    if (*asks == NULL) {
        return;
    }
    for (size_t i = 0; i < (*asks)->peer_count; i++) {
        zsock_destroy(&(*asks)->peers[i].dealer);
    }
    pending_fini(&(*asks)->pending);
    free((*asks)->entries);
    free((*asks)->first);
    free(*asks);
    *asks = NULL;
}

static struct peer *
find_peer(struct asks *asks, const char *actor, int shard)
{
    for (size_t i = 0; i < asks->peer_count; i++) {
        if (asks->peers[i].shard == shard && strcmp(asks->peers[i].actor, actor) == 0) {
            return &asks->peers[i];
        }
    }
    return NULL;
}

static struct peer *
connect_peer(struct asks *asks, const char *actor, int shard)
{
    struct peer *found = find_peer(asks, actor, shard);
    if (found != NULL) {
        return found;
    }
    assert(asks->peer_count < PEERS_MAX);
    struct peer *peer = &asks->peers[asks->peer_count];
    *peer = (struct peer){.shard = shard};
    snprintf(peer->actor, sizeof peer->actor, "%s", actor);
    char endpoint[ENDPOINT_MAX];
    struct err_text why;
    topology_connect(asks->settings, actor, shard, ENDPOINT_REQUESTS, endpoint);
    if (link_requests(endpoint, &peer->dealer, &why) != ERR_ok) {
        log_error("peer_not_connected", LOG_TEXT("endpoint", endpoint), LOG_TEXT("reason", why.text));
        return NULL;
    }
    peer->raw = zsock_resolve(peer->dealer);
    wakeup_add_socket(asks->wakeup_fd, &peer->source, peer->raw);
    asks->peer_count++;
    return peer;
}

void
asks_connect(struct asks *asks, const char *actor)
{
    for (int shard = 0; shard < topology_shards(asks->settings, actor); shard++) {
        (void)connect_peer(asks, actor, shard);
    }
}

static void
make_room(struct asks *asks)
{
    if (asks->used < asks->capacity) {
        return;
    }
    struct entry *grown = asks->capacity > INT32_MAX / 2 ? NULL : realloc(asks->entries, (size_t)asks->capacity * 2 * sizeof *grown);
    if (grown == NULL) {
        abort();
    }
    asks->entries = grown;
    asks->capacity *= 2;
}

static int32_t
take_entry(struct asks *asks, const struct ask_sent *ask)
{
    int32_t taken = asks->free;
    if (taken != NONE) {
        asks->free = asks->entries[taken].next;
    } else {
        make_room(asks);
        taken = asks->used++;
    }
    asks->entries[taken] = (struct entry){.ask = *ask, .next = NONE};
    asks->count++;
    return taken;
}

static void
give_back(struct asks *asks, int32_t index)
{
    asks->entries[index].is_taken = false;
    asks->entries[index].next = asks->free;
    asks->free = index;
    asks->count--;
}

static void
fail_later(struct asks *asks, int32_t index, err failure)
{
    asks->entries[index].failure = failure;
    asks->entries[index].next = asks->unsent;
    asks->unsent = index;
}

/* Those that are put off and whose time has come go to the unsent ones. They are few: each could not be handled twice. */
static void
end_putting_off(struct asks *asks, int64_t now_ms)
{
    if (now_ms < asks->later_ms) {
        return;
    }
    int32_t *link = &asks->put_off;
    asks->later_ms = INT64_MAX;
    while (*link != NONE) {
        int32_t index = *link;
        struct entry *entry = &asks->entries[index];
        if (entry->later_ms > now_ms) {
            asks->later_ms = entry->later_ms < asks->later_ms ? entry->later_ms : asks->later_ms;
            link = &entry->next;
        } else {
            *link = entry->next;
            fail_later(asks, index, entry->failure);
        }
    }
}

/* Puts the entry at the head of its id's list: a reply goes to the newest of equal attempts. Who asked before has most likely left,
 * and would take each answer away from the one that waits, attempt after attempt, once a single reply was lost. */
static void
await_reply(struct asks *asks, int32_t index)
{
    struct entry *entry = &asks->entries[index];
    entry->is_taken = true;
    if (entry->ask.deadline_ms < asks->next_ms) {
        asks->next_ms = entry->ask.deadline_ms;
    }
    int32_t slot = pending_find(&asks->pending, &entry->ask.id);
    if (slot == PENDING_NONE) {
        slot = pending_add(&asks->pending, &entry->ask.id);
        entry->next = NONE;
    } else {
        entry->next = asks->first[slot];
    }
    asks->first[slot] = index;
}

static void
forget(struct asks *asks, int32_t slot, int32_t index)
{
    int32_t *link = &asks->first[slot];
    while (*link != index) {
        link = &asks->entries[*link].next;
    }
    *link = asks->entries[index].next;
    if (asks->first[slot] == NONE) {
        pending_remove(&asks->pending, slot);
    }
}

void
asks_send(struct asks *asks, const char *actor, int shard, const struct ask_sent *ask, struct slice header, struct slice body)
{
    int32_t index = take_entry(asks, ask);
    if (asks->pending.count >= ASKS_MAX || asks->count >= ASKS_MAX) {
        fail_later(asks, index, ERR_overloaded);
        return;
    }
    struct peer *peer = connect_peer(asks, actor, shard);
    if (peer == NULL) {
        fail_later(asks, index, ERR_unavailable);
        return;
    }
    peer->source.is_ready = true; /* a send, also one that fails, may take in the word that a reply has come */
    if (message_send(peer->raw, header, body) != MESSAGE_SENT) {
        fail_later(asks, index, ERR_unavailable);
        return;
    }
    asks->entries[index].peer = peer;
    await_reply(asks, index);
}

void
asks_fail(struct asks *asks, const struct ask_sent *ask, err failure, int64_t later_ms)
{
    int32_t index = take_entry(asks, ask);
    struct entry *entry = &asks->entries[index];
    entry->ask.failures++;
    if (later_ms == 0) {
        fail_later(asks, index, failure);
        return;
    }
    entry->failure = failure;
    entry->later_ms = later_ms;
    entry->next = asks->put_off;
    asks->put_off = index;
    asks->later_ms = later_ms < asks->later_ms ? later_ms : asks->later_ms;
}

size_t
asks_count(const struct asks *asks)
{
    return asks->count;
}

bool
asks_is_ready(const struct asks *asks)
{
    for (size_t i = 0; i < asks->peer_count; i++) {
        if (asks->peers[i].source.is_ready) {
            return true;
        }
    }
    return asks->unsent != NONE;
}

int64_t
asks_next_ms(const struct asks *asks)
{
    int64_t next_ms = asks->later_ms < asks->next_ms ? asks->later_ms : asks->next_ms;
    return asks->unsent != NONE ? 0 : next_ms;
}

/* Finds the ask that this reply answers and takes it out; NONE for a stray. */
static int32_t
match(struct asks *asks, const struct wire_reply_header *header)
{
    int32_t slot = pending_find(&asks->pending, &header->id);
    if (slot == PENDING_NONE) {
        return NONE;
    }
    bool again = WIRE_HAS(header, reply_header, again) && header->again;
    for (int32_t index = asks->first[slot]; index != NONE; index = asks->entries[index].next) {
        if (asks->entries[index].ask.again == again) {
            forget(asks, slot, index);
            return index;
        }
    }
    return NONE;
}

static bool
take_reply(struct asks *asks, struct peer *peer, struct ask_outcome *outcome)
{
    for (;;) {
        enum message_result result = message_receive(peer->raw, false, &outcome->message);
        if (result == MESSAGE_NONE || result == MESSAGE_CLOSED) {
            peer->source.is_ready = false;
            return false;
        }
        link_heard(&peer->pulse, link_steady_ms());
        struct wire_reply_header header;
        struct err_text why;
        int32_t index = NONE;
        if (result == MESSAGE_OK && wire_decode(&reply_header_body, message_header(&outcome->message), &header, &why) == ERR_ok) {
            index = match(asks, &header);
        }
        if (index == NONE) {
            metric_add(asks->strays, 1);
            message_fini(&outcome->message);
            continue;
        }
        outcome->ask = asks->entries[index].ask;
        outcome->status = err_find((const char *)header.status.data, header.status.size);
        outcome->status = outcome->status == ERR_COUNT ? ERR_internal : outcome->status;
        outcome->replayed = WIRE_HAS(&header, reply_header, replayed) && header.replayed;
        outcome->has_message = true;
        give_back(asks, index);
        return true;
    }
}

void
asks_retime(struct asks *asks, int64_t by_ms)
{
    for (int32_t index = 0; index < asks->used; index++) {
        asks->entries[index].ask.deadline_ms += asks->entries[index].is_taken ? by_ms : 0;
    }
    for (int32_t index = asks->put_off; index != NONE; index = asks->entries[index].next) {
        asks->entries[index].later_ms += by_ms;
    }
    asks->later_ms = asks->put_off == NONE ? INT64_MAX : 0;
    asks->next_ms = asks->count == 0 ? INT64_MAX : 0; /* the next look learns it */
}

/* Takes out one ask whose deadline is over; learns the next deadline when there is none. */
static bool
take_late(struct asks *asks, int64_t now_ms, struct ask_outcome *outcome)
{
    if (asks->count == 0) {
        asks->next_ms = INT64_MAX;
    }
    if (now_ms < asks->next_ms) {
        return false;
    }
    int64_t next_ms = INT64_MAX;
    for (int32_t index = 0; index < asks->used; index++) {
        const struct entry *entry = &asks->entries[index];
        if (!entry->is_taken) {
            continue;
        }
        if (entry->ask.deadline_ms <= now_ms) {
            *outcome = (struct ask_outcome){.ask = entry->ask, .status = ERR_deadline_exceeded};
            if (link_missed(entry->peer->dealer, &entry->peer->pulse, link_steady_ms())) {
                log_warn("peer_silent", LOG_TEXT("peer", entry->peer->actor), LOG_TEXT("now", "it is connected anew"));
                entry->peer->source.is_ready = true;
            }
            forget(asks, pending_find(&asks->pending, &entry->ask.id), index);
            give_back(asks, index);
            return true;
        }
        next_ms = entry->ask.deadline_ms < next_ms ? entry->ask.deadline_ms : next_ms;
    }
    asks->next_ms = next_ms;
    return false;
}

bool
asks_next(struct asks *asks, int64_t now_ms, struct ask_outcome *outcome)
{
    outcome->has_message = false;
    end_putting_off(asks, now_ms);
    if (asks->unsent != NONE) {
        int32_t index = asks->unsent;
        asks->unsent = asks->entries[index].next;
        *outcome = (struct ask_outcome){.ask = asks->entries[index].ask, .status = asks->entries[index].failure};
        give_back(asks, index);
        return true;
    }
    for (size_t i = 0; i < asks->peer_count; i++) {
        struct peer *peer = &asks->peers[(asks->turn + i) % asks->peer_count];
        if (peer->source.is_ready && take_reply(asks, peer, outcome)) {
            return true;
        }
    }
    asks->turn = asks->peer_count == 0 ? 0 : (asks->turn + 1) % asks->peer_count;
    return take_late(asks, now_ms, outcome);
}
