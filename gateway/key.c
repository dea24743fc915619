/* SPDX-License-Identifier: MPL-2.0 */
/*
 * key: from an Idempotency-Key to the request's one identity
 *
 * PURPOSE
 *   A client that repeats a request with its key gets the effect once and the same answer. The gateway keeps nothing for that: it
 *   derives the request's id from who asks, which route and which key, and the actor that owns the effect looks the id up.
 *
 *   All who show no token are one to it: they share one space of keys, in which one's order or sale would come back to another.
 *   So a key of theirs has to be one that nobody else finds: a UUID.
 *
 * FAILURES
 *   A key that is empty, too long or not visible ASCII is refused by the header's name, never cut.
 *
 * LIMITS
 *   The path's parameters are not part of the id: the same key for another product is another body under the same id, which the
 *   actor refuses as idempotency_mismatch. Two products on different shards of stock cannot be told apart that way.
 */
#include "key.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool
is_visible(uint8_t character)
{
    return character > 0x20 && character < 0x7f;
}

static err
refuse(struct err_text *why)
{
    return err_say(why, ERR_invalid_field, "Idempotency-Key: must be 1 to %d visible ASCII characters, quoted or not", KEY_MAX);
}

static err
parse_quoted(struct slice inside, struct key *key, struct err_text *why)
{
    size_t size = 0;
    for (size_t i = 0; i < inside.size; i++) {
        uint8_t character = inside.data[i];
        if (character == '"') {
            return refuse(why);
        }
        if (character == '\\') {
            if (++i == inside.size || (inside.data[i] != '"' && inside.data[i] != '\\')) {
                return refuse(why);
            }
            character = inside.data[i];
        }
        if (!is_visible(character) || size == KEY_MAX) {
            return refuse(why);
        }
        key->text[size++] = (char)character;
    }
    key->size = size;
    return size > 0 ? ERR_ok : refuse(why);
}

err
key_parse(struct slice header, struct key *key, struct err_text *why)
{
    if (header.size >= 2 && header.data[0] == '"' && header.data[header.size - 1] == '"') {
        return parse_quoted((struct slice){header.data + 1, header.size - 2}, key, why);
    }
    if (header.size == 0 || header.size > KEY_MAX || header.data[0] == '"') {
        return refuse(why);
    }
    for (size_t i = 0; i < header.size; i++) {
        if (!is_visible(header.data[i])) {
            return refuse(why);
        }
    }
    memcpy(key->text, header.data, header.size);
    key->size = header.size;
    return ERR_ok;
}

bool
key_is_uuid(const struct key *key)
{
    struct id id;
    if (!id_parse(key->text, key->size, &id)) {
        return false;
    }
    int version = id.bytes[6] >> 4;
    return (version == 4 || version == 7) && id.bytes[8] >> 6 == 2;
}

struct id
key_id(const char *principal, const char *route, const struct key *key)
{
    char bytes[1024];
    int size = snprintf(bytes, sizeof bytes, "%s%c%s%c%.*s", principal, '\n', route, '\n', (int)key->size, key->text);
    return id_of_bytes(bytes, (size_t)size < sizeof bytes ? (size_t)size : sizeof bytes);
}
