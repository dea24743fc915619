/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  See memory.h.
 * STATE    A plain struct.
 */
#include "memory.h"

#include <stdio.h>
#include <string.h>

void
memory_init(struct memory *memory)
{
    memset(memory, 0, sizeof *memory);
    for (int thing = 0; thing < THING_COUNT; thing++) {
        char name[32];
        int size = snprintf(name, sizeof name, "nothing %d", thing);
        memory->nobody[thing].id = id_of_bytes(name, (size_t)size);
    }
}

uint64_t
memory_want(struct memory *memory, enum thing thing)
{
    return memory->wanted[thing]++ % MEMORY_SLOTS;
}

const struct known *
memory_get(const struct memory *memory, enum thing thing, uint64_t drawn)
{
    const struct known *slots = memory->things[thing];
    for (uint64_t i = 0; drawn / MEMORY_SLOTS % 12 != 0 && i < MEMORY_SLOTS; i++) {
        if (slots[(drawn + i) % MEMORY_SLOTS].is_known) {
            return &slots[(drawn + i) % MEMORY_SLOTS];
        }
    }
    return &memory->nobody[thing];
}

void
memory_put(struct memory *memory, enum thing thing, uint64_t slot, const struct known *known)
{
    memory->things[thing][slot % MEMORY_SLOTS] = *known;
    memory->things[thing][slot % MEMORY_SLOTS].is_known = true;
}
