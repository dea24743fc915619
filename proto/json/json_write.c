/* SPDX-License-Identifier: MPL-2.0 */
/*
 * json_write: structs as JSON text
 *
 * PURPOSE
 *   Appends a struct of bodies.def to a buffer as JSON, driven by the struct's table. No tree is built: this is on the path of
 *   every answer.
 *
 * FAILURES
 *   None. Text that is not UTF-8 (it can only come from outside the codec) is replaced character by character.
 *
 * LIMITS
 *   Depth is bounded by the tables. An element of a list is decoded into a local struct of the largest body.
 */
#include "json.h"

#include "base64url.h"
#include "utf8.h"

#define NUMBER_DIGITS 20

static void
put(struct wire_buffer *out, const char *text, size_t size)
{
    wire_buffer_append(out, text, size);
}

static void
put_number(int64_t value, struct wire_buffer *out)
{
    char text[NUMBER_DIGITS];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (value < 0) {
        text[--at] = '-';
    }
    put(out, text + at, sizeof text - at);
}

static void
put_escaped(uint8_t character, struct wire_buffer *out)
{
    static const char HEX[16] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', HEX[character >> 4], HEX[character & 15]};
    switch (character) {
    case '"':
        put(out, "\\\"", 2);
        break;
    case '\\':
        put(out, "\\\\", 2);
        break;
    case '\n':
        put(out, "\\n", 2);
        break;
    case '\t':
        put(out, "\\t", 2);
        break;
    default:
        put(out, text, sizeof text);
    }
}

void
json_write_text(struct slice text, struct wire_buffer *out)
{
    size_t from = 0; /* of the run that needs no change */
    size_t at = 0;
    put(out, "\"", 1);
    while (at < text.size) {
        uint8_t character = text.data[at];
        bool is_plain = character >= 0x20 && character < 0x7f && character != '"' && character != '\\';
        size_t length = is_plain ? 1 : utf8_character(text.data + at, text.size - at);
        if (is_plain || length > 1) {
            at += length;
            continue;
        }
        if (at > from) {
            wire_buffer_append(out, text.data + from, at - from);
        }
        if (length == 1) {
            put_escaped(character, out);
        } else {
            put(out, "\xef\xbf\xbd", 3);
        }
        from = ++at;
    }
    if (at > from) {
        wire_buffer_append(out, text.data + from, at - from);
    }
    put(out, "\"", 1);
}

static void
put_id(const struct id *id, struct wire_buffer *out)
{
    char text[ID_TEXT_SIZE + 1];
    id_format(id, text + 1);
    text[0] = '"';
    text[ID_TEXT_SIZE] = '"';
    put(out, text, sizeof text);
}

static void
put_time(int64_t utc_ms, struct wire_buffer *out)
{
    char text[JSON_TIME_SIZE + 2];
    json_time_format(utc_ms, text + 1);
    text[0] = '"';
    text[JSON_TIME_SIZE + 1] = '"';
    put(out, text, sizeof text);
}

static void
put_bytes(struct slice bytes, struct wire_buffer *out)
{
    char text[(size_t)4 * 48];
    put(out, "\"", 1);
    for (size_t at = 0; at < bytes.size; at += (size_t)3 * 48) {
        size_t size = bytes.size - at < (size_t)3 * 48 ? bytes.size - at : (size_t)3 * 48;
        base64url_encode(bytes.data + at, size, text);
        put(out, text, BASE64URL_SIZE(size));
    }
    put(out, "\"", 1);
}

static void
put_value(const struct wire_field *field, const char *value, struct wire_buffer *out)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        if (*(const bool *)(const void *)value) {
            put(out, "true", 4);
        } else {
            put(out, "false", 5);
        }
        break;
    case WIRE_I64:
        put_number(*(const int64_t *)(const void *)value, out);
        break;
    case WIRE_TIME:
        put_time(*(const int64_t *)(const void *)value, out);
        break;
    case WIRE_STR:
    case WIRE_NAME:
        json_write_text(*(const struct slice *)(const void *)value, out);
        break;
    case WIRE_BYTES:
        put_bytes(*(const struct slice *)(const void *)value, out);
        break;
    case WIRE_ID:
        put_id((const struct id *)(const void *)value, out);
        break;
    case WIRE_LIST:
        json_write_list(*(const struct wire_list *)(const void *)value, field->element, out);
        break;
    case WIRE_MAP:
        json_write(field->element, value, out);
        break;
    }
}

void
json_write(const struct wire_body *body, const void *source, struct wire_buffer *out)
{
    uint64_t has = *(const uint64_t *)source;
    char lead = '{';
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        if ((has >> i & 1U) == 0) {
            continue;
        }
        put(out, (const char[]){lead, '"'}, 2);
        put(out, field->name, field->name_size);
        put(out, "\":", 2);
        put_value(field, (const char *)source + field->offset, out);
        lead = ',';
    }
    if (lead == '{') {
        put(out, "{", 1);
    }
    put(out, "}", 1);
}

void
json_write_list(struct wire_list list, const struct wire_body *element, struct wire_buffer *out)
{
    union json_any value;
    bool is_first = true;
    put(out, "[", 1);
    while (wire_list_next(&list, element, &value)) {
        if (!is_first) {
            put(out, ",", 1);
        }
        is_first = false;
        json_write(element, &value, out);
    }
    put(out, "]", 1);
}
