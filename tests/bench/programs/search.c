/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   What the dlq's own way to find letters (actors/dlq/search) is worth beside plain indexes of the database.
 *
 *       search URL LETTERS ROUNDS     e.g. search sqlite:/tmp/search 1000000 21
 *
 *   Three tables side by side in one database: `zones` as the dlq has it; `few` with indexes by id, key and destination; `all` with
 *   one for each column that filters name. They are filled in turn, CHUNK letters each, and then asked in turn for a page of 100 by
 *   each filter, one that many letters pass and one that only the RARE first ones do. Prints a table: medians, and each plain one
 *   divided by the dlq's.
 *
 * LIMITS
 *   The store alone: messages are neither sent nor read, so differences are larger here than a client sees them. The database must not
 *   have these tables yet.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "dlq/dlq_schema.h"
#include "dlq/letter/dlq_store.h"
#include "dlq/letter/dlq_tally.h"
#include "kit/base/clock.h"

enum { MESSAGE = 256, MESSAGES = 4, CHUNK = 10240, KEYS = 100000, RARE = 10, ROUNDS_MAX = 101, CHUNKS_MAX = 1024 };

#define COLUMNS                                                                                                                   \
    "n, id, state, kind, reason, error, destination, letter_key, type, source, seq, seq_to, row_owner, row_key, attempts, first," \
    " last, opened, changed, units, amount, currency, useful_until, request, replay, status, traceparent, principal"

enum contender { ZONES, FEW, ALL, CONTENDERS };

static const char *const prefixes[CONTENDERS] = {"zones_0", "few_0", "all_0"};

/* A filter of one column, and the index that serves it. */
static const struct question {
    const char *name;
    const char *predicate;
    enum contender least; /* the first contender that has an index of it */
    const char *index;
} questions[] = {
    {"none", "", CONTENDERS, NULL},
    {"state", " AND state = ?", ZONES, "letter_state"},
    {"key", " AND letter_key = ?", FEW, "by_key"},
    {"destination", " AND destination = ?", FEW, "by_destination"},
    {"kind", " AND kind = ?", ALL, "by_kind"},
    {"reason", " AND reason = ?", ALL, "by_reason"},
    {"type", " AND type = ?", ALL, "by_type"},
    {"source", " AND source = ?", ALL, "by_source"},
    {"min_units", " AND units >= ?", ALL, "by_units"},
    {"min_amount", " AND amount >= ?", ALL, "by_amount"},
    {"younger_than_ms", " AND opened >= ?", ALL, "by_opened"},
};

enum { QUESTIONS = sizeof questions / sizeof questions[0] };

/* Those that make the tables of letters and no search; a plain contender has them and its indexes. */
static const int table_versions[] = {100, 101, 111, 114};
static const struct db_step index_steps[] = {
    {900, "CREATE INDEX IF NOT EXISTS by_id ON $letter (id)"},
    {901, "CREATE INDEX IF NOT EXISTS by_key ON $letter (letter_key)"},
    {902, "CREATE INDEX IF NOT EXISTS by_destination ON $letter (destination)"},
    {903, "CREATE INDEX IF NOT EXISTS by_kind ON $letter (kind)"},
    {904, "CREATE INDEX IF NOT EXISTS by_reason ON $letter (reason)"},
    {905, "CREATE INDEX IF NOT EXISTS by_type ON $letter (type)"},
    {906, "CREATE INDEX IF NOT EXISTS by_source ON $letter (source)"},
    {907, "CREATE INDEX IF NOT EXISTS by_units ON $letter (units)"},
    {908, "CREATE INDEX IF NOT EXISTS by_amount ON $letter (amount)"},
    {909, "CREATE INDEX IF NOT EXISTS by_opened ON $letter (opened)"},
};
enum { INDEXES_OF_FEW = 3, INDEXES_OF_ALL = sizeof index_steps / sizeof index_steps[0] };

struct stage {
    enum contender contender;
    struct db *db;
    struct dlq_store store; /* ZONES */
    struct dlq_tally *tally;
    int64_t last_n;
    double rates[CHUNKS_MAX];
    size_t rate_count;
};

static void
expect(const struct stage *stage, err code)
{
    if (code != ERR_ok) {
        fprintf(stderr, "%s: %s: %s\n", prefixes[stage->contender], err_symbol(code), db_error(stage->db));
        exit(1);
    }
}

/* --- life --- */

static size_t
list_steps(enum contender contender, struct db_step *steps)
{
    size_t count = 0;
    size_t indexes = contender == FEW ? INDEXES_OF_FEW : INDEXES_OF_ALL;
    if (contender == ZONES) {
        memcpy(steps, dlq_steps, sizeof dlq_steps);
        return DLQ_STEP_COUNT;
    }
    for (size_t i = 0; i < DLQ_STEP_COUNT; i++) {
        for (size_t k = 0; k < sizeof table_versions / sizeof table_versions[0]; k++) {
            if (dlq_steps[i].version == table_versions[k]) {
                steps[count++] = dlq_steps[i];
            }
        }
    }
    memcpy(&steps[count], index_steps, indexes * sizeof *steps);
    return count + indexes;
}

static void
start(struct stage *stage, enum contender contender, const char *url)
{
    struct db_config config;
    struct err_text why = {""};
    struct db_step steps[DLQ_STEP_COUNT + INDEXES_OF_ALL];
    *stage = (struct stage){.contender = contender};
    size_t count = list_steps(contender, steps);
    err code = db_config_parse(url, &config, &why);
    if (code == ERR_ok && config.driver == DB_SQLITE) {
        (void)mkdir(config.path, 0755);
    }
    (void)snprintf(config.prefix, sizeof config.prefix, "%s", prefixes[contender]);
    code = code == ERR_ok ? db_open(&config, &stage->db, &why) : code;
    code = code == ERR_ok ? db_migrate(stage->db, steps, count, &why) : code;
    if (code != ERR_ok) {
        fprintf(stderr, "%s: %s\n", url, why.text);
        exit(1);
    }
    stage->tally = dlq_tally_create(stage->db);
    expect(stage, dlq_tally_load(stage->tally));
    if (contender == ZONES) {
        dlq_store_init(&stage->store, stage->db);
        expect(stage, dlq_store_load(&stage->store));
    }
}

/* --- burying --- */

/* As programs/letters.c has them; the first ones have in every column what no other has. */
static struct dlq_letter
make_letter(int64_t number)
{
    static const char *const reasons[] = {"would_overflow", "internal",  "unknown_product", "out_of_stock",    "call_failed",
                                          "not_found",      "malformed", "invalid_field",   "unknown_version", "would_go_negative"};
    static const char *const destinations[] = {"stock/0",   "stock/1", "stock/2",   "stock/3",
                                               "factory/0", "order/0", "payment/0", "user/0"};
    static const char *const types[] = {"factory.produced", "factory.ordered", "factory.failed"};
    bool is_rare = number < RARE;
    int64_t now_ms = clock_utc_ms();
    struct dlq_letter letter = {.id = id_new(),
                                .state = is_rare ? DLQ_STALE : DLQ_DEAD,
                                .kind = is_rare ? DLQ_SAGA : DLQ_EVENT,
                                .seq = number + 1,
                                .to = DLQ_NONE,
                                .attempts = 7,
                                .first_ms = now_ms - 10000,
                                .last_ms = now_ms,
                                .opened_ms = now_ms,
                                .changed_ms = now_ms,
                                .units = is_rare ? 1000000 : 1 + number * 7919 % 1000,
                                .amount = is_rare ? 100000000 : number * 104729 % 100000,
                                .currency = "EUR",
                                .useful_until_ms = DLQ_NONE,
                                .status = ERR_COUNT};
    letter.id = id_derive(&letter.id, "letter/stock/0");
    dlq_copy(letter.reason, sizeof letter.reason, slice_of(is_rare ? "poison" : reasons[number % 10]));
    dlq_copy(letter.error, sizeof letter.error, slice_of("the shelf cannot hold a number that large"));
    dlq_copy(letter.destination, sizeof letter.destination, slice_of(is_rare ? "rare/0" : destinations[number % 8]));
    dlq_copy(letter.type, sizeof letter.type, slice_of(is_rare ? "rare.event" : types[number % 3]));
    dlq_copy(letter.source, sizeof letter.source, slice_of(is_rare ? "rare/0" : "factory/0"));
    (void)snprintf(letter.key, sizeof letter.key, "product-%05lld", (long long)(is_rare ? KEYS : number * 31 % KEYS));
    return letter;
}

static void
insert_plain(struct stage *stage, struct dlq_letter *letter, const struct dlq_frames *frames)
{
    struct db_rows *rows = db_rows(stage->db, "INSERT INTO $letter (" COLUMNS ")", 28);
    letter->n = ++stage->last_n;
    db_rows_i64(rows, letter->n);
    db_rows_id(rows, &letter->id);
    db_rows_i64(rows, (int64_t)letter->state);
    db_rows_i64(rows, (int64_t)letter->kind);
    db_rows_text(rows, slice_of(letter->reason));
    db_rows_text(rows, slice_of(letter->error));
    db_rows_text(rows, slice_of(letter->destination));
    db_rows_text(rows, slice_of(letter->key));
    db_rows_text(rows, slice_of(letter->type));
    db_rows_text(rows, slice_of(letter->source));
    db_rows_i64(rows, letter->seq);
    db_rows_i64(rows, letter->to);
    db_rows_text(rows, slice_of(letter->row_owner));
    db_rows_bytes(rows, (struct slice){letter->row_key, letter->row_key_size});
    const int64_t numbers[] = {letter->attempts,   letter->first_ms, letter->last_ms, letter->opened_ms,
                               letter->changed_ms, letter->units,    letter->amount};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        db_rows_i64(rows, numbers[i]);
    }
    db_rows_text(rows, slice_of(letter->currency));
    db_rows_i64(rows, letter->useful_until_ms);
    db_rows_id(rows, &letter->request);
    db_rows_id(rows, &letter->replay);
    db_rows_text(rows, slice_of(""));
    db_rows_text(rows, slice_of(letter->traceparent));
    db_rows_text(rows, slice_of(letter->principal));
    rows = db_rows(stage->db, "INSERT INTO $letter_frame (n, header, body, original, history, history_count, answer)", 7);
    db_rows_i64(rows, letter->n);
    db_rows_bytes(rows, frames->header);
    db_rows_bytes(rows, frames->body);
    db_rows_bytes(rows, frames->original);
    db_rows_bytes(rows, frames->history);
    db_rows_i64(rows, frames->history_count);
    db_rows_bytes(rows, frames->answer);
}

/* Whether they are there already, as dlq.bury looks. */
static void
look_for(struct stage *stage, const struct dlq_letter *letters)
{
    static struct dlq_letter known[MESSAGE];
    struct id ids[MESSAGE];
    size_t found = 0;
    struct db_in *in = db_in(stage->db, "SELECT id, n FROM $letter WHERE id IN (*)");
    for (size_t i = 0; i < MESSAGE; i++) {
        ids[i] = letters[i].id;
        if (stage->contender != ZONES) {
            db_in_id(in, &ids[i]);
        }
    }
    if (stage->contender == ZONES) {
        expect(stage, dlq_store_find_many(&stage->store, ids, MESSAGE, known, &found));
        return;
    }
    while (db_in_next(in) != NULL) {
        found++;
    }
    expect(stage, db_in_end(in));
}

static void
flush(struct stage *stage)
{
    if (stage->contender == ZONES) {
        expect(stage, dlq_store_flush(&stage->store));
        return;
    }
    expect(stage, db_rows_queue(db_rows(stage->db, "INSERT INTO $letter (" COLUMNS ")", 28)));
    expect(stage, db_rows_queue(
                      db_rows(stage->db, "INSERT INTO $letter_frame (n, header, body, original, history, history_count, answer)", 7)));
}

static void
bury_message(struct stage *stage, int64_t first)
{
    static struct dlq_letter letters[MESSAGE];
    static uint8_t bytes[600];
    const struct dlq_frames frames = {
        .header = {bytes, 150}, .body = {bytes, 60}, .history = {bytes, sizeof bytes}, .history_count = 7};
    for (int64_t i = 0; i < MESSAGE; i++) {
        letters[i] = make_letter(first + i);
    }
    look_for(stage, letters);
    for (int64_t i = 0; i < MESSAGE; i++) {
        if (stage->contender == ZONES) {
            dlq_store_insert(&stage->store, &letters[i], &frames);
        } else {
            insert_plain(stage, &letters[i], &frames);
        }
        dlq_tally_add(stage->tally, &letters[i], 1);
    }
    flush(stage);
}

static void
bury_chunk(struct stage *stage, int64_t first)
{
    int64_t began_us = clock_steady_us();
    for (int64_t i = 0; i < CHUNK; i += (int64_t)MESSAGE * MESSAGES) {
        for (int64_t k = 0; k < MESSAGES; k++) {
            bury_message(stage, first + i + k * MESSAGE);
        }
        expect(stage, dlq_tally_queue(stage->tally));
        expect(stage, db_commit(stage->db));
        dlq_tally_committed(stage->tally);
        if (stage->contender == ZONES) {
            dlq_store_committed(&stage->store);
        }
    }
    stage->rates[stage->rate_count++ % CHUNKS_MAX] = CHUNK * 1e6 / (double)(clock_steady_us() - began_us);
}

/* --- asking --- */

static void
set_filter(struct wire_letter_filter *filter, size_t question, bool is_rare)
{
    WIRE_SET(filter, letter_filter, limit, 100);
    switch (question) {
    case 1:
        WIRE_SET(filter, letter_filter, state, slice_of(is_rare ? "stale" : "dead"));
        break;
    case 2:
        WIRE_SET(filter, letter_filter, key, slice_of(is_rare ? "product-100000" : "product-00042"));
        break;
    case 3:
        WIRE_SET(filter, letter_filter, destination, slice_of(is_rare ? "rare/0" : "payment/0"));
        break;
    case 4:
        WIRE_SET(filter, letter_filter, kind, slice_of(is_rare ? "saga" : "event"));
        break;
    case 5:
        WIRE_SET(filter, letter_filter, reason, slice_of(is_rare ? "poison" : "internal"));
        break;
    case 6:
        WIRE_SET(filter, letter_filter, type, slice_of(is_rare ? "rare.event" : "factory.failed"));
        break;
    case 7:
        WIRE_SET(filter, letter_filter, source, slice_of(is_rare ? "rare/0" : "factory/0"));
        break;
    case 8:
        WIRE_SET(filter, letter_filter, min_units, is_rare ? 1000000 : 990);
        break;
    case 9:
        WIRE_SET(filter, letter_filter, min_amount, is_rare ? 100000000 : 99000);
        break;
    case 10:
        WIRE_SET(filter, letter_filter, younger_than_ms, is_rare ? 1 : 3600000);
        break;
    default:
        break;
    }
}

static void
bind(struct db_statement *read, size_t question, const struct wire_letter_filter *filter, int64_t now_ms)
{
    switch (question) {
    case 1:
        db_bind_i64(read, (int64_t)dlq_state_find(filter->state));
        break;
    case 2:
        db_bind_text(read, filter->key);
        break;
    case 3:
        db_bind_text(read, filter->destination);
        break;
    case 4:
        db_bind_i64(read, (int64_t)dlq_kind_find(filter->kind));
        break;
    case 5:
        db_bind_text(read, filter->reason);
        break;
    case 6:
        db_bind_text(read, filter->type);
        break;
    case 7:
        db_bind_text(read, filter->source);
        break;
    case 8:
        db_bind_i64(read, filter->min_units);
        break;
    case 9:
        db_bind_i64(read, filter->min_amount);
        break;
    case 10:
        db_bind_i64(read, now_ms - filter->younger_than_ms);
        break;
    default:
        break;
    }
}

static struct db_statement *
page_plain(struct stage *stage, size_t question, const struct wire_letter_filter *filter, int64_t now_ms)
{
    char sql[1024];
    const char *index = stage->contender >= questions[question].least ? questions[question].index : "PRIMARY";
    bool is_free = question >= 8 && stage->contender == ALL; /* which way a range goes is the engine's to choose */
    char by[64] = "";
    if (!is_free) {
        (void)snprintf(by, sizeof by, "{BY %s}", index);
    }
    (void)snprintf(sql, sizeof sql, "SELECT " COLUMNS " FROM $letter %s WHERE n < ?%s ORDER BY n DESC LIMIT 101", by,
                   questions[question].predicate);
    struct db_statement *read = db_statement(stage->db, sql);
    db_bind_i64(read, INT64_MAX);
    bind(read, question, filter, now_ms);
    expect(stage, db_query(read));
    return read;
}

static int64_t
ask_us(struct stage *stage, size_t question, bool is_rare, int64_t now_ms, size_t *found)
{
    struct wire_letter_filter filter = {0};
    struct db_statement *rows = NULL;
    struct dlq_letter letter;
    struct err_text why;
    set_filter(&filter, question, is_rare);
    *found = 0;
    int64_t began_us = clock_steady_us();
    if (stage->contender == ZONES) {
        expect(stage, dlq_store_page(&stage->store, &filter, now_ms, &rows, &why));
    } else {
        rows = page_plain(stage, question, &filter, now_ms);
    }
    while (dlq_store_next(rows, &letter)) {
        (*found)++;
    }
    db_done(rows);
    return clock_steady_us() - began_us;
}

/* --- what is seen --- */

static int
compare(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

static double
median(double *list, size_t count)
{
    qsort(list, count, sizeof *list, compare);
    return list[count / 2];
}

static void
print_line(const char *what, const double figures[CONTENDERS])
{
    printf("| %s | %.0f | %.0f | %.0f | %.2f | %.2f |\n", what, figures[ZONES], figures[FEW], figures[ALL],
           figures[FEW] / figures[ZONES], figures[ALL] / figures[ZONES]);
}

static void
compare_filter(struct stage *stages, size_t question, bool is_rare, int64_t rounds)
{
    static double times[CONTENDERS][ROUNDS_MAX];
    size_t found[CONTENDERS] = {0};
    double medians[CONTENDERS];
    char what[64];
    int64_t now_ms = clock_utc_ms();
    for (int64_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < CONTENDERS; i++) {
            times[i][round] = (double)ask_us(&stages[i], question, is_rare, now_ms, &found[i]);
        }
    }
    for (size_t i = 0; i < CONTENDERS; i++) {
        medians[i] = median(times[i], (size_t)rounds);
        if (found[i] != found[ZONES]) {
            fprintf(stderr, "%s by %s: %zu letters and not %zu\n", prefixes[i], questions[question].name, found[i], found[ZONES]);
        }
    }
    (void)snprintf(what, sizeof what, "%s%s, us", questions[question].name, is_rare ? ", rare" : "");
    print_line(what, medians);
}

int
main(int argc, char **argv)
{
    static struct stage stages[CONTENDERS];
    int64_t letters = argc == 4 ? strtoll(argv[2], NULL, 10) : 0;
    int64_t rounds = argc == 4 ? strtoll(argv[3], NULL, 10) : 0;
    if (letters <= 0 || rounds <= 0 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: search URL LETTERS ROUNDS\n");
        return 2;
    }
    for (size_t i = 0; i < CONTENDERS; i++) {
        start(&stages[i], (enum contender)i, argv[1]);
    }
    for (int64_t first = 0; first < letters; first += CHUNK) {
        for (size_t i = 0; i < CONTENDERS; i++) {
            bury_chunk(&stages[i], first);
        }
    }
    printf("| %lld letters | zones | few | all | few / zones | all / zones |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
           (long long)(letters + CHUNK - 1) / CHUNK * CHUNK);
    double whole[CONTENDERS];
    double last[CONTENDERS];
    for (size_t i = 0; i < CONTENDERS; i++) {
        size_t count = stages[i].rate_count < CHUNKS_MAX ? stages[i].rate_count : CHUNKS_MAX;
        size_t tail = count < 10 ? count : 10;
        last[i] = median(&stages[i].rates[count - tail], tail);
        whole[i] = median(stages[i].rates, count);
    }
    print_line("burials/s", whole);
    print_line("burials/s, the last ones", last);
    for (size_t question = 0; question < QUESTIONS; question++) {
        compare_filter(stages, question, false, rounds);
        if (question > 0) {
            compare_filter(stages, question, true, rounds);
        }
    }
    return 0;
}
