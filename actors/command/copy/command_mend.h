/* SPDX-License-Identifier: MPL-2.0 */
/* What copies of databases need before they may be a shop again. */
#ifndef LARDER_COMMAND_MEND_H
#define LARDER_COMMAND_MEND_H

#include "command/place/command_installation.h"

/* The databases are open to be written and nobody else has them; positions are as copied. Each gets a new incarnation, by which
 * whoever knows more of it than it does notices; who follows whom here is told. Positions that do not agree are mended, and said on
 * standard output. Then each says again for how many shards it was made. */
MUST_CHECK err
command_mend(struct installation *installation, struct err_text *why);

#endif
