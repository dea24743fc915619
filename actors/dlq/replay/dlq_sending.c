/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Sends the letters of replays: each letter's owner is asked to try its row again, as fast as is allowed, a canary first
 *           when one is wanted.
 *
 * STATE     The windows of dlq_runs.c: letters without an outcome go through them, in order. An owner answers `gone` for those that
 *           were done when memory was lost.
 *
 * FAILURES  An owner that is away: its letters wait in the window, and are tried again each RUN_LATER_MS.
 *
 * LIMITS    RUN_WINDOW letters of each replay under way.
 */
#include "dlq_dry_run.h"
#include "dlq_runs.h"

#include <stdlib.h>

enum { BURST_MS = 100 /* of a rate: what was not used of it does not gather */ };

/* What is to be done with a letter that is in the window, as it is now. */
static err
send_letter(struct dlq *dlq, struct batch *batch, struct run *run, struct slot *slot, struct dlq_letter *letter)
{
    switch (letter->state) {
    case DLQ_DONE:
        run_close_slot(dlq, run, slot, REPLAY_LETTER_DONE);
        return ERR_ok;
    case DLQ_DISCARDED:
        run_close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
        return ERR_ok;
    case DLQ_WAITING:
        slot->state = SLOT_LATER;
        slot->until_ms = batch->now_ms + RUN_LATER_MS;
        return ERR_ok;
    case DLQ_DEAD:
    case DLQ_REPLAYING:
    case DLQ_STALE:
    case DLQ_STATE_COUNT:
        break;
    }
    slot->state = SLOT_ASKED;
    letter->replay = run->row.id;
    return dlq_owner_retry(dlq, batch, letter);
}

/* Those whose owner was away, and those that were under way when memory was lost: letters may have changed meanwhile. */
static err
send_later_ones(struct dlq *dlq, struct batch *batch, struct run *run)
{
    for (size_t i = 0; run->used > 0 && i < RUN_WINDOW && !replay_has_ended(run->row.state); i++) {
        struct slot *slot = &run->slots[i];
        struct dlq_letter letter;
        bool found = false;
        if (slot->state != SLOT_LATER || slot->until_ms > batch->now_ms) {
            continue;
        }
        err code = dlq_store_find_n(&dlq->store, slot->letter, &letter, &found);
        if (code == ERR_ok && found) {
            code = send_letter(dlq, batch, run, slot, &letter);
        } else if (code == ERR_ok) {
            run_close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

/* How many letters may be sent now. */
static int64_t
allowed(struct run *run, int64_t now_ms)
{
    int64_t room = RUN_WINDOW - (int64_t)run->used;
    if (run->row.rate == 0) {
        return room;
    }
    int64_t most = run->row.rate * BURST_MS > 1000 ? run->row.rate * BURST_MS : 1000;
    if (run->allowance_ms > 0 && now_ms > run->allowance_ms) {
        run->allowance += run->row.rate * (now_ms - run->allowance_ms);
    }
    run->allowance_ms = now_ms;
    run->allowance = run->allowance > most ? most : run->allowance;
    return run->allowance / 1000 < room ? run->allowance / 1000 : room;
}

static struct dlq_letter
letter_of(const struct replay_letter *from)
{
    struct dlq_letter letter = {.n = from->n,
                                .id = from->id,
                                .state = from->state,
                                .kind = from->kind,
                                .seq = from->seq,
                                .row_key_size = from->row_key_size,
                                .status = ERR_COUNT};
    memcpy(letter.destination, from->destination, sizeof letter.destination);
    memcpy(letter.source, from->source, sizeof letter.source);
    memcpy(letter.row_owner, from->row_owner, sizeof letter.row_owner);
    memcpy(letter.row_key, from->row_key, sizeof letter.row_key);
    memcpy(letter.traceparent, from->traceparent, sizeof letter.traceparent);
    return letter;
}

/* The next ones into the window. */
static err
send_more(struct dlq *dlq, struct batch *batch, struct run *run)
{
    struct db_statement *rows;
    int64_t limit = run->is_all_seen ? 0 : allowed(run, batch->now_ms);
    int64_t count = 0;
    if (limit <= 0) {
        return ERR_ok;
    }
    struct replay_letter *letters = batch_alloc(batch, (size_t)limit * sizeof *letters);
    err code = replay_store_letters(dlq->store.db, run->row.n, run->place, run_last_place(run), limit, &rows);
    while (code == ERR_ok && count < limit && replay_store_next_letter(rows, &letters[count])) {
        count++;
    }
    if (code == ERR_ok) {
        db_done(rows);
        run->is_all_seen = count < limit;
        run->allowance -= run->row.rate > 0 ? count * 1000 : 0;
    }
    for (int64_t i = 0; code == ERR_ok && i < count && !replay_has_ended(run->row.state); i++) {
        struct slot *slot = run_take_slot(run, letters[i].place, letters[i].n);
        struct dlq_letter letter = letter_of(&letters[i]);
        bool found = true;
        if (letter.kind == DLQ_REQUEST) {
            code = dlq_store_find_n(&dlq->store, letters[i].n, &letter, &found);
        }
        if (code == ERR_ok) {
            code = send_letter(dlq, batch, run, slot, &letter);
        }
    }
    return code;
}

/* Whether a canary has been all right: then the rest follows at once. */
static bool
has_canary_passed(struct run *run)
{
    bool has_passed = run->row.state == REPLAY_CANARY && run->used == 0 && (run->is_all_seen || run->place >= run->row.canary);
    if (has_passed) {
        run->row.state = REPLAY_RUNNING;
        run->is_all_seen = false;
        run->is_changed = true;
    }
    return has_passed;
}

static err
advance(struct dlq *dlq, struct batch *batch, struct run *run)
{
    err code = ERR_ok;
    if (run->row.state == REPLAY_CANARY || run->row.state == REPLAY_RUNNING) {
        code = send_later_ones(dlq, batch, run);
        do {
            code = code == ERR_ok ? send_more(dlq, batch, run) : code;
        } while (code == ERR_ok && has_canary_passed(run));
        if (run->row.state == REPLAY_RUNNING && run->is_all_seen && run->used == 0) {
            run_end(batch, run, REPLAY_DONE);
        }
    }
    if (code == ERR_ok && run->is_changed) {
        run->is_changed = false;
        code = replay_store_update(dlq->store.db, &run->row);
    }
    return code;
}

static err
sending_queue(struct dlq *dlq, struct batch *batch)
{
    struct dlq_runs *replays = dlq->replays;
    struct run **at = &replays->first;
    err code = ERR_ok;
    while (code == ERR_ok && *at != NULL) {
        struct run *run = *at;
        code = advance(dlq, batch, run);
        if (code == ERR_ok && replay_has_ended(run->row.state) && run->used == 0) {
            run_log_ended(run, "replay_ended");
            *at = run->next;
            replays->count--;
            free(run);
        } else {
            at = &run->next;
        }
    }
    return code == ERR_ok ? replay_store_flush(dlq->store.db) : code;
}

const struct dlq_part dlq_sending_part = {
    .queue = sending_queue,
};
