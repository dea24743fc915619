/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The factory's decisions, without I/O, state or clock.
 *
 *   An alarm is judged by two things. Is it news? It carries how much of the factory's stream stock had applied; when that is
 *   less than the factory's last fact about the product, the alarm describes a shelf without that fact and is passed over. This
 *   is what makes an alarm that was raised twice, or that lay behind in the stream while the refill came, order nothing twice.
 *   And how much is missing? What order_up_to wants beyond available and incoming, but at least what a buyer was refused: a shelf
 *   of 10 that is asked for 50 gets a refill of 50.
 *
 *   Calls to an outside factory end after retry_attempts that went wrong in a row; from then on each is somebody's wish.
 *
 * LIMITS
 *   Bounds are those of the wire (LEVEL_MAX, QUANTITY_MAX): no sum here comes near the end of int64_t.
 */
#include "factory_rules.h"

#include <assert.h>

static const char *const status_names[FACTORY_STATUS_COUNT] = {
    [FACTORY_ORDERED] = "ordered",
    [FACTORY_REQUESTED] = "requested",
    [FACTORY_PRODUCED] = "produced",
    [FACTORY_FAILED] = "failed",
};

const char *
factory_status_name(enum factory_status status)
{
    assert(status < FACTORY_STATUS_COUNT);
    return status_names[status];
}

enum factory_status
factory_status_find(struct slice name)
{
    enum factory_status status = FACTORY_ORDERED;
    while (status < FACTORY_STATUS_COUNT && !slice_equal(name, slice_of(status_names[status]))) {
        status++;
    }
    return status;
}

bool
factory_status_is_open(enum factory_status status)
{
    return status == FACTORY_ORDERED || status == FACTORY_REQUESTED;
}

struct factory_level
factory_level_of_alarm(const struct wire_stock_alarm *alarm)
{
    return (struct factory_level){
        .on_hand = alarm->on_hand,
        .available = alarm->available,
        .incoming = alarm->incoming,
        .order_up_to = alarm->order_up_to,
        .lot = alarm->lot,
        .refused = alarm->refused,
    };
}

struct factory_level
factory_level_of_stock(const struct wire_stock_level *level)
{
    return (struct factory_level){
        .on_hand = level->on_hand,
        .available = level->available,
        .incoming = level->incoming,
        .order_up_to = WIRE_HAS(level, stock_level, order_up_to) ? level->order_up_to : 0,
        .lot = WIRE_HAS(level, stock_level, lot) ? level->lot : 1,
    };
}

static int64_t
smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t
factory_amount(const struct factory_level *level)
{
    assert(level->lot >= 1);
    int64_t missing = level->order_up_to - (level->available + level->incoming);
    int64_t wanted = larger(missing, level->refused);
    int64_t room = LEVEL_MAX - smaller(LEVEL_MAX, level->on_hand + level->incoming);
    if (wanted <= 0) {
        return 0;
    }
    int64_t lots = (wanted - 1) / level->lot + 1;
    return smaller(lots * level->lot, room);
}

bool
factory_alarm_is_stale(int64_t last_seq, const struct wire_stock_alarm *alarm)
{
    return alarm->factory_seq < last_seq;
}

bool
factory_is_accepted(int http_status)
{
    return http_status >= 200 && http_status <= 299;
}

bool
factory_is_refused(int http_status)
{
    /* Under way with the same key, too early: neither is a no. */
    return http_status >= 400 && http_status <= 499 && http_status != 409 && http_status != 425;
}
