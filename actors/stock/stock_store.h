/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The SQL of stock: what a batch reads before it decides, and what it writes after it has.
 *
 * Reads are collected (want) and done by one statement for each kind of thing; writes are collected and queued together at the
 * end of the batch by stock_store_queue(). Numbers of ledger lines and holds are made here; stock_store_take_over() and
 * stock_store_drop() keep or take back what a batch used of them.
 */
#ifndef LARDER_STOCK_STORE_H
#define LARDER_STOCK_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "kit/durable/fingerprint.h"
#include "stock_levels.h"
#include "stock_rules.h"
#include "wire.h"

struct stock_store;

enum move_kind {
    MOVE_TAKE,
    MOVE_RESERVE,
    MOVE_EXTEND,
    MOVE_COMMIT,
    MOVE_RELEASE,
    MOVE_EXPIRE,
    MOVE_RETURN,
    MOVE_ADJUST,
    MOVE_COUNT,
    MOVE_CONFIGURE,
    MOVE_REFILL,
    MOVE_REFUSED,
    MOVE_KIND_COUNT
};

/* One line of the ledger, written or read. `n` is made by stock_store_add_move(); `kind` is MOVE_KIND_COUNT when a word was read that
 * is none of ours; 0 and an empty text: there is none. */
struct move {
#define COLUMN(name, member, write, read, show) member
#include "stock_move.def"
};

struct held_line {
    int64_t n;
    struct slice product;
    int64_t quantity;
};

/* A hold as far as this batch has decided. */
struct held {
    struct id id;
    bool exists;
    bool is_new;     /* made in this batch */
    bool is_changed; /* made or changed in this batch */
    enum hold_state state;
    int64_t expires_ms;
    struct slice reference;
    struct held_line *lines; /* one without product and units: released before it was made */
    size_t line_count;
    size_t line_capacity;
    struct held *next;
};

/* What is known of a production as far as this batch has decided. */
struct known_production {
    struct id id;
    bool is_changed;
    enum production_state state;
    struct slice product;
    int64_t quantity;
    struct known_production *next;
};

/* Prepares all statements and reads the highest numbers. */
MUST_CHECK err
stock_store_open(struct db *db, struct stock_store **store, struct err_text *why);

void
stock_store_close(struct stock_store **store);

/* --- reading, before anything of the batch is queued --- */

void
stock_store_want_level(struct stock_store *store, struct slice product);
void
stock_store_want_hold(struct stock_store *store, const struct id *hold);
void
stock_store_want_production(struct stock_store *store, const struct id *production);
void
stock_store_want_request(struct stock_store *store, const struct id *request);

/* Puts the levels that there are into memory. */
MUST_CHECK err
stock_store_read_levels(struct stock_store *store, struct level_table *levels);

/* Calls `found` with each line of each hold, the lines of a hold one after the other; slices live for the call. */
MUST_CHECK err
stock_store_read_holds(struct stock_store *store, void (*found)(void *context, const struct held *hold, const struct held_line *line),
                       void *context);

MUST_CHECK err
stock_store_read_productions(struct stock_store *store, void (*found)(void *context, const struct known_production *production),
                             void *context);

/* Calls `found` with each ledger line of each request, the lines of a request one after the other. */
MUST_CHECK err
stock_store_read_requests(struct stock_store *store, void (*found)(void *context, const struct move *move), void *context);

/* --- pages, as they are committed. The elements go to `elements`, which the list in `page` points into --- */

MUST_CHECK err
stock_store_page_levels(struct stock_store *store, const struct wire_stock_list *ask, struct wire_buffer *elements,
                        struct wire_stock_levels *page);

/* `newest` is the head of the product's chain. */
MUST_CHECK err
stock_store_page_moves(struct stock_store *store, const struct wire_stock_moves *ask, int64_t newest, struct wire_buffer *elements,
                       struct wire_stock_ledger *page);

/* ERR_unknown_hold: there is no hold `after` of this product. */
MUST_CHECK err
stock_store_page_holds(struct stock_store *store, const struct wire_stock_holds *ask, struct wire_buffer *elements,
                       struct wire_stock_hold_page *page);

/* --- writing --- */

/* The number that the next line of the ledger will get. */
int64_t
stock_store_next_move(const struct stock_store *store);

/* Gives a line its number and collects it, copying all of it. A line of a version that is a multiple of 256 also leaves a
 * milestone. */
void
stock_store_add_move(struct stock_store *store, struct move *move);

/* A number for a line of a new hold. */
int64_t
stock_store_next_hold_line(struct stock_store *store);

void
stock_store_add_hold(struct stock_store *store, const struct held *hold);
void
stock_store_add_production(struct stock_store *store, const struct known_production *production);

/* Queues everything that was collected and the levels that were touched. */
MUST_CHECK err
stock_store_queue(struct stock_store *store, const struct level_table *levels);

void
stock_store_take_over(struct stock_store *store);
void
stock_store_drop(struct stock_store *store);

/* The figures of a row of level, whose columns are its own from `product` on. */
struct shelf
stock_store_shelf(struct db_statement *row);

/* MOVE_KIND_COUNT when there is none of that word. */
enum move_kind
move_kind_find(struct slice word);

#endif
