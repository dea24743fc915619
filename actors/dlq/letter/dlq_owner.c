/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One letter: replay, edit, discard, restore. The row behind a letter is its owner's, so the owner is asked to act on it,
 *           and the letter is changed by what it answers (dlq_outcome.c). A request that was handed over is only here and is changed
 *           at once.
 *
 * MESSAGES  dlq.replay, dlq.edit, dlq.discard, dlq.restore; asks any.retry, any.edit, any.discard, any.restore of the letter's
 *           destination. Due row "purge" (key: letter id): the time for undoing a discard is over, the owner may delete the row; due
 *           row "asked": a replay that somebody waited for was not answered before this dlq was killed, and is made again.
 *
 * STATE     In memory the questions under way (dlq_asking.c). Nothing is written when a question is sent: a dlq that is killed
 *           meanwhile finds the letter as it was, and whoever asks again gets the owner's answer, `gone` where it was done.
 *
 * FAILURES  Where the destination of a letter is nobody, it can be discarded and nothing else. A purge is repeated until it is
 *           answered.
 *
 * LIMITS    One question per letter at a time: a replay joins the one that is out, anything else is told to come again.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "dlq_callers.h"
#include "dlq_rules.h"
#include "dlq_text.h"
#include "dlq/request/dlq_delivery.h"
#include "kit/settings/topology.h"

enum { ASK_MS = 4000, BUSY_PAUSE_MS = 1000, DIFF_MAX = 4096, ROW_EDIT_HEAD = 1024 };

/* An operator's request for a letter. */
struct command {
    struct dlq *dlq;
    struct batch *batch;
    struct item *item;
    struct dlq_letter letter;
    struct arena arena;
    struct slice body; /* of an edit: the new one, in the arena */
    char diff[DIFF_MAX + 1];
};

/* --- life --- */

static err
owner_open(struct dlq *dlq)
{
    dlq->askings = askings_get();
    return ERR_ok;
}

static void
owner_committed(struct dlq *dlq)
{
    askings_committed(dlq->askings);
    dlq->ahead = (struct dlq_ahead){0};
}

static void
owner_dropped(struct dlq *dlq)
{
    askings_dropped(dlq->askings);
    dlq->ahead = (struct dlq_ahead){0};
}

/* --- asking --- */

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

/* The only way to ask; `edited` is the new body of an edit. NULL: there is no such actor. */
static struct asking *
ask_owner(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, enum asking_verb verb, struct slice edited)
{
    static const enum op ops[] = {[ASKING_RETRY] = OP_any_retry,
                                  [ASKING_EDIT] = OP_any_edit,
                                  [ASKING_DISCARD] = OP_any_discard,
                                  [ASKING_PURGE] = OP_any_discard,
                                  [ASKING_RESTORE] = OP_any_restore};
    struct wire_row row = row_of(letter);
    struct wire_row_edit edit = {0};
    struct wire_row_discard discard = {0};
    WIRE_SET(&edit, row_edit, row, row);
    WIRE_SET(&edit, row_edit, body, edited);
    WIRE_SET(&discard, row_discard, row, row);
    if (verb == ASKING_PURGE) {
        WIRE_SET(&discard, row_discard, is_final, true);
    }
    const void *const bodies[] = {
        [ASKING_RETRY] = &row, [ASKING_EDIT] = &edit, [ASKING_DISCARD] = &discard, [ASKING_PURGE] = &discard, [ASKING_RESTORE] = &row};
    struct ask ask = {.op = ops[verb],
                      .id = id_new(),
                      .deadline_ms = batch->now_ms + ASK_MS,
                      .traceparent = slice_of(letter->traceparent),
                      .body = bodies[verb],
                      .context = dlq_context_of(letter->n)};
    if (!find_owner(dlq, batch, letter, &ask)) {
        return NULL;
    }
    batch_ask(batch, &ask);
    return askings_add(dlq->askings, letter, verb);
}

err
dlq_owner_retry(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter)
{
    if (askings_find(dlq->askings, letter->n) != NULL) {
        return ERR_ok;
    }
    if (letter->kind == DLQ_REQUEST) {
        (void)askings_add(dlq->askings, letter, ASKING_RETRY); /* before the delivery begins: one that ends at once finds it */
        return dlq_delivery_send(dlq, batch, letter);
    }
    if (ask_owner(dlq, batch, letter, ASKING_RETRY, (struct slice){0}) == NULL) {
        struct dlq_letter told = *letter;
        (void)snprintf(told.error, sizeof told.error, "there is no actor %s here", letter->destination);
        return dlq_runs_note(dlq, batch, &(struct dlq_outcome){.letter = &told});
    }
    return ERR_ok;
}

/* --- what operators say --- */

/* The value of a field that each of their requests has, though not in the same place. */
static const void *
said(const struct item *item, const char *name)
{
    const struct wire_body *body = wire_ops[item->op].request;
    const struct wire_field *field = body->fields;
    while (strcmp(field->name, name) != 0) {
        field++;
        assert(field < body->fields + body->field_count);
    }
    return (const char *)item->body + field->offset;
}

static struct slice
said_text(const struct item *item, const char *name)
{
    struct slice text;
    memcpy(&text, said(item, name), sizeof text);
    return text;
}

static void
wait_for_answer(struct command *command, struct asking *asking)
{
    askings_add_caller(command->dlq->askings, asking, item_defer(command->batch, command->item), said_text(command->item, "author"),
                       said_text(command->item, "reason"));
}

/* The letter becomes another one at once, as nobody else has anything of it. */
static err
change_here(struct command *command, enum asking_verb verb, enum dlq_state state, const char *detail)
{
    struct dlq_letter before = command->letter;
    struct dlq_deed deed = {verb, said_text(command->item, "author"), said_text(command->item, "reason"), detail};
    command->letter.state = state;
    err code = dlq_change_letter(command->dlq, command->batch, &command->letter, &before);
    if (code == ERR_ok) {
        code = dlq_note_deed(command->dlq, command->batch, &command->letter, &deed);
    }
    if (code == ERR_ok) {
        dlq_answer_letter(command->dlq, command->batch, command->item, &command->letter);
    }
    return code;
}

/* --- replay --- */

/* Whether replaying makes sense; answers or refuses when it does not. */
static bool
may_replay(struct command *command)
{
    const struct dlq_letter *letter = &command->letter;
    if (letter->kind == DLQ_SUBSCRIBER) {
        item_refuse(command->batch, command->item, ERR_letter_closed, "it goes by itself when the subscriber is back");
        return false;
    }
    if (letter->state == DLQ_DONE) {
        dlq_answer_letter(command->dlq, command->batch, command->item, letter);
        return false;
    }
    if (letter->state == DLQ_DISCARDED) {
        item_refuse(command->batch, command->item, ERR_letter_closed, "it was discarded; restore it first");
        return false;
    }
    return true;
}

/* The caller is there before the delivery begins: one that ends at once finds it. */
static err
replay_here(struct command *command)
{
    struct askings *askings = command->dlq->askings;
    struct asking *asking = askings_find(askings, command->letter.n);
    bool is_first = asking == NULL;
    asking = is_first ? askings_add(askings, &command->letter, ASKING_RETRY) : asking;
    wait_for_answer(command, asking);
    return is_first ? dlq_delivery_send(command->dlq, command->batch, &command->letter) : ERR_ok;
}

/* --- edit --- */

static bool
may_edit(struct command *command)
{
    const struct dlq_letter *letter = &command->letter;
    if (letter->kind != DLQ_EVENT || letter->state != DLQ_DEAD) {
        item_refuse(command->batch, command->item, ERR_not_editable,
                    "only the message of a dead event can be changed; this is a letter of kind %s, %s", dlq_kind_name(letter->kind),
                    dlq_state_name(letter->state));
        return false;
    }
    return true;
}

/* The new body: the frame that was given, or the old one with changes. Refused: `why` names the field. */
static err
edited_body(struct command *command, const struct wire_body *shape, struct slice before, struct slice *after, struct err_text *why)
{
    const struct wire_dlq_edit *edit = command->item->body;
    bool has_changes = WIRE_HAS(edit, dlq_edit, changes);
    bool has_body = WIRE_HAS(edit, dlq_edit, body);
    if (has_changes == has_body) {
        return err_say(why, ERR_invalid_field, "dlq_edit.changes, dlq_edit.body: one of them has to be there");
    }
    if (has_changes) {
        return dlq_text_apply(shape, before, edit->changes, &command->arena, after, why);
    }
    if (shape == NULL) {
        return err_say(why, ERR_not_editable, "what this message looks like is not known here");
    }
    *after = edit->body;
    return wire_decode(shape, edit->body, arena_alloc(&command->arena, shape->size), why);
}

/* Makes the new body, or refuses. */
static err
prepare_edit(struct command *command, bool *is_fine)
{
    const struct dlq_letter *letter = &command->letter;
    const struct wire_body *shape = dlq_rules_body(letter->kind, slice_of(letter->type));
    struct dlq_frames frames;
    struct err_text why = {""};
    struct slice *after = &command->body;
    err code = dlq_store_frames(&command->dlq->store, &command->arena, letter->n, &frames);
    if (code != ERR_ok) {
        return code;
    }
    code = edited_body(command, shape, frames.body, after, &why);
    if (code == ERR_ok && slice_equal(*after, frames.body)) {
        code = err_say(&why, ERR_invalid_field, "dlq_edit: nothing would be changed");
    }
    if (code == ERR_ok && after->size > WIRE_FRAME_MAX - ROW_EDIT_HEAD) {
        code = err_say(&why, ERR_too_large, "dlq_edit: a body of %zu bytes does not fit into a message to its owner", after->size);
    }
    if (code == ERR_ok) {
        dlq_text_diff(shape, frames.body, *after, &command->arena, command->diff, sizeof command->diff);
        *is_fine = true;
    } else {
        item_refuse(command->batch, command->item, code, "%s", why.text);
    }
    return ERR_ok;
}

/* --- discard and restore --- */

static bool
may_discard(struct command *command)
{
    const struct dlq_letter *letter = &command->letter;
    if (letter->kind == DLQ_SUBSCRIBER || letter->state == DLQ_DONE) {
        item_refuse(command->batch, command->item, ERR_letter_closed, "%s",
                    letter->state == DLQ_DONE ? "it is done" : "a subscriber that is behind is not given up; unsubscribe it");
        return false;
    }
    if (letter->state == DLQ_DISCARDED) {
        dlq_answer_letter(command->dlq, command->batch, command->item, letter);
        return false;
    }
    return true;
}

static err
discard_here(struct command *command)
{
    batch_due_cancel(command->batch, DLQ_DUE_DELIVER, dlq_key_of(&command->letter.id));
    return change_here(command, ASKING_DISCARD, DLQ_DISCARDED, "discarded");
}

static bool
may_restore(struct command *command)
{
    const struct dlq_letter *letter = &command->letter;
    bool is_discarded = letter->state == DLQ_DISCARDED;
    if (!is_discarded || command->batch->now_ms >= letter->changed_ms + command->dlq->settings->undo_ms) {
        item_refuse(command->batch, command->item, ERR_letter_closed, "%s",
                    is_discarded ? "the time in which it could be restored is over" : "it is not discarded");
        return false;
    }
    return true;
}

/* A request is delivered again; a letter whose owner nobody is, is dead again. */
static err
restore_here(struct command *command)
{
    if (command->letter.kind != DLQ_REQUEST) {
        return change_here(command, ASKING_RESTORE, DLQ_DEAD, "restored");
    }
    err code = change_here(command, ASKING_RESTORE, DLQ_WAITING, "delivered again");
    return code == ERR_ok ? dlq_owner_retry(command->dlq, command->batch, &command->letter) : code;
}

/* --- what they have in common --- */

static const struct verb {
    enum op op;
    enum asking_verb asked;                              /* of the owner */
    bool (*may)(struct command *command);                /* answers or refuses otherwise */
    err (*here)(struct command *command);                /* to what is only here */
    err (*prepare)(struct command *command, bool *fine); /* NULL: nothing is to be made before the owner is asked */
    bool joins;                                          /* the same question that is out already is as good */
    bool interrupts;                                     /* a request is dealt with while it is delivered as well */
    bool needs_owner;                                    /* where nobody has the row it is refused */
} verbs[] = {
    {.op = OP_dlq_replay, .asked = ASKING_RETRY, .may = may_replay, .here = replay_here, .joins = true, .needs_owner = true},
    {.op = OP_dlq_edit, .asked = ASKING_EDIT, .may = may_edit, .prepare = prepare_edit, .needs_owner = true},
    {.op = OP_dlq_discard, .asked = ASKING_DISCARD, .may = may_discard, .here = discard_here, .interrupts = true},
    {.op = OP_dlq_restore, .asked = ASKING_RESTORE, .may = may_restore, .here = restore_here},
};

/* The row is its owner's: whoever wants something waits for what it says. */
static err
ask(struct command *command, const struct verb *verb)
{
    struct asking *asking = askings_find(command->dlq->askings, command->letter.n);
    bool is_fine = verb->prepare == NULL;
    err code = is_fine ? ERR_ok : verb->prepare(command, &is_fine);
    if (code != ERR_ok || !is_fine) {
        return code;
    }
    if (asking == NULL) {
        asking = ask_owner(command->dlq, command->batch, &command->letter, verb->asked, command->body);
    }
    if (asking == NULL && verb->needs_owner) {
        item_refuse(command->batch, command->item, ERR_letter_closed,
                    "there is no actor %s here, so nobody has its row; it can be discarded", command->letter.destination);
        return ERR_ok;
    }
    if (asking == NULL) {
        return verb->here(command);
    }
    if (verb->asked == ASKING_RETRY) {
        /* It is made again after a dlq that was killed meanwhile has come back: the owner may have done it. */
        batch_due(
            command->batch,
            &(struct due){.owner = DLQ_DUE_ASKED, .key = dlq_key_of(&command->letter.id), .due_ms = command->batch->now_ms + ASK_MS});
    }
    if (verb->asked == ASKING_EDIT) {
        asking_set_edit(asking, command->body, command->diff);
    }
    wait_for_answer(command, asking);
    return ERR_ok;
}

static err
act(struct command *command, const struct verb *verb)
{
    const struct asking *asking = askings_find(command->dlq->askings, command->letter.n);
    bool is_request = command->letter.kind == DLQ_REQUEST;
    if (!verb->may(command)) {
        return ERR_ok;
    }
    if (asking != NULL && !(verb->joins && asking->verb == verb->asked) && !(verb->interrupts && is_request)) {
        item_refuse(command->batch, command->item, ERR_unavailable,
                    "the owner of this letter's row is being asked for something else; come again");
        return ERR_ok;
    }
    return is_request ? verb->here(command) : ask(command, verb);
}

err
dlq_owner_handle(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct command command = {.dlq = dlq, .batch = batch, .item = item};
    const struct verb *verb = verbs;
    bool found = false;
    while (verb->op != item->op) {
        verb++;
    }
    err code = dlq_get_letter(dlq, batch, item, said(item, "letter"), &command.letter, &found);
    if (code == ERR_ok && found) {
        code = act(&command, verb);
    }
    arena_fini(&command.arena);
    return code;
}

/* --- when it is due --- */

static err
purge(struct dlq *dlq, struct batch *batch, const struct item *item, const struct dlq_letter *letter)
{
    if (letter->state != DLQ_DISCARDED) {
        return ERR_ok;
    }
    bool is_busy = askings_find(dlq->askings, letter->n) != NULL;
    if (!is_busy && ask_owner(dlq, batch, letter, ASKING_PURGE, (struct slice){0}) == NULL) {
        return ERR_ok; /* nobody has the row any more */
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
    if (!dlq_id_of_key(item->key, &id)) {
        return ERR_ok;
    }
    err code = dlq_store_find(&dlq->store, &id, &letter, &found);
    if (code != ERR_ok || !found || letter.kind == DLQ_REQUEST) {
        return code;
    }
    bool is_purge = slice_equal(item->owner, slice_of(DLQ_DUE_PURGE));
    return is_purge ? purge(dlq, batch, item, &letter) : ask_again(dlq, batch, &letter);
}

const struct dlq_part dlq_owner_part = {
    .open = owner_open,
    .committed = owner_committed,
    .dropped = owner_dropped,
};
