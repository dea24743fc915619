/* SPDX-License-Identifier: MPL-2.0 */
/* /livez, /readyz and /metrics. */
#ifndef LARDER_READINESS_H
#define LARDER_READINESS_H

#include "exchange.h"

/* Answers a probe; /readyz may have to wait for the actors that are not in this process. */
void
readiness_run(struct exchange *exchange);

/* Forgets what /readyz still waits for. */
void
readiness_cancel(struct exchange *exchange);

/* Tells an actor in this process that is not ready, NULL when all are; set before the gateway starts. */
void
readiness_set_health(const char *(*unready)(void *), void *argument);

#endif
