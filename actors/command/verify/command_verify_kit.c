/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves the rows that every actor has, as far as they say something about one another: kept and parked events are what their
 *   columns say and can be read, burials and stored answers can be read, due rows and trials are such as the kit writes, and
 *   there is one shard row.
 *
 * STATE
 *   Reads only, in the snapshot of the source's own proof: $shard, $outbox, $parked, $due, $answer, $burial, $trial, $cursor,
 *   $incident.
 *
 * FAILURES
 *   Each is a sentence that names the row.
 *
 * LIMITS
 *   What an event, a letter or an answer says inside is proved as far as others keep it too; the rest is what somebody wanted to say.
 *   Of each table the first VERIFY_TOLD_MAX faults are told, all are counted. An event of a type that is not known here is a later
 *   build's: its body is not read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "kit/base/memory.h"
#include "wire.h"

#define TOPIC_SIZE 160

struct proof {
    struct verify_survey *survey;
    const struct verify_source *source;
    struct id incarnation;
    int64_t told;
    void *decoded; /* room for the largest body */
};

struct table {
    const char *sql; /* as of a walk */
    err (*see)(void *context, struct db_statement *row);
};

static bool
is_told(struct proof *proof)
{
    if (proof->told++ < VERIFY_TOLD_MAX) {
        return true;
    }
    proof->survey->faults++;
    return false;
}

/* `row` is a row's number or seq. */
#define FAULT(proof, ...) (is_told(proof) ? verify_fault((proof)->survey, (proof)->source->name, __VA_ARGS__) : (void)0)

static bool
can_be_read(struct proof *proof, const struct wire_body *body, struct slice frame)
{
    struct err_text why;
    return wire_decode(body, frame, proof->decoded, &why) == ERR_ok;
}

/* --- events --- */

/* What is wrong with an event that lies in the columns of a row; NULL: nothing. */
static const char *
event_fault(struct proof *proof, struct slice header_frame, struct slice body, struct wire_event_header *header)
{
    struct err_text why;
    if (wire_decode(&event_header_body, header_frame, header, &why) != ERR_ok) {
        return "its header cannot be read";
    }
    if (id_is_zero(&header->id)) {
        return "it has no id";
    }
    enum event_type type = wire_event_find((const char *)header->type.data, header->type.size);
    return type == EVENT_COUNT || can_be_read(proof, wire_events[type].body, body) ? NULL : "its body cannot be read";
}

static err
see_kept(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct wire_event_header header;
    int64_t seq = db_i64(row, 0);
    struct slice topic = db_bytes(row, 3);
    char wanted[TOPIC_SIZE];
    const char *words = event_fault(proof, db_bytes(row, 1), db_bytes(row, 2), &header);
    if (words == NULL) {
        (void)snprintf(wanted, sizeof wanted, "%.*s.%.*s", (int)header.type.size, (const char *)header.type.data, (int)header.key.size,
                       (const char *)header.key.data);
        words = !slice_equal(header.source, slice_of(proof->source->name)) || !id_equal(&header.incarnation, &proof->incarnation)
                    ? "its header is of another source"
                : header.seq != seq                     ? "its header has another place in the stream"
                : !slice_equal(topic, slice_of(wanted)) ? "its topic is not that of its header"
                                                        : NULL;
    }
    if (words != NULL) {
        FAULT(proof, "event %" PRId64 " is kept, but %s", seq, words);
    }
    return ERR_ok;
}

/* The events that are kept are the last ones. */
static err
check_kept_end(struct proof *proof)
{
    struct db_statement *read =
        db_statement(proof->source->db, "SELECT COUNT(*), COALESCE(MIN(seq), 0), COALESCE(MAX(seq), 0) FROM $outbox");
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        int64_t count = db_i64(read, 0);
        int64_t first = db_i64(read, 1);
        int64_t last = db_i64(read, 2);
        db_done(read);
        if (count > 0 && (last != proof->source->head || count != last - first + 1)) {
            FAULT(proof, "events %" PRId64 " to %" PRId64 " are kept, but they are %" PRId64 ", and the stream ends at %" PRId64,
                  first, last, count, proof->source->head);
        }
    }
    return code;
}

static const char *
history_fault(struct slice history, int64_t count)
{
    struct wire_list list = {.data = history.data, .size = history.size, .count = (uint32_t)count};
    struct wire_letter_attempt attempt;
    int64_t found = 0;
    while (found < count && wire_list_next(&list, &letter_attempt_body, &attempt)) {
        found++;
    }
    return count < 0 || found != count || list.size != 0 ? "its history is not as long as it says" : NULL;
}

/* Columns: seq, source, event_key, header, body, attempts, state, history, history_count, incarnation of the cursor. */
static void
see_parked(struct proof *proof, struct db_statement *row)
{
    struct wire_event_header header;
    int64_t seq = db_i64(row, 0);
    struct slice source = db_bytes(row, 1);
    int64_t state = db_i64(row, 6);
    struct id incarnation = db_id(row, 9);
    const char *words = event_fault(proof, db_bytes(row, 3), db_bytes(row, 4), &header);
    if (words == NULL && (!slice_equal(header.source, source) || header.seq != seq || !id_equal(&header.incarnation, &incarnation))) {
        words = "its header is of another event";
    }
    if (words == NULL && !slice_equal(header.key, db_bytes(row, 2))) {
        words = "its key is not that of its header";
    }
    if (words == NULL && (state < 0 || state > 2 || db_i64(row, 5) < 0)) {
        words = "its state or its attempts are none that the kit writes";
    }
    words = words == NULL ? history_fault(db_bytes(row, 7), db_i64(row, 8)) : words;
    if (words != NULL) {
        FAULT(proof, "event %" PRId64 " of %.*s is parked, but %s", seq, (int)source.size, (const char *)source.data, words);
    }
}

/* --- answers, burials --- */

/* Refusals are problems; what was done was answered as one of the actor's operations is. */
static bool
is_answer(struct proof *proof, bool is_ok, struct slice frame)
{
    const char *actor = proof->source->proof->actor;
    if (!is_ok) {
        return can_be_read(proof, &problem_body, frame);
    }
    for (size_t i = 0; i < OP_COUNT; i++) {
        const struct wire_op *op = &wire_ops[i];
        bool is_ours = strcmp(op->owner, actor) == 0 || strcmp(op->owner, "any") == 0;
        if (is_ours && (op->traits & OP_WRITES) != 0 && can_be_read(proof, op->reply, frame)) {
            return true;
        }
    }
    return false;
}

static err
see_answer(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct id request = db_id(row, 1);
    struct slice status = db_bytes(row, 2);
    char text[ID_TEXT_SIZE];
    bool is_ok = slice_equal(status, slice_of("ok"));
    const char *words = db_bytes(row, 1).size != ID_SIZE || id_is_zero(&request)                  ? "has no id"
                        : !is_ok && err_find((const char *)status.data, status.size) == ERR_COUNT ? "has a status that is no symbol"
                        : !is_answer(proof, is_ok, db_bytes(row, 3))                              ? "cannot be read"
                        : db_i64(row, 4) <= 0                                                     ? "has no time"
                                                                                                  : NULL;
    if (words != NULL) {
        id_format(&request, text);
        FAULT(proof, "the stored answer %" PRId64 ", to request %s, %s", db_i64(row, 0), text, words);
    }
    return ERR_ok;
}

static err
see_burial(void *context, struct db_statement *row)
{
    struct proof *proof = context;
    struct wire_burial burial;
    struct err_text why;
    struct id letter = db_id(row, 1);
    if (wire_decode(&burial_body, db_bytes(row, 2), &burial, &why) != ERR_ok) {
        FAULT(proof, "burial %" PRId64 " cannot be read: %s", db_i64(row, 0), why.text);
    } else if (!id_equal(&letter, &burial.letter)) {
        FAULT(proof, "burial %" PRId64 " is of another letter than its row says", db_i64(row, 0));
    }
    return ERR_ok;
}

static const struct table tables[] = {
    {"SELECT seq, header, body, topic FROM $outbox WHERE seq > ? ORDER BY seq LIMIT ?", see_kept},
    {"SELECT n, request, status, body, answered FROM $answer WHERE n > ? ORDER BY n LIMIT ?", see_answer},
    {"SELECT n, letter, frame FROM $burial WHERE n > ? ORDER BY n LIMIT ?", see_burial},
};

static err
read_parked(struct proof *proof)
{
    struct db_statement *rows =
        db_statement(proof->source->db, "SELECT p.seq, p.source, p.event_key, p.header, p.body, p.attempts, p.state, p.history,"
                                        " p.history_count, c.incarnation FROM $parked p LEFT JOIN $cursor c ON c.source = p.source");
    err code = db_query(rows);
    proof->told = 0;
    for (; code == ERR_ok && db_next(rows); proof->survey->rows_checked++) {
        see_parked(proof, rows);
    }
    return code;
}

/* --- what one query finds --- */

/* One number each: how many rows are not as they must be. */
static const struct {
    const char *sql;
    const char *words;
} checks[] = {
    {"SELECT COUNT(*) FROM $shard HAVING COUNT(*) <> 1", "shard rows, and there has to be one"},
    {"SELECT COUNT(*) FROM $shard WHERE epoch < 1 OR batch < 0 OR seq < 0 HAVING COUNT(*) > 0", "shard rows that no actor writes"},
    {"SELECT COUNT(*) FROM $schema_version WHERE version + applied + oldest IS NULL HAVING COUNT(*) > 0",
     "steps of its schema that say nothing"},
    {"SELECT COUNT(*) FROM $due WHERE due < 0 OR attempts < 0 HAVING COUNT(*) > 0", "due rows that no actor writes"},
    {"SELECT COUNT(*) FROM $trial WHERE deaths < 0 OR is_trying NOT IN (0, 1) OR is_convict NOT IN (0, 1) HAVING COUNT(*) > 0",
     "rows of trials that no actor writes"},
};

static err
run_checks(struct proof *proof)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < sizeof checks / sizeof checks[0]; i++) {
        struct db_statement *rows = db_statement(proof->source->db, checks[i].sql);
        code = db_query(rows);
        if (code == ERR_ok && db_next(rows)) {
            verify_fault(proof->survey, proof->source->name, "there are %" PRId64 " %s", db_i64(rows, 0), checks[i].words);
            db_done(rows);
        }
    }
    return code;
}

/* What stands until a person decides is no fault of the rows, but nothing of it goes on. A build that kept no incidents made no
 * table. */
static err
check_incidents(struct proof *proof)
{
    struct db_statement *read =
        db_statement(proof->source->db, "SELECT about, what, position FROM $incident WHERE resolved = 0 ORDER BY since");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct slice about = db_bytes(read, 0);
        struct slice what = db_bytes(read, 1);
        FAULT(proof, "what it follows of %.*s stands at event %lld: %.*s; `larder incidents` tells more", (int)about.size,
              (const char *)about.data, (long long)db_i64(read, 2), (int)what.size, (const char *)what.data);
    }
    return code == ERR_db_bug ? ERR_ok : code;
}

err
verify_kit(struct verify_survey *survey, const struct verify_source *source, const struct id *incarnation)
{
    struct proof proof = {.survey = survey, .source = source, .incarnation = *incarnation};
    size_t size = 0;
    for (size_t i = 0; i < WIRE_BODY_COUNT; i++) {
        size = wire_bodies[i]->size > size ? wire_bodies[i]->size : size;
    }
    proof.decoded = memory_room(size);
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < sizeof tables / sizeof tables[0]; i++) {
        proof.told = 0;
        code = verify_walk(&(struct verify_walk){.db = source->db,
                                                 .sql = tables[i].sql,
                                                 .see = tables[i].see,
                                                 .context = &proof,
                                                 .after = INT64_MIN,
                                                 .rows = &survey->rows_checked});
    }
    if (code == ERR_ok) {
        code = read_parked(&proof);
    }
    if (code == ERR_ok) {
        code = check_kept_end(&proof);
    }
    if (code == ERR_ok) {
        code = run_checks(&proof);
    }
    if (code == ERR_ok) {
        code = check_incidents(&proof);
    }
    free(proof.decoded);
    return code;
}
