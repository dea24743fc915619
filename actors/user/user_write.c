/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Registering and changing a person, each in two halves when there is a password: what can be refused for how it looks is
 *           refused, the password is hashed beside the loop, and only then it is looked who there is, and written.
 *
 * MESSAGES  user.register, user.change
 *
 * STATE     A person's id is derived from the id of the registration.
 *
 * FAILURES  user_exists does not say by which of the two somebody is known, nor who it is; and who is known costs a registration as
 *           much time as who is not.
 *
 * LIMITS    What a person has can be replaced and not taken away, but by erasing all.
 */
#include <string.h>

#include <sodium.h>

#include "user_state.h"

/* What a registration and a change have in common. */
struct wish {
    struct wire_user_register data; /* what is given; the CPF is digits, the password is not looked at */
    char digits[USER_CPF_DIGITS + 1];
    enum role role; /* ROLE_COUNT: not given */
};

/* --- what can be refused at once --- */

/* The sentence that says what is wrong; NULL when all is well. */
static const char *
read_wish(struct wish *wish)
{
    struct wire_user_register *data = &wish->data;
    wish->role = ROLE_COUNT;
    if (WIRE_HAS(data, user_register, role)) {
        wish->role = role_find(data->role);
        if (!user_rules_is_role_of_person(wish->role)) {
            return "role: customer, employee or admin";
        }
    }
    if (WIRE_HAS(data, user_register, email) && !user_rules_email(data->email)) {
        return "email: this is no e-mail address";
    }
    if (WIRE_HAS(data, user_register, phone) && !user_rules_phone(data->phone)) {
        return "phone: digits, and + - ( ) and spaces";
    }
    if (WIRE_HAS(data, user_register, cpf)) {
        if (!user_rules_cpf(data->cpf, wish->digits)) {
            return "cpf: this is no CPF; it has 11 digits, of which the last two follow from the others";
        }
        data->cpf = slice_of(wish->digits);
    }
    return NULL;
}

/* A change as a registration has it; the wire's bounds of both are the same. */
static struct wire_user_register
data_of_change(const struct wire_user_change *change)
{
    struct wire_user_register data = {0};
    user_people_take(&user_register_body, &data, &user_change_body, change);
    return data;
}

/* Somebody else who is known by the e-mail address or the CPF; `n` is who may be. */
static err
find_other(struct user_actor *actor, const struct wire_user_register *data, int64_t n, struct user_row *other, bool *found)
{
    struct slice email = WIRE_HAS(data, user_register, email) ? data->email : (struct slice){0};
    struct slice cpf = WIRE_HAS(data, user_register, cpf) ? data->cpf : (struct slice){0};
    err code = user_people_find(actor, email, (struct slice){0}, other, found);
    if (code == ERR_ok && (!*found || other->n == n)) {
        code = user_people_find(actor, (struct slice){0}, cpf, other, found);
    }
    *found = *found && other->n != n;
    return code;
}

/* --- registering --- */

static void
set_password(struct wire_user_register *data, const char *hash)
{
    data->has &= ~(UINT64_C(1) << user_register_BIT_password | UINT64_C(1) << user_register_BIT_role);
    if (hash != NULL) {
        WIRE_SET(data, user_register, password, slice_of(hash));
    }
}

static err
finish_register(struct user_actor *actor, const struct user_caller *caller, struct wish *wish, const char *hash)
{
    struct user_row other;
    bool found = false;
    err code = find_other(actor, &wish->data, 0, &other, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        return user_refused(actor, caller, &other, ERR_user_exists);
    }
    struct user_person person = {.row = {.n = ++actor->last_n,
                                         .id = id_derive(&caller->request, "user"),
                                         .role = wish->role == ROLE_COUNT ? ROLE_CUSTOMER : wish->role,
                                         .created_ms = actor->batch->now_ms,
                                         .changed_ms = actor->batch->now_ms,
                                         .version = 1}};
    uint8_t hashes[2][USER_HASH_SIZE];
    struct user_hashes names;
    set_password(&wish->data, hash);
    user_people_seal(actor, &person, &wish->data, hashes, &names);
    code = user_store_insert(&actor->store, &person.row, &names);
    sodium_memzero(person.key, sizeof person.key);
    return code == ERR_ok ? user_done(actor, caller, &person.row) : code;
}

err
user_handle_register(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_register *body = item->body;
    struct user_caller caller = user_caller_of(actor, item);
    struct wish wish = {.data = *body};
    bool is_done = false;
    err code = user_recall(actor, &caller, &is_done);
    if (code != ERR_ok || is_done) {
        return code;
    }
    const char *fault = read_wish(&wish);
    if (fault == NULL && !WIRE_HAS(body, user_register, email) && !WIRE_HAS(body, user_register, cpf)) {
        fault = "an email or a cpf is needed";
    }
    if (fault != NULL) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_register.%s", fault);
        return ERR_ok;
    }
    if (wish.role != ROLE_COUNT && wish.role != ROLE_CUSTOMER && !user_rules_may_give(&caller.asker, wish.role)) {
        item_refuse(actor->batch, item, ERR_forbidden, "roles but customer are given by admins");
        return ERR_ok;
    }
    if (!WIRE_HAS(body, user_register, password)) {
        return finish_register(actor, &caller, &wish, NULL);
    }
    caller.subject = user_people_subject(WIRE_HAS(body, user_register, email) ? body->email : (struct slice){0},
                                         WIRE_HAS(body, user_register, cpf) ? wish.data.cpf : (struct slice){0});
    user_work_start(actor->batch, &caller, body->password, NULL, 0);
    return ERR_ok;
}

/* --- changing --- */

static bool
is_same(const struct wire_user_register *a, const struct wire_user_register *b)
{
    struct wire_buffer bytes_a = {0};
    struct wire_buffer bytes_b = {0};
    wire_encode(&user_register_body, a, &bytes_a);
    wire_encode(&user_register_body, b, &bytes_b);
    bool same = slice_equal(wire_buffer_slice(&bytes_a), wire_buffer_slice(&bytes_b));
    sodium_memzero(bytes_a.data, bytes_a.size);
    sodium_memzero(bytes_b.data, bytes_b.size);
    wire_buffer_fini(&bytes_a);
    wire_buffer_fini(&bytes_b);
    return same;
}

static err
write_change(struct user_actor *actor, struct user_person *person, const struct wish *wish, const char *hash)
{
    struct wire_user_register data = person->data;
    enum role role = wish->role == ROLE_COUNT ? person->row.role : wish->role;
    struct wire_user_register given = wish->data;
    set_password(&given, hash);
    user_people_take(&user_register_body, &data, &user_register_body, &given);
    if (role == person->row.role && is_same(&data, &person->data)) {
        return ERR_ok;
    }
    uint8_t hashes[2][USER_HASH_SIZE];
    struct user_hashes names;
    person->row.role = role;
    person->row.version++;
    person->row.changed_ms = actor->batch->now_ms;
    user_people_seal(actor, person, &data, hashes, &names);
    return user_store_update(&actor->store, &person->row, &names);
}

static err
finish_change(struct user_actor *actor, const struct user_caller *caller, const struct wire_user_change *change, const char *hash)
{
    struct wish wish = {.data = data_of_change(change)};
    struct user_person person;
    struct user_row other;
    bool found = false;
    (void)read_wish(&wish); /* it was looked at when it came */
    err code = user_store_find(&actor->store, &change->user, &person.row, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (!found || person.row.erased_ms > 0) {
        return user_refused(actor, caller, found ? &person.row : NULL, found ? ERR_user_erased : ERR_unknown_user);
    }
    if (WIRE_HAS(change, user_change, version) && change->version != person.row.version) {
        return user_refused(actor, caller, &person.row, ERR_version_conflict);
    }
    code = find_other(actor, &wish.data, person.row.n, &other, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        return user_refused(actor, caller, &other, ERR_user_exists);
    }
    if (!user_people_open(actor, &person)) {
        user_refuse(actor->batch, caller, ERR_internal, "what is kept of this person cannot be opened");
        return ERR_ok;
    }
    code = write_change(actor, &person, &wish, hash);
    return code == ERR_ok ? user_done(actor, caller, &person.row) : code;
}

err
user_handle_change(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_change *body = item->body;
    struct user_caller caller = user_caller_of(actor, item);
    struct wish wish = {.data = data_of_change(body)};
    bool is_done = false;
    if (!user_rules_may_change(&caller.asker, &body->user)) {
        bool may_see = user_rules_may_see(&caller.asker, &body->user) || item->role < ROLE_CUSTOMER;
        item_refuse(actor->batch, item, may_see ? ERR_forbidden : ERR_unknown_user, "%s",
                    may_see ? "people are changed by themselves or by admins" : err_words(ERR_unknown_user));
        return ERR_ok;
    }
    err code = user_recall(actor, &caller, &is_done);
    if (code != ERR_ok || is_done) {
        return code;
    }
    const char *fault = read_wish(&wish);
    if (fault != NULL) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_change.%s", fault);
        return ERR_ok;
    }
    if (wish.role != ROLE_COUNT && !user_rules_may_give(&caller.asker, wish.role)) {
        item_refuse(actor->batch, item, ERR_forbidden, "roles are given by admins");
        return ERR_ok;
    }
    if (!WIRE_HAS(body, user_change, password)) {
        return finish_change(actor, &caller, body, NULL);
    }
    caller.subject = id_hash(&body->user);
    user_work_start(actor->batch, &caller, body->password, NULL, 0);
    return ERR_ok;
}

/* --- the second half --- */

err
user_handle_hashed(struct user_actor *actor, const struct user_work *work, struct user_caller *caller)
{
    struct err_text why;
    bool is_done = false;
    err code = user_recall(actor, caller, &is_done);
    if (code != ERR_ok || is_done) {
        return code;
    }
    if (!work->is_done) {
        user_refuse(actor->batch, caller, ERR_overloaded, "there is no memory to hash a password now; try again later");
        return ERR_ok;
    }
    struct slice frame = {work->frame, work->frame_size};
    if (caller->op == OP_user_change) {
        struct wire_user_change change;
        code = wire_decode(&user_change_body, frame, &change, &why);
        return code == ERR_ok ? finish_change(actor, caller, &change, work->hash) : ERR_internal;
    }
    struct wish wish = {.role = ROLE_COUNT};
    code = wire_decode(&user_register_body, frame, &wish.data, &why);
    if (code != ERR_ok) {
        return ERR_internal;
    }
    (void)read_wish(&wish);
    return finish_register(actor, caller, &wish, work->hash);
}
