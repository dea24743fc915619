/* SPDX-License-Identifier: MPL-2.0 */
/* Proves the runner: this test fails, and tests/run goes red when it does not. */
#include <criterion/criterion.h>

Test(runner, reports_a_failure)
{
    cr_assert_eq(1, 2);
}
