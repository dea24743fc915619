/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Whose a database is. A file that was put in another's place, or a table of another installation's dump, says so itself.
 *
 * STATE     $identity: one row, written when the schema is there, never changed. A database that was made before there was such a row
 *           gets it at its first start by this build.
 *
 * FAILURES  One sentence each, ERR_wrong_setting: nothing is changed by asking. Without a row it is judged by what it holds: the
 *           tables of the actor's own first steps, as far as it has had such steps, and the number of the shard row.
 *
 * LIMITS    Two databases of before that have the same tables, as two shards of stock without a row each, are told apart by their
 *           shard row alone.
 */
#include "identity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

#define OWN_FIRST 2 /* steps of the actor that are looked at */

/* What was asked last has failed because there is no such table. */
static bool
is_table_missing(const struct db *db, err code)
{
    return code == ERR_db_bug && (strstr(db_error(db), "no such table") != NULL || strstr(db_error(db), "MySQL 1146") != NULL);
}

err
identity_count(struct db *db, const char *sql, int64_t *count)
{
    struct db_statement *read = db_statement(db, sql);
    err code = db_query(read);
    *count = code == ERR_ok && db_next(read) ? db_i64(read, 0) : -1;
    db_done(read);
    db_rollback(db);
    return is_table_missing(db, code) ? ERR_ok : code;
}

err
identity_read(struct db *db, struct identity *identity, bool *is_there)
{
    struct db_statement *read = db_statement(db, "SELECT installation, actor, shard FROM $identity WHERE one = 1");
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        struct slice actor = db_bytes(read, 1);
        *identity = (struct identity){.installation = db_id(read, 0), .shard = (int)db_i64(read, 2)};
        snprintf(identity->actor, sizeof identity->actor, "%.*s", (int)actor.size, (const char *)actor.data);
    }
    db_done(read);
    db_rollback(db);
    return is_table_missing(db, code) ? ERR_ok : code;
}

static err
refuse_other(const struct db *db, const struct manifest_ticket *ticket, const struct identity *found, struct err_text *why)
{
    char what[ERR_TEXT_MAX];
    char theirs[ID_TEXT_SIZE];
    char ours[ID_TEXT_SIZE];
    db_describe(db, what, sizeof what);
    id_format(&found->installation, theirs);
    id_format(&ticket->installation.id, ours);
    if (!id_equal(&found->installation, &ticket->installation.id)) {
        return err_say(why, ERR_wrong_setting, "%.130s: of installation %s, not of %s, whose place this is: put back what was here",
                       what, theirs, ours);
    }
    return err_say(why, ERR_wrong_setting, "%.130s: that of %.32s/%d, not of %s/%d: put back what was here", what, found->actor,
                   found->shard, ticket->entry.actor, ticket->entry.shard);
}

/* The name behind `CREATE TABLE [IF NOT EXISTS] $` of a step; false when it makes no table. */
static bool
made_table(const char *sql, char name[64])
{
    static const char verb[] = "CREATE TABLE ";
    const char *dollar = strncmp(sql, verb, sizeof verb - 1) == 0 ? strchr(sql, '$') : NULL;
    size_t size = dollar == NULL ? 0 : strspn(dollar + 1, "abcdefghijklmnopqrstuvwxyz_0123456789");
    if (size == 0 || size >= 64) {
        return false;
    }
    memcpy(name, dollar + 1, size);
    name[size] = '\0';
    return true;
}

static err
has_table(struct db *db, const char *name, bool *is_there)
{
    char sql[128];
    int64_t rows = 0;
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM (SELECT 1 FROM $%s LIMIT 1) AS one", name);
    err code = identity_count(db, sql, &rows);
    *is_there = rows >= 0;
    return code;
}

static err
refuse_without(const struct db *db, const struct manifest_ticket *ticket, const char *table, struct err_text *why)
{
    char what[ERR_TEXT_MAX];
    char ours[ID_TEXT_SIZE];
    db_describe(db, what, sizeof what);
    id_format(&ticket->installation.id, ours);
    return err_say(why, ERR_wrong_setting, "%.130s: no table `%s`, so not that of %s/%d of installation %s: put back what was here",
                   what, table, ticket->entry.actor, ticket->entry.shard, ours);
}

/* The row that numbers the commits: `number` is -1 without a table, -2 without a row. */
static err
read_shard(struct db *db, int64_t *number)
{
    struct db_statement *read = db_statement(db, "SELECT shard FROM $shard");
    err code = db_query(read);
    *number = code != ERR_ok ? -1 : db_next(read) ? db_i64(read, 0) : -2;
    db_done(read);
    db_rollback(db);
    return is_table_missing(db, code) ? ERR_ok : code;
}

/* One that was made is whole: without its shard row it would begin to count anew. */
static err
check_shard_row(struct db *db, const struct manifest_ticket *ticket, struct err_text *why)
{
    int64_t number = 0;
    char what[ERR_TEXT_MAX];
    db_describe(db, what, sizeof what);
    err code = read_shard(db, &number);
    if (code != ERR_ok) {
        return err_say(why, code, "%.130s: cannot be read: %.100s", what, db_error(db));
    }
    if (number == -1 && ticket->entry.state == MANIFEST_MADE) {
        return refuse_without(db, ticket, "shard", why);
    }
    if (number == -2 && ticket->entry.state == MANIFEST_MADE) {
        return err_say(why, ERR_wrong_setting, "%.130s: the row of its shard is gone: put back what was here", what);
    }
    if (number >= 0 && number != ticket->entry.shard) {
        return err_say(why, ERR_wrong_setting, "%.130s: that of shard %lld, not of %s/%d: put back what was here", what,
                       (long long)number, ticket->entry.actor, ticket->entry.shard);
    }
    return ERR_ok;
}

/* The table that one of the actor's own steps has made. Before there were restaurants, four actors made a placeholder instead. */
static err
check_own_table(struct db *db, const struct manifest_ticket *ticket, const struct db_step *step, struct err_text *why)
{
    char table[64];
    char sql[96];
    int64_t had = 0;
    bool is_there = false;
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM $schema_version WHERE version = %d", step->version);
    err code = identity_count(db, sql, &had);
    if (code != ERR_ok || had <= 0 || !made_table(step->sql, table)) {
        return code;
    }
    code = has_table(db, table, &is_there);
    if (code == ERR_ok && !is_there) {
        code = has_table(db, "placeholder", &is_there);
    }
    return code != ERR_ok || is_there ? code : refuse_without(db, ticket, table, why);
}

/* It says nothing: it is new, or of before. */
static err
check_old(struct db *db, const struct manifest_ticket *ticket, const struct db_step *own, size_t count, struct err_text *why)
{
    int64_t steps = 0;
    int64_t shards = 0;
    err code = identity_count(db, "SELECT COUNT(*) FROM $schema_version", &steps);
    if (code == ERR_ok) {
        code = identity_count(db, "SELECT COUNT(*) FROM $shard", &shards);
    }
    if (code != ERR_ok) {
        return err_say(why, code, "%s/%d: the database cannot be read: %.150s", ticket->entry.actor, ticket->entry.shard,
                       db_error(db));
    }
    bool is_begun = steps > 0 && shards > 0;
    if (!is_begun && ticket->entry.state == MANIFEST_MAKING) {
        return ERR_ok;
    }
    if (!is_begun || !ticket->installation.is_adopted) {
        return refuse_without(db, ticket, steps <= 0 ? "schema_version" : shards <= 0 ? "shard" : "identity", why);
    }
    for (size_t i = 0; code == ERR_ok && i < count && i < OWN_FIRST; i++) {
        code = check_own_table(db, ticket, &own[i], why);
    }
    return code;
}

err
identity_check(struct db *db, const struct manifest_ticket *ticket, const struct db_step *own, size_t count, struct err_text *why)
{
    struct identity found;
    bool is_there = false;
    err code = identity_read(db, &found, &is_there);
    if (code != ERR_ok) {
        return err_say(why, code, "%s/%d: the database cannot be read: %.150s", ticket->entry.actor, ticket->entry.shard,
                       db_error(db));
    }
    bool is_ours = is_there && id_equal(&found.installation, &ticket->installation.id) && found.shard == ticket->entry.shard &&
                   strcmp(found.actor, ticket->entry.actor) == 0;
    if (is_there && !is_ours) {
        return refuse_other(db, ticket, &found, why);
    }
    code = is_there ? ERR_ok : check_old(db, ticket, own, count, why);
    return code == ERR_ok ? check_shard_row(db, ticket, why) : code;
}

err
identity_put(struct db *db, const struct manifest_ticket *ticket, struct err_text *why)
{
    struct identity found;
    bool is_there = false;
    err code = identity_read(db, &found, &is_there);
    if (code == ERR_ok && !is_there) {
        struct db_statement *insert =
            db_statement(db, "INSERT INTO $identity (one, installation, actor, shard, at) VALUES (1, ?, ?, ?, ?)");
        db_bind_id(insert, &ticket->installation.id);
        db_bind_text(insert, slice_of(ticket->entry.actor));
        db_bind_i64(insert, ticket->entry.shard);
        db_bind_i64(insert, clock_utc_ms());
        code = db_run(insert, NULL);
        code = code == ERR_ok ? db_commit(db) : code;
        db_rollback(db);
        code = code == ERR_db_unique ? ERR_ok : code; /* somebody who starts beside us was faster */
    }
    return code == ERR_ok ? ERR_ok
                          : err_say(why, code, "%s/%d cannot write down whose its database is: %.150s", ticket->entry.actor,
                                    ticket->entry.shard, db_error(db));
}
