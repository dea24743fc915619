/* SPDX-License-Identifier: MPL-2.0 */
/* The tables of people. */
#ifndef LARDER_USER_SCHEMA_H
#define LARDER_USER_SCHEMA_H

#include "kit/db/db.h"

#define USER_STEP_COUNT 8

extern const struct db_step user_steps[USER_STEP_COUNT];

#endif
