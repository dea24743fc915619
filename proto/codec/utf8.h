/* SPDX-License-Identifier: MPL-2.0 */
/* Well-formed UTF-8, as RFC 3629 has it. */
#ifndef LARDER_UTF8_H
#define LARDER_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length, 1 to 4, of the character that starts at `bytes`; 0 when these bytes do not begin with one: overlong, a surrogate,
 * above U+10FFFF, cut off, or `size` is 0. */
size_t
utf8_character(const uint8_t *bytes, size_t size);

#endif
