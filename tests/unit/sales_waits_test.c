/* SPDX-License-Identifier: MPL-2.0 */
/* Requests that wait for stock: what a batch begins or ends counts with its commit, and entries outlive the state they were made in.
 */
#include "sales/sales_waits.h"

#include <criterion/criterion.h>

#define MANY 1000

Test(sales_waits, an_entry_is_used_again_when_its_end_is_committed)
{
    struct sales_waits *waits = sales_waits_create();
    struct sale *sale = sales_waits_begin(waits);
    sales_waits_committed(waits);
    cr_expect_neq(sales_waits_begin(waits), sale, "it waits");
    sales_waits_committed(waits);
    sales_waits_end(waits, sale);
    cr_expect_neq(sales_waits_begin(waits), sale, "the batch that ends it is under way");
    sales_waits_committed(waits);
    cr_expect_eq(sales_waits_begin(waits), sale);
    sales_waits_leave(&waits, true);
    cr_expect_null(waits);
}

Test(sales_waits, an_entry_of_a_dropped_batch_is_free_at_once)
{
    struct sales_waits *waits = sales_waits_create();
    struct sale *sale = sales_waits_begin(waits);
    sales_waits_dropped(waits);
    cr_expect_eq(sales_waits_begin(waits), sale);
    sales_waits_dropped(waits);
    sales_waits_leave(&waits, false);
}

Test(sales_waits, an_end_that_was_dropped_can_come_again)
{
    int waiter = 0;
    struct sales_waits *waits = sales_waits_create();
    struct sale *sale = sales_waits_begin(waits);
    sale->waiter = (struct waiter *)&waiter;
    sale->quantity = 7;
    sales_waits_committed(waits);
    for (int i = 0; i < 3; i++) {
        sales_waits_end(waits, sale);
        sales_waits_dropped(waits);
        cr_expect_eq(sale->waiter, (struct waiter *)&waiter);
        cr_expect_eq(sale->quantity, 7);
        cr_expect_neq(sales_waits_begin(waits), sale);
        sales_waits_dropped(waits);
    }
    sales_waits_end(waits, sale);
    sales_waits_committed(waits);
    cr_expect_eq(sales_waits_begin(waits), sale);
    sales_waits_leave(&waits, true);
}

/* Read by the sanitizers: nothing is used after it was freed, and nothing is left. */
Test(sales_waits, entries_outlive_the_state_they_were_made_in)
{
    struct sale *sales[MANY];
    struct sales_waits *waits = sales_waits_create();
    for (int i = 0; i < MANY; i++) {
        sales[i] = sales_waits_begin(waits);
        sales[i]->quantity = i;
    }
    sales_waits_committed(waits);
    for (int state = 0; state < 3; state++) {
        sales_waits_leave(&waits, false);
        waits = sales_waits_create();
    }
    for (int i = 0; i < MANY; i++) {
        struct sale *fresh = sales_waits_begin(waits);
        cr_expect_eq(sales[i]->quantity, i);
        sales_waits_end(waits, sales[i]);
        sales_waits_committed(waits);
        sales_waits_end(waits, fresh);
        sales_waits_committed(waits);
    }
    sales_waits_leave(&waits, false);
}
