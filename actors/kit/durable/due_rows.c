/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One table for everything that has to happen later, and one number in memory: when the next one is due.
 *
 * STATE     $due (owner, due_key) -> due, attempts, payload. In memory the changes of the batch and a lower bound of the next
 *           moment; it may be early (the read then finds nothing and learns the true one), never late. A row that waits for its turn
 *           has its place in the same column, behind all moments: DUE_TURN plus when it came. One index serves both, and neither
 *           meets the rows of the other, however many there are.
 *
 * FAILURES  A row goes away only in the transaction of what it caused, so a batch that is rolled back fires again.
 *
 * LIMITS    Keys up to 64 bytes, payloads up to 64 KiB. The last change of a key within a batch wins.
 */
#include "due_rows.h"

#include <stdlib.h>

#include "kit/base/memory.h"

struct change {
    struct slice owner;
    struct slice key;
    int64_t due_ms;   /* -1: the row goes away */
    int64_t fired_ms; /* of a row that goes away because it fired: what it was due at; -1: whatever it is due at */
    int64_t attempts;
    struct slice payload;
};

struct due_rows {
    struct db *db;
    int64_t next_ms;
    int64_t next_of_batch_ms;
    bool is_next_unknown; /* a row that was due has fired */
    int64_t turns;        /* that wait for their turn */
    int64_t turns_of_batch;
    struct change *changes;
    size_t count;
    size_t capacity;
};

struct due_rows *
due_rows_create(struct db *db)
{
    struct due_rows *rows = memory_new(1, sizeof *rows);
    rows->db = db;
    rows->next_ms = INT64_MAX;
    rows->next_of_batch_ms = INT64_MAX;
    return rows;
}

static void
destroy(void *self)
{
    struct due_rows *rows = self;
    free(rows->changes);
    free(rows);
}

static err
load(void *self)
{
    struct due_rows *rows = self;
    struct db_statement *read = db_statement(rows->db, "SELECT MIN(due) FROM $due");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    rows->next_ms = db_next(read) && !db_is_null(read, 0) ? db_i64(read, 0) : INT64_MAX;
    rows->is_next_unknown = false;
    db_done(read);
    return ERR_ok;
}

int64_t
due_rows_turns(const struct due_rows *rows)
{
    return rows->turns;
}

err
due_rows_count_turns(struct due_rows *rows)
{
    struct db_statement *read = db_statement(rows->db, "SELECT COUNT(*) FROM $due WHERE due >= ? AND due < ?");
    db_bind_i64(read, DUE_TURN);
    db_bind_i64(read, DUE_ASIDE);
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        rows->turns = db_i64(read, 0);
        db_done(read);
    }
    return code;
}

int64_t
due_rows_next_ms(const struct due_rows *rows)
{
    return rows->next_ms;
}

static err
read_rows(struct db_statement *read, struct arena *arena, struct due_row *out, size_t max, size_t *count)
{
    *count = 0;
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct due_row *row = &out[(*count)++];
        row->owner = arena_copy(arena, db_bytes(read, 0));
        row->key = arena_copy(arena, db_bytes(read, 1));
        row->due_ms = db_i64(read, 2);
        row->attempts = db_i64(read, 3);
        row->payload = arena_copy(arena, db_bytes(read, 4));
        if (*count == max) {
            db_done(read);
            break;
        }
    }
    return code;
}

err
due_rows_read(struct due_rows *rows, struct arena *arena, int64_t now_ms, struct due_row *out, size_t max, size_t *count)
{
    struct db_statement *read =
        db_statement(rows->db, "SELECT owner, due_key, due, attempts, payload FROM $due WHERE due <= ? ORDER BY due LIMIT ?");
    db_bind_i64(read, now_ms);
    db_bind_i64(read, (int64_t)max);
    err code = read_rows(read, arena, out, max, count);
    if (code == ERR_ok && *count == 0) {
        code = load(rows);
    }
    return code;
}

err
due_rows_read_turns(struct due_rows *rows, struct arena *arena, struct due_row *out, size_t max, size_t *count)
{
    struct db_statement *read = db_statement(
        rows->db, "SELECT owner, due_key, due, attempts, payload FROM $due WHERE due >= ? AND due < ? ORDER BY due LIMIT ?");
    db_bind_i64(read, DUE_TURN);
    db_bind_i64(read, DUE_ASIDE);
    db_bind_i64(read, (int64_t)max);
    err code = read_rows(read, arena, out, max, count);
    if (code == ERR_ok && *count < max) {
        rows->turns = (int64_t)*count;
    }
    return code;
}

err
due_rows_find(struct due_rows *rows, struct arena *arena, struct slice owner, struct slice key, struct due_row *row, bool *is_there)
{
    struct db_statement *read = db_statement(rows->db, "SELECT due, attempts, payload FROM $due WHERE owner = ? AND due_key = ?");
    db_bind_text(read, owner);
    db_bind_bytes(read, key);
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        *row = (struct due_row){.owner = arena_copy(arena, owner), .key = arena_copy(arena, key)};
        row->due_ms = db_i64(read, 0);
        row->attempts = db_i64(read, 1);
        row->payload = arena_copy(arena, db_bytes(read, 2));
        db_done(read);
    }
    return code;
}

static struct change *
change_of(struct due_rows *rows, struct slice owner, struct slice key)
{
    for (size_t i = rows->count; i > 0; i--) {
        struct change *change = &rows->changes[i - 1];
        if (slice_equal(change->key, key) && slice_equal(change->owner, owner)) {
            return change;
        }
    }
    rows->changes = memory_grow(rows->changes, &rows->capacity, rows->count + 1, sizeof *rows->changes);
    struct change *added = &rows->changes[rows->count++];
    *added = (struct change){.owner = owner, .key = key, .due_ms = -1, .fired_ms = -1};
    return added;
}

void
due_rows_fired(struct due_rows *rows, const struct due_row *row)
{
    struct change *change = change_of(rows, row->owner, row->key);
    change->due_ms = -1;
    change->fired_ms = row->due_ms;
    rows->is_next_unknown = rows->is_next_unknown || !due_is_turn(row->due_ms);
}

void
due_rows_keep(struct due_rows *rows, const struct due_row *row)
{
    struct change *change = change_of(rows, row->owner, row->key);
    change->due_ms = row->due_ms;
    change->attempts = row->attempts;
    change->payload = row->payload;
    if (row->due_ms < rows->next_of_batch_ms) {
        rows->next_of_batch_ms = row->due_ms;
    }
}

void
due_rows_set(struct due_rows *rows, struct arena *arena, const struct due *due)
{
    struct change *change = change_of(rows, slice_of(due->owner), due->key);
    change->owner = slice_of(due->owner);
    change->key = arena_copy(arena, due->key);
    change->due_ms = due->due_ms;
    change->attempts = due->attempts;
    change->payload = arena_copy(arena, due->payload);
    if (due->due_ms < rows->next_of_batch_ms) {
        rows->next_of_batch_ms = due->due_ms;
    }
}

void
due_rows_cancel(struct due_rows *rows, struct arena *arena, const char *owner, struct slice key)
{
    struct change *change = change_of(rows, slice_of(owner), key);
    change->key = arena_copy(arena, key);
    change->due_ms = -1;
    change->fired_ms = -1;
}

/* One that fired may have been set anew since it was read: then it stays. */
static err
queue_forget(struct due_rows *rows, const struct change *change)
{
    bool has_fired = change->fired_ms >= 0;
    struct db_statement *forget = has_fired ? db_statement(rows->db, "DELETE FROM $due WHERE owner = ? AND due_key = ? AND due = ?")
                                            : db_statement(rows->db, "DELETE FROM $due WHERE owner = ? AND due_key = ?");
    db_bind_text(forget, change->owner);
    db_bind_bytes(forget, change->key);
    if (has_fired) {
        db_bind_i64(forget, change->fired_ms);
    }
    return db_queue(forget, DB_ANY_ROWS);
}

static err
queue(void *self)
{
    struct due_rows *rows = self;
    rows->turns_of_batch = 0;
    if (rows->count == 0) {
        return ERR_ok;
    }
    struct db_rows *set = db_rows(rows->db, "REPLACE INTO $due (owner, due_key, due, attempts, payload)", 5);
    for (size_t i = 0; i < rows->count; i++) {
        const struct change *change = &rows->changes[i];
        rows->turns_of_batch += (due_is_turn(change->due_ms) ? 1 : 0) - (due_is_turn(change->fired_ms) ? 1 : 0);
        if (change->due_ms < 0) {
            err code = queue_forget(rows, change);
            if (code != ERR_ok) {
                return code;
            }
            continue;
        }
        db_rows_text(set, change->owner);
        db_rows_bytes(set, change->key);
        db_rows_i64(set, change->due_ms);
        db_rows_i64(set, change->attempts);
        db_rows_bytes(set, change->payload);
    }
    return db_rows_queue(set);
}

static void
committed(void *self)
{
    struct due_rows *rows = self;
    if (rows->next_of_batch_ms < rows->next_ms) {
        rows->next_ms = rows->next_of_batch_ms;
    }
    if (rows->is_next_unknown) {
        rows->next_ms = 0; /* the next read tells */
    }
    rows->turns += rows->turns_of_batch;
    rows->turns = rows->turns < 0 ? 0 : rows->turns;
    rows->turns_of_batch = 0;
    rows->count = 0;
    rows->next_of_batch_ms = INT64_MAX;
    rows->is_next_unknown = false;
}

static void
dropped(void *self)
{
    struct due_rows *rows = self;
    rows->count = 0;
    rows->next_of_batch_ms = INT64_MAX;
    rows->is_next_unknown = false;
}

const struct part due_rows_part = {.load = load, .queue = queue, .committed = committed, .dropped = dropped, .destroy = destroy};
