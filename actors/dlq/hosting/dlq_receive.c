/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The receives that wait for an event: one per subscription of a client.
 *
 * STATE     In memory alone, those of the batch under way too; its end settles which are gone.
 *
 * FAILURES  What was not answered when this dlq is opened anew is answered by the kit, as unavailable.
 *
 * LIMITS    One for each subscription; it is answered DLQ_ANSWER_EARLY_MS before its time is over.
 */
#include "dlq_host.h"

#include "kit/base/memory.h"

#include <stdlib.h>

static void
empty_page(const struct hosting *hosting, struct wire_fetched *page)
{
    const struct dlq_hosting_row *row = &hosting->now.row;
    *page = (struct wire_fetched){0};
    WIRE_SET(page, fetched, incarnation, row->incarnation);
    WIRE_SET(page, fetched, head, hosting->source->head > row->copied ? hosting->source->head : row->copied);
    WIRE_SET(page, fetched, events, (struct wire_list){0});
}

/* The receive that waits is answered, and does not any more. */
static void
finish(struct batch *batch, struct hosting *hosting, const struct wire_fetched *page)
{
    struct waiter *waiter = hosting->now.receive->waiter;
    hosting->now.receive->is_answered = true;
    hosting->now.receive = NULL;
    waiter_answer(batch, &waiter, page);
}

void
receive_finish(struct batch *batch, struct hosting *hosting)
{
    struct wire_fetched page;
    empty_page(hosting, &page);
    finish(batch, hosting, &page);
}

void
receive_refuse(struct batch *batch, struct hosting *hosting, err code, const char *words)
{
    struct wire_problem problem = {0};
    if (hosting->now.receive == NULL) {
        return;
    }
    struct waiter *waiter = hosting->now.receive->waiter;
    hosting->now.receive->is_answered = true;
    hosting->now.receive = NULL;
    WIRE_SET(&problem, problem, detail, slice_of(words));
    waiter_refuse(batch, &waiter, code, &problem);
}

err
receive_answer(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    const struct receive *receive = hosting->now.receive;
    struct wire_fetched page;
    int64_t last = 0;
    if (receive == NULL || hosting->now.row.copied <= receive->after) {
        return ERR_ok;
    }
    err code = host_read_page(dlq, hosting, receive->after, receive->credit, &page, &last);
    if (code != ERR_ok || last == receive->after) {
        return code;
    }
    host_touch(dlq->hosts, hosting);
    WIRE_SET(&page, fetched, head, hosting->source->head > page.head ? hosting->source->head : page.head);
    hosting->now.given = last > hosting->now.given ? last : hosting->now.given;
    finish(batch, hosting, &page);
    return ERR_ok;
}

void
receive_wait(struct dlq *dlq, struct batch *batch, struct item *item, struct hosting *hosting, int64_t after)
{
    const struct wire_dlq_receive *body = item->body;
    struct receive *receive = memory_new(1, sizeof *receive);
    *receive = (struct receive){.next = dlq->hosts->receives,
                                .hosting = hosting,
                                .waiter = item_defer(batch, item),
                                .deadline_ms = item->deadline_ms,
                                .after = after,
                                .credit = body->credit,
                                .is_new = true};
    waiter_mark_patient(receive->waiter);
    dlq->hosts->receives = receive;
    hosting->now.receive = receive;
}

void
receives_expire(struct dlq *dlq, struct batch *batch)
{
    for (struct receive *receive = dlq->hosts->receives; receive != NULL; receive = receive->next) {
        if (!receive->is_answered && receive->deadline_ms - DLQ_ANSWER_EARLY_MS <= batch->now_ms) {
            host_touch(dlq->hosts, receive->hosting);
            receive_finish(batch, receive->hosting);
        }
    }
}

static int64_t
receives_next_ms(const struct dlq *dlq)
{
    int64_t next_ms = INT64_MAX;
    for (const struct receive *receive = dlq->hosts->receives; receive != NULL; receive = receive->next) {
        int64_t due_ms = receive->deadline_ms - DLQ_ANSWER_EARLY_MS;
        next_ms = due_ms < next_ms ? due_ms : next_ms;
    }
    return next_ms;
}

static void
settle(struct dlq_hosts *hosts, bool is_committed)
{
    struct receive **at = &hosts->receives;
    while (*at != NULL) {
        struct receive *receive = *at;
        bool is_gone = is_committed ? receive->is_answered : receive->is_new;
        receive->is_new = receive->is_new && !is_committed;
        receive->is_answered = false;
        if (is_gone) {
            *at = receive->next;
            free(receive);
        } else {
            at = &receive->next;
        }
    }
}

static void
receives_committed(struct dlq *dlq)
{
    settle(dlq->hosts, true);
}

static void
receives_dropped(struct dlq *dlq)
{
    settle(dlq->hosts, false);
}

static void
receives_close(struct dlq *dlq)
{
    while (dlq->hosts != NULL && dlq->hosts->receives != NULL) {
        struct receive *receive = dlq->hosts->receives;
        dlq->hosts->receives = receive->next;
        free(receive);
    }
}

const struct dlq_part dlq_receives_part = {
    .committed = receives_committed,
    .dropped = receives_dropped,
    .next_ms = receives_next_ms,
    .close = receives_close,
};
