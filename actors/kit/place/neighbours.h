/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The actors of other processes, where the settings look for them: whether they are of the same installation.
 *
 * Of two installations that meet the older goes on, and the newer serves nobody: most likely it was begun where the data of the older
 * one should have been. An id begins with the time at which it was made.
 */
#ifndef LARDER_KIT_NEIGHBOURS_H
#define LARDER_KIT_NEIGHBOURS_H

#include <stdbool.h>

#include "err.h"
#include "id.h"
#include "kit/settings/settings.h"
#include "kit/settings/topology.h"

#define NEIGHBOURS_AGE_SIZE 6 /* bytes of an id that say when it was made; zeros: before there were installations */

struct neighbour {
    char endpoint[ENDPOINT_MAX];
    struct id installation;
};

/* Connects, and hangs up at once: ZeroMQ says nothing of a port where nobody listens. */
bool
neighbour_listens(const char *endpoint);

/* Asks all actors that are not in this process, side by side, within a second. True: `other` is of another installation than `own`; of
 * several the oldest. `own` NULL: of any. */
bool
neighbours_ask(const struct settings *settings, const struct id *own, struct neighbour *other);

/* Asks now, and from then on in a thread of its own, when there are actors that are not in this process. Once in a process. */
MUST_CHECK err
neighbours_watch(const struct settings *settings, const struct id *own, struct err_text *why);

/* Ends the thread; without one, nothing. */
void
neighbours_end(void);

/* Whether an older installation is there, so that nobody is to be served here. From any thread. */
bool
neighbours_are_older(void);

/* Why not; empty while there is none. */
void
neighbours_reason(char text[ERR_TEXT_MAX]);

#endif
