/* SPDX-License-Identifier: MPL-2.0 */
/* What the headers of one request say to the gateway. */
#ifndef LARDER_HEAD_SCAN_H
#define LARDER_HEAD_SCAN_H

#include <stdbool.h>

#include "exchange/exchange.h"
#include "kit/http/http_head.h"

/* Zero-initialise it but for `head`, which is filled. The slices live as long as the request. */
struct head_scan {
    struct exchange_head *head;
    struct slice content_type;
    struct slice origin;
    int origins;
    bool is_from_foreign; /* Sec-Fetch-Site says so */
    const char *refusal;  /* a header comes twice that may come once; the first one stays */
    unsigned seen;        /* of those */
};

/* Reads all headers of a head that http_head_read() has found good. */
void
head_scan_read(struct head_scan *scan, const struct http_head *head);

#endif
