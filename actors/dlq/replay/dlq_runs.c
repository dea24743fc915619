/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The replays under way: which letters of each are in its window, and what came of them.
 *
 * STATE     $replay and $replay_letter; in memory the replays that have not ended with their windows, which are but a copy: a dropped
 *           batch and a restart forget them and read the rows, and letters without an outcome are sent again. An outcome is written
 *           in the transaction that changes the letter.
 *
 * FAILURES  A letter that waits behind another of its key is tried BEHIND_MAX times and has failed then. One that was discarded since
 *           it was selected is left out of the total. A failed canary, or any failure with stop_on_failure, ends the replay.
 *
 * LIMITS    Outcomes that come after a stop or a cancel are counted as long as the process lives.
 */
#include "dlq_runs.h"

#include <stdlib.h>

#include "kit/telemetry/log.h"
#include "kit/base/memory.h"

enum { BEHIND_MAX = 3, TICK_MS = 50 };

/* --- memory --- */

static void
forget_runs(struct dlq_runs *replays)
{
    while (replays->first != NULL) {
        struct run *run = replays->first;
        replays->first = run->next;
        free(run);
    }
    replays->count = 0;
    replays->is_loaded = false;
}

static err
runs_open(struct dlq *dlq)
{
    dlq->replays = memory_new(1, sizeof *dlq->replays);
    dlq->replays->stopped = metric(METRIC_COUNTER, "larder_replays_stopped_total", "", "Replays that a failure has ended.");
    return ERR_ok;
}

static void
runs_close(struct dlq *dlq)
{
    if (dlq->replays != NULL) {
        forget_runs(dlq->replays);
        wire_buffer_fini(&dlq->replays->list);
        free(dlq->replays);
        dlq->replays = NULL;
    }
}

/* What was committed is in memory as it was written. */
static void
runs_dropped(struct dlq *dlq)
{
    forget_runs(dlq->replays);
}

struct run *
runs_add(struct dlq_runs *replays, const struct replay_row *row)
{
    struct run *run = memory_new(1, sizeof *run);
    run->row = *row;
    run->allowance = 1000;
    struct run **at = &replays->first;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = run;
    replays->count++;
    return run;
}

struct run *
runs_find(const struct dlq_runs *replays, const struct id *id)
{
    struct run *run = replays->first;
    while (run != NULL && !id_equal(&run->row.id, id)) {
        run = run->next;
    }
    return run;
}

static struct slot *
run_find_slot(struct run *run, int64_t letter)
{
    for (size_t i = 0; run->used > 0 && i < RUN_WINDOW; i++) {
        if (run->slots[i].state != SLOT_FREE && run->slots[i].letter == letter) {
            return &run->slots[i];
        }
    }
    return NULL;
}

struct slot *
run_take_slot(struct run *run, int64_t place, int64_t letter)
{
    struct slot *slot = run->slots;
    while (slot->state != SLOT_FREE) {
        slot++;
    }
    *slot = (struct slot){.place = place, .letter = letter, .state = SLOT_LATER};
    run->used++;
    run->place = place;
    return slot;
}

static void
run_free_slot(struct run *run, struct slot *slot)
{
    slot->state = SLOT_FREE;
    run->used--;
}

int64_t
run_last_place(const struct run *run)
{
    return run->row.state == REPLAY_CANARY ? run->row.canary : INT64_MAX;
}

/* Those that were under way, as far as is known: to be looked at again at once. */
static err
fill_window(struct dlq *dlq, struct run *run)
{
    struct db_statement *rows;
    struct replay_letter letter;
    int64_t limit = run->row.rate > 0 && run->row.rate < INT64_C(10) * RUN_WINDOW ? run->row.rate / 10 + 1 : RUN_WINDOW;
    err code = replay_store_letters(dlq->store.db, run->row.n, 0, run_last_place(run), limit, &rows);
    while (code == ERR_ok && replay_store_next_letter(rows, &letter)) {
        (void)run_take_slot(run, letter.place, letter.n);
    }
    return code;
}

err
dlq_runs_load(struct dlq *dlq)
{
    struct dlq_runs *replays = dlq->replays;
    struct db_statement *rows;
    struct replay_row row;
    if (replays->is_loaded) {
        return ERR_ok;
    }
    err code = replay_store_last(dlq->store.db, &replays->last_n);
    if (code == ERR_ok) {
        code = replay_store_open_ones(dlq->store.db, &rows);
    }
    while (code == ERR_ok && replay_store_next(rows, &row)) {
        (void)runs_add(replays, &row);
    }
    for (struct run *run = replays->first; code == ERR_ok && run != NULL; run = run->next) {
        code = run->row.state == REPLAY_SELECTING ? ERR_ok : fill_window(dlq, run);
    }
    if (code != ERR_ok) {
        forget_runs(replays);
    }
    replays->is_loaded = code == ERR_ok;
    return code;
}

void
run_set_due(struct batch *batch, const struct run *run)
{
    int64_t pause_ms = RUN_LATER_MS;
    if (run->row.state == REPLAY_SELECTING) {
        pause_ms = 0;
    } else if (run->row.rate > 0) {
        int64_t each_ms = 1000 / run->row.rate;
        pause_ms = each_ms < TICK_MS ? TICK_MS : each_ms;
        pause_ms = pause_ms > RUN_LATER_MS ? RUN_LATER_MS : pause_ms;
    }
    batch_due(batch, &(struct due){.owner = DLQ_DUE_REPLAY, .key = dlq_key_of(&run->row.id), .due_ms = batch->now_ms + pause_ms});
}

/* --- outcomes --- */

void
run_log_ended(const struct run *run, const char *event)
{
    log_info(event, LOG_ID("replay", &run->row.id), LOG_TEXT("state", replay_state_name(run->row.state)),
             LOG_I64("total", run->row.total), LOG_I64("done", run->row.done), LOG_I64("failed", run->row.failed),
             LOG_I64("under_way", (int64_t)run->used), LOG_I64("took_ms", run->row.ended_ms - run->row.started_ms));
}

void
run_end(struct batch *batch, struct run *run, enum replay_state state)
{
    run->row.state = state;
    run->row.ended_ms = batch->now_ms;
    run->is_changed = true;
    for (size_t i = 0; i < RUN_WINDOW; i++) {
        if (run->slots[i].state == SLOT_LATER) {
            run_free_slot(run, &run->slots[i]);
        }
    }
    if (run->used > 0) {
        run_log_ended(run, "replay_ends");
    }
}

void
run_close_slot(struct dlq *dlq, struct run *run, struct slot *slot, enum replay_outcome outcome)
{
    run->row.done += outcome == REPLAY_LETTER_DONE;
    run->row.failed += outcome == REPLAY_LETTER_FAILED;
    run->row.total -= outcome == REPLAY_LETTER_LEFT_OUT;
    run->is_changed = true;
    replay_store_note_letter(dlq->store.db, run->row.n, slot->place, slot->letter, outcome);
    run_free_slot(run, slot);
}

static void
settle(struct dlq *dlq, struct batch *batch, struct run *run, const struct dlq_outcome *outcome)
{
    const struct dlq_letter *letter = outcome->letter;
    struct slot *slot = run_find_slot(run, letter->n);
    bool has_ended = replay_has_ended(run->row.state);
    if (slot == NULL) {
        return;
    }
    slot->behind += outcome->is_behind;
    /* A request that waits is delivered by itself. */
    bool is_open = (outcome->is_later && slot->behind < BEHIND_MAX) || (letter->state == DLQ_WAITING && !outcome->is_done);
    if (is_open && has_ended) {
        run_free_slot(run, slot);
        return;
    }
    if (is_open) {
        slot->state = SLOT_LATER;
        slot->until_ms = batch->now_ms + RUN_LATER_MS;
        return;
    }
    if (letter->state == DLQ_DISCARDED) {
        run_close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
        return;
    }
    run_close_slot(dlq, run, slot, outcome->is_done ? REPLAY_LETTER_DONE : REPLAY_LETTER_FAILED);
    if (!outcome->is_done && !has_ended && (run->row.state == REPLAY_CANARY || run->row.stop_on_failure)) {
        run->row.stopped_by = letter->id;
        dlq_copy(run->row.error, sizeof run->row.error, slice_of(letter->error));
        run_end(batch, run, REPLAY_STOPPED);
        metric_add(dlq->replays->stopped, 1);
    }
}

err
dlq_runs_note(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome)
{
    err code = dlq_runs_load(dlq);
    for (struct run *run = dlq->replays->first; code == ERR_ok && run != NULL; run = run->next) {
        settle(dlq, batch, run, outcome);
    }
    return code;
}

err
dlq_runs_find_replay(struct dlq *dlq, int64_t n, struct id *replay)
{
    *replay = (struct id){{0}};
    err code = dlq_runs_load(dlq);
    for (struct run *run = dlq->replays->first; code == ERR_ok && run != NULL; run = run->next) {
        if (run_find_slot(run, n) != NULL) {
            *replay = run->row.id;
        }
    }
    return code;
}

struct wire_replay
run_body(const struct run *run)
{
    struct wire_replay body = replay_body_of(&run->row);
    WIRE_SET(&body, replay, under_way, (int64_t)run->used);
    return body;
}

const struct dlq_part dlq_runs_part = {
    .open = runs_open,
    .dropped = runs_dropped,
    .close = runs_close,
};
