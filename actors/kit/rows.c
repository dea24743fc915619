/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What becomes of rows that were not finished: an event that fails is parked and tried again, and buried when its attempts
 *           are used up; a due row that is given up is buried, and fires only when somebody asks for it. Of a row that is tried
 *           because somebody asked, the answer says what became of it.
 *
 * STATE     None of its own: parked events (inbox.c), due rows (due_rows.c), letters to be sent (burials.c).
 *
 * FAILURES  A row that is retried and refused with RETRY is as before, and the asker is told so.
 *
 * LIMITS    HISTORY_MAX attempts are kept of each event: the first and the latest.
 */
#include <stdio.h>

#include "actor_internal.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { HISTORY_MAX = 20 };

/* --- answers --- */

void
rows_say(struct batch *batch, struct record *record, const struct wire_row_outcome *outcome)
{
    struct item_outcome *answer = record_answer(record);
    answer->status = ERR_ok;
    answer->frame = arena_encode(&batch->actor->arena, &row_outcome_body, outcome);
}

void
rows_say_word(struct batch *batch, struct record *record, const char *word)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of(word));
    rows_say(batch, record, &outcome);
}

void
rows_say_failed(struct batch *batch, struct record *record, err status, const char *error, int64_t attempts)
{
    struct wire_row_outcome outcome = {0};
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("failed"));
    WIRE_SET(&outcome, row_outcome, status, slice_of(err_symbol(replies_public_status(status))));
    WIRE_SET(&outcome, row_outcome, error, slice_of(error));
    WIRE_SET(&outcome, row_outcome, attempts, attempts);
    rows_say(batch, record, &outcome);
}

void
rows_say_held(struct batch *batch, struct record *record)
{
    struct wire_row_outcome outcome = {0};
    struct slice why = {0};
    struct outcalls *outcalls = batch->actor->peers.outcalls;
    WIRE_SET(&outcome, row_outcome, outcome, slice_of("started"));
    if (outcalls != NULL && !outcalls_is_up(outcalls, &why)) {
        (void)outcalls_probe(outcalls);
        WIRE_SET(&outcome, row_outcome, held, why);
    }
    rows_say(batch, record, &outcome);
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
    err code = inbox_park(actor->parts.inbox, event, &failure);
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
    inbox_applied_event(actor->parts.inbox, event);
    if (event->state == PARKED_BURIED) {
        /* Whoever asked: the dlq hears it in its answer, but another's answer it would never hear. */
        struct id letter = batch_letter_id(batch, &event->header.id);
        batch_settle(batch, &letter);
    }
    if (record->retry != NULL) {
        rows_say_word(batch, record, "done");
    }
}

/* --- due rows --- */

/* The key of a due row as a person reads it. */
static struct slice
readable_key(struct batch *batch, const struct due_row *due)
{
    if (due->key.size == ID_SIZE) {
        struct id id;
        memcpy(id.bytes, due->key.data, ID_SIZE);
        char *text = batch_alloc(batch, ID_TEXT_SIZE);
        id_format(&id, text);
        return slice_of(text);
    }
    return wire_is_utf8(due->key) ? due->key : (struct slice){0};
}

static struct id
letter_of_due(const struct batch *batch, const struct due_row *due)
{
    struct trial_name name = trial_name_of_due(due->owner, due->key);
    struct id what = id_of_bytes(name.bytes, name.size);
    return batch_letter_id(batch, &what);
}

void
rows_set_due(struct batch *batch, const struct due_row *due, int64_t due_ms, int64_t attempts)
{
    char *owner = batch_alloc(batch, due->owner.size + 1);
    memcpy(owner, due->owner.data, due->owner.size);
    owner[due->owner.size] = '\0';
    due_rows_fired(batch->actor->parts.due_rows, due);
    batch_due(batch, &(struct due){.owner = owner, .key = due->key, .due_ms = due_ms, .attempts = attempts, .payload = due->payload});
}

void
rows_bury_due(struct batch *batch, const struct due_row *due, const struct blame *charge)
{
    char *type = batch_alloc(batch, WIRE_NAME_MAX + 1);
    int64_t attempts = due->attempts + charge->attempts;
    snprintf(type, WIRE_NAME_MAX + 1, "%.30s.%.*s", batch->actor->class->name, (int)due->owner.size, (const char *)due->owner.data);
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, letter_of_due(batch, due));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(replies_public_status(charge->status))));
    WIRE_SET(&burial, burial, error, slice_of(charge->reason));
    WIRE_SET(&burial, burial, attempts, attempts);
    WIRE_SET(&burial, burial, first, batch->now_ms);
    WIRE_SET(&burial, burial, last, batch->now_ms);
    WIRE_SET(&burial, burial, history, (struct wire_list){0});
    WIRE_SET(&burial, burial, key, readable_key(batch, due));
    WIRE_SET(&burial, burial, type, slice_of(type));
    WIRE_SET(&burial, burial, owner, due->owner);
    WIRE_SET(&burial, burial, due_key, due->key);
    batch_bury(batch, &burial);
    rows_set_due(batch, due, DUE_NEVER, attempts);
}

/* One that was given up once is done at last, and its letter with it. */
static void
settle_given_up(struct batch *batch, const struct record *record)
{
    const struct trial *trial = batch->actor->parts.trial;
    if (!trial_is_entered(trial) || record->outcome.status != ERR_COUNT) {
        return;
    }
    struct trial_name name = trial_name_of_due(record->due->owner, record->due->key);
    if (trial_is_convict(trial, &name)) {
        struct id letter = letter_of_due(batch, record->due);
        batch_settle(batch, &letter);
    }
}

/* A due row that was fired because somebody asked: refused, it is what it was. */
static void
settle_due(struct batch *batch, struct record *record)
{
    const struct due_row *row = record->due;
    err status = record->outcome.status;
    if (status == ERR_ok || status == ERR_COUNT) {
        rows_say_held(batch, record);
        return;
    }
    due_rows_keep(batch->actor->parts.due_rows, row);
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
    switch (inbox_judge(batch->actor->parts.inbox, record->event, batch->now_ms)) {
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
        if (record->due != NULL) {
            settle_given_up(batch, record);
        }
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
        inbox_hold(batch->actor->parts.inbox, record->event, batch->now_ms + batch_backoff_ms(batch, 1));
        return ERR_ok;
    }
    return ERR_unavailable;
}
