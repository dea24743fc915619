/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  See told.h.
 * STATE    An open table in memory, doubled when it is half full: as large as the sequence is long.
 */
#include "told.h"

#include <stdlib.h>

#define TABLE_START 1024

uint64_t
told_hash(struct slice bytes)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes.size; i++) {
        hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
    }
    return hash;
}

static struct told *
find(struct told *entries, size_t capacity, const struct id *id, int where)
{
    size_t at = (id_hash(id) + (size_t)where * 31) & (capacity - 1);
    while (entries[at].is_used && !(entries[at].where == where && id_equal(&entries[at].id, id))) {
        at = (at + 1) & (capacity - 1);
    }
    return &entries[at];
}

static void
grow(struct told_table *table)
{
    size_t capacity = table->capacity == 0 ? TABLE_START : table->capacity * 2;
    struct told *entries = calloc(capacity, sizeof *entries);
    if (entries == NULL) {
        abort();
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].is_used) {
            *find(entries, capacity, &table->entries[i].id, table->entries[i].where) = table->entries[i];
        }
    }
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
}

struct told *
told_get(struct told_table *table, const struct id *id, int where)
{
    if (table->count * 2 >= table->capacity) {
        grow(table);
    }
    struct told *entry = find(table->entries, table->capacity, id, where);
    if (!entry->is_used) {
        *entry = (struct told){.id = *id, .where = where, .is_used = true, .op = OP_COUNT};
        table->count++;
    }
    return entry;
}

void
told_fini(struct told_table *table)
{
    free(table->entries);
    *table = (struct told_table){0};
}
