/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about proto/codec/message.c, over real sockets. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <string.h>

#include "message.h"
#include "../support/patience.h"

#define ENDPOINT "inproc://message"
#define DEADLINE_MS patience_ms(5000)

static const struct slice header = {(const uint8_t *)"\x80", 1};
static const struct slice body = {(const uint8_t *)"\x81\x01\x02", 3};

static void *context;
static void *router;
static void *dealer;

static void *
open_socket(int type)
{
    void *socket = zmq_socket(context, type);
    cr_assert_not_null(socket);
    cr_assert_eq(zmq_setsockopt(socket, ZMQ_LINGER, &(int){0}, sizeof(int)), 0);
    cr_assert_eq(zmq_setsockopt(socket, ZMQ_SNDHWM, &(int){1}, sizeof(int)), 0);
    cr_assert_eq(zmq_setsockopt(socket, ZMQ_RCVHWM, &(int){1}, sizeof(int)), 0);
    return socket;
}

static void
open_sockets(void)
{
    context = zmq_ctx_new();
    router = open_socket(ZMQ_ROUTER);
    cr_assert_eq(zmq_setsockopt(router, ZMQ_ROUTER_MANDATORY, &(int){1}, sizeof(int)), 0);
    cr_assert_eq(zmq_bind(router, ENDPOINT), 0);
    dealer = open_socket(ZMQ_DEALER);
    cr_assert_eq(zmq_connect(dealer, ENDPOINT), 0);
}

static void
close_sockets(void)
{
    zmq_close(router);
    zmq_close(dealer);
    zmq_ctx_term(context);
}

TestSuite(message, .init = open_sockets, .fini = close_sockets, .timeout = 30);
TestSuite(message_envelope, .init = open_sockets, .fini = close_sockets, .timeout = 30);
TestSuite(message_shape, .init = open_sockets, .fini = close_sockets, .timeout = 30);

/* --- frames by hand --- */

/* Sends one message of frames of so many bytes each, "-" for an empty one: "-,5,4". Every frame holds its own letters. */
static void
send_frames(void *socket, const char *sizes)
{
    for (const char *at = sizes; *at != '\0';) {
        char bytes[16];
        size_t size = *at == '-' ? 0 : (size_t)(*at - '0');
        bool is_last = at[1] == '\0';
        memset(bytes, *at, sizeof bytes);
        cr_assert_eq(zmq_send(socket, bytes, size, ZMQ_DONTWAIT | (is_last ? 0 : ZMQ_SNDMORE)), (int)size);
        at += is_last ? 1 : 2;
    }
}

static enum message_result
receive(void *socket, struct message *message)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    cr_assert_eq(zmq_poll(&item, 1, DEADLINE_MS), 1, "no message in time");
    return message_receive(socket, socket == router, message);
}

/* Looking at ZMQ_EVENTS makes a socket notice at once that its peer has read; otherwise it looks about once a millisecond. */
static enum message_sent
reply_when_noticed(struct message *request, struct slice other_body)
{
    int events = 0;
    size_t size = sizeof events;
    cr_assert_eq(zmq_getsockopt(router, ZMQ_EVENTS, &events, &size), 0);
    return message_reply(router, request, header, other_body);
}

static void
expect_frame(void *socket, struct slice expected, bool has_more)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    cr_assert_eq(zmq_poll(&item, 1, DEADLINE_MS), 1, "no frame in time");
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    cr_assert_geq(zmq_msg_recv(&frame, socket, ZMQ_DONTWAIT), 0);
    cr_assert(slice_equal((struct slice){zmq_msg_data(&frame), zmq_msg_size(&frame)}, expected));
    cr_assert_eq(zmq_msg_more(&frame) != 0, has_more);
    zmq_msg_close(&frame);
}

/* --- what is taken --- */

struct shape {
    char frames[48];
    int envelope_count; /* the identity included */
    enum message_result result;
};

ParameterizedTestParameters(message_shape, is_told_from_broken_ones)
{
    static struct shape rows[] = {
        {"5,4", 1, MESSAGE_OK},
        {"-,5,4", 2, MESSAGE_OK},
        {"4,-,5,4", 3, MESSAGE_OK},
        {"1,-,5,4", 3, MESSAGE_OK},
        {"1,1,-,5,4", 4, MESSAGE_OK},
        {"1,1,1,-,5,4", 5, MESSAGE_OK},
        {"1,1,1,1,-,5,4", 6, MESSAGE_OK},
        {"1,1,1,1,1,-,5,4", 7, MESSAGE_OK},
        {"1,1,1,1,1,1,-,5,4", 8, MESSAGE_OK},
        {"1,1,1,1,1,1,1,-,5,4", 9, MESSAGE_OK},
        {"1,1,1,1,1,1,1,1,-,5,4", 1, MESSAGE_BROKEN},
        {"1,1,1,1,1,1,1,1,1,-,5,4", 1, MESSAGE_BROKEN},
        {"5", 1, MESSAGE_BROKEN},
        {"-", 2, MESSAGE_BROKEN},
        {"-,5", 2, MESSAGE_BROKEN},
        {"5,4,3", 1, MESSAGE_BROKEN},
        {"-,5,4,3", 2, MESSAGE_BROKEN},
        {"5,-", 3, MESSAGE_BROKEN},
        {"-,-,5,4", 2, MESSAGE_BROKEN},
        {"1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7,8,9", 1, MESSAGE_BROKEN},
    };
    return cr_make_param_array(struct shape, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct shape *row, message_shape, is_told_from_broken_ones)
{
    struct message message;
    send_frames(dealer, row->frames);
    cr_assert_eq(receive(router, &message), row->result, "%s", row->frames);
    cr_assert_eq(message.envelope_count, row->envelope_count, "%s", row->frames);
    if (row->result == MESSAGE_OK) {
        cr_assert(slice_equal(message_header(&message), slice_of("55555")));
        cr_assert(slice_equal(message_body(&message), slice_of("4444")));
    }
    message_fini(&message);
    message_fini(&message);

    send_frames(dealer, "5,4");
    cr_assert_eq(receive(router, &message), MESSAGE_OK, "the next message must start where it should");
    message_fini(&message);
}

Test(message, is_none_when_nothing_has_come)
{
    struct message message;
    cr_assert_eq(message_receive(router, true, &message), MESSAGE_NONE);
    message_fini(&message);
    cr_assert_eq(message_receive(dealer, false, &message), MESSAGE_NONE);
    message_fini(&message);
}

Test(message, is_closed_when_the_context_ends)
{
    struct message message;
    cr_assert_eq(zmq_ctx_shutdown(context), 0);
    cr_assert_eq(message_receive(router, true, &message), MESSAGE_CLOSED);
    message_fini(&message);
    cr_assert_eq(message_send(dealer, header, body), MESSAGE_ENDED);
}

/* --- there and back --- */

static void
answer_one(void)
{
    struct message request;
    cr_assert_eq(receive(router, &request), MESSAGE_OK);
    cr_assert_eq(message_reply(router, &request, header, body), MESSAGE_SENT);
    cr_assert_eq(request.envelope_count, 0);
    message_fini(&request);
}

Test(message, goes_from_a_dealer_to_a_router_and_back)
{
    struct message reply;
    cr_assert_eq(message_send(dealer, slice_of("question"), slice_of("words")), MESSAGE_SENT);
    answer_one();
    cr_assert_eq(receive(dealer, &reply), MESSAGE_OK);
    cr_assert_eq(reply.envelope_count, 0);
    cr_assert(slice_equal(message_header(&reply), header));
    cr_assert(slice_equal(message_body(&reply), body));
    message_fini(&reply);
}

Test(message, keeps_a_dealers_own_envelope)
{
    send_frames(dealer, "3,2,-,5,4");
    answer_one();
    expect_frame(dealer, slice_of("333"), true);
    expect_frame(dealer, slice_of("22"), true);
    expect_frame(dealer, slice_of(""), true);
    expect_frame(dealer, header, true);
    expect_frame(dealer, body, false);
}

Test(message, is_read_behind_a_delimiter_on_a_dealer)
{
    struct message reply;
    send_frames(dealer, "-,5,4");
    answer_one();
    cr_assert_eq(receive(dealer, &reply), MESSAGE_OK);
    cr_assert_eq(reply.envelope_count, 1);
    cr_assert(slice_equal(message_body(&reply), body));
    message_fini(&reply);
}

Test(message_envelope, brings_a_reply_back_to_a_req_socket)
{
    void *req = open_socket(ZMQ_REQ);
    cr_assert_eq(zmq_connect(req, ENDPOINT), 0);
    send_frames(req, "5,4");
    answer_one();
    expect_frame(req, header, true);
    expect_frame(req, body, false);
    zmq_close(req);
}

Test(message_envelope, brings_a_reply_back_to_a_correlating_req_socket)
{
    void *req = open_socket(ZMQ_REQ);
    cr_assert_eq(zmq_setsockopt(req, ZMQ_REQ_CORRELATE, &(int){1}, sizeof(int)), 0);
    cr_assert_eq(zmq_connect(req, ENDPOINT), 0);
    send_frames(req, "5,4");
    answer_one();
    expect_frame(req, header, true);
    expect_frame(req, body, false);
    zmq_close(req);
}

Test(message_envelope, of_a_broken_request_brings_the_refusal_back)
{
    void *req = open_socket(ZMQ_REQ);
    struct message request;
    cr_assert_eq(zmq_connect(req, ENDPOINT), 0);
    send_frames(req, "5");
    cr_assert_eq(receive(router, &request), MESSAGE_BROKEN);
    cr_assert_eq(message_reply(router, &request, header, body), MESSAGE_SENT);
    message_fini(&request);
    expect_frame(req, header, true);
    expect_frame(req, body, false);
    zmq_close(req);
}

/* --- what cannot be sent --- */

static struct message
message_to(struct slice identity)
{
    struct message message = {.envelope_count = 1};
    zmq_msg_init_size(&message.envelope[0], identity.size);
    memcpy(zmq_msg_data(&message.envelope[0]), identity.data, identity.size);
    return message;
}

Test(message_envelope, of_a_peer_that_is_not_there_is_told)
{
    struct message request = message_to(slice_of("nobody"));
    cr_assert_eq(message_reply(router, &request, header, body), MESSAGE_GONE);
    cr_assert_eq(request.envelope_count, 1);
    message_fini(&request);
    cr_assert_eq(message_send(dealer, header, body), MESSAGE_SENT);
    answer_one();
}

Test(message, that_does_not_fit_is_told_and_may_be_sent_again)
{
    struct message request;
    cr_assert_eq(message_send(dealer, header, body), MESSAGE_SENT);
    cr_assert_eq(receive(router, &request), MESSAGE_OK);
    uint8_t identity[64];
    size_t identity_size = zmq_msg_size(&request.envelope[0]);
    memcpy(identity, zmq_msg_data(&request.envelope[0]), identity_size);
    message_fini(&request);

    int sent = 0;
    enum message_sent result = MESSAGE_SENT;
    for (; sent < 100 && result == MESSAGE_SENT; sent += result == MESSAGE_SENT ? 1 : 0) {
        message_fini(&request);
        request = message_to((struct slice){identity, identity_size});
        result = message_reply(router, &request, header, slice_of("body"));
    }
    cr_assert_eq(result, MESSAGE_FULL);
    cr_assert_eq(request.envelope_count, 1);

    struct message reply;
    for (int i = 0; i < sent; i++) {
        cr_assert_eq(receive(dealer, &reply), MESSAGE_OK);
        message_fini(&reply);
    }
    cr_assert_eq(message_receive(dealer, false, &reply), MESSAGE_NONE);
    cr_assert_eq(reply_when_noticed(&request, slice_of("late")), MESSAGE_SENT);
    message_fini(&request);
    cr_assert_eq(receive(dealer, &reply), MESSAGE_OK);
    cr_assert(slice_equal(message_body(&reply), slice_of("late")));
    message_fini(&reply);
}

Test(message, that_does_not_fit_on_a_dealer_leaves_nothing_behind)
{
    struct message request;
    int sent = 0;
    while (sent < 100 && message_send(dealer, header, body) == MESSAGE_SENT) {
        sent++;
    }
    cr_assert_lt(sent, 100);
    for (int i = 0; i < sent; i++) {
        cr_assert_eq(receive(router, &request), MESSAGE_OK);
        message_fini(&request);
    }
    cr_assert_eq(message_receive(router, true, &request), MESSAGE_NONE);
}
