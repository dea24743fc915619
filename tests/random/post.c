/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  See post.h.
 * LIMITS   Raw frames on czmq's sockets, so that inproc names are found: both must be of one context.
 */
#include "post.h"

#include <string.h>

#include "link.h"

static bool
has_events(int actor)
{
    return strcmp(sequence_actors[actor], "sales") != 0;
}

static int
shards_of(const struct post *post, int actor)
{
    return strcmp(sequence_actors[actor], "stock") == 0 ? post->shards : 1;
}

static err
open_one(struct post *post, const struct post_addresses *addresses, int actor, int shard, struct err_text *why)
{
    char requests[256], events[256];
    addresses->address(addresses->context, actor, shard, false, requests, sizeof requests);
    addresses->address(addresses->context, actor, shard, true, events, sizeof events);
    err code = link_requests(requests, &post->sockets[POST_REQUESTS][actor][shard], why);
    if (code == ERR_ok) {
        code = link_requests(requests, &post->sockets[POST_JUNK][actor][shard], why);
    }
    if (code == ERR_ok && has_events(actor)) {
        code = link_events(events, &post->sockets[POST_EVENTS][actor][shard], why);
        if (code == ERR_ok) {
            zsock_set_subscribe(post->sockets[POST_EVENTS][actor][shard], "");
        }
    }
    return code;
}

err
post_open(struct post *post, const struct post_addresses *addresses, int shards, struct err_text *why)
{
    err code = ERR_ok;
    *post = (struct post){.shards = shards};
    for (int actor = 0; actor < SEQUENCE_ACTORS; actor++) {
        for (int shard = 0; shard < shards_of(post, actor) && code == ERR_ok; shard++) {
            code = open_one(post, addresses, actor, shard, why);
        }
    }
    return code;
}

void
post_close(struct post *post)
{
    for (int kind = 0; kind < POST_KINDS; kind++) {
        for (int actor = 0; actor < SEQUENCE_ACTORS; actor++) {
            for (int shard = 0; shard < SEQUENCE_SHARDS_MAX; shard++) {
                zsock_destroy(&post->sockets[kind][actor][shard]);
            }
        }
    }
}

/* --- sending --- */

/* All frames or, when nobody is connected for so long, none. */
static bool
send_frames(zsock_t *sock, const struct slice *frames, size_t count, int64_t timeout_ms)
{
    void *raw = zsock_resolve(sock);
    int64_t end_ms = link_steady_ms() + timeout_ms;
    for (size_t i = 0; i < count; i++) {
        int flags = ZMQ_DONTWAIT | (i + 1 < count ? ZMQ_SNDMORE : 0);
        while (zmq_send(raw, frames[i].size == 0 ? "" : (const void *)frames[i].data, frames[i].size, flags) < 0) {
            int64_t left_ms = end_ms - link_steady_ms();
            zmq_pollitem_t item = {.socket = raw, .events = ZMQ_POLLOUT};
            if (left_ms <= 0 || (errno != EAGAIN && errno != EINTR)) {
                return false;
            }
            (void)zmq_poll(&item, 1, left_ms > 100 ? 100 : (long)left_ms);
        }
    }
    return true;
}

bool
post_send(struct post *post, const struct request *request, int64_t timeout_ms)
{
    struct slice frames[SEQUENCE_ENVELOPE_MAX + 4];
    size_t count = 0;
    if (request->envelope >= 2) {
        frames[count++] = (struct slice){(const uint8_t *)&request->number, sizeof request->number};
    }
    for (int i = 2; i < request->envelope; i++) {
        frames[count++] = (struct slice){(const uint8_t *)sequence_actors[i % SEQUENCE_ACTORS], 3};
    }
    if (request->envelope >= 1) {
        frames[count++] = (struct slice){0};
    }
    frames[count++] = wire_buffer_slice(&request->header);
    frames[count++] = wire_buffer_slice(&request->body);
    return send_frames(post->sockets[POST_REQUESTS][request->actor][request->shard], frames, count, timeout_ms);
}

bool
post_send_junk(struct post *post, int actor, int shard, const struct slice *frames, size_t count)
{
    return send_frames(post->sockets[POST_JUNK][actor][shard], frames, count, 0);
}

/* --- receiving --- */

static bool
take(zsock_t *sock, struct letter_box *box)
{
    void *raw = zsock_resolve(sock);
    int more = 1;
    box->count = 0;
    while (more != 0) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, raw, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            return false;
        }
        more = zmq_msg_more(&frame);
        if (box->count < POST_FRAMES_MAX) {
            zmq_msg_init(&box->frames[box->count]);
            zmq_msg_move(&box->frames[box->count++], &frame);
        }
        zmq_msg_close(&frame);
    }
    return true;
}

bool
post_receive(struct post *post, int64_t timeout_ms, struct letter_box *box)
{
    zmq_pollitem_t items[POST_KINDS * SEQUENCE_ACTORS * SEQUENCE_SHARDS_MAX];
    struct letter_box places[POST_KINDS * SEQUENCE_ACTORS * SEQUENCE_SHARDS_MAX];
    int count = 0;
    for (int kind = 0; kind < POST_KINDS; kind++) {
        for (int actor = 0; actor < SEQUENCE_ACTORS; actor++) {
            for (int shard = 0; shard < SEQUENCE_SHARDS_MAX; shard++) {
                if (post->sockets[kind][actor][shard] != NULL) {
                    items[count] = (zmq_pollitem_t){.socket = zsock_resolve(post->sockets[kind][actor][shard]), .events = ZMQ_POLLIN};
                    places[count].kind = (enum post_socket)kind;
                    places[count].actor = actor;
                    places[count++].shard = shard;
                }
            }
        }
    }
    if (zmq_poll(items, count, (long)timeout_ms) <= 0) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if ((items[i].revents & ZMQ_POLLIN) != 0) {
            box->kind = places[i].kind;
            box->actor = places[i].actor;
            box->shard = places[i].shard;
            return take(post->sockets[box->kind][box->actor][box->shard], box);
        }
    }
    return false;
}

void
letter_box_fini(struct letter_box *box)
{
    for (int i = 0; i < box->count; i++) {
        zmq_msg_close(&box->frames[i]);
    }
    box->count = 0;
}

struct slice
letter_box_frame(struct letter_box *box, int number)
{
    return (struct slice){zmq_msg_data(&box->frames[number]), zmq_msg_size(&box->frames[number])};
}
