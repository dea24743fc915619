/* SPDX-License-Identifier: MPL-2.0 */
/*
 * auth: bearer tokens
 *
 * PURPOSE
 *   Tells who asks. A token is verified here, by its signature and its end, without asking anybody; so the user actor may be away
 *   while its tokens are good.
 *
 * MESSAGES
 *   out user.keys: when the first token comes, each minute from then on, each second for a while when the clock was set, and when a
 *   token names a key that is not known, one at a time for all that wait.
 *
 * STATE
 *   The public keys, as they were answered last, and the outcome of verified tokens by a hash of each, bounded; the least recently
 *   written of a set makes room. Other keys than before empty it. No token is kept.
 *
 * FAILURES
 *   Whatever is wrong with a token is AUTH_REFUSED; that a key cannot be asked for is AUTH_AWAY. Known keys stay when they cannot be
 *   asked for anew. A key that is unknown within PAUSE_US of an answer is refused without asking, so that made-up tokens cannot
 *   flood the user actor.
 *
 * LIMITS
 *   KEYS_MAX keys, CACHE_SETS x CACHE_WAYS tokens. A token counts until its end: a role that was taken away, or a person that was
 *   erased, ends here with the last token.
 */
#include "auth.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "kit/http/token.h"

#define KEYS_MAX 16
#define PEM_MAX 1024
#define CACHE_SETS 1024U /* a power of two */
#define CACHE_WAYS 4U
#define HASH_SIZE 32
#define PERIOD_US INT64_C(60000000)
#define HURRY_US INT64_C(15000000)
#define HURRIED_PERIOD_US INT64_C(1000000)
#define PAUSE_US INT64_C(200000)
#define ASK_TIMEOUT_MS 1000
#define SCHEME "Bearer"

struct key {
    char kid[TOKEN_KID_SIZE];
    char pem[PEM_MAX];
    size_t pem_size;
    int64_t retired_ms; /* 0: it signs */
};

struct cached {
    uint8_t hash[HASH_SIZE];
    int64_t expires_ms; /* 0: empty */
    struct asker asker;
};

struct cache_set {
    struct cached ways[CACHE_WAYS];
    uint32_t next; /* way to be written */
};

struct auth {
    struct upstream *upstream;
    int64_t timeout_ms;
    int peer;
    struct key keys[KEYS_MAX];
    size_t key_count;
    struct cache_set cache[CACHE_SETS];
    struct upstream_call call;
    struct wire_buffer frame;
    int64_t next_ask_us;
    int64_t hurry_until_us;
    int64_t answered_us;     /* the keys are as they were then; 0: never */
    struct err_text failure; /* of the last question; empty when it was answered */
    struct auth_waiter *first;
    struct auth_waiter *last;
    struct metric *verified;
    struct metric *refused;
};

/* --- life --- */

struct auth *
auth_create(const struct settings *settings, struct upstream *upstream)
{
    struct auth *auth = memory_new(1, sizeof *auth);
    const struct wire_nothing nothing = {0};
    auth->upstream = upstream;
    auth->next_ask_us = INT64_MAX; /* when the first token comes, and each minute from then on */
    auth->timeout_ms = settings->request_timeout_ms < ASK_TIMEOUT_MS ? settings->request_timeout_ms : ASK_TIMEOUT_MS;
    auth->peer = upstream_peer(upstream, wire_ops[OP_user_keys].owner, 0);
    assert(auth->peer >= 0);
    wire_encode(&nothing_body, &nothing, &auth->frame);
    auth->verified = metric(METRIC_COUNTER, "larder_gateway_tokens_verified_total", "", "Signatures of tokens that were right.");
    auth->refused = metric(METRIC_COUNTER, "larder_gateway_tokens_refused_total", "", "Requests with a token that is not good here.");
    return auth;
}

void
auth_destroy(struct auth **auth)
{
    struct auth *closed = *auth;
    *auth = NULL;
    if (closed == NULL) {
        return;
    }
    assert(closed->first == NULL);
    upstream_cancel(closed->upstream, &closed->call);
    wire_buffer_fini(&closed->frame);
    free(closed);
}

/* --- who waits --- */

static void
wait_for_keys(struct auth *auth, struct auth_waiter *waiter)
{
    waiter->is_waiting = true;
    waiter->next = NULL;
    waiter->previous = auth->last;
    *(auth->last != NULL ? &auth->last->next : &auth->first) = waiter;
    auth->last = waiter;
}

void
auth_forget(struct auth *auth, struct auth_waiter *waiter)
{
    if (!waiter->is_waiting) {
        return;
    }
    *(waiter->previous != NULL ? &waiter->previous->next : &auth->first) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->previous : &auth->last) = waiter->previous;
    waiter->is_waiting = false;
}

static void
wake_all(struct auth *auth)
{
    while (auth->first != NULL) {
        struct auth_waiter *waiter = auth->first;
        auth_forget(auth, waiter);
        waiter->ready(waiter);
    }
}

/* --- the keys --- */

static const struct key *
find_key(const struct auth *auth, const char *kid)
{
    for (size_t i = 0; i < auth->key_count; i++) {
        if (strcmp(auth->keys[i].kid, kid) == 0) {
            return &auth->keys[i];
        }
    }
    return NULL;
}

static bool
is_same(const struct key *a, const struct key *b)
{
    return strcmp(a->kid, b->kid) == 0 && a->retired_ms == b->retired_ms && a->pem_size == b->pem_size &&
           memcmp(a->pem, b->pem, a->pem_size) == 0;
}

/* Takes the keys over. What other keys have verified is forgotten. */
static void
take_keys(struct auth *auth, struct wire_list list)
{
    struct key keys[KEYS_MAX];
    size_t count = 0;
    size_t same = 0;
    struct wire_user_key given;
    memset(keys, 0, sizeof keys);
    while (count < KEYS_MAX && wire_list_next(&list, &user_key_body, &given)) {
        struct key *key = &keys[count++];
        memcpy(key->kid, given.kid.data, given.kid.size);
        memcpy(key->pem, given.pem.data, given.pem.size);
        key->pem_size = given.pem.size;
        key->retired_ms = WIRE_HAS(&given, user_key, retired) ? given.retired : 0;
        same += is_same(key, &auth->keys[count - 1]) ? 1 : 0;
    }
    if (count == auth->key_count && same == count) {
        return;
    }
    memcpy(auth->keys, keys, sizeof keys);
    auth->key_count = count;
    memset(auth->cache, 0, sizeof auth->cache);
    log_info("token_keys", LOG_I64("keys", (int64_t)count));
}

static void
keys_answered(struct upstream_call *call, const struct upstream_reply *reply)
{
    struct auth *auth = (struct auth *)(void *)((char *)call - offsetof(struct auth, call));
    struct wire_user_key_set set;
    struct err_text why = {""};
    err failed = reply->status;
    if (failed != ERR_ok) {
        (void)snprintf(why.text, sizeof why.text, "%.200s", reply->why != NULL ? reply->why : err_words(failed));
    } else {
        failed = wire_decode(&user_key_set_body, reply->body, &set, &why);
    }
    auth->failure.text[0] = 0;
    if (failed == ERR_ok) {
        auth->answered_us = clock_steady_us();
        take_keys(auth, set.keys);
    } else {
        (void)err_say(&auth->failure, ERR_unavailable, "the keys of tokens cannot be had: %.200s", why.text);
    }
    wake_all(auth);
}

/* One question for all that wait. */
static bool
ask_for_keys(struct auth *auth)
{
    struct upstream_call *call = &auth->call;
    if (call->is_outstanding) {
        return true;
    }
    *call = (struct upstream_call){.id = id_new(), .op = OP_user_keys, .peer = auth->peer, .done = keys_answered};
    call->timeout_ms = auth->timeout_ms;
    call->body = wire_buffer_slice(&auth->frame);
    int64_t now_us = clock_steady_us();
    auth->next_ask_us = now_us + (now_us < auth->hurry_until_us ? HURRIED_PERIOD_US : PERIOD_US);
    return upstream_send(auth->upstream, call, &auth->failure) == ERR_ok;
}

void
auth_hurry(struct auth *auth, int64_t now_us)
{
    auth->hurry_until_us = now_us + HURRY_US;
    auth->next_ask_us = auth->next_ask_us == INT64_MAX ? INT64_MAX : now_us;
}

void
auth_tick(struct auth *auth, int64_t now_us)
{
    if (now_us >= auth->next_ask_us) {
        (void)ask_for_keys(auth);
    }
}

/* --- tokens that were verified before --- */

static void
hash_token(struct slice token, uint8_t hash[HASH_SIZE])
{
    (void)crypto_generichash(hash, HASH_SIZE, token.data, token.size, NULL, 0);
}

static struct cache_set *
set_of(struct auth *auth, const uint8_t hash[HASH_SIZE])
{
    return &auth->cache[((size_t)hash[0] | (size_t)hash[1] << 8) & (CACHE_SETS - 1U)];
}

static const struct cached *
cache_find(struct auth *auth, const uint8_t hash[HASH_SIZE])
{
    const struct cache_set *set = set_of(auth, hash);
    for (size_t i = 0; i < CACHE_WAYS; i++) {
        if (set->ways[i].expires_ms != 0 && memcmp(set->ways[i].hash, hash, HASH_SIZE) == 0) {
            return &set->ways[i];
        }
    }
    return NULL;
}

static void
cache_put(struct auth *auth, const uint8_t hash[HASH_SIZE], int64_t expires_ms, const struct asker *asker)
{
    struct cache_set *set = set_of(auth, hash);
    struct cached *cached = &set->ways[set->next++ % CACHE_WAYS];
    memcpy(cached->hash, hash, HASH_SIZE);
    cached->expires_ms = expires_ms;
    cached->asker = *asker;
}

/* --- judging --- */

static enum auth_verdict
refuse(struct auth *auth, const char *text, struct err_text *why)
{
    metric_add(auth->refused, 1);
    (void)err_say(why, ERR_unauthenticated, "Authorization: %.200s", text);
    return AUTH_REFUSED;
}

/* RFC 6750: the scheme in any case, blanks, the token. */
static bool
read_header(struct slice header, struct slice *token)
{
    const size_t scheme = sizeof SCHEME - 1;
    if (header.size <= scheme || strncasecmp((const char *)header.data, SCHEME, scheme) != 0 || header.data[scheme] != ' ') {
        return false;
    }
    *token = (struct slice){header.data + scheme, header.size - scheme};
    while (token->size > 0 && token->data[0] == ' ') {
        *token = (struct slice){token->data + 1, token->size - 1};
    }
    while (token->size > 0 && token->data[token->size - 1] == ' ') {
        token->size--;
    }
    return token->size > 0;
}

/* A token that is younger than the end of its key was made by a clock that was ahead: it is good for as long as it was given, from
 * when that clock was put right. */
static int64_t
end_of(const struct key *key, const struct token_claims *claims)
{
    int64_t given_ms = claims->expires_ms - claims->issued_ms;
    bool is_ahead = key->retired_ms > 0 && claims->issued_ms > key->retired_ms && given_ms >= 0;
    return is_ahead ? key->retired_ms + given_ms : claims->expires_ms;
}

static enum auth_verdict
verify(struct auth *auth, struct slice token, const struct key *key, struct asker *asker, struct err_text *why)
{
    struct token_claims claims;
    struct err_text reason;
    uint8_t hash[HASH_SIZE];
    struct slice pem = {(const uint8_t *)key->pem, key->pem_size};
    int64_t now_ms = clock_utc_ms();
    if (token_verify(token, pem, now_ms, &claims, &reason) != ERR_ok) {
        return refuse(auth, reason.text, why);
    }
    int64_t end_ms = end_of(key, &claims);
    if (now_ms >= end_ms) {
        return refuse(auth, "the token has expired", why);
    }
    metric_add(auth->verified, 1);
    *asker = (struct asker){.role = claims.role, .is_told = true, .has_user = claims.has_user};
    if (claims.has_user) {
        asker->user = claims.user;
    }
    hash_token(token, hash);
    cache_put(auth, hash, end_ms, asker);
    return AUTH_KNOWN;
}

/* The token names a key that is not known: it may be a new one, or the first of all. */
static enum auth_verdict
judge_unknown_key(struct auth *auth, struct auth_waiter *waiter, struct err_text *why)
{
    bool is_fresh = auth->answered_us != 0 && clock_steady_us() - auth->answered_us < PAUSE_US;
    if (!waiter->has_asked && !is_fresh) {
        waiter->has_asked = true;
        if (ask_for_keys(auth)) {
            wait_for_keys(auth, waiter);
            return AUTH_WAITS;
        }
    }
    if (auth->failure.text[0] != 0) {
        *why = auth->failure;
        return AUTH_AWAY;
    }
    return refuse(auth, "the token is signed with a key that is not larder's", why);
}

enum auth_verdict
auth_judge(struct auth *auth, struct slice header, struct auth_waiter *waiter, struct asker *asker, struct err_text *why)
{
    struct slice token;
    uint8_t hash[HASH_SIZE];
    char kid[TOKEN_KID_SIZE];
    if (!read_header(header, &token)) {
        return refuse(auth, "must be " SCHEME " and a token", why);
    }
    if (token.size > TOKEN_MAX) {
        return refuse(auth, "the token is longer than any that is given out", why);
    }
    hash_token(token, hash);
    const struct cached *cached = cache_find(auth, hash);
    if (cached != NULL && clock_utc_ms() >= cached->expires_ms) {
        return refuse(auth, "the token has expired", why);
    }
    if (cached != NULL) {
        *asker = cached->asker;
        return AUTH_KNOWN;
    }
    if (!token_kid(token, kid)) {
        return refuse(auth, "this is no token of larder's", why);
    }
    const struct key *key = find_key(auth, kid);
    return key != NULL ? verify(auth, token, key, asker, why) : judge_unknown_key(auth, waiter, why);
}

void
auth_name(const struct asker *asker, char name[AUTH_NAME_SIZE])
{
    char user[ID_TEXT_SIZE];
    if (asker->has_user) {
        id_format(&asker->user, user);
        (void)snprintf(name, AUTH_NAME_SIZE, "user/%s", user);
    } else if (asker->is_told && asker->role != ROLE_ANONYMOUS) {
        (void)snprintf(name, AUTH_NAME_SIZE, "role/%s", role_name(asker->role));
    } else {
        (void)snprintf(name, AUTH_NAME_SIZE, "%s", role_name(ROLE_ANONYMOUS));
    }
}
