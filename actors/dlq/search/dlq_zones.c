/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   See dlq_zones.h: a summary of each DLQ_ZONE_LETTERS letters that are neighbours in time.
 *
 * STATE     One element per zone, by its number n / DLQ_ZONE_LETTERS: 64 bytes, a byte per letter. $zone holds the same. Bounds are
 *           never too narrow. `opened` of a zone is the time of its first letter, and never falls from one to the next. Names are
 *           bits; which bit is whose stands in $zone_name, for each column by itself, as they come.
 *
 * FAILURES  Errors of the database go up. A zone without a row, which nobody leaves out, counts as holding anything.
 *
 * LIMITS    A value that falls, a reason that changes, leave their bounds as they are: the zone is read in vain. Behind the first
 *           NAMES_MAX names of a column all others share a bit: where they occur, letters are read that another of them has.
 */
#include "dlq_zones.h"

#include "kit/base/memory.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_MAX 63

struct zone {
    int64_t opened_ms;
    int64_t units;
    int64_t amount;
    uint64_t names[DLQ_NAMED_COUNT];
};

struct names {
    char list[NAMES_MAX][DLQ_TEXT_SIZE]; /* by bit */
    size_t count;
    size_t sent; /* of them queued or committed */
    size_t kept; /* committed */
};

struct dlq_zones {
    struct db *db;
    struct names names[DLQ_NAMED_COUNT];
    struct zone *zones;
    size_t count;
    size_t capacity;
    size_t *changed; /* numbers of zones since the last commit, some of them more than once */
    size_t changed_count;
    size_t changed_sent; /* queued */
    size_t changed_capacity;
};

struct dlq_zones *
dlq_zones_create(struct db *db)
{
    struct dlq_zones *zones = memory_new(1, sizeof *zones);
    zones->db = db;
    return zones;
}

void
dlq_zones_destroy(struct dlq_zones **zones)
{
    if (*zones == NULL) {
        return;
    }
    free((*zones)->zones);
    free((*zones)->changed);
    free(*zones);
    *zones = NULL;
}

/* Makes the elements up to `number`; those in between hold nobody knows what. */
static void
extend(struct dlq_zones *zones, size_t number)
{
    zones->zones = memory_grow(zones->zones, &zones->capacity, number + 1, sizeof *zones->zones);
    while (zones->count <= number) {
        int64_t opened_ms = zones->count == 0 ? 0 : zones->zones[zones->count - 1].opened_ms;
        struct zone *zone = &zones->zones[zones->count++];
        *zone = (struct zone){.opened_ms = opened_ms, .units = INT64_MAX, .amount = INT64_MAX};
        memset(zone->names, 0xff, sizeof zone->names);
    }
}

/* --- names --- */

/* The bit of a name, NAMES_MAX of those that share one. `count`: there is none yet. */
static size_t
find_name(const struct names *names, struct slice name)
{
    for (size_t bit = 0; bit < names->count; bit++) {
        if (slice_equal(name, slice_of(names->list[bit]))) {
            return bit;
        }
    }
    return names->count;
}

static uint64_t
bit_of(struct names *names, const char *name)
{
    size_t bit = find_name(names, slice_of(name));
    if (bit == names->count && bit < NAMES_MAX) {
        dlq_copy(names->list[names->count++], DLQ_TEXT_SIZE, slice_of(name));
    }
    return UINT64_C(1) << bit;
}

uint64_t
dlq_zones_name(const struct dlq_zones *zones, enum dlq_named named, struct slice name)
{
    const struct names *names = &zones->names[named];
    size_t bit = find_name(names, name);
    return bit == names->count && bit < NAMES_MAX ? 0 : UINT64_C(1) << bit;
}

static err
load_names(struct dlq_zones *zones)
{
    struct db_statement *read = db_statement(zones->db, "SELECT named, name FROM $zone_name ORDER BY named, bit");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    for (size_t i = 0; i < DLQ_NAMED_COUNT; i++) {
        zones->names[i].count = zones->names[i].sent = zones->names[i].kept = 0;
    }
    while (db_next(read)) {
        struct names *names = &zones->names[(size_t)db_i64(read, 0) % DLQ_NAMED_COUNT];
        if (names->count < NAMES_MAX) {
            dlq_copy(names->list[names->count++], DLQ_TEXT_SIZE, db_bytes(read, 1));
        }
        names->kept = names->sent = names->count;
    }
    return ERR_ok;
}

static err
queue_names(struct dlq_zones *zones)
{
    struct db_rows *rows = db_rows(zones->db, "REPLACE INTO $zone_name (named, bit, name)", 3);
    for (size_t i = 0; i < DLQ_NAMED_COUNT; i++) {
        struct names *names = &zones->names[i];
        for (; names->sent < names->count; names->sent++) {
            db_rows_i64(rows, (int64_t)i);
            db_rows_i64(rows, (int64_t)names->sent);
            db_rows_text(rows, slice_of(names->list[names->sent]));
        }
    }
    return db_rows_queue(rows);
}

/* --- zones --- */

err
dlq_zones_load(struct dlq_zones *zones)
{
    struct db_statement *read = db_statement(
        zones->db, "SELECT zone, opened, units, amount, kinds, reasons, destinations, types, sources FROM $zone ORDER BY zone");
    err code = load_names(zones);
    if (code == ERR_ok) {
        code = db_query(read);
    }
    if (code != ERR_ok) {
        return code;
    }
    zones->count = 0;
    zones->changed_count = zones->changed_sent = 0;
    while (db_next(read)) {
        size_t number = (size_t)db_i64(read, 0);
        extend(zones, number);
        struct zone *zone = &zones->zones[number];
        *zone = (struct zone){.opened_ms = db_i64(read, 1), .units = db_i64(read, 2), .amount = db_i64(read, 3)};
        for (int i = 0; i < DLQ_NAMED_COUNT; i++) {
            zone->names[i] = (uint64_t)db_i64(read, 4 + i);
        }
    }
    return ERR_ok;
}

static struct zone
zone_of_letter(struct dlq_zones *zones, const struct dlq_letter *letter)
{
    struct zone zone = {.opened_ms = letter->opened_ms, .units = letter->units, .amount = letter->amount};
    zone.names[DLQ_BY_KIND] = bit_of(&zones->names[DLQ_BY_KIND], dlq_kind_name(letter->kind));
    zone.names[DLQ_BY_REASON] = bit_of(&zones->names[DLQ_BY_REASON], letter->reason);
    zone.names[DLQ_BY_DESTINATION] = bit_of(&zones->names[DLQ_BY_DESTINATION], letter->destination);
    zone.names[DLQ_BY_TYPE] = bit_of(&zones->names[DLQ_BY_TYPE], letter->type);
    zone.names[DLQ_BY_SOURCE] = bit_of(&zones->names[DLQ_BY_SOURCE], letter->source);
    return zone;
}

/* True when that changed something. */
static bool
widen(struct zone *zone, const struct zone *by)
{
    struct zone before = *zone;
    zone->opened_ms = by->opened_ms < zone->opened_ms ? by->opened_ms : zone->opened_ms;
    zone->units = by->units > zone->units ? by->units : zone->units;
    zone->amount = by->amount > zone->amount ? by->amount : zone->amount;
    for (size_t i = 0; i < DLQ_NAMED_COUNT; i++) {
        zone->names[i] |= by->names[i];
    }
    return memcmp(&before, zone, sizeof before) != 0;
}

void
dlq_zones_note(struct dlq_zones *zones, const struct dlq_letter *letter)
{
    size_t number = (size_t)(letter->n / DLQ_ZONE_LETTERS);
    struct zone noted = zone_of_letter(zones, letter);
    bool is_new = number >= zones->count;
    if (is_new) {
        extend(zones, number);
        zones->zones[number] = noted;
    }
    if ((!is_new && !widen(&zones->zones[number], &noted)) ||
        (zones->changed_count > zones->changed_sent && zones->changed[zones->changed_count - 1] == number)) {
        return;
    }
    zones->changed = memory_grow(zones->changed, &zones->changed_capacity, zones->changed_count + 1, sizeof *zones->changed);
    zones->changed[zones->changed_count++] = number;
}

err
dlq_zones_queue(struct dlq_zones *zones)
{
    struct db_rows *rows =
        db_rows(zones->db, "REPLACE INTO $zone (zone, opened, units, amount, kinds, reasons, destinations, types, sources)", 9);
    for (; zones->changed_sent < zones->changed_count; zones->changed_sent++) {
        size_t number = zones->changed[zones->changed_sent];
        const struct zone *zone = &zones->zones[number];
        db_rows_i64(rows, (int64_t)number);
        db_rows_i64(rows, zone->opened_ms);
        db_rows_i64(rows, zone->units);
        db_rows_i64(rows, zone->amount);
        for (size_t named = 0; named < DLQ_NAMED_COUNT; named++) {
            db_rows_i64(rows, (int64_t)zone->names[named]);
        }
    }
    err code = db_rows_queue(rows);
    return code == ERR_ok ? queue_names(zones) : code;
}

void
dlq_zones_committed(struct dlq_zones *zones)
{
    zones->changed_count = zones->changed_sent = 0;
    for (size_t i = 0; i < DLQ_NAMED_COUNT; i++) {
        zones->names[i].kept = zones->names[i].sent;
    }
}

void
dlq_zones_dropped(struct dlq_zones *zones)
{
    zones->changed_sent = 0;
    for (size_t i = 0; i < DLQ_NAMED_COUNT; i++) {
        zones->names[i].sent = zones->names[i].kept;
    }
}

/* --- for filters --- */

static size_t
zone_of(int64_t n)
{
    return (size_t)(n / DLQ_ZONE_LETTERS);
}

/* The first zone that begins after `time_ms`; the number of zones when none does. */
static size_t
first_after(const struct dlq_zones *zones, int64_t time_ms)
{
    size_t lo = 0;
    size_t hi = zones->count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (zones->zones[middle].opened_ms > time_ms) {
            hi = middle;
        } else {
            lo = middle + 1;
        }
    }
    return lo;
}

struct dlq_range
dlq_zones_clip(const struct dlq_zones *zones, struct dlq_range range, int64_t from_ms, int64_t to_ms)
{
    if (to_ms < INT64_MAX) {
        int64_t end = (int64_t)first_after(zones, to_ms) * DLQ_ZONE_LETTERS;
        range.hi = range.hi < end ? range.hi : end;
    }
    if (from_ms > 0) {
        /* The zone before the first that begins in time may end in time. */
        size_t zone = first_after(zones, from_ms - 1);
        int64_t begin = zone == 0 ? 0 : (int64_t)(zone - 1) * DLQ_ZONE_LETTERS;
        range.lo = range.lo > begin ? range.lo : begin;
    }
    return range;
}

/* Zones that overlap the range: from `*first` on and below the answer. */
static size_t
overlap(const struct dlq_zones *zones, struct dlq_range range, size_t *first)
{
    *first = 0;
    if (range.hi <= range.lo || range.hi <= 0) {
        return 0;
    }
    *first = range.lo <= 0 ? 0 : zone_of(range.lo);
    size_t end = zone_of(range.hi - 1) + 1;
    return end < zones->count ? end : zones->count;
}

static bool
may_hold(const struct dlq_zones *zones, size_t number, const struct dlq_wanted *wanted)
{
    const struct zone *zone = &zones->zones[number];
    bool does = zone->units >= wanted->units && zone->amount >= wanted->amount;
    for (size_t i = 0; does && i < DLQ_NAMED_COUNT; i++) {
        does = wanted->names[i] == DLQ_ANY_NAME || (zone->names[i] & wanted->names[i]) != 0;
    }
    return does;
}

static struct dlq_range
part_of(struct dlq_range range, size_t first, size_t end)
{
    int64_t lo = (int64_t)first * DLQ_ZONE_LETTERS;
    int64_t hi = (int64_t)end * DLQ_ZONE_LETTERS;
    return (struct dlq_range){lo > range.lo ? lo : range.lo, hi < range.hi ? hi : range.hi};
}

bool
dlq_zones_next(const struct dlq_zones *zones, struct dlq_range range, const struct dlq_wanted *wanted, bool from_end,
               struct dlq_range *part)
{
    size_t first = 0;
    size_t end = overlap(zones, range, &first);
    if (from_end) {
        while (end > first && !may_hold(zones, end - 1, wanted)) {
            end--;
        }
        size_t begin = end;
        while (begin > first && may_hold(zones, begin - 1, wanted)) {
            begin--;
        }
        first = begin;
    } else {
        while (first < end && !may_hold(zones, first, wanted)) {
            first++;
        }
        size_t stop = first;
        while (stop < end && may_hold(zones, stop, wanted)) {
            stop++;
        }
        end = stop;
    }
    if (first >= end) {
        return false;
    }
    *part = part_of(range, first, end);
    return true;
}

int64_t
dlq_zones_letters(const struct dlq_zones *zones, struct dlq_range range, const struct dlq_wanted *wanted)
{
    size_t first = 0;
    size_t end = overlap(zones, range, &first);
    int64_t letters = 0;
    for (size_t number = first; number < end; number++) {
        letters += may_hold(zones, number, wanted) ? DLQ_ZONE_LETTERS : 0;
    }
    return letters;
}
