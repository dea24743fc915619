/* SPDX-License-Identifier: MPL-2.0 */
/* Tables for a person's eyes. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/text_table.h"

static const struct text_column columns[] = {{"NAME", false}, {"N", true}, {"WORDS", false}};

/* The table of these rows, as printed. */
static void
print(const char *const rows[][3], size_t count, size_t width, char out[1024])
{
    struct text_table table = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    text_table_begin(&table, columns, 3);
    for (size_t i = 0; i < count; i++) {
        for (size_t cell = 0; cell < 3; cell++) {
            text_table_add(&table, slice_of(rows[i][cell]));
        }
    }
    text_table_print(&table, file, width);
    fclose(file);
    snprintf(out, 1024, "%s", text);
    free(text);
}

Test(text_table, columns_are_as_wide_as_what_is_in_them)
{
    static const char *const rows[][3] = {{"donut", "7", "sold"}, {"a", "1234", "x"}};
    char out[1024];
    print(rows, 2, 0, out);
    cr_assert_str_eq(out, "NAME      N  WORDS\ndonut     7  sold\na      1234  x\n");
}

Test(text_table, characters_count_and_not_bytes)
{
    static const char *const rows[][3] = {{"\xc3\xa9\xe2\x82\xac", "1", "x"}, {"abcde", "1", "x"}};
    char out[1024];
    print(rows, 2, 0, out);
    cr_assert_str_eq(out, "NAME   N  WORDS\n\xc3\xa9\xe2\x82\xac     1  x\nabcde  1  x\n");
}

Test(text_table, last_column_is_cut_at_the_end_of_the_line)
{
    static const char *const rows[][3] = {{"donut", "7", "\xc3\xa9verything that went wrong, and more"}};
    char out[1024];
    print(rows, 1, 30, out);
    cr_assert_str_eq(out, "NAME   N  WORDS\ndonut  7  \xc3\xa9verything that wen\xe2\x80\xa6\n");
}

Test(text_table, last_column_keeps_some_room_on_a_narrow_line)
{
    static const char *const rows[][3] = {{"donut", "7", "0123456789abcdefghi"}};
    char out[1024];
    print(rows, 1, 10, out);
    cr_assert_str_eq(out, "NAME   N  WORDS\ndonut  7  0123456789abcde\xe2\x80\xa6\n");
}

Test(text_table, what_would_command_a_terminal_is_a_dot)
{
    static const char *const rows[][3] = {{"a\x1b[2J", "1", "b\xc2\x9b\x07\n\xff\x7f\xc3\xa9"}};
    char out[1024];
    print(rows, 1, 0, out);
    cr_assert_str_eq(out, "NAME   N  WORDS\na.[2J  1  b.....\xc3\xa9\n");
}

Test(text_table, can_be_used_again_after_printing)
{
    struct text_table table = {0};
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    for (int i = 0; i < 2; i++) {
        text_table_begin(&table, columns, 1);
        text_table_add_number(&table, INT64_MIN);
        text_table_print(&table, file, 0);
    }
    fclose(file);
    cr_assert_str_eq(text, "NAME\n-9223372036854775808\nNAME\n-9223372036854775808\n");
    free(text);
}

Test(text_table, ages_have_one_unit)
{
    static const struct {
        int64_t ms;
        char text[8];
    } ages[] = {{-5, "0s"},      {999, "0s"},        {59999, "59s"},    {60000, "1m"},       {3599999, "59m"},
                {3600000, "1h"}, {172799999, "47h"}, {172800000, "2d"}, {8640000000, "100d"}};
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        char text[TEXT_TABLE_AGE_SIZE];
        text_age(ages[i].ms, text);
        cr_expect_str_eq(text, ages[i].text);
    }
}
