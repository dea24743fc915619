/* SPDX-License-Identifier: MPL-2.0 */
/* The requests a client has under way: a fixed number of slots, found by id. No allocation after pending_init(). */
#ifndef LARDER_PENDING_H
#define LARDER_PENDING_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"

#define PENDING_NONE (-1)
#define PENDING_TAKEN (-2)

struct pending {
    struct id *ids;   /* per slot */
    int32_t *next;    /* per slot: of the free ones, the next free one; of the taken ones PENDING_TAKEN */
    int32_t *table;   /* slot numbers + 1 by hash; 0 where empty */
    uint32_t mask;    /* size of the table - 1 */
    int32_t free;     /* first slot of those that were given back */
    int32_t used;     /* slots that were ever taken */
    int32_t capacity; /* slots */
    int32_t count;    /* taken */
};

void
pending_init(struct pending *pending, int32_t capacity);
void
pending_fini(struct pending *pending);

/* Takes a slot for an id that is not in yet; PENDING_NONE when all are taken. */
int32_t
pending_add(struct pending *pending, const struct id *id);

/* The slot of an id, or PENDING_NONE. */
int32_t
pending_find(const struct pending *pending, const struct id *id);

/* Whether the slot is in use. */
bool
pending_is_taken(const struct pending *pending, int32_t slot);

/* Gives the slot back. */
void
pending_remove(struct pending *pending, int32_t slot);

#endif
