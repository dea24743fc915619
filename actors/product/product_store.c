/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   All SQL of the product actor, in the subset that both engines share.
 *
 * STATE
 *   Tables: product_schema.def. The statements belong to the db and survive a reconnect. Rows lend their text until the next one.
 *
 * FAILURES
 *   Errors of the database go up unchanged; the kit rolls the batch back.
 *
 * LIMITS
 *   A page of a category in one state reads the index of the whole category at the most.
 */
#include "product_store.h"

#define COLUMNS "n, product, name, description, category, amount, currency, images, is_active, version, changed"
#define COLUMN_COUNT 11
#define PAGE(index, where) \
    db_statement(db, "SELECT " COLUMNS " FROM $product {BY " index "} WHERE " where "product > ? ORDER BY product LIMIT ?")
#define PAGE_OF_CATEGORY(where) PAGE("product_category", "category = ? AND " where)

void
product_store_init(struct product_store *store, struct db *db)
{
    *store = (struct product_store){
        .db = db,
        .find = db_in(db, "SELECT " COLUMNS " FROM $product WHERE product IN (*)"),
        .write = db_rows(db, "REPLACE INTO $product (" COLUMNS ")", COLUMN_COUNT),
        .last_n = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $product"),
        .pages = {PAGE("product", ""), PAGE_OF_CATEGORY(""), PAGE("product_state", "is_active = ? AND "),
                  PAGE_OF_CATEGORY("is_active = ? AND ")},
        .categories = db_statement(db, "SELECT category, name, position FROM $category ORDER BY position, category"),
        .put_category = db_statement(db, "REPLACE INTO $category (category, name, position) VALUES (?, ?, ?)"),
    };
}

err
product_store_last_n(struct product_store *store, int64_t *n)
{
    err code = db_query(store->last_n);
    if (code != ERR_ok) {
        return code;
    }
    *n = db_next(store->last_n) ? db_i64(store->last_n, 0) : 0;
    db_done(store->last_n);
    return ERR_ok;
}

static void
read_record(struct db_statement *row, struct product_record *record)
{
    *record = (struct product_record){
        .n = db_i64(row, 0),
        .version = db_i64(row, 9),
        .changed_ms = db_i64(row, 10),
        .said = {.product = db_bytes(row, 1),
                 .name = db_bytes(row, 2),
                 .description = db_bytes(row, 3),
                 .category = db_bytes(row, 4),
                 .amount = db_i64(row, 5),
                 .currency = db_bytes(row, 6),
                 .images = db_bytes(row, 7),
                 .is_active = db_i64(row, 8) != 0},
    };
}

void
product_store_want(struct product_store *store, struct slice product)
{
    db_in_text(store->find, product);
}

bool
product_store_next_wanted(struct product_store *store, struct product_record *record)
{
    struct db_statement *row = db_in_next(store->find);
    if (row != NULL) {
        read_record(row, record);
    }
    return row != NULL;
}

err
product_store_end_wanted(struct product_store *store)
{
    return db_in_end(store->find);
}

void
product_store_put(struct product_store *store, const struct product_record *record)
{
    const struct product_said *said = &record->said;
    db_rows_i64(store->write, record->n);
    db_rows_text(store->write, said->product);
    db_rows_text(store->write, said->name);
    db_rows_text(store->write, said->description);
    db_rows_text(store->write, said->category);
    db_rows_i64(store->write, said->amount);
    db_rows_text(store->write, said->currency);
    db_rows_bytes(store->write, said->images);
    db_rows_i64(store->write, said->is_active ? 1 : 0);
    db_rows_i64(store->write, record->version);
    db_rows_i64(store->write, record->changed_ms);
}

err
product_store_write(struct product_store *store)
{
    return db_rows_queue(store->write);
}

err
product_store_page(struct product_store *store, const struct product_range *range, struct db_statement **rows)
{
    struct db_statement *page = store->pages[(range->category.size > 0 ? 1 : 0) + (range->has_state ? 2 : 0)];
    if (range->category.size > 0) {
        db_bind_text(page, range->category);
    }
    if (range->has_state) {
        db_bind_i64(page, range->is_active ? 1 : 0);
    }
    db_bind_text(page, range->after);
    db_bind_i64(page, range->limit);
    err code = db_query(page);
    if (code == ERR_ok) {
        *rows = page;
    }
    return code;
}

bool
product_store_next(struct db_statement *rows, struct product_record *record)
{
    if (!db_next(rows)) {
        return false;
    }
    read_record(rows, record);
    return true;
}

err
product_store_categories(struct product_store *store, struct db_statement **rows)
{
    err code = db_query(store->categories);
    if (code == ERR_ok) {
        *rows = store->categories;
    }
    return code;
}

err
product_store_put_category(struct product_store *store, const struct wire_product_category *category)
{
    db_bind_text(store->put_category, category->category);
    db_bind_text(store->put_category, category->name);
    db_bind_i64(store->put_category, category->position);
    return db_queue(store->put_category, DB_ANY_ROWS); /* one, or two where a replaced row counts */
}
