/* SPDX-License-Identifier: MPL-2.0 */
/*
 * http_body: the bytes behind a head
 *
 * PURPOSE
 *   llhttp reads the body; it is given one length, one chunk or one line at a time, so that where a message ends is known to the byte
 *   and lines are looked at before it sees them: it would take blanks and anything behind a chunk's size, of any length.
 *
 * FAILURES
 *   A chunk's line or a trailer that is not as it must be ends the connection, as nobody knows where the next request begins.
 *
 * LIMITS
 *   LINE_MAX_BYTES per line of a chunk's size, extensions with it; TRAILERS_MAX for all trailers, which are read over.
 */
#include "http_body.h"

#include <string.h>

#define LINE_MAX_BYTES ((size_t)256)
#define TRAILERS_MAX ((uint64_t)8192)
#define SIZE_DIGITS_MAX ((size_t)16)
#define LINE_ENDS 2 /* CR LF */

void
http_body_begin(struct http_body *body, struct http_head *head)
{
    *body = (struct http_body){.head = head, .left = head->length, .place = HTTP_BODY_LENGTH};
    if (head->is_complete) {
        body->place = HTTP_BODY_DONE;
    } else if (head->is_chunked) {
        body->place = HTTP_BODY_LINE;
    }
}

static enum http_found
bad(struct http_body *body, const char *refusal)
{
    body->refusal = refusal;
    return HTTP_BAD;
}

/* The next line with its CR LF. HTTP_MORE: its end has not come yet. */
static enum http_found
next_line(struct http_body *body, struct slice bytes, size_t most, struct slice *line)
{
    size_t size = bytes.size < most ? bytes.size : most;
    const uint8_t *end = size > 0 ? memchr(bytes.data, '\n', size) : NULL;
    if (end == NULL) {
        return size < most ? HTTP_MORE : bad(body, "a line that frames the body is too long");
    }
    *line = (struct slice){bytes.data, (size_t)(end - bytes.data) + 1};
    if (line->size < LINE_ENDS || end[-1] != '\r') {
        return bad(body, "a line that frames the body ends without CR");
    }
    return HTTP_WHOLE;
}

static bool
is_hex(uint8_t byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
}

/* A size is hexadecimal digits, and extensions are behind a semicolon, without blanks or control characters. */
static bool
is_size_line(struct slice line)
{
    size_t at = 0;
    size_t end = line.size - LINE_ENDS;
    while (at < end && is_hex(line.data[at])) {
        at++;
    }
    if (at == 0 || at > SIZE_DIGITS_MAX || (at < end && line.data[at] != ';')) {
        return false;
    }
    while (at < end && line.data[at] > ' ' && line.data[at] < 0x7f) {
        at++;
    }
    return at == end;
}

static bool
feed(struct http_body *body, struct slice bytes, size_t *taken)
{
    *taken += bytes.size;
    return http_head_feed(body->head, bytes);
}

static enum http_found
take_line(struct http_body *body, struct slice bytes, size_t *taken)
{
    struct slice line;
    bool is_trailer = body->place == HTTP_BODY_TRAILER;
    enum http_found found = next_line(body, bytes, is_trailer ? TRAILERS_MAX : LINE_MAX_BYTES, &line);
    if (found != HTTP_WHOLE) {
        return found;
    }
    body->framing += line.size;
    if (is_trailer ? line.size > LINE_ENDS && !http_scan_trailer(line) : !is_size_line(line)) {
        return bad(body, is_trailer ? "a trailer is not as it must be" : "the size of a chunk is not as it must be");
    }
    if (is_trailer) {
        body->left += line.size;
    }
    if (body->left > TRAILERS_MAX && is_trailer) {
        return bad(body, "there is too much behind the body");
    }
    if (!feed(body, line, taken) || (!is_trailer && !body->head->is_chunk_begun)) {
        return bad(body, "the body is not as its head says");
    }
    if (!is_trailer) {
        body->left = body->head->chunk;
        body->ends = LINE_ENDS;
        body->place = body->left > 0 ? HTTP_BODY_CHUNK : HTTP_BODY_TRAILER;
    }
    return HTTP_MORE;
}

static void
keep(struct http_body *body)
{
    struct slice piece = body->head->piece;
    body->received += piece.size;
    if (body->into == NULL) {
        return;
    }
    if (body->received > body->most) {
        body->into->size = 0;
    } else if (piece.size > 0) {
        wire_buffer_append(body->into, piece.data, piece.size);
    }
}

/* The CR LF behind a chunk belongs to it. */
static enum http_found
take_bytes(struct http_body *body, struct slice bytes, size_t *taken)
{
    bool is_chunk = body->place == HTTP_BODY_CHUNK;
    struct slice given = bytes;
    if (given.size > body->left) {
        given.size = (size_t)body->left;
    }
    size_t behind = is_chunk && given.size == body->left ? bytes.size - given.size : 0;
    behind = behind < body->ends ? behind : body->ends;
    given.size += behind;
    body->ends -= behind;
    if (!feed(body, given, taken)) {
        return bad(body, "the body is not as its head says");
    }
    keep(body);
    body->left -= body->head->piece.size;
    body->framing += given.size - body->head->piece.size;
    if (is_chunk && body->head->is_chunk_ended) {
        body->place = HTTP_BODY_LINE;
    }
    return HTTP_MORE;
}

enum http_found
http_body_take(struct http_body *body, struct slice bytes, size_t *taken)
{
    enum http_found found = HTTP_MORE;
    *taken = 0;
    while (body->place != HTTP_BODY_DONE && *taken < bytes.size) {
        size_t before = *taken;
        struct slice rest = {bytes.data + before, bytes.size - before};
        bool is_line = body->place == HTTP_BODY_LINE || body->place == HTTP_BODY_TRAILER;
        found = is_line ? take_line(body, rest, taken) : take_bytes(body, rest, taken);
        if (body->head->is_complete) {
            body->place = HTTP_BODY_DONE;
        }
        if (found == HTTP_BAD || *taken == before) {
            return found;
        }
    }
    return body->place == HTTP_BODY_DONE ? HTTP_WHOLE : HTTP_MORE;
}
