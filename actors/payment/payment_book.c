/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps what a batch knows of charges, refunds and webhooks, so that each is read at most once and written at most once.
 *
 * STATE     Everything but the tables' slots lies in the batch's memory. `marks` outlive a batch: the numbers of the last rows and how
 *           many webhooks are parked; after a rollback they are read again.
 *
 * FAILURES  Errors of the database go up. A new charge under an id that is taken, which nobody looked up because it was not asked
 *           again, violates the key; the kit then runs the batch one by one, and each is looked up.
 *
 * LIMITS    A charge that is new in this batch and was neither wanted nor asked again is not read: a batch of new charges reads
 *           nothing.
 */
#include "payment_book.h"

#include <assert.h>
#include <string.h>

static char is_there; /* what the index of webhooks points to */

/* --- life --- */

static err
load_marks(struct payment_book *book)
{
    if (book->has_marks) {
        return ERR_ok;
    }
    err code = payment_store_marks(book->store, &book->marks);
    book->has_marks = code == ERR_ok;
    return code;
}

err
payment_book_begin(struct payment_book *book, struct batch *batch)
{
    book->batch = batch;
    id_index_clear(&book->charges);
    id_index_clear(&book->refunds);
    id_index_clear(&book->told);
    book->first_charge = NULL;
    book->charge_tail = &book->first_charge;
    book->first_refund = NULL;
    book->refund_tail = &book->first_refund;
    book->first_written = NULL;
    book->disputed = NULL;
    return load_marks(book);
}

void
payment_book_drop(struct payment_book *book)
{
    book->has_marks = false;
}

void
payment_book_fini(struct payment_book *book)
{
    id_index_fini(&book->charges);
    id_index_fini(&book->refunds);
    id_index_fini(&book->told);
}

struct slice
payment_book_keep(struct payment_book *book, struct slice bytes)
{
    if (bytes.size == 0) {
        return slice_of("");
    }
    uint8_t *kept = batch_alloc(book->batch, bytes.size);
    memcpy(kept, bytes.data, bytes.size);
    return (struct slice){kept, bytes.size};
}

/* --- slots --- */

static struct payment_charge_slot *
charge_slot(struct payment_book *book, const struct id *id)
{
    struct payment_charge_slot *slot = id_index_get(&book->charges, id);
    if (slot == NULL) {
        slot = batch_alloc(book->batch, sizeof *slot);
        *slot = (struct payment_charge_slot){.charge.id = *id};
        *book->charge_tail = slot;
        book->charge_tail = &slot->next;
        id_index_add(&book->charges, id, slot);
    }
    return slot;
}

static struct payment_refund_slot *
refund_slot(struct payment_book *book, const struct id *id)
{
    struct payment_refund_slot *slot = id_index_get(&book->refunds, id);
    if (slot == NULL) {
        slot = batch_alloc(book->batch, sizeof *slot);
        *slot = (struct payment_refund_slot){.refund.id = *id};
        *book->refund_tail = slot;
        book->refund_tail = &slot->next;
        id_index_add(&book->refunds, id, slot);
    }
    return slot;
}

struct payment_charge_slot *
payment_book_charge(struct payment_book *book, const struct id *id)
{
    struct payment_charge_slot *slot = id_index_get(&book->charges, id);
    return slot != NULL && slot->exists ? slot : NULL;
}

struct payment_refund_slot *
payment_book_refund(struct payment_book *book, const struct id *id)
{
    struct payment_refund_slot *slot = id_index_get(&book->refunds, id);
    return slot != NULL && slot->exists ? slot : NULL;
}

struct payment_refund_slot *
payment_book_next_refund(const struct payment_book *book, const struct id *charge, const struct payment_refund_slot *previous)
{
    struct payment_refund_slot *slot = previous == NULL ? book->first_refund : previous->next;
    while (slot != NULL && !(slot->exists && id_equal(&slot->refund.charge, charge))) {
        slot = slot->next;
    }
    return slot;
}

struct payment_note_slot *
payment_book_disputed(const struct payment_book *book, const struct id *told)
{
    struct payment_note_slot *slot = book->disputed;
    while (slot != NULL && !id_equal(&slot->note.told, told)) {
        slot = slot->next;
    }
    return slot;
}

/* --- reading --- */

void
payment_book_want_charge(struct payment_book *book, const struct id *id)
{
    if (id_index_get(&book->charges, id) == NULL) {
        (void)charge_slot(book, id);
        payment_store_want(book->store, READ_CHARGES, id);
    }
}

void
payment_book_want_refund(struct payment_book *book, const struct id *id)
{
    if (id_index_get(&book->refunds, id) == NULL) {
        (void)refund_slot(book, id);
        payment_store_want(book->store, READ_REFUNDS, id);
    }
}

void
payment_book_want_refunds_of(struct payment_book *book, const struct id *charge)
{
    payment_store_want(book->store, READ_REFUNDS_OF, charge);
}

void
payment_book_want_note(struct payment_book *book, const struct id *told)
{
    payment_store_want(book->store, READ_NOTES, told);
}

void
payment_book_want_told(struct payment_book *book, const struct id *told)
{
    payment_store_want(book->store, READ_TOLD, told);
}

void
payment_book_want_parked(struct payment_book *book, const struct id *charge)
{
    if (book->marks.parked > 0) {
        payment_store_want(book->store, READ_PARKED, charge);
        payment_store_want(book->store, READ_REFUNDS_OF, charge);
    }
}

static void
see_charge(void *context, struct db_statement *row)
{
    struct payment_book *book = context;
    struct payment_charge charge = payment_store_charge(row);
    struct payment_charge_slot *slot = charge_slot(book, &charge.id);
    if (!slot->exists) {
        slot->charge = charge;
        slot->charge.reference = payment_book_keep(book, charge.reference);
        slot->charge.reason = payment_book_keep(book, charge.reason);
        slot->exists = true;
    }
}

static void
see_refund(void *context, struct db_statement *row)
{
    struct payment_book *book = context;
    struct payment_refund refund = payment_store_refund(row);
    struct payment_refund_slot *slot = refund_slot(book, &refund.id);
    if (!slot->exists) {
        slot->refund = refund;
        slot->refund.reference = payment_book_keep(book, refund.reference);
        slot->refund.reason = payment_book_keep(book, refund.reason);
        slot->exists = true;
    }
}

/* One that was wanted by its id: the charge is read next, and what waits for it. */
static void
see_refund_wanted(void *context, struct db_statement *row)
{
    struct payment_refund refund = payment_store_refund(row);
    see_refund(context, row);
    payment_book_want_charge(context, &refund.charge);
    payment_book_want_parked(context, &refund.charge);
}

static void
note_told(struct payment_book *book, const struct id *told)
{
    if (id_index_get(&book->told, told) == NULL) {
        id_index_add(&book->told, told, &is_there);
    }
}

static void
see_told(void *context, struct db_statement *row)
{
    struct id told = db_id(row, 0);
    note_told(context, &told);
}

static struct payment_note_slot *
note_slot(struct payment_book *book, const struct payment_note *note)
{
    struct payment_note_slot *slot = batch_alloc(book->batch, sizeof *slot);
    *slot = (struct payment_note_slot){.note = *note};
    slot->note.webhook_id = payment_book_keep(book, note->webhook_id);
    slot->note.type = payment_book_keep(book, note->type);
    slot->note.reference = payment_book_keep(book, note->reference);
    slot->note.reason = payment_book_keep(book, note->reason);
    return slot;
}

/* By their numbers: rows of one key come in no order that is promised. One may come twice. */
static void
see_parked(void *context, struct db_statement *row)
{
    struct payment_book *book = context;
    struct payment_note note = payment_store_note(row);
    struct payment_note_slot **at = &charge_slot(book, &note.charge)->parked;
    while (*at != NULL && (*at)->note.n < note.n) {
        at = &(*at)->next;
    }
    if (*at == NULL || (*at)->note.n != note.n) {
        struct payment_note_slot *slot = note_slot(book, &note);
        slot->next = *at;
        *at = slot;
    }
}

static void
see_disputed(void *context, struct db_statement *row)
{
    struct payment_book *book = context;
    struct payment_note note = payment_store_note(row);
    struct payment_note_slot *slot = note_slot(book, &note);
    slot->next = book->disputed;
    book->disputed = slot;
    if (!id_is_zero(&note.charge)) {
        payment_book_want_charge(book, &note.charge);
        payment_book_want_refunds_of(book, &note.charge);
    }
}

err
payment_book_read(struct payment_book *book)
{
    static void (*const sees[READ_COUNT])(void *context, struct db_statement *row) = {
        [READ_NOTES] = see_disputed, [READ_REFUNDS] = see_refund_wanted, [READ_CHARGES] = see_charge,
        [READ_TOLD] = see_told,      [READ_PARKED] = see_parked,         [READ_REFUNDS_OF] = see_refund,
    };
    err code = ERR_ok;
    for (enum payment_reading_of what = 0; what < READ_COUNT && code == ERR_ok; what++) {
        code = payment_store_read(book->store, what, sees[what], book);
    }
    return code;
}

/* --- new ones --- */

struct payment_charge_slot *
payment_book_add_charge(struct payment_book *book, const struct id *id)
{
    struct payment_charge_slot *slot = charge_slot(book, id);
    assert(!slot->exists && book->has_marks);
    slot->charge = (struct payment_charge){.n = ++book->marks.last_charge,
                                           .id = *id,
                                           .came.amount = MONEY_NOT_TOLD,
                                           .reference = slice_of(""),
                                           .reason = slice_of(""),
                                           .created_ms = book->batch->now_ms,
                                           .changed_ms = book->batch->now_ms};
    slot->exists = slot->is_new = true;
    return slot;
}

struct payment_refund_slot *
payment_book_add_refund(struct payment_book *book, const struct id *id)
{
    struct payment_refund_slot *slot = refund_slot(book, id);
    assert(!slot->exists && book->has_marks);
    slot->refund = (struct payment_refund){.n = ++book->marks.last_refund,
                                           .id = *id,
                                           .reference = slice_of(""),
                                           .reason = slice_of(""),
                                           .created_ms = book->batch->now_ms,
                                           .changed_ms = book->batch->now_ms};
    slot->exists = slot->is_new = true;
    return slot;
}

static void
will_be_written(struct payment_book *book, struct payment_note_slot *slot)
{
    if (!slot->is_written) {
        slot->is_written = true;
        slot->next_written = book->first_written;
        book->first_written = slot;
    }
}

void
payment_book_unpark(struct payment_book *book, struct payment_charge_slot *slot, struct payment_note_slot *parked)
{
    struct payment_note_slot **at = &slot->parked;
    while (*at != parked) {
        at = &(*at)->next;
    }
    *at = parked->next;
    book->marks.parked--;
    will_be_written(book, parked);
}

void
payment_book_touch_note(struct payment_book *book, struct payment_note_slot *slot)
{
    will_be_written(book, slot);
}

bool
payment_book_is_told(const struct payment_book *book, const struct id *told)
{
    return id_index_get(&book->told, told) != NULL;
}

void
payment_book_add_note(struct payment_book *book, const struct payment_note *note)
{
    assert(book->has_marks);
    struct payment_note_slot *slot = note_slot(book, note);
    slot->note.n = ++book->marks.last_note;
    slot->is_new = true;
    will_be_written(book, slot);
    note_told(book, &note->told);
    if (note->outcome == PAYMENT_PARKED) {
        struct payment_note_slot **at = &charge_slot(book, &note->charge)->parked;
        while (*at != NULL) {
            at = &(*at)->next;
        }
        *at = slot;
        book->marks.parked++;
    }
}

/* --- writing --- */

err
payment_book_write(struct payment_book *book)
{
    err code = ERR_ok;
    for (struct payment_charge_slot *slot = book->first_charge; slot != NULL && code == ERR_ok; slot = slot->next) {
        if (slot->is_new) {
            payment_store_add_charge(book->store, &slot->charge);
        } else if (slot->is_changed) {
            code = payment_store_update_charge(book->store, &slot->charge);
        }
    }
    for (struct payment_refund_slot *slot = book->first_refund; slot != NULL && code == ERR_ok; slot = slot->next) {
        if (slot->is_new) {
            payment_store_add_refund(book->store, &slot->refund);
        } else if (slot->is_changed) {
            code = payment_store_update_refund(book->store, &slot->refund);
        }
    }
    for (struct payment_note_slot *slot = book->first_written; slot != NULL && code == ERR_ok; slot = slot->next_written) {
        if (slot->is_new) {
            payment_store_add_note(book->store, &slot->note);
        } else {
            code = payment_store_update_note(book->store, &slot->note);
        }
    }
    return code == ERR_ok ? payment_store_queue(book->store) : code;
}
