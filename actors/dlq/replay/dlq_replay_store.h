/* SPDX-License-Identifier: MPL-2.0 */
/* The SQL of replays: their rows, and the letters that each has frozen with what came of them. */
#ifndef LARDER_DLQ_REPLAY_STORE_H
#define LARDER_DLQ_REPLAY_STORE_H

#include "kit/db/db.h"
#include "dlq/letter/dlq_letter.h"

enum replay_state {
    REPLAY_SELECTING,
    REPLAY_CANARY,
    REPLAY_RUNNING,
    REPLAY_DONE,
    REPLAY_STOPPED,
    REPLAY_CANCELLED,
    REPLAY_DRY_RUN, /* never in the database */
    REPLAY_STATE_COUNT
};

/* Numbers are in the database: they do not change. */
enum replay_outcome {
    REPLAY_OPEN = 0,
    REPLAY_LETTER_DONE = 1,
    REPLAY_LETTER_FAILED = 2,
    REPLAY_LETTER_LEFT_OUT = 3 /* discarded since it was selected; no part of the total any more */
};

#define REPLAY_FILTER_MAX 2048

/* A row of $replay. Texts are terminated, numbers 0 when there is none. */
struct replay_row {
    int64_t n;
    struct id id;
    enum replay_state state;
    uint8_t filter[REPLAY_FILTER_MAX]; /* letter_filter, encoded */
    size_t filter_size;
    int64_t last_letter; /* the newest letter when it began */
    int64_t selected_to; /* how far the selection has come */
    int64_t total;
    int64_t done;
    int64_t failed;
    int64_t rate;
    int64_t canary;
    bool stop_on_failure;
    char author[65];
    char reason[256];
    int64_t started_ms;
    int64_t ended_ms;
    struct id stopped_by;
    char error[DLQ_ERROR_SIZE];
};

/* A letter of a replay, with what its owner is asked by. */
struct replay_letter {
    int64_t place;
    int64_t n;
    struct id id;
    enum dlq_state state;
    enum dlq_kind kind;
    char destination[DLQ_TEXT_SIZE];
    char source[DLQ_TEXT_SIZE];
    int64_t seq;
    char row_owner[33];
    uint8_t row_key[64];
    size_t row_key_size;
    char traceparent[56];
};

/* "selecting" and the like. */
const char *
replay_state_name(enum replay_state state);

/* Whether nothing more is sent. */
bool
replay_has_ended(enum replay_state state);

/* The row as it goes over the wire. Borrows from `row`. */
struct wire_replay
replay_body_of(const struct replay_row *row);

MUST_CHECK err
replay_store_last(struct db *db, int64_t *n);

MUST_CHECK err
replay_store_insert(struct db *db, const struct replay_row *row);
/* What changes while it runs. */
MUST_CHECK err
replay_store_update(struct db *db, const struct replay_row *row);

MUST_CHECK err
replay_store_find(struct db *db, const struct id *id, struct replay_row *row, bool *found);

/* Newest first. */
MUST_CHECK err
replay_store_page(struct db *db, int64_t before, int64_t limit, struct db_statement **rows);
/* Those that have not ended, oldest first. */
MUST_CHECK err
replay_store_open_ones(struct db *db, struct db_statement **rows);
bool
replay_store_next(struct db_statement *rows, struct replay_row *row);

/* Up to `limit` letters without an outcome, behind place `after` and up to place `to`. */
MUST_CHECK err
replay_store_letters(struct db *db, int64_t replay, int64_t after, int64_t to, int64_t limit, struct db_statement **rows);
bool
replay_store_next_letter(struct db_statement *rows, struct replay_letter *letter);

/* Collects a letter's row, new or with its outcome; replay_store_flush() sends them. */
void
replay_store_select_letter(struct db *db, int64_t replay, int64_t place, int64_t letter);
void
replay_store_note_letter(struct db *db, int64_t replay, int64_t place, int64_t letter, enum replay_outcome outcome);
MUST_CHECK err
replay_store_flush(struct db *db);

#endif
