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
 *   Reads only, what order_verify.h, payment_verify.h and stock_verify.h give, and $shard, $cursor and $parked. The ids of holds are
 *   those that order derives for its steps.
 *
 * FAILURES
 *   Each is a sentence that names the order. One whose payment has news for it that it has not heard is counted, and no fault.
 *
 * LIMITS
 *   Memory grows with what is suspect, not with the orders.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_account.h"
#include "command_verify_names.h"
#include "kit/base/memory.h"
#include "stock/stock_verify.h"
#include "kit/base/sum.h"

#define CURRENCIES_MAX 256
#define ORDER "order/0"
#define PAYMENT "payment/0"

/* Up to VERIFY_CHUNK orders that are looked at together. */
struct chunk {
    struct account *accounts;
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
    struct account accounts[VERIFY_CHUNK]; /* of the first look */
    struct chunk chunk;
    struct verify_comparison comparison;
    int64_t ended;
    int64_t under_way;
    int64_t stuck;
    int64_t charges;
    int64_t head; /* of payment's stream, in payment's snapshot; how far order follows it is what the comparison has heard */
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
        verify_names_add(&chunk->names, &chunk->accounts[i].order.id, i, true);
    }
}

static err
read_orders(struct proof *proof, int64_t after)
{
    struct db_statement *rows = order_select_behind(proof->order->db, after, VERIFY_CHUNK);
    err code = db_query(rows);
    for (proof->chunk.count = 0; code == ERR_ok && db_next(rows); proof->chunk.count++) {
        struct account *account = &proof->chunk.accounts[proof->chunk.count];
        memset(account, 0, sizeof *account);
        order_see(&account->order, rows);
    }
    return code;
}

static err
read_order(struct proof *proof, struct account *account)
{
    struct db_statement *row = order_select(proof->order->db, &account->order.id);
    err code = db_query(row);
    if (code == ERR_ok && db_next(row)) {
        order_see(&account->order, row);
    }
    db_done(row);
    return code;
}

/* Of orders above `after`, up to `last`; `accounts` are they, rising. */
static err
read_lines(struct proof *proof, struct account *accounts, int64_t after, int64_t last)
{
    struct db_statement *rows = order_select_lines(proof->order->db, after, last);
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        while (accounts->order.n < db_i64(rows, 0)) {
            accounts++;
        }
        struct slice product = db_bytes(rows, 1);
        if (accounts->order.n == db_i64(rows, 0)) {
            account_see_line(accounts, wire_shard_of(product, proof->shards), product, db_i64(rows, 2));
        }
    }
    return code;
}

/* Whether the kitchen had begun: its timeline says so. */
static err
read_timeline(struct proof *proof, struct account *account)
{
    int64_t began = 0;
    err code = verify_read_number(order_select_began(proof->order->db, account->order.n), &began);
    account->was_made = began > 0;
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
    struct db_in *in = payment_select_of_orders(proof->payment->db);
    for (size_t i = 0; i < proof->chunk.count; i++) {
        db_in_id(in, &proof->chunk.accounts[i].order.id);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct charge_said charge;
        payment_see(&charge, row);
        struct account *account = find_account(&proof->chunk, &charge.order);
        if (account != NULL) {
            account_see_charge(account, &charge);
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
    struct db_in *in = stock_select_holds(proof->stock[shard]->db);
    verify_names_clear(&chunk->names);
    for (size_t i = 0; i < chunk->count; i++) {
        const struct account *account = &chunk->accounts[i];
        for (int64_t round = 0; account->wanted[shard] != 0 && account->order.has_ended && round <= account->order.round; round++) {
            struct id hold = order_hold(&account->order, shard, round);
            verify_names_add(&chunk->names, &hold, i, order_says_hold(&account->order, shard, round));
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
    struct sum *sum = sum_of(proof, account->order.currency);
    proof->ended++;
    sum->charged = sum_wrapped(sum->charged, account->charged);
    sum->refunded = sum_wrapped(sum->refunded, account->refunded);
    sum->totals = sum_wrapped(sum->totals, account->order.is_paid ? account->order.total : 0);
    sum->given = sum_wrapped(
        sum->given, account->order.is_paid ? less(sum_wrapped(account->order.total, account->refunded), account->charged) : 0);
}

/* Adds up what agrees. */
static void
settle(void *context, const void *settled)
{
    struct proof *proof = context;
    const struct account *account = settled;
    if (account->verdict == VERIFY_UNDER_WAY) {
        proof->under_way += account->order.is_stuck ? 0 : 1;
        proof->stuck += account->order.is_stuck ? 1 : 0;
    } else if (account->order.n > 0) {
        add_up(proof, account);
    }
}

static void
sort_out(struct proof *proof)
{
    for (size_t i = 0; i < proof->chunk.count; i++) {
        const struct account *account = &proof->chunk.accounts[i];
        if (account->verdict == VERIFY_DIFFERS) {
            verify_suspect(&proof->comparison, account);
        } else {
            settle(proof, account);
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
        if (account->order.has_ended && !account->order.is_paid && !account_is_unsold(account)) {
            code = read_timeline(proof, account);
            code = verify_unread(proof->order, code, why);
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
    for (chunk->count = VERIFY_CHUNK; code == ERR_ok && chunk->count == VERIFY_CHUNK;) {
        code = read_orders(proof, after);
        if (code == ERR_ok && chunk->count > 0) {
            code = read_lines(proof, chunk->accounts, after, chunk->accounts[chunk->count - 1].order.n);
            after = chunk->accounts[chunk->count - 1].order.n;
        }
        code = verify_unread(proof->order, code, why);
        if (code == ERR_ok) {
            code = read_charges(proof);
            code = verify_unread(proof->payment, code, why);
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

/* Which orders have money on its way back that came for a charge they do not take. They are few. */
static err
read_strays(struct proof *proof)
{
    struct db_statement *rows = order_select_strays(proof->order->db);
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
    err code = verify_read_cursor(proof->order, PAYMENT, &proof->comparison.heard);
    for (size_t i = 0; code == ERR_ok && i < proof->chunk.count; i++) {
        struct account *account = &proof->chunk.accounts[i];
        char key[ID_TEXT_SIZE];
        bool is_parked = false;
        id_format(&account->order.id, key);
        code = read_order(proof, account);
        if (code == ERR_ok) {
            code = read_lines(proof, account, account->order.n - 1, account->order.n);
        }
        if (code == ERR_ok) {
            code = verify_is_parked(proof->order, slice_of(key), &is_parked);
        }
        account->has_news = is_parked || proof->comparison.heard < proof->head;
    }
    return code == ERR_ok ? read_strays(proof) : code;
}

static err
look_again(void *context, void *suspects, size_t count, struct err_text *why)
{
    struct proof *proof = context;
    struct chunk *chunk = &proof->chunk;
    chunk->accounts = suspects;
    chunk->count = count;
    for (size_t i = 0; i < count; i++) {
        /* Its charges are read before itself, and beside what it was frozen to. */
        const struct order_said known = chunk->accounts[i].order;
        struct order_said *order = &chunk->accounts[i].order;
        chunk->accounts[i] = (struct account){.order = {.id = known.id, .charge = known.charge, .total = known.total}};
        memcpy(order->currency, known.currency, sizeof order->currency);
        memcpy(order->method, known.method, sizeof order->method);
    }
    err code = proof->payment == NULL ? ERR_ok : verify_read_head(proof->payment, &proof->head);
    code = code == ERR_ok ? read_charges(proof) : code;
    code = verify_unread(proof->payment, code, why);
    if (code == ERR_ok) {
        code = read_orders_again(proof);
        code = verify_unread(proof->order, code, why);
    }
    if (code == ERR_ok) {
        code = judge_chunk(proof, why);
    }
    for (size_t i = 0; i < count; i++) {
        struct account *account = &chunk->accounts[i];
        account->verdict = account->verdict == VERIFY_DIFFERS && account->has_news ? VERIFY_TO_COME : account->verdict;
    }
    end_snapshots(proof);
    return code;
}

/* --- what came out of it --- */

static void
tell(void *context, const void *account)
{
    const struct proof *proof = context;
    account_tell(account, proof->survey, proof->order->name);
}

/* --- all --- */

static void
print(const struct proof *proof)
{
    printf("orders: %" PRId64 " have ended and agree with their holds and charges, %" PRId64 " are under way, %" PRId64
           " are stuck, %" PRId64 " have news to come; %" PRId64 " charges have their orders\n",
           proof->ended, proof->under_way, proof->stuck, verify_count_verdict(&proof->comparison, VERIFY_TO_COME), proof->charges);
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

err
verify_compare_orders(struct verify_survey *survey, struct err_text *why)
{
    struct proof *proof = memory_new(1, sizeof *proof);
    int64_t faults = survey->faults;
    err code = ERR_ok;
    proof->survey = survey;
    proof->chunk.accounts = proof->accounts;
    proof->comparison = (struct verify_comparison){
        .survey = survey,
        .place = ORDER,
        .rest = "orders did not agree",
        .size = sizeof(struct account),
        .looks_max = VERIFY_LOOKS_MAX,
        .look_again = look_again,
        .settle = settle,
        .tell = tell,
        .context = proof,
        .heard = -1,
    };
    proof->order = verify_find(survey, ORDER);
    proof->payment = verify_find(survey, PAYMENT);
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->sources[i].proof->actor, "stock") == 0 && proof->shards < ACCOUNT_SHARDS_MAX) {
            proof->stock[proof->shards++] = &survey->sources[i];
        }
    }
    if (proof->order != NULL) {
        code = look_first(proof, why);
        code = code == ERR_ok ? verify_conclude(&proof->comparison, why) : code;
    }
    if (code == ERR_ok) {
        code = verify_compare_charges(survey, &proof->charges, why);
    }
    if (code == ERR_ok && proof->order != NULL && survey->faults == faults) {
        print(proof);
    }
    verify_names_fini(&proof->chunk.names);
    verify_comparison_fini(&proof->comparison);
    free(proof);
    return code;
}
