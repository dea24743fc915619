/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A shop that was begun beside another one, where that one's data should be, must not sell: who is there already is
 *           asked, and asked again, and whoever is newer waits until the other is gone or the right data is here.
 *
 * MESSAGES  any.ping, to each actor that is not in this process and that somebody listens for.
 *
 * STATE     One for the process, as all its databases are of one place: the verdict, its words, and a thread that asks. `larder
 *           run` has every actor in itself and no such thread.
 *
 * FAILURES  Who does not answer, keeps nothing, or is of a build that does not say whose it is, is accepted: it says nothing
 *           against us.
 *
 * LIMITS    An installation that was adopted gives way to nobody. One that was begun by a clock far in the past is taken for old.
 *           One that comes while we serve is noticed within LOOK_MS.
 */
#include "neighbours.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "larder.h"
#include "kit/telemetry/log.h"

enum { LOOK_MS = 5000, LOOK_AGAIN_MS = 1000, CONNECT_MS = 300, ANSWER_MS = 500, PLACES_MAX = 32 };

static struct {
    const struct settings *settings;
    struct id own;
    _Atomic bool is_older;
    pthread_mutex_t mutex; /* of the words */
    char reason[ERR_TEXT_MAX];
    pthread_t thread;
    int end_fd; /* of the thread; 0: there is none */
} watch = {.mutex = PTHREAD_MUTEX_INITIALIZER};

bool
neighbour_listens(const char *endpoint)
{
    char host[ENDPOINT_MAX];
    const char *address = strstr(endpoint, "://");
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    bool is = false;
    snprintf(host, sizeof host, "%s", address == NULL ? endpoint : address + 3);
    char *port = strrchr(host, ':');
    if (port == NULL) {
        return false;
    }
    *port++ = '\0';
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return false;
    }
    for (const struct addrinfo *each = found; each != NULL && !is; each = each->ai_next) {
        int fd = socket(each->ai_family, each->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, each->ai_protocol);
        struct pollfd wait = {.fd = fd, .events = POLLOUT};
        int error = 0;
        socklen_t size = sizeof error;
        if (fd < 0) {
            continue;
        }
        is = connect(fd, each->ai_addr, each->ai_addrlen) == 0 ||
             (errno == EINPROGRESS && poll(&wait, 1, CONNECT_MS) == 1 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
              error == 0);
        (void)close(fd);
    }
    freeaddrinfo(found);
    return is;
}

/* Those of other processes; how many. */
static int
list_places(const struct settings *settings, char endpoints[PLACES_MAX][ENDPOINT_MAX])
{
    const char *actor = NULL;
    int count = 0;
    for (size_t i = 0; (actor = topology_actor(i)) != NULL; i++) {
        int shards = topology_is_local(actor) ? 0 : topology_shards(settings, actor);
        for (int shard = 0; shard < shards && count < PLACES_MAX; shard++) {
            topology_connect(settings, actor, shard, ENDPOINT_REQUESTS, endpoints[count++]);
        }
    }
    return count;
}

static bool
is_older(const struct id *one, const struct id *other)
{
    return memcmp(one, other, sizeof *one) < 0;
}

/* Takes what has come of the answers; whether one is of another installation. */
static bool
compare(struct larder_client *client, const char *const *endpoints, const struct id *own, struct neighbour *other)
{
    struct larder_reply reply;
    bool is_found = false;
    while (larder_client_receive(client, INT64_C(2) * ANSWER_MS, &reply) == ERR_ok) {
        struct wire_pong pong;
        struct err_text why;
        bool is_said =
            reply.status == ERR_ok && larder_reply_decode(&reply, &pong, &why) == ERR_ok && WIRE_HAS(&pong, pong, installation);
        bool is_other = is_said && (own == NULL || !id_equal(&pong.installation, own));
        if (is_other && (!is_found || is_older(&pong.installation, &other->installation))) {
            is_found = true;
            other->installation = pong.installation;
            snprintf(other->endpoint, sizeof other->endpoint, "%s", endpoints[reply.tag]);
        }
    }
    return is_found;
}

bool
neighbours_ask(const struct settings *settings, const struct id *own, struct neighbour *other)
{
    static const struct wire_nothing nothing;
    char places[PLACES_MAX][ENDPOINT_MAX];
    const char *endpoints[PLACES_MAX];
    struct larder_client *client = NULL;
    struct err_text why;
    int count = 0;
    bool is_found = false;
    int all = list_places(settings, places);
    for (int i = 0; i < all; i++) {
        if (neighbour_listens(places[i])) {
            endpoints[count++] = places[i];
        }
    }
    err code = count == 0 ? ERR_not_found : larder_client_create(endpoints, count, &client, &why);
    for (int i = 0; code == ERR_ok && i < count; i++) {
        struct larder_request ping = {.op = OP_any_ping, .body = &nothing, .tag = (uint64_t)i};
        ping.options = (struct larder_options){.shard = i, .timeout_ms = ANSWER_MS};
        code = larder_client_send(client, &ping);
    }
    if (code == ERR_ok) {
        is_found = compare(client, endpoints, own, other);
    }
    larder_client_destroy(&client);
    return is_found;
}

/* --- the watch --- */

static bool
gives_way(const struct id *own, const struct id *other)
{
    static const struct id zeros;
    return memcmp(own, &zeros, NEIGHBOURS_AGE_SIZE) != 0 && is_older(other, own);
}

static void
look(void)
{
    struct neighbour other;
    char text[ERR_TEXT_MAX] = "";
    char theirs[ID_TEXT_SIZE];
    char ours[ID_TEXT_SIZE];
    bool was = atomic_load(&watch.is_older);
    bool is = neighbours_ask(watch.settings, &watch.own, &other) && gives_way(&watch.own, &other.installation);
    if (is) {
        id_format(&other.installation, theirs);
        id_format(&watch.own, ours);
        snprintf(text, sizeof text,
                 "the data here is of installation %s, and %.60s is of %s, which is older: bring its data back here", ours,
                 other.endpoint, theirs);
    }
    pthread_mutex_lock(&watch.mutex);
    snprintf(watch.reason, sizeof watch.reason, "%s", text);
    pthread_mutex_unlock(&watch.mutex);
    atomic_store(&watch.is_older, is);
    if (is && !was) {
        log_error("older_installation", LOG_TEXT("reason", text), LOG_TEXT("now", "nobody is served here until it is gone"));
    } else if (was && !is) {
        log_warn("older_installation_gone", LOG_ID("installation", &watch.own), LOG_TEXT("now", "it is served again"));
    }
}

static void *
run(void *nothing)
{
    (void)nothing;
    struct pollfd end = {.fd = watch.end_fd, .events = POLLIN};
    for (;;) {
        int ready = poll(&end, 1, atomic_load(&watch.is_older) ? LOOK_AGAIN_MS : LOOK_MS);
        if (ready > 0) {
            return NULL;
        }
        if (ready == 0) {
            look();
        }
    }
}

err
neighbours_watch(const struct settings *settings, const struct id *own, struct err_text *why)
{
    char places[PLACES_MAX][ENDPOINT_MAX];
    if (list_places(settings, places) == 0) {
        return ERR_ok;
    }
    watch.settings = settings;
    watch.own = *own;
    look();
    watch.end_fd = eventfd(0, EFD_CLOEXEC);
    if (watch.end_fd < 0) {
        watch.end_fd = 0;
        return err_say(why, ERR_internal, "no descriptor for the neighbours: %s", strerror(errno));
    }
    int failed = pthread_create(&watch.thread, NULL, run, NULL);
    if (failed != 0) {
        close(watch.end_fd);
        watch.end_fd = 0;
        return err_say(why, ERR_internal, "no thread for the neighbours: %s", strerror(failed));
    }
    return ERR_ok;
}

void
neighbours_end(void)
{
    if (watch.end_fd == 0) {
        return;
    }
    (void)eventfd_write(watch.end_fd, 1);
    pthread_join(watch.thread, NULL);
    close(watch.end_fd);
    watch.end_fd = 0;
}

bool
neighbours_are_older(void)
{
    return atomic_load_explicit(&watch.is_older, memory_order_relaxed);
}

void
neighbours_reason(char text[ERR_TEXT_MAX])
{
    pthread_mutex_lock(&watch.mutex);
    snprintf(text, ERR_TEXT_MAX, "%s", watch.reason);
    pthread_mutex_unlock(&watch.mutex);
}
