/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The copy of the menu: the newest version wins, memory and table say the same, also after a rollback. On both databases.
 */
#include "shared/menu.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../support/kit_place.h"

static const struct db_step steps[] = {MENU_STEPS};

struct stage {
    struct db *db;
    struct menu *menu;
    int faults;
    char fault[256];
};

static void
start(struct stage *stage, const struct place *place)
{
    struct err_text why = {""};
    *stage = (struct stage){.db = place_open(place)};
    cr_assert(db_migrate(stage->db, steps, MENU_STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    stage->menu = menu_create(stage->db);
}

static void
stop(struct stage *stage)
{
    menu_destroy(&stage->menu);
    db_close(&stage->db);
}

/* As after a restart: memory is empty. */
static void
forget(struct stage *stage)
{
    menu_destroy(&stage->menu);
    stage->menu = menu_create(stage->db);
}

static struct wire_product_card
card_of(const char *product, int64_t version, const char *name, int64_t amount)
{
    struct wire_product_card card = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, amount);
    WIRE_SET(&price, money, currency, slice_of("BRL"));
    WIRE_SET(&card, product_card, product, slice_of(product));
    WIRE_SET(&card, product_card, name, slice_of(name));
    WIRE_SET(&card, product_card, price, price);
    WIRE_SET(&card, product_card, active, version % 2 == 1);
    WIRE_SET(&card, product_card, version, version);
    return card;
}

static bool
apply(struct stage *stage, const struct wire_product_card *card)
{
    menu_want(stage->menu, card->product);
    place_expect(stage->db, menu_read(stage->menu), ERR_ok);
    return menu_apply(stage->menu, card);
}

static void
commit(struct stage *stage)
{
    place_expect(stage->db, menu_queue(stage->menu), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    menu_committed(stage->menu);
}

static void
drop(struct stage *stage)
{
    place_expect(stage->db, menu_queue(stage->menu), ERR_ok);
    db_rollback(stage->db);
    menu_dropped(stage->menu);
}

static const struct menu_card *
find(struct stage *stage, const char *product)
{
    menu_want(stage->menu, slice_of(product));
    place_expect(stage->db, menu_read(stage->menu), ERR_ok);
    return menu_find(stage->menu, slice_of(product));
}

static void
expect_name(struct stage *stage, const char *product, const char *name)
{
    const struct menu_card *card = find(stage, product);
    cr_assert_not_null(card, "%s is not on the menu", product);
    cr_expect(slice_equal(card->name, slice_of(name)), "%.*s instead of %s", (int)card->name.size, (const char *)card->name.data,
              name);
}

static void
note_fault(void *context, const char *sentence)
{
    struct stage *stage = context;
    stage->faults++;
    (void)snprintf(stage->fault, sizeof stage->fault, "%s", sentence);
}

static struct verify_report
verify(struct stage *stage)
{
    struct verify_report report = {.say = note_fault, .context = stage};
    place_expect(stage->db, menu_verify(stage->db, &report), ERR_ok);
    db_rollback(stage->db);
    return report;
}

ON_BOTH(menu, shows_what_it_was_told_from_memory_and_from_the_table)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_card told = card_of("x-burger", 3, "Hambúrguer \xf0\x9f\x8d\x94", 2590);
    cr_expect(apply(&stage, &told));
    expect_name(&stage, "x-burger", "Hambúrguer \xf0\x9f\x8d\x94");
    commit(&stage);
    for (int round = 0; round < 2; round++) {
        const struct menu_card *card = find(&stage, "x-burger");
        cr_assert_not_null(card);
        cr_expect(slice_equal(card->product, slice_of("x-burger")));
        cr_expect(slice_equal(card->name, slice_of("Hambúrguer \xf0\x9f\x8d\x94")));
        cr_expect(slice_equal(card->currency, slice_of("BRL")));
        cr_expect(card->amount == 2590);
        cr_expect(card->is_active);
        cr_expect(card->version == 3);
        menu_committed(stage.menu);
        forget(&stage);
    }
    stop(&stage);
}

ON_BOTH(menu, lets_the_newest_version_win)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_card third = card_of("soda", 3, "third", 1);
    struct wire_product_card second = card_of("soda", 2, "second", 1);
    struct wire_product_card fourth = card_of("soda", 4, "fourth", 1);
    cr_expect(apply(&stage, &third));
    cr_expect_not(apply(&stage, &second), "older than what is told in this batch");
    commit(&stage);
    forget(&stage);
    cr_expect_not(apply(&stage, &second), "older than the row");
    cr_expect_not(apply(&stage, &third), "the same once more");
    cr_expect(apply(&stage, &fourth));
    commit(&stage);
    forget(&stage);
    expect_name(&stage, "soda", "fourth");
    cr_expect_not(find(&stage, "soda")->is_active);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $card") == 1);
    stop(&stage);
}

ON_BOTH(menu, forgets_what_a_dropped_batch_was_told)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_card first = card_of("fries", 1, "first", 1);
    struct wire_product_card second = card_of("fries", 2, "second", 1);
    struct wire_product_card fresh = card_of("cake", 1, "cake", 1);
    cr_expect(apply(&stage, &first));
    commit(&stage);
    cr_expect(apply(&stage, &second));
    cr_expect(apply(&stage, &fresh));
    drop(&stage);
    expect_name(&stage, "fries", "first");
    cr_expect_null(find(&stage, "cake"));
    menu_committed(stage.menu);
    cr_expect(apply(&stage, &second), "told once more, it counts");
    cr_expect(apply(&stage, &fresh));
    commit(&stage);
    expect_name(&stage, "fries", "second");
    expect_name(&stage, "cake", "cake");
    stop(&stage);
}

ON_BOTH(menu, finds_nothing_that_it_was_not_told_until_it_is)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_null(find(&stage, "tea"));
    menu_committed(stage.menu);
    struct wire_product_card tea = card_of("tea", 1, "Tea", 300);
    cr_expect_null(find(&stage, "tea"), "from memory");
    cr_expect(apply(&stage, &tea));
    commit(&stage);
    expect_name(&stage, "tea", "Tea");
    cr_expect_null(find(&stage, "te"));
    cr_expect_null(find(&stage, "TEA"));
    stop(&stage);
}

ON_BOTH(menu, reads_nothing_for_what_is_in_memory)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_card tea = card_of("tea", 1, "Tea", 300);
    cr_expect(apply(&stage, &tea));
    cr_expect_null(find(&stage, "coffee"));
    commit(&stage);
    struct db *other = place_open(place);
    place_expect(other, db_run(db_statement(other, "UPDATE $card SET name = 'changed beside it'"), NULL), ERR_ok);
    place_expect(other, db_commit(other), ERR_ok);
    db_close(&other);
    expect_name(&stage, "tea", "Tea");
    cr_expect_null(find(&stage, "coffee"));
    forget(&stage);
    expect_name(&stage, "tea", "changed beside it");
    stop(&stage);
}

/* More products than stay in memory, in one batch and in many. */
ON_BOTH(menu, is_right_beyond_what_memory_holds)
{
    enum { PRODUCTS = 2 * MENU_CARDS_MAX + 100, BATCH = 1000 };
    struct stage stage;
    char product[32];
    start(&stage, place);
    for (int i = 0; i < PRODUCTS; i++) {
        (void)snprintf(product, sizeof product, "p-%d", i);
        menu_want(stage.menu, slice_of(product));
    }
    place_expect(stage.db, menu_read(stage.menu), ERR_ok);
    for (int i = 0; i < PRODUCTS; i++) {
        (void)snprintf(product, sizeof product, "p-%d", i);
        struct wire_product_card card = card_of(product, 1, product, i);
        cr_assert(menu_apply(stage.menu, &card));
    }
    commit(&stage);
    for (int from = 0; from < PRODUCTS; from += BATCH) {
        int to = from + BATCH < PRODUCTS ? from + BATCH : PRODUCTS;
        for (int i = from; i < to; i++) {
            (void)snprintf(product, sizeof product, "p-%d", i);
            menu_want(stage.menu, slice_of(product));
        }
        place_expect(stage.db, menu_read(stage.menu), ERR_ok);
        for (int i = from; i < to; i++) {
            (void)snprintf(product, sizeof product, "p-%d", i);
            const struct menu_card *card = menu_find(stage.menu, slice_of(product));
            cr_assert_not_null(card, "%s", product);
            cr_assert(card->amount == i && slice_equal(card->name, slice_of(product)), "%s", product);
        }
        menu_committed(stage.menu);
    }
    struct verify_report report = verify(&stage);
    cr_expect(report.rows_checked == PRODUCTS);
    cr_expect(report.faults == 0, "%s", stage.fault);
    stop(&stage);
}

ON_BOTH(menu, proves_that_each_card_can_be_one)
{
    static const char *const breaks[] = {
        "UPDATE $card SET version = 0", "UPDATE $card SET amount = -1",        "UPDATE $card SET currency = 'BR'",
        "UPDATE $card SET name = ''",   "UPDATE $card SET product = 'no sku'",
    };
    struct stage stage;
    start(&stage, place);
    struct wire_product_card tea = card_of("tea", 1, "Tea", 300);
    cr_expect(apply(&stage, &tea));
    commit(&stage);
    cr_expect(verify(&stage).faults == 0);
    for (size_t i = 0; i < sizeof breaks / sizeof breaks[0]; i++) {
        stage.faults = 0;
        place_expect(stage.db, db_run(db_statement(stage.db, breaks[i]), NULL), ERR_ok);
        struct verify_report report = {.say = note_fault, .context = &stage};
        place_expect(stage.db, menu_verify(stage.db, &report), ERR_ok);
        cr_expect(report.faults == 1 && stage.faults == 1, "%s", breaks[i]);
        db_rollback(stage.db);
    }
    stop(&stage);
}
