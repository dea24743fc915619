/* SPDX-License-Identifier: MPL-2.0 */
/* The factory's SQL: productions, the shelves it knows, and its secret. */
#ifndef LARDER_FACTORY_STORE_H
#define LARDER_FACTORY_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "err.h"
#include "factory_rules.h"
#include "id.h"
#include "wire.h"

#define FACTORY_HASH_SIZE 32
#define FACTORY_SECRET_SIZE 32

/* A row of $production. */
struct factory_production {
    int64_t n;
    struct id id;
    char product[WIRE_NAME_MAX + 1];
    int64_t quantity;
    enum factory_status status;
    int64_t ordered_at_ms;
    int64_t due_at_ms;     /* 0: not known */
    int64_t done_at_ms;    /* 0: not done */
    int64_t attempts;      /* calls to an outside factory */
    int64_t accepted;      /* of these, so many that it accepted */
    struct err_text error; /* "": none */
};

/* A row of $shelf. */
struct factory_shelf {
    bool is_known;           /* there is a row */
    int64_t open_production; /* n, or 0 */
    int64_t last_seq;
};

struct factory_store {
    struct db *db;
    struct db_statement *last_n;
    struct db_statement *find_id;
    struct db_statement *find_n;
    struct db_statement *find_capability;
    struct db_statement *insert;
    struct db_statement *update;
    struct db_statement *page;
    struct db_statement *page_of_product;
    struct db_statement *find_shelf;
    struct db_statement *put_shelf;
    struct db_statement *find_secret;
    struct db_statement *insert_secret;
};

/* Needs no fini: the statements belong to the db. */
void
factory_store_init(struct factory_store *store, struct db *db);

/* The highest n; 0 for none. */
MUST_CHECK err
factory_store_last_n(struct factory_store *store, int64_t *n);

/* --- productions; `found` says whether `production` was written --- */

MUST_CHECK err
factory_store_find(struct factory_store *store, const struct id *id, struct factory_production *production, bool *found);
MUST_CHECK err
factory_store_find_n(struct factory_store *store, int64_t n, struct factory_production *production, bool *found);
MUST_CHECK err
factory_store_find_capability(struct factory_store *store, const uint8_t hash[FACTORY_HASH_SIZE],
                              struct factory_production *production, bool *found);

/* `hash` may be NULL. */
MUST_CHECK err
factory_store_insert(struct factory_store *store, const struct factory_production *production, const uint8_t *hash);

/* Writes status, times, counts and error of the row of this id. */
MUST_CHECK err
factory_store_update(struct factory_store *store, const struct factory_production *production);

/* Starts reading productions with n below `before`, newest first, at most `limit`; of all products when `product` is empty. The rows
 * come by factory_store_next(). */
MUST_CHECK err
factory_store_page(struct factory_store *store, struct slice product, int64_t before, int64_t limit, struct db_statement **rows);
bool
factory_store_next(struct db_statement *rows, struct factory_production *production);

/* --- shelves --- */

/* A product without a row has an empty shelf that is not known. */
MUST_CHECK err
factory_store_find_shelf(struct factory_store *store, struct slice product, struct factory_shelf *shelf);
MUST_CHECK err
factory_store_put_shelf(struct factory_store *store, struct slice product, const struct factory_shelf *shelf);

/* --- the secret --- */

MUST_CHECK err
factory_store_find_secret(struct factory_store *store, uint8_t secret[FACTORY_SECRET_SIZE], bool *found);
MUST_CHECK err
factory_store_insert_secret(struct factory_store *store, const uint8_t secret[FACTORY_SECRET_SIZE]);

#endif
