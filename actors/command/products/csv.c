/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Reads comma-separated values strictly by RFC 4180, so that what is wrong is told and not guessed: a quote within a field that
 *   is not quoted, something behind a closing quote, a quote that is never closed.
 *
 * STATE
 *   A reader stands at the beginning of a record. The fields of a record are unquoted into one buffer.
 *
 * FAILURES
 *   A record with a fault is given with its line and the reason. A quote that is not closed would swallow the rest of the file, so
 *   reading goes on one line further: of a record of several lines the others are then read as records, and mostly are none.
 *
 * LIMITS
 *   CSV_RECORD_MAX bytes and CSV_FIELDS_MAX fields a record; commas alone separate. A lone CR is a character like others.
 */
#include "csv.h"

#include <string.h>

static const uint8_t byte_order_mark[] = {0xef, 0xbb, 0xbf};

/* One record on its way: where it begins and how far it is read. */
struct cursor {
    struct csv_reader *reader;
    struct csv_record *record;
    size_t at;
    size_t end; /* no record reaches further */
    size_t starts[CSV_FIELDS_MAX];
    size_t sizes[CSV_FIELDS_MAX];
};

void
csv_init(struct csv_reader *reader, struct slice text)
{
    *reader = (struct csv_reader){.text = text, .line = 1};
    if (text.size >= sizeof byte_order_mark && memcmp(text.data, byte_order_mark, sizeof byte_order_mark) == 0) {
        reader->at = sizeof byte_order_mark;
    }
}

void
csv_fini(struct csv_reader *reader)
{
    wire_buffer_fini(&reader->unquoted);
}

/* How many bytes a line end at `at` has; 0: there is none. */
static size_t
line_end(struct slice text, size_t at)
{
    if (at < text.size && text.data[at] == '\n') {
        return 1;
    }
    return at + 1 < text.size && text.data[at] == '\r' && text.data[at + 1] == '\n' ? 2 : 0;
}

static const char *
too_long(const struct cursor *cursor)
{
    bool is_cut = cursor->end < cursor->reader->text.size;
    return is_cut ? "longer than 65536 bytes: is a quote not closed?" : "a quote is not closed";
}

/* Behind the opening quote; copies up to the closing one. */
static const char *
read_quoted(struct cursor *cursor)
{
    struct slice text = cursor->reader->text;
    for (;;) {
        const uint8_t *quote = memchr(text.data + cursor->at, '"', cursor->end - cursor->at);
        if (quote == NULL) {
            return too_long(cursor);
        }
        size_t at = (size_t)(quote - text.data);
        bool is_doubled = at + 1 < cursor->end && text.data[at + 1] == '"';
        wire_buffer_append(&cursor->reader->unquoted, text.data + cursor->at, at - cursor->at + (is_doubled ? 1 : 0));
        cursor->at = at + (is_doubled ? 2 : 1);
        if (!is_doubled) {
            bool is_end = cursor->at == text.size || text.data[cursor->at] == ',' || line_end(text, cursor->at) > 0;
            return is_end ? NULL : "something stands behind a closing quote";
        }
    }
}

static const char *
read_plain(struct cursor *cursor)
{
    struct slice text = cursor->reader->text;
    size_t start = cursor->at;
    while (cursor->at < cursor->end && text.data[cursor->at] != ',' && line_end(text, cursor->at) == 0) {
        if (text.data[cursor->at] == '"') {
            return "a quote stands in a field that does not begin with one";
        }
        cursor->at++;
    }
    if (cursor->at == cursor->end && cursor->end < text.size) {
        return too_long(cursor);
    }
    wire_buffer_append(&cursor->reader->unquoted, text.data + start, cursor->at - start);
    return NULL;
}

/* Reads all fields; NULL or what is wrong. */
static const char *
read_fields(struct cursor *cursor)
{
    struct slice text = cursor->reader->text;
    struct csv_record *record = cursor->record;
    for (bool is_last = false; !is_last; record->count++) {
        if (record->count == CSV_FIELDS_MAX) {
            return "more than 64 columns";
        }
        bool is_quoted = cursor->at < cursor->end && text.data[cursor->at] == '"';
        size_t start = cursor->reader->unquoted.size;
        cursor->at += is_quoted ? 1 : 0;
        const char *fault = is_quoted ? read_quoted(cursor) : read_plain(cursor);
        if (fault != NULL) {
            return fault;
        }
        cursor->starts[record->count] = start;
        cursor->sizes[record->count] = cursor->reader->unquoted.size - start;
        is_last = cursor->at >= text.size || text.data[cursor->at] != ',';
        cursor->at += is_last ? line_end(text, cursor->at) : 1;
    }
    return NULL;
}

/* Moves behind what was read, counting its lines. */
static void
advance(struct csv_reader *reader, size_t to)
{
    const uint8_t *at = reader->text.data + reader->at;
    const uint8_t *end = reader->text.data + to;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        reader->line++;
        at++;
    }
    reader->at = to;
}

static size_t
next_line(const struct csv_reader *reader)
{
    const uint8_t *from = reader->text.data + reader->at;
    const uint8_t *end = memchr(from, '\n', reader->text.size - reader->at);
    return end == NULL ? reader->text.size : (size_t)(end - reader->text.data) + 1;
}

bool
csv_next(struct csv_reader *reader, struct csv_record *record)
{
    for (size_t blank = line_end(reader->text, reader->at); blank > 0; blank = line_end(reader->text, reader->at)) {
        advance(reader, reader->at + blank);
    }
    if (reader->at >= reader->text.size) {
        return false;
    }
    struct cursor cursor = {.reader = reader, .record = record, .at = reader->at, .end = reader->text.size};
    if (reader->text.size - reader->at > CSV_RECORD_MAX) {
        cursor.end = reader->at + CSV_RECORD_MAX;
    }
    record->line = reader->line;
    record->count = 0;
    reader->unquoted.size = 0;
    record->fault = read_fields(&cursor);
    for (size_t i = 0; record->fault == NULL && i < record->count; i++) {
        record->fields[i] = (struct slice){reader->unquoted.data + cursor.starts[i], cursor.sizes[i]};
    }
    advance(reader, record->fault == NULL ? cursor.at : next_line(reader));
    return true;
}

void
csv_write(struct slice field, struct wire_buffer *out)
{
    bool is_quoted = false;
    for (size_t i = 0; i < field.size && !is_quoted; i++) {
        is_quoted = strchr(",\"\r\n", field.data[i]) != NULL && field.data[i] != '\0';
    }
    wire_buffer_append(out, "\"", is_quoted ? 1 : 0);
    for (size_t i = 0; i < field.size; i++) {
        wire_buffer_append(out, "\"", field.data[i] == '"' ? 1 : 0);
        wire_buffer_append(out, &field.data[i], 1);
    }
    wire_buffer_append(out, "\",", is_quoted ? 2 : 0);
    wire_buffer_append(out, ",", is_quoted ? 0 : 1);
}
