/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Reads what a buyer asks for, and writes what a buyer is told, from the words of stock and of the menu. No I/O and no state.
 *
 *   The receipt repeats the quantity of the request and the level that stock wrote down with the sale. So a sale that is asked
 *   for again gets the very same receipt: stock answers with the level right after the sale, and another quantity under the same
 *   id would have been refused there as another request.
 *
 * FAILURES
 *   A refusal of stock is passed on as it is. Only wrong_shard is explained: the buyer cannot do anything about it, but whoever
 *   runs the parts can, and must be told which setting they disagree about.
 *
 * LIMITS
 *   One product per sale; several are an order.
 */
#include "sales_rules.h"

#include "shared/demo.h"
#include "shared/menu.h"

struct wire_stock_line
sales_line_of(const struct wire_sales_checkout *checkout)
{
    struct slice asked = {0};
    if (WIRE_HAS(checkout, sales_checkout, product)) {
        asked = checkout->product;
    }
    struct wire_stock_line line = {0};
    WIRE_SET(&line, stock_line, product, demo_sku_of(asked));
    WIRE_SET(&line, stock_line, quantity, WIRE_HAS(checkout, sales_checkout, quantity) ? checkout->quantity : 1);
    return line;
}

struct slice
sales_product_of(const struct wire_sales_show *show)
{
    struct slice asked = {0};
    if (WIRE_HAS(show, sales_show, product)) {
        asked = show->product;
    }
    return demo_sku_of(asked);
}

struct wire_sales_product
sales_card_of(const struct wire_stock_level *level, const struct menu_card *menu)
{
    struct wire_sales_product card = {0};
    WIRE_SET(&card, sales_product, product, level->product);
    WIRE_SET(&card, sales_product, on_hand, level->on_hand);
    WIRE_SET(&card, sales_product, reserved, level->reserved);
    WIRE_SET(&card, sales_product, available, level->available);
    WIRE_SET(&card, sales_product, incoming, level->incoming);
    WIRE_SET(&card, sales_product, version, level->version);
    if (menu != NULL) {
        struct wire_money price = {0};
        WIRE_SET(&price, money, amount, menu->amount);
        WIRE_SET(&price, money, currency, menu->currency);
        WIRE_SET(&card, sales_product, name, menu->name);
        WIRE_SET(&card, sales_product, price, price);
    }
    return card;
}

bool
sales_receipt_of(const struct id *sale, int64_t quantity, const struct wire_stock_done *done, struct wire_sales_receipt *receipt)
{
    struct wire_list levels = done->levels;
    struct wire_stock_level level;
    if (levels.count != 1 || !wire_list_next(&levels, &stock_level_body, &level)) {
        return false;
    }
    *receipt = (struct wire_sales_receipt){0};
    WIRE_SET(receipt, sales_receipt, id, *sale);
    WIRE_SET(receipt, sales_receipt, product, level.product);
    WIRE_SET(receipt, sales_receipt, quantity, quantity);
    WIRE_SET(receipt, sales_receipt, available, level.available);
    WIRE_SET(receipt, sales_receipt, version, level.version);
    return true;
}

void
sales_problem_of(err status, const struct wire_problem *from, int shards, struct err_text *text, struct wire_problem *problem)
{
    *problem = (struct wire_problem){0};
    if (from != NULL) {
        *problem = *from;
    }
    if (status == ERR_wrong_shard) {
        (void)err_say(text, status,
                      "stock does not keep this product on the shard where sales, told stock_shards = %d, looks for it: start all "
                      "parts with the same LARDER_STOCK_SHARDS",
                      shards);
        WIRE_SET(problem, problem, detail, slice_of(text->text));
    } else if (from == NULL) {
        WIRE_SET(problem, problem, detail, slice_of(err_words(status)));
    }
}
