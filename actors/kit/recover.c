/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an actor does about its database: it is lost, taken again, and the class opened anew from it; and the actor ends when
 *           that is not possible because somebody else writes its shard.
 *
 * STATE     Whether the database is away, since when, and when it is tried again.
 *
 * FAILURES  A shard that somebody else took ends the thread (ACTOR_FENCED). Any other failure leaves the database away, and it is
 *           tried again a few times a second.
 *
 * LIMITS    A connect blocks the thread for a second at the most.
 */
#include "actor_internal.h"
#include "kit/base/clock.h"
#include "kit/place/neighbours.h"
#include "kit/telemetry/log.h"

enum { DB_RETRY_MS = 300 };

enum actor_outcome
actor_outcome(const struct actor *actor)
{
    return (enum actor_outcome)atomic_load(&actor->outcome);
}

void
actor_end(struct actor *actor, enum actor_outcome outcome, const char *why)
{
    if (atomic_load(&actor->outcome) == ACTOR_RUNNING) {
        log_error("actor_ends", LOG_TEXT("why", why), LOG_I64("epoch", actor->shard.epoch));
        atomic_store(&actor->outcome, (int)outcome);
    }
}

void
actor_end_stale(struct actor *actor)
{
    struct err_text why = {""};
    if (atomic_load(&actor->outcome) == ACTOR_RUNNING) {
        shard_say_stale(&actor->shard, &why);
        actor_end(actor, ACTOR_FENCED, why.text);
    }
}

err
actor_reopen(struct actor *actor, struct err_text *reason)
{
    struct err_text why = {""};
    if (actor->state != NULL) {
        actor->class->close(&actor->state);
        replies_refuse_lost(actor);
    }
    err code = actor->class->open(actor, &actor->state, &why);
    if (actor->db == NULL) {
        return code;
    }
    if (code == ERR_ok) {
        code = parts_load(&actor->parts.all);
    }
    if (code == ERR_ok && actor->peers.outcalls != NULL) {
        code = due_rows_count_turns(actor->parts.due_rows);
    }
    if (code == ERR_ok && actor->peers.outcalls != NULL) {
        code = outcalls_load(actor->peers.outcalls, actor->parts.due_rows, &actor->arena);
    }
    if (code == ERR_ok && db_is_writing(actor->db)) {
        code = shard_commit(&actor->shard, 0);
    }
    if (code != ERR_ok) {
        log_error("cannot_open", LOG_TEXT("why", why.text), LOG_TEXT("database", db_error(actor->db)));
        if (reason != NULL) {
            const char *words = why.text[0] != '\0' ? why.text : db_error(actor->db);
            (void)err_say(reason, code, "%.400s", words[0] != '\0' ? words : err_words(code));
        }
        db_rollback(actor->db);
        actor->outage.is_on = true;
        return code;
    }
    db_rollback(actor->db);
    actor->outage.is_on = false;
    return ERR_ok;
}

err
actor_recover(struct actor *actor, bool *happened)
{
    struct err_text why = {""};
    int64_t now_us = clock_steady_us();
    if (!actor->outage.is_on) {
        actor->outage.since_us = now_us;
        log_warn("database_lost", LOG_TEXT("database", db_error(actor->db)));
    }
    actor->outage.is_on = true;
    actor->outage.retry_us = now_us + DB_RETRY_MS * INT64_C(1000);
    err code = db_reconnect(actor->db, &why);
    if (code == ERR_ok) {
        code = shard_retake(&actor->shard, happened, &why);
    }
    if (code != ERR_ok) {
        log_warn("database_away", LOG_TEXT("reason", why.text));
        if (code == ERR_db_stale) {
            actor_end(actor, ACTOR_FENCED, why.text);
        }
        return code == ERR_db_stale ? code : ERR_db_lost;
    }
    actor->outage.is_on = false;
    log_info("database_back", LOG_I64("away_ms", (clock_steady_us() - actor->outage.since_us) / 1000),
             LOG_I64("epoch", actor->shard.epoch));
    return ERR_ok;
}

/* Beside an older installation it is as if the database were away: nobody is served, nothing is followed, nothing falls due. */
static void
stand_back(struct actor *actor)
{
    int64_t now_us = clock_steady_us();
    actor->outage.since_us = actor->outage.is_on ? actor->outage.since_us : now_us;
    actor->outage.retry_us = now_us + DB_RETRY_MS * INT64_C(1000);
    actor->outage.is_on = true;
}

void
actor_try_database(struct actor *actor)
{
    if (neighbours_are_older() && actor->db != NULL) {
        stand_back(actor);
        return;
    }
    if (!actor->outage.is_on || clock_steady_us() < actor->outage.retry_us) {
        return;
    }
    bool happened = false;
    err code = actor_recover(actor, &happened);
    if (code == ERR_ok) {
        code = actor_reopen(actor, NULL);
    }
    if (code == ERR_db_stale) {
        actor_end_stale(actor);
    }
}

bool
actor_is_paused(const struct actor *actor, int64_t now_ms)
{
    return actor->db != NULL && (actor->outage.is_on || now_ms < actor->outage.pause_until_ms);
}
