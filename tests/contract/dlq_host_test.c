/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Events that the dlq keeps for others, on both databases: for a subscriber that is behind, and for clients without a database.
 *
 * PURPOSE   The test's thread is the subscriber and the clients; the toy actor is the source, as stock/0, which events.def says has
 *           the subscriber factory/0 from its first event on.
 *
 * STATE     A source and a dlq, each a real actor; a client of the source and two of the dlq, which are two processes to it.
 *
 * LIMITS    Each claim waits for what it claims, with a deadline.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <czmq.h>

#include "dlq/dlq.h"
#include "../support/kit_place.h"
#include "../support/toy_actor.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(10000)
#define BEHIND_MS 300
#define SOURCE "stock/0"
#define LAGGARD "factory/0"
#define KEY_SIZE 32

struct stage {
    struct place *place;
    struct settings dlq_settings; /* those of the place, until the dlq's database is lost */
    struct actor *source;
    struct actor *dlq;
    int ended_fd;
    struct larder_client *to_source;
    struct larder_client *to_dlq;
    struct larder_client *other; /* to the dlq as well */
};

/* Which events an answer brought; 0 for none. */
struct span {
    int64_t first;
    int64_t last;
    int64_t count;
    int64_t head;
};

#define ONCE ((struct larder_options){.timeout_ms = WAIT_MS, .attempts = 1})

/* --- life --- */

/* ZeroMQ gives a port back some time after its socket is destroyed. */
static struct actor *
run_actor(struct stage *stage, const struct actor_class *class)
{
    struct actor *actor = NULL;
    struct err_text why = {""};
    const struct settings *settings = class == &dlq_class ? &stage->dlq_settings : &stage->place->settings;
    err code = ERR_COUNT;
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; code != ERR_ok; (void)poll(NULL, 0, 10)) {
        code = actor_start(class, settings, 0, stage->ended_fd, &actor, &why);
        cr_assert(link_steady_ms() < until_ms, "%s: %s", err_symbol(code), why.text);
    }
    return actor;
}

/* Each client asks until it is answered: what was sent to the dlq that has ended went with it, and most is asked once only here. */
static void
run_dlq_again(struct stage *stage)
{
    struct larder_client *clients[] = {stage->to_dlq, stage->other};
    stage->dlq = run_actor(stage, &dlq_class);
    for (size_t i = 0; i < sizeof clients / sizeof clients[0]; i++) {
        struct wire_letter_stats stats = {0};
        struct err_text why = {""};
        err code =
            dlq_client_stats(clients[i], &(struct larder_options){.timeout_ms = WAIT_MS}, &(struct wire_nothing){0}, &stats, &why);
        cr_assert(code == ERR_ok, "%s", why.text);
    }
}

static struct larder_client *
client_of(const struct stage *stage, const char *actor)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct larder_client *client = NULL;
    struct err_text why = {""};
    topology_connect(&stage->place->settings, actor, 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &client, &why) == ERR_ok, "%s", why.text);
    return client;
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.behind_ms = BEHIND_MS;
    stage->dlq_settings = place->settings;
    log_init(false, (enum log_level)(LOG_LEVEL_ERROR + 1)); /* losses are made on purpose */
    stage->source = run_actor(stage, &toy_class);
    stage->dlq = run_actor(stage, &dlq_class);
    stage->to_source = client_of(stage, "stock");
    stage->to_dlq = client_of(stage, "dlq");
    stage->other = client_of(stage, "dlq");
}

static void
stop(struct actor **actor)
{
    cr_expect(actor_stop(actor) == ACTOR_STOPPED);
}

static void
finish(struct stage *stage)
{
    larder_client_destroy(&stage->to_source);
    larder_client_destroy(&stage->to_dlq);
    larder_client_destroy(&stage->other);
    if (stage->dlq != NULL) {
        stop(&stage->dlq);
    }
    if (stage->source != NULL) {
        stop(&stage->source);
    }
    close(stage->ended_fd);
}

/* The dlq, which must not run, begins with an empty database the next time. */
static void
lose_database(struct stage *stage)
{
    struct settings *settings = &stage->dlq_settings;
    if (stage->place->config.driver == DB_SQLITE) {
        strcat(settings->data, "/2");
    } else {
        strcat(settings->db, "_2");
    }
}

static struct db *
open_tables(const struct stage *stage, const char *actor)
{
    const struct settings *settings = strcmp(actor, "dlq") == 0 ? &stage->dlq_settings : &stage->place->settings;
    struct db_config config;
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(settings_db(settings, actor, 0, &config, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static void
change(const struct stage *stage, const char *actor, const char *sql)
{
    struct db *db = open_tables(stage, actor);
    place_expect(db, db_run(db_statement(db, sql), NULL), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
}

static int64_t
count(const struct stage *stage, const char *actor, const char *sql)
{
    struct db *db = open_tables(stage, actor);
    int64_t number = place_number(db, sql);
    db_close(&db);
    return number;
}

static void
await_count(const struct stage *stage, const char *actor, const char *sql, int64_t wanted)
{
    int64_t found = -1;
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; found != wanted; (void)poll(NULL, 0, 20)) {
        found = count(stage, actor, sql);
        cr_assert(link_steady_ms() < until_ms, "%s: %lld and not %lld", sql, (long long)found, (long long)wanted);
    }
}

/* --- the source and its subscriber --- */

static void
emit(struct stage *stage, int events)
{
    struct wire_stock_adjust adjust = {0};
    WIRE_SET(&adjust, stock_adjust, product, slice_of("donut"));
    WIRE_SET(&adjust, stock_adjust, delta, 1);
    struct larder_reply reply;
    for (int i = 0; i < events; i++) {
        cr_assert(larder_client_send(stage->to_source, &(struct larder_request){.op = OP_stock_adjust, .body = &adjust}) == ERR_ok);
    }
    for (int i = 0; i < events; i++) {
        err code = larder_client_receive(stage->to_source, WAIT_MS, &reply);
        cr_assert(code == ERR_ok && reply.status == ERR_ok, "%s", err_symbol(reply.status));
    }
}

static struct span
read_span(const struct wire_fetched *page)
{
    struct span span = {.head = page->head};
    struct wire_list events = page->events;
    struct wire_fetched_event event;
    while (wire_list_next(&events, &fetched_event_body, &event)) {
        struct wire_event_header header;
        struct wire_stock_alarm alarm;
        struct err_text why = {""};
        cr_assert(wire_decode(&event_header_body, event.header, &header, &why) == ERR_ok, "%s", why.text);
        cr_assert(wire_decode(&stock_alarm_body, event.body, &alarm, &why) == ERR_ok, "%s", why.text);
        cr_assert(slice_equal(header.source, slice_of(SOURCE)));
        cr_assert(span.count == 0 || header.seq == span.last + 1, "%lld behind %lld", (long long)header.seq, (long long)span.last);
        cr_assert(alarm.version == header.seq, "the body is another event's");
        span.first = span.count == 0 ? header.seq : span.first;
        span.last = header.seq;
        span.count++;
    }
    return span;
}

/* What the source says to factory/0. */
static err
fetch_source(struct stage *stage, int64_t position, int64_t limit, struct span *span)
{
    struct wire_fetch fetch = {0};
    struct wire_fetched page;
    WIRE_SET(&fetch, fetch, subscriber, slice_of(LAGGARD));
    WIRE_SET(&fetch, fetch, position, position);
    WIRE_SET(&fetch, fetch, limit, limit);
    struct larder_exchange exchange = {.op = OP_any_fetch, .body = &fetch, .answer = &page};
    err code = larder_client_exchange(stage->to_source, &ONCE, &exchange, NULL);
    *span = code == ERR_ok ? read_span(&page) : (struct span){0};
    return code;
}

static err
ask_source(struct stage *stage, int64_t position, int64_t limit)
{
    struct span span;
    return fetch_source(stage, position, limit, &span);
}

static err
ask_dlq_as(struct stage *stage, const char *subscriber, int64_t position, struct span *span)
{
    struct wire_dlq_fetch fetch = {0};
    struct wire_fetched page;
    WIRE_SET(&fetch, dlq_fetch, source, slice_of(SOURCE));
    WIRE_SET(&fetch, dlq_fetch, subscriber, slice_of(subscriber));
    WIRE_SET(&fetch, dlq_fetch, position, position);
    WIRE_SET(&fetch, dlq_fetch, limit, 1000);
    err code = dlq_client_fetch(stage->to_dlq, &ONCE, &fetch, &page, NULL);
    *span = code == ERR_ok ? read_span(&page) : (struct span){0};
    return code;
}

static err
ask_dlq(struct stage *stage, int64_t position, struct span *span)
{
    return ask_dlq_as(stage, LAGGARD, position, span);
}

/* Everything behind the position, as a subscriber would. */
static int64_t
read_all(struct stage *stage, int64_t position)
{
    struct span span = {0};
    do {
        err code = ask_dlq(stage, position, &span);
        cr_assert(code == ERR_ok, "%s", err_symbol(code));
        cr_assert(span.count == 0 || span.first == position + 1);
        position += span.count;
    } while (span.count > 0);
    return position;
}

/* --- letters --- */

struct seen_letter {
    int64_t seq;
    int64_t to;
    char state[17];
    char error[513];
};

/* The newest letter about this subscriber. */
static bool
find_letter(struct stage *stage, const char *destination, struct seen_letter *seen)
{
    struct wire_letter_filter filter = {0};
    struct wire_letter_page page;
    struct wire_letter letter;
    struct err_text why = {""};
    WIRE_SET(&filter, letter_filter, kind, slice_of("subscriber"));
    WIRE_SET(&filter, letter_filter, destination, slice_of(destination));
    err code = dlq_client_list(stage->to_dlq, &ONCE, &filter, &page, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    if (!wire_list_next(&page.letters, &letter_body, &letter)) {
        return false;
    }
    cr_expect(slice_equal(letter.reason, slice_of("unacknowledged")));
    cr_expect(WIRE_HAS(&letter, letter, source) && slice_equal(letter.source, slice_of(SOURCE)));
    cr_expect(letter.first <= letter.opened);
    *seen = (struct seen_letter){.seq = letter.seq, .to = letter.to};
    snprintf(seen->state, sizeof seen->state, "%.*s", (int)letter.state.size, (const char *)letter.state.data);
    snprintf(seen->error, sizeof seen->error, "%.*s", (int)letter.error.size, (const char *)letter.error.data);
    return true;
}

static void
await_letter(struct stage *stage, const char *destination, const char *state, int64_t to)
{
    struct seen_letter seen = {.state = "none"};
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;; (void)poll(NULL, 0, 20)) {
        if (find_letter(stage, destination, &seen) && strcmp(seen.state, state) == 0 && seen.to == to) {
            return;
        }
        cr_assert(link_steady_ms() < until_ms, "the letter is %s, kept up to %lld: %s", seen.state, (long long)seen.to, seen.error);
    }
}

/* --- clients --- */

struct session {
    struct larder_client *client;
    const char *name;
    struct id id;
    int64_t position;
};

static err
try_subscribe(struct larder_client *client, const char *name, const char *source, bool from_start, struct session *session)
{
    struct wire_dlq_subscribe body = {0};
    struct wire_dlq_session answer = {0};
    WIRE_SET(&body, dlq_subscribe, name, slice_of(name));
    WIRE_SET(&body, dlq_subscribe, source, slice_of(source));
    WIRE_SET(&body, dlq_subscribe, from_start, from_start);
    err code = dlq_client_subscribe(client, &ONCE, &body, &answer, NULL);
    *session = (struct session){.client = client, .name = name, .id = answer.session, .position = answer.position};
    return code;
}

static struct session
subscribe(struct larder_client *client, const char *name, bool from_start)
{
    struct session session;
    err code = try_subscribe(client, name, SOURCE, from_start, &session);
    cr_assert(code == ERR_ok, "%s", err_symbol(code));
    return session;
}

static struct wire_dlq_receive
receive_of(const struct session *session, int64_t position, int64_t credit)
{
    struct wire_dlq_receive body = {0};
    WIRE_SET(&body, dlq_receive, name, slice_of(session->name));
    WIRE_SET(&body, dlq_receive, source, slice_of(SOURCE));
    WIRE_SET(&body, dlq_receive, session, session->id);
    WIRE_SET(&body, dlq_receive, position, position);
    WIRE_SET(&body, dlq_receive, credit, credit);
    return body;
}

static err
try_receive(const struct session *session, int64_t position, int64_t credit, int64_t timeout_ms, struct span *span)
{
    struct wire_dlq_receive body = receive_of(session, position, credit);
    struct larder_options options = {.timeout_ms = timeout_ms, .attempt_ms = timeout_ms, .attempts = 1};
    struct wire_fetched page;
    err code = dlq_client_receive(session->client, &options, &body, &page, NULL);
    *span = code == ERR_ok ? read_span(&page) : (struct span){0};
    return code;
}

static struct span
receive(const struct session *session, int64_t position, int64_t credit)
{
    struct span span;
    err code = try_receive(session, position, credit, WAIT_MS, &span);
    cr_assert(code == ERR_ok, "%s", err_symbol(code));
    return span;
}

/* Until the event is here; acknowledges what was sent before it. */
static int64_t
receive_up_to(const struct session *session, int64_t position, int64_t last)
{
    while (position < last) {
        struct span span = receive(session, position, 256);
        cr_assert(span.count == 0 || span.first == position + 1, "%lld behind %lld", (long long)span.first, (long long)position);
        cr_assert(span.count > 0, "nothing came behind %lld", (long long)position);
        position = span.last;
    }
    return position;
}

/* Sends a receive and does not wait for its answer. */
static void
begin_receive(const struct session *session, int64_t position, int64_t timeout_ms)
{
    struct wire_dlq_receive body = receive_of(session, position, 256);
    struct larder_request request = {.op = OP_dlq_receive, .body = &body};
    request.options = (struct larder_options){.timeout_ms = timeout_ms, .attempt_ms = timeout_ms, .attempts = 1};
    cr_assert(larder_client_send(session->client, &request) == ERR_ok);
    struct larder_reply none;
    cr_assert(larder_client_receive(session->client, 50, &none) == ERR_deadline_exceeded, "it did not wait");
}

static err
end_receive(const struct session *session, struct span *span)
{
    struct larder_reply reply;
    struct wire_fetched page;
    struct err_text why = {""};
    cr_assert(larder_client_receive(session->client, WAIT_MS, &reply) == ERR_ok);
    *span = (struct span){0};
    if (reply.status == ERR_ok) {
        cr_assert(larder_reply_decode(&reply, &page, &why) == ERR_ok, "%s", why.text);
        *span = read_span(&page);
    }
    return reply.status;
}

/* --- a subscriber that is behind --- */

ON_BOTH(dlq_host, keeps_what_a_subscriber_has_not_confirmed)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 300);
    await_letter(&stage, LAGGARD, "waiting", 300);
    struct seen_letter seen;
    cr_assert(find_letter(&stage, LAGGARD, &seen));
    cr_expect(seen.seq == 1);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $kept") == 300);
    await_count(&stage, "stock", "SELECT COUNT(*) FROM $outbox WHERE seq <= 256", 0);
    cr_expect(ask_source(&stage, 0, 1000) == ERR_kept_elsewhere);
    cr_expect(read_all(&stage, 0) == 300);
    cr_expect(ask_source(&stage, 300, 0) == ERR_ok);
    await_letter(&stage, LAGGARD, "done", 300);
    await_count(&stage, "dlq", "SELECT COUNT(*) FROM $kept", 0);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting") == 0);
    finish(&stage);
}

ON_BOTH(dlq_host, goes_on_copying_while_the_subscriber_stays_away)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 3);
    await_letter(&stage, LAGGARD, "waiting", 3);
    emit(&stage, 4);
    await_letter(&stage, LAGGARD, "waiting", 7);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $letter") == 1);
    cr_expect(read_all(&stage, 0) == 7);
    finish(&stage);
}

/* One page, from whoever has it, as a subscriber asks for it; returns where it then stands. */
static int64_t
follow(struct stage *stage, int64_t position, int64_t limit)
{
    struct span span;
    err code = fetch_source(stage, position, limit, &span);
    if (code == ERR_kept_elsewhere) {
        code = ask_dlq(stage, position, &span);
    }
    cr_assert(code == ERR_ok, "behind %lld: %s", (long long)position, err_symbol(code));
    cr_assert(span.count == 0 || span.first == position + 1, "%lld behind %lld", (long long)span.first, (long long)position);
    return position + span.count;
}

ON_BOTH(dlq_host, loses_nothing_when_the_subscriber_catches_up_while_more_comes)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 600);
    await_letter(&stage, LAGGARD, "waiting", 600);
    await_count(&stage, "stock", "SELECT COUNT(*) FROM $outbox WHERE seq <= 512", 0);
    int64_t position = 0;
    int64_t last = 600;
    for (int round = 0; round < 60; round++) {
        emit(&stage, 20);
        last += 20;
        position = follow(&stage, position, 60);
    }
    while (position < last) {
        position = follow(&stage, position, 60);
    }
    cr_expect(ask_source(&stage, position, 0) == ERR_ok);
    await_count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting", 0);
    struct seen_letter seen;
    cr_assert(find_letter(&stage, LAGGARD, &seen));
    cr_expect(strcmp(seen.state, "done") == 0, "%s", seen.state);
    finish(&stage);
}

ON_BOTH(dlq_host, gives_it_while_the_source_is_down_and_after_a_restart)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 20);
    await_letter(&stage, LAGGARD, "waiting", 20);
    stop(&stage.source);
    cr_expect(read_all(&stage, 0) == 20);
    stop(&stage.dlq);
    run_dlq_again(&stage);
    cr_expect(read_all(&stage, 12) == 20);
    stage.source = run_actor(&stage, &toy_class);
    cr_expect(ask_source(&stage, 20, 0) == ERR_ok);
    await_letter(&stage, LAGGARD, "done", 20);
    finish(&stage);
}

ON_BOTH(dlq_host, a_second_time_behind_is_another_letter)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 2);
    await_letter(&stage, LAGGARD, "waiting", 2);
    cr_expect(ask_source(&stage, 2, 0) == ERR_ok);
    await_letter(&stage, LAGGARD, "done", 2);
    emit(&stage, 3);
    await_letter(&stage, LAGGARD, "waiting", 5);
    struct seen_letter seen;
    cr_assert(find_letter(&stage, LAGGARD, &seen));
    cr_expect(seen.seq == 3);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $letter") == 2);
    finish(&stage);
}

ON_BOTH(dlq_host, says_what_it_does_not_keep)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    emit(&stage, 1);
    await_letter(&stage, LAGGARD, "waiting", 1);
    cr_expect(ask_dlq_as(&stage, "nobody/0", 0, &span) == ERR_unknown_subscriber);
    struct wire_dlq_fetch fetch = {0};
    struct wire_fetched page;
    struct err_text why = {""};
    struct id another = id_new();
    WIRE_SET(&fetch, dlq_fetch, source, slice_of(SOURCE));
    WIRE_SET(&fetch, dlq_fetch, subscriber, slice_of(LAGGARD));
    WIRE_SET(&fetch, dlq_fetch, incarnation, another);
    WIRE_SET(&fetch, dlq_fetch, position, 0);
    WIRE_SET(&fetch, dlq_fetch, limit, 1);
    cr_expect(dlq_client_fetch(stage.to_dlq, &ONCE, &fetch, &page, &why) == ERR_other_incarnation);
    finish(&stage);
}

ON_BOTH(dlq_host, closes_what_it_kept_of_a_database_that_was_replaced)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 5);
    await_letter(&stage, LAGGARD, "waiting", 5);
    stop(&stage.source);
    change(&stage, "stock", "UPDATE $shard SET seq = 0, incarnation = x'00112233445566778899aabbccddeeff'");
    change(&stage, "stock", "DELETE FROM $outbox");
    change(&stage, "stock", "DELETE FROM $position");
    stage.source = run_actor(&stage, &toy_class);
    await_letter(&stage, LAGGARD, "stale", 5);
    struct seen_letter seen;
    cr_assert(find_letter(&stage, LAGGARD, &seen));
    cr_expect(strstr(seen.error, "another database") != NULL, "%s", seen.error);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $kept") == 0);
    emit(&stage, 2);
    await_letter(&stage, LAGGARD, "waiting", 2);
    finish(&stage);
}

ON_BOTH(dlq_host, begins_anew_where_the_subscriber_is_when_its_own_database_was_lost)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 6);
    await_letter(&stage, LAGGARD, "waiting", 6);
    stop(&stage.dlq);
    lose_database(&stage);
    run_dlq_again(&stage);
    await_letter(&stage, LAGGARD, "waiting", 6); /* the source had not trimmed so few */
    cr_expect(read_all(&stage, 0) == 6);
    finish(&stage);
    if (place->config.driver == DB_MYSQL) {
        char command[256];
        snprintf(command, sizeof command, "DROP DATABASE `%s_2`", place->config.name);
        place_run(place, command);
    }
}

ON_BOTH(dlq_host, says_that_events_are_lost_and_keeps_the_rest)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    emit(&stage, 300);
    await_letter(&stage, LAGGARD, "waiting", 300);
    await_count(&stage, "stock", "SELECT COUNT(*) FROM $outbox WHERE seq <= 256", 0);
    stop(&stage.dlq);
    change(&stage, "dlq", "DELETE FROM $hosting");
    change(&stage, "dlq", "DELETE FROM $kept");
    run_dlq_again(&stage);
    emit(&stage, 1);
    await_letter(&stage, LAGGARD, "waiting", 301);
    cr_expect(ask_dlq(&stage, 0, &span) == ERR_position_lost);
    cr_expect(read_all(&stage, 300) == 301);
    finish(&stage);
}

/* --- clients --- */

ON_BOTH(dlq_subscription, gives_every_event_in_order_and_no_more_than_was_asked_for)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 10);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(session.position == 0);
    struct span span = receive(&session, 0, 3);
    cr_expect(span.first == 1 && span.count >= 1 && span.count <= 3);
    cr_expect(receive_up_to(&session, span.last, 10) == 10);
    emit(&stage, 1);
    span = receive(&session, 10, 256);
    cr_expect(span.first == 11 && span.count == 1);
    span = receive(&session, 11, 0);
    cr_expect(span.count == 0 && span.head == 11);
    cr_expect(ask_source(&stage, 11, 0) == ERR_ok);
    await_count(&stage, "dlq", "SELECT COUNT(*) FROM $kept", 0);
    finish(&stage);
}

ON_BOTH(dlq_subscription, begins_behind_everything_when_nothing_else_is_said)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 4);
    struct session session = subscribe(stage.to_dlq, "till-1", false);
    cr_expect(session.position == 4);
    emit(&stage, 1);
    struct span span = receive(&session, 4, 256);
    cr_expect(span.first == 5 && span.last == 5);
    finish(&stage);
}

ON_BOTH(dlq_subscription, an_event_reaches_a_waiting_receive_at_once)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    begin_receive(&session, 0, WAIT_MS);
    int64_t began_ms = link_steady_ms();
    emit(&stage, 1);
    cr_expect(end_receive(&session, &span) == ERR_ok);
    cr_expect(span.first == 1 && span.last == 1);
    cr_expect(link_steady_ms() - began_ms < 450, "it came with a tick: %lld ms", (long long)(link_steady_ms() - began_ms));
    finish(&stage);
}

ON_BOTH(dlq_subscription, an_empty_answer_comes_before_the_deadline)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    int64_t began_ms = link_steady_ms();
    cr_expect(try_receive(&session, 0, 1, 1000, &span) == ERR_ok);
    int64_t took_ms = link_steady_ms() - began_ms;
    cr_expect(span.count == 0);
    cr_expect(took_ms >= 700 && took_ms < 1000, "%lld ms", (long long)took_ms);
    finish(&stage);
}

ON_BOTH(dlq_subscription, what_was_acknowledged_is_not_sent_again)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 9);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(receive_up_to(&session, 0, 9) == 9);
    cr_expect(receive(&session, 6, 0).count == 0);
    stop(&stage.source);
    stop(&stage.dlq);
    run_dlq_again(&stage);
    struct session second = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(second.position >= 6, "position %lld", (long long)second.position);
    struct span span = receive(&second, second.position, 256);
    cr_expect(span.first == second.position + 1 && span.last == 9);
    finish(&stage);
}

ON_BOTH(dlq_subscription, the_newest_session_of_a_name_wins)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session first = subscribe(stage.to_dlq, "till-1", true);
    begin_receive(&first, 0, WAIT_MS);
    int64_t began_ms = link_steady_ms();
    struct session second = subscribe(stage.other, "till-1", true);
    cr_expect(end_receive(&first, &span) == ERR_session_replaced);
    cr_expect(link_steady_ms() - began_ms < 2000, "it had to wait");
    cr_expect(!id_equal(&first.id, &second.id));
    emit(&stage, 1);
    cr_expect(try_receive(&first, 0, 1, WAIT_MS, &span) == ERR_session_replaced);
    span = receive(&second, 0, 1);
    cr_expect(span.first == 1);
    cr_expect(try_receive(&first, 1, 0, WAIT_MS, &span) == ERR_session_replaced);
    cr_expect(count(&stage, "dlq", "SELECT position FROM $hosting") == 0, "the old session has acknowledged");
    finish(&stage);
}

ON_BOTH(dlq_subscription, what_was_never_sent_cannot_be_acknowledged)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    emit(&stage, 5);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    span = receive(&session, 0, 2);
    cr_assert(span.last <= 2);
    cr_expect(try_receive(&session, 3, 1, WAIT_MS, &span) == ERR_invalid_field);
    cr_expect(count(&stage, "dlq", "SELECT position FROM $hosting") == 0);
    cr_expect(receive_up_to(&session, 0, 5) == 5);
    finish(&stage);
}

ON_BOTH(dlq_subscription, less_than_was_acknowledged_is_sent_again_as_far_as_it_is_kept)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 4);
    struct session slow = subscribe(stage.to_dlq, "slow", true);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(receive_up_to(&session, 0, 4) == 4);
    cr_expect(receive(&session, 4, 0).count == 0);
    cr_expect(receive(&session, 2, 256).first == 3, "slow has not had it yet");
    cr_expect(receive_up_to(&slow, 0, 4) == 4);
    cr_expect(receive(&slow, 4, 0).count == 0);
    cr_expect(ask_source(&stage, 4, 0) == ERR_ok);
    await_count(&stage, "dlq", "SELECT COUNT(*) FROM $kept", 0);
    emit(&stage, 1);
    struct span span;
    cr_expect(try_receive(&session, 2, 256, WAIT_MS, &span) == ERR_position_lost, "3 and 4 would be passed over");
    cr_expect(try_receive(&session, 3, 1, WAIT_MS, &span) == ERR_position_lost);
    cr_expect(receive(&session, 2, 0).count == 0, "nothing is wanted");
    cr_expect(receive(&session, 4, 256).first == 5, "where it stands it goes on");
    finish(&stage);
}

ON_BOTH(dlq_subscription, subscribers_of_one_source_share_what_is_kept)
{
    struct stage stage;
    start(&stage, place);
    struct session a = subscribe(stage.to_dlq, "a", true);
    struct session b = subscribe(stage.to_dlq, "b", true);
    emit(&stage, 20);
    await_letter(&stage, LAGGARD, "waiting", 20);
    cr_expect(receive_up_to(&a, 0, 20) == 20);
    cr_expect(receive(&a, 20, 0).count == 0);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $kept") == 20);
    cr_expect(receive_up_to(&b, 0, 20) == 20);
    cr_expect(read_all(&stage, 0) == 20);
    finish(&stage);
}

ON_BOTH(dlq_subscription, a_client_that_does_not_acknowledge_has_a_letter)
{
    struct stage stage;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    emit(&stage, 3);
    await_letter(&stage, "dlq.till-1", "waiting", 3);
    cr_expect(receive_up_to(&session, 0, 3) == 3);
    cr_expect(receive(&session, 3, 0).count == 0);
    await_letter(&stage, "dlq.till-1", "done", 3);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting WHERE is_client = 1") == 1);
    finish(&stage);
}

ON_BOTH(dlq_subscription, an_end_forgets_it_here_and_at_the_source)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(count(&stage, "stock", "SELECT COUNT(*) FROM $position WHERE subscriber = 'dlq.till-1'") == 1);
    begin_receive(&session, 0, WAIT_MS);
    struct wire_dlq_unsubscribe body = {0};
    struct err_text why = {""};
    WIRE_SET(&body, dlq_unsubscribe, name, slice_of("till-1"));
    WIRE_SET(&body, dlq_unsubscribe, source, slice_of(SOURCE));
    cr_expect(dlq_client_unsubscribe(stage.other, &ONCE, &body, NULL, &why) == ERR_ok, "%s", why.text);
    cr_expect(end_receive(&session, &span) == ERR_unknown_subscriber);
    cr_expect(count(&stage, "stock", "SELECT COUNT(*) FROM $position WHERE subscriber = 'dlq.till-1'") == 0);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting WHERE is_client = 1") == 0);
    cr_expect(dlq_client_unsubscribe(stage.other, &ONCE, &body, NULL, &why) == ERR_unknown_subscriber);
    cr_expect(try_receive(&session, 0, 1, WAIT_MS, &span) == ERR_unknown_subscriber);
    finish(&stage);
}

static err
unsubscribe(struct stage *stage, const char *name, int64_t timeout_ms)
{
    struct wire_dlq_unsubscribe body = {0};
    struct larder_options options = {.timeout_ms = timeout_ms, .attempt_ms = timeout_ms, .attempts = 1};
    WIRE_SET(&body, dlq_unsubscribe, name, slice_of(name));
    WIRE_SET(&body, dlq_unsubscribe, source, slice_of(SOURCE));
    return dlq_client_unsubscribe(stage->other, &options, &body, NULL, NULL);
}

ON_BOTH(dlq_subscription, begun_again_at_its_start_has_a_letter_of_its_own_about_the_same_events)
{
    struct stage stage;
    start(&stage, place);
    (void)subscribe(stage.to_dlq, "till-1", true);
    emit(&stage, 3);
    for (int round = 0; round < 3; round++) {
        await_letter(&stage, "dlq.till-1", "waiting", 3);
        cr_expect(unsubscribe(&stage, "till-1", WAIT_MS) == ERR_ok);
        await_letter(&stage, "dlq.till-1", "stale", 3);
        (void)subscribe(stage.to_dlq, "till-1", true);
    }
    await_letter(&stage, "dlq.till-1", "waiting", 3);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $letter WHERE destination = 'dlq.till-1'") == 4);
    cr_expect(count(&stage, "dlq", "SELECT COUNT(DISTINCT id) FROM $letter WHERE destination = 'dlq.till-1'") == 4);
    finish(&stage);
}

/* The source has done what it was asked for, and the dlq was killed before it heard so. The source does not run now. */
static void
lose_answer_to_unsubscribe(struct stage *stage)
{
    stop(&stage->source);
    err code = unsubscribe(stage, "till-1", 1000);
    cr_assert(code != ERR_ok && code != ERR_unknown_subscriber, "%s", err_symbol(code));
    stop(&stage->dlq);
    change(stage, "stock", "DELETE FROM $position WHERE subscriber = 'dlq.till-1'");
    run_dlq_again(stage);
}

ON_BOTH(dlq_subscription, ends_although_the_answer_of_its_source_was_lost)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    lose_answer_to_unsubscribe(&stage);
    stage.source = run_actor(&stage, &toy_class);
    emit(&stage, 2);
    await_count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting WHERE is_client = 1", 0);
    cr_expect(count(&stage, "stock", "SELECT COUNT(*) FROM $position WHERE subscriber = 'dlq.till-1'") == 0, "it was made anew");
    cr_expect(try_receive(&session, 0, 1, WAIT_MS, &span) == ERR_unknown_subscriber);
    finish(&stage);
}

ON_BOTH(dlq_subscription, goes_on_for_a_session_that_was_begun_after_an_end_whose_answer_was_lost)
{
    struct stage stage;
    start(&stage, place);
    emit(&stage, 2);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(receive_up_to(&session, 0, 2) == 2);
    lose_answer_to_unsubscribe(&stage);
    session = subscribe(stage.to_dlq, "till-1", true);
    cr_expect(session.position == 0);
    stage.source = run_actor(&stage, &toy_class);
    await_count(&stage, "stock", "SELECT COUNT(*) FROM $position WHERE subscriber = 'dlq.till-1'", 1);
    cr_expect(receive_up_to(&session, 0, 2) == 2);
    cr_expect(receive(&session, 2, 0).count == 0);
    finish(&stage);
}

ON_BOTH(dlq_subscription, refuses_what_cannot_be_subscribed_to)
{
    struct stage stage;
    struct session session;
    start(&stage, place);
    cr_expect(try_subscribe(stage.to_dlq, "till-1", "nobody/0", true, &session) == ERR_invalid_field);
    cr_expect(try_subscribe(stage.to_dlq, "till-1", "stock/7", true, &session) == ERR_invalid_field);
    cr_expect(try_subscribe(stage.to_dlq, "till-1", "stock", true, &session) == ERR_invalid_field);
    cr_expect(try_subscribe(stage.to_dlq, "till-1", "dlq/0", true, &session) == ERR_invalid_field);
    cr_expect(try_subscribe(stage.to_dlq, "till-1", "factory/0", true, &session) == ERR_unavailable, "there is no factory");
    cr_expect(count(&stage, "dlq", "SELECT COUNT(*) FROM $hosting") == 0);
    finish(&stage);
}

ON_BOTH(dlq_subscription, there_is_an_end_of_subscriptions)
{
    struct stage stage;
    struct session session;
    start(&stage, place);
    stop(&stage.dlq);
    struct db *db = open_tables(&stage, "dlq");
    struct db_rows *rows =
        db_rows(db, "INSERT INTO $hosting (source, subscriber, incarnation, is_client, session, position, copied, since)", 8);
    struct id id = id_new();
    for (int i = 0; i < 1000; i++) {
        char name[KEY_SIZE];
        snprintf(name, sizeof name, "dlq.c%d", i);
        db_rows_text(rows, slice_of("factory/0"));
        db_rows_text(rows, slice_of(name));
        db_rows_id(rows, &id);
        db_rows_i64(rows, 1);
        db_rows_id(rows, &id);
        db_rows_i64(rows, 0);
        db_rows_i64(rows, 0);
        db_rows_i64(rows, 0);
    }
    place_expect(db, db_rows_queue(rows), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
    run_dlq_again(&stage);
    cr_expect(try_subscribe(stage.to_dlq, "one-more", SOURCE, true, &session) == ERR_overloaded);
    finish(&stage);
}

ON_MYSQL(dlq_subscription, misses_nothing_when_the_database_is_lost_again_and_again)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    int64_t position = 0;
    for (int round = 0; round < 8; round++) {
        emit(&stage, 10);
        place_kill(place, count(&stage, "dlq", "SELECT connection FROM $shard"));
        emit(&stage, 10);
        for (int64_t until_ms = link_steady_ms() + WAIT_MS; position < 20 * (round + 1);) {
            err code = try_receive(&session, position, 7, 2000, &span);
            cr_assert(code == ERR_ok || err_disposition(code) == ERR_RETRY, "%s", err_symbol(code));
            cr_assert(span.count == 0 || span.first == position + 1, "%lld behind %lld", (long long)span.first, (long long)position);
            position += span.count;
            cr_assert(link_steady_ms() < until_ms, "nothing comes behind %lld", (long long)position);
        }
    }
    finish(&stage);
}

ON_MYSQL(dlq_subscription, a_waiting_receive_is_told_when_the_database_is_lost)
{
    struct stage stage;
    struct span span;
    start(&stage, place);
    struct session session = subscribe(stage.to_dlq, "till-1", true);
    begin_receive(&session, 0, WAIT_MS);
    place_kill(place, count(&stage, "dlq", "SELECT connection FROM $shard"));
    cr_expect(end_receive(&session, &span) == ERR_unavailable);
    emit(&stage, 2);
    cr_expect(receive_up_to(&session, 0, 2) == 2);
    finish(&stage);
}
