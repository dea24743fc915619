/* SPDX-License-Identifier: MPL-2.0 */
/* What has to happen at some time, as rows: timers, retries, outbound calls. They outlive a restart. */
#ifndef LARDER_KIT_DUE_ROWS_H
#define LARDER_KIT_DUE_ROWS_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "part.h"

/* The due time of a row that was given up: it fires only when somebody asks for it, by any.retry. */
#define DUE_NEVER INT64_MAX

/* As it is set; it fires once. */
struct due {
    const char *owner; /* 1..32 characters */
    struct slice key;  /* 1..64 bytes */
    int64_t due_ms;
    int64_t attempts;
    struct slice payload; /* up to 64 KiB */
};

/* Those that have come, as they are read; slices lie in the arena. */
struct due_row {
    struct slice owner;
    struct slice key;
    int64_t due_ms;
    int64_t attempts;
    struct slice payload;
};

struct due_rows;

struct due_rows *
due_rows_create(struct db *db);
extern const struct part due_rows_part;

/* UTC milliseconds of the next one; far away when there is none. */
int64_t
due_rows_next_ms(const struct due_rows *rows);

/* Reads up to `max` rows that are due, the longest due first. They stay until due_rows_fired() is committed. */
MUST_CHECK err
due_rows_read(struct due_rows *rows, struct arena *arena, int64_t now_ms, struct due_row *out, size_t max, size_t *count);

/* A row that waits for its turn, not for a time: it is due behind this moment, those that came first the earliest, and is read by
 * due_rows_read_turns() alone. */
#define DUE_TURN (INT64_C(1) << 61)

static inline bool
due_is_turn(int64_t due_ms)
{
    return due_ms >= DUE_TURN && due_ms < INT64_MAX - 1;
}

/* Reads up to `max` of those that wait for their turn, in order. */
MUST_CHECK err
due_rows_read_turns(struct due_rows *rows, struct arena *arena, struct due_row *out, size_t max, size_t *count);

/* How many wait for their turn; after a turn was taken away by something else too many, until they are counted. */
int64_t
due_rows_turns(const struct due_rows *rows);
MUST_CHECK err
due_rows_count_turns(struct due_rows *rows);

/* Set aside by somebody: fires no more, also when it is asked for, until it is taken back. */
#define DUE_ASIDE (INT64_MAX - 1)

/* The row of (owner, key) as it was before this batch. */
MUST_CHECK err
due_rows_find(struct due_rows *rows, struct arena *arena, struct slice owner, struct slice key, struct due_row *row, bool *is_there);

/* --- inside a batch: fired rows go away, set ones come, in this order --- */

void
due_rows_fired(struct due_rows *rows, const struct due_row *row);
/* The row stays, or is, as it is given here. */
void
due_rows_keep(struct due_rows *rows, const struct due_row *row);
void
due_rows_set(struct due_rows *rows, struct arena *arena, const struct due *due);
void
due_rows_cancel(struct due_rows *rows, struct arena *arena, const char *owner, struct slice key);

#endif
