/* SPDX-License-Identifier: MPL-2.0 */
/* What is remembered of the outside calls about one thing: the payload of its due row. Pure but for memory. */
#ifndef LARDER_KIT_CALLS_H
#define LARDER_KIT_CALLS_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/durable/retime.h"
#include "wire.h"

#define CALLS_HISTORY_MAX 32

/* What the due row waits for. */
enum calls_wait {                            /* the numbers are in the databases: they do not change */
                  CALLS_WAIT_CALL = 0,       /* the moment to call; or, behind a call's time-out, its outcome was lost */
                  CALLS_WAIT_END = 1,        /* the other side has accepted it: it did not end in time */
                  CALLS_WAIT_NOBODY = 2,     /* it was given up: somebody asked for it */
                  CALLS_WAIT_PAUSE = 3,      /* the end of the pause after a call without an outcome */
                  CALLS_WAIT_TURN = 4,       /* its turn to call: the other side takes no more now, is down, or refuses us */
                  CALLS_WAIT_TURN_FIRST = 5, /* the same; it was never called in this way */
                  CALLS_WAIT_COUNT
};

struct calls {
    enum calls_wait wait;
    bool has_letter;        /* a letter about it is open */
    int64_t failures;       /* calls in a row that were not accepted, or had no outcome */
    int64_t accepted;       /* times in a row that it was accepted and had not ended */
    int64_t told;           /* attempts that the latest letter was told of */
    int64_t doubted_ms;     /* when it was answered first with what may mean all calls; 0: it was not; whole seconds */
    struct wire_list past;  /* struct wire_letter_attempt, the oldest first; of many the first and the latest */
    struct wire_buffer own; /* the bytes of `past` and of the payload; calls_fini() frees it */
};

/* From the payload of a due row; an empty one, and one that cannot be read, are a call that was never made. */
void
calls_init(struct calls *calls, struct slice payload);
void
calls_fini(struct calls *calls);

void
calls_add(struct calls *calls, int64_t time_ms, struct slice error);

/* An answer that may be about this call or about all of them: true, and it is about this one, when `others_are_answered` since it came
 * first; false: the call is to wait, and this is noted. */
bool
calls_doubt(struct calls *calls, int64_t now_ms, bool others_are_answered);

/* When the first of them failed; `otherwise` when none did. */
int64_t
calls_first_ms(const struct calls *calls, int64_t otherwise);

/* Whether calls go on by themselves after so many in a row went wrong in the same way. One that was made because somebody asked for
 * it, with its letter open, is not followed by another. */
bool
calls_again(int64_t in_a_row, int64_t retry_attempts, bool has_letter);

/* Appends the payload. */
void
calls_encode(const struct calls *calls, struct wire_buffer *out);

/* What the payload of the row, which `calls` was read from, remembers of moments; a new one lies in the arena. */
void
retime_calls(const struct retiming *retiming, struct calls *calls, struct due_row *row);

#endif
