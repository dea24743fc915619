/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   What a provider tells of charges and refunds, also of those that larder did not ask for: it is believed, and booked once.
 *
 *   A refund is one of ours when it bears our key or a number that the provider gave one of ours. Any other was made at the provider,
 *   by hand: it is a refund like ours, that has arrived. As long as it may be one of ours whose number is not known yet, because its
 *   call has no answer or was answered without one, it waits, and the provider is asked for that number where nobody asks anyway.
 *
 * STATE
 *   $webhook: `parked` is the charge that a webhook waits for. Nothing is paid back of a charge while a refund that was told of it
 *   waits (payment.c), and a refund of ours that the provider does not know yields to it (payment_provider.c).
 *
 * FAILURES
 *   A charge, or a refund of ours, of which other money is told than was asked for is not taken as done (payment_task.c). Money
 *   that has no place here is a letter with what is at stake: a charge that nobody knows, a refund of another currency or of more
 *   than is left of its charge (what is left is booked), one that was refused before and has no room any more. Its due row "note" is
 *   its row: asked for, it is looked at once more.
 *
 * LIMITS
 *   A refund whose amount is not told is one of all that is left.
 */
#include "payment_task.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

#define KEY_SIZE (PAYMENT_REFERENCE_MAX + 16)

/* --- letters --- */

static void
set_text(json_t *json, const char *name, struct slice text)
{
    if (text.size > 0) {
        (void)json_object_set_new(json, name, json_stringn((const char *)text.data, text.size));
    }
}

static struct slice
text_of(struct payment *payment, const struct payment_note *note)
{
    char charge[ID_TEXT_SIZE];
    char refund[ID_TEXT_SIZE] = "";
    id_format(&note->charge, charge);
    if (!id_is_zero(&note->refund)) {
        id_format(&note->refund, refund);
    }
    json_t *json = json_object();
    set_text(json, "webhook", note->webhook_id);
    set_text(json, "type", note->type);
    set_text(json, "charge", slice_of(charge));
    set_text(json, "refund", slice_of(refund));
    set_text(json, "reference", note->reference);
    if (note->money.amount != MONEY_NOT_TOLD) {
        (void)json_object_set_new(json, "amount", json_integer((json_int_t)note->money.amount));
    }
    set_text(json, "currency", slice_of(note->money.currency));
    return payment_task_keep(payment, json);
}

void
payment_dispute(struct payment *payment, const struct payment_note *note, const struct payment_charge *charge, const char *why,
                const struct item *cause)
{
    struct batch *batch = payment->batch;
    struct wire_burial burial = {0};
    struct wire_letter_attempt attempt = {0};
    struct wire_list history = {0};
    char key[ID_TEXT_SIZE];
    int64_t attempts = cause->kind == ITEM_DUE ? cause->attempts + 1 : 1;
    const char *currency = note->money.currency[0] != '\0' || charge == NULL ? note->money.currency : charge->currency;
    id_format(charge != NULL ? &charge->order : &note->charge, key);
    payment->page.size = 0;
    WIRE_SET(&attempt, letter_attempt, time, batch->now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(why));
    wire_list_add(&history, &letter_attempt_body, &attempt, &payment->page);
    wire_list_end(&history, &payment->page);
    WIRE_SET(&burial, burial, letter, batch_letter_id(batch, &note->told));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(ERR_money_differs)));
    WIRE_SET(&burial, burial, error, slice_of(why));
    WIRE_SET(&burial, burial, attempts, attempts);
    WIRE_SET(&burial, burial, first, note->received_ms);
    WIRE_SET(&burial, burial, last, batch->now_ms);
    WIRE_SET(&burial, burial, history, history);
    WIRE_SET(&burial, burial, key, slice_of(key));
    WIRE_SET(&burial, burial, type, slice_of("payment.webhook"));
    WIRE_SET(&burial, burial, owner, slice_of(OWNER_NOTE));
    WIRE_SET(&burial, burial, due_key, ((struct slice){note->told.bytes, ID_SIZE}));
    WIRE_SET(&burial, burial, body, text_of(payment, note));
    if (note->money.amount != MONEY_NOT_TOLD && currency[0] != '\0') {
        WIRE_SET(&burial, burial, amount, note->money.amount);
        WIRE_SET(&burial, burial, currency, slice_of(currency));
    } else if (charge != NULL) {
        WIRE_SET(&burial, burial, amount, charge->amount);
        WIRE_SET(&burial, burial, currency, slice_of(charge->currency));
    }
    batch_bury(batch, &burial);
    batch_due(batch,
              &(struct due){.owner = OWNER_NOTE, .key = {note->told.bytes, ID_SIZE}, .due_ms = DUE_NEVER, .attempts = attempts});
    log_often(LOG_LEVEL_ERROR, "webhook_does_not_fit", "note", LOG_ID("charge", &note->charge), LOG_SLICE("type", note->type),
              LOG_TEXT("error", why), LOG_TEXT("now", "its letter says what is at stake"));
}

/* It has a place after all. */
static void
close_letter(struct payment *payment, const struct payment_note *note)
{
    struct id letter = batch_letter_id(payment->batch, &note->told);
    batch_settle(payment->batch, &letter);
    batch_due_cancel(payment->batch, OWNER_NOTE, (struct slice){note->told.bytes, ID_SIZE});
}

/* --- which refund --- */

/* Of a refund that was made at the provider: what the provider calls it, and where. */
static struct id
id_elsewhere(const struct id *charge, struct slice reference)
{
    char key[KEY_SIZE];
    (void)snprintf(key, sizeof key, "elsewhere/%.*s", (int)reference.size, (const char *)reference.data);
    return id_derive(charge, key);
}

static bool
is_named(const struct payment_refund *refund, struct slice reference)
{
    struct id id = id_elsewhere(&refund->charge, reference);
    return reference.size > 0 && (slice_equal(refund->reference, reference) || id_equal(&refund->id, &id));
}

/* Of the refunds of its charge; NULL: none that is known. */
static struct payment_refund_slot *
find_refund(struct payment *payment, const struct payment_note *note)
{
    char text[ID_TEXT_SIZE] = "";
    struct payment_refund_slot *slot = NULL;
    if (!id_is_zero(&note->refund)) {
        id_format(&note->refund, text);
    }
    while ((slot = payment_book_next_refund(&payment->book, &note->charge, slot)) != NULL) {
        bool is_own = text[0] != '\0' && id_equal(&slot->refund.id, &note->refund);
        if (is_own || is_named(&slot->refund, note->reference) || is_named(&slot->refund, slice_of(text))) {
            return slot;
        }
    }
    return NULL;
}

/* Whether this one of ours may be the one that was told: its number is not known. */
static bool
may_be(const struct payment_refund *ours, const struct payment_note *note)
{
    bool is_amount = note->money.amount == MONEY_NOT_TOLD || note->money.amount == ours->amount;
    return !ours->is_elsewhere && ours->reference.size == 0 && is_amount;
}

static bool
must_wait(struct payment *payment, const struct payment_note *note, struct payment_charge_slot *of)
{
    const struct payment_charge *charge = &of->charge;
    struct payment_refund_slot *slot = NULL;
    bool is_asked = false;
    if (charge->status != PAYMENT_SUCCEEDED) {
        return true; /* that it is paid was not told yet */
    }
    while ((slot = payment_book_next_refund(&payment->book, &charge->id, slot)) != NULL) {
        const struct payment_refund *ours = &slot->refund;
        if (ours->status == PAYMENT_PENDING && (note->money.amount == MONEY_NOT_TOLD || may_be(ours, note))) {
            return true;
        }
        if (ours->status == PAYMENT_SUCCEEDED && may_be(ours, note)) {
            is_asked = payment_ask_reference(payment, of, slot) || is_asked;
        }
    }
    return is_asked ||
           (charge->refunding > 0 && note->money.amount > payment_left(charge->amount, charge->refunded, charge->refunding));
}

/* --- booking --- */

static err
book_ours(struct payment *payment, struct payment_note *note, struct payment_refund_slot *slot, const struct item *cause)
{
    bool is_refund = false;
    enum payment_verdict verdict = payment_verdict_of_type(note->type, &is_refund);
    struct payment_words words = {note->reference, note->reason, note->money};
    struct payment_charge_slot *of = payment_book_charge(&payment->book, &note->charge);
    bool was_pending = slot->refund.status == PAYMENT_PENDING;
    bool fits = true;
    struct err_text why;
    if (verdict == VERDICT_SUCCEEDED && !slot->refund.is_elsewhere) {
        err code = payment_check_money(payment, of, slot, &words, cause, &fits);
        note->outcome = fits ? note->outcome : PAYMENT_DISPUTED;
        if (code != ERR_ok || !fits) {
            return code;
        }
    }
    if (payment_settle_refund(payment, slot, verdict, &words, cause)) {
        note->outcome = PAYMENT_APPLIED;
        return was_pending ? outcall_stop(payment->batch, OWNER_REFUND, &slot->refund.id) : ERR_ok;
    }
    if (slot->refund.reference.size == 0 && note->reference.size > 0) {
        slot->refund.reference = note->reference;
        slot->is_changed = true;
    }
    if (verdict == VERDICT_SUCCEEDED && slot->refund.status == PAYMENT_FAILED) {
        int64_t left = payment_left(of->charge.amount, of->charge.refunded, of->charge.refunding);
        note->outcome = PAYMENT_DISPUTED;
        (void)err_say(&why, ERR_ok,
                      "a refund of %" PRId64 " %s that was refused before has arrived, but only %" PRId64 " are left of its charge",
                      slot->refund.amount, of->charge.currency, left);
        payment_dispute(payment, note, &of->charge, why.text, cause);
    }
    return ERR_ok;
}

static void
add_refund(struct payment *payment, const struct payment_note *note, struct payment_charge_slot *of, int64_t amount,
           const struct item *cause)
{
    char text[ID_TEXT_SIZE] = "";
    if (!id_is_zero(&note->refund)) {
        id_format(&note->refund, text);
    }
    struct slice uuid = payment_book_keep(&payment->book, slice_of(text));
    struct slice reference = note->reference.size > 0 ? note->reference : uuid;
    struct payment_words words = {reference, note->reason.size > 0 ? note->reason : slice_of("made at the provider"), note->money};
    struct id id = id_elsewhere(&of->charge.id, uuid.size > 0 ? uuid : reference);
    struct payment_refund_slot *slot = payment_book_add_refund(&payment->book, &id);
    slot->refund.charge = of->charge.id;
    slot->refund.amount = amount;
    slot->refund.is_elsewhere = true;
    of->charge.refunding += amount;
    of->is_changed = true;
    (void)payment_settle_refund(payment, slot, VERDICT_SUCCEEDED, &words, cause);
    log_warn("refund_made_elsewhere", LOG_ID("charge", &of->charge.id), LOG_ID("order", &of->charge.order), LOG_ID("refund", &id),
             LOG_SLICE("reference", reference), LOG_I64("amount", amount));
}

static void
book_elsewhere(struct payment *payment, struct payment_note *note, struct payment_charge_slot *of, const struct item *cause)
{
    int64_t left = payment_left(of->charge.amount, of->charge.refunded, of->charge.refunding);
    int64_t amount = note->money.amount == MONEY_NOT_TOLD ? left : note->money.amount;
    int64_t fitting = amount < left ? amount : left;
    if (fitting > 0) {
        add_refund(payment, note, of, fitting, cause);
        note->outcome = PAYMENT_APPLIED;
    }
    if (amount > left) {
        note->outcome = PAYMENT_DISPUTED;
        struct err_text why;
        (void)err_say(&why, ERR_ok, "the provider tells of a refund of %" PRId64 " %s, but only %" PRId64 " were left of its charge",
                      amount, of->charge.currency, left);
        payment_dispute(payment, note, &of->charge, why.text, cause);
    }
}

static err
apply_to_refund(struct payment *payment, struct payment_note *note, struct payment_charge_slot *of, const struct item *cause)
{
    bool is_refund = false;
    bool is_success = payment_verdict_of_type(note->type, &is_refund) == VERDICT_SUCCEEDED;
    struct payment_refund_slot *slot = find_refund(payment, note);
    const struct payment_refund_slot *other = payment_book_refund(&payment->book, &note->refund);
    if (slot != NULL) {
        return book_ours(payment, note, slot, cause);
    }
    if (!is_success) {
        log_warn("webhook_about_unknown_refund", LOG_ID("req", &cause->id), LOG_ID("charge", &note->charge),
                 LOG_ID("refund", &note->refund));
    } else if (note->money.currency[0] != '\0' && strcmp(note->money.currency, of->charge.currency) != 0) {
        note->outcome = PAYMENT_DISPUTED;
        payment_dispute(payment, note, &of->charge, "a refund that was made at the provider has another currency than its charge",
                        cause);
    } else if (other != NULL && !id_is_zero(&note->refund)) {
        note->outcome = PAYMENT_DISPUTED;
        payment_dispute(payment, note, &of->charge, "the refund that was told is one of another charge", cause);
    } else if (must_wait(payment, note, of)) {
        note->outcome = PAYMENT_PARKED;
    } else {
        book_elsewhere(payment, note, of, cause);
    }
    return ERR_ok;
}

err
payment_apply_note(struct payment *payment, struct payment_note *note, struct payment_charge_slot *slot, const struct item *cause)
{
    bool is_refund = false;
    enum payment_verdict verdict = payment_verdict_of_type(note->type, &is_refund);
    struct payment_words words = {note->reference, note->reason, note->money};
    note->outcome = PAYMENT_IGNORED;
    if (slot->charge.provider == PAYMENT_BY_HAND) {
        log_warn("webhook_about_another_provider", LOG_ID("req", &cause->id), LOG_ID("charge", &note->charge));
        return ERR_ok;
    }
    if (is_refund) {
        return apply_to_refund(payment, note, slot, cause);
    }
    bool was_doubted = payment_is_money_told(&slot->charge.came);
    bool fits = true;
    err code = ERR_ok;
    if (verdict == VERDICT_SUCCEEDED) {
        code = payment_check_money(payment, slot, NULL, &words, cause, &fits);
    }
    if (code != ERR_ok || !fits) {
        note->outcome = PAYMENT_DISPUTED;
        return code;
    }
    bool is_settled = payment_settle_charge(payment, slot, verdict, &words, cause);
    if (is_settled || (was_doubted && verdict == VERDICT_SUCCEEDED)) {
        note->outcome = PAYMENT_APPLIED;
        return outcall_stop(payment->batch, OWNER_CHARGE, &note->charge);
    }
    return ERR_ok;
}

/* --- what waits --- */

bool
payment_has_told_refund(const struct payment_charge_slot *slot)
{
    for (const struct payment_note_slot *parked = slot->parked; parked != NULL; parked = parked->next) {
        bool is_refund = false;
        (void)payment_verdict_of_type(parked->note.type, &is_refund);
        if (is_refund) {
            return true;
        }
    }
    return false;
}

/* The oldest that has an outcome now. */
static err
apply_next(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause, bool *has_applied)
{
    err code = ERR_ok;
    *has_applied = false;
    for (struct payment_note_slot *parked = slot->parked; parked != NULL && code == ERR_ok && !*has_applied; parked = parked->next) {
        code = payment_apply_note(payment, &parked->note, slot, cause);
        *has_applied = code == ERR_ok && parked->note.outcome != PAYMENT_PARKED;
        if (*has_applied) {
            payment_book_unpark(&payment->book, slot, parked);
        }
        if (*has_applied && parked->note.outcome != PAYMENT_DISPUTED) {
            close_letter(payment, &parked->note);
        }
    }
    return code;
}

err
payment_apply_parked(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause)
{
    bool goes_on = true;
    err code = ERR_ok;
    while (goes_on && code == ERR_ok) {
        code = apply_next(payment, slot, cause, &goes_on);
    }
    return code;
}

err
payment_handle_note(struct payment *payment, const struct item *item)
{
    struct id told;
    if (item->key.size != ID_SIZE) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return ERR_ok;
    }
    memcpy(told.bytes, item->key.data, ID_SIZE);
    struct payment_note_slot *slot = payment_book_disputed(&payment->book, &told);
    if (slot == NULL) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &told));
        return ERR_ok;
    }
    struct payment_charge_slot *charge = payment_book_charge(&payment->book, &slot->note.charge);
    if (slot->note.outcome == PAYMENT_PARKED && charge == NULL) {
        payment_dispute(payment, &slot->note, NULL, "there is no such charge here", item);
        return ERR_ok;
    }
    err code = ERR_ok;
    if (slot->note.outcome == PAYMENT_DISPUTED && charge != NULL) {
        code = payment_apply_note(payment, &slot->note, charge, item);
        if (code == ERR_ok && slot->note.outcome == PAYMENT_PARKED) {
            slot->note.outcome = PAYMENT_DISPUTED;
            payment_dispute(payment, &slot->note, &charge->charge, "a refund of the same charge is under way", item);
        }
        payment_book_touch_note(&payment->book, slot);
    }
    if (code == ERR_ok && slot->note.outcome != PAYMENT_DISPUTED) {
        close_letter(payment, &slot->note);
    }
    return code;
}
