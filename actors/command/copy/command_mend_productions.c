/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Lets a factory that was copied before stock know what stock has counted of it. The ids of productions come of the alarms that
 *   caused them: the factory is told those alarms once more, and would make refills that stock takes for the ones that it has counted,
 *   so the shelf would stay empty for good.
 *
 * STATE
 *   Reads $production of stock's shards; writes $production and $shelf of the factory, and takes away $due of what has ended.
 *
 * FAILURES
 *   Those of the databases.
 *
 * LIMITS
 *   When it was ordered is gone: the moment of the mending stands for it. What was under way in what is gone is ordered once more by
 *   its alarm; what a person had ordered is named by `larder verify`.
 */
#include "command_mend_productions.h"

#include <stdio.h>
#include <string.h>

#include "kit/base/clock.h"

enum { PAGE_ROWS = 200 };

static const char told_by_stock[] = "taken from what stock has counted";

struct ended {
    struct id id;
    char product[WIRE_NAME_MAX + 1];
    char state[17]; /* produced or failed */
    int64_t quantity;
};

struct factory_side {
    struct installation_part *part;
    int64_t last_n;
    int64_t moment_ms;
    int64_t taken;
};

static err
read_number(struct db_statement *read, int64_t *number)
{
    err code = db_query(read);
    *number = code == ERR_ok && db_next(read) && !db_is_null(read, 0) ? db_i64(read, 0) : 0;
    db_done(read);
    return code;
}

static err
queue_insert(struct factory_side *factory, const struct ended *ended)
{
    struct db_statement *insert = db_statement(
        factory->part->db, "INSERT INTO $production (n, id, product, quantity, status, ordered_at, due_at, done_at, attempts,"
                           " error, accepted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, 0)");
    db_bind_i64(insert, ++factory->last_n);
    db_bind_id(insert, &ended->id);
    db_bind_text(insert, slice_of(ended->product));
    db_bind_i64(insert, ended->quantity);
    db_bind_text(insert, slice_of(ended->state));
    db_bind_i64(insert, factory->moment_ms);
    db_bind_i64(insert, factory->moment_ms);
    db_bind_i64(insert, factory->moment_ms);
    db_bind_text(insert, slice_of(told_by_stock));
    return db_queue(insert, 1);
}

/* A product of which the factory had heard nothing: no event of it is in its stream. */
static err
queue_shelf(struct factory_side *factory, const struct ended *ended)
{
    int64_t count = 0;
    struct db_statement *find = db_statement(factory->part->db, "SELECT COUNT(*) FROM $shelf WHERE product = ?");
    db_bind_text(find, slice_of(ended->product));
    err code = read_number(find, &count);
    if (code != ERR_ok || count > 0) {
        return code;
    }
    struct db_statement *put =
        db_statement(factory->part->db, "INSERT INTO $shelf (product, open_production, last_seq) VALUES (?, 0, 0)");
    db_bind_text(put, slice_of(ended->product));
    return db_queue(put, 1);
}

/* It was still open when the factory was copied. */
static err
queue_end(struct factory_side *factory, const struct ended *ended, int64_t n)
{
    struct db *db = factory->part->db;
    struct db_statement *end = db_statement(db, "UPDATE $production SET status = ?, done_at = ?, error = ? WHERE n = ?");
    db_bind_text(end, slice_of(ended->state));
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

static err
take_over(struct factory_side *factory, const struct ended *ended)
{
    struct db_statement *find = db_statement(factory->part->db, "SELECT n, status FROM $production WHERE id = ?");
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

/* A page of one shard of stock, in the order of the ids. */
static err
read_page(struct installation_part *stock, const struct id *behind, struct ended page[PAGE_ROWS], size_t *count)
{
    struct db_statement *read =
        db_statement(stock->db, "SELECT production, product, quantity, state FROM $production WHERE production > ?"
                                " AND state IN ('produced', 'failed') ORDER BY production LIMIT ?");
    db_bind_id(read, behind);
    db_bind_i64(read, PAGE_ROWS);
    err code = db_query(read);
    for (*count = 0; code == ERR_ok && *count < PAGE_ROWS && db_next(read); (*count)++) {
        struct ended *ended = &page[*count];
        struct slice product = db_bytes(read, 1);
        struct slice state = db_bytes(read, 3);
        *ended = (struct ended){.id = db_id(read, 0), .quantity = db_i64(read, 2)};
        snprintf(ended->product, sizeof ended->product, "%.*s", (int)product.size, (const char *)product.data);
        snprintf(ended->state, sizeof ended->state, "%.*s", (int)state.size, (const char *)state.data);
    }
    db_done(read);
    return code;
}

static err
take_over_shard(struct factory_side *factory, struct installation_part *stock)
{
    struct ended page[PAGE_ROWS];
    struct id behind = {{0}};
    size_t count = PAGE_ROWS;
    err code = ERR_ok;
    while (code == ERR_ok && count == PAGE_ROWS) {
        code = read_page(stock, &behind, page, &count);
        for (size_t i = 0; code == ERR_ok && i < count; i++) {
            code = page[i].quantity > 0 ? take_over(factory, &page[i]) : ERR_ok;
            behind = page[i].id;
        }
        code = code == ERR_ok ? db_commit(factory->part->db) : code;
    }
    return code;
}

err
command_mend_productions(struct installation *installation, struct err_text *why)
{
    struct factory_side factory = {.part = installation_find(installation, slice_of("factory/0")), .moment_ms = clock_utc_ms()};
    if (factory.part == NULL) {
        return ERR_ok;
    }
    err code = read_number(db_statement(factory.part->db, "SELECT MAX(n) FROM $production"), &factory.last_n);
    for (size_t i = 0; code == ERR_ok && i < installation->count; i++) {
        if (strcmp(installation->parts[i].class->name, "stock") == 0) {
            code = take_over_shard(&factory, &installation->parts[i]);
        }
    }
    if (code != ERR_ok) {
        return err_say(why, code, "factory/0: its productions cannot be mended: %.300s", db_error(factory.part->db));
    }
    if (factory.taken > 0) {
        printf("factory/0 did not know the end of %lld productions that stock has counted: it does now\n", (long long)factory.taken);
    }
    return ERR_ok;
}
