/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder installation show`: whose the databases of a place are, and which there are. `larder installation give-up`: one of them is
 *   lost for good; the next start of its actor makes an empty one instead of refusing.
 *
 * STATE
 *   The manifest of the place (kit/manifest.h). What was given up, when and why stands in the log of this command and of the start.
 *
 * FAILURES
 *   A place without a manifest, and a database that is there or was never listed, are refused.
 *
 * LIMITS
 *   What the lost database held is gone: letters, holds or orders of others still name it, and `larder verify` says so.
 */
#include "command/command_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/place/manifest.h"
#include "kit/telemetry/log.h"
#include "kit/settings/topology.h"

#define TIME_SIZE 32

static err
show(const struct settings *settings, struct err_text *why)
{
    struct manifest manifest;
    char id[ID_TEXT_SIZE];
    bool is_there = false;
    err code = manifest_read(settings, &manifest, &is_there, why);
    if (code == ERR_ok && !is_there) {
        code = err_say(why, ERR_not_found, "there is no installation here");
    }
    if (code != ERR_ok) {
        return code;
    }
    id_format(&manifest.installation.id, id);
    printf("installation %s, %s\n", id,
           manifest.installation.is_adopted ? "adopted from an older build" : "begun by this kind of build");
    for (size_t i = 0; i < manifest.count; i++) {
        const struct manifest_entry *entry = &manifest.entries[i];
        printf("%s/%d of %d: %s\n", entry->actor, entry->shard, entry->of, manifest_state_name(entry->state));
    }
    return ERR_ok;
}

static enum exit_status
show_run(struct command_line *line)
{
    struct err_text why;
    err code = command_rest_checked(line, 0, 0, &why);
    code = code == ERR_ok ? show(&line->settings, &why) : code;
    return code == ERR_ok ? EXIT_DONE : command_complain(line, code, &why);
}

/* Splits "dlq/0". */
static err
parse_member(const char *text, char actor[MANIFEST_ACTOR_MAX + 1], int *shard, struct err_text *why)
{
    size_t size = strcspn(text, "/");
    snprintf(actor, MANIFEST_ACTOR_MAX + 1, "%.*s", (int)(size < MANIFEST_ACTOR_MAX ? size : MANIFEST_ACTOR_MAX), text);
    const char *digit = text[size] == '/' ? text + size + 1 : "";
    if (!topology_knows(actor) || digit[0] < '0' || digit[0] > '9' || digit[1] != '\0') {
        return err_say(why, ERR_wrong_setting, "\"%.60s\": no actor and shard like dlq/0", text);
    }
    *shard = digit[0] - '0';
    return ERR_ok;
}

static enum exit_status
give_up_run(struct command_line *line)
{
    struct err_text why;
    const char *reason = "";
    char actor[MANIFEST_ACTOR_MAX + 1] = "";
    int shard = 0;
    err code = command_take_text(line, "--reason", &reason, &why);
    code = code == ERR_ok ? command_rest_checked(line, 1, 1, &why) : code;
    if (code == ERR_ok && reason[0] == '\0') {
        code = err_say(&why, ERR_wrong_setting, "--reason: must say why, for those who will ask");
    }
    code = code == ERR_ok ? parse_member(line->argv[0], actor, &shard, &why) : code;
    code = code == ERR_ok ? manifest_give_up(&line->settings, actor, shard, &why) : code;
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    log_warn("database_given_up", LOG_TEXT("database", line->argv[0]), LOG_TEXT("reason", reason));
    printf("%s/%d is given up; its next start makes an empty one\n", actor, shard);
    return EXIT_DONE;
}

static const struct command show_command = {
    .name = "show",
    .arguments = "[settings]",
    .summary = "print the installation of this place and its databases",
    .help =
        "A line per actor and shard: made, making (a start was cut off), absent (missing already when it was adopted) or given-up.\n",
    .has_settings = true,
    .run = show_run,
};

static const struct command give_up_command = {
    .name = "give-up",
    .arguments = "ACTOR/SHARD --reason TEXT [settings]",
    .summary = "a database is lost for good: let its actor begin an empty one",
    .help = "Whatever it held is gone, and others may still count on it; a backup is the better way. Refused while the database is "
            "there.\n",
    .has_settings = true,
    .run = give_up_run,
};

static const struct command *const parts[] = {&show_command, &give_up_command, NULL};

const struct command installation_command = {
    .name = "installation",
    .arguments = "COMMAND",
    .summary = "whose the databases of a place are, and which there are",
    .help = "A folder of database files, or a database of a server, belongs to one installation and lists what is in it.\n",
    .has_settings = false,
    .parts = parts,
};
