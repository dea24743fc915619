/* SPDX-License-Identifier: MPL-2.0 */
/* Problem documents (RFC 9457). */
#ifndef LARDER_PROBLEM_H
#define LARDER_PROBLEM_H

#include "err.h"
#include "id.h"
#include "wire.h"

/* The code that a caller is told: those of the database become `unavailable` or `internal`. */
err
problem_public(err code);

/* Appends {"type":"urn:larder:problem:<symbol>","title","status","detail","instance":"urn:uuid:<id>"} and, as far as they are
 * set, product, asked, available, version, letter, order, order_status and allowed. `problem` and `id` may be NULL. */
void
problem_write(err code, const struct wire_problem *problem, const struct id *id, struct wire_buffer *out);

#endif
