/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Finds a loop that hangs, so that a supervisor can end the process: a thread that answers probes says nothing of the
 *           others.
 *
 * STATE     A list of the loops of this process. The list is under `lock`; the moment of a loop's last turn is an atomic, written
 *           by its thread alone.
 *
 * LIMITS    A process that was stopped as a whole (SIGSTOP, a frozen container) looks as if all its loops hung until they have turned
 *           once: a supervisor must not act upon a single answer. A statement of a database counts as a step (db.c), as the state of a
 *           large shop is read in many; one that takes longer than its time-out fails.
 */
#include "beat.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"

struct beat {
    struct beat *next;
    char name[BEAT_NAME_SIZE];
    _Atomic int64_t turned_us;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct beat *first;
static _Thread_local struct beat *own;
static int64_t limit_ms = 60000;

void
beat_set_limit(int64_t longest_ms)
{
    limit_ms = longest_ms;
}

void
beat_begin(const char *name)
{
    assert(own == NULL);
    own = memory_new(1, sizeof *own);
    snprintf(own->name, sizeof own->name, "%s", name);
    beat_turn();
    pthread_mutex_lock(&lock);
    own->next = first;
    first = own;
    pthread_mutex_unlock(&lock);
}

void
beat_turn(void)
{
    if (own != NULL) {
        atomic_store_explicit(&own->turned_us, clock_steady_us(), memory_order_relaxed);
    }
}

void
beat_end(void)
{
    if (own == NULL) {
        return;
    }
    pthread_mutex_lock(&lock);
    struct beat **link = &first;
    while (*link != own) {
        link = &(*link)->next;
    }
    *link = own->next;
    pthread_mutex_unlock(&lock);
    free(own);
    own = NULL;
}

/* Under the lock. */
static int64_t
still_ms(const struct beat *beat)
{
    return (clock_steady_us() - atomic_load_explicit(&beat->turned_us, memory_order_relaxed)) / 1000;
}

bool
beat_find_stuck(char name[BEAT_NAME_SIZE], int64_t *stuck_ms)
{
    bool is_any = false;
    *stuck_ms = limit_ms;
    pthread_mutex_lock(&lock);
    for (const struct beat *at = first; at != NULL; at = at->next) {
        if (still_ms(at) > *stuck_ms) {
            is_any = true;
            *stuck_ms = still_ms(at);
            snprintf(name, BEAT_NAME_SIZE, "%s", at->name);
        }
    }
    pthread_mutex_unlock(&lock);
    return is_any;
}

bool
beat_is_late(const char *name, int64_t longer_ms)
{
    bool is_late = false;
    pthread_mutex_lock(&lock);
    for (const struct beat *at = first; at != NULL; at = at->next) {
        is_late = is_late || (strcmp(at->name, name) == 0 && still_ms(at) > longer_ms);
    }
    pthread_mutex_unlock(&lock);
    return is_late;
}
