/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The decisions about an order that need nothing but their arguments.
 * STATE     None.
 * FAILURES  Those of errors.def that are named at each function.
 * LIMITS    A total is at most LEVEL_MAX minor units.
 */
#include "order_rules.h"

struct status_row {
    const char *name;
    enum order_status next; /* by order.advance */
    const char *allowed;
};

static const struct status_row statuses[ORDER_STATUS_COUNT] = {
    [ORDER_PLACED] = {"placed", ORDER_STATUS_COUNT, "cancelled"},
    [ORDER_AWAITING_PAYMENT] = {"awaiting_payment", ORDER_STATUS_COUNT, "cancelled"},
    [ORDER_RECEIVED] = {"received", ORDER_IN_PREPARATION, "in_preparation,cancelled"},
    [ORDER_IN_PREPARATION] = {"in_preparation", ORDER_READY, "ready,cancelled"},
    [ORDER_READY] = {"ready", ORDER_COMPLETED, "completed,cancelled"},
    [ORDER_COMPLETED] = {"completed", ORDER_STATUS_COUNT, ""},
    [ORDER_CANCELLED] = {"cancelled", ORDER_STATUS_COUNT, ""},
    [ORDER_PAYMENT_FAILED] = {"payment_failed", ORDER_STATUS_COUNT, "placed"},
};

const char *
order_status_name(enum order_status status)
{
    return statuses[status].name;
}

enum order_status
order_status_find(struct slice name)
{
    unsigned status = 0;
    while (status < ORDER_STATUS_COUNT && !slice_equal(name, slice_of(statuses[status].name))) {
        status++;
    }
    return (enum order_status)status;
}

const char *
order_status_allowed(enum order_status status)
{
    return statuses[status].allowed;
}

enum order_status
order_status_next(enum order_status status)
{
    return statuses[status].next;
}

bool
order_is_in_kitchen(enum order_status status)
{
    return status == ORDER_RECEIVED || status == ORDER_IN_PREPARATION || status == ORDER_READY;
}

bool
order_is_method(struct slice method)
{
    return slice_equal(method, slice_of("pix")) || slice_equal(method, slice_of("credit_card")) ||
           slice_equal(method, slice_of("debit_card")) || slice_equal(method, slice_of("money"));
}

/* --- who --- */

bool
order_is_visible(const struct order_asker *asker, const struct id *customer, bool has_secret)
{
    if (asker->role >= ROLE_EMPLOYEE) {
        return true;
    }
    if (customer == NULL) {
        return has_secret;
    }
    return asker->has_user && id_equal(&asker->user, customer);
}

err
order_customer_of(const struct order_asker *asker, const struct id *customer, bool *has_customer, struct id *whose)
{
    bool is_free = asker->role >= ROLE_EMPLOYEE;
    if (customer != NULL) {
        if (!is_free && !(asker->has_user && id_equal(&asker->user, customer))) {
            return ERR_forbidden;
        }
        *whose = *customer;
        *has_customer = true;
        return ERR_ok;
    }
    *has_customer = asker->role == ROLE_CUSTOMER && asker->has_user;
    if (*has_customer) {
        *whose = asker->user;
    }
    return ERR_ok;
}

/* --- what happens --- */

enum saga_trigger
order_trigger_of_cancel(enum order_status status, enum role role)
{
    switch (status) {
    case ORDER_PLACED:
    case ORDER_AWAITING_PAYMENT:
        return role >= ROLE_CUSTOMER ? ON_cancel : SAGA_TRIGGER_COUNT;
    case ORDER_RECEIVED:
        return role >= ROLE_EMPLOYEE ? ON_cancel_received : SAGA_TRIGGER_COUNT;
    case ORDER_IN_PREPARATION:
    case ORDER_READY:
        return role >= ROLE_EMPLOYEE ? ON_cancel_begun : SAGA_TRIGGER_COUNT;
    case ORDER_COMPLETED:
    case ORDER_CANCELLED:
    case ORDER_PAYMENT_FAILED:
    case ORDER_STATUS_COUNT:
        break;
    }
    return SAGA_TRIGGER_COUNT;
}

enum saga_trigger
order_trigger_of_payment(enum order_status status, bool is_expired)
{
    switch (status) {
    case ORDER_PLACED:
    case ORDER_AWAITING_PAYMENT:
        return ON_paid;
    case ORDER_CANCELLED:
        return is_expired ? ON_paid_late : ON_paid_unwanted;
    case ORDER_PAYMENT_FAILED:
        return ON_paid_unwanted;
    case ORDER_RECEIVED:
    case ORDER_IN_PREPARATION:
    case ORDER_READY:
    case ORDER_COMPLETED:
    case ORDER_STATUS_COUNT:
        break;
    }
    return SAGA_TRIGGER_COUNT;
}

/* Whether the food is being made, or was. */
static bool
has_begun(enum order_status status)
{
    return status == ORDER_IN_PREPARATION || status == ORDER_READY || status == ORDER_COMPLETED;
}

enum saga_trigger
order_trigger_of_refund(enum saga_state saga, enum saga_state back, enum order_status status)
{
    if (saga == SAGA_refunding || (saga == SAGA_stuck && back == SAGA_refunding)) {
        return ON_refunded;
    }
    return saga == SAGA_ended && status == ORDER_RECEIVED ? ON_money_gone : SAGA_TRIGGER_COUNT;
}

/* Whether a refusal here ends in a letter. */
static bool
is_undoing(enum saga_state state)
{
    const struct saga_edge *edge = saga_edge(state, ON_refused);
    return edge != NULL && edge->to == SAGA_stuck;
}

bool
order_is_decisive(enum saga_state state, err status)
{
    switch (err_disposition(status)) {
    case ERR_DONE:
    case ERR_REFUSE:
    case ERR_DEAD:
        return true;
    case ERR_BUG:
        return is_undoing(state);
    case ERR_RETRY:
        break;
    }
    return false;
}

bool
order_stands(enum saga_state saga, int64_t entered_ms, int64_t deadline_ms, int64_t patience_ms, int64_t now_ms)
{
    if (saga >= SAGA_STATE_COUNT || saga_steps[saga].whom == NOBODY) {
        return false;
    }
    if (saga == SAGA_paying && deadline_ms > entered_ms) {
        entered_ms = deadline_ms;
    } else if (saga == SAGA_refunding && patience_ms < REFUND_PATIENCE_MS) {
        patience_ms = REFUND_PATIENCE_MS;
    }
    return now_ms - entered_ms > patience_ms;
}

bool
order_can_happen(enum saga_trigger trigger, enum order_status status)
{
    switch (trigger) {
    case ON_paid:
        return order_trigger_of_payment(status, false) == ON_paid;
    case ON_paid_late:
        return order_trigger_of_payment(status, true) == ON_paid_late;
    case ON_paid_unwanted:
        return order_trigger_of_payment(status, false) == ON_paid_unwanted;
    case ON_cancel:
    case ON_cancel_received:
    case ON_cancel_begun:
        return order_trigger_of_cancel(status, ROLE_EMPLOYEE) == trigger;
    case ON_pay:
        return status == ORDER_PAYMENT_FAILED;
    case ON_money_gone:
        return !has_begun(status);
    case ON_refunded:
    case ON_not_refunded:
        return status == ORDER_CANCELLED || status == ORDER_PAYMENT_FAILED;
    case ON_fault:
    case ON_ok:
    case ON_refused:
    case ON_unpaid:
    case ON_deadline:
    case ON_retry:
    case SAGA_TRIGGER_COUNT:
        break;
    }
    return true;
}

/* One step further from every pair that was reached; false when there was none new. */
static bool
reach_further(bool reached[SAGA_STATE_COUNT][ORDER_STATUS_COUNT])
{
    bool is_new = false;
    for (size_t i = 0; i < saga_edge_count; i++) {
        const struct saga_edge *edge = &saga_edges[i];
        for (unsigned status = 0; edge->to != SAGA_back && status < ORDER_STATUS_COUNT; status++) {
            unsigned next = edge->status == ORDER_STATUS_COUNT ? status : edge->status;
            bool leads = reached[edge->from][status] && order_can_happen(edge->on, (enum order_status)status);
            is_new = is_new || (leads && !reached[edge->to][next]);
            reached[edge->to][next] = reached[edge->to][next] || leads;
        }
    }
    for (unsigned status = 0; status < ORDER_STATUS_COUNT; status++) {
        unsigned next = order_status_next((enum order_status)status);
        bool leads = next != ORDER_STATUS_COUNT && reached[SAGA_ended][status];
        is_new = is_new || (leads && !reached[SAGA_ended][next]);
        if (leads) {
            reached[SAGA_ended][next] = true;
        }
    }
    return is_new;
}

bool
order_pair_is_possible(enum saga_state saga, enum order_status status)
{
    bool reached[SAGA_STATE_COUNT][ORDER_STATUS_COUNT] = {{false}};
    reached[SAGA_reserving][ORDER_PLACED] = true;
    while (reach_further(reached)) {
    }
    return reached[saga][status];
}

/* --- money --- */

err
order_total_add(int64_t amount, int64_t quantity, int64_t *total)
{
    int64_t line = 0;
    int64_t sum = 0;
    if (__builtin_mul_overflow(amount, quantity, &line) || __builtin_add_overflow(*total, line, &sum) || sum > LEVEL_MAX) {
        return ERR_total_overflow;
    }
    *total = sum;
    return ERR_ok;
}
