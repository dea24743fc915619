/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Tells an older copy of a source that has gone on from the source that was followed, without either running.
 *
 * STATE     Reads $shard (seq, chain) and at most two rows of $outbox, in the snapshot that is open.
 *
 * LIMITS    Of a position that the source has trimmed, and that is not its last, nothing is known. A header that cannot be read, or of
 *           a build that kept no chain, says nothing.
 */
#include "past.h"

#include "stream.h"
#include "wire.h"

static err
compare_last(struct db *source, int shard, const struct past *past, bool *is_other)
{
    struct db_statement *read = db_statement(source, "SELECT chain FROM $shard WHERE shard = ? AND seq = ?");
    db_bind_i64(read, shard);
    db_bind_i64(read, past->position);
    err code = db_query(read);
    if (code == ERR_ok && db_next(read) && !db_is_null(read, 0)) {
        struct id chain = db_id(read, 0);
        *is_other = !id_equal(&chain, &past->chain);
    }
    db_done(read);
    return code;
}

err
past_is_other(struct db *source, int shard, const struct past *past, bool *is_other)
{
    *is_other = false;
    if (id_is_zero(&past->chain)) {
        return ERR_ok;
    }
    err code = compare_last(source, shard, past, is_other);
    struct db_statement *read = db_statement(source, "SELECT header FROM $outbox WHERE seq >= ? AND seq <= ? ORDER BY seq");
    db_bind_i64(read, past->position);
    db_bind_i64(read, past->position + 1);
    if (code == ERR_ok) {
        code = db_query(read);
    }
    while (code == ERR_ok && db_next(read)) {
        struct wire_event_header header = {0};
        struct err_text why;
        if (wire_decode(&event_header_body, db_bytes(read, 0), &header, &why) == ERR_ok && WIRE_HAS(&header, event_header, chain)) {
            struct id expected = header.seq == past->position ? past->chain : stream_chain(&past->chain, &header.id);
            *is_other = *is_other || !id_equal(&header.chain, &expected);
        }
    }
    return code;
}
