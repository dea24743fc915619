/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The levels in memory: product -> shelf, with what is needed to take a batch back.
 *
 * A level is changed in place after stock_levels_touch() has put its committed figures aside, once per batch. After the commit
 * stock_levels_take_over() forgets those; after a roll-back stock_levels_drop() puts them back. Pointers to levels stay valid
 * until stock_levels_destroy().
 */
#ifndef LARDER_STOCK_LEVELS_H
#define LARDER_STOCK_LEVELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stock_rules.h"
#include "wire.h"

struct level_table;

struct level {
    struct shelf shelf;
    const void *cause; /* who touched it last in this batch */

    /* Scratch of the request that is being decided; of no use unless `stamp` is that request's. */
    uint64_t stamp;
    int64_t asked;
    int64_t freed;

    uint32_t hash;
    bool exists; /* has a row, or will have one when this batch is committed */
    bool is_touched;
    uint8_t product_size;
    uint8_t product[];
};

static inline struct slice
level_product(const struct level *level)
{
    return (struct slice){level->product, level->product_size};
}

struct level_table *
stock_levels_create(void);

void
stock_levels_destroy(struct level_table **levels);

/* NULL when there is no level of this product in memory, or it does not exist. */
struct level *
stock_levels_find(const struct level_table *levels, struct slice product);

/* Finds or makes the entry; a new one does not exist yet and has the figures of a new shelf. */
struct level *
stock_levels_add(struct level_table *levels, struct slice product);

/* Call before each change of a shelf. */
void
stock_levels_touch(struct level_table *levels, struct level *level, const void *cause);

/* The levels touched in this batch, each once, in the order of their first touch. */
size_t
stock_levels_touched_count(const struct level_table *levels);
struct level *
stock_levels_touched(const struct level_table *levels, size_t number);

/* Their figures as they were before; NULL when the product did not exist. */
const struct shelf *
stock_levels_before(const struct level_table *levels, size_t number);

void
stock_levels_take_over(struct level_table *levels);
void
stock_levels_drop(struct level_table *levels);

/* The level as it is shown: with its configuration to those who read it, without it in the answer to a change, which must be the
 * same when it is made again from the ledger. */
struct wire_stock_level
stock_levels_show(struct slice product, const struct shelf *shelf, bool with_configuration);

/* Calls `visit` for each level that exists, in no order. */
void
stock_levels_each(struct level_table *levels, void (*visit)(void *context, struct level *level), void *context);

#endif
