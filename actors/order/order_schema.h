/* SPDX-License-Identifier: MPL-2.0 */
/* The tables of the order actor, as numbered steps: the copy of the menu, then its own. */
#ifndef LARDER_ORDER_SCHEMA_H
#define LARDER_ORDER_SCHEMA_H

#include "kit/db/db.h"
#include "shared/menu.h"

#define ORDER_STEP_COUNT (MENU_STEP_COUNT + 15)

extern const struct db_step order_steps[ORDER_STEP_COUNT];

#endif
