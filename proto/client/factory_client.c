/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the factory actor the types of their requests and answers. Nothing is decided here: sending, repeating,
 *   routing and decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "factory_client.h"

err
factory_client_produce(struct larder_client *client, const struct larder_options *options, const struct wire_factory_produce *body,
                       struct wire_production *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_factory_produce, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
factory_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_factory_get *body,
                   struct wire_production *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_factory_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
factory_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_factory_list *body,
                    struct wire_productions *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_factory_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
factory_client_callback(struct larder_client *client, const struct larder_options *options, const struct wire_factory_callback *body,
                        struct wire_production *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_factory_callback, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
