/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Makes and checks the signatures of webhooks: `v1,` and the base64 of HMAC-SHA256, keyed with the bytes behind `whsec_`,
 *           over the webhook's id, its timestamp and its body with full stops between them (standardwebhooks.com).
 *
 * FAILURES  What cannot be read as a signature is none. Without a key nothing is signed and nothing is believed.
 *
 * LIMITS    Only version v1; others in the list are passed over. Of a list the first 16 are looked at.
 */
#include "payment_signature.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#define PREFIX "whsec_"
#define VERSION_PREFIX "v1,"
#define KEY_SIZE_MIN 16
#define SIGNATURES_MAX 16

bool
payment_key_parse(const char *text, struct payment_key *key)
{
    static const size_t prefix_size = sizeof PREFIX - 1;
    const char *end = NULL;
    *key = (struct payment_key){.size = 0};
    if (strncmp(text, PREFIX, prefix_size) != 0) {
        return false;
    }
    const char *base64 = text + prefix_size;
    bool is_read = sodium_base642bin(key->bytes, sizeof key->bytes, base64, strlen(base64), NULL, &key->size, &end,
                                     sodium_base64_VARIANT_ORIGINAL) == 0;
    if (!is_read || *end != '\0' || key->size < KEY_SIZE_MIN) {
        sodium_memzero(key, sizeof *key);
        return false;
    }
    return true;
}

static void
compute(const struct payment_key *key, const struct payment_signed *what, uint8_t mac[crypto_auth_hmacsha256_BYTES])
{
    crypto_auth_hmacsha256_state state;
    (void)crypto_auth_hmacsha256_init(&state, key->bytes, key->size);
    (void)crypto_auth_hmacsha256_update(&state, what->id.data, what->id.size);
    (void)crypto_auth_hmacsha256_update(&state, (const uint8_t *)".", 1);
    (void)crypto_auth_hmacsha256_update(&state, what->timestamp.data, what->timestamp.size);
    (void)crypto_auth_hmacsha256_update(&state, (const uint8_t *)".", 1);
    (void)crypto_auth_hmacsha256_update(&state, what->body.data, what->body.size);
    (void)crypto_auth_hmacsha256_final(&state, mac);
    sodium_memzero(&state, sizeof state);
}

void
payment_sign(const struct payment_key *key, const struct payment_signed *what, char signature[PAYMENT_SIGNATURE_SIZE])
{
    static const size_t prefix_size = sizeof VERSION_PREFIX - 1;
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    assert(key->size > 0);
    compute(key, what, mac);
    memcpy(signature, VERSION_PREFIX, prefix_size);
    (void)sodium_bin2base64(signature + prefix_size, PAYMENT_SIGNATURE_SIZE - prefix_size, mac, sizeof mac,
                            sodium_base64_VARIANT_ORIGINAL);
}

static bool
is_right(struct slice signature, const uint8_t mac[crypto_auth_hmacsha256_BYTES])
{
    static const size_t prefix_size = sizeof VERSION_PREFIX - 1;
    uint8_t given[crypto_auth_hmacsha256_BYTES];
    size_t given_size = 0;
    if (signature.size <= prefix_size || memcmp(signature.data, VERSION_PREFIX, prefix_size) != 0) {
        return false;
    }
    return sodium_base642bin(given, sizeof given, (const char *)signature.data + prefix_size, signature.size - prefix_size, NULL,
                             &given_size, NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           given_size == sizeof given && sodium_memcmp(given, mac, sizeof given) == 0;
}

bool
payment_is_signed(const struct payment_key *key, const struct payment_signed *what, struct slice signatures)
{
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    bool is_one_right = false;
    if (key->size == 0) {
        return false;
    }
    compute(key, what, mac);
    for (int i = 0; i < SIGNATURES_MAX && signatures.size > 0; i++) {
        const uint8_t *blank = memchr(signatures.data, ' ', signatures.size);
        size_t size = blank == NULL ? signatures.size : (size_t)(blank - signatures.data);
        is_one_right = is_right((struct slice){signatures.data, size}, mac) || is_one_right;
        size_t gone = size < signatures.size ? size + 1 : size;
        signatures.data += gone;
        signatures.size -= gone;
    }
    return is_one_right;
}
