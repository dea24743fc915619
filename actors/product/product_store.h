/* SPDX-License-Identifier: MPL-2.0 */
/* The product actor's tables, as functions. Nothing is decided here. */
#ifndef LARDER_PRODUCT_STORE_H
#define LARDER_PRODUCT_STORE_H

#include "kit/db/db.h"
#include "product_cards.h"

struct product_store {
    struct db *db;
    struct db_in *find;
    struct db_rows *write;
    struct db_statement *last_n;
    struct db_statement *pages[4]; /* by whether a category and a state are asked for: 1 and 2 */
    struct db_statement *categories;
    struct db_statement *put_category;
};

/* A stretch of the menu behind a SKU. */
struct product_range {
    struct slice after;    /* empty: from the start */
    struct slice category; /* empty: any */
    bool has_state;
    bool is_active;
    int64_t limit;
};

void
product_store_init(struct product_store *store, struct db *db);

/* The highest n; 0 when there is no product. */
MUST_CHECK err
product_store_last_n(struct product_store *store, int64_t *n);

/* Reads all products that product_store_want() has named: rows by product_store_next_wanted() until it answers false, then
 * product_store_end_wanted(). Slices of the row live until the next one. */
void
product_store_want(struct product_store *store, struct slice product);
bool
product_store_next_wanted(struct product_store *store, struct product_record *record);
MUST_CHECK err
product_store_end_wanted(struct product_store *store);

/* Collects a row, new or changed; product_store_write() queues what was collected. */
void
product_store_put(struct product_store *store, const struct product_record *record);
MUST_CHECK err
product_store_write(struct product_store *store);

/* Starts a page; rows by product_store_next(). */
MUST_CHECK err
product_store_page(struct product_store *store, const struct product_range *range, struct db_statement **rows);
bool
product_store_next(struct db_statement *rows, struct product_record *record);

/* Starts a read of all categories, in the order of the menu: category, name, position. */
MUST_CHECK err
product_store_categories(struct product_store *store, struct db_statement **rows);
MUST_CHECK err
product_store_put_category(struct product_store *store, const struct wire_product_category *category);

#endif
