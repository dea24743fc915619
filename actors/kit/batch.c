/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One batch from the decoded messages to the answers: recall, handle, outbox, cursors, due rows, the shard's proof, commit,
 *           and only then replies, events, asks, calls and works.
 *
 * STATE     The records of the actor, the effects that wait for the commit, and a copy of the items that the class sees: requests
 *           without an answer yet, events in order, due rows, replies. Everything of a batch lies in the actor's arena.
 *
 * FAILURES  A lost connection: the shard is taken again, and its batch number says whether the commit happened. A violated key: the
 *           ids of the batch are looked up together, and it runs once more as a whole. Once more a violated key, a busy row, a
 *           refused value, an answer or event that cannot be said: everything is rolled back, and the records run again one by one,
 *           each looked up first, so that only the culprit fails. A full or read-only database: everybody is told `unavailable`. A
 *           stale shard: nobody is answered and the actor ends.
 *
 * LIMITS    A request that fails alone for want of a lock is told `unavailable`; one that fails otherwise, `internal`. Running one by
 *           one takes ALONE_MAX_MS at the most, then the rest is told `unavailable`.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "actor_internal.h"
#include "backoff.h"
#include "clock.h"
#include "log.h"
#include "log_often.h"

enum { ALONE_MAX_MS = 4000, FAILURE_PAUSE_MS = 1000, FULL_SAID_MS = 1000, PROOF_MAX_AGE_MS = 1000, PROOF_IDLE_AGE_MS = 450 };

/* --- small things --- */

struct record *
batch_add(struct actor *actor)
{
    if (actor->record_count == actor->record_capacity) {
        return NULL;
    }
    struct record *record = &actor->records[actor->record_count++];
    record->item = (struct item){0};
    record->outcome = (struct item_outcome){.status = ERR_COUNT};
    record->given = record->outcome;
    record->has_message = false;
    record->is_again = false;
    record->folded_into = -1;
    record->is_other = false;
    record->retry = NULL;
    record->event = NULL;
    record->is_follower = false;
    record->due = NULL;
    record->ask = NULL;
    record->work = NULL;
    return record;
}

static bool
is_write(const struct record *record)
{
    return record->item.kind == ITEM_REQUEST && (wire_ops[record->item.op].traits & OP_WRITES) != 0;
}

/* Whether its answer is kept and looked up under its id. */
static bool
is_kept(const struct record *record)
{
    return is_write(record) && (wire_ops[record->item.op].traits & OP_REPEATS) == 0;
}

/* Its effect may come in a later batch, which a violated key could not send back to be looked up. */
static bool
is_waiting(const struct record *record)
{
    return (wire_ops[record->item.op].traits & OP_WAITS) != 0;
}

/* --- the kit's own requests --- */

static void
answer_ping(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    struct pong pong = {0};
    WIRE_SET(&pong, pong, actor, slice_of(actor->class->name));
    WIRE_SET(&pong, pong, shard, actor->shard_number);
    WIRE_SET(&pong, pong, of, actor->of);
    WIRE_SET(&pong, pong, version, slice_of(LARDER_VERSION));
    if (actor->db != NULL) {
        WIRE_SET(&pong, pong, incarnation, actor->shard.incarnation);
        WIRE_SET(&pong, pong, seq, actor->shard.seq);
    }
    item_answer(batch, item, &pong);
}

/* Begins behind the commit of this batch. A pause never outlives its asker for long: it ends by itself. */
static void
answer_pause(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    const struct pause *pause = item->body;
    if (item->role != ROLE_OPERATOR) {
        item_refuse(batch, item, ERR_forbidden, "any.pause is the operator's");
        return;
    }
    struct paused paused = {0};
    WIRE_SET(&paused, paused, is_held, actor->is_held);
    if (actor->db != NULL) {
        WIRE_SET(&paused, paused, incarnation, actor->shard.incarnation);
        WIRE_SET(&paused, paused, epoch, actor->shard.epoch);
        WIRE_SET(&paused, paused, batch, actor->shard.batch);
        WIRE_SET(&paused, paused, seq, actor->shard.seq);
    }
    actor->held_until_us = pause->for_ms == 0 ? 0 : clock_steady_us() + pause->for_ms * 1000;
    item_answer(batch, item, &paused);
}

/* Rows of parked events that the batch changes are not to be forgotten in it as well. */
static bool
has_parked_event(const struct actor *actor)
{
    for (size_t i = 0; i < actor->record_count; i++) {
        if (actor->records[i].event != NULL && actor->records[i].event->is_parked) {
            return true;
        }
    }
    return false;
}

static err
answer_resolve(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    const struct incident_resolve *asked = item->body;
    struct err_text why = {""};
    struct slice words = {0};
    if (item->role != ROLE_OPERATOR) {
        item_refuse(batch, item, ERR_forbidden, "any.resolve is the operator's");
        return ERR_ok;
    }
    if (actor->db == NULL) {
        item_refuse(batch, item, ERR_not_implemented, "%s follows nobody", actor->name);
        return ERR_ok;
    }
    struct inbox_decision decision = {.incident = asked->incident, .reason = asked->reason, .now_ms = batch->now_ms};
    decision.author = WIRE_HAS(asked, incident_resolve, author) ? asked->author : slice_of("");
    decision.is_decided = !(WIRE_HAS(asked, incident_resolve, dry_run) && asked->dry_run);
    err code = has_parked_event(actor) ? err_say(&why, ERR_unavailable, "parked events are tried just now; ask again")
                                       : inbox_resolve(actor->inbox, &actor->arena, &decision, &words, &why);
    if (code != ERR_ok && replies_public_status(code) != code) {
        return code;
    }
    if (code != ERR_ok) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    struct incident_resolved resolved = {0};
    WIRE_SET(&resolved, incident_resolved, done, words);
    item_answer(batch, item, &resolved);
    return ERR_ok;
}

/* Who has left under this id has left. The subscriber is gone then, so nothing else tells it from one that never was. */
static err
unsubscribe(struct batch *batch, struct item *item, struct err_text *why)
{
    struct actor *actor = batch->actor;
    struct answer before;
    size_t found = 0;
    const struct nothing nothing = {0};
    err code = answers_find(actor->answers, &actor->arena, &item->id, 1, &before, &found);
    if (code == ERR_ok && found > 0) {
        item_replay(batch, item, &before.fingerprint, before.status, before.frame);
        return ERR_ok;
    }
    if (code == ERR_ok) {
        code = source_unsubscribe(actor->source, item->body, why);
    }
    if (code == ERR_ok) {
        item_answer(batch, item, &nothing);
        answers_add(actor->answers,
                    &(struct answer){
                        .request = item->id, .fingerprint = item->fingerprint, .status = ERR_ok, .frame = item_answered_frame(item)},
                    batch->now_ms);
    }
    return code;
}

static err
answer_stream(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    struct err_text why = {""};
    struct fetched fetched = {0};
    struct subscribed subscribed = {0};
    struct nothing nothing = {0};
    const void *reply = &nothing;
    err code = ERR_ok;
    if (actor->source == NULL) {
        item_refuse(batch, item, ERR_not_implemented, "%s publishes no events", actor->name);
        return ERR_ok;
    }
    if (item->op == OP_any_fetch) {
        code = source_fetch(actor->source, &actor->arena, item->body, &fetched, &why);
        reply = &fetched;
    } else if (item->op == OP_any_subscribe) {
        code = source_subscribe(actor->source, item->body, &subscribed, &why);
        reply = &subscribed;
    } else if (item->op == OP_any_unsubscribe) {
        code = unsubscribe(batch, item, &why);
    }
    if (code == ERR_ok && item_outcome(item) == ERR_COUNT) {
        item_answer(batch, item, reply);
    } else if (code == ERR_ok) {
        return ERR_ok;
    } else if (replies_public_status(code) == code) {
        item_refuse(batch, item, code, "%s", why.text);
        code = ERR_ok;
    }
    return code;
}

static err
answer_own(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        struct item *item = &record->item;
        bool is_own = item->kind == ITEM_REQUEST && record->outcome.status == ERR_COUNT && record->folded_into < 0 &&
                      strcmp(wire_ops[item->op].owner, "any") == 0;
        if (!is_own) {
            continue;
        }
        item->outcome = &record->outcome;
        err code = ERR_ok;
        if (item->op == OP_any_ping) {
            answer_ping(batch, item);
        } else if (item->op == OP_any_pause) {
            answer_pause(batch, item);
        } else if (item->op == OP_any_resolve) {
            code = answer_resolve(batch, item);
        } else if (item->op == OP_any_fetch || item->op == OP_any_subscribe || item->op == OP_any_unsubscribe) {
            code = answer_stream(batch, item);
        } else {
            code = rows_answer(batch, record);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    (void)actor;
    return ERR_ok;
}

/* --- the way of a batch --- */

/* The requests that the class still has to see, and everything that is no request. */
static size_t
view(struct actor *actor, struct record *records, size_t count, bool only_asked_again)
{
    size_t seen = 0;
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        if (record->outcome.status != ERR_COUNT || record->folded_into >= 0) {
            continue;
        }
        if (only_asked_again &&
            !(is_kept(record) && (record->item.again || actor->is_forced || actor->is_looked_up || is_waiting(record)))) {
            continue;
        }
        actor->items[seen] = record->item;
        actor->items[seen].outcome = &record->outcome;
        seen++;
    }
    return seen;
}

static err
recall_answers(struct actor *actor, struct batch *batch)
{
    struct id *ids = batch_alloc(batch, (batch->count + 1) * sizeof *ids);
    struct answer *found = batch_alloc(batch, (batch->count + 1) * sizeof *found);
    size_t found_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        ids[i] = batch->items[i].id;
    }
    err code = answers_find(actor->answers, &actor->arena, ids, batch->count, found, &found_count);
    for (size_t i = 0; code == ERR_ok && i < found_count; i++) {
        for (size_t k = 0; k < batch->count; k++) {
            if (id_equal(&batch->items[k].id, &found[i].request)) {
                item_replay(batch, &batch->items[k], &found[i].fingerprint, found[i].status, found[i].frame);
            }
        }
    }
    return code;
}

/* A request whose earlier attempt waits for a peer is not begun a second time: its answer will be stored under the same id. */
static void
refuse_waiting(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    for (const struct waiter *waiter = actor->waiters_waiting; waiter != NULL; waiter = waiter->next) {
        for (size_t i = 0; i < count; i++) {
            struct record *record = &records[i];
            if (is_write(record) && record->outcome.status == ERR_COUNT && id_equal(&record->item.id, &waiter->id)) {
                record->item.outcome = &record->outcome;
                item_refuse(batch, &record->item, ERR_unavailable, "an earlier attempt is under way; ask again with the same id");
            }
        }
    }
}

/* What is asked again is looked up before anything else: one read for all. */
static err
recall(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    if (actor->db == NULL) {
        return ERR_ok;
    }
    batch->count = view(actor, records, count, true);
    if (batch->count == 0) {
        return ERR_ok;
    }
    return actor->class->recall == NULL ? recall_answers(actor, batch) : actor->class->recall(actor->state, batch);
}

/* Whether a first attempt's refusal may be the echo of its own effect: somebody asked again and did not say so. A shelf that is
 * sold out is answered from memory, and what may not be asked was not asked with success before. */
static bool
may_be_echo(const struct actor *actor, const struct record *record)
{
    err status = record->outcome.status;
    return is_kept(record) && record->folded_into < 0 && record->given.status == ERR_COUNT && status < ERR_COUNT &&
           err_disposition(status) == ERR_REFUSE && !actor->is_looked_up &&
           !(status == ERR_out_of_stock && (wire_ops[record->item.op].traits & OP_SOLD_OUT) != 0) && status != ERR_forbidden &&
           status != ERR_idempotency_mismatch && !record->outcome.is_replayed && !record->item.again && !actor->is_forced &&
           !is_waiting(record) && strcmp(wire_ops[record->item.op].owner, "any") != 0;
}

/* Before a refusal of a first attempt leaves, its id is looked up: one read for all. What was done under it is answered. */
static err
recall_refused(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    struct item_outcome *refusals = NULL;
    size_t seen = 0;
    for (size_t i = 0; actor->db != NULL && i < count; i++) {
        if (!may_be_echo(actor, &records[i])) {
            continue;
        }
        if (refusals == NULL) {
            refusals = batch_alloc(batch, count * sizeof *refusals);
        }
        refusals[seen] = records[i].outcome;
        records[i].outcome = (struct item_outcome){.status = ERR_COUNT};
        actor->items[seen] = records[i].item;
        actor->items[seen].again = true;
        actor->items[seen].outcome = &records[i].outcome;
        seen++;
    }
    batch->count = seen;
    if (seen == 0) {
        return ERR_ok;
    }
    err code = actor->class->recall == NULL ? recall_answers(actor, batch) : actor->class->recall(actor->state, batch);
    for (size_t i = 0; i < seen; i++) {
        if (actor->items[i].outcome->status == ERR_COUNT) {
            *actor->items[i].outcome = refusals[i];
        }
    }
    return code;
}

/* Events that have to wait behind parked ones of their key never reach the class. */
static err
park_followers(struct actor *actor, struct record *records, size_t count)
{
    static const struct inbox_failure follows = {.due_ms = INT64_MAX, .reason = "waits behind an earlier event of its key"};
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        if (record->event != NULL && record->outcome.status != ERR_ok && inbox_must_park(actor->inbox, record->event)) {
            err code = inbox_park(actor->inbox, record->event, &follows);
            if (code != ERR_ok) {
                return code;
            }
            record->outcome.status = ERR_ok;
            record->is_follower = true;
        }
    }
    return ERR_ok;
}

static void
keep_answer(struct actor *actor, const struct record *record, int64_t now_ms)
{
    const struct item_outcome *outcome = &record->outcome;
    if (outcome->status == ERR_COUNT || outcome->status == ERR_idempotency_mismatch) {
        return; /* deferred, no request, or not the request that this id belongs to */
    }
    bool is_asked_again = record->item.again || actor->is_forced;
    bool is_final = outcome->status == ERR_ok || (is_asked_again && err_disposition(outcome->status) == ERR_REFUSE);
    if (is_kept(record) && record->folded_into < 0 && !outcome->is_replayed && outcome->waiter == NULL && is_final &&
        strcmp(wire_ops[record->item.op].owner, "any") != 0) {
        answers_add(actor->answers,
                    &(struct answer){.request = record->item.id,
                                     .fingerprint = record->item.fingerprint,
                                     .status = outcome->status,
                                     .frame = outcome->frame},
                    now_ms);
    }
}

static err
settle_records(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        if (actor->is_trying) {
            tried_settle(batch, record);
        }
        err code = rows_settle(batch, record, count - i - 1);
        if (code != ERR_ok) {
            return code;
        }
        if (record->item.kind == ITEM_REQUEST && record->folded_into < 0 && record->outcome.status == ERR_COUNT &&
            record->outcome.waiter == NULL) {
            log_error("request_without_outcome", LOG_TEXT("op", wire_ops[record->item.op].name), LOG_ID("req", &record->item.id));
            record->item.outcome = &record->outcome;
            item_refuse(batch, &record->item, ERR_internal, "%s ended without an answer", wire_ops[record->item.op].name);
        }
        if (batch_keeps_answers(actor)) {
            keep_answer(actor, record, batch->now_ms);
        }
    }
    return ERR_ok;
}

/* A duplicate request in a batch is answered as its first one; idempotency was decided when it was folded. */
static err
prepare(struct actor *actor, struct batch *batch, struct record *records, size_t count)
{
    err code = answer_own(actor, batch, records, count);
    if (code == ERR_ok && batch_keeps_answers(actor)) {
        refuse_waiting(actor, batch, records, count);
    }
    if (code == ERR_ok) {
        code = recall(actor, batch, records, count);
    }
    if (code == ERR_ok && actor->inbox != NULL) {
        code = park_followers(actor, records, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (records[i].due != NULL) {
            due_rows_fired(actor->due_rows, records[i].due);
        }
    }
    return code;
}

static err
commit(struct actor *actor, int64_t *events)
{
    *events = source_emitted(actor->source);
    err code = source_queue(actor->source);
    if (code == ERR_ok) {
        code = inbox_queue(actor->inbox);
    }
    if (code == ERR_ok) {
        code = answers_queue(actor->answers);
    }
    if (code == ERR_ok) {
        code = due_rows_queue(actor->due_rows);
    }
    if (code == ERR_ok) {
        code = burials_queue(actor->burials, &actor->arena);
    }
    if (code == ERR_ok && actor->is_trying) {
        code = trial_queue(actor->trial, &actor->tried_next);
    }
    if (code == ERR_ok && actor->arena.has_fault) {
        code = ERR_internal; /* what would be promised here cannot be said: an answer, an event, an ask or a letter */
    }
    if (code != ERR_ok) {
        return code;
    }
    if (!db_is_writing(actor->db)) {
        /* Answers from memory hold for a second after the last proof. */
        code = db_settle(actor->db);
        return code == ERR_ok && shard_is_older_than(&actor->shard, PROOF_MAX_AGE_MS) ? shard_prove(&actor->shard) : code;
    }
    code = shard_queue_advance(&actor->shard, *events);
    int64_t started_us = clock_steady_us();
    if (code == ERR_ok) {
        code = db_commit(actor->db);
    }
    metric_observe_us(actor->commit_us, clock_steady_us() - started_us);
    return code;
}

/* Whether the transaction under way moved the shard row; known before the commit clears it. */
struct attempt {
    bool is_writing;
    int64_t events;
};

static err
attempt(struct actor *actor, struct record *records, size_t count, int64_t now_ms, struct attempt *result)
{
    struct batch batch = {.actor = actor, .items = actor->items, .now_ms = now_ms};
    *result = (struct attempt){0};
    err code = prepare(actor, &batch, records, count);
    if (code == ERR_ok) {
        batch.count = view(actor, records, count, false);
        code = batch.count == 0 ? ERR_ok : actor->class->handle(actor->state, &batch);
    }
    if (code == ERR_ok) {
        code = recall_refused(actor, &batch, records, count);
    }
    if (code == ERR_ok && count == 0 && actor->class->tick != NULL) {
        code = actor->class->tick(actor->state, &batch);
    }
    if (code == ERR_ok) {
        code = settle_records(actor, &batch, records, count);
    }
    if (code == ERR_ok && actor->outcalls != NULL) {
        outcalls_write(actor->outcalls, &batch);
    }
    if (code == ERR_ok && actor->db == NULL && actor->arena.has_fault) {
        code = ERR_internal;
    }
    if (code == ERR_ok && actor->db != NULL) {
        result->events = source_emitted(actor->source);
        code = commit(actor, &result->events);
        result->is_writing = code == ERR_ok && actor->shard.asked_us != 0;
    }
    return code;
}

/* --- after it --- */

static void
end_work(struct actor *actor, struct record *record)
{
    if (record->work != NULL) {
        works_end(actor->works, record->work);
        record->work = NULL;
    }
}

static void
conclude_works(struct actor *actor, struct record *records, size_t count)
{
    const struct work *works = actor->works_queued.elements;
    for (size_t i = 0; i < count; i++) {
        end_work(actor, &records[i]);
    }
    for (size_t i = 0; i < actor->works_queued.count; i++) {
        works_start(actor->works, &works[i]);
    }
    actor->works_queued.count = 0;
}

static void
drop_works(struct actor *actor)
{
    const struct work *works = actor->works_queued.elements;
    for (size_t i = 0; i < actor->works_queued.count; i++) {
        works[i].discard(works[i].memory);
    }
    actor->works_queued.count = 0;
}

/* On disk: memory takes over, then the world is told. */
static void
conclude(struct actor *actor, struct record *records, size_t count, int64_t now_ms)
{
    if (actor->class->committed != NULL) {
        actor->class->committed(actor->state);
    }
    replies_send(actor, records, count);
    const struct waiter_answer *answers = actor->waiters_answered.elements;
    for (size_t i = 0; i < actor->waiters_answered.count; i++) {
        replies_finish_waiter(actor, &answers[i]);
    }
    if (actor->db != NULL) {
        source_committed(actor->source, actor->raw_publisher, now_ms);
        inbox_committed(actor->inbox);
        due_rows_committed(actor->due_rows);
        burials_committed(actor->burials);
        trial_committed(actor->trial);
    }
    const struct ask_queued *asks = actor->asks_queued.elements;
    for (size_t i = 0; i < actor->asks_queued.count; i++) {
        asks_send(actor->asks, asks[i].actor, asks[i].shard, &asks[i].ask, asks[i].header, asks[i].body);
    }
    const struct outbound_call *calls = actor->calls_queued.elements;
    for (size_t i = 0; i < actor->calls_queued.count; i++) {
        outcalls_start(actor->outcalls, &calls[i]);
    }
    if (actor->outcalls != NULL) {
        outcalls_committed(actor->outcalls);
    }
    conclude_works(actor, records, count);
    actor->waiters_answered.count = actor->waiters_taken.count = actor->asks_queued.count = actor->calls_queued.count = 0;
    metric_add(actor->batches, 1);
}

/* Rolled back: as if the records had just come. Those that a step of the batch answered without the class are answered anew. */
static void
drop(struct actor *actor, struct record *records, size_t count)
{
    if (actor->db != NULL) {
        db_rollback(actor->db);
        source_dropped(actor->source);
        inbox_dropped(actor->inbox);
        due_rows_dropped(actor->due_rows);
        burials_dropped(actor->burials);
        answers_dropped(actor->answers);
        trial_dropped(actor->trial);
    }
    if (actor->class->dropped != NULL) {
        actor->class->dropped(actor->state);
    }
    drop_works(actor);
    actor->arena.has_fault = false;
    struct waiter **taken = actor->waiters_taken.elements;
    for (size_t i = 0; i < actor->waiters_taken.count; i++) {
        taken[i]->next = actor->waiters_free;
        actor->waiters_free = taken[i];
    }
    actor->waiters_answered.count = actor->waiters_taken.count = actor->asks_queued.count = actor->calls_queued.count = 0;
    for (size_t i = 0; i < count; i++) {
        records[i].outcome = records[i].given;
        records[i].is_follower = false;
        if (records[i].retry != NULL) {
            records[i].retry->outcome = (struct item_outcome){.status = ERR_COUNT};
        }
    }
}

/* --- when it fails --- */

static void
refuse_record(struct actor *actor, struct record *record, err code, const char *detail)
{
    struct batch batch = {.actor = actor};
    struct item item = {.outcome = rows_answer_of(record)};
    item_refuse(&batch, &item, replies_public_status(code), "%s", detail);
}

static void
refuse_unanswered(struct actor *actor, struct record *records, size_t count, err code, const char *detail)
{
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        bool is_asked = record->item.kind == ITEM_REQUEST || record->retry != NULL;
        if (is_asked && record->folded_into < 0 && record->has_message) {
            refuse_record(actor, record, code, detail);
        }
    }
    replies_send(actor, records, count);
}

bool
batch_commit_alone(struct actor *actor, struct record *record, err queued, int64_t now_ms)
{
    int64_t events = 0;
    if (queued != ERR_ok || commit(actor, &events) != ERR_ok) {
        drop(actor, record, 1);
        return false;
    }
    shard_advanced(&actor->shard, events);
    actor->shard.asked_us = 0;
    conclude(actor, record, 0, now_ms);
    if (record->retry != NULL) {
        replies_send(actor, record, 1);
    }
    return true;
}

/* An event that fails alone is not the database's fault: it is kept with the reason, and the cursor goes on. */
static void
park_alone(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    if (!inbox_take_again(actor->inbox, record->event)) {
        return;
    }
    if (inbox_judge(actor->inbox, record->event, now_ms) != INBOX_CHARGE) {
        return;
    }
    log_often(LOG_LEVEL_ERROR, "event_failed", err_symbol(code), LOG_SLICE("source", record->event->header.source),
              LOG_I64("seq", record->event->header.seq), LOG_TEXT("code", err_symbol(code)), LOG_ID("req", &record->event->header.id));
    err parked = rows_charge(&batch, record, &(struct blame){.status = code, .reason = err_words(code), .attempts = 1});
    if (!batch_commit_alone(actor, record, parked, now_ms)) {
        refuse_unanswered(actor, record, 1, ERR_unavailable, "the row cannot be written now; ask again");
    }
}

/* What a reply was to change could not be done: whoever waits for it has to be told, and it comes once more, as a failure. Where not
 * even that can be handled (a row is broken, or this program) it comes later and later, for as long as it takes: the state believes
 * that somebody is being asked, and would ask nobody else. */
static void
return_reply(struct actor *actor, const struct record *record, err code, int64_t now_ms)
{
    const struct ask_sent *ask = record->ask;
    if (err_disposition(code) == ERR_RETRY) {
        actor->due_pause_ms = now_ms + FAILURE_PAUSE_MS;
        asks_fail(actor->asks, ask, ERR_unavailable, 0);
        return;
    }
    bool is_first = record->item.status != ERR_internal;
    asks_fail(actor->asks, ask, ERR_internal, is_first ? 0 : now_ms + backoff_ms(actor->settings->retry_first_ms, ask->failures + 1));
}

/* The same of work that is done; but nothing on disk stands behind it, and whoever waits for it can ask again: they are told. */
static void
return_work(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    bool is_later = err_disposition(code) == ERR_RETRY;
    if (is_later) {
        actor->due_pause_ms = now_ms + FAILURE_PAUSE_MS;
    }
    if (is_later || record->item.status != ERR_internal) {
        works_return(actor->works, record->work, is_later ? ERR_unavailable : ERR_internal);
        record->work = NULL;
    } else {
        replies_refuse_waiter(actor, &record->work->id, "it could not be done, and was logged");
    }
}

/* A record that fails although it runs alone. */
static void
fail_alone(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    bool is_later = err_disposition(code) == ERR_RETRY;
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    if (record->item.kind == ITEM_REQUEST || (record->retry != NULL && is_later)) {
        refuse_unanswered(actor, record, 1, code,
                          is_later ? "the database could not do it now; ask again with the same id"
                                   : "it could not be done, and was logged");
    } else if (record->event != NULL && is_later) {
        inbox_hold(actor->inbox, record->event, now_ms + batch_backoff_ms(&batch, 1));
    } else if (record->event != NULL) {
        park_alone(actor, record, code, now_ms);
    } else if (record->retry != NULL) {
        rows_say_failed(&batch, record, code, err_words(code), record->due->attempts);
        replies_send(actor, record, 1);
    } else if (record->due != NULL && err_disposition(code) == ERR_BUG) {
        tried_put_back(actor, record, code, now_ms);
    } else if (record->due != NULL) {
        actor->due_pause_ms = now_ms + FAILURE_PAUSE_MS;
    } else if (record->ask != NULL) {
        return_reply(actor, record, code, now_ms);
    } else if (record->work != NULL) {
        return_work(actor, record, code, now_ms);
    }
    if (!is_later) {
        log_often(LOG_LEVEL_ERROR, "batch_item_failed", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                  LOG_TEXT("database", actor->db == NULL ? "" : db_error(actor->db)), LOG_ID("req", &record->item.id));
    }
}

static bool
is_connection_gone(err code)
{
    return code == ERR_db_lost || code == ERR_db_unknown;
}

enum after { AFTER_DONE, AFTER_AGAIN, AFTER_FAILED };

/* One attempt and what follows from it. AFTER_AGAIN: rolled back for certain, may be tried again. AFTER_FAILED: `code` says why. */
static enum after
attempt_and_settle(struct actor *actor, struct record *records, size_t count, int64_t now_ms, err *code)
{
    struct attempt result;
    actor->shard.asked_us = 0;
    *code = attempt(actor, records, count, now_ms, &result);
    if (*code == ERR_ok) {
        if (result.is_writing) {
            shard_advanced(&actor->shard, result.events);
            actor->is_db_away = false;
        }
        conclude(actor, records, count, now_ms);
        return AFTER_DONE;
    }
    bool happened = false;
    if (is_connection_gone(*code)) {
        bool is_unknown = *code == ERR_db_unknown;
        err recovered = actor_recover(actor, &happened);
        *code = recovered == ERR_ok ? ERR_db_lost : recovered;
        if (recovered == ERR_ok && happened && is_unknown) {
            log_warn("commit_found_again", LOG_I64("batch", actor->shard.batch));
            conclude(actor, records, count, now_ms);
            *code = actor_reopen(actor, NULL);
            return AFTER_DONE;
        }
        drop(actor, records, count);
        if (recovered == ERR_ok) {
            recovered = actor_reopen(actor, NULL);
        }
        if (recovered == ERR_ok) {
            return AFTER_AGAIN;
        }
        *code = recovered;
        return AFTER_FAILED;
    }
    drop(actor, records, count);
    return AFTER_FAILED;
}

/* The id is the first one's only once that was done: refused, it may be this one's, as when an answer to it is stored. */
static void
refuse_other(struct actor *actor, struct record *record, err first)
{
    if (first == ERR_ok) {
        refuse_record(actor, record, ERR_idempotency_mismatch, "this id was used for another request");
    } else {
        refuse_record(actor, record, ERR_unavailable, "another request with this id was under way; ask again with the same id");
    }
}

/* Answers those that were folded into another of the batch. */
static void
answer_folded(struct actor *actor)
{
    for (size_t i = 0; i < actor->record_count; i++) {
        struct record *record = &actor->records[i];
        if (record->folded_into < 0 || !record->has_message) {
            continue;
        }
        struct item_outcome outcome = *rows_answer_of(&actor->records[record->folded_into]);
        if (record->is_other) {
            refuse_other(actor, record, outcome.status);
            outcome = record->outcome;
        } else if (outcome.status == ERR_COUNT) {
            refuse_record(actor, record, ERR_unavailable, "an earlier attempt is under way; ask again with the same id");
            outcome = record->outcome;
        }
        if (atomic_load(&actor->outcome) == ACTOR_RUNNING) {
            replies_send_one(actor, record, &outcome);
        }
    }
}

/* There is no time left for it. */
static void
put_off(struct actor *actor, struct record *record, int64_t now_ms)
{
    if (record->event != NULL) {
        inbox_dropped(actor->inbox);
    } else if (record->ask != NULL) {
        return_reply(actor, record, ERR_unavailable, now_ms);
    } else if (record->work != NULL) {
        return_work(actor, record, ERR_unavailable, now_ms);
    }
    refuse_unanswered(actor, record, 1, ERR_unavailable, "the database is too slow now; ask again with the same id");
}

/* `is_forced`: it ran before, and it is looked up whether it was done. */
static err
run_alone(struct actor *actor, size_t number, bool is_forced, int64_t now_ms)
{
    struct record *record = &actor->records[number];
    bool is_given_up = false;
    actor->is_forced = is_forced;
    err code = actor->is_trying ? tried_begin(actor, number, now_ms, &is_given_up) : ERR_ok;
    if (is_given_up) {
        return ERR_ok;
    }
    bool has_begun = code == ERR_ok;
    enum after after = has_begun ? attempt_and_settle(actor, record, 1, now_ms, &code) : AFTER_FAILED;
    /* What fails without having been looked up may be asked for the second time, and its row be there. */
    bool is_blind = has_begun && after == AFTER_FAILED && record->item.kind == ITEM_REQUEST && !actor->is_forced;
    bool is_again = after == AFTER_AGAIN && (record->event == NULL || inbox_take_again(actor->inbox, record->event));
    if (is_again || (is_blind && code != ERR_db_stale && !actor->is_db_away)) {
        actor->is_forced = true;
        after = attempt_and_settle(actor, record, 1, now_ms, &code);
    }
    if (after != AFTER_DONE && code != ERR_db_stale) {
        fail_alone(actor, record, code, now_ms);
    }
    return code;
}

/* Of a batch that is tried: `count` records that nothing is held against. False: rolled back. */
static bool
run_together(struct actor *actor, size_t first, size_t count, int64_t now_ms, err *code)
{
    bool is_given_up = false;
    *code = tried_begin(actor, first + count - 1, now_ms, &is_given_up);
    return *code == ERR_ok && attempt_and_settle(actor, &actor->records[first], count, now_ms, code) == AFTER_DONE;
}

/* `is_forced`: they ran before, and it is looked up whether they were done. */
static void
run_one_by_one(struct actor *actor, bool is_forced, int64_t now_ms)
{
    int64_t until_us = clock_steady_us() + ALONE_MAX_MS * INT64_C(1000);
    size_t failed_until = is_forced ? actor->record_count : 0;
    err code = ERR_ok;
    for (size_t i = 0; i < actor->record_count && code != ERR_db_stale; i++) {
        struct record *record = &actor->records[i];
        if (record->folded_into >= 0 || (record->event != NULL && !inbox_take_again(actor->inbox, record->event))) {
            continue;
        }
        if (clock_steady_us() > until_us || actor->is_db_away) {
            put_off(actor, record, now_ms);
            continue;
        }
        size_t together = actor->is_trying && i >= failed_until ? tried_together(actor, i) : 1;
        if (together > 1 && run_together(actor, i, together, now_ms, &code)) {
            i += together - 1;
            continue;
        }
        failed_until = together > 1 ? i + together : failed_until;
        code = run_alone(actor, i, i < failed_until, now_ms);
    }
    if (code == ERR_db_stale) {
        actor_end_stale(actor);
    }
    actor->is_forced = false;
}

static void
empty(struct actor *actor)
{
    for (size_t i = 0; i < actor->record_count; i++) {
        if (actor->records[i].has_message) {
            message_fini(&actor->records[i].message);
        }
        end_work(actor, &actor->records[i]);
    }
    actor->record_count = 0;
    arena_reset(&actor->arena);
}

/* What the inbox has taken out is taken out anew, one by one. */
static void
run_tried(struct actor *actor, int64_t now_ms)
{
    trial_enter(actor->trial);
    actor->is_trying = true;
    inbox_dropped(actor->inbox);
    run_one_by_one(actor, false, now_ms);
    actor->is_trying = false;
    tried_end(actor);
    trial_leave(actor->trial);
}

/* What is left of a batch that cannot be done now: requests are told, the rest comes again by itself. */
static void
give_up(struct actor *actor, err code, int64_t now_ms)
{
    actor->due_pause_ms = now_ms + FAILURE_PAUSE_MS;
    for (size_t i = 0; i < actor->record_count; i++) {
        if (actor->records[i].ask != NULL) {
            return_reply(actor, &actor->records[i], ERR_unavailable, now_ms);
        }
        if (actor->records[i].work != NULL) {
            return_work(actor, &actor->records[i], ERR_unavailable, now_ms);
        }
    }
    refuse_unanswered(actor, actor->records, actor->record_count, code,
                      code == ERR_db_full       ? "the disk of the database is full; ask again with the same id"
                      : code == ERR_db_readonly ? "the database takes no changes now; ask again with the same id"
                                                : "the database does not answer; ask again with the same id");
}

/* Once more as a whole, with what the inbox has taken back. False: it is not the turn of all events any more. */
static bool
take_all_again(struct actor *actor)
{
    for (size_t i = 0; i < actor->record_count; i++) {
        const struct record *record = &actor->records[i];
        if (record->event != NULL && record->folded_into < 0 && !inbox_take_again(actor->inbox, record->event)) {
            inbox_dropped(actor->inbox);
            return false;
        }
    }
    return true;
}

/* Once a second: a busy shop on a full disk would fill its log as well. */
static void
say_full(struct actor *actor, int64_t now_ms)
{
    if (now_ms - actor->full_said_ms >= FULL_SAID_MS) {
        actor->full_said_ms = now_ms;
        log_error("disk_is_full", LOG_TEXT("database", db_error(actor->db)),
                  LOG_TEXT("now", "what writes is refused until there is space"));
    }
}

/* The batch as a whole; when the disk is full and the class can make room, a second time. */
static enum after
attempt_whole(struct actor *actor, int64_t now_ms, err *code)
{
    enum after after = attempt_and_settle(actor, actor->records, actor->record_count, now_ms, code);
    if (after == AFTER_FAILED && *code == ERR_db_full && actor->class->make_room != NULL && actor->class->make_room(actor->state) &&
        take_all_again(actor)) {
        after = attempt_and_settle(actor, actor->records, actor->record_count, now_ms, code);
    }
    if (after == AFTER_FAILED && *code == ERR_db_full) {
        say_full(actor, now_ms);
    }
    return after;
}

/* Somebody asked again and did not say so: an id of the batch was used before. All of them are looked up together, what was done is
 * answered, and the rest is done in one commit as if nothing had been. False: it clashes with something else. */
static bool
run_looked_up(struct actor *actor, int64_t now_ms, err *code)
{
    if (*code != ERR_db_unique || !take_all_again(actor)) {
        return false;
    }
    actor->is_looked_up = true;
    enum after after = attempt_whole(actor, now_ms, code);
    actor->is_looked_up = false;
    return after == AFTER_DONE;
}

void
batch_run(struct actor *actor, int64_t now_ms)
{
    err code = ERR_ok;
    for (size_t i = 0; i < actor->record_count; i++) {
        actor->records[i].given = actor->records[i].outcome;
    }
    if (actor->is_db_away) {
        give_up(actor, ERR_unavailable, now_ms);
        if (actor->inbox != NULL) {
            inbox_dropped(actor->inbox);
        }
    } else if (tried_is_wanted(actor)) {
        run_tried(actor, now_ms);
    } else {
        size_t count = actor->record_count;
        enum after after = attempt_whole(actor, now_ms, &code);
        if (after == AFTER_FAILED && run_looked_up(actor, now_ms, &code)) {
            after = AFTER_DONE;
        }
        if (code == ERR_db_stale) {
            actor_end_stale(actor);
        } else if (after == AFTER_FAILED && (actor->is_db_away || code == ERR_db_full || code == ERR_db_readonly)) {
            if (code != ERR_db_full) {
                log_often(LOG_LEVEL_WARN, "batch_refused", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                          LOG_I64("items", (int64_t)count));
            }
            give_up(actor, code, now_ms);
        } else if (after != AFTER_DONE) {
            log_often(LOG_LEVEL_WARN, "batch_runs_one_by_one", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                      LOG_I64("items", (int64_t)count), LOG_TEXT("database", actor->db == NULL ? "" : db_error(actor->db)));
            run_one_by_one(actor, true, now_ms);
        }
    }
    answer_folded(actor);
    empty(actor);
}

void
batch_tick(struct actor *actor, int64_t now_ms)
{
    if (actor->db == NULL || actor->is_db_away) {
        return;
    }
    assert(actor->record_count == 0);
    err code = ERR_ok;
    bool is_due = source_is_due(actor->source) || inbox_is_due(actor->inbox) || burials_is_due(actor->burials) ||
                  (actor->outcalls != NULL && outcalls_is_due(actor->outcalls));
    if (is_due || actor->class->tick != NULL) {
        enum after after = attempt_whole(actor, now_ms, &code);
        if (after == AFTER_FAILED && code != ERR_db_stale && code != ERR_db_full) {
            log_warn("tick_failed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("database", db_error(actor->db)));
        }
    }
    if (code == ERR_ok && shard_is_older_than(&actor->shard, PROOF_IDLE_AGE_MS)) {
        code = shard_prove(&actor->shard);
        if (is_connection_gone(code)) {
            bool happened = false;
            code = actor_recover(actor, &happened);
            if (code == ERR_ok) {
                code = actor_reopen(actor, NULL);
            }
        }
    }
    if (code == ERR_db_stale) {
        actor_end_stale(actor);
    }
    arena_reset(&actor->arena);
}
