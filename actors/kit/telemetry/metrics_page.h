/* SPDX-License-Identifier: MPL-2.0 */
/* What all metrics were a moment ago, as one text that any number of scrapers share. */
#ifndef LARDER_KIT_METRICS_PAGE_H
#define LARDER_KIT_METRICS_PAGE_H

#include "wire.h"

#define METRICS_PAGE_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_page;

/* A page that is at most a second old, from any thread; nobody prints it twice in one. Give it back. */
struct metrics_page *
metrics_page_take(void);

/* Lives until the page is given back. */
struct slice
metrics_page_text(const struct metrics_page *page);

/* Accepts NULL. */
void
metrics_page_give_back(struct metrics_page **page);

#endif
