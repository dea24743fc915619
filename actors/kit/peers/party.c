/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The window and the breaker in front of an outside party: see party.h.
 *
 *   The window is TCP's: additive increase, multiplicative decrease with a slow start (Jacobson, "Congestion Avoidance and Control",
 *   1988; RFC 5681), counted in calls. It fits because what we learn is what TCP learns, and because two of us in front of one party
 *   end with equal shares, which gradients of latency alone (Netflix's concurrency-limits) do not promise. A time-out or a "busy"
 *   halves it, once for all calls that were under way then. What TCP lacks is a party that only queues: there the time that answers
 *   take grows, and that is the other signal, as in TCP Vegas (Brakmo, 1995): when it is more than twice the least time seen
 *   lately, and more than an eighth of what a call may take, the window shrinks by one a round. Less than that is noise, of a busy
 *   machine or of calls that differ by nature, and to shrink for it would starve a healthy party; nor does it shrink so below
 *   DELAY_FLOOR.
 *
 *   The breaker: FAILURES_MAX failures in a row about PARTY_DISTINCT different calls are the party's; fewer are believed to be
 *   those calls' own. "Busy" is never a call's own. An answer that refuses our credentials or our address breaks at once: each
 *   further call would end the same. While it is broken one call at a time goes out as a probe, with growing pauses; the first good
 *   answer closes it, and the window begins small.
 *
 * LIMITS
 *   A Retry-After counts up to RETRY_AFTER_MAX_MS. State is memory: a process that starts finds out anew, but for what it is told by
 *   party_resume().
 */
#include "party.h"

#include "kit/base/backoff.h"

#define ONE INT64_C(1000) /* a call, in thousandths */

enum {
    WINDOW_FIRST = 4,
    WINDOW_AGAIN = 1,
    DELAY_FLOOR = 4,
    AHEAD_ROUNDS = 4, /* of an eighth of what a call may take each, so half of that at the most */
    PERIOD_US = 10000000,
    FAILURES_MAX = 5,
    ASKED_PAUSE_US = 1000000,
    DOUBT_PAUSE_MAX_MS = 5000,
    RETRY_AFTER_MAX_MS = 600000
};

void
party_init(struct party *party, int most, int64_t first_pause_ms, int64_t timeout_ms)
{
    *party = (struct party){.most = most, .first_pause_ms = first_pause_ms, .slow_us = timeout_ms * 1000 / 8, .threshold = most * ONE};
    party->window = (WINDOW_FIRST < most ? WINDOW_FIRST : most) * ONE;
}

static int64_t
earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
probe_moment(const struct party *party)
{
    int64_t asked_us = party->probed_us + ASKED_PAUSE_US;
    int64_t probe_us = party->is_asked ? earlier(party->probe_us, asked_us) : party->probe_us;
    return probe_us > party->held_us ? probe_us : party->held_us;
}

int
party_room(const struct party *party, int64_t now_us)
{
    if (party->state != PARTY_UP) {
        return party->under_way == 0 && now_us >= probe_moment(party) ? 1 : 0;
    }
    int room = (int)(party->window / ONE) - party->under_way;
    return now_us < party->held_us || room < 0 ? 0 : room;
}

int
party_ahead(const struct party *party, int64_t now_us)
{
    bool is_open = party->state == PARTY_UP && now_us >= party->held_us;
    return is_open && party->smooth_us <= party->slow_us ? (int)(party->window / ONE) * AHEAD_ROUNDS : 0;
}

int64_t
party_next_us(const struct party *party)
{
    if (party->state != PARTY_UP) {
        return party->under_way == 0 ? probe_moment(party) : INT64_MAX;
    }
    return party->held_us;
}

void
party_started(struct party *party, int64_t now_us)
{
    party->under_way++;
    if ((party->under_way + 1) * ONE > party->window) {
        party->full_us = now_us;
    }
}

void
party_probe_soon(struct party *party)
{
    party->is_asked = true;
}

void
party_resume(struct party *party, enum party_state state, int64_t probes, int64_t now_us)
{
    party->state = state;
    party->probes = probes;
    party->probe_us = now_us;
    party->probed_us = now_us;
    party->window = WINDOW_AGAIN * ONE;
}

/* --- the window --- */

static void
bound_window(struct party *party)
{
    int64_t most = party->most * ONE;
    party->window = party->window > most ? most : party->window;
    party->window = party->window < ONE ? ONE : party->window;
}

static void
shrink(struct party *party, int64_t started_us, int64_t now_us)
{
    if (started_us < party->cut_us) {
        return;
    }
    party->window /= 2;
    bound_window(party);
    party->threshold = party->window;
    party->cut_us = now_us;
}

static void
measure(struct party *party, int64_t took_us, int64_t now_us)
{
    if (now_us - party->period_us >= PERIOD_US) {
        party->least_us[1] = party->least_us[0];
        party->least_us[0] = 0;
        party->period_us = now_us;
    }
    for (int i = 0; i < 2; i++) {
        party->least_us[i] = party->least_us[i] == 0 || took_us < party->least_us[i] ? took_us : party->least_us[i];
    }
    party->smooth_us = party->smooth_us == 0 ? took_us : party->smooth_us + (took_us - party->smooth_us) / 8;
}

/* `was_full`: meanwhile as many were under way as the window allowed; otherwise nothing was learned about a larger one. */
static void
grow(struct party *party, bool was_full)
{
    bool is_queueing = party->smooth_us > 2 * earlier(party->least_us[0], party->least_us[1]) && party->smooth_us > party->slow_us;
    if (is_queueing && party->window > DELAY_FLOOR * ONE) {
        party->threshold = party->threshold < party->window ? party->threshold : party->window;
        party->window -= ONE * ONE / party->window;
    } else if (was_full) {
        party->window += party->window < party->threshold ? ONE : ONE * ONE / party->window;
    }
    bound_window(party);
}

/* --- the breaker --- */

static void
set_pause(struct party *party, enum party_result result, int64_t now_us)
{
    int64_t pause_ms = backoff_ms(party->first_pause_ms, party->probes);
    pause_ms = result == PARTY_DOUBT ? earlier(pause_ms, DOUBT_PAUSE_MAX_MS) : pause_ms;
    party->probe_us = now_us + pause_ms * 1000;
    party->probed_us = now_us;
    party->is_asked = false;
}

static void
break_with(struct party *party, enum party_state state, enum party_result result, int64_t now_us)
{
    party->threshold = party->state == PARTY_UP ? party->window / 2 : party->threshold;
    party->state = state;
    party->probes++;
    party->version++;
    set_pause(party, result, now_us);
}

static void
forget_failures(struct party *party)
{
    party->failures = party->busy = party->distinct = 0;
}

static void
close_breaker(struct party *party, int64_t now_us)
{
    forget_failures(party);
    if (party->state == PARTY_UP) {
        return;
    }
    party->state = PARTY_UP;
    party->probes = 0;
    party->version++;
    party->up_us = now_us;
    party->window = WINDOW_AGAIN * ONE;
    party->threshold = party->threshold < WINDOW_FIRST * ONE ? WINDOW_FIRST * ONE : party->threshold;
    party->least_us[0] = party->least_us[1] = party->smooth_us = 0;
}

static void
note_failed(struct party *party, const struct id *call)
{
    party->failures++;
    for (int i = 0; i < party->distinct; i++) {
        if (id_equal(&party->failed[i], call)) {
            return;
        }
    }
    if (party->distinct < PARTY_DISTINCT) {
        party->failed[party->distinct++] = *call;
    }
}

/* A failure that is not a refusal, of a party that was up when the call began. */
static enum call_blame
fail_up(struct party *party, const struct party_answer *answer, int64_t now_us)
{
    bool is_busy = answer->result == PARTY_BUSY;
    note_failed(party, &answer->call);
    party->busy = is_busy ? party->busy + 1 : 0;
    if (party->busy >= FAILURES_MAX || (party->failures >= FAILURES_MAX && party->distinct == PARTY_DISTINCT)) {
        break_with(party, PARTY_DOWN, answer->result, now_us);
    }
    return is_busy ? CALL_NOT_CHARGED : CALL_AT_FAULT;
}

static enum call_blame
fail(struct party *party, const struct party_answer *answer, int64_t now_us)
{
    bool is_refusal = answer->result == PARTY_DOUBT || answer->result == PARTY_REFUSES;
    if (answer->started_us < party->up_us) {
        return answer->result == PARTY_DOUBT ? CALL_IN_DOUBT : CALL_NOT_CHARGED;
    }
    if (is_refusal) {
        if (party->state != PARTY_REFUSED || answer->started_us >= party->probed_us) {
            break_with(party, PARTY_REFUSED, answer->result, now_us);
        }
        return answer->result == PARTY_DOUBT ? CALL_IN_DOUBT : CALL_NOT_CHARGED;
    }
    if (party->state == PARTY_UP) {
        return fail_up(party, answer, now_us);
    }
    if (answer->started_us >= party->probed_us) {
        break_with(party, PARTY_DOWN, answer->result, now_us);
    }
    return CALL_NOT_CHARGED;
}

enum call_blame
party_ended(struct party *party, const struct party_answer *answer, int64_t now_us)
{
    bool was_full = answer->started_us <= party->full_us;
    party->under_way--;
    if (answer->retry_after_ms > 0 && answer->result == PARTY_BUSY) {
        party->held_us = now_us + earlier(answer->retry_after_ms, RETRY_AFTER_MAX_MS) * 1000;
    }
    if (answer->result == PARTY_BUSY || answer->result == PARTY_SLOW) {
        shrink(party, answer->started_us, now_us);
    }
    if (answer->result == PARTY_GOOD) {
        close_breaker(party, now_us);
        measure(party, now_us - answer->started_us, now_us);
        grow(party, was_full);
        return CALL_ANSWERED;
    }
    if (answer->result != PARTY_SILENT) {
        return fail(party, answer, now_us);
    }
    if (party->state == PARTY_REFUSED) {
        party->probe_us = now_us; /* what it says to the next call will tell */
    } else {
        close_breaker(party, now_us);
    }
    return CALL_ANSWERED;
}
