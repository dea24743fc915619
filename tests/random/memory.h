/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What earlier answers said, for later requests to say again: ids, positions, sessions, versions, numbers.
 *
 * A slot belongs to a request that may make something, counted from the seed alone; the answer fills it, or does not. So a later
 * request names the same slot in every run, whatever was answered. Where nothing is known it reads as an id that nobody has.
 */
#ifndef LARDER_RANDOM_MEMORY_H
#define LARDER_RANDOM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "wire.h"

#define MEMORY_SLOTS 32
#define MEMORY_NAMES 4   /* of subscriptions and subscribers: n0, n1, ... */
#define MEMORY_SOURCES 8 /* sources of events that are named */
#define MEMORY_PRODUCTS 16

enum thing {
    THING_HOLD,
    THING_ORDER,
    THING_CHARGE,
    THING_OWN_CHARGE, /* for no order: may be paid back without an order that would miss it */
    THING_PRODUCTION,
    THING_USER,
    THING_LETTER,
    THING_BURIED, /* a letter that dlq.bury has brought */
    THING_HANDED, /* a request that the dlq delivers */
    THING_REPLAY,
    THING_COUNT,
    THING_NONE = THING_COUNT
};

struct known {
    struct id id;
    char product[WIRE_NAME_MAX + 1]; /* of a hold: one that says its shard */
    int64_t version;                 /* of a person */
    bool is_booked;                  /* of a hold: it holds units of a shelf that the book counts */
    bool is_known;
};

/* One subscriber or subscription at one source. */
struct standing {
    struct id session;
    struct id incarnation;
    int64_t position;
    bool is_known;
};

struct memory {
    struct known things[THING_COUNT][MEMORY_SLOTS];
    struct known nobody[THING_COUNT];
    uint64_t wanted[THING_COUNT];    /* requests so far that may make one */
    int64_t numbers[THING_COUNT];    /* the latest `number` of one */
    int64_t levels[MEMORY_PRODUCTS]; /* the latest version of the shelf */
    int64_t cards[MEMORY_PRODUCTS];  /* and of the menu's card */
    struct standing subscribers[MEMORY_SOURCES][MEMORY_NAMES];
    struct standing sessions[MEMORY_SOURCES][MEMORY_NAMES];
};

void
memory_init(struct memory *memory);

/* The slot of a request that may make a thing; advances. */
uint64_t
memory_want(struct memory *memory, enum thing thing);

/* What is in the slot or, when nothing is, in the next one that has something; one in twelve slots stands for what nobody has. */
const struct known *
memory_get(const struct memory *memory, enum thing thing, uint64_t drawn);

void
memory_put(struct memory *memory, enum thing thing, uint64_t slot, const struct known *known);

#endif
