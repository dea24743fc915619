/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps events for others: for subscribers that are behind, so that their source may trim and even be down, and for clients
 *           without a database (dlq_subscription.c).
 *
 * MESSAGES  HEAD of every source says who is behind. any.fetch copies the events from there, in the subscriber's name; for one that is
 *           behind it says `host`, so that the subscriber's own position stays what it is. dlq.fetch gives them to the subscriber.
 *
 * STATE     $hosting, $kept; in memory the same rows, as they are on disk and as the batch under way makes them, and what the sources
 *           say of themselves. Invariant: what lies behind `position` and not behind `copied` of any hosting is in $kept. Hostings of
 *           one source share the rows: where one has copied already, another goes on behind it.
 *
 * FAILURES  A source that is away costs time. A source with another database than the one events are kept of: its hostings are closed
 *           as stale. Events that neither the source nor this database has: an error in the log, words in the letter; the rest is
 *           kept. No room for letters: nothing is copied, the source keeps its events.
 *
 * LIMITS    A page of DLQ_PAGE_EVENTS under way per hosting; those that are level with each other share it. Up to TRIM_MAX events of a
 *           source are forgotten a time.
 */
#include "dlq_host.h"

#include <stdio.h>
#include <stdlib.h>

#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "kit/settings/topology.h"

enum { ASK_TIMEOUT_MS = 2000, RETRY_FIRST_MS = 200, RETRY_MAX_MS = 5000, ORPHAN_PAUSE_MS = 60000, TRIM_MAX = 5000 };

/* --- what is known --- */

void
host_touch(struct dlq_hosts *hosts, struct hosting *hosting)
{
    if (!hosting->is_touched) {
        hosting->is_touched = true;
        hosting->next_touched = hosts->touched;
        hosts->touched = hosting;
    }
}

struct host_source *
host_find_source(struct dlq_hosts *hosts, struct slice name)
{
    struct host_source *source = hosts->sources;
    while (source != NULL && !slice_equal(slice_of(source->name), name)) {
        source = source->next;
    }
    return source;
}

static struct host_source *
add_source(struct dlq_hosts *hosts, struct slice name)
{
    struct host_source *source = calloc(1, sizeof *source);
    if (source == NULL) {
        abort();
    }
    dlq_copy(source->name, sizeof source->name, name);
    if (!dlq_split(source->name, source->actor, &source->shard)) {
        source->actor[0] = '\0';
    }
    source->next = hosts->sources;
    hosts->sources = source;
    return source;
}

struct host_source *
host_get_source(struct dlq *dlq, struct slice name)
{
    char text[DLQ_TEXT_SIZE];
    char actor[DLQ_TEXT_SIZE];
    int shard = 0;
    struct host_source *source = host_find_source(dlq->hosts, name);
    if (source != NULL) {
        return source->actor[0] == '\0' ? NULL : source;
    }
    dlq_copy(text, sizeof text, name);
    bool is_known = dlq_split(text, actor, &shard) && topology_knows(actor) && strcmp(actor, "dlq") != 0 &&
                    shard < topology_shards(dlq->settings, actor);
    return is_known ? add_source(dlq->hosts, name) : NULL;
}

static struct hosting *
skip_others(struct hosting *hosting, const struct host_source *source)
{
    while (hosting != NULL && (hosting->source != source || hosting->now.is_leaving)) {
        hosting = hosting->next;
    }
    return hosting;
}

/* The hostings of a source but those that leave with the batch. */
static struct hosting *
first_of(const struct dlq_hosts *hosts, const struct host_source *source)
{
    return skip_others(hosts->hostings, source);
}

static struct hosting *
next_of(const struct hosting *hosting)
{
    return skip_others(hosting->next, hosting->source);
}

struct hosting *
host_find(struct dlq_hosts *hosts, const struct host_source *source, struct slice subscriber)
{
    for (struct hosting *hosting = first_of(hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (slice_equal(slice_of(hosting->now.row.subscriber), subscriber)) {
            return hosting;
        }
    }
    return NULL;
}

static struct hosting *
link_hosting(struct dlq_hosts *hosts, struct host_source *source, const struct dlq_hosting_row *row)
{
    struct hosting *hosting = calloc(1, sizeof *hosting);
    if (hosting == NULL) {
        abort();
    }
    hosting->source = source;
    hosting->now.row = *row;
    hosting->now.given = row->copied;
    hosting->now.letter_to = row->copied;
    hosting->next = hosts->hostings;
    hosts->hostings = hosting;
    return hosting;
}

static void
unlink_hosting(struct dlq_hosts *hosts, struct hosting *hosting)
{
    struct hosting **at = &hosts->hostings;
    while (*at != hosting) {
        at = &(*at)->next;
    }
    *at = hosting->next;
    free(hosting);
}

err
host_store(struct dlq *dlq, struct hosting *hosting)
{
    hosting->now.is_dirty = false;
    return dlq_host_store_put(dlq->store.db, &hosting->now.row);
}

err
host_add(struct dlq *dlq, const struct dlq_hosting_row *row, struct hosting **hosting)
{
    struct host_source *source = host_get_source(dlq, slice_of(row->source));
    *hosting = link_hosting(dlq->hosts, source, row);
    (*hosting)->is_new = true;
    host_touch(dlq->hosts, *hosting);
    source->trimmed = row->position < source->trimmed ? row->position : source->trimmed;
    return host_store(dlq, *hosting);
}

err
host_remove(struct dlq *dlq, struct hosting *hosting)
{
    hosting->now.is_leaving = true;
    return dlq_host_store_remove(dlq->store.db, hosting->now.row.source, hosting->now.row.subscriber);
}

err
host_read_page(struct dlq *dlq, const struct hosting *hosting, int64_t after, int64_t limit, struct wire_fetched *page, int64_t *last)
{
    const struct dlq_hosting_row *row = &hosting->now.row;
    struct wire_list list = {0};
    struct dlq_kept_range range = {.source = row->source, .after = after, .to = row->copied, .limit = limit};
    dlq->hosts->events.size = 0;
    err code = dlq_host_store_read(dlq->store.db, &range, &list, &dlq->hosts->events, last);
    if (code != ERR_ok) {
        return code;
    }
    wire_list_end(&list, &dlq->hosts->events);
    *page = (struct wire_fetched){0};
    WIRE_SET(page, fetched, incarnation, row->incarnation);
    WIRE_SET(page, fetched, head, row->copied > after ? row->copied : after);
    WIRE_SET(page, fetched, events, list);
    return ERR_ok;
}

/* --- copying --- */

static void
ask_source(struct dlq *dlq, struct batch *batch, struct hosting *hosting, int64_t limit)
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
    for (struct hosting *other = first_of(dlq->hosts, hosting->source); other != NULL; other = next_of(other)) {
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

static int64_t
front_of(struct dlq_hosts *hosts, const struct host_source *source)
{
    int64_t front = 0;
    for (struct hosting *hosting = first_of(hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        front = hosting->now.row.copied > front ? hosting->now.row.copied : front;
    }
    return front;
}

static bool
is_front_asked(struct dlq_hosts *hosts, const struct host_source *source, int64_t front)
{
    for (struct hosting *hosting = first_of(hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (hosting->now.is_asking && hosting->now.row.copied == front) {
            return true;
        }
    }
    return false;
}

err
host_pump(struct dlq *dlq, struct batch *batch, struct host_source *source)
{
    struct dlq_hosts *hosts = dlq->hosts;
    int64_t front = front_of(hosts, source);
    bool has_room = !dlq_room_is_short(dlq->room, dlq_tally_total(dlq->tally));
    for (struct hosting *hosting = first_of(hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        err code = hosting->now.row.copied < front && !hosting->now.is_prompt ? leap(dlq, hosting) : ERR_ok;
        if (code != ERR_ok) {
            return code;
        }
    }
    bool is_asked = is_front_asked(hosts, source, front);
    for (struct hosting *hosting = first_of(hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        const struct hosting_values *now = &hosting->now;
        bool is_at_front = now->row.copied == front;
        if (now->is_asking || batch->now_ms < now->retry_ms) {
            continue;
        }
        if (has_room && !now->is_prompt && source->head > now->row.copied && !(is_at_front && is_asked)) {
            ask_source(dlq, batch, hosting, DLQ_PAGE_EVENTS);
            is_asked = is_asked || is_at_front;
        } else if (now->told < now->row.copied && batch->now_ms - now->asked_ms >= DLQ_HOST_WORK_MS) {
            ask_source(dlq, batch, hosting, 0);
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
    int64_t pause_ms = RETRY_FIRST_MS << (now->failures < 5 ? now->failures : 5);
    now->failures++;
    now->retry_ms = batch->now_ms + (pause_ms < RETRY_MAX_MS ? pause_ms : RETRY_MAX_MS);
}

static err
answer_clients(struct dlq *dlq, struct batch *batch, const struct host_source *source)
{
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        err code = subscription_answer(dlq, batch, hosting);
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
        return host_pump(dlq, batch, source);
    }
    err code = dlq_host_store_keep(dlq->store.db);
    metric_add(dlq->hosts->copied, hosting->now.row.copied - before);
    code = code == ERR_ok ? host_store(dlq, hosting) : code;
    code = code == ERR_ok ? host_pump(dlq, batch, source) : code;
    marks_note(&source->marks, front_of(dlq->hosts, source), batch->now_ms);
    return code == ERR_ok ? answer_clients(dlq, batch, source) : code;
}

/* --- when the source does not give them --- */

static err
close_stale(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const char *words)
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
    subscription_end(batch, hosting, ERR_other_incarnation, words);
    return code == ERR_ok ? host_remove(dlq, hosting) : code;
}

/* Closes those of the database that the source no longer has; what was kept of it goes with them. */
static err
close_incarnation(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct id *incarnation)
{
    char words[ERR_TEXT_MAX];
    (void)snprintf(words, sizeof words, "%s has another database than the one whose events were kept", source->name);
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (id_equal(&hosting->now.row.incarnation, incarnation)) {
            err code = close_stale(dlq, batch, hosting, words);
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
host_meet(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct id *incarnation)
{
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
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
        return code == ERR_ok ? host_pump(dlq, batch, hosting->source) : code;
    }
    char words[ERR_TEXT_MAX];
    (void)snprintf(words, sizeof words, "%s forgot this subscription, and does not have the events %lld to %lld any more",
                   hosting->source->name, (long long)hosting->now.row.copied + 1, (long long)subscribed->position);
    unsubscribe(batch, hosting);
    return close_stale(dlq, batch, hosting, words);
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
            return subscription_finish(dlq, batch, hosting);
        }
        subscribe_again(dlq, batch, hosting);
        return ERR_ok;
    }
    if (item->status == ERR_unknown_subscriber) {
        return close_stale(dlq, batch, hosting, "it is no subscriber of its source any more");
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
dlq_host_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    if (item->context != NULL) {
        return subscription_handle_reply(dlq, batch, item);
    }
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

/* --- who is behind --- */

static err
begin_hosting(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct item *item,
              const struct wire_position *position)
{
    int64_t hosted = WIRE_HAS(position, position, hosted) ? position->hosted : 0;
    struct dlq_hosting_row row = {.incarnation = item->header->incarnation, .position = position->position};
    if (hosted > position->position) {
        log_error("kept_events_are_lost", LOG_TEXT("source", source->name), LOG_SLICE("subscriber", position->subscriber),
                  LOG_I64("position", position->position), LOG_I64("hosted", hosted), LOG_I64("oldest", source->oldest));
    }
    /* What neither the source nor this database has is not to be had: the subscriber will say so itself. */
    row.position = source->oldest - 1 > row.position ? source->oldest - 1 : row.position;
    row.copied = row.position;
    dlq_copy(row.source, sizeof row.source, slice_of(source->name));
    dlq_copy(row.subscriber, sizeof row.subscriber, position->subscriber);
    struct hosting *hosting = NULL;
    err code = host_add(dlq, &row, &hosting);
    if (code != ERR_ok) {
        return code;
    }
    hosting->is_listed = true;
    log_warn("subscriber_is_behind", LOG_TEXT("source", row.source), LOG_TEXT("subscriber", row.subscriber),
             LOG_I64("position", row.position), LOG_I64("head", source->head), LOG_I64("age_ms", position->age_ms));
    code = host_open_letter(dlq, batch, hosting, batch->now_ms - position->age_ms);
    return code == ERR_ok ? host_store(dlq, hosting) : code;
}

static err
end_hosting(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    log_info("subscriber_is_back", LOG_TEXT("source", hosting->source->name), LOG_TEXT("subscriber", hosting->now.row.subscriber),
             LOG_I64("position", hosting->now.row.position));
    err code = host_close_letter(dlq, batch, hosting, DLQ_DONE, NULL);
    return code == ERR_ok ? host_remove(dlq, hosting) : code;
}

/* What its HEAD says of a subscriber that is hosted. */
static err
follow_subscriber(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const struct wire_position *position)
{
    struct hosting_values *now = &hosting->now;
    hosting->is_listed = true;
    host_touch(dlq->hosts, hosting);
    if (position->position > now->row.position) {
        now->row.position = position->position;
        now->is_dirty = true;
    }
    if (now->row.copied < now->row.position) {
        now->row.copied = now->row.position;
    }
    /* Who is nearly there is left to the source from here on. What the source was told is kept here stays until it has passed. */
    now->is_prompt = position->age_ms < dlq->settings->behind_ms;
    if (now->is_prompt && now->row.position >= now->row.copied) {
        return end_hosting(dlq, batch, hosting);
    }
    return host_follow_letter(dlq, batch, hosting);
}

/* The source keeps events for a client that this database does not know: it was lost, or the client's first request was. */
static void
tell_orphan(const struct batch *batch, struct host_source *source, const struct wire_position *position)
{
    if (batch->now_ms - source->orphan_ms >= ORPHAN_PAUSE_MS) {
        source->orphan_ms = batch->now_ms;
        log_warn("subscription_without_a_client", LOG_TEXT("source", source->name), LOG_SLICE("subscriber", position->subscriber),
                 LOG_I64("position", position->position), LOG_I64("head", source->head));
    }
}

static err
see_position(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct item *item,
             const struct wire_position *position)
{
    bool is_behind = position->age_ms >= dlq->settings->behind_ms && position->position < source->head;
    struct hosting *hosting = host_find(dlq->hosts, source, position->subscriber);
    size_t prefix = strlen(DLQ_CLIENT_PREFIX);
    if (position->subscriber.size >= prefix && memcmp(position->subscriber.data, DLQ_CLIENT_PREFIX, prefix) == 0) {
        if (is_behind && hosting == NULL) {
            tell_orphan(batch, source, position);
        }
        return ERR_ok;
    }
    if (hosting != NULL) {
        return follow_subscriber(dlq, batch, hosting, position);
    }
    if (!is_behind || dlq_room_is_full(dlq->room, dlq_tally_total(dlq->tally))) {
        return ERR_ok;
    }
    return begin_hosting(dlq, batch, source, item, position);
}

/* A HEAD may be older than what is known: only an answer proves that the database is another one. */
static bool
is_doubted(struct dlq *dlq, struct batch *batch, const struct host_source *source, const struct id *incarnation)
{
    bool is_other = false;
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (!id_equal(&hosting->now.row.incarnation, incarnation)) {
            is_other = true;
            if (!hosting->now.is_asking && batch->now_ms >= hosting->now.retry_ms) {
                ask_source(dlq, batch, hosting, 0);
            }
        }
    }
    return is_other;
}

static err
close_unlisted(struct dlq *dlq, struct batch *batch, const struct host_source *source)
{
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (!hosting->now.row.is_client && !hosting->is_listed) {
            err code = close_stale(dlq, batch, hosting, "it is no subscriber of its source any more");
            if (code != ERR_ok) {
                return code;
            }
        }
        hosting->is_listed = false;
    }
    return ERR_ok;
}

err
dlq_host_handle_head(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_head *head = item->body;
    struct wire_list positions = head->positions;
    struct wire_position position;
    struct host_source *source = host_get_source(dlq, item->header->source);
    if (source == NULL || is_doubted(dlq, batch, source, &item->header->incarnation)) {
        return ERR_ok;
    }
    source->head = head->head;
    source->oldest = head->oldest;
    while (wire_list_next(&positions, &position_body, &position)) {
        err code = see_position(dlq, batch, source, item, &position);
        if (code != ERR_ok) {
            return code;
        }
    }
    err code = close_unlisted(dlq, batch, source);
    return code == ERR_ok ? host_pump(dlq, batch, source) : code;
}

/* --- dlq.fetch --- */

static void
refuse_lost(struct batch *batch, struct item *item, const struct hosting *hosting, int64_t position)
{
    const struct dlq_hosting_row *row = &hosting->now.row;
    item_refuse(batch, item, ERR_position_lost,
                "of %s for %s the events behind %lld and up to %lld are kept, those behind %lld are not", row->source, row->subscriber,
                (long long)row->position, (long long)row->copied, (long long)position);
}

err
dlq_handle_fetch(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_fetch *fetch = item->body;
    const struct host_source *source = host_find_source(dlq->hosts, fetch->source);
    struct hosting *hosting = source == NULL ? NULL : host_find(dlq->hosts, source, fetch->subscriber);
    if (hosting == NULL || hosting->now.row.is_client) {
        item_refuse(batch, item, ERR_unknown_subscriber, "no events of %.*s are kept for %.*s", (int)fetch->source.size,
                    (const char *)fetch->source.data, (int)fetch->subscriber.size, (const char *)fetch->subscriber.data);
        return ERR_ok;
    }
    struct dlq_hosting_row *row = &hosting->now.row;
    if (WIRE_HAS(fetch, dlq_fetch, incarnation) && !id_equal(&fetch->incarnation, &row->incarnation)) {
        item_refuse(batch, item, ERR_other_incarnation, "the events that are kept are not of the database of %s that %s knows",
                    row->source, row->subscriber);
        return ERR_ok;
    }
    struct wire_fetched page;
    int64_t last = 0;
    err code = host_read_page(dlq, hosting, fetch->position, fetch->limit, &page, &last);
    if (code != ERR_ok) {
        return code;
    }
    bool is_missing = last == fetch->position && (fetch->position < row->copied || hosting->now.refusal != ERR_ok);
    if (is_missing) {
        refuse_lost(batch, item, hosting, fetch->position);
        return ERR_ok;
    }
    if (fetch->position > row->position && fetch->position <= row->copied) {
        host_touch(dlq->hosts, hosting);
        row->position = fetch->position;
        hosting->now.is_dirty = true;
    }
    item_answer(batch, item, &page);
    return ERR_ok;
}

/* --- now and then --- */

static err
store_dirty(struct dlq *dlq, const struct host_source *source)
{
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        if (hosting->now.is_dirty) {
            host_touch(dlq->hosts, hosting);
            err code = host_store(dlq, hosting);
            if (code != ERR_ok) {
                return code;
            }
        }
    }
    return ERR_ok;
}

/* The rows of $hosting go first: what they say is kept must be there. */
static err
trim(struct dlq *dlq, struct host_source *source)
{
    int64_t lowest = INT64_MAX;
    int64_t first = 0;
    for (struct hosting *hosting = first_of(dlq->hosts, source); hosting != NULL; hosting = next_of(hosting)) {
        lowest = hosting->now.row.position < lowest ? hosting->now.row.position : lowest;
    }
    if (lowest <= source->trimmed) {
        return ERR_ok;
    }
    err code = store_dirty(dlq, source);
    code = code == ERR_ok ? dlq_host_store_first(dlq->store.db, source->name, &first) : code;
    if (code != ERR_ok) {
        return code;
    }
    if (first == 0 || first > lowest) {
        source->trimmed = lowest;
        return ERR_ok;
    }
    source->trimming = lowest - first < TRIM_MAX ? lowest : first + TRIM_MAX;
    return dlq_host_store_trim(dlq->store.db, source->name, source->trimming);
}

static err
work(struct dlq *dlq, struct batch *batch, struct host_source *source)
{
    err code = host_pump(dlq, batch, source);
    marks_note(&source->marks, front_of(dlq->hosts, source), batch->now_ms);
    for (struct hosting *hosting = first_of(dlq->hosts, source); code == ERR_ok && hosting != NULL; hosting = next_of(hosting)) {
        code = hosting->now.row.is_client ? subscription_judge(dlq, batch, hosting) : host_follow_letter(dlq, batch, hosting);
    }
    return code == ERR_ok ? trim(dlq, source) : code;
}

static void
set_metrics(struct dlq_hosts *hosts)
{
    int64_t subscribers = 0;
    int64_t clients = 0;
    for (const struct hosting *hosting = hosts->hostings; hosting != NULL; hosting = hosting->next) {
        clients += hosting->now.row.is_client ? 1 : 0;
        subscribers += hosting->now.row.is_client ? 0 : 1;
    }
    metric_set(hosts->subscribers, subscribers);
    metric_set(hosts->clients, clients);
}

err
dlq_host_tick(struct dlq *dlq, struct batch *batch)
{
    struct dlq_hosts *hosts = dlq->hosts;
    subscription_expire(dlq, batch);
    if (batch->now_ms - hosts->worked_ms < DLQ_HOST_WORK_MS) {
        return ERR_ok;
    }
    hosts->worked_ms = batch->now_ms;
    set_metrics(hosts);
    for (struct host_source *source = hosts->sources; source != NULL; source = source->next) {
        err code = source->actor[0] == '\0' ? ERR_ok : work(dlq, batch, source);
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

/* --- the batch --- */

void
dlq_host_committed(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
    subscription_committed(hosts);
    while (hosts->touched != NULL) {
        struct hosting *hosting = hosts->touched;
        hosts->touched = hosting->next_touched;
        hosting->is_touched = hosting->is_new = false;
        hosting->committed = hosting->now;
        if (hosting->now.is_leaving) {
            unlink_hosting(hosts, hosting);
        }
    }
    for (struct host_source *source = hosts->sources; source != NULL; source = source->next) {
        source->trimmed = source->trimming > 0 ? source->trimming : source->trimmed;
        source->trimming = 0;
    }
}

void
dlq_host_dropped(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
    subscription_dropped(hosts);
    while (hosts->touched != NULL) {
        struct hosting *hosting = hosts->touched;
        hosts->touched = hosting->next_touched;
        hosting->is_touched = false;
        hosting->now = hosting->committed;
        if (hosting->is_new) {
            unlink_hosting(hosts, hosting);
        }
    }
    for (struct host_source *source = hosts->sources; source != NULL; source = source->next) {
        source->trimming = 0;
    }
}

/* --- life --- */

/* Events that nobody is kept for any more, after a stop in the middle of forgetting them. */
static err
load_sources(struct dlq *dlq)
{
    char name[WIRE_NAME_MAX + 1] = "";
    bool found = true;
    while (found) {
        err code = dlq_host_store_next_source(dlq->store.db, name, name, &found);
        if (code != ERR_ok) {
            return code;
        }
        if (found && host_find_source(dlq->hosts, slice_of(name)) == NULL) {
            (void)add_source(dlq->hosts, slice_of(name));
        }
    }
    return ERR_ok;
}

static err
load(struct dlq *dlq)
{
    struct db_statement *rows = NULL;
    struct dlq_hosting_row row;
    err code = dlq_host_store_load(dlq->store.db, &rows);
    while (code == ERR_ok && dlq_host_store_next(rows, &row)) {
        struct host_source *source = host_find_source(dlq->hosts, slice_of(row.source));
        source = source == NULL ? add_source(dlq->hosts, slice_of(row.source)) : source;
        struct hosting *hosting = link_hosting(dlq->hosts, source, &row);
        hosting->committed = hosting->now;
    }
    return code == ERR_ok ? load_sources(dlq) : code;
}

err
dlq_host_open(struct dlq *dlq)
{
    struct dlq_hosts *hosts = calloc(1, sizeof *hosts);
    if (hosts == NULL) {
        abort();
    }
    dlq->hosts = hosts;
    hosts->subscribers =
        metric(METRIC_GAUGE, "larder_dlq_hosted_subscribers", "", "Subscribers that are behind and are kept events for.");
    hosts->clients = metric(METRIC_GAUGE, "larder_dlq_clients", "", "Subscriptions of clients without a database.");
    hosts->copied = metric(METRIC_COUNTER, "larder_dlq_copied_events_total", "", "Events that were copied from their sources.");
    return load(dlq);
}

void
dlq_host_close(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
    dlq->hosts = NULL;
    if (hosts == NULL) {
        return;
    }
    subscription_close(hosts);
    while (hosts->hostings != NULL) {
        struct hosting *hosting = hosts->hostings;
        hosts->hostings = hosting->next;
        free(hosting);
    }
    while (hosts->sources != NULL) {
        struct host_source *source = hosts->sources;
        hosts->sources = source->next;
        free(source);
    }
    wire_buffer_fini(&hosts->events);
    free(hosts);
}
