/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder verify`: proves from the databases that what was promised holds, also while the shop is open.
 *
 *   Each actor proves its own rows in one snapshot of its database. Between databases it is proved that no subscriber is ahead of its
 *   source or follows another one, and that no source believes a subscriber to be further than it is. Snapshots of several databases
 *   are not of one moment, so they are taken in the order in which a healthy shop can only move apart: first what sources noted of
 *   their subscribers, then the subscribers' cursors, then the sources' heads.
 *
 * STATE
 *   Reads only, takes no lock and no shard: $shard, $cursor, $position, $parked, and what the actors' own proofs read.
 *
 * FAILURES
 *   Each fault is a sentence on standard error and makes the exit status 1, as does a database that cannot be read.
 *
 * LIMITS
 *   A long proof holds its snapshot: SQLite's write-ahead log grows meanwhile. Up to 256 cursors and positions.
 */
#include "command_table.h"

#include <stdarg.h>
#include <string.h>

#include "factory/factory.h"
#include "stock/stock.h"
#include "topology.h"
#include "verify.h"

#define SOURCES_MAX 16
#define MARKS_MAX 256
#define NAME_MAX_SIZE 68

struct proof {
    const char *actor;
    const char *what; /* what agrees */
    err (*verify)(struct db *db, struct verify_report *report);
};

static const struct proof proofs[] = {
    {"stock", "ledger, levels and holds", stock_verify},
    {"factory", "productions", factory_verify},
};

struct source {
    const struct proof *proof;
    int shard;
    int of;
    char name[NAME_MAX_SIZE]; /* stock/0 */
    struct db *db;
};

/* How far `subscriber` is in the stream of `source`. */
struct mark {
    char source[NAME_MAX_SIZE];
    char subscriber[NAME_MAX_SIZE];
    struct id incarnation; /* of a cursor */
    int64_t position;
};

struct marks {
    struct mark all[MARKS_MAX];
    size_t count;
};

struct survey {
    struct source sources[SOURCES_MAX];
    size_t count;
    struct marks positions; /* what sources noted */
    struct marks cursors;   /* what subscribers applied */
    int64_t faults;
};

static void
say_fault(void *context, const char *sentence)
{
    fprintf(stderr, "%s: %s\n", (const char *)context, sentence);
}

static void __attribute__((format(printf, 3, 4)))
find_fault(struct survey *survey, const struct source *source, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    survey->faults++;
    fprintf(stderr, "%s: %s\n", source->name, sentence);
}

static void
copy_name(char name[NAME_MAX_SIZE], struct slice text)
{
    snprintf(name, NAME_MAX_SIZE, "%.*s", (int)(text.size < NAME_MAX_SIZE ? text.size : NAME_MAX_SIZE - 1), (const char *)text.data);
}

static err
open_sources(struct survey *survey, const struct settings *settings, struct err_text *why)
{
    for (size_t i = 0; i < sizeof proofs / sizeof proofs[0]; i++) {
        int of = topology_shards(settings, proofs[i].actor);
        for (int shard = 0; shard < of; shard++) {
            struct source *source = &survey->sources[survey->count];
            *source = (struct source){.proof = &proofs[i], .shard = shard, .of = of};
            snprintf(source->name, sizeof source->name, "%s/%d", proofs[i].actor, shard);
            struct db_config config;
            err code = settings_db(settings, proofs[i].actor, shard, &config, why);
            config.read_only = true;
            if (code == ERR_ok) {
                code = db_open(&config, &source->db, why);
            }
            if (code != ERR_ok) {
                return code;
            }
            survey->count++;
        }
    }
    return ERR_ok;
}

static err
db_failed(const struct source *source, err code, struct err_text *why)
{
    return err_say(why, code, "%s: the database cannot be read: %s", source->name, db_error(source->db));
}

static struct mark *
mark_add(struct marks *marks)
{
    return marks->count < MARKS_MAX ? &marks->all[marks->count++] : NULL;
}

static err
read_positions(struct survey *survey, const struct source *source, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT subscriber, position FROM $position ORDER BY subscriber");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct mark *mark = mark_add(&survey->positions);
        if (mark != NULL) {
            memcpy(mark->source, source->name, sizeof mark->source);
            copy_name(mark->subscriber, db_bytes(read, 0));
            mark->position = db_i64(read, 1);
        }
    }
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    db_rollback(source->db);
    return code == ERR_ok ? ERR_ok : db_failed(source, code, why);
}

static err
read_cursors(struct survey *survey, const struct source *source, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT source, incarnation, position FROM $cursor ORDER BY source");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct mark *mark = mark_add(&survey->cursors);
        if (mark != NULL) {
            copy_name(mark->source, db_bytes(read, 0));
            memcpy(mark->subscriber, source->name, sizeof mark->subscriber);
            mark->incarnation = db_id(read, 1);
            mark->position = db_i64(read, 2);
        }
    }
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    db_rollback(source->db);
    return code == ERR_ok ? ERR_ok : db_failed(source, code, why);
}

static bool
is_ours(const struct survey *survey, const char *name)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->sources[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A subscriber of ours that a source believes to be further than it is would never be given what lies between. */
static void
compare_positions(struct survey *survey, const struct source *source)
{
    for (size_t i = 0; i < survey->positions.count; i++) {
        const struct mark *position = &survey->positions.all[i];
        if (strcmp(position->source, source->name) != 0 || !is_ours(survey, position->subscriber)) {
            continue;
        }
        int64_t applied = 0;
        for (size_t at = 0; at < survey->cursors.count; at++) {
            const struct mark *cursor = &survey->cursors.all[at];
            if (strcmp(cursor->source, source->name) == 0 && strcmp(cursor->subscriber, position->subscriber) == 0) {
                applied = cursor->position;
            }
        }
        if (applied < position->position) {
            find_fault(survey, source, "%s is noted as having applied %lld events; its own database says %lld", position->subscriber,
                       (long long)position->position, (long long)applied);
        }
    }
}

static void
compare_cursors(struct survey *survey, const struct source *source, const struct id *incarnation, int64_t head)
{
    for (size_t i = 0; i < survey->cursors.count; i++) {
        const struct mark *cursor = &survey->cursors.all[i];
        if (strcmp(cursor->source, source->name) != 0) {
            continue;
        }
        if (!id_equal(&cursor->incarnation, incarnation)) {
            find_fault(survey, source, "%s follows another database than the one that is here", cursor->subscriber);
        } else if (cursor->position > head) {
            find_fault(survey, source, "%s has applied %lld events, and the stream ends at %lld", cursor->subscriber,
                       (long long)cursor->position, (long long)head);
        }
    }
}

/* The shard row, which the rest of this source's snapshot belongs to. */
static err
check_stream(struct survey *survey, const struct source *source, int64_t *head, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT seq, shards, incarnation FROM $shard WHERE shard = ?");
    db_bind_i64(read, source->shard);
    err code = db_query(read);
    if (code != ERR_ok) {
        return db_failed(source, code, why);
    }
    if (!db_next(read)) {
        code = db_settle(source->db);
        find_fault(survey, source, "the row of the shard is gone");
        return code == ERR_ok ? ERR_ok : db_failed(source, code, why);
    }
    *head = db_i64(read, 0);
    int64_t shards = db_i64(read, 1);
    struct id incarnation = db_id(read, 2);
    db_done(read);
    if (shards != source->of) {
        find_fault(survey, source, "its database was made for %lld shards, and the settings say %d", (long long)shards, source->of);
    }
    compare_cursors(survey, source, &incarnation, *head);
    compare_positions(survey, source);
    return ERR_ok;
}

static err
count_parked(const struct source *source, int64_t *count, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT COUNT(*) FROM $parked");
    err code = db_query(read);
    *count = code == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    return code == ERR_ok ? ERR_ok : db_failed(source, code, why);
}

static err
prove(struct survey *survey, struct source *source, struct err_text *why)
{
    int64_t head = 0;
    int64_t parked = 0;
    int64_t before = survey->faults;
    struct verify_report report = {.say = say_fault, .context = source->name};
    err code = check_stream(survey, source, &head, why);
    if (code == ERR_ok) {
        code = count_parked(source, &parked, why);
    }
    if (code == ERR_ok) {
        code = source->proof->verify(source->db, &report);
        if (code == ERR_ok) {
            code = db_settle(source->db);
        }
        code = code == ERR_ok ? ERR_ok : db_failed(source, code, why);
    }
    db_rollback(source->db);
    if (code != ERR_ok) {
        return code;
    }
    survey->faults += report.faults;
    if (survey->faults == before) {
        printf("%s: %s agree: %lld rows checked; stream at %lld, %lld parked\n", source->name, source->proof->what,
               (long long)report.rows_checked, (long long)head, (long long)parked);
    } else {
        printf("%s: %lld faults in %lld rows; stream at %lld, %lld parked\n", source->name, (long long)(survey->faults - before),
               (long long)report.rows_checked, (long long)head, (long long)parked);
    }
    return ERR_ok;
}

static err
survey_all(struct survey *survey, const struct settings *settings, struct err_text *why)
{
    err code = open_sources(survey, settings, why);
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = read_positions(survey, &survey->sources[i], why);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = read_cursors(survey, &survey->sources[i], why);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = prove(survey, &survey->sources[i], why);
    }
    if (code == ERR_ok && (survey->positions.count == MARKS_MAX || survey->cursors.count == MARKS_MAX)) {
        code = err_say(why, ERR_internal, "more than %d subscribers: what is between databases was not proved for all", MARKS_MAX - 1);
    }
    return code;
}

static enum exit_status
verify_run(struct command_line *line)
{
    static struct survey survey;
    struct err_text why;
    err code = command_settings_checked(line, &why);
    if (code == ERR_ok) {
        code = command_expect(line, 0, 0, &why);
    }
    if (code == ERR_ok) {
        code = survey_all(&survey, &line->settings, &why);
    }
    for (size_t i = 0; i < survey.count; i++) {
        db_close(&survey.sources[i].db);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    return survey.faults == 0 ? EXIT_DONE : EXIT_FAILED;
}

const struct command verify_command = {
    .name = "verify",
    .arguments = "[settings]",
    .summary = "prove from the databases that nothing was lost, doubled or oversold",
    .help = "Reads one snapshot of each database, also while the shop is open, and prints a line for each: that ledger,\n"
            "levels and holds add up, and that no subscriber and source contradict each other. Each fault is a sentence\n"
            "on standard error.\n"
            "\n"
            "Exit status: 0 everything agrees, 1 it does not or a database cannot be read, 2 a setting is wrong.\n",
    .has_settings = true,
    .run = verify_run,
};
