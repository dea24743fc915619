/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   All SQL of replays, in the subset that both engines share.
 *
 * STATE     $replay and $replay_letter (dlq_schema.c). Places of a replay count from 1 without a gap. Letters' rows are collected, and
 *           sent before they are read.
 *
 * FAILURES  Errors of the database go up unchanged; the kit rolls the batch back, and forgets what was collected.
 *
 * LIMITS    Those that have not ended are looked for in the whole table: at start and after a rollback.
 */
#include "dlq_replay_store.h"

#include <string.h>

#define COLUMNS                                                                                                                     \
    "n, id, state, filter, last_letter, selected_to, total, done, failed, rate, canary, stop_on_failure, author, reason, started, " \
    "ended, stopped_by, error"

#define INSERT_LETTER "INSERT INTO $replay_letter (replay, place, letter, outcome)"
#define PUT_LETTER "REPLACE INTO $replay_letter (replay, place, letter, outcome)"

static const char *const names[REPLAY_STATE_COUNT] = {
    [REPLAY_SELECTING] = "selecting", [REPLAY_CANARY] = "canary",       [REPLAY_RUNNING] = "running", [REPLAY_DONE] = "done",
    [REPLAY_STOPPED] = "stopped",     [REPLAY_CANCELLED] = "cancelled", [REPLAY_DRY_RUN] = "dry_run"};

const char *
replay_state_name(enum replay_state state)
{
    return names[state];
}

bool
replay_has_ended(enum replay_state state)
{
    return state != REPLAY_SELECTING && state != REPLAY_CANARY && state != REPLAY_RUNNING;
}

/* One that nobody writes was put there by hand: it is not run. */
static enum replay_state
state_find(struct slice name)
{
    int state = 0;
    while (state < REPLAY_STATE_COUNT && !slice_equal(slice_of(names[state]), name)) {
        state++;
    }
    return state == REPLAY_STATE_COUNT ? REPLAY_CANCELLED : (enum replay_state)state;
}

struct wire_replay
replay_body_of(const struct replay_row *row)
{
    struct wire_replay body = {0};
    WIRE_SET(&body, replay, id, row->id);
    WIRE_SET(&body, replay, number, row->n);
    WIRE_SET(&body, replay, state, slice_of(replay_state_name(row->state)));
    WIRE_SET(&body, replay, total, row->total);
    WIRE_SET(&body, replay, done, row->done);
    WIRE_SET(&body, replay, failed, row->failed);
    WIRE_SET(&body, replay, started, row->started_ms);
    WIRE_SET(&body, replay, stop_on_failure, row->stop_on_failure);
    if (row->rate > 0) {
        WIRE_SET(&body, replay, rate, row->rate);
    }
    if (row->canary > 0) {
        WIRE_SET(&body, replay, canary, row->canary);
    }
    if (row->author[0] != '\0') {
        WIRE_SET(&body, replay, author, slice_of(row->author));
    }
    if (row->reason[0] != '\0') {
        WIRE_SET(&body, replay, reason, slice_of(row->reason));
    }
    if (row->ended_ms > 0) {
        WIRE_SET(&body, replay, ended, row->ended_ms);
    }
    if (row->state == REPLAY_STOPPED) {
        WIRE_SET(&body, replay, stopped_by, row->stopped_by);
        WIRE_SET(&body, replay, error, slice_of(row->error));
    }
    return body;
}

err
replay_store_last(struct db *db, int64_t *n)
{
    struct db_statement *read = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $replay");
    err code = db_query(read);
    if (code == ERR_ok) {
        *n = db_next(read) ? db_i64(read, 0) : 0;
        db_done(read);
    }
    return code;
}

err
replay_store_insert(struct db *db, const struct replay_row *row)
{
    struct db_statement *insert =
        db_statement(db, "INSERT INTO $replay (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                         "?, ?, ?, ?)");
    db_bind_i64(insert, row->n);
    db_bind_id(insert, &row->id);
    db_bind_text(insert, slice_of(names[row->state]));
    db_bind_bytes(insert, (struct slice){row->filter, row->filter_size});
    db_bind_i64(insert, row->last_letter);
    db_bind_i64(insert, row->selected_to);
    db_bind_i64(insert, row->total);
    db_bind_i64(insert, row->done);
    db_bind_i64(insert, row->failed);
    db_bind_i64(insert, row->rate);
    db_bind_i64(insert, row->canary);
    db_bind_i64(insert, row->stop_on_failure ? 1 : 0);
    db_bind_text(insert, slice_of(row->author));
    db_bind_text(insert, slice_of(row->reason));
    db_bind_i64(insert, row->started_ms);
    db_bind_i64(insert, row->ended_ms);
    db_bind_id(insert, &row->stopped_by);
    db_bind_text(insert, slice_of(row->error));
    return db_queue(insert, 1);
}

err
replay_store_update(struct db *db, const struct replay_row *row)
{
    struct db_statement *update = db_statement(db, "UPDATE $replay SET state = ?, selected_to = ?, total = ?, done = ?, failed = ?, "
                                                   "ended = ?, stopped_by = ?, error = ? WHERE n = ?");
    db_bind_text(update, slice_of(names[row->state]));
    db_bind_i64(update, row->selected_to);
    db_bind_i64(update, row->total);
    db_bind_i64(update, row->done);
    db_bind_i64(update, row->failed);
    db_bind_i64(update, row->ended_ms);
    db_bind_id(update, &row->stopped_by);
    db_bind_text(update, slice_of(row->error));
    db_bind_i64(update, row->n);
    return db_queue(update, 1);
}

static void
read_row(struct db_statement *from, struct replay_row *row)
{
    struct slice filter = db_bytes(from, 3);
    *row = (struct replay_row){.n = db_i64(from, 0),
                               .id = db_id(from, 1),
                               .state = state_find(db_bytes(from, 2)),
                               .filter_size = filter.size < REPLAY_FILTER_MAX ? filter.size : REPLAY_FILTER_MAX,
                               .last_letter = db_i64(from, 4),
                               .selected_to = db_i64(from, 5),
                               .total = db_i64(from, 6),
                               .done = db_i64(from, 7),
                               .failed = db_i64(from, 8),
                               .rate = db_i64(from, 9),
                               .canary = db_i64(from, 10),
                               .stop_on_failure = db_i64(from, 11) != 0,
                               .started_ms = db_i64(from, 14),
                               .ended_ms = db_i64(from, 15),
                               .stopped_by = db_id(from, 16)};
    memcpy(row->filter, filter.data, row->filter_size);
    dlq_copy(row->author, sizeof row->author, db_bytes(from, 12));
    dlq_copy(row->reason, sizeof row->reason, db_bytes(from, 13));
    dlq_copy(row->error, sizeof row->error, db_bytes(from, 17));
}

err
replay_store_find(struct db *db, const struct id *id, struct replay_row *row, bool *found)
{
    struct db_statement *read = db_statement(db, "SELECT " COLUMNS " FROM $replay WHERE id = ?");
    db_bind_id(read, id);
    err code = db_query(read);
    if (code == ERR_ok) {
        *found = replay_store_next(read, row);
        db_done(read);
    }
    return code;
}

err
replay_store_page(struct db *db, int64_t before, int64_t limit, struct db_statement **rows)
{
    *rows = db_statement(db, "SELECT " COLUMNS " FROM $replay {BY PRIMARY} WHERE n < ? ORDER BY n DESC LIMIT ?");
    db_bind_i64(*rows, before);
    db_bind_i64(*rows, limit);
    return db_query(*rows);
}

err
replay_store_open_ones(struct db *db, struct db_statement **rows)
{
    *rows = db_statement(db, "SELECT " COLUMNS " FROM $replay WHERE ended = 0 ORDER BY n");
    return db_query(*rows);
}

bool
replay_store_next(struct db_statement *rows, struct replay_row *row)
{
    if (!db_next(rows)) {
        return false;
    }
    read_row(rows, row);
    return true;
}

err
replay_store_letters(struct db *db, int64_t replay, int64_t after, int64_t to, int64_t limit, struct db_statement **rows)
{
    err code = replay_store_flush(db);
    if (code != ERR_ok) {
        return code;
    }
    *rows = db_statement(db, "SELECT r.place, l.n, l.id, l.state, l.kind, l.destination, l.source, l.seq, l.row_owner, l.row_key, "
                             "l.traceparent FROM $replay_letter r {BY PRIMARY} JOIN $letter l {BY PRIMARY} ON l.n = r.letter WHERE "
                             "r.replay = ? AND r.place > ? "
                             "AND r.place <= ? AND r.outcome = 0 ORDER BY r.place LIMIT ?");
    db_bind_i64(*rows, replay);
    db_bind_i64(*rows, after);
    db_bind_i64(*rows, to);
    db_bind_i64(*rows, limit);
    return db_query(*rows);
}

bool
replay_store_next_letter(struct db_statement *rows, struct replay_letter *letter)
{
    if (!db_next(rows)) {
        return false;
    }
    struct slice key = db_bytes(rows, 9);
    letter->place = db_i64(rows, 0);
    letter->n = db_i64(rows, 1);
    letter->id = db_id(rows, 2);
    letter->state = (enum dlq_state)db_i64(rows, 3);
    letter->kind = (enum dlq_kind)db_i64(rows, 4);
    dlq_copy(letter->destination, sizeof letter->destination, db_bytes(rows, 5));
    dlq_copy(letter->source, sizeof letter->source, db_bytes(rows, 6));
    letter->seq = db_i64(rows, 7);
    dlq_copy(letter->row_owner, sizeof letter->row_owner, db_bytes(rows, 8));
    letter->row_key_size = key.size < sizeof letter->row_key ? key.size : sizeof letter->row_key;
    memcpy(letter->row_key, key.data, letter->row_key_size);
    dlq_copy(letter->traceparent, sizeof letter->traceparent, db_bytes(rows, 10));
    return true;
}

static void
add_letter(struct db_rows *rows, int64_t replay, int64_t place, int64_t letter, enum replay_outcome outcome)
{
    db_rows_i64(rows, replay);
    db_rows_i64(rows, place);
    db_rows_i64(rows, letter);
    db_rows_i64(rows, outcome);
}

void
replay_store_select_letter(struct db *db, int64_t replay, int64_t place, int64_t letter)
{
    add_letter(db_rows(db, INSERT_LETTER, 4), replay, place, letter, REPLAY_OPEN);
}

void
replay_store_note_letter(struct db *db, int64_t replay, int64_t place, int64_t letter, enum replay_outcome outcome)
{
    add_letter(db_rows(db, PUT_LETTER, 4), replay, place, letter, outcome);
}

err
replay_store_flush(struct db *db)
{
    err code = db_rows_queue(db_rows(db, INSERT_LETTER, 4));
    return code == ERR_ok ? db_rows_queue(db_rows(db, PUT_LETTER, 4)) : code;
}
