/* SPDX-License-Identifier: MPL-2.0 */
/* All SQL of the payment actor. */
#ifndef LARDER_PAYMENT_STORE_H
#define LARDER_PAYMENT_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "payment_rules.h"

#define PAYMENT_REFERENCE_MAX 128
#define PAYMENT_REASON_MAX 255

/* A charge, as it is kept. Texts are borrowed: of a row that is being read, or of the batch. */
struct payment_charge {
    int64_t n;
    struct id id;
    struct id order;
    int64_t amount;
    char currency[4];
    enum payment_method method;
    enum payment_provider provider;
    enum payment_status status;
    int64_t refunded;
    int64_t refunding;
    struct money_told came; /* instead of what was asked for; nothing told: as it should be */
    struct id replaces;     /* zero: none */
    struct slice reference;
    struct slice reason;
    int64_t attempts;
    int64_t created_ms;
    int64_t changed_ms;
};

/* A refund, as it is kept. */
struct payment_refund {
    int64_t n;
    struct id id;
    struct id charge;
    int64_t amount;
    enum payment_status status;
    struct slice reference;
    struct slice reason;
    int64_t attempts;
    int64_t created_ms;
    int64_t changed_ms;
    bool is_elsewhere; /* made at the provider */
};

/* Parked: it waits for its charge, or for refunds of it that are under way. Disputed: the money does not fit, there is a letter. */
enum payment_noted_as { PAYMENT_APPLIED, PAYMENT_IGNORED, PAYMENT_PARKED, PAYMENT_DISPUTED };

/* What a provider told of a charge or a refund. */
struct payment_note {
    int64_t n;
    struct id told; /* hash of webhook_id */
    struct slice webhook_id;
    struct slice type;
    struct id charge; /* zero: of a type that says nothing here */
    struct id refund; /* zero: none */
    struct money_told money;
    struct slice reference;
    struct slice reason;
    int64_t received_ms;
    enum payment_noted_as outcome;
};

/* "applied", "ignored", "parked", "disputed". */
const char *
payment_noted_name(enum payment_noted_as outcome);

/* What is read by many keys: collected, then read at once, each row once; in this order, as what is found makes more be wanted. */
enum payment_reading_of {
    READ_NOTES,      /* webhooks by `told`, with their charges and the refunds of those */
    READ_REFUNDS,    /* by their ids, with their charges and what is parked of those */
    READ_CHARGES,    /* by their ids */
    READ_TOLD,       /* whether a webhook was told: its column `told` alone */
    READ_PARKED,     /* webhooks that wait for a charge */
    READ_REFUNDS_OF, /* all refunds of a charge */
    READ_COUNT
};

struct payment_store {
    struct db *db;
    struct db_in *reads[READ_COUNT];
    struct db_rows *charges;
    struct db_rows *refunds;
    struct db_rows *notes;
};

/* Where the numbers stand, and how many webhooks wait for their charge. */
struct payment_marks {
    int64_t last_charge;
    int64_t last_refund;
    int64_t last_note;
    int64_t parked;
};

void
payment_store_init(struct payment_store *store, struct db *db);
MUST_CHECK err
payment_store_marks(struct payment_store *store, struct payment_marks *marks);

void
payment_store_want(struct payment_store *store, enum payment_reading_of what, const struct id *key);
MUST_CHECK err
payment_store_read(struct payment_store *store, enum payment_reading_of what, void (*see)(void *context, struct db_statement *row),
                   void *context);

/* What a row has; the texts are borrowed of it. */
struct payment_charge
payment_store_charge(struct db_statement *row);
struct payment_refund
payment_store_refund(struct db_statement *row);
struct payment_note
payment_store_note(struct db_statement *row);

/* --- writes: rows are collected, and go out by payment_store_queue() --- */

void
payment_store_add_charge(struct payment_store *store, const struct payment_charge *charge);
void
payment_store_add_refund(struct payment_store *store, const struct payment_refund *refund);
void
payment_store_add_note(struct payment_store *store, const struct payment_note *note);
MUST_CHECK err
payment_store_update_charge(struct payment_store *store, const struct payment_charge *charge);
MUST_CHECK err
payment_store_update_refund(struct payment_store *store, const struct payment_refund *refund);

/* A parked or disputed one has come to its end. */
MUST_CHECK err
payment_store_update_note(struct payment_store *store, const struct payment_note *note);
MUST_CHECK err
payment_store_queue(struct payment_store *store);

/* --- pages --- */

/* Newest first; of one order unless `order` is zero. */
MUST_CHECK err
payment_store_page(struct payment_store *store, const struct id *order, int64_t before, int64_t limit, struct db_statement **rows);

/* Oldest first. */
MUST_CHECK err
payment_store_page_refunds(struct payment_store *store, const struct id *charge, int64_t limit, struct db_statement **rows);

#endif
