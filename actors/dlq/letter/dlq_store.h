/* SPDX-License-Identifier: MPL-2.0 */
/* The SQL of letters, their frames and their audit. Rows that were queued by this batch are seen by its reads. */
#ifndef LARDER_DLQ_STORE_H
#define LARDER_DLQ_STORE_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "dlq_letter.h"
#include "wire.h"

struct dlq_finder;
struct dlq_zones;
struct dlq_filters;

struct dlq_store {
    struct db *db;
    int64_t last_n;         /* of letters; given out ones of this batch included */
    int64_t last_audit;     /* of audit lines; likewise */
    int64_t last_opened_ms; /* of letters; likewise */
    struct {
        int64_t n;
        int64_t audit;
        int64_t opened_ms;
    } kept;          /* the same as they were committed last */
    bool is_waiting; /* rows were collected and not sent */
    struct db_rows *letters;
    struct db_rows *frames;
    struct dlq_finder *finder;
    struct dlq_zones *zones;
    struct dlq_filters *filters;
};

void
dlq_store_init(struct dlq_store *store, struct db *db);
void
dlq_store_fini(struct dlq_store *store);

/* Reads the last numbers and the bounds of what filters skip. */
MUST_CHECK err
dlq_store_load(struct dlq_store *store);

/* After each commit, after each rollback. */
void
dlq_store_committed(struct dlq_store *store);
void
dlq_store_dropped(struct dlq_store *store);

MUST_CHECK err
dlq_store_find(struct dlq_store *store, const struct id *id, struct dlq_letter *letter, bool *found);
MUST_CHECK err
dlq_store_find_n(struct dlq_store *store, int64_t n, struct dlq_letter *letter, bool *found);

/* Those of `count` ids that there are, in any order. `letters` has room for `count`. */
MUST_CHECK err
dlq_store_find_many(struct dlq_store *store, const struct id *ids, size_t count, struct dlq_letter *letters, size_t *found);

/* Collects a new letter's rows; sets its n, and raises opened_ms to that of the letter before it: time never goes back. Sent with the
 * next read or by dlq_store_flush(). */
void
dlq_store_insert(struct dlq_store *store, struct dlq_letter *letter, const struct dlq_frames *frames);
MUST_CHECK err
dlq_store_flush(struct dlq_store *store);

/* Writes everything of the letter that may change: state, reason, error, seq and to, attempts, first, last, changed, value,
 * useful_until, replay, status. Its frames stay. */
MUST_CHECK err
dlq_store_update(struct dlq_store *store, const struct dlq_letter *letter);

/* Frames are copied into the arena. */
MUST_CHECK err
dlq_store_frames(struct dlq_store *store, struct arena *arena, int64_t n, struct dlq_frames *frames);
MUST_CHECK err
dlq_store_put_frames(struct dlq_store *store, int64_t n, const struct dlq_frames *frames);

/* Letters of a page when its filter does not say. */
#define DLQ_PAGE_LETTERS 100

/* A page of the filter, newest first, `before` and `limit` of the filter included. Reads one more than `limit` so that the caller
 * knows whether there are more. ERR_invalid_field with a sentence when a name in the filter is none. */
MUST_CHECK err
dlq_store_page(struct dlq_store *store, const struct wire_letter_filter *filter, int64_t now_ms, struct db_statement **rows,
               struct err_text *why);
/* The next `limit` letters of the filter with a number above `after` and not above `to`, oldest first: for replays.
 * At most DLQ_SELECT_MAX; fewer than asked for means that there are no more. */
#define DLQ_SELECT_MAX 1023
MUST_CHECK err
dlq_store_select(struct dlq_store *store, const struct wire_letter_filter *filter, int64_t now_ms, int64_t after, int64_t to,
                 int64_t limit, struct db_statement **rows, struct err_text *why);
bool
dlq_store_next(struct db_statement *rows, struct dlq_letter *letter);

/* One line of audit: of a letter (n), or of a replay (its number); 0 for none. */
struct dlq_audit {
    int64_t letter;
    int64_t replay;
    int64_t time_ms;
    struct slice author; /* empty: anonymous */
    const char *action;
    struct slice reason;
    struct slice detail;
};
MUST_CHECK err
dlq_store_add_audit(struct dlq_store *store, const struct dlq_audit *audit);
/* The lines of a letter, oldest first, the latest 100; slices live until the read ends. */
MUST_CHECK err
dlq_store_audit(struct dlq_store *store, int64_t letter, struct db_statement **rows);
bool
dlq_store_next_audit(struct db_statement *rows, struct dlq_audit *audit, char action[17]);

/* When the oldest letter of a state was opened; 0 for none. */
MUST_CHECK err
dlq_store_oldest(struct dlq_store *store, enum dlq_state state, int64_t *opened_ms);

#endif
