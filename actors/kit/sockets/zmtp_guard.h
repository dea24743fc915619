/* SPDX-License-Identifier: MPL-2.0 */
/* Every connection that a peer opens to one of our ROUTERs or PUBs on tcp passes here before libzmq reads a byte of it. */
#ifndef LARDER_KIT_ZMTP_GUARD_H
#define LARDER_KIT_ZMTP_GUARD_H

#include <stdbool.h>
#include <stdint.h>

/* Connections to one port. */
enum { GUARD_CONNECTIONS_MAX = 1024 };

/* Bytes of the prefixes that all peers of one PUB have subscribed to. libzmq keeps a node of memory for each and, in the thread that
 * publishes, walks through all of them whenever a subscriber leaves. Of a connection's the first few are always taken; the rest of all
 * connections together is paced, and so are new connections to a PUB. The free bytes of those who leave again pile up until the thread
 * that publishes has heard of it: so they are few. */
enum {
    GUARD_PREFIX_BYTES_MAX = 8 * 1024,
    GUARD_PREFIX_FREE = 64,
    GUARD_PREFIX_BURST = 4 * 1024,
    GUARD_PREFIX_PER_SECOND = 2 * 1024,
    GUARD_SUBSCRIBERS_BURST = 300,
    GUARD_SUBSCRIBERS_PER_SECOND = 100
};

/* Bytes of large requests that were not read yet: of one connection, and of all connections to one port. */
enum { GUARD_UNREAD_MAX = 32 * 1024 * 1024, GUARD_UNREAD_ALL_MAX = 128 * 1024 * 1024 };

/* What is accepted on this port from now on is guarded. Before it is bound. `name` is for logs and counters: "stock/0". */
void
zmtp_guard_open(const char *name, int port, bool is_events);

/* The socket of this port gave out a large request, one of ZMTP_LARGE bytes and more, which came by the descriptor (ZMQ_SRCFD). */
void
zmtp_guard_read(int port, int fd, int64_t bytes);

/* The socket of this port has no request left. Costs nothing when there was no large one. */
void
zmtp_guard_emptied(int port);

#endif
