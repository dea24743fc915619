/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a batch does to orders, whichever part does it: which of them it needs, which it has changed, the lines of their
 *           timelines, and their letters.
 * STATE     The list of changed orders. Each is written once, at the end of the batch, with its due row "saga".
 * FAILURES  Those of the database.
 * LIMITS    The list grows as it must; a batch bounds it.
 */
#include <stdlib.h>
#include <string.h>

#include "order_state.h"

#include "kit/base/memory.h"

void
order_want(struct order_actor *order, const struct id *id)
{
    if (order_cache_find(order->cache, id) == NULL) {
        order_store_want(order->store, id);
    }
}

struct id
order_key_of(const struct item *item)
{
    struct id id;
    memcpy(id.bytes, item->key.data, sizeof id.bytes);
    return id;
}

void
order_touch(struct order_actor *order, struct order_row *row)
{
    if (row->is_touched) {
        return;
    }
    order->touched = memory_grow(order->touched, &order->touched_capacity, order->touched_count + 1, sizeof(struct order_row *));
    order->touched[order->touched_count++] = row;
    row->is_touched = true;
}

static void
write_due(struct order_actor *order, struct order_row *row)
{
    struct slice key = {row->id.bytes, sizeof row->id.bytes};
    if (row->due_ms == ORDER_DUE_UNKNOWN || row->due_ms == row->due_disk_ms) {
        return;
    }
    if (row->due_ms == ORDER_DUE_NONE) {
        batch_due_cancel(order->batch, ORDER_DUE_SAGA, key);
    } else {
        batch_due(order->batch, &(struct due){.owner = ORDER_DUE_SAGA, .key = key, .due_ms = row->due_ms, .attempts = row->attempts});
    }
    row->due_disk_ms = row->due_ms;
}

err
order_flush(struct order_actor *order)
{
    err code = ERR_ok;
    for (size_t i = 0; i < order->touched_count; i++) {
        struct order_row *row = order->touched[i];
        if (row->is_new) {
            order_store_insert(order->store, row);
        }
        write_due(order, row);
    }
    code = order_store_queue(order->store);
    for (size_t i = 0; code == ERR_ok && i < order->touched_count; i++) {
        struct order_row *row = order->touched[i];
        if (!row->is_new) {
            code = order_store_update(order->store, row, row->status != row->status_disk);
        }
        row->status_disk = row->status;
        row->is_new = row->is_touched = false;
    }
    order->touched_count = 0;
    return code == ERR_ok ? menu_queue(order->menu) : code;
}

void
order_note(struct order_actor *order, struct order_row *row, const char *what, const char *outcome, const char *detail)
{
    order_store_add_note(order->store, &(struct order_note){.n = row->n,
                                                            .k = ++row->entries,
                                                            .time_ms = order->batch->now_ms,
                                                            .what = what,
                                                            .outcome = outcome,
                                                            .status = row->status,
                                                            .detail = slice_of(detail)});
}

void
order_bury(struct order_actor *order, const struct order_letter *letter)
{
    struct wire_burial burial = {0};
    struct wire_letter_attempt attempt = {0};
    struct wire_list history = {0};
    char key[ID_TEXT_SIZE];
    id_format(letter->order, key);
    order->list.size = 0;
    WIRE_SET(&attempt, letter_attempt, time, order->batch->now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(letter->error));
    wire_list_add(&history, &letter_attempt_body, &attempt, &order->list);
    wire_list_end(&history, &order->list);
    WIRE_SET(&burial, burial, letter, letter->id);
    WIRE_SET(&burial, burial, kind, slice_of("saga"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(letter->reason)));
    WIRE_SET(&burial, burial, error, slice_of(letter->error));
    WIRE_SET(&burial, burial, attempts, letter->attempts);
    WIRE_SET(&burial, burial, first, letter->first_ms);
    WIRE_SET(&burial, burial, last, order->batch->now_ms);
    WIRE_SET(&burial, burial, history, history);
    WIRE_SET(&burial, burial, key, slice_of(key));
    WIRE_SET(&burial, burial, type, slice_of(letter->type));
    WIRE_SET(&burial, burial, owner, slice_of(letter->owner));
    WIRE_SET(&burial, burial, due_key, ((struct slice){letter->due_key->bytes, sizeof letter->due_key->bytes}));
    WIRE_SET(&burial, burial, amount, letter->amount);
    WIRE_SET(&burial, burial, currency, slice_of(letter->currency));
    batch_bury(order->batch, &burial);
}
