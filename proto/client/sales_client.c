/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the sales actor the types of their requests and answers. Nothing is decided here: sending, repeating,
 *   routing and decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "sales_client.h"

err
sales_client_show(struct larder_client *client, const struct larder_options *options, const struct wire_sales_show *body,
                  struct wire_sales_product *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_sales_show, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
sales_client_checkout(struct larder_client *client, const struct larder_options *options, const struct wire_sales_checkout *body,
                      struct wire_sales_receipt *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_sales_checkout, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
