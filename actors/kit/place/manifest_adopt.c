/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   A place without a manifest is empty, or was made by a build that kept none, or lost it. What is there tells which: its
 *           databases are looked for, opened for reading, and asked whose they are.
 *
 * STATE     Reads $identity, $shard and $schema_version. What is found is listed as made. What must have been there beside it is
 *           listed as absent, so that it is refused like any other database that is missing: a shop always had stock and factory,
 *           and a dlq when its build knew letters; orders need product and payment; and a stock has as many shards as its rows say.
 *           Anything else, as people in a shop that only has guests, may never have been there, and is made when it is first started.
 *
 *           Its id begins with zeros where one that is begun has the time: nobody knows how old it is, so it is the oldest of all.
 *
 * FAILURES  A database that cannot be read is refused by its name, before anything is made beside it.
 *
 * LIMITS    Looked at once, at the first start by a build that keeps manifests.
 */
#include "manifest_store.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kit/base/clock.h"
#include "identity.h"
#include "kit/telemetry/log.h"
#include "neighbours.h"
#include "kit/settings/topology.h"

/* What one database says. */
struct found {
    bool has_identity;
    struct identity identity;
    int64_t of;     /* shards; 0: not known */
    bool knows_dlq; /* the build that made it had letters */
};

/* What all of them say. */
struct survey {
    const struct settings *settings;
    struct manifest *manifest;
    int shards; /* of stock */
    bool had_dlq;
};

static bool
has_file(const struct db_config *config)
{
    char path[sizeof config->path + DB_PREFIX_MAX + 8];
    struct stat file;
    snprintf(path, sizeof path, "%s/%s.db", config->path, config->prefix);
    return stat(path, &file) == 0;
}

/* Opens it for reading: NULL when it is not there. */
static err
open_database(const struct settings *settings, const char *actor, int shard, struct db **db, bool *is_there, struct err_text *why)
{
    struct db_config config;
    *db = NULL;
    *is_there = false;
    err code = settings_db(settings, actor, shard, &config, why);
    config.read_only = true;
    if (code != ERR_ok || (config.driver == DB_SQLITE && !has_file(&config))) {
        return code;
    }
    int64_t steps = -1;
    code = db_open(&config, db, why);
    if (code == ERR_ok) {
        code = identity_count(*db, "SELECT COUNT(*) FROM $schema_version", &steps);
        if (code != ERR_ok) {
            char what[ERR_TEXT_MAX];
            db_describe(*db, what, sizeof what);
            (void)err_say(why, code, "%.130s: cannot be read: %.100s", what, db_error(*db));
        }
    }
    *is_there = code == ERR_ok && (steps >= 0 || config.driver == DB_SQLITE);
    if (!*is_there) {
        db_close(db);
    }
    return code;
}

err
manifest_has_database(const struct settings *settings, const char *actor, int shard, bool *is_there, struct err_text *why)
{
    struct db *db = NULL;
    struct db_config config;
    err code = settings_db(settings, actor, shard, &config, why);
    if (code == ERR_ok && config.driver == DB_SQLITE) {
        *is_there = has_file(&config);
    }
    if (code != ERR_ok || config.driver == DB_SQLITE) {
        return code;
    }
    code = open_database(settings, actor, shard, &db, is_there, why);
    db_close(&db);
    return code;
}

/* What cannot be read is as if it had not been said: its own actor will refuse the database. */
static void
ask(struct db *db, struct found *found)
{
    bool has_identity = false;
    found->has_identity = identity_read(db, &found->identity, &has_identity) == ERR_ok && has_identity;
    struct db_statement *read = db_statement(db, "SELECT shards FROM $shard");
    found->of = db_query(read) == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    db_rollback(db);
    int64_t letters = 0;
    found->knows_dlq = identity_count(db, "SELECT COUNT(*) FROM $schema_version WHERE version = 17", &letters) == ERR_ok &&
                       letters > 0; /* the step that made $burial */
}

static bool
lists(const struct manifest *manifest, const char *actor)
{
    return manifest_find(manifest, actor, 0) != NULL;
}

static void
miss(struct manifest *manifest, const char *actor, int shard, int of)
{
    if (manifest_find(manifest, actor, shard) == NULL) {
        (void)manifest_add(manifest, actor, shard, of, MANIFEST_ABSENT);
        log_error("database_missing", LOG_TEXT("database", actor), LOG_I64("of_shard", shard),
                  LOG_TEXT("reason", "other databases of the shop are here, and this one is not"));
    }
}

/* What must have been beside that which is there. */
static void
miss_others(const struct survey *survey)
{
    struct manifest *manifest = survey->manifest;
    for (int shard = 0; shard < survey->shards; shard++) {
        miss(manifest, "stock", shard, survey->shards);
    }
    miss(manifest, "factory", 0, 1);
    if (survey->had_dlq) {
        miss(manifest, "dlq", 0, 1);
    }
    if (lists(manifest, "order") || lists(manifest, "payment")) {
        miss(manifest, "product", 0, 1);
        miss(manifest, "order", 0, 1);
        miss(manifest, "payment", 0, 1);
    }
}

/* One database: listed when it is there. */
static err
look(struct survey *survey, const char *actor, int shard, struct err_text *why)
{
    struct found found = {0};
    struct db *db = NULL;
    bool is_there = false;
    err code = open_database(survey->settings, actor, shard, &db, &is_there, why);
    if (code != ERR_ok || !is_there) {
        return code;
    }
    if (db != NULL) {
        ask(db, &found);
        db_close(&db);
    }
    bool is_known = found.of > 0 && found.of <= MANIFEST_SHARDS_MAX;
    int of = is_known ? (int)found.of : topology_shards(survey->settings, actor);
    if (is_known && strcmp(actor, "stock") == 0) {
        survey->shards = of;
    }
    survey->had_dlq = survey->had_dlq || found.knows_dlq;
    if (found.has_identity) {
        survey->manifest->installation.id = found.identity.installation;
    }
    (void)manifest_add(survey->manifest, actor, shard, of, MANIFEST_MADE);
    return ERR_ok;
}

err
manifest_adopt(const struct settings *settings, struct manifest *manifest, bool *is_found, struct err_text *why)
{
    struct survey survey = {.settings = settings, .manifest = manifest, .shards = topology_shards(settings, "stock")};
    const char *actor = NULL;
    err code = ERR_ok;
    *manifest = (struct manifest){.installation = {.id = id_new(), .begun_ms = clock_utc_ms(), .is_adopted = true}};
    memset(&manifest->installation.id, 0, NEIGHBOURS_AGE_SIZE);
    for (size_t i = 0; code == ERR_ok && (actor = topology_actor(i)) != NULL; i++) {
        int shards = strcmp(actor, "stock") == 0 ? MANIFEST_SHARDS_MAX : 1;
        for (int shard = 0; code == ERR_ok && shard < shards; shard++) {
            code = look(&survey, actor, shard, why);
        }
    }
    *is_found = code == ERR_ok && manifest->count > 0;
    if (*is_found) {
        miss_others(&survey);
    }
    return code;
}
