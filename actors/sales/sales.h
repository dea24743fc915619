/* SPDX-License-Identifier: MPL-2.0 */
/* The actor that sells: it asks stock, and keeps a copy of the menu to say what is sold (menu_verify() is its proof). */
#ifndef LARDER_SALES_H
#define LARDER_SALES_H

#include "kit/actor.h"

extern const struct actor_class sales_class;

#endif
