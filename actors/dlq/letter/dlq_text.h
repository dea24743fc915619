/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A letter's message as text, field by field, and back.
 *
 * A field of a nested map is "price.amount", one of a list's element "lines[0].quantity". Values are as JSON has them, without
 * quotation marks: numbers, true and false, times in RFC 3339 UTC, ids as UUIDs; bytes in hexadecimal digits. `body` is the
 * message's descriptor; NULL: the frame is JSON, shown by its top-level members, and cannot be changed here.
 */
#ifndef LARDER_DLQ_TEXT_H
#define LARDER_DLQ_TEXT_H

#include "kit/base/arena.h"
#include "wire.h"

#define DLQ_FIELDS_MAX 64

/* The list of letter_field for a frame; its bytes lie in the arena. A frame that does not decode is shown by one field, "body". Of
 * more than DLQ_FIELDS_MAX the last says how many were left out. */
struct wire_list
dlq_text_fields(const struct wire_body *body, struct slice frame, struct arena *arena);

/* Applies a list of letter_field to the frame: `edited`, in the arena. An empty value takes an optional field away, unless it is a
 * text that may be empty. ERR_invalid_field names the field that is unknown, given twice, or has a value that it cannot have.
 * Fields that this version does not know are not in the edited frame. ERR_not_editable: there is no descriptor, or the frame does
 * not decode. */
MUST_CHECK err
dlq_text_apply(const struct wire_body *body, struct slice frame, struct wire_list changes, struct arena *arena, struct slice *edited,
               struct err_text *why);

/* "quantity: 10 -> 12; product: donut -> bagel", cut to fit; "" when both show the same. */
void
dlq_text_diff(const struct wire_body *body, struct slice before, struct slice after, struct arena *arena, char *text, size_t size);

#endif
