/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Reads the headers that the gateway looks at, and refuses what libmicrohttpd accepts but a proxy in front might read in
 *           another way: two lengths, two hosts, a length beside an encoding, a blank before the colon.
 * FAILURES  A refused head ends its connection: where the next request begins is not certain.
 * LIMITS    Only Transfer-Encoding: chunked, only HTTP/1.0 and 1.1.
 */
#include "head_scan.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "prefer.h"

static bool
is_named(const char *key, size_t size, const char *name)
{
    return size == strlen(name) && strncasecmp(key, name, size) == 0;
}

void
head_scan_refuse(struct head_scan *scan, err code, const char *refusal)
{
    if (scan->refusal != NULL) {
        return;
    }
    scan->code = code;
    scan->refusal = refusal;
}

/* Those of which a second one would be a second meaning. */
static void
keep_single(struct head_scan *scan, unsigned bit, struct slice value, struct slice *kept)
{
    if (scan->seen >> bit & 1U) {
        head_scan_refuse(scan, ERR_malformed, "a header comes twice that may come once");
    }
    scan->seen |= 1U << bit;
    *kept = value;
}

static void
scan_framing(struct head_scan *scan, const char *key, size_t key_size, struct slice value)
{
    if (is_named(key, key_size, "Host")) {
        scan->hosts++;
    } else if (is_named(key, key_size, "Content-Length")) {
        scan->lengths++;
        scan->length = value.size > 0 ? strtoull((const char *)value.data, NULL, 10) : 0;
        scan->has_body = scan->has_body || scan->length > 0;
    } else if (is_named(key, key_size, "Transfer-Encoding")) {
        scan->encodings++;
        scan->has_body = true;
        if (!is_named((const char *)value.data, value.size, "chunked")) {
            head_scan_refuse(scan, ERR_not_implemented, "Transfer-Encoding: only chunked is spoken here");
        }
    } else if (is_named(key, key_size, "Expect")) {
        scan->expects = true;
    }
}

/* Several are no error of the message but a token that cannot be known, so they are counted. */
static void
scan_authorization(struct head_scan *scan, const char *key, size_t key_size, struct slice value)
{
    if (is_named(key, key_size, "Authorization")) {
        scan->head->authorization = value;
        scan->head->authorizations++;
    }
}

static void
scan_webhook(struct head_scan *scan, const char *key, size_t key_size, struct slice value)
{
    if (is_named(key, key_size, "webhook-id")) {
        keep_single(scan, 4, value, &scan->head->webhook_id);
    } else if (is_named(key, key_size, "webhook-timestamp")) {
        keep_single(scan, 5, value, &scan->head->webhook_timestamp);
    } else if (is_named(key, key_size, "webhook-signature")) {
        keep_single(scan, 6, value, &scan->head->webhook_signature);
    }
}

static void
scan_secret(struct head_scan *scan, const char *key, size_t key_size, struct slice value)
{
    if (is_named(key, key_size, "Order-Secret")) {
        keep_single(scan, 7, value, &scan->head->secret);
    }
}

static enum MHD_Result
on_header(void *context, enum MHD_ValueKind kind, const char *key, size_t key_size, const char *text, size_t size)
{
    struct head_scan *scan = context;
    struct slice value = {(const uint8_t *)text, text != NULL ? size : 0};
    (void)kind;
    if (key_size == 0 || key[key_size - 1] == ' ' || key[key_size - 1] == '\t') {
        head_scan_refuse(scan, ERR_malformed, "a blank stands between a header's name and its colon");
    }
    if (is_named(key, key_size, "Content-Type")) {
        keep_single(scan, 0, value, &scan->content_type);
    } else if (is_named(key, key_size, "Idempotency-Key")) {
        scan->head->has_key = true;
        keep_single(scan, 1, value, &scan->head->key);
    } else if (is_named(key, key_size, "If-Match")) {
        scan->head->has_if_match = true;
        keep_single(scan, 2, value, &scan->head->if_match);
    } else if (is_named(key, key_size, "If-None-Match")) {
        scan->head->has_if_none_match = true;
        keep_single(scan, 3, value, &scan->head->if_none_match);
    } else if (is_named(key, key_size, "traceparent")) {
        scan->head->traceparent = value;
    } else if (is_named(key, key_size, "Prefer")) {
        scan->head->prefers_async = scan->head->prefers_async || prefer_is_async(value);
    } else {
        scan_framing(scan, key, key_size, value);
        scan_authorization(scan, key, key_size, value);
        scan_webhook(scan, key, key_size, value);
        scan_secret(scan, key, key_size, value);
    }
    return MHD_YES;
}

static void
judge_framing(struct head_scan *scan, const char *version)
{
    bool is_1_0 = strcmp(version, "HTTP/1.0") == 0;
    if (!is_1_0 && strcmp(version, "HTTP/1.1") != 0) {
        head_scan_refuse(scan, ERR_malformed, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    if (scan->hosts > 1 || (scan->hosts == 0 && !is_1_0)) {
        head_scan_refuse(scan, ERR_malformed, "Host: must come once");
    }
    if (scan->lengths > 1 || scan->encodings > 1 || (scan->lengths > 0 && scan->encodings > 0)) {
        head_scan_refuse(scan, ERR_malformed, "the length of the body is given twice");
    }
}

bool
head_scan_is_json(const struct head_scan *scan)
{
    struct slice type = scan->content_type;
    static const char *const taken[] = {"application/json", "application/x-www-form-urlencoded"};
    size_t size = 0;
    while (size < type.size && type.data[size] != ';' && type.data[size] != ' ') {
        size++;
    }
    if (type.size == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        if (is_named((const char *)type.data, size, taken[i])) {
            return true;
        }
    }
    return false;
}

void
head_scan_read(struct head_scan *scan, struct MHD_Connection *library, const char *version)
{
    (void)MHD_get_connection_values_n(library, MHD_HEADER_KIND, on_header, scan);
    judge_framing(scan, version);
}
