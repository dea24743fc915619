/* SPDX-License-Identifier: MPL-2.0 */
/*
 * HTTP calls to the outside that never block: POSTs of JSON and GETs, driven by one descriptor in the loop of the thread that owns
 * them.
 *
 *     o = outbound_create();  wait on outbound_fd(o) beside everything else
 *     outbound_start(o, &(struct outbound_call){.url = url, .json = json, .timeout_ms = 5000, .context_id = id});
 *     when it is readable:  while (outbound_next(o, &result)) ...
 */
#ifndef LARDER_KIT_OUTBOUND_H
#define LARDER_KIT_OUTBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "wire.h"

#define OUTBOUND_TEXT_MAX 4096

struct outbound;

struct outbound_call {
    const char *url;
    struct slice json; /* empty: a GET without a body */
    int64_t timeout_ms;
    struct id context_id; /* the caller's own; comes back with the result */
    int64_t tag;          /* the caller's own; comes back with the result */
    struct id key;        /* Idempotency-Key of a POST; zero: context_id */
    const char *bearer;   /* a token of printable characters without blanks; NULL or "": none */
    bool is_once;         /* a connection of its own, so that the library never sends it a second time by itself */
    bool expects_missing; /* the caller's own; comes back with the result */
};

/* Why there was no answer. */
enum outbound_failure {
    OUTBOUND_ANSWERED,
    OUTBOUND_BROKEN,    /* no connection could be made, or it ended without a whole answer */
    OUTBOUND_TIMED_OUT, /* there was one, and no answer in time */
    OUTBOUND_MISLED     /* the address is none, or who is there has no certificate that we believe: a setting of ours is wrong */
};

/* How a call ended. `status` is that of HTTP, 0 when there was no answer; `text` is the first OUTBOUND_TEXT_MAX bytes of the answer as
 * they came, or the reason why there was none. It lives until the next outbound_next() or outbound_destroy(). */
struct outbound_result {
    struct id context_id;
    int64_t tag;
    int64_t started_us;     /* steady */
    int64_t retry_after_ms; /* as the answer said; 0: it did not */
    int status;
    enum outbound_failure failure;
    bool expects_missing; /* as given */
    struct slice text;
};

/* Costs two descriptors; the HTTP library is set up by the first call. Never NULL. */
struct outbound *
outbound_create(void);

/* Ends the calls that are under way, without a result. */
void
outbound_destroy(struct outbound **outbound);

/* An epoll descriptor that is readable while there is something for outbound_next() to do. */
int
outbound_fd(const struct outbound *outbound);

/* Starts a POST of application/json, with an `Idempotency-Key` so that a receiver can tell a repeated call, or a GET. Everything is
 * copied. Exactly one result comes, also when the URL is not one: after `timeout_ms` at the latest, counted from here. How many are
 * under way is the caller's to bound. */
void
outbound_start(struct outbound *outbound, const struct outbound_call *call);

/* Moves all calls on without waiting and hands out one that has ended; false when there is none now. To be called until it is false.
 */
bool
outbound_next(struct outbound *outbound, struct outbound_result *result);

/* How many calls have no result yet. */
size_t
outbound_count(const struct outbound *outbound);

#endif
