/* SPDX-License-Identifier: MPL-2.0 */
/* What an actor is to the kit: its name, its tables, and what it is asked to do. The loop calls it (kit/actor.h). */
#ifndef LARDER_KIT_ACTOR_CLASS_H
#define LARDER_KIT_ACTOR_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct actor;
struct batch;
struct db_step;
struct due_row;
struct retiming;

struct actor_class {
    const char *name;            /* "stock"; its port and shards are in topology.def */
    const struct db_step *steps; /* its own schema, numbered from 100; NULL: it keeps nothing and has no database */
    size_t step_count;
    bool makes_calls;         /* wants batch_call(); all calls go to one party, and bear the class's name */
    bool erases;              /* what it deletes must not stay in its files, see db_scrub() */
    int works_max;            /* wants batch_work(), so many under way at the most */
    bool watches;             /* hears the HEAD of every other actor, as ITEM_HEAD; the latest of each source in a batch */
    const char *const *peers; /* the actors that it asks, NULL at the end; connected at start. May be NULL */

    /* Makes the state; the shard is taken and the schema applied. Called again after close() when the shard had to be taken anew. */
    err (*open)(struct actor *actor, void **state, struct err_text *why);
    void (*close)(void **state);

    /* Handles all items. Returns other than ERR_OK only for a failure of the database, after which everything is rolled back. */
    err (*handle)(void *state, struct batch *batch);

    /* The batch is on disk: take the copy over. Must not fail. May be NULL. */
    void (*committed)(void *state);

    /* The batch was rolled back: drop the copy. May be NULL. */
    void (*dropped)(void *state);

    /* Looks up what the ids of requests stand for (those for which batch_is_looked_up() says so): one read for all, then
     * item_replay() for each that was done or refused before. NULL: the kit keeps the answers of all writing requests itself, in
     * its own table, under their ids. */
    err (*recall)(void *state, struct batch *batch);

    /* The disk of the database is full. True: there is room again, and the batch is tried once more. May be NULL. */
    bool (*make_room)(void *state);

    /* Each second, inside a batch without items when there are none; may queue SQL and emit. May be NULL. */
    err (*tick)(void *state, struct batch *batch);

    /* The clock was set (retime.h): says of each due row when it is due from here on, and moves what belongs to it in the actor's own
     * tables. First it is called without a row, for what counts from a moment but has none. Outside of any batch, before open().
     * NULL: all of them are retries. */
    err (*retime)(const struct retiming *retiming, struct due_row *row);

    /* When tick() is wanted before its second is over; INT64_MAX for never. Asked before each wait. May be NULL. */
    int64_t (*next_ms)(const void *state);
};

#endif
