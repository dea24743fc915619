/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What becomes of tokens when the clock by which they were made was ahead: they would be good for as long as it was ahead,
 *           and nothing in one tells it from a right one. So their key is retired and another signs from now on. A token of the
 *           retired key that says it is younger than that was made by the wrong clock, and is good for as long as it was given, from
 *           then on (gateway/auth.c): nobody is signed out, and nobody stays for good.
 *
 * STATE     $secret: of each retired key a row by the name of its kid: since when 8 bytes, big-endian, and the public half, PEM.
 *
 * FAILURES  A key that cannot be read stays; user_token.c says so when it is needed.
 *
 * LIMITS    A clock that was ahead by no more than token_ttl_ms is let pass: its tokens live twice as long at the most.
 *           USER_RETIRED_MAX retired keys; with one more the oldest is forgotten, and what it signed is worth nothing.
 */
#include <string.h>

#include <sodium.h>

#include "kit/base/backoff.h"
#include "kit/base/big_endian.h"
#include "kit/telemetry/log.h"
#include "kit/durable/retime.h"
#include "user_token.h"

static err
read_key(struct db *db, struct token_key *key, bool *found)
{
    struct db_statement *read = db_statement(db, "SELECT secret FROM $secret WHERE name = '" USER_TOKENS "'");
    err code = db_query(read);
    *found = code == ERR_ok && db_next(read) && token_read_key(db_bytes(read, 0), key) == ERR_ok;
    if (code == ERR_ok) {
        db_done(read);
    }
    return code;
}

/* Room for one more. */
static err
forget_oldest(struct db *db)
{
    struct user_retired_key keys[USER_RETIRED_MAX];
    size_t count = 0;
    err code = user_token_read_retired(db, keys, &count);
    if (code != ERR_ok || count < USER_RETIRED_MAX) {
        return code;
    }
    struct user_retired_key *oldest = &keys[0];
    for (size_t i = 1; i < count; i++) {
        oldest = keys[i].retired_ms < oldest->retired_ms ? &keys[i] : oldest;
    }
    log_warn("token_key_forgotten", LOG_TEXT("kid", oldest->kid));
    struct db_statement *forget = db_statement(db, "DELETE FROM $secret WHERE name = ?");
    db_bind_text(forget, slice_of(oldest->kid));
    return db_queue(forget, 1);
}

static err
retire(struct db *db, const struct token_key *key, const struct token_key *next, int64_t now_ms)
{
    uint8_t row[8 + TOKEN_PEM_SIZE];
    size_t size = strlen(key->public_pem);
    put_i64(row, now_ms);
    memcpy(row + 8, key->public_pem, size);
    struct db_statement *insert = db_statement(db, "INSERT INTO $secret (name, secret) VALUES (?, ?)");
    db_bind_text(insert, slice_of(key->kid));
    db_bind_bytes(insert, (struct slice){row, 8 + size});
    err code = db_queue(insert, 1);
    if (code != ERR_ok) {
        return code;
    }
    struct db_statement *update = db_statement(db, "UPDATE $secret SET secret = ? WHERE name = '" USER_TOKENS "'");
    db_bind_bytes(update, slice_of(next->private_pem));
    return db_queue(update, 1);
}

static err
retire_key(const struct retiming *retiming)
{
    struct token_key key = {0};
    struct token_key next = {0};
    bool found = false;
    err code = read_key(retiming->db, &key, &found);
    if (code == ERR_ok && found && token_make_key(&next) == ERR_ok) {
        code = forget_oldest(retiming->db);
        code = code == ERR_ok ? retire(retiming->db, &key, &next, retiming->now_ms) : code;
        log_warn("token_key_retired", LOG_TEXT("kid", key.kid), LOG_TEXT("new", next.kid),
                 LOG_TEXT("why", "tokens of a clock that was ahead would be good for too long"));
    }
    sodium_memzero(&key, sizeof key);
    sodium_memzero(&next, sizeof next);
    return code;
}

err
user_retime(const struct retiming *retiming, struct due_row *row)
{
    if (row != NULL) {
        row->due_ms = retimed(retiming, row->due_ms, BACKOFF_MAX_MS);
        return ERR_ok;
    }
    return retiming->back_ms > retiming->settings->token_ttl_ms ? retire_key(retiming) : ERR_ok;
}
