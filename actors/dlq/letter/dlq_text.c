/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A message's body as lines of text and back: see dlq_text.h. One walk over the descriptor shows, another changes.
 *
 * STATE     None; what is made lies in the arena.
 *
 * FAILURES  Refusals name the field as it is shown. A frame that does not decode is shown as it is and cannot be changed by fields.
 *
 * LIMITS    DLQ_FIELDS_MAX lines of 4,096 bytes; names of 64. Elements of a list can be changed, not added or taken away. It is no
 *           second json.c: that builds structs of whole documents, under a route's names and in a route's words; here a message that
 *           there is changes at paths. What both read is the text of one value, and of that the rules differ: bytes, times with an
 *           offset and numbers that are too large are taken or refused otherwise.
 */
#include "dlq_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "dlq_letter.h"
#include "json.h"

#define VALUE_MAX 4096
#define NAME_SIZE 65
#define PATH_SIZE 256

/* --- lines --- */

struct lines {
    struct arena *arena;
    struct wire_buffer bytes;
    struct wire_list list;
    size_t left_out;
};

static void
add_line(struct lines *lines, const char *name, struct slice value)
{
    char cut_name[NAME_SIZE];
    char cut[VALUE_MAX + 1];
    struct wire_letter_field line = {0};
    if (lines->list.count >= DLQ_FIELDS_MAX - 1) {
        lines->left_out++;
        return;
    }
    dlq_copy(cut_name, sizeof cut_name, slice_of(name[0] == '\0' ? "\"\"" : name));
    WIRE_SET(&line, letter_field, name, slice_of(cut_name));
    if (value.size > VALUE_MAX) {
        dlq_copy(cut, sizeof cut, value);
        value = slice_of(cut);
    }
    WIRE_SET(&line, letter_field, value, value);
    wire_list_add(&lines->list, &letter_field_body, &line, &lines->bytes);
}

static void
add_hex(struct lines *lines, const char *name, struct slice bytes)
{
    static const char digits[] = "0123456789abcdef";
    char text[VALUE_MAX + 1];
    size_t size = bytes.size < VALUE_MAX / 2 ? bytes.size : VALUE_MAX / 2;
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[bytes.data[i] >> 4];
        text[2 * i + 1] = digits[bytes.data[i] & 0xfU];
    }
    add_line(lines, name, (struct slice){(const uint8_t *)text, 2 * size});
}

/* What is no message that we know. */
static void
add_raw(struct lines *lines, struct slice frame)
{
    if (wire_is_utf8(frame)) {
        add_line(lines, "body", frame);
    } else {
        add_hex(lines, "body", frame);
    }
}

static struct wire_list
end_lines(struct lines *lines)
{
    if (lines->left_out > 0) {
        char text[64];
        struct wire_letter_field line = {0};
        (void)snprintf(text, sizeof text, "and %zu more", lines->left_out);
        WIRE_SET(&line, letter_field, name, slice_of("..."));
        WIRE_SET(&line, letter_field, value, slice_of(text));
        wire_list_add(&lines->list, &letter_field_body, &line, &lines->bytes);
    }
    struct slice copy = arena_copy(lines->arena, wire_buffer_slice(&lines->bytes));
    wire_buffer_fini(&lines->bytes);
    lines->list.data = copy.data;
    lines->list.size = copy.size;
    return lines->list;
}

/* --- values --- */

static bool
has_field(const void *values, size_t field)
{
    uint64_t has = 0;
    memcpy(&has, values, sizeof has);
    return ((has >> field) & 1U) != 0;
}

static void
add_number(struct lines *lines, const char *name, const struct wire_field *field, const void *place)
{
    char text[40] = "";
    int64_t number = 0;
    memcpy(&number, place, sizeof number);
    if (field->kind == WIRE_TIME) {
        json_time_format(number, text);
    } else {
        (void)snprintf(text, sizeof text, "%" PRId64, number);
    }
    add_line(lines, name, slice_of(text));
}

static void
add_fields(struct lines *lines, const struct wire_body *body, const void *values, const char *prefix);

static void
add_elements(struct lines *lines, const struct wire_field *field, const void *place, const char *name)
{
    struct wire_list list;
    memcpy(&list, place, sizeof list);
    void *element = arena_alloc(lines->arena, field->element->size);
    for (size_t i = 0; wire_list_next(&list, field->element, element); i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof path, "%.200s[%zu].", name, i);
        add_fields(lines, field->element, element, path);
    }
}

static void
add_value(struct lines *lines, const struct wire_field *field, const void *place, const char *name)
{
    struct slice text;
    char id[ID_TEXT_SIZE];
    char path[PATH_SIZE];
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        add_line(lines, name, slice_of(*(const bool *)place ? "true" : "false"));
        break;
    case WIRE_I64:
    case WIRE_TIME:
        add_number(lines, name, field, place);
        break;
    case WIRE_STR:
    case WIRE_NAME:
        memcpy(&text, place, sizeof text);
        add_line(lines, name, text);
        break;
    case WIRE_BYTES:
        memcpy(&text, place, sizeof text);
        add_hex(lines, name, text);
        break;
    case WIRE_ID:
        id_format(place, id);
        add_line(lines, name, slice_of(id));
        break;
    case WIRE_MAP:
        (void)snprintf(path, sizeof path, "%.250s.", name);
        add_fields(lines, field->element, place, path);
        break;
    case WIRE_LIST:
        add_elements(lines, field, place, name);
        break;
    }
}

static void
add_fields(struct lines *lines, const struct wire_body *body, const void *values, const char *prefix)
{
    for (size_t i = 0; i < body->field_count; i++) {
        char name[PATH_SIZE];
        if (has_field(values, i)) {
            (void)snprintf(name, sizeof name, "%.180s%s", prefix, body->fields[i].name);
            add_value(lines, &body->fields[i], (const uint8_t *)values + body->fields[i].offset, name);
        }
    }
}

/* --- showing --- */

static void
add_member(struct lines *lines, const char *name, json_t *value)
{
    if (json_is_string(value)) {
        add_line(lines, name, (struct slice){(const uint8_t *)json_string_value(value), json_string_length(value)});
        return;
    }
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL) {
        abort();
    }
    add_line(lines, name, slice_of(text));
    free(text);
}

static void
add_json(struct lines *lines, struct slice frame)
{
    json_t *root = json_loadb((const char *)frame.data, frame.size, JSON_REJECT_DUPLICATES, NULL);
    const char *name = NULL;
    json_t *value = NULL;
    if (!json_is_object(root)) {
        add_raw(lines, frame);
    }
    json_object_foreach(root, name, value)
    {
        add_member(lines, name, value);
    }
    json_decref(root);
}

struct wire_list
dlq_text_fields(const struct wire_body *body, struct slice frame, struct arena *arena)
{
    struct lines lines = {.arena = arena};
    struct err_text ignored;
    if (frame.size == 0) {
        return lines.list;
    }
    if (body == NULL) {
        add_json(&lines, frame);
        return end_lines(&lines);
    }
    void *values = arena_alloc(arena, body->size);
    if (wire_decode(body, frame, values, &ignored) == ERR_ok) {
        add_fields(&lines, body, values, "");
    } else {
        add_raw(&lines, frame);
    }
    return end_lines(&lines);
}

/* --- changing --- */

struct change {
    struct slice name;
    struct slice value;
    bool is_used;
};

struct changes {
    struct arena *arena;
    struct change list[DLQ_FIELDS_MAX];
    size_t count;
    struct err_text *why;
};

static err
refuse(const struct changes *changes, const char *name, const char *what)
{
    return err_say(changes->why, ERR_invalid_field, "%.150s: %s", name, what);
}

static err
read_i64(const struct changes *changes, const char *name, const struct wire_field *field, struct slice value, int64_t *number)
{
    char text[32];
    char *end = NULL;
    if (value.size == 0 || value.size >= sizeof text || value.data[0] == ' ' || value.data[0] == '+') {
        return refuse(changes, name, "not a whole number");
    }
    dlq_copy(text, sizeof text, value);
    if (text[strspn(text, "-0123456789")] != '\0') {
        return refuse(changes, name, "not a whole number");
    }
    long long parsed = strtoll(text, &end, 10);
    if (end == text || *end != '\0') {
        return refuse(changes, name, "not a whole number");
    }
    if (parsed < field->lo || parsed > field->hi) {
        return err_say(changes->why, ERR_invalid_field, "%.150s: must be from %" PRId64 " to %" PRId64, name, field->lo, field->hi);
    }
    *number = parsed;
    return ERR_ok;
}

/* The form in which times are shown: UTC, milliseconds or not. */
static err
read_time(const struct changes *changes, const char *name, const struct wire_field *field, struct slice value, int64_t *number)
{
    char text[40];
    struct tm parts = {0};
    int64_t millis = 0;
    dlq_copy(text, sizeof text, value);
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest != NULL && rest[0] == '.' && strspn(rest + 1, "0123456789") == 3) {
        millis = (rest[1] - '0') * 100 + (rest[2] - '0') * 10 + (rest[3] - '0');
        rest += 4;
    }
    if (rest == NULL || strcmp(rest, "Z") != 0) {
        return refuse(changes, name, "not a time like 2026-01-01T00:00:00.000Z");
    }
    *number = (int64_t)timegm(&parts) * 1000 + millis;
    if (*number < field->lo || *number > field->hi) {
        return refuse(changes, name, "this time cannot be sent");
    }
    return ERR_ok;
}

static int
digit_of(uint8_t character)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = character == '\0' ? NULL : strchr(digits, character >= 'A' && character <= 'F' ? character + 32 : character);
    return found == NULL ? -1 : (int)(found - digits);
}

static err
read_bytes(const struct changes *changes, const char *name, struct slice value, struct slice *bytes)
{
    uint8_t *to = arena_alloc(changes->arena, value.size / 2 + 1);
    for (size_t i = 0; i + 1 < value.size; i += 2) {
        int high = digit_of(value.data[i]);
        int low = digit_of(value.data[i + 1]);
        if (high < 0 || low < 0) {
            return refuse(changes, name, "not hexadecimal digits");
        }
        to[i / 2] = (uint8_t)(high * 16 + low);
    }
    if (value.size % 2 != 0) {
        return refuse(changes, name, "an odd number of hexadecimal digits");
    }
    *bytes = (struct slice){to, value.size / 2};
    return ERR_ok;
}

static err
read_text(const struct changes *changes, const char *name, const struct wire_field *field, struct slice value, struct slice *text)
{
    err code = ERR_ok;
    *text = value;
    if (field->kind == WIRE_BYTES) {
        code = read_bytes(changes, name, value, text);
    }
    if (code != ERR_ok) {
        return code;
    }
    if ((int64_t)text->size < field->lo || (int64_t)text->size > field->hi) {
        return err_say(changes->why, ERR_invalid_field, "%.150s: must have from %" PRId64 " to %" PRId64 " bytes", name, field->lo,
                       field->hi);
    }
    if (field->kind == WIRE_NAME && !wire_is_name(*text)) {
        return refuse(changes, name, "only letters, digits, - and _");
    }
    if (field->kind == WIRE_STR && !wire_is_utf8(*text)) {
        return refuse(changes, name, "not UTF-8");
    }
    return ERR_ok;
}

static err
read_bool(const struct changes *changes, const char *name, struct slice value, bool *flag)
{
    if (!slice_equal(value, slice_of("true")) && !slice_equal(value, slice_of("false"))) {
        return refuse(changes, name, "must be true or false");
    }
    *flag = value.size == 4;
    return ERR_ok;
}

static err
read_id(const struct changes *changes, const char *name, struct slice value, struct id *id)
{
    if (!id_parse((const char *)value.data, value.size, id)) {
        return refuse(changes, name, "not a UUID");
    }
    return ERR_ok;
}

static err
read_value(const struct changes *changes, const char *name, const struct wire_field *field, struct slice value, void *place)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        return read_bool(changes, name, value, place);
    case WIRE_I64:
        return read_i64(changes, name, field, value, place);
    case WIRE_TIME:
        return read_time(changes, name, field, value, place);
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        return read_text(changes, name, field, value, place);
    case WIRE_ID:
        return read_id(changes, name, value, place);
    case WIRE_LIST:
    case WIRE_MAP:
        break;
    }
    return refuse(changes, name, "has fields of its own; change those");
}

static struct change *
change_of(struct changes *changes, const char *name)
{
    for (size_t i = 0; i < changes->count; i++) {
        if (slice_equal(changes->list[i].name, slice_of(name))) {
            return &changes->list[i];
        }
    }
    return NULL;
}

static void
set_has(void *values, size_t field, bool is_there)
{
    uint64_t has = 0;
    memcpy(&has, values, sizeof has);
    has = is_there ? has | UINT64_C(1) << field : has & ~(UINT64_C(1) << field);
    memcpy(values, &has, sizeof has);
}

/* The value that takes a field away instead of becoming empty. */
static bool
takes_away(const struct wire_field *field, struct slice value)
{
    bool may_be_empty = (field->kind == WIRE_STR || field->kind == WIRE_BYTES) && field->lo == 0;
    return value.size == 0 && !may_be_empty;
}

static err
change_fields(struct changes *changes, const struct wire_body *body, void *values, const char *prefix);

static err
change_elements(struct changes *changes, const struct wire_field *field, void *place, const char *name)
{
    struct wire_list before;
    struct wire_list after = {0};
    struct wire_buffer bytes = {0};
    err code = ERR_ok;
    memcpy(&before, place, sizeof before);
    void *element = arena_alloc(changes->arena, field->element->size);
    for (size_t i = 0; code == ERR_ok && wire_list_next(&before, field->element, element); i++) {
        char path[PATH_SIZE];
        (void)snprintf(path, sizeof path, "%.200s[%zu].", name, i);
        code = change_fields(changes, field->element, element, path);
        if (code == ERR_ok) {
            wire_list_add(&after, field->element, element, &bytes);
        }
    }
    if (code == ERR_ok) {
        struct slice copy = arena_copy(changes->arena, wire_buffer_slice(&bytes));
        after.data = copy.data;
        after.size = copy.size;
        memcpy(place, &after, sizeof after);
    }
    wire_buffer_fini(&bytes);
    return code;
}

/* A nested map comes to be when one of its fields is given; then it must be whole. */
static err
change_map(struct changes *changes, const struct wire_field *field, void *place, const char *name, bool *is_there)
{
    char path[PATH_SIZE];
    bool is_touched = *is_there;
    (void)snprintf(path, sizeof path, "%.250s.", name);
    for (size_t i = 0; i < changes->count; i++) {
        struct slice given = changes->list[i].name;
        is_touched = is_touched || (given.size > strlen(path) && memcmp(given.data, path, strlen(path)) == 0);
    }
    if (!is_touched) {
        return ERR_ok;
    }
    if (!*is_there) {
        memset(place, 0, field->element->size);
        *is_there = true;
    }
    return change_fields(changes, field->element, place, path);
}

static err
change_field(struct changes *changes, const struct wire_field *field, void *place, const char *name, bool *is_there)
{
    struct change *change = change_of(changes, name);
    if (change != NULL) {
        change->is_used = true;
        if (takes_away(field, change->value) && field->kind != WIRE_MAP && field->kind != WIRE_LIST) {
            *is_there = false;
            return field->need == OPTIONAL ? ERR_ok : refuse(changes, name, "cannot be left out");
        }
        *is_there = true;
        return read_value(changes, name, field, change->value, place);
    }
    if (field->kind == WIRE_MAP) {
        return change_map(changes, field, place, name, is_there);
    }
    if (field->kind == WIRE_LIST && *is_there) {
        return change_elements(changes, field, place, name);
    }
    return ERR_ok;
}

static err
change_fields(struct changes *changes, const struct wire_body *body, void *values, const char *prefix)
{
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        char name[PATH_SIZE];
        bool is_there = has_field(values, i);
        (void)snprintf(name, sizeof name, "%.180s%s", prefix, field->name);
        err code = change_field(changes, field, (uint8_t *)values + field->offset, name, &is_there);
        if (code != ERR_ok) {
            return code;
        }
        if (!is_there && field->need == REQUIRED) {
            return refuse(changes, name, "is missing");
        }
        set_has(values, i, is_there);
    }
    return ERR_ok;
}

static err
read_changes(struct changes *changes, struct wire_list given)
{
    struct wire_letter_field line;
    while (wire_list_next(&given, &letter_field_body, &line)) {
        for (size_t i = 0; i < changes->count; i++) {
            if (slice_equal(changes->list[i].name, line.name)) {
                return err_say(changes->why, ERR_invalid_field, "%.*s: given twice", (int)line.name.size,
                               (const char *)line.name.data);
            }
        }
        if (changes->count == DLQ_FIELDS_MAX) {
            return err_say(changes->why, ERR_invalid_field, "changes: more than %d", DLQ_FIELDS_MAX);
        }
        changes->list[changes->count++] = (struct change){.name = line.name, .value = line.value};
    }
    return ERR_ok;
}

err
dlq_text_apply(const struct wire_body *body, struct slice frame, struct wire_list given, struct arena *arena, struct slice *edited,
               struct err_text *why)
{
    struct changes changes = {.arena = arena, .why = why};
    struct err_text reason = {""};
    if (body == NULL) {
        return err_say(why, ERR_not_editable, "this version does not know the fields of this message");
    }
    void *values = arena_alloc(arena, body->size);
    if (wire_decode(body, frame, values, &reason) != ERR_ok) {
        return err_say(why, ERR_not_editable, "the message cannot be read (%.180s); give a whole body instead", reason.text);
    }
    err code = read_changes(&changes, given);
    if (code == ERR_ok) {
        code = change_fields(&changes, body, values, "");
    }
    for (size_t i = 0; code == ERR_ok && i < changes.count; i++) {
        if (!changes.list[i].is_used) {
            code = err_say(why, ERR_invalid_field, "%.*s: %s has no such field", (int)changes.list[i].name.size,
                           (const char *)changes.list[i].name.data, body->name);
        }
    }
    if (code == ERR_ok) {
        *edited = arena_encode(arena, body, values);
    }
    if (code == ERR_ok && edited->size == 0) {
        arena->has_fault = false;
        code = wire_fault_say(why, ERR_invalid_field);
    }
    return code;
}

/* --- differences --- */

struct difference {
    char *text;
    size_t size;
    size_t used;
};

static void
append(struct difference *difference, struct slice text)
{
    size_t room = difference->size - difference->used;
    dlq_copy(&difference->text[difference->used], room, text);
    difference->used += strlen(&difference->text[difference->used]);
}

static void
append_change(struct difference *difference, struct slice name, const struct wire_letter_field *before,
              const struct wire_letter_field *after)
{
    if (difference->used > 0) {
        append(difference, slice_of("; "));
    }
    append(difference, name);
    append(difference, slice_of(": "));
    append(difference, before == NULL ? slice_of("(none)") : before->value);
    append(difference, slice_of(" -> "));
    append(difference, after == NULL ? slice_of("(none)") : after->value);
}

static const struct wire_letter_field *
find_line(struct wire_list lines, struct slice name, struct wire_letter_field *line)
{
    while (wire_list_next(&lines, &letter_field_body, line)) {
        if (slice_equal(line->name, name)) {
            return line;
        }
    }
    return NULL;
}

void
dlq_text_diff(const struct wire_body *body, struct slice before, struct slice after, struct arena *arena, char *text, size_t size)
{
    struct difference difference = {.text = text, .size = size};
    struct wire_list was = dlq_text_fields(body, before, arena);
    struct wire_list is = dlq_text_fields(body, after, arena);
    struct wire_letter_field line;
    struct wire_letter_field other;
    text[0] = '\0';
    for (struct wire_list at = was; wire_list_next(&at, &letter_field_body, &line);) {
        const struct wire_letter_field *found = find_line(is, line.name, &other);
        if (found == NULL || !slice_equal(found->value, line.value)) {
            append_change(&difference, line.name, &line, found);
        }
    }
    for (struct wire_list at = is; wire_list_next(&at, &letter_field_body, &line);) {
        if (find_line(was, line.name, &other) == NULL) {
            append_change(&difference, line.name, NULL, &line);
        }
    }
}
