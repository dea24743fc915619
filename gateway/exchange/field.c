/* SPDX-License-Identifier: MPL-2.0 */
/*
 * field: a field of a body by its name
 *
 * PURPOSE
 *   What the gateway does with a request or a reply beside passing it on is said in routes.def by the names of fields. Here a name
 *   becomes a place in the struct.
 *
 * LIMITS
 *   A body's fields are walked.
 */
#include "field.h"

const struct wire_field *
field_find(const struct wire_body *body, struct slice name)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if (slice_equal(slice_of(body->fields[i].name), name)) {
            return &body->fields[i];
        }
    }
    return NULL;
}

const void *
field_value(const struct wire_body *body, const void *source, struct slice name)
{
    const struct wire_field *field = field_find(body, name);
    bool is_set = field != NULL && (*(const uint64_t *)source >> (field - body->fields) & 1U) != 0;
    return is_set ? (const char *)source + field->offset : NULL;
}
