/* SPDX-License-Identifier: MPL-2.0 */
/* The head of an HTTP answer as bytes. */
#ifndef LARDER_KIT_HTTP_ANSWER_H
#define LARDER_KIT_HTTP_ANSWER_H

#include <stdbool.h>

#include "wire.h"

#define HTTP_DATE_SIZE 30

/* Who speaks HTTP/1.0 has to be told that the connection goes on, who speaks 1.1 that it does not. */
enum http_connection_word { HTTP_SAYS_NOTHING, HTTP_SAYS_CLOSE, HTTP_SAYS_KEEP_ALIVE };

struct http_answer {
    int status;
    const char *date;    /* as http_date() writes it */
    struct slice lines;  /* further headers, each with its CR LF */
    size_t content_size; /* said where the status has content, also when it is not sent */
    enum http_connection_word connection;
};

/* Appends the first line, the headers and the empty line. */
void
http_answer_write(const struct http_answer *answer, struct wire_buffer *out);

/* Whether answers of this status may carry content. */
bool
http_answer_has_content(int status);

/* The time as a Date header has it. */
void
http_date(int64_t utc_ms, char date[HTTP_DATE_SIZE]);

#endif
