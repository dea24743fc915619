/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The gateway's way to the actors: one DEALER per actor and shard, and the table of what is asked and not yet answered.
 *
 * Everything here belongs to one thread. Nothing blocks: a request that cannot go out now is refused now.
 */
#ifndef LARDER_UPSTREAM_H
#define LARDER_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "kit/settings/settings.h"
#include "wire.h"

#define UPSTREAM_PEERS_MAX 16

struct upstream;
struct upstream_call;

/* What came of a call. The slices live until the callback returns. */
struct upstream_reply {
    err status;        /* ERR_ok, the actor's refusal, or the gateway's own: unavailable, deadline_exceeded */
    const char *why;   /* NULL: the actor said it; otherwise the gateway's own words, and `body` is empty */
    bool is_replayed;  /* a stored answer */
    struct slice body; /* the op's reply, or a problem */
};

/* One request under way. The caller owns it and keeps it where it is until `done` was called or it was cancelled. Fill the first
 * part and leave the rest alone. */
struct upstream_call {
    struct id id;
    bool again;
    enum op op;
    int peer;
    int64_t timeout_ms;
    struct slice traceparent; /* empty for none */
    struct slice role;        /* in whose name, as it was verified; empty for an operator's */
    const struct id *user;    /* who that is; NULL for nobody in particular */
    struct slice secret;      /* of an order, as it was shown; empty for none */
    struct slice client;      /* the address for which it is asked, where the actor shares out by it; empty for none */
    struct slice body;        /* the encoded request */
    void (*done)(struct upstream_call *call, const struct upstream_reply *reply);

    bool is_outstanding;
    uint64_t fingerprint;
    int64_t expires_us;
    struct upstream_call *next_in_bucket; /* the oldest first */
    struct upstream_call *sooner;
    struct upstream_call *later;
    struct upstream_call *next_unsent;
    bool is_unsent;
};

/* Makes the sockets; they connect by themselves. Call in the thread that will use them. Their descriptors are put into the epoll set,
 * each with the peer's number as data.u32: upstream_mark() it when it is reported. */
MUST_CHECK err
upstream_open(const struct settings *settings, int epoll_fd, struct upstream **upstream, struct err_text *why);

/* Closes the sockets. Nothing may be outstanding: upstream_fail_all() before. */
void
upstream_close(struct upstream **upstream);

/* The number of a peer, -1 when there is none. `shard` counts from 0. */
int
upstream_peer(const struct upstream *upstream, const char *actor, int shard);

int
upstream_shards(const struct upstream *upstream, const char *actor);

int
upstream_peer_count(const struct upstream *upstream);

/* "stock/0". */
const char *
upstream_peer_name(const struct upstream *upstream, int peer);

/* Whether the peer is in this process. */
bool
upstream_peer_is_local(const struct upstream *upstream, int peer);

/* Puts it in line for upstream_flush(). ERR_ok: `done` will be called exactly once, but not before the flush. Otherwise `done` is not
 * called: overloaded (too many are outstanding there), unavailable (it takes no more), idempotency_mismatch (another request with this
 * id is under way). */
MUST_CHECK err
upstream_send(struct upstream *upstream, struct upstream_call *call, struct err_text *why);

/* Sends what is in line, all at once: an actor that is woken by the first finds the others behind it. Nobody connected: `done` says
 * unavailable. */
void
upstream_flush(struct upstream *upstream);

/* Whether something is in line: an answer may have brought the next question, and nobody may wait before that is sent. */
bool
upstream_has_unsent(const struct upstream *upstream);

/* Sends what is in line when that are already many: the actors begin with them while the rest of the round is still being read. */
void
upstream_flush_many(struct upstream *upstream);

/* Forgets a call; its late answer will be dropped and counted. */
void
upstream_cancel(struct upstream *upstream, struct upstream_call *call);

/* The descriptor of this peer was reported. */
void
upstream_mark(struct upstream *upstream, uint32_t peer);

/* Takes every answer that is there, of the peers that were marked or sent to since the last time. Call it before each wait: a send
 * may have eaten the signal of an answer. */
void
upstream_receive(struct upstream *upstream);

/* Ends the calls whose time is over. */
void
upstream_expire(struct upstream *upstream, int64_t now_us);

/* When the next call expires, INT64_MAX for never. */
int64_t
upstream_next_expiry_us(const struct upstream *upstream);

/* Ends every call as unavailable, and takes no more. */
void
upstream_fail_all(struct upstream *upstream);

#endif
