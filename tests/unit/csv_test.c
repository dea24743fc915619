/* SPDX-License-Identifier: MPL-2.0 */
/* Comma-separated values: what is read, and what is told of what cannot be. */
#include "command/products/csv.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All records of a text as one line: `1[a][b] 2[c][d]`, a fault as `3!`. */
static void
read_all(struct slice text, char out[512])
{
    struct csv_reader reader;
    struct csv_record record;
    size_t size = 0;
    out[0] = '\0';
    csv_init(&reader, text);
    while (csv_next(&reader, &record)) {
        size +=
            (size_t)snprintf(out + size, 512 - size, "%s%d%s", size > 0 ? " " : "", (int)record.line, record.fault != NULL ? "!" : "");
        for (size_t i = 0; record.fault == NULL && i < record.count; i++) {
            size +=
                (size_t)snprintf(out + size, 512 - size, "[%.*s]", (int)record.fields[i].size, (const char *)record.fields[i].data);
        }
    }
    csv_fini(&reader);
}

struct text_case {
    char claim[64];
    char text[96];
    char records[96];
};

static struct text_case text_cases[] = {
    {"nothing", "", ""},
    {"a mark alone", "\xef\xbb\xbf", ""},
    {"lines that are empty", "\n\r\n\n", ""},
    {"two records", "a,b\nc,d\n", "1[a][b] 2[c][d]"},
    {"no line end at the end", "a,b\nc,d", "1[a][b] 2[c][d]"},
    {"CRLF", "a,b\r\nc,d\r\n", "1[a][b] 2[c][d]"},
    {"a mark is passed over",
     "\xef\xbb\xbf"
     "a,b\n",
     "1[a][b]"},
    {"empty lines count", "a\n\n\nb\n", "1[a] 4[b]"},
    {"empty fields", ",\n,,", "1[][] 2[][][]"},
    {"a field of quotes alone", "\"\",\"\"\"\"", "1[][\"]"},
    {"spaces belong to the field", " a , b \n", "1[ a ][ b ]"},
    {"a comma in quotes", "\"a,b\",c\n", "1[a,b][c]"},
    {"a doubled quote", "\"a \"\"b\"\" c\",d\n", "1[a \"b\" c][d]"},
    {"a line end in quotes", "\"a\nb\",c\nd,e\n", "1[a\nb][c] 3[d][e]"},
    {"CRLF in quotes stays", "\"a\r\nb\"\r\nc", "1[a\r\nb] 3[c]"},
    {"a lone CR is a character", "a\rb,c\n", "1[a\rb][c]"},
    {"quotes at the end of the text", "a,\"b\"", "1[a][b]"},
    {"a quote within a field", "a\"b,c\nd,e\n", "1! 2[d][e]"},
    {"something behind a closing quote", "\"a\"b,c\nd,e\n", "1! 2[d][e]"},
    {"a quote that is not closed", "\"a,b\nc,d\n", "1! 2[c][d]"},
    {"a quote that another line seems to close", "\"a,b\nc,\"d\"\ne,f\n", "1! 2[c][d] 3[e][f]"},
    {"a quote at the very end", "a,\"", "1!"},
    {"a fault on the last line", "a\n\"b", "1[a] 2!"},
};

ParameterizedTestParameters(csv, reads)
{
    return cr_make_param_array(struct text_case, text_cases, sizeof text_cases / sizeof *text_cases);
}

ParameterizedTest(struct text_case *one, csv, reads)
{
    char out[512];
    read_all(slice_of(one->text), out);
    cr_expect_str_eq(out, one->records, "%s: %s", one->claim, out);
}

Test(csv, nul_bytes_are_characters)
{
    char out[512];
    read_all((struct slice){(const uint8_t *)"a\0b,c\nd\n", 8}, out);
    cr_expect_str_eq(out, "1[a][c] 2[d]"); /* printed up to the NUL */
}

Test(csv, a_record_ends_within_its_limit)
{
    size_t size = 3 * CSV_RECORD_MAX;
    char *text = malloc(size);
    char out[512];
    memset(text, 'x', size);
    text[0] = '"';
    text[10] = '\n';
    text[12] = '\n';
    read_all((struct slice){(const uint8_t *)text, size}, out);
    cr_expect_str_eq(out, "1! 2[x] 3!", "%s", out);
    free(text);
}

Test(csv, a_record_of_the_limit_is_read)
{
    char *text = malloc(CSV_RECORD_MAX + 8);
    struct csv_reader reader;
    struct csv_record record;
    memset(text, 'x', CSV_RECORD_MAX + 8);
    text[CSV_RECORD_MAX - 1] = '\n';
    csv_init(&reader, (struct slice){(const uint8_t *)text, CSV_RECORD_MAX + 8});
    cr_assert(csv_next(&reader, &record));
    cr_expect_null(record.fault);
    cr_expect_eq(record.fields[0].size, CSV_RECORD_MAX - 1);
    cr_assert(csv_next(&reader, &record));
    cr_expect_eq(record.fields[0].size, 8);
    cr_expect_eq(record.line, 2);
    csv_fini(&reader);
    free(text);
}

Test(csv, more_than_64_columns_are_a_fault)
{
    char text[256] = "";
    char out[512];
    for (int i = 0; i < 64; i++) {
        strcat(text, ",");
    }
    strcat(text, "\na,b\n");
    read_all(slice_of(text), out);
    cr_expect_str_eq(out, "1! 2[a][b]");
}

Test(csv, what_is_written_is_read_again)
{
    static const char *const fields[] = {"plain", "", "a,b", "say \"so\"", "two\nlines", " spaces ", "\r"};
    struct wire_buffer out = {0};
    struct csv_reader reader;
    struct csv_record record;
    for (size_t i = 0; i < 7; i++) {
        csv_write(slice_of(fields[i]), &out);
    }
    csv_init(&reader, wire_buffer_slice(&out));
    cr_assert(csv_next(&reader, &record));
    cr_assert_null(record.fault);
    cr_assert_eq(record.count, 8); /* the last comma is followed by nothing */
    for (size_t i = 0; i < 7; i++) {
        cr_expect(slice_equal(record.fields[i], slice_of(fields[i])), "%s", fields[i]);
    }
    csv_fini(&reader);
    wire_buffer_fini(&out);
}
