/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The stock actor: owns levels, holds and the ledger of the products whose names fall to its shard.
 *
 * MESSAGES  Answers stock.take reserve extend commit release return adjust count configure get list moves holds hold. Follows
 *           factory.ordered produced failed. Emits stock.low out restocked (durable) and changed (passing).
 *
 * STATE     The tables of stock_schema.def. The level of each product that was asked for is kept in memory; the shard row fences it,
 *           so it is what the table says. A batch first reads all that it will need (levels not in memory, holds, productions: one
 *           statement for each kind), then decides item by item in memory, then writes all lines and each changed level once. Facts
 *           of the factory are decided first, so that an alarm of this batch knows of everything that it says is applied. stock.get
 *           answers the level as decided so far in its batch, and leaves with the commit; list, moves and holds show what was
 *           committed before the batch.
 *
 * FAILURES  An error of the database ends the batch; the kit rolls back, calls dropped(), and comes again with each item alone. So do
 *           rows that were changed by hand and do not fit together any more: the item that meets them is `internal`.
 *
 * LIMITS    1,000 lines in a request; a level for each product in memory (stock_levels.c).
 */
#include "stock.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"
#include "kit/dispatch.h"
#include "kit/telemetry/log.h"
#include "stock_state.h"

/* --- what a batch needs --- */

static void
want_product(struct stock *stock, struct slice product)
{
    if (stock_levels_find(stock->levels, product) == NULL && stock_is_here(stock, product)) {
        stock_store_want_level(stock->store, product);
    }
}

static void
want_hold(struct stock *stock, const struct id *id)
{
    if (id_index_get(&stock->holds, id) == NULL) {
        (void)stock_held(stock, id);
        stock_store_want_hold(stock->store, id);
    }
}

static void
want_lines(struct stock *stock, struct wire_list lines)
{
    struct wire_stock_line line;
    while (wire_list_next(&lines, &stock_line_body, &line)) {
        want_product(stock, line.product);
    }
}

static void
want_lines_of(void *state, struct item *item, const void *field)
{
    (void)item;
    want_lines(state, *(const struct wire_list *)field);
}

static void
want_product_of(void *state, struct item *item, const void *field)
{
    (void)item;
    want_product(state, *(const struct slice *)field);
}

static void
want_hold_of(void *state, struct item *item, const void *field)
{
    (void)item;
    want_hold(state, field);
}

static void
want_reserve(void *state, struct item *item, const void *field)
{
    struct stock *stock = state;
    const struct wire_stock_reserve *reserve = field;
    want_lines(stock, reserve->lines);
    if (WIRE_HAS(reserve, stock_reserve, replaces)) {
        want_hold(stock, &reserve->replaces);
    }
    /* It may have been released before it came. A first attempt need not look: the hold's key makes it fail, and ask again. */
    if (batch_is_looked_up(stock->batch, item)) {
        want_hold(stock, &item->id);
    }
}

static const struct dispatch requests[OP_COUNT] = {
    [OP_stock_take] = {want_lines_of, offsetof(struct wire_stock_take, lines), stock_decide_take},
    [OP_stock_reserve] = {want_reserve, 0, stock_decide_reserve},
    [OP_stock_extend] = {want_hold_of, offsetof(struct wire_stock_extend, hold), stock_decide_extend},
    [OP_stock_commit] = {want_hold_of, offsetof(struct wire_stock_commit, hold), stock_decide_commit},
    [OP_stock_release] = {want_hold_of, offsetof(struct wire_stock_release, hold), stock_decide_release},
    [OP_stock_return] = {want_hold_of, offsetof(struct wire_stock_return, hold), stock_decide_return},
    [OP_stock_adjust] = {want_product_of, offsetof(struct wire_stock_adjust, product), stock_decide_adjust},
    [OP_stock_count] = {want_product_of, offsetof(struct wire_stock_count, product), stock_decide_count},
    [OP_stock_configure] = {want_product_of, offsetof(struct wire_stock_configure, product), stock_decide_configure},
    [OP_stock_get] = {want_product_of, offsetof(struct wire_stock_get, product), stock_decide_get},
    [OP_stock_list] = {.handle = stock_answer_list},
    [OP_stock_moves] = {want_product_of, offsetof(struct wire_stock_moves, product), stock_answer_moves},
    [OP_stock_holds] = {want_product_of, offsetof(struct wire_stock_holds, product), stock_answer_holds},
    [OP_stock_hold] = {want_hold_of, offsetof(struct wire_stock_find_hold, hold), stock_answer_hold},
};

static void
want_fact(struct stock *stock, const struct item *item)
{
    bool is_fact =
        item->event == EVENT_factory_ordered || item->event == EVENT_factory_produced || item->event == EVENT_factory_failed;
    const struct wire_factory_fact *fact = item->body;
    if (!is_fact || !stock_is_here(stock, fact->product)) {
        return;
    }
    want_product(stock, fact->product);
    if (id_index_get(&stock->productions, &fact->production) == NULL) {
        (void)stock_known_production(stock, &fact->production);
        stock_store_want_production(stock->store, &fact->production);
    }
}

static void
want_due(struct stock *stock, const struct item *item)
{
    if (slice_equal(item->owner, slice_of(STOCK_DUE_ALARM))) {
        want_product(stock, item->key);
    } else if (item->key.size == ID_SIZE) {
        struct id id;
        memcpy(id.bytes, item->key.data, ID_SIZE);
        want_hold(stock, &id);
    }
}

static void
want_all(struct stock *stock)
{
    for (size_t i = 0; i < stock->batch->count; i++) {
        struct item *item = &stock->batch->items[i];
        if (item->kind == ITEM_EVENT) {
            want_fact(stock, item);
        } else if (item->kind == ITEM_DUE) {
            want_due(stock, item);
        } else if (item->kind == ITEM_REQUEST) {
            dispatch_want(requests, stock, item);
        }
    }
}

static void
see_held_line(void *context, const struct held *hold, const struct held_line *line)
{
    struct stock *stock = context;
    struct held *held = stock_held(stock, &hold->id);
    if (!held->exists) {
        held->exists = true;
        held->state = hold->state;
        held->expires_ms = hold->expires_ms;
        held->reference = stock_keep(stock, hold->reference);
    }
    if (held->line_count == held->line_capacity) {
        struct held_line *grown = batch_alloc(stock->batch, (held->line_capacity * 2 + 4) * sizeof *grown);
        if (held->line_count > 0) {
            memcpy(grown, held->lines, held->line_count * sizeof *grown);
        }
        held->lines = grown;
        held->line_capacity = held->line_capacity * 2 + 4;
    }
    held->lines[held->line_count++] = (struct held_line){line->n, stock_keep(stock, line->product), line->quantity};
}

static void
see_production(void *context, const struct known_production *production)
{
    struct stock *stock = context;
    struct known_production *known = stock_known_production(stock, &production->id);
    known->state = production->state;
    known->quantity = production->quantity;
    known->product = stock_keep(stock, production->product);
}

static err
read_all(struct stock *stock)
{
    err status = stock_store_read_holds(stock->store, see_held_line, stock);
    if (status == ERR_ok) {
        status = stock_store_read_productions(stock->store, see_production, stock);
    }
    if (status != ERR_ok) {
        return status;
    }
    for (const struct held *held = stock->held; held != NULL; held = held->next) {
        bool may_change = held->state == HOLD_OPEN || held->state == HOLD_COMMITTED;
        for (size_t i = 0; may_change && i < held->line_count; i++) {
            want_product(stock, held->lines[i].product);
        }
    }
    return stock_store_read_levels(stock->store, stock->levels);
}

/* --- the class --- */

/* When an item of a batch has its turn. */
enum turn {
    TURN_PAGE,   /* before anything is decided: it shows what is committed */
    TURN_FACT,   /* an alarm of this batch knows of every fact that it says is applied */
    TURN_CHANGE, /* in the order in which they came */
    TURN_COUNT
};

static enum turn
turn_of(const struct item *item)
{
    if (item->kind == ITEM_EVENT) {
        return TURN_FACT;
    }
    bool is_page = item->kind == ITEM_REQUEST && (wire_ops[item->op].traits & OP_WRITES) == 0 && item->op != OP_stock_get;
    return is_page ? TURN_PAGE : TURN_CHANGE;
}

static err
handle_item(struct stock *stock, struct item *item)
{
    stock_begin(stock, item);
    if (item->kind == ITEM_REQUEST) {
        return dispatch_handle(requests, stock, item);
    }
    if (item->kind == ITEM_EVENT) {
        stock_decide_event(stock, item);
    } else if (item->kind == ITEM_DUE) {
        stock_decide_due(stock, item);
    }
    return ERR_ok;
}

static err
handle_all(struct stock *stock)
{
    err status = ERR_ok;
    for (enum turn turn = TURN_PAGE; turn < TURN_COUNT; turn++) {
        for (size_t i = 0; i < stock->batch->count && status == ERR_ok; i++) {
            struct item *item = &stock->batch->items[i];
            status = turn_of(item) == turn ? handle_item(stock, item) : ERR_ok;
        }
    }
    return status;
}

static err
stock_handle(void *state, struct batch *batch)
{
    struct stock *stock = state;
    stock->batch = batch;
    stock->held = NULL;
    stock->known_productions = NULL;
    stock->is_broken = false;
    id_index_clear(&stock->holds);
    id_index_clear(&stock->productions);
    want_all(stock);
    err status = read_all(stock);
    if (status == ERR_ok) {
        status = handle_all(stock);
    }
    if (status != ERR_ok) {
        return status;
    }
    if (stock->is_broken) {
        log_error("rows_do_not_agree", LOG_TEXT("now", "a hold and its level do not fit together: larder verify names them"));
        return ERR_db_bug;
    }
    for (const struct held *held = stock->held; held != NULL; held = held->next) {
        if (held->is_changed) {
            stock_store_add_hold(stock->store, held);
        }
    }
    for (const struct known_production *known = stock->known_productions; known != NULL; known = known->next) {
        if (known->is_changed) {
            stock_store_add_production(stock->store, known);
        }
    }
    stock_tell_changes(stock);
    return stock_store_queue(stock->store, stock->levels);
}

static void
stock_committed(void *state)
{
    struct stock *stock = state;
    stock_levels_take_over(stock->levels);
    stock_store_take_over(stock->store);
}

static void
stock_dropped(void *state)
{
    struct stock *stock = state;
    stock_levels_drop(stock->levels);
    stock_store_drop(stock->store);
}

static void
stock_close(void **state)
{
    struct stock *stock = *state;
    *state = NULL;
    if (stock == NULL) {
        return;
    }
    stock_levels_destroy(&stock->levels);
    stock_store_close(&stock->store);
    wire_buffer_fini(&stock->elements);
    wire_buffer_fini(&stock->frame);
    id_index_fini(&stock->asked_again);
    id_index_fini(&stock->holds);
    id_index_fini(&stock->productions);
    free(stock);
}

static err
stock_open(struct actor *actor, void **state, struct err_text *why)
{
    struct stock *stock = memory_new(1, sizeof *stock);
    stock->actor = actor;
    stock->settings = actor_settings(actor);
    stock->shard = actor_shard(actor);
    stock->of = actor_of(actor);
    stock->levels = stock_levels_create();
    err status = stock_store_open(actor_db(actor), &stock->store, why);
    void *made = stock;
    if (status != ERR_ok) {
        stock_close(&made);
        return status;
    }
    *state = made;
    return ERR_ok;
}

static const struct db_step steps[] = {
#include "stock_schema.def"
};

const struct actor_class stock_class = {
    .name = "stock",
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
    .retime = stock_retime,
    .open = stock_open,
    .close = stock_close,
    .handle = stock_handle,
    .committed = stock_committed,
    .dropped = stock_dropped,
    .recall = stock_recall,
};
