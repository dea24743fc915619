/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Asks the actors of an installation to hold their commits back, and proves afterwards that they have.
 *
 * MESSAGES
 *   any.ping, any.pause; all actors at once.
 *
 * FAILURES
 *   The proof is the actor's own position when the pause ends: what its snapshot says, or the snapshots are of several moments. An
 *   actor that does not answer is no failure here: whoever asks has to prove otherwise that it stands still.
 *
 * LIMITS
 *   An actor takes the pause behind the commit that is under way. It ends after HOLD_MS by itself, whatever becomes of this process.
 */
#include "command_pause.h"

#include <string.h>

#include "kit/base/clock.h"
#include "kit/settings/topology.h"

enum { HOLD_MS = 1000, PING_MS = 600, PAUSE_MS = 2000 };

err
command_pause_create(struct installation *installation, struct command_pause *pause, struct err_text *why)
{
    static char endpoints[INSTALLATION_PARTS_MAX][ENDPOINT_MAX];
    const char *peers[INSTALLATION_PARTS_MAX];
    *pause = (struct command_pause){.installation = installation};
    for (size_t i = 0; i < installation->count; i++) {
        const struct installation_part *part = &installation->parts[i];
        topology_connect(installation->settings, part->class->name, part->shard, ENDPOINT_REQUESTS, endpoints[i]);
        peers[i] = endpoints[i];
    }
    err code = larder_client_create(peers, (int)installation->count, &pause->client, why);
    static const struct wire_nothing nothing;
    for (size_t i = 0; code == ERR_ok && i < installation->count; i++) {
        struct larder_request ping = {.op = OP_any_ping, .body = &nothing, .tag = i};
        ping.options = (struct larder_options){.shard = (int)i, .timeout_ms = PING_MS};
        code = larder_client_send(pause->client, &ping);
    }
    struct larder_reply reply;
    while (code == ERR_ok && larder_client_receive(pause->client, PING_MS + HOLD_MS, &reply) == ERR_ok) {
        struct wire_pong pong;
        struct err_text reason;
        bool is_there = reply.status == ERR_ok && larder_reply_decode(&reply, &pong, &reason) == ERR_ok;
        const struct installation_part *part = &installation->parts[reply.tag];
        pause->is_held[reply.tag] =
            is_there && WIRE_HAS(&pong, pong, incarnation) && id_equal(&pong.incarnation, &part->position.incarnation);
    }
    return code;
}

static err
send_all(struct command_pause *pause, int64_t for_ms)
{
    struct wire_pause body = {0};
    err code = ERR_ok;
    WIRE_SET(&body, pause, for_ms, for_ms);
    for (size_t i = 0; code == ERR_ok && i < pause->installation->count; i++) {
        if (pause->is_held[i]) {
            struct larder_request request = {.op = OP_any_pause, .body = &body, .tag = i};
            request.options = (struct larder_options){.shard = (int)i, .timeout_ms = PAUSE_MS, .attempts = 1};
            code = larder_client_send(pause->client, &request);
        }
    }
    return code;
}

/* That the actor holds still, and where. */
static err
check_reply(const struct installation_part *part, const struct larder_reply *reply, bool is_end, struct err_text *why)
{
    struct wire_paused paused;
    struct err_text reason;
    if (reply->status != ERR_ok) {
        return err_say(why, reply->status, "%s does not hold its commits back: %.*s", part->name, (int)reply->problem.detail.size,
                       (const char *)reply->problem.detail.data);
    }
    if (larder_reply_decode(reply, &paused, &reason) != ERR_ok) {
        return err_say(why, ERR_malformed, "%s: %.300s", part->name, reason.text);
    }
    const struct installation_position *position = &part->position;
    bool is_same = id_equal(&paused.incarnation, &position->incarnation) && paused.epoch == position->epoch &&
                   paused.batch == position->batch && paused.seq == position->seq;
    if (is_end && !(paused.is_held && is_same)) {
        return err_say(why, ERR_db_busy, "%s has gone on meanwhile: from batch %lld to %lld", part->name, (long long)position->batch,
                       (long long)paused.batch);
    }
    return ERR_ok;
}

static err
receive_all(struct command_pause *pause, bool is_end, struct err_text *why)
{
    struct larder_reply reply;
    err code = ERR_ok;
    while (larder_client_receive(pause->client, PAUSE_MS + HOLD_MS, &reply) == ERR_ok) {
        struct err_text *first = code == ERR_ok ? why : NULL;
        err answered = check_reply(&pause->installation->parts[reply.tag], &reply, is_end, first);
        code = code == ERR_ok ? answered : code;
    }
    return code;
}

err
command_pause_begin(struct command_pause *pause, struct err_text *why)
{
    pause->began_us = clock_steady_us();
    err code = send_all(pause, HOLD_MS);
    if (code == ERR_ok) {
        code = receive_all(pause, false, why);
    }
    if (code != ERR_ok && command_pause_end(pause, NULL) != ERR_ok) {
        pause->lasted_us = 0; /* it ends by itself */
    }
    return code;
}

err
command_pause_end(struct command_pause *pause, struct err_text *why)
{
    err code = send_all(pause, 0);
    if (code == ERR_ok) {
        code = receive_all(pause, true, why);
    }
    pause->lasted_us = clock_steady_us() - pause->began_us;
    return code;
}

void
command_pause_destroy(struct command_pause *pause)
{
    larder_client_destroy(&pause->client);
}
