/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Proves a shard of stock from its tables alone: the ledger is read once in the order of its lines, each line must follow
 *           from the one before it of the same product and be what lines of its kind are, and what comes out must be what levels,
 *           holds, productions, their due rows and the last configurations say.
 * STATE     For each product the figures after its last line, in a table as the actor itself has. Of an entry, `asked` counts the
 *           units of open holds, `freed` those on their way, `is_touched` when a fault of it was told, `cause` is NULL when the
 *           product has neither a level nor a due row of an alarm. `stamp` is 0 when ledger and holds tell the same: lines add the
 *           hash of the hold and of what was done to it times the units, rows of holds take theirs off. Of its shelf, `wanted`
 *           counts the units that left by commits less those of the holds that were committed, `incoming` the units that came back
 *           less those of the holds that were returned; reorder_at, order_up_to and lot are those of its last configuration.
 * FAILURES  What does not add up is told, the first of each product, and counted. Errors of the database are handed on.
 * LIMITS    Lines are read 10,000 at a time; memory grows with the products and with 40 bytes for each refill, not with the ledger.
 *           What somebody has said (a reason, the reference of a sale) and when it was may be anything. When a hold ends is proved
 *           while it is open.
 */
#include "stock_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "kit/base/memory.h"
#include "stock.h"
#include "stock_levels.h"
#include "stock_state.h"
#include "stock_store.h"

#define RANGE 10000

/* A line of the ledger by which a production came, and a production that says that it has. */
struct refill {
    struct id request;
    struct slice product; /* a level's */
    int64_t quantity;
};

struct refills {
    struct refill *all;
    size_t count;
    size_t capacity;
};

struct proof {
    struct db *db;
    struct verify_report *report;
    struct level_table *products;
    struct refills refilled; /* by the ledger */
    struct refills produced; /* by productions */
    int64_t n;               /* of the last line that was read */
    struct id request;
    int64_t line;   /* of that request */
    struct id hold; /* of the last row of a hold */
    int64_t hold_line;
};

static const char alarm_due; /* `cause` of a product whose alarm has a due row, before its level is read */

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
    if (product->is_touched) {
        return;
    }
    product->is_touched = true;
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

static void
add_refill(struct refills *refills, const struct refill *refill)
{
    refills->all = memory_grow(refills->all, &refills->capacity, refills->count + 1, sizeof *refills->all);
    refills->all[refills->count++] = *refill;
}

/* --- the ledger --- */

/* What was done to so many units of a hold; sums of it are the same whatever the order. */
static uint64_t
deed(const struct id *hold, char what, struct slice reference, int64_t units)
{
    uint64_t sum = hash_number(hash_bytes(HASH_FIRST, hold->bytes, ID_SIZE), (uint8_t)what);
    sum = hash_bytes(sum, reference.data, reference.size);
    return (sum ^ sum >> 29) * (uint64_t)units;
}

enum { FALLS = -1, STAYS = 0, RISES = 1, ANY = 2 };

/* What lines of a kind are. */
static const struct {
    int on_hand;
    int reserved;
    bool has_hold;
    bool has_end;
    bool has_reason; /* may have */
    bool has_answer;
    char deed;
} kinds[MOVE_KIND_COUNT] = {
    [MOVE_TAKE] = {.on_hand = FALLS},
    [MOVE_RESERVE] = {.reserved = RISES, .has_hold = true, .has_end = true, .deed = 'm'},
    [MOVE_EXTEND] = {.has_hold = true, .has_end = true},
    [MOVE_COMMIT] = {.on_hand = FALLS, .reserved = FALLS, .has_hold = true, .deed = 'c'},
    [MOVE_RELEASE] = {.reserved = FALLS, .has_hold = true, .deed = 'r'},
    [MOVE_EXPIRE] = {.reserved = FALLS, .has_hold = true, .deed = 'e'},
    [MOVE_RETURN] = {.on_hand = RISES, .has_hold = true, .deed = 'b'},
    [MOVE_ADJUST] = {.on_hand = ANY, .has_reason = true},
    [MOVE_COUNT] = {.on_hand = ANY, .has_reason = true},
    [MOVE_CONFIGURE] = {.has_answer = true},
    [MOVE_REFILL] = {.on_hand = RISES},
    [MOVE_REFUSED] = {.has_reason = true, .has_answer = true},
};

static bool
goes(int64_t delta, int way)
{
    return way == ANY || (way == STAYS ? delta == 0 : way == RISES ? delta > 0 : delta < 0);
}

/* What is wrong with a line in itself; NULL: nothing. A line of version 0 changes nothing, and only some kinds have them. */
static const char *
line_fault(const struct proof *proof, const struct move *move)
{
    bool is_beside = move->version == 0;
    bool may_be_beside = move->kind == MOVE_REFUSED || move->kind == MOVE_RELEASE || move->kind == MOVE_RETURN;
    bool goes_on = id_equal(&move->request, &proof->request);
    if (move->kind == MOVE_KIND_COUNT) {
        return "is of no kind that there is";
    }
    if (id_is_zero(&move->request) || move->line != (goes_on ? proof->line + 1 : 0)) {
        return "has no request, or another place in it";
    }
    if (is_beside ? !may_be_beside
                  : !goes(move->delta, kinds[move->kind].on_hand) || !goes(move->reserved_delta, kinds[move->kind].reserved)) {
        return "does what lines of its kind do not do";
    }
    if (move->has_hold != kinds[move->kind].has_hold || (move->kind == MOVE_RESERVE && !id_equal(&move->hold, &move->request))) {
        return "is about another hold than it can be";
    }
    if ((move->expires_ms > 0) != (kinds[move->kind].has_end && !is_beside) || move->time_ms <= 0 || move->incoming < 0) {
        return "has a time or a figure that no line of its kind has";
    }
    if ((move->reason.size > 0 && !kinds[move->kind].has_reason) || (move->answer.size > 0 && !kinds[move->kind].has_answer)) {
        return "says what lines of its kind do not say";
    }
    if (move->kind == MOVE_REFUSED && err_find((const char *)move->reason.data, move->reason.size) == ERR_COUNT) {
        return "was refused for nothing that there is";
    }
    return NULL;
}

/* What the last configuration has answered; a line without one is of a build that kept none. */
static void
see_configuration(struct proof *proof, struct level *product, const struct move *move)
{
    struct wire_stock_done done;
    struct wire_stock_level level;
    struct err_text why;
    bool is_good = wire_decode(&stock_done_body, move->answer, &done, &why) == ERR_ok &&
                   wire_list_next(&done.levels, &stock_level_body, &level) && slice_equal(level.product, move->product) &&
                   WIRE_HAS(&level, stock_level, reorder_at) && WIRE_HAS(&level, stock_level, order_up_to) &&
                   WIRE_HAS(&level, stock_level, lot);
    if (!is_good) {
        fault_of(proof, product, "line %" PRId64 " is a configuration whose answer cannot be read", move->n);
        return;
    }
    if (level.on_hand != move->on_hand || level.reserved != move->reserved || level.incoming != move->incoming ||
        level.available != move->on_hand - move->reserved || level.version != move->version) {
        fault_of(proof, product, "line %" PRId64 " was answered with other figures than it has", move->n);
    }
    product->shelf.reorder_at = level.reorder_at;
    product->shelf.order_up_to = level.order_up_to;
    product->shelf.lot = level.lot;
}

static void
see_refusal(struct proof *proof, const struct move *move)
{
    struct wire_problem problem;
    struct err_text why;
    if (wire_decode(&problem_body, move->answer, &problem, &why) != ERR_ok) {
        fault(proof, "line %" PRId64 " of the ledger is a refusal whose answer cannot be read", move->n);
    }
}

/* What it tells of holds, refills and configurations, for what is read later. */
static void
see_deed(struct proof *proof, struct level *product, const struct move *move)
{
    int64_t units = move->delta != 0 ? move->delta : move->reserved_delta;
    if (kinds[move->kind].deed != 0) {
        struct slice reference = move->kind == MOVE_RESERVE ? move->reference : (struct slice){0};
        product->stamp += deed(&move->hold, kinds[move->kind].deed, reference, units < 0 ? -units : units);
    }
    if (move->kind == MOVE_REFILL) {
        struct refill refill = {.request = move->request, .product = level_product(product), .quantity = move->delta};
        add_refill(&proof->refilled, &refill);
    }
    if (move->kind == MOVE_CONFIGURE && move->answer.size > 0) {
        see_configuration(proof, product, move);
    }
}

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
    const char *words = line_fault(proof, move);
    if (words != NULL) {
        fault(proof, "line %" PRId64 " of the ledger, of %.*s, %s", move->n, (int)move->product.size,
              move->product.size == 0 ? "" : (const char *)move->product.data, words);
    }
    proof->n = move->n;
    proof->request = move->request;
    proof->line = move->line;
    if (move->kind == MOVE_REFUSED) {
        see_refusal(proof, move);
    }
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
    if (move->kind != MOVE_KIND_COUNT) {
        see_deed(proof, product, move);
    }
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

static err
see_move_row(void *context, struct db_statement *row)
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
        .request = db_id(row, 9),
        .line = db_i64(row, 10),
        .incoming = db_i64(row, 11),
        .time_ms = db_i64(row, 12),
        .has_hold = !db_is_null(row, 13),
        .hold = db_id(row, 13),
        .expires_ms = db_i64(row, 14),
        .reason = db_bytes(row, 15),
        .reference = db_bytes(row, 16),
        .answer = db_bytes(row, 17),
    };
    see_line(context, &move);
    return ERR_ok;
}

/* --- what must be equal to it --- */

/* Its lines stand one behind the other. */
static void
check_hold_line(struct proof *proof, const struct id *hold, struct db_statement *row)
{
    int64_t line = db_i64(row, 4);
    if (line != (id_equal(hold, &proof->hold) ? proof->hold_line + 1 : 0)) {
        fault(proof, "row %" PRId64 " of the holds has another place in its hold", db_i64(row, 0));
    }
    proof->hold = *hold;
    proof->hold_line = line;
}

static void
see_held_units(struct level *product, const struct id *hold, struct db_statement *row)
{
    static const char deeds[HOLD_STATE_COUNT] = {
        [HOLD_COMMITTED] = 'c', [HOLD_RELEASED] = 'r', [HOLD_EXPIRED] = 'e', [HOLD_RETURNED] = 'b'};
    static const struct slice nothing = {0};
    enum hold_state state = hold_state_find(db_bytes(row, 3));
    int64_t quantity = db_i64(row, 2);
    product->stamp -= deed(hold, 'm', db_bytes(row, 5), quantity);
    if (state < HOLD_STATE_COUNT && deeds[state] != 0) {
        product->stamp -= deed(hold, deeds[state], nothing, quantity);
    }
    if (state == HOLD_OPEN) {
        product->asked += quantity;
    } else if (state == HOLD_COMMITTED || state == HOLD_RETURNED) {
        product->shelf.wanted -= quantity;
        product->shelf.incoming -= state == HOLD_RETURNED ? quantity : 0;
        product->stamp -= state == HOLD_RETURNED ? deed(hold, 'c', nothing, quantity) : 0;
    }
}

static err
see_hold_row(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct id hold = db_id(row, 6);
    int64_t n = db_i64(row, 0);
    enum hold_state state = hold_state_find(db_bytes(row, 3));
    check_hold_line(proof, &hold, row);
    if (state == HOLD_STATE_COUNT) {
        fault(proof, "row %" PRId64 " of the holds is in no state that there is", n);
    } else if (db_i64(row, 2) == 0 && db_bytes(row, 1).size == 0) {
        if (state != HOLD_RELEASED) {
            fault(proof, "row %" PRId64 " of the holds is of nothing, and was not released before it was made", n);
        }
    } else if (!wire_is_name(db_bytes(row, 1)) || db_i64(row, 2) <= 0) {
        fault(proof, "row %" PRId64 " of the holds is of no product, or of no units", n);
    } else {
        see_held_units(product_of(proof, db_bytes(row, 1)), &hold, row);
    }
    return ERR_ok;
}

static err
read_productions(struct proof *proof)
{
    struct db_statement *rows = db_statement(proof->db, "SELECT product, quantity, state, production FROM $production");
    err status = db_query(rows);
    if (status != ERR_ok) {
        return status;
    }
    for (; db_next(rows); proof->report->rows_checked++) {
        struct id id = db_id(rows, 3);
        enum production_state state = production_state_find(db_bytes(rows, 2));
        if (!wire_is_name(db_bytes(rows, 0)) || db_i64(rows, 1) <= 0 || state == PRODUCTION_STATE_COUNT) {
            fault(proof, "there is a production of no product, of no units or in no state");
            continue;
        }
        struct level *product = product_of(proof, db_bytes(rows, 0));
        if (state == PRODUCTION_ORDERED) {
            product->freed += db_i64(rows, 1);
        } else if (state == PRODUCTION_PRODUCED) {
            struct refill refill = {.product = level_product(product), .quantity = db_i64(rows, 1)};
            refill.request = id_derive(&id, "stock.refill");
            add_refill(&proof->produced, &refill);
        }
    }
    return ERR_ok;
}

static int
compare_refills(const void *a, const void *b)
{
    return memcmp(&((const struct refill *)a)->request, &((const struct refill *)b)->request, sizeof(struct id));
}

static void
say_refill(struct proof *proof, const struct refill *refill, const char *words)
{
    struct level *product = product_of(proof, refill->product);
    fault_of(proof, product, "%" PRId64 " units %s", refill->quantity, words);
}

/* Each refill of the ledger is that of one production, and the other way round. */
static void
compare_all_refills(struct proof *proof)
{
    struct refills *refilled = &proof->refilled;
    struct refills *produced = &proof->produced;
    size_t i = 0;
    size_t k = 0;
    if (refilled->count > 0) {
        qsort(refilled->all, refilled->count, sizeof *refilled->all, compare_refills);
    }
    if (produced->count > 0) {
        qsort(produced->all, produced->count, sizeof *produced->all, compare_refills);
    }
    while (i < refilled->count || k < produced->count) {
        int order = i == refilled->count ? 1 : k == produced->count ? -1 : compare_refills(&refilled->all[i], &produced->all[k]);
        if (order < 0) {
            say_refill(proof, &refilled->all[i], "came by a refill, but no production says that it is done");
        } else if (order > 0) {
            say_refill(proof, &produced->all[k], "are of a production that is done, but the ledger has no refill of it");
        } else if (refilled->all[i].quantity != produced->all[k].quantity ||
                   !slice_equal(refilled->all[i].product, produced->all[k].product)) {
            say_refill(proof, &refilled->all[i], "came by a refill, and its production says something else");
        }
        i += order <= 0 ? 1 : 0;
        k += order >= 0 ? 1 : 0;
    }
}

static err
read_due(struct proof *proof)
{
    struct db_statement *rows = db_statement(proof->db, "SELECT due_key FROM $due WHERE owner = '" STOCK_DUE_ALARM "'");
    err status = db_query(rows);
    while (status == ERR_ok && db_next(rows)) {
        if (wire_is_name(db_bytes(rows, 0))) {
            product_of(proof, db_bytes(rows, 0))->cause = &alarm_due;
        }
    }
    struct db_statement *holds = db_statement(proof->db, "SELECT h.n FROM $hold h LEFT JOIN $due d ON d.owner = '" STOCK_DUE_HOLD
                                                         "' AND d.due_key = h.hold AND d.due <= h.expires"
                                                         " WHERE h.state = 'open' AND d.owner IS NULL");
    status = status == ERR_ok ? db_query(holds) : status;
    while (status == ERR_ok && db_next(holds)) {
        fault(proof, "row %" PRId64 " of the holds is open, but no due row will end it when its time is over", db_i64(holds, 0));
    }
    return status;
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
    bool has_due = product->cause == &alarm_due;
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
    if (shelf->alarm >= ALARM_LOW && !has_due) {
        fault_of(proof, product, "its alarm stands, but no due row will raise it again");
    }
    compare(proof, product, "to be where a refill is due", shelf->reorder_at, product->shelf.reorder_at, "its last configuration");
    compare(proof, product, "to be refilled up to", shelf->order_up_to, product->shelf.order_up_to, "its last configuration");
    compare(proof, product, "in a lot", shelf->lot, product->shelf.lot, "its last configuration");
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
            if (!wire_is_name(db_bytes(rows, 0))) {
                fault(proof, "there is a level of no product");
                return ERR_ok;
            }
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
    if (product->stamp != 0) {
        fault_of(proof, product, "the ledger and the holds do not tell the same of what was held, for whom, and what became of it");
    }
    if (product->cause != proof) {
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
        if (!wire_is_name(db_bytes(rows, 0))) {
            fault(proof, "there is a milestone of no product");
            continue;
        }
        struct level *product = product_of(proof, db_bytes(rows, 0));
        fault_of(proof, product, "line %" PRId64 " should have version %" PRId64 ", but is another", db_i64(rows, 2), db_i64(rows, 1));
    }
    return ERR_ok;
}

static err
prove(struct proof *proof)
{
    struct verify_walk walk = {.db = proof->db, .context = proof, .rows = &proof->report->rows_checked};
    walk.sql = "SELECT n, product, delta, reserved_delta, on_hand, reserved, version, previous, kind, request, line, incoming, time,"
               " hold, expires, reason, reference, answer FROM $move WHERE n > ? ORDER BY n LIMIT ?";
    walk.see = see_move_row;
    err status = verify_walk(&walk);
    if (status == ERR_ok) {
        walk.sql = "SELECT n, product, quantity, state, line, reference, hold FROM $hold WHERE n > ? ORDER BY n LIMIT ?";
        walk.see = see_hold_row;
        status = verify_walk(&walk);
    }
    if (status == ERR_ok) {
        status = read_productions(proof);
    }
    if (status == ERR_ok) {
        status = read_due(proof);
    }
    if (status == ERR_ok) {
        status = read_levels(proof);
    }
    if (status == ERR_ok) {
        status = read_milestones(proof);
    }
    if (status == ERR_ok) {
        compare_all_refills(proof);
        stock_levels_each(proof->products, see_product, proof);
    }
    return status;
}

err
stock_verify(struct db *db, struct verify_report *report)
{
    struct proof proof = {.db = db, .report = report, .products = stock_levels_create(), .hold_line = -1};
    err status = prove(&proof);
    stock_levels_destroy(&proof.products);
    free(proof.refilled.all);
    free(proof.produced.all);
    return status;
}

/* --- what others compare --- */

#define PRODUCTIONS "SELECT production, product, quantity, state FROM $production"

struct db_in *
stock_select_holds(struct db *db)
{
    return db_in(db, "SELECT hold, product, quantity, state FROM $hold WHERE hold IN (*)");
}

struct db_in *
stock_select_productions(struct db *db)
{
    return db_in(db, PRODUCTIONS " WHERE production IN (*)");
}

struct db_statement *
stock_select_productions_behind(struct db *db, const struct id *after, int64_t most)
{
    struct db_statement *rows = db_statement(db, PRODUCTIONS " WHERE production > ? ORDER BY production LIMIT ?");
    db_bind_id(rows, after);
    db_bind_i64(rows, most);
    return rows;
}
