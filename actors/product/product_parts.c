/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The parts of the menu: which categories there are, what they are called, in which order they stand.
 *
 * MESSAGES  product.categorise, product.categories
 *
 * STATE     $category; in memory all of it, with what the batch under way has changed, read again after a rollback.
 *
 * LIMITS    PRODUCT_CATEGORIES_MAX categories; none is ever deleted.
 */
#include "product_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

err
product_read_parts(struct product_actor *product)
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

err
product_handle_categories(void *state, struct item *item)
{
    struct product_actor *product = state;
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
    item_answer(product->batch, item, &reply);
    return ERR_ok;
}

err
product_handle_categorise(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_category *category = item->body;
    struct err_text why;
    struct product_part *part = product_find_part(product, category->category);
    if (product_check_category(category, &why) != ERR_ok) {
        item_refuse(product->batch, item, ERR_invalid_field, "%s", why.text);
        return ERR_ok;
    }
    if (part == NULL && product->part_count == PRODUCT_CATEGORIES_MAX) {
        item_refuse(product->batch, item, ERR_invalid_field, "product_category.category: there are %d already",
                    PRODUCT_CATEGORIES_MAX);
        return ERR_ok;
    }
    if (part == NULL) {
        part = &product->parts[product->part_count++];
    }
    set_part(part, category->category, category->name, category->position);
    qsort(product->parts, product->part_count, sizeof product->parts[0], compare_parts);
    item_answer(product->batch, item, category);
    return product_store_put_category(&product->store, category);
}
