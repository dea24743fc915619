/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Finds the requests that wait, and makes what a batch did to them final, or undoes it.
 * STATE     A list of all that wait, chains of those that wait for the same, a list of those that the batch under way has touched, and
 *           a pool: a request costs no allocation once as many have waited at the same time. They outlive the state of the actor.
 * FAILURES  Out of memory aborts.
 * LIMITS    As many as requests may be under way. What more than KEPT_MAX bytes are kept for goes when it ends.
 */
#include "waiting.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"
#include "waiter.h"

enum { KEPT_MAX = 4096 };

static struct waiter **
bucket_of(struct waiting *waiting, int64_t what)
{
    return &waiting->buckets[(uint64_t)what % (sizeof waiting->buckets / sizeof waiting->buckets[0])];
}

static void
touch(struct waiting *waiting, struct waiter *waiter)
{
    if (waiter->is_new || waiter->is_answered || waiter->is_for_new) {
        return;
    }
    waiter->next_touched = NULL;
    if (waiting->touched == NULL) {
        waiting->touched = waiter;
    } else {
        waiting->last_touched->next_touched = waiter;
    }
    waiting->last_touched = waiter;
}

struct waiter *
waiting_begin(struct waiting *waiting)
{
    struct waiter *waiter = waiting->free;
    if (waiter == NULL) {
        waiter = memory_new(1, sizeof *waiter);
    } else {
        waiting->free = waiter->next;
    }
    waiter->is_new = waiter->is_answered = waiter->is_for = waiter->is_for_new = false;
    waiter->is_replayed = waiter->is_patient = false;
    touch(waiting, waiter);
    waiter->is_new = true;
    waiter->previous = NULL;
    waiter->next = waiting->first;
    if (waiter->next != NULL) {
        waiter->next->previous = waiter;
    }
    waiting->first = waiter;
    return waiter;
}

void
waiting_for(struct waiting *waiting, struct waiter *waiter, int64_t what)
{
    struct waiter **bucket = bucket_of(waiting, what);
    touch(waiting, waiter);
    waiter->is_for = waiter->is_for_new = true;
    waiter->what = what;
    waiter->next_for = *bucket;
    *bucket = waiter;
}

struct waiter *
waiting_find(const struct waiting *waiting, int64_t what)
{
    struct waiter *waiter = waiting->buckets[(uint64_t)what % (sizeof waiting->buckets / sizeof waiting->buckets[0])];
    while (waiter != NULL && (waiter->what != what || waiter->is_answered)) {
        waiter = waiter->next_for;
    }
    return waiter;
}

struct waiter *
waiting_find_request(const struct waiting *waiting, const struct id *id)
{
    struct waiter *waiter = waiting->first;
    while (waiter != NULL && (waiter->is_answered || !id_equal(&waiter->id, id))) {
        waiter = waiter->next;
    }
    return waiter;
}

int
waiting_count(const struct waiting *waiting, enum op op)
{
    int count = 0;
    for (const struct waiter *waiter = waiting->first; waiter != NULL; waiter = waiter->next) {
        count += waiter->op == op && !waiter->is_answered ? 1 : 0;
    }
    return count;
}

void
waiting_answer(struct waiting *waiting, struct waiter *waiter, err status, struct slice frame)
{
    touch(waiting, waiter);
    waiter->is_answered = true;
    waiter->status = status;
    waiter->frame = frame;
}

/* --- after the batch --- */

static void
leave_bucket(struct waiting *waiting, struct waiter *waiter)
{
    if (!waiter->is_for) {
        return;
    }
    struct waiter **at = bucket_of(waiting, waiter->what);
    while (*at != waiter) {
        at = &(*at)->next_for;
    }
    *at = waiter->next_for;
    waiter->is_for = false;
}

static struct waiter *
take_touched(struct waiting *waiting)
{
    struct waiter *waiter = waiting->touched;
    if (waiter != NULL) {
        waiting->touched = waiter->next_touched;
    }
    return waiter;
}

struct waiter *
waiting_committed(struct waiting *waiting)
{
    struct waiter *waiter = take_touched(waiting);
    while (waiter != NULL && !waiter->is_answered) {
        waiter->is_new = waiter->is_for_new = false;
        waiter = take_touched(waiting);
    }
    return waiter;
}

void
waiting_dropped(struct waiting *waiting)
{
    struct waiter *waiter = NULL;
    while ((waiter = take_touched(waiting)) != NULL) {
        if (waiter->is_new) {
            waiting_end(waiting, waiter);
            continue;
        }
        if (waiter->is_for_new) {
            leave_bucket(waiting, waiter);
        }
        waiter->is_for_new = waiter->is_answered = waiter->is_replayed = false;
    }
}

void
waiting_end(struct waiting *waiting, struct waiter *waiter)
{
    leave_bucket(waiting, waiter);
    if (waiter->previous != NULL) {
        waiter->previous->next = waiter->next;
    } else {
        waiting->first = waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->previous = waiter->previous;
    }
    if (waiter->kept_capacity > KEPT_MAX) {
        free(waiter->kept);
        waiter->kept = NULL;
        waiter->kept_capacity = 0;
    }
    waiter->next = waiting->free;
    waiting->free = waiter;
}

struct waiter *
waiting_first_lost(struct waiter *waiter)
{
    while (waiter != NULL && !waiter->is_patient && !waiter->is_for) {
        waiter = waiter->next;
    }
    return waiter;
}

bool
waiting_is_worked_on(const struct waiting *waiting)
{
    const struct waiter *waiter = waiting->first;
    while (waiter != NULL && waiter->is_patient) {
        waiter = waiter->next;
    }
    return waiter != NULL;
}

void
waiting_fini(struct waiting *waiting)
{
    while (waiting->first != NULL) {
        waiting_end(waiting, waiting->first);
    }
    while (waiting->free != NULL) {
        struct waiter *waiter = waiting->free;
        waiting->free = waiter->next;
        free(waiter->kept);
        free(waiter);
    }
}

/* --- what actors see --- */

void *
waiter_keep(struct waiter *waiter, size_t size)
{
    if (waiter->kept_capacity < size) {
        free(waiter->kept);
        waiter->kept = memory_room(size);
        waiter->kept_capacity = size;
    }
    memset(waiter->kept, 0, size);
    return waiter->kept;
}

void *
waiter_kept(const struct waiter *waiter)
{
    return waiter->kept;
}

void
waiter_mark_replayed(struct waiter *waiter)
{
    waiter->is_replayed = true;
}

void
waiter_mark_patient(struct waiter *waiter)
{
    waiter->is_patient = true;
}

const struct id *
waiter_id(const struct waiter *waiter)
{
    return &waiter->id;
}
