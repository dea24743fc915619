/* SPDX-License-Identifier: MPL-2.0 */
/* What an order may do: statuses, who sees and changes it, what a cancellation and a payment mean to it, what it costs. */
#include "order/saga/order_rules.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

static struct id
person(uint8_t number)
{
    return (struct id){{number}};
}

Test(order_rules, every_status_is_found_by_its_name)
{
    for (unsigned status = 0; status < ORDER_STATUS_COUNT; status++) {
        cr_expect_eq(order_status_find(slice_of(order_status_name((enum order_status)status))), status);
    }
    cr_expect_eq(order_status_find(slice_of("eaten")), ORDER_STATUS_COUNT);
}

Test(order_rules, the_kitchens_way_is_received_in_preparation_ready_completed)
{
    cr_expect_eq(order_status_next(ORDER_RECEIVED), ORDER_IN_PREPARATION);
    cr_expect_eq(order_status_next(ORDER_IN_PREPARATION), ORDER_READY);
    cr_expect_eq(order_status_next(ORDER_READY), ORDER_COMPLETED);
    const enum order_status ends[] = {ORDER_PLACED, ORDER_AWAITING_PAYMENT, ORDER_COMPLETED, ORDER_CANCELLED, ORDER_PAYMENT_FAILED};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        cr_expect_eq(order_status_next(ends[i]), ORDER_STATUS_COUNT, "%s", order_status_name(ends[i]));
    }
}

/* Every pair of statuses: only the three steps of the kitchen are order.advance. */
Test(order_rules, nothing_else_can_be_advanced_to)
{
    int allowed = 0;
    for (unsigned from = 0; from < ORDER_STATUS_COUNT; from++) {
        for (unsigned to = 0; to < ORDER_STATUS_COUNT; to++) {
            allowed += order_status_next((enum order_status)from) == (enum order_status)to;
        }
    }
    cr_expect_eq(allowed, 3);
}

Test(order_rules, what_a_problem_allows_is_what_can_be_done)
{
    cr_expect_str_eq(order_status_allowed(ORDER_RECEIVED), "in_preparation,cancelled");
    cr_expect_str_eq(order_status_allowed(ORDER_PAYMENT_FAILED), "placed");
    cr_expect_str_eq(order_status_allowed(ORDER_COMPLETED), "");
    for (unsigned status = 0; status < ORDER_STATUS_COUNT; status++) {
        bool can_cancel = order_trigger_of_cancel((enum order_status)status, ROLE_EMPLOYEE) != SAGA_TRIGGER_COUNT;
        bool says_so = strstr(order_status_allowed((enum order_status)status), "cancelled") != NULL;
        cr_expect_eq(can_cancel, says_so, "%s", order_status_name((enum order_status)status));
    }
}

/* --- who --- */

Test(order_rules, a_customers_order_is_seen_by_him_and_by_employees_alone)
{
    struct id his = person(1);
    struct order_asker asker = {.role = ROLE_CUSTOMER, .has_user = true, .user = person(1)};
    cr_expect(order_is_visible(&asker, &his, false));
    asker.user = person(2);
    cr_expect_not(order_is_visible(&asker, &his, false));
    cr_expect_not(order_is_visible(&asker, &his, true), "secrets are of orders that have no customer");
    asker = (struct order_asker){.role = ROLE_ANONYMOUS};
    cr_expect_not(order_is_visible(&asker, &his, false));
    cr_expect_not(order_is_visible(&asker, &his, true));
    asker.role = ROLE_EMPLOYEE;
    cr_expect(order_is_visible(&asker, &his, false));
}

Test(order_rules, an_order_of_a_guest_is_seen_by_who_shows_its_secret_and_by_employees)
{
    for (enum role role = ROLE_ANONYMOUS; role <= ROLE_OPERATOR; role++) {
        struct order_asker asker = {.role = role, .has_user = role != ROLE_ANONYMOUS, .user = person(1)};
        cr_expect_eq(order_is_visible(&asker, NULL, false), role >= ROLE_EMPLOYEE, "%s", role_name(role));
        cr_expect(order_is_visible(&asker, NULL, true), "%s", role_name(role));
    }
}

Test(order_rules, a_customer_orders_in_his_own_name_and_in_no_other)
{
    struct order_asker asker = {.role = ROLE_CUSTOMER, .has_user = true, .user = person(1)};
    struct id other = person(2);
    struct id whose = person(9);
    bool has_customer = false;
    cr_expect_eq(order_customer_of(&asker, NULL, &has_customer, &whose), ERR_ok);
    cr_expect(has_customer && id_equal(&whose, &asker.user));
    cr_expect_eq(order_customer_of(&asker, &asker.user, &has_customer, &whose), ERR_ok);
    cr_expect_eq(order_customer_of(&asker, &other, &has_customer, &whose), ERR_forbidden);
}

Test(order_rules, employees_and_operators_order_in_anybodys_name_or_in_nobodys)
{
    struct id other = person(2);
    for (enum role role = ROLE_EMPLOYEE; role <= ROLE_OPERATOR; role++) {
        struct order_asker asker = {.role = role, .has_user = true, .user = person(1)};
        struct id whose = person(9);
        bool has_customer = true;
        cr_expect_eq(order_customer_of(&asker, &other, &has_customer, &whose), ERR_ok);
        cr_expect(has_customer && id_equal(&whose, &other));
        cr_expect_eq(order_customer_of(&asker, NULL, &has_customer, &whose), ERR_ok);
        cr_expect_not(has_customer);
    }
}

Test(order_rules, who_has_no_name_orders_for_nobody)
{
    struct order_asker asker = {.role = ROLE_ANONYMOUS};
    struct id other = person(2);
    struct id whose = person(9);
    bool has_customer = true;
    cr_expect_eq(order_customer_of(&asker, NULL, &has_customer, &whose), ERR_ok);
    cr_expect_not(has_customer);
    cr_expect_eq(order_customer_of(&asker, &other, &has_customer, &whose), ERR_forbidden);
}

/* --- what happens --- */

struct cancel_row {
    enum order_status status;
    enum role role;
    enum saga_trigger trigger;
};

static struct cancel_row cancel_rows[] = {
    {ORDER_PLACED, ROLE_ANONYMOUS, SAGA_TRIGGER_COUNT},
    {ORDER_PLACED, ROLE_CUSTOMER, ON_cancel},
    {ORDER_AWAITING_PAYMENT, ROLE_CUSTOMER, ON_cancel},
    {ORDER_AWAITING_PAYMENT, ROLE_EMPLOYEE, ON_cancel},
    {ORDER_RECEIVED, ROLE_CUSTOMER, SAGA_TRIGGER_COUNT},
    {ORDER_RECEIVED, ROLE_EMPLOYEE, ON_cancel_received},
    {ORDER_IN_PREPARATION, ROLE_CUSTOMER, SAGA_TRIGGER_COUNT},
    {ORDER_IN_PREPARATION, ROLE_EMPLOYEE, ON_cancel_begun},
    {ORDER_READY, ROLE_OPERATOR, ON_cancel_begun},
    {ORDER_COMPLETED, ROLE_OPERATOR, SAGA_TRIGGER_COUNT},
    {ORDER_CANCELLED, ROLE_OPERATOR, SAGA_TRIGGER_COUNT},
    {ORDER_PAYMENT_FAILED, ROLE_OPERATOR, SAGA_TRIGGER_COUNT},
};

ParameterizedTestParameters(order_rules, giving_up_depends_on_status_and_role)
{
    return cr_make_param_array(struct cancel_row, cancel_rows, sizeof cancel_rows / sizeof cancel_rows[0]);
}

ParameterizedTest(struct cancel_row *row, order_rules, giving_up_depends_on_status_and_role)
{
    cr_expect_eq(order_trigger_of_cancel(row->status, row->role), row->trigger);
}

Test(order_rules, money_means_something_else_when_nobody_waits_for_it)
{
    cr_expect_eq(order_trigger_of_payment(ORDER_AWAITING_PAYMENT, false), ON_paid);
    cr_expect_eq(order_trigger_of_payment(ORDER_CANCELLED, true), ON_paid_late);
    cr_expect_eq(order_trigger_of_payment(ORDER_CANCELLED, false), ON_paid_unwanted);
    cr_expect_eq(order_trigger_of_payment(ORDER_PAYMENT_FAILED, false), ON_paid_unwanted);
    cr_expect_eq(order_trigger_of_payment(ORDER_RECEIVED, false), SAGA_TRIGGER_COUNT);
    cr_expect_eq(order_trigger_of_payment(ORDER_COMPLETED, false), SAGA_TRIGGER_COUNT);
}

Test(order_rules, what_may_be_better_later_decides_nothing)
{
    for (unsigned state = 0; state < SAGA_STATE_COUNT; state++) {
        cr_expect_not(order_is_decisive((enum saga_state)state, ERR_unavailable));
        cr_expect_not(order_is_decisive((enum saga_state)state, ERR_overloaded));
        cr_expect_not(order_is_decisive((enum saga_state)state, ERR_deadline_exceeded));
        cr_expect(order_is_decisive((enum saga_state)state, ERR_ok));
        cr_expect(order_is_decisive((enum saga_state)state, ERR_out_of_stock));
    }
}

Test(order_rules, a_peers_own_fault_is_told_where_something_is_undone_and_asked_again_elsewhere)
{
    cr_expect(order_is_decisive(SAGA_refunding, ERR_internal));
    cr_expect(order_is_decisive(SAGA_releasing, ERR_internal));
    cr_expect(order_is_decisive(SAGA_returning, ERR_internal));
    cr_expect_not(order_is_decisive(SAGA_reserving, ERR_internal));
    cr_expect_not(order_is_decisive(SAGA_paying, ERR_internal));
    cr_expect_not(order_is_decisive(SAGA_committing, ERR_internal));
}

/* --- pairs of saga and status --- */

Test(order_rules, a_cancelled_order_is_never_at_the_pivot)
{
    cr_expect(order_pair_is_possible(SAGA_committing, ORDER_AWAITING_PAYMENT));
    cr_expect_not(order_pair_is_possible(SAGA_committing, ORDER_CANCELLED));
    cr_expect_not(order_pair_is_possible(SAGA_ended, ORDER_AWAITING_PAYMENT));
    cr_expect_not(order_pair_is_possible(SAGA_ended, ORDER_PLACED));
    cr_expect(order_pair_is_possible(SAGA_reserving_again, ORDER_CANCELLED));
    cr_expect(order_pair_is_possible(SAGA_voiding, ORDER_CANCELLED));
    cr_expect(order_pair_is_possible(SAGA_refunding, ORDER_PAYMENT_FAILED));
}

Test(order_rules, what_the_kitchen_has_is_at_the_end_of_its_saga)
{
    for (unsigned saga = 0; saga < SAGA_STATE_COUNT; saga++) {
        for (enum order_status status = ORDER_RECEIVED; status <= ORDER_COMPLETED; status++) {
            cr_expect_eq(order_pair_is_possible((enum saga_state)saga, status), saga == SAGA_ended, "%s while %s",
                         order_status_name(status), saga_steps[saga].name);
        }
    }
}

/* --- standing still --- */

struct stand {
    enum saga_state saga;
    int64_t entered_ms;
    int64_t deadline_ms;
    bool stands;
};

/* At the moment 1,000,000 for who is patient for 60,000. */
ParameterizedTestParameters(order_rules, stands_still_when_it_should_have_gone_on)
{
    static struct stand stands[] = {
        {SAGA_reserving, 940000, 1500000, false},
        {SAGA_reserving, 939999, 1500000, true},
        {SAGA_paying, 0, 940000, false},
        {SAGA_paying, 0, 939999, true},
        {SAGA_paying, 939999, 900000, true},
        {SAGA_committing, 939999, 0, true},
        {SAGA_committing, 940000, 0, false},
        {SAGA_releasing, 0, 0, true},
        {SAGA_reserving_again, 0, 0, true},
        {SAGA_returning, 0, 0, true},
        {SAGA_voiding, 0, 2000000, true},
        {SAGA_refunding, 0, 0, false},
        {SAGA_refunding, -86400000, 0, true},
        {SAGA_ended, 0, 0, false},
        {SAGA_stuck, 0, 0, false},
        {SAGA_STATE_COUNT, 0, 0, false},
        {SAGA_committing, 2000000, 0, false},
    };
    return cr_make_param_array(struct stand, stands, sizeof stands / sizeof stands[0]);
}

ParameterizedTest(struct stand *stand, order_rules, stands_still_when_it_should_have_gone_on)
{
    cr_expect_eq(order_stands(stand->saga, stand->entered_ms, stand->deadline_ms, 60000, 1000000), stand->stands, "state %d since %d",
                 (int)stand->saga, (int)stand->entered_ms);
}

/* --- money --- */

Test(order_rules, totals_add_up)
{
    int64_t total = 0;
    cr_expect_eq(order_total_add(2500, 3, &total), ERR_ok);
    cr_expect_eq(order_total_add(0, 7, &total), ERR_ok);
    cr_expect_eq(total, 7500);
}

Test(order_rules, a_total_that_cannot_be_counted_is_refused_and_changes_nothing)
{
    int64_t total = 1;
    cr_expect_eq(order_total_add(INT64_MAX, 2, &total), ERR_total_overflow);
    cr_expect_eq(order_total_add(LEVEL_MAX, 1, &total), ERR_total_overflow);
    cr_expect_eq(order_total_add(1000000000, 1000000000, &total), ERR_total_overflow);
    cr_expect_eq(total, 1);
    cr_expect_eq(order_total_add(LEVEL_MAX - 1, 1, &total), ERR_ok);
}

Test(order_rules, money_that_went_back_ends_what_waits_for_it_and_gives_up_what_the_kitchen_has_not_begun)
{
    cr_expect_eq(order_trigger_of_refund(SAGA_refunding, SAGA_STATE_COUNT, ORDER_CANCELLED), ON_refunded);
    cr_expect_eq(order_trigger_of_refund(SAGA_stuck, SAGA_refunding, ORDER_CANCELLED), ON_refunded);
    cr_expect_eq(order_trigger_of_refund(SAGA_stuck, SAGA_returning, ORDER_CANCELLED), SAGA_TRIGGER_COUNT, "its units are still away");
    cr_expect_eq(order_trigger_of_refund(SAGA_ended, SAGA_STATE_COUNT, ORDER_RECEIVED), ON_money_gone);
    cr_expect_eq(order_trigger_of_refund(SAGA_committing, SAGA_STATE_COUNT, ORDER_AWAITING_PAYMENT), SAGA_TRIGGER_COUNT,
                 "stock has to answer first");
    for (enum order_status status = ORDER_IN_PREPARATION; status <= ORDER_COMPLETED; status++) {
        cr_expect_eq(order_trigger_of_refund(SAGA_ended, SAGA_STATE_COUNT, status), SAGA_TRIGGER_COUNT);
    }
}
