/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Owns the menu: what products are called, what they cost, in which part of the menu they stand, whether they are for sale. Each
 *   change raises the product's version and is told to the world as product.changed with the whole product.
 *
 * MESSAGES
 *   product.get, product.put, product.patch      one product (product_card.c)
 *   product.load                                 many rows, each done or refused by itself (product_load.c)
 *   product.categorise, product.categories       (product_parts.c)
 *   product.list
 *
 * STATE
 *   $product and $category (product_schema.def). A batch reads all products that its messages name with one query, changes them in
 *   memory in the order of the messages, and writes those that changed at its end, or before a page is read. In memory beside it: the
 *   last n and the categories, read again after a rollback.
 *
 * FAILURES
 *   Who may not change the menu is refused as forbidden, before anything is looked up. Errors of the database go to the kit, which
 *   rolls the batch back.
 *
 * LIMITS
 *   Products are never deleted: orders and ledgers name them. `active: false` takes one off the menu. 1,000 categories.
 */
#include "product.h"

#include <stdlib.h>

#include "kit/base/memory.h"
#include "kit/dispatch.h"
#include "product_state.h"

#define PAGE_DEFAULT 100
#define PAGE_BYTES ((size_t)768 * 1024)

/* --- the menu --- */

static err
write_changes(struct product_actor *product)
{
    const struct product_entry *entry = product_cards_next_dirty(&product->cards);
    if (entry == NULL) {
        return ERR_ok;
    }
    for (; entry != NULL; entry = product_cards_next_dirty(&product->cards)) {
        product_store_put(&product->store, entry->now);
    }
    return product_store_write(&product->store);
}

static err
answer_page(struct product_actor *product, struct item *item, const struct product_range *range)
{
    struct product_record record;
    struct wire_product_page reply = {0};
    struct wire_list page = {0};
    struct db_statement *rows = NULL;
    err code = product_store_page(&product->store, range, &rows);
    if (code != ERR_ok) {
        return code;
    }
    bool has_more = false;
    product->list.size = 0;
    while (!has_more && product_store_next(rows, &record)) {
        has_more = page.count + 1 == range->limit || product->list.size > PAGE_BYTES;
        if (!has_more) {
            struct wire_product_card card = product_card_of(product, &record);
            wire_list_add(&page, &product_card_body, &card, &product->list);
        }
    }
    db_done(rows);
    wire_list_end(&page, &product->list);
    WIRE_SET(&reply, product_page, products, page);
    WIRE_SET(&reply, product_page, has_more, has_more);
    item_answer(product->batch, item, &reply);
    return ERR_ok;
}

static err
handle_list(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_list *list = item->body;
    struct product_range range = {.limit = (WIRE_HAS(list, product_list, limit) ? list->limit : PAGE_DEFAULT) + 1};
    range.after = WIRE_HAS(list, product_list, after) ? list->after : slice_of("");
    range.has_state = WIRE_HAS(list, product_list, active);
    range.is_active = range.has_state && list->active;
    if (WIRE_HAS(list, product_list, category)) {
        range.category = list->category;
        if (product_find_part(product, list->category) == NULL) {
            item_refuse(product->batch, item, ERR_unknown_category, "there is no category %.*s", (int)list->category.size,
                        (const char *)list->category.data);
            return ERR_ok;
        }
    }
    err code = write_changes(product);
    return code == ERR_ok ? answer_page(product, item, &range) : code;
}

/* --- a batch --- */

static void
want(struct product_actor *product, struct slice name)
{
    bool is_new = false;
    (void)product_cards_add(&product->cards, name, &is_new);
    if (is_new) {
        product_store_want(&product->store, name);
    }
}

static void
want_product(void *state, struct item *item, const void *field)
{
    (void)item;
    want(state, *(const struct slice *)field);
}

static void
want_rows(void *state, struct item *item, const void *field)
{
    struct wire_list rows = *(const struct wire_list *)field;
    struct wire_product_row row;
    (void)item;
    while (wire_list_next(&rows, &product_row_body, &row)) {
        if (wire_is_name(row.product)) {
            want(state, row.product);
        }
    }
}

static const struct dispatch requests[OP_COUNT] = {
    [OP_product_put] = {want_product, offsetof(struct wire_product_put, product), product_handle_put},
    [OP_product_patch] = {want_product, offsetof(struct wire_product_patch, product), product_handle_patch},
    [OP_product_get] = {want_product, offsetof(struct wire_product_get, product), product_handle_get},
    [OP_product_load] = {want_rows, offsetof(struct wire_product_load, rows), product_handle_load},
    [OP_product_list] = {.handle = handle_list},
    [OP_product_categorise] = {.handle = product_handle_categorise},
    [OP_product_categories] = {.handle = product_handle_categories},
};

static struct slice
keep(struct batch *batch, struct slice text)
{
    uint8_t *copy = batch_alloc(batch, text.size + 1);
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return (struct slice){copy, text.size};
}

static void
take_record(struct product_actor *product, const struct product_record *read)
{
    struct product_entry *entry = product_cards_get(&product->cards, read->said.product);
    struct product_record *record = batch_alloc(product->batch, sizeof *record);
    *record = *read;
    record->said.product = entry->product;
    record->said.name = keep(product->batch, read->said.name);
    record->said.description = keep(product->batch, read->said.description);
    record->said.category = keep(product->batch, read->said.category);
    record->said.currency = keep(product->batch, read->said.currency);
    record->said.images = keep(product->batch, read->said.images);
    entry->now = record;
}

/* All that the batch will look at, in as few queries as there can be. */
static err
read_for(struct product_actor *product)
{
    struct product_record record;
    err code = ERR_ok;
    product_cards_init(&product->cards, product->batch);
    for (size_t i = 0; i < product->batch->count; i++) {
        if (product->batch->items[i].kind == ITEM_REQUEST) {
            dispatch_want(requests, product, &product->batch->items[i]);
        }
    }
    if (!product->has_last_n) {
        code = product_store_last_n(&product->store, &product->last_n);
        product->has_last_n = code == ERR_ok;
    }
    if (code == ERR_ok && !product->has_parts) {
        code = product_read_parts(product);
    }
    if (code != ERR_ok || product->cards.count == 0) {
        return code;
    }
    while (product_store_next_wanted(&product->store, &record)) {
        take_record(product, &record);
    }
    return product_store_end_wanted(&product->store);
}

static err
handle_request(struct product_actor *product, struct item *item)
{
    bool is_write = (wire_ops[item->op].traits & OP_WRITES) != 0;
    if (is_write && !product_may_change(item->role)) {
        item_refuse(product->batch, item, ERR_forbidden, "the menu is changed by employees");
        return ERR_ok;
    }
    return dispatch_handle(requests, product, item);
}

static err
product_handle(void *state, struct batch *batch)
{
    struct product_actor *product = state;
    product->batch = batch;
    err code = read_for(product);
    for (size_t i = 0; i < batch->count && code == ERR_ok; i++) {
        if (batch->items[i].kind == ITEM_REQUEST) {
            code = handle_request(product, &batch->items[i]);
        }
    }
    return code == ERR_ok ? write_changes(product) : code;
}

static void
product_dropped(void *state)
{
    struct product_actor *product = state;
    product->has_last_n = false;
    product->has_parts = false;
}

static err
product_open(struct actor *actor, void **state, struct err_text *why)
{
    (void)why;
    struct product_actor *product = memory_new(1, sizeof *product);
    product->actor = actor;
    product_store_init(&product->store, actor_db(actor));
    *state = product;
    return ERR_ok;
}

static void
product_close(void **state)
{
    struct product_actor *product = *state;
    *state = NULL;
    if (product != NULL) {
        wire_buffer_fini(&product->list);
        wire_buffer_fini(&product->images);
        free(product);
    }
}

static const struct db_step steps[] = {
#include "product_schema.def"
};

const struct actor_class product_class = {
    .name = "product",
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
    .open = product_open,
    .close = product_close,
    .handle = product_handle,
    .dropped = product_dropped,
};
