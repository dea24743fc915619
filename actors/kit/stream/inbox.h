/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The durable subscriptions of an actor: cursors, gaps, parked events. Which sources it follows stands in events.def.
 *
 * The actor's loop gives it what came from the SUB sockets and from FETCH, and takes events out in order; what became of each is
 * told back before the commit; the cursor moves in the same transaction.
 */
#ifndef LARDER_KIT_INBOX_H
#define LARDER_KIT_INBOX_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "kit/durable/part.h"
#include "kit/settings/settings.h"
#include "wire.h"

/* The most events that one answer to a FETCH brings. */
#define INBOX_PAGE_EVENTS 256

struct inbox;

/* Of a parked event; the numbers are in the database. */
enum parked_state {
    PARKED_TRYING = 0,   /* tried when it is due, or behind another of its key */
    PARKED_BURIED = 1,   /* a letter of the dlq: tried when somebody asks for it, and its key waits */
    PARKED_DISCARDED = 2 /* put aside: its key goes on */
};

/* One event to be applied. Slices lie in the arena. */
struct inbox_event {
    size_t stream;
    struct wire_event_header header;
    enum event_type type;
    struct slice header_frame;
    struct slice body_frame;
    struct id chain_before; /* of its stream, when it was taken */
    bool is_parked;
    enum parked_state state; /* of a parked one, and what follows */
    int64_t attempts;
    int64_t first_ms;     /* when it was tried first; 0: it was not */
    struct slice history; /* its attempts, as elements of a list of letter_attempt */
    int64_t history_count;
};

/* Why an event is parked. */
struct inbox_failure {
    int64_t attempts; /* this one included; 0: it was not tried */
    int64_t due_ms;   /* when it is tried again; INT64_MAX: when it is its turn, or when somebody asks */
    bool is_buried;
    const char *reason;
    int64_t first_ms;
    struct slice history;
    int64_t history_count;
};

enum inbox_verdict { INBOX_NOTHING, INBOX_APPLY };

/* `subscriber` is this actor's name as a subscriber, "factory/0". */
struct inbox *
inbox_create(struct db *db, const char *actor, const char *subscriber, const struct settings *settings);

/* It wants a commit of its own for a source that was met for the first time and is not noted yet: without that, a source whose
 * database is lost before its first event would be taken for the same one. */
extern const struct part inbox_part;

size_t
inbox_stream_count(const struct inbox *inbox);
const char *
inbox_stream_actor(const struct inbox *inbox, size_t stream);
int
inbox_stream_shard(const struct inbox *inbox, size_t stream);

/* A page is on its way: what is published meanwhile is best left in its socket. */
bool
inbox_is_fetching(const struct inbox *inbox, size_t stream);

/* How much of a source ("factory/0") is applied, this batch included. */
int64_t
inbox_applied(const struct inbox *inbox, const char *source);

/* Whether an incident holds a source. */
bool
inbox_has_incident(const struct inbox *inbox);

/* What a person has decided of what stands. Without `is_decided` it is only said what would be done. */
struct inbox_decision {
    struct id incident;
    struct slice author;
    struct slice reason;
    bool is_decided;
    int64_t now_ms;
};

/* Inside a batch, before anything is queued: what is or would be done, in a sentence that lies in the arena; of one that is over, what
 * was. ERR_not_found: there never was one. ERR_unavailable: the source was not heard since this actor was started. */
MUST_CHECK err
inbox_resolve(struct inbox *inbox, struct arena *arena, const struct inbox_decision *decision, struct slice *words,
              struct err_text *why);

/* Whether nothing is known to be missing: every source was heard and applied to its end, and no parked event is due. */
bool
inbox_is_caught_up(const struct inbox *inbox);

/* --- in --- */

/* A message of a SUB socket. INBOX_APPLY: `event` is the next one. */
MUST_CHECK enum inbox_verdict
inbox_see(struct inbox *inbox, struct arena *arena, size_t stream, struct slice header_frame, struct slice body_frame,
          struct inbox_event *event);

/* Whom to ask for what is missing: the source, or the dlq, which keeps what the source has no more and stands in while it is away. */
enum inbox_asked { INBOX_ASKS_NOBODY, INBOX_ASKS_SOURCE, INBOX_ASKS_DLQ };

struct inbox_question {
    struct wire_fetch fetch;         /* INBOX_ASKS_SOURCE: any.fetch; also tells our position */
    struct wire_dlq_fetch dlq_fetch; /* INBOX_ASKS_DLQ */
};

/* Whether somebody should be asked for more of this stream now. */
enum inbox_asked
inbox_wants_fetch(struct inbox *inbox, size_t number, int64_t now_ms, int64_t timeout_ms, struct inbox_question *question);

struct inbox_answer {
    enum inbox_asked asked;
    err code;
    const char *detail;
    const struct wire_fetched *page; /* when code is ok; its events go to inbox_see_fetched() one by one */
};

void
inbox_fetched(struct inbox *inbox, size_t number, const struct inbox_answer *answer, int64_t now_ms);

/* Whether the source should be told what is on disk, beside any FETCH: then `fetch`, of limit 0, is to be sent. One is under way at a
 * time, and nothing waits for it. */
bool
inbox_wants_confirm(struct inbox *inbox, size_t number, int64_t now_ms, struct wire_fetch *fetch);
void
inbox_confirmed(struct inbox *inbox, size_t number, err code, int64_t now_ms);
MUST_CHECK enum inbox_verdict
inbox_see_fetched(struct inbox *inbox, struct arena *arena, size_t stream, const struct wire_fetched_event *fetched,
                  struct inbox_event *event);

/* Parked events whose time has come, the first of each key. */
MUST_CHECK err
inbox_read_parked(struct inbox *inbox, struct arena *arena, int64_t now_ms, struct inbox_event *out, size_t max, size_t *count);
int64_t
inbox_next_parked_ms(const struct inbox *inbox);

/* When some stream wants something next, for the wait; INT64_MAX for never. */
int64_t
inbox_next_ms(const struct inbox *inbox, int64_t now_ms);

/* --- what became of it, inside the batch --- */

void
inbox_applied_event(struct inbox *inbox, const struct inbox_event *event);

/* What an event that was refused for good means for its source. */
enum inbox_judgement {
    INBOX_CHARGE, /* the event is at fault, as far as is known */
    INBOX_PROBED, /* the source is held and this was a probe: it goes back to its source, and nobody is charged */
    INBOX_ALONE   /* with this one the source is held, and others were taken out behind it: the batch must not be committed */
};

MUST_CHECK enum inbox_judgement
inbox_judge(struct inbox *inbox, const struct inbox_event *event, int64_t now_ms);

/* An event of this key is parked already: this one has to wait behind it. */
bool
inbox_must_park(const struct inbox *inbox, const struct inbox_event *event);

/* Cannot be applied: kept with the reason. */
MUST_CHECK err
inbox_park(struct inbox *inbox, const struct inbox_event *event, const struct inbox_failure *failure);

/* A dependency is away: the stream goes back to before this event and pauses. */
void
inbox_hold(struct inbox *inbox, const struct inbox_event *event, int64_t until_ms);

/* After a rollback, for an event that is tried alone: whether it is still its turn; it counts as taken out then. */
bool
inbox_take_again(struct inbox *inbox, const struct inbox_event *event);

/* --- what somebody asks of a parked event --- */

enum inbox_found {
    INBOX_FOUND_HEAD,      /* the first of its key */
    INBOX_FOUND_BEHIND,    /* another of its key goes first */
    INBOX_FOUND_DISCARDED, /* put aside */
    INBOX_FOUND_NONE,      /* it was applied or finally discarded */
    INBOX_FOUND_NEVER      /* this actor does not follow that source, or has not come so far */
};

struct inbox_place {
    enum inbox_found found;
    int64_t head; /* seq of the first of its key, when it is known */
};

/* Looks up the event at this place of a source, with what is queued already. `event` is filled unless it is not there. */
MUST_CHECK err
inbox_find_parked(struct inbox *inbox, struct arena *arena, struct slice source, int64_t seq, struct inbox_event *event,
                  struct inbox_place *place);

/* Reads many of one source ahead, for inbox_find_parked(), until the next call; a count of 0 forgets them. */
MUST_CHECK err
inbox_read_ahead(struct inbox *inbox, struct arena *arena, struct slice source, const int64_t *seqs, size_t count);

/* Inside the batch, of one that was found in it. */
MUST_CHECK err
inbox_edit_parked(struct inbox *inbox, const struct inbox_event *event, struct slice body);
MUST_CHECK err
inbox_discard_parked(struct inbox *inbox, const struct inbox_event *event, bool is_final);
MUST_CHECK err
inbox_restore_parked(struct inbox *inbox, const struct inbox_event *event);

#endif
