/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps events for others: for subscribers that are behind, so that their source may trim and even be down, and for clients
 *           without a database (dlq_subscription.c). This file says who is behind and what is kept no more; dlq_copying.c copies.
 *
 * MESSAGES  HEAD of every source says who is behind. dlq.fetch gives the events to the subscriber.
 *
 * STATE     Of dlq_hosting.c.
 *
 * FAILURES  A HEAD that speaks of another database is only believed when the source answers so.
 *
 * LIMITS    Up to TRIM_MAX events of a source are forgotten a time.
 */
#include "dlq_host.h"

#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

enum { ORPHAN_PAUSE_MS = 60000, TRIM_MAX = 5000 };

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
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (!id_equal(&hosting->now.row.incarnation, incarnation)) {
            is_other = true;
            if (!hosting->now.is_asking && batch->now_ms >= hosting->now.retry_ms) {
                copying_ask(dlq, batch, hosting, 0);
            }
        }
    }
    return is_other;
}

static err
close_unlisted(struct dlq *dlq, struct batch *batch, const struct host_source *source)
{
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (!hosting->now.row.is_client && !hosting->is_listed) {
            err code = copying_end(dlq, batch, hosting, "it is no subscriber of its source any more");
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
    return code == ERR_ok ? copying_pump(dlq, batch, source) : code;
}

/* Who asked for a client waits, and is the context of what was asked; copying has none. */
err
dlq_host_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    return item->context != NULL ? subscription_handle_reply(dlq, batch, item) : copying_handle_reply(dlq, batch, item);
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
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
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
    for (struct hosting *hosting = host_first(dlq->hosts, source); hosting != NULL; hosting = host_next(hosting)) {
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
    err code = copying_pump(dlq, batch, source);
    marks_note(&source->marks, host_front(dlq->hosts, source), batch->now_ms);
    for (struct hosting *hosting = host_first(dlq->hosts, source); code == ERR_ok && hosting != NULL; hosting = host_next(hosting)) {
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

static err
host_tick(struct dlq *dlq, struct batch *batch)
{
    struct dlq_hosts *hosts = dlq->hosts;
    receives_expire(dlq, batch);
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

const struct dlq_part dlq_host_part = {
    .tick = host_tick,
};
