/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Messages that kill their actor, found out. A run that did not end cleanly is followed by one that begins slowly: messages that
 * the run before may have seen are handled one by one, each named on disk before it is handled. A name that is found there at the next
 * start is that of the message that killed the actor, and of no other.
 *
 *     loaded after the shard was taken -> trial_start() -> trial_begin(name) committed -> the message, and
 *     trial_queue(next name) in its transaction -> ... -> trial_clear() when the last was handled -> trial_stop() by a clean stop
 *
 * Nothing is written in a run that follows a clean stop, but the row that says that it runs.
 */
#ifndef LARDER_KIT_TRIAL_H
#define LARDER_KIT_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "err.h"
#include "id.h"
#include "part.h"
#include "wire.h"

/* From so many deaths on a message is not handled any more by itself. */
#define TRIAL_DEATHS 3

#define TRIAL_NAME_MAX 160

enum trial_kind { TRIAL_EVENT, TRIAL_REQUEST, TRIAL_DUE, TRIAL_KINDS };

/* What tells a message from all others, also when it comes again after a restart. */
struct trial_name {
    enum trial_kind kind;
    uint8_t bytes[TRIAL_NAME_MAX];
    size_t size; /* 0: none */
};

struct trial_name
trial_name_of_event(struct slice source, int64_t seq);
struct trial_name
trial_name_of_request(const struct id *id);
struct trial_name
trial_name_of_due(struct slice owner, struct slice key);

struct trial;

/* `actor` is a label of metrics, "stock/0". `most`: so many of each kind are tried alone at the most, as many as a batch takes. */
struct trial *
trial_create(struct db *db, const char *actor, const size_t most[TRIAL_KINDS]);
extern const struct part trial_part;

/* Once, when nothing can refuse the start any more and before the first message: finds out how the run before ended, counts the
 * death of the message that was being handled then, and queues the row that says that this one runs. The caller commits. */
MUST_CHECK err
trial_start(struct trial *trial);

/* Whether this run has begun: only then its end has to be written down. */
bool
trial_is_started(const struct trial *trial);

/* Whether this is a slow beginning. */
bool
trial_is_on(const struct trial *trial);

/* Whether it is one in which a message of this name is handled alone. `is_new`: it says that it comes for the first time, so the run
 * before cannot have seen it; it is handled alone nevertheless when that run was the second in a row that did not end cleanly. */
bool
trial_wants(const struct trial *trial, const struct trial_name *name, bool is_new);

/* Whether this message killed its actor before and was not handled since: it is handled alone, whenever it comes. Cheap while there
 * is none. */
bool
trial_is_suspect(const struct trial *trial, const struct trial_name *name);

/* Whether there is any suspect. */
bool
trial_has_suspects(const struct trial *trial);

/* How often it killed its actor. */
int64_t
trial_deaths(const struct trial *trial, const struct trial_name *name);

/* Whether it was given up once: its letter may be open. */
bool
trial_is_convict(const struct trial *trial, const struct trial_name *name);

/* After each turn of the loop: `is_caught_up` when nothing is known to be missing. Ends the slow beginning. */
void
trial_turn(struct trial *trial, bool is_caught_up);

/* --- what is written. Each is part of a transaction; whoever ends it says so to the part --- */

/* Whether the name on disk is this one. */
bool
trial_is_begun(const struct trial *trial, const struct trial_name *name);

/* Its turn has come: it is handled now, and is acquitted by the next name or the end, unless it ends the actor. */
void
trial_handle(struct trial *trial, const struct trial_name *name);

/* Whether any name on disk is that of a message that is being tried. */
bool
trial_is_trying(const struct trial *trial);

/* The message of this name is handled next; the one before it survived. */
MUST_CHECK err
trial_begin(struct trial *trial, const struct trial_name *name);

/* Inside the transaction of a message that is handled alone: it survives with this commit, and `next` (may be NULL) comes next. */
MUST_CHECK err
trial_queue(struct trial *trial, const struct trial_name *next);

/* The same for the transactions between trial_enter() and trial_leave(), which the loop commits: `next` of size 0 for none. */
void
trial_set_next(struct trial *trial, const struct trial_name *next);

/* It is given up: it is tried once at a time from here on, when somebody asks for it. */
MUST_CHECK err
trial_convict(struct trial *trial, const struct trial_name *name);

/* The clean stop. */
MUST_CHECK err
trial_stop(struct trial *trial);

/* --- one at a time in the process: the end of the process must not be blamed on a message of an actor beside the one that ended it
 * --- */

void
trial_enter(struct trial *trial);
void
trial_leave(struct trial *trial);

/* NULL: no. */
bool
trial_is_entered(const struct trial *trial);

#endif
