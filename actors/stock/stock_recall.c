/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Answers requests that are asked again from the ledger: one read for all of a batch. What was done is answered from its
 *           lines, which hold everything that the first answer said; what was refused, and what changed a configuration, from the
 *           body that stands in its line.
 * FAILURES  What the database says is handed on. A status that is no symbol any more is answered as `internal`.
 */
#include "stock_state.h"

#include <string.h>

/* The request whose lines are being read. */
struct recalled {
    struct stock *stock;
    struct item *item; /* NULL: none */
    struct fingerprint fingerprint;
    bool is_other;
    err status;
    struct slice answer; /* empty: to be made of what follows */
    struct wire_list levels;
    bool has_hold;
    struct id hold;
    int64_t expires_ms;
};

/* Earlier versions had one number for two operations with the same body, one after the other: the line says which it was. */
static bool
is_line_of(enum op op, const struct move *move)
{
    static const enum move_kind kinds[OP_COUNT] = {
        [OP_stock_take] = MOVE_TAKE,     [OP_stock_reserve] = MOVE_RESERVE, [OP_stock_extend] = MOVE_EXTEND,
        [OP_stock_commit] = MOVE_COMMIT, [OP_stock_release] = MOVE_RELEASE, [OP_stock_return] = MOVE_RETURN,
        [OP_stock_adjust] = MOVE_ADJUST, [OP_stock_count] = MOVE_COUNT,     [OP_stock_configure] = MOVE_CONFIGURE,
    };
    bool is_replaced = op == OP_stock_reserve && move->kind == MOVE_RELEASE;
    return move->fingerprint.kind != FINGERPRINT_RAW || move->kind == kinds[op] || is_replaced || move->kind == MOVE_REFUSED;
}

static void
finish(struct recalled *replay)
{
    struct stock *stock = replay->stock;
    if (replay->item == NULL) {
        return;
    }
    if (replay->answer.size == 0) {
        wire_list_end(&replay->levels, &stock->elements);
        struct wire_stock_done done = stock_done_of(replay->levels, replay->has_hold ? &replay->hold : NULL, replay->expires_ms);
        stock->frame.size = 0;
        wire_encode(&stock_done_body, &done, &stock->frame);
        replay->answer = stock_keep(stock, wire_buffer_slice(&stock->frame));
    }
    if (replay->is_other) {
        item_refuse_other(stock->batch, replay->item);
    } else {
        item_replay(stock->batch, replay->item, &replay->fingerprint, replay->status, replay->answer);
    }
    replay->item = NULL;
}

static void
begin(struct recalled *replay, struct item *item, const struct move *move)
{
    struct stock *stock = replay->stock;
    *replay = (struct recalled){.stock = stock, .item = item, .fingerprint = move->fingerprint, .status = ERR_ok};
    replay->is_other = item != NULL && !is_line_of(item->op, move);
    stock->elements.size = 0;
    if (move->kind == MOVE_REFUSED) {
        err status = err_find((const char *)move->reason.data, move->reason.size);
        replay->status = status == ERR_COUNT ? ERR_internal : status;
    }
    if (move->answer.size > 0) {
        replay->answer = stock_keep(stock, move->answer);
    }
}

static void
see_line(void *context, const struct move *move)
{
    struct recalled *replay = context;
    struct item *item = id_index_get(&replay->stock->asked_again, &move->request);
    if (item != replay->item) {
        finish(replay);
        begin(replay, item, move);
    }
    /* A reserve answers for its own hold, not for the one that it replaced. */
    if (item == NULL || (move->kind == MOVE_RELEASE && item->op == OP_stock_reserve)) {
        return;
    }
    if (move->has_hold) {
        replay->has_hold = true;
        replay->hold = move->hold;
        replay->expires_ms = move->expires_ms;
    }
    if (move->version > 0) {
        struct shelf after = {
            .on_hand = move->on_hand, .reserved = move->reserved, .incoming = move->incoming, .version = move->version};
        struct wire_stock_level shown = stock_levels_show(move->product, &after, false);
        wire_list_add(&replay->levels, &stock_level_body, &shown, &replay->stock->elements);
    }
}

err
stock_recall(void *state, struct batch *batch)
{
    struct stock *stock = state;
    stock->batch = batch;
    id_index_clear(&stock->asked_again);
    for (size_t i = 0; i < batch->count; i++) {
        struct item *item = &batch->items[i];
        bool is_ours = item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT && batch_is_looked_up(batch, item) &&
                       (wire_ops[item->op].traits & OP_WRITES) != 0;
        if (is_ours && id_index_get(&stock->asked_again, &item->id) == NULL) {
            id_index_add(&stock->asked_again, &item->id, item);
            stock_store_want_request(stock->store, &item->id);
        }
    }
    struct recalled replay = {.stock = stock};
    err status = stock_store_read_requests(stock->store, see_line, &replay);
    if (status != ERR_ok) {
        return status;
    }
    finish(&replay);
    return ERR_ok;
}
