/* SPDX-License-Identifier: MPL-2.0 */
#include "kit/sockets/zmtp.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <sodium.h>

enum { MORE = 1, LONG = 2, COMMAND = 4, SCRATCH = 4096 };

static struct zmtp *zmtp;
static int64_t now_ms = 1000;

static enum zmtp_verdict
see(const void *bytes, size_t size)
{
    uint8_t copy[SCRATCH];
    cr_assert_leq(size, sizeof copy);
    memcpy(copy, bytes, size);
    return zmtp_see(zmtp, copy, size, now_ms);
}

static size_t
put_frame(uint8_t *at, uint8_t flags, const void *body, size_t size)
{
    at[0] = flags;
    at[1] = (uint8_t)size;
    memcpy(at + 2, body, size);
    return size + 2;
}

static enum zmtp_verdict
see_frame(uint8_t flags, const void *body, size_t size)
{
    uint8_t frame[300];
    cr_assert_leq(size, 255);
    return see(frame, put_frame(frame, flags, body, size));
}

/* Only the head of a frame of this size. */
static enum zmtp_verdict
see_large(uint8_t flags, uint64_t size)
{
    uint8_t head[9] = {(uint8_t)(flags | LONG)};
    for (int i = 0; i < 8; i++) {
        head[1 + i] = (uint8_t)(size >> (8 * (7 - i)));
    }
    return see(head, sizeof head);
}

static enum zmtp_verdict
see_greeting(uint8_t revision)
{
    uint8_t greeting[64] = {0xFF, [9] = 0x7F, [10] = revision, [12] = 'N'};
    return see(greeting, sizeof greeting);
}

static void
open_peer(bool is_events)
{
    cr_assert_geq(sodium_init(), 0);
    zmtp = zmtp_create(is_events, now_ms);
    cr_assert_eq(see_greeting(3), ZMTP_FINE);
    cr_assert_eq(see_frame(COMMAND, "\5READY", 6), ZMTP_FINE);
    cr_assert(zmtp_is_ready(zmtp));
}

static void
open_requests(void)
{
    open_peer(false);
}

static void
open_events(void)
{
    open_peer(true);
}

static void
fini(void)
{
    zmtp_destroy(&zmtp);
}

TestSuite(zmtp_handshake, .fini = fini);
TestSuite(zmtp_requests, .init = open_requests, .fini = fini);
TestSuite(zmtp_events, .init = open_events, .fini = fini);

Test(zmtp_handshake, older_protocols_are_foreign)
{
    zmtp = zmtp_create(false, now_ms);
    cr_assert_eq(see_greeting(1), ZMTP_FOREIGN);
}

Test(zmtp_handshake, a_message_before_ready_is_foreign)
{
    zmtp = zmtp_create(false, now_ms);
    cr_assert_eq(see_greeting(3), ZMTP_FINE);
    cr_assert_eq(see_frame(0, "x", 1), ZMTP_FOREIGN);
}

Test(zmtp_handshake, properties_are_bounded)
{
    zmtp = zmtp_create(false, now_ms);
    cr_assert_eq(see_greeting(3), ZMTP_FINE);
    cr_assert_eq(see_large(COMMAND, ZMTP_HANDSHAKE_MAX + 1), ZMTP_TOO_LARGE);
}

Test(zmtp_requests, what_comes_byte_by_byte_is_the_same)
{
    uint8_t frames[64];
    size_t size = put_frame(frames, MORE, "header", 6);
    size += put_frame(frames + size, 0, "body", 4);
    for (size_t i = 0; i < size; i++) {
        cr_assert_eq(zmtp_spoke_ms(zmtp), 0);
        cr_assert_eq(see(frames + i, 1), ZMTP_FINE);
    }
    cr_assert_eq(zmtp_spoke_ms(zmtp), now_ms);
}

Test(zmtp_requests, a_ping_behind_a_message_is_made_unknown_and_one_before_it_is_not)
{
    uint8_t bytes[64];
    size_t first = put_frame(bytes, COMMAND, "\4PING\0\0", 7);
    size_t size = first + put_frame(bytes + first, 0, "body", 4);
    size_t second = size;
    size += put_frame(bytes + size, COMMAND, "\4PING\0\0", 7);
    cr_assert_eq(zmtp_see(zmtp, bytes, size, now_ms), ZMTP_FINE);
    cr_assert_arr_eq(bytes + 2, "\4PING", 5);
    cr_assert_arr_eq(bytes + second + 2, "\4PIN-", 5);
}

Test(zmtp_requests, a_ping_whose_end_comes_later_is_judged_where_its_name_ends)
{
    uint8_t bytes[64];
    size_t size = put_frame(bytes, 0, "body", 4);
    put_frame(bytes + size, COMMAND, "\4PING\0\0", 7);
    cr_assert_eq(zmtp_see(zmtp, bytes, size + 5, now_ms), ZMTP_FINE);
    cr_assert_eq(zmtp_see(zmtp, bytes + size + 5, 4, now_ms), ZMTP_FINE);
    cr_assert_arr_eq(bytes + size + 2, "\4PING", 5, "it is the first that ends in its piece: libzmq reads that only when it may");
}

Test(zmtp_requests, a_ping_without_its_fields_is_foreign)
{
    cr_assert_eq(see_frame(COMMAND, "\4PING", 5), ZMTP_FOREIGN);
}

Test(zmtp_requests, subscribing_at_a_router_is_foreign)
{
    cr_assert_eq(see_frame(COMMAND, "\x09SUBSCRIBEx", 11), ZMTP_FOREIGN);
}

Test(zmtp_requests, a_frame_over_the_limit_is_too_large)
{
    cr_assert_eq(see_large(0, WIRE_FRAME_MAX + 1), ZMTP_TOO_LARGE);
}

Test(zmtp_requests, a_message_of_too_many_parts_is_too_large)
{
    for (int i = 0; i < ZMTP_FRAMES_MAX; i++) {
        cr_assert_eq(see_frame(MORE, "", 0), ZMTP_FINE);
    }
    cr_assert_eq(see_frame(MORE, "", 0), ZMTP_TOO_LARGE);
}

Test(zmtp_requests, the_bytes_of_all_parts_are_counted)
{
    uint8_t part[SCRATCH] = {0};
    cr_assert_eq(see_large(MORE, WIRE_FRAME_MAX), ZMTP_FINE);
    for (int i = 0; i < WIRE_FRAME_MAX / SCRATCH; i++) {
        cr_assert_eq(see(part, sizeof part), ZMTP_FINE);
    }
    cr_assert_eq(see_large(MORE, ZMTP_MESSAGE_MAX - WIRE_FRAME_MAX + 1), ZMTP_TOO_LARGE);
}

Test(zmtp_requests, only_large_messages_that_have_ended_count_as_large)
{
    uint8_t part[SCRATCH] = {0};
    cr_assert_eq(see_frame(0, "small", 5), ZMTP_FINE);
    cr_assert_eq(see_large(0, ZMTP_LARGE), ZMTP_FINE);
    for (int i = 0; i < ZMTP_LARGE / SCRATCH; i++) {
        cr_assert_eq(zmtp_large_bytes(zmtp), 0);
        cr_assert_eq(see(part, sizeof part), ZMTP_FINE);
    }
    cr_assert_eq(zmtp_large_bytes(zmtp), ZMTP_LARGE);
}

static enum zmtp_verdict
subscribe(bool is_on, int number)
{
    char body[16];
    int size = snprintf(body, sizeof body, "%c%06d", is_on ? 1 : 0, number);
    return see_frame(0, body, (size_t)size);
}

Test(zmtp_events, subscriptions_are_counted_and_given_back)
{
    cr_assert_eq(subscribe(true, 1), ZMTP_FINE);
    cr_assert_eq(subscribe(true, 1), ZMTP_FINE);
    cr_assert_eq(zmtp_prefix_bytes(zmtp), 6);
    cr_assert_eq(subscribe(false, 2), ZMTP_FINE, "what was never subscribed gives nothing back");
    cr_assert_eq(zmtp_prefix_bytes(zmtp), 6);
    cr_assert_eq(see_frame(COMMAND, "\x09SUBSCRIBEtopic", 15), ZMTP_FINE);
    cr_assert_eq(zmtp_prefix_bytes(zmtp), 11);
    cr_assert_eq(see_frame(COMMAND, "\6CANCELtopic", 12), ZMTP_FINE);
    cr_assert_eq(subscribe(false, 1), ZMTP_FINE);
    cr_assert_eq(zmtp_prefix_bytes(zmtp), 0);
    cr_assert_eq(zmtp_subscribed_bytes(zmtp), 11);
}

Test(zmtp_events, more_subscriptions_than_a_connection_may_have_are_too_many)
{
    for (int i = 0; i < ZMTP_PREFIXES_MAX; i++) {
        cr_assert_eq(subscribe(true, i), ZMTP_FINE);
    }
    cr_assert_eq(subscribe(true, ZMTP_PREFIXES_MAX), ZMTP_TOO_MANY);
}

Test(zmtp_events, a_prefix_over_the_longest_topic_is_too_large)
{
    cr_assert_eq(see_large(0, ZMTP_SUBSCRIPTION_MAX + 1), ZMTP_TOO_LARGE);
}

Test(zmtp_events, changing_all_the_time_is_too_often_and_time_gives_more)
{
    for (int i = 0; i < ZMTP_BURST; i++) {
        cr_assert_eq(subscribe(i % 2 == 0, 1), ZMTP_FINE);
    }
    now_ms += 1000;
    for (int i = 0; i < ZMTP_PER_SECOND; i++) {
        cr_assert_eq(subscribe(i % 2 == 0, 1), ZMTP_FINE);
    }
    cr_assert_eq(subscribe(true, 1), ZMTP_TOO_OFTEN);
}
