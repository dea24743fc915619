/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Payment's metrics: what became of the webhooks of a provider.
 *
 * STATE     Counts of the batch under way, added to the counters when it is on disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"
#include "kit/telemetry/metrics.h"
#include "payment_state.h"

enum { UNKNOWN_TYPE = PAYMENT_DISPUTED + 1, OUTCOME_COUNT };

struct payment_meters {
    struct metric *told[OUTCOME_COUNT];
    int64_t counts[OUTCOME_COUNT];
};

struct payment_meters *
payment_meters_create(void)
{
    struct payment_meters *meters = memory_new(1, sizeof *meters);
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        char labels[64];
        const char *name = i == UNKNOWN_TYPE ? "unknown_type" : payment_noted_name((enum payment_noted_as)i);
        (void)snprintf(labels, sizeof labels, "outcome=\"%s\"", name);
        meters->told[i] = metric(METRIC_COUNTER, "larder_payment_webhooks_total", labels,
                                 "Webhooks of the payment provider that were noted, by what they did when they came.");
    }
    return meters;
}

void
payment_meters_destroy(struct payment_meters **meters)
{
    free(*meters);
    *meters = NULL;
}

void
payment_meters_note(struct payment_meters *meters, enum payment_noted_as outcome, bool is_known)
{
    meters->counts[is_known ? (int)outcome : UNKNOWN_TYPE]++;
}

void
payment_meters_settle(struct payment_meters *meters, bool is_on_disk)
{
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        if (is_on_disk && meters->counts[i] > 0) {
            metric_add(meters->told[i], meters->counts[i]);
        }
    }
    memset(meters->counts, 0, sizeof meters->counts);
}
