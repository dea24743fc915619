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

static void
emit(struct payment *payment, enum event_type type, const struct payment_claim *claim, const struct payment_payback *payback,
     const struct item *cause)
{
    struct wire_payment_fact fact = {0};
    struct wire_money money = {0};
    char key[ID_TEXT_SIZE];
    struct slice reason = payback != NULL ? payback->reason : claim->reason;
    WIRE_SET(&money, money, amount, payback != NULL ? payback->amount : claim->amount);
    WIRE_SET(&money, money, currency, slice_of(claim->currency));
    WIRE_SET(&fact, payment_fact, charge, claim->id);
    WIRE_SET(&fact, payment_fact, order, claim->order);
    WIRE_SET(&fact, payment_fact, amount, money);
    WIRE_SET(&fact, payment_fact, method, slice_of(payment_method_name(claim->method)));
    if (payback != NULL) {
        WIRE_SET(&fact, payment_fact, refund, payback->id);
    }
    if (reason.size > 0) {
        WIRE_SET(&fact, payment_fact, reason, reason);
    }
    if (payback != NULL) {
        WIRE_SET(&fact, payment_fact, refunded, claim->refunded);
    }
    id_format(&claim->order, key);
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
payment_settle_charge(struct payment *payment, struct payment_claim_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause)
{
    struct payment_claim *claim = &slot->claim;
    enum payment_status before = claim->status;
    claim->status = payment_charge_after(before, verdict);
    if (claim->status == before) {
        return false;
    }
    slot->is_changed = true;
    claim->changed_ms = payment->batch->now_ms;
    take_words(&claim->reference, &claim->reason, words);
    if (before == PAYMENT_FAILED || before == PAYMENT_CANCELLED) {
        log_warn("paid_late", LOG_ID("req", &cause->id), LOG_ID("charge", &claim->id), LOG_ID("order", &claim->order),
                 LOG_TEXT("was", payment_status_name(before)));
    }
    emit(payment, claim->status == PAYMENT_SUCCEEDED ? EVENT_payment_succeeded : EVENT_payment_failed, claim, NULL, cause);
    return true;
}

bool
payment_settle_refund(struct payment *payment, struct payment_payback_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause)
{
    struct payment_payback *payback = &slot->payback;
    struct payment_claim_slot *of = payment_book_claim(&payment->book, &payback->charge);
    if (of == NULL) {
        log_error("refund_without_charge", LOG_ID("refund", &payback->id), LOG_ID("charge", &payback->charge));
        return false;
    }
    struct payment_claim *claim = &of->claim;
    enum payment_status before = payback->status;
    bool has_room = payment_left(claim->amount, claim->refunded, claim->refunding) >= payback->amount;
    payback->status = payment_refund_after(before, verdict, has_room);
    if (payback->status == before) {
        return false;
    }
    slot->is_changed = of->is_changed = true;
    payback->changed_ms = payment->batch->now_ms;
    take_words(&payback->reference, &payback->reason, words);
    claim->refunding -= before == PAYMENT_PENDING ? payback->amount : 0;
    claim->refunded += payback->status == PAYMENT_SUCCEEDED ? payback->amount : 0;
    emit(payment, payback->status == PAYMENT_SUCCEEDED ? EVENT_payment_refunded : EVENT_payment_refund_failed, claim, payback, cause);
    return true;
}
