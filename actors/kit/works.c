/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps what takes tens of milliseconds of processor time, such as the hash of a password, out of an actor's loop.
 *
 * STATE     A ring of `max` places in the order in which the works were started: done ones at its front, then the one that is running,
 *           then those that wait. Shared under `lock`: the ring and `is_ending`. Beside it those that were given back, of the loop
 *           alone.
 *
 * FAILURES  A thread that cannot be had ends the process, as memory does. The thread takes no signals.
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

    /* shared: under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *ring;
    size_t first; /* place of the oldest */
    size_t count; /* in the ring */
    size_t done;  /* of them */
    bool is_ending;
};

struct works *
works_create(size_t max)
{
    struct works *works = calloc(1, sizeof *works);
    struct work *ring = calloc(max + 1, sizeof *ring);
    struct works_done *returned = calloc(max + 1, sizeof *returned);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (works == NULL || ring == NULL || returned == NULL || fd < 0) {
        abort();
    }
    works->max = max;
    works->fd = fd;
    works->ring = ring;
    works->returned = returned;
    pthread_mutex_init(&works->lock, NULL);
    pthread_cond_init(&works->changed, NULL);
    return works;
}

static void
tell(const struct works *works)
{
    uint64_t one = 1;
    ssize_t written = write(works->fd, &one, sizeof one);
    assert(written == (ssize_t)sizeof one);
    (void)written;
}

static void *
work_off(void *argument)
{
    struct works *works = argument;
    pthread_mutex_lock(&works->lock);
    while (!works->is_ending) {
        if (works->done == works->count) {
            pthread_cond_wait(&works->changed, &works->lock);
            continue;
        }
        struct work work = works->ring[(works->first + works->done) % works->max];
        pthread_mutex_unlock(&works->lock);
        work.run(work.memory);
        pthread_mutex_lock(&works->lock);
        works->done++;
        tell(works);
    }
    pthread_mutex_unlock(&works->lock);
    return NULL;
}

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
    for (size_t i = 0; i < gone->count; i++) {
        struct work *work = &gone->ring[(gone->first + i) % gone->max];
        work->discard(work->memory);
    }
    for (size_t i = 0; i < gone->returned_count; i++) {
        gone->returned[i].work.discard(gone->returned[i].work.memory);
    }
    pthread_cond_destroy(&gone->changed);
    pthread_mutex_destroy(&gone->lock);
    close(gone->fd);
    free(gone->ring);
    free(gone->returned);
    free(gone);
}

int
works_fd(const struct works *works)
{
    return works->fd;
}

/* Only this thread makes the ring fuller or emptier, so it may look without the lock. */
size_t
works_room(const struct works *works)
{
    return works->max - works->count - works->returned_count - works->handed_out;
}

void
works_start(struct works *works, const struct work *work)
{
    assert(works_room(works) > 0);
    if (!works->has_thread) {
        start_thread(works);
    }
    pthread_mutex_lock(&works->lock);
    works->ring[(works->first + works->count) % works->max] = *work;
    works->count++;
    pthread_cond_signal(&works->changed);
    pthread_mutex_unlock(&works->lock);
}

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
    bool is_there = works->done > 0;
    if (is_there) {
        *done = (struct works_done){.work = works->ring[works->first], .status = ERR_ok};
        works->first = (works->first + 1) % works->max;
        works->count--;
        works->done--;
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
    bool is_there = works->done > 0;
    pthread_mutex_unlock(&works->lock);
    return is_there || works->returned_count > 0;
}
