/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder verify`: proves from the databases that what was promised holds, also while the shop is open.
 *
 *   Each actor proves its own rows in one snapshot of its database. Between databases it is proved that nothing is lost on its way:
 *   every event of a source is applied, parked or still to come at each subscriber (command_verify_streams.c), what was given up has
 *   its letter (command_verify_letters.c), orders agree with holds and charges (command_verify_orders.c), charges with what the
 *   payment provider says of them (command_verify_provider.c), and copies of the menu with the menu (command_verify_menus.c).
 *   Snapshots of several databases are not of one moment, so they are taken in the order in which a healthy shop can only move
 *   apart: what sources noted of their subscribers and keep for them, then what the dlq keeps for them, then the subscribers'
 *   cursors and rows that were given up, then letters, then the sources' heads; orders and menus come last, with snapshots of their
 *   own.
 *
 * STATE
 *   Reads only, takes no lock and no shard: $shard, $outbox, $position, $cursor, $parked, $due, $burial, $hosting, $letter, and what
 *   the actors' own proofs read.
 *
 * FAILURES
 *   Each fault is a sentence on standard error and makes the exit status 1, as does a database that cannot be read. An actor that
 *   need not be there and was never started is a fault only when somebody has been told of its work.
 *
 * LIMITS
 *   A long proof holds its snapshot: SQLite's write-ahead log grows meanwhile. Up to 256 cursors and positions.
 */
#include "command_verify.h"

#include <stdio.h>

#include "command/command_table.h"
#include "dlq/dlq_verify.h"
#include "dlq/letter/dlq_letter.h"
#include "kit/base/clock.h"

static void
say_fault(void *context, const char *sentence)
{
    fprintf(stderr, "%s: %s\n", (const char *)context, sentence);
}

/* --- one actor --- */

/* SQLite looks through its own file: pages, the order of rows, that indexes and tables say the same. A server checks each page by
 * its sum whenever it reads one. */
static err
check_file(struct verify_survey *survey, const struct verify_source *source, struct err_text *why)
{
    if (db_driver(source->db) != DB_SQLITE) {
        return ERR_ok;
    }
    struct db_statement *rows = db_statement(source->db, "PRAGMA integrity_check(5)");
    err code = db_query(rows);
    while (code == ERR_ok && db_next(rows)) {
        struct slice words = db_bytes(rows, 0);
        if (!slice_equal(words, slice_of("ok"))) {
            verify_fault(survey, source->name, "the file is damaged: %.*s", (int)(words.size < 300 ? words.size : 300),
                         (const char *)words.data);
        }
    }
    db_rollback(source->db);
    return verify_unread(source, code, why);
}

/* The shard row, which the rest of this source's snapshot belongs to. */
static err
check_stream(struct verify_survey *survey, struct verify_source *source, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT seq, shards, incarnation FROM $shard WHERE shard = ?");
    db_bind_i64(read, source->shard);
    err code = db_query(read);
    if (code != ERR_ok) {
        return verify_unread(source, code, why);
    }
    if (!db_next(read)) {
        code = db_settle(source->db);
        verify_fault(survey, source->name, "the row of the shard is gone");
        return verify_unread(source, code, why);
    }
    source->head = db_i64(read, 0);
    int64_t shards = db_i64(read, 1);
    struct id incarnation = db_id(read, 2);
    db_done(read);
    if (shards != source->of) {
        verify_fault(survey, source->name, "its database was made for %lld shards, and the settings say %d", (long long)shards,
                     source->of);
    }
    code = verify_compare(survey, source, &incarnation, source->head);
    if (code == ERR_ok) {
        code = verify_kit(survey, source, &incarnation);
    }
    return verify_unread(source, code, why);
}

/* What is said at the end of an actor's line. */
static err
describe(const struct verify_source *source, char words[96], struct err_text *why)
{
    int64_t first = 0;
    int64_t second = 0;
    err code;
    if (source->proof->is_dlq) {
        code = verify_read_number(dlq_select_count(source->db, DLQ_DEAD), &first);
        if (code == ERR_ok) {
            code = verify_read_number(dlq_select_count(source->db, DLQ_WAITING), &second);
        }
        snprintf(words, 96, "%lld dead, %lld waiting", (long long)first, (long long)second);
    } else {
        code = verify_read_number(db_statement(source->db, "SELECT COUNT(*) FROM $parked"), &first);
        snprintf(words, 96, "stream at %lld, %lld parked", (long long)source->head, (long long)first);
    }
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    return verify_unread(source, code, why);
}

static err
prove(struct verify_survey *survey, struct verify_source *source, struct err_text *why)
{
    char words[96] = "";
    int64_t before = survey->faults;
    struct verify_report report = {
        .now_ms = source->is_open ? clock_utc_ms() : 0, .stuck_ms = survey->stuck_ms, .say = say_fault, .context = source->name};
    err code = check_stream(survey, source, why);
    if (code == ERR_ok) {
        code = describe(source, words, why);
    }
    if (code == ERR_ok) {
        code = source->proof->verify(source->db, &report);
        if (code == ERR_ok) {
            code = db_settle(source->db);
        }
        code = verify_unread(source, code, why);
    }
    db_rollback(source->db);
    if (code != ERR_ok) {
        return code;
    }
    survey->faults += report.faults;
    survey->rows_checked += report.rows_checked;
    if (survey->faults == before) {
        printf("%s: %s agree: %lld rows checked; %s\n", source->name, source->proof->what, (long long)report.rows_checked, words);
    } else {
        printf("%s: %lld faults in %lld rows; %s\n", source->name, (long long)(survey->faults - before),
               (long long)report.rows_checked, words);
    }
    return ERR_ok;
}

/* --- all --- */

static err
survey_all(struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    err code = verify_place_say(survey, settings, why);
    survey->stuck_ms = settings->stuck_ms;
    if (code == ERR_ok) {
        code = verify_survey_open(survey, settings, why);
    }
    if (code != ERR_ok || survey->count == 0) {
        return code;
    }
    verify_survey_say_absent(survey);
    code = verify_place_check(survey, settings, why);
    if (code == ERR_ok && survey->asks_shop) {
        verify_place_ask(survey, settings);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = check_file(survey, &survey->sources[i], why);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = verify_read_positions(survey, &survey->sources[i], why);
    }
    if (code == ERR_ok) {
        code = verify_read_hostings(survey, why);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = verify_read_cursors(survey, &survey->sources[i], why);
        if (code == ERR_ok) {
            code = verify_read_rows(survey, &survey->sources[i], why);
        }
        db_rollback(survey->sources[i].db);
    }
    if (code == ERR_ok) {
        code = verify_compare_letters(survey, why);
    }
    for (size_t i = 0; code == ERR_ok && i < survey->count; i++) {
        code = prove(survey, &survey->sources[i], why);
    }
    if (code == ERR_ok) {
        code = verify_compare_orders(survey, why);
    }
    if (code == ERR_ok) {
        code = verify_compare_productions(survey, why);
    }
    if (code == ERR_ok) {
        code = verify_compare_provider(survey, settings, why);
    }
    if (code == ERR_ok) {
        code = verify_compare_menus(survey, why);
    }
    return code == ERR_ok ? verify_print_subscriptions(survey, why) : code;
}

err
verify_all(struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    verify_marks_create(survey);
    verify_rows_create(survey);
    err code = survey_all(survey, settings, why);
    verify_survey_close(survey);
    verify_rows_destroy(survey);
    verify_marks_destroy(survey);
    return code;
}

/* The last line. Nothing was found is not the same as nothing is wrong. */
static enum exit_status
conclude(const struct verify_survey *survey)
{
    if (survey->count == 0) {
        fprintf(stderr, "there is nothing to prove: no database of larder is there\n");
        return EXIT_NOTHING;
    }
    if (survey->faults > 0) {
        fprintf(stderr, "%lld faults\n", (long long)survey->faults);
    }
    if (survey->missing > 0) {
        fprintf(stderr, "not all could be proved: %lld databases are missing\n", (long long)survey->missing);
        return EXIT_NOTHING;
    }
    if (survey->faults == 0) {
        printf("all agrees: %zu databases, %lld rows\n", survey->count, (long long)survey->rows_checked);
    }
    return survey->faults == 0 ? EXIT_DONE : EXIT_FAILED;
}

static enum exit_status
verify_run(struct command_line *line)
{
    static struct verify_survey survey = {.look_pause_ms = VERIFY_LOOK_PAUSE_MS, .asks_shop = true};
    struct err_text why;
    (void)setvbuf(stdout, NULL, _IOLBF, 0); /* faults are said between the lines, also into one file */
    survey.named_by = verify_place_named_by(line);
    err code = command_rest_checked(line, 0, 0, &why);
    if (code == ERR_ok) {
        code = verify_all(&survey, &line->settings, &why);
    }
    return code == ERR_ok ? conclude(&survey) : command_complain(line, code, &why);
}

const struct command verify_command = {
    .name = "verify",
    .arguments = "[settings]",
    .summary = "prove from the databases that nothing was lost, doubled or oversold",
    .help = "Reads snapshots of each database, also while the shop is open, and prints a line for each: that ledger, levels\n"
            "and holds add up, that letters, their counters and kept events do; and a line for each subscription: that every\n"
            "event is delivered, discarded, parked or still to come. What was given up must have its letter. Of each order that\n"
            "has ended the units were sold or are back, and what was charged and not paid back is its price or nothing; every\n"
            "charge has its order, what stock knows of productions is what the factory says, and copies of the menu are the\n"
            "menu. An outside payment provider is asked what became of each charge (LARDER_PAYMENT_URL); charges that nobody can\n"
            "be asked about are counted. An order that has stood in one step of its saga for longer than LARDER_STUCK_MS, beyond\n"
            "what the step waits for by itself, is a fault as well. Each fault is a sentence on standard error that names the\n"
            "first thing that does not add up.\n"
            "\n"
            "The first line says which databases are read, and why these; the last one that all agrees, or how many faults there\n"
            "are. A shop that is running is asked which databases it has open. Of SQLite's files SQLite itself looks for damage.\n"
            "\n"
            "Exit status: 0 all agrees, 1 there are faults or a database cannot be read, 2 a setting is wrong, 5 there was nothing\n"
            "to prove, or a database that should be there is not.\n",
    .has_settings = true,
    .run = verify_run,
};
