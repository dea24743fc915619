/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Outside calls (of the factory, of payment) outlive the process as the payload of their due row: 32 bytes of counts,
 *          big-endian, and the attempts that failed as they go into a letter.
 *
 * STATE    payload = version, wait, has_letter, count of attempts (a byte each), doubted (4 bytes of seconds), failures, accepted,
 *          told (8 bytes each), then the attempts, one encoded letter_attempt after the other.
 *
 * LIMITS   CALLS_HISTORY_MAX attempts: of more the first and the latest. An attempt's error is as long as an err_text: all of it
 *          stays below the size of a due row's payload.
 */
#include "calls.h"

#include <string.h>

#include "kit/base/big_endian.h"

enum { VERSION = 1, FIXED_SIZE = 32 };

static bool
is_readable(struct slice payload)
{
    return payload.size >= FIXED_SIZE && payload.data[0] == VERSION && payload.data[1] < CALLS_WAIT_COUNT &&
           payload.data[3] <= CALLS_HISTORY_MAX;
}

/* Copies the attempts, without the second of them when `skips_second`. A broken one ends the list. */
static struct wire_list
copy_attempts(struct wire_list from, bool skips_second, struct wire_buffer *out)
{
    struct wire_list copied = {0};
    struct wire_letter_attempt attempt;
    for (int i = 0; wire_list_next(&from, &letter_attempt_body, &attempt); i++) {
        if (!(skips_second && i == 1)) {
            wire_list_add(&copied, &letter_attempt_body, &attempt, out);
        }
    }
    return copied;
}

void
calls_init(struct calls *calls, struct slice payload)
{
    *calls = (struct calls){.wait = CALLS_WAIT_CALL};
    if (!is_readable(payload)) {
        return;
    }
    calls->wait = (enum calls_wait)payload.data[1];
    calls->has_letter = payload.data[2] != 0;
    calls->doubted_ms = (get_i64(payload.data) & UINT32_MAX) * 1000;
    calls->failures = get_i64(payload.data + 8);
    calls->accepted = get_i64(payload.data + 16);
    calls->told = get_i64(payload.data + 24);
    struct wire_list stored = {.data = payload.data + FIXED_SIZE, .size = payload.size - FIXED_SIZE, .count = payload.data[3]};
    calls->past = copy_attempts(stored, false, &calls->own);
    wire_list_end(&calls->past, &calls->own);
}

void
calls_fini(struct calls *calls)
{
    wire_buffer_fini(&calls->own);
    calls->past = (struct wire_list){0};
}

void
calls_add(struct calls *calls, int64_t time_ms, struct slice error)
{
    struct wire_buffer grown = {0};
    struct wire_letter_attempt attempt = {0};
    struct wire_list past = copy_attempts(calls->past, calls->past.count == CALLS_HISTORY_MAX, &grown);
    WIRE_SET(&attempt, letter_attempt, time, time_ms);
    WIRE_SET(&attempt, letter_attempt, error, error);
    wire_list_add(&past, &letter_attempt_body, &attempt, &grown);
    wire_list_end(&past, &grown);
    wire_buffer_fini(&calls->own);
    calls->own = grown;
    calls->past = past;
}

bool
calls_doubt(struct calls *calls, int64_t now_ms, bool others_are_answered)
{
    if (calls->doubted_ms > 0 && others_are_answered) {
        return true;
    }
    calls->doubted_ms = calls->doubted_ms > 0 ? calls->doubted_ms : now_ms / 1000 * 1000 + 1000;
    return false;
}

int64_t
calls_first_ms(const struct calls *calls, int64_t otherwise)
{
    struct wire_list past = calls->past;
    struct wire_letter_attempt attempt;
    return wire_list_next(&past, &letter_attempt_body, &attempt) ? attempt.time : otherwise;
}

bool
calls_again(int64_t in_a_row, int64_t retry_attempts, bool has_letter)
{
    return in_a_row < retry_attempts && !has_letter;
}

void
calls_encode(const struct calls *calls, struct wire_buffer *out)
{
    uint8_t fixed[FIXED_SIZE] = {VERSION, (uint8_t)calls->wait, calls->has_letter ? 1 : 0, (uint8_t)calls->past.count};
    for (int i = 0; i < 4; i++) {
        fixed[4 + i] = (uint8_t)((uint64_t)(calls->doubted_ms / 1000) >> (24 - 8 * i));
    }
    put_i64(fixed + 8, calls->failures);
    put_i64(fixed + 16, calls->accepted);
    put_i64(fixed + 24, calls->told);
    wire_buffer_append(out, fixed, sizeof fixed);
    if (calls->past.size > 0) {
        wire_buffer_append(out, calls->past.data, calls->past.size);
    }
}

void
retime_calls(const struct retiming *retiming, struct calls *calls, struct due_row *row)
{
    int64_t doubted_ms = retimed(retiming, calls->doubted_ms, 0);
    if (calls->doubted_ms == 0 || doubted_ms == calls->doubted_ms) {
        return;
    }
    struct wire_buffer payload = {0};
    calls->doubted_ms = doubted_ms;
    calls_encode(calls, &payload);
    row->payload = arena_copy(retiming->arena, wire_buffer_slice(&payload));
    wire_buffer_fini(&payload);
}
