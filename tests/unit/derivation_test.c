/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What ids are derived from is frozen: a request that is repeated after an upgrade, and what was asked before a crash, must find what
 * there is. The values were computed by another implementation of BLAKE2b, from what PROTOCOL.md says.
 */
#include <criterion/criterion.h>

#include <string.h>

#include "id.h"
#include "key.h"
#include "order/saga/order_saga.h"
#include "routes.h"

static void
is_text(const struct id *id, const char *expected, const char *of)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    cr_expect_str_eq(text, expected, "%s", of);
}

static struct id
counted(void)
{
    struct id id;
    for (int i = 0; i < ID_SIZE; i++) {
        id.bytes[i] = (uint8_t)i;
    }
    return id;
}

/* --- keys --- */

/* Of every route that changes something: its name and address, and the id of the key `k` of who shows no token. */
static const struct {
    const char *name;
    enum route_method method;
    const char *pattern;
    const char *id;
} keyed[] = {
    {"shop_checkout", METHOD_POST, "/checkout", "3d49a5b2-6bc7-8d14-b5e0-04194baf9af2"},
    {"shop_produce", METHOD_POST, "/", "d6fd4c10-aa98-8d69-a5b4-cd699bb15827"},
    {"shop_increase", METHOD_POST, "/checkout/{product}", "fed274e4-75d8-8561-9b44-bdece3494fb4"},
    {"shop_increase_as_coded", METHOD_POST, "/product/{product}", "9141c3c2-6d84-8796-b079-46dc17c5781f"},
    {"product_post", METHOD_POST, "/v1/products", "9248d22b-9438-8388-9949-7287c1892208"},
    {"product_load", METHOD_POST, "/v1/products:load", "951ac536-a90b-8f73-a54b-180910f78709"},
    {"product_put", METHOD_PUT, "/v1/products/{product}", "676d081d-99cb-8f54-a18a-ed8b536e3a17"},
    {"product_patch", METHOD_PATCH, "/v1/products/{product}", "c424c768-9fa5-8d6d-a8d9-632f4e4570c7"},
    {"category_put", METHOD_PUT, "/v1/categories/{category}", "b0b87a7b-78a4-8048-b15a-9f912cebbd6c"},
    {"checkout", METHOD_POST, "/v1/checkouts", "5efa4fe1-e038-829f-8278-53222bcf65ea"},
    {"level_put", METHOD_PUT, "/v1/stock/{product}", "1aeff9de-b571-8cf0-8ba8-2b1ce533180b"},
    {"level_patch", METHOD_PATCH, "/v1/stock/{product}", "e93c290f-ef88-801e-bd37-9bc9e2d36d3f"},
    {"adjust", METHOD_POST, "/v1/stock/{product}:adjust", "f312fc71-8c63-87d3-89cd-e46dc1fe4de7"},
    {"count", METHOD_POST, "/v1/stock/{product}:count", "d0bc0ab6-e7cc-847e-b61b-0ec030870056"},
    {"take", METHOD_POST, "/v1/takes", "a1741606-b207-82b2-ad9c-1bf52f9663e8"},
    {"product_hold", METHOD_POST, "/v1/stock/{product}/holds", "846f17d0-707f-89de-a0c1-09058c829527"},
    {"product_hold_extend", METHOD_POST, "/v1/stock/{product}/holds/{hold}:extend", "ce50819f-d058-8918-9d6b-3640d54f196a"},
    {"product_hold_commit", METHOD_POST, "/v1/stock/{product}/holds/{hold}:commit", "17fa06c8-63d0-876a-b420-df95814e7f99"},
    {"product_hold_release", METHOD_POST, "/v1/stock/{product}/holds/{hold}:release", "754a2e3b-f83d-879e-b2cf-fb8ddbd290c3"},
    {"hold", METHOD_POST, "/v1/holds", "4b64448f-ea63-8490-abb0-918c8c642ea5"},
    {"hold_extend", METHOD_POST, "/v1/holds/{hold}:extend", "37ea4a83-2b36-81c0-8b22-6396620b731d"},
    {"hold_commit", METHOD_POST, "/v1/holds/{hold}:commit", "ac1a09e8-b3cc-8147-8480-5f570c541f61"},
    {"hold_release", METHOD_POST, "/v1/holds/{hold}:release", "9cb29a76-2aac-8a44-9ffb-76defd37c023"},
    {"production_order", METHOD_POST, "/v1/productions", "08f8c497-ebfe-877b-b6b4-9659869ebaf9"},
    {"production_cancel", METHOD_POST, "/v1/productions/{id}:cancel", "30fa7eb6-24c1-867b-a83e-38c3152d9b8f"},
    {"callback", METHOD_POST, "/callback/{capability}", "a525f571-d421-8c3d-ac03-d6125fa087a4"},
    {"user_post", METHOD_POST, "/v1/users", "26cafd80-cd27-879b-97a6-549c77b21c08"},
    {"user_patch", METHOD_PATCH, "/v1/users/{user}", "5195835e-b385-88bd-9e5d-b7561fcd6e64"},
    {"user_delete", METHOD_DELETE, "/v1/users/{user}", "6e5dfae9-671f-848e-b00a-0729d7b882c7"},
    {"order_post", METHOD_POST, "/v1/orders", "774a4db1-cfa7-806d-a31c-23f82b10f07f"},
    {"order_advance", METHOD_POST, "/v1/orders/{order}:advance", "c3fb1e14-e214-8372-baf2-eb2740e32590"},
    {"order_cancel", METHOD_POST, "/v1/orders/{order}:cancel", "50fcdd7f-cbf3-8103-ba48-ee235f268be4"},
    {"order_pay", METHOD_POST, "/v1/orders/{order}:pay", "e47c66d7-bc52-871e-bcfd-ee4fcff0bdc3"},
    {"payment_confirm", METHOD_POST, "/v1/payments/{charge}:confirm", "ee2593a5-468d-8810-ac80-420fe43fb021"},
    {"webhook", METHOD_POST, "/v1/payments/webhook", "8c8016ac-8869-8b6e-95b0-75d56b929a11"},
    {"letter_replay", METHOD_POST, "/v1/letters/{letter}:replay", "b6896099-d3c6-87d8-bbab-e06219c1b818"},
    {"letter_edit", METHOD_POST, "/v1/letters/{letter}:edit", "ce941b4b-0712-8b6c-86a9-27f23c8c5085"},
    {"letter_discard", METHOD_POST, "/v1/letters/{letter}:discard", "8408a9ae-3f47-8815-bede-1aca415e7f72"},
    {"letter_restore", METHOD_POST, "/v1/letters/{letter}:restore", "79ab0962-7cff-8ed9-a6e6-b8b4efac71f0"},
    {"replay_start", METHOD_POST, "/v1/replays", "b9d3b25d-1050-872f-b96c-31cbff6c4fc4"},
    {"replay_cancel", METHOD_POST, "/v1/replays/{replay}:cancel", "9876cf81-3feb-83ff-9db3-7e40c1c3308c"},
};

static const struct route *
find_route(const char *name)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (strcmp(routes[i].name, name) == 0) {
            return &routes[i];
        }
    }
    return NULL;
}

Test(derivation, of_keyed_requests_does_not_change)
{
    const struct key key = {.text = "k", .size = 1};
    for (size_t i = 0; i < sizeof keyed / sizeof keyed[0]; i++) {
        const struct route *route = find_route(keyed[i].name);
        cr_assert_not_null(route, "%s", keyed[i].name);
        cr_expect_eq(route->method, keyed[i].method, "%s", keyed[i].name);
        cr_expect_str_eq(route->pattern, keyed[i].pattern, "%s", keyed[i].name);
        struct id id = key_id("anonymous", keyed[i].name, &key);
        is_text(&id, keyed[i].id, keyed[i].name);
    }
}

Test(derivation, of_keyed_requests_is_held_for_every_route_that_changes_something)
{
    size_t writing = 0;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        writing += routes[i].work == WORK_FORWARD && (wire_ops[routes[i].op].traits & OP_WRITES) != 0;
    }
    cr_assert_eq(writing, sizeof keyed / sizeof keyed[0], "a new route has its row in this table");
}

Test(derivation, tells_askers_apart)
{
    const struct key key = {.text = "k", .size = 1};
    struct id id = key_id("user/0198f2a0-1c00-7a3b-8c4d-5e6f708192a3", "order_post", &key);
    is_text(&id, "420f9056-77a4-8fcd-9908-799904ee03fb", "a person");
    id = key_id("role/operator", "order_post", &key);
    is_text(&id, "555d118c-35f8-8c67-9d63-a1c3e5109423", "a role");
}

Test(derivation, names_of_routes_stay)
{
    static const char *const names[] = {
        "shop_show",       "shop_show_as_printed",
        "products",        "product",
        "categories",      "levels",
        "level",           "moves",
        "product_holds",   "product_hold_show",
        "hold_show",       "productions",
        "production",      "users",
        "user_find",       "user",
        "user_erasure",    "session",
        "orders",          "kitchen",
        "order",           "order_timeline",
        "payments",        "payment",
        "payment_refunds", "letters",
        "letter_stats",    "letter",
        "replays",         "replay",
        "livez",           "readyz",
        "metrics",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_expect_not_null(find_route(names[i]), "%s is a label of metrics", names[i]);
    }
}

/* --- steps --- */

Test(derivation, of_steps_does_not_change)
{
    static const struct {
        const char *step;
        const char *id;
    } rows[] = {
        {"user", "bcf41db3-4ab8-8c9a-8182-23d5455abc7d"},
        {"production", "9050d086-0427-852d-bf33-0d2ab0a75585"},
        {"letter/request", "a69872e0-b170-8ea5-afbf-32d1d6cee5ff"},
        {"letter/stock/0", "c62a7ce5-3369-8306-9da2-886d31ce1919"},
        {"letter/factory/0", "14ef4b22-e7a1-8593-8b95-7bc1f9c5eb8f"},
        {"letter/order/0", "fa6e34f3-52b3-8fa7-826f-1cb5043f11c7"},
        {"replay", "17b286c3-8b57-8311-ba08-b20e51bcc09c"},
        {"session", "5b80d838-3c8f-8f01-a51c-e212506a966e"},
        {"source", "efa0e762-acbc-8493-b314-969e92a5824d"},
        {"retry", "b9fd0407-ab0a-8564-bbdd-a60f3af4465f"},
        {"stock.refill", "56a59482-f035-8d14-b07f-96eb86929e45"},
        {"menu/donut", "ff6bb331-8607-8d94-9b89-04277fbde424"},
        {"try/1", "eb9738a4-ae63-83bf-a0e8-3e06e222ec5c"},
        {"demo configure", "bc7eb9a6-2919-8ea3-b081-8d27bf8da0e1"},
        {"demo adjust", "35df2d59-7c84-8394-964f-8c90d3d69937"},
        {"demo put", "7b6c3d9e-eee4-87c9-af8c-a04844810082"},
    };
    struct id from = counted();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct id id = id_derive(&from, rows[i].step);
        is_text(&id, rows[i].id, rows[i].step);
    }
}

Test(derivation, of_the_steps_of_an_order_does_not_change)
{
    static const struct {
        enum op op;
        int round;
        int shard;
        const char *id;
    } rows[] = {
        {OP_stock_reserve, 0, 0, "e1b0e229-21bc-8253-856b-2f694305069e"},
        {OP_stock_reserve, 2, 1, "f1f2467d-024a-8192-a3d6-ea10f81c73d8"},
        {OP_stock_release, 2, 1, "ebf42636-111f-8986-9625-acd44c8f9e1a"},
        {OP_stock_commit, 2, 1, "dd5a3266-2888-87e5-b083-e7d7cfaed244"},
        {OP_stock_return, 2, 1, "5dd7209c-8583-8525-abd9-eb00630fe639"},
        {OP_payment_charge, 3, 0, "abf5910e-41a2-8674-b497-38c1d2116d03"},
        {OP_payment_cancel, 3, 0, "fedb5e64-0890-8818-8fa5-54911dbff4f9"},
        {OP_payment_refund, 1, 0, "19002b68-599e-8f18-94dd-71ea955add9f"},
    };
    struct id order = counted();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct id id = saga_step_id(&order, rows[i].op, rows[i].round, rows[i].shard);
        is_text(&id, rows[i].id, wire_ops[rows[i].op].name);
    }
}

Test(derivation, of_bytes_does_not_change)
{
    struct id id = id_of_bytes("donut", 5);
    is_text(&id, "d79b6faf-299c-806b-9c9b-c52fd39e0550", "donut");
}
