/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder run`: the whole shop in one process. `larder actor` and `larder gateway`: parts of it as processes of their own, the same
 *   code on tcp.
 *
 * FAILURES
 *   What does not start ends the process with the reason on standard error; exit.h has the statuses.
 *
 * LIMITS
 *   The demo product is put there by `run` alone, and only in the default place or when it is asked for.
 */
#include "command/command_table.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "command_demo.h"
#include "command_process.h"
#include "kit/telemetry/log.h"
#include "kit/http/probe.h"
#include "kit/settings/topology.h"

static enum exit_status
fail_to_start(struct process *process, const struct command_line *line, err code, const struct err_text *why)
{
    enum exit_status status = code == ERR_wrong_setting ? command_complain(line, code, why) : process_exit_status(code);
    if (code != ERR_wrong_setting) {
        log_error("start_failed", LOG_TEXT("error", err_symbol(code)), LOG_TEXT("why", why->text));
    }
    if (process != NULL) {
        process_stop(process, status);
    }
    return status;
}

/* Host and port as they are, also when the settings said port 0. */
static void
shop_address(const struct process *process, char address[SETTING_TEXT_MAX + 16])
{
    const char *http = process->settings->http;
    int host_size = (int)(strrchr(http, ':') - http);
    snprintf(address, SETTING_TEXT_MAX + 16, "%.*s:%d", host_size, http, gateway_port(process->gateway));
}

/* A terminal that was stopped by Ctrl-S takes nothing, and a signal has to be heard all the same. */
static bool
is_terminal_reading(void)
{
    struct pollfd room = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return isatty(STDOUT_FILENO) == 1 && poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0;
}

static void
print_what_to_try(const char *at)
{
    printf("\nThe shop is open. In another terminal:\n\n"
           "  curl http://%s/procut/donut                              what is on the shelf\n"
           "  curl -X POST http://%s/checkout                          buy one; do it until the shelf is empty\n"
           "  curl http://%s/v1/productions                            the refill that the empty shelf has ordered\n"
           "  curl --json '{\"quantity\":5}' http://%s/checkout/donut    put five on the shelf\n"
           "  curl -X POST http://%s/                                  order a production\n"
           "\n  larder tail stock.    larder verify    larder --help            Ctrl-C closes the shop.\n\n",
           at, at, at, at, at);
    fflush(stdout);
}

static err
start_shop(struct process *process, struct err_text *why)
{
    err code = gateway_check(process->settings, why);
    if (code == ERR_ok) {
        code = process_add_all(process, why);
    }
    if (code == ERR_ok) {
        code = process_start(process, true, why);
    }
    bool has_demo = process->settings->demo != 0 || !process->settings->is_place_given;
    if (code == ERR_ok && has_demo) { /* nobody's real shop gets goods that nobody has */
        code = demo_fill_shop(process->settings, why);
    }
    return code == ERR_ok ? process_start_gateway(process, why) : code;
}

static enum exit_status
run_run(struct command_line *line)
{
    int64_t began_us = clock_steady_us();
    struct err_text why;
    err code = command_rest_checked(line, 0, 0, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct process process;
    code = process_init(&process, &line->settings, &why);
    if (code == ERR_ok) {
        code = start_shop(&process, &why);
    }
    if (code != ERR_ok) {
        return fail_to_start(&process, line, code, &why);
    }
    char address[SETTING_TEXT_MAX + 16];
    shop_address(&process, address);
    log_info("started", LOG_TEXT("version", LARDER_VERSION), LOG_TEXT("http", address),
             LOG_I64("took_ms", (clock_steady_us() - began_us) / 1000));
    if (is_terminal_reading()) {
        print_what_to_try(address);
    }
    enum exit_status status = process_wait(&process);
    process_stop(&process, status);
    return status;
}

const struct command run_command = {
    .name = "run",
    .arguments = "[settings]",
    .summary = "the whole shop in one process: actors, database files, HTTP",
    .help = "Every actor is a thread; the same sockets are bound to tcp on loopback as well, so that `larder tail`,\n"
            "`call` and clients of your own can talk to them. In the default place, var/, a shop begins by itself and\n"
            "gets one product to play with: donut. In any other --init begins it, once, and --demo adds the donut.\n"
            "\n"
            "Ends on SIGINT or SIGTERM when what was taken is answered, within 5 s. Exit status: 0 asked to end,\n"
            "1 it could not go on, 2 a setting is wrong, 3 another process has taken the database.\n",
    .has_settings = true,
    .run = run_run,
};

static err
add_named(struct process *process, const struct command_line *line, int64_t shard, struct err_text *why)
{
    err code = ERR_ok;
    for (int i = 0; code == ERR_ok && i < line->argc; i++) {
        code = process_add(process, line->argv[i], (int)shard, why);
    }
    return code;
}

static err
start_named(struct process *process, struct probe **probe, struct err_text *why)
{
    err code = process_start(process, false, why);
    if (code != ERR_ok) {
        return code;
    }
    const struct hosted *first = &process->hosted[0];
    int port = topology_probe_port(process->settings, first->class->name, first->shard);
    return probe_start(process->settings->bind, port, process_is_ready, process, probe, why);
}

static enum exit_status
actor_run(struct command_line *line)
{
    struct err_text why;
    int64_t shard = -1;
    err code = command_take_number(line, "--shard", 0, 255, &shard, &why);
    if (code == ERR_ok) {
        code = command_rest_checked(line, 1, PROCESS_ACTORS_MAX, &why);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct process process;
    struct probe *probe = NULL;
    code = process_init(&process, &line->settings, &why);
    if (code == ERR_ok) {
        code = add_named(&process, line, shard, &why);
    }
    if (code == ERR_ok) {
        code = start_named(&process, &probe, &why);
    }
    if (code != ERR_ok) {
        return fail_to_start(&process, line, code, &why);
    }
    log_info("started", LOG_TEXT("version", LARDER_VERSION), LOG_TEXT("actor", line->argv[0]), LOG_I64("probe", probe_port(probe)));
    enum exit_status status = process_wait(&process);
    probe_stop(&probe);
    process_stop(&process, status);
    return status;
}

const struct command actor_command = {
    .name = "actor",
    .arguments = "NAME... [--shard K] [settings]",
    .summary = "one or more actors as a process of their own, on tcp",
    .help = "NAME is user, product, order, payment, sales, stock, factory or dlq. Without --shard all shards of an actor run here.\n"
            "\n"
            "/livez, /readyz and /metrics are served on the port of the first actor + 5000. Exit status: 0 asked to\n"
            "end, 1 it could not go on, 2 a setting is wrong, 3 another process has taken the shard.\n",
    .has_settings = true,
    .run = actor_run,
};

static enum exit_status
gateway_run(struct command_line *line)
{
    struct err_text why;
    err code = command_rest_checked(line, 0, 0, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct process process;
    code = process_init(&process, &line->settings, &why);
    if (code == ERR_ok) {
        code = process_start_gateway(&process, &why);
    }
    if (code != ERR_ok) {
        return fail_to_start(&process, line, code, &why);
    }
    char address[SETTING_TEXT_MAX + 16];
    shop_address(&process, address);
    log_info("started", LOG_TEXT("version", LARDER_VERSION), LOG_TEXT("http", address));
    enum exit_status status = process_wait(&process);
    process_stop(&process, status);
    return status;
}

const struct command gateway_command = {
    .name = "gateway",
    .arguments = "[settings]",
    .summary = "HTTP in, ZeroMQ out, as a process of its own",
    .help = "Keeps nothing; any number may run. The actors are found at --host and --base-port. /livez, /readyz and\n"
            "/metrics are served on --probe-port too.\n"
            "\n"
            "Exit status: 0 asked to end, 1 it could not go on, 2 a setting is wrong.\n",
    .has_settings = true,
    .run = gateway_run,
};
