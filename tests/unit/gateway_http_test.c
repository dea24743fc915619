/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Claims about the gateway as a whole, over real connections. Behind it stand ROUTERs that play sales, each shard of stock and the
 * dlq, all in one thread. The factory is away.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <czmq.h>

#include "gateway.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define SHARDS 2
#define ACTORS (2 + SHARDS)
#define ANSWER_MAX 16384
#define WAIT_S (patience_ms(5000) / 1000)
#define NOT_NEEDED "[\"user/0\",\"product/0\",\"order/0\",\"payment/0\",\"dlq/0\"]"
#define HEAD " HTTP/1.1\r\nHost: x\r\n"

/* --- the actors' side --- */

static atomic_bool actors_are_ending;
static struct message held;
static bool is_holding;

static void
answer(void *raw, struct message *message, const char *status, const struct wire_body *body, const void *reply)
{
    struct wire_buffer head = {0};
    struct wire_buffer frame = {0};
    struct wire_request_header request;
    struct wire_reply_header header = {0};
    struct err_text why;
    cr_assert_eq(wire_decode(&request_header_body, message_header(message), &request, &why), ERR_ok, "%s", why.text);
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, request.id);
    WIRE_SET(&header, reply_header, status, slice_of(status));
    if (WIRE_HAS(&request, request_header, again)) {
        WIRE_SET(&header, reply_header, again, request.again);
        WIRE_SET(&header, reply_header, replayed, true);
    }
    wire_encode(&reply_header_body, &header, &head);
    wire_encode(body, reply, &frame);
    cr_assert_eq(message_reply(raw, message, wire_buffer_slice(&head), wire_buffer_slice(&frame)), MESSAGE_SENT);
    wire_buffer_fini(&head);
    wire_buffer_fini(&frame);
}

static void
answer_receipt(void *raw, struct message *message, const struct wire_sales_checkout *checkout)
{
    struct wire_request_header request;
    struct wire_sales_receipt receipt = {0};
    struct err_text why;
    cr_assert_eq(wire_decode(&request_header_body, message_header(message), &request, &why), ERR_ok);
    WIRE_SET(&receipt, sales_receipt, id, request.id);
    WIRE_SET(&receipt, sales_receipt, product, WIRE_HAS(checkout, sales_checkout, product) ? checkout->product : slice_of("donut"));
    WIRE_SET(&receipt, sales_receipt, quantity, WIRE_HAS(checkout, sales_checkout, quantity) ? checkout->quantity : 1);
    WIRE_SET(&receipt, sales_receipt, available, 2);
    WIRE_SET(&receipt, sales_receipt, version, 8);
    answer(raw, message, "ok", &sales_receipt_body, &receipt);
}

/* `hold` is not answered until `free` comes, which answers both; `gone` is refused; all else is sold. */
static void
play_sales(void *raw, struct message *message)
{
    struct wire_sales_checkout checkout;
    struct err_text why;
    cr_assert_eq(wire_decode(&sales_checkout_body, message_body(message), &checkout, &why), ERR_ok, "%s", why.text);
    if (slice_equal(checkout.product, slice_of("hold")) && !is_holding) {
        held = *message;
        message->has_frames = false;
        message->envelope_count = 0;
        is_holding = true;
        return;
    }
    if (slice_equal(checkout.product, slice_of("free")) && is_holding) {
        struct wire_sales_checkout first = {0};
        answer_receipt(raw, &held, &first);
        message_fini(&held);
        is_holding = false;
    }
    if (slice_equal(checkout.product, slice_of("gone"))) {
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of("gone: 1 asked, 0 there"));
        WIRE_SET(&problem, problem, available, 0);
        answer(raw, message, "out_of_stock", &problem_body, &problem);
        return;
    }
    answer_receipt(raw, message, &checkout);
}

/* Each shard has three products: a0 a1 a2, b0 b1 b2. */
static void
play_stock(void *raw, struct message *message, int shard)
{
    struct wire_stock_list request;
    struct wire_stock_levels reply = {0};
    struct wire_list list = {0};
    struct wire_buffer elements = {0};
    struct err_text why;
    char name[3] = {(char)('a' + shard), '0', 0};
    cr_assert_eq(wire_decode(&stock_list_body, message_body(message), &request, &why), ERR_ok, "%s", why.text);
    int64_t limit = WIRE_HAS(&request, stock_list, limit) ? request.limit : 100;
    int first = WIRE_HAS(&request, stock_list, after) ? request.after.data[1] - '0' + 1 : 0;
    for (int i = first; i < 3 && i - first < limit; i++) {
        struct wire_stock_level level = {0};
        name[1] = (char)('0' + i);
        WIRE_SET(&level, stock_level, product, slice_of(name));
        WIRE_SET(&level, stock_level, on_hand, 1);
        WIRE_SET(&level, stock_level, reserved, 0);
        WIRE_SET(&level, stock_level, available, 1);
        WIRE_SET(&level, stock_level, incoming, 0);
        WIRE_SET(&level, stock_level, version, 1);
        wire_list_add(&list, &stock_level_body, &level, &elements);
    }
    wire_list_end(&list, &elements);
    WIRE_SET(&reply, stock_levels, levels, list);
    WIRE_SET(&reply, stock_levels, has_more, first + limit < 3);
    answer(raw, message, "ok", &stock_levels_body, &reply);
    wire_buffer_fini(&elements);
}

/* Keeps what it is given; a request of the operation `stock.count` is one too many. */
static void
play_dlq(void *raw, struct message *message)
{
    struct wire_dlq_hand_over order;
    struct wire_letter letter = {0};
    struct err_text why;
    cr_assert_eq(wire_decode(&dlq_hand_over_body, message_body(message), &order, &why), ERR_ok, "%s", why.text);
    if (slice_equal(order.op, slice_of("stock.count"))) {
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of("there are too many letters"));
        WIRE_SET(&problem, problem, letter, id_derive(&order.request, "letter/request"));
        answer(raw, message, "overloaded", &problem_body, &problem);
        return;
    }
    WIRE_SET(&letter, letter, id, id_derive(&order.request, "letter/request"));
    WIRE_SET(&letter, letter, number, 1);
    WIRE_SET(&letter, letter, state, slice_of("waiting"));
    WIRE_SET(&letter, letter, kind, slice_of("request"));
    WIRE_SET(&letter, letter, reason, slice_of("unavailable"));
    WIRE_SET(&letter, letter, error, slice_of(""));
    WIRE_SET(&letter, letter, destination, slice_of(order.shard == 1 ? "there/1" : "there/0"));
    WIRE_SET(&letter, letter, key, slice_of(""));
    WIRE_SET(&letter, letter, attempts, 0);
    WIRE_SET(&letter, letter, first, 0);
    WIRE_SET(&letter, letter, last, 0);
    WIRE_SET(&letter, letter, opened, 0);
    WIRE_SET(&letter, letter, changed, 0);
    WIRE_SET(&letter, letter, type, order.op);
    WIRE_SET(&letter, letter, request, order.request);
    answer(raw, message, "ok", &letter_body, &letter);
}

static void
play(int number, void *raw, struct message *message)
{
    if (number == 0) {
        play_sales(raw, message);
    } else if (number == 1) {
        play_dlq(raw, message);
    } else {
        play_stock(raw, message, number - 2);
    }
}

static void
actors_run(zsock_t *pipe, void *argument)
{
    static const char *const names[] = {"sales", "dlq", "stock"};
    zsock_t *sockets[ACTORS];
    zmq_pollitem_t items[ACTORS];
    char endpoint[ENDPOINT_MAX];
    (void)argument;
    for (int i = 0; i < ACTORS; i++) {
        sockets[i] = zsock_new(ZMQ_ROUTER);
        topology_inproc(names[i < 2 ? i : 2], i < 2 ? 0 : i - 2, ENDPOINT_REQUESTS, endpoint);
        cr_assert_geq(zsock_bind(sockets[i], "%s", endpoint), 0);
        items[i] = (zmq_pollitem_t){.socket = zsock_resolve(sockets[i]), .events = ZMQ_POLLIN};
    }
    zsock_signal(pipe, 0);
    while (!atomic_load(&actors_are_ending)) {
        struct message message;
        zmq_poll(items, ACTORS, 20);
        for (int i = 0; i < ACTORS; i++) {
            while (message_receive(items[i].socket, true, &message) == MESSAGE_OK) {
                play(i, items[i].socket, &message);
                message_fini(&message);
            }
        }
    }
    if (is_holding) {
        message_fini(&held);
    }
    for (int i = 0; i < ACTORS; i++) {
        zsock_destroy(&sockets[i]);
    }
}

/* --- the gateway --- */

static struct settings settings;
static struct gateway *gateway;
static zactor_t *actors;
static int port;

static void
prepare(void)
{
    struct err_text why;
    setenv("ZSYS_SIGHANDLER", "false", 1);
    signal(SIGPIPE, SIG_IGN);
    zsys_init();
    cr_assert_eq(settings_init(&settings, &why), ERR_ok, "%s", why.text);
    (void)snprintf(settings.http, sizeof settings.http, "127.0.0.1:0");
    settings.stock_shards = SHARDS;
    settings.request_timeout_ms = 2000;
    (void)snprintf(settings.hosts, sizeof settings.hosts, "x, *.y");
    settings.base_port = 1; /* the factory would be at port 8, where nobody is, whatever runs on this machine */
}

static void
start_gateway(void)
{
    struct err_text why;
    cr_assert_eq(gateway_start(&settings, -1, &gateway, &why), ERR_ok, "%s", why.text);
    port = gateway_port(gateway);
}

static void
start(void)
{
    prepare();
    topology_set_local("sales");
    topology_set_local("stock");
    topology_set_local("dlq");
    actors = zactor_new(actors_run, NULL);
    start_gateway();
}

static void
stop(void)
{
    gateway_stop(&gateway);
    atomic_store(&actors_are_ending, true);
    zactor_destroy(&actors);
    zsys_shutdown();
}

/* --- the client's side --- */

static int
open_connection(void)
{
    const struct timeval wait = {.tv_sec = WAIT_S};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait), 0);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void
send_bytes(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        cr_assert_gt(sent, 0);
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void
post(int fd, const char *path, const char *headers, const char *body)
{
    char text[4096];
    const char *type = body[0] != 0 ? "Content-Type: application/json\r\n" : "";
    int size =
        snprintf(text, sizeof text, "POST %s" HEAD "%s%sContent-Length: %zu\r\n\r\n%s", path, headers, type, strlen(body), body);
    send_bytes(fd, text, (size_t)size);
}

static void
get(int fd, const char *path)
{
    char text[512];
    int size = snprintf(text, sizeof text, "GET %s" HEAD "\r\n", path);
    send_bytes(fd, text, (size_t)size);
}

static bool
is_whole(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strstr(text, "Content-Length: ");
    return end != NULL && (length == NULL || length > end || strlen(end + 4) >= strtoul(length + 16, NULL, 10));
}

/* Reads one answer; its status, 0 when the connection ended without one. */
static int
receive(int fd, char text[ANSWER_MAX])
{
    size_t size = 0;
    text[0] = 0;
    while (!is_whole(text) && size < ANSWER_MAX - 1) {
        ssize_t got = recv(fd, text + size, ANSWER_MAX - 1 - size, 0);
        cr_assert(got >= 0, "no answer within %d s, so far: %s", WAIT_S, text);
        if (got == 0) {
            return 0;
        }
        size += (size_t)got;
        text[size] = 0;
    }
    return (int)strtol(text + 9, NULL, 10);
}

static bool
is_closed(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static int64_t
counter(const char *name, const char *labels)
{
    return metric_value(metric(METRIC_COUNTER, name, labels, ""));
}

/* --- claims --- */

TestSuite(gateway_http, .init = start, .fini = stop, .timeout = 30);

Test(gateway_http, sells)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/checkout", "", "{\"productSku\":\"CP-502101\",\"quantity\":2}");
    cr_assert_eq(receive(fd, text), 201, "%s", text);
    cr_assert(strstr(text, "\"product\":\"CP-502101\",\"quantity\":2,\"available\":2,\"version\":8}") != NULL, "%s", text);
    post(fd, "/checkout", "", "");
    cr_assert_eq(receive(fd, text), 201, "%s", text);
    cr_assert(strstr(text, "Content-Type: application/json") != NULL);
    close(fd);
}

Test(gateway_http, passes_a_refusal_on_as_a_problem)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/checkout", "", "{\"product\":\"gone\"}");
    cr_assert_eq(receive(fd, text), 409, "%s", text);
    cr_assert(strstr(text, "Content-Type: application/problem+json") != NULL);
    cr_assert(strstr(text, "urn:larder:problem:out_of_stock") != NULL);
    cr_assert(strstr(text, "\"available\":0") != NULL);
    close(fd);
}

Test(gateway_http, marks_a_stored_answer)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/checkout", "Idempotency-Key: \"k\"\r\n", "");
    cr_assert_eq(receive(fd, text), 201, "%s", text);
    cr_assert(strstr(text, "Idempotent-Replayed: true") != NULL, "%s", text);
    post(fd, "/checkout", "", "");
    cr_assert_eq(receive(fd, text), 201);
    cr_assert(strstr(text, "Idempotent-Replayed") == NULL);
    close(fd);
}

Test(gateway_http, answers_both_requests_that_have_one_key)
{
    char first[ANSWER_MAX];
    char second[ANSWER_MAX];
    int one = open_connection();
    int two = open_connection();
    int three = open_connection();
    post(one, "/checkout", "Idempotency-Key: k\r\n", "{\"product\":\"hold\"}");
    post(two, "/checkout", "Idempotency-Key: k\r\n", "{\"product\":\"hold\"}");
    post(three, "/checkout", "", "{\"product\":\"free\"}");
    cr_assert_eq(receive(one, first), 201, "%s", first);
    cr_assert_eq(receive(two, second), 201, "%s", second);
    cr_assert_eq(receive(three, first), 201);
    close(one);
    close(two);
    close(three);
}

Test(gateway_http, refuses_another_body_under_a_key_that_is_being_used)
{
    char text[ANSWER_MAX];
    int one = open_connection();
    int two = open_connection();
    post(one, "/checkout", "Idempotency-Key: k\r\n", "{\"product\":\"hold\"}");
    /* one thread serves both: when this is answered, the first is under way */
    get(two, "/livez");
    cr_assert_eq(receive(two, text), 200);
    post(two, "/checkout", "Idempotency-Key: k\r\n", "{\"product\":\"hold\",\"quantity\":2}");
    cr_assert_eq(receive(two, text), 422, "%s", text);
    cr_assert(strstr(text, "idempotency_mismatch") != NULL);
    close(one);
    close(two);
}

Test(gateway_http, ends_in_504_and_drops_the_late_answer)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/checkout", "", "{\"product\":\"hold\"}");
    cr_assert_eq(receive(fd, text), 504, "%s", text);
    cr_assert(strstr(text, "deadline_exceeded") != NULL);
    post(fd, "/checkout", "", "{\"product\":\"free\"}");
    cr_assert_eq(receive(fd, text), 201, "%s", text);
    cr_assert(strstr(text, "\"product\":\"free\"") != NULL, "%s", text);
    cr_assert_eq(counter("larder_gateway_late_replies_total", ""), 1);
    close(fd);
}

Test(gateway_http, says_at_once_that_an_actor_is_away)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    get(fd, "/v1/productions");
    cr_assert_eq(receive(fd, text), 503, "%s", text);
    cr_assert(strstr(text, "Retry-After: 1") != NULL);
    cr_assert(strstr(text, "factory/0 is not there") != NULL);
    get(fd, "/readyz");
    cr_assert_eq(receive(fd, text), 503);
    cr_assert(strstr(text, "\"away\":[\"factory/0\"]") != NULL, "%s", text);
    close(fd);
}

Test(gateway_http, has_a_request_done_later_that_asks_for_it)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/checkout", "Prefer: wait=1\r\nPrefer: x, Respond-Async\r\n", "{\"product\":\"a\"}");
    cr_assert_eq(receive(fd, text), 202, "%s", text);
    cr_assert(strstr(text, "Preference-Applied: respond-async") != NULL, "%s", text);
    cr_assert(strstr(text, "\"type\":\"sales.checkout\"") != NULL, "%s", text);
    const char *location = strstr(text, "Location: /v1/letters/");
    const char *id = strstr(text, "{\"id\":\"");
    cr_assert(location != NULL && id != NULL && memcmp(location + 22, id + 7, 36) == 0, "%s", text);

    post(fd, "/v1/stock/a:adjust", "Prefer: respond-async\r\n", "{\"delta\":1}");
    cr_assert_eq(receive(fd, text), 202, "%s", text);
    cr_assert(strstr(text, wire_shard_of(slice_of("a"), SHARDS) == 1 ? "there/1" : "there/0") != NULL, "%s", text);

    post(fd, "/checkout", "Prefer: respond-async\r\n", "{\"quantity\":0}");
    cr_assert_eq(receive(fd, text), 400, "%s", text);
    cr_assert(strstr(text, "quantity: must be from 1") != NULL && strstr(text, "Preference-Applied") == NULL, "%s", text);
    close(fd);
}

Test(gateway_http, gives_the_same_letter_for_the_same_key)
{
    char text[ANSWER_MAX];
    char first[64];
    int fd = open_connection();
    post(fd, "/checkout", "Prefer: respond-async\r\nIdempotency-Key: k\r\n", "");
    cr_assert_eq(receive(fd, text), 202, "%s", text);
    (void)snprintf(first, sizeof first, "%.58s", strstr(text, "Location: "));
    post(fd, "/checkout", "Prefer: respond-async\r\nIdempotency-Key: k\r\n", "");
    cr_assert_eq(receive(fd, text), 202, "%s", text);
    cr_assert(strstr(text, first) != NULL, "%s is not in %s", first, text);
    close(fd);
}

Test(gateway_http, passes_on_why_a_request_is_not_kept)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    post(fd, "/v1/stock/a:count", "Prefer: respond-async\r\n", "{\"counted\":1}");
    cr_assert_eq(receive(fd, text), 503, "%s", text);
    cr_assert(strstr(text, "there are too many letters") != NULL && strstr(text, "\"letter\":\"") != NULL, "%s", text);
    cr_assert(strstr(text, "Retry-After: 1") != NULL && strstr(text, "Preference-Applied") == NULL, "%s", text);
    close(fd);
}

Test(gateway_http, has_the_factory_asked_later_by_itself)
{
    static const char *const paths[] = {"/", "/v1/productions", "/v1/productions/0198f2a0-1c00-7a3b-8c4d-5e6f708192a3:cancel",
                                        "/callback/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    char text[ANSWER_MAX];
    int fd = open_connection();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        post(fd, paths[i], "", "");
        cr_assert_eq(receive(fd, text), 202, "%s: %s", paths[i], text);
        cr_assert(strstr(text, "Location: /v1/letters/") != NULL && strstr(text, "\"type\":\"factory.") != NULL, "%s", text);
        cr_assert(strstr(text, "Preference-Applied") == NULL, "%s", text);
    }
    close(fd);
}

Test(gateway_http, pages_over_all_shards)
{
    char text[ANSWER_MAX];
    char next[128];
    int fd = open_connection();
    get(fd, "/v1/stock?limit=4");
    cr_assert_eq(receive(fd, text), 200, "%s", text);
    cr_assert(strstr(text, "\"a2\"") != NULL && strstr(text, "\"b0\"") != NULL && strstr(text, "\"b1\"") == NULL, "%s", text);
    cr_assert(strstr(text, "\"has_more\":true") != NULL);
    const char *link = strstr(text, "Link: </v1/stock?cursor=");
    cr_assert(link != NULL, "%s", text);
    (void)snprintf(next, sizeof next, "%.*s", (int)(strchr(link, '>') - link - 7), link + 7);
    get(fd, next);
    cr_assert_eq(receive(fd, text), 200, "%s", text);
    cr_assert(strstr(text, "\"b0\"") == NULL && strstr(text, "\"b1\"") != NULL && strstr(text, "\"b2\"") != NULL, "%s", text);
    cr_assert(strstr(text, "\"has_more\":false") != NULL && strstr(text, "Link:") == NULL);
    close(fd);
}

Test(gateway_http, refuses_a_cursor_of_a_shard_that_is_not_there)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    get(fd, "/v1/stock?cursor=OTpkb251dA");
    cr_assert_eq(receive(fd, text), 400, "%s", text);
    cr_assert(strstr(text, "cursor: ") != NULL);
    close(fd);
}

struct head_row {
    char head[192];
    int status; /* 0: the connection just ends */
    bool closes;
};

ParameterizedTestParameters(gateway_http, judges_heads)
{
    static struct head_row rows[] = {
        {"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
        {"GET /livez HTTP/1.0\r\n\r\n", 200, true},
        {"GET http://x:80/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200, false},
        {"GET /livez HTTP/1.1\r\n\r\n", 400, true},
        {"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, true},
        {"GET /livez HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400, true},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400, true},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 400,
         true},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501, true},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: "
         "chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         201, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 415, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 201, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 415, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n", 400, true},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nIdempotency-Key: a b\r\nContent-Length: 0\r\n\r\n", 400, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}", 201,
         false},
        {"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 9437184\r\n\r\n", 413, true},
        {"POST /v1/stock/a:adjust HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIf-Match: \"1\"\r\nContent-Length: "
         "11\r\n\r\n{\"delta\":1}",
         501, false},
        {"GET /product/a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET /product/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n", 400, false},
        {"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404, false},
        {"PUT /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", 405, false},
        {"OPTIONS /checkout HTTP/1.1\r\nHost: x\r\n\r\n", 204, false},
        {"POST /nothing HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 404, true},
        {"\x16\x03\x01\r\n\r\n", 400, true},
    };
    return cr_make_param_array(struct head_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct head_row *row, gateway_http, judges_heads)
{
    char text[ANSWER_MAX];
    int fd = open_connection();
    send_bytes(fd, row->head, strlen(row->head));
    cr_assert_eq(receive(fd, text), row->status, "%s: %s", row->head, text);
    if (row->closes) {
        cr_assert(is_closed(fd), "%s", row->head);
    } else {
        get(fd, "/livez");
        cr_assert_eq(receive(fd, text), 200, "%s: %s", row->head, text);
    }
    close(fd);
}

Test(gateway_http, refuses_a_head_over_8_KiB)
{
    char text[ANSWER_MAX];
    char head[10000];
    int fd = open_connection();
    int size = snprintf(head, sizeof head, "GET /livez" HEAD "X: %09000d\r\n\r\n", 0);
    send_bytes(fd, head, (size_t)size);
    cr_assert_eq(receive(fd, text), 431, "%s", text);
    cr_assert(strstr(text, "header_too_large") != NULL);
    close(fd);
}

Test(gateway_http, reads_a_body_over_1_MiB_to_its_end_and_refuses_it)
{
    char text[ANSWER_MAX];
    static char piece[65536];
    int fd = open_connection();
    memset(piece, 'x', sizeof piece);
    int size = snprintf(text, sizeof text, "POST /checkout" HEAD "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n",
                        2 * 1024 * 1024);
    send_bytes(fd, text, (size_t)size);
    for (int i = 0; i < 32; i++) {
        send_bytes(fd, piece, sizeof piece);
    }
    cr_assert_eq(receive(fd, text), 413, "%s", text);
    get(fd, "/livez");
    cr_assert_eq(receive(fd, text), 200, "%s", text);
    close(fd);
}

/* An answer that comes while the requests of others are being read was once told only at the next tick. */
Test(gateway_http, wakes_for_every_answer, .timeout = 15)
{
    char text[ANSWER_MAX];
    int fds[8];
    for (int i = 0; i < 8; i++) {
        fds[i] = open_connection();
    }
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 8; i++) {
            post(fds[i], "/checkout", "", "{\"product\":\"a\"}");
        }
        for (int i = 0; i < 8; i++) {
            cr_assert_eq(receive(fds[i], text), 201, "%s", text);
        }
    }
    for (int i = 0; i < 8; i++) {
        close(fds[i]);
    }
}

Test(gateway_http, outlives_clients_that_leave)
{
    char text[ANSWER_MAX];
    int fd = -1;
    for (int i = 0; i < 20; i++) {
        fd = open_connection();
        post(fd, "/checkout", "", "{\"product\":\"a\"}");
        close(fd);
        fd = open_connection();
        send_bytes(fd, "POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{", 58);
        close(fd);
    }
    fd = open_connection();
    post(fd, "/checkout", "", "");
    cr_assert_eq(receive(fd, text), 201, "%s", text);
    close(fd);
}

Test(gateway_http, drains)
{
    char text[ANSWER_MAX];
    int waiting = open_connection();
    int idle = open_connection();
    post(waiting, "/checkout", "", "{\"product\":\"hold\"}");
    get(idle, "/livez");
    cr_assert_eq(receive(idle, text), 200);
    gateway_drain(gateway);
    get(idle, "/readyz");
    cr_assert_eq(receive(idle, text), 503, "%s", text);
    cr_assert(strstr(text, "draining") != NULL && strstr(text, "Connection: close") != NULL, "%s", text);
    /* the thread closes its socket a moment later; the suite's time is the limit */
    for (int late = open_connection(); late >= 0; late = open_connection()) {
        close(late);
    }
    gateway_stop(&gateway);
    int status = receive(waiting, text);
    cr_assert(status == 503 || status == 504, "%s", text);
    cr_assert(strstr(text, "Connection: close") != NULL);
    close(waiting);
    close(idle);
}

Test(gateway_http, does_not_share_its_port)
{
    struct settings other = settings;
    struct gateway *second = NULL;
    struct err_text why;
    (void)snprintf(other.http, sizeof other.http, "127.0.0.1:%d", port);
    cr_assert_eq(gateway_start(&other, -1, &second, &why), ERR_wrong_setting);
    cr_assert(strstr(why.text, "somebody listens there already") != NULL, "%s", why.text);
    cr_assert_null(second);
}

/* --- other settings --- */

static const char *
find_stock(void *argument)
{
    (void)argument;
    return "stock/0";
}

Test(gateway_limits, refuse_connections_beyond_the_setting, .fini = stop, .timeout = 30)
{
    char text[ANSWER_MAX];
    int fds[20];
    int refused = 0;
    prepare();
    settings.connections = 16;
    start_gateway();
    for (int i = 0; i < 20; i++) {
        fds[i] = open_connection();
    }
    for (int i = 0; i < 20; i++) {
        get(fds[i], "/nothing");
        if (receive(fds[i], text) == 503) {
            cr_assert(strstr(text, "Retry-After: 1") != NULL && strstr(text, "overloaded") != NULL, "%s", text);
            cr_assert(is_closed(fds[i]));
            refused++;
        }
    }
    cr_assert_eq(refused, 4);
    for (int i = 0; i < 3; i++) {
        static const char *const asked[] = {"/livez", "/readyz", "/checkout"};
        int fd = open_connection();
        get(fd, asked[i]);
        cr_assert_eq(receive(fd, text), i == 0 ? 200 : 503, "%s", text);
        cr_assert_eq(strstr(text, "overloaded") != NULL, i == 2, "%s", text);
        cr_assert(strstr(text, "Connection: close") != NULL && is_closed(fd), "%s", text);
        close(fd);
    }
    for (int i = 0; i < 20; i++) {
        close(fds[i]);
    }
}

Test(gateway_limits, ready_asks_the_actors_of_this_process, .fini = stop, .timeout = 30)
{
    char text[ANSWER_MAX];
    prepare();
    topology_set_local("sales");
    topology_set_local("stock");
    topology_set_local("factory");
    gateway_set_health(find_stock, NULL);
    actors = zactor_new(actors_run, NULL);
    start_gateway();
    int fd = open_connection();
    get(fd, "/readyz");
    cr_assert_eq(receive(fd, text), 503, "%s", text);
    cr_assert(strstr(text, "\"status\":\"not ready\",\"away\":[\"stock/0\"],\"optional_away\":" NOT_NEEDED "}") != NULL, "%s", text);
    close(fd);
}

static const char *
find_none(void *argument)
{
    (void)argument;
    return NULL;
}

Test(gateway_limits, ready_does_not_need_the_dlq_or_the_restaurant, .fini = stop, .timeout = 30)
{
    char text[ANSWER_MAX];
    prepare();
    topology_set_local("sales");
    topology_set_local("stock");
    topology_set_local("factory");
    gateway_set_health(find_none, NULL);
    actors = zactor_new(actors_run, NULL);
    start_gateway();
    int fd = open_connection();
    get(fd, "/readyz");
    cr_assert_eq(receive(fd, text), 200, "%s", text);
    cr_assert(strstr(text, "{\"status\":\"ready\",\"optional_away\":" NOT_NEEDED "}") != NULL, "%s", text);
    close(fd);
}

Test(gateway_limits, say_when_neither_the_actor_nor_the_dlq_is_there, .fini = stop, .timeout = 30)
{
    char text[ANSWER_MAX];
    prepare();
    topology_set_local("sales");
    topology_set_local("stock");
    actors = zactor_new(actors_run, NULL);
    start_gateway();
    int fd = open_connection();
    post(fd, "/", "", "");
    cr_assert_eq(receive(fd, text), 503, "%s", text);
    cr_assert(strstr(text, "factory/0 is not there, and it cannot be kept for later: dlq/0 is not there") != NULL, "%s", text);
    cr_assert(strstr(text, "Retry-After: 1") != NULL, "%s", text);
    post(fd, "/checkout", "Prefer: respond-async\r\n", "");
    cr_assert_eq(receive(fd, text), 503, "%s", text);
    cr_assert(strstr(text, "\"detail\":\"dlq/0 is not there\"") != NULL, "%s", text);
    close(fd);
}

Test(gateway_limits, serve_with_several_threads, .fini = stop, .timeout = 30)
{
    char text[ANSWER_MAX];
    prepare();
    topology_set_local("sales");
    topology_set_local("stock");
    settings.gateway_threads = 3;
    actors = zactor_new(actors_run, NULL);
    start_gateway();
    for (int i = 0; i < 30; i++) {
        int fd = open_connection();
        post(fd, "/checkout", "", "{\"product\":\"a\"}");
        cr_assert_eq(receive(fd, text), 201, "%s", text);
        close(fd);
    }
}
