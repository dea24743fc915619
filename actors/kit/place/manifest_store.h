/* SPDX-License-Identifier: MPL-2.0 */
/* Between manifest.c and where a manifest lies: a file (manifest_file.c) or two tables (manifest_tables.c). Not for others. */
#ifndef LARDER_KIT_MANIFEST_STORE_H
#define LARDER_KIT_MANIFEST_STORE_H

#include "manifest.h"

#define MANIFEST_VERSION 1
#define MANIFEST_LOCK_MS 30000
#define MANIFEST_SHARDS_MAX 4 /* of an actor */

/* A place, open; locked against everybody who changes its manifest until it is closed. */
struct manifest_store {
    struct db_config config; /* of no actor */
    int lock_fd;             /* a folder's; -1: not locked */
    struct db *db;           /* a server's */
    bool asks_neighbours;    /* before an installation is begun */
};

/* Opens and locks. `is_there` false: there is no manifest yet, and `manifest` is empty. On failure nothing is left open. */
MUST_CHECK err
manifest_file_open(struct manifest_store *store, struct manifest *manifest, bool *is_there, struct err_text *why);
MUST_CHECK err
manifest_tables_open(struct manifest_store *store, struct manifest *manifest, bool *is_there, struct err_text *why);

/* On disk when it returns, whole or not at all. */
MUST_CHECK err
manifest_file_save(struct manifest_store *store, const struct manifest *manifest, struct err_text *why);
MUST_CHECK err
manifest_tables_save(struct manifest_store *store, const struct manifest *manifest, struct err_text *why);

/* Without a lock. */
MUST_CHECK err
manifest_file_read(const char *folder, struct manifest *manifest, bool *is_there, struct err_text *why);
MUST_CHECK err
manifest_tables_read(struct db *db, struct manifest *manifest, bool *is_there, struct err_text *why);

void
manifest_store_close(struct manifest_store *store);

/* --- manifest_entries.c --- */

/* ERR_wrong_setting for a name that is none. */
MUST_CHECK err
manifest_state_parse(struct slice name, enum manifest_state *state, struct err_text *why);

/* Adds an entry; NULL when there is no room. */
struct manifest_entry *
manifest_add(struct manifest *manifest, const char *actor, int shard, int of, enum manifest_state state);

/* NULL: it is not listed. */
struct manifest_entry *
manifest_find_to_change(struct manifest *manifest, const char *actor, int shard);

/* --- manifest_adopt.c --- */

/* Whether the database of this actor and shard is there: its file, or the first of its tables. */
MUST_CHECK err
manifest_has_database(const struct settings *settings, const char *actor, int shard, bool *is_there, struct err_text *why);

#endif
