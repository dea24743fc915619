/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Decides, for one source, what an event, a HEAD and a page mean to a cursor, and whether a FETCH is due.
 *
 * STATE
 *   The cursor (incarnation, position), the highest position known to exist, and the one FETCH that may be under way. Something is
 *   missing while head > position; something is in doubt from the start, and after a HEAD that lies behind the position without
 *   anything seen since that proves the position.
 *
 * FAILURES
 *   A cursor ahead of its source and a foreign incarnation are verdicts, never repaired here: they are incidents. Only a page can
 *   prove a cursor ahead, as it answers a question asked after the position was reached; a HEAD by PUB may have been waiting in a
 *   queue while a page overtook it. A page is measured against the position that it was asked from, not against the one of now. A page
 *   of somebody else who keeps events of the source proves nothing about the source.
 *
 * LIMITS
 *   One incarnation left behind is remembered, so that its last messages, still in a queue, raise no second incident.
 */
#include "stream.h"

#include <string.h>

#include <assert.h>

struct id
stream_chain(const struct id *before, const struct id *event)
{
    uint8_t both[2 * sizeof before->bytes];
    memcpy(both, before->bytes, sizeof before->bytes);
    memcpy(both + sizeof before->bytes, event->bytes, sizeof event->bytes);
    return id_of_bytes(both, sizeof both);
}

bool
stream_is_other_past(const struct stream *stream, const struct id *known, const struct stream_told *told)
{
    if (id_is_zero(known) || id_is_zero(&told->chain) || told->seq != stream->position + (told->is_head ? 0 : 1)) {
        return false;
    }
    struct id expected = told->is_head ? *known : stream_chain(known, &told->id);
    return !id_equal(&expected, &told->chain);
}

void
stream_init(struct stream *stream, const struct id *incarnation, int64_t position)
{
    *stream = (struct stream){.position = position, .is_doubted = true};
    if (incarnation != NULL) {
        stream->incarnation = *incarnation;
    }
}

void
stream_reset(struct stream *stream, const struct id *incarnation, int64_t position)
{
    struct id left = stream->incarnation;
    stream_init(stream, incarnation, position);
    stream->left = left;
}

static bool
is_known(struct stream *stream, const struct id *incarnation)
{
    if (id_is_zero(&stream->incarnation)) {
        stream->incarnation = *incarnation;
    }
    return id_equal(&stream->incarnation, incarnation);
}

static enum stream_verdict
foreign(const struct stream *stream, const struct id *incarnation)
{
    return !id_is_zero(&stream->left) && id_equal(&stream->left, incarnation) ? STREAM_DUPLICATE : STREAM_OTHER_INCARNATION;
}

static void
raise_head(struct stream *stream, int64_t head)
{
    if (head > stream->head) {
        stream->head = head;
    }
}

enum stream_verdict
stream_see_event(struct stream *stream, const struct id *incarnation, int64_t seq)
{
    if (seq == 0) {
        return STREAM_PASSING;
    }
    if (!is_known(stream, incarnation)) {
        return foreign(stream, incarnation);
    }
    raise_head(stream, seq);
    if (seq <= stream->position) {
        return STREAM_DUPLICATE;
    }
    return seq - 1 == stream->position ? STREAM_APPLY : STREAM_GAP;
}

enum stream_verdict
stream_see_head(struct stream *stream, const struct id *incarnation, int64_t head)
{
    if (!is_known(stream, incarnation)) {
        return foreign(stream, incarnation);
    }
    raise_head(stream, head);
    if (stream->head < stream->position) {
        stream->is_doubted = true;
    }
    return stream->head == stream->position ? STREAM_DUPLICATE : STREAM_GAP;
}

void
stream_take(struct stream *stream, int64_t seq)
{
    assert(seq - 1 == stream->position);
    stream->position = seq;
    raise_head(stream, seq);
}

void
stream_rewind(struct stream *stream, int64_t position)
{
    assert(position <= stream->position);
    stream->position = position;
}

void
stream_doubt(struct stream *stream)
{
    stream->is_doubted = true;
}

bool
stream_may_fetch(const struct stream *stream, int64_t now_ms)
{
    return now_ms >= stream->fetch_due_ms;
}

bool
stream_wants_fetch(const struct stream *stream, int64_t now_ms)
{
    return (stream->is_doubted || stream->head > stream->position) && stream_may_fetch(stream, now_ms);
}

void
stream_fetch_sent(struct stream *stream, int64_t deadline_ms)
{
    stream->is_fetching = true;
    stream->fetch_from = stream->position;
    stream->fetch_due_ms = deadline_ms;
}

void
stream_fetch_failed(struct stream *stream, int64_t pause_until_ms)
{
    stream->is_fetching = false;
    stream->fetch_due_ms = pause_until_ms;
    stream->failures++;
}

enum stream_verdict
stream_fetch_arrived(struct stream *stream, const struct id *incarnation, int64_t head, uint32_t count)
{
    int64_t from = stream->is_fetching ? stream->fetch_from : stream->position;
    stream->is_fetching = false;
    stream->fetch_due_ms = 0;
    if (!is_known(stream, incarnation)) {
        return STREAM_OTHER_INCARNATION;
    }
    if (head < from) {
        return STREAM_AHEAD;
    }
    stream->is_doubted = false;
    raise_head(stream, head);
    if (count == 0 && head > from) {
        return STREAM_GAP;
    }
    stream->failures = 0;
    return count > 0 ? STREAM_APPLY : STREAM_DUPLICATE;
}

enum stream_verdict
stream_fetch_arrived_elsewhere(struct stream *stream, const struct id *incarnation, int64_t head, uint32_t count)
{
    stream->is_fetching = false;
    stream->fetch_due_ms = 0;
    if (!is_known(stream, incarnation)) {
        return STREAM_OTHER_INCARNATION;
    }
    raise_head(stream, head);
    return count > 0 ? STREAM_APPLY : STREAM_DUPLICATE;
}
