/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Says where `larder verify` looks and who has named that place, and asks the shop that is running whether it is there as well. A
 *   flag that was forgotten would prove another database, and say that all agrees.
 *
 *   A source that answers tells its incarnation and the position of its stream. The shard row is read after that: of the same
 *   database it has the same incarnation and stands there or later; a copy of an earlier day stands before it.
 *
 * STATE
 *   Reads the manifest of the place and $identity of each database.
 *
 * FAILURES
 *   A database that is listed and missing, that is not listed, or that is another one by its own word, is a fault. A place without a
 *   manifest is of an older build. A shop that serves another database is a fault when the place is the default one, and a note
 *   when somebody has named it: copies are proved beside a shop that is open. Nobody listening is said by nobody; who listens and
 *   does not answer is noted.
 *
 * LIMITS
 *   A shop elsewhere than the settings look for it is not found. Each source that listens is given ANSWER_MS.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command_client.h"
#include "command_verify.h"
#include "kit/place/identity.h"
#include "kit/place/manifest.h"
#include "kit/place/neighbours.h"
#include "kit/settings/topology.h"

#define ANSWER_MS 1000

static bool
has_variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

const char *
verify_place_named_by(const struct command_line *line)
{
    if (command_has(line, "--db")) {
        return "--db";
    }
    if (has_variable("LARDER_DB")) {
        return "LARDER_DB";
    }
    if (has_variable("DATABASE")) {
        return "DATABASE";
    }
    return command_has(line, "--data") ? "--data" : has_variable("LARDER_DATA") ? "LARDER_DATA" : NULL;
}

err
verify_place_say(const struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    struct db_config config;
    err code = settings_db(settings, "stock", 0, &config, why);
    if (code != ERR_ok) {
        return code;
    }
    if (config.driver == DB_MYSQL) {
        printf("verify reads the database %s of %s (%s)\n", config.name, config.hosts,
               survey->named_by == NULL ? "the default" : survey->named_by);
        return ERR_ok;
    }
    char *path = realpath(config.path, NULL);
    if (survey->named_by == NULL) {
        printf("verify reads the files in %s, the default: no --data, --db, LARDER_DATA or LARDER_DB says another place\n",
               path == NULL ? config.path : path);
    } else {
        printf("verify reads the files in %s (%s)\n", path == NULL ? config.path : path, survey->named_by);
    }
    free(path);
    return ERR_ok;
}

/* --- whose the databases are --- */

static err
check_identity(struct verify_survey *survey, const struct verify_source *source, const struct manifest *manifest, struct err_text *why)
{
    struct identity identity;
    bool is_there = false;
    char theirs[ID_TEXT_SIZE];
    char ours[ID_TEXT_SIZE];
    err code = identity_read(source->db, &identity, &is_there);
    if (code != ERR_ok) {
        return verify_unread(source, code, why);
    }
    const struct manifest_entry *entry = manifest_find(manifest, source->proof->actor, source->shard);
    if (entry == NULL) {
        verify_fault(survey, source->name, "its database is here, and the manifest does not list it");
    }
    if (!is_there) { /* of an older build, or half made: its next start writes it down */
        if (entry != NULL && entry->state == MANIFEST_MADE && !manifest->installation.is_adopted) {
            verify_fault(survey, source->name, "its database was made here, and does not say any more whose it is");
        }
        return ERR_ok;
    }
    id_format(&identity.installation, theirs);
    id_format(&manifest->installation.id, ours);
    if (!id_equal(&identity.installation, &manifest->installation.id)) {
        verify_fault(survey, source->name, "its database is of installation %s, and this place of %s", theirs, ours);
    }
    if (identity.shard != source->shard || strcmp(identity.actor, source->proof->actor) != 0) {
        verify_fault(survey, source->name, "its database is that of %s/%d", identity.actor, identity.shard);
    }
    return ERR_ok;
}

static bool
is_opened(const struct verify_survey *survey, const struct manifest_entry *entry)
{
    char name[VERIFY_NAME_SIZE];
    snprintf(name, sizeof name, "%s/%d", entry->actor, entry->shard);
    return verify_find(survey, name) != NULL;
}

err
verify_place_check(struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    struct manifest manifest;
    char id[ID_TEXT_SIZE];
    bool is_there = false;
    err code = manifest_read(settings, &manifest, &is_there, why);
    if (code != ERR_ok || !is_there) {
        return code;
    }
    id_format(&manifest.installation.id, id);
    for (size_t i = 0; i < manifest.count; i++) {
        const struct manifest_entry *entry = &manifest.entries[i];
        char name[VERIFY_NAME_SIZE];
        bool is_gone = (entry->state == MANIFEST_MADE || entry->state == MANIFEST_ABSENT) && !is_opened(survey, entry);
        snprintf(name, sizeof name, "%s/%d", entry->actor, entry->shard);
        if (is_gone) {
            verify_fault(survey, name, "its database is listed in the manifest of installation %s, and is missing", id);
        }
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = check_identity(survey, &survey->sources[i], &manifest, why);
    }
    return code;
}

/* --- the shop that is running --- */

/* Who answers there; false: nobody who can be asked. */
static bool
ping(const struct settings *settings, const struct verify_source *source, const char *endpoint, struct wire_pong *pong)
{
    struct command_peers peers = {.settings = settings, .endpoint = endpoint};
    struct larder_client *client = NULL;
    struct err_text why;
    int shards = 0;
    bool has_answered = false;
    if (command_client_create(&peers, &client, &shards, &why) == ERR_ok) {
        struct wire_nothing nothing = {0};
        struct larder_request request = {.op = OP_any_ping, .body = &nothing, .options = {.timeout_ms = ANSWER_MS}};
        struct larder_reply reply;
        (void)larder_client_call(client, &request, &reply);
        if (reply.status == ERR_ok && larder_reply_decode(&reply, pong, &why) == ERR_ok) {
            has_answered = WIRE_HAS(pong, pong, incarnation) && pong->shard == source->shard;
        }
    }
    larder_client_destroy(&client);
    return has_answered;
}

static void
compare(struct verify_survey *survey, struct verify_source *source, const char *endpoint, const struct wire_pong *pong)
{
    struct db_statement *read = db_statement(source->db, "SELECT incarnation, seq FROM $shard WHERE shard = ?");
    db_bind_i64(read, source->shard);
    if (db_query(read) != ERR_ok || !db_next(read)) {
        return; /* said by its own proof */
    }
    struct id incarnation = db_id(read, 0);
    int64_t seq = db_i64(read, 1);
    db_done(read);
    const char *what = !id_equal(&incarnation, &pong->incarnation)    ? "serves another database"
                       : WIRE_HAS(pong, pong, seq) && seq < pong->seq ? "serves a later copy of this database"
                                                                      : NULL;
    source->is_open = what == NULL;
    if (source->is_open) {
        printf("%s: it is open in the shop that answers at %s\n", source->name, endpoint);
    } else if (survey->named_by == NULL) {
        verify_fault(survey, source->name, "the shop that answers at %s %s: name that one by --data or --db", endpoint, what);
    } else {
        printf("%s: note that the shop that answers at %s %s than what %s names\n", source->name, endpoint, what, survey->named_by);
    }
}

void
verify_place_ask(struct verify_survey *survey, const struct settings *settings)
{
    for (size_t i = 0; i < survey->count; i++) {
        struct verify_source *source = &survey->sources[i];
        char endpoint[ENDPOINT_MAX];
        struct wire_pong pong;
        topology_connect(settings, source->proof->actor, source->shard, ENDPOINT_REQUESTS, endpoint);
        if (!neighbour_listens(endpoint)) {
            continue;
        }
        if (ping(settings, source, endpoint, &pong)) {
            compare(survey, source, endpoint, &pong);
            db_rollback(source->db);
        } else {
            printf("%s: somebody listens at %s, and does not say which database he has\n", source->name, endpoint);
        }
    }
}
