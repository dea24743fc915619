/* SPDX-License-Identifier: MPL-2.0 */
/* Keys, tokens and signing in: user.keys, user.issue, user.sign_in. */
#ifndef LARDER_USER_TOKEN_H
#define LARDER_USER_TOKEN_H

#include "user_state.h"

#define USER_TOKENS "tokens" /* the row of $secret that has the private key */

/* A key that signs no more: tokens of before are still verified with it. */
struct user_retired_key {
    char kid[TOKEN_KID_SIZE];
    char public_pem[TOKEN_PEM_SIZE];
    int64_t retired_ms;
};

#define USER_RETIRED_MAX 15 /* with the one that signs, as many as user.keys tells */

/* `keys` has room for USER_RETIRED_MAX. */
MUST_CHECK err
user_token_read_retired(struct db *db, struct user_retired_key *keys, size_t *count);

MUST_CHECK err
user_token_handle_keys(void *state, struct item *item);
MUST_CHECK err
user_token_handle_issue(void *state, struct item *item);
MUST_CHECK err
user_token_handle_sign_in(void *state, struct item *item);

/* The password of a sign-in is compared. */
MUST_CHECK err
user_token_handle_verified(struct user_actor *actor, const struct user_work *work, const struct user_caller *caller);

#endif
