/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See book.h.
 *
 * STATE
 *   Per shelf the version and the number that agree so far, and the changes since then, in any order. What a hold holds is kept from
 *   its reserve on, for its commit and its return.
 *
 * LIMITS
 *   A change of a shelf that neither an answer nor a refill tells of is found by the number on hand of the next change that does. One
 *   that alters only what is reserved is not looked at here.
 */
#include "book.h"

#include <stdlib.h>
#include <string.h>

static struct book_hold *
find_hold(struct book_hold *holds, size_t capacity, const struct id *id)
{
    size_t at = id_hash(id) & (capacity - 1);
    while (holds[at].is_used && !id_equal(&holds[at].id, id)) {
        at = (at + 1) & (capacity - 1);
    }
    return &holds[at];
}

static struct book_hold *
get_hold(struct book *book, const struct id *id)
{
    if (book->hold_count * 2 >= book->hold_capacity) {
        size_t capacity = book->hold_capacity == 0 ? 256 : book->hold_capacity * 2;
        struct book_hold *holds = calloc(capacity, sizeof *holds);
        if (holds == NULL) {
            abort();
        }
        for (size_t i = 0; i < book->hold_capacity; i++) {
            if (book->holds[i].is_used) {
                *find_hold(holds, capacity, &book->holds[i].id) = book->holds[i];
            }
        }
        free(book->holds);
        book->holds = holds;
        book->hold_capacity = capacity;
    }
    struct book_hold *hold = find_hold(book->holds, book->hold_capacity, id);
    if (!hold->is_used) {
        *hold = (struct book_hold){.id = *id, .is_used = true};
        book->hold_count++;
    }
    return hold;
}

static void
add_change(struct book *book, size_t product, struct book_change change)
{
    struct book_shelf *shelf = &book->shelves[product];
    if (shelf->count == shelf->capacity) {
        shelf->capacity = shelf->capacity == 0 ? 64 : shelf->capacity * 2;
        shelf->changes = realloc(shelf->changes, shelf->capacity * sizeof *shelf->changes);
        if (shelf->changes == NULL) {
            abort();
        }
    }
    shelf->changes[shelf->count++] = change;
}

/* The units of each shelf that the lines name. */
static void
sum_lines(struct wire_list lines, int64_t units[VALUES_BOOK_PRODUCTS])
{
    struct wire_stock_line line;
    memset(units, 0, VALUES_BOOK_PRODUCTS * sizeof units[0]);
    while (wire_list_next(&lines, &stock_line_body, &line)) {
        size_t product = values_product_number(line.product);
        if (product < VALUES_BOOK_PRODUCTS) {
            units[product] += line.quantity;
        }
    }
}

/* What the operation does to what is on each shelf. */
static void
reckon(struct book *book, enum op op, const struct id *id, const void *asked, int64_t units[VALUES_BOOK_PRODUCTS])
{
    memset(units, 0, VALUES_BOOK_PRODUCTS * sizeof units[0]);
    int64_t sign = -1;
    if (op == OP_stock_take) {
        sum_lines(((const struct wire_stock_take *)asked)->lines, units);
    } else if (op == OP_stock_reserve) {
        sum_lines(((const struct wire_stock_reserve *)asked)->lines, get_hold(book, id)->units);
    } else if (op == OP_stock_commit) {
        memcpy(units, get_hold(book, &((const struct wire_stock_commit *)asked)->hold)->units, sizeof get_hold(book, id)->units);
    } else if (op == OP_stock_return) {
        memcpy(units, get_hold(book, &((const struct wire_stock_return *)asked)->hold)->units, sizeof get_hold(book, id)->units);
        sign = 1;
    } else if (op == OP_stock_adjust) {
        const struct wire_stock_adjust *adjust = asked;
        size_t product = values_product_number(adjust->product);
        if (product < VALUES_BOOK_PRODUCTS) {
            units[product] = -adjust->delta;
        }
    } else if (op == OP_stock_count) {
        const struct wire_stock_count *count = asked;
        size_t product = values_product_number(count->product);
        if (product < VALUES_BOOK_PRODUCTS) {
            units[product] = -count->counted;
        }
    }
    for (size_t i = 0; i < VALUES_BOOK_PRODUCTS; i++) {
        units[i] *= sign;
    }
}

void
book_write(struct book *book, enum op op, const struct id *id, const void *asked, const struct wire_stock_done *answer)
{
    int64_t units[VALUES_BOOK_PRODUCTS];
    struct wire_list levels = answer->levels;
    struct wire_stock_level level;
    reckon(book, op, id, asked, units);
    while (wire_list_next(&levels, &stock_level_body, &level)) {
        size_t product = values_product_number(level.product);
        if (product < VALUES_BOOK_PRODUCTS) {
            add_change(book, product, (struct book_change){level.version, level.on_hand, units[product], op == OP_stock_count});
        }
    }
}

void
book_refill(struct book *book, size_t product, const struct wire_stock_move *move)
{
    if (move->version > book->shelves[product].version) {
        add_change(book, product, (struct book_change){move->version, move->on_hand, move->delta, false});
    }
}

static int
by_version(const void *a, const void *b)
{
    const struct book_change *first = a;
    const struct book_change *second = b;
    return first->version < second->version ? -1 : first->version > second->version;
}

static void
sort_changes(struct book_shelf *shelf)
{
    if (shelf->count > 0) {
        qsort(shelf->changes, shelf->count, sizeof shelf->changes[0], by_version);
    }
}

bool
book_has_gap(struct book *book, size_t product)
{
    struct book_shelf *shelf = &book->shelves[product];
    int64_t last = shelf->version;
    bool has_gap = false;
    sort_changes(shelf);
    for (size_t i = 0; i < shelf->count; i++) {
        has_gap = has_gap || shelf->changes[i].version > last + 1;
        last = shelf->changes[i].version;
    }
    return has_gap;
}

static bool
settle_shelf(struct book_shelf *shelf, const char *product, struct err_text *why)
{
    sort_changes(shelf);
    for (size_t i = 0; i < shelf->count; i++) {
        const struct book_change *change = &shelf->changes[i];
        if (i > 0 && change->version == shelf->changes[i - 1].version && change->delta == 0) {
            continue; /* what changed nothing is answered with the level as it is */
        }
        int64_t expected = change->is_counted ? change->delta : shelf->on_hand + change->delta;
        if (change->version < shelf->version || (change->version == shelf->version && change->delta != 0) ||
            change->on_hand != expected) {
            (void)err_say(why, ERR_internal, "%s: version %lld has %lld on hand; version %lld had %lld, and the change is %lld%s",
                          product, (long long)change->version, (long long)change->on_hand, (long long)shelf->version,
                          (long long)shelf->on_hand, (long long)change->delta, change->is_counted ? " (counted)" : "");
            return false;
        }
        shelf->version = change->version;
        shelf->on_hand = change->on_hand;
    }
    shelf->count = 0;
    return true;
}

bool
book_settle(struct book *book, struct err_text *why)
{
    for (size_t i = 0; i < VALUES_BOOK_PRODUCTS; i++) {
        if (!settle_shelf(&book->shelves[i], values_products[i], why)) {
            return false;
        }
    }
    return true;
}

void
book_fini(struct book *book)
{
    for (size_t i = 0; i < VALUES_BOOK_PRODUCTS; i++) {
        free(book->shelves[i].changes);
    }
    free(book->holds);
    *book = (struct book){0};
}
