/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about gateway/routes.c and its table. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "routes.h"

struct address {
    enum route_method method;
    enum err expected;
    char path[80];
    char route[32];
    char first[48]; /* the first parameter, raw */
};

ParameterizedTestParameters(gateway_routes, matches)
{
    static struct address rows[] = {
        {METHOD_POST, ERR_ok, "/", "shop_produce", ""},
        {METHOD_POST, ERR_ok, "/checkout", "shop_checkout", ""},
        {METHOD_GET, ERR_ok, "/procut/donut", "shop_show_as_printed", "donut"},
        {METHOD_HEAD, ERR_ok, "/product/donut", "shop_show", "donut"},
        {METHOD_POST, ERR_ok, "/product/donut", "shop_increase_as_coded", "donut"},
        {METHOD_POST, ERR_ok, "/checkout/donut", "shop_increase", "donut"},
        {METHOD_GET, ERR_ok, "/v1/stock", "levels", ""},
        {METHOD_PATCH, ERR_ok, "/v1/stock/donut", "level_patch", "donut"},
        {METHOD_POST, ERR_ok, "/v1/stock/donut:adjust", "adjust", "donut"},
        {METHOD_POST, ERR_ok, "/v1/stock/donut/holds", "product_hold", "donut"},
        {METHOD_POST, ERR_ok, "/v1/stock/donut/holds/abc:commit", "product_hold_commit", "donut"},
        {METHOD_POST, ERR_ok, "/v1/holds/abc:release", "hold_release", "abc"},
        {METHOD_GET, ERR_ok, "/product/a%2Fb", "shop_show", "a%2Fb"},
        {METHOD_GET, ERR_ok, "/metrics", "metrics", ""},
        {METHOD_GET, ERR_ok, "/v1/letters", "letters", ""},
        {METHOD_GET, ERR_ok, "/v1/letters:stats", "letter_stats", ""},
        {METHOD_GET, ERR_ok, "/v1/letters/abc", "letter", "abc"},
        {METHOD_POST, ERR_ok, "/v1/letters/abc:edit", "letter_edit", "abc"},
        {METHOD_POST, ERR_ok, "/v1/replays", "replay_start", ""},
        {METHOD_POST, ERR_ok, "/v1/replays/abc:cancel", "replay_cancel", "abc"},
        {METHOD_GET, ERR_ok, "/v1/products", "products", ""},
        {METHOD_POST, ERR_ok, "/v1/products:load", "product_load", ""},
        {METHOD_PATCH, ERR_ok, "/v1/products/donut", "product_patch", "donut"},
        {METHOD_PUT, ERR_ok, "/v1/categories/burger", "category_put", "burger"},
        {METHOD_POST, ERR_ok, "/v1/users:find", "user_find", ""},
        {METHOD_DELETE, ERR_ok, "/v1/users/abc", "user_delete", "abc"},
        {METHOD_GET, ERR_ok, "/v1/users/abc/erasure", "user_erasure", "abc"},
        {METHOD_GET, ERR_ok, "/v1/orders:kitchen", "kitchen", ""},
        {METHOD_GET, ERR_ok, "/v1/orders/abc", "order", "abc"},
        {METHOD_GET, ERR_ok, "/v1/orders/abc/timeline", "order_timeline", "abc"},
        {METHOD_POST, ERR_ok, "/v1/orders/abc:advance", "order_advance", "abc"},
        {METHOD_POST, ERR_ok, "/v1/payments/webhook", "webhook", ""},
        {METHOD_POST, ERR_ok, "/v1/payments/abc:confirm", "payment_confirm", "abc"},
        {METHOD_GET, ERR_method_not_allowed, "/v1/users:find", "", ""},
        {METHOD_POST, ERR_method_not_allowed, "/v1/payments/abc", "", ""},
        {METHOD_GET, ERR_method_not_allowed, "/v1/letters/abc:edit", "", ""},
        {METHOD_GET, ERR_method_not_allowed, "/checkout", "", ""},
        {METHOD_DELETE, ERR_method_not_allowed, "/v1/stock/donut", "", ""},
        {METHOD_GET, ERR_method_not_allowed, "/v1/stock/donut:adjust", "", ""},
        {METHOD_OPTIONS, ERR_method_not_allowed, "/checkout", "", ""},
        {METHOD_POST, ERR_method_not_allowed, "/v1/stock/donut%3Aadjust", "", ""},
        {METHOD_POST, ERR_not_found, "/v1/stock/donut:eat", "", ""},
        {METHOD_POST, ERR_not_found, "/v1/stock/:adjust", "", ""},
        {METHOD_POST, ERR_not_found, "/v1/stock/a:b:adjust", "", ""},
        {METHOD_GET, ERR_not_found, "/product/", "", ""},
        {METHOD_GET, ERR_not_found, "/product", "", ""},
        {METHOD_GET, ERR_not_found, "//product/donut", "", ""},
        {METHOD_GET, ERR_not_found, "/product/donut/", "", ""},
        {METHOD_POST, ERR_not_found, "/Checkout", "", ""},
        {METHOD_GET, ERR_not_found, "", "", ""},
    };
    return cr_make_param_array(struct address, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct address *row, gateway_routes, matches)
{
    struct route_match match;
    cr_assert_eq(routes_match(row->method, slice_of(row->path), &match), row->expected, "%s", row->path);
    cr_assert_eq(match.route != NULL, row->expected == ERR_ok);
    if (row->expected != ERR_ok) {
        cr_assert_eq(match.methods == 0, row->expected == ERR_not_found);
        return;
    }
    cr_assert_str_eq(match.route->name, row->route);
    struct slice first = match.parameter_count > 0 ? match.parameters[0].raw : (struct slice){0};
    cr_assert(slice_equal(first, slice_of(row->first)), "%s", row->path);
}

Test(gateway_routes, keeps_both_parameters)
{
    struct route_match match;
    cr_assert_eq(routes_match(METHOD_POST, slice_of("/v1/stock/donut/holds/abc:commit"), &match), ERR_ok);
    cr_assert_eq(match.parameter_count, 2);
    cr_assert(slice_equal(match.parameters[1].name, slice_of("hold")));
    cr_assert(slice_equal(match.parameters[1].raw, slice_of("abc")));
}

Test(gateway_routes, tells_the_methods_of_an_address)
{
    char allow[ROUTES_ALLOW_SIZE];
    struct route_match match;
    cr_assert_eq(routes_match(METHOD_DELETE, slice_of("/v1/stock/donut"), &match), ERR_method_not_allowed);
    routes_allow(match.methods, allow);
    cr_assert_str_eq(allow, "GET, HEAD, PUT, PATCH, OPTIONS");
}

Test(gateway_routes, decodes_unreserved_characters_before_matching_and_leaves_separators)
{
    uint8_t path[] = "/%70roduct/%64onut%2f%3A%";
    size_t size = routes_normalise(path, sizeof path - 1);
    cr_assert(slice_equal((struct slice){path, size}, slice_of("/product/donut%2f%3A%")));
}

struct escaped {
    char raw[24];
    char plain[24];
    bool is_query;
    bool is_taken;
};

ParameterizedTestParameters(gateway_routes, decodes)
{
    static struct escaped rows[] = {
        {"donut", "donut", false, true},    {"a%2Fb", "a/b", false, true}, {"a+b", "a+b", false, true}, {"a+b", "a b", true, true},
        {"%C3%A9", "\xc3\xa9", true, true}, {"", "", false, true},         {"a%00b", "", false, false}, {"%", "", false, false},
        {"%4", "", false, false},           {"%zz", "", false, false},     {"%ff", "", false, false},   {"%c3", "", true, false},
    };
    return cr_make_param_array(struct escaped, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct escaped *row, gateway_routes, decodes)
{
    uint8_t out[24];
    size_t size = 0;
    cr_assert_eq(routes_decode(slice_of(row->raw), row->is_query, out, &size), row->is_taken, "%s", row->raw);
    cr_assert(!row->is_taken || slice_equal((struct slice){out, size}, slice_of(row->plain)), "%s", row->raw);
}

/* Every name in the table must be one of a field: a slip here would end the process at the first such request. */
Test(gateway_routes, name_only_what_the_operations_have)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        struct json_reader reader = {0};
        union json_any request;
        if (routes[i].work != WORK_FORWARD) {
            continue;
        }
        json_reader_begin(&reader, wire_ops[routes[i].op].request, &request, routes[i].names);
        for (const struct json_name *name = routes[i].names; name->given != NULL; name++) {
            struct err_text why;
            err refused = name->how == JSON_FIXED ? ERR_ok : json_reader_text(&reader, slice_of(name->given), slice_of("7"), &why);
            cr_assert(refused == ERR_ok || refused == ERR_invalid_field, "%s of %s", name->given, routes[i].name);
        }
        json_reader_fini(&reader);
    }
}

Test(gateway_routes, pages_name_fields_that_are_there)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route_page *page = routes_page(&routes[i]);
        cr_assert_eq(page != NULL, routes[i].reply == REPLY_PAGE, "%s", routes[i].name);
        if (page == NULL) {
            continue;
        }
        const struct wire_body *reply = wire_ops[routes[i].op].reply;
        const struct wire_body *request = wire_ops[routes[i].op].request;
        const struct wire_body *element = reply->fields[0].element;
        bool has_cursor = false;
        bool has_element = false;
        for (size_t f = 0; f < request->field_count; f++) {
            has_cursor = has_cursor || strcmp(request->fields[f].name, page->cursor) == 0;
        }
        for (size_t f = 0; f < element->field_count; f++) {
            has_element = has_element || strcmp(element->fields[f].name, page->element) == 0;
        }
        cr_assert(has_cursor && has_element, "%s", routes[i].name);
    }
}

Test(gateway_routes, keeps_for_later_only_what_changes_something)
{
    size_t count = 0;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        bool is_later = routes_has(&routes[i], TRAIT_LATER);
        cr_assert(!is_later || (wire_ops[routes[i].op].traits & OP_WRITES) != 0, "%s", routes[i].name);
        cr_assert(!is_later || strcmp(wire_ops[routes[i].op].owner, "factory") == 0, "%s", routes[i].name);
        count += is_later ? 1 : 0;
    }
    cr_assert_eq(count, 4);
}

/* A route that is forgotten in the table would hand its request to the dlq, which shows what it keeps. */
Test(gateway_routes, keeps_nothing_personal_and_nothing_that_is_judged_by_who_asks)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &routes[i];
        if (route->work != WORK_FORWARD || (wire_ops[route->op].traits & OP_WRITES) == 0) {
            continue;
        }
        const char *owner = wire_ops[route->op].owner;
        bool is_judged = strcmp(owner, "order") == 0 || strcmp(owner, "payment") == 0;
        cr_expect_eq(routes_has(route, TRAIT_PERSONAL), strcmp(owner, "user") == 0, "%s", route->name);
        cr_expect_eq(routes_has(route, TRAIT_JUDGED) || route->input == INPUT_RAW, is_judged, "%s", route->name);
    }
}
