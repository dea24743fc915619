/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Turns bytes into characters that need no escaping in a URL, and back: opaque cursors, bytes in JSON, the parts of tokens, the
 *   secrets of orders.
 *
 * FAILURES
 *   Decoding refuses everything that encoding would not have written.
 *
 * LIMITS
 *   The caller brings the room; nothing is allocated.
 */
#include "base64url.h"

static const char ALPHABET[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void
base64url_encode(const uint8_t *bytes, size_t size, char *text)
{
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < size; i++) {
        bits = (bits << 8 | bytes[i]) & 0xffffU;
        held += 8;
        while (held >= 6) {
            held -= 6;
            *text++ = ALPHABET[bits >> held & 63U];
        }
    }
    if (held > 0) {
        *text = ALPHABET[bits << (6 - held) & 63U];
    }
}

static int
value_of(char character)
{
    if (character >= 'A' && character <= 'Z') {
        return character - 'A';
    }
    if (character >= 'a' && character <= 'z') {
        return character - 'a' + 26;
    }
    if (character >= '0' && character <= '9') {
        return character - '0' + 52;
    }
    if (character == '-') {
        return 62;
    }
    return character == '_' ? 63 : -1;
}

bool
base64url_decode(const char *text, size_t size, uint8_t *bytes, size_t *written)
{
    uint32_t bits = 0;
    unsigned held = 0;
    size_t count = 0;
    if (size % 4 == 1) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int value = value_of(text[i]);
        if (value < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t)value) & 0xffffU;
        held += 6;
        if (held >= 8) {
            held -= 8;
            bytes[count++] = (uint8_t)(bits >> held);
        }
    }
    *written = count;
    return (bits & ((1U << held) - 1U)) == 0;
}
