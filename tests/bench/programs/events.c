/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Durable events end to end: a request to a source, its commit with the outbox row, PUB, the commit of the subscriber in a database
 *   of its own, and the confirmation at the source. Both actors stand on the kit and do nothing else: the source emits one event of
 *   some 200 bytes per request, the subscriber writes one row per event.
 *
 *       events [settings] SECONDS RATE WINDOW     RATE 0: as fast as WINDOW requests under way go
 *
 *   Prints one line of JSON: events confirmed and the time it took; from the sending of the request, the latencies until the
 *   subscriber's commit (p50_us, p99_us) and until the source knows of it (ack_p50_us, ack_p99_us). A confirmation is seen in HEAD,
 *   which the source publishes after each batch, so what is measured is never less than it was.
 *
 * FAILURES
 *   An event that is not confirmed 10 s after the last request, a refusal, an event that came twice or out of order: exit 1.
 *
 * LIMITS
 *   EVENTS_MAX events a run.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include <czmq.h>

#include "kit/actor.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "kit/settings/settings.h"
#include "kit/settings/topology.h"

enum { EVENTS_MAX = 8000000, WARM_UP_US = 1000000, TAIL_US = 200000, GIVE_UP_US = 10000000 };

/* Written by the subscriber's thread up to `applied`, read by the main thread behind it. */
static int64_t sent_us[EVENTS_MAX];
static int64_t applied_us[EVENTS_MAX];
static _Atomic int64_t applied;
static int64_t acked_us[EVENTS_MAX]; /* the main thread's */
static int64_t acked;
static int64_t epoch_us;

/* --- the source --- */

static err
open_nothing(struct actor *actor, void **state, struct err_text *why)
{
    (void)why;
    *state = actor;
    return ERR_ok;
}

static void
close_nothing(void **state)
{
    *state = NULL;
}

static void
emit(struct batch *batch, struct item *item)
{
    const struct wire_stock_adjust *adjust = item->body;
    struct wire_stock_alarm alarm = {0};
    WIRE_SET(&alarm, stock_alarm, product, adjust->product);
    WIRE_SET(&alarm, stock_alarm, on_hand, 0);
    WIRE_SET(&alarm, stock_alarm, reserved, 0);
    WIRE_SET(&alarm, stock_alarm, available, 0);
    WIRE_SET(&alarm, stock_alarm, incoming, 0);
    WIRE_SET(&alarm, stock_alarm, version, adjust->delta);
    WIRE_SET(&alarm, stock_alarm, reorder_at, 0);
    WIRE_SET(&alarm, stock_alarm, order_up_to, 0);
    WIRE_SET(&alarm, stock_alarm, lot, 1);
    WIRE_SET(&alarm, stock_alarm, refused, 0);
    WIRE_SET(&alarm, stock_alarm, factory_seq, 0);
    batch_emit(batch, EVENT_stock_low, adjust->product, &alarm, item);
    struct wire_stock_done done = {0};
    WIRE_SET(&done, stock_done, levels, (struct wire_list){0});
    item_answer(batch, item, &done);
}

static err
source_handle(void *state, struct batch *batch)
{
    (void)state;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].kind == ITEM_REQUEST && batch->items[i].op == OP_stock_adjust) {
            emit(batch, &batch->items[i]);
        }
    }
    return ERR_ok;
}

/* The answers are the events: the kit's own store of answers would be a second row for each. */
static err
recall_nothing(void *state, struct batch *batch)
{
    (void)state;
    (void)batch;
    return ERR_ok;
}

/* An actor without tables would have no database, and so no outbox. */
static const struct db_step source_steps[] = {
    {100, "CREATE TABLE IF NOT EXISTS $nothing (one {I64} NOT NULL PRIMARY KEY) {TABLE_END}"},
};

static const struct actor_class source_class = {.name = "stock",
                                                .steps = source_steps,
                                                .step_count = 1,
                                                .open = open_nothing,
                                                .close = close_nothing,
                                                .handle = source_handle,
                                                .recall = recall_nothing};

/* --- the subscriber --- */

static const struct db_step subscriber_steps[] = {
    {100, "CREATE TABLE IF NOT EXISTS $seen (seq {I64} NOT NULL PRIMARY KEY, product {NAME 64} NOT NULL) {TABLE_END}"},
};

static int64_t pending_seq;

static err
subscriber_handle(void *state, struct batch *batch)
{
    struct db_rows *rows = db_rows(actor_db(state), "INSERT INTO $seen (seq, product)", 2);
    pending_seq = atomic_load(&applied);
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->kind != ITEM_EVENT) {
            continue;
        }
        const struct wire_stock_alarm *alarm = item->body;
        if (item->header->seq != pending_seq + 1 || item->header->seq >= EVENTS_MAX) {
            fprintf(stderr, "event %lld came behind %lld\n", (long long)item->header->seq, (long long)pending_seq);
            exit(1);
        }
        pending_seq = item->header->seq;
        sent_us[pending_seq] = epoch_us + alarm->version;
        db_rows_i64(rows, pending_seq);
        db_rows_text(rows, alarm->product);
    }
    return db_rows_queue(rows);
}

static void
subscriber_committed(void *state)
{
    (void)state;
    int64_t now_us = clock_steady_us();
    for (int64_t seq = atomic_load(&applied) + 1; seq <= pending_seq; seq++) {
        applied_us[seq] = now_us;
    }
    if (pending_seq > atomic_load(&applied)) {
        atomic_store(&applied, pending_seq);
    }
}

static const struct actor_class subscriber_class = {.name = "factory",
                                                    .steps = subscriber_steps,
                                                    .step_count = 1,
                                                    .open = open_nothing,
                                                    .close = close_nothing,
                                                    .handle = subscriber_handle,
                                                    .committed = subscriber_committed};

/* --- the generator --- */

static void
fail(const char *what, const struct err_text *why)
{
    fprintf(stderr, "%s: %s\n", what, why->text);
    exit(1);
}

/* What HEAD says of the subscriber's position. */
static void
see_head(zsock_t *events)
{
    for (;;) {
        zmsg_t *message = (zsock_events(events) & ZMQ_POLLIN) != 0 ? zmsg_recv(events) : NULL;
        if (message == NULL) {
            return;
        }
        zframe_t *topic = zmsg_first(message);
        zframe_t *header = topic == NULL ? NULL : zmsg_next(message);
        zframe_t *body = header == NULL ? NULL : zmsg_next(message);
        struct wire_head head;
        struct err_text why;
        int64_t now_us = clock_steady_us();
        if (body != NULL && wire_decode(&head_body, (struct slice){zframe_data(body), zframe_size(body)}, &head, &why) == ERR_ok) {
            struct wire_position position;
            while (wire_list_next(&head.positions, &position_body, &position)) {
                while (slice_equal(position.subscriber, slice_of("factory/0")) && acked < position.position &&
                       acked + 1 < EVENTS_MAX) {
                    acked_us[++acked] = now_us;
                }
            }
        }
        zmsg_destroy(&message);
    }
}

static void
send_one(struct larder_client *client, int64_t number)
{
    char product[32];
    snprintf(product, sizeof product, "p-%04lld", (long long)(number % 1000));
    struct wire_stock_adjust adjust = {0};
    WIRE_SET(&adjust, stock_adjust, product, slice_of(product));
    int64_t offset_us = clock_steady_us() - epoch_us;
    WIRE_SET(&adjust, stock_adjust, delta, offset_us == 0 ? 1 : offset_us);
    struct larder_request request = {.op = OP_stock_adjust, .body = &adjust};
    struct err_text why = {"the window is full"};
    if (larder_client_send(client, &request) != ERR_ok) {
        fail("send", &why);
    }
}

static void
receive_all(struct larder_client *client, int64_t timeout_ms)
{
    struct larder_reply reply;
    while (larder_client_pending(client) > 0 && larder_client_receive(client, timeout_ms, &reply) == ERR_ok) {
        if (reply.status != ERR_ok) {
            struct err_text why;
            snprintf(why.text, sizeof why.text, "%s", err_symbol(reply.status));
            fail("answer", &why);
        }
        timeout_ms = 0;
    }
}

/* Sends for so long; returns how many. */
static int64_t
generate(struct larder_client *client, zsock_t *events, int64_t until_us, const int64_t *options)
{
    int64_t rate = options[1];
    int64_t began_us = clock_steady_us();
    int64_t sent = 0;
    for (int64_t now_us = began_us; now_us < until_us; now_us = clock_steady_us()) {
        int64_t allowed = rate == 0 ? INT64_MAX : (now_us - began_us) * rate / 1000000 + 1;
        while (sent < allowed && larder_client_pending(client) < options[2]) {
            send_one(client, sent++);
        }
        receive_all(client, 1);
        see_head(events);
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

static int64_t
quantile(int64_t *latencies, int64_t count, int64_t percent)
{
    qsort(latencies, (size_t)count, sizeof *latencies, compare);
    return count == 0 ? 0 : latencies[(count - 1) * percent / 100];
}

static void
report(int64_t first, int64_t last)
{
    int64_t count = last - first;
    int64_t *commits = calloc((size_t)count + 1, sizeof *commits);
    int64_t *acks = calloc((size_t)count + 1, sizeof *acks);
    if (commits == NULL || acks == NULL || count == 0) {
        abort();
    }
    int64_t took_us = acked_us[last] - sent_us[first + 1];
    for (int64_t i = 0; i < count; i++) {
        commits[i] = applied_us[first + 1 + i] - sent_us[first + 1 + i];
        acks[i] = acked_us[first + 1 + i] - sent_us[first + 1 + i];
    }
    printf("{\"requests\":%lld,\"ok\":%lld,\"refused\":0,\"seconds\":%.6f,\"p50_us\":%lld,\"p99_us\":%lld,\"ack_p50_us\":%lld,"
           "\"ack_p99_us\":%lld}\n",
           (long long)count, (long long)count, (double)took_us / 1e6, (long long)quantile(commits, count, 50),
           (long long)quantile(commits, count, 99), (long long)quantile(acks, count, 50), (long long)quantile(acks, count, 99));
    free(commits);
    free(acks);
}

static void
await_confirmations(struct larder_client *client, zsock_t *events, int64_t seq)
{
    int64_t until_us = clock_steady_us() + GIVE_UP_US;
    while (acked < seq && clock_steady_us() < until_us) {
        receive_all(client, 1);
        see_head(events);
        zclock_sleep(1);
    }
    if (acked < seq) {
        fprintf(stderr, "%lld of %lld events were confirmed\n", (long long)acked, (long long)seq);
        exit(1);
    }
}

static struct actor *
start(const struct actor_class *class, const struct settings *settings, int ended_fd)
{
    struct actor *actor = NULL;
    struct err_text why;
    if (actor_start(class, settings, 0, ended_fd, &actor, &why) != ERR_ok) {
        fail(class->name, &why);
    }
    return actor;
}

int
main(int argc, char **argv)
{
    static struct settings settings;
    struct err_text why;
    int64_t options[3];
    zsys_handler_set(NULL);
    if (settings_init(&settings, &why) != ERR_ok || settings_flags(&settings, &argc, argv, &why) != ERR_ok) {
        fail("settings", &why);
    }
    settings.init = 1;
    if (argc != 4) {
        fprintf(stderr, "usage: events [settings] SECONDS RATE WINDOW\n");
        return 2;
    }
    for (int i = 0; i < 3; i++) {
        options[i] = strtoll(argv[i + 1], NULL, 10);
    }
    epoch_us = clock_steady_us();
    topology_set_local("stock");
    topology_set_local("factory");
    int ended_fd = eventfd(0, EFD_CLOEXEC);
    struct actor *subscriber = start(&subscriber_class, &settings, ended_fd);
    struct actor *source = start(&source_class, &settings, ended_fd);
    char endpoint[ENDPOINT_MAX];
    topology_bind(&settings, "stock", 0, ENDPOINT_EVENTS, endpoint);
    zsock_t *events = NULL;
    struct larder_client *client = NULL;
    if (link_events(endpoint, &events, &why) != ERR_ok) {
        fail("events", &why);
    }
    zsock_set_subscribe(events, "head");
    topology_bind(&settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    const char *const peers[] = {endpoint};
    if (larder_client_create(peers, 1, &client, &why) != ERR_ok) {
        fail("client", &why);
    }
    int64_t warm = generate(client, events, clock_steady_us() + WARM_UP_US, options);
    await_confirmations(client, events, warm);
    int64_t sent = generate(client, events, clock_steady_us() + options[0] * 1000000, options);
    /* Those behind the measured ones make the source publish the HEAD that tells of their confirmation. */
    (void)generate(client, events, clock_steady_us() + TAIL_US, options);
    await_confirmations(client, events, warm + sent);
    report(warm, warm + sent);
    larder_client_destroy(&client);
    zsock_destroy(&events);
    (void)actor_stop(&source);
    (void)actor_stop(&subscriber);
    return 0;
}
