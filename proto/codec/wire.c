/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The tables made of bodies.def, messages.def and events.def, and what can be said about a single value. wire_decode.c and
 *   wire_encode.c read the tables.
 *
 * FAILURES
 *   A name that is in no table is OP_COUNT or EVENT_COUNT.
 *
 * LIMITS
 *   A body has at most 64 fields (one bit each), a field's name at most 31 bytes (its msgpack head is one byte): both are
 *   checked by the compiler. Names are found by walking the table, comparing lengths first.
 */
#include "wire.h"

#include <assert.h>

#include "hash.h"
#include "utf8.h"

/* --- bodies --- */

#define ELEMENT_BOOL NULL
#define ELEMENT_I64 NULL
#define ELEMENT_TIME NULL
#define ELEMENT_STR NULL
#define ELEMENT_NAME NULL
#define ELEMENT_BYTES NULL
#define ELEMENT_ID NULL
#define ELEMENT_LIST(element_name) &element_name##_body
#define ELEMENT_MAP(element_name) &element_name##_body

#define KIND_BOOL WIRE_BOOL
#define KIND_I64 WIRE_I64
#define KIND_TIME WIRE_TIME
#define KIND_STR WIRE_STR
#define KIND_NAME WIRE_NAME
#define KIND_BYTES WIRE_BYTES
#define KIND_ID WIRE_ID
#define KIND_LIST(element_name) WIRE_LIST
#define KIND_MAP(element_name) WIRE_MAP

/* `has` comes first in every struct: the codec finds it there. The sentinel keeps an empty body legal. */
#define BODY(body_name, growth, doc)                                         \
    _Static_assert(offsetof(struct wire_##body_name, has) == 0, #body_name); \
    static const struct wire_field body_name##_fields[] = {
#define FIELD(body_name, field_name, type, need, lo, hi, doc) FIELD_OR(body_name, field_name, type, need, lo, hi, NULL, doc)
#define FIELD_OR(body_name, field_name, type, need, lo, hi, otherwise, doc)                                            \
    {#field_name, doc,  ELEMENT_##type, lo, hi, offsetof(struct wire_##body_name, field_name), sizeof #field_name - 1, \
     KIND_##type, need, otherwise},
#define BODY_END(body_name) \
    {                       \
        0                   \
    }                       \
    }                       \
    ;
#include "bodies.def"

#define FIELD(body_name, field_name, type, need, lo, hi, doc) _Static_assert(sizeof #field_name <= 32, #body_name "." #field_name);
#include "bodies.def"

#define BODY(body_name, body_growth, body_doc)                                          \
    const struct wire_body body_name##_body = {.name = #body_name,                      \
                                               .doc = body_doc,                         \
                                               .fields = body_name##_fields,            \
                                               .field_count = body_name##_FIELD_COUNT,  \
                                               .size = sizeof(struct wire_##body_name), \
                                               .growth = body_growth,                   \
                                               .required = 0
#define FIELD(body_name, field_name, type, need, lo, hi, doc) | ((need) == REQUIRED ? UINT64_C(1) << body_name##_BIT_##field_name : 0)
#define BODY_END(body_name) \
    }                       \
    ;
#include "bodies.def"

const struct wire_body *const wire_bodies[WIRE_BODY_COUNT] = {
#define BODY(body_name, growth, doc) [WIRE_BODY_##body_name] = &body_name##_body,
#include "bodies.def"
};

/* --- operations and events --- */

const struct wire_op wire_ops[OP_COUNT] = {
#define OP(owner, verb, request, reply, traits, doc) \
    [OP_##owner##_##verb] = {#owner "." #verb, #owner, doc, &request##_body, &reply##_body, traits},
#include "messages.def"
};

static const uint8_t op_name_sizes[OP_COUNT] = {
#define OP(owner, verb, request, reply, traits, doc) [OP_##owner##_##verb] = sizeof(#owner "." #verb) - 1,
#include "messages.def"
};

const struct wire_event wire_events[EVENT_COUNT] = {
#define EVENT(owner, fact, body, fate, doc) [EVENT_##owner##_##fact] = {#owner "." #fact, #owner, doc, &body##_body, fate},
#include "events.def"
};

static const uint8_t event_name_sizes[EVENT_COUNT] = {
#define EVENT(owner, fact, body, fate, doc) [EVENT_##owner##_##fact] = sizeof(#owner "." #fact) - 1,
#include "events.def"
};

enum op
wire_op_find(const char *name, size_t size)
{
    for (unsigned op = 0; op < OP_COUNT; op++) {
        if (op_name_sizes[op] == size && memcmp(wire_ops[op].name, name, size) == 0) {
            return (enum op)op;
        }
    }
    return OP_COUNT;
}

enum event_type
wire_event_find(const char *name, size_t size)
{
    for (unsigned event = 0; event < EVENT_COUNT; event++) {
        if (event_name_sizes[event] == size && memcmp(wire_events[event].name, name, size) == 0) {
            return (enum event_type)event;
        }
    }
    return EVENT_COUNT;
}

/* --- values --- */

static const bool is_name_byte[256] = {
    ['-'] = true, ['_'] = true, ['0'] = true, ['1'] = true, ['2'] = true, ['3'] = true, ['4'] = true, ['5'] = true,
    ['6'] = true, ['7'] = true, ['8'] = true, ['9'] = true, ['A'] = true, ['B'] = true, ['C'] = true, ['D'] = true,
    ['E'] = true, ['F'] = true, ['G'] = true, ['H'] = true, ['I'] = true, ['J'] = true, ['K'] = true, ['L'] = true,
    ['M'] = true, ['N'] = true, ['O'] = true, ['P'] = true, ['Q'] = true, ['R'] = true, ['S'] = true, ['T'] = true,
    ['U'] = true, ['V'] = true, ['W'] = true, ['X'] = true, ['Y'] = true, ['Z'] = true, ['a'] = true, ['b'] = true,
    ['c'] = true, ['d'] = true, ['e'] = true, ['f'] = true, ['g'] = true, ['h'] = true, ['i'] = true, ['j'] = true,
    ['k'] = true, ['l'] = true, ['m'] = true, ['n'] = true, ['o'] = true, ['p'] = true, ['q'] = true, ['r'] = true,
    ['s'] = true, ['t'] = true, ['u'] = true, ['v'] = true, ['w'] = true, ['x'] = true, ['y'] = true, ['z'] = true,
};

bool
wire_is_name(struct slice text)
{
    if (text.size == 0 || text.size > WIRE_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!is_name_byte[text.data[i]]) {
            return false;
        }
    }
    return true;
}

/* Eight bytes at once that are all ASCII and none of them NUL; a byte below 1 is where the subtraction borrows. */
static bool
is_plain_word(const uint8_t *bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);
    uint64_t word = 0;
    memcpy(&word, bytes, sizeof word);
    return ((word | (word - ones)) & tops) == 0;
}

bool
wire_is_utf8(struct slice text)
{
    size_t at = 0;
    while (at < text.size) {
        if (text.size - at >= sizeof(uint64_t) && is_plain_word(text.data + at)) {
            at += sizeof(uint64_t);
            continue;
        }
        size_t length = utf8_character(text.data + at, text.size - at);
        if (length == 0 || text.data[at] == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

int
wire_shard_of(struct slice product, int shards)
{
    assert(shards > 0);
    return (int)(hash_bytes(HASH_FIRST, product.data, product.size) % (uint64_t)shards);
}
