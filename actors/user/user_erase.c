/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Erasing a person for good, and proving it.
 *
 * MESSAGES  user.erase, user.erasure; emits user.erased
 *
 * STATE     One transaction deletes the person's key, the sealed data and the names to be found by, takes the marks off its requests,
 *           writes the proof and emits the event. Then the files are scrubbed: what they still held of it is overwritten, the log cut.
 *
 * FAILURES  Who is erased already gets the proof of then. While somebody else reads a snapshot the files cannot be scrubbed: it is
 *           tried each second, and at every start. What a start scrubs it cannot look for (db_scrub()): it does not know it any more.
 *
 * LIMITS    A server (MySQL) keeps old bytes in its logs and its pages until it writes over them, the key's among them for a while,
 *           though it is written over in its place before it is deleted: they say something only to whoever has the secret as well.
 *           Backups that were made before are their owner's matter.
 */
#include <sodium.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "user_state.h"

err
user_handle_erasure(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_get *body = item->body;
    struct user_caller caller = user_caller_of(actor, item);
    struct user_row row;
    struct wire_user_erasure proof;
    bool found = false;
    if (item->role < ROLE_CUSTOMER) {
        item_refuse(actor->batch, item, ERR_forbidden, "people are seen by themselves and by employees");
        return ERR_ok;
    }
    err code = user_rules_may_see(&caller.asker, &body->user) ? user_store_find(&actor->store, &body->user, &row, &found) : ERR_ok;
    if (code == ERR_ok && found) {
        code = user_proof_read(actor, &row, &proof, &found);
        if (code == ERR_ok && !found) {
            item_refuse(actor->batch, item, ERR_not_found, "this person is not erased");
            return ERR_ok;
        }
    }
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        item_answer(actor->batch, item, &proof);
    } else {
        item_refuse(actor->batch, item, ERR_unknown_user, "%s", err_words(ERR_unknown_user));
    }
    return ERR_ok;
}

/* --- erasing --- */

static err
erase(struct user_actor *actor, const struct item *item, struct user_person *person)
{
    const struct wire_user_erase *body = item->body;
    struct user_row *row = &person->row;
    struct user_hashes none = {0};
    struct user_erasure_row proof = {.n = row->n,
                                     .erased_ms = actor->batch->now_ms,
                                     .fields = user_people_fields(person),
                                     .event_seq = batch_next_seq(actor->batch)};
    if (WIRE_HAS(body, user_erase, reason)) {
        proof.reason_size = body->reason.size;
        memcpy(proof.reason, body->reason.data, body->reason.size);
    }
    row->sealed_size = 0;
    row->erased_ms = row->changed_ms = actor->batch->now_ms;
    row->version++;
    err code = user_store_add_traces(&actor->store, row->n, &actor->traces);
    if (code == ERR_ok) {
        code = user_store_update(&actor->store, row, &none);
    }
    if (code == ERR_ok && row->wrapped_size > 0) {
        code = user_store_delete_key(&actor->store, row->n);
    }
    if (code == ERR_ok) {
        code = user_store_forget_marks(&actor->store, row->n);
    }
    if (code == ERR_ok) {
        code = user_store_insert_erasure(&actor->store, &proof);
    }
    if (code != ERR_ok) {
        return code;
    }
    char key[ID_TEXT_SIZE];
    struct wire_user_fact fact = {0};
    id_format(&row->id, key);
    WIRE_SET(&fact, user_fact, user, row->id);
    WIRE_SET(&fact, user_fact, time, actor->batch->now_ms);
    batch_emit(actor->batch, EVENT_user_erased, slice_of(key), &fact, item);
    actor->is_erasing = true;
    return ERR_ok;
}

err
user_handle_erase(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_erase *body = item->body;
    struct user_caller caller = user_caller_of(actor, item);
    struct user_person person;
    bool is_done = false;
    bool found = false;
    if (!user_rules_may_change(&caller.asker, &body->user)) {
        bool may_see = user_rules_may_see(&caller.asker, &body->user) || item->role < ROLE_CUSTOMER;
        item_refuse(actor->batch, item, may_see ? ERR_forbidden : ERR_unknown_user, "%s",
                    may_see ? "people are erased by themselves or by admins" : err_words(ERR_unknown_user));
        return ERR_ok;
    }
    err code = user_recall(actor, &caller, &is_done);
    if (code != ERR_ok || is_done) {
        return code;
    }
    code = user_store_find(&actor->store, &body->user, &person.row, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (!found) {
        return user_refused(actor, &caller, NULL, ERR_unknown_user);
    }
    if (person.row.erased_ms == 0) {
        (void)user_people_open(actor, &person); /* what cannot be opened can be erased all the same */
        code = erase(actor, item, &person);
    }
    return code == ERR_ok ? user_done(actor, &caller, &person.row) : code;
}

/* --- files --- */

void
user_scrub(struct user_actor *actor)
{
    err code = db_scrub(actor_db(actor->actor), wire_buffer_slice(&actor->traces));
    actor->is_scrub_wanted = code != ERR_ok;
    if (code == ERR_ok) {
        sodium_memzero(actor->traces.data, actor->traces.size);
        actor->traces.size = actor->traces_committed = 0;
    } else {
        log_warn("files_not_scrubbed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("now", "tried again each second"));
    }
}
