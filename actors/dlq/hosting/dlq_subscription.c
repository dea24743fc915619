/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Durable subscriptions of clients without a database: the dlq subscribes to the source in the client's name, keeps the
 *           events and the position that the client has acknowledged, and gives them at least once, in order, as many as it is asked
 *           for.
 *
 * MESSAGES  dlq.subscribe begins a session, the first time after any.subscribe at the source; an earlier session of the name is over.
 *           dlq.receive acknowledges and waits for events. dlq.unsubscribe ends it, after any.unsubscribe at the source.
 *
 * STATE     Rows of $hosting with is_client. A request that waits for a source bears whom it is about itself.
 *
 * FAILURES  A source that is away makes a new subscription and an unsubscribe `unavailable`; what is kept is given all the same. That
 *           the source was asked for the end is on disk before it is asked: where its answer is lost, by a kill or by time, the
 *           subscription ends here as soon as the source does not know it, and a session that was begun since goes on. After
 *           a restart an acknowledgement of everything that is kept is believed: what was sent before is not known any more.
 *
 * LIMITS    DLQ_SUBSCRIPTIONS_MAX subscriptions, one receive waiting for each; a second one of its session takes its place.
 */
#include "dlq_host.h"

#include <stdio.h>

#include "kit/telemetry/log.h"

/* --- dlq.receive --- */

static struct hosting *
find_client(struct dlq *dlq, struct slice source_name, struct slice name)
{
    char subscriber[DLQ_TEXT_SIZE];
    const struct host_source *source = host_find_source(dlq->hosts, source_name);
    (void)snprintf(subscriber, sizeof subscriber, DLQ_CLIENT_PREFIX "%.*s", (int)name.size, (const char *)name.data);
    struct hosting *hosting = source == NULL ? NULL : host_find(dlq->hosts, source, slice_of(subscriber));
    return hosting != NULL && hosting->now.row.is_client ? hosting : NULL;
}

static void
refuse_unknown(struct batch *batch, struct item *item, struct slice source, struct slice name)
{
    item_refuse(batch, item, ERR_unknown_subscriber, "%.*s has no subscription of %.*s here; subscribe first", (int)name.size,
                (const char *)name.data, (int)source.size, (const char *)source.data);
}

/* Whether the request may go on. */
static bool
check_receive(struct batch *batch, struct item *item, const struct hosting *hosting)
{
    const struct wire_dlq_receive *body = item->body;
    if (hosting == NULL) {
        refuse_unknown(batch, item, body->source, body->name);
        return false;
    }
    if (!id_equal(&hosting->now.row.session, &body->session)) {
        item_refuse(batch, item, ERR_session_replaced, "%.*s has subscribed to %s anew, this session is over", (int)body->name.size,
                    (const char *)body->name.data, hosting->now.row.source);
        return false;
    }
    if (body->position > hosting->now.given) {
        item_refuse(batch, item, ERR_invalid_field, "dlq_receive.position: %lld was never sent, the last event that was is %lld",
                    (long long)body->position, (long long)hosting->now.given);
        return false;
    }
    return true;
}

/* What was acknowledged once and is wanted again is given as long as it is kept: what the page lacks is never passed over. */
static err
check_kept(struct dlq *dlq, struct batch *batch, struct item *item, const struct hosting *hosting)
{
    const struct wire_dlq_receive *body = item->body;
    struct wire_fetched page;
    int64_t last = 0;
    if (body->position >= hosting->now.row.position || body->credit == 0) {
        return ERR_ok;
    }
    err code = host_read_page(dlq, hosting, body->position, body->credit, &page, &last);
    if (code == ERR_ok && (page.events.count == 0 || last - body->position != (int64_t)page.events.count)) {
        item_refuse(batch, item, ERR_position_lost,
                    "dlq_receive.position: %lld, but %.*s has acknowledged up to %lld, and what is before is not kept any more",
                    (long long)body->position, (int)body->name.size, (const char *)body->name.data,
                    (long long)hosting->now.row.position);
    }
    return code;
}

err
dlq_handle_receive(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_receive *body = item->body;
    struct hosting *hosting = find_client(dlq, body->source, body->name);
    if (!check_receive(batch, item, hosting)) {
        return ERR_ok;
    }
    err kept = check_kept(dlq, batch, item, hosting);
    if (kept != ERR_ok || item_outcome(item) != ERR_COUNT) {
        return kept;
    }
    struct hosting_values *now = &hosting->now;
    host_touch(dlq->hosts, hosting);
    err code = ERR_ok;
    if (body->position > now->row.position) {
        now->row.position = body->position;
        code = host_store(dlq, hosting);
    }
    if (now->receive != NULL) {
        receive_finish(batch, hosting);
    }
    struct wire_fetched page;
    int64_t after = body->position;
    int64_t last = 0;
    code = code == ERR_ok ? host_read_page(dlq, hosting, after, body->credit, &page, &last) : code;
    if (code != ERR_ok) {
        return code;
    }
    if (last > after || body->credit == 0 || item->deadline_ms - DLQ_ANSWER_EARLY_MS <= batch->now_ms) {
        now->given = last > now->given ? last : now->given;
        WIRE_SET(&page, fetched, head, hosting->source->head > page.head ? hosting->source->head : page.head);
        item_answer(batch, item, &page);
        return ERR_ok;
    }
    receive_wait(dlq, batch, item, hosting, after);
    return ERR_ok;
}

/* --- subscribe, unsubscribe --- */

static struct wire_dlq_session
session_of(const struct hosting *hosting)
{
    struct wire_dlq_session session = {0};
    WIRE_SET(&session, dlq_session, session, hosting->now.row.session);
    WIRE_SET(&session, dlq_session, position, hosting->now.row.position);
    WIRE_SET(&session, dlq_session, incarnation, hosting->now.row.incarnation);
    return session;
}

static err
begin_session(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const struct id *request)
{
    struct id session = id_derive(request, "session");
    host_touch(dlq->hosts, hosting);
    if (!id_equal(&session, &hosting->now.row.session)) {
        receive_refuse(batch, hosting, ERR_session_replaced, "somebody has subscribed under this name anew, this session is over");
    }
    hosting->now.row.session = session;
    return host_store(dlq, hosting);
}

static struct waiter *
defer(struct batch *batch, struct item *item, struct slice source, struct slice name)
{
    struct waiter *waiter = item_defer(batch, item);
    struct host_asked *asked = waiter_keep(waiter, sizeof *asked);
    dlq_copy(asked->source, sizeof asked->source, source);
    (void)snprintf(asked->subscriber, sizeof asked->subscriber, DLQ_CLIENT_PREFIX "%.*s", (int)name.size, (const char *)name.data);
    return waiter;
}

static void
ask_source(struct batch *batch, const struct item *item, const struct host_source *source, enum op op, struct waiter *waiter,
           const void *body)
{
    batch_ask(batch, &(struct ask){
                         .actor = source->actor,
                         .shard = source->shard,
                         .op = op,
                         .id = id_derive(&item->id, "source"),
                         .again = item->again,
                         .deadline_ms = item->deadline_ms,
                         .traceparent = item->traceparent,
                         .body = body,
                         .context = waiter,
                     });
}

static int
count_subscriptions(const struct dlq_hosts *hosts, const struct batch *batch)
{
    int count = batch_count_waiting(batch, OP_dlq_subscribe) + batch_count_waiting(batch, OP_dlq_unsubscribe);
    for (const struct hosting *hosting = hosts->hostings; hosting != NULL; hosting = hosting->next) {
        count += hosting->now.row.is_client && !hosting->now.is_leaving ? 1 : 0;
    }
    return count;
}

err
dlq_handle_subscribe(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_subscribe *body = item->body;
    const struct host_source *source = host_get_source(dlq, body->source);
    struct hosting *hosting = find_client(dlq, body->source, body->name);
    if (source == NULL) {
        item_refuse(batch, item, ERR_invalid_field, "dlq_subscribe.source: there is no source %.*s", (int)body->source.size,
                    (const char *)body->source.data);
        return ERR_ok;
    }
    if (hosting != NULL) {
        err code = begin_session(dlq, batch, hosting, &item->id);
        struct wire_dlq_session session = session_of(hosting);
        item_answer(batch, item, &session);
        return code;
    }
    bool is_short = dlq_room_is_short(dlq->room, dlq_tally_total(dlq->tally));
    if (is_short || count_subscriptions(dlq->hosts, batch) >= DLQ_SUBSCRIPTIONS_MAX) {
        item_refuse(batch, item, ERR_overloaded,
                    is_short ? "there is no room for more events" : "there are %d subscriptions, which is all", DLQ_SUBSCRIPTIONS_MAX);
        return ERR_ok;
    }
    struct waiter *waiter = defer(batch, item, body->source, body->name);
    struct wire_subscribe subscribe = {0};
    WIRE_SET(&subscribe, subscribe, subscriber, slice_of(((const struct host_asked *)waiter_kept(waiter))->subscriber));
    if (WIRE_HAS(body, dlq_subscribe, from_start) && body->from_start) {
        WIRE_SET(&subscribe, subscribe, from_start, true);
    }
    ask_source(batch, item, source, OP_any_subscribe, waiter, &subscribe);
    return ERR_ok;
}

err
dlq_handle_unsubscribe(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_unsubscribe *body = item->body;
    struct hosting *hosting = find_client(dlq, body->source, body->name);
    if (hosting == NULL) {
        refuse_unknown(batch, item, body->source, body->name);
        return ERR_ok;
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.row.ended = hosting->now.row.session;
    struct waiter *waiter = defer(batch, item, body->source, body->name);
    struct wire_unsubscribe unsubscribe = {0};
    WIRE_SET(&unsubscribe, unsubscribe, subscriber, slice_of(((const struct host_asked *)waiter_kept(waiter))->subscriber));
    ask_source(batch, item, hosting->source, OP_any_unsubscribe, waiter, &unsubscribe);
    return host_store(dlq, hosting);
}

/* --- what the source says --- */

static err
take_subscribed(struct dlq *dlq, struct batch *batch, struct waiter *waiter, const struct wire_subscribed *subscribed)
{
    const struct host_asked *asked = waiter_kept(waiter);
    struct host_source *source = host_get_source(dlq, slice_of(asked->source));
    err code = copying_meet(dlq, batch, source, &subscribed->incarnation);
    struct hosting *hosting = host_find(dlq->hosts, source, slice_of(asked->subscriber));
    if (code == ERR_ok && hosting == NULL) {
        struct dlq_hosting_row row = {.is_client = true,
                                      .incarnation = subscribed->incarnation,
                                      .position = subscribed->position,
                                      .copied = subscribed->position};
        dlq_copy(row.source, sizeof row.source, slice_of(asked->source));
        dlq_copy(row.subscriber, sizeof row.subscriber, slice_of(asked->subscriber));
        code = host_add(dlq, &row, &hosting);
    }
    code = code == ERR_ok ? begin_session(dlq, batch, hosting, waiter_id(waiter)) : code;
    if (code != ERR_ok) {
        return code;
    }
    source->head = subscribed->head > source->head ? subscribed->head : source->head;
    struct wire_dlq_session session = session_of(hosting);
    waiter_answer(batch, &waiter, &session);
    return copying_pump(dlq, batch, source);
}

static err
take_unsubscribed(struct dlq *dlq, struct batch *batch, struct waiter *waiter)
{
    const struct host_asked *asked = waiter_kept(waiter);
    const struct host_source *source = host_find_source(dlq->hosts, slice_of(asked->source));
    struct hosting *hosting = source == NULL ? NULL : host_find(dlq->hosts, source, slice_of(asked->subscriber));
    err code = hosting == NULL ? ERR_ok : copying_forget(dlq, batch, hosting);
    struct wire_nothing nothing = {0};
    waiter_answer(batch, &waiter, &nothing);
    return code;
}

err
subscription_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct waiter *waiter = item->context;
    if (item->op == OP_any_unsubscribe && (item->status == ERR_ok || item->status == ERR_unknown_subscriber)) {
        return take_unsubscribed(dlq, batch, waiter);
    }
    if (item->status == ERR_ok) {
        return take_subscribed(dlq, batch, waiter, item->body);
    }
    waiter_refuse(batch, &waiter, item->status, item->body);
    return ERR_ok;
}

/* --- who does not acknowledge --- */

err
subscription_judge(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    struct hosting_values *now = &hosting->now;
    bool is_behind = now->row.position < now->row.copied;
    int64_t age_ms = is_behind ? marks_age_ms(&hosting->source->marks, now->row.position, batch->now_ms) : 0;
    bool is_prompt = age_ms < dlq->settings->behind_ms;
    if (now->row.since_ms == 0) {
        if (is_prompt || dlq_room_is_full(dlq->room, dlq_tally_total(dlq->tally))) {
            return ERR_ok;
        }
        log_warn("client_is_behind", LOG_TEXT("source", now->row.source), LOG_TEXT("subscriber", now->row.subscriber),
                 LOG_I64("position", now->row.position), LOG_I64("copied", now->row.copied), LOG_I64("age_ms", age_ms));
        err code = host_open_letter(dlq, batch, hosting, batch->now_ms - age_ms);
        return code == ERR_ok ? host_store(dlq, hosting) : code;
    }
    if (!is_behind || (is_prompt && now->row.position >= now->letter_to)) {
        err code = host_close_letter(dlq, batch, hosting, DLQ_DONE, NULL);
        return code == ERR_ok ? host_store(dlq, hosting) : code;
    }
    return host_follow_letter(dlq, batch, hosting);
}
