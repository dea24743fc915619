/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder letters`: what was not delivered or not processed, and what a person does about it.
 *
 * MESSAGES
 *   Everything goes over ZeroMQ to the dlq: dlq.list, show, stats, replay, start, status, replays, cancel, edit, discard, restore.
 */
#include "command_letters.h"

#include "command/command_table.h"

static const struct command *const parts[] = {
    &letters_list_command,
    &letters_show_command,
    &letters_stats_command,
    &letters_watch_command,
    &letters_replay_command,
    &letters_edit_command,
    &letters_discard_command,
    &letters_restore_command,
    &letters_replays_command,
    &letters_cancel_command,
    NULL,
};

const struct command letters_command = {
    .name = "letters",
    .arguments = "COMMAND",
    .summary = "look at what was not processed or delivered, and deal with it",
    .help = "A letter is kept for each event, request or outside call that could not be finished, and for each subscriber\n"
            "that is behind. `larder letters COMMAND --help` tells more of each.\n"
            "\n"
            "States: waiting (goes by itself when its destination is back), dead (somebody must look), replaying, done,\n"
            "discarded, stale (its time was over before it could be delivered).\n"
            "\n"
            "Each takes --json (one document; `watch` prints one per line) and --timeout-ms N (5000: how long the dlq is\n"
            "waited for), and the settings that say where the dlq is: --host, --base-port.\n"
            "\n"
            "Exit status: 0 all done, 1 some were not (standard error says which and why), 2 something given is wrong.\n",
    .parts = parts,
};
