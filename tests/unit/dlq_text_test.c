/* SPDX-License-Identifier: MPL-2.0 */
/* Messages as lines of text, and changed by them. */
#include "dlq/letter/dlq_text.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

static struct arena arena;

/* --- messages --- */

static struct slice
a_fact(int64_t quantity)
{
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_of_bytes("p", 1));
    WIRE_SET(&fact, factory_fact, product, slice_of("donut"));
    WIRE_SET(&fact, factory_fact, quantity, quantity);
    return arena_encode(&arena, &factory_fact_body, &fact);
}

static struct slice
a_take(void)
{
    struct wire_stock_take take = {0};
    struct wire_list lines = {0};
    struct wire_buffer bytes = {0};
    for (int64_t quantity = 1; quantity <= 2; quantity++) {
        struct wire_stock_line line = {0};
        WIRE_SET(&line, stock_line, product, slice_of("donut"));
        WIRE_SET(&line, stock_line, quantity, quantity);
        wire_list_add(&lines, &stock_line_body, &line, &bytes);
    }
    wire_list_end(&lines, &bytes);
    WIRE_SET(&take, stock_take, lines, lines);
    struct slice frame = arena_encode(&arena, &stock_take_body, &take);
    wire_buffer_fini(&bytes);
    return frame;
}

static struct slice
a_product(void)
{
    struct wire_sales_product product = {0};
    WIRE_SET(&product, sales_product, product, slice_of("donut"));
    WIRE_SET(&product, sales_product, on_hand, 3);
    WIRE_SET(&product, sales_product, reserved, 0);
    WIRE_SET(&product, sales_product, available, 3);
    WIRE_SET(&product, sales_product, incoming, 0);
    WIRE_SET(&product, sales_product, version, 1);
    return arena_encode(&arena, &sales_product_body, &product);
}

static struct slice
a_production(void)
{
    struct wire_production production = {0};
    WIRE_SET(&production, production, id, id_of_bytes("p", 1));
    WIRE_SET(&production, production, product, slice_of("donut"));
    WIRE_SET(&production, production, quantity, 10);
    WIRE_SET(&production, production, status, slice_of("ordered"));
    WIRE_SET(&production, production, ordered_at, INT64_C(1767225599950));
    WIRE_SET(&production, production, error, slice_of("none yet"));
    return arena_encode(&arena, &production_body, &production);
}

/* --- what is seen --- */

/* "name=value" joined by blanks. */
static const char *
shown(const struct wire_body *body, struct slice frame)
{
    static char text[8192];
    struct wire_letter_field line;
    size_t used = 0;
    struct wire_list lines = dlq_text_fields(body, frame, &arena);
    text[0] = '\0';
    while (wire_list_next(&lines, &letter_field_body, &line)) {
        used += (size_t)snprintf(&text[used], sizeof text - used, "%s%.*s=%.*s", used == 0 ? "" : " ", (int)line.name.size,
                                 (const char *)line.name.data, (int)line.value.size, (const char *)line.value.data);
    }
    return text;
}

static struct wire_list
changes_of(const char *const *pairs, size_t count)
{
    struct wire_list changes = {0};
    struct wire_buffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        struct wire_letter_field line = {0};
        WIRE_SET(&line, letter_field, name, slice_of(pairs[2 * i]));
        WIRE_SET(&line, letter_field, value, slice_of(pairs[2 * i + 1]));
        wire_list_add(&changes, &letter_field_body, &line, &bytes);
    }
    struct slice copy = arena_copy(&arena, wire_buffer_slice(&bytes));
    wire_buffer_fini(&bytes);
    changes.data = copy.data;
    changes.size = copy.size;
    return changes;
}

static const char *
edited_as(const struct wire_body *body, struct slice frame, const char *name, const char *value)
{
    static char refusal[ERR_TEXT_MAX + 64];
    const char *pair[] = {name, value};
    struct slice edited = {0};
    struct err_text why = {""};
    err code = dlq_text_apply(body, frame, changes_of(pair, 1), &arena, &edited, &why);
    if (code == ERR_ok) {
        return shown(body, edited);
    }
    snprintf(refusal, sizeof refusal, "%s: %s", err_symbol(code), why.text);
    return refusal;
}

static void
forget(void)
{
    arena_fini(&arena);
}

TestSuite(dlq_text, .fini = forget);

Test(dlq_text, shows_each_field_as_json_has_it)
{
    cr_expect_not_null(strstr(shown(&factory_fact_body, a_fact(10)), " product=donut quantity=10"));
    const char *text = shown(&production_body, a_production());
    cr_expect_not_null(strstr(text, "ordered_at=2025-12-31T23:59:59.950Z error=none yet"), "%s", text);
    cr_expect_not_null(strstr(text, "id="));
}

Test(dlq_text, shows_elements_by_number)
{
    cr_expect_str_eq(shown(&stock_take_body, a_take()),
                     "lines[0].product=donut lines[0].quantity=1 lines[1].product=donut lines[1].quantity=2");
}

Test(dlq_text, shows_the_members_of_json)
{
    cr_expect_str_eq(shown(NULL, slice_of("{\"a\":\"b c\",\"n\":12,\"t\":true,\"o\":{\"x\":[1,null]},\"\":\"\"}")),
                     "a=b c n=12 t=true o={\"x\":[1,null]} \"\"=");
}

Test(dlq_text, shows_what_it_does_not_know_as_it_is)
{
    cr_expect_str_eq(shown(NULL, slice_of("hello")), "body=hello");
    cr_expect_str_eq(shown(NULL, slice_of("[1]")), "body=[1]");
    cr_expect_str_eq(shown(&factory_fact_body, slice_of("\xc1\xff")), "body=c1ff");
    cr_expect_str_eq(shown(&factory_fact_body, (struct slice){0}), "");
}

Test(dlq_text, cuts_what_is_long_and_counts_what_is_much)
{
    char json[70000] = "{";
    size_t used = 1;
    for (int i = 0; i < 70; i++) {
        used += (size_t)snprintf(&json[used], sizeof json - used, "%s\"f%d\":\"", i == 0 ? "" : ",", i);
        memset(&json[used], 'x', i == 0 ? 5000 : 1);
        used += i == 0 ? 5000 : 1;
        used += (size_t)snprintf(&json[used], sizeof json - used, "\"");
    }
    snprintf(&json[used], sizeof json - used, "}");
    struct wire_list lines = dlq_text_fields(NULL, slice_of(json), &arena);
    struct wire_letter_field line;
    cr_expect_eq(lines.count, 64);
    cr_assert(wire_list_next(&lines, &letter_field_body, &line));
    cr_expect_eq(line.value.size, 4096);
    while (wire_list_next(&lines, &letter_field_body, &line)) {
    }
    cr_expect(slice_equal(line.value, slice_of("and 7 more")), "%.*s", (int)line.value.size, (const char *)line.value.data);
}

/* --- edits --- */

enum message { FACT, TAKE, PRODUCT, PRODUCTION };

struct edit_case {
    enum message message;
    char name[32];
    char value[96];
    char outcome[128]; /* a part of what is shown then, or the refusal from its beginning */
};

static struct edit_case edit_cases[] = {
    {FACT, "quantity", "12", " quantity=12"},
    {FACT, "product", "Bagel_1", " product=Bagel_1 quantity=10"},
    {FACT, "error", "late", " error=late"},
    {FACT, "error", "", "quantity=10 error="},
    {FACT, "production", "01890a5d-ac96-774b-bcce-b302099a8057", "production=01890a5d-ac96-774b-bcce-b302099a8057"},
    {TAKE, "lines[1].quantity", "7", "lines[0].quantity=1 lines[1].product=donut lines[1].quantity=7"},
    {TAKE, "reference", "r", " reference=r"},
    {PRODUCT, "price.amount", "5", "invalid_field: price.currency: is missing"},
    {PRODUCTION, "ordered_at", "2026-01-01T00:00:00Z", "ordered_at=2026-01-01T00:00:00.000Z"},
    {PRODUCTION, "due_at", "2026-01-01T00:00:00.250Z", "due_at=2026-01-01T00:00:00.250Z"},
    {FACT, "quantity", "0", "invalid_field: quantity: must be from 1 to "},
    {FACT, "quantity", "ten", "invalid_field: quantity: not a whole number"},
    {FACT, "quantity", "1.5", "invalid_field: quantity: not a whole number"},
    {FACT, "quantity", " 1", "invalid_field: quantity: not a whole number"},
    {FACT, "quantity", "99999999999999999999", "invalid_field: quantity: must be from 1 to "},
    {FACT, "quantity", "", "invalid_field: quantity: cannot be left out"},
    {FACT, "product", "a b", "invalid_field: product: only letters, digits, - and _"},
    {FACT, "product", "", "invalid_field: product: cannot be left out"},
    {FACT, "production", "01890a5d", "invalid_field: production: not a UUID"},
    {FACT, "colour", "red", "invalid_field: colour: factory_fact has no such field"},
    {TAKE, "lines[2].quantity", "7", "invalid_field: lines[2].quantity: stock_take has no such field"},
    {TAKE, "lines", "7", "invalid_field: lines: has fields of its own"},
    {TAKE, "lines[0].quantity", "-1", "invalid_field: lines[0].quantity: must be from 1 to "},
    {PRODUCTION, "ordered_at", "yesterday", "invalid_field: ordered_at: not a time like "},
    {PRODUCTION, "ordered_at", "2026-01-01T00:00:00+01:00", "invalid_field: ordered_at: not a time like "},
    {PRODUCTION, "ordered_at", "1960-01-01T00:00:00Z", "invalid_field: ordered_at: this time cannot be sent"},
};

ParameterizedTestParameters(dlq_text, an_edit)
{
    return cr_make_param_array(struct edit_case, edit_cases, sizeof edit_cases / sizeof *edit_cases);
}

ParameterizedTest(struct edit_case *row, dlq_text, an_edit, .fini = forget)
{
    const struct wire_body *bodies[] = {&factory_fact_body, &stock_take_body, &sales_product_body, &production_body};
    struct slice frame = row->message == FACT      ? a_fact(10)
                         : row->message == TAKE    ? a_take()
                         : row->message == PRODUCT ? a_product()
                                                   : a_production();
    const char *seen = edited_as(bodies[row->message], frame, row->name, row->value);
    cr_expect_not_null(strstr(seen, row->outcome), "%s: %s is \"%s\" and not \"%s\"", row->name, row->value, seen, row->outcome);
}

Test(dlq_text, a_nested_map_comes_to_be_whole)
{
    const char *pairs[] = {"price.amount", "19900", "price.currency", "KRW"};
    struct slice edited = {0};
    struct err_text why = {""};
    err code = dlq_text_apply(&sales_product_body, a_product(), changes_of(pairs, 2), &arena, &edited, &why);
    cr_assert(code == ERR_ok, "%s", why.text);
    cr_expect_not_null(strstr(shown(&sales_product_body, edited), "price.amount=19900 price.currency=KRW"));
}

Test(dlq_text, no_field_is_changed_twice)
{
    const char *pairs[] = {"quantity", "1", "quantity", "2"};
    struct slice edited = {0};
    struct err_text why = {""};
    cr_expect(dlq_text_apply(&factory_fact_body, a_fact(10), changes_of(pairs, 2), &arena, &edited, &why) == ERR_invalid_field);
    cr_expect_str_eq(why.text, "quantity: given twice");
}

Test(dlq_text, only_what_decodes_is_changed_by_fields)
{
    const char *pairs[] = {"quantity", "1"};
    struct slice edited = {0};
    struct err_text why = {""};
    cr_expect(dlq_text_apply(NULL, slice_of("{}"), changes_of(pairs, 1), &arena, &edited, &why) == ERR_not_editable);
    cr_expect(dlq_text_apply(&factory_fact_body, slice_of("\x80"), changes_of(pairs, 1), &arena, &edited, &why) == ERR_not_editable);
}

/* --- differences --- */

Test(dlq_text, a_difference_names_what_was_and_what_is)
{
    char text[256];
    dlq_text_diff(&factory_fact_body, a_fact(10), a_fact(12), &arena, text, sizeof text);
    cr_expect_str_eq(text, "quantity: 10 -> 12");
    dlq_text_diff(&factory_fact_body, a_fact(10), a_fact(10), &arena, text, sizeof text);
    cr_expect_str_eq(text, "");
    dlq_text_diff(NULL, slice_of("{\"a\":1,\"b\":2}"), slice_of("{\"b\":3,\"c\":4}"), &arena, text, sizeof text);
    cr_expect_str_eq(text, "a: 1 -> (none); b: 2 -> 3; c: (none) -> 4");
}

Test(dlq_text, a_difference_is_cut_to_fit)
{
    char text[16];
    dlq_text_diff(&factory_fact_body, a_fact(10), a_fact(1000000), &arena, text, sizeof text);
    cr_expect_str_eq(text, "quantity: 10 ->");
}
