/* SPDX-License-Identifier: MPL-2.0 */
/* One moment for a whole installation: its actors hold their commits back while somebody opens a snapshot of each database. */
#ifndef LARDER_COMMAND_PAUSE_H
#define LARDER_COMMAND_PAUSE_H

#include "command/place/command_installation.h"
#include "larder.h"

struct command_pause {
    struct installation *installation;
    struct larder_client *client;
    bool is_held[INSTALLATION_PARTS_MAX]; /* it runs, with this very database, and was asked to hold commits back */
    int64_t began_us;
    int64_t lasted_us; /* after the end: how long commits were held back at the most */
};

/* Finds out which of the actors run. Those that do not answer, or with another database than the installation's, are left out. */
MUST_CHECK err
command_pause_create(struct installation *installation, struct command_pause *pause, struct err_text *why);

/* Returns when each of them holds its commits back. It ends by itself after a second. Other than ERR_ok: nobody is held. */
MUST_CHECK err
command_pause_begin(struct command_pause *pause, struct err_text *why);

/* Ends it. ERR_db_busy: one of those that run has not stood still since, or it stands elsewhere than its part says: snapshots that
 * were opened meanwhile are not of one moment. */
MUST_CHECK err
command_pause_end(struct command_pause *pause, struct err_text *why);

void
command_pause_destroy(struct command_pause *pause);

#endif
