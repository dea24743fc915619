/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A batch after an unclean stop, and every batch with a message that ended its actor before: its records that the run before
 *           may have seen are run one by one, each named on disk before it is handled (trial.h), and those that have too many deaths
 *           are given up. What the run before cannot have seen goes together.
 *
 * STATE     `trial` of the actor. While a batch is tried each transaction writes down the name of the record behind its own, so that
 *           a record costs one commit, as it would alone.
 *
 * FAILURES  A name that cannot be written is a failure of its record, as if the record itself could not be committed.
 *
 * LIMITS    Only what comes again has a name: events, due rows, and requests of the class. Replies, ended calls, HEADs and the kit's
 *           own requests do not come again, and are not blamed. A client that asks again without saying so is met from the second run
 *           in a row on that did not end cleanly.
 */
#include <stdio.h>

#include "actor_internal.h"
#include "kit/telemetry/log.h"

enum { TRIED_PAUSE_MS = 1000 };

/* Size 0: it has none. */
static struct trial_name
name_of(const struct record *record)
{
    bool is_handled = record->outcome.status == ERR_COUNT && record->folded_into < 0;
    if (is_handled && record->event != NULL) {
        return trial_name_of_event(record->event->header.source, record->event->header.seq);
    }
    if (is_handled && record->due != NULL) {
        return trial_name_of_due(record->due->owner, record->due->key);
    }
    if (is_handled && record->item.kind == ITEM_REQUEST && strcmp(wire_ops[record->item.op].owner, "any") != 0) {
        return trial_name_of_request(&record->item.id);
    }
    return (struct trial_name){.size = 0};
}

/* Whether the record has to be handled alone: it ended the actor before, or it may be what ended the last run. */
static bool
is_tried(const struct actor *actor, const struct record *record)
{
    struct trial_name name = name_of(record);
    if (name.size == 0) {
        return false;
    }
    bool is_new = record->item.kind == ITEM_REQUEST && !record->item.again;
    return trial_wants(actor->parts.trial, &name, is_new) || trial_is_suspect(actor->parts.trial, &name);
}

bool
tried_is_wanted(const struct actor *actor)
{
    if (actor->parts.trial == NULL || !(trial_is_on(actor->parts.trial) || trial_has_suspects(actor->parts.trial))) {
        return false;
    }
    for (size_t i = 0; i < actor->records.count; i++) {
        if (is_tried(actor, &actor->records.list[i])) {
            return true;
        }
    }
    return false;
}

size_t
tried_together(const struct actor *actor, size_t first)
{
    size_t end = first;
    while (end < actor->records.count && actor->records.list[end].event == NULL && !is_tried(actor, &actor->records.list[end])) {
        end++;
    }
    return end == first ? 1 : end - first;
}

/* --- names on disk --- */

static void
find_next(struct actor *actor, size_t number)
{
    struct trial_name next = {.size = 0};
    for (size_t i = number + 1; next.size == 0 && i < actor->records.count; i++) {
        struct trial_name name = name_of(&actor->records.list[i]);
        if (is_tried(actor, &actor->records.list[i]) && trial_deaths(actor->parts.trial, &name) < TRIAL_DEATHS) {
            next = name;
        }
    }
    trial_set_next(actor->parts.trial, &next);
}

/* A transaction of its own: what the inbox has taken out is not part of it. */
static err
commit_name(struct actor *actor, err queued)
{
    err code = queued == ERR_ok ? shard_commit(&actor->shard, 0) : queued;
    if (code == ERR_ok) {
        trial_part.committed(actor->parts.trial);
    } else {
        db_rollback(actor->db);
        trial_part.dropped(actor->parts.trial);
    }
    if (code == ERR_db_lost || code == ERR_db_unknown) {
        bool happened = false;
        err recovered = actor_recover(actor, &happened);
        recovered = recovered == ERR_ok ? actor_reopen(actor, NULL) : recovered;
        code = recovered == ERR_db_stale ? recovered : ERR_db_lost;
    }
    return code;
}

/* --- given up --- */

void
tried_put_back(struct actor *actor, struct record *record, err code, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    const struct due_row *due = record->due;
    struct blame charge = {.status = code, .reason = err_words(replies_public_status(code)), .attempts = 1};
    err queued = ERR_ok;
    if (due->attempts + 1 < actor->settings->retry_attempts) {
        rows_set_due(&batch, due, now_ms + batch_backoff_ms(&batch, due->attempts + 1), due->attempts + 1);
    } else {
        struct trial_name name = trial_name_of_due(due->owner, due->key);
        queued = trial_convict(actor->parts.trial, &name);
        rows_bury_due(&batch, due, &charge);
    }
    if (!batch_commit_alone(actor, record, queued)) {
        actor->outage.pause_until_ms = now_ms + TRIED_PAUSE_MS;
    }
}

/* A request is told; the row of an event or of a timer stays, and a letter says so. */
static void
give_up(struct actor *actor, struct record *record, const struct trial_name *name, int64_t now_ms)
{
    struct batch batch = {.actor = actor, .now_ms = now_ms};
    const char *what = record->event != NULL ? "event" : record->due != NULL ? "due row" : "request";
    char why[ERR_TEXT_MAX];
    snprintf(why, sizeof why, "the actor ended %d times while it handled this %s alone; it is not handled again by itself",
             TRIAL_DEATHS, what);
    log_error("message_given_up", LOG_SLICE("message", ((struct slice){name->bytes, name->size})),
              LOG_TEXT("reason", err_symbol(ERR_poison)), LOG_TEXT("words", why), LOG_ID("req", &record->item.id));
    if (record->item.kind == ITEM_REQUEST) {
        record->item.outcome = &record->outcome;
        item_refuse(&batch, &record->item, ERR_internal, "%s", why);
        replies_send(actor, record, 1);
        return;
    }
    err code = trial_convict(actor->parts.trial, name);
    if (code == ERR_ok && record->event != NULL) {
        code = rows_charge(&batch, record,
                           &(struct blame){.status = ERR_poison, .reason = why, .attempts = TRIAL_DEATHS, .is_final = true});
    } else if (code == ERR_ok) {
        rows_bury_due(&batch, record->due, &(struct blame){.status = ERR_poison, .reason = why, .attempts = TRIAL_DEATHS});
        if (record->retry != NULL) {
            rows_say_failed(&batch, record, ERR_poison, why, record->due->attempts + TRIAL_DEATHS);
        }
    }
    trial_set_next(actor->parts.trial, &(struct trial_name){.size = 0});
    if (!batch_commit_alone(actor, record, code)) {
        actor->outage.pause_until_ms = now_ms + TRIED_PAUSE_MS; /* it comes again, and is given up then */
    }
}

err
tried_begin(struct actor *actor, size_t number, int64_t now_ms, bool *is_given_up)
{
    struct record *record = &actor->records.list[number];
    struct trial_name name = is_tried(actor, record) ? name_of(record) : (struct trial_name){.size = 0};
    *is_given_up = name.size > 0 && trial_deaths(actor->parts.trial, &name) >= TRIAL_DEATHS;
    if (*is_given_up) {
        give_up(actor, record, &name, now_ms);
        return ERR_ok;
    }
    err code = ERR_ok;
    if (name.size > 0 && !trial_is_begun(actor->parts.trial, &name)) {
        code = commit_name(actor, trial_begin(actor->parts.trial, &name));
    }
    trial_handle(actor->parts.trial, &name);
    find_next(actor, number);
    return code;
}

void
tried_end(struct actor *actor)
{
    if (actor->outage.is_on || actor_outcome(actor) != ACTOR_RUNNING || !trial_is_trying(actor->parts.trial)) {
        return;
    }
    err code = commit_name(actor, trial_queue(actor->parts.trial, NULL));
    if (code != ERR_ok) {
        log_warn("name_not_taken_back", LOG_TEXT("code", err_symbol(code)));
    }
}
