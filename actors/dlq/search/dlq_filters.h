/* SPDX-License-Identifier: MPL-2.0 */
/* Finds letters by a filter, in the order of their numbers, by whichever way reads the least. Only for dlq_store.c. */
#ifndef LARDER_DLQ_FILTERS_H
#define LARDER_DLQ_FILTERS_H

#include "kit/db/db.h"
#include "dlq_finder.h"
#include "dlq_zones.h"
#include "wire.h"

struct dlq_filters;

/* `columns` are those that the rows bring. */
struct dlq_filters *
dlq_filters_create(struct db *db, const struct dlq_zones *zones, struct dlq_finder *finder, const char *columns);
void
dlq_filters_destroy(struct dlq_filters **filters);

#define DLQ_NUMBERS_MAX 1024

/* Starts reading the letters of these numbers, up to DLQ_NUMBERS_MAX, in order. */
MUST_CHECK err
dlq_filters_rows(struct dlq_filters *filters, const int64_t *numbers, size_t count, bool newest_first, struct db_statement **rows);

struct dlq_search {
    const struct wire_letter_filter *filter; /* its `before` and `limit` are not looked at */
    int64_t now_ms;
    struct dlq_range range; /* of numbers */
    int64_t limit;          /* up to DLQ_NUMBERS_MAX */
    bool newest_first;
};

/* Starts the read. ERR_invalid_field: a name in the filter is none; `why` says which. */
MUST_CHECK err
dlq_filters_read(struct dlq_filters *filters, const struct dlq_search *search, struct db_statement **rows, struct err_text *why);

#endif
