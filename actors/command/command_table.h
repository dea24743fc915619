/* SPDX-License-Identifier: MPL-2.0 */
/* The subcommands: one line each, in the order of the help. */
#ifndef LARDER_COMMAND_TABLE_H
#define LARDER_COMMAND_TABLE_H

#include "command.h"

extern const struct command run_command;
extern const struct command actor_command;
extern const struct command gateway_command;
extern const struct command ping_command;
extern const struct command call_command;
extern const struct command tail_command;
extern const struct command token_command;
extern const struct command products_command;
extern const struct command webhook_command;
extern const struct command letters_command;
extern const struct command migrate_command;
extern const struct command verify_command;
extern const struct command backup_command;
extern const struct command restore_command;
extern const struct command incidents_command;
extern const struct command installation_command;
extern const struct command bench_command;
extern const struct command demo_command;
extern const struct command docs_command;
extern const struct command version_command;

#endif
