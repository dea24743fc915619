/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Requests that were deferred, until they are told. What a batch does to them counts when it is on disk:
 *
 *     waiting_begin(), waiting_for(), waiting_answer() in the batch
 *         -> on disk: waiting_committed() for each that it answered, who is told -> waiting_end()
 *         -> not on disk: waiting_dropped(), as if nothing had been
 *
 * Actors see of it what actor.h says of waiters.
 */
#ifndef LARDER_KIT_WAITING_H
#define LARDER_KIT_WAITING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "kit/durable/fingerprint.h"
#include "message.h"
#include "wire.h"

struct waiter {
    /* the request; `message` holds its envelope from the commit on */
    struct message message;
    struct id id;
    bool again;
    enum op op;
    struct fingerprint fingerprint;
    bool is_patient; /* nobody works on it: it is told when the state is lost or the actor ends */

    /* what it is answered */
    bool is_replayed;
    err status;
    struct slice frame;

    /* waiting.c's own */
    bool is_new; /* by the batch under way, as the next two */
    bool is_answered;
    bool is_for_new;
    bool is_for; /* it waits for `what` */
    int64_t what;
    void *kept;
    size_t kept_capacity;
    struct waiter *next; /* of all that wait, or of those that are free */
    struct waiter *previous;
    struct waiter *next_for; /* of its bucket */
    struct waiter *next_touched;
};

/* All zero at the start. */
struct waiting {
    struct waiter *first;
    struct waiter *touched; /* by the batch under way, in this order */
    struct waiter *last_touched;
    struct waiter *free;
    struct waiter *buckets[1024]; /* by what they wait for */
};

void
waiting_fini(struct waiting *waiting);

/* --- in a batch --- */

/* One that begins to wait, for nothing in particular. */
struct waiter *
waiting_begin(struct waiting *waiting);

/* From here on it waits for this. It waited for nothing. */
void
waiting_for(struct waiting *waiting, struct waiter *waiter, int64_t what);

/* One that waits for this and was not answered; NULL for none. */
struct waiter *
waiting_find(const struct waiting *waiting, int64_t what);

/* The one with this id that was not answered; NULL for none. */
struct waiter *
waiting_find_request(const struct waiting *waiting, const struct id *id);

/* How many requests of this operation were not answered. */
int
waiting_count(const struct waiting *waiting, enum op op);

/* `frame` lives until the batch is told. */
void
waiting_answer(struct waiting *waiting, struct waiter *waiter, err status, struct slice frame);

/* --- after it --- */

/* Next of those that the batch answered; NULL when there is none left. */
struct waiter *
waiting_committed(struct waiting *waiting);
void
waiting_dropped(struct waiting *waiting);

/* It was told. */
void
waiting_end(struct waiting *waiting, struct waiter *waiter);

/* --- between batches --- */

/* From this one on the first that nobody would answer if the state were lost: it is patient, or found by a number of the state's own.
 * NULL for none. */
struct waiter *
waiting_first_lost(struct waiter *waiter);

/* Whether the actor would leave work undone if it ended now. */
bool
waiting_is_worked_on(const struct waiting *waiting);

#endif
