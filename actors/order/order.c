/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The order actor: owns orders and their saga. An order is a durable coordinator between stock, payment and the kitchen: what it
 *   does next stands in order_saga.def, and order_steps.c is the small loop over it.
 *
 * MESSAGES
 *   order.place (order_place.c), order.advance, cancel, pay (order_change.c), order.get, list, kitchen, timeline (order_pages.c);
 *   follows product (the copy of the menu), payment (order_steps.c, order_stray.c) and user (order_change.c)
 *
 * STATE
 *   The tables of order_schema.c. Orders under way lie in memory as well: a batch first reads those that it will need and that are not
 *   there, in one statement, changes them in memory, and writes each changed row once at its end. A batch that is rolled back drops
 *   all of them. Requests that wait outlive that (order_waiters.c).
 *
 * FAILURES
 *   An error of the database ends the batch; the kit comes again with each item alone.
 *
 * LIMITS
 *   ORDER_CACHED_MAX orders in memory, ORDER_SHARDS_MAX shards of stock.
 */
#include "order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "order_schema.h"
#include "order_state.h"
#include "kit/settings/topology.h"

/* --- what the parts share --- */

/* n << 16 | kind << 8 | shard */
void *
order_context(enum order_ask_kind kind, int64_t n, int shard)
{
    uintptr_t bits = (uintptr_t)((uint64_t)n << 16 | (uint64_t)kind << 8 | (uint64_t)shard);
    void *context = NULL;
    memcpy(&context, &bits, sizeof context);
    return context;
}

enum order_ask_kind
order_context_kind(const void *context)
{
    return (enum order_ask_kind)((uintptr_t)context >> 8 & 0xff);
}

int64_t
order_context_n(const void *context)
{
    return (int64_t)((uintptr_t)context >> 16);
}

int
order_context_shard(const void *context)
{
    return (int)((uintptr_t)context & 0xff);
}

void
order_touch(struct order_actor *order, struct order_row *row)
{
    if (row->is_touched) {
        return;
    }
    if (order->touched_count == order->touched_capacity) {
        order->touched_capacity = order->touched_capacity == 0 ? 256 : order->touched_capacity * 2;
        struct order_row **grown = realloc(order->touched, order->touched_capacity * sizeof(struct order_row *));
        if (grown == NULL) {
            abort();
        }
        order->touched = grown;
    }
    order->touched[order->touched_count++] = row;
    row->is_touched = true;
}

static void
write_due(struct order_actor *order, struct order_row *row)
{
    struct slice key = {row->id.bytes, sizeof row->id.bytes};
    if (row->due_ms == ORDER_DUE_UNKNOWN || row->due_ms == row->due_disk_ms) {
        return;
    }
    if (row->due_ms == ORDER_DUE_NONE) {
        batch_due_cancel(order->batch, ORDER_DUE_SAGA, key);
    } else {
        batch_due(order->batch, &(struct due){.owner = ORDER_DUE_SAGA, .key = key, .due_ms = row->due_ms, .attempts = row->attempts});
    }
    row->due_disk_ms = row->due_ms;
}

err
order_flush(struct order_actor *order)
{
    err code = ERR_ok;
    for (size_t i = 0; i < order->touched_count; i++) {
        struct order_row *row = order->touched[i];
        if (row->is_new) {
            order_store_insert(order->store, row);
        }
        write_due(order, row);
    }
    code = order_store_queue(order->store);
    for (size_t i = 0; code == ERR_ok && i < order->touched_count; i++) {
        struct order_row *row = order->touched[i];
        if (!row->is_new) {
            code = order_store_update(order->store, row, row->status != row->status_disk);
        }
        row->status_disk = row->status;
        row->is_new = row->is_touched = false;
    }
    order->touched_count = 0;
    return code == ERR_ok ? menu_queue(order->menu) : code;
}

void
order_note(struct order_actor *order, struct order_row *row, const char *what, const char *outcome, const char *detail)
{
    order_store_add_note(order->store, &(struct order_note){.n = row->n,
                                                            .k = ++row->entries,
                                                            .time_ms = order->batch->now_ms,
                                                            .what = what,
                                                            .outcome = outcome,
                                                            .status = row->status,
                                                            .detail = slice_of(detail)});
}

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

void
order_answer_again(struct order_actor *order, struct item *item, const struct order_row *row, const struct fingerprint *kept)
{
    char secret[ORDER_SECRET_SIZE];
    struct wire_order body = item->op == OP_order_place ? order_placed(order, row, secret) : order_row_body(row);
    order->frame.size = 0;
    wire_encode(&order_body, &body, &order->frame);
    uint8_t *frame = batch_alloc(order->batch, order->frame.size);
    memcpy(frame, order->frame.data, order->frame.size);
    item_replay(order->batch, item, kept, ERR_ok, (struct slice){frame, order->frame.size});
}

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

/* --- what a batch needs --- */

static void
want_order(struct order_actor *order, const struct id *id)
{
    if (order_cache_find(order->cache, id) == NULL) {
        order_store_want(order->store, id);
    }
}

/* The order that a request is about. */
static const struct id *
order_of_request(const struct item *item)
{
    if (item->op == OP_order_get) {
        return &((const struct wire_order_get *)item->body)->order;
    }
    if (item->op == OP_order_advance) {
        return &((const struct wire_order_advance *)item->body)->order;
    }
    if (item->op == OP_order_cancel) {
        return &((const struct wire_order_cancel *)item->body)->order;
    }
    if (item->op == OP_order_pay) {
        return &((const struct wire_order_pay *)item->body)->order;
    }
    return item->op == OP_order_timeline ? &((const struct wire_order_timeline *)item->body)->order : NULL;
}

static void
want_request(struct order_actor *order, const struct item *item)
{
    const struct id *id = order_of_request(item);
    if (id != NULL) {
        want_order(order, id);
    }
    if (item->op != OP_order_place) {
        if (id != NULL && (wire_ops[item->op].traits & OP_WRITES) != 0) {
            want_order(order, &item->id); /* which may be that of an order that was placed */
        }
        return;
    }
    if (batch_is_looked_up(order->batch, item)) {
        want_order(order, &item->id); /* a first attempt need not look: its key makes it fail, and it comes again */
    }
    order_place_want(order, item);
}

static bool
is_about_money(enum event_type event)
{
    return event == EVENT_payment_succeeded || event == EVENT_payment_failed || event == EVENT_payment_refunded ||
           event == EVENT_payment_refund_failed;
}

static void
want_item(struct order_actor *order, const struct item *item)
{
    struct id id;
    if (item->kind == ITEM_REQUEST && item_outcome(item) == ERR_COUNT) {
        want_request(order, item);
    } else if (item->kind == ITEM_EVENT && item->event == EVENT_product_changed) {
        menu_want(order->menu, ((const struct wire_product_card *)item->body)->product);
    } else if (item->kind == ITEM_EVENT && is_about_money(item->event)) {
        want_order(order, &((const struct wire_payment_fact *)item->body)->order);
    } else if (item->kind == ITEM_DUE && item->key.size == sizeof id.bytes &&
               (slice_equal(item->owner, slice_of(ORDER_DUE_SAGA)) || slice_equal(item->owner, slice_of(ORDER_DUE_PAID_BACK)))) {
        memcpy(id.bytes, item->key.data, sizeof id.bytes);
        want_order(order, &id);
    } else if (item->kind == ITEM_REPLY && order_context_kind(item->context) == ASKS_MENU) {
        order_place_want(order, item);
    }
}

static void
see_forgotten(void *context, const struct id *customer)
{
    struct order_actor *order = context;
    order->forgotten[order->forgotten_count++] = *customer;
}

static err
read_needs(struct order_actor *order)
{
    struct batch *batch = order->batch;
    order->forgotten = batch_alloc(batch, (batch->count * 2 + 1) * sizeof *order->forgotten);
    order->forgotten_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        want_item(order, &batch->items[i]);
    }
    err code = order_store_read(order->store, order->cache);
    if (code == ERR_ok) {
        code = menu_read(order->menu);
    }
    return code == ERR_ok ? order_store_read_forgotten(order->store, see_forgotten, order) : code;
}

/* --- the class --- */

static err
handle_request(struct order_actor *order, struct item *item)
{
    static err (*const handlers[OP_COUNT])(struct order_actor * order, struct item * item) = {
        [OP_order_place] = order_place,     [OP_order_get] = order_get,           [OP_order_list] = order_list,
        [OP_order_kitchen] = order_kitchen, [OP_order_advance] = order_advance,   [OP_order_cancel] = order_cancel,
        [OP_order_pay] = order_pay,         [OP_order_timeline] = order_timeline,
    };
    if (item_outcome(item) != ERR_COUNT) {
        return ERR_ok;
    }
    if (handlers[item->op] == NULL) {
        item_refuse(order->batch, item, ERR_unknown_op, "%s is not done by order", wire_ops[item->op].name);
        return ERR_ok;
    }
    return handlers[item->op](order, item);
}

static err
handle_event(struct order_actor *order, struct item *item)
{
    if (item->event == EVENT_product_changed) {
        (void)menu_apply(order->menu, item->body);
        return ERR_ok;
    }
    if (item->event == EVENT_user_erased) {
        return order_forget_customer(order, &((const struct wire_user_fact *)item->body)->user, item);
    }
    return is_about_money(item->event) ? order_handle_payment(order, item) : ERR_ok;
}

static err
handle_due(struct order_actor *order, const struct item *item)
{
    struct id id;
    if (slice_equal(item->owner, slice_of(ORDER_DUE_SAGA))) {
        order_handle_due(order, item);
        return ERR_ok;
    }
    if (slice_equal(item->owner, slice_of(ORDER_DUE_PAID_BACK))) {
        order_paid_back_due(order, item);
        return ERR_ok;
    }
    if (slice_equal(item->owner, slice_of(ORDER_DUE_STRAY))) {
        return order_stray_due(order, item);
    }
    if (slice_equal(item->owner, slice_of(ORDER_DUE_FORGET)) && item->key.size == sizeof id.bytes) {
        memcpy(id.bytes, item->key.data, sizeof id.bytes);
        return order_forget_customer(order, &id, item);
    }
    log_error("due_row_is_nonsense", LOG_SLICE("owner", item->owner));
    return ERR_ok;
}

static err
handle_reply(struct order_actor *order, const struct item *item)
{
    switch (order_context_kind(item->context)) {
    case ASKS_STEP:
        return order_handle_step(order, item);
    case ASKS_STRAY:
        return order_stray_reply(order, item);
    case ASKS_MENU:
        return order_place_goes_on(order, item);
    }
    return ERR_internal;
}

static err
handle_item(struct order_actor *order, struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        return handle_request(order, item);
    case ITEM_EVENT:
        return handle_event(order, item);
    case ITEM_DUE:
        return handle_due(order, item);
    case ITEM_REPLY:
        return handle_reply(order, item);
    case ITEM_CALL:
    case ITEM_WORK:
    case ITEM_HEAD:
        return ERR_ok;
    }
    return ERR_internal;
}

static err
order_handle(void *state, struct batch *batch)
{
    struct order_actor *order = state;
    order->batch = batch;
    err code = read_needs(order);
    for (size_t i = 0; code == ERR_ok && i < batch->count; i++) {
        code = handle_item(order, &batch->items[i]);
    }
    return code == ERR_ok ? order_flush(order) : code;
}

/* Files still hold what was deleted. */
static void
scrub(struct order_actor *order)
{
    err code = db_scrub(actor_db(order->actor), (struct slice){0});
    order->is_scrub_wanted = code != ERR_ok;
    if (code != ERR_ok) {
        log_warn("files_not_scrubbed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("now", "tried again each second"));
    }
}

static err
order_tick(void *state, struct batch *batch)
{
    struct order_actor *order = state;
    order->batch = batch;
    if (order->is_scrub_wanted) {
        scrub(order);
    }
    return order->is_resumed ? order_standing_look(&order->standing, order->store, batch->now_ms) : order_resume(order);
}

static int64_t
order_next_ms(const void *state)
{
    const struct order_actor *order = state;
    return order->is_resumed ? INT64_MAX : 0;
}

static void
order_committed(void *state)
{
    struct order_actor *order = state;
    order_waiters_committed(order->waiters);
    order_askings_committed(order);
    menu_committed(order->menu);
    order_cache_trim(order->cache);
    order->is_scrub_wanted = order->is_scrub_wanted || order->has_forgotten;
    order->has_forgotten = false;
}

static void
order_dropped(void *state)
{
    struct order_actor *order = state;
    order->touched_count = 0;
    order->has_forgotten = false;
    order_cache_clear(order->cache);
    order_store_dropped(order->store);
    order_waiters_dropped(order->waiters);
    order_askings_dropped(order);
    menu_dropped(order->menu);
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
    want_order(recalled->order, &answer->request);
    if (answer->status == ERR_ok) {
        want_order(recalled->order, &answer->order);
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
        order_answer_again(order, item, row, &answer->fingerprint);
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

static err
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

/* --- life --- */

static void
order_close(void **state)
{
    struct order_actor *order = *state;
    *state = NULL;
    if (order == NULL) {
        return;
    }
    order_askings_close(order);
    order_waiters_destroy(&order->waiters);
    order_secrets_destroy(&order->secrets);
    order_cache_destroy(&order->cache);
    menu_destroy(&order->menu);
    order_store_destroy(&order->store);
    wire_buffer_fini(&order->list);
    wire_buffer_fini(&order->frame);
    free(order->touched);
    free(order);
}

static err
order_open(struct actor *actor, void **state, struct err_text *why)
{
    int shards = topology_shards(actor_settings(actor), "stock");
    if (shards > ORDER_SHARDS_MAX) {
        return err_say(why, ERR_wrong_setting, "LARDER_STOCK_SHARDS: order can deal with %d shards at the most", ORDER_SHARDS_MAX);
    }
    struct order_actor *order = calloc(1, sizeof *order);
    if (order == NULL) {
        abort();
    }
    order->actor = actor;
    order->settings = actor_settings(actor);
    order->shards = shards;
    order_standing_init(&order->standing, actor_settings(actor)->stuck_ms);
    order->is_scrub_wanted = true; /* a run before may have ended between forgetting and its end */
    order->store = order_store_create(actor_db(actor), shards);
    order->cache = order_cache_create();
    order->menu = menu_create(actor_db(actor));
    order->waiters = order_waiters_create();
    order->secrets = order_secrets_create(actor_db(actor));
    *state = order;
    err code = order_secrets_load(order->secrets);
    return code == ERR_internal ? err_say(why, code, "the keys of orders' secrets are none: they were changed by hand") : code;
}

static const char *const peers[] = {"stock", "payment", "product", NULL};

const struct actor_class order_class = {
    .name = "order",
    .peers = peers,
    .steps = order_steps,
    .step_count = ORDER_STEP_COUNT,
    .erases = true,
    .retime = order_retime,
    .open = order_open,
    .close = order_close,
    .handle = order_handle,
    .committed = order_committed,
    .dropped = order_dropped,
    .recall = order_recall,
    .tick = order_tick,
    .next_ms = order_next_ms,
};
