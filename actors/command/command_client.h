/* SPDX-License-Identifier: MPL-2.0 */
/* A client of an actor for the subcommands: the shards of one actor as the settings have them, or one endpoint. */
#ifndef LARDER_COMMAND_CLIENT_H
#define LARDER_COMMAND_CLIENT_H

#include "larder.h"
#include "kit/settings/settings.h"

struct command_peers {
    const struct settings *settings;
    const char *actor;    /* whose shards */
    const char *endpoint; /* instead, when not NULL: an endpoint or `actor/shard` */
};

/* `shards` is how many peers it has. */
MUST_CHECK err
command_client_create(const struct command_peers *peers, struct larder_client **client, int *shards, struct err_text *why);

#endif
