/* SPDX-License-Identifier: MPL-2.0 */
/* A request of the sequence as the gateway takes it: its route, its fields in path, query or JSON, on a connection of its own. */
#ifndef LARDER_RANDOM_HTTP_ASKER_H
#define LARDER_RANDOM_HTTP_ASKER_H

#include "sequence.h"

#define HTTP_TRIES_MS 20000

struct http_asker {
    struct sequence *sequence;
    const char *address; /* host:port */
};

/* Asks, waits for the answer and has it judged. `context` is a struct http_asker; an operation without a route is not asked. */
void
http_ask(void *context, struct request *request);

/* Sends bytes and reads what comes until the connection ends or nothing has come for so long. False: nobody listens. */
bool
http_exchange(const char *address, struct slice bytes, int64_t timeout_ms, struct wire_buffer *answer);

/* The bytes of the request; false when it has no route. */
bool
http_write(struct chance *chance, const struct request *request, struct wire_buffer *out);

#endif
