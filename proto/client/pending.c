/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Finds the request that a reply belongs to: at a hundred thousand a second the table must neither allocate nor degrade.
 *
 * STATE
 *   A hash table with linear probing, at most half full; removal shifts back what followed, so there are no tombstones. Slots keep
 *   their number while they are taken; those that were given back are a list. Zero is a place without a slot and a slot that was
 *   never taken, so that memory is touched only as far as it is used: most tables are made for more than ever comes.
 *
 * FAILURES
 *   Out of memory aborts, at the start only.
 *
 * LIMITS
 *   The capacity given at the start. The hash is keyed per process, so ids chosen by somebody else cannot make it slow.
 */
#include "pending.h"

#include <assert.h>
#include <stdlib.h>

/* One piece of memory for all: large enough that it comes from the kernel, which gives zeroes that are not there until they are
 * used. */
void
pending_init(struct pending *pending, int32_t capacity)
{
    assert(capacity > 0 && capacity <= 1 << 24);
    uint32_t size = 16;
    while (size < (uint32_t)capacity * 2) {
        size *= 2;
    }
    *pending = (struct pending){.mask = size - 1, .free = PENDING_NONE, .capacity = capacity};
    pending->table = calloc(1, size * sizeof *pending->table + (size_t)capacity * (sizeof *pending->next + sizeof *pending->ids));
    if (pending->table == NULL) {
        abort();
    }
    pending->next = pending->table + size;
    pending->ids = (struct id *)(void *)(pending->next + capacity);
}

void
pending_fini(struct pending *pending)
{
    free(pending->table);
    *pending = (struct pending){.free = PENDING_NONE};
}

static uint32_t
home_of(const struct pending *pending, const struct id *id)
{
    return (uint32_t)id_hash(id) & pending->mask;
}

/* The slot at a place of the table, or PENDING_NONE. */
static int32_t
slot_at(const struct pending *pending, uint32_t place)
{
    return pending->table[place] - 1;
}

/* Where the id is in the table, or the empty place where it would be. */
static uint32_t
place_of(const struct pending *pending, const struct id *id)
{
    uint32_t place = home_of(pending, id);
    while (slot_at(pending, place) != PENDING_NONE && !id_equal(&pending->ids[slot_at(pending, place)], id)) {
        place = (place + 1) & pending->mask;
    }
    return place;
}

/* One that was given back, or the next that was never taken. */
static int32_t
take_slot(struct pending *pending)
{
    int32_t slot = pending->free;
    if (slot != PENDING_NONE) {
        pending->free = pending->next[slot];
    } else if (pending->used < pending->capacity) {
        slot = pending->used++;
    }
    return slot;
}

int32_t
pending_add(struct pending *pending, const struct id *id)
{
    int32_t slot = take_slot(pending);
    if (slot == PENDING_NONE) {
        return PENDING_NONE;
    }
    uint32_t place = place_of(pending, id);
    assert(slot_at(pending, place) == PENDING_NONE);
    pending->next[slot] = PENDING_TAKEN;
    pending->ids[slot] = *id;
    pending->table[place] = slot + 1;
    pending->count++;
    return slot;
}

int32_t
pending_find(const struct pending *pending, const struct id *id)
{
    return slot_at(pending, place_of(pending, id));
}

bool
pending_is_taken(const struct pending *pending, int32_t slot)
{
    return pending->next[slot] == PENDING_TAKEN;
}

void
pending_remove(struct pending *pending, int32_t slot)
{
    uint32_t hole = place_of(pending, &pending->ids[slot]);
    assert(slot_at(pending, hole) == slot);
    for (uint32_t at = (hole + 1) & pending->mask; slot_at(pending, at) != PENDING_NONE; at = (at + 1) & pending->mask) {
        uint32_t home = home_of(pending, &pending->ids[slot_at(pending, at)]);
        bool may_stay = ((at - home) & pending->mask) < ((at - hole) & pending->mask);
        if (!may_stay) {
            pending->table[hole] = pending->table[at];
            hole = at;
        }
    }
    pending->table[hole] = 0;
    pending->next[slot] = pending->free;
    pending->free = slot;
    pending->count--;
}
