/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Who asks: bearer tokens, verified with the public keys of the user actor.
 *
 * Everything here belongs to one thread, as its upstream does. Nothing blocks: a token that names a key that is not known yet waits
 * for the keys, and is judged once more when they have come.
 */
#ifndef LARDER_AUTH_H
#define LARDER_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "role.h"
#include "kit/settings/settings.h"
#include "exchange/upstream.h"
#include "wire.h"

#define AUTH_NAME_SIZE 64

struct auth;

/* In whose name a request is asked. */
struct asker {
    enum role role;
    bool is_told; /* the actor is told role and user; otherwise it takes the asker for an operator */
    bool has_user;
    struct id user;
};

enum auth_verdict {
    AUTH_KNOWN,   /* `asker` is written */
    AUTH_REFUSED, /* no token that is good here */
    AUTH_AWAY,    /* it cannot be told, as the keys cannot be had */
    AUTH_WAITS    /* for the keys: `ready` will be called exactly once, never before this returns */
};

/* A token that is judged. Zero-initialise it but for `ready`; it stays where it is while it waits. */
struct auth_waiter {
    void (*ready)(struct auth_waiter *waiter);

    bool has_asked; /* the keys have been asked for since it came: there is no second time */
    bool is_waiting;
    struct auth_waiter *next;
    struct auth_waiter *previous;
};

struct auth *
auth_create(const struct settings *settings, struct upstream *upstream);

/* Nobody may wait any more: upstream_fail_all() before. */
void
auth_destroy(struct auth **auth);

/* Asks for the keys when it is time: each minute once a token was shown. */
void
auth_tick(struct auth *auth, int64_t now_us);

/* The clock was set: the user actor may have other keys soon. */
void
auth_hurry(struct auth *auth, int64_t now_us);

/* Judges the value of an Authorization header. AUTH_REFUSED and AUTH_AWAY write a sentence that holds nothing of it. After AUTH_WAITS
 * call it again with the same waiter when that is ready: then it does not wait. */
enum auth_verdict
auth_judge(struct auth *auth, struct slice header, struct auth_waiter *waiter, struct asker *asker, struct err_text *why);

/* `ready` is not called any more. */
void
auth_forget(struct auth *auth, struct auth_waiter *waiter);

/* The same for all tokens of one person: what keyed requests are told apart by. "anonymous" for an asker without a token. */
void
auth_name(const struct asker *asker, char name[AUTH_NAME_SIZE]);

#endif
