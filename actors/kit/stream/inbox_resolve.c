/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a person decides of a source that stands: from where its cursor goes on and what is gone by that, said beforehand
 *           as a dry run and done in the transaction of the request; and what ends by itself when the right database is back.
 *
 * MESSAGES  any.resolve, which own.c answers
 *
 * STATE     The way of the batch under way (inbox->way). The incidents are incidents.c's.
 *
 * FAILURES  A source that was not heard in this run cannot be decided about. One decision a batch.
 */
#include <stdio.h>

#include "inbox_internal.h"

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
    struct inbox_stream *stream = inbox_find_source(inbox, slice_of(incident->about));
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

void
inbox_take_way(struct inbox *inbox)
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
        (void)code; /* a row that memory knows and the table does not is forgotten when it is looked for */
    }
}

void
inbox_end_what_agrees(struct inbox *inbox, const struct inbox_stream *stream)
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
