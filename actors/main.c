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
    &run_command,  &actor_command,  &gateway_command, &demo_command, &ping_command,    &call_command,
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
