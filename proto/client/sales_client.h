/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the sales actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL.
 */
#ifndef LARDER_SALES_CLIENT_H
#define LARDER_SALES_CLIENT_H

#include "larder.h"

/* Show a product with its stock. */
MUST_CHECK err
sales_client_show(struct larder_client *client, const struct larder_options *options, const struct wire_sales_show *body,
                  struct wire_sales_product *answer, struct err_text *why);

/* Buy units of one product. */
MUST_CHECK err
sales_client_checkout(struct larder_client *client, const struct larder_options *options, const struct wire_sales_checkout *body,
                      struct wire_sales_receipt *answer, struct err_text *why);

#endif
