/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Refuses to start with a sentence where libzmq, czmq or a thread that cannot be had would end the process by SIGABRT. It is
 *   tried and not calculated: descriptors are opened and threads started, and all given back. So it does not matter which limit is
 *   in the way (of the shell, of a service manager, of a container), and what was inherited counts.
 *
 * LIMITS
 *   The figures are what was counted on a running shop, and more: 132 files, 13 threads and 234 MiB of addresses for `larder run`
 *   with one shard and one thread of the gateway; 19 files for each more shard, 12 for each more thread of the gateway. Beside them
 *   stands a floor of connections. What is taken away later is not foreseen.
 */
#include "command_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    COMMAND_FILES = 64,
    PROCESS_FILES = 32,
    ACTOR_FILES = 16,
    GATEWAY_THREAD_FILES = 20,
    CONNECTION_FILES = 24,
    PROCESS_THREADS = 8, /* the log, ZeroMQ, the probe; passwords and names of hosts, while there are any */
    THREADS_MAX = 128,
    SPACE_MIB = 128
};

void
limits_raise_files(int64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted) {
        return;
    }
    limit.rlim_cur = limit.rlim_max < (rlim_t)wanted ? limit.rlim_max : (rlim_t)wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* How many of so many descriptors can be had. The standard ones are there (main.c). */
static int
try_files(int wanted)
{
    int fds[PROCESS_FILES + CONNECTION_FILES + THREADS_MAX * GATEWAY_THREAD_FILES];
    int had = 0;
    while (had < wanted && (fds[had] = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0) {
        had++;
    }
    for (int i = 0; i < had; i++) {
        (void)close(fds[i]);
    }
    return had;
}

static err
check_files(int needed, struct err_text *why)
{
    limits_raise_files(needed);
    int had = try_files(needed);
    if (had >= needed) {
        return ERR_ok;
    }
    return err_say(
        why, ERR_wrong_setting,
        "%d open files are needed beside those that are open, and only %d can be had: raise the limit (ulimit -n, LimitNOFILE=)",
        needed, had);
}

err
limits_check_command(struct err_text *why)
{
    return check_files(COMMAND_FILES, why);
}

static void *
wait_for_word(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Beside each other, as they will be. */
static err
check_threads(int needed, struct err_text *why)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS_MAX];
    int had = 0;
    int failed = 0;
    pthread_mutex_lock(&lock);
    while (had < needed && failed == 0) {
        failed = pthread_create(&threads[had], NULL, wait_for_word, &lock);
        had += failed == 0 ? 1 : 0;
    }
    void *space = failed == 0 ? mmap(NULL, (size_t)SPACE_MIB << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < had; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    if (failed != 0) {
        return err_say(why, ERR_wrong_setting,
                       "%d threads are needed, and only %d can be had (%s): raise the limit (ulimit -u, ulimit -v, TasksMax=)", needed,
                       had, strerror(failed));
    }
    if (space == MAP_FAILED) {
        return err_say(why, ERR_wrong_setting, "%d MiB of address space beside the threads cannot be had: raise the limit (ulimit -v)",
                       (int)SPACE_MIB);
    }
    (void)munmap(space, (size_t)SPACE_MIB << 20);
    return ERR_ok;
}

err
limits_check(const struct limits_load *load, struct err_text *why)
{
    int files = PROCESS_FILES + CONNECTION_FILES + load->actors * ACTOR_FILES + load->gateway_threads * GATEWAY_THREAD_FILES;
    err code = check_files(files, why);
    return code == ERR_ok ? check_threads(PROCESS_THREADS + load->actors + load->gateway_threads, why) : code;
}
