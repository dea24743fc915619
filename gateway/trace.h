/* SPDX-License-Identifier: MPL-2.0 */
/* The traceparent header of W3C Trace Context. */
#ifndef LARDER_TRACE_H
#define LARDER_TRACE_H

#include <stdbool.h>

#include "id.h"
#include "wire.h"

#define TRACE_SIZE 55

/* Version 00: 00-32 hexadecimal digits-16-2, lower case, neither id all zero. */
bool
trace_is_valid(struct slice traceparent);

/* Makes one for a request that came without: the request's id is the trace's, not sampled. Writes TRACE_SIZE characters. */
void
trace_make(const struct id *id, char traceparent[TRACE_SIZE]);

#endif
