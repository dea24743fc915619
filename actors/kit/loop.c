/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The loop of an actor: it gathers what has come into a batch, runs it, does what is due between batches, and sleeps until
 *           something comes or is due. At the end it does what is here, and gives those that wait for a peer a little time.
 *
 * FAILURES  While the database is away, or an older installation is beside it, every request is `unavailable` at once. A backup that
 *           holds commits back and does not end it is ended for it.
 *
 * LIMITS    TICK_MS between two looks at the clock; DRAIN_MAX_MS for the end.
 */
#include <stdlib.h>

#include "actor_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/beat.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { DRAIN_MAX_MS = 2000, TICK_MS = 500, TICK_LEAST_MS = 20, HEAD_MS = 1000 };

/* When the class wants a tick out of turn; never so often that one which fails would keep the loop awake. */
static int64_t
early_tick_ms(const struct actor *actor, int64_t now_ms)
{
    int64_t next_ms = actor->class->next_ms == NULL ? INT64_MAX : actor->class->next_ms(actor->state);
    int64_t least_ms = now_ms + TICK_LEAST_MS - (clock_steady_us() - actor->last.tick_us) / 1000;
    return next_ms < least_ms ? least_ms : next_ms;
}

static int64_t
earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

static int64_t
later(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? b_ms : a_ms;
}

/* When something that wants the database is due next. */
static int64_t
next_with_database_ms(const struct actor *actor, int64_t now_ms)
{
    int64_t next_ms = earlier(due_rows_next_ms(actor->parts.due_rows), burials_next_ms(actor->parts.burials));
    if (actor->peers.outcalls != NULL && due_rows_turns(actor->parts.due_rows) > 0) {
        next_ms = earlier(next_ms, outcalls_next_ms(actor->peers.outcalls, now_ms));
    }
    next_ms = later(next_ms, actor->outage.pause_until_ms);
    return earlier(next_ms, earlier(inbox_next_ms(actor->parts.inbox, now_ms), early_tick_ms(actor, now_ms)));
}

static int64_t
wait_ms(const struct actor *actor, int64_t now_ms)
{
    bool is_paused = actor_is_paused(actor, now_ms);
    int64_t next_ms = now_ms + TICK_MS;
    if (actor->outage.is_on) {
        next_ms = earlier(next_ms, now_ms + (actor->outage.retry_us - clock_steady_us()) / 1000 + 1);
    } else {
        int64_t asks_ms = asks_next_ms(actor->peers.asks);
        next_ms = earlier(next_ms, is_paused ? later(asks_ms, actor->outage.pause_until_ms) : asks_ms);
        next_ms = actor->db == NULL ? next_ms : earlier(next_ms, next_with_database_ms(actor, now_ms));
    }
    next_ms = later(next_ms - now_ms, 0);
    return actor->peers.watches == NULL ? next_ms : earlier(next_ms, watches_wait_ms(actor->peers.watches, !is_paused));
}

/* What cannot be taken now does not count: it would keep the loop awake. */
static bool
is_anything_ready(const struct actor *actor)
{
    for (size_t i = 0; !actor->outage.is_on && actor->parts.inbox != NULL && i < inbox_stream_count(actor->parts.inbox); i++) {
        if (actor->sockets.events_sources[i].is_ready && !inbox_is_fetching(actor->parts.inbox, i)) {
            return true;
        }
    }
    bool is_paused = actor_is_paused(actor, clock_utc_ms());
    bool is_done = !is_paused && actor->peers.works != NULL && works_is_ready(actor->peers.works);
    return actor->sockets.router_source.is_ready || is_done || (!is_paused && asks_is_ready(actor->peers.asks));
}

static void
measure_calls(struct actor *actor, int64_t now_ms)
{
    if (actor->peers.outcalls == NULL) {
        return;
    }
    if (due_rows_turns(actor->parts.due_rows) > 0 && !actor_is_paused(actor, now_ms) &&
        due_rows_count_turns(actor->parts.due_rows) != ERR_ok) {
        log_warn("calls_not_counted", LOG_TEXT("database", db_error(actor->db)));
    }
    outcalls_measure(actor->peers.outcalls, due_rows_turns(actor->parts.due_rows));
}

/* Sources that have said nothing for three HEADs are connected anew. What waits in the socket while a page is fetched was heard. */
static void
renew_streams(struct actor *actor, int64_t now_us)
{
    for (size_t i = 0; actor->parts.inbox != NULL && i < inbox_stream_count(actor->parts.inbox); i++) {
        if (actor->sockets.events_sources[i].is_ready) {
            link_heard(&actor->sockets.events_pulses[i], now_us / 1000);
        } else if (link_renew_events(actor->sockets.events[i], &actor->sockets.events_pulses[i], now_us / 1000)) {
            log_warn("source_silent", LOG_TEXT("source", inbox_stream_actor(actor->parts.inbox, i)),
                     LOG_TEXT("now", "it is connected anew"));
            actor->sockets.events_sources[i].is_ready = true;
        }
    }
}

static void
tick(struct actor *actor, int64_t now_ms)
{
    int64_t now_us = clock_steady_us();
    bool is_early = actor->db != NULL && !actor->outage.is_on && early_tick_ms(actor, now_ms) <= now_ms;
    if (is_early || now_us - actor->last.tick_us >= TICK_MS * INT64_C(1000) - 20000) {
        actor->last.tick_us = now_us;
        batch_tick(actor, now_ms);
        renew_streams(actor, now_us);
        measure_calls(actor, now_ms);
        log_often_flush();
    }
    if (actor->parts.source != NULL && !actor->outage.is_on && now_us - actor->last.head_us >= HEAD_MS * INT64_C(1000)) {
        actor->last.head_us = now_us;
        source_publish_head(actor->parts.source);
    }
    atomic_store(&actor->is_ready, !actor->outage.is_on && (actor->parts.inbox == NULL || !inbox_has_incident(actor->parts.inbox)));
}

/* While a backup opens its snapshots: what comes waits in the batch. The end that was asked for is answered with what has come. */
static bool
is_held_back(struct actor *actor, int64_t now_ms)
{
    if (!actor->held.is_on) {
        return false;
    }
    bool is_over = gather_held(actor, now_ms);
    bool is_asked_to_end = actor_outcome(actor) != ACTOR_RUNNING || actor->sockets.stop_source.is_ready;
    if (!is_over && !is_asked_to_end && clock_steady_us() < actor->held.until_us) {
        return true;
    }
    if (!is_over) {
        log_warn("pause_ended_by_itself", LOG_TEXT("why", "whoever asked for it did not end it in time"));
        actor->held.is_on = false;
    }
    actor->held.until_us = 0;
    return false;
}

/* One batch of what there is. */
static void
turn(struct actor *actor)
{
    int64_t now_ms = actor_clock_look(actor);
    beat_turn();
    if (is_held_back(actor, now_ms)) {
        return;
    }
    actor_try_database(actor);
    actor_clock_settle(actor, now_ms);
    gather_all(actor, now_ms);
    if (actor->records.count > 0) {
        batch_run(actor, now_ms);
    }
    actor->held.is_on = actor->held.until_us != 0;
    if (actor->held.is_on) {
        arena_reset(&actor->arena);
        return;
    }
    if (!actor->outage.is_on) {
        gather_missing(actor, now_ms);
    }
    tick(actor, now_ms);
    if (actor->parts.trial != NULL && trial_is_on(actor->parts.trial)) {
        trial_turn(actor->parts.trial, inbox_is_caught_up(actor->parts.inbox) && due_rows_next_ms(actor->parts.due_rows) > now_ms);
    }
    arena_reset(&actor->arena);
}

/* The next run need not begin slowly. When it cannot be written down, it will. */
static void
note_clean_stop(struct actor *actor)
{
    bool has_run = actor->db != NULL && trial_is_started(actor->parts.trial);
    if (!has_run || actor->outage.is_on || actor_outcome(actor) != ACTOR_RUNNING) {
        return;
    }
    err code = trial_stop(actor->parts.trial);
    if (code == ERR_ok) {
        code = shard_commit(&actor->shard, 0);
    }
    if (code != ERR_ok) {
        log_warn("stop_not_noted", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("database", db_error(actor->db)));
        db_rollback(actor->db);
    }
}

void
actor_end_orderly(struct actor *actor)
{
    note_clean_stop(actor);
    if (actor_outcome(actor) == ACTOR_RUNNING) {
        atomic_store(&actor->outcome, (int)ACTOR_STOPPED);
    }
}

/* Requests that are here are done; those that wait for a peer get a little time. */
static void
drain(struct actor *actor)
{
    int64_t until_us = clock_steady_us() + DRAIN_MAX_MS * INT64_C(1000);
    bool is_waiting = true;
    while (actor_outcome(actor) == ACTOR_RUNNING && (is_waiting || is_anything_ready(actor)) && clock_steady_us() < until_us) {
        turn(actor);
        is_waiting = waiting_is_worked_on(&actor->waiting);
        if (is_waiting && !is_anything_ready(actor)) {
            wakeup_wait(actor->sockets.wakeup_fd, 1);
        }
    }
    actor_end_orderly(actor);
}

/* How long the loop may sleep. A batch that is full while commits are held back reads no further: the end may be behind it. */
static int64_t
pause_ms(const struct actor *actor)
{
    if (actor->held.is_on) {
        return actor->sockets.router_source.is_ready ? 1 : (actor->held.until_us - clock_steady_us()) / 1000 + 1;
    }
    return is_anything_ready(actor) ? 0 : wait_ms(actor, clock_utc_ms());
}

void
actor_loop(struct actor *actor)
{
    while (actor_outcome(actor) == ACTOR_RUNNING && !actor->sockets.stop_source.is_ready) {
        turn(actor);
        wakeup_wait(actor->sockets.wakeup_fd, pause_ms(actor));
    }
    drain(actor);
}
