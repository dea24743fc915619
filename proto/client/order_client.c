/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the order actor the types of their requests and answers. Nothing is decided here: sending, repeating and
 *   decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "order_client.h"

err
order_client_place(struct larder_client *client, const struct larder_options *options, const struct wire_order_place *body,
                   struct wire_order *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_place, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_order_get *body,
                 struct wire_order *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_order_list *body,
                  struct wire_order_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_kitchen(struct larder_client *client, const struct larder_options *options, const struct wire_order_kitchen *body,
                     struct wire_order_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_kitchen, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_advance(struct larder_client *client, const struct larder_options *options, const struct wire_order_advance *body,
                     struct wire_order *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_advance, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_order_cancel *body,
                    struct wire_order *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_cancel, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_pay(struct larder_client *client, const struct larder_options *options, const struct wire_order_pay *body,
                 struct wire_order *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_pay, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
order_client_timeline(struct larder_client *client, const struct larder_options *options, const struct wire_order_timeline *body,
                      struct wire_order_history *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_order_timeline, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
