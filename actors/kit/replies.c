/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Answers on their way out, after the commit: along the envelope of a request, or of a waiter whose answer came later.
 * STATE     The list of those that wait, and a pool of waiters.
 * FAILURES  A reply that does not fit, or whose client is gone, is dropped and counted: the client asks again with the same id.
 */
#include <stdio.h>

#include "actor_internal.h"
#include "kit/telemetry/log.h"

/* What one caller is told. */
struct reply {
    const struct id *id;
    bool again;
    bool is_replayed;
    enum op op;
    err status;
    struct slice frame;
};

err
replies_public_status(err code)
{
    if (code >= ERR_db_unique && code <= ERR_db_bug) {
        return err_disposition(code) == ERR_RETRY || code == ERR_db_stale || code == ERR_db_denied ? ERR_unavailable : ERR_internal;
    }
    return code;
}

void
replies_send_frames(struct actor *actor, struct message *message, const struct wire_reply_header *header, struct slice body)
{
    actor->sockets.reply_header.size = 0;
    wire_encode(&reply_header_body, header, &actor->sockets.reply_header);
    if (unread_reply(actor->sockets.unread, actor->sockets.raw_router, message, wire_buffer_slice(&actor->sockets.reply_header),
                     body) != MESSAGE_SENT) {
        metric_add(actor->metrics.replies_dropped, 1);
    }
    actor->sockets.router_source.is_ready = true;
}

static void
count_answer(struct actor *actor, enum op op, err status)
{
    if (actor->metrics.answered[op][status] == NULL) {
        char labels[160];
        snprintf(labels, sizeof labels, "actor=\"%s\",op=\"%s\",status=\"%s\"", actor->name, wire_ops[op].name, err_symbol(status));
        actor->metrics.answered[op][status] =
            metric(METRIC_COUNTER, "larder_requests_total", labels, "Requests answered, by outcome.");
    }
    metric_add(actor->metrics.answered[op][status], 1);
}

static void
tell(struct actor *actor, struct message *message, const struct reply *reply)
{
    struct wire_reply_header header = {0};
    err status = replies_public_status(reply->status);
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, *reply->id);
    if (reply->again) {
        WIRE_SET(&header, reply_header, again, true);
    }
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(status)));
    if (reply->is_replayed) {
        WIRE_SET(&header, reply_header, replayed, true);
    }
    replies_send_frames(actor, message, &header, reply->frame);
    count_answer(actor, reply->op, status);
    if (status != ERR_ok) {
        log_debug("refused", LOG_TEXT("op", wire_ops[reply->op].name), LOG_TEXT("status", err_symbol(status)),
                  LOG_ID("req", reply->id));
    }
}

void
replies_send_one(struct actor *actor, struct record *record, const struct item_outcome *outcome)
{
    tell(actor, &record->message,
         &(struct reply){.id = record->retry == NULL ? &record->item.id : &record->retry->request,
                         .again = record->is_again,
                         .is_replayed = outcome->is_replayed,
                         .op = record->retry == NULL ? record->item.op : record->retry->op,
                         .status = outcome->status,
                         .frame = outcome->frame});
}

/* The envelope goes over to the waiter. */
static void
start_waiting(struct record *record)
{
    struct waiter *waiter = record->outcome.waiter;
    waiter->again = record->is_again;
    waiter->message = record->message;
    record->has_message = false;
}

void
replies_send(struct actor *actor, struct record *records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct record *record = &records[i];
        if (!record_is_asked(record) || !record->has_message || record->folded_into >= 0) {
            continue;
        }
        const struct item_outcome *answer = record_answer(record);
        if (answer->waiter != NULL) {
            start_waiting(record);
        } else if (answer->status != ERR_COUNT) {
            replies_send_one(actor, record, answer);
        }
    }
}

void
replies_finish_waiter(struct actor *actor, struct waiter *waiter)
{
    tell(actor, &waiter->message,
         &(struct reply){.id = &waiter->id,
                         .again = waiter->again,
                         .is_replayed = waiter->is_replayed,
                         .op = waiter->op,
                         .status = waiter->status,
                         .frame = waiter->frame});
    message_fini(&waiter->message);
    waiting_end(&actor->waiting, waiter);
}

static struct slice
encode_problem(struct actor *actor, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    return arena_encode(&actor->arena, &problem_body, &problem);
}

static void
refuse_waiter(struct actor *actor, struct waiter *waiter, err status, struct slice frame)
{
    waiter->status = status;
    waiter->frame = frame;
    replies_finish_waiter(actor, waiter);
}

void
replies_refuse_waiter(struct actor *actor, const struct id *id, const char *detail)
{
    struct waiter *waiter = waiting_find_request(&actor->waiting, id);
    if (waiter != NULL) {
        refuse_waiter(actor, waiter, ERR_internal, encode_problem(actor, detail));
    }
}

void
replies_refuse_waiters(struct actor *actor)
{
    struct slice frame = encode_problem(actor, "the actor ends; ask again with the same id");
    while (actor->waiting.first != NULL) {
        refuse_waiter(actor, actor->waiting.first, ERR_unavailable, frame);
    }
}

void
replies_refuse_lost(struct actor *actor)
{
    struct slice frame = encode_problem(actor, "the actor lost its database for a moment; ask again");
    struct waiter *waiter = waiting_first_lost(actor->waiting.first);
    while (waiter != NULL) {
        struct waiter *next = waiter->next;
        refuse_waiter(actor, waiter, ERR_unavailable, frame);
        waiter = waiting_first_lost(next);
    }
}
