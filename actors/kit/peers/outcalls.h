/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The outside calls of an actor, between its batches and outbound.h: how many may begin (party.h), how those that ended are judged,
 * and what is told of the party: a letter while it is down or refuses us, metrics, a line in the log when that changes.
 *
 * A call that has no room waits as its own due row, in the order in which it came (DUE_TURN in due_rows.h): nothing of it is in
 * memory, no time of it runs, and a process that ends loses nothing.
 */
#ifndef LARDER_KIT_OUTCALLS_H
#define LARDER_KIT_OUTCALLS_H

#include "kit/durable/burials.h"
#include "kit/durable/due_rows.h"
#include "outbound.h"
#include "party.h"

/* Owner of the due row behind the letter about the party; its key is the party's name. */
#define OUTCALLS_OWNER "party"

struct outcalls;
struct settings;

/* `name` is the party's, for people: that of the actor that calls it. It must live as long. */
struct outcalls *
outcalls_create(const char *name, const struct settings *settings);
void
outcalls_destroy(struct outcalls **outcalls);

/* Whether a letter about the party is open from before. */
MUST_CHECK err
outcalls_load(struct outcalls *outcalls, struct due_rows *due_rows, struct arena *arena);

/* An epoll descriptor that is readable when outcalls_next() has something. */
int
outcalls_fd(const struct outcalls *outcalls);

/* How many calls may begin now; of those that wait, and of others only when none waits. */
int
outcalls_room(const struct outcalls *outcalls);

/* UTC milliseconds when calls that wait may go on though nothing ends; INT64_MAX for never. */
int64_t
outcalls_next_ms(const struct outcalls *outcalls, int64_t now_ms);

/* Begins it, or keeps it ready for as long as calls are quick: then what ends makes room at once, and not behind the next commit. */
void
outcalls_start(struct outcalls *outcalls, const struct outbound_call *call);

/* One that has ended, judged. */
bool
outcalls_next(struct outcalls *outcalls, struct outbound_result *result, enum call_blame *blame);

/* Somebody asks for the party to be tried. False: it is not down, there is no row. */
bool
outcalls_probe(struct outcalls *outcalls);

/* When another call was answered well last, UTC milliseconds; 0: not since the process started. */
int64_t
outcalls_good_ms(const struct outcalls *outcalls);
/* The clock was set by so much. */
void
outcalls_retime(struct outcalls *outcalls, int64_t by_ms);

/* False while calls are held; then `why` says what is wrong with the party. */
bool
outcalls_is_up(const struct outcalls *outcalls, struct slice *why);

/* --- inside a batch --- */

/* Whether the letter has to be written in a batch of its own. */
bool
outcalls_is_due(const struct outcalls *outcalls);

/* Opens, renews or closes the letter about the party. */
void
outcalls_write(struct outcalls *outcalls, struct due_rows *due_rows, struct burials *burials, struct arena *arena, int64_t now_ms);
void
outcalls_committed(struct outcalls *outcalls);

/* Once a second. `waiting` calls wait for their turn. */
void
outcalls_measure(struct outcalls *outcalls, int64_t waiting);

#endif
