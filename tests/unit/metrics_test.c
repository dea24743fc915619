/* SPDX-License-Identifier: MPL-2.0 */
/* Metrics: identity, arithmetic from several threads, and the page as Prometheus reads it. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "kit/telemetry/metrics.h"

static char page_text[65536];

static const char *
page(void)
{
    struct wire_buffer out = {0};
    metrics_print(&out);
    cr_assert_lt(out.size, sizeof page_text);
    memcpy(page_text, out.data, out.size);
    page_text[out.size] = '\0';
    wire_buffer_fini(&out);
    return page_text;
}

Test(metrics, same_name_and_labels_are_the_same_metric)
{
    struct metric *a = metric(METRIC_COUNTER, "larder_a_total", "actor=\"stock\"", "A.");
    cr_assert_eq(metric(METRIC_COUNTER, "larder_a_total", "actor=\"stock\"", "A."), a);
    cr_assert_neq(metric(METRIC_COUNTER, "larder_a_total", "actor=\"sales\"", "A."), a);
}

Test(metrics, counter_and_gauge_are_printed_with_help_and_type)
{
    metric_add(metric(METRIC_COUNTER, "larder_b_total", "", "Line\none \\ two."), 3);
    metric_set(metric(METRIC_GAUGE, "larder_a", "shard=\"1\"", "A level."), -7);
    cr_assert_str_eq(page(), "# HELP larder_a A level.\n# TYPE larder_a gauge\nlarder_a{shard=\"1\"} -7\n"
                             "# HELP larder_b_total Line\\none \\\\ two.\n# TYPE larder_b_total counter\nlarder_b_total 3\n");
}

Test(metrics, head_of_a_name_stands_once_whatever_the_order_of_making)
{
    metric(METRIC_COUNTER, "larder_x_total", "actor=\"stock\"", "X.");
    metric(METRIC_COUNTER, "larder_y_total", "", "Y.");
    metric(METRIC_COUNTER, "larder_x_total", "actor=\"sales\"", "X.");
    cr_assert_str_eq(page(), "# HELP larder_x_total X.\n# TYPE larder_x_total counter\n"
                             "larder_x_total{actor=\"sales\"} 0\nlarder_x_total{actor=\"stock\"} 0\n"
                             "# HELP larder_y_total Y.\n# TYPE larder_y_total counter\nlarder_y_total 0\n");
}

Test(metrics, histogram_is_cumulative_and_in_seconds)
{
    struct metric *h = metric(METRIC_HISTOGRAM, "larder_h_seconds", "op=\"take\"", "H.");
    metric_observe_us(h, 50);
    metric_observe_us(h, 51);
    metric_observe_us(h, 1500000);
    metric_observe_us(h, 20000000);
    const char *text = page();
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{op=\"take\",le=\"5e-05\"} 1\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{op=\"take\",le=\"0.0001\"} 2\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{op=\"take\",le=\"2.5\"} 3\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{op=\"take\",le=\"10\"} 3\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{op=\"take\",le=\"+Inf\"} 4\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_sum{op=\"take\"} 21.500101\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_count{op=\"take\"} 4\n"));
    cr_assert_eq(metric_value(h), 4);
}

Test(metrics, histogram_without_labels_has_no_empty_braces)
{
    metric_observe_us(metric(METRIC_HISTOGRAM, "larder_h_seconds", "", "H."), 1);
    const char *text = page();
    cr_assert_not_null(strstr(text, "larder_h_seconds_bucket{le=\"5e-05\"} 1\n"));
    cr_assert_not_null(strstr(text, "larder_h_seconds_sum 0.000001\n"));
    cr_assert_null(strstr(text, "{}"));
}

static void *
add_many(void *unused)
{
    (void)unused;
    struct metric *counter = metric(METRIC_COUNTER, "larder_many_total", "", "Many.");
    for (int i = 0; i < 10000; i++) {
        metric_add(counter, 1);
    }
    return NULL;
}

Test(metrics, nothing_is_lost_between_threads)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, add_many, NULL), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    cr_assert_eq(metric_value(metric(METRIC_COUNTER, "larder_many_total", "", "Many.")), 40000);
}

Test(metrics, labels_that_prometheus_would_refuse_are_a_bug, .signal = SIGABRT)
{
    metric(METRIC_COUNTER, "larder_c_total", "actor=stock", "C.");
}

Test(metrics, one_name_with_two_kinds_is_a_bug, .signal = SIGABRT)
{
    metric(METRIC_COUNTER, "larder_c_total", "", "C.");
    metric(METRIC_GAUGE, "larder_c_total", "", "C.");
}
