/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Reading orders: one, a page, what the kitchen has to do, and all that happened to one.
 * MESSAGES  order.get, order.list, order.kitchen, order.timeline
 * STATE     None. Lists show what is committed; order.get and order.kitchen what this batch says, and leave with its commit.
 * FAILURES  Somebody else's order is unknown to a customer, not forbidden: nothing is told of it.
 * LIMITS    A page ends early when its frame is PAGE_BYTES full.
 */
#include "order/order_state.h"

#include <stdlib.h>

enum { LIST_DEFAULT = 20, KITCHEN_DEFAULT = 200, TIMELINE_DEFAULT = 100, PAGE_BYTES = 900 * 1024 };

err
order_get(struct order_actor *order, struct item *item)
{
    const struct order_row *row = order_find_visible(order, item, &((const struct wire_order_get *)item->body)->order);
    if (row != NULL) {
        order_answer(order, item, row);
    }
    return ERR_ok;
}

/* Answers with as many of the rows as fit. */
static void
answer_page(struct order_actor *order, struct item *item, struct order_row **rows, size_t count, size_t limit)
{
    struct wire_order_page page = {0};
    struct wire_list list = {0};
    size_t shown = 0;
    order->list.size = 0;
    for (size_t i = 0; i < count; i++) {
        if (shown == i && i < limit && order->list.size < PAGE_BYTES / 2) {
            struct wire_order body = order_row_body(rows[i]);
            size_t size = order->list.size;
            struct wire_list before = list;
            wire_list_add(&list, &order_body, &body, &order->list);
            if (order->list.size > PAGE_BYTES) {
                order->list.size = size;
                list = before;
            } else {
                shown++;
            }
        }
    }
    wire_list_end(&list, &order->list);
    WIRE_SET(&page, order_page, orders, list);
    WIRE_SET(&page, order_page, has_more, shown < count);
    item_answer(order->batch, item, &page);
}

err
order_list(struct order_actor *order, struct item *item)
{
    const struct wire_order_list *list = item->body;
    struct order_asker asker = order_asker_of(item);
    struct order_page_query query = {.status = ORDER_STATUS_COUNT, .before = INT64_MAX, .limit = LIST_DEFAULT};
    query.customer = WIRE_HAS(list, order_list, customer) ? &list->customer : NULL;
    if (asker.role < ROLE_EMPLOYEE) {
        bool is_own =
            asker.role == ROLE_CUSTOMER && asker.has_user && (query.customer == NULL || id_equal(query.customer, &asker.user));
        if (!is_own) {
            item_refuse(order->batch, item, ERR_forbidden, "order.list: only one's own orders");
            return ERR_ok;
        }
        query.customer = &asker.user;
    }
    if (WIRE_HAS(list, order_list, status)) {
        query.status = order_status_find(list->status);
        if (query.status == ORDER_STATUS_COUNT) {
            item_refuse(order->batch, item, ERR_invalid_field, "order_list.status: %.*s is no status", (int)list->status.size,
                        (const char *)list->status.data);
            return ERR_ok;
        }
    }
    query.before = WIRE_HAS(list, order_list, before) ? list->before : query.before;
    size_t limit = WIRE_HAS(list, order_list, limit) ? (size_t)list->limit : LIST_DEFAULT;
    query.limit = (int64_t)limit + 1;
    struct order_row **rows = batch_alloc(order->batch, (limit + 1) * sizeof(struct order_row *));
    size_t count = 0;
    err code = order_store_page(order->store, &query, rows, &count);
    if (code == ERR_ok) {
        answer_page(order, item, rows, count, limit);
    }
    while (count > 0) {
        order_row_destroy(&rows[--count]);
    }
    return code;
}

/* What is to be done first: ready, in preparation, received, the oldest of each first. */
static int
compare_kitchen(const void *left, const void *right)
{
    const struct order_row *a = *(struct order_row *const *)left;
    const struct order_row *b = *(struct order_row *const *)right;
    if (a->status != b->status) {
        return a->status > b->status ? -1 : 1;
    }
    return (a->n > b->n) - (a->n < b->n);
}

err
order_kitchen(struct order_actor *order, struct item *item)
{
    const struct wire_order_kitchen *kitchen = item->body;
    size_t limit = WIRE_HAS(kitchen, order_kitchen, limit) ? (size_t)kitchen->limit : KITCHEN_DEFAULT;
    if (item->role < ROLE_EMPLOYEE) {
        item_refuse(order->batch, item, ERR_forbidden, "order.kitchen is not for %s", role_name(item->role));
        return ERR_ok;
    }
    struct order_found found = {.limit = 3 * ((int64_t)limit + 1)};
    found.ids = batch_alloc(order->batch, (size_t)found.limit * sizeof *found.ids);
    err code = order_store_find_in_kitchen(order->store, order->cache, (int64_t)limit + 1, &found);
    if (code != ERR_ok) {
        return code;
    }
    struct order_row **rows = batch_alloc(order->batch, (found.count + 1) * sizeof(struct order_row *));
    size_t count = 0;
    for (size_t i = 0; i < found.count; i++) {
        rows[count] = order_cache_find(order->cache, &found.ids[i]);
        count += rows[count] != NULL && order_is_in_kitchen(rows[count]->status); /* not any more, when this batch took it out */
    }
    qsort(rows, count, sizeof(struct order_row *), compare_kitchen);
    answer_page(order, item, rows, count, limit);
    return ERR_ok;
}

/* --- the timeline --- */

struct timeline {
    struct order_actor *order;
    struct wire_list list;
    int64_t limit;
    int64_t count;
};

static void
see_entry(void *context, const struct wire_order_entry *entry)
{
    struct timeline *timeline = context;
    if (timeline->count++ < timeline->limit) {
        wire_list_add(&timeline->list, &order_entry_body, entry, &timeline->order->list);
    }
}

err
order_timeline(struct order_actor *order, struct item *item)
{
    const struct wire_order_timeline *ask = item->body;
    const struct order_row *row = order_find_visible(order, item, &ask->order);
    if (row == NULL) {
        return ERR_ok;
    }
    struct timeline timeline = {.order = order, .limit = WIRE_HAS(ask, order_timeline, limit) ? ask->limit : TIMELINE_DEFAULT};
    order->list.size = 0;
    err code = order_store_entries(order->store, row->n, WIRE_HAS(ask, order_timeline, after) ? ask->after : 0, timeline.limit + 1,
                                   see_entry, &timeline);
    if (code != ERR_ok) {
        return code;
    }
    struct wire_order_history history = {0};
    wire_list_end(&timeline.list, &order->list);
    WIRE_SET(&history, order_history, entries, timeline.list);
    WIRE_SET(&history, order_history, has_more, timeline.count > timeline.limit);
    item_answer(order->batch, item, &history);
    return ERR_ok;
}
