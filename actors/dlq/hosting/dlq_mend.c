/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See dlq_mend.h. */
#include "dlq_mend.h"

#include "kit/stream/renewal.h"

err
dlq_mend_source(struct db *db, struct slice source, const struct id *old, const struct id *renewed)
{
    struct db_statement *renew = db_statement(db, "UPDATE $hosting SET incarnation = ? WHERE source = ? AND incarnation = ?");
    db_bind_id(renew, renewed);
    db_bind_text(renew, source);
    db_bind_id(renew, old);
    err code = db_queue(renew, DB_ANY_ROWS);
    return code != ERR_ok ? code
                          : renewal_run(&(struct renewal){
                                .db = db,
                                .read = "SELECT seq, header FROM $kept WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?",
                                .write = "UPDATE $kept SET header = ? WHERE source = ? AND seq = ?",
                                .of = source,
                                .incarnation = renewed,
                            });
}

struct db_statement *
dlq_select_copied(struct db *db, struct slice source, struct slice subscriber, int64_t most)
{
    struct db_statement *read =
        db_statement(db, "SELECT MIN(copied) FROM $hosting WHERE source = ? AND subscriber = ? AND position <= ?");
    db_bind_text(read, source);
    db_bind_text(read, subscriber);
    db_bind_i64(read, most);
    return read;
}
