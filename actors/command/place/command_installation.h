/* SPDX-License-Identifier: MPL-2.0 */
/* All databases of an installation, one for each actor and shard that keeps something, as the settings have them. */
#ifndef LARDER_COMMAND_INSTALLATION_H
#define LARDER_COMMAND_INSTALLATION_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/actor.h"
#include "kit/db/db.h"
#include "kit/place/manifest.h"
#include "kit/settings/settings.h"

#define INSTALLATION_PARTS_MAX 16
#define INSTALLATION_NAME_SIZE 48

/* Where the database of an actor stands: which it is, and its last commit and event. */
struct installation_position {
    struct id incarnation;
    int64_t epoch;
    int64_t batch;
    int64_t seq;
};

struct installation_part {
    const struct actor_class *class;
    int shard;
    int of;
    char name[INSTALLATION_NAME_SIZE];   /* stock/0 */
    char prefix[INSTALLATION_NAME_SIZE]; /* stock_0 */
    struct db *db;
    struct installation_position position;
};

struct installation {
    const struct settings *settings;
    enum db_driver driver;
    struct installation_part parts[INSTALLATION_PARTS_MAX];
    size_t count;
    struct manifest manifest;
    bool has_manifest; /* else its databases are of an older build, and were not opened by this one yet */
};

/* All parts that the settings name, with no database opened. */
MUST_CHECK err
installation_init(struct installation *installation, const struct settings *settings, struct err_text *why);

/* Opens the databases that are there, to be read; parts that were never started leave the list. ERR_wrong_setting names one that is
 * listed in the manifest and is not there. */
MUST_CHECK err
installation_open(struct installation *installation, struct err_text *why);

/* Reads where a part stands. The first read of a database opens its snapshot, which stands until db_rollback(). */
MUST_CHECK err
installation_read_position(struct installation_part *part, struct installation_position *position, struct err_text *why);

/* The steps of the schema of a part, the kit's and its own, in order; the caller frees them. */
struct db_step *
installation_steps(const struct installation_part *part, size_t *count);

/* NULL: none of that name. */
struct installation_part *
installation_find(struct installation *installation, struct slice name);

/* Has the settings name a folder of SQLite files as the place, whatever they named. */
MUST_CHECK err
installation_in_folder(struct settings *settings, const char *folder, struct err_text *why);

void
installation_close(struct installation *installation);

#endif
