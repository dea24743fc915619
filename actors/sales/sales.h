/* SPDX-License-Identifier: MPL-2.0 */
/* The actor that sells: it keeps nothing and asks stock. */
#ifndef LARDER_SALES_H
#define LARDER_SALES_H

#include "actor.h"

extern const struct actor_class sales_class;

#endif
