/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Picks the headers that the gateway looks at out of a head. What frames the message was judged when it was read.
 * FAILURES  A header that comes twice and would mean two things is refused, and its connection ends.
 */
#include "head_scan.h"

#include "prefer.h"

static void
keep_single(struct head_scan *scan, unsigned bit, struct slice value, struct slice *kept)
{
    if (scan->seen >> bit & 1U) {
        scan->refusal = "a header comes twice that may come once";
    }
    scan->seen |= 1U << bit;
    *kept = value;
}

/* Several tokens are no error of the message but a token that cannot be known, so they are counted; so are origins. */
static void
scan_others(struct head_scan *scan, const struct http_header *header)
{
    if (http_same(header->name, "Origin")) {
        scan->origin = header->value;
        scan->origins++;
    } else if (http_same(header->name, "Sec-Fetch-Site")) {
        bool is_own = http_same(header->value, "same-origin") || http_same(header->value, "none");
        scan->is_from_foreign = scan->is_from_foreign || !is_own;
    } else if (http_same(header->name, "traceparent")) {
        scan->head->traceparent = header->value;
    } else if (http_same(header->name, "Prefer")) {
        scan->head->prefers_async = scan->head->prefers_async || prefer_is_async(header->value);
    } else if (http_same(header->name, "Authorization")) {
        scan->head->authorization = header->value;
        scan->head->authorizations++;
    } else if (http_same(header->name, "webhook-id")) {
        keep_single(scan, 4, header->value, &scan->head->webhook_id);
    } else if (http_same(header->name, "webhook-timestamp")) {
        keep_single(scan, 5, header->value, &scan->head->webhook_timestamp);
    } else if (http_same(header->name, "webhook-signature")) {
        keep_single(scan, 6, header->value, &scan->head->webhook_signature);
    } else if (http_same(header->name, "Order-Secret")) {
        keep_single(scan, 7, header->value, &scan->head->secret);
    }
}

static void
scan_header(struct head_scan *scan, const struct http_header *header)
{
    if (http_same(header->name, "Content-Type")) {
        keep_single(scan, 0, header->value, &scan->content_type);
    } else if (http_same(header->name, "Idempotency-Key")) {
        scan->head->has_key = true;
        keep_single(scan, 1, header->value, &scan->head->key);
    } else if (http_same(header->name, "If-Match")) {
        scan->head->has_if_match = true;
        keep_single(scan, 2, header->value, &scan->head->if_match);
    } else if (http_same(header->name, "If-None-Match")) {
        scan->head->has_if_none_match = true;
        keep_single(scan, 3, header->value, &scan->head->if_none_match);
    } else {
        scan_others(scan, header);
    }
}

void
head_scan_read(struct head_scan *scan, const struct http_head *head)
{
    for (size_t i = 0; i < head->count; i++) {
        scan_header(scan, &head->headers[i]);
    }
}
