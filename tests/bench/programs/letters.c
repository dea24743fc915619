/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Load for the dlq over ZeroMQ.
 *
 *       letters ENDPOINT bury COUNT       buries so many new letters, 256 in a message, 4 messages under way; the rate
 *       letters ENDPOINT query ROUNDS     for each filter the time of a page of 100, and of stats; the slowest median of all filters
 *
 *   Prints one line of JSON. Letters are as actors send them: an event with its frames, seven attempts, one of 10 reasons, 8
 *   destinations, 3 types and 100,000 keys, so that a filter finds many or few.
 *
 * FAILURES
 *   A refusal, or no answer: exit 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>

#include "kit/base/clock.h"
#include "larder.h"

enum { BATCH = 256, UNDER_WAY = 4, ATTEMPTS = 7, KEYS = 100000, ROUNDS_MAX = 1000 };

static const char *const reasons[] = {"would_overflow", "internal",  "unknown_product", "out_of_stock",    "call_failed",
                                      "not_found",      "malformed", "invalid_field",   "unknown_version", "would_go_negative"};
static const char *const destinations[] = {"stock/0", "stock/1", "stock/2", "stock/3", "factory/0", "order/0", "payment/0", "user/0"};
static const char *const types[] = {"factory.produced", "factory.ordered", "factory.failed"};

static void
fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

/* --- burying --- */

static void
make_frames(int64_t number, struct wire_burial *burial, struct wire_buffer *header_frame, struct wire_buffer *body_frame)
{
    static char key[32];
    snprintf(key, sizeof key, "product-%05lld", (long long)(number % KEYS));
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, header.id);
    WIRE_SET(&header, event_header, seq, number + 1);
    WIRE_SET(&header, event_header, type, slice_of(types[number % 3]));
    WIRE_SET(&header, event_header, key, slice_of(key));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, header.id);
    WIRE_SET(&fact, factory_fact, product, slice_of(key));
    WIRE_SET(&fact, factory_fact, quantity, 1 + number % 1000);
    header_frame->size = body_frame->size = 0;
    wire_encode(&event_header_body, &header, header_frame);
    wire_encode(&factory_fact_body, &fact, body_frame);
    WIRE_SET(burial, burial, letter, id_derive(&header.id, "letter/stock/0"));
    WIRE_SET(burial, burial, key, header.key);
    WIRE_SET(burial, burial, type, header.type);
    WIRE_SET(burial, burial, source, header.source);
    WIRE_SET(burial, burial, seq, header.seq);
    WIRE_SET(burial, burial, header, wire_buffer_slice(header_frame));
    WIRE_SET(burial, burial, body, wire_buffer_slice(body_frame));
}

static void
make_history(struct wire_list *history, struct wire_buffer *list)
{
    list->size = 0;
    *history = (struct wire_list){0};
    for (int i = 0; i < ATTEMPTS; i++) {
        struct wire_letter_attempt attempt = {0};
        WIRE_SET(&attempt, letter_attempt, time, clock_utc_ms());
        WIRE_SET(&attempt, letter_attempt, error, slice_of("would_overflow: the shelf cannot hold a number that large"));
        wire_list_add(history, &letter_attempt_body, &attempt, list);
    }
    wire_list_end(history, list);
}

static void
send_batch(struct larder_client *client, int64_t first, int64_t count)
{
    static struct wire_buffer header_frame;
    static struct wire_buffer body_frame;
    static struct wire_buffer attempts;
    static struct wire_buffer list;
    struct wire_dlq_bury bury = {0};
    list.size = 0;
    WIRE_SET(&bury, dlq_bury, burials, (struct wire_list){0});
    for (int64_t number = first; number < first + count; number++) {
        struct wire_burial burial = {0};
        struct wire_list history;
        make_frames(number, &burial, &header_frame, &body_frame);
        make_history(&history, &attempts);
        WIRE_SET(&burial, burial, kind, slice_of("event"));
        WIRE_SET(&burial, burial, destination, slice_of(destinations[number % 8]));
        WIRE_SET(&burial, burial, reason, slice_of(reasons[number % 10]));
        WIRE_SET(&burial, burial, error, slice_of("the shelf cannot hold a number that large"));
        WIRE_SET(&burial, burial, attempts, ATTEMPTS);
        WIRE_SET(&burial, burial, first, clock_utc_ms() - 10000);
        WIRE_SET(&burial, burial, last, clock_utc_ms());
        WIRE_SET(&burial, burial, history, history);
        wire_list_add(&bury.burials, &burial_body, &burial, &list);
    }
    wire_list_end(&bury.burials, &list);
    struct larder_request request = {.op = OP_dlq_bury, .body = &bury, .options = {.timeout_ms = 30000, .attempt_ms = 30000}};
    if (larder_client_send(client, &request) != ERR_ok) {
        fail("dlq.bury", "could not be sent");
    }
}

static void
receive_one(struct larder_client *client)
{
    struct larder_reply reply;
    if (larder_client_receive(client, 30000, &reply) != ERR_ok || reply.status != ERR_ok) {
        fail("dlq.bury", err_symbol(reply.status));
    }
}

static void
run_bury(struct larder_client *client, int64_t count)
{
    int64_t began_us = clock_steady_us();
    /* Keys and numbers of an earlier run do not matter: ids are new. */
    for (int64_t sent = 0; sent < count; sent += BATCH) {
        while (larder_client_pending(client) >= UNDER_WAY) {
            receive_one(client);
        }
        send_batch(client, sent, count - sent < BATCH ? count - sent : BATCH);
    }
    while (larder_client_pending(client) > 0) {
        receive_one(client);
    }
    double seconds = (double)(clock_steady_us() - began_us) / 1e6;
    printf("{\"letters\":%lld,\"seconds\":%.6f,\"rate\":%.0f}\n", (long long)count, seconds, (double)count / seconds);
}

/* --- asking --- */

struct question {
    const char *name;
    void (*set)(struct wire_letter_filter *filter);
};

#define QUESTION(field, value)                                 \
    static void set_##field(struct wire_letter_filter *filter) \
    {                                                          \
        WIRE_SET(filter, letter_filter, field, value);         \
    }
QUESTION(state, slice_of("dead"))
QUESTION(kind, slice_of("event"))
QUESTION(destination, slice_of("payment/0"))
QUESTION(source, slice_of("factory/0"))
QUESTION(type, slice_of("factory.failed"))
QUESTION(reason, slice_of("would_go_negative"))
QUESTION(older_than_ms, 1000)
QUESTION(younger_than_ms, 3600000)
QUESTION(min_units, 990)
QUESTION(min_amount, 0)

static void
set_key(struct wire_letter_filter *filter)
{
    WIRE_SET(filter, letter_filter, key, slice_of("product-00042"));
}

static void
set_none(struct wire_letter_filter *filter)
{
    (void)filter;
}

static const struct question questions[] = {
    {"none", set_none},
    {"state", set_state},
    {"kind", set_kind},
    {"destination", set_destination},
    {"source", set_source},
    {"type", set_type},
    {"reason", set_reason},
    {"key", set_key},
    {"older_than_ms", set_older_than_ms},
    {"younger_than_ms", set_younger_than_ms},
    {"min_units", set_min_units},
    {"min_amount", set_min_amount},
};

static int
compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int64_t
ask(struct larder_client *client, enum op op, const void *body)
{
    struct larder_request request = {.op = op, .body = body};
    struct larder_reply reply;
    int64_t began_us = clock_steady_us();
    if (larder_client_call(client, &request, &reply) != ERR_ok) {
        fail(wire_ops[op].name, err_symbol(reply.status));
    }
    return clock_steady_us() - began_us;
}

static int64_t
median_us(struct larder_client *client, enum op op, const void *body, int64_t rounds)
{
    static int64_t times[ROUNDS_MAX];
    (void)ask(client, op, body);
    for (int64_t i = 0; i < rounds; i++) {
        times[i] = ask(client, op, body);
    }
    qsort(times, (size_t)rounds, sizeof *times, compare);
    return times[rounds / 2];
}

static void
run_query(struct larder_client *client, int64_t rounds)
{
    int64_t slowest_us = 0;
    const char *slowest = "";
    printf("{\"filters\":{");
    for (size_t i = 0; i < sizeof questions / sizeof questions[0]; i++) {
        struct wire_letter_filter filter = {0};
        WIRE_SET(&filter, letter_filter, limit, 100);
        questions[i].set(&filter);
        int64_t us = median_us(client, OP_dlq_list, &filter, rounds);
        printf("%s\"%s\":%lld", i == 0 ? "" : ",", questions[i].name, (long long)us);
        if (us > slowest_us) {
            slowest_us = us;
            slowest = questions[i].name;
        }
    }
    struct wire_nothing nothing = {0};
    int64_t stats_us = median_us(client, OP_dlq_stats, &nothing, rounds);
    printf("},\"slowest\":\"%s\",\"slowest_us\":%lld,\"stats_us\":%lld}\n", slowest, (long long)slowest_us, (long long)stats_us);
}

int
main(int argc, char **argv)
{
    struct larder_client *client = NULL;
    struct err_text why;
    int64_t number = argc == 4 ? strtoll(argv[3], NULL, 10) : 0;
    if (number <= 0 || (strcmp(argv[2], "bury") != 0 && strcmp(argv[2], "query") != 0)) {
        fprintf(stderr, "usage: letters ENDPOINT bury COUNT | letters ENDPOINT query ROUNDS\n");
        return 2;
    }
    const char *const peers[] = {argv[1]};
    if (larder_client_create(peers, 1, &client, &why) != ERR_ok) {
        fail("client", why.text);
    }
    if (strcmp(argv[2], "bury") == 0) {
        run_bury(client, number);
    } else {
        run_query(client, number < ROUNDS_MAX ? number : ROUNDS_MAX);
    }
    larder_client_destroy(&client);
    return 0;
}
