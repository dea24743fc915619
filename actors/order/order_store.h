/* SPDX-License-Identifier: MPL-2.0 */
/* The SQL of the order actor. Nothing is decided here. */
#ifndef LARDER_ORDER_STORE_H
#define LARDER_ORDER_STORE_H

#include "kit/db/db.h"
#include "order_cache.h"
#include "order_row.h"

struct order_store;

/* An entry of a timeline. */
struct order_note {
    int64_t n;
    int64_t k;
    int64_t time_ms;
    const char *what;
    const char *outcome;
    enum order_status status;
    struct slice detail;
};

/* What a request was answered. */
struct order_answer {
    struct id request;
    struct id order;
    struct fingerprint fingerprint;
    err status;
    struct slice frame; /* of the problem; empty when ok */
};

enum stray_state { STRAY_REFUNDING, STRAY_REFUNDED, STRAY_STUCK };

/* Money that goes back beside a saga. */
struct order_stray {
    int64_t n;
    struct id charge;
    struct id order;
    int64_t amount;
    char currency[4];
    int64_t tries;
    enum stray_state state;
};

/* --- life --- */

/* `shards` are those of stock. */
struct order_store *
order_store_create(struct db *db, int shards);
void
order_store_destroy(struct order_store **store);

/* The batch was rolled back: the numbers that it took are read again. */
void
order_store_dropped(struct order_store *store);

/* --- orders: reading --- */

/* Wants an order; order_store_read() brings those that there are into the cache, one statement for all of them. */
void
order_store_want(struct order_store *store, const struct id *id);
MUST_CHECK err
order_store_read(struct order_store *store, struct order_cache *cache);

/* One order by its number. NULL when there is none. */
MUST_CHECK err
order_store_get_n(struct order_store *store, int64_t n, struct order_cache *cache, struct order_row **row);

/* Up to `limit` orders of some kind, by their ids; those that the cache does not have are read into it as well. */
struct order_found {
    struct id *ids;
    size_t count;
    int64_t limit;
};

/* Those of a customer that still have his id. */
MUST_CHECK err
order_store_find_of_customer(struct order_store *store, struct order_cache *cache, const struct id *customer,
                             struct order_found *found);

/* Those whose saga has not ended, by the key of their due row, behind `after`. One that cannot be read is logged and not in the cache:
 * the others have to go on. */
MUST_CHECK err
order_store_find_open(struct order_store *store, struct order_cache *cache, struct slice after, struct order_found *found);

/* What is told of a saga that has not ended, without reading its order. */
struct order_open {
    struct id id;
    enum saga_state saga; /* SAGA_STATE_COUNT: a word that nobody writes */
    int64_t entered_ms;
    int64_t deadline_ms;
};

/* The same, up to `limit` of them in the order of their ids, without the cache. */
MUST_CHECK err
order_store_see_open(struct order_store *store, struct slice after, int64_t limit,
                     void (*see)(void *context, const struct order_open *open), void *context);

/* Those that the kitchen has: `each` of every status, the oldest. */
MUST_CHECK err
order_store_find_in_kitchen(struct order_store *store, struct order_cache *cache, int64_t each, struct order_found *found);

/* --- pages: rows that are not put into the cache; the caller destroys them --- */

struct order_page_query {
    enum order_status status;  /* ORDER_STATUS_COUNT: any */
    const struct id *customer; /* NULL: any */
    int64_t before;            /* n below this */
    int64_t limit;
};

MUST_CHECK err
order_store_page(struct order_store *store, const struct order_page_query *query, struct order_row **rows, size_t *count);

/* A page of a timeline; ends when `see` was called `limit` times. */
MUST_CHECK err
order_store_entries(struct order_store *store, int64_t n, int64_t after, int64_t limit,
                    void (*see)(void *context, const struct wire_order_entry *entry), void *context);

/* --- orders: writing, all of it queued --- */

/* The number of the next order. */
MUST_CHECK err
order_store_next_n(struct order_store *store, int64_t *n);

void
order_store_insert(struct order_store *store, const struct order_row *row);
MUST_CHECK err
order_store_update(struct order_store *store, const struct order_row *row, bool has_status_changed);
/* Customer and note. */
MUST_CHECK err
order_store_update_person(struct order_store *store, const struct order_row *row);
void
order_store_add_note(struct order_store *store, const struct order_note *note);
/* Sends the rows that were collected. */
MUST_CHECK err
order_store_queue(struct order_store *store);

/* --- requests --- */

void
order_store_want_request(struct order_store *store, const struct id *request);
/* Those that there are. Slices live for the call. */
MUST_CHECK err
order_store_read_requests(struct order_store *store, void (*see)(void *context, const struct order_answer *answer), void *context);
MUST_CHECK err
order_store_add_request(struct order_store *store, const struct order_answer *answer);
/* Another answer to a request that is there. */
MUST_CHECK err
order_store_set_request(struct order_store *store, const struct order_answer *answer);

/* --- customers who were erased --- */

void
order_store_want_forgotten(struct order_store *store, const struct id *customer);
MUST_CHECK err
order_store_read_forgotten(struct order_store *store, void (*see)(void *context, const struct id *customer), void *context);
MUST_CHECK err
order_store_add_forgotten(struct order_store *store, const struct id *customer, int64_t time_ms);

/* --- stray money --- */

MUST_CHECK err
order_store_find_stray(struct order_store *store, const struct id *charge, struct order_stray *stray, bool *found);
MUST_CHECK err
order_store_find_stray_n(struct order_store *store, int64_t n, struct order_stray *stray, bool *found);
MUST_CHECK err
order_store_insert_stray(struct order_store *store, struct order_stray *stray);
MUST_CHECK err
order_store_update_stray(struct order_store *store, const struct order_stray *stray);

#endif
