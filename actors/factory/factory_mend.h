/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A factory that was copied before stock is told how productions ended that stock has counted. The ids of productions come of the
 * alarms that caused them: it is told those alarms once more, and would make refills that stock takes for those that it has counted.
 */
#ifndef LARDER_FACTORY_MEND_H
#define LARDER_FACTORY_MEND_H

#include <stdint.h>

#include "kit/db/db.h"
#include "wire.h"

struct factory_mending {
    struct db *db;
    int64_t last_n;
    int64_t moment_ms; /* stands for when a production was ordered, and done */
    int64_t taken;     /* of productions that the factory did not know the end of */
};

struct factory_ended {
    struct id id;
    char product[WIRE_NAME_MAX + 1];
    char status[17]; /* produced or failed */
    int64_t quantity;
};

MUST_CHECK err
factory_mend_begin(struct factory_mending *factory, struct db *db);

/* Writes it down; the caller commits. */
MUST_CHECK err
factory_mend_take_over(struct factory_mending *factory, const struct factory_ended *ended);

#endif
