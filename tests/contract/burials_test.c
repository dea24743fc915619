/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Rows that could not be finished, on both databases: buried when their attempts are used up, told to the dlq until it has confirmed,
 * and retried, edited, put aside and taken back by their owner when somebody asks.
 *
 * PURPOSE   The test's thread is the toy's factory, its dlq (a ROUTER that keeps what it is told) and whoever asks about its rows.
 * STATE     One actor; sockets of the test are served whenever it waits for something.
 * LIMITS    An event's key and the product in its body are two things here: the key says what waits for what, the product says how
 *           the toy takes it (tests/support/toy_actor.h).
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <czmq.h>

#include "../support/kit_place.h"
#include "../support/toy_actor.h"
#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "kit/place/kit_schema.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "kit/telemetry/metrics.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)
#define EVENTS_MAX 700
#define LETTERS_MAX 2000
#define HEAD_MS 50
#define ATTEMPTS 3

enum dlq_manner { DLQ_CONFIRMS, DLQ_REFUSES, DLQ_IS_SILENT };

/* One burial as it came. */
struct told {
    struct id letter;
    char reason[65];
    char error[513];
    char key[65];
    char source[65];
    char destination[65];
    char kind[17];
    int64_t seq;
    int64_t attempts;
    int64_t first_ms;
    int64_t last_ms;
    uint32_t history;
    bool is_settled;
    bool has_frames;
    bool is_confirmed;
};

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct arena arena;
    struct wire_buffer list;
    zsock_t *client;
    zsock_t *factory;
    zsock_t *publisher;
    struct id incarnation;
    struct slice headers[EVENTS_MAX];
    struct slice bodies[EVENTS_MAX];
    int64_t seq;
    int64_t head_ms;
    zsock_t *dlq; /* NULL: it is away */
    enum dlq_manner manner;
    struct told *told;
    size_t told_count;
    int messages;
    uint32_t largest; /* letters in one message */
};

/* --- life --- */

static zsock_t *
bind_socket(const struct stage *stage, int type, const char *actor, enum endpoint_kind kind)
{
    char endpoint[ENDPOINT_MAX];
    zsock_t *socket = zsock_new(type);
    zsock_set_linger(socket, 0);
    topology_bind(&stage->place->settings, actor, 0, kind, endpoint);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (zsock_bind(socket, "%s", endpoint) < 0) {
        cr_assert(link_steady_ms() < until_ms, "%s is not free", endpoint);
        (void)poll(NULL, 0, 10);
    }
    return socket;
}

static void
run_actor(struct stage *stage)
{
    struct err_text why = {""};
    char endpoint[ENDPOINT_MAX];
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (actor_start(&toy_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why) != ERR_ok) {
        cr_assert(link_steady_ms() < until_ms, "%s", why.text); /* ports of a stopped one are given back a little later */
        (void)poll(NULL, 0, 50);
    }
    topology_inproc("stock", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(link_requests(endpoint, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .incarnation = id_new()};
    stage->told = calloc(LETTERS_MAX, sizeof *stage->told);
    cr_assert(stage->told != NULL);
    log_init(false, LOG_LEVEL_ERROR);
    place->settings.retry_attempts = ATTEMPTS;
    place->settings.retry_first_ms = 5;
    place->settings.hold_after = 0;
    stage->factory = bind_socket(stage, ZMQ_ROUTER, "factory", ENDPOINT_REQUESTS);
    stage->publisher = bind_socket(stage, ZMQ_PUB, "factory", ENDPOINT_EVENTS);
    run_actor(stage);
}

static void
dlq_comes(struct stage *stage)
{
    stage->dlq = bind_socket(stage, ZMQ_ROUTER, "dlq", ENDPOINT_REQUESTS);
}

static void
start_with_dlq(struct stage *stage, struct place *place)
{
    start(stage, place);
    dlq_comes(stage);
}

static void
stop_actor(struct stage *stage)
{
    zsock_destroy(&stage->client);
    cr_assert(actor_stop(&stage->actor) == ACTOR_STOPPED);
    place_await_ports_of(stage->place, 6);
}

static void
restart(struct stage *stage)
{
    stop_actor(stage);
    run_actor(stage);
}

static void
finish(struct stage *stage)
{
    zsock_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
    zsock_destroy(&stage->factory);
    zsock_destroy(&stage->publisher);
    zsock_destroy(&stage->dlq);
    for (int64_t i = 0; i < stage->seq; i++) {
        free((void *)(uintptr_t)stage->headers[i].data);
        free((void *)(uintptr_t)stage->bodies[i].data);
    }
    free(stage->told);
    arena_fini(&stage->arena);
    wire_buffer_fini(&stage->list);
    close(stage->ended_fd);
}

/* --- the factory --- */

static struct slice
fact_of(const char *product, int64_t quantity)
{
    struct wire_buffer buffer = {0};
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_new());
    WIRE_SET(&fact, factory_fact, product, slice_of(product));
    WIRE_SET(&fact, factory_fact, quantity, quantity);
    wire_encode(&factory_fact_body, &fact, &buffer);
    return wire_buffer_slice(&buffer);
}

static struct wire_event_header
header_of(const struct stage *stage, int64_t seq, const char *type, const char *key)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage->incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of(type));
    WIRE_SET(&header, event_header, key, slice_of(key));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    return header;
}

/* An event with this body, which the stage takes over; its seq. It is told by the next HEAD. */
static int64_t
produce_body(struct stage *stage, const char *key, struct slice body)
{
    cr_assert(stage->seq < EVENTS_MAX);
    struct wire_buffer buffer = {0};
    struct wire_event_header header = header_of(stage, stage->seq + 1, "factory.produced", key);
    wire_encode(&event_header_body, &header, &buffer);
    stage->headers[stage->seq] = wire_buffer_slice(&buffer);
    stage->bodies[stage->seq] = body;
    stage->head_ms = 0;
    return ++stage->seq;
}

static int64_t
produce(struct stage *stage, const char *key, const char *product, int64_t quantity)
{
    return produce_body(stage, key, fact_of(product, quantity));
}

static void
answer(struct stage *stage, zsock_t *socket, struct message *question, err status, struct slice body)
{
    struct wire_request_header asked;
    struct err_text why = {""};
    struct wire_reply_header header = {0};
    cr_assert(wire_decode(&request_header_body, message_header(question), &asked, &why) == ERR_ok, "%s", why.text);
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, asked.id);
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(status)));
    struct slice frame = arena_encode(&stage->arena, &reply_header_body, &header);
    enum message_sent sent = message_reply(zsock_resolve(socket), question, frame, body);
    cr_assert(sent == MESSAGE_SENT || sent == MESSAGE_GONE);
}

static struct slice
problem_of(struct stage *stage, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    return arena_encode(&stage->arena, &problem_body, &problem);
}

/* A page is at most 256 events and about 900 KiB. */
static void
answer_fetch(struct stage *stage, struct message *question)
{
    struct wire_fetch fetch;
    struct err_text why = {""};
    cr_assert(wire_decode(&fetch_body, message_body(question), &fetch, &why) == ERR_ok, "%s", why.text);
    struct wire_fetched page = {0};
    struct wire_list events = {0};
    stage->list.size = 0;
    for (int64_t i = fetch.position; i < stage->seq && i < fetch.position + fetch.limit; i++) {
        struct wire_fetched_event event = {0};
        WIRE_SET(&event, fetched_event, header, stage->headers[i]);
        WIRE_SET(&event, fetched_event, body, stage->bodies[i]);
        if (stage->list.size > 0 && stage->list.size + stage->bodies[i].size > 100000) {
            break;
        }
        wire_list_add(&events, &fetched_event_body, &event, &stage->list);
    }
    wire_list_end(&events, &stage->list);
    WIRE_SET(&page, fetched, incarnation, stage->incarnation);
    WIRE_SET(&page, fetched, head, stage->seq);
    WIRE_SET(&page, fetched, events, events);
    answer(stage, stage->factory, question, ERR_ok, arena_encode(&stage->arena, &fetched_body, &page));
}

static void
publish_head(struct stage *stage)
{
    int64_t now_ms = link_steady_ms();
    if (now_ms - stage->head_ms < HEAD_MS) {
        return;
    }
    stage->head_ms = now_ms;
    struct wire_event_header header = header_of(stage, stage->seq, "head", "");
    struct wire_head body = {0};
    WIRE_SET(&body, head, head, stage->seq);
    WIRE_SET(&body, head, oldest, 1);
    WIRE_SET(&body, head, positions, (struct wire_list){0});
    struct slice frames[] = {slice_of("head"), arena_encode(&stage->arena, &event_header_body, &header),
                             arena_encode(&stage->arena, &head_body, &body)};
    for (int i = 0; i < 3; i++) {
        cr_assert(zmq_send(zsock_resolve(stage->publisher), frames[i].data, frames[i].size, i < 2 ? ZMQ_SNDMORE : 0) >= 0);
    }
}

/* --- the dlq --- */

static void
copy_text(char *to, size_t size, struct slice text)
{
    snprintf(to, size, "%.*s", (int)text.size, (const char *)text.data);
}

static void
keep(struct stage *stage, const struct wire_burial *burial)
{
    cr_assert(stage->told_count < LETTERS_MAX);
    struct told *told = &stage->told[stage->told_count++];
    told->letter = burial->letter;
    copy_text(told->reason, sizeof told->reason, burial->reason);
    copy_text(told->error, sizeof told->error, burial->error);
    copy_text(told->key, sizeof told->key, burial->key);
    copy_text(told->kind, sizeof told->kind, burial->kind);
    copy_text(told->destination, sizeof told->destination, burial->destination);
    if (WIRE_HAS(burial, burial, source)) {
        copy_text(told->source, sizeof told->source, burial->source);
    }
    told->seq = WIRE_HAS(burial, burial, seq) ? burial->seq : 0;
    told->attempts = burial->attempts;
    told->first_ms = burial->first;
    told->last_ms = burial->last;
    told->history = burial->history.count;
    told->is_settled = WIRE_HAS(burial, burial, settled) && burial->settled;
    told->has_frames = WIRE_HAS(burial, burial, header) && WIRE_HAS(burial, burial, body);
    told->is_confirmed = stage->manner == DLQ_CONFIRMS;
    if (told->has_frames && told->seq > 0) {
        cr_expect(slice_equal(burial->header, stage->headers[told->seq - 1]));
    }
}

static void
take_burials(struct stage *stage, struct message *message)
{
    struct wire_dlq_bury bury;
    struct err_text why = {""};
    struct wire_burial burial;
    cr_assert(message_body(message).size <= 768 * 1024);
    cr_assert(wire_decode(&dlq_bury_body, message_body(message), &bury, &why) == ERR_ok, "%s", why.text);
    stage->messages++;
    stage->largest = bury.burials.count > stage->largest ? bury.burials.count : stage->largest;
    while (wire_list_next(&bury.burials, &burial_body, &burial)) {
        keep(stage, &burial);
    }
    if (stage->manner == DLQ_CONFIRMS) {
        struct wire_dlq_buried buried = {0};
        WIRE_SET(&buried, dlq_buried, taken, bury.burials.count);
        answer(stage, stage->dlq, message, ERR_ok, arena_encode(&stage->arena, &dlq_buried_body, &buried));
    } else if (stage->manner == DLQ_REFUSES) {
        answer(stage, stage->dlq, message, ERR_unavailable, problem_of(stage, "full"));
    }
}

static void
serve(struct stage *stage, int64_t timeout_ms)
{
    struct message message;
    zmq_pollitem_t items[3] = {{.socket = zsock_resolve(stage->client), .events = ZMQ_POLLIN},
                               {.socket = zsock_resolve(stage->factory), .events = ZMQ_POLLIN}};
    int count = 2;
    if (stage->dlq != NULL) {
        items[count++] = (zmq_pollitem_t){.socket = zsock_resolve(stage->dlq), .events = ZMQ_POLLIN};
    }
    publish_head(stage);
    (void)zmq_poll(items, count, (long)timeout_ms);
    while (message_receive(zsock_resolve(stage->factory), true, &message) == MESSAGE_OK) {
        answer_fetch(stage, &message);
        message_fini(&message);
    }
    while (stage->dlq != NULL && message_receive(zsock_resolve(stage->dlq), true, &message) == MESSAGE_OK) {
        struct wire_request_header header;
        struct err_text why = {""};
        cr_assert(wire_decode(&request_header_body, message_header(&message), &header, &why) == ERR_ok, "%s", why.text);
        if (slice_equal(header.op, slice_of("dlq.bury"))) {
            take_burials(stage, &message);
        } else {
            answer(stage, stage->dlq, &message, ERR_unavailable, problem_of(stage, "only burials here"));
        }
        message_fini(&message);
    }
}

/* The latest word about the letter of an event; NULL when there is none. */
static const struct told *
find_told(const struct stage *stage, int64_t seq)
{
    for (size_t i = stage->told_count; i > 0; i--) {
        if (stage->told[i - 1].seq == seq) {
            return &stage->told[i - 1];
        }
    }
    return NULL;
}

static const struct told *
await_letter(struct stage *stage, int64_t seq, int64_t attempts)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    const struct told *told = NULL;
    while (told = find_told(stage, seq), told == NULL || told->attempts < attempts || !told->is_confirmed) {
        cr_assert(link_steady_ms() < until_ms, "no letter about %lld with %lld attempts", (long long)seq, (long long)attempts);
        serve(stage, 10);
    }
    return told;
}

/* --- asking --- */

struct heard {
    struct id id;
    err status;
    char outcome[17];
    char error[513];
    int64_t attempts;
    int64_t behind;
    int64_t total;
};

static void
send_as(struct stage *stage, struct id id, enum op op, const void *body)
{
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[op].name));
    WIRE_SET(&header, request_header, deadline, clock_utc_ms() + WAIT_MS);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (message_send(zsock_resolve(stage->client), arena_encode(&stage->arena, &request_header_body, &header),
                        arena_encode(&stage->arena, wire_ops[op].request, body)) != MESSAGE_SENT) {
        cr_assert(link_steady_ms() < until_ms, "nobody takes it");
        serve(stage, 5);
    }
}

static void
read_reply(struct heard *heard, struct slice body)
{
    struct err_text why;
    struct wire_problem problem;
    struct wire_row_outcome outcome;
    struct wire_stock_done done;
    struct wire_stock_level level;
    if (heard->status != ERR_ok) {
        cr_assert(wire_decode(&problem_body, body, &problem, &why) == ERR_ok, "%s", why.text);
        copy_text(heard->error, sizeof heard->error, problem.detail);
    } else if (wire_decode(&row_outcome_body, body, &outcome, &why) == ERR_ok) {
        copy_text(heard->outcome, sizeof heard->outcome, outcome.outcome);
        heard->attempts = WIRE_HAS(&outcome, row_outcome, attempts) ? outcome.attempts : 0;
        heard->behind = WIRE_HAS(&outcome, row_outcome, behind) ? outcome.behind : 0;
        if (WIRE_HAS(&outcome, row_outcome, error)) {
            copy_text(heard->error, sizeof heard->error, outcome.error);
        }
    } else if (wire_decode(&stock_done_body, body, &done, &why) == ERR_ok) {
        (void)wire_list_next(&done.levels, &stock_level_body, &level);
        heard->total = level.on_hand;
    } else if (wire_decode(&stock_level_body, body, &level, &why) == ERR_ok) {
        heard->total = level.on_hand;
    }
}

static struct heard
hear(struct stage *stage)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    struct message message;
    while (message_receive(zsock_resolve(stage->client), false, &message) != MESSAGE_OK) {
        cr_assert(link_steady_ms() < until_ms, "there is no answer");
        serve(stage, 10);
    }
    struct wire_reply_header header;
    struct err_text why = {""};
    struct heard heard = {0};
    cr_assert(wire_decode(&reply_header_body, message_header(&message), &header, &why) == ERR_ok, "%s", why.text);
    heard.id = header.id;
    heard.status = err_find((const char *)header.status.data, header.status.size);
    read_reply(&heard, message_body(&message));
    message_fini(&message);
    return heard;
}

static struct heard
ask(struct stage *stage, enum op op, const void *body)
{
    struct id id = id_new();
    send_as(stage, id, op, body);
    struct heard heard = hear(stage);
    cr_expect(id_equal(&heard.id, &id), "the answer is another's");
    return heard;
}

static struct wire_row
event_row(int64_t seq)
{
    struct wire_row row = {0};
    WIRE_SET(&row, row, letter, id_new());
    WIRE_SET(&row, row, source, slice_of("factory/0"));
    WIRE_SET(&row, row, seq, seq);
    return row;
}

static struct wire_row
due_row(const char *key)
{
    struct wire_row row = {0};
    WIRE_SET(&row, row, letter, id_new());
    WIRE_SET(&row, row, owner, slice_of("toy"));
    WIRE_SET(&row, row, key, slice_of(key));
    return row;
}

static struct heard
retry(struct stage *stage, int64_t seq)
{
    struct wire_row row = event_row(seq);
    return ask(stage, OP_any_retry, &row);
}

static struct heard
edit(struct stage *stage, struct wire_row row, struct slice body)
{
    struct wire_row_edit edit = {0};
    WIRE_SET(&edit, row_edit, row, row);
    WIRE_SET(&edit, row_edit, body, body);
    return ask(stage, OP_any_edit, &edit);
}

static struct heard
discard(struct stage *stage, struct wire_row row, bool is_final)
{
    struct wire_row_discard discard = {0};
    WIRE_SET(&discard, row_discard, row, row);
    if (is_final) {
        WIRE_SET(&discard, row_discard, is_final, true);
    }
    return ask(stage, OP_any_discard, &discard);
}

static struct heard
restore(struct stage *stage, struct wire_row row)
{
    return ask(stage, OP_any_restore, &row);
}

static void
send_adjust(struct stage *stage, const char *product, int64_t delta, const char *reason)
{
    struct wire_stock_adjust adjust = {0};
    WIRE_SET(&adjust, stock_adjust, product, slice_of(product));
    WIRE_SET(&adjust, stock_adjust, delta, delta);
    if (reason != NULL) {
        WIRE_SET(&adjust, stock_adjust, reason, slice_of(reason));
    }
    send_as(stage, id_new(), OP_stock_adjust, &adjust);
}

static struct heard
adjust(struct stage *stage, const char *product, int64_t delta, const char *reason)
{
    send_adjust(stage, product, delta, reason);
    return hear(stage);
}

static int64_t
total_of(struct stage *stage, const char *product)
{
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, slice_of(product));
    struct heard heard = ask(stage, OP_stock_get, &get);
    return heard.status == ERR_ok ? heard.total : -1;
}

static void
await_total(struct stage *stage, const char *product, int64_t total)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (total_of(stage, product) != total) {
        cr_assert(link_steady_ms() < until_ms, "%s is %lld, not %lld", product, (long long)total_of(stage, product), (long long)total);
        serve(stage, 10);
    }
}

static void
expect_outcome(struct heard heard, const char *outcome)
{
    cr_expect(heard.status == ERR_ok && strcmp(heard.outcome, outcome) == 0, "%s %s (%s) instead of %s", err_symbol(heard.status),
              heard.outcome, heard.error, outcome);
}

static void
expect_refusal(struct heard heard, err status)
{
    cr_expect(heard.status == status, "%s %s (%s) instead of %s", err_symbol(heard.status), heard.outcome, heard.error,
              err_symbol(status));
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

static void
await_number(struct stage *stage, const char *sql, int64_t wanted)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (number(stage, sql) != wanted) {
        cr_assert(link_steady_ms() < until_ms, "%s: not %lld", sql, (long long)wanted);
        serve(stage, 10);
    }
}

/* Every event up to the cursor was applied, discarded or is parked; and nothing was done twice. */
static void
expect_conserved(struct stage *stage)
{
    cr_expect(number(stage, "SELECT COUNT(*) FROM $cursor WHERE position <> delivered + discarded + "
                            "(SELECT COUNT(*) FROM $parked)") == 0);
    cr_expect(number(stage, "SELECT COUNT(*) - COUNT(DISTINCT request) FROM $entry") == 0, "something was done twice");
}

static void
await_waiting(struct stage *stage, int64_t wanted)
{
    const struct metric *waiting = metric(METRIC_GAUGE, "larder_burials_waiting", "actor=\"stock/0\"", "");
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (metric_value(waiting) != wanted) {
        cr_assert(link_steady_ms() < until_ms, "%lld burials wait", (long long)metric_value(waiting));
        serve(stage, 10);
    }
}

/* A poison event of the key, buried and confirmed; its seq. */
static int64_t
bury_one(struct stage *stage, const char *key)
{
    int64_t seq = produce(stage, key, "poison", 10);
    (void)await_letter(stage, seq, ATTEMPTS);
    return seq;
}

/* --- burying --- */

ON_BOTH(burials, buries_an_event_after_its_attempts_while_other_keys_go_on)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    produce(&stage, "good", "donut", 1);
    int64_t bad = produce(&stage, "bad", "poison", 10);
    produce(&stage, "good", "donut", 2);
    produce(&stage, "bad", "donut", 100);
    produce(&stage, "badly", "donut", 4);
    int64_t before_ms = clock_utc_ms();
    const struct told *told = await_letter(&stage, bad, ATTEMPTS);
    await_total(&stage, "donut", 1 + 2 + 4);
    cr_expect(told->attempts == ATTEMPTS && told->history == ATTEMPTS);
    cr_expect_str_eq(told->reason, "internal");
    cr_expect(strstr(told->error, "poison") != NULL, "%s", told->error);
    cr_expect_str_eq(told->key, "bad");
    cr_expect_str_eq(told->kind, "event");
    cr_expect_str_eq(told->source, "factory/0");
    cr_expect_str_eq(told->destination, "stock/0");
    cr_expect(told->has_frames && !told->is_settled);
    cr_expect(told->first_ms >= before_ms - 1000 && told->last_ms >= told->first_ms && told->last_ms <= clock_utc_ms());
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    await_waiting(&stage, 0);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked WHERE state = 1 AND attempts = 3 AND history_count = 3") == 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $parked WHERE state = 0 AND attempts = 0") == 1, "one waits behind it");
    cr_expect(number(&stage, "SELECT due FROM $parked WHERE state = 1") == INT64_MAX);
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, stay_until_a_dlq_that_was_away_has_confirmed)
{
    struct stage stage;
    start(&stage, place);
    int64_t bad = produce(&stage, "bad", "poison", 10);
    produce(&stage, "good", "donut", 5);
    await_total(&stage, "donut", 5);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 1);
    restart(&stage);
    produce(&stage, "good", "donut", 6);
    await_total(&stage, "donut", 11);
    await_waiting(&stage, 1);
    cr_expect(number(&stage, "SELECT attempts FROM $parked") == ATTEMPTS, "it is tried no more");
    stage.manner = DLQ_REFUSES;
    dlq_comes(&stage);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (stage.messages < 2) {
        cr_assert(link_steady_ms() < until_ms, "it is not repeated");
        serve(&stage, 10);
    }
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $burial") == 1, "refused is not confirmed");
    stage.manner = DLQ_CONFIRMS;
    const struct told *told = await_letter(&stage, bad, ATTEMPTS);
    cr_expect(id_equal(&told->letter, &stage.told[0].letter), "one letter, however often it is told");
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    finish(&stage);
}

/* The dlq took it and its answer was lost: the same letter comes again. */
ON_BOTH(burials, are_repeated_when_no_answer_comes)
{
    struct stage stage;
    start(&stage, place);
    stage.manner = DLQ_IS_SILENT;
    dlq_comes(&stage);
    int64_t bad = produce(&stage, "bad", "poison", 10);
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (stage.messages < 1) {
        cr_assert(link_steady_ms() < until_ms);
        serve(&stage, 10);
    }
    stage.manner = DLQ_CONFIRMS;
    const struct told *told = await_letter(&stage, bad, ATTEMPTS);
    cr_expect(told != &stage.told[0] && id_equal(&told->letter, &stage.told[0].letter));
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    finish(&stage);
}

ON_BOTH(burials, of_many_keys_go_out_in_few_messages)
{
    enum { MANY = 400 };
    struct stage stage;
    char key[16];
    start(&stage, place);
    for (int i = 0; i < MANY; i++) {
        snprintf(key, sizeof key, "k%d", i);
        produce(&stage, key, "poison", 1);
    }
    await_number(&stage, "SELECT COUNT(*) FROM $burial", MANY);
    dlq_comes(&stage);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    cr_expect(stage.told_count >= MANY && stage.largest == 256);
    toy_heal();
    for (int seq = 1; seq <= MANY; seq++) {
        struct wire_row row = event_row(seq);
        send_as(&stage, id_new(), OP_any_retry, &row);
    }
    for (int seq = 1; seq <= MANY; seq++) {
        expect_outcome(hear(&stage), "done");
    }
    cr_expect(total_of(&stage, "poison") == MANY);
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, of_a_huge_event_go_without_its_frames)
{
    enum { HUGE_SIZE = 800 * 1024 };
    struct stage stage;
    start_with_dlq(&stage, place);
    struct slice fact = fact_of("poison", 10);
    uint8_t *body = malloc(fact.size + HUGE_SIZE + 16);
    cr_assert(body != NULL && (fact.data[0] & 0xf0) == 0x80);
    memcpy(body, fact.data, fact.size);
    body[0]++; /* one more field, which nobody knows */
    const uint8_t head[] = {0xa1, 'x', 0xc6, HUGE_SIZE >> 24, (HUGE_SIZE >> 16) & 0xff, (HUGE_SIZE >> 8) & 0xff, HUGE_SIZE & 0xff};
    memcpy(body + fact.size, head, sizeof head);
    memset(body + fact.size + sizeof head, 'x', HUGE_SIZE);
    int64_t seq = produce_body(&stage, "huge", (struct slice){body, fact.size + sizeof head + HUGE_SIZE});
    free((void *)(uintptr_t)fact.data);
    int64_t small = produce(&stage, "small", "poison", 10);
    cr_expect(!await_letter(&stage, seq, ATTEMPTS)->has_frames);
    cr_expect(await_letter(&stage, small, ATTEMPTS)->has_frames);
    toy_heal();
    expect_outcome(retry(&stage, seq), "done");
    cr_expect(total_of(&stage, "poison") == 10, "the row has its frames");
    finish(&stage);
}

ON_BOTH(burials, do_not_make_events_without_a_key_wait_for_each_other)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t first = produce(&stage, "", "poison", 10);
    produce(&stage, "", "donut", 1);
    int64_t third = produce(&stage, "", "poison", 20);
    produce(&stage, "", "donut", 2);
    await_total(&stage, "donut", 3);
    (void)await_letter(&stage, first, ATTEMPTS);
    (void)await_letter(&stage, third, ATTEMPTS);
    restart(&stage);
    toy_heal();
    expect_outcome(retry(&stage, third), "done");
    cr_expect(total_of(&stage, "poison") == 20);
    expect_outcome(retry(&stage, first), "done");
    cr_expect(total_of(&stage, "poison") == 30);
    expect_conserved(&stage);
    finish(&stage);
}

/* --- retry --- */

/* Whoever asked: the dlq may have been told of it by nobody else. */
ON_BOTH(burials, retry_that_is_done_closes_the_letter)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    struct id letter = find_told(&stage, bad)->letter;
    size_t told_before = stage.told_count;
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    cr_assert_eq(stage.told_count, told_before + 1);
    cr_expect(stage.told[told_before].is_settled && id_equal(&stage.told[told_before].letter, &letter));
    expect_outcome(retry(&stage, bad), "gone");
    cr_expect_eq(stage.told_count, told_before + 1, "and once");
    finish(&stage);
}

ON_BOTH(burials, retry_does_what_could_not_be_done_and_lets_its_followers_go)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    int64_t behind = produce(&stage, "bad", "poison", 3);
    produce(&stage, "bad", "donut", 7);
    await_number(&stage, "SELECT COUNT(*) FROM $parked", 3);
    struct heard heard = retry(&stage, behind);
    expect_outcome(heard, "waiting");
    cr_expect(heard.behind == bad);
    heard = retry(&stage, bad);
    expect_outcome(heard, "failed");
    cr_expect(heard.attempts == ATTEMPTS + 1 && strstr(heard.error, "poison") != NULL);
    cr_expect(await_letter(&stage, bad, ATTEMPTS + 1)->history == ATTEMPTS + 1, "the letter is current");
    cr_expect(number(&stage, "SELECT state FROM $parked WHERE seq = 1") == 1, "and the row stays");
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    await_total(&stage, "poison", 13);
    await_total(&stage, "donut", 7);
    expect_outcome(retry(&stage, bad), "gone");
    expect_outcome(retry(&stage, behind), "gone");
    cr_expect(number(&stage, "SELECT delivered FROM $cursor") == 3);
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, retry_keeps_the_first_and_the_latest_attempts)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    for (int64_t attempts = ATTEMPTS + 1; attempts <= 30; attempts++) {
        cr_expect(retry(&stage, bad).attempts == attempts);
    }
    const struct told *told = await_letter(&stage, bad, 30);
    cr_expect(told->history == 20, "%u", told->history);
    cr_expect(told->first_ms < told->last_ms);
    finish(&stage);
}

ON_BOTH(burials, retry_asked_twice_at_once_is_done_once)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    toy_heal();
    struct wire_row row = event_row(bad);
    struct id same = id_new();
    send_adjust(&stage, "gate", 1, "gate");
    toy_await_gate();
    send_as(&stage, same, OP_any_retry, &row);
    send_as(&stage, same, OP_any_retry, &row);
    send_as(&stage, id_new(), OP_any_retry, &row);
    toy_open_gate();
    int done = 0;
    int waiting = 0;
    for (int i = 0; i < 4; i++) {
        struct heard heard = hear(&stage);
        cr_expect(heard.status == ERR_ok, "%s", heard.error);
        done += strcmp(heard.outcome, "done") == 0 ? 1 : 0;
        waiting += strcmp(heard.outcome, "waiting") == 0 ? 1 : 0;
    }
    cr_expect(done == 2 && waiting == 1, "%d done, %d waiting", done, waiting);
    cr_expect(total_of(&stage, "poison") == 10);
    expect_conserved(&stage);
    finish(&stage);
}

/* The batch fails for another's sake, and all of it runs again one by one. */
ON_BOTH(burials, retry_is_done_once_when_its_batch_is_rolled_back)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    int64_t other = bury_one(&stage, "other");
    produce(&stage, "bad", "donut", 7);
    await_number(&stage, "SELECT COUNT(*) FROM $parked", 3);
    struct wire_row first = event_row(bad);
    struct wire_row second = event_row(other);
    toy_heal();
    send_adjust(&stage, "gate", 1, "gate");
    toy_await_gate();
    send_as(&stage, id_new(), OP_any_retry, &first);
    send_adjust(&stage, "nothing", -5, "free");
    send_as(&stage, id_new(), OP_any_retry, &second);
    toy_open_gate();
    int done = 0;
    for (int i = 0; i < 4; i++) {
        struct heard heard = hear(&stage);
        done += heard.status == ERR_ok && strcmp(heard.outcome, "done") == 0 ? 1 : 0;
    }
    cr_expect(done == 2);
    await_total(&stage, "donut", 7);
    cr_expect(total_of(&stage, "poison") == 20);
    expect_conserved(&stage);
    finish(&stage);
}

/* It fails in the database, alone: that is charged like a refusal of the handler. */
ON_BOTH(burials, retry_that_the_database_refuses_has_failed)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = produce(&stage, "bad", "breaks", 5);
    const struct told *told = await_letter(&stage, bad, ATTEMPTS);
    cr_expect_str_eq(told->reason, "internal");
    struct heard heard = retry(&stage, bad);
    expect_outcome(heard, "failed");
    cr_expect(heard.attempts == ATTEMPTS + 1);
    (void)await_letter(&stage, bad, ATTEMPTS + 1);
    cr_expect(adjust(&stage, "breaks", 5, NULL).total == 5);
    expect_outcome(retry(&stage, bad), "done");
    cr_expect(total_of(&stage, "breaks") == 0);
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, retry_charges_nothing_while_a_dependency_is_away)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    struct slice body = fact_of("away", 4);
    expect_outcome(edit(&stage, event_row(bad), body), "edited");
    for (int i = 0; i < 5; i++) {
        expect_refusal(retry(&stage, bad), ERR_unavailable);
    }
    cr_expect(number(&stage, "SELECT attempts FROM $parked WHERE state = 1") == ATTEMPTS, "nobody is charged");
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    cr_expect(total_of(&stage, "away") == 4);
    free((void *)(uintptr_t)body.data);
    finish(&stage);
}

/* Still trying by itself: asked for, it goes now. */
ON_BOTH(burials, retry_does_not_wait_for_the_time_of_a_row_that_is_still_tried)
{
    struct stage stage;
    place->settings.retry_first_ms = 5;
    start_with_dlq(&stage, place);
    stop_actor(&stage);
    place->settings.retry_first_ms = 600000;
    run_actor(&stage);
    int64_t bad = produce(&stage, "bad", "poison", 10);
    await_number(&stage, "SELECT COUNT(*) FROM $parked WHERE attempts = 1 AND state = 0", 1);
    struct heard heard = retry(&stage, bad);
    expect_outcome(heard, "failed");
    cr_expect(heard.attempts == 2);
    cr_expect(number(&stage, "SELECT state FROM $parked") == 0, "it has one attempt left");
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    cr_expect(total_of(&stage, "poison") == 10);
    finish(&stage);
}

ON_BOTH(burials, retry_of_what_never_was_is_refused)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    struct wire_row row = event_row(bad);
    expect_refusal(retry(&stage, bad + 1), ERR_not_found);
    WIRE_SET(&row, row, source, slice_of("stock/0"));
    expect_refusal(ask(&stage, OP_any_retry, &row), ERR_not_found);
    row = event_row(bad);
    WIRE_SET(&row, row, owner, slice_of("toy"));
    expect_refusal(ask(&stage, OP_any_retry, &row), ERR_invalid_field);
    row = (struct wire_row){0};
    WIRE_SET(&row, row, letter, id_new());
    expect_refusal(ask(&stage, OP_any_retry, &row), ERR_invalid_field);
    expect_refusal(restore(&stage, row), ERR_invalid_field);
    cr_expect(number(&stage, "SELECT attempts FROM $parked") == ATTEMPTS);
    finish(&stage);
}

/* --- edit, discard, restore --- */

ON_BOTH(burials, edit_gives_an_event_another_body_that_decodes)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    expect_refusal(edit(&stage, event_row(bad), slice_of("\xc1")), ERR_malformed);
    expect_refusal(edit(&stage, event_row(bad), slice_of("\x80")), ERR_invalid_field);
    expect_outcome(retry(&stage, bad), "failed");
    struct slice body = fact_of("donut", 6);
    expect_outcome(edit(&stage, event_row(bad), body), "edited");
    expect_outcome(retry(&stage, bad), "done");
    cr_expect(total_of(&stage, "donut") == 6);
    expect_outcome(edit(&stage, event_row(bad), body), "gone");
    free((void *)(uintptr_t)body.data);
    expect_conserved(&stage);
    finish(&stage);
}

/* A failure after the edit writes the attempt and leaves the body. */
ON_BOTH(burials, edit_outlives_an_attempt_that_fails)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    struct slice body = fact_of("poison", 77);
    expect_outcome(edit(&stage, event_row(bad), body), "edited");
    expect_outcome(retry(&stage, bad), "failed");
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    cr_expect(total_of(&stage, "poison") == 77);
    free((void *)(uintptr_t)body.data);
    finish(&stage);
}

ON_BOTH(burials, discard_lets_the_followers_go_and_restore_takes_it_back)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t bad = bury_one(&stage, "bad");
    produce(&stage, "bad", "donut", 7);
    await_number(&stage, "SELECT COUNT(*) FROM $parked", 2);
    expect_outcome(discard(&stage, event_row(bad), false), "discarded");
    await_total(&stage, "donut", 7);
    expect_outcome(discard(&stage, event_row(bad), false), "discarded");
    expect_refusal(retry(&stage, bad), ERR_letter_closed);
    produce(&stage, "bad", "donut", 1);
    await_total(&stage, "donut", 8);
    expect_conserved(&stage);
    restart(&stage);
    produce(&stage, "bad", "donut", 2);
    await_total(&stage, "donut", 10);
    expect_outcome(restore(&stage, event_row(bad)), "restored");
    expect_outcome(restore(&stage, event_row(bad)), "restored");
    produce(&stage, "bad", "donut", 4);
    await_number(&stage, "SELECT COUNT(*) FROM $parked", 2);
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    await_total(&stage, "donut", 14);
    cr_expect(total_of(&stage, "poison") == 10);
    expect_outcome(restore(&stage, event_row(bad)), "gone");
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, discard_for_good_is_counted)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t first = bury_one(&stage, "a");
    int64_t second = bury_one(&stage, "b");
    produce(&stage, "b", "donut", 7);
    await_number(&stage, "SELECT COUNT(*) FROM $parked", 3);
    expect_outcome(discard(&stage, event_row(first), false), "discarded");
    expect_conserved(&stage);
    expect_outcome(discard(&stage, event_row(first), true), "discarded");
    expect_outcome(discard(&stage, event_row(second), true), "discarded");
    await_total(&stage, "donut", 7);
    expect_outcome(discard(&stage, event_row(first), true), "gone");
    expect_outcome(retry(&stage, second), "gone");
    cr_expect(number(&stage, "SELECT discarded FROM $cursor") == 2);
    cr_expect(number(&stage, "SELECT delivered FROM $cursor") == 1);
    expect_conserved(&stage);
    finish(&stage);
}

/* What is put aside may fail behind it: two of a key are buried then, and go in their order. */
ON_BOTH(burials, keep_the_order_of_a_key_that_has_two)
{
    struct stage stage;
    start_with_dlq(&stage, place);
    int64_t first = bury_one(&stage, "bad");
    expect_outcome(discard(&stage, event_row(first), false), "discarded");
    int64_t second = bury_one(&stage, "bad");
    expect_outcome(restore(&stage, event_row(first)), "restored");
    struct heard heard = retry(&stage, second);
    expect_outcome(heard, "waiting");
    cr_expect(heard.behind == first);
    toy_heal();
    expect_outcome(retry(&stage, first), "done");
    cr_expect(number(&stage, "SELECT state FROM $parked") == 1, "a buried one does not go by itself");
    expect_outcome(retry(&stage, second), "done");
    cr_expect(total_of(&stage, "poison") == 20);
    expect_conserved(&stage);
    finish(&stage);
}

/* --- due rows, and letters that a class writes --- */

ON_BOTH(burials, due_row_that_was_given_up_fires_when_somebody_asks)
{
    struct stage stage;
    struct wire_row row = due_row("donut");
    start_with_dlq(&stage, place);
    expect_outcome(ask(&stage, OP_any_retry, &row), "gone");
    (void)adjust(&stage, "donut", 0, "never");
    expect_refusal(edit(&stage, row, slice_of("\x80")), ERR_not_editable);
    expect_outcome(discard(&stage, row, false), "discarded");
    expect_refusal(ask(&stage, OP_any_retry, &row), ERR_letter_closed);
    restart(&stage);
    expect_outcome(restore(&stage, row), "restored");
    cr_expect(total_of(&stage, "donut") == -1, "nothing fires by itself");
    expect_outcome(ask(&stage, OP_any_retry, &row), "started");
    cr_expect(total_of(&stage, "donut") == 1);
    expect_outcome(ask(&stage, OP_any_retry, &row), "gone");
    (void)adjust(&stage, "donut", 0, "never");
    expect_outcome(discard(&stage, row, true), "discarded");
    expect_outcome(ask(&stage, OP_any_retry, &row), "gone");
    (void)adjust(&stage, "donut", 600000, "later");
    expect_outcome(ask(&stage, OP_any_retry, &row), "started");
    expect_refusal(discard(&stage, row, false), ERR_letter_closed);
    cr_expect(total_of(&stage, "donut") == 1, "what has a time of its own keeps it");
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $due") == 1);
    finish(&stage);
}

ON_BOTH(burials, due_row_whose_batch_fails_stays)
{
    struct stage stage;
    struct wire_row row = due_row("donut");
    start_with_dlq(&stage, place);
    (void)adjust(&stage, "donut", 0, "never");
    send_adjust(&stage, "gate", 1, "gate");
    toy_await_gate();
    send_as(&stage, id_new(), OP_any_retry, &row);
    send_adjust(&stage, "nothing", -5, "free");
    toy_open_gate();
    int started = 0;
    for (int i = 0; i < 3; i++) {
        started += strcmp(hear(&stage).outcome, "started") == 0 ? 1 : 0;
    }
    cr_expect(started == 1);
    cr_expect(total_of(&stage, "donut") == 1);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $due") == 0);
    expect_conserved(&stage);
    finish(&stage);
}

ON_BOTH(burials, due_row_that_cannot_be_done_holds_nobody_up_and_becomes_a_letter)
{
    struct stage stage;
    struct wire_row row = due_row("hidden");
    start_with_dlq(&stage, place);
    (void)adjust(&stage, "hidden", 1, "later");
    (void)adjust(&stage, "donut", 300, "later");
    await_total(&stage, "donut", 1);
    await_number(&stage, "SELECT COUNT(*) FROM $due WHERE due = 9223372036854775807", 1);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    cr_assert_eq(stage.told_count, 1);
    cr_expect_str_eq(stage.told[0].key, "hidden");
    cr_expect_str_eq(stage.told[0].reason, "internal");
    cr_expect_eq(stage.told[0].attempts, ATTEMPTS);
    cr_expect(total_of(&stage, "hidden") == 0, "what it cannot publish was done");
    toy_heal();
    expect_outcome(ask(&stage, OP_any_retry, &row), "started");
    cr_expect(total_of(&stage, "hidden") == 1);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    cr_assert_eq(stage.told_count, 2);
    cr_expect(stage.told[1].is_settled, "its letter is closed");
    finish(&stage);
}

ON_BOTH(burials, say_that_it_is_settled_with_what_the_letter_says)
{
    struct stage stage;
    start(&stage, place);
    (void)adjust(&stage, "early", 0, "bury");
    (void)adjust(&stage, "early", 0, "settle");
    (void)adjust(&stage, "late", 0, "bury");
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $burial") == 2);
    dlq_comes(&stage);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    const struct told *early = NULL;
    struct id late = {{0}};
    for (size_t i = 0; i < stage.told_count; i++) {
        early = strcmp(stage.told[i].key, "early") == 0 ? &stage.told[i] : early;
        late = strcmp(stage.told[i].key, "late") == 0 ? stage.told[i].letter : late;
    }
    cr_assert(early != NULL);
    cr_expect(early->is_settled && early->attempts == 7 && strcmp(early->reason, "call_failed") == 0);
    size_t before = stage.told_count;
    (void)adjust(&stage, "late", 0, "settle");
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    cr_assert(stage.told_count == before + 1);
    cr_expect(stage.told[before].is_settled && id_equal(&stage.told[before].letter, &late));
    cr_expect_str_eq(stage.told[before].reason, "ok");
    finish(&stage);
}

/* Retried before the dlq has heard of it: the letter comes as one that is finished. */
ON_BOTH(burials, of_an_event_that_was_done_meanwhile_say_so)
{
    struct stage stage;
    start(&stage, place);
    int64_t bad = produce(&stage, "bad", "poison", 10);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 1);
    toy_heal();
    expect_outcome(retry(&stage, bad), "done");
    dlq_comes(&stage);
    cr_expect(await_letter(&stage, bad, ATTEMPTS)->is_settled);
    await_number(&stage, "SELECT COUNT(*) FROM $burial", 0);
    finish(&stage);
}

/* --- room, old databases, actors without one --- */

ON_BOTH(burials, full_disk_is_tried_again_when_the_class_has_made_room)
{
    struct stage stage;
    start(&stage, place);
    struct heard heard = adjust(&stage, "donut", 3, "full");
    cr_expect(heard.status == ERR_ok && heard.total == 3, "%s", heard.error);
    finish(&stage);
}

ON_BOTH(burials, old_database_goes_on_with_its_parked_events)
{
    struct stage stage;
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(db_open(&place->config, &db, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_migrate(db, kit_steps, 8, &why) == ERR_ok, "%s", why.text);
    cr_assert(kit_steps[7].version == 8);
    struct id incarnation = id_new();
    cr_assert(db_migrate(db, toy_class.steps, toy_class.step_count, &why) == ERR_ok, "%s", why.text);
    struct db_statement *shard = db_statement(
        db, "INSERT INTO $shard (shard, shards, epoch, batch, seq, incarnation, connection) VALUES (0, 1, 1, 1, 0, ?, 0)");
    db_bind_id(shard, &incarnation);
    place_expect(db, db_queue(shard, 1), ERR_ok);
    stage = (struct stage){.place = place, .incarnation = incarnation};
    struct wire_event_header header = header_of(&stage, 4, "factory.produced", "bad");
    struct wire_buffer frame = {0};
    struct slice body = fact_of("poison", 10);
    wire_encode(&event_header_body, &header, &frame);
    struct db_statement *cursor = db_statement(db, "INSERT INTO $cursor (source, incarnation, position) VALUES ('factory/0', ?, 5)");
    db_bind_id(cursor, &incarnation);
    place_expect(db, db_queue(cursor, 1), ERR_ok);
    struct db_statement *row =
        db_statement(db, "INSERT INTO $parked (source, seq, event_key, header, body, attempts, due, error) VALUES ('factory/0', 4, "
                         "'bad', ?, ?, 9, 0, 'by hand')");
    db_bind_bytes(row, wire_buffer_slice(&frame));
    db_bind_bytes(row, body);
    place_expect(db, db_queue(row, 1), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
    start_with_dlq(&stage, place);
    stage.incarnation = incarnation;
    for (int i = 0; i < 5; i++) {
        produce(&stage, "old", "donut", 1);
    }
    free((void *)(uintptr_t)stage.headers[3].data);
    stage.headers[3] = wire_buffer_slice(&frame);
    await_number(&stage, "SELECT COUNT(*) FROM $parked WHERE state = 1 AND attempts = 10", 1);
    cr_expect(number(&stage, "SELECT delivered FROM $cursor") == 4);
    expect_conserved(&stage);
    toy_heal();
    expect_outcome(retry(&stage, 4), "done");
    cr_expect(total_of(&stage, "poison") == 10);
    cr_expect(number(&stage, "SELECT delivered FROM $cursor") == 5);
    free((void *)(uintptr_t)body.data);
    finish(&stage);
}

static err
bare_open(struct actor *actor, void **state, struct err_text *why)
{
    (void)why;
    *state = actor;
    return ERR_ok;
}

static void
bare_close(void **state)
{
    *state = NULL;
}

static err
bare_handle(void *state, struct batch *batch)
{
    (void)state;
    (void)batch;
    return ERR_ok;
}

static const struct actor_class bare_class = {.name = "sales", .open = bare_open, .close = bare_close, .handle = bare_handle};

ON_BOTH(burials, actor_without_a_database_has_no_rows)
{
    struct stage stage;
    struct actor *bare = NULL;
    struct err_text why = {""};
    char endpoint[ENDPOINT_MAX];
    struct slice body = fact_of("donut", 1);
    start(&stage, place);
    cr_assert(actor_start(&bare_class, &place->settings, 0, stage.ended_fd, &bare, &why) == ERR_ok, "%s", why.text);
    zsock_destroy(&stage.client);
    topology_inproc("sales", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(link_requests(endpoint, &stage.client, &why) == ERR_ok, "%s", why.text);
    expect_refusal(retry(&stage, 1), ERR_not_implemented);
    expect_refusal(edit(&stage, event_row(1), body), ERR_not_implemented);
    expect_refusal(discard(&stage, event_row(1), false), ERR_not_implemented);
    expect_refusal(restore(&stage, event_row(1)), ERR_not_implemented);
    cr_expect(actor_stop(&bare) == ACTOR_STOPPED);
    free((void *)(uintptr_t)body.data);
    finish(&stage);
}
