/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See memory.h. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

enum { LEAST_CAPACITY = 16 };

static void *
need(void *memory)
{
    if (memory == NULL) {
        abort();
    }
    return memory;
}

void *
memory_new(size_t count, size_t size)
{
    return need(calloc(count, size));
}

void *
memory_room(size_t size)
{
    return need(malloc(size));
}

void *
memory_resize(void *memory, size_t size)
{
    return need(realloc(memory, size));
}

char *
memory_text(const char *text)
{
    return need(strdup(text));
}

void *
memory_grow(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity) {
        return array;
    }
    size_t wanted = *capacity < LEAST_CAPACITY ? LEAST_CAPACITY : *capacity * 2;
    *capacity = wanted < count ? count : wanted;
    return need(reallocarray(array, *capacity, size));
}
