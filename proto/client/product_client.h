/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The operations of the product actor, one function each: larder_client_exchange() with types. `options` may be NULL; `answer` may be
 * NULL when it is not wanted, its slices live until the next call with this client; `why` is the sentence of a refusal, and may be
 * NULL.
 */
#ifndef LARDER_PRODUCT_CLIENT_H
#define LARDER_PRODUCT_CLIENT_H

#include "larder.h"

/* Create or replace a product. */
MUST_CHECK err
product_client_put(struct larder_client *client, const struct larder_options *options, const struct wire_product_put *body,
                   struct wire_product_card *answer, struct err_text *why);

/* Change a product. */
MUST_CHECK err
product_client_patch(struct larder_client *client, const struct larder_options *options, const struct wire_product_patch *body,
                     struct wire_product_card *answer, struct err_text *why);

/* Read a product. */
MUST_CHECK err
product_client_get(struct larder_client *client, const struct larder_options *options, const struct wire_product_get *body,
                   struct wire_product_card *answer, struct err_text *why);

/* Page through the menu. */
MUST_CHECK err
product_client_list(struct larder_client *client, const struct larder_options *options, const struct wire_product_list *body,
                    struct wire_product_page *answer, struct err_text *why);

/* Create or replace many products. */
MUST_CHECK err
product_client_load(struct larder_client *client, const struct larder_options *options, const struct wire_product_load *body,
                    struct wire_product_loaded *answer, struct err_text *why);

/* Read the categories. */
MUST_CHECK err
product_client_categories(struct larder_client *client, const struct larder_options *options, struct wire_product_categories *answer,
                          struct err_text *why);

/* Create or change a category. */
MUST_CHECK err
product_client_categorise(struct larder_client *client, const struct larder_options *options, const struct wire_product_category *body,
                          struct wire_product_category *answer, struct err_text *why);

#endif
