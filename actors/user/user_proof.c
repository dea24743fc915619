/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The proof of an erasure, as it is told: who was erased and when, what there was of him, and the event that said so.
 *
 * STATE     $erasure, written by user_erase.c once for a person, and never changed.
 *
 * FAILURES  Errors of the database go up.
 */
#include "user_state.h"

err
user_proof_read(struct user_actor *actor, const struct user_row *row, struct wire_user_erasure *proof, bool *found)
{
    struct user_erasure_row kept;
    struct wire_list list = {0};
    err code = user_store_find_erasure(&actor->store, row->n, &kept, found);
    if (code != ERR_ok || !*found) {
        return code;
    }
    *proof = (struct wire_user_erasure){0};
    actor->page.size = 0;
    wire_buffer_append(&actor->page, kept.reason, kept.reason_size);
    size_t reason_size = kept.reason_size;
    for (int i = 0; user_people_field_name(i) != NULL; i++) {
        if ((kept.fields & (INT64_C(1) << i)) != 0) {
            struct wire_user_erased_field field = {0};
            WIRE_SET(&field, user_erased_field, field, slice_of(user_people_field_name(i)));
            wire_list_add(&list, &user_erased_field_body, &field, &actor->page);
        }
    }
    wire_list_end(&list, &actor->page);
    WIRE_SET(proof, user_erasure, user, row->id);
    WIRE_SET(proof, user_erasure, erased, kept.erased_ms);
    WIRE_SET(proof, user_erasure, fields, list);
    WIRE_SET(proof, user_erasure, event, kept.event_seq);
    if (reason_size > 0) {
        WIRE_SET(proof, user_erasure, reason, ((struct slice){actor->page.data, reason_size}));
    }
    return ERR_ok;
}
