/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Requests of an actor to its peers: exactly one outcome for each, whatever the peer does. The test is the peer, on inproc or tcp.
 */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <czmq.h>

#include "kit/base/arena.h"
#include "kit/peers/asks.h"
#include "link.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"
#include "kit/base/wakeup.h"

#define WAIT_MS patience_ms(5000)

struct stage {
    struct settings settings;
    struct arena arena;
    int wakeup_fd;
    struct asks *asks;
    zsock_t *peer; /* the factory */
    int64_t now_ms;
};

/* A base port whose factory port is free. */
static int
find_base_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert(bind(fd, (const struct sockaddr *)&address, size) == 0);
    cr_assert(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    close(fd);
    return ntohs(address.sin_port) - 7;
}

static void
bind_peer(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    stage->peer = zsock_new(ZMQ_ROUTER);
    zsock_set_linger(stage->peer, 0);
    topology_connect(&stage->settings, "factory", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(stage->peer, "%s", endpoint) >= 0, "%s", endpoint);
}

static void
start(struct stage *stage, bool is_local)
{
    struct err_text why = {""};
    *stage = (struct stage){.now_ms = 1000};
    cr_assert(settings_init(&stage->settings, &why) == ERR_ok, "%s", why.text);
    stage->settings.base_port = find_base_port();
    if (is_local) {
        topology_set_local("factory");
        bind_peer(stage);
    }
    stage->wakeup_fd = wakeup_open();
    stage->asks = asks_create(&stage->settings, stage->wakeup_fd);
}

static void
stop(struct stage *stage)
{
    asks_destroy(&stage->asks);
    asks_destroy(&stage->asks);
    zsock_destroy(&stage->peer);
    arena_fini(&stage->arena);
    close(stage->wakeup_fd);
}

static struct id
ask(struct stage *stage, struct id id, bool again, void *context)
{
    struct wire_request_header header = {0};
    struct wire_factory_get body = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, id);
    WIRE_SET(&header, request_header, op, slice_of("factory.get"));
    WIRE_SET(&header, request_header, deadline, 9000);
    WIRE_SET(&header, request_header, again, again);
    WIRE_SET(&body, factory_get, id, id);
    struct ask_sent sent = {.id = id, .again = again, .deadline_ms = 9000, .op = OP_factory_get, .context = context};
    asks_send(stage->asks, "factory", 0, &sent, arena_encode(&stage->arena, &request_header_body, &header),
              arena_encode(&stage->arena, &factory_get_body, &body));
    return id;
}

static struct message
take_request(struct stage *stage)
{
    struct message message;
    zmq_pollitem_t item = {.socket = zsock_resolve(stage->peer), .events = ZMQ_POLLIN};
    cr_assert(zmq_poll(&item, 1, WAIT_MS) == 1, "nothing was asked");
    cr_assert(message_receive(zsock_resolve(stage->peer), true, &message) == MESSAGE_OK);
    return message;
}

static void
answer_as(struct stage *stage, struct message *request, const struct id *id, bool again, const char *status)
{
    struct wire_reply_header header = {0};
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, *id);
    WIRE_SET(&header, reply_header, again, again);
    WIRE_SET(&header, reply_header, status, slice_of(status));
    cr_assert(message_reply(zsock_resolve(stage->peer), request, arena_encode(&stage->arena, &reply_header_body, &header),
                            slice_of("\x80")) == MESSAGE_SENT);
    message_fini(request);
}

/* The next outcome; false when none comes in time. */
static bool
next_within(struct stage *stage, int64_t timeout_ms, struct ask_outcome *outcome)
{
    int64_t until_ms = link_steady_ms() + timeout_ms;
    while (!asks_next(stage->asks, stage->now_ms, outcome)) {
        int64_t left_ms = until_ms - link_steady_ms();
        if (left_ms <= 0) {
            return false;
        }
        wakeup_wait(stage->wakeup_fd, left_ms);
    }
    return true;
}

static struct ask_outcome
next(struct stage *stage)
{
    struct ask_outcome outcome;
    cr_assert(next_within(stage, WAIT_MS, &outcome), "there is no outcome");
    return outcome;
}

Test(asks, bring_the_answer_to_who_asked, .timeout = 30)
{
    struct stage stage;
    int contexts[3];
    start(&stage, true);
    struct id ids[3];
    struct message requests[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = ask(&stage, id_new(), false, &contexts[i]);
        requests[i] = take_request(&stage);
    }
    cr_expect(asks_count(stage.asks) == 3);
    cr_expect(asks_next_ms(stage.asks) <= 9000);
    for (int i = 2; i >= 0; i--) {
        answer_as(&stage, &requests[i], &ids[i], false, i == 1 ? "out_of_stock" : "ok");
        struct ask_outcome outcome = next(&stage);
        cr_expect(id_equal(&outcome.ask.id, &ids[i]));
        cr_expect(outcome.ask.context == &contexts[i]);
        cr_expect(outcome.status == (i == 1 ? ERR_out_of_stock : ERR_ok));
        cr_assert(outcome.has_message);
        cr_expect(slice_equal(message_body(&outcome.message), slice_of("\x80")));
        message_fini(&outcome.message);
    }
    cr_expect(asks_count(stage.asks) == 0);
    stop(&stage);
}

Test(asks, are_told_apart_by_again, .timeout = 30)
{
    struct stage stage;
    int first_context;
    int second_context;
    start(&stage, true);
    struct id id = ask(&stage, id_new(), false, &first_context);
    (void)ask(&stage, id, true, &second_context);
    struct message first = take_request(&stage);
    struct message second = take_request(&stage);
    answer_as(&stage, &second, &id, true, "ok");
    struct ask_outcome outcome = next(&stage);
    cr_expect(outcome.ask.context == &second_context);
    message_fini(&outcome.message);
    answer_as(&stage, &first, &id, false, "ok");
    outcome = next(&stage);
    cr_expect(outcome.ask.context == &first_context);
    message_fini(&outcome.message);
    stop(&stage);
}

Test(asks, pass_over_an_answer_that_nobody_waits_for, .timeout = 30)
{
    struct stage stage;
    start(&stage, true);
    struct id id = ask(&stage, id_new(), false, NULL);
    struct id other = id_new();
    (void)ask(&stage, other, false, NULL);
    struct message first = take_request(&stage);
    struct message second = take_request(&stage);
    struct id stranger = id_new();
    answer_as(&stage, &second, &stranger, false, "ok");
    answer_as(&stage, &first, &id, false, "ok");
    struct ask_outcome outcome = next(&stage);
    cr_expect(id_equal(&outcome.ask.id, &id));
    message_fini(&outcome.message);
    cr_expect(asks_count(stage.asks) == 1);
    stop(&stage);
}

Test(asks, take_an_unknown_status_as_internal, .timeout = 30)
{
    struct stage stage;
    start(&stage, true);
    struct id id = ask(&stage, id_new(), false, NULL);
    struct message request = take_request(&stage);
    answer_as(&stage, &request, &id, false, "of_a_later_version");
    struct ask_outcome outcome = next(&stage);
    cr_expect(outcome.status == ERR_internal);
    message_fini(&outcome.message);
    stop(&stage);
}

Test(asks, end_at_their_deadline, .timeout = 30)
{
    struct stage stage;
    struct ask_outcome outcome;
    start(&stage, true);
    struct id id = ask(&stage, id_new(), false, NULL);
    struct message request = take_request(&stage);
    stage.now_ms = 8999;
    cr_expect(!asks_next(stage.asks, stage.now_ms, &outcome));
    cr_expect(asks_next_ms(stage.asks) == 9000);
    stage.now_ms = 9000;
    cr_assert(asks_next(stage.asks, stage.now_ms, &outcome));
    cr_expect(outcome.status == ERR_deadline_exceeded);
    cr_expect(id_equal(&outcome.ask.id, &id));
    cr_expect(!outcome.has_message);
    answer_as(&stage, &request, &id, false, "ok");
    cr_expect(!next_within(&stage, 100, &outcome), "one outcome each");
    cr_expect(asks_next_ms(stage.asks) == INT64_MAX);
    stop(&stage);
}

Test(asks, fail_at_once_when_the_peer_is_not_there, .timeout = 30)
{
    struct stage stage;
    start(&stage, false);
    struct id id = ask(&stage, id_new(), false, NULL);
    cr_expect(asks_is_ready(stage.asks));
    cr_expect(asks_next_ms(stage.asks) == 0);
    struct ask_outcome outcome = next(&stage);
    cr_expect(outcome.status == ERR_unavailable);
    cr_expect(id_equal(&outcome.ask.id, &id));
    cr_expect(asks_count(stage.asks) == 0);
    stop(&stage);
}

Test(asks, find_a_peer_that_comes_later, .timeout = 30)
{
    struct stage stage;
    start(&stage, false);
    asks_connect(stage.asks, "factory");
    bind_peer(&stage);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    struct id id = ask(&stage, id_new(), false, NULL);
    struct ask_outcome outcome;
    while (next_within(&stage, 20, &outcome)) {
        cr_assert(outcome.status == ERR_unavailable);
        cr_assert(link_steady_ms() < until_ms, "it is never found");
        id = ask(&stage, id_new(), false, NULL);
    }
    struct message request = take_request(&stage);
    answer_as(&stage, &request, &id, false, "ok");
    outcome = next(&stage);
    cr_expect(outcome.status == ERR_ok);
    message_fini(&outcome.message);
    stop(&stage);
}

Test(asks, come_once_more_when_their_outcome_could_not_be_handled, .timeout = 30)
{
    struct stage stage;
    int context;
    start(&stage, true);
    struct id id = ask(&stage, id_new(), true, &context);
    struct message request = take_request(&stage);
    answer_as(&stage, &request, &id, true, "ok");
    struct ask_outcome outcome = next(&stage);
    message_fini(&outcome.message);
    asks_fail(stage.asks, &outcome.ask, ERR_unavailable, 0);
    cr_expect(asks_count(stage.asks) == 1);
    struct ask_outcome second = next(&stage);
    cr_expect(second.status == ERR_unavailable);
    cr_expect(second.ask.context == &context);
    cr_expect(!second.has_message);
    cr_expect(asks_count(stage.asks) == 0);
    stop(&stage);
}

Test(asks, come_later_when_they_are_put_off_and_as_much_later_as_the_clock_is_set, .timeout = 30)
{
    struct stage stage;
    struct ask_outcome outcome;
    start(&stage, true);
    stage.now_ms = 1000;
    struct ask_sent first = {.id = id_new(), .failures = 1};
    struct ask_sent second = {.id = id_new(), .failures = 7};
    asks_fail(stage.asks, &first, ERR_internal, 3000);
    asks_fail(stage.asks, &second, ERR_unavailable, 2000);
    cr_expect(asks_count(stage.asks) == 2 && !asks_is_ready(stage.asks));
    cr_expect(asks_next_ms(stage.asks) == 2000);
    cr_expect(!asks_next(stage.asks, 1999, &outcome));
    cr_assert(asks_next(stage.asks, 2000, &outcome));
    cr_expect(id_equal(&outcome.ask.id, &second.id) && outcome.ask.failures == 8 && outcome.status == ERR_unavailable);
    cr_expect(asks_next_ms(stage.asks) == 3000);
    asks_retime(stage.asks, 5000);
    cr_expect(!asks_next(stage.asks, 7999, &outcome));
    cr_assert(asks_next(stage.asks, 8000, &outcome));
    cr_expect(id_equal(&outcome.ask.id, &first.id) && outcome.ask.failures == 2 && outcome.status == ERR_internal);
    cr_expect(asks_count(stage.asks) == 0 && asks_next_ms(stage.asks) == INT64_MAX);
    stop(&stage);
}

/* libzmq looks for news inside of a send as well, about once in a millisecond, and its descriptor then says nothing more. */
Test(asks, hear_of_an_answer_that_came_before_an_ask_for_which_there_is_no_room, .timeout = 60)
{
    struct stage stage;
    struct ask_outcome outcome = {0};
    start(&stage, true);
    struct id first = ask(&stage, id_new(), false, NULL);
    while (outcome.status != ERR_unavailable) {
        arena_reset(&stage.arena);
        (void)ask(&stage, id_new(), false, NULL);
        (void)asks_next(stage.asks, stage.now_ms, &outcome);
    }
    cr_assert(!asks_next(stage.asks, stage.now_ms, &outcome));
    struct message request = take_request(&stage);
    answer_as(&stage, &request, &first, false, "ok");
    for (int64_t until_ms = link_steady_ms() + 20; link_steady_ms() < until_ms;) {
        arena_reset(&stage.arena);
        (void)ask(&stage, id_new(), false, NULL);
        cr_assert(asks_next(stage.asks, stage.now_ms, &outcome) && outcome.status == ERR_unavailable);
    }
    outcome = next(&stage);
    cr_expect(outcome.status == ERR_ok);
    cr_assert(outcome.has_message);
    message_fini(&outcome.message);
    stop(&stage);
}

Test(asks, are_limited_and_say_so, .timeout = 60)
{
    enum { MANY = 16384 + 100 };
    struct stage stage;
    start(&stage, true);
    zsock_set_rcvhwm(stage.peer, 0);
    for (int i = 0; i < MANY; i++) {
        (void)ask(&stage, id_new(), false, NULL);
        if (i % 1000 == 999) {
            arena_reset(&stage.arena);
        }
    }
    cr_expect(asks_count(stage.asks) == MANY);
    int refused = 0;
    int late = 0;
    int others = 0;
    stage.now_ms = 9000;
    struct ask_outcome outcome;
    while (asks_next(stage.asks, stage.now_ms, &outcome)) {
        refused += outcome.status == ERR_overloaded || outcome.status == ERR_unavailable;
        late += outcome.status == ERR_deadline_exceeded;
        others += outcome.has_message;
    }
    cr_expect(refused + late == MANY, "one outcome for each");
    cr_expect(refused >= 100);
    cr_expect(others == 0);
    cr_expect(asks_count(stage.asks) == 0);
    struct id id = ask(&stage, id_new(), false, NULL);
    cr_expect(!id_is_zero(&id));
    cr_expect(asks_count(stage.asks) == 1);
    stop(&stage);
}
