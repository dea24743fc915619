/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A page of letters by a filter, in order of time, in a few milliseconds whatever the filter is.
 *
 * STATE     Ways to read, each one statement per direction: along the primary key, or along the index of one name, which has n
 *           behind the name. What else the filter says is a predicate that no engine takes for an index (a unary plus, an OR with a
 *           parameter), so that the way is ours to choose: the only one there is, or of several the one with the fewest letters,
 *           counted up to PROBE_MAX. Values (min_units, min_amount) and ages narrow the way along the primary key by $zone
 *           (dlq_zones.h): the numbers of a page are collected part by part, then their rows are read by number.
 *
 * FAILURES  Errors of the database go up. A state, kind or reason that does not exist is refused by name.
 *
 * LIMITS    Several names at once read along one of them and pass over what the others refuse: when each has many letters and all
 *           together few, that is as slow as the shortest of them is long.
 */
#include "dlq_filters.h"

#include <stdio.h>
#include <stdlib.h>

#include "dlq_letter.h"

#define PROBE_MAX 5000
#define NUMBERS_MAX 1024
#define NUMBERS_EXPONENTS 11

/* Along what a read goes. */
enum way { WAY_NUMBER, WAY_STATE, WAY_KIND, WAY_REASON, WAY_DESTINATION, WAY_KEY, WAY_TYPE, WAY_SOURCE, WAY_COUNT };

static const struct {
    const char *column;
    const char *key; /* for {BY} */
} ways[WAY_COUNT] = {
    [WAY_NUMBER] = {"n", "PRIMARY"},
    [WAY_STATE] = {"state", "letter_state"},
    [WAY_KIND] = {"kind", "letter_kind"},
    [WAY_REASON] = {"reason", "letter_reason"},
    [WAY_DESTINATION] = {"destination", "letter_destination"},
    [WAY_KEY] = {"letter_key", "letter_key"},
    [WAY_TYPE] = {"type", "letter_type"},
    [WAY_SOURCE] = {"source", "letter_source"},
};

/* In the order of the parameters of PREDICATES. Numbers that the filter does not say are bounds that hold for all. */
struct terms {
    int64_t state_lo, state_hi;
    int64_t kind_lo, kind_hi;
    struct slice reason;
    struct slice destination;
    struct slice key;
    struct slice type;
    struct slice source;
    int64_t opened_lo, opened_hi;
    int64_t units;
    int64_t amount;
};

#define PREDICATES                                                                                                     \
    " AND +state BETWEEN ? AND ? AND +kind BETWEEN ? AND ? AND (? = '' OR reason = ?) AND (? = '' OR destination = ?)" \
    " AND (? = '' OR letter_key = ?) AND (? = '' OR type = ?) AND (? = '' OR source = ?) AND +opened BETWEEN ? AND ?"  \
    " AND +units >= ? AND +amount >= ?"

struct dlq_filters {
    struct db *db;
    const struct dlq_zones *zones;
    const char *columns;
    struct db_statement *reads[WAY_COUNT][2];        /* by `newest_first` */
    struct db_statement *numbers[2];                 /* along the primary key, numbers only */
    struct db_statement *rows[NUMBERS_EXPONENTS][2]; /* by number; of 1, 2, 4 ... numbers */
    struct db_statement *probes[WAY_COUNT];
};

/* --- statements --- */

static struct db_statement *
statement_along(struct dlq_filters *filters, enum way way, const char *columns, bool newest_first)
{
    char sql[2048];
    char match[64] = "";
    if (way != WAY_NUMBER) {
        (void)snprintf(match, sizeof match, "%s = ? AND ", ways[way].column);
    }
    (void)snprintf(sql, sizeof sql, "SELECT %s FROM $letter {BY %s} WHERE %sn >= ? AND n < ?" PREDICATES " ORDER BY n%s LIMIT ?",
                   columns, ways[way].key, match, newest_first ? " DESC" : "");
    return db_statement(filters->db, sql);
}

static struct db_statement *
read_along(struct dlq_filters *filters, enum way way, bool newest_first)
{
    struct db_statement **kept = &filters->reads[way][newest_first];
    if (*kept == NULL) {
        *kept = statement_along(filters, way, filters->columns, newest_first);
    }
    return *kept;
}

static struct db_statement *
read_numbers(struct dlq_filters *filters, bool newest_first)
{
    struct db_statement **kept = &filters->numbers[newest_first];
    if (*kept == NULL) {
        *kept = statement_along(filters, WAY_NUMBER, "n", newest_first);
    }
    return *kept;
}

static struct db_statement *
probe_of(struct dlq_filters *filters, enum way way)
{
    if (filters->probes[way] == NULL) {
        char sql[256];
        (void)snprintf(sql, sizeof sql,
                       "SELECT COUNT(*) FROM (SELECT n FROM $letter {BY %s} WHERE %s = ? AND n >= ? AND n < ? LIMIT ?) AS some",
                       ways[way].key, ways[way].column);
        filters->probes[way] = db_statement(filters->db, sql);
    }
    return filters->probes[way];
}

static struct db_statement *
read_rows(struct dlq_filters *filters, size_t exponent, bool newest_first)
{
    struct db_statement **kept = &filters->rows[exponent][newest_first];
    if (*kept == NULL) {
        char sql[4096];
        int used = snprintf(sql, sizeof sql, "SELECT %s FROM $letter {BY PRIMARY} WHERE n IN (?", filters->columns);
        for (size_t i = 1; i < (size_t)1 << exponent; i++) {
            used += snprintf(&sql[used], sizeof sql - (size_t)used, ",?");
        }
        (void)snprintf(&sql[used], sizeof sql - (size_t)used, ") ORDER BY n%s", newest_first ? " DESC" : "");
        *kept = db_statement(filters->db, sql);
    }
    return *kept;
}

struct dlq_filters *
dlq_filters_create(struct db *db, const struct dlq_zones *zones, const char *columns)
{
    struct dlq_filters *filters = calloc(1, sizeof *filters);
    if (filters == NULL) {
        abort();
    }
    filters->db = db;
    filters->zones = zones;
    filters->columns = columns;
    return filters;
}

void
dlq_filters_destroy(struct dlq_filters **filters)
{
    free(*filters);
    *filters = NULL;
}

/* --- what the filter says --- */

static err
check_names(const struct letter_filter *filter, struct err_text *why)
{
    if (WIRE_HAS(filter, letter_filter, state) && dlq_state_find(filter->state) == DLQ_STATE_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.state: %.*s is none of waiting, dead, replaying, done, discarded, stale",
                       (int)filter->state.size, (const char *)filter->state.data);
    }
    if (WIRE_HAS(filter, letter_filter, kind) && dlq_kind_find(filter->kind) == DLQ_KIND_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.kind: %.*s is none of event, subscriber, request, call",
                       (int)filter->kind.size, (const char *)filter->kind.data);
    }
    if (WIRE_HAS(filter, letter_filter, reason) && err_find((const char *)filter->reason.data, filter->reason.size) == ERR_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.reason: %.*s is not the symbol of an error", (int)filter->reason.size,
                       (const char *)filter->reason.data);
    }
    return ERR_ok;
}

static struct terms
terms_of(const struct letter_filter *filter, int64_t now_ms)
{
    const struct slice none = slice_of("");
    struct terms terms = {
        .state_hi = INT64_MAX,
        .kind_hi = INT64_MAX,
        .reason = WIRE_HAS(filter, letter_filter, reason) ? filter->reason : none,
        .destination = WIRE_HAS(filter, letter_filter, destination) ? filter->destination : none,
        .key = WIRE_HAS(filter, letter_filter, key) ? filter->key : none,
        .type = WIRE_HAS(filter, letter_filter, type) ? filter->type : none,
        .source = WIRE_HAS(filter, letter_filter, source) ? filter->source : none,
        .opened_hi = WIRE_HAS(filter, letter_filter, older_than_ms) ? now_ms - filter->older_than_ms : INT64_MAX,
        .opened_lo = WIRE_HAS(filter, letter_filter, younger_than_ms) ? now_ms - filter->younger_than_ms : 0,
        .units = WIRE_HAS(filter, letter_filter, min_units) ? filter->min_units : DLQ_NONE,
        .amount = WIRE_HAS(filter, letter_filter, min_amount) ? filter->min_amount : DLQ_NONE,
    };
    if (WIRE_HAS(filter, letter_filter, state)) {
        terms.state_lo = terms.state_hi = (int64_t)dlq_state_find(filter->state);
    }
    if (WIRE_HAS(filter, letter_filter, kind)) {
        terms.kind_lo = terms.kind_hi = (int64_t)dlq_kind_find(filter->kind);
    }
    return terms;
}

static bool
terms_have(const struct terms *terms, enum way way)
{
    switch (way) {
    case WAY_STATE:
        return terms->state_lo == terms->state_hi;
    case WAY_KIND:
        return terms->kind_lo == terms->kind_hi;
    case WAY_REASON:
        return terms->reason.size > 0;
    case WAY_DESTINATION:
        return terms->destination.size > 0;
    case WAY_KEY:
        return terms->key.size > 0;
    case WAY_TYPE:
        return terms->type.size > 0;
    case WAY_SOURCE:
        return terms->source.size > 0;
    case WAY_NUMBER:
    case WAY_COUNT:
        break;
    }
    return false;
}

static void
bind_match(struct db_statement *statement, const struct terms *terms, enum way way)
{
    switch (way) {
    case WAY_STATE:
        db_bind_i64(statement, terms->state_lo);
        break;
    case WAY_KIND:
        db_bind_i64(statement, terms->kind_lo);
        break;
    case WAY_REASON:
        db_bind_text(statement, terms->reason);
        break;
    case WAY_DESTINATION:
        db_bind_text(statement, terms->destination);
        break;
    case WAY_KEY:
        db_bind_text(statement, terms->key);
        break;
    case WAY_TYPE:
        db_bind_text(statement, terms->type);
        break;
    case WAY_SOURCE:
        db_bind_text(statement, terms->source);
        break;
    case WAY_NUMBER:
    case WAY_COUNT:
        break;
    }
}

static void
bind_twice(struct db_statement *statement, struct slice text)
{
    db_bind_text(statement, text);
    db_bind_text(statement, text);
}

static void
bind_all(struct db_statement *statement, const struct terms *terms, enum way way, struct dlq_range range, int64_t limit)
{
    bind_match(statement, terms, way);
    db_bind_i64(statement, range.lo);
    db_bind_i64(statement, range.hi);
    db_bind_i64(statement, terms->state_lo);
    db_bind_i64(statement, terms->state_hi);
    db_bind_i64(statement, terms->kind_lo);
    db_bind_i64(statement, terms->kind_hi);
    bind_twice(statement, terms->reason);
    bind_twice(statement, terms->destination);
    bind_twice(statement, terms->key);
    bind_twice(statement, terms->type);
    bind_twice(statement, terms->source);
    db_bind_i64(statement, terms->opened_lo);
    db_bind_i64(statement, terms->opened_hi);
    db_bind_i64(statement, terms->units);
    db_bind_i64(statement, terms->amount);
    db_bind_i64(statement, limit);
}

/* --- which way --- */

/* Letters along a way, counted up to `most`. */
static err
probe(struct dlq_filters *filters, const struct terms *terms, enum way way, struct dlq_range range, int64_t *letters)
{
    struct db_statement *statement = probe_of(filters, way);
    bind_match(statement, terms, way);
    db_bind_i64(statement, range.lo);
    db_bind_i64(statement, range.hi);
    db_bind_i64(statement, PROBE_MAX);
    err code = db_query(statement);
    *letters = code == ERR_ok && db_next(statement) ? db_i64(statement, 0) : PROBE_MAX;
    db_done(statement);
    return code;
}

static err
choose(struct dlq_filters *filters, const struct terms *terms, struct dlq_range range, enum way *chosen)
{
    bool by_value = terms->units > DLQ_NONE || terms->amount > DLQ_NONE;
    size_t names = 0;
    *chosen = WAY_NUMBER;
    for (enum way way = WAY_NUMBER + 1; way < WAY_COUNT; way++) {
        if (terms_have(terms, way)) {
            names++;
            *chosen = way;
        }
    }
    if (names == 0 || (names == 1 && !by_value)) {
        return ERR_ok;
    }
    int64_t fewest = INT64_MAX;
    if (by_value) {
        *chosen = WAY_NUMBER;
        fewest = dlq_zones_letters(filters->zones, range, terms->units, terms->amount);
    }
    for (enum way way = WAY_NUMBER + 1; way < WAY_COUNT; way++) {
        int64_t letters = 0;
        if (!terms_have(terms, way)) {
            continue;
        }
        err code = probe(filters, terms, way, range, &letters);
        if (code != ERR_ok) {
            return code;
        }
        if (letters < fewest) {
            fewest = letters;
            *chosen = way;
        }
    }
    return ERR_ok;
}

/* --- reading --- */

static err
collect_numbers(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct dlq_range range,
                int64_t numbers[NUMBERS_MAX], size_t *count)
{
    struct db_statement *statement = read_numbers(filters, search->newest_first);
    struct dlq_range part;
    *count = 0;
    while ((int64_t)*count < search->limit &&
           dlq_zones_next(filters->zones, range, terms->units, terms->amount, search->newest_first, &part)) {
        bind_all(statement, terms, WAY_NUMBER, part, search->limit - (int64_t)*count);
        err code = db_query(statement);
        if (code != ERR_ok) {
            return code;
        }
        while (*count < NUMBERS_MAX && db_next(statement)) {
            numbers[(*count)++] = db_i64(statement, 0);
        }
        db_done(statement);
        if (search->newest_first) {
            range.hi = part.lo;
        } else {
            range.lo = part.hi;
        }
    }
    return ERR_ok;
}

static err
read_by_zones(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct dlq_range range,
              struct db_statement **rows)
{
    int64_t numbers[NUMBERS_MAX];
    size_t count = 0;
    err code = collect_numbers(filters, search, terms, range, numbers, &count);
    if (code != ERR_ok) {
        return code;
    }
    size_t exponent = 0;
    while ((size_t)1 << exponent < count) {
        exponent++;
    }
    *rows = read_rows(filters, exponent, search->newest_first);
    for (size_t i = 0; i < (size_t)1 << exponent; i++) {
        db_bind_i64(*rows, count == 0 ? 0 : numbers[i < count ? i : count - 1]);
    }
    return db_query(*rows);
}

err
dlq_filters_read(struct dlq_filters *filters, const struct dlq_search *search, struct db_statement **rows, struct err_text *why)
{
    err code = check_names(search->filter, why);
    if (code != ERR_ok) {
        return code;
    }
    struct terms terms = terms_of(search->filter, search->now_ms);
    struct dlq_range range = dlq_zones_clip(filters->zones, search->range, terms.opened_lo, terms.opened_hi);
    enum way way = WAY_NUMBER;
    code = choose(filters, &terms, range, &way);
    if (code != ERR_ok) {
        return code;
    }
    if (way == WAY_NUMBER && (terms.units > DLQ_NONE || terms.amount > DLQ_NONE)) {
        return read_by_zones(filters, search, &terms, range, rows);
    }
    *rows = read_along(filters, way, search->newest_first);
    bind_all(*rows, &terms, way, range, search->limit);
    return db_query(*rows);
}
