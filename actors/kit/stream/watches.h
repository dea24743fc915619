/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The HEADs of every other actor, for one that watches them (actor_class.watches): of each source only the latest is given, at most
 * every WATCHES_PAUSE_MS, however many were published.
 */
#ifndef LARDER_KIT_WATCHES_H
#define LARDER_KIT_WATCHES_H

#include "kit/base/arena.h"
#include "kit/settings/settings.h"
#include "wire.h"

#define WATCHES_PAUSE_MS 10

struct watches;

/* A HEAD. Slices lie in the arena. */
struct watched {
    struct wire_event_header header;
    struct wire_head head;
    struct slice frame; /* the body */
};

/* Connects to all shards of all actors but `actor`; the sockets wake `wakeup_fd`. */
MUST_CHECK err
watches_open(const struct settings *settings, const char *actor, int wakeup_fd, struct watches **watches, struct err_text *why);
void
watches_close(struct watches **watches);

/* Reads what has come, unless that was done just now. Also while nothing can be given on: nothing piles up. */
void
watches_read(struct watches *watches);

/* Takes out the latest HEAD of a source that has a new one. */
bool
watches_next(struct watches *watches, struct arena *arena, struct watched *watched);

/* How long there is nothing to do for watches_read() and, when it `may_give`, for watches_next(); INT64_MAX: until a socket wakes. */
int64_t
watches_wait_ms(const struct watches *watches, bool may_give);

#endif
