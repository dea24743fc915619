/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Where in the order of time letters can be that a filter wants: for each DLQ_ZONE_LETTERS numbers the first time, the highest values
 * and the names that occur, in memory and as rows. So a filter in order of time reads what may match and little else, however rare
 * that is, and a new letter needs no index for it.
 */
#ifndef LARDER_DLQ_ZONES_H
#define LARDER_DLQ_ZONES_H

#include "kit/db/db.h"
#include "dlq/letter/dlq_letter.h"

#define DLQ_ZONE_LETTERS 64

struct dlq_zones;

/* Columns of which a zone knows the names that occur. The numbers are in the databases: they do not change. */
enum dlq_named { DLQ_BY_KIND = 0, DLQ_BY_REASON = 1, DLQ_BY_DESTINATION = 2, DLQ_BY_TYPE = 3, DLQ_BY_SOURCE = 4, DLQ_NAMED_COUNT };

struct dlq_zones *
dlq_zones_create(struct db *db);
void
dlq_zones_destroy(struct dlq_zones **zones);
MUST_CHECK err
dlq_zones_load(struct dlq_zones *zones);

/* A letter is there, or has become so. Bounds are only ever widened, so a rollback needs no undoing. */
void
dlq_zones_note(struct dlq_zones *zones, const struct dlq_letter *letter);

/* Queues the rows that changed; again when that was rolled back. */
MUST_CHECK err
dlq_zones_queue(struct dlq_zones *zones);
void
dlq_zones_committed(struct dlq_zones *zones);
void
dlq_zones_dropped(struct dlq_zones *zones);

/* Numbers from `lo` on and below `hi`. */
struct dlq_range {
    int64_t lo;
    int64_t hi;
};

/* The part of the range in which letters opened from `from_ms` to `to_ms` can be. */
struct dlq_range
dlq_zones_clip(const struct dlq_zones *zones, struct dlq_range range, int64_t from_ms, int64_t to_ms);

/* What is looked for. */
struct dlq_wanted {
    int64_t units;  /* at least; DLQ_NONE: whatever */
    int64_t amount; /* likewise */
    uint64_t names[DLQ_NAMED_COUNT];
};

#define DLQ_ANY_NAME UINT64_MAX

/* What to look for in `names` for this name. */
uint64_t
dlq_zones_name(const struct dlq_zones *zones, enum dlq_named named, struct slice name);

/* The next part of the range in which letters that are wanted can be: the first one, or the last one with `from_end`. False: there is
 * none. What is not in it and nearer to that end holds none. */
bool
dlq_zones_next(const struct dlq_zones *zones, struct dlq_range range, const struct dlq_wanted *wanted, bool from_end,
               struct dlq_range *part);

/* Letters in all such parts, at the most. */
int64_t
dlq_zones_letters(const struct dlq_zones *zones, struct dlq_range range, const struct dlq_wanted *wanted);

#endif
