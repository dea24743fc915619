/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives the operations of the dlq actor the types of their requests and answers. Nothing is decided here: sending, repeating and
 *   decoding are larder_client_exchange().
 *
 * FAILURES
 *   Those of the operation; see messages.def and errors.def.
 *
 * LIMITS
 *   One call at a time; for many under way use larder_client_send(). dlq.receive waits at the dlq: give it a timeout_ms of as long as
 *   is to be waited for events, and an attempt_ms of the same.
 */
#include "dlq_client.h"

err
dlq_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_letter_filter *body,
                struct wire_letter_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_list, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_show(struct larder_client *client, const struct larder_options *options, const struct wire_letter_ref *body,
                struct wire_letter_whole *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_show, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_stats(struct larder_client *client, const struct larder_options *options, struct wire_letter_stats *answer,
                 struct err_text *why)
{
    struct wire_nothing nothing = {0};
    struct larder_exchange exchange = {.op = OP_dlq_stats, .body = &nothing, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_replay(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_replay *body,
                  struct wire_letter *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_replay, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_edit(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_edit *body,
                struct wire_letter_whole *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_edit, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_discard(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_discard *body,
                   struct wire_letter *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_discard, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_restore(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_restore *body,
                   struct wire_letter *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_restore, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_start(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_start *body,
                 struct wire_replay *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_start, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_status(struct larder_client *client, const struct larder_options *options, const struct wire_replay_ref *body,
                  struct wire_replay *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_status, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_replays(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_replays *body,
                   struct wire_replay_page *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_replays, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_replay_ref *body,
                  struct wire_replay *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_cancel, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_hand_over(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_hand_over *body,
                     struct wire_letter *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_hand_over, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_outcome(struct larder_client *client, const struct larder_options *options, const struct wire_request_ref *body,
                   struct wire_letter *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_outcome, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_fetch(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_fetch *body,
                 struct wire_fetched *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_fetch, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_subscribe(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_subscribe *body,
                     struct wire_dlq_session *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_subscribe, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_receive(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_receive *body,
                   struct wire_fetched *answer, struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_receive, .body = body, .answer = answer};
    return larder_client_exchange(client, options, &exchange, why);
}

err
dlq_client_unsubscribe(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_unsubscribe *body,
                       struct err_text *why)
{
    struct larder_exchange exchange = {.op = OP_dlq_unsubscribe, .body = body, .answer = NULL};
    return larder_client_exchange(client, options, &exchange, why);
}
