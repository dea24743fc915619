/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps orders that are under way in memory, so that a step costs no read.
 * STATE     Two hash tables of chains through the rows, and a list of them by their last use.
 * FAILURES  Out of memory aborts.
 * LIMITS    ORDER_CACHED_MAX rows between batches; within a batch as many as it touches.
 */
#include "order_cache.h"

#include <stdlib.h>

#include "kit/base/memory.h"

enum { BUCKETS = 16384 };

struct order_cache {
    struct order_row *by_id[BUCKETS];
    struct order_row *by_n[BUCKETS];
    struct order_row *newest;
    struct order_row *oldest;
    size_t count;
};

struct order_cache *
order_cache_create(void)
{
    struct order_cache *cache = memory_new(1, sizeof *cache);
    return cache;
}

void
order_cache_destroy(struct order_cache **cache)
{
    if (*cache != NULL) {
        order_cache_clear(*cache);
        free(*cache);
        *cache = NULL;
    }
}

static struct order_row **
bucket_of_id(struct order_cache *cache, const struct id *id)
{
    return &cache->by_id[id_hash(id) % BUCKETS];
}

static struct order_row **
bucket_of_n(struct order_cache *cache, int64_t n)
{
    return &cache->by_n[(uint64_t)n % BUCKETS];
}

static void
unlink_use(struct order_cache *cache, struct order_row *row)
{
    *(row->newer == NULL ? &cache->newest : &row->newer->older) = row->older;
    *(row->older == NULL ? &cache->oldest : &row->older->newer) = row->newer;
}

static void
link_newest(struct order_cache *cache, struct order_row *row)
{
    row->newer = NULL;
    row->older = cache->newest;
    *(cache->newest == NULL ? &cache->oldest : &cache->newest->newer) = row;
    cache->newest = row;
}

static struct order_row *
use(struct order_cache *cache, struct order_row *row)
{
    if (row != NULL && cache->newest != row) {
        unlink_use(cache, row);
        link_newest(cache, row);
    }
    return row;
}

struct order_row *
order_cache_find(struct order_cache *cache, const struct id *id)
{
    struct order_row *row = *bucket_of_id(cache, id);
    while (row != NULL && !id_equal(&row->id, id)) {
        row = row->next_by_id;
    }
    return use(cache, row);
}

struct order_row *
order_cache_find_n(struct order_cache *cache, int64_t n)
{
    struct order_row *row = *bucket_of_n(cache, n);
    while (row != NULL && row->n != n) {
        row = row->next_by_n;
    }
    return use(cache, row);
}

void
order_cache_add(struct order_cache *cache, struct order_row *row)
{
    struct order_row **by_id = bucket_of_id(cache, &row->id);
    struct order_row **by_n = bucket_of_n(cache, row->n);
    row->next_by_id = *by_id;
    row->next_by_n = *by_n;
    *by_id = *by_n = row;
    link_newest(cache, row);
    cache->count++;
}

static void
forget(struct order_cache *cache, struct order_row *row)
{
    struct order_row **by_id = bucket_of_id(cache, &row->id);
    struct order_row **by_n = bucket_of_n(cache, row->n);
    while (*by_id != row) {
        by_id = &(*by_id)->next_by_id;
    }
    while (*by_n != row) {
        by_n = &(*by_n)->next_by_n;
    }
    *by_id = row->next_by_id;
    *by_n = row->next_by_n;
    unlink_use(cache, row);
    cache->count--;
    order_row_destroy(&row);
}

void
order_cache_trim(struct order_cache *cache)
{
    while (cache->count > ORDER_CACHED_MAX) {
        forget(cache, cache->oldest);
    }
}

void
order_cache_clear(struct order_cache *cache)
{
    while (cache->oldest != NULL) {
        forget(cache, cache->oldest);
    }
}
