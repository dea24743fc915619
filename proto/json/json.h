/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Between JSON text and the structs of bodies.def, by the same field tables that drive the wire.
 *
 * An id is the text of its UUID, a time RFC 3339 in UTC with milliseconds, bytes are base64url (written only), money a nested
 * object. Numbers are whole.
 */
#ifndef LARDER_JSON_H
#define LARDER_JSON_H

#include <jansson.h>

#include "err.h"
#include "wire.h"

#define JSON_PATH_MAX 96
#define JSON_TIME_SIZE 24 /* 2026-01-31T23:59:59.999Z */

/* Room for the struct of any body. */
union json_any {
    uint64_t has;
#define BODY(body_name, growth, doc) struct wire_##body_name body_name##_value;
#include "bodies.def"
};

/* How a route's own name for something becomes a field of its operation. */
enum json_how {
    JSON_RENAMED,    /* `given` is another name of `field` */
    JSON_COUNT,      /* the same, and the number must be at least 1 */
    JSON_COUNT_TEXT, /* the same, and it may be a text of digits */
    JSON_ELEMENT,    /* a field of the same name in the only element of the list `field` */
    JSON_SKIPPED,    /* taken, whatever it is, and not used */
    JSON_HIDDEN,     /* refused as if it were not in the table */
    JSON_FIXED       /* the text `given` is what `field` always is */
};

/* Ends with a `given` of NULL. */
struct json_name {
    const char *given;
    const char *field;
    enum json_how how;
};

/* Fills one struct from several places: the path, the query, a JSON body. Zero-initialise it once; text and lists that were read
 * belong to it and live until the next json_reader_begin(). */
struct json_reader {
    const struct wire_body *body;
    uint64_t *target; /* the struct; it begins with its `has` */
    const struct json_name *names;
    json_t *root;
    union json_any element; /* of JSON_ELEMENT */
    const struct wire_field *element_field;
    struct wire_buffer lists[WIRE_DEPTH_MAX];
    size_t lists_used;
    char path[JSON_PATH_MAX]; /* where we are: "lines[3]." */
    size_t path_size;
};

/* Clears `target`, a struct of `body`, and sets what is fixed. `names` may be NULL. */
void
json_reader_begin(struct json_reader *reader, const struct wire_body *body, void *target, const struct json_name *names);

/* Takes a value from the path or the query. Its bytes must live as long as the struct. */
MUST_CHECK err
json_reader_text(struct json_reader *reader, struct slice name, struct slice value, struct err_text *why);

/* Takes a JSON document, an object. ERR_malformed: not JSON; ERR_invalid_field: the sentence begins with the field's name. */
MUST_CHECK err
json_reader_object(struct json_reader *reader, struct slice text, struct err_text *why);

/* Refuses what is missing. After ERR_ok the struct can be given to wire_encode(). */
MUST_CHECK err
json_reader_end(struct json_reader *reader, struct err_text *why);

/* Drops what was read; the struct's text and lists are gone. */
void
json_reader_clear(struct json_reader *reader);

void
json_reader_fini(struct json_reader *reader);

/* Appends the struct as an object: the fields whose bit is set, in the order of the table. */
void
json_write(const struct wire_body *body, const void *source, struct wire_buffer *out);

/* Appends one list as an array. */
void
json_write_list(struct wire_list list, const struct wire_body *element, struct wire_buffer *out);

/* Appends text with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void
json_write_text(struct slice text, struct wire_buffer *out);

/* Writes "2026-01-31T23:59:59.999Z"; not terminated. `utc_ms` is from 0 to the end of the year 9999. */
void
json_time_format(int64_t utc_ms, char text[JSON_TIME_SIZE]);

/* Reads a date-time of RFC 3339 with any offset; what is below a millisecond is cut. */
bool
json_time_parse(struct slice text, int64_t *utc_ms);

#endif
