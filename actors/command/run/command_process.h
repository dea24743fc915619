/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A process that hosts actors: its limits and signals, its actors in their order, its gateway and its end.
 *
 *     process_init() -> process_add()... -> process_start() -> process_start_gateway() -> process_wait() -> process_stop()
 */
#ifndef LARDER_COMMAND_PROCESS_H
#define LARDER_COMMAND_PROCESS_H

#include "kit/actor.h"
#include "command/exit.h"
#include "gateway.h"
#include "kit/place/manifest.h"
#include "kit/settings/settings.h"

#define PROCESS_ACTORS_MAX 16

struct hosted {
    const struct actor_class *class;
    int shard;
    char name[32];       /* stock/0 */
    struct actor *actor; /* NULL while it does not run */
};

struct process {
    const struct settings *settings;
    struct hosted hosted[PROCESS_ACTORS_MAX];
    size_t count;
    struct gateway *gateway;            /* NULL without one */
    struct probe *probe;                /* NULL without one */
    struct manifest_owner installation; /* of its databases; zero: it has none */
    int signal_fd;
    int ended_fd; /* raised by an actor or the gateway when it ends by itself */
    bool is_open; /* it has come to process_wait() */
};

/* Raises the limit of open files, takes SIGINT and SIGTERM for process_wait(), and has the log written by a thread of its own:
 * call before any other thread starts. */
MUST_CHECK err
process_init(struct process *process, const struct settings *settings, struct err_text *why);

/* The class of an actor by its name; NULL when there is none. */
const struct actor_class *
process_class(const char *name);

/* Makes the folder of LARDER_DATA and those above it, unless they are there. */
MUST_CHECK err
process_make_folder(const char *folder, struct err_text *why);

/* Hosts one shard, or all of them with -1, which other actors of this process then reach by inproc. */
MUST_CHECK err
process_add(struct process *process, const char *name, int shard, struct err_text *why);

/* The same for every shard of every actor. */
MUST_CHECK err
process_add_all(struct process *process, struct err_text *why);

/* Makes the data folder and takes its lock when the databases are SQLite files. */
MUST_CHECK err
process_prepare(struct process *process, bool is_alone, struct err_text *why);

/* process_prepare(); opens the databases of all actors side by side, then
 * lets the actors serve in the order of process_add(). `is_alone`: nobody else may work in the folder; otherwise only the shards that
 * are hosted here are locked. On failure those that run are stopped. */
MUST_CHECK err
process_start(struct process *process, bool is_alone, struct err_text *why);

MUST_CHECK err
process_start_gateway(struct process *process, struct err_text *why);

/* Whether every actor is ready; from any thread. */
bool
process_is_ready(void *process);

/* Waits for SIGINT or SIGTERM (EXIT_DONE), or for a part that ends by itself (EXIT_FENCED, EXIT_FAILED). */
enum exit_status
process_wait(struct process *process);

/* Drains and stops the gateway, then the actors in an order in which nobody asks one that is gone, then the log; ends the process by
 * itself if that takes longer than 5 s. After EXIT_FENCED waits 2 s, so that a supervisor does not take the shard back at once. */
void
process_stop(struct process *process, enum exit_status status);

/* The exit status for a failed start. */
enum exit_status
process_exit_status(err code);

#endif
