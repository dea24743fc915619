/* SPDX-License-Identifier: MPL-2.0 */
/* Memory, or the end: what must not be lost is in the database, and the supervisor restarts us. All of it is given back by free(). */
#ifndef LARDER_KIT_MEMORY_H
#define LARDER_KIT_MEMORY_H

#include <stddef.h>

/* Zeroed. */
void *
memory_new(size_t count, size_t size);

/* Not zeroed. */
void *
memory_room(size_t size);

/* The same bytes in a place of `size`. */
void *
memory_resize(void *memory, size_t size);

/* A copy. */
char *
memory_text(const char *text);

/* An array with room for `count` elements of `size` bytes, which grows to twice its capacity when it has less. What is new is not
 * zeroed. */
void *
memory_grow(void *array, size_t *capacity, size_t count, size_t size);

#endif
