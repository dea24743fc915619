/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Writes a struct as a msgpack map, driven by the tables of wire.c: the fields whose bit is set, in the order of bodies.def,
 *   every value in its shortest form. So equal structs give equal bytes, and fingerprints of bodies may be compared.
 *
 * STATE
 *   None but the caller's buffer, which grows by doubling and is kept for the next message.
 *
 * FAILURES
 *   None: a missing required field or a value out of its bounds is our own bug and asserts before it can reach a peer that
 *   would refuse it. Out of memory aborts.
 *
 * LIMITS
 *   Elements of a list are checked when they are added, not again with the body that holds the list.
 */
#include "wire.h"

#include <assert.h>
#include <stdlib.h>

#include <msgpack.h>

#define BUFFER_START 256

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

/* --- values --- */

static void
pack_number(msgpack_packer *packer, const struct wire_field *field, const void *place)
{
    int64_t number = 0;
    memcpy(&number, place, sizeof number);
    assert(number >= field->lo && number <= field->hi);
    msgpack_pack_int64(packer, number);
}

static void
pack_bytes(msgpack_packer *packer, const struct wire_field *field, const void *place)
{
    struct slice bytes;
    memcpy(&bytes, place, sizeof bytes);
    assert((int64_t)bytes.size >= field->lo && (int64_t)bytes.size <= field->hi);
    if (field->kind == WIRE_BYTES) {
        msgpack_pack_bin_with_body(packer, bytes.data, bytes.size);
        return;
    }
    assert(field->kind == WIRE_NAME ? wire_is_name(bytes) : wire_is_utf8(bytes));
    msgpack_pack_str_with_body(packer, bytes.data, bytes.size);
}

static void
pack_list(msgpack_packer *packer, const struct wire_field *field, const void *place)
{
    struct wire_list list;
    memcpy(&list, place, sizeof list);
    assert(list.count >= field->lo && list.count <= field->hi);
    msgpack_pack_array(packer, list.count);
    wire_buffer_append(packer->data, list.data, list.size);
}

static void
pack_body(msgpack_packer *packer, const struct wire_body *body, const void *source);

static void
pack_value(msgpack_packer *packer, const struct wire_field *field, const void *place)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        if (*(const bool *)place) {
            msgpack_pack_true(packer);
        } else {
            msgpack_pack_false(packer);
        }
        break;
    case WIRE_I64:
    case WIRE_TIME:
        pack_number(packer, field, place);
        break;
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        pack_bytes(packer, field, place);
        break;
    case WIRE_ID:
        msgpack_pack_bin_with_body(packer, place, ID_SIZE);
        break;
    case WIRE_LIST:
        pack_list(packer, field, place);
        break;
    case WIRE_MAP:
        pack_body(packer, field->element, place);
        break;
    }
}

/* --- maps --- */

static void
pack_body(msgpack_packer *packer, const struct wire_body *body, const void *source)
{
    uint64_t has = 0;
    memcpy(&has, source, sizeof has);
    assert((body->required & ~has) == 0);
    msgpack_pack_map(packer, (size_t)__builtin_popcountll(has));
    for (; has != 0; has &= has - 1) {
        size_t index = (size_t)__builtin_ctzll(has);
        assert(index < body->field_count);
        const struct wire_field *field = &body->fields[index];
        msgpack_pack_str_with_body(packer, field->name, field->name_size);
        pack_value(packer, field, (const uint8_t *)source + field->offset);
    }
}

void
wire_encode(const struct wire_body *body, const void *source, struct wire_buffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_packed);
    pack_body(&packer, body, source);
}

void
wire_list_add(struct wire_list *list, const struct wire_body *element, const void *source, struct wire_buffer *out)
{
    size_t before = out->size;
    wire_encode(element, source, out);
    list->size += out->size - before;
    list->count++;
}

void
wire_list_end(struct wire_list *list, const struct wire_buffer *out)
{
    assert(list->size <= out->size);
    list->data = list->size == 0 ? NULL : out->data + (out->size - list->size);
}
