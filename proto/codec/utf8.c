/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Tells well-formed UTF-8 from what only looks like it. The table of RFC 3629, section 4: the lead byte says how long a
 *   character is and between which bounds its second byte must lie; every further byte lies in 80..BF.
 *
 * FAILURES
 *   What is not well-formed has the length 0.
 *
 * LIMITS
 *   NUL is a character here; who must not have one in a text asks for it.
 */
#include "utf8.h"

struct lead {
    uint8_t size;
    uint8_t second_lo;
    uint8_t second_hi;
};

static struct lead
lead_of(uint8_t byte)
{
    if (byte < 0xc2) {
        return (struct lead){0, 0, 0};
    }
    if (byte < 0xe0) {
        return (struct lead){2, 0x80, 0xbf};
    }
    if (byte < 0xf0) {
        return (struct lead){3, byte == 0xe0 ? 0xa0 : 0x80, byte == 0xed ? 0x9f : 0xbf};
    }
    if (byte < 0xf5) {
        return (struct lead){4, byte == 0xf0 ? 0x90 : 0x80, byte == 0xf4 ? 0x8f : 0xbf};
    }
    return (struct lead){0, 0, 0};
}

size_t
utf8_character(const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return 0;
    }
    if (bytes[0] < 0x80) {
        return 1;
    }
    struct lead lead = lead_of(bytes[0]);
    if (lead.size == 0 || lead.size > size || bytes[1] < lead.second_lo || bytes[1] > lead.second_hi) {
        return 0;
    }
    for (size_t i = 2; i < lead.size; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return lead.size;
}
