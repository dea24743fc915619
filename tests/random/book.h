/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The shelves, reckoned from what was acknowledged alone: for the products that only this test's own changes of stock touch, what
 * is on hand after each change is what was there before it and the change. Refills, which come by themselves, are read from the
 * ledger.
 */
#ifndef LARDER_RANDOM_BOOK_H
#define LARDER_RANDOM_BOOK_H

#include "values.h"
#include "wire.h"

/* A change of one shelf: its version tells its place. */
struct book_change {
    int64_t version;
    int64_t on_hand; /* as the answer said, after it */
    int64_t delta;
    bool is_counted; /* `delta` is the number that was counted */
};

struct book_shelf {
    int64_t version;
    int64_t on_hand;
    struct book_change *changes; /* not settled yet */
    size_t count;
    size_t capacity;
};

struct book_hold {
    struct id id;
    int64_t units[VALUES_BOOK_PRODUCTS];
    bool is_used;
};

struct book {
    struct book_shelf shelves[VALUES_BOOK_PRODUCTS];
    struct book_hold *holds; /* an open table */
    size_t hold_capacity;
    size_t hold_count;
};

/* What was done for the first time under its id: the request as decoded, and its answer. */
void
book_write(struct book *book, enum op op, const struct id *id, const void *asked, const struct wire_stock_done *answer);

/* A refill that the ledger tells of. */
void
book_refill(struct book *book, size_t product, const struct wire_stock_move *move);

/* Whether changes before the last one are missing, so that the ledger has to be asked for refills. */
bool
book_has_gap(struct book *book, size_t product);

/* Adds up all that was written. False: `why` says which shelf does not agree, and how. */
bool
book_settle(struct book *book, struct err_text *why);

void
book_fini(struct book *book);

#endif
