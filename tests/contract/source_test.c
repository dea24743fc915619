/* SPDX-License-Identifier: MPL-2.0 */
/*
 * An actor's stream of events: outbox, positions, FETCH, trimming. On both databases, without sockets but one PUB that nobody hears.
 */
#include <criterion/criterion.h>
#include <string.h>

#include <czmq.h>

#include "../support/kit_place.h"
#include "stream.h"
#include "kit/base/clock.h"
#include "kit/stream/source.h"

/* A source with all that it stands on. */
struct stage {
    struct db *db;
    struct shard shard;
    struct arena arena;
    struct source *source;
    zsock_t *publisher;
    int64_t now_ms;
};

static err
commit(struct stage *stage)
{
    int64_t events = source_emitted(stage->source);
    err code = source_part.queue(stage->source);
    if (code == ERR_ok && db_is_writing(stage->db)) {
        code = shard_commit(&stage->shard, events);
    }
    if (code == ERR_ok) {
        stage->shard.now_ms = stage->now_ms;
        source_part.committed(stage->source);
    } else {
        db_rollback(stage->db);
        source_part.dropped(stage->source);
    }
    arena_reset(&stage->arena);
    return code;
}

static void
load(struct stage *stage)
{
    place_expect(stage->db, source_part.load(stage->source), ERR_ok);
    if (db_is_writing(stage->db)) {
        place_expect(stage->db, shard_commit(&stage->shard, 0), ERR_ok);
    }
    db_rollback(stage->db);
}

static void
start(struct stage *stage, const struct place *place, const char *name)
{
    struct err_text why = {""};
    *stage = (struct stage){.now_ms = 1700000000000};
    clock_fake(stage->now_ms);
    stage->db = place_open(place);
    cr_assert(shard_take(&stage->shard, stage->db, 0, 1, &why) == ERR_ok, "%s", why.text);
    char full[32];
    snprintf(full, sizeof full, "%s/0", name);
    stage->source = source_create(full, name, &place->settings, &stage->shard);
    stage->publisher = zsock_new(ZMQ_PUB);
    cr_assert(zsock_bind(stage->publisher, "inproc://source-test") == 0);
    source_publish_on(stage->source, zsock_resolve(stage->publisher));
    load(stage);
}

static void
stop(struct stage *stage)
{
    source_part.destroy(stage->source);
    zsock_destroy(&stage->publisher);
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
emit_of(struct stage *stage, const struct id *cause, int64_t n, size_t key_size)
{
    static char key[WIRE_NAME_MAX + 1];
    memset(key, 'k', key_size);
    key[key_size] = '\0';
    struct wire_factory_fact fact = {0};
    struct id production = id_new();
    WIRE_SET(&fact, factory_fact, production, production);
    WIRE_SET(&fact, factory_fact, product, slice_of(key));
    WIRE_SET(&fact, factory_fact, quantity, n);
    source_emit(stage->source, &stage->arena,
                &(struct source_fact){
                    .type = EVENT_factory_produced, .cause = *cause, .key = slice_of(key), .time_ms = stage->now_ms, .body = &fact});
}

static void
emit_sized(struct stage *stage, int64_t n, size_t key_size)
{
    struct id cause = id_new();
    emit_of(stage, &cause, n, key_size);
}

static void
emit(struct stage *stage, int64_t n)
{
    emit_sized(stage, n, 5);
}

static void
emit_many(struct stage *stage, int count)
{
    for (int i = 0; i < count; i++) {
        emit(stage, i + 1);
    }
    place_expect(stage->db, commit(stage), ERR_ok);
}

static err
try_fetch(struct stage *stage, const char *name, int64_t position, int64_t limit, struct wire_fetched *page)
{
    struct err_text why = {""};
    struct wire_fetch fetch = {0};
    WIRE_SET(&fetch, fetch, subscriber, slice_of(name));
    WIRE_SET(&fetch, fetch, incarnation, stage->shard.incarnation);
    WIRE_SET(&fetch, fetch, position, position);
    WIRE_SET(&fetch, fetch, limit, limit);
    *page = (struct wire_fetched){0};
    err code = source_fetch(stage->source, &stage->arena, &fetch, page, &why);
    db_rollback(stage->db);
    return code;
}

/* A host's word, for a subscriber. */
static err
try_host(struct stage *stage, const char *name, int64_t position, int64_t limit, struct wire_fetched *page)
{
    struct err_text why = {""};
    struct wire_fetch fetch = {0};
    WIRE_SET(&fetch, fetch, subscriber, slice_of(name));
    WIRE_SET(&fetch, fetch, incarnation, stage->shard.incarnation);
    WIRE_SET(&fetch, fetch, position, position);
    WIRE_SET(&fetch, fetch, limit, limit);
    WIRE_SET(&fetch, fetch, host, slice_of("dlq/0"));
    *page = (struct wire_fetched){0};
    err code = source_fetch(stage->source, &stage->arena, &fetch, page, &why);
    db_rollback(stage->db);
    return code;
}

/* Fetches; checks that the page is without a gap; returns how many events it has. */
static int64_t
fetch(struct stage *stage, const char *name, int64_t position, int64_t limit)
{
    struct wire_fetched page;
    err code = try_fetch(stage, name, position, limit, &page);
    cr_assert(code == ERR_ok, "%s", err_symbol(code));
    cr_expect(page.head == stage->shard.seq);
    cr_expect(id_equal(&page.incarnation, &stage->shard.incarnation));
    int64_t count = 0;
    struct wire_fetched_event event;
    struct wire_list events = page.events;
    while (wire_list_next(&events, &fetched_event_body, &event)) {
        struct wire_event_header header;
        struct wire_factory_fact fact;
        struct err_text why = {""};
        cr_assert(wire_decode(&event_header_body, event.header, &header, &why) == ERR_ok, "%s", why.text);
        cr_assert(wire_decode(&factory_fact_body, event.body, &fact, &why) == ERR_ok, "%s", why.text);
        count++;
        cr_expect(header.seq == position + count);
        cr_expect(slice_equal(header.source, slice_of("factory/0")));
    }
    cr_expect(count == (int64_t)page.events.count);
    return count;
}

static void
subscribe(struct stage *stage, const char *name, bool from_start, int64_t position)
{
    struct err_text why = {""};
    struct wire_subscribe ask = {0};
    struct wire_subscribed answer = {0};
    WIRE_SET(&ask, subscribe, subscriber, slice_of(name));
    WIRE_SET(&ask, subscribe, from_start, from_start);
    place_expect(stage->db, source_subscribe(stage->source, &ask, &answer, &why), ERR_ok);
    cr_expect(answer.position == position, "%lld instead of %lld", (long long)answer.position, (long long)position);
    cr_expect(answer.head == stage->shard.seq);
}

static err
unsubscribe(struct stage *stage, const char *name)
{
    struct err_text why = {""};
    struct wire_unsubscribe ask = {0};
    WIRE_SET(&ask, unsubscribe, subscriber, slice_of(name));
    return source_unsubscribe(stage->source, &ask, &why);
}

/* Positions are written once a second. */
static void
pass_a_second(struct stage *stage)
{
    clock_fake_advance_ms(1100);
    stage->now_ms += 1100;
    place_expect(stage->db, commit(stage), ERR_ok);
}

static int64_t
rows(struct stage *stage)
{
    return place_number(stage->db, "SELECT COUNT(*) FROM $outbox");
}

/* Of the events from this position on. */
static size_t
read_headers(struct stage *stage, int64_t position, struct wire_event_header *headers)
{
    struct wire_fetched page;
    struct wire_fetched_event event;
    struct err_text why;
    size_t count = 0;
    cr_assert(try_fetch(stage, "stock/0", position, 8, &page) == ERR_ok);
    while (wire_list_next(&page.events, &fetched_event_body, &event)) {
        cr_assert(wire_decode(&event_header_body, event.header, &headers[count++], &why) == ERR_ok);
    }
    return count;
}

ON_BOTH(source, chains_its_events_over_batches_that_failed_and_lives)
{
    struct stage stage;
    struct wire_event_header headers[8];
    struct err_text why;
    start(&stage, place, "factory");
    emit_many(&stage, 2);
    emit(&stage, 3);
    source_part.dropped(stage.source);
    emit_many(&stage, 1);
    cr_assert(shard_take(&stage.shard, stage.db, 0, 1, &why) == ERR_ok, "%s", why.text);
    load(&stage);
    emit_many(&stage, 1);
    cr_assert(read_headers(&stage, 0, headers) == 4);
    struct id chain = {{0}};
    for (size_t i = 0; i < 4; i++) {
        chain = stream_chain(&chain, &headers[i].id);
        cr_assert(WIRE_HAS(&headers[i], event_header, chain));
        cr_expect(id_equal(&headers[i].chain, &chain), "event %zu", i + 1);
    }
    cr_expect(id_equal(&stage.shard.chain, &chain));
    stop(&stage);
}

ON_BOTH(source, numbers_events_without_a_gap)
{
    struct stage stage;
    start(&stage, place, "factory");
    cr_expect(source_next_seq(stage.source) == 1);
    emit(&stage, 1);
    emit(&stage, 2);
    cr_expect(source_next_seq(stage.source) == 3);
    cr_expect(source_emitted(stage.source) == 2);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 3);
    cr_expect(stage.shard.seq == 5);
    cr_expect(rows(&stage) == 5);
    cr_expect(place_number(stage.db, "SELECT MIN(seq) FROM $outbox") == 1);
    cr_expect(place_number(stage.db, "SELECT MAX(seq) FROM $outbox") == 5);
    cr_expect(place_number(stage.db, "SELECT seq FROM $shard") == 5);
    stop(&stage);
}

ON_BOTH(source, leaves_nothing_of_a_batch_that_is_dropped)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 2);
    emit(&stage, 3);
    place_expect(stage.db, source_part.queue(stage.source), ERR_ok);
    db_rollback(stage.db);
    source_part.dropped(stage.source);
    cr_expect(source_emitted(stage.source) == 0);
    cr_expect(source_next_seq(stage.source) == 3);
    cr_expect(rows(&stage) == 2);
    emit_many(&stage, 1);
    cr_expect(stage.shard.seq == 3);
    cr_expect(rows(&stage) == 3);
    stop(&stage);
}

/* The ids of the events behind this position, as they are fetched. */
static size_t
ids_behind(struct stage *stage, int64_t position, struct id *ids, size_t max)
{
    struct wire_fetched page;
    cr_assert(try_fetch(stage, "stock/0", position, (int64_t)max, &page) == ERR_ok);
    size_t count = 0;
    struct wire_fetched_event event;
    struct wire_list events = page.events;
    while (wire_list_next(&events, &fetched_event_body, &event)) {
        struct wire_event_header header;
        cr_assert(wire_decode(&event_header_body, event.header, &header, NULL) == ERR_ok);
        ids[count++] = header.id;
    }
    return count;
}

ON_BOTH(source, gives_each_event_an_id_of_its_own_also_when_one_cause_has_several)
{
    struct stage stage;
    start(&stage, place, "factory");
    struct id cause = id_new();
    for (int64_t n = 1; n <= 3; n++) {
        emit_of(&stage, &cause, n, 5);
        emit_of(&stage, &cause, n, WIRE_NAME_MAX);
        place_expect(stage.db, commit(&stage), ERR_ok);
    }
    emit_of(&stage, &(struct id){{0}}, 4, 5);
    emit_of(&stage, &(struct id){{0}}, 4, 5);
    place_expect(stage.db, commit(&stage), ERR_ok);
    struct id ids[8];
    struct id again[8];
    cr_assert(ids_behind(&stage, 0, ids, 8) == 8);
    cr_assert(ids_behind(&stage, 0, again, 8) == 8);
    for (size_t i = 0; i < 8; i++) {
        cr_expect(id_equal(&ids[i], &again[i]), "fetched twice it is one event");
        for (size_t j = 0; j < i; j++) {
            cr_expect_not(id_equal(&ids[i], &ids[j]), "%zu and %zu", i + 1, j + 1);
        }
    }
    stop(&stage);
}

ON_BOTH(source, gives_another_id_to_another_event_that_takes_the_place_of_one_that_is_gone)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 1);
    struct id first;
    cr_assert(ids_behind(&stage, 0, &first, 1) == 1);
    cr_assert(db_queue(db_statement(stage.db, "DELETE FROM $outbox"), DB_ANY_ROWS) == ERR_ok);
    stage.shard.seq = 0; /* as in a copy from before it */
    emit_many(&stage, 1);
    struct id other;
    cr_assert(ids_behind(&stage, 0, &other, 1) == 1);
    cr_expect_not(id_equal(&first, &other));
    stop(&stage);
}

ON_BOTH(source, keeps_no_passing_event)
{
    struct stage stage;
    start(&stage, place, "stock");
    struct wire_stock_level level = {0};
    WIRE_SET(&level, stock_level, product, slice_of("donut"));
    WIRE_SET(&level, stock_level, on_hand, 1);
    WIRE_SET(&level, stock_level, reserved, 0);
    WIRE_SET(&level, stock_level, available, 1);
    WIRE_SET(&level, stock_level, incoming, 0);
    WIRE_SET(&level, stock_level, version, 1);
    source_emit(stage.source, &stage.arena,
                &(struct source_fact){.type = EVENT_stock_changed, .cause = id_new(), .key = slice_of("donut"), .body = &level});
    cr_expect(source_emitted(stage.source) == 0);
    int64_t batch = stage.shard.batch;
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(stage.shard.batch == batch, "a passing event alone costs no commit");
    cr_expect(rows(&stage) == 0);
    stop(&stage);
}

ON_BOTH(source, gives_pages_in_order)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 25);
    cr_expect(fetch(&stage, "stock/0", 0, 10) == 10);
    cr_expect(fetch(&stage, "stock/0", 10, 10) == 10);
    cr_expect(fetch(&stage, "stock/0", 20, 10) == 5);
    cr_expect(fetch(&stage, "stock/0", 25, 10) == 0);
    cr_expect(fetch(&stage, "stock/0", 25, 0) == 0);
    cr_expect(fetch(&stage, "stock/0", 24, 1000) == 1, "what was confirmed may be read again while it is kept");
    stop(&stage);
}

ON_BOTH(source, ends_a_page_before_it_is_larger_than_a_frame)
{
    struct stage stage;
    start(&stage, place, "factory");
    /* A body as large as the table of bodies allows none of, so the row is written by hand: 300 KiB each. */
    emit_many(&stage, 4);
    struct wire_buffer large = {0};
    static uint8_t zeros[300 * 1024];
    wire_buffer_append(&large, zeros, sizeof zeros);
    struct db_statement *grow = db_statement(stage.db, "UPDATE $outbox SET body = ?");
    db_bind_bytes(grow, wire_buffer_slice(&large));
    place_expect(stage.db, db_run(grow, NULL), ERR_ok);
    place_expect(stage.db, db_commit(stage.db), ERR_ok);
    struct wire_fetched page;
    cr_assert(try_fetch(&stage, "stock/0", 0, 1000, &page) == ERR_ok);
    cr_expect(page.events.count == 2, "%u", page.events.count);
    cr_expect(page.events.size < WIRE_FRAME_MAX);
    cr_assert(try_fetch(&stage, "stock/0", 2, 1000, &page) == ERR_ok);
    cr_expect(page.events.count == 2);
    cr_expect(page.head == 4);
    /* One that is larger than a page comes alone. */
    wire_buffer_append(&large, zeros, sizeof zeros);
    wire_buffer_append(&large, zeros, sizeof zeros);
    db_bind_bytes(grow, wire_buffer_slice(&large));
    place_expect(stage.db, db_run(grow, NULL), ERR_ok);
    place_expect(stage.db, db_commit(stage.db), ERR_ok);
    cr_assert(try_fetch(&stage, "stock/0", 2, 1000, &page) == ERR_ok);
    cr_expect(page.events.count == 1);
    wire_buffer_fini(&large);
    stop(&stage);
}

ON_BOTH(source, knows_those_of_the_table_before_they_come)
{
    struct stage stage;
    start(&stage, place, "factory");
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $position") == 1);
    emit_many(&stage, 300);
    cr_expect(fetch(&stage, "stock/0", 0, 1000) == 300);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 300, "nothing is trimmed that a named subscriber has not confirmed");
    stop(&stage);
}

ON_BOTH(source, trims_what_the_slowest_has_confirmed)
{
    struct stage stage;
    start(&stage, place, "factory");
    subscribe(&stage, "slow", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 900);
    cr_expect(fetch(&stage, "stock/0", 900, 0) == 0);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 900, "the slow one has confirmed nothing");
    cr_expect(fetch(&stage, "slow", 400, 0) == 0);
    pass_a_second(&stage);
    cr_expect(place_number(stage.db, "SELECT MIN(seq) FROM $outbox") == 401);
    cr_expect(fetch(&stage, "slow", 400, 1000) == 500);
    struct wire_fetched page;
    cr_expect(try_fetch(&stage, "slow", 399, 10, &page) == ERR_position_lost);
    cr_expect(fetch(&stage, "slow", 900, 0) == 0);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 0);
    emit_many(&stage, 1);
    cr_expect(stage.shard.seq == 901, "an empty outbox does not begin again");
    cr_expect(fetch(&stage, "slow", 900, 10) == 1);
    stop(&stage);
}

ON_BOTH(source, trims_more_than_one_step_though_nobody_confirms_again)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 6000);
    cr_expect(fetch(&stage, "stock/0", 6000, 0) == 0);
    pass_a_second(&stage);
    cr_expect(rows(&stage) < 6000);
    pass_a_second(&stage);
    cr_expect(rows(&stage) < 256, "%lld are left", (long long)rows(&stage));
    stop(&stage);
}

ON_BOTH(source, subscribes_from_now_or_from_the_start)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 5);
    subscribe(&stage, "late", false, 5);
    subscribe(&stage, "early", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 2);
    cr_expect(fetch(&stage, "late", 5, 100) == 2);
    cr_expect(fetch(&stage, "early", 0, 100) == 7);
    cr_expect(fetch(&stage, "late", 7, 100) == 0);
    subscribe(&stage, "late", true, 7);
    place_expect(stage.db, commit(&stage), ERR_ok);
    stop(&stage);
}

ON_BOTH(source, forgets_a_subscription_that_was_rolled_back)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 1);
    subscribe(&stage, "billing", false, 1);
    db_rollback(stage.db);
    source_part.dropped(stage.source);
    struct wire_fetched page;
    cr_expect(try_fetch(&stage, "billing", 1, 0, &page) == ERR_unknown_subscriber);
    subscribe(&stage, "billing", false, 1);
    place_expect(stage.db, commit(&stage), ERR_ok);
    place_expect(stage.db, unsubscribe(&stage, "billing"), ERR_ok);
    db_rollback(stage.db);
    source_part.dropped(stage.source);
    cr_expect(try_fetch(&stage, "billing", 1, 0, &page) == ERR_ok, "it did not leave");
    stop(&stage);
}

ON_BOTH(source, lets_a_subscriber_go)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    emit_many(&stage, 600);
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(fetch(&stage, "stock/0", 600, 0) == 0);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 600);
    place_expect(stage.db, unsubscribe(&stage, "billing"), ERR_ok);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(try_fetch(&stage, "billing", 0, 0, &page) == ERR_unknown_subscriber);
    cr_expect(unsubscribe(&stage, "billing") == ERR_unknown_subscriber);
    clock_fake_advance_ms(1100);
    cr_expect(source_part.is_due(stage.source), "what only it had not confirmed can go");
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 0);
    stop(&stage);
}

/* Its last confirmation is still to be written when it leaves: that must not bring its row back. */
ON_BOTH(source, lets_a_subscriber_go_that_has_just_confirmed)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 3);
    clock_fake_advance_ms(1100);
    cr_expect(fetch(&stage, "billing", 3, 0) == 0);
    place_expect(stage.db, unsubscribe(&stage, "billing"), ERR_ok);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $position WHERE subscriber = 'billing'") == 0);
    load(&stage);
    cr_expect(try_fetch(&stage, "billing", 3, 0, &page) == ERR_unknown_subscriber);
    stop(&stage);
}

ON_BOTH(source, keeps_one_that_comes_back_within_a_batch)
{
    struct stage stage;
    start(&stage, place, "factory");
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    place_expect(stage.db, unsubscribe(&stage, "billing"), ERR_ok);
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(fetch(&stage, "billing", 0, 0) == 0);
    load(&stage);
    cr_expect(fetch(&stage, "billing", 0, 0) == 0);
    stop(&stage);
}

ON_BOTH(source, refuses_positions_that_it_cannot_serve)
{
    struct stage stage;
    struct wire_fetched page;
    struct err_text why = {""};
    start(&stage, place, "factory");
    emit_many(&stage, 3);
    cr_expect(try_fetch(&stage, "stock/0", 4, 0, &page) == ERR_position_lost, "ahead");
    cr_expect(try_fetch(&stage, "nobody", 0, 0, &page) == ERR_unknown_subscriber);
    struct wire_fetch other = {0};
    WIRE_SET(&other, fetch, subscriber, slice_of("stock/0"));
    WIRE_SET(&other, fetch, incarnation, id_new());
    WIRE_SET(&other, fetch, position, 0);
    WIRE_SET(&other, fetch, limit, 1);
    cr_expect(source_fetch(stage.source, &stage.arena, &other, &page, &why) == ERR_other_incarnation, "%s", why.text);
    struct wire_fetch first = {0};
    WIRE_SET(&first, fetch, subscriber, slice_of("stock/0"));
    WIRE_SET(&first, fetch, position, 0);
    WIRE_SET(&first, fetch, limit, 1);
    cr_expect(source_fetch(stage.source, &stage.arena, &first, &page, &why) == ERR_ok, "without an incarnation: the first time");
    db_rollback(stage.db);
    stop(&stage);
}

ON_BOTH(source, remembers_positions)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    emit_many(&stage, 300);
    cr_expect(fetch(&stage, "stock/0", 280, 0) == 0);
    cr_expect(place_number(stage.db, "SELECT position FROM $position WHERE subscriber = 'stock/0'") == 0);
    clock_fake_advance_ms(1100);
    cr_expect(source_part.is_due(stage.source));
    pass_a_second(&stage);
    cr_expect(!source_part.is_due(stage.source));
    cr_expect(place_number(stage.db, "SELECT position FROM $position WHERE subscriber = 'stock/0'") == 280);
    load(&stage);
    cr_expect(fetch(&stage, "stock/0", 280, 1000) == 20);
    cr_expect(try_fetch(&stage, "stock/0", 200, 10, &page) == ERR_position_lost, "trimmed before the restart");
    stop(&stage);
}

ON_BOTH(source, does_not_confirm_backwards)
{
    struct stage stage;
    start(&stage, place, "factory");
    emit_many(&stage, 10);
    cr_expect(fetch(&stage, "stock/0", 8, 0) == 0);
    cr_expect(fetch(&stage, "stock/0", 2, 1) == 1);
    pass_a_second(&stage);
    cr_expect(place_number(stage.db, "SELECT position FROM $position WHERE subscriber = 'stock/0'") == 8);
    stop(&stage);
}

/* --- a subscriber that is behind is hosted --- */

ON_BOTH(source, trims_what_a_host_keeps)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    emit_many(&stage, 900);
    cr_expect(fetch(&stage, "stock/0", 100, 0) == 0);
    cr_assert(try_host(&stage, "stock/0", 100, 300, &page) == ERR_ok);
    cr_expect(page.events.count == 300);
    cr_assert(try_host(&stage, "stock/0", 700, 1000, &page) == ERR_ok);
    cr_expect(page.events.count == 200);
    pass_a_second(&stage);
    cr_expect(place_number(stage.db, "SELECT MIN(seq) FROM $outbox") == 701);
    cr_expect(place_number(stage.db, "SELECT position FROM $position WHERE subscriber = 'stock/0'") == 100, "it has not moved itself");
    cr_expect(place_number(stage.db, "SELECT hosted FROM $position WHERE subscriber = 'stock/0'") == 700);
    load(&stage);
    cr_expect(try_fetch(&stage, "stock/0", 100, 10, &page) == ERR_kept_elsewhere, "also after a restart");
    cr_expect(try_fetch(&stage, "stock/0", 99, 10, &page) == ERR_position_lost, "what it had confirmed nobody keeps");
    cr_expect(try_host(&stage, "stock/0", 699, 10, &page) == ERR_position_lost, "nor twice for the host");
    stop(&stage);
}

ON_BOTH(source, goes_on_with_a_subscriber_that_comes_back_from_its_host)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    emit_many(&stage, 900);
    cr_assert(try_host(&stage, "stock/0", 700, 0, &page) == ERR_ok);
    pass_a_second(&stage);
    cr_expect(try_fetch(&stage, "stock/0", 300, 10, &page) == ERR_kept_elsewhere);
    cr_assert(try_fetch(&stage, "stock/0", 500, 0, &page) == ERR_ok, "it may confirm what it got there");
    pass_a_second(&stage);
    cr_expect(place_number(stage.db, "SELECT position FROM $position WHERE subscriber = 'stock/0'") == 500);
    cr_expect(fetch(&stage, "stock/0", 700, 1000) == 200, "what the host had not fetched is here");
    cr_expect(fetch(&stage, "stock/0", 900, 0) == 0);
    pass_a_second(&stage);
    emit_many(&stage, 300);
    cr_expect(fetch(&stage, "stock/0", 900, 1000) == 300, "a host of long ago trims nothing");
    stop(&stage);
}

ON_BOTH(source, keeps_what_another_has_not_confirmed_beside_a_host)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 600);
    cr_assert(try_host(&stage, "stock/0", 600, 0, &page) == ERR_ok);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 600);
    cr_expect(fetch(&stage, "stock/0", 0, 1000) == 600, "nobody is sent away for what is here");
    cr_expect(fetch(&stage, "billing", 600, 0) == 0);
    pass_a_second(&stage);
    cr_expect(rows(&stage) == 0);
    stop(&stage);
}

ON_BOTH(source, refuses_hosts_that_it_cannot_serve)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    emit_many(&stage, 3);
    cr_expect(try_host(&stage, "stock/0", 4, 0, &page) == ERR_position_lost, "ahead");
    cr_expect(try_host(&stage, "nobody", 0, 10, &page) == ERR_unknown_subscriber);
    pass_a_second(&stage);
    cr_expect(place_number(stage.db, "SELECT hosted FROM $position WHERE subscriber = 'stock/0'") == 0);
    stop(&stage);
}

ON_BOTH(source, forgets_the_host_of_one_that_left)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    emit_many(&stage, 10);
    cr_assert(try_host(&stage, "billing", 10, 0, &page) == ERR_ok);
    pass_a_second(&stage);
    place_expect(stage.db, unsubscribe(&stage, "billing"), ERR_ok);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(try_host(&stage, "billing", 10, 0, &page) == ERR_unknown_subscriber);
    subscribe(&stage, "billing", true, 0);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(place_number(stage.db, "SELECT hosted FROM $position WHERE subscriber = 'billing'") == 0);
    stop(&stage);
}

/* --- HEAD --- */

struct standing {
    int64_t position;
    int64_t age_ms;
    int64_t hosted;
    bool has_hosted;
};

/* Publishes HEAD and reads what it says of a subscriber. */
static struct standing
standing_of(struct stage *stage, zsock_t *sub, const char *name)
{
    struct standing found = {.position = -1};
    stage->shard.now_ms = stage->now_ms;
    source_publish_head(stage->source);
    zmsg_t *message = zmsg_recv(sub);
    cr_assert(message != NULL, "no HEAD within its time");
    cr_assert(zmsg_size(message) == 3);
    (void)zmsg_first(message);
    (void)zmsg_next(message);
    zframe_t *frame = zmsg_next(message);
    struct wire_head head;
    struct wire_position position;
    struct err_text why = {""};
    cr_assert(wire_decode(&head_body, (struct slice){zframe_data(frame), zframe_size(frame)}, &head, &why) == ERR_ok, "%s", why.text);
    while (wire_list_next(&head.positions, &position_body, &position)) {
        if (slice_equal(position.subscriber, slice_of(name))) {
            found = (struct standing){.position = position.position,
                                      .age_ms = position.age_ms,
                                      .hosted = position.hosted,
                                      .has_hosted = WIRE_HAS(&position, position, hosted)};
        }
    }
    zmsg_destroy(&message);
    cr_assert(found.position >= 0, "%s is not in HEAD", name);
    return found;
}

static void
pass_ms(struct stage *stage, int64_t ms)
{
    clock_fake_advance_ms(ms);
    stage->now_ms += ms;
}

static zsock_t *
open_head(void)
{
    zsock_t *sub = zsock_new(ZMQ_SUB);
    cr_assert(zsock_connect(sub, "inproc://source-test") == 0);
    zsock_set_subscribe(sub, "head");
    zsock_set_rcvtimeo(sub, 5000);
    return sub;
}

/* The PUB hears of a subscription some time later. */
static void
await_head(struct stage *stage, zsock_t *sub)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(sub), .events = ZMQ_POLLIN};
    int tries = 0;
    do {
        stage->shard.now_ms = stage->now_ms;
        source_publish_head(stage->source);
    } while (zmq_poll(&item, 1, 5) == 0 && tries++ < 1000);
    cr_assert(tries < 1000);
    zsock_set_rcvtimeo(sub, 50);
    for (zmsg_t *message = zmsg_recv(sub); message != NULL; message = zmsg_recv(sub)) {
        zmsg_destroy(&message);
    }
    zsock_set_rcvtimeo(sub, 5000);
}

/* Drops the HEADs that a commit has published. */
static void
skip_heads(zsock_t *sub)
{
    zmq_pollitem_t item = {.socket = zsock_resolve(sub), .events = ZMQ_POLLIN};
    while (zmq_poll(&item, 1, 0) > 0) {
        zmsg_t *message = zmsg_recv(sub);
        zmsg_destroy(&message);
    }
}

ON_BOTH(source, says_in_head_who_is_hosted_up_to_where)
{
    struct stage stage;
    struct wire_fetched page;
    start(&stage, place, "factory");
    zsock_t *sub = open_head();
    await_head(&stage, sub);
    emit_many(&stage, 10);
    skip_heads(sub);
    cr_expect(!standing_of(&stage, sub, "stock/0").has_hosted);
    cr_assert(try_host(&stage, "stock/0", 7, 0, &page) == ERR_ok);
    struct standing standing = standing_of(&stage, sub, "stock/0");
    cr_expect(standing.position == 0);
    cr_expect(standing.hosted == 7);
    zsock_destroy(&sub);
    stop(&stage);
}

ON_BOTH(source, tells_how_old_the_oldest_unconfirmed_event_is)
{
    struct stage stage;
    start(&stage, place, "factory");
    zsock_t *sub = open_head();
    await_head(&stage, sub);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 0);
    pass_ms(&stage, 60000);
    emit_many(&stage, 1);
    skip_heads(sub);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 0, "it is new, however long there was none");
    pass_ms(&stage, 7000);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 7000);
    emit_many(&stage, 1);
    skip_heads(sub);
    pass_ms(&stage, 1000);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 8000);
    cr_expect(fetch(&stage, "stock/0", 1, 0) == 0);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 1000, "the second is younger");
    cr_expect(fetch(&stage, "stock/0", 2, 0) == 0);
    cr_expect(standing_of(&stage, sub, "stock/0").age_ms == 0);
    zsock_destroy(&sub);
    stop(&stage);
}

/* At every HEAD there is an event that was just committed and is not confirmed: that is no delay. */
ON_BOTH(source, is_not_alarmed_by_one_that_keeps_up_under_load)
{
    struct stage stage;
    start(&stage, place, "factory");
    zsock_t *sub = open_head();
    await_head(&stage, sub);
    for (int step = 1; step <= 100; step++) {
        emit_many(&stage, 1);
        skip_heads(sub);
        cr_expect(fetch(&stage, "stock/0", step - 1, 0) == 0);
        pass_ms(&stage, 100);
        struct standing standing = standing_of(&stage, sub, "stock/0");
        cr_assert(standing.age_ms <= 200, "step %d: %lld ms", step, (long long)standing.age_ms);
    }
    zsock_destroy(&sub);
    stop(&stage);
}

/* One that is always 10 s behind, and keeps up with that: its age is 10 s at any time. */
ON_BOTH(source, does_not_take_a_steady_delay_for_none)
{
    struct stage stage;
    start(&stage, place, "factory");
    zsock_t *sub = open_head();
    await_head(&stage, sub);
    for (int step = 1; step <= 300; step++) {
        emit_many(&stage, 1);
        skip_heads(sub);
        if (step > 100) {
            cr_expect(fetch(&stage, "stock/0", step - 100, 0) == 0);
        }
        pass_ms(&stage, 100);
        struct standing standing = standing_of(&stage, sub, "stock/0");
        cr_assert(standing.age_ms <= 10000, "step %d: %lld ms", step, (long long)standing.age_ms);
        cr_assert(step < 110 || standing.age_ms >= 9000, "step %d: %lld ms", step, (long long)standing.age_ms);
    }
    zsock_destroy(&sub);
    stop(&stage);
}
