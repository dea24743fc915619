/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Requests that were handed over because their actor was away, or because their caller did not want to wait: kept, and
 *           delivered under their own id until the actor has said ok or a final no.
 *
 * MESSAGES  dlq.hand_over, dlq.outcome; the answers to what dlq_delivery.c has sent. Due row "deliver".
 *
 * STATE     A letter of kind request, whose id is derived from the request's, and its frames. A waiting one has a due row "deliver"
 *           until it is closed: it stands for the next delivery, and during one for what is done should no answer ever come.
 *
 * FAILURES  ok and refusals are outcomes: done. Away or busy: again, first after retry_first_ms, then after as long as it has waited
 *           already, PAUSE_MAX_MS at the most, until useful_until: stale. Failed otherwise: retry_attempts times, then dead; a
 *           mismatch is dead at once, as it says that another request was done under the id. Those of a dead or stale one come from
 *           replays, and none of them is repeated here.
 *
 * LIMITS    Tokens and the secrets of orders are not kept: a request is delivered as what the dlq may do, and the principal is for
 *           people to read. An attempt counts when the actor has had the request. What an answer says beyond its frame is not kept.
 */
#include "dlq_delivery.h"

#include <stdio.h>

#include "dlq/letter/dlq_asking.h"
#include "dlq/letter/dlq_callers.h"
#include "dlq/letter/dlq_rules.h"
#include "kit/base/arena.h"
#include "kit/settings/topology.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

enum { PAUSE_MAX_MS = 10000 };

/* What is asked for, as it was understood. */
struct handed {
    const struct wire_dlq_hand_over *body;
    enum op op;
    int shard;
    struct slice product; /* empty: none */
    char key[DLQ_TEXT_SIZE];
};

/* --- reading what is handed over --- */

static err
read_op(const struct wire_dlq_hand_over *body, enum op *op, struct err_text *why)
{
    *op = wire_op_find((const char *)body->op.data, body->op.size);
    if (*op == OP_COUNT) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.op: there is no operation %.*s", (int)body->op.size,
                       (const char *)body->op.data);
    }
    const char *owner = wire_ops[*op].owner;
    if ((wire_ops[*op].traits & OP_WRITES) == 0) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.op: %s changes nothing, so it is of no use later", wire_ops[*op].name);
    }
    if (strcmp(owner, "user") == 0) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.op: %s is not kept here, it is personal", wire_ops[*op].name);
    }
    if (strcmp(owner, "any") == 0 || strcmp(owner, "dlq") == 0) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.op: %s is not delivered for others", wire_ops[*op].name);
    }
    return ERR_ok;
}

/* What the request is about: a product, its own or that of its first line, or else the thing that it names by its id. */
static void
read_key(const struct wire_body *body, const void *request, struct handed *handed)
{
    uint64_t has = *(const uint64_t *)request;
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        const void *value = (const char *)request + field->offset;
        if ((has >> i & 1U) == 0) {
            continue;
        }
        if (field->kind == WIRE_NAME && strcmp(field->name, "product") == 0) {
            handed->product = *(const struct slice *)value;
        } else if (field->kind == WIRE_LIST && field->element == &stock_line_body) {
            struct wire_list lines = *(const struct wire_list *)value;
            struct wire_stock_line line;
            handed->product = wire_list_next(&lines, &stock_line_body, &line) ? line.product : handed->product;
        } else if (field->kind == WIRE_ID && handed->key[0] == '\0') {
            id_format(value, handed->key);
        }
    }
    if (handed->product.size > 0) {
        dlq_copy(handed->key, sizeof handed->key, handed->product);
    }
}

static err
read_handed(const struct dlq *dlq, struct batch *batch, const struct wire_dlq_hand_over *body, struct handed *handed,
            struct err_text *why)
{
    struct err_text reason;
    *handed = (struct handed){.body = body};
    if (id_is_zero(&body->request)) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.request: 16 zero bytes are no id");
    }
    err code = read_op(body, &handed->op, why);
    if (code != ERR_ok) {
        return code;
    }
    const struct wire_op *op = &wire_ops[handed->op];
    void *request = batch_alloc(batch, op->request->size);
    code = wire_decode(op->request, body->body, request, &reason);
    if (code != ERR_ok) {
        return err_say(why, code, "dlq_hand_over.body: %s", reason.text);
    }
    read_key(op->request, request, handed);
    int shards = topology_shards(dlq->settings, op->owner);
    handed->shard = WIRE_HAS(body, dlq_hand_over, shard) ? (int)body->shard : 0;
    if (handed->shard >= shards) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.shard: %s has %d, counted from 0", op->owner, shards);
    }
    bool is_routed = (op->traits & OP_ROUTED) != 0 && handed->product.size > 0;
    if (is_routed && wire_shard_of(handed->product, shards) != handed->shard) {
        return err_say(why, ERR_invalid_field, "dlq_hand_over.shard: %s lives on shard %d", handed->key,
                       wire_shard_of(handed->product, shards));
    }
    return ERR_ok;
}

/* --- the letter --- */

static void
make_letter(const struct dlq *dlq, const struct batch *batch, const struct item *item, const struct handed *handed,
            struct dlq_letter *letter)
{
    const struct wire_dlq_hand_over *body = handed->body;
    const struct wire_op *op = &wire_ops[handed->op];
    struct dlq_value value = dlq_rules_value(op->request, body->body);
    *letter = (struct dlq_letter){
        .id = id_derive(&body->request, "letter/request"),
        .state = DLQ_WAITING,
        .kind = DLQ_REQUEST,
        .seq = DLQ_NONE,
        .to = DLQ_NONE,
        .first_ms = batch->now_ms,
        .last_ms = batch->now_ms,
        .opened_ms = batch->now_ms,
        .changed_ms = batch->now_ms,
        .units = value.units,
        .amount = value.amount,
        .request = body->request,
        .status = ERR_COUNT,
    };
    bool has_end = WIRE_HAS(body, dlq_hand_over, useful_until);
    letter->useful_until_ms = has_end ? body->useful_until : batch->now_ms + dlq->settings->useful_ms;
    memcpy(letter->currency, value.currency, sizeof letter->currency);
    dlq_copy(letter->reason, sizeof letter->reason, slice_of(err_symbol(ERR_unavailable)));
    dlq_copy(letter->error, sizeof letter->error, slice_of("not delivered yet"));
    dlq_copy(letter->key, sizeof letter->key, slice_of(handed->key));
    dlq_copy(letter->type, sizeof letter->type, slice_of(op->name));
    dlq_copy(letter->traceparent, sizeof letter->traceparent, item->traceparent);
    (void)snprintf(letter->destination, sizeof letter->destination, "%s/%d", op->owner, handed->shard);
    if (WIRE_HAS(body, dlq_hand_over, principal)) {
        dlq_copy(letter->principal, sizeof letter->principal, body->principal);
    }
    if (letter->useful_until_ms <= batch->now_ms) {
        letter->state = DLQ_STALE;
        dlq_copy(letter->error, sizeof letter->error, slice_of("its time was over when it was handed over"));
    }
}

/* Handed over before: the letter there is, if it was the same request. */
static err
answer_known(struct dlq *dlq, struct batch *batch, struct item *item, const struct handed *handed, const struct dlq_letter *letter)
{
    char destination[DLQ_TEXT_SIZE];
    struct arena arena = {0};
    struct dlq_frames frames = {0};
    err code = dlq_store_frames(&dlq->store, &arena, letter->n, &frames);
    struct slice body = frames.original.size > 0 ? frames.original : frames.body;
    (void)snprintf(destination, sizeof destination, "%s/%d", wire_ops[handed->op].owner, handed->shard);
    bool is_same = strcmp(letter->type, wire_ops[handed->op].name) == 0 && strcmp(letter->destination, destination) == 0 &&
                   slice_equal(body, handed->body->body);
    arena_fini(&arena);
    if (code != ERR_ok) {
        return code;
    }
    if (is_same) {
        dlq_answer_letter(dlq, batch, item, letter);
        return ERR_ok;
    }
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("dlq_hand_over.request: another request was handed over under this id"));
    WIRE_SET(&problem, problem, letter, letter->id);
    item_refuse_with(batch, item, ERR_idempotency_mismatch, &problem);
    return ERR_ok;
}

err
dlq_handle_hand_over(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct err_text why;
    struct handed handed;
    struct dlq_letter letter;
    bool found = false;
    err code = read_handed(dlq, batch, item->body, &handed, &why);
    if (code != ERR_ok) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    struct id id = id_derive(&handed.body->request, "letter/request");
    code = dlq_store_find(&dlq->store, &id, &letter, &found);
    if (code != ERR_ok || found) {
        return found ? answer_known(dlq, batch, item, &handed, &letter) : code;
    }
    if (dlq_room_is_short(dlq->room, dlq_tally_total(dlq->tally))) {
        item_refuse(batch, item, ERR_overloaded, "the room that is left for letters is kept for what could not be processed");
        return ERR_ok;
    }
    make_letter(dlq, batch, item, &handed, &letter);
    dlq_open_letter(dlq, batch, &letter, &(struct dlq_frames){.body = handed.body->body});
    if (letter.state == DLQ_WAITING) {
        dlq_delivery_set_due(batch, &letter, batch->now_ms);
    }
    dlq_answer_letter(dlq, batch, item, &letter);
    return ERR_ok;
}

/* --- telling whose it is --- */

/* Whether the request was made in the name of who asks; of who shows no token it is enough to know its id. */
static bool
is_own(const struct dlq_letter *letter, const struct item *item)
{
    char user[ID_TEXT_SIZE];
    char name[DLQ_TEXT_SIZE + ID_TEXT_SIZE];
    if (item->role >= ROLE_ADMIN) {
        return true;
    }
    if (item->has_user) {
        id_format(&item->user, user);
        (void)snprintf(name, sizeof name, "user/%s as ", user);
    } else {
        (void)snprintf(name, sizeof name, "%s%s as ", item->role == ROLE_ANONYMOUS ? "" : "role/", role_name(item->role));
    }
    return strncmp(letter->principal, name, strlen(name)) == 0;
}

err
dlq_handle_outcome(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_request_ref *ref = item->body;
    struct id id = id_derive(&ref->request, "letter/request");
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_store_find(&dlq->store, &id, &letter, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (found && is_own(&letter, item)) {
        dlq_answer_letter(dlq, batch, item, &letter);
        return ERR_ok;
    }
    char text[ID_TEXT_SIZE];
    id_format(&ref->request, text);
    item_refuse(batch, item, ERR_unknown_letter, "there is no request %s of yours that is done later", text);
    return ERR_ok;
}

/* --- when it is due --- */

static err
make_stale(struct dlq *dlq, struct batch *batch, const struct dlq_letter *before)
{
    struct dlq_letter letter = *before;
    char last[401];
    dlq_copy(last, sizeof last, slice_of(before->error));
    letter.state = DLQ_STALE;
    (void)snprintf(letter.error, sizeof letter.error, "its time was over before it was delivered: %s", last);
    return dlq_change_letter(dlq, batch, &letter, before);
}

err
dlq_request_handle_due(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct id id;
    struct dlq_letter letter;
    bool found = false;
    if (!dlq_id_of_key(item->key, &id)) {
        log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
        return ERR_ok;
    }
    err code = dlq_store_find(&dlq->store, &id, &letter, &found);
    if (code != ERR_ok || !found || letter.state != DLQ_WAITING) {
        return code;
    }
    if (letter.useful_until_ms <= batch->now_ms && !askings_is_retrying(dlq->askings, letter.n)) {
        return make_stale(dlq, batch, &letter);
    }
    /* stands behind a delivery that is under way already as well */
    dlq_delivery_set_due(batch, &letter, batch->now_ms + dlq->settings->request_timeout_ms + DLQ_GUARD_MS);
    return dlq_owner_retry(dlq, batch, &letter);
}

/* --- what came of it --- */

/* "out_of_stock: 3 asked, 1 there". */
static void
say_why(const struct item *item, char text[DLQ_ERROR_SIZE])
{
    const struct wire_problem *problem = item->status != ERR_ok ? item->body : NULL;
    struct slice detail = problem != NULL ? problem->detail : slice_of(err_words(item->status));
    char whole[ERR_TEXT_MAX + WIRE_NAME_MAX + 2];
    (void)snprintf(whole, sizeof whole, "%s: %.*s", err_symbol(item->status), (int)detail.size, (const char *)detail.data);
    dlq_copy(text, DLQ_ERROR_SIZE, slice_of(whole));
}

/* Writes down an attempt that reached the actor: the letter's own error, and the answer when it is final. */
static err
keep_attempt(struct dlq *dlq, const struct dlq_letter *letter, struct slice answer)
{
    struct arena arena = {0};
    struct wire_buffer history = {0};
    struct dlq_frames frames = {0};
    err code = dlq_store_frames(&dlq->store, &arena, letter->n, &frames);
    if (code == ERR_ok) {
        if (letter->status != ERR_ok) {
            dlq_history_add(&frames, letter, &history);
        }
        frames.answer = answer;
        code = dlq_store_put_frames(&dlq->store, letter->n, &frames);
    }
    wire_buffer_fini(&history);
    arena_fini(&arena);
    return code;
}

/* The answer as it may be kept: what is secret of it was for who asked, and he gets it by asking again under the same id. */
static struct slice
without_secret(struct batch *batch, const struct item *item)
{
    const struct wire_body *body = wire_ops[item->op].reply;
    struct wire_buffer frame = {0};
    size_t i = 0;
    while (i < body->field_count && strcmp(body->fields[i].name, "secret") != 0) {
        i++;
    }
    if (item->status != ERR_ok || i == body->field_count) {
        return item->frame;
    }
    void *reply = batch_alloc(batch, body->size);
    memcpy(reply, item->body, body->size);
    *(uint64_t *)reply &= ~(UINT64_C(1) << i); /* `has` leads every body */
    wire_encode(body, reply, &frame);
    uint8_t *kept = batch_alloc(batch, frame.size);
    memcpy(kept, frame.data, frame.size);
    struct slice answer = {kept, frame.size};
    wire_buffer_fini(&frame);
    return answer;
}

/* ok or a refusal. What was given up meanwhile stays so, unless it was done after all. */
static err
finish(struct dlq *dlq, struct batch *batch, const struct item *item, struct dlq_letter *letter)
{
    bool is_closed = letter->state == DLQ_DONE || (letter->state == DLQ_DISCARDED && item->status != ERR_ok);
    if (is_closed) {
        return ERR_ok;
    }
    letter->state = DLQ_DONE;
    letter->status = item->status;
    letter->attempts = dlq_one_more(letter->attempts);
    letter->last_ms = batch->now_ms;
    letter->error[0] = '\0';
    if (item->status != ERR_ok) {
        say_why(item, letter->error);
    }
    batch_due_cancel(batch, DLQ_DUE_DELIVER, dlq_key_of(&letter->id));
    return keep_attempt(dlq, letter, without_secret(batch, item));
}

/* Not there, busy, or silent: not counted, and tried again. */
static void
try_later(const struct dlq *dlq, struct batch *batch, const struct item *item, struct dlq_letter *letter)
{
    if (letter->state != DLQ_WAITING) {
        return;
    }
    int64_t pause_ms = batch->now_ms - letter->opened_ms;
    pause_ms = pause_ms < dlq->settings->retry_first_ms ? dlq->settings->retry_first_ms : pause_ms;
    pause_ms = pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms;
    int64_t due_ms = batch->now_ms + pause_ms;
    dlq_delivery_set_due(batch, letter, due_ms < letter->useful_until_ms ? due_ms : letter->useful_until_ms);
    say_why(item, letter->error);
    dlq_copy(letter->reason, sizeof letter->reason, slice_of(err_symbol(item->status)));
}

static void
give_up_waiting(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter)
{
    if (letter->state != DLQ_WAITING) {
        return;
    }
    letter->state = DLQ_DEAD;
    dlq_meters_buried(dlq->meters, letter->reason);
    batch_due_cancel(batch, DLQ_DUE_DELIVER, dlq_key_of(&letter->id));
    log_often(LOG_LEVEL_ERROR, "request_is_dead", letter->destination, LOG_TEXT("op", letter->type),
              LOG_TEXT("destination", letter->destination), LOG_TEXT("error", letter->error), LOG_ID("req", &letter->request));
}

/* The actor had it and failed; or its id belongs to another request there, so that it can never be delivered: whoever asked for it
 * is not told that it was refused, somebody has to look. */
static err
fail(struct dlq *dlq, struct batch *batch, const struct item *item, struct dlq_letter *letter)
{
    if (letter->state == DLQ_DONE || letter->state == DLQ_DISCARDED) {
        return ERR_ok;
    }
    letter->attempts = dlq_one_more(letter->attempts);
    letter->last_ms = batch->now_ms;
    say_why(item, letter->error);
    dlq_copy(letter->reason, sizeof letter->reason, slice_of(err_symbol(item->status)));
    if (letter->state == DLQ_WAITING && letter->attempts < dlq->settings->retry_attempts && item->status != ERR_idempotency_mismatch) {
        dlq_delivery_set_due(batch, letter, batch->now_ms + batch_backoff_ms(batch, letter->attempts));
    } else {
        give_up_waiting(dlq, batch, letter);
    }
    return keep_attempt(dlq, letter, (struct slice){0});
}

static bool
is_changed(const struct dlq_letter *letter, const struct dlq_letter *before)
{
    return letter->state != before->state || letter->attempts != before->attempts || strcmp(letter->reason, before->reason) != 0 ||
           strcmp(letter->error, before->error) != 0;
}

/* Writes the letter, with the replay that had it delivered. */
static err
change(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct dlq_letter *before)
{
    struct id replay;
    err code = dlq_runs_find_replay(dlq, letter->n, &replay);
    if (code != ERR_ok) {
        return code;
    }
    letter->replay = id_is_zero(&replay) ? letter->replay : replay;
    return dlq_change_letter(dlq, batch, letter, before);
}

err
dlq_request_handle_reply(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_store_find_n(&dlq->store, dlq_number_of(item->context), &letter, &found);
    if (code != ERR_ok || !found) {
        return code;
    }
    const struct dlq_letter before = letter;
    enum err_disposition disposition = err_disposition(item->status);
    switch (disposition) {
    case ERR_DONE:
    case ERR_REFUSE:
        code = item->status == ERR_idempotency_mismatch ? fail(dlq, batch, item, &letter) : finish(dlq, batch, item, &letter);
        break;
    case ERR_RETRY:
        try_later(dlq, batch, item, &letter);
        break;
    case ERR_DEAD:
    case ERR_BUG:
        code = fail(dlq, batch, item, &letter);
        break;
    }
    if (code == ERR_ok && is_changed(&letter, &before)) {
        code = change(dlq, batch, &letter, &before);
    }
    if (code != ERR_ok) {
        return code;
    }
    struct dlq_outcome outcome = {.letter = &letter, .is_done = letter.state == DLQ_DONE, .is_later = disposition == ERR_RETRY};
    return dlq_callers_delivered(dlq, batch, &outcome);
}
