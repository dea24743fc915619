/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Prints the metrics at most once a second per process, whoever asks: the page is 50 KB and takes most of a millisecond to
 *          print, under the lock that every new metric takes, and scrapers are many and ask when they like.
 * STATE    The latest page, counted by who holds it, behind a lock. While one thread prints, the others get the page before.
 * LIMITS   A page says when it was printed (larder_metrics_printed_ms), as the figures of two questions in a second are the same.
 */
#include "metrics_page.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "metrics.h"

#define FRESH_US INT64_C(1000000)

struct metrics_page {
    int holders; /* under the lock */
    int64_t printed_us;
    struct wire_buffer text;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct metrics_page *latest; /* held once for being it */
static bool is_printing;

static struct metrics_page *
print(int64_t now_us)
{
    struct metrics_page *page = memory_new(1, sizeof *page);
    page->holders = 1;
    page->printed_us = now_us;
    metric_set(metric(METRIC_GAUGE, "larder_metrics_printed_ms", "", "When these figures were taken, UTC milliseconds."),
               clock_utc_ms());
    metrics_print(&page->text);
    return page;
}

/* Under the lock. */
static void
let_go(struct metrics_page *page)
{
    if (page != NULL && --page->holders == 0) {
        wire_buffer_fini(&page->text);
        free(page);
    }
}

struct metrics_page *
metrics_page_take(void)
{
    int64_t now_us = clock_steady_us();
    pthread_mutex_lock(&lock);
    bool is_old = latest == NULL || now_us - latest->printed_us >= FRESH_US;
    if (is_old && (latest == NULL || !is_printing)) {
        is_printing = true;
        pthread_mutex_unlock(&lock);
        struct metrics_page *made = print(now_us);
        pthread_mutex_lock(&lock);
        is_printing = false;
        let_go(latest);
        latest = made;
    }
    struct metrics_page *page = latest;
    page->holders++;
    pthread_mutex_unlock(&lock);
    return page;
}

struct slice
metrics_page_text(const struct metrics_page *page)
{
    return wire_buffer_slice(&page->text);
}

void
metrics_page_give_back(struct metrics_page **page)
{
    if (*page != NULL) {
        pthread_mutex_lock(&lock);
        let_go(*page);
        pthread_mutex_unlock(&lock);
        *page = NULL;
    }
}
