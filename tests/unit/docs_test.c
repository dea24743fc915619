/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about proto/tables/docs.c. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "docs.h"
#include "wire.h"

static char *
print(const char *part)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    cr_assert_eq(docs_print(out, part), ERR_ok);
    cr_assert_eq(fclose(out), 0);
    return text;
}

static void
expect_row(const char *text, const char *name)
{
    char row[128];
    snprintf(row, sizeof row, "\n| `%s` | ", name);
    cr_assert_not_null(strstr(text, row), "%s", row);
}

Test(docs, have_a_row_for_every_error_operation_and_event)
{
    char *errors = print("errors");
    char *operations = print("operations");
    char *events = print("events");
    for (unsigned i = 0; i < ERR_COUNT; i++) {
        expect_row(errors, err_symbol((err)i));
    }
    for (unsigned i = 0; i < OP_COUNT; i++) {
        expect_row(operations, wire_ops[i].name);
    }
    for (unsigned i = 0; i < EVENT_COUNT; i++) {
        expect_row(events, wire_events[i].name);
    }
    free(errors);
    free(operations);
    free(events);
}

Test(docs, have_a_heading_for_every_body_and_a_row_for_every_field)
{
    char *bodies = print("bodies");
    char heading[128];
    for (unsigned i = 0; i < WIRE_BODY_COUNT; i++) {
        const struct wire_body *body = wire_bodies[i];
        snprintf(heading, sizeof heading, "#### %s\n", body->name);
        cr_assert_not_null(strstr(bodies, heading), "%s", heading);
        for (size_t j = 0; j < body->field_count; j++) {
            expect_row(bodies, body->fields[j].name);
        }
    }
    cr_assert_not_null(strstr(bodies, "| `lines` | array, 1 to 1000 of [`stock_line`](#stock_line) | yes | what is taken; "));
    free(bodies);
}

Test(docs, refuse_a_part_that_there_is_not)
{
    cr_assert_eq(docs_print(stdout, "poems"), ERR_not_found);
}
