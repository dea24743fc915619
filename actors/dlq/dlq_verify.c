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
 *   Of each check the first VERIFY_TOLD_MAX faults are told, all are counted. One pass over the letters, in ranges, so that memory
 *   does not grow with them. Whether letters agree with the rows of those who keep them is the command's to prove: it sees all
 *   databases.
 */
#include "dlq_verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "dlq.h"
#include "dlq/letter/dlq_letter.h"
#include "dlq/replay/dlq_replay_store.h"
#include "dlq/letter/dlq_tally.h"
#include "dlq/search/dlq_zones.h"

struct proof {
    struct db *db;
    struct verify_report *report;
    struct dlq_tally *counted;
    struct dlq_zones *names;    /* which bit of a zone is whose */
    struct db_statement *zones; /* rising */
    int64_t zone;               /* the row of it that was read last; -1: none, INT64_MAX: there are no more */
    int64_t told;               /* of the check under way */
    struct dlq_letter letter;   /* the last one that was read: large */
};

#define FAULT(proof, ...) verify_tell((proof)->report, (proof)->told++, __VA_ARGS__)

static void
fault_of_letter(struct proof *proof, const struct id *id, const char *words)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    FAULT(proof, "letter %s: %s", text, words);
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
    if (proof->zone != zone) {
        return false;
    }
    const char *const names[DLQ_NAMED_COUNT] = {[DLQ_BY_KIND] = dlq_kind_name(letter->kind),
                                                [DLQ_BY_REASON] = letter->reason,
                                                [DLQ_BY_DESTINATION] = letter->destination,
                                                [DLQ_BY_TYPE] = letter->type,
                                                [DLQ_BY_SOURCE] = letter->source};
    bool has_all = true;
    for (unsigned i = 0; i < DLQ_NAMED_COUNT; i++) {
        uint64_t bit = dlq_zones_name(proof->names, (enum dlq_named)i, slice_of(names[i]));
        has_all = has_all && bit != 0 && ((uint64_t)db_i64(proof->zones, 4 + (int)i) & bit) != 0;
    }
    return !has_all || letter->opened_ms < db_i64(proof->zones, 1) || letter->units > db_i64(proof->zones, 2) ||
           letter->amount > db_i64(proof->zones, 3);
}

/* Columns of a letter's row, see read_letters(). */
enum {
    AT_FRAME = 10,
    AT_TYPE,
    AT_SOURCE,
    AT_SEQ,
    AT_KEY,
    AT_SEQ_TO,
    AT_OWNER,
    AT_ATTEMPTS,
    AT_TIMES,
    AT_REQUEST = AT_TIMES + 3,
    AT_STATUS,
    AT_HEADER,
    AT_HISTORY,
    AT_HISTORY_COUNT
};

static bool
is_history(struct slice history, int64_t count)
{
    struct wire_list list = {.data = history.data, .size = history.size, .count = (uint32_t)count};
    struct wire_letter_attempt attempt;
    int64_t found = 0;
    while (found < count && wire_list_next(&list, &letter_attempt_body, &attempt)) {
        found++;
    }
    return found == count && list.size == 0;
}

/* The letter of an event is what the event's header says; the header lies beside it, as it came, unless it was too large to come. */
static const char *
event_fault(struct db_statement *row)
{
    struct wire_event_header header;
    struct err_text why;
    if (db_bytes(row, AT_HEADER).size == 0) {
        return NULL;
    }
    if (wire_decode(&event_header_body, db_bytes(row, AT_HEADER), &header, &why) != ERR_ok) {
        return "the header of its event cannot be read";
    }
    bool is_it = slice_equal(header.type, db_bytes(row, AT_TYPE)) && slice_equal(header.source, db_bytes(row, AT_SOURCE)) &&
                 header.seq == db_i64(row, AT_SEQ) && slice_equal(header.key, db_bytes(row, AT_KEY));
    return is_it ? NULL : "it is of another event than the one that lies in it";
}

static const char *
request_fault(const struct dlq_letter *letter, struct db_statement *row)
{
    struct id request = db_id(row, AT_REQUEST);
    struct id wanted = id_derive(&request, "letter/request");
    struct slice type = db_bytes(row, AT_TYPE);
    if (id_is_zero(&request) || !id_equal(&wanted, &letter->id)) {
        return "it is of another request than its id says";
    }
    return wire_op_find((const char *)type.data, type.size) == OP_COUNT ? "its request is of no operation that there is" : NULL;
}

/* What is wrong with a letter in itself; NULL: nothing. */
static const char *
letter_fault(const struct dlq_letter *letter, struct db_statement *row)
{
    bool is_event = letter->kind == DLQ_EVENT;
    bool is_row = letter->kind == DLQ_CALL || letter->kind == DLQ_SAGA;
    bool is_subscriber = letter->kind == DLQ_SUBSCRIBER;
    struct slice status = db_bytes(row, AT_STATUS);
    struct id request = db_id(row, AT_REQUEST);
    if (db_is_null(row, AT_FRAME)) {
        return "its frames are gone";
    }
    if ((db_i64(row, AT_SEQ) >= 0) != (is_event || is_subscriber) || (db_i64(row, AT_SEQ_TO) >= 0) != is_subscriber ||
        (db_bytes(row, AT_SOURCE).size > 0) != (is_event || is_subscriber) || (db_bytes(row, AT_OWNER).size > 0) != is_row ||
        id_is_zero(&request) != (letter->kind != DLQ_REQUEST)) {
        return "it says what letters of its kind do not say";
    }
    if (db_i64(row, AT_ATTEMPTS) < 0 || db_i64(row, AT_TIMES) <= 0 || db_i64(row, AT_TIMES + 1) <= 0 ||
        db_i64(row, AT_TIMES + 2) <= 0 || letter->units < DLQ_NONE || letter->amount < DLQ_NONE ||
        (letter->currency[0] != '\0') != (letter->amount != DLQ_NONE)) {
        return "its attempts, its times or what is at stake are none that the dlq writes";
    }
    if (status.size > 0 && !slice_equal(status, slice_of("ok")) && err_find((const char *)status.data, status.size) == ERR_COUNT) {
        return "its request was answered by a status that there is not";
    }
    if (!is_history(db_bytes(row, AT_HISTORY), db_i64(row, AT_HISTORY_COUNT))) {
        return "its history is not as long as it says";
    }
    return is_event ? event_fault(row) : letter->kind == DLQ_REQUEST ? request_fault(letter, row) : NULL;
}

static err
see_letter(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct dlq_letter *letter = &proof->letter;
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
        return ERR_ok;
    }
    dlq_copy(letter->type, sizeof letter->type, db_bytes(row, AT_TYPE));
    dlq_copy(letter->source, sizeof letter->source, db_bytes(row, AT_SOURCE));
    dlq_tally_add(proof->counted, letter, 1);
    const char *words = letter_fault(letter, row);
    if (words != NULL) {
        fault_of_letter(proof, &letter->id, words);
    }
    if (is_out_of_zone(proof, letter)) {
        fault_of_letter(proof, &letter->id, "it lies outside of the bounds that filters trust");
    }
    return ERR_ok;
}

/* Zones that no letter can lie in would be room in memory for nothing. */
static err
check_zones(struct proof *proof, bool *are_good)
{
    struct db_statement *read =
        db_statement(proof->db, "SELECT COUNT(*) FROM $zone WHERE zone < 0 OR zone > (SELECT COALESCE(MAX(n), 0) FROM $letter)");
    err code = db_query(read);
    *are_good = code == ERR_ok && db_next(read) && db_i64(read, 0) == 0;
    db_done(read);
    if (code == ERR_ok && !*are_good) {
        FAULT(proof, "there are bounds of letters that cannot be");
    }
    return code;
}

static err
read_letters(struct proof *proof)
{
    bool are_good = false;
    err code = check_zones(proof, &are_good);
    static const char sql[] =
        "SELECT l.n, l.id, l.state, l.kind, l.destination, l.reason, l.currency, l.units, l.amount, l.opened, f.n,"
        " l.type, l.source, l.seq, l.letter_key, l.seq_to, l.row_owner, l.attempts, l.first, l.last, l.changed, l.request,"
        " l.status, f.header, f.history, f.history_count FROM $letter l LEFT JOIN $letter_frame f ON f.n = l.n WHERE l.n > "
        "? ORDER BY l.n LIMIT ?";
    proof->zones = db_statement(proof->db, "SELECT zone, opened, units, amount, kinds, reasons, destinations, types, sources"
                                           " FROM $zone ORDER BY zone");
    proof->names = dlq_zones_create(proof->db);
    proof->zone = are_good ? -1 : INT64_MAX;
    if (code == ERR_ok && are_good) {
        code = dlq_zones_load(proof->names);
        code = code == ERR_ok ? db_query(proof->zones) : code;
    }
    if (code == ERR_ok) {
        code = verify_walk(&(struct verify_walk){
            .db = proof->db, .sql = sql, .see = see_letter, .context = proof, .rows = &proof->report->rows_checked});
    }
    db_done(proof->zones);
    dlq_zones_destroy(&proof->names);
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
        FAULT(proof,
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

/* Column: an id. */
static const struct verify_check checks_of_letters[] = {
    {"SELECT id FROM $letter GROUP BY id HAVING COUNT(*) > 1", "more than one letter has this id"},
    {"SELECT l.id FROM $letter l LEFT JOIN $find f ON f.what = l.id AND f.n = l.n"
     " WHERE l.n <= (SELECT COALESCE(MAX(n), 0) FROM $merged) AND f.n IS NULL",
     "it cannot be found by its id any more"},
    {"SELECT l.id FROM $letter l LEFT JOIN $due d ON d.owner = 'deliver' AND d.due_key = l.id WHERE l.state = 0 AND l.kind = 2"
     " AND d.owner IS NULL",
     "the request waits, but no due row will deliver it"},
    {"SELECT l.id FROM $letter l LEFT JOIN $hosting h ON h.source = l.source AND h.subscriber = l.destination"
     " WHERE l.state = 0 AND l.kind = 1 AND h.source IS NULL",
     "it is about a subscriber that is behind, and nothing is kept for that one"},
    {"SELECT l.id FROM $replay_letter x JOIN $replay r ON r.n = x.replay JOIN $letter l ON l.n = x.letter WHERE x.letter > "
     "r.last_letter"
     " OR x.outcome NOT BETWEEN 0 AND 3",
     "a replay has selected it though it came later, or has given it an outcome that there is not"},
};

static const struct verify_check checks_of_replays[] = {
    {"SELECT r.id FROM $replay r LEFT JOIN (SELECT replay, SUM(CASE WHEN outcome <> 3 THEN 1 ELSE 0 END) AS total,"
     " SUM(CASE WHEN outcome = 1 THEN 1 ELSE 0 END) AS done, SUM(CASE WHEN outcome = 2 THEN 1 ELSE 0 END) AS failed"
     " FROM $replay_letter GROUP BY replay) s ON s.replay = r.n"
     " WHERE r.total <> COALESCE(s.total, 0) OR r.done <> COALESCE(s.done, 0) OR r.failed <> COALESCE(s.failed, 0)",
     "its counters are not those of its letters"},
    {"SELECT r.id FROM $replay r WHERE r.state = 'done' AND r.total <> r.done + r.failed",
     "it says that it is done, but letters of it have no outcome"},
    {"SELECT r.id FROM $replay_letter x JOIN $replay r ON r.n = x.replay LEFT JOIN $letter l ON l.n = x.letter WHERE l.n IS NULL",
     "it has selected a letter that there is not"},
    {"SELECT id FROM $replay WHERE state NOT IN ('selecting', 'canary', 'running', 'done', 'stopped', 'cancelled', 'dry_run') OR "
     "total < 0 OR rate < 0 OR canary < 0"
     " OR stop_on_failure NOT IN (0, 1) OR started <= 0 OR selected_to > last_letter",
     "its state or its figures are none that the dlq writes"},
};
_Static_assert(DLQ_WAITING == 0 && DLQ_SUBSCRIBER == 1 && DLQ_REQUEST == 2, "as the queries have them");
_Static_assert(REPLAY_LETTER_DONE == 1 && REPLAY_LETTER_FAILED == 2 && REPLAY_LETTER_LEFT_OUT == 3, "as the queries have them");

static err
tell_letter(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    char text[ID_TEXT_SIZE];
    struct id id = db_id(row, 0);
    (void)db;
    id_format(&id, text);
    verify_tell(report, found, "letter %s: %s", text, check->words);
    return ERR_ok;
}

static err
tell_replay(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    char text[ID_TEXT_SIZE];
    struct id id = db_id(row, 0);
    (void)db;
    id_format(&id, text);
    verify_tell(report, found, "replay %s: %s", text, check->words);
    return ERR_ok;
}

/* What operators did, each about a letter or a replay that there is. */
static err
check_audit(struct proof *proof)
{
    struct db_statement *rows = db_statement(
        proof->db, "SELECT a.n FROM $audit a LEFT JOIN $letter l ON l.n = a.letter LEFT JOIN $replay r ON r.n = a.replay"
                   " WHERE (a.letter <> 0 AND l.n IS NULL) OR (a.replay <> 0 AND r.n IS NULL) OR (a.letter = 0 AND a.replay = 0)"
                   " OR a.time <= 0 OR a.action = ''");
    err code = db_query(rows);
    proof->told = 0;
    while (code == ERR_ok && db_next(rows)) {
        FAULT(proof, "entry %" PRId64 " of the audit is about nothing, or about what is not there", db_i64(rows, 0));
    }
    return code;
}

/* --- kept events --- */

/* Each can be read, and is the one that its row says. */
static err
check_kept_events(struct proof *proof)
{
    struct db_statement *rows = db_statement(proof->db, "SELECT source, seq, header FROM $kept");
    err code = db_query(rows);
    proof->told = 0;
    while (code == ERR_ok && db_next(rows)) {
        struct wire_event_header header;
        struct err_text why;
        struct slice source = db_bytes(rows, 0);
        if (wire_decode(&event_header_body, db_bytes(rows, 2), &header, &why) != ERR_ok || !slice_equal(header.source, source) ||
            header.seq != db_i64(rows, 1)) {
            FAULT(proof, "event %" PRId64 " of %.*s is kept, but what is kept is no event or another", db_i64(rows, 1),
                  (int)source.size, (const char *)source.data);
        }
    }
    return code;
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
            FAULT(proof, "%.*s of %.*s: less was copied (%" PRId64 ") than it has applied (%" PRId64 ")", (int)subscriber.size,
                  (const char *)subscriber.data, (int)source.size, (const char *)source.data, copied, position);
        } else if (db_i64(rows, 4) != copied - position) {
            const char *sql = "SELECT seq FROM $kept WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?";
            code = verify_find_gap(&(struct verify_walk){.db = proof->db, .sql = sql, .of = source}, position, &missing);
            FAULT(proof,
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
    if (code == ERR_ok) {
        code = verify_run_checks(db, checks_of_letters, sizeof checks_of_letters / sizeof checks_of_letters[0], tell_letter, report);
    }
    if (code == ERR_ok) {
        code = verify_run_checks(db, checks_of_replays, sizeof checks_of_replays / sizeof checks_of_replays[0], tell_replay, report);
    }
    if (code == ERR_ok) {
        code = check_audit(&proof);
    }
    if (code == ERR_ok) {
        code = check_kept(&proof);
    }
    if (code == ERR_ok) {
        code = check_kept_events(&proof);
    }
    dlq_tally_destroy(&proof.counted);
    return code;
}

/* --- what others compare --- */

struct db_statement *
dlq_select_edits(struct db *db, struct slice destination, struct slice key)
{
    struct db_statement *read = db_statement(db, "SELECT COUNT(*) FROM $audit a JOIN $letter l ON l.n = a.letter"
                                                 " WHERE a.action = 'edit' AND l.destination = ? AND l.letter_key = ?");
    db_bind_text(read, destination);
    db_bind_text(read, key);
    return read;
}

const char dlq_walk_letters[] = "SELECT n, id, kind, state, source, seq, row_owner, row_key FROM $letter"
                                " WHERE destination = ? AND n > ? ORDER BY n LIMIT ?";

struct db_statement *
dlq_select_state(struct db *db, int64_t n)
{
    struct db_statement *read = db_statement(db, "SELECT state FROM $letter WHERE n = ?");
    db_bind_i64(read, n);
    return read;
}

struct db_statement *
dlq_select_count(struct db *db, int state)
{
    struct db_statement *read = db_statement(db, "SELECT COALESCE(SUM(letters), 0) FROM $tally WHERE state = ?");
    db_bind_i64(read, state);
    return read;
}

struct db_statement *
dlq_select_hostings(struct db *db)
{
    return db_statement(db, "SELECT source, subscriber, incarnation, is_client, position, copied, ended FROM $hosting"
                            " ORDER BY source, subscriber");
}
