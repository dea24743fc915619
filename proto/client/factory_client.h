/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the factory actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL.
 */
#ifndef LARDER_FACTORY_CLIENT_H
#define LARDER_FACTORY_CLIENT_H

#include "larder.h"

/* Order a production. */
MUST_CHECK err
factory_client_produce(struct larder_client *client, const struct larder_options *options, const struct wire_factory_produce *body,
                       struct wire_production *answer, struct err_text *why);

/* Read a production. */
MUST_CHECK err
factory_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_factory_get *body,
                   struct wire_production *answer, struct err_text *why);

/* Page through productions. */
MUST_CHECK err
factory_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_factory_list *body,
                    struct wire_productions *answer, struct err_text *why);

/* An outside factory is done. */
MUST_CHECK err
factory_client_callback(struct larder_client *client, const struct larder_options *options, const struct wire_factory_callback *body,
                        struct wire_production *answer, struct err_text *why);

#endif
