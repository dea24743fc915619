/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The shard row: who may write this shard, proved by every commit.
 *
 * Each commit of a writer holds the one UPDATE that moves batch and seq together, on condition of the epoch and the batch it
 * knows. A writer that was replaced matches no row, rolls back and ends. So levels may be kept in memory, seq has no gaps, and
 * after a lost connection the batch number says whether the last commit happened.
 */
#ifndef LARDER_KIT_SHARD_H
#define LARDER_KIT_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"

/* Plain values as of the last commit; zero-initialise before shard_take(). */
struct shard {
    struct db *db;
    int number;
    int of;
    int64_t epoch;
    int64_t batch;
    int64_t seq; /* of the last event in the outbox */
    struct id incarnation;
    int64_t seen_ms;          /* UTC of the last commit, for who opens this next; 0: it was not written down yet */
    int64_t now_ms;           /* UTC for the next one */
    struct id chain;          /* of the last event: stands for all up to it; zero: there was none since chains are kept */
    struct id next_chain;     /* of the last event of the batch under way */
    int64_t proved_us;        /* clock_steady_us() of the last proof, taken before it was asked for */
    int64_t tried_epoch;      /* of a taking whose COMMIT was not answered */
    int64_t tried_connection; /* that it was sent over; 0 for none */
};

/* At start: makes the row when there is none, ends the recorded connection, locks the row, raises the epoch, commits. Whoever had
 * the shard before is fenced from here on. ERR_wrong_setting when the row was made for another number of shards; ERR_db_busy when
 * the row is locked by somebody who cannot be ended: unknown, try again. */
MUST_CHECK err
shard_take(struct shard *shard, struct db *db, int number, int of, struct err_text *why);

/* After a lost connection (the db is reconnected already): takes the shard again, unless somebody else has it (ERR_db_stale).
 * `happened`: whether the batch that was being committed is on disk. */
MUST_CHECK err
shard_retake(struct shard *shard, bool *happened, struct err_text *why);

/* The one way in which a writer commits: moves batch by one, seq by `events` and, when there are any, the chain to next_chain, on
 * condition that the row is still ours, and commits all that is queued with it. ERR_ok: it is on disk, and the values here are
 * those of the row. ERR_db_unknown: shard_retake() will tell. Otherwise nothing has happened; the caller rolls back. */
MUST_CHECK err
shard_commit(struct shard *shard, int64_t events);

/* Its first half, for who has to see what a commit leaves behind that ends there. */
MUST_CHECK err
shard_queue_advance(struct shard *shard, int64_t events);

/* Reads the row: ERR_db_stale when it is not ours any more. Only outside a transaction. */
MUST_CHECK err
shard_prove(struct shard *shard);

/* Behind ERR_db_stale, outside a transaction: reads the row and says what has become of the shard. */
void
shard_say_stale(const struct shard *shard, struct err_text *why);

/* Whether the last proof is older than `age_ms`. */
bool
shard_is_older_than(const struct shard *shard, int64_t age_ms);

#endif
