/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What every actor answers by itself: any.ping, any.pause, any.resolve, the requests of its stream (fetch, subscribe,
 *           unsubscribe), and those of its rows (row_requests.c). They never reach the class.
 *
 * FAILURES  Errors of the database go up; what a request has done wrong is a refusal.
 */
#include <string.h>

#include "actor_internal.h"
#include "kit/base/clock.h"

/* --- the kit's own requests --- */

static void
answer_ping(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    struct wire_pong pong = {0};
    WIRE_SET(&pong, pong, actor, slice_of(actor->class->name));
    WIRE_SET(&pong, pong, shard, actor->shard_number);
    WIRE_SET(&pong, pong, of, actor->of);
    WIRE_SET(&pong, pong, version, slice_of(LARDER_VERSION));
    if (actor->db != NULL) {
        WIRE_SET(&pong, pong, incarnation, actor->shard.incarnation);
        WIRE_SET(&pong, pong, seq, actor->shard.seq);
        WIRE_SET(&pong, pong, installation, actor->installation.id);
    }
    item_answer(batch, item, &pong);
}

/* Begins behind the commit of this batch. A pause never outlives its asker for long: it ends by itself. */
static void
answer_pause(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    const struct wire_pause *pause = item->body;
    if (item->role != ROLE_OPERATOR) {
        item_refuse(batch, item, ERR_forbidden, "any.pause is the operator's");
        return;
    }
    struct wire_paused paused = {0};
    WIRE_SET(&paused, paused, is_held, actor->held.is_on);
    if (actor->db != NULL) {
        WIRE_SET(&paused, paused, incarnation, actor->shard.incarnation);
        WIRE_SET(&paused, paused, epoch, actor->shard.epoch);
        WIRE_SET(&paused, paused, batch, actor->shard.batch);
        WIRE_SET(&paused, paused, seq, actor->shard.seq);
    }
    actor->held.until_us = pause->for_ms == 0 ? 0 : clock_steady_us() + pause->for_ms * 1000;
    item_answer(batch, item, &paused);
}

/* Rows of parked events that the batch changes are not to be forgotten in it as well. */
static bool
has_parked_event(const struct actor *actor)
{
    for (size_t i = 0; i < actor->records.count; i++) {
        if (actor->records.list[i].event != NULL && actor->records.list[i].event->is_parked) {
            return true;
        }
    }
    return false;
}

static err
answer_resolve(struct batch *batch, struct item *item)
{
    struct actor *actor = batch->actor;
    const struct wire_incident_resolve *asked = item->body;
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
                                       : inbox_resolve(actor->parts.inbox, &actor->arena, &decision, &words, &why);
    if (code != ERR_ok && replies_public_status(code) != code) {
        return code;
    }
    if (code != ERR_ok) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    struct wire_incident_resolved resolved = {0};
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
    const struct wire_nothing nothing = {0};
    err code = answers_find(actor->parts.answers, &actor->arena, &item->id, 1, &before, &found);
    if (code == ERR_ok && found > 0) {
        item_replay(batch, item, &before.fingerprint, before.status, before.frame);
        return ERR_ok;
    }
    if (code == ERR_ok) {
        code = source_unsubscribe(actor->parts.source, item->body, why);
    }
    if (code == ERR_ok) {
        item_answer(batch, item, &nothing);
        answers_add(actor->parts.answers,
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
    struct wire_fetched fetched = {0};
    struct wire_subscribed subscribed = {0};
    struct wire_nothing nothing = {0};
    const void *reply = &nothing;
    err code = ERR_ok;
    if (actor->parts.source == NULL) {
        item_refuse(batch, item, ERR_not_implemented, "%s publishes no events", actor->name);
        return ERR_ok;
    }
    if (item->op == OP_any_fetch) {
        code = source_fetch(actor->parts.source, &actor->arena, item->body, &fetched, &why);
        reply = &fetched;
    } else if (item->op == OP_any_subscribe) {
        code = source_subscribe(actor->parts.source, item->body, &subscribed, &why);
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

err
own_answer(struct batch *batch, struct record *records, size_t count)
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
            code = row_request_answer(batch, record);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}
