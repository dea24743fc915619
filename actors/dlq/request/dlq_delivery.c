/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Delivers a request that was handed over: one attempt, under its own id.
 *
 * MESSAGES  The operation itself, with `again`, so that the actor does it once however often it is asked.
 *
 * STATE     The due row "deliver" of a letter that waits: it stands for the next delivery, and during one for what is done should no
 *           answer ever come.
 *
 * FAILURES  What this version or topology cannot deliver is dead at once.
 *
 * LIMITS    An attempt has request_timeout_ms, and no longer than the request is useful.
 */
#include "dlq_delivery.h"

#include <stdio.h>

#include "dlq/letter/dlq_callers.h"
#include "kit/base/arena.h"
#include "kit/settings/topology.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

void
dlq_delivery_set_due(struct batch *batch, const struct dlq_letter *letter, int64_t due_ms)
{
    batch_due(batch, &(struct due){.owner = DLQ_DUE_DELIVER, .key = dlq_key_of(&letter->id), .due_ms = due_ms});
}

/* When an answer has come, or is known not to. */
static int64_t
ask_deadline_ms(const struct dlq *dlq, const struct batch *batch, const struct dlq_letter *letter)
{
    int64_t deadline_ms = batch->now_ms + dlq->settings->request_timeout_ms;
    bool ends_sooner = letter->state == DLQ_WAITING && letter->useful_until_ms < deadline_ms;
    return ends_sooner ? letter->useful_until_ms : deadline_ms;
}

/* This process knows no such operation or shard: it was written by another version or topology. */
static err
give_up(struct dlq *dlq, struct batch *batch, const struct dlq_letter *before)
{
    struct dlq_letter letter = *before;
    letter.state = letter.state == DLQ_WAITING ? DLQ_DEAD : letter.state;
    letter.last_ms = batch->now_ms;
    dlq_copy(letter.reason, sizeof letter.reason, slice_of(err_symbol(ERR_unknown_op)));
    (void)snprintf(letter.error, sizeof letter.error, "this dlq knows no %s at %s", letter.type, letter.destination);
    log_often(LOG_LEVEL_ERROR, "request_cannot_be_delivered", letter.destination, LOG_TEXT("op", letter.type),
              LOG_TEXT("destination", letter.destination), LOG_ID("req", &letter.request));
    err code = dlq_change_letter(dlq, batch, &letter, before);
    return code == ERR_ok ? dlq_callers_delivered(dlq, batch, &(struct dlq_outcome){.letter = &letter}) : code;
}

err
dlq_delivery_send(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    char actor[DLQ_TEXT_SIZE];
    int shard = 0;
    struct arena arena = {0};
    struct dlq_frames frames = {0};
    enum op op = wire_op_find(letter->type, strlen(letter->type));
    bool is_known = op != OP_COUNT && dlq_split(letter->destination, actor, &shard) && strcmp(actor, wire_ops[op].owner) == 0 &&
                    shard < topology_shards(dlq->settings, actor);
    if (!is_known) {
        return give_up(dlq, batch, letter);
    }
    err code = dlq_store_frames(&dlq->store, &arena, letter->n, &frames);
    if (code == ERR_ok) {
        int64_t deadline_ms = ask_deadline_ms(dlq, batch, letter);
        bool is_traced = strlen(letter->traceparent) == sizeof letter->traceparent - 1;
        batch_ask(batch, &(struct ask){.actor = wire_ops[op].owner,
                                       .shard = shard,
                                       .op = op,
                                       .id = letter->request,
                                       .again = true,
                                       .deadline_ms = deadline_ms,
                                       .traceparent = is_traced ? slice_of(letter->traceparent) : (struct slice){0},
                                       .frame = frames.body,
                                       .context = dlq_context_of(letter->n)});
        if (letter->state == DLQ_WAITING) {
            dlq_delivery_set_due(batch, letter, deadline_ms + DLQ_GUARD_MS);
        }
    }
    arena_fini(&arena);
    return code;
}
