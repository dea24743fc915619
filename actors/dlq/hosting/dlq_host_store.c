/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   All SQL of hosting, in the subset that both engines share.
 *
 * STATE     $hosting (one small row per subscriber that is kept events for), $kept (the events themselves, by source and seq).
 *
 * FAILURES  Errors of the database go up unchanged; the kit rolls the batch back. Two hostings may copy the same event at the same
 *           time, so $kept is written by REPLACE.
 *
 * LIMITS    A read brings one page. Its statement fetches the whole of it, up to DLQ_PAGE_EVENTS events of any size, before it is cut.
 */
#include "dlq_host_store.h"

#include <stdio.h>

static void
copy_text(char to[WIRE_NAME_MAX + 1], struct slice text)
{
    (void)snprintf(to, WIRE_NAME_MAX + 1, "%.*s", (int)text.size, (const char *)text.data);
}

err
dlq_host_store_load(struct db *db, struct db_statement **rows)
{
    struct db_statement *read =
        db_statement(db, "SELECT source, subscriber, incarnation, is_client, session, position, copied, since, ended"
                         " FROM $hosting ORDER BY source, subscriber");
    *rows = read;
    return db_query(read);
}

bool
dlq_host_store_next(struct db_statement *rows, struct dlq_hosting_row *row)
{
    if (!db_next(rows)) {
        return false;
    }
    *row = (struct dlq_hosting_row){
        .incarnation = db_id(rows, 2),
        .is_client = db_i64(rows, 3) != 0,
        .session = db_id(rows, 4),
        .position = db_i64(rows, 5),
        .copied = db_i64(rows, 6),
        .since_ms = db_i64(rows, 7),
    };
    if (!db_is_null(rows, 8)) { /* as an older build writes it */
        row->ended = db_id(rows, 8);
    }
    copy_text(row->source, db_bytes(rows, 0));
    copy_text(row->subscriber, db_bytes(rows, 1));
    return true;
}

err
dlq_host_store_put(struct db *db, const struct dlq_hosting_row *row)
{
    struct db_statement *put =
        db_statement(db, "REPLACE INTO $hosting (source, subscriber, incarnation, is_client, session, position, copied, since, ended)"
                         " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
    db_bind_text(put, slice_of(row->source));
    db_bind_text(put, slice_of(row->subscriber));
    db_bind_id(put, &row->incarnation);
    db_bind_i64(put, row->is_client);
    db_bind_id(put, &row->session);
    db_bind_i64(put, row->position);
    db_bind_i64(put, row->copied);
    db_bind_i64(put, row->since_ms);
    db_bind_id(put, &row->ended);
    return db_queue(put, DB_ANY_ROWS);
}

err
dlq_host_store_remove(struct db *db, const char *source, const char *subscriber)
{
    struct db_statement *remove = db_statement(db, "DELETE FROM $hosting WHERE source = ? AND subscriber = ?");
    db_bind_text(remove, slice_of(source));
    db_bind_text(remove, slice_of(subscriber));
    return db_queue(remove, DB_ANY_ROWS);
}

static struct db_rows *
kept_rows(struct db *db)
{
    return db_rows(db, "REPLACE INTO $kept (source, seq, header, body)", 4);
}

void
dlq_host_store_add(struct db *db, const char *source, int64_t seq, const struct wire_fetched_event *event)
{
    struct db_rows *rows = kept_rows(db);
    db_rows_text(rows, slice_of(source));
    db_rows_i64(rows, seq);
    db_rows_bytes(rows, event->header);
    db_rows_bytes(rows, event->body);
}

err
dlq_host_store_keep(struct db *db)
{
    return db_rows_queue(kept_rows(db));
}

err
dlq_host_store_read(struct db *db, const struct dlq_kept_range *range, struct wire_list *list, struct wire_buffer *bytes,
                    int64_t *last)
{
    int64_t limit = range->limit < DLQ_PAGE_EVENTS ? range->limit : DLQ_PAGE_EVENTS;
    size_t begin = bytes->size;
    *last = range->after;
    if (limit <= 0 || range->to <= range->after) {
        return ERR_ok;
    }
    struct db_statement *read =
        db_statement(db, "SELECT seq, header, body FROM $kept WHERE source = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?");
    db_bind_text(read, slice_of(range->source));
    db_bind_i64(read, range->after);
    db_bind_i64(read, range->to);
    db_bind_i64(read, limit);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct wire_fetched_event event = {0};
        WIRE_SET(&event, fetched_event, header, db_bytes(read, 1));
        WIRE_SET(&event, fetched_event, body, db_bytes(read, 2));
        bool is_full = list->count > 0 && bytes->size - begin + event.header.size + event.body.size > DLQ_PAGE_BYTES;
        if (is_full || db_i64(read, 0) != *last + 1) {
            db_done(read);
            break;
        }
        wire_list_add(list, &fetched_event_body, &event, bytes);
        (*last)++;
    }
    return code;
}

err
dlq_host_store_next_source(struct db *db, const char *after, char source[WIRE_NAME_MAX + 1], bool *found)
{
    struct db_statement *read = db_statement(db, "SELECT MIN(source) FROM $kept WHERE source > ?");
    db_bind_text(read, slice_of(after));
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    *found = db_next(read) && !db_is_null(read, 0);
    if (*found) {
        copy_text(source, db_bytes(read, 0));
    }
    db_done(read);
    return ERR_ok;
}

err
dlq_host_store_first(struct db *db, const char *source, int64_t *seq)
{
    struct db_statement *read = db_statement(db, "SELECT MIN(seq) FROM $kept WHERE source = ?");
    db_bind_text(read, slice_of(source));
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    *seq = db_next(read) && !db_is_null(read, 0) ? db_i64(read, 0) : 0;
    db_done(read);
    return ERR_ok;
}

err
dlq_host_store_trim(struct db *db, const char *source, int64_t to)
{
    struct db_statement *trim = db_statement(db, "DELETE FROM $kept WHERE source = ? AND seq <= ?");
    db_bind_text(trim, slice_of(source));
    db_bind_i64(trim, to);
    return db_queue(trim, DB_ANY_ROWS);
}
