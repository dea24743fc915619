/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the payment actor the types of their requests and answers. Nothing is decided here: sending, repeating,
 *   routing and decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "payment_client.h"

err
payment_client_charge(struct larder_client *client, const struct larder_options *options, const struct wire_payment_charge *body,
                      struct wire_charge *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_charge, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_payment_cancel *body,
                      struct wire_charge *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_cancel, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_refund(struct larder_client *client, const struct larder_options *options, const struct wire_payment_refund *body,
                      struct wire_refund *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_refund, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_confirm(struct larder_client *client, const struct larder_options *options, const struct wire_payment_confirm *body,
                       struct wire_charge *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_confirm, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_payment_get *body,
                   struct wire_charge *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_payment_list *body,
                    struct wire_charge_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_refunds(struct larder_client *client, const struct larder_options *options, const struct wire_payment_refunds *body,
                       struct wire_refund_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_refunds, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
payment_client_webhook(struct larder_client *client, const struct larder_options *options, const struct wire_payment_webhook *body,
                       struct wire_payment_noted *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_payment_webhook, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
