/* SPDX-License-Identifier: MPL-2.0 */
/* What the subcommands of `larder` have in common: their arguments, their settings, their complaints. */
#ifndef LARDER_COMMAND_H
#define LARDER_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "exit.h"
#include "kit/settings/settings.h"

/* The arguments behind the command's name. A flag that is taken is gone from them; `--` ends the flags. */
struct command_line {
    const char *command;
    int argc;
    char **argv;
    struct settings settings; /* after command_settings() */
};

struct command {
    const char *name;
    const char *arguments; /* e.g. "OP JSON [--again]" */
    const char *summary;   /* half a line */
    const char *help;      /* paragraphs behind the summary, each line ended */
    bool has_settings;     /* --help lists them */
    enum exit_status (*run)(struct command_line *line);
    const struct command *const *parts; /* instead of `run`: the commands that the next argument names; NULL at the end */
};

/* A flag, and where what it says goes: one of the three. */
struct command_option {
    const char *flag;
    bool *is_there;
    const char **text;
    int64_t *number;
    int64_t lo;
    int64_t hi;
};

/* Takes all flags of a list, whose last one is NULL. */
MUST_CHECK err
command_take(struct command_line *line, const struct command_option *options, struct err_text *why);

/* Whether `--flag` is there, and stays. */
bool
command_has(const struct command_line *line, const char *flag);

/* Whether `--flag` was there. */
bool
command_take_switch(struct command_line *line, const char *flag);

/* The value of `--flag value` or `--flag=value`; `*value` stays as it is when the flag is not there. */
MUST_CHECK err
command_take_text(struct command_line *line, const char *flag, const char **value, struct err_text *why);
MUST_CHECK err
command_take_number(struct command_line *line, const char *flag, int64_t lo, int64_t hi, int64_t *value, struct err_text *why);

/* Defaults, environment, and all flags that are left; unknown ones are refused. Then argv holds no flag any more. */
MUST_CHECK err
command_settings(struct command_line *line, struct err_text *why);

/* The same for a command that serves or opens a database: checks all settings, and sets up the log. */
MUST_CHECK err
command_settings_checked(struct command_line *line, struct err_text *why);

/* Refuses unless `least` to `most` arguments are left. */
MUST_CHECK err
command_expect(const struct command_line *line, int least, int most, struct err_text *why);

/* What comes behind a command's own flags: the settings, checked or not, and `least` to `most` arguments. */
MUST_CHECK err
command_rest(struct command_line *line, int least, int most, struct err_text *why);
MUST_CHECK err
command_rest_checked(struct command_line *line, int least, int most, struct err_text *why);

/* Says on standard error what is wrong and where to read on; EXIT_USAGE for a wrong setting, EXIT_FAILED otherwise. */
enum exit_status
command_complain(const struct command_line *line, err code, const struct err_text *why);

/* The endpoint of `tcp://...`, or of an actor by name: `stock`, `stock/1`. */
MUST_CHECK err
command_endpoint(const struct settings *settings, const char *place, char *endpoint, struct err_text *why);

#endif
