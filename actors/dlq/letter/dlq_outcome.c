/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What the owner of a letter's row answered: the letter changes by it, and whoever waits is told.
 *
 * MESSAGES  The answers to any.retry, any.edit, any.discard, any.restore.
 *
 * STATE     $letter, $letter_frame, $audit. In memory the letters that the answers of the batch under way are about, read at once.
 *
 * FAILURES  An owner that is away, or does not answer in time: refused as unavailable, the letter stays as it was. Burials are taken
 *           from anybody: where the destination never had the row, the letter can be discarded and nothing else. An edit that the
 *           owner took and the dlq could not store shows the old message until it is made again.
 *
 * LIMITS    None of its own.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dlq_callers.h"
#include "dlq_rules.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

/* What an owner said of a letter's row, and what follows from it. */
struct answer {
    struct dlq *dlq;
    struct batch *batch;
    const struct asking *asking;
    const struct wire_row_outcome *said;
    struct dlq_letter *letter;  /* as it becomes */
    bool is_unchanged;          /* it is not written */
    err refusal;                /* of whoever waits; ERR_ok: he is answered */
    const char *detail;         /* what came of it, or the words of the refusal */
    bool is_open;               /* what comes of it is told later */
    struct dlq_outcome outcome; /* for a replay; as it begins, the replay looks at the letter again */
};

/* --- the letters --- */

/* The letters of this and the following answers, in one read. */
static err
read_ahead(struct dlq *dlq, struct batch *batch, const struct item *item)
{
    const struct item *end = batch->items + batch->count;
    const struct item *to = item;
    size_t count = 0;
    size_t found = 0;
    while (to < end && to->kind == ITEM_REPLY && strncmp(wire_ops[to->op].name, "any.", 4) == 0) {
        to++;
    }
    struct id *ids = batch_alloc(batch, (size_t)(to - item) * sizeof *ids);
    struct dlq_letter *letters = batch_alloc(batch, (size_t)(to - item) * sizeof *letters);
    for (const struct item *at = item; at < to; at++) {
        const struct asking *asking = askings_find(dlq->askings, dlq_number_of(at->context));
        if (asking != NULL) {
            ids[count++] = asking->letter;
        }
    }
    err code = dlq_store_find_many(&dlq->store, ids, count, letters, &found);
    if (code == ERR_ok) {
        dlq->ahead = (struct dlq_ahead){.from = item, .to = to, .letters = letters, .count = found};
    }
    return code;
}

static err
letter_of_answer(struct dlq *dlq, struct batch *batch, const struct item *item, struct dlq_letter **letter)
{
    const struct dlq_ahead *ahead = &dlq->ahead;
    if (ahead->from == NULL || item < ahead->from || item >= ahead->to) {
        err code = read_ahead(dlq, batch, item);
        if (code != ERR_ok) {
            return code;
        }
    }
    *letter = NULL;
    for (size_t i = 0; i < ahead->count; i++) {
        if (ahead->letters[i].n == dlq_number_of(item->context)) {
            *letter = &ahead->letters[i];
            return ERR_ok;
        }
    }
    return ERR_ok;
}

/* --- what each question comes to --- */

static bool
has_said(const struct answer *answer, const char *word)
{
    return slice_equal(answer->said->outcome, slice_of(word));
}

static err
add_attempt(struct dlq *dlq, const struct dlq_letter *letter)
{
    struct arena arena = {0};
    struct wire_buffer history = {0};
    struct dlq_frames frames;
    err code = dlq_store_frames(&dlq->store, &arena, letter->n, &frames);
    if (code == ERR_ok) {
        dlq_history_add(&frames, letter, &history);
        code = dlq_store_put_frames(&dlq->store, letter->n, &frames);
    }
    wire_buffer_fini(&history);
    arena_fini(&arena);
    return code;
}

/* The error as it will be told by show; texts of outcomes are checked by the codec. The owner also buries its row anew: when that was
 * faster than this answer, the letter knows of the attempt. */
static err
take_failed(struct answer *answer)
{
    const struct wire_row_outcome *said = answer->said;
    struct dlq_letter *letter = answer->letter;
    int64_t attempts = WIRE_HAS(said, row_outcome, attempts) ? said->attempts : dlq_one_more(letter->attempts);
    bool is_known = attempts <= letter->attempts;
    letter->state = DLQ_DEAD;
    letter->last_ms = is_known ? letter->last_ms : answer->batch->now_ms;
    letter->attempts = is_known ? letter->attempts : attempts;
    if (WIRE_HAS(said, row_outcome, status)) {
        dlq_copy(letter->reason, sizeof letter->reason, said->status);
    }
    if (WIRE_HAS(said, row_outcome, error)) {
        dlq_copy(letter->error, sizeof letter->error, said->error);
    }
    return is_known ? ERR_ok : add_attempt(answer->dlq, letter);
}

/* A call is under way, or is held until its outside party is back; its burial or its note will tell. A call that fails at once may
 * have been told before this answer came. */
static void
take_started(struct answer *answer)
{
    struct dlq_letter *letter = answer->letter;
    bool is_held = WIRE_HAS(answer->said, row_outcome, held);
    answer->detail = is_held ? "held" : "started";
    answer->is_open = !is_held;
    if (letter->state != DLQ_DONE && letter->attempts == answer->asking->attempts) {
        letter->state = is_held ? DLQ_WAITING : DLQ_REPLAYING;
        if (is_held) {
            dlq_copy(letter->error, sizeof letter->error, answer->said->held);
        }
    }
}

/* done, gone, failed: the outcome is final. */
static err
take_final(struct answer *answer)
{
    struct dlq_letter *letter = answer->letter;
    bool is_failed = has_said(answer, "failed") && letter->state != DLQ_DONE; /* a note may have been faster */
    bool is_news = letter->state != DLQ_DONE && has_said(answer, "done");
    char *word = batch_alloc(answer->batch, answer->said->outcome.size + 1);
    dlq_copy(word, answer->said->outcome.size + 1, answer->said->outcome);
    answer->detail = word;
    answer->outcome.is_later = false;
    answer->outcome.is_done = !is_failed;
    if (is_failed) {
        return take_failed(answer);
    }
    letter->state = DLQ_DONE;
    if (is_news) {
        letter->last_ms = answer->batch->now_ms;
        letter->attempts = dlq_one_more(letter->attempts);
    }
    return ERR_ok;
}

static err
take_retried(struct answer *answer)
{
    struct dlq_letter *letter = answer->letter;
    struct id replay;
    if (has_said(answer, "waiting")) {
        (void)snprintf(letter->error, sizeof letter->error, "seq %" PRId64 " of this key goes first", answer->said->behind);
        answer->detail = letter->error;
        answer->is_unchanged = true;
        answer->outcome.is_behind = true;
        return ERR_ok;
    }
    err code = dlq_runs_find_replay(answer->dlq, letter->n, &replay);
    if (code == ERR_ok && !id_is_zero(&replay)) {
        letter->replay = replay;
    }
    if (code == ERR_ok && has_said(answer, "started")) {
        take_started(answer);
        return ERR_ok;
    }
    return code == ERR_ok ? take_final(answer) : code;
}

static err
take_edited(struct answer *answer)
{
    struct dlq_letter *letter = answer->letter;
    struct slice body = {answer->asking->body, answer->asking->body_size};
    const struct wire_body *shape = dlq_rules_body(letter->kind, slice_of(letter->type));
    struct arena arena = {0};
    struct dlq_frames frames;
    answer->detail = answer->asking->diff;
    if (!has_said(answer, "edited")) {
        letter->state = DLQ_DONE;
        answer->refusal = ERR_letter_closed;
        answer->detail = "its event was processed in the meantime";
        return ERR_ok;
    }
    err code = dlq_store_frames(&answer->dlq->store, &arena, letter->n, &frames);
    if (code == ERR_ok) {
        frames.original = frames.original.size == 0 ? frames.body : frames.original;
        frames.body = body;
        code = dlq_store_put_frames(&answer->dlq->store, letter->n, &frames);
    }
    arena_fini(&arena);
    if (shape != NULL) {
        struct dlq_value value = dlq_rules_value(shape, body);
        letter->units = value.units;
        letter->amount = value.amount;
        memcpy(letter->currency, value.currency, sizeof letter->currency);
    }
    return code;
}

static err
take_discarded(struct answer *answer)
{
    bool is_gone = has_said(answer, "gone");
    answer->letter->state = is_gone ? DLQ_DONE : DLQ_DISCARDED;
    answer->detail = is_gone ? "it was processed in the meantime" : "discarded";
    if (!is_gone) {
        batch_due(answer->batch, &(struct due){.owner = DLQ_DUE_PURGE,
                                               .key = dlq_key_of(&answer->letter->id),
                                               .due_ms = answer->batch->now_ms + answer->dlq->settings->undo_ms});
    }
    return ERR_ok;
}

static err
take_purged(struct answer *answer)
{
    answer->is_unchanged = true;
    batch_due_cancel(answer->batch, DLQ_DUE_PURGE, dlq_key_of(&answer->letter->id));
    return ERR_ok;
}

static err
take_restored(struct answer *answer)
{
    answer->detail = "restored";
    if (has_said(answer, "gone")) {
        answer->is_unchanged = true;
        answer->refusal = ERR_letter_closed;
        answer->detail = "its row is not there any more";
        return ERR_ok;
    }
    answer->letter->state = DLQ_DEAD;
    batch_due_cancel(answer->batch, DLQ_DUE_PURGE, dlq_key_of(&answer->letter->id));
    return ERR_ok;
}

/* The question was not answered: nothing is known, nothing is changed. But where its owner never had such a row, or keeps none, the
 * letter is all there is, and ends with its discard. */
static void
take_no_answer(struct answer *answer, const struct item *item, struct err_text *detail)
{
    const struct wire_problem *problem = item->body;
    struct dlq_letter *letter = answer->letter;
    bool is_retry = answer->asking->verb == ASKING_RETRY;
    bool is_later = err_disposition(item->status) == ERR_RETRY;
    if (answer->asking->verb == ASKING_DISCARD && (item->status == ERR_not_found || item->status == ERR_not_implemented)) {
        letter->state = DLQ_DISCARDED;
        answer->detail = "discarded; its owner has no such row";
        return;
    }
    (void)err_say(detail, item->status, "%s: %.*s", letter->destination, (int)problem->detail.size,
                  (const char *)problem->detail.data);
    answer->is_unchanged = true;
    answer->refusal = is_later ? ERR_unavailable : item->status;
    answer->detail = detail->text;
    answer->outcome.is_later = is_later || !is_retry;
    if (is_retry && !is_later) {
        log_often(LOG_LEVEL_WARN, "letter_not_replayed", letter->destination, LOG_ID("letter", &letter->id),
                  LOG_TEXT("status", err_symbol(item->status)), LOG_TEXT("detail", detail->text));
        (void)snprintf(letter->error, sizeof letter->error, "%s: %s", err_symbol(item->status), detail->text);
    }
}

/* --- what follows --- */

/* The letter first, then whoever waits for it, then the replay. */
static err
settle(const struct answer *answer, const struct dlq_letter *before)
{
    err code = ERR_ok;
    if (!answer->is_unchanged) {
        code = dlq_change_letter(answer->dlq, answer->batch, answer->letter, before);
    }
    if (code == ERR_ok && answer->refusal != ERR_ok) {
        dlq_callers_refuse(answer->batch, answer->asking, answer->refusal, answer->detail);
    } else if (code == ERR_ok) {
        code = dlq_callers_answer(answer->dlq, answer->batch, answer->asking, answer->letter, answer->detail);
    }
    return code == ERR_ok && !answer->is_open ? dlq_runs_note(answer->dlq, answer->batch, &answer->outcome) : code;
}

err
dlq_outcome_handle(struct dlq *dlq, struct batch *batch, struct item *item)
{
    static err (*const takes[])(struct answer * answer) = {[ASKING_RETRY] = take_retried,
                                                           [ASKING_EDIT] = take_edited,
                                                           [ASKING_DISCARD] = take_discarded,
                                                           [ASKING_PURGE] = take_purged,
                                                           [ASKING_RESTORE] = take_restored};
    struct asking *asking = askings_find(dlq->askings, dlq_number_of(item->context));
    struct err_text detail = {""};
    struct dlq_letter *letter = NULL;
    if (asking == NULL) {
        return ERR_ok;
    }
    err code = letter_of_answer(dlq, batch, item, &letter);
    if (code != ERR_ok) {
        return code;
    }
    askings_answered(dlq->askings, asking);
    if (asking->verb == ASKING_RETRY && asking->callers != NULL) {
        batch_due_cancel(batch, DLQ_DUE_ASKED, dlq_key_of(&asking->letter));
    }
    if (letter == NULL) {
        dlq_callers_refuse(batch, asking, ERR_internal, "the letter is not there any more");
        return ERR_ok;
    }
    struct answer answer = {.dlq = dlq, .batch = batch, .asking = asking, .said = item->body, .letter = letter};
    struct dlq_letter before = *letter;
    answer.outcome = (struct dlq_outcome){.letter = letter, .is_later = true};
    if (item->status == ERR_ok) {
        code = takes[asking->verb](&answer);
    } else {
        take_no_answer(&answer, item, &detail);
    }
    return code == ERR_ok ? settle(&answer, &before) : code;
}
