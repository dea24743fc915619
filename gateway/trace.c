/* SPDX-License-Identifier: MPL-2.0 */
/*
 * trace: W3C Trace Context at the edge
 *
 * PURPOSE
 *   A traceparent that a caller sends goes through every hop as it came; a request without one gets one whose trace id is the
 *   request's id, so that a log line's `req=` and `trace=` lead to each other.
 *
 * FAILURES
 *   A header that is not valid is treated as absent, as the recommendation has it.
 *
 * LIMITS
 *   Only version 00; tracestate is not passed on.
 */
#include "trace.h"

static const char HEX[16] = "0123456789abcdef";

/* Lower-case hexadecimal digits from `from` up to `end`, not all of them zero unless that is allowed. */
static bool
is_hex(struct slice text, size_t from, size_t end, bool zero_allowed)
{
    bool is_zero = true;
    for (size_t i = from; i < end; i++) {
        uint8_t character = text.data[i];
        if (!((character >= '0' && character <= '9') || (character >= 'a' && character <= 'f'))) {
            return false;
        }
        is_zero = is_zero && character == '0';
    }
    return zero_allowed || !is_zero;
}

bool
trace_is_valid(struct slice traceparent)
{
    return traceparent.size == TRACE_SIZE && memcmp(traceparent.data, "00-", 3) == 0 && traceparent.data[35] == '-' &&
           traceparent.data[52] == '-' && is_hex(traceparent, 3, 35, false) && is_hex(traceparent, 36, 52, false) &&
           is_hex(traceparent, 53, 55, true);
}

static char *
put_hex(char *out, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        *out++ = HEX[bytes[i] >> 4];
        *out++ = HEX[bytes[i] & 15];
    }
    return out;
}

void
trace_make(const struct id *id, char traceparent[TRACE_SIZE])
{
    char *out = traceparent;
    *out++ = '0';
    *out++ = '0';
    *out++ = '-';
    out = put_hex(out, id->bytes, ID_SIZE);
    *out++ = '-';
    out = put_hex(out, id->bytes + 8, 8);
    *out++ = '-';
    *out++ = '0';
    *out = '0';
}
