/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How many calls an outside party gets at once: a window that grows while it answers well and shrinks when it is slow or busy, and a
 * breaker that holds all calls but one while it is down or refuses us. Pure: no clock, no I/O; moments are steady microseconds.
 *
 *     if (party_room(&party, now_us) > 0) { party_started(&party, now_us); ... call ... }
 *     blame = party_ended(&party, &(struct party_answer){...}, now_us);
 */
#ifndef LARDER_KIT_PARTY_H
#define LARDER_KIT_PARTY_H

#include <stdbool.h>
#include <stdint.h>

#include "id.h"

/* What the end of a call says of the party. */
enum party_result {
    PARTY_GOOD,    /* it has dealt with the call: 2xx, or a no to this very body */
    PARTY_SILENT,  /* an answer that says nothing about our address or credentials: "not found" to a question */
    PARTY_BUSY,    /* 429, 503: it wants fewer */
    PARTY_SLOW,    /* no answer in time */
    PARTY_FAULT,   /* it is not there, hung up, or answered 5xx */
    PARTY_DOUBT,   /* 403, 404, 405, 3xx: our setting is wrong, or it is about this call */
    PARTY_REFUSES, /* 401, 407, no certificate that is believed, no address: our setting is wrong */
    PARTY_RESULT_COUNT
};

enum party_state { /* the numbers are in the databases: they do not change */
                   PARTY_UP = 0,
                   PARTY_DOWN = 1,   /* it does not answer, or answers everybody with its own faults */
                   PARTY_REFUSED = 2 /* it answers, and takes nothing from us as we are set up */
};

/* Whose fault the end of a call is. */
enum call_blame {
    CALL_ANSWERED,   /* nobody's: the answer counts */
    CALL_AT_FAULT,   /* counts against this call, as an attempt that it used up */
    CALL_IN_DOUBT,   /* the party's, unless another call was answered well since this one was doubted first */
    CALL_NOT_CHARGED /* the party's, or our own: the call waits for its turn again as if it had not been made */
};

#define PARTY_DISTINCT 3

struct party {
    int most;
    int64_t first_pause_ms;
    int64_t slow_us; /* answers that take no longer never shrink the window */
    enum party_state state;
    int under_way;

    /* the window, in thousandths of a call */
    int64_t window;
    int64_t threshold; /* up to here it grows by one with each answer */
    int64_t full_us;   /* when the last call began that left no room */
    int64_t cut_us;    /* calls that began before do not shrink it once more */

    /* the least time that an answer took, of this period and the one before */
    int64_t least_us[2];
    int64_t period_us;
    int64_t smooth_us; /* what an answer takes now, smoothed */

    /* the breaker */
    int failures; /* in a row */
    int busy;     /* of them in a row: it was busy */
    int distinct; /* calls that they were about, up to PARTY_DISTINCT */
    struct id failed[PARTY_DISTINCT];
    int64_t up_us;     /* calls that began before say nothing bad any more */
    int64_t held_us;   /* nothing is called before: it said Retry-After */
    int64_t probe_us;  /* not up: the next probe */
    int64_t probed_us; /* not up: the last one ended */
    int64_t probes;    /* not up: those that failed, with what broke it */
    uint64_t version;  /* of what there is to tell: counts up */
    bool is_asked;     /* somebody wants to know: the next probe need not wait for all of its pause */
};

struct party_answer {
    enum party_result result;
    struct id call;
    int64_t started_us;
    int64_t retry_after_ms; /* 0: not said */
};

void
party_init(struct party *party, int most, int64_t first_pause_ms, int64_t timeout_ms);

/* How many calls may begin now, beside those under way. */
int
party_room(const struct party *party, int64_t now_us);

/* How many may be kept ready beside those under way, to begin when one of these ends and not a commit later: none when answers take
 * long or calls are held, because what is ready waits here for what is under way. */
int
party_ahead(const struct party *party, int64_t now_us);

/* When there may be room although nothing ends: INT64_MAX for never. */
int64_t
party_next_us(const struct party *party);

void
party_started(struct party *party, int64_t now_us);

enum call_blame
party_ended(struct party *party, const struct party_answer *answer, int64_t now_us);

/* Somebody wants to know whether it is back: the next probe goes out a second after the last at the latest. */
void
party_probe_soon(struct party *party);

/* As it was when the process ended: the first call is a probe. */
void
party_resume(struct party *party, enum party_state state, int64_t probes, int64_t now_us);

#endif
