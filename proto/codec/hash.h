/* SPDX-License-Identifier: MPL-2.0 */
/* FNV-1a, 64 bits (Fowler, Noll, Vo): what PROTOCOL.md sorts products into shards by, and every table that is found by bytes. */
#ifndef LARDER_HASH_H
#define LARDER_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_FIRST UINT64_C(0xcbf29ce484222325)

/* A byte, or a number in one step. */
static inline uint64_t
hash_number(uint64_t hash, uint64_t number)
{
    return (hash ^ number) * UINT64_C(0x100000001b3);
}

static inline uint64_t
hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = hash_number(hash, bytes[i]);
    }
    return hash;
}

#endif
