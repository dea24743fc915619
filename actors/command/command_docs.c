/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder docs PART`: the tables of the .def files as Markdown, from which PROTOCOL.md and the README are kept; `larder version`.
 *
 * FAILURES
 *   An unknown part is refused; output that cannot be written is a failure.
 */
#include "command_table.h"

#include <string.h>

#include "docs.h"
#include "order/saga/order_saga.h"
#include "kit/settings/topology.h"

static enum exit_status
docs_run(struct command_line *line)
{
    struct err_text why;
    err code = command_rest(line, 1, 1, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    if (strcmp(line->argv[0], "settings") == 0) {
        settings_print(stdout, 1);
    } else if (strcmp(line->argv[0], "ports") == 0) {
        topology_print(stdout, &line->settings);
    } else if (strcmp(line->argv[0], "saga") == 0) {
        saga_print(stdout);
    } else if (docs_print(stdout, line->argv[0]) != ERR_ok) {
        code = err_say(&why, ERR_wrong_setting,
                       "\"%.60s\" is none of errors, operations, identity, events, bodies, ports, settings, saga", line->argv[0]);
        return command_complain(line, code, &why);
    }
    if (ferror(stdout) != 0) {
        code = err_say(&why, ERR_internal, "standard output takes no more");
        return command_complain(line, code, &why);
    }
    return EXIT_DONE;
}

const struct command docs_command = {
    .name = "docs",
    .arguments = "errors|operations|identity|events|bodies|ports|settings|saga",
    .summary = "print a table of the protocol, of the ports, of the settings or of an order's saga as Markdown",
    .help = "The tables are those that the program itself is made of.\n",
    .run = docs_run,
};

static enum exit_status
version_run(struct command_line *line)
{
    struct err_text why;
    err code = command_expect(line, 0, 0, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    printf("larder %s\n", LARDER_VERSION);
    return EXIT_DONE;
}

const struct command version_command = {
    .name = "version",
    .arguments = "",
    .summary = "print the version",
    .help = "",
    .run = version_run,
};
