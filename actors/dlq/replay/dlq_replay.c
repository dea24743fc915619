/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Replays of selections: which letters, frozen when it starts; dlq_sending.c sends them, dlq_runs.c knows what came of them.
 *
 * MESSAGES  dlq.start, dlq.status, dlq.replays, dlq.cancel. Due row "replay" (key: replay id): go on; every replay that has not ended
 *           has one, so that it goes on after a restart.
 *
 * STATE     $replay and $replay_letter. Selecting: chunks of letters up to the newest one at the start are written down, in batches of
 *           their own. Then letters without an outcome go through a window.
 *
 * FAILURES  A selection that finds nothing is refused. A stop or a cancel sends nothing more.
 *
 * LIMITS    RUNS_MAX replays at a time.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "dlq_dry_run.h"
#include "dlq_runs.h"
#include "kit/telemetry/log.h"

enum {
    RUNS_MAX = 8,
    CHUNK_PAGES = 5,
    PAGE_DEFAULT = 100,
    PAGE_BYTES = 900 * 1024 /* a page ends here, and goes on with the next */
};

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
            run_end(batch, run, REPLAY_DONE);
        }
    }
    return code;
}

err
dlq_replay_handle_due(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct id id;
    err code = dlq_runs_load(dlq);
    if (code != ERR_ok || !dlq_id_of_key(item->key, &id)) {
        return code;
    }
    struct run *run = runs_find(dlq->replays, &id);
    if (run == NULL || replay_has_ended(run->row.state)) {
        return ERR_ok;
    }
    if (run->row.state == REPLAY_SELECTING) {
        code = select_more(dlq, batch, run);
    }
    if (!replay_has_ended(run->row.state)) {
        run_set_due(batch, run);
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
    struct run *run = runs_add(dlq->replays, row);
    err code = replay_store_insert(dlq->store.db, row);
    if (code == ERR_ok) {
        code = note_audit(dlq, batch, row, "start", slice_of(row->author));
    }
    if (code == ERR_ok) {
        struct wire_replay body = run_body(run);
        run_set_due(batch, run);
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
    err code = dlq_runs_load(dlq);
    if (code == ERR_ok) {
        code = check_selection(dlq, batch, item, &filter, &is_fine);
    }
    if (code != ERR_ok || !is_fine) {
        return code;
    }
    struct replay_row row = row_of(dlq, batch, item, &filter);
    if (WIRE_HAS(start, dlq_start, dry_run) && start->dry_run) {
        dry_runs_begin(dlq, batch, item, &row);
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
    err code = dlq_runs_load(dlq);
    if (code != ERR_ok) {
        return code;
    }
    const struct run *run = runs_find(dlq->replays, &ref->replay);
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
        const struct run *run = runs_find(dlq->replays, &row.id);
        struct wire_replay body = run == NULL ? replay_body_of(&row) : run_body(run);
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
    err code = dlq_runs_load(dlq);
    if (code == ERR_ok) {
        code = replay_store_page(dlq->store.db, before, limit + 1, &rows);
    }
    if (code != ERR_ok) {
        return code;
    }
    buffer->size = 0;
    while (replay_store_next(rows, &row)) {
        const struct run *run = runs_find(dlq->replays, &row.id);
        if (count < limit && buffer->size <= PAGE_BYTES) {
            struct wire_replay body = run == NULL ? replay_body_of(&row) : run_body(run);
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
    struct run *run = runs_find(dlq->replays, &ref->replay);
    if (run == NULL || replay_has_ended(run->row.state)) {
        item_refuse(batch, item, ERR_replay_closed, "it is %s", replay_state_name(row.state));
        return ERR_ok;
    }
    run_end(batch, run, REPLAY_CANCELLED);
    code = note_audit(dlq, batch, &run->row, "cancel", ref->author);
    if (code == ERR_ok) {
        struct wire_replay body = run_body(run);
        batch_due_cancel(batch, DLQ_DUE_REPLAY, dlq_key_of(&run->row.id));
        item_answer(batch, item, &body);
    }
    return code;
}
