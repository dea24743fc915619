/* SPDX-License-Identifier: MPL-2.0 */
/* Base64 with the alphabet that URLs bear (RFC 4648, section 5), without padding. */
#ifndef LARDER_KIT_BASE64URL_H
#define LARDER_KIT_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BASE64URL_SIZE(bytes) (((bytes)*4 + 2) / 3)

/* Writes BASE64URL_SIZE(size) characters, not terminated. */
void
base64url_encode(const uint8_t *bytes, size_t size, char *text);

/* Writes at most size * 3 / 4 bytes and tells how many. False: a foreign character, an impossible length, or bits left over, so
 * that each sequence of bytes has one spelling. */
bool
base64url_decode(const char *text, size_t size, uint8_t *bytes, size_t *written);

#endif
