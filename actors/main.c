/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The command `larder`: finds the subcommand, prints help, and sets what must be set before any library or thread starts.
 *
 *   czmq is told to leave SIGINT and SIGTERM alone. glibc is told to keep two arenas: each thread otherwise brings its own, which is
 *   most of the memory of a process that does little.
 *
 * FAILURES
 *   An unknown subcommand is refused with the nearest name; exit.h says what the exit status means.
 */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_table.h"

#define ARENAS_MAX 2
#define NAME_SIZE_MAX 16

static const struct command *const commands[] = {
    &run_command,  &actor_command,  &gateway_command, &ping_command, &call_command,
    &tail_command, &verify_command, &bench_command,   &docs_command, &version_command,
};

#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static const struct command *
command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) {
            return commands[i];
        }
    }
    return NULL;
}

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance, one row at a time; `b` is one of our names. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[NAME_SIZE_MAX + 1];
    size_t size = strlen(b);
    for (size_t i = 0; i <= size; i++) {
        row[i] = i;
    }
    for (size_t at = 0; a[at] != '\0'; at++) {
        size_t diagonal = row[0];
        row[0] = at + 1;
        for (size_t i = 1; i <= size; i++) {
            size_t above = row[i];
            row[i] = least(least(above + 1, row[i - 1] + 1), diagonal + (a[at] == b[i - 1] ? 0 : 1));
            diagonal = above;
        }
    }
    return row[size];
}

static enum exit_status
refuse_unknown(const char *name)
{
    const struct command *nearest = NULL;
    size_t best = 3;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t far = distance(name, commands[i]->name);
        if (far < best) {
            best = far;
            nearest = commands[i];
        }
    }
    fprintf(stderr, "larder: \"%.60s\" is no command.", name);
    if (nearest != NULL) {
        fprintf(stderr, " Did you mean `larder %s`?", nearest->name);
    }
    fprintf(stderr, " `larder --help` lists them.\n");
    return EXIT_USAGE;
}

static void
print_help(void)
{
    printf("larder: the back end of a shop that cannot afford to lie about its stock.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  larder %-8s %s\n", commands[i]->name, commands[i]->summary);
    }
    printf("\n`larder COMMAND --help` tells more. Settings, as flags or in the environment:\n\n");
    settings_print(stdout, 0);
}

static void
print_command_help(const struct command *command)
{
    printf("larder %s %s\n\n%s\n\n%s", command->name, command->arguments, command->summary, command->help);
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

static enum exit_status
dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help();
        return EXIT_DONE;
    }
    bool is_help = strcmp(argv[1], "help") == 0;
    if (is_help && argc < 3) {
        print_help();
        return EXIT_DONE;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? version_command.name : argv[is_help ? 2 : 1];
    const struct command *command = command_find(name);
    if (command == NULL) {
        return refuse_unknown(name);
    }
    struct command_line line = {.command = command->name, .argc = argc - 2, .argv = argv + 2};
    if (is_help || is_help_asked(line.argc, line.argv)) {
        print_command_help(command);
        return EXIT_DONE;
    }
    return command->run(&line);
}

int
main(int argc, char **argv)
{
    setenv("ZSYS_SIGHANDLER", "false", 1);
    mallopt(M_ARENA_MAX, ARENAS_MAX);
    signal(SIGPIPE, SIG_IGN);
    enum exit_status status = dispatch(argc, argv);
    if (fflush(stdout) != 0 && status == EXIT_DONE) {
        status = EXIT_FAILED;
    }
    return (int)status;
}
