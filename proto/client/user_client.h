/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the user actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL. Answers hold personal data: they are for telling, not for keeping.
 */
#ifndef LARDER_USER_CLIENT_H
#define LARDER_USER_CLIENT_H

#include "larder.h"

/* Become known. The answer holds the id and nothing personal. */
MUST_CHECK err
user_client_register(struct larder_client *client, const struct larder_options *options, const struct wire_user_register *body,
                     struct wire_user_ref *answer, struct err_text *why);

/* Read a person. */
MUST_CHECK err
user_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_user_get *body,
                struct wire_user_card *answer, struct err_text *why);

/* Find a person by e-mail address or CPF. */
MUST_CHECK err
user_client_find(struct larder_client *client, const struct larder_options *options, const struct wire_user_find *body,
                 struct wire_user_card *answer, struct err_text *why);

/* Page through the people, ordered by when they registered. */
MUST_CHECK err
user_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_user_list *body,
                 struct wire_user_page *answer, struct err_text *why);

/* Change what is given of a person. */
MUST_CHECK err
user_client_change(struct larder_client *client, const struct larder_options *options, const struct wire_user_change *body,
                   struct wire_user_ref *answer, struct err_text *why);

/* Get a token for a password. Takes some 60 ms, and longer when others sign in at the same time. */
MUST_CHECK err
user_client_sign_in(struct larder_client *client, const struct larder_options *options, const struct wire_user_sign_in *body,
                    struct wire_user_session *answer, struct err_text *why);

/* Get a token without a password. */
MUST_CHECK err
user_client_issue(struct larder_client *client, const struct larder_options *options, const struct wire_user_issue *body,
                  struct wire_user_session *answer, struct err_text *why);

/* Read the keys that verify tokens. */
MUST_CHECK err
user_client_keys(struct larder_client *client, const struct larder_options *options, struct wire_user_key_set *answer,
                 struct err_text *why);

/* Erase everything personal of somebody, for good. Repeated it answers the proof of then. */
MUST_CHECK err
user_client_erase(struct larder_client *client, const struct larder_options *options, const struct wire_user_erase *body,
                  struct wire_user_erasure *answer, struct err_text *why);

/* Read the proof of an erasure. */
MUST_CHECK err
user_client_erasure(struct larder_client *client, const struct larder_options *options, const struct wire_user_get *body,
                    struct wire_user_erasure *answer, struct err_text *why);

#endif
