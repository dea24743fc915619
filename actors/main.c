/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The command `larder`: finds the subcommand, prints help, and sets what must be set before any library or thread starts.
 *
 *   A standard descriptor that is closed is /dev/null. czmq is told to leave SIGINT and SIGTERM alone. glibc is told to keep two
 *   arenas: each thread otherwise brings its own, which is most of the memory of a process that does little.
 *
 * FAILURES
 *   An unknown subcommand is refused with the nearest name; exit.h says what the exit status means.
 */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/command_limits.h"
#include "command/command_table.h"

#define ARENAS_MAX 2
#define NAME_SIZE_MAX 16
#define TITLE_SIZE (2 * NAME_SIZE_MAX + 2)

static const struct command *const commands[] = {
    &run_command,     &actor_command,     &gateway_command,      &demo_command,    &ping_command,    &call_command,    &tail_command,
    &token_command,   &products_command,  &webhook_command,      &letters_command, &migrate_command, &verify_command,  &backup_command,
    &restore_command, &incidents_command, &installation_command, &bench_command,   &docs_command,    &version_command, NULL,
};

static const struct command *
command_find(const struct command *const *list, const char *name)
{
    for (; *list != NULL; list++) {
        if (strcmp((*list)->name, name) == 0) {
            return *list;
        }
    }
    return NULL;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, two swapped neighbours counting as one (optimal string alignment); names too long are far from all. */
static size_t
distance(const char *a, const char *b)
{
    size_t far[NAME_SIZE_MAX + 1][NAME_SIZE_MAX + 1];
    size_t a_size = strlen(a);
    size_t b_size = strlen(b);
    if (a_size > NAME_SIZE_MAX || b_size > NAME_SIZE_MAX) {
        return NAME_SIZE_MAX;
    }
    for (size_t i = 0; i <= a_size; i++) {
        for (size_t j = 0; j <= b_size; j++) {
            if (i == 0 || j == 0) {
                far[i][j] = i + j;
                continue;
            }
            size_t replaced = far[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            far[i][j] = least(least(far[i - 1][j], far[i][j - 1]) + 1, replaced);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                far[i][j] = least(far[i][j], far[i - 2][j - 2] + 1);
            }
        }
    }
    return far[a_size][b_size];
}

/* `whole` is the command that the unknown name is a part of; NULL: it is none. */
static enum exit_status
refuse_unknown(const struct command *whole, const char *name)
{
    const struct command *nearest = NULL;
    const char *lead = whole == NULL ? "" : whole->name;
    const char *space = whole == NULL ? "" : " ";
    size_t best = 3;
    for (const struct command *const *at = whole == NULL ? commands : whole->parts; *at != NULL; at++) {
        size_t far = distance(name, (*at)->name);
        if (far < best) {
            best = far;
            nearest = *at;
        }
    }
    fprintf(stderr, "larder%s%s: \"%.60s\" is no command.", space, lead, name);
    if (nearest != NULL) {
        fprintf(stderr, " Did you mean `larder %s%s%s`?", lead, space, nearest->name);
    }
    fprintf(stderr, " `larder %s%s--help` lists them.\n", lead, space);
    return EXIT_USAGE;
}

static void
print_help(void)
{
    printf("larder: the back end of a shop that cannot afford to lie about its stock.\n\n");
    for (const struct command *const *at = commands; *at != NULL; at++) {
        printf("  larder %-12s %s\n", (*at)->name, (*at)->summary);
    }
    printf("\n`larder COMMAND --help` tells more. Settings, as flags or in the environment:\n\n");
    settings_print(stdout, 0);
}

static void
print_command_help(const struct command *command, const char *title)
{
    printf("larder %s %s\n\n%s\n\n%s", title, command->arguments, command->summary, command->help);
    for (const struct command *const *part = command->parts; part != NULL && *part != NULL; part++) {
        printf("%s  larder %s %-12s %s\n", part == command->parts ? "\n" : "", title, (*part)->name, (*part)->summary);
    }
    if (command->has_settings) {
        printf("\nSettings, as flags or in the environment; a flag wins:\n\n");
        settings_print(stdout, 0);
    }
}

static bool
is_help_asked(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* Runs the command, or the part of it that the first argument names, or prints the help of either. */
static enum exit_status
run_named(const struct command *command, struct command_line *line, bool is_help)
{
    char title[TITLE_SIZE];
    snprintf(title, sizeof title, "%s", command->name);
    if (command->parts != NULL && line->argc > 0 && line->argv[0][0] != '-') {
        const struct command *part = command_find(command->parts, line->argv[0]);
        if (part == NULL) {
            return refuse_unknown(command, line->argv[0]);
        }
        snprintf(title, sizeof title, "%s %s", command->name, part->name);
        command = part;
        line->argc--;
        line->argv++;
    }
    if (is_help || command->run == NULL || is_help_asked(line->argc, line->argv)) {
        print_command_help(command, title);
        return EXIT_DONE;
    }
    struct err_text why;
    line->command = title;
    err code = limits_check_command(&why);
    enum exit_status status = code == ERR_ok ? command->run(line) : command_complain(line, code, &why);
    line->command = NULL; /* the title ends here */
    return status;
}

static enum exit_status
dispatch(int argc, char **argv)
{
    bool is_help = argc > 1 && strcmp(argv[1], "help") == 0;
    if (argc < (is_help ? 3 : 2) || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return EXIT_DONE;
    }
    int at = is_help ? 2 : 1;
    const char *name = strcmp(argv[1], "--version") == 0 ? version_command.name : argv[at];
    const struct command *command = command_find(commands, name);
    if (command == NULL) {
        return refuse_unknown(NULL, name);
    }
    struct command_line line = {.argc = argc - at - 1, .argv = argv + at + 1};
    return run_named(command, &line, is_help);
}

/* Whoever starts us may have closed the standard descriptors. The first one that is opened would then be called standard error, and
 * every line of the log be written into a database, a socket or an eventfd. */
static void
open_standard_descriptors(void)
{
    int fd = 0;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO) {
        (void)close(fd);
    }
}

int
main(int argc, char **argv)
{
    open_standard_descriptors();
    setenv("ZSYS_SIGHANDLER", "false", 1);
    mallopt(M_ARENA_MAX, ARENAS_MAX);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of the database, not the end */
    enum exit_status status = dispatch(argc, argv);
    if (fflush(stdout) != 0 && status == EXIT_DONE) {
        status = EXIT_FAILED;
    }
    return (int)status;
}
