/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The user actor as others see it, on both databases: people are known once, seen and changed by whom they may be, sign in, and are
 * forgotten for good.
 *
 * STATE     One user actor and a socket of the test's own, because a request's role and user are the gateway's to say.
 */
#include <criterion/criterion.h>
#include <czmq.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "user/user.h"
#include "user/user_seal.h"
#include "../support/kit_place.h"
#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "../support/patience.h"
#include "kit/http/token.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)
#define USER_OFFSET 1
#define CPF "529.982.247-25"
#define OTHER_CPF "111.444.777-35"
#define FAR_MS 600000 /* where what is promised depends on no deadline; an answer still comes WAIT_MS behind the one before it */
#define PASSWORD "correct horse"

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    zsock_t *socket;
    struct id heard; /* whose answer came last */
    struct arena arena;
};

/* A request, and in whose name. */
struct asked {
    enum op op;
    const void *body;
    enum role role; /* ROLE_COUNT: the header has none */
    const struct id *user;
    struct id id; /* zero: a new one */
    bool again;
    int64_t timeout_ms; /* 0: WAIT_MS */
};

/* --- life --- */

static void
run_user(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    struct err_text why = {""};
    err code = actor_start(&user_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("user", 0, ENDPOINT_REQUESTS, endpoint);
    stage->socket = zsock_new(ZMQ_DEALER);
    zsock_set_linger(stage->socket, 0);
    zsock_set_rcvtimeo(stage->socket, WAIT_MS);
    cr_assert(zsock_connect(stage->socket, "%s", endpoint) == 0);
}

static void
stop_user(struct stage *stage)
{
    zsock_destroy(&stage->socket);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR);
    run_user(stage);
}

static void
restart(struct stage *stage)
{
    stop_user(stage);
    place_await_ports_of(stage->place, USER_OFFSET);
    run_user(stage);
}

/* The tables beside the actor. */
static struct db *
open_beside(const struct stage *stage, bool read_only)
{
    struct db_config config;
    struct err_text why = {""};
    struct db *db = NULL;
    cr_assert(settings_db(&stage->place->settings, "user", 0, &config, &why) == ERR_ok, "%s", why.text);
    config.read_only = read_only;
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static struct db *
open_tables(const struct stage *stage)
{
    return open_beside(stage, true);
}

static int64_t
count(const struct stage *stage, const char *sql)
{
    struct db *db = open_tables(stage);
    int64_t number = place_number(db, sql);
    db_close(&db);
    return number;
}

static void
say(void *context, const char *sentence)
{
    (void)context;
    cr_log_error("%s", sentence);
}

/* Every test ends with the proof of its tables. */
static void
finish(struct stage *stage)
{
    struct verify_report report = {.say = say};
    struct db *db = open_tables(stage);
    place_expect(db, user_verify(db, &report), ERR_ok);
    db_close(&db);
    cr_expect(report.faults == 0, "%d faults", (int)report.faults);
    stop_user(stage);
    close(stage->ended_fd);
    arena_fini(&stage->arena);
}

/* --- asking --- */

static struct id
send_request(struct stage *stage, const struct asked *asked)
{
    struct id id = id_is_zero(&asked->id) ? id_new() : asked->id;
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[asked->op].name));
    WIRE_SET(&header, request_header, deadline, clock_utc_ms() + (asked->timeout_ms > 0 ? asked->timeout_ms : WAIT_MS));
    if (asked->again) {
        WIRE_SET(&header, request_header, again, true);
    }
    if (asked->role != ROLE_COUNT) {
        WIRE_SET(&header, request_header, role, slice_of(role_name(asked->role)));
    }
    if (asked->user != NULL) {
        WIRE_SET(&header, request_header, user, *asked->user);
    }
    struct slice head = arena_encode(&stage->arena, &request_header_body, &header);
    struct slice body = arena_encode(&stage->arena, wire_ops[asked->op].request, asked->body);
    void *raw = zsock_resolve(stage->socket);
    cr_assert(zmq_send(raw, head.data, head.size, ZMQ_SNDMORE) >= 0 && zmq_send(raw, body.data, body.size, 0) >= 0);
    return id;
}

static struct slice
receive_frame(struct stage *stage)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    cr_assert(zmq_msg_recv(&frame, zsock_resolve(stage->socket), 0) >= 0, "no answer: %s", zmq_strerror(zmq_errno()));
    struct slice copy = arena_copy(&stage->arena, (struct slice){zmq_msg_data(&frame), zmq_msg_size(&frame)});
    zmq_msg_close(&frame);
    return copy;
}

/* The status; the body of an ok goes to `answer` unless that is NULL. */
static err
receive(struct stage *stage, enum op op, void *answer, bool *is_replayed)
{
    struct wire_reply_header header;
    struct err_text why = {""};
    cr_assert(wire_decode(&reply_header_body, receive_frame(stage), &header, &why) == ERR_ok, "%s", why.text);
    struct slice body = receive_frame(stage);
    stage->heard = header.id;
    err status = err_find((const char *)header.status.data, header.status.size);
    if (is_replayed != NULL) {
        *is_replayed = WIRE_HAS(&header, reply_header, replayed) && header.replayed;
    }
    if (status == ERR_ok && answer != NULL) {
        cr_assert(wire_decode(wire_ops[op].reply, body, answer, &why) == ERR_ok, "%s", why.text);
    }
    return status;
}

static err
ask(struct stage *stage, const struct asked *asked, void *answer)
{
    (void)send_request(stage, asked);
    return receive(stage, asked->op, answer, NULL);
}

static err
ask_plain(struct stage *stage, enum op op, const void *body, void *answer)
{
    return ask(stage, &(struct asked){.op = op, .body = body, .role = ROLE_COUNT}, answer);
}

static struct wire_user_register
ana(void)
{
    struct wire_user_register body = {0};
    WIRE_SET(&body, user_register, name, slice_of("Ana Souza"));
    WIRE_SET(&body, user_register, email, slice_of("Ana.Souza@example.com"));
    WIRE_SET(&body, user_register, cpf, slice_of(CPF));
    WIRE_SET(&body, user_register, phone, slice_of("+55 11 98765-4321"));
    WIRE_SET(&body, user_register, address, slice_of("Rua das Flores 7"));
    return body;
}

static struct wire_user_register
ana_with_password(void)
{
    struct wire_user_register body = ana();
    WIRE_SET(&body, user_register, password, slice_of(PASSWORD));
    return body;
}

static struct id
register_person(struct stage *stage, const struct wire_user_register *body)
{
    struct wire_user_ref ref;
    err status = ask_plain(stage, OP_user_register, body, &ref);
    cr_assert(status == ERR_ok, "%s", err_symbol(status));
    cr_assert(ref.version == 1);
    return ref.user;
}

static err
get(struct stage *stage, const struct id *user, struct wire_user_card *card)
{
    struct wire_user_get body = {0};
    WIRE_SET(&body, user_get, user, *user);
    return ask_plain(stage, OP_user_get, &body, card);
}

static err
find_email(struct stage *stage, const char *email, struct wire_user_card *card)
{
    struct wire_user_find body = {0};
    WIRE_SET(&body, user_find, email, slice_of(email));
    return ask_plain(stage, OP_user_find, &body, card);
}

static err
find_cpf(struct stage *stage, const char *cpf, struct wire_user_card *card)
{
    struct wire_user_find body = {0};
    WIRE_SET(&body, user_find, cpf, slice_of(cpf));
    return ask_plain(stage, OP_user_find, &body, card);
}

static err
sign_in(struct stage *stage, const char *email, const char *password, struct wire_user_session *session)
{
    struct wire_user_sign_in body = {0};
    WIRE_SET(&body, user_sign_in, email, slice_of(email));
    WIRE_SET(&body, user_sign_in, password, slice_of(password));
    return ask(stage, &(struct asked){.op = OP_user_sign_in, .body = &body, .role = ROLE_ANONYMOUS}, session);
}

static err
erase(struct stage *stage, const struct id *user, struct wire_user_erasure *proof)
{
    struct wire_user_erase body = {0};
    WIRE_SET(&body, user_erase, user, *user);
    WIRE_SET(&body, user_erase, reason, slice_of("asked for"));
    return ask_plain(stage, OP_user_erase, &body, proof);
}

static void
expect_text(struct slice text, const char *wanted)
{
    cr_expect(slice_equal(text, slice_of(wanted)), "%.*s instead of %s", (int)text.size, (const char *)text.data, wanted);
}

/* --- who people are --- */

ON_BOTH(user, a_person_is_read_and_found)
{
    struct stage stage;
    struct wire_user_card card;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    cr_assert(get(&stage, &user, &card) == ERR_ok);
    expect_text(card.name, "Ana Souza");
    expect_text(card.email, "Ana.Souza@example.com");
    expect_text(card.cpf, "52998224725");
    expect_text(card.role, "customer");
    cr_expect(!WIRE_HAS(&card, user_card, erased));
    cr_assert(find_email(&stage, "ana.souza@EXAMPLE.COM", &card) == ERR_ok);
    cr_expect(id_equal(&card.user, &user));
    cr_assert(find_cpf(&stage, "52998224725", &card) == ERR_ok);
    cr_expect(id_equal(&card.user, &user));
    cr_expect(find_email(&stage, "nobody@example.com", &card) == ERR_unknown_user);
    cr_expect(find_cpf(&stage, OTHER_CPF, &card) == ERR_unknown_user);
    cr_expect(find_cpf(&stage, "52998224724", &card) == ERR_invalid_field);
    restart(&stage);
    cr_assert(get(&stage, &user, &card) == ERR_ok);
    expect_text(card.address, "Rua das Flores 7");
    finish(&stage);
}

ON_BOTH(user, what_is_no_person_is_refused)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = {0};
    WIRE_SET(&body, user_register, name, slice_of("Nobody"));
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_invalid_field);
    body = ana();
    body.email = slice_of("ana at example");
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_invalid_field);
    body = ana();
    body.cpf = slice_of("529.982.247-26");
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_invalid_field);
    body = ana();
    body.phone = slice_of("ring me");
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_invalid_field);
    body = ana();
    WIRE_SET(&body, user_register, role, slice_of("operator"));
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_invalid_field);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 0);
    finish(&stage);
}

ON_BOTH(user, nobody_is_known_twice)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    (void)register_person(&stage, &body);
    body.email = slice_of("other@example.com");
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_user_exists);
    body = ana();
    body.email = slice_of("ANA.souza@example.com");
    body.cpf = slice_of(OTHER_CPF);
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_user_exists);
    WIRE_SET(&body, user_register, password, slice_of(PASSWORD));
    cr_expect(ask_plain(&stage, OP_user_register, &body, NULL) == ERR_user_exists);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 1);
    finish(&stage);
}

/* The two of a batch, and the two whose passwords are hashed at the same time. */
ON_BOTH(user, nobody_is_known_twice_at_the_same_moment)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    struct asked asked = {.op = OP_user_register, .body = &body, .role = ROLE_COUNT};
    int done = 0;
    int refused = 0;
    for (int i = 0; i < 6; i++) {
        (void)send_request(&stage, &asked);
    }
    for (int i = 0; i < 6; i++) {
        err status = receive(&stage, OP_user_register, NULL, NULL);
        done += status == ERR_ok ? 1 : 0;
        refused += status == ERR_user_exists ? 1 : 0;
    }
    cr_expect(done == 1 && refused == 5, "%d done, %d refused", done, refused);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 1);
    finish(&stage);
}

static void
ask_thrice(struct stage *stage, struct wire_user_register *body)
{
    struct asked asked = {.op = OP_user_register, .body = body, .role = ROLE_COUNT, .id = id_new(), .again = true};
    struct wire_user_ref first;
    struct wire_user_ref second;
    bool is_replayed = false;
    cr_assert(ask(stage, &asked, &first) == ERR_ok);
    restart(stage);
    (void)send_request(stage, &asked);
    cr_assert(receive(stage, OP_user_register, &second, &is_replayed) == ERR_ok);
    cr_expect(is_replayed);
    cr_expect(id_equal(&first.user, &second.user) && second.version == 1);
    asked.again = false; /* somebody forgot to say so */
    cr_assert(ask(stage, &asked, &second) == ERR_ok);
    cr_expect(id_equal(&first.user, &second.user));
    body->name = slice_of("Somebody else");
    asked.again = true;
    cr_expect(ask(stage, &asked, NULL) == ERR_idempotency_mismatch);
    struct wire_user_erase erasing = {0};
    WIRE_SET(&erasing, user_erase, user, first.user);
    cr_expect(ask(stage, &(struct asked){.op = OP_user_erase, .body = &erasing, .role = ROLE_COUNT, .id = asked.id}, NULL) ==
              ERR_idempotency_mismatch);
}

ON_BOTH(user, a_registration_that_is_asked_again_is_done_once)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    ask_thrice(&stage, &body);
    body = ana_with_password();
    body.email = slice_of("second@example.com");
    body.cpf = slice_of(OTHER_CPF);
    ask_thrice(&stage, &body);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 2);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $answer") == 0, "the kit keeps a fingerprint of passwords");
    finish(&stage);
}

ON_BOTH(user, a_refusal_that_is_asked_again_is_final)
{
    struct stage stage;
    struct wire_user_erasure proof;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct asked asked = {.op = OP_user_register, .body = &body, .role = ROLE_COUNT, .id = id_new(), .again = true};
    cr_assert(ask(&stage, &asked, NULL) == ERR_user_exists);
    cr_assert(erase(&stage, &user, &proof) == ERR_ok);
    cr_expect(ask(&stage, &asked, NULL) == ERR_user_exists);
    asked.id = id_new();
    cr_expect(ask(&stage, &asked, NULL) == ERR_ok);
    finish(&stage);
}

ON_BOTH(user, people_are_listed_in_pages)
{
    struct stage stage;
    struct wire_user_page page;
    struct wire_user_card card;
    char email[64];
    struct id last = {{0}};
    start(&stage, place);
    for (int i = 0; i < 7; i++) {
        struct wire_user_register body = {0};
        snprintf(email, sizeof email, "person%d@example.com", i);
        WIRE_SET(&body, user_register, email, slice_of(email));
        (void)register_person(&stage, &body);
    }
    for (int at = 0; at < 7;) {
        struct wire_user_list list = {0};
        WIRE_SET(&list, user_list, limit, 3);
        if (at > 0) {
            WIRE_SET(&list, user_list, after, last);
        }
        cr_assert(ask_plain(&stage, OP_user_list, &list, &page) == ERR_ok);
        cr_expect(page.has_more == (at + 3 < 7));
        while (wire_list_next(&page.users, &user_card_body, &card)) {
            snprintf(email, sizeof email, "person%d@example.com", at++);
            expect_text(card.email, email);
            last = card.user;
        }
    }
    struct wire_user_list list = {0};
    WIRE_SET(&list, user_list, after, id_of_bytes("x", 1));
    cr_expect(ask_plain(&stage, OP_user_list, &list, NULL) == ERR_unknown_user);
    finish(&stage);
}

/* A thousand people with everything that fits do not fit a frame. */
ON_BOTH(user, a_page_ends_before_its_frame_is_full)
{
    struct stage stage;
    struct wire_user_page page;
    struct wire_user_card card;
    char address[501];
    char email[64];
    start(&stage, place);
    memset(address, 'x', sizeof address - 1);
    address[500] = '\0';
    struct wire_user_register body = {0};
    struct asked asked = {.op = OP_user_register, .body = &body, .role = ROLE_COUNT};
    for (int i = 0; i < 2000; i++) {
        snprintf(email, sizeof email, "person%d@example.com", i);
        WIRE_SET(&body, user_register, email, slice_of(email));
        WIRE_SET(&body, user_register, address, slice_of(address));
        WIRE_SET(&body, user_register, name, (struct slice){(const uint8_t *)address, 200});
        (void)send_request(&stage, &asked);
        if (i % 100 == 99) {
            for (int k = 0; k < 100; k++) {
                cr_assert(receive(&stage, OP_user_register, NULL, NULL) == ERR_ok);
            }
            arena_reset(&stage.arena);
        }
    }
    int seen = 0;
    struct wire_user_list list = {0};
    WIRE_SET(&list, user_list, limit, 1000);
    do {
        int before = seen;
        cr_assert(ask_plain(&stage, OP_user_list, &list, &page) == ERR_ok);
        while (wire_list_next(&page.users, &user_card_body, &card)) {
            WIRE_SET(&list, user_list, after, card.user);
            seen++;
        }
        cr_assert(seen > before);
    } while (page.has_more);
    cr_expect(seen == 2000, "%d of 2000 people", seen);
    finish(&stage);
}

/* --- changing --- */

ON_BOTH(user, a_person_changes_and_is_found_anew)
{
    struct stage stage;
    struct wire_user_card card;
    struct wire_user_ref ref;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, email, slice_of("new@example.com"));
    WIRE_SET(&change, user_change, version, 1);
    struct asked asked = {.op = OP_user_change, .body = &change, .role = ROLE_COUNT, .id = id_new(), .again = true};
    cr_assert(ask(&stage, &asked, &ref) == ERR_ok);
    cr_expect(ref.version == 2);
    cr_expect(find_email(&stage, "ana.souza@example.com", &card) == ERR_unknown_user);
    cr_assert(find_email(&stage, "new@example.com", &card) == ERR_ok);
    expect_text(card.name, "Ana Souza");
    expect_text(card.cpf, "52998224725");
    cr_assert(ask(&stage, &asked, &ref) == ERR_ok);
    cr_expect(ref.version == 2, "asked again it is done once");
    asked.id = id_new();
    cr_expect(ask(&stage, &asked, &ref) == ERR_version_conflict);
    change.has &= ~(UINT64_C(1) << user_change_BIT_version);
    asked.id = id_new();
    cr_assert(ask(&stage, &asked, &ref) == ERR_ok);
    cr_expect(ref.version == 2, "nothing changed");
    finish(&stage);
}

ON_BOTH(user, nobody_becomes_somebody_else)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    (void)register_person(&stage, &body);
    body.email = slice_of("second@example.com");
    body.cpf = slice_of(OTHER_CPF);
    struct id second = register_person(&stage, &body);
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, second);
    WIRE_SET(&change, user_change, email, slice_of("ana.souza@example.com"));
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_user_exists);
    change = (struct wire_user_change){0};
    WIRE_SET(&change, user_change, user, second);
    WIRE_SET(&change, user_change, email, slice_of("SECOND@example.com"));
    WIRE_SET(&change, user_change, cpf, slice_of(CPF));
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_user_exists);
    change = (struct wire_user_change){0};
    WIRE_SET(&change, user_change, user, id_of_bytes("nobody", 6));
    WIRE_SET(&change, user_change, name, slice_of("Nobody"));
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_unknown_user);
    finish(&stage);
}

/* --- who may --- */

static err
ask_as(struct stage *stage, enum role role, const struct id *user, enum op op, const void *body)
{
    return ask(stage, &(struct asked){.op = op, .body = body, .role = role, .user = user}, NULL);
}

ON_BOTH(user, people_are_seen_by_themselves_and_by_employees)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct id other = id_of_bytes("other", 5);
    struct wire_user_get read = {0};
    struct wire_user_find find = {0};
    struct wire_user_list list = {0};
    WIRE_SET(&read, user_get, user, user);
    WIRE_SET(&find, user_find, cpf, slice_of(CPF));
    cr_expect(ask_as(&stage, ROLE_ANONYMOUS, NULL, OP_user_get, &read) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &other, OP_user_get, &read) == ERR_unknown_user);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, NULL, OP_user_get, &read) == ERR_unknown_user);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_get, &read) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &other, OP_user_get, &read) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_find, &find) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &other, OP_user_find, &find) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_list, &list) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &other, OP_user_list, &list) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &other, OP_user_erasure, &read) == ERR_unknown_user);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_erasure, &read) == ERR_not_found);
    finish(&stage);
}

ON_BOTH(user, people_are_changed_by_themselves_and_by_admins)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct id other = id_of_bytes("other", 5);
    struct wire_user_change change = {0};
    struct wire_user_erase erasing = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, name, slice_of("Ana Maria"));
    WIRE_SET(&erasing, user_erase, user, user);
    cr_expect(ask_as(&stage, ROLE_ANONYMOUS, NULL, OP_user_change, &change) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &other, OP_user_change, &change) == ERR_unknown_user);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &other, OP_user_change, &change) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_change, &change) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_ADMIN, &other, OP_user_change, &change) == ERR_ok);
    cr_expect(ask_as(&stage, ROLE_ANONYMOUS, NULL, OP_user_erase, &erasing) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &other, OP_user_erase, &erasing) == ERR_unknown_user);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &other, OP_user_erase, &erasing) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_erase, &erasing) == ERR_ok);
    finish(&stage);
}

ON_BOTH(user, roles_are_given_by_admins)
{
    struct stage stage;
    struct wire_user_card card;
    start(&stage, place);
    struct wire_user_register body = ana();
    WIRE_SET(&body, user_register, role, slice_of("admin"));
    cr_expect(ask_as(&stage, ROLE_ANONYMOUS, NULL, OP_user_register, &body) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, NULL, OP_user_register, &body) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_ADMIN, NULL, OP_user_register, &body) == ERR_ok);
    cr_assert(find_cpf(&stage, CPF, &card) == ERR_ok);
    expect_text(card.role, "admin");
    struct id user = card.user;
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, role, slice_of("employee"));
    cr_expect(ask_as(&stage, ROLE_EMPLOYEE, &user, OP_user_change, &change) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_change, &change) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_ADMIN, &user, OP_user_change, &change) == ERR_ok);
    cr_assert(get(&stage, &user, &card) == ERR_ok);
    expect_text(card.role, "employee");
    finish(&stage);
}

/* --- tokens --- */

static void
read_key(struct stage *stage, struct token_key *key)
{
    struct wire_nothing nothing = {0};
    struct wire_user_key_set set;
    struct wire_user_key one;
    cr_assert(ask(stage, &(struct asked){.op = OP_user_keys, .body = &nothing, .role = ROLE_ANONYMOUS}, &set) == ERR_ok);
    cr_assert(set.keys.count == 1 && wire_list_next(&set.keys, &user_key_body, &one));
    snprintf(key->kid, sizeof key->kid, "%.*s", (int)one.kid.size, (const char *)one.kid.data);
    snprintf(key->public_pem, sizeof key->public_pem, "%.*s", (int)one.pem.size, (const char *)one.pem.data);
}

ON_BOTH(user, who_signs_in_gets_a_token)
{
    struct stage stage;
    struct wire_user_session session;
    struct token_key key;
    struct token_claims claims;
    struct err_text why;
    char kid[TOKEN_KID_SIZE];
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    struct id user = register_person(&stage, &body);
    read_key(&stage, &key);
    cr_assert(sign_in(&stage, "ANA.SOUZA@example.com", PASSWORD, &session) == ERR_ok);
    cr_assert(token_kid(session.token, kid));
    cr_expect_str_eq(kid, key.kid);
    err code = token_verify(session.token, slice_of(key.public_pem), clock_utc_ms(), &claims, &why);
    cr_assert(code == ERR_ok, "%s", why.text);
    cr_expect(claims.role == ROLE_CUSTOMER && claims.has_user && id_equal(&claims.user, &user));
    cr_expect(claims.expires_ms == session.expires);
    cr_expect(sign_in(&stage, "ana.souza@example.com", "correct horsE", NULL) == ERR_wrong_credentials);
    cr_expect(sign_in(&stage, "nobody@example.com", PASSWORD, NULL) == ERR_wrong_credentials);
    cr_expect(sign_in(&stage, "no address", PASSWORD, NULL) == ERR_wrong_credentials);
    struct wire_user_sign_in by_cpf = {0};
    WIRE_SET(&by_cpf, user_sign_in, cpf, slice_of(CPF));
    WIRE_SET(&by_cpf, user_sign_in, password, slice_of(PASSWORD));
    cr_expect(ask_plain(&stage, OP_user_sign_in, &by_cpf, NULL) == ERR_ok);
    WIRE_SET(&by_cpf, user_sign_in, email, slice_of("ana.souza@example.com"));
    cr_expect(ask_plain(&stage, OP_user_sign_in, &by_cpf, NULL) == ERR_invalid_field);
    restart(&stage);
    struct token_key again;
    read_key(&stage, &again);
    cr_expect_str_eq(again.kid, key.kid);
    cr_expect_str_eq(again.public_pem, key.public_pem);
    finish(&stage);
}

ON_BOTH(user, a_password_is_changed)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    cr_expect(sign_in(&stage, "ana.souza@example.com", PASSWORD, NULL) == ERR_wrong_credentials, "there is none yet");
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, password, slice_of(PASSWORD));
    struct wire_user_ref ref;
    struct asked asked = {.op = OP_user_change, .body = &change, .role = ROLE_COUNT, .id = id_new(), .again = true};
    cr_assert(ask(&stage, &asked, &ref) == ERR_ok);
    cr_expect(ref.version == 2);
    cr_assert(ask(&stage, &asked, &ref) == ERR_ok);
    cr_expect(ref.version == 2, "asked again it is done once");
    cr_expect(sign_in(&stage, "ana.souza@example.com", PASSWORD, NULL) == ERR_ok);
    change.password = slice_of("battery staple");
    cr_assert(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_ok);
    cr_expect(sign_in(&stage, "ana.souza@example.com", PASSWORD, NULL) == ERR_wrong_credentials);
    cr_expect(sign_in(&stage, "ana.souza@example.com", "battery staple", NULL) == ERR_ok);
    finish(&stage);
}

static int64_t
time_of(struct stage *stage, const char *email)
{
    int64_t began_us = clock_steady_us();
    cr_assert(sign_in(stage, email, "wrong", NULL) == ERR_wrong_credentials);
    return clock_steady_us() - began_us;
}

/* The first is as quick as each other one within a factor of two. */
static bool
are_alike(const int64_t best_us[4])
{
    for (int i = 1; i < 4; i++) {
        if (best_us[i] >= best_us[0] * 2 || best_us[0] >= best_us[i] * 2) {
            return false;
        }
    }
    return true;
}

/* The quickest of some that were taken in turn, more of them when the machine has much else to do; without a hash it would be a
 * hundredth, however often it is asked. */
ON_BOTH(user, time_does_not_tell_who_is_known)
{
    enum { ROUNDS_MIN = 8, ROUNDS_MAX = 60 };
    static const char *const emails[] = {"ana.souza@example.com", "without@example.com", "nobody@example.com", "nobody"};
    struct stage stage;
    int64_t best_us[4] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    (void)register_person(&stage, &body);
    body = (struct wire_user_register){0};
    WIRE_SET(&body, user_register, email, slice_of("without@example.com"));
    (void)register_person(&stage, &body);
    for (int i = 0; i < 4 * ROUNDS_MIN || (i < 4 * ROUNDS_MAX && !are_alike(best_us)); i++) {
        int64_t took_us = time_of(&stage, emails[i % 4]);
        best_us[i % 4] = took_us < best_us[i % 4] ? took_us : best_us[i % 4];
    }
    cr_expect(are_alike(best_us), "known %d, without a password %d, unknown %d, no address %d us", (int)best_us[0], (int)best_us[1],
              (int)best_us[2], (int)best_us[3]);
    finish(&stage);
}

static int64_t
hashed(void)
{
    return metric_value(metric(METRIC_COUNTER, "larder_user_passwords_hashed_total", "", ""));
}

static err
register_as(struct stage *stage, const char *email, const char *cpf)
{
    struct wire_user_register body = {0};
    WIRE_SET(&body, user_register, email, slice_of(email));
    WIRE_SET(&body, user_register, password, slice_of(PASSWORD));
    if (cpf != NULL) {
        WIRE_SET(&body, user_register, cpf, slice_of(cpf));
    }
    return ask(stage, &(struct asked){.op = OP_user_register, .body = &body, .role = ROLE_ANONYMOUS}, NULL);
}

/* Counted, as a clock is not to be relied on: whatever a password is shown or given for, it is hashed once. */
ON_BOTH(user, a_password_costs_one_hash_whoever_is_known)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    struct id user = register_person(&stage, &body);
    int64_t before = hashed();
    cr_expect(register_as(&stage, "ana.souza@example.com", NULL) == ERR_user_exists);
    cr_expect(hashed() == before + 1, "a known e-mail address");
    cr_expect(register_as(&stage, "other@example.com", CPF) == ERR_user_exists);
    cr_expect(hashed() == before + 2, "a known CPF");
    cr_expect(register_as(&stage, "other@example.com", OTHER_CPF) == ERR_ok);
    cr_expect(hashed() == before + 3, "nobody known");
    cr_expect(sign_in(&stage, "ana.souza@example.com", "wrong", NULL) == ERR_wrong_credentials);
    cr_expect(sign_in(&stage, "nobody@example.com", "wrong", NULL) == ERR_wrong_credentials);
    cr_expect(hashed() == before + 5);
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, email, slice_of("other@example.com"));
    WIRE_SET(&change, user_change, password, slice_of(PASSWORD));
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_user_exists);
    cr_expect(hashed() == before + 6, "a change to the e-mail address of somebody else");
    change.email = slice_of("free@example.com");
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_ok);
    cr_expect(hashed() == before + 7);
    struct wire_user_erasure proof;
    cr_expect(erase(&stage, &user, &proof) == ERR_ok);
    cr_expect(sign_in(&stage, "free@example.com", PASSWORD, NULL) == ERR_wrong_credentials);
    cr_expect(hashed() == before + 8, "somebody who was erased");
    finish(&stage);
}

ON_BOTH(user, time_does_not_tell_who_has_registered)
{
    enum { ROUNDS_MIN = 8, ROUNDS_MAX = 60 };
    struct stage stage;
    int64_t best_us[4] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    char email[64];
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    (void)register_person(&stage, &body);
    for (int i = 0; i < 4 * ROUNDS_MIN || (i < 4 * ROUNDS_MAX && !are_alike(best_us)); i++) {
        bool is_known = i % 2 == 0;
        (void)snprintf(email, sizeof email, "new-%d@example.com", i);
        int64_t from_us = clock_steady_us();
        err status =
            register_as(&stage, is_known && i % 4 == 0 ? "ana.souza@example.com" : email, is_known && i % 4 == 2 ? CPF : NULL);
        int64_t took_us = clock_steady_us() - from_us;
        cr_expect(status == (is_known ? ERR_user_exists : ERR_ok));
        best_us[i % 4] = took_us < best_us[i % 4] ? took_us : best_us[i % 4];
    }
    cr_expect(are_alike(best_us), "known e-mail %d, unknown %d, known CPF %d, unknown %d us", (int)best_us[0], (int)best_us[1],
              (int)best_us[2], (int)best_us[3]);
    finish(&stage);
}

ON_BOTH(user, too_many_passwords_at_once_are_refused)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_sign_in body = {0};
    WIRE_SET(&body, user_sign_in, email, slice_of("nobody@example.com"));
    WIRE_SET(&body, user_sign_in, password, slice_of("x"));
    int wrong = 0;
    int overloaded = 0;
    for (int i = 0; i < 100; i++) {
        (void)send_request(&stage,
                           &(struct asked){.op = OP_user_sign_in, .body = &body, .role = ROLE_ANONYMOUS, .timeout_ms = FAR_MS});
    }
    for (int i = 0; i < 100; i++) {
        err status = receive(&stage, OP_user_sign_in, NULL, NULL);
        wrong += status == ERR_wrong_credentials ? 1 : 0;
        overloaded += status == ERR_overloaded ? 1 : 0;
    }
    cr_expect(wrong + overloaded == 100, "of 100 there are %d wrong and %d overloaded", wrong, overloaded);
    cr_expect(wrong >= 64 && overloaded > 0, "%d wrong (at least 64 have a place), %d overloaded", wrong, overloaded);
    finish(&stage);
}

ON_BOTH(user, nobody_works_for_whom_does_not_wait_any_more)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_sign_in body = {0};
    WIRE_SET(&body, user_sign_in, email, slice_of("nobody@example.com"));
    WIRE_SET(&body, user_sign_in, password, slice_of("x"));
    struct asked asked = {.op = OP_user_sign_in, .body = &body, .role = ROLE_ANONYMOUS, .timeout_ms = FAR_MS};
    int64_t before = hashed();
    for (int i = 0; i < 20; i++) {
        (void)send_request(&stage, &asked);
    }
    asked.timeout_ms = 200;
    struct id impatient = send_request(&stage, &asked);
    for (int i = 0; i < 21; i++) {
        err status = receive(&stage, OP_user_sign_in, NULL, NULL);
        bool is_impatient = id_equal(&stage.heard, &impatient); /* told at once, unless the machine stood still meanwhile */
        bool is_told = status == ERR_overloaded || status == ERR_deadline_exceeded;
        bool is_expected = is_impatient ? is_told : status == ERR_wrong_credentials;
        cr_expect(is_expected, "%s", err_symbol(status));
    }
    cr_expect(hashed() == before + 20, "%d hashes for 20 that waited", (int)(hashed() - before));
    finish(&stage);
}

ON_BOTH(user, tokens_are_issued_to_operators)
{
    struct stage stage;
    struct wire_user_session session;
    struct token_key key;
    struct token_claims claims;
    struct err_text why;
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct wire_user_issue issue = {0};
    WIRE_SET(&issue, user_issue, role, slice_of("operator"));
    WIRE_SET(&issue, user_issue, ttl_ms, 5000);
    cr_expect(ask_as(&stage, ROLE_ADMIN, &user, OP_user_issue, &issue) == ERR_forbidden);
    cr_expect(ask_as(&stage, ROLE_ANONYMOUS, NULL, OP_user_issue, &issue) == ERR_forbidden);
    cr_assert(ask_plain(&stage, OP_user_issue, &issue, &session) == ERR_ok);
    read_key(&stage, &key);
    cr_assert(token_verify(session.token, slice_of(key.public_pem), clock_utc_ms(), &claims, &why) == ERR_ok);
    cr_expect(claims.role == ROLE_OPERATOR && !claims.has_user && claims.expires_ms - claims.issued_ms <= 5000);
    issue.role = slice_of("customer");
    cr_expect(ask_plain(&stage, OP_user_issue, &issue, NULL) == ERR_invalid_field);
    WIRE_SET(&issue, user_issue, user, user);
    cr_expect(ask_plain(&stage, OP_user_issue, &issue, NULL) == ERR_ok);
    issue.user = id_of_bytes("nobody", 6);
    cr_expect(ask_plain(&stage, OP_user_issue, &issue, NULL) == ERR_unknown_user);
    issue.role = slice_of("anonymous");
    cr_expect(ask_plain(&stage, OP_user_issue, &issue, NULL) == ERR_invalid_field);
    finish(&stage);
}

/* --- erasing --- */

ON_BOTH(user, who_is_erased_is_forgotten)
{
    struct stage stage;
    struct wire_user_erasure proof;
    struct wire_user_erasure again;
    struct wire_user_card card;
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    struct id user = register_person(&stage, &body);
    cr_assert(erase(&stage, &user, &proof) == ERR_ok);
    cr_expect(proof.fields.count == 7);
    cr_expect(proof.event == 1);
    expect_text(proof.reason, "asked for");
    cr_assert(get(&stage, &user, &card) == ERR_ok);
    cr_expect(WIRE_HAS(&card, user_card, erased) && card.erased == proof.erased);
    cr_expect(!WIRE_HAS(&card, user_card, name) && !WIRE_HAS(&card, user_card, email) && !WIRE_HAS(&card, user_card, cpf));
    cr_expect(find_cpf(&stage, CPF, &card) == ERR_unknown_user);
    cr_expect(find_email(&stage, "ana.souza@example.com", &card) == ERR_unknown_user);
    cr_expect(sign_in(&stage, "ana.souza@example.com", PASSWORD, NULL) == ERR_wrong_credentials);
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, name, slice_of("Ana"));
    cr_expect(ask_plain(&stage, OP_user_change, &change, NULL) == ERR_user_erased);
    struct wire_user_issue issue = {0};
    WIRE_SET(&issue, user_issue, role, slice_of("customer"));
    WIRE_SET(&issue, user_issue, user, user);
    cr_expect(ask_plain(&stage, OP_user_issue, &issue, NULL) == ERR_user_erased);
    restart(&stage);
    cr_assert(erase(&stage, &user, &again) == ERR_ok);
    cr_expect(again.erased == proof.erased && again.event == proof.event && again.fields.count == proof.fields.count);
    struct wire_user_get read = {0};
    WIRE_SET(&read, user_get, user, user);
    cr_assert(ask_as(&stage, ROLE_CUSTOMER, &user, OP_user_erasure, &read) == ERR_ok);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $outbox") == 1);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user_key") == 0);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $request WHERE mark IS NOT NULL") == 0);
    struct id anew = register_person(&stage, &body);
    cr_expect(!id_equal(&anew, &user));
    finish(&stage);
}

/* Its password is being hashed when the person is erased. */
ON_BOTH(user, a_change_that_comes_too_late_changes_nothing)
{
    struct stage stage;
    struct wire_user_erase erasing = {0};
    start(&stage, place);
    struct wire_user_register body = ana();
    struct id user = register_person(&stage, &body);
    struct wire_user_change change = {0};
    WIRE_SET(&change, user_change, user, user);
    WIRE_SET(&change, user_change, password, slice_of(PASSWORD));
    WIRE_SET(&erasing, user_erase, user, user);
    (void)send_request(&stage, &(struct asked){.op = OP_user_change, .body = &change, .role = ROLE_COUNT});
    (void)send_request(&stage, &(struct asked){.op = OP_user_erase, .body = &erasing, .role = ROLE_COUNT});
    cr_expect(receive(&stage, OP_user_erase, NULL, NULL) == ERR_ok);
    cr_expect(receive(&stage, OP_user_change, NULL, NULL) == ERR_user_erased);
    finish(&stage);
}

static bool
is_in_file(const char *folder, const char *name, struct slice bytes)
{
    char path[256];
    struct stat file;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) != 0 || file.st_size == 0) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    uint8_t *content = malloc((size_t)file.st_size);
    cr_assert(read(fd, content, (size_t)file.st_size) == file.st_size);
    bool found = memmem(content, (size_t)file.st_size, bytes.data, bytes.size) != NULL;
    free(content);
    close(fd);
    return found;
}

static bool
is_in_files(const char *folder, struct slice bytes)
{
    return is_in_file(folder, "user_0.db", bytes) || is_in_file(folder, "user_0.db-wal", bytes);
}

/* What could open the sealed data, or be guessed from, is in no file: not in the log, not in a free page. Many people, so that pages
 * were split and their cells moved. Another process copies the files: who closes one here drops its locks. */
static void
no_key_stays_in_the_files(struct place *place)
{
    struct stage stage;
    struct id users[300];
    uint8_t wrapped[300][USER_WRAPPED_SIZE];
    uint8_t hashes[300][USER_HASH_SIZE];
    char email[64];
    start(&stage, place);
    for (int i = 0; i < 300; i++) {
        struct wire_user_register body = ana();
        body.has &= ~(UINT64_C(1) << user_register_BIT_cpf);
        snprintf(email, sizeof email, "person%d@example.com", i);
        body.email = slice_of(email);
        users[i] = register_person(&stage, &body);
    }
    struct db *db = open_tables(&stage);
    struct db_statement *rows =
        db_statement(db, "SELECT u.n, k.wrapped, u.email_hash FROM $user u JOIN $user_key k ON k.n = u.n ORDER BY u.n");
    place_expect(db, db_query(rows), ERR_ok);
    for (int i = 0; db_next(rows); i++) {
        memcpy(wrapped[i], db_bytes(rows, 1).data, USER_WRAPPED_SIZE);
        memcpy(hashes[i], db_bytes(rows, 2).data, USER_HASH_SIZE);
    }
    db_close(&db);
    for (int i = 0; i < 300; i += 3) {
        cr_assert(erase(&stage, &users[i], NULL) == ERR_ok);
    }
    char copy[] = "/tmp/larder-copy.XXXXXX";
    char command[256];
    cr_assert(mkdtemp(copy) != NULL);
    snprintf(command, sizeof command, "cp %s/user_0.db %s/user_0.db-wal %s", place->folder, place->folder, copy);
    cr_assert(system(command) == 0);
    for (int i = 0; i < 300; i++) {
        bool is_erased = i % 3 == 0;
        cr_expect(is_in_files(copy, (struct slice){wrapped[i], USER_WRAPPED_SIZE}) == !is_erased, "person %d: key", i);
        cr_expect(is_in_files(copy, (struct slice){hashes[i], USER_HASH_SIZE}) == !is_erased, "person %d: hash", i);
    }
    snprintf(command, sizeof command, "rm -r %s", copy);
    cr_assert(system(command) == 0);
    finish(&stage);
}

ON_ONE(user_sqlite, no_key_stays_in_the_files, DB_SQLITE)

/* --- when the database is lost --- */

/* The connection is killed while passwords are hashed: each registration is answered, and asked again done once. */
ON_MYSQL(user, a_lost_connection_loses_no_registration)
{
    struct stage stage;
    struct wire_user_ref ref;
    struct id ids[8];
    char emails[8][64];
    start(&stage, place);
    for (int i = 0; i < 8; i++) {
        struct wire_user_register body = {0};
        snprintf(emails[i], sizeof emails[i], "person%d@example.com", i);
        WIRE_SET(&body, user_register, email, slice_of(emails[i]));
        WIRE_SET(&body, user_register, password, slice_of(PASSWORD));
        ids[i] = send_request(&stage, &(struct asked){.op = OP_user_register, .body = &body, .role = ROLE_COUNT});
    }
    place_kill(place, count(&stage, "SELECT connection FROM $shard"));
    for (int i = 0; i < 8; i++) {
        err status = receive(&stage, OP_user_register, NULL, NULL);
        cr_expect(status == ERR_ok || status == ERR_unavailable, "%s", err_symbol(status));
    }
    for (int i = 0; i < 8; i++) {
        struct wire_user_register body = {0};
        WIRE_SET(&body, user_register, email, slice_of(emails[i]));
        WIRE_SET(&body, user_register, password, slice_of(PASSWORD));
        struct asked asked = {.op = OP_user_register, .body = &body, .role = ROLE_COUNT, .id = ids[i], .again = true};
        err status = ask(&stage, &asked, &ref);
        cr_expect(status == ERR_ok, "%s", err_symbol(status));
        cr_expect(sign_in(&stage, emails[i], PASSWORD, NULL) == ERR_ok);
    }
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 8);
    finish(&stage);
}

/* Somebody else holds the lock while a password is hashed: its registration is told so, and asked again it is done. */
ON_BOTH(user, a_locked_database_loses_no_registration)
{
    struct stage stage;
    start(&stage, place);
    struct wire_user_register body = ana_with_password();
    struct asked asked = {.op = OP_user_register, .body = &body, .role = ROLE_COUNT, .id = id_new()};
    struct db *other = open_beside(&stage, false);
    place_expect(other, db_run(db_statement(other, "UPDATE $shard SET seq = seq"), NULL), ERR_ok);
    cr_expect(ask(&stage, &asked, NULL) == ERR_unavailable);
    db_rollback(other);
    db_close(&other);
    asked.again = true;
    err status = ERR_unavailable;
    for (int i = 0; status == ERR_unavailable && i < 50; i++) {
        status = ask(&stage, &asked, NULL);
    }
    cr_expect(status == ERR_ok, "%s", err_symbol(status));
    cr_expect(sign_in(&stage, "ana.souza@example.com", PASSWORD, NULL) == ERR_ok);
    cr_expect(count(&stage, "SELECT COUNT(*) FROM $user") == 1);
    finish(&stage);
}
