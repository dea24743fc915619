/* SPDX-License-Identifier: MPL-2.0 */
/* The body of one request: where it ends, and its bytes without what frames them. */
#ifndef LARDER_KIT_HTTP_BODY_H
#define LARDER_KIT_HTTP_BODY_H

#include "http_head.h"

struct http_body {
    struct http_head *head;
    struct wire_buffer *into; /* NULL: nobody wants them */
    size_t most;              /* so many bytes are kept; of more, none */
    uint64_t received;        /* bytes of the body */
    uint64_t framing;         /* and of chunks' lines and trailers */
    uint64_t left;            /* of the length or of the chunk; of trailers, what came */
    size_t ends;              /* of the CR LF behind a chunk */
    enum { HTTP_BODY_LENGTH, HTTP_BODY_LINE, HTTP_BODY_CHUNK, HTTP_BODY_TRAILER, HTTP_BODY_DONE } place;
    const char *refusal;
};

/* Begins behind a head that was read. A request without a body is whole at once. */
void
http_body_begin(struct http_body *body, struct http_head *head);

/* Takes as much of `bytes` as is of use and says how much that was. What is left is the beginning of a line whose end has not come,
 * to be given again with more behind it, or of the next request. HTTP_BAD: `refusal` says why. */
enum http_found
http_body_take(struct http_body *body, struct slice bytes, size_t *taken);

static inline bool
http_body_is_too_large(const struct http_body *body)
{
    return body->received > body->most;
}

/* What has come, with the whole of a chunk whose size was said. */
static inline uint64_t
http_body_comes_to(const struct http_body *body)
{
    uint64_t come = body->received + body->framing;
    uint64_t left = body->place == HTTP_BODY_CHUNK ? body->left : 0;
    return left > UINT64_MAX - come ? UINT64_MAX : come + left;
}

#endif
