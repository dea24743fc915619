/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What keeps personal data unreadable: each person's data is sealed with a key of that person's own, which is kept wrapped by the
 * actor's secret; who is looked for by e-mail address or CPF is found by a keyed hash of it. Who deletes the key row has erased the
 * person, wherever copies of the sealed data may lie.
 *
 * XChaCha20-Poly1305 and BLAKE2b of libsodium. No I/O.
 */
#ifndef LARDER_USER_SEAL_H
#define LARDER_USER_SEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define USER_SECRET_SIZE 32
#define USER_KEY_SIZE 32
#define USER_HASH_SIZE 32
#define USER_MARK_SIZE 16
#define USER_SEAL_MORE (24 + 16) /* a sealed text is longer by a nonce and a tag */
#define USER_WRAPPED_SIZE (USER_KEY_SIZE + USER_SEAL_MORE)

/* Keys for three purposes, derived from the one that the database keeps. */
struct user_secret {
    uint8_t wrap[32];
    uint8_t lookup[32];
    uint8_t mark[32];
};

void
user_seal_derive(const uint8_t master[USER_SECRET_SIZE], struct user_secret *secret);

/* A name for what is looked for; `what` is "email" or "cpf". */
void
user_seal_lookup(const struct user_secret *secret, const char *what, struct slice text, uint8_t hash[USER_HASH_SIZE]);

/* To tell another request under the same id. */
void
user_seal_mark(const struct user_secret *secret, const char *op, struct slice frame, uint8_t mark[USER_MARK_SIZE]);

/* A new key for a person, and its wrapped form. */
void
user_seal_make_key(uint8_t key[USER_KEY_SIZE]);
void
user_seal_wrap(const struct user_secret *secret, const struct id *person, const uint8_t key[USER_KEY_SIZE],
               uint8_t wrapped[USER_WRAPPED_SIZE]);

/* False when it is not this person's, or was changed. */
bool
user_seal_unwrap(const struct user_secret *secret, const struct id *person, struct slice wrapped, uint8_t key[USER_KEY_SIZE]);

/* `sealed` has room for text.size + USER_SEAL_MORE. */
void
user_seal_close(const uint8_t key[USER_KEY_SIZE], const struct id *person, struct slice text, uint8_t *sealed);

/* `text` has room for sealed.size; `size` is what it fills. False when it was not sealed with this key for this person. */
bool
user_seal_open(const uint8_t key[USER_KEY_SIZE], const struct id *person, struct slice sealed, uint8_t *text, size_t *size);

#endif
