/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See renewal.h. A header that cannot be read stays as it is. */
#include "renewal.h"

#include "kit/base/arena.h"
#include "wire.h"

enum { PAGE_ROWS = 200 };

static struct slice
with_incarnation(struct arena *arena, struct slice frame, const struct id *incarnation)
{
    struct wire_event_header header = {0};
    struct err_text why;
    if (wire_decode(&event_header_body, arena_copy(arena, frame), &header, &why) != ERR_ok) {
        return arena_copy(arena, frame);
    }
    WIRE_SET(&header, event_header, incarnation, *incarnation);
    return arena_encode(arena, &event_header_body, &header);
}

static err
renew_page(const struct renewal *renewal, struct arena *arena, int64_t *last, int64_t *count)
{
    struct db_statement *read = db_statement(renewal->db, renewal->read);
    struct db_statement *write = db_statement(renewal->db, renewal->write);
    if (renewal->of.size > 0) {
        db_bind_text(read, renewal->of);
    }
    db_bind_i64(read, *last);
    db_bind_i64(read, PAGE_ROWS);
    err code = db_query(read);
    for (*count = 0; code == ERR_ok && db_next(read); (*count)++) {
        *last = db_i64(read, 0);
        db_bind_bytes(write, with_incarnation(arena, db_bytes(read, 1), renewal->incarnation));
        if (renewal->of.size > 0) {
            db_bind_text(write, renewal->of);
        }
        db_bind_i64(write, *last);
        code = db_queue(write, 1);
    }
    db_done(read);
    return code == ERR_ok ? db_settle(renewal->db) : code;
}

err
renewal_run(const struct renewal *renewal)
{
    struct arena arena = {0};
    int64_t last = 0;
    err code = ERR_ok;
    for (int64_t count = PAGE_ROWS; code == ERR_ok && count == PAGE_ROWS;) {
        code = renew_page(renewal, &arena, &last, &count);
        arena_reset(&arena);
    }
    arena_fini(&arena);
    return code;
}
