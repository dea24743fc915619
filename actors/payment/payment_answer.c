/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Charges and refunds as the wire has them.
 *
 * LIMITS    What is told borrows its texts from the row.
 */
#include "payment_state.h"

struct wire_charge
payment_tell_charge(const struct payment_charge *charge)
{
    struct wire_charge body = {0};
    struct wire_money money = {0};
    struct wire_money came = {0};
    WIRE_SET(&money, money, amount, charge->amount);
    WIRE_SET(&money, money, currency, slice_of(charge->currency));
    WIRE_SET(&body, charge, id, charge->id);
    WIRE_SET(&body, charge, number, charge->n);
    WIRE_SET(&body, charge, order, charge->order);
    WIRE_SET(&body, charge, amount, money);
    WIRE_SET(&body, charge, method, slice_of(payment_method_name(charge->method)));
    WIRE_SET(&body, charge, provider, slice_of(payment_provider_name(charge->provider)));
    WIRE_SET(&body, charge, status, slice_of(payment_status_name(charge->status)));
    WIRE_SET(&body, charge, refunded, charge->refunded);
    if (!id_is_zero(&charge->replaces)) {
        WIRE_SET(&body, charge, replaces, charge->replaces);
    }
    if (charge->reference.size > 0) {
        WIRE_SET(&body, charge, reference, charge->reference);
    }
    if (charge->reason.size > 0) {
        WIRE_SET(&body, charge, reason, charge->reason);
    }
    if (payment_is_money_told(&charge->came)) {
        WIRE_SET(&came, money, amount, charge->came.amount == MONEY_NOT_TOLD ? charge->amount : charge->came.amount);
        WIRE_SET(&came, money, currency, slice_of(charge->came.currency[0] == '\0' ? charge->currency : charge->came.currency));
        WIRE_SET(&body, charge, came, came);
    }
    if (charge->attempts > 0) {
        WIRE_SET(&body, charge, attempts, charge->attempts);
    }
    WIRE_SET(&body, charge, created, charge->created_ms);
    WIRE_SET(&body, charge, changed, charge->changed_ms);
    return body;
}

struct wire_refund
payment_tell_refund(const struct payment_charge *charge, const struct payment_refund *refund)
{
    struct wire_refund body = {0};
    struct wire_money money = {0};
    WIRE_SET(&money, money, amount, refund->amount);
    WIRE_SET(&money, money, currency, slice_of(charge->currency));
    WIRE_SET(&body, refund, id, refund->id);
    WIRE_SET(&body, refund, charge, refund->charge);
    WIRE_SET(&body, refund, order, charge->order);
    WIRE_SET(&body, refund, amount, money);
    WIRE_SET(&body, refund, status, slice_of(payment_status_name(refund->status)));
    if (refund->reason.size > 0) {
        WIRE_SET(&body, refund, reason, refund->reason);
    }
    if (refund->reference.size > 0) {
        WIRE_SET(&body, refund, reference, refund->reference);
    }
    if (refund->is_elsewhere) {
        WIRE_SET(&body, refund, is_elsewhere, true);
    }
    if (refund->attempts > 0) {
        WIRE_SET(&body, refund, attempts, refund->attempts);
    }
    WIRE_SET(&body, refund, created, refund->created_ms);
    WIRE_SET(&body, refund, changed, refund->changed_ms);
    return body;
}
