/* SPDX-License-Identifier: MPL-2.0 */
/* The sockets that HTTP comes in by: one per thread, all on one address. */
#ifndef LARDER_LISTENER_H
#define LARDER_LISTENER_H

#include "err.h"

/* Opens `count` listening, non-blocking sockets on "address:port" ("[::1]:8080" for IPv6; port 0 takes a free one, the same for
 * all) and tells the port. ERR_wrong_setting: no such address, or somebody else listens there. Close each with close(). */
MUST_CHECK err
listener_open(const char *address, int *fds, int count, int *port, struct err_text *why);

#endif
