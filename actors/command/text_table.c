/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Aligns columns. All rows of a table are collected before the first is printed.
 *
 * FAILURES
 *   None: what cannot be shown is shown as a dot, so that a message from outside cannot command a terminal.
 *
 * LIMITS
 *   Each character counts as one column wide. A last column is never cut below CUT_LEAST characters.
 */
#include "text_table.h"

#include <assert.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "utf8.h"

#define CUT_LEAST 16
#define GAP 2

/* The length of what is shown at `at`, and whether it is shown as a dot. */
static size_t
character(struct slice text, size_t at, bool *is_dot)
{
    const uint8_t *bytes = text.data + at;
    size_t length = utf8_character(bytes, text.size - at);
    bool is_control = length == 1 && (bytes[0] < 0x20 || bytes[0] == 0x7f);
    bool is_high_control = length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0;
    *is_dot = length == 0 || is_control || is_high_control;
    return length == 0 ? 1 : length;
}

static void
append_cell(struct wire_buffer *out, struct slice text, size_t *width)
{
    *width = 0;
    for (size_t at = 0; at < text.size; (*width)++) {
        bool is_dot = false;
        size_t length = character(text, at, &is_dot);
        if (is_dot) {
            wire_buffer_append(out, ".", 1);
        } else {
            wire_buffer_append(out, text.data + at, length);
        }
        at += length;
    }
}

void
text_table_begin(struct text_table *table, const struct text_column *heads, size_t columns)
{
    assert(columns > 0 && columns <= TEXT_TABLE_COLUMNS);
    table->heads = heads;
    table->columns = columns;
    table->text.size = 0;
    table->ends.size = 0;
    for (size_t i = 0; i < columns; i++) {
        table->widths[i] = 0;
    }
    for (size_t i = 0; i < columns; i++) {
        text_table_add(table, slice_of(heads[i].heading));
    }
}

void
text_table_add(struct text_table *table, struct slice text)
{
    size_t column = table->ends.size / sizeof(size_t) % table->columns;
    size_t width = 0;
    append_cell(&table->text, text, &width);
    wire_buffer_append(&table->ends, &table->text.size, sizeof table->text.size);
    table->widths[column] = width > table->widths[column] ? width : table->widths[column];
}

void
text_table_add_number(struct text_table *table, int64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    text_table_add(table, slice_of(text));
}

/* Characters of a text that append_cell() has made. */
static size_t
width_of(struct slice text)
{
    size_t width = 0;
    for (size_t at = 0; at < text.size; at++) {
        width += (text.data[at] & 0xc0) != 0x80 ? 1 : 0;
    }
    return width;
}

static void
print_cut(FILE *out, struct slice text, size_t room)
{
    size_t size = 0;
    for (size_t left = room - 1; size < text.size && left > 0; left--) {
        do {
            size++;
        } while (size < text.size && (text.data[size] & 0xc0) == 0x80);
    }
    fprintf(out, "%.*s\xe2\x80\xa6", (int)size, (const char *)text.data);
}

static void
print_cell(const struct text_table *table, FILE *out, size_t column, struct slice text)
{
    size_t width = width_of(text);
    int pad = (int)(table->widths[column] - width);
    bool is_last = column + 1 == table->columns;
    if (table->heads[column].is_number) {
        fprintf(out, "%*s%.*s%s", pad, "", (int)text.size, (const char *)text.data, is_last ? "" : "  ");
    } else {
        fprintf(out, "%.*s%*s", (int)text.size, (const char *)text.data, is_last ? 0 : pad + GAP, "");
    }
}

/* What is left for the last column; SIZE_MAX when nothing is to be cut. */
static size_t
room_of_last(const struct text_table *table, size_t width)
{
    size_t used = 0;
    for (size_t i = 0; i + 1 < table->columns; i++) {
        used += table->widths[i] + GAP;
    }
    if (width == 0) {
        return SIZE_MAX;
    }
    return width < used + CUT_LEAST ? CUT_LEAST : width - used;
}

void
text_table_print(struct text_table *table, FILE *out, size_t width)
{
    size_t count = table->ends.size / sizeof(size_t);
    size_t room = room_of_last(table, width);
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        size_t column = i % table->columns;
        size_t end = 0;
        memcpy(&end, table->ends.data + i * sizeof end, sizeof end);
        struct slice text = {end == from ? (const uint8_t *)"" : table->text.data + from, end - from};
        if (column + 1 == table->columns && width_of(text) > room) {
            print_cut(out, text, room);
        } else {
            print_cell(table, out, column, text);
        }
        if (column + 1 == table->columns) {
            fputc('\n', out);
        }
        from = end;
    }
    wire_buffer_fini(&table->text);
    wire_buffer_fini(&table->ends);
}

size_t
text_width(FILE *out)
{
    struct winsize size = {0};
    bool is_terminal = isatty(fileno(out)) == 1 && ioctl(fileno(out), TIOCGWINSZ, &size) == 0;
    return is_terminal ? size.ws_col : 0;
}

void
text_write(FILE *out, struct slice text)
{
    if (text.size > 0) {
        (void)fwrite(text.data, 1, text.size, out);
    }
}

void
text_print(FILE *out, struct slice text)
{
    struct wire_buffer shown = {0};
    size_t width = 0;
    append_cell(&shown, text, &width);
    text_write(out, wire_buffer_slice(&shown));
    wire_buffer_fini(&shown);
}

void
text_age(int64_t age_ms, char text[TEXT_TABLE_AGE_SIZE])
{
    int64_t seconds = age_ms < 0 ? 0 : age_ms / 1000;
    if (seconds < 60) {
        snprintf(text, TEXT_TABLE_AGE_SIZE, "%llds", (long long)seconds);
    } else if (seconds < 60LL * 60) {
        snprintf(text, TEXT_TABLE_AGE_SIZE, "%lldm", (long long)(seconds / 60));
    } else if (seconds < 48LL * 60 * 60) {
        snprintf(text, TEXT_TABLE_AGE_SIZE, "%lldh", (long long)(seconds / 3600));
    } else {
        snprintf(text, TEXT_TABLE_AGE_SIZE, "%lldd", (long long)(seconds / 86400));
    }
}
