/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Answers what is read of stock beside a single level: pages of levels, of a ledger, of holds, and one hold.
 *
 * MESSAGES  stock.list moves holds hold
 *
 * STATE     None. Pages are answered before anything of their batch is decided: they show what was committed before it.
 *
 * FAILURES  Errors of the database go up.
 */
#include "stock_state.h"

err
stock_answer_list(void *state, struct item *item)
{
    struct stock *stock = state;
    struct wire_stock_levels page;
    err status = stock_store_page_levels(stock->store, item->body, &stock->elements, &page);
    if (status == ERR_ok) {
        item_answer(stock->batch, item, &page);
    }
    return status;
}

err
stock_answer_moves(void *state, struct item *item)
{
    struct stock *stock = state;
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

err
stock_answer_holds(void *state, struct item *item)
{
    struct stock *stock = state;
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

err
stock_answer_hold(void *state, struct item *item)
{
    struct stock *stock = state;
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
