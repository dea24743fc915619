/* SPDX-License-Identifier: MPL-2.0 */
/* Where the actors are. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "kit/settings/topology.h"

static struct settings settings;

static void
with_defaults(void)
{
    struct err_text why;
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
}

Test(topology, knows_the_actors_and_no_others, .init = with_defaults)
{
    cr_assert(topology_knows("stock"));
    cr_assert(topology_knows("sales"));
    cr_assert(topology_knows("factory"));
    cr_assert_not(topology_knows("Stock"));
    cr_assert_not(topology_knows(""));
}

Test(topology, ports_count_from_the_base, .init = with_defaults)
{
    char endpoint[ENDPOINT_MAX];
    settings.base_port = 5000;
    topology_connect(&settings, "stock", 2, ENDPOINT_REQUESTS, endpoint);
    cr_assert_str_eq(endpoint, "tcp://127.0.0.1:5406");
    topology_connect(&settings, "factory", 0, ENDPOINT_EVENTS, endpoint);
    cr_assert_str_eq(endpoint, "tcp://127.0.0.1:5107");
    cr_assert_eq(topology_probe_port(&settings, "sales", 0), 10005);
}

enum { PORTS_MAX = 128, EPHEMERAL = 32768 };

static int
port_of(const char *endpoint)
{
    return atoi(strrchr(endpoint, ':') + 1);
}

/* Requests, events and probes of every actor and shard. */
static int
all_ports(int ports[PORTS_MAX])
{
    static const char *const actors[] = {
#define ACTOR(name, offset) #name,
#include "kit/settings/topology.def"
    };
    int count = 0;
    for (size_t i = 0; i < sizeof actors / sizeof actors[0]; i++) {
        for (int shard = 0; shard < topology_shards(&settings, actors[i]); shard++) {
            char endpoint[ENDPOINT_MAX];
            topology_bind(&settings, actors[i], shard, ENDPOINT_REQUESTS, endpoint);
            ports[count++] = port_of(endpoint);
            topology_bind(&settings, actors[i], shard, ENDPOINT_EVENTS, endpoint);
            ports[count++] = port_of(endpoint);
            ports[count++] = topology_probe_port(&settings, actors[i], shard);
        }
    }
    return count;
}

Test(topology, all_ports_lie_below_those_that_are_given_to_whoever_connects, .init = with_defaults)
{
    int ports[PORTS_MAX];
    settings.base_port = 20000;
    settings.stock_shards = 4;
    int count = all_ports(ports);
    for (int i = 0; i < count; i++) {
        cr_expect_lt(ports[i], EPHEMERAL);
    }
}

Test(topology, no_two_sockets_share_a_port, .init = with_defaults)
{
    int ports[PORTS_MAX];
    settings.stock_shards = 4;
    int count = all_ports(ports);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < i; k++) {
            cr_expect_neq(ports[i], ports[k]);
        }
    }
}

Test(topology, only_stock_has_shards, .init = with_defaults)
{
    settings.stock_shards = 3;
    cr_assert_eq(topology_shards(&settings, "stock"), 3);
    cr_assert_eq(topology_shards(&settings, "sales"), 1);
    cr_assert_eq(topology_shards(&settings, "factory"), 1);
}

Test(topology, local_actor_is_reached_by_inproc_and_still_binds_tcp, .init = with_defaults)
{
    char connect[ENDPOINT_MAX];
    char inproc[ENDPOINT_MAX];
    char bound[ENDPOINT_MAX];
    cr_assert_not(topology_is_local("stock"));
    topology_set_local("stock");
    cr_assert(topology_is_local("stock"));
    topology_connect(&settings, "stock", 1, ENDPOINT_EVENTS, connect);
    topology_inproc("stock", 1, ENDPOINT_EVENTS, inproc);
    topology_bind(&settings, "stock", 1, ENDPOINT_EVENTS, bound);
    cr_assert_str_eq(connect, inproc);
    cr_assert_str_eq(bound, "tcp://127.0.0.1:4306");
}

Test(topology, other_host_is_connected_to_and_not_bound, .init = with_defaults)
{
    char endpoint[ENDPOINT_MAX];
    snprintf(settings.host, sizeof settings.host, "shop.example");
    topology_connect(&settings, "sales", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert_str_eq(endpoint, "tcp://shop.example:4005");
    topology_bind(&settings, "sales", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert_str_eq(endpoint, "tcp://127.0.0.1:4005");
}

Test(topology, localhost_is_bound_as_an_address, .init = with_defaults)
{
    char endpoint[ENDPOINT_MAX];
    snprintf(settings.bind, sizeof settings.bind, "localhost");
    topology_bind(&settings, "sales", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert_str_eq(endpoint, "tcp://127.0.0.1:4005");
}
