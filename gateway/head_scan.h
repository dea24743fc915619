/* SPDX-License-Identifier: MPL-2.0 */
/* What the headers of one request say, and whether it can be trusted. */
#ifndef LARDER_HEAD_SCAN_H
#define LARDER_HEAD_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include <microhttpd.h>

#include "err.h"
#include "exchange.h"

/* Zero-initialise it but for `head`, which is filled. The slices live as long as the request. */
struct head_scan {
    struct exchange_head *head;
    struct slice content_type;
    const char *refusal; /* not to be served, the connection is not to be trusted */
    err code;
    uint64_t length;
    int hosts;
    int lengths;
    int encodings;
    uint32_t seen; /* of those that must not come twice */
    bool has_body;
    bool expects;
};

/* Reads all headers and judges what frames the message: a head that two readers could take for two different requests is refused. */
void
head_scan_read(struct head_scan *scan, struct MHD_Connection *library, const char *version);

/* The first refusal stays. */
void
head_scan_refuse(struct head_scan *scan, err code, const char *refusal);

/* The body is JSON, or nothing is said; or it is what plain `curl -d` says, as the body is looked at anyway. */
bool
head_scan_is_json(const struct head_scan *scan);

#endif
