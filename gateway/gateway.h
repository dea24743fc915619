/* SPDX-License-Identifier: MPL-2.0 */
/*
 * HTTP in, ZeroMQ out. The gateway matches an address, transcodes JSON to msgpack, forwards to the actor that owns the operation
 * and translates its answer back. It keeps nothing: any number of gateways may stand side by side.
 */
#ifndef LARDER_GATEWAY_H
#define LARDER_GATEWAY_H

#include <stdbool.h>

#include "err.h"
#include "kit/settings/settings.h"

struct gateway;

/* Says how /readyz asks the actors of this process: for one that is not ready, NULL when all are. The others it pings itself. Call
 * before gateway_start(). */
void
gateway_set_health(const char *(*unready)(void *), void *argument);

/* Whether the settings let a gateway start and nobody listens where it is to: before anything else is begun. */
MUST_CHECK err
gateway_check(const struct settings *settings, struct err_text *why);

/* Binds settings->http, starts settings->gateway_threads threads and returns when they serve, 10 s at the most. `ended_fd` is an
 * eventfd that is raised when a thread ends by itself; -1 for none. ERR_wrong_setting names the address. `settings` must outlive
 * the gateway. */
MUST_CHECK err
gateway_start(const struct settings *settings, int ended_fd, struct gateway **gateway, struct err_text *why);

/* The port that is listened at. */
int
gateway_port(const struct gateway *gateway);

/* From now on not ready, no new connections, and every answer is the last one of its connection. Returns at once. */
void
gateway_drain(struct gateway *gateway);

/* Drains, waits for what is under way (2 s at the most, then it is answered 503), ends the threads. */
void
gateway_stop(struct gateway **gateway);

#endif
