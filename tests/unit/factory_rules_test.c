/* SPDX-License-Identifier: MPL-2.0 */
/* Whether, how much and when to produce. */
#include "factory/factory_rules.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "shared/outcall.h"

#define LOT_MAX QUANTITY_MAX

struct amount_case {
    char claim[64];
    struct factory_level level;
    int64_t amount;
};

static struct amount_case amount_cases[] = {
    {"up to the target", {.order_up_to = 10, .lot = 1}, 10},
    {"what is there counts", {.on_hand = 4, .available = 4, .order_up_to = 10, .lot = 1}, 6},
    {"what is held does not", {.on_hand = 4, .available = 1, .order_up_to = 10, .lot = 1}, 9},
    {"what is on its way counts", {.available = 1, .on_hand = 1, .incoming = 4, .order_up_to = 10, .lot = 1}, 5},
    {"a full shelf wants nothing", {.available = 10, .on_hand = 10, .order_up_to = 10, .lot = 1}, 0},
    {"an overfull shelf wants nothing", {.available = 12, .on_hand = 12, .order_up_to = 10, .lot = 5}, 0},
    {"no target, nobody refused", {.order_up_to = 0, .lot = 1}, 0},
    {"no target, somebody refused", {.order_up_to = 0, .lot = 1, .refused = 7}, 7},
    {"a shelf of 10 asked for 50", {.available = 10, .on_hand = 10, .order_up_to = 10, .lot = 1, .refused = 50}, 50},
    {"the target is more than was refused", {.order_up_to = 100, .lot = 1, .refused = 50}, 100},
    {"rounded up to the lot", {.order_up_to = 10, .lot = 12}, 12},
    {"a whole lot stays", {.order_up_to = 24, .lot = 12}, 24},
    {"one over a lot", {.order_up_to = 25, .lot = 12}, 36},
    {"refused, rounded up", {.order_up_to = 0, .lot = 20, .refused = 50}, 60},
    {"the largest target", {.order_up_to = LEVEL_MAX, .lot = 1}, LEVEL_MAX},
    {"the largest target and lot", {.order_up_to = LEVEL_MAX, .lot = LOT_MAX}, LEVEL_MAX},
    {"a lot that would go over the end is cut", {.order_up_to = LEVEL_MAX, .lot = 999999999}, LEVEL_MAX},
    {"the shelf can count no more", {.available = 0, .on_hand = LEVEL_MAX, .order_up_to = LEVEL_MAX, .lot = 1}, 0},
    {"room for one", {.available = 0, .on_hand = LEVEL_MAX - 1, .order_up_to = 10, .lot = 10}, 1},
    {"all at their ends",
     {.available = LEVEL_MAX,
      .on_hand = LEVEL_MAX,
      .incoming = LEVEL_MAX,
      .order_up_to = LEVEL_MAX,
      .lot = LOT_MAX,
      .refused = LEVEL_MAX},
     0},
};

ParameterizedTestParameters(factory_rules, amount)
{
    return cr_make_param_array(struct amount_case, amount_cases, sizeof amount_cases / sizeof *amount_cases);
}

ParameterizedTest(struct amount_case *row, factory_rules, amount)
{
    int64_t amount = factory_amount(&row->level);
    cr_expect_eq(amount, row->amount, "%s: %lld", row->claim, (long long)amount);
}

Test(factory_rules, an_alarm_is_stale_until_stock_has_the_last_fact)
{
    struct wire_stock_alarm alarm = {.factory_seq = 7};
    cr_expect(factory_alarm_is_stale(8, &alarm));
    cr_expect_not(factory_alarm_is_stale(7, &alarm));
    cr_expect_not(factory_alarm_is_stale(6, &alarm));
    cr_expect_not(factory_alarm_is_stale(0, &alarm));
}

Test(factory_rules, a_level_takes_what_the_answer_leaves_out_as_nothing)
{
    struct wire_stock_level bare = {.available = 3, .on_hand = 4, .incoming = 2, .order_up_to = 99, .lot = 99};
    struct factory_level level = factory_level_of_stock(&bare);
    cr_expect_eq(level.order_up_to, 0);
    cr_expect_eq(level.lot, 1);
    cr_expect_eq(level.available, 3);
    cr_expect_eq(level.refused, 0);
    cr_expect_eq(factory_amount(&level), 0);
}

Test(factory_rules, status_names_are_found_again)
{
    for (enum factory_status status = FACTORY_ORDERED; status < FACTORY_STATUS_COUNT; status++) {
        cr_expect_eq(factory_status_find(slice_of(factory_status_name(status))), status);
    }
    cr_expect_eq(factory_status_find(slice_of("Ordered")), FACTORY_STATUS_COUNT);
    cr_expect_eq(factory_status_find(slice_of("")), FACTORY_STATUS_COUNT);
}

Test(factory_rules, only_what_is_still_to_come_is_open)
{
    cr_expect(factory_status_is_open(FACTORY_ORDERED));
    cr_expect(factory_status_is_open(FACTORY_REQUESTED));
    cr_expect_not(factory_status_is_open(FACTORY_PRODUCED));
    cr_expect_not(factory_status_is_open(FACTORY_FAILED));
}

Test(factory_rules, only_2xx_is_accepted)
{
    static const int refused[] = {0, 100, 199, 300, 302, 400, 404, 429, 500, 503};
    cr_expect(factory_is_accepted(200) && factory_is_accepted(201) && factory_is_accepted(299));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        cr_expect_not(factory_is_accepted(refused[i]), "status %d", refused[i]);
    }
}

static int64_t
patience_ms(int64_t accepted, int64_t call_timeout_ms, uint32_t random)
{
    struct retry patience = {call_timeout_ms * FACTORY_PATIENCE_CALLS, FACTORY_PATIENCE_MAX_MS, INT64_MAX};
    return outcall_spread_ms(outcall_patience_ms(&patience, accepted), random);
}

Test(factory_rules, patience_doubles_up_to_an_hour)
{
    cr_expect_eq(patience_ms(1, 5000, 0), 50000);
    cr_expect_eq(patience_ms(2, 5000, 0), 100000);
    cr_expect_eq(patience_ms(3, 5000, 0), 200000);
    cr_expect_eq(patience_ms(20, 5000, 0), 3600000);
    cr_expect_eq(patience_ms(INT64_MAX, 60000, 0), 3600000);
    cr_expect_eq(patience_ms(0, 5000, 0), 50000);
    cr_expect_eq(patience_ms(1, 5000, 12500), 62500);
    cr_expect_eq(patience_ms(1, 5000, 12501), 50000);
}
