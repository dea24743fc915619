/* SPDX-License-Identifier: MPL-2.0 */
/* Who waits to be told what became of an order's reservation, per order. Outlives batches that are dropped, but not the process. */
#ifndef LARDER_ORDER_WAITERS_H
#define LARDER_ORDER_WAITERS_H

#include "kit/actor.h"

struct order_waiters;

struct order_waiters *
order_waiters_create(void);

/* Those that still wait are told by the kit that the state is lost. */
void
order_waiters_destroy(struct order_waiters **waiters);

void
order_waiters_add(struct order_waiters *waiters, int64_t n, struct waiter *waiter);

/* Tell all who wait for this order, `reply` being the struct of their operation's answer. */
void
order_waiters_answer(struct order_waiters *waiters, struct batch *batch, int64_t n, const void *reply);
void
order_waiters_refuse(struct order_waiters *waiters, struct batch *batch, int64_t n, err code, const struct wire_problem *problem);

/* The batch is on disk, or is not. */
void
order_waiters_committed(struct order_waiters *waiters);
void
order_waiters_dropped(struct order_waiters *waiters);

#endif
