/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of payment share, from below: payment_answer.c (how charges and refunds are told), payment_money.c (what becomes of
 * them), payment_task.c (one that the provider is called about), payment_told.c (what it means that the provider tells by itself),
 * payment_webhook.c (how it tells), payment_provider.c (calls to it), payment_reading.c (who reads what), payment.c (messages). Not
 * for others. */
#ifndef LARDER_PAYMENT_STATE_H
#define LARDER_PAYMENT_STATE_H

#include <jansson.h>

#include "kit/actor.h"
#include "payment_book.h"
#include "payment_rules.h"
#include "payment/provider/payment_signature.h"
#include "payment_store.h"

/* Owners of due rows; the key is the id of the charge or the refund. */
#define OWNER_CHARGE "charge"
#define OWNER_REFUND "refund"
#define OWNER_TOLD "told" /* what the simulated provider tells once more; the key is the charge's id */
#define OWNER_NOTE "note" /* a webhook with a letter; the key is its `told` */

struct payment_meters;

struct payment {
    struct actor *actor;
    const struct settings *settings;
    struct payment_store store;
    struct payment_book book;
    struct payment_key key; /* of webhooks */
    struct wire_buffer page;
    struct batch *batch;         /* under way */
    struct payment_note **notes; /* by item: the webhook in it, NULL for none; in the batch's memory */
    struct payment_meters *meters;
    struct payment_reader *readers; /* who waits for order */
    uint64_t last_reader;
};

/* What a provider said beside its verdict. */
struct payment_words {
    struct slice reference;
    struct slice reason;
    struct money_told money;
};

static inline bool
payment_is_staff(const struct item *item)
{
    return item->role >= ROLE_EMPLOYEE;
}

/* --- payment_answer.c --- */

/* As the wire has them; they borrow. */
struct wire_charge
payment_tell_charge(const struct payment_charge *charge);
struct wire_refund
payment_tell_refund(const struct payment_charge *charge, const struct payment_refund *refund);

/* --- payment_reading.c --- */

struct payment_reader;

/* payment.get, payment.list, payment.refunds. */
MUST_CHECK err
payment_read(void *state, struct item *item);
/* Order has answered. */
MUST_CHECK err
payment_read_on(struct payment *payment, const struct item *item);
/* What that needs of the book. */
void
payment_want_of_reader(struct payment *payment, const struct item *item);
void
payment_readers_settle(struct payment *payment, bool is_on_disk);
void
payment_readers_close(struct payment *payment);

/* --- payment_money.c --- */

/* Applies a verdict to a charge: its status, its words, its event. True: its status has changed. */
bool
payment_settle_charge(struct payment *payment, struct payment_charge_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause);

/* The same of a refund, with the sums of its charge. */
bool
payment_settle_refund(struct payment *payment, struct payment_refund_slot *slot, enum payment_verdict verdict,
                      const struct payment_words *words, const struct item *cause);

/* How much has moved, as far as `data` tells it. Says what is wrong with it; NULL: nothing. */
const char *
payment_read_money(const json_t *data, struct money_told *told);

/* A text of a provider, cut to `max` bytes and made printable; lives as long as the batch. */
struct slice
payment_clean_text(struct payment *payment, struct slice text, size_t max);

/* --- payment_provider.c --- */

/* Who asks for the money of a new charge. */
enum payment_provider
payment_provider_of(const struct payment *payment, enum payment_method method);

/* Tells the provider of a new charge, or a new refund. It may be settled when this returns. */
MUST_CHECK err
payment_start_charge(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause);
MUST_CHECK err
payment_start_refund(struct payment *payment, struct payment_refund_slot *slot, const struct item *cause);

/* A due row OWNER_CHARGE or OWNER_REFUND has come. */
MUST_CHECK err
payment_handle_due(struct payment *payment, const struct item *item);

/* A call has ended. */
MUST_CHECK err
payment_handle_outcome(struct payment *payment, const struct item *item);

/* Whether a call's context is about a refund. */
bool
payment_call_is_refund(const struct item *item);

/* --- payment_webhook.c --- */

/* Checks a webhook's signature and reads it: the note, in the batch's memory. NULL: it was refused. */
struct payment_note *
payment_read_webhook(struct payment *payment, struct item *item);

MUST_CHECK err
payment_handle_webhook(void *state, struct item *item);

/* A due row OWNER_TOLD has come. */
MUST_CHECK err
payment_handle_told(struct payment *payment, const struct item *item);

/* --- payment_told.c --- */

/* Books what a webhook tells, and sets its outcome. The charge is there. */
MUST_CHECK err
payment_apply_note(struct payment *payment, struct payment_note *note, struct payment_charge_slot *slot, const struct item *cause);

/* The same of all that wait for this charge, or for what was under way of it: as far as that has ended. */
MUST_CHECK err
payment_apply_parked(struct payment *payment, struct payment_charge_slot *slot, const struct item *cause);

/* Whether a refund that was told waits: whether it is one of ours is not known yet. */
bool
payment_has_told_refund(const struct payment_charge_slot *slot);

/* A letter about a webhook whose money has no place here. `charge` may be NULL. */
void
payment_dispute(struct payment *payment, const struct payment_note *note, const struct payment_charge *charge, const char *why,
                const struct item *cause);

/* A due row OWNER_NOTE has come: somebody asks for its letter. */
MUST_CHECK err
payment_handle_note(struct payment *payment, const struct item *item);

/* --- payment_meters.c --- */

struct payment_meters *
payment_meters_create(void);
void
payment_meters_destroy(struct payment_meters **meters);

/* A webhook of the batch under way was noted; `is_known`: its type says something here. */
void
payment_meters_note(struct payment_meters *meters, enum payment_noted_as outcome, bool is_known);
void
payment_meters_settle(struct payment_meters *meters, bool is_on_disk);

/* --- payment_retime.c --- */

/* The clock was set: says when this due row is due, and moves what belongs to it. */
MUST_CHECK err
payment_retime(const struct retiming *retiming, struct due_row *row);

#endif
