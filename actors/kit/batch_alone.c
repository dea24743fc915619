/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A batch that cannot be done as a whole: its records run one by one, each looked up first, so that only the culprit fails;
 *           and what becomes of one that fails although it runs alone.
 *
 * FAILURES  A request is told. An event is parked with the reason, or held. A due row stays, with one more attempt, or has its letter.
 *           The outcome of an ask comes again, later and later; whoever waits for work is told. A stale shard: the actor ends.
 *
 * LIMITS    A request that fails alone for want of a lock is told `unavailable`; one that fails otherwise, `internal`. Running one by
 *           one takes ALONE_MAX_MS at the most, then the rest is told `unavailable`.
 */
#include "actor_internal.h"
#include "kit/base/backoff.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { ALONE_MAX_MS = 4000 };

/* An event that fails alone is not the database's fault: it is kept with the reason, and the cursor goes on. */
static void
park_alone(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    if (!inbox_take_again(actor->parts.inbox, record->event)) {
        return;
    }
    if (inbox_judge(actor->parts.inbox, record->event, now_ms) != INBOX_CHARGE) {
        return;
    }
    log_often(LOG_LEVEL_ERROR, "event_failed", err_symbol(code), LOG_SLICE("source", record->event->header.source),
              LOG_I64("seq", record->event->header.seq), LOG_TEXT("code", err_symbol(code)), LOG_ID("req", &record->event->header.id));
    err parked = rows_charge(&batch, record, &(struct blame){.status = code, .reason = err_words(code), .attempts = 1});
    if (!batch_commit_alone(actor, record, parked)) {
        batch_refuse_unanswered(actor, record, 1, ERR_unavailable, "the row cannot be written now; ask again");
    }
}

void
batch_return_reply(struct actor *actor, const struct record *record, err code, int64_t now_ms)
{
    const struct ask_sent *ask = record->ask;
    if (err_disposition(code) == ERR_RETRY) {
        actor->outage.pause_until_ms = now_ms + BATCH_PAUSE_MS;
        asks_fail(actor->peers.asks, ask, ERR_unavailable, 0);
        return;
    }
    bool is_first = record->item.status != ERR_internal;
    asks_fail(actor->peers.asks, ask, ERR_internal,
              is_first ? 0 : now_ms + backoff_ms(actor->settings->retry_first_ms, ask->failures + 1));
}

void
batch_return_work(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    bool is_later = err_disposition(code) == ERR_RETRY;
    if (is_later) {
        actor->outage.pause_until_ms = now_ms + BATCH_PAUSE_MS;
    }
    if (is_later || record->item.status != ERR_internal) {
        works_return(actor->peers.works, record->work, is_later ? ERR_unavailable : ERR_internal);
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
        batch_refuse_unanswered(actor, record, 1, code,
                                is_later ? "the database could not do it now; ask again with the same id"
                                         : "it could not be done, and was logged");
    } else if (record->event != NULL && is_later) {
        inbox_hold(actor->parts.inbox, record->event, now_ms + batch_backoff_ms(&batch, 1));
    } else if (record->event != NULL) {
        park_alone(actor, record, code, now_ms);
    } else if (record->retry != NULL) {
        rows_say_failed(&batch, record, code, err_words(code), record->due->attempts);
        replies_send(actor, record, 1);
    } else if (record->due != NULL && err_disposition(code) == ERR_BUG) {
        tried_put_back(actor, record, code, now_ms);
    } else if (record->due != NULL) {
        actor->outage.pause_until_ms = now_ms + BATCH_PAUSE_MS;
    } else if (record->ask != NULL) {
        batch_return_reply(actor, record, code, now_ms);
    } else if (record->work != NULL) {
        batch_return_work(actor, record, code, now_ms);
    }
    if (!is_later) {
        log_often(LOG_LEVEL_ERROR, "batch_item_failed", err_symbol(code), LOG_TEXT("code", err_symbol(code)),
                  LOG_TEXT("database", actor->db == NULL ? "" : db_error(actor->db)), LOG_ID("req", &record->item.id));
    }
}

/* There is no time left for it. */
static void
put_off(struct actor *actor, struct record *record, int64_t now_ms)
{
    if (record->event != NULL) {
        inbox_part.dropped(actor->parts.inbox);
    } else if (record->ask != NULL) {
        batch_return_reply(actor, record, ERR_unavailable, now_ms);
    } else if (record->work != NULL) {
        batch_return_work(actor, record, ERR_unavailable, now_ms);
    }
    batch_refuse_unanswered(actor, record, 1, ERR_unavailable, "the database is too slow now; ask again with the same id");
}

/* `is_forced`: it ran before, and it is looked up whether it was done. */
static err
run_alone(struct actor *actor, size_t number, bool is_forced, int64_t now_ms)
{
    struct record *record = &actor->records.list[number];
    bool is_given_up = false;
    actor->records.is_forced = is_forced;
    err code = trial_is_entered(actor->parts.trial) ? tried_begin(actor, number, now_ms, &is_given_up) : ERR_ok;
    if (is_given_up) {
        return ERR_ok;
    }
    bool has_begun = code == ERR_ok;
    enum batch_end after = has_begun ? batch_attempt(actor, record, 1, now_ms, &code) : BATCH_FAILED;
    /* What fails without having been looked up may be asked for the second time, and its row be there. */
    bool is_blind = has_begun && after == BATCH_FAILED && record->item.kind == ITEM_REQUEST && !actor->records.is_forced;
    bool is_again = after == BATCH_AGAIN && (record->event == NULL || inbox_take_again(actor->parts.inbox, record->event));
    if (is_again || (is_blind && code != ERR_db_stale && !actor->outage.is_on)) {
        actor->records.is_forced = true;
        after = batch_attempt(actor, record, 1, now_ms, &code);
    }
    if (after != BATCH_DONE && code != ERR_db_stale) {
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
    return *code == ERR_ok && batch_attempt(actor, &actor->records.list[first], count, now_ms, code) == BATCH_DONE;
}

void
batch_run_one_by_one(struct actor *actor, bool is_forced, int64_t now_ms)
{
    int64_t until_us = clock_steady_us() + ALONE_MAX_MS * INT64_C(1000);
    size_t failed_until = is_forced ? actor->records.count : 0;
    err code = ERR_ok;
    for (size_t i = 0; i < actor->records.count && code != ERR_db_stale; i++) {
        struct record *record = &actor->records.list[i];
        if (record->folded_into >= 0 || (record->event != NULL && !inbox_take_again(actor->parts.inbox, record->event))) {
            continue;
        }
        if (clock_steady_us() > until_us || actor->outage.is_on) {
            put_off(actor, record, now_ms);
            continue;
        }
        size_t together = trial_is_entered(actor->parts.trial) && i >= failed_until ? tried_together(actor, i) : 1;
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
    actor->records.is_forced = false;
}

void
batch_run_tried(struct actor *actor, int64_t now_ms)
{
    trial_enter(actor->parts.trial);
    inbox_part.dropped(actor->parts.inbox);
    batch_run_one_by_one(actor, false, now_ms);
    tried_end(actor);
    trial_leave(actor->parts.trial);
}
