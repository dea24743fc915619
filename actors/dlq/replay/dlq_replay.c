/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Replays of selections: which letters, frozen when it starts; then each letter's owner is asked to try its row again, as
 *           fast as is allowed, a canary first when one is wanted.
 *
 * MESSAGES  dlq.start, dlq.status, dlq.replays, dlq.cancel. Due row "replay" (key: replay id): go on; every replay that has not ended
 *           has one, so that it goes on after a restart.
 *
 * STATE     $replay and $replay_letter. Selecting: chunks of letters up to the newest one at the start are written down, in batches of
 *           their own. Then letters without an outcome go through a window, in order; an outcome is written in the transaction that
 *           changes the letter. In memory the replays under way with their windows, which are but a copy: a dropped batch and a
 *           restart forget them and read the rows, and letters without an outcome are sent again. Their owner answers `gone` for
 *           those that were done.
 *
 * FAILURES  An owner that is away: its letters wait in the window, and are tried again each LATER_MS. A letter that waits behind
 *           another of its key is tried BEHIND_MAX times and has failed then. One that was discarded since it was selected is left
 *           out of the total. A failed canary, or any failure with stop_on_failure, sends nothing more.
 *
 * LIMITS    RUNS_MAX replays at a time, WINDOW letters of each under way. Outcomes that come after a stop or a cancel are counted as
 *           long as the process lives.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dlq_dry_run.h"
#include "dlq_replay_store.h"
#include "dlq/dlq_state.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

enum {
    WINDOW = 512,
    RUNS_MAX = 8,
    CHUNK_PAGES = 5,
    LATER_MS = 500,
    BEHIND_MAX = 3,
    TICK_MS = 50,
    BURST_MS = 100, /* of a rate: what was not used of it does not gather */
    PAGE_DEFAULT = 100,
    PAGE_BYTES = 900 * 1024 /* a page ends here, and goes on with the next */
};

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
    struct slot slots[WINDOW];
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
    struct dry_runs *dry_runs;
    struct wire_buffer list;
    struct metric *stopped;
};

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

err
dlq_replay_open(struct dlq *dlq)
{
    dlq->replays = calloc(1, sizeof *dlq->replays);
    if (dlq->replays == NULL) {
        abort();
    }
    dlq->replays->dry_runs = dry_runs_create();
    dlq->replays->stopped = metric(METRIC_COUNTER, "larder_replays_stopped_total", "", "Replays that a failure has ended.");
    return ERR_ok;
}

void
dlq_replay_close(struct dlq *dlq)
{
    if (dlq->replays != NULL) {
        forget_runs(dlq->replays);
        dry_runs_destroy(&dlq->replays->dry_runs);
        wire_buffer_fini(&dlq->replays->list);
        free(dlq->replays);
        dlq->replays = NULL;
    }
}

void
dlq_replay_committed(struct dlq *dlq)
{
    dry_runs_committed(dlq->replays->dry_runs); /* of replays what is in memory is what was written */
}

void
dlq_replay_dropped(struct dlq *dlq)
{
    forget_runs(dlq->replays);
    dry_runs_dropped(dlq->replays->dry_runs);
}

static struct run *
add_run(struct dlq_runs *replays, const struct replay_row *row)
{
    struct run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        abort();
    }
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

static struct run *
find_run(const struct dlq_runs *replays, const struct id *id)
{
    struct run *run = replays->first;
    while (run != NULL && !id_equal(&run->row.id, id)) {
        run = run->next;
    }
    return run;
}

static struct slot *
find_slot(struct run *run, int64_t letter)
{
    for (size_t i = 0; run->used > 0 && i < WINDOW; i++) {
        if (run->slots[i].state != SLOT_FREE && run->slots[i].letter == letter) {
            return &run->slots[i];
        }
    }
    return NULL;
}

static struct slot *
take_slot(struct run *run, int64_t place, int64_t letter)
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
free_slot(struct run *run, struct slot *slot)
{
    slot->state = SLOT_FREE;
    run->used--;
}

/* How far letters may be taken. */
static int64_t
last_place(const struct run *run)
{
    return run->row.state == REPLAY_CANARY ? run->row.canary : INT64_MAX;
}

/* Those that were under way, as far as is known: to be looked at again at once. */
static err
fill_window(struct dlq *dlq, struct run *run)
{
    struct db_statement *rows;
    struct replay_letter letter;
    int64_t limit = run->row.rate > 0 && run->row.rate < INT64_C(10) * WINDOW ? run->row.rate / 10 + 1 : WINDOW;
    err code = replay_store_letters(dlq->store.db, run->row.n, 0, last_place(run), limit, &rows);
    while (code == ERR_ok && replay_store_next_letter(rows, &letter)) {
        (void)take_slot(run, letter.place, letter.n);
    }
    return code;
}

static err
load(struct dlq *dlq)
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
        (void)add_run(replays, &row);
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

static struct slice
key_of(const struct id *id)
{
    return (struct slice){id->bytes, sizeof id->bytes};
}

static void
set_due(struct batch *batch, const struct run *run)
{
    int64_t pause_ms = LATER_MS;
    if (run->row.state == REPLAY_SELECTING) {
        pause_ms = 0;
    } else if (run->row.rate > 0) {
        int64_t each_ms = 1000 / run->row.rate;
        pause_ms = each_ms < TICK_MS ? TICK_MS : each_ms;
        pause_ms = pause_ms > LATER_MS ? LATER_MS : pause_ms;
    }
    batch_due(batch, &(struct due){.owner = DLQ_DUE_REPLAY, .key = key_of(&run->row.id), .due_ms = batch->now_ms + pause_ms});
}

/* --- outcomes --- */

static void
log_ended(const struct run *run, const char *event)
{
    log_info(event, LOG_ID("replay", &run->row.id), LOG_TEXT("state", replay_state_name(run->row.state)),
             LOG_I64("total", run->row.total), LOG_I64("done", run->row.done), LOG_I64("failed", run->row.failed),
             LOG_I64("under_way", (int64_t)run->used), LOG_I64("took_ms", run->row.ended_ms - run->row.started_ms));
}

/* Nothing more is sent; what was sent still comes in, and is counted: the counts are final when nothing is under way. */
static void
end_run(struct batch *batch, struct run *run, enum replay_state state)
{
    run->row.state = state;
    run->row.ended_ms = batch->now_ms;
    run->is_changed = true;
    for (size_t i = 0; i < WINDOW; i++) {
        if (run->slots[i].state == SLOT_LATER) {
            free_slot(run, &run->slots[i]);
        }
    }
    if (run->used > 0) {
        log_ended(run, "replay_ends");
    }
}

static void
close_slot(struct dlq *dlq, struct run *run, struct slot *slot, enum replay_outcome outcome)
{
    run->row.done += outcome == REPLAY_LETTER_DONE;
    run->row.failed += outcome == REPLAY_LETTER_FAILED;
    run->row.total -= outcome == REPLAY_LETTER_LEFT_OUT;
    run->is_changed = true;
    replay_store_note_letter(dlq->store.db, run->row.n, slot->place, slot->letter, outcome);
    free_slot(run, slot);
}

static void
settle(struct dlq *dlq, struct batch *batch, struct run *run, const struct dlq_outcome *outcome)
{
    const struct dlq_letter *letter = outcome->letter;
    struct slot *slot = find_slot(run, letter->n);
    bool has_ended = replay_has_ended(run->row.state);
    if (slot == NULL) {
        return;
    }
    slot->behind += outcome->is_behind;
    /* A request that waits is delivered by itself. */
    bool is_open = (outcome->is_later && slot->behind < BEHIND_MAX) || (letter->state == DLQ_WAITING && !outcome->is_done);
    if (is_open && has_ended) {
        free_slot(run, slot);
        return;
    }
    if (is_open) {
        slot->state = SLOT_LATER;
        slot->until_ms = batch->now_ms + LATER_MS;
        return;
    }
    if (letter->state == DLQ_DISCARDED) {
        close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
        return;
    }
    close_slot(dlq, run, slot, outcome->is_done ? REPLAY_LETTER_DONE : REPLAY_LETTER_FAILED);
    if (!outcome->is_done && !has_ended && (run->row.state == REPLAY_CANARY || run->row.stop_on_failure)) {
        run->row.stopped_by = letter->id;
        dlq_copy(run->row.error, sizeof run->row.error, slice_of(letter->error));
        end_run(batch, run, REPLAY_STOPPED);
        metric_add(dlq->replays->stopped, 1);
    }
}

err
dlq_replay_note(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome)
{
    err code = load(dlq);
    for (struct run *run = dlq->replays->first; code == ERR_ok && run != NULL; run = run->next) {
        settle(dlq, batch, run, outcome);
    }
    return code;
}

err
dlq_replay_of(struct dlq *dlq, int64_t n, struct id *replay)
{
    *replay = (struct id){{0}};
    err code = load(dlq);
    for (struct run *run = dlq->replays->first; code == ERR_ok && run != NULL; run = run->next) {
        if (find_slot(run, n) != NULL) {
            *replay = run->row.id;
        }
    }
    return code;
}

static struct wire_replay
body_of(const struct run *run)
{
    struct wire_replay body = replay_body_of(&run->row);
    WIRE_SET(&body, replay, under_way, (int64_t)run->used);
    return body;
}

/* --- sending --- */

/* What is to be done with a letter that is in the window, as it is now. */
static err
send_letter(struct dlq *dlq, struct batch *batch, struct run *run, struct slot *slot, struct dlq_letter *letter)
{
    switch (letter->state) {
    case DLQ_DONE:
        close_slot(dlq, run, slot, REPLAY_LETTER_DONE);
        return ERR_ok;
    case DLQ_DISCARDED:
        close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
        return ERR_ok;
    case DLQ_WAITING:
        slot->state = SLOT_LATER;
        slot->until_ms = batch->now_ms + LATER_MS;
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
    for (size_t i = 0; run->used > 0 && i < WINDOW && !replay_has_ended(run->row.state); i++) {
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
            close_slot(dlq, run, slot, REPLAY_LETTER_LEFT_OUT);
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
    int64_t room = WINDOW - (int64_t)run->used;
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
    err code = replay_store_letters(dlq->store.db, run->row.n, run->place, last_place(run), limit, &rows);
    while (code == ERR_ok && count < limit && replay_store_next_letter(rows, &letters[count])) {
        count++;
    }
    if (code == ERR_ok) {
        db_done(rows);
        run->is_all_seen = count < limit;
        run->allowance -= run->row.rate > 0 ? count * 1000 : 0;
    }
    for (int64_t i = 0; code == ERR_ok && i < count && !replay_has_ended(run->row.state); i++) {
        struct slot *slot = take_slot(run, letters[i].place, letters[i].n);
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
            end_run(batch, run, REPLAY_DONE);
        }
    }
    if (code == ERR_ok && run->is_changed) {
        run->is_changed = false;
        code = replay_store_update(dlq->store.db, &run->row);
    }
    return code;
}

err
dlq_replay_advance(struct dlq *dlq, struct batch *batch)
{
    struct dlq_runs *replays = dlq->replays;
    struct run **at = &replays->first;
    err code = ERR_ok;
    while (code == ERR_ok && *at != NULL) {
        struct run *run = *at;
        code = advance(dlq, batch, run);
        if (code == ERR_ok && replay_has_ended(run->row.state) && run->used == 0) {
            log_ended(run, "replay_ended");
            *at = run->next;
            replays->count--;
            free(run);
        } else {
            at = &run->next;
        }
    }
    if (code == ERR_ok) {
        code = replay_store_flush(dlq->store.db);
    }
    return code == ERR_ok ? dry_runs_advance(dlq, replays->dry_runs, batch) : code;
}

int64_t
dlq_replay_next_ms(const struct dlq *dlq)
{
    return dry_runs_are_waiting(dlq->replays->dry_runs) ? 0 : INT64_MAX;
}

/* --- selecting --- */

static err
select_page(struct dlq *dlq, struct run *run, const struct wire_letter_filter *filter, bool *is_last)
{
    struct replay_row *row = &run->row;
    struct db_statement *rows;
    struct dlq_letter letter;
    struct err_text why = {""};
    int64_t count = 0;
    err code = dlq_store_select(&dlq->store, filter, row->started_ms, row->selected_to, row->last_letter, DLQ_SELECT_MAX, &rows, &why);
    if (code != ERR_ok) {
        return code;
    }
    while (dlq_store_next(rows, &letter)) {
        replay_store_select_letter(dlq->store.db, row->n, ++row->total, letter.n);
        row->selected_to = letter.n;
        count++;
    }
    *is_last = count < DLQ_SELECT_MAX;
    return ERR_ok;
}

static err
select_more(struct dlq *dlq, struct batch *batch, struct run *run)
{
    struct wire_letter_filter filter;
    struct err_text why = {""};
    bool is_last = false;
    err code = wire_decode(&letter_filter_body, (struct slice){run->row.filter, run->row.filter_size}, &filter, &why);
    for (int page = 0; code == ERR_ok && page < CHUNK_PAGES && !is_last; page++) {
        code = select_page(dlq, run, &filter, &is_last);
    }
    run->is_changed = true;
    if (code == ERR_ok && is_last) {
        run->row.state = run->row.canary > 0 ? REPLAY_CANARY : REPLAY_RUNNING;
        log_info("replay_selected", LOG_ID("replay", &run->row.id), LOG_I64("total", run->row.total));
        if (run->row.total == 0) {
            end_run(batch, run, REPLAY_DONE);
        }
    }
    return code;
}

err
dlq_replay_handle_due(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct id id;
    err code = load(dlq);
    if (code != ERR_ok || item->key.size != sizeof id.bytes) {
        return code;
    }
    memcpy(id.bytes, item->key.data, sizeof id.bytes);
    struct run *run = find_run(dlq->replays, &id);
    if (run == NULL || replay_has_ended(run->row.state)) {
        return ERR_ok;
    }
    if (run->row.state == REPLAY_SELECTING) {
        code = select_more(dlq, batch, run);
    }
    if (!replay_has_ended(run->row.state)) {
        set_due(batch, run);
    }
    return code;
}

/* --- requests --- */

/* Only what can be replayed: dead letters when nothing is said, stale ones when they are asked for. */
static err
check_filter(const struct wire_letter_filter *given, struct wire_letter_filter *filter, struct err_text *why)
{
    *filter = *given;
    if (WIRE_HAS(given, letter_filter, before)) {
        return err_say(why, ERR_invalid_field, "letter_filter.before: a selection has no pages");
    }
    if (WIRE_HAS(given, letter_filter, limit)) {
        return err_say(why, ERR_invalid_field, "letter_filter.limit: a selection has no pages");
    }
    if (!WIRE_HAS(given, letter_filter, state)) {
        WIRE_SET(filter, letter_filter, state, slice_of(dlq_state_name(DLQ_DEAD)));
        return ERR_ok;
    }
    enum dlq_state state = dlq_state_find(given->state);
    if (state != DLQ_DEAD && state != DLQ_STALE) {
        return err_say(why, ERR_invalid_field, "letter_filter.state: only dead and stale letters can be replayed");
    }
    return ERR_ok;
}

/* Whether the filter finds anything; refuses otherwise. */
static err
check_selection(struct dlq *dlq, struct batch *batch, struct item *item, struct wire_letter_filter *filter, bool *is_fine)
{
    const struct wire_dlq_start *start = item->body;
    struct err_text why = {""};
    struct db_statement *rows = NULL;
    struct dlq_letter letter;
    err code = check_filter(&start->filter, filter, &why);
    *is_fine = false;
    if (code == ERR_ok) {
        code = dlq_store_select(&dlq->store, filter, batch->now_ms, 0, dlq->store.last_n, 1, &rows, &why);
    }
    if (code == ERR_invalid_field) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    if (code != ERR_ok) {
        return code;
    }
    *is_fine = dlq_store_next(rows, &letter);
    db_done(rows);
    if (!*is_fine) {
        item_refuse(batch, item, ERR_unknown_letter, "no %.*s letter matches", (int)filter->state.size,
                    (const char *)filter->state.data);
    }
    return ERR_ok;
}

/* The filter fits: its texts are bounded. */
static struct replay_row
row_of(struct dlq *dlq, const struct batch *batch, const struct item *item, const struct wire_letter_filter *filter)
{
    const struct wire_dlq_start *start = item->body;
    struct wire_buffer *buffer = &dlq->replays->list;
    struct replay_row row = {.id = id_derive(&item->id, "replay"),
                             .last_letter = dlq->store.last_n,
                             .rate = WIRE_HAS(start, dlq_start, rate) ? start->rate : 0,
                             .canary = WIRE_HAS(start, dlq_start, canary) ? start->canary : 0,
                             .stop_on_failure = WIRE_HAS(start, dlq_start, stop_on_failure) && start->stop_on_failure,
                             .started_ms = batch->now_ms};
    dlq_copy(row.author, sizeof row.author, start->author);
    dlq_copy(row.reason, sizeof row.reason, start->reason);
    buffer->size = 0;
    wire_encode(&letter_filter_body, filter, buffer);
    assert(buffer->size <= sizeof row.filter);
    memcpy(row.filter, buffer->data, buffer->size);
    row.filter_size = buffer->size;
    return row;
}

static err
note_audit(struct dlq *dlq, struct batch *batch, const struct replay_row *row, const char *action, struct slice author)
{
    return dlq_store_add_audit(
        &dlq->store,
        &(struct dlq_audit){
            .replay = row->n, .time_ms = batch->now_ms, .author = author, .action = action, .reason = slice_of(row->reason)});
}

static err
begin(struct dlq *dlq, struct batch *batch, struct item *item, struct replay_row *row)
{
    row->n = ++dlq->replays->last_n;
    row->state = REPLAY_SELECTING;
    struct run *run = add_run(dlq->replays, row);
    err code = replay_store_insert(dlq->store.db, row);
    if (code == ERR_ok) {
        code = note_audit(dlq, batch, row, "start", slice_of(row->author));
    }
    if (code == ERR_ok) {
        struct wire_replay body = body_of(run);
        set_due(batch, run);
        item_answer(batch, item, &body);
        log_info("replay_started", LOG_ID("replay", &row->id), LOG_TEXT("author", row->author), LOG_TEXT("reason", row->reason));
    }
    return code;
}

err
dlq_handle_start(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_start *start = item->body;
    struct wire_letter_filter filter;
    bool is_fine = false;
    err code = load(dlq);
    if (code == ERR_ok) {
        code = check_selection(dlq, batch, item, &filter, &is_fine);
    }
    if (code != ERR_ok || !is_fine) {
        return code;
    }
    struct replay_row row = row_of(dlq, batch, item, &filter);
    if (WIRE_HAS(start, dlq_start, dry_run) && start->dry_run) {
        dry_runs_begin(dlq, dlq->replays->dry_runs, batch, item, &row);
        return ERR_ok;
    }
    if (dlq->replays->count >= RUNS_MAX) {
        item_refuse(batch, item, ERR_overloaded, "%d replays are under way", RUNS_MAX);
        return ERR_ok;
    }
    return begin(dlq, batch, item, &row);
}

/* Of those under way memory knows the latest. Refuses when there is none. */
static err
get_row(struct dlq *dlq, struct batch *batch, struct item *item, struct replay_row *row, bool *found)
{
    const struct wire_replay_ref *ref = item->body;
    err code = load(dlq);
    if (code != ERR_ok) {
        return code;
    }
    const struct run *run = find_run(dlq->replays, &ref->replay);
    *found = run != NULL;
    if (run != NULL) {
        *row = run->row;
        return ERR_ok;
    }
    code = replay_store_find(dlq->store.db, &ref->replay, row, found);
    if (code == ERR_ok && !*found) {
        char text[ID_TEXT_SIZE];
        id_format(&ref->replay, text);
        item_refuse(batch, item, ERR_unknown_replay, "there is no replay %s", text);
    }
    return code;
}

err
dlq_handle_status(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct replay_row row;
    bool found = false;
    err code = get_row(dlq, batch, item, &row, &found);
    if (code == ERR_ok && found) {
        const struct run *run = find_run(dlq->replays, &row.id);
        struct wire_replay body = run == NULL ? replay_body_of(&row) : body_of(run);
        item_answer(batch, item, &body);
    }
    return code;
}

err
dlq_handle_replays(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_replays *asked = item->body;
    struct wire_buffer *buffer = &dlq->replays->list;
    int64_t limit = WIRE_HAS(asked, dlq_replays, limit) ? asked->limit : PAGE_DEFAULT;
    int64_t before = WIRE_HAS(asked, dlq_replays, before) ? asked->before : INT64_MAX;
    struct db_statement *rows = NULL;
    struct replay_row row;
    struct wire_list list = {0};
    int64_t count = 0;
    bool has_more = false;
    err code = load(dlq);
    if (code == ERR_ok) {
        code = replay_store_page(dlq->store.db, before, limit + 1, &rows);
    }
    if (code != ERR_ok) {
        return code;
    }
    buffer->size = 0;
    while (replay_store_next(rows, &row)) {
        const struct run *run = find_run(dlq->replays, &row.id);
        if (count < limit && buffer->size <= PAGE_BYTES) {
            struct wire_replay body = run == NULL ? replay_body_of(&row) : body_of(run);
            wire_list_add(&list, &replay_body, &body, buffer);
            count++;
        } else {
            has_more = true;
        }
    }
    wire_list_end(&list, buffer);
    struct wire_replay_page page = {0};
    WIRE_SET(&page, replay_page, replays, list);
    WIRE_SET(&page, replay_page, has_more, has_more);
    item_answer(batch, item, &page);
    return ERR_ok;
}

err
dlq_handle_cancel(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_replay_ref *ref = item->body;
    struct replay_row row;
    bool found = false;
    err code = get_row(dlq, batch, item, &row, &found);
    if (code != ERR_ok || !found) {
        return code;
    }
    struct run *run = find_run(dlq->replays, &ref->replay);
    if (run == NULL || replay_has_ended(run->row.state)) {
        item_refuse(batch, item, ERR_replay_closed, "it is %s", replay_state_name(row.state));
        return ERR_ok;
    }
    end_run(batch, run, REPLAY_CANCELLED);
    code = note_audit(dlq, batch, &run->row, "cancel", ref->author);
    if (code == ERR_ok) {
        struct wire_replay body = body_of(run);
        batch_due_cancel(batch, DLQ_DUE_REPLAY, key_of(&run->row.id));
        item_answer(batch, item, &body);
    }
    return code;
}
