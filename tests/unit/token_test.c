/* SPDX-License-Identifier: MPL-2.0 */
/* Bearer tokens: what is signed is read again, and nothing else is. */
#include "kit/http/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <jwt.h>
#include <sodium.h>

#define NOW_MS INT64_C(1795000000000)

static struct token_key key;

static void
make_key(void)
{
    cr_assert_eq(sodium_init() < 0, 0);
    cr_assert_eq(token_make_key(&key), ERR_ok);
}

static struct token_claims
claims_of(enum role role)
{
    return (struct token_claims){
        .role = role, .has_user = true, .user = id_of_bytes("somebody", 8), .issued_ms = NOW_MS, .expires_ms = NOW_MS + 60000};
}

static err
verify(const char *token, struct token_claims *claims, struct err_text *why)
{
    return token_verify(slice_of(token), slice_of(key.public_pem), NOW_MS + 1, claims, why);
}

Test(token, says_who_and_as_what, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    char kid[TOKEN_KID_SIZE];
    struct token_claims given = claims_of(ROLE_EMPLOYEE);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    cr_assert(token_kid(slice_of(token), kid));
    cr_assert_str_eq(kid, key.kid);
    cr_assert_eq(verify(token, &read, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(read.role, ROLE_EMPLOYEE);
    cr_assert(read.has_user && id_equal(&read.user, &given.user));
    cr_assert_eq(read.issued_ms, NOW_MS);
    cr_assert_eq(read.expires_ms, NOW_MS + 60000);
}

Test(token, of_an_operator_needs_no_person, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_claims given = claims_of(ROLE_OPERATOR);
    struct token_claims read;
    struct err_text why;
    given.has_user = false;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    cr_assert_eq(verify(token, &read, &why), ERR_ok, "%s", why.text);
    cr_assert_not(read.has_user);
}

Test(token, of_a_customer_without_a_person_is_refused, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_claims given = claims_of(ROLE_CUSTOMER);
    struct token_claims read;
    struct err_text why;
    given.has_user = false;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
}

Test(token, ends_at_its_moment, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_claims given = claims_of(ROLE_ADMIN);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    struct slice pem = slice_of(key.public_pem);
    cr_assert_eq(token_verify(slice_of(token), pem, given.expires_ms - 1, &read, &why), ERR_ok);
    cr_assert_eq(token_verify(slice_of(token), pem, given.expires_ms, &read, &why), ERR_unauthenticated);
    cr_assert_str_eq(why.text, "the token has expired");
}

Test(token, of_another_key_is_refused, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_key other;
    struct token_claims given = claims_of(ROLE_ADMIN);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_make_key(&other), ERR_ok);
    cr_assert_eq(token_sign(&other, &given, token), ERR_ok);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
}

Test(token, with_any_changed_character_is_refused, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_claims given = claims_of(ROLE_CUSTOMER);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    size_t size = strlen(token);
    for (size_t i = 0; i < size; i++) {
        char kept = token[i];
        token[i] = kept == 'A' ? 'B' : 'A';
        cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated, "character %zu", i);
        token[i] = kept;
    }
    cr_assert_eq(verify(token, &read, &why), ERR_ok);
}

Test(token, has_one_spelling, .init = make_key)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char token[TOKEN_MAX + 4];
    char kid[TOKEN_KID_SIZE];
    struct token_claims given = claims_of(ROLE_CUSTOMER);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    size_t size = strlen(token);
    char last = token[size - 1];
    for (const char *letter = letters; *letter != '\0'; letter++) {
        token[size - 1] = *letter; /* 64 bytes leave 4 bits of the last letter that say nothing */
        cr_assert_eq(verify(token, &read, &why) == ERR_ok, *letter == last, "%c for %c", *letter, last);
        cr_assert_eq(token_kid(slice_of(token), kid), *letter == last || (strchr(letters, *letter) - letters) % 16 == 0);
    }
    token[size - 1] = last;
    memcpy(token + size, "==", 3);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
    memcpy(token + size, "=", 2);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
    memcpy(token + size, ".", 2);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
}

/* A token by libjwt itself, for what token_sign() does not make. */
static char *
forge(jwt_alg_t algorithm, const char *secret, const char *json)
{
    jwt_t *jwt = NULL;
    cr_assert_eq(jwt_new(&jwt), 0);
    cr_assert_eq(jwt_add_header(jwt, "kid", key.kid), 0);
    cr_assert_eq(jwt_add_grants_json(jwt, json), 0);
    cr_assert_eq(jwt_set_alg(jwt, algorithm, (const unsigned char *)secret, secret == NULL ? 0 : (int)strlen(secret)), 0);
    char *text = jwt_encode_str(jwt);
    jwt_free(jwt);
    return text;
}

#define GOOD "\"iss\":\"larder\",\"role\":\"admin\",\"iat\":1795000000,\"exp\":1795000060"

Test(token, signed_by_hmac_with_the_text_of_the_public_key_is_refused, .init = make_key)
{
    struct token_claims read;
    struct err_text why;
    char kid[TOKEN_KID_SIZE];
    char *token = forge(JWT_ALG_HS256, key.public_pem, "{" GOOD "}");
    cr_assert_not_null(token);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
    cr_assert_not(token_kid(slice_of(token), kid));
    free(token);
}

Test(token, without_a_signature_is_refused, .init = make_key)
{
    struct token_claims read;
    struct err_text why;
    char *token = forge(JWT_ALG_NONE, NULL, "{" GOOD "}");
    cr_assert_not_null(token);
    cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated);
    char again[TOKEN_MAX];
    snprintf(again, sizeof again, "%sAAAA", token);
    cr_assert_eq(verify(again, &read, &why), ERR_unauthenticated);
    free(token);
}

Test(token, without_a_key_nothing_is_verified, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    struct token_claims given = claims_of(ROLE_ADMIN);
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
    cr_assert_eq(token_verify(slice_of(token), (struct slice){0}, NOW_MS, &read, &why), ERR_unauthenticated);
}

Test(token, with_claims_that_larder_does_not_make_is_refused, .init = make_key)
{
    static const char *const bad[] = {
        "{\"iss\":\"other\",\"role\":\"admin\",\"iat\":1,\"exp\":1795000060}",
        "{\"role\":\"admin\",\"iat\":1,\"exp\":1795000060}",
        "{\"iss\":\"larder\",\"iat\":1,\"exp\":1795000060}",
        "{\"iss\":\"larder\",\"role\":\"anonymous\",\"iat\":1,\"exp\":1795000060}",
        "{\"iss\":\"larder\",\"role\":\"king\",\"iat\":1,\"exp\":1795000060}",
        "{\"iss\":\"larder\",\"role\":\"admin\",\"iat\":1}",
        "{\"iss\":\"larder\",\"role\":\"admin\",\"iat\":1,\"exp\":\"1795000060\"}",
        "{\"iss\":\"larder\",\"role\":\"admin\",\"iat\":1,\"exp\":1e30}",
        "{\"iss\":\"larder\",\"role\":\"admin\",\"iat\":1,\"exp\":9223372036854775807}",
        "{\"iss\":\"larder\",\"role\":\"admin\",\"iat\":-5,\"exp\":1795000060}",
        "{" GOOD ",\"nbf\":1795000050}",
        "{" GOOD ",\"nbf\":\"soon\"}",
        "{" GOOD ",\"sub\":\"root\"}",
        "{" GOOD ",\"sub\":7}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct token_claims read;
        struct err_text why;
        char *token = forge(JWT_ALG_ES256, key.private_pem, bad[i]);
        cr_assert_not_null(token);
        cr_assert_eq(verify(token, &read, &why), ERR_unauthenticated, "%s", bad[i]);
        free(token);
    }
    struct token_claims read;
    struct err_text why;
    char *token = forge(JWT_ALG_ES256, key.private_pem, "{" GOOD "}");
    cr_assert_eq(verify(token, &read, &why), ERR_ok, "%s", why.text);
    free(token);
}

Test(token, that_is_rubbish_is_refused, .init = make_key)
{
    static const char *const bad[] = {"",     ".",           "..",       "a.b",          "a.b.c",   "a.b.c.d",
                                      "a..c", "e30.e30.e30", "e30.e30.", "Bearer a.b.c", "a.b.c\n", "=.=.="};
    char kid[TOKEN_KID_SIZE];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct token_claims read;
        struct err_text why;
        cr_assert_eq(verify(bad[i], &read, &why), ERR_unauthenticated, "%s", bad[i]);
        cr_assert_not(token_kid(slice_of(bad[i]), kid), "%s", bad[i]);
    }
    char long_one[TOKEN_MAX + 2];
    memset(long_one, 'a', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    long_one[10] = long_one[20] = '.';
    struct token_claims read;
    struct err_text why;
    cr_assert_eq(verify(long_one, &read, &why), ERR_unauthenticated);
}

Test(token, a_key_that_was_kept_is_the_same_key, .init = make_key)
{
    struct token_key again;
    cr_assert_eq(token_read_key(slice_of(key.private_pem), &again), ERR_ok);
    cr_assert_str_eq(again.kid, key.kid);
    cr_assert_str_eq(again.public_pem, key.public_pem);
    cr_assert_eq(token_read_key(slice_of(key.public_pem), &again), ERR_internal);
    cr_assert_eq(token_read_key(slice_of("rubbish"), &again), ERR_internal);
}

/* A signature is two numbers of 32 bytes, each now and then shorter. */
Test(token, is_good_whatever_its_signature, .init = make_key)
{
    char token[TOKEN_MAX + 1];
    for (int i = 0; i < 1000; i++) {
        struct token_claims given = claims_of(ROLE_CUSTOMER);
        struct token_claims read;
        struct err_text why;
        given.expires_ms += i * INT64_C(1000);
        cr_assert_eq(token_sign(&key, &given, token), ERR_ok);
        cr_assert_eq(verify(token, &read, &why), ERR_ok, "%s", why.text);
    }
}
