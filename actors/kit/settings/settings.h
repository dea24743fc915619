/* SPDX-License-Identifier: MPL-2.0 */
/* The settings of settings.def, read once at start and only read after that, from any thread. */
#ifndef LARDER_KIT_SETTINGS_H
#define LARDER_KIT_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kit/db/db.h"
#include "err.h"

#define SETTING_TEXT_MAX 512

struct settings {
#define SETTING_TEXT(name, fallback, doc) char name[SETTING_TEXT_MAX];
#define SETTING_NUMBER(name, fallback, lo, hi, doc) int64_t name;
#define SETTING_SWITCH(name, doc) int64_t name;
#include "settings.def"
    bool is_place_given; /* LARDER_DATA, LARDER_DB or DATABASE is set, even to nothing, or a flag names the place */
};

/* Defaults, then the environment. ERR_wrong_setting names the setting and says what is wrong. */
MUST_CHECK err
settings_init(struct settings *settings, struct err_text *why);

/* Takes the flags out of argv (`--name value` or `--name=value`; `--` ends them) and leaves the rest in order; argc shrinks. An
 * unknown flag is refused by name. */
MUST_CHECK err
settings_flags(struct settings *settings, int *argc, char **argv, struct err_text *why);

/* What one setting alone cannot say: addresses that are not loopback without credentials, texts that are no URL or level. */
MUST_CHECK err
settings_check(const struct settings *settings, struct err_text *why);

/* The database of one actor and shard: LARDER_DB; else, when DATABASE is set, the donut shop's HOSTNAME USERNAME PASSWORD
 * DATABASE; else a SQLite file in the data folder. */
MUST_CHECK err
settings_db(const struct settings *settings, const char *actor, int shard, struct db_config *config, struct err_text *why);

/* The table for --help (columns) or the README (Markdown). */
void
settings_print(FILE *out, int markdown);

#endif
