/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What becomes of charges and refunds: their status, the sums of paid back money, and the event that tells it.
 *
 * MESSAGES  Emits payment.succeeded failed refunded refund_failed; the key is the order's id.
 *
 * STATE     Slots of the book. A charge's `refunding` holds what its pending refunds ask for, so that together they never get more
 *           than was paid; it moves to `refunded`, or back.
 *
 * LIMITS    Texts of a provider: printable ASCII and UTF-8, cut; anything else in them is a question mark.
 */
#include "payment/payment_state.h"

#include <string.h>

#include "kit/telemetry/log.h"

struct slice
payment_clean_text(struct payment *payment, struct slice text, size_t max)
{
    size_t size = text.size < max ? text.size : max;
    if (size == 0) {
        return slice_of("");
    }
    while (size > 0 && size < text.size && (text.data[size] & 0xC0) == 0x80) {
        size--; /* not in the middle of a character */
    }
    uint8_t *clean = batch_alloc(payment->batch, size + 1);
    memcpy(clean, text.data, size);
    bool is_text = wire_is_utf8((struct slice){clean, size});
    for (size_t i = 0; i < size; i++) {
        if (clean[i] < ' ' || clean[i] == 0x7F || (!is_text && clean[i] > 0x7F)) {
            clean[i] = '?';
        }
    }
    return (struct slice){clean, size};
}

const char *
payment_read_money(const json_t *data, struct money_told *told)
{
    const json_t *amount = json_object_get(data, "amount");
    const json_t *currency = json_object_get(data, "currency");
    *told = (struct money_told){.amount = MONEY_NOT_TOLD};
    if (amount != NULL) {
        if (!json_is_integer(amount) || json_integer_value(amount) < 0 || json_integer_value(amount) > LEVEL_MAX) {
            return "data.amount: must be a whole number of minor units, 0 to 10^15";
        }
        told->amount = json_integer_value(amount);
    }
    if (currency != NULL) {
        if (!json_is_string(currency) || !payment_is_currency(slice_of(json_string_value(currency)))) {
            return "data.currency: must be three capital letters";
        }
        memcpy(told->currency, json_string_value(currency), sizeof told->currency);
    }
    return NULL;
}

static void
emit(struct payment *payment, enum event_type type, const struct payment_charge *charge, const struct payment_refund *refund,
     const struct item *cause)
{
    struct wire_payment_fact fact = {0};
    struct wire_money money = {0};
    char key[ID_TEXT_SIZE];
    struct slice reason = refund != NULL ? refund->reason : charge->reason;
    WIRE_SET(&money, money, amount, refund != NULL ? refund->amount : charge->amount);
    WIRE_SET(&money, money, currency, slice_of(charge->currency));
    WIRE_SET(&fact, payment_fact, charge, charge->id);
    WIRE_SET(&fact, payment_fact, order, charge->order);
    WIRE_SET(&fact, payment_fact, amount, money);
    WIRE_SET(&fact, payment_fact, method, slice_of(payment_method_name(charge->method)));
    if (refund != NULL) {
        WIRE_SET(&fact, payment_fact, refund, refund->id);
    }
    if (reason.size > 0) {
        WIRE_SET(&fact, payment_fact, reason, reason);
    }
    if (refund != NULL) {
        WIRE_SET(&fact, payment_fact, refunded, charge->refunded);
    }
    id_format(&charge->order, key);
    batch_emit(payment->batch, type, slice_of(key), &fact, cause);
}

static void
take_words(struct slice *reference, struct slice *reason, const struct payment_words *words)
{
    if (words->reference.size > 0) {
        *reference = words->reference;
    }
    *reason = words->reason.size > 0 ? words->reason : slice_of("");
}

bool
payment_settle_charge(struct payment *payment, struct payment_charge_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause)
{
    struct payment_charge *charge = &slot->charge;
    enum payment_status before = charge->status;
    charge->status = payment_charge_after(before, verdict);
    if (charge->status == before) {
        return false;
    }
    slot->is_changed = true;
    charge->changed_ms = payment->batch->now_ms;
    take_words(&charge->reference, &charge->reason, words);
    if (before == PAYMENT_FAILED || before == PAYMENT_CANCELLED) {
        log_warn("paid_late", LOG_ID("req", &cause->id), LOG_ID("charge", &charge->id), LOG_ID("order", &charge->order),
                 LOG_TEXT("was", payment_status_name(before)));
    }
    emit(payment, charge->status == PAYMENT_SUCCEEDED ? EVENT_payment_succeeded : EVENT_payment_failed, charge, NULL, cause);
    return true;
}

bool
payment_settle_refund(struct payment *payment, struct payment_refund_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause)
{
    struct payment_refund *refund = &slot->refund;
    struct payment_charge_slot *of = payment_book_charge(&payment->book, &refund->charge);
    if (of == NULL) {
        log_error("refund_without_charge", LOG_ID("refund", &refund->id), LOG_ID("charge", &refund->charge));
        return false;
    }
    struct payment_charge *charge = &of->charge;
    enum payment_status before = refund->status;
    bool has_room = payment_left(charge->amount, charge->refunded, charge->refunding) >= refund->amount;
    refund->status = payment_refund_after(before, verdict, has_room);
    if (refund->status == before) {
        return false;
    }
    slot->is_changed = of->is_changed = true;
    refund->changed_ms = payment->batch->now_ms;
    take_words(&refund->reference, &refund->reason, words);
    charge->refunding -= before == PAYMENT_PENDING ? refund->amount : 0;
    charge->refunded += refund->status == PAYMENT_SUCCEEDED ? refund->amount : 0;
    emit(payment, refund->status == PAYMENT_SUCCEEDED ? EVENT_payment_refunded : EVENT_payment_refund_failed, charge, refund, cause);
    return true;
}
