/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder restore`: makes an installation of a backup, in an empty folder or an empty database, on either engine.
 *
 *   Every row is copied into databases that no actor takes yet (they say that they were made for 0 shards). Then command_mend.c gives
 *   each a new incarnation, so that whoever knows more of it than it does is an incident instead of silence, and opens them.
 *
 * STATE
 *   Reads a folder of `larder backup`; with --copies, one of *.db files that were copied by hand. The target's folder is locked
 *   meanwhile.
 *
 * FAILURES
 *   A target that is not empty, a file that is not as the backup wrote it and another number of shards are refused before anything is
 *   written. What a failed restore leaves is taken by no actor: empty the place and restore again.
 *
 * LIMITS
 *   Copies by hand are of several moments: cursors are mended, and what they cannot tell each other `larder verify` names.
 */
#include "command/command_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "command_backup_file.h"
#include "command_mend.h"
#include "command_mend_productions.h"
#include "command/run/command_process.h"
#include "command_rows.h"

enum { PATH_SIZE = 1024 };

struct restoring {
    const char *folder;
    const struct settings *settings;
    bool are_copies;
    struct backup_file file;
    struct installation installation;
};

/* --- what is to be restored --- */

static bool
has_copy(const char *folder, const struct installation_part *part)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s.db", folder, part->prefix);
    return access(path, R_OK) == 0;
}

static bool
is_in_backup(const struct restoring *restoring, const struct installation_part *part)
{
    bool found = false;
    for (size_t i = 0; i < restoring->file.count; i++) {
        const struct backup_entry *entry = &restoring->file.entries[i];
        found = found || (strcmp(entry->actor, part->class->name) == 0 && entry->shard == part->shard);
    }
    return found;
}

static err
check_shards(const struct restoring *restoring, struct err_text *why)
{
    for (size_t i = 0; i < restoring->file.count; i++) {
        const struct backup_entry *entry = &restoring->file.entries[i];
        int64_t of = 0;
        for (size_t k = 0; k < restoring->installation.count; k++) {
            const struct installation_part *part = &restoring->installation.parts[k];
            of = strcmp(part->class->name, entry->actor) == 0 ? part->of : of;
        }
        if (of != entry->shards) {
            return err_say(why, ERR_wrong_setting, "the backup has %s in %lld shards, and the settings say %lld", entry->actor,
                           (long long)entry->shards, (long long)of);
        }
    }
    return ERR_ok;
}

/* The parts that are there to be restored stay. */
static err
choose_parts(struct restoring *restoring, struct err_text *why)
{
    struct installation *installation = &restoring->installation;
    err code = installation_init(installation, restoring->settings, why);
    if (code == ERR_ok && !restoring->are_copies) {
        code = check_shards(restoring, why);
    }
    size_t kept = 0;
    for (size_t i = 0; code == ERR_ok && i < installation->count; i++) {
        const struct installation_part *part = &installation->parts[i];
        bool is_there = restoring->are_copies ? has_copy(restoring->folder, part) : is_in_backup(restoring, part);
        if (is_there) {
            installation->parts[kept++] = *part;
        }
    }
    if (code == ERR_ok) {
        installation->count = kept;
    }
    if (code == ERR_ok && kept == 0) {
        code = err_say(why, ERR_wrong_setting, "%.300s: no actor's database is there", restoring->folder);
    }
    return code;
}

/* --- where to --- */

static err
refuse_full(const char *place, const char *found, struct err_text *why)
{
    return err_say(why, ERR_wrong_setting,
                   "%.200s is not empty, there is %.100s; restore into a new place, and keep the old one until all is "
                   "well",
                   place, found);
}

/* The files of locks are no content. */
static err
claim_folder(const char *folder, struct err_text *why)
{
    err code = process_make_folder(folder, why);
    if (code != ERR_ok) {
        return code;
    }
    DIR *open = opendir(folder);
    if (open == NULL) {
        return err_say(why, ERR_wrong_setting, "LARDER_DATA: %.200s: %s", folder, strerror(errno));
    }
    const struct dirent *entry;
    while (code == ERR_ok && (entry = readdir(open)) != NULL) {
        bool is_nothing = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, "lock") == 0 ||
                          strcmp(entry->d_name, "installation.lock") == 0 || strcmp(entry->d_name, "lost+found") == 0;
        code = is_nothing ? ERR_ok : refuse_full(folder, entry->d_name, why);
    }
    closedir(open);
    return code == ERR_ok ? db_lock_folder(folder, why) : code;
}

static err
check_database(const struct installation_part *part, const char *place, struct err_text *why)
{
    struct db_statement *read =
        db_statement(part->db, "SELECT MIN(table_name) FROM information_schema.tables WHERE table_schema = DATABASE()");
    err code = db_query(read);
    if (code != ERR_ok) {
        return err_say(why, code, "it cannot be read whether %.100s is empty: %.300s", place, db_error(part->db));
    }
    if (db_next(read) && !db_is_null(read, 0)) {
        char found[DB_NAME_MAX + 1];
        struct slice name = db_bytes(read, 0);
        snprintf(found, sizeof found, "%.*s", (int)(name.size < DB_NAME_MAX ? name.size : DB_NAME_MAX), (const char *)name.data);
        code = refuse_full(place, found, why);
    }
    db_done(read);
    db_rollback(part->db);
    return code;
}

static err
open_target(struct restoring *restoring, struct installation_part *part, bool is_first, struct err_text *why)
{
    struct db_config config;
    struct err_text reason = {""};
    err code = settings_db(restoring->settings, part->class->name, part->shard, &config, why);
    if (code == ERR_ok && is_first && config.driver == DB_SQLITE) {
        code = claim_folder(config.path, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    config.erases = part->class->erases;
    config.must_exist = false; /* a new place is what is asked for */
    code = db_open(&config, &part->db, &reason);
    if (code != ERR_ok) {
        return err_say(why, code, "%s: %.400s", part->name, reason.text);
    }
    return is_first && config.driver == DB_MYSQL ? check_database(part, config.name, why) : ERR_ok;
}

/* --- whose it is --- */

/* That of the copies, or what they say themselves. */
static err
read_manifest(struct restoring *restoring, struct err_text *why)
{
    static struct settings folder;
    struct installation *installation = &restoring->installation;
    bool is_found = false;
    folder = *restoring->settings;
    err code = installation_in_folder(&folder, restoring->folder, why);
    if (code == ERR_ok) {
        code = manifest_read(&folder, &installation->manifest, &installation->has_manifest, why);
    }
    return code == ERR_ok && !installation->has_manifest ? manifest_adopt(&folder, &installation->manifest, &is_found, why) : code;
}

/* What was listed and is not among the copies is missing in the new place as well, and is refused there by its name. */
static err
put_manifest(struct restoring *restoring, enum manifest_state state, struct err_text *why)
{
    struct manifest manifest = restoring->installation.manifest;
    for (size_t i = 0; i < restoring->installation.count; i++) {
        const struct installation_part *part = &restoring->installation.parts[i];
        manifest_set(&manifest, part->class->name, part->shard, part->of, state);
    }
    return manifest_put(restoring->settings, &manifest, why);
}

/* --- restoring --- */

static err
copy_part(struct restoring *restoring, struct installation_part *part, struct err_text *why)
{
    struct db_config config = {.driver = DB_SQLITE, .read_only = true};
    struct installation_part original = *part;
    struct err_text reason = {""};
    snprintf(config.path, sizeof config.path, "%s", restoring->folder);
    snprintf(config.prefix, sizeof config.prefix, "%.*s", DB_PREFIX_MAX - 1, part->prefix);
    original.db = NULL;
    err code = db_open(&config, &original.db, &reason);
    code = code == ERR_ok ? ERR_ok : err_say(why, code, "%s: %.400s", part->name, reason.text);
    if (code == ERR_ok) {
        code = installation_read_position(&original, &part->position, why);
    }
    if (code == ERR_ok) {
        struct command_rows copy = {.part = part, .from = original.db, .to = part->db, .is_closed = true};
        code = command_rows_copy(&copy, why);
    }
    db_close(&original.db);
    if (code == ERR_ok) {
        printf("%s: to batch %lld and event %lld; what came behind them is gone\n", part->name, (long long)part->position.batch,
               (long long)part->position.seq);
    }
    return code;
}

static err
restore(struct restoring *restoring, struct err_text *why)
{
    struct installation *installation = &restoring->installation;
    err code = restoring->are_copies ? ERR_ok : backup_file_read(restoring->folder, &restoring->file, why);
    if (code == ERR_ok) {
        code = choose_parts(restoring, why);
    }
    if (code == ERR_ok) {
        code = read_manifest(restoring, why);
    }
    for (size_t i = 0; code == ERR_ok && i < installation->count; i++) {
        code = open_target(restoring, &installation->parts[i], i == 0, why);
        if (code == ERR_ok && i == 0) {
            code = put_manifest(restoring, MANIFEST_MAKING, why);
        }
        if (code == ERR_ok) {
            code = copy_part(restoring, &installation->parts[i], why);
        }
    }
    if (code == ERR_ok && restoring->are_copies) {
        code = command_mend_productions(installation, why);
    }
    if (code == ERR_ok) {
        code = command_mend(installation, why);
    }
    return code == ERR_ok ? put_manifest(restoring, MANIFEST_MADE, why) : code;
}

static void
print_summary(const struct restoring *restoring, int64_t took_us)
{
    char moment[32];
    struct tm broken;
    time_t seconds = (time_t)(restoring->file.taken_ms / 1000);
    printf("restored in %.2f s; ", (double)took_us / 1e6);
    if (restoring->are_copies) {
        printf("of copies, which are of several moments: `larder verify` names what does not agree\n");
        return;
    }
    int64_t lost_ms = clock_utc_ms() - restoring->file.taken_ms;
    strftime(moment, sizeof moment, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &broken));
    printf(
        "everything answered before %s.%03lldZ is there, and nothing of the %.1f s since. Who follows an actor from outside is told "
        "other_incarnation and has to begin anew\n",
        moment, (long long)(restoring->file.taken_ms % 1000), (double)lost_ms / 1000);
}

static enum exit_status
restore_run(struct command_line *line)
{
    static struct restoring restoring;
    struct err_text why;
    int64_t began_us = clock_steady_us();
    restoring.are_copies = command_take_switch(line, "--copies");
    err code = command_rest_checked(line, 1, 1, &why);
    if (code == ERR_ok) {
        restoring.folder = line->argv[0];
        restoring.settings = &line->settings;
        code = restore(&restoring, &why);
    }
    installation_close(&restoring.installation);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    print_summary(&restoring, clock_steady_us() - began_us);
    return EXIT_DONE;
}

const struct command restore_command = {
    .name = "restore",
    .arguments = "DIR [--copies] [settings]",
    .summary = "make an installation of a backup, in an empty folder or database",
    .help =
        "DIR is what `larder backup` wrote, from either engine; --data or LARDER_DB is where to, and has to be empty. Says how far\n"
        "each actor is, and what of their cursors did not agree. Each database gets a new incarnation: whoever follows it from\n"
        "outside and may know events that are gone is refused (other_incarnation) and has to begin anew.\n"
        "\n"
        "With --copies DIR holds *.db files that were copied by hand, with their -wal files. They are of several moments:\n"
        "cursors are mended, and so is what the factory does not know of what stock has counted; `larder verify` names what else does "
        "not agree.\n"
        "\n"
        "Exit status: 0 it is restored, 1 it is not, 2 a setting, the backup or the place is wrong.\n",
    .has_settings = true,
    .run = restore_run,
};
