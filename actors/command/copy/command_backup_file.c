/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Writes and reads the description of a backup.
 *
 * STATE
 *   FOLDER/backup.json: `format`, `version`, `taken` (ms UTC), `paused_us`, `engine`, and for each actor and shard its file with size
 *   and BLAKE2b-256, and where its database stood: incarnation, epoch, batch, seq. Beside it a SQLite file for each, whatever the
 *   engine was. It is written last: a folder without it is no backup.
 *
 * FAILURES
 *   A file that is missing or was changed is refused by name before anything is restored from it.
 *
 * LIMITS
 *   FORMAT is raised when an older larder could misread it.
 */
#include "command_backup_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>
#include <sodium.h>

enum { FORMAT = 1, DIGEST_BYTES = 32, PATH_SIZE = 1024 };

#define NAME "backup.json"

static err
complain(struct err_text *why, const char *path)
{
    return err_say(why, ERR_wrong_setting, "%.300s: %s", path, strerror(errno));
}

/* --- files --- */

void
backup_file_name(struct backup_entry *entry)
{
    char actor[INSTALLATION_NAME_SIZE];
    memcpy(actor, entry->actor, sizeof actor);
    snprintf(entry->file, sizeof entry->file, "%.*s_%d.db", INSTALLATION_NAME_SIZE - 16, actor, (int)(entry->shard & 0xff));
}

err
backup_file_measure(const char *folder, struct backup_entry *entry, struct err_text *why)
{
    char path[PATH_SIZE];
    unsigned char piece[65536];
    unsigned char digest[DIGEST_BYTES];
    crypto_generichash_state state;
    snprintf(path, sizeof path, "%s/%s", folder, entry->file);
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return complain(why, path);
    }
    entry->bytes = 0;
    crypto_generichash_init(&state, NULL, 0, sizeof digest);
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, file)) > 0) {
        crypto_generichash_update(&state, piece, size);
        entry->bytes += (int64_t)size;
    }
    bool is_read = ferror(file) == 0;
    int reason = errno;
    fclose(file);
    errno = reason;
    if (!is_read) {
        return complain(why, path);
    }
    crypto_generichash_final(&state, digest, sizeof digest);
    sodium_bin2hex(entry->digest, sizeof entry->digest, digest, sizeof digest);
    return ERR_ok;
}

static bool
sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = reason;
    return is_synced;
}

/* --- writing --- */

static json_t *
describe_entry(const struct backup_entry *entry)
{
    char incarnation[ID_TEXT_SIZE];
    id_format(&entry->position.incarnation, incarnation);
    return json_pack("{s:s, s:I, s:I, s:s, s:I, s:s, s:s, s:I, s:I, s:I}", "actor", entry->actor, "shard", (json_int_t)entry->shard,
                     "shards", (json_int_t)entry->shards, "file", entry->file, "bytes", (json_int_t)entry->bytes, "blake2b",
                     entry->digest, "incarnation", incarnation, "epoch", (json_int_t)entry->position.epoch, "batch",
                     (json_int_t)entry->position.batch, "seq", (json_int_t)entry->position.seq);
}

err
backup_file_write(const char *folder, const struct backup_file *file, struct err_text *why)
{
    char path[PATH_SIZE];
    json_t *list = json_array();
    for (size_t i = 0; i < file->count; i++) {
        json_array_append_new(list, describe_entry(&file->entries[i]));
    }
    json_t *whole = json_pack("{s:s, s:I, s:s, s:I, s:I, s:s, s:o}", "what", "a backup of a larder installation", "format",
                              (json_int_t)FORMAT, "version", file->version, "taken", (json_int_t)file->taken_ms, "paused_us",
                              (json_int_t)file->paused_us, "engine", file->engine, "actors", list);
    if (whole == NULL) {
        abort();
    }
    snprintf(path, sizeof path, "%s/" NAME, folder);
    bool is_written = json_dump_file(whole, path, JSON_INDENT(2)) == 0 && sync_path(path) && sync_path(folder);
    json_decref(whole);
    return is_written ? ERR_ok : complain(why, path);
}

/* --- reading --- */

static bool
take_text(const json_t *object, const char *name, char *text, size_t size)
{
    const char *found = json_string_value(json_object_get(object, name));
    if (found == NULL || strlen(found) >= size) {
        return false;
    }
    memcpy(text, found, strlen(found) + 1);
    return true;
}

static bool
take_number(const json_t *object, const char *name, int64_t *number)
{
    const json_t *found = json_object_get(object, name);
    *number = json_integer_value(found);
    return json_is_integer(found) && *number >= 0;
}

/* The name of a file is made here and not taken: it may not lead elsewhere. */
static bool
take_entry(const json_t *object, struct backup_entry *entry)
{
    char incarnation[ID_TEXT_SIZE] = "";
    struct installation_position *position = &entry->position;
    bool is_whole = take_text(object, "actor", entry->actor, sizeof entry->actor) && take_number(object, "shard", &entry->shard) &&
                    take_number(object, "shards", &entry->shards) && take_number(object, "bytes", &entry->bytes) &&
                    take_text(object, "blake2b", entry->digest, sizeof entry->digest) &&
                    take_text(object, "incarnation", incarnation, sizeof incarnation) &&
                    id_parse(incarnation, strlen(incarnation), &position->incarnation) &&
                    take_number(object, "epoch", &position->epoch) && take_number(object, "batch", &position->batch) &&
                    take_number(object, "seq", &position->seq);
    bool is_name = strspn(entry->actor, "abcdefghijklmnopqrstuvwxyz") == strlen(entry->actor);
    backup_file_name(entry);
    return is_whole && is_name;
}

static err
check_files(const char *folder, const struct backup_file *file, struct err_text *why)
{
    for (size_t i = 0; i < file->count; i++) {
        const struct backup_entry *entry = &file->entries[i];
        struct backup_entry found = *entry;
        err code = backup_file_measure(folder, &found, why);
        if (code != ERR_ok) {
            return code;
        }
        if (found.bytes != entry->bytes || strcmp(found.digest, entry->digest) != 0) {
            return err_say(why, ERR_wrong_setting, "%.300s/%s is not as the backup wrote it", folder, entry->file);
        }
    }
    return ERR_ok;
}

err
backup_file_read(const char *folder, struct backup_file *file, struct err_text *why)
{
    char path[PATH_SIZE];
    json_error_t error;
    int64_t format = 0;
    *file = (struct backup_file){0};
    snprintf(path, sizeof path, "%s/" NAME, folder);
    if (access(path, R_OK) != 0) {
        return err_say(why, ERR_wrong_setting, "%.300s is no backup: there is no " NAME " in it: %s", folder, strerror(errno));
    }
    json_t *whole = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (whole == NULL) {
        return err_say(why, ERR_wrong_setting, "%.300s, line %d: %.100s", path, error.line, error.text);
    }
    const json_t *list = json_object_get(whole, "actors");
    bool is_whole = take_number(whole, "format", &format) && take_number(whole, "taken", &file->taken_ms) &&
                    take_number(whole, "paused_us", &file->paused_us) &&
                    take_text(whole, "version", file->version, sizeof file->version) &&
                    take_text(whole, "engine", file->engine, sizeof file->engine) && json_is_array(list) &&
                    json_array_size(list) > 0 && json_array_size(list) <= INSTALLATION_PARTS_MAX;
    for (size_t i = 0; is_whole && format == FORMAT && i < json_array_size(list); i++) {
        is_whole = take_entry(json_array_get(list, i), &file->entries[file->count++]);
    }
    json_decref(whole);
    if (format > FORMAT) {
        return err_say(why, ERR_wrong_setting, "%.300s: format %lld; this larder reads up to %d", path, (long long)format, FORMAT);
    }
    if (!is_whole) {
        return err_say(why, ERR_wrong_setting, "%.300s: not as a backup writes it", path);
    }
    return check_files(folder, file, why);
}
