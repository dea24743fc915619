/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of the stock actor share: its state and the batch under way. */
#ifndef LARDER_STOCK_STATE_H
#define LARDER_STOCK_STATE_H

#include "kit/actor.h"
#include "kit/base/id_index.h"
#include "stock_levels.h"
#include "stock_store.h"

/* Products of one request at the most: those it asks for and those of a hold that it replaces. */
#define STOCK_MARKED_MAX 2048

#define STOCK_DUE_HOLD "hold"
#define STOCK_DUE_ALARM "alarm"

struct stock {
    struct actor *actor;
    const struct settings *settings;
    int shard;
    int of;
    struct level_table *levels;
    struct stock_store *store;
    struct wire_buffer elements; /* of the list of an answer */
    struct wire_buffer frame;

    /* of the batch */
    struct batch *batch;
    struct id_index asked_again; /* id -> struct item */
    struct id_index holds;       /* id -> struct held */
    struct held *held;           /* all of them */
    struct id_index productions; /* id -> struct known_production */
    struct known_production *known_productions;
    bool is_broken; /* the rows do not fit together: they were changed by hand, and the batch must not be committed */

    /* of the item that is being decided */
    struct item *item;
    int64_t line; /* of the ledger, the next */
    uint64_t stamp;
    struct level *marked[STOCK_MARKED_MAX];
    size_t marked_count;
};

/* --- stock_batch.c --- */

/* Whether the product lives on this shard. */
bool
stock_is_here(const struct stock *stock, struct slice product);

/* The bytes, for as long as the batch. */
struct slice
stock_keep(struct stock *stock, struct slice bytes);

/* The batch's copy of a hold or a production; made, as one that does not exist, when it is not there. */
struct held *
stock_held(struct stock *stock, const struct id *id);
struct known_production *
stock_known_production(struct stock *stock, const struct id *id);

/* Says the answer of a change. `expires_ms` is 0 and `hold` NULL when there are none. */
struct wire_stock_done
stock_done_of(struct wire_list levels, const struct id *hold, int64_t expires_ms);

/* What follows is about this item. */
void
stock_begin(struct stock *stock, struct item *item);

/* Refuses it; `problem` holds what there is to say beside the sentence. */
void
stock_refuse(struct stock *stock, err code, struct wire_problem *problem, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
struct wire_problem
stock_problem_of(struct slice product);
void
stock_refuse_product(struct stock *stock, err code, struct slice product);
void
stock_refuse_hold(struct stock *stock, err code, const struct id *hold);

/* --- stock_decide.c: requests that change something, and stock.get --- */

MUST_CHECK err
stock_decide_take(void *state, struct item *item);
MUST_CHECK err
stock_decide_reserve(void *state, struct item *item);
MUST_CHECK err
stock_decide_extend(void *state, struct item *item);
MUST_CHECK err
stock_decide_commit(void *state, struct item *item);
MUST_CHECK err
stock_decide_release(void *state, struct item *item);
MUST_CHECK err
stock_decide_return(void *state, struct item *item);
MUST_CHECK err
stock_decide_adjust(void *state, struct item *item);
MUST_CHECK err
stock_decide_count(void *state, struct item *item);
MUST_CHECK err
stock_decide_configure(void *state, struct item *item);
MUST_CHECK err
stock_decide_get(void *state, struct item *item);

void
stock_decide_event(struct stock *stock, struct item *item);
void
stock_decide_due(struct stock *stock, struct item *item);

/* Publishes each level that this batch changed. */
void
stock_tell_changes(struct stock *stock);

/* --- stock_pages.c --- */

MUST_CHECK err
stock_answer_list(void *state, struct item *item);
MUST_CHECK err
stock_answer_moves(void *state, struct item *item);
MUST_CHECK err
stock_answer_holds(void *state, struct item *item);
MUST_CHECK err
stock_answer_hold(void *state, struct item *item);

/* --- stock_recall.c --- */

err
stock_recall(void *state, struct batch *batch);

/* --- stock_retime.c --- */

/* The clock was set: says when this due row is due, and moves what belongs to it. */
MUST_CHECK err
stock_retime(const struct retiming *retiming, struct due_row *row);

#endif
