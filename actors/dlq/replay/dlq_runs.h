/* SPDX-License-Identifier: MPL-2.0 */
/* The replays under way, with the letters of each that are in its window. For what sends them and what begins them. */
#ifndef LARDER_DLQ_RUNS_H
#define LARDER_DLQ_RUNS_H

#include "dlq/dlq_state.h"
#include "dlq_replay_store.h"
#include "kit/telemetry/metrics.h"

enum { RUN_WINDOW = 512, RUN_LATER_MS = 500 };

enum slot_state { SLOT_FREE, SLOT_ASKED, SLOT_LATER };

/* A letter under way. */
struct slot {
    int64_t place;
    int64_t letter;
    int64_t until_ms; /* SLOT_LATER */
    int behind;       /* how often another of its key went first */
    enum slot_state state;
};

struct run {
    struct run *next;
    struct replay_row row;
    struct slot slots[RUN_WINDOW];
    size_t used;
    int64_t place;    /* the last one that was taken into the window */
    bool is_all_seen; /* nothing is behind `place`; of a canary: nothing of it */
    bool is_changed;
    int64_t allowance; /* of a rate: thousandths of letters that may be sent */
    int64_t allowance_ms;
};

struct dlq_runs {
    bool is_loaded;
    int64_t last_n;
    size_t count;
    struct run *first;
    struct wire_buffer list;
    struct metric *stopped;
};

/* Reads those that have not ended, if that was not done since the last rollback: before anything is asked of them. */
MUST_CHECK err
dlq_runs_load(struct dlq *dlq);

struct run *
runs_add(struct dlq_runs *replays, const struct replay_row *row);
/* NULL: it has ended, or never was. */
struct run *
runs_find(const struct dlq_runs *replays, const struct id *id);

struct slot *
run_take_slot(struct run *run, int64_t place, int64_t letter);

/* How far letters may be taken. */
int64_t
run_last_place(const struct run *run);

/* When it goes on. */
void
run_set_due(struct batch *batch, const struct run *run);

/* Writes down what came of a letter, and gives its place in the window free. */
void
run_close_slot(struct dlq *dlq, struct run *run, struct slot *slot, enum replay_outcome outcome);

/* Nothing more is sent; what was sent still comes in, and is counted: the counts are final when nothing is under way. */
void
run_end(struct batch *batch, struct run *run, enum replay_state state);
void
run_log_ended(const struct run *run, const char *event);

/* The replay as it goes over the wire. */
struct wire_replay
run_body(const struct run *run);

#endif
