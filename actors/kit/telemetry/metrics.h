/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Counters, gauges and histograms, printed as Prometheus text. A metric is found or made by name and labels, once, at start;
 * changing it is one relaxed atomic addition, from any thread.
 */
#ifndef LARDER_KIT_METRICS_H
#define LARDER_KIT_METRICS_H

#include <stdint.h>

#include "wire.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

struct metric;

/* `labels` is what stands between the braces, e.g. `actor="stock",shard="0"`; may be "". The same name with the same labels is the
 * same metric. Histograms count microseconds in fixed buckets from 50 us to 10 s, printed in seconds. Never freed. */
struct metric *
metric(enum metric_kind kind, const char *name, const char *labels, const char *doc);

void
metric_add(struct metric *metric, int64_t by);
void
metric_set(struct metric *metric, int64_t value);
void
metric_observe_us(struct metric *metric, int64_t us);
int64_t
metric_value(const struct metric *metric);

/* Appends all metrics, ordered by name, with # HELP and # TYPE. */
void
metrics_print(struct wire_buffer *out);

#endif
