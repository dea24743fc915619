/* SPDX-License-Identifier: MPL-2.0 */
/* Answers on their way to peers, bounded by the bytes that each peer has not read yet. */
#ifndef LARDER_KIT_UNREAD_H
#define LARDER_KIT_UNREAD_H

#include "message.h"

enum {
    UNREAD_LARGE = 2048,                /* bodies below it are bounded by their number, the ROUTER's send mark */
    UNREAD_PEER_MAX = 16 * 1024 * 1024, /* bytes of larger ones that one connection may leave unread */
    UNREAD_ALL_MAX = 128 * 1024 * 1024, /* that all connections to this process may */
    UNREAD_LEAST_MAX = 1024 * 1024      /* and each of them when all have reached that */
};

struct unread;

struct unread *
unread_create(void);

/* What is still on its way keeps its own memory. */
void
unread_destroy(struct unread **unread);

/* As message_reply(). MESSAGE_FULL also when the peer has left too many bytes unread. Peers of this process are not counted. */
MUST_CHECK enum message_sent
unread_reply(struct unread *unread, void *socket, struct message *request, struct slice header, struct slice body);

#endif
