/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder ping` and `larder call`: one request to an actor, from the command line, with its answer as JSON.
 *
 * MESSAGES
 *   any.ping; any operation of messages.def, its body given as JSON.
 *
 * FAILURES
 *   A refusal, and no answer, is a problem document on standard error (RFC 9457; `instance` holds the request's id) and EXIT_REFUSED.
 *   When it is not known whether a write was done, call again with `--id` of that id and `--again`.
 *
 * LIMITS
 *   Bodies go through the same field tables as HTTP's, so what only a broken client could send is not sent by this one.
 */
#include "command_table.h"

#include <stdlib.h>
#include <string.h>

#include "command_client.h"
#include "json.h"
#include "exchange/problem.h"
#include "kit/settings/topology.h"

#define TIMEOUT_MS_MAX 600000
#define INPUT_MAX ((size_t)4 * WIRE_FRAME_MAX)

struct call {
    enum op op;
    const char *endpoint;
    const char *id_text;
    int64_t shard; /* -1: found out by the product */
    int64_t timeout_ms;
    bool again;
};

static void
print_buffer(FILE *out, struct wire_buffer *buffer)
{
    fwrite(buffer->data, 1, buffer->size, out);
    fputc('\n', out);
    wire_buffer_fini(buffer);
}

static enum exit_status
print_refusal(const struct larder_reply *reply)
{
    struct wire_buffer out = {0};
    struct wire_problem problem = reply->problem;
    problem_write(reply->status, problem.has == 0 ? NULL : &problem, &reply->id, &out);
    print_buffer(stderr, &out);
    return EXIT_REFUSED;
}

static enum exit_status
ping_answered(const struct command_line *line, const char *place, const struct larder_reply *reply)
{
    if (reply->status != ERR_ok) {
        return print_refusal(reply);
    }
    struct wire_pong pong;
    struct err_text why;
    err code = larder_reply_decode(reply, &pong, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    char id_text[ID_TEXT_SIZE];
    id_format(&pong.incarnation, id_text);
    bool keeps = WIRE_HAS(&pong, pong, incarnation);
    printf("%.*s/%lld of %lld at %s: version %.*s, incarnation %s, seq %lld, %lld us\n", (int)pong.actor.size,
           (const char *)pong.actor.data, (long long)pong.shard, (long long)pong.of, place, (int)pong.version.size,
           (const char *)pong.version.data, keeps ? id_text : "none", (long long)(WIRE_HAS(&pong, pong, seq) ? pong.seq : 0),
           (long long)reply->waited_us);
    return EXIT_DONE;
}

static enum exit_status
ping_run(struct command_line *line)
{
    int64_t timeout_ms = 2000;
    struct err_text why;
    err code = command_take_number(line, "--timeout-ms", 1, TIMEOUT_MS_MAX, &timeout_ms, &why);
    if (code == ERR_ok) {
        code = command_rest(line, 1, 1, &why);
    }
    struct larder_client *client = NULL;
    int shards = 0;
    if (code == ERR_ok) {
        struct command_peers peers = {.settings = &line->settings, .endpoint = line->argv[0]};
        code = command_client_create(&peers, &client, &shards, &why);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct wire_nothing nothing = {0};
    struct larder_request request = {.op = OP_any_ping, .body = &nothing, .options = {.timeout_ms = timeout_ms}};
    struct larder_reply reply;
    (void)larder_client_call(client, &request, &reply);
    enum exit_status status = ping_answered(line, line->argv[0], &reply);
    larder_client_destroy(&client);
    return status;
}

const struct command ping_command = {
    .name = "ping",
    .arguments = "ENDPOINT [--timeout-ms N]",
    .summary = "ask an actor who it is",
    .help = "ENDPOINT is like tcp://127.0.0.1:4006, or the name of an actor: stock, stock/1.\n"
            "Waits 2000 ms unless told otherwise. Exit status: 0 it answered, 4 it did not.\n",
    .run = ping_run,
};

static err
call_options(struct command_line *line, struct call *call, struct err_text *why)
{
    const struct command_option options[] = {
        {"--again", .is_there = &call->again},
        {"--endpoint", .text = &call->endpoint},
        {"--id", .text = &call->id_text},
        {"--shard", .number = &call->shard, .lo = 0, .hi = 255},
        {"--timeout-ms", .number = &call->timeout_ms, .lo = 1, .hi = TIMEOUT_MS_MAX},
        {0},
    };
    err code = command_take(line, options, why);
    if (code == ERR_ok) {
        code = command_rest(line, 1, 2, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    call->op = wire_op_find(line->argv[0], strlen(line->argv[0]));
    if (call->op == OP_COUNT) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\" is no operation; `larder docs operations` lists them", line->argv[0]);
    }
    if (call->endpoint == NULL && !topology_knows(wire_ops[call->op].owner)) {
        return err_say(why, ERR_wrong_setting, "--endpoint: every actor answers %s; say which", wire_ops[call->op].name);
    }
    return ERR_ok;
}

static err
call_id(const struct call *call, struct id *id, struct err_text *why)
{
    *id = id_new();
    if (call->id_text != NULL && (!id_parse(call->id_text, strlen(call->id_text), id) || id_is_zero(id))) {
        return err_say(why, ERR_wrong_setting, "--id: \"%.60s\" is not a UUID", call->id_text);
    }
    return ERR_ok;
}

/* Standard input to its end, for a body of `-`. */
static err
read_input(struct wire_buffer *input, struct err_text *why)
{
    char piece[65536];
    size_t size;
    while ((size = fread(piece, 1, sizeof piece, stdin)) > 0) {
        wire_buffer_append(input, piece, size);
        if (input->size > INPUT_MAX) {
            return err_say(why, ERR_wrong_setting, "standard input: longer than any request may be");
        }
    }
    return ferror(stdin) == 0 ? ERR_ok : err_say(why, ERR_internal, "standard input cannot be read");
}

static err
read_body(struct json_reader *reader, enum op op, const char *text, void *target, struct err_text *why)
{
    struct wire_buffer input = {0};
    json_reader_begin(reader, wire_ops[op].request, target, NULL);
    err code = ERR_ok;
    struct slice json = slice_of(text);
    if (strcmp(text, "-") == 0) {
        code = read_input(&input, why);
        json = wire_buffer_slice(&input);
    }
    struct err_text reason;
    if (code == ERR_ok) {
        code = json_reader_object(reader, json, &reason);
        if (code == ERR_ok) {
            code = json_reader_end(reader, &reason);
        }
        if (code != ERR_ok) {
            code = err_say(why, ERR_wrong_setting, "JSON: %s", reason.text);
        }
    }
    wire_buffer_fini(&input);
    return code;
}

static enum exit_status
print_answer(const struct command_line *line, const struct larder_reply *reply)
{
    if (reply->status != ERR_ok) {
        return print_refusal(reply);
    }
    union json_any answer;
    struct err_text why;
    err code = larder_reply_decode(reply, &answer, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    struct wire_buffer out = {0};
    json_write(wire_ops[reply->op].reply, &answer, &out);
    print_buffer(stdout, &out);
    return EXIT_DONE;
}

static enum exit_status
call_send(struct command_line *line, const struct call *call, const void *body, const struct id *id)
{
    struct command_peers peers = {.settings = &line->settings, .actor = wire_ops[call->op].owner, .endpoint = call->endpoint};
    struct larder_client *client = NULL;
    struct err_text why;
    int shards = 0;
    int shard = (int)call->shard;
    err code = command_client_create(&peers, &client, &shards, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    if (shard < 0) {
        shard = 0;
        if ((wire_ops[call->op].traits & OP_ROUTED) != 0) {
            code = larder_route(call->op, body, shards, &shard, &why);
        }
    } else if (shard >= shards) {
        code = err_say(&why, ERR_wrong_setting, "--shard: there are %d here, counted from 0", shards);
    }
    enum exit_status status;
    if (code != ERR_ok) {
        status = command_complain(line, ERR_wrong_setting, &why);
    } else {
        struct larder_request request = {.op = call->op, .body = body};
        request.options = (struct larder_options){.id = *id, .again = call->again, .shard = shard, .timeout_ms = call->timeout_ms};
        struct larder_reply reply;
        (void)larder_client_call(client, &request, &reply);
        status = print_answer(line, &reply);
    }
    larder_client_destroy(&client);
    return status;
}

static enum exit_status
call_run(struct command_line *line)
{
    struct call call = {.shard = -1, .timeout_ms = LARDER_TIMEOUT_MS};
    struct err_text why;
    struct id id;
    err code = call_options(line, &call, &why);
    if (code == ERR_ok) {
        code = call_id(&call, &id, &why);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    union json_any body;
    struct json_reader reader = {0};
    code = read_body(&reader, call.op, line->argc > 1 ? line->argv[1] : "{}", &body, &why);
    enum exit_status status = code == ERR_ok ? call_send(line, &call, &body, &id) : command_complain(line, code, &why);
    json_reader_fini(&reader);
    return status;
}

const struct command call_command = {
    .name = "call",
    .arguments = "OP [JSON|-] [--endpoint E] [--shard K] [--id UUID] [--again] [--timeout-ms N]",
    .summary = "send one request to an actor and print its answer as JSON",
    .help = "OP is like stock.get, JSON the body, e.g. '{\"product\":\"donut\"}'; `-` reads it from standard input. Without\n"
            "--endpoint (tcp://127.0.0.1:4006, or an actor: stock/1) it goes to the operation's owner, to the shard of its\n"
            "product. --id is the request's identity; a write that was asked before is asked again with the same --id and\n"
            "--again, and is done once. Waits 5000 ms unless told otherwise.\n"
            "\n"
            "Exit status: 0 done, 1 it could not be sent, 2 something given is wrong, 4 refused or not answered: then a\n"
            "problem document on standard error says why, and its `instance` is the request's id.\n",
    .has_settings = false,
    .run = call_run,
};
