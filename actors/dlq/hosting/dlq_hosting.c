/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The sources that events are kept of, and for whom: what is known of both, and the pages that are read of the events.
 *
 * STATE     $hosting, $kept; in memory the same rows, as they are on disk and as the batch under way makes them, and what the sources
 *           say of themselves. Invariant: what lies behind `position` and not behind `copied` of any hosting is in $kept. Hostings of
 *           one source share the rows: where one has copied already, another goes on behind it.
 *
 * FAILURES  Errors of the database go up; a batch that is dropped leaves every hosting as it was committed last.
 *
 * LIMITS    Lists that are walked: some tens of sources, DLQ_SUBSCRIPTIONS_MAX clients.
 */
#include "dlq_host.h"

#include <stdlib.h>

#include "kit/settings/topology.h"
#include "kit/telemetry/metrics.h"
#include "kit/base/memory.h"

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
    struct host_source *source = memory_new(1, sizeof *source);
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
struct hosting *
host_first(const struct dlq_hosts *hosts, const struct host_source *source)
{
    return skip_others(hosts->hostings, source);
}

struct hosting *
host_next(const struct hosting *hosting)
{
    return skip_others(hosting->next, hosting->source);
}

struct hosting *
host_find(struct dlq_hosts *hosts, const struct host_source *source, struct slice subscriber)
{
    for (struct hosting *hosting = host_first(hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        if (slice_equal(slice_of(hosting->now.row.subscriber), subscriber)) {
            return hosting;
        }
    }
    return NULL;
}

static struct hosting *
link_hosting(struct dlq_hosts *hosts, struct host_source *source, const struct dlq_hosting_row *row)
{
    struct hosting *hosting = memory_new(1, sizeof *hosting);
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

int64_t
host_front(struct dlq_hosts *hosts, const struct host_source *source)
{
    int64_t front = 0;
    for (struct hosting *hosting = host_first(hosts, source); hosting != NULL; hosting = host_next(hosting)) {
        front = hosting->now.row.copied > front ? hosting->now.row.copied : front;
    }
    return front;
}

/* --- the batch --- */

static void
hostings_committed(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
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

static void
hostings_dropped(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
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

static err
hostings_open(struct dlq *dlq)
{
    struct dlq_hosts *hosts = memory_new(1, sizeof *hosts);
    dlq->hosts = hosts;
    hosts->subscribers =
        metric(METRIC_GAUGE, "larder_dlq_hosted_subscribers", "", "Subscribers that are behind and are kept events for.");
    hosts->clients = metric(METRIC_GAUGE, "larder_dlq_clients", "", "Subscriptions of clients without a database.");
    hosts->copied = metric(METRIC_COUNTER, "larder_dlq_copied_events_total", "", "Events that were copied from their sources.");
    return load(dlq);
}

static void
hostings_close(struct dlq *dlq)
{
    struct dlq_hosts *hosts = dlq->hosts;
    dlq->hosts = NULL;
    if (hosts == NULL) {
        return;
    }
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

const struct dlq_part dlq_hostings_part = {
    .open = hostings_open,
    .committed = hostings_committed,
    .dropped = hostings_dropped,
    .close = hostings_close,
};
