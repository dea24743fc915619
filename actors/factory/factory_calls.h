/* SPDX-License-Identifier: MPL-2.0 */
/* What is remembered of the calls about a production: the payload of its due row "call". Pure but for memory. */
#ifndef LARDER_FACTORY_CALLS_H
#define LARDER_FACTORY_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define FACTORY_HISTORY_MAX 32

/* What the due row waits for. */
enum factory_wait {
    FACTORY_WAIT_CALL,     /* the moment to call; or, behind a call's time-out, its outcome was lost */
    FACTORY_WAIT_CALLBACK, /* it was accepted: the callback did not come in time */
    FACTORY_WAIT_NOBODY,   /* it was given up: somebody asked for it */
    FACTORY_WAIT_COUNT
};

struct factory_calls {
    enum factory_wait wait;
    bool has_letter;        /* a letter about it is open */
    int64_t failures;       /* calls in a row that were not accepted */
    int64_t silences;       /* accepted calls in a row that were not called back */
    int64_t told;           /* attempts that the latest letter was told of */
    struct wire_list past;  /* struct letter_attempt, the oldest first; of many the first and the latest */
    struct wire_buffer own; /* the bytes of `past` and of the payload; factory_calls_fini() frees it */
};

/* From the payload of a due row; an empty one, and one that cannot be read, are a call that was never made. */
void
factory_calls_init(struct factory_calls *calls, struct slice payload);
void
factory_calls_fini(struct factory_calls *calls);

void
factory_calls_add(struct factory_calls *calls, int64_t time_ms, const char *error);

/* When the first of them failed; `otherwise` when none did. */
int64_t
factory_calls_first_ms(const struct factory_calls *calls, int64_t otherwise);

/* Appends the payload. */
void
factory_calls_encode(const struct factory_calls *calls, struct wire_buffer *out);

#endif
