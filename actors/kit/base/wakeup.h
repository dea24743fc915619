/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Sleeps until one of several ZeroMQ sockets or descriptors has something, for one system call where zmq_poll() needs two for each.
 *
 * The descriptor of a ZeroMQ socket is edge-triggered, and sending on a socket may swallow the edge of what came in meanwhile. So
 * each source remembers that there may be something: it is set by an edge, and by its owner after every send; it is cleared only by
 * a receive that found nothing. Whoever sleeps with no source set misses nothing.
 */
#ifndef LARDER_KIT_WAKEUP_H
#define LARDER_KIT_WAKEUP_H

#include <stdbool.h>
#include <stdint.h>

/* Zero-initialise it; its address must not change once it is added. */
struct wake_source {
    bool is_ready; /* there may be something */
};

/* An epoll descriptor; to be closed with close(). */
int
wakeup_open(void);

/* Adds a raw ZeroMQ socket, ready at first. */
void
wakeup_add_socket(int wakeup_fd, struct wake_source *source, void *socket);

/* Adds a descriptor: ready whenever it is readable. */
void
wakeup_add_fd(int wakeup_fd, struct wake_source *source, int fd);

/* Waits up to `timeout_ms` and sets the sources that woke. */
void
wakeup_wait(int wakeup_fd, int64_t timeout_ms);

#endif
