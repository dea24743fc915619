/* SPDX-License-Identifier: MPL-2.0 */
/* 16-byte identities: UUIDv7 (time-ordered) or derived from another id and a step. */
#ifndef LARDER_ID_H
#define LARDER_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_SIZE 16
#define ID_TEXT_SIZE 37 /* 8-4-4-4-12 hexadecimal digits and the terminator */

struct id {
    uint8_t bytes[ID_SIZE];
};

/* A new UUIDv7 (RFC 9562): 48 bits of UTC milliseconds, then a counter and random bits; ids of one thread ascend. */
struct id
id_new(void);

/* The id of a step of a request: the first 16 bytes of BLAKE2b over the id's bytes and the step's text, marked as UUIDv8. The
 * same input gives the same id in every process and every language (PROTOCOL.md). */
struct id
id_derive(const struct id *from, const char *step);

/* The id of arbitrary bytes, e.g. principal, route and idempotency key; as id_derive() with no id before the text. */
struct id
id_of_bytes(const void *bytes, size_t size);

bool
id_equal(const struct id *a, const struct id *b);

bool
id_is_zero(const struct id *id);

/* A 64-bit hash for tables in memory. */
uint64_t
id_hash(const struct id *id);

/* Lower-case text with hyphens, terminated. */
void
id_format(const struct id *id, char text[ID_TEXT_SIZE]);

/* Accepts the 36 characters of a UUID in either case and nothing else. */
bool
id_parse(const char *text, size_t size, struct id *id);

#endif
