/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   How requests about orders end, whichever operation they are: who may see an order, what is answered, which answers are
 *           kept, and what is told to who asks again.
 *
 * MESSAGES  Of all operations that write: the same id is answered as before.
 *
 * STATE     $request, by the request's id: what was done to an order, or a refusal. An order that was placed is its own record under
 *           the id of its place. A request that is answered again shows the order as it is now.
 *
 * FAILURES  A refusal is kept when it was asked for again: it is final for its id.
 *
 * LIMITS    None of its own.
 */
#include <string.h>

#include "order/order_state.h"

/* --- who, and what of it --- */

struct order_asker
order_asker_of(const struct item *item)
{
    return (struct order_asker){.role = item->role, .has_user = item->has_user, .user = item->user};
}

/* The secret is compared for an order that is not there as well. */
static bool
has_secret(const struct order_actor *order, const struct item *item, const struct id *id, const struct order_row *row)
{
    struct order_secret_of of = {*id, row != NULL ? row->placed_ms : order->batch->now_ms};
    return item->secret.size > 0 && order_secrets_is_right(order->secrets, &of, item->secret);
}

struct order_row *
order_find_visible(struct order_actor *order, struct item *item, const struct id *id)
{
    struct order_row *row = order_cache_find(order->cache, id);
    struct order_asker asker = order_asker_of(item);
    bool is_bearer = has_secret(order, item, id, row);
    char text[ID_TEXT_SIZE];
    if (row != NULL && order_is_visible(&asker, row->has_customer ? &row->customer : NULL, is_bearer)) {
        return row;
    }
    id_format(id, text);
    item_refuse(order->batch, item, ERR_unknown_order, "there is no order %s", text);
    return NULL;
}

struct wire_problem
order_problem(const struct order_row *row, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    WIRE_SET(&problem, problem, order, row->id);
    WIRE_SET(&problem, problem, status, slice_of(order_status_name(row->status)));
    return problem;
}

/* --- answers --- */

void
order_answer(struct order_actor *order, struct item *item, const struct order_row *row)
{
    struct wire_order body = order_row_body(row);
    item_answer(order->batch, item, &body);
}

struct wire_order
order_placed(const struct order_actor *order, const struct order_row *row, char secret[ORDER_SECRET_SIZE])
{
    struct wire_order body = order_row_body(row);
    struct order_secret_of of = {row->id, row->placed_ms};
    if (!row->has_customer && order_secrets_write(order->secrets, &of, secret)) {
        WIRE_SET(&body, order, secret, slice_of(secret));
    }
    return body;
}

/* The order as it is now, as one that was asked for before. */
static void
answer_again(struct order_actor *order, struct item *item, const struct order_row *row, const struct fingerprint *kept)
{
    char secret[ORDER_SECRET_SIZE];
    struct wire_order body = item->op == OP_order_place ? order_placed(order, row, secret) : order_row_body(row);
    order->frame.size = 0;
    wire_encode(&order_body, &body, &order->frame);
    uint8_t *frame = batch_alloc(order->batch, order->frame.size);
    memcpy(frame, order->frame.data, order->frame.size);
    item_replay(order->batch, item, kept, ERR_ok, (struct slice){frame, order->frame.size});
}

void
order_answer_waiters(struct order_actor *order, const struct order_row *row, const struct wire_order *reply)
{
    struct waiter *waiter = NULL;
    while ((waiter = batch_waiter_of(order->batch, row->n)) != NULL) {
        waiter_answer(order->batch, &waiter, reply);
    }
}

void
order_refuse_waiters(struct order_actor *order, const struct order_row *row, err code, const struct wire_problem *problem)
{
    struct waiter *waiter = NULL;
    while ((waiter = batch_waiter_of(order->batch, row->n)) != NULL) {
        waiter_refuse(order->batch, &waiter, code, problem);
    }
}

/* --- what is kept --- */

err
order_keep_refusal(struct order_actor *order, const struct item *item)
{
    err status = item_outcome(item);
    if (!batch_is_asked_again(order->batch, item) || err_disposition(status) != ERR_REFUSE || status == ERR_idempotency_mismatch) {
        return ERR_ok;
    }
    struct order_answer answer = {
        .request = item->id, .fingerprint = item->fingerprint, .status = status, .frame = item_answered_frame(item)};
    return order_store_add_request(order->store, &answer);
}

err
order_keep_done(struct order_actor *order, const struct item *item, const struct order_row *row)
{
    struct order_answer answer = {
        .request = item->id, .order = row->id, .fingerprint = item->fingerprint, .status = ERR_ok, .frame = slice_of("")};
    return order_store_add_request(order->store, &answer);
}

err
order_refuse_round(struct order_actor *order, struct order_row *row, err code, const struct wire_problem *problem)
{
    struct wire_problem told = *problem;
    WIRE_SET(&told, problem, order, row->id);
    WIRE_SET(&told, problem, status, slice_of(order_status_name(ORDER_CANCELLED)));
    order_refuse_waiters(order, row, code, &told);
    order->frame.size = 0;
    wire_encode(&problem_body, &told, &order->frame);
    struct order_answer answer = {.request = row->request,
                                  .order = row->id,
                                  .fingerprint = row->fingerprint,
                                  .status = code,
                                  .frame = wire_buffer_slice(&order->frame)};
    bool is_place = id_equal(&row->request, &row->id);
    return is_place ? order_store_add_request(order->store, &answer) : order_store_set_request(order->store, &answer);
}

/* --- requests that are asked again --- */

struct recalled {
    struct order_actor *order;
    struct order_answer *answers;
    size_t count;
};

static void
see_request(void *context, const struct order_answer *answer)
{
    struct recalled *recalled = context;
    struct order_answer *kept = &recalled->answers[recalled->count++];
    uint8_t *frame = batch_alloc(recalled->order->batch, answer->frame.size + 1);
    *kept = *answer;
    if (answer->frame.size > 0) {
        memcpy(frame, answer->frame.data, answer->frame.size);
    }
    kept->frame = (struct slice){frame, answer->frame.size};
    order_want(recalled->order, &answer->request);
    if (answer->status == ERR_ok) {
        order_want(recalled->order, &answer->order);
    }
}

/* The order as it is now; nothing while the request is still under way. */
static void
replay_order(struct order_actor *order, struct item *item, const struct order_answer *answer)
{
    const struct order_row *row = order_cache_find(order->cache, &answer->order);
    if (!item_is_of(item, &answer->fingerprint)) {
        item_refuse_other(order->batch, item);
        return;
    }
    if (row == NULL || (row->saga == SAGA_reserving && id_equal(&row->request, &answer->request))) {
        return;
    }
    if (item->op == OP_order_place || order_find_visible(order, item, &answer->order) != NULL) {
        answer_again(order, item, row, &answer->fingerprint);
    }
}

/* What a request that has an answer under its id is told. Earlier versions let an order that was placed under it have the id as
 * well: it is then answered for itself. */
static void
replay(struct order_actor *order, struct item *item, const struct order_answer *answer)
{
    const struct order_row *placed = item->op == OP_order_place ? order_cache_find(order->cache, &item->id) : NULL;
    if (placed != NULL && item_is_of(item, &placed->fingerprint) && !item_is_of(item, &answer->fingerprint)) {
        return;
    }
    if (answer->status == ERR_ok) {
        replay_order(order, item, answer);
    } else {
        err status = answer->status == ERR_COUNT ? ERR_internal : answer->status;
        item_replay(order->batch, item, &answer->fingerprint, status, answer->frame);
    }
}

err
order_recall(void *state, struct batch *batch)
{
    struct order_actor *order = state;
    order->batch = batch;
    struct recalled recalled = {.order = order, .answers = batch_alloc(batch, (batch->count + 1) * sizeof *recalled.answers)};
    for (size_t i = 0; i < batch->count; i++) {
        order_store_want_request(order->store, &batch->items[i].id);
    }
    err code = order_store_read_requests(order->store, see_request, &recalled);
    if (code == ERR_ok) {
        code = order_store_read(order->store, order->cache);
    }
    for (size_t k = 0; code == ERR_ok && k < recalled.count; k++) {
        const struct order_answer *answer = &recalled.answers[k];
        for (size_t i = 0; i < batch->count; i++) {
            if (!id_equal(&batch->items[i].id, &answer->request)) {
                continue;
            }
            replay(order, &batch->items[i], answer);
        }
    }
    return code;
}

err
order_guard_id(struct order_actor *order, struct item *item, bool *is_taken)
{
    struct batch *batch = order->batch;
    struct batch alone = {.actor = batch->actor, .items = item, .count = 1, .now_ms = batch->now_ms};
    *is_taken = order_cache_find(order->cache, &item->id) != NULL;
    err code = *is_taken ? order_recall(order, &alone) : ERR_ok;
    order->batch = batch;
    if (code == ERR_ok && *is_taken && item_outcome(item) == ERR_COUNT) {
        item_refuse_other(batch, item);
    }
    return code;
}

struct found_answer {
    struct order_actor *order;
    struct item *item;
};

static void
see_answer(void *context, const struct order_answer *answer)
{
    struct found_answer *found = context;
    struct batch *batch = found->order->batch;
    if (answer->status == ERR_ok) {
        return;
    }
    uint8_t *frame = batch_alloc(batch, answer->frame.size + 1);
    memcpy(frame, answer->frame.data, answer->frame.size);
    item_replay(batch, found->item, &answer->fingerprint, answer->status, (struct slice){frame, answer->frame.size});
}

void
order_answer_round(struct order_actor *order, struct item *item, struct order_row *row)
{
    if (row->saga == SAGA_reserving) {
        batch_wait_for(order->batch, item_defer(order->batch, item), row->n);
        order_ask(order, row, item->traceparent);
        return;
    }
    if (row->status == ORDER_CANCELLED && !batch_is_asked_again(order->batch, item)) {
        struct found_answer found = {order, item};
        order_store_want_request(order->store, &item->id);
        err code = order_store_read_requests(order->store, see_answer, &found);
        if (code != ERR_ok) {
            item_refuse(order->batch, item, code, "the answer cannot be read now; ask again with the same id");
        }
        if (item_outcome(item) != ERR_COUNT) {
            return;
        }
    }
    answer_again(order, item, row, &item->fingerprint);
}
