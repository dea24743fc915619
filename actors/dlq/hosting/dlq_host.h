/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of hosting share, from the lowest to the highest: dlq_hosting.c, dlq_host_letter.c, dlq_receive.c, dlq_copying.c,
 * dlq_subscription.c, dlq_host.c. Not for others. */
#ifndef LARDER_DLQ_HOST_H
#define LARDER_DLQ_HOST_H

#include "dlq_host_store.h"
#include "dlq/letter/dlq_letter.h"
#include "dlq/dlq_state.h"
#include "kit/stream/marks.h"

/* The names under which the dlq subscribes for its clients. */
#define DLQ_CLIENT_PREFIX "dlq."

enum { DLQ_SUBSCRIPTIONS_MAX = 1000, DLQ_ANSWER_EARLY_MS = 200, DLQ_HOST_WORK_MS = 450, DLQ_LETTER_PAUSE_MS = 1000 };

struct hosting;

/* A stream that events are kept of, or whose HEAD was heard. What it says of itself is not part of any transaction. */
struct host_source {
    struct host_source *next;
    char name[DLQ_TEXT_SIZE]; /* "stock/0" */
    char actor[DLQ_TEXT_SIZE];
    int shard;
    int64_t head;       /* the last position that is known to exist */
    int64_t oldest;     /* as its HEAD said; 0: no HEAD was heard */
    int64_t orphan_ms;  /* when it was told last that a subscription of it has no client */
    struct marks marks; /* of what is here, for the ages of clients */
    int64_t trimmed;    /* nothing up to here is kept; 0: not known */
    int64_t trimming;   /* by the batch under way; 0: it does not trim */
};

/* A receive that waits for an event. */
struct receive {
    struct receive *next;
    struct hosting *hosting;
    struct waiter *waiter;
    int64_t deadline_ms;
    int64_t after; /* the client has everything up to here */
    int64_t credit;
    bool is_new;      /* made by the batch under way, and gone when that is dropped */
    bool is_answered; /* by the batch under way, and not when that is dropped */
};

/* What a batch may change of a hosting, and a rollback takes back. */
struct hosting_values {
    struct dlq_hosting_row row;
    bool is_leaving;         /* its row is deleted */
    bool is_dirty;           /* the row on disk has an older position, which is as good */
    int64_t given;           /* of a client: the last event that it was ever sent */
    bool is_prompt;          /* a subscriber that has nearly caught up: nothing more is copied for it */
    int64_t letter_to;       /* what the letter says is kept */
    int64_t letter_ms;       /* when it was told */
    struct receive *receive; /* of a client: the one that waits */
    bool is_asking;          /* a FETCH, or a new subscription, is under way */
    struct id asked_id;      /* its id */
    int64_t asked;           /* its position */
    int64_t asked_ms;        /* when */
    int64_t told;            /* the position that the source has confirmed to know */
    int failures;            /* in a row */
    int64_t retry_ms;        /* not before this */
    err refusal;             /* the source cannot give what comes next: ERR_position_lost; ERR_ok otherwise */
};

/* Somebody for whom the events of one source are kept. */
struct hosting {
    struct hosting *next;
    struct hosting *next_touched;
    struct host_source *source;
    bool is_new;
    bool is_touched;
    bool is_listed; /* the HEAD that is being read names it */
    struct hosting_values committed;
    struct hosting_values now;
};

/* A dlq.subscribe or dlq.unsubscribe that waits for the source. */
struct host_asked {
    char source[DLQ_TEXT_SIZE];
    char subscriber[DLQ_TEXT_SIZE];
};

struct dlq_hosts {
    struct host_source *sources;
    struct hosting *hostings;
    struct hosting *touched; /* by the batch under way */
    struct receive *receives;
    struct wire_buffer events; /* of the page that is being made */
    int64_t worked_ms;
    struct metric *subscribers;
    struct metric *clients;
    struct metric *copied;
};

/* --- dlq_hosting.c: what is known of sources and hostings --- */

/* Must be called before anything in `now` is changed. */
void
host_touch(struct dlq_hosts *hosts, struct hosting *hosting);

struct host_source *
host_find_source(struct dlq_hosts *hosts, struct slice name);
/* NULL: no such actor publishes events. */
struct host_source *
host_get_source(struct dlq *dlq, struct slice name);

/* The hostings of a source but those that leave with this batch: the first, then the next until NULL. */
struct hosting *
host_first(const struct dlq_hosts *hosts, const struct host_source *source);
struct hosting *
host_next(const struct hosting *hosting);
struct hosting *
host_find(struct dlq_hosts *hosts, const struct host_source *source, struct slice subscriber);

/* The last event of the source that is here. */
int64_t
host_front(struct dlq_hosts *hosts, const struct host_source *source);

/* Adds one with its row. */
MUST_CHECK err
host_add(struct dlq *dlq, const struct dlq_hosting_row *row, struct hosting **hosting);
MUST_CHECK err
host_store(struct dlq *dlq, struct hosting *hosting);
MUST_CHECK err
host_remove(struct dlq *dlq, struct hosting *hosting);

/* Events that are kept for it behind `after`, in order and without a gap: as many as `limit` and a frame allow. `last` is the last of
 * them, `after` when there is none. The page's bytes live until the next one is made. */
MUST_CHECK err
host_read_page(struct dlq *dlq, const struct hosting *hosting, int64_t after, int64_t limit, struct wire_fetched *page, int64_t *last);

/* --- dlq_host_letter.c --- */

/* Somebody is behind since then. Its row must be stored by the caller. */
MUST_CHECK err
host_open_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting, int64_t behind_since_ms);

/* Tells the letter how far events are kept, now and then. */
MUST_CHECK err
host_follow_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting);

/* Closes it, if there is one. `words` NULL: they stay. The row must be stored by the caller. */
MUST_CHECK err
host_close_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting, enum dlq_state state, const char *words);

/* --- dlq_receive.c: receives that wait for an event --- */

void
receive_wait(struct dlq *dlq, struct batch *batch, struct item *item, struct hosting *hosting, int64_t after);

/* Events came: answers the receive of the hosting, if one waits and there is something to say. */
MUST_CHECK err
receive_answer(struct dlq *dlq, struct batch *batch, struct hosting *hosting);

/* Answers it, which there must be, with a page without events. */
void
receive_finish(struct batch *batch, struct hosting *hosting);

/* Whoever waits for an event is told why none comes any more. */
void
receive_refuse(struct batch *batch, struct hosting *hosting, err code, const char *words);

/* Those whose time is nearly over. */
void
receives_expire(struct dlq *dlq, struct batch *batch);

/* --- dlq_copying.c --- */

/* Asks the source for up to `limit` events; 0 tells it what is here. */
void
copying_ask(struct dlq *dlq, struct batch *batch, struct hosting *hosting, int64_t limit);

/* Asks the source for what is not here yet, and tells it what is. */
MUST_CHECK err
copying_pump(struct dlq *dlq, struct batch *batch, struct host_source *source);

/* What is kept is of no use any more: the hosting ends, its letter is stale. */
MUST_CHECK err
copying_end(struct dlq *dlq, struct batch *batch, struct hosting *hosting, const char *words);

/* The source has forgotten the subscription because it was asked to. */
MUST_CHECK err
copying_forget(struct dlq *dlq, struct batch *batch, struct hosting *hosting);

/* The source has this database now: what was kept of another one is closed as stale. */
MUST_CHECK err
copying_meet(struct dlq *dlq, struct batch *batch, struct host_source *source, const struct id *incarnation);

/* Answers to any.fetch, and to an any.subscribe that a source's loss of memory asked for. */
MUST_CHECK err
copying_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item);

/* --- dlq_subscription.c --- */

/* Letters of clients that do not acknowledge. */
MUST_CHECK err
subscription_judge(struct dlq *dlq, struct batch *batch, struct hosting *hosting);

/* Answers to any.subscribe and any.unsubscribe that were asked for a client. */
MUST_CHECK err
subscription_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item);

#endif
