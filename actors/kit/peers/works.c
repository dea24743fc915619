/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps what takes tens of milliseconds of processor time, such as the hash of a password, out of an actor's loop.
 *
 * STATE     Shared under `lock`: those that wait, in no order, and whose turn it is (turns.c); those that are done, in a ring; how
 *           long a piece takes. Beside them those that were given back, of the loop alone.
 *
 * FAILURES  A thread that cannot be had ends the process, as memory does. The thread takes no signals. One whose deadline has
 *           passed is given up without being run, and so is one of the caller that has most, when there are too many and another
 *           caller comes. What cannot be done in half of the time that is left is not taken: those before whom others come have the
 *           other half. What then cannot be done after all is given up as soon as that can be seen.
 *
 * LIMITS    One thread. Its end waits for the piece that is running, and no longer.
 */
#include "works.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/base/turns.h"

#define AVERAGE_OF 8 /* pieces */
#define AVERAGE_GUESS_US 100000

struct works {
    /* set at the start */
    size_t max;
    int fd;

    /* of the loop's thread */
    bool has_thread;
    pthread_t thread;
    struct works_done *returned;
    size_t returned_count;
    size_t handed_out;
    struct turn *considered; /* room for works_admits() */

    /* shared: under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *waiting;
    struct turn *turns_of; /* of those that wait, in the same places */
    size_t waiting_count;
    uint64_t started; /* ever */
    bool is_running;
    struct works_done *done; /* a ring of 2 * max + 1 */
    size_t done_first;
    size_t done_count;
    struct turns *turns;
    int64_t average_us; /* of a piece */
    bool is_ending;
};

struct works *
works_create(size_t max)
{
    struct works *works = memory_new(1, sizeof *works);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0) {
        abort();
    }
    works->max = max;
    works->fd = fd;
    works->waiting = memory_new(2 * max + 1, sizeof *works->waiting);
    works->turns_of = memory_new(2 * max + 1, sizeof *works->turns_of);
    works->done = memory_new(2 * max + 1, sizeof *works->done);
    works->returned = memory_new(2 * max + 1, sizeof *works->returned);
    works->turns = turns_create();
    works->average_us = AVERAGE_GUESS_US;
    pthread_mutex_init(&works->lock, NULL);
    pthread_cond_init(&works->changed, NULL);
    return works;
}

/* --- under the lock --- */

static struct work
take_waiting(struct works *works, size_t place)
{
    struct work work = works->waiting[place];
    works->waiting_count--;
    works->waiting[place] = works->waiting[works->waiting_count];
    works->turns_of[place] = works->turns_of[works->waiting_count];
    return work;
}

static void
add_done(struct works *works, const struct work *work, err status)
{
    uint64_t one = 1;
    works->done[(works->done_first + works->done_count) % (2 * works->max + 1)] = (struct works_done){.work = *work, .status = status};
    works->done_count++;
    ssize_t written = write(works->fd, &one, sizeof one);
    assert(written == (ssize_t)sizeof one);
    (void)written;
}

/* Those whose time is over, and those that cannot be done any more before it is: they hear it now. */
static void
give_up_late(struct works *works)
{
    int64_t now_ms = clock_utc_ms();
    for (size_t i = works->waiting_count; i > 0; i--) {
        const struct turn turn = works->turns_of[i - 1];
        int64_t left_ms = works->waiting[i - 1].deadline_ms - now_ms;
        if (works->waiting[i - 1].deadline_ms == 0) {
            continue;
        }
        size_t before = turns_before(works->turns, works->turns_of, works->waiting_count, &turn);
        int64_t needs_ms = (int64_t)(before + 1) * works->average_us / 800; /* and a quarter more */
        bool is_hopeless = needs_ms > left_ms && works->waiting_count > 1;  /* one is tried in any case */
        if (left_ms < 0 || is_hopeless) {
            struct work late = take_waiting(works, i - 1);
            add_done(works, &late, left_ms < 0 ? ERR_deadline_exceeded : ERR_overloaded);
        }
    }
}

static void
count_time(struct works *works, int64_t took_us)
{
    works->average_us += (took_us - works->average_us) / AVERAGE_OF;
}

/* Lets the lock go while the piece runs. */
static void
run_next(struct works *works)
{
    size_t place = turns_next(works->turns, works->turns_of, works->waiting_count);
    struct turn turn = works->turns_of[place];
    struct work work = take_waiting(works, place);
    enum turn_end end = TURN_OVER;
    works->is_running = true;
    pthread_mutex_unlock(&works->lock);
    int64_t from_us = clock_steady_us();
    work.run(work.memory);
    int64_t took_us = clock_steady_us() - from_us;
    if (work.is_right != NULL) {
        end = work.is_right(work.memory) ? TURN_RIGHT : TURN_WRONG;
    }
    pthread_mutex_lock(&works->lock);
    works->is_running = false;
    count_time(works, took_us);
    turns_end(works->turns, &turn, end);
    add_done(works, &work, ERR_ok);
}

static void *
work_off(void *argument)
{
    struct works *works = argument;
    pthread_mutex_lock(&works->lock);
    while (!works->is_ending) {
        give_up_late(works);
        if (works->waiting_count == 0) {
            pthread_cond_wait(&works->changed, &works->lock);
        } else {
            run_next(works);
        }
    }
    pthread_mutex_unlock(&works->lock);
    return NULL;
}

/* --- life --- */

static void
start_thread(struct works *works)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&works->thread, NULL, work_off, works) != 0) {
        abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_setname_np(works->thread, "works");
    works->has_thread = true;
}

static void
discard_all(struct works *works)
{
    for (size_t i = 0; i < works->waiting_count; i++) {
        works->waiting[i].discard(works->waiting[i].memory);
    }
    for (size_t i = 0; i < works->done_count; i++) {
        struct work *work = &works->done[(works->done_first + i) % (2 * works->max + 1)].work;
        work->discard(work->memory);
    }
    for (size_t i = 0; i < works->returned_count; i++) {
        works->returned[i].work.discard(works->returned[i].work.memory);
    }
}

void
works_destroy(struct works **works)
{
    struct works *gone = *works;
    *works = NULL;
    if (gone == NULL) {
        return;
    }
    pthread_mutex_lock(&gone->lock);
    gone->is_ending = true;
    pthread_cond_signal(&gone->changed);
    pthread_mutex_unlock(&gone->lock);
    if (gone->has_thread) {
        pthread_join(gone->thread, NULL);
    }
    discard_all(gone);
    pthread_cond_destroy(&gone->changed);
    pthread_mutex_destroy(&gone->lock);
    close(gone->fd);
    turns_destroy(&gone->turns);
    free(gone->considered);
    free(gone->waiting);
    free(gone->turns_of);
    free(gone->done);
    free(gone->returned);
    free(gone);
}

int
works_fd(const struct works *works)
{
    return works->fd;
}

/* --- starting --- */

static struct turn
turn_of(const struct works *works, const struct work *work, size_t behind)
{
    return (struct turn){.caller = work->caller, .subject = work->subject, .number = works->started + behind};
}

/* Those that have not ended; under the lock. */
static size_t
under_way(const struct works *works)
{
    return works->waiting_count + (works->is_running ? 1 : 0) + works->done_count + works->returned_count + works->handed_out;
}

size_t
works_room(struct works *works)
{
    pthread_mutex_lock(&works->lock);
    size_t count = under_way(works);
    pthread_mutex_unlock(&works->lock);
    return count < works->max ? works->max - count : 0;
}

/* `considered`: those that wait, those that will, and the one that asks, which is the last. */
static bool
is_in_time(const struct works *works, const struct turn *considered, size_t count, const struct work *work)
{
    size_t before = turns_before(works->turns, considered, count - 1, &considered[count - 1]);
    int64_t takes_us = (int64_t)(before + 1 + (works->is_running ? 1 : 0)) * works->average_us;
    return work->deadline_ms == 0 || before == 0 || 2 * takes_us / 1000 <= work->deadline_ms - clock_utc_ms();
}

bool
works_admits(struct works *works, const struct work *queued, size_t count, const struct work *work)
{
    pthread_mutex_lock(&works->lock);
    size_t all = works->waiting_count + count + 1;
    size_t there = under_way(works) + count;
    struct turn *considered = memory_resize(works->considered, all * sizeof *considered);
    works->considered = considered;
    for (size_t i = 0; i < works->waiting_count; i++) {
        considered[i] = works->turns_of[i];
    }
    for (size_t i = 0; i < count; i++) {
        considered[works->waiting_count + i] = turn_of(works, &queued[i], i);
    }
    considered[all - 1] = turn_of(works, work, count);
    bool has_room = there < works->max || (there < 2 * works->max && turns_loser(works->turns, considered, all) != all - 1);
    bool is_admitted = has_room && is_in_time(works, considered, all, work);
    pthread_mutex_unlock(&works->lock);
    return is_admitted;
}

void
works_start(struct works *works, const struct work *work)
{
    if (!works->has_thread) {
        start_thread(works);
    }
    pthread_mutex_lock(&works->lock);
    assert(under_way(works) < 2 * works->max);
    works->waiting[works->waiting_count] = *work;
    works->turns_of[works->waiting_count] = turn_of(works, work, 0);
    works->waiting_count++;
    works->started++;
    if (works->waiting_count + (works->is_running ? 1 : 0) > works->max) {
        struct work given_up = take_waiting(works, turns_loser(works->turns, works->turns_of, works->waiting_count));
        add_done(works, &given_up, ERR_overloaded);
    }
    pthread_cond_signal(&works->changed);
    pthread_mutex_unlock(&works->lock);
}

/* --- taking out --- */

void
works_clear(struct works *works)
{
    uint64_t count;
    ssize_t size = read(works->fd, &count, sizeof count);
    (void)size; /* nothing there is fine */
}

bool
works_next(struct works *works, struct works_done *done)
{
    if (works->returned_count > 0) {
        *done = works->returned[--works->returned_count];
        works->handed_out++;
        return true;
    }
    pthread_mutex_lock(&works->lock);
    bool is_there = works->done_count > 0;
    if (is_there) {
        *done = works->done[works->done_first];
        works->done_first = (works->done_first + 1) % (2 * works->max + 1);
        works->done_count--;
        works->handed_out++;
    }
    pthread_mutex_unlock(&works->lock);
    return is_there;
}

void
works_end(struct works *works, const struct work *work)
{
    assert(works->handed_out > 0);
    works->handed_out--;
    work->discard(work->memory);
}

void
works_return(struct works *works, const struct work *work, err status)
{
    assert(works->handed_out > 0);
    works->handed_out--;
    works->returned[works->returned_count++] = (struct works_done){.work = *work, .status = status};
}

bool
works_is_ready(struct works *works)
{
    pthread_mutex_lock(&works->lock);
    bool is_there = works->done_count > 0;
    pthread_mutex_unlock(&works->lock);
    return is_there || works->returned_count > 0;
}
