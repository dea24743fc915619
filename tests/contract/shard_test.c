/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The shard row: one writer, fenced by its epoch, and the truth about a commit whose answer was lost. On both databases.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "../support/kit_place.h"
#include "kit/durable/shard.h"

static struct shard
take(struct db *db)
{
    struct shard shard = {0};
    struct err_text why = {""};
    err code = shard_take(&shard, db, 0, 1, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return shard;
}

/* Any effect: the confirmation of a subscriber. */
static err
queue_effect(struct db *db, int64_t position)
{
    struct db_statement *write = db_statement(db, "REPLACE INTO $position (subscriber, position) VALUES ('effect', ?)");
    db_bind_i64(write, position);
    return db_queue(write, DB_ANY_ROWS);
}

static int64_t
effects(struct db *db)
{
    return place_number(db, "SELECT COALESCE(MAX(position), 0) FROM $position");
}

static err
try_commit(struct shard *shard, int64_t effect, int64_t events)
{
    err code = queue_effect(shard->db, effect);
    if (code == ERR_ok) {
        code = shard_queue_advance(shard, events);
    }
    return code == ERR_ok ? db_commit(shard->db) : code;
}

static void
commit(struct shard *shard, int64_t effect, int64_t events)
{
    place_expect(shard->db, queue_effect(shard->db, effect), ERR_ok);
    place_expect(shard->db, shard_commit(shard, events), ERR_ok);
}

static void
lose_connection(const struct place *place, struct db *db)
{
    struct err_text why = {""};
    place_kill(place, db_connection(db));
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
}

ON_BOTH(shard, is_made_by_the_first_take)
{
    struct db *db = place_open(place);
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $shard") == 0);
    struct shard shard = take(db);
    cr_expect(shard.epoch == 1);
    cr_expect(shard.batch == 0);
    cr_expect(shard.seq == 0);
    cr_expect(shard.of == 1);
    cr_expect(!id_is_zero(&shard.incarnation));
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $shard") == 1);
    cr_expect(place_number(db, "SELECT connection FROM $shard") == db_connection(db));
    db_close(&db);
}

ON_BOTH(shard, keeps_its_numbers_when_it_is_taken_again)
{
    struct db *db = place_open(place);
    struct shard first = take(db);
    commit(&first, 1, 3);
    commit(&first, 2, 0);
    db_close(&db);
    db = place_open(place);
    struct shard second = take(db);
    cr_expect(second.epoch == first.epoch + 1);
    cr_expect(second.batch == 2);
    cr_expect(second.seq == 3);
    cr_expect(id_equal(&second.incarnation, &first.incarnation));
    db_close(&db);
}

ON_BOTH(shard, refuses_another_number_of_shards_by_name)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    int64_t epoch = shard.epoch;
    struct err_text why = {""};
    cr_expect(shard_take(&shard, db, 0, 2, &why) == ERR_wrong_setting);
    cr_expect(strstr(why.text, "made for 1 shards and is opened with 2") != NULL, "%s", why.text);
    cr_expect(place_number(db, "SELECT epoch FROM $shard") == epoch, "a refused take must not fence the writer");
    db_close(&db);
}

ON_BOTH(shard, fences_the_writer_before)
{
    struct db *first_db = place_open(place);
    struct shard first = take(first_db);
    commit(&first, 1, 2);
    struct db *second_db = place_open(place);
    struct shard second = take(second_db);
    /* On a server the successor also ends the first's connection; the epoch alone has to do, so it comes back. */
    struct err_text why = {""};
    cr_assert(db_reconnect(first_db, &why) == ERR_ok, "%s", why.text);
    place_expect(first_db, try_commit(&first, 99, 5), ERR_db_stale);
    db_rollback(first_db);
    cr_expect(effects(second_db) == 1, "nothing of the fenced commit stays");
    commit(&second, 2, 1);
    cr_expect(second.seq == 3);
    cr_expect(place_number(second_db, "SELECT seq FROM $shard") == 3);
    cr_expect(place_number(second_db, "SELECT batch FROM $shard") == 2);
    db_close(&first_db);
    db_close(&second_db);
}

ON_MYSQL(shard, ends_the_connection_of_the_writer_before)
{
    struct db *first_db = place_open(place);
    struct shard first = take(first_db);
    place_expect(first_db, queue_effect(first_db, 99), ERR_ok);
    place_expect(first_db, shard_queue_advance(&first, 1), ERR_ok);
    place_expect(first_db, db_settle(first_db), ERR_ok);
    /* It holds the row's lock now, and would for seconds. */
    struct db *second_db = place_open(place);
    struct shard second = take(second_db);
    cr_expect(second.batch == 0);
    cr_expect(db_commit(first_db) != ERR_ok);
    cr_expect(effects(second_db) == 0);
    db_close(&first_db);
    db_close(&second_db);
}

ON_MYSQL(shard, is_busy_while_somebody_unknown_holds_the_row)
{
    struct db *first_db = place_open(place);
    struct shard first = take(first_db);
    struct db *holder = place_open(place);
    place_expect(holder, db_run(db_statement(holder, "UPDATE $shard SET connection = 0"), NULL), ERR_ok);
    struct shard second = {0};
    struct err_text why = {""};
    cr_expect(shard_take(&second, first_db, 0, 1, &why) == ERR_db_busy, "%s", why.text);
    db_rollback(holder);
    second = take(first_db);
    cr_expect(second.epoch == first.epoch + 1);
    db_close(&holder);
    db_close(&first_db);
}

ON_BOTH(shard, proves_that_it_is_still_ours)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    shard.proved_us = 0;
    cr_expect(shard_is_older_than(&shard, 1000));
    place_expect(db, shard_prove(&shard), ERR_ok);
    cr_expect(!shard_is_older_than(&shard, 1000));
    struct db *other_db = place_open(place);
    struct shard other = take(other_db);
    struct err_text why = {""};
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    place_expect(db, shard_prove(&shard), ERR_db_stale);
    place_expect(other_db, shard_prove(&other), ERR_ok);
    db_close(&db);
    db_close(&other_db);
}

ON_BOTH(shard, is_stale_when_its_row_was_changed_by_hand)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    place_expect(db, db_run(db_statement(db, "UPDATE $shard SET batch = batch + 7"), NULL), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    place_expect(db, shard_prove(&shard), ERR_db_stale);
    place_expect(db, try_commit(&shard, 1, 1), ERR_db_stale);
    db_rollback(db);
    db_close(&db);
}

ON_BOTH(shard, finds_that_a_lost_commit_did_not_happen)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    commit(&shard, 1, 1);
    place_expect(db, queue_effect(db, 2), ERR_ok);
    place_expect(db, shard_queue_advance(&shard, 4), ERR_ok);
    place_expect(db, db_settle(db), ERR_ok);
    lose_connection(place, db);
    bool happened = true;
    struct err_text why = {""};
    place_expect(db, shard_retake(&shard, &happened, &why), ERR_ok);
    cr_expect(!happened);
    cr_expect(shard.batch == 1);
    cr_expect(shard.seq == 1);
    cr_expect(effects(db) == 1);
    commit(&shard, 2, 4);
    cr_expect(place_number(db, "SELECT seq FROM $shard") == 5);
    db_close(&db);
}

ON_BOTH(shard, finds_that_a_lost_commit_happened)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    commit(&shard, 1, 1);
    place_expect(db, try_commit(&shard, 2, 4), ERR_ok); /* its answer is lost: nothing is known of it */
    lose_connection(place, db);
    bool happened = false;
    struct err_text why = {""};
    place_expect(db, shard_retake(&shard, &happened, &why), ERR_ok);
    cr_expect(happened);
    cr_expect(shard.batch == 2);
    cr_expect(shard.seq == 5);
    cr_expect(shard.epoch == 2);
    cr_expect(effects(db) == 2);
    commit(&shard, 3, 1);
    cr_expect(place_number(db, "SELECT seq FROM $shard") == 6);
    db_close(&db);
}

ON_BOTH(shard, is_not_taken_again_from_another)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    commit(&shard, 1, 1);
    struct db *other_db = place_open(place);
    struct shard other = take(other_db);
    struct err_text why = {""};
    cr_assert(db_reconnect(db, &why) == ERR_ok, "%s", why.text);
    bool happened = false;
    cr_expect(shard_retake(&shard, &happened, &why) == ERR_db_stale, "%s", why.text);
    commit(&other, 2, 1);
    db_close(&db);
    db_close(&other_db);
}

ON_BOTH(shard, is_not_taken_again_in_another_database)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    struct db_statement *change = db_statement(db, "UPDATE $shard SET incarnation = ?");
    struct id other = id_new();
    db_bind_id(change, &other);
    place_expect(db, db_run(change, NULL), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    bool happened = false;
    struct err_text why = {""};
    cr_expect(shard_retake(&shard, &happened, &why) == ERR_db_stale, "%s", why.text);
    db_close(&db);
}

/* The answer to the taking's own COMMIT was lost: the row has the epoch and the connection of that attempt. */
ON_MYSQL(shard, knows_its_own_taking_again)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    commit(&shard, 1, 1);
    lose_connection(place, db);
    struct shard before = shard;
    bool happened = true;
    struct err_text why = {""};
    place_expect(db, shard_retake(&shard, &happened, &why), ERR_ok);
    before.tried_epoch = shard.epoch;
    before.tried_connection = db_connection(db);
    lose_connection(place, db);
    struct shard foreign = before;
    foreign.tried_connection++;
    cr_expect(shard_retake(&foreign, &happened, &why) == ERR_db_stale, "the same epoch, but not our connection");
    place_expect(db, shard_retake(&before, &happened, &why), ERR_ok);
    cr_expect(!happened);
    cr_expect(before.epoch == shard.epoch + 1);
    commit(&before, 2, 1);
    cr_expect(place_number(db, "SELECT seq FROM $shard") == 2);
    db_close(&db);
}

/* Taken again so often as a bad network asks for it, with an effect each time. */
ON_BOTH(shard, counts_events_without_a_gap_over_lost_connections)
{
    struct db *db = place_open(place);
    struct shard shard = take(db);
    int64_t seq = 0;
    for (int64_t i = 1; i <= 8; i++) {
        bool is_sent = i % 2 == 0;
        place_expect(db, queue_effect(db, i), ERR_ok);
        place_expect(db, shard_queue_advance(&shard, i), ERR_ok);
        place_expect(db, is_sent ? db_commit(db) : db_settle(db), ERR_ok);
        lose_connection(place, db);
        bool happened = false;
        struct err_text why = {""};
        place_expect(db, shard_retake(&shard, &happened, &why), ERR_ok);
        cr_expect(happened == is_sent);
        seq += is_sent ? i : 0;
        cr_expect(shard.seq == seq);
        cr_expect(shard.epoch == i + 1);
    }
    cr_expect(place_number(db, "SELECT seq FROM $shard") == seq);
    db_close(&db);
}

/* An UPDATE that matches nothing has many reasons, and only one of them is another process. */
ON_BOTH(shard, says_what_has_become_of_it)
{
    struct db *db = place_open(place);
    const struct {
        const char *change;
        const char *words;
    } cases[] = {
        {"UPDATE $shard SET epoch = epoch + 1, batch = batch + 3", "another process has taken this shard: epoch 2, batch 5"},
        {"UPDATE $shard SET batch = batch - 1", "ends at epoch 1, batch 1, and epoch 1, batch 2 was committed"},
        {"UPDATE $shard SET epoch = 0", "an older copy, or a primary of before"},
        {"UPDATE $shard SET epoch = epoch + 7, batch = 0", "an older copy, or a primary of before"},
        {"UPDATE $shard SET batch = batch + 1", "changed by somebody else: batch 3, where 2 was committed"},
        {"UPDATE $shard SET incarnation = 'aaaaaaaaaaaaaaaa'", "is another one than the one that was written"},
        {"DELETE FROM $shard", "has no row of the shard any more"},
        {"SELECT 1", "was moved away while it was open"},
    };
    struct shard shard = take(db);
    commit(&shard, 1, 1);
    commit(&shard, 2, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err_text why = {""};
        bool is_blob = db_driver(db) == DB_SQLITE && strstr(cases[i].change, "aaaa") != NULL;
        struct db *other = place_open(place);
        struct db_statement *change =
            db_statement(other, is_blob ? "UPDATE $shard SET incarnation = x'61616161616161616161616161616161'" : cases[i].change);
        if (strncmp(cases[i].change, "SELECT", 6) != 0) {
            place_expect(other, db_run(change, NULL), ERR_ok);
            place_expect(other, db_commit(other), ERR_ok);
        }
        shard_say_stale(&shard, &why);
        cr_expect(strstr(why.text, cases[i].words) != NULL, "%s: %s", cases[i].change, why.text);
        change = db_statement(other, "DELETE FROM $shard");
        place_expect(other, db_run(change, NULL), ERR_ok);
        change = db_statement(
            other, "INSERT INTO $shard (shard, shards, epoch, batch, seq, incarnation, connection) VALUES (0, 1, ?, ?, ?, ?, 0)");
        db_bind_i64(change, shard.epoch);
        db_bind_i64(change, shard.batch);
        db_bind_i64(change, shard.seq);
        db_bind_id(change, &shard.incarnation);
        place_expect(other, db_run(change, NULL), ERR_ok);
        place_expect(other, db_commit(other), ERR_ok);
        db_close(&other);
    }
    db_close(&db);
}
