/* SPDX-License-Identifier: MPL-2.0 */
/* Events that are kept become those of another database: of a copy that has got an incarnation of its own. */
#ifndef LARDER_KIT_RENEWAL_H
#define LARDER_KIT_RENEWAL_H

#include "id.h"
#include "kit/db/db.h"

struct renewal {
    struct db *db;
    const char *read;  /* finds seq and header: "... seq > ? ORDER BY seq LIMIT ?" */
    const char *write; /* "... SET header = ? WHERE ... seq = ?" */
    struct slice of;   /* what both have bound before the seq; empty: nothing */
    const struct id *incarnation;
};

/* Writes, and does not commit. */
MUST_CHECK err
renewal_run(const struct renewal *renewal);

#endif
