/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Finds the numbers of letters by their id or their key. Both come in no order, and an index that follows each letter at once would
 * rewrite two pages for every one of them: the latest numbers are kept in memory, and $find gets them later, many and sorted.
 */
#ifndef LARDER_DLQ_FINDER_H
#define LARDER_DLQ_FINDER_H

#include "kit/db/db.h"
#include "dlq_zones.h"

struct dlq_finder;

struct dlq_finder *
dlq_finder_create(struct db *db);
void
dlq_finder_destroy(struct dlq_finder **finder);

/* How many entries are collected before they go to $find; a letter with a key has two. */
void
dlq_finder_set_generation(struct dlq_finder *finder, size_t entries);

/* Reads what is not in $find yet from the letters themselves. */
MUST_CHECK err
dlq_finder_load(struct dlq_finder *finder);

/* A new letter; its key may be empty, and is not found then. */
void
dlq_finder_add(struct dlq_finder *finder, int64_t n, const struct id *id, struct slice key);

/* Queues some rows of $find: a few more than came since the last call. */
MUST_CHECK err
dlq_finder_queue(struct dlq_finder *finder);
void
dlq_finder_committed(struct dlq_finder *finder);
void
dlq_finder_dropped(struct dlq_finder *finder);

/* The number of each letter, 0 where there is none. */
MUST_CHECK err
dlq_finder_numbers(struct dlq_finder *finder, const struct id *ids, size_t count, int64_t *numbers);

/* Numbers of letters with this key in the range, in order: up to `max` of them, the last ones of the range first or the first. */
struct dlq_finding {
    struct slice key;
    struct dlq_range range;
    bool from_end;
};
MUST_CHECK err
dlq_finder_list(struct dlq_finder *finder, const struct dlq_finding *finding, int64_t *numbers, size_t max, size_t *count);

#endif
