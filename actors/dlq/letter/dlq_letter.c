/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A letter's names and its form on the wire.
 *
 * STATE     None. The order of the names is the order of the numbers in the database.
 *
 * FAILURES  None. What is not known, not there or DLQ_NONE is left out of the body.
 *
 * LIMITS    Texts are cut to the size of their place, at the border of a character. A state or kind with a number that nobody writes
 *           was changed by hand: it is called as the nearest that asks for a look, dead and event.
 */
#include "dlq_letter.h"

#include "kit/settings/topology.h"

static const char *const state_names[DLQ_STATE_COUNT] = {"waiting", "dead", "replaying", "done", "discarded", "stale"};
static const char *const kind_names[DLQ_KIND_COUNT] = {"event", "subscriber", "request", "call", "saga"};

const char *
dlq_state_name(enum dlq_state state)
{
    return (unsigned)state < DLQ_STATE_COUNT ? state_names[state] : state_names[DLQ_DEAD];
}

const char *
dlq_kind_name(enum dlq_kind kind)
{
    return (unsigned)kind < DLQ_KIND_COUNT ? kind_names[kind] : kind_names[DLQ_EVENT];
}

enum dlq_state
dlq_state_find(struct slice name)
{
    unsigned state = 0;
    while (state < DLQ_STATE_COUNT && !slice_equal(name, slice_of(state_names[state]))) {
        state++;
    }
    return (enum dlq_state)state;
}

enum dlq_kind
dlq_kind_find(struct slice name)
{
    unsigned kind = 0;
    while (kind < DLQ_KIND_COUNT && !slice_equal(name, slice_of(kind_names[kind]))) {
        kind++;
    }
    return (enum dlq_kind)kind;
}

void
dlq_copy(char *to, size_t size, struct slice text)
{
    size_t kept = text.size < size ? text.size : size - 1;
    if (kept < text.size) {
        while (kept > 0 && (text.data[kept] & 0xc0U) == 0x80U) {
            kept--;
        }
    }
    if (kept > 0) {
        memcpy(to, text.data, kept);
    }
    to[kept] = '\0';
}

/* --- on the wire --- */

/* Of an event, a subscriber, a request: what only some letters have. */
static void
add_what_it_is(struct wire_letter *body, const struct dlq_letter *letter)
{
    if (letter->source[0] != '\0') {
        WIRE_SET(body, letter, source, slice_of(letter->source));
    }
    if (letter->seq > 0) {
        WIRE_SET(body, letter, seq, letter->seq);
    }
    if (letter->kind == DLQ_SUBSCRIBER && letter->to >= 0) {
        WIRE_SET(body, letter, to, letter->to);
    }
    if (letter->type[0] != '\0') {
        WIRE_SET(body, letter, type, slice_of(letter->type));
    }
    if (letter->useful_until_ms >= 0) {
        WIRE_SET(body, letter, useful_until, letter->useful_until_ms);
    }
    if (!id_is_zero(&letter->request)) {
        WIRE_SET(body, letter, request, letter->request);
    }
    if (letter->status != ERR_COUNT) {
        WIRE_SET(body, letter, status, slice_of(err_symbol(letter->status)));
    }
    if (strlen(letter->traceparent) == sizeof letter->traceparent - 1) {
        WIRE_SET(body, letter, traceparent, slice_of(letter->traceparent));
    }
}

static void
add_what_is_at_stake(struct wire_letter *body, const struct dlq_letter *letter)
{
    if (letter->units >= 0) {
        WIRE_SET(body, letter, units, letter->units);
    }
    if (letter->amount >= 0) {
        WIRE_SET(body, letter, amount, letter->amount);
    }
    if (letter->currency[0] != '\0') {
        WIRE_SET(body, letter, currency, slice_of(letter->currency));
    }
    if (!id_is_zero(&letter->replay)) {
        WIRE_SET(body, letter, replay, letter->replay);
    }
}

struct wire_letter
dlq_letter_body(const struct dlq_letter *letter)
{
    struct wire_letter body = {0};
    WIRE_SET(&body, letter, id, letter->id);
    WIRE_SET(&body, letter, number, letter->n);
    WIRE_SET(&body, letter, state, slice_of(dlq_state_name(letter->state)));
    WIRE_SET(&body, letter, kind, slice_of(dlq_kind_name(letter->kind)));
    WIRE_SET(&body, letter, reason, slice_of(letter->reason));
    WIRE_SET(&body, letter, error, slice_of(letter->error));
    WIRE_SET(&body, letter, destination, slice_of(letter->destination));
    WIRE_SET(&body, letter, key, slice_of(letter->key));
    WIRE_SET(&body, letter, attempts, letter->attempts);
    WIRE_SET(&body, letter, first, letter->first_ms);
    WIRE_SET(&body, letter, last, letter->last_ms);
    WIRE_SET(&body, letter, opened, letter->opened_ms);
    WIRE_SET(&body, letter, changed, letter->changed_ms);
    add_what_it_is(&body, letter);
    add_what_is_at_stake(&body, letter);
    return body;
}

bool
dlq_split(const char *destination, char actor[DLQ_TEXT_SIZE], int *shard)
{
    const char *slash = strrchr(destination, '/');
    if (slash == NULL || slash == destination || (size_t)(slash - destination) >= DLQ_TEXT_SIZE) {
        return false;
    }
    size_t digits = strspn(slash + 1, "0123456789");
    if (digits == 0 || digits > 3 || slash[1 + digits] != '\0') {
        return false;
    }
    memcpy(actor, destination, (size_t)(slash - destination));
    actor[slash - destination] = '\0';
    *shard = 0;
    for (const char *digit = slash + 1; *digit != '\0'; digit++) {
        *shard = *shard * 10 + (*digit - '0');
    }
    return topology_knows(actor);
}

void
dlq_history_add(struct dlq_frames *frames, const struct dlq_letter *letter, struct wire_buffer *out)
{
    struct wire_list there = {.data = frames->history.data, .size = frames->history.size, .count = (uint32_t)frames->history_count};
    struct wire_list list = {0};
    struct wire_letter_attempt attempt = {0};
    for (uint32_t i = 0; wire_list_next(&there, &letter_attempt_body, &attempt); i++) {
        if (frames->history_count < DLQ_HISTORY_MAX || i != 1) {
            wire_list_add(&list, &letter_attempt_body, &attempt, out);
        }
    }
    attempt = (struct wire_letter_attempt){0};
    WIRE_SET(&attempt, letter_attempt, time, letter->last_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(letter->error));
    wire_list_add(&list, &letter_attempt_body, &attempt, out);
    frames->history = wire_buffer_slice(out);
    frames->history_count = list.count;
}
