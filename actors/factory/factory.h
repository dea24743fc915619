/* SPDX-License-Identifier: MPL-2.0 */
/* The actor that refills shelves, by itself or by an outside factory. */
#ifndef LARDER_FACTORY_H
#define LARDER_FACTORY_H

#include "actor.h"

extern const struct actor_class factory_class;

#endif
