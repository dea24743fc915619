/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Makes a client of liblarder out of what was given on the command line.
 *
 * FAILURES
 *   A place that is neither an endpoint nor an actor is refused with its name. An actor that is away is not noticed here.
 */
#include "command_client.h"

#include "command.h"
#include "kit/settings/topology.h"

#define SHARDS_MAX 8

err
command_client_create(const struct command_peers *peers, struct larder_client **client, int *shards, struct err_text *why)
{
    char endpoints[SHARDS_MAX][ENDPOINT_MAX];
    const char *list[SHARDS_MAX];
    if (peers->endpoint != NULL) {
        err code = command_endpoint(peers->settings, peers->endpoint, endpoints[0], why);
        if (code != ERR_ok) {
            return code;
        }
        list[0] = endpoints[0];
        *shards = 1;
        return larder_client_create(list, 1, client, why);
    }
    *shards = topology_shards(peers->settings, peers->actor);
    for (int shard = 0; shard < *shards; shard++) {
        topology_connect(peers->settings, peers->actor, shard, ENDPOINT_REQUESTS, endpoints[shard]);
        list[shard] = endpoints[shard];
    }
    return larder_client_create(list, *shards, client, why);
}
