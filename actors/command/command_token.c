/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder token`: a bearer token without a password, for an operator, for a script, or for whoever cannot sign in yet.
 *
 * MESSAGES
 *   user.issue
 *
 * FAILURES
 *   A refusal is a sentence on standard error and EXIT_REFUSED. Nothing but the token is written to standard output.
 *
 * LIMITS
 *   It asks the user actor on its own socket, which is loopback's: who can run it may do everything anyway.
 */
#include "command_table.h"

#include <stdio.h>
#include <string.h>

#include "command_client.h"
#include "role.h"
#include "larder.h"

#define TTL_MS_MIN 1000
#define TTL_MS_MAX INT64_C(31536000000)

struct wanted {
    const char *role;
    const char *user;
    int64_t ttl_ms; /* 0: as the setting says */
};

static err
token_options(struct command_line *line, struct wanted *wanted, struct err_text *why)
{
    const struct command_option options[] = {
        {"--role", .text = &wanted->role},
        {"--user", .text = &wanted->user},
        {"--ttl", .number = &wanted->ttl_ms, .lo = TTL_MS_MIN, .hi = TTL_MS_MAX},
        {0},
    };
    err code = command_take(line, options, why);
    return code == ERR_ok ? command_rest(line, 0, 0, why) : code;
}

static err
token_body(const struct wanted *wanted, struct wire_user_issue *body, struct err_text *why)
{
    struct id user;
    enum role role = wanted->role == NULL ? ROLE_COUNT : role_find(slice_of(wanted->role));
    if (role == ROLE_COUNT || role == ROLE_ANONYMOUS) {
        return err_say(why, ERR_wrong_setting, "--role: customer, employee, admin or operator");
    }
    if (wanted->user != NULL && !id_parse(wanted->user, strlen(wanted->user), &user)) {
        return err_say(why, ERR_wrong_setting, "--user: \"%.60s\" is not a UUID", wanted->user);
    }
    if (role == ROLE_CUSTOMER && wanted->user == NULL) {
        return err_say(why, ERR_wrong_setting, "--user: a customer's token has to say whose it is");
    }
    WIRE_SET(body, user_issue, role, slice_of(wanted->role));
    if (wanted->user != NULL) {
        WIRE_SET(body, user_issue, user, user);
    }
    if (wanted->ttl_ms > 0) {
        WIRE_SET(body, user_issue, ttl_ms, wanted->ttl_ms);
    }
    return ERR_ok;
}

static enum exit_status
token_run(struct command_line *line)
{
    struct wanted wanted = {0};
    struct wire_user_issue body = {0};
    struct larder_client *client = NULL;
    struct err_text why = {""};
    int shards = 0;
    err code = token_options(line, &wanted, &why);
    if (code == ERR_ok) {
        code = token_body(&wanted, &body, &why);
    }
    if (code == ERR_ok) {
        struct command_peers peers = {.settings = &line->settings, .actor = "user"};
        code = command_client_create(&peers, &client, &shards, &why);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct wire_user_session session;
    code = user_client_issue(client, NULL, &body, &session, &why);
    if (code == ERR_ok) {
        printf("%.*s\n", (int)session.token.size, (const char *)session.token.data);
    } else {
        fprintf(stderr, "larder token: %s\n", why.text);
    }
    larder_client_destroy(&client);
    return code == ERR_ok ? EXIT_DONE : EXIT_REFUSED;
}

const struct command token_command = {
    .name = "token",
    .arguments = "--role ROLE [--user ID] [--ttl MS]",
    .summary = "print a bearer token",
    .help = "ROLE is customer, employee, admin or operator; a customer's token needs the person's ID. It is good for token_ttl_ms\n"
            "unless --ttl says otherwise, and is sent as `Authorization: Bearer TOKEN`. Exit status: 0 printed, 4 refused.\n",
    .has_settings = false,
    .run = token_run,
};
