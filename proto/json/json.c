/* SPDX-License-Identifier: MPL-2.0 */
/*
 * json: JSON text, path and query into structs
 *
 * PURPOSE
 *   Fills a struct of bodies.def from what an HTTP request brings: the segments of its path, its query and a JSON body read by
 *   jansson. The struct's table says what a field is called, its type and its bounds, so that nothing is accepted here that
 *   wire_decode() would refuse. A route may bring names of its own (struct json_name).
 *
 * STATE
 *   A reader keeps jansson's tree and the encoded lists, to which the struct's slices point, until it is used again.
 *
 * FAILURES
 *   Every refusal begins with the path of the field ("lines[3].quantity: ..."), also where jansson itself gave up: the member that
 *   it was in is found by reading the text once more.
 *
 * LIMITS
 *   Depth is bounded by the tables (jansson's own bound of 2,048 levels comes first). Bytes cannot be given as JSON.
 */
#include "json.h"

#include <assert.h>
#include <stdio.h>

#define NAME_SHOWN_MAX 64
#define NUMBER_TEXT_MAX 20

/* One value on its way to its field. */
struct member {
    const struct wire_body *body;
    uint64_t *target;
    const struct wire_field *field; /* NULL: taken and not used */
    struct slice given;             /* the name it came under */
    int64_t lo;
    bool digits_allowed; /* a text of digits is a number here */
};

static err
read_object(struct json_reader *reader, const struct wire_body *body, uint64_t *target, json_t *object, struct err_text *why);

static int
shown(struct slice name)
{
    return (int)(name.size < NAME_SHOWN_MAX ? name.size : NAME_SHOWN_MAX);
}

/* An empty slice may have no bytes at all, which printf must not see. */
static const char *
text_of(struct slice name)
{
    return name.size > 0 ? (const char *)name.data : "";
}

static err
refuse(const struct json_reader *reader, struct slice name, const char *what, struct err_text *why)
{
    return err_say(why, ERR_invalid_field, "%s%.*s: %s", reader->path, shown(name), text_of(name), what);
}

static const struct wire_field *
find_field(const struct wire_body *body, struct slice name)
{
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        if (field->name_size == name.size && memcmp(field->name, name.data, name.size) == 0) {
            return field;
        }
    }
    return NULL;
}

static uint64_t
bit_of(const struct wire_body *body, const struct wire_field *field)
{
    return UINT64_C(1) << (field - body->fields);
}

static char *
place_of(const struct member *member)
{
    return (char *)member->target + member->field->offset;
}

static void
mark(const struct member *member)
{
    *member->target |= bit_of(member->body, member->field);
}

/* --- values --- */

static err
set_number(const struct json_reader *reader, const struct member *member, int64_t value, struct err_text *why)
{
    char what[96];
    if (value < member->lo || value > member->field->hi) {
        (void)snprintf(what, sizeof what, "must be from %lld to %lld", (long long)member->lo, (long long)member->field->hi);
        return refuse(reader, member->given, what, why);
    }
    memcpy(place_of(member), &value, sizeof value);
    mark(member);
    return ERR_ok;
}

static err
set_digits(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    uint64_t value = 0;
    bool is_negative = text.size > 0 && text.data[0] == '-';
    size_t from = is_negative ? 1 : 0;
    if (text.size == from) {
        return refuse(reader, member->given, "must be a whole number", why);
    }
    for (size_t i = from; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return refuse(reader, member->given, "must be a whole number", why);
        }
        if (__builtin_mul_overflow(value, 10U, &value) || __builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) {
            return refuse(reader, member->given, "is larger than any number taken here", why);
        }
    }
    if (value > INT64_MAX) {
        return refuse(reader, member->given, "is larger than any number taken here", why);
    }
    return set_number(reader, member, is_negative ? -(int64_t)value : (int64_t)value, why);
}

static err
set_slice(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    char what[96];
    const struct wire_field *field = member->field;
    if (field->kind == WIRE_NAME && text.size > 0 && text.size <= WIRE_NAME_MAX && !wire_is_name(text)) {
        return refuse(reader, member->given, "may hold only letters, digits, '-' and '_'", why);
    }
    if ((int64_t)text.size < field->lo || (int64_t)text.size > field->hi) {
        (void)snprintf(what, sizeof what, "must have %lld to %lld bytes", (long long)field->lo, (long long)field->hi);
        return refuse(reader, member->given, what, why);
    }
    if (field->kind == WIRE_STR && !wire_is_utf8(text)) {
        return refuse(reader, member->given, "must be UTF-8 without NUL", why);
    }
    memcpy(place_of(member), &text, sizeof text);
    mark(member);
    return ERR_ok;
}

static err
set_id(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    struct id id;
    if (!id_parse((const char *)text.data, text.size, &id)) {
        return refuse(reader, member->given, "must be the text of a UUID", why);
    }
    memcpy(place_of(member), &id, sizeof id);
    mark(member);
    return ERR_ok;
}

static err
set_time(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    int64_t utc_ms = 0;
    if (!json_time_parse(text, &utc_ms)) {
        return refuse(reader, member->given, "must be a time such as 2026-01-31T23:59:59.999Z", why);
    }
    return set_number(reader, member, utc_ms, why);
}

static err
set_bool(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    bool is_true = slice_equal(text, slice_of("true"));
    if (!is_true && !slice_equal(text, slice_of("false"))) {
        return refuse(reader, member->given, "must be true or false", why);
    }
    memcpy(place_of(member), &is_true, sizeof is_true);
    mark(member);
    return ERR_ok;
}

/* --- from text --- */

static err
read_text(const struct json_reader *reader, const struct member *member, struct slice text, struct err_text *why)
{
    switch ((enum wire_kind)member->field->kind) {
    case WIRE_BOOL:
        return set_bool(reader, member, text, why);
    case WIRE_I64:
        return set_digits(reader, member, text, why);
    case WIRE_TIME:
        return set_time(reader, member, text, why);
    case WIRE_STR:
    case WIRE_NAME:
        return set_slice(reader, member, text, why);
    case WIRE_ID:
        return set_id(reader, member, text, why);
    case WIRE_BYTES:
    case WIRE_LIST:
    case WIRE_MAP:
        break;
    }
    return refuse(reader, member->given, "cannot be given here", why);
}

/* --- from JSON --- */

static err
read_elements(struct json_reader *reader, const struct member *member, json_t *array, struct err_text *why)
{
    size_t path_size = reader->path_size;
    size_t used = reader->lists_used;
    union json_any element;
    struct wire_list list = {0};
    assert(used < WIRE_DEPTH_MAX);
    struct wire_buffer *buffer = &reader->lists[reader->lists_used++];
    buffer->size = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        json_t *value = json_array_get(array, i);
        char *end = reader->path + path_size;
        int size = snprintf(end, JSON_PATH_MAX - path_size, "%.*s[%zu].", shown(member->given), text_of(member->given), i);
        reader->path_size = path_size + (size_t)size < JSON_PATH_MAX ? path_size + (size_t)size : JSON_PATH_MAX - 1;
        if (!json_is_object(value)) {
            reader->path[reader->path_size - 1] = 0;
            return refuse(reader, (struct slice){0}, "must be an object", why);
        }
        err failed = read_object(reader, member->field->element, &element.has, value, why);
        if (failed != ERR_ok) {
            return failed;
        }
        wire_list_add(&list, member->field->element, &element, buffer);
        reader->lists_used = used + 1;
        reader->path_size = path_size;
        reader->path[path_size] = 0;
    }
    wire_list_end(&list, buffer);
    memcpy(place_of(member), &list, sizeof list);
    mark(member);
    return ERR_ok;
}

static err
read_list(struct json_reader *reader, const struct member *member, json_t *array, struct err_text *why)
{
    char what[96];
    int64_t count = (int64_t)json_array_size(array);
    if (count < member->field->lo || count > member->field->hi) {
        (void)snprintf(what, sizeof what, "must have %lld to %lld elements", (long long)member->field->lo,
                       (long long)member->field->hi);
        return refuse(reader, member->given, what, why);
    }
    return read_elements(reader, member, array, why);
}

static err
read_map(struct json_reader *reader, const struct member *member, json_t *object, struct err_text *why)
{
    size_t path_size = reader->path_size;
    int size = snprintf(reader->path + path_size, JSON_PATH_MAX - path_size, "%.*s.", shown(member->given), text_of(member->given));
    reader->path_size = path_size + (size_t)size < JSON_PATH_MAX ? path_size + (size_t)size : JSON_PATH_MAX - 1;
    err failed = read_object(reader, member->field->element, (uint64_t *)(void *)place_of(member), object, why);
    if (failed != ERR_ok) {
        return failed;
    }
    reader->path_size = path_size;
    reader->path[path_size] = 0;
    mark(member);
    return ERR_ok;
}

static err
read_string(const struct json_reader *reader, const struct member *member, json_t *value, struct err_text *why)
{
    struct slice text = {(const uint8_t *)json_string_value(value), json_string_length(value)};
    return read_text(reader, member, text, why);
}

static err
read_number(const struct json_reader *reader, const struct member *member, json_t *value, struct err_text *why)
{
    if (json_is_integer(value)) {
        return set_number(reader, member, json_integer_value(value), why);
    }
    if (json_is_string(value) && member->digits_allowed) {
        return read_string(reader, member, value, why);
    }
    return refuse(reader, member->given, "must be a whole number", why);
}

static err
read_json(struct json_reader *reader, const struct member *member, json_t *value, struct err_text *why)
{
    const char *wanted = NULL;
    switch ((enum wire_kind)member->field->kind) {
    case WIRE_BOOL:
        if (json_is_boolean(value)) {
            return set_bool(reader, member, slice_of(json_is_true(value) ? "true" : "false"), why);
        }
        wanted = "must be true or false";
        break;
    case WIRE_I64:
        return read_number(reader, member, value, why);
    case WIRE_TIME:
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_ID:
        if (json_is_string(value)) {
            return read_string(reader, member, value, why);
        }
        wanted = "must be text";
        break;
    case WIRE_LIST:
        if (json_is_array(value)) {
            return read_list(reader, member, value, why);
        }
        wanted = "must be a list";
        break;
    case WIRE_MAP:
        if (json_is_object(value)) {
            return read_map(reader, member, value, why);
        }
        wanted = "must be an object";
        break;
    case WIRE_BYTES:
        wanted = "cannot be given as JSON";
        break;
    }
    return refuse(reader, member->given, wanted, why);
}

/* --- names --- */

static const struct json_name *
find_name(const struct json_name *names, struct slice given)
{
    for (; names != NULL && names->given != NULL; names++) {
        if (names->how != JSON_FIXED && strlen(names->given) == given.size && memcmp(names->given, given.data, given.size) == 0) {
            return names;
        }
    }
    return NULL;
}

static void
follow_name(struct json_reader *reader, const struct json_name *name, struct member *member)
{
    member->digits_allowed = name->how == JSON_COUNT_TEXT;
    if (name->how == JSON_ELEMENT) {
        member->body = reader->element_field->element;
        member->target = &reader->element.has;
        member->field = find_field(member->body, member->given);
    } else {
        member->field = find_field(reader->body, slice_of(name->field));
    }
    assert(member->field != NULL);
    member->lo = member->field->lo;
    if ((name->how == JSON_COUNT || name->how == JSON_COUNT_TEXT) && member->lo < 1) {
        member->lo = 1;
    }
}

/* Finds the field of a name at the top of the struct. */
static err
find_member(struct json_reader *reader, struct slice given, struct member *member, struct err_text *why)
{
    const struct json_name *name = find_name(reader->names, given);
    *member = (struct member){.body = reader->body, .target = reader->target, .given = given};
    if (name != NULL && name->how == JSON_SKIPPED) {
        return ERR_ok;
    }
    if (name != NULL && name->how != JSON_HIDDEN) {
        follow_name(reader, name, member);
    } else {
        member->field = name == NULL ? find_field(reader->body, given) : NULL;
        if (member->field == NULL) {
            return refuse(reader, given, "is not known here", why);
        }
        member->lo = member->field->lo;
    }
    if ((*member->target & bit_of(member->body, member->field)) != 0) {
        return refuse(reader, given, "is given already", why);
    }
    return ERR_ok;
}

/* The name that a caller knows a field by. */
static struct slice
name_of_field(const struct json_reader *reader, const struct wire_field *field)
{
    for (const struct json_name *name = reader->names; name != NULL && name->given != NULL; name++) {
        bool is_renamed = name->how == JSON_RENAMED || name->how == JSON_COUNT || name->how == JSON_COUNT_TEXT;
        if (is_renamed && field->need == REQUIRED && strcmp(name->field, field->name) == 0) {
            return slice_of(name->given);
        }
    }
    return slice_of(field->name);
}

static err
refuse_missing(const struct json_reader *reader, const struct wire_body *body, uint64_t has, struct err_text *why)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if ((body->required & ~has) >> i & 1U) {
            return refuse(reader, name_of_field(reader, &body->fields[i]), "is missing", why);
        }
    }
    return ERR_ok;
}

/* --- objects --- */

static err
read_object(struct json_reader *reader, const struct wire_body *body, uint64_t *target, json_t *object, struct err_text *why)
{
    memset(target, 0, body->size);
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        struct member member = {.body = body, .target = target, .given = slice_of(json_object_iter_key(at))};
        member.field = find_field(body, member.given);
        if (member.field == NULL) {
            return refuse(reader, member.given, "is not known here", why);
        }
        member.lo = member.field->lo;
        err failed = read_json(reader, &member, json_object_iter_value(at), why);
        if (failed != ERR_ok) {
            return failed;
        }
    }
    return refuse_missing(reader, body, *target, why);
}

/* The member that `end` lies in, and the last string that begins before it, which may be the name of the next. jansson tells where
 * it gave up, not in which member. */
static struct slice
member_before(struct slice text, size_t end, struct slice *last)
{
    struct slice name = {0};
    struct slice string = {0};
    for (size_t at = 0; at < text.size && at < end; at++) {
        if (text.data[at] == ':') {
            name = string;
        }
        if (text.data[at] != '"') {
            continue;
        }
        size_t from = ++at;
        while (at < text.size && text.data[at] != '"') {
            at += text.data[at] == '\\' ? 2 : 1;
        }
        string = (struct slice){text.data + from, (at < text.size ? at : text.size) - from};
    }
    *last = string;
    return name;
}

static err
refuse_document(const struct json_reader *reader, struct slice text, const json_error_t *error, struct err_text *why)
{
    struct slice last;
    struct slice name = member_before(text, error->position > 0 ? (size_t)error->position : 0, &last);
    enum json_error_code code = json_error_code(error);
    if (code == json_error_numeric_overflow) {
        return refuse(reader, name, "is larger than any number taken here", why);
    }
    if (code == json_error_duplicate_key) {
        return refuse(reader, last, "is given twice", why);
    }
    return err_say(why, ERR_malformed, "%.*s%sthe body is not JSON: %s (line %d, column %d)", shown(name), text_of(name),
                   name.size > 0 ? ": " : "", error->text, error->line, error->column);
}

/* --- the reader --- */

static void
set_fixed(struct json_reader *reader, const struct json_name *name)
{
    struct err_text why;
    struct member member = {.body = reader->body, .target = reader->target, .given = slice_of(name->given)};
    member.field = find_field(reader->body, slice_of(name->field));
    assert(member.field != NULL);
    err failed = set_slice(reader, &member, member.given, &why);
    assert(failed == ERR_ok);
    (void)failed;
}

void
json_reader_begin(struct json_reader *reader, const struct wire_body *body, void *target, const struct json_name *names)
{
    json_reader_clear(reader);
    reader->body = body;
    reader->target = target;
    reader->names = names;
    reader->element_field = NULL;
    reader->lists_used = 0;
    reader->path_size = 0;
    reader->path[0] = 0;
    memset(target, 0, body->size);
    for (const struct json_name *name = names; name != NULL && name->given != NULL; name++) {
        if (name->how == JSON_FIXED) {
            set_fixed(reader, name);
        }
        if (name->how == JSON_ELEMENT && reader->element_field == NULL) {
            reader->element_field = find_field(body, slice_of(name->field));
            assert(reader->element_field != NULL && reader->element_field->kind == WIRE_LIST);
            memset(&reader->element, 0, reader->element_field->element->size);
        }
    }
}

err
json_reader_text(struct json_reader *reader, struct slice name, struct slice value, struct err_text *why)
{
    struct member member;
    err failed = find_member(reader, name, &member, why);
    if (failed != ERR_ok || member.field == NULL) {
        return failed;
    }
    return read_text(reader, &member, value, why);
}

err
json_reader_object(struct json_reader *reader, struct slice text, struct err_text *why)
{
    json_error_t error;
    json_reader_clear(reader);
    reader->root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (reader->root == NULL) {
        return refuse_document(reader, text, &error, why);
    }
    if (!json_is_object(reader->root)) {
        return err_say(why, ERR_malformed, "the body must be a JSON object");
    }
    for (void *at = json_object_iter(reader->root); at != NULL; at = json_object_iter_next(reader->root, at)) {
        struct member member;
        err failed = find_member(reader, slice_of(json_object_iter_key(at)), &member, why);
        if (failed == ERR_ok && member.field != NULL) {
            failed = read_json(reader, &member, json_object_iter_value(at), why);
        }
        if (failed != ERR_ok) {
            return failed;
        }
    }
    return ERR_ok;
}

err
json_reader_end(struct json_reader *reader, struct err_text *why)
{
    if (reader->element_field != NULL) {
        const struct wire_field *field = reader->element_field;
        struct member member = {.body = reader->body, .target = reader->target, .field = field};
        struct wire_buffer *buffer = &reader->lists[reader->lists_used++];
        struct wire_list list = {0};
        err failed = refuse_missing(reader, field->element, reader->element.has, why);
        if (failed != ERR_ok) {
            return failed;
        }
        buffer->size = 0;
        wire_list_add(&list, field->element, &reader->element, buffer);
        wire_list_end(&list, buffer);
        memcpy(place_of(&member), &list, sizeof list);
        mark(&member);
    }
    return refuse_missing(reader, reader->body, *reader->target, why);
}

void
json_reader_clear(struct json_reader *reader)
{
    json_decref(reader->root);
    reader->root = NULL;
}

void
json_reader_fini(struct json_reader *reader)
{
    json_reader_clear(reader);
    for (size_t i = 0; i < WIRE_DEPTH_MAX; i++) {
        wire_buffer_fini(&reader->lists[i]);
    }
    *reader = (struct json_reader){0};
}
