/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an actor tells the world. A durable event is a row of the outbox in the transaction of the change, with the next
 *           seq; after the commit it goes out by PUB. A subscriber that missed it FETCHes it; what it has confirmed is its position;
 *           what all have confirmed is trimmed. A passing event goes out by PUB alone. A subscriber that is behind may have a host,
 *           who fetches in its name and keeps what he fetched: that need not be kept here any more.
 *
 * MESSAGES  publishes [type.key][event_header][body] and [head][event_header][head]; answers any.fetch, any.subscribe,
 *           any.unsubscribe
 *
 * STATE     $outbox (seq, header, body, topic), $position (subscriber, position, hosted). Positions in memory run ahead of their rows
 *           by up to a second: a lost one is confirmed again with the next FETCH. Invariant: every seq that a subscriber has not
 *           confirmed is kept here, or its host has confirmed it. Marks in memory tell how old an unconfirmed event is.
 *
 * FAILURES  A PUB that does not fit is dropped, by design: the gap is fetched. Subscribers of another incarnation, or ahead of the
 *           head, or behind what is kept, are refused; they raise the incident. Who is behind what is kept here, but not behind what
 *           its host keeps, is told so (kept_elsewhere).
 *
 * LIMITS    A page of FETCH holds up to 1,000 events and 768 KiB; trimming takes up to TRIM_MAX events a time.
 */
#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "marks.h"
#include "stream.h"
#include "kit/settings/topology.h"

enum { PAGE_BYTES = 768 * 1024, TRIM_MAX = 5000, TRIM_LEAST = 256, SUBSCRIBERS_MAX = 1000, TOPIC_SIZE = 160 };

struct subscriber {
    char name[WIRE_NAME_MAX + 1];
    int64_t position;
    int64_t hosted; /* what a host has confirmed for it; 0: nobody has */
    int64_t stored; /* position and hosted as they are on disk */
    int64_t hosted_stored;
    bool is_new;     /* made by this batch */
    bool is_leaving; /* taken away by this batch */
};

struct emitted {
    char topic[TOPIC_SIZE];
    struct slice header;
    struct slice body;
    int64_t seq; /* 0 of a passing event */
};

struct source {
    char name[WIRE_NAME_MAX + 1];
    const char *actor;
    const struct settings *settings;
    struct shard *shard;
    void *publisher; /* NULL: nobody can hear it yet */

    struct subscriber *subscribers;
    size_t subscriber_count;
    bool are_positions_dirty;
    int64_t oldest; /* lowest seq kept; seq + 1 when none is */
    struct marks marks;

    struct emitted *emitted; /* of this batch; header and body lie in its arena */
    size_t emitted_count;
    size_t emitted_capacity;
    int64_t durable_count;
    bool is_storing; /* positions, and trimming, are part of this batch */
    int64_t trim_to; /* 0: no trimming in this batch */
    int64_t stored_ms;
    struct wire_buffer head_header; /* frames of HEAD, reused */
    struct wire_buffer head_body;
    struct wire_buffer head_positions;
};

static struct subscriber *
find_subscriber(struct source *source, struct slice name)
{
    for (size_t i = 0; i < source->subscriber_count; i++) {
        if (slice_equal(slice_of(source->subscribers[i].name), name)) {
            return &source->subscribers[i];
        }
    }
    return NULL;
}

static struct subscriber *
add_subscriber(struct source *source, struct slice name, int64_t position, int64_t hosted)
{
    source->subscribers = memory_resize(source->subscribers, (source->subscriber_count + 1) * sizeof *source->subscribers);
    struct subscriber *added = &source->subscribers[source->subscriber_count++];
    *added = (struct subscriber){.position = position, .stored = position, .hosted = hosted, .hosted_stored = hosted};
    snprintf(added->name, sizeof added->name, "%.*s", (int)name.size, (const char *)name.data);
    return added;
}

static err
queue_position(struct source *source, const struct subscriber *subscriber)
{
    struct db_statement *replace =
        db_statement(source->shard->db, "REPLACE INTO $position (subscriber, position, hosted) VALUES (?, ?, ?)");
    db_bind_text(replace, slice_of(subscriber->name));
    db_bind_i64(replace, subscriber->position);
    db_bind_i64(replace, subscriber->hosted);
    return db_queue(replace, DB_ANY_ROWS);
}

struct source *
source_create(const char *name, const char *actor, const struct settings *settings, struct shard *shard)
{
    struct source *source = memory_new(1, sizeof *source);
    snprintf(source->name, sizeof source->name, "%s", name);
    source->actor = actor;
    source->settings = settings;
    source->shard = shard;
    return source;
}

static void
destroy(void *self)
{
    struct source *source = self;
    free(source->subscribers);
    free(source->emitted);
    wire_buffer_fini(&source->head_header);
    wire_buffer_fini(&source->head_body);
    wire_buffer_fini(&source->head_positions);
    free(source);
}

void
source_publish_on(struct source *source, void *publisher)
{
    source->publisher = publisher;
}

static const struct {
    const char *source;
    const char *subscriber;
} named[] = {
#define SUBSCRIBER(source_name, subscriber_name) {#source_name, #subscriber_name},
#include "events.def"
};

/* Whether events.def says that it follows this source. */
static bool
is_named(const struct source *source, const struct subscriber *subscriber)
{
    size_t size = strcspn(subscriber->name, "/");
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (strcmp(named[i].source, source->actor) == 0 && strlen(named[i].subscriber) == size &&
            strncmp(named[i].subscriber, subscriber->name, size) == 0 && subscriber->name[size] == '/') {
            return true;
        }
    }
    return false;
}

/* Those of events.def count from 0 before they first come. */
static err
add_named_subscribers(struct source *source)
{
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        int shards = strcmp(named[i].source, source->actor) == 0 ? topology_shards(source->settings, named[i].subscriber) : 0;
        for (int shard = 0; shard < shards; shard++) {
            char name[WIRE_NAME_MAX + 16];
            snprintf(name, sizeof name, "%.48s/%d", named[i].subscriber, shard);
            if (find_subscriber(source, slice_of(name)) != NULL) {
                continue;
            }
            err code = queue_position(source, add_subscriber(source, slice_of(name), 0, 0));
            if (code != ERR_ok) {
                return code;
            }
        }
    }
    return ERR_ok;
}

static err
load(void *self)
{
    struct source *source = self;
    source->subscriber_count = 0;
    source->marks.count = 0;
    struct db_statement *read =
        db_statement(source->shard->db, "SELECT subscriber, position, hosted FROM $position ORDER BY subscriber");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    while (db_next(read)) {
        add_subscriber(source, db_bytes(read, 0), db_i64(read, 1), db_i64(read, 2));
    }
    struct db_statement *oldest = db_statement(source->shard->db, "SELECT MIN(seq) FROM $outbox");
    code = db_query(oldest);
    if (code != ERR_ok) {
        return code;
    }
    source->oldest = source->shard->seq + 1;
    if (db_next(oldest) && !db_is_null(oldest, 0)) {
        source->oldest = db_i64(oldest, 0);
    }
    db_done(oldest);
    return add_named_subscribers(source);
}

int64_t
source_next_seq(const struct source *source)
{
    return source->shard->seq + source->durable_count + 1;
}

int64_t
source_emitted(const struct source *source)
{
    return source->durable_count;
}

/* A cause may have several events, one after the other even of one type and key: it is the place in the stream that tells them
 * apart. The cause is in it because a database can go back to an older copy of itself: then another event comes to the same place. */
static struct id
durable_id(const struct source *source, const struct source_fact *fact, int64_t seq)
{
    char incarnation[ID_TEXT_SIZE];
    char step[256];
    id_format(&source->shard->incarnation, incarnation);
    snprintf(step, sizeof step, "%s/%s/%lld/%s/%.*s", source->name, incarnation, (long long)seq, wire_events[fact->type].name,
             (int)fact->key.size, (const char *)fact->key.data);
    return id_derive(&fact->cause, step);
}

void
source_emit(struct source *source, struct arena *arena, const struct source_fact *fact)
{
    source->emitted = memory_grow(source->emitted, &source->emitted_capacity, source->emitted_count + 1, sizeof *source->emitted);
    const struct wire_event *type = &wire_events[fact->type];
    struct emitted *emitted = &source->emitted[source->emitted_count++];
    emitted->seq = 0;
    if (type->fate == DURABLE) {
        emitted->seq = source_next_seq(source);
    }
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, emitted->seq > 0 ? durable_id(source, fact, emitted->seq) : id_new());
    WIRE_SET(&header, event_header, source, slice_of(source->name));
    WIRE_SET(&header, event_header, incarnation, source->shard->incarnation);
    WIRE_SET(&header, event_header, seq, emitted->seq);
    WIRE_SET(&header, event_header, type, slice_of(type->name));
    WIRE_SET(&header, event_header, key, fact->key);
    WIRE_SET(&header, event_header, time, fact->time_ms);
    if (fact->traceparent.size > 0) {
        WIRE_SET(&header, event_header, traceparent, fact->traceparent);
    }
    if (emitted->seq > 0) {
        struct shard *shard = source->shard;
        shard->next_chain = stream_chain(source->durable_count == 0 ? &shard->chain : &shard->next_chain, &header.id);
        WIRE_SET(&header, event_header, chain, shard->next_chain);
        source->durable_count++;
    }
    emitted->header = arena_encode(arena, &event_header_body, &header);
    emitted->body = arena_encode(arena, type->body, fact->body);
    snprintf(emitted->topic, sizeof emitted->topic, "%s.%.*s", type->name, (int)fact->key.size, (const char *)fact->key.data);
}

/* What need not be kept here for this subscriber. */
static int64_t
settled_position(const struct subscriber *subscriber)
{
    return subscriber->hosted > subscriber->position ? subscriber->hosted : subscriber->position;
}

static int64_t
lowest_position(const struct source *source)
{
    int64_t lowest = source->shard->seq;
    for (size_t i = 0; i < source->subscriber_count; i++) {
        int64_t settled = settled_position(&source->subscribers[i]);
        lowest = settled < lowest ? settled : lowest;
    }
    return lowest;
}

/* Trimming little by little would cost a statement a commit for nothing. */
static bool
is_trimming_due(const struct source *source)
{
    return lowest_position(source) - source->oldest + 1 >= TRIM_LEAST;
}

static bool
is_due(void *self)
{
    const struct source *source = self;
    return clock_steady_us() / 1000 - source->stored_ms >= 1000 && (source->are_positions_dirty || is_trimming_due(source));
}

static err
queue_positions(struct source *source)
{
    for (size_t i = 0; i < source->subscriber_count; i++) {
        struct subscriber *subscriber = &source->subscribers[i];
        bool is_moved = subscriber->position != subscriber->stored || subscriber->hosted != subscriber->hosted_stored;
        if (is_moved && !subscriber->is_leaving) {
            err code = queue_position(source, subscriber);
            if (code != ERR_ok) {
                return code;
            }
        }
    }
    if (!is_trimming_due(source)) {
        return ERR_ok;
    }
    int64_t lowest = lowest_position(source);
    source->trim_to = lowest < source->oldest + TRIM_MAX ? lowest : source->oldest + TRIM_MAX;
    struct db_statement *trim = db_statement(source->shard->db, "DELETE FROM $outbox WHERE seq <= ?");
    db_bind_i64(trim, source->trim_to);
    return db_queue(trim, DB_ANY_ROWS);
}

static err
queue(void *self)
{
    struct source *source = self;
    if (source->durable_count > 0) {
        struct db_rows *rows = db_rows(source->shard->db, "INSERT INTO $outbox (seq, header, body, topic)", 4);
        for (size_t i = 0; i < source->emitted_count; i++) {
            const struct emitted *emitted = &source->emitted[i];
            if (emitted->seq > 0) {
                db_rows_i64(rows, emitted->seq);
                db_rows_bytes(rows, emitted->header);
                db_rows_bytes(rows, emitted->body);
                db_rows_text(rows, slice_of(emitted->topic));
            }
        }
        err code = db_rows_queue(rows);
        if (code != ERR_ok) {
            return code;
        }
    }
    source->is_storing = is_due(source);
    return source->is_storing ? queue_positions(source) : ERR_ok;
}

static void
send_frames(void *publisher, struct slice topic, struct slice header, struct slice body)
{
    if (zmq_send(publisher, topic.data, topic.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(publisher, header.data, header.size, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0) {
        (void)zmq_send(publisher, body.data, body.size, ZMQ_DONTWAIT);
    }
}

/* Subscribers that came or went with the batch stay or leave as it did. */
static void
settle_subscribers(struct source *source, bool is_committed)
{
    size_t kept = 0;
    for (size_t i = 0; i < source->subscriber_count; i++) {
        struct subscriber subscriber = source->subscribers[i];
        bool is_gone = is_committed ? subscriber.is_leaving : subscriber.is_new;
        subscriber.is_new = subscriber.is_leaving = false;
        if (!is_gone) {
            source->subscribers[kept++] = subscriber;
        }
    }
    source->subscriber_count = kept;
}

static void
positions_stored(struct source *source)
{
    for (size_t i = 0; i < source->subscriber_count; i++) {
        source->subscribers[i].stored = source->subscribers[i].position;
        source->subscribers[i].hosted_stored = source->subscribers[i].hosted;
    }
    source->are_positions_dirty = false;
    source->is_storing = false;
    source->stored_ms = clock_steady_us() / 1000;
    if (source->trim_to > 0) {
        source->oldest = source->trim_to + 1;
        source->trim_to = 0;
    }
}

static void
committed(void *self)
{
    struct source *source = self;
    bool is_moved = source->durable_count > 0;
    for (size_t i = 0; i < source->emitted_count; i++) {
        const struct emitted *emitted = &source->emitted[i];
        send_frames(source->publisher, slice_of(emitted->topic), emitted->header, emitted->body);
    }
    source->emitted_count = 0;
    source->durable_count = 0;
    settle_subscribers(source, true);
    if (source->is_storing) {
        positions_stored(source);
    }
    if (is_moved) {
        source_publish_head(source);
    }
}

static void
dropped(void *self)
{
    struct source *source = self;
    source->emitted_count = 0;
    source->durable_count = 0;
    source->is_storing = false;
    source->trim_to = 0;
    settle_subscribers(source, false);
}

const struct part source_part = {
    .load = load, .is_due = is_due, .queue = queue, .committed = committed, .dropped = dropped, .destroy = destroy};

/* Where everybody stands, into the body of HEAD. */
static void
add_positions(struct source *source, struct wire_head *body, int64_t now_ms)
{
    struct wire_buffer *list = &source->head_positions;
    int64_t lowest = source->shard->seq;
    list->size = 0;
    marks_note(&source->marks, source->shard->seq, now_ms);
    WIRE_SET(body, head, positions, (struct wire_list){0});
    for (size_t i = 0; i < source->subscriber_count; i++) {
        const struct subscriber *subscriber = &source->subscribers[i];
        struct wire_position position = {0};
        WIRE_SET(&position, position, subscriber, slice_of(subscriber->name));
        WIRE_SET(&position, position, position, subscriber->position);
        WIRE_SET(&position, position, age_ms, marks_age_ms(&source->marks, subscriber->position, now_ms));
        if (subscriber->hosted > 0) {
            WIRE_SET(&position, position, hosted, subscriber->hosted);
        }
        wire_list_add(&body->positions, &position_body, &position, list);
        lowest = subscriber->position < lowest ? subscriber->position : lowest;
    }
    wire_list_end(&body->positions, list);
    marks_forget(&source->marks, lowest);
}

void
source_publish_head(struct source *source)
{
    int64_t now_ms = source->shard->now_ms;
    struct wire_buffer *header_frame = &source->head_header;
    struct wire_buffer *body_frame = &source->head_body;
    header_frame->size = body_frame->size = 0;

    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of(source->name));
    WIRE_SET(&header, event_header, incarnation, source->shard->incarnation);
    WIRE_SET(&header, event_header, seq, source->shard->seq);
    WIRE_SET(&header, event_header, type, slice_of("head"));
    WIRE_SET(&header, event_header, key, slice_of(""));
    WIRE_SET(&header, event_header, time, now_ms);
    if (!id_is_zero(&source->shard->chain)) {
        WIRE_SET(&header, event_header, chain, source->shard->chain);
    }
    WIRE_SET(&header, event_header, batch, source->shard->batch);
    wire_encode(&event_header_body, &header, header_frame);

    struct wire_head body = {0};
    WIRE_SET(&body, head, head, source->shard->seq);
    WIRE_SET(&body, head, oldest, source->oldest);
    add_positions(source, &body, now_ms);
    wire_encode(&head_body, &body, body_frame);
    send_frames(source->publisher, slice_of("head"), wire_buffer_slice(header_frame), wire_buffer_slice(body_frame));
}

static err
check_position(struct source *source, const struct wire_fetch *fetch, struct subscriber **subscriber, struct err_text *why)
{
    *subscriber = find_subscriber(source, fetch->subscriber);
    if (*subscriber == NULL) {
        return err_say(why, ERR_unknown_subscriber, "%.*s is no durable subscriber of %s", (int)fetch->subscriber.size,
                       (const char *)fetch->subscriber.data, source->name);
    }
    if (WIRE_HAS(fetch, fetch, incarnation) && !id_equal(&fetch->incarnation, &source->shard->incarnation)) {
        return err_say(why, ERR_other_incarnation, "the database of %s is not the one that %s knows", source->name,
                       (*subscriber)->name);
    }
    if (fetch->position > source->shard->seq) {
        return err_say(why, ERR_position_lost, "%s stands at %lld, but %s ends at %lld", (*subscriber)->name,
                       (long long)fetch->position, source->name, (long long)source->shard->seq);
    }
    return ERR_ok;
}

/* Takes the word of the subscriber, or of its host. */
static void
confirm(struct source *source, struct subscriber *subscriber, const struct wire_fetch *fetch)
{
    bool is_host = WIRE_HAS(fetch, fetch, host);
    int64_t *confirmed = is_host ? &subscriber->hosted : &subscriber->position;
    /* A host that has less than before has lost its database: what it lacks is kept here again, as far as it still is. */
    if (fetch->position > *confirmed || (is_host && fetch->position < *confirmed)) {
        *confirmed = fetch->position;
        source->are_positions_dirty = true;
    }
}

/* Whether what comes behind the position is here. A subscriber whose host has all that is not may go on there, and confirm here
 * what it got; before its own position nobody keeps anything for it. */
static err
check_kept(const struct source *source, const struct subscriber *subscriber, const struct wire_fetch *fetch, struct err_text *why)
{
    if (fetch->position >= source->oldest - 1) {
        return ERR_ok;
    }
    bool is_hosted =
        !WIRE_HAS(fetch, fetch, host) && subscriber->hosted >= source->oldest - 1 && fetch->position >= subscriber->position;
    if (is_hosted && fetch->limit == 0) {
        return ERR_ok;
    }
    return err_say(why, is_hosted ? ERR_kept_elsewhere : ERR_position_lost, "%s stands at %lld, but %s keeps only what is behind %lld",
                   subscriber->name, (long long)fetch->position, source->name, (long long)source->oldest - 1);
}

err
source_fetch(struct source *source, struct arena *arena, const struct wire_fetch *fetch, struct wire_fetched *reply,
             struct err_text *why)
{
    struct subscriber *subscriber = NULL;
    err code = check_position(source, fetch, &subscriber, why);
    if (code != ERR_ok) {
        return code;
    }
    code = check_kept(source, subscriber, fetch, why);
    if (code == ERR_ok || code == ERR_kept_elsewhere) {
        confirm(source, subscriber, fetch);
    }
    if (code != ERR_ok) {
        return code;
    }
    struct wire_buffer list = {0};
    WIRE_SET(reply, fetched, incarnation, source->shard->incarnation);
    WIRE_SET(reply, fetched, head, source->shard->seq);
    WIRE_SET(reply, fetched, events, (struct wire_list){0});
    if (fetch->limit > 0 && fetch->position < source->shard->seq) {
        struct db_statement *read =
            db_statement(source->shard->db, "SELECT header, body FROM $outbox WHERE seq > ? ORDER BY seq LIMIT ?");
        db_bind_i64(read, fetch->position);
        db_bind_i64(read, fetch->limit);
        code = db_query(read);
        while (code == ERR_ok && db_next(read)) {
            struct wire_fetched_event event = {0};
            WIRE_SET(&event, fetched_event, header, db_bytes(read, 0));
            WIRE_SET(&event, fetched_event, body, db_bytes(read, 1));
            if (list.size > 0 && list.size + event.header.size + event.body.size > PAGE_BYTES) {
                db_done(read);
                break;
            }
            wire_list_add(&reply->events, &fetched_event_body, &event, &list);
        }
    }
    struct slice kept = arena_copy(arena, wire_buffer_slice(&list));
    reply->events.data = kept.data;
    reply->events.size = kept.size;
    wire_buffer_fini(&list);
    return code;
}

/* Names of the form actor/shard are the house's own: whoever else took one would confirm in an actor's name, or be taken for it. */
static bool
is_name_of_actor(struct slice name)
{
    char actor[WIRE_NAME_MAX + 1];
    const uint8_t *slash = memchr(name.data, '/', name.size);
    size_t size = slash == NULL ? 0 : (size_t)(slash - name.data);
    if (size == 0 || size >= sizeof actor) {
        return false;
    }
    memcpy(actor, name.data, size);
    actor[size] = '\0';
    return topology_knows(actor);
}

static err
refuse_name(struct slice name, struct err_text *why)
{
    return err_say(why, ERR_forbidden, "%.*s is a name of an actor: they subscribe by themselves, and stay subscribed", (int)name.size,
                   (const char *)name.data);
}

err
source_subscribe(struct source *source, const struct wire_subscribe *subscribe, struct wire_subscribed *reply, struct err_text *why)
{
    struct subscriber *subscriber = find_subscriber(source, subscribe->subscriber);
    if (subscriber == NULL && is_name_of_actor(subscribe->subscriber)) {
        return refuse_name(subscribe->subscriber, why);
    }
    /* MySQL takes `a` and `a ` for the same key. */
    if (subscribe->subscriber.data[subscribe->subscriber.size - 1] == ' ') {
        return err_say(why, ERR_invalid_field, "subscribe.subscriber: ends with a blank");
    }
    if (subscriber == NULL) {
        if (source->subscriber_count >= SUBSCRIBERS_MAX) {
            return err_say(why, ERR_overloaded, "%s has %d durable subscribers, which is all that it takes", source->name,
                           SUBSCRIBERS_MAX);
        }
        bool from_start = WIRE_HAS(subscribe, subscribe, from_start) && subscribe->from_start;
        subscriber = add_subscriber(source, subscribe->subscriber, from_start ? source->oldest - 1 : source->shard->seq, 0);
        subscriber->is_new = true;
    }
    subscriber->is_leaving = false; /* one that left in this very batch */
    err code = queue_position(source, subscriber);
    if (code != ERR_ok) {
        return err_say(why, code, "the subscription cannot be stored");
    }
    WIRE_SET(reply, subscribed, incarnation, source->shard->incarnation);
    WIRE_SET(reply, subscribed, position, subscriber->position);
    WIRE_SET(reply, subscribed, head, source->shard->seq);
    return ERR_ok;
}

err
source_unsubscribe(struct source *source, const struct wire_unsubscribe *unsubscribe, struct err_text *why)
{
    struct subscriber *subscriber = find_subscriber(source, unsubscribe->subscriber);
    if (subscriber != NULL && is_named(source, subscriber)) {
        return refuse_name(unsubscribe->subscriber, why);
    }
    if (subscriber == NULL) {
        return err_say(why, ERR_unknown_subscriber, "%.*s is no durable subscriber of %s", (int)unsubscribe->subscriber.size,
                       (const char *)unsubscribe->subscriber.data, source->name);
    }
    struct db_statement *forget = db_statement(source->shard->db, "DELETE FROM $position WHERE subscriber = ?");
    db_bind_text(forget, unsubscribe->subscriber);
    err code = db_queue(forget, DB_ANY_ROWS);
    if (code != ERR_ok) {
        return err_say(why, code, "the subscription cannot be taken back");
    }
    subscriber->is_leaving = true;
    return ERR_ok;
}
