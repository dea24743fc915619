/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Keeps what was not delivered or not processed until somebody has dealt with it, and helps to. This file is its life and says which
 *   part handles what; the parts are named in dlq_state.h.
 *
 * MESSAGES
 *   dlq.bury, list, show, stats                      dlq_letters.c
 *   dlq.replay, edit, discard, restore               dlq_owner.c, asking any.retry, any.edit, any.discard, any.restore of the owner
 *   dlq.start, status, replays, cancel               dlq_replay.c
 *   dlq.hand_over                                    dlq_request.c, asking whatever was handed over
 *   dlq.fetch, subscribe, receive, unsubscribe       dlq_host.c, asking any.fetch, any.subscribe, any.unsubscribe of sources
 *   HEAD of every source                             dlq_host.c
 *   due "deliver", "purge", "replay"                 dlq_request.c, dlq_owner.c, dlq_replay.c
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

/* --- requests --- */

static const struct {
    enum op op;
    err (*handle)(struct dlq *dlq, struct batch *batch, struct item *item);
} handlers[] = {
    {OP_dlq_bury, dlq_handle_bury},           {OP_dlq_list, dlq_handle_list},       {OP_dlq_show, dlq_handle_show},
    {OP_dlq_stats, dlq_handle_stats},         {OP_dlq_replay, dlq_handle_replay},   {OP_dlq_edit, dlq_handle_edit},
    {OP_dlq_discard, dlq_handle_discard},     {OP_dlq_restore, dlq_handle_restore}, {OP_dlq_start, dlq_handle_start},
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
        return dlq_owner_handle_reply(dlq, batch, item);
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

/* What all items of the batch have changed together. */
static err
finish(struct dlq *dlq, struct batch *batch)
{
    err code = dlq_replay_advance(dlq, batch);
    if (code == ERR_ok) {
        code = dlq_store_flush(&dlq->store);
    }
    return code == ERR_ok ? dlq_tally_queue(dlq->tally) : code;
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
    return finish(dlq, batch);
}

static err
dlq_tick(void *state, struct batch *batch)
{
    struct dlq *dlq = state;
    err code = dlq_host_tick(dlq, batch);
    if (code == ERR_ok) {
        dlq_room_tick(dlq->room);
        code = dlq_meters_tick(dlq, batch->now_ms);
    }
    return code == ERR_ok ? finish(dlq, batch) : code;
}

static int64_t
dlq_next_ms(const void *state)
{
    int64_t host_ms = dlq_host_next_ms(state);
    int64_t replay_ms = dlq_replay_next_ms(state);
    return host_ms < replay_ms ? host_ms : replay_ms;
}

/* --- the class --- */

static void
dlq_committed(void *state)
{
    struct dlq *dlq = state;
    dlq_store_committed(&dlq->store);
    dlq_tally_committed(dlq->tally);
    dlq_owner_committed(dlq);
    dlq_replay_committed(dlq);
    dlq_host_committed(dlq);
}

static void
dlq_dropped(void *state)
{
    struct dlq *dlq = state;
    dlq_store_dropped(&dlq->store);
    dlq_tally_dropped(dlq->tally);
    dlq_owner_dropped(dlq);
    dlq_replay_dropped(dlq);
    dlq_host_dropped(dlq);
}

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
    if (dlq == NULL) {
        return;
    }
    dlq_host_close(dlq);
    dlq_replay_close(dlq);
    dlq_owner_close(dlq);
    dlq_meters_destroy(&dlq->meters);
    dlq_room_destroy(&dlq->room);
    dlq_tally_destroy(&dlq->tally);
    dlq_store_fini(&dlq->store);
    wire_buffer_fini(&dlq->page);
    free(dlq);
}

static err
open_parts(struct dlq *dlq)
{
    err code = dlq_store_load(&dlq->store);
    if (code == ERR_ok) {
        code = dlq_tally_load(dlq->tally);
    }
    if (code == ERR_ok) {
        code = dlq_owner_open(dlq);
    }
    if (code == ERR_ok) {
        code = dlq_replay_open(dlq);
    }
    return code == ERR_ok ? dlq_host_open(dlq) : code;
}

static err
dlq_open(struct actor *actor, void **state, struct err_text *why)
{
    struct dlq *dlq = calloc(1, sizeof *dlq);
    if (dlq == NULL) {
        abort();
    }
    dlq->actor = actor;
    dlq->settings = actor_settings(actor);
    dlq_store_init(&dlq->store, actor_db(actor));
    dlq->tally = dlq_tally_create(actor_db(actor));
    dlq->room = dlq_room_create(dlq->settings, actor);
    dlq->meters = dlq_meters_create();
    *state = dlq;
    err code = open_parts(dlq);
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
