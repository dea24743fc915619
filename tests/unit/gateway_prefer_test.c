/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about gateway/http/prefer.c. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "http/prefer.h"

struct preference {
    char value[80];
    bool is_async;
};

ParameterizedTestParameters(gateway_prefer, finds_the_one_preference)
{
    static struct preference rows[] = {
        {"respond-async", true},
        {"Respond-ASYNC", true},
        {" \trespond-async ", true},
        {"respond-async, wait=10", true},
        {"wait=10,respond-async", true},
        {"handling=lenient;strict, wait=10 , respond-async;x=1", true},
        {"respond-async=\"\"", true},
        {"respond-async=", true},
        {"return=\"a, b\", respond-async", true},
        {"return=\"a \\\" b\", respond-async", true},
        {",,respond-async,", true},
        {"", false},
        {"wait=10", false},
        {"respond-asynchronously", false},
        {"not-respond-async", false},
        {"respond-async=1", false},
        {"return=\"respond-async\"", false},
        {"return=\"a, respond-async, b\"", false},
        {"return=\"a, respond-async", false},
        {"return=\"a\\", false},
        {"return; respond-async", false},
    };
    return cr_make_param_array(struct preference, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct preference *row, gateway_prefer, finds_the_one_preference)
{
    cr_assert_eq(prefer_is_async(slice_of(row->value)), row->is_async, "%s", row->value);
}
