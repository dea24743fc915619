/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Who asked, and what became of it: the answers of writing requests are kept under their ids, without anything personal. The
 *           kit's own table would keep a fingerprint of the whole body, from which a password could be guessed much faster than
 *           from its hash, and which would outlive an erasure.
 *
 * STATE     $request. ok always, a refusal only of a request that is asked again: it is final then.
 *
 * FAILURES  Another body or operation under the same id is idempotency_mismatch, as long as the person is not erased. A body that
 *           differs in nothing but the password is not told apart.
 *
 * LIMITS    A refusal that is about no person that is known (a malformed CPF, an unknown id, a role too small) is not kept: the same
 *           body is refused again.
 */
#include <string.h>

#include <sodium.h>

#include "user_state.h"

/* Of the body without its password. */
static void
mark_request(const struct user_actor *actor, struct batch *batch, const struct item *item, uint8_t mark[USER_MARK_SIZE])
{
    const struct wire_op *op = &wire_ops[item->op];
    void *body = batch_alloc(batch, op->request->size);
    memcpy(body, item->body, op->request->size);
    for (size_t i = 0; i < op->request->field_count; i++) {
        if (strcmp(op->request->fields[i].name, "password") == 0) {
            *(uint64_t *)body &= ~(UINT64_C(1) << i); /* `has` leads every body */
        }
    }
    struct wire_buffer frame = {0};
    wire_encode(op->request, body, &frame);
    user_seal_mark(&actor->secret, op->name, wire_buffer_slice(&frame), mark);
    sodium_memzero(frame.data, frame.size);
    wire_buffer_fini(&frame);
}

struct user_caller
user_caller_of(const struct user_actor *actor, struct batch *batch, struct item *item)
{
    struct user_caller caller = {.item = item,
                                 .request = item->id,
                                 .op = item->op,
                                 .is_again = batch_is_asked_again(batch, item),
                                 .asker = {.role = item->role, .has_user = item->has_user, .user = item->user}};
    if ((wire_ops[item->op].traits & OP_WRITES) != 0) {
        mark_request(actor, batch, item, caller.mark);
    }
    return caller;
}

/* --- saying --- */

void
user_answer(struct batch *batch, const struct user_caller *caller, const void *reply)
{
    struct waiter *waiter = caller->waiter;
    if (waiter != NULL) {
        waiter_answer(batch, &waiter, reply);
    } else {
        item_answer(batch, caller->item, reply);
    }
}

void
user_refuse(struct batch *batch, const struct user_caller *caller, err code, const char *detail)
{
    struct waiter *waiter = caller->waiter;
    struct problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    if (waiter != NULL) {
        waiter_refuse(batch, &waiter, code, &problem);
    } else {
        item_refuse_with(batch, caller->item, code, &problem);
    }
}

/* What was just said is a stored answer. */
static void
mark_replayed(struct batch *batch, const struct user_caller *caller)
{
    if (caller->waiter != NULL) {
        waiter_mark_replayed(caller->waiter);
    } else {
        struct item *item = caller->item;
        item_replay(batch, item, item->fingerprint, item_outcome(item), item_answered_frame(item));
    }
}

/* --- keeping --- */

static err
keep(struct user_actor *actor, const struct user_caller *caller, const struct user_row *row, err status)
{
    if (status != ERR_ok && !caller->is_again) {
        return ERR_ok;
    }
    struct user_request_row kept = {.n = ++actor->last_request,
                                    .request = caller->request,
                                    .op = caller->op,
                                    .person = row->n,
                                    .has_mark = row->erased_ms == 0,
                                    .status = status,
                                    .version = row->version};
    memcpy(kept.mark, caller->mark, sizeof kept.mark);
    return user_store_insert_request(&actor->store, &kept);
}

static struct user_ref
ref_of(const struct user_row *row, int64_t version)
{
    struct user_ref ref = {0};
    WIRE_SET(&ref, user_ref, user, row->id);
    WIRE_SET(&ref, user_ref, version, version);
    return ref;
}

err
user_done(struct user_actor *actor, struct batch *batch, const struct user_caller *caller, const struct user_row *row)
{
    if (caller->op == OP_user_erase) {
        struct user_erasure proof;
        bool found = false;
        err code = user_read_erasure(actor, row, &proof, &found);
        if (code != ERR_ok) {
            return code;
        }
        user_answer(batch, caller, &proof);
    } else {
        struct user_ref ref = ref_of(row, row->version);
        user_answer(batch, caller, &ref);
    }
    return keep(actor, caller, row, ERR_ok);
}

err
user_refused(struct user_actor *actor, struct batch *batch, const struct user_caller *caller, const struct user_row *row, err code)
{
    user_refuse(batch, caller, code, err_words(code));
    return row == NULL ? ERR_ok : keep(actor, caller, row, code);
}

/* --- asked again --- */

static err
say_again(struct user_actor *actor, struct batch *batch, const struct user_caller *caller, const struct user_request_row *kept)
{
    struct user_row row;
    bool found = false;
    err code = user_store_find_n(&actor->store, kept->person, &row, &found);
    if (code != ERR_ok || !found) {
        return code == ERR_ok ? ERR_internal : code;
    }
    if (kept->status != ERR_ok) {
        user_refuse(batch, caller, kept->status, err_words(kept->status));
    } else if (kept->op == OP_user_erase) {
        struct user_erasure proof;
        code = user_read_erasure(actor, &row, &proof, &found);
        if (code != ERR_ok || !found) {
            return code == ERR_ok ? ERR_internal : code;
        }
        user_answer(batch, caller, &proof);
    } else {
        struct user_ref ref = ref_of(&row, kept->version);
        user_answer(batch, caller, &ref);
    }
    mark_replayed(batch, caller);
    return ERR_ok;
}

err
user_recall(struct user_actor *actor, struct batch *batch, const struct user_caller *caller, bool *is_done)
{
    struct user_request_row kept;
    err code = user_store_find_request(&actor->store, &caller->request, &kept, is_done);
    if (code != ERR_ok || !*is_done) {
        return code;
    }
    bool is_other = kept.op != caller->op || (kept.has_mark && sodium_memcmp(kept.mark, caller->mark, sizeof kept.mark) != 0);
    if (is_other) {
        user_refuse(batch, caller, ERR_idempotency_mismatch, "this id was used before for another request");
        return ERR_ok;
    }
    return say_again(actor, batch, caller, &kept);
}
