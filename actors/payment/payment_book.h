/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The charges, refunds and webhooks that a batch deals with: read at its beginning with one statement for each table, changed in
 * memory, written at its end.
 *
 *     payment_book_begin();  payment_book_want_...() for what each item names;  payment_book_read()
 *     payment_book_charge() and the like, changes, payment_book_touch_...();  payment_book_write()
 */
#ifndef LARDER_PAYMENT_BOOK_H
#define LARDER_PAYMENT_BOOK_H

#include "kit/actor.h"
#include "kit/base/id_index.h"
#include "payment_store.h"

/* What may be in the database under an id, and what the batch makes of it. The charge comes first: a pointer to it is one to this. */
struct payment_charge_slot {
    struct payment_charge charge;
    struct payment_charge_slot *next;
    bool exists;
    bool is_new;
    bool is_changed;
    bool is_called; /* the outcome of a call came with this batch */
    struct payment_note_slot *parked;
};

struct payment_refund_slot {
    struct payment_refund refund;
    struct payment_refund_slot *next;
    bool exists;
    bool is_new;
    bool is_changed;
    bool is_called;
};

/* A webhook: one of this batch, or an earlier one that waits or is disputed. */
struct payment_note_slot {
    struct payment_note note;
    struct payment_note_slot *next; /* of those that wait for a charge, in the order in which they came; of those that were disputed */
    struct payment_note_slot *next_written;
    bool is_new;
    bool is_written; /* it is among those that will be */
};

struct payment_book {
    struct payment_store *store;
    struct batch *batch;
    struct id_index charges;
    struct id_index refunds;
    struct id_index told;
    struct payment_charge_slot *first_charge;
    struct payment_charge_slot **charge_tail;
    struct payment_refund_slot *first_refund;
    struct payment_refund_slot **refund_tail;
    struct payment_note_slot *first_written;
    struct payment_note_slot *disputed; /* those that were wanted */
    bool has_marks;
    struct payment_marks marks; /* with this batch's rows */
};

MUST_CHECK err
payment_book_begin(struct payment_book *book, struct batch *batch);

/* What was counted did not happen: the marks are read again. */
void
payment_book_drop(struct payment_book *book);
void
payment_book_fini(struct payment_book *book);

void
payment_book_want_charge(struct payment_book *book, const struct id *id);

/* The refund, the charge that it belongs to, and the webhooks that wait for that. */
void
payment_book_want_refund(struct payment_book *book, const struct id *id);
/* All refunds of the charge. */
void
payment_book_want_refunds_of(struct payment_book *book, const struct id *charge);
void
payment_book_want_told(struct payment_book *book, const struct id *told);
/* A webhook that was told before, to look at it once more. */
void
payment_book_want_note(struct payment_book *book, const struct id *told);

/* Webhooks that wait for this charge, and its refunds when there are any; costs nothing while none waits. */
void
payment_book_want_parked(struct payment_book *book, const struct id *charge);
MUST_CHECK err
payment_book_read(struct payment_book *book);

/* NULL when there is none; only of what was wanted or added in this batch. */
struct payment_charge_slot *
payment_book_charge(struct payment_book *book, const struct id *id);
struct payment_refund_slot *
payment_book_refund(struct payment_book *book, const struct id *id);

/* The refunds of a charge that were wanted or added, one after the other: NULL is before the first, and behind the last. */
struct payment_refund_slot *
payment_book_next_refund(const struct payment_book *book, const struct id *charge, const struct payment_refund_slot *previous);

/* NULL: there is none of this id, or it was not wanted. */
struct payment_note_slot *
payment_book_disputed(const struct payment_book *book, const struct id *told);

/* A new one, with its number. There must be none of this id. */
struct payment_charge_slot *
payment_book_add_charge(struct payment_book *book, const struct id *id);
struct payment_refund_slot *
payment_book_add_refund(struct payment_book *book, const struct id *id);

/* Takes a webhook that waits for the charge: with an outcome that is set in it now, which is written. */
void
payment_book_unpark(struct payment_book *book, struct payment_charge_slot *slot, struct payment_note_slot *parked);

/* What is set in a webhook of earlier is written. */
void
payment_book_touch_note(struct payment_book *book, struct payment_note_slot *slot);

/* Whether the webhook was told before, in this batch or an earlier one. */
bool
payment_book_is_told(const struct payment_book *book, const struct id *told);

/* Keeps a webhook, with its number; a parked one waits for its charge from here on. */
void
payment_book_add_note(struct payment_book *book, const struct payment_note *note);

/* A copy that lives as long as the batch. */
struct slice
payment_book_keep(struct payment_book *book, struct slice bytes);

MUST_CHECK err
payment_book_write(struct payment_book *book);

#endif
