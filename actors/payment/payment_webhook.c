/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a provider tells by itself: signed, kept before it is answered, applied once.
 *
 * MESSAGES  payment.webhook; due "told", which is the simulated provider telling something a second time.
 *
 * STATE     $webhook: each once, by its id. One that comes before its charge is parked and applied when the charge comes.
 *
 * FAILURES  A signature that is missing, wrong, or more than 5 minutes from our clock is refused, and nothing is kept; without a
 *           secret all are. A body that cannot be read is refused too, so that the provider tells it again and somebody sees it there.
 *           Types that say nothing here are answered as ignored.
 *
 * LIMITS    The well-known secret of the simulated provider is good only while the gateway's address is loopback. Parked webhooks have
 *           no end: whoever has the secret can fill the table.
 */
#include "payment_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "log.h"

#define TYPE_MAX 64

/* --- reading --- */

static bool
is_signed(struct payment *payment, struct item *item)
{
    const struct payment_webhook *webhook = item->body;
    int64_t seconds = 0;
    const char *wrong = NULL;
    if (payment->key.size == 0) {
        wrong = "there is no webhook_secret to check it with";
    } else if (!WIRE_HAS(webhook, payment_webhook, webhook_id) || !WIRE_HAS(webhook, payment_webhook, timestamp) ||
               !WIRE_HAS(webhook, payment_webhook, signature)) {
        wrong = "webhook-id, webhook-timestamp and webhook-signature must be there";
    } else if (!payment_timestamp_parse(webhook->timestamp, &seconds)) {
        wrong = "webhook-timestamp is not a number of seconds";
    } else if (!payment_is_timely(seconds, payment->batch->now_ms)) {
        wrong = "webhook-timestamp is more than 5 minutes from now";
    } else if (!payment_is_signed(&payment->key, &(struct payment_signed){webhook->webhook_id, webhook->timestamp, webhook->body},
                                  webhook->signature)) {
        wrong = "none of the signatures is right";
    }
    if (wrong != NULL) {
        item_refuse(payment->batch, item, ERR_bad_signature, "%s", wrong);
    }
    return wrong == NULL;
}

static bool
read_id(const json_t *data, const char *name, struct id *id)
{
    const json_t *member = json_object_get(data, name);
    return json_is_string(member) && id_parse(json_string_value(member), json_string_length(member), id);
}

static struct slice
read_text(struct payment *payment, const json_t *object, const char *name, size_t max)
{
    const json_t *member = json_object_get(object, name);
    if (!json_is_string(member)) {
        return slice_of("");
    }
    struct slice text = {(const uint8_t *)json_string_value(member), json_string_length(member)};
    return payment_clean_text(payment, text, max);
}

/* Says what is wrong with the body; NULL: nothing. */
static const char *
read_body(struct payment *payment, const json_t *json, struct payment_note *note)
{
    const json_t *data = json_object_get(json, "data");
    bool is_refund = false;
    if (!json_is_string(json_object_get(json, "type"))) {
        return "type: must be a text";
    }
    note->type = read_text(payment, json, "type", TYPE_MAX);
    if (payment_verdict_of_type(note->type, &is_refund) == VERDICT_COUNT) {
        return NULL;
    }
    if (!read_id(data, "charge", &note->charge)) {
        return "data.charge: must be a UUID";
    }
    bool has_refund = json_object_get(data, "refund") != NULL;
    if ((is_refund || has_refund) && !read_id(data, "refund", &note->refund)) {
        return "data.refund: must be a UUID";
    }
    note->reference = read_text(payment, data, "reference", PAYMENT_REFERENCE_MAX);
    note->reason = read_text(payment, data, "reason", PAYMENT_REASON_MAX);
    return NULL;
}

struct payment_note *
payment_read_webhook(struct payment *payment, struct item *item)
{
    const struct payment_webhook *webhook = item->body;
    if (!is_signed(payment, item)) {
        return NULL;
    }
    json_error_t error = {0};
    const char *bytes = webhook->body.size > 0 ? (const char *)webhook->body.data : "";
    json_t *json = json_loadb(bytes, webhook->body.size, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        struct slice words = payment_clean_text(payment, slice_of(error.text), PAYMENT_REASON_MAX);
        item_refuse(payment->batch, item, ERR_malformed, "the body is not JSON: %.*s", (int)words.size, (const char *)words.data);
        return NULL;
    }
    struct payment_note *note = batch_alloc(payment->batch, sizeof *note);
    *note = (struct payment_note){
        .told = id_of_bytes(webhook->webhook_id.data, webhook->webhook_id.size),
        .webhook_id = webhook->webhook_id,
        .received_ms = payment->batch->now_ms,
    };
    const char *wrong = read_body(payment, json, note);
    json_decref(json);
    if (wrong != NULL) {
        item_refuse(payment->batch, item, ERR_invalid_field, "%s", wrong);
        return NULL;
    }
    return note;
}

/* --- applying --- */

static err
apply_to_refund(struct payment *payment, struct payment_note *note, enum payment_verdict verdict, const struct item *cause)
{
    struct payment_payback_slot *slot = payment_book_payback(&payment->book, &note->refund);
    struct payment_words words = {note->reference, note->reason};
    if (slot == NULL || !id_equal(&slot->payback.charge, &note->charge)) {
        log_warn("webhook_about_unknown_refund", LOG_ID("req", &cause->id), LOG_ID("charge", &note->charge),
                 LOG_ID("refund", &note->refund));
        return ERR_ok;
    }
    bool was_pending = slot->payback.status == PAYMENT_PENDING;
    if (payment_settle_refund(payment, slot, verdict, &words, cause)) {
        note->outcome = PAYMENT_APPLIED;
        return was_pending ? payment_stop_calls(payment, OWNER_REFUND, &note->refund) : ERR_ok;
    }
    return ERR_ok;
}

/* Sets the note's outcome. The charge is there. */
static err
apply(struct payment *payment, struct payment_note *note, struct payment_claim_slot *slot, const struct item *cause)
{
    bool is_refund = false;
    enum payment_verdict verdict = payment_verdict_of_type(note->type, &is_refund);
    struct payment_words words = {note->reference, note->reason};
    note->outcome = PAYMENT_IGNORED;
    if (slot->claim.provider == PAYMENT_BY_HAND) {
        log_warn("webhook_about_another_provider", LOG_ID("req", &cause->id), LOG_ID("charge", &note->charge));
        return ERR_ok;
    }
    if (is_refund) {
        return apply_to_refund(payment, note, verdict, cause);
    }
    if (payment_settle_charge(payment, slot, verdict, &words, cause)) {
        note->outcome = PAYMENT_APPLIED;
        return payment_stop_calls(payment, OWNER_CHARGE, &note->charge);
    }
    return ERR_ok;
}

static void
answer(struct payment *payment, struct item *item, enum payment_noted_as outcome)
{
    struct payment_noted noted = {0};
    WIRE_SET(&noted, payment_noted, outcome, slice_of(payment_noted_name(outcome)));
    item_answer(payment->batch, item, &noted);
}

err
payment_handle_webhook(struct payment *payment, struct item *item, const struct payment_note *note)
{
    struct payment_note kept = *note;
    bool is_refund = false;
    bool is_news = payment_verdict_of_type(note->type, &is_refund) != VERDICT_COUNT;
    if (!is_news || payment_book_is_told(&payment->book, &note->told)) {
        answer(payment, item, PAYMENT_IGNORED);
        return ERR_ok;
    }
    struct payment_claim_slot *slot = payment_book_claim(&payment->book, &note->charge);
    err code = ERR_ok;
    kept.outcome = PAYMENT_PARKED;
    if (slot != NULL) {
        code = apply(payment, &kept, slot, item);
    }
    if (code == ERR_ok) {
        payment_book_add_note(&payment->book, &kept);
        answer(payment, item, kept.outcome);
    }
    return code;
}

err
payment_apply_parked(struct payment *payment, struct payment_claim_slot *slot, const struct item *cause)
{
    err code = ERR_ok;
    struct payment_note_slot *parked = payment_book_take_parked(&payment->book, slot);
    while (parked != NULL && code == ERR_ok) {
        code = apply(payment, &parked->note, slot, cause);
        parked = payment_book_take_parked(&payment->book, slot);
    }
    return code;
}

err
payment_handle_told(struct payment *payment, const struct item *item)
{
    struct id id;
    char text[ID_TEXT_SIZE];
    char webhook_id[ID_TEXT_SIZE + 16];
    memcpy(id.bytes, item->key.data, ID_SIZE);
    struct payment_claim_slot *slot = payment_book_claim(&payment->book, &id);
    if (slot == NULL) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &id));
        return ERR_ok;
    }
    bool is_success = payment_simulate_later(slot->claim.amount) == VERDICT_SUCCEEDED;
    id_format(&id, text);
    (void)snprintf(webhook_id, sizeof webhook_id, "simulated-%s", text);
    struct payment_note note = {
        .told = id_of_bytes(webhook_id, strlen(webhook_id)),
        .webhook_id = slice_of(webhook_id),
        .type = slice_of(is_success ? "charge.succeeded" : "charge.failed"),
        .charge = id,
        .reference = slice_of(""),
        .reason = slice_of("the simulated provider tells once more"),
        .received_ms = payment->batch->now_ms,
    };
    err code = apply(payment, &note, slot, item);
    if (code == ERR_ok) {
        payment_book_add_note(&payment->book, &note);
    }
    return code;
}
