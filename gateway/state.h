/* SPDX-License-Identifier: MPL-2.0 */
/* What the gateway's threads share. Everything is atomic or does not change after the start. */
#ifndef LARDER_STATE_H
#define LARDER_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "kit/settings/settings.h"

struct door;

struct gateway_state {
    const struct settings *settings;
    const struct door *door;
    bool is_open;                     /* who shows no token may do everything */
    int connections_max;              /* the soft limit, of all threads together */
    atomic_int connections;           /* open ones, of all threads together */
    atomic_bool is_draining;          /* not ready, no new connections, every answer is the last of its connection */
    atomic_bool is_stopping;          /* end when nothing is under way, soon in any case */
    _Atomic int64_t clock_said_us[2]; /* when a thread saw last that the clock was set forward, and back, by the steady one */
};

#endif
