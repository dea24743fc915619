/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See sequence.h: which operation, to whom, under which id, with which header, in what envelope.
 *
 * STATE
 *   The last SEQUENCE_KEPT requests with their frames, what was told under each id, and the memory. Request N of a seed draws from a
 *   chance of its own, (seed, N): what is answered changes what its ids stand for, never which request it is.
 *
 * LIMITS
 *   Requests for later and over HTTP name no shelf that the book counts, as nobody tells this test when they were done.
 */
#include "sequence.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "link.h"
#include "role.h"

#define PRELUDE \
    (2 * MEMORY_PRODUCTS + 6) /* requests that fill the menu and the shelves and make people known, so that there is something to do */
#define STRANGE_OP_ONE_IN 80
#define HEADER_BAD_ONE_IN 80

const char *const sequence_actors[SEQUENCE_ACTORS] = {"user", "product", "order", "payment", "sales", "stock", "factory", "dlq"};

const struct operation operations[OP_COUNT] = {
#define OPERATION(op, weight, thing, asked_again, refusals) [OP_##op] = {weight, THING_##thing, asked_again, refusals},
#include "operations.def"
};

void
sequence_init(struct sequence *sequence, uint64_t seed, int shards)
{
    *sequence = (struct sequence){.seed = seed, .shards = shards};
    sequence->kept = calloc(SEQUENCE_KEPT, sizeof *sequence->kept);
    if (sequence->kept == NULL) {
        abort();
    }
    memory_init(&sequence->memory);
}

void
sequence_fini(struct sequence *sequence)
{
    for (size_t i = 0; i < SEQUENCE_KEPT; i++) {
        wire_buffer_fini(&sequence->kept[i].header);
        wire_buffer_fini(&sequence->kept[i].body);
    }
    free(sequence->kept);
    book_fini(&sequence->book);
    told_fini(&sequence->told);
    wire_buffer_fini(&sequence->outside);
}

void
sequence_complain(struct sequence *sequence, const struct request *request, const char *format, ...)
{
    if (sequence->fault[0] != '\0') {
        return;
    }
    int size = snprintf(sequence->fault, sizeof sequence->fault, "request %llu, %s to %s/%d: ", (unsigned long long)request->number,
                        request->op == OP_COUNT ? "no operation" : wire_ops[request->op].name, sequence_actors[request->actor],
                        request->shard);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sequence->fault + size, sizeof sequence->fault - (size_t)size, format, arguments);
    va_end(arguments);
}

static void
write_frame(FILE *log, const struct wire_body *body, struct slice frame)
{
    union json_any any;
    struct err_text why;
    if (body != NULL && wire_decode(body, frame, &any, &why) == ERR_ok) {
        struct wire_buffer text = {0};
        json_write(body, &any, &text);
        fwrite(text.data, 1, text.size < 2000 ? text.size : 2000, log);
        wire_buffer_fini(&text);
        return;
    }
    for (size_t i = 0; i < frame.size && i < 400; i++) {
        fprintf(log, "%02x", frame.data[i]);
    }
}

void
sequence_log(struct sequence *sequence, const struct request *request, const char *status, const struct wire_body *body,
             struct slice frame)
{
    static const char *const ways[] = {"", " http", " junk"};
    char id[ID_TEXT_SIZE];
    if (sequence->log == NULL) {
        return;
    }
    id_format(&request->id, id);
    fprintf(sequence->log, "%llu%s %s %s/%d %s%s%s ", (unsigned long long)request->number, ways[request->way],
            request->op == OP_COUNT ? "-" : wire_ops[request->op].name, sequence_actors[request->actor], request->shard, id,
            request->again ? " again" : "", status == NULL ? "" : " <-");
    if (status != NULL) {
        fprintf(sequence->log, "%s ", status);
    }
    write_frame(sequence->log, body, frame);
    fputc('\n', sequence->log);
}

/* --- which operation, and to whom --- */

static enum op
draw_op(struct chance *chance)
{
    uint64_t sum = 0;
    for (int op = 0; op < OP_COUNT; op++) {
        sum += operations[op].weight;
    }
    uint64_t drawn = chance_below(chance, sum);
    int op = 0;
    while (drawn >= operations[op].weight) {
        drawn -= operations[op].weight;
        op++;
    }
    return (enum op)op;
}

static int
find_actor(const char *name)
{
    int actor = 0;
    while (strcmp(sequence_actors[actor], name) != 0) {
        actor++;
    }
    return actor;
}

static bool
is_stock(const struct request *request)
{
    return strcmp(sequence_actors[request->actor], "stock") == 0;
}

/* The source of the actor's events, as memory counts them; -1 when it has none. */
static int
own_source(const struct request *request)
{
    char name[32];
    snprintf(name, sizeof name, "%s/%d", sequence_actors[request->actor], request->shard);
    size_t number = values_source_number(slice_of(name));
    return number == MEMORY_SOURCES ? -1 : (int)number;
}

static void
draw_address(struct sequence *sequence, struct request *request, struct chance *chance)
{
    const char *owner = wire_ops[request->op].owner;
    uint64_t any = chance_below(chance, SEQUENCE_ACTORS);
    uint64_t shard = chance_below(chance, (uint64_t)sequence->shards);
    bool is_strange = chance_one_in(chance, STRANGE_OP_ONE_IN);
    request->actor = strcmp(owner, "any") == 0 || is_strange ? (int)any : find_actor(owner);
    request->shard = is_stock(request) ? (int)shard : 0;
}

/* The product that says the shard of a decoded body; nothing when none does. */
static struct slice
product_of(const struct wire_body *body, const void *decoded)
{
    uint64_t has = 0;
    memcpy(&has, decoded, sizeof has);
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        const void *place = (const uint8_t *)decoded + field->offset;
        if ((has >> i & 1) == 0) {
            continue;
        }
        struct slice product;
        if (strcmp(field->name, "product") == 0) {
            memcpy(&product, place, sizeof product);
            return product;
        }
        if (strcmp(field->name, "lines") == 0) {
            struct wire_list lines;
            struct wire_stock_line line = {0};
            memcpy(&lines, place, sizeof lines);
            if (wire_list_next(&lines, &stock_line_body, &line)) {
                return line.product;
            }
        }
    }
    return (struct slice){0};
}

/* Sends a routed request where its product is, now and then elsewhere. */
static void
route(struct sequence *sequence, struct request *request, struct chance *chance)
{
    union json_any any;
    struct err_text why;
    bool is_astray = chance_one_in(chance, 40);
    if (!is_stock(request) || (wire_ops[request->op].traits & OP_ROUTED) == 0 ||
        wire_decode(wire_ops[request->op].request, wire_buffer_slice(&request->body), &any, &why) != ERR_ok) {
        return;
    }
    struct slice product = product_of(wire_ops[request->op].request, &any);
    int right = product.size == 0 ? request->shard : wire_shard_of(product, sequence->shards);
    request->is_wrong_shard = is_astray && request->shard != right;
    request->shard = request->is_wrong_shard ? request->shard : right;
}

/* --- headers --- */

static void
draw_role(struct sequence *sequence, struct request *request, struct chance *chance)
{
    struct wire_request_header *told = &request->told;
    uint64_t role = chance_below(chance, 16);
    bool has_user = chance_one_in(chance, 2);
    uint64_t slot = chance_next(chance);
    const char *name = role < ROLE_COUNT ? role_name((enum role)role) : role == 5 ? "king" : NULL;
    if (chance_one_in(chance, 2) && role == 5) {
        name = NULL;
    }
    if (name != NULL) {
        WIRE_SET(told, request_header, role, slice_of(name));
    }
    if (name != NULL && has_user) {
        WIRE_SET(told, request_header, user, memory_get(&sequence->memory, THING_USER, slot)->id);
    }
}

static void
draw_trace(struct request *request, struct chance *chance)
{
    static const char *const traces[] = {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                         "                                                       ",
                                         "zz-zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-zzzzzzzzzzzzzzzz-zz"};
    uint64_t trace = chance_below(chance, 12);
    if (trace < 3) {
        WIRE_SET(&request->told, request_header, traceparent, slice_of(traces[trace]));
    }
    if (chance_one_in(chance, 20)) {
        WIRE_SET(&request->told, request_header, auth, slice_of("Bearer of nothing"));
    }
}

static void
draw_header(struct sequence *sequence, struct request *request, struct chance *chance)
{
    struct wire_request_header *told = &request->told;
    uint64_t strange = request->number < PRELUDE ? 100 : chance_below(chance, 160);
    uint64_t late = request->number < PRELUDE ? 100 : chance_below(chance, 60);
    *told = (struct wire_request_header){0};
    snprintf(request->words[0], sizeof request->words[0], "%s", wire_ops[request->op].name);
    if (strange == 2) {
        snprintf(request->words[0], sizeof request->words[0], "%s.%s", wire_ops[request->op].owner, "juggle");
    }
    WIRE_SET(told, request_header, v, strange == 0 ? 2 : strange == 1 ? 0 : WIRE_VERSION);
    WIRE_SET(told, request_header, id, request->id);
    WIRE_SET(told, request_header, op, slice_of(request->words[0]));
    request->patience_ms = request->op == OP_dlq_receive ? 220 : SEQUENCE_TIMEOUT_MS;
    int64_t deadline = late == 0 ? 0 : late == 1 ? link_utc_ms() - 1000 : link_utc_ms() + request->patience_ms;
    WIRE_SET(told, request_header, deadline, deadline);
    if (request->again) {
        WIRE_SET(told, request_header, again, true);
    } else if (chance_one_in(chance, 8)) {
        WIRE_SET(told, request_header, again, false);
    }
    if (request->number >= PRELUDE) {
        draw_role(sequence, request, chance);
        draw_trace(request, chance);
    }
    request->header.size = 0;
    wire_encode(&request_header_body, told, &request->header);
}

/* A header that its table refuses, and its value for v. */
static void
break_header(struct sequence *sequence, struct request *request, struct chance *chance)
{
    struct maker maker = {.chance = chance_of(chance_next(chance), 0), .memory = &sequence->memory, .own_source = -1};
    struct err_text why;
    struct wire_request_header header;
    values_begin(&maker);
    maker.break_at = (int)chance_below(chance, 5);
    request->header.size = 0;
    values_body(&maker, &request_header_body, &request->header);
    if (wire_decode(&request_header_body, wire_buffer_slice(&request->header), &header, &why) == ERR_ok) {
        draw_header(sequence, request, chance); /* it happened to be a good one, of who knows what */
    }
}

/* --- what follows from the frames alone --- */

static err
expect(struct request *request)
{
    struct wire_request_header header;
    union json_any any;
    struct err_text why;
    if (request->envelope > SEQUENCE_ENVELOPE_MAX ||
        wire_decode(&request_header_body, wire_buffer_slice(&request->header), &header, &why) != ERR_ok) {
        request->is_header_bad = true;
        request->again = false; /* nobody can read it there, so no answer says it */
        return ERR_malformed;
    }
    const struct wire_op *op = &wire_ops[request->op];
    if (header.v != WIRE_VERSION) {
        return ERR_unknown_version;
    }
    if (!slice_equal(header.op, slice_of(op->name)) ||
        (strcmp(op->owner, "any") != 0 && strcmp(op->owner, sequence_actors[request->actor]) != 0)) {
        return ERR_unknown_op;
    }
    if (header.deadline < link_utc_ms()) {
        return ERR_deadline_exceeded;
    }
    if (WIRE_HAS(&header, request_header, role) && role_find(header.role) == ROLE_COUNT) {
        return ERR_invalid_field;
    }
    return wire_decode(op->request, wire_buffer_slice(&request->body), &any, &why);
}

/* --- requests --- */

static struct request *
kept(struct sequence *sequence, uint64_t number)
{
    return &sequence->kept[number % SEQUENCE_KEPT];
}

static void
want_things(struct sequence *sequence, struct request *request)
{
    enum thing thing = operations[request->op].thing;
    request->slot = thing == THING_NONE ? 0 : memory_want(&sequence->memory, thing);
    request->charge_slot = thing == THING_ORDER ? memory_want(&sequence->memory, THING_CHARGE) : 0;
}

static void
make_body(struct sequence *sequence, struct request *request, struct chance *chance)
{
    struct maker maker = {.chance = chance_of(chance_next(chance), 0),
                          .memory = &sequence->memory,
                          .own_source = own_source(request),
                          .is_beside_book = request->way != WAY_FRAMES};
    values_begin(&maker);
    if (request->number < PRELUDE) {
        maker.is_wild = false;
        maker.is_plain = true;
        maker.break_at = VALUES_NEVER;
        maker.picks.product = request->number % MEMORY_PRODUCTS;
    }
    request->body.size = 0;
    values_body(&maker, wire_ops[request->op].request, &request->body);
    if (request->body.size > WIRE_FRAME_MAX) {
        /* Its connection would be closed, with everything that is under way there. */
        request->body.size = 0;
        wire_buffer_append(&request->body, "\x80", 1);
    }
}

static void
make_new(struct sequence *sequence, struct request *request, struct chance *chance)
{
    request->op = draw_op(chance);
    if (request->number < PRELUDE) {
        static const enum op first[] = {OP_product_put, OP_stock_adjust, OP_user_register};
        request->op = first[request->number / MEMORY_PRODUCTS];
    }
    draw_address(sequence, request, chance);
    uint64_t key[2] = {sequence->seed, request->number};
    request->id = id_of_bytes(key, sizeof key);
    request->again = chance_one_in(chance, 10);
    want_things(sequence, request);
    make_body(sequence, request, chance);
    route(sequence, request, chance);
}

/* Another body, or another operation of the same actor, under an id that was used. */
static void
make_under_used_id(struct sequence *sequence, struct request *request, const struct request *earlier, struct chance *chance)
{
    make_new(sequence, request, chance);
    if (chance_one_in(chance, 3)) {
        return; /* wherever that goes */
    }
    request->id = earlier->id;
    request->again = chance_one_in(chance, 2);
}

static void
make_again(struct request *request, const struct request *earlier, struct chance *chance)
{
    request->op = earlier->op;
    request->actor = earlier->actor;
    request->shard = earlier->shard;
    request->is_wrong_shard = earlier->is_wrong_shard;
    request->id = earlier->id;
    request->slot = earlier->slot;
    request->charge_slot = earlier->charge_slot;
    request->again = !chance_one_in(chance, 4);
    request->body.size = 0;
    wire_buffer_append(&request->body, earlier->body.data, earlier->body.size);
}

/* A request that is not the only one under its id carries its number in front, as a proxy would. */
static void
draw_envelope(struct request *request, bool is_alone, struct chance *chance)
{
    uint64_t drawn = chance_below(chance, 3 * (SEQUENCE_ENVELOPE_MAX + 1));
    request->envelope = drawn <= SEQUENCE_ENVELOPE_MAX ? (int)drawn : 2;
    if (!is_alone && request->envelope < 2) {
        request->envelope = 2;
    }
}

struct request *
sequence_next(struct sequence *sequence)
{
    return sequence_next_of(sequence, chance_of(sequence->seed, sequence->number));
}

struct request *
sequence_next_of(struct sequence *sequence, struct chance chance)
{
    uint64_t number = sequence->number++;
    struct request *request = kept(sequence, number);
    uint64_t back = 1 + chance_below(&chance, SEQUENCE_KEPT / 2);
    uint64_t kind = chance_below(&chance, 100);
    const struct request *earlier = back <= number ? kept(sequence, number - back) : NULL;
    struct wire_buffer header = request->header;
    struct wire_buffer body = request->body;
    *request = (struct request){.number = number, .header = header, .body = body, .op = OP_COUNT, .is_under_way = true};
    uint64_t way = chance_below(&chance, 12);
    request->way = way == 0 && sequence->has_http ? WAY_HTTP : WAY_FRAMES;
    if (kind < 14 && earlier != NULL && earlier->way == WAY_FRAMES) {
        request->way = WAY_FRAMES;
        make_again(request, earlier, &chance);
    } else if (kind < 18 && earlier != NULL && earlier->way == WAY_FRAMES) {
        request->way = WAY_FRAMES;
        make_under_used_id(sequence, request, earlier, &chance);
    } else {
        make_new(sequence, request, &chance);
    }
    bool is_bad = chance_one_in(&chance, HEADER_BAD_ONE_IN);
    draw_envelope(request, !is_bad && kind >= 18, &chance);
    draw_header(sequence, request, &chance);
    if (is_bad) {
        break_header(sequence, request, &chance);
    }
    request->expected = expect(request);
    sequence_log(sequence, request, NULL, wire_ops[request->op].request, wire_buffer_slice(&request->body));
    return request;
}

void
sequence_repeat(struct sequence *sequence, struct request *request)
{
    request->is_under_way = true;
    request->attempts++;
    if (!request->is_header_bad) {
        request->again = true;
        WIRE_SET(&request->told, request_header, again, true);
        WIRE_SET(&request->told, request_header, deadline, link_utc_ms() + SEQUENCE_TIMEOUT_MS);
        request->header.size = 0;
        wire_encode(&request_header_body, &request->told, &request->header);
        request->expected = expect(request);
    }
    sequence_log(sequence, request, NULL, wire_ops[request->op].request, wire_buffer_slice(&request->body));
}
