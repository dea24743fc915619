/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What somebody asks of a row that was not finished, the dlq above all: it is tried, edited, put aside or taken back here,
 *           by whom it belongs to.
 *
 * MESSAGES  any.retry, any.edit, any.discard, any.restore
 *
 * STATE     None of its own: parked events (inbox.c), due rows (due_rows.c). A request to retry becomes its row's own item in the
 *           batch: it is handled, rolled back and run alone like any other, under the event's id, so that its effect is as idempotent
 *           as the event's. Its answer says what became of the row (rows.c).
 *
 * FAILURES  A second request about a row, or a key, that this batch is trying is told to wait.
 *
 * LIMITS    Due rows cannot be edited: nobody but their owner knows what is in them. A due row that has a time of its own is neither
 *           fired early nor put aside.
 */
#include "actor_internal.h"

/* --- any.retry --- */

static void
say_waiting(struct batch *batch, struct record *record, int64_t behind)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("waiting"));
    if (behind > 0) {
        WIRE_SET(&outcome, row_outcome, behind, behind);
    }
    rows_say(batch, record, &outcome);
}

/* From here on the record is its row's; what it was asked as is kept for the answer. */
static void
become_row(struct actor *actor, struct record *record)
{
    struct retry *retry = arena_alloc(&actor->arena, sizeof *retry);
    *retry = (struct retry){.request = record->item.id, .op = record->item.op, .outcome = {.status = ERR_COUNT}};
    record->retry = retry;
    record->item = (struct item){.deadline_ms = record->item.deadline_ms};
    actor->records.retry_count++;
}

static bool
is_event_row(const struct wire_row *row)
{
    return WIRE_HAS(row, row, source) && WIRE_HAS(row, row, seq) && !WIRE_HAS(row, row, owner) && !WIRE_HAS(row, row, key);
}

static bool
is_due_row(const struct wire_row *row)
{
    return WIRE_HAS(row, row, owner) && WIRE_HAS(row, row, key) && !WIRE_HAS(row, row, source) && !WIRE_HAS(row, row, seq);
}

static void
refuse(struct batch *batch, struct record *record, err code, const char *why)
{
    record->item.outcome = &record->outcome;
    item_refuse(batch, &record->item, code, "%s", why);
}

static const char *const never_here = "this actor never had such a row: it does not follow that source, or has not come so far";
static const char *const is_aside = "the row was put aside; restore it first";
static const char *const is_tried = "the row is being tried now; ask again";

static err
retry_event(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct actor *actor = batch->actor;
    struct inbox_event *event = arena_alloc(&actor->arena, sizeof *event);
    struct inbox_place place;
    err code = inbox_find_parked(actor->parts.inbox, &actor->arena, row->source, row->seq, event, &place);
    if (code != ERR_ok) {
        return code;
    }
    switch (place.found) {
    case INBOX_FOUND_HEAD:
        if (records_have_event(&actor->records, event)) {
            say_waiting(batch, record, place.head);
            break;
        }
        become_row(actor, record);
        record_take_event(actor, record, event);
        break;
    case INBOX_FOUND_BEHIND:
        say_waiting(batch, record, place.head);
        break;
    case INBOX_FOUND_DISCARDED:
        refuse(batch, record, ERR_letter_closed, is_aside);
        break;
    case INBOX_FOUND_NONE:
        rows_say_word(batch, record, "gone");
        break;
    case INBOX_FOUND_NEVER:
        refuse(batch, record, ERR_not_found, never_here);
        break;
    }
    return ERR_ok;
}

static err
retry_due(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct actor *actor = batch->actor;
    struct due_row *due = arena_alloc(&actor->arena, sizeof *due);
    bool is_there = false;
    err code = due_rows_find(actor->parts.due_rows, &actor->arena, row->owner, row->key, due, &is_there);
    if (code != ERR_ok) {
        return code;
    }
    bool is_party = is_there && actor->peers.outcalls != NULL && slice_equal(row->owner, slice_of(OUTCALLS_OWNER));
    if (!is_there) {
        rows_say_word(batch, record, "gone");
    } else if (due->due_ms == DUE_ASIDE) {
        refuse(batch, record, ERR_letter_closed, is_aside);
    } else if (is_party || due_is_turn(due->due_ms)) {
        rows_say_held(batch, record);
    } else if (due->due_ms != DUE_NEVER || records_have_due(&actor->records, row->owner, row->key)) {
        rows_say_word(batch, record, "started"); /* it goes by itself, or for somebody else */
    } else {
        struct id item = id_derive(&record->item.id, "retry");
        become_row(actor, record);
        record_take_due(record, due, &item);
    }
    return ERR_ok;
}

/* The row that is asked for; NULL: this record asks for none. */
static const struct wire_row *
row_of_retry(const struct record *record)
{
    bool is_retry = record->item.kind == ITEM_REQUEST && record->item.op == OP_any_retry && record->folded_into < 0 &&
                    record->outcome.status == ERR_COUNT;
    return is_retry ? record->item.body : NULL;
}

/* A replay asks for many rows of one source: one read for all of them. */
static err
read_ahead(struct actor *actor)
{
    int64_t *seqs = NULL;
    struct slice source = {0};
    size_t count = 0;
    for (size_t i = 0; i < actor->records.count; i++) {
        const struct wire_row *row = row_of_retry(&actor->records.list[i]);
        if (row == NULL || !is_event_row(row)) {
            continue;
        }
        if (seqs == NULL) {
            source = row->source;
            seqs = arena_alloc(&actor->arena, actor->records.count * sizeof *seqs);
        }
        if (slice_equal(row->source, source)) {
            seqs[count++] = row->seq;
        }
    }
    return count < 2 ? ERR_ok : inbox_read_ahead(actor->parts.inbox, &actor->arena, source, seqs, count);
}

static err
take_retry(struct batch *batch, struct record *record, const struct wire_row *row)
{
    if (is_event_row(row)) {
        return retry_event(batch, record, row);
    }
    if (is_due_row(row)) {
        return retry_due(batch, record, row);
    }
    refuse(batch, record, ERR_invalid_field, "row: either source and seq, or owner and key");
    return ERR_ok;
}

err
row_requests_take(struct actor *actor, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    actor->records.retry_count = 0;
    if (actor->db == NULL) {
        return ERR_ok;
    }
    err code = read_ahead(actor);
    for (size_t i = 0; code == ERR_ok && i < actor->records.count; i++) {
        const struct wire_row *row = row_of_retry(&actor->records.list[i]);
        code = row == NULL ? ERR_ok : take_retry(&batch, &actor->records.list[i], row);
    }
    err forgotten = inbox_read_ahead(actor->parts.inbox, &actor->arena, (struct slice){0}, NULL, 0);
    return code == ERR_ok ? forgotten : code;
}

/* --- any.edit, any.discard, any.restore --- */

/* Edits a body; only a parked event has one that is known here. */
static err
edit_event(struct batch *batch, struct record *record, const struct inbox_event *event, struct slice body)
{
    struct err_text why = {"events of this type are not known here"};
    if (event->type == EVENT_COUNT) {
        refuse(batch, record, ERR_not_editable, why.text);
        return ERR_ok;
    }
    void *target = batch_alloc(batch, wire_events[event->type].body->size);
    err code = wire_decode(wire_events[event->type].body, body, target, &why);
    if (code != ERR_ok) {
        refuse(batch, record, code, why.text);
        return ERR_ok;
    }
    rows_say_word(batch, record, "edited");
    return inbox_edit_parked(batch->actor->parts.inbox, event, body);
}

static err
change_event(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct inbox *inbox = batch->actor->parts.inbox;
    const struct item *item = &record->item;
    struct inbox_event event;
    struct inbox_place place;
    err code = inbox_find_parked(inbox, &batch->actor->arena, row->source, row->seq, &event, &place);
    if (code != ERR_ok) {
        return code;
    }
    if (place.found == INBOX_FOUND_NEVER) {
        refuse(batch, record, ERR_not_found, never_here);
        return ERR_ok;
    }
    if (place.found == INBOX_FOUND_NONE) {
        rows_say_word(batch, record, "gone");
        return ERR_ok;
    }
    if (records_have_event(&batch->actor->records, &event)) {
        refuse(batch, record, ERR_unavailable, is_tried);
        return ERR_ok;
    }
    if (item->op == OP_any_edit) {
        return edit_event(batch, record, &event, ((const struct wire_row_edit *)item->body)->body);
    }
    if (item->op == OP_any_restore) {
        rows_say_word(batch, record, "restored");
        return inbox_restore_parked(inbox, &event);
    }
    const struct wire_row_discard *discard = item->body;
    rows_say_word(batch, record, "discarded");
    return inbox_discard_parked(inbox, &event, WIRE_HAS(discard, row_discard, is_final) && discard->is_final);
}

static err
change_due(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct actor *actor = batch->actor;
    const struct item *item = &record->item;
    struct due_row due;
    bool is_there = false;
    err code = due_rows_find(actor->parts.due_rows, &actor->arena, row->owner, row->key, &due, &is_there);
    if (code != ERR_ok) {
        return code;
    }
    if (item->op == OP_any_edit) {
        refuse(batch, record, ERR_not_editable, "only parked events can be edited");
    } else if (!is_there) {
        rows_say_word(batch, record, "gone");
    } else if (due.due_ms < DUE_ASIDE) {
        refuse(batch, record, ERR_letter_closed, "the row is being tried by itself again");
    } else if (records_have_due(&actor->records, row->owner, row->key)) {
        refuse(batch, record, ERR_unavailable, is_tried);
    } else if (item->op == OP_any_restore) {
        due.due_ms = DUE_NEVER;
        due_rows_keep(actor->parts.due_rows, &due);
        rows_say_word(batch, record, "restored");
    } else {
        const struct wire_row_discard *discard = item->body;
        bool is_final = WIRE_HAS(discard, row_discard, is_final) && discard->is_final;
        due.due_ms = is_final ? due.due_ms : DUE_ASIDE;
        if (is_final) {
            due_rows_fired(actor->parts.due_rows, &due);
        } else {
            due_rows_keep(actor->parts.due_rows, &due);
        }
        rows_say_word(batch, record, "discarded");
    }
    return ERR_ok;
}

err
row_request_answer(struct batch *batch, struct record *record)
{
    const struct item *item = &record->item;
    const struct wire_row *row = item->body;
    if (batch->actor->db == NULL) {
        refuse(batch, record, ERR_not_implemented, "this actor keeps no rows");
        return ERR_ok;
    }
    if (item->op == OP_any_retry) {
        refuse(batch, record, ERR_unavailable, "the row cannot be read now; ask again");
        return ERR_ok;
    }
    if (item->op == OP_any_edit) {
        row = &((const struct wire_row_edit *)item->body)->row;
    } else if (item->op == OP_any_discard) {
        row = &((const struct wire_row_discard *)item->body)->row;
    }
    if (is_event_row(row)) {
        return change_event(batch, record, row);
    }
    if (is_due_row(row)) {
        return change_due(batch, record, row);
    }
    refuse(batch, record, ERR_invalid_field, "row: either source and seq, or owner and key");
    return ERR_ok;
}
