/* SPDX-License-Identifier: MPL-2.0 */
/* The MySQL driver of the database port: not built yet, db_open() refuses it by name. */
#include "db_driver.h"

static err
mysql_open(struct db *db, bool again, struct err_text *why)
{
    (void)db;
    (void)again;
    return err_say(why, ERR_wrong_setting, "this build has no MySQL driver yet");
}

const struct db_slots db_mysql_slots = {.open = mysql_open};
