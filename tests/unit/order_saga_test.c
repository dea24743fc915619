/* SPDX-License-Identifier: MPL-2.0 */
/* The saga's table: that it can be finished from everywhere, undoes what it did, and names its steps the same after every crash. */
#include "order/saga/order_saga.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "order/order_row.h"

/* Whether the end can be reached, by answers alone when `only_answers`. */
static bool
reaches_end(enum saga_state from, bool seen[SAGA_STATE_COUNT])
{
    if (from == SAGA_ended) {
        return true;
    }
    seen[from] = true;
    for (size_t i = 0; i < saga_edge_count; i++) {
        const struct saga_edge *edge = &saga_edges[i];
        if (edge->from == from && edge->to != SAGA_back && !seen[edge->to] && reaches_end(edge->to, seen)) {
            return true;
        }
    }
    return false;
}

Test(order_saga, ends_from_everywhere)
{
    for (unsigned state = 0; state < SAGA_STATE_COUNT; state++) {
        bool seen[SAGA_STATE_COUNT] = {false};
        cr_expect(reaches_end((enum saga_state)state, seen), "%s", saga_steps[state].name);
    }
}

Test(order_saga, every_state_that_asks_knows_what_ok_and_refused_mean)
{
    for (unsigned state = 0; state < SAGA_STATE_COUNT; state++) {
        bool asks = saga_steps[state].op != OP_COUNT;
        cr_expect_eq(saga_edge((enum saga_state)state, ON_ok) != NULL, asks, "%s", saga_steps[state].name);
        cr_expect_eq(saga_edge((enum saga_state)state, ON_refused) != NULL, asks, "%s", saga_steps[state].name);
    }
}

Test(order_saga, says_one_thing_of_each_pair)
{
    for (size_t i = 0; i < saga_edge_count; i++) {
        for (size_t k = i + 1; k < saga_edge_count; k++) {
            cr_expect(saga_edges[i].from != saga_edges[k].from || saga_edges[i].on != saga_edges[k].on, "%s on %s",
                      saga_steps[saga_edges[i].from].name, saga_trigger_name(saga_edges[i].on));
        }
    }
}

/* After the money has come an order is delivered, or the money goes back. */
Test(order_saga, behind_the_pivot_there_is_only_forward_or_refund)
{
    static const enum saga_state behind[] = {SAGA_committing,     SAGA_reserving_again, SAGA_committing_again, SAGA_releasing_late,
                                             SAGA_releasing_paid, SAGA_returning,       SAGA_refunding};
    for (size_t i = 0; i < sizeof behind / sizeof behind[0]; i++) {
        for (size_t k = 0; k < saga_edge_count; k++) {
            const struct saga_edge *edge = &saga_edges[k];
            if (edge->from == behind[i]) {
                cr_expect(edge->to != SAGA_releasing && edge->to != SAGA_paying && edge->to != SAGA_voiding, "%s on %s",
                          saga_steps[edge->from].name, saga_trigger_name(edge->on));
                cr_expect(edge->to != SAGA_ended || edge->status == ORDER_RECEIVED || edge->on == ON_refunded, "%s on %s",
                          saga_steps[edge->from].name, saga_trigger_name(edge->on));
            }
        }
    }
}

Test(order_saga, only_what_undoes_is_stuck_by_a_refusal)
{
    for (size_t i = 0; i < saga_edge_count; i++) {
        const struct saga_edge *edge = &saga_edges[i];
        if (edge->to == SAGA_stuck && edge->on != ON_fault) {
            enum op op = saga_steps[edge->from].op;
            cr_expect(op == OP_stock_release || op == OP_stock_return || op == OP_payment_refund || op == OP_payment_cancel, "%s",
                      saga_steps[edge->from].name);
        }
    }
    cr_expect_eq(saga_edge(SAGA_stuck, ON_retry)->to, SAGA_back);
}

/* What was done under that id is not known: an order that went on would be sold twice, one that went back would keep what it has. */
Test(order_saga, every_state_that_asks_stands_still_on_a_mismatch_and_changes_nothing)
{
    for (unsigned state = 0; state < SAGA_STATE_COUNT; state++) {
        const struct saga_edge *edge = saga_edge((enum saga_state)state, ON_fault);
        cr_expect_eq(edge != NULL, saga_steps[state].op != OP_COUNT, "%s", saga_steps[state].name);
        cr_expect(edge == NULL || (edge->to == SAGA_stuck && edge->status == ORDER_STATUS_COUNT), "%s", saga_steps[state].name);
    }
}

Test(order_saga, an_order_has_a_deadline_until_it_is_paid)
{
    cr_expect(saga_has_deadline(SAGA_reserving) && saga_has_deadline(SAGA_paying));
    cr_expect_not(saga_has_deadline(SAGA_committing) || saga_has_deadline(SAGA_ended) || saga_has_deadline(SAGA_voiding));
}

Test(order_saga, nothing_is_what_the_table_does_not_say)
{
    cr_expect_null(saga_edge(SAGA_committing, ON_cancel));
    cr_expect_null(saga_edge(SAGA_ended, ON_deadline));
    cr_expect_eq(saga_state_find(slice_of("nowhere")), SAGA_STATE_COUNT);
    cr_expect_eq(saga_state_find(slice_of("refunding")), SAGA_refunding);
}

/* --- ids --- */

/* As PROTOCOL.md tells: whoever speaks the protocol can look the hold up. */
Test(order_saga, ids_of_steps_are_derived_from_their_names)
{
    struct id order = id_of_bytes("order", 5);
    struct id step = id_derive(&order, "reserve/2/1/do");
    struct id found = saga_step_id(&order, OP_stock_reserve, 2, 1);
    cr_expect(id_equal(&found, &step));
    step = id_derive(&order, "charge/0/0/undo");
    found = saga_step_id(&order, OP_payment_cancel, 0, 0);
    cr_expect(id_equal(&found, &step));
}

Test(order_saga, every_step_direction_round_and_shard_has_an_id_of_its_own)
{
    static const enum op ops[] = {OP_stock_reserve,  OP_stock_release,  OP_stock_commit,  OP_stock_return,
                                  OP_payment_charge, OP_payment_cancel, OP_payment_refund};
    struct id order = id_of_bytes("order", 5);
    struct id ids[7 * 3 * 2];
    size_t count = 0;
    for (size_t i = 0; i < 7; i++) {
        for (int round = 0; round < 3; round++) {
            for (int shard = 0; shard < 2; shard++) {
                ids[count] = saga_step_id(&order, ops[i], round, shard);
                for (size_t k = 0; k < count; k++) {
                    cr_expect_not(id_equal(&ids[k], &ids[count]));
                }
                count++;
            }
        }
    }
}

/* --- a row in the table --- */

static struct order_row *
row_on_shards(uint64_t shards)
{
    struct order_row *row = order_row_create();
    row->id = id_of_bytes("order", 5);
    row->shards = shards;
    return row;
}

Test(order_saga, asks_the_shards_whose_units_are_not_sold_and_returns_those_that_are)
{
    struct order_row *row = row_on_shards(0xb);
    row->sold = 0x2;
    row->saga = SAGA_committing;
    cr_expect_eq(order_row_asks(row), 0x9);
    row->saga = SAGA_returning;
    cr_expect_eq(order_row_asks(row), 0x2);
    row->saga = SAGA_paying;
    cr_expect_eq(order_row_asks(row), 0x1);
    row->saga = SAGA_ended;
    cr_expect_eq(order_row_asks(row), 0);
    order_row_destroy(&row);
}

Test(order_saga, each_shard_keeps_the_round_of_its_hold)
{
    struct order_row *row = row_on_shards(0x3);
    order_row_set_hold_round(row, 0, 1);
    order_row_set_hold_round(row, 1, 200);
    order_row_set_hold_round(row, 7, 255);
    cr_expect_eq(order_row_hold_round(row, 0), 1);
    cr_expect_eq(order_row_hold_round(row, 1), 200);
    cr_expect_eq(order_row_hold_round(row, 7), 255);
    order_row_set_hold_round(row, 1, 3);
    cr_expect_eq(order_row_hold_round(row, 1), 3);
    cr_expect_eq(order_row_hold_round(row, 0), 1);
    struct id hold = order_row_hold(row, 1);
    row->saga = SAGA_reserving_again;
    struct id step = order_row_step_id(row, 1);
    cr_expect(id_equal(&hold, &step), "a hold has the id of the reserve that made it");
    order_row_destroy(&row);
}
