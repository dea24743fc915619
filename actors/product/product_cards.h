/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The products that one batch is about: read from the database at once, changed in memory by one message after the other, and written
 * at once. Everything lies in the batch's memory and is gone with it.
 */
#ifndef LARDER_PRODUCT_CARDS_H
#define LARDER_PRODUCT_CARDS_H

#include "kit/actor.h"
#include "product_rules.h"

/* A product as a row has it. Never changed once it is made. */
struct product_record {
    int64_t n;
    int64_t version;
    int64_t changed_ms;
    struct product_said said;
};

struct product_entry {
    struct slice product;
    const struct product_record *now; /* as the messages so far have left it; NULL: there is none */
    size_t row;                       /* of the load under way: the last good row about it, counted from 1; 0: none */
    bool is_dirty;                    /* `now` is not written yet */
    struct product_entry *next_dirty;
};

struct product_cards {
    struct batch *batch;
    struct product_entry **slots;
    size_t slot_count; /* a power of two, or 0 */
    size_t count;
    struct product_entry *first_dirty;
    struct product_entry **last_dirty;
};

void
product_cards_init(struct product_cards *cards, struct batch *batch);

/* The entry of a product; it is made when there is none. `product` must live as long as the batch. */
struct product_entry *
product_cards_add(struct product_cards *cards, struct slice product, bool *is_new);

/* The entry of a product that was added. */
struct product_entry *
product_cards_get(struct product_cards *cards, struct slice product);

/* From here on it is `record`, which is to be written. */
void
product_cards_set(struct product_cards *cards, struct product_entry *entry, const struct product_record *record);

/* Takes the entries that are to be written, one by one. */
struct product_entry *
product_cards_next_dirty(struct product_cards *cards);

#endif
