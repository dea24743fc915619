/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the user actor the types of their requests and answers. Nothing is decided here: sending, repeating and
 *   decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send(). A password takes its time: give options a timeout_ms of seconds.
 */
#include "user_client.h"

err
user_client_register(struct larder_client *client, const struct larder_options *options, const struct wire_user_register *body,
                     struct wire_user_ref *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_register, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_user_get *body,
                struct wire_user_card *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_get, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_find(struct larder_client *client, const struct larder_options *options, const struct wire_user_find *body,
                 struct wire_user_card *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_find, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_user_list *body,
                 struct wire_user_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_change(struct larder_client *client, const struct larder_options *options, const struct wire_user_change *body,
                   struct wire_user_ref *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_change, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_sign_in(struct larder_client *client, const struct larder_options *options, const struct wire_user_sign_in *body,
                    struct wire_user_session *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_sign_in, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_issue(struct larder_client *client, const struct larder_options *options, const struct wire_user_issue *body,
                  struct wire_user_session *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_issue, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_keys(struct larder_client *client, const struct larder_options *options, struct wire_user_key_set *answer,
                 struct err_text *why)
{
    struct wire_nothing nothing = {0};
    struct larder_exchange exchange = {.op = OP_user_keys, .body = &nothing, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_erase(struct larder_client *client, const struct larder_options *options, const struct wire_user_erase *body,
                  struct wire_user_erasure *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_erase, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
user_client_erasure(struct larder_client *client, const struct larder_options *options, const struct wire_user_get *body,
                    struct wire_user_erasure *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_user_erasure, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}
