/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE   The streams of an inbox: which there are, how far they are, and whether they stand. */
#include <stdio.h>
#include <string.h>

#include "inbox_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

struct inbox_stream *
inbox_find_source(struct inbox *inbox, struct slice source)
{
    for (size_t i = 0; i < inbox->count; i++) {
        if (slice_equal(slice_of(inbox->streams[i].source), source)) {
            return &inbox->streams[i];
        }
    }
    return NULL;
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

bool
inbox_is_paused(const struct inbox_stream *stream)
{
    return stream->has_incident || clock_utc_ms() < stream->held_until_ms;
}

/* --- incidents --- */

void
inbox_note_incident(struct inbox *inbox, const struct inbox_stream *stream, enum incident_kind kind, const char *what)
{
    struct incident raised = {.kind = kind, .position = stream->committed};
    snprintf(raised.about, sizeof raised.about, "%s", stream->source);
    snprintf(raised.what, sizeof raised.what, "%s", what);
    incidents_raise(inbox->standing, &raised);
}

void
inbox_raise(struct inbox *inbox, struct inbox_stream *stream, enum incident_kind kind, const char *what)
{
    if (!stream->has_incident) {
        stream->has_incident = true;
        metric_add(inbox->incidents, 1);
        inbox_note_incident(inbox, stream, kind, what);
        log_error(
            "incident", LOG_TEXT("source", stream->source), LOG_TEXT("what", what), LOG_I64("position", stream->stream.position),
            LOG_I64("head", stream->stream.head), LOG_ID("incarnation", &stream->stream.incarnation),
            LOG_TEXT("now",
                     "bring the right database back and start anew; or `larder incidents` shows it, and `larder incidents resolve` "
                     "says from where it would go on and what is gone, and does so"));
    }
}
