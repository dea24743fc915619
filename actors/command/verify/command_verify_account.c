/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   An order is received, in preparation, ready or completed: the holds of its steps that were committed are its lines, once; exactly
 *   one charge of it succeeded, is its price, and something of it is left; or the order knows that all of it went back. It was
 *   cancelled or not paid: no hold is open or committed (unless the kitchen had begun: then the units are gone, and the money is
 *   back), and no money was kept.
 *
 * LIMITS
 *   Lines are compared by sums of hashes: two lists of lines that differ and add up to the same are not told apart.
 */
#include "command_verify_account.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "kit/base/sum.h"

/* --- what order says --- */

/* Lines add up, however they are divided: of two lists of lines the sums are the same when the lists are. */
static uint64_t
line_sum(struct slice product, int64_t quantity)
{
    return hash_bytes(HASH_FIRST, product.data, product.size) * (uint64_t)quantity;
}

void
account_see_line(struct account *account, int shard, struct slice product, int64_t quantity)
{
    account->wanted[shard] += line_sum(product, quantity);
}

/* --- what payment says --- */

void
account_see_charge(struct account *account, const struct charge_said *charge)
{
    if (id_equal(&charge->id, &account->order.charge)) {
        bool never_came = strcmp(charge->method, "unknown") == 0; /* cancelled before it was asked for */
        account->has_own = true;
        account->has_own_ended = !charge->is_pending;
        /* Of one that somebody has cancelled by hand no event tells: its order waits until its time is over. */
        account->is_own_told = account->has_own_ended && !charge->is_cancelled;
        /* Whoever was refused may have tried another method, for which there was no stock any more. */
        bool is_by_method = strcmp(charge->method, account->order.method) == 0 || (account->has_own_ended && !charge->has_succeeded);
        account->is_own = never_came || (charge->amount == account->order.total &&
                                         strcmp(charge->currency, account->order.currency) == 0 && is_by_method);
    }
    account->pending_charges += charge->is_pending ? 1 : 0;
    if (!charge->has_succeeded) {
        return;
    }
    account->charged = sum_wrapped(account->charged, charge->amount);
    account->refunded = sum_wrapped(account->refunded, charge->refunded);
    if (charge->refunded < charge->amount || charge->amount == 0) {
        account->live_charges++;
        account->free_charges += charge->amount == 0 ? 1 : 0;
        account->live_charge = charge->id;
        account->live_amount = charge->amount;
        memcpy(account->live_currency, charge->currency, sizeof account->live_currency);
    }
}

/* --- what stock says --- */

void
account_see_hold(struct account *account, int shard, bool is_current, struct db_statement *row)
{
    struct slice state = db_bytes(row, 3);
    if (slice_equal(state, slice_of("open"))) {
        account->open_holds++;
    } else if (slice_equal(state, slice_of("committed"))) {
        account->committed[shard] += line_sum(db_bytes(row, 1), db_i64(row, 2));
        account->current[shard] += is_current ? line_sum(db_bytes(row, 1), db_i64(row, 2)) : 0;
    }
}

/* --- what all say together --- */

static bool
is_sold(const struct account *account)
{
    return memcmp(account->wanted, account->committed, sizeof account->wanted) == 0;
}

bool
account_is_unsold(const struct account *account)
{
    static const uint64_t nothing[ACCOUNT_SHARDS_MAX];
    return memcmp(nothing, account->committed, sizeof nothing) == 0;
}

/* Shard by shard, and in the rounds that it says. */
static bool
has_sold_what_it_says(const struct account *account)
{
    for (int shard = 0; shard < ACCOUNT_SHARDS_MAX; shard++) {
        if (((account->order.sold >> shard) & 1) != (account->committed[shard] != 0) ||
            account->current[shard] != account->committed[shard]) {
            return false;
        }
    }
    return account->order.sold >> ACCOUNT_SHARDS_MAX == 0;
}

/* One charge of its price is paid, whatever part of it went back; or it knows that all of it did. */
static bool
is_charged_once(const struct account *account)
{
    bool is_its_own =
        id_equal(&account->live_charge, &account->order.charge) && strcmp(account->live_currency, account->order.currency) == 0;
    if (account->pending_charges != 0 || account->order.is_back != (account->live_charges == 0)) {
        return false;
    }
    return account->order.is_back ? account->charged >= account->order.total
                                  : account->live_charges == 1 && account->live_amount == account->order.total && is_its_own;
}

static bool
is_uncharged(const struct account *account)
{
    return account->live_charges == account->free_charges && account->pending_charges == 0 && account->charged == account->refunded;
}

enum verify_verdict
account_judge(const struct account *account)
{
    if (account->order.n == 0) {
        return VERIFY_AGREES; /* gone meanwhile: its charges will be found to have no order */
    }
    bool waits_in_vain = account->order.is_paying && account->has_own && account->is_own_told;
    if ((account->has_own && !account->is_own) || waits_in_vain) {
        return VERIFY_DIFFERS;
    }
    if (!account->order.has_ended || account->has_stray) {
        return VERIFY_UNDER_WAY;
    }
    bool units_agree =
        account->open_holds == 0 && (account->order.is_paid || account->was_made ? is_sold(account) : account_is_unsold(account));
    bool money_agrees = (account->order.is_paid ? is_charged_once(account) : is_uncharged(account)) &&
                        (account->has_own || !account->order.is_money_known);
    units_agree = units_agree && has_sold_what_it_says(account);
    return units_agree && money_agrees ? VERIFY_AGREES : VERIFY_DIFFERS;
}

/* --- why it differs --- */

static void
tell_units(const struct account *account, struct verify_survey *survey, const char *place, const char *order)
{
    if (account->open_holds > 0) {
        verify_fault(survey, place, "order %s is %s and its saga has ended, but units are still held for it", order,
                     account->order.status);
    } else if ((account->order.is_paid || account->was_made) && !is_sold(account)) {
        verify_fault(survey, place, "order %s is %s, but the units that stock has sold for it are not its lines", order,
                     account->order.status);
    } else if (!account->order.is_paid && !account->was_made && !account_is_unsold(account)) {
        verify_fault(survey, place, "order %s is %s before the kitchen had begun, but stock has sold units for it", order,
                     account->order.status);
    } else if (!has_sold_what_it_says(account)) {
        verify_fault(survey, place, "order %s is %s, but stock has sold for it on other shards, or by other holds, than it says",
                     order, account->order.status);
    }
}

static void
tell_money(const struct account *account, struct verify_survey *survey, const char *place, const char *order)
{
    if (account->order.is_paying && account->has_own && account->is_own) {
        verify_fault(survey, place, "order %s waits for its money, and was told how its charge has ended", order);
        return;
    }
    if (!account->order.has_ended || (account->order.is_paid ? is_charged_once(account) : is_uncharged(account))) {
        if (account->has_own ? !account->is_own : account->order.has_ended && account->order.is_money_known) {
            verify_fault(survey, place, "order %s costs %" PRId64 " %s, to be paid by %s, but its charge %s", order,
                         account->order.total, account->order.currency, account->order.method,
                         account->has_own ? "is of another price or method" : "is not there");
        }
        return;
    }
    verify_fault(survey, place,
                 "order %s is %s and costs %" PRId64 " %s, but of its charges %" PRId64 " %s taken and not paid back and %" PRId64
                 " pending: %" PRId64 " charged, %" PRId64 " paid back%s",
                 order, account->order.status, account->order.total, account->order.currency, account->live_charges,
                 account->live_charges == 1 ? "is" : "are", account->pending_charges, account->charged, account->refunded,
                 account->live_charges == 1 && !id_equal(&account->live_charge, &account->order.charge) ? "; it is not the order's own"
                                                                                                        : "");
}

void
account_tell(const struct account *account, struct verify_survey *survey, const char *place)
{
    char order[ID_TEXT_SIZE];
    id_format(&account->order.id, order);
    if (account->order.has_ended) {
        tell_units(account, survey, place, order);
    }
    tell_money(account, survey, place, order);
}
