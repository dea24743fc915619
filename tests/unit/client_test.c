/* SPDX-License-Identifier: MPL-2.0 */
/* What a client sends, how often, and whom it believes. The peer is a ROUTER in the test's own hands. */
#include "larder.h"

#include <criterion/criterion.h>
#include <czmq.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"
#include "message.h"
#include "../support/patience.h"
#include "pending.h"

#define PATIENCE_MS patience_ms(5000)

struct stub {
    zsock_t *router;
    void *socket;
    char endpoint[64];
};

/* A request as the stub got it; the slices of its header live in `message`. */
struct taken {
    struct message message;
    struct wire_request_header header;
};

static void
quiet(void)
{
    setenv("ZSYS_SIGHANDLER", "false", 1);
}

static void
stub_open(struct stub *stub)
{
    stub->router = zsock_new(ZMQ_ROUTER);
    stub->socket = zsock_resolve(stub->router);
    int port = zsock_bind(stub->router, "tcp://127.0.0.1:*");
    cr_assert_gt(port, 0);
    (void)snprintf(stub->endpoint, sizeof stub->endpoint, "tcp://127.0.0.1:%d", port);
}

static void
stub_take(struct stub *stub, struct taken *taken)
{
    zmq_pollitem_t item = {.socket = stub->socket, .events = ZMQ_POLLIN};
    cr_assert_eq(zmq_poll(&item, 1, PATIENCE_MS), 1, "no request came");
    cr_assert_eq(message_receive(stub->socket, true, &taken->message), MESSAGE_OK);
    struct err_text why = {""};
    cr_assert_eq(wire_decode(&request_header_body, message_header(&taken->message), &taken->header, &why), ERR_ok, "%s", why.text);
}

/* Lets the client work until the stub has a request. */
static void
stub_await(struct stub *stub, struct larder_client *client, struct taken *taken)
{
    int64_t until_ms = link_steady_ms() + PATIENCE_MS;
    zmq_pollitem_t item = {.socket = stub->socket, .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, 0) == 0) {
        struct larder_reply reply;
        cr_assert_eq(larder_client_receive(client, 5, &reply), ERR_deadline_exceeded, "an outcome came too early");
        cr_assert_lt(link_steady_ms(), until_ms, "no request came");
    }
    stub_take(stub, taken);
}

static void
stub_say(struct stub *stub, struct taken *taken, const struct id *id, err status, bool again)
{
    struct wire_buffer header = {0};
    struct wire_buffer body = {0};
    struct wire_reply_header reply = {0};
    WIRE_SET(&reply, reply_header, v, WIRE_VERSION);
    WIRE_SET(&reply, reply_header, id, *id);
    WIRE_SET(&reply, reply_header, status, slice_of(err_symbol(status)));
    if (again) {
        WIRE_SET(&reply, reply_header, again, true);
    }
    wire_encode(&reply_header_body, &reply, &header);
    if (status == ERR_ok) {
        struct wire_pong pong = {0};
        WIRE_SET(&pong, pong, actor, slice_of("stub"));
        WIRE_SET(&pong, pong, shard, 0);
        WIRE_SET(&pong, pong, of, 1);
        WIRE_SET(&pong, pong, version, slice_of("1"));
        wire_encode(&pong_body, &pong, &body);
    } else {
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of("the stub says no"));
        wire_encode(&problem_body, &problem, &body);
    }
    cr_assert_eq(message_reply(stub->socket, &taken->message, wire_buffer_slice(&header), wire_buffer_slice(&body)), MESSAGE_SENT);
    message_fini(&taken->message);
    wire_buffer_fini(&header);
    wire_buffer_fini(&body);
}

static void
stub_answer(struct stub *stub, struct taken *taken, err status)
{
    stub_say(stub, taken, &taken->header.id, status, taken->header.again);
}

static struct larder_client *
client_of(const char *endpoints)
{
    struct larder_client *client = NULL;
    struct err_text why = {""};
    cr_assert_eq(larder_client_create(&endpoints, 1, &client, &why), ERR_ok, "%s", why.text);
    return client;
}

static const struct wire_nothing no_fields;

static struct larder_request
ping(void)
{
    return (struct larder_request){.op = OP_any_ping, .body = &no_fields, .tag = 7, .options = {.timeout_ms = PATIENCE_MS}};
}

static void
must_send(struct larder_client *client, const struct larder_request *request)
{
    cr_assert_eq(larder_client_send(client, request), ERR_ok);
}

static struct larder_reply
must_receive(struct larder_client *client)
{
    struct larder_reply reply;
    cr_assert_eq(larder_client_receive(client, PATIENCE_MS, &reply), ERR_ok, "no outcome came");
    return reply;
}

TestSuite(client, .init = quiet, .timeout = 30);

Test(client, brings_the_answer_and_the_tag)
{
    struct stub stub;
    struct taken taken;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    must_send(client, &request);
    stub_await(&stub, client, &taken);
    cr_expect_not(taken.header.again);
    cr_expect_geq(taken.header.deadline, link_utc_ms());
    stub_answer(&stub, &taken, ERR_ok);
    struct larder_reply reply = must_receive(client);
    struct wire_pong pong;
    cr_expect_eq(reply.status, ERR_ok);
    cr_expect_eq(reply.tag, 7);
    cr_expect_eq(reply.attempts, 1);
    cr_assert_eq(larder_reply_decode(&reply, &pong, NULL), ERR_ok);
    cr_expect(slice_equal(pong.actor, slice_of("stub")));
    cr_expect_eq(larder_client_pending(client), 0);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, repeats_an_unanswered_request_under_its_id)
{
    struct stub stub;
    struct taken first;
    struct taken second;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    request.options.attempt_ms = 30;
    must_send(client, &request);
    stub_await(&stub, client, &first);
    stub_await(&stub, client, &second);
    cr_expect(id_equal(&first.header.id, &second.header.id));
    cr_expect(second.header.again);
    cr_expect_eq(first.header.deadline, second.header.deadline, "no attempt extends the deadline");
    message_fini(&first.message);
    stub_answer(&stub, &second, ERR_ok);
    cr_expect_eq(must_receive(client).status, ERR_ok);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, believes_ok_from_an_attempt_given_up)
{
    struct stub stub;
    struct taken first;
    struct taken second;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    request.options.attempt_ms = 30;
    must_send(client, &request);
    stub_await(&stub, client, &first);
    stub_await(&stub, client, &second);
    stub_answer(&stub, &first, ERR_ok);
    cr_expect_eq(must_receive(client).status, ERR_ok);
    message_fini(&second.message);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, believes_no_refusal_of_an_attempt_given_up)
{
    struct stub stub;
    struct taken first;
    struct taken second;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    request.options.attempt_ms = 30;
    must_send(client, &request);
    stub_await(&stub, client, &first);
    stub_await(&stub, client, &second);
    stub_answer(&stub, &first, ERR_out_of_stock);
    stub_answer(&stub, &second, ERR_ok);
    cr_expect_eq(must_receive(client).status, ERR_ok);
    cr_expect_eq(larder_client_strays(client), 1);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, asks_again_when_told_to_come_later)
{
    struct stub stub;
    struct taken taken;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    must_send(client, &request);
    stub_await(&stub, client, &taken);
    stub_answer(&stub, &taken, ERR_overloaded);
    stub_await(&stub, client, &taken);
    cr_expect(taken.header.again);
    stub_answer(&stub, &taken, ERR_out_of_stock);
    struct larder_reply reply = must_receive(client);
    cr_expect_eq(reply.status, ERR_out_of_stock);
    cr_expect_eq(reply.attempts, 2);
    cr_expect(slice_equal(reply.problem.detail, slice_of("the stub says no")));
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, says_that_it_does_not_know_when_nothing_was_heard)
{
    struct stub stub;
    struct taken taken;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    request.options.timeout_ms = 300;
    must_send(client, &request);
    stub_await(&stub, client, &taken);
    struct larder_reply reply = must_receive(client);
    cr_expect_eq(reply.status, ERR_deadline_exceeded);
    cr_expect(reply.was_sent);
    cr_expect_eq(reply.frame.size, 0);
    cr_expect_gt(reply.problem.detail.size, 0);
    message_fini(&taken.message);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

/* A port that is taken, so that no other test gets it, and that nobody listens on. */
static int
hold_port(char endpoint[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(held, (struct sockaddr *)&address, size), 0);
    cr_assert_eq(getsockname(held, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(endpoint, 64, "tcp://127.0.0.1:%d", ntohs(address.sin_port));
    return held;
}

Test(client, says_that_nothing_was_sent_when_nobody_was_there)
{
    char endpoint[64];
    int held = hold_port(endpoint);
    struct larder_client *client = client_of(endpoint);
    struct larder_request request = ping();
    struct larder_reply reply;
    request.options.timeout_ms = 50;
    cr_expect_eq(larder_client_call(client, &request, &reply), ERR_unavailable);
    cr_expect_not(reply.was_sent);
    larder_client_destroy(&client);
    cr_assert_eq(close(held), 0);
}

Test(client, fails_over_to_the_next_address)
{
    struct stub dead;
    struct stub alive;
    struct taken lost;
    struct taken taken;
    stub_open(&dead);
    stub_open(&alive);
    char endpoints[160];
    (void)snprintf(endpoints, sizeof endpoints, "%s,%s", dead.endpoint, alive.endpoint);
    struct larder_client *client = client_of(endpoints);
    struct larder_request request = ping();
    request.options.attempt_ms = 100;
    must_send(client, &request);
    zmq_pollitem_t items[] = {{.socket = dead.socket, .events = ZMQ_POLLIN}, {.socket = alive.socket, .events = ZMQ_POLLIN}};
    struct larder_reply reply;
    while (zmq_poll(items, 2, 0) == 0) {
        cr_assert_eq(larder_client_receive(client, 5, &reply), ERR_deadline_exceeded);
    }
    struct stub *silent = (items[0].revents & ZMQ_POLLIN) != 0 ? &dead : &alive;
    struct stub *other = silent == &dead ? &alive : &dead;
    stub_take(silent, &lost);
    stub_await(other, client, &taken);
    cr_expect(id_equal(&lost.header.id, &taken.header.id));
    stub_answer(other, &taken, ERR_ok);
    cr_expect_eq(must_receive(client).status, ERR_ok);
    message_fini(&lost.message);
    larder_client_destroy(&client);
    zsock_destroy(&dead.router);
    zsock_destroy(&alive.router);
}

Test(client, says_again_from_the_first_attempt_on_when_told_so)
{
    struct stub stub;
    struct taken taken;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    request.options.again = true;
    request.options.id = id_of_bytes("key", 3);
    must_send(client, &request);
    cr_expect_eq(larder_client_send(client, &request), ERR_idempotency_mismatch, "one id is under way once");
    stub_await(&stub, client, &taken);
    cr_expect(taken.header.again);
    cr_expect(id_equal(&taken.header.id, &request.options.id));
    stub_answer(&stub, &taken, ERR_out_of_stock);
    cr_expect_eq(must_receive(client).status, ERR_out_of_stock);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, counts_what_nobody_waits_for)
{
    struct stub stub;
    struct taken taken;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    must_send(client, &request);
    stub_await(&stub, client, &taken);
    struct id other = id_new();
    struct taken copy = taken;
    zmq_msg_init(&copy.message.envelope[0]);
    zmq_msg_copy(&copy.message.envelope[0], &taken.message.envelope[0]);
    copy.message.has_frames = false;
    stub_say(&stub, &copy, &other, ERR_ok, false);
    stub_answer(&stub, &taken, ERR_ok);
    cr_expect_eq(must_receive(client).status, ERR_ok);
    cr_expect_eq(larder_client_strays(client), 1);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, keeps_to_the_window_and_loses_none_of_it)
{
    struct stub stub;
    stub_open(&stub);
    struct larder_client *client = client_of(stub.endpoint);
    struct larder_request request = ping();
    for (uint64_t i = 0; i < LARDER_WINDOW; i++) {
        request.tag = i;
        must_send(client, &request);
    }
    cr_expect_eq(larder_client_send(client, &request), ERR_overloaded);
    bool seen[LARDER_WINDOW] = {false};
    for (int i = 0; i < LARDER_WINDOW; i++) {
        struct taken taken;
        stub_await(&stub, client, &taken);
        stub_answer(&stub, &taken, ERR_ok);
        struct larder_reply reply = must_receive(client);
        cr_assert_not(seen[reply.tag]);
        seen[reply.tag] = true;
    }
    cr_expect_eq(larder_client_pending(client), 0);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, refuses_an_address_that_is_none)
{
    const char *const bad[] = {"tcp://127.0.0.1:1,nonsense"};
    const char *const empty[] = {""};
    struct larder_client *client = NULL;
    struct err_text why = {""};
    cr_expect_eq(larder_client_create(bad, 1, &client, &why), ERR_wrong_setting);
    cr_expect_not_null(strstr(why.text, "nonsense"));
    cr_expect_eq(larder_client_create(empty, 1, &client, &why), ERR_wrong_setting);
    cr_expect_null(client);
}

/* A stub of its own thread, for calls that wait: refuses the first request as unavailable and answers the second, over inproc. */
static void *
serve_two(void *argument)
{
    struct stub *stub = argument;
    struct taken taken;
    stub_take(stub, &taken);
    stub_answer(stub, &taken, ERR_unavailable);
    stub_take(stub, &taken);
    stub_answer(stub, &taken, ERR_ok);
    return NULL;
}

Test(client, calls_until_the_answer_is_final)
{
    struct stub stub;
    pthread_t thread;
    stub.router = zsock_new(ZMQ_ROUTER);
    stub.socket = zsock_resolve(stub.router);
    cr_assert_neq(zsock_bind(stub.router, "inproc://client-test-call"), -1);
    cr_assert_eq(pthread_create(&thread, NULL, serve_two, &stub), 0);
    struct larder_client *client = client_of("inproc://client-test-call");
    struct larder_request request = ping();
    struct larder_reply reply;
    cr_expect_eq(larder_client_call(client, &request, &reply), ERR_ok);
    cr_expect_eq(reply.attempts, 2);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    larder_client_destroy(&client);
    zsock_destroy(&stub.router);
}

Test(client, does_not_send_what_no_actor_would_take)
{
    static char long_text[5000];
    struct larder_client *client = NULL;
    struct larder_reply reply;
    struct err_text why = {""};
    const char *endpoint = "inproc://nobody";
    cr_assert_eq(larder_client_create(&endpoint, 1, &client, &why), ERR_ok, "%s", why.text);
    struct wire_sales_checkout checkout = {0};
    WIRE_SET(&checkout, sales_checkout, quantity, -1);
    struct larder_request request = {.op = OP_sales_checkout, .body = &checkout};
    cr_expect_eq(larder_client_call(client, &request, &reply), ERR_invalid_field);
    cr_expect(slice_equal(reply.problem.detail, slice_of("sales_checkout.quantity: -1 is not in 1..1000000000")));
    cr_expect_eq(larder_client_pending(client), 0);
    checkout.quantity = 1;
    memset(long_text, 'a', sizeof long_text);
    request.options.auth = (struct slice){(const uint8_t *)long_text, sizeof long_text};
    cr_expect_eq(larder_client_call(client, &request, &reply), ERR_invalid_field);
    request.options = (struct larder_options){.timeout_ms = INT64_MAX, .attempts = 1};
    cr_expect_eq(larder_client_send(client, &request), ERR_ok, "as long as can be");
    cr_expect_eq(larder_client_pending(client), 1);
    larder_client_destroy(&client);
}

Test(client, routes_by_the_product_of_the_body_or_of_its_first_line)
{
    struct wire_stock_get get = {0};
    int shard = -1;
    WIRE_SET(&get, stock_get, product, slice_of("donut"));
    cr_assert_eq(larder_route(OP_stock_get, &get, 3, &shard, NULL), ERR_ok);
    cr_expect_eq(shard, wire_shard_of(slice_of("donut"), 3));
    struct wire_buffer bytes = {0};
    struct wire_stock_take take = {0};
    struct wire_stock_line line = {0};
    struct wire_list lines = {0};
    WIRE_SET(&line, stock_line, product, slice_of("bagel"));
    WIRE_SET(&line, stock_line, quantity, 1);
    wire_list_add(&lines, &stock_line_body, &line, &bytes);
    wire_list_end(&lines, &bytes);
    WIRE_SET(&take, stock_take, lines, lines);
    cr_assert_eq(larder_route(OP_stock_take, &take, 3, &shard, NULL), ERR_ok);
    cr_expect_eq(shard, wire_shard_of(slice_of("bagel"), 3));
    struct wire_stock_commit commit = {0};
    struct err_text why = {""};
    WIRE_SET(&commit, stock_commit, hold, id_new());
    cr_expect_eq(larder_route(OP_stock_commit, &commit, 3, &shard, &why), ERR_invalid_field);
    cr_expect_not_null(strstr(why.text, "stock_commit.product"));
    cr_expect_eq(larder_route(OP_stock_commit, &commit, 1, &shard, &why), ERR_ok);
    wire_buffer_fini(&bytes);
}

Test(pending, finds_each_and_only_what_is_in)
{
    enum { COUNT = 500 };
    struct pending pending;
    struct id ids[COUNT];
    int32_t slots[COUNT];
    pending_init(&pending, COUNT);
    for (int i = 0; i < COUNT; i++) {
        ids[i] = id_new();
        slots[i] = pending_add(&pending, &ids[i]);
        cr_assert_neq(slots[i], PENDING_NONE);
    }
    struct id more = id_new();
    cr_expect_eq(pending_add(&pending, &more), PENDING_NONE);
    for (int i = 0; i < COUNT; i += 2) {
        pending_remove(&pending, slots[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        cr_expect_eq(pending_find(&pending, &ids[i]), i % 2 == 0 ? PENDING_NONE : slots[i]);
        cr_expect_eq(pending_is_taken(&pending, slots[i]), i % 2 != 0);
    }
    cr_expect_eq(pending.count, COUNT / 2);
    pending_fini(&pending);
}
