/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One identity: what an id stands for, claimed of every operation that changes something, against the real actors on both databases.
 *
 * STATE     One process with the actors beside each other and a client of each. A `deed` is an operation and a body in which {words}
 *           stand for things that are made freshly each time, so that it can be done.
 *
 * LIMITS    dlq.edit is not here: only an actor that has a parked event takes one (dlq_request_test). sales.checkout is stock.take's
 *           (test_protocol_edges).
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <czmq.h>

#include "user/user_seal.h"
#include "../support/kit_place.h"
#include "../support/patience.h"
#include "kit/base/clock.h"
#include "dlq/dlq.h"
#include "factory/factory.h"
#include "factory/factory_message.h"
#include "kit/durable/fingerprint.h"
#include "json.h"
#include "larder.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "order/order.h"
#include "payment/payment.h"
#include "product/product.h"
#include "stock/stock.h"
#include "kit/settings/topology.h"
#include "user/user.h"

#define WAIT_MS patience_ms(20000)

enum { ACTORS = 7, FRAME_MAX = 16384, NAME_SIZE = 40, THING_SIZE = 65 };
_Static_assert(THING_SIZE >= FACTORY_CAPABILITY_SIZE, "a capability is the longest thing");

static const struct {
    const struct actor_class *class;
    int port;
} staff[ACTORS] = {{&dlq_class, 8},     {&stock_class, 6},   {&product_class, 2}, {&user_class, 1},
                   {&factory_class, 7}, {&payment_class, 4}, {&order_class, 3}};

struct shop {
    struct place *place;
    int ended_fd;
    struct actor *actors[ACTORS];
    struct larder_client *clients[ACTORS];
    struct json_reader reader;
    int things; /* made so far: names are unique */
};

struct heard {
    err status;
    bool replayed;
    char detail[ERR_TEXT_MAX];
    size_t size;
    uint8_t frame[FRAME_MAX];
};

/* --- life --- */

static size_t
number_of(const char *owner)
{
    size_t i = 0;
    while (strcmp(staff[i].class->name, owner) != 0) {
        i++;
        cr_assert(i < ACTORS, "%s is not here", owner);
    }
    return i;
}

static void
run(struct shop *shop, size_t i)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    err code = actor_start(staff[i].class, &shop->place->settings, 0, shop->ended_fd, &shop->actors[i], &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc(staff[i].class->name, 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &shop->clients[i], &why) == ERR_ok, "%s", why.text);
}

static void
stop(struct shop *shop, size_t i)
{
    larder_client_destroy(&shop->clients[i]);
    cr_expect(actor_stop(&shop->actors[i]) == ACTOR_STOPPED);
    place_await_ports_of(shop->place, staff[i].port);
}

static void
close_shop(struct shop *shop)
{
    for (size_t i = ACTORS; i-- > 0;) {
        stop(shop, i);
    }
    json_reader_fini(&shop->reader);
    close(shop->ended_fd);
}

/* --- asking --- */

static void
ask_frame(struct shop *shop, const char *actor, enum op op, const struct larder_options *options, struct slice frame,
          struct heard *heard)
{
    struct larder_options once = *options;
    once.timeout_ms = WAIT_MS;
    once.attempts = 1;
    struct larder_request request = {.op = op, .frame = frame, .options = once};
    struct larder_reply reply;
    *heard = (struct heard){.status = larder_client_call(shop->clients[number_of(actor)], &request, &reply)};
    heard->replayed = reply.replayed;
    cr_assert(reply.frame.size <= FRAME_MAX);
    heard->size = reply.frame.size;
    memcpy(heard->frame, reply.frame.data == NULL ? (const uint8_t *)"" : reply.frame.data, reply.frame.size);
    if (heard->status != ERR_ok) {
        (void)snprintf(heard->detail, sizeof heard->detail, "%.*s", (int)reply.problem.detail.size,
                       (const char *)reply.problem.detail.data);
    }
}

/* The frame of a body that is written as JSON. */
static void
encode(struct shop *shop, enum op op, const char *json, struct wire_buffer *frame)
{
    union json_any body;
    struct err_text why = {""};
    json_reader_begin(&shop->reader, wire_ops[op].request, &body, NULL);
    err code = json_reader_object(&shop->reader, slice_of(json), &why);
    code = code == ERR_ok ? json_reader_end(&shop->reader, &why) : code;
    cr_assert(code == ERR_ok, "%s %s: %s", wire_ops[op].name, json, why.text);
    frame->size = 0;
    cr_assert(wire_encode(wire_ops[op].request, &body, frame), "%s %s", wire_ops[op].name, json);
}

/* Does something whose outcome must be ok, and decodes the answer; its slices live in `heard`. An actor that has just been started is
 * not connected to those that it asks: until then it says so, and is asked again as every client does. */
static void
must(struct shop *shop, enum op op, const char *json, const struct id *id, struct heard *heard, union json_any *answer)
{
    struct wire_buffer frame = {0};
    struct err_text why = {""};
    struct larder_options options = {.id = id == NULL ? id_new() : *id};
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    encode(shop, op, json, &frame);
    do {
        ask_frame(shop, wire_ops[op].owner, op, &options, wire_buffer_slice(&frame), heard);
        options.again = true;
    } while (heard->status == ERR_unavailable && clock_steady_us() < until_us);
    cr_assert(heard->status == ERR_ok, "%s %s: %s: %s", wire_ops[op].name, json, err_symbol(heard->status), heard->detail);
    cr_assert(wire_decode(wire_ops[op].reply, (struct slice){heard->frame, heard->size}, answer, &why) == ERR_ok, "%s", why.text);
    wire_buffer_fini(&frame);
}

/* --- things --- */

static void
make_stocked(struct shop *shop, char name[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char json[256];
    (void)snprintf(name, NAME_SIZE, "p%d", ++shop->things);
    (void)snprintf(json, sizeof json, "{\"product\":\"%s\",\"delta\":100}", name);
    must(shop, OP_stock_adjust, json, NULL, &heard, &answer);
}

static void
make_card(struct shop *shop, char name[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char json[256];
    make_stocked(shop, name);
    (void)snprintf(json, sizeof json,
                   "{\"product\":\"%s\",\"name\":\"n\",\"category\":\"other\",\"price\":{\"amount\":5,\"currency\":\"KRW\"}}", name);
    must(shop, OP_product_put, json, NULL, &heard, &answer);
}

static void
make_hold(struct shop *shop, bool is_committed, char text[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char product[NAME_SIZE];
    char json[256];
    make_stocked(shop, product);
    (void)snprintf(json, sizeof json, "{\"lines\":[{\"product\":\"%s\",\"quantity\":1}]}", product);
    must(shop, OP_stock_reserve, json, NULL, &heard, &answer);
    id_format(&answer.stock_done_value.hold, text);
    if (is_committed) {
        (void)snprintf(json, sizeof json, "{\"hold\":\"%s\"}", text);
        must(shop, OP_stock_commit, json, NULL, &heard, &answer);
    }
}

/* Of money, which is paid when somebody says so. */
static void
make_charge(struct shop *shop, bool is_paid, char charge[NAME_SIZE], char order[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char json[256];
    struct id id = id_new();
    id_format(&id, order);
    (void)snprintf(json, sizeof json, "{\"order\":\"%s\",\"amount\":{\"amount\":5,\"currency\":\"KRW\"},\"method\":\"money\"}", order);
    must(shop, OP_payment_charge, json, NULL, &heard, &answer);
    id_format(&answer.charge_value.id, charge);
    if (is_paid) {
        (void)snprintf(json, sizeof json, "{\"charge\":\"%s\"}", charge);
        must(shop, OP_payment_confirm, json, NULL, &heard, &answer);
    }
}

static void
await_saga(struct shop *shop, const char *order, const char *saga)
{
    int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
    struct heard heard;
    union json_any answer;
    char json[256];
    (void)snprintf(json, sizeof json, "{\"order\":\"%s\"}", order);
    do {
        must(shop, OP_order_get, json, NULL, &heard, &answer);
        cr_assert(clock_steady_us() < until_us, "%s is not %s but %.*s", order, saga, (int)answer.order_value.saga.size,
                  (const char *)answer.order_value.saga.data);
    } while (!slice_equal(answer.order_value.saga, slice_of(saga)));
}

/* NULL: nobody has paid or refused to; otherwise "true" or "false". */
static void
make_order(struct shop *shop, const char *approved, char order[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char product[NAME_SIZE];
    char charge[NAME_SIZE];
    char json[256];
    make_card(shop, product);
    (void)snprintf(json, sizeof json, "{\"lines\":[{\"product\":\"%s\",\"quantity\":1}],\"method\":\"money\"}", product);
    must(shop, OP_order_place, json, NULL, &heard, &answer);
    id_format(&answer.order_value.id, order);
    struct id first = answer.order_value.charge;
    id_format(&first, charge);
    if (approved != NULL) {
        int64_t until_us = clock_steady_us() + WAIT_MS * INT64_C(1000);
        struct wire_buffer frame = {0};
        (void)snprintf(json, sizeof json, "{\"charge\":\"%s\",\"approved\":%s}", charge, approved);
        encode(shop, OP_payment_confirm, json, &frame);
        do {
            ask_frame(shop, "payment", OP_payment_confirm, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&frame),
                      &heard);
            cr_assert(clock_steady_us() < until_us);
        } while (heard.status != ERR_ok);
        wire_buffer_fini(&frame);
        await_saga(shop, order, "ended");
    }
}

static void
make_user(struct shop *shop, char user[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char json[256];
    (void)snprintf(json, sizeof json, "{\"email\":\"u%d@example.org\"}", ++shop->things);
    must(shop, OP_user_register, json, NULL, &heard, &answer);
    id_format(&answer.user_ref_value.user, user);
}

static void
make_production(struct shop *shop, char production[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char product[NAME_SIZE];
    char json[256];
    make_stocked(shop, product);
    (void)snprintf(json, sizeof json, "{\"product\":\"%s\",\"quantity\":5}", product);
    must(shop, OP_factory_produce, json, NULL, &heard, &answer);
    id_format(&answer.production_value.id, production);
}

static struct db *
open_tables(struct shop *shop, const char *actor)
{
    struct db_config config;
    struct db *db = NULL;
    struct err_text why = {""};
    cr_assert(settings_db(&shop->place->settings, actor, 0, &config, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

/* What an outside factory would be told with a production of its own. */
static void
make_capability(struct shop *shop, char capability[FACTORY_CAPABILITY_SIZE])
{
    char text[NAME_SIZE];
    struct id production;
    uint8_t secret[FACTORY_SECRET_SIZE];
    make_production(shop, text);
    cr_assert(id_parse(text, strlen(text), &production));
    struct db *db = open_tables(shop, "factory");
    struct db_statement *read = db_statement(db, "SELECT secret FROM $secret WHERE one = 1");
    place_expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read) && db_bytes(read, 0).size == sizeof secret);
    memcpy(secret, db_bytes(read, 0).data, sizeof secret);
    db_done(read);
    db_rollback(db);
    db_close(&db);
    factory_capability_of(secret, &production, capability);
}

/* A request for sales, which is not here: it waits. */
static void
hand_over(struct wire_buffer *frame)
{
    struct wire_dlq_hand_over body = {0};
    WIRE_SET(&body, dlq_hand_over, op, slice_of("sales.checkout"));
    WIRE_SET(&body, dlq_hand_over, request, id_new());
    WIRE_SET(&body, dlq_hand_over, body, slice_of("\x80"));
    frame->size = 0;
    cr_assert(wire_encode(&dlq_hand_over_body, &body, frame));
}

static void
make_letter(struct shop *shop, bool is_discarded, char letter[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    struct err_text why;
    struct wire_buffer frame = {0};
    char json[256];
    hand_over(&frame);
    ask_frame(shop, "dlq", OP_dlq_hand_over, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&frame), &heard);
    cr_assert(heard.status == ERR_ok, "%s", heard.detail);
    cr_assert(wire_decode(&letter_body, (struct slice){heard.frame, heard.size}, &answer, &why) == ERR_ok);
    id_format(&answer.letter_value.id, letter);
    if (is_discarded) {
        (void)snprintf(json, sizeof json, "{\"letter\":\"%s\",\"reason\":\"r\"}", letter);
        must(shop, OP_dlq_discard, json, NULL, &heard, &answer);
    }
    wire_buffer_fini(&frame);
}

static void
make_subscription(struct shop *shop, char name[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char json[256];
    (void)snprintf(name, NAME_SIZE, "s%d", ++shop->things);
    (void)snprintf(json, sizeof json, "{\"name\":\"%s\",\"source\":\"stock/0\"}", name);
    must(shop, OP_dlq_subscribe, json, NULL, &heard, &answer);
}

/* Dead letters of one key. */
static void
bury(struct shop *shop, const char *key, int count)
{
    struct heard heard;
    struct wire_buffer frame = {0};
    struct wire_buffer list = {0};
    struct wire_list burials = {0};
    struct wire_burial burial = {0};
    struct wire_dlq_bury body = {0};
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, destination, slice_of("factory/0"));
    WIRE_SET(&burial, burial, reason, slice_of("call_failed"));
    WIRE_SET(&burial, burial, error, slice_of("e"));
    WIRE_SET(&burial, burial, attempts, 1);
    WIRE_SET(&burial, burial, first, 1);
    WIRE_SET(&burial, burial, last, 1);
    WIRE_SET(&burial, burial, history, (struct wire_list){0});
    WIRE_SET(&burial, burial, key, slice_of(key));
    WIRE_SET(&burial, burial, owner, slice_of("call"));
    for (int i = 0; i < count; i++) {
        char due_key[NAME_SIZE];
        (void)snprintf(due_key, sizeof due_key, "%s-%d", key, i);
        WIRE_SET(&burial, burial, letter, id_new());
        WIRE_SET(&burial, burial, due_key, slice_of(due_key));
        wire_list_add(&burials, &burial_body, &burial, &list);
    }
    wire_list_end(&burials, &list);
    WIRE_SET(&body, dlq_bury, burials, burials);
    cr_assert(wire_encode(&dlq_bury_body, &body, &frame));
    ask_frame(shop, "dlq", OP_dlq_bury, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&frame), &heard);
    cr_assert(heard.status == ERR_ok, "%s", heard.detail);
    wire_buffer_fini(&frame);
    wire_buffer_fini(&list);
}

/* A letter whose request is done, so that replaying it says so. */
static void
make_delivered(struct shop *shop, char letter[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    struct err_text why;
    struct wire_buffer frame = {0};
    struct wire_dlq_hand_over body = {0};
    char json[256];
    char product[NAME_SIZE];
    make_stocked(shop, product);
    (void)snprintf(json, sizeof json, "{\"product\":\"%s\",\"delta\":1}", product);
    encode(shop, OP_stock_adjust, json, &frame);
    struct slice kept = wire_buffer_slice(&frame);
    struct wire_buffer whole = {0};
    WIRE_SET(&body, dlq_hand_over, op, slice_of("stock.adjust"));
    WIRE_SET(&body, dlq_hand_over, request, id_new());
    WIRE_SET(&body, dlq_hand_over, body, kept);
    cr_assert(wire_encode(&dlq_hand_over_body, &body, &whole));
    ask_frame(shop, "dlq", OP_dlq_hand_over, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&whole), &heard);
    cr_assert(heard.status == ERR_ok, "%s", heard.detail);
    cr_assert(wire_decode(&letter_body, (struct slice){heard.frame, heard.size}, &answer, &why) == ERR_ok);
    id_format(&answer.letter_value.id, letter);
    (void)snprintf(json, sizeof json, "{\"letter\":\"%s\"}", letter);
    must(shop, OP_dlq_replay, json, NULL, &heard, &answer);
    wire_buffer_fini(&frame);
    wire_buffer_fini(&whole);
}

/* Of so many letters that it does not end by itself while anybody looks. */
static void
make_replay(struct shop *shop, char replay[NAME_SIZE])
{
    struct heard heard;
    union json_any answer;
    char key[NAME_SIZE];
    char json[256];
    (void)snprintf(key, sizeof key, "r%d", ++shop->things);
    bury(shop, key, 100);
    (void)snprintf(json, sizeof json, "{\"filter\":{\"key\":\"%s\"},\"rate\":1,\"reason\":\"r\"}", key);
    must(shop, OP_dlq_start, json, NULL, &heard, &answer);
    id_format(&answer.replay_value.id, replay);
}

/* A reader of stock's events. */
static void
make_subscriber(struct shop *shop, char name[NAME_SIZE])
{
    struct heard heard;
    struct wire_buffer frame = {0};
    char json[256];
    (void)snprintf(name, NAME_SIZE, "s%d", ++shop->things);
    (void)snprintf(json, sizeof json, "{\"subscriber\":\"%s\"}", name);
    encode(shop, OP_any_subscribe, json, &frame);
    ask_frame(shop, "stock", OP_any_subscribe, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&frame), &heard);
    cr_assert(heard.status == ERR_ok, "%s", heard.detail);
    wire_buffer_fini(&frame);
}

/* What a {word} stands for. Words of two things share `beside`. */
static void
make_thing(struct shop *shop, const char *word, char text[THING_SIZE], char beside[NAME_SIZE])
{
    struct id id = id_new();
    if (strcmp(word, "name") == 0) {
        (void)snprintf(text, NAME_SIZE, "p%d", ++shop->things);
    } else if (strcmp(word, "id") == 0) {
        id_format(&id, text);
    } else if (strcmp(word, "beside") == 0) {
        (void)snprintf(text, NAME_SIZE, "%s", beside);
    } else if (strcmp(word, "stocked") == 0) {
        make_stocked(shop, text);
    } else if (strcmp(word, "card") == 0) {
        make_card(shop, text);
    } else if (strcmp(word, "hold") == 0 || strcmp(word, "committed") == 0) {
        make_hold(shop, word[0] == 'c', text);
    } else if (strcmp(word, "charge") == 0 || strcmp(word, "paid") == 0) {
        make_charge(shop, word[0] == 'p', text, beside);
    } else if (strcmp(word, "placed") == 0 || strcmp(word, "received") == 0 || strcmp(word, "unpaid") == 0) {
        make_order(shop, word[0] == 'p' ? NULL : word[0] == 'r' ? "true" : "false", text);
    } else if (strcmp(word, "user") == 0) {
        make_user(shop, text);
    } else if (strcmp(word, "production") == 0) {
        make_production(shop, text);
    } else if (strcmp(word, "letter") == 0 || strcmp(word, "discarded") == 0) {
        make_letter(shop, word[0] == 'd', text);
    } else if (strcmp(word, "subscription") == 0) {
        make_subscription(shop, text);
    } else if (strcmp(word, "subscriber") == 0) {
        make_subscriber(shop, text);
    } else if (strcmp(word, "delivered") == 0) {
        make_delivered(shop, text);
    } else if (strcmp(word, "replay") == 0) {
        make_replay(shop, text);
    } else if (strcmp(word, "capability") == 0) {
        make_capability(shop, text);
    } else {
        cr_assert_fail("no thing is called %s", word);
    }
}

/* Those who ask others have asked each of them once: the deeds below are asked once only. */
static void
await_connections(struct shop *shop)
{
    struct heard heard;
    union json_any answer;
    char text[NAME_SIZE];
    char json[256];
    make_order(shop, "true", text);
    make_subscription(shop, text);
    make_stocked(shop, text);
    (void)snprintf(json, sizeof json, "{\"product\":\"%s\"}", text); /* factory asks stock how many */
    must(shop, OP_factory_produce, json, NULL, &heard, &answer);
}

static void
open_shop(struct shop *shop, struct place *place)
{
    *shop = (struct shop){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.lead_time_ms = 3600000;                                                                /* productions stay open */
    (void)snprintf(place->settings.factory_url, sizeof place->settings.factory_url, "http://127.0.0.1:9"); /* which nobody answers */
    log_init(false, LOG_LEVEL_ERROR + 1);
    for (size_t i = 0; i < ACTORS; i++) {
        run(shop, i);
    }
    bury(shop, "dead", 1);
    await_connections(shop);
}

/* --- deeds --- */

struct deed {
    enum op op;
    const char *json; /* NULL: a request that is handed over */
};

static const struct deed deeds[] = {
    {OP_stock_take, "{\"lines\":[{\"product\":\"{stocked}\",\"quantity\":1}]}"},
    {OP_stock_reserve, "{\"lines\":[{\"product\":\"{stocked}\",\"quantity\":1}]}"},
    {OP_stock_extend, "{\"hold\":\"{hold}\",\"ttl_ms\":60000}"},
    {OP_stock_commit, "{\"hold\":\"{hold}\"}"},
    {OP_stock_release, "{\"hold\":\"{hold}\"}"},
    {OP_stock_return, "{\"hold\":\"{committed}\"}"},
    {OP_stock_adjust, "{\"product\":\"{name}\",\"delta\":5}"},
    {OP_stock_count, "{\"product\":\"{name}\",\"counted\":5}"},
    {OP_stock_configure, "{\"product\":\"{name}\",\"lot\":5}"},
    {OP_factory_produce, "{\"product\":\"{stocked}\",\"quantity\":5}"},
    {OP_factory_produce, "{\"product\":\"{stocked}\"}"},
    {OP_factory_cancel, "{\"id\":\"{production}\"}"},
    {OP_factory_callback, "{\"capability\":\"{capability}\"}"},
    {OP_product_put, "{\"product\":\"{name}\",\"name\":\"n\",\"category\":\"other\",\"price\":{\"amount\":5,\"currency\":\"KRW\"}}"},
    {OP_product_patch, "{\"product\":\"{card}\",\"name\":\"another\"}"},
    {OP_product_categorise, "{\"category\":\"{name}\",\"name\":\"n\",\"position\":7}"},
    {OP_user_register, "{\"email\":\"{name}@example.org\",\"name\":\"n\"}"},
    {OP_user_register, "{\"email\":\"{name}@example.org\",\"password\":\"correct horse\"}"},
    {OP_user_change, "{\"user\":\"{user}\",\"name\":\"another\"}"},
    {OP_user_erase, "{\"user\":\"{user}\"}"},
    {OP_order_place, "{\"lines\":[{\"product\":\"{card}\",\"quantity\":1}],\"method\":\"money\"}"},
    {OP_order_advance, "{\"order\":\"{received}\"}"},
    {OP_order_cancel, "{\"order\":\"{placed}\"}"},
    {OP_order_pay, "{\"order\":\"{unpaid}\",\"method\":\"money\"}"},
    {OP_payment_charge, "{\"order\":\"{id}\",\"amount\":{\"amount\":5,\"currency\":\"KRW\"},\"method\":\"money\"}"},
    {OP_payment_cancel, "{\"charge\":\"{charge}\",\"order\":\"{beside}\"}"},
    {OP_payment_refund, "{\"charge\":\"{paid}\"}"},
    {OP_payment_confirm, "{\"charge\":\"{charge}\"}"},
    {OP_dlq_hand_over, NULL},
    {OP_dlq_replay, "{\"letter\":\"{delivered}\"}"},
    {OP_dlq_cancel, "{\"replay\":\"{replay}\"}"},
    {OP_dlq_discard, "{\"letter\":\"{letter}\",\"reason\":\"r\"}"},
    {OP_dlq_restore, "{\"letter\":\"{discarded}\"}"},
    {OP_dlq_start, "{\"filter\":{\"key\":\"dead\"},\"dry_run\":true,\"reason\":\"{name}\"}"},
    {OP_dlq_subscribe, "{\"name\":\"{name}\",\"source\":\"stock/0\"}"},
    {OP_any_unsubscribe, "{\"subscriber\":\"{subscriber}\"}"},
    {OP_dlq_unsubscribe, "{\"name\":\"{subscription}\",\"source\":\"stock/0\"}"},
};

enum { DEEDS = sizeof deeds / sizeof deeds[0] };

/* A body of its own for the deed, with things that are there. */
static void
make_body(struct shop *shop, const struct deed *deed, struct wire_buffer *frame)
{
    char json[1024] = "";
    char beside[NAME_SIZE] = "";
    size_t size = 0;
    if (deed->json == NULL) {
        hand_over(frame);
        return;
    }
    for (const char *at = deed->json; *at != '\0'; at++) {
        char word[NAME_SIZE] = "";
        char text[THING_SIZE] = "";
        const char *end = *at == '{' ? strpbrk(at + 1, "\"}{") : NULL;
        if (end != NULL && *end == '}' && end > at + 1) {
            (void)snprintf(word, sizeof word, "%.*s", (int)(end - at - 1), at + 1);
            make_thing(shop, word, text, beside);
            size += (size_t)snprintf(json + size, sizeof json - size, "%s", text);
            at = end;
        } else {
            json[size++] = *at;
        }
    }
    encode(shop, deed->op, json, frame);
}

/* Who is asked: what all answer is asked of stock. */
static const char *
owner_of(const struct deed *deed)
{
    return strcmp(wire_ops[deed->op].owner, "any") == 0 ? "stock" : wire_ops[deed->op].owner;
}

/* any.unsubscribe is not of the actor's own operations: its ids are apart from theirs. */
static bool
is_one_space(const struct deed *deed, const struct deed *other)
{
    return strcmp(wire_ops[deed->op].owner, wire_ops[other->op].owner) == 0;
}

static void
act(struct shop *shop, const struct deed *deed, const struct id *id, bool again, const struct wire_buffer *frame, struct heard *heard)
{
    ask_frame(shop, owner_of(deed), deed->op, &(struct larder_options){.id = *id, .again = again}, wire_buffer_slice(frame), heard);
}

#define EXPECT(heard, wanted, deed, words)                                                                   \
    cr_expect((heard).status == (wanted), "%s, %s: %s (%s) instead of %s", wire_ops[(deed)->op].name, words, \
              err_symbol((heard).status), (heard).detail, err_symbol(wanted))

/* Every operation that is keyed by its id has a deed here. */
Test(identity_deeds, are_of_every_operation_that_changes_something)
{
    for (unsigned op = 0; op < OP_COUNT; op++) {
        uint32_t traits = wire_ops[op].traits;
        bool is_keyed = (traits & OP_WRITES) != 0 && (traits & (OP_REPEATS | OP_FORWARDS)) == 0;
        bool is_left_out = op == OP_dlq_edit;
        size_t i = 0;
        while (i < DEEDS && deeds[i].op != op) {
            i++;
        }
        cr_expect(!is_keyed || is_left_out || i < DEEDS, "%s", wire_ops[op].name);
    }
}

/* Whether the answer is the one that was given, and not what the thing is like now. */
static bool
is_kept(enum op op)
{
    return strcmp(wire_ops[op].owner, "order") != 0;
}

/* --- the same request --- */

ON_BOTH(identity, the_same_request_again_finds_its_effect_and_its_answer)
{
    struct shop shop;
    struct wire_buffer frame = {0};
    open_shop(&shop, place);
    for (size_t i = 0; i < DEEDS; i++) {
        struct heard first;
        struct heard heard;
        struct id id = id_new();
        make_body(&shop, &deeds[i], &frame);
        act(&shop, &deeds[i], &id, false, &frame, &first);
        EXPECT(first, ERR_ok, &deeds[i], "for the first time");
        for (int attempt = 0; attempt < 3; attempt++) {
            const char *words = attempt == 1 ? "asked again" : "sent twice without again";
            act(&shop, &deeds[i], &id, attempt == 1, &frame, &heard);
            EXPECT(heard, ERR_ok, &deeds[i], words);
            cr_expect(!is_kept(deeds[i].op) || (heard.size == first.size && memcmp(heard.frame, first.frame, first.size) == 0),
                      "%s, %s: another answer", wire_ops[deeds[i].op].name, words);
        }
    }
    wire_buffer_fini(&frame);
    close_shop(&shop);
}

enum { TAKES = 5000, WINDOW = 256, ONE_IN = 100 };

static int64_t
commits_of_stock(struct shop *shop)
{
    struct heard heard;
    union json_any answer;
    struct err_text why;
    struct wire_buffer frame = {0};
    encode(shop, OP_any_pause, "{\"for_ms\":0}", &frame);
    ask_frame(shop, "stock", OP_any_pause, &(struct larder_options){.id = id_new()}, wire_buffer_slice(&frame), &heard);
    cr_assert(heard.status == ERR_ok, "%s", heard.detail);
    cr_assert(wire_decode(&paused_body, (struct slice){heard.frame, heard.size}, &answer, &why) == ERR_ok);
    wire_buffer_fini(&frame);
    return answer.paused_value.batch;
}

/* Many takes of one unit, all as first attempts; with `repeats` each ONE_IN-th goes under the id of one that was answered. Returns how
 * many commits they took. */
static int64_t
take_many(struct shop *shop, const char *product, bool repeats)
{
    static struct id ids[TAKES];
    struct larder_client *client = shop->clients[number_of("stock")];
    struct wire_buffer frame = {0};
    char json[256];
    int replayed = 0;
    int64_t before = commits_of_stock(shop);
    (void)snprintf(json, sizeof json, "{\"lines\":[{\"product\":\"%s\",\"quantity\":1}]}", product);
    encode(shop, OP_stock_take, json, &frame);
    for (int sent = 0, heard = 0; heard < TAKES;) {
        struct larder_reply reply;
        if (sent < TAKES && sent - heard < WINDOW) {
            ids[sent] = repeats && sent % ONE_IN == ONE_IN - 1 && sent > 2 * WINDOW ? ids[sent - 2 * WINDOW] : id_new();
            struct larder_request request = {
                .op = OP_stock_take,
                .frame = wire_buffer_slice(&frame),
                .options = {.id = ids[sent], .timeout_ms = WAIT_MS, .attempts = 1},
            };
            cr_assert_eq(larder_client_send(client, &request), ERR_ok);
            sent++;
            continue;
        }
        cr_assert_eq(larder_client_receive(client, WAIT_MS, &reply), ERR_ok);
        cr_assert_eq(reply.status, ERR_ok, "%s", err_symbol(reply.status));
        replayed += reply.replayed;
        heard++;
    }
    wire_buffer_fini(&frame);
    cr_expect_eq(replayed, repeats ? TAKES / ONE_IN - 2 * WINDOW / ONE_IN : 0);
    return commits_of_stock(shop) - before;
}

static int64_t
left_of(struct shop *shop, const char *product)
{
    struct heard heard;
    union json_any answer;
    char json[256];
    (void)snprintf(json, sizeof json, "{\"product\":\"%s\"}", product);
    must(shop, OP_stock_get, json, NULL, &heard, &answer);
    return answer.stock_level_value.available;
}

/* One in a hundred that does not say that it is a repeat once sent each request of its batch to a commit of its own. */
ON_BOTH(identity, takes_of_which_one_in_a_hundred_is_a_repeat_share_their_commits_as_others_do)
{
    struct shop shop;
    struct heard heard;
    union json_any answer;
    const int stocked = 2 * TAKES;
    char json[256];
    open_shop(&shop, place);
    (void)snprintf(json, sizeof json, "{\"product\":\"many\",\"delta\":%d}", stocked);
    must(&shop, OP_stock_adjust, json, NULL, &heard, &answer);
    int64_t plain = take_many(&shop, "many", false);
    int64_t repeated = take_many(&shop, "many", true);
    int64_t repeats = TAKES / ONE_IN - 2 * WINDOW / ONE_IN;
    cr_expect_eq(left_of(&shop, "many"), stocked - 2 * TAKES + repeats);
    cr_expect(plain < TAKES / 10, "%lld commits", (long long)plain);
    cr_expect(repeated <= 2 * plain + 50, "%lld commits instead of %lld", (long long)repeated, (long long)plain);
    close_shop(&shop);
}

/* --- another request --- */

static void
expect_other(struct shop *shop, const struct deed *deed, const struct id *id, const char *under)
{
    struct wire_buffer frame = {0};
    struct heard heard;
    char words[128];
    struct id own = id_new();
    (void)snprintf(words, sizeof words, "under the id of a %s", under);
    make_body(shop, deed, &frame);
    act(shop, deed, id, false, &frame, &heard);
    EXPECT(heard, ERR_idempotency_mismatch, deed, words);
    act(shop, deed, id, true, &frame, &heard);
    EXPECT(heard, ERR_idempotency_mismatch, deed, words);
    act(shop, deed, &own, false, &frame, &heard);
    EXPECT(heard, ERR_ok, deed, "which was not done under that of another, under its own");
    wire_buffer_fini(&frame);
}

ON_BOTH(identity, an_id_belongs_to_the_first_request_that_was_done_under_it_over_all_operations_of_an_actor)
{
    struct shop shop;
    struct wire_buffer frame = {0};
    open_shop(&shop, place);
    for (size_t i = 0; i < DEEDS; i++) {
        struct heard heard;
        struct id id = id_new();
        make_body(&shop, &deeds[i], &frame);
        act(&shop, &deeds[i], &id, false, &frame, &heard);
        EXPECT(heard, ERR_ok, &deeds[i], "for the first time");
        for (size_t k = 0; k < DEEDS; k++) {
            if (is_one_space(&deeds[i], &deeds[k])) {
                expect_other(&shop, &deeds[k], &id, wire_ops[deeds[i].op].name);
            }
        }
        act(&shop, &deeds[i], &id, false, &frame, &heard);
        EXPECT(heard, ERR_ok, &deeds[i], "sent twice, behind others under its id");
    }
    wire_buffer_fini(&frame);
    close_shop(&shop);
}

/* --- no id --- */

/* Past the client, which makes a new id of 16 zero bytes. */
ON_BOTH(identity, sixteen_zero_bytes_are_no_id_of_any_request)
{
    struct shop shop;
    struct wire_buffer frame = {0};
    struct wire_buffer header_frame = {0};
    char endpoint[ENDPOINT_MAX];
    open_shop(&shop, place);
    for (unsigned op = 0; op < OP_COUNT; op++) {
        const char *owner = strcmp(wire_ops[op].owner, "any") == 0 ? "stock" : wire_ops[op].owner;
        size_t i = 0;
        while (i < DEEDS && deeds[i].op != op) {
            i++;
        }
        if (strcmp(owner, "sales") == 0 || i == DEEDS) {
            continue;
        }
        zsock_t *socket = zsock_new(ZMQ_DEALER);
        struct wire_request_header header = {0};
        struct wire_reply_header reply;
        struct err_text why = {""};
        struct message message;
        topology_inproc(owner, 0, ENDPOINT_REQUESTS, endpoint);
        zsock_set_linger(socket, 0);
        cr_assert(zsock_connect(socket, "%s", endpoint) == 0);
        make_body(&shop, &deeds[i], &frame);
        WIRE_SET(&header, request_header, v, WIRE_VERSION);
        WIRE_SET(&header, request_header, id, (struct id){{0}});
        WIRE_SET(&header, request_header, op, slice_of(wire_ops[op].name));
        WIRE_SET(&header, request_header, deadline, clock_utc_ms() + WAIT_MS);
        header_frame.size = 0;
        cr_assert(wire_encode(&request_header_body, &header, &header_frame));
        cr_assert(message_send(zsock_resolve(socket), wire_buffer_slice(&header_frame), wire_buffer_slice(&frame)) == MESSAGE_SENT);
        zmq_pollitem_t item = {.socket = zsock_resolve(socket), .events = ZMQ_POLLIN};
        cr_assert(zmq_poll(&item, 1, WAIT_MS) == 1);
        cr_assert(message_receive(zsock_resolve(socket), false, &message) == MESSAGE_OK);
        cr_assert(wire_decode(&reply_header_body, message_header(&message), &reply, &why) == ERR_ok, "%s", why.text);
        cr_expect(slice_equal(reply.status, slice_of("invalid_field")), "%s: %.*s", wire_ops[op].name, (int)reply.status.size,
                  (const char *)reply.status.data);
        message_fini(&message);
        zsock_destroy(&socket);
    }
    wire_buffer_fini(&header_frame);
    wire_buffer_fini(&frame);
    close_shop(&shop);
}

/* --- what earlier versions stored --- */

/* As they made it. */
static uint64_t
hash_raw(uint64_t number, const struct wire_buffer *frame)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ number;
    size_t i = 0;
    for (; i + 8 <= frame->size; i += 8) {
        uint64_t word;
        memcpy(&word, frame->data + i, sizeof word);
        hash = (hash ^ word) * UINT64_C(1099511628211);
        hash ^= hash >> 32;
    }
    for (; i < frame->size; i++) {
        hash = (hash ^ frame->data[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

enum { NUMBERS = 6 };

/* Those that an operation had; zero behind the last. */
static const uint8_t numbers[OP_COUNT][NUMBERS + 1] = {
#define WAS(owner, verb, ...) [OP_##owner##_##verb] = {__VA_ARGS__},
#include "kit/durable/old_numbers.def"
};

static void
make_old(struct db *db, const char *sql, uint64_t hash, const struct id *id)
{
    struct db_statement *update = db_statement(db, sql);
    db_bind_i64(update, (int64_t)hash);
    db_bind_id(update, id);
    place_expect(db, db_queue(update, DB_ANY_ROWS), ERR_ok);
}

/* People's requests have a keyed hash of the encoded body without the password. */
static void
make_old_mark(struct db *db, const struct deed *deed, const struct wire_buffer *frame, const struct id *id)
{
    uint8_t mark[USER_MARK_SIZE];
    struct user_secret secret;
    struct wire_buffer without = {0};
    union json_any body;
    struct err_text why;
    struct db_statement *read = db_statement(db, "SELECT secret FROM $secret WHERE name = 'people'");
    place_expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    user_seal_derive(db_bytes(read, 0).data, &secret);
    db_done(read);
    cr_assert(wire_decode(wire_ops[deed->op].request, wire_buffer_slice(frame), &body, &why) == ERR_ok);
    if (deed->op == OP_user_register) {
        body.user_register_value.has &= ~(UINT64_C(1) << user_register_BIT_password);
    }
    cr_assert(wire_encode(wire_ops[deed->op].request, &body, &without));
    user_seal_mark(&secret, wire_ops[deed->op].name, wire_buffer_slice(&without), mark);
    struct db_statement *update =
        db_statement(db, "UPDATE $request SET mark = ?, mark_kind = 0 WHERE request = ? AND mark IS NOT NULL");
    db_bind_bytes(update, (struct slice){mark, sizeof mark});
    db_bind_id(update, id);
    place_expect(db, db_queue(update, DB_ANY_ROWS), ERR_ok);
    wire_buffer_fini(&without);
}

/* Rows as they would be, had the deed been done by a version in which its operation had that number. */
static void
make_rows_old(struct shop *shop, const struct deed *deed, uint64_t number, const struct wire_buffer *frame, const struct id *id)
{
    const char *actor = owner_of(deed);
    struct db *db = open_tables(shop, actor);
    uint64_t hash = hash_raw(number, frame);
    bool is_own = strcmp(wire_ops[deed->op].owner, "any") != 0;
    if (strcmp(actor, "user") == 0) {
        make_old_mark(db, deed, frame, id);
    } else if (is_own && strcmp(actor, "stock") == 0) {
        make_old(db, "UPDATE $move SET fingerprint = ?, fingerprint_kind = 0 WHERE request = ?", hash, id);
    } else if (strcmp(actor, "order") == 0) {
        make_old(db, "UPDATE $order SET fingerprint = ?, fingerprint_kind = 0 WHERE id = ?", hash, id);
        make_old(db, "UPDATE $request SET fingerprint = ?, fingerprint_kind = 0 WHERE id = ?", hash, id);
    } else {
        make_old(db, "UPDATE $answer SET fingerprint = ?, fingerprint_kind = 0 WHERE request = ?", hash, id);
    }
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
}

/* An advance could have the id of an order that was placed: then both were done under it. */
ON_BOTH(identity, what_an_earlier_version_did_under_one_id_twice_is_found_for_each)
{
    static const struct deed place_deed = {OP_order_place,
                                           "{\"lines\":[{\"product\":\"{card}\",\"quantity\":1}],\"method\":\"money\"}"};
    static const struct deed advance_deed = {OP_order_advance, "{\"order\":\"{received}\"}"};
    static const struct deed cancel_deed = {OP_order_cancel, "{\"order\":\"{placed}\"}"};
    struct shop shop;
    struct heard heard;
    struct wire_buffer placed = {0};
    struct wire_buffer advanced = {0};
    struct id id = id_new();
    struct id beside = id_new();
    open_shop(&shop, place);
    make_body(&shop, &place_deed, &placed);
    make_body(&shop, &advance_deed, &advanced);
    act(&shop, &place_deed, &id, false, &placed, &heard);
    EXPECT(heard, ERR_ok, &place_deed, "for the first time");
    act(&shop, &advance_deed, &beside, false, &advanced, &heard);
    EXPECT(heard, ERR_ok, &advance_deed, "for the first time");
    stop(&shop, number_of("order"));
    struct db *db = open_tables(&shop, "order");
    struct db_statement *update = db_statement(db, "UPDATE $request SET id = ? WHERE id = ?");
    db_bind_id(update, &id);
    db_bind_id(update, &beside);
    place_expect(db, db_queue(update, 1), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    db_close(&db);
    run(&shop, number_of("order"));
    for (int again = 0; again < 2; again++) {
        act(&shop, &place_deed, &id, again != 0, &placed, &heard);
        EXPECT(heard, ERR_ok, &place_deed, "that shares its id");
        act(&shop, &advance_deed, &id, again != 0, &advanced, &heard);
        EXPECT(heard, ERR_ok, &advance_deed, "that shares its id");
    }
    expect_other(&shop, &cancel_deed, &id, "placed order and of an advance");
    expect_other(&shop, &place_deed, &id, "placed order and of an advance");
    wire_buffer_fini(&placed);
    wire_buffer_fini(&advanced);
    close_shop(&shop);
}

/* stock.take had the number that stock.reserve had before, and stock.commit that of stock.release: the ledger tells them apart. */
ON_BOTH(identity, an_earlier_versions_line_is_that_of_its_own_operation)
{
    static const struct {
        struct deed deed;
        enum op other;
        uint64_t number;
    } pairs[] = {{{OP_stock_reserve, "{\"lines\":[{\"product\":\"{stocked}\",\"quantity\":1}]}"}, OP_stock_take, 9},
                 {{OP_stock_release, "{\"hold\":\"{hold}\"}"}, OP_stock_commit, 12},
                 {{OP_stock_return, "{\"hold\":\"{committed}\"}"}, OP_stock_release, 13}};
    struct shop shop;
    struct heard heard;
    struct wire_buffer frame = {0};
    open_shop(&shop, place);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        const struct deed other = {pairs[i].other, ""};
        struct id id = id_new();
        make_body(&shop, &pairs[i].deed, &frame);
        act(&shop, &pairs[i].deed, &id, false, &frame, &heard);
        EXPECT(heard, ERR_ok, &pairs[i].deed, "for the first time");
        stop(&shop, number_of("stock"));
        make_rows_old(&shop, &pairs[i].deed, pairs[i].number, &frame, &id);
        run(&shop, number_of("stock"));
        act(&shop, &other, &id, true, &frame, &heard);
        EXPECT(heard, ERR_idempotency_mismatch, &other, "under the id of another with the same body and number");
    }
    wire_buffer_fini(&frame);
    close_shop(&shop);
}

/* Each deed once for each number that its operation ever had. */
ON_BOTH(identity, what_was_done_by_an_earlier_version_is_found_and_believed)
{
    struct shop shop;
    static struct wire_buffer frames[DEEDS][NUMBERS];
    static struct id ids[DEEDS][NUMBERS];
    struct heard heard;
    open_shop(&shop, place);
    for (size_t i = 0; i < DEEDS; i++) {
        for (size_t k = 0; numbers[deeds[i].op][k] != 0; k++) {
            ids[i][k] = id_new();
            make_body(&shop, &deeds[i], &frames[i][k]);
            act(&shop, &deeds[i], &ids[i][k], false, &frames[i][k], &heard);
            EXPECT(heard, ERR_ok, &deeds[i], "for the first time");
        }
    }
    for (size_t i = ACTORS; i-- > 0;) {
        stop(&shop, i);
    }
    for (size_t i = 0; i < DEEDS; i++) {
        for (size_t k = 0; numbers[deeds[i].op][k] != 0; k++) {
            make_rows_old(&shop, &deeds[i], numbers[deeds[i].op][k], &frames[i][k], &ids[i][k]);
        }
    }
    for (size_t i = 0; i < ACTORS; i++) {
        run(&shop, i);
    }
    for (size_t i = 0; i < DEEDS; i++) {
        struct wire_buffer other = {0};
        make_body(&shop, &deeds[i], &other);
        for (size_t k = 0; numbers[deeds[i].op][k] != 0; k++) {
            act(&shop, &deeds[i], &ids[i][k], true, &frames[i][k], &heard);
            EXPECT(heard, ERR_ok, &deeds[i], "done by an earlier version and asked again");
            act(&shop, &deeds[i], &ids[i][k], false, &frames[i][k], &heard);
            EXPECT(heard, ERR_ok, &deeds[i], "done by an earlier version and sent twice");
            act(&shop, &deeds[i], &ids[i][k], true, &other, &heard);
            EXPECT(heard, ERR_idempotency_mismatch, &deeds[i], "under the id of what an earlier version did");
            wire_buffer_fini(&frames[i][k]);
        }
        wire_buffer_fini(&other);
    }
    close_shop(&shop);
}
