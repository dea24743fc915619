/* SPDX-License-Identifier: MPL-2.0 */
/* msgpack as it is read, one head after the other: what wire_decode.c checks frames with and wire_hash.c walks over checked ones. Not
 * for others. */
#ifndef LARDER_WIRE_TOKEN_H
#define LARDER_WIRE_TOKEN_H

#include "wire.h"

enum token_kind {
    TOKEN_CUT,
    TOKEN_INVALID,
    TOKEN_NIL,
    TOKEN_BOOL,
    TOKEN_INTEGER,
    TOKEN_HUGE, /* above INT64_MAX */
    TOKEN_FLOAT,
    TOKEN_TEXT,
    TOKEN_BYTES,
    TOKEN_EXTENSION,
    TOKEN_LIST,
    TOKEN_MAP
};

/* A value's head, and its bytes where it has some. Of lists and maps `number` is the count; what they hold comes next. */
struct token {
    enum token_kind kind;
    int64_t number;
    struct slice bytes;
};

struct reader {
    const uint8_t *at;
    const uint8_t *end;
    struct err_text *why;
};

/* The leads C0 to DF: what follows, and how many bytes of number lie between. */
struct lead {
    uint8_t kind;
    uint8_t number_size;
    bool is_signed;
    uint8_t fixed; /* the number, where no bytes of it follow */
};

static const struct lead leads[32] = {
    {TOKEN_NIL, 0, false, 0},        {TOKEN_INVALID, 0, false, 0},   {TOKEN_BOOL, 0, false, 0},      {TOKEN_BOOL, 0, false, 1},
    {TOKEN_BYTES, 1, false, 0},      {TOKEN_BYTES, 2, false, 0},     {TOKEN_BYTES, 4, false, 0},     {TOKEN_EXTENSION, 1, false, 0},
    {TOKEN_EXTENSION, 2, false, 0},  {TOKEN_EXTENSION, 4, false, 0}, {TOKEN_FLOAT, 4, false, 0},     {TOKEN_FLOAT, 8, false, 0},
    {TOKEN_INTEGER, 1, false, 0},    {TOKEN_INTEGER, 2, false, 0},   {TOKEN_INTEGER, 4, false, 0},   {TOKEN_INTEGER, 8, false, 0},
    {TOKEN_INTEGER, 1, true, 0},     {TOKEN_INTEGER, 2, true, 0},    {TOKEN_INTEGER, 4, true, 0},    {TOKEN_INTEGER, 8, true, 0},
    {TOKEN_EXTENSION, 0, false, 1},  {TOKEN_EXTENSION, 0, false, 2}, {TOKEN_EXTENSION, 0, false, 4}, {TOKEN_EXTENSION, 0, false, 8},
    {TOKEN_EXTENSION, 0, false, 16}, {TOKEN_TEXT, 1, false, 0},      {TOKEN_TEXT, 2, false, 0},      {TOKEN_TEXT, 4, false, 0},
    {TOKEN_LIST, 2, false, 0},       {TOKEN_LIST, 4, false, 0},      {TOKEN_MAP, 2, false, 0},       {TOKEN_MAP, 4, false, 0},
};

/* --- tokens --- */

static inline size_t
bytes_left(const struct reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

/* Takes the bytes behind a head, or makes sure that what a list or map announces can be there: an element has at least a byte. */
static inline enum token_kind
take_content(struct reader *reader, struct token *token)
{
    uint64_t needed = (uint64_t)token->number;
    switch (token->kind) {
    case TOKEN_EXTENSION:
        needed++;
        break;
    case TOKEN_MAP:
        needed *= 2;
        break;
    case TOKEN_TEXT:
    case TOKEN_BYTES:
    case TOKEN_LIST:
        break;
    case TOKEN_CUT:
    case TOKEN_INVALID:
    case TOKEN_NIL:
    case TOKEN_BOOL:
    case TOKEN_INTEGER:
    case TOKEN_HUGE:
    case TOKEN_FLOAT:
        return token->kind;
    }
    if (needed > bytes_left(reader)) {
        token->kind = TOKEN_CUT;
    } else if (token->kind != TOKEN_LIST && token->kind != TOKEN_MAP) {
        token->bytes = (struct slice){reader->at, (size_t)needed};
        reader->at += needed;
    }
    return token->kind;
}

static inline enum token_kind
token_read_long(struct reader *reader, uint8_t byte, struct token *token)
{
    const struct lead *lead = &leads[byte - 0xc0];
    if (bytes_left(reader) < lead->number_size) {
        return token->kind = TOKEN_CUT;
    }
    uint64_t number = lead->fixed;
    for (size_t i = 0; i < lead->number_size; i++) {
        number = number << 8 | reader->at[i];
    }
    reader->at += lead->number_size;
    token->kind = (enum token_kind)lead->kind;
    if (lead->is_signed) {
        unsigned shift = 64U - 8U * lead->number_size;
        token->number = (int64_t)(number << shift) >> shift;
    } else if (number > INT64_MAX) {
        token->kind = token->kind == TOKEN_INTEGER ? TOKEN_HUGE : token->kind;
        token->number = INT64_MAX;
    } else {
        token->number = (int64_t)number;
    }
    return take_content(reader, token);
}

__attribute__((always_inline)) static inline enum token_kind
token_read(struct reader *reader, struct token *token)
{
    if (reader->at == reader->end) {
        return token->kind = TOKEN_CUT;
    }
    uint8_t byte = *reader->at++;
    if (byte < 0x80 || byte >= 0xe0) {
        token->number = byte < 0x80 ? byte : (int64_t)byte - 256;
        return token->kind = TOKEN_INTEGER;
    }
    if (byte >= 0xc0) {
        return token_read_long(reader, byte, token);
    }
    if (byte >= 0xa0) {
        token->kind = TOKEN_TEXT;
        token->number = byte & 0x1f;
    } else {
        token->kind = byte < 0x90 ? TOKEN_MAP : TOKEN_LIST;
        token->number = byte & 0x0f;
    }
    return take_content(reader, token);
}

/* --- fields --- */

static inline uint64_t
load_64(const void *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline uint32_t
load_32(const void *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Names are short and there are many: a call of memcmp() for each costs more than the comparing. */
static inline bool
is_field(const struct wire_field *field, struct slice name)
{
    const char *wanted = field->name;
    size_t size = name.size;
    if (field->name_size != size) {
        return false;
    }
    if (size > 16) {
        return memcmp(wanted, name.data, size) == 0;
    }
    if (size >= 8) {
        return load_64(wanted) == load_64(name.data) && load_64(wanted + size - 8) == load_64(name.data + size - 8);
    }
    if (size >= 4) {
        return load_32(wanted) == load_32(name.data) && load_32(wanted + size - 4) == load_32(name.data + size - 4);
    }
    for (size_t i = 0; i < size; i++) {
        if ((uint8_t)wanted[i] != name.data[i]) {
            return false;
        }
    }
    return true;
}

/* The index of the field; field_count when there is none. `expected` is where it lies when the sender keeps the table's order. */
static inline size_t
find_field(const struct wire_body *body, struct slice name, size_t expected)
{
    if (expected < body->field_count && is_field(&body->fields[expected], name)) {
        return expected;
    }
    for (size_t i = 0; i < body->field_count; i++) {
        if (is_field(&body->fields[i], name)) {
            return i;
        }
    }
    return body->field_count;
}

/* Walks over a value that the table does not know. */
MUST_CHECK err
wire_skip(struct reader *reader, const struct wire_body *body);

#endif
