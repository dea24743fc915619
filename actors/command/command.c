/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Arguments of the subcommands. A command first takes its own flags out of the line, then lets the settings take theirs: what is
 *   left over is refused by name, so that a misspelt flag never does nothing.
 *
 * FAILURES
 *   Everything wrong with a line is ERR_wrong_setting with a sentence that begins with the flag or the argument.
 *
 * LIMITS
 *   A flag given twice: each is taken, the last one counts.
 */
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/telemetry/log.h"
#include "kit/settings/topology.h"

static void
drop(struct command_line *line, int at, int count)
{
    for (int i = at; i + count < line->argc; i++) {
        line->argv[i] = line->argv[i + count];
    }
    line->argc -= count;
}

/* Index of the flag, alone or with `=`; -1 when it is not there. */
static int
flag_at(const struct command_line *line, const char *flag)
{
    size_t size = strlen(flag);
    for (int i = 0; i < line->argc && strcmp(line->argv[i], "--") != 0; i++) {
        if (strncmp(line->argv[i], flag, size) == 0 && (line->argv[i][size] == '\0' || line->argv[i][size] == '=')) {
            return i;
        }
    }
    return -1;
}

bool
command_has(const struct command_line *line, const char *flag)
{
    return flag_at(line, flag) >= 0;
}

bool
command_take_switch(struct command_line *line, const char *flag)
{
    bool is_there = false;
    for (int at = flag_at(line, flag); at >= 0 && line->argv[at][strlen(flag)] == '\0'; at = flag_at(line, flag)) {
        drop(line, at, 1);
        is_there = true;
    }
    return is_there;
}

err
command_take_text(struct command_line *line, const char *flag, const char **value, struct err_text *why)
{
    for (int at = flag_at(line, flag); at >= 0; at = flag_at(line, flag)) {
        const char *behind = line->argv[at] + strlen(flag);
        if (behind[0] == '=') {
            *value = behind + 1;
            drop(line, at, 1);
            continue;
        }
        if (at + 1 >= line->argc) {
            return err_say(why, ERR_wrong_setting, "%s: a value must follow", flag);
        }
        *value = line->argv[at + 1];
        drop(line, at, 2);
    }
    return ERR_ok;
}

err
command_take_number(struct command_line *line, const char *flag, int64_t lo, int64_t hi, int64_t *value, struct err_text *why)
{
    const char *text = NULL;
    err code = command_take_text(line, flag, &text, why);
    if (code != ERR_ok || text == NULL) {
        return code;
    }
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (text[0] == '\0' || text[0] == ' ' || text[0] == '+' || *end != '\0' || errno != 0 || number < lo || number > hi) {
        return err_say(why, ERR_wrong_setting, "%s: \"%.60s\" is not a whole number from %lld to %lld", flag, text, (long long)lo,
                       (long long)hi);
    }
    *value = number;
    return ERR_ok;
}

err
command_take(struct command_line *line, const struct command_option *options, struct err_text *why)
{
    err code = ERR_ok;
    for (; code == ERR_ok && options->flag != NULL; options++) {
        if (options->is_there != NULL) {
            *options->is_there = command_take_switch(line, options->flag);
        } else if (options->text != NULL) {
            code = command_take_text(line, options->flag, options->text, why);
        } else {
            code = command_take_number(line, options->flag, options->lo, options->hi, options->number, why);
        }
    }
    return code;
}

err
command_settings(struct command_line *line, struct err_text *why)
{
    err code = settings_init(&line->settings, why);
    return code == ERR_ok ? settings_flags(&line->settings, &line->argc, line->argv, why) : code;
}

err
command_settings_checked(struct command_line *line, struct err_text *why)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    err code = command_settings(line, why);
    if (code == ERR_ok) {
        code = settings_check(&line->settings, why);
    }
    for (unsigned level = 0; code == ERR_ok && level < sizeof levels / sizeof levels[0]; level++) {
        if (strcmp(line->settings.log_level, levels[level]) == 0) {
            log_init(strcmp(line->settings.log, "json") == 0, (enum log_level)level);
        }
    }
    return code;
}

err
command_expect(const struct command_line *line, int least, int most, struct err_text *why)
{
    if (line->argc < least) {
        return err_say(why, ERR_wrong_setting, "something is missing behind `%s`", line->command);
    }
    if (line->argc > most) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\": not expected here", line->argv[most]);
    }
    return ERR_ok;
}

err
command_rest(struct command_line *line, int least, int most, struct err_text *why)
{
    err code = command_settings(line, why);
    return code == ERR_ok ? command_expect(line, least, most, why) : code;
}

err
command_rest_checked(struct command_line *line, int least, int most, struct err_text *why)
{
    err code = command_settings_checked(line, why);
    return code == ERR_ok ? command_expect(line, least, most, why) : code;
}

enum exit_status
command_complain(const struct command_line *line, err code, const struct err_text *why)
{
    fprintf(stderr, "larder %s: %s\n", line->command, why->text);
    if (code != ERR_wrong_setting) {
        return EXIT_FAILED;
    }
    fprintf(stderr, "`larder %s --help` tells more.\n", line->command);
    return EXIT_USAGE;
}

err
command_endpoint(const struct settings *settings, const char *place, char *endpoint, struct err_text *why)
{
    if (strstr(place, "://") != NULL) {
        if (strlen(place) >= ENDPOINT_MAX) {
            return err_say(why, ERR_wrong_setting, "\"%.60s...\": too long for an endpoint", place);
        }
        memcpy(endpoint, place, strlen(place) + 1);
        return ERR_ok;
    }
    char name[WIRE_NAME_MAX + 1];
    size_t size = strcspn(place, "/");
    snprintf(name, sizeof name, "%.*s", (int)(size < WIRE_NAME_MAX ? size : WIRE_NAME_MAX), place);
    const char *shard = place[size] == '/' ? place + size + 1 : "0";
    bool is_shard = shard[0] >= '0' && shard[0] <= '9' && shard[1] == '\0';
    if (!topology_knows(name) || !is_shard) {
        return err_say(why, ERR_wrong_setting,
                       "\"%.60s\": neither an endpoint like tcp://127.0.0.1:4006 nor an actor like stock or stock/0", place);
    }
    topology_connect(settings, name, shard[0] - '0', ENDPOINT_REQUESTS, endpoint);
    return ERR_ok;
}
