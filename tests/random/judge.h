/* SPDX-License-Identifier: MPL-2.0 */
/* Whether an answer is right: by its table, by what the operation may say, by what was said under its id before, by the book. */
#ifndef LARDER_RANDOM_JUDGE_H
#define LARDER_RANDOM_JUDGE_H

#include "sequence.h"

/* The two frames of a reply. What is wrong stands in sequence->fault. Fills the request's `status` and `was_answered`. */
void
judge_answer(struct sequence *sequence, struct request *request, struct slice header, struct slice body);

/* An answer over HTTP, body and status. */
void
judge_http(struct sequence *sequence, struct request *request, int status, struct slice body);

/* The frames of an event: topic, header, body. */
void
judge_event(struct sequence *sequence, struct slice topic, struct slice header, struct slice body);

/* Whether the request has to be asked again under its id until its answer is final. */
bool
judge_is_open(const struct request *request);

#endif
