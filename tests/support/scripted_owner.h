/* SPDX-License-Identifier: MPL-2.0 */
/* Stands in for stock/0 as the owner of parked rows: a thread with stock's ROUTER that answers any.retry, any.edit, any.discard and
 * any.restore of rows `factory/0` 1..OWNER_ROWS as the test says, and counts. A row that was done once is gone. */
#ifndef LARDER_TESTS_SCRIPTED_OWNER_H
#define LARDER_TESTS_SCRIPTED_OWNER_H

#include <stdint.h>

#include "kit/settings/settings.h"

#define OWNER_ROWS 12000

enum owner_script {
    OWNER_DOES,   /* done; the next time it is gone */
    OWNER_FAILS,  /* failed: "would_overflow", "still too many" */
    OWNER_WAITS,  /* waiting, behind seq 7 */
    OWNER_STARTS, /* started */
    OWNER_BUSY,   /* refused: unavailable */
    OWNER_BREAKS, /* refused: internal, in as many words as there may be */
    OWNER_SILENT  /* no answer at all */
};

struct scripted_owner;

/* A client's identity of rows: all begin as OWNER_DOES. */
struct scripted_owner *
scripted_owner_create(void);
void
scripted_owner_destroy(struct scripted_owner **owner);

/* Binds its address, and begins to answer; and is away again. Rows and counts stay. */
void
scripted_owner_open(struct scripted_owner *owner, const struct settings *settings);
void
scripted_owner_close(struct scripted_owner *owner);

void
scripted_owner_set(struct scripted_owner *owner, int64_t from, int64_t to, enum owner_script script);

/* How often it was asked to retry the row, and how often that had an effect. */
int
scripted_owner_asked(struct scripted_owner *owner, int64_t seq);
int
scripted_owner_done(struct scripted_owner *owner, int64_t seq);

/* Retries asked for, all rows together. */
int64_t
scripted_owner_asked_in_all(struct scripted_owner *owner);

/* Rows that were finally deleted by any.discard. */
int
scripted_owner_purged(struct scripted_owner *owner, int64_t seq);
/* Whether it is set aside. */
int
scripted_owner_is_aside(struct scripted_owner *owner, int64_t seq);
int
scripted_owner_edited(struct scripted_owner *owner, int64_t seq);

#endif
