/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that every charge that took money, or may still take some, belongs to an order. A charge is read before the orders it is
 *   looked for in, and an order is written before its charge is asked for: that needs no second look.
 *
 * STATE
 *   Reads only, what payment_verify.h and order_verify.h give.
 *
 * FAILURES
 *   Each is a sentence that names the charge and the order that there is not.
 *
 * LIMITS
 *   The first VERIFY_TOLD_MAX faults are told, all are counted.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "command_verify.h"
#include "command_verify_names.h"
#include "kit/base/memory.h"
#include "order/order_verify.h"
#include "payment/payment_verify.h"

#define CHUNK 512

struct proof {
    struct verify_survey *survey;
    const struct verify_source *order; /* NULL: never started */
    const struct verify_source *payment;
    struct charge_said claims[CHUNK]; /* that took money and kept it, or may still take some */
    size_t count;
    struct verify_names orders; /* that there are, of those that the claims are for */
    int64_t told;
};

/* A page of charges. */
static err
read_claims(struct proof *proof, int64_t *after, int64_t *count)
{
    struct db_statement *rows = payment_select_behind(proof->payment->db, *after, CHUNK);
    err code = db_query(rows);
    proof->count = 0;
    for (*count = 0; code == ERR_ok && db_next(rows); (*count)++) {
        struct charge_said *claim = &proof->claims[proof->count];
        payment_see(claim, rows);
        *after = claim->n;
        proof->count += claim->is_pending || (claim->has_succeeded && claim->amount > claim->refunded) ? 1 : 0;
    }
    return code;
}

/* The orders that they are for, as far as there are such orders. */
static err
find_orders(struct proof *proof)
{
    struct db_in *in = order_select_ids(proof->order->db);
    for (size_t i = 0; i < proof->count; i++) {
        db_in_id(in, &proof->claims[i].order);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id id = db_id(row, 0);
        verify_names_add(&proof->orders, &id, 0, true);
    }
    return db_in_end(in);
}

static void
tell_claims(struct proof *proof)
{
    for (size_t i = 0; i < proof->count; i++) {
        const struct charge_said *claim = &proof->claims[i];
        char charge[ID_TEXT_SIZE];
        char order[ID_TEXT_SIZE];
        if (verify_names_find(&proof->orders, &claim->order) != NULL) {
            continue;
        }
        id_format(&claim->id, charge);
        id_format(&claim->order, order);
        if (proof->told++ < VERIFY_TOLD_MAX) {
            verify_fault(proof->survey, proof->payment->name, "charge %s of %" PRId64 " %s is %s, but there is no order %s", charge,
                         claim->amount, claim->currency, claim->status, order);
        } else {
            proof->survey->faults++;
        }
    }
}

static err
look(struct proof *proof, int64_t *charges, struct err_text *why)
{
    int64_t after = 0;
    err code = ERR_ok;
    for (int64_t count = CHUNK; code == ERR_ok && count == CHUNK;) {
        code = read_claims(proof, &after, &count);
        code = verify_unread(proof->payment, code, why);
        *charges += count;
        verify_names_clear(&proof->orders);
        if (code == ERR_ok && proof->order != NULL) {
            code = find_orders(proof);
            code = verify_unread(proof->order, code, why);
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

err
verify_compare_charges(struct verify_survey *survey, int64_t *charges, struct err_text *why)
{
    struct proof *proof = memory_new(1, sizeof *proof);
    err code = ERR_ok;
    proof->survey = survey;
    proof->order = verify_find(survey, "order/0");
    proof->payment = verify_find(survey, "payment/0");
    *charges = 0;
    if (proof->payment != NULL) {
        code = look(proof, charges, why);
    }
    verify_names_fini(&proof->orders);
    free(proof);
    return code;
}
