/* SPDX-License-Identifier: MPL-2.0 */
/* The SQL of events that are kept for others: $hosting and $kept. */
#ifndef LARDER_DLQ_HOST_STORE_H
#define LARDER_DLQ_HOST_STORE_H

#include "kit/db/db.h"
#include "wire.h"

/* The most events, and the most bytes of them, that are read or copied in one page. */
enum { DLQ_PAGE_EVENTS = 256, DLQ_PAGE_BYTES = 768 * 1024 };

/* A row of $hosting: everything of the source that lies behind `position` and not behind `copied` is in $kept. */
struct dlq_hosting_row {
    char source[WIRE_NAME_MAX + 1];
    char subscriber[WIRE_NAME_MAX + 1];
    bool is_client;
    struct id incarnation; /* of the source */
    struct id session;     /* of a client: the newest */
    struct id ended;       /* the session whose end the source was asked for, whatever it answered; all zero: none */
    int64_t position;      /* the last event that the subscriber has applied, or the client acknowledged */
    int64_t copied;        /* the last event that is here */
    int64_t since_ms;      /* since when it has a letter, which also names that; 0: there is no letter */
};

/* All rows, by dlq_host_store_next(). */
MUST_CHECK err
dlq_host_store_load(struct db *db, struct db_statement **rows);
bool
dlq_host_store_next(struct db_statement *rows, struct dlq_hosting_row *row);

MUST_CHECK err
dlq_host_store_put(struct db *db, const struct dlq_hosting_row *row);
MUST_CHECK err
dlq_host_store_remove(struct db *db, const char *source, const char *subscriber);

/* Collects an event; dlq_host_store_keep() queues what was collected. One that is kept already is written once more. */
void
dlq_host_store_add(struct db *db, const char *source, int64_t seq, const struct wire_fetched_event *event);
MUST_CHECK err
dlq_host_store_keep(struct db *db);

/* Appends the events behind `after` up to `to` to a list under construction, in order, until one is missing: `limit` of them and
 * DLQ_PAGE_BYTES at the most. `last` is the last one of them, `after` when there is none. */
struct dlq_kept_range {
    const char *source;
    int64_t after;
    int64_t to;
    int64_t limit;
};
MUST_CHECK err
dlq_host_store_read(struct db *db, const struct dlq_kept_range *range, struct wire_list *list, struct wire_buffer *bytes,
                    int64_t *last);

/* The first source by name behind `after` of which there are events. */
MUST_CHECK err
dlq_host_store_next_source(struct db *db, const char *after, char source[WIRE_NAME_MAX + 1], bool *found);

/* The first event kept of a source; 0 for none. */
MUST_CHECK err
dlq_host_store_first(struct db *db, const char *source, int64_t *seq);

/* Forgets the events of a source up to this one. */
MUST_CHECK err
dlq_host_store_trim(struct db *db, const char *source, int64_t to);

#endif
