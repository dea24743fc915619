/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Timers as rows: set, replaced, cancelled, fired once, never late. On both databases.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../support/kit_place.h"
#include "kit/durable/due_rows.h"

struct stage {
    struct db *db;
    struct arena arena;
    struct due_rows *rows;
};

static void
start(struct stage *stage, const struct place *place)
{
    *stage = (struct stage){.db = place_open(place)};
    stage->rows = due_rows_create(stage->db);
    place_expect(stage->db, due_rows_part.load(stage->rows), ERR_ok);
}

static void
stop(struct stage *stage)
{
    due_rows_part.destroy(stage->rows);
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
set(struct stage *stage, const char *key, int64_t due_ms)
{
    due_rows_set(stage->rows, &stage->arena,
                 &(struct due){.owner = "test", .key = slice_of(key), .due_ms = due_ms, .attempts = 3, .payload = slice_of(key)});
}

static void
commit(struct stage *stage)
{
    place_expect(stage->db, due_rows_part.queue(stage->rows), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    due_rows_part.committed(stage->rows);
    arena_reset(&stage->arena);
}

static void
drop(struct stage *stage)
{
    place_expect(stage->db, due_rows_part.queue(stage->rows), ERR_ok);
    db_rollback(stage->db);
    due_rows_part.dropped(stage->rows);
    arena_reset(&stage->arena);
}

/* The keys of the rows that are due, joined by commas. */
static const char *
due_at(struct stage *stage, int64_t now_ms, size_t max)
{
    static char keys[1024];
    struct due_row found[32];
    size_t count = 0;
    place_expect(stage->db, due_rows_read(stage->rows, &stage->arena, now_ms, found, max, &count), ERR_ok);
    db_rollback(stage->db);
    keys[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t used = strlen(keys);
        snprintf(&keys[used], sizeof keys - used, "%s%.*s", i == 0 ? "" : ",", (int)found[i].key.size,
                 (const char *)found[i].key.data);
        cr_expect(slice_equal(found[i].owner, slice_of("test")));
        cr_expect(slice_equal(found[i].payload, found[i].key));
        cr_expect(found[i].attempts == 3);
    }
    return keys;
}

/* Fires all that is due and commits. */
static size_t
fire(struct stage *stage, int64_t now_ms)
{
    struct due_row found[32];
    size_t count = 0;
    place_expect(stage->db, due_rows_read(stage->rows, &stage->arena, now_ms, found, 32, &count), ERR_ok);
    for (size_t i = 0; i < count; i++) {
        due_rows_fired(stage->rows, &found[i]);
    }
    commit(stage);
    return count;
}

ON_BOTH(due_rows, fire_in_order_and_once)
{
    struct stage stage;
    start(&stage, place);
    cr_expect(due_rows_next_ms(stage.rows) == INT64_MAX);
    set(&stage, "third", 300);
    set(&stage, "first", 100);
    set(&stage, "second", 200);
    set(&stage, "later", 1000);
    commit(&stage);
    cr_expect(due_rows_next_ms(stage.rows) == 100);
    cr_expect_str_eq(due_at(&stage, 99, 32), "");
    cr_expect_str_eq(due_at(&stage, 300, 2), "first,second");
    cr_expect_str_eq(due_at(&stage, 300, 32), "first,second,third");
    cr_expect(fire(&stage, 300) == 3);
    cr_expect(due_rows_next_ms(stage.rows) <= 1000, "never late");
    cr_expect(fire(&stage, 999) == 0);
    cr_expect(due_rows_next_ms(stage.rows) == 1000, "an empty read learns the next");
    cr_expect(fire(&stage, 1000) == 1);
    cr_expect(fire(&stage, INT64_MAX) == 0);
    cr_expect(due_rows_next_ms(stage.rows) == INT64_MAX);
    stop(&stage);
}

ON_BOTH(due_rows, are_replaced_by_key)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    commit(&stage);
    set(&stage, "a", 500);
    commit(&stage);
    cr_expect(due_rows_next_ms(stage.rows) <= 500);
    cr_expect_str_eq(due_at(&stage, 499, 32), "");
    cr_expect_str_eq(due_at(&stage, 500, 32), "a");
    set(&stage, "a", 50);
    commit(&stage);
    cr_expect(due_rows_next_ms(stage.rows) == 50);
    set(&stage, "a", 70);
    set(&stage, "a", 60);
    commit(&stage);
    cr_expect_str_eq(due_at(&stage, 60, 32), "a", "the last of a batch wins");
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $due") == 1);
    stop(&stage);
}

ON_BOTH(due_rows, are_told_apart_by_owner_and_by_every_byte)
{
    struct stage stage;
    start(&stage, place);
    static const uint8_t bytes[] = {'a', 0, ' '};
    set(&stage, "a", 100);
    set(&stage, "A", 100);
    set(&stage, "a ", 100);
    due_rows_set(stage.rows, &stage.arena, &(struct due){.owner = "test", .key = {bytes, sizeof bytes}, .due_ms = 100});
    due_rows_set(stage.rows, &stage.arena, &(struct due){.owner = "other", .key = slice_of("a"), .due_ms = 100});
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $due") == 5);
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("a"));
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $due") == 4);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $due WHERE owner = 'other'") == 1);
    stop(&stage);
}

ON_BOTH(due_rows, are_cancelled)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    set(&stage, "b", 200);
    commit(&stage);
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("a"));
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("nothing"));
    set(&stage, "c", 150);
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("c"));
    commit(&stage);
    cr_expect_str_eq(due_at(&stage, 1000, 32), "b");
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("b"));
    set(&stage, "b", 400);
    commit(&stage);
    cr_expect_str_eq(due_at(&stage, 399, 32), "");
    cr_expect_str_eq(due_at(&stage, 400, 32), "b");
    stop(&stage);
}

ON_BOTH(due_rows, stay_when_the_batch_is_dropped)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    commit(&stage);
    struct due_row found[4];
    size_t count = 0;
    place_expect(stage.db, due_rows_read(stage.rows, &stage.arena, 100, found, 4, &count), ERR_ok);
    cr_assert(count == 1);
    due_rows_fired(stage.rows, &found[0]);
    set(&stage, "b", 10);
    drop(&stage);
    cr_expect(due_rows_next_ms(stage.rows) <= 100);
    cr_expect_str_eq(due_at(&stage, 100, 32), "a");
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $due") == 1);
    due_rows_cancel(stage.rows, &stage.arena, "test", slice_of("a"));
    drop(&stage);
    cr_expect(fire(&stage, 100) == 1);
    stop(&stage);
}

ON_BOTH(due_rows, may_be_set_again_while_they_fire)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    commit(&stage);
    struct due_row found[4];
    size_t count = 0;
    place_expect(stage.db, due_rows_read(stage.rows, &stage.arena, 100, found, 4, &count), ERR_ok);
    due_rows_fired(stage.rows, &found[0]);
    set(&stage, "a", 700);
    commit(&stage);
    cr_expect(due_rows_next_ms(stage.rows) <= 700);
    cr_expect_str_eq(due_at(&stage, 699, 32), "");
    cr_expect(due_rows_next_ms(stage.rows) == 700);
    stop(&stage);
}

/* One by one, what was read as due may have been set anew by the record before it: that must stay. */
ON_BOTH(due_rows, fire_only_what_was_read)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    commit(&stage);
    struct arena kept = {0};
    struct due_row found[4];
    size_t count = 0;
    place_expect(stage.db, due_rows_read(stage.rows, &kept, 100, found, 4, &count), ERR_ok);
    db_rollback(stage.db);
    set(&stage, "a", 900);
    commit(&stage);
    due_rows_fired(stage.rows, &found[0]);
    commit(&stage);
    cr_expect_str_eq(due_at(&stage, 900, 32), "a");
    arena_fini(&kept);
    stop(&stage);
}

ON_BOTH(due_rows, outlive_a_restart)
{
    struct stage stage;
    start(&stage, place);
    set(&stage, "a", 100);
    set(&stage, "b", 50);
    commit(&stage);
    stop(&stage);
    start(&stage, place);
    cr_expect(due_rows_next_ms(stage.rows) == 50);
    cr_expect_str_eq(due_at(&stage, 100, 32), "b,a");
    stop(&stage);
}

ON_BOTH(due_rows, carry_large_payloads)
{
    struct stage stage;
    static uint8_t bytes[65536];
    start(&stage, place);
    memset(bytes, 0xa5, sizeof bytes);
    due_rows_set(stage.rows, &stage.arena,
                 &(struct due){.owner = "test", .key = slice_of("big"), .due_ms = 1, .payload = {bytes, sizeof bytes}});
    commit(&stage);
    struct due_row found[1];
    size_t count = 0;
    place_expect(stage.db, due_rows_read(stage.rows, &stage.arena, 1, found, 1, &count), ERR_ok);
    cr_assert(count == 1);
    cr_expect(slice_equal(found[0].payload, (struct slice){bytes, sizeof bytes}));
    db_rollback(stage.db);
    stop(&stage);
}
