/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The copy of the menu that an actor which follows product keeps in its own database: what each product is called, what it costs
 * and whether it is for sale. Names and prices are answered from here, without asking product for each request.
 *
 * A follower puts MENU_STEPS before its own steps (`static const struct db_step steps[] = {MENU_STEPS, {100, ...}, ...}`), is named
 * as a subscriber of product in events.def, makes a menu in open() and, in each batch:
 *
 *     menu_want() for every product that it will look for or be told of -> menu_read(), before anything is queued: one statement
 *     for all that are not in memory -> menu_find() and menu_apply() as often as it likes -> menu_queue() at the end of handle()
 *     -> menu_committed() in committed(), menu_dropped() in dropped()
 *
 * Up to MENU_CARDS_MAX products stay in memory from batch to batch, the latest used, with those that are known not to be on the
 * menu; what a dropped batch was told is forgotten, and read again. A batch that only looks for products in memory costs the
 * database nothing.
 */
#ifndef LARDER_MENU_H
#define LARDER_MENU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "err.h"
#include "kit/verify.h"
#include "wire.h"

#define MENU_CARDS_MAX 4096

/* clang-format off */
#define MENU_STEPS                                       \
    {80, "CREATE TABLE IF NOT EXISTS $card ("            \
         " product {NAME 64} NOT NULL PRIMARY KEY,"      \
         " name {TEXT 128} NOT NULL,"                    \
         " amount {I64} NOT NULL,"                       \
         " currency {NAME 3} NOT NULL,"                  \
         " is_active {I64} NOT NULL,"                    \
         " version {I64} NOT NULL"                       \
         ") {KEYED_TABLE_END}"}
#define MENU_STEP_COUNT 1
/* clang-format on */

/* What is known of a product. */
struct menu_card {
    struct slice product;
    struct slice name;
    int64_t amount; /* what one costs, in minor units */
    struct slice currency;
    bool is_active; /* it is for sale */
    int64_t version;
};

struct menu;

/* Reads nothing yet. `db` must outlive it. */
struct menu *
menu_create(struct db *db);
void
menu_destroy(struct menu **menu);

/* --- inside a batch --- */

/* This product will be looked for, or told of, in this batch. Cheap when it is in memory; may be said often. */
void
menu_want(struct menu *menu, struct slice product);

/* Reads what is wanted and not in memory; nothing is sent when there is nothing of it. A read: outside of queued writes. */
MUST_CHECK err
menu_read(struct menu *menu);

/* The card of a product that was wanted and read in this batch; NULL when it is not on the menu as far as is known here, also when
 * it was not wanted. Slices and card live until the product is applied again or the batch ends. */
const struct menu_card *
menu_find(struct menu *menu, struct slice product);

/* Takes over what product says of one of its own, in the event product.changed or as the answer to product.get: the newest version
 * wins, whatever comes late or twice. The product was wanted and read in this batch. False when nothing changed. */
bool
menu_apply(struct menu *menu, const struct wire_product_card *card);

/* Queues all that was applied; nothing when nothing was. */
MUST_CHECK err
menu_queue(struct menu *menu);

/* After the commit: what was applied stays. Also after a batch that applied nothing. */
void
menu_committed(struct menu *menu);

/* After a rollback: what was applied is forgotten. */
void
menu_dropped(struct menu *menu);

/* --- the proof --- */

/* Proves the copy in itself: each card is one that product could have told. Errors are those of the database. */
MUST_CHECK err
menu_verify(struct db *db, struct verify_report *report);

/* Up to `most` cards behind a product, in the order of the products, and those of the products that are added. Columns: product,
 * name, amount, currency, is_active, version. */
struct db_statement *
menu_select_behind(struct db *db, struct slice product, int64_t most);
struct db_in *
menu_select(struct db *db);

#endif
