/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Letters in their tables, on both databases: written, read back, found by every filter, counted, and forgotten with a rollback.
 *
 * PURPOSE   Filters are compared with what a walk over all letters finds, so that no way to read may leave out or repeat one.
 */
#include "dlq/letter/dlq_store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/kit_place.h"
#include "dlq/search/dlq_finder.h"
#include "dlq/dlq_schema.h"
#include "dlq/letter/dlq_tally.h"

#define NOW_MS INT64_C(1760000000000)
#define LETTERS 3000

struct stage {
    struct db *db;
    struct dlq_store store;
    struct dlq_tally *tally;
    struct arena arena;
    struct dlq_letter *all; /* as they must be; number n at n - 1 */
    int64_t count;
    uint64_t random;
    size_t generation; /* of the finder; 0: as it is */
};

static void
expect(struct stage *stage, err code)
{
    place_expect(stage->db, code, ERR_ok);
}

/* The dlq's tables lie under the prefix that the place has; the names do not matter here. */
static void
load(struct stage *stage)
{
    dlq_store_init(&stage->store, stage->db);
    if (stage->generation > 0) {
        dlq_finder_set_generation(stage->store.finder, stage->generation);
    }
    stage->tally = dlq_tally_create(stage->db);
    expect(stage, dlq_store_load(&stage->store));
    expect(stage, dlq_tally_load(stage->tally));
}

static void
unload(struct stage *stage)
{
    dlq_store_fini(&stage->store);
    dlq_tally_destroy(&stage->tally);
}

static void
start_with(struct stage *stage, const struct place *place, size_t generation)
{
    struct err_text why = {""};
    *stage = (struct stage){.db = place_open(place), .random = 88172645463325252U, .generation = generation};
    cr_assert(db_migrate(stage->db, dlq_steps, DLQ_STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    stage->all = calloc(LETTERS, sizeof *stage->all);
    load(stage);
}

static void
start(struct stage *stage, const struct place *place)
{
    start_with(stage, place, 0);
}

static void
stop(struct stage *stage)
{
    unload(stage);
    free(stage->all);
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
commit(struct stage *stage)
{
    expect(stage, dlq_store_flush(&stage->store));
    expect(stage, dlq_tally_queue(stage->tally));
    expect(stage, db_commit(stage->db));
    dlq_store_committed(&stage->store);
    dlq_tally_committed(stage->tally);
}

static void
drop(struct stage *stage)
{
    db_rollback(stage->db);
    dlq_store_dropped(&stage->store);
    dlq_tally_dropped(stage->tally);
}

static uint64_t
below(struct stage *stage, uint64_t end)
{
    stage->random ^= stage->random << 13;
    stage->random ^= stage->random >> 7;
    stage->random ^= stage->random << 17;
    return stage->random % end;
}

static struct dlq_letter
a_letter(int64_t number)
{
    char name[32];
    snprintf(name, sizeof name, "letter %d", (int)number);
    struct dlq_letter letter = {
        .id = id_of_bytes(name, strlen(name)),
        .state = DLQ_DEAD,
        .kind = DLQ_EVENT,
        .reason = "internal",
        .error = "the shelf cannot be written: \xe2\x82\xac",
        .destination = "stock/0",
        .key = "donut",
        .type = "factory.produced",
        .source = "factory/0",
        .seq = number,
        .to = DLQ_NONE,
        .attempts = 7,
        .first_ms = NOW_MS - 5000,
        .last_ms = NOW_MS - 1,
        .opened_ms = NOW_MS + number,
        .changed_ms = NOW_MS + number,
        .units = 10,
        .amount = DLQ_NONE,
        .useful_until_ms = DLQ_NONE,
        .status = ERR_COUNT,
    };
    return letter;
}

/* One of many that differ in everything that filters look at. */
static struct dlq_letter
a_mixed_letter(struct stage *stage, int64_t number)
{
    static const char *const reasons[] = {"internal", "poison", "call_failed", "unacknowledged"};
    static const char *const destinations[] = {"stock/0", "stock/1", "factory/0", "Stock/0"};
    struct dlq_letter letter = a_letter(number);
    letter.state = (enum dlq_state)below(stage, DLQ_STATE_COUNT);
    letter.kind = number < 40 ? DLQ_CALL : number % 97 == 0 ? DLQ_REQUEST : DLQ_EVENT;
    strcpy(letter.reason, reasons[below(stage, 4)]);
    strcpy(letter.destination, number < 10 ? "order/0" : destinations[below(stage, 4)]);
    snprintf(letter.key, sizeof letter.key, "sku-%d", (int)below(stage, 300));
    strcpy(letter.type, number % 500 == 7 ? "rare.event" : below(stage, 2) == 0 ? "factory.produced" : "factory.failed");
    strcpy(letter.source, below(stage, 2) == 0 ? "factory/0" : "");
    letter.units = number < 300 ? 1000000 : number % 701 == 0 ? 50000 + number : (int64_t)below(stage, 1000) - 1;
    if (below(stage, 3) == 0) {
        letter.amount = (int64_t)below(stage, 100000);
        strcpy(letter.currency, below(stage, 2) == 0 ? "EUR" : "KRW");
    }
    letter.opened_ms = NOW_MS + number / 3 * 3;
    return letter;
}

static const struct dlq_frames none = {0};

static void
insert(struct stage *stage, struct dlq_letter letter)
{
    dlq_store_insert(&stage->store, &letter, &none);
    dlq_tally_add(stage->tally, &letter, 1);
    cr_assert(letter.n == stage->count + 1 && stage->count < LETTERS);
    stage->all[stage->count++] = letter;
}

static void
insert_mixed(struct stage *stage)
{
    for (int64_t number = 0; number < LETTERS; number++) {
        insert(stage, a_mixed_letter(stage, number));
        if (number % 256 == 255) {
            commit(stage);
        }
    }
    commit(stage);
}

/* --- one letter --- */

static void
expect_same(const struct dlq_letter *found, const struct dlq_letter *wanted)
{
    cr_expect_eq(found->n, wanted->n);
    cr_expect(id_equal(&found->id, &wanted->id));
    cr_expect(found->state == wanted->state && found->kind == wanted->kind);
    cr_expect_str_eq(found->reason, wanted->reason);
    cr_expect_str_eq(found->error, wanted->error);
    cr_expect_str_eq(found->destination, wanted->destination);
    cr_expect_str_eq(found->key, wanted->key);
    cr_expect_str_eq(found->type, wanted->type);
    cr_expect_str_eq(found->source, wanted->source);
    cr_expect_str_eq(found->row_owner, wanted->row_owner);
    cr_expect_eq(found->row_key_size, wanted->row_key_size);
    cr_expect_arr_eq(found->row_key, wanted->row_key, sizeof wanted->row_key);
    cr_expect(found->seq == wanted->seq && found->to == wanted->to && found->attempts == wanted->attempts);
    cr_expect(found->first_ms == wanted->first_ms && found->last_ms == wanted->last_ms);
    cr_expect(found->opened_ms == wanted->opened_ms && found->changed_ms == wanted->changed_ms);
    cr_expect(found->units == wanted->units && found->amount == wanted->amount);
    cr_expect_str_eq(found->currency, wanted->currency);
    cr_expect_eq(found->useful_until_ms, wanted->useful_until_ms);
    cr_expect(id_equal(&found->request, &wanted->request) && id_equal(&found->replay, &wanted->replay));
    cr_expect(found->status == wanted->status);
    cr_expect_str_eq(found->traceparent, wanted->traceparent);
    cr_expect_str_eq(found->principal, wanted->principal);
}

ON_BOTH(dlq_store, a_letter_is_read_as_it_was_written)
{
    struct stage stage;
    struct dlq_letter found;
    bool is_there = false;
    start(&stage, place);
    struct dlq_letter letter = a_letter(1);
    letter.kind = DLQ_CALL;
    strcpy(letter.row_owner, "call");
    memcpy(letter.row_key, "\x00key\xff", 5);
    letter.row_key_size = 5;
    letter.amount = 19900;
    strcpy(letter.currency, "KRW");
    letter.useful_until_ms = NOW_MS;
    letter.request = id_of_bytes("r", 1);
    letter.status = ERR_out_of_stock;
    strcpy(letter.traceparent, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    strcpy(letter.principal, "robot@example");
    insert(&stage, letter);
    expect(&stage, dlq_store_find(&stage.store, &letter.id, &found, &is_there));
    cr_assert(is_there, "a read sees what its batch has collected");
    expect_same(&found, &stage.all[0]);
    commit(&stage);
    expect(&stage, dlq_store_find_n(&stage.store, 1, &found, &is_there));
    cr_assert(is_there);
    expect_same(&found, &stage.all[0]);
    stop(&stage);
}

ON_BOTH(dlq_store, what_may_change_is_written_back)
{
    struct stage stage;
    struct dlq_letter found;
    bool is_there = false;
    start(&stage, place);
    insert(&stage, a_letter(1));
    commit(&stage);
    struct dlq_letter letter = stage.all[0];
    letter.state = DLQ_DONE;
    strcpy(letter.reason, "poison");
    strcpy(letter.error, "");
    letter.seq = 5;
    letter.to = 9;
    letter.attempts = 8;
    letter.first_ms = letter.last_ms = letter.changed_ms = NOW_MS + 77;
    letter.units = 12;
    letter.amount = 1;
    strcpy(letter.currency, "EUR");
    letter.useful_until_ms = 5;
    letter.replay = id_of_bytes("x", 1);
    letter.status = ERR_ok;
    expect(&stage, dlq_store_update(&stage.store, &letter));
    commit(&stage);
    expect(&stage, dlq_store_find_n(&stage.store, 1, &found, &is_there));
    expect_same(&found, &letter);
    stop(&stage);
}

ON_BOTH(dlq_store, frames_are_kept_beside_it)
{
    struct stage stage;
    struct dlq_frames read;
    start(&stage, place);
    struct dlq_letter letter = a_letter(1);
    struct dlq_frames frames = {
        .header = slice_of("head"), .body = {(const uint8_t *)"\0\xff", 2}, .history = slice_of("history"), .history_count = 3};
    dlq_store_insert(&stage.store, &letter, &frames);
    expect(&stage, dlq_store_frames(&stage.store, &stage.arena, letter.n, &read));
    cr_expect(slice_equal(read.header, frames.header) && slice_equal(read.body, frames.body));
    cr_expect(slice_equal(read.history, frames.history) && read.history_count == 3);
    cr_expect(read.original.size == 0 && read.answer.size == 0);
    frames.original = frames.body;
    frames.body = slice_of("edited");
    frames.answer = slice_of("answer");
    expect(&stage, dlq_store_put_frames(&stage.store, letter.n, &frames));
    commit(&stage);
    expect(&stage, dlq_store_frames(&stage.store, &stage.arena, letter.n, &read));
    cr_expect(slice_equal(read.original, frames.original) && slice_equal(read.body, frames.body));
    cr_expect(slice_equal(read.answer, frames.answer));
    stop(&stage);
}

ON_BOTH(dlq_store, many_are_found_at_once)
{
    struct stage stage;
    struct id ids[4];
    struct dlq_letter found[4];
    size_t count = 0;
    start(&stage, place);
    for (int64_t number = 1; number <= 3; number++) {
        insert(&stage, a_letter(number));
        if (number == 2) {
            commit(&stage);
        }
    }
    ids[0] = stage.all[0].id;
    ids[1] = id_of_bytes("nobody", 6);
    ids[2] = stage.all[2].id;
    ids[3] = stage.all[1].id;
    expect(&stage, dlq_store_find_many(&stage.store, ids, 4, found, &count));
    cr_expect_eq(count, 3);
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += found[i].n;
    }
    cr_expect_eq(sum, 6);
    stop(&stage);
}

ON_BOTH(dlq_store, a_rollback_gives_the_numbers_back)
{
    struct stage stage;
    struct dlq_letter found;
    bool is_there = true;
    start(&stage, place);
    insert(&stage, a_letter(1));
    commit(&stage);
    insert(&stage, a_letter(2));
    insert(&stage, a_letter(3));
    expect(&stage, dlq_store_flush(&stage.store));
    drop(&stage);
    stage.count = 1;
    expect(&stage, dlq_store_find(&stage.store, &stage.all[2].id, &found, &is_there));
    cr_expect(!is_there);
    cr_expect_eq(dlq_tally_total(stage.tally), 1);
    insert(&stage, a_letter(3));
    commit(&stage);
    expect(&stage, dlq_store_find(&stage.store, &stage.all[1].id, &found, &is_there));
    cr_expect(is_there && found.n == 2);
    stop(&stage);
}

ON_BOTH(dlq_store, time_does_not_go_back)
{
    struct stage stage;
    start(&stage, place);
    insert(&stage, a_letter(9));
    struct dlq_letter early = a_letter(2);
    dlq_store_insert(&stage.store, &early, &none);
    cr_expect_eq(early.opened_ms, NOW_MS + 9);
    stop(&stage);
}

/* --- filters --- */

static bool
is_wanted(const struct wire_letter_filter *filter, int64_t now_ms, const struct dlq_letter *letter)
{
#define MISSES(field, text) (WIRE_HAS(filter, letter_filter, field) && !slice_equal(filter->field, slice_of(text)))
    if (MISSES(state, dlq_state_name(letter->state)) || MISSES(kind, dlq_kind_name(letter->kind)) || MISSES(reason, letter->reason) ||
        MISSES(destination, letter->destination) || MISSES(key, letter->key) || MISSES(type, letter->type) ||
        MISSES(source, letter->source)) {
        return false;
    }
#undef MISSES
    return !(WIRE_HAS(filter, letter_filter, older_than_ms) && letter->opened_ms > now_ms - filter->older_than_ms) &&
           !(WIRE_HAS(filter, letter_filter, younger_than_ms) && letter->opened_ms < now_ms - filter->younger_than_ms) &&
           !(WIRE_HAS(filter, letter_filter, min_units) && letter->units < filter->min_units) &&
           !(WIRE_HAS(filter, letter_filter, min_amount) && letter->amount < filter->min_amount) &&
           !(WIRE_HAS(filter, letter_filter, before) && letter->n >= filter->before);
}

static void
expect_page(struct stage *stage, const char *what, const struct wire_letter_filter *filter, int64_t now_ms)
{
    struct db_statement *rows = NULL;
    struct dlq_letter letter;
    struct err_text why = {""};
    int64_t wanted = stage->count;
    int64_t limit = WIRE_HAS(filter, letter_filter, limit) ? filter->limit : DLQ_PAGE_LETTERS;
    int64_t count = 0;
    expect(stage, dlq_store_page(&stage->store, filter, now_ms, &rows, &why));
    while (dlq_store_next(rows, &letter)) {
        while (wanted > 0 && !is_wanted(filter, now_ms, &stage->all[wanted - 1])) {
            wanted--;
        }
        cr_assert(wanted > 0 && letter.n == wanted, "%s: letter %d, and not %d", what, (int)letter.n, (int)wanted);
        wanted--;
        count++;
    }
    while (wanted > 0 && !is_wanted(filter, now_ms, &stage->all[wanted - 1])) {
        wanted--;
    }
    cr_expect(count == limit + 1 || wanted == 0, "%s: %d letters, and letter %d was left out", what, (int)count, (int)wanted);
}

static void
expect_selection(struct stage *stage, const char *what, const struct wire_letter_filter *filter, int64_t now_ms, int64_t limit)
{
    struct dlq_letter letter;
    struct err_text why = {""};
    int64_t last = stage->count < LETTERS - 100 ? stage->count : LETTERS - 100;
    int64_t after = 100;
    int64_t wanted = after + 1;
    int64_t count = limit;
    while (count == limit) {
        struct db_statement *rows = NULL;
        count = 0;
        expect(stage, dlq_store_select(&stage->store, filter, now_ms, after, last, limit, &rows, &why));
        while (dlq_store_next(rows, &letter)) {
            while (wanted <= last && !is_wanted(filter, now_ms, &stage->all[wanted - 1])) {
                wanted++;
            }
            cr_assert(letter.n == wanted, "%s: letter %d, and not %d", what, (int)letter.n, (int)wanted);
            after = wanted++;
            count++;
        }
    }
    while (wanted <= last && !is_wanted(filter, now_ms, &stage->all[wanted - 1])) {
        wanted++;
    }
    cr_expect(wanted > last, "%s: letter %d was left out", what, (int)wanted);
}

#define AGO(number) (LETTERS - (number))

static void
expect_found(struct stage *stage, const char *what, struct wire_letter_filter filter)
{
    int64_t now_ms = NOW_MS + LETTERS;
    expect_page(stage, what, &filter, now_ms);
    expect_selection(stage, what, &filter, now_ms, 50);
    WIRE_SET(&filter, letter_filter, before, 1400);
    expect_page(stage, what, &filter, now_ms);
    WIRE_SET(&filter, letter_filter, limit, 7);
    expect_page(stage, what, &filter, now_ms);
    WIRE_SET(&filter, letter_filter, limit, 1000);
    expect_page(stage, what, &filter, now_ms);
}

#define FOUND(...)                                  \
    do {                                            \
        struct wire_letter_filter filter = {0};     \
        __VA_ARGS__;                                \
        expect_found(&stage, #__VA_ARGS__, filter); \
    } while (0)
#define BY(field, ...) WIRE_SET(&filter, letter_filter, field, __VA_ARGS__)

ON_BOTH(dlq_store, every_filter_finds_what_a_walk_finds)
{
    struct stage stage;
    start(&stage, place);
    insert_mixed(&stage);
    for (int round = 0; round < 2; round++) {
        FOUND((void)0);
        FOUND(BY(state, slice_of("dead")));
        FOUND(BY(kind, slice_of("call")));
        FOUND(BY(kind, slice_of("subscriber")));
        FOUND(BY(destination, slice_of("stock/1")));
        FOUND(BY(destination, slice_of("order/0")));
        FOUND(BY(destination, slice_of("Stock/0")));
        FOUND(BY(destination, slice_of("nobody/0")));
        FOUND(BY(source, slice_of("factory/0")));
        FOUND(BY(type, slice_of("rare.event")));
        FOUND(BY(reason, slice_of("poison")));
        FOUND(BY(reason, slice_of("db_check")));
        FOUND(BY(key, slice_of("sku-17")));
        FOUND(BY(key, slice_of("Sku-17")));
        FOUND(BY(older_than_ms, AGO(1000)));
        FOUND(BY(younger_than_ms, AGO(1000)));
        FOUND(BY(younger_than_ms, AGO(1000)); BY(older_than_ms, AGO(1009)));
        FOUND(BY(older_than_ms, AGO(-10)));
        FOUND(BY(younger_than_ms, 0));
        FOUND(BY(min_units, 0));
        FOUND(BY(min_units, 990));
        FOUND(BY(min_units, 50000));
        FOUND(BY(min_units, 1000000));
        FOUND(BY(min_units, 1000001));
        FOUND(BY(min_amount, 0));
        FOUND(BY(min_amount, 99000));
        unload(&stage);
        load(&stage); /* once more from the tables alone */
    }
    stop(&stage);
}

ON_BOTH(dlq_store, filters_are_combined)
{
    struct stage stage;
    start(&stage, place);
    insert_mixed(&stage);
    FOUND(BY(state, slice_of("dead")); BY(destination, slice_of("stock/0")));
    FOUND(BY(state, slice_of("dead")); BY(key, slice_of("sku-3")));
    FOUND(BY(state, slice_of("done")); BY(min_units, 900));
    FOUND(BY(key, slice_of("sku-3")); BY(min_amount, 0); BY(reason, slice_of("internal")));
    FOUND(BY(kind, slice_of("event")); BY(type, slice_of("rare.event")); BY(younger_than_ms, AGO(600)));
    FOUND(BY(state, slice_of("stale")); BY(kind, slice_of("event")); BY(reason, slice_of("poison")); BY(source, slice_of("factory/0"));
          BY(type, slice_of("factory.failed")); BY(destination, slice_of("stock/1")); BY(older_than_ms, AGO(2500)); BY(min_units, 1));
    stop(&stage);
}

ON_BOTH(dlq_store, a_value_that_changes_is_found_where_it_is)
{
    struct stage stage;
    start(&stage, place);
    insert_mixed(&stage);
    for (int64_t n = 7; n < LETTERS; n += 400) {
        struct dlq_letter *letter = &stage.all[n - 1];
        letter->units = 7000000;
        strcpy(letter->reason, "db_check");
        letter->state = DLQ_DISCARDED;
        expect(&stage, dlq_store_update(&stage.store, letter));
    }
    commit(&stage);
    FOUND(BY(min_units, 7000000));
    FOUND(BY(reason, slice_of("db_check")));
    FOUND(BY(state, slice_of("discarded")));
    stop(&stage);
}

ON_BOTH(dlq_store, letters_of_the_batch_under_way_are_found)
{
    struct stage stage;
    start(&stage, place);
    for (int64_t number = 0; number < 300; number++) {
        insert(&stage, a_mixed_letter(&stage, number));
    }
    FOUND(BY(key, slice_of("sku-3")));
    FOUND(BY(kind, slice_of("call")));
    FOUND(BY(min_units, 1000000));
    drop(&stage);
    stage.count = 0;
    FOUND(BY(min_units, 1000000));
    FOUND(BY(key, slice_of("sku-3")));
    stop(&stage);
}

ON_BOTH(dlq_store, names_that_are_none_are_refused)
{
    struct stage stage;
    struct db_statement *rows = NULL;
    start(&stage, place);
    for (int i = 0; i < 3; i++) {
        struct wire_letter_filter filter = {0};
        struct err_text why = {""};
        const char *named[] = {"letter_filter.state: deadly", "letter_filter.kind: parcel", "letter_filter.reason: mood"};
        if (i == 0) {
            BY(state, slice_of("deadly"));
        } else if (i == 1) {
            BY(kind, slice_of("parcel"));
        } else {
            BY(reason, slice_of("mood"));
        }
        cr_expect(dlq_store_page(&stage.store, &filter, NOW_MS, &rows, &why) == ERR_invalid_field);
        cr_expect(strncmp(why.text, named[i], strlen(named[i])) == 0, "%s", why.text);
        cr_expect(dlq_store_select(&stage.store, &filter, NOW_MS, 0, 10, 10, &rows, &why) == ERR_invalid_field);
    }
    stop(&stage);
}

ON_BOTH(dlq_store, the_oldest_of_a_state)
{
    struct stage stage;
    int64_t opened_ms = -1;
    start(&stage, place);
    expect(&stage, dlq_store_oldest(&stage.store, DLQ_DEAD, &opened_ms));
    cr_expect_eq(opened_ms, 0);
    insert(&stage, a_letter(1));
    insert(&stage, a_letter(2));
    stage.all[0].state = DLQ_DONE;
    expect(&stage, dlq_store_update(&stage.store, &stage.all[0]));
    expect(&stage, dlq_store_oldest(&stage.store, DLQ_DEAD, &opened_ms));
    cr_expect_eq(opened_ms, NOW_MS + 2);
    stop(&stage);
}

/* --- numbers that go from memory to their table --- */

static void
expect_all_found(struct stage *stage)
{
    struct id ids[100];
    struct dlq_letter found[100];
    for (int64_t first = 0; first + 100 <= stage->count; first += 100) {
        size_t count = 0;
        for (int64_t i = 0; i < 100; i++) {
            ids[i] = stage->all[first + i].id;
        }
        expect(stage, dlq_store_find_many(&stage->store, ids, 100, found, &count));
        cr_expect_eq(count, 100);
    }
}

ON_BOTH(dlq_store, letters_are_found_wherever_their_numbers_are)
{
    struct stage stage;
    start_with(&stage, place, 700);
    insert_mixed(&stage);
    cr_expect(place_number(stage.db, "SELECT n FROM $merged") > 1000);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $find") < 2 * LETTERS);
    for (int round = 0; round < 3; round++) {
        expect_all_found(&stage);
        FOUND(BY(key, slice_of("sku-17")));
        FOUND(BY(key, slice_of("sku-170")));
        FOUND(BY(key, slice_of("sku-17")); BY(kind, slice_of("event")));
        FOUND(BY(key, slice_of("nothing")));
        unload(&stage);
        load(&stage);
    }
    stop(&stage);
}

ON_BOTH(dlq_store, numbers_survive_rollbacks)
{
    struct stage stage;
    start_with(&stage, place, 300);
    for (int64_t number = 0; number < 2000; number++) {
        insert(&stage, a_mixed_letter(&stage, number));
        if (number % 50 == 49 && number % 150 != 149) {
            commit(&stage);
        } else if (number % 150 == 149) {
            expect(&stage, dlq_store_flush(&stage.store));
            drop(&stage);
            stage.count = stage.store.last_n;
        }
    }
    commit(&stage);
    cr_expect(stage.count > 1000);
    expect_all_found(&stage);
    FOUND(BY(key, slice_of("sku-17")));
    unload(&stage);
    load(&stage);
    expect_all_found(&stage);
    FOUND(BY(key, slice_of("sku-18")));
    stop(&stage);
}

/* --- audit --- */

ON_BOTH(dlq_store, the_latest_lines_of_audit_in_order)
{
    struct stage stage;
    struct db_statement *rows = NULL;
    struct dlq_audit line;
    char action[17];
    start(&stage, place);
    for (int64_t i = 1; i <= 120; i++) {
        struct dlq_audit audit = {.letter = i % 2 == 0 ? 1 : 2, .time_ms = i, .author = slice_of("ann"), .action = "edit"};
        audit.reason = slice_of("because");
        audit.detail = slice_of("quantity: 10 -> 12");
        expect(&stage, dlq_store_add_audit(&stage.store, &audit));
        audit.letter = 1;
        audit.time_ms = 1000 + i;
        expect(&stage, dlq_store_add_audit(&stage.store, &audit));
    }
    commit(&stage);
    expect(&stage, dlq_store_audit(&stage.store, 1, &rows));
    int64_t count = 0;
    int64_t last_ms = 0;
    while (dlq_store_next_audit(rows, &line, action)) {
        cr_expect(slice_equal(line.author, slice_of("ann")) && slice_equal(line.detail, slice_of("quantity: 10 -> 12")));
        cr_expect_str_eq(action, "edit");
        last_ms = line.time_ms;
        count++;
    }
    cr_expect_eq(count, 100);
    cr_expect_eq(last_ms, 1120);
    stop(&stage);
}

/* --- counters --- */

static int64_t
counted(const struct stage *stage, enum dlq_state state, const char *destination)
{
    const struct dlq_count *count = NULL;
    for (size_t i = 0; (count = dlq_tally_get(stage->tally, i)) != NULL; i++) {
        if (count->state == state && strcmp(count->destination, destination) == 0) {
            return count->letters;
        }
    }
    return 0;
}

ON_BOTH(dlq_store, counters_follow_and_are_taken_back)
{
    struct stage stage;
    start(&stage, place);
    insert(&stage, a_letter(1));
    insert(&stage, a_letter(2));
    commit(&stage);
    struct dlq_letter letter = stage.all[0];
    dlq_tally_add(stage.tally, &letter, -1);
    letter.state = DLQ_DONE;
    dlq_tally_add(stage.tally, &letter, 1);
    cr_expect_eq(counted(&stage, DLQ_DONE, "stock/0"), 1);
    cr_expect_eq(dlq_tally_letters(stage.tally, DLQ_DEAD), 1);
    drop(&stage);
    cr_expect_eq(counted(&stage, DLQ_DONE, "stock/0"), 0);
    cr_expect_eq(counted(&stage, DLQ_DEAD, "stock/0"), 2);
    cr_expect_eq(dlq_tally_letters(stage.tally, DLQ_DEAD), 2);
    dlq_tally_add(stage.tally, &stage.all[0], -1);
    dlq_tally_add(stage.tally, &stage.all[1], -1);
    commit(&stage);
    cr_expect_null(dlq_tally_get(stage.tally, 0));
    unload(&stage);
    load(&stage);
    cr_expect_null(dlq_tally_get(stage.tally, 0));
    cr_expect_eq(dlq_tally_total(stage.tally), 0);
    stop(&stage);
}

ON_BOTH(dlq_store, counters_are_those_of_the_letters)
{
    struct stage stage;
    start(&stage, place);
    insert_mixed(&stage);
    for (int round = 0; round < 2; round++) {
        int64_t letters = 0;
        int64_t units = 0;
        const struct dlq_count *count = NULL;
        for (size_t i = 0; (count = dlq_tally_get(stage.tally, i)) != NULL; i++) {
            letters += count->letters;
            units += count->units;
        }
        cr_expect_eq(letters, LETTERS);
        cr_expect_eq(letters, dlq_tally_total(stage.tally));
        cr_expect_eq(units, place_number(stage.db, "SELECT SUM(units) FROM $letter WHERE units > 0"));
        cr_expect_eq(dlq_tally_letters(stage.tally, DLQ_DEAD), place_number(stage.db, "SELECT COUNT(*) FROM $letter WHERE state = 1"));
        unload(&stage);
        load(&stage);
    }
    stop(&stage);
}
