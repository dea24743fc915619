/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One letter: replay, edit, discard, restore. The row behind a letter is its owner's, so the owner is asked to act on it,
 *           and the letter is changed by what it answers. A request that was handed over is only here and is changed at once.
 *
 * MESSAGES  dlq.replay, dlq.edit, dlq.discard, dlq.restore; asks any.retry, any.edit, any.discard, any.restore of the letter's
 *           destination. Due row "purge" (key: letter id): the time for undoing a discard is over, the owner may delete the row; due
 *           row "asked": a replay that somebody waited for was not answered before this dlq was killed, and is made again.
 *
 * STATE     $letter, $letter_frame, $audit. In memory the questions under way (dlq_asking.c) and the letters that the answers of the
 *           batch under way are about, read at once. Nothing is written when a question is sent: a dlq that is killed meanwhile finds
 *           the letter as it was, and whoever asks again gets the owner's answer, `gone` where it was done.
 *
 * FAILURES  An owner that is away, or does not answer in ASK_MS: refused as unavailable, the letter stays as it was. Burials are
 *           taken from anybody: where the destination is nobody, or never had the row, the letter can be discarded and nothing
 *           else. An edit that the owner took and the dlq could not store shows the old message until it is made again. A purge is
 *           repeated until it is answered.
 *
 * LIMITS    One question per letter at a time: a replay joins the one that is out, anything else is told to come again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dlq_asking.h"
#include "dlq_rules.h"
#include "dlq/dlq_state.h"
#include "dlq_text.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "kit/settings/topology.h"

enum { ASK_MS = 4000, BUSY_PAUSE_MS = 1000, HISTORY_MAX = 100, DIFF_MAX = 4096, ROW_EDIT_HEAD = 1024 };

struct dlq_owner {
    struct askings *askings;
    struct arena arena; /* frames of one letter at a time */
    struct wire_buffer history;
    const struct item *ahead_from; /* the answers whose letters were read */
    const struct item *ahead_to;
    struct dlq_letter *ahead;
    size_t ahead_count;
};

/* Who acts, in whose name: a caller that waits, or the request that is handled. */
struct deed {
    const char *action;
    struct slice author;
    struct slice reason;
    const char *detail;
};

/* --- life --- */

static void
forget_ahead(struct dlq_owner *owner)
{
    owner->ahead_from = owner->ahead_to = NULL;
    owner->ahead = NULL;
    owner->ahead_count = 0;
}

err
dlq_owner_open(struct dlq *dlq)
{
    dlq->owner = calloc(1, sizeof *dlq->owner);
    if (dlq->owner == NULL) {
        abort();
    }
    dlq->owner->askings = askings_get();
    return ERR_ok;
}

void
dlq_owner_close(struct dlq *dlq)
{
    if (dlq->owner != NULL) {
        arena_fini(&dlq->owner->arena);
        wire_buffer_fini(&dlq->owner->history);
        free(dlq->owner);
        dlq->owner = NULL;
    }
}

void
dlq_owner_committed(struct dlq *dlq)
{
    askings_committed(dlq->owner->askings);
    arena_reset(&dlq->owner->arena);
    forget_ahead(dlq->owner);
}

void
dlq_owner_dropped(struct dlq *dlq)
{
    askings_dropped(dlq->owner->askings);
    arena_reset(&dlq->owner->arena);
    forget_ahead(dlq->owner);
}

/* --- small things --- */

static struct slice
key_of(const struct id *id)
{
    return (struct slice){id->bytes, sizeof id->bytes};
}

static err
note_deed(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, const struct deed *deed)
{
    struct dlq_audit audit = {.letter = letter->n,
                              .time_ms = batch->now_ms,
                              .author = deed->author,
                              .action = deed->action,
                              .reason = deed->reason,
                              .detail = slice_of(deed->detail)};
    log_info("letter_changed_by_operator", LOG_TEXT("action", deed->action), LOG_ID("letter", &letter->id),
             LOG_SLICE("author", deed->author), LOG_TEXT("detail", deed->detail));
    return dlq_store_add_audit(&dlq->store, &audit);
}

/* Whether there is an actor of that name and number: burials come from outside. */
static bool
find_owner(const struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, struct ask *ask)
{
    char name[DLQ_TEXT_SIZE];
    int shard = 0;
    if (!dlq_split(letter->destination, name, &shard) || !topology_knows(name) || shard >= topology_shards(dlq->settings, name)) {
        return false;
    }
    char *kept = batch_alloc(batch, sizeof name);
    memcpy(kept, name, sizeof name);
    ask->actor = kept;
    ask->shard = shard;
    return true;
}

static struct wire_row
row_of(const struct dlq_letter *letter)
{
    struct wire_row row = {0};
    WIRE_SET(&row, row, letter, letter->id);
    if (letter->kind == DLQ_EVENT) {
        WIRE_SET(&row, row, source, slice_of(letter->source));
        WIRE_SET(&row, row, seq, letter->seq);
    } else {
        WIRE_SET(&row, row, owner, slice_of(letter->row_owner));
        WIRE_SET(&row, row, key, (struct slice){letter->row_key, letter->row_key_size});
    }
    return row;
}

/* The only way to ask; `body` is the struct of the op's request. NULL: there is no such actor. */
static struct asking *
ask_owner(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, enum asking_verb verb, const void *body)
{
    static const enum op ops[] = {[ASKING_RETRY] = OP_any_retry,
                                  [ASKING_EDIT] = OP_any_edit,
                                  [ASKING_DISCARD] = OP_any_discard,
                                  [ASKING_PURGE] = OP_any_discard,
                                  [ASKING_RESTORE] = OP_any_restore};
    struct ask ask = {.op = ops[verb],
                      .id = id_new(),
                      .deadline_ms = batch->now_ms + ASK_MS,
                      .traceparent = slice_of(letter->traceparent),
                      .body = body,
                      .context = dlq_context_of(letter->n)};
    if (!find_owner(dlq, batch, letter, &ask)) {
        return NULL;
    }
    batch_ask(batch, &ask);
    return askings_add(dlq->owner->askings, letter, verb);
}

static void
refuse_ownerless(struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    item_refuse(batch, item, ERR_letter_closed, "there is no actor %s here, so nobody has its row; it can be discarded",
                letter->destination);
}

static void
refuse_busy(struct batch *batch, struct item *item)
{
    item_refuse(batch, item, ERR_unavailable, "the owner of this letter's row is being asked for something else; come again");
}

/* Nobody else is asking about this letter: `item` may. */
static bool
may_ask(const struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    if (askings_find(dlq->owner->askings, letter->n) != NULL) {
        refuse_busy(batch, item);
        return false;
    }
    return true;
}

/* --- replay --- */

/* The entry is there before the delivery begins: one that ends at once finds it. */
static err
deliver(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    (void)askings_add(dlq->owner->askings, letter, ASKING_RETRY);
    return dlq_request_deliver(dlq, batch, letter);
}

err
dlq_owner_retry(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    if (askings_find(dlq->owner->askings, letter->n) != NULL) {
        return ERR_ok;
    }
    if (letter->kind == DLQ_REQUEST) {
        return deliver(dlq, batch, letter);
    }
    struct wire_row row = row_of(letter);
    if (ask_owner(dlq, batch, letter, ASKING_RETRY, &row) == NULL) {
        struct dlq_letter told = *letter;
        (void)snprintf(told.error, sizeof told.error, "there is no actor %s here", letter->destination);
        return dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = &told});
    }
    return ERR_ok;
}

bool
dlq_owner_is_asking(const struct dlq *dlq, int64_t n)
{
    const struct asking *asking = askings_find(dlq->owner->askings, n);
    return asking != NULL && asking->verb == ASKING_RETRY;
}

/* A replay that somebody waits for is made again after a dlq that was killed meanwhile has come back: the owner may have done it. */
static void
remember_asking(struct batch *batch, const struct dlq_letter *letter)
{
    batch_due(batch, &(struct due){.owner = DLQ_DUE_ASKED, .key = key_of(&letter->id), .due_ms = batch->now_ms + ASK_MS});
}

/* Whether replaying makes sense; answers or refuses when it does not. */
static bool
may_replay(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    if (letter->kind == DLQ_SUBSCRIBER) {
        item_refuse(batch, item, ERR_letter_closed, "it goes by itself when the subscriber is back");
        return false;
    }
    switch (letter->state) {
    case DLQ_DONE:
        dlq_answer_letter(dlq, batch, item, letter);
        return false;
    case DLQ_DISCARDED:
        item_refuse(batch, item, ERR_letter_closed, "it was discarded; restore it first");
        return false;
    case DLQ_WAITING:
    case DLQ_DEAD:
    case DLQ_REPLAYING:
    case DLQ_STALE:
    case DLQ_STATE_COUNT:
        return true;
    }
    return true;
}

err
dlq_handle_replay(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_replay *replay = item->body;
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_get_letter(dlq, batch, item, &replay->letter, &letter, &found);
    if (code != ERR_ok || !found || !may_replay(dlq, batch, item, &letter)) {
        return code;
    }
    struct asking *asking = askings_find(dlq->owner->askings, letter.n);
    bool is_first = asking == NULL;
    if (!is_first && asking->verb != ASKING_RETRY) {
        refuse_busy(batch, item);
        return ERR_ok;
    }
    if (is_first && letter.kind == DLQ_REQUEST) {
        asking = askings_add(dlq->owner->askings, &letter, ASKING_RETRY);
    } else if (is_first) {
        struct wire_row row = row_of(&letter);
        asking = ask_owner(dlq, batch, &letter, ASKING_RETRY, &row);
    }
    if (asking == NULL) {
        refuse_ownerless(batch, item, &letter);
        return ERR_ok;
    }
    if (letter.kind != DLQ_REQUEST) {
        remember_asking(batch, &letter);
    }
    askings_add_caller(dlq->owner->askings, asking, item_defer(batch, item), replay->author, replay->reason);
    return is_first && letter.kind == DLQ_REQUEST ? dlq_request_deliver(dlq, batch, &letter) : ERR_ok;
}

/* --- edit --- */

/* The new body: the frame that was given, or the old one with changes. Refused: `why` names the field. */
static err
edited_body(struct dlq *dlq, const struct wire_dlq_edit *edit, const struct wire_body *shape, struct slice before, struct slice *after,
            struct err_text *why)
{
    bool has_changes = WIRE_HAS(edit, dlq_edit, changes);
    bool has_body = WIRE_HAS(edit, dlq_edit, body);
    if (has_changes == has_body) {
        return err_say(why, ERR_invalid_field, "dlq_edit.changes, dlq_edit.body: one of them has to be there");
    }
    if (has_changes) {
        return dlq_text_apply(shape, before, edit->changes, &dlq->owner->arena, after, why);
    }
    if (shape == NULL) {
        return err_say(why, ERR_not_editable, "what this message looks like is not known here");
    }
    *after = edit->body;
    return wire_decode(shape, edit->body, arena_alloc(&dlq->owner->arena, shape->size), why);
}

static err
ask_edit(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    const struct wire_dlq_edit *edit = item->body;
    struct dlq_owner *owner = dlq->owner;
    struct dlq_frames frames;
    struct err_text why = {""};
    struct slice after = {0};
    char diff[DIFF_MAX + 1] = "";
    err code = dlq_store_frames(&dlq->store, &owner->arena, letter->n, &frames);
    if (code != ERR_ok) {
        return code;
    }
    const struct wire_body *shape = dlq_rules_body(letter->kind, slice_of(letter->type));
    code = edited_body(dlq, edit, shape, frames.body, &after, &why);
    if (code == ERR_ok && slice_equal(after, frames.body)) {
        code = err_say(&why, ERR_invalid_field, "dlq_edit: nothing would be changed");
    }
    if (code == ERR_ok && after.size > WIRE_FRAME_MAX - ROW_EDIT_HEAD) {
        code = err_say(&why, ERR_too_large, "dlq_edit: a body of %zu bytes does not fit into a message to its owner", after.size);
    }
    if (code != ERR_ok) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    struct wire_row_edit asked = {0};
    WIRE_SET(&asked, row_edit, row, row_of(letter));
    WIRE_SET(&asked, row_edit, body, after);
    struct asking *asking = ask_owner(dlq, batch, letter, ASKING_EDIT, &asked);
    if (asking == NULL) {
        refuse_ownerless(batch, item, letter);
        return ERR_ok;
    }
    dlq_text_diff(shape, frames.body, after, &owner->arena, diff, sizeof diff);
    asking_set_edit(asking, after, diff);
    askings_add_caller(owner->askings, asking, item_defer(batch, item), edit->author, edit->reason);
    return ERR_ok;
}

err
dlq_handle_edit(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_edit *edit = item->body;
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_get_letter(dlq, batch, item, &edit->letter, &letter, &found);
    if (code != ERR_ok || !found) {
        return code;
    }
    if (letter.kind != DLQ_EVENT || letter.state != DLQ_DEAD) {
        item_refuse(batch, item, ERR_not_editable, "only the message of a dead event can be changed; this is a letter of kind %s, %s",
                    dlq_kind_name(letter.kind), dlq_state_name(letter.state));
        return ERR_ok;
    }
    return may_ask(dlq, batch, item, &letter) ? ask_edit(dlq, batch, item, &letter) : ERR_ok;
}

/* --- discard and restore --- */

static void
set_purge(const struct dlq *dlq, struct batch *batch, const struct id *letter)
{
    batch_due(batch, &(struct due){.owner = DLQ_DUE_PURGE, .key = key_of(letter), .due_ms = batch->now_ms + dlq->settings->undo_ms});
}

/* Nobody else has anything of it. */
static err
discard_here(struct dlq *dlq, struct batch *batch, struct item *item, struct dlq_letter *letter)
{
    const struct wire_dlq_discard *discard = item->body;
    const struct deed deed = {"discard", discard->author, discard->reason, "discarded"};
    struct dlq_letter before = *letter;
    letter->state = DLQ_DISCARDED;
    batch_due_cancel(batch, DLQ_DUE_DELIVER, key_of(&letter->id));
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok) {
        code = note_deed(dlq, batch, letter, &deed);
    }
    if (code == ERR_ok) {
        dlq_answer_letter(dlq, batch, item, letter);
    }
    return code;
}

err
dlq_handle_discard(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_discard *discard = item->body;
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_get_letter(dlq, batch, item, &discard->letter, &letter, &found);
    if (code != ERR_ok || !found) {
        return code;
    }
    if (letter.kind == DLQ_SUBSCRIBER || letter.state == DLQ_DONE) {
        item_refuse(batch, item, ERR_letter_closed, "%s",
                    letter.state == DLQ_DONE ? "it is done" : "a subscriber that is behind is not given up; unsubscribe it");
        return ERR_ok;
    }
    if (letter.state == DLQ_DISCARDED) {
        dlq_answer_letter(dlq, batch, item, &letter);
        return ERR_ok;
    }
    if (letter.kind == DLQ_REQUEST) {
        return discard_here(dlq, batch, item, &letter);
    }
    if (!may_ask(dlq, batch, item, &letter)) {
        return ERR_ok;
    }
    struct wire_row_discard asked = {0};
    WIRE_SET(&asked, row_discard, row, row_of(&letter));
    struct asking *asking = ask_owner(dlq, batch, &letter, ASKING_DISCARD, &asked);
    if (asking == NULL) {
        return discard_here(dlq, batch, item, &letter);
    }
    askings_add_caller(dlq->owner->askings, asking, item_defer(batch, item), discard->author, discard->reason);
    return ERR_ok;
}

/* A request is delivered again; a letter whose owner nobody is, is dead again. */
static err
restore_here(struct dlq *dlq, struct batch *batch, struct item *item, struct dlq_letter *letter)
{
    const struct wire_dlq_restore *restore = item->body;
    bool is_request = letter->kind == DLQ_REQUEST;
    const struct deed deed = {"restore", restore->author, restore->reason, is_request ? "delivered again" : "restored"};
    struct dlq_letter before = *letter;
    letter->state = is_request ? DLQ_WAITING : DLQ_DEAD;
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok) {
        code = note_deed(dlq, batch, letter, &deed);
    }
    if (code == ERR_ok) {
        dlq_answer_letter(dlq, batch, item, letter);
        code = is_request ? deliver(dlq, batch, letter) : ERR_ok;
    }
    return code;
}

err
dlq_handle_restore(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_dlq_restore *restore = item->body;
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_get_letter(dlq, batch, item, &restore->letter, &letter, &found);
    if (code != ERR_ok || !found) {
        return code;
    }
    if (letter.state != DLQ_DISCARDED || batch->now_ms >= letter.changed_ms + dlq->settings->undo_ms) {
        item_refuse(batch, item, ERR_letter_closed, "%s",
                    letter.state == DLQ_DISCARDED ? "the time in which it could be restored is over" : "it is not discarded");
        return ERR_ok;
    }
    if (!may_ask(dlq, batch, item, &letter)) {
        return ERR_ok;
    }
    if (letter.kind == DLQ_REQUEST) {
        return restore_here(dlq, batch, item, &letter);
    }
    struct wire_row row = row_of(&letter);
    struct asking *asking = ask_owner(dlq, batch, &letter, ASKING_RESTORE, &row);
    if (asking == NULL) {
        return restore_here(dlq, batch, item, &letter);
    }
    askings_add_caller(dlq->owner->askings, asking, item_defer(batch, item), restore->author, restore->reason);
    return ERR_ok;
}

static err
purge(struct dlq *dlq, struct batch *batch, const struct item *item, const struct dlq_letter *letter)
{
    if (letter->state != DLQ_DISCARDED) {
        return ERR_ok;
    }
    bool is_busy = askings_find(dlq->owner->askings, letter->n) != NULL;
    if (!is_busy) {
        struct wire_row_discard asked = {0};
        WIRE_SET(&asked, row_discard, row, row_of(letter));
        WIRE_SET(&asked, row_discard, is_final, true);
        if (ask_owner(dlq, batch, letter, ASKING_PURGE, &asked) == NULL) {
            return ERR_ok; /* nobody has the row any more */
        }
    }
    int64_t pause_ms = is_busy ? BUSY_PAUSE_MS : ASK_MS + batch_backoff_ms(batch, item->attempts + 1);
    batch_due(
        batch,
        &(struct due){.owner = DLQ_DUE_PURGE, .key = item->key, .due_ms = batch->now_ms + pause_ms, .attempts = item->attempts + 1});
    return ERR_ok;
}

/* Whoever asked is told by his own client; while the question is out its answer will come. */
static err
ask_again(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    return letter->state == DLQ_DEAD || letter->state == DLQ_STALE ? dlq_owner_retry(dlq, batch, letter) : ERR_ok;
}

err
dlq_owner_handle_due(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct id id;
    struct dlq_letter letter;
    bool found = false;
    if (item->key.size != sizeof id.bytes) {
        return ERR_ok;
    }
    memcpy(id.bytes, item->key.data, sizeof id.bytes);
    err code = dlq_store_find(&dlq->store, &id, &letter, &found);
    if (code != ERR_ok || !found || letter.kind == DLQ_REQUEST) {
        return code;
    }
    bool is_purge = slice_equal(item->owner, slice_of(DLQ_DUE_PURGE));
    return is_purge ? purge(dlq, batch, item, &letter) : ask_again(dlq, batch, &letter);
}

/* --- what the owner answered --- */

/* The letters of this and the following answers, in one read. */
static err
read_ahead(struct dlq *dlq, struct batch *batch, const struct item *item)
{
    struct dlq_owner *owner = dlq->owner;
    const struct item *end = batch->items + batch->count;
    const struct item *to = item;
    size_t count = 0;
    while (to < end && to->kind == ITEM_REPLY && strncmp(wire_ops[to->op].name, "any.", 4) == 0) {
        to++;
    }
    struct id *ids = batch_alloc(batch, (size_t)(to - item) * sizeof *ids);
    struct dlq_letter *letters = batch_alloc(batch, (size_t)(to - item) * sizeof *letters);
    for (const struct item *at = item; at < to; at++) {
        const struct asking *asking = askings_find(owner->askings, dlq_number_of(at->context));
        if (asking != NULL) {
            ids[count++] = asking->letter;
        }
    }
    err code = dlq_store_find_many(&dlq->store, ids, count, letters, &owner->ahead_count);
    if (code == ERR_ok) {
        owner->ahead = letters;
        owner->ahead_from = item;
        owner->ahead_to = to;
    }
    return code;
}

static err
letter_of_answer(struct dlq *dlq, struct batch *batch, const struct item *item, struct dlq_letter **letter)
{
    struct dlq_owner *owner = dlq->owner;
    if (owner->ahead_from == NULL || item < owner->ahead_from || item >= owner->ahead_to) {
        err code = read_ahead(dlq, batch, item);
        if (code != ERR_ok) {
            return code;
        }
    }
    *letter = NULL;
    for (size_t i = 0; i < owner->ahead_count; i++) {
        if (owner->ahead[i].n == dlq_number_of(item->context)) {
            *letter = &owner->ahead[i];
            return ERR_ok;
        }
    }
    return ERR_ok;
}

static void
refuse_callers(struct batch *batch, const struct asking *asking, err code, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    for (const struct asking_caller *caller = asking->callers; caller != NULL; caller = caller->next) {
        struct waiter *waiter = caller->waiter;
        waiter_refuse(batch, &waiter, code, &problem);
    }
}

/* An audit line and the letter for each; `detail` is what came of it. */
static err
answer_callers(struct dlq *dlq, struct batch *batch, const struct asking *asking, const struct dlq_letter *letter,
               const struct deed *what)
{
    struct wire_letter body = dlq_letter_body(letter);
    for (const struct asking_caller *caller = asking->callers; caller != NULL; caller = caller->next) {
        struct deed deed = {what->action, slice_of(caller->author), slice_of(caller->reason), what->detail};
        err code = note_deed(dlq, batch, letter, &deed);
        if (code != ERR_ok) {
            return code;
        }
        struct waiter *waiter = caller->waiter;
        waiter_answer(batch, &waiter, &body);
    }
    return ERR_ok;
}

/* Its owner never had such a row, or keeps none: the letter is all there is, and ends here. */
static err
discard_rowless(struct dlq *dlq, struct batch *batch, const struct asking *asking, struct dlq_letter *letter)
{
    struct dlq_letter before = *letter;
    letter->state = DLQ_DISCARDED;
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok) {
        const struct deed deed = {.action = "discard", .detail = "discarded; its owner has no such row"};
        code = answer_callers(dlq, batch, asking, letter, &deed);
    }
    return code == ERR_ok ? dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_later = true}) : code;
}

/* The question was not answered: nothing is known, nothing is changed. */
static err
handle_no_answer(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    const struct wire_problem *problem = item->body;
    if (asking->verb == ASKING_DISCARD && (item->status == ERR_not_found || item->status == ERR_not_implemented)) {
        return discard_rowless(dlq, batch, asking, letter);
    }
    bool is_later = err_disposition(item->status) == ERR_RETRY;
    struct err_text detail;
    (void)err_say(&detail, item->status, "%s: %.*s", letter->destination, (int)problem->detail.size,
                  (const char *)problem->detail.data);
    refuse_callers(batch, asking, is_later ? ERR_unavailable : item->status, detail.text);
    if (asking->verb == ASKING_RETRY && !is_later) {
        log_often(LOG_LEVEL_WARN, "letter_not_replayed", letter->destination, LOG_ID("letter", &letter->id),
                  LOG_TEXT("status", err_symbol(item->status)), LOG_TEXT("detail", detail.text));
        (void)snprintf(letter->error, sizeof letter->error, "%s: %s", err_symbol(item->status), detail.text);
    }
    return dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_later = is_later || asking->verb != ASKING_RETRY});
}

/* The attempts of a letter with one more; of too many the second is left out, so that the first stays. */
static err
add_attempt(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    struct dlq_owner *owner = dlq->owner;
    struct dlq_frames frames;
    err code = dlq_store_frames(&dlq->store, &owner->arena, letter->n, &frames);
    if (code != ERR_ok) {
        return code;
    }
    struct wire_list known = {.data = frames.history.data, .size = frames.history.size, .count = (uint32_t)frames.history_count};
    struct wire_list attempts = {0};
    struct wire_letter_attempt attempt;
    owner->history.size = 0;
    for (uint32_t i = 0; wire_list_next(&known, &letter_attempt_body, &attempt); i++) {
        if (frames.history_count < HISTORY_MAX || i != 1) {
            wire_list_add(&attempts, &letter_attempt_body, &attempt, &owner->history);
        }
    }
    attempt = (struct wire_letter_attempt){0};
    WIRE_SET(&attempt, letter_attempt, time, batch->now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(letter->error));
    wire_list_add(&attempts, &letter_attempt_body, &attempt, &owner->history);
    wire_list_end(&attempts, &owner->history);
    frames.history = (struct slice){attempts.data, attempts.size};
    frames.history_count = attempts.count;
    return dlq_store_put_frames(&dlq->store, letter->n, &frames);
}

/* The error as it will be told by show; texts of outcomes are checked by the codec. The owner also buries its row anew: when that was
 * faster than this answer, the letter knows of the attempt. */
static err
mark_failed(struct dlq *dlq, struct batch *batch, const struct wire_row_outcome *outcome, struct dlq_letter *letter)
{
    int64_t attempts = WIRE_HAS(outcome, row_outcome, attempts) ? outcome->attempts : dlq_one_more(letter->attempts);
    bool is_known = attempts <= letter->attempts;
    letter->state = DLQ_DEAD;
    letter->last_ms = is_known ? letter->last_ms : batch->now_ms;
    letter->attempts = is_known ? letter->attempts : attempts;
    if (WIRE_HAS(outcome, row_outcome, status)) {
        dlq_copy(letter->reason, sizeof letter->reason, outcome->status);
    }
    if (WIRE_HAS(outcome, row_outcome, error)) {
        dlq_copy(letter->error, sizeof letter->error, outcome->error);
    }
    return is_known ? ERR_ok : add_attempt(dlq, batch, letter);
}

/* The replay that asked for it, if one did. */
static err
sign(struct dlq *dlq, struct dlq_letter *letter)
{
    struct id replay;
    err code = dlq_replay_of(dlq, letter->n, &replay);
    if (code == ERR_ok && !id_is_zero(&replay)) {
        letter->replay = replay;
    }
    return code;
}

/* done, gone, failed: the letter changes and the outcome is final. */
static err
finish_retry(struct dlq *dlq, struct batch *batch, const struct wire_row_outcome *outcome, const struct asking *asking,
             struct dlq_letter *letter)
{
    struct dlq_letter before = *letter;
    bool is_failed = slice_equal(outcome->outcome, slice_of("failed"));
    err code = sign(dlq, letter);
    if (code != ERR_ok) {
        return code;
    }
    if (before.state == DLQ_DONE) {
        is_failed = false; /* a note was faster */
    } else if (is_failed) {
        code = mark_failed(dlq, batch, outcome, letter);
    } else {
        letter->state = DLQ_DONE;
        if (slice_equal(outcome->outcome, slice_of("done"))) {
            letter->last_ms = batch->now_ms;
            letter->attempts = dlq_one_more(letter->attempts);
        }
    }
    if (code == ERR_ok) {
        code = dlq_change_letter(dlq, batch, letter, &before);
    }
    if (code == ERR_ok) {
        char detail[64];
        (void)snprintf(detail, sizeof detail, "%.*s", (int)outcome->outcome.size, (const char *)outcome->outcome.data);
        code = answer_callers(dlq, batch, asking, letter, &(struct deed){.action = "replay", .detail = detail});
    }
    if (code == ERR_ok) {
        code = dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_done = !is_failed});
    }
    return code;
}

/* An earlier event of its key goes first: the letter stays, and says so to whoever asked. */
static err
tell_behind(struct dlq *dlq, struct batch *batch, const struct wire_row_outcome *outcome, const struct asking *asking,
            const struct dlq_letter *letter)
{
    struct dlq_letter told = *letter;
    (void)snprintf(told.error, sizeof told.error, "seq %" PRId64 " of this key goes first", outcome->behind);
    err code = answer_callers(dlq, batch, asking, &told, &(struct deed){.action = "replay", .detail = told.error});
    if (code == ERR_ok) {
        code = dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = &told, .is_later = true, .is_behind = true});
    }
    return code;
}

/* A call is under way, or is held until its outside party is back; its burial or its note will tell. A call that fails at once may
 * have been told before this answer came. */
static err
mark_started(struct dlq *dlq, struct batch *batch, const struct wire_row_outcome *outcome, const struct asking *asking,
             struct dlq_letter *letter)
{
    struct dlq_letter before = *letter;
    bool is_held = WIRE_HAS(outcome, row_outcome, held);
    err code = sign(dlq, letter);
    if (letter->state != DLQ_DONE && letter->attempts == asking->attempts) {
        letter->state = is_held ? DLQ_WAITING : DLQ_REPLAYING;
        if (is_held) {
            dlq_copy(letter->error, sizeof letter->error, outcome->held);
        }
    }
    if (code == ERR_ok) {
        code = dlq_change_letter(dlq, batch, letter, &before);
    }
    if (code == ERR_ok) {
        code = answer_callers(dlq, batch, asking, letter, &(struct deed){.action = "replay", .detail = is_held ? "held" : "started"});
    }
    if (code == ERR_ok && is_held) {
        code = dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_later = true});
    }
    return code;
}

static err
handle_retried(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    const struct wire_row_outcome *outcome = item->body;
    if (slice_equal(outcome->outcome, slice_of("waiting"))) {
        return tell_behind(dlq, batch, outcome, asking, letter);
    }
    if (slice_equal(outcome->outcome, slice_of("started"))) {
        return mark_started(dlq, batch, outcome, asking, letter);
    }
    return finish_retry(dlq, batch, outcome, asking, letter);
}

/* What the row was to be is a thing of the past: it was processed. */
static err
close_gone(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter)
{
    struct dlq_letter before = *letter;
    letter->state = DLQ_DONE;
    return dlq_change_letter(dlq, batch, letter, &before);
}

static err
store_edit(struct dlq *dlq, struct batch *batch, const struct asking *asking, struct dlq_letter *letter)
{
    struct dlq_letter before = *letter;
    struct dlq_frames frames;
    struct slice body = {asking->body, asking->body_size};
    err code = dlq_store_frames(&dlq->store, &dlq->owner->arena, letter->n, &frames);
    if (code != ERR_ok) {
        return code;
    }
    frames.original = frames.original.size == 0 ? frames.body : frames.original;
    frames.body = body;
    code = dlq_store_put_frames(&dlq->store, letter->n, &frames);
    const struct wire_body *shape = dlq_rules_body(letter->kind, slice_of(letter->type));
    if (code == ERR_ok && shape != NULL) {
        struct dlq_value value = dlq_rules_value(shape, body);
        letter->units = value.units;
        letter->amount = value.amount;
        memcpy(letter->currency, value.currency, sizeof letter->currency);
        code = dlq_change_letter(dlq, batch, letter, &before);
    }
    return code;
}

static err
handle_edited(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    const struct wire_row_outcome *outcome = item->body;
    if (!slice_equal(outcome->outcome, slice_of("edited"))) {
        refuse_callers(batch, asking, ERR_letter_closed, "its event was processed in the meantime");
        return close_gone(dlq, batch, letter);
    }
    err code = store_edit(dlq, batch, asking, letter);
    for (const struct asking_caller *caller = asking->callers; code == ERR_ok && caller != NULL; caller = caller->next) {
        struct deed deed = {"edit", slice_of(caller->author), slice_of(caller->reason), asking->diff};
        struct waiter *waiter = caller->waiter;
        code = note_deed(dlq, batch, letter, &deed);
        if (code == ERR_ok) {
            code = dlq_answer_whole_later(dlq, batch, &waiter, letter);
        }
    }
    return code;
}

static err
handle_discarded(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    const struct wire_row_outcome *outcome = item->body;
    struct dlq_letter before = *letter;
    bool is_gone = slice_equal(outcome->outcome, slice_of("gone"));
    letter->state = is_gone ? DLQ_DONE : DLQ_DISCARDED;
    if (!is_gone) {
        set_purge(dlq, batch, &letter->id);
    }
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok) {
        const char *detail = is_gone ? "it was processed in the meantime" : "discarded";
        code = answer_callers(dlq, batch, asking, letter, &(struct deed){.action = "discard", .detail = detail});
    }
    return code;
}

static err
handle_restored(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    const struct wire_row_outcome *outcome = item->body;
    struct dlq_letter before = *letter;
    if (slice_equal(outcome->outcome, slice_of("gone"))) {
        refuse_callers(batch, asking, ERR_letter_closed, "its row is not there any more");
        return ERR_ok;
    }
    letter->state = DLQ_DEAD;
    batch_due_cancel(batch, DLQ_DUE_PURGE, key_of(&letter->id));
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok) {
        code = answer_callers(dlq, batch, asking, letter, &(struct deed){.action = "restore", .detail = "restored"});
    }
    return code;
}

static err
handle_answer(struct dlq *dlq, struct batch *batch, const struct item *item, const struct asking *asking, struct dlq_letter *letter)
{
    err code = ERR_ok;
    switch (asking->verb) {
    case ASKING_RETRY:
        return handle_retried(dlq, batch, item, asking, letter);
    case ASKING_EDIT:
        code = handle_edited(dlq, batch, item, asking, letter);
        break;
    case ASKING_DISCARD:
        code = handle_discarded(dlq, batch, item, asking, letter);
        break;
    case ASKING_PURGE:
        batch_due_cancel(batch, DLQ_DUE_PURGE, key_of(&letter->id));
        break;
    case ASKING_RESTORE:
        code = handle_restored(dlq, batch, item, asking, letter);
        break;
    }
    /* A replay that came by meanwhile looks at the letter again. */
    return code == ERR_ok ? dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_later = true}) : code;
}

err
dlq_owner_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct asking *asking = askings_find(dlq->owner->askings, dlq_number_of(item->context));
    struct dlq_letter *letter = NULL;
    if (asking == NULL) {
        return ERR_ok;
    }
    err code = letter_of_answer(dlq, batch, item, &letter);
    if (code != ERR_ok) {
        return code;
    }
    askings_answered(dlq->owner->askings, asking);
    if (asking->verb == ASKING_RETRY && asking->callers != NULL) {
        batch_due_cancel(batch, DLQ_DUE_ASKED, key_of(&asking->letter));
    }
    if (letter == NULL) {
        refuse_callers(batch, asking, ERR_internal, "the letter is not there any more");
        return ERR_ok;
    }
    if (item->status != ERR_ok) {
        return handle_no_answer(dlq, batch, item, asking, letter);
    }
    return handle_answer(dlq, batch, item, asking, letter);
}

err
dlq_owner_delivered(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome)
{
    struct asking *asking = askings_find(dlq->owner->askings, outcome->letter->n);
    if (asking != NULL) {
        const char *detail = outcome->is_done ? "delivered" : dlq_state_name(outcome->letter->state);
        askings_answered(dlq->owner->askings, asking);
        err code = answer_callers(dlq, batch, asking, outcome->letter, &(struct deed){.action = "replay", .detail = detail});
        if (code != ERR_ok) {
            return code;
        }
    }
    return dlq_replay_note(dlq, batch, outcome);
}
