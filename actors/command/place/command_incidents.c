/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder incidents`: what stands until a person decides, and what was decided; `larder incidents resolve`: the way out.
 *
 * MESSAGES
 *   any.resolve, to the actor in which it stands; twice: what it would do is said first.
 *
 * STATE
 *   Reads $incident of every database that the settings name, as it is now, also while the shop is open. Nothing is written here: the
 *   actor itself goes on, in a transaction of its own.
 *
 * FAILURES
 *   A database that cannot be read ends the command. One of a build that kept no incidents has none.
 *
 * LIMITS
 *   Resolving needs the actor, and for most kinds the source as well, to be running: from where it goes on is asked of them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command/command_client.h"
#include "command_installation.h"
#include "command/command_table.h"

#define MOMENT_SIZE 32
#define RESOLVE_MS 10000

struct incidents_shown {
    struct installation installation;
    bool with_resolved;
    int64_t standing;
    int64_t resolved;
};

static const char *
moment(int64_t ms, char text[MOMENT_SIZE])
{
    struct tm broken;
    time_t seconds = (time_t)(ms / 1000);
    strftime(text, MOMENT_SIZE, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&seconds, &broken));
    return text;
}

static void
print_row(struct incidents_shown *shown, const struct installation_part *part, struct db_statement *row)
{
    char id[ID_TEXT_SIZE];
    char since[MOMENT_SIZE];
    char until[MOMENT_SIZE];
    struct id number = db_id(row, 0);
    struct slice texts[6];
    int64_t resolved = db_i64(row, 6);
    for (int i = 0; i < 6; i++) {
        static const int columns[] = {1, 2, 3, 7, 8, 9};
        texts[i] = db_bytes(row, columns[i]);
    }
    id_format(&number, id);
    shown->standing += resolved == 0 ? 1 : 0;
    shown->resolved += resolved == 0 ? 0 : 1;
    if (resolved != 0 && !shown->with_resolved) {
        return;
    }
    printf("%s  %s  %s %s %.*s since %s: %.*s (it stands at event %" PRId64 ")\n", id, resolved == 0 ? "stands" : "over  ", part->name,
           slice_equal(texts[1], slice_of("held")) ? "holds" : "refuses", (int)texts[0].size, (const char *)texts[0].data,
           moment(db_i64(row, 4), since), (int)texts[2].size, (const char *)texts[2].data, db_i64(row, 5));
    if (resolved != 0) {
        printf("    over since %s: %.*s\n", moment(resolved, until), (int)texts[5].size, (const char *)texts[5].data);
    }
    if (resolved != 0 && texts[4].size > 0) {
        printf("    decided by %.*s: %.*s\n", texts[3].size == 0 ? 7 : (int)texts[3].size,
               texts[3].size == 0 ? "nobody" : (const char *)texts[3].data, (int)texts[4].size, (const char *)texts[4].data);
    }
}

static err
show_part(struct incidents_shown *shown, const struct installation_part *part, struct err_text *why)
{
    struct db_statement *read = db_statement(part->db, "SELECT id, about, kind, what, since, position, resolved, author, reason, done"
                                                       " FROM $incident ORDER BY resolved <> 0, since");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        print_row(shown, part, read);
    }
    db_rollback(part->db);
    if (code == ERR_db_bug) { /* there is no such table yet */
        return ERR_ok;
    }
    return code == ERR_ok ? ERR_ok : err_say(why, code, "%s: the database cannot be read: %.300s", part->name, db_error(part->db));
}

static err
show_all(struct incidents_shown *shown, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < shown->installation.count; i++) {
        code = show_part(shown, &shown->installation.parts[i], why);
    }
    return code;
}

static err
open_all(struct installation *installation, struct command_line *line, struct err_text *why)
{
    err code = installation_init(installation, &line->settings, why);
    if (code == ERR_ok) {
        code = installation_open(installation, why);
    }
    if (code == ERR_ok && installation->count == 0) {
        code = err_say(why, ERR_wrong_setting, "no actor's database is there: --data or LARDER_DB says where");
    }
    return code;
}

static enum exit_status
list_run(struct command_line *line)
{
    static struct incidents_shown shown;
    struct err_text why;
    shown.with_resolved = command_take_switch(line, "--all");
    err code = command_rest_checked(line, 0, 0, &why);
    if (code == ERR_ok) {
        code = open_all(&shown.installation, line, &why);
    }
    if (code == ERR_ok) {
        code = show_all(&shown, &why);
    }
    installation_close(&shown.installation);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    printf("%" PRId64 " stand%s, %" PRId64 " %s over%s\n", shown.standing, shown.standing == 1 ? "s" : "", shown.resolved,
           shown.resolved == 1 ? "is" : "are", shown.resolved > 0 && !shown.with_resolved ? "; --all shows them" : "");
    return shown.standing == 0 ? EXIT_DONE : EXIT_FAILED;
}

/* --- resolve --- */

struct resolving {
    struct id id;
    char name[INSTALLATION_NAME_SIZE]; /* of the actor in which it stands */
    const char *reason;
    const char *author;
    bool is_said; /* yes was said before */
};

static err
find_owner(struct resolving *resolving, struct command_line *line, struct err_text *why)
{
    static struct installation installation;
    err code = open_all(&installation, line, why);
    for (size_t i = 0; code == ERR_ok && i < installation.count && resolving->name[0] == '\0'; i++) {
        struct installation_part *part = &installation.parts[i];
        struct db_statement *read = db_statement(part->db, "SELECT 1 FROM $incident WHERE id = ?");
        db_bind_id(read, &resolving->id);
        code = db_query(read);
        if (code == ERR_ok && db_next(read)) {
            snprintf(resolving->name, sizeof resolving->name, "%s", part->name);
        }
        db_done(read);
        db_rollback(part->db);
        code = code == ERR_db_bug ? ERR_ok : code;
        code = code == ERR_ok ? ERR_ok : err_say(why, code, "%s: %.300s", part->name, db_error(part->db));
    }
    installation_close(&installation);
    if (code == ERR_ok && resolving->name[0] == '\0') {
        code = err_say(why, ERR_wrong_setting, "there is no such incident here: `larder incidents --all` shows those that there are");
    }
    return code;
}

static err
ask(struct larder_client *client, const struct resolving *resolving, bool is_dry, struct err_text *why)
{
    struct wire_incident_resolve body = {0};
    struct wire_incident_resolved answer = {0};
    struct larder_options options = {.timeout_ms = RESOLVE_MS};
    WIRE_SET(&body, incident_resolve, incident, resolving->id);
    WIRE_SET(&body, incident_resolve, reason, slice_of(resolving->reason));
    if (resolving->author != NULL && resolving->author[0] != '\0') {
        WIRE_SET(&body, incident_resolve, author, slice_of(resolving->author));
    }
    if (is_dry) {
        WIRE_SET(&body, incident_resolve, dry_run, true);
    }
    err code = any_client_resolve(client, &options, &body, &answer, why);
    if (code == ERR_ok) {
        printf("%s: %.*s\n", is_dry ? "it would do this" : "done", (int)answer.done.size, (const char *)answer.done.data);
        return ERR_ok;
    }
    struct err_text reason = *why;
    return err_say(why, code, "%s decides it and has to run, beside whom it refuses: %.400s", resolving->name, reason.text);
}

/* Nobody decides by accident. */
static bool
is_confirmed(const struct resolving *resolving)
{
    char answer[8] = "";
    if (resolving->is_said) {
        return true;
    }
    if (isatty(STDIN_FILENO) == 0) {
        printf("nothing is done without --yes\n");
        return false;
    }
    printf("shall it? (yes) ");
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) != NULL && strcmp(answer, "yes\n") == 0;
}

static err
take_arguments(struct resolving *resolving, struct command_line *line, struct err_text *why)
{
    resolving->author = getenv("USER");
    const struct command_option options[] = {
        {"--yes", .is_there = &resolving->is_said},
        {"--reason", .text = &resolving->reason},
        {"--author", .text = &resolving->author},
        {0},
    };
    err code = command_take(line, options, why);
    if (code == ERR_ok) {
        code = command_rest_checked(line, 1, 1, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    if (!id_parse(line->argv[0], strlen(line->argv[0]), &resolving->id)) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\" is no id of an incident", line->argv[0]);
    }
    size_t size = resolving->reason == NULL ? 0 : strlen(resolving->reason);
    return size > 0 && size <= 250 ? ERR_ok : err_say(why, ERR_wrong_setting, "--reason says why, in at most 250 bytes");
}

static enum exit_status
resolve_run(struct command_line *line)
{
    struct resolving resolving = {0};
    struct larder_client *client = NULL;
    struct err_text why;
    int shards = 0;
    bool is_done = false;
    err code = take_arguments(&resolving, line, &why);
    if (code == ERR_ok) {
        code = find_owner(&resolving, line, &why);
    }
    if (code == ERR_ok) {
        code = command_client_create(&(struct command_peers){.settings = &line->settings, .endpoint = resolving.name}, &client,
                                     &shards, &why);
    }
    if (code == ERR_ok) {
        code = ask(client, &resolving, true, &why);
    }
    if (code == ERR_ok && is_confirmed(&resolving)) {
        code = ask(client, &resolving, false, &why);
        is_done = code == ERR_ok;
    }
    larder_client_destroy(&client);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    return is_done ? EXIT_DONE : EXIT_FAILED;
}

static const struct command incidents_list_command = {
    .name = "list",
    .arguments = "[--all] [settings]",
    .summary = "what stands until a person decides, read from the databases",
    .help = "Which actor refuses whom, since when and why, and at which event it stands. --all shows what is over as well, and who "
            "decided\n"
            "what. Exit status: 0 nothing stands, 1 something does, 2 a setting is wrong.\n",
    .has_settings = true,
    .run = list_run,
};

static const struct command incidents_resolve_command = {
    .name = "resolve",
    .arguments = "ID --reason WHY [--yes] [--author NAME] [settings]",
    .summary = "go on without what is gone; says first what it will do",
    .help = "The actor in which it stands and whom it refuses have to be running: they say from where it would go on, what stays and "
            "what is\n"
            "gone. Then it is done after `yes` on a terminal, or with --yes. What was done, when, by whom ($USER unless told "
            "otherwise) and\n"
            "why is kept: `larder incidents list --all`. If the right database can be brought back, do that instead.\n"
            "\n"
            "Exit status: 0 it is resolved, 1 it is not, 2 the command or a setting is wrong.\n",
    .has_settings = true,
    .run = resolve_run,
};

static const struct command *const parts[] = {&incidents_list_command, &incidents_resolve_command, NULL};

const struct command incidents_command = {
    .name = "incidents",
    .arguments = "[list | resolve]",
    .summary = "see what stands until a person decides, and decide",
    .help =
        "An incident: a source of another database, one that went back in time, one whose events nobody keeps any more. Its reader\n"
        "stands, and /readyz is 503.\n",
    .has_settings = true,
    .run = list_run,
    .parts = parts,
};
