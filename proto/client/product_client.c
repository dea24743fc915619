/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the product actor the types of their requests and answers. Nothing is decided here: sending, repeating and
 *   decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "product_client.h"

err
product_client_put(struct larder_client *client, const struct larder_options *options, const struct wire_product_put *body,
                   struct wire_product_card *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_put, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_patch(struct larder_client *client, const struct larder_options *options, const struct wire_product_patch *body,
                     struct wire_product_card *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_patch, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_product_get *body,
                   struct wire_product_card *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_product_list *body,
                    struct wire_product_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_load(struct larder_client *client, const struct larder_options *options, const struct wire_product_load *body,
                    struct wire_product_loaded *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_load, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_categories(struct larder_client *client, const struct larder_options *options, struct wire_product_categories *answer,
                          struct err_text *why)
{
    struct wire_nothing nothing = {0};
    struct larder_exchange exchange = {.op = OP_product_categories, .body = &nothing, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
product_client_categorise(struct larder_client *client, const struct larder_options *options, const struct wire_product_category *body,
                          struct wire_product_category *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_product_categorise, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
