/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What becomes of rows that were not finished: an event that fails is parked and tried again, and buried when its attempts
 *           are used up; the dlq is told until it has confirmed; and when the dlq asks, the row is tried, edited, put aside or taken
 *           back here, by whom it belongs to.
 *
 * MESSAGES  any.retry, any.edit, any.discard, any.restore in; dlq.bury out, one at a time
 *
 * STATE     None of its own: parked events (inbox.c), due rows (due_rows.c), letters to be sent (burials.c). A request to retry
 *           becomes its row's own item in the batch: it is handled, rolled back and run alone like any other, under the event's id,
 *           so that its effect is as idempotent as the event's. Its answer says what became of the row.
 *
 * FAILURES  A row that is retried and refused with RETRY is as before, and the asker is told so. A second request about a row, or a
 *           key, that this batch is trying is told to wait.
 *
 * LIMITS    HISTORY_MAX attempts are kept of each event: the first and the latest. Due rows cannot be edited: nobody but their owner
 *           knows what is in them. A due row that has a time of its own is neither fired early nor put aside.
 */
#include <stdio.h>

#include "actor_internal.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { HISTORY_MAX = 20, BURY_TIMEOUT_MS = 2000 };

/* --- answers --- */

static void
say(struct batch *batch, struct record *record, const struct wire_row_outcome *outcome)
{
    struct item_outcome *answer = record_answer(record);
    answer->status = ERR_ok;
    answer->frame = arena_encode(&batch->actor->arena, &row_outcome_body, outcome);
}

static void
say_word(struct batch *batch, struct record *record, const char *word)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of(word));
    say(batch, record, &outcome);
}

void
rows_say_failed(struct batch *batch, struct record *record, err status, const char *error, int64_t attempts)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("failed"));
    WIRE_SET(&outcome, row_outcome, status, slice_of(err_symbol(replies_public_status(status))));
    WIRE_SET(&outcome, row_outcome, error, slice_of(error));
    WIRE_SET(&outcome, row_outcome, attempts, attempts);
    say(batch, record, &outcome);
}

/* It goes, now or when the outside party is back; that one is tried soon. */
static void
say_held(struct batch *batch, struct record *record)
{
    struct wire_row_outcome outcome = {0};
    struct slice why = {0};
    struct outcalls *outcalls = batch->actor->outcalls;
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("started"));
    if (outcalls != NULL && !outcalls_is_up(outcalls, &why)) {
        (void)outcalls_probe(outcalls);
        WIRE_SET(&outcome, row_outcome, held, why);
    }
    say(batch, record, &outcome);
}

/* --- charging --- */

/* The attempts of an event with one more; of many the first and the latest. */
static struct wire_list
add_attempt(struct batch *batch, const struct inbox_event *event, const char *reason)
{
    struct wire_list known = {.data = event->history.data, .size = event->history.size, .count = (uint32_t)event->history_count};
    struct wire_list kept = {0};
    struct wire_buffer elements = {0};
    struct wire_letter_attempt attempt;
    int64_t surplus = event->history_count + 1 - HISTORY_MAX;
    for (int64_t i = 0; wire_list_next(&known, &letter_attempt_body, &attempt); i++) {
        if (i == 0 || i > surplus) {
            wire_list_add(&kept, &letter_attempt_body, &attempt, &elements);
        }
    }
    attempt = (struct wire_letter_attempt){0};
    WIRE_SET(&attempt, letter_attempt, time, batch->now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(reason));
    wire_list_add(&kept, &letter_attempt_body, &attempt, &elements);
    kept.data = arena_copy(&batch->actor->arena, wire_buffer_slice(&elements)).data;
    wire_buffer_fini(&elements);
    return kept;
}

static void
bury(struct batch *batch, const struct inbox_event *event, const struct blame *charge, const struct inbox_failure *failure)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, batch_letter_id(batch, &event->header.id));
    WIRE_SET(&burial, burial, kind, slice_of("event"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(replies_public_status(charge->status))));
    WIRE_SET(&burial, burial, error, slice_of(charge->reason));
    WIRE_SET(&burial, burial, attempts, failure->attempts);
    WIRE_SET(&burial, burial, first, failure->first_ms);
    WIRE_SET(&burial, burial, last, batch->now_ms);
    WIRE_SET(
        &burial, burial, history,
        (struct wire_list){.data = failure->history.data, .size = failure->history.size, .count = (uint32_t)failure->history_count});
    WIRE_SET(&burial, burial, key, event->header.key);
    WIRE_SET(&burial, burial, type, event->header.type);
    WIRE_SET(&burial, burial, source, event->header.source);
    WIRE_SET(&burial, burial, seq, event->header.seq);
    WIRE_SET(&burial, burial, header, event->header_frame);
    WIRE_SET(&burial, burial, body, event->body_frame);
    if (WIRE_HAS(&event->header, event_header, traceparent)) {
        WIRE_SET(&burial, burial, traceparent, event->header.traceparent);
    }
    batch_bury(batch, &burial);
    char group[WIRE_NAME_MAX + 16];
    (void)snprintf(group, sizeof group, "%.*s", (int)event->header.source.size, (const char *)event->header.source.data);
    log_often(LOG_LEVEL_ERROR, "event_cannot_be_applied", group, LOG_SLICE("source", event->header.source),
              LOG_I64("seq", event->header.seq), LOG_SLICE("key", event->header.key), LOG_TEXT("reason", charge->reason),
              LOG_I64("attempts", failure->attempts), LOG_ID("req", &event->header.id), LOG_ID("letter", &burial.letter));
}

err
rows_charge(struct batch *batch, struct record *record, const struct blame *charge)
{
    const struct inbox_event *event = record->event;
    const struct actor *actor = batch->actor;
    struct wire_list history = add_attempt(batch, event, charge->reason);
    struct inbox_failure failure = {.attempts = event->attempts + charge->attempts,
                                    .due_ms = INT64_MAX,
                                    .reason = charge->reason,
                                    .first_ms = event->first_ms == 0 ? batch->now_ms : event->first_ms,
                                    .history = {history.data, history.size},
                                    .history_count = history.count};
    failure.is_buried = charge->is_final || event->state == PARKED_BURIED || failure.attempts >= actor->settings->retry_attempts;
    if (!failure.is_buried) {
        failure.due_ms = batch->now_ms + batch_backoff_ms(batch, failure.attempts);
    }
    err code = inbox_park(actor->inbox, event, &failure);
    if (code == ERR_ok && failure.is_buried) {
        bury(batch, event, charge, &failure);
    }
    if (record->retry != NULL) {
        rows_say_failed(batch, record, charge->status, charge->reason, failure.attempts);
    }
    return code;
}

static err
charge_refusal(struct batch *batch, struct record *record)
{
    struct wire_problem problem;
    struct err_text why;
    if (wire_decode(&problem_body, record->outcome.frame, &problem, &why) != ERR_ok) {
        return ERR_internal;
    }
    char reason[ERR_TEXT_MAX + WIRE_NAME_MAX];
    snprintf(reason, sizeof reason, "%s: %.*s", err_symbol(record->outcome.status), (int)problem.detail.size,
             (const char *)problem.detail.data);
    return rows_charge(batch, record, &(struct blame){.status = record->outcome.status, .reason = reason, .attempts = 1});
}

static void
settle_applied(struct batch *batch, struct record *record)
{
    struct actor *actor = batch->actor;
    const struct inbox_event *event = record->event;
    if (record->is_follower) {
        return;
    }
    inbox_applied_event(actor->inbox, event);
    if (event->state == PARKED_BURIED) {
        /* Whoever asked: the dlq hears it in its answer, but another's answer it would never hear. */
        struct id letter = batch_letter_id(batch, &event->header.id);
        batch_settle(batch, &letter);
    }
    if (record->retry != NULL) {
        say_word(batch, record, "done");
    }
}

/* A due row that was fired because somebody asked: refused, it is what it was. */
static void
settle_due(struct batch *batch, struct record *record)
{
    const struct due_row *row = record->due;
    err status = record->outcome.status;
    if (status == ERR_ok || status == ERR_COUNT) {
        say_held(batch, record);
        return;
    }
    due_rows_keep(batch->actor->due_rows, row);
    if (err_disposition(status) == ERR_RETRY) {
        record->retry->outcome = record->outcome;
        return;
    }
    struct wire_problem problem = {0};
    struct err_text why;
    char error[ERR_TEXT_MAX] = "";
    if (wire_decode(&problem_body, record->outcome.frame, &problem, &why) == ERR_ok) {
        snprintf(error, sizeof error, "%.*s", (int)problem.detail.size, (const char *)problem.detail.data);
    }
    rows_say_failed(batch, record, status, error, row->attempts);
}

/* Many that are refused in a row are not at fault themselves. */
static err
judge_refusal(struct batch *batch, struct record *record)
{
    switch (inbox_judge(batch->actor->inbox, record->event, batch->now_ms)) {
    case INBOX_CHARGE:
        return charge_refusal(batch, record);
    case INBOX_PROBED:
        return ERR_ok;
    case INBOX_ALONE:
        return ERR_unavailable;
    }
    return ERR_internal;
}

/* Whether an event behind this one, of its key, was handled as if this one had not failed. */
static bool
is_overtaken(const struct record *record, size_t behind)
{
    const struct inbox_event *event = record->event;
    for (size_t i = 1; event->header.key.size > 0 && i <= behind; i++) {
        const struct inbox_event *other = record[i].event;
        if (other != NULL && !record[i].is_follower && other->stream == event->stream &&
            slice_equal(other->header.key, event->header.key)) {
            return true;
        }
    }
    return false;
}

err
rows_settle(struct batch *batch, struct record *record, size_t behind)
{
    err status = record->outcome.status;
    if (record->event == NULL) {
        if (record->due != NULL && record->retry != NULL) {
            settle_due(batch, record);
        }
        return ERR_ok;
    }
    if (status == ERR_ok || status == ERR_COUNT) {
        settle_applied(batch, record);
        return ERR_ok;
    }
    if (err_disposition(status) != ERR_RETRY) {
        return is_overtaken(record, behind) ? ERR_unavailable : judge_refusal(batch, record);
    }
    if (record->retry != NULL) {
        record->retry->outcome = record->outcome;
        return ERR_ok;
    }
    if (record->event->is_parked) {
        inbox_hold(batch->actor->inbox, record->event, batch->now_ms + batch_backoff_ms(batch, 1));
        return ERR_ok;
    }
    return ERR_unavailable;
}

/* --- any.retry --- */

static void
say_waiting(struct batch *batch, struct record *record, int64_t behind)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("waiting"));
    if (behind > 0) {
        WIRE_SET(&outcome, row_outcome, behind, behind);
    }
    say(batch, record, &outcome);
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
    err code = inbox_find_parked(actor->inbox, &actor->arena, row->source, row->seq, event, &place);
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
        say_word(batch, record, "gone");
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
    err code = due_rows_find(actor->due_rows, &actor->arena, row->owner, row->key, due, &is_there);
    if (code != ERR_ok) {
        return code;
    }
    bool is_party = is_there && actor->outcalls != NULL && slice_equal(row->owner, slice_of(OUTCALLS_OWNER));
    if (!is_there) {
        say_word(batch, record, "gone");
    } else if (due->due_ms == DUE_ASIDE) {
        refuse(batch, record, ERR_letter_closed, is_aside);
    } else if (is_party || due_is_turn(due->due_ms)) {
        say_held(batch, record);
    } else if (due->due_ms != DUE_NEVER || records_have_due(&actor->records, row->owner, row->key)) {
        say_word(batch, record, "started"); /* it goes by itself, or for somebody else */
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
    return count < 2 ? ERR_ok : inbox_read_ahead(actor->inbox, &actor->arena, source, seqs, count);
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
rows_take_retries(struct actor *actor, int64_t now_ms)
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
    err forgotten = inbox_read_ahead(actor->inbox, &actor->arena, (struct slice){0}, NULL, 0);
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
    say_word(batch, record, "edited");
    return inbox_edit_parked(batch->actor->inbox, event, body);
}

static err
change_event(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct inbox *inbox = batch->actor->inbox;
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
        say_word(batch, record, "gone");
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
        say_word(batch, record, "restored");
        return inbox_restore_parked(inbox, &event);
    }
    const struct wire_row_discard *discard = item->body;
    say_word(batch, record, "discarded");
    return inbox_discard_parked(inbox, &event, WIRE_HAS(discard, row_discard, is_final) && discard->is_final);
}

static err
change_due(struct batch *batch, struct record *record, const struct wire_row *row)
{
    struct actor *actor = batch->actor;
    const struct item *item = &record->item;
    struct due_row due;
    bool is_there = false;
    err code = due_rows_find(actor->due_rows, &actor->arena, row->owner, row->key, &due, &is_there);
    if (code != ERR_ok) {
        return code;
    }
    if (item->op == OP_any_edit) {
        refuse(batch, record, ERR_not_editable, "only parked events can be edited");
    } else if (!is_there) {
        say_word(batch, record, "gone");
    } else if (due.due_ms < DUE_ASIDE) {
        refuse(batch, record, ERR_letter_closed, "the row is being tried by itself again");
    } else if (records_have_due(&actor->records, row->owner, row->key)) {
        refuse(batch, record, ERR_unavailable, is_tried);
    } else if (item->op == OP_any_restore) {
        due.due_ms = DUE_NEVER;
        due_rows_keep(actor->due_rows, &due);
        say_word(batch, record, "restored");
    } else {
        const struct wire_row_discard *discard = item->body;
        bool is_final = WIRE_HAS(discard, row_discard, is_final) && discard->is_final;
        due.due_ms = is_final ? due.due_ms : DUE_ASIDE;
        if (is_final) {
            due_rows_fired(actor->due_rows, &due);
        } else {
            due_rows_keep(actor->due_rows, &due);
        }
        say_word(batch, record, "discarded");
    }
    return ERR_ok;
}

err
rows_answer(struct batch *batch, struct record *record)
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

/* --- burials on their way --- */

err
rows_send_burials(struct actor *actor, int64_t now_ms)
{
    if (actor->burials == NULL || gather_is_paused(actor, now_ms) || burials_next_ms(actor->burials) > now_ms) {
        return ERR_ok;
    }
    struct slice frame;
    err code = burials_next(actor->burials, &actor->arena, &frame);
    if (code != ERR_ok || frame.size == 0) {
        return code;
    }
    struct ask_sent ask = {.id = id_new(), .deadline_ms = now_ms + BURY_TIMEOUT_MS, .op = OP_dlq_bury, .owner = ASK_OF_BURIALS};
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, ask.id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[OP_dlq_bury].name));
    WIRE_SET(&header, request_header, deadline, ask.deadline_ms);
    asks_send(actor->asks, "dlq", 0, &ask, arena_encode(&actor->arena, &request_header_body, &header), frame);
    return ERR_ok;
}
