/* SPDX-License-Identifier: MPL-2.0 */
/* The tables that the kit keeps for every actor, beside the actor's own. */
#ifndef LARDER_KIT_SCHEMA_H
#define LARDER_KIT_SCHEMA_H

#include "kit/db/db.h"

extern const struct db_step kit_steps[];
extern const size_t kit_step_count;

#endif
