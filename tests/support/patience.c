/* SPDX-License-Identifier: MPL-2.0 */
#include "patience.h"

#include <criterion/criterion.h>
#include <criterion/hooks.h>

#include <stdlib.h>

#define MOST 40.0

static double
factor(void)
{
    const char *told = getenv("LARDER_TEST_PATIENCE");
    double value = told == NULL ? 1.0 : strtod(told, NULL);
    return value < 1.0 ? 1.0 : value > MOST ? MOST : value;
}

int
patience_ms(int milliseconds)
{
    return (int)(milliseconds * factor());
}

static void
stretch(struct criterion_test_extra_data *data)
{
    if (data != NULL) {
        data->timeout *= factor();
    }
}

static void
stretch_suite(struct criterion_suite_set *suite)
{
    stretch(suite->suite.data);
    FOREACH_SET(struct criterion_test * test, suite->tests)
    {
        stretch(test->data);
    }
}

/* In the runner, before any test: the time-outs stand in the tests' own data. */
ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    FOREACH_SET(struct criterion_suite_set * suite, tests->suites)
    {
        stretch_suite(suite);
    }
}
