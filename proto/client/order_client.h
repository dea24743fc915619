/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the order actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL.
 */
#ifndef LARDER_ORDER_CLIENT_H
#define LARDER_ORDER_CLIENT_H

#include "larder.h"

/* Place an order; answered when it is known whether its units are reserved. */
MUST_CHECK err
order_client_place(struct larder_client *client, const struct larder_options *options, const struct wire_order_place *body,
                   struct wire_order *answer, struct err_text *why);

/* Read an order. */
MUST_CHECK err
order_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_order_get *body,
                 struct wire_order *answer, struct err_text *why);

/* Page through orders. */
MUST_CHECK err
order_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_order_list *body,
                  struct wire_order_page *answer, struct err_text *why);

/* Read what the kitchen has to do. */
MUST_CHECK err
order_client_kitchen(struct larder_client *client, const struct larder_options *options, const struct wire_order_kitchen *body,
                     struct wire_order_page *answer, struct err_text *why);

/* Move an order on. */
MUST_CHECK err
order_client_advance(struct larder_client *client, const struct larder_options *options, const struct wire_order_advance *body,
                     struct wire_order *answer, struct err_text *why);

/* Give an order up. */
MUST_CHECK err
order_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_order_cancel *body,
                    struct wire_order *answer, struct err_text *why);

/* Pay once more after a refusal. */
MUST_CHECK err
order_client_pay(struct larder_client *client, const struct larder_options *options, const struct wire_order_pay *body,
                 struct wire_order *answer, struct err_text *why);

/* Read all that happened to an order. */
MUST_CHECK err
order_client_timeline(struct larder_client *client, const struct larder_options *options, const struct wire_order_timeline *body,
                      struct wire_order_history *answer, struct err_text *why);

#endif
