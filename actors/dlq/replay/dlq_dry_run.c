/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Counts what a replay would do, without doing any of it.
 *
 * STATE     In memory alone: who waits, what is counted so far, and behind which letter to go on. A batch that is dropped lets those
 *           that it has counted on begin anew.
 *
 * FAILURES  A state that is opened anew ends them: whoever waits is told `unavailable` by the kit.
 *
 * LIMITS    A filter on more than state, destination and reason reads every letter that it finds, SLICE_MS in each batch, so that
 *           nobody else waits for long. RUNS_MAX at a time, one after the other. Letters that change meanwhile are counted as they are
 *           when they are read. More than SHARES_MAX shares are in the total alone.
 */
#include "dlq_dry_run.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/clock.h"
#include "kit/base/sum.h"
#include "kit/base/memory.h"

enum { SHARES_MAX = 100, RUNS_MAX = 16, SLICE_MS = 15 };

struct share {
    char destination[DLQ_TEXT_SIZE];
    char reason[DLQ_TEXT_SIZE];
    int64_t letters;
    int64_t units;
};

struct dry_run {
    struct dry_run *next;
    struct waiter *waiter;
    struct replay_row row;
    int64_t after; /* the last letter that was looked at */
    size_t share_count;
    struct share shares[SHARES_MAX];
    bool is_new;      /* since the last commit */
    bool is_answered; /* likewise */
    bool is_changed;  /* likewise */
};

struct dry_runs {
    struct dry_run *first;
    size_t count;
    struct wire_buffer list;
};

/* --- life --- */

static err
runs_open(struct dlq *dlq)
{
    dlq->dry_runs = memory_new(1, sizeof *dlq->dry_runs);
    return ERR_ok;
}

static void
forget(struct dry_runs *runs, struct dry_run **at)
{
    struct dry_run *run = *at;
    *at = run->next;
    runs->count--;
    free(run);
}

static void
runs_close(struct dlq *dlq)
{
    struct dry_runs *runs = dlq->dry_runs;
    dlq->dry_runs = NULL;
    if (runs == NULL) {
        return;
    }
    while (runs->first != NULL) {
        forget(runs, &runs->first);
    }
    wire_buffer_fini(&runs->list);
    free(runs);
}

static void
begin_anew(struct dry_run *run)
{
    run->after = 0;
    run->row.total = 0;
    run->share_count = 0;
}

static void
runs_committed(struct dlq *dlq)
{
    struct dry_runs *runs = dlq->dry_runs;
    struct dry_run **at = &runs->first;
    while (*at != NULL) {
        (*at)->is_new = (*at)->is_changed = false;
        if ((*at)->is_answered) {
            forget(runs, at);
        } else {
            at = &(*at)->next;
        }
    }
}

static void
runs_dropped(struct dlq *dlq)
{
    struct dry_runs *runs = dlq->dry_runs;
    struct dry_run **at = &runs->first;
    while (*at != NULL) {
        if ((*at)->is_new) {
            forget(runs, at);
            continue;
        }
        if ((*at)->is_changed) {
            begin_anew(*at);
        }
        (*at)->is_answered = (*at)->is_changed = false;
        at = &(*at)->next;
    }
}

/* --- counting --- */

static void
add(struct dry_run *run, const char *destination, const char *reason, int64_t letters, int64_t units)
{
    size_t i = 0;
    run->row.total += letters;
    while (i < run->share_count &&
           (strcmp(run->shares[i].destination, destination) != 0 || strcmp(run->shares[i].reason, reason) != 0)) {
        i++;
    }
    if (i == SHARES_MAX) {
        return;
    }
    struct share *share = &run->shares[i];
    if (i == run->share_count) {
        run->share_count++;
        *share = (struct share){.letters = 0};
        dlq_copy(share->destination, sizeof share->destination, slice_of(destination));
        dlq_copy(share->reason, sizeof share->reason, slice_of(reason));
    }
    share->letters += letters;
    share->units = sum_capped(share->units, units > 0 ? units : 0);
}

static bool
is_told_by_tally(const struct wire_letter_filter *filter)
{
    struct wire_letter_filter told = {0};
    WIRE_SET(&told, letter_filter, state, filter->state);
    WIRE_SET(&told, letter_filter, destination, filter->destination);
    WIRE_SET(&told, letter_filter, reason, filter->reason);
    return (filter->has & ~told.has) == 0;
}

static void
count_by_tally(const struct dlq *dlq, const struct wire_letter_filter *filter, struct dry_run *run)
{
    const struct dlq_count *count;
    for (size_t i = 0; (count = dlq_tally_get(dlq->tally, i)) != NULL; i++) {
        bool is_wanted =
            slice_equal(slice_of(dlq_state_name(count->state)), filter->state) &&
            (!WIRE_HAS(filter, letter_filter, destination) || slice_equal(slice_of(count->destination), filter->destination)) &&
            (!WIRE_HAS(filter, letter_filter, reason) || slice_equal(slice_of(count->reason), filter->reason));
        if (is_wanted) {
            add(run, count->destination, count->reason, count->letters, sum_shown(count->units));
        }
    }
}

static struct wire_replay
answer_of(struct dry_runs *runs, const struct dry_run *run)
{
    struct wire_replay body = replay_body_of(&run->row);
    struct wire_list list = {0};
    runs->list.size = 0;
    for (size_t i = 0; i < run->share_count; i++) {
        const struct share *from = &run->shares[i];
        struct wire_replay_share share = {0};
        WIRE_SET(&share, replay_share, destination, slice_of(from->destination));
        WIRE_SET(&share, replay_share, reason, slice_of(from->reason));
        WIRE_SET(&share, replay_share, letters, from->letters);
        WIRE_SET(&share, replay_share, units, from->units);
        wire_list_add(&list, &replay_share_body, &share, &runs->list);
    }
    wire_list_end(&list, &runs->list);
    WIRE_SET(&body, replay, shares, list);
    return body;
}

void
dry_runs_begin(struct dlq *dlq, struct batch *batch, struct item *item, const struct replay_row *row)
{
    struct dry_runs *runs = dlq->dry_runs;
    struct wire_letter_filter filter;
    struct err_text why = {""};
    struct dry_run *run = memory_new(1, sizeof *run);
    run->row = *row;
    run->row.state = REPLAY_DRY_RUN;
    bool is_read = wire_decode(&letter_filter_body, (struct slice){run->row.filter, run->row.filter_size}, &filter, &why) == ERR_ok;
    if (is_read && is_told_by_tally(&filter)) {
        count_by_tally(dlq, &filter, run);
        struct wire_replay body = answer_of(runs, run);
        item_answer(batch, item, &body);
        free(run);
        return;
    }
    if (!is_read || runs->count == RUNS_MAX) {
        item_refuse(batch, item, is_read ? ERR_overloaded : ERR_internal, "%s",
                    is_read ? "too many dry runs are under way" : why.text);
        free(run);
        return;
    }
    run->waiter = item_defer(batch, item);
    waiter_mark_patient(run->waiter);
    run->is_new = true;
    struct dry_run **at = &runs->first;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = run;
    runs->count++;
}

static err
count_page(struct dlq *dlq, struct dry_run *run, const struct wire_letter_filter *filter, bool *is_last)
{
    struct db_statement *rows = NULL;
    struct dlq_letter letter;
    struct err_text why = {""};
    int64_t count = 0;
    err code =
        dlq_store_select(&dlq->store, filter, run->row.started_ms, run->after, run->row.last_letter, DLQ_SELECT_MAX, &rows, &why);
    if (code != ERR_ok) {
        return code;
    }
    while (dlq_store_next(rows, &letter)) {
        add(run, letter.destination, letter.reason, 1, letter.units);
        run->after = letter.n;
        count++;
    }
    *is_last = count < DLQ_SELECT_MAX;
    return ERR_ok;
}

static struct dry_run *
find_waiting(const struct dry_runs *runs)
{
    struct dry_run *run = runs->first;
    while (run != NULL && run->is_answered) {
        run = run->next;
    }
    return run;
}

static int64_t
runs_next_ms(const struct dlq *dlq)
{
    return find_waiting(dlq->dry_runs) != NULL ? 0 : INT64_MAX;
}

static err
runs_queue(struct dlq *dlq, struct batch *batch)
{
    struct dry_runs *runs = dlq->dry_runs;
    struct dry_run *run = find_waiting(runs);
    struct wire_letter_filter filter;
    struct err_text why = {""};
    bool is_last = false;
    if (run == NULL) {
        return ERR_ok;
    }
    int64_t until_us = clock_steady_us() + SLICE_MS * INT64_C(1000);
    err code = wire_decode(&letter_filter_body, (struct slice){run->row.filter, run->row.filter_size}, &filter, &why);
    run->is_changed = true;
    while (code == ERR_ok && !is_last && clock_steady_us() < until_us) {
        code = count_page(dlq, run, &filter, &is_last);
    }
    if (code == ERR_ok && is_last) {
        struct wire_replay body = answer_of(runs, run);
        struct waiter *waiter = run->waiter;
        run->is_answered = true;
        waiter_answer(batch, &waiter, &body);
    }
    return code;
}

const struct dlq_part dry_runs_part = {
    .open = runs_open,
    .queue = runs_queue,
    .committed = runs_committed,
    .dropped = runs_dropped,
    .next_ms = runs_next_ms,
    .close = runs_close,
};
