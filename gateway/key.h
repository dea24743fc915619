/* SPDX-License-Identifier: MPL-2.0 */
/* The Idempotency-Key header, and the request id that is made of it. */
#ifndef LARDER_KEY_H
#define LARDER_KEY_H

#include <stdbool.h>

#include "err.h"
#include "id.h"
#include "wire.h"

#define KEY_MAX 255

struct key {
    char text[KEY_MAX];
    size_t size;
};

/* Reads the header's value, quoted (with \" and \\ inside) or not: 1 to 255 visible ASCII characters. ERR_invalid_field says what
 * is wrong. `"a"` and `a` are the same key. */
MUST_CHECK err
key_parse(struct slice header, struct key *key, struct err_text *why);

/* Whether it is the text of a UUID whose bits are random: version 4 or 7, in either case. */
bool
key_is_uuid(const struct key *key);

/* The id of a keyed request: the same for the same principal, route and key, on every gateway. */
struct id
key_id(const char *principal, const char *route, const struct key *key);

#endif
