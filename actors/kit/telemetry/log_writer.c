/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Keeps a standard error that takes nothing (a pipe that nobody reads, a stopped terminal, a full disk) from holding the threads
 *   that do the work: they put their lines into a ring, and one thread writes them in their order.
 *
 *   The descriptor itself stays as it was given: O_NONBLOCK would be set for whoever shares it with us, the shell that started us
 *   above all. The stream `stderr` is replaced by one that ends in the ring, as assert() and libraries write there too. A process
 *   that aborts or crashes waits a moment for its last lines.
 *
 * STATE
 *   One per process, shared under `lock`. A ring that is empty begins at its front again: only as much of its memory is ever
 *   touched as was waiting at once.
 *
 * FAILURES
 *   A line that does not fit is counted, and so are all behind it until half of the ring is free again: then one line says how many
 *   were lost, in their place. A write that fails is tried again each second; nothing is lost by it but what then does not fit.
 *
 * LIMITS
 *   RING_SIZE bytes. What kills the process without a signal to handle (SIGKILL, _exit) loses what is in the ring, as does a
 *   sanitizer's handler.
 */
#include "log_writer.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "metrics.h"

enum { RING_SIZE = 1 << 20, STACK_SIZE = 1 << 17, RETRY_MS = 1000, STALL_MS = 1000, LOOK_MS = 20, CRASH_MS = 500, CRASH_LOOK_MS = 5 };

struct writer {
    /* set by the start */
    _Atomic bool is_on;
    pthread_t thread;
    size_t (*lost_line)(char *line, int64_t lost);
    FILE *given_stderr;
    struct metric *lost_total;

    /* shared: under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char ring[RING_SIZE];
    size_t first;
    size_t used;
    int64_t lost; /* since it was said last */
    bool is_ending;
    bool has_ended;

    _Atomic size_t left; /* bytes in the ring and in the chunk that is being written; a handler of signals looks at it */

    /* of the thread */
    char chunk[LOG_LINE_MAX];
};

static struct writer writer = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- the ring, under the lock --- */

static void
ring_add(const char *bytes, size_t size)
{
    size_t at = (writer.first + writer.used) % RING_SIZE;
    size_t before_end = RING_SIZE - at < size ? RING_SIZE - at : size;
    memcpy(writer.ring + at, bytes, before_end);
    memcpy(writer.ring, bytes + before_end, size - before_end);
    writer.used += size;
    atomic_fetch_add(&writer.left, size);
}

/* Moves whole lines into the chunk, as many as fit. */
static size_t
ring_take(void)
{
    size_t size = writer.used < sizeof writer.chunk ? writer.used : sizeof writer.chunk;
    size_t before_end = RING_SIZE - writer.first < size ? RING_SIZE - writer.first : size;
    memcpy(writer.chunk, writer.ring + writer.first, before_end);
    memcpy(writer.chunk + before_end, writer.ring, size - before_end);
    const char *end = memrchr(writer.chunk, '\n', size);
    size = end == NULL ? size : (size_t)(end - writer.chunk) + 1;
    writer.used -= size;
    writer.first = writer.used == 0 ? 0 : (writer.first + size) % RING_SIZE;
    return size;
}

static void
say_lost(void)
{
    if (writer.lost > 0 && writer.used <= RING_SIZE / 2) {
        char line[LOG_LINE_MAX];
        line[0] = '\0';
        size_t size = writer.lost_line(line, writer.lost);
        ring_add(line, size);
        writer.lost = 0;
    }
}

bool
log_writer_put(const char *lines, size_t size)
{
    if (!atomic_load_explicit(&writer.is_on, memory_order_acquire)) {
        return false;
    }
    pthread_mutex_lock(&writer.lock);
    if (writer.lost > 0 || writer.used + size > RING_SIZE) {
        writer.lost++;
        metric_add(writer.lost_total, 1);
    } else {
        ring_add(lines, size);
        if (writer.used == size) {
            pthread_cond_signal(&writer.changed);
        }
    }
    pthread_mutex_unlock(&writer.lock);
    return true;
}

/* --- the thread --- */

static bool
is_ending(void)
{
    pthread_mutex_lock(&writer.lock);
    bool is_it = writer.is_ending;
    pthread_mutex_unlock(&writer.lock);
    return is_it;
}

/* False: it cannot be written, and the process ends. */
static bool
write_chunk(size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t written = write(STDERR_FILENO, writer.chunk + done, size - done);
        if (written > 0) {
            done += (size_t)written;
            atomic_fetch_sub(&writer.left, (size_t)written);
        } else if (errno != EINTR) {
            if (is_ending() && errno != EAGAIN) {
                return false;
            }
            struct pollfd room = {.fd = errno == EAGAIN ? STDERR_FILENO : -1, .events = POLLOUT};
            (void)poll(&room, 1, RETRY_MS);
        }
    }
    return true;
}

static void *
write_on(void *none)
{
    (void)pthread_setname_np(pthread_self(), "log");
    bool is_good = true;
    pthread_mutex_lock(&writer.lock);
    while (is_good && (writer.used > 0 || !writer.is_ending)) {
        if (writer.used == 0) {
            pthread_cond_wait(&writer.changed, &writer.lock);
            continue;
        }
        size_t size = ring_take();
        say_lost();
        pthread_mutex_unlock(&writer.lock);
        is_good = write_chunk(size);
        pthread_mutex_lock(&writer.lock);
    }
    writer.has_ended = true;
    pthread_cond_signal(&writer.changed);
    pthread_mutex_unlock(&writer.lock);
    return none;
}

/* --- what others write on `stderr` --- */

static ssize_t
take_stream(void *none, const char *bytes, size_t size)
{
    (void)none;
    for (size_t done = 0; done < size; done += LOG_LINE_MAX) {
        size_t piece = size - done < LOG_LINE_MAX ? size - done : LOG_LINE_MAX;
        (void)log_writer_put(bytes + done, piece);
    }
    return (ssize_t)size;
}

static void
replace_stream(void)
{
    FILE *stream = fopencookie(NULL, "w", (cookie_io_functions_t){.write = take_stream});
    if (stream != NULL) {
        setvbuf(stream, NULL, _IOLBF, 0);
        writer.given_stderr = stderr;
        stderr = stream;
    }
}

/* --- the end by a signal --- */

static void
end_by_signal(int number)
{
    (void)number;
    log_writer_last_words();
}

/* The handler goes away as it is called: behind it the signal does what it always does. */
static void
watch_ends(void)
{
    static const int ends[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct sigaction given;
        struct sigaction action = {.sa_handler = end_by_signal, .sa_flags = (int)SA_RESETHAND};
        if (sigaction(ends[i], NULL, &given) == 0 && given.sa_handler == SIG_DFL) {
            sigaction(ends[i], &action, NULL);
        }
    }
}

void
log_writer_last_words(void)
{
    if (!atomic_load(&writer.is_on) || pthread_equal(pthread_self(), writer.thread)) {
        return;
    }
    int kept_errno = errno;
    for (int waited_ms = 0; atomic_load(&writer.left) > 0 && waited_ms < CRASH_MS; waited_ms += CRASH_LOOK_MS) {
        nanosleep(&(struct timespec){.tv_nsec = CRASH_LOOK_MS * 1000000L}, NULL);
    }
    errno = kept_errno;
}

/* --- life --- */

static int
create_thread(void)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t kept;
    sigfillset(&all);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    pthread_sigmask(SIG_SETMASK, &all, &kept);
    int failed = pthread_create(&writer.thread, &attributes, write_on, NULL);
    pthread_sigmask(SIG_SETMASK, &kept, NULL);
    pthread_attr_destroy(&attributes);
    return failed;
}

err
log_writer_start(size_t (*lost_line)(char *line, int64_t lost), struct err_text *why)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    writer.lost_line = lost_line;
    writer.lost_total = metric(METRIC_COUNTER, "larder_log_lines_lost_total", "",
                               "Lines of the log that were left out, as whoever reads standard error did not keep up.");
    int failed = create_thread();
    if (failed != 0) {
        return err_say(why, ERR_wrong_setting, "no thread to be had for the log (%s): raise the limit (ulimit -u, TasksMax=)",
                       strerror(failed));
    }
    atomic_store_explicit(&writer.is_on, true, memory_order_release);
    replace_stream();
    watch_ends();
    return ERR_ok;
}

/* Under the lock; looks again and again, as a signal says only that all is written. */
static bool
wait_until_ended(int64_t most_ms)
{
    int64_t began_us = clock_steady_us();
    int64_t moved_us = began_us;
    size_t left = atomic_load(&writer.left);
    while (!writer.has_ended) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&writer.changed, &writer.lock, &until);
        int64_t now_us = clock_steady_us();
        moved_us = atomic_load(&writer.left) == left ? moved_us : now_us;
        left = atomic_load(&writer.left);
        if (now_us - moved_us >= STALL_MS * INT64_C(1000) || now_us - began_us >= most_ms * 1000) {
            return writer.has_ended;
        }
    }
    return true;
}

void
log_writer_stop(int64_t most_ms)
{
    if (!atomic_load(&writer.is_on)) {
        return;
    }
    (void)fflush(stderr);
    pthread_mutex_lock(&writer.lock);
    writer.is_ending = true;
    pthread_cond_signal(&writer.changed);
    bool has_ended = wait_until_ended(most_ms);
    pthread_mutex_unlock(&writer.lock);
    if (!has_ended) {
        return;
    }
    atomic_store(&writer.is_on, false);
    pthread_join(writer.thread, NULL);
    stderr = writer.given_stderr == NULL ? stderr : writer.given_stderr;
}
