/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Whether the loops of this process turn: each says so whenever it comes round, and a probe asks which of them has not for long.
 *
 *     beat_begin("stock/0") -> beat_turn() at least every few seconds, while it has nothing to do as well -> beat_end()
 */
#ifndef LARDER_KIT_BEAT_H
#define LARDER_KIT_BEAT_H

#include <stdbool.h>
#include <stdint.h>

#define BEAT_NAME_SIZE 48

/* This thread has a loop from here on. */
void
beat_begin(const char *name);

/* It has come round, or one more step of a long turn is done. Nothing happens in a thread without a loop. */
void
beat_turn(void);

void
beat_end(void);

/* How long a loop may stand still before it counts as stuck; call before threads start. */
void
beat_set_limit(int64_t longest_ms);

/* The loop that has stood still for the longest time, when that is over the limit. From any thread. */
bool
beat_find_stuck(char name[BEAT_NAME_SIZE], int64_t *stuck_ms);

/* Whether the loop of this name is there and has stood still for longer than so long. From any thread. */
bool
beat_is_late(const char *name, int64_t longer_ms);

#endif
