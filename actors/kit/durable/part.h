/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What lives beside an actor's database and has a share in each of its commits: its stream, its cursors, its due rows, and so on. All
 * parts have one life, so whoever commits walks a list of them:
 *
 *     load -> ... what a batch says of it ... -> queue -> committed or dropped -> ... -> destroy
 */
#ifndef LARDER_KIT_PART_H
#define LARDER_KIT_PART_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

/* How a part does what all parts do; `self` is the part. */
struct part {
    /* Makes what is in memory from what is on disk: at start, and again when the connection was lost. May queue rows. */
    err (*load)(void *self);

    /* Whether it wants a commit though no batch does. May be NULL. */
    bool (*is_due)(void *self);

    /* Queues its share of the transaction under way; once for each, behind all that is said of it. */
    err (*queue)(void *self);

    /* The transaction is on disk. Must not fail. May be NULL. */
    void (*committed)(void *self);

    /* It was rolled back, or never queued: memory is what it was before. */
    void (*dropped)(void *self);

    void (*destroy)(void *self);
};

enum { PARTS_MAX = 8 };

/* Zero-initialise it. */
struct parts {
    struct {
        const struct part *part;
        void *self;
    } list[PARTS_MAX];
    size_t count;
};

/* From here on it is walked with the others, in the order in which they were added, and is destroyed by parts_destroy(). */
void
parts_add(struct parts *parts, const struct part *part, void *self);

/* Each for all parts; the first failure ends it. */
MUST_CHECK err
parts_load(const struct parts *parts);
bool
parts_are_due(const struct parts *parts);
MUST_CHECK err
parts_queue(const struct parts *parts);
void
parts_committed(const struct parts *parts);
void
parts_dropped(const struct parts *parts);
void
parts_destroy(struct parts *parts);

#endif
