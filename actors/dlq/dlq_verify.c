/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that the dlq's tables agree with one another: the counters are those of the letters, counted anew; each letter has its
 *   frames, an id of its own by which it is found, and lies within the bounds of its zone; a request that waits has the due row that
 *   delivers it; what a replay says is what its letters say; the events between a hosted position and what was copied are all there.
 *
 * FAILURES
 *   A fault means that rows were changed by hand, or a bug of the dlq. Errors of the database end the proof and are returned.
 *
 * LIMITS
 *   Of each check the first TOLD_MAX faults are told, all are counted. One pass over the letters, in ranges, so that memory does not
 *   grow with them. Whether letters agree with the rows of those who keep them is the command's to prove: it sees all databases.
 */
#include "dlq.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "dlq_replay_store.h"
#include "dlq_tally.h"
#include "dlq_zones.h"

#define RANGE 10000
#define TOLD_MAX 20

struct proof {
    struct db *db;
    struct verify_report *report;
    struct dlq_tally *counted;
    struct db_statement *zones; /* rising */
    int64_t zone;               /* the row of it that was read last; -1: none, INT64_MAX: there are no more */
    int64_t told;               /* of the check under way */
};

static void
fault(struct proof *proof, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
fault(struct proof *proof, const char *format, ...)
{
    char sentence[384];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    proof->report->faults++;
    if (proof->told++ < TOLD_MAX && proof->report->say != NULL) {
        proof->report->say(proof->report->context, sentence);
    }
}

static void
fault_of_letter(struct proof *proof, const struct id *id, const char *words)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    fault(proof, "letter %s: %s", text, words);
}

/* --- letters --- */

/* The zones' rows are read side by side with the letters; one that is not there bounds nothing. */
static bool
is_out_of_zone(struct proof *proof, const struct dlq_letter *letter)
{
    int64_t zone = letter->n / DLQ_ZONE_LETTERS;
    while (proof->zone < zone) {
        proof->zone = db_next(proof->zones) ? db_i64(proof->zones, 0) : INT64_MAX;
    }
    return proof->zone == zone && (letter->opened_ms < db_i64(proof->zones, 1) || letter->units > db_i64(proof->zones, 2) ||
                                   letter->amount > db_i64(proof->zones, 3));
}

static void
see_letter(struct proof *proof, struct db_statement *row, struct dlq_letter *letter)
{
    *letter = (struct dlq_letter){.n = db_i64(row, 0), .id = db_id(row, 1), .state = (enum dlq_state)db_i64(row, 2)};
    letter->kind = (enum dlq_kind)db_i64(row, 3);
    dlq_copy(letter->destination, sizeof letter->destination, db_bytes(row, 4));
    dlq_copy(letter->reason, sizeof letter->reason, db_bytes(row, 5));
    dlq_copy(letter->currency, sizeof letter->currency, db_bytes(row, 6));
    letter->units = db_i64(row, 7);
    letter->amount = db_i64(row, 8);
    letter->opened_ms = db_i64(row, 9);
    if ((unsigned)letter->state >= DLQ_STATE_COUNT || (unsigned)letter->kind >= DLQ_KIND_COUNT) {
        fault_of_letter(proof, &letter->id, "its state or its kind is none that the dlq writes");
        return;
    }
    dlq_tally_add(proof->counted, letter, 1);
    if (db_is_null(row, 10)) {
        fault_of_letter(proof, &letter->id, "its frames are gone");
    }
    if (is_out_of_zone(proof, letter)) {
        fault_of_letter(proof, &letter->id, "it lies outside of the bounds that filters trust");
    }
}

static err
read_letters(struct proof *proof)
{
    struct db_statement *rows = db_statement(
        proof->db, "SELECT l.n, l.id, l.state, l.kind, l.destination, l.reason, l.currency, l.units, l.amount, l.opened, f.n"
                   " FROM $letter l LEFT JOIN $letter_frame f ON f.n = l.n WHERE l.n > ? ORDER BY l.n LIMIT ?");
    struct dlq_letter letter = {0};
    proof->zones = db_statement(proof->db, "SELECT zone, opened, units, amount FROM $zone ORDER BY zone");
    proof->zone = -1;
    err code = db_query(proof->zones);
    for (int64_t count = RANGE; code == ERR_ok && count == RANGE;) {
        db_bind_i64(rows, letter.n);
        db_bind_i64(rows, RANGE);
        code = db_query(rows);
        for (count = 0; code == ERR_ok && db_next(rows); count++) {
            see_letter(proof, rows, &letter);
        }
        proof->report->rows_checked += count;
    }
    db_done(proof->zones);
    return code;
}

/* --- counters --- */

static bool
is_same_group(const struct dlq_count *a, const struct dlq_count *b)
{
    return a->state == b->state && strcmp(a->destination, b->destination) == 0 && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->currency, b->currency) == 0;
}

/* The group of the other counters that is this one; an empty one when there is none. */
static struct dlq_count
counterpart(const struct dlq_tally *tally, const struct dlq_count *count)
{
    const struct dlq_count *other = NULL;
    for (size_t i = 0; (other = dlq_tally_get(tally, i)) != NULL; i++) {
        if (is_same_group(other, count)) {
            return *other;
        }
    }
    struct dlq_count none = *count;
    none.letters = none.units = none.amount = 0;
    return none;
}

static void
compare_counts(struct proof *proof, const struct dlq_count *kept, const struct dlq_count *counted)
{
    if (kept->letters != counted->letters || kept->units != counted->units || kept->amount != counted->amount) {
        fault(proof,
              "%s, %s, %s: the counters say %" PRId64 " letters, %" PRId64 " units, %" PRId64 " %s; the letters are %" PRId64
              ", %" PRId64 ", %" PRId64,
              dlq_state_name(kept->state), kept->destination, kept->reason, kept->letters, kept->units, kept->amount,
              kept->currency[0] == '\0' ? "of money" : kept->currency, counted->letters, counted->units, counted->amount);
    }
}

static err
check_counters(struct proof *proof)
{
    struct dlq_tally *kept = dlq_tally_create(proof->db);
    err code = dlq_tally_load(kept);
    const struct dlq_count *count = NULL;
    proof->told = 0;
    for (size_t i = 0; code == ERR_ok && (count = dlq_tally_get(kept, i)) != NULL; i++) {
        struct dlq_count counted = counterpart(proof->counted, count);
        compare_counts(proof, count, &counted);
        proof->report->rows_checked++;
    }
    for (size_t i = 0; code == ERR_ok && (count = dlq_tally_get(proof->counted, i)) != NULL; i++) {
        struct dlq_count said = counterpart(kept, count);
        if (said.letters == 0) {
            compare_counts(proof, &said, count);
        }
    }
    dlq_tally_destroy(&kept);
    return code;
}

/* --- what one query finds --- */

struct check {
    const char *sql; /* columns: an id */
    const char *what;
    const char *words;
};

static const struct check checks[] = {
    {"SELECT id FROM $letter GROUP BY id HAVING COUNT(*) > 1", "letter", "more than one letter has this id"},
    {"SELECT l.id FROM $letter l LEFT JOIN $find f ON f.what = l.id AND f.n = l.n"
     " WHERE l.n <= (SELECT COALESCE(MAX(n), 0) FROM $merged) AND f.n IS NULL",
     "letter", "it cannot be found by its id any more"},
    {"SELECT l.id FROM $letter l LEFT JOIN $due d ON d.owner = 'deliver' AND d.due_key = l.id WHERE l.state = 0 AND l.kind = 2"
     " AND d.owner IS NULL",
     "letter", "the request waits, but no due row will deliver it"},
    {"SELECT r.id FROM $replay r LEFT JOIN (SELECT replay, SUM(CASE WHEN outcome <> 3 THEN 1 ELSE 0 END) AS total,"
     " SUM(CASE WHEN outcome = 1 THEN 1 ELSE 0 END) AS done, SUM(CASE WHEN outcome = 2 THEN 1 ELSE 0 END) AS failed"
     " FROM $replay_letter GROUP BY replay) s ON s.replay = r.n"
     " WHERE r.total <> COALESCE(s.total, 0) OR r.done <> COALESCE(s.done, 0) OR r.failed <> COALESCE(s.failed, 0)",
     "replay", "its counters are not those of its letters"},
    {"SELECT r.id FROM $replay r WHERE r.state = 'done' AND r.total <> r.done + r.failed", "replay",
     "it says that it is done, but letters of it have no outcome"},
    {"SELECT r.id FROM $replay_letter x JOIN $replay r ON r.n = x.replay LEFT JOIN $letter l ON l.n = x.letter WHERE l.n IS NULL",
     "replay", "it has selected a letter that there is not"},
};
_Static_assert(DLQ_WAITING == 0 && DLQ_REQUEST == 2, "as the queries have them");
_Static_assert(REPLAY_LETTER_DONE == 1 && REPLAY_LETTER_FAILED == 2 && REPLAY_LETTER_LEFT_OUT == 3, "as the queries have them");

static err
run_check(struct proof *proof, const struct check *check)
{
    struct db_statement *rows = db_statement(proof->db, check->sql);
    err code = db_query(rows);
    proof->told = 0;
    while (code == ERR_ok && db_next(rows)) {
        char text[ID_TEXT_SIZE];
        struct id id = db_id(rows, 0);
        id_format(&id, text);
        fault(proof, "%s %s: %s", check->what, text, check->words);
    }
    return code;
}

/* --- kept events --- */

/* The first seq behind `after` that is not kept. */
static err
find_missing(struct proof *proof, struct slice source, int64_t after, int64_t *missing)
{
    struct db_statement *rows = db_statement(proof->db, "SELECT seq FROM $kept WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?");
    *missing = after + 1;
    for (int64_t count = RANGE; count == RANGE;) {
        db_bind_text(rows, source);
        db_bind_i64(rows, *missing - 1);
        db_bind_i64(rows, RANGE);
        err code = db_query(rows);
        if (code != ERR_ok) {
            return code;
        }
        for (count = 0; db_next(rows) && db_i64(rows, 0) == *missing; count++) {
            (*missing)++;
        }
        db_done(rows);
    }
    return ERR_ok;
}

static err
check_kept(struct proof *proof)
{
    struct db_statement *rows = db_statement(
        proof->db, "SELECT h.source, h.subscriber, h.position, h.copied,"
                   " (SELECT COUNT(*) FROM $kept k WHERE k.source = h.source AND k.seq > h.position AND k.seq <= h.copied)"
                   " FROM $hosting h ORDER BY h.source, h.subscriber");
    err code = db_query(rows);
    proof->told = 0;
    while (code == ERR_ok && db_next(rows)) {
        struct slice source = db_bytes(rows, 0);
        struct slice subscriber = db_bytes(rows, 1);
        int64_t position = db_i64(rows, 2);
        int64_t copied = db_i64(rows, 3);
        int64_t missing = 0;
        proof->report->rows_checked += 1 + db_i64(rows, 4);
        if (copied < position) {
            fault(proof, "%.*s of %.*s: less was copied (%" PRId64 ") than it has applied (%" PRId64 ")", (int)subscriber.size,
                  (const char *)subscriber.data, (int)source.size, (const char *)source.data, copied, position);
        } else if (db_i64(rows, 4) != copied - position) {
            code = find_missing(proof, source, position, &missing);
            fault(proof,
                  "%.*s of %.*s: event %" PRId64 " is not kept, though it is behind %" PRId64 " and all up to %" PRId64 " was copied",
                  (int)subscriber.size, (const char *)subscriber.data, (int)source.size, (const char *)source.data, missing, position,
                  copied);
        }
    }
    return code;
}

err
dlq_verify(struct db *db, struct verify_report *report)
{
    struct proof proof = {.db = db, .report = report, .counted = dlq_tally_create(db)};
    err code = read_letters(&proof);
    if (code == ERR_ok) {
        code = check_counters(&proof);
    }
    for (size_t i = 0; code == ERR_ok && i < sizeof checks / sizeof checks[0]; i++) {
        code = run_check(&proof, &checks[i]);
    }
    if (code == ERR_ok) {
        code = check_kept(&proof);
    }
    dlq_tally_destroy(&proof.counted);
    return code;
}
