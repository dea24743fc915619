/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an actor hears from others. Each source that events.def says it follows is a stream with a cursor; events are taken
 *           in order, once: the cursor moves in the transaction of the effect. What is missed is fetched; what cannot be applied is
 *           parked by the transaction that moves the cursor past it, and later events of its key wait behind it.
 *
 * MESSAGES  hears [topic][event_header][body] and HEAD; asks any.fetch, which is also the confirmation, and dlq.fetch
 *
 * STATE     $cursor (source, incarnation, position), $parked (source, seq, event_key, frames, attempts, due, error). In memory the
 *           streams, and of each key with parked events how many there are.
 *
 * FAILURES  A source of another incarnation, or one that ends before our cursor, is an incident: said once, the stream stands still
 *           and the actor is not ready, until somebody decides. A rolled back batch rewinds the streams; the events come again.
 *
 *           What the source keeps no longer is asked of the dlq until it has no more; while the source does not answer, every second
 *           question goes there. A dlq that refuses is no incident, unless the source has said that the position is lost.
 *
 * LIMITS    STREAMS_MAX sources. More than PARKED_MAX parked events hold all of them: nothing more is taken until some succeed.
 */
#include "inbox.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "log.h"
#include "metrics.h"
#include "stream.h"
#include "topology.h"

enum { STREAMS_MAX = 64, PARKED_MAX = 10000, CONFIRM_MS = 1, FETCH_PAUSE_MS = 200, LOST_TRIES = 5, SOURCE_SIZE = 80 };

struct parked_key {
    size_t stream;
    char key[WIRE_NAME_MAX + 1];
    int64_t count;
    int64_t due_ms;
};

struct inbox_stream {
    const char *actor;
    int shard;
    char source[SOURCE_SIZE];
    struct stream stream;
    int64_t committed;      /* position on disk */
    int64_t confirmed;      /* position that the source was last told; 0 when it may not have heard it */
    int64_t confirm_due_ms; /* not told again before this */
    int64_t held_until_ms;
    int64_t dlq_from; /* position that the last page of the dlq was asked from; -1: none since the source was asked */
    int lost_tries;   /* how often the dlq was asked since the source said that the position is lost; 0: it has not */
    bool is_confirming;
    bool is_dlqs_turn; /* the next question goes to the dlq */
    bool is_noted;     /* its incarnation is on disk */
    bool has_incident;
};

struct inbox {
    struct db *db;
    char subscriber[SOURCE_SIZE];
    struct inbox_stream streams[STREAMS_MAX];
    size_t count;
    struct parked_key *keys;
    size_t key_count;
    struct parked_key *before; /* keys as they were before the batch under way changed them, the oldest change first */
    size_t before_count;
    size_t before_capacity;
    bool is_full; /* more than PARKED_MAX are parked */
    struct metric *parked;
    struct metric *incidents;
};

static void
add_streams(struct inbox *inbox, const char *source, const struct settings *settings)
{
    for (int shard = 0; shard < topology_shards(settings, source); shard++) {
        assert(inbox->count < STREAMS_MAX);
        struct inbox_stream *stream = &inbox->streams[inbox->count++];
        *stream = (struct inbox_stream){.actor = source, .shard = shard};
        snprintf(stream->source, sizeof stream->source, "%.64s/%d", source, shard);
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
    inbox->parked = metric(METRIC_GAUGE, "larder_parked_events", labels, "Events that could not be applied yet.");
    inbox->incidents = metric(METRIC_COUNTER, "larder_incidents_total", labels, "Sources that are not what their cursor knows.");
    return inbox;
}

void
inbox_destroy(struct inbox **inbox)
{
    if (*inbox != NULL) {
        free((*inbox)->keys);
        free((*inbox)->before);
        free(*inbox);
        *inbox = NULL;
    }
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

static struct parked_key *
find_key(const struct inbox *inbox, size_t stream, struct slice key)
{
    for (size_t i = 0; i < inbox->key_count; i++) {
        struct parked_key *parked = &inbox->keys[i];
        if (parked->stream == stream && slice_equal(slice_of(parked->key), key)) {
            return parked;
        }
    }
    return NULL;
}

static struct parked_key *
add_key(struct inbox *inbox, size_t stream, struct slice key)
{
    struct parked_key *grown = realloc(inbox->keys, (inbox->key_count + 1) * sizeof *grown);
    if (grown == NULL) {
        abort();
    }
    inbox->keys = grown;
    struct parked_key *added = &grown[inbox->key_count++];
    *added = (struct parked_key){.stream = stream, .due_ms = INT64_MAX};
    snprintf(added->key, sizeof added->key, "%.*s", (int)key.size, (const char *)key.data);
    return added;
}

/* Before every change of a key by a batch; a count of 0: there was none. */
static void
remember_key(struct inbox *inbox, size_t stream, struct slice key)
{
    if (inbox->before_count == inbox->before_capacity) {
        inbox->before_capacity = inbox->before_capacity == 0 ? 16 : inbox->before_capacity * 2;
        struct parked_key *grown = realloc(inbox->before, inbox->before_capacity * sizeof *grown);
        if (grown == NULL) {
            abort();
        }
        inbox->before = grown;
    }
    const struct parked_key *known = find_key(inbox, stream, key);
    struct parked_key *before = &inbox->before[inbox->before_count++];
    if (known != NULL) {
        *before = *known;
        return;
    }
    *before = (struct parked_key){.stream = stream};
    snprintf(before->key, sizeof before->key, "%.*s", (int)key.size, (const char *)key.data);
}

/* The batch was rolled back, and the rows are as they were. */
static void
take_back_keys(struct inbox *inbox)
{
    while (inbox->before_count > 0) {
        const struct parked_key *before = &inbox->before[--inbox->before_count];
        struct parked_key *key = find_key(inbox, before->stream, slice_of(before->key));
        if (before->count > 0) {
            key = key == NULL ? add_key(inbox, before->stream, slice_of(before->key)) : key;
            *key = *before;
        } else if (key != NULL) {
            assert(inbox->key_count > 0);
            *key = inbox->keys[--inbox->key_count];
        }
    }
}

static int64_t
parked_count(const struct inbox *inbox)
{
    int64_t count = 0;
    for (size_t i = 0; i < inbox->key_count; i++) {
        count += inbox->keys[i].count;
    }
    return count;
}

static void
note_parked(struct inbox *inbox)
{
    int64_t count = parked_count(inbox);
    inbox->is_full = count > PARKED_MAX;
    metric_set(inbox->parked, count);
}

/* Of each key how many there are, and when the first of them is due. A follower has no time of its own: once it is the first, it
 * may go at once. */
static err
load_parked(struct inbox *inbox)
{
    inbox->key_count = 0;
    struct db_statement *read = db_statement(inbox->db, "SELECT source, event_key, due FROM $parked ORDER BY source, seq");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        const struct inbox_stream *stream = find_source(inbox, db_bytes(read, 0));
        if (stream == NULL) {
            continue;
        }
        size_t number = (size_t)(stream - inbox->streams);
        struct parked_key *key = find_key(inbox, number, db_bytes(read, 1));
        if (key == NULL) {
            key = add_key(inbox, number, db_bytes(read, 1));
            key->due_ms = db_i64(read, 2) == INT64_MAX ? 0 : db_i64(read, 2);
        }
        key->count++;
    }
    inbox->before_count = 0;
    note_parked(inbox);
    return code;
}

err
inbox_load(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        stream_init(&inbox->streams[i].stream, NULL, 0);
        inbox->streams[i].committed = 0;
        inbox->streams[i].confirmed = 0;
        inbox->streams[i].dlq_from = -1;
        inbox->streams[i].lost_tries = 0;
        inbox->streams[i].is_dlqs_turn = false;
        inbox->streams[i].is_noted = false;
    }
    struct db_statement *read = db_statement(inbox->db, "SELECT source, incarnation, position FROM $cursor");
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
        stream->is_noted = true;
    }
    return code == ERR_ok ? load_parked(inbox) : code;
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
raise_incident(struct inbox *inbox, struct inbox_stream *stream, const char *what)
{
    if (!stream->has_incident) {
        stream->has_incident = true;
        metric_add(inbox->incidents, 1);
        log_error("incident", LOG_TEXT("source", stream->source), LOG_TEXT("what", what), LOG_I64("position", stream->stream.position),
                  LOG_I64("head", stream->stream.head), LOG_ID("incarnation", &stream->stream.incarnation));
    }
}

static bool
is_paused(const struct inbox_stream *stream)
{
    return stream->has_incident || clock_utc_ms() < stream->held_until_ms;
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
        raise_incident(inbox, stream, "an event whose header cannot be read, or of an unknown version");
        return INBOX_NOTHING;
    }
    /* While too many are parked an event only says how far the source is. */
    if (slice_equal(event->header.type, slice_of("head")) || (inbox->is_full && event->header.seq > 0)) {
        if (stream_see_head(&stream->stream, &event->header.incarnation, event->header.seq) == STREAM_OTHER_INCARNATION) {
            raise_incident(inbox, stream, "the source's database is another one");
        }
        return INBOX_NOTHING;
    }
    switch (stream_see_event(&stream->stream, &event->header.incarnation, event->header.seq)) {
    case STREAM_APPLY:
        break;
    case STREAM_OTHER_INCARNATION:
    case STREAM_AHEAD:
        raise_incident(inbox, stream, "the source's database is another one");
        return INBOX_NOTHING;
    case STREAM_DUPLICATE:
    case STREAM_GAP:
    case STREAM_PASSING:
        return INBOX_NOTHING;
    }
    event->body_frame = arena_copy(arena, body_frame);
    event->type = wire_event_find((const char *)event->header.type.data, event->header.type.size);
    stream_take(&stream->stream, event->header.seq);
    return INBOX_APPLY;
}

enum inbox_verdict
inbox_see(struct inbox *inbox, struct arena *arena, size_t stream, struct slice header_frame, struct slice body_frame,
          struct inbox_event *event)
{
    if (is_paused(&inbox->streams[stream])) {
        return INBOX_NOTHING;
    }
    return see_event(inbox, arena, stream, header_frame, body_frame, event);
}

enum inbox_verdict
inbox_see_fetched(struct inbox *inbox, struct arena *arena, size_t stream, const struct fetched_event *fetched,
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
question_of_source(struct inbox *inbox, struct inbox_stream *stream, struct fetch *fetch, int64_t limit)
{
    *fetch = (struct fetch){0};
    WIRE_SET(fetch, fetch, subscriber, slice_of(inbox->subscriber));
    if (!id_is_zero(&stream->stream.incarnation)) {
        WIRE_SET(fetch, fetch, incarnation, stream->stream.incarnation);
    }
    WIRE_SET(fetch, fetch, position, stream->committed);
    WIRE_SET(fetch, fetch, limit, limit);
    stream->confirmed = stream->committed;
}

static void
question_of_dlq(const struct inbox *inbox, const struct inbox_stream *stream, struct dlq_fetch *fetch)
{
    *fetch = (struct dlq_fetch){0};
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
    question_of_source(inbox, stream, &question->fetch, inbox->is_full ? 0 : INBOX_PAGE_EVENTS);
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
    if (!is_lost && (disposition == ERR_REFUSE || disposition == ERR_DEAD)) {
        raise_incident(inbox, stream, answer->detail);
    }
}

static void
source_answered(struct inbox *inbox, struct inbox_stream *stream, const struct fetched *page, int64_t now_ms)
{
    stream->lost_tries = 0;
    switch (stream_fetch_arrived(&stream->stream, &page->incarnation, page->head, page->events.count)) {
    case STREAM_OTHER_INCARNATION:
        raise_incident(inbox, stream, "the source's database is another one");
        break;
    case STREAM_AHEAD:
        raise_incident(inbox, stream, "the source ends before our cursor");
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
        raise_incident(inbox, stream, "neither the source nor the dlq keeps what comes behind our position");
    }
}

static void
dlq_answered(struct inbox *inbox, struct inbox_stream *stream, const struct inbox_answer *answer, int64_t now_ms)
{
    int64_t from = stream->stream.fetch_from;
    if (answer->code != ERR_ok) {
        log_debug("dlq_keeps_nothing", LOG_TEXT("source", stream->source), LOG_TEXT("status", err_symbol(answer->code)),
                  LOG_TEXT("detail", answer->detail));
        dlq_has_nothing(inbox, stream, err_disposition(answer->code) != ERR_RETRY, now_ms);
        return;
    }
    const struct fetched *page = answer->page;
    if (stream_fetch_arrived_elsewhere(&stream->stream, &page->incarnation, page->head, page->events.count) != STREAM_APPLY) {
        dlq_has_nothing(inbox, stream, true, now_ms);
        return;
    }
    stream->dlq_from = from;
    stream->lost_tries = 0;
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
inbox_wants_confirm(struct inbox *inbox, size_t number, int64_t now_ms, struct fetch *fetch)
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
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < inbox->key_count; i++) {
        next_ms = inbox->keys[i].due_ms < next_ms ? inbox->keys[i].due_ms : next_ms;
    }
    return next_ms;
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
        if (!stream->has_incident && (stream->stream.is_doubted || stream->stream.head > stream->committed)) {
            return false;
        }
    }
    return inbox_next_parked_ms(inbox) > clock_utc_ms();
}

static err
read_first_parked(struct inbox *inbox, struct arena *arena, const struct parked_key *key, struct inbox_event *event, bool *is_there)
{
    struct db_statement *read =
        db_statement(inbox->db, "SELECT header, body, attempts FROM $parked WHERE source = ? AND event_key = ? ORDER BY seq LIMIT 1");
    db_bind_text(read, slice_of(inbox->streams[key->stream].source));
    db_bind_text(read, slice_of(key->key));
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (!*is_there) {
        return code;
    }
    *event = (struct inbox_event){.stream = key->stream, .is_parked = true};
    event->header_frame = arena_copy(arena, db_bytes(read, 0));
    event->body_frame = arena_copy(arena, db_bytes(read, 1));
    event->attempts = db_i64(read, 2);
    db_done(read);
    struct err_text why;
    code = wire_decode(&event_header_body, event->header_frame, &event->header, &why);
    event->type = code == ERR_ok ? wire_event_find((const char *)event->header.type.data, event->header.type.size) : EVENT_COUNT;
    return code;
}

err
inbox_read_parked(struct inbox *inbox, struct arena *arena, int64_t now_ms, struct inbox_event *out, size_t max, size_t *count)
{
    *count = 0;
    for (size_t i = 0; i < inbox->key_count && *count < max; i++) {
        if (inbox->keys[i].due_ms > now_ms) {
            continue;
        }
        bool is_there = false;
        err code = read_first_parked(inbox, arena, &inbox->keys[i], &out[*count], &is_there);
        if (code != ERR_ok) {
            return code;
        }
        *count += is_there ? 1 : 0;
    }
    return ERR_ok;
}

/* --- what became of it --- */

static err
forget_parked(struct inbox *inbox, const struct inbox_event *event)
{
    struct db_statement *forget = db_statement(inbox->db, "DELETE FROM $parked WHERE source = ? AND seq = ?");
    db_bind_text(forget, slice_of(inbox->streams[event->stream].source));
    db_bind_i64(forget, event->header.seq);
    err code = db_queue(forget, 1);
    remember_key(inbox, event->stream, event->header.key);
    struct parked_key *key = find_key(inbox, event->stream, event->header.key);
    if (key != NULL && --key->count == 0) {
        *key = inbox->keys[--inbox->key_count];
    } else if (key != NULL) {
        key->due_ms = 0; /* the one behind it may go at once */
    }
    return code;
}

void
inbox_applied_event(struct inbox *inbox, const struct inbox_event *event)
{
    if (event->is_parked) {
        err code = forget_parked(inbox, event);
        (void)code; /* a failed statement makes the commit fail */
        log_info("parked_event_applied", LOG_TEXT("source", inbox->streams[event->stream].source), LOG_I64("seq", event->header.seq));
    }
}

bool
inbox_must_park(const struct inbox *inbox, const struct inbox_event *event)
{
    return !event->is_parked && event->header.key.size > 0 && find_key(inbox, event->stream, event->header.key) != NULL;
}

err
inbox_park(struct inbox *inbox, const struct inbox_event *event, int64_t attempts, int64_t due_ms, const char *reason)
{
    const struct inbox_stream *stream = &inbox->streams[event->stream];
    struct db_statement *park = db_statement(
        inbox->db,
        "REPLACE INTO $parked (source, seq, event_key, header, body, attempts, due, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    db_bind_text(park, slice_of(stream->source));
    db_bind_i64(park, event->header.seq);
    db_bind_text(park, event->header.key);
    db_bind_bytes(park, event->header_frame);
    db_bind_bytes(park, event->body_frame);
    db_bind_i64(park, attempts);
    db_bind_i64(park, due_ms);
    db_bind_text(park, slice_of(reason));
    err code = db_queue(park, DB_ANY_ROWS);
    remember_key(inbox, event->stream, event->header.key);
    struct parked_key *key = find_key(inbox, event->stream, event->header.key);
    if (key == NULL) {
        key = add_key(inbox, event->stream, event->header.key);
        key->due_ms = due_ms;
    } else if (event->is_parked) {
        key->due_ms = due_ms;
    }
    key->count += event->is_parked ? 0 : 1;
    return code;
}

void
inbox_hold(struct inbox *inbox, const struct inbox_event *event, int64_t until_ms)
{
    struct inbox_stream *stream = &inbox->streams[event->stream];
    if (event->is_parked) {
        struct parked_key *key = find_key(inbox, event->stream, event->header.key);
        if (key != NULL) {
            key->due_ms = until_ms;
        }
        return;
    }
    stream->held_until_ms = until_ms;
    stream_rewind(&stream->stream, event->header.seq - 1);
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
    return true;
}

/* A source that is met for the first time. */
static bool
is_new(const struct inbox_stream *stream)
{
    return !stream->is_noted && !id_is_zero(&stream->stream.incarnation);
}

bool
inbox_is_due(const struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        if (is_new(&inbox->streams[i])) {
            return true;
        }
    }
    return false;
}

err
inbox_queue(struct inbox *inbox)
{
    struct db_rows *rows = db_rows(inbox->db, "REPLACE INTO $cursor (source, incarnation, position)", 3);
    for (size_t i = 0; i < inbox->count; i++) {
        const struct inbox_stream *stream = &inbox->streams[i];
        if (stream->stream.position != stream->committed || is_new(stream)) {
            db_rows_text(rows, slice_of(stream->source));
            db_rows_id(rows, &stream->stream.incarnation);
            db_rows_i64(rows, stream->stream.position);
        }
    }
    return db_rows_queue(rows);
}

void
inbox_committed(struct inbox *inbox)
{
    for (size_t i = 0; i < inbox->count; i++) {
        inbox->streams[i].committed = inbox->streams[i].stream.position;
        inbox->streams[i].is_noted = !id_is_zero(&inbox->streams[i].stream.incarnation);
    }
    inbox->before_count = 0;
    note_parked(inbox);
}

void
inbox_dropped(struct inbox *inbox)
{
    take_back_keys(inbox);
    for (size_t i = 0; i < inbox->count; i++) {
        struct inbox_stream *stream = &inbox->streams[i];
        if (stream->stream.position != stream->committed) {
            stream_rewind(&stream->stream, stream->committed);
        }
    }
}
