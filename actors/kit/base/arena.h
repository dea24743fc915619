/* SPDX-License-Identifier: MPL-2.0 */
/* Memory for the length of one batch: taken piece by piece, given back all at once. */
#ifndef LARDER_KIT_ARENA_H
#define LARDER_KIT_ARENA_H

#include <stddef.h>

#include "wire.h"

struct arena_block;

/* Zero-initialise it. */
struct arena {
    struct arena_block *first;
    struct arena_block *current;
    struct wire_buffer scratch;
    bool has_fault; /* arena_encode() was given what cannot be said, and nobody has taken notice of it yet */
};

/* Aligned for any type, not cleared. Never NULL. */
void *
arena_alloc(struct arena *arena, size_t size);

struct slice
arena_copy(struct arena *arena, struct slice bytes);

/* The encoded body, in the arena. An empty frame when the body cannot be said; that is logged here, and `has_fault` is set. */
struct slice
arena_encode(struct arena *arena, const struct wire_body *body, const void *source);

/* Gives everything back; a few blocks are kept for the next batch. */
void
arena_reset(struct arena *arena);

void
arena_fini(struct arena *arena);

#endif
