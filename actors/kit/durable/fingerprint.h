/* SPDX-License-Identifier: MPL-2.0 */
/* What tells another request under the same id: of each request that was done one is stored, for ever. */
#ifndef LARDER_KIT_FINGERPRINT_H
#define LARDER_KIT_FINGERPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

/* The numbers are in the databases: they do not change. */
enum fingerprint_kind {
    FINGERPRINT_RAW = 0,  /* of earlier versions: over the bytes of the body, begun with the operation's number in their table */
    FINGERPRINT_NAMED = 1 /* over the operation's name and what the body says (wire_hash) */
};

struct fingerprint {
    uint64_t hash;
    int64_t kind; /* as it is stored; one of a later version is no request's */
};

/* Of a request of which wire_decode() has taken the body. */
struct fingerprint
fingerprint_of(enum op op, struct slice frame);

/* Of one that is known by what it says and not by its id: equal bytes are one request within a batch. It is stored nowhere, and these
 * are the large bodies: read once more field by field, a thousand rows each, they came faster than they were taken. */
struct fingerprint
fingerprint_of_bytes(struct slice frame);

/* Whether a stored one is that of a request with this body. */
bool
fingerprint_fits(const struct fingerprint *kept, enum op op, struct slice frame);

/* Two that were made by this version. */
static inline bool
fingerprint_equal(const struct fingerprint *a, const struct fingerprint *b)
{
    return a->hash == b->hash && a->kind == b->kind;
}

#endif
