/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One source's sequence as a subscriber sees it: what to do with an event, a HEAD or a fetched page, and when to fetch. Pure: no
 * socket, no database, no clock; times are milliseconds of any clock that the caller keeps to and that does not go back.
 *
 *     verdict = stream_see_event(&stream, &header.incarnation, header.seq);
 *     STREAM_APPLY -> apply it, then stream_take(); a rolled back transaction: stream_rewind()
 *     STREAM_GAP   -> drop it: it comes again with a page. stream_wants_fetch() is true now
 *
 * While a page is on its way it is best to leave the events in their socket: behind the page they are duplicates or next.
 */
#ifndef LARDER_STREAM_H
#define LARDER_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"

enum stream_verdict {
    STREAM_APPLY,             /* event: it is the next one; page: there are events in it */
    STREAM_DUPLICATE,         /* nothing new */
    STREAM_GAP,               /* something is missing, or in doubt: a FETCH is needed */
    STREAM_PASSING,           /* event: not part of the sequence; apply it or not, nothing is counted */
    STREAM_OTHER_INCARNATION, /* an incident: not the database that the cursor belongs to */
    STREAM_AHEAD              /* an incident: the cursor is at what the source never had, or has no more */
};

struct stream {
    struct id incarnation; /* zero until the first message of the source */
    struct id left;        /* the one before stream_reset(): what is still under way of it is a duplicate */
    int64_t position;      /* the last event taken */
    int64_t head;          /* the highest position that is known to exist */
    int64_t fetch_due_ms;  /* of the page under way: when it is given up; otherwise: no FETCH before this */
    int64_t fetch_from;    /* the position that the page under way was asked from */
    int failures;          /* FETCHes in a row without a usable page */
    bool is_fetching;
    bool is_doubted; /* a FETCH has to confirm the position */
};

/* The chain at an event: what it was at the one before (zero: there is none) and the id of the event. Two sources whose chains at one
 * position are the same have had the same events up to there. Never zero. */
struct id
stream_chain(const struct id *before, const struct id *event);

/* What a durable event says of the past of its source, or a HEAD (`is_head`) of its last event. */
struct stream_told {
    bool is_head;
    int64_t seq;
    struct id id;    /* of the event */
    struct id chain; /* zero: it does not say */
};

/* Whether that is another past than the one that was followed, where it can be compared: it is the next event, or a HEAD at our very
 * position. `known` is the chain at our position; zero: not known. */
bool
stream_is_other_past(const struct stream *stream, const struct id *known, const struct stream_told *told);

/* Starts from a cursor. `incarnation` NULL or zero: not known yet, taken from the first message; then `position` is 0 or what
 * any.subscribe answered. The position is in doubt until the first page: what was published before is found out by a FETCH. */
void
stream_init(struct stream *stream, const struct id *incarnation, int64_t position);

/* Goes over to another incarnation, from `position` on: an operator's answer to the incident, never automatic. */
void
stream_reset(struct stream *stream, const struct id *incarnation, int64_t position);

/* An event came, by PUB or in a page. Never STREAM_AHEAD. */
enum stream_verdict
stream_see_event(struct stream *stream, const struct id *incarnation, int64_t seq);

/* A HEAD came by PUB. STREAM_DUPLICATE, STREAM_GAP or STREAM_OTHER_INCARNATION: a HEAD behind the position may only be an old one
 * that was overtaken by a page, so it is a doubt and a page has to confirm it. */
enum stream_verdict
stream_see_head(struct stream *stream, const struct id *incarnation, int64_t head);

/* The event is applied, at least in the transaction under way. `seq` must be the next one. */
void
stream_take(struct stream *stream, int64_t seq);

/* The transaction was rolled back: the position is this earlier one again. */
void
stream_rewind(struct stream *stream, int64_t position);

/* Something is not as it should be: a FETCH has to confirm the position. */
void
stream_doubt(struct stream *stream);

/* Whether something is missing or in doubt and it may be asked for now: no page is on its way (or it is overdue), no pause runs. */
bool
stream_wants_fetch(const struct stream *stream, int64_t now_ms);

/* Whether a FETCH could go out now, wanted or not, e.g. only to confirm. */
bool
stream_may_fetch(const struct stream *stream, int64_t now_ms);

/* A FETCH from the position went out; without an answer it is given up at `deadline_ms`. */
void
stream_fetch_sent(struct stream *stream, int64_t deadline_ms);

/* No answer, or a refusal to be repeated: counted, and none goes out before `pause_until_ms`. */
void
stream_fetch_failed(struct stream *stream, int64_t pause_until_ms);

/* The page came, as the answer to the latest FETCH (drop late ones, and those with limit 0); its events go to stream_see_event()
 * one by one. STREAM_APPLY: it has `count` > 0. STREAM_DUPLICATE: it is empty, rightly. STREAM_GAP: it is empty although the source
 * says that it has more; then, as when an event of the page is a STREAM_GAP, say stream_fetch_failed(). Or an incident. */
enum stream_verdict
stream_fetch_arrived(struct stream *stream, const struct id *incarnation, int64_t head, uint32_t count);

/* The page came from somebody else who keeps a part of the stream. Its events are as good as the source's, but it proves nothing: that
 * it ends before the position means nothing, and a doubt stays. STREAM_APPLY, STREAM_DUPLICATE: it is empty; or
 * STREAM_OTHER_INCARNATION: what is kept there is not of this stream. */
enum stream_verdict
stream_fetch_arrived_elsewhere(struct stream *stream, const struct id *incarnation, int64_t head, uint32_t count);

#endif
