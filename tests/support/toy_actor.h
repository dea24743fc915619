/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A toy actor for tests of the kit: counters under the name and with the operations of `stock`, each change a line of its own.
 *
 *   stock.adjust   total += delta; refused (would_go_negative) when that would be below 0. Emits stock.low (durable) and
 *                  stock.changed. The reason says what else:
 *                    free    the rule is left out, so that the table's CHECK refuses a negative total
 *                    gate    waits inside the handler until the test opens the gate
 *                    later   nothing now: a due row of the product, due after `delta` ms, adds 1
 *                    cancel  takes that due row away
 *                    ask     asks factory.get first, until the request's own deadline; the answer waits for it
 *                    work    does so after work of nothing beside the actor; the answer waits for it
 *                    mute    says nothing at all
 *                    never   nothing now: a due row of the product that was given up; it adds 1 when somebody asks for it
 *                    bury    nothing now: a letter about the product; `settle` says that it is finished after all
 *                    full    the disk is full, until the class has made room
 *                    kills   ends the process, until toy_heal()
 *                    unsaid  as usual, but its answer is out of bounds
 *                    hidden  as usual, and emits an event that is out of bounds
 *   stock.get      the total; unknown_product when there is none; of `unsaid` it is out of bounds
 *   factory.produced (event): total += quantity. Of products that begin with `poison` it is refused (internal) until toy_heal(), of
 * `away` (unavailable) until then, of `breaks` it violates the CHECK, of `kills` it ends the process until toy_heal(). due row adds 1;
 * that of `kills` ends the process until toy_heal(), that of `hidden` emits until then what cannot be said
 * The outcome of an ask or of work about `stubborn` violates the CHECK until toy_heal(), whatever it is.
 *
 * Its tables: $tally (product, total) and $entry (n, request, product, delta); a request that was done twice has two entries.
 */
#ifndef LARDER_TESTS_TOY_ACTOR_H
#define LARDER_TESTS_TOY_ACTOR_H

#include "kit/actor.h"

/* How a process ends that was killed. */
#define TOY_KILLED 9

/* Keeps no ids itself: the kit stores the answers. */
extern const struct actor_class toy_class;

/* The same, and it watches: HEADs are counted. */
extern const struct actor_class toy_watching_class;

struct toy_heads {
    int64_t count;       /* of factory/0, since the start */
    int64_t seq;         /* of the last one, by its header */
    int64_t head;        /* and by its body */
    int64_t most;        /* of one source in a batch */
    int64_t other_count; /* of other sources */
};

struct toy_heads
toy_heads_seen(void);

/* Waits until the handler is inside the gate; fails after 10 s. */
void
toy_await_gate(void);
void
toy_open_gate(void);

/* From here on `poison`, `away`, `kills` and `stubborn` are fine. */
void
toy_heal(void);

/* How often an outcome about `stubborn` was handled in vain. */
int
toy_stubborn(void);

#endif
