/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of the inbox share: inbox.c (events), inbox_asking.c (what is missing), inbox_resolve.c (what a person decides), and
 * below them inbox_streams.c. Not for others. */
#ifndef LARDER_KIT_INBOX_INTERNAL_H
#define LARDER_KIT_INBOX_INTERNAL_H

#include "hold.h"
#include "inbox.h"
#include "kit/durable/incidents.h"
#include "kit/telemetry/metrics.h"
#include "parked.h"
#include "stream.h"

enum { INBOX_STREAMS_MAX = 64, INBOX_SOURCE_SIZE = 80 };

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
    char source[INBOX_SOURCE_SIZE];
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
    char subscriber[INBOX_SOURCE_SIZE];
    struct inbox_stream streams[INBOX_STREAMS_MAX];
    size_t count;
    const char *sources[INBOX_STREAMS_MAX]; /* their names, for `parked` */
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

/* --- inbox_streams.c --- */

/* NULL: it is not followed. */
struct inbox_stream *
inbox_find_source(struct inbox *inbox, struct slice source);

/* Neither heard nor asked: it stands, or waits for a moment. */
bool
inbox_is_paused(const struct inbox_stream *stream);

/* From here on it stands, until somebody decides; said once. */
void
inbox_raise(struct inbox *inbox, struct inbox_stream *stream, enum incident_kind kind, const char *what);

/* Notes that it was held, or stands, for who asks what was wrong. */
void
inbox_note_incident(struct inbox *inbox, const struct inbox_stream *stream, enum incident_kind kind, const char *what);

/* --- inbox_resolve.c --- */

/* The decision of the batch, if there was one, is on disk. */
void
inbox_take_way(struct inbox *inbox);

/* What was noticed in an earlier run is over once the source's past is found to be the one that is followed. */
void
inbox_end_what_agrees(struct inbox *inbox, const struct inbox_stream *stream);

#endif
