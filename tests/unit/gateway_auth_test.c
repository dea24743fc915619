/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Claims about who may ask, over real connections. Behind the gateway stand ROUTERs that play user (who knows the keys), sales, order,
 * product, payment and dlq; they keep the header of the last request, in which the asker stands.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <czmq.h>
#include <jwt.h>

#include "kit/base/clock.h"
#include "gateway.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "kit/http/token.h"
#include "kit/settings/topology.h"

#define UUID_KEY "3f0f6a62-94cb-4b2e-9c3a-0d6b0a1fe0c7"
#define ACTORS 6
#define ANSWER_MAX 16384
#define TOKEN_SIZE (TOKEN_MAX + 1)
#define HOUR_MS INT64_C(3600000)
#define SECRET_WORD "Bearer "

static const char *const names[ACTORS] = {"user", "sales", "order", "product", "payment", "dlq"};

/* --- the actors' side --- */

/* What the last request said of who asks; written by the actors' thread before it answers. */
struct seen {
    bool has_role;
    bool has_user;
    char role[17];
    struct id user;
    struct id id;
    char op[65];
    char principal[129]; /* of a request that is handed over */
    char secret[65];
    int64_t version; /* of a product.put; -1: none */
    char body[64];   /* of a webhook */
};

static struct seen seen;
static struct token_key key;      /* whose public half the user actor tells */
static struct token_key stranger; /* that it does not know */
static atomic_bool actors_are_ending;
static atomic_bool is_silent; /* user does not answer */
static atomic_int asked;      /* how often for keys */
static atomic_bool knows_stranger;
static _Atomic int64_t retired_ms; /* since when the stranger's key signs no more; 0: it does */

static void
copy(char *out, size_t size, struct slice text)
{
    (void)snprintf(out, size, "%.*s", (int)text.size, (const char *)text.data);
}

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
    }
    wire_encode(&reply_header_body, &header, &head);
    wire_encode(body, reply, &frame);
    cr_assert_eq(message_reply(raw, message, wire_buffer_slice(&head), wire_buffer_slice(&frame)), MESSAGE_SENT);
    wire_buffer_fini(&head);
    wire_buffer_fini(&frame);
}

static void
play_keys(void *raw, struct message *message)
{
    struct wire_user_key_set set = {0};
    struct wire_list list = {0};
    struct wire_buffer elements = {0};
    const struct token_key *keys[] = {&key, &stranger};
    atomic_fetch_add(&asked, 1);
    if (atomic_load(&is_silent)) {
        return;
    }
    for (int i = 0; i < (atomic_load(&knows_stranger) ? 2 : 1); i++) {
        struct wire_user_key told = {0};
        WIRE_SET(&told, user_key, kid, slice_of(keys[i]->kid));
        WIRE_SET(&told, user_key, pem, slice_of(keys[i]->public_pem));
        if (i == 1 && atomic_load(&retired_ms) != 0) {
            WIRE_SET(&told, user_key, retired, atomic_load(&retired_ms));
        }
        wire_list_add(&list, &user_key_body, &told, &elements);
    }
    wire_list_end(&list, &elements);
    WIRE_SET(&set, user_key_set, keys, list);
    answer(raw, message, "ok", &user_key_set_body, &set);
    wire_buffer_fini(&elements);
}

/* Keeps who asked. */
static void
see(struct message *message)
{
    struct wire_request_header header;
    struct err_text why;
    struct wire_dlq_hand_over order;
    struct wire_product_put put;
    struct wire_payment_webhook webhook;
    cr_assert_eq(wire_decode(&request_header_body, message_header(message), &header, &why), ERR_ok, "%s", why.text);
    seen = (struct seen){.id = header.id, .version = -1};
    seen.has_role = WIRE_HAS(&header, request_header, role);
    seen.has_user = WIRE_HAS(&header, request_header, user);
    seen.user = header.user;
    copy(seen.op, sizeof seen.op, header.op);
    if (seen.has_role) {
        copy(seen.role, sizeof seen.role, header.role);
    }
    copy(seen.secret, sizeof seen.secret, WIRE_HAS(&header, request_header, secret) ? header.secret : slice_of(""));
    if (strcmp(seen.op, "dlq.hand_over") == 0) {
        cr_assert_eq(wire_decode(&dlq_hand_over_body, message_body(message), &order, &why), ERR_ok, "%s", why.text);
        copy(seen.principal, sizeof seen.principal, WIRE_HAS(&order, dlq_hand_over, principal) ? order.principal : slice_of(""));
    }
    if (strcmp(seen.op, "product.put") == 0) {
        cr_assert_eq(wire_decode(&product_put_body, message_body(message), &put, &why), ERR_ok, "%s", why.text);
        seen.version = WIRE_HAS(&put, product_put, version) ? put.version : -1;
    }
    if (strcmp(seen.op, "payment.webhook") == 0) {
        cr_assert_eq(wire_decode(&payment_webhook_body, message_body(message), &webhook, &why), ERR_ok, "%s", why.text);
        copy(seen.body, sizeof seen.body, webhook.body);
    }
}

static void
answer_card(void *raw, struct message *message)
{
    struct wire_product_card card = {0};
    WIRE_SET(&card, product_card, product, slice_of("burger-1"));
    WIRE_SET(&card, product_card, name, slice_of("Burger"));
    WIRE_SET(&card, product_card, category, slice_of("burger"));
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, 2500);
    WIRE_SET(&price, money, currency, slice_of("BRL"));
    WIRE_SET(&card, product_card, price, price);
    WIRE_SET(&card, product_card, active, true);
    WIRE_SET(&card, product_card, version, 7);
    WIRE_SET(&card, product_card, changed, 0);
    answer(raw, message, "ok", &product_card_body, &card);
}

/* An order is out of stock when it is placed, cannot go where it is sent, and else is not there. */
static void
answer_order(void *raw, struct message *message)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("no"));
    if (strcmp(seen.op, "order.place") == 0) {
        WIRE_SET(&problem, problem, product, slice_of("burger-1"));
        WIRE_SET(&problem, problem, available, 2);
        WIRE_SET(&problem, problem, order, seen.id);
        answer(raw, message, "out_of_stock", &problem_body, &problem);
    } else if (strcmp(seen.op, "order.advance") == 0) {
        WIRE_SET(&problem, problem, status, slice_of("ready"));
        WIRE_SET(&problem, problem, allowed, slice_of("completed, cancelled"));
        answer(raw, message, "wrong_transition", &problem_body, &problem);
    } else {
        answer(raw, message, "unknown_order", &problem_body, &problem);
    }
}

static void
play(int number, void *raw, struct message *message)
{
    struct wire_problem problem = {0};
    struct wire_payment_noted noted = {0};
    WIRE_SET(&problem, problem, detail, slice_of("seen"));
    struct wire_request_header header;
    struct err_text why;
    cr_assert_eq(wire_decode(&request_header_body, message_header(message), &header, &why), ERR_ok);
    if (slice_equal(header.op, slice_of("user.keys"))) {
        play_keys(raw, message);
        return;
    }
    see(message);
    if (number == 2) {
        answer_order(raw, message);
    } else if (number == 3) {
        answer_card(raw, message);
    } else if (number == 4) {
        WIRE_SET(&noted, payment_noted, outcome, slice_of(strcmp(seen.body, "early") == 0 ? "parked" : "applied"));
        answer(raw, message, "ok", &payment_noted_body, &noted);
    } else {
        answer(raw, message, "wrong_transition", &problem_body, &problem);
    }
}

static void
actors_run(zsock_t *pipe, void *argument)
{
    zsock_t *sockets[ACTORS];
    zmq_pollitem_t items[ACTORS];
    char endpoint[ENDPOINT_MAX];
    (void)argument;
    for (int i = 0; i < ACTORS; i++) {
        sockets[i] = zsock_new(ZMQ_ROUTER);
        topology_inproc(names[i], 0, ENDPOINT_REQUESTS, endpoint);
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
start_as(const char *auth, bool has_actors)
{
    struct err_text why;
    setenv("ZSYS_SIGHANDLER", "false", 1);
    signal(SIGPIPE, SIG_IGN);
    zsys_init();
    cr_assert_eq(settings_init(&settings, &why), ERR_ok, "%s", why.text);
    (void)snprintf(settings.http, sizeof settings.http, "127.0.0.1:0");
    (void)snprintf(settings.auth, sizeof settings.auth, "%s", auth);
    settings.request_timeout_ms = 2000;
    settings.base_port = 1; /* who is not local is away, whatever runs on this machine */
    cr_assert_eq(token_make_key(&key), ERR_ok);
    cr_assert_eq(token_make_key(&stranger), ERR_ok);
    if (has_actors) {
        for (int i = 0; i < ACTORS; i++) {
            topology_set_local(names[i]);
        }
        actors = zactor_new(actors_run, NULL);
    }
    cr_assert_eq(gateway_start(&settings, -1, &gateway, &why), ERR_ok, "%s", why.text);
    port = gateway_port(gateway);
}

static void
start_required(void)
{
    start_as("required", true);
}

static void
start_open(void)
{
    start_as("open", true);
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

/* One request on a connection of its own; its status. `lines` are headers with their ends. */
static int
ask(const char *method, const char *path, const char *lines, const char *body, char text[ANSWER_MAX])
{
    const struct timeval wait = {.tv_sec = 5};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static char request[2 * ANSWER_MAX];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    const char *type = body[0] != 0 && strstr(lines, "Content-Type") == NULL ? "Content-Type: application/json\r\n" : "";
    int size = snprintf(request, sizeof request,
                        "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%sContent-Length: %zu\r\n\r\n%s", method, path,
                        type, lines, strlen(body), body);
    cr_assert_eq(send(fd, request, (size_t)size, MSG_NOSIGNAL), size);
    size_t have = 0;
    ssize_t got = 1;
    while (got > 0 && have < ANSWER_MAX - 1) {
        got = recv(fd, text + have, ANSWER_MAX - 1 - have, 0);
        cr_assert_geq(got, 0, "no answer to %s %s", method, path);
        have += (size_t)got;
    }
    text[have] = 0;
    close(fd);
    return have > 9 ? (int)strtol(text + 9, NULL, 10) : 0;
}

static const char *
with(const char *token)
{
    static char line[TOKEN_SIZE + 64];
    (void)snprintf(line, sizeof line, "Authorization: " SECRET_WORD "%s\r\n", token);
    return line;
}

static struct id
person(void)
{
    struct id id;
    cr_assert(id_parse("0198f2a0-1c00-7a3b-8c4d-5e6f708192a3", 36, &id));
    return id;
}

static const char *
token_of(const struct token_key *signer, enum role role, int64_t ends_ms)
{
    static char token[TOKEN_SIZE];
    struct token_claims claims = {.role = role, .has_user = true, .user = person(), .issued_ms = clock_utc_ms() - 10000};
    claims.expires_ms = ends_ms;
    cr_assert_eq(token_sign(signer, &claims, token), ERR_ok);
    return token;
}

static const char *
good(enum role role)
{
    return token_of(&key, role, clock_utc_ms() + HOUR_MS);
}

static void
is_unauthenticated(const char *lines, const char *says)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("POST", "/checkout", lines, "", text), 401, "%s", text);
    cr_assert(strstr(text, "WWW-Authenticate: Bearer realm=\"larder\", error=\"invalid_token\"\r\n") != NULL, "%s", text);
    cr_assert(strstr(text, "application/problem+json") != NULL && strstr(text, "urn:larder:problem:unauthenticated") != NULL);
    cr_assert(strstr(text, says) != NULL, "%s", text);
}

static int64_t
counter(const char *name)
{
    return metric_value(metric(METRIC_COUNTER, name, "", ""));
}

/* --- claims --- */

TestSuite(gateway_auth, .init = start_required, .fini = stop, .timeout = 30);

Test(gateway_auth, tells_the_actor_role_and_user)
{
    char text[ANSWER_MAX];
    struct id who = person();
    cr_assert_eq(ask("POST", "/checkout", with(good(ROLE_CUSTOMER)), "", text), 409, "%s", text);
    cr_assert_str_eq(seen.op, "sales.checkout");
    cr_assert(seen.has_role && seen.has_user);
    cr_assert_str_eq(seen.role, "customer");
    cr_assert(id_equal(&seen.user, &who));
}

Test(gateway_auth, tells_the_actor_that_nobody_in_particular_asks)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("POST", "/checkout", "", "", text), 409, "%s", text);
    cr_assert(seen.has_role && !seen.has_user);
    cr_assert_str_eq(seen.role, "anonymous");
}

Test(gateway_auth, verifies_a_token_once)
{
    char text[ANSWER_MAX];
    char line[TOKEN_SIZE + 64];
    (void)snprintf(line, sizeof line, "%s", with(good(ROLE_EMPLOYEE)));
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(ask("POST", "/checkout", line, "", text), 409, "%s", text);
        cr_assert_str_eq(seen.role, "employee");
    }
    cr_assert_eq(counter("larder_gateway_tokens_verified_total"), 1);
    cr_assert_leq(atomic_load(&asked), 2);
}

struct scheme {
    char before[16];
    bool is_taken;
};

ParameterizedTestParameters(gateway_auth, reads_the_scheme)
{
    static struct scheme rows[] = {
        {"Bearer ", true}, {"bearer ", true},  {"BEARER   ", true}, {"", false},     {"Basic ", false},
        {"Bearer", false}, {"Bearer,", false}, {"Bearer\t", false}, {"JWT ", false}, {"Bearer a ", false},
    };
    return cr_make_param_array(struct scheme, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct scheme *row, gateway_auth, reads_the_scheme)
{
    char line[TOKEN_SIZE + 64];
    char text[ANSWER_MAX];
    (void)snprintf(line, sizeof line, "Authorization: %s%s\r\n", row->before, good(ROLE_CUSTOMER));
    if (row->is_taken) {
        cr_assert_eq(ask("POST", "/checkout", line, "", text), 409, "%s: %s", row->before, text);
        return;
    }
    is_unauthenticated(line, "Authorization: ");
}

Test(gateway_auth, refuses_what_is_no_token)
{
    char line[8000];
    is_unauthenticated("Authorization: Bearer \r\n", "must be Bearer and a token");
    is_unauthenticated("Authorization:\r\n", "must be Bearer and a token");
    is_unauthenticated("Authorization: Bearer abc\r\n", "no token of larder's");
    is_unauthenticated("Authorization: Bearer a.b.c\r\n", "no token of larder's");
    (void)snprintf(line, sizeof line, "Authorization: Bearer %0*d\r\n", TOKEN_MAX + 1, 1);
    is_unauthenticated(line, "longer than any");
}

Test(gateway_auth, refuses_two_tokens)
{
    char lines[2 * TOKEN_SIZE + 128];
    const char *line = with(good(ROLE_CUSTOMER));
    (void)snprintf(lines, sizeof lines, "%s%s", line, line);
    is_unauthenticated(lines, "comes more than once");
}

Test(gateway_auth, refuses_a_token_of_which_a_letter_was_changed)
{
    char token[TOKEN_SIZE];
    (void)snprintf(token, sizeof token, "%s", good(ROLE_CUSTOMER));
    char *payload = strchr(token, '.') + 1;
    payload[10] = payload[10] == 'A' ? 'B' : 'A';
    is_unauthenticated(with(token), "Authorization: ");
    (void)snprintf(token, sizeof token, "%s", good(ROLE_CUSTOMER));
    char *signature = strrchr(token, '.') + 1;
    signature[3] = signature[3] == 'A' ? 'B' : 'A';
    is_unauthenticated(with(token), "signature is wrong");
}

/* The text of the public key is known to everybody: as a secret for HMAC it proves nothing. */
Test(gateway_auth, refuses_a_token_signed_with_the_public_key_as_a_secret)
{
    char user[ID_TEXT_SIZE];
    struct id who = person();
    const jwt_alg_t algorithms[] = {JWT_ALG_HS256, JWT_ALG_HS512, JWT_ALG_NONE};
    id_format(&who, user);
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++) {
        jwt_t *jwt = NULL;
        cr_assert_eq(jwt_new(&jwt), 0);
        cr_assert_eq(jwt_add_header(jwt, "kid", key.kid), 0);
        cr_assert_eq(jwt_add_grant(jwt, "iss", TOKEN_ISSUER), 0);
        cr_assert_eq(jwt_add_grant(jwt, "sub", user), 0);
        cr_assert_eq(jwt_add_grant(jwt, "role", "admin"), 0);
        cr_assert_eq(jwt_add_grant_int(jwt, "iat", (long)(clock_utc_ms() / 1000)), 0);
        cr_assert_eq(jwt_add_grant_int(jwt, "exp", (long)(clock_utc_ms() / 1000 + 3600)), 0);
        bool has_secret = algorithms[i] != JWT_ALG_NONE;
        cr_assert_eq(jwt_set_alg(jwt, algorithms[i], has_secret ? (const unsigned char *)key.public_pem : NULL,
                                 has_secret ? (int)strlen(key.public_pem) : 0),
                     0);
        char *made = jwt_encode_str(jwt);
        cr_assert_not_null(made);
        is_unauthenticated(with(made), "Authorization: ");
        free(made);
        jwt_free(jwt);
    }
}

Test(gateway_auth, refuses_a_token_that_is_over)
{
    is_unauthenticated(with(token_of(&key, ROLE_CUSTOMER, clock_utc_ms() - 2000)), "has expired");
}

Test(gateway_auth, refuses_a_token_that_was_good_when_it_came_first)
{
    char line[TOKEN_SIZE + 64];
    char text[ANSWER_MAX];
    int64_t ends_ms = clock_utc_ms() / 1000 * 1000 + 2000;
    (void)snprintf(line, sizeof line, "%s", with(token_of(&key, ROLE_CUSTOMER, ends_ms)));
    cr_assert_eq(ask("POST", "/checkout", line, "", text), 409, "%s", text);
    while (clock_utc_ms() < ends_ms) {
        int status = ask("POST", "/checkout", line, "", text);
        cr_assert(status == 409 || clock_utc_ms() >= ends_ms, "%s", text);
    }
    is_unauthenticated(line, "has expired");
}

/* The outcome of a token of the retired key that was given for so long. */
static void
expect_of_retired(int64_t issued_ms, int64_t given_ms, int wanted)
{
    char token[TOKEN_SIZE];
    char text[ANSWER_MAX];
    struct token_claims claims = {.role = ROLE_CUSTOMER, .has_user = true, .user = person(), .issued_ms = issued_ms};
    claims.expires_ms = issued_ms + given_ms;
    cr_assert_eq(token_sign(&stranger, &claims, token), ERR_ok);
    cr_expect_eq(ask("POST", "/checkout", with(token), "", text), wanted, "%lld for %lld: %s", (long long)issued_ms,
                 (long long)given_ms, text);
    cr_expect(wanted != 401 || strstr(text, "has expired") != NULL, "%s", text);
}

Test(gateway_auth, a_token_of_a_clock_that_was_ahead_is_good_for_as_long_as_it_was_given_from_when_that_was_put_right)
{
    const int64_t ahead_ms = 400 * 24 * HOUR_MS;
    int64_t now_ms = clock_utc_ms();
    atomic_store(&retired_ms, now_ms - 10000);
    atomic_store(&knows_stranger, true);
    expect_of_retired(now_ms + ahead_ms, HOUR_MS, 409);
    expect_of_retired(now_ms + ahead_ms, 5000, 401);
    expect_of_retired(now_ms - 20000, HOUR_MS, 409);
    expect_of_retired(now_ms - 20000, 2 * ahead_ms, 409);
    expect_of_retired(now_ms - 20000, 5000, 401);
}

Test(gateway_auth, asks_for_a_key_that_it_does_not_know)
{
    char line[TOKEN_SIZE + 64];
    char text[ANSWER_MAX];
    (void)snprintf(line, sizeof line, "%s", with(token_of(&stranger, ROLE_ADMIN, clock_utc_ms() + HOUR_MS)));
    is_unauthenticated(line, "not larder's");
    atomic_store(&knows_stranger, true);
    int status = 401;
    for (int64_t until_us = clock_steady_us() + 5000000; status == 401 && clock_steady_us() < until_us;) {
        status = ask("POST", "/checkout", line, "", text);
    }
    cr_assert_eq(status, 409, "%s", text);
    cr_assert_str_eq(seen.role, "admin");
    /* made-up keys do not become as many questions */
    cr_assert_leq(atomic_load(&asked), 2 + 5000 / 200);
}

Test(gateway_auth, is_unavailable_while_the_keys_do_not_come)
{
    char line[TOKEN_SIZE + 64];
    char text[ANSWER_MAX];
    int status = 401; /* right behind an answer nobody is asked */
    (void)snprintf(line, sizeof line, "%s", with(token_of(&stranger, ROLE_ADMIN, clock_utc_ms() + HOUR_MS)));
    atomic_store(&is_silent, true);
    for (int64_t until_us = clock_steady_us() + 5000000; status == 401 && clock_steady_us() < until_us;) {
        status = ask("POST", "/checkout", line, "", text);
    }
    cr_assert_eq(status, 503, "%s", text);
    cr_assert(strstr(text, "Retry-After: 1") != NULL && strstr(text, "keys of tokens") != NULL, "%s", text);
    cr_assert_eq(ask("POST", "/checkout", "", "", text), 409, "who shows no token does not wait: %s", text);
}

/* The least role of a route: {none, customer, employee, admin}. */
struct gate {
    char method[8];
    char path[64];
    int statuses[4]; /* 0: it got through */
};

ParameterizedTestParameters(gateway_auth, has_the_least_role_of_a_route)
{
#define ANY "0198f2a0-1c00-7a3b-8c4d-5e6f708192a4"
    static struct gate rows[] = {
        {"GET", "/v1/products", {0, 0, 0, 0}},
        {"GET", "/product/donut", {0, 0, 0, 0}},
        {"GET", "/v1/orders/" ANY, {0, 0, 0, 0}},
        {"POST", "/v1/payments/webhook", {0, 0, 0, 0}},
        {"GET", "/v1/orders", {401, 0, 0, 0}},
        {"GET", "/v1/users/" ANY, {401, 0, 0, 0}},
        {"HEAD", "/v1/users/" ANY, {401, 0, 0, 0}},
        {"DELETE", "/v1/users/" ANY, {401, 0, 0, 0}},
        {"POST", "/v1/orders/" ANY ":cancel", {401, 0, 0, 0}},
        {"POST", "/v1/orders/" ANY ":pay", {401, 0, 0, 0}},
        {"GET", "/v1/orders:kitchen", {401, 403, 0, 0}},
        {"POST", "/v1/orders/" ANY ":advance", {401, 403, 0, 0}},
        {"GET", "/v1/users", {401, 403, 0, 0}},
        {"GET", "/v1/payments", {401, 0, 0, 0}},
        {"POST", "/v1/payments/" ANY ":confirm", {401, 403, 0, 0}},
        {"PUT", "/v1/products/burger-1", {401, 403, 0, 0}},
        {"POST", "/v1/stock/donut:adjust", {401, 403, 0, 0}},
        {"POST", "/checkout/donut", {401, 403, 0, 0}},
        {"POST", "/", {401, 403, 0, 0}},
        {"GET", "/v1/letters", {401, 403, 403, 0}},
        {"POST", "/v1/replays", {401, 403, 403, 0}},
    };
    return cr_make_param_array(struct gate, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct gate *row, gateway_auth, has_the_least_role_of_a_route)
{
    static const enum role roles[] = {ROLE_ANONYMOUS, ROLE_CUSTOMER, ROLE_EMPLOYEE, ROLE_ADMIN};
    char text[ANSWER_MAX];
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        int status = ask(row->method, row->path, roles[i] == ROLE_ANONYMOUS ? "" : with(good(roles[i])), "", text);
        if (row->statuses[i] != 0) {
            cr_assert_eq(status, row->statuses[i], "%s %s as %s: %s", row->method, row->path, role_name(roles[i]), text);
            cr_assert_eq(strstr(text, "WWW-Authenticate: Bearer realm=\"larder\"\r\n") != NULL, status == 401, "%s", text);
        } else {
            cr_assert(status != 401 && status != 403, "%s %s as %s: %s", row->method, row->path, role_name(roles[i]), text);
        }
    }
}

Test(gateway_auth, probes_need_no_token)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("GET", "/livez", "Authorization: nonsense\r\n", "", text), 200, "%s", text);
    cr_assert_eq(ask("GET", "/metrics", "", "", text), 404, "%s", text);
    cr_assert(strstr(text, "LARDER_METRICS=public") != NULL, "%s", text);
    (void)snprintf(settings.metrics, sizeof settings.metrics, "public");
    cr_assert_eq(ask("GET", "/metrics", "", "", text), 200, "%s", text);
}

Test(gateway_auth, a_key_is_of_one_person)
{
    char text[ANSWER_MAX];
    char lines[TOKEN_SIZE + 128];
    (void)snprintf(lines, sizeof lines, "%sIdempotency-Key: " UUID_KEY "\r\n", with(good(ROLE_CUSTOMER)));
    cr_assert_eq(ask("POST", "/checkout", lines, "", text), 409, "%s", text);
    struct id first = seen.id;
    (void)snprintf(lines, sizeof lines, "%sIdempotency-Key: " UUID_KEY "\r\n", with(good(ROLE_EMPLOYEE)));
    cr_assert_eq(ask("POST", "/checkout", lines, "", text), 409, "%s", text);
    cr_assert(id_equal(&first, &seen.id), "another token of the same person is the same asker");
    cr_assert_eq(ask("POST", "/checkout", "Idempotency-Key: " UUID_KEY "\r\n", "", text), 409, "%s", text);
    cr_assert(!id_equal(&first, &seen.id));
}

Test(gateway_auth, a_key_without_a_token_is_a_uuid)
{
    static const struct {
        const char *path;
        const char *body;
    } rows[] = {
        {"/v1/orders", "{\"lines\":[{\"product\":\"donut\",\"quantity\":1}],\"method\":\"pix\"}"},
        {"/v1/users", "{\"email\":\"ana@example.com\"}"},
        {"/checkout", ""},
        {"/v1/checkouts", ""},
    };
    char text[ANSWER_MAX];
    char lines[TOKEN_SIZE + 128];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        seen.op[0] = 0;
        int status = ask("POST", rows[i].path, "Idempotency-Key: 1\r\n", rows[i].body, text);
        cr_assert_eq(status, 400, "%s: %s", rows[i].path, text);
        cr_assert_eq(seen.op[0], 0, "%s went to %s", rows[i].path, seen.op);
        cr_assert(strstr(text, "must be a UUID") != NULL, "%s", text);
        ask("POST", rows[i].path, "Idempotency-Key: 3F0F6A62-94CB-4B2E-9C3A-0D6B0A1FE0C7\r\n", rows[i].body, text);
        cr_assert(seen.op[0] != 0, "%s: %s", rows[i].path, text);
        seen.op[0] = 0;
        (void)snprintf(lines, sizeof lines, "%sIdempotency-Key: 1\r\n", with(good(ROLE_CUSTOMER)));
        ask("POST", rows[i].path, lines, rows[i].body, text);
        cr_assert(seen.op[0] != 0, "who has a token has keys of his own: %s", text);
    }
}

/* With the secret of an order its bearer gets as far as the actor, which judges it; elsewhere it is not passed on. */
Test(gateway_auth, a_secret_opens_the_routes_of_an_order)
{
    static const struct {
        const char *method;
        const char *path;
        bool is_opened;
    } rows[] = {
        {"GET", "/v1/orders/" ANY, true},
        {"GET", "/v1/orders/" ANY "/timeline", true},
        {"POST", "/v1/orders/" ANY ":cancel", true},
        {"POST", "/v1/orders/" ANY ":pay", true},
        {"GET", "/v1/payments/" ANY, true},
        {"GET", "/v1/payments/" ANY "/refunds", true},
        {"GET", "/v1/orders", false},
        {"POST", "/v1/orders/" ANY ":advance", false},
        {"GET", "/v1/users/" ANY, false},
        {"POST", "/v1/payments/" ANY ":confirm", false},
    };
    char text[ANSWER_MAX];
    char lines[TOKEN_SIZE + 128];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        seen = (struct seen){.op = ""};
        int status = ask(rows[i].method, rows[i].path, "Order-Secret: os1_abc\r\n", "", text);
        cr_assert_eq(status == 401, !rows[i].is_opened, "%s %s: %s", rows[i].method, rows[i].path, text);
        cr_assert_str_eq(seen.secret, rows[i].is_opened ? "os1_abc" : "", "%s %s", rows[i].method, rows[i].path);
        cr_assert(!rows[i].is_opened || strcmp(seen.role, "anonymous") == 0);
    }
    ask("GET", "/v1/products", "Order-Secret: os1_abc\r\n", "", text);
    cr_assert_str_eq(seen.secret, "");
    char longest[80] = "";
    memset(longest, 'x', 65);
    const char *const wrong[] = {longest, "a b", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)snprintf(lines, sizeof lines, "Order-Secret: %s\r\n", wrong[i]);
        ask("GET", "/v1/orders/" ANY, lines, "", text);
        cr_assert_str_eq(seen.secret, "-", "what cannot be one is judged like one that is wrong: %s", text);
    }
    (void)snprintf(lines, sizeof lines, "%sOrder-Secret: os1_abc\r\n", with(good(ROLE_CUSTOMER)));
    ask("GET", "/v1/orders/" ANY, lines, "", text);
    cr_assert(seen.has_user && strcmp(seen.secret, "os1_abc") == 0);
    cr_assert_eq(ask("GET", "/v1/orders/" ANY, "Order-Secret: a\r\nOrder-Secret: a\r\n", "", text), 400, "%s", text);
}

Test(gateway_auth, keeps_nothing_personal_for_later)
{
    char text[ANSWER_MAX];
    char lines[TOKEN_SIZE + 128];
    static const char *const paths[] = {"/v1/users", "/v1/orders/" ANY ":cancel", "/v1/payments/webhook"};
    (void)snprintf(lines, sizeof lines, "%sPrefer: respond-async\r\n", with(good(ROLE_ADMIN)));
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        seen.op[0] = 0;
        cr_assert_eq(ask("POST", paths[i], lines, "", text), 501, "%s", text);
        cr_assert(strstr(text, "Prefer: respond-async is not taken here") != NULL, "%s", text);
        cr_assert_str_eq(seen.op, "", "%s went to %s", paths[i], seen.op);
    }
    ask("POST", "/checkout", lines, "", text);
    cr_assert_str_eq(seen.op, "dlq.hand_over");
    cr_assert_str_eq(seen.principal, "user/0198f2a0-1c00-7a3b-8c4d-5e6f708192a3 as admin");
    cr_assert(strstr(text, "eyJ") == NULL);
}

Test(gateway_auth, takes_versions_by_header)
{
    char text[ANSWER_MAX];
    char lines[TOKEN_SIZE + 128];
    const char *line = with(good(ROLE_EMPLOYEE));
    const char *body = "{\"name\":\"Burger\",\"category\":\"burger\",\"price\":{\"amount\":2500,\"currency\":\"BRL\"}}";
    (void)snprintf(lines, sizeof lines, "%sIf-Match: \"6\"\r\n", line);
    cr_assert_eq(ask("PUT", "/v1/products/burger-1", lines, body, text), 200, "%s", text);
    cr_assert(seen.version == 6 && strstr(text, "ETag: \"7\"") != NULL, "%s", text);
    (void)snprintf(lines, sizeof lines, "%sIf-None-Match: *\r\n", line);
    cr_assert_eq(ask("PUT", "/v1/products/burger-1", lines, body, text), 200, "%s", text);
    cr_assert_eq(seen.version, 0);
    cr_assert_eq(ask("PUT", "/v1/products/burger-1", line, body, text), 200, "%s", text);
    cr_assert_eq(seen.version, -1);
    static const char *const wrong[] = {"If-Match: \"0\"\r\n", "If-Match: *\r\n", "If-None-Match: \"6\"\r\n",
                                        "If-Match: \"6\"\r\nIf-None-Match: *\r\n"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        (void)snprintf(lines, sizeof lines, "%s%s", line, wrong[i]);
        cr_assert_eq(ask("PUT", "/v1/products/burger-1", lines, body, text), 400, "%s: %s", wrong[i], text);
    }
    cr_assert_eq(ask("GET", "/v1/products/burger-1", "If-None-Match: \"7\"\r\n", "", text), 304, "%s", text);
    cr_assert_eq(ask("GET", "/v1/products/burger-1", "If-None-Match: \"6\"\r\n", "", text), 200, "%s", text);
    ask("POST", "/v1/products", line,
        "{\"product\":\"burger-1\",\"name\":\"B\",\"category\":\"x\",\"price\":{\"amount\":1,\"currency\":\"BRL\"}}", text);
    cr_assert(strstr(text, "201") != NULL && strstr(text, "Location: /v1/products/burger-1\r\n") != NULL, "%s", text);
}

Test(gateway_auth, passes_a_webhook_on_byte_by_byte)
{
    char text[ANSWER_MAX];
    char lines[512];
    cr_assert_eq(ask("POST", "/v1/payments/webhook", "Content-Type: text/plain\r\nwebhook-id: m 1\r\n", "{ not JSON", text), 200, "%s",
                 text);
    cr_assert_str_eq(seen.body, "{ not JSON");
    cr_assert_str_eq(seen.role, "anonymous");
    cr_assert_eq(ask("POST", "/v1/payments/webhook", "", "early", text), 202, "%s", text);
    (void)snprintf(lines, sizeof lines, "webhook-id: %0200d\r\n", 1);
    cr_assert_eq(ask("POST", "/v1/payments/webhook", lines, "x", text), 401, "%s", text);
    cr_assert_eq(ask("POST", "/v1/payments/webhook", "webhook-id: a\r\nwebhook-id: b\r\n", "x", text), 400, "%s", text);
}

Test(gateway_auth, refuses_prices_and_status_by_name)
{
    char text[ANSWER_MAX];
    static const char *const bodies[][2] = {
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1,\"unit_price\":1}],\"method\":\"pix\"}",
         "lines[0].unit_price: is not known here"},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1}],\"method\":\"pix\",\"total\":1}", "total: is not known here"},
        {"{\"lines\":[{\"product\":\"a\",\"quantity\":1}],\"method\":\"pix\",\"status\":\"received\"}", "status: is not known here"},
        {"{\"lines\":[],\"method\":\"pix\"}", "lines: must have 1 to 1000 elements"},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        cr_assert_eq(ask("POST", "/v1/orders", "", bodies[i][0], text), 400, "%s", text);
        cr_assert(strstr(text, bodies[i][1]) != NULL, "%s", text);
    }
}

Test(gateway_auth, says_what_an_order_can_do_instead)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("POST", "/v1/orders", "", "{\"lines\":[{\"product\":\"burger-1\",\"quantity\":3}],\"method\":\"pix\"}", text),
                 409);
    cr_assert(strstr(text, "\"product\":\"burger-1\",\"available\":2,\"order\":\"") != NULL, "%s", text);
    cr_assert_eq(ask("POST", "/v1/orders/" ANY ":advance", with(good(ROLE_EMPLOYEE)), "", text), 409, "%s", text);
    cr_assert(strstr(text, "\"order_status\":\"ready\",\"allowed\":[\"completed\",\"cancelled\"]}") != NULL, "%s", text);
}

/* --- an open house --- */

TestSuite(gateway_open, .timeout = 30);

Test(gateway_open, takes_who_shows_no_token_for_an_operator, .init = start_open, .fini = stop)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("GET", "/v1/orders:kitchen", "", "", text), 404, "%s", text);
    cr_assert(!seen.has_role && !seen.has_user);
}

Test(gateway_open, takes_a_token_at_its_word, .init = start_open, .fini = stop)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("GET", "/v1/orders:kitchen", with(good(ROLE_CUSTOMER)), "", text), 403, "%s", text);
    cr_assert_eq(ask("GET", "/v1/orders:kitchen", with(good(ROLE_EMPLOYEE)), "", text), 404, "%s", text);
    cr_assert_str_eq(seen.role, "employee");
    is_unauthenticated("Authorization: Bearer abc\r\n", "no token of larder's");
}

static void
start_alone(void)
{
    start_as("open", false);
}

Test(gateway_open, says_that_the_keys_cannot_be_had, .init = start_alone, .fini = stop)
{
    char text[ANSWER_MAX];
    cr_assert_eq(ask("GET", "/v1/products", with(good(ROLE_CUSTOMER)), "", text), 503, "%s", text);
    cr_assert(strstr(text, "Retry-After: 1") != NULL && strstr(text, "user/0 is not there") != NULL, "%s", text);
}
