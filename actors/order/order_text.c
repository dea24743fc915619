/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Sentences for customers: good news and bad, with the reason and what happens to the money.
 * STATE     None.
 * FAILURES  None.
 * LIMITS    English; a sentence is cut at ORDER_TELL_SIZE - 1 bytes. Nothing personal: who it is told to is asked of user by whoever
 *           tells it.
 */
#include "order_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *
why_cancelled(const char *reason)
{
    static const struct {
        const char *reason;
        const char *words;
    } whys[] = {
        {"expired", "it was not paid in time"},
        {"by_customer", "as you asked"},
        {"by_employee", "we are sorry, we had to give it up"},
        {"out_of_stock", "we are sorry, there is not enough left"},
    };
    for (size_t i = 0; i < sizeof whys / sizeof whys[0]; i++) {
        if (strcmp(reason, whys[i].reason) == 0) {
            return whys[i].words;
        }
    }
    return "we are sorry, it could not be done";
}

void
order_tell(const struct order_row *row, char text[ORDER_TELL_SIZE])
{
    switch (row->status) {
    case ORDER_PLACED:
        (void)snprintf(text, ORDER_TELL_SIZE, "We have your order %" PRId64 ".", row->n);
        return;
    case ORDER_AWAITING_PAYMENT:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " is kept for you until it is paid.", row->n);
        return;
    case ORDER_RECEIVED:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " is paid; the kitchen has it.", row->n);
        return;
    case ORDER_IN_PREPARATION:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " is being prepared.", row->n);
        return;
    case ORDER_READY:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " is ready: please fetch it.", row->n);
        return;
    case ORDER_COMPLETED:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " was fetched. Enjoy your meal.", row->n);
        return;
    case ORDER_CANCELLED:
        (void)snprintf(text, ORDER_TELL_SIZE, "Order %" PRId64 " was cancelled: %s.%s", row->n, why_cancelled(row->reason),
                       row->money == MONEY_PAID ? " Your money goes back." : "");
        return;
    case ORDER_PAYMENT_FAILED:
        (void)snprintf(text, ORDER_TELL_SIZE, "The payment of order %" PRId64 " was refused. You can try to pay once more.", row->n);
        return;
    case ORDER_STATUS_COUNT:
        break;
    }
    text[0] = '\0';
}
