/* SPDX-License-Identifier: MPL-2.0 */
/* The dlq's tables. */
#ifndef LARDER_DLQ_SCHEMA_H
#define LARDER_DLQ_SCHEMA_H

#include "kit/db/db.h"

#define DLQ_STEP_COUNT 23

extern const struct db_step dlq_steps[DLQ_STEP_COUNT];

#endif
