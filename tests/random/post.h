/* SPDX-License-Identifier: MPL-2.0 */
/* The sockets of the random sequence: a DEALER for each actor's shard, another one for junk, a SUB for its events. */
#ifndef LARDER_RANDOM_POST_H
#define LARDER_RANDOM_POST_H

#include <czmq.h>

#include "sequence.h"

#define POST_FRAMES_MAX 16

/* Where an actor's shard listens. */
struct post_addresses {
    void (*address)(const void *context, int actor, int shard, bool is_events, char *endpoint, size_t size);
    const void *context;
};

enum post_socket { POST_REQUESTS, POST_JUNK, POST_EVENTS, POST_KINDS };

struct post {
    zsock_t *sockets[POST_KINDS][SEQUENCE_ACTORS][SEQUENCE_SHARDS_MAX];
    int shards;
};

/* A message as it came. */
struct letter_box {
    enum post_socket kind;
    int actor;
    int shard;
    int count;
    zmq_msg_t frames[POST_FRAMES_MAX];
};

MUST_CHECK err
post_open(struct post *post, const struct post_addresses *addresses, int shards, struct err_text *why);
void
post_close(struct post *post);

/* Sends a request in its envelope, or any frames; waits until somebody is connected. False: nobody was within the time. */
bool
post_send(struct post *post, const struct request *request, int64_t timeout_ms);
bool
post_send_junk(struct post *post, int actor, int shard, const struct slice *frames, size_t count);

/* The next message of any socket. False: none came within the time. letter_box_fini() it otherwise. */
bool
post_receive(struct post *post, int64_t timeout_ms, struct letter_box *box);
void
letter_box_fini(struct letter_box *box);

struct slice
letter_box_frame(struct letter_box *box, int number);

#endif
