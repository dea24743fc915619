/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One row per database says who writes it: epoch (the number of the reign), batch (of the last commit), seq (of the last
 *           event), incarnation (which database this is) and the server's connection number, so that a successor can end it.
 *
 * STATE     $shard; `seen` is the wall clock at its last commit. Invariants: epoch and batch only grow; seq is the largest seq of
 *           $outbox ever; shards never changes.
 *
 * FAILURES  Reading alone proves nothing after a lost connection: the old one may still have statements to run. Taking does: the
 *           recorded connection is killed, the UPDATE waits for its row lock, and the raised epoch makes whatever it sends later
 *           match no row. A lock that does not come free is ERR_db_busy: still unknown. When the answer to the taking itself is
 *           lost, the row's connection tells whether it was ours.
 *
 * LIMITS    On SQLite the folder's lock keeps a second process out; the row still numbers batches and events.
 */
#include "shard.h"

#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

static const char *const READ_SQL =
    "SELECT shards, epoch, batch, seq, incarnation, connection, seen, chain FROM $shard WHERE shard = ?";

static err
read_row(struct shard *shard, struct shard *found, int64_t *connection, bool *there)
{
    struct db_statement *read = db_statement(shard->db, READ_SQL);
    db_bind_i64(read, shard->number);
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    *there = db_next(read);
    if (*there) {
        found->of = (int)db_i64(read, 0);
        found->epoch = db_i64(read, 1);
        found->batch = db_i64(read, 2);
        found->seq = db_i64(read, 3);
        found->incarnation = db_id(read, 4);
        *connection = db_i64(read, 5);
        found->seen_ms = db_i64(read, 6);
        found->chain = db_id(read, 7);
        db_done(read);
    }
    return db_settle(shard->db);
}

static err
make_row(struct shard *shard)
{
    struct id incarnation = id_new();
    struct db_statement *insert = db_statement(
        shard->db, "INSERT INTO $shard (shard, shards, epoch, batch, seq, incarnation, connection) VALUES (?, ?, 0, 0, 0, ?, 0)");
    db_bind_i64(insert, shard->number);
    db_bind_i64(insert, shard->of);
    db_bind_id(insert, &incarnation);
    err code = db_run(insert, NULL);
    if (code == ERR_ok) {
        code = db_commit(shard->db);
    }
    if (code != ERR_ok) {
        db_rollback(shard->db);
    }
    /* Somebody beside us made it first: theirs is as good. */
    return code == ERR_db_unique ? ERR_ok : code;
}

/* Whoever has the shard: it is ours from here on. */
static struct db_statement *
raise_from_any(struct shard *shard)
{
    struct db_statement *raise = db_statement(shard->db, "UPDATE $shard SET epoch = epoch + 1, connection = ? WHERE shard = ?");
    db_bind_i64(raise, db_connection(shard->db));
    db_bind_i64(raise, shard->number);
    return raise;
}

/* Only when nobody else had it meanwhile. The row is also ours when an earlier attempt to take it again did happen, whose COMMIT was
 * not answered: then it holds that attempt's epoch and connection. */
static struct db_statement *
raise_from_ours(struct shard *shard)
{
    struct db_statement *raise = db_statement(shard->db, "UPDATE $shard SET epoch = epoch + 1, connection = ? WHERE shard = ? AND "
                                                         "(epoch = ? OR (epoch = ? AND connection = ?))");
    db_bind_i64(raise, db_connection(shard->db));
    db_bind_i64(raise, shard->number);
    db_bind_i64(raise, shard->epoch);
    db_bind_i64(raise, shard->tried_epoch);
    db_bind_i64(raise, shard->tried_connection);
    return raise;
}

static bool
is_ours(const struct shard *shard, const struct shard *found, int64_t connection)
{
    bool is_tried = shard->tried_connection != 0 && found->epoch == shard->tried_epoch && connection == shard->tried_connection;
    return (found->epoch == shard->epoch || is_tried) && id_equal(&found->incarnation, &shard->incarnation);
}

/* The UPDATE comes first: it waits for the row lock, so what is read behind it is what stays, and what an earlier attempt left
 * undecided is decided. */
static err
raise_epoch(struct shard *shard, struct db_statement *raise, struct shard *found)
{
    int64_t matched = 0;
    err code = db_run(raise, &matched);
    if (code == ERR_ok && matched != 1) {
        code = ERR_db_stale;
    }
    bool there = false;
    int64_t connection = 0;
    if (code == ERR_ok) {
        code = read_row(shard, found, &connection, &there);
    }
    if (code == ERR_ok && !there) {
        code = ERR_db_stale;
    }
    if (code == ERR_ok) {
        shard->epoch = found->epoch - 1;
        shard->tried_epoch = found->epoch;
        shard->tried_connection = connection;
        code = db_commit(shard->db);
    }
    if (code != ERR_ok) {
        db_rollback(shard->db);
    }
    return code;
}

static err
kill_writer(struct shard *shard, int64_t connection)
{
    if (connection == 0 || connection == db_connection(shard->db)) {
        return ERR_ok;
    }
    err code = db_kill(shard->db, connection);
    if (code != ERR_ok) {
        log_warn("writer_not_ended", LOG_I64("connection", connection), LOG_TEXT("reason", db_error(shard->db)));
    }
    return ERR_ok;
}

err
shard_take(struct shard *shard, struct db *db, int number, int of, struct err_text *why)
{
    *shard = (struct shard){.db = db, .number = number, .of = of};
    struct shard found = *shard;
    int64_t connection = 0;
    bool there = false;
    err code = read_row(shard, &found, &connection, &there);
    if (code == ERR_ok && !there) {
        db_rollback(db);
        code = make_row(shard);
        if (code == ERR_ok) {
            code = read_row(shard, &found, &connection, &there);
        }
    }
    if (code == ERR_ok && found.of != of) {
        return err_say(why, ERR_wrong_setting,
                       "the database of shard %d was made for %d shards and is opened with %d; the number is fixed", number, found.of,
                       of);
    }
    if (code == ERR_ok) {
        db_rollback(db);
        code = kill_writer(shard, connection);
    }
    int64_t asked_us = clock_steady_us();
    if (code == ERR_ok) {
        code = raise_epoch(shard, raise_from_any(shard), &found);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "cannot take shard %d: %s", number, db_error(db));
    }
    *shard = found;
    shard->tried_connection = 0;
    shard->proved_us = asked_us;
    return ERR_ok;
}

/* What became of the shard, by what the database has now. A batch that was committed and is not there tells an older database, whoever
 * has taken that meanwhile. */
static err
say_lost(const struct shard *shard, const struct shard *found, struct err_text *why)
{
    if (found == NULL) {
        return err_say(why, ERR_db_stale, "the database has no row of the shard any more");
    }
    if (!id_equal(&found->incarnation, &shard->incarnation)) {
        return err_say(why, ERR_db_stale, "the database is another one than the one that was written");
    }
    if (found->batch < shard->batch || found->epoch < shard->epoch) {
        return err_say(
            why, ERR_db_stale,
            "the database is an older copy, or a primary of before: it ends at epoch %lld, batch %lld, and epoch %lld, batch "
            "%lld was committed",
            (long long)found->epoch, (long long)found->batch, (long long)shard->epoch, (long long)shard->batch);
    }
    if (found->epoch == shard->epoch && found->batch == shard->batch) {
        return err_say(why, ERR_db_stale, "the database was moved away while it was open, or its rows cannot be changed");
    }
    if (found->epoch == shard->epoch) {
        return err_say(why, ERR_db_stale, "the row of the shard was changed by somebody else: batch %lld, where %lld was committed",
                       (long long)found->batch, (long long)shard->batch);
    }
    return err_say(why, ERR_db_stale, "another process has taken this shard: epoch %lld, batch %lld", (long long)found->epoch,
                   (long long)found->batch);
}

void
shard_say_stale(const struct shard *shard, struct err_text *why)
{
    struct shard found = *shard;
    int64_t connection = 0;
    bool there = false;
    err code = read_row(&found, &found, &connection, &there);
    db_rollback(shard->db);
    if (code == ERR_ok) {
        code = say_lost(shard, there ? &found : NULL, why);
    } else {
        code = err_say(why, code, "the shard was taken, or its database was moved away or changed, and cannot be read: %.300s",
                       db_error(shard->db));
    }
    (void)code;
}

err
shard_retake(struct shard *shard, bool *happened, struct err_text *why)
{
    struct shard found = *shard;
    int64_t connection = 0;
    bool there = false;
    err code = read_row(shard, &found, &connection, &there);
    if (code == ERR_ok && (!there || !is_ours(shard, &found, connection))) {
        return say_lost(shard, there ? &found : NULL, why);
    }
    if (code == ERR_ok) {
        db_rollback(shard->db);
        code = kill_writer(shard, connection);
    }
    if (code == ERR_ok && shard->tried_connection != connection) {
        code = kill_writer(shard, shard->tried_connection);
    }
    int64_t asked_us = clock_steady_us();
    if (code == ERR_ok) {
        code = raise_epoch(shard, raise_from_ours(shard), &found);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "cannot take shard %d again: %s", shard->number, db_error(shard->db));
    }
    int64_t moved = found.batch - shard->batch;
    if (moved != 0 && moved != 1) {
        return say_lost(shard, &found, why);
    }
    *happened = moved == 1;
    *shard = found;
    shard->tried_connection = 0;
    shard->proved_us = asked_us;
    return ERR_ok;
}

err
shard_queue_advance(struct shard *shard, int64_t events)
{
    struct db_statement *advance = db_statement(
        shard->db, events == 0
                       ? "UPDATE $shard SET batch = batch + 1, seen = ? WHERE shard = ? AND epoch = ? AND batch = ?"
                       : "UPDATE $shard SET batch = batch + 1, seq = seq + ?, chain = ?, seen = ? WHERE shard = ? AND epoch = ?"
                         " AND batch = ?");
    if (events > 0) {
        db_bind_i64(advance, events);
        db_bind_id(advance, &shard->next_chain);
    }
    db_bind_i64(advance, shard->now_ms);
    db_bind_i64(advance, shard->number);
    db_bind_i64(advance, shard->epoch);
    db_bind_i64(advance, shard->batch);
    return db_queue(advance, 1);
}

err
shard_commit(struct shard *shard, int64_t events)
{
    int64_t asked_us = clock_steady_us();
    err code = shard_queue_advance(shard, events);
    if (code == ERR_ok) {
        code = db_commit(shard->db);
    }
    if (code == ERR_ok) {
        shard->batch++;
        shard->seq += events;
        shard->chain = events > 0 ? shard->next_chain : shard->chain;
        shard->proved_us = asked_us;
    }
    return code;
}

err
shard_prove(struct shard *shard)
{
    struct shard found = *shard;
    int64_t connection = 0;
    bool there = false;
    int64_t asked_us = clock_steady_us();
    err code = db_check(shard->db);
    if (code == ERR_ok) {
        code = read_row(shard, &found, &connection, &there);
        db_rollback(shard->db);
    }
    if (code != ERR_ok) {
        return code;
    }
    if (!there || found.epoch != shard->epoch || found.batch != shard->batch) {
        return ERR_db_stale;
    }
    shard->proved_us = asked_us;
    return ERR_ok;
}

bool
shard_is_older_than(const struct shard *shard, int64_t age_ms)
{
    return clock_steady_us() - shard->proved_us > age_ms * 1000;
}
