/* SPDX-License-Identifier: MPL-2.0 */
/* Numbers in bytes that are kept: 8 of them, the greatest first, whatever the machine. */
#ifndef LARDER_KIT_BIG_ENDIAN_H
#define LARDER_KIT_BIG_ENDIAN_H

#include <stdint.h>

static inline void
put_i64(uint8_t *out, int64_t value)
{
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)((uint64_t)value >> (56 - 8 * i));
    }
}

static inline int64_t
get_i64(const uint8_t *in)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | in[i];
    }
    return (int64_t)value;
}

#endif
