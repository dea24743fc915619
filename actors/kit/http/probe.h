/* SPDX-License-Identifier: MPL-2.0 */
/* The small HTTP server of each process for those who watch over it: /livez, /readyz and /metrics. */
#ifndef LARDER_KIT_PROBE_H
#define LARDER_KIT_PROBE_H

#include <stdbool.h>

#include "err.h"

struct probe;

/* Listens on an IPv4 address; port 0 takes a free one. `is_ready` is called from the server's own thread for each /readyz, so
 * what it reads must be safe to read there; 200 when true, 503 otherwise. */
MUST_CHECK err
probe_start(const char *address, int port, bool (*is_ready)(void *), void *context, struct probe **probe, struct err_text *why);

/* The port that is listened on. */
int
probe_port(const struct probe *probe);

/* Accepts NULL. */
void
probe_stop(struct probe **probe);

#endif
