/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves across databases that every order which has ended left behind what it should have: its units are sold or back on the
 *   shelf, and the money that was taken and not paid back is its price or nothing.
 *
 *   An order is received, in preparation, ready or completed: the holds of its steps that were committed are its lines, once; exactly
 *   one charge of it succeeded, is its price, and something of it is left; or the order knows that all of it went back. It was
 *   cancelled or not paid: no hold is open or committed (unless the kitchen had begun: then the units are gone, and the money is
 *   back), and no money was kept. So over all of them charged - refunded = totals of paid orders, less what went back of those,
 *   which is printed for each currency. The other way round every charge that took money, or may still take some, belongs to an order.
 *
 *   Orders are read in one snapshot, then charges, then holds, each in one of its own. What does not agree is only suspect, because
 *   the shop may be open: it is looked at again, LOOK_ROUNDS times at most, payment first. An order that disagrees with its charges
 *   although it has heard everything that payment had told by then is a fault. A charge is read before the orders it is looked for
 *   in, and an order is written before its charge is asked for: that needs no second look.
 *
 * STATE
 *   Reads only: $order, $line, $entry, $stray, $cursor, $parked of order; $charge of payment; $hold of stock. The ids of holds are
 *   those that order derives for its steps.
 *
 * FAILURES
 *   Each is a sentence that names the order. One whose payment has news for it that it has not heard is counted, and no fault.
 *
 * LIMITS
 *   Memory grows with what is suspect, not with the orders. The first TOLD_MAX faults are told, all are counted. Of what does not
 *   agree SUSPECTS_MAX are looked at again; how many more there were is said, and is a fault when one of these is.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "order/order_saga.h"
#include "sum.h"

#define CHUNK 512
#define SHARDS_MAX 4
#define TOLD_MAX 20
#define SUSPECTS_MAX 20000
#define LOOK_ROUNDS 10
#define CURRENCIES_MAX 256
#define HOLD_ROUND_MAX 255

enum verdict { AGREES, UNDER_WAY, TO_COME, DIFFERS };

/* An order, and what the others have of it. Sums of lines are of the products' and quantities' hashes, for each shard. */
struct slot {
    struct id id;
    int64_t n; /* 0: there is no such order */
    bool has_ended;
    bool is_stuck; /* something could not be undone: there is a letter */
    bool is_paid;
    bool was_made; /* cancelled after the kitchen had begun */
    bool is_back;  /* it knows that all its money went back */
    int64_t round;
    int64_t total;
    char currency[4];
    char status[17];
    struct id charge;
    uint64_t wanted[SHARDS_MAX];
    uint64_t committed[SHARDS_MAX];
    uint64_t current[SHARDS_MAX]; /* of these, those of the rounds that the order says */
    int64_t holds;                /* a byte for each shard: that round */
    int64_t sold;                 /* a bit for each shard */
    bool is_money_known;
    char method[17];
    bool is_paying; /* it waits for its money */
    bool has_own;   /* payment has the charge that the order says */
    bool has_own_ended;
    bool is_own; /* and it is of the order's price and method */
    int64_t open_holds;
    int64_t live_charges; /* succeeded, and not all paid back */
    int64_t free_charges; /* of these, those of nothing: there is nothing to pay back */
    int64_t pending_charges;
    int64_t charged;
    int64_t refunded;
    struct id live_charge; /* the last of them */
    int64_t live_amount;
    char live_currency[4];
    bool has_news;  /* events of payment that it could not apply yet */
    bool has_stray; /* money that it did not ask for is on its way back */
    enum verdict verdict;
};

struct named {
    struct id id;
    size_t slot;
    bool is_current;
};

/* Up to CHUNK orders that are looked at together. */
struct chunk {
    struct slot slots[CHUNK];
    size_t count;
    struct named *names; /* of orders, then of the holds of one shard: sorted */
    size_t name_count;
    size_t name_capacity;
};

struct sum {
    char currency[4];
    int64_t charged;
    int64_t refunded;
    int64_t totals;
    int64_t given; /* of that, paid back though the orders are not given up */
};

struct proof {
    struct verify_survey *survey;
    const struct verify_source *order;
    const struct verify_source *payment; /* NULL: never started */
    const struct verify_source *stock[SHARDS_MAX];
    int shards;
    struct chunk chunk;
    struct slot *suspects;
    size_t suspect_count;
    size_t suspect_capacity;
    int64_t not_looked_at;
    int64_t ended;
    int64_t under_way;
    int64_t stuck;
    int64_t charges;
    int64_t told;
    int64_t head;   /* of payment's stream, in payment's snapshot */
    int64_t cursor; /* of order in it, in order's snapshot */
    struct sum sums[CURRENCIES_MAX];
    size_t sum_count;
};

/* --- names of orders and holds --- */

static int
compare_names(const void *a, const void *b)
{
    return memcmp(&((const struct named *)a)->id, &((const struct named *)b)->id, sizeof(struct id));
}

static void
add_name(struct chunk *chunk, const struct id *id, size_t slot, bool is_current)
{
    if (chunk->name_count == chunk->name_capacity) {
        chunk->name_capacity = chunk->name_capacity == 0 ? CHUNK : chunk->name_capacity * 2;
        chunk->names = realloc(chunk->names, chunk->name_capacity * sizeof *chunk->names);
        if (chunk->names == NULL) {
            abort();
        }
    }
    chunk->names[chunk->name_count++] = (struct named){.id = *id, .slot = slot, .is_current = is_current};
}

static void
sort_names(struct chunk *chunk)
{
    if (chunk->name_count > 0) {
        qsort(chunk->names, chunk->name_count, sizeof *chunk->names, compare_names);
    }
}

static const struct named *
find_name(const struct chunk *chunk, const struct id *id)
{
    struct named wanted = {.id = *id};
    return chunk->name_count == 0 ? NULL : bsearch(&wanted, chunk->names, chunk->name_count, sizeof *chunk->names, compare_names);
}

static struct slot *
find_slot(struct chunk *chunk, const struct id *id)
{
    const struct named *found = find_name(chunk, id);
    return found == NULL ? NULL : &chunk->slots[found->slot];
}

static void
name_orders(struct chunk *chunk)
{
    chunk->name_count = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        add_name(chunk, &chunk->slots[i].id, i, true);
    }
    sort_names(chunk);
}

/* --- what order says --- */

static void
copy_text(char *text, size_t size, struct slice from)
{
    snprintf(text, size, "%.*s", (int)from.size, from.size == 0 ? "" : (const char *)from.data);
}

static bool
is_one_of(struct slice word, const char *const *words)
{
    for (; *words != NULL; words++) {
        if (slice_equal(word, slice_of(*words))) {
            return true;
        }
    }
    return false;
}

#define MONEY_BACK 3 /* as in $order */

/* Columns ORDER_COLUMNS. */
static void
see_order(struct slot *slot, struct db_statement *row)
{
    static const char *const paid[] = {"received", "in_preparation", "ready", "completed", NULL};
    struct slice status = db_bytes(row, 2);
    slot->n = db_i64(row, 0);
    slot->id = db_id(row, 1);
    slot->has_ended = slice_equal(db_bytes(row, 3), slice_of("ended"));
    slot->is_paying = slice_equal(db_bytes(row, 3), slice_of("paying"));
    slot->is_stuck = slice_equal(db_bytes(row, 3), slice_of("stuck"));
    slot->is_paid = is_one_of(status, paid);
    slot->round = db_i64(row, 4);
    slot->total = db_i64(row, 5);
    slot->charge = db_id(row, 7);
    slot->holds = db_i64(row, 8);
    slot->sold = db_i64(row, 9);
    slot->is_money_known = db_i64(row, 10) != 0;
    copy_text(slot->method, sizeof slot->method, db_bytes(row, 11));
    slot->is_back = db_i64(row, 10) == MONEY_BACK;
    copy_text(slot->status, sizeof slot->status, status);
    copy_text(slot->currency, sizeof slot->currency, db_bytes(row, 6));
}

#define ORDER_COLUMNS "n, id, status, saga, round, total, currency, charge, holds, sold, money, method"

static err
read_orders(struct proof *proof, int64_t after)
{
    struct db_statement *rows = db_statement(proof->order->db, "SELECT " ORDER_COLUMNS " FROM $order WHERE n > ? ORDER BY n LIMIT ?");
    db_bind_i64(rows, after);
    db_bind_i64(rows, CHUNK);
    err code = db_query(rows);
    for (proof->chunk.count = 0; code == ERR_ok && db_next(rows); proof->chunk.count++) {
        struct slot *slot = &proof->chunk.slots[proof->chunk.count];
        memset(slot, 0, sizeof *slot);
        see_order(slot, rows);
    }
    return code;
}

static err
read_order(struct proof *proof, struct slot *slot)
{
    struct db_statement *row = db_statement(proof->order->db, "SELECT " ORDER_COLUMNS " FROM $order WHERE id = ?");
    db_bind_id(row, &slot->id);
    err code = db_query(row);
    if (code == ERR_ok && db_next(row)) {
        see_order(slot, row);
    }
    db_done(row);
    return code;
}

/* Lines add up, however they are divided: of two lists of lines the sums are the same when the lists are. */
static uint64_t
line_sum(struct slice product, int64_t quantity)
{
    uint64_t hash = 14695981039346656037U;
    for (size_t i = 0; i < product.size; i++) {
        hash = (hash ^ product.data[i]) * 1099511628211U;
    }
    return hash * (uint64_t)quantity;
}

/* Of orders above `after`, up to `last`; `slots` are they, rising. */
static err
read_lines(struct proof *proof, struct slot *slots, int64_t after, int64_t last)
{
    struct db_statement *rows =
        db_statement(proof->order->db, "SELECT n, product, quantity FROM $line WHERE n > ? AND n <= ? ORDER BY n");
    db_bind_i64(rows, after);
    db_bind_i64(rows, last);
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        while (slots->n < db_i64(rows, 0)) {
            slots++;
        }
        struct slice product = db_bytes(rows, 1);
        if (slots->n == db_i64(rows, 0)) {
            slots->wanted[wire_shard_of(product, proof->shards)] += line_sum(product, db_i64(rows, 2));
        }
    }
    return code;
}

/* Whether the kitchen had begun: its timeline says so. */
static err
read_timeline(struct proof *proof, struct slot *slot)
{
    struct db_statement *read =
        db_statement(proof->order->db, "SELECT COUNT(*) FROM $entry WHERE n = ? AND status = 'in_preparation'");
    db_bind_i64(read, slot->n);
    err code = db_query(read);
    slot->was_made = code == ERR_ok && db_next(read) && db_i64(read, 0) > 0;
    db_done(read);
    return code;
}

/* --- what payment says --- */

static void
see_charge(struct slot *slot, struct db_statement *row)
{
    int64_t amount = db_i64(row, 2);
    int64_t refunded = db_i64(row, 5);
    struct id charge = db_id(row, 1);
    if (id_equal(&charge, &slot->charge)) {
        bool never_came = slice_equal(db_bytes(row, 6), slice_of("unknown")); /* cancelled before it was asked for */
        slot->has_own = true;
        slot->has_own_ended = !slice_equal(db_bytes(row, 4), slice_of("pending"));
        /* Whoever was refused may have tried another method, for which there was no stock any more. */
        bool is_by_method = slice_equal(db_bytes(row, 6), slice_of(slot->method)) ||
                            (slot->has_own_ended && !slice_equal(db_bytes(row, 4), slice_of("succeeded")));
        slot->is_own =
            never_came || (amount == slot->total && slice_equal(db_bytes(row, 3), slice_of(slot->currency)) && is_by_method);
    }
    if (slice_equal(db_bytes(row, 4), slice_of("pending"))) {
        slot->pending_charges++;
    }
    if (!slice_equal(db_bytes(row, 4), slice_of("succeeded"))) {
        return;
    }
    slot->charged = sum_wrapped(slot->charged, amount);
    slot->refunded = sum_wrapped(slot->refunded, refunded);
    if (refunded < amount || amount == 0) {
        slot->live_charges++;
        slot->free_charges += amount == 0 ? 1 : 0;
        slot->live_charge = db_id(row, 1);
        slot->live_amount = amount;
        copy_text(slot->live_currency, sizeof slot->live_currency, db_bytes(row, 3));
    }
}

static err
read_charges(struct proof *proof)
{
    if (proof->payment == NULL) {
        return ERR_ok;
    }
    name_orders(&proof->chunk);
    struct db_in *in = db_in(proof->payment->db,
                             "SELECT order_id, id, amount, currency, status, refunded, method FROM $charge WHERE order_id IN (*)");
    for (size_t i = 0; i < proof->chunk.count; i++) {
        db_in_id(in, &proof->chunk.slots[i].id);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id order = db_id(row, 0);
        struct slot *slot = find_slot(&proof->chunk, &order);
        if (slot != NULL) {
            see_charge(slot, row);
        }
    }
    return db_in_end(in);
}

/* --- what stock says --- */

static void
see_hold(struct chunk *chunk, const struct named *named, int shard, struct db_statement *row)
{
    struct slot *slot = &chunk->slots[named->slot];
    struct slice state = db_bytes(row, 3);
    if (slice_equal(state, slice_of("open"))) {
        slot->open_holds++;
    } else if (slice_equal(state, slice_of("committed"))) {
        slot->committed[shard] += line_sum(db_bytes(row, 1), db_i64(row, 2));
        slot->current[shard] += named->is_current ? line_sum(db_bytes(row, 1), db_i64(row, 2)) : 0;
    }
}

/* The holds of all rounds of all orders on one shard. */
static err
read_holds(struct proof *proof, int shard)
{
    struct chunk *chunk = &proof->chunk;
    struct db_in *in = db_in(proof->stock[shard]->db, "SELECT hold, product, quantity, state FROM $hold WHERE hold IN (*)");
    chunk->name_count = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        const struct slot *slot = &chunk->slots[i];
        for (int64_t round = 0; slot->wanted[shard] != 0 && slot->has_ended && round <= slot->round; round++) {
            struct id hold = saga_step_id(&slot->id, OP_stock_reserve, round, shard);
            add_name(chunk, &hold, i, round == ((slot->holds >> (8 * shard)) & HOLD_ROUND_MAX));
            db_in_id(in, &hold);
        }
    }
    sort_names(chunk);
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id hold = db_id(row, 0);
        const struct named *named = find_name(chunk, &hold);
        if (named != NULL) {
            see_hold(chunk, named, shard, row);
        }
    }
    return db_in_end(in);
}

static err
read_all_holds(struct proof *proof, struct err_text *why)
{
    for (int shard = 0; shard < proof->shards; shard++) {
        err code = read_holds(proof, shard);
        if (code != ERR_ok) {
            return verify_unread(proof->stock[shard], code, why);
        }
    }
    return ERR_ok;
}

/* --- what all say together --- */

static bool
is_sold(const struct slot *slot)
{
    return memcmp(slot->wanted, slot->committed, sizeof slot->wanted) == 0;
}

static bool
is_unsold(const struct slot *slot)
{
    static const uint64_t nothing[SHARDS_MAX];
    return memcmp(nothing, slot->committed, sizeof nothing) == 0;
}

/* Shard by shard, and in the rounds that it says. */
static bool
has_sold_what_it_says(const struct slot *slot)
{
    for (int shard = 0; shard < SHARDS_MAX; shard++) {
        if (((slot->sold >> shard) & 1) != (slot->committed[shard] != 0) || slot->current[shard] != slot->committed[shard]) {
            return false;
        }
    }
    return slot->sold >> SHARDS_MAX == 0;
}

/* One charge of its price is paid, whatever part of it went back; or it knows that all of it did. */
static bool
is_charged_once(const struct slot *slot)
{
    bool is_its_own = id_equal(&slot->live_charge, &slot->charge) && strcmp(slot->live_currency, slot->currency) == 0;
    if (slot->pending_charges != 0 || slot->is_back != (slot->live_charges == 0)) {
        return false;
    }
    return slot->is_back ? slot->charged >= slot->total : slot->live_charges == 1 && slot->live_amount == slot->total && is_its_own;
}

static bool
is_uncharged(const struct slot *slot)
{
    return slot->live_charges == slot->free_charges && slot->pending_charges == 0 && slot->charged == slot->refunded;
}

static enum verdict
judge(const struct slot *slot)
{
    if (slot->n == 0) {
        return AGREES; /* gone meanwhile: its charges will be found to have no order */
    }
    bool waits_in_vain = slot->is_paying && slot->has_own && slot->has_own_ended;
    if ((slot->has_own && !slot->is_own) || waits_in_vain) {
        return DIFFERS;
    }
    if (!slot->has_ended || slot->has_stray) {
        return UNDER_WAY;
    }
    bool units_agree = slot->open_holds == 0 && (slot->is_paid || slot->was_made ? is_sold(slot) : is_unsold(slot));
    bool money_agrees = (slot->is_paid ? is_charged_once(slot) : is_uncharged(slot)) && (slot->has_own || !slot->is_money_known);
    units_agree = units_agree && has_sold_what_it_says(slot);
    return units_agree && money_agrees ? AGREES : DIFFERS;
}

static struct sum *
sum_of(struct proof *proof, const char *currency)
{
    for (size_t i = 0; i < proof->sum_count; i++) {
        if (strcmp(proof->sums[i].currency, currency) == 0) {
            return &proof->sums[i];
        }
    }
    if (proof->sum_count == CURRENCIES_MAX) {
        return &proof->sums[CURRENCIES_MAX - 1];
    }
    struct sum *sum = &proof->sums[proof->sum_count++];
    memcpy(sum->currency, currency, sizeof sum->currency);
    return sum;
}

/* Of sums that may have wrapped. */
static int64_t
less(int64_t sum, int64_t part)
{
    return (int64_t)((uint64_t)sum - (uint64_t)part);
}

static void
add_up(struct proof *proof, const struct slot *slot)
{
    struct sum *sum = sum_of(proof, slot->currency);
    proof->ended++;
    sum->charged = sum_wrapped(sum->charged, slot->charged);
    sum->refunded = sum_wrapped(sum->refunded, slot->refunded);
    sum->totals = sum_wrapped(sum->totals, slot->is_paid ? slot->total : 0);
    sum->given = sum_wrapped(sum->given, slot->is_paid ? less(sum_wrapped(slot->total, slot->refunded), slot->charged) : 0);
}

static void
suspect(struct proof *proof, const struct slot *slot)
{
    if (proof->suspect_count == SUSPECTS_MAX) {
        proof->not_looked_at++;
        return;
    }
    if (proof->suspect_count == proof->suspect_capacity) {
        proof->suspect_capacity = proof->suspect_capacity == 0 ? 64 : proof->suspect_capacity * 2;
        proof->suspects = realloc(proof->suspects, proof->suspect_capacity * sizeof *proof->suspects);
        if (proof->suspects == NULL) {
            abort();
        }
    }
    proof->suspects[proof->suspect_count++] = *slot;
}

/* Adds up what agrees, and keeps the rest as suspect. */
static void
sort_out(struct proof *proof)
{
    for (size_t i = 0; i < proof->chunk.count; i++) {
        struct slot *slot = &proof->chunk.slots[i];
        if (slot->verdict == AGREES && slot->n > 0) {
            add_up(proof, slot);
        } else if (slot->verdict == UNDER_WAY) {
            proof->under_way += slot->is_stuck ? 0 : 1;
            proof->stuck += slot->is_stuck ? 1 : 0;
        } else if (slot->verdict != AGREES) {
            suspect(proof, slot);
        }
    }
}

/* --- the first look --- */

static void
end_snapshots(struct proof *proof)
{
    db_rollback(proof->order->db);
    if (proof->payment != NULL) {
        db_rollback(proof->payment->db);
    }
    for (int shard = 0; shard < proof->shards; shard++) {
        db_rollback(proof->stock[shard]->db);
    }
}

/* Orders and lines are read by now. Those that the kitchen had begun are known by their timelines; few are cancelled then. */
static err
judge_chunk(struct proof *proof, struct err_text *why)
{
    err code = read_all_holds(proof, why);
    for (size_t i = 0; code == ERR_ok && i < proof->chunk.count; i++) {
        struct slot *slot = &proof->chunk.slots[i];
        if (slot->has_ended && !slot->is_paid && !is_unsold(slot)) {
            code = read_timeline(proof, slot);
            code = code == ERR_ok ? ERR_ok : verify_unread(proof->order, code, why);
        }
        slot->verdict = judge(slot);
    }
    return code;
}

static err
look_first(struct proof *proof, struct err_text *why)
{
    struct chunk *chunk = &proof->chunk;
    int64_t after = 0;
    err code = ERR_ok;
    for (chunk->count = CHUNK; code == ERR_ok && chunk->count == CHUNK;) {
        code = read_orders(proof, after);
        if (code == ERR_ok && chunk->count > 0) {
            code = read_lines(proof, chunk->slots, after, chunk->slots[chunk->count - 1].n);
            after = chunk->slots[chunk->count - 1].n;
        }
        code = code == ERR_ok ? ERR_ok : verify_unread(proof->order, code, why);
        if (code == ERR_ok) {
            code = read_charges(proof);
            code = code == ERR_ok ? ERR_ok : verify_unread(proof->payment, code, why);
        }
        if (code == ERR_ok) {
            code = judge_chunk(proof, why);
            sort_out(proof);
        }
    }
    end_snapshots(proof);
    return code;
}

/* --- the next looks --- */

static err
read_number(struct db_statement *read, int64_t *number)
{
    err code = db_query(read);
    *number = code == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    return code;
}

static err
read_head(struct proof *proof)
{
    return proof->payment == NULL
               ? ERR_ok
               : read_number(db_statement(proof->payment->db, "SELECT seq FROM $shard WHERE shard = 0"), &proof->head);
}

/* Which orders have money on its way back that came for a charge they do not take. They are few. */
static err
read_strays(struct proof *proof)
{
    struct db_statement *rows = db_statement(proof->order->db, "SELECT order_id FROM $stray WHERE state <> 'refunded'");
    err code = db_query(rows);
    name_orders(&proof->chunk);
    while (code == ERR_ok && db_next(rows)) {
        struct id id = db_id(rows, 0);
        struct slot *slot = find_slot(&proof->chunk, &id);
        if (slot != NULL) {
            slot->has_stray = true;
        }
    }
    return code;
}

/* The orders of the chunk anew, and what order has heard of payment. */
static err
read_orders_again(struct proof *proof)
{
    struct db *db = proof->order->db;
    err code = read_number(db_statement(db, "SELECT position FROM $cursor WHERE source = 'payment/0'"), &proof->cursor);
    for (size_t i = 0; code == ERR_ok && i < proof->chunk.count; i++) {
        struct slot *slot = &proof->chunk.slots[i];
        char key[ID_TEXT_SIZE];
        int64_t parked = 0;
        id_format(&slot->id, key);
        code = read_order(proof, slot);
        if (code == ERR_ok) {
            code = read_lines(proof, slot, slot->n - 1, slot->n);
        }
        if (code == ERR_ok) {
            struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $parked WHERE event_key = ?");
            db_bind_text(read, slice_of(key));
            code = read_number(read, &parked);
        }
        slot->has_news = parked > 0 || proof->cursor < proof->head;
    }
    return code == ERR_ok ? read_strays(proof) : code;
}

static err
look_again_at_chunk(struct proof *proof, struct err_text *why)
{
    err code = read_charges(proof);
    code = code == ERR_ok ? ERR_ok : verify_unread(proof->payment, code, why);
    if (code == ERR_ok) {
        code = read_orders_again(proof);
        code = code == ERR_ok ? ERR_ok : verify_unread(proof->order, code, why);
    }
    if (code == ERR_ok) {
        code = judge_chunk(proof, why);
    }
    for (size_t i = 0; i < proof->chunk.count; i++) {
        struct slot *slot = &proof->chunk.slots[i];
        slot->verdict = slot->verdict == DIFFERS && slot->has_news ? TO_COME : slot->verdict;
    }
    return code;
}

static err
look_again(struct proof *proof, struct err_text *why)
{
    struct slot *suspects = proof->suspects;
    size_t count = proof->suspect_count;
    struct chunk *chunk = &proof->chunk;
    proof->suspects = NULL;
    proof->suspect_count = proof->suspect_capacity = 0;
    err code = read_head(proof);
    code = code == ERR_ok ? ERR_ok : verify_unread(proof->payment, code, why);
    for (size_t first = 0; code == ERR_ok && first < count; first += CHUNK) {
        chunk->count = count - first < CHUNK ? count - first : CHUNK;
        for (size_t i = 0; i < chunk->count; i++) {
            /* Its charges are read before itself, and beside what it was frozen to. */
            const struct slot *known = &suspects[first + i];
            chunk->slots[i] = (struct slot){.id = known->id, .charge = known->charge, .total = known->total};
            memcpy(chunk->slots[i].currency, known->currency, sizeof known->currency);
            memcpy(chunk->slots[i].method, known->method, sizeof known->method);
        }
        code = look_again_at_chunk(proof, why);
        sort_out(proof);
    }
    free(suspects);
    end_snapshots(proof);
    return code;
}

static int64_t
count_verdict(const struct proof *proof, enum verdict verdict)
{
    int64_t count = 0;
    for (size_t i = 0; i < proof->suspect_count; i++) {
        count += proof->suspects[i].verdict == verdict ? 1 : 0;
    }
    return count;
}

/* Until nothing is suspect, or what is left waits for an order actor that does not move. */
static err
look_until_clear(struct proof *proof, struct err_text *why)
{
    err code = ERR_ok;
    int64_t cursor = -1;
    for (int round = 0; code == ERR_ok && proof->suspect_count > 0 && round < LOOK_ROUNDS; round++) {
        code = look_again(proof, why);
        if (count_verdict(proof, DIFFERS) == 0 && proof->cursor == cursor) {
            break;
        }
        cursor = proof->cursor;
        (void)poll(NULL, 0, proof->survey->look_pause_ms);
    }
    return code;
}

/* --- what came out of it --- */

static void
tell_units(struct proof *proof, const struct slot *slot, const char *order)
{
    if (slot->open_holds > 0) {
        verify_fault(proof->survey, proof->order->name, "order %s is %s and its saga has ended, but units are still held for it",
                     order, slot->status);
    } else if ((slot->is_paid || slot->was_made) && !is_sold(slot)) {
        verify_fault(proof->survey, proof->order->name, "order %s is %s, but the units that stock has sold for it are not its lines",
                     order, slot->status);
    } else if (!slot->is_paid && !slot->was_made && !is_unsold(slot)) {
        verify_fault(proof->survey, proof->order->name, "order %s is %s before the kitchen had begun, but stock has sold units for it",
                     order, slot->status);
    } else if (!has_sold_what_it_says(slot)) {
        verify_fault(proof->survey, proof->order->name,
                     "order %s is %s, but stock has sold for it on other shards, or by other holds, than it says", order,
                     slot->status);
    }
}

static void
tell_money(struct proof *proof, const struct slot *slot, const char *order)
{
    if (slot->is_paying && slot->has_own && slot->is_own) {
        verify_fault(proof->survey, proof->order->name, "order %s waits for its money, and was told how its charge has ended", order);
        return;
    }
    if (!slot->has_ended || (slot->is_paid ? is_charged_once(slot) : is_uncharged(slot))) {
        if (slot->has_own ? !slot->is_own : slot->has_ended && slot->is_money_known) {
            verify_fault(proof->survey, proof->order->name, "order %s costs %" PRId64 " %s, to be paid by %s, but its charge %s",
                         order, slot->total, slot->currency, slot->method,
                         slot->has_own ? "is of another price or method" : "is not there");
        }
        return;
    }
    verify_fault(proof->survey, proof->order->name,
                 "order %s is %s and costs %" PRId64 " %s, but of its charges %" PRId64 " %s taken and not paid back and %" PRId64
                 " pending: %" PRId64 " charged, %" PRId64 " paid back%s",
                 order, slot->status, slot->total, slot->currency, slot->live_charges, slot->live_charges == 1 ? "is" : "are",
                 slot->pending_charges, slot->charged, slot->refunded,
                 slot->live_charges == 1 && !id_equal(&slot->live_charge, &slot->charge) ? "; it is not the order's own" : "");
}

static void
tell_orders(struct proof *proof)
{
    int64_t differ = 0;
    for (size_t i = 0; i < proof->suspect_count; i++) {
        const struct slot *slot = &proof->suspects[i];
        char order[ID_TEXT_SIZE];
        if (slot->verdict != DIFFERS) {
            continue;
        }
        id_format(&slot->id, order);
        if (++differ <= TOLD_MAX) {
            if (slot->has_ended) {
                tell_units(proof, slot, order);
            }
            tell_money(proof, slot, order);
        } else {
            proof->survey->faults++;
        }
    }
    if (proof->not_looked_at > 0) {
        fprintf(stderr, "%s: %" PRId64 " more orders did not agree and were not looked at again\n", proof->order->name,
                proof->not_looked_at);
        proof->survey->faults += differ > 0 ? proof->not_looked_at : 0;
    }
}

/* --- charges without an order --- */

/* A page of charges as slots: those that took money and kept it, or may still take some. */
static err
read_claims(struct proof *proof, int64_t *after, int64_t *count)
{
    struct chunk *chunk = &proof->chunk;
    struct db_statement *rows = db_statement(proof->payment->db, "SELECT n, id, order_id, status, amount, refunded, currency"
                                                                 " FROM $charge WHERE n > ? ORDER BY n LIMIT ?");
    db_bind_i64(rows, *after);
    db_bind_i64(rows, CHUNK);
    err code = db_query(rows);
    chunk->count = 0;
    for (*count = 0; code == ERR_ok && db_next(rows); (*count)++) {
        bool is_pending = slice_equal(db_bytes(rows, 3), slice_of("pending"));
        bool is_paid = slice_equal(db_bytes(rows, 3), slice_of("succeeded")) && db_i64(rows, 4) > db_i64(rows, 5);
        *after = db_i64(rows, 0);
        if (is_pending || is_paid) {
            struct slot *slot = &chunk->slots[chunk->count++];
            *slot = (struct slot){.id = db_id(rows, 2), .live_charge = db_id(rows, 1), .charged = db_i64(rows, 4)};
            copy_text(slot->status, sizeof slot->status, db_bytes(rows, 3));
            copy_text(slot->currency, sizeof slot->currency, db_bytes(rows, 6));
        }
    }
    return code;
}

/* The orders that they are for, as far as there are such orders, as names. */
static err
find_orders(struct proof *proof)
{
    struct chunk *chunk = &proof->chunk;
    struct db_in *in = db_in(proof->order->db, "SELECT id FROM $order WHERE id IN (*)");
    for (size_t i = 0; i < chunk->count; i++) {
        db_in_id(in, &chunk->slots[i].id);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id id = db_id(row, 0);
        add_name(chunk, &id, 0, true);
    }
    sort_names(chunk);
    return db_in_end(in);
}

static void
tell_claims(struct proof *proof)
{
    for (size_t i = 0; i < proof->chunk.count; i++) {
        const struct slot *slot = &proof->chunk.slots[i];
        char charge[ID_TEXT_SIZE];
        char order[ID_TEXT_SIZE];
        if (find_slot(&proof->chunk, &slot->id) != NULL) {
            continue;
        }
        id_format(&slot->live_charge, charge);
        id_format(&slot->id, order);
        if (proof->told++ < TOLD_MAX) {
            verify_fault(proof->survey, proof->payment->name, "charge %s of %" PRId64 " %s is %s, but there is no order %s", charge,
                         slot->charged, slot->currency, slot->status, order);
        } else {
            proof->survey->faults++;
        }
    }
}

static err
look_for_orders(struct proof *proof, struct err_text *why)
{
    int64_t after = 0;
    err code = ERR_ok;
    for (int64_t count = CHUNK; code == ERR_ok && count == CHUNK;) {
        code = read_claims(proof, &after, &count);
        code = code == ERR_ok ? ERR_ok : verify_unread(proof->payment, code, why);
        proof->charges += count;
        proof->chunk.name_count = 0;
        if (code == ERR_ok && proof->order != NULL) {
            code = find_orders(proof);
            code = code == ERR_ok ? ERR_ok : verify_unread(proof->order, code, why);
        }
        if (code == ERR_ok) {
            tell_claims(proof);
        }
    }
    db_rollback(proof->payment->db);
    if (proof->order != NULL) {
        db_rollback(proof->order->db);
    }
    return code;
}

/* --- all --- */

static void
print(const struct proof *proof)
{
    printf("orders: %" PRId64 " have ended and agree with their holds and charges, %" PRId64 " are under way, %" PRId64
           " are stuck, %" PRId64 " have news to come; %" PRId64 " charges have their orders\n",
           proof->ended, proof->under_way, proof->stuck, count_verdict(proof, TO_COME), proof->charges);
    for (size_t i = 0; i < proof->sum_count; i++) {
        const struct sum *sum = &proof->sums[i];
        printf("orders: %s %" PRId64 " charged - %" PRId64 " paid back = %" PRId64 ", the totals of paid orders", sum->currency,
               sum_shown(sum->charged), sum_shown(sum->refunded), sum_shown(less(sum->totals, sum->given)));
        if (sum->given != 0) {
            printf(" but for %" PRId64 " of them that went back", sum_shown(sum->given));
        }
        printf("\n");
    }
}

static err
prove_orders(struct proof *proof, struct err_text *why)
{
    err code = look_first(proof, why);
    if (code == ERR_ok) {
        code = look_until_clear(proof, why);
    }
    if (code == ERR_ok) {
        tell_orders(proof);
    }
    return code;
}

err
verify_compare_orders(struct verify_survey *survey, struct err_text *why)
{
    struct proof *proof = calloc(1, sizeof *proof);
    if (proof == NULL) {
        abort();
    }
    int64_t faults = survey->faults;
    err code = ERR_ok;
    proof->survey = survey;
    proof->order = verify_find(survey, "order/0");
    proof->payment = verify_find(survey, "payment/0");
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->sources[i].proof->actor, "stock") == 0 && proof->shards < SHARDS_MAX) {
            proof->stock[proof->shards++] = &survey->sources[i];
        }
    }
    if (proof->order != NULL) {
        code = prove_orders(proof, why);
    }
    if (code == ERR_ok && proof->payment != NULL) {
        code = look_for_orders(proof, why);
    }
    if (code == ERR_ok && proof->order != NULL && survey->faults == faults) {
        print(proof);
    }
    free(proof->chunk.names);
    free(proof->suspects);
    free(proof);
    return code;
}
