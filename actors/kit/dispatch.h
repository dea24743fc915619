/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Which requests an actor does, and how: one table, by the op.
 *
 *     static const struct dispatch requests[OP_COUNT] = {
 *         [OP_stock_adjust] = {want_product, offsetof(struct wire_stock_adjust, product), stock_adjust},
 *
 *     dispatch_want() for all of a batch -> one read for all that was wanted -> dispatch_handle() for each request in its turn
 */
#ifndef LARDER_KIT_DISPATCH_H
#define LARDER_KIT_DISPATCH_H

#include <stddef.h>

#include "actor.h"

struct dispatch {
    /* Notes what handle() will need to have read; `field` is what lies in the body at that offset. An item that it refuses is not
     * handled. NULL: nothing is needed. */
    void (*want)(void *state, struct item *item, const void *field);
    size_t field;

    /* Says the outcome. Other than ERR_ok only for a failure of the database. */
    err (*handle)(void *state, struct item *item);
};

static inline void
dispatch_want(const struct dispatch requests[OP_COUNT], void *state, struct item *item)
{
    const struct dispatch *request = &requests[item->op];
    if (request->want != NULL) {
        request->want(state, item, (const char *)item->body + request->field);
    }
}

/* A request without a handler gets no outcome, and the kit says `internal`: lint sees that there is none. */
MUST_CHECK static inline err
dispatch_handle(const struct dispatch requests[OP_COUNT], void *state, struct item *item)
{
    const struct dispatch *request = &requests[item->op];
    return request->handle == NULL || item_outcome(item) != ERR_COUNT ? ERR_ok : request->handle(state, item);
}

#endif
