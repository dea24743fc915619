/* SPDX-License-Identifier: MPL-2.0 */
/* What order says of its orders, for whoever compares it with what others have of them. */
#ifndef LARDER_ORDER_VERIFY_H
#define LARDER_ORDER_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "kit/db/db.h"

struct order_said {
    int64_t n; /* 0: there is no such order */
    struct id id;
    bool has_ended; /* its saga */
    bool is_paying; /* it waits for its money */
    bool is_stuck;  /* something could not be undone: there is a letter */
    bool is_paid;   /* the kitchen has it, or had it */
    bool is_money_known;
    bool is_back; /* it knows that all its money went back */
    int64_t round;
    int64_t total;
    char currency[4];
    char status[17];
    char method[17];
    struct id charge;
    int64_t holds; /* a byte for each shard: the round of its hold */
    int64_t sold;  /* a bit for each shard */
};

/* Up to `most` orders behind the n-th, rising, and one order. */
struct db_statement *
order_select_behind(struct db *db, int64_t after, int64_t most);
struct db_statement *
order_select(struct db *db, const struct id *id);
void
order_see(struct order_said *order, struct db_statement *row);

/* Which of the ids that are added there are. Column: id. */
struct db_in *
order_select_ids(struct db *db);

/* Lines of the orders behind one up to another, rising. Columns: n of the order, product, quantity. */
struct db_statement *
order_select_lines(struct db *db, int64_t after, int64_t last);

/* How often the timeline of an order says that the kitchen had begun. */
struct db_statement *
order_select_began(struct db *db, int64_t n);

/* The orders that have money on its way back which came for a charge they do not take. They are few. Column: id. */
struct db_statement *
order_select_strays(struct db *db);

/* The hold of a round on a shard, and whether it is the one that the order says. */
struct id
order_hold(const struct order_said *order, int shard, int64_t round);
bool
order_says_hold(const struct order_said *order, int shard, int64_t round);

#endif
