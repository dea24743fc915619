/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One attempt at a batch, from the decoded messages to the answers: recall, handle, outbox, cursors, due rows, the shard's
 *           proof, commit, and only then replies, events, asks, calls and works.
 *
 * STATE     The records of the actor, the effects that wait for the commit, and a copy of the items that the class sees: requests
 *           without an answer yet, events in order, due rows, replies. Everything of a batch lies in the actor's arena.
 *
 * FAILURES  A lost connection: the shard is taken again, and its batch number says whether the commit happened. Anything else is
 *           rolled back, and whoever called says what becomes of the records (batch_run.c, batch_alone.c).
 */
#include <string.h>

#include "actor_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

enum { PROOF_MAX_AGE_MS = 1000 };

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
        if (only_asked_again && !(is_kept(record) && (record->item.again || actor->records.is_forced || actor->records.is_looked_up ||
                                                      is_waiting(record)))) {
            continue;
        }
        actor->records.items[seen] = record->item;
        actor->records.items[seen].outcome = &record->outcome;
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
    err code = answers_find(actor->parts.answers, &actor->arena, ids, batch->count, found, &found_count);
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
    for (const struct waiter *waiter = actor->waiting.first; waiter != NULL; waiter = waiter->next) {
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
           err_disposition(status) == ERR_REFUSE && !actor->records.is_looked_up &&
           !(status == ERR_out_of_stock && (wire_ops[record->item.op].traits & OP_SOLD_OUT) != 0) && status != ERR_forbidden &&
           status != ERR_idempotency_mismatch && !record->outcome.is_replayed && !record->item.again && !actor->records.is_forced &&
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
        actor->records.items[seen] = records[i].item;
        actor->records.items[seen].again = true;
        actor->records.items[seen].outcome = &records[i].outcome;
        seen++;
    }
    batch->count = seen;
    if (seen == 0) {
        return ERR_ok;
    }
    err code = actor->class->recall == NULL ? recall_answers(actor, batch) : actor->class->recall(actor->state, batch);
    for (size_t i = 0; i < seen; i++) {
        if (actor->records.items[i].outcome->status == ERR_COUNT) {
            *actor->records.items[i].outcome = refusals[i];
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
        if (record->event != NULL && record->outcome.status != ERR_ok && inbox_must_park(actor->parts.inbox, record->event)) {
            err code = inbox_park(actor->parts.inbox, record->event, &follows);
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
    bool is_asked_again = record->item.again || actor->records.is_forced;
    bool is_final = outcome->status == ERR_ok || (is_asked_again && err_disposition(outcome->status) == ERR_REFUSE);
    if (is_kept(record) && record->folded_into < 0 && !outcome->is_replayed && outcome->waiter == NULL && is_final &&
        strcmp(wire_ops[record->item.op].owner, "any") != 0) {
        answers_add(actor->parts.answers,
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
    err code = own_answer(batch, records, count);
    if (code == ERR_ok && batch_keeps_answers(actor)) {
        refuse_waiting(actor, batch, records, count);
    }
    if (code == ERR_ok) {
        code = recall(actor, batch, records, count);
    }
    if (code == ERR_ok && actor->parts.inbox != NULL) {
        code = park_followers(actor, records, count);
    }
    for (size_t i = 0; i < count; i++) {
        if (records[i].due != NULL) {
            due_rows_fired(actor->parts.due_rows, records[i].due);
        }
    }
    return code;
}

static err
commit(struct actor *actor)
{
    err code = parts_queue(&actor->parts.all);
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
    int64_t started_us = clock_steady_us();
    code = shard_commit(&actor->shard, source_emitted(actor->parts.source));
    metric_observe_us(actor->metrics.commit_us, clock_steady_us() - started_us);
    return code;
}

static err
attempt(struct actor *actor, struct record *records, size_t count, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .items = actor->records.items, .now_ms = now_ms};
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
    if (code == ERR_ok && actor->peers.outcalls != NULL) {
        outcalls_write(actor->peers.outcalls, actor->parts.due_rows, actor->parts.burials, &actor->arena, now_ms);
    }
    if (code == ERR_ok && actor->db == NULL && actor->arena.has_fault) {
        code = ERR_internal;
    }
    if (code == ERR_ok && actor->db != NULL) {
        code = commit(actor);
    }
    return code;
}

/* --- after it --- */

void
batch_end_work(struct actor *actor, struct record *record)
{
    if (record->work != NULL) {
        works_end(actor->peers.works, record->work);
        record->work = NULL;
    }
}

static void
conclude_works(struct actor *actor, struct record *records, size_t count)
{
    const struct work *works = actor->effects.works.elements;
    for (size_t i = 0; i < count; i++) {
        batch_end_work(actor, &records[i]);
    }
    for (size_t i = 0; i < actor->effects.works.count; i++) {
        works_start(actor->peers.works, &works[i]);
    }
}

static void
drop_works(struct actor *actor)
{
    const struct work *works = actor->effects.works.elements;
    for (size_t i = 0; i < actor->effects.works.count; i++) {
        works[i].discard(works[i].memory);
    }
}

/* On disk: memory takes over, then the world is told. */
static void
conclude(struct actor *actor, struct record *records, size_t count)
{
    if (actor->class->committed != NULL) {
        actor->class->committed(actor->state);
    }
    replies_send(actor, records, count);
    struct waiter *waiter = NULL;
    while ((waiter = waiting_committed(&actor->waiting)) != NULL) {
        replies_finish_waiter(actor, waiter);
    }
    parts_committed(&actor->parts.all);
    const struct ask_queued *asks = actor->effects.asks.elements;
    for (size_t i = 0; i < actor->effects.asks.count; i++) {
        asks_send(actor->peers.asks, asks[i].actor, asks[i].shard, &asks[i].ask, asks[i].header, asks[i].body);
    }
    const struct outbound_call *calls = actor->effects.calls.elements;
    for (size_t i = 0; i < actor->effects.calls.count; i++) {
        outcalls_start(actor->peers.outcalls, &calls[i]);
    }
    if (actor->peers.outcalls != NULL) {
        outcalls_committed(actor->peers.outcalls);
    }
    conclude_works(actor, records, count);
    effects_clear(&actor->effects);
    metric_add(actor->metrics.batches, 1);
}

/* Rolled back: as if the records had just come. Those that a step of the batch answered without the class are answered anew. */
static void
drop(struct actor *actor, struct record *records, size_t count)
{
    if (actor->db != NULL) {
        db_rollback(actor->db);
    }
    parts_dropped(&actor->parts.all);
    if (actor->class->dropped != NULL) {
        actor->class->dropped(actor->state);
    }
    drop_works(actor);
    actor->arena.has_fault = false;
    waiting_dropped(&actor->waiting);
    effects_clear(&actor->effects);
    for (size_t i = 0; i < count; i++) {
        records[i].outcome = records[i].given;
        records[i].is_follower = false;
        if (records[i].retry != NULL) {
            records[i].retry->outcome = (struct item_outcome){.status = ERR_COUNT};
        }
    }
}

/* --- when it fails --- */

void
batch_refuse_record(struct actor *actor, struct record *record, err code, const char *detail)
{
    struct batch batch = {.actor = actor};
    struct item item = {.outcome = record_answer(record)};
    item_refuse(&batch, &item, replies_public_status(code), "%s", detail);
}

void
batch_refuse_unanswered(struct actor *actor, struct record *records, size_t count, err code, const char *detail)
{
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        if (record_is_asked(record) && record->folded_into < 0 && record->has_message) {
            batch_refuse_record(actor, record, code, detail);
        }
    }
    replies_send(actor, records, count);
}

bool
batch_commit_alone(struct actor *actor, struct record *record, err queued)
{
    if (queued != ERR_ok || commit(actor) != ERR_ok) {
        drop(actor, record, 1);
        return false;
    }
    conclude(actor, record, 0);
    if (record->retry != NULL) {
        replies_send(actor, record, 1);
    }
    return true;
}

bool
batch_lost_connection(err code)
{
    return code == ERR_db_lost || code == ERR_db_unknown;
}

enum batch_end
batch_attempt(struct actor *actor, struct record *records, size_t count, int64_t now_ms, err *code)
{
    *code = attempt(actor, records, count, now_ms);
    if (*code == ERR_ok) {
        conclude(actor, records, count);
        return BATCH_DONE;
    }
    bool happened = false;
    if (batch_lost_connection(*code)) {
        bool is_unknown = *code == ERR_db_unknown;
        err recovered = actor_recover(actor, &happened);
        *code = recovered == ERR_ok ? ERR_db_lost : recovered;
        if (recovered == ERR_ok && happened && is_unknown) {
            log_warn("commit_found_again", LOG_I64("batch", actor->shard.batch));
            conclude(actor, records, count);
            *code = actor_reopen(actor, NULL);
            return BATCH_DONE;
        }
        drop(actor, records, count);
        if (recovered == ERR_ok) {
            recovered = actor_reopen(actor, NULL);
        }
        if (recovered == ERR_ok) {
            return BATCH_AGAIN;
        }
        *code = recovered;
        return BATCH_FAILED;
    }
    drop(actor, records, count);
    return BATCH_FAILED;
}
