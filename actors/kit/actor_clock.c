/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Notices that the clock was set, says so by name, and lets everything that waits be brought back into bounds (retime.h).
 *
 *           While it runs, an actor compares the wall clock with the time since the machine started, at each turn and before
 *           anything is called due: a step in either direction is noticed. At start there is only the moment that the database has
 *           kept of its last commit: a clock that is behind it was ahead then, or is wrong now. One that is far beyond it says
 *           nothing: the shop may have been closed.
 *
 * STATE     `clock` of the actor: its watch, and what was noticed and is not dealt with yet. In the database $shard.seen.
 *
 * FAILURES  No database: the step waits for it, and nothing is due before. A process that is killed between a step forward and its
 *           commit starts like one that was off meanwhile.
 *
 * LIMITS    Steps of less than CLOCK_TOLERANCE_MS are taken for a clock that drifts. A database of a version that kept no moment
 *           is looked through once, at its first start. What waits in memory is forgotten as after a lost database.
 */
#include "actor_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "kit/durable/retime.h"

void
actor_clock_begin(struct actor *actor)
{
    char labels[WIRE_NAME_MAX + 48];
    clock_watch_init(&actor->clock.watch);
    snprintf(labels, sizeof labels, "actor=\"%s\",way=\"back\"", actor->name);
    actor->clock.back = metric(METRIC_COUNTER, "larder_clock_steps_total", labels, "Times that the clock was found to have been set.");
    snprintf(labels, sizeof labels, "actor=\"%s\",way=\"forward\"", actor->name);
    actor->clock.forward =
        metric(METRIC_COUNTER, "larder_clock_steps_total", labels, "Times that the clock was found to have been set.");
    snprintf(labels, sizeof labels, "actor=\"%s\"", actor->name);
    actor->clock.retimed =
        metric(METRIC_COUNTER, "larder_retimed_total", labels, "Rows whose time was brought back into bounds when the clock was set.");
}

static void
notice(struct actor *actor, int64_t by_ms, const char *when)
{
    bool is_back = by_ms < 0;
    metric_add(is_back ? actor->clock.back : actor->clock.forward, 1);
    log_warn(is_back ? "clock_went_back" : "clock_went_forward", LOG_I64("by_ms", is_back ? -by_ms : by_ms), LOG_TEXT("when", when),
             LOG_TEXT("now", is_back ? "what waits is brought back into bounds" : "what waits still waits as long"));
    actor->clock.is_set = true;
    actor->clock.by_ms += by_ms;
}

/* Everything in one transaction, with `seen` on the shard's row. */
static err
retime(struct actor *actor, int64_t now_ms)
{
    struct retiming retiming = {.db = actor->db,
                                .settings = actor->settings,
                                .arena = &actor->arena,
                                .now_ms = now_ms,
                                .by_ms = actor->clock.by_ms > 0 ? actor->clock.by_ms : 0,
                                .back_ms = actor->clock.by_ms < 0 ? -actor->clock.by_ms : 0};
    int64_t changed = 0;
    actor->shard.now_ms = now_ms;
    err code = retime_rows(actor->class, &retiming, &changed);
    if (code == ERR_ok) {
        code = shard_commit(&actor->shard, 0);
    }
    arena_reset(&actor->arena);
    if (code != ERR_ok) {
        log_error("not_retimed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("database", db_error(actor->db)));
        db_rollback(actor->db);
        return code;
    }
    metric_add(actor->clock.retimed, changed);
    if (changed > 0) {
        log_warn("waits_retimed", LOG_I64("rows", changed));
    }
    return ERR_ok;
}

err
actor_clock_start(struct actor *actor, struct err_text *why)
{
    int64_t by_ms = 0;
    int64_t now_ms = clock_watch_look(&actor->clock.watch, &by_ms);
    int64_t behind_ms = actor->shard.seen_ms - now_ms;
    actor->shard.now_ms = now_ms;
    if (actor->shard.seen_ms > 0 && behind_ms <= CLOCK_TOLERANCE_MS) {
        return ERR_ok;
    }
    if (behind_ms > CLOCK_TOLERANCE_MS) {
        notice(actor, -behind_ms, "since the last run");
    }
    err code = retime(actor, now_ms);
    actor->clock.is_set = false;
    actor->clock.by_ms = 0;
    return code == ERR_ok ? ERR_ok
                          : err_say(why, code, "%s cannot bring its times back into bounds: %s", actor->name, err_words(code));
}

int64_t
actor_clock_look(struct actor *actor)
{
    int64_t by_ms = 0;
    int64_t now_ms = clock_watch_look(&actor->clock.watch, &by_ms);
    if (by_ms != 0) {
        notice(actor, by_ms, "while running");
        asks_retime(actor->peers.asks, by_ms);
        if (actor->peers.outcalls != NULL) {
            outcalls_retime(actor->peers.outcalls, by_ms);
        }
        actor->outage.pause_until_ms = 0;
        actor->outage.full_said_ms = 0;
    }
    actor->shard.now_ms = now_ms;
    return now_ms;
}

void
actor_clock_settle(struct actor *actor, int64_t now_ms)
{
    if (!actor->clock.is_set || actor->outage.is_on) {
        return;
    }
    err code = actor->db == NULL ? ERR_ok : retime(actor, now_ms);
    if (code == ERR_ok) {
        actor->clock.is_set = false;
        actor->clock.by_ms = 0;
        code = actor_reopen(actor, NULL);
    }
    if (actor->db != NULL && code != ERR_ok) {
        actor->outage.is_on = true;
        actor->outage.since_us = clock_steady_us();
    }
}
