/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What there is of an installation at one place: which actors and shards have a database there, written down before each is made.
 *
 * A place is a folder of SQLite files or a database of a server. The manifest of a folder is its file `installation`; that of a server
 * the tables larder_installation and larder_member. So a database that is missing is told from one that was never made, and an empty
 * place from the right one.
 */
#ifndef LARDER_KIT_MANIFEST_H
#define LARDER_KIT_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/db/db.h"
#include "err.h"
#include "kit/settings/settings.h"

#define MANIFEST_ENTRIES_MAX 64
#define MANIFEST_ACTOR_MAX 32

enum manifest_state {
    MANIFEST_MAKING,  /* is to be made, or is half made */
    MANIFEST_MADE,    /* is there, or is missing */
    MANIFEST_ABSENT,  /* was missing already when a place of an older build was first opened by this one */
    MANIFEST_GIVEN_UP /* was given up by hand: the next start makes an empty one */
};

struct manifest_entry {
    char actor[MANIFEST_ACTOR_MAX + 1];
    int shard;
    int of; /* shards of the actor */
    enum manifest_state state;
};

struct manifest_owner {
    struct id id;
    int64_t begun_ms; /* UTC; of an adopted one: when it was adopted */
    bool is_adopted;  /* its databases were made before there were installations */
};

/* Plain values. */
struct manifest {
    struct manifest_owner installation;
    struct manifest_entry entries[MANIFEST_ENTRIES_MAX];
    size_t count;
};

/* What an actor is told of its own database before it opens it. */
struct manifest_ticket {
    struct manifest_owner installation;
    struct manifest_entry entry;
};

/* Before anything is made at a place that a setting names: ERR_wrong_setting when nothing of larder is there and `init` is not set. A
 * server is asked by manifest_enter() alone. */
MUST_CHECK err
manifest_check_folder(const struct settings *settings, const char *folder, struct err_text *why);

/* Before any database of a process is opened: adopts or begins the place, and refuses when a database of these actors and shards is
 * listed and missing, naming all that are, so that none is made beside them; nothing is begun beside actors of a shop that is open
 * elsewhere. Says whose the place is. */
MUST_CHECK err
manifest_check_members(const struct settings *settings, const struct manifest_entry *members, size_t count,
                       struct manifest_owner *installation, struct err_text *why);

/* Before the database of this actor and shard is opened: reads the manifest, adopts a place of an older build, begins a new one
 * where that is wanted, and lists the database when it is not there yet. ERR_wrong_setting, with a sentence, when it is listed and
 * missing, or the place must not be begun. Safe beside other processes and threads that do the same. */
MUST_CHECK err
manifest_enter(const struct settings *settings, const char *actor, int shard, struct manifest_ticket *ticket, struct err_text *why);

/* It is made. Nothing is written when that was known. */
MUST_CHECK err
manifest_made(const struct settings *settings, const struct manifest_ticket *ticket, struct err_text *why);

/* The manifest as it is; `is_there` false: the place has none. Changes nothing. */
MUST_CHECK err
manifest_read(const struct settings *settings, struct manifest *manifest, bool *is_there, struct err_text *why);

/* Fills the manifest of a place that has none from the databases that are there; `is_found` false: there is none. What an older build
 * would have had beside them is listed as absent. */
MUST_CHECK err
manifest_adopt(const struct settings *settings, struct manifest *manifest, bool *is_found, struct err_text *why);

/* Writes it as a whole, also where there was none: for a copy of a place. */
MUST_CHECK err
manifest_put(const struct settings *settings, const struct manifest *manifest, struct err_text *why);

/* The database of this entry is lost for good: the next start makes an empty one. Refused while it is there. */
MUST_CHECK err
manifest_give_up(const struct settings *settings, const char *actor, int shard, struct err_text *why);

const struct manifest_entry *
manifest_find(const struct manifest *manifest, const char *actor, int shard);

/* Lists it in that state, whether or not it was listed. */
void
manifest_set(struct manifest *manifest, const char *actor, int shard, int of, enum manifest_state state);

/* "making", "made", "absent", "given-up". */
const char *
manifest_state_name(enum manifest_state state);

#endif
