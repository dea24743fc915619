/* SPDX-License-Identifier: MPL-2.0 */
/* The factory's own tables, as numbered steps. */
#ifndef LARDER_FACTORY_SCHEMA_H
#define LARDER_FACTORY_SCHEMA_H

#include "kit/db/db.h"

#define FACTORY_STEP_COUNT 4

extern const struct db_step factory_steps[FACTORY_STEP_COUNT];

#endif
