/* SPDX-License-Identifier: MPL-2.0 */
/* The parts of `larder letters`. */
#ifndef LARDER_COMMAND_LETTERS_H
#define LARDER_COMMAND_LETTERS_H

#include "command/command.h"

extern const struct command letters_list_command;
extern const struct command letters_show_command;
extern const struct command letters_stats_command;
extern const struct command letters_watch_command;
extern const struct command letters_replay_command;
extern const struct command letters_edit_command;
extern const struct command letters_discard_command;
extern const struct command letters_restore_command;
extern const struct command letters_replays_command;
extern const struct command letters_cancel_command;

#endif
