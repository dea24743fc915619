/* SPDX-License-Identifier: MPL-2.0 */
/* A table from ids to pointers, made anew for each batch. Zero-initialise it. */
#ifndef LARDER_KIT_ID_INDEX_H
#define LARDER_KIT_ID_INDEX_H

#include <stddef.h>

#include "id.h"

struct id_index_slot {
    struct id id;
    void *value; /* NULL: the slot is free */
};

struct id_index {
    struct id_index_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* NULL when the id is not there. */
void *
id_index_get(const struct id_index *index, const struct id *id);

/* The id must not be there yet; `value` is not NULL. */
void
id_index_add(struct id_index *index, const struct id *id, void *value);

/* Forgets all, keeps the memory. */
void
id_index_clear(struct id_index *index);

void
id_index_fini(struct id_index *index);

#endif
