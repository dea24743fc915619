/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the stock actor, one function each: larder_client_exchange() with types. The peers of the client are the
 * shards; the body's product says which. `options` may be NULL; `answer` may be NULL when it is not wanted, its slices live until
 * the next call with this client; `why` is the sentence of a refusal, and may be NULL.
 */
#ifndef LARDER_STOCK_CLIENT_H
#define LARDER_STOCK_CLIENT_H

#include "larder.h"

/* A sale: the units leave at once. */
MUST_CHECK err
stock_client_take(struct larder_client *client, const struct larder_options *options, const struct wire_stock_take *body,
                  struct wire_stock_done *answer, struct err_text *why);

/* Hold units until a deadline. */
MUST_CHECK err
stock_client_reserve(struct larder_client *client, const struct larder_options *options, const struct wire_stock_reserve *body,
                     struct wire_stock_done *answer, struct err_text *why);

/* Move the end of a hold. */
MUST_CHECK err
stock_client_extend(struct larder_client *client, const struct larder_options *options, const struct wire_stock_extend *body,
                    struct wire_stock_done *answer, struct err_text *why);

/* The held units leave. */
MUST_CHECK err
stock_client_commit(struct larder_client *client, const struct larder_options *options, const struct wire_stock_commit *body,
                    struct wire_stock_done *answer, struct err_text *why);

/* The held units go back. */
MUST_CHECK err
stock_client_release(struct larder_client *client, const struct larder_options *options, const struct wire_stock_release *body,
                     struct wire_stock_done *answer, struct err_text *why);

/* The units of a committed hold come back. */
MUST_CHECK err
stock_client_return(struct larder_client *client, const struct larder_options *options, const struct wire_stock_return *body,
                    struct wire_stock_done *answer, struct err_text *why);

/* Add or remove units. */
MUST_CHECK err
stock_client_adjust(struct larder_client *client, const struct larder_options *options, const struct wire_stock_adjust *body,
                    struct wire_stock_done *answer, struct err_text *why);

/* Set what was counted. */
MUST_CHECK err
stock_client_count(struct larder_client *client, const struct larder_options *options, const struct wire_stock_count *body,
                   struct wire_stock_done *answer, struct err_text *why);

/* Set when and how far to refill. */
MUST_CHECK err
stock_client_configure(struct larder_client *client, const struct larder_options *options, const struct wire_stock_configure *body,
                       struct wire_stock_done *answer, struct err_text *why);

/* Read a level. */
MUST_CHECK err
stock_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_stock_get *body,
                 struct wire_stock_level *answer, struct err_text *why);

/* Page through the levels of a shard. */
MUST_CHECK err
stock_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_stock_list *body,
                  struct wire_stock_levels *answer, struct err_text *why);

/* Page through the ledger of a product. */
MUST_CHECK err
stock_client_moves(struct larder_client *client, const struct larder_options *options, const struct wire_stock_moves *body,
                   struct wire_stock_ledger *answer, struct err_text *why);

/* Page through the open holds of a product. */
MUST_CHECK err
stock_client_holds(struct larder_client *client, const struct larder_options *options, const struct wire_stock_holds *body,
                   struct wire_stock_hold_page *answer, struct err_text *why);

/* Read a hold, open or ended. */
MUST_CHECK err
stock_client_hold(struct larder_client *client, const struct larder_options *options, const struct wire_stock_find_hold *body,
                  struct wire_stock_held *answer, struct err_text *why);

#endif
