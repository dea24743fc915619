/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The products of one batch by their SKUs, so that a batch reads them once and writes them once, however many messages are about
 *   them. A hash table with open addressing in the memory of the batch.
 *
 * STATE
 *   Entries never move; the slots do when the table grows. Those that are to be written are a list in the order of their first change.
 *
 * FAILURES
 *   None. A product that was not added when it is wanted is our own bug and asserts.
 *
 * LIMITS
 *   As many as a batch has messages and rows.
 */
#include "product_cards.h"

#include <assert.h>
#include <string.h>

#include "hash.h"

#define SLOTS_FIRST 64

void
product_cards_init(struct product_cards *cards, struct batch *batch)
{
    *cards = (struct product_cards){.batch = batch};
    cards->last_dirty = &cards->first_dirty;
}

/* Where it is, or where it would be. */
static struct product_entry **
slot_of(const struct product_cards *cards, struct slice product)
{
    size_t at = (size_t)hash_bytes(HASH_FIRST, product.data, product.size) & (cards->slot_count - 1);
    while (cards->slots[at] != NULL && !slice_equal(cards->slots[at]->product, product)) {
        at = (at + 1) & (cards->slot_count - 1);
    }
    return &cards->slots[at];
}

static void
grow(struct product_cards *cards)
{
    struct product_cards grown = *cards;
    grown.slot_count = cards->slot_count == 0 ? SLOTS_FIRST : cards->slot_count * 4;
    grown.slots = batch_alloc(cards->batch, grown.slot_count * sizeof(struct product_entry *));
    memset(grown.slots, 0, grown.slot_count * sizeof(struct product_entry *));
    for (size_t i = 0; i < cards->slot_count; i++) {
        if (cards->slots[i] != NULL) {
            *slot_of(&grown, cards->slots[i]->product) = cards->slots[i];
        }
    }
    cards->slots = grown.slots;
    cards->slot_count = grown.slot_count;
}

struct product_entry *
product_cards_add(struct product_cards *cards, struct slice product, bool *is_new)
{
    if (cards->count * 2 >= cards->slot_count) {
        grow(cards);
    }
    struct product_entry **slot = slot_of(cards, product);
    *is_new = *slot == NULL;
    if (*is_new) {
        *slot = batch_alloc(cards->batch, sizeof **slot);
        **slot = (struct product_entry){.product = product};
        cards->count++;
    }
    return *slot;
}

struct product_entry *
product_cards_get(struct product_cards *cards, struct slice product)
{
    struct product_entry *entry = cards->slot_count == 0 ? NULL : *slot_of(cards, product);
    assert(entry != NULL && "a product that was not read for this batch");
    return entry;
}

void
product_cards_set(struct product_cards *cards, struct product_entry *entry, const struct product_record *record)
{
    entry->now = record;
    if (!entry->is_dirty) {
        entry->is_dirty = true;
        entry->next_dirty = NULL;
        *cards->last_dirty = entry;
        cards->last_dirty = &entry->next_dirty;
    }
}

struct product_entry *
product_cards_next_dirty(struct product_cards *cards)
{
    struct product_entry *entry = cards->first_dirty;
    if (entry != NULL) {
        cards->first_dirty = entry->next_dirty;
        entry->is_dirty = false;
        if (cards->first_dirty == NULL) {
            cards->last_dirty = &cards->first_dirty;
        }
    }
    return entry;
}
