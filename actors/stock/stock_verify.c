/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Proves a shard of stock from its tables alone: the ledger is read once in the order of its lines, each line must follow
 *           from the one before it of the same product, and what comes out must be what levels, holds and productions say.
 * STATE     For each product the figures after its last line, in a table as the actor itself has. Of an entry, `asked` counts the
 *           units of open holds, `freed` those on their way, `stamp` is not 0 when a fault of it was told, `cause` is not NULL
 *           when the product has a level; of its shelf, `wanted` counts the units that left by commits less those of the holds that
 *           were committed, `incoming` the units that came back less those of the holds that were returned.
 * FAILURES  What does not add up is told, the first of each product, and counted. Errors of the database are handed on.
 * LIMITS    Lines are read 10,000 at a time; memory grows with the products, not with the ledger. A change of the text fields
 *           (reason, reference, answer) is not seen.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "stock.h"
#include "stock_levels.h"
#include "stock_store.h"

#define RANGE 10000

struct proof {
    struct db *db;
    struct verify_report *report;
    struct level_table *products;
    int64_t n; /* of the last line that was read */
};

static void
say(struct proof *proof, const char *sentence)
{
    if (proof->report->say != NULL) {
        proof->report->say(proof->report->context, sentence);
    }
}

static void
fault(struct proof *proof, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
fault(struct proof *proof, const char *format, ...)
{
    char sentence[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    proof->report->faults++;
    say(proof, sentence);
}

static void
fault_of(struct proof *proof, struct level *product, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A fault of a product; only its first is told, the others follow from it or do not matter any more. */
static void
fault_of(struct proof *proof, struct level *product, const char *format, ...)
{
    proof->report->faults++;
    if (product->stamp != 0) {
        return;
    }
    product->stamp = 1;
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    char sentence[384];
    (void)snprintf(sentence, sizeof sentence, "%.*s: %s", (int)product->product_size, (const char *)product->product, words);
    say(proof, sentence);
}

static struct level *
product_of(struct proof *proof, struct slice name)
{
    struct level *product = stock_levels_add(proof->products, name);
    product->exists = true;
    return product;
}

/* --- the ledger --- */

static void
check_chained(struct proof *proof, struct level *product, const struct move *move)
{
    const struct shelf *before = &product->shelf;
    if (move->previous != before->last_move) {
        fault_of(proof, product, "line %" PRId64 " says that the line before it is %" PRId64 ", but it is %" PRId64, move->n,
                 move->previous, before->last_move);
    }
    if (move->version != before->version + 1) {
        fault_of(proof, product, "line %" PRId64 " has version %" PRId64 ", but the one before it has %" PRId64, move->n,
                 move->version, before->version);
    }
    if (move->on_hand != before->on_hand + move->delta) {
        fault_of(proof, product, "line %" PRId64 " says %" PRId64 " on hand, but %" PRId64 " and %+" PRId64 " make %" PRId64, move->n,
                 move->on_hand, before->on_hand, move->delta, before->on_hand + move->delta);
    }
    if (move->reserved != before->reserved + move->reserved_delta) {
        fault_of(proof, product, "line %" PRId64 " says %" PRId64 " reserved, but %" PRId64 " and %+" PRId64 " make %" PRId64, move->n,
                 move->reserved, before->reserved, move->reserved_delta, before->reserved + move->reserved_delta);
    }
    if (move->on_hand < 0 || move->reserved < 0 || move->reserved > move->on_hand) {
        fault_of(proof, product, "line %" PRId64 " says %" PRId64 " on hand and %" PRId64 " reserved, which cannot be", move->n,
                 move->on_hand, move->reserved);
    }
}

static void
see_line(struct proof *proof, const struct move *move)
{
    if (move->n != proof->n + 1) {
        fault(proof, "the ledger goes from line %" PRId64 " to line %" PRId64, proof->n, move->n);
    }
    proof->n = move->n;
    if (move->version == 0) {
        if (move->delta != 0 || move->reserved_delta != 0) {
            fault(proof, "line %" PRId64 " of the ledger changes %.*s, but has no version", move->n, (int)move->product.size,
                  (const char *)move->product.data);
        }
        return;
    }
    if (!wire_is_name(move->product)) {
        fault(proof, "line %" PRId64 " of the ledger names no product", move->n);
        return;
    }
    struct level *product = product_of(proof, move->product);
    check_chained(proof, product, move);
    if (move->kind == MOVE_COMMIT) {
        product->shelf.wanted -= move->delta;
    } else if (move->kind == MOVE_RETURN) {
        product->shelf.incoming += move->delta;
    }
    product->shelf.on_hand = move->on_hand;
    product->shelf.reserved = move->reserved;
    product->shelf.version = move->version;
    product->shelf.last_move = move->n;
}

/* Reads RANGE rows at a time and gives each to `see`, which returns its n. */
static err
read_ranges(struct proof *proof, const char *sql, int64_t (*see)(struct proof *proof, struct db_statement *row))
{
    struct db_statement *rows = db_statement(proof->db, sql);
    int64_t after = 0;
    for (int64_t count = RANGE; count == RANGE;) {
        db_bind_i64(rows, after);
        db_bind_i64(rows, RANGE);
        err status = db_query(rows);
        if (status != ERR_ok) {
            return status;
        }
        for (count = 0; db_next(rows); count++) {
            after = see(proof, rows);
        }
        proof->report->rows_checked += count;
    }
    return ERR_ok;
}

static int64_t
see_move_row(struct proof *proof, struct db_statement *row)
{
    struct move move = {
        .n = db_i64(row, 0),
        .product = db_bytes(row, 1),
        .delta = db_i64(row, 2),
        .reserved_delta = db_i64(row, 3),
        .on_hand = db_i64(row, 4),
        .reserved = db_i64(row, 5),
        .version = db_i64(row, 6),
        .previous = db_i64(row, 7),
        .kind = move_kind_find(db_bytes(row, 8)),
    };
    see_line(proof, &move);
    return move.n;
}

/* --- what must be equal to it --- */

static int64_t
see_hold_row(struct proof *proof, struct db_statement *row)
{
    enum hold_state state = hold_state_find(db_bytes(row, 3));
    int64_t quantity = db_i64(row, 2);
    if (quantity == 0) {
        return db_i64(row, 0);
    }
    struct level *product = product_of(proof, db_bytes(row, 1));
    if (state == HOLD_OPEN) {
        product->asked += quantity;
    } else if (state == HOLD_COMMITTED || state == HOLD_RETURNED) {
        product->shelf.wanted -= quantity;
        product->shelf.incoming -= state == HOLD_RETURNED ? quantity : 0;
    }
    return db_i64(row, 0);
}

static err
read_productions(struct proof *proof)
{
    struct db_statement *rows = db_statement(proof->db, "SELECT product, quantity FROM $production WHERE state = 'ordered'");
    err status = db_query(rows);
    if (status != ERR_ok) {
        return status;
    }
    for (; db_next(rows); proof->report->rows_checked++) {
        product_of(proof, db_bytes(rows, 0))->freed += db_i64(rows, 1);
    }
    return ERR_ok;
}

static void
compare(struct proof *proof, struct level *product, const char *what, int64_t level, int64_t counted, const char *where)
{
    if (level != counted) {
        fault_of(proof, product, "the level says %" PRId64 " %s, %s %" PRId64, level, what, where, counted);
    }
}

static void
see_level(struct proof *proof, struct level *product, const struct shelf *shelf)
{
    product->cause = proof;
    compare(proof, product, "on hand", shelf->on_hand, product->shelf.on_hand, "the ledger");
    compare(proof, product, "reserved", shelf->reserved, product->shelf.reserved, "the ledger");
    compare(proof, product, "reserved", shelf->reserved, product->asked, "the open holds");
    compare(proof, product, "incoming", shelf->incoming, product->freed, "the open productions");
    compare(proof, product, "as its version", shelf->version, product->shelf.version, "the ledger");
    compare(proof, product, "as its last line", shelf->last_move, product->shelf.last_move, "the ledger");
    const char *words = shelf_fault(shelf);
    if (words != NULL) {
        fault_of(proof, product, "%" PRId64 " on hand, %" PRId64 " reserved, reorder at %" PRId64 ", %" PRId64 " wanted, alarm %d: %s",
                 shelf->on_hand, shelf->reserved, shelf->reorder_at, shelf->wanted, (int)shelf->alarm, words);
    }
}

static err
read_levels(struct proof *proof)
{
    struct db_statement *rows =
        db_statement(proof->db, "SELECT product, on_hand, reserved, incoming, version, alarm, wanted, reorder_at, order_up_to, lot,"
                                " last_move FROM $level WHERE product > ? ORDER BY product LIMIT ?");
    struct slice after = slice_of("");
    for (int64_t count = RANGE; count == RANGE;) {
        db_bind_text(rows, after);
        db_bind_i64(rows, RANGE);
        err status = db_query(rows);
        if (status != ERR_ok) {
            return status;
        }
        for (count = 0; db_next(rows); count++) {
            struct level *product = product_of(proof, db_bytes(rows, 0));
            struct shelf shelf = stock_store_shelf(rows);
            see_level(proof, product, &shelf);
            after = level_product(product);
        }
        proof->report->rows_checked += count;
    }
    return ERR_ok;
}

static void
see_product(void *context, struct level *product)
{
    struct proof *proof = context;
    if (product->shelf.wanted != 0) {
        fault_of(proof, product, "the ledger committed %+" PRId64 " units more than the holds say", product->shelf.wanted);
    }
    if (product->shelf.incoming != 0) {
        fault_of(proof, product, "the ledger took %+" PRId64 " units more back than the holds say", product->shelf.incoming);
    }
    if (product->cause == NULL) {
        fault_of(proof, product, "it has no level, but the ledger says %" PRId64 " on hand, and %" PRId64 " are held",
                 product->shelf.on_hand, product->asked);
    }
}

static err
read_milestones(struct proof *proof)
{
    struct db_statement *rows =
        db_statement(proof->db, "SELECT s.product, s.version, s.n FROM $milestone s LEFT JOIN $move m"
                                " ON m.n = s.n AND m.product = s.product AND m.version = s.version WHERE m.n IS NULL");
    err status = db_query(rows);
    if (status != ERR_ok) {
        return status;
    }
    while (db_next(rows)) {
        struct level *product = product_of(proof, db_bytes(rows, 0));
        fault_of(proof, product, "line %" PRId64 " should have version %" PRId64 ", but is another", db_i64(rows, 2), db_i64(rows, 1));
    }
    return ERR_ok;
}

static err
prove(struct proof *proof)
{
    err status = read_ranges(proof,
                             "SELECT n, product, delta, reserved_delta, on_hand, reserved, version, previous, kind FROM $move"
                             " WHERE n > ? ORDER BY n LIMIT ?",
                             see_move_row);
    if (status == ERR_ok) {
        status = read_ranges(proof, "SELECT n, product, quantity, state FROM $hold WHERE n > ? ORDER BY n LIMIT ?", see_hold_row);
    }
    if (status == ERR_ok) {
        status = read_productions(proof);
    }
    if (status == ERR_ok) {
        status = read_levels(proof);
    }
    if (status == ERR_ok) {
        status = read_milestones(proof);
    }
    if (status == ERR_ok) {
        stock_levels_each(proof->products, see_product, proof);
    }
    return status;
}

err
stock_verify(struct db *db, struct verify_report *report)
{
    struct proof proof = {.db = db, .report = report, .products = stock_levels_create()};
    err status = prove(&proof);
    stock_levels_destroy(&proof.products);
    return status;
}
