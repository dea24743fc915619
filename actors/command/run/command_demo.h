/* SPDX-License-Identifier: MPL-2.0 */
/* The demo product of an empty shop. */
#ifndef LARDER_COMMAND_DEMO_H
#define LARDER_COMMAND_DEMO_H

#include "kit/settings/settings.h"

/* Puts the demo product on the shelf when there is no product at all, and on the menu when it is on the shelf and not there yet. The
 * stock actors must run; a product actor that does not answer is said in the log, and the next call makes up for it. */
MUST_CHECK err
demo_fill_shop(const struct settings *settings, struct err_text *why);

#endif
