/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The table made of errors.def, and the sentence that goes with an error.
 *
 *   A sentence often quotes what came from outside, and goes out again as `problem.detail`, into a log line or into a row. So
 *   err_say() leaves well-formed UTF-8 without control characters whatever was quoted: bytes that are neither become '?', and
 *   a sentence that is too long is cut between two characters.
 *
 * FAILURES
 *   An unknown symbol is ERR_COUNT. A code outside the table is our own bug and asserts.
 *
 * LIMITS
 *   ERR_TEXT_MAX - 1 bytes of sentence. err_find() walks the table: some 50 comparisons of a length.
 */
#include "err.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

struct entry {
    const char *symbol;
    const char *words;
    size_t symbol_size;
    int http;
    enum err_disposition disposition;
};

static const struct entry entries[ERR_COUNT] = {
#define ERROR(symbol, http, disposition, words) [ERR_##symbol] = {#symbol, words, sizeof #symbol - 1, http, ERR_##disposition},
#include "errors.def"
};

static const struct entry *
entry_of(err code)
{
    assert((unsigned)code < ERR_COUNT);
    return &entries[code];
}

const char *
err_symbol(err code)
{
    return entry_of(code)->symbol;
}

const char *
err_words(err code)
{
    return entry_of(code)->words;
}

int
err_http(err code)
{
    return entry_of(code)->http;
}

enum err_disposition
err_disposition(err code)
{
    return entry_of(code)->disposition;
}

err
err_find(const char *symbol, size_t size)
{
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        if (entries[code].symbol_size == size && memcmp(entries[code].symbol, symbol, size) == 0) {
            return (err)code;
        }
    }
    return ERR_COUNT;
}

static void
make_printable(char *text, bool was_cut)
{
    size_t size = strlen(text);
    size_t at = 0;
    while (at < size) {
        unsigned char first = (unsigned char)text[at];
        size_t length = utf8_character((const uint8_t *)text + at, size - at);
        if (length == 0 && was_cut && size - at < 4 && first >= 0xc2) {
            text[at] = '\0';
            return;
        }
        if (length == 0 || first < 0x20 || first == 0x7f) {
            text[at] = '?';
            length = 1;
        }
        at += length;
    }
}

err
err_say_list(struct err_text *text, err code, const char *format, va_list arguments)
{
    if (text == NULL) {
        return code;
    }
    int size = vsnprintf(text->text, sizeof text->text, format, arguments);
    if (size < 0) {
        text->text[0] = '\0';
    }
    make_printable(text->text, size >= (int)sizeof text->text);
    return code;
}

err
err_say(struct err_text *text, err code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)err_say_list(text, code, format, arguments);
    va_end(arguments);
    return code;
}
