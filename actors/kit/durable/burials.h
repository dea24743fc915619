/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Letters on their way to the dlq: written in the transaction that gave something up, sent until the dlq has confirmed them.
 *
 *     burials_add() ... in the batch -> committed -> burials_next() -> dlq.bury -> burials_outcome() -> the rows go
 *     with the next commit
 *
 * One dlq.bury is under way at a time. An away or full dlq costs rows of this table and nothing else.
 */
#ifndef LARDER_KIT_BURIALS_H
#define LARDER_KIT_BURIALS_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "part.h"
#include "err.h"
#include "wire.h"

struct burials;

/* `actor` is "stock/0": the destination of its letters. It must live as long. */
struct burials *
burials_create(struct db *db, const char *actor);
extern const struct part burials_part;

/* --- inside the batch --- */

/* A letter, to which the destination is added; one of the same id that is not confirmed is replaced. Encoded at once. */
void
burials_add(struct burials *burials, struct arena *arena, const struct wire_burial *burial);

/* What the letter is about is finished after all: one that is not confirmed says so when it is. Otherwise a note goes to the dlq. */
void
burials_settle(struct burials *burials, struct arena *arena, const struct id *id, int64_t now_ms);

/* --- sending --- */

/* When the next message is to be sent; INT64_MAX when nothing waits or one is under way. */
int64_t
burials_next_ms(const struct burials *burials);

/* The oldest letters that fit into one message: body of dlq.bury. `frame` of size 0: there are none. Counts as sent. */
MUST_CHECK err
burials_next(struct burials *burials, struct arena *arena, struct slice *frame);

/* What the dlq said of the message under way. */
void
burials_outcome(struct burials *burials, err status, int64_t now_ms);

#endif
