/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   All SQL of the order actor, in the subset that both engines share.
 * STATE     The tables of order_schema.c; the next numbers of orders, requests and stray charges, made by the writer: what a dropped
 *           batch took of them is read again.
 * FAILURES  Errors of the database go up; the kit rolls back. A word in a table that nobody writes was changed by hand: ERR_db_bug,
 *           and verify names it.
 * LIMITS    Orders are read in one statement for all of a batch, their lines in a second.
 */
#include "order_store.h"

#include <stdlib.h>

#include "kit/base/memory.h"
#include "kit/telemetry/log.h"

/* clang-format off */
#define COLUMNS \
    "n, id, status, saga, back, round, holds, sold, tries, money, told, reason, total, currency, method, note, customer, charge," \
    " charge_round, request, fingerprint, placed, changed, deadline, version, entries, entered, fingerprint_kind"
#define CHANGES \
    "saga = ?, back = ?, round = ?, holds = ?, sold = ?, tries = ?, money = ?, told = ?, reason = ?, method = ?, charge = ?," \
    " charge_round = ?, request = ?, changed = ?, deadline = ?, version = ?, entries = ?, entered = ?"
/* clang-format on */
enum { COLUMN_COUNT = 28, REQUEST_COLUMNS = 7 };

struct order_store {
    struct db *db;
    int shards;
    struct db_in *orders_in;
    struct db_in *lines_in;
    struct db_in *requests_in;
    struct db_in *forgotten_in;
    struct db_rows *order_rows;
    struct db_rows *line_rows;
    struct db_rows *entry_rows;
    struct db_rows *request_rows;
    int64_t next_n; /* 0: to be read */
    int64_t next_request;
    int64_t next_stray;
};

static const char *const stray_states[] = {[STRAY_REFUNDING] = "refunding", [STRAY_REFUNDED] = "refunded", [STRAY_STUCK] = "stuck"};

/* --- life --- */

struct order_store *
order_store_create(struct db *db, int shards)
{
    struct order_store *store = memory_new(1, sizeof *store);
    store->db = db;
    store->shards = shards;
    store->orders_in = db_in(db, "SELECT " COLUMNS " FROM $order {BY id} WHERE id IN (*)");
    store->lines_in = db_in(db, "SELECT o.id, l.product, l.name, l.quantity, l.amount, o.currency FROM $order o {BY id}"
                                " JOIN $line l {BY PRIMARY} ON l.n = o.n WHERE o.id IN (*) ORDER BY l.n, l.line");
    store->requests_in =
        db_in(db, "SELECT id, order_id, fingerprint, fingerprint_kind, status, frame FROM $request {BY id} WHERE id IN (*)");
    store->forgotten_in = db_in(db, "SELECT customer FROM $forgotten WHERE customer IN (*)");
    store->order_rows = db_rows(db, "INSERT INTO $order (" COLUMNS ")", COLUMN_COUNT);
    store->line_rows = db_rows(db, "INSERT INTO $line (n, line, product, name, quantity, amount)", 6);
    store->entry_rows = db_rows(db, "INSERT INTO $entry (n, k, time, what, outcome, status, detail)", 7);
    store->request_rows =
        db_rows(db, "INSERT INTO $request (n, id, order_id, fingerprint, fingerprint_kind, status, frame)", REQUEST_COLUMNS);
    return store;
}

void
order_store_destroy(struct order_store **store)
{
    free(*store);
    *store = NULL;
}

void
order_store_dropped(struct order_store *store)
{
    store->next_n = store->next_request = store->next_stray = 0;
}

/* The next number of a table, read when it is not known. */
static err
next_number(struct order_store *store, const char *sql, int64_t *next, int64_t *taken)
{
    if (*next == 0) {
        struct db_statement *read = db_statement(store->db, sql);
        err code = db_query(read);
        if (code != ERR_ok) {
            return code;
        }
        *next = db_next(read) ? db_i64(read, 0) + 1 : 1;
        db_done(read);
    }
    *taken = (*next)++;
    return ERR_ok;
}

err
order_store_next_n(struct order_store *store, int64_t *n)
{
    return next_number(store, "SELECT COALESCE(MAX(n), 0) FROM $order", &store->next_n, n);
}

/* --- reading --- */

static void
copy_text(struct db_statement *from, int column, char *to, size_t size)
{
    struct slice text = db_bytes(from, column);
    size_t length = text.size < size - 1 ? text.size : size - 1;
    if (length > 0) {
        memcpy(to, text.data, length);
    }
    to[length] = '\0';
}

/* A row of COLUMNS. ERR_db_bug: a word that nobody writes. */
static err
read_row(struct db_statement *from, struct order_row *row)
{
    row->n = db_i64(from, 0);
    row->id = db_id(from, 1);
    row->status = order_status_find(db_bytes(from, 2));
    row->saga = saga_state_find(db_bytes(from, 3));
    row->back = saga_state_find(db_bytes(from, 4));
    row->round = db_i64(from, 5);
    row->holds = db_i64(from, 6);
    row->sold = db_i64(from, 7);
    row->tries = db_i64(from, 8);
    row->money = (enum order_money)db_i64(from, 9);
    row->told = db_i64(from, 10);
    copy_text(from, 11, row->reason, sizeof row->reason);
    row->total = db_i64(from, 12);
    copy_text(from, 13, row->currency, sizeof row->currency);
    copy_text(from, 14, row->method, sizeof row->method);
    if (!db_is_null(from, 15)) {
        order_row_set_note(row, db_bytes(from, 15));
    }
    row->has_customer = !db_is_null(from, 16);
    row->customer = db_id(from, 16);
    row->has_charge = !db_is_null(from, 17);
    row->charge = db_id(from, 17);
    row->charge_round = db_i64(from, 18);
    row->request = db_id(from, 19);
    row->fingerprint = (struct fingerprint){.hash = (uint64_t)db_i64(from, 20), .kind = db_i64(from, 27)};
    row->placed_ms = db_i64(from, 21);
    row->changed_ms = db_i64(from, 22);
    row->deadline_ms = db_i64(from, 23);
    row->version = db_i64(from, 24);
    row->entries = db_i64(from, 25);
    row->entered_ms = db_i64(from, 26) > 0 ? db_i64(from, 26) : row->changed_ms;
    row->status_disk = row->status;
    row->again = UINT64_MAX;
    row->due_ms = row->due_disk_ms = ORDER_DUE_UNKNOWN;
    if (row->status == ORDER_STATUS_COUNT || row->saga == SAGA_STATE_COUNT) {
        log_error("order_is_nonsense", LOG_ID("order", &row->id), LOG_SLICE("status", db_bytes(from, 2)),
                  LOG_SLICE("saga", db_bytes(from, 3)));
        return ERR_db_bug;
    }
    return ERR_ok;
}

/* Lines of one order after the other, collected until the next order begins. */
struct line_reader {
    const struct order_store *store;
    struct order_row *(*find)(void *context, const struct id *id);
    void *context;
    struct wire_buffer bytes;
    struct wire_list lines;
    struct order_row *row;
};

static void
finish_lines(struct line_reader *reader)
{
    if (reader->row != NULL) {
        wire_list_end(&reader->lines, &reader->bytes);
        order_row_set_lines(reader->row, reader->lines, reader->store->shards);
    }
    reader->bytes.size = 0;
    reader->lines = (struct wire_list){0};
}

static err
read_lines(struct order_store *store, struct line_reader *reader)
{
    reader->store = store;
    for (struct db_statement *from = db_in_next(store->lines_in); from != NULL; from = db_in_next(store->lines_in)) {
        struct id id = db_id(from, 0);
        if (reader->row == NULL || !id_equal(&reader->row->id, &id)) {
            finish_lines(reader);
            reader->row = reader->find(reader->context, &id);
        }
        struct wire_order_item item = {0};
        struct wire_money price = {0};
        WIRE_SET(&price, money, amount, db_i64(from, 4));
        WIRE_SET(&price, money, currency, db_bytes(from, 5));
        WIRE_SET(&item, order_item, product, db_bytes(from, 1));
        WIRE_SET(&item, order_item, name, db_bytes(from, 2));
        WIRE_SET(&item, order_item, quantity, db_i64(from, 3));
        WIRE_SET(&item, order_item, unit_price, price);
        wire_list_add(&reader->lines, &order_item_body, &item, &reader->bytes);
    }
    finish_lines(reader);
    wire_buffer_fini(&reader->bytes);
    return db_in_end(store->lines_in);
}

/* A row is in the cache before its lines are read: found among those that have none yet. */
static struct order_row *
find_cached(void *context, const struct id *id)
{
    struct order_row *row = order_cache_find(context, id);
    return row != NULL && row->lines.count == 0 ? row : NULL;
}

void
order_store_want(struct order_store *store, const struct id *id)
{
    db_in_id(store->orders_in, id);
}

err
order_store_read(struct order_store *store, struct order_cache *cache)
{
    bool has_some = false;
    err code = ERR_ok;
    for (struct db_statement *from = db_in_next(store->orders_in); from != NULL; from = db_in_next(store->orders_in)) {
        struct id id = db_id(from, 1);
        if (order_cache_find(cache, &id) != NULL) {
            continue;
        }
        struct order_row *row = order_row_create();
        err found = read_row(from, row);
        if (found != ERR_ok) {
            order_row_destroy(&row);
            code = found;
            continue;
        }
        order_cache_add(cache, row);
        db_in_id(store->lines_in, &row->id);
        has_some = true;
    }
    err ended = db_in_end(store->orders_in);
    struct line_reader reader = {.find = find_cached, .context = cache};
    if (ended == ERR_ok && has_some) {
        ended = read_lines(store, &reader);
    }
    return ended == ERR_ok ? code : ended;
}

err
order_store_get_n(struct order_store *store, int64_t n, struct order_cache *cache, struct order_row **row)
{
    *row = order_cache_find_n(cache, n);
    if (*row != NULL) {
        return ERR_ok;
    }
    struct db_statement *read = db_statement(store->db, "SELECT id FROM $order WHERE n = ?");
    db_bind_i64(read, n);
    err code = db_query(read);
    if (code != ERR_ok || !db_next(read)) {
        return code;
    }
    struct id id = db_id(read, 0);
    db_done(read);
    order_store_want(store, &id);
    code = order_store_read(store, cache);
    *row = code == ERR_ok ? order_cache_find(cache, &id) : NULL;
    return code;
}

/* Ids that a statement brings; those that are not in memory are read in a second one. */
static err
find_ids(struct order_store *store, struct order_cache *cache, struct db_statement *read, struct order_found *found)
{
    found->count = 0;
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct slice bytes = db_bytes(read, 0);
        if (bytes.size == ID_SIZE && (int64_t)found->count < found->limit) {
            struct id *id = &found->ids[found->count++];
            memcpy(id->bytes, bytes.data, ID_SIZE);
            if (order_cache_find(cache, id) == NULL) {
                order_store_want(store, id);
            }
        }
    }
    return code == ERR_ok ? order_store_read(store, cache) : code;
}

err
order_store_find_of_customer(struct order_store *store, struct order_cache *cache, const struct id *customer,
                             struct order_found *found)
{
    struct db_statement *read = db_statement(store->db, "SELECT id FROM $order WHERE customer = ? ORDER BY n LIMIT ?");
    db_bind_id(read, customer);
    db_bind_i64(read, found->limit);
    return find_ids(store, cache, read, found);
}

err
order_store_find_open(struct order_store *store, struct order_cache *cache, struct slice after, struct order_found *found)
{
    struct db_statement *read =
        db_statement(store->db, "SELECT due_key FROM $due WHERE owner = 'saga' AND due_key > ? ORDER BY due_key LIMIT ?");
    db_bind_bytes(read, after);
    db_bind_i64(read, found->limit);
    err code = find_ids(store, cache, read, found);
    return code == ERR_db_bug && found->count > 0 ? ERR_ok : code;
}

err
order_store_see_open(struct order_store *store, struct slice after, int64_t limit,
                     void (*see)(void *context, const struct order_open *open), void *context)
{
    struct db_statement *read =
        db_statement(store->db, "SELECT d.due_key, o.saga, CASE WHEN o.entered > 0 THEN o.entered ELSE o.changed END, o.deadline"
                                " FROM $due d LEFT JOIN $order o {BY id} ON o.id = d.due_key"
                                " WHERE d.owner = 'saga' AND d.due_key > ? ORDER BY d.due_key LIMIT ?");
    db_bind_bytes(read, after);
    db_bind_i64(read, limit);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct order_open open = {.id = db_id(read, 0), .saga = saga_state_find(db_bytes(read, 1))};
        open.entered_ms = db_i64(read, 2);
        open.deadline_ms = db_i64(read, 3);
        see(context, &open);
    }
    return code;
}

err
order_store_find_in_kitchen(struct order_store *store, struct order_cache *cache, int64_t each, struct order_found *found)
{
#define OF_STATUS(status) \
    "SELECT id FROM (SELECT id FROM $order {BY order_status} WHERE status = '" status "' ORDER BY n LIMIT ?) AS " status
    struct db_statement *read =
        db_statement(store->db, OF_STATUS("ready") " UNION ALL " OF_STATUS("in_preparation") " UNION ALL " OF_STATUS("received"));
#undef OF_STATUS
    for (int i = 0; i < 3; i++) {
        db_bind_i64(read, each);
    }
    return find_ids(store, cache, read, found);
}

/* --- pages --- */

struct page_finder {
    struct order_row **rows;
    size_t count;
};

static struct order_row *
find_in_page(void *context, const struct id *id)
{
    const struct page_finder *page = context;
    for (size_t i = 0; i < page->count; i++) {
        if (id_equal(&page->rows[i]->id, id)) {
            return page->rows[i];
        }
    }
    return NULL;
}

static struct db_statement *
page_statement(struct order_store *store, const struct order_page_query *query)
{
    if (query->status == ORDER_STATUS_COUNT && query->customer == NULL) {
        return db_statement(store->db, "SELECT " COLUMNS " FROM $order {BY PRIMARY} WHERE n < ? ORDER BY n DESC LIMIT ?");
    }
    if (query->customer == NULL) {
        return db_statement(store->db,
                            "SELECT " COLUMNS " FROM $order {BY order_status} WHERE status = ? AND n < ? ORDER BY n DESC LIMIT ?");
    }
    if (query->status == ORDER_STATUS_COUNT) {
        return db_statement(store->db,
                            "SELECT " COLUMNS " FROM $order {BY order_customer} WHERE customer = ? AND n < ? ORDER BY n DESC LIMIT ?");
    }
    return db_statement(store->db,
                        "SELECT " COLUMNS
                        " FROM $order {BY order_customer} WHERE customer = ? AND status = ? AND n < ? ORDER BY n DESC LIMIT ?");
}

err
order_store_page(struct order_store *store, const struct order_page_query *query, struct order_row **rows, size_t *count)
{
    struct db_statement *read = page_statement(store, query);
    size_t first = *count;
    if (query->customer != NULL) {
        db_bind_id(read, query->customer);
    }
    if (query->status != ORDER_STATUS_COUNT) {
        db_bind_text(read, slice_of(order_status_name(query->status)));
    }
    db_bind_i64(read, query->before);
    db_bind_i64(read, query->limit);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct order_row *row = order_row_create();
        code = read_row(read, row);
        if (code != ERR_ok) {
            order_row_destroy(&row);
            db_done(read);
            return code;
        }
        rows[(*count)++] = row;
        db_in_id(store->lines_in, &row->id);
    }
    struct page_finder finder = {rows + first, *count - first};
    struct line_reader reader = {.find = find_in_page, .context = &finder};
    return code == ERR_ok && *count > first ? read_lines(store, &reader) : code;
}

err
order_store_entries(struct order_store *store, int64_t n, int64_t after, int64_t limit,
                    void (*see)(void *context, const struct wire_order_entry *entry), void *context)
{
    struct db_statement *read = db_statement(
        store->db, "SELECT k, time, what, outcome, status, detail FROM $entry WHERE n = ? AND k > ? ORDER BY n, k LIMIT ?");
    db_bind_i64(read, n);
    db_bind_i64(read, after);
    db_bind_i64(read, limit);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct wire_order_entry entry = {0};
        WIRE_SET(&entry, order_entry, n, db_i64(read, 0));
        WIRE_SET(&entry, order_entry, time, db_i64(read, 1));
        WIRE_SET(&entry, order_entry, what, db_bytes(read, 2));
        WIRE_SET(&entry, order_entry, outcome, db_bytes(read, 3));
        WIRE_SET(&entry, order_entry, status, db_bytes(read, 4));
        if (!db_is_null(read, 5)) {
            WIRE_SET(&entry, order_entry, detail, db_bytes(read, 5));
        }
        see(context, &entry);
    }
    return code;
}

/* --- writing --- */

static struct slice
back_name(const struct order_row *row)
{
    return slice_of(row->back == SAGA_STATE_COUNT ? "" : saga_steps[row->back].name);
}

static void
insert_lines(struct order_store *store, const struct order_row *row)
{
    struct wire_list left = row->lines;
    struct wire_order_item item;
    for (int64_t line = 1; wire_list_next(&left, &order_item_body, &item); line++) {
        db_rows_i64(store->line_rows, row->n);
        db_rows_i64(store->line_rows, line);
        db_rows_text(store->line_rows, item.product);
        db_rows_text(store->line_rows, item.name);
        db_rows_i64(store->line_rows, item.quantity);
        db_rows_i64(store->line_rows, item.unit_price.amount);
    }
}

void
order_store_insert(struct order_store *store, const struct order_row *row)
{
    struct db_rows *rows = store->order_rows;
    db_rows_i64(rows, row->n);
    db_rows_id(rows, &row->id);
    db_rows_text(rows, slice_of(order_status_name(row->status)));
    db_rows_text(rows, slice_of(saga_steps[row->saga].name));
    db_rows_text(rows, back_name(row));
    db_rows_i64(rows, row->round);
    db_rows_i64(rows, row->holds);
    db_rows_i64(rows, row->sold);
    db_rows_i64(rows, row->tries);
    db_rows_i64(rows, (int64_t)row->money);
    db_rows_i64(rows, row->told);
    db_rows_text(rows, slice_of(row->reason));
    db_rows_i64(rows, row->total);
    db_rows_text(rows, slice_of(row->currency));
    db_rows_text(rows, slice_of(row->method));
    if (row->has_note) {
        db_rows_text(rows, row->note);
    } else {
        db_rows_null(rows);
    }
    if (row->has_customer) {
        db_rows_id(rows, &row->customer);
    } else {
        db_rows_null(rows);
    }
    if (row->has_charge) {
        db_rows_id(rows, &row->charge);
    } else {
        db_rows_null(rows);
    }
    db_rows_i64(rows, row->charge_round);
    db_rows_id(rows, &row->request);
    db_rows_i64(rows, (int64_t)row->fingerprint.hash);
    db_rows_i64(rows, row->placed_ms);
    db_rows_i64(rows, row->changed_ms);
    db_rows_i64(rows, row->deadline_ms);
    db_rows_i64(rows, row->version);
    db_rows_i64(rows, row->entries);
    db_rows_i64(rows, row->entered_ms);
    db_rows_i64(rows, row->fingerprint.kind);
    insert_lines(store, row);
}

err
order_store_update(struct order_store *store, const struct order_row *row, bool has_status_changed)
{
    struct db_statement *update = has_status_changed ? db_statement(store->db, "UPDATE $order SET status = ?, " CHANGES " WHERE n = ?")
                                                     : db_statement(store->db, "UPDATE $order SET " CHANGES " WHERE n = ?");
    if (has_status_changed) {
        db_bind_text(update, slice_of(order_status_name(row->status)));
    }
    db_bind_text(update, slice_of(saga_steps[row->saga].name));
    db_bind_text(update, back_name(row));
    db_bind_i64(update, row->round);
    db_bind_i64(update, row->holds);
    db_bind_i64(update, row->sold);
    db_bind_i64(update, row->tries);
    db_bind_i64(update, (int64_t)row->money);
    db_bind_i64(update, row->told);
    db_bind_text(update, slice_of(row->reason));
    db_bind_text(update, slice_of(row->method));
    if (row->has_charge) {
        db_bind_id(update, &row->charge);
    } else {
        db_bind_null(update);
    }
    db_bind_i64(update, row->charge_round);
    db_bind_id(update, &row->request);
    db_bind_i64(update, row->changed_ms);
    db_bind_i64(update, row->deadline_ms);
    db_bind_i64(update, row->version);
    db_bind_i64(update, row->entries);
    db_bind_i64(update, row->entered_ms);
    db_bind_i64(update, row->n);
    return db_queue(update, 1);
}

err
order_store_update_person(struct order_store *store, const struct order_row *row)
{
    struct db_statement *update = db_statement(store->db, "UPDATE $order SET customer = ?, note = ? WHERE n = ?");
    if (row->has_customer) {
        db_bind_id(update, &row->customer);
    } else {
        db_bind_null(update);
    }
    if (row->has_note) {
        db_bind_text(update, row->note);
    } else {
        db_bind_null(update);
    }
    db_bind_i64(update, row->n);
    return db_queue(update, 1);
}

void
order_store_add_note(struct order_store *store, const struct order_note *note)
{
    struct db_rows *rows = store->entry_rows;
    db_rows_i64(rows, note->n);
    db_rows_i64(rows, note->k);
    db_rows_i64(rows, note->time_ms);
    db_rows_text(rows, slice_of(note->what));
    db_rows_text(rows, slice_of(note->outcome));
    db_rows_text(rows, slice_of(order_status_name(note->status)));
    if (note->detail.size > 0) {
        db_rows_text(rows, note->detail);
    } else {
        db_rows_null(rows);
    }
}

err
order_store_queue(struct order_store *store)
{
    struct db_rows *const rows[] = {store->order_rows, store->line_rows, store->entry_rows, store->request_rows};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        err code = db_rows_queue(rows[i]);
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

/* --- requests --- */

void
order_store_want_request(struct order_store *store, const struct id *request)
{
    db_in_id(store->requests_in, request);
}

err
order_store_read_requests(struct order_store *store, void (*see)(void *context, const struct order_answer *answer), void *context)
{
    for (struct db_statement *from = db_in_next(store->requests_in); from != NULL; from = db_in_next(store->requests_in)) {
        struct slice status = db_bytes(from, 4);
        struct order_answer answer = {.request = db_id(from, 0),
                                      .order = db_id(from, 1),
                                      .fingerprint = {.hash = (uint64_t)db_i64(from, 2), .kind = db_i64(from, 3)},
                                      .status = err_find((const char *)status.data, status.size),
                                      .frame = db_bytes(from, 5)};
        see(context, &answer);
    }
    return db_in_end(store->requests_in);
}

err
order_store_add_request(struct order_store *store, const struct order_answer *answer)
{
    int64_t n = 0;
    err code = next_number(store, "SELECT COALESCE(MAX(n), 0) FROM $request", &store->next_request, &n);
    if (code != ERR_ok) {
        return code;
    }
    struct db_rows *rows = store->request_rows;
    db_rows_i64(rows, n);
    db_rows_id(rows, &answer->request);
    db_rows_id(rows, &answer->order);
    db_rows_i64(rows, (int64_t)answer->fingerprint.hash);
    db_rows_i64(rows, answer->fingerprint.kind);
    db_rows_text(rows, slice_of(err_symbol(answer->status)));
    db_rows_bytes(rows, answer->frame);
    return ERR_ok;
}

err
order_store_set_request(struct order_store *store, const struct order_answer *answer)
{
    struct db_statement *update = db_statement(store->db, "UPDATE $request SET status = ?, frame = ? WHERE id = ?");
    db_bind_text(update, slice_of(err_symbol(answer->status)));
    db_bind_bytes(update, answer->frame);
    db_bind_id(update, &answer->request);
    return db_queue(update, 1);
}

/* --- customers who were erased --- */

void
order_store_want_forgotten(struct order_store *store, const struct id *customer)
{
    db_in_id(store->forgotten_in, customer);
}

err
order_store_read_forgotten(struct order_store *store, void (*see)(void *context, const struct id *customer), void *context)
{
    for (struct db_statement *from = db_in_next(store->forgotten_in); from != NULL; from = db_in_next(store->forgotten_in)) {
        struct id customer = db_id(from, 0);
        see(context, &customer);
    }
    return db_in_end(store->forgotten_in);
}

err
order_store_add_forgotten(struct order_store *store, const struct id *customer, int64_t time_ms)
{
    struct db_statement *put = db_statement(store->db, "REPLACE INTO $forgotten (customer, time) VALUES (?, ?)");
    db_bind_id(put, customer);
    db_bind_i64(put, time_ms);
    return db_queue(put, DB_ANY_ROWS);
}

/* --- stray money --- */

static err
read_stray(struct db_statement *read, struct order_stray *stray, bool *found)
{
    err code = db_query(read);
    *found = code == ERR_ok && db_next(read);
    if (!*found) {
        return code;
    }
    struct slice state = db_bytes(read, 6);
    *stray = (struct order_stray){.n = db_i64(read, 0),
                                  .charge = db_id(read, 1),
                                  .order = db_id(read, 2),
                                  .amount = db_i64(read, 3),
                                  .tries = db_i64(read, 5),
                                  .state = STRAY_STUCK};
    copy_text(read, 4, stray->currency, sizeof stray->currency);
    for (unsigned i = STRAY_REFUNDING; i <= STRAY_STUCK; i++) {
        if (slice_equal(state, slice_of(stray_states[i]))) {
            stray->state = (enum stray_state)i;
        }
    }
    db_done(read);
    return ERR_ok;
}

err
order_store_find_stray(struct order_store *store, const struct id *charge, struct order_stray *stray, bool *found)
{
    struct db_statement *read =
        db_statement(store->db, "SELECT n, charge, order_id, amount, currency, tries, state FROM $stray WHERE charge = ?");
    db_bind_id(read, charge);
    return read_stray(read, stray, found);
}

err
order_store_find_stray_n(struct order_store *store, int64_t n, struct order_stray *stray, bool *found)
{
    struct db_statement *read =
        db_statement(store->db, "SELECT n, charge, order_id, amount, currency, tries, state FROM $stray WHERE n = ?");
    db_bind_i64(read, n);
    return read_stray(read, stray, found);
}

err
order_store_insert_stray(struct order_store *store, struct order_stray *stray)
{
    err code = next_number(store, "SELECT COALESCE(MAX(n), 0) FROM $stray", &store->next_stray, &stray->n);
    if (code != ERR_ok) {
        return code;
    }
    struct db_statement *insert = db_statement(
        store->db, "INSERT INTO $stray (n, charge, order_id, amount, currency, tries, state) VALUES (?, ?, ?, ?, ?, ?, ?)");
    db_bind_i64(insert, stray->n);
    db_bind_id(insert, &stray->charge);
    db_bind_id(insert, &stray->order);
    db_bind_i64(insert, stray->amount);
    db_bind_text(insert, slice_of(stray->currency));
    db_bind_i64(insert, stray->tries);
    db_bind_text(insert, slice_of(stray_states[stray->state]));
    return db_queue(insert, 1);
}

err
order_store_update_stray(struct order_store *store, const struct order_stray *stray)
{
    struct db_statement *update = db_statement(store->db, "UPDATE $stray SET tries = ?, state = ? WHERE n = ?");
    db_bind_i64(update, stray->tries);
    db_bind_text(update, slice_of(stray_states[stray->state]));
    db_bind_i64(update, stray->n);
    return db_queue(update, 1);
}
