/* SPDX-License-Identifier: MPL-2.0 */
/*
 * liblarder: ask an actor, follow its events. What goes over the wire is PROTOCOL.md; the structs of requests, replies and events
 * are made of bodies.def by wire.h, and of messages.def comes one typed function per operation: stock.get is stock_client_get().
 *
 *     struct larder_client *client = NULL;
 *     const char *const stock[] = {"tcp://127.0.0.1:4006"};
 *     if (larder_client_create(stock, 1, &client, &why) != ERR_ok) ...
 *     struct wire_stock_get get = {0};
 *     WIRE_SET(&get, stock_get, product, slice_of("donut"));
 *     struct wire_stock_level level;
 *     err status = stock_client_get(client, NULL, &get, &level, &why);
 *
 * A client and a subscriber belong to the thread that made them, and are destroyed by it before the process ends. The library uses
 * czmq's one context; unless ZSYS_SIGHANDLER is set it sets it to "false", so that czmq takes no signal.
 */
#ifndef LARDER_H
#define LARDER_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "wire.h"

/* Requests under way to one peer: as many as PROTOCOL.md grants to a connection. */
#define LARDER_WINDOW 1024
#define LARDER_PEERS_MAX 256
#define LARDER_ADDRESSES_MAX 8

#define LARDER_TIMEOUT_MS 5000
#define LARDER_ATTEMPT_MS 1000

/* --- asking --- */

struct larder_client;

/* What may be said of a request beside its body. Zero-initialised, and NULL where a pointer is taken, it is an ordinary one. */
struct larder_options {
    struct id id;       /* zero: a new one. The id is the request's identity: give the same for the same intent, whatever happens */
    bool again;         /* true on the first attempt too: a keyed request, or one that may have been sent before */
    int shard;          /* which peer; larder_client_exchange() and the typed functions find it out for routed operations */
    int64_t timeout_ms; /* the whole; 0: LARDER_TIMEOUT_MS */
    int64_t attempt_ms; /* before an attempt without an answer is followed by the next; 0: LARDER_ATTEMPT_MS */
    int attempts;       /* 0: as many as fit in the time */
    struct slice traceparent;
    struct slice auth;
};

struct larder_request {
    enum op op;
    const void *body;   /* struct of the op's request; out of its bounds it is refused here: ERR_invalid_field, ERR_too_large */
    struct slice frame; /* instead, when `body` is NULL: the encoded body, judged by the actor */
    uint64_t tag;       /* the caller's own, comes back with the reply */
    struct larder_options options;
};

struct larder_reply {
    err status;    /* ERR_ok or the refusal; ERR_deadline_exceeded and ERR_unavailable also when no answer came */
    bool replayed; /* the stored answer of an earlier attempt */
    bool was_sent; /* false: no attempt left this process, so it was certainly not done */
    int attempts;
    enum op op;
    struct id id;
    uint64_t tag;
    int64_t waited_us;           /* since larder_client_send() or _call() */
    struct slice frame;          /* the body as it came; empty when no answer came */
    struct wire_problem problem; /* when status is not ERR_ok */
};

/* `peers` are the shards of one service in order (most have one). Each is an endpoint, or several separated by commas: addresses of
 * the same shard, among which the client fails over. Connects without waiting. ERR_wrong_setting names an endpoint that is none. */
MUST_CHECK err
larder_client_create(const char *const *peers, int count, struct larder_client **client, struct err_text *why);

/* Sends, waits, and sends again with the same id while the table says RETRY or nothing is heard, until the answer is final, the
 * attempts are used up or the time is over. An ok is believed from any attempt, a refusal only from the latest. Returns
 * reply->status; the slices of `reply` live until the next call with this client. With ERR_deadline_exceeded it is not known
 * whether it was done: ask again with the same id and `again`. */
err
larder_client_call(struct larder_client *client, const struct larder_request *request, struct larder_reply *reply);

/* The same without waiting; many may be under way, and each has exactly one reply. ERR_overloaded: the window of this peer is full,
 * receive first. ERR_invalid_field: there is no such shard, or the tables do not have what is said. ERR_too_large.
 * ERR_idempotency_mismatch: a request with this id is under way. Other than ERR_ok means that there will be no reply. */
MUST_CHECK err
larder_client_send(struct larder_client *client, const struct larder_request *request);

/* Gives the next finished request, in no order. ERR_deadline_exceeded: none within the time, or none under way. The slices live
 * until the next call with this client. */
MUST_CHECK err
larder_client_receive(struct larder_client *client, int64_t timeout_ms, struct larder_reply *reply);

/* Decodes the body of an ok reply into the struct of the op's reply; its slices are the reply's. */
MUST_CHECK err
larder_reply_decode(const struct larder_reply *reply, void *target, struct err_text *why);

/* A call with its parts found out: routes by the body's product, decodes the answer. `why` is the refusal's sentence. */
struct larder_exchange {
    enum op op;
    const void *body;
    void *answer; /* struct of the op's reply; NULL: not wanted */
};

MUST_CHECK err
larder_client_exchange(struct larder_client *client, const struct larder_options *options, const struct larder_exchange *exchange,
                       struct err_text *why);

/* One function for each OP(owner, verb, request, reply, ...) of messages.def, which says what it does: larder_client_exchange() with
 * types. `body` may not be NULL, that of `nothing` included; the rest may. The slices of `answer` live until the next call with this
 * client. The id of a charge or a refund is the request's: give it in `options`. An answer of the user actor has personal data: it is
 * for telling, not for keeping. dlq.receive waits at the dlq: let timeout_ms and attempt_ms be as long as is to be waited. */
#define OP(owner, verb, request, reply, traits, doc)                                                         \
    MUST_CHECK err owner##_client_##verb(struct larder_client *client, const struct larder_options *options, \
                                         const struct wire_##request *body, struct wire_##reply *answer, struct err_text *why);
#include "messages.def"

/* The shard of a routed operation, by `product` or by the first of `lines`. ERR_invalid_field: there is more than one shard and the
 * body names no product. */
MUST_CHECK err
larder_route(enum op op, const void *body, int shards, int *shard, struct err_text *why);

/* Requests under way. */
int
larder_client_pending(const struct larder_client *client);

/* Messages that nobody waited for: late answers, and what could not be read. */
int64_t
larder_client_strays(const struct larder_client *client);

void
larder_client_destroy(struct larder_client **client);

/* --- following --- */

struct larder_subscriber;

/* With a name: a durable subscriber, which gets every event of the source in order and without a gap, and the passing ones in
 * between. Without a name: what is published from now on, gaps and all. */
struct larder_subscription {
    const char *events;        /* endpoint of the source's PUB */
    const char *requests;      /* endpoint of its ROUTER; not needed without a name */
    const char *name;          /* e.g. "billing/0"; NULL: passing only */
    const char *source;        /* e.g. "stock/0"; with `dlq` */
    const char *dlq;           /* endpoint of the dlq's ROUTER; NULL: what only the dlq keeps is ERR_kept_elsewhere */
    const char *const *topics; /* prefixes, e.g. "stock.out."; of no count: everything */
    int topic_count;
    bool from_start;       /* a name that is new to the source: from the oldest event kept, otherwise from now on */
    bool has_cursor;       /* start from here; otherwise from what the source keeps for the name */
    struct id incarnation; /* zero: not known */
    int64_t position;      /* the last event applied */
    struct id chain;       /* larder_subscriber_chain() of that time; zero: not known */
};

struct larder_event {
    enum event_type type; /* EVENT_COUNT: one that this version does not know */
    struct wire_event_header header;
    struct slice body;
};

MUST_CHECK err
larder_subscriber_create(const struct larder_subscription *subscription, struct larder_subscriber **subscriber, struct err_text *why);

/* The next event whose topic (type.key) starts with one of the prefixes; its slices live until the next call. Work goes on only
 * inside this function: the source learns of a new name by the first call, and there is to be one at least each second.
 * ERR_deadline_exceeded: none within the time. ERR_overloaded: a whole page of events is not confirmed, there can be no more before
 * larder_subscriber_ack(). Of a durable subscriber every other error stands until it is resolved and is repeated by every call:
 * ERR_other_incarnation, ERR_other_past, ERR_position_lost (the source has less, or no more, than the cursor), ERR_unknown_version,
 * ERR_malformed, and, of one that does not know the dlq, ERR_kept_elsewhere: it was away for so long that the source has given its
 * events to the dlq.
 * One that knows it gets them from there without further ado, also while the source does not answer. */
MUST_CHECK err
larder_subscriber_next(struct larder_subscriber *subscriber, int64_t timeout_ms, struct larder_event *event);

/* Decodes the body of an event of a known type. */
MUST_CHECK err
larder_event_decode(const struct larder_event *event, void *target, struct err_text *why);

/* Up to where everything was given by larder_subscriber_next() or had another topic: what a subscriber with a cursor of its own
 * writes down, in the transaction of the effect. */
int64_t
larder_subscriber_position(const struct larder_subscriber *subscriber);

/* The source's, as far as it is known; zero before. */
struct id
larder_subscriber_incarnation(const struct larder_subscriber *subscriber);

/* Stands for all events up to larder_subscriber_position(): write it down beside that, and a source that went back in time and has
 * come as far again is ERR_other_past and not another past in silence. Zero: the source has not told. */
struct id
larder_subscriber_chain(const struct larder_subscriber *subscriber);

/* Everything up to here is applied and on disk; the source may forget it. Goes out with the next FETCH, at least each second, and
 * once more when the subscriber is destroyed. A page starts behind what is confirmed: confirm every few hundred events, and, with a
 * cursor of its own, larder_subscriber_position() also when only events of other topics went by. */
void
larder_subscriber_ack(struct larder_subscriber *subscriber, int64_t position);

/* The sentence of the error that stands; "" without one. */
const char *
larder_subscriber_why(const struct larder_subscriber *subscriber);

void
larder_subscriber_destroy(struct larder_subscriber **subscriber);

#endif
