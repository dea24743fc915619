/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Tells a place that is wrong from one that is empty, and a database that is lost from one that was never made.
 *
 *           A place is begun only where that is wanted: by `init`, or by itself where no setting has named it. A database is listed
 *           before it is made and marked when it is; between the two a start may be killed, and the next one goes on. One that is
 *           listed as made and is missing is refused by its name, until it is put back or given up by hand. One that is not listed
 *           is made, and said: a new actor, or a shard.
 *
 * STATE     The manifest (manifest_file.c, manifest_tables.c): it changes under the place's lock, so processes and threads may
 *           start side by side. Whoever asks with `init` where there is an installation only opens it.
 *
 * FAILURES  Refusals are ERR_wrong_setting: starting again does not help. What can be done about it is in the sentence; no password
 *           is.
 *
 * LIMITS    A database of a server that has lost a single table is found by identity.c, which looks into it.
 */
#include "manifest.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "manifest_store.h"
#include "neighbours.h"
#include "kit/settings/topology.h"

/* Whether this process has begun the installation: then it is no surprise that its databases are new. */
static _Atomic bool is_begun_here;

/* --- words --- */

/* "/srv/shop/dlq_0.db", "dlq_0_... of the database shop". */
static void
name_database(const struct db_config *config, const char *actor, int shard, char text[ERR_TEXT_MAX])
{
    if (config->driver == DB_SQLITE) {
        snprintf(text, ERR_TEXT_MAX, "%.90s/%s_%d.db", config->path, actor, shard);
    } else {
        snprintf(text, ERR_TEXT_MAX, "the tables %s_%d_... of the database %.64s", actor, shard, config->name);
    }
}

static void
log_missing(const struct manifest_store *store, const struct manifest_owner *installation, const struct manifest_entry *entry)
{
    char what[ERR_TEXT_MAX];
    name_database(&store->config, entry->actor, entry->shard, what);
    log_error("database_missing", LOG_TEXT("database", what), LOG_ID("installation", &installation->id),
              LOG_TEXT("reason", entry->state == MANIFEST_ABSENT
                                     ? "it was missing already when this place was first opened by this build"
                                     : "it was made, and is not there any more"),
              LOG_TEXT("to_do", "bring it back from a backup; or, if it is lost for good, give it up by hand: the shop then goes on "
                                "without what it held"));
}

/* `others`: more that are missing, "" or ", dlq/0". */
static err
refuse_missing(const struct manifest_store *store, const struct manifest_owner *installation, const struct manifest_entry *entry,
               const char *others, struct err_text *why)
{
    char what[ERR_TEXT_MAX];
    char id[ID_TEXT_SIZE];
    name_database(&store->config, entry->actor, entry->shard, what);
    id_format(&installation->id, id);
    bool is_one = store->config.driver == DB_SQLITE && others[0] == '\0';
    return err_say(why, ERR_wrong_setting,
                   "%.110s%.40s %s missing, of installation %s: bring it back, or `larder installation give-up %s/%d --reason TEXT`",
                   what, others, is_one ? "is" : "are", id, entry->actor, entry->shard);
}

/* The way a place is named on a command line; never with a password. */
static void
name_place(const struct db_config *config, char text[ERR_TEXT_MAX])
{
    if (config->driver == DB_MYSQL) {
        snprintf(text, ERR_TEXT_MAX, "the database %.64s at %.60s", config->name, config->hosts);
        return;
    }
    char here[PATH_MAX] = "";
    bool is_relative = config->path[0] != '/' && getcwd(here, sizeof here) != NULL;
    snprintf(text, ERR_TEXT_MAX, "the folder %.100s%s%.100s%s", config->path, is_relative ? " (in " : "", here,
             is_relative ? ")" : "");
}

static err
refuse_beginning(const struct settings *settings, const struct db_config *config, const char *state, struct err_text *why)
{
    char place[ERR_TEXT_MAX];
    char flag[ERR_TEXT_MAX] = "";
    name_place(config, place);
    if (config->driver == DB_SQLITE) {
        snprintf(flag, sizeof flag, settings->db[0] != '\0' ? " --db sqlite:%.90s" : " --data %.90s", config->path);
    }
    return err_say(why, ERR_wrong_setting, "%.130s %s; where a shop is to begin: `larder run%s --init`, once", place, state, flag);
}

/* --- places --- */

static bool
may_begin(const struct settings *settings)
{
    return settings->init || !settings->is_place_given;
}

/* Whether there is anything of larder: a manifest, or a database of any actor. */
static err
holds_anything(const char *folder, bool *does, struct err_text *why)
{
    struct manifest manifest;
    const char *actor = NULL;
    err code = manifest_file_read(folder, &manifest, does, why);
    for (size_t i = 0; code == ERR_ok && !*does && (actor = topology_actor(i)) != NULL; i++) {
        for (int shard = 0; !*does && shard < MANIFEST_SHARDS_MAX; shard++) {
            char path[SETTING_TEXT_MAX + DB_PREFIX_MAX + 8];
            struct stat file;
            snprintf(path, sizeof path, "%s/%s_%d.db", folder, actor, shard);
            *does = stat(path, &file) == 0;
        }
    }
    return code;
}

err
manifest_check_folder(const struct settings *settings, const char *folder, struct err_text *why)
{
    struct stat found;
    bool does = false;
    struct db_config config = {.driver = DB_SQLITE};
    snprintf(config.path, sizeof config.path, "%s", folder);
    if (may_begin(settings)) {
        return ERR_ok;
    }
    if (stat(folder, &found) != 0) {
        return errno == ENOENT ? refuse_beginning(settings, &config, "is not there", why)
                               : err_say(why, ERR_wrong_setting, "the folder %.160s cannot be used: %s", folder, strerror(errno));
    }
    err code = holds_anything(folder, &does, why);
    return code != ERR_ok || does ? code : refuse_beginning(settings, &config, "holds nothing of larder", why);
}

/* That of the folder or the database as a whole. */
static err
place_config(const struct settings *settings, struct db_config *config, struct err_text *why)
{
    err code = settings_db(settings, "stock", 0, config, why);
    snprintf(config->prefix, sizeof config->prefix, "larder");
    return code;
}

static err
open_place(const struct settings *settings, struct manifest_store *store, struct manifest *manifest, bool *is_there,
           struct err_text *why)
{
    err code = place_config(settings, &store->config, why);
    if (code != ERR_ok) {
        return code;
    }
    if (store->config.driver == DB_SQLITE && may_begin(settings)) {
        (void)mkdir(store->config.path, 0750); /* when it fails, locking says why */
    }
    return store->config.driver == DB_SQLITE ? manifest_file_open(store, manifest, is_there, why)
                                             : manifest_tables_open(store, manifest, is_there, why);
}

static err
save(struct manifest_store *store, const struct manifest *manifest, struct err_text *why)
{
    return store->config.driver == DB_SQLITE ? manifest_file_save(store, manifest, why) : manifest_tables_save(store, manifest, why);
}

/* The id that --installation gives; false: it gives none. settings_check() has read it. */
static bool
is_wanted(const struct settings *settings, struct id *id)
{
    return settings->installation[0] != '\0' && id_parse(settings->installation, strlen(settings->installation), id);
}

/* A shop that is open where ours would be is not joined by chance: what is new here would be taken for what it has lost. */
static err
refuse_second(const struct settings *settings, struct err_text *why)
{
    struct neighbour other;
    struct id wanted;
    char id[ID_TEXT_SIZE];
    if (is_wanted(settings, &wanted) || !neighbours_ask(settings, NULL, &other)) {
        return ERR_ok;
    }
    id_format(&other.installation, id);
    return err_say(
        why, ERR_wrong_setting,
        "%.60s is open, of installation %s: bring its data back here, or, where a part of it begins, add `--installation %s`",
        other.endpoint, id, id);
}

/* Nothing is here. */
static err
begin(const struct settings *settings, const struct manifest_store *store, struct manifest *manifest, struct err_text *why)
{
    err code = ERR_ok;
    if (!may_begin(settings)) {
        code = refuse_beginning(settings, &store->config, "holds nothing of larder", why);
    } else if (store->asks_neighbours) {
        code = refuse_second(settings, why);
    }
    if (code == ERR_ok) {
        *manifest = (struct manifest){.installation = {.id = id_new(), .begun_ms = clock_utc_ms()}};
        atomic_store(&is_begun_here, true);
    }
    return code;
}

/* A place without a manifest: that of an older build, or a new one. */
static err
found_installation(const struct settings *settings, const struct manifest_store *store, struct manifest *manifest,
                   struct err_text *why)
{
    bool is_found = false;
    char place[ERR_TEXT_MAX];
    name_place(&store->config, place);
    err code = manifest_adopt(settings, manifest, &is_found, why);
    if (code == ERR_ok && !is_found) {
        code = begin(settings, store, manifest, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    (void)is_wanted(settings, &manifest->installation.id);
    log_warn(is_found ? "installation_adopted" : "installation_begun", LOG_ID("installation", &manifest->installation.id),
             LOG_TEXT("place", place), LOG_I64("databases", (int64_t)manifest->count),
             LOG_TEXT("reason", is_found         ? "its databases were made by an older build"
                                : settings->init ? "the place was empty, and --init is set"
                                                 : "the place was empty, and is the default one"));
    return ERR_ok;
}

static err
check_wanted(const struct settings *settings, const struct manifest_store *store, const struct manifest *manifest,
             struct err_text *why)
{
    struct id wanted;
    char id[ID_TEXT_SIZE];
    char place[ERR_TEXT_MAX];
    if (!is_wanted(settings, &wanted) || id_equal(&wanted, &manifest->installation.id)) {
        return ERR_ok;
    }
    name_place(&store->config, place);
    id_format(&manifest->installation.id, id);
    return err_say(why, ERR_wrong_setting, "%.110s is of installation %s, and LARDER_INSTALLATION says %.40s", place, id,
                   settings->installation);
}

/* Opens the place, which has an installation then. On failure nothing is left open. */
static err
open_installation(const struct settings *settings, struct manifest_store *store, struct manifest *manifest, bool *is_new,
                  struct err_text *why)
{
    bool is_there = false;
    err code = open_place(settings, store, manifest, &is_there, why);
    if (code != ERR_ok) {
        return code;
    }
    *is_new = !is_there;
    code = is_there ? check_wanted(settings, store, manifest, why) : found_installation(settings, store, manifest, why);
    if (code != ERR_ok) {
        manifest_store_close(store);
    }
    return code;
}

static void
say_new(const struct manifest_store *store, const struct manifest *manifest, const struct manifest_entry *entry, const char *reason)
{
    char what[ERR_TEXT_MAX];
    name_database(&store->config, entry->actor, entry->shard, what);
    bool is_expected = atomic_load(&is_begun_here) && entry->state == MANIFEST_MAKING;
    log_at(is_expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "database_new", LOG_TEXT("database", what),
           LOG_ID("installation", &manifest->installation.id), LOG_TEXT("reason", reason));
}

/* What becomes of the entry; `is_there`: its database is. */
static err
admit(const struct manifest_store *store, const struct manifest *manifest, struct manifest_entry *entry, bool is_there,
      struct err_text *why)
{
    switch (entry->state) {
    case MANIFEST_MAKING:
        say_new(store, manifest, entry, is_there ? "it was being made when a start ended" : "it is listed and not made yet");
        return ERR_ok;
    case MANIFEST_MADE:
        return is_there ? ERR_ok : refuse_missing(store, &manifest->installation, entry, "", why);
    case MANIFEST_ABSENT:
        if (!is_there) {
            return refuse_missing(store, &manifest->installation, entry, "", why);
        }
        entry->state = MANIFEST_MADE;
        return ERR_ok;
    case MANIFEST_GIVEN_UP:
        say_new(store, manifest, entry, is_there ? "it was given up, and is there again" : "it was given up, and begins empty");
        entry->state = is_there ? MANIFEST_MADE : MANIFEST_MAKING;
        return ERR_ok;
    }
    return ERR_internal;
}

static err
enter_locked(const struct settings *settings, const struct manifest_store *store, struct manifest *manifest,
             struct manifest_entry *entry, struct err_text *why)
{
    int of = topology_shards(settings, entry->actor);
    bool is_there = true;
    err code = ERR_ok;
    if (store->config.driver == DB_SQLITE || entry->state != MANIFEST_MADE) { /* else identity.c will see */
        code = manifest_has_database(settings, entry->actor, entry->shard, &is_there, why);
    }
    if (code == ERR_ok && entry->of != of) {
        return err_say(why, ERR_wrong_setting,
                       "the database of shard %d was made for %d shards and is opened with %d; the number is fixed", entry->shard,
                       entry->of, of);
    }
    return code == ERR_ok ? admit(store, manifest, entry, is_there, why) : code;
}

/* The entry of the actor, which is added when there is none: how many shards there are was decided when the first was made. */
static err
find_or_add(const struct settings *settings, struct manifest *manifest, const char *actor, int shard, struct manifest_entry **entry,
            struct err_text *why)
{
    int of = topology_shards(settings, actor);
    for (size_t i = 0; i < manifest->count; i++) {
        struct manifest_entry *known = &manifest->entries[i];
        if (strcmp(known->actor, actor) != 0) {
            continue;
        }
        of = known->of;
        if (known->shard == shard) {
            *entry = known;
            return ERR_ok;
        }
    }
    *entry = manifest_add(manifest, actor, shard, of, MANIFEST_MAKING);
    return *entry != NULL ? ERR_ok : err_say(why, ERR_wrong_setting, "the manifest has %d entries and no room", MANIFEST_ENTRIES_MAX);
}

err
manifest_enter(const struct settings *settings, const char *actor, int shard, struct manifest_ticket *ticket, struct err_text *why)
{
    struct manifest_store store = {.lock_fd = -1};
    struct manifest manifest;
    struct manifest_entry *entry = NULL;
    bool is_new = false;
    err code = open_installation(settings, &store, &manifest, &is_new, why);
    if (code != ERR_ok) {
        return code;
    }
    size_t count = manifest.count;
    code = find_or_add(settings, &manifest, actor, shard, &entry, why);
    enum manifest_state state = code == ERR_ok ? entry->state : MANIFEST_MAKING;
    code = code == ERR_ok ? enter_locked(settings, &store, &manifest, entry, why) : code;
    bool is_changed = is_new || manifest.count != count || (entry != NULL && entry->state != state);
    /* An adopted place keeps what was found missing, also when this start is refused for it. */
    if ((code == ERR_ok || (is_new && manifest.installation.is_adopted)) && is_changed) {
        struct err_text reason;
        err saved = save(&store, &manifest, code == ERR_ok ? why : &reason);
        code = code == ERR_ok ? saved : code;
    }
    if (code == ERR_ok) {
        *ticket = (struct manifest_ticket){.installation = manifest.installation, .entry = *entry};
    }
    manifest_store_close(&store);
    return code;
}

/* Whether this one is listed and missing. What a server has of one that was made is seen by identity.c. */
static err
is_missing(const struct settings *settings, const struct manifest_store *store, const struct manifest_entry *entry, bool *is,
           struct err_text *why)
{
    bool is_there = true;
    err code = ERR_ok;
    bool must_be_there = entry->state == MANIFEST_ABSENT || (entry->state == MANIFEST_MADE && store->config.driver == DB_SQLITE);
    if (must_be_there) {
        code = manifest_has_database(settings, entry->actor, entry->shard, &is_there, why);
    }
    *is = !is_there;
    return code;
}

static err
check_members(const struct settings *settings, const struct manifest_store *store, const struct manifest *manifest,
              const struct manifest_entry *members, size_t count, struct err_text *why)
{
    const struct manifest_entry *first = NULL;
    char others[ERR_TEXT_MAX] = "";
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        const struct manifest_entry *entry = manifest_find(manifest, members[i].actor, members[i].shard);
        bool is = false;
        code = entry == NULL ? ERR_ok : is_missing(settings, store, entry, &is, why);
        if (!is) {
            continue;
        }
        log_missing(store, &manifest->installation, entry);
        if (first != NULL) {
            size_t size = strlen(others);
            snprintf(others + size, sizeof others - size, ", %s/%d", entry->actor, entry->shard);
        }
        first = first == NULL ? entry : first;
    }
    return code != ERR_ok || first == NULL ? code : refuse_missing(store, &manifest->installation, first, others, why);
}

err
manifest_check_members(const struct settings *settings, const struct manifest_entry *members, size_t count,
                       struct manifest_owner *installation, struct err_text *why)
{
    struct manifest_store store = {.lock_fd = -1, .asks_neighbours = true};
    struct manifest manifest;
    bool is_new = false;
    err code = open_installation(settings, &store, &manifest, &is_new, why);
    if (code != ERR_ok) {
        return code;
    }
    code = is_new ? save(&store, &manifest, why) : ERR_ok;
    if (code == ERR_ok) {
        *installation = manifest.installation;
        code = check_members(settings, &store, &manifest, members, count, why);
    }
    manifest_store_close(&store);
    return code;
}

err
manifest_made(const struct settings *settings, const struct manifest_ticket *ticket, struct err_text *why)
{
    struct manifest_store store = {.lock_fd = -1};
    struct manifest manifest;
    bool is_there = false;
    if (ticket->entry.state == MANIFEST_MADE) {
        return ERR_ok;
    }
    err code = open_place(settings, &store, &manifest, &is_there, why);
    if (code != ERR_ok) {
        return code;
    }
    struct manifest_entry *entry = is_there ? manifest_find_to_change(&manifest, ticket->entry.actor, ticket->entry.shard) : NULL;
    if (entry == NULL || !id_equal(&manifest.installation.id, &ticket->installation.id)) {
        code = err_say(why, ERR_wrong_setting, "the manifest was taken away while %s/%d was being made", ticket->entry.actor,
                       ticket->entry.shard);
    } else {
        entry->state = MANIFEST_MADE;
        code = save(&store, &manifest, why);
    }
    manifest_store_close(&store);
    return code;
}

err
manifest_read(const struct settings *settings, struct manifest *manifest, bool *is_there, struct err_text *why)
{
    struct db_config config;
    struct db *db = NULL;
    err code = place_config(settings, &config, why);
    if (code != ERR_ok || config.driver == DB_SQLITE) {
        return code == ERR_ok ? manifest_file_read(config.path, manifest, is_there, why) : code;
    }
    config.read_only = true;
    code = db_open(&config, &db, why);
    code = code == ERR_ok ? manifest_tables_read(db, manifest, is_there, why) : code;
    db_close(&db);
    return code;
}

err
manifest_put(const struct settings *settings, const struct manifest *manifest, struct err_text *why)
{
    struct manifest_store store = {.lock_fd = -1};
    struct manifest before;
    struct settings at_once = *settings;
    bool is_there = false;
    at_once.init = 1;
    err code = open_place(&at_once, &store, &before, &is_there, why);
    if (code != ERR_ok) {
        return code;
    }
    code = save(&store, manifest, why);
    manifest_store_close(&store);
    return code;
}

err
manifest_give_up(const struct settings *settings, const char *actor, int shard, struct err_text *why)
{
    struct manifest_store store = {.lock_fd = -1};
    struct manifest manifest;
    bool is_there = false;
    bool has_database = false;
    char what[ERR_TEXT_MAX];
    err code = open_place(settings, &store, &manifest, &is_there, why);
    if (code != ERR_ok) {
        return code;
    }
    name_database(&store.config, actor, shard, what);
    struct manifest_entry *entry = manifest_find_to_change(&manifest, actor, shard);
    code = manifest_has_database(settings, actor, shard, &has_database, why);
    if (code == ERR_ok && entry == NULL) {
        code = err_say(why, ERR_wrong_setting, "%s/%d is not listed here: there is nothing to give up", actor, shard);
    } else if (code == ERR_ok && has_database) {
        code = err_say(why, ERR_wrong_setting, "%.160s is there: what is to be given up has to be moved away first", what);
    } else if (code == ERR_ok) {
        entry->state = MANIFEST_GIVEN_UP;
        code = save(&store, &manifest, why);
    }
    manifest_store_close(&store);
    return code;
}
