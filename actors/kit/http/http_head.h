/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The head of an HTTP/1 request: found in a stream of bytes, judged, and what it says. Heads that two readers could take for two
 * different requests are refused, not mended.
 */
#ifndef LARDER_KIT_HTTP_HEAD_H
#define LARDER_KIT_HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "wire.h"

#define HTTP_HEAD_MAX ((size_t)8192)

struct llhttp__internal_s; /* the parser, of llhttp.h */

enum http_found { HTTP_MORE, HTTP_WHOLE, HTTP_BAD };

/* Where a head ends, looked for byte by byte as they come. Zero-initialise it for each head. */
struct http_scan {
    size_t at; /* so far, from the head's first byte; of a whole head its size */
    enum { HTTP_AT_START, HTTP_AT_LINE, HTTP_AT_BEGIN, HTTP_AT_NAME, HTTP_AT_VALUE } place;
    bool has_cr;
    err code; /* of a bad one */
    const char *refusal;
};

struct http_header {
    struct slice name;
    struct slice value; /* without the blanks around it */
};

/* What a head says. The slices point into `bytes`, so they live until the next head is read. */
struct http_head {
    struct llhttp__internal_s *parser;
    struct wire_buffer bytes;
    struct http_header *headers;
    size_t count;
    size_t room;
    struct slice method;
    struct slice target; /* as it stands in the first line */
    struct slice path;   /* the target without scheme and authority; empty, or from its first slash or question mark */
    struct slice host;   /* of the address, else of the one Host header, valid; empty when HTTP/1.0 came without */
    uint64_t length;     /* of the body, when it is not chunked */
    bool is_chunked;
    bool is_1_0;
    bool is_head; /* the method is HEAD: its answer has no body */
    bool keeps_alive;
    bool expects_continue;
    err code;
    const char *refusal; /* NULL for a good one */

    /* what http_head_feed() has found behind the head */
    bool is_name_open;
    bool is_read;        /* the head itself is */
    bool is_chunk_begun; /* the line of a chunk's size was read: `chunk` bytes follow */
    bool is_chunk_ended;
    bool is_complete; /* the whole message was read */
    uint64_t chunk;
    struct slice piece; /* of the body */
};

/* Looks on in the first `size` bytes of a head, of which the first scan->at were looked at before. Characters that may not stand in
 * a head, folded lines and heads over HTTP_HEAD_MAX are found as soon as they are there. */
enum http_found
http_scan_head(struct http_scan *scan, const uint8_t *bytes, size_t size);

/* Whether these bytes, with their CR LF, are a line of a chunked body's trailer that may be read over: a header line without
 * control characters, and not one that says how to read the message or who asks. */
bool
http_scan_trailer(struct slice line);

void
http_head_init(struct http_head *head);

/* Copies and reads a whole head. False: `code` and `refusal` say why it is not to be served. */
bool
http_head_read(struct http_head *head, struct slice bytes);

/* Says nothing but whether `bytes`, the beginning of a head that is wrong, are of a HEAD request; the slices of the one before are
 * gone. */
void
http_head_spoil(struct http_head *head, struct slice bytes);

/* Gives the parser bytes of the body: of one chunk, one line or the whole, never more than belongs to this message. False: they are
 * not what the head has promised. */
bool
http_head_feed(struct http_head *head, struct slice bytes);

static inline bool
http_head_has_body(const struct http_head *head)
{
    return head->is_chunked || head->length > 0;
}

/* Whether two texts are the same but for the case of ASCII letters. */
bool
http_same(struct slice text, const char *word);

/* Splits "name", "name:port" or "[v6]:port" into name (without brackets) and port, 0 for none. False: it cannot be one. */
bool
http_split_host(struct slice text, struct slice *name, int *port);

void
http_head_fini(struct http_head *head);

#endif
