/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Bearer tokens: JWTs signed with ES256 (RFC 7519, RFC 7518 3.4). The head holds alg, typ and kid; the claims are iss ("larder"), sub
 * (a person's id, left out of a token that is nobody's), role, iat and exp.
 *
 *     who signs:      token_make_key(&key) once -> token_sign(key.private_pem, &claims, &text)
 *     who verifies:   token_kid(token, kid) -> the public key of that kid -> token_verify(token, pem, now_ms, &claims, &why)
 *
 * Works without an actor, a database and settings.
 */
#ifndef LARDER_KIT_TOKEN_H
#define LARDER_KIT_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "role.h"
#include "wire.h"

#define TOKEN_MAX 4096 /* bytes of a token */
#define TOKEN_KID_SIZE 65
#define TOKEN_PEM_SIZE 1024
#define TOKEN_ISSUER "larder"

struct token_claims {
    enum role role; /* customer to operator; a token is never anonymous */
    bool has_user;
    struct id user;
    int64_t issued_ms; /* whole seconds */
    int64_t expires_ms;
};

struct token_key {
    char kid[TOKEN_KID_SIZE];
    char private_pem[TOKEN_PEM_SIZE];
    char public_pem[TOKEN_PEM_SIZE];
};

/* A new key pair on the curve P-256. ERR_internal when the library has no randomness. */
MUST_CHECK err
token_make_key(struct token_key *key);

/* The public half and the kid of a private key that was kept. ERR_internal when it is none. */
MUST_CHECK err
token_read_key(struct slice private_pem, struct token_key *key);

/* Signs; `token` is terminated and not longer than TOKEN_MAX. Times are cut to whole seconds. */
MUST_CHECK err
token_sign(const struct token_key *key, const struct token_claims *claims, char token[TOKEN_MAX + 1]);

/* The kid that a token names, before anything is verified. False when it is no token of this kind. */
bool
token_kid(struct slice token, char kid[TOKEN_KID_SIZE]);

/* Verifies the signature with this public key, the algorithm, the issuer, and that `now_ms` lies before exp. ERR_unauthenticated with
 * a sentence that holds nothing of the token; `claims` is written only when all is well. About 100 us: keep the outcome by a hash of
 * the token, no longer than `expires_ms`. */
MUST_CHECK err
token_verify(struct slice token, struct slice public_pem, int64_t now_ms, struct token_claims *claims, struct err_text *why);

#endif
