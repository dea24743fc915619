/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Work beside a loop: one thread of its own that runs one piece after the other, shared out between callers (turns.h), and a
 * descriptor that tells the loop of what is done.
 *
 *     w = works_create(64);  wait on works_fd(w) beside everything else
 *     works_start(w, &work);
 *     when it is readable: works_clear(w), then while (works_next(w, &done)) ...
 *
 * Everything here belongs to the thread that made it. What a piece of work touches is its own memory alone, which changes hands
 * with it.
 */
#ifndef LARDER_KIT_WORKS_H
#define LARDER_KIT_WORKS_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"
#include "id.h"

/* One piece; see batch_work() in actor.h. */
struct work {
    struct id id;
    uint64_t caller; /* whose it is, and what it is about: hashes by which turns are shared out (turns.h) */
    uint64_t subject;
    int64_t deadline_ms;                  /* not run after it: it comes as ERR_deadline_exceeded; 0: none */
    void (*run)(void *memory);            /* on the other thread */
    bool (*is_right)(const void *memory); /* there too, behind run(): whether its caller came rightly; NULL: that says nothing */
    void (*discard)(void *memory);        /* frees it: its ITEM_WORK is committed, its batch was dropped, or the actor ends */
    void *memory;                         /* from the heap; the kit's from here on */
};

struct works;

struct works_done {
    struct work work;
    err status;
};

/* Costs a descriptor; the thread starts with the first work. `max` bounds those that were started and have not ended, but for those
 * that had to make room and are not handed out yet: as many at the most. Never NULL. */
struct works *
works_create(size_t max);

/* Waits for the piece that is running, and discards all. */
void
works_destroy(struct works **works);

/* An eventfd: readable when something is done, until works_clear(). */
int
works_fd(const struct works *works);

/* How many more can be started. */
size_t
works_room(struct works *works);

/* Whether one more is to be started, behind `count` others that will be: there is room, or a caller that has more of them makes it;
 * and it is likely to be done by its deadline. */
bool
works_admits(struct works *works, const struct work *queued, size_t count, const struct work *work);

/* There must be room, or it was admitted. */
void
works_start(struct works *works, const struct work *work);

void
works_clear(struct works *works);

/* Hands out one that is done, or was given up (ERR_overloaded, ERR_deadline_exceeded), in that order; false when there is none. It
 * goes back by works_end() or by works_return(). */
bool
works_next(struct works *works, struct works_done *done);

/* What was handed out has been dealt with: its memory is discarded. */
void
works_end(struct works *works, const struct work *work);

/* What was handed out comes again, before the others, with this status. */
void
works_return(struct works *works, const struct work *work, err status);

/* Whether works_next() would find something. */
bool
works_is_ready(struct works *works);

#endif
