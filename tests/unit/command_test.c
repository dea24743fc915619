/* SPDX-License-Identifier: MPL-2.0 */
/* Arguments of the subcommands. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "kit/settings/topology.h"

#define ARGUMENTS_MAX 8

static char words[ARGUMENTS_MAX][64];
static char *argv[ARGUMENTS_MAX];
static struct err_text why;

/* One word per argument. */
static struct command_line
line_of(const char *text)
{
    struct command_line line = {.command = "test", .argv = argv};
    clearenv();
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        cr_assert(line.argc < ARGUMENTS_MAX && size < sizeof words[0]);
        memcpy(words[line.argc], text, size);
        words[line.argc][size] = '\0';
        argv[line.argc] = words[line.argc];
        line.argc++;
        text += size + (text[size] == ' ' ? 1 : 0);
    }
    return line;
}

Test(command, switch_is_taken_out)
{
    struct command_line line = line_of("a --again b");
    cr_assert(command_take_switch(&line, "--again"));
    cr_assert_not(command_take_switch(&line, "--again"));
    cr_assert_eq(line.argc, 2);
    cr_assert_str_eq(line.argv[0], "a");
    cr_assert_str_eq(line.argv[1], "b");
}

Test(command, text_is_taken_in_both_spellings)
{
    struct command_line line = line_of("--id x a --to=y");
    const char *id = NULL;
    const char *to = NULL;
    cr_assert_eq(command_take_text(&line, "--id", &id, &why), ERR_ok);
    cr_assert_eq(command_take_text(&line, "--to", &to, &why), ERR_ok);
    cr_assert_str_eq(id, "x");
    cr_assert_str_eq(to, "y");
    cr_assert_eq(line.argc, 1);
}

Test(command, flag_that_only_begins_alike_is_another_flag)
{
    struct command_line line = line_of("--shards 3");
    int64_t shard = -1;
    cr_assert_eq(command_take_number(&line, "--shard", 0, 9, &shard, &why), ERR_ok);
    cr_assert_eq(shard, -1);
    cr_assert_eq(line.argc, 2);
}

Test(command, nothing_behind_two_hyphens_is_a_flag)
{
    struct command_line line = line_of("-- --again");
    cr_assert_not(command_take_switch(&line, "--again"));
    cr_assert_eq(command_settings(&line, &why), ERR_ok);
    cr_assert_eq(line.argc, 1);
    cr_assert_str_eq(line.argv[0], "--again");
}

Test(command, missing_value_is_refused)
{
    struct command_line line = line_of("a --id");
    const char *id = NULL;
    cr_assert_eq(command_take_text(&line, "--id", &id, &why), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "--id: a value must follow");
}

Test(command, number_out_of_bounds_is_refused_with_the_bounds)
{
    int64_t number = 0;
    struct command_line line = line_of("--n 10");
    cr_assert_eq(command_take_number(&line, "--n", 1, 9, &number, &why), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "--n: \"10\" is not a whole number from 1 to 9");
    line = line_of("--n 5x");
    cr_assert_eq(command_take_number(&line, "--n", 1, 9, &number, &why), ERR_wrong_setting);
    line = line_of("--n=");
    cr_assert_eq(command_take_number(&line, "--n", 1, 9, &number, &why), ERR_wrong_setting);
    line = line_of("--n 9");
    cr_assert_eq(command_take_number(&line, "--n", 1, 9, &number, &why), ERR_ok);
    cr_assert_eq(number, 9);
}

Test(command, one_argument_too_many_is_named)
{
    struct command_line line = line_of("a b c");
    cr_assert_eq(command_expect(&line, 0, 2, &why), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "\"c\": not expected here");
    cr_assert_eq(command_expect(&line, 1, 3, &why), ERR_ok);
    cr_assert_eq(command_expect(&line, 4, 4, &why), ERR_wrong_setting);
}

struct place {
    char given[64];
    char endpoint[64]; /* empty: refused */
};

Test(command, endpoint_is_an_address_or_an_actor)
{
    static const struct place places[] = {
        {"tcp://127.0.0.1:9", "tcp://127.0.0.1:9"},
        {"ipc:///tmp/x", "ipc:///tmp/x"},
        {"stock", "tcp://127.0.0.1:4006"},
        {"stock/2", "tcp://127.0.0.1:4406"},
        {"sales/0", "tcp://127.0.0.1:4005"},
        {"stok", ""},
        {"stock/", ""},
        {"stock/12", ""},
        {"stock/x", ""},
        {"", ""},
    };
    struct command_line line = line_of("");
    cr_assert_eq(command_settings(&line, &why), ERR_ok);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char endpoint[ENDPOINT_MAX] = "";
        err code = command_endpoint(&line.settings, places[i].given, endpoint, &why);
        cr_assert_eq(code, places[i].endpoint[0] == '\0' ? ERR_wrong_setting : ERR_ok, "%s", places[i].given);
        cr_assert_str_eq(endpoint, places[i].endpoint);
    }
}
