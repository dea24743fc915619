/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A bump allocator. A batch of hundreds of small bodies costs a few additions each, and nothing is freed one by one.
 * FAILURES  Out of memory aborts: the state is in the database and the supervisor restarts us. A body that cannot be said is an empty
 *           frame, a line in the log and a flag: the batch that said it is not committed (batch.c).
 * LIMITS    Blocks of 64 KiB; what is larger gets a block of its own. Up to KEEP_BLOCKS blocks stay for the next batch.
 */
#include "arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "kit/telemetry/log.h"
#include "memory.h"

enum { BLOCK_SIZE = 64 * 1024, KEEP_BLOCKS = 8 };

struct arena_block {
    struct arena_block *next;
    size_t size;
    size_t used;
    max_align_t bytes[];
};

static struct arena_block *
block_create(size_t size)
{
    struct arena_block *block = memory_room(sizeof *block + size);
    *block = (struct arena_block){.size = size};
    return block;
}

static void
use_block_for(struct arena *arena, size_t size)
{
    struct arena_block *block = arena->current == NULL ? arena->first : arena->current->next;
    if (block == NULL || block->size < size) {
        struct arena_block *fresh = block_create(size > BLOCK_SIZE ? size : BLOCK_SIZE);
        fresh->next = block;
        if (arena->current == NULL) {
            arena->first = fresh;
        } else {
            arena->current->next = fresh;
        }
        block = fresh;
    }
    block->used = 0;
    arena->current = block;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
    size_t rounded = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (arena->current == NULL || arena->current->size - arena->current->used < rounded) {
        use_block_for(arena, rounded);
    }
    uint8_t *start = (uint8_t *)arena->current->bytes + arena->current->used;
    arena->current->used += rounded;
    return start;
}

struct slice
arena_copy(struct arena *arena, struct slice bytes)
{
    uint8_t *copy = arena_alloc(arena, bytes.size == 0 ? 1 : bytes.size);
    if (bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return (struct slice){copy, bytes.size};
}

struct slice
arena_encode(struct arena *arena, const struct wire_body *body, const void *source)
{
    arena->scratch.size = 0;
    if (!wire_encode(body, source, &arena->scratch)) {
        struct err_text why;
        (void)wire_fault_say(&why, ERR_internal);
        log_error("cannot_be_said", LOG_TEXT("body", body->name), LOG_TEXT("reason", why.text));
        arena->has_fault = true;
    }
    return arena_copy(arena, wire_buffer_slice(&arena->scratch));
}

void
arena_reset(struct arena *arena)
{
    struct arena_block *block = arena->first;
    for (int kept = 1; block != NULL && kept < KEEP_BLOCKS; kept++) {
        block = block->next;
    }
    struct arena_block *extra = block == NULL ? NULL : block->next;
    if (block != NULL) {
        block->next = NULL;
    }
    while (extra != NULL) {
        struct arena_block *next = extra->next;
        free(extra);
        extra = next;
    }
    arena->current = NULL;
    arena->has_fault = false;
}

void
arena_fini(struct arena *arena)
{
    while (arena->first != NULL) {
        struct arena_block *next = arena->first->next;
        free(arena->first);
        arena->first = next;
    }
    arena->current = NULL;
    wire_buffer_fini(&arena->scratch);
}
