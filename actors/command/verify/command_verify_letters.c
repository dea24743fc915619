/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that what was given up has its letter, and that a dead letter has its row.
 *
 *   A row that was given up (a parked event, or a due row of an outside call) and its burial are of one transaction, and the burial
 * goes when the dlq has confirmed it. So a row whose burial is gone in one snapshot of its owner has its letter in every later
 * snapshot of the dlq: that needs no second look. The other way round a letter may outlive its row for as long as an answer is under
 * way; a dead letter without a row is looked at again for LOOK_ROUNDS rounds before it is told.
 *
 * STATE
 *   Per owner the rows that were given up, sorted by what they are called: source and seq, or owner and key.
 *
 * FAILURES
 *   Each is a sentence that names the event and the letter.
 *
 * LIMITS
 *   The rows are in memory, about 300 bytes each. Of each kind the first VERIFY_TOLD_MAX faults are told, all are counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/actor.h"
#include "command_verify.h"
#include "command_verify_comparison.h"
#include "dlq/dlq_verify.h"
#include "dlq/letter/dlq_letter.h"
#include "kit/base/memory.h"
#include "wire.h"

#define LOOK_ROUNDS 40

/* What a row is called, by its owner and in its letter. Zero-initialised where nothing is, so that it can be compared whole. */
struct row_name {
    bool is_call;
    char source[VERIFY_NAME_SIZE];
    int64_t seq;
    char owner[33];
    uint8_t key[64];
    size_t key_size;
};

struct kept_row {
    struct row_name name;
    struct id event; /* of a parked one */
    bool is_pending; /* its burial is not confirmed */
    bool is_known;   /* to the dlq */
};

struct rows {
    struct kept_row *all;
    size_t count;
    size_t capacity;
};

/* A dead letter whose row was not found. */
struct suspect {
    enum verify_verdict verdict;
    int64_t n;
    struct id letter;
    struct row_name name;
    const struct verify_source *owner;
};

struct verify_rows {
    struct rows of[VERIFY_SOURCES_MAX]; /* as the survey's sources */
    struct verify_comparison comparison;
};

/* --- names --- */

static struct row_name
event_name(struct slice source, int64_t seq)
{
    struct row_name name;
    memset(&name, 0, sizeof name);
    verify_copy_text(name.source, sizeof name.source, source);
    name.seq = seq;
    return name;
}

static struct row_name
call_name(struct slice owner, struct slice key)
{
    struct row_name name;
    memset(&name, 0, sizeof name);
    name.is_call = true;
    snprintf(name.owner, sizeof name.owner, "%.*s", (int)owner.size, owner.size == 0 ? "" : (const char *)owner.data);
    name.key_size = key.size < sizeof name.key ? key.size : sizeof name.key;
    if (name.key_size > 0) {
        memcpy(name.key, key.data, name.key_size);
    }
    return name;
}

static int
compare_names(const struct row_name *a, const struct row_name *b)
{
    int order = (int)a->is_call - (int)b->is_call;
    order = order != 0 ? order : strcmp(a->source, b->source);
    order = order != 0 ? order : (a->seq > b->seq) - (a->seq < b->seq);
    order = order != 0 ? order : strcmp(a->owner, b->owner);
    order = order != 0 ? order : (a->key_size > b->key_size) - (a->key_size < b->key_size);
    return order != 0 ? order : memcmp(a->key, b->key, sizeof a->key);
}

static int
compare_rows(const void *a, const void *b)
{
    return compare_names(&((const struct kept_row *)a)->name, &((const struct kept_row *)b)->name);
}

static struct kept_row *
find_row(const struct rows *rows, const struct row_name *name)
{
    struct kept_row wanted = {.name = *name};
    return rows->count == 0 ? NULL : bsearch(&wanted, rows->all, rows->count, sizeof *rows->all, compare_rows);
}

/* "event 12 of factory/0", "call of factory/0, key 3d93..." */
static void
describe(const struct row_name *name, char words[192])
{
    char key[2 * sizeof name->key + 1] = "";
    if (!name->is_call) {
        snprintf(words, 192, "event %lld of %s", (long long)name->seq, name->source);
        return;
    }
    for (size_t i = 0; i < name->key_size; i++) {
        snprintf(key + 2 * i, 3, "%02x", name->key[i]);
    }
    snprintf(words, 192, "the row of \"%s\" with key %s", name->owner, key);
}

/* --- the owner's rows --- */

static struct kept_row *
add_row(struct rows *rows)
{
    rows->all = memory_grow(rows->all, &rows->capacity, rows->count + 1, sizeof *rows->all);
    struct kept_row *row = &rows->all[rows->count++];
    memset(row, 0, sizeof *row);
    return row;
}

static err
read_parked(const struct verify_source *source, struct rows *rows)
{
    struct db_statement *read = db_statement(source->db, "SELECT source, seq, header FROM $parked WHERE state > 0");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct wire_event_header header;
        struct kept_row *row = add_row(rows);
        row->name = event_name(db_bytes(read, 0), db_i64(read, 1));
        if (wire_decode(&event_header_body, db_bytes(read, 2), &header, NULL) == ERR_ok) {
            row->event = header.id;
        }
    }
    return code;
}

static err
read_due(const struct verify_source *source, struct rows *rows)
{
    struct db_statement *read = db_statement(source->db, "SELECT owner, due_key FROM $due WHERE due >= ?");
    db_bind_i64(read, DUE_NEVER - 1);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct kept_row *row = add_row(rows);
        row->name = call_name(db_bytes(read, 0), db_bytes(read, 1));
    }
    return code;
}

/* The rows of one actor and its letters, whichever is being read. */
struct reading {
    struct verify_survey *survey;
    const struct verify_source *source;
    struct rows *rows;
};

static err
see_burial(void *context, struct db_statement *read)
{
    const struct reading *reading = context;
    struct wire_burial burial;
    struct err_text why;
    if (wire_decode(&burial_body, db_bytes(read, 1), &burial, &why) != ERR_ok) {
        verify_fault(reading->survey, reading->source->name, "a burial cannot be read: %s", why.text);
        return ERR_ok;
    }
    bool is_call = WIRE_HAS(&burial, burial, due_key);
    struct row_name name = is_call ? call_name(burial.owner, burial.due_key) : event_name(burial.source, burial.seq);
    struct kept_row *row = find_row(reading->rows, &name);
    if (row != NULL) {
        row->is_pending = true;
    }
    return ERR_ok;
}

err
verify_read_rows(struct verify_survey *survey, const struct verify_source *source, struct err_text *why)
{
    struct rows *rows = &survey->rows->of[source - survey->sources];
    if (source->proof->is_dlq) {
        return ERR_ok;
    }
    err code = read_parked(source, rows);
    if (code == ERR_ok) {
        code = read_due(source, rows);
    }
    if (rows->count > 0) {
        qsort(rows->all, rows->count, sizeof *rows->all, compare_rows);
    }
    if (code == ERR_ok) {
        code = verify_walk(&(struct verify_walk){.db = source->db,
                                                 .sql = "SELECT n, frame FROM $burial WHERE n > ? ORDER BY n LIMIT ?",
                                                 .see = see_burial,
                                                 .after = INT64_MIN,
                                                 .context = &(struct reading){survey, source, rows}});
    }
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    return verify_unread(source, code, why);
}

/* --- the letters --- */

/* Letters of events, calls and sagas that an actor could not finish. */
static err
see_letter(void *context, struct db_statement *read)
{
    const struct reading *owner = context;
    int64_t kind = db_i64(read, 2);
    if (kind != DLQ_EVENT && kind != DLQ_CALL && kind != DLQ_SAGA) {
        return ERR_ok;
    }
    struct row_name name =
        kind == DLQ_EVENT ? event_name(db_bytes(read, 4), db_i64(read, 5)) : call_name(db_bytes(read, 6), db_bytes(read, 7));
    struct kept_row *row = find_row(owner->rows, &name);
    if (row != NULL) {
        row->is_known = true;
    } else if (db_i64(read, 3) == DLQ_DEAD) {
        verify_suspect(
            &owner->survey->rows->comparison,
            &(struct suspect){
                .verdict = VERIFY_DIFFERS, .n = db_i64(read, 0), .letter = db_id(read, 1), .name = name, .owner = owner->source});
    }
    return ERR_ok;
}

static err
read_letters(struct verify_survey *survey, const struct verify_source *dlq, const struct verify_source *owner)
{
    return verify_walk(&(struct verify_walk){
        .db = dlq->db,
        .sql = dlq_walk_letters,
        .of = slice_of(owner->name),
        .see = see_letter,
        .context = &(struct reading){survey, owner, &survey->rows->of[owner - survey->sources]},
    });
}

static void
judge_rows(struct verify_survey *survey, const struct verify_source *owner)
{
    const struct rows *rows = &survey->rows->of[owner - survey->sources];
    int64_t told = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct kept_row *row = &rows->all[i];
        if (row->is_known || row->is_pending) {
            continue;
        }
        char words[192];
        char event[ID_TEXT_SIZE] = "";
        describe(&row->name, words);
        id_format(&row->event, event);
        if (told++ == VERIFY_TOLD_MAX) {
            fprintf(stderr, "%s: more rows without a letter are counted, but not told\n", owner->name);
        }
        if (told > VERIFY_TOLD_MAX) {
            survey->faults++;
        } else {
            verify_fault(survey, owner->name, "%s%s%s was given up and the dlq has confirmed it, but %s", words,
                         row->name.is_call ? "" : ", id ", row->name.is_call ? "" : event,
                         survey->dlq == NULL ? "the dlq was never started" : "there is no letter about it");
        }
    }
}

/* --- the second look --- */

/* Whether the dlq still says that it is dead. */
static err
is_dead(const struct verify_source *dlq, const struct suspect *suspect, bool *is)
{
    struct db_statement *read = dlq_select_state(dlq->db, suspect->n);
    err code = db_query(read);
    *is = code == ERR_ok && db_next(read) && db_i64(read, 0) == DLQ_DEAD;
    db_done(read);
    return code;
}

static err
has_row(const struct suspect *suspect, bool *has)
{
    struct db_statement *read = suspect->name.is_call
                                    ? db_statement(suspect->owner->db, "SELECT due FROM $due WHERE owner = ? AND due_key = ?")
                                    : db_statement(suspect->owner->db, "SELECT state FROM $parked WHERE source = ? AND seq = ?");
    if (suspect->name.is_call) {
        db_bind_text(read, slice_of(suspect->name.owner));
        db_bind_bytes(read, (struct slice){suspect->name.key, suspect->name.key_size});
    } else {
        db_bind_text(read, slice_of(suspect->name.source));
        db_bind_i64(read, suspect->name.seq);
    }
    err code = db_query(read);
    *has = code == ERR_ok && db_next(read);
    db_done(read);
    return code;
}

/* New snapshots: the letters' first, then the rows'. */
static err
look_again(void *context, void *all, size_t count, struct err_text *why)
{
    const struct verify_survey *survey = context;
    const struct verify_source *dlq = survey->dlq;
    struct suspect *suspects = all;
    bool is = false;
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        code = is_dead(dlq, &suspects[i], &is);
        suspects[i].verdict = is ? VERIFY_DIFFERS : VERIFY_AGREES;
    }
    code = verify_end_snapshot(dlq, code, why);
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        if (suspects[i].verdict == VERIFY_DIFFERS) {
            code = has_row(&suspects[i], &is);
            suspects[i].verdict = is ? VERIFY_AGREES : VERIFY_DIFFERS;
            code = verify_unread(suspects[i].owner, code, why);
        }
    }
    for (size_t i = 0; i < survey->count; i++) {
        db_rollback(survey->sources[i].db);
    }
    return code;
}

static void
tell(void *context, const void *told)
{
    const struct suspect *suspect = told;
    char words[192];
    char letter[ID_TEXT_SIZE];
    describe(&suspect->name, words);
    id_format(&suspect->letter, letter);
    verify_fault(context, "dlq/0", "letter %s is dead, but %s does not keep %s: replay it to close it", letter, suspect->owner->name,
                 words);
}

static err
read_all_letters(struct verify_survey *survey, const struct verify_source *dlq, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; i < survey->count && code == ERR_ok; i++) {
        if (!survey->sources[i].proof->is_dlq) {
            code = read_letters(survey, dlq, &survey->sources[i]);
        }
    }
    if (code == ERR_ok) {
        code = db_settle(dlq->db);
    }
    code = verify_unread(dlq, code, why);
    db_rollback(dlq->db);
    return code;
}

void
verify_rows_create(struct verify_survey *survey)
{
    survey->rows = memory_new(1, sizeof *survey->rows);
    survey->rows->comparison = (struct verify_comparison){
        .survey = survey,
        .place = "dlq/0",
        .rest = "dead letters had no row",
        .size = sizeof(struct suspect),
        .looks_max = LOOK_ROUNDS,
        .look_again = look_again,
        .tell = tell,
        .context = survey,
    };
}

void
verify_rows_destroy(struct verify_survey *survey)
{
    for (size_t i = 0; i < VERIFY_SOURCES_MAX; i++) {
        free(survey->rows->of[i].all);
    }
    verify_comparison_fini(&survey->rows->comparison);
    free(survey->rows);
    survey->rows = NULL;
}

err
verify_compare_letters(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_source *dlq = survey->dlq;
    err code = dlq == NULL ? ERR_ok : read_all_letters(survey, dlq, why);
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        judge_rows(survey, &survey->sources[i]);
    }
    return code == ERR_ok ? verify_conclude(&survey->rows->comparison, why) : code;
}
