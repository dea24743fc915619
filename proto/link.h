/* SPDX-License-Identifier: MPL-2.0 */
/* Sockets of a client, with every option set that matters before they connect. */
#ifndef LARDER_LINK_H
#define LARDER_LINK_H

#include <stdint.h>

#include <czmq.h>

#include "err.h"

/* Messages that an event socket holds back: as many as a source can publish while its subscriber is busy. */
#define LINK_EVENTS_HWM 100000

/* A DEALER to one ROUTER: without a connection it takes nothing (ZMQ_IMMEDIATE), so that no old request waits for a late peer. */
MUST_CHECK err
link_requests(const char *endpoint, zsock_t **dealer, struct err_text *why);

/* A SUB to one PUB; subscribe with zsock_set_subscribe(). */
MUST_CHECK err
link_events(const char *endpoint, zsock_t **sub, struct err_text *why);

/* What tells any socket on tcp that its peer has vanished, or reads nothing for so long; to be set before it binds or connects. */
void
link_notice_loss(zsock_t *socket, int unread_ms);

/* Milliseconds that never go back, for waiting; microseconds for measuring; UTC for deadlines that go over the wire. */
int64_t
link_steady_ms(void);
int64_t
link_steady_us(void);
int64_t
link_utc_ms(void);

#endif
