/* SPDX-License-Identifier: MPL-2.0 */
/* What an older copy of the factory does not know of what stock has counted already. */
#ifndef LARDER_COMMAND_MEND_PRODUCTIONS_H
#define LARDER_COMMAND_MEND_PRODUCTIONS_H

#include "command/place/command_installation.h"

/* The databases are open to be written and nobody else has them. Every production that stock has counted, or heard the failure of, is
 * one that the factory has ended. Says how many were taken over, on standard output. */
MUST_CHECK err
command_mend_productions(struct installation *installation, struct err_text *why);

#endif
