/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves the product actor's database: every product is one that the actor would have taken, stands in a category that there is,
 *   and the numbers have no gap. Each change of a product is one version and one event, and nothing else is: so the versions of all
 *   products add up to the position of the stream.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of the actor. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   One pass, PAGE products at a time. The first 20 faults are told, all are counted. A change by hand to another value that the actor
 *   would have taken, without the version, is not seen.
 */
#include "product_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "product.h"
#include "product_rules.h"

struct proof {
    struct verify_report *report;
    int64_t told;
    int64_t n;        /* of the last product that was read */
    int64_t versions; /* the sum */
};

#define FAULT(proof, ...) verify_tell((proof)->report, (proof)->told++, __VA_ARGS__)

static err
prove_product(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct err_text why;
    int64_t n = db_i64(row, 0);
    int64_t version = db_i64(row, 8);
    struct product_said said = {
        .product = db_bytes(row, 1),
        .name = db_bytes(row, 2),
        .description = db_bytes(row, 3),
        .category = db_bytes(row, 4),
        .amount = db_i64(row, 5),
        .currency = db_bytes(row, 6),
        .images = db_bytes(row, 7),
    };
    int size = (int)(said.product.size < WIRE_NAME_MAX ? said.product.size : WIRE_NAME_MAX);
    const char *name = (const char *)said.product.data;
    if (n != proof->n + 1) {
        FAULT(proof, "product: %.*s: its number is %" PRId64 ", the one before it has %" PRId64, size, name, n, proof->n);
    }
    if (product_check(&said, &why) != ERR_ok) {
        FAULT(proof, "product: %.*s: %s", size, name, why.text);
    }
    if (db_i64(row, 10) <= 0) {
        FAULT(proof, "product: %.*s: it was changed at no time", size, name);
    }
    if (db_is_null(row, 9)) {
        FAULT(proof, "product: %.*s: there is no such category as it stands in", size, name);
    }
    proof->n = n;
    proof->versions += version;
    return ERR_ok;
}

static err
prove_products(struct db *db, struct proof *proof)
{
    return verify_walk(&(struct verify_walk){
        .db = db,
        .sql = "SELECT p.n, p.product, p.name, p.description, p.category, p.amount, p.currency, p.images, p.version, c.position,"
               " p.changed FROM $product p LEFT JOIN $category c ON c.category = p.category WHERE p.n > ? ORDER BY p.n LIMIT ?",
        .see = prove_product,
        .context = proof,
        .rows = &proof->report->rows_checked,
    });
}

static err
prove_numbers(struct db *db, struct proof *proof)
{
    struct db_statement *rows = db_statement(db, "SELECT COALESCE(MAX(seq), 0), (SELECT COUNT(*) FROM $category) FROM $shard");
    err code = db_query(rows);
    if (code != ERR_ok) {
        return code;
    }
    if (db_next(rows)) {
        int64_t seq = db_i64(rows, 0);
        proof->report->rows_checked += db_i64(rows, 1);
        if (seq != proof->versions) {
            FAULT(proof, "product: the versions of all products add up to %" PRId64 ", but %" PRId64 " changes were told",
                  proof->versions, seq);
        }
    }
    db_done(rows);
    return ERR_ok;
}

err
product_verify(struct db *db, struct verify_report *report)
{
    struct proof proof = {.report = report};
    err code = prove_products(db, &proof);
    return code == ERR_ok ? prove_numbers(db, &proof) : code;
}

/* --- what others compare --- */

#define CARDS "SELECT product, name, amount, currency, is_active, version FROM $product"

struct db_statement *
product_select_behind(struct db *db, struct slice product, int64_t most)
{
    struct db_statement *rows = db_statement(db, CARDS " WHERE product > ? ORDER BY product LIMIT ?");
    db_bind_text(rows, product);
    db_bind_i64(rows, most);
    return rows;
}

struct db_in *
product_select(struct db *db)
{
    return db_in(db, CARDS " WHERE product IN (*)");
}
