/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Makes and verifies bearer tokens.
 *
 * FAILURES  Everything about a token that is not as token_sign() makes it is ERR_unauthenticated. libjwt alone is not trusted with
 *           it: it would take a token that is signed with HMAC and the text of the public key, does not look at exp, and reads past
 *           what a token may hold, and it takes base 64 with any bits left over: 16 texts of one signature. So the characters, the
 *           algorithm, the issuer and the times are judged here.
 *
 * LIMITS    One algorithm, one issuer. A token is good until it expires: nothing is asked of anybody when it is verified, so a role
 *           that was taken away ends with its last token.
 */
#include "token.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <jwt.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>

#include "base64url.h"

#define KID_BYTES 8
#define SECONDS_MAX (INT64_C(253402300799))
#define MS 1000

/* --- keys --- */

static bool
take_pem(BIO *bio, char text[TOKEN_PEM_SIZE])
{
    int size = BIO_read(bio, text, TOKEN_PEM_SIZE - 1);
    if (size <= 0 || BIO_pending(bio) > 0) {
        return false;
    }
    text[size] = '\0';
    return true;
}

static void
set_kid(struct token_key *key)
{
    uint8_t hash[crypto_generichash_BYTES];
    crypto_generichash(hash, sizeof hash, (const uint8_t *)key->public_pem, strlen(key->public_pem), NULL, 0);
    sodium_bin2hex(key->kid, sizeof key->kid, hash, KID_BYTES);
}

static err
write_key(EVP_PKEY *pair, struct token_key *key)
{
    BIO *private_bio = BIO_new(BIO_s_secmem());
    BIO *public_bio = BIO_new(BIO_s_mem());
    bool is_done = private_bio != NULL && public_bio != NULL &&
                   PEM_write_bio_PrivateKey(private_bio, pair, NULL, NULL, 0, NULL, NULL) == 1 &&
                   PEM_write_bio_PUBKEY(public_bio, pair) == 1 && take_pem(private_bio, key->private_pem) &&
                   take_pem(public_bio, key->public_pem);
    BIO_free(private_bio);
    BIO_free(public_bio);
    if (!is_done) {
        sodium_memzero(key, sizeof *key);
        return ERR_internal;
    }
    set_kid(key);
    return ERR_ok;
}

err
token_make_key(struct token_key *key)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    err code = pair == NULL ? ERR_internal : write_key(pair, key);
    EVP_PKEY_free(pair);
    return code;
}

static bool
is_p256(const EVP_PKEY *pair)
{
    return EVP_PKEY_get_base_id(pair) == EVP_PKEY_EC && EVP_PKEY_get_bits(pair) == 256;
}

err
token_read_key(struct slice private_pem, struct token_key *key)
{
    if (private_pem.size == 0 || private_pem.size >= TOKEN_PEM_SIZE) {
        return ERR_internal;
    }
    BIO *bio = BIO_new_mem_buf(private_pem.data, (int)private_pem.size);
    EVP_PKEY *pair = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    err code = pair == NULL || !is_p256(pair) ? ERR_internal : write_key(pair, key);
    EVP_PKEY_free(pair);
    BIO_free(bio);
    return code;
}

/* --- signing --- */

static bool
add_claims(jwt_t *jwt, const struct token_claims *claims)
{
    bool is_done = jwt_add_grant(jwt, "iss", TOKEN_ISSUER) == 0 && jwt_add_grant(jwt, "role", role_name(claims->role)) == 0 &&
                   jwt_add_grant_int(jwt, "iat", (long)(claims->issued_ms / MS)) == 0 &&
                   jwt_add_grant_int(jwt, "exp", (long)(claims->expires_ms / MS)) == 0;
    char user[ID_TEXT_SIZE];
    id_format(&claims->user, user);
    return is_done && (!claims->has_user || jwt_add_grant(jwt, "sub", user) == 0);
}

err
token_sign(const struct token_key *key, const struct token_claims *claims, char token[TOKEN_MAX + 1])
{
    jwt_t *jwt = NULL;
    char *text = NULL;
    size_t size = 0;
    if (jwt_new(&jwt) == 0 && jwt_add_header(jwt, "kid", key->kid) == 0 && add_claims(jwt, claims) &&
        jwt_set_alg(jwt, JWT_ALG_ES256, (const uint8_t *)key->private_pem, (int)strlen(key->private_pem)) == 0) {
        text = jwt_encode_str(jwt);
        size = text == NULL ? 0 : strlen(text);
    }
    jwt_free(jwt);
    bool is_done = size > 0 && size <= TOKEN_MAX;
    if (is_done) {
        memcpy(token, text, size + 1);
    }
    free(text);
    return is_done ? ERR_ok : ERR_internal;
}

/* --- verifying --- */

/* Three parts of the URL's base 64, none of them empty, each in its one spelling. */
static bool
has_shape(struct slice token)
{
    uint8_t bytes[TOKEN_MAX];
    size_t size = 0;
    size_t parts = 0;
    const char *at = (const char *)token.data;
    const char *end = at + token.size;
    bool is_one = token.size > 0 && token.size <= TOKEN_MAX;
    for (; is_one && at <= end; parts++) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        const char *stop = dot == NULL ? end : dot;
        is_one = stop > at && base64url_decode(at, (size_t)(stop - at), bytes, &size);
        at = stop + 1;
    }
    return is_one && parts == 3;
}

/* Decodes; without a key nothing is verified. NULL when it cannot be, or the signature is wrong. */
static jwt_t *
decode(struct slice token, struct slice pem)
{
    char text[TOKEN_MAX + 1];
    if (!has_shape(token) || pem.size >= TOKEN_PEM_SIZE) {
        return NULL;
    }
    memcpy(text, token.data, token.size);
    text[token.size] = '\0';
    jwt_t *jwt = NULL;
    int code = jwt_decode(&jwt, text, pem.data, (int)pem.size);
    sodium_memzero(text, sizeof text);
    return code == 0 ? jwt : NULL;
}

bool
token_kid(struct slice token, char kid[TOKEN_KID_SIZE])
{
    jwt_t *jwt = decode(token, (struct slice){0});
    const char *found = jwt == NULL ? NULL : jwt_get_header(jwt, "kid");
    const char *algorithm = jwt == NULL ? NULL : jwt_get_header(jwt, "alg");
    bool is_known =
        found != NULL && found[0] != '\0' && strlen(found) < TOKEN_KID_SIZE && algorithm != NULL && strcmp(algorithm, "ES256") == 0;
    if (is_known) {
        memcpy(kid, found, strlen(found) + 1);
    }
    jwt_free(jwt);
    return is_known;
}

/* Seconds of a claim; -1 when it is not there or no time. */
static int64_t
seconds_of(const json_t *grants, const char *claim)
{
    const json_t *value = json_object_get(grants, claim);
    int64_t seconds = json_is_integer(value) ? (int64_t)json_integer_value(value) : -1;
    return seconds < 0 || seconds > SECONDS_MAX ? -1 : seconds;
}

static err
judge(const json_t *grants, int64_t now_ms, struct token_claims *claims, struct err_text *why)
{
    const char *issuer = json_string_value(json_object_get(grants, "iss"));
    const char *role = json_string_value(json_object_get(grants, "role"));
    const json_t *user = json_object_get(grants, "sub");
    int64_t issued = seconds_of(grants, "iat");
    int64_t expires = seconds_of(grants, "exp");
    struct token_claims read = {.role = role == NULL ? ROLE_COUNT : role_find(slice_of(role)),
                                .has_user = user != NULL,
                                .issued_ms = issued * MS,
                                .expires_ms = expires * MS};
    if (issuer == NULL || strcmp(issuer, TOKEN_ISSUER) != 0) {
        return err_say(why, ERR_unauthenticated, "the token was not issued by larder");
    }
    if (read.role == ROLE_COUNT || read.role == ROLE_ANONYMOUS || issued < 0 || expires < 0) {
        return err_say(why, ERR_unauthenticated, "the token lacks a role, or when it was issued, or when it ends");
    }
    if (user != NULL && !(json_is_string(user) && id_parse(json_string_value(user), json_string_length(user), &read.user))) {
        return err_say(why, ERR_unauthenticated, "the token names nobody that can be known here");
    }
    if (read.role == ROLE_CUSTOMER && !read.has_user) {
        return err_say(why, ERR_unauthenticated, "a customer's token has to say whose it is");
    }
    if (now_ms >= read.expires_ms) {
        return err_say(why, ERR_unauthenticated, "the token has expired");
    }
    if (json_object_get(grants, "nbf") != NULL && (seconds_of(grants, "nbf") < 0 || now_ms < seconds_of(grants, "nbf") * MS)) {
        return err_say(why, ERR_unauthenticated, "the token is not valid yet");
    }
    *claims = read;
    return ERR_ok;
}

/* libjwt's own readers of claims do not tell one of another type from one that is not there. */
static err
read_claims(jwt_t *jwt, int64_t now_ms, struct token_claims *claims, struct err_text *why)
{
    char *text = jwt_get_grants_json(jwt, NULL);
    json_t *grants = text == NULL ? NULL : json_loads(text, 0, NULL);
    err code = grants == NULL ? err_say(why, ERR_unauthenticated, "the token cannot be read") : judge(grants, now_ms, claims, why);
    json_decref(grants);
    free(text);
    return code;
}

err
token_verify(struct slice token, struct slice public_pem, int64_t now_ms, struct token_claims *claims, struct err_text *why)
{
    if (public_pem.size == 0) {
        return err_say(why, ERR_unauthenticated, "there is no key for this token");
    }
    jwt_t *jwt = decode(token, public_pem);
    if (jwt == NULL) {
        return err_say(why, ERR_unauthenticated, "the token cannot be read, or its signature is wrong");
    }
    err code = jwt_get_alg(jwt) == JWT_ALG_ES256 ? read_claims(jwt, now_ms, claims, why)
                                                 : err_say(why, ERR_unauthenticated, "the token is not signed with ES256");
    jwt_free(jwt);
    return code;
}
