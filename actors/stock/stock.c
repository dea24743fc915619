/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The stock actor: owns levels, holds and the ledger of the products whose names fall to its shard.
 *
 * MESSAGES  Answers stock.take reserve extend commit release return adjust count configure get list moves holds hold. Follows
 *           factory.ordered produced failed. Emits stock.low out restocked (durable) and changed (passing).
 *
 * STATE     The tables of stock_schema.c. The level of each product that was asked for is kept in memory; the shard row fences it,
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

#include "kit/telemetry/log.h"
#include "stock_schema.h"
#include "stock_state.h"

/* --- what the parts share --- */

bool
stock_is_here(const struct stock *stock, struct slice product)
{
    return stock->of == 1 || wire_shard_of(product, stock->of) == stock->shard;
}

struct slice
stock_keep(struct stock *stock, struct slice bytes)
{
    if (bytes.size == 0) {
        return (struct slice){0};
    }
    uint8_t *kept = batch_alloc(stock->batch, bytes.size);
    memcpy(kept, bytes.data, bytes.size);
    return (struct slice){kept, bytes.size};
}

struct held *
stock_held(struct stock *stock, const struct id *id)
{
    struct held *held = id_index_get(&stock->holds, id);
    if (held == NULL) {
        held = batch_alloc(stock->batch, sizeof *held);
        *held = (struct held){.id = *id, .next = stock->held};
        stock->held = held;
        id_index_add(&stock->holds, id, held);
    }
    return held;
}

struct known_production *
stock_known_production(struct stock *stock, const struct id *id)
{
    struct known_production *known = id_index_get(&stock->productions, id);
    if (known == NULL) {
        known = batch_alloc(stock->batch, sizeof *known);
        *known = (struct known_production){.id = *id, .next = stock->known_productions};
        stock->known_productions = known;
        id_index_add(&stock->productions, id, known);
    }
    return known;
}

struct wire_stock_done
stock_done_of(struct wire_list levels, const struct id *hold, int64_t expires_ms)
{
    struct wire_stock_done done = {0};
    WIRE_SET(&done, stock_done, levels, levels);
    if (hold != NULL) {
        WIRE_SET(&done, stock_done, hold, *hold);
    }
    if (expires_ms > 0) {
        WIRE_SET(&done, stock_done, expires, expires_ms);
    }
    return done;
}

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
want_take(struct stock *stock, const struct item *item)
{
    want_lines(stock, ((const struct wire_stock_take *)item->body)->lines);
}

static void
want_reserve(struct stock *stock, const struct item *item)
{
    const struct wire_stock_reserve *reserve = item->body;
    want_lines(stock, reserve->lines);
    if (WIRE_HAS(reserve, stock_reserve, replaces)) {
        want_hold(stock, &reserve->replaces);
    }
    /* It may have been released before it came. A first attempt need not look: the hold's key makes it fail, and ask again. */
    if (batch_is_looked_up(stock->batch, item)) {
        want_hold(stock, &item->id);
    }
}

static void
want_extend(struct stock *stock, const struct item *item)
{
    want_hold(stock, &((const struct wire_stock_extend *)item->body)->hold);
}

static void
want_commit(struct stock *stock, const struct item *item)
{
    want_hold(stock, &((const struct wire_stock_commit *)item->body)->hold);
}

static void
want_release(struct stock *stock, const struct item *item)
{
    want_hold(stock, &((const struct wire_stock_release *)item->body)->hold);
}

static void
want_return(struct stock *stock, const struct item *item)
{
    want_hold(stock, &((const struct wire_stock_return *)item->body)->hold);
}

static void
want_adjust(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_adjust *)item->body)->product);
}

static void
want_count(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_count *)item->body)->product);
}

static void
want_configure(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_configure *)item->body)->product);
}

static void
want_get(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_get *)item->body)->product);
}

static void
want_moves(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_moves *)item->body)->product);
}

static void
want_holds(struct stock *stock, const struct item *item)
{
    want_product(stock, ((const struct wire_stock_holds *)item->body)->product);
}

static void
want_found(struct stock *stock, const struct item *item)
{
    want_hold(stock, &((const struct wire_stock_find_hold *)item->body)->hold);
}

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
    static void (*const wants[OP_COUNT])(struct stock * stock, const struct item *item) = {
        [OP_stock_take] = want_take,     [OP_stock_reserve] = want_reserve, [OP_stock_extend] = want_extend,
        [OP_stock_commit] = want_commit, [OP_stock_release] = want_release, [OP_stock_adjust] = want_adjust,
        [OP_stock_count] = want_count,   [OP_stock_get] = want_get,         [OP_stock_configure] = want_configure,
        [OP_stock_moves] = want_moves,   [OP_stock_holds] = want_holds,     [OP_stock_hold] = want_found,
        [OP_stock_return] = want_return,
    };
    for (size_t i = 0; i < stock->batch->count; i++) {
        const struct item *item = &stock->batch->items[i];
        if (item->kind == ITEM_EVENT) {
            want_fact(stock, item);
        } else if (item->kind == ITEM_DUE) {
            want_due(stock, item);
        } else if (item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT && wants[item->op] != NULL) {
            wants[item->op](stock, item);
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

/* --- pages --- */

static err
answer_list(struct stock *stock, struct item *item)
{
    struct wire_stock_levels page;
    err status = stock_store_page_levels(stock->store, item->body, &stock->elements, &page);
    if (status == ERR_ok) {
        item_answer(stock->batch, item, &page);
    }
    return status;
}

static err
answer_moves(struct stock *stock, struct item *item)
{
    const struct wire_stock_moves *ask = item->body;
    const struct level *level = stock_levels_find(stock->levels, ask->product);
    if (level == NULL) {
        stock_refuse_product(stock, stock_is_here(stock, ask->product) ? ERR_unknown_product : ERR_wrong_shard, ask->product);
        return ERR_ok;
    }
    struct wire_stock_ledger page;
    err status = stock_store_page_moves(stock->store, ask, level->shelf.last_move, &stock->elements, &page);
    if (status == ERR_ok) {
        item_answer(stock->batch, item, &page);
    }
    return status;
}

static err
answer_holds(struct stock *stock, struct item *item)
{
    const struct wire_stock_holds *ask = item->body;
    if (stock_levels_find(stock->levels, ask->product) == NULL) {
        stock_refuse_product(stock, stock_is_here(stock, ask->product) ? ERR_unknown_product : ERR_wrong_shard, ask->product);
        return ERR_ok;
    }
    struct wire_stock_hold_page page;
    err status = stock_store_page_holds(stock->store, ask, &stock->elements, &page);
    if (status == ERR_unknown_hold) {
        item_refuse(stock->batch, item, status, "stock_holds.after: there is no such hold of %.*s", (int)ask->product.size,
                    (const char *)ask->product.data);
        return ERR_ok;
    }
    if (status == ERR_ok) {
        item_answer(stock->batch, item, &page);
    }
    return status;
}

static err
answer_hold(struct stock *stock, struct item *item)
{
    const struct wire_stock_find_hold *ask = item->body;
    const struct held *held = stock_held(stock, &ask->hold);
    if (WIRE_HAS(ask, stock_find_hold, product) && !stock_is_here(stock, ask->product)) {
        stock_refuse_product(stock, ERR_wrong_shard, ask->product);
        return ERR_ok;
    }
    if (!held->exists) {
        stock_refuse_hold(stock, ERR_unknown_hold, &ask->hold);
        return ERR_ok;
    }
    struct wire_list lines = {0};
    for (size_t i = 0; i < held->line_count; i++) {
        struct wire_stock_held_line line = {0};
        WIRE_SET(&line, stock_held_line, product, held->lines[i].product);
        WIRE_SET(&line, stock_held_line, quantity, held->lines[i].quantity);
        if (held->lines[i].quantity > 0) {
            wire_list_add(&lines, &stock_held_line_body, &line, &stock->elements);
        }
    }
    wire_list_end(&lines, &stock->elements);
    struct wire_stock_held reply = {0};
    WIRE_SET(&reply, stock_held, hold, held->id);
    WIRE_SET(&reply, stock_held, state, slice_of(hold_state_word(held->state)));
    WIRE_SET(&reply, stock_held, expires, held->expires_ms);
    WIRE_SET(&reply, stock_held, lines, lines);
    if (held->reference.size > 0) {
        WIRE_SET(&reply, stock_held, reference, held->reference);
    }
    item_answer(stock->batch, item, &reply);
    return ERR_ok;
}

/* Before anything is decided, so that they show nothing that is not committed. */
static err
answer_pages(struct stock *stock)
{
    static err (*const answers[OP_COUNT])(struct stock * stock, struct item * item) = {[OP_stock_list] = answer_list,
                                                                                       [OP_stock_moves] = answer_moves,
                                                                                       [OP_stock_holds] = answer_holds,
                                                                                       [OP_stock_hold] = answer_hold};
    err status = ERR_ok;
    for (size_t i = 0; status == ERR_ok && i < stock->batch->count; i++) {
        struct item *item = &stock->batch->items[i];
        if (item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT && answers[item->op] != NULL) {
            stock_begin(stock, item);
            stock->elements.size = 0;
            status = answers[item->op](stock, item);
        }
    }
    return status;
}

/* --- the class --- */

static void
decide_all(struct stock *stock)
{
    for (size_t i = 0; i < stock->batch->count; i++) {
        if (stock->batch->items[i].kind == ITEM_EVENT) {
            stock_decide_event(stock, &stock->batch->items[i]);
        }
    }
    for (size_t i = 0; i < stock->batch->count; i++) {
        struct item *item = &stock->batch->items[i];
        if (item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT) {
            stock_decide_request(stock, item);
        } else if (item->kind == ITEM_DUE) {
            stock_decide_due(stock, item);
        }
    }
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
        status = answer_pages(stock);
    }
    if (status != ERR_ok) {
        return status;
    }
    decide_all(stock);
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
    struct stock *stock = calloc(1, sizeof *stock);
    if (stock == NULL) {
        abort();
    }
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

const struct actor_class stock_class = {
    .name = "stock",
    .steps = stock_steps,
    .step_count = STOCK_STEP_COUNT,
    .retime = stock_retime,
    .open = stock_open,
    .close = stock_close,
    .handle = stock_handle,
    .committed = stock_committed,
    .dropped = stock_dropped,
    .recall = stock_recall,
};
