/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The secrets of guests' orders: whoever shows an order's secret may read it, pay it again and cancel it. Made from a key of the
 * installation when they are told or shown, and kept nowhere.
 */
#ifndef LARDER_ORDER_SECRET_H
#define LARDER_ORDER_SECRET_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "id.h"
#include "wire.h"

#define ORDER_SECRET_SIZE 64 /* of its text, with its end */

struct order_secrets;

/* An order, as far as its secret goes. */
struct order_secret_of {
    struct id order;
    int64_t placed_ms; /* says which version of the key it is made with */
};

struct order_secrets *
order_secrets_create(struct db *db);
void
order_secrets_destroy(struct order_secrets **secrets);

/* Reads the keys, and makes the first one in the transaction under way. ERR_internal: what is there is none. */
MUST_CHECK err
order_secrets_load(struct order_secrets *secrets);

/* Writes the secret, terminated. False, and it is empty: the version that it was made with was taken away. */
bool
order_secrets_write(const struct order_secrets *secrets, const struct order_secret_of *of, char text[ORDER_SECRET_SIZE]);

/* Takes as long whether it is the right one or not. */
bool
order_secrets_is_right(const struct order_secrets *secrets, const struct order_secret_of *of, struct slice text);

#endif
