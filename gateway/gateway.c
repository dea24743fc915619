/* SPDX-License-Identifier: MPL-2.0 */
/*
 * gateway: the threads that serve HTTP
 *
 * PURPOSE
 *   Opens a listening socket per thread, starts the threads, and ends them in order. All that they share is struct gateway_state.
 *
 * FAILURES
 *   The start succeeds wholly or not at all. A thread that cannot go on raises `ended_fd` and the process is expected to end.
 *
 * LIMITS
 *   Connections: the setting, or what RLIMIT_NOFILE (raised to its hard limit) leaves room for, with a warning.
 */
#include "gateway.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"
#include "door.h"
#include "http/http.h"
#include "http/listener.h"
#include "kit/telemetry/log.h"
#include "exchange/readiness.h"

#define START_TIMEOUT_S 10
#define FILES_BESIDE 256 /* databases, ZeroMQ, logs */
#define THREADS_MAX 64

struct gateway_thread {
    struct gateway *gateway;
    pthread_t thread;
    int number;
    int listen_fd;
    int wake_fd;
    bool is_started;
};

struct gateway {
    struct gateway_state state;
    struct door *door;
    int ended_fd;
    int port;
    int thread_count;
    struct gateway_thread threads[THREADS_MAX];

    pthread_mutex_t lock; /* what is below */
    pthread_cond_t changed;
    int opened; /* threads that serve, or have failed to */
    err failed;
    struct err_text why;
};

void
gateway_set_health(const char *(*unready)(void *), void *argument)
{
    readiness_set_health(unready, argument);
}

/* --- a thread --- */

static void
report_open(struct gateway *gateway, err failed, const struct err_text *why)
{
    pthread_mutex_lock(&gateway->lock);
    gateway->opened++;
    if (failed != ERR_ok && gateway->failed == ERR_ok) {
        gateway->failed = failed;
        gateway->why = *why;
    }
    pthread_cond_signal(&gateway->changed);
    pthread_mutex_unlock(&gateway->lock);
}

static void
report_end(const struct gateway *gateway)
{
    const uint64_t one = 1;
    log_error("gateway_ended", LOG_TEXT("why", strerror(errno)));
    if (gateway->ended_fd >= 0 && write(gateway->ended_fd, &one, sizeof one) < 0) {
        log_error("not_told", LOG_TEXT("why", strerror(errno)));
    }
}

static void *
run_thread(void *argument)
{
    struct gateway_thread *thread = argument;
    struct gateway *gateway = thread->gateway;
    struct http *http = NULL;
    struct err_text why = {""};
    char name[32];
    (void)snprintf(name, sizeof name, "gateway/%d", thread->number);
    log_actor(name);
    err failed = http_open(&gateway->state, thread->listen_fd, thread->wake_fd, &http, &why);
    if (failed == ERR_ok) {
        thread->listen_fd = -1;
    }
    report_open(gateway, failed, &why);
    if (failed == ERR_ok) {
        beat_begin(name);
        if (http_serve(http) != ERR_ok) {
            report_end(gateway);
        }
        beat_end();
    }
    http_close(&http);
    return NULL;
}

/* --- start --- */

/* As many connections as there are file descriptors for. */
static int
connections_max(const struct settings *settings)
{
    struct rlimit limit;
    int64_t wanted = settings->connections + settings->connections / 5 + FILES_BESIDE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted) {
        return (int)settings->connections;
    }
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= (rlim_t)wanted) {
        return (int)settings->connections;
    }
    int64_t room = ((int64_t)limit.rlim_cur - FILES_BESIDE) * 5 / 6;
    int64_t taken = room < 16 ? 16 : room;
    log_warn("fewer_connections", LOG_I64("asked", settings->connections), LOG_I64("taken", taken),
             LOG_I64("file_descriptors", (int64_t)limit.rlim_cur));
    return (int)taken;
}

static err
start_threads(struct gateway *gateway, struct err_text *why)
{
    for (int i = 0; i < gateway->thread_count; i++) {
        struct gateway_thread *thread = &gateway->threads[i];
        thread->gateway = gateway;
        thread->number = i;
        thread->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (thread->wake_fd < 0) {
            return err_say(why, ERR_internal, "no eventfd: %s", strerror(errno));
        }
        int failed = pthread_create(&thread->thread, NULL, run_thread, thread);
        if (failed != 0) {
            return err_say(why, ERR_internal, "no thread: %s", strerror(failed));
        }
        thread->is_started = true;
    }
    return ERR_ok;
}

static err
wait_until_open(struct gateway *gateway, struct err_text *why)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += START_TIMEOUT_S;
    pthread_mutex_lock(&gateway->lock);
    int waited = 0;
    while (gateway->opened < gateway->thread_count && waited == 0) {
        waited = pthread_cond_timedwait(&gateway->changed, &gateway->lock, &until);
    }
    err failed = gateway->failed;
    if (failed != ERR_ok) {
        *why = gateway->why;
    } else if (waited != 0) {
        failed = err_say(why, ERR_internal, "the gateway's threads did not start within %d s", START_TIMEOUT_S);
    }
    pthread_mutex_unlock(&gateway->lock);
    return failed;
}

static struct gateway *
create(const struct settings *settings, int ended_fd)
{
    pthread_condattr_t attributes;
    struct gateway *gateway = memory_new(1, sizeof *gateway);
    gateway->state.settings = settings;
    gateway->state.is_open = strcmp(settings->auth, "required") != 0;
    gateway->ended_fd = ended_fd;
    gateway->thread_count = settings->gateway_threads < THREADS_MAX ? (int)settings->gateway_threads : THREADS_MAX;
    for (int i = 0; i < THREADS_MAX; i++) {
        gateway->threads[i].listen_fd = -1;
        gateway->threads[i].wake_fd = -1;
    }
    pthread_mutex_init(&gateway->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&gateway->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return gateway;
}

err
gateway_check(const struct settings *settings, struct err_text *why)
{
    struct door *door = NULL;
    int fd = -1;
    int port = 0;
    err failed = door_create(settings, &door, why);
    if (failed == ERR_ok) {
        failed = listener_open(settings->http, &fd, 1, &port, why);
    }
    if (failed == ERR_ok) {
        (void)close(fd);
        door_destroy(&door);
    }
    return failed;
}

err
gateway_start(const struct settings *settings, int ended_fd, struct gateway **gateway, struct err_text *why)
{
    int fds[THREADS_MAX];
    struct gateway *made = create(settings, ended_fd);
    made->state.connections_max = connections_max(settings);
    err failed = door_create(settings, &made->door, why);
    made->state.door = made->door;
    if (failed == ERR_ok) {
        failed = listener_open(settings->http, fds, made->thread_count, &made->port, why);
    }
    if (failed == ERR_ok) {
        for (int i = 0; i < made->thread_count; i++) {
            made->threads[i].listen_fd = fds[i];
        }
        failed = start_threads(made, why);
    }
    if (failed == ERR_ok) {
        failed = wait_until_open(made, why);
    }
    if (failed != ERR_ok) {
        gateway_stop(&made);
        return failed;
    }
    log_info("gateway_serves", LOG_TEXT("http", settings->http), LOG_I64("port", made->port), LOG_I64("threads", made->thread_count));
    *gateway = made;
    return ERR_ok;
}

int
gateway_port(const struct gateway *gateway)
{
    return gateway->port;
}

/* --- end --- */

static void
wake_threads(struct gateway *gateway)
{
    const uint64_t one = 1;
    for (int i = 0; i < gateway->thread_count; i++) {
        if (gateway->threads[i].wake_fd >= 0 && write(gateway->threads[i].wake_fd, &one, sizeof one) < 0) {
            log_warn("not_woken", LOG_I64("thread", i), LOG_TEXT("why", strerror(errno)));
        }
    }
}

void
gateway_drain(struct gateway *gateway)
{
    atomic_store(&gateway->state.is_draining, true);
    wake_threads(gateway);
}

void
gateway_stop(struct gateway **gateway)
{
    struct gateway *stopped = *gateway;
    *gateway = NULL;
    if (stopped == NULL) {
        return;
    }
    atomic_store(&stopped->state.is_draining, true);
    atomic_store(&stopped->state.is_stopping, true);
    wake_threads(stopped);
    for (int i = 0; i < stopped->thread_count; i++) {
        struct gateway_thread *thread = &stopped->threads[i];
        if (thread->is_started) {
            pthread_join(thread->thread, NULL);
        }
        if (thread->listen_fd >= 0) {
            (void)close(thread->listen_fd);
        }
        if (thread->wake_fd >= 0) {
            (void)close(thread->wake_fd);
        }
    }
    door_destroy(&stopped->door);
    pthread_cond_destroy(&stopped->changed);
    pthread_mutex_destroy(&stopped->lock);
    free(stopped);
}
