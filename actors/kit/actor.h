/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What every actor stands on: one thread, one loop, one database, one commit for many messages.
 *
 *     wait -> drain up to batch_max -> decode, validate, fold equal ids -> recall what is asked again -> handle the batch
 *     -> outbox, cursors, answers, due rows -> prove the shard -> commit -> committed() -> replies, events, asks, calls
 *
 * An actor gives a class: what it is called, its schema, and handle(). handle() sees the items of a batch in order, decides,
 * queues its SQL and says the outcome of each; it must leave nothing changed for an item that it refuses. Nothing it says leaves
 * the process before the commit; when the commit fails, dropped() is called, and the items come again one by one, so that only
 * the culprit fails. A batch in which nobody wrote costs no commit.
 *
 * Everything here belongs to the actor's thread, but what starts and stops it.
 */
#ifndef LARDER_KIT_ACTOR_H
#define LARDER_KIT_ACTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/base/actor_class.h"
#include "kit/db/db.h"
#include "err.h"
#include "kit/durable/due_rows.h"
#include "kit/durable/fingerprint.h"
#include "kit/peers/party.h"
#include "kit/peers/waiter.h"
#include "kit/peers/works.h"
#include "role.h"
#include "kit/settings/settings.h"
#include "wire.h"

/* --- what comes in --- */

enum item_kind {
    ITEM_REQUEST, /* op, body, id, again: to be answered */
    ITEM_EVENT,   /* event, body, header of a durable subscription; in order per source, or a parked one tried again */
    ITEM_DUE,     /* a due row whose time has come: owner, key, payload, attempts */
    ITEM_REPLY,   /* the answer to an ask: op, status, body (decoded when ok, struct wire_problem otherwise), context */
    ITEM_CALL,    /* the outcome of an outbound HTTP call: call_status, text, context_id */
    ITEM_WORK,    /* work that was given to batch_work() is done: id, context; status when it has to be given up after all */
    ITEM_HEAD     /* a source's HEAD, for a class that watches: header (source, incarnation, seq) and body (struct wire_head) */
};

/* One message of a batch. All pointers and slices live until the batch ends. */
struct item {
    enum item_kind kind;
    struct id id; /* request: its identity; event: the event's; due: derived from owner, key and time; reply: the ask's */
    bool again;
    int64_t deadline_ms;
    struct slice traceparent;

    enum role role; /* ITEM_REQUEST: in whose name it is asked */
    bool has_user;
    struct id user;      /* who that is, when it is a person who has signed in */
    struct slice secret; /* of an order, as it was shown; empty: none */
    struct slice peer; /* ITEM_REQUEST: whose share of what is scarce it takes: an address, or a connection; bytes without a meaning */

    enum op op;                     /* ITEM_REQUEST, ITEM_REPLY */
    const void *body;               /* struct of the op's request, of the event's body, of the op's reply or struct wire_problem */
    struct slice frame;             /* the body as it came */
    struct fingerprint fingerprint; /* ITEM_REQUEST that writes: tells another request under the same id */

    enum event_type event; /* ITEM_EVENT */
    const struct wire_event_header *header;

    struct slice owner; /* ITEM_DUE */
    struct slice key;
    struct slice payload;
    int64_t attempts; /* ITEM_DUE, ITEM_EVENT: those before this one */

    err status;                 /* ITEM_REPLY, ITEM_WORK; ERR_unavailable or ERR_deadline_exceeded when no answer came */
    bool replayed;              /* ITEM_REPLY: a stored answer */
    void *context;              /* ITEM_REPLY: as given to batch_ask(); ITEM_WORK: the memory of the work */
    struct id context_id;       /* ITEM_CALL: as given to batch_call() */
    int64_t call_tag;           /* ITEM_CALL: as given to batch_call() */
    int call_status;            /* ITEM_CALL: HTTP status; 0 when there was no answer, then `text` says why */
    struct slice text;          /* ITEM_CALL: the first 4 KiB of the answer, or the reason */
    enum call_blame call_blame; /* ITEM_CALL: whose fault it is that it was not answered well */
    bool has_turn;              /* ITEM_DUE: it waited for its turn to call, and has it */

    struct item_outcome *outcome; /* the kit's own */
};

struct batch {
    struct actor *actor;
    struct item *items;
    size_t count;
    int64_t now_ms; /* one moment for the whole batch */
};

/* --- outcomes: exactly one per request; none means a bug and answers `internal` --- */

/* `reply` is the struct of the op's reply body; encoded at once. */
void
item_answer(struct batch *batch, struct item *item, const void *reply);

/* Refuses with a sentence. For an event: it cannot be applied; it is parked or retried as the disposition says. */
void
item_refuse(struct batch *batch, struct item *item, err code, const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Refuses with more than a sentence; `problem->detail` must be set. */
void
item_refuse_with(struct batch *batch, struct item *item, err code, const struct wire_problem *problem);

/* Whether it is the request of which this fingerprint was stored; those of earlier versions are believed. */
bool
item_is_of(const struct item *item, const struct fingerprint *kept);

/* Says that its id belongs to another request. */
void
item_refuse_other(struct batch *batch, struct item *item);

/* From recall(): a request was answered before under this id, with this status and body (a frame as item_answered_frame() gave). Of
 * another request it is refused as idempotency_mismatch instead. */
void
item_replay(struct batch *batch, struct item *item, const struct fingerprint *kept, err status, struct slice frame);

/* The encoded body of the outcome that was just set; lives as long as the batch. */
struct slice
item_answered_frame(const struct item *item);

/* ERR_OK or the refusal; ERR_COUNT while nothing was said. */
err
item_outcome(const struct item *item);

/* The answer will come in a later batch. The waiter is owned by whoever must answer it, exactly once. */
struct waiter *
item_defer(struct batch *batch, struct item *item);

/* It waits for something that has this number in the state, and is found by it. When the state is made anew, the kit refuses it
 * (unavailable). */
void
batch_wait_for(struct batch *batch, struct waiter *waiter, int64_t what);

/* One that waits for this and was not answered; NULL for none. */
struct waiter *
batch_waiter_of(const struct batch *batch, int64_t what);

/* Whether a request of this id waits, and how many of an operation do. */
bool
batch_is_waiting(const struct batch *batch, const struct id *request);
int
batch_count_waiting(const struct batch *batch, enum op op);

/* Answers as soon as this batch is committed; consumes the waiter. When the batch is dropped instead, it waits as before, and the
 * items come again. */
void
waiter_answer(struct batch *batch, struct waiter **waiter, const void *reply);
void
waiter_refuse(struct batch *batch, struct waiter **waiter, err code, const struct wire_problem *problem);

/* Whether somebody may have asked before, so that a refusal is final and is kept. */
bool
batch_is_asked_again(const struct batch *batch, const struct item *item);

/* Whether it is to be looked up in this batch what its id stands for: it is asked again, or some id of the batch has clashed. */
bool
batch_is_looked_up(const struct batch *batch, const struct item *item);

/* --- effects --- */

/* Emits an event when the batch is committed: a durable one through the outbox, a passing one by PUB alone. `body` is the struct
 * of the event's body. `cause` gives the event its trace, and is part of its id. */
void
batch_emit(struct batch *batch, enum event_type type, struct slice key, const void *body, const struct item *cause);

/* The seq that the next durable event of this batch will get. */
int64_t
batch_next_seq(const struct batch *batch);

/* A request to another actor, sent after the commit. No answer by the deadline comes as ERR_deadline_exceeded, a peer that is not
 * there at once as ERR_unavailable: there is always exactly one ITEM_REPLY. One whose batch could not be committed comes again, as a
 * failure, and where that fails alone as well, again and again, at growing intervals: what it says of a state that is being asked
 * holds. It may come after close() and open(): `context` must not point into the state. */
struct ask {
    const char *actor; /* "stock" */
    int shard;
    enum op op;
    struct id id;
    bool again;
    int64_t deadline_ms;
    struct slice traceparent;
    const struct item *asker; /* the request in whose name it is asked: its role, user and secret; NULL: the actor's own */
    const void *body;         /* struct of the op's request; encoded at once */
    struct slice frame;       /* instead of `body`: the frame as it is; copied */
    void *context;
};

void
batch_ask(struct batch *batch, const struct ask *ask);

/* Sets the due row of (owner, key), replacing the one there is. It fires once, as an ITEM_DUE, and is gone unless set again. */
void
batch_due(struct batch *batch, const struct due *due);
void
batch_due_cancel(struct batch *batch, const char *owner, struct slice key);

/* An HTTP POST of JSON, or a GET, started after the commit. Everything is copied. One ITEM_CALL comes, unless the process ends or the
 * database is lost under it: a due row has to stand behind every call. */
struct call {
    const char *url;
    struct slice json; /* empty: a GET */
    int64_t timeout_ms;
    struct id context_id; /* comes back with the outcome, and is the Idempotency-Key of a POST */
    int64_t tag;          /* comes back with the outcome */
    struct id key;        /* another Idempotency-Key; zero: none */
    const char *bearer;   /* NULL or "": no token */
    bool is_once;         /* never sent anew by the library, for the price of a connection of its own */
    bool expects_missing; /* it asks for something, and 404 is an answer */
};

void
batch_call(struct batch *batch, const struct call *call);

/* Whether a call may begin in this batch. Otherwise its due row has to wait for its turn: due at batch_turn_ms(), it comes as an
 * ITEM_DUE with `has_turn` when there is room, in the order in which such rows were set. */
bool
batch_may_call(const struct batch *batch, const struct item *cause);
int64_t
batch_turn_ms(const struct batch *batch);

/* A call was CALL_IN_DOUBT first at this moment, and now again: whether another has been answered well since. */
bool
batch_others_are_answered(const struct batch *batch, int64_t since_ms);

/* Work that takes long and touches nothing but its own memory: on one thread beside the actor, after the commit, in turns. There is
 * exactly one ITEM_WORK with this id and context, unless the actor ends; one whose batch could not be committed comes again, as a
 * failure: ERR_unavailable or ERR_internal. When that one, too, fails alone, the waiter with its id is told ERR_internal. It may
 * come after close() and open(): the memory must not point into the state. */
/* False, and nothing is taken: refuse as overloaded. As many as works_max are under way and its caller has most of them, or it
 * would most likely not be done in time. One that was taken may have to make room for another caller's: then it comes as
 * ERR_overloaded. */
bool
batch_work(struct batch *batch, const struct work *work);

/* Tells the dlq what could not be finished, until it has confirmed. Part of this batch's transaction. A second burial of the same
 * letter replaces one that is not confirmed yet. `burial->destination` is set by the kit. */
void
batch_bury(struct batch *batch, const struct wire_burial *burial);

/* The row of a letter was finished after all, though nobody asked for it: its letter is closed. Nothing happens when none was
 * buried under this id and the dlq does not know it. */
void
batch_settle(struct batch *batch, const struct id *letter);

/* The id of the letter about a row of this actor: derived from what failed and who could not do it. */
struct id
batch_letter_id(const struct batch *batch, const struct id *what);

/* Memory that lives until the batch ends. Never NULL. */
void *
batch_alloc(struct batch *batch, size_t size);

/* The pause before the attempt number `attempts` + 1: retry_first_ms doubled each time, plus or minus a quarter. */
int64_t
batch_backoff_ms(const struct batch *batch, int64_t attempts);

/* --- where it runs --- */

struct db *
actor_db(struct actor *actor);
const struct settings *
actor_settings(const struct actor *actor);
int
actor_shard(const struct actor *actor);
int
actor_of(const struct actor *actor);

/* How much of the stream of a source ("factory/0") is applied, this batch included; 0 for none. */
int64_t
actor_applied(const struct actor *actor, const char *source);

/* --- life --- */

enum actor_outcome {
    ACTOR_RUNNING,
    ACTOR_STOPPED, /* asked to */
    ACTOR_FENCED,  /* another process has its shard */
    ACTOR_FAILED   /* it cannot go on; the log says why */
};

enum { ACTOR_START_MS = 30000 };

/* Starts the thread, which opens its database. `ended_fd` is an eventfd that is raised when the thread ends by itself. */
MUST_CHECK err
actor_open(const struct actor_class *class, const struct settings *settings, int shard, int ended_fd, struct actor **actor,
           struct err_text *why);

/* Waits until it has its database, its shard and its state; it is reached by nobody yet. On failure it is stopped, and NULL. */
MUST_CHECK err
actor_wait_open(struct actor **actor, int64_t timeout_ms, struct err_text *why);

/* Lets one that is open bind its sockets and work, and waits until it does. On failure it is stopped, and NULL. */
MUST_CHECK err
actor_serve(struct actor **actor, struct err_text *why);

/* All three, ACTOR_START_MS each at the most. */
MUST_CHECK err
actor_start(const struct actor_class *class, const struct settings *settings, int shard, int ended_fd, struct actor **actor,
            struct err_text *why);

/* Asks it to finish its batch, answer and end; waits for it. Returns how it ended. */
enum actor_outcome
actor_stop(struct actor **actor);

enum actor_outcome
actor_outcome(const struct actor *actor);

/* Ready to serve: its loop turns, its database answers and no incident holds it. From any thread. */
bool
actor_is_ready(const struct actor *actor);

#endif
