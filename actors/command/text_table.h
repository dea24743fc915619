/* SPDX-License-Identifier: MPL-2.0 */
/* Tables for a person's eyes: columns as wide as what is in them, the last one cut where the line ends. */
#ifndef LARDER_TEXT_TABLE_H
#define LARDER_TEXT_TABLE_H

#include <stdint.h>
#include <stdio.h>

#include "wire.h"

#define TEXT_TABLE_COLUMNS 12
#define TEXT_TABLE_AGE_SIZE 16

struct text_column {
    const char *heading;
    bool is_number; /* stands at the right */
};

/* Filled cell by cell, row by row; the first row is the headings. Zero-initialise it. */
struct text_table {
    size_t columns;
    const struct text_column *heads;
    size_t widths[TEXT_TABLE_COLUMNS];
    struct wire_buffer text; /* the cells' bytes, one cell after the other */
    struct wire_buffer ends; /* a size_t each: where a cell ends */
};

void
text_table_begin(struct text_table *table, const struct text_column *heads, size_t columns);

/* The next cell. Control characters and bytes that are not UTF-8 are shown as dots: the text may come from anywhere. */
void
text_table_add(struct text_table *table, struct slice text);
void
text_table_add_number(struct text_table *table, int64_t number);

/* Prints the rows that were added and frees them. `width` 0: nothing is cut. */
void
text_table_print(struct text_table *table, FILE *out, size_t width);

/* How wide a line may be: the terminal's width; 0 when `out` is none. */
size_t
text_width(FILE *out);

/* Bytes as they are. */
void
text_write(FILE *out, struct slice text);

/* One text as a table shows it, not padded. */
void
text_print(FILE *out, struct slice text);

/* "12s", "3m", "5h", "12d"; what lies in the future is "0s". */
void
text_age(int64_t age_ms, char text[TEXT_TABLE_AGE_SIZE]);

#endif
