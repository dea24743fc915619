/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about json.c, json_write.c and json_time.c. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "json.h"
#include "routes.h"

static struct json_reader reader;
static union json_any value;
static struct err_text why;

static err
read_as(const struct wire_body *body, const struct json_name *names, struct slice text)
{
    json_reader_begin(&reader, body, &value, names);
    err failed = json_reader_object(&reader, text, &why);
    return failed == ERR_ok ? json_reader_end(&reader, &why) : failed;
}

static void
assert_written(const struct wire_body *body, const void *source, const char *expected)
{
    struct wire_buffer out = {0};
    json_write(body, source, &out);
    wire_buffer_append(&out, "", 1);
    cr_assert_str_eq((const char *)out.data, expected);
    wire_buffer_fini(&out);
}

struct refused {
    char json[160];
    char says[96];
    enum err code;
};

ParameterizedTestParameters(gateway_json, refuses_by_name)
{
    static struct refused rows[] = {
        {"{}", "lines: is missing", ERR_invalid_field},
        {"{\"lines\":[]}", "lines: must have 1 to 1000 elements", ERR_invalid_field},
        {"{\"lines\":{}}", "lines: must be a list", ERR_invalid_field},
        {"{\"lines\":[3]}", "lines[0]: must be an object", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\"}]}", "lines[0].quantity: is missing", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1},{\"product\":\"b\",\"quantity\":0}]}",
         "lines[1].quantity: must be from 1 to 1000000000", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1.0}]}", "lines[0].quantity: must be a whole number", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":\"1\"}]}", "lines[0].quantity: must be a whole number", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":99999999999999999999}]}", "quantity: is larger than any number taken here",
         ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1e999}]}", "quantity: is larger than any number taken here", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a b\",\"quantity\":1}]}", "lines[0].product: may hold only letters, digits, '-' and '_'",
         ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"\",\"quantity\":1}]}", "lines[0].product: must have 1 to 64 bytes", ERR_invalid_field},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1,\"price\":2}]}", "lines[0].price: is not known here", ERR_invalid_field},
        {"{\"refrence\":\"a\"}", "refrence: is not known here", ERR_invalid_field},
        {"{\"reference\":7}", "reference: must be text", ERR_invalid_field},
        {"{\"reference\":null}", "reference: must be text", ERR_invalid_field},
        {"{\"reference\":\"a\",\"reference\":\"a\"}", "reference: is given twice", ERR_invalid_field},
        {"{\"reference\":\"a\\u0000\"}", "reference: the body is not JSON", ERR_malformed},
        {"{\"reference\":\"\xff\"}", "reference: the body is not JSON", ERR_malformed},
        {"{\"reference\":", "reference: the body is not JSON", ERR_malformed},
        {"{\"lines\":[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]}", "lines[0]: must be an object", ERR_invalid_field},
        {"[]", "the body must be a JSON object", ERR_malformed},
        {"7", "the body is not JSON", ERR_malformed},
        {"{} {}", "the body is not JSON", ERR_malformed},
    };
    return cr_make_param_array(struct refused, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct refused *row, gateway_json, refuses_by_name)
{
    cr_assert_eq(read_as(&stock_take_body, NULL, slice_of(row->json)), row->code, "%s", row->json);
    cr_assert_eq(strncmp(why.text, row->says, strlen(row->says)), 0, "%s: %s", row->json, why.text);
    json_reader_fini(&reader);
}

Test(gateway_json, becomes_what_the_wire_takes)
{
    struct wire_buffer frame = {0};
    struct wire_stock_take take;
    struct wire_stock_line line;
    struct slice text =
        slice_of("{\"lines\":[{\"quantity\":2,\"product\":\"a\"},{\"product\":\"b\",\"quantity\":3}],\"reference\":\"n\xc2\xba 7\"}");
    cr_assert_eq(read_as(&stock_take_body, NULL, text), ERR_ok, "%s", why.text);
    wire_encode(&stock_take_body, &value, &frame);
    cr_assert_eq(wire_decode(&stock_take_body, wire_buffer_slice(&frame), &take, &why), ERR_ok, "%s", why.text);
    cr_assert(slice_equal(take.reference, slice_of("n\xc2\xba 7")));
    cr_assert(wire_list_next(&take.lines, &stock_line_body, &line) && line.quantity == 2 && slice_equal(line.product, slice_of("a")));
    cr_assert(wire_list_next(&take.lines, &stock_line_body, &line) && line.quantity == 3);
    cr_assert_not(wire_list_next(&take.lines, &stock_line_body, &line));
    wire_buffer_fini(&frame);
    json_reader_fini(&reader);
}

Test(gateway_json, reads_ids_times_and_maps)
{
    struct slice text = slice_of("{\"product\":\"a\",\"price\":{\"amount\":2500,\"currency\":\"BRL\"},\"on_hand\":1,\"reserved\":0,"
                                 "\"available\":1,\"incoming\":0,\"version\":1}");
    cr_assert_eq(read_as(&sales_product_body, NULL, text), ERR_ok, "%s", why.text);
    cr_assert_eq(value.sales_product_value.price.amount, 2500);
    text = slice_of("{\"id\":\"01A1fb11-b28a-74ed-9426-bbc84f4f7d21\",\"product\":\"a\",\"quantity\":1,\"status\":\"ordered\","
                    "\"ordered_at\":\"2026-01-31T23:59:59.5+01:00\"}");
    cr_assert_eq(read_as(&production_body, NULL, text), ERR_ok, "%s", why.text);
    cr_assert_eq(value.production_value.ordered_at, INT64_C(1769900399500));
    assert_written(&production_body, &value,
                   "{\"id\":\"01a1fb11-b28a-74ed-9426-bbc84f4f7d21\",\"product\":\"a\",\"quantity\":1,\"status\":\"ordered\","
                   "\"ordered_at\":\"2026-01-31T22:59:59.500Z\"}");
    json_reader_fini(&reader);
}

Test(gateway_json, writes_text_that_any_reader_takes)
{
    struct wire_buffer out = {0};
    json_write_text((struct slice){(const uint8_t *)"\"\\\n\x01/\xc3\xa9\xff\xed\xa0\x80z", 12}, &out);
    wire_buffer_append(&out, "", 1);
    cr_assert_str_eq((const char *)out.data, "\"\\\"\\\\\\n\\u0001/\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\"");
    wire_buffer_fini(&out);
}

Test(gateway_json, writes_the_extremes_of_numbers)
{
    struct wire_stock_level level = {0};
    WIRE_SET(&level, stock_level, version, INT64_MAX);
    WIRE_SET(&level, stock_level, on_hand, INT64_MIN);
    WIRE_SET(&level, stock_level, reserved, 0);
    assert_written(&stock_level_body, &level, "{\"on_hand\":-9223372036854775808,\"reserved\":0,\"version\":9223372036854775807}");
    level.has = 0;
    assert_written(&stock_level_body, &level, "{}");
}

struct named {
    enum route_number route;
    char json[160];
    char says[80]; /* empty: taken */
};

ParameterizedTestParameters(gateway_json, knows_the_names_of_a_route)
{
    static struct named rows[] = {
        {ROUTE_shop_checkout, "{\"productSku\":\"CP-502101\"}", ""},
        {ROUTE_checkout, "{\"productSku\":\"CP-502101\"}", "productSku: is not known here"},
        {ROUTE_shop_checkout, "{\"productSku\":\"a\",\"product\":\"b\"}", " is given already"},
        {ROUTE_shop_produce, "{\"MessageAttributeProductId\":\"a\",\"MessageAttributeProductCnt\":\"10\",\"CallbackUrl\":\"x\"}", ""},
        {ROUTE_shop_produce, "{\"MessageAttributeProductCnt\":10}", ""},
        {ROUTE_shop_produce, "{\"MessageAttributeProductCnt\":\"1x\"}", "MessageAttributeProductCnt: must be a whole number"},
        {ROUTE_shop_produce, "{\"MessageAttributeProductCnt\":\"99999999999999999999\"}", "MessageAttributeProductCnt: is larger"},
        {ROUTE_shop_produce, "{\"quantity\":\"10\"}", "quantity: must be a whole number"},
    };
    return cr_make_param_array(struct named, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct named *row, gateway_json, knows_the_names_of_a_route)
{
    const struct route *route = &routes[row->route];
    err failed = read_as(wire_ops[route->op].request, route->names, slice_of(row->json));
    cr_assert_eq(failed == ERR_ok, row->says[0] == 0, "%s: %s", row->json, why.text);
    cr_assert(row->says[0] == 0 || strstr(why.text, row->says) != NULL, "%s: %s", row->json, why.text);
    json_reader_fini(&reader);
}

static err
increase(const char *json)
{
    const struct route *route = &routes[ROUTE_shop_increase];
    json_reader_begin(&reader, &stock_adjust_body, &value, route->names);
    cr_assert_eq(json_reader_text(&reader, slice_of("product"), slice_of("donut"), &why), ERR_ok);
    err failed = json_reader_object(&reader, slice_of(json), &why);
    return failed == ERR_ok ? json_reader_end(&reader, &why) : failed;
}

Test(gateway_json, makes_an_increase_of_the_shops_message)
{
    cr_assert_eq(increase("{\"MessageAttributeProductCnt\":\"5\",\"MessageAttributeProductId\":\"x\"}"), ERR_ok, "%s", why.text);
    cr_assert_eq(value.stock_adjust_value.delta, 5);
    cr_assert(slice_equal(value.stock_adjust_value.product, slice_of("donut")));
    cr_assert(slice_equal(value.stock_adjust_value.reason, slice_of("increase")));
    json_reader_fini(&reader);
}

Test(gateway_json, lets_an_increase_only_add)
{
    cr_assert_eq(increase("{\"quantity\":0}"), ERR_invalid_field);
    cr_assert_str_eq(why.text, "quantity: must be from 1 to 1000000000");
    cr_assert_eq(increase("{\"quantity\":-5}"), ERR_invalid_field);
    cr_assert_eq(increase("{\"delta\":-5}"), ERR_invalid_field);
    cr_assert_str_eq(why.text, "delta: is not known here");
    cr_assert_eq(increase("{\"quantity\":5,\"MessageAttributeProductCnt\":\"5\"}"), ERR_invalid_field);
    cr_assert_eq(increase("{\"quantity\":5,\"product\":\"other\"}"), ERR_invalid_field);
    cr_assert_eq(increase("{\"quantity\":5,\"reason\":\"theft\"}"), ERR_invalid_field);
    cr_assert_eq(increase("{}"), ERR_invalid_field);
    cr_assert_str_eq(why.text, "quantity: is missing");
    json_reader_fini(&reader);
}

Test(gateway_json, makes_one_line_of_a_products_hold)
{
    struct wire_stock_line line;
    json_reader_begin(&reader, &stock_reserve_body, &value, routes[ROUTE_product_hold].names);
    cr_assert_eq(json_reader_text(&reader, slice_of("product"), slice_of("donut"), &why), ERR_ok, "%s", why.text);
    cr_assert_eq(json_reader_end(&reader, &why), ERR_invalid_field);
    cr_assert_str_eq(why.text, "quantity: is missing");
    json_reader_begin(&reader, &stock_reserve_body, &value, routes[ROUTE_product_hold].names);
    cr_assert_eq(json_reader_text(&reader, slice_of("product"), slice_of("donut"), &why), ERR_ok);
    cr_assert_eq(json_reader_object(&reader, slice_of("{\"quantity\":2,\"ttl_ms\":1000}"), &why), ERR_ok, "%s", why.text);
    cr_assert_eq(json_reader_end(&reader, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(value.stock_reserve_value.ttl_ms, 1000);
    struct wire_list lines = value.stock_reserve_value.lines;
    cr_assert(wire_list_next(&lines, &stock_line_body, &line) && line.quantity == 2 && slice_equal(line.product, slice_of("donut")));
    json_reader_fini(&reader);
}

struct moment {
    char text[40];
    int64_t utc_ms; /* -1: refused */
};

ParameterizedTestParameters(gateway_json, reads_times)
{
    static struct moment rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:34:56.789Z", INT64_C(951827696789)},
        {"9999-12-31T23:59:59.999Z", INT64_C(253402300799999)},
        {"2026-11-20t22:04:13.1239z", INT64_C(1795212253123)},
        {"2026-11-20T22:04:13-03:00", INT64_C(1795223053000)},
        {"2026-11-20", -1},
        {"2026-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-01-00T00:00:00Z", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:00:60Z", -1},
        {"2026-01-01T00:00:00", -1},
        {"2026-01-01T00:00:00.Z", -1},
        {"2026-01-01T00:00:00Z ", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"1970-01-01T00:00:00+00:01", -1},
        {"", -1},
    };
    return cr_make_param_array(struct moment, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct moment *row, gateway_json, reads_times)
{
    int64_t utc_ms = -1;
    bool is_taken = json_time_parse(slice_of(row->text), &utc_ms);
    cr_assert_eq(is_taken, row->utc_ms >= 0, "%s", row->text);
    cr_assert(!is_taken || utc_ms == row->utc_ms, "%s: %lld", row->text, (long long)utc_ms);
}

Test(gateway_json, writes_times_that_it_reads)
{
    char text[JSON_TIME_SIZE];
    for (int64_t utc_ms = 0; utc_ms <= INT64_C(253402300799999); utc_ms += INT64_C(86400000) * 29 + 12345) {
        int64_t back = -1;
        json_time_format(utc_ms, text);
        cr_assert(json_time_parse((struct slice){(const uint8_t *)text, sizeof text}, &back) && back == utc_ms, "time %lld",
                  (long long)utc_ms);
    }
}

/* --- a map in a request --- */

Test(gateway_json, takes_a_nested_map)
{
    struct wire_buffer frame = {0};
    struct wire_dlq_start start;
    struct slice text =
        slice_of("{\"filter\":{\"state\":\"dead\",\"destination\":\"stock/0\",\"older_than_ms\":5},\"rate\":10,\"canary\":2}");
    cr_assert_eq(read_as(&dlq_start_body, NULL, text), ERR_ok, "%s", why.text);
    wire_encode(&dlq_start_body, &value, &frame);
    cr_assert_eq(wire_decode(&dlq_start_body, wire_buffer_slice(&frame), &start, &why), ERR_ok, "%s", why.text);
    cr_assert(slice_equal(start.filter.destination, slice_of("stock/0")));
    cr_assert_eq(start.filter.older_than_ms, 5);
    cr_assert(!WIRE_HAS(&start.filter, letter_filter, key));
    cr_assert_eq(start.rate, 10);
    wire_buffer_fini(&frame);
    json_reader_fini(&reader);
}

ParameterizedTestParameters(gateway_json, refuses_in_a_nested_map_by_name)
{
    static struct refused rows[] = {
        {"{}", "filter: is missing", ERR_invalid_field},
        {"{\"filter\":[]}", "filter: must be an object", ERR_invalid_field},
        {"{\"filter\":{\"colour\":\"red\"}}", "filter.colour: is not known here", ERR_invalid_field},
        {"{\"filter\":{\"min_units\":-1}}", "filter.min_units: must be from 0", ERR_invalid_field},
        {"{\"filter\":{\"state\":\"a b\"}}", "filter.state: may hold only", ERR_invalid_field},
        {"{\"filter\":{},\"rate\":0}", "rate: must be from 1 to 1000000", ERR_invalid_field},
        {"{\"filter\":{\"key\":\"a\",\"key\":\"b\"}}", "key: is given twice", ERR_invalid_field},
        {"{\"filter\":{},\"dry_run\":\"yes\"}", "dry_run: must be true or false", ERR_invalid_field},
    };
    return cr_make_param_array(struct refused, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct refused *row, gateway_json, refuses_in_a_nested_map_by_name)
{
    cr_assert_eq(read_as(&dlq_start_body, NULL, slice_of(row->json)), row->code, "%s", row->json);
    cr_assert_eq(strncmp(why.text, row->says, strlen(row->says)), 0, "%s: %s", row->json, why.text);
    json_reader_fini(&reader);
}

Test(gateway_json, takes_no_bytes)
{
    struct slice text = slice_of("{\"letter\":\"0198f2a0-1c00-7a3b-8c4d-5e6f708192a3\",\"reason\":\"x\",\"body\":\"gA\"}");
    cr_assert_eq(read_as(&dlq_edit_body, NULL, text), ERR_invalid_field);
    cr_assert_str_eq(why.text, "body: cannot be given as JSON");
    json_reader_fini(&reader);
}
