/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Random messages of any body, valid by its table: texts, numbers and lists within their bounds, optional fields now and then.
 * All of it in a header, because a fuzz target is one file beside the library.
 */
#ifndef LARDER_RANDOM_MESSAGE_H
#define LARDER_RANDOM_MESSAGE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

#define LISTS_MAX 1024

/* Frees a frame that random_frame() or a test has made. */
static void
frame_free(struct slice frame)
{
    void *bytes = NULL;
    memcpy(&bytes, &frame.data, sizeof bytes);
    free(bytes);
}

/* What a random message stands on: its text, and a buffer per list. */
struct material {
    uint64_t state;
    uint8_t text[4096];
    uint8_t names[WIRE_NAME_MAX];
    struct wire_buffer lists[LISTS_MAX];
    int list_count;
};

static uint64_t
random_below(struct material *material, uint64_t limit)
{
    material->state ^= material->state << 13;
    material->state ^= material->state >> 7;
    material->state ^= material->state << 17;
    return material->state % limit;
}

static void
material_init(struct material *material, uint64_t seed)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    memset(material, 0, sizeof *material);
    material->state = seed;
    for (size_t i = 0; i < sizeof material->text; i++) {
        material->text[i] = (uint8_t)(1 + random_below(material, 0x7e));
    }
    for (size_t i = 0; i < sizeof material->names; i++) {
        material->names[i] = (uint8_t)alphabet[random_below(material, 64)];
    }
}

static void
material_fini(struct material *material)
{
    for (int i = 0; i < LISTS_MAX; i++) {
        wire_buffer_fini(&material->lists[i]);
    }
}

/* Often a bound itself, as that is where mistakes are made. */
static int64_t
random_between(struct material *material, int64_t lo, int64_t hi)
{
    uint64_t span = (uint64_t)hi - (uint64_t)lo;
    uint64_t kind = random_below(material, 4);
    if (kind == 0) {
        return lo;
    }
    if (kind == 1) {
        return hi;
    }
    uint64_t width = kind == 2 && span > 300 ? 300 : span;
    return (int64_t)((uint64_t)lo + (width == UINT64_MAX ? material->state : random_below(material, width + 1)));
}

static void
random_body(struct material *material, const struct wire_body *body, void *target);

static struct wire_list
random_list(struct material *material, const struct wire_field *field)
{
    assert(material->list_count < LISTS_MAX);
    struct wire_buffer *buffer = &material->lists[material->list_count++];
    struct wire_list list = {0};
    void *element = malloc(field->element->size);
    uint64_t span = (uint64_t)(field->hi - field->lo) < 19 ? (uint64_t)(field->hi - field->lo) : 19;
    int64_t count = field->lo + (int64_t)random_below(material, span + 1);
    for (int64_t i = 0; i < count; i++) {
        random_body(material, field->element, element);
        wire_list_add(&list, field->element, element, buffer);
    }
    wire_list_end(&list, buffer);
    free(element);
    return list;
}

static void
random_field(struct material *material, const struct wire_field *field, void *place)
{
    int64_t number = 0;
    struct slice bytes = {material->text, 0};
    struct wire_list list;
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        *(bool *)place = random_below(material, 2) == 1;
        break;
    case WIRE_I64:
    case WIRE_TIME:
        number = random_between(material, field->lo, field->hi);
        memcpy(place, &number, sizeof number);
        break;
    case WIRE_STR:
    case WIRE_BYTES:
    case WIRE_NAME:
        bytes.data = field->kind == WIRE_NAME ? material->names : material->text;
        bytes.size = (size_t)random_between(material, field->lo, field->hi > 4096 ? 4096 : field->hi);
        memcpy(place, &bytes, sizeof bytes);
        break;
    case WIRE_ID:
        for (size_t i = 0; i < ID_SIZE; i++) {
            ((uint8_t *)place)[i] = (uint8_t)random_below(material, 256);
        }
        break;
    case WIRE_LIST:
        list = random_list(material, field);
        memcpy(place, &list, sizeof list);
        break;
    case WIRE_MAP:
        random_body(material, field->element, place);
        break;
    }
}

static void
random_body(struct material *material, const struct wire_body *body, void *target)
{
    uint64_t has = 0;
    memset(target, 0, body->size);
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        if (field->need == REQUIRED || random_below(material, 2) == 1) {
            random_field(material, field, (uint8_t *)target + field->offset);
            has |= UINT64_C(1) << i;
        }
    }
    memcpy(target, &has, sizeof has);
}

/* A random message of the body as a frame of its own, on the heap; frame_free() it. */
static struct slice
random_frame(struct material *material, const struct wire_body *body)
{
    struct wire_buffer out = {0};
    void *source = malloc(body->size);
    material->list_count = 0;
    for (int i = 0; i < LISTS_MAX; i++) {
        material->lists[i].size = 0;
    }
    random_body(material, body, source);
    wire_encode(body, source, &out);
    free(source);
    return wire_buffer_slice(&out);
}

#endif
