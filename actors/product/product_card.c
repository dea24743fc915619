/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One product: told, put whole or patched, if need be only at a version that was read. What changes nothing raises nothing.
 *
 * MESSAGES  product.get, product.put, product.patch; emits product.changed with the whole product
 *
 * STATE     The product's entry among those of the batch (product_cards.h), which are written together.
 *
 * FAILURES  What is refused leaves the product as it is.
 */
#include "product_state.h"

#include <string.h>

struct wire_product_card
product_card_of(struct product_actor *product, const struct product_record *record)
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
answer(struct product_actor *product, struct item *item, const struct product_record *record)
{
    struct wire_product_card card = product_card_of(product, record);
    item_answer(product->batch, item, &card);
}

void
product_change(struct product_actor *product, const struct item *item, struct product_entry *entry, const struct product_said *said)
{
    struct batch *batch = product->batch;
    struct product_record *record = batch_alloc(batch, sizeof *record);
    *record = (struct product_record){
        .n = entry->now == NULL ? ++product->last_n : entry->now->n,
        .version = entry->now == NULL ? 1 : entry->now->version + 1,
        .changed_ms = batch->now_ms,
        .said = *said,
    };
    product_cards_set(&product->cards, entry, record);
    struct wire_product_card card = product_card_of(product, record);
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
    struct batch *batch = product->batch;
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
    answer(product, item, entry->now);
}

err
product_handle_put(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_put *put = item->body;
    struct product_entry *entry = product_cards_get(&product->cards, put->product);
    struct err_text why;
    if (product_is_conflict(WIRE_HAS(put, product_put, version), put->version, entry->now == NULL ? 0 : entry->now->version)) {
        refuse_conflict(product->batch, item, entry);
        return ERR_ok;
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
            item_refuse(product->batch, item, ERR_invalid_field, "%s", why.text);
            return ERR_ok;
        }
        said.images = images_text(product->batch, put->images);
    }
    say(product, item, entry, &said);
    return ERR_ok;
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

err
product_handle_patch(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_patch *patch = item->body;
    struct product_entry *entry = product_cards_get(&product->cards, patch->product);
    struct err_text why;
    if (entry->now == NULL) {
        refuse_unknown(product->batch, item, patch->product);
        return ERR_ok;
    }
    if (product_is_conflict(WIRE_HAS(patch, product_patch, version), patch->version, entry->now->version)) {
        refuse_conflict(product->batch, item, entry);
        return ERR_ok;
    }
    if (WIRE_HAS(patch, product_patch, images) && check_list(patch->images, &why) != ERR_ok) {
        item_refuse(product->batch, item, ERR_invalid_field, "%s", why.text);
        return ERR_ok;
    }
    struct product_said said = said_of_patch(product->batch, patch, &entry->now->said);
    say(product, item, entry, &said);
    return ERR_ok;
}

err
product_handle_get(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_get *get = item->body;
    const struct product_entry *entry = product_cards_get(&product->cards, get->product);
    if (entry->now == NULL) {
        refuse_unknown(product->batch, item, get->product);
    } else {
        answer(product, item, entry->now);
    }
    return ERR_ok;
}
