/* SPDX-License-Identifier: MPL-2.0 */
/* What an order's customer is told, in words. */
#ifndef LARDER_ORDER_TEXT_H
#define LARDER_ORDER_TEXT_H

#include "order_row.h"

#define ORDER_TELL_SIZE 256

/* A sentence for the customer about the status that the order has now. */
void
order_tell(const struct order_row *row, char text[ORDER_TELL_SIZE]);

#endif
