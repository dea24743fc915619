/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a handler says of a batch: answers and refusals, events, asks, calls, due rows. All of it is written down here and
 *           leaves the process only after the commit (batch.c); a batch that is rolled back leaves nothing behind.
 *
 * STATE     Lists of the actor that wait for the commit. What is said is encoded or copied into the arena at once.
 *
 * LIMITS    The lists grow as they must; a batch bounds them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "actor_internal.h"
#include "kit/base/backoff.h"
#include "kit/base/memory.h"

void *
list_add(struct list *list, size_t element_size)
{
    list->elements = memory_grow(list->elements, &list->capacity, list->count + 1, element_size);
    return (char *)list->elements + element_size * list->count++;
}

void
effects_fini(struct effects *effects)
{
    free(effects->asks.elements);
    free(effects->calls.elements);
    free(effects->works.elements);
}

void
effects_clear(struct effects *effects)
{
    effects->asks.count = effects->calls.count = effects->works.count = 0;
}

bool
batch_keeps_answers(const struct actor *actor)
{
    return actor->db != NULL && actor->class->recall == NULL;
}

void *
batch_alloc(struct batch *batch, size_t size)
{
    return arena_alloc(&batch->actor->arena, size);
}

bool
batch_is_asked_again(const struct batch *batch, const struct item *item)
{
    return item->again || batch->actor->records.is_forced;
}

bool
batch_is_looked_up(const struct batch *batch, const struct item *item)
{
    return batch_is_asked_again(batch, item) || batch->actor->records.is_looked_up;
}

/* What is said of one request: an answer or a refusal. */
struct said {
    err status;
    struct slice frame;
};

/* An answer of what only reads, and a refusal, have changed nothing: one that cannot be said is `internal` at once, and the batch
 * goes on. Any other leaves its fault in the arena, so that what was changed is not committed. */
static struct said
say(struct batch *batch, err status, const struct wire_body *body, const void *source, bool has_effect)
{
    struct arena *arena = &batch->actor->arena;
    bool had_fault = arena->has_fault;
    struct said said = {status, arena_encode(arena, body, source)};
    if (said.frame.size == 0 && !has_effect) {
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of("the answer is out of its bounds, and was logged"));
        said = (struct said){ERR_internal, arena_encode(arena, &problem_body, &problem)};
        arena->has_fault = had_fault;
    }
    return said;
}

static void
say_of_item(struct batch *batch, struct item *item, err status, const struct wire_body *body, const void *source)
{
    bool has_effect = status == ERR_ok && (wire_ops[item->op].traits & OP_WRITES) != 0;
    struct said said = say(batch, status, body, source, has_effect);
    item->outcome->status = said.status;
    item->outcome->frame = said.frame;
}

void
item_answer(struct batch *batch, struct item *item, const void *reply)
{
    say_of_item(batch, item, ERR_ok, wire_ops[item->op].reply, reply);
}

void
item_refuse_with(struct batch *batch, struct item *item, err code, const struct wire_problem *problem)
{
    say_of_item(batch, item, code, &problem_body, problem);
}

void
item_refuse(struct batch *batch, struct item *item, err code, const char *format, ...)
{
    struct err_text detail;
    va_list arguments;
    va_start(arguments, format);
    (void)err_say_list(&detail, code, format, arguments);
    va_end(arguments);
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail.text));
    item_refuse_with(batch, item, code, &problem);
}

bool
item_is_of(const struct item *item, const struct fingerprint *kept)
{
    return fingerprint_equal(&item->fingerprint, kept) || fingerprint_fits(kept, item->op, item->frame);
}

void
item_refuse_other(struct batch *batch, struct item *item)
{
    item_refuse(batch, item, ERR_idempotency_mismatch, "%s: this id was used before for another request", wire_ops[item->op].name);
}

void
item_replay(struct batch *batch, struct item *item, const struct fingerprint *kept, err status, struct slice frame)
{
    if (!item_is_of(item, kept)) {
        item_refuse_other(batch, item);
        return;
    }
    if (frame.size == 0) {
        item_refuse(batch, item, ERR_internal, "%s: its stored answer cannot be said any more", wire_ops[item->op].name);
        return;
    }
    item->outcome->status = status;
    item->outcome->frame = frame;
    item->outcome->is_replayed = true;
}

struct slice
item_answered_frame(const struct item *item)
{
    return item->outcome->frame;
}

err
item_outcome(const struct item *item)
{
    return item->outcome->status;
}

struct waiter *
item_defer(struct batch *batch, struct item *item)
{
    struct waiter *waiter = waiting_begin(&batch->actor->waiting);
    waiter->id = item->id;
    waiter->again = item->again;
    waiter->op = item->op;
    waiter->fingerprint = item->fingerprint;
    item->outcome->waiter = waiter;
    return waiter;
}

void
batch_wait_for(struct batch *batch, struct waiter *waiter, int64_t what)
{
    waiting_for(&batch->actor->waiting, waiter, what);
}

struct waiter *
batch_waiter_of(const struct batch *batch, int64_t what)
{
    return waiting_find(&batch->actor->waiting, what);
}

bool
batch_is_waiting(const struct batch *batch, const struct id *request)
{
    return waiting_find_request(&batch->actor->waiting, request) != NULL;
}

int
batch_count_waiting(const struct batch *batch, enum op op)
{
    return waiting_count(&batch->actor->waiting, op);
}

/* A stored answer leaves with the one that is given here; it is part of the same transaction. */
static void
answer_waiter(struct batch *batch, struct waiter **waiter, err status, struct slice frame)
{
    struct actor *actor = batch->actor;
    waiting_answer(&actor->waiting, *waiter, status, frame);
    bool is_final = status == ERR_ok || ((*waiter)->again && err_disposition(status) == ERR_REFUSE);
    if (batch_keeps_answers(actor) && is_final && (wire_ops[(*waiter)->op].traits & OP_WRITES) != 0) {
        answers_add(
            actor->parts.answers,
            &(struct answer){.request = (*waiter)->id, .fingerprint = (*waiter)->fingerprint, .status = status, .frame = frame},
            batch->now_ms);
    }
    *waiter = NULL;
}

void
waiter_answer(struct batch *batch, struct waiter **waiter, const void *reply)
{
    bool has_effect = (wire_ops[(*waiter)->op].traits & OP_WRITES) != 0;
    struct said said = say(batch, ERR_ok, wire_ops[(*waiter)->op].reply, reply, has_effect);
    answer_waiter(batch, waiter, said.status, said.frame);
}

void
waiter_refuse(struct batch *batch, struct waiter **waiter, err code, const struct wire_problem *problem)
{
    struct said said = say(batch, code, &problem_body, problem, false);
    answer_waiter(batch, waiter, said.status, said.frame);
}

int64_t
batch_next_seq(const struct batch *batch)
{
    return source_next_seq(batch->actor->parts.source);
}

void
batch_emit(struct batch *batch, enum event_type type, struct slice key, const void *body, const struct item *cause)
{
    struct source_fact fact = {.type = type, .key = key, .time_ms = batch->now_ms, .body = body};
    if (cause != NULL) {
        fact.cause = cause->id;
        fact.traceparent = cause->traceparent;
    }
    source_emit(batch->actor->parts.source, &batch->actor->arena, &fact);
}

static void
name_asker(struct wire_request_header *header, const struct item *asker)
{
    WIRE_SET(header, request_header, role, slice_of(role_name(asker->role)));
    if (asker->has_user) {
        WIRE_SET(header, request_header, user, asker->user);
    }
    if (asker->secret.size > 0) {
        WIRE_SET(header, request_header, secret, asker->secret);
    }
}

void
batch_ask(struct batch *batch, const struct ask *ask)
{
    struct actor *actor = batch->actor;
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, ask->id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[ask->op].name));
    WIRE_SET(&header, request_header, deadline, ask->deadline_ms);
    if (ask->again) {
        WIRE_SET(&header, request_header, again, true);
    }
    if (ask->traceparent.size > 0) {
        WIRE_SET(&header, request_header, traceparent, ask->traceparent);
    }
    if (ask->asker != NULL) {
        name_asker(&header, ask->asker);
    }
    struct ask_queued *queued = list_add(&actor->effects.asks, sizeof *queued);
    *queued = (struct ask_queued){.actor = ask->actor, .shard = ask->shard};
    queued->ask = (struct ask_sent){.id = ask->id,
                                    .again = ask->again,
                                    .deadline_ms = ask->deadline_ms,
                                    .op = ask->op,
                                    .owner = ASK_OF_ACTOR,
                                    .context = ask->context};
    if (ask->traceparent.size == ASK_TRACEPARENT_SIZE) {
        queued->ask.traceparent_size = ASK_TRACEPARENT_SIZE;
        memcpy(queued->ask.traceparent, ask->traceparent.data, ASK_TRACEPARENT_SIZE);
    }
    queued->header = arena_encode(&actor->arena, &request_header_body, &header);
    bool is_encoded = ask->frame.size > 0;
    queued->body =
        is_encoded ? arena_copy(&actor->arena, ask->frame) : arena_encode(&actor->arena, wire_ops[ask->op].request, ask->body);
}

void
batch_due(struct batch *batch, const struct due *due)
{
    due_rows_set(batch->actor->parts.due_rows, &batch->actor->arena, due);
}

void
batch_due_cancel(struct batch *batch, const char *owner, struct slice key)
{
    due_rows_cancel(batch->actor->parts.due_rows, &batch->actor->arena, owner, key);
}

static const char *
copy_text(struct actor *actor, const char *text)
{
    return (const char *)arena_copy(&actor->arena, (struct slice){(const uint8_t *)text, strlen(text) + 1}).data;
}

void
batch_call(struct batch *batch, const struct call *call)
{
    struct actor *actor = batch->actor;
    struct outbound_call *queued = list_add(&actor->effects.calls, sizeof *queued);
    *queued = (struct outbound_call){.url = copy_text(actor, call->url),
                                     .json = arena_copy(&actor->arena, call->json),
                                     .timeout_ms = call->timeout_ms,
                                     .context_id = call->context_id,
                                     .tag = call->tag,
                                     .key = call->key,
                                     .bearer = call->bearer == NULL ? NULL : copy_text(actor, call->bearer),
                                     .is_once = call->is_once,
                                     .expects_missing = call->expects_missing};
}

/* What waits goes first; one that was under way and goes on has the place that it just had. */
bool
batch_may_call(const struct batch *batch, const struct item *cause)
{
    const struct actor *actor = batch->actor;
    bool is_next =
        (cause->kind == ITEM_DUE && cause->has_turn) || cause->kind == ITEM_CALL || due_rows_turns(actor->parts.due_rows) == 0;
    return is_next && outcalls_room(actor->peers.outcalls) > (int)actor->effects.calls.count;
}

int64_t
batch_turn_ms(const struct batch *batch)
{
    return DUE_TURN + batch->now_ms;
}

bool
batch_others_are_answered(const struct batch *batch, int64_t since_ms)
{
    return outcalls_good_ms(batch->actor->peers.outcalls) > since_ms;
}

bool
batch_work(struct batch *batch, const struct work *work)
{
    struct actor *actor = batch->actor;
    if (!works_admits(actor->peers.works, actor->effects.works.elements, actor->effects.works.count, work)) {
        return false;
    }
    *(struct work *)list_add(&actor->effects.works, sizeof *work) = *work;
    return true;
}

struct id
batch_letter_id(const struct batch *batch, const struct id *what)
{
    char step[WIRE_NAME_MAX + 32];
    snprintf(step, sizeof step, "letter/%s", batch->actor->name);
    return id_derive(what, step);
}

void
batch_bury(struct batch *batch, const struct wire_burial *burial)
{
    burials_add(batch->actor->parts.burials, &batch->actor->arena, burial);
}

void
batch_settle(struct batch *batch, const struct id *letter)
{
    burials_settle(batch->actor->parts.burials, &batch->actor->arena, letter, batch->now_ms);
}

int64_t
batch_backoff_ms(const struct batch *batch, int64_t attempts)
{
    return backoff_ms(batch->actor->settings->retry_first_ms, attempts);
}
