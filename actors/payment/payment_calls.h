/* SPDX-License-Identifier: MPL-2.0 */
/* What is remembered of the calls about a charge or a refund: the payload of its due row. Pure but for memory. */
#ifndef LARDER_PAYMENT_CALLS_H
#define LARDER_PAYMENT_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

#define PAYMENT_HISTORY_MAX 32

/* What the due row waits for. */
enum payment_wait {
    PAYMENT_WAIT_CALL,    /* a call is under way: when the row fires, its outcome was lost */
    PAYMENT_WAIT_PAUSE,   /* the end of the pause after a call without an outcome */
    PAYMENT_WAIT_PENDING, /* the provider has taken it, and is asked now and then what became of it */
    PAYMENT_WAIT_NOBODY,  /* it was given up: somebody asked for it */
    PAYMENT_WAIT_COUNT
};

struct payment_calls {
    enum payment_wait wait;
    bool has_letter;        /* a letter about it is open */
    int64_t failures;       /* calls without an outcome since the provider last said something of it */
    int64_t pendings;       /* how often it was pending */
    int64_t told;           /* attempts that the latest letter was told of */
    struct wire_list past;  /* struct letter_attempt, the oldest first; of many the first and the latest */
    struct wire_buffer own; /* the bytes of `past`; payment_calls_fini() frees it */
};

/* From the payload of a due row; an empty one, and one that cannot be read, are a call that was never made. */
void
payment_calls_init(struct payment_calls *calls, struct slice payload);
void
payment_calls_fini(struct payment_calls *calls);

void
payment_calls_add(struct payment_calls *calls, int64_t time_ms, struct slice error);

/* When the first of them failed; `otherwise` when none did. */
int64_t
payment_calls_first_ms(const struct payment_calls *calls, int64_t otherwise);

/* Appends the payload. */
void
payment_calls_encode(const struct payment_calls *calls, struct wire_buffer *out);

#endif
