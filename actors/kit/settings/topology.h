/* SPDX-License-Identifier: MPL-2.0 */
/* Where the actors are: endpoints and shard counts, from the settings and from what runs in this process. */
#ifndef LARDER_KIT_TOPOLOGY_H
#define LARDER_KIT_TOPOLOGY_H

#include <stdbool.h>
#include <stdio.h>

#include "settings.h"

#define ENDPOINT_MAX 640

enum endpoint_kind { ENDPOINT_REQUESTS, ENDPOINT_EVENTS };

/* Says that this actor runs in this process, so that it is reached by inproc. Call before any thread starts. */
void
topology_set_local(const char *actor);

bool
topology_is_local(const char *actor);

/* Whether there is an actor of that name. */
bool
topology_knows(const char *actor);

/* The actors, from 0; NULL behind the last. */
const char *
topology_actor(size_t number);

int
topology_shards(const struct settings *settings, const char *actor);

/* Where to connect: inproc when local, else tcp://HOST:PORT. */
void
topology_connect(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX]);

/* What to bind on tcp, beside inproc. */
void
topology_bind(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX]);

int
topology_port(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind);

/* The inproc name, bound by the actor itself. */
void
topology_inproc(const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX]);

/* Port of the process's own probes and metrics. */
int
topology_probe_port(const struct settings *settings, const char *actor, int shard);

/* The same of a process with a gateway. */
int
topology_gateway_probe_port(const struct settings *settings);

/* The table of all ports as Markdown. */
void
topology_print(FILE *out, const struct settings *settings);

#endif
