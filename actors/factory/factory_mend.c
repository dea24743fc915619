/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   See factory_mend.h.
 *
 * STATE     Writes $production and $shelf, and takes away $due of what has ended.
 */
#include "factory_mend.h"

#include "kit/base/clock.h"
#include "kit/verify.h"

static const char told_by_stock[] = "taken from what stock has counted";

err
factory_mend_begin(struct factory_mending *factory, struct db *db)
{
    *factory = (struct factory_mending){.db = db, .moment_ms = clock_utc_ms()};
    return verify_read_number(db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $production"), &factory->last_n);
}

static err
queue_insert(struct factory_mending *factory, const struct factory_ended *ended)
{
    struct db_statement *insert =
        db_statement(factory->db, "INSERT INTO $production (n, id, product, quantity, status, ordered_at, due_at, done_at, attempts,"
                                  " error, accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0)");
    db_bind_i64(insert, ++factory->last_n);
    db_bind_id(insert, &ended->id);
    db_bind_text(insert, slice_of(ended->product));
    db_bind_i64(insert, ended->quantity);
    db_bind_text(insert, slice_of(ended->status));
    db_bind_i64(insert, factory->moment_ms);
    db_bind_i64(insert, factory->moment_ms);
    db_bind_i64(insert, factory->moment_ms);
    db_bind_text(insert, slice_of(told_by_stock));
    return db_queue(insert, 1);
}

/* A product of which the factory had heard nothing: no event of it is in its stream. */
static err
queue_shelf(struct factory_mending *factory, const struct factory_ended *ended)
{
    int64_t count = 0;
    struct db_statement *find = db_statement(factory->db, "SELECT COUNT(*) FROM $shelf WHERE product = ?");
    db_bind_text(find, slice_of(ended->product));
    err code = verify_read_number(find, &count);
    if (code != ERR_ok || count > 0) {
        return code;
    }
    struct db_statement *put = db_statement(factory->db, "INSERT INTO $shelf (product, open_production, last_seq) VALUES (?, 0, 0)");
    db_bind_text(put, slice_of(ended->product));
    return db_queue(put, 1);
}

/* It was still open when the factory was copied. */
static err
queue_end(struct factory_mending *factory, const struct factory_ended *ended, int64_t n)
{
    struct db *db = factory->db;
    struct db_statement *end = db_statement(db, "UPDATE $production SET status = ?, done_at = ?, error = ? WHERE n = ?");
    db_bind_text(end, slice_of(ended->status));
    db_bind_i64(end, factory->moment_ms);
    db_bind_text(end, slice_of(told_by_stock));
    db_bind_i64(end, n);
    err code = db_queue(end, 1);
    struct db_statement *close = db_statement(db, "UPDATE $shelf SET open_production = 0 WHERE open_production = ?");
    db_bind_i64(close, n);
    if (code == ERR_ok) {
        code = db_queue(close, DB_ANY_ROWS);
    }
    struct db_statement *forget = db_statement(db, "DELETE FROM $due WHERE due_key = ? AND owner IN ('production', 'call')");
    db_bind_bytes(forget, (struct slice){ended->id.bytes, sizeof ended->id.bytes});
    return code == ERR_ok ? db_queue(forget, DB_ANY_ROWS) : code;
}

err
factory_mend_take_over(struct factory_mending *factory, const struct factory_ended *ended)
{
    struct db_statement *find = db_statement(factory->db, "SELECT n, status FROM $production WHERE id = ?");
    db_bind_id(find, &ended->id);
    err code = db_query(find);
    bool is_there = code == ERR_ok && db_next(find);
    int64_t n = is_there ? db_i64(find, 0) : 0;
    bool is_open =
        is_there && (slice_equal(db_bytes(find, 1), slice_of("ordered")) || slice_equal(db_bytes(find, 1), slice_of("requested")));
    db_done(find);
    if (code != ERR_ok || (is_there && !is_open)) {
        return code;
    }
    factory->taken++;
    if (is_open) {
        return queue_end(factory, ended, n);
    }
    code = queue_shelf(factory, ended);
    return code == ERR_ok ? queue_insert(factory, ended) : code;
}
