/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Copies events from their sources, in the name of whom they are kept for: asks for what comes next, takes it, and closes
 *           what a source cannot give any more.
 *
 * MESSAGES  any.fetch; for a subscriber that is behind it says `host`, so that the subscriber's own position stays what it is.
 *           any.subscribe and any.unsubscribe where a source forgot a client.
 *
 * STATE     What each hosting has asked for last (struct hosting_values).
 *
 * FAILURES  A source that is away costs time. A source with another database than the one events are kept of: its hostings are closed
 *           as stale. Events that neither the source nor this database has: an error in the log, words in the letter; the rest is
 *           kept. No room for letters: nothing is copied, the source keeps its events.
 *
 * LIMITS    A page of DLQ_PAGE_EVENTS under way per hosting; those that are level with each other share it.
 */
#include "dlq_host.h"

#include <stdio.h>

#include "kit/base/backoff.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

enum { ASK_TIMEOUT_MS = 2000, RETRY_FIRST_MS = 200, RETRY_MAX_MS = 5000 };

/* --- copying --- */

void
copying_ask(struct dlq *dlq, struct batch *batch, struct hosting *hosting, int64_t limit)
{
    const struct dlq_hosting_row *row = &hosting->now.row;
    char host[16];
    struct wire_fetch fetch = {0};
    WIRE_SET(&fetch, fetch, subscriber, slice_of(row->subscriber));
    WIRE_SET(&fetch, fetch, incarnation, row->incarnation);
    WIRE_SET(&fetch, fetch, position, row->copied);
    WIRE_SET(&fetch, fetch, limit, limit);
    if (!row->is_client) {
        (void)snprintf(host, sizeof host, "dlq/%d", actor_shard(dlq->actor));
        WIRE_SET(&fetch, fetch, host, slice_of(host));
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.is_asking = true;
    hosting->now.asked_id = id_new();
    hosting->now.asked = row->copied;
    hosting->now.asked_ms = batch->now_ms;
    batch_ask(batch, &(struct ask){
                         .actor = hosting->source->actor,
                         .shard = hosting->source->shard,
                         .op = OP_any_fetch,
                         .id = hosting->now.asked_id,
                         .deadline_ms = batch->now_ms + ASK_TIMEOUT_MS,
                         .body = &fetch,
                     });
}

/* Where another one has copied what comes next, its rows are as good. */
static err
leap(struct dlq *dlq, struct hosting *hosting)
{
    int64_t copied = hosting->now.row.copied;
    int64_t best = copied;
    for (struct hosting *other = host_first(dlq->hosts, hosting->source); other != NULL; other = host_next(other)) {
        if (other->now.row.position <= copied && other->now.row.copied > best) {
            best = other->now.row.copied;
        }
    }
    if (best == copied) {
        return ERR_ok;
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.row.copied = best;
    return host_store(dlq, hosting);
}

static bool
is_front_asked(struct dlq_hosts *hosts, const struct host_source *source, int64_t front)
{
    for (struct hosting *hosting = host_first(hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (hosting->now.is_asking && hosting->now.row.copied == front) {
            return true;
        }
    }
    return false;
}

err
copying_pump(struct dlq *dlq, struct batch *batch, struct host_source *source)
{
    struct dlq_hosts *hosts = dlq->hosts;
    int64_t front = host_front(hosts, source);
    bool has_room = !dlq_room_is_short(dlq->room, dlq_tally_total(dlq->tally));
    for (struct hosting *hosting = host_first(hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        err code = hosting->now.row.copied < front && !hosting->now.is_prompt ? leap(dlq, hosting) : ERR_ok;
        if (code != ERR_ok) {
            return code;
        }
    }
    bool is_asked = is_front_asked(hosts, source, front);
    for (struct hosting *hosting = host_first(hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        const struct hosting_values *now = &hosting->now;
        bool is_at_front = now->row.copied == front;
        if (now->is_asking || batch->now_ms < now->retry_ms) {
            continue;
        }
        if (has_room && !now->is_prompt && source->head > now->row.copied && !(is_at_front && is_asked)) {
            copying_ask(dlq, batch, hosting, DLQ_PAGE_EVENTS);
            is_asked = is_asked || is_at_front;
        } else if (now->told < now->row.copied && batch->now_ms - now->asked_ms >= DLQ_HOST_WORK_MS) {
            copying_ask(dlq, batch, hosting, 0);
        }
    }
    return ERR_ok;
}

/* Whether this is the event that comes next; one that is here already is passed over. */
static err
take_event(struct dlq *dlq, struct hosting *hosting, const struct wire_fetched_event *event, struct err_text *why)
{
    struct dlq_hosting_row *row = &hosting->now.row;
    struct wire_event_header header;
    err code = wire_decode(&event_header_body, event->header, &header, why);
    if (code != ERR_ok) {
        return code;
    }
    if (!slice_equal(header.source, slice_of(row->source)) || !id_equal(&header.incarnation, &row->incarnation) ||
        header.seq > row->copied + 1) {
        return err_say(why, ERR_malformed, "event %lld of %.*s came in the place of %lld", (long long)header.seq,
                       (int)header.source.size, (const char *)header.source.data, (long long)row->copied + 1);
    }
    if (header.seq == row->copied + 1) {
        dlq_host_store_add(dlq->store.db, row->source, header.seq, event);
        row->copied = header.seq;
    }
    return ERR_ok;
}

static void
back_off(struct batch *batch, struct hosting *hosting)
{
    struct hosting_values *now = &hosting->now;
    now->failures++;
    now->retry_ms = batch->now_ms + backoff_doubled_ms(RETRY_FIRST_MS, RETRY_MAX_MS, now->failures);
}

static err
answer_clients(struct dlq *dlq, struct batch *batch, const struct host_source *source)
{
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        err code = receive_answer(dlq, batch, hosting);
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

static err
take_page(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const struct wire_fetched *page)
{
    struct host_source *source = hosting->source;
    struct wire_list events = page->events;
    struct wire_fetched_event event;
    struct err_text why = {""};
    int64_t before = hosting->now.row.copied;
    err wrong = ERR_ok;
    hosting->now.told = hosting->now.asked > hosting->now.told ? hosting->now.asked : hosting->now.told;
    hosting->now.failures = 0;
    hosting->now.refusal = ERR_ok;
    source->head = page->head > source->head ? page->head : source->head;
    while (wrong == ERR_ok && wire_list_next(&events, &fetched_event_body, &event)) {
        wrong = take_event(dlq, hosting, &event, &why);
    }
    if (wrong != ERR_ok) {
        log_error("page_is_wrong", LOG_TEXT("source", source->name), LOG_TEXT("reason", why.text));
        back_off(batch, hosting);
    }
    if (hosting->now.row.copied == before) {
        return copying_pump(dlq, batch, source);
    }
    err code = dlq_host_store_keep(dlq->store.db);
    metric_add(dlq->hosts->copied, hosting->now.row.copied - before);
    code = code == ERR_ok ? host_store(dlq, hosting) : code;
    code = code == ERR_ok ? copying_pump(dlq, batch, source) : code;
    marks_note(&source->marks, host_front(dlq->hosts, source), batch->now_ms);
    return code == ERR_ok ? answer_clients(dlq, batch, source) : code;
}

/* --- when the source does not give them --- */

err
copying_end(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const char *words)
{
    struct dlq_hosting_row *row = &hosting->now.row;
    host_touch(dlq->hosts, hosting);
    err code = ERR_ok;
    if (row->since_ms == 0 && row->position < row->copied) {
        code = host_open_letter(dlq, batch, hosting, batch->now_ms);
    }
    log_error("hosting_is_stale", LOG_TEXT("source", row->source), LOG_TEXT("subscriber", row->subscriber),
              LOG_I64("position", row->position), LOG_I64("copied", row->copied), LOG_TEXT("reason", words));
    code = code == ERR_ok ? host_close_letter(dlq, batch, hosting, DLQ_STALE, words) : code;
    receive_refuse(batch, hosting, ERR_other_incarnation, words);
    return code == ERR_ok ? host_remove(dlq, hosting) : code;
}

err
copying_forget(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    host_touch(dlq->hosts, hosting);
    receive_refuse(batch, hosting, ERR_unknown_subscriber, "the subscription was ended");
    err code = host_close_letter(dlq, batch, hosting, DLQ_STALE, "the subscription was ended");
    return code == ERR_ok ? host_remove(dlq, hosting) : code;
}

/* Closes those of the database that the source no longer has; what was kept of it goes with them. */
static err
close_incarnation(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct id *incarnation)
{
    char words[ERR_TEXT_MAX];
    (void)snprintf(words, sizeof words, "%s has another database than the one whose events were kept", source->name);
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (id_equal(&hosting->now.row.incarnation, incarnation)) {
            err code = copying_end(dlq, batch, hosting, words);
            if (code != ERR_ok) {
                return code;
            }
        }
    }
    source->head = 0;
    source->trimmed = 0;
    source->marks = (struct marks){0};
    return dlq_host_store_trim(dlq->store.db, source->name, INT64_MAX);
}

err
copying_meet(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct id *incarnation)
{
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (!id_equal(&hosting->now.row.incarnation, incarnation)) {
            struct id left = hosting->now.row.incarnation;
            return close_incarnation(dlq, batch, source, &left);
        }
    }
    return ERR_ok;
}

/* The source forgot a client's subscription: it is made anew, and goes on where it was if that is still there. It is no wonder where
 * an earlier session was to end. */
static void
subscribe_again(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    struct wire_subscribe subscribe = {0};
    WIRE_SET(&subscribe, subscribe, subscriber, slice_of(hosting->now.row.subscriber));
    WIRE_SET(&subscribe, subscribe, from_start, true);
    if (id_is_zero(&hosting->now.row.ended)) {
        log_error("subscription_was_forgotten", LOG_TEXT("source", hosting->source->name),
                  LOG_TEXT("subscriber", hosting->now.row.subscriber), LOG_I64("copied", hosting->now.row.copied));
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.is_asking = true;
    hosting->now.asked_id = id_new();
    hosting->now.asked_ms = batch->now_ms;
    batch_ask(batch, &(struct ask){
                         .actor = hosting->source->actor,
                         .shard = hosting->source->shard,
                         .op = OP_any_subscribe,
                         .id = hosting->now.asked_id,
                         .deadline_ms = batch->now_ms + ASK_TIMEOUT_MS,
                         .body = &subscribe,
                     });
}

/* Nobody would ever confirm for it. The answer does not matter: a client that comes again finds it. */
static void
unsubscribe(struct batch *batch, const struct hosting *hosting)
{
    struct wire_unsubscribe body = {0};
    WIRE_SET(&body, unsubscribe, subscriber, slice_of(hosting->now.row.subscriber));
    batch_ask(batch, &(struct ask){
                         .actor = hosting->source->actor,
                         .shard = hosting->source->shard,
                         .op = OP_any_unsubscribe,
                         .id = id_new(),
                         .deadline_ms = batch->now_ms + ASK_TIMEOUT_MS,
                         .body = &body,
                     });
}

static err
take_subscribed(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const struct wire_subscribed *subscribed)
{
    if (!id_equal(&subscribed->incarnation, &hosting->now.row.incarnation)) {
        struct id left = hosting->now.row.incarnation;
        unsubscribe(batch, hosting);
        return close_incarnation(dlq, batch, hosting->source, &left);
    }
    if (subscribed->position <= hosting->now.row.copied) {
        struct dlq_hosting_row *row = &hosting->now.row;
        row->ended = id_equal(&row->ended, &row->session) ? row->ended : (struct id){0};
        err code = host_store(dlq, hosting);
        return code == ERR_ok ? copying_pump(dlq, batch, hosting->source) : code;
    }
    char words[ERR_TEXT_MAX];
    (void)snprintf(words, sizeof words, "%s forgot this subscription, and does not have the events %lld to %lld any more",
                   hosting->source->name, (long long)hosting->now.row.copied + 1, (long long)subscribed->position);
    unsubscribe(batch, hosting);
    return copying_end(dlq, batch, hosting, words);
}

static err
take_refusal(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const struct item *item)
{
    const struct wire_problem *problem = item->body;
    struct hosting_values *now = &hosting->now;
    bool is_lost = item->status == ERR_position_lost || item->status == ERR_kept_elsewhere;
    if (item->status == ERR_other_incarnation) {
        struct id left = now->row.incarnation;
        return close_incarnation(dlq, batch, hosting->source, &left);
    }
    if (item->status == ERR_unknown_subscriber && now->row.is_client) {
        if (id_equal(&now->row.ended, &now->row.session)) {
            return copying_forget(dlq, batch, hosting);
        }
        subscribe_again(dlq, batch, hosting);
        return ERR_ok;
    }
    if (item->status == ERR_unknown_subscriber) {
        return copying_end(dlq, batch, hosting, "it is no subscriber of its source any more");
    }
    if (err_disposition(item->status) != ERR_RETRY && now->failures == 0) {
        log_error("events_are_not_given", LOG_TEXT("source", now->row.source), LOG_TEXT("subscriber", now->row.subscriber),
                  LOG_I64("position", now->row.copied), LOG_TEXT("status", err_symbol(item->status)),
                  LOG_SLICE("reason", problem->detail));
    }
    now->refusal = is_lost ? ERR_position_lost : ERR_ok;
    back_off(batch, hosting);
    return ERR_ok;
}

err
copying_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct hosting *hosting = dlq->hosts->hostings;
    while (hosting != NULL && !(hosting->now.is_asking && id_equal(&hosting->now.asked_id, &item->id))) {
        hosting = hosting->next;
    }
    if (hosting == NULL || hosting->now.is_leaving) {
        return ERR_ok;
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.is_asking = false;
    if (item->status != ERR_ok) {
        return take_refusal(dlq, batch, hosting, item);
    }
    return item->op == OP_any_fetch ? take_page(dlq, batch, hosting, item->body) : take_subscribed(dlq, batch, hosting, item->body);
}
