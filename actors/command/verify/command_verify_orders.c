/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves across databases that every order which has ended left behind what it should have: its units are sold or back on the
 *   shelf, and the money that was taken and not paid back is its price or nothing (command_verify_account.c says which). So over all
 *   of them charged - refunded = totals of paid orders, less what went back of those, which is printed for each currency. The other
 *   way round every charge belongs to an order (command_verify_charges.c).
 *
 *   Orders are read in one snapshot, then charges, then holds, each in one of its own. What does not agree is only suspect, because
 *   the shop may be open: it is looked at again, VERIFY_LOOKS_MAX times at most, payment first. An order that disagrees with its
 *   charges although it has heard everything that payment had told by then is a fault.
 *
 * STATE
 *   Reads only: $order, $line, $entry, $stray, $cursor, $parked of order; $charge of payment; $hold of stock. The ids of holds are
 *   those that order derives for its steps.
 *
 * FAILURES
 *   Each is a sentence that names the order. One whose payment has news for it that it has not heard is counted, and no fault.
 *
 * LIMITS
 *   Memory grows with what is suspect, not with the orders. The first VERIFY_TOLD_MAX faults are told, all are counted. Of what does
 *   not agree VERIFY_SUSPECTS_MAX are looked at again; how many more there were is said, and is a fault when one of these is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_account.h"
#include "command_verify_looks.h"
#include "kit/base/memory.h"
#include "order/saga/order_saga.h"
#include "kit/base/sum.h"

#define CHUNK 512
#define CURRENCIES_MAX 256

/* Up to CHUNK orders that are looked at together. */
struct chunk {
    struct account accounts[CHUNK];
    size_t count;
    struct verify_names names; /* of orders, then of the holds of one shard; marked is what is of the round that its order says */
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
    const struct verify_source *stock[ACCOUNT_SHARDS_MAX];
    int shards;
    struct chunk chunk;
    struct verify_suspects suspects;
    int64_t ended;
    int64_t under_way;
    int64_t stuck;
    int64_t charges;
    int64_t head;          /* of payment's stream, in payment's snapshot */
    int64_t cursor;        /* of order in it, in order's snapshot */
    int64_t cursor_before; /* in the look before; -1: this is the first */
    struct sum sums[CURRENCIES_MAX];
    size_t sum_count;
};

/* --- what order says --- */

static struct account *
find_account(struct chunk *chunk, const struct id *id)
{
    const struct verify_name *found = verify_names_find(&chunk->names, id);
    return found == NULL ? NULL : &chunk->accounts[found->number];
}

static void
name_orders(struct chunk *chunk)
{
    verify_names_clear(&chunk->names);
    for (size_t i = 0; i < chunk->count; i++) {
        verify_names_add(&chunk->names, &chunk->accounts[i].id, i, true);
    }
}

static err
read_orders(struct proof *proof, int64_t after)
{
    struct db_statement *rows =
        db_statement(proof->order->db, "SELECT " ACCOUNT_ORDER_COLUMNS " FROM $order WHERE n > ? ORDER BY n LIMIT ?");
    db_bind_i64(rows, after);
    db_bind_i64(rows, CHUNK);
    err code = db_query(rows);
    for (proof->chunk.count = 0; code == ERR_ok && db_next(rows); proof->chunk.count++) {
        struct account *account = &proof->chunk.accounts[proof->chunk.count];
        memset(account, 0, sizeof *account);
        account_see_order(account, rows);
    }
    return code;
}

static err
read_order(struct proof *proof, struct account *account)
{
    struct db_statement *row = db_statement(proof->order->db, "SELECT " ACCOUNT_ORDER_COLUMNS " FROM $order WHERE id = ?");
    db_bind_id(row, &account->id);
    err code = db_query(row);
    if (code == ERR_ok && db_next(row)) {
        account_see_order(account, row);
    }
    db_done(row);
    return code;
}

/* Of orders above `after`, up to `last`; `accounts` are they, rising. */
static err
read_lines(struct proof *proof, struct account *accounts, int64_t after, int64_t last)
{
    struct db_statement *rows =
        db_statement(proof->order->db, "SELECT n, product, quantity FROM $line WHERE n > ? AND n <= ? ORDER BY n");
    db_bind_i64(rows, after);
    db_bind_i64(rows, last);
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        while (accounts->n < db_i64(rows, 0)) {
            accounts++;
        }
        struct slice product = db_bytes(rows, 1);
        if (accounts->n == db_i64(rows, 0)) {
            account_see_line(accounts, wire_shard_of(product, proof->shards), product, db_i64(rows, 2));
        }
    }
    return code;
}

/* Whether the kitchen had begun: its timeline says so. */
static err
read_timeline(struct proof *proof, struct account *account)
{
    struct db_statement *read =
        db_statement(proof->order->db, "SELECT COUNT(*) FROM $entry WHERE n = ? AND status = 'in_preparation'");
    db_bind_i64(read, account->n);
    err code = db_query(read);
    account->was_made = code == ERR_ok && db_next(read) && db_i64(read, 0) > 0;
    db_done(read);
    return code;
}

/* --- what payment says --- */

static err
read_charges(struct proof *proof)
{
    if (proof->payment == NULL) {
        return ERR_ok;
    }
    name_orders(&proof->chunk);
    struct db_in *in = db_in(proof->payment->db, "SELECT " ACCOUNT_CHARGE_COLUMNS " FROM $charge WHERE order_id IN (*)");
    for (size_t i = 0; i < proof->chunk.count; i++) {
        db_in_id(in, &proof->chunk.accounts[i].id);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id order = db_id(row, 0);
        struct account *account = find_account(&proof->chunk, &order);
        if (account != NULL) {
            account_see_charge(account, row);
        }
    }
    return db_in_end(in);
}

/* --- what stock says --- */

/* The holds of all rounds of all orders on one shard. */
static err
read_holds(struct proof *proof, int shard)
{
    struct chunk *chunk = &proof->chunk;
    struct db_in *in = db_in(proof->stock[shard]->db, "SELECT " ACCOUNT_HOLD_COLUMNS " FROM $hold WHERE hold IN (*)");
    verify_names_clear(&chunk->names);
    for (size_t i = 0; i < chunk->count; i++) {
        const struct account *account = &chunk->accounts[i];
        for (int64_t round = 0; account->wanted[shard] != 0 && account->has_ended && round <= account->round; round++) {
            struct id hold = saga_step_id(&account->id, OP_stock_reserve, round, shard);
            verify_names_add(&chunk->names, &hold, i, round == ((account->holds >> (8 * shard)) & ACCOUNT_HOLD_ROUND_MAX));
            db_in_id(in, &hold);
        }
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id hold = db_id(row, 0);
        const struct verify_name *named = verify_names_find(&chunk->names, &hold);
        if (named != NULL) {
            account_see_hold(&chunk->accounts[named->number], shard, named->is_marked, row);
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
add_up(struct proof *proof, const struct account *account)
{
    struct sum *sum = sum_of(proof, account->currency);
    proof->ended++;
    sum->charged = sum_wrapped(sum->charged, account->charged);
    sum->refunded = sum_wrapped(sum->refunded, account->refunded);
    sum->totals = sum_wrapped(sum->totals, account->is_paid ? account->total : 0);
    sum->given =
        sum_wrapped(sum->given, account->is_paid ? less(sum_wrapped(account->total, account->refunded), account->charged) : 0);
}

/* Adds up what agrees, and keeps the rest as suspect. */
static void
sort_out(struct proof *proof)
{
    for (size_t i = 0; i < proof->chunk.count; i++) {
        struct account *account = &proof->chunk.accounts[i];
        if (account->verdict == ACCOUNT_AGREES && account->n > 0) {
            add_up(proof, account);
        } else if (account->verdict == ACCOUNT_UNDER_WAY) {
            proof->under_way += account->is_stuck ? 0 : 1;
            proof->stuck += account->is_stuck ? 1 : 0;
        } else if (account->verdict != ACCOUNT_AGREES) {
            verify_suspect(&proof->suspects, account);
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
        struct account *account = &proof->chunk.accounts[i];
        if (account->has_ended && !account->is_paid && !account_is_unsold(account)) {
            code = read_timeline(proof, account);
            code = code == ERR_ok ? ERR_ok : verify_unread(proof->order, code, why);
        }
        account->verdict = account_judge(account);
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
            code = read_lines(proof, chunk->accounts, after, chunk->accounts[chunk->count - 1].n);
            after = chunk->accounts[chunk->count - 1].n;
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
read_head(struct proof *proof)
{
    return proof->payment == NULL
               ? ERR_ok
               : verify_read_number(db_statement(proof->payment->db, "SELECT seq FROM $shard WHERE shard = 0"), &proof->head);
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
        struct account *account = find_account(&proof->chunk, &id);
        if (account != NULL) {
            account->has_stray = true;
        }
    }
    return code;
}

/* The orders of the chunk anew, and what order has heard of payment. */
static err
read_orders_again(struct proof *proof)
{
    struct db *db = proof->order->db;
    proof->cursor_before = proof->cursor;
    err code = verify_read_number(db_statement(db, "SELECT position FROM $cursor WHERE source = 'payment/0'"), &proof->cursor);
    for (size_t i = 0; code == ERR_ok && i < proof->chunk.count; i++) {
        struct account *account = &proof->chunk.accounts[i];
        char key[ID_TEXT_SIZE];
        int64_t parked = 0;
        id_format(&account->id, key);
        code = read_order(proof, account);
        if (code == ERR_ok) {
            code = read_lines(proof, account, account->n - 1, account->n);
        }
        if (code == ERR_ok) {
            struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $parked WHERE event_key = ?");
            db_bind_text(read, slice_of(key));
            code = verify_read_number(read, &parked);
        }
        account->has_news = parked > 0 || proof->cursor < proof->head;
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
        struct account *account = &proof->chunk.accounts[i];
        account->verdict = account->verdict == ACCOUNT_DIFFERS && account->has_news ? ACCOUNT_TO_COME : account->verdict;
    }
    return code;
}

static err
look_again(void *context, struct err_text *why)
{
    struct proof *proof = context;
    size_t count = 0;
    struct account *suspects = verify_suspects_take(&proof->suspects, &count);
    struct chunk *chunk = &proof->chunk;
    err code = read_head(proof);
    code = code == ERR_ok ? ERR_ok : verify_unread(proof->payment, code, why);
    for (size_t first = 0; code == ERR_ok && first < count; first += CHUNK) {
        chunk->count = count - first < CHUNK ? count - first : CHUNK;
        for (size_t i = 0; i < chunk->count; i++) {
            /* Its charges are read before itself, and beside what it was frozen to. */
            const struct account *known = &suspects[first + i];
            chunk->accounts[i] = (struct account){.id = known->id, .charge = known->charge, .total = known->total};
            memcpy(chunk->accounts[i].currency, known->currency, sizeof known->currency);
            memcpy(chunk->accounts[i].method, known->method, sizeof known->method);
        }
        code = look_again_at_chunk(proof, why);
        sort_out(proof);
    }
    free(suspects);
    end_snapshots(proof);
    return code;
}

static int64_t
count_verdict(const struct proof *proof, enum account_verdict verdict)
{
    const struct account *suspects = proof->suspects.all;
    int64_t count = 0;
    for (size_t i = 0; i < proof->suspects.count; i++) {
        count += suspects[i].verdict == verdict ? 1 : 0;
    }
    return count;
}

/* Until nothing is suspect, or what is left waits for an order actor that does not move. */
static bool
is_in_doubt(void *context)
{
    const struct proof *proof = context;
    bool has_moved = proof->cursor != proof->cursor_before;
    return proof->suspects.count > 0 && (count_verdict(proof, ACCOUNT_DIFFERS) > 0 || has_moved);
}

/* --- what came out of it --- */

static void
tell_orders(struct proof *proof)
{
    const struct account *suspects = proof->suspects.all;
    int64_t differ = 0;
    for (size_t i = 0; i < proof->suspects.count; i++) {
        if (suspects[i].verdict != ACCOUNT_DIFFERS) {
            continue;
        }
        if (++differ <= VERIFY_TOLD_MAX) {
            account_tell(&suspects[i], proof->survey, proof->order->name);
        } else {
            proof->survey->faults++;
        }
    }
    verify_suspects_say_rest(&proof->suspects, proof->survey,
                             &(struct verify_rest){proof->order->name, "orders did not agree", differ});
}

/* --- all --- */

static void
print(const struct proof *proof)
{
    printf("orders: %" PRId64 " have ended and agree with their holds and charges, %" PRId64 " are under way, %" PRId64
           " are stuck, %" PRId64 " have news to come; %" PRId64 " charges have their orders\n",
           proof->ended, proof->under_way, proof->stuck, count_verdict(proof, ACCOUNT_TO_COME), proof->charges);
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
        code = verify_look_again(proof->survey, &(struct verify_looks){VERIFY_LOOKS_MAX, is_in_doubt, look_again, proof}, why);
    }
    if (code == ERR_ok) {
        tell_orders(proof);
    }
    return code;
}

err
verify_compare_orders(struct verify_survey *survey, struct err_text *why)
{
    struct proof *proof = memory_new(1, sizeof *proof);
    int64_t faults = survey->faults;
    err code = ERR_ok;
    proof->survey = survey;
    proof->suspects.size = sizeof(struct account);
    proof->cursor = -1;
    proof->cursor_before = -2;
    proof->order = verify_find(survey, "order/0");
    proof->payment = verify_find(survey, "payment/0");
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->sources[i].proof->actor, "stock") == 0 && proof->shards < ACCOUNT_SHARDS_MAX) {
            proof->stock[proof->shards++] = &survey->sources[i];
        }
    }
    if (proof->order != NULL) {
        code = prove_orders(proof, why);
    }
    if (code == ERR_ok) {
        code = verify_compare_charges(survey, &proof->charges, why);
    }
    if (code == ERR_ok && proof->order != NULL && survey->faults == faults) {
        print(proof);
    }
    verify_names_fini(&proof->chunk.names);
    verify_suspects_fini(&proof->suspects);
    free(proof);
    return code;
}
