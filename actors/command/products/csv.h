/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Comma-separated values as RFC 4180 has them: fields between commas, records between line ends (LF or CRLF), quotes around what holds
 * a comma, a quote (doubled) or a line end. Reads from memory; lines that are empty are passed over, so is a byte order mark.
 */
#ifndef LARDER_CSV_H
#define LARDER_CSV_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define CSV_FIELDS_MAX 64
#define CSV_RECORD_MAX 65536

struct csv_record {
    int64_t line;      /* where it begins, counted from 1 */
    const char *fault; /* what is wrong with it; NULL: nothing, and it has its fields */
    size_t count;
    struct slice fields[CSV_FIELDS_MAX]; /* live until the next record */
};

struct csv_reader {
    struct slice text;
    size_t at;
    int64_t line;
    struct wire_buffer unquoted;
};

/* `text` is borrowed until csv_fini(). */
void
csv_init(struct csv_reader *reader, struct slice text);

/* The next record; false at the end. Behind one that cannot be read it goes on with the line behind the one it began in. */
bool
csv_next(struct csv_reader *reader, struct csv_record *record);

void
csv_fini(struct csv_reader *reader);

/* Appends a field with a comma behind it, quoted where it must be. */
void
csv_write(struct slice field, struct wire_buffer *out);

#endif
