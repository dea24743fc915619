/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of the product actor share. */
#ifndef LARDER_PRODUCT_STATE_H
#define LARDER_PRODUCT_STATE_H

#include "product_cards.h"
#include "product_store.h"

struct product_part {
    char category[PRODUCT_CATEGORY_MAX + 1];
    char name[65];
    int64_t position;
};

struct product_actor {
    struct actor *actor;
    struct batch *batch; /* under way */
    struct product_store store;

    struct product_cards cards; /* of the batch under way */

    bool has_last_n; /* what follows is as the database has it, this batch included */
    int64_t last_n;
    bool has_parts;
    struct product_part parts[PRODUCT_CATEGORIES_MAX]; /* in the order of the menu */
    size_t part_count;

    struct wire_buffer list; /* elements of a reply's list */
    struct wire_buffer images;
};

/* --- product_parts.c --- */

MUST_CHECK err
product_read_parts(struct product_actor *product);

/* NULL when there is no such category. */
struct product_part *
product_find_part(struct product_actor *product, struct slice category);

MUST_CHECK err
product_handle_categories(void *state, struct item *item);
MUST_CHECK err
product_handle_categorise(void *state, struct item *item);

/* --- product_card.c --- */

/* The body of a record; its pictures lie in product->images until the next one. */
struct wire_product_card
product_card_of(struct product_actor *product, const struct product_record *record);

/* The product is as `said` from here on: its row, its version, its event. */
void
product_change(struct product_actor *product, const struct item *item, struct product_entry *entry, const struct product_said *said);

MUST_CHECK err
product_handle_get(void *state, struct item *item);
MUST_CHECK err
product_handle_put(void *state, struct item *item);
MUST_CHECK err
product_handle_patch(void *state, struct item *item);

/* --- product_load.c --- */

MUST_CHECK err
product_handle_load(void *state, struct item *item);

#endif
