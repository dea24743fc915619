/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Takes requests and replies off a ROUTER or DEALER and sends them, frame by frame, without ever waiting.
 *
 *   What stands before a request depends on the asker's socket: a DEALER sends [header][body], a REQ [][header][body], a REQ
 *   with ZMQ_REQ_CORRELATE [4 bytes][][header][body]; a proxy puts identities before that; our ROUTER puts the peer's before
 *   everything. Neither header nor body can be empty, so the first empty frame tells where the envelope ends, and a message
 *   without one has no envelope but the identity.
 *
 * STATE
 *   None. Frames are ZeroMQ's own and move without being copied.
 *
 * FAILURES
 *   A message of another shape is taken off the socket to its last frame, so that the next one starts where it should. A send
 *   that fails at its first frame leaves nothing behind. One that fails later, because the peer left in between, is carried on
 *   to the last frame: ZeroMQ drops the rest, but only when it sees the end. An empty frame would be taken for the end of the
 *   envelope: a message with one, which is what the encoder leaves of a body that it cannot say, is not sent.
 *
 * LIMITS
 *   MESSAGE_ENVELOPE_MAX frames before the header. The number of frames of a message from outside is not bounded by ZeroMQ.
 */
#include "message.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define FRAMES_MAX (MESSAGE_ENVELOPE_MAX + 2)

/* --- receiving --- */

/* 0, or what zmq_msg_recv() failed with. */
static int
receive_frame(void *socket, zmq_msg_t *frame)
{
    while (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

/* Takes one message to its last frame; keeps the first FRAMES_MAX and counts all. */
static int
receive_frames(void *socket, zmq_msg_t *frames, int *count)
{
    zmq_msg_t excess = {{0}};
    bool has_more = true;
    for (*count = 0; has_more; (*count)++) {
        zmq_msg_t *frame = *count < FRAMES_MAX ? &frames[*count] : &excess;
        zmq_msg_init(frame);
        int failure = receive_frame(socket, frame);
        if (failure != 0) {
            zmq_msg_close(frame);
            return failure;
        }
        has_more = zmq_msg_more(frame) != 0;
        if (frame == &excess) {
            zmq_msg_close(frame);
        }
    }
    return 0;
}

/* How many frames are envelope. A ROUTER's first one is, whatever it holds. */
static int
count_envelope(zmq_msg_t *frames, int kept, bool router)
{
    for (int i = router ? 1 : 0; i < kept && i < MESSAGE_ENVELOPE_MAX; i++) {
        if (zmq_msg_size(&frames[i]) == 0) {
            return i + 1;
        }
    }
    return router ? 1 : 0;
}

static void
move_frame(zmq_msg_t *to, zmq_msg_t *from)
{
    zmq_msg_init(to);
    zmq_msg_move(to, from);
}

static void
close_frames(zmq_msg_t *frames, int from, int to)
{
    for (int i = from; i < to; i++) {
        zmq_msg_close(&frames[i]);
    }
}

enum message_result
message_receive(void *socket, bool router, struct message *message)
{
    zmq_msg_t frames[FRAMES_MAX];
    int count = 0;
    message->envelope_count = 0;
    message->has_frames = false;
    int failure = receive_frames(socket, frames, &count);
    int kept = count < FRAMES_MAX ? count : FRAMES_MAX;
    if (failure != 0) {
        assert(failure == EAGAIN || failure == ETERM);
        close_frames(frames, 0, kept);
        return failure == EAGAIN ? MESSAGE_NONE : MESSAGE_CLOSED;
    }
    int envelope_count = count_envelope(frames, kept, router);
    for (int i = 0; i < envelope_count; i++) {
        move_frame(&message->envelope[i], &frames[i]);
    }
    message->envelope_count = envelope_count;
    message->has_frames = count == envelope_count + 2;
    if (message->has_frames) {
        move_frame(&message->header, &frames[envelope_count]);
        move_frame(&message->body, &frames[envelope_count + 1]);
    }
    close_frames(frames, 0, kept);
    return message->has_frames ? MESSAGE_OK : MESSAGE_BROKEN;
}

/* --- sending --- */

static enum message_sent
sent_of(int failure)
{
    assert(failure == EAGAIN || failure == EHOSTUNREACH || failure == ETERM);
    if (failure == EAGAIN) {
        return MESSAGE_FULL;
    }
    return failure == ETERM ? MESSAGE_ENDED : MESSAGE_GONE;
}

/* 0, or what the send failed with. */
static int
send_bytes(void *socket, struct slice bytes, int flags)
{
    while (zmq_send(socket, bytes.data, bytes.size, ZMQ_DONTWAIT | flags) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static int
send_frame(void *socket, zmq_msg_t *frame, int flags)
{
    while (zmq_msg_send(frame, socket, ZMQ_DONTWAIT | flags) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

enum message_sent
message_send(void *socket, struct slice header, struct slice body)
{
    int failure = send_bytes(socket, header, ZMQ_SNDMORE);
    if (failure != 0) {
        return sent_of(failure);
    }
    failure = send_bytes(socket, body, 0);
    return failure == 0 ? MESSAGE_SENT : sent_of(failure);
}

/* Sends the envelope but for its end, which is the header; it is consumed when its first frame went out. */
static int
send_envelope(void *socket, struct message *request, bool *is_begun)
{
    int failure = send_frame(socket, &request->envelope[0], ZMQ_SNDMORE);
    *is_begun = failure == 0;
    for (int i = 1; *is_begun && i < request->envelope_count; i++) {
        int later = send_frame(socket, &request->envelope[i], ZMQ_SNDMORE);
        failure = failure == 0 ? later : failure;
    }
    if (*is_begun) {
        close_frames(request->envelope, 0, request->envelope_count);
        request->envelope_count = 0;
    }
    return failure;
}

enum message_sent
message_reply(void *socket, struct message *request, struct slice header, struct slice body)
{
    if (request->envelope_count == 0) {
        return message_send(socket, header, body);
    }
    bool is_begun = false;
    int failure = send_envelope(socket, request, &is_begun);
    if (!is_begun) {
        return sent_of(failure);
    }
    enum message_sent rest = message_send(socket, header, body);
    return failure == 0 || rest == MESSAGE_ENDED ? rest : MESSAGE_GONE;
}

enum message_sent
message_reply_frame(void *socket, struct message *request, struct slice header, zmq_msg_t *body)
{
    bool is_begun = request->envelope_count == 0;
    int failure = is_begun ? 0 : send_envelope(socket, request, &is_begun);
    if (is_begun) {
        int later = send_bytes(socket, header, ZMQ_SNDMORE);
        failure = failure == 0 ? later : failure;
        later = send_frame(socket, body, 0);
        failure = failure == 0 ? later : failure;
    }
    zmq_msg_close(body);
    return failure == 0 ? MESSAGE_SENT : is_begun && failure != ETERM ? MESSAGE_GONE : sent_of(failure);
}

/* --- what it holds --- */

static struct slice
frame_slice(zmq_msg_t *frame)
{
    return (struct slice){zmq_msg_data(frame), zmq_msg_size(frame)};
}

struct slice
message_header(struct message *message)
{
    assert(message->has_frames);
    return frame_slice(&message->header);
}

struct slice
message_body(struct message *message)
{
    assert(message->has_frames);
    return frame_slice(&message->body);
}

struct slice
message_peer(struct message *message)
{
    return message->envelope_count > 0 ? frame_slice(&message->envelope[0]) : (struct slice){0};
}

void
message_fini(struct message *message)
{
    close_frames(message->envelope, 0, message->envelope_count);
    message->envelope_count = 0;
    if (message->has_frames) {
        zmq_msg_close(&message->header);
        zmq_msg_close(&message->body);
        message->has_frames = false;
    }
}
