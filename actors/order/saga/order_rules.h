/* SPDX-License-Identifier: MPL-2.0 */
/* What an order may do, without looking anywhere: statuses, who may see and change it, what it costs, what a payment means to it. */
#ifndef LARDER_ORDER_RULES_H
#define LARDER_ORDER_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "order_saga.h"
#include "role.h"
#include "wire.h"

/* "awaiting_payment", ... */
const char *
order_status_name(enum order_status status);

/* ORDER_STATUS_COUNT for a word that is none. */
enum order_status
order_status_find(struct slice name);

/* The statuses that an order can go to by somebody's request, by comma, as a problem tells them. */
const char *
order_status_allowed(enum order_status status);

/* What order.advance does of itself: the next status of the kitchen's way; ORDER_STATUS_COUNT when there is none. */
enum order_status
order_status_next(enum order_status status);

/* Whether the kitchen has it. */
bool
order_is_in_kitchen(enum order_status status);

/* Whether an order can be paid this way. */
bool
order_is_method(struct slice method);

/* --- who --- */

/* Who asks. */
struct order_asker {
    enum role role;
    bool has_user;
    struct id user;
};

/* Whether he may know that there is such an order: employees may; of one with a customer he alone; of one without, which is a
 * guest's, who shows its secret. `customer` is NULL when there is none. */
bool
order_is_visible(const struct order_asker *asker, const struct id *customer, bool has_secret);

/* Whose order it will be: `customer` as the request names it, or NULL; out: who it is. ERR_forbidden: in somebody else's name. */
MUST_CHECK err
order_customer_of(const struct order_asker *asker, const struct id *customer, bool *has_customer, struct id *whose);

/* --- what happens --- */

/* What giving it up means to its saga: customers may before it is paid, employees until it was fetched. SAGA_TRIGGER_COUNT: it
 * cannot be given up, by this asker, in this status. */
enum saga_trigger
order_trigger_of_cancel(enum order_status status, enum role role);

/* What money that has come means to an order in this status. `is_expired`: it was cancelled because nobody paid in time.
 * SAGA_TRIGGER_COUNT: nothing, it was paid before. */
enum saga_trigger
order_trigger_of_payment(enum order_status status, bool is_expired);

/* What it means to an order, here and in this status, that all its money went back, whoever has seen to that. ON_refunded: its saga
 * waits for that. ON_money_gone: it is given up. SAGA_TRIGGER_COUNT: it has to be known, and no more. `back` as in order_row. */
enum saga_trigger
order_trigger_of_refund(enum saga_state saga, enum saga_state back, enum order_status status);

/* Whether this answer to a step decides anything. What may be better later does not; neither does a fault of the peer's own, except
 * where something is undone: that is told at once. */
bool
order_is_decisive(enum saga_state state, err status);

/* Whether a saga stands still: it has been in its state for more than `patience_ms`, beyond what the state waits for by itself,
 * which is for the customer up to the deadline, and for the provider, whose refunds may take REFUND_PATIENCE_MS. What has ended
 * does not stand, nor does what is stuck: that has its letter. */
#define REFUND_PATIENCE_MS INT64_C(86400000)
bool
order_stands(enum saga_state saga, int64_t entered_ms, int64_t deadline_ms, int64_t patience_ms, int64_t now_ms);

/* Whether this can happen to an order of this status at all. */
bool
order_can_happen(enum saga_trigger trigger, enum order_status status);

/* Whether the table and what people may do ever lead to this pair: the proof's measure. */
bool
order_pair_is_possible(enum saga_state saga, enum order_status status);

/* --- money --- */

/* Adds a line to a total. ERR_total_overflow leaves it as it was. */
MUST_CHECK err
order_total_add(int64_t amount, int64_t quantity, int64_t *total);

#endif
