/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Counters of letters, so that stats and metrics never count rows.
 *
 * STATE     One group per state, destination, reason and currency: what it is with the batch under way, and what was committed last,
 *           to go back to. A hash table over the groups; `shown` lists those that are not empty. $tally holds the same, and keeps the
 *           rows of groups that became empty.
 *
 * FAILURES  Errors of the database go up. Out of memory aborts.
 *
 * LIMITS    Units and amounts are summed modulo 2^64 (sum.h), so that nothing that is said of letters can stop a burial: what is
 *           shown of a sum above 2^63 is the largest number there is, and beyond 2^64 it is wrong until letters leave.
 *           Groups are never forgotten while the process runs: as many as there were destinations times reasons.
 */
#include "dlq_tally.h"

#include <stdlib.h>

#include "hash.h"
#include "kit/base/sum.h"
#include "kit/base/memory.h"

#define NOT_SHOWN SIZE_MAX

struct group {
    struct dlq_count now;
    struct dlq_count kept;
    bool is_changed;
    size_t shown_at;
};

struct dlq_tally {
    struct db *db;
    struct group *groups;
    size_t count;
    size_t capacity;
    size_t *table; /* number of a group + 1; 0: free */
    size_t table_size;
    size_t *shown;
    size_t shown_count;
    size_t *changed;
    size_t changed_count;
    int64_t letters[DLQ_STATE_COUNT];
};

struct dlq_tally *
dlq_tally_create(struct db *db)
{
    struct dlq_tally *tally = memory_new(1, sizeof *tally);
    tally->db = db;
    return tally;
}

void
dlq_tally_destroy(struct dlq_tally **tally)
{
    if (*tally == NULL) {
        return;
    }
    free((*tally)->groups);
    free((*tally)->table);
    free((*tally)->shown);
    free((*tally)->changed);
    free(*tally);
    *tally = NULL;
}

/* --- groups --- */

/* Each text with its end, so that no two of them run into one another. */
static uint64_t
hash_of(const struct dlq_count *key)
{
    uint64_t hash = hash_number(HASH_FIRST, (uint64_t)key->state);
    hash = hash_bytes(hash, key->destination, strlen(key->destination) + 1);
    hash = hash_bytes(hash, key->reason, strlen(key->reason) + 1);
    return hash_bytes(hash, key->currency, strlen(key->currency) + 1);
}

static bool
is_same(const struct dlq_count *a, const struct dlq_count *b)
{
    return a->state == b->state && strcmp(a->destination, b->destination) == 0 && strcmp(a->reason, b->reason) == 0 &&
           strcmp(a->currency, b->currency) == 0;
}

/* The place of the key in the table: its own, or the free one that it would take. */
static size_t *
place_of(const struct dlq_tally *tally, const struct dlq_count *key)
{
    size_t at = (size_t)hash_of(key) & (tally->table_size - 1);
    while (tally->table[at] != 0 && !is_same(&tally->groups[tally->table[at] - 1].now, key)) {
        at = (at + 1) & (tally->table_size - 1);
    }
    return &tally->table[at];
}

static void
make_room(struct dlq_tally *tally)
{
    if (tally->count < tally->capacity) {
        return;
    }
    tally->capacity = tally->capacity == 0 ? 64 : tally->capacity * 2;
    tally->groups = memory_resize(tally->groups, tally->capacity * sizeof *tally->groups);
    tally->shown = memory_resize(tally->shown, tally->capacity * sizeof *tally->shown);
    tally->changed = memory_resize(tally->changed, tally->capacity * sizeof *tally->changed);
    free(tally->table);
    tally->table_size = tally->capacity * 2;
    tally->table = memory_new(tally->table_size, sizeof *tally->table);
    for (size_t i = 0; i < tally->count; i++) {
        *place_of(tally, &tally->groups[i].now) = i + 1;
    }
}

static struct group *
group_of(struct dlq_tally *tally, const struct dlq_count *key)
{
    make_room(tally);
    size_t *place = place_of(tally, key);
    if (*place == 0) {
        struct group *group = &tally->groups[tally->count++];
        *group = (struct group){.now = *key, .shown_at = NOT_SHOWN};
        group->now.letters = group->now.units = group->now.amount = 0;
        group->kept = group->now;
        *place = tally->count;
    }
    return &tally->groups[*place - 1];
}

static void
show(struct dlq_tally *tally, struct group *group)
{
    bool is_shown = group->shown_at != NOT_SHOWN;
    if (group->now.letters != 0 && !is_shown) {
        group->shown_at = tally->shown_count;
        tally->shown[tally->shown_count++] = (size_t)(group - tally->groups);
    } else if (group->now.letters == 0 && is_shown) {
        size_t last = tally->shown[--tally->shown_count];
        tally->shown[group->shown_at] = last;
        tally->groups[last].shown_at = group->shown_at;
        group->shown_at = NOT_SHOWN;
    }
}

/* --- changes --- */

err
dlq_tally_load(struct dlq_tally *tally)
{
    struct db_statement *read =
        db_statement(tally->db, "SELECT state, destination, reason, currency, letters, units, amount FROM $tally");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    tally->count = tally->shown_count = tally->changed_count = 0;
    memset(tally->letters, 0, sizeof tally->letters);
    if (tally->table_size > 0) {
        memset(tally->table, 0, tally->table_size * sizeof *tally->table);
    }
    while (db_next(read)) {
        struct dlq_count key = {.state = (enum dlq_state)db_i64(read, 0)};
        dlq_copy(key.destination, sizeof key.destination, db_bytes(read, 1));
        dlq_copy(key.reason, sizeof key.reason, db_bytes(read, 2));
        dlq_copy(key.currency, sizeof key.currency, db_bytes(read, 3));
        if ((unsigned)key.state >= DLQ_STATE_COUNT) {
            continue; /* changed by hand; verify tells */
        }
        struct group *group = group_of(tally, &key);
        group->now.letters = db_i64(read, 4);
        group->now.units = db_i64(read, 5);
        group->now.amount = db_i64(read, 6);
        group->kept = group->now;
        tally->letters[key.state] += group->now.letters;
        show(tally, group);
    }
    return ERR_ok;
}

void
dlq_tally_add(struct dlq_tally *tally, const struct dlq_letter *letter, int sign)
{
    struct dlq_count key = {.state = letter->state};
    dlq_copy(key.destination, sizeof key.destination, slice_of(letter->destination));
    dlq_copy(key.reason, sizeof key.reason, slice_of(letter->reason));
    dlq_copy(key.currency, sizeof key.currency, slice_of(letter->currency));
    struct group *group = group_of(tally, &key);
    group->now.letters += sign;
    group->now.units = sum_wrapped(group->now.units, letter->units > 0 ? sign * letter->units : 0);
    group->now.amount = sum_wrapped(group->now.amount, letter->amount > 0 ? sign * letter->amount : 0);
    tally->letters[key.state] += sign;
    if (!group->is_changed) {
        group->is_changed = true;
        tally->changed[tally->changed_count++] = (size_t)(group - tally->groups);
    }
    show(tally, group);
}

err
dlq_tally_queue(struct dlq_tally *tally)
{
    struct db_rows *rows = db_rows(tally->db, "REPLACE INTO $tally (state, destination, reason, currency, letters, units, amount)", 7);
    for (size_t i = 0; i < tally->changed_count; i++) {
        const struct dlq_count *count = &tally->groups[tally->changed[i]].now;
        db_rows_i64(rows, (int64_t)count->state);
        db_rows_text(rows, slice_of(count->destination));
        db_rows_text(rows, slice_of(count->reason));
        db_rows_text(rows, slice_of(count->currency));
        db_rows_i64(rows, count->letters);
        db_rows_i64(rows, count->units);
        db_rows_i64(rows, count->amount);
    }
    return db_rows_queue(rows);
}

void
dlq_tally_committed(struct dlq_tally *tally)
{
    for (size_t i = 0; i < tally->changed_count; i++) {
        struct group *group = &tally->groups[tally->changed[i]];
        group->kept = group->now;
        group->is_changed = false;
    }
    tally->changed_count = 0;
}

void
dlq_tally_dropped(struct dlq_tally *tally)
{
    for (size_t i = 0; i < tally->changed_count; i++) {
        struct group *group = &tally->groups[tally->changed[i]];
        tally->letters[group->now.state] += group->kept.letters - group->now.letters;
        group->now = group->kept;
        group->is_changed = false;
        show(tally, group);
    }
    tally->changed_count = 0;
}

/* --- reading --- */

const struct dlq_count *
dlq_tally_get(const struct dlq_tally *tally, size_t number)
{
    return number < tally->shown_count ? &tally->groups[tally->shown[number]].now : NULL;
}

int64_t
dlq_tally_letters(const struct dlq_tally *tally, enum dlq_state state)
{
    return (unsigned)state < DLQ_STATE_COUNT ? tally->letters[state] : 0;
}

int64_t
dlq_tally_total(const struct dlq_tally *tally)
{
    int64_t total = 0;
    for (size_t state = 0; state < DLQ_STATE_COUNT; state++) {
        total += tally->letters[state];
    }
    return total;
}
