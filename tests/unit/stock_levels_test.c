/* SPDX-License-Identifier: MPL-2.0 */
/* The levels in memory: found by their exact name, taken over with a commit, put back with a roll-back. */
#include "stock/stock_levels.h"

#include <stdio.h>

#include <criterion/criterion.h>

static struct level *
add(struct level_table *levels, const char *product, int64_t on_hand)
{
    struct level *level = stock_levels_add(levels, slice_of(product));
    level->exists = true;
    level->shelf.on_hand = on_hand;
    return level;
}

Test(stock_levels, finds_by_the_exact_name)
{
    struct level_table *levels = stock_levels_create();
    add(levels, "donut", 1);
    add(levels, "Donut", 2);
    add(levels, "donut-xl", 3);
    cr_expect_eq(stock_levels_find(levels, slice_of("donut"))->shelf.on_hand, 1);
    cr_expect_eq(stock_levels_find(levels, slice_of("Donut"))->shelf.on_hand, 2);
    cr_expect_eq(stock_levels_find(levels, slice_of("donut-xl"))->shelf.on_hand, 3);
    cr_expect_null(stock_levels_find(levels, slice_of("donu")));
    cr_expect_null(stock_levels_find(levels, slice_of("007")));
    stock_levels_destroy(&levels);
    cr_expect_null(levels);
    stock_levels_destroy(&levels);
}

Test(stock_levels, an_entry_without_a_product_is_not_found)
{
    struct level_table *levels = stock_levels_create();
    struct level *level = stock_levels_add(levels, slice_of("donut"));
    cr_expect_null(stock_levels_find(levels, slice_of("donut")));
    cr_expect_eq(stock_levels_add(levels, slice_of("donut")), level);
    cr_expect_eq(level->shelf.lot, 1);
    cr_expect_eq(level->shelf.alarm, ALARM_ASLEEP);
    stock_levels_destroy(&levels);
}

Test(stock_levels, keeps_a_hundred_thousand_where_they_are)
{
    struct level_table *levels = stock_levels_create();
    enum { COUNT = 100000 };
    static struct level *where[COUNT];
    char name[16];
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "p-%d", i);
        where[i] = add(levels, name, i);
    }
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(name, sizeof name, "p-%d", i);
        cr_assert_eq(stock_levels_find(levels, slice_of(name)), where[i], "%s", name);
        cr_assert_eq(where[i]->shelf.on_hand, i);
    }
    stock_levels_destroy(&levels);
}

Test(stock_levels, a_commit_takes_the_changes_over)
{
    struct level_table *levels = stock_levels_create();
    struct level *level = add(levels, "donut", 10);
    stock_levels_touch(levels, level, NULL);
    level->shelf.on_hand = 7;
    cr_expect_eq(stock_levels_touched_count(levels), 1);
    cr_expect_eq(stock_levels_touched(levels, 0), level);
    cr_expect_eq(stock_levels_before(levels, 0)->on_hand, 10);
    stock_levels_take_over(levels);
    cr_expect_eq(stock_levels_touched_count(levels), 0);
    stock_levels_drop(levels);
    cr_expect_eq(level->shelf.on_hand, 7);
    stock_levels_destroy(&levels);
}

Test(stock_levels, a_roll_back_puts_the_first_figures_back)
{
    struct level_table *levels = stock_levels_create();
    struct level *level = add(levels, "donut", 10);
    int causes[2];
    stock_levels_touch(levels, level, &causes[0]);
    level->shelf.on_hand = 7;
    stock_levels_touch(levels, level, &causes[1]);
    level->shelf.on_hand = 5;
    cr_expect_eq(stock_levels_touched_count(levels), 1, "once, however often it is touched");
    cr_expect_eq(level->cause, &causes[1]);
    stock_levels_drop(levels);
    cr_expect_eq(level->shelf.on_hand, 10);
    stock_levels_touch(levels, level, NULL);
    cr_expect_eq(stock_levels_touched_count(levels), 1, "and again in the next batch");
    stock_levels_destroy(&levels);
}

Test(stock_levels, a_product_that_was_made_in_a_lost_batch_is_not_there)
{
    struct level_table *levels = stock_levels_create();
    struct level *level = stock_levels_add(levels, slice_of("new"));
    stock_levels_touch(levels, level, NULL);
    level->shelf.on_hand = 5;
    level->shelf.version = 1;
    cr_expect_eq(stock_levels_find(levels, slice_of("new")), level);
    cr_expect_null(stock_levels_before(levels, 0));
    stock_levels_drop(levels);
    cr_expect_null(stock_levels_find(levels, slice_of("new")));
    cr_expect_eq(stock_levels_add(levels, slice_of("new"))->shelf.version, 0, "its next life begins anew");
    stock_levels_destroy(&levels);
}
