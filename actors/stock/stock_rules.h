/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The decisions of stock, without any input or output: what a shelf allows, when it calls for attention, what may become of a
 * hold, what a fact of the factory changes.
 *
 * The alarm of a shelf is a state, not a moment:
 *
 *     ASLEEP  never had units nor was configured: says nothing
 *     NONE    more than reorder_at is available
 *     LOW     at or below reorder_at
 *     SHORT   something is available, but less than somebody asked for and was refused (`wanted`)
 *     OUT     nothing is available
 *
 * Each rise is news once: to LOW stock.low, to SHORT or OUT stock.out; a shelf that is both low and out only says out. Falling
 * says nothing until it is back at NONE, which is stock.restocked. `wanted` is the first quantity that was refused and cannot be
 * met yet: it makes the shelf SHORT as soon as anything is available, and is forgotten when as much is there. So a shelf of 10
 * that was asked for 50 calls until it has 50, also when it is sold out in between, which is a rise of its own.
 */
#ifndef LARDER_STOCK_RULES_H
#define LARDER_STOCK_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "wire.h"

/* The numbers are stored. */
enum alarm { ALARM_ASLEEP = 0, ALARM_NONE = 1, ALARM_LOW = 2, ALARM_SHORT = 3, ALARM_OUT = 4 };

enum alarm_news { NEWS_NOTHING, NEWS_LOW, NEWS_OUT, NEWS_RESTOCKED };

/* The figures of one product. 0 <= reserved <= on_hand <= LEVEL_MAX. */
struct shelf {
    int64_t on_hand;
    int64_t reserved;
    int64_t incoming;  /* units of open productions */
    int64_t version;   /* number of lines in its ledger */
    int64_t last_move; /* number of the newest of them; 0 for none */
    int64_t wanted;
    int64_t reorder_at;
    int64_t order_up_to;
    int64_t lot;
    enum alarm alarm;
};

#define SHELF_NEW ((struct shelf){.lot = 1, .alarm = ALARM_ASLEEP})

static inline int64_t
shelf_available(const struct shelf *shelf)
{
    return shelf->on_hand - shelf->reserved;
}

/* Whether `asked` units may leave or be held. `freed` units are given back by the same step. ERR_out_of_stock. */
MUST_CHECK err
shelf_can_give(const struct shelf *shelf, int64_t asked, int64_t freed);

/* Whether on_hand may change by `delta`. ERR_would_go_negative (also below what is reserved), ERR_would_overflow. */
MUST_CHECK err
shelf_can_adjust(const struct shelf *shelf, int64_t delta);

/* Whether on_hand may become `counted`; `version` is the one that the counter had read, or NULL. ERR_version_conflict,
 * ERR_would_go_negative (below what is reserved), ERR_would_overflow. */
MUST_CHECK err
shelf_can_count(const struct shelf *shelf, int64_t counted, const int64_t *version);

/* Whether `quantity` more may be on their way. ERR_would_overflow. */
MUST_CHECK err
shelf_can_expect(const struct shelf *shelf, int64_t quantity);

/* Whether the figures stay what a shelf can have. Every decision is such that they do, unless rows were changed by hand. */
bool
shelf_can_apply(const struct shelf *shelf, int64_t delta, int64_t reserved_delta);

/* Applies one line of the ledger, of which `move` is the number. It can be applied. */
void
shelf_apply(struct shelf *shelf, int64_t delta, int64_t reserved_delta, int64_t move);

/* A configuration makes a shelf call for attention even before it first has units. */
void
shelf_wake(struct shelf *shelf);

/* Recomputes the alarm after the figures changed. */
enum alarm_news
shelf_settle(struct shelf *shelf);

/* Takes note that `asked` units, more than are available, were refused. `noted` tells whether anything changed: only the first
 * refusal of an episode does, everything after it is answered without writing. */
enum alarm_news
shelf_note_refusal(struct shelf *shelf, int64_t asked, bool *noted);

/* What to say when the alarm has stood for a while: nothing as long as units are on their way. `again` tells whether to look
 * again later. */
enum alarm_news
shelf_repeat(const struct shelf *shelf, bool *again);

/* What is wrong with these figures in themselves, as words for a person; NULL when nothing is. */
const char *
shelf_fault(const struct shelf *shelf);

/* --- holds --- */

enum hold_state { HOLD_OPEN, HOLD_COMMITTED, HOLD_RELEASED, HOLD_EXPIRED, HOLD_RETURNED, HOLD_STATE_COUNT };

/* How the state is stored. */
const char *
hold_state_word(enum hold_state state);

/* HOLD_STATE_COUNT when there is none of that word. */
enum hold_state
hold_state_find(struct slice word);

/* Whether the hold may be committed or extended. An open one whose time is over counts as ended, though its units are still to be
 * put back. ERR_hold_expired, ERR_hold_closed. */
MUST_CHECK err
hold_can_go_on(enum hold_state state, int64_t expires_ms, int64_t now_ms);

/* Whether the hold may be given back; giving back what is back already is fine and changes nothing. ERR_hold_closed when its units
 * have left, also when they came back after that: it was a sale. */
MUST_CHECK err
hold_can_release(enum hold_state state);

/* Whether the units of the hold, which have left, may come back; once they have, it is fine and changes nothing. ERR_hold_closed when
 * they have not left. */
MUST_CHECK err
hold_can_return(enum hold_state state);

/* --- facts of the factory --- */

enum production_state { PRODUCTION_UNKNOWN, PRODUCTION_ORDERED, PRODUCTION_FAILED, PRODUCTION_PRODUCED, PRODUCTION_STATE_COUNT };

const char *
production_state_word(enum production_state state);

/* PRODUCTION_STATE_COUNT when there is none of that word. */
enum production_state
production_state_find(struct slice word);

struct production_step {
    enum production_state next;
    int64_t incoming_delta;
    int64_t delta; /* of on_hand */
};

/* What the fact `told` (ORDERED, FAILED or PRODUCED) of `quantity` units changes, when `state` and, if it is ORDERED,
 * `ordered` units are what is known of that production. Each fact counts once, whatever is repeated or comes late. */
struct production_step
production_step(enum production_state state, int64_t ordered, enum production_state told, int64_t quantity);

#endif
