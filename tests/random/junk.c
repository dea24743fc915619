/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See junk.h.
 *
 * STATE
 *   None. Requests are made as those of the sequence are, beside the book, under ids of their own, and then spoilt.
 *
 * LIMITS
 *   It looks for processes that end, that answer `internal` or that answer no more; which refusal is right is left to others.
 */
#include "junk.h"

#include <stdlib.h>
#include <string.h>

#include "http_asker.h"
#include "link.h"

#define SPOILT_MAX 8
#define BYTES_MAX 65536

static void
spoil(struct chance *chance, struct wire_buffer *frame)
{
    static const uint8_t heads[] = {0xdd, 0xdf, 0xdb, 0xc6, 0xc9, 0xc1, 0xc0, 0xff, 0x80, 0x8f, 0x90, 0xcf};
    uint64_t times = 1 + chance_below(chance, SPOILT_MAX);
    while (times-- > 0 && frame->size > 0) {
        size_t at = chance_below(chance, frame->size);
        uint8_t drawn = (uint8_t)chance_next(chance);
        switch (chance_below(chance, 5)) {
        case 0:
            frame->data[at] = drawn;
            break;
        case 1:
            frame->data[at] ^= (uint8_t)(1U << drawn % 8);
            break;
        case 2:
            frame->data[at] = heads[drawn % sizeof heads];
            break;
        case 3:
            frame->size = at;
            break;
        default: {
            uint8_t more[64] = {0};
            memset(more, drawn, sizeof more);
            wire_buffer_append(frame, more, drawn % sizeof more);
        }
        }
    }
}

/* A request beside the book, as good as the sequence's own. */
static void
make(struct junk *junk, struct chance *chance, uint64_t number, struct request *request)
{
    uint64_t key[2] = {~junk->sequence->seed, number};
    struct maker maker = {
        .chance = chance_of(chance_next(chance), 0), .memory = &junk->sequence->memory, .own_source = -1, .is_beside_book = true};
    request->way = WAY_JUNK;
    request->number = number;
    request->op = (enum op)chance_below(chance, OP_COUNT);
    request->id = id_of_bytes(key, sizeof key);
    request->actor = (int)chance_below(chance, SEQUENCE_ACTORS);
    for (int i = 0; i < SEQUENCE_ACTORS && !chance_one_in(chance, 8); i++) {
        request->actor = strcmp(sequence_actors[i], wire_ops[request->op].owner) == 0 ? i : request->actor;
    }
    WIRE_SET(&request->told, request_header, v, WIRE_VERSION);
    WIRE_SET(&request->told, request_header, id, request->id);
    WIRE_SET(&request->told, request_header, op, slice_of(wire_ops[request->op].name));
    WIRE_SET(&request->told, request_header, deadline, link_utc_ms() + SEQUENCE_TIMEOUT_MS);
    wire_encode(&request_header_body, &request->told, &request->header);
    values_begin(&maker);
    values_body(&maker, wire_ops[request->op].request, &request->body);
    if (request->op == OP_payment_charge || request->op == OP_dlq_bury || request->op == OP_dlq_hand_over) {
        request->body.size--; /* never whole: nobody could explain to `larder verify` what it left behind */
    }
}

static void
throw_frames(struct junk *junk, struct chance *chance, uint64_t number)
{
    struct request request = {0};
    struct slice frames[24];
    make(junk, chance, number, &request);
    bool is_cut = request.op == OP_payment_charge || request.op == OP_dlq_bury || request.op == OP_dlq_hand_over;
    if (!is_cut && !chance_one_in(chance, 3)) {
        spoil(chance, &request.body);
    }
    if (chance_one_in(chance, 2)) {
        spoil(chance, &request.header);
    }
    size_t before = chance_one_in(chance, 2) ? 0 : chance_below(chance, 11);
    size_t behind = chance_one_in(chance, 2) ? 0 : chance_below(chance, 3);
    size_t count = 0;
    for (size_t i = 0; i < before; i++) {
        frames[count++] = (struct slice){request.header.data, chance_below(chance, 3)};
    }
    frames[count++] = wire_buffer_slice(&request.header);
    if (!chance_one_in(chance, 8)) {
        frames[count++] = wire_buffer_slice(&request.body);
    }
    for (size_t i = 0; i < behind; i++) {
        frames[count++] = (struct slice){request.body.data, chance_below(chance, request.body.size + 1)};
    }
    (void)post_send_junk(junk->post, request.actor, 0, frames, count);
    wire_buffer_fini(&request.header);
    wire_buffer_fini(&request.body);
}

/* The greeting of ZMTP 3 and a handshake, whole or not, then bytes. */
static void
put_zmtp(struct chance *chance, struct wire_buffer *out)
{
    static const uint8_t greeting[64] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    static const char *const kinds[] = {"DEALER", "SUB", "REQ", "PUB", "ROUTER", "PAIR", "XYZ"};
    const char *kind = kinds[chance_below(chance, sizeof kinds / sizeof kinds[0])];
    uint8_t size = (uint8_t)strlen(kind);
    uint8_t ready[64] = {4,   (uint8_t)(6 + 1 + 11 + 4 + size),
                         5,   'R',
                         'E', 'A',
                         'D', 'Y',
                         11,  'S',
                         'o', 'c',
                         'k', 'e',
                         't', '-',
                         'T', 'y',
                         'p', 'e',
                         0,   0,
                         0,   size};
    memcpy(ready + 24, kind, size);
    wire_buffer_append(out, greeting, chance_one_in(chance, 4) ? chance_below(chance, sizeof greeting) : sizeof greeting);
    wire_buffer_append(out, ready, chance_one_in(chance, 4) ? chance_below(chance, 24) : 24U + size);
}

static void
throw_bytes(struct junk *junk, struct chance *chance)
{
    char address[64];
    struct wire_buffer bytes = {0};
    struct wire_buffer answer = {0};
    uint64_t actor = chance_below(chance, SEQUENCE_ACTORS);
    bool is_events = chance_one_in(chance, 2);
    snprintf(address, sizeof address, "127.0.0.1:%d", junk->base_port + 1 + (int)actor + (is_events ? 100 : 0));
    if (!chance_one_in(chance, 3)) {
        put_zmtp(chance, &bytes);
    }
    uint64_t more = chance_below(chance, 3) == 0 ? chance_below(chance, BYTES_MAX) : chance_below(chance, 64);
    for (uint64_t i = 0; i < more; i += 8) {
        uint64_t drawn = chance_next(chance);
        wire_buffer_append(&bytes, &drawn, sizeof drawn);
    }
    (void)http_exchange(address, wire_buffer_slice(&bytes), 20, &answer);
    wire_buffer_fini(&bytes);
    wire_buffer_fini(&answer);
}

static void
throw_http(struct junk *junk, struct chance *chance, uint64_t number)
{
    struct request request = {0};
    struct wire_buffer bytes = {0};
    struct wire_buffer answer = {0};
    make(junk, chance, number, &request);
    if (http_write(chance, &request, &bytes)) {
        spoil(chance, &bytes);
        (void)http_exchange(junk->http, wire_buffer_slice(&bytes), 20, &answer);
        bool is_bad =
            answer.size > 12 && (memcmp(answer.data, "HTTP/1.1 500", 12) == 0 || memcmp(answer.data, "HTTP/1.1 502", 12) == 0);
        if (is_bad) {
            sequence_complain(junk->sequence, &request, "junk over HTTP: %.*s", answer.size > 600 ? 600 : (int)answer.size,
                              (const char *)answer.data);
        }
    }
    wire_buffer_fini(&request.header);
    wire_buffer_fini(&request.body);
    wire_buffer_fini(&bytes);
    wire_buffer_fini(&answer);
}

void
junk_throw(struct junk *junk, uint64_t number)
{
    struct chance chance = chance_of(junk->sequence->seed ^ UINT64_C(0x4a554e4b), number);
    uint64_t times = chance_one_in(&chance, 2) ? 0 : chance_below(&chance, 6);
    for (uint64_t i = 0; i < times; i++) {
        throw_frames(junk, &chance, number * 16 + i);
    }
    if (junk->base_port != 0 && chance_one_in(&chance, 6)) {
        throw_bytes(junk, &chance);
    }
    if (junk->http != NULL && chance_one_in(&chance, 3)) {
        throw_http(junk, &chance, number * 16 + 15);
    }
}
