/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Hears where every source and its subscribers stand, without being a subscriber of anything.
 *
 * MESSAGES  hears [head][event_header][head] by SUB
 *
 * STATE     Of each source its socket and the frames of the latest HEAD that was not given on yet. A busy source publishes one after
 *           each of its batches: sockets are read every WATCHES_PAUSE_MS, and in between their messages wait in them without waking
 *           anybody again.
 *
 * FAILURES  A HEAD that cannot be read, or that another source sent, is dropped and counted; each source's first one is logged. One
 *           that was given on and whose batch failed is lost: the next comes within a second.
 *
 * LIMITS    SOURCES_MAX sources; READ_MAX messages of a source at a time, the rest with the next look.
 */
#include "watches.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <czmq.h>

#include "kit/base/clock.h"
#include "link.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "kit/settings/topology.h"
#include "kit/base/wakeup.h"

enum { SOURCES_MAX = 64, READ_MAX = 1000, FRAMES = 3 };

struct watch {
    char source[WIRE_NAME_MAX + 16];
    zsock_t *sub;
    struct wake_source wake;
    zmq_msg_t header; /* of the latest HEAD */
    zmq_msg_t body;
    struct link_pulse pulse;
    bool is_new; /* it was not given on yet */
    bool is_complained_of;
};

struct watches {
    struct watch watches[SOURCES_MAX];
    size_t count;
    int64_t read_us; /* when the sockets were read last */
    struct metric *unreadable;
};

static err
add_watch(struct watches *watches, const struct settings *settings, const char *actor, int shard, struct err_text *why)
{
    char endpoint[ENDPOINT_MAX];
    assert(watches->count < SOURCES_MAX);
    struct watch *watch = &watches->watches[watches->count];
    topology_connect(settings, actor, shard, ENDPOINT_EVENTS, endpoint);
    err code = link_events(endpoint, &watch->sub, why);
    if (code != ERR_ok) {
        return code;
    }
    watches->count++;
    snprintf(watch->source, sizeof watch->source, "%.64s/%d", actor, shard);
    zsock_set_subscribe(watch->sub, "head");
    zmq_msg_init(&watch->header);
    zmq_msg_init(&watch->body);
    return ERR_ok;
}

err
watches_open(const struct settings *settings, const char *actor, int wakeup_fd, struct watches **watches, struct err_text *why)
{
    static const char *const actors[] = {
#define ACTOR(name, offset) #name,
#include "kit/settings/topology.def"
    };
    struct watches *made = memory_new(1, sizeof *made);
    err code = ERR_ok;
    for (size_t i = 0; i < sizeof actors / sizeof actors[0]; i++) {
        int shards = strcmp(actors[i], actor) == 0 ? 0 : topology_shards(settings, actors[i]);
        for (int shard = 0; code == ERR_ok && shard < shards; shard++) {
            code = add_watch(made, settings, actors[i], shard, why);
        }
    }
    if (code != ERR_ok) {
        watches_close(&made);
        return code;
    }
    for (size_t i = 0; i < made->count; i++) {
        wakeup_add_socket(wakeup_fd, &made->watches[i].wake, zsock_resolve(made->watches[i].sub));
    }
    made->unreadable = metric(METRIC_COUNTER, "larder_unreadable_heads_total", "", "HEADs of other actors that could not be read.");
    *watches = made;
    return ERR_ok;
}

void
watches_close(struct watches **watches)
{
    if (*watches == NULL) {
        return;
    }
    for (size_t i = 0; i < (*watches)->count; i++) {
        struct watch *watch = &(*watches)->watches[i];
        zmq_msg_close(&watch->header);
        zmq_msg_close(&watch->body);
        zsock_destroy(&watch->sub);
    }
    free(*watches);
    *watches = NULL;
}

/* Takes one message off the socket; false when there is none. One of another shape is passed over. */
static bool
read_one(struct watch *watch)
{
    void *raw = zsock_resolve(watch->sub);
    zmq_msg_t frames[FRAMES];
    int count = 0;
    bool has_more = true;
    while (has_more) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, raw, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            break;
        }
        has_more = zmq_msg_more(&frame) != 0;
        if (count < FRAMES) {
            frames[count] = frame;
        } else {
            zmq_msg_close(&frame);
        }
        count++;
    }
    if (count == FRAMES) {
        zmq_msg_move(&watch->header, &frames[1]);
        zmq_msg_move(&watch->body, &frames[2]);
        watch->is_new = true;
    }
    for (int i = 0; i < count && i < FRAMES; i++) {
        zmq_msg_close(&frames[i]);
    }
    return count > 0;
}

static int64_t
pause_left_us(const struct watches *watches)
{
    return watches->read_us + WATCHES_PAUSE_MS * INT64_C(1000) - clock_steady_us();
}

void
watches_read(struct watches *watches)
{
    bool is_ready = false;
    for (size_t i = 0; i < watches->count; i++) {
        is_ready = is_ready || watches->watches[i].wake.is_ready;
    }
    if (!is_ready || (watches->read_us != 0 && pause_left_us(watches) > 0)) {
        return;
    }
    watches->read_us = clock_steady_us();
    for (size_t i = 0; i < watches->count; i++) {
        struct watch *watch = &watches->watches[i];
        for (int taken = 0; watch->wake.is_ready && taken < READ_MAX; taken++) {
            watch->wake.is_ready = read_one(watch);
            if (watch->wake.is_ready) {
                link_heard(&watch->pulse, watches->read_us / 1000);
            }
        }
        if (link_renew_events(watch->sub, &watch->pulse, watches->read_us / 1000)) {
            log_warn("source_silent", LOG_TEXT("source", watch->source), LOG_TEXT("now", "it is connected anew"));
            watch->wake.is_ready = true;
        }
    }
}

static void
complain(struct watches *watches, struct watch *watch, const char *why)
{
    metric_add(watches->unreadable, 1);
    if (!watch->is_complained_of) {
        watch->is_complained_of = true;
        log_error("head_unreadable", LOG_TEXT("source", watch->source), LOG_TEXT("why", why));
    }
}

static struct slice
copy_of(struct arena *arena, zmq_msg_t *frame)
{
    return arena_copy(arena, (struct slice){zmq_msg_data(frame), zmq_msg_size(frame)});
}

static bool
decode(struct watch *watch, struct arena *arena, struct watched *watched, struct err_text *why)
{
    *watched = (struct watched){.frame = copy_of(arena, &watch->body)};
    if (wire_decode(&event_header_body, copy_of(arena, &watch->header), &watched->header, why) != ERR_ok) {
        return false;
    }
    err code = ERR_ok;
    if (watched->header.v != WIRE_VERSION) {
        code = err_say(why, ERR_unknown_version, "version %lld", (long long)watched->header.v);
    } else if (!slice_equal(watched->header.type, slice_of("head")) || !slice_equal(watched->header.source, slice_of(watch->source))) {
        code = err_say(why, ERR_malformed, "it is no HEAD of this source");
    }
    return code == ERR_ok && wire_decode(&head_body, watched->frame, &watched->head, why) == ERR_ok;
}

bool
watches_next(struct watches *watches, struct arena *arena, struct watched *watched)
{
    for (size_t i = 0; i < watches->count; i++) {
        struct watch *watch = &watches->watches[i];
        struct err_text why = {""};
        if (!watch->is_new) {
            continue;
        }
        watch->is_new = false;
        if (decode(watch, arena, watched, &why)) {
            return true;
        }
        complain(watches, watch, why.text);
    }
    return false;
}

int64_t
watches_wait_ms(const struct watches *watches, bool may_give)
{
    bool is_ready = false;
    for (size_t i = 0; i < watches->count; i++) {
        const struct watch *watch = &watches->watches[i];
        if (watch->is_new && may_give) {
            return 0;
        }
        is_ready = is_ready || watch->wake.is_ready;
    }
    if (!is_ready) {
        return INT64_MAX;
    }
    int64_t left_us = watches->read_us == 0 ? 0 : pause_left_us(watches);
    return left_us <= 0 ? 0 : (left_us + 999) / 1000;
}
