/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The dlq as a client sees it, on both databases: what is buried is a letter once, is found, shown and counted, and what is wrong is
 * refused and changes nothing.
 *
 * STATE     One dlq and a client; nobody else is there, so that no letter moves by itself.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dlq/dlq.h"
#include "dlq/dlq_state.h"
#include "../support/kit_place.h"
#include "kit/actor_internal.h"
#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "kit/telemetry/log.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    struct arena arena; /* of what is sent */
};

#define ONCE ((struct larder_options){.timeout_ms = WAIT_MS, .attempts = 1})

/* --- life --- */

static void
run_dlq(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    err code = actor_start(&dlq_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("dlq", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
stop_dlq(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.reserve_mib = 1;
    log_init(false, LOG_LEVEL_ERROR);
    run_dlq(stage);
}

static void
finish(struct stage *stage)
{
    stop_dlq(stage);
    close(stage->ended_fd);
    arena_fini(&stage->arena);
}

static void
restart(struct stage *stage)
{
    stop_dlq(stage);
    place_await_ports(stage->place);
    run_dlq(stage);
}

/* --- burials --- */

static struct id
letter_id(int64_t seq)
{
    char name[32];
    snprintf(name, sizeof name, "letter %d", (int)seq);
    return id_of_bytes(name, strlen(name));
}

static struct slice
header_of(struct stage *stage, int64_t seq)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, 1);
    WIRE_SET(&header, event_header, id, letter_id(-seq));
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, letter_id(0));
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of("donut"));
    WIRE_SET(&header, event_header, time, 1000);
    WIRE_SET(&header, event_header, traceparent, slice_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    return arena_encode(&stage->arena, &event_header_body, &header);
}

static struct slice
fact_of(struct stage *stage, int64_t quantity)
{
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, letter_id(0));
    WIRE_SET(&fact, factory_fact, product, slice_of("donut"));
    WIRE_SET(&fact, factory_fact, quantity, quantity);
    return arena_encode(&stage->arena, &factory_fact_body, &fact);
}

static struct wire_list
history_of(struct stage *stage, int64_t attempts)
{
    struct wire_list history = {0};
    struct wire_buffer bytes = {0};
    for (int64_t i = 0; i < attempts; i++) {
        struct wire_letter_attempt attempt = {0};
        WIRE_SET(&attempt, letter_attempt, time, 1000 + i);
        WIRE_SET(&attempt, letter_attempt, error, slice_of("internal: no"));
        wire_list_add(&history, &letter_attempt_body, &attempt, &bytes);
    }
    struct slice copy = arena_copy(&stage->arena, wire_buffer_slice(&bytes));
    wire_buffer_fini(&bytes);
    history.data = copy.data;
    history.size = copy.size;
    return history;
}

static struct wire_burial
burial_of(struct stage *stage, int64_t seq, int64_t attempts)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, letter_id(seq));
    WIRE_SET(&burial, burial, kind, slice_of("event"));
    WIRE_SET(&burial, burial, destination, slice_of("stock/0"));
    WIRE_SET(&burial, burial, reason, slice_of("internal"));
    WIRE_SET(&burial, burial, error, slice_of("the shelf cannot be written"));
    WIRE_SET(&burial, burial, attempts, attempts);
    WIRE_SET(&burial, burial, first, 1000);
    WIRE_SET(&burial, burial, last, 1000 + attempts);
    WIRE_SET(&burial, burial, history, history_of(stage, attempts));
    WIRE_SET(&burial, burial, key, slice_of("donut"));
    WIRE_SET(&burial, burial, source, slice_of("factory/0"));
    WIRE_SET(&burial, burial, seq, seq);
    WIRE_SET(&burial, burial, header, header_of(stage, seq));
    WIRE_SET(&burial, burial, body, fact_of(stage, 10));
    return burial;
}

static struct wire_burial
call_of(struct stage *stage, int64_t number)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, letter_id(1000000 + number));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, destination, slice_of("factory/0"));
    WIRE_SET(&burial, burial, reason, slice_of("call_failed"));
    WIRE_SET(&burial, burial, error, slice_of("HTTP 500: no"));
    WIRE_SET(&burial, burial, attempts, 7);
    WIRE_SET(&burial, burial, first, 1000);
    WIRE_SET(&burial, burial, last, 2000);
    WIRE_SET(&burial, burial, history, history_of(stage, 7));
    WIRE_SET(&burial, burial, key, slice_of("donut"));
    WIRE_SET(&burial, burial, type, slice_of("factory.call"));
    WIRE_SET(&burial, burial, owner, slice_of("call"));
    WIRE_SET(&burial, burial, due_key, slice_of("0123456789abcdef"));
    WIRE_SET(&burial, burial, body, slice_of("{\"MessageAttributeProductId\":\"CP-502101\",\"MessageAttributeProductCnt\":\"10\"}"));
    WIRE_SET(&burial, burial, units, 10);
    return burial;
}

static err
bury(struct stage *stage, const struct wire_burial *burials, size_t count, int64_t *taken, struct err_text *why)
{
    struct wire_dlq_bury body = {0};
    struct wire_dlq_buried answer = {0};
    struct wire_list list = {0};
    struct wire_buffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        wire_list_add(&list, &burial_body, &burials[i], &bytes);
    }
    wire_list_end(&list, &bytes);
    WIRE_SET(&body, dlq_bury, burials, list);
    struct larder_exchange exchange = {.op = OP_dlq_bury, .body = &body, .answer = &answer};
    err code = larder_client_exchange(stage->client, &ONCE, &exchange, why);
    wire_buffer_fini(&bytes);
    *taken = answer.taken;
    return code;
}

static int64_t
buried(struct stage *stage, struct wire_burial burial)
{
    struct err_text why = {""};
    int64_t taken = 0;
    err code = bury(stage, &burial, 1, &taken, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return taken;
}

static struct wire_burial
settled(struct wire_burial burial)
{
    WIRE_SET(&burial, burial, settled, true);
    return burial;
}

/* --- what is there; slices live until the client is used again --- */

static struct wire_letter_whole
show(struct stage *stage, struct id id)
{
    struct wire_letter_ref ref = {0};
    struct wire_letter_whole whole = {0};
    struct err_text why = {""};
    WIRE_SET(&ref, letter_ref, letter, id);
    err code = dlq_client_show(stage->client, &ONCE, &ref, &whole, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return whole;
}

static struct wire_letter_stats
stats(struct stage *stage)
{
    struct wire_letter_stats answer = {0};
    struct err_text why = {""};
    err code = dlq_client_stats(stage->client, &ONCE, &(struct wire_nothing){0}, &answer, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return answer;
}

static int64_t
letters(struct stage *stage)
{
    struct wire_letter_stats answer = stats(stage);
    struct wire_letter_count count;
    int64_t sum = 0;
    while (wire_list_next(&answer.counts, &letter_count_body, &count)) {
        sum += count.letters;
    }
    return sum;
}

static bool
is_state(const struct wire_letter_whole *whole, const char *state)
{
    return slice_equal(whole->letter.state, slice_of(state));
}

static struct wire_letter_page
list(struct stage *stage, const struct wire_letter_filter *filter)
{
    struct wire_letter_page page = {0};
    struct err_text why = {""};
    err code = dlq_client_list(stage->client, &ONCE, filter, &page, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return page;
}

/* --- taking --- */

ON_BOTH(dlq, what_is_buried_is_a_letter)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 1);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(is_state(&whole, "dead"));
    cr_expect(slice_equal(whole.letter.kind, slice_of("event")) && slice_equal(whole.letter.reason, slice_of("internal")));
    cr_expect(slice_equal(whole.letter.error, slice_of("the shelf cannot be written")));
    cr_expect(slice_equal(whole.letter.destination, slice_of("stock/0")) && slice_equal(whole.letter.key, slice_of("donut")));
    cr_expect(slice_equal(whole.letter.source, slice_of("factory/0")) && whole.letter.seq == 5 && whole.letter.attempts == 7);
    cr_expect(slice_equal(whole.letter.type, slice_of("factory.produced")), "the header says it");
    cr_expect(whole.letter.units == 10, "the body says it");
    cr_expect(!WIRE_HAS(&whole.letter, letter, amount) && !WIRE_HAS(&whole.letter, letter, to));
    cr_expect_eq(whole.letter.traceparent.size, 55);
    cr_expect(whole.fields.count == 3 && whole.history.count == 7 && whole.audit.count == 0);
    cr_expect(!WIRE_HAS(&whole, letter_whole, original));
    cr_expect(slice_equal(whole.header, header_of(&stage, 5)) && slice_equal(whole.body, fact_of(&stage, 10)));
    finish(&stage);
}

ON_BOTH(dlq, a_call_is_shown_by_the_members_of_its_json)
{
    struct stage stage;
    struct wire_letter_field field;
    start(&stage, place);
    cr_expect_eq(buried(&stage, call_of(&stage, 1)), 1);
    struct wire_letter_whole whole = show(&stage, letter_id(1000001));
    cr_assert_eq(whole.fields.count, 2);
    cr_assert(wire_list_next(&whole.fields, &letter_field_body, &field));
    cr_expect(slice_equal(field.name, slice_of("MessageAttributeProductId")) && slice_equal(field.value, slice_of("CP-502101")));
    cr_expect(whole.letter.units == 10 && !WIRE_HAS(&whole.letter, letter, source));
    finish(&stage);
}

ON_BOTH(dlq, a_late_copy_changes_nothing)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 1);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 0);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 3)), 0);
    restart(&stage);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 0);
    cr_expect_eq(letters(&stage), 1);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(whole.letter.attempts == 7 && whole.letter.number == 1);
    finish(&stage);
}

ON_BOTH(dlq, copies_in_one_message_are_one_letter)
{
    struct stage stage;
    struct err_text why = {""};
    int64_t taken = 0;
    start(&stage, place);
    struct wire_burial burials[] = {burial_of(&stage, 5, 7), burial_of(&stage, 6, 7), burial_of(&stage, 5, 7),
                                    burial_of(&stage, 5, 8)};
    cr_assert(bury(&stage, burials, 4, &taken, &why) == ERR_ok, "%s", why.text);
    cr_expect_eq(taken, 3);
    cr_expect_eq(letters(&stage), 2);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(whole.letter.attempts == 8 && whole.history.count == 8);
    finish(&stage);
}

ON_BOTH(dlq, more_attempts_reopen_a_letter)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 1);
    cr_expect_eq(buried(&stage, settled(burial_of(&stage, 5, 7))), 1);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 0);
    struct wire_burial again = burial_of(&stage, 5, 8);
    WIRE_SET(&again, burial, reason, slice_of("poison"));
    WIRE_SET(&again, burial, body, fact_of(&stage, 12));
    cr_expect_eq(buried(&stage, again), 1);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(is_state(&whole, "dead") && slice_equal(whole.letter.reason, slice_of("poison")));
    cr_expect(whole.letter.attempts == 8 && whole.history.count == 8 && whole.letter.units == 12);
    cr_expect(slice_equal(whole.body, fact_of(&stage, 12)) && whole.letter.number == 1);
    cr_expect_eq(stats(&stage).dead, 1);
    finish(&stage);
}

/* A letter without a body, as that of an order whose refund failed: a part of it went back meanwhile. */
ON_BOTH(dlq, what_is_at_stake_is_what_was_said_last)
{
    struct stage stage;
    struct wire_letter_count count;
    start(&stage, place);
    struct wire_burial first = call_of(&stage, 1);
    first.has &= ~(UINT64_C(1) << burial_BIT_body);
    WIRE_SET(&first, burial, amount, 1000);
    WIRE_SET(&first, burial, currency, slice_of("BRL"));
    cr_expect_eq(buried(&stage, first), 1);
    struct wire_burial again = first;
    again.has &= ~(UINT64_C(1) << burial_BIT_units);
    WIRE_SET(&again, burial, attempts, 8);
    WIRE_SET(&again, burial, history, history_of(&stage, 8));
    WIRE_SET(&again, burial, amount, 600);
    cr_expect_eq(buried(&stage, again), 1);
    struct wire_letter_whole whole = show(&stage, first.letter);
    cr_expect(whole.letter.amount == 600 && slice_equal(whole.letter.currency, slice_of("BRL")) && whole.letter.units == 10);
    restart(&stage);
    struct wire_letter_stats answer = stats(&stage);
    cr_assert(wire_list_next(&answer.counts, &letter_count_body, &count));
    cr_expect(count.letters == 1 && count.amount == 600 && count.units == 10);
    finish(&stage);
}

ON_BOTH(dlq, what_is_settled_is_done_before_and_after)
{
    struct stage stage;
    struct wire_letter_ref ref = {0};
    struct wire_letter_whole none;
    start(&stage, place);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 1);
    cr_expect_eq(buried(&stage, settled(burial_of(&stage, 5, 7))), 1);
    cr_expect_eq(buried(&stage, settled(burial_of(&stage, 5, 7))), 0);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(is_state(&whole, "done"));
    cr_expect_eq(buried(&stage, settled(burial_of(&stage, 6, 7))), 1);
    whole = show(&stage, letter_id(6));
    cr_expect(is_state(&whole, "done"));
    struct wire_burial note = settled(burial_of(&stage, 7, 7));
    note.has &= ~(UINT64_C(1) << burial_BIT_header | UINT64_C(1) << burial_BIT_body | UINT64_C(1) << burial_BIT_source);
    cr_expect_eq(buried(&stage, note), 0);
    WIRE_SET(&ref, letter_ref, letter, letter_id(7));
    cr_expect(dlq_client_show(stage.client, &ONCE, &ref, &none, NULL) == ERR_unknown_letter);
    cr_expect_eq(stats(&stage).dead, 0);
    finish(&stage);
}

ON_BOTH(dlq, an_event_too_large_for_a_burial_is_a_letter_without_frames)
{
    struct stage stage;
    start(&stage, place);
    struct wire_burial burial = burial_of(&stage, 5, 7);
    burial.has &= ~(UINT64_C(1) << burial_BIT_header | UINT64_C(1) << burial_BIT_body);
    WIRE_SET(&burial, burial, type, slice_of("factory.produced"));
    cr_expect_eq(buried(&stage, burial), 1);
    struct wire_letter_whole whole = show(&stage, letter_id(5));
    cr_expect(is_state(&whole, "dead") && slice_equal(whole.letter.type, slice_of("factory.produced")));
    cr_expect(whole.fields.count == 0 && !WIRE_HAS(&whole, letter_whole, body) && !WIRE_HAS(&whole.letter, letter, units));
    finish(&stage);
}

ON_BOTH(dlq, one_that_is_wrong_leaves_all_undone)
{
    struct stage stage;
    int64_t taken = 0;
    start(&stage, place);
    struct wire_burial right = burial_of(&stage, 5, 7);
    for (int fault = 0; fault < 4; fault++) {
        static const char *const named[] = {"burials[1].kind", "burials[1].header", "burials[1].source", "burials[1].body"};
        struct err_text why = {""};
        struct wire_burial burials[] = {right, burial_of(&stage, 6, 7)};
        if (fault == 0) {
            burials[1].kind = slice_of("parcel");
        } else if (fault == 1) {
            burials[1].header = slice_of("not a frame");
        } else if (fault == 2) {
            burials[1].has &= ~(UINT64_C(1) << burial_BIT_source);
        } else {
            burials[1].body = slice_of("\xc1");
        }
        err code = bury(&stage, burials, 2, &taken, &why);
        cr_expect(code == ERR_invalid_field, "%s: %s", named[fault], err_symbol(code));
        cr_expect(strncmp(why.text, named[fault], strlen(named[fault])) == 0, "%s", why.text);
        cr_expect_eq(letters(&stage), 0);
    }
    finish(&stage);
}

ON_BOTH(dlq, a_full_dlq_refuses_and_keeps)
{
    struct stage stage;
    struct err_text why = {""};
    int64_t taken = 0;
    place->settings.letters_max = 100;
    start(&stage, place);
    for (int64_t seq = 1; seq <= 90; seq++) {
        cr_assert_eq(buried(&stage, burial_of(&stage, seq, 7)), 1);
    }
    cr_expect(stats(&stage).is_full, "the last tenth is for burials");
    for (int64_t seq = 91; seq <= 100; seq++) {
        cr_assert_eq(buried(&stage, burial_of(&stage, seq, 7)), 1);
    }
    struct wire_burial one_more = burial_of(&stage, 101, 7);
    cr_expect(bury(&stage, &one_more, 1, &taken, &why) == ERR_overloaded);
    cr_expect_eq(buried(&stage, burial_of(&stage, 100, 7)), 0, "a copy needs no room");
    cr_expect_eq(buried(&stage, settled(burial_of(&stage, 100, 7))), 1);
    cr_expect_eq(letters(&stage), 100);
    finish(&stage);
}

static int64_t
file_size(const struct place *place, const char *name)
{
    char path[256];
    struct stat file;
    snprintf(path, sizeof path, "%s/%s", place->folder, name);
    return stat(path, &file) == 0 ? (int64_t)file.st_size : -1;
}

ON_BOTH(dlq, a_reserve_is_given_free_once_and_made_again)
{
    struct actor actor = {.shard_number = 0};
    bool has_files = place->config.driver == DB_SQLITE;
    place->settings.reserve_mib = 2;
    place->settings.letters_max = 1000;
    log_init(false, LOG_LEVEL_ERROR);
    struct dlq_room *room = dlq_room_create(&place->settings, &actor);
    cr_expect_eq(file_size(place, "dlq_reserve"), has_files ? 2 * 1024 * 1024 : -1);
    cr_expect(!dlq_room_is_short(room, 899) && dlq_room_is_short(room, 900));
    cr_expect(!dlq_room_is_full(room, 999) && dlq_room_is_full(room, 1000));
    cr_expect(dlq_room_release(room) == has_files);
    cr_expect(!dlq_room_release(room));
    cr_expect_eq(file_size(place, "dlq_reserve"), -1);
    cr_expect(dlq_room_is_short(room, 0) == has_files);
    dlq_room_tick(room);
    cr_expect_eq(file_size(place, "dlq_reserve"), has_files ? 2 * 1024 * 1024 : -1);
    cr_expect(!dlq_room_is_short(room, 0));
    dlq_room_destroy(&room);
}

ON_BOTH(dlq, no_answer_to_a_burial_is_kept)
{
    struct stage stage;
    struct db *db = NULL;
    struct err_text why = {""};
    start(&stage, place);
    cr_expect_eq(buried(&stage, burial_of(&stage, 5, 7)), 1);
    stop_dlq(&stage);
    strcpy(place->config.prefix, "dlq_0");
    cr_assert(db_open(&place->config, &db, &why) == ERR_ok, "%s", why.text);
    cr_expect_eq(place_number(db, "SELECT COUNT(*) FROM $letter"), 1);
    cr_expect_eq(place_number(db, "SELECT COUNT(*) FROM $answer"), 0);
    db_close(&db);
    close(stage.ended_fd);
    arena_fini(&stage.arena);
}

/* --- reading --- */

ON_BOTH(dlq, pages_go_on_behind_their_last)
{
    struct stage stage;
    struct wire_letter letter;
    start(&stage, place);
    for (int64_t seq = 1; seq <= 25; seq++) {
        cr_assert_eq(buried(&stage, burial_of(&stage, seq, 7)), 1);
    }
    struct wire_letter_filter filter = {0};
    WIRE_SET(&filter, letter_filter, limit, 10);
    int64_t wanted = 25;
    for (int pages = 0; pages < 3; pages++) {
        struct wire_letter_page page = list(&stage, &filter);
        cr_expect(page.has_more == (pages < 2));
        while (wire_list_next(&page.letters, &letter_body, &letter)) {
            cr_expect_eq(letter.number, wanted--);
        }
        WIRE_SET(&filter, letter_filter, before, letter.number);
    }
    cr_expect_eq(wanted, 0);
    finish(&stage);
}

static void
expect_one(struct stage *stage, const char *what, struct wire_letter_filter filter, int64_t number)
{
    struct wire_letter letter = {0};
    struct wire_letter_page page = list(stage, &filter);
    cr_expect(page.letters.count == 1 && wire_list_next(&page.letters, &letter_body, &letter) && letter.number == number,
              "%s: %d letters, the first is %d", what, (int)page.letters.count, (int)letter.number);
}

#define EXPECT_ONE(number, field, ...)                        \
    do {                                                      \
        struct wire_letter_filter filter = {0};               \
        WIRE_SET(&filter, letter_filter, field, __VA_ARGS__); \
        expect_one(&stage, #field, filter, number);           \
    } while (0)

ON_BOTH(dlq, every_filter_narrows)
{
    struct stage stage;
    start(&stage, place);
    cr_assert_eq(buried(&stage, burial_of(&stage, 1, 7)), 1);
    struct wire_burial other = burial_of(&stage, 2, 7);
    WIRE_SET(&other, burial, destination, slice_of("stock/1"));
    WIRE_SET(&other, burial, reason, slice_of("poison"));
    WIRE_SET(&other, burial, key, slice_of("bagel"));
    WIRE_SET(&other, burial, units, 77);
    cr_assert_eq(buried(&stage, other), 1);
    cr_assert_eq(buried(&stage, call_of(&stage, 1)), 1);
    cr_assert_eq(buried(&stage, settled(burial_of(&stage, 4, 7))), 1);
    EXPECT_ONE(4, state, slice_of("done"));
    EXPECT_ONE(3, kind, slice_of("call"));
    EXPECT_ONE(2, destination, slice_of("stock/1"));
    EXPECT_ONE(3, type, slice_of("factory.call"));
    EXPECT_ONE(2, reason, slice_of("poison"));
    EXPECT_ONE(2, key, slice_of("bagel"));
    EXPECT_ONE(2, min_units, 77);
    struct wire_letter_filter filter = {0};
    WIRE_SET(&filter, letter_filter, source, slice_of("factory/0"));
    cr_expect_eq(list(&stage, &filter).letters.count, 3);
    filter = (struct wire_letter_filter){0};
    WIRE_SET(&filter, letter_filter, older_than_ms, 3600000);
    cr_expect_eq(list(&stage, &filter).letters.count, 0);
    filter = (struct wire_letter_filter){0};
    WIRE_SET(&filter, letter_filter, younger_than_ms, 3600000);
    WIRE_SET(&filter, letter_filter, min_amount, 0);
    cr_expect_eq(list(&stage, &filter).letters.count, 0, "nothing is money here");
    finish(&stage);
}

ON_BOTH(dlq, a_name_that_is_none_is_refused)
{
    struct stage stage;
    struct wire_letter_page page;
    struct err_text why = {""};
    struct wire_letter_filter filter = {0};
    start(&stage, place);
    WIRE_SET(&filter, letter_filter, state, slice_of("deadly"));
    cr_expect(dlq_client_list(stage.client, &ONCE, &filter, &page, &why) == ERR_invalid_field);
    cr_expect(strncmp(why.text, "letter_filter.state: deadly", 27) == 0, "%s", why.text);
    struct wire_letter_ref ref = {0};
    struct wire_letter_whole whole;
    WIRE_SET(&ref, letter_ref, letter, letter_id(99));
    cr_expect(dlq_client_show(stage.client, &ONCE, &ref, &whole, &why) == ERR_unknown_letter, "%s", why.text);
    finish(&stage);
}

ON_BOTH(dlq, stats_count_by_state_destination_and_reason)
{
    struct stage stage;
    struct wire_letter_count count;
    start(&stage, place);
    cr_expect(stats(&stage).dead == 0 && !WIRE_HAS(&(struct wire_letter_stats){0}, letter_stats, oldest_dead));
    int64_t before_ms = clock_utc_ms();
    cr_assert_eq(buried(&stage, burial_of(&stage, 1, 7)), 1);
    cr_assert_eq(buried(&stage, burial_of(&stage, 2, 7)), 1);
    cr_assert_eq(buried(&stage, call_of(&stage, 1)), 1);
    restart(&stage);
    struct wire_letter_stats answer = stats(&stage);
    cr_expect(answer.dead == 3 && answer.waiting == 0 && !answer.is_full);
    cr_expect(answer.oldest_dead >= before_ms && !WIRE_HAS(&answer, letter_stats, oldest_waiting));
    cr_expect_eq(answer.counts.count, 2);
    while (wire_list_next(&answer.counts, &letter_count_body, &count)) {
        bool is_call = slice_equal(count.reason, slice_of("call_failed"));
        cr_expect_eq(count.letters, is_call ? 1 : 2);
        cr_expect_eq(count.units, is_call ? 10 : 20);
        cr_expect(slice_equal(count.destination, slice_of(is_call ? "factory/0" : "stock/0")));
    }
    finish(&stage);
}
