/* SPDX-License-Identifier: MPL-2.0 */
/* What one peer sends us, looked at byte by byte before libzmq reads it: whether it is ZMTP 3 within our bounds. */
#ifndef LARDER_KIT_ZMTP_H
#define LARDER_KIT_ZMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

enum {
    ZMTP_LARGE = 16 * 1024,   /* messages below it are bounded by their number */
    ZMTP_HANDSHAKE_MAX = 512, /* bytes of a READY: bounds the routing id and the properties, which stay in memory */
    ZMTP_FRAMES_MAX = 64,     /* of one message; an envelope has 8 */
    ZMTP_MESSAGE_MAX = WIRE_FRAME_MAX + 64 * 1024, /* bytes of all frames of one message */
    ZMTP_SUBSCRIPTION_MAX = 256,                   /* bytes of a frame to a PUB */
    ZMTP_PREFIXES_MAX = 250,                       /* subscriptions of one connection */
    ZMTP_PREFIX_BYTES_MAX = 4 * 1024,              /* all of them together */
    ZMTP_BURST = 1000,                             /* frames to a PUB at once, and */
    ZMTP_PER_SECOND = 100                          /* so many more each second */
};

enum zmtp_verdict {
    ZMTP_FINE,
    ZMTP_FOREIGN,   /* no ZMTP 3, or not as it has to be */
    ZMTP_TOO_LARGE, /* a frame, or a message of too many frames or bytes */
    ZMTP_TOO_MANY,  /* subscriptions, or their bytes */
    ZMTP_TOO_OFTEN  /* frames to a PUB */
};

struct zmtp;

/* `is_events`: the peer is connected to a PUB, else to a ROUTER. */
struct zmtp *
zmtp_create(bool is_events, int64_t now_ms);

void
zmtp_destroy(struct zmtp **zmtp);

/* Looks at the next bytes of the stream. May change them: a PING that must not be answered becomes a command that nobody knows. After
 * any other verdict than ZMTP_FINE the connection has to end. */
enum zmtp_verdict
zmtp_see(struct zmtp *zmtp, uint8_t *bytes, size_t size, int64_t now_ms);

/* The handshake is over. */
bool
zmtp_is_ready(const struct zmtp *zmtp);

/* When the last message, or change of subscriptions, was complete; 0: there was none. */
int64_t
zmtp_spoke_ms(const struct zmtp *zmtp);

/* Bytes of its messages of ZMTP_LARGE bytes and more that were complete, ever. */
int64_t
zmtp_large_bytes(const struct zmtp *zmtp);

/* Bytes of all prefixes that it ever subscribed to, again and again. */
int64_t
zmtp_subscribed_bytes(const struct zmtp *zmtp);

/* Bytes of the prefixes it has subscribed to. */
int64_t
zmtp_prefix_bytes(const struct zmtp *zmtp);

/* The word for logs and counters. */
const char *
zmtp_word(enum zmtp_verdict verdict);

#endif
