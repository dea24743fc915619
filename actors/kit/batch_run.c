/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The way of a batch: as a whole; when an id was used before, with all looked up together; at last one by one
 *           (batch_alone.c). And the batch without a message, in which time passes.
 *
 * FAILURES  A violated key: the ids of the batch are looked up together, and it runs once more as a whole. Once more a violated key, a
 *           busy row, a refused value, an answer or event that cannot be said: everything is rolled back, and the records run one by
 *           one. A full or read-only database: everybody is told `unavailable`. A stale shard: nobody is answered and the actor ends.
 */
#include <assert.h>

#include "actor_internal.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { FULL_SAID_MS = 1000, PROOF_IDLE_AGE_MS = 450 };

/* The id is the first one's only once that was done: refused, it may be this one's, as when an answer to it is stored. */
static void
refuse_other(struct actor *actor, struct record *record, err first)
{
    if (first == ERR_ok) {
        batch_refuse_record(actor, record, ERR_idempotency_mismatch, "this id was used for another request");
    } else {
        batch_refuse_record(actor, record, ERR_unavailable, "another request with this id was under way; ask again with the same id");
    }
}

/* Answers those that were folded into another of the batch. */
static void
answer_folded(struct actor *actor)
{
    for (size_t i = 0; i < actor->records.count; i++) {
        struct record *record = &actor->records.list[i];
        if (record->folded_into < 0 || !record->has_message) {
            continue;
        }
        struct item_outcome outcome = *record_answer(&actor->records.list[record->folded_into]);
        if (record->is_other) {
            refuse_other(actor, record, outcome.status);
            outcome = record->outcome;
        } else if (outcome.status == ERR_COUNT) {
            batch_refuse_record(actor, record, ERR_unavailable, "an earlier attempt is under way; ask again with the same id");
            outcome = record->outcome;
        }
        if (atomic_load(&actor->outcome) == ACTOR_RUNNING) {
            replies_send_one(actor, record, &outcome);
        }
    }
}

static void
empty(struct actor *actor)
{
    for (size_t i = 0; i < actor->records.count; i++) {
        if (actor->records.list[i].has_message) {
            message_fini(&actor->records.list[i].message);
        }
        batch_end_work(actor, &actor->records.list[i]);
    }
    actor->records.count = 0;
    arena_reset(&actor->arena);
}

/* What is left of a batch that cannot be done now: requests are told, the rest comes again by itself. */
static void
give_up(struct actor *actor, err code, int64_t now_ms)
{
    actor->outage.pause_until_ms = now_ms + BATCH_PAUSE_MS;
    for (size_t i = 0; i < actor->records.count; i++) {
        if (actor->records.list[i].ask != NULL) {
            batch_return_reply(actor, &actor->records.list[i], ERR_unavailable, now_ms);
        }
        if (actor->records.list[i].work != NULL) {
            batch_return_work(actor, &actor->records.list[i], ERR_unavailable, now_ms);
        }
    }
    batch_refuse_unanswered(actor, actor->records.list, actor->records.count, code,
                            code == ERR_db_full       ? "the disk of the database is full; ask again with the same id"
                            : code == ERR_db_readonly ? "the database takes no changes now; ask again with the same id"
                                                      : "the database does not answer; ask again with the same id");
}

/* Once more as a whole, with what the inbox has taken back. False: it is not the turn of all events any more. */
static bool
take_all_again(struct actor *actor)
{
    for (size_t i = 0; i < actor->records.count; i++) {
        const struct record *record = &actor->records.list[i];
        if (record->event != NULL && record->folded_into < 0 && !inbox_take_again(actor->parts.inbox, record->event)) {
            inbox_part.dropped(actor->parts.inbox);
            return false;
        }
    }
    return true;
}

/* Once a second: a busy shop on a full disk would fill its log as well. */
static void
say_full(struct actor *actor, int64_t now_ms)
{
    if (now_ms - actor->outage.full_said_ms >= FULL_SAID_MS) {
        actor->outage.full_said_ms = now_ms;
        log_error("disk_is_full", LOG_TEXT("database", db_error(actor->db)),
                  LOG_TEXT("now", "what writes is refused until there is space"));
    }
}

/* The batch as a whole; when the disk is full and the class can make room, a second time. */
static enum batch_end
attempt_whole(struct actor *actor, int64_t now_ms, err *code)
{
    enum batch_end after = batch_attempt(actor, actor->records.list, actor->records.count, now_ms, code);
    if (after == BATCH_FAILED && *code == ERR_db_full && actor->class->make_room != NULL && actor->class->make_room(actor->state) &&
        take_all_again(actor)) {
        after = batch_attempt(actor, actor->records.list, actor->records.count, now_ms, code);
    }
    if (after == BATCH_FAILED && *code == ERR_db_full) {
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
    actor->records.is_looked_up = true;
    enum batch_end after = attempt_whole(actor, now_ms, code);
    actor->records.is_looked_up = false;
    return after == BATCH_DONE;
}

void
batch_run(struct actor *actor, int64_t now_ms)
{
    err code = ERR_ok;
    for (size_t i = 0; i < actor->records.count; i++) {
        actor->records.list[i].given = actor->records.list[i].outcome;
    }
    if (actor->outage.is_on) {
        give_up(actor, ERR_unavailable, now_ms);
        if (actor->parts.inbox != NULL) {
            inbox_part.dropped(actor->parts.inbox);
        }
    } else if (tried_is_wanted(actor)) {
        batch_run_tried(actor, now_ms);
    } else {
        size_t count = actor->records.count;
        enum batch_end after = attempt_whole(actor, now_ms, &code);
        if (after == BATCH_FAILED && run_looked_up(actor, now_ms, &code)) {
            after = BATCH_DONE;
        }
        if (code == ERR_db_stale) {
            actor_end_stale(actor);
        } else if (after == BATCH_FAILED && (actor->outage.is_on || code == ERR_db_full || code == ERR_db_readonly)) {
            if (code != ERR_db_full) {
                log_often(LOG_LEVEL_WARN, "batch_refused", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                          LOG_I64("items", (int64_t)count));
            }
            give_up(actor, code, now_ms);
        } else if (after != BATCH_DONE) {
            log_often(LOG_LEVEL_WARN, "batch_runs_one_by_one", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                      LOG_I64("items", (int64_t)count), LOG_TEXT("database", actor->db == NULL ? "" : db_error(actor->db)));
            batch_run_one_by_one(actor, true, now_ms);
        }
    }
    answer_folded(actor);
    empty(actor);
}

void
batch_tick(struct actor *actor, int64_t now_ms)
{
    if (actor->db == NULL || actor->outage.is_on) {
        return;
    }
    assert(actor->records.count == 0);
    err code = ERR_ok;
    bool is_due = parts_are_due(&actor->parts.all) || (actor->peers.outcalls != NULL && outcalls_is_due(actor->peers.outcalls));
    if (is_due || actor->class->tick != NULL) {
        enum batch_end after = attempt_whole(actor, now_ms, &code);
        if (after == BATCH_FAILED && code != ERR_db_stale && code != ERR_db_full) {
            log_warn("tick_failed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("database", db_error(actor->db)));
        }
    }
    if (code == ERR_ok && shard_is_older_than(&actor->shard, PROOF_IDLE_AGE_MS)) {
        code = shard_prove(&actor->shard);
        if (batch_lost_connection(code)) {
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
