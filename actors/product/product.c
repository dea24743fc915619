/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Owns the menu: what products are called, what they cost, in which part of the menu they stand, whether they are for sale. Each
 *   change raises the product's version and is told to the world as product.changed with the whole product.
 *
 * MESSAGES
 *   product.put, product.patch    one product, if need be only at a version that was read; what changes nothing raises nothing
 *   product.load                  many rows, each done or refused by itself (product_load.c)
 *   product.get, product.list     read
 *   product.categorise, product.categories
 *
 * STATE
 *   $product and $category (product_schema.c). A batch reads all products that its messages name with one query, changes them in
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

#include <stdio.h>
#include <stdlib.h>

#include "product_schema.h"
#include "product_state.h"

#define PAGE_DEFAULT 100
#define PAGE_BYTES ((size_t)768 * 1024)

/* --- categories --- */

struct product_part *
product_find_part(struct product_actor *product, struct slice category)
{
    for (size_t i = 0; i < product->part_count; i++) {
        if (slice_equal(slice_of(product->parts[i].category), category)) {
            return &product->parts[i];
        }
    }
    return NULL;
}

static void
set_part(struct product_part *part, struct slice category, struct slice name, int64_t position)
{
    (void)snprintf(part->category, sizeof part->category, "%.*s", (int)category.size, (const char *)category.data);
    (void)snprintf(part->name, sizeof part->name, "%.*s", (int)name.size, (const char *)name.data);
    part->position = position;
}

static err
read_parts(struct product_actor *product)
{
    struct db_statement *rows = NULL;
    err code = product_store_categories(&product->store, &rows);
    product->part_count = 0;
    while (code == ERR_ok && product->part_count < PRODUCT_CATEGORIES_MAX && db_next(rows)) {
        set_part(&product->parts[product->part_count++], db_bytes(rows, 0), db_bytes(rows, 1), db_i64(rows, 2));
    }
    if (code == ERR_ok) {
        db_done(rows);
        product->has_parts = true;
    }
    return code;
}

static int
compare_parts(const void *left, const void *right)
{
    const struct product_part *a = left;
    const struct product_part *b = right;
    if (a->position != b->position) {
        return a->position < b->position ? -1 : 1;
    }
    return strcmp(a->category, b->category);
}

static void
handle_categories(struct product_actor *product, struct batch *batch, struct item *item)
{
    struct wire_product_categories reply = {0};
    struct wire_list list = {0};
    product->list.size = 0;
    for (size_t i = 0; i < product->part_count; i++) {
        struct wire_product_category category = {0};
        WIRE_SET(&category, product_category, category, slice_of(product->parts[i].category));
        WIRE_SET(&category, product_category, name, slice_of(product->parts[i].name));
        WIRE_SET(&category, product_category, position, product->parts[i].position);
        wire_list_add(&list, &product_category_body, &category, &product->list);
    }
    wire_list_end(&list, &product->list);
    WIRE_SET(&reply, product_categories, categories, list);
    item_answer(batch, item, &reply);
}

static err
handle_categorise(struct product_actor *product, struct batch *batch, struct item *item)
{
    const struct wire_product_category *category = item->body;
    struct err_text why;
    struct product_part *part = product_find_part(product, category->category);
    if (product_check_category(category, &why) != ERR_ok) {
        item_refuse(batch, item, ERR_invalid_field, "%s", why.text);
        return ERR_ok;
    }
    if (part == NULL && product->part_count == PRODUCT_CATEGORIES_MAX) {
        item_refuse(batch, item, ERR_invalid_field, "product_category.category: there are %d already", PRODUCT_CATEGORIES_MAX);
        return ERR_ok;
    }
    if (part == NULL) {
        part = &product->parts[product->part_count++];
    }
    set_part(part, category->category, category->name, category->position);
    qsort(product->parts, product->part_count, sizeof product->parts[0], compare_parts);
    item_answer(batch, item, category);
    return product_store_put_category(&product->store, category);
}

/* --- one product --- */

/* The body of a record; its pictures lie in product->images until the next one. */
static struct wire_product_card
card_of(struct product_actor *product, const struct product_record *record)
{
    const struct product_said *said = &record->said;
    struct wire_product_card card = {0};
    struct wire_money price = {0};
    struct slice images = said->images;
    struct wire_product_image image = {0};
    struct wire_list list = {0};
    product->images.size = 0;
    while (product_next_image(&images, &image.url)) {
        WIRE_SET(&image, product_image, url, image.url);
        wire_list_add(&list, &product_image_body, &image, &product->images);
    }
    wire_list_end(&list, &product->images);
    WIRE_SET(&price, money, amount, said->amount);
    WIRE_SET(&price, money, currency, said->currency);
    WIRE_SET(&card, product_card, product, said->product);
    WIRE_SET(&card, product_card, name, said->name);
    WIRE_SET(&card, product_card, category, said->category);
    WIRE_SET(&card, product_card, price, price);
    WIRE_SET(&card, product_card, active, said->is_active);
    WIRE_SET(&card, product_card, version, record->version);
    WIRE_SET(&card, product_card, changed, record->changed_ms);
    if (said->description.size > 0) {
        WIRE_SET(&card, product_card, description, said->description);
    }
    if (list.count > 0) {
        WIRE_SET(&card, product_card, images, list);
    }
    return card;
}

static void
answer(struct product_actor *product, struct batch *batch, struct item *item, const struct product_record *record)
{
    struct wire_product_card card = card_of(product, record);
    item_answer(batch, item, &card);
}

void
product_change(struct product_actor *product, const struct item *item, struct product_entry *entry, const struct product_said *said)
{
    struct batch *batch = product->cards.batch;
    struct product_record *record = batch_alloc(batch, sizeof *record);
    *record = (struct product_record){
        .n = entry->now == NULL ? ++product->last_n : entry->now->n,
        .version = entry->now == NULL ? 1 : entry->now->version + 1,
        .changed_ms = batch->now_ms,
        .said = *said,
    };
    product_cards_set(&product->cards, entry, record);
    struct wire_product_card card = card_of(product, record);
    batch_emit(batch, EVENT_product_changed, said->product, &card, item);
}

static void
refuse_conflict(struct batch *batch, struct item *item, const struct product_entry *entry)
{
    struct wire_problem problem = {0};
    bool is_there = entry->now != NULL;
    WIRE_SET(&problem, problem, detail, slice_of(is_there ? "the product is at another version" : "there is no such product"));
    WIRE_SET(&problem, problem, product, entry->product);
    WIRE_SET(&problem, problem, version, is_there ? entry->now->version : 0);
    item_refuse_with(batch, item, ERR_version_conflict, &problem);
}

static void
refuse_unknown(struct batch *batch, struct item *item, struct slice product)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("there is no such product"));
    WIRE_SET(&problem, problem, product, product);
    item_refuse_with(batch, item, ERR_unknown_product, &problem);
}

/* The addresses of a list as one text, in the batch's memory. */
static struct slice
images_text(struct batch *batch, struct wire_list list)
{
    char *text = batch_alloc(batch, list.size + 1);
    struct wire_product_image image;
    size_t size = 0;
    while (wire_list_next(&list, &product_image_body, &image)) {
        if (size > 0) {
            text[size++] = ' ';
        }
        memcpy(text + size, image.url.data, image.url.size);
        size += image.url.size;
    }
    return (struct slice){(const uint8_t *)text, size};
}

/* A blank within an address would make two of one. */
static err
check_list(struct wire_list list, struct err_text *why)
{
    struct wire_product_image image;
    struct slice rest;
    while (wire_list_next(&list, &product_image_body, &image)) {
        struct slice first = {0};
        rest = image.url;
        if (!product_next_image(&rest, &first) || first.size != image.url.size) {
            return err_say(why, ERR_invalid_field, "product_image.url: must be an address of http or https, without blanks");
        }
    }
    return ERR_ok;
}

/* What put and patch have in common: judge, change if it is something new, answer. */
static void
say(struct product_actor *product, struct item *item, struct product_entry *entry, const struct product_said *said)
{
    struct batch *batch = product->cards.batch;
    struct err_text why;
    if (product_check(said, &why) != ERR_ok) {
        item_refuse(batch, item, ERR_invalid_field, "%s", why.text);
        return;
    }
    if (product_find_part(product, said->category) == NULL) {
        item_refuse(batch, item, ERR_unknown_category, "there is no category %.*s", (int)said->category.size,
                    (const char *)said->category.data);
        return;
    }
    if (entry->now == NULL || !product_is_same(&entry->now->said, said)) {
        product_change(product, item, entry, said);
    }
    answer(product, batch, item, entry->now);
}

static void
handle_put(struct product_actor *product, struct batch *batch, struct item *item)
{
    const struct wire_product_put *put = item->body;
    struct product_entry *entry = product_cards_get(&product->cards, put->product);
    struct err_text why;
    if (product_is_conflict(WIRE_HAS(put, product_put, version), put->version, entry->now == NULL ? 0 : entry->now->version)) {
        refuse_conflict(batch, item, entry);
        return;
    }
    struct product_said said = {
        .product = put->product,
        .name = put->name,
        .category = put->category,
        .amount = put->price.amount,
        .currency = put->price.currency,
        .is_active = !WIRE_HAS(put, product_put, active) || put->active,
    };
    if (WIRE_HAS(put, product_put, description)) {
        said.description = put->description;
    }
    if (WIRE_HAS(put, product_put, images)) {
        if (check_list(put->images, &why) != ERR_ok) {
            item_refuse(batch, item, ERR_invalid_field, "%s", why.text);
            return;
        }
        said.images = images_text(batch, put->images);
    }
    say(product, item, entry, &said);
}

/* What is as it was, and what is given instead. */
static struct product_said
said_of_patch(struct batch *batch, const struct wire_product_patch *patch, const struct product_said *before)
{
    struct product_said said = *before;
    if (WIRE_HAS(patch, product_patch, name)) {
        said.name = patch->name;
    }
    if (WIRE_HAS(patch, product_patch, description)) {
        said.description = patch->description;
    }
    if (WIRE_HAS(patch, product_patch, category)) {
        said.category = patch->category;
    }
    if (WIRE_HAS(patch, product_patch, price)) {
        said.amount = patch->price.amount;
        said.currency = patch->price.currency;
    }
    if (WIRE_HAS(patch, product_patch, images)) {
        said.images = images_text(batch, patch->images);
    }
    if (WIRE_HAS(patch, product_patch, active)) {
        said.is_active = patch->active;
    }
    return said;
}

static void
handle_patch(struct product_actor *product, struct batch *batch, struct item *item)
{
    const struct wire_product_patch *patch = item->body;
    struct product_entry *entry = product_cards_get(&product->cards, patch->product);
    struct err_text why;
    if (entry->now == NULL) {
        refuse_unknown(batch, item, patch->product);
        return;
    }
    if (product_is_conflict(WIRE_HAS(patch, product_patch, version), patch->version, entry->now->version)) {
        refuse_conflict(batch, item, entry);
        return;
    }
    if (WIRE_HAS(patch, product_patch, images) && check_list(patch->images, &why) != ERR_ok) {
        item_refuse(batch, item, ERR_invalid_field, "%s", why.text);
        return;
    }
    struct product_said said = said_of_patch(batch, patch, &entry->now->said);
    say(product, item, entry, &said);
}

static void
handle_get(struct product_actor *product, struct batch *batch, struct item *item)
{
    const struct wire_product_get *get = item->body;
    const struct product_entry *entry = product_cards_get(&product->cards, get->product);
    if (entry->now == NULL) {
        refuse_unknown(batch, item, get->product);
    } else {
        answer(product, batch, item, entry->now);
    }
}

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
answer_page(struct product_actor *product, struct batch *batch, struct item *item, const struct product_range *range)
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
            struct wire_product_card card = card_of(product, &record);
            wire_list_add(&page, &product_card_body, &card, &product->list);
        }
    }
    db_done(rows);
    wire_list_end(&page, &product->list);
    WIRE_SET(&reply, product_page, products, page);
    WIRE_SET(&reply, product_page, has_more, has_more);
    item_answer(batch, item, &reply);
    return ERR_ok;
}

static err
handle_list(struct product_actor *product, struct batch *batch, struct item *item)
{
    const struct wire_product_list *list = item->body;
    struct product_range range = {.limit = (WIRE_HAS(list, product_list, limit) ? list->limit : PAGE_DEFAULT) + 1};
    range.after = WIRE_HAS(list, product_list, after) ? list->after : slice_of("");
    range.has_state = WIRE_HAS(list, product_list, active);
    range.is_active = range.has_state && list->active;
    if (WIRE_HAS(list, product_list, category)) {
        range.category = list->category;
        if (product_find_part(product, list->category) == NULL) {
            item_refuse(batch, item, ERR_unknown_category, "there is no category %.*s", (int)list->category.size,
                        (const char *)list->category.data);
            return ERR_ok;
        }
    }
    err code = write_changes(product);
    return code == ERR_ok ? answer_page(product, batch, item, &range) : code;
}

/* --- a batch --- */

static bool
is_write(const struct item *item)
{
    return (wire_ops[item->op].traits & OP_WRITES) != 0;
}

static void
want(struct product_actor *product, struct slice name)
{
    bool is_new = false;
    (void)product_cards_add(&product->cards, name, &is_new);
    if (is_new) {
        product_store_want(&product->store, name);
    }
}

/* Every product that a message of the batch is about. */
static void
want_products_of(struct product_actor *product, const struct item *item)
{
    if (item->op == OP_product_put) {
        want(product, ((const struct wire_product_put *)item->body)->product);
    } else if (item->op == OP_product_patch) {
        want(product, ((const struct wire_product_patch *)item->body)->product);
    } else if (item->op == OP_product_get) {
        want(product, ((const struct wire_product_get *)item->body)->product);
    } else if (item->op == OP_product_load) {
        struct wire_list rows = ((const struct wire_product_load *)item->body)->rows;
        struct wire_product_row row;
        while (wire_list_next(&rows, &product_row_body, &row)) {
            if (wire_is_name(row.product)) {
                want(product, row.product);
            }
        }
    }
}

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
take_record(struct product_actor *product, struct batch *batch, const struct product_record *read)
{
    struct product_entry *entry = product_cards_get(&product->cards, read->said.product);
    struct product_record *record = batch_alloc(batch, sizeof *record);
    *record = *read;
    record->said.product = entry->product;
    record->said.name = keep(batch, read->said.name);
    record->said.description = keep(batch, read->said.description);
    record->said.category = keep(batch, read->said.category);
    record->said.currency = keep(batch, read->said.currency);
    record->said.images = keep(batch, read->said.images);
    entry->now = record;
}

/* All that the batch will look at, in as few queries as there can be. */
static err
read_for(struct product_actor *product, struct batch *batch)
{
    struct product_record record;
    err code = ERR_ok;
    product_cards_init(&product->cards, batch);
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].kind == ITEM_REQUEST) {
            want_products_of(product, &batch->items[i]);
        }
    }
    if (!product->has_last_n) {
        code = product_store_last_n(&product->store, &product->last_n);
        product->has_last_n = code == ERR_ok;
    }
    if (code == ERR_ok && !product->has_parts) {
        code = read_parts(product);
    }
    if (code != ERR_ok || product->cards.count == 0) {
        return code;
    }
    while (product_store_next_wanted(&product->store, &record)) {
        take_record(product, batch, &record);
    }
    return product_store_end_wanted(&product->store);
}

static err
handle_request(struct product_actor *product, struct batch *batch, struct item *item)
{
    if (is_write(item) && !product_may_change(item->role)) {
        item_refuse(batch, item, ERR_forbidden, "the menu is changed by employees");
        return ERR_ok;
    }
    if (item->op == OP_product_list) {
        return handle_list(product, batch, item);
    }
    if (item->op == OP_product_categorise) {
        return handle_categorise(product, batch, item);
    }
    if (item->op == OP_product_get) {
        handle_get(product, batch, item);
    } else if (item->op == OP_product_put) {
        handle_put(product, batch, item);
    } else if (item->op == OP_product_patch) {
        handle_patch(product, batch, item);
    } else if (item->op == OP_product_load) {
        product_handle_load(product, item);
    } else if (item->op == OP_product_categories) {
        handle_categories(product, batch, item);
    } else {
        item_refuse(batch, item, ERR_unknown_op, "%s is not done by product", wire_ops[item->op].name);
    }
    return ERR_ok;
}

static err
product_handle(void *state, struct batch *batch)
{
    struct product_actor *product = state;
    err code = read_for(product, batch);
    for (size_t i = 0; i < batch->count && code == ERR_ok; i++) {
        if (batch->items[i].kind == ITEM_REQUEST) {
            code = handle_request(product, batch, &batch->items[i]);
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
    struct product_actor *product = calloc(1, sizeof *product);
    if (product == NULL) {
        abort();
    }
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

const struct actor_class product_class = {
    .name = "product",
    .steps = product_steps,
    .step_count = PRODUCT_STEP_COUNT,
    .open = product_open,
    .close = product_close,
    .handle = product_handle,
    .dropped = product_dropped,
};
