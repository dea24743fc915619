/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What the parts of the dlq share. From the lowest to the highest, and calls go downwards only: dlq_room.c, dlq_meters.c;
 * dlq_letters.c (what there is), dlq_runs.c (replays under way), dlq_view.c, dlq_callers.c, dlq_delivery.c, dlq_owner.c (asking who
 * keeps the row), dlq_outcome.c, dlq_burial.c, dlq_sending.c, dlq_replay.c, dlq_request.c; the files of hosting/ stand on
 * dlq_letters.c alone; dlq.c (messages in, life). Not for others.
 *
 * handle() sees a batch that may be dropped: what a part keeps in memory changes in its committed() hook, or is taken back in its
 * dropped() hook.
 */
#ifndef LARDER_DLQ_STATE_H
#define LARDER_DLQ_STATE_H

#include "kit/actor.h"
#include "dlq/letter/dlq_store.h"
#include "dlq/letter/dlq_tally.h"

/* Owners of due rows. */
#define DLQ_DUE_DELIVER "deliver" /* dlq_request.c; key: letter id */
#define DLQ_DUE_PURGE "purge"     /* dlq_owner.c; key: letter id: the time for undoing a discard is over */
#define DLQ_DUE_ASKED "asked"     /* dlq_owner.c; key: letter id: its owner was asked, and the answer is not here */
#define DLQ_DUE_REPLAY "replay"   /* dlq_replay.c; key: replay id: go on */

struct dlq_room;
struct dlq_meters;
struct askings;
struct dlq_runs;
struct dry_runs;
struct dlq_hosts;

/* The letters of the answers from `from` on and before `to`, read at once: dlq_outcome.c. */
struct dlq_ahead {
    const struct item *from;
    const struct item *to;
    struct dlq_letter *letters;
    size_t count;
};

struct dlq {
    struct actor *actor;
    const struct settings *settings;
    struct dlq_store store;
    struct dlq_tally *tally;
    struct dlq_room *room;
    struct dlq_meters *meters;
    struct askings *askings;   /* dlq_owner.c; of the thread */
    struct dlq_ahead ahead;    /* until the batch ends */
    struct dlq_runs *replays;  /* dlq_runs.c */
    struct dry_runs *dry_runs; /* dlq_dry_run.c */
    struct dlq_hosts *hosts;   /* dlq_hosting.c */
    struct wire_buffer page;   /* of the answer that is being made */
};

/* A letter's number as the context of an ask, and back: it outlives a state that is opened anew. */
_Static_assert(sizeof(void *) == sizeof(int64_t), "a number fits into a context");
static inline void *
dlq_context_of(int64_t n)
{
    void *context;
    memcpy(&context, &n, sizeof context);
    return context;
}

static inline int64_t
dlq_number_of(const void *context)
{
    return (int64_t)(intptr_t)context;
}

/* A letter's id as the key of its due rows, and back; false: it is none. */
static inline struct slice
dlq_key_of(const struct id *id)
{
    return (struct slice){id->bytes, sizeof id->bytes};
}

static inline bool
dlq_id_of_key(struct slice key, struct id *id)
{
    bool is_id = key.size == sizeof id->bytes;
    if (is_id) {
        memcpy(id->bytes, key.data, sizeof id->bytes);
    }
    return is_id;
}

/* What has the same life; dlq.c walks all of them. NULL: nothing is to be done. */
struct dlq_part {
    err (*open)(struct dlq *dlq);
    err (*queue)(struct dlq *dlq, struct batch *batch); /* once at the end of each batch: what is to be written or asked then */
    void (*committed)(struct dlq *dlq);
    void (*dropped)(struct dlq *dlq);
    err (*tick)(struct dlq *dlq, struct batch *batch);
    int64_t (*next_ms)(const struct dlq *dlq); /* when a batch is wanted even if nothing comes; INT64_MAX for never */
    void (*close)(struct dlq *dlq);            /* also of what was never opened */
};
extern const struct dlq_part dlq_letters_part;
extern const struct dlq_part dlq_owner_part;
extern const struct dlq_part dry_runs_part;
extern const struct dlq_part dlq_runs_part;
extern const struct dlq_part dlq_sending_part;
extern const struct dlq_part dlq_hostings_part;
extern const struct dlq_part dlq_receives_part;
extern const struct dlq_part dlq_host_part;

/* --- dlq_letters.c --- */

/* Opens a letter: its rows, its number, the counters. */
void
dlq_open_letter(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct dlq_frames *frames);

/* Writes a letter back that was changed; `before` is what it was when it was read. Counters follow; changed_ms is set when the state
 * is another one. */
MUST_CHECK err
dlq_change_letter(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct dlq_letter *before);

/* It is dead, or is dead again: said in the log and to monitoring. */
void
dlq_tell_dead(struct dlq *dlq, const struct dlq_letter *letter);

/* Finds the letter that a request names, or refuses it (unknown_letter). */
MUST_CHECK err
dlq_get_letter(struct dlq *dlq, struct batch *batch, struct item *item, const struct id *id, struct dlq_letter *letter, bool *found);

/* The letter as it is, overlaid with `replaying` while its owner is asked to retry it: that is not worth a row. */
struct wire_letter
dlq_letter_shown(const struct dlq *dlq, const struct dlq_letter *letter);

/* Answers with it. */
void
dlq_answer_letter(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter);

/* --- dlq_view.c: letters as people see them --- */

/* letter_whole, for a request that waits. */
MUST_CHECK err
dlq_answer_whole_later(struct dlq *dlq, struct batch *batch, struct waiter **waiter, const struct dlq_letter *letter);

MUST_CHECK err
dlq_handle_list(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_show(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_stats(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_burial.c --- */

MUST_CHECK err
dlq_handle_bury(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_owner.c: one letter, by asking who keeps its row --- */

/* dlq.replay, dlq.edit, dlq.discard, dlq.restore: asks the owner; the waiter is answered when it has answered. */
MUST_CHECK err
dlq_owner_handle(struct dlq *dlq, struct batch *batch, struct item *item);

/* Due rows DLQ_DUE_PURGE and DLQ_DUE_ASKED. */
MUST_CHECK err
dlq_owner_handle_due(struct dlq *dlq, struct batch *batch, struct item *item);

/* Sends any.retry for an event or a call, or delivers a request. Asked twice while an answer is out it is sent once. */
MUST_CHECK err
dlq_owner_retry(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter);

/* --- dlq_outcome.c --- */

/* The owner's answer to any.retry, any.edit, any.discard, any.restore. `item->context` is the letter's n. */
MUST_CHECK err
dlq_outcome_handle(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_runs.c: replays under way --- */

/* How a retry of a letter came out, for the replay that asked for it; called for every outcome. `is_done`: processed, now or before;
 * otherwise `letter->error` says why not. `is_later`: its owner is away or another of its key goes first; it is to be tried again. */
struct dlq_outcome {
    const struct dlq_letter *letter;
    bool is_done;
    bool is_later;
    bool is_behind; /* with is_later: another of its key goes first */
};
MUST_CHECK err
dlq_runs_note(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome);

/* The id of a replay that is asking for this letter; the zero id for none. */
MUST_CHECK err
dlq_runs_find_replay(struct dlq *dlq, int64_t n, struct id *replay);

/* Once at the end of each batch: sends what the replays want to send next. */
MUST_CHECK err
dlq_sending_queue(struct dlq *dlq, struct batch *batch);

/* --- dlq_replay.c: selections --- */

MUST_CHECK err
dlq_handle_start(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_status(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_replays(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_cancel(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_replay_handle_due(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_request.c: requests that were handed over --- */

MUST_CHECK err
dlq_handle_hand_over(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_outcome(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_request_handle_due(struct dlq *dlq, struct batch *batch, struct item *item);
/* The answer of the actor; any operation that is no `any` one. `item->context` is the letter's n. */
MUST_CHECK err
dlq_request_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_hosting.c, dlq_receive.c, dlq_subscription.c, dlq_host.c: events kept for subscribers and clients without a database --- */

MUST_CHECK err
dlq_host_handle_head(struct dlq *dlq, struct batch *batch, struct item *item);
/* The answers to its own any.fetch, any.subscribe, any.unsubscribe. */
MUST_CHECK err
dlq_host_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_fetch(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_subscribe(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_receive(struct dlq *dlq, struct batch *batch, struct item *item);
MUST_CHECK err
dlq_handle_unsubscribe(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_meters.c: what monitoring sees --- */

struct dlq_meters *
dlq_meters_create(void);
void
dlq_meters_destroy(struct dlq_meters **meters);
/* A letter was opened dead, or is dead again. */
void
dlq_meters_buried(struct dlq_meters *meters, const char *reason);
/* Each tick: depth, age, value. */
MUST_CHECK err
dlq_meters_tick(struct dlq *dlq, int64_t now_ms);

/* --- dlq_room.c: room for letters when the disk is full --- */

/* Keeps a file of reserve_mib beside the database on SQLite. */
struct dlq_room *
dlq_room_create(const struct settings *settings, const struct actor *actor);
void
dlq_room_destroy(struct dlq_room **room);
/* The disk was full: gives the reserve free. True when there was one. */
bool
dlq_room_release(struct dlq_room *room);
/* Each tick: makes the reserve again when there is space. */
void
dlq_room_tick(struct dlq_room *room);
/* Only burials are taken: the reserve is in use, or nine tenths of letters_max are there. */
bool
dlq_room_is_short(const struct dlq_room *room, int64_t letters);
/* Not even burials are: letters_max. */
bool
dlq_room_is_full(const struct dlq_room *room, int64_t letters);

/* --- dlq_retime.c --- */

/* The clock was set: says when this due row is due, and moves what belongs to it. */
MUST_CHECK err
dlq_retime(const struct retiming *retiming, struct due_row *row);

#endif
