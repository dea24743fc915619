/* SPDX-License-Identifier: MPL-2.0 */
/* What a subscriber asks of its source and what it gives out. The source is a ROUTER and an XPUB in the test's own hands. */
#include "larder.h"

#include <criterion/criterion.h>
#include <czmq.h>

#include "link.h"
#include "message.h"
#include "stream.h"
#include "../support/patience.h"

#define PATIENCE_MS patience_ms(5000)

static const struct id ours = {{1}};
static const struct id theirs = {{2}};

struct source {
    zsock_t *router;
    zsock_t *xpub;
    void *requests;
    void *events;
    char requests_endpoint[64];
    char events_endpoint[64];
};

struct asked {
    struct message message;
    struct wire_request_header header;
};

static void
quiet(void)
{
    setenv("ZSYS_SIGHANDLER", "false", 1);
}

TestSuite(subscriber, .init = quiet, .timeout = 30);

/* --- the source --- */

static void
source_open(struct source *source)
{
    source->router = zsock_new(ZMQ_ROUTER);
    source->xpub = zsock_new(ZMQ_XPUB);
    source->requests = zsock_resolve(source->router);
    source->events = zsock_resolve(source->xpub);
    int requests_port = zsock_bind(source->router, "tcp://127.0.0.1:*");
    int events_port = zsock_bind(source->xpub, "tcp://127.0.0.1:*");
    cr_assert(requests_port > 0 && events_port > 0);
    (void)snprintf(source->requests_endpoint, sizeof source->requests_endpoint, "tcp://127.0.0.1:%d", requests_port);
    (void)snprintf(source->events_endpoint, sizeof source->events_endpoint, "tcp://127.0.0.1:%d", events_port);
}

static void
source_close(struct source *source)
{
    zsock_destroy(&source->router);
    zsock_destroy(&source->xpub);
}

/* What is published from now on arrives. */
static void
source_await_subscription(struct source *source)
{
    zmq_pollitem_t item = {.socket = source->events, .events = ZMQ_POLLIN};
    char frame[64];
    cr_assert_eq(zmq_poll(&item, 1, PATIENCE_MS), 1, "no subscription came");
    cr_assert_gt(zmq_recv(source->events, frame, sizeof frame, 0), 0);
}

/* The chain of what is published, and the id that it is derived with, from here on; zero: it does not say. */
static struct id told_chain;
static struct id told_id;

static void
event_frames(const char *type, const char *key, const struct id *incarnation, int64_t seq, struct wire_buffer frames[2])
{
    struct wire_event_header header = {0};
    struct id id = id_is_zero(&told_id) ? id_new() : told_id;
    if (!id_is_zero(&told_chain)) {
        WIRE_SET(&header, event_header, chain, told_chain);
    }
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id);
    WIRE_SET(&header, event_header, source, slice_of("stock/0"));
    WIRE_SET(&header, event_header, incarnation, *incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of(type));
    WIRE_SET(&header, event_header, key, slice_of(key));
    WIRE_SET(&header, event_header, time, 1);
    wire_encode(&event_header_body, &header, &frames[0]);
    struct wire_head head = {0};
    struct wire_list none = {0};
    WIRE_SET(&head, head, head, seq);
    WIRE_SET(&head, head, oldest, 1);
    WIRE_SET(&head, head, positions, none);
    wire_encode(&head_body, &head, &frames[1]);
}

static void
publish(struct source *source, const char *type, const char *key, const struct id *incarnation, int64_t seq)
{
    struct wire_buffer frames[2] = {{0}, {0}};
    char topic[130];
    bool is_head = strcmp(type, "head") == 0;
    int size = snprintf(topic, sizeof topic, is_head ? "%s" : "%s.%s", type, key);
    event_frames(type, key, incarnation, seq, frames);
    cr_assert_eq(zmq_send(source->events, topic, (size_t)size, ZMQ_SNDMORE), size);
    cr_assert_eq(zmq_send(source->events, frames[0].data, frames[0].size, ZMQ_SNDMORE), (int)frames[0].size);
    cr_assert_eq(zmq_send(source->events, frames[1].data, frames[1].size, 0), (int)frames[1].size);
    wire_buffer_fini(&frames[0]);
    wire_buffer_fini(&frames[1]);
}

/* Lets the subscriber work until a request is there, and takes it. */
static void
source_take(struct source *source, struct larder_subscriber *subscriber, struct asked *asked)
{
    zmq_pollitem_t item = {.socket = source->requests, .events = ZMQ_POLLIN};
    int64_t until_ms = link_steady_ms() + PATIENCE_MS;
    while (zmq_poll(&item, 1, 0) == 0) {
        struct larder_event event;
        if (subscriber != NULL) {
            cr_assert_eq(larder_subscriber_next(subscriber, 5, &event), ERR_deadline_exceeded);
        }
        cr_assert_lt(link_steady_ms(), until_ms, "no request came");
    }
    cr_assert_eq(message_receive(source->requests, true, &asked->message), MESSAGE_OK);
    cr_assert_eq(wire_decode(&request_header_body, message_header(&asked->message), &asked->header, NULL), ERR_ok);
}

static void
source_reply(struct source *source, struct asked *asked, const char *status, const struct wire_buffer *body)
{
    struct wire_buffer header = {0};
    struct wire_reply_header reply = {0};
    WIRE_SET(&reply, reply_header, v, WIRE_VERSION);
    WIRE_SET(&reply, reply_header, id, asked->header.id);
    WIRE_SET(&reply, reply_header, status, slice_of(status));
    wire_encode(&reply_header_body, &reply, &header);
    cr_assert_eq(message_reply(source->requests, &asked->message, wire_buffer_slice(&header), wire_buffer_slice(body)), MESSAGE_SENT);
    message_fini(&asked->message);
    wire_buffer_fini(&header);
}

static void
source_refuse(struct source *source, struct asked *asked, err status)
{
    struct wire_buffer body = {0};
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("the source says no"));
    wire_encode(&problem_body, &problem, &body);
    source_reply(source, asked, err_symbol(status), &body);
    wire_buffer_fini(&body);
}

static struct wire_fetch
must_be_fetch(struct asked *asked)
{
    struct wire_fetch fetch;
    cr_assert(slice_equal(asked->header.op, slice_of("any.fetch")));
    cr_assert_eq(wire_decode(&fetch_body, message_body(&asked->message), &fetch, NULL), ERR_ok);
    return fetch;
}

/* Answers with the events `from` to `to` of stock.out.donut; none when `to` is before `from`. */
static void
source_page(struct source *source, struct asked *asked, int64_t from, int64_t to, int64_t head)
{
    struct wire_buffer elements = {0};
    struct wire_buffer body = {0};
    struct wire_list list = {0};
    for (int64_t seq = from; seq <= to; seq++) {
        struct wire_buffer frames[2] = {{0}, {0}};
        struct wire_fetched_event fetched = {0};
        event_frames("stock.out", "donut", &ours, seq, frames);
        WIRE_SET(&fetched, fetched_event, header, wire_buffer_slice(&frames[0]));
        WIRE_SET(&fetched, fetched_event, body, wire_buffer_slice(&frames[1]));
        wire_list_add(&list, &fetched_event_body, &fetched, &elements);
        wire_buffer_fini(&frames[0]);
        wire_buffer_fini(&frames[1]);
    }
    wire_list_end(&list, &elements);
    struct wire_fetched page = {0};
    WIRE_SET(&page, fetched, incarnation, ours);
    WIRE_SET(&page, fetched, head, head);
    WIRE_SET(&page, fetched, events, list);
    wire_encode(&fetched_body, &page, &body);
    source_reply(source, asked, "ok", &body);
    wire_buffer_fini(&elements);
    wire_buffer_fini(&body);
}

/* --- the subscriber --- */

static struct larder_subscriber *
subscriber_of(const struct larder_subscription *subscription)
{
    struct larder_subscriber *subscriber = NULL;
    struct err_text why = {""};
    cr_assert_eq(larder_subscriber_create(subscription, &subscriber, &why), ERR_ok, "%s", why.text);
    return subscriber;
}

static int64_t
must_get(struct larder_subscriber *subscriber)
{
    struct larder_event event;
    err status = larder_subscriber_next(subscriber, PATIENCE_MS, &event);
    cr_assert_eq(status, ERR_ok, "%s: %s", err_symbol(status), larder_subscriber_why(subscriber));
    return event.header.seq;
}

static err
must_fail(struct larder_subscriber *subscriber)
{
    struct larder_event event;
    err status = ERR_deadline_exceeded;
    for (int64_t until_ms = link_steady_ms() + PATIENCE_MS; status == ERR_deadline_exceeded && link_steady_ms() < until_ms;) {
        status = larder_subscriber_next(subscriber, 50, &event);
    }
    cr_assert_eq(larder_subscriber_next(subscriber, 0, &event), status, "an incident stands");
    return status;
}

/* A subscriber with a cursor of its own that the source has confirmed. */
static struct larder_subscriber *
level_at(struct source *source, int64_t position)
{
    struct larder_subscription subscription = {
        .events = source->events_endpoint,
        .requests = source->requests_endpoint,
        .name = "test/0",
        .has_cursor = true,
        .incarnation = ours,
        .position = position,
    };
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    struct asked asked;
    source_take(source, subscriber, &asked);
    struct wire_fetch fetch = must_be_fetch(&asked);
    cr_assert_eq(fetch.position, position);
    cr_assert(id_equal(&fetch.incarnation, &ours));
    source_page(source, &asked, 1, 0, position);
    source_await_subscription(source);
    return subscriber;
}

Test(subscriber, without_a_name_passes_on_what_has_its_topic)
{
    struct source source;
    source_open(&source);
    const char *const topics[] = {"stock.out.donut"};
    struct larder_subscription subscription = {.events = source.events_endpoint, .topics = topics, .topic_count = 1};
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    source_await_subscription(&source);
    publish(&source, "head", "", &ours, 4);
    publish(&source, "stock.low", "donut", &ours, 4);
    publish(&source, "stock.out", "donut", &ours, 9);
    struct larder_event event;
    cr_assert_eq(larder_subscriber_next(subscriber, PATIENCE_MS, &event), ERR_ok);
    cr_expect_eq(event.type, EVENT_stock_out);
    cr_expect_eq(event.header.seq, 9);
    cr_expect(slice_equal(event.header.key, slice_of("donut")));
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, gives_a_type_that_it_does_not_know)
{
    struct source source;
    source_open(&source);
    struct larder_subscription subscription = {.events = source.events_endpoint};
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    source_await_subscription(&source);
    publish(&source, "stock.melted", "donut", &ours, 9);
    struct larder_event event;
    struct wire_stock_alarm alarm;
    cr_assert_eq(larder_subscriber_next(subscriber, PATIENCE_MS, &event), ERR_ok);
    cr_expect_eq(event.type, EVENT_COUNT);
    cr_expect_eq(larder_event_decode(&event, &alarm, NULL), ERR_not_found);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, subscribes_fetches_and_follows)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscription subscription = {
        .events = source.events_endpoint, .requests = source.requests_endpoint, .name = "test/0", .from_start = true};
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    source_take(&source, subscriber, &asked);
    struct wire_subscribe subscribe;
    cr_assert(slice_equal(asked.header.op, slice_of("any.subscribe")));
    cr_assert_eq(wire_decode(&subscribe_body, message_body(&asked.message), &subscribe, NULL), ERR_ok);
    cr_expect(subscribe.from_start);
    struct wire_buffer body = {0};
    struct wire_subscribed subscribed = {0};
    WIRE_SET(&subscribed, subscribed, incarnation, ours);
    WIRE_SET(&subscribed, subscribed, position, 2);
    WIRE_SET(&subscribed, subscribed, head, 4);
    wire_encode(&subscribed_body, &subscribed, &body);
    source_reply(&source, &asked, "ok", &body);
    source_take(&source, subscriber, &asked);
    cr_expect_eq(must_be_fetch(&asked).position, 2);
    source_page(&source, &asked, 3, 4, 4);
    cr_expect_eq(must_get(subscriber), 3);
    cr_expect_eq(must_get(subscriber), 4);
    source_await_subscription(&source);
    publish(&source, "stock.out", "donut", &ours, 4);
    publish(&source, "stock.out", "donut", &ours, 5);
    cr_expect_eq(must_get(subscriber), 5);
    wire_buffer_fini(&body);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, fills_a_gap_and_gives_nothing_twice)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "stock.out", "donut", &ours, 6);
    publish(&source, "stock.out", "donut", &ours, 9);
    cr_expect_eq(must_get(subscriber), 6);
    source_take(&source, subscriber, &asked);
    cr_expect_eq(must_be_fetch(&asked).position, 5, "a FETCH starts behind what is confirmed");
    publish(&source, "stock.out", "donut", &ours, 10);
    source_page(&source, &asked, 6, 9, 9);
    for (int64_t seq = 7; seq <= 10; seq++) {
        cr_expect_eq(must_get(subscriber), seq);
    }
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, fetches_what_a_head_tells_of)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "head", "", &ours, 7);
    source_take(&source, subscriber, &asked);
    source_page(&source, &asked, 6, 7, 7);
    cr_expect_eq(must_get(subscriber), 6);
    cr_expect_eq(must_get(subscriber), 7);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, repeats_a_fetch_that_was_refused_for_now)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "head", "", &ours, 6);
    source_take(&source, subscriber, &asked);
    source_refuse(&source, &asked, ERR_unavailable);
    source_take(&source, subscriber, &asked);
    source_page(&source, &asked, 6, 6, 6);
    cr_expect_eq(must_get(subscriber), 6);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, confirms_within_a_second_and_at_the_end)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "stock.out", "donut", &ours, 6);
    publish(&source, "stock.out", "donut", &ours, 7);
    cr_expect_eq(must_get(subscriber), 6);
    larder_subscriber_ack(subscriber, 6);
    larder_subscriber_ack(subscriber, 99);
    cr_expect_eq(must_get(subscriber), 7);
    source_take(&source, subscriber, &asked);
    cr_expect_eq(must_be_fetch(&asked).position, 6);
    source_page(&source, &asked, 7, 7, 7);
    struct larder_event event;
    cr_expect_eq(larder_subscriber_next(subscriber, 200, &event), ERR_deadline_exceeded);
    larder_subscriber_ack(subscriber, 7);
    larder_subscriber_destroy(&subscriber);
    source_take(&source, NULL, &asked);
    struct wire_fetch fetch = must_be_fetch(&asked);
    cr_expect_eq(fetch.position, 7);
    cr_expect_eq(fetch.limit, 0);
    message_fini(&asked.message);
    source_close(&source);
}

Test(subscriber, goes_past_events_of_other_topics)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    const char *const topics[] = {"factory."};
    struct larder_subscription subscription = {
        .events = source.events_endpoint,
        .requests = source.requests_endpoint,
        .name = "test/0",
        .topics = topics,
        .topic_count = 1,
        .has_cursor = true,
        .incarnation = ours,
        .position = 5,
    };
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    source_take(&source, subscriber, &asked);
    source_page(&source, &asked, 6, 8, 8);
    source_await_subscription(&source);
    publish(&source, "factory.produced", "donut", &ours, 9);
    cr_expect_eq(must_get(subscriber), 9);
    cr_expect_eq(larder_subscriber_position(subscriber), 9);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, asks_for_a_confirmation_when_a_whole_page_is_not_confirmed)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "stock.out", "donut", &ours, 6);
    publish(&source, "stock.out", "donut", &ours, 9);
    cr_expect_eq(must_get(subscriber), 6);
    source_take(&source, subscriber, &asked);
    source_page(&source, &asked, 6, 6, 9);
    cr_expect_eq(must_fail(subscriber), ERR_overloaded);
    larder_subscriber_ack(subscriber, 6);
    source_take(&source, subscriber, &asked);
    cr_expect_eq(must_be_fetch(&asked).position, 6);
    source_page(&source, &asked, 7, 9, 9);
    cr_expect_eq(must_get(subscriber), 7);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, stands_still_before_another_incarnation)
{
    struct source source;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "head", "", &theirs, 1);
    cr_expect_eq(must_fail(subscriber), ERR_other_incarnation);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

/* It was at event 5 with this chain. */
static struct larder_subscriber *
level_with_chain(struct source *source, const struct id *chain)
{
    struct asked asked;
    struct larder_subscription subscription = {
        .events = source->events_endpoint,
        .requests = source->requests_endpoint,
        .name = "billing/0",
        .has_cursor = true,
        .incarnation = ours,
        .position = 5,
        .chain = *chain,
    };
    struct larder_subscriber *subscriber = subscriber_of(&subscription);
    source_take(source, subscriber, &asked);
    source_page(source, &asked, 6, 5, 5);
    source_await_subscription(source);
    return subscriber;
}

Test(subscriber, follows_the_chain_and_tells_it)
{
    struct source source;
    struct id chain = {{7}};
    source_open(&source);
    struct larder_subscriber *subscriber = level_with_chain(&source, &chain);
    for (int64_t seq = 6; seq <= 8; seq++) {
        told_id = id_new();
        told_chain = chain = stream_chain(&chain, &told_id);
        publish(&source, "stock.out", "donut", &ours, seq);
        publish(&source, "head", "", &ours, seq);
        cr_expect_eq(must_get(subscriber), seq);
        struct id known = larder_subscriber_chain(subscriber);
        cr_expect(id_equal(&known, &chain));
    }
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, stands_still_before_an_event_of_another_past)
{
    struct source source;
    struct id chain = {{7}};
    source_open(&source);
    struct larder_subscriber *subscriber = level_with_chain(&source, &chain);
    told_chain = id_new();
    publish(&source, "stock.out", "donut", &ours, 6);
    cr_expect_eq(must_fail(subscriber), ERR_other_past);
    cr_expect_eq(larder_subscriber_position(subscriber), 5);
    cr_expect_not_null(strstr(larder_subscriber_why(subscriber), "an older copy of itself"));
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, stands_still_before_a_head_of_another_past_at_its_position)
{
    struct source source;
    struct id chain = {{7}};
    source_open(&source);
    struct larder_subscriber *subscriber = level_with_chain(&source, &chain);
    told_chain = id_new();
    publish(&source, "head", "", &ours, 5);
    cr_expect_eq(must_fail(subscriber), ERR_other_past);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, takes_up_a_chain_where_it_knew_none)
{
    struct source source;
    struct id none = {{0}};
    source_open(&source);
    struct larder_subscriber *subscriber = level_with_chain(&source, &none);
    told_chain = id_new();
    publish(&source, "stock.out", "donut", &ours, 6);
    cr_expect_eq(must_get(subscriber), 6);
    told_chain = id_new();
    publish(&source, "stock.out", "donut", &ours, 7);
    cr_expect_eq(must_fail(subscriber), ERR_other_past);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, stands_still_when_its_position_is_lost)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "head", "", &ours, 6);
    source_take(&source, subscriber, &asked);
    source_refuse(&source, &asked, ERR_position_lost);
    cr_expect_eq(must_fail(subscriber), ERR_position_lost);
    cr_expect_not_null(strstr(larder_subscriber_why(subscriber), "the source says no"));
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, makes_itself_known_again_where_it_was_forgotten)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = level_at(&source, 5);
    publish(&source, "head", "", &ours, 6);
    source_take(&source, subscriber, &asked);
    source_refuse(&source, &asked, ERR_unknown_subscriber);
    source_take(&source, subscriber, &asked);
    struct wire_subscribe subscribe;
    cr_assert(slice_equal(asked.header.op, slice_of("any.subscribe")));
    cr_assert_eq(wire_decode(&subscribe_body, message_body(&asked.message), &subscribe, NULL), ERR_ok);
    cr_expect(subscribe.from_start);
    message_fini(&asked.message);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

/* --- what the source has no more --- */

static void
must_be_dlq_fetch(struct asked *asked, int64_t position)
{
    struct wire_dlq_fetch fetch;
    cr_assert(slice_equal(asked->header.op, slice_of("dlq.fetch")));
    cr_assert_eq(wire_decode(&dlq_fetch_body, message_body(&asked->message), &fetch, NULL), ERR_ok);
    cr_expect(slice_equal(fetch.source, slice_of("stock/0")));
    cr_expect(slice_equal(fetch.subscriber, slice_of("test/0")));
    cr_expect_eq(fetch.position, position);
}

static struct larder_subscriber *
follow_with_dlq(struct source *source, struct source *dlq)
{
    source_open(source);
    source_open(dlq);
    return subscriber_of(&(struct larder_subscription){.events = source->events_endpoint,
                                                       .requests = source->requests_endpoint,
                                                       .name = "test/0",
                                                       .source = "stock/0",
                                                       .dlq = dlq->requests_endpoint,
                                                       .has_cursor = true,
                                                       .incarnation = ours,
                                                       .position = 0});
}

/* The source refuses until the dlq is asked: its connection may come a little later. */
static void
refuse_until_dlq_is_asked(struct source *source, struct source *dlq, struct larder_subscriber *subscriber, struct asked *asked)
{
    zmq_pollitem_t item = {.socket = dlq->requests, .events = ZMQ_POLLIN};
    int64_t until_ms = link_steady_ms() + PATIENCE_MS;
    while (zmq_poll(&item, 1, 0) == 0) {
        struct larder_event event;
        cr_assert_lt(link_steady_ms(), until_ms, "the dlq is not asked");
        cr_assert_eq(larder_subscriber_next(subscriber, 5, &event), ERR_deadline_exceeded);
        if ((zsock_events(source->router) & ZMQ_POLLIN) != 0) {
            source_take(source, NULL, asked);
            source_refuse(source, asked, ERR_kept_elsewhere);
        }
    }
    source_take(dlq, NULL, asked);
}

Test(subscriber, says_clearly_that_its_events_are_kept_elsewhere)
{
    struct source source;
    struct asked asked;
    source_open(&source);
    struct larder_subscriber *subscriber = subscriber_of(&(struct larder_subscription){
        .events = source.events_endpoint, .requests = source.requests_endpoint, .name = "test/0", .has_cursor = true});
    source_take(&source, subscriber, &asked);
    source_refuse(&source, &asked, ERR_kept_elsewhere);
    cr_expect_eq(must_fail(subscriber), ERR_kept_elsewhere);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
}

Test(subscriber, goes_on_at_the_dlq_and_comes_back)
{
    struct source source;
    struct source dlq;
    struct asked asked;
    struct larder_subscriber *subscriber = follow_with_dlq(&source, &dlq);
    refuse_until_dlq_is_asked(&source, &dlq, subscriber, &asked);
    must_be_dlq_fetch(&asked, 0);
    source_page(&dlq, &asked, 1, 2, 2);
    cr_expect_eq(must_get(subscriber), 1);
    cr_expect_eq(must_get(subscriber), 2);
    larder_subscriber_ack(subscriber, 2);
    source_take(&dlq, subscriber, &asked);
    must_be_dlq_fetch(&asked, 2);
    source_page(&dlq, &asked, 1, 0, 2);
    source_take(&source, subscriber, &asked);
    cr_expect_eq(must_be_fetch(&asked).position, 2);
    source_page(&source, &asked, 3, 3, 3);
    cr_expect_eq(must_get(subscriber), 3);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
    source_close(&dlq);
}

Test(subscriber, asks_the_dlq_every_second_time_while_the_source_refuses)
{
    struct source source;
    struct source dlq;
    struct asked asked;
    struct larder_subscriber *subscriber = follow_with_dlq(&source, &dlq);
    refuse_until_dlq_is_asked(&source, &dlq, subscriber, &asked);
    source_refuse(&dlq, &asked, ERR_unknown_subscriber);
    for (int round = 0; round < 2; round++) {
        source_take(&source, subscriber, &asked);
        source_refuse(&source, &asked, ERR_unavailable);
        source_take(&dlq, subscriber, &asked);
        must_be_dlq_fetch(&asked, 0);
        source_refuse(&dlq, &asked, round == 0 ? ERR_unknown_subscriber : ERR_position_lost);
    }
    source_take(&source, subscriber, &asked);
    source_page(&source, &asked, 1, 1, 1);
    cr_expect_eq(must_get(subscriber), 1);
    larder_subscriber_destroy(&subscriber);
    source_close(&source);
    source_close(&dlq);
}

Test(subscriber, gets_from_the_dlq_what_a_source_that_is_down_had)
{
    struct source source;
    struct source dlq;
    struct asked asked;
    struct larder_subscriber *subscriber = follow_with_dlq(&source, &dlq);
    source_close(&source);
    source_take(&dlq, subscriber, &asked);
    must_be_dlq_fetch(&asked, 0);
    source_page(&dlq, &asked, 1, 1, 1);
    cr_expect_eq(must_get(subscriber), 1);
    larder_subscriber_destroy(&subscriber);
    source_close(&dlq);
}

Test(subscriber, wants_the_name_of_the_source_with_a_dlq)
{
    struct larder_subscriber *subscriber = NULL;
    struct err_text why = {""};
    struct larder_subscription subscription = {
        .events = "tcp://127.0.0.1:1", .requests = "tcp://127.0.0.1:1", .name = "test/0", .dlq = "tcp://127.0.0.1:1"};
    cr_expect_eq(larder_subscriber_create(&subscription, &subscriber, &why), ERR_wrong_setting);
    cr_expect_neq(strstr(why.text, "source"), NULL);
}
