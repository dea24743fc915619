/* SPDX-License-Identifier: MPL-2.0 */
/* What a shelf allows, when it calls, what may become of a hold, what a fact of the factory changes. */
#include "stock/stock_rules.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

/* --- units --- */

struct give_case {
    char claim[64];
    int64_t on_hand, reserved, asked, freed;
    err status;
};

static struct give_case give_cases[] = {
    {"the last unit can be given", 1, 0, 1, 0, ERR_ok},
    {"all units can be given", 10, 0, 10, 0, ERR_ok},
    {"one more than there is cannot", 10, 0, 11, 0, ERR_out_of_stock},
    {"nothing can be given from nothing", 0, 0, 1, 0, ERR_out_of_stock},
    {"what is reserved is not there", 10, 4, 7, 0, ERR_out_of_stock},
    {"what is beside the reserved is", 10, 4, 6, 0, ERR_ok},
    {"what the same step frees is there", 10, 4, 10, 4, ERR_ok},
    {"but not more than that", 10, 4, 11, 4, ERR_out_of_stock},
    {"freeing alone always can", 4, 4, 0, 4, ERR_ok},
    {"a thousand of the largest lines", LEVEL_MAX, 0, 1000LL * QUANTITY_MAX, 0, ERR_ok},
    {"the same from a smaller shelf", 1000LL * QUANTITY_MAX - 1, 0, 1000LL * QUANTITY_MAX, 0, ERR_out_of_stock},
};

ParameterizedTestParameters(stock_rules, give)
{
    return cr_make_param_array(struct give_case, give_cases, sizeof give_cases / sizeof *give_cases);
}

ParameterizedTest(struct give_case *row, stock_rules, give)
{
    struct shelf shelf = {.on_hand = row->on_hand, .reserved = row->reserved};
    cr_expect_eq(shelf_can_give(&shelf, row->asked, row->freed), row->status, "%s", row->claim);
}

struct adjust_case {
    char claim[64];
    int64_t on_hand, reserved, delta;
    err status;
};

static struct adjust_case adjust_cases[] = {
    {"more", 3, 0, 5, ERR_ok},
    {"all of it away", 3, 0, -3, ERR_ok},
    {"below nothing", 3, 0, -4, ERR_would_go_negative},
    {"down to what is reserved", 3, 2, -1, ERR_ok},
    {"below what is reserved", 3, 2, -2, ERR_would_go_negative},
    {"up to the end", LEVEL_MAX - 1, 0, 1, ERR_ok},
    {"over the end", LEVEL_MAX, 0, 1, ERR_would_overflow},
    {"far over the end", LEVEL_MAX, LEVEL_MAX, QUANTITY_MAX, ERR_would_overflow},
    {"the largest step down", LEVEL_MAX, 0, -QUANTITY_MAX, ERR_ok},
};

ParameterizedTestParameters(stock_rules, adjust)
{
    return cr_make_param_array(struct adjust_case, adjust_cases, sizeof adjust_cases / sizeof *adjust_cases);
}

ParameterizedTest(struct adjust_case *row, stock_rules, adjust)
{
    struct shelf shelf = {.on_hand = row->on_hand, .reserved = row->reserved};
    cr_expect_eq(shelf_can_adjust(&shelf, row->delta), row->status, "%s", row->claim);
}

struct count_case {
    char claim[64];
    int64_t reserved, version, counted;
    bool has_read;
    int64_t read;
    err status;
};

static struct count_case count_cases[] = {
    {"without a version", 0, 7, 5, false, 0, ERR_ok},
    {"with the right one", 0, 7, 5, true, 7, ERR_ok},
    {"with an older one", 0, 7, 5, true, 6, ERR_version_conflict},
    {"with a newer one", 0, 7, 5, true, 8, ERR_version_conflict},
    {"0 for a product that is not there", 0, 0, 5, true, 0, ERR_ok},
    {"0 for one that is", 0, 1, 5, true, 0, ERR_version_conflict},
    {"nothing on the shelf", 0, 7, 0, false, 0, ERR_ok},
    {"exactly what is reserved", 5, 7, 5, false, 0, ERR_ok},
    {"less than is reserved", 5, 7, 4, false, 0, ERR_would_go_negative},
    {"the version is looked at first", 5, 7, 4, true, 6, ERR_version_conflict},
    {"the fullest shelf", 0, 7, LEVEL_MAX, false, 0, ERR_ok},
    {"more than a shelf can hold", 0, 7, LEVEL_MAX + 1, false, 0, ERR_would_overflow},
};

ParameterizedTestParameters(stock_rules, count)
{
    return cr_make_param_array(struct count_case, count_cases, sizeof count_cases / sizeof *count_cases);
}

ParameterizedTest(struct count_case *row, stock_rules, count)
{
    struct shelf shelf = {.on_hand = 10, .reserved = row->reserved, .version = row->version};
    cr_expect_eq(shelf_can_count(&shelf, row->counted, row->has_read ? &row->read : NULL), row->status, "%s", row->claim);
}

Test(stock_rules, expects_up_to_the_end_and_no_more)
{
    struct shelf shelf = {.incoming = LEVEL_MAX - 5};
    cr_expect_eq(shelf_can_expect(&shelf, 5), ERR_ok);
    cr_expect_eq(shelf_can_expect(&shelf, 6), ERR_would_overflow);
    cr_expect_eq(shelf_can_expect(&shelf, -LEVEL_MAX), ERR_ok);
}

Test(stock_rules, a_line_moves_the_figures_and_raises_the_version_by_one)
{
    struct shelf shelf = {.on_hand = 10, .reserved = 4, .version = 3, .last_move = 17, .incoming = 2};
    shelf_apply(&shelf, -4, -4, 42);
    cr_expect_eq(shelf.on_hand, 6);
    cr_expect_eq(shelf.reserved, 0);
    cr_expect_eq(shelf.version, 4);
    cr_expect_eq(shelf.last_move, 42);
    cr_expect_eq(shelf.incoming, 2);
}

/* --- alarms, as stories --- */

enum deed { END, ADD, TAKE, HOLD, FREE, REFUSE, WAKE, REORDER_AT };

struct step {
    enum deed deed;
    int64_t units;
    enum alarm_news news;
    enum alarm alarm;
    int64_t wanted;
};

struct story {
    char claim[80];
    int64_t on_hand;
    int64_t reorder_at;
    enum alarm alarm;
    struct step steps[10];
};

static struct story stories[] = {
    {"the last unit sold calls once",
     2,
     0,
     ALARM_NONE,
     {{TAKE, 1, NEWS_NOTHING, ALARM_NONE, 0}, {TAKE, 1, NEWS_OUT, ALARM_OUT, 0}, {ADD, 10, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"a refusal of a sold-out shelf is noted, not called",
     1,
     0,
     ALARM_NONE,
     {{TAKE, 1, NEWS_OUT, ALARM_OUT, 0},
      {REFUSE, 3, NEWS_NOTHING, ALARM_OUT, 3},
      {REFUSE, 9, NEWS_NOTHING, ALARM_OUT, 3},
      {ADD, 10, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"low calls once, then out, and out is not low",
     5,
     2,
     ALARM_NONE,
     {{TAKE, 2, NEWS_NOTHING, ALARM_NONE, 0},
      {TAKE, 1, NEWS_LOW, ALARM_LOW, 0},
      {TAKE, 1, NEWS_NOTHING, ALARM_LOW, 0},
      {TAKE, 1, NEWS_OUT, ALARM_OUT, 0}}},
    {"low and out together only say out", 5, 2, ALARM_NONE, {{TAKE, 5, NEWS_OUT, ALARM_OUT, 0}}},
    {"falling from out to low says nothing, being empty again does",
     1,
     2,
     ALARM_LOW,
     {{TAKE, 1, NEWS_OUT, ALARM_OUT, 0},
      {ADD, 2, NEWS_NOTHING, ALARM_LOW, 0},
      {TAKE, 2, NEWS_OUT, ALARM_OUT, 0},
      {ADD, 3, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"10 asked for 50 calls, sold out calls again, 50 ends it",
     10,
     0,
     ALARM_NONE,
     {{REFUSE, 50, NEWS_OUT, ALARM_SHORT, 50},
      {REFUSE, 60, NEWS_NOTHING, ALARM_SHORT, 50},
      {TAKE, 10, NEWS_OUT, ALARM_OUT, 50},
      {REFUSE, 1, NEWS_NOTHING, ALARM_OUT, 50},
      {ADD, 49, NEWS_NOTHING, ALARM_SHORT, 50},
      {ADD, 1, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"short ends as low when the wanted units are few",
     3,
     10,
     ALARM_LOW,
     {{REFUSE, 5, NEWS_OUT, ALARM_SHORT, 5},
      {ADD, 2, NEWS_NOTHING, ALARM_LOW, 0},
      {REFUSE, 6, NEWS_OUT, ALARM_SHORT, 6},
      {ADD, 20, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"an out shelf that was asked for more than came is short",
     0,
     0,
     ALARM_OUT,
     {{REFUSE, 5, NEWS_NOTHING, ALARM_OUT, 5}, {ADD, 3, NEWS_NOTHING, ALARM_SHORT, 5}, {TAKE, 3, NEWS_OUT, ALARM_OUT, 5}}},
    {"what is held is not available",
     3,
     1,
     ALARM_NONE,
     {{HOLD, 2, NEWS_LOW, ALARM_LOW, 0}, {HOLD, 1, NEWS_OUT, ALARM_OUT, 0}, {FREE, 3, NEWS_RESTOCKED, ALARM_NONE, 0}}},
    {"a shelf that never had anything is silent",
     0,
     0,
     ALARM_ASLEEP,
     {{REFUSE, 5, NEWS_NOTHING, ALARM_ASLEEP, 0}, {ADD, 0, NEWS_NOTHING, ALARM_ASLEEP, 0}}},
    {"its first units wake it without news",
     0,
     0,
     ALARM_ASLEEP,
     {{ADD, 3, NEWS_NOTHING, ALARM_NONE, 0}, {TAKE, 3, NEWS_OUT, ALARM_OUT, 0}}},
    {"an empty shelf that is configured calls", 0, 0, ALARM_ASLEEP, {{WAKE, 0, NEWS_OUT, ALARM_OUT, 0}}},
    {"raising reorder_at calls, lowering it ends the call",
     5,
     0,
     ALARM_NONE,
     {{REORDER_AT, 5, NEWS_LOW, ALARM_LOW, 0}, {REORDER_AT, 4, NEWS_RESTOCKED, ALARM_NONE, 0}}},
};

ParameterizedTestParameters(stock_rules, alarm)
{
    return cr_make_param_array(struct story, stories, sizeof stories / sizeof *stories);
}

static enum alarm_news
do_step(struct shelf *shelf, const struct step *step)
{
    bool noted = false;
    switch (step->deed) {
    case ADD:
        shelf->on_hand += step->units;
        break;
    case TAKE:
        shelf->on_hand -= step->units;
        break;
    case HOLD:
        shelf->reserved += step->units;
        break;
    case FREE:
        shelf->reserved -= step->units;
        break;
    case WAKE:
        shelf_wake(shelf);
        break;
    case REORDER_AT:
        shelf->reorder_at = step->units;
        break;
    case REFUSE:
        return shelf_note_refusal(shelf, step->units, &noted);
    case END:
        break;
    }
    return shelf_settle(shelf);
}

ParameterizedTest(struct story *row, stock_rules, alarm)
{
    struct shelf shelf = {.on_hand = row->on_hand, .reorder_at = row->reorder_at, .lot = 1, .alarm = row->alarm};
    for (const struct step *step = row->steps; step->deed != END; step++) {
        int number = (int)(step - row->steps);
        cr_expect_eq(do_step(&shelf, step), step->news, "%s: news of step %d", row->claim, number);
        cr_expect_eq(shelf.alarm, step->alarm, "%s: alarm after step %d", row->claim, number);
        cr_expect_eq(shelf.wanted, step->wanted, "%s: wanted after step %d", row->claim, number);
        cr_expect_null(shelf_fault(&shelf), "%s: after step %d: %s", row->claim, number, shelf_fault(&shelf));
    }
}

Test(stock_rules, only_the_first_refusal_of_an_episode_is_noted)
{
    struct shelf shelf = {.on_hand = 3, .lot = 1, .alarm = ALARM_NONE};
    bool noted = false;
    shelf_note_refusal(&shelf, 5, &noted);
    cr_expect(noted);
    shelf_note_refusal(&shelf, 7, &noted);
    cr_expect_not(noted);
    shelf.on_hand = 5;
    shelf_settle(&shelf);
    shelf_note_refusal(&shelf, 6, &noted);
    cr_expect(noted, "as much was there: another episode");
}

struct repeat_case {
    char claim[64];
    enum alarm alarm;
    int64_t incoming;
    enum alarm_news news;
    bool again;
};

static struct repeat_case repeat_cases[] = {
    {"no alarm, no repeat", ALARM_NONE, 0, NEWS_NOTHING, false},
    {"asleep, no repeat", ALARM_ASLEEP, 0, NEWS_NOTHING, false},
    {"low again", ALARM_LOW, 0, NEWS_LOW, true},
    {"short is out again", ALARM_SHORT, 0, NEWS_OUT, true},
    {"out again", ALARM_OUT, 0, NEWS_OUT, true},
    {"silent while something comes, but looked at again", ALARM_OUT, 1, NEWS_NOTHING, true},
    {"no alarm any more, something comes", ALARM_NONE, 1, NEWS_NOTHING, false},
};

ParameterizedTestParameters(stock_rules, repeat)
{
    return cr_make_param_array(struct repeat_case, repeat_cases, sizeof repeat_cases / sizeof *repeat_cases);
}

ParameterizedTest(struct repeat_case *row, stock_rules, repeat)
{
    struct shelf shelf = {.alarm = row->alarm, .incoming = row->incoming};
    bool again = !row->again;
    cr_expect_eq(shelf_repeat(&shelf, &again), row->news, "%s", row->claim);
    cr_expect_eq(again, row->again, "%s", row->claim);
}

struct fault_case {
    char claim[64];
    struct shelf shelf;
    bool is_sound;
};

static struct fault_case fault_cases[] = {
    {"a new shelf", {.lot = 1}, true},
    {"negative on hand", {.on_hand = -1, .lot = 1}, false},
    {"negative reserved", {.on_hand = 1, .reserved = -1, .lot = 1, .alarm = ALARM_NONE}, false},
    {"more reserved than on hand", {.on_hand = 1, .reserved = 2, .lot = 1, .alarm = ALARM_NONE}, false},
    {"negative incoming", {.incoming = -1, .lot = 1}, false},
    {"too much", {.on_hand = LEVEL_MAX + 1, .lot = 1, .alarm = ALARM_NONE}, false},
    {"no lot", {.lot = 0}, false},
    {"asleep with units", {.on_hand = 1, .lot = 1}, false},
    {"silent though empty", {.lot = 1, .alarm = ALARM_NONE}, false},
    {"calling though full", {.on_hand = 5, .lot = 1, .alarm = ALARM_OUT}, false},
    {"wanting what is there", {.on_hand = 5, .lot = 1, .alarm = ALARM_NONE, .wanted = 3}, false},
    {"short of what is wanted", {.on_hand = 5, .lot = 1, .alarm = ALARM_SHORT, .wanted = 6}, true},
};

ParameterizedTestParameters(stock_rules, fault)
{
    return cr_make_param_array(struct fault_case, fault_cases, sizeof fault_cases / sizeof *fault_cases);
}

ParameterizedTest(struct fault_case *row, stock_rules, fault)
{
    cr_expect_eq(shelf_fault(&row->shelf) == NULL, row->is_sound, "%s", row->claim);
}

/* --- holds --- */

struct hold_case {
    char claim[64];
    enum hold_state state;
    int64_t expires_ms;
    err go_on;
    err release;
    err take_back;
};

static struct hold_case hold_cases[] = {
    {"open", HOLD_OPEN, 1001, ERR_ok, ERR_ok, ERR_hold_closed},
    {"open, its time just over", HOLD_OPEN, 1000, ERR_hold_expired, ERR_ok, ERR_hold_closed},
    {"expired", HOLD_EXPIRED, 1001, ERR_hold_expired, ERR_ok, ERR_hold_closed},
    {"released", HOLD_RELEASED, 1001, ERR_hold_closed, ERR_ok, ERR_hold_closed},
    {"released, its time over", HOLD_RELEASED, 1, ERR_hold_closed, ERR_ok, ERR_hold_closed},
    {"committed", HOLD_COMMITTED, 1001, ERR_hold_closed, ERR_hold_closed, ERR_ok},
    {"committed, its time over", HOLD_COMMITTED, 1, ERR_hold_closed, ERR_hold_closed, ERR_ok},
    {"returned", HOLD_RETURNED, 1001, ERR_hold_closed, ERR_hold_closed, ERR_ok},
};

ParameterizedTestParameters(stock_rules, hold)
{
    return cr_make_param_array(struct hold_case, hold_cases, sizeof hold_cases / sizeof *hold_cases);
}

ParameterizedTest(struct hold_case *row, stock_rules, hold)
{
    cr_expect_eq(hold_can_go_on(row->state, row->expires_ms, 1000), row->go_on, "%s: go on", row->claim);
    cr_expect_eq(hold_can_release(row->state), row->release, "%s: release", row->claim);
    cr_expect_eq(hold_can_return(row->state), row->take_back, "%s: return", row->claim);
}

Test(stock_rules, words_of_states_are_found_again)
{
    for (enum hold_state state = HOLD_OPEN; state < HOLD_STATE_COUNT; state++) {
        cr_expect_eq(hold_state_find(slice_of(hold_state_word(state))), state);
    }
    for (enum production_state state = PRODUCTION_UNKNOWN; state < PRODUCTION_STATE_COUNT; state++) {
        cr_expect_eq(production_state_find(slice_of(production_state_word(state))), state);
    }
    cr_expect_eq(hold_state_find(slice_of("opened")), HOLD_STATE_COUNT);
    cr_expect_eq(production_state_find(slice_of("")), PRODUCTION_STATE_COUNT);
}

/* --- productions --- */

struct production_case {
    char claim[64];
    enum production_state told[4]; /* until PRODUCTION_UNKNOWN */
    int64_t incoming;
    int64_t on_hand;
};

static struct production_case production_cases[] = {
    {"ordered", {PRODUCTION_ORDERED}, 10, 0},
    {"ordered twice", {PRODUCTION_ORDERED, PRODUCTION_ORDERED}, 10, 0},
    {"ordered and produced", {PRODUCTION_ORDERED, PRODUCTION_PRODUCED}, 0, 10},
    {"produced twice", {PRODUCTION_ORDERED, PRODUCTION_PRODUCED, PRODUCTION_PRODUCED}, 0, 10},
    {"produced without an order", {PRODUCTION_PRODUCED}, 0, 10},
    {"ordered behind its end", {PRODUCTION_PRODUCED, PRODUCTION_ORDERED}, 0, 10},
    {"failed", {PRODUCTION_ORDERED, PRODUCTION_FAILED}, 0, 0},
    {"failed twice", {PRODUCTION_ORDERED, PRODUCTION_FAILED, PRODUCTION_FAILED}, 0, 0},
    {"ordered behind its failure", {PRODUCTION_FAILED, PRODUCTION_ORDERED}, 0, 0},
    {"came in spite of its failure", {PRODUCTION_ORDERED, PRODUCTION_FAILED, PRODUCTION_PRODUCED}, 0, 10},
    {"failed after it came", {PRODUCTION_ORDERED, PRODUCTION_PRODUCED, PRODUCTION_FAILED}, 0, 10},
};

ParameterizedTestParameters(stock_rules, production)
{
    return cr_make_param_array(struct production_case, production_cases, sizeof production_cases / sizeof *production_cases);
}

ParameterizedTest(struct production_case *row, stock_rules, production)
{
    enum production_state state = PRODUCTION_UNKNOWN;
    int64_t incoming = 0;
    int64_t on_hand = 0;
    for (int i = 0; i < 4 && row->told[i] != PRODUCTION_UNKNOWN; i++) {
        struct production_step step = production_step(state, 10, row->told[i], 10);
        state = step.next;
        incoming += step.incoming_delta;
        on_hand += step.delta;
    }
    cr_expect_eq(incoming, row->incoming, "%s: %lld incoming", row->claim, (long long)incoming);
    cr_expect_eq(on_hand, row->on_hand, "%s: %lld on hand", row->claim, (long long)on_hand);
}

Test(stock_rules, a_production_that_brings_less_than_ordered_is_no_longer_on_its_way)
{
    struct production_step step = production_step(PRODUCTION_ORDERED, 10, PRODUCTION_PRODUCED, 7);
    cr_expect_eq(step.incoming_delta, -10);
    cr_expect_eq(step.delta, 7);
}
