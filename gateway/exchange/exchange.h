/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One HTTP request and its answer, without the HTTP library: opened with method and address, run when its body is complete,
 * answered at once or when the actor's reply is there.
 */
#ifndef LARDER_EXCHANGE_H
#define LARDER_EXCHANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "auth.h"
#include "err.h"
#include "id.h"
#include "json.h"
#include "page.h"
#include "routes.h"
#include "state.h"
#include "trace.h"
#include "upstream.h"
#include "wire.h"

#define EXCHANGE_LOCATION_MAX 256
#define EXCHANGE_ETAG_MAX 32
#define EXCHANGE_PEER_SIZE 64

struct metrics_page;
struct readiness;

/* What the headers say, as far as it matters; empty when there is none. The bytes live as long as the exchange. */
struct exchange_head {
    bool has_key;
    bool has_if_match;
    bool has_if_none_match;
    bool prefers_async; /* Prefer: respond-async */
    struct slice key;
    struct slice if_match;
    struct slice if_none_match;
    struct slice traceparent;
    struct slice authorization;
    int authorizations;      /* how many there are */
    struct slice secret;     /* Order-Secret */
    struct slice webhook_id; /* of a webhook, as Standard Webhooks has them */
    struct slice webhook_timestamp;
    struct slice webhook_signature;
};

enum exchange_content { CONTENT_NONE, CONTENT_JSON, CONTENT_PROBLEM, CONTENT_METRICS };

/* What goes back; `body` is the exchange's buffer `out`. */
struct exchange_answer {
    int status; /* 0 while there is none */
    enum exchange_content content;
    bool is_replayed;
    bool is_later;         /* Retry-After */
    bool is_async_applied; /* Preference-Applied */
    bool is_bad_token;     /* WWW-Authenticate says that the token is the reason */
    char etag[EXCHANGE_ETAG_MAX];
    char location[EXCHANGE_LOCATION_MAX];
    char allow[ROUTES_ALLOW_SIZE];
};

/* Belongs to one thread. Its buffers are kept for the next request. */
struct exchange {
    /* set once by the owner */
    const struct gateway_state *state;
    struct upstream *upstream;
    struct auth *auth;
    void (*answered)(struct exchange *exchange); /* called when the answer came later than exchange_run() */
    void *owner;

    /* of this request */
    enum route_method method;
    struct route_match match;
    struct exchange_head head;
    struct id id;
    int64_t started_us;
    char peer[EXCHANGE_PEER_SIZE]; /* the client's address, where the route tells it; "" otherwise */
    bool is_waiting;
    struct exchange_answer answer;
    union json_any request;
    struct json_reader reader;
    struct upstream_call call;
    struct auth_waiter waiter; /* while the keys of its token are asked for */
    struct asker asker;
    int shard; /* where it goes */
    struct page page;
    struct page_cursor cursor;
    struct readiness *readiness;
    struct metrics_page *metrics; /* what CONTENT_METRICS answers with */
    char traceparent[TRACE_SIZE];
    const struct wire_buffer *body; /* what the client sent */
    size_t path_size;               /* of the path at the start of `uri` */

    /* buffers */
    struct wire_buffer uri;
    struct wire_buffer text;  /* decoded parameters */
    struct wire_buffer frame; /* what the actor gets */
    struct wire_buffer kept;  /* what the dlq gets, with `frame` in it, to deliver it later */
    struct wire_buffer out;   /* what the client gets */
    struct wire_buffer link;  /* the value of the Link header; empty for none */
};

/* Starts a request: copies the address and matches it. An address or method that is not there is an answer already. */
void
exchange_open(struct exchange *exchange, enum route_method method);

/* Takes the address of the request, without scheme and host, before exchange_open(). */
void
exchange_address(struct exchange *exchange, struct slice uri);

/* The body is complete, and `body` points to it: does what is asked. Afterwards there is an answer, or `is_waiting` is set and
 * `answered` will be called. */
void
exchange_run(struct exchange *exchange);

static inline bool
exchange_is_answered(const struct exchange *exchange)
{
    return exchange->answer.status != 0;
}

/* "none" when no address matched; for labels. */
static inline const char *
exchange_route_name(const struct exchange *exchange)
{
    return exchange->match.route != NULL ? exchange->match.route->name : "none";
}

/* Forgets the request, also one under way, and keeps the buffers. */
void
exchange_clear(struct exchange *exchange);

void
exchange_fini(struct exchange *exchange);

#endif
