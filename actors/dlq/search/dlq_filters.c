/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A page of letters by a filter, in order of time, in a few milliseconds whatever the filter is.
 *
 * STATE     Three ways. Through the zones: parts of the table that may hold what is wanted (dlq_zones.h), one after the other, until
 *           the page is full. Along the index of states, for those few that are dead or waiting. Along the numbers of a key
 *           (dlq_finder.h). A filter that names several takes the way with the fewest letters, counted up to PROBE_MAX; what the way
 *           does not say are predicates. Numbers are collected first, their rows are read at the end.
 *
 * FAILURES  Errors of the database go up. A state, kind or reason that does not exist is refused by name.
 *
 * LIMITS    Several names at once read along one way and pass over what the others refuse: when each has many letters in every part
 *           and all together few, that is as slow as the shortest way is long.
 *
 * FIGURES   What zones and finder are worth beside plain indexes, both filled and asked in turn (tests/bench/programs/search.c) on a
 *           busy machine of two cores. `few` are indexes by id, key and destination, `all` one for each column that filters name.
 *           SQLite, 1,024,000 letters: burials fall to 0.29 (few) and 0.16 (all) of those here. What 10 letters have takes 0.5 to
 *           2.4 s instead of 0.2 ms where there is no index of it; most other pages take a third to a half of the time here, which
 *           is 0.04 to 1.3 ms.
 *           MariaDB, 204,800 letters: burials 1.01 and 0.75, pages of `all` 0.1 to 2.4 times those here, one of 0.4 ms 4.6 times.
 */
#include "dlq_filters.h"

#include "kit/base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define PROBE_MAX 5000
#define MANY 50000 /* what is not counted to its end is taken for this */
#define KEY_CHUNK 512
#define NUMBERS_EXPONENTS 11 /* 1, 2, 4 ... DLQ_NUMBERS_MAX */
#define SQL_MAX 4096

/* What the filter says. Texts are empty and bounds hold for all where it says nothing. */
struct terms {
    bool has_state;
    bool has_kind;
    enum dlq_state state;
    enum dlq_kind kind;
    struct slice reason;
    struct slice destination;
    struct slice key;
    struct slice type;
    struct slice source;
    int64_t opened_lo;
    int64_t opened_hi;
    struct dlq_wanted wanted;
};

struct dlq_filters {
    struct db *db;
    const struct dlq_zones *zones;
    struct dlq_finder *finder;
    const char *columns;
    struct db_statement *rows[NUMBERS_EXPONENTS][2];
};

enum way { BY_ZONES, BY_STATE, BY_KEY };

struct numbers {
    int64_t list[DLQ_NUMBERS_MAX];
    size_t count;
    size_t wanted;
};

struct dlq_filters *
dlq_filters_create(struct db *db, const struct dlq_zones *zones, struct dlq_finder *finder, const char *columns)
{
    struct dlq_filters *filters = memory_new(1, sizeof *filters);
    filters->db = db;
    filters->zones = zones;
    filters->finder = finder;
    filters->columns = columns;
    return filters;
}

void
dlq_filters_destroy(struct dlq_filters **filters)
{
    free(*filters);
    *filters = NULL;
}

/* --- rows by number --- */

static size_t
exponent_of(size_t count)
{
    size_t exponent = 0;
    while ((size_t)1 << exponent < count) {
        exponent++;
    }
    return exponent;
}

/* Room for the parameters, `*used` characters are there. */
static void
put_parameters(char sql[SQL_MAX], size_t *used, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        *used += (size_t)snprintf(&sql[*used], SQL_MAX - *used, "%s?", i == 0 ? "" : ",");
    }
}

static struct db_statement *
rows_statement(struct dlq_filters *filters, size_t exponent, bool newest_first)
{
    struct db_statement **kept = &filters->rows[exponent][newest_first];
    if (*kept == NULL) {
        char sql[SQL_MAX];
        size_t used = (size_t)snprintf(sql, sizeof sql, "SELECT %s FROM $letter {BY PRIMARY} WHERE n IN (", filters->columns);
        put_parameters(sql, &used, (size_t)1 << exponent);
        (void)snprintf(&sql[used], sizeof sql - used, ") ORDER BY n%s", newest_first ? " DESC" : "");
        *kept = db_statement(filters->db, sql);
    }
    return *kept;
}

/* A repeated number finds nothing new. */
static void
bind_numbers(struct db_statement *statement, const int64_t *numbers, size_t count, size_t room)
{
    for (size_t i = 0; i < room; i++) {
        db_bind_i64(statement, count == 0 ? 0 : numbers[i < count ? i : count - 1]);
    }
}

err
dlq_filters_rows(struct dlq_filters *filters, const int64_t *numbers, size_t count, bool newest_first, struct db_statement **rows)
{
    size_t exponent = exponent_of(count);
    *rows = rows_statement(filters, exponent, newest_first);
    bind_numbers(*rows, numbers, count, (size_t)1 << exponent);
    return db_query(*rows);
}

/* --- what the filter says --- */

static err
check_names(const struct wire_letter_filter *filter, struct err_text *why)
{
    if (WIRE_HAS(filter, letter_filter, state) && dlq_state_find(filter->state) == DLQ_STATE_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.state: %.*s is none of waiting, dead, replaying, done, discarded, stale",
                       (int)filter->state.size, (const char *)filter->state.data);
    }
    if (WIRE_HAS(filter, letter_filter, kind) && dlq_kind_find(filter->kind) == DLQ_KIND_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.kind: %.*s is none of event, subscriber, request, call, saga",
                       (int)filter->kind.size, (const char *)filter->kind.data);
    }
    if (WIRE_HAS(filter, letter_filter, reason) && err_find((const char *)filter->reason.data, filter->reason.size) == ERR_COUNT) {
        return err_say(why, ERR_invalid_field, "letter_filter.reason: %.*s is not the symbol of an error", (int)filter->reason.size,
                       (const char *)filter->reason.data);
    }
    return ERR_ok;
}

static uint64_t
wanted_name(const struct dlq_zones *zones, enum dlq_named named, struct slice name)
{
    return name.size == 0 ? DLQ_ANY_NAME : dlq_zones_name(zones, named, name);
}

static struct terms
terms_of(const struct dlq_zones *zones, const struct wire_letter_filter *filter, int64_t now_ms)
{
    const struct slice none = slice_of("");
    struct terms terms = {
        .has_state = WIRE_HAS(filter, letter_filter, state),
        .has_kind = WIRE_HAS(filter, letter_filter, kind),
        .reason = WIRE_HAS(filter, letter_filter, reason) ? filter->reason : none,
        .destination = WIRE_HAS(filter, letter_filter, destination) ? filter->destination : none,
        .key = WIRE_HAS(filter, letter_filter, key) ? filter->key : none,
        .type = WIRE_HAS(filter, letter_filter, type) ? filter->type : none,
        .source = WIRE_HAS(filter, letter_filter, source) ? filter->source : none,
        .opened_hi = WIRE_HAS(filter, letter_filter, older_than_ms) ? now_ms - filter->older_than_ms : INT64_MAX,
        .opened_lo = WIRE_HAS(filter, letter_filter, younger_than_ms) ? now_ms - filter->younger_than_ms : 0,
    };
    terms.state = terms.has_state ? dlq_state_find(filter->state) : DLQ_STATE_COUNT;
    terms.kind = terms.has_kind ? dlq_kind_find(filter->kind) : DLQ_KIND_COUNT;
    terms.wanted.units = WIRE_HAS(filter, letter_filter, min_units) ? filter->min_units : DLQ_NONE;
    terms.wanted.amount = WIRE_HAS(filter, letter_filter, min_amount) ? filter->min_amount : DLQ_NONE;
    terms.wanted.names[DLQ_BY_KIND] = wanted_name(zones, DLQ_BY_KIND, terms.has_kind ? filter->kind : none);
    terms.wanted.names[DLQ_BY_REASON] = wanted_name(zones, DLQ_BY_REASON, terms.reason);
    terms.wanted.names[DLQ_BY_DESTINATION] = wanted_name(zones, DLQ_BY_DESTINATION, terms.destination);
    terms.wanted.names[DLQ_BY_TYPE] = wanted_name(zones, DLQ_BY_TYPE, terms.type);
    terms.wanted.names[DLQ_BY_SOURCE] = wanted_name(zones, DLQ_BY_SOURCE, terms.source);
    return terms;
}

/* Appends what the filter says; the state so that no engine goes along its index when `way` is another one. */
static void
put_predicates(char sql[SQL_MAX], size_t *used, const struct terms *terms, enum way way)
{
    const struct {
        bool is_said;
        const char *words;
    } predicates[] = {
        {terms->has_state, way == BY_STATE ? " AND state = ?" : " AND +state = ?"},
        {terms->has_kind, " AND kind = ?"},
        {terms->reason.size > 0, " AND reason = ?"},
        {terms->destination.size > 0, " AND destination = ?"},
        {terms->key.size > 0, " AND letter_key = ?"},
        {terms->type.size > 0, " AND type = ?"},
        {terms->source.size > 0, " AND source = ?"},
        {terms->opened_lo > 0, " AND opened >= ?"},
        {terms->opened_hi < INT64_MAX, " AND opened <= ?"},
        {terms->wanted.units > DLQ_NONE, " AND units >= ?"},
        {terms->wanted.amount > DLQ_NONE, " AND amount >= ?"},
    };
    for (size_t i = 0; i < sizeof predicates / sizeof predicates[0]; i++) {
        if (predicates[i].is_said) {
            *used += (size_t)snprintf(&sql[*used], SQL_MAX - *used, "%s", predicates[i].words);
        }
    }
}

static void
bind_said(struct db_statement *statement, bool is_said, int64_t number)
{
    if (is_said) {
        db_bind_i64(statement, number);
    }
}

static void
bind_name(struct db_statement *statement, struct slice name)
{
    if (name.size > 0) {
        db_bind_text(statement, name);
    }
}

static void
bind_predicates(struct db_statement *statement, const struct terms *terms)
{
    bind_said(statement, terms->has_state, (int64_t)terms->state);
    bind_said(statement, terms->has_kind, (int64_t)terms->kind);
    bind_name(statement, terms->reason);
    bind_name(statement, terms->destination);
    bind_name(statement, terms->key);
    bind_name(statement, terms->type);
    bind_name(statement, terms->source);
    bind_said(statement, terms->opened_lo > 0, terms->opened_lo);
    bind_said(statement, terms->opened_hi < INT64_MAX, terms->opened_hi);
    bind_said(statement, terms->wanted.units > DLQ_NONE, terms->wanted.units);
    bind_said(statement, terms->wanted.amount > DLQ_NONE, terms->wanted.amount);
}

/* --- which way --- */

static bool
names_zones(const struct terms *terms)
{
    return terms->has_kind || terms->reason.size > 0 || terms->destination.size > 0 || terms->type.size > 0 ||
           terms->source.size > 0 || terms->wanted.units > DLQ_NONE || terms->wanted.amount > DLQ_NONE;
}

/* Letters of the state, counted up to PROBE_MAX. */
static err
probe_state(struct dlq_filters *filters, const struct terms *terms, struct dlq_range range, int64_t *letters)
{
    struct db_statement *count =
        db_statement(filters->db, "SELECT COUNT(*) FROM (SELECT n FROM $letter {BY letter_state} WHERE state = ? AND n >= ? AND n < ?"
                                  " LIMIT ?) AS some");
    db_bind_i64(count, (int64_t)terms->state);
    db_bind_i64(count, range.lo);
    db_bind_i64(count, range.hi);
    db_bind_i64(count, PROBE_MAX);
    err code = db_query(count);
    *letters = code == ERR_ok && db_next(count) ? db_i64(count, 0) : 0;
    *letters = *letters == PROBE_MAX ? MANY : *letters;
    db_done(count);
    return code;
}

static err
probe_key(struct dlq_filters *filters, const struct terms *terms, struct dlq_range range, int64_t *letters)
{
    int64_t numbers[PROBE_MAX];
    size_t count = 0;
    struct dlq_finding finding = {.key = terms->key, .range = range, .from_end = true};
    err code = dlq_finder_list(filters->finder, &finding, numbers, PROBE_MAX, &count);
    *letters = count == PROBE_MAX ? MANY : (int64_t)count;
    return code;
}

static err
choose(struct dlq_filters *filters, const struct terms *terms, struct dlq_range range, enum way *way)
{
    bool has_key = terms->key.size > 0;
    int64_t fewest = dlq_zones_letters(filters->zones, range, &terms->wanted);
    int64_t letters = 0;
    err code = ERR_ok;
    *way = BY_ZONES;
    if (!names_zones(terms) && terms->has_state != has_key) {
        *way = has_key ? BY_KEY : BY_STATE;
        return ERR_ok;
    }
    if (terms->has_state) {
        code = probe_state(filters, terms, range, &letters);
        if (code == ERR_ok && letters < fewest) {
            fewest = letters;
            *way = BY_STATE;
        }
    }
    if (code == ERR_ok && has_key) {
        code = probe_key(filters, terms, range, &letters);
        if (code == ERR_ok && letters <= fewest) {
            *way = BY_KEY;
        }
    }
    return code;
}

/* --- collecting --- */

static err
collect(struct db_statement *statement, struct numbers *numbers)
{
    err code = db_query(statement);
    while (code == ERR_ok && numbers->count < numbers->wanted && db_next(statement)) {
        numbers->list[numbers->count++] = db_i64(statement, 0);
    }
    db_done(statement);
    return code;
}

static err
collect_range(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct numbers *numbers,
              const struct dlq_range *part, enum way way)
{
    char sql[SQL_MAX];
    size_t used = (size_t)snprintf(sql, sizeof sql, "SELECT n FROM $letter {BY %s} WHERE n >= ? AND n < ?",
                                   way == BY_STATE ? "letter_state" : "PRIMARY");
    put_predicates(sql, &used, terms, way);
    (void)snprintf(&sql[used], sizeof sql - used, " ORDER BY n%s LIMIT ?", search->newest_first ? " DESC" : "");
    struct db_statement *statement = db_statement(filters->db, sql);
    db_bind_i64(statement, part->lo);
    db_bind_i64(statement, part->hi);
    bind_predicates(statement, terms);
    db_bind_i64(statement, (int64_t)(numbers->wanted - numbers->count));
    return collect(statement, numbers);
}

/* The range is what is left of it. */
static void
pass(const struct dlq_search *search, struct dlq_range *range, int64_t lo, int64_t hi)
{
    if (search->newest_first) {
        range->hi = lo;
    } else {
        range->lo = hi;
    }
}

static err
collect_by_zones(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct dlq_range range,
                 struct numbers *numbers)
{
    struct dlq_range part;
    err code = ERR_ok;
    while (code == ERR_ok && numbers->count < numbers->wanted &&
           dlq_zones_next(filters->zones, range, &terms->wanted, search->newest_first, &part)) {
        code = collect_range(filters, search, terms, numbers, &part, BY_ZONES);
        pass(search, &range, part.lo, part.hi);
    }
    return code;
}

/* Those of a key's numbers that the rest of the filter wants as well. */
static err
collect_of(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct numbers *numbers,
           const struct numbers *candidates)
{
    char sql[SQL_MAX];
    size_t room = (size_t)1 << exponent_of(candidates->count);
    size_t used = (size_t)snprintf(sql, sizeof sql, "SELECT n FROM $letter {BY PRIMARY} WHERE n IN (");
    put_parameters(sql, &used, room);
    used += (size_t)snprintf(&sql[used], sizeof sql - used, ")");
    put_predicates(sql, &used, terms, BY_KEY);
    (void)snprintf(&sql[used], sizeof sql - used, " ORDER BY n%s", search->newest_first ? " DESC" : "");
    struct db_statement *statement = db_statement(filters->db, sql);
    bind_numbers(statement, candidates->list, candidates->count, room);
    bind_predicates(statement, terms);
    return collect(statement, numbers);
}

static err
collect_by_key(struct dlq_filters *filters, const struct dlq_search *search, const struct terms *terms, struct dlq_range range,
               struct numbers *numbers)
{
    struct numbers candidates = {.wanted = KEY_CHUNK};
    struct dlq_finding finding = {.key = terms->key, .range = range, .from_end = search->newest_first};
    bool says_more = terms->has_state || names_zones(terms) || terms->opened_lo > 0 || terms->opened_hi < INT64_MAX;
    if (!says_more) {
        return dlq_finder_list(filters->finder, &finding, numbers->list, numbers->wanted, &numbers->count);
    }
    err code = ERR_ok;
    do {
        code = dlq_finder_list(filters->finder, &finding, candidates.list, candidates.wanted, &candidates.count);
        if (code == ERR_ok && candidates.count > 0) {
            code = collect_of(filters, search, terms, numbers, &candidates);
            int64_t last = candidates.list[candidates.count - 1];
            pass(search, &finding.range, last, last + 1);
        }
    } while (code == ERR_ok && candidates.count == candidates.wanted && numbers->count < numbers->wanted);
    return code;
}

err
dlq_filters_read(struct dlq_filters *filters, const struct dlq_search *search, struct db_statement **rows, struct err_text *why)
{
    struct numbers numbers = {.wanted = (size_t)search->limit};
    enum way way = BY_ZONES;
    err code = check_names(search->filter, why);
    if (code != ERR_ok) {
        return code;
    }
    struct terms terms = terms_of(filters->zones, search->filter, search->now_ms);
    struct dlq_range range = dlq_zones_clip(filters->zones, search->range, terms.opened_lo, terms.opened_hi);
    code = choose(filters, &terms, range, &way);
    if (code == ERR_ok && way == BY_ZONES) {
        code = collect_by_zones(filters, search, &terms, range, &numbers);
    } else if (code == ERR_ok && way == BY_STATE) {
        code = collect_range(filters, search, &terms, &numbers, &range, BY_STATE);
    } else if (code == ERR_ok) {
        code = collect_by_key(filters, search, &terms, range, &numbers);
    }
    return code == ERR_ok ? dlq_filters_rows(filters, numbers.list, numbers.count, search->newest_first, rows) : code;
}
