/* SPDX-License-Identifier: MPL-2.0 */
/* What payment says of its charges, for whoever compares it with what others have of them. */
#ifndef LARDER_PAYMENT_VERIFY_H
#define LARDER_PAYMENT_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"
#include "kit/db/db.h"

struct charge_said {
    int64_t n;
    struct id id;
    struct id order;
    int64_t amount;
    int64_t refunded;
    char currency[4];
    char status[17];
    char method[17];
    bool is_pending;
    bool has_succeeded;
    bool is_cancelled;
};

/* Up to `most` charges behind the n-th, and those of the orders whose ids are added. */
struct db_statement *
payment_select_behind(struct db *db, int64_t after, int64_t most);
struct db_in *
payment_select_of_orders(struct db *db);
void
payment_see(struct charge_said *charge, struct db_statement *row);

/* A charge that an outside provider was told of, with what may still come of it. */
struct charge_outside {
    struct charge_said charge;
    int64_t refunding;
    bool has_other_money; /* it has a letter about that */
    bool is_watched;      /* a due row will ask, or its letter */
    bool has_notes;       /* refunds that were told wait */
};

/* The newest one below the n-th. */
struct db_statement *
payment_select_outside(struct db *db, int64_t below);
void
payment_see_outside(struct charge_outside *outside, struct db_statement *row);

/* How many charges are of a provider. */
struct db_statement *
payment_select_count(struct db *db, const char *provider);

#endif
