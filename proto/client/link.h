/* SPDX-License-Identifier: MPL-2.0 */
/* Sockets of a client, with every option set that matters before they connect. */
#ifndef LARDER_LINK_H
#define LARDER_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include <czmq.h>

#include "err.h"

/* Messages that an event socket holds back: as many as a source can publish while its subscriber is busy. */
#define LINK_EVENTS_HWM 100000

/* A peer that takes nothing for so long, or whose host is away, is gone: within it a connecting socket begins anew. */
#define LINK_GONE_MS 10000

/* So long a peer that owes us something may say nothing. */
#define LINK_SILENT_MS 6000

/* A DEALER to one ROUTER: without a connection it takes nothing (ZMQ_IMMEDIATE), so that no old request waits for a late peer. */
MUST_CHECK err
link_requests(const char *endpoint, zsock_t **dealer, struct err_text *why);

/* A SUB to one PUB; subscribe with zsock_set_subscribe(). */
MUST_CHECK err
link_events(const char *endpoint, zsock_t **sub, struct err_text *why);

/* What tells any socket on tcp that its peer has vanished, or reads nothing for so long; to be set before it binds or connects. */
void
link_notice_loss(zsock_t *socket, int unread_ms);

/* Whether a peer is heard; all zero at the beginning. */
struct link_pulse {
    int64_t heard_ms;  /* steady; 0: never */
    int64_t missed_ms; /* since when answers are missed */
    int missed;        /* answers in a row that did not come in time */
};

/* Something came. */
void
link_heard(struct link_pulse *pulse, int64_t now_ms);

/* Of a SUB whose source says where it stands each second: connects it anew when three of these were missed. True: it did. */
bool
link_renew_events(zsock_t *sub, struct link_pulse *pulse, int64_t now_ms);

/* Of a DEALER, when an answer did not come in time: connects it anew when three were missed in a row and nothing else came meanwhile,
 * for LINK_SILENT_MS at the least. True: it did. */
bool
link_missed(zsock_t *dealer, struct link_pulse *pulse, int64_t now_ms);

/* Milliseconds that never go back, for waiting; microseconds for measuring; UTC for deadlines that go over the wire. */
int64_t
link_steady_ms(void);
int64_t
link_steady_us(void);
int64_t
link_utc_ms(void);

#endif
