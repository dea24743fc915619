/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Makes endpoints of the actors' names: the port is base_port, plus the actor's offset of topology.def, plus 200 per shard, plus
 *   100 for events or 5000 for probes. So no two of them meet, and all lie below 32768, where Linux begins to give ports to whoever
 *   connects: a port there may be taken whenever a shard starts.
 *
 * STATE
 *   Which actors run in this process: set before threads start, only read after that.
 *
 * FAILURES
 *   A name that is in no table is our own bug and asserts: what comes from outside goes through topology_knows() first.
 *
 * LIMITS
 *   All actors that are not in this process are at one host.
 */
#include "topology.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define PORTS_PER_SHARD 200
#define EVENTS_OFFSET 100
#define PROBE_OFFSET 5000

struct place {
    const char *name;
    int offset;
    bool is_local;
};

static struct place places[] = {
#define ACTOR(name, offset) {#name, offset, false},
#include "topology.def"
};

static struct place *
place_find(const char *actor)
{
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].name, actor) == 0) {
            return &places[i];
        }
    }
    return NULL;
}

static struct place *
place_get(const char *actor)
{
    struct place *place = place_find(actor);
    assert(place != NULL);
    return place;
}

const char *
topology_actor(size_t number)
{
    return number < sizeof places / sizeof places[0] ? places[number].name : NULL;
}

static int
port_of(const struct settings *settings, const char *actor, int shard)
{
    return (int)settings->base_port + place_get(actor)->offset + PORTS_PER_SHARD * shard;
}

int
topology_port(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind)
{
    return port_of(settings, actor, shard) + (kind == ENDPOINT_EVENTS ? EVENTS_OFFSET : 0);
}

void
topology_set_local(const char *actor)
{
    place_get(actor)->is_local = true;
}

bool
topology_is_local(const char *actor)
{
    return place_get(actor)->is_local;
}

bool
topology_knows(const char *actor)
{
    return place_find(actor) != NULL;
}

int
topology_shards(const struct settings *settings, const char *actor)
{
    return strcmp(place_get(actor)->name, "stock") == 0 ? (int)settings->stock_shards : 1;
}

void
topology_connect(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX])
{
    if (topology_is_local(actor)) {
        topology_inproc(actor, shard, kind, endpoint);
        return;
    }
    snprintf(endpoint, ENDPOINT_MAX, "tcp://%s:%d", settings->host, topology_port(settings, actor, shard, kind));
}

void
topology_bind(const struct settings *settings, const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX])
{
    /* libzmq resolves no names for bind. */
    const char *address = strcasecmp(settings->bind, "localhost") == 0 ? "127.0.0.1" : settings->bind;
    snprintf(endpoint, ENDPOINT_MAX, "tcp://%s:%d", address, topology_port(settings, actor, shard, kind));
}

void
topology_inproc(const char *actor, int shard, enum endpoint_kind kind, char endpoint[ENDPOINT_MAX])
{
    const char *part = kind == ENDPOINT_EVENTS ? "events" : "requests";
    snprintf(endpoint, ENDPOINT_MAX, "inproc://larder-%s-%d-%s", place_get(actor)->name, shard, part);
}

int
topology_probe_port(const struct settings *settings, const char *actor, int shard)
{
    return port_of(settings, actor, shard) + PROBE_OFFSET;
}

void
topology_print(FILE *out, const struct settings *settings)
{
    fprintf(out, "| actor | requests | events | probes and metrics | shards |\n| --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int port = port_of(settings, places[i].name, 0);
        bool has_shards = strcmp(places[i].name, "stock") == 0;
        fprintf(out, "| %s | %d | %d | %d | ", places[i].name, port, port + EVENTS_OFFSET, port + PROBE_OFFSET);
        if (has_shards) {
            fprintf(out, "`LARDER_STOCK_SHARDS`; shard k is %d k higher: %d, %d, %d, ... |\n", PORTS_PER_SHARD, port + PORTS_PER_SHARD,
                    port + PORTS_PER_SHARD + EVENTS_OFFSET, port + PORTS_PER_SHARD + PROBE_OFFSET);
        } else {
            fprintf(out, "one |\n");
        }
    }
    fprintf(out, "| `larder run`, `larder gateway` | | | %d | |\n", topology_gateway_probe_port(settings));
}

int
topology_gateway_probe_port(const struct settings *settings)
{
    return (int)(settings->probe_port != 0 ? settings->probe_port : settings->base_port + PROBE_OFFSET);
}
