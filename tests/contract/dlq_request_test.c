/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Requests that are handed over to the dlq, on both databases: what is taken, when it is delivered, and what becomes of its letter.
 *
 * PURPOSE   The test's thread is the dlq's client and the factory that it delivers to.
 * STATE     One dlq, a client, and a ROUTER at the factory's address that is there when a test says so.
 * LIMITS    A delivery waits in the ROUTER until the test takes it; the dlq's time for an answer is short.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <czmq.h>

#include "dlq/dlq.h"
#include "../support/kit_place.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(10000)
#define ANSWER_MS 700

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    zsock_t *factory;
};

/* A request as the factory got it. */
struct delivery {
    struct message message;
    struct wire_request_header header;
    struct slice body;
};

/* --- life --- */

static void
run_dlq(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    err code = actor_start(&dlq_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("dlq", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.request_timeout_ms = ANSWER_MS;
    place->settings.retry_attempts = 3;
    log_init(false, LOG_LEVEL_ERROR);
    run_dlq(stage);
}

static void
open_factory(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    stage->factory = zsock_new(ZMQ_ROUTER);
    zsock_set_linger(stage->factory, 0);
    topology_bind(&stage->place->settings, "factory", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(stage->factory, "%s", endpoint) >= 0);
}

static void
stop_dlq(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
finish(struct stage *stage)
{
    stop_dlq(stage);
    zsock_destroy(&stage->factory);
    close(stage->ended_fd);
}

/* --- handing over --- */

#define ONCE ((struct larder_options){.timeout_ms = WAIT_MS, .attempts = 1})

static struct wire_factory_produce
three_donuts(void)
{
    struct wire_factory_produce produce = {0};
    WIRE_SET(&produce, factory_produce, product, slice_of("donut"));
    WIRE_SET(&produce, factory_produce, quantity, 3);
    return produce;
}

static struct wire_dlq_hand_over
order_of(const struct id *request, struct slice frame)
{
    struct wire_dlq_hand_over order = {0};
    WIRE_SET(&order, dlq_hand_over, op, slice_of("factory.produce"));
    WIRE_SET(&order, dlq_hand_over, request, *request);
    WIRE_SET(&order, dlq_hand_over, body, frame);
    return order;
}

/* Hands three donuts over; useful for `useful_ms`, 0: as long as the setting says. */
static struct id
hand_over(struct stage *stage, const struct id *request, int64_t useful_ms, struct wire_letter *letter)
{
    struct wire_buffer frame = {0};
    struct err_text why = {""};
    struct wire_factory_produce produce = three_donuts();
    wire_encode(&factory_produce_body, &produce, &frame);
    struct wire_dlq_hand_over order = order_of(request, wire_buffer_slice(&frame));
    if (useful_ms != 0) {
        WIRE_SET(&order, dlq_hand_over, useful_until, clock_utc_ms() + useful_ms);
    }
    err code = dlq_client_hand_over(stage->client, &ONCE, &order, letter, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    wire_buffer_fini(&frame);
    return letter->id;
}

/* Its letter when it has come to that state. The slices live until the client is used again. */
static struct wire_letter_whole
await_state(struct stage *stage, const struct id *letter, const char *state)
{
    struct wire_letter_ref ref = {0};
    WIRE_SET(&ref, letter_ref, letter, *letter);
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;;) {
        struct wire_letter_whole whole;
        struct err_text why = {""};
        err code = dlq_client_show(stage->client, NULL, &ref, &whole, &why);
        cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
        if (slice_equal(whole.letter.state, slice_of(state))) {
            return whole;
        }
        cr_assert(link_steady_ms() < until_ms, "the letter is %.*s and not %s: %.*s", (int)whole.letter.state.size,
                  (const char *)whole.letter.state.data, state, (int)whole.letter.error.size, (const char *)whole.letter.error.data);
        (void)poll(NULL, 0, 10);
    }
}

/* --- the factory --- */

static bool
is_delivered(struct stage *stage, int64_t wait_ms, struct delivery *delivery)
{
    struct err_text why = {""};
    zmq_pollitem_t item = {.socket = zsock_resolve(stage->factory), .events = ZMQ_POLLIN};
    for (int64_t until_ms = link_steady_ms() + wait_ms; link_steady_ms() < until_ms;) {
        (void)zmq_poll(&item, 1, 20);
        if (message_receive(zsock_resolve(stage->factory), true, &delivery->message) != MESSAGE_OK) {
            continue;
        }
        cr_assert(wire_decode(&request_header_body, message_header(&delivery->message), &delivery->header, &why) == ERR_ok, "%s",
                  why.text);
        delivery->body = message_body(&delivery->message);
        if (slice_equal(delivery->header.op, slice_of("factory.produce"))) {
            return true;
        }
        message_fini(&delivery->message);
    }
    return false;
}

static void
take(struct stage *stage, const struct id *request, struct delivery *delivery)
{
    struct wire_factory_produce produce;
    struct err_text why = {""};
    cr_assert(is_delivered(stage, WAIT_MS, delivery), "nothing is delivered");
    cr_assert(id_equal(&delivery->header.id, request), "it has another id");
    cr_assert(WIRE_HAS(&delivery->header, request_header, again) && delivery->header.again);
    cr_assert(wire_decode(&factory_produce_body, delivery->body, &produce, &why) == ERR_ok, "%s", why.text);
    cr_assert(slice_equal(produce.product, slice_of("donut")) && produce.quantity == 3);
}

static void
say(struct stage *stage, struct delivery *delivery, err status, const struct wire_body *shape, const void *body)
{
    struct wire_buffer header = {0};
    struct wire_buffer frame = {0};
    struct wire_reply_header reply = {0};
    WIRE_SET(&reply, reply_header, v, WIRE_VERSION);
    WIRE_SET(&reply, reply_header, id, delivery->header.id);
    WIRE_SET(&reply, reply_header, again, true);
    WIRE_SET(&reply, reply_header, status, slice_of(err_symbol(status)));
    wire_encode(&reply_header_body, &reply, &header);
    wire_encode(shape, body, &frame);
    cr_assert(message_reply(zsock_resolve(stage->factory), &delivery->message, wire_buffer_slice(&header),
                            wire_buffer_slice(&frame)) == MESSAGE_SENT);
    message_fini(&delivery->message);
    wire_buffer_fini(&header);
    wire_buffer_fini(&frame);
}

static void
answer_ok(struct stage *stage, struct delivery *delivery)
{
    struct wire_production production = {0};
    WIRE_SET(&production, production, id, id_new());
    WIRE_SET(&production, production, product, slice_of("donut"));
    WIRE_SET(&production, production, quantity, 3);
    WIRE_SET(&production, production, status, slice_of("ordered"));
    WIRE_SET(&production, production, ordered_at, clock_utc_ms());
    say(stage, delivery, ERR_ok, &production_body, &production);
}

static void
refuse(struct stage *stage, struct delivery *delivery, err status, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    say(stage, delivery, status, &problem_body, &problem);
}

static void
assert_text(struct slice text, const char *wanted)
{
    cr_assert(slice_equal(text, slice_of(wanted)), "%.*s instead of %s", (int)text.size, (const char *)text.data, wanted);
}

static void
assert_answer(const struct wire_letter_whole *whole, const char *name, const char *value)
{
    struct wire_letter_field field;
    struct wire_list answer = whole->answer;
    cr_assert(WIRE_HAS(whole, letter_whole, answer));
    while (wire_list_next(&answer, &letter_field_body, &field)) {
        if (slice_equal(field.name, slice_of(name))) {
            assert_text(field.value, value);
            return;
        }
    }
    cr_assert_fail("the answer has no %s", name);
}

/* --- claims --- */

ON_BOTH(dlq_request, is_kept_while_its_actor_is_away_and_delivered_when_it_is_back)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct id request = id_new();
    struct id expected = id_derive(&request, "letter/request");
    start(&stage, place);
    struct id id = hand_over(&stage, &request, 0, &letter);
    cr_assert(id_equal(&id, &expected));
    assert_text(letter.state, "waiting");
    assert_text(letter.kind, "request");
    assert_text(letter.destination, "factory/0");
    assert_text(letter.type, "factory.produce");
    assert_text(letter.key, "donut");
    assert_text(letter.reason, "unavailable");
    cr_assert(id_equal(&letter.request, &request) && letter.units == 3 && letter.attempts == 0);
    open_factory(&stage);
    take(&stage, &request, &delivery);
    answer_ok(&stage, &delivery);
    struct wire_letter_whole whole = await_state(&stage, &id, "done");
    assert_text(whole.letter.status, "ok");
    assert_text(whole.letter.error, "");
    cr_assert_eq(whole.letter.attempts, 1);
    cr_assert_eq(whole.history.count, 0);
    assert_answer(&whole, "product", "donut");
    cr_assert(!is_delivered(&stage, 200, &delivery), "it is delivered once more");
    finish(&stage);
}

ON_BOTH(dlq_request, is_done_with_the_refusal_when_it_is_refused)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct wire_letter_attempt attempt;
    struct id request = id_new();
    start(&stage, place);
    open_factory(&stage);
    struct id id = hand_over(&stage, &request, 0, &letter);
    take(&stage, &request, &delivery);
    refuse(&stage, &delivery, ERR_unknown_product, "donut: there is none");
    struct wire_letter_whole whole = await_state(&stage, &id, "done");
    assert_text(whole.letter.status, "unknown_product");
    assert_text(whole.letter.error, "unknown_product: donut: there is none");
    cr_assert(wire_list_next(&whole.history, &letter_attempt_body, &attempt));
    assert_text(attempt.error, "unknown_product: donut: there is none");
    assert_answer(&whole, "detail", "donut: there is none");
    cr_assert(!is_delivered(&stage, 200, &delivery), "it is delivered once more");
    finish(&stage);
}

ON_BOTH(dlq_request, is_tried_again_while_its_actor_is_busy_or_silent)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct id request = id_new();
    start(&stage, place);
    open_factory(&stage);
    struct id id = hand_over(&stage, &request, 0, &letter);
    for (int i = 0; i < 5; i++) {
        take(&stage, &request, &delivery);
        refuse(&stage, &delivery, ERR_overloaded, "not now");
    }
    take(&stage, &request, &delivery); /* and says nothing */
    message_fini(&delivery.message);
    take(&stage, &request, &delivery);
    answer_ok(&stage, &delivery);
    struct wire_letter_whole whole = await_state(&stage, &id, "done");
    assert_text(whole.letter.status, "ok");
    cr_assert_eq(whole.letter.attempts, 1, "what was not tried is counted");
    finish(&stage);
}

ON_BOTH(dlq_request, is_stale_when_its_time_is_over_and_can_be_replayed)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct id request = id_new();
    struct id late = id_new();
    start(&stage, place);
    hand_over(&stage, &late, -1000, &letter); /* a batch looks at the clock before the last of its messages has come */
    assert_text(letter.state, "stale");
    struct id id = hand_over(&stage, &request, 400, &letter);
    assert_text(letter.state, "waiting");
    (void)await_state(&stage, &id, "stale");
    open_factory(&stage);
    cr_assert(!is_delivered(&stage, 300, &delivery), "a stale one is delivered");
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;;) {
        struct larder_request replay_request = {.op = OP_dlq_replay, .options = {.timeout_ms = WAIT_MS, .attempts = 1}};
        struct larder_reply reply;
        struct wire_dlq_replay replay = {0};
        WIRE_SET(&replay, dlq_replay, letter, id);
        replay_request.body = &replay;
        cr_assert(larder_client_send(stage.client, &replay_request) == ERR_ok);
        bool is_there = is_delivered(&stage, 200, &delivery);
        if (is_there) {
            answer_ok(&stage, &delivery);
        }
        cr_assert(larder_client_receive(stage.client, WAIT_MS, &reply) == ERR_ok);
        if (is_there && reply.status == ERR_ok) {
            break;
        }
        cr_assert(link_steady_ms() < until_ms, "the replay does not come to the factory");
    }
    struct wire_letter_whole whole = await_state(&stage, &id, "done");
    assert_text(whole.letter.status, "ok");
    finish(&stage);
}

ON_BOTH(dlq_request, is_dead_when_its_actor_fails_on_it)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct id request = id_new();
    start(&stage, place);
    open_factory(&stage);
    struct id id = hand_over(&stage, &request, 0, &letter);
    for (int i = 0; i < 3; i++) {
        take(&stage, &request, &delivery);
        refuse(&stage, &delivery, ERR_internal, "broken");
    }
    struct wire_letter_whole whole = await_state(&stage, &id, "dead");
    assert_text(whole.letter.reason, "internal");
    assert_text(whole.letter.error, "internal: broken");
    cr_assert_eq(whole.letter.attempts, 3);
    cr_assert_eq(whole.history.count, 3);
    cr_assert(!WIRE_HAS(&whole.letter, letter, status));
    cr_assert(!is_delivered(&stage, 300, &delivery), "a dead one is delivered");
    finish(&stage);
}

ON_BOTH(dlq_request, twice_is_one_letter_and_one_delivery)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct wire_buffer frame = {0};
    struct err_text why = {""};
    struct id request = id_new();
    start(&stage, place);
    struct id first = hand_over(&stage, &request, 0, &letter);
    struct id second = hand_over(&stage, &request, 0, &letter);
    cr_assert(id_equal(&first, &second));
    struct wire_factory_produce other = three_donuts();
    other.quantity = 4;
    wire_encode(&factory_produce_body, &other, &frame);
    struct wire_dlq_hand_over order = order_of(&request, wire_buffer_slice(&frame));
    cr_assert(dlq_client_hand_over(stage.client, &ONCE, &order, NULL, &why) == ERR_idempotency_mismatch, "%s", why.text);
    open_factory(&stage);
    take(&stage, &request, &delivery);
    answer_ok(&stage, &delivery);
    (void)await_state(&stage, &first, "done");
    struct id third = hand_over(&stage, &request, 0, &letter);
    cr_assert(id_equal(&first, &third));
    assert_text(letter.state, "done");
    cr_assert(!is_delivered(&stage, 300, &delivery), "it is delivered twice");
    wire_buffer_fini(&frame);
    finish(&stage);
}

ON_BOTH(dlq_request, outlives_the_dlq_in_the_middle_of_a_delivery)
{
    struct stage stage;
    struct wire_letter letter;
    struct delivery delivery;
    struct id request = id_new();
    start(&stage, place);
    open_factory(&stage);
    struct id id = hand_over(&stage, &request, 0, &letter);
    take(&stage, &request, &delivery); /* done, but the answer is lost */
    message_fini(&delivery.message);
    stop_dlq(&stage);
    place_await_ports(place);
    run_dlq(&stage);
    take(&stage, &request, &delivery); /* under its id: the factory knows it */
    answer_ok(&stage, &delivery);
    (void)await_state(&stage, &id, "done");
    finish(&stage);
}

ON_BOTH(dlq_request, is_not_taken_when_the_room_is_for_others)
{
    struct stage stage;
    struct wire_letter letter;
    struct err_text why = {""};
    struct wire_buffer frame = {0};
    int taken = 0;
    place->settings.letters_max = 100;
    start(&stage, place);
    struct wire_factory_produce produce = three_donuts();
    wire_encode(&factory_produce_body, &produce, &frame);
    for (err code = ERR_ok; code == ERR_ok && taken < 200; taken += code == ERR_ok ? 1 : 0) {
        struct id request = id_new();
        struct wire_dlq_hand_over order = order_of(&request, wire_buffer_slice(&frame));
        code = dlq_client_hand_over(stage.client, &ONCE, &order, &letter, &why);
        cr_assert(code == ERR_ok || code == ERR_overloaded, "%s: %s", err_symbol(code), why.text);
    }
    cr_assert_eq(taken, 90);
    wire_buffer_fini(&frame);
    finish(&stage);
}

ON_BOTH(dlq_request, is_not_shown_when_it_is_a_secret)
{
    struct stage stage;
    struct wire_letter letter;
    struct err_text why = {""};
    struct wire_buffer frame = {0};
    struct wire_factory_callback callback = {0};
    struct id request = id_new();
    start(&stage, place);
    WIRE_SET(&callback, factory_callback, capability, slice_of("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    wire_encode(&factory_callback_body, &callback, &frame);
    struct wire_dlq_hand_over order = order_of(&request, wire_buffer_slice(&frame));
    order.op = slice_of("factory.callback");
    cr_assert(dlq_client_hand_over(stage.client, &ONCE, &order, &letter, &why) == ERR_ok, "%s", why.text);
    struct id id = letter.id;
    assert_text(letter.key, "");
    struct wire_letter_whole whole = await_state(&stage, &id, "waiting");
    cr_assert_eq(whole.fields.count, 0);
    cr_assert(!WIRE_HAS(&whole, letter_whole, body));
    wire_buffer_fini(&frame);
    finish(&stage);
}

/* --- what is not taken --- */

struct bad_order {
    const char *op;
    int64_t shard; /* -1: not said */
    const char *body;
    size_t body_size;
    const char *says;
};

static const struct bad_order BAD_ORDERS[] = {
    {"factory.produce", -1, "\x80", 1, NULL},
    {"factory.eat", -1, "\x80", 1, "dlq_hand_over.op: there is no operation factory.eat"},
    {"factory.get", -1, "\x80", 1, "dlq_hand_over.op: factory.get changes nothing"},
    {"any.subscribe", -1, "\x80", 1, "dlq_hand_over.op: any.subscribe is not delivered for others"},
    {"dlq.hand_over", -1, "\x80", 1, "dlq_hand_over.op: dlq.hand_over is not delivered for others"},
    {"factory.produce", 1, "\x80", 1, "dlq_hand_over.shard: factory has 1"},
    {"factory.produce", -1, "\x81\xa5money\x01", 8, "dlq_hand_over.body: factory_produce.money"},
    {"factory.produce", -1, "\x81\xa8quantity\x00", 11, "dlq_hand_over.body: factory_produce.quantity"},
    {"factory.produce", -1, "\x80\x80", 2, "dlq_hand_over.body: "},
    {"factory.produce", -1, "nonsense", 8, "dlq_hand_over.body: "},
    {"stock.take", -1, "\x80", 1, "dlq_hand_over.body: stock_take.lines"},
};

ON_BOTH(dlq_request, is_refused_by_the_name_of_its_field)
{
    struct stage stage;
    struct err_text why = {""};
    start(&stage, place);
    for (size_t i = 0; i < sizeof BAD_ORDERS / sizeof *BAD_ORDERS; i++) {
        const struct bad_order *bad = &BAD_ORDERS[i];
        struct id request = id_new();
        struct wire_dlq_hand_over order = order_of(&request, (struct slice){(const uint8_t *)bad->body, bad->body_size});
        order.op = slice_of(bad->op);
        if (bad->shard >= 0) {
            WIRE_SET(&order, dlq_hand_over, shard, bad->shard);
        }
        err code = dlq_client_hand_over(stage.client, &ONCE, &order, NULL, &why);
        if (bad->says == NULL) {
            cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
            continue;
        }
        cr_assert(code == ERR_invalid_field || code == ERR_malformed, "%s %s: %s", bad->op, err_symbol(code), why.text);
        cr_assert(strncmp(why.text, bad->says, strlen(bad->says)) == 0, "%s instead of %s", why.text, bad->says);
    }
    struct wire_letter_stats stats;
    const struct larder_options options = {0};
    cr_assert(dlq_client_stats(stage.client, &options, &(struct wire_nothing){0}, &stats, &why) == ERR_ok, "%s", why.text);
    cr_assert_eq(stats.waiting, 1, "a letter was made of what was refused");
    finish(&stage);
}
