/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Finds the requests that wait for an order, and makes what a batch did to them final, or undoes it.
 * STATE     A hash table of chains by the order's number; what the batch under way added and answered.
 * FAILURES  Out of memory aborts.
 * LIMITS    As many as the kit lets wait.
 */
#include "order_waiters.h"

#include <stdlib.h>

enum { BUCKETS = 1024 };

struct entry {
    struct entry *next;
    struct entry *next_touched;
    struct waiter *waiter;
    int64_t n;
    bool is_new;      /* by the batch under way */
    bool is_answered; /* by the batch under way */
};

struct order_waiters {
    struct entry *buckets[BUCKETS];
    struct entry *touched; /* new, or answered, or both */
};

struct order_waiters *
order_waiters_create(void)
{
    struct order_waiters *waiters = calloc(1, sizeof *waiters);
    if (waiters == NULL) {
        abort();
    }
    return waiters;
}

void
order_waiters_destroy(struct order_waiters **waiters)
{
    if (*waiters == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        while ((*waiters)->buckets[i] != NULL) {
            struct entry *entry = (*waiters)->buckets[i];
            (*waiters)->buckets[i] = entry->next;
            waiter_mark_patient(entry->waiter);
            free(entry);
        }
    }
    free(*waiters);
    *waiters = NULL;
}

static struct entry **
bucket_of(struct order_waiters *waiters, int64_t n)
{
    return &waiters->buckets[(uint64_t)n % BUCKETS];
}

static void
touch(struct order_waiters *waiters, struct entry *entry)
{
    if (!entry->is_new && !entry->is_answered) {
        entry->next_touched = waiters->touched;
        waiters->touched = entry;
    }
}

void
order_waiters_add(struct order_waiters *waiters, int64_t n, struct waiter *waiter)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        abort();
    }
    entry->waiter = waiter;
    entry->n = n;
    entry->next = *bucket_of(waiters, n);
    *bucket_of(waiters, n) = entry;
    touch(waiters, entry);
    entry->is_new = true;
}

void
order_waiters_answer(struct order_waiters *waiters, struct batch *batch, int64_t n, const void *reply)
{
    for (struct entry *entry = *bucket_of(waiters, n); entry != NULL; entry = entry->next) {
        if (entry->n == n && !entry->is_answered) {
            struct waiter *waiter = entry->waiter;
            waiter_answer(batch, &waiter, reply);
            touch(waiters, entry);
            entry->is_answered = true;
        }
    }
}

void
order_waiters_refuse(struct order_waiters *waiters, struct batch *batch, int64_t n, err code, const struct wire_problem *problem)
{
    for (struct entry *entry = *bucket_of(waiters, n); entry != NULL; entry = entry->next) {
        if (entry->n == n && !entry->is_answered) {
            struct waiter *waiter = entry->waiter;
            waiter_refuse(batch, &waiter, code, problem);
            touch(waiters, entry);
            entry->is_answered = true;
        }
    }
}

static void
forget(struct order_waiters *waiters, struct entry *entry)
{
    struct entry **at = bucket_of(waiters, entry->n);
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    free(entry);
}

static void
settle(struct order_waiters *waiters, bool is_on_disk)
{
    while (waiters->touched != NULL) {
        struct entry *entry = waiters->touched;
        waiters->touched = entry->next_touched;
        bool is_gone = is_on_disk ? entry->is_answered : entry->is_new;
        entry->is_new = entry->is_answered = false;
        if (is_gone) {
            forget(waiters, entry);
        }
    }
}

void
order_waiters_committed(struct order_waiters *waiters)
{
    settle(waiters, true);
}

void
order_waiters_dropped(struct order_waiters *waiters)
{
    settle(waiters, false);
}
