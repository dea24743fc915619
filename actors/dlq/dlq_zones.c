/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   See dlq_zones.h: a summary of the values of each DLQ_ZONE_LETTERS letters that are neighbours in time.
 *
 * STATE     One element per zone, by its number n / DLQ_ZONE_LETTERS: 24 bytes, 2 MB for ten million letters. $zone holds the same.
 *           Bounds are never too narrow. `opened` of a zone is the time of its first letter, and never falls from one to the next.
 *
 * FAILURES  Errors of the database go up. A zone without a row, which nobody leaves out, counts as holding anything.
 *
 * LIMITS    A value that falls, as after an edit, leaves its bound as it is: the zone is read in vain.
 */
#include "dlq_zones.h"

#include <stdlib.h>
#include <string.h>

struct zone {
    int64_t opened_ms;
    int64_t units;
    int64_t amount;
};

struct dlq_zones {
    struct db *db;
    struct zone *zones;
    size_t count;
    size_t capacity;
    /* Numbers of zones whose row is not as they are; a number may stand here twice. */
    size_t *changed;
    size_t changed_count;
    size_t changed_capacity;
};

static void *
grow(void *array, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity) {
        return array;
    }
    size_t wanted = *capacity * 2 > count ? *capacity * 2 : count + 64;
    void *grown = realloc(array, wanted * size);
    if (grown == NULL) {
        abort();
    }
    *capacity = wanted;
    return grown;
}

struct dlq_zones *
dlq_zones_create(struct db *db)
{
    struct dlq_zones *zones = calloc(1, sizeof *zones);
    if (zones == NULL) {
        abort();
    }
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
    zones->zones = grow(zones->zones, &zones->capacity, number + 1, sizeof *zones->zones);
    while (zones->count <= number) {
        int64_t opened_ms = zones->count == 0 ? 0 : zones->zones[zones->count - 1].opened_ms;
        zones->zones[zones->count++] = (struct zone){opened_ms, INT64_MAX, INT64_MAX};
    }
}

err
dlq_zones_load(struct dlq_zones *zones)
{
    struct db_statement *read = db_statement(zones->db, "SELECT zone, opened, units, amount FROM $zone ORDER BY zone");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    zones->count = 0;
    zones->changed_count = 0;
    while (db_next(read)) {
        size_t number = (size_t)db_i64(read, 0);
        extend(zones, number);
        zones->zones[number] = (struct zone){db_i64(read, 1), db_i64(read, 2), db_i64(read, 3)};
    }
    return ERR_ok;
}

void
dlq_zones_note(struct dlq_zones *zones, int64_t n, int64_t opened_ms, int64_t units, int64_t amount)
{
    size_t number = (size_t)(n / DLQ_ZONE_LETTERS);
    bool is_new = number >= zones->count;
    if (is_new) {
        extend(zones, number);
        zones->zones[number] = (struct zone){opened_ms, units, amount};
    }
    struct zone *zone = &zones->zones[number];
    if (!is_new && opened_ms >= zone->opened_ms && units <= zone->units && amount <= zone->amount) {
        return;
    }
    zone->opened_ms = opened_ms < zone->opened_ms ? opened_ms : zone->opened_ms;
    zone->units = units > zone->units ? units : zone->units;
    zone->amount = amount > zone->amount ? amount : zone->amount;
    if (zones->changed_count > 0 && zones->changed[zones->changed_count - 1] == number) {
        return;
    }
    zones->changed = grow(zones->changed, &zones->changed_capacity, zones->changed_count + 1, sizeof *zones->changed);
    zones->changed[zones->changed_count++] = number;
}

err
dlq_zones_queue(struct dlq_zones *zones)
{
    struct db_rows *rows = db_rows(zones->db, "REPLACE INTO $zone (zone, opened, units, amount)", 4);
    for (size_t i = 0; i < zones->changed_count; i++) {
        const struct zone *zone = &zones->zones[zones->changed[i]];
        db_rows_i64(rows, (int64_t)zones->changed[i]);
        db_rows_i64(rows, zone->opened_ms);
        db_rows_i64(rows, zone->units);
        db_rows_i64(rows, zone->amount);
    }
    return db_rows_queue(rows);
}

void
dlq_zones_committed(struct dlq_zones *zones)
{
    zones->changed_count = 0;
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
may_hold(const struct dlq_zones *zones, size_t number, int64_t units, int64_t amount)
{
    return zones->zones[number].units >= units && zones->zones[number].amount >= amount;
}

static struct dlq_range
part_of(struct dlq_range range, size_t first, size_t end)
{
    int64_t lo = (int64_t)first * DLQ_ZONE_LETTERS;
    int64_t hi = (int64_t)end * DLQ_ZONE_LETTERS;
    return (struct dlq_range){lo > range.lo ? lo : range.lo, hi < range.hi ? hi : range.hi};
}

bool
dlq_zones_next(const struct dlq_zones *zones, struct dlq_range range, int64_t units, int64_t amount, bool from_end,
               struct dlq_range *part)
{
    size_t first = 0;
    size_t end = overlap(zones, range, &first);
    if (from_end) {
        while (end > first && !may_hold(zones, end - 1, units, amount)) {
            end--;
        }
        size_t begin = end;
        while (begin > first && may_hold(zones, begin - 1, units, amount)) {
            begin--;
        }
        first = begin;
    } else {
        while (first < end && !may_hold(zones, first, units, amount)) {
            first++;
        }
        size_t stop = first;
        while (stop < end && may_hold(zones, stop, units, amount)) {
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
dlq_zones_letters(const struct dlq_zones *zones, struct dlq_range range, int64_t units, int64_t amount)
{
    size_t first = 0;
    size_t end = overlap(zones, range, &first);
    int64_t letters = 0;
    for (size_t number = first; number < end; number++) {
        letters += may_hold(zones, number, units, amount) ? DLQ_ZONE_LETTERS : 0;
    }
    return letters;
}
