/* SPDX-License-Identifier: MPL-2.0 */
/* The sequence on its sockets: some requests at once, the answers of all of them, then the next. */
#ifndef LARDER_RANDOM_WINDOWS_H
#define LARDER_RANDOM_WINDOWS_H

#include "post.h"
#include "sequence.h"

#define WINDOW_MAX 24

struct windows {
    struct sequence *sequence;
    struct post *post;
    uint64_t window; /* number of the next one */
    struct request *under_way[WINDOW_MAX];
    size_t count;
    int64_t patience_ms; /* for an answer, beyond its deadline */
    /* Asks by HTTP and judges; NULL: not here. */
    void (*ask_http)(void *context, struct request *request);
    void *context;
};

/* Sends the requests of a window. False: sequence->fault says why not. */
bool
windows_send(struct windows *windows);

/* Sends these requests; up to WINDOW_MAX. */
bool
windows_send_of(struct windows *windows, const struct chance *chances, size_t count);

/* Sends everything that has no answer once more: what it went to has ended. */
bool
windows_send_again(struct windows *windows);

/* Waits for every answer and judges it; what is not final is asked again; then the book is added up. */
bool
windows_settle(struct windows *windows);

#endif
