/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   All SQL of the factory, in the subset that both engines share. Reads copy their row out, so that nothing borrowed from the
 *   database lives longer than the call.
 *
 * STATE
 *   Tables: factory_schema.def. The statements belong to the db and survive a reconnect.
 *
 * FAILURES
 *   Errors of the database go up unchanged; the kit rolls the batch back. A row with a status that nobody writes was changed by hand:
 *   it reads as failed, so that it is never produced, and verify names it.
 *
 * LIMITS
 *   One round trip per read. The factory handles alarms and productions, some per second, and is no hot path.
 */
#include "factory_store.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS "n, id, product, quantity, status, ordered_at, due_at, done_at, attempts, error, accepted"

void
factory_store_init(struct factory_store *store, struct db *db)
{
    *store = (struct factory_store){
        .db = db,
        .last_n = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $production"),
        .find_id = db_statement(db, "SELECT " COLUMNS " FROM $production WHERE id = ?"),
        .find_n = db_statement(db, "SELECT " COLUMNS " FROM $production WHERE n = ?"),
        .find_capability = db_statement(db, "SELECT " COLUMNS " FROM $production WHERE capability_hash = ?"),
        .insert = db_statement(db, "INSERT INTO $production (" COLUMNS ", capability_hash)"
                                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
        .update = db_statement(
            db, "UPDATE $production SET status = ?, due_at = ?, done_at = ?, attempts = ?, error = ?, accepted = ? WHERE id = ?"),
        .page = db_statement(db, "SELECT " COLUMNS " FROM $production WHERE n < ? ORDER BY n DESC LIMIT ?"),
        .page_of_product = db_statement(db, "SELECT " COLUMNS " FROM $production WHERE product = ? AND n < ? ORDER BY n DESC LIMIT ?"),
        .find_shelf = db_statement(db, "SELECT open_production, last_seq FROM $shelf WHERE product = ?"),
        .put_shelf = db_statement(db, "REPLACE INTO $shelf (product, open_production, last_seq) VALUES (?, ?, ?)"),
        .find_secret = db_statement(db, "SELECT secret FROM $secret WHERE one = 1"),
        .insert_secret = db_statement(db, "INSERT INTO $secret (one, secret) VALUES (1, ?)"),
    };
}

err
factory_store_last_n(struct factory_store *store, int64_t *n)
{
    err code = db_query(store->last_n);
    if (code != ERR_ok) {
        return code;
    }
    int64_t last = 0;
    if (db_next(store->last_n)) {
        last = db_i64(store->last_n, 0);
    }
    db_done(store->last_n);
    *n = last;
    return ERR_ok;
}

static void
read_production(struct db_statement *row, struct factory_production *production)
{
    struct slice product = db_bytes(row, 2);
    struct slice error = db_bytes(row, 9);
    enum factory_status status = factory_status_find(db_bytes(row, 4));
    *production = (struct factory_production){
        .n = db_i64(row, 0),
        .id = db_id(row, 1),
        .quantity = db_i64(row, 3),
        .status = status == FACTORY_STATUS_COUNT ? FACTORY_FAILED : status,
        .ordered_at_ms = db_i64(row, 5),
        .due_at_ms = db_i64(row, 6),
        .done_at_ms = db_i64(row, 7),
        .attempts = db_i64(row, 8),
        .accepted = db_i64(row, 10),
    };
    (void)snprintf(production->product, sizeof production->product, "%.*s", (int)product.size, (const char *)product.data);
    (void)err_say(&production->error, ERR_ok, "%.*s", (int)error.size, (const char *)error.data);
}

static err
read_one(struct db_statement *statement, struct factory_production *production, bool *found)
{
    err code = db_query(statement);
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(statement);
    if (*found) {
        read_production(statement, production);
    }
    db_done(statement);
    return ERR_ok;
}

err
factory_store_find(struct factory_store *store, const struct id *id, struct factory_production *production, bool *found)
{
    db_bind_id(store->find_id, id);
    return read_one(store->find_id, production, found);
}

err
factory_store_find_n(struct factory_store *store, int64_t n, struct factory_production *production, bool *found)
{
    db_bind_i64(store->find_n, n);
    return read_one(store->find_n, production, found);
}

err
factory_store_find_capability(struct factory_store *store, const uint8_t hash[FACTORY_HASH_SIZE],
                              struct factory_production *production, bool *found)
{
    db_bind_bytes(store->find_capability, (struct slice){hash, FACTORY_HASH_SIZE});
    return read_one(store->find_capability, production, found);
}

err
factory_store_insert(struct factory_store *store, const struct factory_production *production, const uint8_t *hash)
{
    struct db_statement *insert = store->insert;
    db_bind_i64(insert, production->n);
    db_bind_id(insert, &production->id);
    db_bind_text(insert, slice_of(production->product));
    db_bind_i64(insert, production->quantity);
    db_bind_text(insert, slice_of(factory_status_name(production->status)));
    db_bind_i64(insert, production->ordered_at_ms);
    db_bind_i64(insert, production->due_at_ms);
    db_bind_i64(insert, production->done_at_ms);
    db_bind_i64(insert, production->attempts);
    db_bind_text(insert, slice_of(production->error.text));
    db_bind_i64(insert, production->accepted);
    if (hash != NULL) {
        db_bind_bytes(insert, (struct slice){hash, FACTORY_HASH_SIZE});
    } else {
        db_bind_null(insert);
    }
    return db_queue(insert, 1);
}

err
factory_store_update(struct factory_store *store, const struct factory_production *production)
{
    db_bind_text(store->update, slice_of(factory_status_name(production->status)));
    db_bind_i64(store->update, production->due_at_ms);
    db_bind_i64(store->update, production->done_at_ms);
    db_bind_i64(store->update, production->attempts);
    db_bind_text(store->update, slice_of(production->error.text));
    db_bind_i64(store->update, production->accepted);
    db_bind_id(store->update, &production->id);
    return db_queue(store->update, 1);
}

err
factory_store_page(struct factory_store *store, struct slice product, int64_t before, int64_t limit, struct db_statement **rows)
{
    struct db_statement *statement = store->page;
    if (product.size > 0) {
        statement = store->page_of_product;
        db_bind_text(statement, product);
    }
    db_bind_i64(statement, before);
    db_bind_i64(statement, limit);
    err code = db_query(statement);
    if (code == ERR_ok) {
        *rows = statement;
    }
    return code;
}

bool
factory_store_next(struct db_statement *rows, struct factory_production *production)
{
    if (!db_next(rows)) {
        return false;
    }
    read_production(rows, production);
    return true;
}

err
factory_store_find_shelf(struct factory_store *store, struct slice product, struct factory_shelf *shelf)
{
    db_bind_text(store->find_shelf, product);
    err code = db_query(store->find_shelf);
    if (code != ERR_ok) {
        return code;
    }
    *shelf = (struct factory_shelf){0};
    if (db_next(store->find_shelf)) {
        shelf->is_known = true;
        shelf->open_production = db_i64(store->find_shelf, 0);
        shelf->last_seq = db_i64(store->find_shelf, 1);
    }
    db_done(store->find_shelf);
    return ERR_ok;
}

err
factory_store_put_shelf(struct factory_store *store, struct slice product, const struct factory_shelf *shelf)
{
    db_bind_text(store->put_shelf, product);
    db_bind_i64(store->put_shelf, shelf->open_production);
    db_bind_i64(store->put_shelf, shelf->last_seq);
    return db_queue(store->put_shelf, DB_ANY_ROWS); /* one, or two where a replaced row counts */
}

err
factory_store_find_secret(struct factory_store *store, uint8_t secret[FACTORY_SECRET_SIZE], bool *found)
{
    err code = db_query(store->find_secret);
    if (code != ERR_ok) {
        return code;
    }
    *found = false;
    if (db_next(store->find_secret)) {
        struct slice bytes = db_bytes(store->find_secret, 0);
        if (bytes.size == FACTORY_SECRET_SIZE) {
            memcpy(secret, bytes.data, FACTORY_SECRET_SIZE);
            *found = true;
        }
    }
    db_done(store->find_secret);
    return ERR_ok;
}

err
factory_store_insert_secret(struct factory_store *store, const uint8_t secret[FACTORY_SECRET_SIZE])
{
    db_bind_bytes(store->insert_secret, (struct slice){secret, FACTORY_SECRET_SIZE});
    return db_queue(store->insert_secret, 1);
}
