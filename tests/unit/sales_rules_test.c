/* SPDX-License-Identifier: MPL-2.0 */
/* What a buyer asks for and is told. */
#include "sales/sales_rules.h"

#include <criterion/criterion.h>

#include "shared/demo.h"
#include "shared/menu.h"

static struct wire_stock_level
level_of(const char *product)
{
    struct wire_stock_level level = {0};
    WIRE_SET(&level, stock_level, product, slice_of(product));
    WIRE_SET(&level, stock_level, on_hand, 10);
    WIRE_SET(&level, stock_level, reserved, 3);
    WIRE_SET(&level, stock_level, available, 7);
    WIRE_SET(&level, stock_level, incoming, 5);
    WIRE_SET(&level, stock_level, version, 42);
    return level;
}

/* What stock answers about so many levels. `buffer` holds them. */
static struct wire_stock_done
done_of(int levels, struct wire_buffer *buffer)
{
    struct wire_stock_done done = {0};
    struct wire_list list = {0};
    struct wire_stock_level level = level_of("donut");
    for (int i = 0; i < levels; i++) {
        wire_list_add(&list, &stock_level_body, &level, buffer);
    }
    wire_list_end(&list, buffer);
    WIRE_SET(&done, stock_done, levels, list);
    return done;
}

Test(sales_rules, an_empty_checkout_is_one_donut)
{
    struct wire_sales_checkout checkout = {0};
    struct wire_stock_line line = sales_line_of(&checkout);
    cr_expect(slice_equal(line.product, slice_of("donut")));
    cr_expect_eq(line.quantity, 1);
    cr_expect(WIRE_HAS(&line, stock_line, product) && WIRE_HAS(&line, stock_line, quantity));
}

Test(sales_rules, the_alias_is_the_donut)
{
    struct wire_sales_checkout checkout = {0};
    struct wire_sales_show show = {0};
    WIRE_SET(&checkout, sales_checkout, product, slice_of(DEMO_ALIAS));
    WIRE_SET(&checkout, sales_checkout, quantity, 2);
    WIRE_SET(&show, sales_show, product, slice_of(DEMO_ALIAS));
    cr_expect(slice_equal(sales_line_of(&checkout).product, slice_of("donut")));
    cr_expect_eq(sales_line_of(&checkout).quantity, 2);
    cr_expect(slice_equal(sales_product_of(&show), slice_of("donut")));
}

Test(sales_rules, case_counts_in_a_sku)
{
    struct wire_sales_show show = {0};
    cr_expect(slice_equal(sales_product_of(&show), slice_of("donut")));
    WIRE_SET(&show, sales_show, product, slice_of("Donut"));
    cr_expect(slice_equal(sales_product_of(&show), slice_of("Donut")));
    WIRE_SET(&show, sales_show, product, slice_of("cp-502101"));
    cr_expect(slice_equal(sales_product_of(&show), slice_of("cp-502101")));
}

Test(sales_rules, what_is_on_the_menu_has_its_name_and_price)
{
    struct wire_stock_level level = level_of("x-burger");
    struct menu_card menu = {.name = slice_of("Hambúrguer"), .amount = 2590, .currency = slice_of("BRL"), .version = 1};
    struct wire_sales_product card = sales_card_of(&level, &menu);
    cr_expect(slice_equal(card.product, slice_of("x-burger")));
    cr_expect(WIRE_HAS(&card, sales_product, name) && slice_equal(card.name, slice_of("Hambúrguer")));
    cr_expect(WIRE_HAS(&card, sales_product, price));
    cr_expect_eq(card.price.amount, 2590);
    cr_expect(slice_equal(card.price.currency, slice_of("BRL")));
    cr_expect_eq(card.available, 7);
}

Test(sales_rules, what_is_not_on_the_menu_has_neither)
{
    struct wire_stock_level donut = level_of(DEMO_PRODUCT);
    struct wire_sales_product card = sales_card_of(&donut, NULL);
    cr_expect_not(WIRE_HAS(&card, sales_product, name));
    cr_expect_not(WIRE_HAS(&card, sales_product, price));
    cr_expect_eq(card.available, 7);
}

Test(sales_rules, a_card_repeats_the_level_and_can_be_sent)
{
    struct wire_stock_level level = level_of("donut");
    struct menu_card menu = {.name = slice_of("Donut"), .amount = 0, .currency = slice_of("KRW"), .version = 1};
    struct wire_sales_product card = sales_card_of(&level, &menu);
    struct wire_sales_product read;
    struct wire_buffer buffer = {0};
    wire_encode(&sales_product_body, &card, &buffer);
    cr_assert_eq(wire_decode(&sales_product_body, wire_buffer_slice(&buffer), &read, NULL), ERR_ok);
    cr_expect_eq(read.on_hand, 10);
    cr_expect_eq(read.reserved, 3);
    cr_expect_eq(read.available, 7);
    cr_expect_eq(read.incoming, 5);
    cr_expect_eq(read.version, 42);
    wire_buffer_fini(&buffer);
}

Test(sales_rules, a_receipt_carries_the_sale_and_the_level_after_it)
{
    struct wire_buffer buffer = {0};
    struct wire_stock_done done = done_of(1, &buffer);
    struct id sale = id_new();
    struct wire_sales_receipt receipt;
    cr_assert(sales_receipt_of(&sale, 3, &done, &receipt));
    cr_expect(id_equal(&receipt.id, &sale));
    cr_expect_eq(receipt.quantity, 3);
    cr_expect_eq(receipt.available, 7);
    cr_expect_eq(receipt.version, 42);
    cr_expect(slice_equal(receipt.product, slice_of("donut")));
    wire_buffer_fini(&buffer);
}

Test(sales_rules, an_answer_without_its_one_level_is_no_receipt)
{
    struct wire_buffer buffer = {0};
    struct id sale = id_new();
    struct wire_sales_receipt receipt;
    struct wire_stock_done none = done_of(0, &buffer);
    cr_expect_not(sales_receipt_of(&sale, 1, &none, &receipt));
    buffer.size = 0;
    struct wire_stock_done two = done_of(2, &buffer);
    cr_expect_not(sales_receipt_of(&sale, 1, &two, &receipt));
    wire_buffer_fini(&buffer);
}

Test(sales_rules, a_refusal_is_passed_on_as_it_is)
{
    struct wire_problem from = {0};
    struct wire_problem problem;
    struct err_text text;
    WIRE_SET(&from, problem, detail, slice_of("donut: 1 asked, 0 there"));
    WIRE_SET(&from, problem, available, 0);
    sales_problem_of(ERR_out_of_stock, &from, 1, &text, &problem);
    cr_expect(slice_equal(problem.detail, from.detail));
    cr_expect_eq(problem.has, from.has);
}

Test(sales_rules, wrong_shard_says_that_the_parts_disagree)
{
    struct wire_problem from = {0};
    struct wire_problem problem;
    struct err_text text;
    WIRE_SET(&from, problem, detail, slice_of("not here"));
    WIRE_SET(&from, problem, product, slice_of("donut"));
    sales_problem_of(ERR_wrong_shard, &from, 3, &text, &problem);
    cr_expect(strstr(text.text, "LARDER_STOCK_SHARDS") != NULL && strstr(text.text, "3") != NULL, "%s", text.text);
    cr_expect(slice_equal(problem.detail, slice_of(text.text)));
    cr_expect(slice_equal(problem.product, slice_of("donut")));
}

Test(sales_rules, a_refusal_without_a_body_has_a_sentence)
{
    struct wire_problem problem;
    struct err_text text;
    sales_problem_of(ERR_deadline_exceeded, NULL, 1, &text, &problem);
    cr_expect(WIRE_HAS(&problem, problem, detail));
    cr_expect(problem.detail.size > 0);
}
