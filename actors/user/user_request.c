/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Who asked, and what became of it: the answers of writing requests are kept under their ids, without anything personal. The
 *           kit's own table would keep a fingerprint of the whole body, from which a password could be guessed much faster than
 *           from its hash, and which would outlive an erasure.
 *
 * STATE     $request. ok always, a refusal only of a request that is asked again: it is final then.
 *
 * FAILURES  Another body or operation under the same id is idempotency_mismatch. A body that differs in nothing but the password is
 *           not told apart; nor is, once the person was erased, another registration, or another change or erasure of that person.
 *
 * LIMITS    A refusal that is about no person that is known (a malformed CPF, an unknown id, a role too small) is not kept: the same
 *           body is refused again.
 */
#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "user_state.h"

/* The fields as they lay in the tables of those who made marks of the encoded body. Frozen, whatever becomes of bodies.def. */
static const char *const old_orders[OP_COUNT] = {
    [OP_user_register] = "name email phone address cpf role",
    [OP_user_change] = "user name email phone address cpf role version",
    [OP_user_erase] = "user reason",
};

static uint64_t
password_bit(const struct wire_body *body)
{
    size_t i = 0;
    while (i < body->field_count && strcmp(body->fields[i].name, "password") != 0) {
        i++;
    }
    return i < body->field_count ? UINT64_C(1) << i : 0;
}

/* Takes the named field over to the end of `to`, if the body has it; the number of the field. */
static size_t
take_field(const struct wire_body *body, struct slice name, struct wire_field *to, size_t count)
{
    size_t i = 0;
    while (i < body->field_count && !slice_equal(slice_of(body->fields[i].name), name)) {
        i++;
    }
    if (i < body->field_count) {
        to[count] = body->fields[i];
    }
    return i;
}

/* Encodes a body as it was encoded by those: a table of its own has the fields in that order, and `has` is told anew. A field that
 * they did not have makes it another body. */
static void
encode_as_before(enum op op, const void *body, struct wire_buffer *frame)
{
    const struct wire_body *now = wire_ops[op].request;
    struct wire_field fields[64];
    struct wire_body then = *now;
    uint64_t has = 0;
    uint64_t told = 0;
    uint64_t copy[(sizeof(struct wire_user_register) + sizeof(struct wire_user_change)) / sizeof(uint64_t)];
    assert(now->size <= sizeof copy);
    memcpy(&has, body, sizeof has);
    then.fields = fields;
    then.field_count = 0;
    then.required = 0;
    for (const char *at = old_orders[op]; at != NULL && *at != '\0'; at += strcspn(at, " "), at += *at == ' ') {
        size_t number = take_field(now, (struct slice){(const uint8_t *)at, strcspn(at, " ")}, fields, then.field_count);
        if (number < now->field_count) {
            told |= (has >> number & 1U) << then.field_count++;
            has &= ~(UINT64_C(1) << number);
        }
    }
    if ((has & ~password_bit(now)) == 0) {
        memcpy(copy, body, now->size);
        memcpy(copy, &told, sizeof told);
        wire_encode(&then, copy, frame);
    }
    sodium_memzero(copy, sizeof copy);
}

/* Of the body without its password: the keyed hash of what it says, and the one that earlier versions made of its bytes. */
static void
mark_request(const struct user_actor *actor, const struct item *item, uint8_t marks[2][USER_MARK_SIZE])
{
    const struct wire_op *op = &wire_ops[item->op];
    uint64_t hash = wire_hash(op->request, item->frame, "password");
    uint8_t bytes[sizeof hash];
    struct wire_buffer frame = {0};
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(hash >> 8 * i);
    }
    user_seal_mark(&actor->secret, op->name, (struct slice){bytes, sizeof bytes}, marks[FINGERPRINT_NAMED]);
    encode_as_before(item->op, item->body, &frame);
    user_seal_mark(&actor->secret, op->name, wire_buffer_slice(&frame), marks[FINGERPRINT_RAW]);
    if (frame.size > 0) {
        sodium_memzero(frame.data, frame.size);
    }
    wire_buffer_fini(&frame);
}

struct user_caller
user_caller_of(const struct user_actor *actor, struct item *item)
{
    struct user_caller caller = {.item = item,
                                 .request = item->id,
                                 .op = item->op,
                                 .is_again = batch_is_asked_again(actor->batch, item),
                                 .asker = {.role = item->role, .has_user = item->has_user, .user = item->user}};
    if ((wire_ops[item->op].traits & OP_WRITES) != 0) {
        mark_request(actor, item, caller.marks);
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
    struct wire_problem problem = {0};
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
        item_replay(batch, item, &item->fingerprint, item_outcome(item), item_answered_frame(item));
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
                                    .mark_kind = FINGERPRINT_NAMED,
                                    .status = status,
                                    .version = row->version};
    memcpy(kept.mark, caller->marks[FINGERPRINT_NAMED], sizeof kept.mark);
    return user_store_insert_request(&actor->store, &kept);
}

static struct wire_user_ref
ref_of(const struct user_row *row, int64_t version)
{
    struct wire_user_ref ref = {0};
    WIRE_SET(&ref, user_ref, user, row->id);
    WIRE_SET(&ref, user_ref, version, version);
    return ref;
}

err
user_done(struct user_actor *actor, const struct user_caller *caller, const struct user_row *row)
{
    if (caller->op == OP_user_erase) {
        struct wire_user_erasure proof;
        bool found = false;
        err code = user_proof_read(actor, row, &proof, &found);
        if (code != ERR_ok) {
            return code;
        }
        user_answer(actor->batch, caller, &proof);
    } else {
        struct wire_user_ref ref = ref_of(row, row->version);
        user_answer(actor->batch, caller, &ref);
    }
    return keep(actor, caller, row, ERR_ok);
}

err
user_refused(struct user_actor *actor, const struct user_caller *caller, const struct user_row *row, err code)
{
    user_refuse(actor->batch, caller, code, err_words(code));
    return row == NULL ? ERR_ok : keep(actor, caller, row, code);
}

/* --- asked again --- */

static err
say_again(struct user_actor *actor, const struct user_caller *caller, const struct user_request_row *kept)
{
    struct user_row row;
    bool found = false;
    err code = user_store_find_n(&actor->store, kept->person, &row, &found);
    if (code != ERR_ok || !found) {
        return code == ERR_ok ? ERR_internal : code;
    }
    if (kept->status != ERR_ok) {
        user_refuse(actor->batch, caller, kept->status, err_words(kept->status));
    } else if (kept->op == OP_user_erase) {
        struct wire_user_erasure proof;
        code = user_proof_read(actor, &row, &proof, &found);
        if (code != ERR_ok || !found) {
            return code == ERR_ok ? ERR_internal : code;
        }
        user_answer(actor->batch, caller, &proof);
    } else {
        struct wire_user_ref ref = ref_of(&row, kept->version);
        user_answer(actor->batch, caller, &ref);
    }
    mark_replayed(actor->batch, caller);
    return ERR_ok;
}

/* What is left to compare when the mark is gone with the person: whom it names. */
static err
names_person(struct user_actor *actor, const struct user_caller *caller, int64_t person, bool *names)
{
    const struct id *user = NULL;
    struct user_row row;
    *names = true;
    if (caller->item != NULL && caller->op == OP_user_change) {
        user = &((const struct wire_user_change *)caller->item->body)->user;
    } else if (caller->item != NULL && caller->op == OP_user_erase) {
        user = &((const struct wire_user_erase *)caller->item->body)->user;
    }
    if (user == NULL) {
        return ERR_ok;
    }
    err code = user_store_find(&actor->store, user, &row, names);
    *names = *names && row.n == person;
    return code;
}

static err
is_of(struct user_actor *actor, const struct user_caller *caller, const struct user_request_row *kept, bool *is_same)
{
    if (kept->op != caller->op) {
        *is_same = false;
        return ERR_ok;
    }
    if (!kept->has_mark) {
        return names_person(actor, caller, kept->person, is_same);
    }
    bool is_known = kept->mark_kind == FINGERPRINT_RAW || kept->mark_kind == FINGERPRINT_NAMED;
    *is_same = is_known && sodium_memcmp(kept->mark, caller->marks[kept->mark_kind], sizeof kept->mark) == 0;
    return ERR_ok;
}

err
user_recall(struct user_actor *actor, const struct user_caller *caller, bool *is_done)
{
    struct user_request_row kept;
    bool is_same = false;
    err code = user_store_find_request(&actor->store, &caller->request, &kept, is_done);
    if (code != ERR_ok || !*is_done) {
        return code;
    }
    code = is_of(actor, caller, &kept, &is_same);
    if (code == ERR_ok && !is_same) {
        user_refuse(actor->batch, caller, ERR_idempotency_mismatch, "this id was used before for another request");
        return ERR_ok;
    }
    return code == ERR_ok ? say_again(actor, caller, &kept) : code;
}
