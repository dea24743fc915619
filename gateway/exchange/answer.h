/* SPDX-License-Identifier: MPL-2.0 */
/* From what an actor has said, or what is wrong with a request, to the answer that the client gets. */
#ifndef LARDER_ANSWER_H
#define LARDER_ANSWER_H

#include "exchange.h"

/* Answers with what stands in `out`. */
void
answer_give(struct exchange *exchange, int status, enum exchange_content content);

/* Answers with a problem document. `problem` may be NULL. */
void
answer_problem(struct exchange *exchange, err code, const struct wire_problem *problem);
void
answer_refuse(struct exchange *exchange, err code, const char *detail);

/* Answers with the reply of the route's operation, a struct of `body`. False: the page has room, and the shard `page.last.shard` has
 * to be asked for the rest. */
bool
answer_reply(struct exchange *exchange, const struct wire_body *body, const union json_any *reply);

void
answer_refusal(struct exchange *exchange, const struct upstream_reply *reply);

/* 202: the request is on the dlq's disk, and its letter says what becomes of it. Who may not read letters is shown where he reads
 * it. */
void
answer_kept(struct exchange *exchange, const union json_any *letter);

#endif
