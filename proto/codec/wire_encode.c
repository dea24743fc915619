/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Writes a struct as a msgpack map, driven by the tables of wire.c: the fields whose bit is set, in the order of bodies.def,
 *   every value in its shortest form. So equal structs give equal bytes, and fingerprints of bodies may be compared.
 *
 * STATE
 *   The caller's buffer, which grows by doubling and is kept for the next message; and of each thread the fault that it met last.
 *
 * FAILURES
 *   What a peer would refuse is never written: a body with a value that its table does not have (out of bounds, of another shape,
 *   missing, a list with such an element, a frame that is too large) leaves the buffer as it was, and the fault says which field.
 *   No map is empty, so an empty frame is one that could not be said: whoever sends or stores frames looks for it. Values come
 *   from sums, peers, rows and settings, so this is no bug of the encoder's, and it ends nobody. Out of memory aborts.
 *
 * LIMITS
 *   Elements of a list are checked when they are added, not again with the body that holds the list; that one only knows that an
 *   element is missing.
 */
#include "wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include <msgpack.h>

#define BUFFER_START 256
#define NAME_ROOM 32

/* --- buffer --- */

static void
buffer_reserve(struct wire_buffer *buffer, size_t size)
{
    if (size <= buffer->capacity - buffer->size) {
        return;
    }
    size_t capacity = buffer->capacity == 0 ? BUFFER_START : buffer->capacity;
    while (capacity - buffer->size < size) {
        if (capacity > SIZE_MAX / 2) {
            abort();
        }
        capacity *= 2;
    }
    uint8_t *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        abort();
    }
    buffer->data = data;
    buffer->capacity = capacity;
}

void
wire_buffer_append(struct wire_buffer *buffer, const void *bytes, size_t size)
{
    if (size == 0) {
        return;
    }
    buffer_reserve(buffer, size);
    memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
}

void
wire_buffer_fini(struct wire_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct wire_buffer){0};
}

/* The packer's way out; always success, as running out of memory does not return. */
static int
write_packed(void *buffer, const char *bytes, size_t size)
{
    wire_buffer_append(buffer, bytes, size);
    return 0;
}

/* --- faults --- */

static _Thread_local struct wire_fault latest;

const struct wire_fault *
wire_fault(void)
{
    return &latest;
}

err
wire_fault_say(struct err_text *why, err code)
{
    const char *field = latest.field == NULL ? "" : latest.field->name;
    const char *dot = latest.field == NULL ? "" : ".";
    int64_t lo = latest.field == NULL ? 0 : latest.field->lo;
    int64_t hi = latest.field == NULL ? WIRE_FRAME_MAX : latest.field->hi;
    const char *body = latest.body == NULL ? "" : latest.body->name;
    switch (latest.kind) {
    case WIRE_FAULT_BOUNDS:
        return err_say(why, code, "%s%s%s: %" PRId64 " is not in %" PRId64 "..%" PRId64, body, dot, field, latest.value, lo, hi);
    case WIRE_FAULT_SIZE:
        return err_say(why, code, "%s%s%s: a size of %" PRId64 " is not in %" PRId64 "..%" PRId64, body, dot, field, latest.value, lo,
                       hi);
    case WIRE_FAULT_SHAPE:
        return err_say(why, code, "%s%s%s: its %" PRId64 " bytes are not of its shape", body, dot, field, latest.value);
    case WIRE_FAULT_MISSING:
        return err_say(why, code, "%s%s%s: missing", body, dot, field);
    }
    return code;
}

/* One body being written. The first fault counts; what is packed behind it is taken back. */
struct writing {
    msgpack_packer packer;
    const struct wire_body *body; /* that the field of the fault belongs to; NULL: none so far */
    const struct wire_field *field;
    int64_t value;
    enum wire_fault_kind kind;
    bool is_of_element; /* the fault was met before, in an element of a list */
};

__attribute__((cold, noinline)) static void
refuse(struct writing *writing, enum wire_fault_kind kind, const struct wire_body *body, const struct wire_field *field, int64_t value)
{
    if (writing->body == NULL) {
        writing->body = body;
        writing->field = field;
        writing->kind = kind;
        writing->value = value;
    }
}

/* --- values --- */

static void
pack_number(struct writing *writing, const struct wire_body *body, const struct wire_field *field, const void *place)
{
    int64_t number = 0;
    memcpy(&number, place, sizeof number);
    if (number < field->lo || number > field->hi) {
        refuse(writing, WIRE_FAULT_BOUNDS, body, field, number);
    }
    msgpack_pack_int64(&writing->packer, number);
}

static void
pack_bytes(struct writing *writing, const struct wire_body *body, const struct wire_field *field, const void *place)
{
    struct slice bytes;
    memcpy(&bytes, place, sizeof bytes);
    if ((int64_t)bytes.size < field->lo || (int64_t)bytes.size > field->hi) {
        refuse(writing, WIRE_FAULT_SIZE, body, field, (int64_t)bytes.size);
        return;
    }
    if (field->kind == WIRE_BYTES) {
        msgpack_pack_bin_with_body(&writing->packer, bytes.data, bytes.size);
        return;
    }
    if (!(field->kind == WIRE_NAME ? wire_is_name(bytes) : wire_is_utf8(bytes))) {
        refuse(writing, WIRE_FAULT_SHAPE, body, field, (int64_t)bytes.size);
    }
    msgpack_pack_str_with_body(&writing->packer, bytes.data, bytes.size);
}

static void
pack_list(struct writing *writing, const struct wire_body *body, const struct wire_field *field, const void *place)
{
    struct wire_list list;
    memcpy(&list, place, sizeof list);
    if (list.is_broken || list.count < field->lo || list.count > field->hi) {
        writing->is_of_element |= list.is_broken && writing->body == NULL;
        refuse(writing, WIRE_FAULT_SIZE, body, field, list.count);
        return;
    }
    msgpack_pack_array(&writing->packer, list.count);
    wire_buffer_append(writing->packer.data, list.data, list.size);
}

static void
pack_body(struct writing *writing, const struct wire_body *body, const void *source);

static void
pack_value(struct writing *writing, const struct wire_body *body, const struct wire_field *field, const void *place)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        if (*(const bool *)place) {
            msgpack_pack_true(&writing->packer);
        } else {
            msgpack_pack_false(&writing->packer);
        }
        break;
    case WIRE_I64:
    case WIRE_TIME:
        pack_number(writing, body, field, place);
        break;
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        pack_bytes(writing, body, field, place);
        break;
    case WIRE_ID:
        msgpack_pack_bin_with_body(&writing->packer, place, ID_SIZE);
        break;
    case WIRE_LIST:
        pack_list(writing, body, field, place);
        break;
    case WIRE_MAP:
        pack_body(writing, field->element, place);
        break;
    }
}

/* --- maps --- */

/* Names are short (wire.c): their head is one byte. Most of a body is names, so they do not go through the packer. */
static inline void
put_name(struct wire_buffer *out, const struct wire_field *field)
{
    buffer_reserve(out, NAME_ROOM);
    out->data[out->size] = (uint8_t)(0xa0 | field->name_size);
    memcpy(out->data + out->size + 1, field->name, field->name_size);
    out->size += 1 + (size_t)field->name_size;
}

static void
pack_body(struct writing *writing, const struct wire_body *body, const void *source)
{
    uint64_t has = 0;
    memcpy(&has, source, sizeof has);
    uint64_t missing = body->required & ~has;
    if (missing != 0) {
        refuse(writing, WIRE_FAULT_MISSING, body, &body->fields[__builtin_ctzll(missing)], 0);
    }
    struct wire_buffer *out = writing->packer.data;
    msgpack_pack_map(&writing->packer, (size_t)__builtin_popcountll(has));
    for (; has != 0; has &= has - 1) {
        size_t index = (size_t)__builtin_ctzll(has);
        assert(index < body->field_count);
        const struct wire_field *field = &body->fields[index];
        put_name(out, field);
        pack_value(writing, body, field, (const uint8_t *)source + field->offset);
    }
}

bool
wire_encode(const struct wire_body *body, const void *source, struct wire_buffer *out)
{
    struct writing writing;
    size_t before = out->size;
    msgpack_packer_init(&writing.packer, out, write_packed);
    writing.body = NULL;
    writing.is_of_element = false;
    pack_body(&writing, body, source);
    if (out->size - before > WIRE_FRAME_MAX) {
        refuse(&writing, WIRE_FAULT_SIZE, body, NULL, (int64_t)(out->size - before));
    }
    if (writing.body == NULL) {
        return true;
    }
    if (!writing.is_of_element) {
        latest = (struct wire_fault){writing.kind, writing.body, writing.field, writing.value};
    }
    out->size = before;
    return false;
}

bool
wire_list_add(struct wire_list *list, const struct wire_body *element, const void *source, struct wire_buffer *out)
{
    size_t before = out->size;
    if (!wire_encode(element, source, out)) {
        list->is_broken = true;
        return false;
    }
    list->size += out->size - before;
    list->count++;
    return true;
}

void
wire_list_end(struct wire_list *list, const struct wire_buffer *out)
{
    assert(list->size <= out->size);
    list->data = list->size == 0 ? NULL : out->data + (out->size - list->size);
}
