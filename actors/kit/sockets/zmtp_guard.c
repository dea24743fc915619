/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Stands between the kernel and libzmq on the connections that peers open to us: how many there are, and what they send
 *           (zmtp.h). A connection that breaks a bound is at its end for libzmq, which closes it as if the peer had left.
 *
 *           libzmq 4.3.4 has no place for this. What a peer sends is in memory, in the trie of a PUB (which the thread that
 *           publishes fills, for as long as a peer subscribes) or in an abort before a socket's owner hears of it, and no option
 *           bounds the parts of a message, the number of subscriptions or of connections. A proxy in front would cost every
 *           message two more system calls. So this file defines accept4(), recv() and close(): the program's own come before
 *           libc's for every library it is linked to. They do what libc's do, and on connections of a port that was given to
 *           zmtp_guard_open() they look first.
 *
 * STATE     `guards` by descriptor: made by accept4(), looked at by recv() in the I/O thread that owns the connection, unmade by
 *           close(). Everything else is under `lock`. A guard is only unmade under it, before the descriptor is closed, so that
 *           whoever holds it may shut a connection down by its descriptor.
 *
 * FAILURES  A peer that is cut is counted and logged, a line a second at the most. At the limit of a port, or of all, the
 *           connection goes that has not ended its handshake, or has said nothing, or nothing for IDLE_MS, the longest; else the
 *           new one is refused.
 *
 * LIMITS    ENTRANCES_MAX ports; descriptors below GUARDS_MAX. A descriptor that is closed by other means than close() keeps its
 *           guard.
 */
#include "zmtp_guard.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "zmtp.h"

enum {
    ENTRANCES_MAX = 64,
    GUARDS_MAX = 1 << 17,
    IDLE_MS = 60000,
    SAY_MS = 1000,
    FULL = GUARD_CONNECTIONS_MAX - GUARD_CONNECTIONS_MAX / 8
};

/* So many at once, and so many more each second. */
struct pace {
    int64_t left;
    int64_t burst;
    int64_t per_second;
    int64_t since_ms;
};

struct entrance {
    int port; /* 0: free */
    bool is_events;
    char name[80];
    size_t count;
    int fds[GUARD_CONNECTIONS_MAX];
    int64_t prefix_bytes; /* of all of them */
    struct pace prefixes; /* bytes that may be subscribed to beyond what is free */
    struct pace subscribers;
    int64_t unread;  /* bytes of large requests */
    int64_t emptied; /* how often it was found that nothing is unread */
    int64_t cut;     /* since the last line about it */
    int64_t said_ms;
    struct metric *connections;
    struct metric *cuts;
};

struct guard {
    struct entrance *entrance;
    size_t place; /* in entrance->fds */
    struct zmtp *zmtp;
    int64_t since_ms;
    int64_t prefix_bytes;     /* that the entrance has counted */
    int64_t subscribed_bytes; /* likewise */
    int64_t large_bytes;
    int64_t unread; /* of large requests, since the entrance was emptied for the time that follows */
    int64_t emptied;
    bool is_cut;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entrance entrances[ENTRANCES_MAX];
static size_t connections; /* to all entrances */
static atomic_int entrance_count;
static atomic_int entrances_unread; /* that have unread large requests */
static _Atomic(struct guard *) guards[GUARDS_MAX];

static struct guard *
guard_of(int fd)
{
    return fd >= 0 && fd < GUARDS_MAX ? atomic_load_explicit(&guards[fd], memory_order_acquire) : NULL;
}

static int64_t
steady_ms(void)
{
    return clock_steady_us() / 1000;
}

void
zmtp_guard_open(const char *name, int port, bool is_events)
{
    pthread_mutex_lock(&lock);
    size_t at = 0;
    while (at < ENTRANCES_MAX && entrances[at].port != 0 && entrances[at].port != port) {
        at++;
    }
    assert(at < ENTRANCES_MAX);
    struct entrance *entrance = &entrances[at];
    if (entrance->port == 0) {
        *entrance = (struct entrance){
            .port = port,
            .is_events = is_events,
            .prefixes = {GUARD_PREFIX_BURST, GUARD_PREFIX_BURST, GUARD_PREFIX_PER_SECOND, steady_ms()},
            .subscribers = {GUARD_SUBSCRIBERS_BURST, GUARD_SUBSCRIBERS_BURST, GUARD_SUBSCRIBERS_PER_SECOND, steady_ms()},
        };
        atomic_fetch_add(&entrance_count, 1);
    }
    snprintf(entrance->name, sizeof entrance->name, "%s %s", name, is_events ? "events" : "requests");
    char labels[128];
    snprintf(labels, sizeof labels, "actor=\"%s\",socket=\"%s\"", name, is_events ? "events" : "requests");
    entrance->connections = metric(METRIC_GAUGE, "larder_peers", labels, "Connections of ZeroMQ peers from other processes.");
    entrance->cuts = metric(METRIC_COUNTER, "larder_peers_cut_total", labels, "Connections that were ended for breaking a bound.");
    pthread_mutex_unlock(&lock);
}

/* --- cutting; under the lock --- */

static void
say_cut(struct entrance *entrance, const char *why)
{
    int64_t now_ms = steady_ms();
    metric_add(entrance->cuts, 1);
    entrance->cut++;
    if (entrance->said_ms == 0 || now_ms - entrance->said_ms >= SAY_MS) {
        entrance->said_ms = now_ms;
        log_warn("peer_cut", LOG_TEXT("socket", entrance->name), LOG_TEXT("reason", why), LOG_I64("count", entrance->cut),
                 LOG_I64("connections", (int64_t)entrance->count));
        entrance->cut = 0;
    }
}

static void
cut(struct guard *guard, const char *why)
{
    if (!guard->is_cut) {
        guard->is_cut = true;
        say_cut(guard->entrance, why);
        (void)shutdown(guard->entrance->fds[guard->place], SHUT_RDWR);
    }
}

/* How easily a connection is given up for another: 0 is first, 3 is never. */
static int
worth(const struct guard *guard, int64_t now_ms)
{
    if (!zmtp_is_ready(guard->zmtp)) {
        return 0;
    }
    if (zmtp_spoke_ms(guard->zmtp) == 0 || (guard->entrance->is_events && zmtp_prefix_bytes(guard->zmtp) == 0)) {
        return 1;
    }
    return !guard->entrance->is_events && now_ms - zmtp_spoke_ms(guard->zmtp) > IDLE_MS ? 2 : 3;
}

/* Of all entrances together: a quarter of the descriptors that the process may have; the gateway's clients need most. */
static size_t
connections_max(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_cur / 4 : GUARD_CONNECTIONS_MAX;
}

struct crowd {
    size_t living;
    struct guard *least;
};

static void
count_living(const struct entrance *entrance, int64_t now_ms, struct crowd *crowd)
{
    for (size_t i = 0; i < entrance->count; i++) {
        struct guard *guard = atomic_load(&guards[entrance->fds[i]]);
        if (guard->is_cut) {
            continue;
        }
        crowd->living++;
        struct guard *least = crowd->least;
        if (least == NULL || worth(guard, now_ms) < worth(least, now_ms) ||
            (worth(guard, now_ms) == worth(least, now_ms) && guard->since_ms < least->since_ms)) {
            crowd->least = guard;
        }
    }
}

/* False: all are in use. What is cut leaves when libzmq has heard of it; there is room for those that have not left yet. The crowd at
 * one entrance must not shut the others. */
static bool
make_room(struct entrance *entrance)
{
    int64_t now_ms = steady_ms();
    size_t most = connections_max();
    size_t full = most - most / 8;
    struct crowd crowd = {0};
    count_living(entrance, now_ms, &crowd);
    bool is_full = crowd.living >= FULL;
    if (!is_full && connections >= full) {
        crowd = (struct crowd){0};
        for (size_t i = 0; i < ENTRANCES_MAX && entrances[i].port != 0; i++) {
            count_living(&entrances[i], now_ms, &crowd);
        }
        is_full = crowd.living >= full;
    }
    if (is_full && crowd.least != NULL && worth(crowd.least, now_ms) < 3) {
        cut(crowd.least, "too many connections");
    }
    return entrance->count < GUARD_CONNECTIONS_MAX && connections < most;
}

static bool
take(struct pace *pace, int64_t wanted)
{
    int64_t now_ms = steady_ms();
    int64_t more = (now_ms - pace->since_ms) * pace->per_second / 1000;
    if (more > 0) {
        pace->left = pace->left + more < pace->burst ? pace->left + more : pace->burst;
        pace->since_ms = now_ms;
    }
    if (pace->left < wanted) {
        return false;
    }
    pace->left -= wanted;
    return true;
}

static int64_t
beyond_free(int64_t bytes)
{
    return bytes > GUARD_PREFIX_FREE ? bytes - GUARD_PREFIX_FREE : 0;
}

/* False: there is no more. Of the prefixes that all have together, who has most goes. */
static bool
count_prefixes(struct guard *guard)
{
    struct entrance *entrance = guard->entrance;
    int64_t subscribed = zmtp_subscribed_bytes(guard->zmtp);
    pthread_mutex_lock(&lock);
    bool is_taken = take(&entrance->prefixes, beyond_free(subscribed) - beyond_free(guard->subscribed_bytes));
    guard->subscribed_bytes = subscribed;
    if (!is_taken) {
        cut(guard, "subscriptions of all peers too often");
    }
    entrance->prefix_bytes += zmtp_prefix_bytes(guard->zmtp) - guard->prefix_bytes;
    guard->prefix_bytes = zmtp_prefix_bytes(guard->zmtp);
    while (entrance->prefix_bytes > GUARD_PREFIX_BYTES_MAX) {
        struct guard *most = NULL;
        for (size_t i = 0; i < entrance->count; i++) {
            struct guard *other = atomic_load(&guards[entrance->fds[i]]);
            most = most == NULL || other->prefix_bytes > most->prefix_bytes ? other : most;
        }
        assert(most != NULL); /* they sum up to what the entrance has */
        entrance->prefix_bytes -= most->prefix_bytes;
        most->prefix_bytes = 0;
        cut(most, "too many subscriptions of all peers");
    }
    is_taken = is_taken && !guard->is_cut;
    pthread_mutex_unlock(&lock);
    return is_taken;
}

/* --- large requests that are not read --- */

/* Under the lock. */
static struct entrance *
find_entrance(int port)
{
    for (size_t i = 0; i < ENTRANCES_MAX && entrances[i].port != 0; i++) {
        if (entrances[i].port == port) {
            return &entrances[i];
        }
    }
    return NULL;
}

static void
set_unread(struct entrance *entrance, int64_t unread)
{
    atomic_fetch_add(&entrances_unread, (unread > 0) - (entrance->unread > 0));
    entrance->unread = unread;
}

static int64_t *
unread_of(struct guard *guard)
{
    if (guard->emptied != guard->entrance->emptied) {
        guard->emptied = guard->entrance->emptied;
        guard->unread = 0;
    }
    return &guard->unread;
}

static void
count_large(struct guard *guard)
{
    struct entrance *entrance = guard->entrance;
    int64_t more = zmtp_large_bytes(guard->zmtp) - guard->large_bytes;
    pthread_mutex_lock(&lock);
    guard->large_bytes += more;
    *unread_of(guard) += more;
    set_unread(entrance, entrance->unread + more);
    if (guard->unread > GUARD_UNREAD_MAX || (entrance->unread > GUARD_UNREAD_ALL_MAX && guard->unread > GUARD_UNREAD_MAX / 16)) {
        cut(guard, "too many bytes that were not read yet");
    }
    pthread_mutex_unlock(&lock);
}

/* A connection that has left may have given its descriptor to another: that one is then believed to have a little less unread. What
 * libzmq threw away when a connection left stays counted until the socket is found empty. */
void
zmtp_guard_read(int port, int fd, int64_t bytes)
{
    pthread_mutex_lock(&lock);
    struct entrance *entrance = find_entrance(port);
    struct guard *guard = guard_of(fd);
    if (entrance != NULL) {
        set_unread(entrance, entrance->unread > bytes ? entrance->unread - bytes : 0);
        if (guard != NULL && guard->entrance == entrance) {
            int64_t *unread = unread_of(guard);
            *unread = *unread > bytes ? *unread - bytes : 0;
        }
    }
    pthread_mutex_unlock(&lock);
}

void
zmtp_guard_emptied(int port)
{
    if (atomic_load(&entrances_unread) == 0) {
        return;
    }
    pthread_mutex_lock(&lock);
    struct entrance *entrance = find_entrance(port);
    if (entrance != NULL && entrance->unread > 0) {
        entrance->emptied++;
        set_unread(entrance, 0);
    }
    pthread_mutex_unlock(&lock);
}

/* --- what libc's functions do, and a look before --- */

/* For the linker they bear libc's names. */
int
guarded_accept(int fd, struct sockaddr *address, socklen_t *size, int flags) __asm__("accept4");
ssize_t
guarded_receive(int fd, void *buffer, size_t size, int flags) __asm__("recv");
int
guarded_close(int fd) __asm__("close");

typedef int (*accept_function)(int, struct sockaddr *, socklen_t *, int);
typedef ssize_t (*receive_function)(int, void *, size_t, int);
typedef int (*close_function)(int);

static accept_function libc_accept;
static receive_function libc_receive;
static close_function libc_close;
static pthread_once_t found = PTHREAD_ONCE_INIT;

static void
find_libc(void)
{
    /* POSIX: a function's address comes as a pointer to an object. */
    *(void **)&libc_accept = dlsym(RTLD_NEXT, "accept4");
    *(void **)&libc_receive = dlsym(RTLD_NEXT, "recv");
    *(void **)&libc_close = dlsym(RTLD_NEXT, "close");
    assert(libc_accept != NULL && libc_receive != NULL && libc_close != NULL);
}

static int
port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        return 0;
    }
    if (address.ss_family == AF_INET6) {
        struct sockaddr_in6 inet;
        memcpy(&inet, &address, sizeof inet);
        return ntohs(inet.sin6_port);
    }
    struct sockaddr_in inet;
    memcpy(&inet, &address, sizeof inet);
    return address.ss_family == AF_INET ? ntohs(inet.sin_port) : 0;
}

/* False: there is no place for it. */
static bool
admit(int fd)
{
    bool is_admitted = true;
    int port = port_of(fd);
    pthread_mutex_lock(&lock);
    struct entrance *entrance = find_entrance(port);
    if (entrance != NULL && fd < GUARDS_MAX && (!entrance->is_events || take(&entrance->subscribers, 1)) && make_room(entrance)) {
        struct guard *guard = memory_new(1, sizeof *guard);
        *guard = (struct guard){.entrance = entrance,
                                .place = entrance->count,
                                .zmtp = zmtp_create(entrance->is_events, steady_ms()),
                                .since_ms = steady_ms()};
        entrance->fds[entrance->count++] = fd;
        connections++;
        metric_set(entrance->connections, (int64_t)entrance->count);
        atomic_store_explicit(&guards[fd], guard, memory_order_release);
    } else if (entrance != NULL) {
        say_cut(entrance, "too many connections");
        is_admitted = false;
    }
    pthread_mutex_unlock(&lock);
    return is_admitted;
}

static void
dismiss(int fd, struct guard *guard)
{
    pthread_mutex_lock(&lock);
    struct entrance *entrance = guard->entrance;
    int last = entrance->fds[--entrance->count];
    connections--;
    entrance->fds[guard->place] = last;
    atomic_load(&guards[last])->place = guard->place;
    entrance->prefix_bytes -= guard->prefix_bytes;
    metric_set(entrance->connections, (int64_t)entrance->count);
    atomic_store(&guards[fd], NULL);
    pthread_mutex_unlock(&lock);
    zmtp_destroy(&guard->zmtp);
    free(guard);
}

int
guarded_accept(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    (void)pthread_once(&found, find_libc);
    int accepted = libc_accept(fd, address, size, flags);
    if (accepted >= 0 && atomic_load(&entrance_count) > 0 && !admit(accepted)) {
        (void)libc_close(accepted);
        errno = ECONNABORTED;
        return -1;
    }
    return accepted;
}

ssize_t
guarded_receive(int fd, void *buffer, size_t size, int flags)
{
    (void)pthread_once(&found, find_libc);
    ssize_t received = libc_receive(fd, buffer, size, flags);
    struct guard *guard = guard_of(fd);
    if (guard == NULL || received <= 0) {
        return received;
    }
    enum zmtp_verdict verdict = zmtp_see(guard->zmtp, buffer, (size_t)received, steady_ms());
    if (verdict != ZMTP_FINE) {
        pthread_mutex_lock(&lock);
        cut(guard, zmtp_word(verdict));
        pthread_mutex_unlock(&lock);
        return 0;
    }
    if ((guard->prefix_bytes != zmtp_prefix_bytes(guard->zmtp) || guard->subscribed_bytes != zmtp_subscribed_bytes(guard->zmtp)) &&
        !count_prefixes(guard)) {
        return 0;
    }
    if (guard->large_bytes != zmtp_large_bytes(guard->zmtp)) {
        count_large(guard);
    }
    return received;
}

int
guarded_close(int fd)
{
    (void)pthread_once(&found, find_libc);
    struct guard *guard = guard_of(fd);
    if (guard != NULL) {
        dismiss(fd, guard);
    }
    return libc_close(fd);
}
