/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What becomes of moments that were stored, when the clock by which they were reckoned turns out to have been wrong.
 *
 * A clock that was ahead and is put right leaves what is due hours or years away: it is brought back, to now and the whole of its
 * kind's patience, never less, so that nobody who is paying runs out of time. A clock that jumps ahead while the process runs takes
 * everything with it: what had so long to wait still has.
 */
#ifndef LARDER_KIT_RETIME_H
#define LARDER_KIT_RETIME_H

#include "kit/base/actor_class.h"
#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "due_rows.h"

struct settings;

struct retiming {
    struct db *db;
    const struct settings *settings;
    struct arena *arena; /* for a new payload; lives until the row is written */
    int64_t now_ms;
    int64_t by_ms;   /* how far the clock went forward while the process ran; 0 when it did not */
    int64_t back_ms; /* how far it was put back; 0 when it was not */
};

/* The moment as it is to be from now on; `patience_ms` is the longest that one of its kind ever has to wait. */
static inline int64_t
retimed(const struct retiming *retiming, int64_t at_ms, int64_t patience_ms)
{
    int64_t later_ms = at_ms + retiming->by_ms;
    int64_t last_ms = retiming->now_ms + patience_ms;
    return later_ms < last_ms ? later_ms : last_ms;
}

/* Goes through all that waits in this actor's database, in the transaction of the caller. `changed` counts the rows that were
 * moved. */
MUST_CHECK err
retime_rows(const struct actor_class *class, struct retiming *retiming, int64_t *changed);

#endif
