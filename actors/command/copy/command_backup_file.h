/* SPDX-License-Identifier: MPL-2.0 */
/* What a backup says of itself: FOLDER/backup.json, written last. */
#ifndef LARDER_COMMAND_BACKUP_FILE_H
#define LARDER_COMMAND_BACKUP_FILE_H

#include "command/place/command_installation.h"

#define BACKUP_DIGEST_SIZE 65

struct backup_entry {
    char actor[INSTALLATION_NAME_SIZE];
    int64_t shard;
    int64_t shards;
    char file[INSTALLATION_NAME_SIZE];
    int64_t bytes;
    char digest[BACKUP_DIGEST_SIZE]; /* BLAKE2b-256 of the file, in hex */
    struct installation_position position;
};

struct backup_file {
    int64_t taken_ms; /* UTC */
    int64_t paused_us;
    char version[64]; /* of the larder that wrote it */
    char engine[16];  /* where it was taken from: sqlite or mysql */
    struct backup_entry entries[INSTALLATION_PARTS_MAX];
    size_t count;
};

/* entry->file, of its actor and shard. */
void
backup_file_name(struct backup_entry *entry);

/* Size and digest of FOLDER/entry->file. */
MUST_CHECK err
backup_file_measure(const char *folder, struct backup_entry *entry, struct err_text *why);

/* Writes it, and has the folder on disk. */
MUST_CHECK err
backup_file_write(const char *folder, const struct backup_file *file, struct err_text *why);

/* ERR_wrong_setting names what is missing, of another version, or not as it was written. */
MUST_CHECK err
backup_file_read(const char *folder, struct backup_file *file, struct err_text *why);

#endif
