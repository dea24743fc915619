/* SPDX-License-Identifier: MPL-2.0 */
/* HTTP in: one server per thread, its own listening socket, its own sockets to the actors. */
#ifndef LARDER_HTTP_H
#define LARDER_HTTP_H

#include "err.h"
#include "state.h"

struct http;

/* Opens everything. Call in the thread that will serve; `listen_fd` belongs to the server when this succeeds. `wake_fd`, an
 * eventfd, makes it look at the state again. */
MUST_CHECK err
http_open(struct gateway_state *state, int listen_fd, int wake_fd, struct http **http, struct err_text *why);

/* Serves until the state says that it is stopping and what is under way has ended, STOP_MS at the most. ERR_internal: it could not
 * go on. */
MUST_CHECK err
http_serve(struct http *http);

void
http_close(struct http **http);

#endif
