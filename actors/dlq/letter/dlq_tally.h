/* SPDX-License-Identifier: MPL-2.0 */
/* How many letters there are per state, destination, reason and currency, with what is at stake: in memory, and as rows written in
 * the transaction of the change. */
#ifndef LARDER_DLQ_TALLY_H
#define LARDER_DLQ_TALLY_H

#include "kit/db/db.h"
#include "dlq_letter.h"

struct dlq_tally;

struct dlq_count {
    enum dlq_state state;
    char destination[DLQ_TEXT_SIZE];
    char reason[DLQ_TEXT_SIZE];
    char currency[4];
    int64_t letters;
    int64_t units;
    int64_t amount;
};

struct dlq_tally *
dlq_tally_create(struct db *db);
void
dlq_tally_destroy(struct dlq_tally **tally);

/* Reads the rows. */
MUST_CHECK err
dlq_tally_load(struct dlq_tally *tally);

/* A letter came (+1) or left (-1) the group of its state, destination, reason and currency. */
void
dlq_tally_add(struct dlq_tally *tally, const struct dlq_letter *letter, int sign);

/* Queues the rows that changed. */
MUST_CHECK err
dlq_tally_queue(struct dlq_tally *tally);
void
dlq_tally_committed(struct dlq_tally *tally);
void
dlq_tally_dropped(struct dlq_tally *tally);

/* Groups that are not empty, by number from 0; NULL behind the last. */
const struct dlq_count *
dlq_tally_get(const struct dlq_tally *tally, size_t number);

/* Letters of a state. */
int64_t
dlq_tally_letters(const struct dlq_tally *tally, enum dlq_state state);
/* All letters. */
int64_t
dlq_tally_total(const struct dlq_tally *tally);

#endif
