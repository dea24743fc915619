/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Keeps the process's counters, gauges and histograms, and prints them in Prometheus's text format, version 0.0.4.
 *
 * STATE
 *   One list, ordered by name and labels, as long as the process lives. A mutex guards the list; the numbers are atomics, changed
 *   and read relaxed: a figure may be a moment old, never torn. A histogram's count is the sum of the buckets that are printed
 *   beside it, so that one page never contradicts itself; its sum may be a few observations ahead or behind.
 *
 * FAILURES
 *   A name or labels that Prometheus would refuse, and one name with two kinds, are our own bugs and assert.
 *
 * LIMITS
 *   Finding a metric walks the list: keep the pointer. Values of labels are written by the caller as they must stand, so they
 *   hold only what needs no escaping.
 */
#include "metrics.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

#define BUCKET_COUNT (sizeof bucket_us / sizeof bucket_us[0])

static const int64_t bucket_us[] = {50,    100,    250,    500,    1000,    2500,    5000,    10000,   25000,
                                    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

struct histogram {
    _Atomic int64_t buckets[BUCKET_COUNT + 1]; /* the last is what took longer than all bounds; not cumulative */
    _Atomic int64_t sum_us;
};

struct metric {
    enum metric_kind kind;
    char *name;
    char *labels;
    char *doc;
    struct metric *next;         /* under the mutex */
    struct histogram *histogram; /* of METRIC_HISTOGRAM alone */
    _Atomic int64_t value;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct metric *first;

static const char *const kind_names[] = {"counter", "gauge", "histogram"};

static bool
is_metric_name(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:";
    static const char more[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_:0123456789";
    return strspn(name, letters) > 0 && strspn(name, more) == strlen(name);
}

/* name="value" by comma; no quote, backslash or end of line inside a value. */
static bool
are_labels(const char *labels)
{
    static const char name_characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    const char *at = labels;
    while (*at != '\0') {
        size_t name_size = strspn(at, name_characters);
        if (name_size == 0 || strncmp(at + name_size, "=\"", 2) != 0) {
            return false;
        }
        at += name_size + 2;
        at += strcspn(at, "\"\\\n");
        if (*at != '"') {
            return false;
        }
        at++;
        if (*at == ',' && at[1] != '\0') {
            at++;
        } else if (*at != '\0') {
            return false;
        }
    }
    return true;
}

static struct metric *
metric_create(enum metric_kind kind, const char *name, const char *labels, const char *doc)
{
    struct metric *made = memory_new(1, sizeof *made);
    made->kind = kind;
    made->name = memory_text(name);
    made->labels = memory_text(labels);
    made->doc = memory_text(doc);
    if (kind == METRIC_HISTOGRAM) {
        made->histogram = memory_new(1, sizeof *made->histogram);
    }
    return made;
}

struct metric *
metric(enum metric_kind kind, const char *name, const char *labels, const char *doc)
{
    assert(is_metric_name(name) && are_labels(labels));
    pthread_mutex_lock(&mutex);
    struct metric **link = &first;
    int order = -1;
    while (*link != NULL) {
        order = strcmp((*link)->name, name);
        assert(order != 0 || (*link)->kind == kind);
        if (order == 0) {
            order = strcmp((*link)->labels, labels);
        }
        if (order >= 0) {
            break;
        }
        link = &(*link)->next;
    }
    if (*link == NULL || order != 0) {
        struct metric *made = metric_create(kind, name, labels, doc);
        made->next = *link;
        *link = made;
    }
    struct metric *found = *link;
    pthread_mutex_unlock(&mutex);
    return found;
}

void
metric_add(struct metric *metric, int64_t by)
{
    atomic_fetch_add_explicit(&metric->value, by, memory_order_relaxed);
}

void
metric_set(struct metric *metric, int64_t value)
{
    assert(metric->kind == METRIC_GAUGE);
    atomic_store_explicit(&metric->value, value, memory_order_relaxed);
}

void
metric_observe_us(struct metric *metric, int64_t us)
{
    assert(metric->kind == METRIC_HISTOGRAM);
    size_t bucket = 0;
    while (bucket < BUCKET_COUNT && us > bucket_us[bucket]) {
        bucket++;
    }
    atomic_fetch_add_explicit(&metric->histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->histogram->sum_us, us, memory_order_relaxed);
    atomic_fetch_add_explicit(&metric->value, 1, memory_order_relaxed);
}

int64_t
metric_value(const struct metric *metric)
{
    return atomic_load_explicit(&metric->value, memory_order_relaxed);
}

static void __attribute__((format(printf, 2, 3))) print(struct wire_buffer *out, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    assert(size >= 0 && (size_t)size < sizeof text);
    wire_buffer_append(out, text, (size_t)size);
}

static void
print_head(struct wire_buffer *out, const struct metric *metric)
{
    print(out, "# HELP %s ", metric->name);
    for (const char *at = metric->doc; *at != '\0'; at++) {
        if (*at == '\\' || *at == '\n') {
            wire_buffer_append(out, *at == '\n' ? "\\n" : "\\\\", 2);
        } else {
            wire_buffer_append(out, at, 1);
        }
    }
    print(out, "\n# TYPE %s %s\n", metric->name, kind_names[metric->kind]);
}

static void
print_histogram(struct wire_buffer *out, const struct metric *metric)
{
    const char *comma = metric->labels[0] == '\0' ? "" : ",";
    int64_t count = 0;
    for (size_t i = 0; i <= BUCKET_COUNT; i++) {
        count += atomic_load_explicit(&metric->histogram->buckets[i], memory_order_relaxed);
        if (i == BUCKET_COUNT) {
            print(out, "%s_bucket{%s%sle=\"+Inf\"} %lld\n", metric->name, metric->labels, comma, (long long)count);
        } else {
            print(out, "%s_bucket{%s%sle=\"%g\"} %lld\n", metric->name, metric->labels, comma, (double)bucket_us[i] / 1e6,
                  (long long)count);
        }
    }
    int64_t sum_us = atomic_load_explicit(&metric->histogram->sum_us, memory_order_relaxed);
    const char *open = metric->labels[0] == '\0' ? "" : "{";
    const char *close = metric->labels[0] == '\0' ? "" : "}";
    print(out, "%s_sum%s%s%s %lld.%06lld\n", metric->name, open, metric->labels, close, (long long)(sum_us / 1000000),
          (long long)(sum_us % 1000000));
    print(out, "%s_count%s%s%s %lld\n", metric->name, open, metric->labels, close, (long long)count);
}

void
metrics_print(struct wire_buffer *out)
{
    pthread_mutex_lock(&mutex);
    const char *group = "";
    for (const struct metric *at = first; at != NULL; at = at->next) {
        if (strcmp(group, at->name) != 0) {
            print_head(out, at);
            group = at->name;
        }
        if (at->kind == METRIC_HISTOGRAM) {
            print_histogram(out, at);
        } else if (at->labels[0] == '\0') {
            print(out, "%s %lld\n", at->name, (long long)metric_value(at));
        } else {
            print(out, "%s{%s} %lld\n", at->name, at->labels, (long long)metric_value(at));
        }
    }
    pthread_mutex_unlock(&mutex);
}
