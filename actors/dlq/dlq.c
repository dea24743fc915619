/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Keeps what was not delivered or not processed until somebody has dealt with it, and helps to. This file is its life and says which
 *   part handles what; the parts are named in dlq_state.h.
 *
 * MESSAGES
 *   dlq.bury                                         dlq_burial.c
 *   dlq.list, show, stats                            dlq_view.c
 *   dlq.replay, edit, discard, restore               dlq_owner.c, asking any.retry, any.edit, any.discard, any.restore of the owner;
 *                                                    dlq_outcome.c has the answers
 *   dlq.start, status, replays, cancel               dlq_replay.c
 *   dlq.hand_over, outcome                           dlq_request.c, asking whatever was handed over
 *   dlq.fetch                                        dlq_host.c
 *   dlq.subscribe, receive, unsubscribe              dlq_subscription.c, asking any.fetch, any.subscribe, any.unsubscribe of sources
 *   HEAD of every source                             dlq_host.c
 *   due "deliver", "purge", "asked", "replay"        dlq_request.c, dlq_owner.c, dlq_replay.c
 *
 * STATE
 *   dlq_schema.c. Counters and bounds of filters are in memory as well; what a batch changes of them is taken back when it is dropped.
 *
 * FAILURES
 *   A letter is on disk before its burial is confirmed, and none is ever deleted. With a full disk the reserve is given free, so that
 *   burials go on while requests are not taken for later any more (dlq_room.c).
 *
 * LIMITS
 *   One shard. It asks every actor and so is started before and stopped after them.
 */
#include "dlq.h"

#include <stdlib.h>

#include "dlq_schema.h"
#include "dlq_state.h"
#include "kit/base/memory.h"

/* --- requests --- */

static const struct {
    enum op op;
    err (*handle)(struct dlq *dlq, struct batch *batch, struct item *item);
} handlers[] = {
    {OP_dlq_bury, dlq_handle_bury},           {OP_dlq_list, dlq_handle_list},       {OP_dlq_show, dlq_handle_show},
    {OP_dlq_stats, dlq_handle_stats},         {OP_dlq_replay, dlq_owner_handle},    {OP_dlq_edit, dlq_owner_handle},
    {OP_dlq_discard, dlq_owner_handle},       {OP_dlq_restore, dlq_owner_handle},   {OP_dlq_start, dlq_handle_start},
    {OP_dlq_status, dlq_handle_status},       {OP_dlq_replays, dlq_handle_replays}, {OP_dlq_cancel, dlq_handle_cancel},
    {OP_dlq_hand_over, dlq_handle_hand_over}, {OP_dlq_outcome, dlq_handle_outcome}, {OP_dlq_fetch, dlq_handle_fetch},
    {OP_dlq_subscribe, dlq_handle_subscribe}, {OP_dlq_receive, dlq_handle_receive}, {OP_dlq_unsubscribe, dlq_handle_unsubscribe},
};

static err
handle_request(struct dlq *dlq, struct batch *batch, struct item *item)
{
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++) {
        if (handlers[i].op == item->op) {
            return handlers[i].handle(dlq, batch, item);
        }
    }
    item_refuse(batch, item, ERR_unknown_op, "%s is not done by the dlq", wire_ops[item->op].name);
    return ERR_ok;
}

/* --- what was asked, what is due --- */

static err
handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    if (item->op == OP_any_retry || item->op == OP_any_edit || item->op == OP_any_discard || item->op == OP_any_restore) {
        return dlq_outcome_handle(dlq, batch, item);
    }
    if (item->op == OP_any_fetch || item->op == OP_any_subscribe || item->op == OP_any_unsubscribe) {
        return dlq_host_handle_reply(dlq, batch, item);
    }
    return dlq_request_handle_reply(dlq, batch, item);
}

static err
handle_due(struct dlq *dlq, struct batch *batch, struct item *item)
{
    if (slice_equal(item->owner, slice_of(DLQ_DUE_DELIVER))) {
        return dlq_request_handle_due(dlq, batch, item);
    }
    if (slice_equal(item->owner, slice_of(DLQ_DUE_PURGE)) || slice_equal(item->owner, slice_of(DLQ_DUE_ASKED))) {
        return dlq_owner_handle_due(dlq, batch, item);
    }
    if (slice_equal(item->owner, slice_of(DLQ_DUE_REPLAY))) {
        return dlq_replay_handle_due(dlq, batch, item);
    }
    return ERR_internal;
}

static err
handle_item(struct dlq *dlq, struct batch *batch, struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        return handle_request(dlq, batch, item);
    case ITEM_REPLY:
        return handle_reply(dlq, batch, item);
    case ITEM_DUE:
        return handle_due(dlq, batch, item);
    case ITEM_HEAD:
        return dlq_host_handle_head(dlq, batch, item);
    case ITEM_EVENT:
    case ITEM_CALL:
    case ITEM_WORK:
        break; /* it follows nobody and calls nobody */
    }
    return ERR_internal;
}

/* --- its parts --- */

/* Opened from the first to the last; queued and closed from the last to the first, as what stands above changes what is below. */
static const struct dlq_part *const parts[] = {
    &dlq_letters_part, &dlq_owner_part,    &dry_runs_part,     &dlq_runs_part,
    &dlq_sending_part, &dlq_hostings_part, &dlq_receives_part, &dlq_host_part,
};

#define PART_COUNT (sizeof parts / sizeof parts[0])

/* What all items of the batch have changed together. */
static err
queue_parts(struct dlq *dlq, struct batch *batch)
{
    err code = ERR_ok;
    for (size_t left = PART_COUNT; code == ERR_ok && left > 0; left--) {
        const struct dlq_part *part = parts[left - 1];
        code = part->queue == NULL ? ERR_ok : part->queue(dlq, batch);
    }
    return code;
}

static err
dlq_handle(void *state, struct batch *batch)
{
    struct dlq *dlq = state;
    for (size_t i = 0; i < batch->count; i++) {
        err code = handle_item(dlq, batch, &batch->items[i]);
        if (code != ERR_ok) {
            return code;
        }
    }
    return queue_parts(dlq, batch);
}

static err
dlq_tick(void *state, struct batch *batch)
{
    err code = ERR_ok;
    for (size_t left = PART_COUNT; code == ERR_ok && left > 0; left--) {
        const struct dlq_part *part = parts[left - 1];
        code = part->tick == NULL ? ERR_ok : part->tick(state, batch);
    }
    return code == ERR_ok ? queue_parts(state, batch) : code;
}

static int64_t
dlq_next_ms(const void *state)
{
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < PART_COUNT; i++) {
        int64_t part_ms = parts[i]->next_ms == NULL ? INT64_MAX : parts[i]->next_ms(state);
        next_ms = part_ms < next_ms ? part_ms : next_ms;
    }
    return next_ms;
}

static void
dlq_committed(void *state)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        if (parts[i]->committed != NULL) {
            parts[i]->committed(state);
        }
    }
}

static void
dlq_dropped(void *state)
{
    for (size_t i = 0; i < PART_COUNT; i++) {
        if (parts[i]->dropped != NULL) {
            parts[i]->dropped(state);
        }
    }
}

/* --- the class --- */

static bool
dlq_make_room(void *state)
{
    struct dlq *dlq = state;
    return dlq_room_release(dlq->room);
}

static void
dlq_close(void **state)
{
    struct dlq *dlq = *state;
    *state = NULL;
    for (size_t left = PART_COUNT; dlq != NULL && left > 0; left--) {
        if (parts[left - 1]->close != NULL) {
            parts[left - 1]->close(dlq);
        }
    }
    free(dlq);
}

static err
dlq_open(struct actor *actor, void **state, struct err_text *why)
{
    struct dlq *dlq = memory_new(1, sizeof *dlq);
    dlq->actor = actor;
    dlq->settings = actor_settings(actor);
    *state = dlq;
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < PART_COUNT; i++) {
        code = parts[i]->open == NULL ? ERR_ok : parts[i]->open(dlq);
    }
    return code == ERR_ok ? code : err_say(why, code, "the letters cannot be read: %s", db_error(actor_db(actor)));
}

static const char *const peers[] = {"stock", "factory", "sales", NULL};

const struct actor_class dlq_class = {
    .name = "dlq",
    .steps = dlq_steps,
    .step_count = DLQ_STEP_COUNT,
    .watches = true,
    .peers = peers,
    .retime = dlq_retime,
    .open = dlq_open,
    .close = dlq_close,
    .handle = dlq_handle,
    .committed = dlq_committed,
    .dropped = dlq_dropped,
    .make_room = dlq_make_room,
    .tick = dlq_tick,
    .next_ms = dlq_next_ms,
};
