/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The kit's loop with a toy actor (tests/support/toy_actor.h) in it, on both databases: what is shared, what is answered, what is done
 * once, and what is left when the database or the shard goes away.
 *
 * PURPOSE   The test's thread is the toy's client, its factory (requests and events), its subscriber and its enemy.
 * STATE     One actor, a DEALER to it, and a fake factory whose sockets are served whenever the test waits for something.
 * LIMITS    What depends on who shares a batch goes over inproc and uses the toy's gate: while the handler stands in it, everything
 *           that is sent lies in the actor's socket and becomes the next batch.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <czmq.h>

#include "../support/kit_place.h"
#include "../support/toy_actor.h"
#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "../support/patience.h"
#include "kit/durable/shard.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(10000)
#define EVENTS_MAX 1200
#define QUESTIONS_MAX 16
#define PAGE_MAX 1000
#define HEAD_MS 200

/* The factory that the toy follows and asks. */
struct fake_factory {
    zsock_t *router;
    zsock_t *publisher;
    struct id incarnation;
    struct slice headers[EVENTS_MAX];
    struct slice bodies[EVENTS_MAX];
    int64_t seq;
    bool is_silent;    /* lets FETCHes wait */
    int64_t confirmed; /* what the toy has said to be on disk */
    int64_t kept_from; /* what comes before is with the dlq; 0: everything is here */
    int64_t head_ms;   /* when HEAD was published last */
    struct message questions[QUESTIONS_MAX];
    size_t question_count;
};

/* Keeps events of the factory. */
struct fake_dlq {
    zsock_t *router;
    int64_t kept_to;
    bool is_refusing;
    int pages; /* that had events */
    int questions;
};

struct stage {
    struct place *place;
    const struct actor_class *class;
    struct actor *actor;
    int ended_fd;
    zsock_t *client;
    struct arena arena;
    struct wire_buffer list;
    struct fake_factory factory;
    struct fake_dlq dlq;
};

/* One reply, and what the tests look at in it. */
struct heard {
    struct id id;
    bool again;
    bool replayed;
    err status;
    int64_t total;     /* of stock.adjust and stock.get */
    uint64_t checksum; /* of the body frame */
    char detail[ERR_TEXT_MAX];
};

struct sending {
    struct id id;
    bool again;
    int64_t timeout_ms; /* 0: WAIT_MS */
};

/* --- life --- */

static void
run_actor(struct stage *stage)
{
    struct err_text why = {""};
    err code = actor_start(stage->class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
}

static void
connect_client(struct stage *stage, bool by_tcp)
{
    char endpoint[ENDPOINT_MAX];
    struct err_text why = {""};
    zsock_destroy(&stage->client);
    if (by_tcp) {
        topology_connect(&stage->place->settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    } else {
        topology_inproc("stock", 0, ENDPOINT_REQUESTS, endpoint);
    }
    cr_assert(link_requests(endpoint, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
start_class(struct stage *stage, struct place *place, const struct actor_class *class)
{
    *stage = (struct stage){.place = place, .class = class, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR);
    run_actor(stage);
    connect_client(stage, false);
}

static void
start(struct stage *stage, struct place *place)
{
    start_class(stage, place, &toy_class);
}

static void
stop_factory(struct fake_factory *factory)
{
    for (size_t i = 0; i < factory->question_count; i++) {
        message_fini(&factory->questions[i]);
    }
    for (int64_t i = 0; i < factory->seq; i++) {
        free((void *)(uintptr_t)factory->headers[i].data);
        free((void *)(uintptr_t)factory->bodies[i].data);
    }
    zsock_destroy(&factory->router);
    zsock_destroy(&factory->publisher);
    *factory = (struct fake_factory){0};
}

static void
finish(struct stage *stage)
{
    zsock_destroy(&stage->client);
    if (stage->actor != NULL) {
        cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
    }
    stop_factory(&stage->factory);
    zsock_destroy(&stage->dlq.router);
    arena_fini(&stage->arena);
    wire_buffer_fini(&stage->list);
    close(stage->ended_fd);
}

static void
restart(struct stage *stage)
{
    zsock_destroy(&stage->client);
    cr_assert(actor_stop(&stage->actor) == ACTOR_STOPPED);
    place_await_ports(stage->place);
    run_actor(stage);
    connect_client(stage, false);
}

/* --- the fake factory --- */

static void
open_factory(struct stage *stage)
{
    struct fake_factory *factory = &stage->factory;
    char endpoint[ENDPOINT_MAX];
    factory->router = zsock_new(ZMQ_ROUTER);
    factory->publisher = zsock_new(ZMQ_PUB);
    zsock_set_linger(factory->router, 0);
    zsock_set_linger(factory->publisher, 0);
    topology_bind(&stage->place->settings, "factory", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(factory->router, "%s", endpoint) >= 0);
    topology_bind(&stage->place->settings, "factory", 0, ENDPOINT_EVENTS, endpoint);
    cr_assert(zsock_bind(factory->publisher, "%s", endpoint) >= 0);
}

static void
start_factory(struct stage *stage)
{
    stage->factory.incarnation = id_new();
    open_factory(stage);
}

static void
start_dlq(struct stage *stage, int64_t kept_to)
{
    char endpoint[ENDPOINT_MAX];
    stage->dlq = (struct fake_dlq){.router = zsock_new(ZMQ_ROUTER), .kept_to = kept_to};
    zsock_set_linger(stage->dlq.router, 0);
    topology_bind(&stage->place->settings, "dlq", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(stage->dlq.router, "%s", endpoint) >= 0);
}

static struct slice
encode_kept(const struct wire_body *body, const void *source)
{
    struct wire_buffer buffer = {0};
    wire_encode(body, source, &buffer);
    return wire_buffer_slice(&buffer);
}

/* Writes an event into the factory's stream; `published`: tells the world too, otherwise it has to be fetched. */
static void
produce(struct stage *stage, const char *product, int64_t quantity, bool published)
{
    struct fake_factory *factory = &stage->factory;
    cr_assert(factory->seq < EVENTS_MAX);
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, factory->incarnation);
    WIRE_SET(&header, event_header, seq, factory->seq + 1);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of(product));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_new());
    WIRE_SET(&fact, factory_fact, product, slice_of(product));
    WIRE_SET(&fact, factory_fact, quantity, quantity);
    struct slice head = encode_kept(&event_header_body, &header);
    struct slice body = encode_kept(&factory_fact_body, &fact);
    factory->headers[factory->seq] = head;
    factory->bodies[factory->seq] = body;
    factory->seq++;
    if (published) {
        void *raw = zsock_resolve(factory->publisher);
        char topic[128];
        int size = snprintf(topic, sizeof topic, "factory.produced.%s", product);
        cr_assert(zmq_send(raw, topic, (size_t)size, ZMQ_SNDMORE) >= 0);
        cr_assert(zmq_send(raw, head.data, head.size, ZMQ_SNDMORE) >= 0);
        cr_assert(zmq_send(raw, body.data, body.size, 0) >= 0);
    }
}

/* Where an answer goes. */
struct answering {
    zsock_t *router;
    struct message *question;
    err status;
};

static void
send_status(struct stage *stage, const struct answering *how, const struct wire_body *shape, const void *body)
{
    struct wire_request_header asked;
    struct err_text why = {""};
    struct wire_reply_header header = {0};
    cr_assert(wire_decode(&request_header_body, message_header(how->question), &asked, &why) == ERR_ok, "%s", why.text);
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, asked.id);
    if (WIRE_HAS(&asked, request_header, again)) {
        WIRE_SET(&header, reply_header, again, asked.again);
    }
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(how->status)));
    enum message_sent sent =
        message_reply(zsock_resolve(how->router), how->question, arena_encode(&stage->arena, &reply_header_body, &header),
                      arena_encode(&stage->arena, shape, body));
    cr_assert(sent == MESSAGE_SENT || sent == MESSAGE_GONE, "the actor takes no answer");
    message_fini(how->question);
}

static void
send_answer(struct stage *stage, struct message *question, const struct wire_body *shape, const void *body)
{
    send_status(stage, &(struct answering){stage->factory.router, question, ERR_ok}, shape, body);
}

static void
refuse_question(struct stage *stage, zsock_t *router, struct message *question, err status)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("because of the test"));
    send_status(stage, &(struct answering){router, question, status}, &problem_body, &problem);
}

/* Events of the factory behind a position, up to another. */
struct span {
    int64_t behind;
    int64_t to;
};

/* Returns how many there were. */
static uint32_t
send_events(struct stage *stage, zsock_t *router, struct message *question, const struct span *span)
{
    struct fake_factory *factory = &stage->factory;
    struct wire_fetched page = {0};
    struct wire_list events = {0};
    stage->list.size = 0;
    for (int64_t i = span->behind; i < span->to && i < span->behind + PAGE_MAX; i++) {
        struct wire_fetched_event event = {0};
        WIRE_SET(&event, fetched_event, header, factory->headers[i]);
        WIRE_SET(&event, fetched_event, body, factory->bodies[i]);
        wire_list_add(&events, &fetched_event_body, &event, &stage->list);
    }
    wire_list_end(&events, &stage->list);
    WIRE_SET(&page, fetched, incarnation, factory->incarnation);
    WIRE_SET(&page, fetched, head, router == factory->router ? factory->seq : span->to);
    WIRE_SET(&page, fetched, events, events);
    send_status(stage, &(struct answering){router, question, ERR_ok}, &fetched_body, &page);
    return events.count;
}

/* All that it has behind the position and may say at once, however many were asked for. */
static void
answer_fetch(struct stage *stage, struct message *question)
{
    struct fake_factory *factory = &stage->factory;
    struct wire_fetch fetch;
    struct err_text why = {""};
    cr_assert(wire_decode(&fetch_body, message_body(question), &fetch, &why) == ERR_ok, "%s", why.text);
    factory->confirmed = fetch.position > factory->confirmed ? fetch.position : factory->confirmed;
    if (fetch.limit > 0 && fetch.position < factory->kept_from) {
        refuse_question(stage, factory->router, question, ERR_kept_elsewhere);
        return;
    }
    struct span span = {fetch.position, fetch.limit > 0 ? factory->seq : 0};
    (void)send_events(stage, factory->router, question, &span);
}

static void
serve_dlq(struct stage *stage)
{
    struct fake_dlq *dlq = &stage->dlq;
    struct message question;
    while (dlq->router != NULL && message_receive(zsock_resolve(dlq->router), true, &question) == MESSAGE_OK) {
        struct wire_dlq_fetch fetch;
        struct err_text why = {""};
        cr_assert(wire_decode(&dlq_fetch_body, message_body(&question), &fetch, &why) == ERR_ok, "%s", why.text);
        cr_expect(slice_equal(fetch.source, slice_of("factory/0")));
        cr_expect(slice_equal(fetch.subscriber, slice_of("stock/0")));
        dlq->questions++;
        if (dlq->is_refusing) {
            refuse_question(stage, dlq->router, &question, ERR_unknown_subscriber);
            continue;
        }
        int64_t most = fetch.position + fetch.limit;
        struct span span = {fetch.position, most < dlq->kept_to ? most : dlq->kept_to};
        dlq->pages += send_events(stage, dlq->router, &question, &span) > 0 ? 1 : 0;
    }
}

static void
publish_head_of(struct stage *stage, const char *source, int64_t seq, bool is_readable)
{
    struct fake_factory *factory = &stage->factory;
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of(source));
    WIRE_SET(&header, event_header, incarnation, factory->incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of("head"));
    WIRE_SET(&header, event_header, key, slice_of(""));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    struct wire_head body = {0};
    WIRE_SET(&body, head, head, seq);
    WIRE_SET(&body, head, oldest, 1);
    WIRE_SET(&body, head, positions, (struct wire_list){0});
    struct slice frames[] = {slice_of("head"), arena_encode(&stage->arena, &event_header_body, &header),
                             is_readable ? arena_encode(&stage->arena, &head_body, &body) : slice_of("\xc1")};
    for (int i = 0; i < 3; i++) {
        cr_assert(zmq_send(zsock_resolve(factory->publisher), frames[i].data, frames[i].size, i < 2 ? ZMQ_SNDMORE : 0) >= 0);
    }
}

/* As every source does: what is published while nobody is connected yet is found out by the next HEAD. */
static void
publish_head(struct stage *stage)
{
    struct fake_factory *factory = &stage->factory;
    int64_t now_ms = link_steady_ms();
    if (factory->router == NULL || factory->is_silent || now_ms - factory->head_ms < HEAD_MS) {
        return;
    }
    factory->head_ms = now_ms;
    publish_head_of(stage, "factory/0", factory->seq, true);
}

static void
serve_factory(struct stage *stage)
{
    struct fake_factory *factory = &stage->factory;
    struct message question;
    serve_dlq(stage);
    publish_head(stage);
    while (factory->router != NULL && message_receive(zsock_resolve(factory->router), true, &question) == MESSAGE_OK) {
        struct wire_request_header header;
        struct err_text why = {""};
        cr_assert(wire_decode(&request_header_body, message_header(&question), &header, &why) == ERR_ok, "%s", why.text);
        if (!slice_equal(header.op, slice_of("any.fetch"))) {
            cr_assert(factory->question_count < QUESTIONS_MAX);
            factory->questions[factory->question_count++] = question;
        } else if (factory->is_silent) {
            message_fini(&question);
        } else {
            answer_fetch(stage, &question);
        }
    }
}

/* Answers the factory.get that came first. */
static void
answer_question(struct stage *stage)
{
    struct fake_factory *factory = &stage->factory;
    cr_assert(factory->question_count > 0);
    struct wire_production production = {0};
    WIRE_SET(&production, production, id, id_new());
    WIRE_SET(&production, production, product, slice_of("donut"));
    WIRE_SET(&production, production, quantity, 1);
    WIRE_SET(&production, production, status, slice_of("ordered"));
    WIRE_SET(&production, production, ordered_at, 1);
    send_answer(stage, &factory->questions[0], &production_body, &production);
    memmove(&factory->questions[0], &factory->questions[1], --factory->question_count * sizeof factory->questions[0]);
}

/* --- asking --- */

/* Waits a little for anything to come; serves the factory. */
static void
serve(struct stage *stage, int64_t timeout_ms)
{
    zmq_pollitem_t items[3] = {{.socket = zsock_resolve(stage->client), .events = ZMQ_POLLIN}};
    int count = 1;
    if (stage->factory.router != NULL) {
        items[count++] = (zmq_pollitem_t){.socket = zsock_resolve(stage->factory.router), .events = ZMQ_POLLIN};
    }
    if (stage->dlq.router != NULL) {
        items[count++] = (zmq_pollitem_t){.socket = zsock_resolve(stage->dlq.router), .events = ZMQ_POLLIN};
    }
    (void)zmq_poll(items, count, (long)timeout_ms);
    serve_factory(stage);
}

static bool
try_send_frames(struct stage *stage, struct slice header, struct slice body)
{
    return message_send(zsock_resolve(stage->client), header, body) == MESSAGE_SENT;
}

static void
send_frames(struct stage *stage, struct slice header, struct slice body)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (!try_send_frames(stage, header, body)) {
        cr_assert(link_steady_ms() < until_ms, "nobody takes it");
        serve(stage, 5);
    }
}

static struct slice
header_of(struct stage *stage, const char *op, const struct sending *how)
{
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, how->id);
    WIRE_SET(&header, request_header, op, slice_of(op));
    WIRE_SET(&header, request_header, deadline, clock_utc_ms() + (how->timeout_ms == 0 ? WAIT_MS : how->timeout_ms));
    if (how->again) {
        WIRE_SET(&header, request_header, again, true);
    }
    return arena_encode(&stage->arena, &request_header_body, &header);
}

static void
send_op(struct stage *stage, enum op op, const void *body, const struct sending *how)
{
    send_frames(stage, header_of(stage, wire_ops[op].name, how), arena_encode(&stage->arena, wire_ops[op].request, body));
}

static struct wire_stock_adjust
adjust_of(const char *product, int64_t delta, const char *reason)
{
    struct wire_stock_adjust adjust = {0};
    WIRE_SET(&adjust, stock_adjust, product, slice_of(product));
    WIRE_SET(&adjust, stock_adjust, delta, delta);
    if (reason != NULL) {
        WIRE_SET(&adjust, stock_adjust, reason, slice_of(reason));
    }
    return adjust;
}

static struct id
send_adjust(struct stage *stage, const char *product, int64_t delta, const char *reason)
{
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust adjust = adjust_of(product, delta, reason);
    send_op(stage, OP_stock_adjust, &adjust, &how);
    return how.id;
}

static void
send_adjust_as(struct stage *stage, const char *product, int64_t delta, const struct sending *how)
{
    struct wire_stock_adjust adjust = adjust_of(product, delta, NULL);
    send_op(stage, OP_stock_adjust, &adjust, how);
}

static void
read_body(struct slice body, struct heard *heard)
{
    struct err_text why;
    struct wire_problem problem;
    struct wire_stock_done done;
    struct wire_stock_level level;
    heard->checksum = 1;
    for (size_t i = 0; i < body.size; i++) {
        heard->checksum = heard->checksum * 31 + body.data[i];
    }
    if (heard->status != ERR_ok) {
        cr_assert(wire_decode(&problem_body, body, &problem, &why) == ERR_ok, "%s", why.text);
        snprintf(heard->detail, sizeof heard->detail, "%.*s", (int)problem.detail.size, (const char *)problem.detail.data);
    } else if (wire_decode(&stock_done_body, body, &done, &why) == ERR_ok && done.levels.count == 1) {
        (void)wire_list_next(&done.levels, &stock_level_body, &level);
        heard->total = level.on_hand;
    } else if (wire_decode(&stock_level_body, body, &level, &why) == ERR_ok) {
        heard->total = level.on_hand;
    }
}

/* The next reply; false when none comes in time. */
static bool
try_hear(struct stage *stage, int64_t timeout_ms, struct heard *heard)
{
    int64_t until_ms = link_steady_ms() + timeout_ms;
    for (;;) {
        struct message message;
        if (message_receive(zsock_resolve(stage->client), false, &message) == MESSAGE_OK) {
            struct wire_reply_header header;
            struct err_text why = {""};
            cr_assert(wire_decode(&reply_header_body, message_header(&message), &header, &why) == ERR_ok, "%s", why.text);
            *heard = (struct heard){.id = header.id};
            heard->again = WIRE_HAS(&header, reply_header, again) && header.again;
            heard->replayed = WIRE_HAS(&header, reply_header, replayed) && header.replayed;
            heard->status = err_find((const char *)header.status.data, header.status.size);
            read_body(message_body(&message), heard);
            message_fini(&message);
            return true;
        }
        int64_t left_ms = until_ms - link_steady_ms();
        if (left_ms <= 0) {
            return false;
        }
        serve(stage, left_ms < 20 ? left_ms : 20);
    }
}

static struct heard
hear(struct stage *stage)
{
    struct heard heard = {0};
    cr_assert(try_hear(stage, WAIT_MS, &heard), "there is no answer");
    return heard;
}

static struct heard
expect_status(struct stage *stage, err status)
{
    struct heard heard = hear(stage);
    cr_expect(heard.status == status, "%s (%s) instead of %s", err_symbol(heard.status), heard.detail, err_symbol(status));
    return heard;
}

static struct heard
adjust(struct stage *stage, const char *product, int64_t delta, const char *reason)
{
    struct id id = send_adjust(stage, product, delta, reason);
    struct heard heard = hear(stage);
    cr_expect(id_equal(&heard.id, &id));
    return heard;
}

static int64_t
total_of(struct stage *stage, const char *product)
{
    struct sending how = {.id = id_new()};
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, slice_of(product));
    send_op(stage, OP_stock_get, &get, &how);
    struct heard heard = hear(stage);
    return heard.status == ERR_ok ? heard.total : -1;
}

static void
await_total(struct stage *stage, const char *product, int64_t total)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    int64_t now;
    while ((now = total_of(stage, product)) != total) {
        cr_assert(link_steady_ms() < until_ms, "%s is %lld instead of %lld", product, (long long)now, (long long)total);
        serve(stage, 10);
    }
}

/* --- looking into the database --- */

static int64_t
number(struct stage *stage, const char *sql)
{
    struct db *db = place_open(stage->place);
    int64_t found = place_number(db, sql);
    db_close(&db);
    return found;
}

/* The ledger, the levels and the stream agree, and no request was done twice. */
static void
expect_consistent(struct stage *stage, int64_t entries)
{
    struct db *db = place_open(stage->place);
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $entry") == entries, "%lld entries instead of %lld",
              (long long)place_number(db, "SELECT COUNT(*) FROM $entry"), (long long)entries);
    cr_expect(place_number(db, "SELECT COUNT(DISTINCT request) FROM $entry") == entries, "some request was done twice");
    cr_expect(place_number(db, "SELECT COALESCE(SUM(delta), 0) FROM $entry") ==
              place_number(db, "SELECT COALESCE(SUM(total), 0) FROM $tally"));
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $outbox") == entries, "one event each");
    cr_expect(place_number(db, "SELECT COALESCE(MAX(seq), 0) FROM $outbox") == entries, "without a gap");
    cr_expect(place_number(db, "SELECT seq FROM $shard") == entries);
    db_close(&db);
}

static int64_t
batches(void)
{
    return metric_value(metric(METRIC_COUNTER, "larder_batches_total", "actor=\"stock/0\"", ""));
}

static void
enter_gate(struct stage *stage)
{
    (void)send_adjust(stage, "gate", 1, "gate");
    toy_await_gate();
}

static void
leave_gate(struct stage *stage)
{
    toy_open_gate();
    (void)expect_status(stage, ERR_ok);
}

/* --- many requests, one commit --- */

ON_BOTH(actor, shares_one_commit_among_many_requests)
{
    enum { MANY = 300 };
    struct stage stage;
    start(&stage, place);
    enter_gate(&stage);
    for (int i = 0; i < MANY; i++) {
        (void)send_adjust(&stage, "donut", 1, NULL);
    }
    int64_t before = batches();
    leave_gate(&stage);
    for (int i = 0; i < MANY; i++) {
        struct heard heard = expect_status(&stage, ERR_ok);
        cr_expect(heard.total == i + 1, "each sees what was before it");
    }
    cr_expect(batches() - before <= 3, "%lld batches", (long long)(batches() - before));
    expect_consistent(&stage, MANY + 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $answer") == MANY + 1);
    finish(&stage);
}

ON_BOTH(actor, does_equal_ids_of_a_batch_once)
{
    struct stage stage;
    start(&stage, place);
    struct sending first = {.id = id_new()};
    struct sending second = {.id = first.id, .again = true};
    enter_gate(&stage);
    send_adjust_as(&stage, "donut", 5, &first);
    send_adjust_as(&stage, "donut", 5, &second);
    send_adjust_as(&stage, "donut", 6, &first);
    leave_gate(&stage);
    int oks = 0;
    int agains = 0;
    int mismatches = 0;
    for (int i = 0; i < 3; i++) {
        struct heard heard = hear(&stage);
        cr_expect(id_equal(&heard.id, &first.id));
        oks += heard.status == ERR_ok && heard.total == 5;
        agains += heard.status == ERR_ok && heard.again;
        mismatches += heard.status == ERR_idempotency_mismatch;
    }
    cr_expect(oks == 2);
    cr_expect(agains == 1, "each reply echoes its own request's `again`");
    cr_expect(mismatches == 1);
    cr_expect(total_of(&stage, "donut") == 5);
    expect_consistent(&stage, 2);
    finish(&stage);
}

/* Repeats that do not say so clash with what is there: they are looked up together, and the others share one commit as before. */
ON_BOTH(actor, shares_one_commit_with_repeats_that_do_not_say_so)
{
    enum { MANY = 500, REPEATS = 5 };
    struct stage stage;
    struct sending done[REPEATS];
    start(&stage, place);
    for (int i = 0; i < REPEATS; i++) {
        done[i] = (struct sending){.id = id_new()};
        send_adjust_as(&stage, "donut", 1, &done[i]);
        (void)expect_status(&stage, ERR_ok);
    }
    enter_gate(&stage);
    for (int i = 0; i < MANY; i++) {
        if (i % (MANY / REPEATS) == 50) {
            send_adjust_as(&stage, "donut", i < MANY / 2 ? 1 : 2, &done[i / (MANY / REPEATS)]);
        } else {
            (void)send_adjust(&stage, "donut", 1, NULL);
        }
    }
    int64_t before = batches();
    leave_gate(&stage);
    int replayed = 0;
    int mismatches = 0;
    for (int i = 0; i < MANY; i++) {
        struct heard heard = hear(&stage);
        replayed += heard.status == ERR_ok && heard.replayed;
        mismatches += heard.status == ERR_idempotency_mismatch;
        cr_expect(heard.status == ERR_ok || heard.status == ERR_idempotency_mismatch, "%s", heard.detail);
    }
    cr_expect(replayed + mismatches == REPEATS && mismatches == 3, "%d answered again, %d mismatches", replayed, mismatches);
    cr_expect(batches() - before <= 3, "%lld batches", (long long)(batches() - before));
    cr_expect(total_of(&stage, "donut") == MANY);
    expect_consistent(&stage, MANY + 1);
    finish(&stage);
}

/* A repeat of what was done long ago comes behind another request under its id: only the other one is wrong. */
ON_BOTH(actor, gives_a_repeat_its_answer_behind_another_request_of_its_id)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", 5, &how);
    (void)expect_status(&stage, ERR_ok);
    how.again = true;
    enter_gate(&stage);
    send_adjust_as(&stage, "donut", 6, &how);
    send_adjust_as(&stage, "donut", 5, &how);
    leave_gate(&stage);
    (void)expect_status(&stage, ERR_idempotency_mismatch);
    (void)expect_status(&stage, ERR_unavailable);
    send_adjust_as(&stage, "donut", 5, &how);
    cr_expect(expect_status(&stage, ERR_ok).replayed);
    cr_expect(total_of(&stage, "donut") == 5);
    finish(&stage);
}

/* A refusal that is the fault of another request's body is no answer of this id. */
ON_BOTH(actor, keeps_no_answer_of_a_mismatch)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new(), .again = true};
    enter_gate(&stage);
    send_adjust_as(&stage, "donut", 5, &how);
    send_adjust_as(&stage, "donut", 6, &how);
    int64_t before = batches();
    leave_gate(&stage);
    struct heard one = hear(&stage);
    struct heard other = hear(&stage);
    cr_expect((one.status == ERR_ok) != (other.status == ERR_ok));
    cr_expect(one.status == ERR_idempotency_mismatch || other.status == ERR_idempotency_mismatch);
    cr_expect(batches() - before <= 2, "the batch was not run one by one");
    send_adjust_as(&stage, "donut", 5, &how);
    cr_expect(expect_status(&stage, ERR_ok).replayed);
    expect_consistent(&stage, 2);
    finish(&stage);
}

ON_BOTH(actor, fails_only_the_item_that_the_database_refuses)
{
    struct stage stage;
    start(&stage, place);
    struct id culprit;
    enter_gate(&stage);
    for (int i = 0; i < 7; i++) {
        if (i == 3) {
            culprit = send_adjust(&stage, "bagel", -1, "free");
        } else {
            (void)send_adjust(&stage, "donut", 1, NULL);
        }
    }
    leave_gate(&stage);
    for (int i = 0; i < 7; i++) {
        struct heard heard = hear(&stage);
        bool is_culprit = id_equal(&heard.id, &culprit);
        cr_expect(heard.status == (is_culprit ? ERR_internal : ERR_ok), "%s: %s", err_symbol(heard.status), heard.detail);
    }
    cr_expect(total_of(&stage, "donut") == 6);
    expect_consistent(&stage, 7);
    finish(&stage);
}

/* Seven of one batch, of which one says what cannot be said, by its answer or by its event. */
static void
say_what_cannot_be_said(struct place *place, const char *reason)
{
    struct stage stage;
    start(&stage, place);
    struct id culprit;
    enter_gate(&stage);
    for (int i = 0; i < 7; i++) {
        if (i == 3) {
            culprit = send_adjust(&stage, "bagel", 1, reason);
        } else {
            (void)send_adjust(&stage, "donut", 1, NULL);
        }
    }
    leave_gate(&stage);
    for (int i = 0; i < 7; i++) {
        struct heard heard = hear(&stage);
        bool is_culprit = id_equal(&heard.id, &culprit);
        cr_expect(heard.status == (is_culprit ? ERR_internal : ERR_ok), "%s: %s", err_symbol(heard.status), heard.detail);
    }
    cr_expect(total_of(&stage, "donut") == 6);
    cr_expect(total_of(&stage, "bagel") == -1, "what could not be answered was done");
    expect_consistent(&stage, 7);
    finish(&stage);
}

ON_BOTH(actor, undoes_what_it_cannot_answer_and_nothing_else)
{
    say_what_cannot_be_said(place, "unsaid");
}

ON_BOTH(actor, undoes_what_it_cannot_publish_and_nothing_else)
{
    say_what_cannot_be_said(place, "hidden");
}

ON_BOTH(actor, refuses_a_read_that_it_cannot_answer_and_goes_on)
{
    struct stage stage;
    start(&stage, place);
    (void)adjust(&stage, "unsaid", 2, NULL);
    struct sending how = {.id = id_new()};
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, slice_of("unsaid"));
    send_op(&stage, OP_stock_get, &get, &how);
    struct heard heard = hear(&stage);
    cr_expect(heard.status == ERR_internal);
    cr_expect_str_eq(heard.detail, "the answer is out of its bounds, and was logged");
    cr_expect(adjust(&stage, "donut", 1, NULL).total == 1);
    finish(&stage);
}

ON_BOTH(actor, lets_a_rule_refuse_without_a_commit)
{
    struct stage stage;
    start(&stage, place);
    (void)adjust(&stage, "donut", 2, NULL);
    int64_t batch = number(&stage, "SELECT batch FROM $shard");
    for (int i = 0; i < 5; i++) {
        struct heard heard = adjust(&stage, "donut", -3, NULL);
        cr_expect(heard.status == ERR_would_go_negative);
        cr_expect_str_eq(heard.detail, "donut has 2");
    }
    cr_expect(number(&stage, "SELECT batch FROM $shard") == batch);
    cr_expect(total_of(&stage, "donut") == 2);
    cr_expect(total_of(&stage, "nothing") == -1);
    finish(&stage);
}

ON_BOTH(actor, answers_a_handler_that_says_nothing)
{
    struct stage stage;
    start(&stage, place);
    cr_expect(adjust(&stage, "donut", 1, "mute").status == ERR_internal);
    cr_expect(adjust(&stage, "donut", 1, NULL).status == ERR_ok);
    finish(&stage);
}

/* --- after an end that nobody asked for --- */

/* As if the actor had been killed `ends` times in a row. */
static void
restart_after_ends(struct stage *stage, int ends)
{
    zsock_destroy(&stage->client);
    cr_assert(actor_stop(&stage->actor) == ACTOR_STOPPED);
    struct db *db = place_open(stage->place);
    struct db_statement *mark = db_statement(db, "UPDATE $trial SET is_trying = 1, deaths = ? WHERE what = ?");
    db_bind_i64(mark, ends - 1);
    db_bind_bytes(mark, slice_of("running"));
    place_expect(db, db_queue(mark, 1), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
    place_await_ports(stage->place);
    run_actor(stage);
    connect_client(stage, false);
}

static int64_t
batches_of_many(struct stage *stage, int many, const struct sending *in_the_middle)
{
    enter_gate(stage);
    for (int i = 0; i < many; i++) {
        if (i == many / 2 && in_the_middle != NULL) {
            send_adjust_as(stage, "donut", 1, in_the_middle);
        }
        (void)send_adjust(stage, "donut", 1, NULL);
    }
    int64_t before = batches();
    leave_gate(stage);
    for (int i = 0; i < many + (in_the_middle != NULL); i++) {
        struct heard heard = expect_status(stage, ERR_ok);
        cr_expect(heard.total == i + 1, "each sees what was before it");
    }
    return batches() - before;
}

ON_BOTH(actor, shares_one_commit_among_first_requests_after_a_kill)
{
    enum { MANY = 300 };
    struct stage stage;
    start(&stage, place);
    restart_after_ends(&stage, 1);
    int64_t needed = batches_of_many(&stage, MANY, NULL);
    cr_expect(needed <= 3, "%lld batches", (long long)needed);
    expect_consistent(&stage, MANY + 1);
    finish(&stage);
}

ON_BOTH(actor, runs_alone_what_is_asked_again_after_a_kill)
{
    enum { MANY = 300 };
    struct stage stage;
    struct sending again = {.id = id_new(), .again = true};
    start(&stage, place);
    restart_after_ends(&stage, 1);
    int64_t needed = batches_of_many(&stage, MANY, &again);
    cr_expect(needed >= 3 && needed <= 5, "%lld batches: what comes before it, itself, and what comes behind it", (long long)needed);
    expect_consistent(&stage, MANY + 2);
    finish(&stage);
}

ON_BOTH(actor, runs_every_request_alone_after_two_kills)
{
    enum { MANY = 50 };
    struct stage stage;
    start(&stage, place);
    restart_after_ends(&stage, 2);
    int64_t needed = batches_of_many(&stage, MANY, NULL);
    cr_expect(needed >= MANY, "%lld batches", (long long)needed);
    expect_consistent(&stage, MANY + 1);
    finish(&stage);
}

/* What goes together after a kill fails together, and is run one by one then. */
ON_BOTH(actor, fails_only_the_item_that_the_database_refuses_after_a_kill)
{
    enum { MANY = 7 };
    struct stage stage;
    struct sending again = {.id = id_new(), .again = true};
    struct id culprit = {{0}};
    start(&stage, place);
    restart_after_ends(&stage, 1);
    enter_gate(&stage);
    send_adjust_as(&stage, "donut", 1, &again);
    for (int i = 0; i < MANY; i++) {
        if (i == 3) {
            culprit = send_adjust(&stage, "bagel", -1, "free");
        } else {
            (void)send_adjust(&stage, "donut", 1, NULL);
        }
    }
    leave_gate(&stage);
    for (int i = 0; i < MANY + 1; i++) {
        struct heard heard = hear(&stage);
        bool is_culprit = id_equal(&heard.id, &culprit);
        cr_expect(heard.status == (is_culprit ? ERR_internal : ERR_ok), "%s: %s", err_symbol(heard.status), heard.detail);
    }
    cr_expect(total_of(&stage, "donut") == MANY);
    expect_consistent(&stage, MANY + 1);
    finish(&stage);
}

/* --- asked again --- */

ON_BOTH(actor, replays_an_answer_that_was_given)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", 4, &how);
    struct heard first = expect_status(&stage, ERR_ok);
    cr_expect(!first.replayed);
    cr_expect(adjust(&stage, "donut", 1, NULL).total == 5);
    how.again = true;
    send_adjust_as(&stage, "donut", 4, &how);
    struct heard second = expect_status(&stage, ERR_ok);
    cr_expect(second.replayed);
    cr_expect(second.again);
    cr_expect(second.checksum == first.checksum, "the very same body");
    restart(&stage);
    send_adjust_as(&stage, "donut", 4, &how);
    second = expect_status(&stage, ERR_ok);
    cr_expect(second.replayed && second.checksum == first.checksum, "after a restart too");
    expect_consistent(&stage, 2);
    finish(&stage);
}

ON_BOTH(actor, keeps_a_refusal_of_a_request_asked_again)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", -4, &how);
    (void)expect_status(&stage, ERR_would_go_negative);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $answer") == 0, "a first refusal is from memory");
    how.again = true;
    send_adjust_as(&stage, "donut", -4, &how);
    struct heard first = expect_status(&stage, ERR_would_go_negative);
    cr_expect(!first.replayed);
    cr_expect(adjust(&stage, "donut", 10, NULL).status == ERR_ok);
    send_adjust_as(&stage, "donut", -4, &how);
    struct heard second = expect_status(&stage, ERR_would_go_negative);
    cr_expect(second.replayed);
    cr_expect(second.checksum == first.checksum);
    cr_expect(total_of(&stage, "donut") == 10);
    finish(&stage);
}

ON_BOTH(actor, refuses_another_body_under_an_id_that_was_used)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", 4, &how);
    (void)expect_status(&stage, ERR_ok);
    how.again = true;
    send_adjust_as(&stage, "donut", 5, &how);
    struct heard heard = expect_status(&stage, ERR_idempotency_mismatch);
    cr_expect(!heard.replayed, "that is no stored answer");
    how.again = false;
    send_adjust_as(&stage, "donut", 5, &how);
    (void)expect_status(&stage, ERR_idempotency_mismatch);
    expect_consistent(&stage, 1);
    finish(&stage);
}

/* Both say that they are the first attempt, in different batches: the unique key finds it out. */
ON_BOTH(actor, does_a_doubled_first_attempt_once)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", 4, &how);
    struct heard first = expect_status(&stage, ERR_ok);
    enter_gate(&stage);
    (void)send_adjust(&stage, "donut", 1, NULL);
    send_adjust_as(&stage, "donut", 4, &how);
    (void)send_adjust(&stage, "donut", 1, NULL);
    leave_gate(&stage);
    for (int i = 0; i < 3; i++) {
        struct heard heard = expect_status(&stage, ERR_ok);
        cr_expect(heard.replayed == id_equal(&heard.id, &how.id));
        cr_expect(!heard.replayed || heard.checksum == first.checksum);
    }
    cr_expect(total_of(&stage, "donut") == 6);
    expect_consistent(&stage, 4);
    finish(&stage);
}

/* --- what cannot be read --- */

ON_BOTH(actor, answers_what_it_cannot_do)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    struct slice nothing = slice_of("\x80");
    struct wire_stock_adjust body = adjust_of("donut", 1, NULL);

    send_frames(&stage, slice_of("garbage"), nothing);
    struct heard heard = expect_status(&stage, ERR_malformed);
    cr_expect(id_is_zero(&heard.id));
    send_frames(&stage, header_of(&stage, "stock.bake", &how), nothing);
    heard = expect_status(&stage, ERR_unknown_op);
    cr_expect(id_equal(&heard.id, &how.id));
    send_frames(&stage, header_of(&stage, "factory.get", &how), nothing);
    (void)expect_status(&stage, ERR_unknown_op);
    send_frames(&stage, header_of(&stage, "stock.adjust", &how), nothing);
    heard = expect_status(&stage, ERR_invalid_field);
    cr_expect(strstr(heard.detail, "stock_adjust.product") != NULL, "%s", heard.detail);
    send_frames(&stage, header_of(&stage, "stock.adjust", &how), slice_of("\xc1"));
    (void)expect_status(&stage, ERR_malformed);
    how.timeout_ms = -50;
    send_op(&stage, OP_stock_adjust, &body, &how);
    heard = expect_status(&stage, ERR_deadline_exceeded);
    cr_expect(id_equal(&heard.id, &how.id));

    struct wire_request_header later = {0};
    WIRE_SET(&later, request_header, v, WIRE_VERSION + 1);
    WIRE_SET(&later, request_header, id, how.id);
    WIRE_SET(&later, request_header, op, slice_of("stock.adjust"));
    WIRE_SET(&later, request_header, deadline, clock_utc_ms() + WAIT_MS);
    WIRE_SET(&later, request_header, again, true);
    send_frames(&stage, arena_encode(&stage.arena, &request_header_body, &later), nothing);
    heard = expect_status(&stage, ERR_unknown_version);
    cr_expect(heard.again);

    void *raw = zsock_resolve(stage.client);
    cr_assert(zmq_send(raw, "one frame", 9, 0) >= 0);
    (void)expect_status(&stage, ERR_malformed);
    expect_consistent(&stage, 0);
    finish(&stage);
}

/* A socket's descriptor tells of what is new, once: a message that a batch leaves lying must bring the next batch by itself. */
ON_BOTH(actor, answers_what_lies_behind_more_refused_ones_than_a_batch_takes)
{
    enum { A_BATCH = 1000 }; /* REFUSED_MAX of gather.c */
    static const int bursts[] = {A_BATCH, A_BATCH + 1, 2 * A_BATCH};
    struct stage stage;
    start(&stage, place);
    for (size_t i = 0; i < sizeof bursts / sizeof bursts[0]; i++) {
        enter_gate(&stage);
        for (int sent = 0; sent < bursts[i]; sent++) {
            send_frames(&stage, slice_of("garbage"), slice_of("\x80"));
        }
        struct id last = send_adjust(&stage, "donut", 1, NULL);
        leave_gate(&stage);
        for (int heard = 0; heard < bursts[i]; heard++) {
            (void)expect_status(&stage, ERR_malformed);
        }
        struct heard answer = expect_status(&stage, ERR_ok);
        cr_expect(id_equal(&answer.id, &last));
    }
    finish(&stage);
}

ON_BOTH(actor, answers_a_req_socket)
{
    struct stage stage;
    char endpoint[ENDPOINT_MAX];
    start(&stage, place);
    zsock_t *req = zsock_new(ZMQ_REQ);
    zsock_set_linger(req, 0);
    zsock_set_rcvtimeo(req, WAIT_MS);
    topology_connect(&place->settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_connect(req, "%s", endpoint) == 0);
    struct sending how = {.id = id_new()};
    struct slice header = header_of(&stage, "any.ping", &how);
    void *raw = zsock_resolve(req);
    cr_assert(zmq_send(raw, header.data, header.size, ZMQ_SNDMORE) >= 0);
    cr_assert(zmq_send(raw, "\x80", 1, 0) >= 0);
    uint8_t frame[1024];
    struct err_text why = {""};
    struct wire_reply_header reply;
    struct wire_pong pong;
    int size = zmq_recv(raw, frame, sizeof frame, 0);
    cr_assert(size > 0, "no answer");
    cr_assert(wire_decode(&reply_header_body, (struct slice){frame, (size_t)size}, &reply, &why) == ERR_ok, "%s", why.text);
    cr_expect(id_equal(&reply.id, &how.id));
    size = zmq_recv(raw, frame, sizeof frame, 0);
    cr_assert(size > 0);
    cr_assert(wire_decode(&pong_body, (struct slice){frame, (size_t)size}, &pong, &why) == ERR_ok, "%s", why.text);
    cr_expect(slice_equal(pong.actor, slice_of("stock")));
    cr_expect(pong.of == 1);
    cr_expect(WIRE_HAS(&pong, pong, incarnation));
    zsock_destroy(&req);
    finish(&stage);
}

ON_BOTH(actor, serves_tcp_as_well)
{
    struct stage stage;
    start(&stage, place);
    connect_client(&stage, true);
    cr_expect(adjust(&stage, "donut", 3, NULL).total == 3);
    for (int i = 0; i < 200; i++) {
        (void)send_adjust(&stage, "donut", 1, NULL);
    }
    for (int i = 0; i < 200; i++) {
        (void)expect_status(&stage, ERR_ok);
    }
    cr_expect(total_of(&stage, "donut") == 203);
    expect_consistent(&stage, 201);
    finish(&stage);
}

/* --- what it tells the world --- */

static zsock_t *
open_subscriber(struct stage *stage, bool by_tcp, const char *topic)
{
    char endpoint[ENDPOINT_MAX];
    struct err_text why = {""};
    zsock_t *sub = NULL;
    if (by_tcp) {
        topology_connect(&stage->place->settings, "stock", 0, ENDPOINT_EVENTS, endpoint);
    } else {
        topology_inproc("stock", 0, ENDPOINT_EVENTS, endpoint);
    }
    cr_assert(link_events(endpoint, &sub, &why) == ERR_ok, "%s", why.text);
    zsock_set_subscribe(sub, topic);
    zsock_set_rcvtimeo(sub, WAIT_MS);
    return sub;
}

/* The header of the next event. The slices of it live until the next call. */
static struct wire_event_header
next_event(zsock_t *sub)
{
    static uint8_t frames[3][4096];
    struct wire_event_header header;
    struct err_text why = {""};
    int size = 0;
    for (int i = 0; i < 3; i++) {
        int got = zmq_recv(zsock_resolve(sub), frames[i], sizeof frames[i], 0);
        cr_assert(got >= 0, "no event came");
        size = i == 1 ? got : size;
    }
    cr_assert(wire_decode(&event_header_body, (struct slice){frames[1], (size_t)size}, &header, &why) == ERR_ok, "%s", why.text);
    return header;
}

static void
follow(struct place *place, bool by_tcp)
{
    struct stage stage;
    start(&stage, place);
    zsock_t *sub = open_subscriber(&stage, by_tcp, "");
    struct wire_event_header head = next_event(sub);
    cr_expect(slice_equal(head.type, slice_of("head")), "the first that is heard is a HEAD");
    (void)adjust(&stage, "bagel", -1, "free");
    for (int64_t seq = 1; seq <= 5; seq++) {
        (void)send_adjust(&stage, "donut", 1, NULL);
        struct wire_event_header event = next_event(sub);
        while (slice_equal(event.type, slice_of("head"))) {
            event = next_event(sub);
        }
        cr_expect(slice_equal(event.type, slice_of("stock.low")));
        cr_expect(event.seq == seq, "an item that failed left no event");
        cr_expect(slice_equal(event.key, slice_of("donut")));
        cr_expect(number(&stage, "SELECT COUNT(*) FROM $entry") >= seq, "an event is heard after the commit only");
        cr_expect(slice_equal(next_event(sub).type, slice_of("stock.changed")));
        cr_expect(next_event(sub).seq == seq, "HEAD follows at once");
        (void)expect_status(&stage, ERR_ok);
    }
    zsock_destroy(&sub);
    finish(&stage);
}

ON_BOTH(actor, publishes_after_the_commit_on_inproc)
{
    follow(place, false);
}

ON_BOTH(actor, publishes_after_the_commit_on_tcp)
{
    follow(place, true);
}

ON_BOTH(actor, says_each_second_where_its_stream_is)
{
    struct stage stage;
    start(&stage, place);
    zsock_t *sub = open_subscriber(&stage, false, "head");
    (void)next_event(sub);
    int64_t began_ms = link_steady_ms();
    for (int i = 0; i < 3; i++) {
        cr_expect(next_event(sub).seq == 0);
    }
    int64_t took_ms = link_steady_ms() - began_ms;
    cr_expect(took_ms > 2000 && took_ms < 6000, "%lld ms", (long long)took_ms);
    zsock_destroy(&sub);
    finish(&stage);
}

ON_BOTH(actor, gives_its_events_to_a_durable_subscriber)
{
    struct stage stage;
    char events[ENDPOINT_MAX];
    char requests[ENDPOINT_MAX];
    struct err_text why = {""};
    start(&stage, place);
    for (int i = 0; i < 5; i++) {
        (void)adjust(&stage, "donut", 1, NULL);
    }
    topology_connect(&place->settings, "stock", 0, ENDPOINT_EVENTS, events);
    topology_connect(&place->settings, "stock", 0, ENDPOINT_REQUESTS, requests);
    struct larder_subscription subscription = {.events = events, .requests = requests, .name = "test/0", .from_start = true};
    struct larder_subscriber *subscriber = NULL;
    cr_assert(larder_subscriber_create(&subscription, &subscriber, &why) == ERR_ok, "%s", why.text);
    int64_t seq = 0;
    bool has_more = false;
    while (seq < 10) {
        struct larder_event event;
        err code = larder_subscriber_next(subscriber, WAIT_MS, &event);
        cr_assert(code == ERR_ok, "%s", err_symbol(code));
        if (event.type != EVENT_stock_low) {
            continue;
        }
        cr_expect(event.header.seq == ++seq);
        larder_subscriber_ack(subscriber, seq);
        if (seq == 5 && !has_more) {
            has_more = true;
            for (int i = 0; i < 5; i++) {
                (void)adjust(&stage, "donut", 1, NULL);
            }
        }
    }
    larder_subscriber_destroy(&subscriber);
    finish(&stage);
}

/* --- later --- */

ON_BOTH(actor, does_what_is_due)
{
    struct stage stage;
    start(&stage, place);
    /* On the way behind one another: between the answers to them the bagel's time might come. */
    (void)send_adjust(&stage, "bagel", 400, "later");
    (void)send_adjust(&stage, "bagel", 1, "cancel");
    (void)send_adjust(&stage, "donut", 500, "later");
    for (int i = 0; i < 3; i++) {
        (void)expect_status(&stage, ERR_ok);
    }
    int64_t began_ms = link_steady_ms();
    await_total(&stage, "donut", 1);
    cr_expect(link_steady_ms() - began_ms < 2000);
    expect_consistent(&stage, 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $due") == 0);
    finish(&stage);
}

ON_BOTH(actor, does_what_is_due_after_a_restart)
{
    struct stage stage;
    start(&stage, place);
    cr_expect(adjust(&stage, "donut", 300, "later").status == ERR_ok);
    restart(&stage);
    await_total(&stage, "donut", 1);
    expect_consistent(&stage, 1);
    finish(&stage);
}

/* --- asking others --- */

static void
await_question(struct stage *stage)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (stage->factory.question_count == 0) {
        cr_assert(link_steady_ms() < until_ms, "the actor asked nothing");
        serve(stage, 10);
    }
}

/* The first FETCH is answered, so the actor is connected to the factory. */
static void
await_factory(struct stage *stage)
{
    start_factory(stage);
    produce(stage, "hello", 1, false);
    await_total(stage, "hello", 1);
}

ON_BOTH(actor, answers_when_its_peer_has_answered)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    struct id waiting = send_adjust(&stage, "donut", 7, "ask");
    await_question(&stage);
    cr_expect(adjust(&stage, "donut", 1, NULL).total == 1, "others do not wait for it");
    answer_question(&stage);
    struct heard heard = expect_status(&stage, ERR_ok);
    cr_expect(id_equal(&heard.id, &waiting));
    cr_expect(heard.total == 8);
    struct sending again = {.id = waiting, .again = true};
    struct wire_stock_adjust body = adjust_of("donut", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &again);
    heard = expect_status(&stage, ERR_ok);
    cr_expect(heard.replayed && heard.total == 8);
    expect_consistent(&stage, 3);
    finish(&stage);
}

static void
await_stubborn(struct stage *stage, int count)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (toy_stubborn() < count) {
        cr_assert(link_steady_ms() < until_ms, "it came %d times", toy_stubborn());
        serve(stage, 5);
    }
}

/* As it was, as the failure, and then later and later: what was asked for stays what is being asked for. */
ON_BOTH(actor, keeps_an_outcome_that_cannot_even_be_handled_as_a_failure_until_it_can)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust body = adjust_of("stubborn", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    answer_question(&stage);
    await_stubborn(&stage, 5);
    cr_expect(adjust(&stage, "donut", 0, "later").status == ERR_ok);
    await_total(&stage, "donut", 1);
    how.again = true;
    send_op(&stage, OP_stock_adjust, &body, &how);
    (void)expect_status(&stage, ERR_unavailable);
    toy_heal();
    struct heard heard = expect_status(&stage, ERR_internal);
    cr_expect(id_equal(&heard.id, &how.id) && !heard.again);
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    answer_question(&stage);
    cr_expect(expect_status(&stage, ERR_ok).total == 7);
    expect_consistent(&stage, 3);
    finish(&stage);
}

/* Nothing on disk stands behind work: it can be asked for again. */
ON_BOTH(actor, tells_who_waits_for_work_whose_outcome_cannot_even_be_handled_as_a_failure)
{
    struct stage stage;
    start(&stage, place);
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust body = adjust_of("stubborn", 7, "work");
    send_op(&stage, OP_stock_adjust, &body, &how);
    struct heard heard = expect_status(&stage, ERR_internal);
    cr_expect(id_equal(&heard.id, &how.id));
    cr_expect(toy_stubborn() == 4, "each twice, with its batch and alone: it came %d times", toy_stubborn());
    toy_heal();
    how.again = true;
    send_op(&stage, OP_stock_adjust, &body, &how);
    cr_expect(expect_status(&stage, ERR_ok).total == 7);
    expect_consistent(&stage, 1);
    finish(&stage);
}

ON_BOTH(actor, says_so_when_its_peer_never_answers)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    struct sending how = {.id = id_new(), .timeout_ms = 300};
    struct wire_stock_adjust body = adjust_of("donut", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    int64_t began_ms = link_steady_ms();
    (void)expect_status(&stage, ERR_deadline_exceeded);
    cr_expect(link_steady_ms() - began_ms < 2000);
    answer_question(&stage);
    struct heard none;
    cr_expect(!try_hear(&stage, 200, &none), "a late answer is nobody's");
    how = (struct sending){.id = how.id, .again = true};
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    answer_question(&stage);
    cr_expect(expect_status(&stage, ERR_ok).total == 7, "its id is free again");
    expect_consistent(&stage, 2);
    finish(&stage);
}

ON_BOTH(actor, says_so_when_its_peer_is_not_there)
{
    struct stage stage;
    start(&stage, place);
    int64_t began_ms = link_steady_ms();
    cr_expect(adjust(&stage, "donut", 7, "ask").status == ERR_unavailable);
    cr_expect(link_steady_ms() - began_ms < 1000, "at once");
    expect_consistent(&stage, 0);
    finish(&stage);
}

ON_BOTH(actor, does_not_begin_a_second_time_what_waits)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust body = adjust_of("donut", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    how.again = true;
    send_op(&stage, OP_stock_adjust, &body, &how);
    struct heard second = expect_status(&stage, ERR_unavailable);
    cr_expect(second.again);
    answer_question(&stage);
    cr_expect(!expect_status(&stage, ERR_ok).again);
    cr_expect(stage.factory.question_count == 0);
    expect_consistent(&stage, 2);
    finish(&stage);
}

/* --- following others --- */

ON_BOTH(actor, applies_what_it_follows_once)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    produce(&stage, "donut", 10, true);
    produce(&stage, "donut", 5, true);
    await_total(&stage, "donut", 15);
    produce(&stage, "donut", 1, false);
    produce(&stage, "donut", 2, true);
    await_total(&stage, "donut", 18);
    restart(&stage);
    await_total(&stage, "donut", 18);
    produce(&stage, "donut", 100, false);
    await_total(&stage, "donut", 118);
    expect_consistent(&stage, 6);
    cr_expect(number(&stage, "SELECT position FROM $cursor") == 6);
    finish(&stage);
}

ON_BOTH(actor, keeps_what_it_cannot_apply)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    produce(&stage, "poison", 10, true);
    produce(&stage, "donut", 5, true);
    produce(&stage, "poison", 3, true);
    await_total(&stage, "donut", 5);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 2);
    cr_expect(total_of(&stage, "poison") == -1);
    toy_heal();
    await_total(&stage, "poison", 13);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 0);
    expect_consistent(&stage, 4);
    finish(&stage);
}

ON_BOTH(actor, stands_still_while_what_it_needs_is_away)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    produce(&stage, "donut", 1, true);
    produce(&stage, "away", 10, true);
    produce(&stage, "donut", 5, true);
    await_total(&stage, "donut", 1);
    cr_expect(adjust(&stage, "bagel", 1, NULL).status == ERR_ok, "requests go on");
    cr_expect(total_of(&stage, "donut") == 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 0, "nobody is charged");
    toy_heal();
    await_total(&stage, "away", 10);
    await_total(&stage, "donut", 6);
    expect_consistent(&stage, 5);
    finish(&stage);
}

/* The whole batch fails; one by one the event that violates a CHECK is parked, with those behind it, and nothing is done twice. */
ON_BOTH(actor, parks_an_event_that_the_database_refuses)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    enter_gate(&stage);
    produce(&stage, "donut", 1, false);
    produce(&stage, "breaks", 3, false);
    produce(&stage, "breaks", 2, false);
    produce(&stage, "donut", 4, false);
    produce(&stage, "donut", 8, true);
    leave_gate(&stage);
    await_total(&stage, "donut", 13);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 2);
    cr_expect(number(&stage, "SELECT position FROM $cursor") == 6);
    expect_consistent(&stage, 5);
    finish(&stage);
}

/* --- sources that are held --- */

static int64_t
held(void)
{
    return metric_value(metric(METRIC_GAUGE, "larder_sources_held", "subscriber=\"stock/0\"", ""));
}

static int64_t
incidents(void)
{
    return metric_value(metric(METRIC_COUNTER, "larder_incidents_total", "subscriber=\"stock/0\"", ""));
}

static void
await_held(struct stage *stage, int64_t wanted)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (held() != wanted) {
        cr_assert(link_steady_ms() < until_ms, "%lld sources are held", (long long)held());
        serve(stage, 5);
    }
}

static void
serve_for(struct stage *stage, int64_t time_ms)
{
    int64_t until_ms = link_steady_ms() + time_ms;
    while (link_steady_ms() < until_ms) {
        serve(stage, until_ms - link_steady_ms());
    }
}

/* Events of so many keys, each of which is refused until toy_heal(). */
static void
produce_poison(struct stage *stage, int keys)
{
    char product[32];
    for (int i = 0; i < keys; i++) {
        snprintf(product, sizeof product, "poison-%d", i);
        produce(stage, product, 1, i == keys - 1);
    }
}

static void
await_entries(struct stage *stage, int64_t wanted)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    int64_t found;
    while ((found = number(stage, "SELECT COUNT(*) FROM $entry")) != wanted) {
        cr_assert(link_steady_ms() < until_ms, "%lld entries instead of %lld", (long long)found, (long long)wanted);
        serve(stage, 10);
    }
}

ON_BOTH(actor, holds_a_source_whose_events_fail_for_many_keys_in_a_row)
{
    enum { KEYS = 200 };
    struct stage stage;
    place->settings.retry_attempts = 100;
    start(&stage, place);
    await_factory(&stage);
    produce_poison(&stage, KEYS);
    await_held(&stage, 1);
    serve_for(&stage, 600);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == place->settings.hold_after);
    cr_expect(incidents() == 1, "%lld incidents", (long long)incidents());
    cr_expect(actor_is_ready(stage.actor), "it serves");
    cr_expect(adjust(&stage, "bagel", 1, NULL).status == ERR_ok);
    toy_heal();
    await_entries(&stage, KEYS + 2);
    cr_expect(held() == 0);
    cr_expect(incidents() == 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 0);
    expect_consistent(&stage, KEYS + 2);
    finish(&stage);
}

/* All that were parked are buried: nothing but a probe can find out. */
ON_BOTH(actor, lifts_a_hold_when_a_probe_succeeds)
{
    enum { KEYS = 20, HOLD = 3 };
    struct stage stage;
    place->settings.retry_attempts = 1;
    place->settings.hold_after = HOLD;
    start(&stage, place);
    await_factory(&stage);
    produce_poison(&stage, KEYS);
    await_held(&stage, 1);
    serve_for(&stage, 500);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == HOLD, "probes park nothing");
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $burial") == HOLD);
    cr_expect(number(&stage, "SELECT position FROM $cursor") == HOLD + 1);
    toy_heal();
    await_held(&stage, 0);
    await_entries(&stage, KEYS - HOLD + 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == HOLD, "they wait for somebody to ask");
    cr_expect(incidents() == 1);
    finish(&stage);
}

ON_BOTH(actor, lifts_a_hold_when_a_parked_event_succeeds_that_somebody_asked_for)
{
    enum { KEYS = 20, HOLD = 3 };
    struct stage stage;
    struct wire_row row = {0};
    place->settings.retry_attempts = 1;
    place->settings.retry_first_ms = 60000; /* the next probe is 5 s away */
    place->settings.hold_after = HOLD;
    start(&stage, place);
    await_factory(&stage);
    produce_poison(&stage, KEYS);
    await_held(&stage, 1);
    toy_heal();
    struct sending how = {.id = id_new()};
    WIRE_SET(&row, row, letter, id_new());
    WIRE_SET(&row, row, source, slice_of("factory/0"));
    WIRE_SET(&row, row, seq, 2);
    send_op(&stage, OP_any_retry, &row, &how);
    (void)expect_status(&stage, ERR_ok);
    int64_t began_ms = link_steady_ms();
    await_held(&stage, 0);
    cr_expect(link_steady_ms() - began_ms < 2000, "no probe was waited for");
    await_entries(&stage, KEYS - HOLD + 1 + 1);
    finish(&stage);
}

/* It fails again and again, but what is between succeeds. */
ON_BOTH(actor, never_holds_a_source_for_a_single_key)
{
    enum { ROUNDS = 40 };
    struct stage stage;
    place->settings.hold_after = 2;
    place->settings.retry_first_ms = 1;
    start(&stage, place);
    await_factory(&stage);
    for (int i = 0; i < ROUNDS; i++) {
        produce(&stage, "poison", 1, true);
        produce(&stage, "donut", 1, true);
        serve(&stage, 5);
    }
    await_total(&stage, "donut", ROUNDS);
    cr_expect(incidents() == 0);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == ROUNDS);
    finish(&stage);
}

ON_BOTH(actor, holds_a_source_also_after_a_restart)
{
    enum { KEYS = 60 };
    struct stage stage;
    place->settings.retry_attempts = 1;
    start(&stage, place);
    await_factory(&stage);
    produce_poison(&stage, KEYS);
    await_held(&stage, 1);
    restart(&stage);
    cr_expect(held() == 1);
    serve_for(&stage, 500);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == place->settings.hold_after);
    toy_heal();
    await_entries(&stage, KEYS - place->settings.hold_after + 1);
    finish(&stage);
}

/* Followers of a parked event are parked again when their batch fails for another's sake. */
ON_BOTH(actor, keeps_the_order_of_a_key_when_a_batch_fails)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    produce(&stage, "poison", 10, true);
    produce(&stage, "donut", 1, true);
    await_total(&stage, "donut", 1);
    enter_gate(&stage);
    produce(&stage, "poison", 3, false);
    produce(&stage, "breaks", 2, false);
    produce(&stage, "donut", 1, true);
    leave_gate(&stage);
    await_total(&stage, "donut", 2);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 3);
    toy_heal();
    await_total(&stage, "poison", 13);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked") == 1);
    expect_consistent(&stage, 6);
    finish(&stage);
}

/* Its factory answers a FETCH with all that it has, however few were asked for. */
ON_BOTH(actor, stands_a_page_larger_than_it_asked_for)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    for (int i = 0; i < 1000; i++) {
        produce(&stage, "donut", 1, false);
    }
    produce(&stage, "donut", 1, true);
    await_total(&stage, "donut", 1001);
    expect_consistent(&stage, 1002);
    finish(&stage);
}

/* More requests than a batch takes, a page, events beside it and hundreds of timers, all at the same moment. */
ON_BOTH(actor, takes_all_that_comes_at_once)
{
    enum { REQUESTS = 700, TIMERS = 300, PAGE = 400, PUBLISHED = 700 };
    struct stage stage;
    char product[32];
    start(&stage, place);
    await_factory(&stage);
    for (int i = 0; i < TIMERS; i++) {
        snprintf(product, sizeof product, "timer-%d", i);
        (void)send_adjust(&stage, product, 1500, "later");
    }
    for (int i = 0; i < TIMERS; i++) {
        (void)expect_status(&stage, ERR_ok);
    }
    enter_gate(&stage);
    for (int i = 0; i < PAGE + PUBLISHED; i++) {
        produce(&stage, "donut", 1, i >= PAGE);
    }
    for (int i = 0; i < REQUESTS; i++) {
        (void)send_adjust(&stage, "bagel", 1, NULL);
    }
    int64_t until_ms = link_steady_ms() + 1600;
    while (link_steady_ms() < until_ms) {
        serve(&stage, until_ms - link_steady_ms());
    }
    leave_gate(&stage);
    for (int i = 0; i < REQUESTS; i++) {
        (void)expect_status(&stage, ERR_ok);
    }
    await_total(&stage, "donut", PAGE + PUBLISHED);
    for (int i = 0; i < TIMERS; i++) {
        snprintf(product, sizeof product, "timer-%d", i);
        await_total(&stage, product, 1);
    }
    expect_consistent(&stage, 1 + 1 + REQUESTS + PAGE + PUBLISHED + TIMERS);
    finish(&stage);
}

/* --- the database goes away --- */

static void
kill_writer(struct stage *stage)
{
    place_kill(stage->place, number(stage, "SELECT connection FROM $shard"));
}

ON_MYSQL(actor, neither_loses_nor_doubles_when_connections_are_killed)
{
    enum { MANY = 3000, WINDOW = 200, KILL_EACH = 400 };
    struct stage stage;
    start(&stage, place);
    char endpoint[ENDPOINT_MAX];
    struct err_text why = {""};
    topology_connect(&place->settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    const char *const peers[] = {endpoint};
    struct larder_client *client = NULL;
    cr_assert(larder_client_create(peers, 1, &client, &why) == ERR_ok, "%s", why.text);
    struct wire_stock_adjust body = adjust_of("donut", 1, NULL);
    int sent = 0;
    int done = 0;
    int oks = 0;
    while (done < MANY) {
        while (sent < MANY && sent - done < WINDOW) {
            struct larder_request request = {.op = OP_stock_adjust, .body = &body, .options = {.timeout_ms = 30000}};
            cr_assert(larder_client_send(client, &request) == ERR_ok);
            sent++;
        }
        struct larder_reply reply;
        err code = larder_client_receive(client, 30000, &reply);
        cr_assert(code == ERR_ok, "%s after %d", err_symbol(code), done);
        cr_expect(reply.status == ERR_ok, "%s: %.*s", err_symbol(reply.status), (int)reply.problem.detail.size,
                  (const char *)reply.problem.detail.data);
        oks += reply.status == ERR_ok;
        if (++done % KILL_EACH == 0) {
            kill_writer(&stage);
        }
    }
    larder_client_destroy(&client);
    cr_expect(oks == MANY);
    cr_expect(actor_outcome(stage.actor) == ACTOR_RUNNING);
    cr_expect(number(&stage, "SELECT epoch FROM $shard") > 1, "it has taken its shard again");
    expect_consistent(&stage, MANY);
    cr_expect(total_of(&stage, "donut") == MANY, "memory agrees");
    finish(&stage);
}

/* The actor works as a user of its own, which can be locked out. */
static void
make_user(struct place *place)
{
    char sql[256];
    char url[SETTING_TEXT_MAX];
    snprintf(sql, sizeof sql, "CREATE USER larder_%d@localhost", (int)getpid());
    place_run(place, sql);
    snprintf(sql, sizeof sql, "GRANT ALL ON *.* TO larder_%d@localhost", (int)getpid());
    place_run(place, sql);
    const char *rest = strchr(place->settings.db, '@');
    cr_assert(rest != NULL);
    snprintf(url, sizeof url, "mysql://larder_%d%s", (int)getpid(), rest);
    strcpy(place->settings.db, url);
}

static void
lock_out(struct stage *stage)
{
    char sql[256];
    int64_t connection = number(stage, "SELECT connection FROM $shard");
    snprintf(sql, sizeof sql, "ALTER USER larder_%d@localhost ACCOUNT LOCK", (int)getpid());
    place_run(stage->place, sql);
    place_kill(stage->place, connection);
}

static void
let_in(struct stage *stage)
{
    char sql[256];
    snprintf(sql, sizeof sql, "ALTER USER larder_%d@localhost ACCOUNT UNLOCK", (int)getpid());
    place_run(stage->place, sql);
}

static void
drop_user(const struct place *place)
{
    char sql[256];
    snprintf(sql, sizeof sql, "DROP USER larder_%d@localhost", (int)getpid());
    place_run(place, sql);
}

static void
await_readiness(struct stage *stage, bool is_ready)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (actor_is_ready(stage->actor) != is_ready) {
        cr_assert(link_steady_ms() < until_ms);
        serve(stage, 10);
    }
}

ON_MYSQL(actor, refuses_at_once_while_its_database_is_away_and_comes_back)
{
    struct stage stage;
    make_user(place);
    start(&stage, place);
    cr_expect(adjust(&stage, "donut", 1, NULL).status == ERR_ok);
    lock_out(&stage);
    struct sending how = {.id = id_new()};
    send_adjust_as(&stage, "donut", 2, &how);
    (void)expect_status(&stage, ERR_unavailable);
    await_readiness(&stage, false);
    int64_t began_ms = link_steady_ms();
    for (int i = 0; i < 20; i++) {
        cr_expect(adjust(&stage, "donut", 2, NULL).status == ERR_unavailable);
    }
    cr_expect(link_steady_ms() - began_ms < 5000);
    let_in(&stage);
    await_readiness(&stage, true);
    how.again = true;
    send_adjust_as(&stage, "donut", 2, &how);
    cr_expect(expect_status(&stage, ERR_ok).total == 3);
    expect_consistent(&stage, 2);
    finish(&stage);
    drop_user(place);
}

/* The answer of a peer that comes while the database is away is not lost: whoever waits for it is told something. */
ON_MYSQL(actor, answers_those_that_wait_when_its_database_was_away)
{
    struct stage stage;
    make_user(place);
    start(&stage, place);
    await_factory(&stage);
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust body = adjust_of("donut", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    lock_out(&stage);
    await_readiness(&stage, false);
    answer_question(&stage);
    cr_expect(adjust(&stage, "donut", 2, NULL).status == ERR_unavailable);
    let_in(&stage);
    struct heard heard = hear(&stage);
    cr_expect(id_equal(&heard.id, &how.id));
    cr_expect(heard.status == ERR_ok || heard.status == ERR_unavailable, "%s", err_symbol(heard.status));
    how.again = true;
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (heard.status != ERR_ok) {
        cr_assert(link_steady_ms() < until_ms, "%s: %s", err_symbol(heard.status), heard.detail);
        send_op(&stage, OP_stock_adjust, &body, &how);
        serve(&stage, 20);
        if (stage.factory.question_count > 0) {
            answer_question(&stage);
        }
        heard = hear(&stage);
    }
    cr_expect(heard.total == 7);
    expect_consistent(&stage, 2);
    finish(&stage);
    drop_user(place);
}

/* The reply is in the batch whose commit fails for good. */
ON_MYSQL(actor, answers_those_that_wait_when_the_commit_fails)
{
    struct stage stage;
    make_user(place);
    start(&stage, place);
    await_factory(&stage);
    struct sending how = {.id = id_new()};
    struct wire_stock_adjust body = adjust_of("donut", 7, "ask");
    send_op(&stage, OP_stock_adjust, &body, &how);
    await_question(&stage);
    enter_gate(&stage);
    answer_question(&stage);
    lock_out(&stage);
    toy_open_gate();
    struct heard first = hear(&stage);
    cr_expect(first.status == ERR_unavailable, "the one in the gate");
    let_in(&stage);
    struct heard heard = hear(&stage);
    cr_expect(id_equal(&heard.id, &how.id));
    cr_expect(heard.status == ERR_ok || heard.status == ERR_unavailable, "%s", err_symbol(heard.status));
    finish(&stage);
    drop_user(place);
}

static int64_t
cpu_ms(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000;
}

/* Events lie unread while the database is away: that must not keep the loop awake. */
ON_MYSQL(actor, sleeps_while_its_database_is_away)
{
    struct stage stage;
    make_user(place);
    start(&stage, place);
    await_factory(&stage);
    lock_out(&stage);
    await_readiness(&stage, false);
    for (int i = 0; i < 3; i++) {
        produce(&stage, "donut", 1, true);
    }
    int64_t before_ms = cpu_ms();
    int64_t until_ms = link_steady_ms() + 1500;
    while (link_steady_ms() < until_ms) {
        serve(&stage, until_ms - link_steady_ms());
    }
    int64_t used_ms = cpu_ms() - before_ms;
    cr_expect(used_ms < 700, "%lld ms of 1500", (long long)used_ms);
    let_in(&stage);
    await_readiness(&stage, true);
    await_total(&stage, "donut", 3);
    expect_consistent(&stage, 4);
    finish(&stage);
    drop_user(place);
}

/* --- what the source has no more --- */

static void
produce_many(struct stage *stage, int count)
{
    for (int i = 0; i < count; i++) {
        produce(stage, "donut", 1, false);
    }
}

ON_BOTH(actor, reads_from_the_dlq_what_the_source_has_no_more_and_goes_on_there)
{
    enum { MANY = 900, KEPT = 700 };
    struct stage stage;
    start(&stage, place);
    start_factory(&stage);
    produce_many(&stage, MANY);
    stage.factory.kept_from = KEPT - 20;
    start_dlq(&stage, KEPT);
    await_total(&stage, "donut", MANY);
    cr_expect(stage.dlq.pages == 3, "%d pages of 256", stage.dlq.pages);
    cr_expect(number(&stage, "SELECT position FROM $cursor") == MANY);
    cr_expect(actor_is_ready(stage.actor));
    produce(&stage, "donut", 1, true);
    await_total(&stage, "donut", MANY + 1);
    int questions = stage.dlq.questions;
    produce(&stage, "donut", 1, false);
    await_total(&stage, "donut", MANY + 2);
    cr_expect(stage.dlq.questions == questions, "nobody asks the dlq for what the source has");
    expect_consistent(&stage, MANY + 2);
    finish(&stage);
}

/* It has never heard of the source, which is down; the dlq knows which one it is. */
ON_BOTH(actor, reads_from_the_dlq_while_the_source_is_down)
{
    enum { MANY = 300 };
    struct stage stage;
    start(&stage, place);
    stage.factory.incarnation = id_new();
    produce_many(&stage, MANY);
    start_dlq(&stage, MANY);
    await_total(&stage, "donut", MANY);
    cr_expect(actor_is_ready(stage.actor));
    produce_many(&stage, 10);
    open_factory(&stage);
    await_total(&stage, "donut", MANY + 10);
    expect_consistent(&stage, MANY + 10);
    finish(&stage);
}

ON_BOTH(actor, bears_a_dlq_that_refuses_and_asks_again)
{
    enum { MANY = 50 };
    struct stage stage;
    start(&stage, place);
    start_factory(&stage);
    produce_many(&stage, MANY);
    stage.factory.kept_from = MANY - 10;
    start_dlq(&stage, MANY);
    stage.dlq.is_refusing = true;
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (stage.dlq.questions < 3) {
        cr_assert(link_steady_ms() < until_ms, "the dlq was asked %d times", stage.dlq.questions);
        serve(&stage, 10);
    }
    cr_expect(actor_is_ready(stage.actor), "it is no incident");
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $entry") == 0);
    stage.dlq.is_refusing = false;
    await_total(&stage, "donut", MANY);
    expect_consistent(&stage, MANY);
    finish(&stage);
}

/* The whole of it within milliseconds: what is committed here is known there. */
ON_BOTH(actor, confirms_as_soon_as_it_has_committed)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    for (int i = 0; i < 20; i++) {
        int64_t began_ms = link_steady_ms();
        produce(&stage, "donut", 1, true);
        while (stage.factory.confirmed < stage.factory.seq) {
            cr_assert(link_steady_ms() - began_ms < WAIT_MS, "not confirmed");
            serve(&stage, 5);
        }
        cr_expect(link_steady_ms() - began_ms < 500, "not only with the next second");
        cr_expect(number(&stage, "SELECT position FROM $cursor") >= stage.factory.confirmed, "on disk first");
    }
    finish(&stage);
}

/* --- watching --- */

static void
await_head(struct stage *stage, int64_t seq)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (toy_heads_seen().seq != seq) {
        cr_assert(link_steady_ms() < until_ms, "HEAD %lld did not come", (long long)seq);
        serve(stage, 5);
    }
}

ON_BOTH(actor, gives_a_class_that_watches_the_latest_head_of_each_source)
{
    enum { MANY = 50 };
    struct stage stage;
    start_class(&stage, place, &toy_watching_class);
    await_factory(&stage);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (toy_heads_seen().count == 0) {
        cr_assert(link_steady_ms() < until_ms, "no HEAD came");
        serve(&stage, 5);
    }
    int64_t before = toy_heads_seen().count;
    stage.factory.is_silent = true;
    enter_gate(&stage);
    for (int i = 1; i <= MANY; i++) {
        publish_head_of(&stage, "factory/0", i, true);
    }
    leave_gate(&stage);
    await_head(&stage, MANY);
    struct toy_heads seen = toy_heads_seen();
    cr_expect(seen.head == MANY);
    cr_expect(seen.most == 1, "%lld in a batch", (long long)seen.most);
    cr_expect(seen.count - before < MANY, "%lld were seen", (long long)(seen.count - before));
    cr_expect(seen.other_count == 0);
    finish(&stage);
}

ON_BOTH(actor, passes_over_heads_that_it_cannot_read)
{
    struct stage stage;
    struct metric *unreadable = metric(METRIC_COUNTER, "larder_unreadable_heads_total", "", "");
    start_class(&stage, place, &toy_watching_class);
    await_factory(&stage);
    stage.factory.is_silent = true;
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    for (int round = 0; metric_value(unreadable) < 3; round++) {
        cr_assert(link_steady_ms() < until_ms, "%lld were counted", (long long)metric_value(unreadable));
        publish_head_of(&stage, round % 2 == 0 ? "factory/0" : "somebody/0", 7, round % 2 != 0);
        serve(&stage, 20);
    }
    cr_expect(toy_heads_seen().seq != 7);
    publish_head_of(&stage, "factory/0", 8, true);
    await_head(&stage, 8);
    cr_expect(toy_heads_seen().other_count == 0);
    finish(&stage);
}

/* HEADs go on while the database is away: they neither pile up nor keep the loop awake, and the latest is there afterwards. */
ON_MYSQL(actor, sleeps_beside_heads_while_its_database_is_away)
{
    struct stage stage;
    make_user(place);
    start_class(&stage, place, &toy_watching_class);
    await_factory(&stage);
    stage.factory.is_silent = true;
    lock_out(&stage);
    await_readiness(&stage, false);
    int64_t before_ms = cpu_ms();
    int64_t until_ms = link_steady_ms() + 1500;
    int64_t seq = 0;
    while (link_steady_ms() < until_ms) {
        publish_head_of(&stage, "factory/0", ++seq, true);
        serve(&stage, 5);
    }
    int64_t used_ms = cpu_ms() - before_ms;
    cr_expect(used_ms < 700, "%lld ms of 1500", (long long)used_ms);
    let_in(&stage);
    await_readiness(&stage, true);
    await_head(&stage, seq);
    finish(&stage);
    drop_user(place);
}

/* --- the end --- */

static void
await_end(struct stage *stage)
{
    struct pollfd ended = {.fd = stage->ended_fd, .events = POLLIN};
    cr_assert(poll(&ended, 1, WAIT_MS) == 1, "the actor does not end");
}

ON_BOTH(actor, ends_when_another_takes_its_shard)
{
    struct stage stage;
    struct heard none;
    struct err_text why = {""};
    start(&stage, place);
    cr_expect(adjust(&stage, "donut", 1, NULL).status == ERR_ok);
    enter_gate(&stage);
    for (int i = 0; i < 10; i++) {
        (void)send_adjust(&stage, "donut", 1, NULL);
    }
    struct db *db = place_open(place);
    struct shard other = {0};
    cr_assert(shard_take(&other, db, 0, 1, &why) == ERR_ok, "%s", why.text);
    toy_open_gate();
    await_end(&stage);
    cr_expect(actor_outcome(stage.actor) == ACTOR_FENCED);
    cr_expect(!actor_is_ready(stage.actor));
    cr_expect(!try_hear(&stage, 300, &none), "%s", err_symbol(none.status));
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $entry") == 1);
    cr_expect(place_number(db, "SELECT epoch FROM $shard") == other.epoch);
    db_close(&db);
    cr_expect(actor_stop(&stage.actor) == ACTOR_FENCED);
    finish(&stage);
}

ON_BOTH(actor, ends_by_itself_when_it_is_idle_and_another_takes_its_shard)
{
    struct stage stage;
    struct err_text why = {""};
    start(&stage, place);
    struct db *db = place_open(place);
    struct shard other = {0};
    cr_assert(shard_take(&other, db, 0, 1, &why) == ERR_ok, "%s", why.text);
    int64_t began_ms = link_steady_ms();
    await_end(&stage);
    cr_expect(link_steady_ms() - began_ms < 2500, "memory answers for a second at the most");
    cr_expect(actor_stop(&stage.actor) == ACTOR_FENCED);
    db_close(&db);
    finish(&stage);
}

ON_BOTH(actor, answers_what_is_queued_when_it_is_stopped)
{
    struct stage stage;
    start(&stage, place);
    enter_gate(&stage);
    for (int i = 0; i < 50; i++) {
        (void)send_adjust(&stage, "donut", 1, NULL);
    }
    toy_open_gate();
    cr_expect(actor_stop(&stage.actor) == ACTOR_STOPPED);
    for (int i = 0; i < 51; i++) {
        (void)expect_status(&stage, ERR_ok);
    }
    expect_consistent(&stage, 51);
    finish(&stage);
}

ON_BOTH(actor, tells_those_that_wait_when_it_is_stopped)
{
    struct stage stage;
    start(&stage, place);
    await_factory(&stage);
    struct id waiting = send_adjust(&stage, "donut", 7, "ask");
    await_question(&stage);
    cr_expect(actor_stop(&stage.actor) == ACTOR_STOPPED);
    struct heard heard = expect_status(&stage, ERR_unavailable);
    cr_expect(id_equal(&heard.id, &waiting));
    expect_consistent(&stage, 1);
    finish(&stage);
}

ON_BOTH(actor, is_reached_by_nobody_before_it_is_told_to_serve)
{
    struct stage stage = {.place = place, .class = &toy_class, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    struct err_text why = {""};
    log_init(false, LOG_LEVEL_ERROR);
    for (int i = 0; i < 2; i++) {
        cr_assert(actor_open(&toy_class, &place->settings, 0, stage.ended_fd, &stage.actor, &why) == ERR_ok, "%s", why.text);
        cr_assert(actor_wait_open(&stage.actor, ACTOR_START_MS, &why) == ERR_ok, "%s", why.text);
        cr_expect_not(actor_is_ready(stage.actor));
        cr_expect(place_are_ports_free(place, STOCK_OFFSET));
        if (i == 0) {
            cr_expect(actor_stop(&stage.actor) == ACTOR_STOPPED);
        }
    }
    cr_assert(actor_serve(&stage.actor, &why) == ERR_ok, "%s", why.text);
    cr_expect(actor_is_ready(stage.actor));
    cr_expect_not(place_are_ports_free(place, STOCK_OFFSET));
    connect_client(&stage, false);
    (void)send_adjust(&stage, "donut", 1, NULL);
    (void)expect_status(&stage, ERR_ok);
    finish(&stage);
}

ON_BOTH(actor, is_refused_at_start_with_another_number_of_shards)
{
    struct stage stage;
    struct err_text why = {""};
    start(&stage, place);
    cr_expect(actor_stop(&stage.actor) == ACTOR_STOPPED);
    place->settings.stock_shards = 2;
    cr_expect(actor_start(&toy_class, &place->settings, 0, stage.ended_fd, &stage.actor, &why) == ERR_wrong_setting);
    cr_expect(strstr(why.text, "made for 1 shards") != NULL, "%s", why.text);
    cr_expect(stage.actor == NULL);
    finish(&stage);
}
