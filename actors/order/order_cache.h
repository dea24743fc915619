/* SPDX-License-Identifier: MPL-2.0 */
/* The orders that were dealt with last, found by id and by number. Bounded: the one that was used longest ago goes first. */
#ifndef LARDER_ORDER_CACHE_H
#define LARDER_ORDER_CACHE_H

#include "order_row.h"

#define ORDER_CACHED_MAX 16384

struct order_cache;

struct order_cache *
order_cache_create(void);
void
order_cache_destroy(struct order_cache **cache);

/* NULL: not in memory. A row that is found is the latest used. */
struct order_row *
order_cache_find(struct order_cache *cache, const struct id *id);
struct order_row *
order_cache_find_n(struct order_cache *cache, int64_t n);

/* The row belongs to the cache from here on; neither its id nor its n is there yet. */
void
order_cache_add(struct order_cache *cache, struct order_row *row);

/* Between batches: down to ORDER_CACHED_MAX. */
void
order_cache_trim(struct order_cache *cache);

/* Forgets all. */
void
order_cache_clear(struct order_cache *cache);

#endif
