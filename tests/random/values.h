/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Bodies by their tables, written as msgpack without the codec of the program, which cannot say what is wrong: values at the bounds
 * and just beyond them, of the wrong kind, given twice, left out, unknown; and sensible ones, with ids and positions that came back
 * in earlier answers, so that there is something for the others to break.
 */
#ifndef LARDER_RANDOM_VALUES_H
#define LARDER_RANDOM_VALUES_H

#include "chance.h"
#include "memory.h"
#include "wire.h"

#define VALUES_NEVER 1000

/* What is drawn once for a whole body, so that its fields agree. */
struct picks {
    uint64_t slots[THING_COUNT];
    uint64_t product;
    uint64_t source; /* of an event, in words */
    uint64_t name;
    enum op later; /* the operation that is handed over */
    enum event_type event;
};

struct maker {
    struct chance chance;
    const struct memory *memory;
    struct picks picks;
    int own_source;      /* of the actor that it goes to, as memory has it; -1: it publishes nothing */
    bool is_wild;        /* every value from the bounds, none that is sensible */
    bool is_plain;       /* nothing but what makes sense */
    bool is_reversed;    /* fields in the opposite order */
    bool is_beside_book; /* names no shelf that the book counts */
    int break_at;        /* the field that is broken, counted as they are written; VALUES_NEVER */
    int depth;
};

/* Draws what goes for the whole body. */
void
values_begin(struct maker *maker);

/* Appends a map of the body. */
void
values_body(struct maker *maker, const struct wire_body *body, struct wire_buffer *out);

/* The names of products: those that only this test's own changes of stock touch (the book counts them), and those that orders,
 * sales and the factory touch too. */
#define VALUES_BOOK_PRODUCTS 4
extern const char *const values_products[MEMORY_PRODUCTS];

/* MEMORY_PRODUCTS when it is none of them. */
size_t
values_product_number(struct slice product);

/* "stock/0": its number in the memory; MEMORY_SOURCES when it is none. */
size_t
values_source_number(struct slice source);

#endif
