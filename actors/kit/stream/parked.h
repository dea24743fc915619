/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The events of an inbox that could not be applied: their rows, and of each key which of them goes first and when.
 *
 * Only the head of a key is ever tried; a buried head keeps its key waiting and is tried when somebody asks. An event without a key
 * is a key of its own. A part of the inbox (inbox.c).
 */
#ifndef LARDER_KIT_PARKED_H
#define LARDER_KIT_PARKED_H

#include "inbox.h"

struct parked;

/* `sources` are the names of the streams, by number; borrowed. */
struct parked *
parked_create(struct db *db, const char *const *sources, size_t count);
void
parked_destroy(struct parked **parked);
MUST_CHECK err
parked_load(struct parked *parked);

/* Rows, those that were put aside left out. */
int64_t
parked_count(const struct parked *parked);

/* When the next head is due; INT64_MAX for never. */
int64_t
parked_next_ms(const struct parked *parked);

/* Heads whose time has come. */
MUST_CHECK err
parked_read_due(struct parked *parked, struct arena *arena, int64_t now_ms, struct inbox_event *out, size_t max, size_t *count);

/* A row by its place; `is_there` false: there is none. */
MUST_CHECK err
parked_find(struct parked *parked, struct arena *arena, struct inbox_event *event, bool *is_there);

/* Reads many rows of a stream at once; parked_find() finds them until parked_forget_many(). They lie in the arena. */
MUST_CHECK err
parked_find_many(struct parked *parked, struct arena *arena, size_t stream, const int64_t *seqs, size_t count);
void
parked_forget_many(struct parked *parked);

/* The seq of the head of this event's key; 0: its key has none. */
MUST_CHECK err
parked_head(struct parked *parked, const struct inbox_event *event, int64_t *seq);

/* Whether events of this one's key are parked. */
bool
parked_has_key(const struct parked *parked, const struct inbox_event *event);

/* --- inside the batch --- */

/* Writes the row, a new one or another attempt of one. */
MUST_CHECK err
parked_put(struct parked *parked, const struct inbox_event *event, const struct inbox_failure *failure);

/* The row goes away: it is applied, or finally discarded. */
MUST_CHECK err
parked_forget(struct parked *parked, const struct inbox_event *event);

MUST_CHECK err
parked_set_body(struct parked *parked, const struct inbox_event *event, struct slice body);

/* Puts the row aside, so that its key goes on; and back again, as a buried one. */
MUST_CHECK err
parked_set_aside(struct parked *parked, const struct inbox_event *event);
MUST_CHECK err
parked_take_back(struct parked *parked, const struct inbox_event *event);

/* Its head is not tried before this. Of no batch: also a dropped one leaves it so. */
void
parked_hold(struct parked *parked, const struct inbox_event *event, int64_t until_ms);

void
parked_committed(struct parked *parked);
void
parked_dropped(struct parked *parked);

#endif
