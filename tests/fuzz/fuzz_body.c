/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The first byte picks a body, the rest is its frame. What is taken must be walkable to the last element of every list, and must
 * encode to a frame that decodes and encodes to itself. One input in eight is made anew from the tables, as chance alone does not
 * find the names of fields.
 */
#include <stdlib.h>
#include <string.h>

#include "random_message.h"
#include "wire.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t
LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void *
exact_copy(const void *bytes, size_t size)
{
    void *copy = malloc(size == 0 ? 1 : size);
    require(copy != NULL);
    memcpy(copy, bytes, size);
    return copy;
}

static void
walk(const struct wire_body *body, const void *source);

static void
walk_list(const struct wire_field *field, const void *place)
{
    struct wire_list list;
    memcpy(&list, place, sizeof list);
    uint32_t announced = list.count;
    uint32_t seen = 0;
    void *element = malloc(field->element->size);
    require(element != NULL);
    while (wire_list_next(&list, field->element, element)) {
        walk(field->element, element);
        seen++;
    }
    require(seen == announced && list.size == 0);
    free(element);
}

static void
walk(const struct wire_body *body, const void *source)
{
    uint64_t has = 0;
    memcpy(&has, source, sizeof has);
    require((body->required & ~has) == 0);
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        const void *place = (const uint8_t *)source + field->offset;
        if ((has >> i & 1) == 0) {
            continue;
        }
        if (field->kind == WIRE_LIST) {
            walk_list(field, place);
        } else if (field->kind == WIRE_MAP) {
            walk(field->element, place);
        }
    }
}

static void
require_stable(const struct wire_body *body, void *target)
{
    struct wire_buffer once = {0};
    struct wire_buffer twice = {0};
    struct err_text why;
    wire_encode(body, target, &once);
    struct slice frame = {exact_copy(once.data, once.size), once.size};
    require(wire_decode(body, frame, target, &why) == ERR_ok);
    walk(body, target);
    wire_encode(body, target, &twice);
    require(slice_equal(wire_buffer_slice(&once), wire_buffer_slice(&twice)));
    frame_free(frame);
    wire_buffer_fini(&once);
    wire_buffer_fini(&twice);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct wire_body *body = wire_bodies[data[0] % WIRE_BODY_COUNT];
    uint8_t *copy = exact_copy(data + 1, size - 1);
    void *target = malloc(body->size);
    struct err_text why = {""};
    require(target != NULL);
    err code = wire_decode(body, (struct slice){copy, size - 1}, target, &why);
    if (code == ERR_ok) {
        walk(body, target);
        require_stable(body, target);
    } else {
        require(why.text[0] != '\0' && wire_is_utf8(slice_of(why.text)));
    }
    free(target);
    free(copy);
    return 0;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    if (seed % 8 == 0) {
        struct material material;
        unsigned number = seed / 8 % WIRE_BODY_COUNT;
        material_init(&material, (uint64_t)seed + 1);
        struct slice frame = random_frame(&material, wire_bodies[number]);
        if (frame.size < max_size) {
            data[0] = (uint8_t)number;
            memcpy(data + 1, frame.data, frame.size);
            size = frame.size + 1;
        }
        frame_free(frame);
        material_fini(&material);
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
