/* SPDX-License-Identifier: MPL-2.0 */
/* Copies all rows of an actor's tables from one database to another, whichever engines they are. */
#ifndef LARDER_COMMAND_ROWS_H
#define LARDER_COMMAND_ROWS_H

#include "command/place/command_installation.h"

struct command_rows {
    const struct installation_part *part; /* whose database it is */
    struct db *from;                      /* read in its snapshot */
    struct db *to;                        /* empty */
    bool is_closed; /* the copy says that it was made for 0 shards, so that no actor takes it before it is whole */
};

/* Makes the tables in `to` as far as the schema of `from` has come, and copies all rows. One of the two is SQLite: its schema says
 * which tables and columns there are. */
MUST_CHECK err
command_rows_copy(const struct command_rows *copy, struct err_text *why);

#endif
