/* SPDX-License-Identifier: MPL-2.0 */
/* A letter as the dlq's parts know it: plain values, and the names of its states and kinds. */
#ifndef LARDER_DLQ_LETTER_H
#define LARDER_DLQ_LETTER_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "wire.h"

/* Numbers are in the database: they do not change. */
enum dlq_state {
    DLQ_WAITING = 0,   /* goes by itself when its destination is back */
    DLQ_DEAD = 1,      /* somebody has to look */
    DLQ_REPLAYING = 2, /* its owner has begun, and the outcome is not known yet */
    DLQ_DONE = 3,      /* processed, delivered, or finally refused */
    DLQ_DISCARDED = 4, /* given up by somebody */
    DLQ_STALE = 5,     /* no longer of use: its time was over before it could be delivered */
    DLQ_STATE_COUNT
};

enum dlq_kind {
    DLQ_EVENT = 0,      /* a parked event; its owner keeps the row */
    DLQ_SUBSCRIBER = 1, /* a subscriber that is behind; its events are kept here */
    DLQ_REQUEST = 2,    /* a request that was handed over; only here */
    DLQ_CALL = 3,       /* an outbound call; its owner keeps the due row */
    DLQ_SAGA = 4,       /* a step of an order that could not be undone; its owner keeps the due row */
    DLQ_KIND_COUNT
};

#define DLQ_TEXT_SIZE 65
#define DLQ_ERROR_SIZE 513
#define DLQ_NONE (-1)
#define DLQ_HISTORY_MAX 100 /* attempts that a letter tells of */

/* A row of $letter. Texts are terminated, empty when there is none; numbers are DLQ_NONE when there is none. */
struct dlq_letter {
    int64_t n; /* the writer's own count; order of time */
    struct id id;
    enum dlq_state state;
    enum dlq_kind kind;
    char reason[DLQ_TEXT_SIZE];
    char error[DLQ_ERROR_SIZE];
    char destination[DLQ_TEXT_SIZE]; /* "stock/0" */
    char key[DLQ_TEXT_SIZE];
    char type[DLQ_TEXT_SIZE];
    char source[DLQ_TEXT_SIZE];
    int64_t seq;
    int64_t to; /* DLQ_SUBSCRIBER: the last event that is kept for it */
    char row_owner[33];
    uint8_t row_key[64];
    size_t row_key_size;
    int64_t attempts;
    int64_t first_ms;
    int64_t last_ms;
    int64_t opened_ms;
    int64_t changed_ms;
    int64_t units;
    int64_t amount;
    char currency[4];
    int64_t useful_until_ms; /* DLQ_REQUEST */
    struct id request;       /* DLQ_REQUEST: the request's id; zero for none */
    struct id replay;        /* the replay that dealt with it last; zero for none */
    err status;              /* DLQ_REQUEST, done: ok or the refusal; ERR_COUNT while it is not known */
    char traceparent[56];
    char principal[129];
};

/* What is large, in a table of its own. Empty slices for what there is not. */
struct dlq_frames {
    struct slice header;
    struct slice body;
    struct slice original; /* the body before the first edit */
    struct slice history;  /* elements of letter_attempt, encoded as they are in a list */
    int64_t history_count;
    struct slice answer; /* DLQ_REQUEST, done: the body of the reply */
};

/* "dead" and the like; never NULL. */
const char *
dlq_state_name(enum dlq_state state);
const char *
dlq_kind_name(enum dlq_kind kind);

/* DLQ_STATE_COUNT, DLQ_KIND_COUNT when there is none of that name. */
enum dlq_state
dlq_state_find(struct slice name);
enum dlq_kind
dlq_kind_find(struct slice name);

/* Copies text, cut to fit at a character's border, terminated. */
void
dlq_copy(char *to, size_t size, struct slice text);

/* Attempts are counted by others as well, and may be as many as a number can say. */
static inline int64_t
dlq_one_more(int64_t attempts)
{
    return attempts < NUMBER_MAX ? attempts + 1 : attempts;
}

/* The letter as it goes over the wire. Borrows from `letter`. */
struct wire_letter
dlq_letter_body(const struct dlq_letter *letter);

/* Adds the letter's latest attempt behind those there are; of too many the first one and the latest stay. `out` holds the history
 * then, and nothing else. */
void
dlq_history_add(struct dlq_frames *frames, const struct dlq_letter *letter, struct wire_buffer *out);

/* "stock/0" -> "stock", 0. False: no such actor name and number. */
bool
dlq_split(const char *destination, char actor[DLQ_TEXT_SIZE], int *shard);

#endif
