/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Counts the keys of a source that failed since its last success. One that fails again and again is one key; a success of any
 *          event of the source, also of a parked one, begins the count anew and ends a hold.
 *
 * LIMITS   Keys are told apart by 64 bits of hash: two that collide are one, and the hold begins a key later.
 */
#include "hold.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

void
hold_init(struct hold *hold, size_t limit)
{
    *hold = (struct hold){.limit = limit};
    hold->committed.keys = memory_new(limit + 1, sizeof *hold->committed.keys);
    hold->working.keys = memory_new(limit + 1, sizeof *hold->working.keys);
}

void
hold_fini(struct hold *hold)
{
    free(hold->committed.keys);
    free(hold->working.keys);
    *hold = (struct hold){.limit = 0};
}

static void
copy(struct hold_count *to, const struct hold_count *from)
{
    to->count = from->count;
    to->is_held = from->is_held;
    memcpy(to->keys, from->keys, from->count * sizeof from->keys[0]);
}

static bool
has_key(const struct hold_count *count, uint64_t key)
{
    for (size_t i = 0; i < count->count; i++) {
        if (count->keys[i] == key) {
            return true;
        }
    }
    return false;
}

bool
hold_is_on(const struct hold *hold)
{
    return hold->committed.is_held;
}

bool
hold_is_reached_by(const struct hold *hold, uint64_t key)
{
    const struct hold_count *working = &hold->working;
    return hold->limit > 0 && !working->is_held && working->count + 1 >= hold->limit && !has_key(working, key);
}

void
hold_failed(struct hold *hold, uint64_t key)
{
    struct hold_count *working = &hold->working;
    if (hold->limit == 0 || working->is_held || has_key(working, key)) {
        return;
    }
    working->keys[working->count++] = key;
    working->is_held = working->count >= hold->limit;
    hold->is_changed = true;
}

void
hold_succeeded(struct hold *hold)
{
    if (hold->working.count > 0) {
        hold->working.count = 0;
        hold->working.is_held = false;
        hold->is_changed = true;
    }
}

enum hold_change
hold_committed(struct hold *hold)
{
    if (!hold->is_changed) {
        return HOLD_SAME;
    }
    bool was_held = hold->committed.is_held;
    copy(&hold->committed, &hold->working);
    hold->is_changed = false;
    if (hold->committed.is_held == was_held) {
        return HOLD_SAME;
    }
    hold->probes = 0;
    return was_held ? HOLD_ENDS : HOLD_BEGINS;
}

void
hold_dropped(struct hold *hold)
{
    if (hold->is_changed) {
        copy(&hold->working, &hold->committed);
        hold->is_changed = false;
    }
}

int64_t
hold_pause_ms(struct hold *hold, int64_t first_ms)
{
    int64_t pause_ms = first_ms;
    for (int i = 0; i < hold->probes && pause_ms < HOLD_PROBE_MAX_MS; i++) {
        pause_ms *= 2;
    }
    hold->probes++;
    return pause_ms < HOLD_PROBE_MAX_MS ? pause_ms : HOLD_PROBE_MAX_MS;
}
