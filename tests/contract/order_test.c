/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The order actor between peers that do as they are told, on both databases: each way through the saga, each way back, what is said
 * twice, what is never said, and that a saga goes on after its actor has ended in the middle.
 *
 * STATE     One order actor, a client, and scripted stock, payment, product and dlq; nobody else is there. At the end of each test the
 *           tables are proved, and no id was ever used for two things.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../support/kit_place.h"
#include "../support/scripted_peer.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "order/order.h"
#include "order/saga/order_saga.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)

enum { PORT_ORDER = 3, SHARDS_MAX = 2 };

/* Of two shards: FIRST lies on the shard 0, SECOND on the shard 1. */
static char first[24];
static char second[24];

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    struct scripted_peer *stock[SHARDS_MAX];
    struct scripted_peer *payment;
    struct scripted_peer *product;
    struct scripted_peer *dlq;
    struct scripted_peer *user;
    const char *reason; /* that payment gives with what it tells; NULL: none */
};

#define ONCE ((struct larder_options){.timeout_ms = WAIT_MS, .attempts = 1})

/* --- life --- */

static void
run_order(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    err code = actor_start(&order_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("order", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
stop_order(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
restart(struct stage *stage)
{
    stop_order(stage);
    place_await_ports_of(stage->place, PORT_ORDER);
    run_order(stage);
}

static void
find_products(int shards)
{
    for (int i = 0; wire_shard_of(slice_of(first), shards) != 0 || first[0] == '\0'; i++) {
        (void)snprintf(first, sizeof first, "first%d", i);
    }
    for (int i = 0; wire_shard_of(slice_of(second), shards) != shards - 1 || second[0] == '\0'; i++) {
        (void)snprintf(second, sizeof second, "second%d", i);
    }
}

static void
say(void *context, const char *sentence)
{
    (void)context;
    cr_log_error("%s", sentence);
}

/* The faults in the actor's tables at a time; 0: of a closed shop. */
static int64_t
faults_at(struct stage *stage, int64_t now_ms, void (*tell)(void *context, const char *sentence))
{
    struct db_config config = stage->place->config;
    struct db *db = NULL;
    struct err_text why = {""};
    struct verify_report report = {.now_ms = now_ms, .stuck_ms = stage->place->settings.stuck_ms, .say = tell};
    (void)snprintf(config.prefix, sizeof config.prefix, "order_0");
    config.read_only = true;
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    err code = order_verify(db, &report);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), db_error(db));
    cr_expect_gt(report.rows_checked, 0);
    db_close(&db);
    return report.faults;
}

static int64_t
faults_of(struct stage *stage, void (*tell)(void *context, const char *sentence))
{
    return faults_at(stage, clock_utc_ms(), tell);
}

/* One statement on the actor's tables. */
static void
change(struct stage *stage, const char *sql)
{
    struct db_config config = stage->place->config;
    struct db *db = NULL;
    struct err_text why = {""};
    (void)snprintf(config.prefix, sizeof config.prefix, "order_0");
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    err code = db_run(db_statement(db, sql), NULL);
    cr_assert(code == ERR_ok, "%s: %s", sql, db_error(db));
    cr_assert(db_commit(db) == ERR_ok);
    db_close(&db);
}

static void
finish(struct stage *stage)
{
    stop_order(stage);
    cr_expect_eq(faults_of(stage, say), 0);
    for (int shard = 0; shard < SHARDS_MAX && stage->stock[shard] != NULL; shard++) {
        cr_expect_not(scripted_peer_forgot_again(stage->stock[shard]));
        scripted_peer_close(&stage->stock[shard]);
    }
    cr_expect_not(scripted_peer_forgot_again(stage->payment));
    scripted_peer_close(&stage->payment);
    scripted_peer_close(&stage->product);
    scripted_peer_close(&stage->dlq);
    scripted_peer_close(&stage->user);
    close(stage->ended_fd);
}

/* --- asking --- */

struct wanted_line {
    const char *product;
    int64_t quantity;
};

/* What was told of an order: its slices are copied. */
struct seen {
    err code;
    struct id id;
    char status[24];
    char saga[32];
    char reason[65];
    int64_t total;
    int64_t version;
    struct id charge;
    struct err_text why;
};

static void
copy(char *to, size_t size, struct slice from)
{
    (void)snprintf(to, size, "%.*s", (int)from.size, (const char *)from.data);
}

static void
see(struct seen *seen, const struct wire_order *order)
{
    seen->id = order->id;
    copy(seen->status, sizeof seen->status, order->status);
    copy(seen->saga, sizeof seen->saga, order->saga);
    seen->reason[0] = '\0';
    if (WIRE_HAS(order, order, reason)) {
        copy(seen->reason, sizeof seen->reason, order->reason);
    }
    seen->total = order->total.amount;
    seen->version = order->version;
    seen->charge = order->charge;
}

static struct seen
place_for(struct stage *stage, const struct larder_options *options, const struct wanted_line *lines, size_t count,
          const struct id *customer)
{
    struct wire_order_place body = {0};
    struct wire_order order = {0};
    struct seen seen = {0};
    struct wire_list list = {0};
    struct wire_buffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        struct wire_order_line line = {0};
        WIRE_SET(&line, order_line, product, slice_of(lines[i].product));
        WIRE_SET(&line, order_line, quantity, lines[i].quantity);
        wire_list_add(&list, &order_line_body, &line, &bytes);
    }
    wire_list_end(&list, &bytes);
    WIRE_SET(&body, order_place, lines, list);
    WIRE_SET(&body, order_place, method, slice_of("pix"));
    WIRE_SET(&body, order_place, note, slice_of("no onion"));
    if (customer != NULL) {
        WIRE_SET(&body, order_place, customer, *customer);
    }
    seen.code = order_client_place(stage->client, options, &body, &order, &seen.why);
    if (seen.code == ERR_ok) {
        see(&seen, &order);
    }
    wire_buffer_fini(&bytes);
    return seen;
}

static struct seen
place_lines(struct stage *stage, const struct larder_options *options, const struct wanted_line *lines, size_t count)
{
    return place_for(stage, options, lines, count, NULL);
}

/* One unit of each shard. */
static struct seen
place_order(struct stage *stage, const struct larder_options *options)
{
    struct wanted_line lines[] = {{first, 1}, {second, 2}};
    return place_lines(stage, options, lines, stage->stock[1] == NULL ? 1 : 2);
}

static struct seen
get_order(struct stage *stage, const struct id *id)
{
    struct wire_order_get body = {0};
    struct wire_order order = {0};
    struct seen seen = {0};
    WIRE_SET(&body, order_get, order, *id);
    seen.code = order_client_get(stage->client, &ONCE, &body, &order, &seen.why);
    if (seen.code == ERR_ok) {
        see(&seen, &order);
    }
    return seen;
}

static struct seen
cancel_order(struct stage *stage, const struct id *id)
{
    struct wire_order_cancel body = {0};
    struct wire_order order = {0};
    struct seen seen = {0};
    WIRE_SET(&body, order_cancel, order, *id);
    seen.code = order_client_cancel(stage->client, &ONCE, &body, &order, &seen.why);
    if (seen.code == ERR_ok) {
        see(&seen, &order);
    }
    return seen;
}

static struct seen
advance_order(struct stage *stage, const struct larder_options *options, const struct id *id, const char *to)
{
    struct wire_order_advance body = {0};
    struct wire_order order = {0};
    struct seen seen = {0};
    WIRE_SET(&body, order_advance, order, *id);
    if (to != NULL) {
        WIRE_SET(&body, order_advance, to, slice_of(to));
    }
    seen.code = order_client_advance(stage->client, options, &body, &order, &seen.why);
    if (seen.code == ERR_ok) {
        see(&seen, &order);
    }
    return seen;
}

static struct seen
pay_order(struct stage *stage, const struct larder_options *options, const struct id *id)
{
    struct wire_order_pay body = {0};
    struct wire_order order = {0};
    struct seen seen = {0};
    WIRE_SET(&body, order_pay, order, *id);
    seen.code = order_client_pay(stage->client, options, &body, &order, &seen.why);
    if (seen.code == ERR_ok) {
        see(&seen, &order);
    }
    return seen;
}

static struct seen
await_order(struct stage *stage, const struct id *id, const char *status, const char *saga)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    struct seen seen = get_order(stage, id);
    while (((status != NULL && strcmp(seen.status, status) != 0) || strcmp(seen.saga, saga) != 0) && clock_steady_us() < until_us) {
        seen = get_order(stage, id);
    }
    cr_assert((status == NULL || strcmp(seen.status, status) == 0) && strcmp(seen.saga, saga) == 0, "%s, %s instead of %s, %s: %s",
              seen.status, seen.saga, status, saga, seen.why.text);
    return seen;
}

static void
await_asked(struct scripted_peer *peer, enum op op, int times)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    while (scripted_peer_asked(peer, op) < times && clock_steady_us() < until_us) {
        (void)poll(NULL, 0, 1);
    }
    cr_assert(scripted_peer_asked(peer, op) >= times, "%s was asked %d times", wire_ops[op].name, scripted_peer_asked(peer, op));
}

/* How many entries of the timeline say this. `outcome` may be NULL. */
static int
entries(struct stage *stage, const struct id *id, const char *what, const char *outcome)
{
    struct wire_order_timeline body = {0};
    struct wire_order_history history = {0};
    struct wire_order_entry entry;
    int count = 0;
    WIRE_SET(&body, order_timeline, order, *id);
    WIRE_SET(&body, order_timeline, limit, 1000);
    cr_assert(order_client_timeline(stage->client, &ONCE, &body, &history, NULL) == ERR_ok);
    while (wire_list_next(&history.entries, &order_entry_body, &entry)) {
        count += slice_equal(entry.what, slice_of(what)) && (outcome == NULL || slice_equal(entry.outcome, slice_of(outcome)));
    }
    return count;
}

static void
await_entry(struct stage *stage, const struct id *id, const char *what, const char *outcome)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    while (entries(stage, id, what, outcome) == 0 && clock_steady_us() < until_us) {
    }
    cr_assert(entries(stage, id, what, outcome) > 0, "no %s %s", what, outcome);
}

/* --- what payment tells --- */

static void
tell(struct stage *stage, enum event_type type, const struct seen *order, const struct id *charge, const struct id *refund)
{
    struct wire_payment_fact fact = {0};
    struct wire_money amount = {0};
    char key[ID_TEXT_SIZE];
    id_format(&order->id, key);
    WIRE_SET(&amount, money, amount, order->total);
    WIRE_SET(&amount, money, currency, slice_of("BRL"));
    WIRE_SET(&fact, payment_fact, charge, charge == NULL ? order->charge : *charge);
    WIRE_SET(&fact, payment_fact, order, order->id);
    WIRE_SET(&fact, payment_fact, amount, amount);
    WIRE_SET(&fact, payment_fact, method, slice_of("pix"));
    if (refund != NULL) {
        WIRE_SET(&fact, payment_fact, refund, *refund);
    }
    if (stage->reason != NULL) {
        WIRE_SET(&fact, payment_fact, reason, slice_of(stage->reason));
    }
    scripted_peer_emit(stage->payment, type, slice_of(key), &fact);
}

/* A refund that the order did not ask for; `refunded` is what of its charge is paid back then. */
static void
tell_paid_back(struct stage *stage, const struct seen *order, int64_t amount, int64_t refunded)
{
    struct wire_payment_fact fact = {0};
    struct wire_money money = {0};
    char key[ID_TEXT_SIZE];
    id_format(&order->id, key);
    WIRE_SET(&money, money, amount, amount);
    WIRE_SET(&money, money, currency, slice_of("BRL"));
    WIRE_SET(&fact, payment_fact, charge, order->charge);
    WIRE_SET(&fact, payment_fact, order, order->id);
    WIRE_SET(&fact, payment_fact, amount, money);
    WIRE_SET(&fact, payment_fact, method, slice_of("pix"));
    WIRE_SET(&fact, payment_fact, refund, id_new());
    WIRE_SET(&fact, payment_fact, refunded, refunded);
    scripted_peer_emit(stage->payment, EVENT_payment_refunded, slice_of(key), &fact);
}

static void
tell_refund(struct stage *stage, enum event_type type, const struct seen *order)
{
    struct id refund = scripted_peer_latest(stage->payment, OP_payment_refund);
    tell(stage, type, order, NULL, &refund);
}

/* An order that the kitchen has. */
static struct seen
received_order(struct stage *stage)
{
    struct seen order = place_order(stage, &ONCE);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    return await_order(stage, &order.id, "received", "ended");
}

static int
held(struct stage *stage)
{
    return scripted_peer_held(stage->stock[0]) + (stage->stock[1] == NULL ? 0 : scripted_peer_held(stage->stock[1]));
}

static int
sold(struct stage *stage)
{
    return scripted_peer_sold(stage->stock[0]) + (stage->stock[1] == NULL ? 0 : scripted_peer_sold(stage->stock[1]));
}

/* Until each of its peers is connected and followed: an order that fails, which is not counted. */
static void
meet_peers(struct stage *stage)
{
    struct larder_options patient = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS};
    struct seen order = place_order(stage, &patient);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    await_asked(stage->payment, OP_payment_charge, 1);
    tell(stage, EVENT_payment_failed, &order, NULL, NULL);
    await_order(stage, &order.id, NULL, "ended");
    for (int shard = 0; shard < SHARDS_MAX && stage->stock[shard] != NULL; shard++) {
        scripted_peer_forget_counts(stage->stock[shard]);
    }
    scripted_peer_forget_counts(stage->payment);
    scripted_peer_forget_counts(stage->product);
}

static void
start(struct stage *stage, struct place *place, int shards)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.stock_shards = shards;
    place->settings.request_timeout_ms = patience_ms(300);
    place->settings.retry_first_ms = 20;
    log_init(false, LOG_LEVEL_ERROR + 1);
    find_products(shards);
    for (int shard = 0; shard < shards; shard++) {
        stage->stock[shard] = scripted_peer_open("stock", shard);
    }
    stage->payment = scripted_peer_open("payment", 0);
    stage->product = scripted_peer_open("product", 0);
    stage->dlq = scripted_peer_open("dlq", 0);
    stage->user = scripted_peer_open("user", 0);
    run_order(stage);
    meet_peers(stage);
}

/* --- the straight way --- */

ON_BOTH(order, is_reserved_charged_and_committed_on_every_shard)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen order = place_order(&stage, &ONCE);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    cr_expect_str_eq(order.status, "awaiting_payment");
    cr_expect_eq(order.total, 2100);
    cr_expect_eq(held(&stage), 2);
    await_asked(stage.payment, OP_payment_charge, 1);
    struct wire_payment_charge charge = {0};
    scripted_peer_latest_body(stage.payment, OP_payment_charge, &charge);
    cr_expect_eq(charge.amount.amount, 2100);
    cr_expect_not(WIRE_HAS(&charge, payment_charge, replaces));
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    order = await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(order.version, 3);
    cr_expect_eq(held(&stage), 0);
    cr_expect_eq(sold(&stage), 2);
    cr_expect_eq(entries(&stage, &order.id, "order_place", "ok"), 1);
    cr_expect_eq(entries(&stage, &order.id, "stock_reserve", "ok"), 1);
    cr_expect_eq(entries(&stage, &order.id, "payment_succeeded", "ok"), 1);
    cr_expect_eq(entries(&stage, &order.id, "stock_commit", "ok"), 1);
    finish(&stage);
}

ON_BOTH(order, goes_the_kitchens_way_and_no_other)
{
    struct stage stage;
    struct wire_order_kitchen kitchen = {0};
    struct wire_order_page page = {0};
    struct wire_order shown;
    start(&stage, place, 1);
    struct seen ready = received_order(&stage);
    struct seen waits = received_order(&stage);
    struct seen order = advance_order(&stage, &ONCE, &ready.id, "ready");
    cr_expect_eq(order.code, ERR_wrong_transition);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    cr_expect_str_eq(advance_order(&stage, &keyed, &ready.id, NULL).status, "in_preparation");
    cr_expect_str_eq(advance_order(&stage, &keyed, &ready.id, NULL).status, "in_preparation", "asked twice it is done once");
    cr_expect_str_eq(advance_order(&stage, &ONCE, &ready.id, "ready").status, "ready");
    cr_assert(order_client_kitchen(stage.client, &ONCE, &kitchen, &page, NULL) == ERR_ok);
    cr_expect_eq(page.orders.count, 2);
    cr_assert(wire_list_next(&page.orders, &order_body, &shown));
    cr_expect(id_equal(&shown.id, &ready.id), "what is ready goes first");
    cr_assert(wire_list_next(&page.orders, &order_body, &shown));
    cr_expect(id_equal(&shown.id, &waits.id));
    cr_expect_str_eq(advance_order(&stage, &ONCE, &ready.id, "completed").status, "completed");
    cr_expect_eq(advance_order(&stage, &ONCE, &ready.id, NULL).code, ERR_wrong_transition);
    cr_expect_eq(cancel_order(&stage, &ready.id).code, ERR_wrong_transition);
    struct id nobody = id_new();
    cr_expect_eq(get_order(&stage, &nobody).code, ERR_unknown_order);
    cr_expect_eq(advance_order(&stage, &ONCE, &nobody, NULL).code, ERR_unknown_order);
    finish(&stage);
}

ON_BOTH(order, lists_newest_first_by_status_and_page)
{
    struct stage stage;
    struct wire_order_list list = {0};
    struct wire_order_page page = {0};
    struct wire_order shown;
    start(&stage, place, 1);
    struct seen a = received_order(&stage);
    struct seen b = place_order(&stage, &ONCE);
    struct seen c = received_order(&stage);
    WIRE_SET(&list, order_list, status, slice_of("received"));
    WIRE_SET(&list, order_list, limit, 1);
    cr_assert(order_client_list(stage.client, &ONCE, &list, &page, NULL) == ERR_ok);
    cr_expect(page.has_more && page.orders.count == 1);
    cr_assert(wire_list_next(&page.orders, &order_body, &shown));
    cr_expect(id_equal(&shown.id, &c.id));
    WIRE_SET(&list, order_list, before, shown.number);
    cr_assert(order_client_list(stage.client, &ONCE, &list, &page, NULL) == ERR_ok);
    cr_assert(wire_list_next(&page.orders, &order_body, &shown));
    cr_expect(id_equal(&shown.id, &a.id) && !page.has_more);
    WIRE_SET(&list, order_list, status, slice_of("awaiting_payment"));
    list.has &= ~(UINT64_C(1) << order_list_BIT_before);
    cr_assert(order_client_list(stage.client, &ONCE, &list, &page, NULL) == ERR_ok);
    cr_assert(wire_list_next(&page.orders, &order_body, &shown));
    cr_expect(id_equal(&shown.id, &b.id));
    WIRE_SET(&list, order_list, status, slice_of("eaten"));
    cr_expect_eq(order_client_list(stage.client, &ONCE, &list, &page, NULL), ERR_invalid_field);
    finish(&stage);
}

/* --- placing --- */

ON_BOTH(order, sums_lines_of_one_product_and_freezes_what_they_cost)
{
    struct stage stage;
    start(&stage, place, 1);
    struct wanted_line lines[] = {{"soup", 1}, {"bread", 1}, {"soup", 2}};
    struct seen order = place_lines(&stage, &ONCE, lines, 3);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    cr_expect_eq(order.total, 4 * 700);
    cr_expect_eq(scripted_peer_asked(stage.product, OP_product_get), 2, "unknown here, product is asked");
    struct wire_stock_reserve reserve = {0};
    struct wire_stock_line line;
    scripted_peer_latest_body(stage.stock[0], OP_stock_reserve, &reserve);
    cr_expect_eq(reserve.lines.count, 2);
    cr_assert(wire_list_next(&reserve.lines, &stock_line_body, &line));
    cr_expect_eq(line.quantity, 3);
    cr_expect_eq(reserve.ttl_ms, place->settings.order_ttl_ms + 300000);
    cr_assert(place_lines(&stage, &ONCE, lines, 3).code == ERR_ok);
    cr_expect_eq(scripted_peer_asked(stage.product, OP_product_get), 2, "now they are known");
    finish(&stage);
}

static void
tell_product(struct stage *stage, const char *product, int64_t amount, const char *currency, bool active, int64_t version)
{
    struct wire_product_card card = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, amount);
    WIRE_SET(&price, money, currency, slice_of(currency));
    WIRE_SET(&card, product_card, product, slice_of(product));
    WIRE_SET(&card, product_card, name, slice_of(product));
    WIRE_SET(&card, product_card, category, slice_of("other"));
    WIRE_SET(&card, product_card, price, price);
    WIRE_SET(&card, product_card, active, active);
    WIRE_SET(&card, product_card, version, version);
    WIRE_SET(&card, product_card, changed, 1);
    scripted_peer_emit(stage->product, EVENT_product_changed, slice_of(product), &card);
}

/* Until the actor has applied what product told last. */
static void
await_price(struct stage *stage, const char *product, int64_t amount)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    struct wanted_line line = {product, 1};
    while (place_lines(stage, &ONCE, &line, 1).total != amount && clock_steady_us() < until_us) {
    }
    cr_assert_eq(place_lines(stage, &ONCE, &line, 1).total, amount);
}

ON_BOTH(order, refuses_what_the_menu_does_not_sell)
{
    struct stage stage;
    start(&stage, place, 1);
    struct wanted_line line = {"ghost", 1};
    scripted_peer_set(stage.product, OP_product_get, PEER_REFUSES, ERR_unknown_product, 1);
    cr_expect_eq(place_lines(&stage, &ONCE, &line, 1).code, ERR_unknown_product);
    scripted_peer_set(stage.product, OP_product_get, PEER_REFUSES, ERR_unavailable, 1);
    cr_expect_eq(place_lines(&stage, &ONCE, &line, 1).code, ERR_unavailable);
    tell_product(&stage, "gone", 1, "BRL", false, 2);
    tell_product(&stage, "dollar", 5, "USD", true, 2);
    tell_product(&stage, "gold", LEVEL_MAX, "BRL", true, 2);
    tell_product(&stage, "cheap", 3, "BRL", true, 2);
    await_price(&stage, "cheap", 3);
    struct wanted_line gone = {"gone", 1};
    struct wanted_line mixed[] = {{"cheap", 1}, {"dollar", 1}};
    struct wanted_line much = {"gold", 2};
    struct wanted_line many[] = {{"cheap", QUANTITY_MAX}, {"cheap", 1}};
    cr_expect_eq(place_lines(&stage, &ONCE, &gone, 1).code, ERR_inactive_product);
    cr_expect_eq(place_lines(&stage, &ONCE, mixed, 2).code, ERR_mixed_currencies);
    cr_expect_eq(place_lines(&stage, &ONCE, &much, 1).code, ERR_total_overflow);
    cr_expect_eq(place_lines(&stage, &ONCE, many, 2).code, ERR_invalid_field);
    tell_product(&stage, "cheap", 4, "BRL", true, 3);
    await_price(&stage, "cheap", 4);
    finish(&stage);
}

ON_BOTH(order, is_refused_when_the_shelf_is_empty_and_stays_refused)
{
    struct stage stage;
    start(&stage, place, 2);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    scripted_peer_set(stage.stock[1], OP_stock_reserve, PEER_REFUSES, ERR_out_of_stock, 1);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_out_of_stock);
    struct seen order = await_order(&stage, &keyed.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "out_of_stock");
    cr_expect_eq(held(&stage), 0, "what the other shard held is released");
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_out_of_stock);
    restart(&stage);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_out_of_stock);
    struct larder_options unsaid = {.id = keyed.id, .timeout_ms = WAIT_MS, .attempts = 1};
    cr_expect_eq(place_order(&stage, &unsaid).code, ERR_out_of_stock, "also to who does not say that he asks again");
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_charge), 0);
    cr_expect_eq(scripted_peer_asked(stage.stock[1], OP_stock_release), 0, "who refused has nothing to give back");
    finish(&stage);
}

ON_BOTH(order, is_one_order_however_often_it_is_placed)
{
    struct stage stage;
    start(&stage, place, 1);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    struct seen order = place_order(&stage, &keyed);
    cr_assert(order.code == ERR_ok && id_equal(&order.id, &keyed.id));
    cr_expect_str_eq(place_order(&stage, &keyed).status, "awaiting_payment");
    struct wanted_line other = {first, 7};
    cr_expect_eq(place_lines(&stage, &keyed, &other, 1).code, ERR_idempotency_mismatch);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(&stage, &order.id, "received", "ended");
    restart(&stage);
    cr_expect_str_eq(place_order(&stage, &keyed).status, "received", "the order as it is now");
    cr_expect_eq(place_lines(&stage, &keyed, &other, 1).code, ERR_idempotency_mismatch);
    cr_expect_eq(scripted_peer_asked(stage.stock[0], OP_stock_reserve), 1);
    finish(&stage);
}

ON_BOTH(order, is_kept_while_stock_does_not_answer)
{
    struct stage stage;
    start(&stage, place, 1);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_SILENT, ERR_ok, 2);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_unavailable);
    cr_expect_str_eq(get_order(&stage, &keyed.id).status, "placed");
    struct larder_options patient = {.id = keyed.id, .again = true, .timeout_ms = WAIT_MS};
    struct seen order = place_order(&stage, &patient);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    cr_expect_str_eq(order.status, "awaiting_payment");
    cr_expect_eq(scripted_peer_done(stage.stock[0], OP_stock_reserve), 1);
    cr_expect_eq(entries(&stage, &keyed.id, "stock_reserve", "deadline_exceeded"), 1);
    finish(&stage);
}

/* --- the ways back --- */

ON_BOTH(order, that_is_not_paid_releases_and_can_be_paid_once_more)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen order = place_order(&stage, &ONCE);
    tell(&stage, EVENT_payment_failed, &order, NULL, NULL);
    order = await_order(&stage, &order.id, "payment_failed", "ended");
    cr_expect_str_eq(order.reason, "payment_refused");
    cr_expect_eq(held(&stage), 0);
    struct id failed = order.charge;
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    order = pay_order(&stage, &keyed, &order.id);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    cr_expect_str_eq(order.status, "awaiting_payment");
    cr_expect_eq(held(&stage), 2);
    await_asked(stage.payment, OP_payment_charge, 2);
    struct wire_payment_charge charge = {0};
    scripted_peer_latest_body(stage.payment, OP_payment_charge, &charge);
    cr_expect(WIRE_HAS(&charge, payment_charge, replaces) && id_equal(&charge.replaces, &failed));
    cr_expect_str_eq(pay_order(&stage, &keyed, &order.id).status, "awaiting_payment", "asked twice it is done once");
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(sold(&stage), 2);
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_charge), 2);
    cr_expect_eq(pay_order(&stage, &ONCE, &order.id).code, ERR_wrong_transition);
    finish(&stage);
}

ON_BOTH(order, that_nobody_pays_expires)
{
    struct stage stage;
    place->settings.order_ttl_ms = 300;
    start(&stage, place, 1);
    struct seen order = place_order(&stage, &ONCE);
    order = await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "expired");
    cr_expect_eq(held(&stage), 0);
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_cancel), 1);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    order = await_order(&stage, &order.id, "received", "ended");
    cr_expect_str_eq(order.reason, "");
    cr_expect_eq(sold(&stage), 1, "paid too late, and there was still enough");
    cr_expect_eq(entries(&stage, &order.id, "payment_succeeded", "late"), 1);
    cr_expect_eq(scripted_peer_done(stage.stock[0], OP_stock_reserve), 2);
    finish(&stage);
}

/* What was asked for in the state before is asked again, and says so: finish() looks. */
ON_BOTH(order, that_is_paid_while_it_is_released_is_released_first)
{
    struct stage stage;
    place->settings.order_ttl_ms = 300;
    start(&stage, place, 1);
    struct seen order = place_order(&stage, &ONCE);
    place->settings.request_timeout_ms = WAIT_MS;
    scripted_peer_set(stage.stock[0], OP_stock_release, PEER_SILENT, ERR_ok, 1);
    await_asked(stage.stock[0], OP_stock_release, 1);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    order = await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(scripted_peer_asked(stage.stock[0], OP_stock_release), 2);
    cr_expect_eq(sold(&stage), 1);
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, that_is_paid_too_late_for_the_shelf_is_paid_back)
{
    struct stage stage;
    place->settings.order_ttl_ms = 300;
    start(&stage, place, 2);
    struct seen order = place_order(&stage, &ONCE);
    order = await_order(&stage, &order.id, "cancelled", "ended");
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_REFUSES, ERR_out_of_stock, 1);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_asked(stage.payment, OP_payment_refund, 1);
    tell_refund(&stage, EVENT_payment_refunded, &order);
    order = await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "expired");
    cr_expect_eq(held(&stage), 0);
    cr_expect_eq(sold(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, that_is_paid_in_the_last_moment_is_not_cancelled)
{
    struct stage stage;
    place->settings.order_ttl_ms = 300;
    start(&stage, place, 1);
    scripted_peer_set(stage.payment, OP_payment_cancel, PEER_REFUSES, ERR_charge_closed, 1);
    struct seen order = place_order(&stage, &ONCE);
    order = await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(sold(&stage), 1);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_entry(&stage, &order.id, "payment_succeeded", "ignored");
    cr_expect_eq(entries(&stage, &order.id, "payment_succeeded", NULL), 1, "the first telling confirms what is known");
    finish(&stage);
}

ON_BOTH(order, that_is_given_up_unpaid_is_voided_and_released)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = place_order(&stage, &ONCE);
    cr_expect_str_eq(cancel_order(&stage, &order.id).status, "cancelled");
    order = await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "by_employee");
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_cancel), 1);
    cr_expect_eq(held(&stage), 0);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_asked(stage.payment, OP_payment_refund, 1);
    tell_refund(&stage, EVENT_payment_refunded, &order);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(entries(&stage, &order.id, "payment_succeeded", "late"), 1, "paid though it was given up: it goes back");
    finish(&stage);
}

ON_BOTH(order, that_is_given_up_and_turns_out_paid_is_paid_back)
{
    struct stage stage;
    start(&stage, place, 1);
    scripted_peer_set(stage.payment, OP_payment_cancel, PEER_REFUSES, ERR_charge_closed, 1);
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    struct seen order = place_order(&stage, &ONCE);
    cr_expect_str_eq(cancel_order(&stage, &order.id).status, "cancelled");
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_refund), 1);
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, that_is_given_up_while_stock_is_silent_is_released_blindly)
{
    struct stage stage;
    start(&stage, place, 1);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_SILENT, ERR_ok, 1000);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_unavailable);
    cr_expect_str_eq(cancel_order(&stage, &keyed.id).status, "cancelled");
    await_order(&stage, &keyed.id, "cancelled", "ended");
    cr_expect_eq(scripted_peer_done(stage.stock[0], OP_stock_release), 1);
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_charge), 0);
    cr_expect_str_eq(place_order(&stage, &keyed).status, "cancelled");
    finish(&stage);
}

/* Its connection to the database breaks. */
static void
kill_writer(struct stage *stage)
{
    struct db_config config = stage->place->config;
    struct db *db = NULL;
    struct err_text why = {""};
    (void)snprintf(config.prefix, sizeof config.prefix, "order_0");
    config.read_only = true;
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    place_kill(stage->place, place_number(db, "SELECT connection FROM $shard"));
    db_close(&db);
}

/* It asks again because it has lost its memory, and hears only then what its first attempt was refused with. */
ON_MYSQL(order, believes_a_refusal_of_its_latest_attempt_alone)
{
    struct stage stage;
    start(&stage, place, 1);
    place->settings.request_timeout_ms = WAIT_MS; /* no attempt is given up */
    struct larder_options hasty = {.id = id_new(), .timeout_ms = 200, .attempts = 1};
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_TARRIES, ERR_out_of_stock, 1);
    cr_expect_eq(place_order(&stage, &hasty).code, ERR_deadline_exceeded);
    kill_writer(&stage);
    await_asked(stage.stock[0], OP_stock_reserve, 2);
    await_asked(stage.payment, OP_payment_charge, 1);
    cr_expect_str_eq(get_order(&stage, &hasty.id).status, "awaiting_payment");
    cr_expect_eq(held(&stage), 1);
    cr_expect_str_eq(cancel_order(&stage, &hasty.id).status, "cancelled");
    await_order(&stage, &hasty.id, "cancelled", "ended");
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, whose_hold_has_ended_is_reserved_anew)
{
    struct stage stage;
    start(&stage, place, 2);
    scripted_peer_set(stage.stock[1], OP_stock_commit, PEER_REFUSES, ERR_hold_expired, 1);
    struct seen order = received_order(&stage);
    cr_expect_eq(scripted_peer_asked(stage.stock[0], OP_stock_reserve), 1, "what is sold is not reserved again");
    cr_expect_eq(scripted_peer_asked(stage.stock[1], OP_stock_reserve), 2);
    cr_expect_eq(entries(&stage, &order.id, "stock_commit", "hold_expired"), 1);
    cancel_order(&stage, &order.id);
    await_asked(stage.payment, OP_payment_refund, 1);
    cr_expect_eq(sold(&stage), 0, "each shard takes back its own hold, of whichever round");
    tell_refund(&stage, EVENT_payment_refunded, &order);
    await_order(&stage, &order.id, "cancelled", "ended");
    finish(&stage);
}

ON_BOTH(order, whose_hold_has_ended_and_whose_shelf_is_empty_is_paid_back)
{
    struct stage stage;
    start(&stage, place, 2);
    scripted_peer_set(stage.stock[1], OP_stock_commit, PEER_REFUSES, ERR_hold_expired, 1);
    struct seen order = place_order(&stage, &ONCE);
    scripted_peer_set(stage.stock[1], OP_stock_reserve, PEER_REFUSES, ERR_out_of_stock, 1);
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    order = await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "out_of_stock");
    cr_expect_eq(sold(&stage), 0, "the shard that had sold took it back");
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_refund), 1);
    finish(&stage);
}

ON_BOTH(order, that_the_kitchen_has_begun_is_refunded_without_its_units)
{
    struct stage stage;
    start(&stage, place, 1);
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    struct seen order = received_order(&stage);
    advance_order(&stage, &ONCE, &order.id, NULL);
    cr_expect_str_eq(cancel_order(&stage, &order.id).status, "cancelled");
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(sold(&stage), 1);
    cr_expect_eq(scripted_peer_asked(stage.stock[0], OP_stock_return), 0);
    finish(&stage);
}

/* --- what cannot be undone --- */

static err
retry_row(struct stage *stage, const struct wire_burial *burial)
{
    struct wire_row row = {0};
    struct wire_row_outcome outcome = {0};
    struct larder_exchange exchange = {.op = OP_any_retry, .body = &row, .answer = &outcome};
    WIRE_SET(&row, row, letter, burial->letter);
    WIRE_SET(&row, row, owner, burial->owner);
    WIRE_SET(&row, row, key, burial->due_key);
    err code = larder_client_exchange(stage->client, &ONCE, &exchange, NULL);
    cr_expect(code != ERR_ok || slice_equal(outcome.outcome, slice_of("started")));
    return code;
}

static struct wire_burial
latest_letter(struct stage *stage, int letters)
{
    struct wire_dlq_bury bury = {0};
    struct wire_burial burial = {0};
    await_asked(stage->dlq, OP_dlq_bury, letters);
    scripted_peer_latest_body(stage->dlq, OP_dlq_bury, &bury);
    cr_assert(wire_list_next(&bury.burials, &burial_body, &burial));
    return burial;
}

/* Burials are repeated until they are confirmed, so copies of the first may come before it. */
static void
await_settled(struct stage *stage)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    struct wire_burial burial = latest_letter(stage, 1);
    while (!WIRE_HAS(&burial, burial, settled) && clock_steady_us() < until_us) {
        burial = latest_letter(stage, 1);
    }
    cr_assert(WIRE_HAS(&burial, burial, settled) && burial.settled);
}

ON_BOTH(order, whose_refund_is_refused_is_a_letter_and_is_tried_again_under_a_new_id)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    cancel_order(&stage, &order.id);
    await_asked(stage.payment, OP_payment_refund, 1);
    struct id refused = scripted_peer_latest(stage.payment, OP_payment_refund);
    tell_refund(&stage, EVENT_payment_refund_failed, &order);
    await_order(&stage, &order.id, "cancelled", "stuck");
    struct wire_burial burial = latest_letter(&stage, 1);
    cr_expect(slice_equal(burial.kind, slice_of("saga")) && slice_equal(burial.reason, slice_of("compensation_failed")));
    cr_expect_eq(burial.amount, order.total);
    cr_expect(slice_equal(burial.currency, slice_of("BRL")));
    restart(&stage);
    cr_expect_str_eq(get_order(&stage, &order.id).saga, "stuck", "nothing happens by itself");
    cr_assert(retry_row(&stage, &burial) == ERR_ok);
    await_asked(stage.payment, OP_payment_refund, 2);
    struct id again = scripted_peer_latest(stage.payment, OP_payment_refund);
    cr_expect_not(id_equal(&again, &refused));
    tell(&stage, EVENT_payment_refund_failed, &order, NULL, &refused);
    await_entry(&stage, &order.id, "payment_refund_failed", "ignored");
    cr_expect_str_eq(get_order(&stage, &order.id).saga, "refunding", "the earlier try's end is not this one's");
    tell_refund(&stage, EVENT_payment_refunded, &order);
    await_order(&stage, &order.id, "cancelled", "ended");
    await_settled(&stage);
    finish(&stage);
}

/* The letter puts words before the provider's own: what is cut off then is not half a character. */
ON_BOTH(order, whose_refund_is_refused_in_many_words_is_a_letter_that_can_be_read)
{
    struct stage stage;
    char reason[256] = "x";
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    cancel_order(&stage, &order.id);
    await_asked(stage.payment, OP_payment_refund, 1);
    for (size_t size = 1; size + 3 < sizeof reason; size += 3) {
        memcpy(reason + size, "\u20ac", 4);
    }
    stage.reason = reason;
    tell_refund(&stage, EVENT_payment_refund_failed, &order);
    await_order(&stage, &order.id, "cancelled", "stuck");
    struct wire_burial burial = latest_letter(&stage, 1);
    cr_expect(burial.error.size > 250 && wire_is_utf8(burial.error), "%zu bytes", burial.error.size);
    finish(&stage);
}

/* --- money that went back elsewhere --- */

ON_BOTH(order, that_was_paid_back_elsewhere_is_given_up_before_the_kitchen_has_begun)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen order = received_order(&stage);
    tell_paid_back(&stage, &order, order.total, order.total);
    order = await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_str_eq(order.reason, "refunded");
    cr_expect_eq(sold(&stage), 0, "its units are back");
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0, "nothing is paid twice");
    cr_expect_eq(cancel_order(&stage, &order.id).code, ERR_wrong_transition);
    finish(&stage);
}

ON_BOTH(order, that_is_paid_back_in_two_parts_is_given_up_with_the_second)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    tell_paid_back(&stage, &order, 1, 1);
    await_entry(&stage, &order.id, "payment_refunded", "partial");
    cr_expect_str_eq(get_order(&stage, &order.id).status, "received");
    tell_paid_back(&stage, &order, order.total - 1, order.total);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0);
    finish(&stage);
}

ON_BOTH(order, that_is_paid_back_while_it_is_handed_over_never_reaches_the_kitchen)
{
    static const enum op ops[] = {OP_stock_commit, OP_stock_commit, OP_stock_reserve};
    struct stage stage;
    start(&stage, place, 1);
    for (int again = 0; again < 3; again++) {
        struct seen order = place_order(&stage, &ONCE);
        cr_assert(order.code == ERR_ok, "%s", order.why.text);
        scripted_peer_forget_counts(stage.stock[0]);
        scripted_peer_set(stage.stock[0], ops[again], PEER_SILENT, ERR_ok, 2);
        if (again > 0) {
            scripted_peer_set(stage.stock[0], OP_stock_commit, PEER_REFUSES, ERR_hold_expired, 1);
        }
        tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
        await_asked(stage.stock[0], ops[again], 1);
        tell_paid_back(&stage, &order, order.total, order.total);
        order = await_order(&stage, &order.id, "cancelled", "ended");
        cr_expect_str_eq(order.reason, "refunded");
        cr_expect_eq(entries(&stage, &order.id, "order_received", NULL), 0);
        cr_expect_eq(sold(&stage), 0);
    }
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0);
    finish(&stage);
}

ON_BOTH(order, that_is_paid_back_while_it_is_given_up_is_not_paid_back_twice)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    scripted_peer_set(stage.stock[0], OP_stock_return, PEER_SILENT, ERR_ok, 2);
    cancel_order(&stage, &order.id);
    await_asked(stage.stock[0], OP_stock_return, 1);
    tell_paid_back(&stage, &order, order.total, order.total);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(sold(&stage), 0);
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0);
    finish(&stage);
}

ON_BOTH(order, whose_refund_is_refused_as_all_is_back_ends_when_that_is_told)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    scripted_peer_set(stage.payment, OP_payment_refund, PEER_REFUSES, ERR_not_refundable, 1);
    cancel_order(&stage, &order.id);
    await_order(&stage, &order.id, "cancelled", "stuck");
    (void)latest_letter(&stage, 1);
    tell_paid_back(&stage, &order, order.total, order.total);
    await_order(&stage, &order.id, "cancelled", "ended");
    await_settled(&stage);
    finish(&stage);
}

ON_BOTH(order, that_is_stuck_before_its_refund_keeps_its_units_to_return_when_it_is_paid_back)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    scripted_peer_set(stage.stock[0], OP_stock_return, PEER_REFUSES, ERR_hold_closed, 1);
    cancel_order(&stage, &order.id);
    await_order(&stage, &order.id, "cancelled", "stuck");
    struct wire_burial burial = latest_letter(&stage, 1);
    tell_paid_back(&stage, &order, order.total, order.total);
    await_entry(&stage, &order.id, "payment_refunded", "ok");
    cr_expect_str_eq(get_order(&stage, &order.id).saga, "stuck");
    cr_assert(retry_row(&stage, &burial) == ERR_ok);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(sold(&stage), 0);
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0);
    finish(&stage);
}

ON_BOTH(order, that_the_kitchen_has_begun_and_that_is_paid_back_is_a_letter_with_its_price)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    advance_order(&stage, &ONCE, &order.id, NULL);
    tell_paid_back(&stage, &order, order.total, order.total);
    struct wire_burial burial = latest_letter(&stage, 1);
    cr_expect(slice_equal(burial.type, slice_of("order.paid_back")) && slice_equal(burial.reason, slice_of("money_differs")));
    cr_expect_eq(burial.amount, order.total);
    cr_expect_str_eq(get_order(&stage, &order.id).status, "in_preparation", "nothing is thrown away by itself");
    restart(&stage);
    cr_assert(retry_row(&stage, &burial) == ERR_ok);
    await_asked(stage.dlq, OP_dlq_bury, 2);
    cr_expect_str_eq(cancel_order(&stage, &order.id).status, "cancelled");
    await_order(&stage, &order.id, "cancelled", "ended");
    await_settled(&stage);
    cr_expect_eq(sold(&stage), 1, "the food is used up");
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 0);
    finish(&stage);
}

ON_BOTH(order, whose_release_is_refused_is_a_letter)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = place_order(&stage, &ONCE);
    scripted_peer_set(stage.stock[0], OP_stock_release, PEER_REFUSES, ERR_hold_closed, 1);
    tell(&stage, EVENT_payment_failed, &order, NULL, NULL);
    await_order(&stage, &order.id, "payment_failed", "stuck");
    struct wire_burial burial = latest_letter(&stage, 1);
    cr_assert(retry_row(&stage, &burial) == ERR_ok);
    await_order(&stage, &order.id, "payment_failed", "ended");
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, gives_money_back_that_came_for_a_charge_which_was_replaced)
{
    struct stage stage;
    start(&stage, place, 1);
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    struct seen order = place_order(&stage, &ONCE);
    struct id first_charge = order.charge;
    tell(&stage, EVENT_payment_failed, &order, NULL, NULL);
    await_order(&stage, &order.id, "payment_failed", "ended");
    order = pay_order(&stage, &ONCE, &order.id);
    cr_assert(order.code == ERR_ok);
    tell(&stage, EVENT_payment_succeeded, &order, &first_charge, NULL);
    await_asked(stage.payment, OP_payment_refund, 1);
    struct wire_payment_refund refund = {0};
    scripted_peer_latest_body(stage.payment, OP_payment_refund, &refund);
    cr_expect(id_equal(&refund.charge, &first_charge));
    cr_expect_str_eq(get_order(&stage, &order.id).status, "awaiting_payment", "the order goes on as if nothing had been");
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(&stage, &order.id, "received", "ended");
    await_entry(&stage, &order.id, "payment_refunded", "ok");
    finish(&stage);
}

ON_BOTH(order, gives_money_back_at_once_that_comes_while_it_is_stuck)
{
    struct stage stage;
    start(&stage, place, 1);
    scripted_peer_set(stage.payment, OP_payment_cancel, PEER_REFUSES, ERR_internal, 1);
    struct seen order = place_order(&stage, &ONCE);
    cr_expect_str_eq(cancel_order(&stage, &order.id).status, "cancelled");
    await_order(&stage, &order.id, "cancelled", "stuck");
    struct wire_burial burial = latest_letter(&stage, 1);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_asked(stage.payment, OP_payment_refund, 1);
    cr_expect_str_eq(get_order(&stage, &order.id).saga, "stuck");
    tell_refund(&stage, EVENT_payment_refunded, &order);
    await_entry(&stage, &order.id, "payment_refunded", "ok");
    scripted_peer_set(stage.payment, OP_payment_cancel, PEER_REFUSES, ERR_charge_closed, 1);
    cr_assert(retry_row(&stage, &burial) == ERR_ok);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(held(&stage), 0);
    cr_expect_eq(scripted_peer_asked(stage.payment, OP_payment_refund), 1);
    finish(&stage);
}

/* --- what is said twice, late, or not at all --- */

ON_BOTH(order, asks_again_with_the_same_id_when_an_answer_is_lost)
{
    static const enum op stock_ops[] = {OP_stock_reserve, OP_stock_commit, OP_stock_return};
    static const enum op payment_ops[] = {OP_payment_charge, OP_payment_refund};
    struct stage stage;
    start(&stage, place, 2);
    for (size_t i = 0; i < 3; i++) {
        scripted_peer_set(stage.stock[i % 2], stock_ops[i], PEER_LOSES, ERR_ok, 1);
    }
    for (size_t i = 0; i < 2; i++) {
        scripted_peer_set(stage.payment, payment_ops[i], PEER_LOSES, ERR_ok, 1);
    }
    struct larder_options patient = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS};
    struct seen order = place_order(&stage, &patient);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    await_asked(stage.payment, OP_payment_charge, 2);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(sold(&stage), 2);
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    cancel_order(&stage, &order.id);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(sold(&stage) + held(&stage), 0);
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_charge), 1);
    cr_expect_eq(scripted_peer_done(stage.payment, OP_payment_refund), 1);
    finish(&stage);
}

ON_BOTH(order, hears_what_is_told_twice_once)
{
    struct stage stage;
    start(&stage, place, 1);
    struct seen order = received_order(&stage);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    tell(&stage, EVENT_payment_failed, &order, NULL, NULL);
    await_entry(&stage, &order.id, "payment_failed", "ignored");
    cr_expect_eq(entries(&stage, &order.id, "payment_succeeded", "ignored"), 1);
    order = get_order(&stage, &order.id);
    cr_expect_str_eq(order.status, "received");
    cr_expect_eq(order.version, 3);
    cr_expect_eq(scripted_peer_asked(stage.stock[0], OP_stock_commit), 1);
    finish(&stage);
}

ON_BOTH(order, takes_the_charges_own_answer_for_an_event)
{
    struct stage stage;
    start(&stage, place, 1);
    scripted_peer_set_money(stage.payment, "succeeded", "pending");
    struct seen order = place_order(&stage, &ONCE);
    await_order(&stage, &order.id, "received", "ended");
    scripted_peer_set_money(stage.payment, "failed", "pending");
    order = place_order(&stage, &ONCE);
    await_order(&stage, &order.id, "payment_failed", "ended");
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

/* --- an actor that ends in the middle --- */

/* Silent until the actor has ended; then as it should be. */
static void
end_in_the_middle(struct stage *stage, struct scripted_peer *peer, enum op op)
{
    await_asked(peer, op, scripted_peer_asked(peer, op) == 0 ? 1 : scripted_peer_asked(peer, op));
    scripted_peer_set(peer, op, PEER_DOES, ERR_ok, 0);
    restart(stage);
}

ON_BOTH(order, goes_on_from_every_step_after_its_actor_has_ended)
{
    struct stage stage;
    start(&stage, place, 2);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_SILENT, ERR_ok, 1000);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_unavailable);
    scripted_peer_set(stage.payment, OP_payment_charge, PEER_SILENT, ERR_ok, 1000);
    end_in_the_middle(&stage, stage.stock[0], OP_stock_reserve);
    struct seen order = await_order(&stage, &keyed.id, "awaiting_payment", "paying");
    end_in_the_middle(&stage, stage.payment, OP_payment_charge);
    scripted_peer_set(stage.stock[1], OP_stock_commit, PEER_SILENT, ERR_ok, 1000);
    tell(&stage, EVENT_payment_succeeded, &order, NULL, NULL);
    end_in_the_middle(&stage, stage.stock[1], OP_stock_commit);
    await_order(&stage, &order.id, "received", "ended");
    cr_expect_eq(sold(&stage), 2);
    scripted_peer_set(stage.stock[1], OP_stock_return, PEER_LOSES, ERR_ok, 1000);
    cancel_order(&stage, &order.id);
    scripted_peer_set(stage.payment, OP_payment_refund, PEER_SILENT, ERR_ok, 1000);
    end_in_the_middle(&stage, stage.stock[1], OP_stock_return);
    await_order(&stage, &order.id, "cancelled", "refunding");
    end_in_the_middle(&stage, stage.payment, OP_payment_refund);
    await_asked(stage.payment, OP_payment_refund, 2);
    tell_refund(&stage, EVENT_payment_refunded, &order);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(sold(&stage) + held(&stage), 0);
    finish(&stage);
}

ON_BOTH(order, that_expired_while_its_actor_was_away_is_undone_when_it_is_back)
{
    struct stage stage;
    place->settings.order_ttl_ms = 400;
    start(&stage, place, 1);
    struct seen order = place_order(&stage, &ONCE);
    int64_t until_us = clock_steady_us() + 500 * 1000;
    scripted_peer_set(stage.payment, OP_payment_cancel, PEER_SILENT, ERR_ok, 1000);
    stop_order(&stage);
    place_await_ports_of(place, PORT_ORDER);
    while (clock_steady_us() < until_us) {
        (void)poll(NULL, 0, 1);
    }
    run_order(&stage);
    end_in_the_middle(&stage, stage.payment, OP_payment_cancel);
    await_order(&stage, &order.id, "cancelled", "ended");
    cr_expect_eq(held(&stage), 0);
    finish(&stage);
}

/* --- peers that are all away, in every state --- */

enum away { AWAY, SILENT, MIXED }; /* nobody takes what is asked; it is taken and never answered; the first shard is silent alone */

enum { FOR_EVER = 1 << 30 };

/* A state, what it asks, how an order comes there, and where it ends. `go` makes the peers be away when the state is next. */
struct way {
    const char *state;
    enum op op;
    struct seen (*go)(struct stage *stage, enum away away);
    const char *status;
    const char *saga;
    int sold;
};

static bool
is_of_payment(enum op op)
{
    return op == OP_payment_charge || op == OP_payment_cancel || op == OP_payment_refund;
}

static void
leave(struct stage *stage, enum op op, enum away away)
{
    struct scripted_peer *peers[] = {is_of_payment(op) ? stage->payment : stage->stock[0], is_of_payment(op) ? NULL : stage->stock[1]};
    for (size_t i = 0; i < 2 && peers[i] != NULL; i++) {
        bool is_silent = away == SILENT || (away == MIXED && i == 0);
        scripted_peer_set(peers[i], op, is_silent ? PEER_SILENT : PEER_REFUSES, ERR_unavailable, FOR_EVER);
    }
}

static void
return_peers(struct stage *stage, enum op op)
{
    for (int shard = 0; shard < 2; shard++) {
        scripted_peer_set(stage->stock[shard], op, PEER_DOES, ERR_ok, 0);
    }
    scripted_peer_set(stage->payment, op, PEER_DOES, ERR_ok, 0);
}

/* Each of them, as often. */
static void
await_asked_all(struct stage *stage, enum op op, int times)
{
    if (is_of_payment(op)) {
        await_asked(stage->payment, op, times);
        return;
    }
    await_asked(stage->stock[0], op, times);
    await_asked(stage->stock[1], op, times);
}

/* Attempts are short here, so an answer may be late. Its charge has come to the provider's actor, which would count it later
 * otherwise, as somebody's next step. */
static struct seen
unpaid_order(struct stage *stage)
{
    struct larder_options patient = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS};
    int charges = scripted_peer_asked(stage->payment, OP_payment_charge);
    struct seen order = place_order(stage, &patient);
    cr_assert(order.code == ERR_ok, "%s", order.why.text);
    await_asked(stage->payment, OP_payment_charge, charges + 1);
    return order;
}

static struct seen
go_reserving(struct stage *stage, enum away away)
{
    struct larder_options keyed = {.id = id_new(), .timeout_ms = WAIT_MS, .attempts = 1};
    leave(stage, OP_stock_reserve, away);
    cr_expect_eq(place_order(stage, &keyed).code, ERR_unavailable);
    keyed.again = true;
    cr_expect_eq(place_order(stage, &keyed).code, ERR_unavailable, "who asks again is told so as well");
    return (struct seen){.id = keyed.id};
}

static struct seen
go_paying(struct stage *stage, enum away away)
{
    leave(stage, OP_payment_charge, away);
    return unpaid_order(stage);
}

static struct seen
go_voiding(struct stage *stage, enum away away)
{
    struct seen order = unpaid_order(stage);
    leave(stage, OP_payment_cancel, away);
    cancel_order(stage, &order.id);
    return order;
}

static struct seen
go_committing(struct stage *stage, enum away away)
{
    struct seen order = unpaid_order(stage);
    leave(stage, OP_stock_commit, away);
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    return order;
}

static struct seen
go_releasing(struct stage *stage, enum away away)
{
    struct seen order = unpaid_order(stage);
    leave(stage, OP_stock_release, away);
    tell(stage, EVENT_payment_failed, &order, NULL, NULL);
    return order;
}

static struct seen
go_releasing_late(struct stage *stage, enum away away)
{
    int64_t ttl_ms = stage->place->settings.order_ttl_ms;
    leave(stage, OP_stock_release, away);
    stage->place->settings.order_ttl_ms = 300;
    struct seen order = unpaid_order(stage);
    stage->place->settings.order_ttl_ms = ttl_ms;
    await_order(stage, &order.id, "cancelled", "releasing");
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(stage, &order.id, "cancelled", "releasing_late");
    return order;
}

static struct seen
go_releasing_paid(struct stage *stage, enum away away)
{
    struct seen order = unpaid_order(stage);
    leave(stage, OP_stock_release, away);
    cancel_order(stage, &order.id);
    await_order(stage, &order.id, "cancelled", "releasing");
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    await_order(stage, &order.id, "cancelled", "releasing_paid");
    return order;
}

/* Paid, and its holds have ended. */
static struct seen
go_reserving_again(struct stage *stage, enum away away)
{
    struct seen order = unpaid_order(stage);
    for (int shard = 0; shard < 2; shard++) {
        scripted_peer_set(stage->stock[shard], OP_stock_commit, PEER_REFUSES, ERR_hold_expired, 1);
    }
    leave(stage, OP_stock_reserve, away);
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    return order;
}

static struct seen
go_committing_again(struct stage *stage, enum away away)
{
    struct seen order = go_reserving_again(stage, AWAY);
    await_order(stage, &order.id, NULL, "reserving_again");
    leave(stage, OP_stock_commit, away);
    return_peers(stage, OP_stock_reserve);
    await_order(stage, &order.id, NULL, "committing_again");
    return order;
}

static struct seen
paid_order(struct stage *stage)
{
    struct seen order = unpaid_order(stage);
    tell(stage, EVENT_payment_succeeded, &order, NULL, NULL);
    return await_order(stage, &order.id, "received", "ended");
}

static struct seen
go_returning(struct stage *stage, enum away away)
{
    struct seen order = paid_order(stage);
    leave(stage, OP_stock_return, away);
    cancel_order(stage, &order.id);
    return order;
}

static struct seen
go_refunding(struct stage *stage, enum away away)
{
    struct seen order = paid_order(stage);
    leave(stage, OP_payment_refund, away);
    cancel_order(stage, &order.id);
    return order;
}

static const struct way ways[] = {
    {"reserving", OP_stock_reserve, go_reserving, "awaiting_payment", "paying", 0},
    {"paying", OP_payment_charge, go_paying, "awaiting_payment", "paying", 0},
    {"voiding", OP_payment_cancel, go_voiding, "cancelled", "ended", 0},
    {"committing", OP_stock_commit, go_committing, "received", "ended", 2},
    {"releasing", OP_stock_release, go_releasing, "payment_failed", "ended", 0},
    {"releasing_late", OP_stock_release, go_releasing_late, "received", "ended", 2},
    {"releasing_paid", OP_stock_release, go_releasing_paid, "cancelled", "ended", 0},
    {"reserving_again", OP_stock_reserve, go_reserving_again, "received", "ended", 2},
    {"committing_again", OP_stock_commit, go_committing_again, "received", "ended", 2},
    {"returning", OP_stock_return, go_returning, "cancelled", "ended", 0},
    {"refunding", OP_payment_refund, go_refunding, "cancelled", "ended", 0},
};

enum { WAYS = sizeof ways / sizeof ways[0] };

/* Every state that asks has its way here. */
Test(order_ways, are_as_many_as_the_states_that_ask)
{
    size_t states = 0;
    for (unsigned state = 0; state < SAGA_STATE_COUNT; state++) {
        states += saga_steps[state].op != OP_COUNT;
    }
    cr_expect_eq(states, WAYS);
}

static void
forget_counts(struct stage *stage)
{
    scripted_peer_forget_counts(stage->stock[0]);
    scripted_peer_forget_counts(stage->stock[1]);
    scripted_peer_forget_counts(stage->payment);
}

/* Goes each way: asked often enough while they are away, and once they are back it ends without anybody looking. */
static void
go_every_way(struct place *place, enum away away, bool is_restarted)
{
    struct stage stage;
    int sold_before = 0;
    int times = away == AWAY ? 4 : 2; /* where each time costs an attempt's patience */
    start(&stage, place, 2);
    place->settings.request_timeout_ms = 150;
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    for (size_t i = 0; i < WAYS; i++) {
        const struct way *way = &ways[i];
        forget_counts(&stage);
        struct seen order = way->go(&stage, away);
        await_asked_all(&stage, way->op, times);
        cr_expect_str_eq(get_order(&stage, &order.id).saga, way->state);
        if (is_restarted) {
            restart(&stage);
            forget_counts(&stage);
            await_asked_all(&stage, way->op, times);
        }
        return_peers(&stage, way->op);
        await_order(&stage, &order.id, way->status, way->saga);
        cr_expect_eq(sold(&stage) - sold_before, way->sold, "%s", way->state);
        sold_before = sold(&stage);
    }
    cr_expect_eq(held(&stage), 8, "of two that wait for their money, and of two whose holds were only said to have ended");
    finish(&stage);
}

ON_BOTH(order, asks_again_in_every_state_when_all_its_peers_were_away)
{
    go_every_way(place, AWAY, false);
}

ON_BOTH(order, asks_again_in_every_state_when_all_its_peers_were_silent)
{
    go_every_way(place, SILENT, false);
}

ON_BOTH(order, asks_again_in_every_state_when_one_shard_was_silent_and_the_other_away)
{
    go_every_way(place, MIXED, false);
}

ON_BOTH(order, asks_again_in_every_state_when_it_was_restarted_while_all_its_peers_were_away)
{
    go_every_way(place, AWAY, true);
}

/* --- peers who say that the id is another request's, in every state --- */

static void
mismatch(struct stage *stage, enum op op)
{
    struct scripted_peer *peers[] = {is_of_payment(op) ? stage->payment : stage->stock[0], is_of_payment(op) ? NULL : stage->stock[1]};
    for (size_t i = 0; i < 2 && peers[i] != NULL; i++) {
        scripted_peer_set(peers[i], op, PEER_REFUSES, ERR_idempotency_mismatch, FOR_EVER);
    }
}

/* Asked for anything but this; also of the letters' actor nothing but burials. */
static int
asked_beside(struct stage *stage, enum op op)
{
    static const enum op asked[] = {OP_stock_reserve,  OP_stock_commit,   OP_stock_release, OP_stock_return,
                                    OP_payment_charge, OP_payment_cancel, OP_payment_refund};
    int count = 0;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        if (asked[i] != op) {
            count += scripted_peer_asked(is_of_payment(asked[i]) ? stage->payment : stage->stock[0], asked[i]);
            count += is_of_payment(asked[i]) ? 0 : scripted_peer_asked(stage->stock[1], asked[i]);
        }
    }
    return count;
}

/* That of this order, among those of others that are settled. */
static struct wire_burial
await_letter(struct stage *stage, const struct id *order)
{
    char key[ID_TEXT_SIZE];
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    id_format(order, key);
    struct wire_burial burial = latest_letter(stage, 1);
    while (!slice_equal(burial.key, slice_of(key)) && clock_steady_us() < until_us) {
        burial = latest_letter(stage, 1);
    }
    return burial;
}

/* It was the way to sell twice: a commit that stock had done was read as one that it had not. */
ON_BOTH(order, stands_still_with_a_letter_in_every_state_when_a_step_is_another_requests)
{
    struct stage stage;
    int sold_before = 0;
    start(&stage, place, 2);
    place->settings.request_timeout_ms = 5000; /* nobody is silent here, and no second request may be under way when one is counted */
    scripted_peer_set_money(stage.payment, "pending", "succeeded");
    for (size_t i = 0; i < WAYS; i++) {
        const struct way *way = &ways[i];
        forget_counts(&stage);
        scripted_peer_forget_counts(stage.dlq);
        struct seen order = way->go(&stage, AWAY);
        struct seen before = await_order(&stage, &order.id, NULL, way->state);
        forget_counts(&stage);
        mismatch(&stage, way->op);
        struct seen stuck = await_order(&stage, &order.id, before.status, "stuck");
        cr_expect_eq(stuck.version, before.version, "%s: what people see stays", way->state);
        struct wire_burial burial = await_letter(&stage, &order.id);
        cr_expect(slice_equal(burial.reason, slice_of("idempotency_mismatch")), "%s", way->state);
        cr_expect_eq(burial.amount, get_order(&stage, &order.id).total);
        cr_expect_eq(asked_beside(&stage, way->op), 0, "%s: nothing is undone, and nothing goes on", way->state);
        cr_expect_eq(sold(&stage), sold_before + (way->op == OP_stock_return ? 2 : 0), "%s", way->state);
        return_peers(&stage, way->op);
        cr_assert(retry_row(&stage, &burial) == ERR_ok);
        await_order(&stage, &order.id, way->status, way->saga);
        cr_expect_eq(sold(&stage) - sold_before, way->sold, "%s", way->state);
        sold_before = sold(&stage);
    }
    finish(&stage);
}

/* The other shard's answer comes while the first is not being asked: nobody else would ask it. */
ON_BOTH(order, asks_the_shard_that_was_away_while_the_other_took_its_time)
{
    struct stage stage;
    start(&stage, place, 2);
    struct larder_options keyed = {.id = id_new(), .again = true, .timeout_ms = WAIT_MS, .attempts = 1};
    scripted_peer_set(stage.stock[0], OP_stock_reserve, PEER_SILENT, ERR_ok, 1);
    scripted_peer_set(stage.stock[1], OP_stock_reserve, PEER_REFUSES, ERR_unavailable, 3);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_unavailable);
    await_order(&stage, &keyed.id, "awaiting_payment", "paying");
    cr_expect_eq(scripted_peer_done(stage.stock[0], OP_stock_reserve), 1);
    finish(&stage);
}

/* A batch that fails takes all orders out of memory, and with them who had answered: here a request whose id has a row. */
static void
drop_memory(struct stage *stage, const struct seen *received)
{
    struct larder_options first_attempt = {.id = id_new(), .timeout_ms = WAIT_MS, .attempts = 1};
    cr_assert(advance_order(stage, &first_attempt, &received->id, NULL).code == ERR_ok);
    (void)advance_order(stage, &first_attempt, &received->id, NULL);
}

ON_BOTH(order, asks_a_shard_again_whose_answer_was_forgotten_before_the_other_came)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen received = received_order(&stage);
    struct larder_options hasty = {.id = id_new(), .timeout_ms = 200, .attempts = 1};
    struct wanted_line only_first = {first, 1};
    place->settings.request_timeout_ms = WAIT_MS; /* no attempt is given up */
    scripted_peer_pause(stage.stock[1], true);
    cr_expect_eq(place_order(&stage, &hasty).code, ERR_deadline_exceeded);
    cr_assert(place_lines(&stage, &ONCE, &only_first, 1).code == ERR_ok, "so the first shard's answer before this one has come");
    drop_memory(&stage, &received);
    scripted_peer_pause(stage.stock[1], false);
    await_order(&stage, &hasty.id, "awaiting_payment", "paying");
    cr_expect_eq(scripted_peer_done(stage.stock[0], OP_stock_reserve) + scripted_peer_done(stage.stock[1], OP_stock_reserve), 5);
    finish(&stage);
}

/* One order whose row cannot be read keeps no other from being asked again after a start. */
ON_BOTH(order, goes_on_after_a_start_beside_one_that_cannot_be_read)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen spoilt = unpaid_order(&stage);
    struct larder_options keyed = {.id = id_new(), .timeout_ms = WAIT_MS, .attempts = 1};
    leave(&stage, OP_stock_reserve, AWAY);
    cr_expect_eq(place_order(&stage, &keyed).code, ERR_unavailable);
    stop_order(&stage);
    place_await_ports_of(place, PORT_ORDER);
    change(&stage, "UPDATE $order SET saga = 'paid' WHERE saga = 'paying'");
    change(&stage, "UPDATE $due SET due = due + 600000 WHERE owner = 'saga'"); /* so that nothing but the start asks */
    return_peers(&stage, OP_stock_reserve);
    run_order(&stage);
    await_order(&stage, &keyed.id, "awaiting_payment", "paying");
    stop_order(&stage);
    place_await_ports_of(place, PORT_ORDER);
    change(&stage, "UPDATE $order SET saga = 'paying' WHERE saga = 'paid'");
    change(&stage, "UPDATE $due SET due = 1 WHERE owner = 'saga'");
    run_order(&stage);
    await_order(&stage, &spoilt.id, "awaiting_payment", "paying");
    finish(&stage);
}

/* --- what stands still is named --- */

static void
await_standing(int64_t orders)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    const struct metric *standing = metric(METRIC_GAUGE, "larder_orders_standing", "", "");
    while (metric_value(standing) != orders && clock_steady_us() < until_us) {
        (void)poll(NULL, 0, 5);
    }
    cr_assert_eq(metric_value(standing), orders, "%d stand", (int)metric_value(standing));
}

ON_BOTH(order, that_stands_longer_than_anybody_is_patient_is_counted_and_named_by_the_proof)
{
    struct stage stage;
    start(&stage, place, 2);
    place->settings.stuck_ms = 100;
    restart(&stage);
    cr_assert(unpaid_order(&stage).code == ERR_ok, "one that may still be paid for does not stand");
    struct seen order = go_committing(&stage, AWAY);
    await_standing(1);
    cr_expect_eq(faults_of(&stage, NULL), 1);
    restart(&stage);
    await_standing(1);
    return_peers(&stage, OP_stock_commit);
    await_order(&stage, &order.id, "received", "ended");
    await_standing(0);
    finish(&stage);
}

ON_BOTH(order, that_was_under_way_when_the_shop_closed_does_not_stand)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen order = go_committing(&stage, AWAY);
    stop_order(&stage);
    place_await_ports_of(place, PORT_ORDER);
    change(&stage, "UPDATE $order SET entered = entered - 61000");
    cr_expect_eq(faults_at(&stage, 0, NULL), 1, "it stood while the shop was open");
    change(&stage, "UPDATE $shard SET seen = seen - 61000");
    cr_expect_eq(faults_at(&stage, 0, say), 0, "it was closed since");
    cr_expect_eq(faults_of(&stage, NULL), 1, "who has it open should have gone on");
    return_peers(&stage, OP_stock_commit);
    run_order(&stage);
    await_order(&stage, &order.id, "received", "ended");
    finish(&stage);
}

/* What was placed by a build that did not write down when a state began. */
ON_BOTH(order, of_an_earlier_build_stands_since_its_status_changed)
{
    struct stage stage;
    start(&stage, place, 2);
    struct seen order = go_committing(&stage, AWAY);
    stop_order(&stage);
    place_await_ports_of(place, PORT_ORDER);
    change(&stage, "UPDATE $order SET entered = 0");
    cr_expect_eq(faults_of(&stage, say), 0);
    change(&stage, "UPDATE $order SET entered = 0, changed = changed - 61000");
    cr_expect_eq(faults_of(&stage, NULL), 1);
    return_peers(&stage, OP_stock_commit);
    run_order(&stage);
    await_order(&stage, &order.id, "received", "ended");
    finish(&stage);
}

/* --- forgetting, and the proof --- */

enum { HIS_ORDERS = 150 }; /* more than one batch forgets */

ON_BOTH(order, of_somebody_who_was_erased_has_nobodys_name)
{
    struct stage stage;
    struct wire_user_fact fact = {0};
    struct wire_order_list list = {0};
    struct wire_order_page page = {0};
    struct id his = id_of_bytes("him", 3);
    struct id hers = id_of_bytes("her", 3);
    struct wanted_line line = {first, 1};
    start(&stage, place, 1);
    struct seen order = {0};
    for (int i = 0; i < HIS_ORDERS; i++) {
        order = place_for(&stage, &ONCE, &line, 1, &his);
        cr_assert(order.code == ERR_ok, "%s", order.why.text);
    }
    cr_assert(place_for(&stage, &ONCE, &line, 1, &hers).code == ERR_ok);
    WIRE_SET(&fact, user_fact, user, his);
    WIRE_SET(&fact, user_fact, time, 1);
    scripted_peer_emit(stage.user, EVENT_user_erased, slice_of("him"), &fact);
    await_entry(&stage, &order.id, "user_erased", "ok");
    WIRE_SET(&list, order_list, customer, his);
    cr_assert(order_client_list(stage.client, &ONCE, &list, &page, NULL) == ERR_ok);
    cr_expect_eq(page.orders.count, 0);
    WIRE_SET(&list, order_list, customer, hers);
    cr_assert(order_client_list(stage.client, &ONCE, &list, &page, NULL) == ERR_ok);
    cr_expect_eq(page.orders.count, 1);
    struct wire_order_get get = {0};
    struct wire_order shown = {0};
    WIRE_SET(&get, order_get, order, order.id);
    cr_assert(order_client_get(stage.client, &ONCE, &get, &shown, NULL) == ERR_ok);
    cr_expect_not(WIRE_HAS(&shown, order, note) || WIRE_HAS(&shown, order, customer));
    cr_expect_eq(place_for(&stage, &ONCE, &line, 1, &his).code, ERR_user_erased);
    finish(&stage);
}

ON_BOTH(order, proof_names_what_was_changed_by_hand)
{
    static const char *const damages[][2] = {
        {"UPDATE $line SET quantity = quantity + 1 WHERE n = 2", "UPDATE $line SET quantity = quantity - 1 WHERE n = 2"},
        {"UPDATE $order SET entries = entries + 1 WHERE n = 2", "UPDATE $order SET entries = entries - 1 WHERE n = 2"},
        {"UPDATE $entry SET status = 'ready' WHERE n = 2 AND k = 4", "UPDATE $entry SET status = 'received' WHERE n = 2 AND k = 4"},
        {"UPDATE $order SET saga = 'paying' WHERE n = 2", "UPDATE $order SET saga = 'ended' WHERE n = 2"},
        {"UPDATE $order SET status = 'placed' WHERE n = 2", "UPDATE $order SET status = 'received' WHERE n = 2"},
        {"UPDATE $order SET money = 0 WHERE n = 2", "UPDATE $order SET money = 1 WHERE n = 2"},
        {"UPDATE $order SET reason = 'expired' WHERE n = 2", "UPDATE $order SET reason = '' WHERE n = 2"},
        {"UPDATE $line SET n = 9 WHERE n = 2", "UPDATE $line SET n = 2 WHERE n = 9"},
    };
    struct stage stage;
    start(&stage, place, 1);
    received_order(&stage);
    stop_order(&stage);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        change(&stage, damages[i][0]);
        cr_expect_gt(faults_of(&stage, NULL), 0, "%s", damages[i][0]);
        change(&stage, damages[i][1]);
        cr_expect_eq(faults_of(&stage, say), 0, "%s", damages[i][1]);
    }
    place_await_ports_of(place, PORT_ORDER);
    run_order(&stage);
    finish(&stage);
}
