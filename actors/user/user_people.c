/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Persons as they are sealed and opened. What is sealed is a user_register as it goes over the wire, its password
 *           replaced by its hash, its role left out: so a person can be opened by every later version that reads that body.
 *
 * FAILURES  A person that cannot be opened was changed by hand, or its key was; the log has its id.
 *
 * LIMITS    Everything of a person fits USER_SEALED_MAX: the bounds of the fields see to it.
 */
#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "kit/telemetry/log.h"
#include "user_state.h"

static const char *const field_names[] = {"name", "email", "phone", "address", "cpf", "password", "key", NULL};

const char *
user_people_field_name(int number)
{
    return field_names[number];
}

bool
user_people_open(const struct user_actor *actor, struct user_person *person)
{
    const struct user_row *row = &person->row;
    struct err_text why = {"its key does not open it"};
    size_t size = 0;
    person->data = (struct wire_user_register){0};
    if (row->erased_ms > 0) {
        return true;
    }
    bool is_open = user_seal_unwrap(&actor->secret, &row->id, (struct slice){row->wrapped, row->wrapped_size}, person->key) &&
                   user_seal_open(person->key, &row->id, (struct slice){row->sealed, row->sealed_size}, person->plain, &size) &&
                   wire_decode(&user_register_body, (struct slice){person->plain, size}, &person->data, &why) == ERR_ok;
    if (!is_open) {
        log_error("person_cannot_be_opened", LOG_ID("user", &row->id), LOG_TEXT("why", why.text));
        person->data = (struct wire_user_register){0};
    }
    return is_open;
}

static void
name_person(const struct user_actor *actor, const struct wire_user_register *data, uint8_t hashes[2][USER_HASH_SIZE],
            struct user_hashes *names)
{
    char lower[USER_EMAIL_MAX];
    *names = (struct user_hashes){0};
    if (WIRE_HAS(data, user_register, email)) {
        user_seal_lookup(&actor->secret, "email", user_rules_email_lower(data->email, lower), hashes[0]);
        names->email = hashes[0];
    }
    if (WIRE_HAS(data, user_register, cpf)) {
        user_seal_lookup(&actor->secret, "cpf", data->cpf, hashes[1]);
        names->cpf = hashes[1];
    }
}

void
user_people_seal(const struct user_actor *actor, struct user_person *person, const struct wire_user_register *data,
                 uint8_t hashes[2][USER_HASH_SIZE], struct user_hashes *names)
{
    struct user_row *row = &person->row;
    struct wire_buffer plain = {0};
    if (row->wrapped_size == 0) {
        user_seal_make_key(person->key);
        user_seal_wrap(&actor->secret, &row->id, person->key, row->wrapped);
        row->wrapped_size = sizeof row->wrapped;
    }
    wire_encode(&user_register_body, data, &plain);
    assert(plain.size + USER_SEAL_MORE <= sizeof row->sealed);
    user_seal_close(person->key, &row->id, wire_buffer_slice(&plain), row->sealed);
    row->sealed_size = plain.size + USER_SEAL_MORE;
    sodium_memzero(plain.data, plain.size);
    wire_buffer_fini(&plain);
    name_person(actor, data, hashes, names);
}

void
user_people_take(const struct wire_body *into, void *to, const struct wire_body *of, const void *from)
{
    uint64_t has = 0;
    uint64_t given = 0;
    memcpy(&has, to, sizeof has);
    memcpy(&given, from, sizeof given);
    for (size_t i = 0; i < of->field_count; i++) {
        for (size_t k = 0; k < into->field_count; k++) {
            const struct wire_field *field = &of->fields[i];
            if ((given >> i & 1U) != 0 && strcmp(field->name, into->fields[k].name) == 0) {
                assert(field->kind == WIRE_STR || field->kind == WIRE_NAME);
                memcpy((uint8_t *)to + into->fields[k].offset, (const uint8_t *)from + field->offset, sizeof(struct slice));
                has |= UINT64_C(1) << k;
            }
        }
    }
    memcpy(to, &has, sizeof has);
}

struct wire_user_card
user_people_card(const struct user_person *person)
{
    const struct user_row *row = &person->row;
    struct wire_user_card card = {0};
    user_people_take(&user_card_body, &card, &user_register_body, &person->data);
    WIRE_SET(&card, user_card, user, row->id);
    WIRE_SET(&card, user_card, role, slice_of(role_name(row->role)));
    WIRE_SET(&card, user_card, created, row->created_ms);
    WIRE_SET(&card, user_card, changed, row->changed_ms);
    WIRE_SET(&card, user_card, version, row->version);
    if (row->erased_ms > 0) {
        WIRE_SET(&card, user_card, erased, row->erased_ms);
    }
    return card;
}

int64_t
user_people_fields(const struct user_person *person)
{
    const struct wire_user_register *data = &person->data;
    int64_t fields = USER_FIELD_KEY;
    fields |= WIRE_HAS(data, user_register, name) ? USER_FIELD_NAME : 0;
    fields |= WIRE_HAS(data, user_register, email) ? USER_FIELD_EMAIL : 0;
    fields |= WIRE_HAS(data, user_register, phone) ? USER_FIELD_PHONE : 0;
    fields |= WIRE_HAS(data, user_register, address) ? USER_FIELD_ADDRESS : 0;
    fields |= WIRE_HAS(data, user_register, cpf) ? USER_FIELD_CPF : 0;
    fields |= WIRE_HAS(data, user_register, password) ? USER_FIELD_PASSWORD : 0;
    return fields;
}

uint64_t
user_people_subject(struct slice email, struct slice cpf)
{
    char lower[USER_EMAIL_MAX];
    struct slice name = email.size > 0 ? user_rules_email_lower(email, lower) : cpf;
    struct id id = id_of_bytes(name.data, name.size);
    return id_hash(&id);
}

err
user_people_find(struct user_actor *actor, struct slice email, struct slice cpf, struct user_row *row, bool *found)
{
    uint8_t hash[USER_HASH_SIZE];
    char lower[USER_EMAIL_MAX];
    err code = ERR_ok;
    *found = false;
    if (email.size > 0) {
        user_seal_lookup(&actor->secret, "email", user_rules_email_lower(email, lower), hash);
        code = user_store_find_email(&actor->store, hash, row, found);
    }
    if (code == ERR_ok && !*found && cpf.size > 0) {
        user_seal_lookup(&actor->secret, "cpf", cpf, hash);
        code = user_store_find_cpf(&actor->store, hash, row, found);
    }
    return code;
}
