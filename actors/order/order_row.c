/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   An order in memory, and the ids that follow from it.
 * STATE     One heap block per row, one for its lines, one for its note.
 * FAILURES  Out of memory aborts.
 * LIMITS    ORDER_SHARDS_MAX shards of stock; 255 rounds.
 */
#include "order_row.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

static uint8_t *
copy_bytes(struct slice bytes)
{
    uint8_t *copy = memory_room(bytes.size == 0 ? 1 : bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

struct order_row *
order_row_create(void)
{
    struct order_row *row = memory_new(1, sizeof *row);
    row->back = SAGA_STATE_COUNT;
    return row;
}

static void
free_bytes(const uint8_t *bytes)
{
    union {
        const uint8_t *borrowed;
        uint8_t *own;
    } memory = {.borrowed = bytes};
    free(memory.own);
}

void
order_row_destroy(struct order_row **row)
{
    if (*row != NULL) {
        free_bytes((*row)->note.data);
        free_bytes((*row)->lines.data);
        free(*row);
        *row = NULL;
    }
}

void
order_row_set_note(struct order_row *row, struct slice note)
{
    free_bytes(row->note.data);
    row->note = (struct slice){0};
    row->has_note = note.size > 0;
    if (row->has_note) {
        row->note = (struct slice){copy_bytes(note), note.size};
    }
}

void
order_row_set_lines(struct order_row *row, struct wire_list lines, int shards)
{
    free_bytes(row->lines.data);
    row->lines = lines;
    row->lines.data = copy_bytes((struct slice){lines.data, lines.size});
    row->shards = 0;
    struct wire_order_item item;
    struct wire_list left = row->lines;
    while (wire_list_next(&left, &order_item_body, &item)) {
        row->shards |= UINT64_C(1) << wire_shard_of(item.product, shards);
    }
}

int64_t
order_row_hold_round(const struct order_row *row, int shard)
{
    return (int64_t)((uint64_t)row->holds >> (8 * shard) & 0xff);
}

void
order_row_set_hold_round(struct order_row *row, int shard, int64_t round)
{
    uint64_t holds = (uint64_t)row->holds & ~(UINT64_C(0xff) << (8 * shard));
    row->holds = (int64_t)(holds | ((uint64_t)round & 0xff) << (8 * shard));
}

uint64_t
order_row_asks(const struct order_row *row)
{
    switch (saga_steps[row->saga].whom) {
    case PAYMENT:
        return 1;
    case UNSOLD:
        return row->shards & ~(uint64_t)row->sold;
    case SOLD:
        return (uint64_t)row->sold;
    case NOBODY:
        break;
    }
    return 0;
}

struct id
order_row_hold(const struct order_row *row, int shard)
{
    return saga_step_id(&row->id, OP_stock_reserve, order_row_hold_round(row, shard), shard);
}

/* A refusal is final for its id: what is tried again after it has another. */
static struct id
next_try(const struct id *step, int64_t tries)
{
    char name[32];
    (void)snprintf(name, sizeof name, "try/%" PRId64, tries);
    return id_derive(step, name);
}

struct id
order_row_step_id(const struct order_row *row, int shard)
{
    enum op op = saga_steps[row->saga].op;
    if (op == OP_payment_charge) {
        return row->charge;
    }
    if (op == OP_payment_refund) {
        return saga_step_id(&row->charge, op, row->tries, 0);
    }
    int64_t round = op == OP_payment_cancel ? row->charge_round : order_row_hold_round(row, shard);
    struct id step = saga_step_id(&row->id, op, round, shard);
    if (op == OP_stock_reserve) {
        return step; /* it is the hold's: a refusal of it is never tried again but by a new round */
    }
    return row->tries == 0 ? step : next_try(&step, row->tries);
}

enum saga_trigger
order_row_trigger_of_payment(const struct order_row *row)
{
    return order_trigger_of_payment(row->status, strcmp(row->reason, "expired") == 0);
}

struct wire_order
order_row_body(const struct order_row *row)
{
    struct wire_order body = {0};
    struct wire_money total = {0};
    WIRE_SET(&total, money, amount, row->total);
    WIRE_SET(&total, money, currency, slice_of(row->currency));
    WIRE_SET(&body, order, id, row->id);
    WIRE_SET(&body, order, number, row->n);
    WIRE_SET(&body, order, status, slice_of(order_status_name(row->status)));
    WIRE_SET(&body, order, saga, slice_of(saga_steps[row->saga].name));
    WIRE_SET(&body, order, lines, row->lines);
    WIRE_SET(&body, order, total, total);
    WIRE_SET(&body, order, method, slice_of(row->method));
    if (row->has_note) {
        WIRE_SET(&body, order, note, row->note);
    }
    if (row->has_customer) {
        WIRE_SET(&body, order, customer, row->customer);
    }
    if (row->has_charge) {
        WIRE_SET(&body, order, charge, row->charge);
    }
    if (row->reason[0] != '\0') {
        WIRE_SET(&body, order, reason, slice_of(row->reason));
    }
    WIRE_SET(&body, order, placed, row->placed_ms);
    WIRE_SET(&body, order, changed, row->changed_ms);
    if (row->status == ORDER_PLACED || row->status == ORDER_AWAITING_PAYMENT) {
        WIRE_SET(&body, order, deadline, row->deadline_ms);
    }
    WIRE_SET(&body, order, version, row->version);
    return body;
}
