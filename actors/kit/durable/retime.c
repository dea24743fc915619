/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Brings what waits back into bounds after the clock was set: every due row, and by the class's word about it what belongs
 *           to that row in the actor's own tables; and the parked events.
 *
 * STATE     $due, $parked and what a class's retime() writes; all of it in one transaction, with the shard row that then says by
 *           which clock it was (`seen` of $shard).
 *
 * FAILURES  Nothing is kept in memory: after a rollback it is done again, and doing it twice changes nothing more.
 *
 * LIMITS    Row by row, some ten thousand a second: the actor does nothing else meanwhile. Rows that were given up, or put aside,
 *           wait for a person and not for a time.
 */
#include "retime.h"

#include "kit/base/backoff.h"

enum { PAGE_ROWS = 500 };

/* The first page behind (owner, key). */
static err
read_page(const struct retiming *retiming, const struct due_row *last, struct due_row *rows, size_t *count)
{
    struct db_statement *read = db_statement(retiming->db, "SELECT owner, due_key, due, attempts, payload FROM $due"
                                                           " WHERE (owner > ? OR (owner = ? AND due_key > ?)) AND due < ?"
                                                           " ORDER BY owner, due_key LIMIT ?");
    db_bind_text(read, last->owner);
    db_bind_text(read, last->owner);
    db_bind_bytes(read, last->key);
    db_bind_i64(read, DUE_ASIDE);
    db_bind_i64(read, PAGE_ROWS);
    err code = db_query(read);
    *count = 0;
    while (code == ERR_ok && db_next(read)) {
        rows[(*count)++] = (struct due_row){.owner = arena_copy(retiming->arena, db_bytes(read, 0)),
                                            .key = arena_copy(retiming->arena, db_bytes(read, 1)),
                                            .due_ms = db_i64(read, 2),
                                            .attempts = db_i64(read, 3),
                                            .payload = arena_copy(retiming->arena, db_bytes(read, 4))};
    }
    return code;
}

static err
write_row(const struct retiming *retiming, const struct due_row *row)
{
    struct db_statement *update = db_statement(retiming->db, "UPDATE $due SET due = ?, payload = ? WHERE owner = ? AND due_key = ?");
    db_bind_i64(update, row->due_ms);
    db_bind_bytes(update, row->payload);
    db_bind_text(update, row->owner);
    db_bind_bytes(update, row->key);
    return db_queue(update, 1);
}

static err
retime_row(const struct actor_class *class, const struct retiming *retiming, struct due_row *row, int64_t *changed)
{
    const struct due_row before = *row;
    err code = class->retime == NULL ? ERR_ok : class->retime(retiming, row);
    if (due_is_turn(before.due_ms)) {
        int64_t last_ms = DUE_TURN + retiming->now_ms; /* its turn is a place in a row: not behind those that come from now on */
        row->due_ms = before.due_ms < last_ms ? before.due_ms : last_ms;
    } else if (class->retime == NULL) {
        row->due_ms = retimed(retiming, before.due_ms, BACKOFF_MAX_MS);
    }
    if (code == ERR_ok && (row->due_ms != before.due_ms || !slice_equal(row->payload, before.payload))) {
        (*changed)++;
        code = write_row(retiming, row);
    }
    return code;
}

static err
retime_parked(const struct retiming *retiming, int64_t *changed)
{
    err code = ERR_ok;
    if (retiming->by_ms != 0) {
        struct db_statement *later = db_statement(retiming->db, "UPDATE $parked SET due = due + ? WHERE due < ?");
        db_bind_i64(later, retiming->by_ms);
        db_bind_i64(later, DUE_TURN);
        code = db_queue(later, DB_ANY_ROWS);
    }
    struct db_statement *back = db_statement(retiming->db, "UPDATE $parked SET due = ? WHERE due > ? AND due < ?");
    int64_t last_ms = retiming->now_ms + BACKOFF_MAX_MS;
    int64_t matched = 0;
    db_bind_i64(back, last_ms);
    db_bind_i64(back, last_ms);
    db_bind_i64(back, DUE_TURN);
    code = code == ERR_ok ? db_run(back, &matched) : code;
    *changed += matched;
    return code;
}

err
retime_rows(const struct actor_class *class, struct retiming *retiming, int64_t *changed)
{
    struct due_row rows[PAGE_ROWS];
    struct due_row last = {.owner = slice_of(""), .key = slice_of("")};
    size_t count = PAGE_ROWS;
    *changed = 0;
    err code = class->retime == NULL ? ERR_ok : class->retime(retiming, NULL);
    while (code == ERR_ok && count == PAGE_ROWS) {
        code = read_page(retiming, &last, rows, &count);
        for (size_t i = 0; code == ERR_ok && i < count; i++) {
            code = retime_row(class, retiming, &rows[i], changed);
        }
        last = count > 0 ? rows[count - 1] : last;
    }
    return code == ERR_ok ? retime_parked(retiming, changed) : code;
}
