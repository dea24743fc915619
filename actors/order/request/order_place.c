/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Takes orders: sums the lines, freezes names and prices from the copy of the menu, counts the total, and begins the saga.
 *           Who asks is told when it is known whether the units are held.
 *
 * MESSAGES  order.place; asks product.get for a product that the copy of the menu does not have
 *
 * STATE     The order's id is the request's: who asks again finds the order, whatever became of it, and waits with the others while
 *           its reservation is under way. A place that was refused is kept in $request when nothing else would tell it. In memory
 *           the places that wait for product.
 *
 * FAILURES  Product away: unavailable, and nothing is kept. Stock away: the order is kept, `unavailable` says so, and the same id
 *           waits for it again.
 *
 * LIMITS    One unknown product of a place is asked for at a time.
 */
#include "order/order_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/telemetry/log.h"

/* What is known of a place that waits for product. */
struct order_asking {
    struct order_asker asker;
    struct fingerprint fingerprint;
    int64_t deadline_ms;
    bool again;
    size_t frame_size;
    uint8_t frame[];
};

/* A line as it is being placed. */
struct placed_line {
    struct slice product;
    int64_t quantity;
    const struct menu_card *card;
};

/* A place, and what became of it. */
struct placing {
    struct id id;
    const struct wire_order_place *place;
    struct order_asker asker;
    struct fingerprint fingerprint;
    const struct item *cause;
    struct placed_line *lines;
    size_t count;
    int64_t total;
    bool has_customer;
    struct id customer;
    struct slice missing; /* a product that the menu does not have */
    err code;             /* why it is refused */
    char detail[ERR_TEXT_MAX];
    struct slice product; /* that the refusal is about */
};

/* --- deciding --- */

static err
refuse(struct placing *placing, err code, struct slice product, const char *words)
{
    placing->code = code;
    placing->product = product;
    if (product.size > 0) {
        (void)snprintf(placing->detail, sizeof placing->detail, "%.*s: %s", (int)product.size, (const char *)product.data, words);
    } else {
        (void)snprintf(placing->detail, sizeof placing->detail, "%s", words);
    }
    return code;
}

static uint32_t
hash_name(struct slice name)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < name.size; i++) {
        hash = (hash ^ name.data[i]) * 16777619U;
    }
    return hash;
}

enum { SUM_SLOTS = 2048 }; /* twice as many as there may be lines */

/* Lines of one product are one. */
static err
sum_lines(struct order_actor *order, struct placing *placing)
{
    struct wire_list left = placing->place->lines;
    struct wire_order_line line;
    uint16_t *slots = batch_alloc(order->batch, SUM_SLOTS * sizeof *slots);
    memset(slots, 0, SUM_SLOTS * sizeof *slots);
    placing->lines = batch_alloc(order->batch, left.count * sizeof *placing->lines);
    placing->count = 0;
    while (wire_list_next(&left, &order_line_body, &line)) {
        uint32_t slot = hash_name(line.product) % SUM_SLOTS;
        while (slots[slot] != 0 && !slice_equal(placing->lines[slots[slot] - 1].product, line.product)) {
            slot = (slot + 1) % SUM_SLOTS;
        }
        if (slots[slot] == 0) {
            placing->lines[placing->count++] = (struct placed_line){.product = line.product};
            slots[slot] = (uint16_t)placing->count;
        }
        struct placed_line *sum = &placing->lines[slots[slot] - 1];
        sum->quantity += line.quantity;
        if (sum->quantity > QUANTITY_MAX) {
            return refuse(placing, ERR_invalid_field, line.product, "order_place.lines: more than 1000000000 units");
        }
    }
    return ERR_ok;
}

/* Names and prices as they are now. */
static err
price_lines(struct order_actor *order, struct placing *placing)
{
    for (size_t i = 0; i < placing->count; i++) {
        struct placed_line *line = &placing->lines[i];
        line->card = menu_find(order->menu, line->product);
        if (line->card == NULL) {
            placing->missing = line->product;
            return ERR_unknown_product;
        }
        if (!line->card->is_active) {
            return refuse(placing, ERR_inactive_product, line->product, err_words(ERR_inactive_product));
        }
        if (!slice_equal(line->card->currency, placing->lines[0].card->currency)) {
            return refuse(placing, ERR_mixed_currencies, line->product, err_words(ERR_mixed_currencies));
        }
        if (order_total_add(line->card->amount, line->quantity, &placing->total) != ERR_ok) {
            return refuse(placing, ERR_total_overflow, line->product, err_words(ERR_total_overflow));
        }
    }
    return ERR_ok;
}

static err
check_person(const struct order_actor *order, struct placing *placing)
{
    const struct wire_order_place *place = placing->place;
    const struct id *named = WIRE_HAS(place, order_place, customer) ? &place->customer : NULL;
    if (order_customer_of(&placing->asker, named, &placing->has_customer, &placing->customer) != ERR_ok) {
        return refuse(placing, ERR_forbidden, (struct slice){0}, "order_place.customer: an order in somebody else's name");
    }
    for (size_t i = 0; placing->has_customer && i < order->forgotten_count; i++) {
        if (id_equal(&order->forgotten[i], &placing->customer)) {
            return refuse(placing, ERR_user_erased, (struct slice){0}, err_words(ERR_user_erased));
        }
    }
    return ERR_ok;
}

/* Everything that may be said against it. */
static err
check(struct order_actor *order, struct placing *placing)
{
    placing->code = ERR_ok;
    placing->total = 0;
    placing->missing = (struct slice){0};
    if (!order_is_method(placing->place->method)) {
        return refuse(placing, ERR_invalid_field, (struct slice){0},
                      "order_place.method: none of pix, credit_card, debit_card, money");
    }
    err code = check_person(order, placing);
    if (code == ERR_ok) {
        code = sum_lines(order, placing);
    }
    return code == ERR_ok ? price_lines(order, placing) : code;
}

static void
freeze_lines(struct order_actor *order, struct placing *placing, struct order_row *row)
{
    struct wire_list lines = {0};
    order->list.size = 0;
    for (size_t i = 0; i < placing->count; i++) {
        const struct placed_line *line = &placing->lines[i];
        struct wire_order_item item = {0};
        struct wire_money price = {0};
        WIRE_SET(&price, money, amount, line->card->amount);
        WIRE_SET(&price, money, currency, line->card->currency);
        WIRE_SET(&item, order_item, product, line->product);
        WIRE_SET(&item, order_item, name, line->card->name);
        WIRE_SET(&item, order_item, quantity, line->quantity);
        WIRE_SET(&item, order_item, unit_price, price);
        wire_list_add(&lines, &order_item_body, &item, &order->list);
    }
    wire_list_end(&lines, &order->list);
    order_row_set_lines(row, lines, order->shards);
}

static err
begin(struct order_actor *order, struct placing *placing, struct order_row **placed)
{
    int64_t n = 0;
    int64_t now_ms = order->batch->now_ms;
    err code = order_store_next_n(order->store, &n);
    if (code != ERR_ok) {
        return code;
    }
    struct slice currency = placing->lines[0].card->currency;
    struct order_row *row = order_row_create();
    row->n = n;
    row->id = row->request = placing->id;
    row->fingerprint = placing->fingerprint;
    row->status = ORDER_PLACED;
    row->total = placing->total;
    (void)snprintf(row->currency, sizeof row->currency, "%.*s", (int)currency.size, (const char *)currency.data);
    (void)snprintf(row->method, sizeof row->method, "%.*s", (int)placing->place->method.size,
                   (const char *)placing->place->method.data);
    if (WIRE_HAS(placing->place, order_place, note)) {
        order_row_set_note(row, placing->place->note);
    }
    row->has_customer = placing->has_customer;
    row->customer = placing->customer;
    row->placed_ms = row->changed_ms = now_ms;
    row->deadline_ms = now_ms + order->settings->order_ttl_ms;
    row->version = 1;
    row->due_disk_ms = ORDER_DUE_NONE;
    row->is_new = true;
    freeze_lines(order, placing, row);
    order_cache_add(order->cache, row);
    order_begin(order, row, placing->cause);
    order_note(order, row, "order_place", "ok", "");
    *placed = row;
    return ERR_ok;
}

/* --- places that wait for product --- */

static void
ask_product(struct order_actor *order, struct waiter *waiter, struct slice product, struct slice traceparent)
{
    const struct order_asking *asking = waiter_kept(waiter);
    struct wire_product_get get = {0};
    char step[WIRE_NAME_MAX + 16];
    (void)snprintf(step, sizeof step, "menu/%.*s", (int)product.size, (const char *)product.data);
    WIRE_SET(&get, product_get, product, product);
    batch_ask(order->batch, &(struct ask){
                                .actor = "product",
                                .op = OP_product_get,
                                .id = id_derive(waiter_id(waiter), step),
                                .deadline_ms = asking->deadline_ms,
                                .traceparent = traceparent,
                                .body = &get,
                                .context = waiter,
                            });
}

static void
wait_for_product(struct order_actor *order, struct item *item, struct slice product)
{
    if (batch_is_waiting(order->batch, &item->id)) {
        item_refuse(order->batch, item, ERR_unavailable, "an earlier attempt is under way; ask again with the same id");
        return;
    }
    struct waiter *waiter = item_defer(order->batch, item);
    struct order_asking *asking = waiter_keep(waiter, sizeof *asking + item->frame.size);
    asking->asker = order_asker_of(item);
    asking->fingerprint = item->fingerprint;
    asking->deadline_ms = item->deadline_ms;
    asking->again = batch_is_asked_again(order->batch, item);
    asking->frame_size = item->frame.size;
    memcpy(asking->frame, item->frame.data, item->frame.size);
    ask_product(order, waiter, product, item->traceparent);
}

/* --- the request --- */

static struct wire_problem
problem_of(const struct placing *placing)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(placing->detail));
    if (placing->product.size > 0) {
        WIRE_SET(&problem, problem, product, placing->product);
    }
    return problem;
}

static void
want_lines(struct order_actor *order, struct wire_list lines)
{
    struct wire_order_line line;
    while (wire_list_next(&lines, &order_line_body, &line)) {
        menu_want(order->menu, line.product);
    }
}

void
order_place_want_again(struct order_actor *order, const struct item *item)
{
    const struct order_asking *asking = waiter_kept(item->context);
    struct wire_order_place place;
    struct err_text why;
    if (item->status == ERR_ok) {
        menu_want(order->menu, ((const struct wire_product_card *)item->body)->product);
    }
    if (wire_decode(&order_place_body, (struct slice){asking->frame, asking->frame_size}, &place, &why) == ERR_ok) {
        want_lines(order, place.lines);
    }
}

void
order_place_want(struct order_actor *order, const struct item *item)
{
    const struct wire_order_place *place = item->body;
    if (batch_is_looked_up(order->batch, item)) {
        order_want(order, &item->id); /* a first attempt need not look: its key makes it fail, and it comes again */
    }
    want_lines(order, place->lines);
    if (WIRE_HAS(place, order_place, customer)) {
        order_store_want_forgotten(order->store, &place->customer);
    } else if (item->has_user) {
        order_store_want_forgotten(order->store, &item->user);
    }
}

err
order_place(struct order_actor *order, struct item *item)
{
    struct order_row *row = order_cache_find(order->cache, &item->id);
    if (row != NULL) {
        if (!item_is_of(item, &row->fingerprint)) {
            item_refuse_other(order->batch, item);
        } else {
            order_answer_round(order, item, row);
        }
        return ERR_ok;
    }
    struct placing placing = {
        .id = item->id, .place = item->body, .asker = order_asker_of(item), .fingerprint = item->fingerprint, .cause = item};
    err code = check(order, &placing);
    if (code != ERR_ok && placing.missing.size > 0) {
        wait_for_product(order, item, placing.missing);
        return ERR_ok;
    }
    if (code != ERR_ok) {
        struct wire_problem problem = problem_of(&placing);
        item_refuse_with(order->batch, item, code, &problem);
        return order_keep_refusal(order, item);
    }
    code = begin(order, &placing, &row);
    if (code == ERR_ok) {
        batch_wait_for(order->batch, item_defer(order->batch, item), row->n);
    }
    return code;
}

/* A final refusal is kept when it was asked for again. */
static err
refuse_asking(struct order_actor *order, struct waiter *waiter, err code, const struct wire_problem *problem)
{
    const struct order_asking *asking = waiter_kept(waiter);
    struct id request = *waiter_id(waiter);
    waiter_refuse(order->batch, &waiter, code, problem);
    if (!asking->again || err_disposition(code) != ERR_REFUSE) {
        return ERR_ok;
    }
    order->frame.size = 0;
    wire_encode(&problem_body, problem, &order->frame);
    struct order_answer answer = {
        .request = request, .fingerprint = asking->fingerprint, .status = code, .frame = wire_buffer_slice(&order->frame)};
    return order_store_add_request(order->store, &answer);
}

err
order_place_goes_on(struct order_actor *order, struct item *item)
{
    struct waiter *waiter = item->context;
    const struct order_asking *asking = waiter_kept(waiter);
    struct wire_order_place place;
    struct err_text why;
    struct order_row *row = NULL;
    if (item->status == ERR_ok) {
        (void)menu_apply(order->menu, item->body);
    }
    if (item->status != ERR_ok) {
        return refuse_asking(order, waiter, item->status, item->body);
    }
    err code = wire_decode(&order_place_body, (struct slice){asking->frame, asking->frame_size}, &place, &why);
    if (code != ERR_ok) {
        return code;
    }
    struct placing placing = {
        .id = *waiter_id(waiter), .place = &place, .asker = asking->asker, .fingerprint = asking->fingerprint, .cause = item};
    code = check(order, &placing);
    if (code != ERR_ok && placing.missing.size > 0) {
        ask_product(order, waiter, placing.missing, item->traceparent);
        return ERR_ok;
    }
    if (code != ERR_ok) {
        struct wire_problem problem = problem_of(&placing);
        return refuse_asking(order, waiter, code, &problem);
    }
    code = begin(order, &placing, &row);
    if (code == ERR_ok) {
        batch_wait_for(order->batch, waiter, row->n);
    }
    return code;
}
