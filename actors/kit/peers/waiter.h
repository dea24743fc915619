/* SPDX-License-Identifier: MPL-2.0 */
/* A request that waits for its answer, as actors see it; actor.h says how one begins to wait, and is told. */
#ifndef LARDER_KIT_WAITER_H
#define LARDER_KIT_WAITER_H

#include <stddef.h>

#include "id.h"

struct waiter;

/* Memory for what has to be known when it is answered: all zero, and there for as long as it waits, also when the state is made anew.
 * An ask may bear the waiter as its context, for the same reason. */
void *
waiter_keep(struct waiter *waiter, size_t size);

void *
waiter_kept(const struct waiter *waiter);

/* Marks the answer of this waiter as a stored one (`replayed` in its header). */
void
waiter_mark_replayed(struct waiter *waiter);

/* It waits for something to happen, not for work that is under way: the actor ends without waiting for it, and refuses it
 * (unavailable) by itself when the state is opened anew. The waiter is then gone. */
void
waiter_mark_patient(struct waiter *waiter);

/* The request that waits. */
const struct id *
waiter_id(const struct waiter *waiter);

#endif
