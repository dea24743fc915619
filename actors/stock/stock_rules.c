/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What a shelf allows, when it calls for attention, what may become of a hold, what a fact of the factory changes.
 *           Pure functions over plain values: everything that decides about units stands here and nowhere else.
 * FAILURES  A refusal is returned as the code that the asker gets. Figures that cannot be (reserved above on_hand) are asked for
 *           first: to apply them is our own bug and asserts.
 * LIMITS    LEVEL_MAX units on a shelf, as many on their way.
 */
#include "stock_rules.h"

#include <assert.h>
#include <stddef.h>

err
shelf_can_give(const struct shelf *shelf, int64_t asked, int64_t freed)
{
    return asked - freed <= shelf_available(shelf) ? ERR_ok : ERR_out_of_stock;
}

err
shelf_can_adjust(const struct shelf *shelf, int64_t delta)
{
    if (delta > LEVEL_MAX - shelf->on_hand) {
        return ERR_would_overflow;
    }
    return delta < -shelf_available(shelf) ? ERR_would_go_negative : ERR_ok;
}

err
shelf_can_count(const struct shelf *shelf, int64_t counted, const int64_t *version)
{
    if (version != NULL && *version != shelf->version) {
        return ERR_version_conflict;
    }
    if (counted > LEVEL_MAX) {
        return ERR_would_overflow;
    }
    return counted < shelf->reserved ? ERR_would_go_negative : ERR_ok;
}

err
shelf_can_expect(const struct shelf *shelf, int64_t quantity)
{
    return quantity > LEVEL_MAX - shelf->incoming ? ERR_would_overflow : ERR_ok;
}

bool
shelf_can_apply(const struct shelf *shelf, int64_t delta, int64_t reserved_delta)
{
    int64_t on_hand = 0;
    int64_t reserved = 0;
    return !__builtin_add_overflow(shelf->on_hand, delta, &on_hand) &&
           !__builtin_add_overflow(shelf->reserved, reserved_delta, &reserved) && reserved >= 0 && reserved <= on_hand &&
           on_hand <= LEVEL_MAX;
}

void
shelf_apply(struct shelf *shelf, int64_t delta, int64_t reserved_delta, int64_t move)
{
    shelf->on_hand += delta;
    shelf->reserved += reserved_delta;
    shelf->version++;
    shelf->last_move = move;
    assert(shelf->reserved >= 0 && shelf->reserved <= shelf->on_hand && shelf->on_hand <= LEVEL_MAX);
}

void
shelf_wake(struct shelf *shelf)
{
    if (shelf->alarm == ALARM_ASLEEP) {
        shelf->alarm = ALARM_NONE;
    }
}

static enum alarm
alarm_of(const struct shelf *shelf)
{
    int64_t available = shelf_available(shelf);
    if (available == 0) {
        return ALARM_OUT;
    }
    if (available < shelf->wanted) {
        return ALARM_SHORT;
    }
    return available <= shelf->reorder_at ? ALARM_LOW : ALARM_NONE;
}

enum alarm_news
shelf_settle(struct shelf *shelf)
{
    if (shelf->alarm == ALARM_ASLEEP && shelf->on_hand == 0) {
        return NEWS_NOTHING;
    }
    shelf_wake(shelf);
    enum alarm before = shelf->alarm;
    shelf->alarm = alarm_of(shelf);
    if (shelf->alarm < ALARM_SHORT) {
        shelf->wanted = 0;
    }
    if (shelf->alarm > before) {
        return shelf->alarm == ALARM_LOW ? NEWS_LOW : NEWS_OUT;
    }
    return shelf->alarm == ALARM_NONE && before != ALARM_NONE ? NEWS_RESTOCKED : NEWS_NOTHING;
}

enum alarm_news
shelf_note_refusal(struct shelf *shelf, int64_t asked, bool *noted)
{
    *noted = shelf->alarm != ALARM_ASLEEP && shelf->wanted == 0;
    if (!*noted) {
        return NEWS_NOTHING;
    }
    shelf->wanted = asked;
    enum alarm before = shelf->alarm;
    shelf->alarm = alarm_of(shelf);
    return shelf->alarm > before ? NEWS_OUT : NEWS_NOTHING;
}

enum alarm_news
shelf_repeat(const struct shelf *shelf, bool *again)
{
    *again = shelf->alarm >= ALARM_LOW;
    if (!*again || shelf->incoming > 0) {
        return NEWS_NOTHING;
    }
    return shelf->alarm == ALARM_LOW ? NEWS_LOW : NEWS_OUT;
}

const char *
shelf_fault(const struct shelf *shelf)
{
    if (shelf->on_hand < 0 || shelf->reserved < 0 || shelf->incoming < 0) {
        return "a figure is negative";
    }
    if (shelf->reserved > shelf->on_hand) {
        return "more is reserved than is on hand";
    }
    if (shelf->on_hand > LEVEL_MAX || shelf->incoming > LEVEL_MAX) {
        return "a figure is larger than a shelf can be";
    }
    if (shelf->lot < 1 || shelf->reorder_at < 0 || shelf->order_up_to < 0 || shelf->wanted < 0) {
        return "its configuration is out of bounds";
    }
    if (shelf->alarm == ALARM_ASLEEP) {
        return shelf->on_hand > 0 || shelf->wanted > 0 ? "its alarm is asleep though it has had units" : NULL;
    }
    if (shelf->alarm != alarm_of(shelf)) {
        return "its alarm is not what its figures say";
    }
    return shelf->alarm < ALARM_SHORT && shelf->wanted > 0 ? "its alarm keeps a refusal that can be met" : NULL;
}

static const char *const hold_words[HOLD_STATE_COUNT] = {
    [HOLD_OPEN] = "open",       [HOLD_COMMITTED] = "committed", [HOLD_RELEASED] = "released",
    [HOLD_EXPIRED] = "expired", [HOLD_RETURNED] = "returned",
};

const char *
hold_state_word(enum hold_state state)
{
    return hold_words[state];
}

enum hold_state
hold_state_find(struct slice word)
{
    enum hold_state state = HOLD_OPEN;
    while (state < HOLD_STATE_COUNT && !slice_equal(word, slice_of(hold_words[state]))) {
        state++;
    }
    return state;
}

err
hold_can_go_on(enum hold_state state, int64_t expires_ms, int64_t now_ms)
{
    if (state == HOLD_EXPIRED) {
        return ERR_hold_expired;
    }
    if (state != HOLD_OPEN) {
        return ERR_hold_closed;
    }
    return expires_ms <= now_ms ? ERR_hold_expired : ERR_ok;
}

err
hold_can_release(enum hold_state state)
{
    return state == HOLD_COMMITTED || state == HOLD_RETURNED ? ERR_hold_closed : ERR_ok;
}

err
hold_can_return(enum hold_state state)
{
    return state == HOLD_COMMITTED || state == HOLD_RETURNED ? ERR_ok : ERR_hold_closed;
}

static const char *const production_words[PRODUCTION_STATE_COUNT] = {
    [PRODUCTION_UNKNOWN] = "unknown",
    [PRODUCTION_ORDERED] = "ordered",
    [PRODUCTION_FAILED] = "failed",
    [PRODUCTION_PRODUCED] = "produced",
};

const char *
production_state_word(enum production_state state)
{
    return production_words[state];
}

enum production_state
production_state_find(struct slice word)
{
    enum production_state state = PRODUCTION_UNKNOWN;
    while (state < PRODUCTION_STATE_COUNT && !slice_equal(word, slice_of(production_words[state]))) {
        state++;
    }
    return state;
}

struct production_step
production_step(enum production_state state, int64_t ordered, enum production_state told, int64_t quantity)
{
    struct production_step step = {.next = state};
    /* Facts only go forward: a failure that is told after all and a product that comes in spite of it are both true, an order
     * that is told behind its own end is not news. */
    if (told <= state) {
        return step;
    }
    step.next = told;
    if (state == PRODUCTION_ORDERED) {
        step.incoming_delta = -ordered;
    }
    if (told == PRODUCTION_ORDERED) {
        step.incoming_delta = quantity;
    }
    if (told == PRODUCTION_PRODUCED) {
        step.delta = quantity;
    }
    return step;
}
