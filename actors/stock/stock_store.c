/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The SQL of stock. Nothing else here knows a table, and nothing is decided here.
 * STATE     The tables of stock_schema.def; the statements; the next numbers of ledger lines and holds, which the writer makes by
 *           itself: what a rolled-back batch used of them is taken back, so that the ledger has no gaps.
 * FAILURES  What the database says is handed on; the caller rolls back. A word in a table that is none of ours is ERR_db_bug.
 * LIMITS    A page of the ledger walks its chain in strides of STRIDE lines, because servers bound recursion at 1,000; milestones
 *           keep the way to a page at 256 lines.
 */
#include "stock_store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "kit/base/memory.h"

#define MILESTONE 256
#define STRIDE 400
#define SQL_MAX 1024
#define PAGE_DEFAULT 100

#define LEVEL_COLUMNS "product, on_hand, reserved, incoming, version, alarm, wanted, reorder_at, order_up_to, lot, last_move"
#define HOLD_COLUMNS "n, hold, line, product, quantity, state, expires, reference"
#define PRODUCTION_COLUMNS "production, product, quantity, state"

enum move_column {
#define COLUMN(name, member, write, read, show) COLUMN_##name,
#include "stock_move.def"
    MOVE_COLUMN_COUNT
};

static const char move_columns[] =
#define COLUMN(name, member, write, read, show) ", " #name
#include "stock_move.def"
    ;

struct stock_store {
    struct db_in *levels_in;
    struct db_in *holds_in;
    struct db_in *productions_in;
    struct db_in *requests_in;

    struct db_statement *page_levels;
    struct db_statement *milestone_from;
    struct db_statement *walk;
    struct db_statement *hold_number;
    struct db_statement *page_holds;

    struct db_rows *level_rows;
    struct db_rows *move_rows;
    struct db_rows *milestone_rows;
    struct db_rows *new_hold_rows;
    struct db_rows *hold_rows;
    struct db_rows *production_rows;

    int64_t next_move;
    int64_t next_move_committed;
    int64_t next_hold;
    int64_t next_hold_committed;
};

static const char *const move_words[MOVE_KIND_COUNT] = {
    [MOVE_TAKE] = "take",       [MOVE_RESERVE] = "reserve",     [MOVE_EXTEND] = "extend",   [MOVE_COMMIT] = "commit",
    [MOVE_RELEASE] = "release", [MOVE_EXPIRE] = "expire",       [MOVE_ADJUST] = "adjust",   [MOVE_COUNT] = "count",
    [MOVE_REFILL] = "refill",   [MOVE_CONFIGURE] = "configure", [MOVE_REFUSED] = "refused", [MOVE_RETURN] = "return",
};

enum move_kind
move_kind_find(struct slice word)
{
    enum move_kind kind = MOVE_TAKE;
    while (kind < MOVE_KIND_COUNT && !slice_equal(word, slice_of(move_words[kind]))) {
        kind++;
    }
    return kind;
}

/* --- life --- */

static const char *
with_columns(const char *before, const char *after, char sql[SQL_MAX])
{
    int size = snprintf(sql, SQL_MAX, "%s%s%s", before, move_columns + 2, after);
    assert(size < SQL_MAX);
    return sql;
}

static void
prepare(struct stock_store *store, struct db *db)
{
    char sql[SQL_MAX];
    store->levels_in = db_in(db, "SELECT " LEVEL_COLUMNS " FROM $level {BY PRIMARY} WHERE product IN (*)");
    store->holds_in = db_in(db, "SELECT " HOLD_COLUMNS " FROM $hold {BY hold} WHERE hold IN (*) ORDER BY hold, line");
    store->productions_in = db_in(db, "SELECT " PRODUCTION_COLUMNS " FROM $production {BY PRIMARY} WHERE production IN (*)");
    store->requests_in =
        db_in(db, with_columns("SELECT ", " FROM $move {BY request} WHERE request IN (*) ORDER BY request, line", sql));

    store->page_levels = db_statement(db, "SELECT " LEVEL_COLUMNS " FROM $level WHERE product > ? ORDER BY product LIMIT ?");
    store->milestone_from =
        db_statement(db, "SELECT n FROM $milestone WHERE product = ? AND version >= ? ORDER BY product, version LIMIT 1");
    store->walk = db_statement(db, with_columns("WITH RECURSIVE walk (n, depth) AS ("
                                                " SELECT n, 1 FROM $move WHERE n = ?"
                                                " UNION ALL"
                                                " SELECT m.previous, w.depth + 1 FROM walk w JOIN $move m ON m.n = w.n"
                                                " WHERE m.previous > 0 AND w.depth < ?"
                                                ") SELECT ",
                                                " FROM $move WHERE n IN (SELECT n FROM walk) ORDER BY n DESC", sql));
    store->hold_number = db_statement(db, "SELECT n FROM $hold WHERE hold = ? AND product = ?");
    store->page_holds = db_statement(db, "SELECT " HOLD_COLUMNS " FROM $hold WHERE product = ? AND state = 'open' AND n > ?"
                                         " ORDER BY product, state, n LIMIT ?");

    store->level_rows = db_rows(db, "REPLACE INTO $level (" LEVEL_COLUMNS ")", 11);
    store->move_rows = db_rows(db, with_columns("INSERT INTO $move (", ")", sql), MOVE_COLUMN_COUNT);
    store->milestone_rows = db_rows(db, "INSERT INTO $milestone (product, version, n)", 3);
    store->new_hold_rows = db_rows(db, "INSERT INTO $hold (" HOLD_COLUMNS ")", 8);
    store->hold_rows = db_rows(db, "REPLACE INTO $hold (" HOLD_COLUMNS ")", 8);
    store->production_rows = db_rows(db, "REPLACE INTO $production (" PRODUCTION_COLUMNS ")", 4);
}

/* One more than the number that the statement reads. */
static err
read_next(struct db *db, const char *sql, int64_t *next)
{
    struct db_statement *statement = db_statement(db, sql);
    err status = db_query(statement);
    if (status != ERR_ok) {
        return status;
    }
    *next = 1;
    if (db_next(statement)) {
        *next = db_i64(statement, 0) + 1;
        db_done(statement);
    }
    return db_settle(db);
}

err
stock_store_open(struct db *db, struct stock_store **store, struct err_text *why)
{
    struct stock_store *made = memory_new(1, sizeof *made);
    err status = read_next(db, "SELECT COALESCE(MAX(n), 0) FROM $move", &made->next_move);
    if (status == ERR_ok) {
        status = read_next(db, "SELECT COALESCE(MAX(n), 0) FROM $hold", &made->next_hold);
    }
    if (status != ERR_ok) {
        free(made);
        return err_say(why, status, "the ledger cannot be read: %s", db_error(db));
    }
    prepare(made, db);
    stock_store_take_over(made);
    *store = made;
    return ERR_ok;
}

void
stock_store_close(struct stock_store **store)
{
    free(*store);
    *store = NULL;
}

void
stock_store_take_over(struct stock_store *store)
{
    store->next_move_committed = store->next_move;
    store->next_hold_committed = store->next_hold;
}

void
stock_store_drop(struct stock_store *store)
{
    store->next_move = store->next_move_committed;
    store->next_hold = store->next_hold_committed;
    db_rows_clear(store->level_rows);
    db_rows_clear(store->move_rows);
    db_rows_clear(store->milestone_rows);
    db_rows_clear(store->new_hold_rows);
    db_rows_clear(store->hold_rows);
    db_rows_clear(store->production_rows);
}

/* --- reading --- */

void
stock_store_want_level(struct stock_store *store, struct slice product)
{
    db_in_text(store->levels_in, product);
}

void
stock_store_want_hold(struct stock_store *store, const struct id *hold)
{
    db_in_id(store->holds_in, hold);
}

void
stock_store_want_production(struct stock_store *store, const struct id *production)
{
    db_in_id(store->productions_in, production);
}

void
stock_store_want_request(struct stock_store *store, const struct id *request)
{
    db_in_id(store->requests_in, request);
}

struct shelf
stock_store_shelf(struct db_statement *row)
{
    struct shelf shelf = {
        .on_hand = db_i64(row, 1),
        .reserved = db_i64(row, 2),
        .incoming = db_i64(row, 3),
        .version = db_i64(row, 4),
        .alarm = (enum alarm)db_i64(row, 5),
        .wanted = db_i64(row, 6),
        .reorder_at = db_i64(row, 7),
        .order_up_to = db_i64(row, 8),
        .lot = db_i64(row, 9),
        .last_move = db_i64(row, 10),
    };
    return shelf;
}

err
stock_store_read_levels(struct stock_store *store, struct level_table *levels)
{
    for (struct db_statement *row; (row = db_in_next(store->levels_in)) != NULL;) {
        struct level *level = stock_levels_add(levels, db_bytes(row, 0));
        level->shelf = stock_store_shelf(row);
        level->exists = true;
    }
    return db_in_end(store->levels_in);
}

err
stock_store_read_holds(struct stock_store *store, void (*found)(void *context, const struct held *hold, const struct held_line *line),
                       void *context)
{
    err status = ERR_ok;
    for (struct db_statement *row; (row = db_in_next(store->holds_in)) != NULL;) {
        struct held_line line = {.n = db_i64(row, 0), .product = db_bytes(row, 3), .quantity = db_i64(row, 4)};
        struct held hold = {
            .id = db_id(row, 1),
            .exists = true,
            .state = hold_state_find(db_bytes(row, 5)),
            .expires_ms = db_i64(row, 6),
            .reference = db_bytes(row, 7),
        };
        if (hold.state == HOLD_STATE_COUNT) {
            status = ERR_db_bug;
        } else {
            found(context, &hold, &line);
        }
    }
    err ended = db_in_end(store->holds_in);
    return ended != ERR_ok ? ended : status;
}

err
stock_store_read_productions(struct stock_store *store, void (*found)(void *context, const struct known_production *production),
                             void *context)
{
    err status = ERR_ok;
    for (struct db_statement *row; (row = db_in_next(store->productions_in)) != NULL;) {
        struct known_production production = {
            .id = db_id(row, 0),
            .product = db_bytes(row, 1),
            .quantity = db_i64(row, 2),
            .state = production_state_find(db_bytes(row, 3)),
        };
        if (production.state == PRODUCTION_STATE_COUNT) {
            status = ERR_db_bug;
        } else {
            found(context, &production);
        }
    }
    err ended = db_in_end(store->productions_in);
    return ended != ERR_ok ? ended : status;
}

static struct move
move_of_row(struct db_statement *row)
{
    struct move found = {0};
    struct move *move = &found;
#define COLUMN(name, member, write, read, show) read;
#include "stock_move.def"
    return found;
}

err
stock_store_read_requests(struct stock_store *store, void (*found)(void *context, const struct move *move), void *context)
{
    err status = ERR_ok;
    for (struct db_statement *row; (row = db_in_next(store->requests_in)) != NULL;) {
        struct move move = move_of_row(row);
        if (move.kind == MOVE_KIND_COUNT) {
            status = ERR_db_bug;
        } else {
            found(context, &move);
        }
    }
    err ended = db_in_end(store->requests_in);
    return ended != ERR_ok ? ended : status;
}

/* --- pages --- */

err
stock_store_page_levels(struct stock_store *store, const struct wire_stock_list *ask, struct wire_buffer *elements,
                        struct wire_stock_levels *page)
{
    int64_t limit = WIRE_HAS(ask, stock_list, limit) ? ask->limit : PAGE_DEFAULT;
    db_bind_text(store->page_levels, WIRE_HAS(ask, stock_list, after) ? ask->after : slice_of(""));
    db_bind_i64(store->page_levels, limit + 1);
    err status = db_query(store->page_levels);
    if (status != ERR_ok) {
        return status;
    }
    struct wire_list list = {0};
    bool has_more = false;
    while (db_next(store->page_levels)) {
        has_more = list.count == limit;
        if (has_more) {
            continue;
        }
        struct shelf shelf = stock_store_shelf(store->page_levels);
        struct wire_stock_level level = stock_levels_show(db_bytes(store->page_levels, 0), &shelf, true);
        wire_list_add(&list, &stock_level_body, &level, elements);
    }
    wire_list_end(&list, elements);
    *page = (struct wire_stock_levels){0};
    WIRE_SET(page, stock_levels, levels, list);
    WIRE_SET(page, stock_levels, has_more, has_more);
    return ERR_ok;
}

static struct wire_stock_move
show_move(const struct move *move)
{
    struct wire_stock_move shown = {0};
#define COLUMN(name, member, write, read, show) show;
#include "stock_move.def"
    return shown;
}

/* The line from which the way to the lines older than version `before` is short. */
static err
find_start(struct stock_store *store, const struct wire_stock_moves *ask, int64_t newest, int64_t *start)
{
    *start = newest;
    if (!WIRE_HAS(ask, stock_moves, before)) {
        return ERR_ok;
    }
    db_bind_text(store->milestone_from, ask->product);
    db_bind_i64(store->milestone_from, ask->before - 1);
    err status = db_query(store->milestone_from);
    if (status != ERR_ok) {
        return status;
    }
    while (db_next(store->milestone_from)) {
        *start = db_i64(store->milestone_from, 0);
    }
    return ERR_ok;
}

/* One page under construction. */
struct walk {
    int64_t before;
    int64_t limit;
    int64_t next; /* line to go on from; 0 at the end of the chain */
    bool has_more;
    struct wire_list list;
    struct wire_buffer *elements;
};

static err
walk_stride(struct stock_store *store, struct walk *walk)
{
    db_bind_i64(store->walk, walk->next);
    db_bind_i64(store->walk, STRIDE);
    err status = db_query(store->walk);
    if (status != ERR_ok) {
        return status;
    }
    walk->next = 0;
    while (db_next(store->walk)) {
        struct move move = move_of_row(store->walk);
        if (move.kind == MOVE_KIND_COUNT) {
            status = ERR_db_bug;
            continue;
        }
        walk->next = move.previous;
        if (move.version >= walk->before) {
            continue;
        }
        if (walk->list.count == walk->limit) {
            walk->has_more = true;
            continue;
        }
        struct wire_stock_move shown = show_move(&move);
        wire_list_add(&walk->list, &stock_move_body, &shown, walk->elements);
    }
    return status;
}

err
stock_store_page_moves(struct stock_store *store, const struct wire_stock_moves *ask, int64_t newest, struct wire_buffer *elements,
                       struct wire_stock_ledger *page)
{
    struct walk walk = {
        .before = WIRE_HAS(ask, stock_moves, before) ? ask->before : NUMBER_MAX,
        .limit = WIRE_HAS(ask, stock_moves, limit) ? ask->limit : PAGE_DEFAULT,
        .elements = elements,
    };
    err status = find_start(store, ask, newest, &walk.next);
    while (status == ERR_ok && walk.next > 0 && !walk.has_more) {
        status = walk_stride(store, &walk);
    }
    if (status != ERR_ok) {
        return status;
    }
    wire_list_end(&walk.list, elements);
    *page = (struct wire_stock_ledger){0};
    WIRE_SET(page, stock_ledger, moves, walk.list);
    WIRE_SET(page, stock_ledger, has_more, walk.has_more);
    return ERR_ok;
}

static err
find_hold(struct stock_store *store, const struct wire_stock_holds *ask, int64_t *n)
{
    *n = 0;
    if (!WIRE_HAS(ask, stock_holds, after)) {
        return ERR_ok;
    }
    db_bind_id(store->hold_number, &ask->after);
    db_bind_text(store->hold_number, ask->product);
    err status = db_query(store->hold_number);
    if (status != ERR_ok) {
        return status;
    }
    while (db_next(store->hold_number)) {
        *n = db_i64(store->hold_number, 0);
    }
    return *n == 0 ? ERR_unknown_hold : ERR_ok;
}

static struct wire_stock_hold
show_hold(struct db_statement *row)
{
    struct wire_stock_hold shown = {0};
    WIRE_SET(&shown, stock_hold, hold, db_id(row, 1));
    WIRE_SET(&shown, stock_hold, product, db_bytes(row, 3));
    WIRE_SET(&shown, stock_hold, quantity, db_i64(row, 4));
    WIRE_SET(&shown, stock_hold, expires, db_i64(row, 6));
    if (!db_is_null(row, 7)) {
        WIRE_SET(&shown, stock_hold, reference, db_bytes(row, 7));
    }
    return shown;
}

err
stock_store_page_holds(struct stock_store *store, const struct wire_stock_holds *ask, struct wire_buffer *elements,
                       struct wire_stock_hold_page *page)
{
    int64_t limit = WIRE_HAS(ask, stock_holds, limit) ? ask->limit : PAGE_DEFAULT;
    int64_t after = 0;
    err status = find_hold(store, ask, &after);
    if (status != ERR_ok) {
        return status;
    }
    db_bind_text(store->page_holds, ask->product);
    db_bind_i64(store->page_holds, after);
    db_bind_i64(store->page_holds, limit + 1);
    status = db_query(store->page_holds);
    if (status != ERR_ok) {
        return status;
    }
    struct wire_list list = {0};
    bool has_more = false;
    while (db_next(store->page_holds)) {
        has_more = list.count == limit;
        if (has_more) {
            continue;
        }
        struct wire_stock_hold hold = show_hold(store->page_holds);
        wire_list_add(&list, &stock_hold_body, &hold, elements);
    }
    wire_list_end(&list, elements);
    *page = (struct wire_stock_hold_page){0};
    WIRE_SET(page, stock_hold_page, holds, list);
    WIRE_SET(page, stock_hold_page, has_more, has_more);
    return ERR_ok;
}

/* --- writing --- */

int64_t
stock_store_next_move(const struct stock_store *store)
{
    return store->next_move;
}

static void
text_or_null(struct db_rows *rows, struct slice text)
{
    if (text.size > 0) {
        db_rows_text(rows, text);
    } else {
        db_rows_null(rows);
    }
}

void
stock_store_add_move(struct stock_store *store, struct move *move)
{
    struct db_rows *rows = store->move_rows;
    move->n = store->next_move++;
#define COLUMN(name, member, write, read, show) write;
#include "stock_move.def"
    if (move->version > 0 && move->version % MILESTONE == 0) {
        db_rows_text(store->milestone_rows, move->product);
        db_rows_i64(store->milestone_rows, move->version);
        db_rows_i64(store->milestone_rows, move->n);
    }
}

int64_t
stock_store_next_hold_line(struct stock_store *store)
{
    return store->next_hold++;
}

void
stock_store_add_hold(struct stock_store *store, const struct held *hold)
{
    struct db_rows *rows = hold->is_new ? store->new_hold_rows : store->hold_rows;
    for (size_t i = 0; i < hold->line_count; i++) {
        db_rows_i64(rows, hold->lines[i].n);
        db_rows_id(rows, &hold->id);
        db_rows_i64(rows, (int64_t)i);
        db_rows_text(rows, hold->lines[i].product);
        db_rows_i64(rows, hold->lines[i].quantity);
        db_rows_text(rows, slice_of(hold_state_word(hold->state)));
        db_rows_i64(rows, hold->expires_ms);
        text_or_null(rows, hold->reference);
    }
}

void
stock_store_add_production(struct stock_store *store, const struct known_production *production)
{
    db_rows_id(store->production_rows, &production->id);
    db_rows_text(store->production_rows, production->product);
    db_rows_i64(store->production_rows, production->quantity);
    db_rows_text(store->production_rows, slice_of(production_state_word(production->state)));
}

static void
add_level(struct stock_store *store, const struct level *level)
{
    struct db_rows *rows = store->level_rows;
    const struct shelf *shelf = &level->shelf;
    db_rows_text(rows, level_product(level));
    db_rows_i64(rows, shelf->on_hand);
    db_rows_i64(rows, shelf->reserved);
    db_rows_i64(rows, shelf->incoming);
    db_rows_i64(rows, shelf->version);
    db_rows_i64(rows, shelf->alarm);
    db_rows_i64(rows, shelf->wanted);
    db_rows_i64(rows, shelf->reorder_at);
    db_rows_i64(rows, shelf->order_up_to);
    db_rows_i64(rows, shelf->lot);
    db_rows_i64(rows, shelf->last_move);
}

err
stock_store_queue(struct stock_store *store, const struct level_table *levels)
{
    for (size_t i = 0; i < stock_levels_touched_count(levels); i++) {
        add_level(store, stock_levels_touched(levels, i));
    }
    struct db_rows *const in_order[] = {store->level_rows,    store->move_rows, store->milestone_rows,
                                        store->new_hold_rows, store->hold_rows, store->production_rows};
    err status = ERR_ok;
    for (size_t i = 0; i < sizeof in_order / sizeof in_order[0] && status == ERR_ok; i++) {
        status = db_rows_queue(in_order[i]);
    }
    return status;
}
