/* SPDX-License-Identifier: MPL-2.0 */
/* The tables of stock, in the type words of the kit's port to a database. */
#ifndef LARDER_STOCK_SCHEMA_H
#define LARDER_STOCK_SCHEMA_H

#include "kit/db/db.h"

#define STOCK_STEP_COUNT 6

extern const struct db_step stock_steps[STOCK_STEP_COUNT];

#endif
