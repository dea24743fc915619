/* SPDX-License-Identifier: MPL-2.0 */
/* Every connection that a peer opens to one of our ROUTERs or PUBs on tcp passes here before libzmq reads a byte of it. */
#ifndef LARDER_KIT_DOOR_H
#define LARDER_KIT_DOOR_H

#include <stdbool.h>

/* Connections to one port; and bytes of the prefixes that all peers of one PUB have subscribed to. */
enum { DOOR_CONNECTIONS_MAX = 1024, DOOR_PREFIX_BYTES_MAX = 128 * 1024 };

/* What is accepted on this port from now on is guarded. Before it is bound. `name` is for logs and counters: "stock/0". */
void
door_open(const char *name, int port, bool is_events);

#endif
