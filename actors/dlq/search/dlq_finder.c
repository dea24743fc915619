/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   See dlq_finder.h. An entry is 16 bytes, a letter's id or the hash of its key, and the number.
 *
 * STATE     Entries in memory: `young` ones in the order in which they came, with a table over the ids, and `old` ones, sorted, which
 *           go to $find from their beginning, some with each batch. When the last of them is there they are forgotten, and $merged
 *           says up to which number $find is complete; when enough young ones have come they become the old ones. So memory holds
 *           every letter behind $merged, and $find every one up to it.
 *
 * FAILURES  After a rollback the entries of the batch are gone and the rows that it queued are queued again. A process that ended
 *           finds more than $merged says in $find: it writes the same rows once more.
 *
 * LIMITS    Up to twice GENERATION entries of 24 bytes in memory, 3 MB, and what one batch brings. Ids are unique because this process
 *           alone writes and looks first, not by a key of the table; verify counts.
 */
#include "dlq_finder.h"

#include "kit/base/memory.h"

#include <stdlib.h>
#include <string.h>

#define GENERATION 65536 /* entries, two for each letter with a key */
#define EMPTY 0

struct entry {
    struct id what;
    int64_t n;
};

struct entries {
    struct entry *list;
    size_t count;
    size_t capacity;
};

struct dlq_finder {
    struct db *db;
    struct entries young;
    size_t young_kept; /* that were committed */
    uint32_t *table;   /* over the young ones that are ids: number of the entry + 1 */
    size_t table_size;
    struct entries old;
    size_t sent;      /* of the old ones, queued or committed */
    size_t sent_kept; /* committed */
    size_t generation;
    size_t budget;   /* old ones that may be sent next */
    int64_t merged;  /* every letter up to here is in $find */
    int64_t written; /* what $merged says */
    int64_t *found;  /* scratch of a list */
    size_t found_capacity;
};

/* --- entries --- */

static void
append(struct entries *entries, const struct id *what, int64_t n)
{
    entries->list = memory_grow(entries->list, &entries->capacity, entries->count + 1, sizeof *entries->list);
    entries->list[entries->count++] = (struct entry){.what = *what, .n = n};
}

static int
compare(const void *one, const void *other)
{
    const struct entry *a = one;
    const struct entry *b = other;
    int order = memcmp(a->what.bytes, b->what.bytes, ID_SIZE);
    return order != 0 ? order : (a->n > b->n) - (a->n < b->n);
}

/* Of the sorted ones, the first that is not below. */
static size_t
lower_bound(const struct entries *entries, const struct id *what)
{
    size_t lo = 0;
    size_t hi = entries->count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        if (memcmp(entries->list[middle].what.bytes, what->bytes, ID_SIZE) < 0) {
            lo = middle + 1;
        } else {
            hi = middle;
        }
    }
    return lo;
}

static size_t
slot_of(const struct dlq_finder *finder, const struct id *id)
{
    uint64_t hash = 0;
    memcpy(&hash, id->bytes + 4, sizeof hash);
    size_t slot = (size_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (finder->table_size - 1);
    while (finder->table[slot] != EMPTY && !id_equal(&finder->young.list[finder->table[slot] - 1].what, id)) {
        slot = (slot + 1) & (finder->table_size - 1);
    }
    return slot;
}

/* Keys are in the table as well: they do no harm, as nobody looks a key up there. */
static void
tabulate(struct dlq_finder *finder, size_t room)
{
    if (finder->table_size < room * 2) {
        finder->table_size = finder->table_size == 0 ? 4096 : finder->table_size;
        while (finder->table_size < room * 2) {
            finder->table_size *= 2;
        }
        free(finder->table);
        finder->table = memory_room(finder->table_size * sizeof *finder->table);
    }
    memset(finder->table, 0, finder->table_size * sizeof *finder->table);
    for (size_t i = 0; i < finder->young.count; i++) {
        finder->table[slot_of(finder, &finder->young.list[i].what)] = (uint32_t)(i + 1);
    }
}

static void
add_young(struct dlq_finder *finder, const struct id *what, int64_t n)
{
    append(&finder->young, what, n);
    if (finder->table_size < finder->young.count * 2) {
        tabulate(finder, finder->young.count * 2);
    } else {
        finder->table[slot_of(finder, what)] = (uint32_t)finder->young.count;
    }
}

static struct id
key_id(struct slice key)
{
    return id_of_bytes(key.data, key.size);
}

/* --- life --- */

struct dlq_finder *
dlq_finder_create(struct db *db)
{
    struct dlq_finder *finder = memory_new(1, sizeof *finder);
    finder->db = db;
    finder->generation = GENERATION;
    return finder;
}

void
dlq_finder_set_generation(struct dlq_finder *finder, size_t entries)
{
    finder->generation = entries;
}

void
dlq_finder_destroy(struct dlq_finder **finder)
{
    if (*finder == NULL) {
        return;
    }
    free((*finder)->young.list);
    free((*finder)->old.list);
    free((*finder)->table);
    free((*finder)->found);
    free(*finder);
    *finder = NULL;
}

err
dlq_finder_load(struct dlq_finder *finder)
{
    struct db_statement *merged = db_statement(finder->db, "SELECT n FROM $merged");
    struct db_statement *letters =
        db_statement(finder->db, "SELECT n, id, letter_key FROM $letter {BY PRIMARY} WHERE n > ? ORDER BY n LIMIT 8192");
    err code = db_query(merged);
    if (code != ERR_ok) {
        return code;
    }
    finder->merged = finder->written = db_next(merged) ? db_i64(merged, 0) : 0;
    db_done(merged);
    finder->young.count = finder->old.count = finder->sent = finder->sent_kept = finder->budget = 0;
    tabulate(finder, 1024);
    int64_t last = finder->merged;
    for (int64_t from = -1; code == ERR_ok && from != last;) {
        from = last;
        db_bind_i64(letters, from);
        code = db_query(letters);
        while (code == ERR_ok && db_next(letters)) {
            struct id id = db_id(letters, 1);
            last = db_i64(letters, 0);
            dlq_finder_add(finder, last, &id, db_bytes(letters, 2));
        }
    }
    finder->budget = 0;
    if (code == ERR_ok) {
        dlq_finder_committed(finder);
    }
    return code;
}

void
dlq_finder_add(struct dlq_finder *finder, int64_t n, const struct id *id, struct slice key)
{
    add_young(finder, id, n);
    finder->budget += 2;
    if (key.size > 0) {
        struct id what = key_id(key);
        add_young(finder, &what, n);
        finder->budget++;
    }
}

static err
queue_old(struct dlq_finder *finder)
{
    struct db_rows *rows = db_rows(finder->db, "REPLACE INTO $find (what, n)", 2);
    size_t end = finder->old.count - finder->sent > finder->budget ? finder->sent + finder->budget : finder->old.count;
    finder->budget = 0;
    for (; finder->sent < end; finder->sent++) {
        const struct entry *entry = &finder->old.list[finder->sent];
        db_rows_id(rows, &entry->what);
        db_rows_i64(rows, entry->n);
    }
    return db_rows_queue(rows);
}

err
dlq_finder_queue(struct dlq_finder *finder)
{
    if (finder->written != finder->merged) {
        struct db_statement *write = db_statement(finder->db, "REPLACE INTO $merged (one, n) VALUES (1, ?)");
        db_bind_i64(write, finder->merged);
        err code = db_queue(write, DB_ANY_ROWS);
        if (code != ERR_ok) {
            return code;
        }
        finder->written = finder->merged;
    }
    return finder->budget > 0 ? queue_old(finder) : ERR_ok;
}

/* Every old one is in $find. */
static void
forget_old(struct dlq_finder *finder)
{
    for (size_t i = 0; i < finder->old.count; i++) {
        finder->merged = finder->old.list[i].n > finder->merged ? finder->old.list[i].n : finder->merged;
    }
    finder->old.count = finder->sent = finder->sent_kept = 0;
}

static void
grow_old(struct dlq_finder *finder)
{
    struct entries empty = finder->old;
    finder->old = finder->young;
    finder->young = empty;
    finder->young_kept = 0;
    qsort(finder->old.list, finder->old.count, sizeof *finder->old.list, compare);
    memset(finder->table, 0, finder->table_size * sizeof *finder->table);
}

void
dlq_finder_committed(struct dlq_finder *finder)
{
    finder->young_kept = finder->young.count;
    finder->sent_kept = finder->sent;
    if (finder->old.count > 0 && finder->sent == finder->old.count) {
        forget_old(finder);
    }
    if (finder->old.count == 0 && finder->young.count >= finder->generation) {
        grow_old(finder);
    }
}

void
dlq_finder_dropped(struct dlq_finder *finder)
{
    finder->sent = finder->sent_kept;
    finder->budget = 0;
    finder->written = -1; /* whatever it says, it is written again */
    if (finder->young.count != finder->young_kept) {
        finder->young.count = finder->young_kept;
        tabulate(finder, finder->young.count);
    }
}

/* --- finding --- */

/* 0: not in memory. */
static int64_t
find_in_memory(const struct dlq_finder *finder, const struct id *id)
{
    uint32_t young = finder->table_size == 0 ? EMPTY : finder->table[slot_of(finder, id)];
    if (young != EMPTY) {
        return finder->young.list[young - 1].n;
    }
    size_t at = lower_bound(&finder->old, id);
    return at < finder->old.count && id_equal(&finder->old.list[at].what, id) ? finder->old.list[at].n : 0;
}

err
dlq_finder_numbers(struct dlq_finder *finder, const struct id *ids, size_t count, int64_t *numbers)
{
    struct db_in *in = db_in(finder->db, "SELECT what, n FROM $find {BY PRIMARY} WHERE what IN (*)");
    for (size_t i = 0; i < count; i++) {
        numbers[i] = find_in_memory(finder, &ids[i]);
        if (numbers[i] == 0 && finder->merged > 0) {
            db_in_id(in, &ids[i]);
        }
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id what = db_id(row, 0);
        for (size_t i = 0; i < count; i++) {
            if (id_equal(&ids[i], &what)) {
                numbers[i] = db_i64(row, 1);
            }
        }
    }
    return db_in_end(in);
}

static bool
is_in(const struct dlq_range *range, int64_t n)
{
    return n >= range->lo && n < range->hi;
}

static void
remember(struct dlq_finder *finder, size_t *count, int64_t n)
{
    finder->found = memory_grow(finder->found, &finder->found_capacity, *count + 1, sizeof *finder->found);
    finder->found[(*count)++] = n;
}

/* In ascending order: what is old came before what is young, and both are in order for one key. */
static size_t
list_memory(struct dlq_finder *finder, const struct dlq_finding *finding)
{
    struct id what = key_id(finding->key);
    size_t count = 0;
    for (size_t i = lower_bound(&finder->old, &what); i < finder->old.count && id_equal(&finder->old.list[i].what, &what); i++) {
        if (is_in(&finding->range, finder->old.list[i].n)) {
            remember(finder, &count, finder->old.list[i].n);
        }
    }
    for (size_t i = 0; i < finder->young.count; i++) {
        if (is_in(&finding->range, finder->young.list[i].n) && id_equal(&finder->young.list[i].what, &what)) {
            remember(finder, &count, finder->young.list[i].n);
        }
    }
    return count;
}

static err
list_table(struct dlq_finder *finder, const struct dlq_finding *finding, int64_t *numbers, size_t max, size_t *count)
{
    struct id what = key_id(finding->key);
    struct db_statement *read = db_statement(
        finder->db, finding->from_end ? "SELECT n FROM $find {BY PRIMARY} WHERE what = ? AND n >= ? AND n < ? ORDER BY n DESC LIMIT ?"
                                      : "SELECT n FROM $find {BY PRIMARY} WHERE what = ? AND n >= ? AND n < ? ORDER BY n LIMIT ?");
    int64_t end = finder->merged + 1;
    if (*count == max || finding->range.lo >= end) {
        return ERR_ok;
    }
    db_bind_id(read, &what);
    db_bind_i64(read, finding->range.lo);
    db_bind_i64(read, finding->range.hi < end ? finding->range.hi : end);
    db_bind_i64(read, (int64_t)(max - *count));
    err code = db_query(read);
    while (code == ERR_ok && *count < max && db_next(read)) {
        numbers[(*count)++] = db_i64(read, 0);
    }
    db_done(read);
    return code;
}

err
dlq_finder_list(struct dlq_finder *finder, const struct dlq_finding *finding, int64_t *numbers, size_t max, size_t *count)
{
    size_t in_memory = list_memory(finder, finding);
    *count = 0;
    if (!finding->from_end) {
        err code = list_table(finder, finding, numbers, max, count);
        for (size_t i = 0; code == ERR_ok && i < in_memory && *count < max; i++) {
            numbers[(*count)++] = finder->found[i];
        }
        return code;
    }
    for (size_t i = in_memory; i > 0 && *count < max; i--) {
        numbers[(*count)++] = finder->found[i - 1];
    }
    return list_table(finder, finding, numbers, max, count);
}
