/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The parked events of an inbox: a row each, written by the transaction that moves the cursor past the event. Of each key
 *           the head is tried when it is due, until it is buried; those behind it wait, and go at once when it is gone.
 *
 * STATE     $parked (source, seq, event_key, header, body, attempts, due, error, state, first, history, history_count). In memory one
 *           entry per key that has rows which were not put aside: how many, the head's seq when it is known, and when it is due;
 *           found by a hash, and those with a time of their own ordered in a heap. Entries that a batch changes are copied before,
 *           so that a rollback takes the changes back.
 *
 * FAILURES  A row that memory knows and the table does not was taken away by hand: its key is forgotten, and an error logged.
 *
 * LIMITS    About 150 bytes of memory per key. What is put aside is on disk alone.
 */
#include "parked.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "kit/base/memory.h"
#include "kit/telemetry/log.h"

enum { NONE = -1, READ_MANY = 32 };

/* A key that has parked events. Plain values, so that a copy gives them back. */
struct entry {
    size_t stream;
    int64_t alone; /* of an event without a key: its seq, which is its key; 0 of others */
    char key[WIRE_NAME_MAX + 1];
    int64_t count;  /* 0: the entry is free, or (of a copy) there was none */
    int64_t head;   /* seq of the first; 0: not known, it is read when it is needed */
    int64_t due_ms; /* of the head; INT64_MAX: it is buried */
};

struct slot {
    struct entry entry;
    int32_t next;  /* in its bucket, or of the free ones */
    int32_t place; /* in the heap; NONE: it has no time of its own */
};

struct parked {
    struct db *db;
    const char *const *sources;
    size_t source_count;
    struct slot *slots;
    int32_t used; /* of the slots, ever */
    int32_t capacity;
    int32_t free;
    int32_t *buckets; /* as many as a power of two */
    size_t bucket_count;
    int32_t *heap; /* slots by due_ms, the earliest first; room for every slot */
    int32_t heap_count;
    int64_t rows;
    const struct inbox_event *found; /* read ahead by parked_find_many() */
    size_t found_count;
    struct entry *before; /* entries as they were before the batch under way changed them, the oldest change first */
    size_t before_count;
    size_t before_capacity;
};

struct parked *
parked_create(struct db *db, const char *const *sources, size_t count)
{
    struct parked *parked = memory_new(1, sizeof *parked);
    *parked = (struct parked){.db = db, .sources = sources, .source_count = count, .free = NONE};
    return parked;
}

void
parked_destroy(struct parked **parked)
{
    if (*parked != NULL) {
        free((*parked)->slots);
        free((*parked)->buckets);
        free((*parked)->heap);
        free((*parked)->before);
        free(*parked);
        *parked = NULL;
    }
}

/* --- the heap --- */

static int64_t
due_at(const struct parked *parked, int32_t place)
{
    return parked->slots[parked->heap[place]].entry.due_ms;
}

static void
put_at(struct parked *parked, int32_t place, int32_t slot)
{
    parked->heap[place] = slot;
    parked->slots[slot].place = place;
}

static void
sift_up(struct parked *parked, int32_t place)
{
    int32_t slot = parked->heap[place];
    while (place > 0 && parked->slots[slot].entry.due_ms < due_at(parked, (place - 1) / 2)) {
        put_at(parked, place, parked->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    put_at(parked, place, slot);
}

static void
sift_down(struct parked *parked, int32_t place)
{
    int32_t slot = parked->heap[place];
    for (int32_t child = 2 * place + 1; child < parked->heap_count; child = 2 * place + 1) {
        if (child + 1 < parked->heap_count && due_at(parked, child + 1) < due_at(parked, child)) {
            child++;
        }
        if (parked->slots[slot].entry.due_ms <= due_at(parked, child)) {
            break;
        }
        put_at(parked, place, parked->heap[child]);
        place = child;
    }
    put_at(parked, place, slot);
}

static void
leave_heap(struct parked *parked, int32_t slot)
{
    int32_t place = parked->slots[slot].place;
    if (place == NONE) {
        return;
    }
    int32_t last = parked->heap[--parked->heap_count];
    parked->slots[slot].place = NONE;
    if (last != slot) {
        put_at(parked, place, last);
        sift_up(parked, place);
        sift_down(parked, parked->slots[last].place);
    }
}

/* After its due_ms was set. */
static void
order(struct parked *parked, int32_t slot)
{
    leave_heap(parked, slot);
    if (parked->slots[slot].entry.due_ms != INT64_MAX) {
        put_at(parked, parked->heap_count, slot);
        sift_up(parked, parked->heap_count++);
    }
}

/* --- the hash --- */

static struct slice
key_of(const struct entry *entry)
{
    return slice_of(entry->key);
}

static size_t
bucket_of(const struct parked *parked, size_t stream, int64_t alone, struct slice key)
{
    uint64_t hash = (UINT64_C(14695981039346656037) ^ stream ^ (uint64_t)alone) * UINT64_C(1099511628211);
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ key.data[i]) * UINT64_C(1099511628211);
    }
    return (size_t)(hash ^ (hash >> 32)) & (parked->bucket_count - 1);
}

static int32_t
find(const struct parked *parked, size_t stream, int64_t alone, struct slice key)
{
    if (parked->bucket_count == 0) {
        return NONE;
    }
    int32_t slot = parked->buckets[bucket_of(parked, stream, alone, key)];
    while (slot != NONE) {
        const struct entry *entry = &parked->slots[slot].entry;
        if (entry->stream == stream && entry->alone == alone && slice_equal(key_of(entry), key)) {
            return slot;
        }
        slot = parked->slots[slot].next;
    }
    return NONE;
}

static void
join_bucket(struct parked *parked, int32_t slot)
{
    const struct entry *entry = &parked->slots[slot].entry;
    int32_t *bucket = &parked->buckets[bucket_of(parked, entry->stream, entry->alone, key_of(entry))];
    parked->slots[slot].next = *bucket;
    *bucket = slot;
}

static void
leave_bucket(struct parked *parked, int32_t slot)
{
    const struct entry *entry = &parked->slots[slot].entry;
    int32_t *link = &parked->buckets[bucket_of(parked, entry->stream, entry->alone, key_of(entry))];
    while (*link != slot) {
        link = &parked->slots[*link].next;
    }
    *link = parked->slots[slot].next;
}

static void
make_room(struct parked *parked)
{
    parked->capacity = parked->capacity == 0 ? 64 : parked->capacity * 2;
    parked->slots = memory_resize(parked->slots, (size_t)parked->capacity * sizeof *parked->slots);
    parked->heap = memory_resize(parked->heap, (size_t)parked->capacity * sizeof *parked->heap);
    parked->bucket_count = (size_t)parked->capacity * 2;
    parked->buckets = memory_resize(parked->buckets, parked->bucket_count * sizeof *parked->buckets);
    memset(parked->buckets, 0xff, parked->bucket_count * sizeof *parked->buckets);
    for (int32_t i = 0; i < parked->used; i++) {
        if (parked->slots[i].entry.count > 0) {
            join_bucket(parked, i);
        }
    }
}

/* `entry->count` must not be 0. */
static int32_t
add(struct parked *parked, const struct entry *entry)
{
    int32_t slot = parked->free;
    if (slot != NONE) {
        parked->free = parked->slots[slot].next;
    } else {
        if (parked->used == parked->capacity) {
            make_room(parked);
        }
        slot = parked->used++;
    }
    parked->slots[slot] = (struct slot){.entry = *entry, .place = NONE};
    join_bucket(parked, slot);
    order(parked, slot);
    parked->rows += entry->count;
    return slot;
}

static void
take_out(struct parked *parked, int32_t slot)
{
    parked->rows -= parked->slots[slot].entry.count;
    leave_heap(parked, slot);
    leave_bucket(parked, slot);
    parked->slots[slot].entry.count = 0;
    parked->slots[slot].next = parked->free;
    parked->free = slot;
}

static void
change(struct parked *parked, int32_t slot, const struct entry *entry)
{
    parked->rows += entry->count - parked->slots[slot].entry.count;
    parked->slots[slot].entry = *entry;
    order(parked, slot);
}

static struct entry
make_entry(size_t stream, int64_t seq, struct slice key)
{
    struct entry entry = {.stream = stream, .alone = key.size == 0 ? seq : 0};
    snprintf(entry.key, sizeof entry.key, "%.*s", (int)key.size, (const char *)key.data);
    return entry;
}

static int32_t
find_event(const struct parked *parked, const struct inbox_event *event)
{
    struct slice key = event->header.key;
    return find(parked, event->stream, key.size == 0 ? event->header.seq : 0, key);
}

/* --- changes of a batch --- */

/* The entry of the event's key as it is now, remembered before a change; count 0: there is none. */
static struct entry
remember(struct parked *parked, const struct inbox_event *event, int32_t *slot)
{
    *slot = find_event(parked, event);
    struct entry now = *slot == NONE ? make_entry(event->stream, event->header.seq, event->header.key) : parked->slots[*slot].entry;
    parked->before = memory_grow(parked->before, &parked->before_capacity, parked->before_count + 1, sizeof *parked->before);
    parked->before[parked->before_count++] = now;
    return now;
}

/* Puts the entry where `slot` was found. */
static void
put(struct parked *parked, int32_t slot, const struct entry *entry)
{
    if (slot != NONE && entry->count == 0) {
        take_out(parked, slot);
    } else if (slot != NONE) {
        change(parked, slot, entry);
    } else if (entry->count > 0) {
        (void)add(parked, entry);
    }
}

void
parked_committed(struct parked *parked)
{
    parked->before_count = 0;
}

void
parked_dropped(struct parked *parked)
{
    while (parked->before_count > 0) {
        const struct entry *before = &parked->before[--parked->before_count];
        put(parked, find(parked, before->stream, before->alone, key_of(before)), before);
    }
}

/* A row of this key does not count any more. */
static void
leave_key(struct parked *parked, const struct inbox_event *event)
{
    int32_t slot = NONE;
    struct entry entry = remember(parked, event, &slot);
    if (slot == NONE) {
        return;
    }
    entry.count--;
    if (entry.head == event->header.seq || entry.head == 0) {
        entry.head = 0;
        entry.due_ms = 0; /* the one behind it may go at once */
    }
    put(parked, slot, &entry);
}

/* --- reading --- */

/* Of each key how many rows there are, and when the first of them is due. A follower has no time of its own: once it is the first,
 * it may go at once. */
err
parked_load(struct parked *parked)
{
    parked->used = parked->heap_count = 0;
    parked->free = NONE;
    parked->rows = 0;
    parked->before_count = 0;
    if (parked->bucket_count > 0) {
        memset(parked->buckets, 0xff, parked->bucket_count * sizeof *parked->buckets);
    }
    struct db_statement *read =
        db_statement(parked->db, "SELECT source, event_key, seq, due, state FROM $parked WHERE state <> 2 ORDER BY source, seq");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        size_t stream = 0;
        while (stream < parked->source_count && !slice_equal(slice_of(parked->sources[stream]), db_bytes(read, 0))) {
            stream++;
        }
        if (stream == parked->source_count) {
            continue;
        }
        struct entry entry = make_entry(stream, db_i64(read, 2), db_bytes(read, 1));
        int32_t slot = find(parked, stream, entry.alone, key_of(&entry));
        if (slot != NONE) {
            parked->slots[slot].entry.count++;
            parked->rows++;
            continue;
        }
        bool is_buried = db_i64(read, 4) == PARKED_BURIED;
        entry.count = 1;
        entry.head = db_i64(read, 2);
        entry.due_ms = is_buried || db_i64(read, 3) != INT64_MAX ? db_i64(read, 3) : 0;
        (void)add(parked, &entry);
    }
    return code;
}

int64_t
parked_count(const struct parked *parked)
{
    return parked->rows;
}

int64_t
parked_next_ms(const struct parked *parked)
{
    return parked->heap_count == 0 ? INT64_MAX : due_at(parked, 0);
}

bool
parked_has_key(const struct parked *parked, const struct inbox_event *event)
{
    return find_event(parked, event) != NONE;
}

err
parked_head(struct parked *parked, const struct inbox_event *event, int64_t *seq)
{
    *seq = 0;
    int32_t slot = find_event(parked, event);
    if (slot == NONE || parked->slots[slot].entry.head != 0) {
        *seq = slot == NONE ? 0 : parked->slots[slot].entry.head;
        return ERR_ok;
    }
    struct db_statement *read =
        db_statement(parked->db, "SELECT seq FROM $parked WHERE source = ? AND event_key = ? AND state <> 2 ORDER BY seq LIMIT 1");
    db_bind_text(read, slice_of(parked->sources[event->stream]));
    db_bind_text(read, event->header.key);
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        *seq = db_i64(read, 0);
        db_done(read);
    }
    return code;
}

/* Takes the row out of the read, copied. A header that cannot be read is an error of the table. */
static err
take_row(struct db_statement *read, struct arena *arena, size_t stream, struct inbox_event *event)
{
    *event = (struct inbox_event){.stream = stream, .is_parked = true};
    event->header_frame = arena_copy(arena, db_bytes(read, 0));
    event->body_frame = arena_copy(arena, db_bytes(read, 1));
    event->attempts = db_i64(read, 2);
    event->state = (enum parked_state)db_i64(read, 3);
    event->first_ms = db_i64(read, 4);
    event->history = arena_copy(arena, db_bytes(read, 5));
    event->history_count = db_i64(read, 6);
    struct err_text why;
    err code = wire_decode(&event_header_body, event->header_frame, &event->header, &why);
    event->type = code == ERR_ok ? wire_event_find((const char *)event->header.type.data, event->header.type.size) : EVENT_COUNT;
    return code;
}

err
parked_find_many(struct parked *parked, struct arena *arena, size_t stream, const int64_t *seqs, size_t count)
{
    struct inbox_event *found = arena_alloc(arena, (count + 1) * sizeof *found);
    size_t found_count = 0;
    struct db_statement *read = db_statement(
        parked->db, "SELECT header, body, attempts, state, first, history, history_count FROM $parked {BY PRIMARY} WHERE source = ? "
                    "AND seq IN (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    for (size_t start = 0; start < count; start += READ_MANY) {
        db_bind_text(read, slice_of(parked->sources[stream]));
        for (size_t i = start; i < start + READ_MANY; i++) {
            db_bind_i64(read, seqs[i < count ? i : count - 1]);
        }
        err code = db_query(read);
        while (code == ERR_ok && found_count < count && db_next(read)) {
            code = take_row(read, arena, stream, &found[found_count++]);
        }
        db_done(read);
        if (code != ERR_ok) {
            return code;
        }
    }
    parked->found = found;
    parked->found_count = found_count;
    return ERR_ok;
}

void
parked_forget_many(struct parked *parked)
{
    parked->found_count = 0;
}

err
parked_find(struct parked *parked, struct arena *arena, struct inbox_event *event, bool *is_there)
{
    for (size_t i = 0; i < parked->found_count; i++) {
        if (parked->found[i].stream == event->stream && parked->found[i].header.seq == event->header.seq) {
            *event = parked->found[i];
            *is_there = true;
            return ERR_ok;
        }
    }
    struct db_statement *read = db_statement(parked->db, "SELECT header, body, attempts, state, first, history, history_count FROM "
                                                         "$parked WHERE source = ? AND seq = ?");
    db_bind_text(read, slice_of(parked->sources[event->stream]));
    db_bind_i64(read, event->header.seq);
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        code = take_row(read, arena, event->stream, event);
        db_done(read);
    }
    return code;
}

/* The first of a key that was not put aside. */
static err
find_head(struct parked *parked, struct arena *arena, const struct entry *entry, struct inbox_event *event, bool *is_there)
{
    if (entry->head != 0 || entry->alone != 0) {
        *event = (struct inbox_event){.stream = entry->stream};
        event->header.seq = entry->head != 0 ? entry->head : entry->alone;
        return parked_find(parked, arena, event, is_there);
    }
    struct db_statement *read =
        db_statement(parked->db, "SELECT header, body, attempts, state, first, history, history_count FROM "
                                 "$parked WHERE source = ? AND event_key = ? AND state <> 2 ORDER BY seq LIMIT 1");
    db_bind_text(read, slice_of(parked->sources[entry->stream]));
    db_bind_text(read, key_of(entry));
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        code = take_row(read, arena, entry->stream, event);
        db_done(read);
    }
    return code;
}

/* Reads the head of an entry that is due. It is none to be tried when it is buried: one that was behind it and was buried as well, or
 * a row that somebody changed by hand. */
static err
read_head(struct parked *parked, struct arena *arena, int32_t slot, struct inbox_event *event, bool *is_due)
{
    struct entry entry = parked->slots[slot].entry;
    bool is_there = false;
    *is_due = false;
    err code = find_head(parked, arena, &entry, event, &is_there);
    if (code != ERR_ok) {
        return code;
    }
    if (!is_there || event->state == PARKED_DISCARDED) {
        log_error("parked_event_missing", LOG_TEXT("source", parked->sources[entry.stream]), LOG_TEXT("key", entry.key));
        take_out(parked, slot);
        return ERR_ok;
    }
    *is_due = event->state == PARKED_TRYING;
    entry.head = event->header.seq;
    entry.due_ms = *is_due ? entry.due_ms : INT64_MAX;
    change(parked, slot, &entry);
    return ERR_ok;
}

err
parked_read_due(struct parked *parked, struct arena *arena, int64_t now_ms, struct inbox_event *out, size_t max, size_t *count)
{
    *count = 0;
    int32_t *due = arena_alloc(arena, (max + 1) * sizeof *due);
    int32_t *places = arena_alloc(arena, (max + 2) * sizeof *places);
    size_t found = 0;
    size_t waiting = 0;
    places[waiting++] = 0;
    while (waiting > 0 && found < max) {
        int32_t place = places[--waiting];
        if (place < parked->heap_count && due_at(parked, place) <= now_ms) {
            due[found++] = parked->heap[place];
            places[waiting++] = 2 * place + 2;
            places[waiting++] = 2 * place + 1;
        }
    }
    for (size_t i = 0; i < found; i++) {
        bool is_due = false;
        err code = read_head(parked, arena, due[i], &out[*count], &is_due);
        if (code != ERR_ok) {
            return code;
        }
        *count += is_due ? 1 : 0;
    }
    return ERR_ok;
}

/* --- writing --- */

static err
insert(struct parked *parked, const struct inbox_event *event, const struct inbox_failure *failure)
{
    struct db_statement *row =
        db_statement(parked->db, "REPLACE INTO $parked (source, seq, event_key, header, body, attempts, due, error, "
                                 "state, first, history, history_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    db_bind_text(row, slice_of(parked->sources[event->stream]));
    db_bind_i64(row, event->header.seq);
    db_bind_text(row, event->header.key);
    db_bind_bytes(row, event->header_frame);
    db_bind_bytes(row, event->body_frame);
    db_bind_i64(row, failure->attempts);
    db_bind_i64(row, failure->due_ms);
    db_bind_text(row, slice_of(failure->reason));
    db_bind_i64(row, failure->is_buried ? PARKED_BURIED : PARKED_TRYING);
    db_bind_i64(row, failure->first_ms);
    db_bind_bytes(row, failure->history);
    db_bind_i64(row, failure->history_count);
    return db_queue(row, DB_ANY_ROWS);
}

/* Frames stay: somebody may have edited them. */
static err
update(struct parked *parked, const struct inbox_event *event, const struct inbox_failure *failure)
{
    struct db_statement *row = db_statement(parked->db, "UPDATE $parked SET attempts = ?, due = ?, error = ?, state = ?, first = ?, "
                                                        "history = ?, history_count = ? WHERE source = ? AND seq = ?");
    db_bind_i64(row, failure->attempts);
    db_bind_i64(row, failure->due_ms);
    db_bind_text(row, slice_of(failure->reason));
    db_bind_i64(row, failure->is_buried ? PARKED_BURIED : PARKED_TRYING);
    db_bind_i64(row, failure->first_ms);
    db_bind_bytes(row, failure->history);
    db_bind_i64(row, failure->history_count);
    db_bind_text(row, slice_of(parked->sources[event->stream]));
    db_bind_i64(row, event->header.seq);
    return db_queue(row, DB_ANY_ROWS);
}

err
parked_put(struct parked *parked, const struct inbox_event *event, const struct inbox_failure *failure)
{
    int32_t slot = NONE;
    struct entry entry = remember(parked, event, &slot);
    if (entry.count == 0 || event->is_parked) {
        entry.head = event->header.seq;
        entry.due_ms = failure->is_buried ? INT64_MAX : failure->due_ms;
    }
    entry.count += event->is_parked && entry.count > 0 ? 0 : 1;
    put(parked, slot, &entry);
    return event->is_parked ? update(parked, event, failure) : insert(parked, event, failure);
}

err
parked_forget(struct parked *parked, const struct inbox_event *event)
{
    if (event->state != PARKED_DISCARDED) {
        leave_key(parked, event);
    }
    struct db_statement *forget = db_statement(parked->db, "DELETE FROM $parked WHERE source = ? AND seq = ?");
    db_bind_text(forget, slice_of(parked->sources[event->stream]));
    db_bind_i64(forget, event->header.seq);
    return db_queue(forget, 1);
}

err
parked_set_body(struct parked *parked, const struct inbox_event *event, struct slice body)
{
    struct db_statement *edit = db_statement(parked->db, "UPDATE $parked SET body = ? WHERE source = ? AND seq = ?");
    db_bind_bytes(edit, body);
    db_bind_text(edit, slice_of(parked->sources[event->stream]));
    db_bind_i64(edit, event->header.seq);
    return db_queue(edit, 1);
}

static err
set_state(struct parked *parked, const struct inbox_event *event, enum parked_state state)
{
    struct db_statement *set = db_statement(parked->db, "UPDATE $parked SET state = ?, due = ? WHERE source = ? AND seq = ?");
    db_bind_i64(set, state);
    db_bind_i64(set, INT64_MAX);
    db_bind_text(set, slice_of(parked->sources[event->stream]));
    db_bind_i64(set, event->header.seq);
    return db_queue(set, 1);
}

err
parked_set_aside(struct parked *parked, const struct inbox_event *event)
{
    leave_key(parked, event);
    return set_state(parked, event, PARKED_DISCARDED);
}

err
parked_take_back(struct parked *parked, const struct inbox_event *event)
{
    int64_t head = 0;
    err code = parked_head(parked, event, &head);
    if (code != ERR_ok) {
        return code;
    }
    int32_t slot = NONE;
    struct entry entry = remember(parked, event, &slot);
    if (head == 0 || event->header.seq < head) {
        entry.head = event->header.seq;
        entry.due_ms = INT64_MAX;
    }
    entry.count++;
    put(parked, slot, &entry);
    return set_state(parked, event, PARKED_BURIED);
}

void
parked_hold(struct parked *parked, const struct inbox_event *event, int64_t until_ms)
{
    int32_t slot = find_event(parked, event);
    if (slot != NONE) {
        struct entry entry = parked->slots[slot].entry;
        entry.due_ms = until_ms;
        change(parked, slot, &entry);
    }
}
