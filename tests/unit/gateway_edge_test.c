/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about the gateway's small modules: key, trace, problem, page, base64url. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "base64url.h"
#include "key.h"
#include "exchange/page.h"
#include "exchange/problem.h"
#include "trace.h"

static struct err_text why;

/* --- key --- */

struct key_row {
    char header[48];
    char key[48]; /* empty: refused */
};

ParameterizedTestParameters(gateway_key, reads)
{
    static struct key_row rows[] = {
        {"abc", "abc"},   {"\"abc\"", "abc"}, {"\"a\\\"b\\\\\"", "a\"b\\"},
        {"a\"b", "a\"b"}, {"~!", "~!"},       {"", ""},
        {"\"\"", ""},     {"a b", ""},        {"\"a b\"", ""},
        {"\"abc", ""},    {"\"a\"b\"", ""},   {"\"a\\\"", ""},
        {"\"a\\n\"", ""}, {"\xc3\xa9", ""},   {"\x7f", ""},
    };
    return cr_make_param_array(struct key_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct key_row *row, gateway_key, reads)
{
    struct key key;
    err failed = key_parse(slice_of(row->header), &key, &why);
    cr_assert_eq(failed == ERR_ok, row->key[0] != 0, "%s", row->header);
    cr_assert(failed != ERR_ok || slice_equal((struct slice){(const uint8_t *)key.text, key.size}, slice_of(row->key)), "%s",
              row->header);
    cr_assert(failed == ERR_ok || strncmp(why.text, "Idempotency-Key: ", 17) == 0);
}

Test(gateway_key, has_a_longest)
{
    struct key key;
    char text[KEY_MAX + 2];
    memset(text, 'a', sizeof text);
    cr_assert_eq(key_parse((struct slice){(const uint8_t *)text, KEY_MAX}, &key, &why), ERR_ok);
    cr_assert_eq(key_parse((struct slice){(const uint8_t *)text, KEY_MAX + 1}, &key, &why), ERR_invalid_field);
    text[0] = '"';
    text[KEY_MAX + 1] = '"';
    cr_assert_eq(key_parse((struct slice){(const uint8_t *)text, KEY_MAX + 2}, &key, &why), ERR_ok);
}

Test(gateway_key, makes_one_id_per_principal_route_and_key)
{
    struct key key;
    struct key other;
    cr_assert_eq(key_parse(slice_of("abc"), &key, &why), ERR_ok);
    cr_assert_eq(key_parse(slice_of("\"abc\""), &other, &why), ERR_ok);
    struct id id = key_id("anonymous", "checkout", &key);
    struct id same = key_id("anonymous", "checkout", &other);
    struct id of_route = key_id("anonymous", "take", &key);
    struct id of_principal = key_id("ana", "checkout", &key);
    cr_assert(id_equal(&id, &same));
    cr_assert_not(id_equal(&id, &of_route));
    cr_assert_not(id_equal(&id, &of_principal));
}

Test(gateway_key, of_random_bits_is_a_uuid_of_version_4_or_7)
{
    static const struct {
        const char *text;
        bool is_uuid;
    } rows[] = {
        {"3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c7", true},
        {"3F0F6A62-94CB-4B2E-9C3A-0D6B0A1FE0C7", true},
        {"01a1fb17-a069-7157-aafd-eb9319d22cae", true},
        {"01a1fb17-a069-1157-aafd-eb9319d22cae", false},
        {"ea26a918-e0d2-8ba3-b97f-5d07cd02aa9f", false},
        {"3f0f6a62-94cb-4b2e-1c3a-0d6b0a1fe0c7", false},
        {"3f0f6a6294cb4b2e9c3a0d6b0a1fe0c7", false},
        {"{3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c7}", false},
        {"3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c", false},
        {"3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c70", false},
        {"urn:uuid:3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c7", false},
        {"1", false},
        {"00000000-0000-0000-0000-000000000000", false},
        {"ffffffff-ffff-ffff-ffff-ffffffffffff", false},
        {"3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0cg", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct key key;
        cr_assert_eq(key_parse(slice_of(rows[i].text), &key, &why), ERR_ok);
        cr_assert_eq(key_is_uuid(&key), rows[i].is_uuid, "%s", rows[i].text);
    }
}

/* --- trace --- */

Test(gateway_trace, takes_only_what_the_recommendation_allows)
{
    cr_assert(trace_is_valid(slice_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(trace_is_valid(slice_of("00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(trace_is_valid(slice_of("00-00000000000000000000000000000000-b7ad6b7169203331-01")));
    cr_assert_not(trace_is_valid(slice_of("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")));
    cr_assert_not(trace_is_valid(slice_of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
    cr_assert_not(trace_is_valid(slice_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0")));
    cr_assert_not(trace_is_valid(slice_of("")));
}

Test(gateway_trace, makes_valid_ones)
{
    char text[TRACE_SIZE];
    struct id id = id_new();
    trace_make(&id, text);
    cr_assert(trace_is_valid((struct slice){(const uint8_t *)text, sizeof text}));
}

/* --- problem --- */

Test(gateway_problem, says_what_a_program_needs)
{
    struct wire_buffer out = {0};
    struct wire_problem problem = {0};
    struct id id = {{0}};
    WIRE_SET(&problem, problem, detail, slice_of("donut: 5 asked, 2 there"));
    WIRE_SET(&problem, problem, product, slice_of("donut"));
    WIRE_SET(&problem, problem, asked, 5);
    WIRE_SET(&problem, problem, available, 2);
    WIRE_SET(&problem, problem, version, 9);
    problem_write(ERR_out_of_stock, &problem, &id, &out);
    wire_buffer_append(&out, "", 1);
    cr_assert_str_eq((const char *)out.data,
                     "{\"type\":\"urn:larder:problem:out_of_stock\",\"title\":\"There is not enough on the shelf.\",\"status\":409,"
                     "\"detail\":\"donut: 5 asked, 2 there\",\"instance\":\"urn:uuid:00000000-0000-0000-0000-000000000000\","
                     "\"product\":\"donut\",\"asked\":5,\"available\":2,\"version\":9}");
    wire_buffer_fini(&out);
}

Test(gateway_problem, never_names_the_database)
{
    for (unsigned code = ERR_db_unique; code <= ERR_db_bug; code++) {
        err told = problem_public((err)code);
        cr_assert(told == ERR_unavailable || told == ERR_internal, "%s", err_symbol((err)code));
    }
    cr_assert_eq(problem_public(ERR_db_full), ERR_unavailable);
    cr_assert_eq(problem_public(ERR_db_bug), ERR_internal);
    cr_assert_eq(problem_public(ERR_wrong_shard), ERR_wrong_shard);
}

/* --- base64url, page --- */

Test(gateway_base64url, reads_what_it_writes)
{
    uint8_t bytes[100];
    uint8_t back[100];
    char text[BASE64URL_SIZE(sizeof bytes)];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 37);
    }
    for (size_t size = 0; size <= sizeof bytes; size++) {
        size_t written = 0;
        base64url_encode(bytes, size, text);
        cr_assert(base64url_decode(text, BASE64URL_SIZE(size), back, &written));
        cr_assert(written == size && memcmp(bytes, back, size) == 0);
    }
}

Test(gateway_base64url, has_one_spelling)
{
    uint8_t bytes[8];
    size_t size = 0;
    cr_assert(base64url_decode("-_8", 3, bytes, &size) && size == 2 && bytes[0] == 0xfb && bytes[1] == 0xff);
    cr_assert_not(base64url_decode("-_9", 3, bytes, &size));
    cr_assert_not(base64url_decode("A", 1, bytes, &size));
    cr_assert_not(base64url_decode("AA==", 4, bytes, &size));
    cr_assert_not(base64url_decode("+/", 2, bytes, &size));
}

Test(gateway_page, reads_its_own_cursors)
{
    struct wire_buffer out = {0};
    struct page_cursor cursor = {.shard = 12, .size = 5};
    struct page_cursor back;
    memcpy(cursor.text, "donut", 5);
    page_cursor_write(&cursor, &out);
    cr_assert_eq(page_cursor_read(wire_buffer_slice(&out), &back, &why), ERR_ok, "%s", why.text);
    cr_assert(back.shard == 12 && back.size == 5 && memcmp(back.text, "donut", 5) == 0);
    wire_buffer_fini(&out);
}

struct cursor_row {
    char text[120];
};

ParameterizedTestParameters(gateway_page, refuses_foreign_cursors)
{
    static struct cursor_row rows[] = {
        {""},
        {"xx"},
        {"!!!!"},
        {"OmRvbnV0"} /* :donut */,
        {"ZG9udXQ"} /* donut */,
        {"MTIzNDph"} /* 1234:a */,
        {"MDphYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"},
    };
    return cr_make_param_array(struct cursor_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct cursor_row *row, gateway_page, refuses_foreign_cursors)
{
    struct page_cursor cursor;
    cr_assert_eq(page_cursor_read(slice_of(row->text), &cursor, &why), ERR_invalid_field, "%s", row->text);
}

Test(gateway_page, is_one_shape_whatever_the_reply_calls_it)
{
    struct wire_buffer out = {0};
    struct wire_buffer elements = {0};
    struct page page = {0};
    struct wire_stock_levels levels = {0};
    struct wire_list list = {0};
    struct wire_stock_level level = {0};
    WIRE_SET(&level, stock_level, product, slice_of("donut"));
    WIRE_SET(&level, stock_level, on_hand, 3);
    WIRE_SET(&level, stock_level, reserved, 0);
    WIRE_SET(&level, stock_level, available, 3);
    WIRE_SET(&level, stock_level, incoming, 0);
    WIRE_SET(&level, stock_level, version, 7);
    wire_list_add(&list, &stock_level_body, &level, &elements);
    wire_list_end(&list, &elements);
    WIRE_SET(&levels, stock_levels, levels, list);
    WIRE_SET(&levels, stock_levels, has_more, true);
    page_add(&page, routes_page(&routes[ROUTE_levels]), &stock_levels_body, &levels, &out);
    page_end(&page, &out);
    wire_buffer_append(&out, "", 1);
    cr_assert_str_eq((const char *)out.data,
                     "{\"data\":[{\"product\":\"donut\",\"on_hand\":3,\"reserved\":0,\"available\":3,\"incoming\":0,"
                     "\"version\":7}],\"has_more\":true}");
    cr_assert(page.count == 1 && page.last.size == 5 && memcmp(page.last.text, "donut", 5) == 0);
    wire_buffer_fini(&elements);
    wire_buffer_fini(&out);
}
