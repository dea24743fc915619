/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What stock knows while a batch is under way: the holds and productions that it is about, each once, and the item that
 *           is being dealt with, which is refused here.
 *
 * STATE     `holds`, `productions` and the scratch of an item in struct stock; all of it lies in the memory of the batch.
 *
 * LIMITS    The hold of another shard cannot be told from one that never was.
 */
#include "stock_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* --- refusing --- */

void
stock_begin(struct stock *stock, struct item *item)
{
    stock->item = item;
    stock->line = 0;
    stock->marked_count = 0;
    stock->elements.size = 0;
    stock->stamp++;
}

/* The tombstone of a refusal that was told to somebody who had asked before. */
static void
remember_refusal(struct stock *stock, err code, struct slice product)
{
    struct move move = {
        .request = stock->item->id,
        .kind = MOVE_REFUSED,
        .product = product,
        .time_ms = stock->batch->now_ms,
        .fingerprint = stock->item->fingerprint,
        .reason = slice_of(err_symbol(code)),
        .answer = item_answered_frame(stock->item),
    };
    stock_store_add_move(stock->store, &move);
}

void
stock_refuse(struct stock *stock, err code, struct wire_problem *problem, const char *format, ...)
{
    char detail[ERR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    WIRE_SET(problem, problem, detail, slice_of(detail));
    item_refuse_with(stock->batch, stock->item, code, problem);
    /* Another shard may do it: that is no answer about the request itself. */
    bool is_final = code != ERR_wrong_shard && (wire_ops[stock->item->op].traits & OP_WRITES) != 0;
    if (is_final && batch_is_asked_again(stock->batch, stock->item)) {
        remember_refusal(stock, code, WIRE_HAS(problem, problem, product) ? problem->product : slice_of(""));
    }
}

struct wire_problem
stock_problem_of(struct slice product)
{
    struct wire_problem problem = {0};
    if (product.size > 0) {
        WIRE_SET(&problem, problem, product, product);
    }
    return problem;
}

void
stock_refuse_product(struct stock *stock, err code, struct slice product)
{
    struct wire_problem problem = stock_problem_of(product);
    stock_refuse(stock, code, &problem, "%.*s: %s", (int)product.size, (const char *)product.data, err_words(code));
}

void
stock_refuse_hold(struct stock *stock, err code, const struct id *hold)
{
    struct wire_problem problem = {0};
    char text[ID_TEXT_SIZE];
    id_format(hold, text);
    stock_refuse(stock, code, &problem, "hold %s: %s", text, err_words(code));
}
