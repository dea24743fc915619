/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about proto/codec/err.c. */
#include <criterion/criterion.h>

#include <string.h>

#include "err.h"
#include "utf8.h"

Test(err, is_found_by_its_symbol)
{
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        const char *symbol = err_symbol((err)code);
        cr_assert_eq(err_find(symbol, strlen(symbol)), code, "%s", symbol);
    }
}

Test(err, is_not_found_by_a_part_of_a_symbol)
{
    cr_assert_eq(err_find("out_of_stoc", 11), ERR_COUNT);
    cr_assert_eq(err_find("out_of_stocks", 13), ERR_COUNT);
    cr_assert_eq(err_find("", 0), ERR_COUNT);
}

Test(err, answers_what_the_table_says)
{
    cr_assert_eq(ERR_ok, 0);
    cr_assert_str_eq(err_symbol(ERR_out_of_stock), "out_of_stock");
    cr_assert_str_eq(err_words(ERR_out_of_stock), "There is not enough on the shelf.");
    cr_assert_eq(err_http(ERR_out_of_stock), 409);
    cr_assert_eq(err_disposition(ERR_out_of_stock), ERR_REFUSE);
    cr_assert_eq(err_disposition(ERR_unavailable), ERR_RETRY);
    cr_assert_eq(err_disposition(ERR_ok), ERR_DONE);
}

Test(err, has_an_http_status_and_words_for_every_code)
{
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        int http = err_http((err)code);
        cr_assert(http >= 200 && http < 600, "%s", err_symbol((err)code));
        cr_assert_gt(strlen(err_words((err)code)), 0);
    }
}

Test(err_say, returns_its_code_and_writes_the_sentence)
{
    struct err_text text;
    cr_assert_eq(err_say(&text, ERR_not_found, "no %s in row %d", "donut", 7), ERR_not_found);
    cr_assert_str_eq(text.text, "no donut in row 7");
}

Test(err_say, needs_no_place_for_the_sentence)
{
    cr_assert_eq(err_say(NULL, ERR_internal, "%d", 1), ERR_internal);
}

Test(err_say, cuts_a_long_sentence_between_two_characters)
{
    char quoted[400];
    for (size_t i = 0; i + 2 < sizeof quoted; i += 2) {
        memcpy(quoted + i, "\xc3\xa9", 3);
    }
    struct err_text text;
    (void)err_say(&text, ERR_malformed, "%s", quoted);
    cr_assert_eq(strlen(text.text), 254);
    cr_assert_eq(memcmp(text.text, quoted, 254), 0);
}

Test(err_say, replaces_what_is_not_text)
{
    struct err_text text;
    (void)err_say(&text, ERR_malformed,
                  "a\nb\x7f"
                  "c\xff"
                  "d\xc3(e\xc3\xa9\xed\xa0\x80");
    cr_assert_str_eq(text.text, "a?b?c?d?(e\xc3\xa9???");
}

Test(err_say, replaces_a_cut_character_at_the_end_of_a_short_sentence)
{
    struct err_text text;
    (void)err_say(&text, ERR_malformed, "%.*s", 4, "abc\xc3\xa9");
    cr_assert_str_eq(text.text, "abc?");
}
