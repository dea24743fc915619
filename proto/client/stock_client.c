/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the stock actor the types of their requests and answers. Nothing is decided here: sending, repeating,
 *   routing and decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send().
 */
#include "stock_client.h"

err
stock_client_take(struct larder_client *client, const struct larder_options *options, const struct wire_stock_take *body,
                  struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_take, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_reserve(struct larder_client *client, const struct larder_options *options, const struct wire_stock_reserve *body,
                     struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_reserve, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_extend(struct larder_client *client, const struct larder_options *options, const struct wire_stock_extend *body,
                    struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_extend, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_commit(struct larder_client *client, const struct larder_options *options, const struct wire_stock_commit *body,
                    struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_commit, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_release(struct larder_client *client, const struct larder_options *options, const struct wire_stock_release *body,
                     struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_release, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_return(struct larder_client *client, const struct larder_options *options, const struct wire_stock_return *body,
                    struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_return, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_adjust(struct larder_client *client, const struct larder_options *options, const struct wire_stock_adjust *body,
                    struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_adjust, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_count(struct larder_client *client, const struct larder_options *options, const struct wire_stock_count *body,
                   struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_count, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_configure(struct larder_client *client, const struct larder_options *options, const struct wire_stock_configure *body,
                       struct wire_stock_done *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_configure, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_stock_get *body,
                 struct wire_stock_level *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_stock_list *body,
                  struct wire_stock_levels *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_moves(struct larder_client *client, const struct larder_options *options, const struct wire_stock_moves *body,
                   struct wire_stock_ledger *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_moves, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_holds(struct larder_client *client, const struct larder_options *options, const struct wire_stock_holds *body,
                   struct wire_stock_hold_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_holds, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
stock_client_hold(struct larder_client *client, const struct larder_options *options, const struct wire_stock_find_hold *body,
                  struct wire_stock_held *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_stock_hold, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
