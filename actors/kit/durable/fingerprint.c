/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Fingerprints of requests: made anew by name and by what the body says, and compared with those of earlier versions, which
 *           were made of the bytes as they came and of the operation's number in the table of their build.
 *
 * STATE     None. The numbers that operations had are frozen (old_numbers.def).
 *
 * FAILURES  None. A kind that a later version made fits nothing.
 *
 * LIMITS    An old one fits only the body as it was sent then, byte for byte; which operation it was made for is known as well as 64
 *           bits tell. It was made on hosts whose lowest byte comes first, as all that larder ran on.
 */
#include "fingerprint.h"

#include "hash.h"

enum { NUMBERS_MAX = 8 };

struct old_numbers {
    uint8_t count;
    uint8_t numbers[NUMBERS_MAX];
};

#define COUNT_OF(...) (sizeof((const uint8_t[]){__VA_ARGS__}))

static const struct old_numbers old_numbers[OP_COUNT] = {
#define WAS(owner, verb, ...) [OP_##owner##_##verb] = {COUNT_OF(__VA_ARGS__), {__VA_ARGS__}},
#include "old_numbers.def"
};

#define WAS(owner, verb, ...) _Static_assert(COUNT_OF(__VA_ARGS__) <= NUMBERS_MAX, #owner "." #verb);
#include "old_numbers.def"

/* FNV-1a over 8 bytes at a time. */
static uint64_t
hash_raw(uint64_t number, struct slice body)
{
    uint64_t hash = HASH_FIRST ^ number;
    size_t i = 0;
    for (; i + 8 <= body.size; i += 8) {
        uint64_t word;
        memcpy(&word, body.data + i, sizeof word);
        hash = hash_number(hash, word);
        hash ^= hash >> 32;
    }
    for (; i < body.size; i++) {
        hash = hash_number(hash, body.data[i]);
    }
    return hash;
}

struct fingerprint
fingerprint_of(enum op op, struct slice frame)
{
    uint64_t hash = wire_hash_named(wire_ops[op].name, wire_hash(wire_ops[op].request, frame, NULL));
    return (struct fingerprint){.hash = hash, .kind = FINGERPRINT_NAMED};
}

struct fingerprint
fingerprint_of_bytes(struct slice frame)
{
    return (struct fingerprint){.hash = hash_raw(0, frame), .kind = FINGERPRINT_RAW};
}

bool
fingerprint_fits(const struct fingerprint *kept, enum op op, struct slice frame)
{
    if (kept->kind == FINGERPRINT_NAMED) {
        return fingerprint_of(op, frame).hash == kept->hash;
    }
    const struct old_numbers *old = &old_numbers[op];
    bool fits = false;
    for (size_t i = 0; kept->kind == FINGERPRINT_RAW && !fits && i < old->count; i++) {
        fits = hash_raw(old->numbers[i], frame) == kept->hash;
    }
    return fits;
}
