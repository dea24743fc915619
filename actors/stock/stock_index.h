/* SPDX-License-Identifier: MPL-2.0 */
/* A table from ids to pointers, made anew for each batch. Zero-initialise it. */
#ifndef LARDER_STOCK_INDEX_H
#define LARDER_STOCK_INDEX_H

#include <stddef.h>

#include "id.h"

struct stock_index_slot {
    struct id id;
    void *value; /* NULL: the slot is free */
};

struct stock_index {
    struct stock_index_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* NULL when the id is not there. */
void *
stock_index_get(const struct stock_index *index, const struct id *id);

/* The id must not be there yet; `value` is not NULL. */
void
stock_index_add(struct stock_index *index, const struct id *id, void *value);

/* Forgets all, keeps the memory. */
void
stock_index_clear(struct stock_index *index);

void
stock_index_fini(struct stock_index *index);

#endif
