/* SPDX-License-Identifier: MPL-2.0 */
/*
 * HTTP calls to the outside that never block: POSTs of JSON, driven by one descriptor in the loop of the thread that owns them.
 *
 *     o = outbound_create();  wait on outbound_fd(o) beside everything else
 *     outbound_start(o, url, json, timeout_ms, &context_id);
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

/* How a call ended. `status` is that of HTTP, 0 when there was no answer; `text` is the first OUTBOUND_TEXT_MAX bytes of the answer as
 * they came, or the reason why there was none. It lives until the next outbound_next() or outbound_destroy(). */
struct outbound_result {
    struct id context_id;
    int status;
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

/* Starts a POST of application/json, with `Idempotency-Key` set to the text of `context_id` so that a receiver can tell a repeated
 * call. Everything is copied. Exactly one result comes, also when the URL is not one: after `timeout_ms` at the latest. */
void
outbound_start(struct outbound *outbound, const char *url, struct slice json, int64_t timeout_ms, const struct id *context_id);

/* Moves all calls on without waiting and hands out one that has ended; false when there is none now. To be called until it is false.
 */
bool
outbound_next(struct outbound *outbound, struct outbound_result *result);

/* How many calls have no result yet. */
size_t
outbound_count(const struct outbound *outbound);

#endif
