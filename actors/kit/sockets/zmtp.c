/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Reads the framing of ZMTP 3 (RFC 23 and 37) as it comes from a peer, only to judge it; libzmq reads the same bytes
 *           after it. What libzmq 4.3.4 does not bound is bounded here: the properties of a READY, the frames and bytes of a
 *           message that has not ended, the subscriptions of a connection, and how often they change.
 *
 * STATE     Where in the stream it is, the beginning of the frame under way, and hashes of the prefixes that are subscribed to:
 *           under a key of this process's own, so that nobody can find two prefixes that count as one.
 *
 * FAILURES  A verdict, after which nothing more of the connection may be read.
 *
 *           A PING is answered by libzmq in the middle of reading. When it does so for one that stood behind a message for which
 *           its queue was full, and the peer has left with a reset in between, it aborts: `!_io_error`. Such a PING is made an
 *           unknown command, which libzmq passes over. Its sender hears answers to the message before it, which counts as much as
 *           a PONG. A PING that is shorter than its fields is refused: libzmq answers it with memory that is not part of it.
 *
 * LIMITS    Those of the header. ZMTP 1 and 2 are refused.
 */
#include "zmtp.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "kit/base/memory.h"

enum { GREETING = 64, MORE = 1, LONG = 2, COMMAND = 4, RESERVED = 0xF8, PING_SIZE = 7 };

enum place { IN_GREETING, AT_FLAGS, IN_SIZE, IN_BODY };

struct zmtp {
    bool is_events;
    bool is_ready;
    bool is_behind; /* a message frame was complete in the bytes that are looked at now */
    enum place place;
    uint8_t flags;
    int size_left; /* bytes of the frame's length that are still to come */
    uint64_t size; /* of the frame */
    uint64_t seen; /* of its body */
    uint64_t greeting_seen;
    int64_t message_bytes;
    int message_frames;
    int64_t spoke_ms;
    int64_t large_bytes;
    int64_t subscribed_bytes;
    int64_t tokens;
    int64_t tokens_ms;
    uint64_t *hashes; /* of prefixes, in no order */
    size_t hash_count;
    size_t hash_capacity;
    int64_t prefix_bytes;
    uint8_t body[ZMTP_SUBSCRIPTION_MAX]; /* its beginning */
};

static uint8_t hash_key[crypto_shorthash_KEYBYTES];

struct zmtp *
zmtp_create(bool is_events, int64_t now_ms)
{
    static bool has_key;
    if (!has_key) {
        crypto_shorthash_keygen(hash_key);
        has_key = true;
    }
    struct zmtp *zmtp = memory_new(1, sizeof *zmtp);
    zmtp->is_events = is_events;
    zmtp->tokens = ZMTP_BURST;
    zmtp->tokens_ms = now_ms;
    return zmtp;
}

void
zmtp_destroy(struct zmtp **zmtp)
{
    if (*zmtp != NULL) {
        free((*zmtp)->hashes);
        free(*zmtp);
        *zmtp = NULL;
    }
}

bool
zmtp_is_ready(const struct zmtp *zmtp)
{
    return zmtp->is_ready;
}

int64_t
zmtp_spoke_ms(const struct zmtp *zmtp)
{
    return zmtp->spoke_ms;
}

int64_t
zmtp_large_bytes(const struct zmtp *zmtp)
{
    return zmtp->large_bytes;
}

int64_t
zmtp_subscribed_bytes(const struct zmtp *zmtp)
{
    return zmtp->subscribed_bytes;
}

int64_t
zmtp_prefix_bytes(const struct zmtp *zmtp)
{
    return zmtp->prefix_bytes;
}

const char *
zmtp_word(enum zmtp_verdict verdict)
{
    switch (verdict) {
    case ZMTP_FINE:
        break;
    case ZMTP_FOREIGN:
        return "no ZMTP 3";
    case ZMTP_TOO_LARGE:
        return "a message too large";
    case ZMTP_TOO_MANY:
        return "too many subscriptions";
    case ZMTP_TOO_OFTEN:
        return "subscriptions too often";
    }
    return "fine";
}

/* --- subscriptions --- */

static uint64_t
hash_of(const uint8_t *prefix, size_t size)
{
    uint64_t hash;
    _Static_assert(sizeof hash == crypto_shorthash_BYTES, "a hash is a number");
    crypto_shorthash((unsigned char *)&hash, prefix, size, hash_key);
    return hash;
}

/* Index of the hash, or their count. */
static size_t
find_hash(const struct zmtp *zmtp, uint64_t hash)
{
    size_t at = 0;
    while (at < zmtp->hash_count && zmtp->hashes[at] != hash) {
        at++;
    }
    return at;
}

static enum zmtp_verdict
subscribe(struct zmtp *zmtp, uint64_t hash, size_t size)
{
    if (find_hash(zmtp, hash) < zmtp->hash_count) {
        return ZMTP_FINE;
    }
    zmtp->prefix_bytes += (int64_t)size;
    zmtp->subscribed_bytes += (int64_t)size;
    if (zmtp->hash_count == ZMTP_PREFIXES_MAX || zmtp->prefix_bytes > ZMTP_PREFIX_BYTES_MAX) {
        return ZMTP_TOO_MANY;
    }
    zmtp->hashes = memory_grow(zmtp->hashes, &zmtp->hash_capacity, zmtp->hash_count + 1, sizeof *zmtp->hashes);
    zmtp->hashes[zmtp->hash_count++] = hash;
    return ZMTP_FINE;
}

static void
unsubscribe(struct zmtp *zmtp, uint64_t hash, size_t size)
{
    size_t at = find_hash(zmtp, hash);
    if (at < zmtp->hash_count) {
        zmtp->hashes[at] = zmtp->hashes[--zmtp->hash_count];
        zmtp->prefix_bytes -= (int64_t)size;
    }
}

static bool
take_token(struct zmtp *zmtp, int64_t now_ms)
{
    int64_t more = (now_ms - zmtp->tokens_ms) * ZMTP_PER_SECOND / 1000;
    if (more > 0) {
        zmtp->tokens = zmtp->tokens + more < ZMTP_BURST ? zmtp->tokens + more : ZMTP_BURST;
        zmtp->tokens_ms = now_ms;
    }
    return zmtp->tokens-- > 0;
}

/* --- frames --- */

/* Whether the frame is the command of this name. */
static bool
is_command(const struct zmtp *zmtp, const char *name)
{
    size_t size = strlen(name);
    return (zmtp->flags & COMMAND) != 0 && zmtp->size > size && zmtp->body[0] == size && memcmp(zmtp->body + 1, name, size) == 0;
}

static enum zmtp_verdict
judge_subscription(struct zmtp *zmtp, int64_t now_ms)
{
    size_t skipped = 1;
    bool is_on = zmtp->size > 0 && zmtp->body[0] == 1;
    bool is_off = zmtp->size > 0 && zmtp->body[0] == 0;
    if ((zmtp->flags & COMMAND) != 0) {
        is_on = is_command(zmtp, "SUBSCRIBE");
        is_off = is_command(zmtp, "CANCEL");
        skipped = is_on ? sizeof "SUBSCRIBE" : sizeof "CANCEL";
    }
    if (!is_on && !is_off) {
        return ZMTP_FINE;
    }
    size_t size = (size_t)zmtp->size - skipped;
    uint64_t hash = hash_of(zmtp->body + skipped, size);
    zmtp->spoke_ms = now_ms;
    if (is_on) {
        return subscribe(zmtp, hash, size);
    }
    unsubscribe(zmtp, hash, size);
    return ZMTP_FINE;
}

/* False: the message is too large. */
static inline bool
count_frame(struct zmtp *zmtp, uint64_t size)
{
    zmtp->message_bytes += (int64_t)size;
    zmtp->message_frames++;
    return zmtp->message_bytes <= ZMTP_MESSAGE_MAX && zmtp->message_frames <= ZMTP_FRAMES_MAX;
}

static inline void
end_message(struct zmtp *zmtp, int64_t now_ms)
{
    zmtp->large_bytes += zmtp->message_bytes >= ZMTP_LARGE ? zmtp->message_bytes : 0;
    zmtp->message_bytes = 0;
    zmtp->message_frames = 0;
    zmtp->spoke_ms = now_ms;
}

/* A frame that has ended. */
static enum zmtp_verdict
end_frame(struct zmtp *zmtp, int64_t now_ms)
{
    bool is_message = (zmtp->flags & COMMAND) == 0;
    zmtp->place = AT_FLAGS;
    if (!zmtp->is_ready) {
        zmtp->is_ready = is_command(zmtp, "READY");
        return zmtp->is_ready || is_command(zmtp, "ERROR") ? ZMTP_FINE : ZMTP_FOREIGN;
    }
    zmtp->is_behind = zmtp->is_behind || is_message;
    if (is_command(zmtp, "PING") && zmtp->size < PING_SIZE) {
        return ZMTP_FOREIGN;
    }
    if (zmtp->is_events) {
        return judge_subscription(zmtp, now_ms);
    }
    /* libzmq hands these two commands to any socket, as if they were a message. */
    if (is_command(zmtp, "SUBSCRIBE") || is_command(zmtp, "CANCEL")) {
        return ZMTP_FOREIGN;
    }
    if (is_message && (zmtp->flags & MORE) == 0) {
        end_message(zmtp, now_ms);
    }
    return ZMTP_FINE;
}

/* The length of a frame is known. */
static enum zmtp_verdict
begin_body(struct zmtp *zmtp, int64_t now_ms)
{
    bool is_command_frame = (zmtp->flags & COMMAND) != 0;
    zmtp->place = IN_BODY;
    zmtp->seen = 0;
    if (!zmtp->is_ready) {
        return !is_command_frame ? ZMTP_FOREIGN : zmtp->size > ZMTP_HANDSHAKE_MAX ? ZMTP_TOO_LARGE : ZMTP_FINE;
    }
    if (is_command_frame && zmtp->size == 0) {
        return ZMTP_FOREIGN;
    }
    if (is_command_frame || zmtp->is_events) {
        if (zmtp->size > ZMTP_SUBSCRIPTION_MAX) {
            return ZMTP_TOO_LARGE;
        }
        return zmtp->is_events && !take_token(zmtp, now_ms) ? ZMTP_TOO_OFTEN : ZMTP_FINE;
    }
    if (zmtp->size > WIRE_FRAME_MAX) {
        return ZMTP_TOO_LARGE;
    }
    return count_frame(zmtp, zmtp->size) ? ZMTP_FINE : ZMTP_TOO_LARGE;
}

static enum zmtp_verdict
see_greeting(struct zmtp *zmtp, uint8_t byte)
{
    uint64_t at = zmtp->greeting_seen++;
    if ((at == 0 && byte != 0xFF) || (at == 9 && (byte & 1) == 0) || (at == 10 && byte < 3)) {
        return ZMTP_FOREIGN;
    }
    zmtp->place = zmtp->greeting_seen == GREETING ? AT_FLAGS : IN_GREETING;
    return ZMTP_FINE;
}

static enum zmtp_verdict
see_head(struct zmtp *zmtp, uint8_t byte, int64_t now_ms)
{
    if (zmtp->place == AT_FLAGS) {
        zmtp->flags = byte;
        zmtp->size = 0;
        zmtp->size_left = (byte & LONG) != 0 ? 8 : 1;
        zmtp->place = IN_SIZE;
        bool is_broken = (byte & RESERVED) != 0 || (byte & (COMMAND | MORE)) == (COMMAND | MORE);
        return is_broken ? ZMTP_FOREIGN : ZMTP_FINE;
    }
    zmtp->size = zmtp->size << 8 | byte;
    if (--zmtp->size_left > 0) {
        return ZMTP_FINE;
    }
    enum zmtp_verdict verdict = begin_body(zmtp, now_ms);
    return verdict == ZMTP_FINE && zmtp->size == 0 ? end_frame(zmtp, now_ms) : verdict;
}

/* Takes what belongs to the body; how many bytes that were. */
static size_t
see_body(struct zmtp *zmtp, uint8_t *bytes, size_t size)
{
    uint64_t left = zmtp->size - zmtp->seen;
    size_t taken = size < left ? size : (size_t)left;
    if (zmtp->seen < sizeof zmtp->body) {
        size_t room = sizeof zmtp->body - (size_t)zmtp->seen;
        memcpy(zmtp->body + zmtp->seen, bytes, taken < room ? taken : room);
    }
    size_t name_end = sizeof "PING" - 1;
    if (zmtp->is_behind && zmtp->seen <= name_end && zmtp->seen + taken > name_end && is_command(zmtp, "PING")) {
        bytes[name_end - zmtp->seen] = '-';
    }
    zmtp->seen += taken;
    return taken;
}

/* Requests as nearly all of them are: short frames of messages that are here as a whole. How many bytes they were; the rest is for the
 * longer way. */
static size_t
see_whole_frames(struct zmtp *zmtp, const uint8_t *bytes, size_t size, int64_t now_ms)
{
    size_t at = 0;
    while (size - at >= 2 && bytes[at] <= MORE && size - at - 2 >= bytes[at + 1] && count_frame(zmtp, bytes[at + 1])) {
        zmtp->is_behind = true;
        if (bytes[at] == 0) {
            end_message(zmtp, now_ms);
        }
        at += 2U + bytes[at + 1];
    }
    return at;
}

enum zmtp_verdict
zmtp_see(struct zmtp *zmtp, uint8_t *bytes, size_t size, int64_t now_ms)
{
    enum zmtp_verdict verdict = ZMTP_FINE;
    zmtp->is_behind = false;
    bool is_plain = zmtp->is_ready && !zmtp->is_events && zmtp->place == AT_FLAGS;
    for (size_t at = is_plain ? see_whole_frames(zmtp, bytes, size, now_ms) : 0; at < size && verdict == ZMTP_FINE;) {
        switch (zmtp->place) {
        case IN_GREETING:
            verdict = see_greeting(zmtp, bytes[at++]);
            break;
        case AT_FLAGS:
        case IN_SIZE:
            verdict = see_head(zmtp, bytes[at++], now_ms);
            break;
        case IN_BODY:
            at += see_body(zmtp, bytes + at, size - at);
            verdict = zmtp->seen == zmtp->size ? end_frame(zmtp, now_ms) : ZMTP_FINE;
            break;
        }
    }
    return verdict;
}
