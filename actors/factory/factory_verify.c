/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that the factory's tables agree with one another. Each check is one query that finds nothing when all is well; what it
 *   finds is a product and a production's n, told in one sentence.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of the factory. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   Of each check the first 20 faults are told, all are counted. One pass over the productions per check.
 */
#include "factory_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "factory.h"
#include "factory_message.h"

#define IS_OPEN "IN ('ordered', 'requested')"

/* Columns: product, n or 0. */
static const struct verify_check checks[] = {
    {"SELECT product, MAX(n) FROM $production WHERE status " IS_OPEN " GROUP BY product HAVING COUNT(*) > 1",
     "the product has more than one open production; this is the newest"},
    {"SELECT s.product, s.open_production FROM $shelf s LEFT JOIN $production p"
     " ON p.n = s.open_production AND p.product = s.product AND p.status " IS_OPEN " WHERE s.open_production <> 0 AND p.n IS NULL",
     "the shelf names it as open, but there is no such open production of the product"},
    {"SELECT p.product, p.n FROM $production p LEFT JOIN $shelf s ON s.product = p.product AND s.open_production = p.n"
     " WHERE p.status " IS_OPEN " AND s.product IS NULL",
     "it is open, but its shelf does not name it"},
    {"SELECT p.product, p.n FROM $production p LEFT JOIN $due d ON d.due_key = p.id AND d.owner IN ('production', 'call')"
     " WHERE p.status " IS_OPEN " AND d.owner IS NULL",
     "it is open, but no due row will end it"},
    {"SELECT product, n FROM $production WHERE status NOT IN ('ordered', 'requested', 'produced', 'failed')",
     "its status is none that the factory writes"},
    {"SELECT product, n FROM $production WHERE (status = 'produced' AND done_at = 0) OR (status " IS_OPEN " AND done_at <> 0)",
     "its status and the time when it was done do not agree"},
    {"SELECT product, n FROM $production WHERE attempts < 0 OR accepted < 0 OR accepted > attempts OR ordered_at <= 0 OR due_at < 0 "
     "OR done_at < 0",
     "its calls or its times are none that the factory writes"},
    {"SELECT product, n FROM $production WHERE capability_hash IS NULL AND due_at = 0 AND status = 'ordered'",
     "the factory itself makes it, but it has no time when it is done"},
    {"SELECT p.product, p.n FROM $production p JOIN $due d ON d.due_key = p.id AND d.owner = 'production' WHERE p.capability_hash IS "
     "NOT NULL",
     "an outside factory makes it, but it would be done by itself"},
    {"SELECT p.product, p.n FROM $production p LEFT JOIN $shelf s ON s.product = p.product WHERE s.product IS NULL",
     "there is no shelf of its product"},
    {"SELECT s.product, s.open_production FROM $shelf s WHERE s.last_seq < 0 OR (s.last_seq = 0 AND (s.open_production <> 0 OR NOT "
     "EXISTS"
     " (SELECT 1 FROM $production p WHERE p.product = s.product AND p.error = 'taken from what stock has counted')))",
     "the shelf was made by no event"},
    {"SELECT product, open_production FROM $shelf WHERE last_seq > (SELECT COALESCE(MAX(seq), 0) FROM $shard)",
     "the shelf's last event lies behind the end of the factory's stream"},
};

static void
tell(struct verify_report *report, struct slice product, int64_t n, const char *words, int64_t found)
{
    verify_tell(report, found, "factory: %.*s, production %" PRId64 ": %s", (int)product.size,
                product.size == 0 ? "" : (const char *)product.data, n, words);
}

static err
tell_found(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    (void)db;
    tell(report, db_bytes(row, 0), db_i64(row, 1), check->words, found);
    return ERR_ok;
}

/* The last event about a product is the one that its shelf names, as far as events are kept. */
static err
check_last_events(struct db *db, struct verify_report *report)
{
    struct db_statement *rows =
        db_statement(db, "SELECT s.product, s.last_seq, o.topic FROM $shelf s JOIN $outbox o ON o.seq = s.last_seq");
    int64_t found = 0;
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        struct slice product = db_bytes(rows, 0);
        struct slice topic = db_bytes(rows, 2);
        bool is_its = topic.size > product.size && topic.data[topic.size - product.size - 1] == '.' &&
                      memcmp(topic.data + topic.size - product.size, product.data, product.size) == 0;
        if (!is_its) {
            tell(report, product, db_i64(rows, 1), "as the last event of its shelf is about another product", found++);
        }
    }
    return code;
}

/* Whoever calls back is known by the hash of what he was given, which is made of the production's id. */
static err
check_capabilities(struct db *db, struct verify_report *report)
{
    struct db_statement *key = db_statement(db, "SELECT secret FROM $secret");
    struct db_statement *rows =
        db_statement(db, "SELECT product, n, id, capability_hash FROM $production WHERE capability_hash IS NOT NULL");
    uint8_t secret[FACTORY_SECRET_SIZE];
    int64_t found = 0;
    err code = db_query(key);
    bool has_secret = code == ERR_ok && db_next(key) && db_bytes(key, 0).size == sizeof secret;
    if (has_secret) {
        memcpy(secret, db_bytes(key, 0).data, sizeof secret);
    }
    db_done(key);
    code = code == ERR_ok ? db_query(rows) : code;
    while (code == ERR_ok && db_next(rows)) {
        char capability[FACTORY_CAPABILITY_SIZE];
        uint8_t hash[FACTORY_HASH_SIZE];
        struct id id = db_id(rows, 2);
        if (has_secret) {
            factory_capability_of(secret, &id, capability);
            factory_capability_hash(slice_of(capability), hash);
        }
        if (!has_secret || !slice_equal(db_bytes(rows, 3), (struct slice){hash, sizeof hash})) {
            tell(report, db_bytes(rows, 0), db_i64(rows, 1), "the outside factory's callback would not be known", found++);
        }
    }
    sodium_memzero(secret, sizeof secret);
    return code;
}

/* The productions that were answered are there, of that product and as many. */
static err
check_answers(struct db *db, struct verify_report *report)
{
    struct db_statement *rows = db_statement(db, "SELECT n, body FROM $answer WHERE status = 'ok'");
    struct db_statement *row = db_statement(db, "SELECT product, quantity FROM $production WHERE id = ?");
    int64_t found = 0;
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        struct wire_production answer;
        struct err_text why;
        if (wire_decode(&production_body, db_bytes(rows, 1), &answer, &why) != ERR_ok) {
            continue;
        }
        db_bind_id(row, &answer.id);
        code = db_query(row);
        bool is_there =
            code == ERR_ok && db_next(row) && slice_equal(db_bytes(row, 0), answer.product) && db_i64(row, 1) == answer.quantity;
        db_done(row);
        if (code == ERR_ok && !is_there) {
            tell(report, answer.product, db_i64(rows, 0), "in the answer of this number, is not there or another", found++);
        }
    }
    return code;
}

err
factory_verify(struct db *db, struct verify_report *report)
{
    err code = verify_count(db, "SELECT (SELECT COUNT(*) FROM $production) + (SELECT COUNT(*) FROM $shelf)", report);
    if (code == ERR_ok) {
        code = verify_run_checks(db, checks, sizeof checks / sizeof checks[0], tell_found, report);
    }
    if (code == ERR_ok) {
        code = check_last_events(db, report);
    }
    if (code == ERR_ok) {
        code = check_capabilities(db, report);
    }
    return code == ERR_ok ? check_answers(db, report) : code;
}

/* --- what others compare --- */

#define PRODUCTIONS "SELECT id, product, quantity, status, n FROM $production"

struct db_in *
factory_select(struct db *db)
{
    return db_in(db, PRODUCTIONS " WHERE id IN (*)");
}

struct db_statement *
factory_select_behind(struct db *db, int64_t after, int64_t most)
{
    struct db_statement *rows = db_statement(db, PRODUCTIONS " WHERE n > ? ORDER BY n LIMIT ?");
    db_bind_i64(rows, after);
    db_bind_i64(rows, most);
    return rows;
}
