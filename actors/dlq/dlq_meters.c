/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The dlq's metrics: how many letters of each state, how old the oldest that somebody or something must deal with is, what
 *           is at stake, and how many were buried for which reason.
 *
 * STATE     Gauges are set each tick from the counters in memory and two indexed reads. A counter counts since the process began, also
 *           what was rolled back and came again.
 *
 * LIMITS    Reasons that are no symbol of errors.def, which a later version may send, are counted as "other"; of currencies the first
 *           VALUES_MAX pairs of state and currency are shown.
 */
#include <stdio.h>
#include <stdlib.h>

#include "dlq_state.h"
#include "kit/telemetry/metrics.h"
#include "kit/base/sum.h"
#include "kit/base/memory.h"

enum { VALUES_MAX = 64 };

struct value_meter {
    enum dlq_state state;
    char currency[4];
    struct metric *metric;
    int64_t amount;
};

struct dlq_meters {
    struct metric *letters[DLQ_STATE_COUNT];
    struct metric *units[DLQ_STATE_COUNT];
    struct metric *oldest[DLQ_STATE_COUNT]; /* of dead and waiting */
    struct metric *buried[ERR_COUNT + 1];
    struct value_meter values[VALUES_MAX];
    size_t value_count;
};

struct dlq_meters *
dlq_meters_create(void)
{
    struct dlq_meters *meters = memory_new(1, sizeof *meters);
    for (enum dlq_state state = 0; state < DLQ_STATE_COUNT; state++) {
        char labels[64];
        (void)snprintf(labels, sizeof labels, "state=\"%s\"", dlq_state_name(state));
        meters->letters[state] = metric(METRIC_GAUGE, "larder_letters", labels, "Letters in the dlq.");
        meters->units[state] = metric(METRIC_GAUGE, "larder_letters_units", labels, "Units at stake in letters.");
        if (state == DLQ_DEAD || state == DLQ_WAITING) {
            meters->oldest[state] =
                metric(METRIC_GAUGE, "larder_letters_oldest_seconds", labels, "Age of the oldest letter; 0 without any.");
        }
    }
    return meters;
}

void
dlq_meters_destroy(struct dlq_meters **meters)
{
    free(*meters);
    *meters = NULL;
}

void
dlq_meters_buried(struct dlq_meters *meters, const char *reason)
{
    err code = err_find(reason, strlen(reason));
    if (meters->buried[code] == NULL) {
        char labels[128];
        (void)snprintf(labels, sizeof labels, "reason=\"%s\"", code == ERR_COUNT ? "other" : err_symbol(code));
        meters->buried[code] = metric(METRIC_COUNTER, "larder_letters_buried_total", labels, "Letters that became dead.");
    }
    metric_add(meters->buried[code], 1);
}

static void
add_value(struct dlq_meters *meters, const struct dlq_count *count)
{
    size_t at = 0;
    while (at < meters->value_count &&
           (meters->values[at].state != count->state || strcmp(meters->values[at].currency, count->currency) != 0)) {
        at++;
    }
    if (at == VALUES_MAX) {
        return;
    }
    struct value_meter *value = &meters->values[at];
    if (at == meters->value_count) {
        char labels[96];
        (void)snprintf(labels, sizeof labels, "state=\"%s\",currency=\"%s\"", dlq_state_name(count->state), count->currency);
        *value = (struct value_meter){.state = count->state};
        dlq_copy(value->currency, sizeof value->currency, slice_of(count->currency));
        value->metric = metric(METRIC_GAUGE, "larder_letters_value_minor", labels, "Money at stake in letters, in minor units.");
        meters->value_count++;
    }
    value->amount = sum_capped(value->amount, sum_shown(count->amount));
}

static void
show_stakes(struct dlq *dlq)
{
    struct dlq_meters *meters = dlq->meters;
    int64_t units[DLQ_STATE_COUNT] = {0};
    for (size_t i = 0; i < meters->value_count; i++) {
        meters->values[i].amount = 0;
    }
    const struct dlq_count *count = NULL;
    for (size_t i = 0; (count = dlq_tally_get(dlq->tally, i)) != NULL; i++) {
        units[count->state] = sum_capped(units[count->state], sum_shown(count->units));
        if (count->currency[0] != '\0') {
            add_value(meters, count);
        }
    }
    for (enum dlq_state state = 0; state < DLQ_STATE_COUNT; state++) {
        metric_set(meters->letters[state], dlq_tally_letters(dlq->tally, state));
        metric_set(meters->units[state], units[state]);
    }
    for (size_t i = 0; i < meters->value_count; i++) {
        metric_set(meters->values[i].metric, meters->values[i].amount);
    }
}

err
dlq_meters_tick(struct dlq *dlq, int64_t now_ms)
{
    show_stakes(dlq);
    for (enum dlq_state state = 0; state < DLQ_STATE_COUNT; state++) {
        int64_t opened_ms = 0;
        if (dlq->meters->oldest[state] == NULL) {
            continue;
        }
        if (dlq_tally_letters(dlq->tally, state) > 0) {
            err code = dlq_store_oldest(&dlq->store, state, &opened_ms);
            if (code != ERR_ok) {
                return code;
            }
        }
        metric_set(dlq->meters->oldest[state], opened_ms > 0 && opened_ms < now_ms ? (now_ms - opened_ms) / 1000 : 0);
    }
    return ERR_ok;
}
