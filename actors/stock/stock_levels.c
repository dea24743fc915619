/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The levels of a shard in memory: an open-addressed table of pointers to levels, and the list of those that the
 *           current batch has touched with their committed figures.
 * STATE     A level is never moved or freed before the table is, so that a batch may keep pointers. A product that was created
 *           by a batch which was rolled back stays as an entry that does not exist, and is used again when it is created.
 * FAILURES  Out of memory ends the process: everything is in the database.
 * LIMITS    About 150 bytes for each product that was asked for since the start; nothing is put out.
 */
#include "stock_levels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

#define FIRST_CAPACITY 256
#define BLOCK_SIZE 65536

struct block {
    struct block *next;
    size_t used;
    _Alignas(max_align_t) uint8_t bytes[BLOCK_SIZE];
};

struct touched {
    struct level *level;
    struct shelf before;
    bool existed;
};

struct level_table {
    struct level **slots;
    size_t capacity; /* a power of two */
    size_t count;
    struct block *blocks;
    struct touched *touched;
    size_t touched_count;
    size_t touched_capacity;
};

struct level_table *
stock_levels_create(void)
{
    struct level_table *levels = memory_new(1, sizeof *levels);
    levels->capacity = FIRST_CAPACITY;
    levels->slots = memory_new(levels->capacity, sizeof(struct level *));
    return levels;
}

void
stock_levels_destroy(struct level_table **levels)
{
    if (*levels == NULL) {
        return;
    }
    for (struct block *block = (*levels)->blocks, *next; block != NULL; block = next) {
        next = block->next;
        free(block);
    }
    free((*levels)->touched);
    free((*levels)->slots);
    free(*levels);
    *levels = NULL;
}

static uint32_t
hash_of(struct slice product)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < product.size; i++) {
        hash = (hash ^ product.data[i]) * 16777619U;
    }
    return hash ^ hash >> 15;
}

static bool
is_called(const struct level *level, uint32_t hash, struct slice product)
{
    return level->hash == hash && level->product_size == product.size && memcmp(level->product, product.data, product.size) == 0;
}

/* The slot of the product, or the empty one where it would stand. */
static size_t
slot_of(const struct level_table *levels, uint32_t hash, struct slice product)
{
    size_t mask = levels->capacity - 1;
    size_t slot = hash & mask;
    while (levels->slots[slot] != NULL && !is_called(levels->slots[slot], hash, product)) {
        slot = (slot + 1) & mask;
    }
    return slot;
}

struct level *
stock_levels_find(const struct level_table *levels, struct slice product)
{
    struct level *level = levels->slots[slot_of(levels, hash_of(product), product)];
    return level != NULL && level->exists ? level : NULL;
}

static void
grow(struct level_table *levels)
{
    struct level **old = levels->slots;
    size_t old_capacity = levels->capacity;
    levels->capacity *= 2;
    levels->slots = memory_new(levels->capacity, sizeof(struct level *));
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i] != NULL) {
            levels->slots[slot_of(levels, old[i]->hash, level_product(old[i]))] = old[i];
        }
    }
    free(old);
}

static struct level *
allocate(struct level_table *levels, size_t size)
{
    size = (size + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    if (levels->blocks == NULL || levels->blocks->used + size > BLOCK_SIZE) {
        struct block *block = memory_room(sizeof *block);
        block->next = levels->blocks;
        block->used = 0;
        levels->blocks = block;
    }
    void *memory = levels->blocks->bytes + levels->blocks->used;
    levels->blocks->used += size;
    return memory;
}

struct level *
stock_levels_add(struct level_table *levels, struct slice product)
{
    assert(product.size > 0 && product.size <= WIRE_NAME_MAX);
    uint32_t hash = hash_of(product);
    size_t slot = slot_of(levels, hash, product);
    if (levels->slots[slot] != NULL) {
        return levels->slots[slot];
    }
    if ((levels->count + 1) * 4 > levels->capacity * 3) {
        grow(levels);
        slot = slot_of(levels, hash, product);
    }
    struct level *level = allocate(levels, sizeof *level + product.size);
    *level = (struct level){.shelf = SHELF_NEW, .hash = hash, .product_size = (uint8_t)product.size};
    memcpy(level->product, product.data, product.size);
    levels->slots[slot] = level;
    levels->count++;
    return level;
}

void
stock_levels_touch(struct level_table *levels, struct level *level, const void *cause)
{
    level->cause = cause;
    if (level->is_touched) {
        return;
    }
    levels->touched = memory_grow(levels->touched, &levels->touched_capacity, levels->touched_count + 1, sizeof *levels->touched);
    levels->touched[levels->touched_count++] = (struct touched){level, level->shelf, level->exists};
    level->is_touched = true;
    level->exists = true;
}

size_t
stock_levels_touched_count(const struct level_table *levels)
{
    return levels->touched_count;
}

struct level *
stock_levels_touched(const struct level_table *levels, size_t number)
{
    assert(number < levels->touched_count);
    return levels->touched[number].level;
}

const struct shelf *
stock_levels_before(const struct level_table *levels, size_t number)
{
    assert(number < levels->touched_count);
    return levels->touched[number].existed ? &levels->touched[number].before : NULL;
}

void
stock_levels_take_over(struct level_table *levels)
{
    for (size_t i = 0; i < levels->touched_count; i++) {
        levels->touched[i].level->is_touched = false;
    }
    levels->touched_count = 0;
}

void
stock_levels_drop(struct level_table *levels)
{
    for (size_t i = 0; i < levels->touched_count; i++) {
        struct touched *touched = &levels->touched[i];
        touched->level->shelf = touched->before;
        touched->level->exists = touched->existed;
        touched->level->is_touched = false;
    }
    levels->touched_count = 0;
}

struct wire_stock_level
stock_levels_show(struct slice product, const struct shelf *shelf, bool with_configuration)
{
    struct wire_stock_level shown = {0};
    WIRE_SET(&shown, stock_level, product, product);
    WIRE_SET(&shown, stock_level, on_hand, shelf->on_hand);
    WIRE_SET(&shown, stock_level, reserved, shelf->reserved);
    WIRE_SET(&shown, stock_level, available, shelf_available(shelf));
    WIRE_SET(&shown, stock_level, incoming, shelf->incoming);
    WIRE_SET(&shown, stock_level, version, shelf->version);
    if (with_configuration) {
        WIRE_SET(&shown, stock_level, reorder_at, shelf->reorder_at);
        WIRE_SET(&shown, stock_level, order_up_to, shelf->order_up_to);
        WIRE_SET(&shown, stock_level, lot, shelf->lot);
    }
    return shown;
}

void
stock_levels_each(struct level_table *levels, void (*visit)(void *context, struct level *level), void *context)
{
    for (size_t i = 0; i < levels->capacity; i++) {
        if (levels->slots[i] != NULL && levels->slots[i]->exists) {
            visit(context, levels->slots[i]);
        }
    }
}
