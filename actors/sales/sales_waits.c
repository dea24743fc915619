/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Keeps the requests that wait for stock, for longer than the state of the actor where it must.
 * STATE     Entries lie in slabs and are used again, so a request costs no allocation once as many have waited at the same time.
 *           An entry is free, or taken: begun by the batch under way, waiting, or ended by the batch under way. Slabs whose state
 *           has left go with the last of their entries.
 * FAILURES  None: out of memory aborts.
 * LIMITS    As many as asks may be under way.
 */
#include "sales_waits.h"

#include <stddef.h>
#include <stdlib.h>

#define SLAB_ENTRIES 256

struct slab {
    struct slab *next;
    struct sale sales[SLAB_ENTRIES];
};

struct sales_waits {
    struct slab *slabs;
    struct sale *free;
    size_t taken_count;
    bool is_left;
    struct sale *begun; /* by the batch under way */
    struct sale *ended;
};

struct sales_waits *
sales_waits_create(void)
{
    struct sales_waits *waits = calloc(1, sizeof *waits);
    if (waits == NULL) {
        abort();
    }
    return waits;
}

static void
destroy(struct sales_waits *waits)
{
    while (waits->slabs != NULL) {
        struct slab *slab = waits->slabs;
        waits->slabs = slab->next;
        free(slab);
    }
    free(waits);
}

void
sales_waits_leave(struct sales_waits **waits, bool is_last)
{
    if (*waits == NULL) {
        return;
    }
    (*waits)->is_left = true;
    if (is_last || (*waits)->taken_count == 0) {
        destroy(*waits);
    }
    *waits = NULL;
}

static void
grow(struct sales_waits *waits)
{
    struct slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL) {
        abort();
    }
    slab->next = waits->slabs;
    waits->slabs = slab;
    for (size_t i = 0; i < SLAB_ENTRIES; i++) {
        slab->sales[i].owner = waits;
        slab->sales[i].next = waits->free;
        waits->free = &slab->sales[i];
    }
}

struct sale *
sales_waits_begin(struct sales_waits *waits)
{
    if (waits->free == NULL) {
        grow(waits);
    }
    struct sale *sale = waits->free;
    waits->free = sale->next;
    waits->taken_count++;
    sale->next = waits->begun;
    waits->begun = sale;
    return sale;
}

void
sales_waits_end(struct sales_waits *waits, struct sale *sale)
{
    sale->next = waits->ended;
    waits->ended = sale;
}

static void
give_back(struct sale *sale)
{
    struct sales_waits *owner = sale->owner;
    sale->waiter = NULL;
    sale->next = owner->free;
    owner->free = sale;
    owner->taken_count--;
    if (owner->is_left && owner->taken_count == 0) {
        destroy(owner);
    }
}

static void
give_all_back(struct sale **sales)
{
    while (*sales != NULL) {
        struct sale *sale = *sales;
        *sales = sale->next;
        give_back(sale);
    }
}

void
sales_waits_committed(struct sales_waits *waits)
{
    waits->begun = NULL;
    give_all_back(&waits->ended);
}

void
sales_waits_dropped(struct sales_waits *waits)
{
    waits->ended = NULL;
    give_all_back(&waits->begun);
}
