/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Finds orders whose saga has stood in one state for longer than anybody is patient, and says so. It looks at what is on
 *           disk and not at what the saga's loop remembers: a fault of that loop must not hide itself.
 *
 * STATE     In memory the place of the round under way. Reads the due rows of sagas and of their orders four figures.
 *
 * FAILURES  Those of the database; the round goes on at the next look.
 *
 * LIMITS    LOOK_MANY sagas a second, so that many open orders cost no more than few; a round over ten thousand lasts twenty seconds.
 *           It finds sagas by their due rows: one that has lost its own is verify's to name.
 */
#include "order_standing.h"

#include <string.h>

#include "kit/telemetry/log.h"

enum { LOOK_MANY = 500 };

void
order_standing_init(struct order_standing *standing, int64_t patience_ms)
{
    *standing = (struct order_standing){.patience_ms = patience_ms};
    standing->standing =
        metric(METRIC_GAUGE, "larder_orders_standing", "",
               "Orders whose saga has stood in one state for longer than LARDER_STUCK_MS; those that wait to be paid not.");
}

static void
see(void *context, const struct order_open *open)
{
    struct order_standing *standing = context;
    standing->seen++;
    standing->looked_to = open->id;
    if (!order_stands(open->saga, open->entered_ms, open->deadline_ms, standing->patience_ms, standing->now_ms)) {
        return;
    }
    if (standing->found++ == 0 || open->entered_ms < standing->oldest.entered_ms) {
        standing->oldest = *open;
    }
}

static void
tell(struct order_standing *standing)
{
    bool is_news = standing->found != metric_value(standing->standing);
    metric_set(standing->standing, standing->found);
    if (is_news && standing->found > 0) {
        log_warn("orders_stand", LOG_I64("orders", standing->found), LOG_ID("saga", &standing->oldest.id),
                 LOG_TEXT("state", saga_steps[standing->oldest.saga].name),
                 LOG_I64("for_ms", standing->now_ms - standing->oldest.entered_ms),
                 LOG_TEXT("now", "it is asked again until it is known"));
    }
    standing->looked_to = (struct id){{0}};
    standing->found = 0;
}

err
order_standing_look(struct order_standing *standing, struct order_store *store, int64_t now_ms)
{
    size_t after_size = id_is_zero(&standing->looked_to) ? 0 : sizeof standing->looked_to.bytes;
    struct id after = standing->looked_to;
    standing->now_ms = now_ms;
    standing->seen = 0;
    err code = order_store_see_open(store, (struct slice){after.bytes, after_size}, LOOK_MANY, see, standing);
    if (code == ERR_ok && standing->seen < LOOK_MANY) {
        tell(standing);
    }
    return code;
}
