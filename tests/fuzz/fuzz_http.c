/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A stream of bytes as a connection gets it, in pieces whose sizes the first bytes say. What is found in pieces must be what is found
 * at once, every request that is taken must be one that has been judged, and reading must go on or end: it never stands still with
 * bytes that it could take.
 */
#include <stdlib.h>
#include <string.h>

#include "kit/http/http_body.h"
#include "kit/http/http_head.h"

#define PIECES ((size_t)4)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* What a stream was found to be: requests, bytes of their bodies, where it ended and how. */
struct story {
    size_t requests;
    size_t used;
    enum http_found end;
    uint64_t sum;
};

static void
judge_head(const struct http_head *head)
{
    struct slice name;
    int port = 0;
    require(head->method.size > 0 && head->target.size > 0 && memchr(head->bytes.data, 0, head->bytes.size) == NULL);
    require(head->is_1_0 || http_split_host(head->host, &name, &port));
    require(!head->is_chunked || head->length == 0);
    for (size_t i = 0; i < head->count; i++) {
        struct slice value = head->headers[i].value;
        require(head->headers[i].name.size > 0 && (value.size == 0 || memchr(value.data, '\r', value.size) == NULL));
        require(value.size == 0 || (value.data >= head->bytes.data && value.data + value.size <= head->bytes.data + head->bytes.size));
    }
}

static void
add_body(struct story *story, const struct wire_buffer *body)
{
    for (size_t i = 0; i < body->size; i++) {
        story->sum = story->sum * 31 + body->data[i];
    }
}

/* One request out of `bytes`, of which more and more are there. */
static enum http_found
take_request(struct http_head *head, struct slice bytes, const uint8_t *steps, struct story *story)
{
    struct http_scan scan = {0};
    struct http_body body;
    struct wire_buffer kept = {0};
    size_t there = 0;
    size_t taken = 0;
    size_t step = 0;
    enum http_found found = HTTP_MORE;
    for (; found == HTTP_MORE && there < bytes.size; step++) {
        size_t more = steps[step % PIECES] + (size_t)1;
        there = bytes.size - there < more ? bytes.size : there + more;
        found = http_scan_head(&scan, bytes.data, there);
    }
    if (found != HTTP_WHOLE) {
        return found;
    }
    if (!http_head_read(head, (struct slice){bytes.data, scan.at})) {
        require(head->refusal != NULL && head->code != ERR_ok);
        return HTTP_BAD;
    }
    judge_head(head);
    http_body_begin(&body, head);
    body.into = &kept;
    body.most = SIZE_MAX;
    size_t at = scan.at;
    found = body.place == HTTP_BODY_DONE ? HTTP_WHOLE : HTTP_MORE;
    while (found == HTTP_MORE) {
        size_t before = at;
        found = http_body_take(&body, (struct slice){bytes.data + at, there - at}, &taken);
        require(taken <= there - at);
        at += taken;
        if (found == HTTP_MORE && there == bytes.size && at == before) {
            break;
        }
        size_t more = steps[step++ % PIECES] + (size_t)1;
        there = bytes.size - there < more ? bytes.size : there + more;
    }
    add_body(story, &kept);
    wire_buffer_fini(&kept);
    story->used += at;
    story->requests += found == HTTP_WHOLE ? 1 : 0;
    return found;
}

static struct story
tell(const uint8_t *data, size_t size, const uint8_t *steps)
{
    struct http_head head;
    struct story story = {0};
    http_head_init(&head);
    do {
        size_t before = story.used;
        story.end = take_request(&head, (struct slice){data + before, size - before}, steps, &story);
        require(story.end != HTTP_WHOLE || story.used > before);
    } while (story.end == HTTP_WHOLE && story.used < size);
    http_head_fini(&head);
    return story;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t at_once[PIECES] = {255, 255, 255, 255};
    if (size <= PIECES) {
        return 0;
    }
    struct story pieces = tell(data + PIECES, size - PIECES, data);
    struct story whole = tell(data + PIECES, size - PIECES, at_once);
    require(pieces.requests == whole.requests && pieces.end == whole.end);
    require(pieces.end == HTTP_BAD || (pieces.used == whole.used && pieces.sum == whole.sum));
    return 0;
}
