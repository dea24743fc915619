/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The requests that wait for stock. An entry is the context of an ask, and asks outlive the state of the actor when its database
 * comes and goes: so do these. What a batch began or ended counts when it is committed.
 */
#ifndef LARDER_SALES_WAITS_H
#define LARDER_SALES_WAITS_H

#include <stdbool.h>
#include <stdint.h>

struct waiter;
struct sales_waits;

struct sale {
    struct waiter *waiter; /* to be answered with a copy of this pointer: the entry keeps it until the commit */
    int64_t quantity;      /* of a checkout */

    struct sales_waits *owner; /* of sales_waits.c, as `next` is */
    struct sale *next;
};

struct sales_waits *
sales_waits_create(void);

/* `is_last`: nothing will come any more, and all is freed. Otherwise what still waits is freed when it ends. */
void
sales_waits_leave(struct sales_waits **waits, bool is_last);

/* An entry for a request that begins to wait with this batch. */
struct sale *
sales_waits_begin(struct sales_waits *waits);

/* The entry, which may have been begun before the state was made anew, is answered with this batch. */
void
sales_waits_end(struct sales_waits *waits, struct sale *sale);

void
sales_waits_committed(struct sales_waits *waits);
void
sales_waits_dropped(struct sales_waits *waits);

#endif
