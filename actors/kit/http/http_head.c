/* SPDX-License-Identifier: MPL-2.0 */
/*
 * http_head: the head of a request
 *
 * PURPOSE
 *   llhttp (Debian's 8.1.0, its strict build) reads a head that is whole. Before that each byte is looked at, and after that what
 *   frames the message, because llhttp alone is not strict enough behind a proxy: of the 200 framings that tests/flow/test_framing.py
 *   has refused it takes 81, such as folded lines, empty names, a LF alone behind the first line, any Host and several of them.
 *
 * STATE
 *   A copy of the head, and slices into it. Both grow to what was needed once and are kept.
 *
 * FAILURES
 *   The first thing that is wrong is kept as `code` and a sentence. After any of it the connection must end, as nobody knows where the
 *   next request begins.
 *
 * LIMITS
 *   HTTP_HEAD_MAX bytes, however many headers. HTTP/1.0 and 1.1. Of the transfer codings only chunked.
 */
#include "http_head.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <llhttp.h>

#include "kit/base/memory.h"

#define LINE_ENDS 2 /* CR LF */
#define HOST_MAX 255

/* --- bytes --- */

enum { IN_NAME = 1, IN_LINE = 2, IN_VALUE = 4, IN_HOST = 8 };

/* Where a byte may stand: a token of RFC 9110, the first line, a header's value, a name in Host. */
static uint8_t
kind_of(uint8_t byte)
{
    bool is_alphanumeric = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    if (is_alphanumeric || byte == '-' || byte == '.' || byte == '_') {
        return IN_NAME | IN_LINE | IN_VALUE | IN_HOST;
    }
    if (byte > 0x20 && byte < 0x7f) {
        return (strchr("!#$%&'*+^`|~", byte) != NULL ? IN_NAME : 0) | IN_LINE | IN_VALUE;
    }
    return byte == ' ' ? IN_LINE | IN_VALUE : byte == '\t' || byte >= 0x80 ? IN_VALUE : 0;
}

static uint8_t kinds[256];

__attribute__((constructor)) static void
fill_kinds(void)
{
    for (int byte = 0; byte < 256; byte++) {
        kinds[byte] = kind_of((uint8_t)byte);
    }
}

static bool
is_all(struct slice text, uint8_t kind)
{
    for (size_t i = 0; i < text.size; i++) {
        if ((kinds[text.data[i]] & kind) == 0) {
            return false;
        }
    }
    return text.size > 0;
}

static bool
is_number(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
    }
    return text.size > 0;
}

bool
http_same(struct slice text, const char *word)
{
    return text.size == strlen(word) && strncasecmp((const char *)text.data, word, text.size) == 0;
}

static struct slice
trimmed(struct slice text)
{
    while (text.size > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text = (struct slice){text.data + 1, text.size - 1};
    }
    while (text.size > 0 && (text.data[text.size - 1] == ' ' || text.data[text.size - 1] == '\t')) {
        text.size--;
    }
    return text;
}

/* --- finding the end of a head --- */

static enum http_found
bad(struct http_scan *scan, const char *refusal)
{
    scan->code = ERR_malformed;
    scan->refusal = refusal;
    return HTTP_BAD;
}

/* A CR LF has been read. One empty line before the first one is what old clients leave behind a body. */
static enum http_found
end_line(struct http_scan *scan)
{
    scan->has_cr = false;
    switch (scan->place) {
    case HTTP_AT_START:
        if (scan->at > LINE_ENDS) {
            return bad(scan, "the request begins with empty lines");
        }
        break;
    case HTTP_AT_LINE:
    case HTTP_AT_VALUE:
        scan->place = HTTP_AT_BEGIN;
        break;
    case HTTP_AT_BEGIN:
        return HTTP_WHOLE;
    case HTTP_AT_NAME:
        return bad(scan, "a header line has no colon");
    }
    return HTTP_MORE;
}

/* Any byte but CR and LF. */
static enum http_found
take_byte(struct http_scan *scan, uint8_t byte)
{
    if (byte == 0) {
        return bad(scan, "there is a NUL in the head");
    }
    switch (scan->place) {
    case HTTP_AT_START:
        scan->place = HTTP_AT_LINE;
        return (kinds[byte] & IN_NAME) != 0 ? HTTP_MORE : bad(scan, "the request does not begin with a method");
    case HTTP_AT_LINE:
        return (kinds[byte] & IN_LINE) != 0 ? HTTP_MORE : bad(scan, "a character stands in the first line that may not be there");
    case HTTP_AT_BEGIN:
        if (byte == ' ' || byte == '\t') {
            return bad(scan, "a header line is folded");
        }
        scan->place = HTTP_AT_NAME;
        return (kinds[byte] & IN_NAME) != 0 ? HTTP_MORE : bad(scan, "a header has no name, or one that cannot be");
    case HTTP_AT_NAME:
        if (byte == ':') {
            scan->place = HTTP_AT_VALUE;
            return HTTP_MORE;
        }
        return (kinds[byte] & IN_NAME) != 0 ? HTTP_MORE : bad(scan, "a character stands in a header's name that may not be there");
    case HTTP_AT_VALUE:
        return (kinds[byte] & IN_VALUE) != 0 ? HTTP_MORE : bad(scan, "a control character stands in a header");
    }
    return HTTP_BAD;
}

enum http_found
http_scan_head(struct http_scan *scan, const uint8_t *bytes, size_t size)
{
    size_t limit = size < HTTP_HEAD_MAX ? size : HTTP_HEAD_MAX;
    while (scan->at < limit) {
        uint8_t byte = bytes[scan->at++];
        enum http_found found = HTTP_MORE;
        if (byte == '\n') {
            found = scan->has_cr ? end_line(scan) : bad(scan, "a line ends without CR");
        } else if (scan->has_cr) {
            found = bad(scan, "a CR stands within a line");
        } else if (byte == '\r') {
            scan->has_cr = true;
        } else {
            found = take_byte(scan, byte);
        }
        if (found != HTTP_MORE) {
            return found;
        }
        if (scan->place == HTTP_AT_VALUE && !scan->has_cr) {
            while (scan->at < limit && (kinds[bytes[scan->at]] & IN_VALUE) != 0) {
                scan->at++;
            }
        }
    }
    if (size < HTTP_HEAD_MAX) {
        return HTTP_MORE;
    }
    scan->code = ERR_header_too_large;
    scan->refusal = "the head of a request may have 8 KiB";
    return HTTP_BAD;
}

/* --- judging --- */

static void
refuse(struct http_head *head, err code, const char *refusal)
{
    if (head->refusal == NULL) {
        head->code = code;
        head->refusal = refusal;
    }
}

/* Between the name and the line's end stands the value, with at most the one blank before it that everybody writes. */
static bool
is_plain(const struct http_header *header)
{
    const uint8_t *colon = header->name.data + header->name.size;
    const uint8_t *value = header->value.data;
    return value != NULL && value[header->value.size] == '\r' && (value == colon + 1 || (value == colon + 2 && colon[1] == ' '));
}

static void
read_length(struct http_head *head, const struct http_header *header)
{
    struct slice value = header->value;
    uint64_t length = 0;
    bool is_good = is_plain(header) && is_number(value);
    for (size_t i = 0; is_good && i < value.size; i++) {
        uint64_t digit = (uint64_t)(value.data[i] - '0');
        is_good = length <= (UINT64_MAX - digit) / 10;
        length = length * 10 + digit;
    }
    if (!is_good) {
        refuse(head, ERR_malformed, "Content-Length: must be digits, and a number below 2^64");
        return;
    }
    head->length = length;
}

static bool
is_known_coding(struct slice coding)
{
    static const char *const known[] = {"gzip", "x-gzip", "compress", "x-compress", "deflate"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (http_same(coding, known[i])) {
            return true;
        }
    }
    return false;
}

/* A coding that somebody else may speak is 501: one word, or codings that are known with chunked behind them. */
static bool
is_other_coding(struct slice value)
{
    if (is_all(value, IN_NAME) && !http_same(value, "identity")) {
        return true;
    }
    while (value.size > 0) {
        const uint8_t *comma = memchr(value.data, ',', value.size);
        size_t size = comma != NULL ? (size_t)(comma - value.data) : value.size;
        struct slice coding = trimmed((struct slice){value.data, size});
        if (comma == NULL) {
            return http_same(coding, "chunked") || is_known_coding(coding);
        }
        if (!is_known_coding(coding)) {
            return false;
        }
        value = (struct slice){comma + 1, value.size - size - 1};
    }
    return false;
}

static void
read_encoding(struct http_head *head, const struct http_header *header)
{
    if (!http_same(header->value, "chunked")) {
        refuse(head, is_other_coding(header->value) ? ERR_not_implemented : ERR_malformed,
               "Transfer-Encoding: only chunked is spoken here");
    } else if (!is_plain(header)) {
        refuse(head, ERR_malformed, "Transfer-Encoding: has blanks that do not belong there");
    }
    head->is_chunked = true;
}

/* Any IPv6 address in brackets, else what a name or an IPv4 address is made of. */
bool
http_split_host(struct slice text, struct slice *name, int *port)
{
    char literal[INET6_ADDRSTRLEN];
    uint8_t address[16];
    const uint8_t *end = text.data + text.size;
    const uint8_t *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    *port = 0;
    if (text.size > 0 && text.data[0] == '[') {
        const uint8_t *bracket = memchr(text.data, ']', text.size);
        if (bracket == NULL || (size_t)(bracket - text.data) > sizeof literal) {
            return false;
        }
        *name = (struct slice){text.data + 1, (size_t)(bracket - text.data) - 1};
        memcpy(literal, name->data, name->size);
        literal[name->size] = 0;
        if (inet_pton(AF_INET6, literal, address) != 1) {
            return false;
        }
        colon = bracket + 1 < end ? bracket + 1 : NULL;
        if (colon != NULL && *colon != ':') {
            return false;
        }
    } else {
        *name = (struct slice){text.data, colon != NULL ? (size_t)(colon - text.data) : text.size};
        if (!is_all(*name, IN_HOST) || name->size > HOST_MAX || name->data[0] == '.') {
            return false;
        }
    }
    if (colon == NULL) {
        return true;
    }
    struct slice digits = {colon + 1, (size_t)(end - colon) - 1};
    if (!is_number(digits) || digits.size > 5) {
        return false;
    }
    for (size_t i = 0; i < digits.size; i++) {
        *port = *port * 10 + (digits.data[i] - '0');
    }
    return *port > 0 && *port <= 65535;
}

/* `other` is an authority of the same scheme: the same name, and the same port where the scheme's own may be left out. */
static bool
is_same_authority(struct slice one, struct slice other, int own_port)
{
    struct slice name;
    struct slice other_name;
    int port = 0;
    int other_port = 0;
    if (!http_split_host(one, &name, &port) || !http_split_host(other, &other_name, &other_port)) {
        return false;
    }
    return name.size == other_name.size && strncasecmp((const char *)name.data, (const char *)other_name.data, name.size) == 0 &&
           (port == 0 ? own_port : port) == (other_port == 0 ? own_port : other_port);
}

/* --- the first line --- */

static bool
begins_with(struct slice text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && strncasecmp((const char *)text.data, word, size) == 0;
}

/* METHOD SP TARGET SP VERSION, with one blank each. llhttp knows the methods; a well-formed one that it does not know is no error of
 * the message. */
static void
judge_version(struct http_head *head, struct slice version)
{
    bool is_formed = version.size == 8 && memcmp(version.data, "HTTP/", 5) == 0 && version.data[5] >= '0' && version.data[5] <= '9' &&
                     version.data[6] == '.' && version.data[7] >= '0' && version.data[7] <= '9';
    head->is_1_0 = is_formed && version.data[5] == '1' && version.data[7] == '0';
    if (!is_formed || version.data[5] < '1' || (version.data[5] == '1' && version.data[7] > '1')) {
        refuse(head, ERR_malformed, "only versions 1.0 and 1.1 are spoken here");
    } else if (version.data[5] > '1') {
        refuse(head, ERR_version_not_supported, "only versions 1.0 and 1.1 are spoken here");
    }
}

static void
judge_line(struct http_head *head)
{
    const uint8_t *end = memchr(head->bytes.data, '\r', head->bytes.size);
    const uint8_t *first = memchr(head->bytes.data, ' ', (size_t)(end - head->bytes.data));
    const uint8_t *second = first != NULL ? memchr(first + 1, ' ', (size_t)(end - first) - 1) : NULL;
    if (second == NULL || second == first + 1 || memchr(second + 1, ' ', (size_t)(end - second) - 1) != NULL) {
        refuse(head, ERR_malformed, "the first line is not METHOD, address and version with one blank between them");
        return;
    }
    head->method = (struct slice){head->bytes.data, (size_t)(first - head->bytes.data)};
    head->target = (struct slice){first + 1, (size_t)(second - first) - 1};
    if (!is_all(head->method, IN_NAME)) {
        refuse(head, ERR_malformed, "the method is none");
    }
    judge_version(head, (struct slice){second + 1, (size_t)(end - second) - 1});
}

/* Absolute, beginning with a slash, or the * of OPTIONS. What CONNECT asks for is nothing that is done here. */
static void
judge_target(struct http_head *head)
{
    struct slice target = head->target;
    bool is_plain = begins_with(target, "http://");
    bool is_absolute = is_plain || begins_with(target, "https://");
    bool is_star = slice_equal(target, slice_of("*")) && slice_equal(head->method, slice_of("OPTIONS"));
    head->path = target;
    if (slice_equal(head->method, slice_of("CONNECT")) || memchr(target.data, '#', target.size) != NULL ||
        (!is_absolute && !is_star && target.data[0] != '/')) {
        refuse(head, ERR_malformed, "the address is none that is served here");
    } else if (is_absolute) {
        size_t from = is_plain ? 7 : 8;
        size_t at = from;
        while (at < target.size && target.data[at] != '/' && target.data[at] != '?') {
            at++;
        }
        head->path = (struct slice){target.data + at, target.size - at};
        struct slice authority = {target.data + from, at - from};
        if (!is_same_authority(authority, head->host.size > 0 ? head->host : authority, is_plain ? 80 : 443)) {
            refuse(head, ERR_malformed, "the address names another host than Host does");
        }
        head->host = authority; /* 1.0 may come without Host */
    }
}

/* --- headers --- */

static bool
frames(struct slice name)
{
    return http_same(name, "Host") || http_same(name, "Content-Length") || http_same(name, "Transfer-Encoding");
}

static void
judge_headers(struct http_head *head)
{
    int hosts = 0;
    int lengths = 0;
    int encodings = 0;
    for (size_t i = 0; i < head->count; i++) {
        struct http_header *header = &head->headers[i];
        struct slice name;
        int port = 0;
        header->value = trimmed(header->value);
        if (http_same(header->name, "Host")) {
            hosts++;
            head->host = header->value;
            if (!http_split_host(header->value, &name, &port)) {
                refuse(head, ERR_malformed, "Host: is not a name or address with or without a port");
            }
        } else if (http_same(header->name, "Content-Length")) {
            lengths++;
            read_length(head, header);
        } else if (http_same(header->name, "Transfer-Encoding")) {
            encodings++;
            read_encoding(head, header);
        } else if (http_same(header->name, "Expect")) {
            head->expects_continue = head->expects_continue || http_same(header->value, "100-continue");
        }
    }
    if (hosts > 1 || (hosts == 0 && head->is_read && !head->is_1_0)) {
        refuse(head, ERR_malformed, "Host: must come once");
    }
    if (lengths > 1 || encodings > 1 || lengths + encodings > 1) {
        refuse(head, ERR_malformed, "the length of the body is given twice");
    }
    if (encodings > 0 && head->is_1_0) {
        refuse(head, ERR_malformed, "Transfer-Encoding: is not of version 1.0");
    }
}

/* Besides what frames: what somebody before or behind, who puts trailers to the headers, would take for the request's own. */
static bool
is_of_head(struct slice name)
{
    static const char *const names[] = {"Authorization",
                                        "Connection",
                                        "Content-Encoding",
                                        "Content-Type",
                                        "Cookie",
                                        "Expect",
                                        "Forwarded",
                                        "Idempotency-Key",
                                        "If-Match",
                                        "If-None-Match",
                                        "Order-Secret",
                                        "Origin",
                                        "Prefer",
                                        "Sec-Fetch-Site",
                                        "Trailer",
                                        "Upgrade",
                                        "webhook-id",
                                        "TE",
                                        "webhook-signature",
                                        "webhook-timestamp"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (http_same(name, names[i])) {
            return true;
        }
    }
    return frames(name);
}

bool
http_scan_trailer(struct slice line)
{
    const uint8_t *colon = memchr(line.data, ':', line.size);
    struct slice name = {line.data, colon != NULL ? (size_t)(colon - line.data) : 0};
    return is_all(name, IN_NAME) && !is_of_head(name) &&
           (line.size - name.size == 1 + LINE_ENDS ||
            is_all((struct slice){colon + 1, line.size - name.size - 1 - LINE_ENDS}, IN_VALUE));
}

/* --- the parser --- */

/* llhttp may tell one text in pieces; they lie side by side. */
static void
join(struct slice *text, const char *at, size_t size)
{
    if (text->data == NULL) {
        text->data = (const uint8_t *)at;
    }
    text->size = (size_t)((const uint8_t *)at + size - text->data);
}

static int
on_name(llhttp_t *parser, const char *at, size_t size)
{
    struct http_head *head = parser->data;
    if (head->is_read) {
        return 0;
    }
    head->headers = memory_grow(head->headers, &head->room, head->count + 1, sizeof *head->headers);
    if (!head->is_name_open) {
        head->headers[head->count++] = (struct http_header){{NULL, 0}, {NULL, 0}};
        head->is_name_open = true;
    }
    join(&head->headers[head->count - 1].name, at, size);
    return 0;
}

static int
on_name_complete(llhttp_t *parser)
{
    struct http_head *head = parser->data;
    head->is_name_open = false;
    return 0;
}

static int
on_value(llhttp_t *parser, const char *at, size_t size)
{
    struct http_head *head = parser->data;
    if (head->is_read) {
        return 0;
    }
    join(&head->headers[head->count - 1].value, at, size);
    return 0;
}

/* Nobody is upgraded here: without this, llhttp would take what follows for another protocol's. */
static int
on_headers_complete(llhttp_t *parser)
{
    struct http_head *head = parser->data;
    parser->upgrade = 0;
    head->is_read = true;
    head->keeps_alive = llhttp_should_keep_alive(parser) != 0 && (parser->flags & F_CONNECTION_CLOSE) == 0;
    return 0;
}

static int
on_body(llhttp_t *parser, const char *at, size_t size)
{
    struct http_head *head = parser->data;
    join(&head->piece, at, size);
    return 0;
}

static int
on_chunk_begun(llhttp_t *parser)
{
    struct http_head *head = parser->data;
    head->is_chunk_begun = true;
    head->chunk = parser->content_length;
    return 0;
}

static int
on_chunk_ended(llhttp_t *parser)
{
    struct http_head *head = parser->data;
    head->is_chunk_ended = true;
    return 0;
}

static int
on_complete(llhttp_t *parser)
{
    struct http_head *head = parser->data;
    head->is_complete = true;
    return 0;
}

static const llhttp_settings_t parser_settings = {
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_chunk_header = on_chunk_begun,
    .on_chunk_complete = on_chunk_ended,
    .on_message_complete = on_complete,
};

void
http_head_init(struct http_head *head)
{
    *head = (struct http_head){0};
    head->parser = memory_new(1, sizeof *head->parser);
}

static struct slice
without_empty_line(struct slice bytes)
{
    bool has_one = bytes.size >= LINE_ENDS && bytes.data[0] == '\r' && bytes.data[1] == '\n';
    return has_one ? (struct slice){bytes.data + LINE_ENDS, bytes.size - LINE_ENDS} : bytes;
}

void
http_head_spoil(struct http_head *head, struct slice bytes)
{
    struct http_head kept = *head;
    *head = (struct http_head){.parser = kept.parser, .bytes = kept.bytes, .headers = kept.headers, .room = kept.room};
    head->bytes.size = 0;
    bytes = without_empty_line(bytes);
    head->is_head = bytes.size >= 5 && memcmp(bytes.data, "HEAD ", 5) == 0;
}

static void
begin(struct http_head *head, struct slice bytes)
{
    http_head_spoil(head, bytes);
    bytes = without_empty_line(bytes);
    wire_buffer_append(&head->bytes, bytes.data, bytes.size);
}

static void
parse(struct http_head *head)
{
    /* llhttp only reads its settings; its parameter is not const. */
    union {
        const llhttp_settings_t *given;
        llhttp_settings_t *taken;
    } settings = {.given = &parser_settings};
    llhttp_init(head->parser, HTTP_REQUEST, settings.taken);
    head->parser->data = head;
    enum llhttp_errno failed = llhttp_execute(head->parser, (const char *)head->bytes.data, head->bytes.size);
    if (failed == HPE_INVALID_METHOD) {
        refuse(head, ERR_not_implemented, "no address takes this method");
    } else if (failed != HPE_OK) {
        refuse(head, ERR_malformed, "the head of the request cannot be read");
    }
}

bool
http_head_feed(struct http_head *head, struct slice bytes)
{
    head->is_chunk_begun = false;
    head->is_chunk_ended = false;
    head->piece = (struct slice){NULL, 0};
    return llhttp_execute(head->parser, (const char *)bytes.data, bytes.size) == HPE_OK;
}

bool
http_head_read(struct http_head *head, struct slice bytes)
{
    begin(head, bytes);
    judge_line(head);
    if (head->refusal == NULL) {
        parse(head);
        err parsed = head->code;
        const char *words = head->refusal;
        head->refusal = NULL;
        judge_headers(head);
        if (head->refusal == NULL) {
            judge_target(head);
        }
        /* what was found by name says more than the parser, which has only seen that something is wrong */
        if (words != NULL) {
            refuse(head, parsed, words);
        }
    }
    return head->refusal == NULL;
}

void
http_head_fini(struct http_head *head)
{
    free(head->parser);
    free(head->headers);
    wire_buffer_fini(&head->bytes);
    *head = (struct http_head){0};
}
