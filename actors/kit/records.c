/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The records of a batch, one for each message: what has come, and what became of it. A table beside them folds equal ids
 *           into one.
 *
 * LIMITS    As many as the list was made for; whoever adds one looks for room first.
 */
#include <stdlib.h>
#include <string.h>

#include "actor_internal.h"
#include "kit/base/memory.h"

void
records_init(struct records *records, size_t capacity)
{
    records->capacity = capacity;
    records->list = memory_new(capacity, sizeof *records->list);
    records->items = memory_new(capacity, sizeof *records->items);
    records->fold_size = 64;
    while (records->fold_size < 2 * capacity) {
        records->fold_size *= 2;
    }
    records->fold_table = memory_new(records->fold_size, sizeof *records->fold_table);
}

void
records_fini(struct records *records)
{
    free(records->list);
    free(records->items);
    free(records->fold_table);
}

struct record *
records_add(struct records *records)
{
    if (records->count == records->capacity) {
        return NULL;
    }
    struct record *record = &records->list[records->count++];
    record->item = (struct item){0};
    record->outcome = (struct item_outcome){.status = ERR_COUNT};
    record->given = record->outcome;
    record->has_message = false;
    record->is_again = false;
    record->folded_into = -1;
    record->is_other = false;
    record->retry = NULL;
    record->event = NULL;
    record->is_follower = false;
    record->due = NULL;
    record->ask = NULL;
    record->work = NULL;
    return record;
}

void
records_begin_folds(struct records *records)
{
    memset(records->fold_table, 0xff, records->fold_size * sizeof *records->fold_table);
}

/* Equal ids within a batch are one request; another body under the id waits for what becomes of the first. */
void
records_fold(struct records *records, size_t number)
{
    struct record *record = &records->list[number];
    size_t mask = records->fold_size - 1;
    for (size_t i = id_hash(&record->item.id) & mask;; i = (i + 1) & mask) {
        int32_t other = records->fold_table[i];
        if (other < 0) {
            records->fold_table[i] = (int32_t)number;
            return;
        }
        struct record *first = &records->list[other];
        if (!id_equal(&first->item.id, &record->item.id)) {
            continue;
        }
        bool is_other = !fingerprint_equal(&first->item.fingerprint, &record->item.fingerprint);
        uint32_t traits = wire_ops[first->item.op].traits | wire_ops[record->item.op].traits;
        if (is_other && (traits & OP_REPEATS) != 0) {
            continue; /* one of them is not known by its id */
        }
        record->folded_into = other;
        record->is_other = is_other;
        first->item.again = first->item.again || (record->item.again && !record->is_other);
        return;
    }
}

/* --- what a record is of --- */

void
record_take_event(struct actor *actor, struct record *record, const struct inbox_event *event)
{
    struct inbox_event *kept = arena_alloc(&actor->arena, sizeof *kept);
    *kept = *event;
    record->event = kept;
    struct item *item = &record->item;
    item->kind = ITEM_EVENT;
    item->id = kept->header.id;
    item->event = kept->type;
    item->header = &kept->header;
    item->frame = kept->body_frame;
    item->attempts = kept->attempts;
    item->traceparent = WIRE_HAS(&kept->header, event_header, traceparent) ? kept->header.traceparent : (struct slice){0};
    if (kept->type == EVENT_COUNT) {
        record->outcome.status = ERR_ok; /* a type of a later version: skipped, the cursor moves on */
        return;
    }
    const struct wire_body *body = wire_events[kept->type].body;
    void *target = arena_alloc(&actor->arena, body->size);
    struct err_text why;
    err code = wire_decode(body, kept->body_frame, target, &why);
    item->body = target;
    if (code != ERR_ok) {
        struct batch batch = {.actor = actor};
        item->outcome = &record->outcome;
        item_refuse(&batch, item, code, "%s", why.text);
    }
}

void
record_take_due(struct record *record, const struct due_row *row, const struct id *id)
{
    record->due = row;
    struct item *item = &record->item;
    item->kind = ITEM_DUE;
    item->id = *id;
    item->owner = row->owner;
    item->key = row->key;
    item->payload = row->payload;
    item->attempts = row->attempts;
    item->has_turn = due_is_turn(row->due_ms);
}

struct item_outcome *
record_answer(struct record *record)
{
    return record->retry == NULL ? &record->outcome : &record->retry->outcome;
}

bool
record_is_asked(const struct record *record)
{
    return record->item.kind == ITEM_REQUEST || record->retry != NULL;
}

/* --- what is in the batch already --- */

bool
records_have_event(const struct records *records, const struct inbox_event *event)
{
    for (size_t i = 0; i < records->count; i++) {
        const struct inbox_event *other = records->list[i].event;
        if (other != NULL && other->is_parked && other->stream == event->stream && slice_equal(other->header.key, event->header.key) &&
            (event->header.key.size > 0 || other->header.seq == event->header.seq)) {
            return true;
        }
    }
    return false;
}

bool
records_have_due(const struct records *records, struct slice owner, struct slice key)
{
    for (size_t i = 0; i < records->count; i++) {
        const struct due_row *other = records->list[i].due;
        if (other != NULL && slice_equal(other->owner, owner) && slice_equal(other->key, key)) {
            return true;
        }
    }
    return false;
}
