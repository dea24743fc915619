/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the payment actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL. The id of a charge or of a refund is the request's id: give it in `options`.
 */
#ifndef LARDER_PAYMENT_CLIENT_H
#define LARDER_PAYMENT_CLIENT_H

#include "larder.h"

/* Ask for money. */
MUST_CHECK err
payment_client_charge(struct larder_client *client, const struct larder_options *options, const struct wire_payment_charge *body,
                      struct wire_charge *answer, struct err_text *why);

/* Stop asking for it. */
MUST_CHECK err
payment_client_cancel(struct larder_client *client, const struct larder_options *options, const struct wire_payment_cancel *body,
                      struct wire_charge *answer, struct err_text *why);

/* Pay it back. */
MUST_CHECK err
payment_client_refund(struct larder_client *client, const struct larder_options *options, const struct wire_payment_refund *body,
                      struct wire_refund *answer, struct err_text *why);

/* Say that it was paid by hand. */
MUST_CHECK err
payment_client_confirm(struct larder_client *client, const struct larder_options *options, const struct wire_payment_confirm *body,
                       struct wire_charge *answer, struct err_text *why);

/* Read a charge. */
MUST_CHECK err
payment_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_payment_get *body,
                   struct wire_charge *answer, struct err_text *why);

/* Page through charges. */
MUST_CHECK err
payment_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_payment_list *body,
                    struct wire_charge_page *answer, struct err_text *why);

/* Read the refunds of a charge. */
MUST_CHECK err
payment_client_refunds(struct larder_client *client, const struct larder_options *options, const struct wire_payment_refunds *body,
                       struct wire_refund_page *answer, struct err_text *why);

/* The provider tells how a charge or refund ended. */
MUST_CHECK err
payment_client_webhook(struct larder_client *client, const struct larder_options *options, const struct wire_payment_webhook *body,
                       struct wire_payment_noted *answer, struct err_text *why);

#endif
