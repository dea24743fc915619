/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The life of a process that hosts actors, the same for `run`, `actor` and `gateway`.
 *
 * STATE
 *   SQLite: FOLDER/lock is held exclusively by a process that is alone there, and shared by processes of single actors, which hold
 *   FOLDER/<actor>_<shard>.lock exclusively each. Never any other file: closing a second descriptor of a database file would drop
 *   SQLite's own locks. The descriptors are kept until the process ends.
 *
 * FAILURES
 *   What the machine does not give is refused before anything is begun (command_limits.c). What does not start is said with its
 *   reason; what runs already is stopped first. An actor that ends by itself ends the process, so that a supervisor sees it: nothing
 *   here starts an actor again.
 *
 * LIMITS
 *   A signal during the start is taken after it. The end takes 5 s at the most: then the process leaves with EXIT_FAILED, and what
 *   was answered is on disk anyway.
 */
#include "command_process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <czmq.h>

#include "kit/telemetry/beat.h"
#include "kit/base/clock.h"
#include "command/command_limits.h"
#include "dlq/dlq.h"
#include "factory/factory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_writer.h"
#include "kit/place/manifest.h"
#include "kit/place/neighbours.h"
#include "order/order.h"
#include "payment/payment.h"
#include "kit/http/probe.h"
#include "product/product.h"
#include "sales/sales.h"
#include "stock/stock.h"
#include "kit/settings/topology.h"
#include "user/user.h"

#define STOP_MOST_MS 4900L
#define STOP_DEADLINE_MS 4300L /* the log's last words may take half a second more */
#define LOG_LEAST_MS 100
#define FENCED_PAUSE_MS 2000
#define OPEN_FILES_BESIDE 2048
#define TRIM_MS 2000
#define TRIM_BYTES ((size_t)24 << 20)
#define MAP_BYTES (256 << 10)

static const struct actor_class *const classes[] = {
    &user_class, &product_class, &order_class, &payment_class, &stock_class, &sales_class, &factory_class, &dlq_class,
};

/* A thread that is woken does not push aside the one that wakes it: what the waker still has to say comes in one batch. With 256
 * HTTP connections on 2 cores that is a quarter more sales a second. Where it is not allowed nothing else changes. */
static void
prefer_batches(void)
{
    struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_BATCH, &none) != 0) {
        log_debug("no_batch_scheduling", LOG_TEXT("reason", strerror(errno)));
    }
}

err
process_init(struct process *process, const struct settings *settings, struct err_text *why)
{
    *process = (struct process){.settings = settings, .signal_fd = -1, .ended_fd = -1};
    beat_set_limit(settings->stuck_ms);
    limits_raise_files(settings->connections + OPEN_FILES_BESIDE);
    (void)mallopt(M_MMAP_THRESHOLD, MAP_BYTES); /* else it grows with what is freed, and large answers stay in the heap */
    prefer_batches();
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGINT);
    sigaddset(&taken, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &taken, NULL);
    process->signal_fd = signalfd(-1, &taken, SFD_CLOEXEC);
    process->ended_fd = eventfd(0, EFD_CLOEXEC);
    if (process->signal_fd < 0 || process->ended_fd < 0) {
        return err_say(why, ERR_internal, "no descriptors for signals: %s", strerror(errno));
    }
    err code = log_start(why);
    if (code != ERR_ok) {
        return code;
    }
    /* Before threads: czmq makes its context at first use, and that is not safe from two at once. */
    if (zsys_init() == NULL) {
        return err_say(why, ERR_internal, "ZeroMQ does not start: %s", strerror(errno));
    }
    return ERR_ok;
}

const struct actor_class *
process_class(const char *name)
{
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(classes[i]->name, name) == 0) {
            return classes[i];
        }
    }
    return NULL;
}

err
process_add(struct process *process, const char *name, int shard, struct err_text *why)
{
    const struct actor_class *class = process_class(name);
    if (class == NULL) {
        return err_say(why, ERR_wrong_setting,
                       "\"%.60s\" is no actor; there are user, product, order, payment, stock, sales, factory and dlq", name);
    }
    int shards = topology_shards(process->settings, name);
    if (shard >= shards) {
        return err_say(why, ERR_wrong_setting, "--shard: %s has %d shard%s, counted from 0", name, shards, shards == 1 ? "" : "s");
    }
    for (size_t i = 0; i < process->count; i++) {
        if (process->hosted[i].class == class) {
            return err_say(why, ERR_wrong_setting, "\"%s\": named twice", name);
        }
    }
    for (int at = 0; at < shards; at++) {
        if (shard >= 0 && shard != at) {
            continue;
        }
        assert(process->count < PROCESS_ACTORS_MAX);
        struct hosted *hosted = &process->hosted[process->count++];
        *hosted = (struct hosted){.class = class, .shard = at};
        snprintf(hosted->name, sizeof hosted->name, "%s/%d", class->name, at);
    }
    if (shard < 0 || shards == 1) {
        topology_set_local(name);
    }
    return ERR_ok;
}

err
process_add_all(struct process *process, struct err_text *why)
{
    /* Stopped in the opposite order: sales asks stock until it ends, the factory hears what stock says last, and the dlq all. */
    static const char *const names[] = {"dlq", "stock", "factory", "product", "user", "payment", "order", "sales"};
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < sizeof names / sizeof names[0]; i++) {
        code = process_add(process, names[i], -1, why);
    }
    return code;
}

err
process_make_folder(const char *folder, struct err_text *why)
{
    char path[SETTING_TEXT_MAX];
    snprintf(path, sizeof path, "%s", folder);
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') {
            continue;
        }
        *at = '\0';
        if (mkdir(path, 0750) != 0 && errno != EEXIST) {
            break;
        }
        *at = '/';
    }
    struct stat found;
    bool is_made = mkdir(path, 0750) == 0 || errno == EEXIST;
    int reason = errno;
    if (!is_made || stat(path, &found) != 0) {
        return err_say(why, ERR_wrong_setting, "LARDER_DATA: the folder %.100s cannot be made: %s", folder, strerror(reason));
    }
    if (!S_ISDIR(found.st_mode)) {
        return err_say(why, ERR_wrong_setting, "LARDER_DATA: %.100s is not a folder", folder);
    }
    return ERR_ok;
}

/* The descriptor stays open on purpose: the lock ends with the process. */
static err
lock_file(const char *folder, const char *name, int how, struct err_text *why)
{
    char path[SETTING_TEXT_MAX + DB_PREFIX_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_say(why, ERR_wrong_setting, "LARDER_DATA: %.160s cannot be opened: %s", path, strerror(errno));
    }
    if (flock(fd, how | LOCK_NB) == 0) {
        return ERR_ok;
    }
    int reason = errno;
    close(fd);
    if (reason == EWOULDBLOCK) {
        return err_say(why, ERR_wrong_setting, "LARDER_DATA: another larder uses %.160s", path);
    }
    return err_say(why, ERR_wrong_setting, "LARDER_DATA: %.160s cannot be locked: %s", path, strerror(reason));
}

static err
lock_hosted(const struct process *process, const char *folder, struct err_text *why)
{
    err code = lock_file(folder, "lock", LOCK_SH, why);
    for (size_t i = 0; code == ERR_ok && i < process->count; i++) {
        const struct hosted *hosted = &process->hosted[i];
        if (hosted->class->steps == NULL) {
            continue;
        }
        char name[DB_PREFIX_MAX + 16];
        snprintf(name, sizeof name, "%s_%d.lock", hosted->class->name, hosted->shard);
        code = lock_file(folder, name, LOCK_EX, why);
    }
    return code;
}

/* Nothing is made where something is missing. */
static err
check_members(struct process *process, struct err_text *why)
{
    struct manifest_entry members[PROCESS_ACTORS_MAX] = {{.shard = 0}};
    size_t count = 0;
    for (size_t i = 0; i < process->count; i++) {
        const struct hosted *hosted = &process->hosted[i];
        if (hosted->class->steps != NULL) {
            members[count].shard = hosted->shard;
            snprintf(members[count++].actor, sizeof members[0].actor, "%s", hosted->class->name);
        }
    }
    return count == 0 ? ERR_ok : manifest_check_members(process->settings, members, count, &process->installation, why);
}

static err
prepare_folder(const struct process *process, const char *folder, bool is_alone, struct err_text *why)
{
    err code = manifest_check_folder(process->settings, folder, why);
    if (code == ERR_ok) {
        code = process_make_folder(folder, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    return is_alone ? db_lock_folder(folder, why) : lock_hosted(process, folder, why);
}

err
process_prepare(struct process *process, bool is_alone, struct err_text *why)
{
    bool keeps_something = false;
    for (size_t i = 0; i < process->count; i++) {
        keeps_something = keeps_something || process->hosted[i].class->steps != NULL;
    }
    struct db_config config;
    err code = settings_db(process->settings, "stock", 0, &config, why);
    if (code != ERR_ok || !keeps_something) {
        return code;
    }
    if (config.driver == DB_SQLITE) {
        code = prepare_folder(process, config.path, is_alone, why);
    }
    return code == ERR_ok ? check_members(process, why) : code;
}

static void
stop_actors(struct process *process)
{
    for (size_t i = process->count; i > 0; i--) {
        struct hosted *hosted = &process->hosted[i - 1];
        if (hosted->actor != NULL) {
            (void)actor_stop(&hosted->actor);
            hosted->actor = NULL;
        }
    }
}

/* Keeps the first failure; whose it was stands before its reason. */
static void
note_failure(const struct hosted *hosted, err code, const struct err_text *reason, err *first, struct err_text *why)
{
    if (code != ERR_ok && *first == ERR_ok) {
        *first = err_say(why, code, "%s/%d: %s", hosted->class->name, hosted->shard, reason->text);
    }
}

/* All side by side: each waits for its database far more than it works. All are waited for, also after a failure, so that nobody is
 * stopped in the middle of it. */
static err
open_actors(struct process *process, struct err_text *why)
{
    err first = ERR_ok;
    struct err_text reason;
    for (size_t i = 0; first == ERR_ok && i < process->count; i++) {
        struct hosted *hosted = &process->hosted[i];
        err code = actor_open(hosted->class, process->settings, hosted->shard, process->ended_fd, &hosted->actor, &reason);
        note_failure(hosted, code, &reason, &first, why);
    }
    /* They share the disk and the server, so they share the time of all. */
    int64_t until_ms = clock_steady_us() / 1000 + (int64_t)process->count * ACTOR_START_MS;
    for (size_t i = 0; i < process->count; i++) {
        struct hosted *hosted = &process->hosted[i];
        if (hosted->actor != NULL) {
            int64_t left_ms = until_ms - clock_steady_us() / 1000;
            err code = actor_wait_open(&hosted->actor, left_ms, &reason);
            note_failure(hosted, code, &reason, &first, why);
        }
    }
    return first;
}

err
process_start(struct process *process, bool is_alone, struct err_text *why)
{
    const struct limits_load load = {(int)process->count, is_alone ? (int)process->settings->gateway_threads : 0};
    err code = limits_check(&load, why);
    if (code == ERR_ok) {
        code = process_prepare(process, is_alone, why);
    }
    if (code == ERR_ok) {
        code = open_actors(process, why);
    }
    if (code == ERR_ok && !id_is_zero(&process->installation.id)) {
        code = neighbours_watch(process->settings, &process->installation.id, why);
    }
    for (size_t i = 0; code == ERR_ok && i < process->count; i++) {
        struct hosted *hosted = &process->hosted[i];
        struct err_text reason;
        note_failure(hosted, actor_serve(&hosted->actor, &reason), &reason, &code, why);
    }
    if (code != ERR_ok) {
        neighbours_end();
        stop_actors(process);
    }
    return code;
}

/* NULL: all are. */
static const char *
find_unready(const struct process *process, bool with_dlq)
{
    for (size_t i = 0; i < process->count; i++) {
        const struct hosted *hosted = &process->hosted[i];
        bool is_needed = with_dlq || strcmp(hosted->class->name, "dlq") != 0;
        if (is_needed && (hosted->actor == NULL || !actor_is_ready(hosted->actor))) {
            return hosted->name;
        }
    }
    return NULL;
}

/* What the gateway needs: it serves without the dlq. */
static const char *
find_unready_for_gateway(void *context)
{
    return find_unready(context, false);
}

static bool
can_serve(void *context)
{
    return find_unready(context, false) == NULL;
}

err
process_start_gateway(struct process *process, struct err_text *why)
{
    gateway_set_health(find_unready_for_gateway, process);
    const struct limits_load load = {0, (int)process->settings->gateway_threads};
    err code = process->count > 0 ? ERR_ok : limits_check(&load, why);
    if (code != ERR_ok) {
        return code;
    }
    int port = topology_gateway_probe_port(process->settings);
    code = probe_start(process->settings->bind, port, can_serve, process, &process->probe, why);
    return code == ERR_ok ? gateway_start(process->settings, process->ended_fd, &process->gateway, why) : code;
}

bool
process_is_ready(void *context)
{
    return find_unready(context, true) == NULL;
}

static enum exit_status
ended_status(const struct process *process)
{
    enum exit_status status = EXIT_FAILED;
    bool is_gateway = true;
    for (size_t i = 0; i < process->count; i++) {
        const struct hosted *hosted = &process->hosted[i];
        enum actor_outcome outcome = actor_outcome(hosted->actor);
        if (outcome == ACTOR_RUNNING) {
            continue;
        }
        log_error("actor_ended", LOG_TEXT("name", hosted->class->name), LOG_I64("shard", hosted->shard),
                  LOG_TEXT("outcome", outcome == ACTOR_FENCED ? "fenced" : "failed"));
        is_gateway = false;
        if (outcome == ACTOR_FENCED) {
            status = EXIT_FENCED;
        }
    }
    if (is_gateway) {
        log_error("gateway_ended", LOG_TEXT("http", process->settings->http));
    }
    return status;
}

/* What a burst has taken goes back to the system: libc would keep most of it for ever. */
static void
trim_memory(void)
{
    if (mallinfo2().fordblks > TRIM_BYTES) {
        (void)malloc_trim(0);
    }
}

static int
poll_and_trim(struct pollfd *fds, nfds_t count)
{
    int ready = 0;
    while (ready == 0) {
        ready = poll(fds, count, TRIM_MS);
        if (ready == 0) {
            trim_memory();
        }
    }
    return ready;
}

enum exit_status
process_wait(struct process *process)
{
    process->is_open = true;
    struct pollfd fds[] = {{.fd = process->signal_fd, .events = POLLIN}, {.fd = process->ended_fd, .events = POLLIN}};
    while (poll_and_trim(fds, 2) < 0) {
        assert(errno == EINTR);
    }
    if ((fds[1].revents & POLLIN) != 0) {
        return ended_status(process);
    }
    struct signalfd_siginfo signal_info = {0};
    ssize_t size = read(process->signal_fd, &signal_info, sizeof signal_info);
    assert(size == (ssize_t)sizeof signal_info);
    log_info("stopping", LOG_TEXT("signal", signal_info.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT"));
    return EXIT_DONE;
}

static void
stop_took_too_long(int signal_number)
{
    static const char words[] = "larder: the end took too long; what was answered is on disk\n";
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    (void)signal_number;
    log_writer_last_words();
    if (poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0) {
        ssize_t ignored = write(STDERR_FILENO, words, sizeof words - 1);
        (void)ignored;
    }
    _exit(EXIT_FAILED);
}

void
process_stop(struct process *process, enum exit_status status)
{
    int64_t began_us = clock_steady_us();
    struct sigaction action = {.sa_handler = stop_took_too_long};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval deadline = {.it_value = {.tv_sec = STOP_DEADLINE_MS / 1000, .tv_usec = STOP_DEADLINE_MS % 1000 * 1000}};
    setitimer(ITIMER_REAL, &deadline, NULL);

    if (process->gateway != NULL) {
        gateway_stop(&process->gateway);
    }
    probe_stop(&process->probe); /* it asks the actors */
    neighbours_end();
    stop_actors(process);
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);

    if (status == EXIT_FENCED) {
        struct pollfd asked = {.fd = process->signal_fd, .events = POLLIN};
        (void)poll(&asked, 1, FENCED_PAUSE_MS);
    }
    if (process->is_open) {
        log_info("stopped", LOG_I64("status", (int64_t)status));
    }
    int64_t left_ms = STOP_MOST_MS - (clock_steady_us() - began_us) / 1000;
    log_stop(left_ms < LOG_LEAST_MS ? LOG_LEAST_MS : left_ms);
}

enum exit_status
process_exit_status(err code)
{
    if (code == ERR_wrong_setting) {
        return EXIT_USAGE;
    }
    return code == ERR_db_stale ? EXIT_FENCED : EXIT_FAILED;
}
