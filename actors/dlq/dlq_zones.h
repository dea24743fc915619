/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Where in the order of time letters of a value or of an age can be: for each DLQ_ZONE_LETTERS numbers the first time and the highest
 * values, in memory and as rows. So a filter by value in order of time reads what may match and little else, whatever the values
 * are, and a new letter needs no index for it.
 */
#ifndef LARDER_DLQ_ZONES_H
#define LARDER_DLQ_ZONES_H

#include "db.h"

#define DLQ_ZONE_LETTERS 128

struct dlq_zones;

struct dlq_zones *
dlq_zones_create(struct db *db);
void
dlq_zones_destroy(struct dlq_zones **zones);
MUST_CHECK err
dlq_zones_load(struct dlq_zones *zones);

/* A letter of this number has these values now. Bounds are only ever widened, so a rollback needs no undoing. */
void
dlq_zones_note(struct dlq_zones *zones, int64_t n, int64_t opened_ms, int64_t units, int64_t amount);

/* Queues the rows that changed; again when that was rolled back. */
MUST_CHECK err
dlq_zones_queue(struct dlq_zones *zones);
void
dlq_zones_committed(struct dlq_zones *zones);

/* Numbers from `lo` on and below `hi`. */
struct dlq_range {
    int64_t lo;
    int64_t hi;
};

/* The part of the range in which letters opened from `from_ms` to `to_ms` can be. */
struct dlq_range
dlq_zones_clip(const struct dlq_zones *zones, struct dlq_range range, int64_t from_ms, int64_t to_ms);

/* The next part of the range in which letters of at least so many units and so much money can be: the first one, or the last one
 * with `from_end`. False: there is none. What is not in it and nearer to that end holds none. */
bool
dlq_zones_next(const struct dlq_zones *zones, struct dlq_range range, int64_t units, int64_t amount, bool from_end,
               struct dlq_range *part);

/* Letters in all such parts, at the most. */
int64_t
dlq_zones_letters(const struct dlq_zones *zones, struct dlq_range range, int64_t units, int64_t amount);

#endif
