/* SPDX-License-Identifier: MPL-2.0 */
/*
 * page: lists and their cursors
 *
 * PURPOSE
 *   Every list of the API has one shape, whatever its reply calls its elements. A cursor is the base64url of `shard:element`; to a
 *   client it means nothing but the page behind the one that it came with.
 *
 * FAILURES
 *   A cursor that does not decode to that form is refused. One that does is data like any other: its element is checked by the
 *   field that it fills, its shard by the caller.
 *
 * LIMITS
 *   An element's text has at most PAGE_TEXT_MAX bytes: a SKU, a number, a UUID.
 */
#include "page.h"

#include <stdio.h>

#include "base64url.h"
#include "field.h"

#define CURSOR_SIZE_MAX (PAGE_TEXT_MAX + 4) /* "255:" before the text */

err
page_cursor_read(struct slice text, struct page_cursor *cursor, struct err_text *why)
{
    uint8_t bytes[CURSOR_SIZE_MAX];
    size_t size = 0;
    size_t at = 0;
    *cursor = (struct page_cursor){0};
    bool is_ours = text.size <= BASE64URL_SIZE(sizeof bytes) && base64url_decode((const char *)text.data, text.size, bytes, &size);
    for (; is_ours && at < size && bytes[at] >= '0' && bytes[at] <= '9' && at < 3; at++) {
        cursor->shard = cursor->shard * 10 + (bytes[at] - '0');
    }
    if (!is_ours || at == 0 || at == size || bytes[at] != ':' || size - at - 1 > PAGE_TEXT_MAX) {
        return err_say(why, ERR_invalid_field, "cursor: is not one that was given out here");
    }
    cursor->size = size - at - 1;
    memcpy(cursor->text, bytes + at + 1, cursor->size);
    return ERR_ok;
}

void
page_cursor_write(const struct page_cursor *cursor, struct wire_buffer *out)
{
    char plain[CURSOR_SIZE_MAX + 8];
    char text[BASE64URL_SIZE(sizeof plain)];
    int lead = snprintf(plain, sizeof plain, "%d:", cursor->shard);
    size_t size = (size_t)lead + cursor->size;
    memcpy(plain + lead, cursor->text, cursor->size);
    base64url_encode((const uint8_t *)plain, size, text);
    wire_buffer_append(out, text, BASE64URL_SIZE(size));
}

static const struct wire_field *
find_kind(const struct wire_body *body, enum wire_kind kind)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if (body->fields[i].kind == kind) {
            return &body->fields[i];
        }
    }
    return NULL;
}

size_t
page_field_text(const struct wire_body *body, const void *source, struct slice name, char text[PAGE_TEXT_MAX])
{
    char id_text[ID_TEXT_SIZE];
    const void *value = field_value(body, source, name);
    if (value == NULL) {
        return 0;
    }
    unsigned kind = field_find(body, name)->kind;
    if (kind == WIRE_I64) {
        return (size_t)snprintf(text, PAGE_TEXT_MAX, "%lld", (long long)*(const int64_t *)value);
    }
    if (kind == WIRE_ID) {
        id_format(value, id_text);
        memcpy(text, id_text, ID_TEXT_SIZE - 1);
        return ID_TEXT_SIZE - 1;
    }
    const struct slice *bytes = value;
    if (kind != WIRE_NAME || bytes->size > PAGE_TEXT_MAX) {
        return 0;
    }
    memcpy(text, bytes->data, bytes->size);
    return bytes->size;
}

void
page_add(struct page *page, const struct route_page *how, const struct wire_body *body, const void *reply, struct wire_buffer *out)
{
    const struct wire_field *field = find_kind(body, WIRE_LIST);
    const struct wire_field *more = find_kind(body, WIRE_BOOL);
    struct wire_list list = *(const struct wire_list *)(const void *)((const char *)reply + field->offset);
    union json_any element;
    if (page->count == 0 && out->size == 0) {
        wire_buffer_append(out, "{\"data\":[", 9);
    }
    for (uint32_t left = list.count; wire_list_next(&list, field->element, &element); left--) {
        if (page->count++ > 0) {
            wire_buffer_append(out, ",", 1);
        }
        json_write(field->element, &element, out);
        if (left == 1 && how != NULL) {
            page->last.size = page_field_text(field->element, &element, slice_of(how->element), page->last.text);
        }
    }
    page->has_more = more != NULL && *(const bool *)(const void *)((const char *)reply + more->offset);
}

void
page_end(const struct page *page, struct wire_buffer *out)
{
    const char *end = page->has_more ? "],\"has_more\":true}" : "],\"has_more\":false}";
    wire_buffer_append(out, end, strlen(end));
}
