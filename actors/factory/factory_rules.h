/* SPDX-License-Identifier: MPL-2.0 */
/* What the factory decides: whether and how much to produce, and how long to wait for an outside factory. Pure. */
#ifndef LARDER_FACTORY_RULES_H
#define LARDER_FACTORY_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum factory_status {
    FACTORY_ORDERED,   /* wanted; an outside factory has not confirmed it */
    FACTORY_REQUESTED, /* an outside factory has confirmed it */
    FACTORY_PRODUCED,  /* done */
    FACTORY_FAILED,    /* will not come */
    FACTORY_STATUS_COUNT
};

/* Status as it stands on the wire and in the database, e.g. "ordered". */
const char *
factory_status_name(enum factory_status status);

/* FACTORY_STATUS_COUNT when there is none of that name. */
enum factory_status
factory_status_find(struct slice name);

/* Whether its units are still to come. */
bool
factory_status_is_open(enum factory_status status);

/* What a decision needs of a shelf; each 0..LEVEL_MAX, lot 1 or more. */
struct factory_level {
    int64_t on_hand;
    int64_t available;
    int64_t incoming;
    int64_t order_up_to;
    int64_t lot;
    int64_t refused; /* units that a buyer was refused */
};

struct factory_level
factory_level_of_alarm(const struct wire_stock_alarm *alarm);

/* A level that was asked for; what it leaves out is 0, the lot 1. */
struct factory_level
factory_level_of_stock(const struct wire_stock_level *level);

/* How many units to produce: up to order_up_to, at least what was refused, rounded up to the lot, and never more than the shelf can
 * count (LEVEL_MAX). 0: nothing. */
int64_t
factory_amount(const struct factory_level *level);

/* Whether an alarm is old news: stock raised it before it had applied the factory's last fact about this product, at `last_seq` of the
 * factory's stream. What it says of available and incoming does not hold any more; stock raises it again while it stands. */
bool
factory_alarm_is_stale(int64_t last_seq, const struct wire_stock_alarm *alarm);

/* --- an outside factory --- */

#define FACTORY_PATIENCE_CALLS 10       /* the first wait for a callback, in call time-outs */
#define FACTORY_PATIENCE_MAX_MS 3600000 /* no wait for a callback is longer than this */

/* Whether an HTTP status means that the outside factory has taken the production. */
bool
factory_is_accepted(int http_status);

/* Whether such an answer is a no to the message itself, that would be given again. */
bool
factory_is_refused(int http_status);

#endif
