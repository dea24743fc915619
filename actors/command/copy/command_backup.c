/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder backup`: a copy of all databases of an installation, of one moment, while it sells.
 *
 *   The actors hold their commits back, a snapshot of each database is opened, they go on, and the snapshots are copied. That they
 *   were of one moment is proved: an actor that runs says where it stood while it was held, and one that does not has to stand,
 *   behind the last snapshot, where its snapshot does.
 *
 * MESSAGES
 *   any.ping, any.pause (command_pause.c).
 *
 * STATE
 *   FOLDER/<actor>_<shard>.db, a SQLite file of each database whatever its engine is, the manifest of the installation as that of any
 *   folder (kit/manifest_file.c), and FOLDER/backup.json (command_backup_file.c).
 *
 * FAILURES
 *   An actor that goes on all the same is asked up to TRIES times, then it is named. A snapshot that SQLite finds damaged is named.
 *   What a failed backup leaves has no backup.json and is no backup.
 *
 * LIMITS
 *   While the copy is made SQLite's write-ahead log grows, and a MariaDB server keeps old versions of its rows. A server that is only
 *   a replica may be behind: what was acknowledged since is not in a backup of a shop that does not answer.
 */
#include "command/command_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "kit/base/clock.h"
#include "command_backup_file.h"
#include "command_pause.h"
#include "command_rows.h"

enum { TRIES = 5, PATH_SIZE = 1024 };

struct backup {
    const char *folder;
    const struct settings *settings;
    struct installation installation;
    struct command_pause pause;
    bool is_older[INSTALLATION_PARTS_MAX]; /* steps of the schema are missing there */
    struct backup_file file;
};

static err
make_empty_folder(const char *folder, struct err_text *why)
{
    if (mkdir(folder, 0750) != 0 && errno != EEXIST) {
        return err_say(why, ERR_wrong_setting, "%.300s cannot be made: %s", folder, strerror(errno));
    }
    DIR *open = opendir(folder);
    if (open == NULL) {
        return err_say(why, ERR_wrong_setting, "%.300s: %s", folder, strerror(errno));
    }
    size_t names = 0;
    while (readdir(open) != NULL) {
        names++;
    }
    closedir(open);
    return names <= 2 ? ERR_ok
                      : err_say(why, ERR_wrong_setting, "%.300s is not empty; a backup is made in a folder of its own", folder);
}

/* Before the snapshots: it ends that of a database. */
static err
read_schemas(struct backup *backup, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < backup->installation.count; i++) {
        const struct installation_part *part = &backup->installation.parts[i];
        struct db_schema schema = {.missing = 0};
        struct err_text reason = {""};
        size_t count = 0;
        struct db_step *steps = installation_steps(part, &count);
        code = db_schema_read(part->db, steps, count, &schema, &reason);
        code = code == ERR_ok ? ERR_ok : err_say(why, code, "%s: %.400s", part->name, reason.text);
        free(steps);
        backup->is_older[i] = schema.missing > 0;
    }
    return code;
}

/* --- one moment --- */

static err
open_snapshots(struct backup *backup, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < backup->installation.count; i++) {
        struct installation_part *part = &backup->installation.parts[i];
        db_rollback(part->db);
        code = installation_read_position(part, &part->position, why);
    }
    return code;
}

/* Those that were not held back have not moved since their snapshots. */
static err
check_still(struct backup *backup, struct err_text *why)
{
    struct installation again;
    err code = installation_init(&again, backup->settings, why);
    if (code == ERR_ok) {
        code = installation_open(&again, why);
    }
    for (size_t i = 0; code == ERR_ok && i < backup->installation.count; i++) {
        const struct installation_part *part = &backup->installation.parts[i];
        const struct installation_part *now = installation_find(&again, slice_of(part->name));
        if (backup->pause.is_held[i]) {
            continue;
        }
        if (now == NULL || now->position.epoch != part->position.epoch || now->position.batch != part->position.batch) {
            code = err_say(why, ERR_db_busy,
                           "%s is written, and nobody who writes this database answers at the address that the settings give; "
                           "--host and --base-port say where the actors are",
                           part->name);
        }
    }
    installation_close(&again);
    return code;
}

static bool
is_anybody_left_out(const struct backup *backup)
{
    bool found = false;
    for (size_t i = 0; i < backup->installation.count; i++) {
        found = found || !backup->pause.is_held[i];
    }
    return found;
}

static err
try_moment(struct backup *backup, struct err_text *why)
{
    struct err_text reason = {""};
    err code = command_pause_begin(&backup->pause, why);
    if (code != ERR_ok) {
        return code;
    }
    code = open_snapshots(backup, why);
    backup->file.taken_ms = clock_utc_ms();
    err ended = command_pause_end(&backup->pause, &reason);
    if (code == ERR_ok && ended != ERR_ok) {
        code = err_say(why, ended, "%s", reason.text);
    }
    return code == ERR_ok && is_anybody_left_out(backup) ? check_still(backup, why) : code;
}

static err
take_moment(struct backup *backup, struct err_text *why)
{
    err code = command_pause_create(&backup->installation, &backup->pause, why);
    for (int tries = 0; tries < TRIES && (tries == 0 || code != ERR_ok); tries++) {
        code = try_moment(backup, why);
    }
    command_pause_destroy(&backup->pause);
    backup->file.paused_us = backup->pause.lasted_us;
    return code;
}

/* --- copying --- */

/* A file of an earlier build is brought up to date in the copy, which mends what builds of the first days have made otherwise. */
static err
bring_up_to_date(const struct backup *backup, const struct installation_part *part, struct err_text *why)
{
    struct db_config config = {.driver = DB_SQLITE};
    struct db *copy = NULL;
    size_t count = 0;
    struct db_step *steps = installation_steps(part, &count);
    snprintf(config.path, sizeof config.path, "%s", backup->folder);
    snprintf(config.prefix, sizeof config.prefix, "%.*s", DB_PREFIX_MAX - 1, part->prefix);
    err code = db_open(&config, &copy, why);
    if (code == ERR_ok) {
        code = db_migrate(copy, steps, count, why);
    }
    db_close(&copy);
    free(steps);
    return code;
}

static err
copy_pages(const struct backup *backup, const struct installation_part *part, const char *path, struct err_text *why)
{
    struct err_text reason = {""};
    err code = db_copy_file(part->db, path, &reason);
    if (code == ERR_ok && backup->is_older[part - backup->installation.parts]) {
        code = bring_up_to_date(backup, part, &reason);
    }
    return code == ERR_ok ? ERR_ok : err_say(why, code, "%s: %.400s", part->name, reason.text);
}

static err
copy_rows(const struct backup *backup, const struct installation_part *part, struct err_text *why)
{
    struct db_config config = {.driver = DB_SQLITE};
    struct command_rows copy = {.part = part, .from = part->db};
    snprintf(config.path, sizeof config.path, "%s", backup->folder);
    snprintf(config.prefix, sizeof config.prefix, "%.*s", DB_PREFIX_MAX - 1, part->prefix);
    err code = db_open(&config, &copy.to, why);
    if (code == ERR_ok) {
        code = command_rows_copy(&copy, why);
    }
    db_close(&copy.to);
    return code;
}

static err
copy_part(struct backup *backup, struct installation_part *part, struct err_text *why)
{
    struct backup_entry *entry = &backup->file.entries[backup->file.count++];
    char path[PATH_SIZE];
    *entry = (struct backup_entry){.shard = part->shard, .shards = part->of, .position = part->position};
    snprintf(entry->actor, sizeof entry->actor, "%s", part->class->name);
    backup_file_name(entry);
    snprintf(path, sizeof path, "%s/%s", backup->folder, entry->file);
    err code = ERR_ok;
    if (backup->installation.driver == DB_SQLITE) {
        code = copy_pages(backup, part, path, why);
    } else {
        code = copy_rows(backup, part, why);
    }
    db_rollback(part->db);
    if (code == ERR_ok) {
        code = backup_file_measure(backup->folder, entry, why);
    }
    if (code == ERR_ok) {
        printf("%s: to batch %lld and event %lld, %lld bytes\n", part->name, (long long)part->position.batch,
               (long long)part->position.seq, (long long)entry->bytes);
    }
    return code;
}

/* Whose it is: so a copy of it is of the same installation, and lacks nothing unnoticed. */
static err
write_manifest(const struct backup *backup, struct err_text *why)
{
    static struct settings folder;
    folder = *backup->settings;
    err code = installation_in_folder(&folder, backup->folder, why);
    return code == ERR_ok ? manifest_put(&folder, &backup->installation.manifest, why) : code;
}

static err
copy_all(struct backup *backup, struct err_text *why)
{
    err code = ERR_ok;
    snprintf(backup->file.version, sizeof backup->file.version, "%s", LARDER_VERSION);
    snprintf(backup->file.engine, sizeof backup->file.engine, "%s", backup->installation.driver == DB_SQLITE ? "sqlite" : "mysql");
    for (size_t i = 0; code == ERR_ok && i < backup->installation.count; i++) {
        code = copy_part(backup, &backup->installation.parts[i], why);
    }
    if (code == ERR_ok && backup->installation.has_manifest) {
        code = write_manifest(backup, why);
    }
    return code == ERR_ok ? backup_file_write(backup->folder, &backup->file, why) : code;
}

/* --- the command --- */

static void
print_summary(const struct backup *backup, int64_t took_us)
{
    char moment[32];
    struct tm broken;
    time_t seconds = (time_t)(backup->file.taken_ms / 1000);
    int64_t bytes = 0;
    int held = 0;
    for (size_t i = 0; i < backup->file.count; i++) {
        bytes += backup->file.entries[i].bytes;
        held += backup->pause.is_held[i] ? 1 : 0;
    }
    strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &broken));
    printf("all of one moment, %s.%03lldZ; ", moment, (long long)(backup->file.taken_ms % 1000));
    if (held > 0) {
        printf("%d actors held back for %.1f ms; ", held, (double)backup->file.paused_us / 1000);
    } else {
        printf("nobody was selling; ");
    }
    printf("%lld bytes in %.2f s; `larder restore %s` brings it back\n", (long long)bytes, (double)took_us / 1e6, backup->folder);
}

static err
run_backup(struct backup *backup, struct err_text *why)
{
    int64_t began_us = clock_steady_us();
    err code = installation_init(&backup->installation, backup->settings, why);
    if (code == ERR_ok) {
        code = installation_open(&backup->installation, why);
    }
    if (code == ERR_ok && backup->installation.count == 0) {
        code = err_say(why, ERR_wrong_setting, "there is nothing to back up: LARDER_DATA or LARDER_DB is another place");
    }
    if (code == ERR_ok) {
        code = make_empty_folder(backup->folder, why);
    }
    if (code == ERR_ok) {
        code = read_schemas(backup, why);
    }
    if (code == ERR_ok) {
        code = take_moment(backup, why);
    }
    if (code == ERR_ok) {
        code = copy_all(backup, why);
    }
    if (code == ERR_ok) {
        print_summary(backup, clock_steady_us() - began_us);
    }
    installation_close(&backup->installation);
    return code;
}

static enum exit_status
backup_run(struct command_line *line)
{
    static struct backup backup;
    struct err_text why;
    err code = command_rest_checked(line, 1, 1, &why);
    if (code == ERR_ok) {
        backup.folder = line->argv[0];
        backup.settings = &line->settings;
        code = run_backup(&backup, &why);
    }
    return code == ERR_ok ? EXIT_DONE : command_complain(line, code, &why);
}

const struct command backup_command = {
    .name = "backup",
    .arguments = "DIR [settings]",
    .summary = "copy all databases as they are at one moment, while the shop sells",
    .help = "Writes a folder of its own: one SQLite file for each actor and shard, from SQLite and MariaDB alike, and backup.json,\n"
            "which says of when they are and where each stood. The actors of the shop are found at --host and --base-port; they\n"
            "hold their commits back for some milliseconds, and nobody is refused. A shop that is closed is copied as it is.\n"
            "\n"
            "It holds what the databases hold: people, and the keys of their passwords. Keep it as you keep them.\n"
            "\n"
            "Exit status: 0 the backup is whole, 1 it is not, 2 a setting or the folder is wrong.\n",
    .has_settings = true,
    .run = backup_run,
};
