/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The life of an actor: its thread, database, shard and sockets, all that lies in between its start and its end (loop.c).
 *
 * MESSAGES  ROUTER: requests in, replies out. PUB: events. One SUB per source that events.def says it follows. One DEALER per peer
 *           that it asks. One SUB per other actor's shard when the class watches. All bound to inproc and, beside it, to tcp.
 *
 * STATE     See actor_internal.h. The database is opened, the schema applied, the shard taken and the state made before anything is
 *           bound, so nobody is answered by an actor that cannot write. Then the thread waits for the word to serve: a process opens
 *           the databases of its actors side by side, and their sockets one after the other when all are open.
 *
 * FAILURES  At start everything is refused with a sentence. What happens to it later is loop.c's and recover.c's.
 *
 * LIMITS    A connect blocks the thread for a second at the most, a statement for five.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "actor_internal.h"
#include "kit/base/memory.h"
#include "kit/telemetry/beat.h"
#include "kit/base/clock.h"
#include "kit/place/actor_database.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "kit/place/manifest.h"
#include "kit/settings/topology.h"
#include "kit/sockets/zmtp.h"
#include "kit/sockets/zmtp_guard.h"

enum { TAKE_MAX_MS = 15000, SEND_HWM = 4096, RECEIVE_HWM = 1024, UNREAD_MS = 30000, READY_LATE_MS = 10000 };

/* --- what handlers ask about where they run --- */

struct db *
actor_db(struct actor *actor)
{
    return actor->db;
}

const struct settings *
actor_settings(const struct actor *actor)
{
    return actor->settings;
}

int
actor_shard(const struct actor *actor)
{
    return actor->shard_number;
}

int
actor_of(const struct actor *actor)
{
    return actor->of;
}

int64_t
actor_applied(const struct actor *actor, const char *source)
{
    return actor->parts.inbox == NULL ? 0 : inbox_applied(actor->parts.inbox, source);
}

bool
actor_is_ready(const struct actor *actor)
{
    int64_t late_ms = actor->settings->stuck_ms < READY_LATE_MS ? actor->settings->stuck_ms : READY_LATE_MS;
    return atomic_load(&actor->is_ready) && !beat_is_late(actor->name, late_ms);
}

/* --- database --- */

static err
take_shard(struct actor *actor, struct err_text *why)
{
    int64_t until_us = clock_steady_us() + TAKE_MAX_MS * INT64_C(1000);
    for (;;) {
        err code = shard_take(&actor->shard, actor->db, actor->shard_number, actor->of, why);
        if (code != ERR_db_busy || clock_steady_us() > until_us) {
            return code;
        }
        log_warn("shard_is_held", LOG_TEXT("reason", why->text));
    }
}

static err
open_database(struct actor *actor, struct err_text *why)
{
    struct actor_database own;
    err code = actor_database_open(actor->class, actor->settings, actor->shard_number, &own, why);
    actor->db = own.db;
    if (code == ERR_ok) {
        code = actor_database_migrate(actor->class, &own, why);
    }
    if (code == ERR_ok) {
        code = take_shard(actor, why);
    }
    if (code == ERR_ok) {
        code = actor_clock_start(actor, why);
    }
    if (code == ERR_ok) {
        code = manifest_made(actor->settings, &own.ticket, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    actor->installation = own.ticket.installation;
    actor->parts.source = source_create(actor->name, actor->class->name, actor->settings, &actor->shard);
    actor->parts.inbox = inbox_create(actor->db, actor->class->name, actor->name, actor->settings);
    actor->parts.due_rows = due_rows_create(actor->db);
    actor->parts.burials = burials_create(actor->db, actor->name);
    actor->parts.answers = answers_create(actor->db);
    const size_t tried_most[TRIAL_KINDS] = {
        [TRIAL_EVENT] = actor->records.capacity, [TRIAL_REQUEST] = actor->records.capacity, [TRIAL_DUE] = GATHER_DUE_MAX};
    actor->parts.trial = trial_create(actor->db, actor->name, tried_most);
    parts_add(&actor->parts.all, &source_part, actor->parts.source);
    parts_add(&actor->parts.all, &inbox_part, actor->parts.inbox);
    parts_add(&actor->parts.all, &answers_part, actor->parts.answers);
    parts_add(&actor->parts.all, &due_rows_part, actor->parts.due_rows);
    parts_add(&actor->parts.all, &burials_part, actor->parts.burials);
    parts_add(&actor->parts.all, &trial_part, actor->parts.trial);
    return actor_reopen(actor, why);
}

/* --- sockets --- */

static void
set_options(zsock_t *socket)
{
    zsock_set_linger(socket, 500);
    link_notice_loss(socket, UNREAD_MS);
    zsock_set_maxmsgsize(socket, WIRE_FRAME_MAX);
    zsock_set_backlog(socket, GUARD_CONNECTIONS_MAX);
}

static err
bind_both(struct actor *actor, zsock_t *socket, enum endpoint_kind kind, struct err_text *why)
{
    char endpoint[ENDPOINT_MAX];
    topology_inproc(actor->class->name, actor->shard_number, kind, endpoint);
    if (zsock_bind(socket, "%s", endpoint) < 0) {
        return err_say(why, ERR_wrong_setting, "cannot bind %.100s: %s", endpoint, zmq_strerror(zmq_errno()));
    }
    topology_bind(actor->settings, actor->class->name, actor->shard_number, kind, endpoint);
    zmtp_guard_open(actor->name, topology_port(actor->settings, actor->class->name, actor->shard_number, kind),
                    kind == ENDPOINT_EVENTS);
    if (zsock_bind(socket, "%s", endpoint) < 0) {
        return err_say(why, ERR_wrong_setting,
                       "cannot bind %.100s for %s: %s (is another larder running? --base-port moves all ports)", endpoint, actor->name,
                       zmq_strerror(zmq_errno()));
    }
    return ERR_ok;
}

/* A durable subscriber hears the durable events and HEAD; passing ones would only wake it. */
static err
connect_events(struct actor *actor, size_t stream, struct err_text *why)
{
    const char *source = inbox_stream_actor(actor->parts.inbox, stream);
    char endpoint[ENDPOINT_MAX];
    topology_connect(actor->settings, source, inbox_stream_shard(actor->parts.inbox, stream), ENDPOINT_EVENTS, endpoint);
    err code = link_events(endpoint, &actor->sockets.events[stream], why);
    if (code != ERR_ok) {
        return code;
    }
    zsock_set_subscribe(actor->sockets.events[stream], "head");
    for (int type = 0; type < EVENT_COUNT; type++) {
        if (wire_events[type].fate == DURABLE && strcmp(wire_events[type].owner, source) == 0) {
            char topic[80];
            snprintf(topic, sizeof topic, "%s.", wire_events[type].name);
            zsock_set_subscribe(actor->sockets.events[stream], topic);
        }
    }
    wakeup_add_socket(actor->sockets.wakeup_fd, &actor->sockets.events_sources[stream], zsock_resolve(actor->sockets.events[stream]));
    return ERR_ok;
}

static err
open_sockets(struct actor *actor, struct err_text *why)
{
    actor->sockets.router = zsock_new(ZMQ_ROUTER);
    actor->sockets.publisher = zsock_new(ZMQ_PUB);
    if (actor->sockets.router == NULL || actor->sockets.publisher == NULL) {
        return err_say(why, ERR_internal, "cannot make a socket: %s", zmq_strerror(zmq_errno()));
    }
    set_options(actor->sockets.router);
    set_options(actor->sockets.publisher);
    zsock_set_router_mandatory(actor->sockets.router, 1);
    zsock_set_sndhwm(actor->sockets.router, SEND_HWM);
    zsock_set_rcvhwm(actor->sockets.router, RECEIVE_HWM);
    zsock_set_sndhwm(actor->sockets.publisher, LINK_EVENTS_HWM);
    zsock_set_maxmsgsize(actor->sockets.publisher, ZMTP_HANDSHAKE_MAX);
    actor->sockets.raw_router = zsock_resolve(actor->sockets.router);
    if (actor->parts.source != NULL) {
        source_publish_on(actor->parts.source, zsock_resolve(actor->sockets.publisher));
    }
    wakeup_add_socket(actor->sockets.wakeup_fd, &actor->sockets.router_source, actor->sockets.raw_router);
    err code = bind_both(actor, actor->sockets.router, ENDPOINT_REQUESTS, why);
    if (code == ERR_ok) {
        code = bind_both(actor, actor->sockets.publisher, ENDPOINT_EVENTS, why);
    }
    size_t streams = actor->parts.inbox == NULL ? 0 : inbox_stream_count(actor->parts.inbox);
    actor->sockets.events = memory_new(streams + 1, sizeof *actor->sockets.events);
    actor->sockets.events_sources = memory_new(streams + 1, sizeof *actor->sockets.events_sources);
    actor->sockets.events_pulses = memory_new(streams + 1, sizeof *actor->sockets.events_pulses);
    for (size_t i = 0; code == ERR_ok && i < streams; i++) {
        code = connect_events(actor, i, why);
        asks_connect(actor->peers.asks, inbox_stream_actor(actor->parts.inbox, i));
    }
    if (actor->db != NULL) {
        asks_connect(actor->peers.asks, "dlq"); /* for burials, and for what a source does not keep any more */
    }
    if (code == ERR_ok && actor->class->watches) {
        code = watches_open(actor->settings, actor->class->name, actor->sockets.wakeup_fd, &actor->peers.watches, why);
    }
    for (const char *const *peer = actor->class->peers; peer != NULL && *peer != NULL; peer++) {
        asks_connect(actor->peers.asks, *peer);
    }
    return code;
}

/* --- life --- */

static void
make_metrics(struct actor *actor)
{
    char labels[WIRE_NAME_MAX + 32];
    snprintf(labels, sizeof labels, "actor=\"%s\"", actor->name);
    actor->metrics.batches = metric(METRIC_COUNTER, "larder_batches_total", labels, "Batches that were handled.");
    actor->metrics.commit_us = metric(METRIC_HISTOGRAM, "larder_commit_seconds", labels, "Time of a commit, all statements included.");
    actor->metrics.replies_dropped =
        metric(METRIC_COUNTER, "larder_replies_dropped_total", labels, "Replies whose client was gone or did not read.");
}

/* From here on an end that is not asked for is one of this run. */
static err
note_start(struct actor *actor, struct err_text *why)
{
    err code = trial_start(actor->parts.trial);
    if (code == ERR_ok) {
        code = shard_commit(&actor->shard, 0);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "%s cannot write down that it runs: %.200s", actor->name, db_error(actor->db));
    }
    trial_part.committed(actor->parts.trial);
    return ERR_ok;
}

static void
make_parts(struct actor *actor)
{
    make_metrics(actor);
    records_init(&actor->records,
                 (size_t)actor->settings->batch_max + GATHER_DUE_MAX + GATHER_PARKED_MAX + (size_t)4 * INBOX_PAGE_EVENTS);
    actor->sockets.wakeup_fd = wakeup_open();
    wakeup_add_fd(actor->sockets.wakeup_fd, &actor->sockets.stop_source, actor->life.stop_fd);
    actor->peers.asks = asks_create(actor->settings, actor->sockets.wakeup_fd);
    actor->sockets.unread = unread_create();
    if (actor->class->makes_calls) {
        actor->peers.outcalls = outcalls_create(actor->class->name, actor->settings);
        wakeup_add_fd(actor->sockets.wakeup_fd, &actor->sockets.outcalls_source, outcalls_fd(actor->peers.outcalls));
    }
    if (actor->class->works_max > 0) {
        actor->peers.works = works_create((size_t)actor->class->works_max);
        wakeup_add_fd(actor->sockets.wakeup_fd, &actor->sockets.works_source, works_fd(actor->peers.works));
    }
}

/* Its name in the process is free when this returns; libzmq gives back the one of a socket that is only closed at some later time. */
static void
unbind(struct actor *actor, zsock_t **socket, enum endpoint_kind kind)
{
    char endpoint[ENDPOINT_MAX];
    if (*socket != NULL) {
        topology_inproc(actor->class->name, actor->shard_number, kind, endpoint);
        (void)zsock_unbind(*socket, "%s", endpoint);
        zsock_destroy(socket);
    }
}

static void
close_everything(struct actor *actor)
{
    for (size_t i = 0; actor->sockets.events != NULL && actor->parts.inbox != NULL && i < inbox_stream_count(actor->parts.inbox);
         i++) {
        zsock_destroy(&actor->sockets.events[i]);
    }
    free(actor->sockets.events);
    free(actor->sockets.events_sources);
    free(actor->sockets.events_pulses);
    asks_destroy(&actor->peers.asks);
    unread_destroy(&actor->sockets.unread);
    watches_close(&actor->peers.watches);
    unbind(actor, &actor->sockets.router, ENDPOINT_REQUESTS);
    unbind(actor, &actor->sockets.publisher, ENDPOINT_EVENTS);
    outcalls_destroy(&actor->peers.outcalls);
    works_destroy(&actor->peers.works);
    close(actor->sockets.wakeup_fd);
    if (actor->state != NULL) {
        actor->class->close(&actor->state);
    }
    parts_destroy(&actor->parts.all);
    db_close(&actor->db);
    waiting_fini(&actor->waiting);
    effects_fini(&actor->effects);
    records_fini(&actor->records);
    arena_fini(&actor->arena);
    wire_buffer_fini(&actor->sockets.reply_header);
}

static void
raise_fd(int fd)
{
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    assert(written == (ssize_t)sizeof one);
}

/* Tells whoever starts this actor how far it has come. */
static void
report_stage(struct actor *actor, enum actor_stage stage, err code, const struct err_text *why)
{
    pthread_mutex_lock(&actor->life.lock);
    actor->life.stage = code == ERR_ok ? stage : STAGE_FAILED;
    actor->life.open_code = code;
    actor->life.open_why = *why;
    pthread_cond_broadcast(&actor->life.stage_changed);
    pthread_mutex_unlock(&actor->life.lock);
}

/* With its database open, until it is told to serve: true; or to stop: false. */
static bool
wait_for_word(struct actor *actor)
{
    pthread_mutex_lock(&actor->life.lock);
    while (actor->life.stage == STAGE_OPENED) {
        pthread_cond_wait(&actor->life.stage_changed, &actor->life.lock);
    }
    bool is_to_serve = actor->life.stage == STAGE_BINDING;
    pthread_mutex_unlock(&actor->life.lock);
    return is_to_serve;
}

/* False: it could not begin. */
static bool
serve(struct actor *actor)
{
    struct err_text why = {""};
    err code = open_sockets(actor, &why);
    if (code == ERR_ok && actor->parts.trial != NULL) {
        code = note_start(actor, &why);
    }
    if (code == ERR_ok) {
        log_info("actor_started", LOG_I64("epoch", actor->shard.epoch), LOG_I64("seq", actor->shard.seq),
                 LOG_I64("shards", actor->of));
        atomic_store(&actor->is_ready, true);
    }
    report_stage(actor, STAGE_SERVING, code, &why);
    if (code == ERR_ok) {
        beat_begin(actor->name);
        actor_loop(actor);
        beat_end();
        replies_refuse_waiters(actor);
        log_info("actor_ended", LOG_I64("batch", actor->shard.batch));
    }
    return code == ERR_ok;
}

static void *
run(void *argument)
{
    struct actor *actor = argument;
    struct err_text why = {""};
    log_actor(actor->name);
    (void)pthread_setname_np(pthread_self(), actor->class->name);
    make_parts(actor);
    actor_clock_begin(actor);
    err code = actor->class->steps != NULL ? open_database(actor, &why) : actor->class->open(actor, &actor->state, &why);
    report_stage(actor, STAGE_OPENED, code, &why);
    bool is_fine = code == ERR_ok;
    if (is_fine && wait_for_word(actor)) {
        is_fine = serve(actor);
    } else if (is_fine) {
        actor_end_orderly(actor);
    }
    if (!is_fine) {
        atomic_store(&actor->outcome, (int)ACTOR_FAILED);
    }
    atomic_store(&actor->is_ready, false);
    close_everything(actor);
    log_often_end();
    if (actor_outcome(actor) != ACTOR_STOPPED) {
        raise_fd(actor->life.ended_fd);
    }
    return NULL;
}

static struct actor *
make_actor(const struct actor_class *class, const struct settings *settings, int shard, int ended_fd)
{
    struct actor *actor = memory_new(1, sizeof *actor);
    actor->class = class;
    actor->settings = settings;
    actor->shard_number = shard;
    actor->of = topology_shards(settings, class->name);
    actor->port = topology_port(settings, class->name, shard, ENDPOINT_REQUESTS);
    actor->life.ended_fd = ended_fd;
    actor->life.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert(actor->life.stop_fd >= 0);
    snprintf(actor->name, sizeof actor->name, "%s/%d", class->name, shard);
    pthread_mutex_init(&actor->life.lock, NULL);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&actor->life.stage_changed, &steady);
    pthread_condattr_destroy(&steady);
    return actor;
}

static void
destroy_actor(struct actor *actor)
{
    close(actor->life.stop_fd);
    pthread_mutex_destroy(&actor->life.lock);
    pthread_cond_destroy(&actor->life.stage_changed);
    free(actor);
}

err
actor_open(const struct actor_class *class, const struct settings *settings, int shard, int ended_fd, struct actor **actor,
           struct err_text *why)
{
    struct actor *made = make_actor(class, settings, shard, ended_fd);
    if (pthread_create(&made->life.thread, NULL, run, made) != 0) {
        (void)err_say(why, ERR_internal, "%s: no thread to be had", made->name);
        destroy_actor(made);
        return ERR_internal;
    }
    *actor = made;
    return ERR_ok;
}

/* Until it has left `stage`. */
static err
wait_stage(struct actor **actor, enum actor_stage stage, int64_t timeout_ms, struct err_text *why)
{
    struct actor *waited = *actor;
    int64_t until_us = clock_steady_us() + timeout_ms * 1000;
    struct timespec until = {.tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000};
    int timed_out = 0;
    pthread_mutex_lock(&waited->life.lock);
    while (waited->life.stage == stage && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&waited->life.stage_changed, &waited->life.lock, &until);
    }
    bool is_there = waited->life.stage != stage;
    err code = waited->life.open_code;
    if (code != ERR_ok) {
        *why = waited->life.open_why;
    }
    pthread_mutex_unlock(&waited->life.lock);
    if (!is_there) {
        /* The thread may still come; the process ends with it. */
        *actor = NULL;
        return err_say(why, ERR_unavailable, "%s did not start within %lld s", waited->name, (long long)timeout_ms / 1000);
    }
    if (code != ERR_ok) {
        (void)actor_stop(actor);
    }
    return code;
}

err
actor_wait_open(struct actor **actor, int64_t timeout_ms, struct err_text *why)
{
    return wait_stage(actor, STAGE_OPENING, timeout_ms, why);
}

err
actor_serve(struct actor **actor, struct err_text *why)
{
    struct actor *told = *actor;
    assert(told != NULL);
    pthread_mutex_lock(&told->life.lock);
    assert(told->life.stage == STAGE_OPENED);
    told->life.stage = STAGE_BINDING;
    pthread_cond_broadcast(&told->life.stage_changed);
    pthread_mutex_unlock(&told->life.lock);
    return wait_stage(actor, STAGE_BINDING, ACTOR_START_MS, why);
}

err
actor_start(const struct actor_class *class, const struct settings *settings, int shard, int ended_fd, struct actor **actor,
            struct err_text *why)
{
    struct actor *made = NULL;
    err code = actor_open(class, settings, shard, ended_fd, &made, why);
    if (code == ERR_ok) {
        code = actor_wait_open(&made, ACTOR_START_MS, why);
    }
    if (code == ERR_ok) {
        code = actor_serve(&made, why);
    }
    if (code == ERR_ok) {
        *actor = made;
    }
    return code;
}

enum actor_outcome
actor_stop(struct actor **actor)
{
    if (*actor == NULL) {
        return ACTOR_STOPPED;
    }
    struct actor *stopped = *actor;
    pthread_mutex_lock(&stopped->life.lock);
    if (stopped->life.stage == STAGE_OPENED) {
        stopped->life.stage = STAGE_STOPPING;
        pthread_cond_broadcast(&stopped->life.stage_changed);
    }
    pthread_mutex_unlock(&stopped->life.lock);
    raise_fd(stopped->life.stop_fd);
    pthread_join(stopped->life.thread, NULL);
    enum actor_outcome outcome = actor_outcome(stopped);
    destroy_actor(stopped);
    *actor = NULL;
    return outcome;
}
