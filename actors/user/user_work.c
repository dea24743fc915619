/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Passwords are hashed and compared on the thread beside the actor: Argon2id, the limits of libsodium's INTERACTIVE.
 *
 * STATE     A user_work per password that is under way: a copy of the request's body, overwritten before it is freed, and the waiter.
 *
 * FAILURES  Too many under way, or too many for the time that is left: overloaded, at once. One whose deadline has passed is not
 *           worked for. Memory for a hash that cannot be had is overloaded as well.
 *
 * LIMITS    About 60 ms and 64 MiB a password, one at a time: some 16 a second. They are shared out by the address that asks and the
 *           account that is named, whether there is one or not (turns.c).
 */
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "kit/base/memory.h"
#include "kit/telemetry/metrics.h"
#include "user_state.h"

_Static_assert(USER_PASSWORD_HASH_SIZE == crypto_pwhash_STRBYTES, "as libsodium has it");

static void
run(void *memory)
{
    struct user_work *work = memory;
    const char *password = (const char *)work->password.data;
    metric_add(work->hashed, 1);
    if (work->kind == USER_WORK_HASH) {
        work->is_done = crypto_pwhash_str(work->hash, password, work->password.size, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                                          crypto_pwhash_MEMLIMIT_INTERACTIVE) == 0;
    } else {
        work->is_done = crypto_pwhash_str_verify(work->hash, password, work->password.size) == 0;
    }
}

static bool
is_right(const void *memory)
{
    return ((const struct user_work *)memory)->is_done;
}

static void
discard(void *memory)
{
    struct user_work *work = memory;
    sodium_memzero(work, sizeof *work + work->frame_size);
    free(work);
}

void
user_work_start(struct batch *batch, const struct user_caller *caller, struct slice password, const char *hash, int64_t person)
{
    struct item *item = caller->item;
    struct user_work *work = memory_new(1, sizeof *work + item->frame.size);
    memcpy(work->frame, item->frame.data, item->frame.size);
    work->frame_size = item->frame.size;
    work->kind = hash == NULL ? USER_WORK_HASH : USER_WORK_VERIFY;
    work->caller = *caller;
    work->caller.item = NULL;
    work->hashed =
        metric(METRIC_COUNTER, "larder_user_passwords_hashed_total", "", "Passwords that were hashed, to be kept or compared.");
    work->person = person;
    work->password = (struct slice){work->frame + (password.data - item->frame.data), password.size};
    if (hash != NULL) {
        memcpy(work->hash, hash, strnlen(hash, sizeof work->hash - 1));
    }
    struct id caller_id = id_of_bytes(item->peer.data, item->peer.size);
    struct work wanted = {.id = item->id,
                          .caller = id_hash(&caller_id),
                          .subject = caller->subject,
                          .deadline_ms = item->deadline_ms,
                          .run = run,
                          .is_right = hash == NULL ? NULL : is_right,
                          .discard = discard,
                          .memory = work};
    if (!batch_work(batch, &wanted)) {
        discard(work);
        user_refuse(batch, caller, ERR_overloaded, "too many passwords wait to be looked at; try again later");
        return;
    }
    work->caller.waiter = item_defer(batch, item);
}
