/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Makes and compares the secrets of orders: `os`, the version of the key, `_`, and the base64url of 24 bytes of keyed
 *           BLAKE2b over "order secret", a zero byte, the version as 8 bytes, the greatest first, and the order's id.
 *
 * STATE     $secret: the keys, each with its version and since when it is used. The first is made when there is none, at a start, and
 *           counts for every order there is; so orders of a database of before have a secret too, which nobody was told until
 *           he asks again. An order's version is the latest that was there when it was placed, so its secret stays the same when
 *           another key comes.
 *           A new version is a new row: (the next version, milliseconds UTC from when on, 32 random bytes), seen at the next start.
 *           When a row is deleted, the secrets that were made with it are worth nothing.
 *
 * FAILURES  Rows that are no keys are ERR_internal: somebody must look.
 *
 * LIMITS    VERSIONS_MAX keys. The keys leave the database in no message and no log; they are part of its backup, and whoever reads
 *           them may do what guests may. With several shards of order shard 0 makes the key and the others take it from its table
 *           (one server) or ask shard 0 for it (a file each): a secret must be the same at each of them.
 */
#include "order_secret.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base64url.h"
#include "kit/telemetry/log.h"

#define VERSIONS_MAX 64
#define KEY_SIZE crypto_generichash_KEYBYTES
#define HASH_SIZE 24
#define PURPOSE "order secret"

struct version {
    int64_t number;
    int64_t since_ms;
    uint8_t key[KEY_SIZE];
};

struct order_secrets {
    struct db_statement *find;
    struct db_statement *insert;
    struct version versions[VERSIONS_MAX]; /* ascending */
    size_t count;
};

/* --- keys --- */

struct order_secrets *
order_secrets_create(struct db *db)
{
    struct order_secrets *secrets = calloc(1, sizeof *secrets);
    if (secrets == NULL || sodium_init() < 0) {
        abort();
    }
    secrets->find = db_statement(db, "SELECT version, since, secret FROM $secret ORDER BY version");
    secrets->insert = db_statement(db, "INSERT INTO $secret (version, since, secret) VALUES (?, ?, ?)");
    return secrets;
}

void
order_secrets_destroy(struct order_secrets **secrets)
{
    if (*secrets != NULL) {
        sodium_memzero(*secrets, sizeof **secrets);
        free(*secrets);
        *secrets = NULL;
    }
}

static err
make_first(struct order_secrets *secrets)
{
    struct version *first = &secrets->versions[secrets->count++];
    *first = (struct version){.number = 1};
    randombytes_buf(first->key, sizeof first->key);
    db_bind_i64(secrets->insert, first->number);
    db_bind_i64(secrets->insert, first->since_ms);
    db_bind_bytes(secrets->insert, (struct slice){first->key, sizeof first->key});
    log_info("order_key_made", LOG_I64("version", first->number));
    return db_queue(secrets->insert, 1);
}

err
order_secrets_load(struct order_secrets *secrets)
{
    bool are_keys = true;
    err code = db_query(secrets->find);
    if (code != ERR_ok) {
        return code;
    }
    secrets->count = 0;
    while (db_next(secrets->find)) {
        struct slice key = db_bytes(secrets->find, 2);
        are_keys = are_keys && secrets->count < VERSIONS_MAX && key.size == KEY_SIZE;
        if (are_keys) {
            struct version *version = &secrets->versions[secrets->count++];
            version->number = db_i64(secrets->find, 0);
            version->since_ms = db_i64(secrets->find, 1);
            memcpy(version->key, key.data, KEY_SIZE);
        }
    }
    db_done(secrets->find);
    if (!are_keys) {
        return ERR_internal;
    }
    return secrets->count == 0 ? make_first(secrets) : ERR_ok;
}

/* --- secrets --- */

static const struct version *
version_of(const struct order_secrets *secrets, int64_t placed_ms)
{
    size_t i = secrets->count;
    while (i > 0 && secrets->versions[i - 1].since_ms > placed_ms) {
        i--;
    }
    return i > 0 ? &secrets->versions[i - 1] : NULL;
}

bool
order_secrets_write(const struct order_secrets *secrets, const struct order_secret_of *of, char text[ORDER_SECRET_SIZE])
{
    const struct version *version = version_of(secrets, of->placed_ms);
    crypto_generichash_state state;
    uint8_t number[8];
    uint8_t hash[HASH_SIZE];
    memset(text, 0, ORDER_SECRET_SIZE);
    if (version == NULL) {
        return false;
    }
    for (unsigned i = 0; i < sizeof number; i++) {
        number[i] = (uint8_t)((uint64_t)version->number >> (56 - 8 * i));
    }
    crypto_generichash_init(&state, version->key, KEY_SIZE, sizeof hash);
    crypto_generichash_update(&state, (const uint8_t *)PURPOSE, sizeof PURPOSE);
    crypto_generichash_update(&state, number, sizeof number);
    crypto_generichash_update(&state, of->order.bytes, sizeof of->order.bytes);
    crypto_generichash_final(&state, hash, sizeof hash);
    int size = snprintf(text, ORDER_SECRET_SIZE, "os%" PRId64 "_", version->number);
    base64url_encode(hash, sizeof hash, text + size);
    sodium_memzero(hash, sizeof hash);
    sodium_memzero(&state, sizeof state);
    return true;
}

/* A text that is too long is compared as well, cut: it is wrong all the same, as its size differs. */
bool
order_secrets_is_right(const struct order_secrets *secrets, const struct order_secret_of *of, struct slice text)
{
    char right[ORDER_SECRET_SIZE];
    char given[ORDER_SECRET_SIZE] = {0};
    bool is_there = order_secrets_write(secrets, of, right);
    size_t size = text.size < sizeof given ? text.size : sizeof given;
    if (size > 0) {
        memcpy(given, text.data, size);
    }
    bool is_same = sodium_memcmp(right, given, sizeof right) == 0 && text.size == strlen(right);
    sodium_memzero(right, sizeof right);
    return is_there && is_same;
}
