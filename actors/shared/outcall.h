/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One thing about which an outside party is called until it is known what became of it: a charge or a refund at its provider, a
 * production of an outside factory. What is remembered of its calls is the payload of its due row (calls.h), which stands behind
 * every call: a process that ends in the middle goes on.
 *
 *     outcall_init() of a due row that has come, or outcall_load()
 *         -> outcall_has_turn(), outcall_wait() and batch_call(): it is called, or waits for its turn
 *         -> outcall_is_held()      the call counts as not made
 *            outcall_accepted()     the party has taken it and has not ended it
 *            outcall_failed()       it was not accepted, or there was no outcome: once more after a pause, or not by itself any more
 *            outcall_bury()         a letter; it is called again when somebody asks for it
 *            outcall_end()          the outcome is known
 *     -> outcall_fini()
 */
#ifndef LARDER_OUTCALL_H
#define LARDER_OUTCALL_H

#include "kit/actor.h"
#include "kit/peers/calls.h"

/* When something is done again: after `first_ms`, doubled each time up to `most_ms`, and `attempts` times in a row at the most. */
struct retry {
    int64_t first_ms;
    int64_t most_ms;
    int64_t attempts;
};

/* How long to wait for the `times`th time, at least a millisecond. */
int64_t
outcall_patience_ms(const struct retry *patience, int64_t times);

/* Up to a quarter more, by `random`. */
int64_t
outcall_spread_ms(int64_t patience_ms, uint32_t random);

struct outcall {
    struct batch *batch;
    const char *owner; /* of the due row */
    struct id id;      /* its key; the letter is about it */
    int64_t *attempts; /* calls so far, as the actor's row has them */
    bool has_row;      /* there may be a due row */
    struct calls calls;
};

void
outcall_init(struct outcall *call, struct slice payload);

/* From the due row as it is on disk; `has_row` says whether there is one. */
MUST_CHECK err
outcall_load(struct outcall *call);
void
outcall_fini(struct outcall *call);

/* Sets the due row that leads on from here. */
void
outcall_wait(struct outcall *call, enum calls_wait wait, int64_t due_ms);

/* Whether it may be called now. Otherwise it waits for its turn, as `wait`. */
bool
outcall_has_turn(struct outcall *call, const struct item *cause, enum calls_wait wait);

/* Whether the outcome is no fault of this call: then it waits for its turn. */
bool
outcall_is_held(struct outcall *call, const struct item *item);
void
outcall_accepted(struct outcall *call);

/* False: there were too many in a row, and it is to be buried. */
bool
outcall_failed(struct outcall *call, const struct retry *retry, struct slice error, int64_t *pause_ms);

/* `burial` says what the letter is about: its key, type, body, and what is at stake. */
void
outcall_bury(struct outcall *call, struct wire_burial *burial, err reason, struct slice error);

/* Nothing more is called, and a letter is closed. */
void
outcall_end(struct outcall *call);

/* The same of one that is not at hand, whose outcome came in another way. */
MUST_CHECK err
outcall_stop(struct batch *batch, const char *owner, const struct id *id);

void
outcall_close_letter(struct outcall *call);

#endif
