/* SPDX-License-Identifier: MPL-2.0 */
/* The parts of `larder products`. */
#ifndef LARDER_COMMAND_PRODUCTS_H
#define LARDER_COMMAND_PRODUCTS_H

#include "command/command.h"

extern const struct command products_list_command;
extern const struct command products_load_command;

#endif
