/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The product actor, on both databases: product.put, patch, get, list, load, categories, categorise, the events it tells, and its
 * proof.
 *
 * PURPOSE   The test's thread is a client, and a durable subscriber of the actor's stream.
 * STATE     One product actor with a database of its own.
 * LIMITS    Who may do what is asked with headers of their own in tests/flow/test_products_command.py.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "product/product.h"
#include "../support/kit_place.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(10000)
#define QUIET_MS 300

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    struct larder_subscriber *subscriber;
    struct wire_buffer rows;
};

/* --- life --- */

static void
run_actor(struct stage *stage)
{
    struct err_text why = {""};
    err code = ERR_COUNT;
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; code != ERR_ok; (void)poll(NULL, 0, 10)) {
        code = actor_start(&product_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
        cr_assert(link_steady_ms() < until_ms, "%s: %s", err_symbol(code), why.text);
    }
}

static void
connect_client(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    topology_connect(&stage->place->settings, "product", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR);
    run_actor(stage);
    connect_client(stage);
}

static void
finish(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    larder_subscriber_destroy(&stage->subscriber);
    if (stage->actor != NULL) {
        cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
    }
    wire_buffer_fini(&stage->rows);
    close(stage->ended_fd);
}

static void
restart(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    cr_assert(actor_stop(&stage->actor) == ACTOR_STOPPED);
    run_actor(stage);
    connect_client(stage);
}

static struct db *
open_tables(const struct stage *stage)
{
    struct db_config config;
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(settings_db(&stage->place->settings, "product", 0, &config, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static int64_t
count(const struct stage *stage, const char *sql)
{
    struct db *db = open_tables(stage);
    int64_t number = place_number(db, sql);
    db_close(&db);
    return number;
}

/* --- asking --- */

static struct wire_product_put
put_of(const char *product, const char *name, int64_t amount)
{
    struct wire_product_put put = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, amount);
    WIRE_SET(&price, money, currency, slice_of("BRL"));
    WIRE_SET(&put, product_put, product, slice_of(product));
    WIRE_SET(&put, product_put, name, slice_of(name));
    WIRE_SET(&put, product_put, category, slice_of("burger"));
    WIRE_SET(&put, product_put, price, price);
    return put;
}

static err
put_version(struct stage *stage, const char *product, const char *name, int64_t version)
{
    struct wire_product_put put = put_of(product, name, 100);
    WIRE_SET(&put, product_put, version, version);
    return product_client_put(stage->client, NULL, &put, NULL, NULL);
}

static struct wire_product_card
put(struct stage *stage, const char *product, const char *name, int64_t amount)
{
    struct wire_product_put body = put_of(product, name, amount);
    struct wire_product_card card = {0};
    struct err_text why = {""};
    cr_assert(product_client_put(stage->client, NULL, &body, &card, &why) == ERR_ok, "%s", why.text);
    return card;
}

static struct wire_product_card
get(struct stage *stage, const char *product)
{
    struct wire_product_get body = {0};
    struct wire_product_card card = {0};
    struct err_text why = {""};
    WIRE_SET(&body, product_get, product, slice_of(product));
    cr_assert(product_client_get(stage->client, NULL, &body, &card, &why) == ERR_ok, "%s", why.text);
    return card;
}

static bool
is_text(struct slice text, const char *expected)
{
    return slice_equal(text, slice_of(expected));
}

/* The next event as "key version name", and nothing else is told before it. */
static void
expect_event(struct stage *stage, const char *expected)
{
    char requests[ENDPOINT_MAX];
    char events[ENDPOINT_MAX];
    struct err_text why = {""};
    struct larder_event event;
    struct wire_product_card card;
    char said[160];
    if (stage->subscriber == NULL) {
        topology_connect(&stage->place->settings, "product", 0, ENDPOINT_REQUESTS, requests);
        topology_connect(&stage->place->settings, "product", 0, ENDPOINT_EVENTS, events);
        struct larder_subscription subscription = {
            .requests = requests, .events = events, .name = "tester/0", .source = "product/0", .from_start = true};
        cr_assert(larder_subscriber_create(&subscription, &stage->subscriber, &why) == ERR_ok, "%s", why.text);
    }
    err code = larder_subscriber_next(stage->subscriber, expected == NULL ? QUIET_MS : WAIT_MS, &event);
    if (expected == NULL) {
        cr_assert_eq(code, ERR_deadline_exceeded, "there is another event");
        return;
    }
    cr_assert_eq(code, ERR_ok, "%s: %s", expected, larder_subscriber_why(stage->subscriber));
    cr_assert_eq(event.type, EVENT_product_changed);
    cr_assert(larder_event_decode(&event, &card, &why) == ERR_ok, "%s", why.text);
    (void)snprintf(said, sizeof said, "%.*s %d %.*s", (int)event.header.key.size, (const char *)event.header.key.data,
                   (int)card.version, (int)card.name.size, (const char *)card.name.data);
    cr_expect_str_eq(said, expected);
    cr_expect(slice_equal(card.product, event.header.key));
    larder_subscriber_ack(stage->subscriber, event.header.seq);
}

/* --- one product --- */

ON_BOTH(product, put_creates_then_replaces_and_tells_each_change_once)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_card card = put(&stage, "b1", "Burger", 100);
    cr_expect_eq(card.version, 1);
    cr_expect(card.active);
    cr_expect_not(WIRE_HAS(&card, product_card, description));
    cr_expect_not(WIRE_HAS(&card, product_card, images));
    cr_expect_eq(put(&stage, "b1", "Burger", 100).version, 1);
    cr_expect_eq(put(&stage, "b1", "Burger", 200).version, 2);
    cr_expect_eq(put(&stage, "B1", "Another", 100).version, 1);
    expect_event(&stage, "b1 1 Burger");
    expect_event(&stage, "b1 2 Burger");
    expect_event(&stage, "B1 1 Another");
    expect_event(&stage, NULL);
    cr_expect_eq(get(&stage, "b1").price.amount, 200);
    cr_expect(is_text(get(&stage, "B1").name, "Another"));
    finish(&stage);
}

ON_BOTH(product, put_at_another_version_is_a_conflict_that_tells_the_version)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_eq(put_version(&stage, "b1", "Burger", 1), ERR_version_conflict);
    cr_expect_eq(put_version(&stage, "b1", "Burger", 0), ERR_ok);
    cr_expect_eq(put_version(&stage, "b1", "Burgers", 0), ERR_version_conflict);
    cr_expect_eq(put_version(&stage, "b1", "Burgers", 1), ERR_ok);
    struct wire_product_put body = put_of("b1", "Other", 1);
    WIRE_SET(&body, product_put, version, 1);
    struct larder_request request = {.op = OP_product_put, .body = &body};
    struct larder_reply reply;
    cr_expect_eq(larder_client_call(stage.client, &request, &reply), ERR_version_conflict);
    cr_expect_eq(reply.problem.version, 2);
    cr_expect(is_text(reply.problem.product, "b1"));
    expect_event(&stage, "b1 1 Burger");
    expect_event(&stage, "b1 2 Burgers");
    expect_event(&stage, NULL);
    finish(&stage);
}

ON_BOTH(product, patch_changes_what_is_given_and_nothing_else)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_put body = put_of("b1", "Burger", 100);
    struct wire_list images = {0};
    struct wire_product_image image = {0};
    WIRE_SET(&body, product_put, description, slice_of("good"));
    for (int i = 0; i < 2; i++) {
        WIRE_SET(&image, product_image, url, slice_of(i == 0 ? "https://x/1" : "http://x/2"));
        wire_list_add(&images, &product_image_body, &image, &stage.rows);
    }
    wire_list_end(&images, &stage.rows);
    WIRE_SET(&body, product_put, images, images);
    cr_assert_eq(product_client_put(stage.client, NULL, &body, NULL, NULL), ERR_ok);
    struct wire_product_patch patch = {0};
    struct wire_product_card card;
    WIRE_SET(&patch, product_patch, product, slice_of("b1"));
    WIRE_SET(&patch, product_patch, active, false);
    WIRE_SET(&patch, product_patch, version, 1);
    cr_assert_eq(product_client_patch(stage.client, NULL, &patch, &card, NULL), ERR_ok);
    cr_expect_eq(card.version, 2);
    cr_expect_not(card.active);
    cr_expect(is_text(card.description, "good") && is_text(card.name, "Burger"));
    cr_expect_eq(card.images.count, 2);
    cr_assert(wire_list_next(&card.images, &product_image_body, &image));
    cr_expect(is_text(image.url, "https://x/1"));
    cr_expect_eq(product_client_patch(stage.client, NULL, &patch, NULL, NULL), ERR_version_conflict);
    struct wire_product_patch empty = {0};
    WIRE_SET(&empty, product_patch, product, slice_of("b1"));
    cr_assert_eq(product_client_patch(stage.client, NULL, &empty, &card, NULL), ERR_ok);
    cr_expect_eq(card.version, 2);
    WIRE_SET(&empty, product_patch, description, slice_of(""));
    WIRE_SET(&empty, product_patch, images, (struct wire_list){0});
    cr_assert_eq(product_client_patch(stage.client, NULL, &empty, &card, NULL), ERR_ok);
    cr_expect_eq(card.version, 3);
    cr_expect_not(WIRE_HAS(&card, product_card, description));
    cr_expect_not(WIRE_HAS(&card, product_card, images));
    WIRE_SET(&empty, product_patch, product, slice_of("none"));
    cr_expect_eq(product_client_patch(stage.client, NULL, &empty, NULL, NULL), ERR_unknown_product);
    finish(&stage);
}

ON_BOTH(product, a_refused_put_leaves_nothing)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_put body = put_of("b1", "Burger", 100);
    struct err_text why;
    WIRE_SET(&body, product_put, category, slice_of("Burger"));
    cr_expect_eq(product_client_put(stage.client, NULL, &body, NULL, &why), ERR_unknown_category);
    WIRE_SET(&body, product_put, category, slice_of("burger"));
    WIRE_SET(&body.price, money, currency, slice_of("brl"));
    cr_expect_eq(product_client_put(stage.client, NULL, &body, NULL, &why), ERR_invalid_field);
    cr_expect(strncmp(why.text, "currency: ", 10) == 0, "%s", why.text);
    struct wire_product_image image = {0};
    struct wire_list images = {0};
    body = put_of("b1", "Burger", 100);
    WIRE_SET(&image, product_image, url, slice_of("http://x/1 http://x/2"));
    wire_list_add(&images, &product_image_body, &image, &stage.rows);
    wire_list_end(&images, &stage.rows);
    WIRE_SET(&body, product_put, images, images);
    cr_expect_eq(product_client_put(stage.client, NULL, &body, NULL, &why), ERR_invalid_field);
    struct wire_product_get get = {0};
    WIRE_SET(&get, product_get, product, slice_of("b1"));
    cr_expect_eq(product_client_get(stage.client, NULL, &get, NULL, NULL), ERR_unknown_product);
    cr_expect_eq(count(&stage, "SELECT COUNT(*) FROM $product"), 0);
    expect_event(&stage, NULL);
    finish(&stage);
}

ON_BOTH(product, a_put_that_is_asked_again_is_answered_as_it_was)
{
    struct stage stage;
    start(&stage, place);
    struct wire_product_put body = put_of("b1", "Burger", 100);
    struct larder_request request = {.op = OP_product_put, .body = &body, .options = {.id = id_new(), .again = true}};
    struct larder_reply reply;
    cr_assert_eq(larder_client_call(stage.client, &request, &reply), ERR_ok);
    put(&stage, "b1", "Burger", 200);
    cr_assert_eq(larder_client_call(stage.client, &request, &reply), ERR_ok);
    cr_expect(reply.replayed);
    cr_expect_eq(get(&stage, "b1").price.amount, 200);
    cr_expect_eq(get(&stage, "b1").version, 2);
    finish(&stage);
}

ON_BOTH(product, many_under_way_each_see_what_those_before_them_left)
{
    struct stage stage;
    start(&stage, place);
    for (int64_t i = 0; i < 300; i++) {
        struct wire_product_put body = put_of(i % 3 == 0 ? "a" : "b", "Burger", i);
        struct larder_request request = {.op = OP_product_put, .body = &body};
        cr_assert_eq(larder_client_send(stage.client, &request), ERR_ok);
    }
    for (int i = 0; i < 300; i++) {
        struct larder_reply reply;
        cr_assert_eq(larder_client_receive(stage.client, WAIT_MS, &reply), ERR_ok);
        cr_assert_eq(reply.status, ERR_ok);
    }
    cr_expect_eq(get(&stage, "a").version, 100);
    cr_expect_eq(get(&stage, "b").version, 200);
    cr_expect_eq(get(&stage, "b").price.amount, 299);
    cr_expect_eq(count(&stage, "SELECT COUNT(*) FROM $product"), 2);
    cr_expect_eq(count(&stage, "SELECT seq FROM $shard"), 300);
    finish(&stage);
}

ON_BOTH(product, numbers_go_on_behind_a_restart_and_a_lost_connection)
{
    struct stage stage;
    start(&stage, place);
    put(&stage, "a", "A", 1);
    restart(&stage);
    put(&stage, "b", "B", 1);
    place_kill(place, count(&stage, "SELECT connection FROM $shard"));
    put(&stage, "c", "C", 1);
    cr_expect_eq(count(&stage, "SELECT MAX(n) FROM $product"), 3);
    cr_expect_eq(count(&stage, "SELECT seq FROM $shard"), 3);
    finish(&stage);
}

/* --- the menu --- */

/* The SKUs of a page, with `+` when there is more. */
static void
list_page(struct stage *stage, const struct wire_product_list *body, char out[512])
{
    struct wire_product_page page;
    struct wire_product_card card;
    struct err_text why = {""};
    size_t size = 0;
    out[0] = '\0';
    cr_assert(product_client_list(stage->client, NULL, body, &page, &why) == ERR_ok, "%s", why.text);
    while (wire_list_next(&page.products, &product_card_body, &card)) {
        size += (size_t)snprintf(out + size, 512 - size, "%s%.*s", size > 0 ? " " : "", (int)card.product.size,
                                 (const char *)card.product.data);
    }
    (void)snprintf(out + size, 512 - size, "%s", page.has_more ? " +" : "");
}

static void
put_in(struct stage *stage, const char *product, const char *category, bool is_active)
{
    struct wire_product_put body = put_of(product, "Something", 1);
    WIRE_SET(&body, product_put, category, slice_of(category));
    WIRE_SET(&body, product_put, active, is_active);
    cr_assert_eq(product_client_put(stage->client, NULL, &body, NULL, NULL), ERR_ok);
}

ON_BOTH(product, a_list_is_ordered_by_bytes_and_has_pages)
{
    struct stage stage;
    char out[512];
    start(&stage, place);
    put_in(&stage, "b", "burger", true);
    put_in(&stage, "A", "side", true);
    put_in(&stage, "a", "burger", false);
    put_in(&stage, "_", "burger", true);
    put_in(&stage, "007", "side", false);
    struct wire_product_list all = {0};
    list_page(&stage, &all, out);
    cr_expect_str_eq(out, "007 A _ a b");
    WIRE_SET(&all, product_list, limit, 2);
    list_page(&stage, &all, out);
    cr_expect_str_eq(out, "007 A +");
    WIRE_SET(&all, product_list, after, slice_of("A"));
    list_page(&stage, &all, out);
    cr_expect_str_eq(out, "_ a +");
    WIRE_SET(&all, product_list, after, slice_of("a"));
    list_page(&stage, &all, out);
    cr_expect_str_eq(out, "b");
    struct wire_product_list burgers = {0};
    WIRE_SET(&burgers, product_list, category, slice_of("burger"));
    list_page(&stage, &burgers, out);
    cr_expect_str_eq(out, "_ a b");
    WIRE_SET(&burgers, product_list, active, true);
    list_page(&stage, &burgers, out);
    cr_expect_str_eq(out, "_ b");
    struct wire_product_list gone = {0};
    WIRE_SET(&gone, product_list, active, false);
    list_page(&stage, &gone, out);
    cr_expect_str_eq(out, "007 a");
    WIRE_SET(&gone, product_list, category, slice_of("soup"));
    cr_expect_eq(product_client_list(stage.client, NULL, &gone, NULL, NULL), ERR_unknown_category);
    finish(&stage);
}

ON_BOTH(product, a_page_ends_where_the_frame_is_full_and_goes_on_behind_it)
{
    struct stage stage;
    static char words[2000];
    struct wire_product_list all = {0};
    int64_t seen = 0;
    int pages = 0;
    char last[16] = "";
    start(&stage, place);
    memset(words, 'w', sizeof words);
    for (int i = 0; i < 600; i++) {
        char sku[16];
        (void)snprintf(sku, sizeof sku, "p%03d", i);
        struct wire_product_put body = put_of(sku, "Something", 1);
        WIRE_SET(&body, product_put, description, (struct slice){(const uint8_t *)words, sizeof words});
        struct larder_request request = {.op = OP_product_put, .body = &body};
        cr_assert_eq(larder_client_send(stage.client, &request), ERR_ok);
    }
    while (larder_client_pending(stage.client) > 0) {
        struct larder_reply reply;
        cr_assert_eq(larder_client_receive(stage.client, WAIT_MS, &reply), ERR_ok);
        cr_assert_eq(reply.status, ERR_ok);
    }
    WIRE_SET(&all, product_list, limit, 1000);
    struct wire_product_page page = {.has_more = true};
    for (; page.has_more; pages++) {
        struct wire_product_card card;
        cr_assert_eq(product_client_list(stage.client, NULL, &all, &page, NULL), ERR_ok);
        while (wire_list_next(&page.products, &product_card_body, &card)) {
            seen++;
            (void)snprintf(last, sizeof last, "%.*s", (int)card.product.size, (const char *)card.product.data);
        }
        WIRE_SET(&all, product_list, after, slice_of(last));
    }
    cr_expect_eq(seen, 600);
    cr_expect_gt(pages, 1);
    cr_expect_str_eq(last, "p599");
    finish(&stage);
}

static void
categories(struct stage *stage, char out[512])
{
    struct wire_product_categories all;
    struct wire_product_category one;
    size_t size = 0;
    out[0] = '\0';
    cr_assert_eq(product_client_categories(stage->client, NULL, &(struct wire_nothing){0}, &all, NULL), ERR_ok);
    while (wire_list_next(&all.categories, &product_category_body, &one)) {
        size += (size_t)snprintf(out + size, 512 - size, "%s%.*s=%.*s", size > 0 ? " " : "", (int)one.category.size,
                                 (const char *)one.category.data, (int)one.name.size, (const char *)one.name.data);
    }
}

static err
categorise(struct stage *stage, const char *category, const char *name, int64_t position)
{
    struct wire_product_category body = {0};
    WIRE_SET(&body, product_category, category, slice_of(category));
    WIRE_SET(&body, product_category, name, slice_of(name));
    WIRE_SET(&body, product_category, position, position);
    return product_client_categorise(stage->client, NULL, &body, NULL, NULL);
}

ON_BOTH(product, categories_are_in_the_order_of_the_menu_and_stay)
{
    struct stage stage;
    char out[512];
    start(&stage, place);
    categories(&stage, out);
    cr_expect_str_eq(out, "burger=Burgers side=Sides beverage=Drinks dessert=Desserts other=Other");
    cr_expect_eq(categorise(&stage, "soup", "Soups", 5), ERR_ok);
    cr_expect_eq(categorise(&stage, "other", "Everything else", 0), ERR_ok);
    cr_expect_eq(categorise(&stage, "soup", "A\nB", 5), ERR_invalid_field);
    put_in(&stage, "lentils", "soup", true);
    restart(&stage);
    categories(&stage, out);
    cr_expect_str_eq(out, "other=Everything else soup=Soups burger=Burgers side=Sides beverage=Drinks dessert=Desserts");
    finish(&stage);
}

/* --- loading --- */

struct file_row {
    const char *product;
    const char *name;
    const char *category;
    int64_t amount;
};

static void
add_row(struct stage *stage, struct wire_list *list, const struct file_row *from)
{
    struct wire_product_row row = {0};
    WIRE_SET(&row, product_row, product, slice_of(from->product));
    WIRE_SET(&row, product_row, name, slice_of(from->name));
    WIRE_SET(&row, product_row, category, slice_of(from->category));
    WIRE_SET(&row, product_row, amount, from->amount);
    WIRE_SET(&row, product_row, currency, slice_of("BRL"));
    wire_list_add(list, &product_row_body, &row, &stage->rows);
}

/* Loads the rows; the outcomes as one text, "c" "x" "u" "r" for created, changed, unchanged, refused. */
static void
load(struct stage *stage, const struct file_row *rows, size_t row_count, bool is_dry, char out[64])
{
    struct wire_product_load body = {0};
    struct wire_product_loaded loaded;
    struct wire_product_result result;
    struct wire_list list = {0};
    struct err_text why = {""};
    int64_t counts[4] = {0};
    size_t size = 0;
    stage->rows.size = 0;
    for (size_t i = 0; i < row_count; i++) {
        add_row(stage, &list, &rows[i]);
    }
    wire_list_end(&list, &stage->rows);
    WIRE_SET(&body, product_load, rows, list);
    WIRE_SET(&body, product_load, dry_run, is_dry);
    cr_assert(product_client_load(stage->client, NULL, &body, &loaded, &why) == ERR_ok, "%s", why.text);
    while (wire_list_next(&loaded.results, &product_result_body, &result)) {
        static const char *const words[] = {"created", "changed", "unchanged", "refused"};
        for (size_t i = 0; i < 4; i++) {
            if (is_text(result.outcome, words[i])) {
                counts[i]++;
                out[size++] = "cxur"[i];
            }
        }
        cr_assert_eq(result.row, (int64_t)size);
        cr_expect(is_text(result.product, rows[size - 1].product));
        cr_expect_eq(WIRE_HAS(&result, product_result, error) != 0, out[size - 1] == 'r');
    }
    out[size] = '\0';
    cr_expect(counts[0] == loaded.created && counts[1] == loaded.changed && counts[2] == loaded.unchanged &&
              counts[3] == loaded.refused);
}

ON_BOTH(product, a_load_says_what_became_of_each_row)
{
    static const struct file_row rows[] = {
        {"a", "A", "burger", 1}, {"b", "B", "nothing", 1}, {"c d", "C", "burger", 1}, {"d", "", "burger", 1},
        {"e", "E", "burger", 1}, {"f", "F", "burger", -1}, {"", "G", "burger", 1},    {"h", "H", "side", 0},
    };
    struct stage stage;
    char out[64];
    start(&stage, place);
    put(&stage, "e", "Old", 1);
    load(&stage, rows, 8, false, out);
    cr_expect_str_eq(out, "crrrxrrc");
    load(&stage, rows, 8, false, out);
    cr_expect_str_eq(out, "urrrurru");
    expect_event(&stage, "e 1 Old");
    expect_event(&stage, "a 1 A");
    expect_event(&stage, "e 2 E");
    expect_event(&stage, "h 1 H");
    expect_event(&stage, NULL);
    finish(&stage);
}

ON_BOTH(product, of_rows_about_one_product_the_last_good_one_counts)
{
    static const struct file_row rows[] = {
        {"a", "First", "burger", 1}, {"a", "Second", "burger", 1}, {"a", "Third", "soup", 1}, {"b", "B", "burger", 1}};
    struct stage stage;
    char out[64];
    start(&stage, place);
    load(&stage, rows, 4, false, out);
    cr_expect_str_eq(out, "ucrc");
    load(&stage, rows, 4, false, out);
    cr_expect_str_eq(out, "uuru");
    load(&stage, rows, 1, false, out);
    cr_expect_str_eq(out, "x");
    expect_event(&stage, "a 1 Second");
    expect_event(&stage, "b 1 B");
    expect_event(&stage, "a 2 First");
    expect_event(&stage, NULL);
    finish(&stage);
}

ON_BOTH(product, a_dry_run_says_the_same_and_writes_nothing)
{
    static const struct file_row rows[] = {
        {"a", "A", "burger", 1}, {"b", "B", "burger", 2}, {"c", "C", "none", 1}, {"b", "B", "burger", 1}};
    struct stage stage;
    char out[64];
    start(&stage, place);
    put(&stage, "b", "B", 2);
    load(&stage, rows, 4, true, out);
    cr_expect_str_eq(out, "curx");
    cr_expect_eq(count(&stage, "SELECT COUNT(*) FROM $product"), 1);
    cr_expect_eq(get(&stage, "b").version, 1);
    load(&stage, rows, 4, false, out);
    cr_expect_str_eq(out, "curx");
    expect_event(&stage, "b 1 B");
    expect_event(&stage, "a 1 A");
    expect_event(&stage, "b 2 B");
    expect_event(&stage, NULL);
    finish(&stage);
}

ON_BOTH(product, the_largest_message_is_done_in_one_piece)
{
    struct stage stage;
    struct wire_product_load body = {0};
    struct wire_product_loaded loaded;
    struct wire_list list = {0};
    start(&stage, place);
    for (int i = 0; i < 1000; i++) {
        char sku[16];
        (void)snprintf(sku, sizeof sku, "p%03d", i);
        add_row(&stage, &list, &(struct file_row){sku, "P", "burger", 1});
    }
    wire_list_end(&list, &stage.rows);
    WIRE_SET(&body, product_load, rows, list);
    cr_assert_eq(product_client_load(stage.client, NULL, &body, &loaded, NULL), ERR_ok);
    cr_expect_eq(loaded.created, 1000);
    cr_expect_eq(loaded.results.count, 1000);
    cr_expect_eq(count(&stage, "SELECT COUNT(*) FROM $product"), 1000);
    cr_expect_eq(count(&stage, "SELECT MAX(n) FROM $product"), 1000);
    finish(&stage);
}

/* --- the proof --- */

static void
tell_all(void *context, const char *sentence)
{
    char *all = context;
    size_t size = strlen(all);
    (void)snprintf(all + size, 2048 - size, "%s\n", sentence);
}

static int64_t
verify(const struct stage *stage, char all[2048], int64_t *rows)
{
    struct verify_report report = {.say = tell_all, .context = all};
    struct db *db = open_tables(stage);
    all[0] = '\0';
    place_expect(db, product_verify(db, &report), ERR_ok);
    db_close(&db);
    *rows = report.rows_checked;
    return report.faults;
}

struct damage {
    const char *sql;
    const char *undo;
    const char *words;
};

ON_BOTH(product, verify_finds_nothing_in_sound_tables_and_names_what_was_changed_by_hand)
{
    static const struct damage damages[] = {
        {"UPDATE $product SET version = 5 WHERE product = 'a'", "UPDATE $product SET version = 2 WHERE product = 'a'",
         "add up to 6, but 3 changes"},
        {"UPDATE $product SET n = 7 WHERE product = 'b'", "UPDATE $product SET n = 2 WHERE product = 'b'", "b: its number is 7"},
        {"UPDATE $product SET currency = 'brl' WHERE product = 'b'", "UPDATE $product SET currency = 'BRL' WHERE product = 'b'",
         "b: currency: "},
        {"UPDATE $product SET name = '' WHERE product = 'a'", "UPDATE $product SET name = 'A' WHERE product = 'a'", "a: name: "},
        {"UPDATE $product SET category = 'Burger' WHERE product = 'a'", "UPDATE $product SET category = 'burger' WHERE product = 'a'",
         "a: there is no such category"},
        {"UPDATE $shard SET seq = seq + 1", "UPDATE $shard SET seq = seq - 1", "add up to 3, but 4 changes"},
    };
    struct stage stage;
    char all[2048];
    int64_t rows = 0;
    start(&stage, place);
    put(&stage, "a", "A", 1);
    put(&stage, "a", "A", 2);
    put(&stage, "b", "B", 1);
    cr_expect_eq(verify(&stage, all, &rows), 0, "%s", all);
    cr_expect_eq(rows, 7);
    larder_client_destroy(&stage.client);
    cr_assert(actor_stop(&stage.actor) == ACTOR_STOPPED);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct db *db = open_tables(&stage);
        place_expect(db, db_run(db_statement(db, damages[i].sql), NULL), ERR_ok);
        place_expect(db, db_commit(db), ERR_ok);
        cr_expect_geq(verify(&stage, all, &rows), 1, "%s", damages[i].sql);
        cr_expect_not_null(strstr(all, damages[i].words), "%s: %s", damages[i].sql, all);
        place_expect(db, db_run(db_statement(db, damages[i].undo), NULL), ERR_ok);
        place_expect(db, db_commit(db), ERR_ok);
        cr_expect_eq(verify(&stage, all, &rows), 0, "%s: %s", damages[i].undo, all);
        db_close(&db);
    }
    finish(&stage);
}
