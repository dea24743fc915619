/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an actor hears from others. Each source that events.def says it follows is a stream with a cursor; events are taken
 *           in order, once: the cursor moves in the transaction of the effect. What is missed is fetched; what cannot be applied is
 *           parked by the transaction that moves the cursor past it, and later events of its key wait behind it.
 *
 * MESSAGES  hears [topic][event_header][body] and HEAD; what is asked is inbox_asking.c's
 *
 * STATE     $cursor (source, incarnation, position, delivered, discarded): always position = delivered + discarded + rows of $parked.
 *           In memory the streams; parked events are parked.c's, incidents incidents.c's.
 *
 * FAILURES  A source of another incarnation, one that ends before our cursor, or one whose chain is not the one that we have (an older
 *           copy that has gone on past our cursor), or that has made fewer commits than it had, is an incident: said once, the stream
 *           stands still and the actor is not ready, until somebody decides (any.resolve) or it is started with the right database and
 *           finds that the source's past is its own again. A rolled back batch rewinds the streams; the events come again.
 *
 * LIMITS    A source that went back by fewer than SEEN_LEAST commits, or SEEN_PAUSE_MS, and has emitted nothing in what is gone, is
 *           not noticed. INBOX_STREAMS_MAX sources. More than PARKED_MAX parked events hold all of them: nothing more is taken until
 *           some succeed.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "inbox_internal.h"
#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/settings/topology.h"
#include "kit/telemetry/log.h"

enum { PARKED_MAX = 100000, SEEN_PAUSE_MS = 10000, SEEN_LEAST = 16, WENT_BACK_MS = 4000, WENT_BACK_HEADS = 3, ROWS_PER_HELD_KEY = 4 };

static void
add_streams(struct inbox *inbox, const char *source, const struct settings *settings)
{
    for (int shard = 0; shard < topology_shards(settings, source); shard++) {
        assert(inbox->count < INBOX_STREAMS_MAX);
        struct inbox_stream *stream = &inbox->streams[inbox->count++];
        *stream = (struct inbox_stream){.actor = source, .shard = shard};
        hold_init(&stream->hold, (size_t)settings->hold_after);
        snprintf(stream->source, sizeof stream->source, "%.64s/%d", source, shard);
        inbox->sources[inbox->count - 1] = stream->source;
    }
}

struct inbox *
inbox_create(struct db *db, const char *actor, const char *subscriber, const struct settings *settings)
{
    struct inbox *inbox = memory_new(1, sizeof *inbox);
    inbox->db = db;
    snprintf(inbox->subscriber, sizeof inbox->subscriber, "%s", subscriber);
    static const struct {
        const char *source;
        const char *subscriber;
    } named[] = {
#define SUBSCRIBER(source_name, subscriber_name) {#source_name, #subscriber_name},
#include "events.def"
    };
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (strcmp(named[i].subscriber, actor) == 0) {
            add_streams(inbox, named[i].source, settings);
        }
    }
    char labels[INBOX_SOURCE_SIZE + 16];
    snprintf(labels, sizeof labels, "subscriber=\"%s\"", inbox->subscriber);
    inbox->parked = parked_create(db, inbox->sources, inbox->count);
    inbox->standing = incidents_create(db);
    inbox->parked_events = metric(METRIC_GAUGE, "larder_parked_events", labels, "Events that could not be applied yet.");
    inbox->incidents = metric(METRIC_COUNTER, "larder_incidents_total", labels,
                              "Sources that are not what their cursor knows, and sources that were held.");
    inbox->held = metric(METRIC_GAUGE, "larder_sources_held", labels, "Sources whose events fail for many keys in a row.");
    inbox->probe_first_ms = settings->retry_first_ms;
    return inbox;
}

static void
destroy(void *self)
{
    struct inbox *inbox = self;
    parked_destroy(&inbox->parked);
    incidents_destroy(&inbox->standing);
    for (size_t i = 0; i < inbox->count; i++) {
        metric_add(inbox->held, hold_is_on(&inbox->streams[i].hold) ? -1 : 0);
        hold_fini(&inbox->streams[i].hold);
    }
    free(inbox);
}

static void
note_parked(struct inbox *inbox)
{
    int64_t count = parked_count(inbox->parked);
    inbox->is_full = count > PARKED_MAX;
    metric_set(inbox->parked_events, count);
}

/* --- held sources --- */

static uint64_t
hash_of_key(const struct inbox_event *event)
{
    struct id id = id_of_bytes(event->header.key.data, event->header.key.size);
    return event->header.key.size > 0 ? id_hash(&id) : (uint64_t)event->header.seq;
}

static void
note_hold(struct inbox *inbox, struct inbox_stream *stream, enum hold_change change)
{
    if (change == HOLD_BEGINS) {
        stream->held_until_ms = clock_utc_ms() + hold_pause_ms(&stream->hold, inbox->probe_first_ms);
        metric_add(inbox->incidents, 1);
        metric_add(inbox->held, 1);
        log_error("source_held", LOG_TEXT("source", stream->source), LOG_I64("keys", (int64_t)stream->hold.limit),
                  LOG_I64("position", stream->committed), LOG_TEXT("what", "events of so many keys in a row could not be applied"),
                  LOG_TEXT("now", "mend what makes them fail; the next event is tried every few seconds and lifts the hold by itself, "
                                  "and so does a replay of one of the letters"));
        inbox_note_incident(inbox, stream, INCIDENT_held, "events of so many keys in a row could not be applied");
    } else if (change == HOLD_ENDS) {
        stream->held_until_ms = 0;
        metric_add(inbox->held, -1);
        incidents_end(inbox->standing, stream->source, INCIDENT_held, "an event could be applied again");
        log_info("source_goes_on", LOG_TEXT("source", stream->source), LOG_I64("position", stream->committed));
    }
}

/* A source was held, and is still, when the last events before its position are parked, whatever their keys: a restart does not
 * park as many again. */
static err
load_hold(struct inbox *inbox, struct inbox_stream *stream)
{
    struct db_statement *read =
        db_statement(inbox->db, "SELECT seq, event_key, attempts FROM $parked WHERE source = ? ORDER BY seq DESC LIMIT ?");
    int64_t expected = stream->committed;
    db_bind_text(read, slice_of(stream->source));
    db_bind_i64(read, (int64_t)stream->hold.limit * ROWS_PER_HELD_KEY);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct inbox_event event = {.header = {.seq = db_i64(read, 0), .key = db_bytes(read, 1)}};
        if (event.header.seq != expected) {
            db_done(read);
            break;
        }
        expected--;
        if (db_i64(read, 2) > 0) {
            hold_failed(&stream->hold, hash_of_key(&event));
        }
    }
    if (code == ERR_ok) {
        note_hold(inbox, stream, hold_committed(&stream->hold));
    }
    return code;
}

static err
load_holds(struct inbox *inbox)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < inbox->count; i++) {
        code = load_hold(inbox, &inbox->streams[i]);
    }
    inbox->is_loaded = code == ERR_ok;
    return code;
}

static err
load(void *self)
{
    struct inbox *inbox = self;
    for (size_t i = 0; i < inbox->count; i++) {
        stream_init(&inbox->streams[i].stream, NULL, 0);
        inbox->streams[i].committed = 0;
        inbox->streams[i].chain = inbox->streams[i].chain_committed = (struct id){{0}};
        inbox->streams[i].delivered = inbox->streams[i].delivered_committed = 0;
        inbox->streams[i].discarded = inbox->streams[i].discarded_committed = 0;
        inbox->streams[i].confirmed = 0;
        inbox->streams[i].dlq_from = -1;
        inbox->streams[i].lost_tries = 0;
        inbox->streams[i].is_dlqs_turn = false;
        inbox->streams[i].is_noted = false;
        inbox->streams[i].is_agreeing = false;
        inbox->streams[i].seen = (struct seen){0};
    }
    inbox->way = (struct way){0};
    struct db_statement *read =
        db_statement(inbox->db, "SELECT source, incarnation, position, delivered, discarded, chain, batch FROM $cursor");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct inbox_stream *stream = inbox_find_source(inbox, db_bytes(read, 0));
        if (stream == NULL) {
            log_error("cursor_without_source", LOG_SLICE("source", db_bytes(read, 0)),
                      LOG_TEXT("why", "the settings name fewer shards"));
            continue;
        }
        struct id incarnation = db_id(read, 1);
        stream_init(&stream->stream, &incarnation, db_i64(read, 2));
        stream->committed = db_i64(read, 2);
        stream->delivered = stream->delivered_committed = db_i64(read, 3);
        stream->discarded = stream->discarded_committed = db_i64(read, 4);
        stream->chain = stream->chain_committed = db_id(read, 5);
        stream->seen = (struct seen){.batch = db_i64(read, 6), .stored = db_i64(read, 6)};
        stream->is_noted = true;
    }
    if (code == ERR_ok) {
        code = parked_load(inbox->parked);
        note_parked(inbox);
    }
    if (code == ERR_ok) {
        code = incidents_load(inbox->standing);
    }
    return code == ERR_ok && !inbox->is_loaded ? load_holds(inbox) : code;
}

/* Zero: from before chains were kept. */
static struct id
chain_of(const struct wire_event_header *header)
{
    return WIRE_HAS(header, event_header, chain) ? header->chain : (struct id){{0}};
}

/* Whether what the source says of its past is what we have of it: of a HEAD at our position, or of the next event. A source that was
 * put back to an older copy and has come past our position again has other events before it. */
static bool
has_other_past(const struct inbox_stream *stream, const struct wire_event_header *header)
{
    const struct stream_told told = {
        .is_head = slice_equal(header->type, slice_of("head")), .seq = header->seq, .id = header->id, .chain = chain_of(header)};
    return stream_is_other_past(&stream->stream, &stream->chain, &told);
}

/* Of a HEAD at our position, or the next event: what came before it was comparable. */
static bool
header_is_at_position(const struct inbox_stream *stream, const struct wire_event_header *header)
{
    bool is_head = slice_equal(header->type, slice_of("head"));
    return id_equal(&header->incarnation, &stream->stream.incarnation) && header->seq == stream->stream.position + (is_head ? 0 : 1);
}

/* A source that stands is only looked at: a person has to know what it has before he decides. */
static void
look_at(struct inbox_stream *stream, struct slice header_frame, struct slice body_frame)
{
    struct err_text why;
    struct wire_event_header header = {0};
    struct wire_head head = {0};
    if (wire_decode(&event_header_body, header_frame, &header, &why) == ERR_ok && header.v == WIRE_VERSION &&
        slice_equal(header.type, slice_of("head")) && wire_decode(&head_body, body_frame, &head, &why) == ERR_ok) {
        stream->heard = (struct heard){header.incarnation, head.head, head.oldest};
    }
}

/* Whether a HEAD shows that the source went back. */
static bool
has_gone_back(struct inbox_stream *stream, const struct wire_event_header *header)
{
    struct seen *seen = &stream->seen;
    int64_t now_us = clock_steady_us();
    if (!id_equal(&header->incarnation, &stream->stream.incarnation)) {
        return false;
    }
    if (!WIRE_HAS(header, event_header, batch) || header->batch >= seen->batch) {
        seen->batch = WIRE_HAS(header, event_header, batch) ? header->batch : seen->batch;
        seen->heads = 0;
        seen->is_reached = true;
        return false;
    }
    seen->since_us = seen->heads == 0 ? now_us : seen->since_us;
    seen->heads++;
    return seen->heads >= WENT_BACK_HEADS && now_us - seen->since_us >= WENT_BACK_MS * INT64_C(1000);
}

/* Fills the event when it is the next one of its stream. */
static enum inbox_verdict
see_event(struct inbox *inbox, struct arena *arena, size_t number, struct slice header_frame, struct slice body_frame,
          struct inbox_event *event)
{
    struct inbox_stream *stream = &inbox->streams[number];
    struct err_text why;
    *event = (struct inbox_event){.stream = number};
    event->header_frame = arena_copy(arena, header_frame);
    if (wire_decode(&event_header_body, event->header_frame, &event->header, &why) != ERR_ok || event->header.v != WIRE_VERSION) {
        inbox_raise(inbox, stream, INCIDENT_unreadable, "an event whose header cannot be read, or of an unknown version");
        return INBOX_NOTHING;
    }
    if (id_equal(&event->header.incarnation, &stream->stream.incarnation) && has_other_past(stream, &event->header)) {
        inbox_raise(inbox, stream, INCIDENT_other_past,
                    "the source has another past than the one that was followed: it is an older copy that has gone on");
        return INBOX_NOTHING;
    }
    if (slice_equal(event->header.type, slice_of("head")) && has_gone_back(stream, &event->header)) {
        inbox_raise(inbox, stream, INCIDENT_went_back,
                    "the source has made fewer commits than it was known to have made: it is an older copy");
        return INBOX_NOTHING;
    }
    if (header_is_at_position(stream, &event->header)) {
        stream->is_agreeing = true;
    }
    /* While too many are parked, and behind a probe, an event only says how far the source is. */
    bool is_only_seen = (inbox->is_full || stream->is_probing) && event->header.seq > 0;
    if (slice_equal(event->header.type, slice_of("head")) || is_only_seen) {
        if (stream_see_head(&stream->stream, &event->header.incarnation, event->header.seq) == STREAM_OTHER_INCARNATION) {
            inbox_raise(inbox, stream, INCIDENT_other_database, "the source's database is another one");
        }
        return INBOX_NOTHING;
    }
    switch (stream_see_event(&stream->stream, &event->header.incarnation, event->header.seq)) {
    case STREAM_APPLY:
        break;
    case STREAM_OTHER_INCARNATION:
    case STREAM_AHEAD:
        inbox_raise(inbox, stream, INCIDENT_other_database, "the source's database is another one");
        return INBOX_NOTHING;
    case STREAM_DUPLICATE:
    case STREAM_GAP:
    case STREAM_PASSING:
        return INBOX_NOTHING;
    }
    event->body_frame = arena_copy(arena, body_frame);
    event->type = wire_event_find((const char *)event->header.type.data, event->header.type.size);
    stream_take(&stream->stream, event->header.seq);
    event->chain_before = stream->chain;
    stream->chain = chain_of(&event->header);
    stream->is_probing = hold_is_on(&stream->hold);
    return INBOX_APPLY;
}

enum inbox_verdict
inbox_see(struct inbox *inbox, struct arena *arena, size_t stream, struct slice header_frame, struct slice body_frame,
          struct inbox_event *event)
{
    if (inbox->streams[stream].has_incident) {
        look_at(&inbox->streams[stream], header_frame, body_frame);
    }
    if (inbox_is_paused(&inbox->streams[stream])) {
        return INBOX_NOTHING;
    }
    return see_event(inbox, arena, stream, header_frame, body_frame, event);
}

enum inbox_verdict
inbox_see_fetched(struct inbox *inbox, struct arena *arena, size_t stream, const struct wire_fetched_event *fetched,
                  struct inbox_event *event)
{
    if (inbox_is_paused(&inbox->streams[stream])) {
        return INBOX_NOTHING;
    }
    return see_event(inbox, arena, stream, fetched->header, fetched->body, event);
}

int64_t
inbox_next_parked_ms(const struct inbox *inbox)
{
    return parked_next_ms(inbox->parked);
}

err
inbox_read_parked(struct inbox *inbox, struct arena *arena, int64_t now_ms, struct inbox_event *out, size_t max, size_t *count)
{
    return parked_read_due(inbox->parked, arena, now_ms, out, max, count);
}

/* --- what became of it --- */

void
inbox_applied_event(struct inbox *inbox, const struct inbox_event *event)
{
    inbox->streams[event->stream].delivered++;
    hold_succeeded(&inbox->streams[event->stream].hold);
    if (event->is_parked) {
        err code = parked_forget(inbox->parked, event);
        (void)code; /* a failed statement makes the commit fail */
        log_info("parked_event_applied", LOG_TEXT("source", inbox->streams[event->stream].source), LOG_I64("seq", event->header.seq));
    }
}

enum inbox_judgement
inbox_judge(struct inbox *inbox, const struct inbox_event *event, int64_t now_ms)
{
    struct inbox_stream *stream = &inbox->streams[event->stream];
    if (event->is_parked) {
        return INBOX_CHARGE;
    }
    if (hold_is_on(&stream->hold)) {
        inbox_hold(inbox, event, now_ms + hold_pause_ms(&stream->hold, inbox->probe_first_ms));
        stream->is_probing = false;
        return INBOX_PROBED;
    }
    uint64_t key = hash_of_key(event);
    if (hold_is_reached_by(&stream->hold, key) && stream->stream.position != event->header.seq) {
        return INBOX_ALONE;
    }
    hold_failed(&stream->hold, key);
    return INBOX_CHARGE;
}

bool
inbox_must_park(const struct inbox *inbox, const struct inbox_event *event)
{
    return !event->is_parked && event->header.key.size > 0 && parked_has_key(inbox->parked, event);
}

err
inbox_park(struct inbox *inbox, const struct inbox_event *event, const struct inbox_failure *failure)
{
    return parked_put(inbox->parked, event, failure);
}

void
inbox_hold(struct inbox *inbox, const struct inbox_event *event, int64_t until_ms)
{
    struct inbox_stream *stream = &inbox->streams[event->stream];
    if (event->is_parked) {
        parked_hold(inbox->parked, event, until_ms);
        return;
    }
    stream->held_until_ms = until_ms;
    stream_rewind(&stream->stream, event->header.seq - 1);
    stream->chain = event->header.seq - 1 == stream->committed ? stream->chain_committed : event->chain_before;
}

bool
inbox_take_again(struct inbox *inbox, const struct inbox_event *event)
{
    struct inbox_stream *stream = &inbox->streams[event->stream];
    if (event->is_parked) {
        return true;
    }
    if (inbox_is_paused(stream) || stream->stream.position != event->header.seq - 1) {
        return false;
    }
    stream_take(&stream->stream, event->header.seq);
    stream->chain = chain_of(&event->header);
    stream->is_probing = hold_is_on(&stream->hold);
    return true;
}

/* --- what somebody asks of a parked one --- */

err
inbox_find_parked(struct inbox *inbox, struct arena *arena, struct slice source, int64_t seq, struct inbox_event *event,
                  struct inbox_place *place)
{
    const struct inbox_stream *stream = inbox_find_source(inbox, source);
    *place = (struct inbox_place){.found = INBOX_FOUND_NEVER};
    if (stream == NULL || seq > stream->committed) {
        return ERR_ok;
    }
    bool is_there = false;
    *event = (struct inbox_event){.stream = (size_t)(stream - inbox->streams)};
    event->header.seq = seq;
    err code = parked_find(inbox->parked, arena, event, &is_there);
    if (code != ERR_ok || !is_there) {
        place->found = INBOX_FOUND_NONE;
        return code;
    }
    if (event->state == PARKED_DISCARDED) {
        place->found = INBOX_FOUND_DISCARDED;
        return ERR_ok;
    }
    code = parked_head(inbox->parked, event, &place->head);
    place->found = place->head == seq ? INBOX_FOUND_HEAD : INBOX_FOUND_BEHIND;
    return code;
}

err
inbox_read_ahead(struct inbox *inbox, struct arena *arena, struct slice source, const int64_t *seqs, size_t count)
{
    const struct inbox_stream *stream = inbox_find_source(inbox, source);
    parked_forget_many(inbox->parked);
    return stream == NULL || count == 0 ? ERR_ok
                                        : parked_find_many(inbox->parked, arena, (size_t)(stream - inbox->streams), seqs, count);
}

err
inbox_edit_parked(struct inbox *inbox, const struct inbox_event *event, struct slice body)
{
    return parked_set_body(inbox->parked, event, body);
}

err
inbox_discard_parked(struct inbox *inbox, const struct inbox_event *event, bool is_final)
{
    if (is_final) {
        inbox->streams[event->stream].discarded++;
        return parked_forget(inbox->parked, event);
    }
    return event->state == PARKED_DISCARDED ? ERR_ok : parked_set_aside(inbox->parked, event);
}

err
inbox_restore_parked(struct inbox *inbox, const struct inbox_event *event)
{
    return event->state == PARKED_DISCARDED ? parked_take_back(inbox->parked, event) : ERR_ok;
}

/* --- the end of the batch --- */

/* A source that is met for the first time. */
static bool
is_new(const struct inbox_stream *stream)
{
    return !stream->is_noted && !id_is_zero(&stream->stream.incarnation);
}

/* A source without events is known by its commits alone. Two that follow each other would write for ever, each because the other
 * has, if a single commit were written down. */
static bool
is_seen_due(const struct inbox_stream *stream)
{
    return stream->is_noted && stream->seen.batch >= stream->seen.stored + SEEN_LEAST && !stream->has_incident &&
           clock_steady_us() - stream->seen.stored_us >= SEEN_PAUSE_MS * INT64_C(1000);
}

static bool
is_due(void *self)
{
    struct inbox *inbox = self;
    for (size_t i = 0; i < inbox->count; i++) {
        inbox_end_what_agrees(inbox, &inbox->streams[i]);
    }
    for (size_t i = 0; i < inbox->count; i++) {
        if (is_new(&inbox->streams[i]) || is_seen_due(&inbox->streams[i])) {
            return true;
        }
    }
    return incidents_is_due(inbox->standing);
}

static void
add_cursor(struct db_rows *rows, const struct inbox_stream *stream, const struct way *way)
{
    bool has_way = way->stream == stream && way->goes_on;
    db_rows_text(rows, slice_of(stream->source));
    db_rows_id(rows, has_way ? &way->incarnation : &stream->stream.incarnation);
    db_rows_i64(rows, has_way ? way->position : stream->stream.position);
    db_rows_i64(rows, has_way ? way->delivered : stream->delivered);
    db_rows_i64(rows, has_way ? way->discarded : stream->discarded);
    if (has_way || id_is_zero(&stream->chain)) {
        db_rows_null(rows);
    } else {
        db_rows_id(rows, &stream->chain);
    }
    db_rows_i64(rows, has_way ? 0 : stream->seen.batch);
}

static err
queue(void *self)
{
    struct inbox *inbox = self;
    struct db_rows *rows =
        db_rows(inbox->db, "REPLACE INTO $cursor (source, incarnation, position, delivered, discarded, chain, batch)", 7);
    for (size_t i = 0; i < inbox->count; i++) {
        const struct inbox_stream *stream = &inbox->streams[i];
        bool is_counted = stream->delivered != stream->delivered_committed || stream->discarded != stream->discarded_committed;
        if (stream->stream.position != stream->committed || is_counted || is_new(stream) || inbox->way.stream == stream ||
            is_seen_due(stream)) {
            inbox->streams[i].seen.queued = stream->seen.batch;
            add_cursor(rows, stream, &inbox->way);
        }
    }
    err code = incidents_queue(inbox->standing);
    return code == ERR_ok ? db_rows_queue(rows) : code;
}

static void
seen_stored(struct seen *seen)
{
    if (seen->queued > 0) {
        seen->stored = seen->queued;
        seen->stored_us = clock_steady_us();
        seen->queued = 0;
    }
}

static void
committed(void *self)
{
    struct inbox *inbox = self;
    for (size_t i = 0; i < inbox->count; i++) {
        inbox->streams[i].committed = inbox->streams[i].stream.position;
        inbox->streams[i].chain_committed = inbox->streams[i].chain;
        inbox->streams[i].delivered_committed = inbox->streams[i].delivered;
        inbox->streams[i].discarded_committed = inbox->streams[i].discarded;
        inbox->streams[i].is_noted = !id_is_zero(&inbox->streams[i].stream.incarnation);
        inbox->streams[i].is_probing = false;
        seen_stored(&inbox->streams[i].seen);
        note_hold(inbox, &inbox->streams[i], hold_committed(&inbox->streams[i].hold));
    }
    parked_committed(inbox->parked);
    incidents_committed(inbox->standing);
    inbox_take_way(inbox);
    note_parked(inbox);
}

static void
dropped(void *self)
{
    struct inbox *inbox = self;
    parked_dropped(inbox->parked);
    incidents_dropped(inbox->standing);
    inbox->way = (struct way){0};
    for (size_t i = 0; i < inbox->count; i++) {
        struct inbox_stream *stream = &inbox->streams[i];
        stream->delivered = stream->delivered_committed;
        stream->discarded = stream->discarded_committed;
        stream->is_probing = false;
        stream->seen.queued = 0;
        hold_dropped(&stream->hold);
        if (stream->stream.position != stream->committed) {
            stream_rewind(&stream->stream, stream->committed);
        }
        stream->chain = stream->chain_committed;
    }
}

const struct part inbox_part = {
    .load = load, .is_due = is_due, .queue = queue, .committed = committed, .dropped = dropped, .destroy = destroy};
