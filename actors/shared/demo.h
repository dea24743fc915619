/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The one product that is there from the start: the donut shop's donut, with its alias and its factory, and what is put on the shelf
 * and on the menu of an empty shop. It is the only product that has an alias.
 */
#ifndef LARDER_DEMO_H
#define LARDER_DEMO_H

#include <stdbool.h>

#include "wire.h"

#define DEMO_PRODUCT "donut"
#define DEMO_ALIAS "CP-502101"
#define DEMO_NAME "Donut"
#define DEMO_DESCRIPTION "A glazed ring, made when the shelf is empty."
#define DEMO_CATEGORY "dessert"
#define DEMO_PRICE_AMOUNT 19900 /* KRW has no minor unit: 19,900 won */
#define DEMO_PRICE_CURRENCY "KRW"
#define DEMO_FACTORY "FF-500293"
#define DEMO_STOCK 3
#define DEMO_REFILL 10

/* The SKU that is meant: the demo product for nothing (size 0) and for its alias, otherwise what was asked for. */
static inline struct slice
demo_sku_of(struct slice asked)
{
    bool is_demo = asked.size == 0 || slice_equal(asked, slice_of(DEMO_ALIAS));
    return is_demo ? slice_of(DEMO_PRODUCT) : asked;
}

static inline bool
demo_is_sku(struct slice product)
{
    return slice_equal(product, slice_of(DEMO_PRODUCT));
}

#endif
