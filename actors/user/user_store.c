/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   All SQL about people, in the subset that both engines share. Reads copy their row out.
 *
 * STATE     Tables: user_schema.def. The statements belong to the db and survive a reconnect.
 *
 * FAILURES  Errors of the database go up unchanged; the kit rolls the batch back. A row that holds more than anybody writes reads as
 *           one that holds nothing, which cannot be opened.
 *
 * LIMITS    One round trip per read.
 */
#include "user_store.h"

#include <string.h>

#define PERSON                                                                                                                  \
    "SELECT u.n, u.id, u.role, u.sealed, u.created, u.changed, u.erased, u.version, k.wrapped FROM $user u LEFT JOIN $user_key" \
    " k ON k.n = u.n "

void
user_store_init(struct user_store *store, struct db *db)
{
    *store = (struct user_store){
        .db = db,
        .last_n = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $user"),
        .last_request = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $request"),
        .find = db_statement(db, PERSON "WHERE u.id = ?"),
        .find_n = db_statement(db, PERSON "WHERE u.n = ?"),
        .find_email = db_statement(db, PERSON "WHERE u.email_hash = ?"),
        .find_cpf = db_statement(db, PERSON "WHERE u.cpf_hash = ?"),
        .page = db_statement(db, PERSON "WHERE u.n > ? ORDER BY u.n LIMIT ?"),
        .insert = db_statement(db, "INSERT INTO $user (role, sealed, email_hash, cpf_hash, changed, erased, version, n, id, created)"
                                   " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
        .insert_key = db_statement(db, "INSERT INTO $user_key (n, wrapped) VALUES (?, ?)"),
        .update = db_statement(db, "UPDATE $user SET role = ?, sealed = ?, email_hash = ?, cpf_hash = ?, changed = ?, erased = ?,"
                                   " version = ? WHERE n = ?"),
        .blank_key = db_statement(db, "UPDATE $user_key SET wrapped = ? WHERE n = ?"),
        .delete_key = db_statement(db, "DELETE FROM $user_key WHERE n = ?"),
        .find_erasure = db_statement(db, "SELECT n, erased, reason, fields, event_seq FROM $erasure WHERE n = ?"),
        .insert_erasure = db_statement(db, "INSERT INTO $erasure (n, erased, reason, fields, event_seq) VALUES (?, ?, ?, ?, ?)"),
        .find_secret = db_statement(db, "SELECT secret FROM $secret WHERE name = ?"),
        .insert_secret = db_statement(db, "INSERT INTO $secret (name, secret) VALUES (?, ?)"),
        .find_request = db_statement(db, "SELECT n, op, person, mark, status, version, mark_kind FROM $request WHERE request = ?"),
        .insert_request = db_statement(db, "INSERT INTO $request (n, request, op, person, mark, status, version, mark_kind)"
                                           " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"),
        .forget_marks = db_statement(db, "UPDATE $request SET mark = NULL WHERE person = ?"),
        .traces = db_statement(db, "SELECT email_hash FROM $user WHERE n = ? UNION ALL SELECT cpf_hash FROM $user WHERE n = ?"
                                   " UNION ALL SELECT wrapped FROM $user_key WHERE n = ?"
                                   " UNION ALL SELECT mark FROM $request WHERE person = ?"),
    };
}

/* --- people --- */

static err
read_number(struct db_statement *statement, int64_t *number)
{
    err code = db_query(statement);
    if (code == ERR_ok) {
        *number = db_next(statement) ? db_i64(statement, 0) : 0;
        db_done(statement);
    }
    return code;
}

err
user_store_last(struct user_store *store, int64_t *n, int64_t *request)
{
    err code = read_number(store->last_n, n);
    return code == ERR_ok ? read_number(store->last_request, request) : code;
}

/* Nothing, when it does not fit. */
static size_t
copy(uint8_t *to, size_t room, struct slice from)
{
    if (from.size == 0 || from.size > room) {
        return 0;
    }
    memcpy(to, from.data, from.size);
    return from.size;
}

static void
read_row(struct db_statement *from, struct user_row *row)
{
    row->n = db_i64(from, 0);
    row->id = db_id(from, 1);
    row->role = role_find(db_bytes(from, 2));
    row->role = row->role == ROLE_COUNT ? ROLE_ANONYMOUS : row->role; /* changed by hand: it may do nothing */
    row->sealed_size = copy(row->sealed, sizeof row->sealed, db_bytes(from, 3));
    row->created_ms = db_i64(from, 4);
    row->changed_ms = db_i64(from, 5);
    row->erased_ms = db_i64(from, 6);
    row->version = db_i64(from, 7);
    row->wrapped_size = copy(row->wrapped, sizeof row->wrapped, db_bytes(from, 8));
}

static err
read_one(struct db_statement *statement, struct user_row *row, bool *found)
{
    err code = db_query(statement);
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(statement);
    if (*found) {
        read_row(statement, row);
    }
    db_done(statement);
    return ERR_ok;
}

err
user_store_find(struct user_store *store, const struct id *id, struct user_row *row, bool *found)
{
    db_bind_id(store->find, id);
    return read_one(store->find, row, found);
}

err
user_store_find_n(struct user_store *store, int64_t n, struct user_row *row, bool *found)
{
    db_bind_i64(store->find_n, n);
    return read_one(store->find_n, row, found);
}

err
user_store_find_email(struct user_store *store, const uint8_t hash[USER_HASH_SIZE], struct user_row *row, bool *found)
{
    db_bind_bytes(store->find_email, (struct slice){hash, USER_HASH_SIZE});
    return read_one(store->find_email, row, found);
}

err
user_store_find_cpf(struct user_store *store, const uint8_t hash[USER_HASH_SIZE], struct user_row *row, bool *found)
{
    db_bind_bytes(store->find_cpf, (struct slice){hash, USER_HASH_SIZE});
    return read_one(store->find_cpf, row, found);
}

err
user_store_page(struct user_store *store, int64_t after, int64_t limit)
{
    db_bind_i64(store->page, after);
    db_bind_i64(store->page, limit);
    return db_query(store->page);
}

bool
user_store_next(struct user_store *store, struct user_row *row)
{
    if (!db_next(store->page)) {
        return false;
    }
    read_row(store->page, row);
    return true;
}

static void
bind_hash(struct db_statement *statement, const uint8_t *hash)
{
    if (hash == NULL) {
        db_bind_null(statement);
    } else {
        db_bind_bytes(statement, (struct slice){hash, USER_HASH_SIZE});
    }
}

/* The columns that insert and update share. */
static void
bind_row(struct db_statement *statement, const struct user_row *row, const struct user_hashes *hashes)
{
    db_bind_text(statement, slice_of(role_name(row->role)));
    if (row->sealed_size == 0) {
        db_bind_null(statement);
    } else {
        db_bind_bytes(statement, (struct slice){row->sealed, row->sealed_size});
    }
    bind_hash(statement, hashes->email);
    bind_hash(statement, hashes->cpf);
    db_bind_i64(statement, row->changed_ms);
    db_bind_i64(statement, row->erased_ms);
    db_bind_i64(statement, row->version);
    db_bind_i64(statement, row->n);
}

err
user_store_insert(struct user_store *store, const struct user_row *row, const struct user_hashes *hashes)
{
    bind_row(store->insert, row, hashes);
    db_bind_id(store->insert, &row->id);
    db_bind_i64(store->insert, row->created_ms);
    err code = db_queue(store->insert, 1);
    if (code != ERR_ok) {
        return code;
    }
    db_bind_i64(store->insert_key, row->n);
    db_bind_bytes(store->insert_key, (struct slice){row->wrapped, row->wrapped_size});
    return db_queue(store->insert_key, 1);
}

err
user_store_update(struct user_store *store, const struct user_row *row, const struct user_hashes *hashes)
{
    bind_row(store->update, row, hashes);
    return db_queue(store->update, 1);
}

/* Written over before it is deleted: a server keeps deleted rows for a while, but one of the same size is written in its place. */
err
user_store_delete_key(struct user_store *store, int64_t n)
{
    static const uint8_t nothing[USER_WRAPPED_SIZE];
    db_bind_bytes(store->blank_key, (struct slice){nothing, sizeof nothing});
    db_bind_i64(store->blank_key, n);
    err code = db_queue(store->blank_key, 1);
    if (code != ERR_ok) {
        return code;
    }
    db_bind_i64(store->delete_key, n);
    return db_queue(store->delete_key, 1);
}

/* --- erasures --- */

err
user_store_find_erasure(struct user_store *store, int64_t n, struct user_erasure_row *row, bool *found)
{
    struct db_statement *find = store->find_erasure;
    db_bind_i64(find, n);
    err code = db_query(find);
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(find);
    if (*found) {
        *row = (struct user_erasure_row){
            .n = db_i64(find, 0), .erased_ms = db_i64(find, 1), .fields = db_i64(find, 3), .event_seq = db_i64(find, 4)};
        row->reason_size = copy((uint8_t *)row->reason, sizeof row->reason, db_bytes(find, 2));
    }
    db_done(find);
    return ERR_ok;
}

err
user_store_insert_erasure(struct user_store *store, const struct user_erasure_row *row)
{
    struct db_statement *insert = store->insert_erasure;
    db_bind_i64(insert, row->n);
    db_bind_i64(insert, row->erased_ms);
    db_bind_text(insert, (struct slice){(const uint8_t *)row->reason, row->reason_size});
    db_bind_i64(insert, row->fields);
    db_bind_i64(insert, row->event_seq);
    return db_queue(insert, 1);
}

/* --- secrets --- */

err
user_store_find_secret(struct user_store *store, const char *name, uint8_t *secret, size_t *size)
{
    db_bind_text(store->find_secret, slice_of(name));
    err code = db_query(store->find_secret);
    if (code != ERR_ok) {
        return code;
    }
    *size = db_next(store->find_secret) ? copy(secret, USER_SECRET_MAX, db_bytes(store->find_secret, 0)) : 0;
    db_done(store->find_secret);
    return ERR_ok;
}

err
user_store_insert_secret(struct user_store *store, const char *name, struct slice secret)
{
    db_bind_text(store->insert_secret, slice_of(name));
    db_bind_bytes(store->insert_secret, secret);
    return db_queue(store->insert_secret, 1);
}

/* --- requests --- */

err
user_store_find_request(struct user_store *store, const struct id *request, struct user_request_row *row, bool *found)
{
    struct db_statement *find = store->find_request;
    db_bind_id(find, request);
    err code = db_query(find);
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(find);
    if (*found) {
        struct slice op = db_bytes(find, 1);
        struct slice status = db_bytes(find, 4);
        *row = (struct user_request_row){.n = db_i64(find, 0),
                                         .request = *request,
                                         .op = wire_op_find((const char *)op.data, op.size),
                                         .person = db_i64(find, 2),
                                         .status = err_find((const char *)status.data, status.size),
                                         .version = db_i64(find, 5),
                                         .mark_kind = db_i64(find, 6)};
        row->has_mark = copy(row->mark, sizeof row->mark, db_bytes(find, 3)) == sizeof row->mark;
    }
    db_done(find);
    return ERR_ok;
}

err
user_store_insert_request(struct user_store *store, const struct user_request_row *row)
{
    struct db_statement *insert = store->insert_request;
    db_bind_i64(insert, row->n);
    db_bind_id(insert, &row->request);
    db_bind_text(insert, slice_of(wire_ops[row->op].name));
    db_bind_i64(insert, row->person);
    if (row->has_mark) {
        db_bind_bytes(insert, (struct slice){row->mark, sizeof row->mark});
    } else {
        db_bind_null(insert);
    }
    db_bind_text(insert, slice_of(err_symbol(row->status)));
    db_bind_i64(insert, row->version);
    db_bind_i64(insert, row->mark_kind);
    return db_queue(insert, 1);
}

err
user_store_forget_marks(struct user_store *store, int64_t person)
{
    db_bind_i64(store->forget_marks, person);
    return db_queue(store->forget_marks, DB_ANY_ROWS);
}

err
user_store_add_traces(struct user_store *store, int64_t person, struct wire_buffer *traces)
{
    for (int i = 0; i < 4; i++) {
        db_bind_i64(store->traces, person);
    }
    err code = db_query(store->traces);
    if (code != ERR_ok) {
        return code;
    }
    while (db_next(store->traces)) {
        struct slice trace = db_bytes(store->traces, 0); /* empty where there is none */
        wire_buffer_append(traces, trace.data, trace.size - trace.size % DB_TRACE_SIZE);
    }
    db_done(store->traces);
    return ERR_ok;
}
