/* SPDX-License-Identifier: MPL-2.0 */
/* Keys, tokens and signing in: user.keys, user.issue, user.sign_in. */
#ifndef LARDER_USER_TOKEN_H
#define LARDER_USER_TOKEN_H

#include "user_state.h"

MUST_CHECK err
user_token_handle_keys(struct user_actor *actor, struct batch *batch, struct item *item);
MUST_CHECK err
user_token_handle_issue(struct user_actor *actor, struct batch *batch, struct item *item);
MUST_CHECK err
user_token_handle_sign_in(struct user_actor *actor, struct batch *batch, struct item *item);

/* The password of a sign-in is compared. */
MUST_CHECK err
user_token_handle_verified(struct user_actor *actor, struct batch *batch, const struct user_work *work,
                           const struct user_caller *caller);

#endif
