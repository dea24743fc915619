/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The questions of the dlq to the owners of rows that are under way, by letter: so that a letter is asked about once at a
 *           time, and an answer finds whoever waits for it.
 *
 * STATE     Buckets of entries, and a list of those that the batch under way has made, answered or joined: a dropped batch takes all
 *           of that back, a committed one frees what is answered. One table per thread. It is not part of the actor's state, because
 *           that is opened anew after a lost connection, while questions and waiters live on in the kit.
 *
 * LIMITS    Bounded by who asks: requests of operators, and the windows of replays. Waiters belong to the kit and are not freed here.
 */
#include "dlq_asking.h"

#include "kit/base/memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1024 };

struct askings {
    struct asking *buckets[BUCKETS];
    struct asking **touched;
    size_t touched_count;
    size_t touched_capacity;
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static void
destroy(struct asking *asking)
{
    while (asking->callers != NULL) {
        struct asking_caller *caller = asking->callers;
        asking->callers = caller->next;
        free(caller);
    }
    free(asking->body);
    free(asking->diff);
    free(asking);
}

static void
destroy_all(void *table)
{
    struct askings *askings = table;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (askings->buckets[i] != NULL) {
            struct asking *asking = askings->buckets[i];
            askings->buckets[i] = asking->next;
            destroy(asking);
        }
    }
    free(askings->touched);
    free(askings);
}

static void
make_key(void)
{
    if (pthread_key_create(&key, destroy_all) != 0) {
        abort();
    }
}

struct askings *
askings_get(void)
{
    (void)pthread_once(&key_once, make_key);
    struct askings *askings = pthread_getspecific(key);
    if (askings == NULL) {
        askings = memory_new(1, sizeof *askings);
        if (pthread_setspecific(key, askings) != 0) {
            abort();
        }
    }
    return askings;
}

static size_t
bucket_of(int64_t n)
{
    return (size_t)n % BUCKETS;
}

struct asking *
askings_find(const struct askings *askings, int64_t n)
{
    struct asking *asking = askings->buckets[bucket_of(n)];
    while (asking != NULL && (asking->n != n || asking->is_answered)) {
        asking = asking->next;
    }
    return asking;
}

bool
askings_is_retrying(const struct askings *askings, int64_t n)
{
    const struct asking *asking = askings_find(askings, n);
    return asking != NULL && asking->verb == ASKING_RETRY;
}

static void
touch(struct askings *askings, struct asking *asking)
{
    if (asking->is_touched) {
        return;
    }
    askings->touched = memory_grow(askings->touched, &askings->touched_capacity, askings->touched_count + 1, sizeof(struct asking *));
    askings->touched[askings->touched_count++] = asking;
    asking->is_touched = true;
}

struct asking *
askings_add(struct askings *askings, const struct dlq_letter *letter, enum asking_verb verb)
{
    assert(askings_find(askings, letter->n) == NULL);
    struct asking *asking = memory_new(1, sizeof *asking);
    asking->n = letter->n;
    asking->letter = letter->id;
    asking->attempts = letter->attempts;
    asking->verb = verb;
    asking->is_new = true;
    asking->next = askings->buckets[bucket_of(letter->n)];
    askings->buckets[bucket_of(letter->n)] = asking;
    touch(askings, asking);
    return asking;
}

void
askings_add_caller(struct askings *askings, struct asking *asking, struct waiter *waiter, struct slice author, struct slice reason)
{
    struct asking_caller *caller = memory_new(1, sizeof *caller);
    caller->waiter = waiter;
    caller->is_new = true;
    (void)snprintf(caller->author, sizeof caller->author, "%.*s", (int)author.size, (const char *)author.data);
    (void)snprintf(caller->reason, sizeof caller->reason, "%.*s", (int)reason.size, (const char *)reason.data);
    caller->next = asking->callers;
    asking->callers = caller;
    touch(askings, asking);
}

void
asking_set_edit(struct asking *asking, struct slice body, const char *diff)
{
    asking->body = memory_room(body.size + 1);
    memcpy(asking->body, body.data, body.size);
    asking->body_size = body.size;
    asking->diff = memory_text(diff);
}

void
askings_answered(struct askings *askings, struct asking *asking)
{
    asking->is_answered = true;
    touch(askings, asking);
}

static void
forget(struct askings *askings, struct asking *asking)
{
    struct asking **at = &askings->buckets[bucket_of(asking->n)];
    while (*at != asking) {
        at = &(*at)->next;
    }
    *at = asking->next;
    destroy(asking);
}

static void
forget_new_callers(struct asking *asking)
{
    struct asking_caller **at = &asking->callers;
    while (*at != NULL) {
        struct asking_caller *caller = *at;
        if (caller->is_new) {
            *at = caller->next;
            free(caller);
        } else {
            at = &caller->next;
        }
    }
}

void
askings_committed(struct askings *askings)
{
    for (size_t i = 0; i < askings->touched_count; i++) {
        struct asking *asking = askings->touched[i];
        asking->is_touched = false;
        asking->is_new = false;
        for (struct asking_caller *caller = asking->callers; caller != NULL; caller = caller->next) {
            caller->is_new = false;
        }
        if (asking->is_answered) {
            forget(askings, asking);
        }
    }
    askings->touched_count = 0;
}

void
askings_dropped(struct askings *askings)
{
    for (size_t i = 0; i < askings->touched_count; i++) {
        struct asking *asking = askings->touched[i];
        asking->is_touched = false;
        asking->is_answered = false;
        if (asking->is_new) {
            forget(askings, asking);
        } else {
            forget_new_callers(asking);
        }
    }
    askings->touched_count = 0;
}
