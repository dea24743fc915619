/* SPDX-License-Identifier: MPL-2.0 */
/* What can go wrong: the codes of errors.def, and the sentence that goes with one. */
#ifndef LARDER_ERR_H
#define LARDER_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define ERR_TEXT_MAX 256
#define MUST_CHECK __attribute__((warn_unused_result))

enum err {
#define ERROR(symbol, http, disposition, words) ERR_##symbol,
#include "errors.def"
    ERR_COUNT
};
typedef enum err err;

enum err_disposition { ERR_DONE, ERR_REFUSE, ERR_RETRY, ERR_DEAD, ERR_BUG };

/* A sentence for a person: what is wrong, with which thing. Always terminated. */
struct err_text {
    char text[ERR_TEXT_MAX];
};

/* The symbol as it stands in errors.def and on the wire, e.g. "out_of_stock". */
const char *
err_symbol(err code);

/* The title in words. */
const char *
err_words(err code);

/* The HTTP status, e.g. 409. */
int
err_http(err code);

enum err_disposition
err_disposition(err code);

/* Finds the code of a symbol; ERR_COUNT when there is none. */
err
err_find(const char *symbol, size_t size);

/* Writes the sentence (printf-style, cut at ERR_TEXT_MAX - 1) and returns `code`, so that one line says both. `text` may be NULL. */
err
err_say(struct err_text *text, err code, const char *format, ...) __attribute__((format(printf, 3, 4)));
err
err_say_list(struct err_text *text, err code, const char *format, va_list arguments) __attribute__((format(printf, 3, 0)));

#endif
