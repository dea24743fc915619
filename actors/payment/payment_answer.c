/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Charges and refunds as the wire has them.
 *
 * LIMITS    What is told borrows its texts from the row.
 */
#include "payment_state.h"

struct wire_charge
payment_tell_charge(const struct payment_claim *claim)
{
    struct wire_charge body = {0};
    struct wire_money money = {0};
    struct wire_money came = {0};
    WIRE_SET(&money, money, amount, claim->amount);
    WIRE_SET(&money, money, currency, slice_of(claim->currency));
    WIRE_SET(&body, charge, id, claim->id);
    WIRE_SET(&body, charge, number, claim->n);
    WIRE_SET(&body, charge, order, claim->order);
    WIRE_SET(&body, charge, amount, money);
    WIRE_SET(&body, charge, method, slice_of(payment_method_name(claim->method)));
    WIRE_SET(&body, charge, provider, slice_of(payment_provider_name(claim->provider)));
    WIRE_SET(&body, charge, status, slice_of(payment_status_name(claim->status)));
    WIRE_SET(&body, charge, refunded, claim->refunded);
    if (!id_is_zero(&claim->replaces)) {
        WIRE_SET(&body, charge, replaces, claim->replaces);
    }
    if (claim->reference.size > 0) {
        WIRE_SET(&body, charge, reference, claim->reference);
    }
    if (claim->reason.size > 0) {
        WIRE_SET(&body, charge, reason, claim->reason);
    }
    if (payment_is_money_told(&claim->came)) {
        WIRE_SET(&came, money, amount, claim->came.amount == MONEY_NOT_TOLD ? claim->amount : claim->came.amount);
        WIRE_SET(&came, money, currency, slice_of(claim->came.currency[0] == '\0' ? claim->currency : claim->came.currency));
        WIRE_SET(&body, charge, came, came);
    }
    if (claim->attempts > 0) {
        WIRE_SET(&body, charge, attempts, claim->attempts);
    }
    WIRE_SET(&body, charge, created, claim->created_ms);
    WIRE_SET(&body, charge, changed, claim->changed_ms);
    return body;
}

struct wire_refund
payment_tell_refund(const struct payment_claim *claim, const struct payment_payback *payback)
{
    struct wire_refund body = {0};
    struct wire_money money = {0};
    WIRE_SET(&money, money, amount, payback->amount);
    WIRE_SET(&money, money, currency, slice_of(claim->currency));
    WIRE_SET(&body, refund, id, payback->id);
    WIRE_SET(&body, refund, charge, payback->charge);
    WIRE_SET(&body, refund, order, claim->order);
    WIRE_SET(&body, refund, amount, money);
    WIRE_SET(&body, refund, status, slice_of(payment_status_name(payback->status)));
    if (payback->reason.size > 0) {
        WIRE_SET(&body, refund, reason, payback->reason);
    }
    if (payback->reference.size > 0) {
        WIRE_SET(&body, refund, reference, payback->reference);
    }
    if (payback->is_elsewhere) {
        WIRE_SET(&body, refund, is_elsewhere, true);
    }
    if (payback->attempts > 0) {
        WIRE_SET(&body, refund, attempts, payback->attempts);
    }
    WIRE_SET(&body, refund, created, payback->created_ms);
    WIRE_SET(&body, refund, changed, payback->changed_ms);
    return body;
}
