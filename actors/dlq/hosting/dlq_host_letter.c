/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The letter about a subscriber, or a client, that does not confirm its events: kind subscriber, reason unacknowledged. It
 *           waits as long as the subscriber is behind, and is done when it has caught up.
 *
 * STATE     A hosting's `since_ms` says that it has a letter and, with source and subscriber, which: the letter's id is derived from
 *           them, so each time that somebody falls behind is a letter of its own. It is the time at which the letter was opened and
 *           not the one since when somebody is behind: that is the age of an event, and whoever ends his subscription and begins it
 *           again at its start is behind the same event once more. A time that has a letter, as the clock was put back, is passed
 *           over.
 *
 * FAILURES  A letter that somebody has closed by hand is left as it is; hosting goes on without it.
 *
 * LIMITS    `to` is told at most each second.
 */
#include "dlq_host.h"

#include <stdio.h>

static struct id
letter_id(const struct dlq_hosting_row *row)
{
    char text[2 * DLQ_TEXT_SIZE + 32];
    int size = snprintf(text, sizeof text, "%s\n%s\n%lld", row->source, row->subscriber, (long long)row->since_ms);
    return id_of_bytes(text, (size_t)size);
}

static err
name_letter(struct dlq *dlq, struct dlq_hosting_row *row, int64_t now_ms)
{
    struct dlq_letter other;
    bool is_taken = true;
    err code = ERR_ok;
    for (int64_t since_ms = now_ms; code == ERR_ok && is_taken; since_ms++) {
        row->since_ms = since_ms;
        struct id id = letter_id(row);
        code = dlq_store_find(&dlq->store, &id, &other, &is_taken);
    }
    return code;
}

err
host_open_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting, int64_t behind_since_ms)
{
    struct dlq_hosting_row *row = &hosting->now.row;
    host_touch(dlq->hosts, hosting);
    err code = name_letter(dlq, row, batch->now_ms);
    if (code != ERR_ok) {
        return code;
    }
    struct dlq_letter letter = {
        .id = letter_id(row),
        .state = DLQ_WAITING,
        .kind = DLQ_SUBSCRIBER,
        .seq = row->position + 1,
        .to = row->copied,
        .first_ms = behind_since_ms,
        .last_ms = batch->now_ms,
        .opened_ms = batch->now_ms,
        .changed_ms = batch->now_ms,
        .units = DLQ_NONE,
        .amount = DLQ_NONE,
        .useful_until_ms = DLQ_NONE,
        .status = ERR_COUNT,
    };
    dlq_copy(letter.reason, sizeof letter.reason, slice_of(err_symbol(ERR_unacknowledged)));
    dlq_copy(letter.destination, sizeof letter.destination, slice_of(row->subscriber));
    dlq_copy(letter.source, sizeof letter.source, slice_of(row->source));
    (void)snprintf(letter.error, sizeof letter.error, "%s has not %s the events of %s behind %lld for %lld ms; they are kept for it",
                   row->subscriber, row->is_client ? "acknowledged" : "confirmed", row->source, (long long)row->position,
                   (long long)(batch->now_ms - behind_since_ms));
    hosting->now.letter_to = row->copied;
    hosting->now.letter_ms = batch->now_ms;
    dlq_open_letter(dlq, batch, &letter, &(struct dlq_frames){0});
    return ERR_ok;
}

static err
find(struct dlq *dlq, const struct hosting *hosting, struct dlq_letter *letter, bool *is_open)
{
    struct id id = letter_id(&hosting->now.row);
    bool found = false;
    err code = dlq_store_find(&dlq->store, &id, letter, &found);
    *is_open = found && letter->state == DLQ_WAITING;
    return code;
}

err
host_follow_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting)
{
    struct hosting_values *now = &hosting->now;
    if (now->row.since_ms == 0 || now->row.copied == now->letter_to || batch->now_ms - now->letter_ms < DLQ_LETTER_PAUSE_MS) {
        return ERR_ok;
    }
    struct dlq_letter letter;
    bool is_open = false;
    err code = find(dlq, hosting, &letter, &is_open);
    if (code != ERR_ok) {
        return code;
    }
    host_touch(dlq->hosts, hosting);
    now->letter_to = now->row.copied;
    now->letter_ms = batch->now_ms;
    if (!is_open) {
        return ERR_ok;
    }
    struct dlq_letter before = letter;
    letter.to = now->row.copied;
    letter.last_ms = batch->now_ms;
    return dlq_change_letter(dlq, batch, &letter, &before);
}

err
host_close_letter(struct dlq *dlq, struct batch *batch, struct hosting *hosting, enum dlq_state state, const char *words)
{
    struct dlq_letter letter;
    bool is_open = false;
    if (hosting->now.row.since_ms == 0) {
        return ERR_ok;
    }
    err code = find(dlq, hosting, &letter, &is_open);
    if (code != ERR_ok) {
        return code;
    }
    host_touch(dlq->hosts, hosting);
    hosting->now.row.since_ms = 0;
    if (!is_open) {
        return ERR_ok;
    }
    struct dlq_letter before = letter;
    letter.state = state;
    letter.to = hosting->now.row.copied;
    letter.last_ms = batch->now_ms;
    if (words != NULL) {
        dlq_copy(letter.error, sizeof letter.error, slice_of(words));
    }
    return dlq_change_letter(dlq, batch, &letter, &before);
}
