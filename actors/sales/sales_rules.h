/* SPDX-License-Identifier: MPL-2.0 */
/* What a buyer is told, made of what stock says. Pure. */
#ifndef LARDER_SALES_RULES_H
#define LARDER_SALES_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "wire.h"

struct menu_card;

/* What is to be sold, with what the caller left out filled in: the demo product, one unit. The slice is the request's, or static. */
struct wire_stock_line
sales_line_of(const struct wire_sales_checkout *checkout);

/* The product that is to be shown, the demo product when none is named. */
struct slice
sales_product_of(const struct wire_sales_show *show);

/* A product as a buyer sees it: what stock has of it, with name and price from the menu. `menu` is NULL when it is not on the menu.
 * Borrows the slices of both. */
struct wire_sales_product
sales_card_of(const struct wire_stock_level *level, const struct menu_card *menu);

/* The receipt of a sale, read from the one level that stock answers to a take of one line; false when the answer holds another
 * number of levels. */
bool
sales_receipt_of(const struct id *sale, int64_t quantity, const struct wire_stock_done *done, struct wire_sales_receipt *receipt);

/* The refusal that a buyer gets for stock's: the same, but wrong_shard says in words that sales was told `shards` and stock another
 * number. `from` may be NULL, then the sentence is that of the code. `text` holds the sentence as long as `problem` is used. */
void
sales_problem_of(err status, const struct wire_problem *from, int shards, struct err_text *text, struct wire_problem *problem);

#endif
