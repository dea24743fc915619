/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What an inbox asks: a source for events that were missed, which also confirms what is on disk, or the dlq for those that
 *           the source keeps no longer; and when it wants to ask next.
 *
 * MESSAGES  any.fetch, dlq.fetch
 *
 * FAILURES  What the source keeps no longer is asked of the dlq until it has no more; while the source does not answer, every second
 *           question goes there. A dlq that refuses is no incident, unless the source has said that the position is lost.
 */
#include "inbox_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

enum { CONFIRM_MS = 1, FETCH_PAUSE_MS = 200, LOST_TRIES = 5 };

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
    if (inbox_is_paused(stream) || !stream_wants_fetch(&stream->stream, now_ms) || stream->stream.position != stream->committed) {
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
        inbox_raise(inbox, stream, answer->code == ERR_other_incarnation ? INCIDENT_other_database : INCIDENT_refused, answer->detail);
    }
}

static void
source_answered(struct inbox *inbox, struct inbox_stream *stream, const struct wire_fetched *page, int64_t now_ms)
{
    stream->lost_tries = 0;
    stream->is_elsewhere = stream->is_warned = false;
    switch (stream_fetch_arrived(&stream->stream, &page->incarnation, page->head, page->events.count)) {
    case STREAM_OTHER_INCARNATION:
        inbox_raise(inbox, stream, INCIDENT_other_database, "the source's database is another one");
        break;
    case STREAM_AHEAD:
        inbox_raise(inbox, stream, INCIDENT_ends_before, "the source ends before our cursor");
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
        inbox_raise(inbox, stream, INCIDENT_events_lost, "neither the source nor the dlq keeps what comes behind our position");
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
