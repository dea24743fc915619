/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The peer of events.c: messages through a RabbitMQ quorum queue with everything that makes them durable: persistent messages,
 *   publisher confirms, acknowledgements by the consumer. One connection publishes, another one consumes, as the manual of the C
 *   client has it.
 *
 *       rabbit PORT SECONDS RATE WINDOW     RATE 0: as fast as WINDOW unconfirmed messages go
 *
 *   Prints the line of JSON that events.c prints: a message counts when the consumer has it and has sent its acknowledgement, which
 *   it does once for all that had come. p50_us and p99_us are from the publishing to the receipt. The consumer stores nothing.
 *
 * FAILURES
 *   A broken connection, a message that is returned or not acknowledged, or that does not come within 10 s: exit 1.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>

enum { MESSAGES_MAX = 8000000, BODY_SIZE = 200, PREFETCH = 2000, WARM_UP_US = 1000000, GIVE_UP_US = 10000000 };

#define QUEUE "events"

static int64_t sent_us[MESSAGES_MAX];
static int64_t seen_us[MESSAGES_MAX];
static _Atomic int64_t seen; /* acknowledged, in order */

static int64_t
now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static void
expect(amqp_connection_state_t connection, const char *what)
{
    if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) {
        fail(what);
    }
}

static amqp_connection_state_t
open_connection(int port)
{
    amqp_connection_state_t connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(connection);
    if (socket == NULL || amqp_socket_open(socket, "127.0.0.1", port) != AMQP_STATUS_OK) {
        fail("cannot connect");
    }
    if (amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type != AMQP_RESPONSE_NORMAL) {
        fail("cannot log in");
    }
    amqp_channel_open(connection, 1);
    expect(connection, "channel");
    return connection;
}

static void
declare_queue(amqp_connection_state_t connection)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes("x-queue-type"),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")}};
    amqp_table_t arguments = {.num_entries = 1, .entries = &entry};
    amqp_queue_declare(connection, 1, amqp_cstring_bytes(QUEUE), 0, 1, 0, 0, arguments);
    expect(connection, "queue");
    amqp_queue_purge(connection, 1, amqp_cstring_bytes(QUEUE));
    expect(connection, "purge");
}

/* --- the consumer --- */

static void *
consume(void *argument)
{
    amqp_connection_state_t connection = open_connection(*(const int *)argument);
    amqp_basic_qos(connection, 1, 0, PREFETCH, 0);
    expect(connection, "qos");
    amqp_basic_consume(connection, 1, amqp_cstring_bytes(QUEUE), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    expect(connection, "consume");
    int64_t received = 0;
    uint64_t tag = 0;
    for (;;) {
        amqp_envelope_t envelope;
        struct timeval none = {0, 0};
        bool is_behind = received > atomic_load(&seen);
        amqp_maybe_release_buffers(connection);
        amqp_rpc_reply_t reply = amqp_consume_message(connection, &envelope, is_behind ? &none : NULL, 0);
        if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION && reply.library_error == AMQP_STATUS_TIMEOUT) {
            if (amqp_basic_ack(connection, 1, tag, 1) != AMQP_STATUS_OK) {
                fail("ack");
            }
            atomic_store(&seen, received);
            continue;
        }
        if (reply.reply_type != AMQP_RESPONSE_NORMAL) {
            fail("the consumer lost its connection");
        }
        tag = envelope.delivery_tag;
        seen_us[received++] = now_us();
        amqp_destroy_envelope(&envelope);
        if (received - atomic_load(&seen) >= PREFETCH / 4) {
            if (amqp_basic_ack(connection, 1, tag, 1) != AMQP_STATUS_OK) {
                fail("ack");
            }
            atomic_store(&seen, received);
        }
    }
    return NULL;
}

/* --- the publisher --- */

static void
publish(amqp_connection_state_t connection, int64_t number)
{
    static uint8_t body[BODY_SIZE];
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    sent_us[number] = now_us();
    if (amqp_basic_publish(connection, 1, amqp_empty_bytes, amqp_cstring_bytes(QUEUE), 0, 0, &properties,
                           (amqp_bytes_t){sizeof body, body}) != AMQP_STATUS_OK) {
        fail("publish");
    }
}

/* Takes the confirms that are there, waiting up to `wait_us` for the first; returns the highest number confirmed. */
static int64_t
take_confirms(amqp_connection_state_t connection, int64_t confirmed, int64_t wait_us)
{
    for (;;) {
        amqp_frame_t frame;
        struct timeval wait = {0, wait_us};
        int status = amqp_simple_wait_frame_noblock(connection, &frame, &wait);
        if (status == AMQP_STATUS_TIMEOUT) {
            return confirmed;
        }
        if (status != AMQP_STATUS_OK || frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD) {
            fail("a message was not confirmed");
        }
        const amqp_basic_ack_t *ack = frame.payload.method.decoded;
        confirmed = (int64_t)ack->delivery_tag > confirmed ? (int64_t)ack->delivery_tag : confirmed;
        amqp_maybe_release_buffers(connection);
        wait_us = 0;
    }
}

static int64_t
generate(amqp_connection_state_t connection, int64_t first, int64_t until_us, const int64_t *options)
{
    int64_t rate = options[1];
    int64_t began_us = now_us();
    int64_t sent = first;
    int64_t confirmed = first;
    for (int64_t at_us = began_us; at_us < until_us; at_us = now_us()) {
        int64_t allowed = rate == 0 ? INT64_MAX : first + (at_us - began_us) * rate / 1000000 + 1;
        while (sent < allowed && sent - confirmed < options[2] && sent + 1 < MESSAGES_MAX) {
            publish(connection, sent++);
        }
        confirmed = take_confirms(connection, confirmed, 200);
    }
    int64_t give_up_us = now_us() + GIVE_UP_US;
    while ((confirmed < sent || atomic_load(&seen) < sent) && now_us() < give_up_us) {
        confirmed = take_confirms(connection, confirmed, 1000);
    }
    if (confirmed < sent || atomic_load(&seen) < sent) {
        fail("messages are missing");
    }
    return sent;
}

static int
compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void
report(int64_t first, int64_t last)
{
    int64_t count = last - first;
    int64_t *latencies = calloc((size_t)count + 1, sizeof *latencies);
    if (latencies == NULL || count == 0) {
        fail("nothing was sent");
    }
    for (int64_t i = 0; i < count; i++) {
        latencies[i] = seen_us[first + i] - sent_us[first + i];
    }
    double seconds = (double)(seen_us[last - 1] - sent_us[first]) / 1e6;
    qsort(latencies, (size_t)count, sizeof *latencies, compare);
    printf("{\"requests\":%lld,\"ok\":%lld,\"refused\":0,\"seconds\":%.6f,\"p50_us\":%lld,\"p99_us\":%lld}\n", (long long)count,
           (long long)count, seconds, (long long)latencies[(count - 1) / 2], (long long)latencies[(count - 1) * 99 / 100]);
    free(latencies);
}

int
main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: rabbit PORT SECONDS RATE WINDOW\n");
        return 2;
    }
    int port = atoi(argv[1]);
    int64_t options[3];
    for (int i = 0; i < 3; i++) {
        options[i] = strtoll(argv[i + 2], NULL, 10);
    }
    amqp_connection_state_t publisher = open_connection(port);
    declare_queue(publisher);
    amqp_confirm_select(publisher, 1);
    expect(publisher, "confirms");
    pthread_t consumer;
    if (pthread_create(&consumer, NULL, consume, &port) != 0) {
        fail("thread");
    }
    int64_t warm = generate(publisher, 0, now_us() + WARM_UP_US, options);
    int64_t last = generate(publisher, warm, now_us() + options[0] * 1000000, options);
    report(warm, last);
    fflush(stdout);
    _Exit(0); /* the consumer waits in its connection */
}
