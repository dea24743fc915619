/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Reads a frame into a struct, driven by the tables of wire.c. What it does not know it refuses, with the name of the field
 *   and what is wrong with it; fields that the table does not have are skipped where the body may grow.
 *
 *   Fields that come in the order of bodies.def are found by one comparison. A list is read through once to check every
 *   element, into nothing, and again by wire_list_next(), this time into the caller's struct.
 *
 * STATE
 *   None. Nothing is allocated; slices point into the frame.
 *
 * FAILURES
 *   ERR_malformed: the bytes are not msgpack, end too early or too late, hold a key that is not text, or are nested deeper than
 *   WIRE_DEPTH_MAX. ERR_invalid_field: everything about a field. Any size or count that a head announces is compared with what
 *   is left of the frame before it is believed, so the work is bounded by the frame and no byte outside of it is read.
 *
 * LIMITS
 *   A frame of WIRE_FRAME_MAX bytes. Unknown fields are walked over, not judged: their text may be anything, and they may be
 *   given twice.
 */
#include "wire.h"

#include <assert.h>

#include "wire_token.h"

#define QUOTED_NAME_MAX 40

static const char *const token_words[] = {
    [TOKEN_CUT] = "a value that is cut off",
    [TOKEN_INVALID] = "a byte that msgpack does not have",
    [TOKEN_NIL] = "nil",
    [TOKEN_BOOL] = "true or false",
    [TOKEN_INTEGER] = "a whole number",
    [TOKEN_HUGE] = "a whole number",
    [TOKEN_FLOAT] = "a number with a fraction",
    [TOKEN_TEXT] = "text",
    [TOKEN_BYTES] = "bytes",
    [TOKEN_EXTENSION] = "an extension",
    [TOKEN_LIST] = "a list",
    [TOKEN_MAP] = "a map",
};

/* --- refusals --- */

static err
refuse(const struct reader *reader, const struct wire_body *body, const struct wire_field *field, const char *words)
{
    return err_say(reader->why, ERR_invalid_field, "%s.%s: %s", body->name, field->name, words);
}

static err
refuse_token(const struct reader *reader, const struct wire_body *body, const struct wire_field *field, const struct token *token)
{
    static const char *const wanted[] = {
        [WIRE_BOOL] = "true or false", [WIRE_I64] = "a whole number", [WIRE_TIME] = "a whole number (UTC milliseconds)",
        [WIRE_STR] = "text",           [WIRE_NAME] = "text",          [WIRE_BYTES] = "bytes",
        [WIRE_ID] = "16 bytes",        [WIRE_LIST] = "a list",        [WIRE_MAP] = "a map",
    };
    const char *got = token_words[token->kind];
    if (token->kind == TOKEN_CUT) {
        return err_say(reader->why, ERR_malformed, "%s.%s: frame ends inside the value", body->name, field->name);
    }
    if (token->kind == TOKEN_INVALID) {
        return err_say(reader->why, ERR_malformed, "%s.%s: %s", body->name, field->name, got);
    }
    return err_say(reader->why, ERR_invalid_field, "%s.%s: %s where %s is needed", body->name, field->name, got, wanted[field->kind]);
}

static err
refuse_number(const struct reader *reader, const struct wire_body *body, const struct wire_field *field, const struct token *token)
{
    const char *above = token->kind == TOKEN_HUGE ? "more than " : "";
    return err_say(reader->why, ERR_invalid_field, "%s.%s: %s%lld is not between %lld and %lld", body->name, field->name, above,
                   (long long)token->number, (long long)field->lo, (long long)field->hi);
}

static err
refuse_size(const struct reader *reader, const struct wire_body *body, const struct wire_field *field, int64_t size)
{
    const char *unit = field->kind == WIRE_LIST ? "elements" : "bytes";
    return err_say(reader->why, ERR_invalid_field, "%s.%s: %lld %s where %lld to %lld are allowed", body->name, field->name,
                   (long long)size, unit, (long long)field->lo, (long long)field->hi);
}

static err
refuse_map(const struct reader *reader, const struct wire_body *body, enum token_kind kind)
{
    if (kind == TOKEN_CUT) {
        return err_say(reader->why, ERR_malformed, "%s: frame ends inside the map", body->name);
    }
    return err_say(reader->why, ERR_malformed, "%s: %s where a map is needed", body->name, token_words[kind]);
}

static err
refuse_key(const struct reader *reader, const struct wire_body *body, const struct token *key)
{
    if (key->kind == TOKEN_CUT) {
        return refuse_map(reader, body, TOKEN_CUT);
    }
    return err_say(reader->why, ERR_malformed, "%s: %s where a field's name is needed", body->name, token_words[key->kind]);
}

static err
refuse_unknown(const struct reader *reader, const struct wire_body *body, struct slice name)
{
    int size = name.size > QUOTED_NAME_MAX ? QUOTED_NAME_MAX : (int)name.size;
    return err_say(reader->why, ERR_invalid_field, "%s.%.*s%s: no such field", body->name, size, (const char *)name.data,
                   name.size > QUOTED_NAME_MAX ? "..." : "");
}

static err
refuse_element(const struct reader *reader, const struct wire_body *body, const struct wire_field *field, const struct token *token)
{
    if (token->kind == TOKEN_CUT || token->kind == TOKEN_INVALID) {
        return refuse_token(reader, body, field, token);
    }
    return err_say(reader->why, ERR_invalid_field, "%s.%s: an element is %s where a map is needed", body->name, field->name,
                   token_words[token->kind]);
}

static err
refuse_missing(const struct reader *reader, const struct wire_body *body, uint64_t missing)
{
    return refuse(reader, body, &body->fields[__builtin_ctzll(missing)], "missing");
}

/* --- values --- */

/* Walks over a value that the table does not know. `open[depth]` is how many values are still to come on that level. */
err
wire_skip(struct reader *reader, const struct wire_body *body)
{
    uint64_t open[WIRE_DEPTH_MAX + 1] = {1};
    int depth = 0;
    while (depth >= 0) {
        if (open[depth] == 0) {
            depth--;
            continue;
        }
        open[depth]--;
        struct token token;
        enum token_kind kind = token_read(reader, &token);
        if (kind == TOKEN_CUT) {
            return err_say(reader->why, ERR_malformed, "%s: frame ends inside a field", body->name);
        }
        if (kind == TOKEN_INVALID) {
            return err_say(reader->why, ERR_malformed, "%s: %s", body->name, token_words[kind]);
        }
        if (kind == TOKEN_LIST || kind == TOKEN_MAP) {
            if (depth == WIRE_DEPTH_MAX) {
                return err_say(reader->why, ERR_malformed, "%s: nested deeper than %d levels", body->name, WIRE_DEPTH_MAX);
            }
            open[++depth] = (uint64_t)token.number * (kind == TOKEN_MAP ? 2 : 1);
        }
    }
    return ERR_ok;
}

/* Where a field goes, or nowhere while a list is being checked. */
static inline void
put(void *target, const struct wire_field *field, const void *value, size_t size)
{
    if (target != NULL) {
        memcpy((uint8_t *)target + field->offset, value, size);
    }
}

static err
read_bool(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target)
{
    struct token token;
    if (token_read(reader, &token) != TOKEN_BOOL) {
        return refuse_token(reader, body, field, &token);
    }
    bool truth = token.number != 0;
    put(target, field, &truth, sizeof truth);
    return ERR_ok;
}

static err
read_number(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target)
{
    struct token token;
    enum token_kind kind = token_read(reader, &token);
    if (kind != TOKEN_INTEGER && kind != TOKEN_HUGE) {
        return refuse_token(reader, body, field, &token);
    }
    if (kind == TOKEN_HUGE || token.number < field->lo || token.number > field->hi) {
        return refuse_number(reader, body, field, &token);
    }
    put(target, field, &token.number, sizeof token.number);
    return ERR_ok;
}

static err
read_id(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target)
{
    struct token token;
    if (token_read(reader, &token) != TOKEN_BYTES) {
        return refuse_token(reader, body, field, &token);
    }
    if (token.bytes.size != ID_SIZE) {
        return refuse(reader, body, field, "not 16 bytes");
    }
    put(target, field, token.bytes.data, ID_SIZE);
    return ERR_ok;
}

static err
read_bytes(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target)
{
    struct token token;
    if (token_read(reader, &token) != (field->kind == WIRE_BYTES ? TOKEN_BYTES : TOKEN_TEXT)) {
        return refuse_token(reader, body, field, &token);
    }
    int64_t size = (int64_t)token.bytes.size;
    if (size < field->lo || size > field->hi) {
        return refuse_size(reader, body, field, size);
    }
    if (field->kind == WIRE_NAME && !wire_is_name(token.bytes)) {
        return refuse(reader, body, field, "only letters, digits, - and _ are allowed");
    }
    if (field->kind == WIRE_STR && !wire_is_utf8(token.bytes)) {
        bool has_nul = memchr(token.bytes.data, 0, token.bytes.size) != NULL;
        return refuse(reader, body, field, has_nul ? "holds a NUL" : "not UTF-8");
    }
    put(target, field, &token.bytes, sizeof token.bytes);
    return ERR_ok;
}

/* --- maps --- */

static err
read_entries(struct reader *reader, const struct wire_body *body, int64_t count, void *target, int depth);

static err
read_list(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target, int depth)
{
    struct token token;
    if (token_read(reader, &token) != TOKEN_LIST) {
        return refuse_token(reader, body, field, &token);
    }
    if (token.number < field->lo || token.number > field->hi) {
        return refuse_size(reader, body, field, token.number);
    }
    struct wire_list list = {.data = reader->at, .count = (uint32_t)token.number};
    for (uint32_t i = 0; i < list.count; i++) {
        if (token_read(reader, &token) != TOKEN_MAP) {
            return refuse_element(reader, body, field, &token);
        }
        err code = read_entries(reader, field->element, token.number, NULL, depth + 1);
        if (code != ERR_ok) {
            return code;
        }
    }
    list.size = (size_t)(reader->at - list.data);
    put(target, field, &list, sizeof list);
    return ERR_ok;
}

static err
read_embedded(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target, int depth)
{
    struct token token;
    if (token_read(reader, &token) != TOKEN_MAP) {
        return refuse_token(reader, body, field, &token);
    }
    void *place = target == NULL ? NULL : (uint8_t *)target + field->offset;
    return read_entries(reader, field->element, token.number, place, depth + 1);
}

static err
read_value(struct reader *reader, const struct wire_body *body, const struct wire_field *field, void *target, int depth)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        return read_bool(reader, body, field, target);
    case WIRE_I64:
    case WIRE_TIME:
        return read_number(reader, body, field, target);
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        return read_bytes(reader, body, field, target);
    case WIRE_ID:
        return read_id(reader, body, field, target);
    case WIRE_LIST:
        return read_list(reader, body, field, target, depth);
    case WIRE_MAP:
        return read_embedded(reader, body, field, target, depth);
    }
    return ERR_internal;
}

/* The entries of a map whose head is read. The depth is the table's, so a limit on it guards against a table that holds itself. */
static err
read_entries(struct reader *reader, const struct wire_body *body, int64_t count, void *target, int depth)
{
    assert(depth <= WIRE_DEPTH_MAX);
    uint64_t has = 0;
    size_t expected = 0;
    for (int64_t i = 0; i < count; i++) {
        struct token key;
        if (token_read(reader, &key) != TOKEN_TEXT) {
            return refuse_key(reader, body, &key);
        }
        size_t index = find_field(body, key.bytes, expected);
        if (index == body->field_count && body->growth == CLOSED) {
            return refuse_unknown(reader, body, key.bytes);
        }
        if (index < body->field_count && (has >> index & 1) != 0) {
            return refuse(reader, body, &body->fields[index], "given twice");
        }
        err code = ERR_ok;
        if (index == body->field_count) {
            code = wire_skip(reader, body);
        } else {
            code = read_value(reader, body, &body->fields[index], target, depth);
            has |= UINT64_C(1) << index;
            expected = index + 1;
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    if ((body->required & ~has) != 0) {
        return refuse_missing(reader, body, body->required & ~has);
    }
    if (target != NULL) {
        memcpy(target, &has, sizeof has);
    }
    return ERR_ok;
}

/* --- the frame --- */

err
wire_decode(const struct wire_body *body, struct slice frame, void *target, struct err_text *why)
{
    if (frame.size == 0) {
        return err_say(why, ERR_malformed, "%s: the frame is empty", body->name);
    }
    if (frame.size > WIRE_FRAME_MAX) {
        return err_say(why, ERR_malformed, "%s: a frame of %zu bytes, at most %d are taken", body->name, frame.size, WIRE_FRAME_MAX);
    }
    struct reader reader = {frame.data, frame.data + frame.size, why};
    struct token token;
    if (token_read(&reader, &token) != TOKEN_MAP) {
        return refuse_map(&reader, body, token.kind);
    }
    memset(target, 0, body->size);
    err code = read_entries(&reader, body, token.number, target, 0);
    if (code == ERR_ok && reader.at != reader.end) {
        return err_say(why, ERR_malformed, "%s: %zu bytes behind the map", body->name, bytes_left(&reader));
    }
    return code;
}

bool
wire_list_next(struct wire_list *list, const struct wire_body *element, void *target)
{
    if (list->count == 0) {
        return false;
    }
    struct reader reader = {list->data, list->data + list->size, NULL};
    struct token token;
    memset(target, 0, element->size);
    bool is_checked = token_read(&reader, &token) == TOKEN_MAP && read_entries(&reader, element, token.number, target, 0) == ERR_ok;
    list->size = is_checked ? bytes_left(&reader) : 0;
    list->count = is_checked ? list->count - 1 : 0;
    list->data = reader.at;
    return is_checked;
}
