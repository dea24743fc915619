/* SPDX-License-Identifier: MPL-2.0 */
/* The donut shop's message, and the secret of the callback. */
#include "factory/factory_message.h"

#include <stdio.h>
#include <stdlib.h>

#include <criterion/criterion.h>
#include <jansson.h>

static const uint8_t secret[FACTORY_SECRET_SIZE] = {1, 2, 3};

static struct factory_production
production_of(const char *product, int64_t quantity)
{
    struct factory_production production = {.id = id_new(), .quantity = quantity};
    (void)snprintf(production.product, sizeof production.product, "%s", product);
    return production;
}

static void
check_text(const char *product, const char *key, const char *value)
{
    struct factory_production production = production_of(product, 10);
    char *text = factory_message_json(&production, "http://127.0.0.1:8080/callback/abc");
    json_t *message = json_loads(text, 0, NULL);
    cr_assert_not_null(message, "%s", text);
    cr_expect_eq(json_object_size(message), 6);
    cr_expect_str_eq(json_string_value(json_object_get(message, key)), value);
    json_decref(message);
    free(text);
}

Test(factory_message, is_the_donut_shops_own)
{
    check_text("donut", "MessageGroupId", "stock-arrival-group");
    check_text("donut", "MessageAttributeProductId", "donut");
    check_text("donut", "MessageAttributeProductCnt", "10");
    check_text("donut", "MessageAttributeFactoryId", "FF-500293");
    check_text("donut", "MessageAttributeRequester", "larder");
    check_text("donut", "CallbackUrl", "http://127.0.0.1:8080/callback/abc");
}

Test(factory_message, another_product_has_no_factory_of_its_own)
{
    check_text("muffin", "MessageAttributeFactoryId", "factory");
    check_text("Donut", "MessageAttributeFactoryId", "factory");
}

static void
check_address(const char *setting, const char *expected)
{
    struct settings settings = {0};
    char url[FACTORY_URL_SIZE];
    (void)snprintf(settings.factory_url, sizeof settings.factory_url, "%s", setting);
    factory_address_of(&settings, url);
    cr_expect_str_eq(url, expected);
}

Test(factory_message, a_url_without_a_path_gets_the_shops)
{
    check_address("http://127.0.0.1:9000", "http://127.0.0.1:9000/api/manufactures");
    check_address("https://factory.example", "https://factory.example/api/manufactures");
    check_address("http://[::1]:9000", "http://[::1]:9000/api/manufactures");
}

Test(factory_message, a_url_with_a_path_stays)
{
    check_address("http://127.0.0.1:9000/", "http://127.0.0.1:9000/");
    check_address("http://127.0.0.1:9000/make", "http://127.0.0.1:9000/make");
    check_address("http://127.0.0.1:9000?kind=donut", "http://127.0.0.1:9000?kind=donut");
}

static void
check_callback(const char *public_url, const char *expected)
{
    struct settings settings = {.http = "127.0.0.1:8080"};
    char url[FACTORY_URL_SIZE];
    (void)snprintf(settings.public_url, sizeof settings.public_url, "%s", public_url);
    factory_callback_of(&settings, "SECRET", url);
    cr_expect_str_eq(url, expected);
}

Test(factory_message, the_callback_comes_to_the_gateway)
{
    check_callback("", "http://127.0.0.1:8080/callback/SECRET");
    check_callback("https://shop.example", "https://shop.example/callback/SECRET");
    check_callback("https://shop.example/larder/", "https://shop.example/larder/callback/SECRET");
}

Test(factory_message, a_capability_fits_the_wire_and_is_always_the_same)
{
    char first[FACTORY_CAPABILITY_SIZE];
    char again[FACTORY_CAPABILITY_SIZE];
    struct id id = id_new();
    factory_capability_of(secret, &id, first);
    factory_capability_of(secret, &id, again);
    cr_expect_eq(strlen(first), 43);
    cr_expect(wire_is_name(slice_of(first)));
    cr_expect_str_eq(first, again);
}

Test(factory_message, a_capability_belongs_to_one_production_and_one_secret)
{
    static const uint8_t other_secret[FACTORY_SECRET_SIZE] = {1, 2, 4};
    char first[FACTORY_CAPABILITY_SIZE];
    char other[FACTORY_CAPABILITY_SIZE];
    struct id id = id_new();
    struct id other_id = id_new();
    factory_capability_of(secret, &id, first);
    factory_capability_of(secret, &other_id, other);
    cr_expect_str_neq(first, other);
    factory_capability_of(other_secret, &id, other);
    cr_expect_str_neq(first, other);
}

Test(factory_message, a_hash_tells_capabilities_apart)
{
    uint8_t a[FACTORY_HASH_SIZE];
    uint8_t b[FACTORY_HASH_SIZE];
    factory_capability_hash(slice_of("abcdefghijklmnop"), a);
    factory_capability_hash(slice_of("abcdefghijklmnop"), b);
    cr_expect_arr_eq(a, b, sizeof a);
    factory_capability_hash(slice_of("abcdefghijklmnoq"), b);
    cr_expect_arr_neq(a, b, sizeof a);
}

Test(factory_message, an_error_names_the_status_and_what_was_said)
{
    struct err_text error;
    factory_call_error(500, slice_of("out of flour"), "abcdefghijkl", &error);
    cr_expect_str_eq(error.text, "the factory answered HTTP 500: out of flour");
    factory_call_error(404, (struct slice){0}, "abcdefghijkl", &error);
    cr_expect_str_eq(error.text, "the factory answered HTTP 404");
    factory_call_error(0, slice_of("Connection refused"), "abcdefghijkl", &error);
    cr_expect_str_eq(error.text, "the factory did not answer: Connection refused");
}

Test(factory_message, an_error_never_repeats_the_capability)
{
    char capability[FACTORY_CAPABILITY_SIZE];
    char text[256];
    struct err_text error;
    struct id id = id_new();
    factory_capability_of(secret, &id, capability);
    (void)snprintf(text, sizeof text, "{\"CallbackUrl\":\"http://127.0.0.1:8080/callback/%s\"}", capability);
    factory_call_error(400, slice_of(text), capability, &error);
    capability[8] = '\0';
    cr_expect_null(strstr(error.text, capability), "%s", error.text);
    cr_expect_not_null(strstr(error.text, "400"));
}

Test(factory_message, an_error_of_strange_bytes_can_be_sent)
{
    static const uint8_t bytes[] = {'a', 0xff, 0x07, 0xc3, '\n', 'z'};
    struct err_text error;
    factory_call_error(500, (struct slice){bytes, sizeof bytes}, "abcdefghijkl", &error);
    cr_expect(wire_is_utf8(slice_of(error.text)));
    cr_expect_str_eq(error.text, "the factory answered HTTP 500: a????z");
}
