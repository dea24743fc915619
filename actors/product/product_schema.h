/* SPDX-License-Identifier: MPL-2.0 */
/* The product actor's part of its schema. */
#ifndef LARDER_PRODUCT_SCHEMA_H
#define LARDER_PRODUCT_SCHEMA_H

#include "kit/db/db.h"

#define PRODUCT_STEP_COUNT 9

extern const struct db_step product_steps[PRODUCT_STEP_COUNT];

#endif
