/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the dlq actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL. dlq.bury is not here: actors send it, from their own tables.
 */
#ifndef LARDER_DLQ_CLIENT_H
#define LARDER_DLQ_CLIENT_H

#include "larder.h"

/* Page through letters. */
MUST_CHECK err
dlq_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_letter_filter *body,
                struct wire_letter_page *answer, struct err_text *why);

/* Read a letter with its message, its attempts and its audit. */
MUST_CHECK err
dlq_client_show(struct larder_client *client, const struct larder_options *options, const struct wire_letter_ref *body,
                struct wire_letter_whole *answer, struct err_text *why);

/* Count letters. */
MUST_CHECK err
dlq_client_stats(struct larder_client *client, const struct larder_options *options, struct wire_letter_stats *answer,
                 struct err_text *why);

/* Process or deliver a letter once more. */
MUST_CHECK err
dlq_client_replay(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_replay *body,
                  struct wire_letter *answer, struct err_text *why);

/* Change the message of a dead letter. */
MUST_CHECK err
dlq_client_edit(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_edit *body,
                struct wire_letter_whole *answer, struct err_text *why);

/* Give a letter up, for a reason. */
MUST_CHECK err
dlq_client_discard(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_discard *body,
                   struct wire_letter *answer, struct err_text *why);

/* Take a discard back. */
MUST_CHECK err
dlq_client_restore(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_restore *body,
                   struct wire_letter *answer, struct err_text *why);

/* Replay a selection of letters. */
MUST_CHECK err
dlq_client_start(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_start *body,
                 struct wire_replay *answer, struct err_text *why);

/* Read how far a replay is. */
MUST_CHECK err
dlq_client_status(struct larder_client *client, const struct larder_options *options, const struct wire_replay_ref *body,
                  struct wire_replay *answer, struct err_text *why);

/* Page through replays. */
MUST_CHECK err
dlq_client_replays(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_replays *body,
                   struct wire_replay_page *answer, struct err_text *why);

/* End a replay; what it has done stays done. */
MUST_CHECK err
dlq_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_replay_ref *body,
                  struct wire_replay *answer, struct err_text *why);

/* Deliver a request later. */
MUST_CHECK err
dlq_client_hand_over(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_hand_over *body,
                     struct wire_letter *answer, struct err_text *why);

/* Read what became of a request that is delivered later; by whose it is. */
MUST_CHECK err
dlq_client_outcome(struct larder_client *client, const struct larder_options *options, const struct wire_request_ref *body,
                   struct wire_letter *answer, struct err_text *why);

/* Get events that are kept for a subscriber. */
MUST_CHECK err
dlq_client_fetch(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_fetch *body,
                 struct wire_fetched *answer, struct err_text *why);

/* Have a subscription kept here. */
MUST_CHECK err
dlq_client_subscribe(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_subscribe *body,
                     struct wire_dlq_session *answer, struct err_text *why);

/* Acknowledge events and get the next ones. */
MUST_CHECK err
dlq_client_receive(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_receive *body,
                   struct wire_fetched *answer, struct err_text *why);

/* End a subscription that is kept here. */
MUST_CHECK err
dlq_client_unsubscribe(struct larder_client *client, const struct larder_options *options, const struct wire_dlq_unsubscribe *body,
                       struct err_text *why);

#endif
