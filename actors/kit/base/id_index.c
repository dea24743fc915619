/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Finds what belongs to an id within a batch: its hold, its charge, the request that asks again.
 * FAILURES  Out of memory ends the process.
 * LIMITS    Nothing is removed but all at once.
 */
#include "id_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define FIRST_CAPACITY 64

/* The slot of the id, or the free one where it would stand. */
static struct id_index_slot *
slot_of(const struct id_index *index, const struct id *id)
{
    size_t mask = index->capacity - 1;
    size_t slot = (size_t)id_hash(id) & mask;
    while (index->slots[slot].value != NULL && !id_equal(&index->slots[slot].id, id)) {
        slot = (slot + 1) & mask;
    }
    return &index->slots[slot];
}

void *
id_index_get(const struct id_index *index, const struct id *id)
{
    return index->count == 0 ? NULL : slot_of(index, id)->value;
}

static void
grow(struct id_index *index)
{
    struct id_index old = *index;
    index->capacity = old.capacity == 0 ? FIRST_CAPACITY : old.capacity * 2;
    index->slots = memory_new(index->capacity, sizeof *index->slots);
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL) {
            *slot_of(index, &old.slots[i].id) = old.slots[i];
        }
    }
    free(old.slots);
}

void
id_index_add(struct id_index *index, const struct id *id, void *value)
{
    if ((index->count + 1) * 2 > index->capacity) {
        grow(index);
    }
    struct id_index_slot *slot = slot_of(index, id);
    assert(value != NULL && slot->value == NULL);
    *slot = (struct id_index_slot){*id, value};
    index->count++;
}

void
id_index_clear(struct id_index *index)
{
    if (index->count > 0) {
        memset(index->slots, 0, index->capacity * sizeof *index->slots);
    }
    index->count = 0;
}

void
id_index_fini(struct id_index *index)
{
    free(index->slots);
    *index = (struct id_index){0};
}
