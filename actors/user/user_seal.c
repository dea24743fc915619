/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Seals, wraps and names personal data.
 *
 * STATE     None. A sealed text is nonce, ciphertext, tag; the person's id is authenticated with it, so that rows cannot be exchanged.
 *
 * LIMITS    The size of what is sealed can be seen. Whoever has the whole database has the secret too: sealing is for what is left
 *           behind when a key was deleted, and keeps plain text out of files, logs and backups of single tables.
 */
#include "user_seal.h"

#include <sodium.h>

#define NONCE_SIZE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_SIZE crypto_aead_xchacha20poly1305_ietf_ABYTES
#define KDF_CONTEXT "larderus"

_Static_assert(USER_SEAL_MORE == NONCE_SIZE + TAG_SIZE, "as libsodium has it");
_Static_assert(USER_KEY_SIZE == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "as libsodium has it");
_Static_assert(USER_SECRET_SIZE == crypto_kdf_KEYBYTES, "as libsodium has it");

void
user_seal_derive(const uint8_t master[USER_SECRET_SIZE], struct user_secret *secret)
{
    crypto_kdf_derive_from_key(secret->wrap, sizeof secret->wrap, 1, KDF_CONTEXT, master);
    crypto_kdf_derive_from_key(secret->lookup, sizeof secret->lookup, 2, KDF_CONTEXT, master);
    crypto_kdf_derive_from_key(secret->mark, sizeof secret->mark, 3, KDF_CONTEXT, master);
}

/* Of a word and bytes, with a sign between them that no word has. */
static void
hash_both(const uint8_t key[32], const char *word, struct slice bytes, uint8_t *hash, size_t size)
{
    crypto_generichash_state state;
    struct slice name = slice_of(word);
    crypto_generichash_init(&state, key, 32, size);
    crypto_generichash_update(&state, name.data, name.size);
    crypto_generichash_update(&state, (const uint8_t *)"\0", 1);
    crypto_generichash_update(&state, bytes.data, bytes.size);
    crypto_generichash_final(&state, hash, size);
    sodium_memzero(&state, sizeof state);
}

void
user_seal_lookup(const struct user_secret *secret, const char *what, struct slice text, uint8_t hash[USER_HASH_SIZE])
{
    hash_both(secret->lookup, what, text, hash, USER_HASH_SIZE);
}

void
user_seal_mark(const struct user_secret *secret, const char *op, struct slice frame, uint8_t mark[USER_MARK_SIZE])
{
    hash_both(secret->mark, op, frame, mark, USER_MARK_SIZE);
}

void
user_seal_make_key(uint8_t key[USER_KEY_SIZE])
{
    randombytes_buf(key, USER_KEY_SIZE);
}

void
user_seal_close(const uint8_t key[USER_KEY_SIZE], const struct id *person, struct slice text, uint8_t *sealed)
{
    randombytes_buf(sealed, NONCE_SIZE);
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + NONCE_SIZE, NULL, text.data, text.size, person->bytes, ID_SIZE, NULL, sealed,
                                               key);
}

bool
user_seal_open(const uint8_t key[USER_KEY_SIZE], const struct id *person, struct slice sealed, uint8_t *text, size_t *size)
{
    if (sealed.size < USER_SEAL_MORE ||
        crypto_aead_xchacha20poly1305_ietf_decrypt(text, NULL, NULL, sealed.data + NONCE_SIZE, sealed.size - NONCE_SIZE, person->bytes,
                                                   ID_SIZE, sealed.data, key) != 0) {
        return false;
    }
    *size = sealed.size - USER_SEAL_MORE;
    return true;
}

void
user_seal_wrap(const struct user_secret *secret, const struct id *person, const uint8_t key[USER_KEY_SIZE],
               uint8_t wrapped[USER_WRAPPED_SIZE])
{
    user_seal_close(secret->wrap, person, (struct slice){key, USER_KEY_SIZE}, wrapped);
}

bool
user_seal_unwrap(const struct user_secret *secret, const struct id *person, struct slice wrapped, uint8_t key[USER_KEY_SIZE])
{
    uint8_t text[USER_WRAPPED_SIZE];
    size_t size = 0;
    bool is_ours = wrapped.size == USER_WRAPPED_SIZE && user_seal_open(secret->wrap, person, wrapped, text, &size);
    if (is_ours) {
        memcpy(key, text, USER_KEY_SIZE);
        sodium_memzero(text, sizeof text);
    }
    return is_ours;
}
