/* SPDX-License-Identifier: MPL-2.0 */
/* From path, query, headers and body of an exchange to the request of its operation. */
#ifndef LARDER_INTAKE_H
#define LARDER_INTAKE_H

#include "exchange.h"

/* Fills `request` of an exchange whose address has matched. What it points to lives until the exchange is cleared. */
MUST_CHECK err
intake_read(struct exchange *exchange, struct err_text *why);

/* The query as it stands in the address, without its mark; empty for none. */
struct slice
intake_query(const struct exchange *exchange);

/* Takes the next pair of a query off its front. */
bool
intake_next_pair(struct slice *query, struct slice *pair);

#endif
