/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   All SQL of letters, their frames and their audit. New letters of a batch are collected and go out together.
 *
 * STATE     Tables: dlq_schema.c. The last numbers are kept in memory, as this process alone writes here; those of a batch that was
 *           rolled back are given out again.
 *
 * FAILURES  Errors of the database go up unchanged; the kit rolls the batch back. A status that is no symbol of errors.def, as of a
 *           later version, reads as `internal`.
 *
 * LIMITS    Frames are read one letter at a time.
 */
#include "dlq_store.h"

#include "dlq/search/dlq_filters.h"
#include "dlq/search/dlq_finder.h"
#include "dlq/search/dlq_zones.h"

#define LETTER_COLUMNS                                                                                                            \
    "n, id, state, kind, reason, error, destination, letter_key, type, source, seq, seq_to, row_owner, row_key, attempts, first," \
    " last, opened, changed, units, amount, currency, useful_until, request, replay, status, traceparent, principal"
#define LETTER_COLUMN_COUNT 28
#define FRAME_COLUMNS "header, body, original, history, history_count, answer"
#define FIND_MAX 512
#define AUDIT_COLUMNS "n, letter, replay, time, author, action, reason, detail"

void
dlq_store_init(struct dlq_store *store, struct db *db)
{
    *store = (struct dlq_store){
        .db = db,
        .letters = db_rows(db, "INSERT INTO $letter (" LETTER_COLUMNS ")", LETTER_COLUMN_COUNT),
        .frames = db_rows(db, "INSERT INTO $letter_frame (n, " FRAME_COLUMNS ")", 7),
        .finder = dlq_finder_create(db),
        .zones = dlq_zones_create(db),
    };
    store->filters = dlq_filters_create(db, store->zones, store->finder, LETTER_COLUMNS);
}

void
dlq_store_fini(struct dlq_store *store)
{
    dlq_filters_destroy(&store->filters);
    dlq_zones_destroy(&store->zones);
    dlq_finder_destroy(&store->finder);
}

/* --- life --- */

err
dlq_store_load(struct dlq_store *store)
{
    struct db_statement *last = db_statement(store->db, "SELECT n, opened FROM $letter ORDER BY n DESC LIMIT 1");
    err code = db_query(last);
    if (code != ERR_ok) {
        return code;
    }
    bool is_there = db_next(last);
    store->last_n = is_there ? db_i64(last, 0) : 0;
    store->last_opened_ms = is_there ? db_i64(last, 1) : 0;
    db_done(last);
    struct db_statement *audit = db_statement(store->db, "SELECT COALESCE(MAX(n), 0) FROM $audit");
    code = db_query(audit);
    if (code != ERR_ok) {
        return code;
    }
    store->last_audit = db_next(audit) ? db_i64(audit, 0) : 0;
    db_done(audit);
    code = dlq_zones_load(store->zones);
    if (code == ERR_ok) {
        code = dlq_finder_load(store->finder);
    }
    dlq_store_committed(store);
    return code;
}

void
dlq_store_committed(struct dlq_store *store)
{
    store->kept.n = store->last_n;
    store->kept.audit = store->last_audit;
    store->kept.opened_ms = store->last_opened_ms;
    dlq_zones_committed(store->zones);
    dlq_finder_committed(store->finder);
}

void
dlq_store_dropped(struct dlq_store *store)
{
    store->last_n = store->kept.n;
    store->last_audit = store->kept.audit;
    store->last_opened_ms = store->kept.opened_ms;
    store->is_waiting = false;
    db_rows_clear(store->letters);
    db_rows_clear(store->frames);
    dlq_zones_dropped(store->zones);
    dlq_finder_dropped(store->finder);
}

/* --- letters in --- */

void
dlq_store_insert(struct dlq_store *store, struct dlq_letter *letter, const struct dlq_frames *frames)
{
    letter->n = ++store->last_n;
    if (letter->opened_ms < store->last_opened_ms) {
        letter->opened_ms = store->last_opened_ms;
    }
    store->last_opened_ms = letter->opened_ms;
    dlq_zones_note(store->zones, letter);
    dlq_finder_add(store->finder, letter->n, &letter->id, slice_of(letter->key));

    struct db_rows *rows = store->letters;
    db_rows_i64(rows, letter->n);
    db_rows_id(rows, &letter->id);
    db_rows_i64(rows, (int64_t)letter->state);
    db_rows_i64(rows, (int64_t)letter->kind);
    db_rows_text(rows, slice_of(letter->reason));
    db_rows_text(rows, slice_of(letter->error));
    db_rows_text(rows, slice_of(letter->destination));
    db_rows_text(rows, slice_of(letter->key));
    db_rows_text(rows, slice_of(letter->type));
    db_rows_text(rows, slice_of(letter->source));
    db_rows_i64(rows, letter->seq);
    db_rows_i64(rows, letter->to);
    db_rows_text(rows, slice_of(letter->row_owner));
    db_rows_bytes(rows, (struct slice){letter->row_key, letter->row_key_size});
    db_rows_i64(rows, letter->attempts);
    db_rows_i64(rows, letter->first_ms);
    db_rows_i64(rows, letter->last_ms);
    db_rows_i64(rows, letter->opened_ms);
    db_rows_i64(rows, letter->changed_ms);
    db_rows_i64(rows, letter->units);
    db_rows_i64(rows, letter->amount);
    db_rows_text(rows, slice_of(letter->currency));
    db_rows_i64(rows, letter->useful_until_ms);
    db_rows_id(rows, &letter->request);
    db_rows_id(rows, &letter->replay);
    db_rows_text(rows, slice_of(letter->status == ERR_COUNT ? "" : err_symbol(letter->status)));
    db_rows_text(rows, slice_of(letter->traceparent));
    db_rows_text(rows, slice_of(letter->principal));

    rows = store->frames;
    db_rows_i64(rows, letter->n);
    db_rows_bytes(rows, frames->header);
    db_rows_bytes(rows, frames->body);
    db_rows_bytes(rows, frames->original);
    db_rows_bytes(rows, frames->history);
    db_rows_i64(rows, frames->history_count);
    db_rows_bytes(rows, frames->answer);
    store->is_waiting = true;
}

err
dlq_store_flush(struct dlq_store *store)
{
    err code = ERR_ok;
    if (store->is_waiting) {
        store->is_waiting = false;
        code = db_rows_queue(store->letters);
        if (code == ERR_ok) {
            code = db_rows_queue(store->frames);
        }
    }
    if (code == ERR_ok) {
        code = dlq_finder_queue(store->finder);
    }
    return code == ERR_ok ? dlq_zones_queue(store->zones) : code;
}

err
dlq_store_update(struct dlq_store *store, const struct dlq_letter *letter)
{
    err code = dlq_store_flush(store);
    if (code != ERR_ok) {
        return code;
    }
    dlq_zones_note(store->zones, letter);
    struct db_statement *update =
        db_statement(store->db, "UPDATE $letter SET state = ?, reason = ?, error = ?, seq = ?, seq_to = ?, attempts = ?, first = ?,"
                                " last = ?, changed = ?, units = ?, amount = ?, currency = ?, useful_until = ?, replay = ?,"
                                " status = ? WHERE n = ?");
    db_bind_i64(update, (int64_t)letter->state);
    db_bind_text(update, slice_of(letter->reason));
    db_bind_text(update, slice_of(letter->error));
    db_bind_i64(update, letter->seq);
    db_bind_i64(update, letter->to);
    db_bind_i64(update, letter->attempts);
    db_bind_i64(update, letter->first_ms);
    db_bind_i64(update, letter->last_ms);
    db_bind_i64(update, letter->changed_ms);
    db_bind_i64(update, letter->units);
    db_bind_i64(update, letter->amount);
    db_bind_text(update, slice_of(letter->currency));
    db_bind_i64(update, letter->useful_until_ms);
    db_bind_id(update, &letter->replay);
    db_bind_text(update, slice_of(letter->status == ERR_COUNT ? "" : err_symbol(letter->status)));
    db_bind_i64(update, letter->n);
    return db_queue(update, 1);
}

/* --- letters out --- */

static err
status_of(struct slice symbol)
{
    if (symbol.size == 0) {
        return ERR_COUNT;
    }
    err status = err_find((const char *)symbol.data, symbol.size);
    return status == ERR_COUNT ? ERR_internal : status;
}

static void
read_letter(struct db_statement *row, struct dlq_letter *letter)
{
    *letter = (struct dlq_letter){
        .n = db_i64(row, 0),
        .id = db_id(row, 1),
        .state = (enum dlq_state)db_i64(row, 2),
        .kind = (enum dlq_kind)db_i64(row, 3),
        .seq = db_i64(row, 10),
        .to = db_i64(row, 11),
        .attempts = db_i64(row, 14),
        .first_ms = db_i64(row, 15),
        .last_ms = db_i64(row, 16),
        .opened_ms = db_i64(row, 17),
        .changed_ms = db_i64(row, 18),
        .units = db_i64(row, 19),
        .amount = db_i64(row, 20),
        .useful_until_ms = db_i64(row, 22),
        .request = db_id(row, 23),
        .replay = db_id(row, 24),
        .status = status_of(db_bytes(row, 25)),
    };
    dlq_copy(letter->reason, sizeof letter->reason, db_bytes(row, 4));
    dlq_copy(letter->error, sizeof letter->error, db_bytes(row, 5));
    dlq_copy(letter->destination, sizeof letter->destination, db_bytes(row, 6));
    dlq_copy(letter->key, sizeof letter->key, db_bytes(row, 7));
    dlq_copy(letter->type, sizeof letter->type, db_bytes(row, 8));
    dlq_copy(letter->source, sizeof letter->source, db_bytes(row, 9));
    dlq_copy(letter->row_owner, sizeof letter->row_owner, db_bytes(row, 12));
    dlq_copy(letter->currency, sizeof letter->currency, db_bytes(row, 21));
    dlq_copy(letter->traceparent, sizeof letter->traceparent, db_bytes(row, 26));
    dlq_copy(letter->principal, sizeof letter->principal, db_bytes(row, 27));
    struct slice key = db_bytes(row, 13);
    letter->row_key_size = key.size < sizeof letter->row_key ? key.size : sizeof letter->row_key;
    if (letter->row_key_size > 0) {
        memcpy(letter->row_key, key.data, letter->row_key_size);
    }
}

static err
read_one(struct dlq_store *store, struct db_statement *read, struct dlq_letter *letter, bool *found)
{
    err code = dlq_store_flush(store);
    if (code == ERR_ok) {
        code = db_query(read);
    }
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(read);
    if (*found) {
        read_letter(read, letter);
    }
    db_done(read);
    return ERR_ok;
}

err
dlq_store_find(struct dlq_store *store, const struct id *id, struct dlq_letter *letter, bool *found)
{
    int64_t n = 0;
    err code = dlq_store_flush(store);
    if (code == ERR_ok) {
        code = dlq_finder_numbers(store->finder, id, 1, &n);
    }
    *found = false;
    return code == ERR_ok && n > 0 ? dlq_store_find_n(store, n, letter, found) : code;
}

err
dlq_store_find_n(struct dlq_store *store, int64_t n, struct dlq_letter *letter, bool *found)
{
    struct db_statement *read = db_statement(store->db, "SELECT " LETTER_COLUMNS " FROM $letter {BY PRIMARY} WHERE n = ?");
    db_bind_i64(read, n);
    return read_one(store, read, letter, found);
}

static err
find_some(struct dlq_store *store, const struct id *ids, size_t count, struct dlq_letter *letters, size_t *found)
{
    int64_t numbers[FIND_MAX];
    struct db_statement *rows = NULL;
    size_t there = 0;
    err code = dlq_finder_numbers(store->finder, ids, count, numbers);
    for (size_t i = 0; i < count; i++) {
        if (numbers[i] > 0) {
            numbers[there++] = numbers[i];
        }
    }
    if (code != ERR_ok || there == 0) {
        return code;
    }
    code = dlq_filters_rows(store->filters, numbers, there, false, &rows);
    while (code == ERR_ok && db_next(rows)) {
        read_letter(rows, &letters[(*found)++]);
    }
    return code;
}

err
dlq_store_find_many(struct dlq_store *store, const struct id *ids, size_t count, struct dlq_letter *letters, size_t *found)
{
    err code = dlq_store_flush(store);
    *found = 0;
    for (size_t done = 0; code == ERR_ok && done < count; done += FIND_MAX) {
        code = find_some(store, &ids[done], count - done < FIND_MAX ? count - done : FIND_MAX, letters, found);
    }
    return code;
}

/* --- frames --- */

err
dlq_store_frames(struct dlq_store *store, struct arena *arena, int64_t n, struct dlq_frames *frames)
{
    struct db_statement *read = db_statement(store->db, "SELECT " FRAME_COLUMNS " FROM $letter_frame {BY PRIMARY} WHERE n = ?");
    err code = dlq_store_flush(store);
    if (code != ERR_ok) {
        return code;
    }
    db_bind_i64(read, n);
    code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    *frames = (struct dlq_frames){0};
    if (db_next(read)) {
        *frames = (struct dlq_frames){
            .header = arena_copy(arena, db_bytes(read, 0)),
            .body = arena_copy(arena, db_bytes(read, 1)),
            .original = arena_copy(arena, db_bytes(read, 2)),
            .history = arena_copy(arena, db_bytes(read, 3)),
            .history_count = db_i64(read, 4),
            .answer = arena_copy(arena, db_bytes(read, 5)),
        };
    }
    db_done(read);
    return ERR_ok;
}

err
dlq_store_put_frames(struct dlq_store *store, int64_t n, const struct dlq_frames *frames)
{
    err code = dlq_store_flush(store);
    if (code != ERR_ok) {
        return code;
    }
    struct db_statement *update =
        db_statement(store->db, "UPDATE $letter_frame SET header = ?, body = ?, original = ?, history = ?, history_count = ?,"
                                " answer = ? WHERE n = ?");
    db_bind_bytes(update, frames->header);
    db_bind_bytes(update, frames->body);
    db_bind_bytes(update, frames->original);
    db_bind_bytes(update, frames->history);
    db_bind_i64(update, frames->history_count);
    db_bind_bytes(update, frames->answer);
    db_bind_i64(update, n);
    return db_queue(update, 1);
}

/* --- pages --- */

err
dlq_store_page(struct dlq_store *store, const struct wire_letter_filter *filter, int64_t now_ms, struct db_statement **rows,
               struct err_text *why)
{
    struct dlq_search search = {
        .filter = filter,
        .now_ms = now_ms,
        .range = {1, WIRE_HAS(filter, letter_filter, before) ? filter->before : INT64_MAX},
        .limit = (WIRE_HAS(filter, letter_filter, limit) ? filter->limit : DLQ_PAGE_LETTERS) + 1,
        .newest_first = true,
    };
    err code = dlq_store_flush(store);
    return code == ERR_ok ? dlq_filters_read(store->filters, &search, rows, why) : code;
}

err
dlq_store_select(struct dlq_store *store, const struct wire_letter_filter *filter, int64_t now_ms, int64_t after, int64_t to,
                 int64_t limit, struct db_statement **rows, struct err_text *why)
{
    struct dlq_search search = {
        .filter = filter,
        .now_ms = now_ms,
        .range = {after + 1, to == INT64_MAX ? INT64_MAX : to + 1},
        .limit = limit < DLQ_SELECT_MAX ? limit : DLQ_SELECT_MAX,
        .newest_first = false,
    };
    err code = dlq_store_flush(store);
    return code == ERR_ok ? dlq_filters_read(store->filters, &search, rows, why) : code;
}

bool
dlq_store_next(struct db_statement *rows, struct dlq_letter *letter)
{
    if (!db_next(rows)) {
        return false;
    }
    read_letter(rows, letter);
    return true;
}

/* --- audit --- */

err
dlq_store_add_audit(struct dlq_store *store, const struct dlq_audit *audit)
{
    struct db_statement *insert = db_statement(store->db, "INSERT INTO $audit (" AUDIT_COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    db_bind_i64(insert, ++store->last_audit);
    db_bind_i64(insert, audit->letter);
    db_bind_i64(insert, audit->replay);
    db_bind_i64(insert, audit->time_ms);
    db_bind_text(insert, audit->author);
    db_bind_text(insert, slice_of(audit->action));
    db_bind_text(insert, audit->reason);
    db_bind_text(insert, audit->detail);
    return db_queue(insert, 1);
}

err
dlq_store_audit(struct dlq_store *store, int64_t letter, struct db_statement **rows)
{
    *rows = db_statement(store->db, "SELECT " AUDIT_COLUMNS " FROM (SELECT " AUDIT_COLUMNS
                                    " FROM $audit {BY audit_letter} WHERE letter = ? ORDER BY n DESC LIMIT 100) AS latest ORDER BY n");
    db_bind_i64(*rows, letter);
    return db_query(*rows);
}

bool
dlq_store_next_audit(struct db_statement *rows, struct dlq_audit *audit, char action[17])
{
    if (!db_next(rows)) {
        return false;
    }
    dlq_copy(action, 17, db_bytes(rows, 5));
    *audit = (struct dlq_audit){
        .letter = db_i64(rows, 1),
        .replay = db_i64(rows, 2),
        .time_ms = db_i64(rows, 3),
        .author = db_bytes(rows, 4),
        .action = action,
        .reason = db_bytes(rows, 6),
        .detail = db_bytes(rows, 7),
    };
    return true;
}

err
dlq_store_oldest(struct dlq_store *store, enum dlq_state state, int64_t *opened_ms)
{
    struct db_statement *read =
        db_statement(store->db, "SELECT opened FROM $letter {BY letter_state} WHERE state = ? ORDER BY n LIMIT 1");
    err code = dlq_store_flush(store);
    if (code != ERR_ok) {
        return code;
    }
    db_bind_i64(read, (int64_t)state);
    code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    *opened_ms = db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    return ERR_ok;
}
