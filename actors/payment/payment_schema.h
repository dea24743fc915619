/* SPDX-License-Identifier: MPL-2.0 */
/* The tables of the payment actor. */
#ifndef LARDER_PAYMENT_SCHEMA_H
#define LARDER_PAYMENT_SCHEMA_H

#include "kit/db/db.h"

#define PAYMENT_STEP_COUNT 9

extern const struct db_step payment_steps[PAYMENT_STEP_COUNT];

#endif
