/* SPDX-License-Identifier: MPL-2.0 */
/* The demo product of an empty shop. */
#ifndef LARDER_COMMAND_DEMO_H
#define LARDER_COMMAND_DEMO_H

#include "settings.h"

/* Puts the demo product on the shelf when there is no product at all; the stock actors must run. */
MUST_CHECK err
demo_stock_shelf(const struct settings *settings, struct err_text *why);

#endif
