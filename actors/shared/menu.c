/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The copy of the menu of an actor that follows product: cards in memory over the table $card.
 * STATE     $card, one row per product, written whole. In memory a table of entries by product, each in one chain of its bucket and
 *           in one list by last use; an entry without a card (version 0) says that the product has no row. The writer of the table is
 *           this actor alone, so an entry is what the row says. Those that this batch has read or applied are unsure until its
 *           commit.
 * FAILURES  What the database says is handed on; the caller rolls back, and menu_dropped() forgets what was read or applied.
 * LIMITS    MENU_CARDS_MAX entries between batches. A batch may have more: they are let go at its end, the longest unused first.
 */
#include "menu.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "hash.h"
#include "kit/base/memory.h"

#define BUCKETS 4096
#define CURRENCY_SIZE 3
#define RANGE 10000

struct entry {
    struct menu_card card; /* its slices point into this entry */
    bool is_unsure;        /* wanted or applied in this batch: it is in the list of these */
    bool is_applied;
    struct entry *next_unsure;
    struct entry *chain;
    struct entry *newer; /* in the list by last use */
    struct entry *older;
    uint8_t product[WIRE_NAME_MAX];
    uint8_t name[128];
    uint8_t currency[CURRENCY_SIZE];
};

struct menu {
    struct db *db;
    struct db_in *cards_in;
    struct db_rows *card_rows;
    struct entry *buckets[BUCKETS];
    struct entry *newest;
    struct entry *oldest;
    struct entry *unsure;
    size_t count;
};

/* --- entries --- */

static struct entry **
bucket_of(struct menu *menu, struct slice product)
{
    uint64_t hash = hash_bytes(HASH_FIRST, product.data, product.size);
    return &menu->buckets[(hash ^ hash >> 32) % BUCKETS];
}

static struct entry *
entry_find(struct menu *menu, struct slice product)
{
    /* Most who ask one after the other ask for the same. */
    if (menu->newest != NULL && slice_equal(menu->newest->card.product, product)) {
        return menu->newest;
    }
    struct entry *entry = *bucket_of(menu, product);
    while (entry != NULL && !slice_equal(entry->card.product, product)) {
        entry = entry->chain;
    }
    return entry;
}

static void
list_take_out(struct menu *menu, struct entry *entry)
{
    if (entry->newer == NULL) {
        menu->newest = entry->older;
    } else {
        entry->newer->older = entry->older;
    }
    if (entry->older == NULL) {
        menu->oldest = entry->newer;
    } else {
        entry->older->newer = entry->newer;
    }
}

static void
list_put_first(struct menu *menu, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = menu->newest;
    if (menu->newest == NULL) {
        menu->oldest = entry;
    } else {
        menu->newest->newer = entry;
    }
    menu->newest = entry;
}

static void
entry_use(struct menu *menu, struct entry *entry)
{
    if (menu->newest != entry) {
        list_take_out(menu, entry);
        list_put_first(menu, entry);
    }
}

/* Copies at most `capacity` bytes: no value of the protocol is longer. */
static struct slice
copy(uint8_t *to, size_t capacity, struct slice from)
{
    size_t size = from.size < capacity ? from.size : capacity;
    if (size > 0) {
        memcpy(to, from.data, size);
    }
    return (struct slice){to, size};
}

static struct entry *
entry_add(struct menu *menu, struct slice product)
{
    struct entry *entry = memory_new(1, sizeof *entry);
    struct entry **bucket = bucket_of(menu, product);
    entry->card.product = copy(entry->product, sizeof entry->product, product);
    entry->chain = *bucket;
    *bucket = entry;
    list_put_first(menu, entry);
    menu->count++;
    return entry;
}

static void
entry_remove(struct menu *menu, struct entry *entry)
{
    struct entry **link = bucket_of(menu, entry->card.product);
    while (*link != entry) {
        link = &(*link)->chain;
    }
    *link = entry->chain;
    list_take_out(menu, entry);
    menu->count--;
    free(entry);
}

static void
entry_fill(struct entry *entry, const struct menu_card *card)
{
    entry->card.name = copy(entry->name, sizeof entry->name, card->name);
    entry->card.currency = copy(entry->currency, sizeof entry->currency, card->currency);
    entry->card.amount = card->amount;
    entry->card.is_active = card->is_active;
    entry->card.version = card->version;
}

/* --- life --- */

struct menu *
menu_create(struct db *db)
{
    struct menu *menu = memory_new(1, sizeof *menu);
    menu->db = db;
    menu->cards_in =
        db_in(db, "SELECT product, name, amount, currency, is_active, version FROM $card {BY PRIMARY} WHERE product IN (*)");
    menu->card_rows = db_rows(db, "REPLACE INTO $card (product, name, amount, currency, is_active, version)", 6);
    return menu;
}

void
menu_destroy(struct menu **menu)
{
    if (*menu == NULL) {
        return;
    }
    while ((*menu)->newest != NULL) {
        entry_remove(*menu, (*menu)->newest);
    }
    free(*menu);
    *menu = NULL;
}

/* --- inside a batch --- */

static void
be_unsure(struct menu *menu, struct entry *entry)
{
    if (!entry->is_unsure) {
        entry->is_unsure = true;
        entry->next_unsure = menu->unsure;
        menu->unsure = entry;
    }
}

void
menu_want(struct menu *menu, struct slice product)
{
    struct entry *entry = entry_find(menu, product);
    if (entry == NULL) {
        entry = entry_add(menu, product);
        be_unsure(menu, entry);
        db_in_text(menu->cards_in, product);
    }
    entry_use(menu, entry);
}

static struct menu_card
card_of_row(struct db_statement *row)
{
    struct menu_card card = {
        .product = db_bytes(row, 0),
        .name = db_bytes(row, 1),
        .amount = db_i64(row, 2),
        .currency = db_bytes(row, 3),
        .is_active = db_i64(row, 4) != 0,
        .version = db_i64(row, 5),
    };
    return card;
}

err
menu_read(struct menu *menu)
{
    for (struct db_statement *row; (row = db_in_next(menu->cards_in)) != NULL;) {
        struct menu_card card = card_of_row(row);
        struct entry *entry = entry_find(menu, card.product);
        if (entry != NULL) {
            entry_fill(entry, &card);
        }
    }
    return db_in_end(menu->cards_in);
}

const struct menu_card *
menu_find(struct menu *menu, struct slice product)
{
    const struct entry *entry = entry_find(menu, product);
    return entry == NULL || entry->card.version == 0 ? NULL : &entry->card;
}

bool
menu_apply(struct menu *menu, const struct wire_product_card *card)
{
    struct entry *entry = entry_find(menu, card->product);
    if (entry == NULL) {
        entry = entry_add(menu, card->product);
    }
    if (card->version <= entry->card.version) {
        return false;
    }
    struct menu_card told = {
        .name = card->name,
        .amount = card->price.amount,
        .currency = card->price.currency,
        .is_active = card->active,
        .version = card->version,
    };
    be_unsure(menu, entry);
    entry->is_applied = true;
    entry_fill(entry, &told);
    return true;
}

err
menu_queue(struct menu *menu)
{
    for (const struct entry *entry = menu->unsure; entry != NULL; entry = entry->next_unsure) {
        if (entry->is_applied) {
            db_rows_text(menu->card_rows, entry->card.product);
            db_rows_text(menu->card_rows, entry->card.name);
            db_rows_i64(menu->card_rows, entry->card.amount);
            db_rows_text(menu->card_rows, entry->card.currency);
            db_rows_i64(menu->card_rows, entry->card.is_active);
            db_rows_i64(menu->card_rows, entry->card.version);
        }
    }
    return db_rows_queue(menu->card_rows);
}

void
menu_committed(struct menu *menu)
{
    while (menu->unsure != NULL) {
        struct entry *entry = menu->unsure;
        menu->unsure = entry->next_unsure;
        entry->is_unsure = entry->is_applied = false;
    }
    struct entry *newer = NULL;
    for (struct entry *entry = menu->oldest; menu->count > MENU_CARDS_MAX; entry = newer) {
        newer = entry->newer;
        entry_remove(menu, entry);
    }
}

void
menu_dropped(struct menu *menu)
{
    while (menu->unsure != NULL) {
        struct entry *entry = menu->unsure;
        menu->unsure = entry->next_unsure;
        entry_remove(menu, entry);
    }
    menu_committed(menu);
}

/* --- the proof --- */

#define CARDS "SELECT product, name, amount, currency, is_active, version FROM $card"

struct db_statement *
menu_select_behind(struct db *db, struct slice product, int64_t most)
{
    struct db_statement *rows = db_statement(db, CARDS " WHERE product > ? ORDER BY product LIMIT ?");
    db_bind_text(rows, product);
    db_bind_i64(rows, most);
    return rows;
}

struct db_in *
menu_select(struct db *db)
{
    return db_in(db, CARDS " WHERE product IN (*)");
}

static void
check_row(struct verify_report *report, struct db_statement *row)
{
    struct menu_card card = card_of_row(row);
    const char *fault = NULL;
    if (!wire_is_name(card.product)) {
        fault = "its name is no SKU";
    } else if (card.version < 1) {
        fault = "its version is none";
    } else if (card.amount < 0 || card.currency.size != CURRENCY_SIZE) {
        fault = "its price is none";
    } else if (card.name.size == 0 || !wire_is_utf8(card.name)) {
        fault = "it is not called anything";
    }
    report->rows_checked++;
    if (fault == NULL) {
        return;
    }
    report->faults++;
    if (report->say != NULL) {
        char sentence[192];
        (void)snprintf(sentence, sizeof sentence, "%.*s: the copy of the menu has version %" PRId64 " of it, but %s",
                       (int)card.product.size, (const char *)card.product.data, card.version, fault);
        report->say(report->context, sentence);
    }
}

err
menu_verify(struct db *db, struct verify_report *report)
{
    uint8_t last[WIRE_NAME_MAX];
    struct slice after = slice_of("");
    for (int64_t count = RANGE; count == RANGE;) {
        struct db_statement *rows = menu_select_behind(db, after, RANGE);
        err status = db_query(rows);
        if (status != ERR_ok) {
            return status;
        }
        for (count = 0; db_next(rows); count++) {
            check_row(report, rows);
            after = copy(last, sizeof last, db_bytes(rows, 0));
        }
    }
    return ERR_ok;
}
