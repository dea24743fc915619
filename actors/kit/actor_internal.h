/* SPDX-License-Identifier: MPL-2.0 */
/* What the files of an actor share. Calls go downwards only: actor.c (life), loop.c, gather.c (what comes in), batch*.c (one batch),
 * recover.c (its database), rows.c (what is left over), replies.c (what goes out), effects.c (what handlers say). Not for actors. */
#ifndef LARDER_KIT_ACTOR_INTERNAL_H
#define LARDER_KIT_ACTOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <czmq.h>

#include "actor.h"
#include "kit/durable/answers.h"
#include "kit/base/arena.h"
#include "kit/peers/asks.h"
#include "kit/durable/burials.h"
#include "kit/base/clock.h"
#include "kit/durable/due_rows.h"
#include "kit/stream/inbox.h"
#include "link.h"
#include "kit/place/manifest.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "kit/peers/outcalls.h"
#include "kit/durable/shard.h"
#include "kit/stream/source.h"
#include "kit/durable/trial.h"
#include "kit/sockets/unread.h"
#include "kit/base/wakeup.h"
#include "kit/stream/watches.h"
#include "kit/peers/waiting.h"
#include "kit/peers/works.h"

struct item_outcome {
    err status; /* ERR_COUNT: nothing was said */
    struct slice frame;
    bool is_replayed;
    struct waiter *waiter; /* deferred */
};

/* Of a record that is a row because somebody asked to retry it: what is answered, beside what becomes of the row. */
struct retry {
    struct id request;
    enum op op;
    struct item_outcome outcome;
};

/* One message of the batch: as it came, and what became of it. */
struct record {
    struct item item;
    struct item_outcome outcome;
    struct item_outcome given; /* what was said of it when it came in; a rollback goes back to this */
    struct message message;    /* ITEM_REQUEST, ITEM_REPLY, and those with `retry` */
    bool has_message;
    bool is_again;       /* as it came, to be echoed; item.again is also that of those folded into it */
    int32_t folded_into; /* number of the record of the same id whose outcome is ours too; -1 for none */
    bool is_other;       /* folded into a request that has only the id in common */
    struct retry *retry; /* NULL: nobody asked to retry it */
    const struct inbox_event *event;
    bool is_follower; /* an event that was parked by this batch without being handled */
    const struct due_row *due;
    const struct ask_sent *ask; /* ITEM_REPLY */
    const struct work *work;    /* ITEM_WORK, until it has ended or was given back */
};

/* The messages of a batch. */
struct records {
    struct record *list;
    size_t count;
    size_t capacity;
    size_t retry_count; /* of them rows that somebody asked to retry */
    struct item *items; /* what the class sees of them */
    int32_t *fold_table;
    size_t fold_size;
    bool is_forced;    /* every request counts as asked again */
    bool is_looked_up; /* ids of the batch have clashed: every request is looked up, all of them together */
};

struct ask_queued {
    const char *actor;
    int shard;
    struct ask_sent ask;
    struct slice header;
    struct slice body;
};

/* How the actor follows the clock (actor_clock.c). */
struct actor_clock {
    struct clock_watch watch;
    bool is_set;   /* it was set, and what waits is still to be brought back into bounds */
    int64_t by_ms; /* by so much in all since that was done last */
    struct metric *back;
    struct metric *forward;
    struct metric *retimed;
};

/* A list that only grows, of elements of one size. */
struct list {
    void *elements;
    size_t count;
    size_t capacity;
};

void *
list_add(struct list *list, size_t element_size);

/* What handlers have said of the batch, and what the world hears when it is committed. */
struct effects {
    struct list asks;  /* struct ask_queued */
    struct list calls; /* struct outbound_call */
    struct list works; /* struct work */
};

/* How far the start has come. The thread goes from OPENING to OPENED and from BINDING to SERVING, whoever starts it from OPENED on. */
enum actor_stage {
    STAGE_OPENING,
    STAGE_OPENED,
    STAGE_BINDING,
    STAGE_SERVING,
    STAGE_STOPPING, /* before it has served */
    STAGE_FAILED
};

/* How it is started and stopped. `stage` and what follows are shared, under `lock`; the rest is set before the thread starts. */
struct actor_life {
    pthread_t thread;
    int ended_fd;
    int stop_fd;
    pthread_mutex_t lock;
    pthread_cond_t stage_changed;
    enum actor_stage stage;
    err open_code;
    struct err_text open_why;
};

/* What has a share in each of its commits. An actor that keeps nothing has none of them. */
struct actor_parts {
    struct source *source;
    struct inbox *inbox;
    struct answers *answers;
    struct due_rows *due_rows;
    struct burials *burials;
    struct trial *trial;
    struct parts all;
};

/* Whom it asks, hears and gives work to. */
struct actor_peers {
    struct asks *asks;
    struct watches *watches;   /* NULL: the class does not watch */
    struct outcalls *outcalls; /* NULL: the class makes no calls */
    struct works *works;       /* NULL: the class wants none */
};

/* Where requests come in and answers and events go out, and what wakes the loop. */
struct actor_sockets {
    zsock_t *router;
    void *raw_router;
    struct unread *unread;
    struct wire_buffer reply_header; /* the one being sent */
    zsock_t *publisher;
    zsock_t **events; /* per stream of the inbox */
    struct wake_source *events_sources;
    struct link_pulse *events_pulses;
    struct wake_source router_source;
    struct wake_source stop_source;
    struct wake_source outcalls_source;
    struct wake_source works_source;
    int wakeup_fd;
};

/* The database is away, or could not do what was asked of it. */
struct actor_outage {
    bool is_on; /* it is away */
    int64_t retry_us;
    int64_t since_us;
    int64_t pause_until_ms; /* UTC: due rows and replies are left alone until then */
    int64_t full_said_ms;   /* UTC: that the disk is full */
};

/* A backup opens its snapshots: nothing is committed. */
struct actor_held {
    bool is_on;
    int64_t until_us; /* clock_steady_us() at which that ends by itself; 0: nobody wants it */
};

/* When the loop did last what it does now and then. */
struct actor_last {
    int64_t tick_us;
    int64_t head_us;
};

struct actor_metrics {
    struct metric *batches;
    struct metric *commit_us;
    struct metric *replies_dropped;
    struct metric *answered[OP_COUNT][ERR_COUNT];
};

struct actor {
    /* set before the thread starts, then only read */
    const struct actor_class *class;
    const struct settings *settings;
    int shard_number;
    int of;
    int port;                      /* of its requests */
    char name[WIRE_NAME_MAX + 16]; /* "stock/0" */
    struct actor_life life;

    /* shared: atomic */
    _Atomic int outcome; /* enum actor_outcome */
    _Atomic bool is_ready;

    /* owned by the thread */
    void *state;
    struct db *db; /* NULL: the actor keeps nothing */
    struct manifest_owner installation;
    struct shard shard;
    struct actor_parts parts;
    struct actor_peers peers;
    struct actor_sockets sockets;
    struct actor_clock clock;
    struct actor_outage outage;
    struct actor_held held;
    struct actor_last last;
    struct arena arena; /* everything of a batch lies in it */
    struct records records;
    struct effects effects;
    struct waiting waiting;
    struct actor_metrics metrics;
};

/* --- records.c --- */

void
records_init(struct records *records, size_t capacity);
void
records_fini(struct records *records);

/* Adds an empty record. NULL when the batch is full. */
struct record *
records_add(struct records *records);

/* Before the first request of a batch is folded. */
void
records_begin_folds(struct records *records);

/* Makes the request of this number part of an earlier one of the same id, when there is one. */
void
records_fold(struct records *records, size_t number);

/* Makes an event or a due row of the record. */
void
record_take_event(struct actor *actor, struct record *record, const struct inbox_event *event);
void
record_take_due(struct record *record, const struct due_row *row, const struct id *id);

/* What is answered to whoever sent the record's message. */
struct item_outcome *
record_answer(struct record *record);

/* Whether somebody waits for an answer: it is a request, or was one before it became a row. */
bool
record_is_asked(const struct record *record);

/* Whether this row, or another parked event of its key, is part of the batch. */
bool
records_have_event(const struct records *records, const struct inbox_event *event);
bool
records_have_due(const struct records *records, struct slice owner, struct slice key);

/* --- effects.c --- */

/* They were told to the world, or are forgotten. */
void
effects_clear(struct effects *effects);
void
effects_fini(struct effects *effects);

/* Whether the kit keeps the answers of this actor's requests. */
bool
batch_keeps_answers(const struct actor *actor);

/* --- batch.c --- */

/* How long what comes again by itself waits after a failure. */
enum { BATCH_PAUSE_MS = 1000 };

/* What follows from an attempt. BATCH_AGAIN: rolled back for certain, may be tried again. BATCH_FAILED: `code` says why. */
enum batch_end { BATCH_DONE, BATCH_AGAIN, BATCH_FAILED };

enum batch_end
batch_attempt(struct actor *actor, struct record *records, size_t count, int64_t now_ms, err *code);

/* One record that is settled without being handled: commits what was queued for it, unless `queued` says that it could not be.
 * False: dropped. */
bool
batch_commit_alone(struct actor *actor, struct record *record, err queued);

void
batch_refuse_record(struct actor *actor, struct record *record, err code, const char *detail);
/* Tells all of them that asked. */
void
batch_refuse_unanswered(struct actor *actor, struct record *records, size_t count, err code, const char *detail);

void
batch_end_work(struct actor *actor, struct record *record);

bool
batch_lost_connection(err code);

/* --- batch_alone.c --- */

/* `is_forced`: they ran before, and it is looked up whether they were done. */
void
batch_run_one_by_one(struct actor *actor, bool is_forced, int64_t now_ms);

/* What the inbox has taken out is taken out anew, one by one. */
void
batch_run_tried(struct actor *actor, int64_t now_ms);

/* What a reply was to change could not be done: whoever waits for it has to be told, and it comes once more, as a failure. Where not
 * even that can be handled (a row is broken, or this program) it comes later and later, for as long as it takes: the state believes
 * that somebody is being asked, and would ask nobody else. */
void
batch_return_reply(struct actor *actor, const struct record *record, err code, int64_t now_ms);
/* The same of work that is done; but nothing on disk stands behind it, and whoever waits for it can ask again: they are told. */
void
batch_return_work(struct actor *actor, struct record *record, err code, int64_t now_ms);

/* --- batch_run.c --- */

/* Runs all records, and empties them. */
void
batch_run(struct actor *actor, int64_t now_ms);

/* Once a second and when a commit is due without any message. */
void
batch_tick(struct actor *actor, int64_t now_ms);

/* --- own.c --- */

/* Answers those of the records that are the kit's own. */
MUST_CHECK err
own_answer(struct batch *batch, struct record *records, size_t count);

/* --- rows.c --- */

/* Why an event cannot be applied. */
struct blame {
    err status;
    const char *reason;
    int64_t attempts; /* how many this counts for */
    bool is_final;    /* buried, also when there are attempts left */
};

/* The one place where a failed event is parked, tried again later, or given up: then it is buried. In the transaction under way. */
MUST_CHECK err
rows_charge(struct batch *batch, struct record *record, const struct blame *charge);

/* Says what became of an event, or of a row that somebody asked to retry; `behind` records were handled in the same transaction behind
 * it. ERR_unavailable: this must not be committed: a dependency is away, or one of them should have waited for this event. */
MUST_CHECK err
rows_settle(struct batch *batch, struct record *record, size_t behind);

void
rows_say_failed(struct batch *batch, struct record *record, err status, const char *error, int64_t attempts);

/* What a record is answered: that its row goes, now or when the outside party is back, which is tried soon; or anything else. */
void
rows_say_held(struct batch *batch, struct record *record);
void
rows_say_word(struct batch *batch, struct record *record, const char *word);
void
rows_say(struct batch *batch, struct record *record, const struct wire_row_outcome *outcome);

/* A due row that fired stays, for another moment. */
void
rows_set_due(struct batch *batch, const struct due_row *due, int64_t due_ms, int64_t attempts);

/* It is given up: it stays, and fires only when somebody asks for it. */
void
rows_bury_due(struct batch *batch, const struct due_row *due, const struct blame *charge);

/* --- row_requests.c --- */

/* Requests to retry a row become that row; those that cannot are answered. Other than ERR_ok: the database cannot be read. */
MUST_CHECK err
row_requests_take(struct actor *actor, int64_t now_ms);

/* Answers any.edit, any.discard, any.restore, and an any.retry that could not be taken. */
MUST_CHECK err
row_request_answer(struct batch *batch, struct record *record);

/* --- tried.c --- */

/* Whether this batch has a record that is handled alone, named on disk before. */
bool
tried_is_wanted(const struct actor *actor);

/* How many records from this one on can be handled together: 1 at least. */
size_t
tried_together(const struct actor *actor, size_t first);

/* Before the record of this number is handled: its name is on disk, or it is given up here for having ended the actor too often. */
MUST_CHECK err
tried_begin(struct actor *actor, size_t number, int64_t now_ms, bool *is_given_up);

/* A due row that was rolled back for what it does, and not for want of a database: it comes again later and later, and after
 * retry_attempts it is given up, so that it holds nobody up. */
void
tried_put_back(struct actor *actor, struct record *record, err code, int64_t now_ms);

/* The last record survived. */
void
tried_end(struct actor *actor);

/* --- replies.c --- */

/* The status goes on the wire as it is; codes of the database as what the caller can do about it. */
err
replies_public_status(err code);

/* Sends an answer along a request's envelope. */
void
replies_send_frames(struct actor *actor, struct message *message, const struct wire_reply_header *header, struct slice body);

/* Answers those that have an outcome; deferred ones begin to wait. Folded ones are left out. */
void
replies_send(struct actor *actor, struct record *records, size_t count);

/* Answers one with this outcome, whatever its own is. */
void
replies_send_one(struct actor *actor, struct record *record, const struct item_outcome *outcome);

/* Tells one that waited what it is answered; it does not wait any more. */
void
replies_finish_waiter(struct actor *actor, struct waiter *waiter);

/* Nobody works any more on what was asked under this id: who waits for it, if anybody does, is told ERR_internal. */
void
replies_refuse_waiter(struct actor *actor, const struct id *id, const char *detail);

/* The actor ends: everybody who waits is told so. */
void
replies_refuse_waiters(struct actor *actor);

/* The state was lost: those are told whom nobody would answer any more. */
void
replies_refuse_lost(struct actor *actor);

/* --- gather.c --- */

/* The most due rows and parked events that a batch takes. */
enum { GATHER_DUE_MAX = 256, GATHER_PARKED_MAX = 64 };

/* Fills the records with what has come; requests that are there already stay the first of them. */
void
gather_all(struct actor *actor, int64_t now_ms);

/* While commits are held back: adds the requests that have come, and nothing else. True: one of them ends it. */
bool
gather_held(struct actor *actor, int64_t now_ms);

/* Asks the sources that this actor follows for what is missing, confirms what is on disk, and sends burials. Between batches. */
void
gather_missing(struct actor *actor, int64_t now_ms);

/* --- actor_clock.c --- */

/* Before anything else looks at the clock. */
void
actor_clock_begin(struct actor *actor);

/* The shard was just taken, and nothing was read yet: brings what waits back into bounds if the clock went back since the last run. */
MUST_CHECK err
actor_clock_start(struct actor *actor, struct err_text *why);

/* UTC now, for this turn and its commits; takes note when the clock was set. */
int64_t
actor_clock_look(struct actor *actor);

/* Between batches, with a database: brings what waits back into bounds when the clock was set, and opens the class anew. */
void
actor_clock_settle(struct actor *actor, int64_t now_ms);

/* --- recover.c --- */

void
actor_end(struct actor *actor, enum actor_outcome outcome, const char *why);

/* ERR_db_stale: it ends with what has become of its shard. */
void
actor_end_stale(struct actor *actor);

/* Makes the class's state anew from the database. `reason` may be NULL: the log has it as well. */
MUST_CHECK err
actor_reopen(struct actor *actor, struct err_text *reason);

/* Connects again and takes the shard again. `happened`: the batch under way is on disk. ERR_db_stale: fenced. */
MUST_CHECK err
actor_recover(struct actor *actor, bool *happened);

/* While the database is away: a try now and then, between the refusals. */
void
actor_try_database(struct actor *actor);

/* The database cannot take what replies bring: they are left where they are. */
bool
actor_is_paused(const struct actor *actor, int64_t now_ms);

/* --- loop.c --- */

/* Until it ends by itself, or is asked to. */
void
actor_loop(struct actor *actor);

/* It was asked to end: that is written down, so that the next run need not begin slowly. */
void
actor_end_orderly(struct actor *actor);

#endif
