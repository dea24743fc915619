/* SPDX-License-Identifier: MPL-2.0 */
/* Requests and replies as ZeroMQ frames: [envelope...][header][body], on a ROUTER or a DEALER. */
#ifndef LARDER_MESSAGE_H
#define LARDER_MESSAGE_H

#include <stdbool.h>

#include <zmq.h>

#include "err.h"
#include "wire.h"

/* The identity that our ROUTER puts before everything, and 8 frames of the sender: what proxies and REQ sockets put before the
 * message, the empty delimiter included. */
#define MESSAGE_ENVELOPE_MAX (1 + 8)

/* One message as it came. The first `envelope_count` frames of `envelope`, the header and the body are open after
 * MESSAGE_OK; after MESSAGE_BROKEN only the envelope. message_fini() closes what is open. */
struct message {
    zmq_msg_t envelope[MESSAGE_ENVELOPE_MAX];
    int envelope_count;
    bool has_frames; /* header and body are open */
    zmq_msg_t header;
    zmq_msg_t body;
};

enum message_result {
    MESSAGE_OK,
    MESSAGE_NONE,   /* there is none now */
    MESSAGE_BROKEN, /* not an envelope and exactly two frames; all of it was taken off the socket */
    MESSAGE_CLOSED  /* the context is being ended */
};

enum message_sent {
    MESSAGE_SENT,
    MESSAGE_FULL,   /* it does not fit now; nothing went out */
    MESSAGE_GONE,   /* the peer is not there any more; nothing went out */
    MESSAGE_UNSAID, /* a frame is empty: it could not be encoded; nothing went out */
    MESSAGE_ENDED   /* the context is being ended */
};

/* Takes the next message off a raw socket without waiting. `router`: the first frame is the peer's identity. The frames up to
 * and including the first empty one are the envelope; without an empty one it is the identity alone, or nothing on a DEALER.
 * After MESSAGE_BROKEN the envelope of a ROUTER is as much as was understood, at least the identity, so that a refusal can be
 * sent. The message need not be initialised, and may be given to message_fini() after every result. */
MUST_CHECK enum message_result
message_receive(void *socket, bool router, struct message *message);

/* Sends a reply back along the envelope, without waiting. The envelope is consumed by MESSAGE_SENT and kept otherwise, so that
 * MESSAGE_FULL may be tried again. With an empty envelope (on a DEALER) it is message_send(). */
MUST_CHECK enum message_sent
message_reply(void *socket, struct message *request, struct slice header, struct slice body);

/* The same with a body that is a frame already; it is consumed in every case. */
MUST_CHECK enum message_sent
message_reply_frame(void *socket, struct message *request, struct slice header, zmq_msg_t *body);

/* Sends [header][body] without waiting, e.g. a request on a DEALER. */
MUST_CHECK enum message_sent
message_send(void *socket, struct slice header, struct slice body);

/* The bytes of the frames; they live as long as the message. */
struct slice
message_header(struct message *message);
struct slice
message_body(struct message *message);

/* The identity of the connection that it came over; empty on a DEALER. */
struct slice
message_peer(struct message *message);

/* Closes what is open. May be called again. */
void
message_fini(struct message *message);

#endif
