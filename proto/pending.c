/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Finds the request that a reply belongs to: at a hundred thousand a second the table must neither allocate nor degrade.
 *
 * STATE
 *   A hash table with linear probing, at most half full; removal shifts back what followed, so there are no tombstones. Slots keep
 *   their number while they are taken; free ones are a list.
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

static void *
allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void
pending_init(struct pending *pending, int32_t capacity)
{
    assert(capacity > 0 && capacity <= 1 << 24);
    uint32_t size = 16;
    while (size < (uint32_t)capacity * 2) {
        size *= 2;
    }
    *pending = (struct pending){.mask = size - 1, .capacity = capacity};
    pending->ids = allocate((size_t)capacity, sizeof *pending->ids);
    pending->next = allocate((size_t)capacity, sizeof *pending->next);
    pending->table = allocate(size, sizeof *pending->table);
    for (uint32_t i = 0; i < size; i++) {
        pending->table[i] = PENDING_NONE;
    }
    for (int32_t i = 0; i < capacity; i++) {
        pending->next[i] = i + 1 < capacity ? i + 1 : PENDING_NONE;
    }
}

void
pending_fini(struct pending *pending)
{
    free(pending->ids);
    free(pending->next);
    free(pending->table);
    *pending = (struct pending){.free = PENDING_NONE};
}

static uint32_t
home_of(const struct pending *pending, const struct id *id)
{
    return (uint32_t)id_hash(id) & pending->mask;
}

/* Where the id is in the table, or the empty place where it would be. */
static uint32_t
place_of(const struct pending *pending, const struct id *id)
{
    uint32_t place = home_of(pending, id);
    while (pending->table[place] != PENDING_NONE && !id_equal(&pending->ids[pending->table[place]], id)) {
        place = (place + 1) & pending->mask;
    }
    return place;
}

int32_t
pending_add(struct pending *pending, const struct id *id)
{
    int32_t slot = pending->free;
    if (slot == PENDING_NONE) {
        return PENDING_NONE;
    }
    uint32_t place = place_of(pending, id);
    assert(pending->table[place] == PENDING_NONE);
    pending->free = pending->next[slot];
    pending->next[slot] = PENDING_TAKEN;
    pending->ids[slot] = *id;
    pending->table[place] = slot;
    pending->count++;
    return slot;
}

int32_t
pending_find(const struct pending *pending, const struct id *id)
{
    return pending->table[place_of(pending, id)];
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
    assert(pending->table[hole] == slot);
    for (uint32_t at = (hole + 1) & pending->mask; pending->table[at] != PENDING_NONE; at = (at + 1) & pending->mask) {
        uint32_t home = home_of(pending, &pending->ids[pending->table[at]]);
        bool may_stay = ((at - home) & pending->mask) < ((at - hole) & pending->mask);
        if (!may_stay) {
            pending->table[hole] = pending->table[at];
            hole = at;
        }
    }
    pending->table[hole] = PENDING_NONE;
    pending->next[slot] = pending->free;
    pending->free = slot;
    pending->count--;
}
