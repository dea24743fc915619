/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Names and opens the databases of all actors, for commands that treat an installation as one thing.
 *
 * STATE
 *   Opened to be read: takes no lock and no shard.
 *
 * FAILURES
 *   A database that is there and cannot be read, and one that the manifest lists and is not there, are refused by the name of their
 *   actor. One that is neither was never started.
 *
 * LIMITS
 *   INSTALLATION_PARTS_MAX actors and shards.
 */
#include "command_installation.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command/run/command_process.h"
#include "kit/base/memory.h"
#include "kit/place/kit_schema.h"
#include "kit/settings/topology.h"

static const char *const names[] = {"stock", "factory", "sales", "product", "user", "order", "payment", "dlq"};

err
installation_init(struct installation *installation, const struct settings *settings, struct err_text *why)
{
    *installation = (struct installation){.settings = settings};
    struct db_config config;
    err code = settings_db(settings, "stock", 0, &config, why);
    if (code != ERR_ok) {
        return code;
    }
    installation->driver = config.driver;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int of = topology_shards(settings, names[i]);
        for (int shard = 0; shard < of; shard++) {
            assert(installation->count < INSTALLATION_PARTS_MAX);
            struct installation_part *part = &installation->parts[installation->count++];
            *part = (struct installation_part){.class = process_class(names[i]), .shard = shard, .of = of};
            snprintf(part->name, sizeof part->name, "%s/%d", names[i], shard);
            snprintf(part->prefix, sizeof part->prefix, "%s_%d", names[i], shard);
        }
    }
    return ERR_ok;
}

struct installation_part *
installation_find(struct installation *installation, struct slice name)
{
    for (size_t i = 0; i < installation->count; i++) {
        if (slice_equal(slice_of(installation->parts[i].name), name)) {
            return &installation->parts[i];
        }
    }
    return NULL;
}

struct db_step *
installation_steps(const struct installation_part *part, size_t *count)
{
    *count = kit_step_count + part->class->step_count;
    struct db_step *steps = memory_new(*count, sizeof *steps);
    memcpy(steps, kit_steps, kit_step_count * sizeof *steps);
    memcpy(steps + kit_step_count, part->class->steps, part->class->step_count * sizeof *steps);
    return steps;
}

/* ERR_db_bug of the engine: there is no such table. */
static err
read_row(struct installation_part *part, struct installation_position *position, bool *is_there)
{
    struct db_statement *read = db_statement(part->db, "SELECT incarnation, epoch, batch, seq FROM $shard WHERE shard = ?");
    db_bind_i64(read, part->shard);
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        position->incarnation = db_id(read, 0);
        position->epoch = db_i64(read, 1);
        position->batch = db_i64(read, 2);
        position->seq = db_i64(read, 3);
    }
    db_done(read);
    return code == ERR_ok ? db_settle(part->db) : code;
}

err
installation_read_position(struct installation_part *part, struct installation_position *position, struct err_text *why)
{
    bool is_there = false;
    err code = read_row(part, position, &is_there);
    if (code != ERR_ok) {
        return err_say(why, code, "%s: the database cannot be read: %.300s", part->name, db_error(part->db));
    }
    return is_there ? ERR_ok : err_say(why, ERR_db_stale, "%s: the row of the shard is gone", part->name);
}

static err
open_part(struct installation *installation, struct installation_part *part, bool *is_there, struct err_text *why)
{
    struct db_config config;
    err code = settings_db(installation->settings, part->class->name, part->shard, &config, why);
    if (code != ERR_ok) {
        return code;
    }
    char path[sizeof config.path + DB_PREFIX_MAX + 8];
    snprintf(path, sizeof path, "%s/%s.db", config.path, config.prefix);
    *is_there = config.driver != DB_SQLITE || access(path, F_OK) == 0;
    if (!*is_there) {
        return ERR_ok;
    }
    config.read_only = true;
    struct err_text reason;
    code = db_open(&config, &part->db, &reason);
    if (code != ERR_ok) {
        return err_say(why, code, "%s: %.400s", part->name, reason.text);
    }
    code = read_row(part, &part->position, is_there);
    if (code != ERR_ok && code != ERR_db_bug) {
        return err_say(why, code, "%s: the database cannot be read: %.300s", part->name, db_error(part->db));
    }
    db_rollback(part->db);
    return ERR_ok;
}

static err
check_manifest(struct installation *installation, struct err_text *why)
{
    struct manifest *manifest = &installation->manifest;
    err code = installation->count == 0 ? ERR_ok : manifest_read(installation->settings, manifest, &installation->has_manifest, why);
    for (size_t i = 0; code == ERR_ok && installation->has_manifest && i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        char name[INSTALLATION_NAME_SIZE];
        snprintf(name, sizeof name, "%.32s/%d", entry->actor, entry->shard);
        bool is_gone = entry->state == MANIFEST_MADE || entry->state == MANIFEST_ABSENT;
        if (is_gone && installation_find(installation, slice_of(name)) == NULL) {
            code = err_say(why, ERR_wrong_setting,
                           "%s: listed in the manifest and missing: bring it back, or `larder installation give-up %s --reason TEXT`",
                           name, name);
        }
    }
    return code;
}

err
installation_open(struct installation *installation, struct err_text *why)
{
    size_t kept = 0;
    err code = ERR_ok;
    for (size_t i = 0; i < installation->count; i++) {
        struct installation_part part = installation->parts[i];
        bool is_there = code != ERR_ok;
        if (code == ERR_ok) {
            code = open_part(installation, &part, &is_there, why);
        }
        if (is_there || code != ERR_ok) {
            installation->parts[kept++] = part;
        } else {
            db_close(&part.db);
        }
    }
    installation->count = kept;
    return code == ERR_ok ? check_manifest(installation, why) : code;
}

err
installation_in_folder(struct settings *settings, const char *folder, struct err_text *why)
{
    int size = snprintf(settings->db, sizeof settings->db, "sqlite:%s", folder);
    settings->installation[0] = '\0';
    return size < (int)sizeof settings->db ? ERR_ok : err_say(why, ERR_wrong_setting, "%.200s...: longer than can be", folder);
}

void
installation_close(struct installation *installation)
{
    for (size_t i = 0; i < installation->count; i++) {
        db_close(&installation->parts[i].db);
    }
    installation->count = 0;
}
