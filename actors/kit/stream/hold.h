/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Whether a source is held: events of many keys in a row could not be applied, so it is the subscriber that is broken and not the
 * events. Pure: no database, no clock. What a batch says of its events counts when it is committed.
 */
#ifndef LARDER_KIT_HOLD_H
#define LARDER_KIT_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest pause between two probes. */
#define HOLD_PROBE_MAX_MS 5000

struct hold_count {
    uint64_t *keys; /* hashes of those that failed since the last success */
    size_t count;
    bool is_held;
};

/* Zero-initialise, then hold_init(). */
struct hold {
    size_t limit; /* so many keys; 0: never */
    struct hold_count committed;
    struct hold_count working;
    bool is_changed;
    int probes; /* that failed since it is held */
};

void
hold_init(struct hold *hold, size_t limit);
void
hold_fini(struct hold *hold);

/* As of the last commit. */
bool
hold_is_on(const struct hold *hold);

/* As of the batch under way: whether a failure of this key would begin a hold, if it were counted. */
bool
hold_is_reached_by(const struct hold *hold, uint64_t key);

/* --- inside a batch --- */

void
hold_failed(struct hold *hold, uint64_t key);
void
hold_succeeded(struct hold *hold);

enum hold_change { HOLD_SAME, HOLD_BEGINS, HOLD_ENDS };

enum hold_change
hold_committed(struct hold *hold);
void
hold_dropped(struct hold *hold);

/* A probe has failed: the pause until the next one, doubling from `first_ms`. */
int64_t
hold_pause_ms(struct hold *hold, int64_t first_ms);

#endif
