/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   A number for what a body says, however it says it: fields count by their names, so neither their order in the frame nor that of
 *   bodies.def matters; numbers and lengths count by their value, so neither does the form they were written in; and a field that says
 *   what leaving it out means is as if it were left out. The order of a list counts, and so do its elements, each in the same way.
 *
 * STATE
 *   None. Nothing is allocated: it walks over a frame that wire_decode() has checked.
 *
 * FAILURES
 *   None. Of bytes that were not checked it says some number.
 *
 * LIMITS
 *   The numbers are stored for ever, beside what was done under a request's id: this function, once published, does not change, and
 *   a field never changes its name or what leaving it out means. It tells bodies apart; it guards nothing.
 */
#include "wire.h"

#include <stdlib.h>

#include "wire_token.h"

#define PRIME UINT64_C(1099511628211)

static inline uint64_t
mix(uint64_t hash)
{
    hash = (hash ^ hash >> 33) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ hash >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return hash ^ hash >> 33;
}

static inline uint64_t
step(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * PRIME;
    return hash ^ hash >> 32;
}

/* Fewer than 8 bytes as a number; the same on every host: the first byte is the lowest. */
static inline uint64_t
rest_of(const uint8_t *bytes, size_t size)
{
    uint64_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word |= (uint64_t)bytes[i] << 8 * i;
    }
    return word;
}

static inline uint64_t
word_of(const uint8_t *bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return load_64(bytes);
#else
    return rest_of(bytes, sizeof(uint64_t));
#endif
}

static inline uint64_t
hash_bytes(uint64_t hash, struct slice bytes)
{
    size_t i = 0;
    hash = step(hash, bytes.size);
    for (; i + sizeof(uint64_t) <= bytes.size; i += sizeof(uint64_t)) {
        hash = step(hash, word_of(bytes.data + i));
    }
    return i == bytes.size ? hash : step(hash, rest_of(bytes.data + i, bytes.size - i));
}

/* Whether the value is what leaving the field out means. */
static inline bool
is_left_out(const struct wire_field *field, const struct token *token)
{
    if (field->otherwise == NULL) {
        return false;
    }
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        return (token->number != 0) == (field->otherwise[0] == 't');
    case WIRE_I64:
    case WIRE_TIME:
        return token->number == strtoll(field->otherwise, NULL, 10);
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        return slice_equal(token->bytes, slice_of(field->otherwise));
    case WIRE_LIST:
        return token->number == 0;
    case WIRE_ID:
    case WIRE_MAP:
        break;
    }
    return false;
}

static uint64_t
hash_entries(struct reader *reader, const struct wire_body *body, int64_t count, const char *without);

static uint64_t
hash_list(struct reader *reader, const struct wire_body *element, int64_t count)
{
    uint64_t hash = (uint64_t)count;
    struct token token;
    for (int64_t i = 0; i < count && token_read(reader, &token) == TOKEN_MAP; i++) {
        hash = step(hash, hash_entries(reader, element, token.number, NULL));
    }
    return hash;
}

static inline uint64_t
hash_value(struct reader *reader, const struct wire_field *field, const struct token *token)
{
    switch (token->kind) {
    case TOKEN_TEXT:
    case TOKEN_BYTES:
        return hash_bytes(0, token->bytes);
    case TOKEN_LIST:
        return hash_list(reader, field->element, token->number);
    case TOKEN_MAP:
        return hash_entries(reader, field->element, token->number, NULL);
    case TOKEN_BOOL:
    case TOKEN_INTEGER:
        return step(0, (uint64_t)token->number);
    case TOKEN_CUT:
    case TOKEN_INVALID:
    case TOKEN_NIL:
    case TOKEN_HUGE:
    case TOKEN_FLOAT:
    case TOKEN_EXTENSION:
        break; /* no value of a checked frame is one of these */
    }
    return 0;
}

/* The sum over its fields, which does not ask for their order. */
static uint64_t
hash_entries(struct reader *reader, const struct wire_body *body, int64_t count, const char *without)
{
    uint64_t sum = 0;
    size_t expected = 0;
    struct token token;
    for (int64_t i = 0; i < count && token_read(reader, &token) == TOKEN_TEXT; i++) {
        struct slice name = token.bytes;
        size_t index = find_field(body, name, expected);
        if (index == body->field_count) {
            if (wire_skip(reader, body) != ERR_ok) {
                break;
            }
            continue;
        }
        const struct wire_field *field = &body->fields[index];
        expected = index + 1;
        (void)token_read(reader, &token);
        uint64_t value = hash_value(reader, field, &token);
        if (!is_left_out(field, &token) && (without == NULL || strcmp(field->name, without) != 0)) {
            sum += mix(hash_bytes(value, name));
        }
    }
    return mix(sum);
}

uint64_t
wire_hash(const struct wire_body *body, struct slice frame, const char *without)
{
    struct reader reader = {frame.data, frame.data + frame.size, NULL};
    struct token token;
    return token_read(&reader, &token) == TOKEN_MAP ? hash_entries(&reader, body, token.number, without) : 0;
}

uint64_t
wire_hash_named(const char *name, uint64_t hash)
{
    return mix(hash_bytes(hash, slice_of(name)));
}
