/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Tokens: the key pair that signs them, who gets one, and signing in.
 *
 * MESSAGES  user.keys, user.issue, user.sign_in
 *
 * STATE     The private key is in $secret, made when it is needed first; in memory from its first use on, so that a shop without
 *           tokens never wakes the library that makes them (2.5 MiB). Beside it the public halves of those before it that signed by a
 *           clock which was wrong (user_retime.c).
 *
 * FAILURES  A sign-in that fails says nothing but wrong_credentials, and takes as long as one that succeeds: where there is nobody, or
 *           nobody with a password, the password is compared with a hash that nothing fits.
 *
 * LIMITS    One key signs, until the clock is put right: to change it, delete its row and start anew; its tokens are worth nothing
 *           then. A token lives until it expires, whatever becomes of the person; its role is that of the moment when it was made.
 */
#include "user_token.h"

#include <string.h>

#include <sodium.h>

#include "kit/base/big_endian.h"
#include "kit/telemetry/log.h"

/* Of 32 random bytes that are known to nobody. */
static const char NOBODYS_HASH[] = "$argon2id$v=19$m=65536,t=2,p=1$2XwlpWe3cOYgppr/N0AQ/g$AVFQcGd73FeARfEM9H37J3bqV4zWTTn7SKsiKCGiNUs";

/* Reads the key pair, or makes it in the transaction under way. ERR_internal: it cannot be read or made. */
static err
load_key(struct user_actor *actor)
{
    uint8_t pem[USER_SECRET_MAX];
    size_t size = 0;
    err code = actor->has_key ? ERR_ok : user_store_find_secret(&actor->store, USER_TOKENS, pem, &size);
    if (code != ERR_ok || actor->has_key) {
        return code;
    }
    if (size > 0) {
        code = token_read_key((struct slice){pem, size}, &actor->key);
        sodium_memzero(pem, sizeof pem);
    } else {
        code = token_make_key(&actor->key);
        if (code == ERR_ok) {
            log_info("token_key_made", LOG_TEXT("kid", actor->key.kid));
            code = user_store_insert_secret(&actor->store, USER_TOKENS, slice_of(actor->key.private_pem));
        }
    }
    actor->has_key = code == ERR_ok;
    if (code == ERR_internal) {
        log_error("token_key_is_none", LOG_TEXT("why", "it was changed by hand, or there is no randomness"));
    }
    return code;
}

err
user_token_read_retired(struct db *db, struct user_retired_key *keys, size_t *count)
{
    struct db_statement *read =
        db_statement(db, "SELECT name, secret FROM $secret WHERE name <> 'people' AND name <> '" USER_TOKENS "'");
    *count = 0;
    err code = db_query(read);
    while (code == ERR_ok && *count < USER_RETIRED_MAX && db_next(read)) {
        struct slice kid = db_bytes(read, 0);
        struct slice row = db_bytes(read, 1);
        struct user_retired_key *key = &keys[*count];
        if (row.size <= 8 || row.size - 8 >= sizeof key->public_pem || kid.size >= sizeof key->kid) {
            continue; /* it was changed by hand */
        }
        *key = (struct user_retired_key){.retired_ms = get_i64(row.data)};
        memcpy(key->kid, kid.data, kid.size);
        memcpy(key->public_pem, row.data + 8, row.size - 8);
        (*count)++;
    }
    if (code == ERR_ok) {
        db_done(read);
    }
    return code;
}

err
user_token_handle_keys(void *state, struct item *item)
{
    struct user_actor *actor = state;
    err code = load_key(actor);
    if (code == ERR_internal) {
        item_refuse(actor->batch, item, code, "the key that signs tokens cannot be read");
        return ERR_ok;
    }
    struct user_retired_key retired[USER_RETIRED_MAX];
    size_t count = 0;
    code = code == ERR_ok ? user_token_read_retired(actor_db(actor->actor), retired, &count) : code;
    if (code != ERR_ok) {
        return code;
    }
    struct wire_user_key key = {0};
    struct wire_user_key_set set = {0};
    struct wire_list list = {0};
    WIRE_SET(&key, user_key, kid, slice_of(actor->key.kid));
    WIRE_SET(&key, user_key, pem, slice_of(actor->key.public_pem));
    actor->page.size = 0;
    wire_list_add(&list, &user_key_body, &key, &actor->page);
    for (size_t i = 0; i < count; i++) {
        WIRE_SET(&key, user_key, kid, slice_of(retired[i].kid));
        WIRE_SET(&key, user_key, pem, slice_of(retired[i].public_pem));
        WIRE_SET(&key, user_key, retired, retired[i].retired_ms);
        wire_list_add(&list, &user_key_body, &key, &actor->page);
    }
    wire_list_end(&list, &actor->page);
    WIRE_SET(&set, user_key_set, keys, list);
    item_answer(actor->batch, item, &set);
    return ERR_ok;
}

/* --- tokens --- */

static err
give_token(struct user_actor *actor, const struct user_caller *caller, struct token_claims *claims, int64_t ttl_ms)
{
    char token[TOKEN_MAX + 1];
    claims->issued_ms = actor->batch->now_ms / 1000 * 1000;
    claims->expires_ms = (actor->batch->now_ms + ttl_ms) / 1000 * 1000;
    err code = load_key(actor);
    if (code == ERR_ok) {
        code = token_sign(&actor->key, claims, token);
    }
    if (code == ERR_internal) {
        log_error("token_not_signed", LOG_ID("req", &caller->request));
        user_refuse(actor->batch, caller, ERR_internal, "the token could not be signed");
        return ERR_ok;
    }
    if (code != ERR_ok) {
        return code;
    }
    struct wire_user_session session = {0};
    WIRE_SET(&session, user_session, token, slice_of(token));
    WIRE_SET(&session, user_session, expires, claims->expires_ms);
    WIRE_SET(&session, user_session, role, slice_of(role_name(claims->role)));
    if (claims->has_user) {
        WIRE_SET(&session, user_session, user, claims->user);
    }
    user_answer(actor->batch, caller, &session);
    sodium_memzero(token, sizeof token);
    return ERR_ok;
}

err
user_token_handle_issue(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_issue *issue = item->body;
    struct user_caller caller = {.item = item, .request = item->id};
    enum role role = role_find(issue->role);
    struct token_claims claims = {.role = role, .has_user = WIRE_HAS(issue, user_issue, user), .user = issue->user};
    if (item->role != ROLE_OPERATOR) {
        item_refuse(actor->batch, item, ERR_forbidden, "tokens are given without a password to operators alone");
        return ERR_ok;
    }
    if (role == ROLE_COUNT || role == ROLE_ANONYMOUS) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_issue.role: customer, employee, admin or operator");
        return ERR_ok;
    }
    if (role == ROLE_CUSTOMER && !claims.has_user) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_issue.user: missing; a customer's token has to say whose it is");
        return ERR_ok;
    }
    struct user_row row = {0};
    bool found = true;
    err code = claims.has_user ? user_store_find(&actor->store, &issue->user, &row, &found) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    if (!found || row.erased_ms > 0) {
        item_refuse(actor->batch, item, found ? ERR_user_erased : ERR_unknown_user, "%s",
                    err_words(found ? ERR_user_erased : ERR_unknown_user));
        return ERR_ok;
    }
    int64_t ttl_ms = WIRE_HAS(issue, user_issue, ttl_ms) ? issue->ttl_ms : actor->settings->token_ttl_ms;
    return give_token(actor, &caller, &claims, ttl_ms);
}

/* --- signing in --- */

err
user_token_handle_sign_in(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_sign_in *body = item->body;
    bool has_email = WIRE_HAS(body, user_sign_in, email);
    bool has_cpf = WIRE_HAS(body, user_sign_in, cpf);
    char digits[USER_CPF_DIGITS + 1];
    struct user_person person;
    bool found = false;
    if (has_email == has_cpf) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_sign_in: an email or a cpf is needed, and not both");
        return ERR_ok;
    }
    struct slice email = has_email ? body->email : (struct slice){0};
    struct slice cpf = has_cpf && user_rules_cpf(body->cpf, digits) ? slice_of(digits) : (struct slice){0};
    err code = user_people_find(actor, email, cpf, &person.row, &found);
    if (code != ERR_ok) {
        return code;
    }
    struct user_caller caller = user_caller_of(actor, item);
    caller.subject = user_people_subject(email, has_cpf && cpf.size == 0 ? body->cpf : cpf);
    char hash[USER_PASSWORD_HASH_SIZE] = "";
    bool has_password = found && user_people_open(actor, &person) && WIRE_HAS(&person.data, user_register, password);
    struct slice kept = has_password ? person.data.password : slice_of(NOBODYS_HASH);
    memcpy(hash, kept.data, kept.size < sizeof hash ? kept.size : sizeof hash - 1);
    user_work_start(actor->batch, &caller, body->password, hash, has_password ? person.row.n : 0);
    return ERR_ok;
}

err
user_token_handle_verified(struct user_actor *actor, const struct user_work *work, const struct user_caller *caller)
{
    struct user_row row = {0};
    bool found = false;
    err code = work->person > 0 ? user_store_find_n(&actor->store, work->person, &row, &found) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    if (!work->is_done || !found || row.erased_ms > 0) {
        user_refuse(actor->batch, caller, ERR_wrong_credentials, err_words(ERR_wrong_credentials));
        return ERR_ok;
    }
    struct token_claims claims = {.role = row.role, .has_user = true, .user = row.id};
    return give_token(actor, caller, &claims, actor->settings->token_ttl_ms);
}
