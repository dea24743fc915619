/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an actor hears from others. Each source that events.def says it follows is a stream with a cursor; events are taken
 *           in order, once: the cursor moves in the transaction of the effect. What is missed is fetched; what cannot be applied is
 *           parked by the transaction that moves the cursor past it, and later events of its key wait behind it.
 *
 * MESSAGES  hears [topic][event_header][body] and HEAD; asks any.fetch, which is also the confirmation, and dlq.fetch
 *
 * STATE     $cursor (source, incarnation, position, delivered, discarded): always position = delivered + discarded + rows of $parked.
 *           In memory the streams; parked events are parked.c's, incidents incidents.c's.
 *
 * FAILURES  A source of another incarnation, one that ends before our cursor, or one whose chain is not the one that we have (an older
 *           copy that has gone on past our cursor), or that has made fewer commits than it had, is an incident: said once, the stream
 *           stands still and the actor is not ready, until somebody decides (any.resolve) or it is started with the right database and
 *           finds that the source's past is its own again. A rolled back batch rewinds the streams; the events come again.
 *
 *           What the source keeps no longer is asked of the dlq until it has no more; while the source does not answer, every second
 *           question goes there. A dlq that refuses is no incident, unless the source has said that the position is lost.
 *
 * LIMITS    A source that went back by fewer than SEEN_LEAST commits, or SEEN_PAUSE_MS, and has emitted nothing in what is gone, is
 *           not noticed. STREAMS_MAX sources. More than PARKED_MAX parked events hold all of them: nothing more is taken until some
 *           succeed.
 */
#include "inbox.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "kit/base/clock.h"
#include "hold.h"
#include "kit/durable/incidents.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "parked.h"
#include "stream.h"
#include "kit/settings/topology.h"

enum {
    STREAMS_MAX = 64,
    PARKED_MAX = 100000,
    CONFIRM_MS = 1,
    SEEN_PAUSE_MS = 10000,
    SEEN_LEAST = 16,
    WENT_BACK_MS = 4000,
    WENT_BACK_HEADS = 3,
    FETCH_PAUSE_MS = 200,
    LOST_TRIES = 5,
    SOURCE_SIZE = 80,
    ROWS_PER_HELD_KEY = 4
};

/* What a source said of itself last, by its HEAD. */
struct heard {
    struct id incarnation; /* zero: nothing yet */
    int64_t head;
    int64_t oldest;
};

/* How many commits a source was heard to have made. A HEAD with fewer may be of a writer that was stopped and has a successor: it is
 * the source that went back when nobody says otherwise for some seconds. */
struct seen {
    int64_t batch;
    int64_t stored;
    int64_t queued;    /* by the batch under way; 0: nothing */
    int64_t stored_us; /* clock_steady_us() */
    int64_t since_us;  /* of the first HEAD in a row that had fewer */
    int heads;         /* in a row that had fewer */
    bool is_reached;   /* it was heard in this run that it has made as many */
};

struct inbox_stream {
    const char *actor;
    int shard;
    char source[SOURCE_SIZE];
    struct stream stream;
    int64_t committed; /* position on disk */
    struct id chain;   /* at stream.position, as the source has told it; zero: not known */
    struct id chain_committed;
    int64_t delivered; /* events applied, those of the batch under way included */
    int64_t discarded; /* finally given up, likewise */
    int64_t delivered_committed;
    int64_t discarded_committed;
    int64_t confirmed;      /* position that the source was last told; 0 when it may not have heard it */
    int64_t confirm_due_ms; /* not told again before this */
    int64_t held_until_ms;
    int64_t dlq_from; /* position that the last page of the dlq was asked from; -1: none since the source was asked */
    int lost_tries;   /* how often the dlq was asked since the source said that the position is lost; 0: it has not */
    bool is_confirming;
    bool is_dlqs_turn; /* the next question goes to the dlq */
    bool is_elsewhere; /* the source has said that the dlq has what comes next */
    bool is_warned;    /* the dlq has denied it */
    bool is_noted;     /* its incarnation is on disk */
    bool has_incident;
    bool is_agreeing; /* the source's past was compared with ours, and is the same */
    struct hold hold; /* its events fail for whatever key they have */
    bool is_probing;  /* held, and one event was taken out to see whether it still fails */
    struct heard heard;
    struct seen seen;
};

/* Where a cursor goes by a person's decision. */
struct way {
    struct inbox_stream *stream; /* NULL: nobody has decided anything in this batch */
    struct id incarnation;
    int64_t position;
    int64_t delivered;
    int64_t discarded;
    int64_t forgotten; /* parked rows behind it */
    bool goes_on;
};

struct inbox {
    struct db *db;
    char subscriber[SOURCE_SIZE];
    struct inbox_stream streams[STREAMS_MAX];
    size_t count;
    const char *sources[STREAMS_MAX]; /* their names, for `parked` */
    struct parked *parked;
    struct incidents *standing;
    struct way way;
    bool is_full;   /* more than PARKED_MAX are parked */
    bool is_loaded; /* once */
    int64_t probe_first_ms;
    struct metric *parked_events;
    struct metric *incidents;
    struct metric *held;
};

static void
add_streams(struct inbox *inbox, const char *source, const struct settings *settings)
{
    for (int shard = 0; shard < topology_shards(settings, source); shard++) {
        assert(inbox->count < STREAMS_MAX);
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
    struct inbox *inbox = calloc(1, sizeof *inbox);
    if (inbox == NULL) {
        abort();
    }
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
    char labels[SOURCE_SIZE + 16];
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

static struct inbox_stream *
find_source(struct inbox *inbox, struct slice source)
{
    for (size_t i = 0; i < inbox->count; i++) {
        if (slice_equal(slice_of(inbox->streams[i].source), source)) {
            return &inbox->streams[i];
        }
    }
    return NULL;
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
note_incident(struct inbox *inbox, const struct inbox_stream *stream, enum incident_kind kind, const char *what)
{
    struct incident raised = {.kind = kind, .position = stream->committed};
    snprintf(raised.about, sizeof raised.about, "%s", stream->source);
    snprintf(raised.what, sizeof raised.what, "%s", what);
    incidents_raise(inbox->standing, &raised);
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
        note_incident(inbox, stream, INCIDENT_held, "events of so many keys in a row could not be applied");
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
        struct inbox_stream *stream = find_source(inbox, db_bytes(read, 0));
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

size_t
inbox_stream_count(const struct inbox *inbox)
{
    return inbox->count;
}

const char *
inbox_stream_actor(const struct inbox *inbox, size_t stream)
{
    return inbox->streams[stream].actor;
}

int
inbox_stream_shard(const struct inbox *inbox, size_t stream)
{
    return inbox->streams[stream].shard;
}

bool
inbox_is_fetching(const struct inbox *inbox, size_t stream)
{
    return inbox->streams[stream].stream.is_fetching;
}

int64_t
inbox_applied(const struct inbox *inbox, const char *source)
{
    for (size_t i = 0; i < inbox->count; i++) {
        if (strcmp(inbox->streams[i].source, source) == 0) {
            return inbox->streams[i].stream.position;
        }
    }
    return 0;
}

bool
inbox_has_incident(const struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        if (inbox->streams[i].has_incident) {
            return true;
        }
    }
    return false;
}

static void
raise_incident(struct inbox *inbox, struct inbox_stream *stream, enum incident_kind kind, const char *what)
{
    if (!stream->has_incident) {
        stream->has_incident = true;
        metric_add(inbox->incidents, 1);
        note_incident(inbox, stream, kind, what);
        log_error(
            "incident", LOG_TEXT("source", stream->source), LOG_TEXT("what", what), LOG_I64("position", stream->stream.position),
            LOG_I64("head", stream->stream.head), LOG_ID("incarnation", &stream->stream.incarnation),
            LOG_TEXT("now",
                     "bring the right database back and start anew; or `larder incidents` shows it, and `larder incidents resolve` "
                     "says from where it would go on and what is gone, and does so"));
    }
}

static bool
is_paused(const struct inbox_stream *stream)
{
    return stream->has_incident || clock_utc_ms() < stream->held_until_ms;
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
        raise_incident(inbox, stream, INCIDENT_unreadable, "an event whose header cannot be read, or of an unknown version");
        return INBOX_NOTHING;
    }
    if (id_equal(&event->header.incarnation, &stream->stream.incarnation) && has_other_past(stream, &event->header)) {
        raise_incident(inbox, stream, INCIDENT_other_past,
                       "the source has another past than the one that was followed: it is an older copy that has gone on");
        return INBOX_NOTHING;
    }
    if (slice_equal(event->header.type, slice_of("head")) && has_gone_back(stream, &event->header)) {
        raise_incident(inbox, stream, INCIDENT_went_back,
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
            raise_incident(inbox, stream, INCIDENT_other_database, "the source's database is another one");
        }
        return INBOX_NOTHING;
    }
    switch (stream_see_event(&stream->stream, &event->header.incarnation, event->header.seq)) {
    case STREAM_APPLY:
        break;
    case STREAM_OTHER_INCARNATION:
    case STREAM_AHEAD:
        raise_incident(inbox, stream, INCIDENT_other_database, "the source's database is another one");
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
    if (is_paused(&inbox->streams[stream])) {
        return INBOX_NOTHING;
    }
    return see_event(inbox, arena, stream, header_frame, body_frame, event);
}

enum inbox_verdict
inbox_see_fetched(struct inbox *inbox, struct arena *arena, size_t stream, const struct wire_fetched_event *fetched,
                  struct inbox_event *event)
{
    if (is_paused(&inbox->streams[stream])) {
        return INBOX_NOTHING;
    }
    return see_event(inbox, arena, stream, fetched->header, fetched->body, event);
}

/* --- asking --- */

static void
ask_source_again(struct inbox_stream *stream, int64_t pause_until_ms)
{
    stream->is_dlqs_turn = false;
    stream->dlq_from = -1;
    stream_fetch_failed(&stream->stream, pause_until_ms);
}

static void
question_of_source(struct inbox *inbox, struct inbox_stream *stream, struct wire_fetch *fetch, int64_t limit)
{
    *fetch = (struct wire_fetch){0};
    WIRE_SET(fetch, fetch, subscriber, slice_of(inbox->subscriber));
    if (!id_is_zero(&stream->stream.incarnation)) {
        WIRE_SET(fetch, fetch, incarnation, stream->stream.incarnation);
    }
    WIRE_SET(fetch, fetch, position, stream->committed);
    WIRE_SET(fetch, fetch, limit, limit);
    stream->confirmed = stream->committed;
}

static void
question_of_dlq(const struct inbox *inbox, const struct inbox_stream *stream, struct wire_dlq_fetch *fetch)
{
    *fetch = (struct wire_dlq_fetch){0};
    WIRE_SET(fetch, dlq_fetch, source, slice_of(stream->source));
    WIRE_SET(fetch, dlq_fetch, subscriber, slice_of(inbox->subscriber));
    if (!id_is_zero(&stream->stream.incarnation)) {
        WIRE_SET(fetch, dlq_fetch, incarnation, stream->stream.incarnation);
    }
    WIRE_SET(fetch, dlq_fetch, position, stream->committed);
    WIRE_SET(fetch, dlq_fetch, limit, INBOX_PAGE_EVENTS);
}

enum inbox_asked
inbox_wants_fetch(struct inbox *inbox, size_t number, int64_t now_ms, int64_t timeout_ms, struct inbox_question *question)
{
    struct inbox_stream *stream = &inbox->streams[number];
    /* What is taken but not committed is asked for again if the batch fails; what is confirmed must be on disk. */
    if (is_paused(stream) || !stream_wants_fetch(&stream->stream, now_ms) || stream->stream.position != stream->committed) {
        return INBOX_ASKS_NOBODY;
    }
    if (stream->dlq_from >= stream->committed) {
        ask_source_again(stream, now_ms + FETCH_PAUSE_MS); /* its page brought nothing that was of use */
        return INBOX_ASKS_NOBODY;
    }
    stream_fetch_sent(&stream->stream, now_ms + timeout_ms);
    if (stream->is_dlqs_turn && !inbox->is_full) {
        question_of_dlq(inbox, stream, &question->dlq_fetch);
        return INBOX_ASKS_DLQ;
    }
    int64_t limit = hold_is_on(&stream->hold) ? 1 : INBOX_PAGE_EVENTS;
    question_of_source(inbox, stream, &question->fetch, inbox->is_full ? 0 : limit);
    return INBOX_ASKS_SOURCE;
}

static void
source_refused(struct inbox *inbox, struct inbox_stream *stream, const struct inbox_answer *answer, int64_t now_ms)
{
    bool is_lost = answer->code == ERR_position_lost;
    bool is_elsewhere = answer->code == ERR_kept_elsewhere;
    enum err_disposition disposition = err_disposition(answer->code);
    stream_fetch_failed(&stream->stream, is_lost || is_elsewhere ? now_ms : now_ms + FETCH_PAUSE_MS);
    if (!is_elsewhere) {
        stream->confirmed = 0;
        stream->confirm_due_ms = now_ms + FETCH_PAUSE_MS;
    }
    stream->lost_tries += is_lost ? 1 : 0;
    stream->is_dlqs_turn = is_lost || disposition == ERR_RETRY;
    stream->is_elsewhere = is_elsewhere;
    if (!is_lost && (disposition == ERR_REFUSE || disposition == ERR_DEAD)) {
        raise_incident(inbox, stream, answer->code == ERR_other_incarnation ? INCIDENT_other_database : INCIDENT_refused,
                       answer->detail);
    }
}

static void
source_answered(struct inbox *inbox, struct inbox_stream *stream, const struct wire_fetched *page, int64_t now_ms)
{
    stream->lost_tries = 0;
    stream->is_elsewhere = stream->is_warned = false;
    switch (stream_fetch_arrived(&stream->stream, &page->incarnation, page->head, page->events.count)) {
    case STREAM_OTHER_INCARNATION:
        raise_incident(inbox, stream, INCIDENT_other_database, "the source's database is another one");
        break;
    case STREAM_AHEAD:
        raise_incident(inbox, stream, INCIDENT_ends_before, "the source ends before our cursor");
        break;
    case STREAM_GAP:
        stream_fetch_failed(&stream->stream, now_ms + FETCH_PAUSE_MS);
        break;
    case STREAM_APPLY:
    case STREAM_DUPLICATE:
    case STREAM_PASSING:
        break;
    }
}

/* The dlq has nothing (more) for us. The source is asked again, at once when pages have come since it was asked last. */
static void
dlq_has_nothing(struct inbox *inbox, struct inbox_stream *stream, bool is_answer, int64_t now_ms)
{
    bool has_gained = stream->dlq_from >= 0;
    ask_source_again(stream, has_gained ? now_ms : now_ms + FETCH_PAUSE_MS);
    if (stream->lost_tries > 0 && (is_answer || stream->lost_tries >= LOST_TRIES)) {
        raise_incident(inbox, stream, INCIDENT_events_lost, "neither the source nor the dlq keeps what comes behind our position");
    }
}

static void
dlq_answered(struct inbox *inbox, struct inbox_stream *stream, const struct inbox_answer *answer, int64_t now_ms)
{
    int64_t from = stream->stream.fetch_from;
    if (answer->code != ERR_ok) {
        if (stream->is_elsewhere && !stream->is_warned && err_disposition(answer->code) != ERR_RETRY) {
            stream->is_warned = true;
            log_warn("dlq_denies_what_the_source_says_it_keeps", LOG_TEXT("source", stream->source),
                     LOG_TEXT("status", err_symbol(answer->code)), LOG_TEXT("detail", answer->detail));
        }
        dlq_has_nothing(inbox, stream, err_disposition(answer->code) != ERR_RETRY, now_ms);
        return;
    }
    const struct wire_fetched *page = answer->page;
    if (stream_fetch_arrived_elsewhere(&stream->stream, &page->incarnation, page->head, page->events.count) != STREAM_APPLY) {
        dlq_has_nothing(inbox, stream, true, now_ms);
        return;
    }
    stream->dlq_from = from;
    stream->lost_tries = 0;
    stream->is_warned = false;
}

void
inbox_fetched(struct inbox *inbox, size_t number, const struct inbox_answer *answer, int64_t now_ms)
{
    struct inbox_stream *stream = &inbox->streams[number];
    if (answer->asked == INBOX_ASKS_DLQ) {
        dlq_answered(inbox, stream, answer, now_ms);
    } else if (answer->code == ERR_ok) {
        source_answered(inbox, stream, answer->page, now_ms);
    } else {
        source_refused(inbox, stream, answer, now_ms);
    }
}

static bool
is_unconfirmed(const struct inbox_stream *stream)
{
    return stream->committed > stream->confirmed && !stream->is_confirming && !stream->has_incident;
}

bool
inbox_wants_confirm(struct inbox *inbox, size_t number, int64_t now_ms, struct wire_fetch *fetch)
{
    struct inbox_stream *stream = &inbox->streams[number];
    if (!is_unconfirmed(stream) || now_ms < stream->confirm_due_ms) {
        return false;
    }
    question_of_source(inbox, stream, fetch, 0);
    stream->is_confirming = true;
    stream->confirm_due_ms = now_ms + CONFIRM_MS;
    return true;
}

void
inbox_confirmed(struct inbox *inbox, size_t number, err code, int64_t now_ms)
{
    struct inbox_stream *stream = &inbox->streams[number];
    stream->is_confirming = false;
    if (code != ERR_ok) {
        stream->confirmed = 0;
        stream->confirm_due_ms = now_ms + FETCH_PAUSE_MS;
    }
    if (code != ERR_ok && err_disposition(code) != ERR_RETRY) {
        stream_doubt(&stream->stream); /* the answer to a FETCH will tell what is wrong */
    }
}

/* --- when --- */

int64_t
inbox_next_parked_ms(const struct inbox *inbox)
{
    return parked_next_ms(inbox->parked);
}

/* When a stream without an incident wants to fetch or to confirm. Never before it may. */
static int64_t
next_question_ms(const struct inbox_stream *stream, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;
    if (stream->held_until_ms > now_ms) {
        next_ms = stream->held_until_ms;
    } else if (stream->stream.is_doubted || stream->stream.head > stream->stream.position) {
        next_ms = stream->stream.fetch_due_ms;
    }
    return is_unconfirmed(stream) && stream->confirm_due_ms < next_ms ? stream->confirm_due_ms : next_ms;
}

int64_t
inbox_next_ms(const struct inbox *inbox, int64_t now_ms)
{
    int64_t next_ms = inbox_next_parked_ms(inbox);
    for (size_t i = 0; i < inbox->count; i++) {
        const struct inbox_stream *stream = &inbox->streams[i];
        if (stream->has_incident) {
            continue;
        }
        int64_t want_ms = next_question_ms(stream, now_ms);
        next_ms = want_ms < next_ms ? want_ms : next_ms;
    }
    return next_ms;
}

bool
inbox_is_caught_up(const struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        const struct inbox_stream *stream = &inbox->streams[i];
        bool is_still = stream->has_incident || hold_is_on(&stream->hold);
        if (!is_still && (stream->stream.is_doubted || stream->stream.head > stream->committed)) {
            return false;
        }
    }
    return inbox_next_parked_ms(inbox) > clock_utc_ms();
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
    if (is_paused(stream) || stream->stream.position != event->header.seq - 1) {
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
    const struct inbox_stream *stream = find_source(inbox, source);
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
    const struct inbox_stream *stream = find_source(inbox, source);
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

/* --- what a person decides of what stands --- */

static err
count_parked(struct inbox *inbox, const struct inbox_stream *stream, int64_t behind, int64_t *count)
{
    struct db_statement *read = db_statement(inbox->db, "SELECT COUNT(*) FROM $parked WHERE source = ? AND seq > ?");
    db_bind_text(read, slice_of(stream->source));
    db_bind_i64(read, behind);
    err code = db_query(read);
    *count = code == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    return code;
}

/* Events behind `way->position` that were applied are gone at the source, with what is parked of them. */
static void
count_back(const struct inbox_stream *stream, struct way *way)
{
    way->discarded = stream->discarded;
    way->delivered = stream->delivered - (stream->committed - way->position - way->forgotten);
    if (way->delivered < 0) {
        way->discarded += way->delivered;
        way->delivered = 0;
    }
}

/* From where the source is now. */
static err
find_way(struct inbox *inbox, struct inbox_stream *stream, enum incident_kind kind, struct way *way)
{
    const struct heard *heard = &stream->heard;
    int64_t before = heard->oldest - 1;
    bool is_other = !id_equal(&heard->incarnation, &stream->stream.incarnation);
    *way = (struct way){.stream = stream, .goes_on = true, .incarnation = heard->incarnation};
    way->position = is_other ? before : stream->committed < heard->head ? stream->committed : heard->head;
    err code = count_parked(inbox, stream, is_other ? 0 : way->position, &way->forgotten);
    if (is_other) {
        way->delivered = way->position;
        return code;
    }
    count_back(stream, way);
    if (kind == INCIDENT_events_lost && way->position < before) {
        way->discarded += before - way->position;
        way->position = before;
    }
    return code;
}

static struct slice
say_way(const struct inbox *inbox, const struct way *way, struct arena *arena)
{
    const struct inbox_stream *stream = way->stream;
    char words[INCIDENT_DONE_SIZE];
    long long was = (long long)stream->committed;
    long long is = (long long)way->position;
    if (!way->goes_on) {
        snprintf(words, sizeof words, "%s tries %s once more; nothing is changed, and it stands again unless what was wrong is mended",
                 inbox->subscriber, stream->source);
    } else if (!id_equal(&way->incarnation, &stream->stream.incarnation)) {
        snprintf(words, sizeof words,
                 "%s follows the database of %s that is there now, from event %lld on; what it applied of the other one, up to %lld, "
                 "stays, and %lld parked events of that are forgotten",
                 inbox->subscriber, stream->source, is + 1, was, (long long)way->forgotten);
    } else if (is < was) {
        snprintf(
            words, sizeof words,
            "%s had applied events %lld to %lld of %s, which are gone there: what they did stays, %lld parked ones are forgotten, "
            "and it follows from %lld on",
            inbox->subscriber, is + 1, was, stream->source, (long long)way->forgotten, is + 1);
    } else if (is > was) {
        snprintf(words, sizeof words, "%s never applied events %lld to %lld of %s, and nobody keeps them: it follows from %lld on",
                 inbox->subscriber, was + 1, is, stream->source, is + 1);
    } else {
        snprintf(words, sizeof words,
                 "what %s applied of %s up to event %lld stays, though that is not the source's past, and it follows from %lld on",
                 inbox->subscriber, stream->source, was, is + 1);
    }
    return arena_copy(arena, slice_of(words));
}

/* Queued last: a row that is forgotten is no other's to change in this batch. */
static err
go(struct inbox *inbox, const struct incident *incident, const struct inbox_decision *decision, const struct way *way,
   struct slice words)
{
    char done[INCIDENT_DONE_SIZE];
    snprintf(done, sizeof done, "%.*s", (int)words.size, (const char *)words.data);
    incidents_resolve(inbox->standing, &incident->id,
                      &(struct incident_decision){decision->author, decision->reason, done, decision->now_ms});
    inbox->way = *way;
    if (way->forgotten == 0) {
        return ERR_ok;
    }
    bool is_other = !id_equal(&way->incarnation, &way->stream->stream.incarnation);
    struct db_statement *forget = db_statement(inbox->db, "DELETE FROM $parked WHERE source = ? AND seq > ?");
    db_bind_text(forget, slice_of(way->stream->source));
    db_bind_i64(forget, is_other ? 0 : way->position);
    return db_queue(forget, DB_ANY_ROWS);
}

err
inbox_resolve(struct inbox *inbox, struct arena *arena, const struct inbox_decision *decision, struct slice *words,
              struct err_text *why)
{
    const struct incident *incident = incidents_find(inbox->standing, &decision->incident);
    if (incident == NULL) {
        bool is_there = false;
        err code = incidents_read_done(inbox->standing, &decision->incident, arena, words, &is_there);
        return code != ERR_ok || is_there ? code : err_say(why, ERR_not_found, "%s has no such incident", inbox->subscriber);
    }
    struct inbox_stream *stream = find_source(inbox, slice_of(incident->about));
    if (inbox->way.stream != NULL) {
        return err_say(why, ERR_unavailable, "another decision is under way; ask again");
    }
    if (stream == NULL) {
        return err_say(why, ERR_not_found, "%s does not follow %s any more", inbox->subscriber, incident->about);
    }
    struct way way = {.stream = stream};
    err code = ERR_ok;
    if (incidents_goes_on(incident->kind)) {
        if (!stream->has_incident || id_is_zero(&stream->heard.incarnation)) {
            return err_say(why, ERR_unavailable, "%s was not heard since %s has started; ask again while it runs", incident->about,
                           inbox->subscriber);
        }
        code = find_way(inbox, stream, incident->kind, &way);
    }
    *words = say_way(inbox, &way, arena);
    return code == ERR_ok && decision->is_decided ? go(inbox, incident, decision, &way, *words) : code;
}

/* The decision is on disk. */
static void
take_way(struct inbox *inbox)
{
    struct way way = inbox->way;
    struct inbox_stream *stream = way.stream;
    inbox->way = (struct way){0};
    if (stream == NULL) {
        return;
    }
    stream->has_incident = false;
    stream->held_until_ms = 0;
    stream->lost_tries = 0;
    stream->is_dlqs_turn = stream->is_elsewhere = false;
    if (!way.goes_on) {
        stream_doubt(&stream->stream);
        return;
    }
    stream_init(&stream->stream, &way.incarnation, way.position);
    stream->committed = way.position;
    stream->chain = stream->chain_committed = (struct id){{0}};
    stream->delivered = stream->delivered_committed = way.delivered;
    stream->discarded = stream->discarded_committed = way.discarded;
    stream->confirmed = 0;
    stream->dlq_from = -1;
    stream->seen = (struct seen){0};
    if (way.forgotten > 0) {
        err code = parked_load(inbox->parked);
        db_rollback(inbox->db);
        note_parked(inbox);
        (void)code; /* a row that memory knows and the table does not is forgotten when it is looked for */
    }
}

/* What was noticed in an earlier run is over once the source's past is found to be the one that is followed. */
static void
end_what_agrees(struct inbox *inbox, const struct inbox_stream *stream)
{
    bool is_level = !stream->stream.is_doubted && stream->stream.head == stream->committed;
    for (int kind = 0; stream->is_agreeing && stream->seen.is_reached && is_level && !stream->has_incident && kind < INCIDENT_KINDS;
         kind++) {
        if (kind != INCIDENT_held) {
            incidents_end(inbox->standing, stream->source, (enum incident_kind)kind,
                          "the source was found to be the one that is followed");
        }
    }
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
        end_what_agrees(inbox, &inbox->streams[i]);
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
    note_parked(inbox);
    incidents_committed(inbox->standing);
    take_way(inbox);
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
