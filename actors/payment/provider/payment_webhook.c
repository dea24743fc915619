/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a provider tells by itself: signed, kept before it is answered, applied once (payment_told.c).
 *
 * MESSAGES  payment.webhook; due "told", which is the simulated provider telling something a second time.
 *
 * STATE     $webhook: each once, by its id. One that comes before its charge is parked and applied when the charge comes.
 *
 * FAILURES  A signature that is missing, wrong, or more than 5 minutes from our clock is refused, and nothing is kept; without a
 *           secret all are. A body that cannot be read is refused too, so that the provider tells it again and somebody sees it there.
 *           Types that say nothing here are kept and counted as ignored.
 *
 * LIMITS    The well-known secret of the simulated provider is good only while the gateway's address is loopback. Parked webhooks have
 *           no end: whoever has the secret can fill the table.
 */
#include "payment/payment_state.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

#define TYPE_MAX 64

/* --- reading --- */

static bool
is_signed(struct payment *payment, struct item *item)
{
    const struct wire_payment_webhook *webhook = item->body;
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

/* Which refund: by our key, or by what the provider calls it. */
static const char *
read_refund(struct payment *payment, const json_t *data, struct payment_note *note)
{
    if (read_id(data, "refund", &note->refund)) {
        return NULL;
    }
    const json_t *refund = json_object_get(data, "refund");
    bool is_text = json_is_string(refund) && json_string_length(refund) > 0 && json_string_length(refund) <= PAYMENT_REFERENCE_MAX;
    if (refund != NULL && !is_text) {
        return "data.refund: must be a text of 1 to 128 bytes";
    }
    if (note->reference.size == 0) {
        note->reference = read_text(payment, data, "refund", PAYMENT_REFERENCE_MAX);
    }
    return note->reference.size > 0 ? NULL : "data.refund, data.reference: one of them must say which refund";
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
    bool has_charge = read_id(data, "charge", &note->charge);
    note->reference = read_text(payment, data, "reference", PAYMENT_REFERENCE_MAX);
    note->reason = read_text(payment, data, "reason", PAYMENT_REASON_MAX);
    const char *wrong = payment_read_money(data, &note->money);
    if (payment_verdict_of_type(note->type, &is_refund) == VERDICT_COUNT) {
        return NULL;
    }
    if (!has_charge) {
        return "data.charge: must be a UUID";
    }
    if (wrong == NULL && is_refund) {
        wrong = read_refund(payment, data, note);
    } else if (wrong == NULL && json_object_get(data, "refund") != NULL && !read_id(data, "refund", &note->refund)) {
        wrong = "data.refund: must be a UUID";
    }
    return wrong;
}

struct payment_note *
payment_read_webhook(struct payment *payment, struct item *item)
{
    const struct wire_payment_webhook *webhook = item->body;
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
        .money.amount = MONEY_NOT_TOLD,
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

/* --- answering --- */

static void
answer(struct payment *payment, struct item *item, enum payment_noted_as outcome)
{
    struct wire_payment_noted noted = {0};
    WIRE_SET(&noted, payment_noted, outcome, slice_of(payment_noted_name(outcome)));
    item_answer(payment->batch, item, &noted);
}

/* Nobody knows of that charge: it may have been lost here, and its money has come or has gone. */
static void
park(struct payment *payment, struct item *item, struct payment_note *note)
{
    bool is_refund = false;
    note->outcome = PAYMENT_PARKED;
    if (payment_verdict_of_type(note->type, &is_refund) == VERDICT_SUCCEEDED) {
        payment_dispute(payment, note, NULL, "money moved at the provider for a charge that is not known here", item);
    }
}

static err
take(struct payment *payment, struct item *item, struct payment_note *note)
{
    bool is_refund = false;
    struct payment_charge_slot *slot = payment_book_charge(&payment->book, &note->charge);
    if (payment_verdict_of_type(note->type, &is_refund) == VERDICT_COUNT) {
        note->outcome = PAYMENT_IGNORED;
        log_often(LOG_LEVEL_WARN, "webhook_of_unknown_type", "webhook", LOG_ID("charge", &note->charge),
                  LOG_SLICE("type", note->type));
        return ERR_ok;
    }
    if (slot == NULL) {
        park(payment, item, note);
        return ERR_ok;
    }
    err code = payment_apply_note(payment, note, slot, item);
    return code == ERR_ok ? payment_apply_parked(payment, slot, item) : code;
}

err
payment_handle_webhook(void *state, struct item *item)
{
    struct payment *payment = state;
    const struct payment_note *note = payment->notes[item - payment->batch->items];
    struct payment_note kept = *note;
    bool is_refund = false;
    if (payment_book_is_told(&payment->book, &note->told)) {
        answer(payment, item, PAYMENT_IGNORED);
        return ERR_ok;
    }
    err code = take(payment, item, &kept);
    if (code == ERR_ok) {
        payment_book_add_note(&payment->book, &kept);
        payment_meters_note(payment->meters, kept.outcome, payment_verdict_of_type(kept.type, &is_refund) != VERDICT_COUNT);
        answer(payment, item, kept.outcome);
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
    struct payment_charge_slot *slot = payment_book_charge(&payment->book, &id);
    if (slot == NULL) {
        log_error("due_row_of_nothing", LOG_SLICE("owner", item->owner), LOG_ID("id", &id));
        return ERR_ok;
    }
    bool is_success = payment_simulate_later(slot->charge.amount) == VERDICT_SUCCEEDED;
    id_format(&id, text);
    (void)snprintf(webhook_id, sizeof webhook_id, "simulated-%s", text);
    struct payment_note note = {
        .told = id_of_bytes(webhook_id, strlen(webhook_id)),
        .webhook_id = slice_of(webhook_id),
        .type = slice_of(is_success ? "charge.succeeded" : "charge.failed"),
        .charge = id,
        .reference = slice_of(""),
        .reason = slice_of("the simulated provider tells once more"),
        .money.amount = MONEY_NOT_TOLD,
        .received_ms = payment->batch->now_ms,
    };
    err code = payment_apply_note(payment, &note, slot, item);
    if (code == ERR_ok) {
        payment_book_add_note(&payment->book, &note);
    }
    return code;
}
