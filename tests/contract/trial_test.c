/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A message that ends its actor whenever it is handled, on both databases: it is found out and given up, and those around it are done.
 *
 * PURPOSE   The toy actor runs in a process of its own, which a supervisor starts again whenever it ends by itself, as the one of a
 *           real actor does. The test is its factory and its client, by tcp.
 * STATE     A page of shared memory: how often the actor was started, how often it ended, and what the test wants.
 * LIMITS    The supervisor is forked before there is a ZeroMQ context, and never has one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <czmq.h>

#include "../support/kit_place.h"
#include "../support/toy_actor.h"
#include "kit/base/arena.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "message.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"
#include "kit/durable/trial.h"

#define WAIT_MS patience_ms(30000)
#define STARTS_MAX 40
#define EVENTS_MAX 600
#define HEAD_MS 100

/* Between the test and the supervisor. */
struct shared {
    _Atomic int pid;        /* of the actor's process; 0 between two */
    _Atomic int starts;     /* how often it was started */
    _Atomic int ends;       /* how often it ended by itself, or was killed */
    _Atomic bool is_over;   /* no other start */
    _Atomic bool is_healed; /* what kills does not, from the next start on */
};

struct stage {
    struct place *place;
    struct shared *shared;
    pid_t supervisor;
    struct arena arena;
    struct wire_buffer list;
    zsock_t *router;
    zsock_t *publisher;
    struct id incarnation;
    struct slice headers[EVENTS_MAX];
    struct slice bodies[EVENTS_MAX];
    int64_t seq;
    int64_t head_ms;
    struct larder_client *client;
};

/* --- the actor's process --- */

static void
block_term(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigprocmask(SIG_BLOCK, signals, NULL);
}

/* Ends by SIGTERM, or by what it is given. */
_Noreturn static void
run_actor(const struct place *place, bool is_healed)
{
    struct actor *actor = NULL;
    struct err_text why = {""};
    sigset_t signals;
    int number = 0;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    block_term(&signals);
    (void)setenv("ZSYS_SIGHANDLER", "false", 1);
    log_init(false, LOG_LEVEL_ERROR);
    if (is_healed) {
        toy_heal();
    }
    for (int i = 0; i < 200; i++) {
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        err code = actor_start(&toy_class, &place->settings, 0, fd, &actor, &why);
        if (code == ERR_ok) {
            (void)sigwait(&signals, &number);
            _exit(actor_stop(&actor) == ACTOR_STOPPED ? 0 : 3);
        }
        close(fd);
        (void)poll(NULL, 0, 20); /* the ports of the one before */
    }
    fprintf(stderr, "the actor does not start: %s\n", why.text);
    _exit(4);
}

/* Starts it again whenever it ended without being asked to. */
_Noreturn static void
supervise(const struct place *place, struct shared *shared)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails must not leave it behind */
    while (!atomic_load(&shared->is_over) && atomic_load(&shared->starts) < STARTS_MAX) {
        pid_t pid = fork();
        if (pid == 0) {
            run_actor(place, atomic_load(&shared->is_healed));
        }
        atomic_store(&shared->pid, (int)pid);
        atomic_fetch_add(&shared->starts, 1);
        int status = 0;
        (void)waitpid(pid, &status, 0);
        atomic_store(&shared->pid, 0);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
            atomic_fetch_add(&shared->ends, 1);
        }
    }
    _exit(0);
}

/* --- life --- */

static struct shared *
start_supervisor(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .incarnation = id_new()};
    stage->shared = mmap(NULL, sizeof *stage->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert(stage->shared != MAP_FAILED);
    stage->supervisor = fork();
    if (stage->supervisor == 0) {
        supervise(place, stage->shared);
    }
    cr_assert(stage->supervisor > 0);
    return stage->shared;
}

static void
start_factory(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    stage->router = zsock_new(ZMQ_ROUTER);
    stage->publisher = zsock_new(ZMQ_PUB);
    zsock_set_linger(stage->router, 0);
    zsock_set_linger(stage->publisher, 0);
    topology_bind(&stage->place->settings, "factory", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(stage->router, "%s", endpoint) >= 0);
    topology_bind(&stage->place->settings, "factory", 0, ENDPOINT_EVENTS, endpoint);
    cr_assert(zsock_bind(stage->publisher, "%s", endpoint) >= 0);
}

static void
start(struct stage *stage, struct place *place)
{
    struct err_text why = {""};
    char endpoint[ENDPOINT_MAX];
    (void)start_supervisor(stage, place);
    log_init(false, LOG_LEVEL_ERROR);
    start_factory(stage);
    topology_connect(&place->settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    const char *const peers[] = {endpoint};
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

/* The actor's process gets this signal; the test goes on when it is gone. */
static void
end_actor(struct stage *stage, int number)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    int pid = 0;
    while ((pid = atomic_load(&stage->shared->pid)) == 0) {
        cr_assert(link_steady_ms() < until_ms, "it is not started again");
        (void)poll(NULL, 0, 2);
    }
    cr_assert(kill(pid, number) == 0 || errno == ESRCH);
    while (atomic_load(&stage->shared->pid) == pid) {
        cr_assert(link_steady_ms() < until_ms, "it does not end");
        (void)poll(NULL, 0, 2);
    }
}

static void
finish(struct stage *stage)
{
    atomic_store(&stage->shared->is_over, true);
    end_actor(stage, SIGTERM);
    cr_assert(waitpid(stage->supervisor, NULL, 0) == stage->supervisor);
    larder_client_destroy(&stage->client);
    zsock_destroy(&stage->router);
    zsock_destroy(&stage->publisher);
    for (int64_t i = 0; i < stage->seq; i++) {
        free((void *)(uintptr_t)stage->headers[i].data);
        free((void *)(uintptr_t)stage->bodies[i].data);
    }
    arena_fini(&stage->arena);
    wire_buffer_fini(&stage->list);
    munmap(stage->shared, sizeof *stage->shared);
}

/* --- the factory --- */

static struct slice
encode_kept(const struct wire_body *body, const void *source)
{
    struct wire_buffer buffer = {0};
    wire_encode(body, source, &buffer);
    return wire_buffer_slice(&buffer);
}

static struct wire_event_header
header_of(const struct stage *stage, const char *type, const char *key, int64_t seq)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage->incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of(type));
    WIRE_SET(&header, event_header, key, slice_of(key));
    WIRE_SET(&header, event_header, time, clock_utc_ms());
    return header;
}

/* Its subscriber finds out by the next HEAD. */
static void
produce(struct stage *stage, const char *product)
{
    cr_assert(stage->seq < EVENTS_MAX);
    struct wire_event_header header = header_of(stage, "factory.produced", product, stage->seq + 1);
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_new());
    WIRE_SET(&fact, factory_fact, product, slice_of(product));
    WIRE_SET(&fact, factory_fact, quantity, 1);
    stage->headers[stage->seq] = encode_kept(&event_header_body, &header);
    stage->bodies[stage->seq] = encode_kept(&factory_fact_body, &fact);
    stage->seq++;
}

static void
publish_head(struct stage *stage)
{
    int64_t now_ms = link_steady_ms();
    if (now_ms - stage->head_ms < HEAD_MS) {
        return;
    }
    stage->head_ms = now_ms;
    struct wire_event_header header = header_of(stage, "head", "", stage->seq);
    struct wire_head body = {0};
    WIRE_SET(&body, head, head, stage->seq);
    WIRE_SET(&body, head, oldest, 1);
    WIRE_SET(&body, head, positions, (struct wire_list){0});
    struct slice frames[] = {slice_of("head"), arena_encode(&stage->arena, &event_header_body, &header),
                             arena_encode(&stage->arena, &head_body, &body)};
    for (int i = 0; i < 3; i++) {
        cr_assert(zmq_send(zsock_resolve(stage->publisher), frames[i].data, frames[i].size, i < 2 ? ZMQ_SNDMORE : 0) >= 0);
    }
}

static void
answer_fetch(struct stage *stage, struct message *question, const struct wire_request_header *asked)
{
    struct wire_fetch fetch;
    struct err_text why = {""};
    struct wire_fetched page = {0};
    struct wire_list events = {0};
    struct wire_reply_header header = {0};
    cr_assert(wire_decode(&fetch_body, message_body(question), &fetch, &why) == ERR_ok, "%s", why.text);
    stage->list.size = 0;
    for (int64_t i = fetch.position; i < stage->seq && i < fetch.position + fetch.limit; i++) {
        struct wire_fetched_event event = {0};
        WIRE_SET(&event, fetched_event, header, stage->headers[i]);
        WIRE_SET(&event, fetched_event, body, stage->bodies[i]);
        wire_list_add(&events, &fetched_event_body, &event, &stage->list);
    }
    wire_list_end(&events, &stage->list);
    WIRE_SET(&page, fetched, incarnation, stage->incarnation);
    WIRE_SET(&page, fetched, head, stage->seq);
    WIRE_SET(&page, fetched, events, events);
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, asked->id);
    WIRE_SET(&header, reply_header, status, slice_of("ok"));
    enum message_sent sent =
        message_reply(zsock_resolve(stage->router), question, arena_encode(&stage->arena, &reply_header_body, &header),
                      arena_encode(&stage->arena, &fetched_body, &page));
    cr_assert(sent == MESSAGE_SENT || sent == MESSAGE_GONE, "who asked may be dead by now, but nothing else");
}

static void
serve(struct stage *stage)
{
    struct message question;
    publish_head(stage);
    while (message_receive(zsock_resolve(stage->router), true, &question) == MESSAGE_OK) {
        struct wire_request_header header;
        struct err_text why = {""};
        cr_assert(wire_decode(&request_header_body, message_header(&question), &header, &why) == ERR_ok, "%s", why.text);
        if (slice_equal(header.op, slice_of("any.fetch"))) {
            answer_fetch(stage, &question, &header);
        }
        message_fini(&question);
    }
    arena_reset(&stage->arena);
}

/* --- the client --- */

/* One request to its end; the factory is served meanwhile. */
static err
ask(struct stage *stage, const struct larder_request *request, char *detail, int64_t *total)
{
    struct larder_reply reply;
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    cr_assert(larder_client_send(stage->client, request) == ERR_ok);
    while (larder_client_receive(stage->client, 5, &reply) != ERR_ok) {
        cr_assert(link_steady_ms() < until_ms, "there is no end of it");
        serve(stage);
    }
    if (detail != NULL) {
        snprintf(detail, ERR_TEXT_MAX, "%.*s", (int)reply.problem.detail.size, (const char *)reply.problem.detail.data);
    }
    struct wire_stock_level level;
    if (reply.status == ERR_ok && total != NULL && wire_decode(&stock_level_body, reply.frame, &level, NULL) == ERR_ok) {
        *total = level.on_hand;
    }
    return reply.status;
}

static err
adjust(struct stage *stage, const char *product, int64_t delta, const char *reason)
{
    struct wire_stock_adjust body = {0};
    WIRE_SET(&body, stock_adjust, product, slice_of(product));
    WIRE_SET(&body, stock_adjust, delta, delta);
    if (reason != NULL) {
        WIRE_SET(&body, stock_adjust, reason, slice_of(reason));
    }
    return ask(stage, &(struct larder_request){.op = OP_stock_adjust, .body = &body, .options = {.timeout_ms = WAIT_MS}}, NULL, NULL);
}

static int64_t
total_of(struct stage *stage, const char *product)
{
    struct wire_stock_get get = {0};
    int64_t total = -1;
    WIRE_SET(&get, stock_get, product, slice_of(product));
    (void)ask(stage, &(struct larder_request){.op = OP_stock_get, .body = &get, .options = {.attempt_ms = 200}}, NULL, &total);
    return total;
}

static void
await_total(struct stage *stage, const char *product, int64_t total)
{
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    int64_t now = 0;
    while ((now = total_of(stage, product)) != total) {
        cr_assert(link_steady_ms() < until_ms, "%s is %lld instead of %lld after %d starts", product, (long long)now, (long long)total,
                  atomic_load(&stage->shared->starts));
        serve(stage);
    }
}

/* --- the database --- */

static int64_t
number(struct stage *stage, const char *sql)
{
    struct db *db = place_open(stage->place);
    int64_t found = place_number(db, sql);
    db_close(&db);
    return found;
}

static void
expect_number(struct stage *stage, const char *sql, int64_t wanted)
{
    int64_t found = number(stage, sql);
    cr_expect(found == wanted, "%s: %lld instead of %lld", sql, (long long)found, (long long)wanted);
}

/* No event and no request was done twice. */
static void
expect_once(struct stage *stage, int64_t entries)
{
    expect_number(stage, "SELECT COUNT(*) FROM $entry", entries);
    expect_number(stage, "SELECT COUNT(DISTINCT request) FROM $entry", entries);
}

/* The letter on its way to a dlq that is not there; its slices live in the stage's arena. */
static struct wire_burial
only_letter(struct stage *stage)
{
    struct wire_burial burial = {0};
    struct err_text why = {""};
    struct db *db = place_open(stage->place);
    cr_assert(place_number(db, "SELECT COUNT(*) FROM $burial") == 1);
    struct db_statement *read = db_statement(db, "SELECT frame FROM $burial");
    place_expect(db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    cr_assert(wire_decode(&burial_body, arena_copy(&stage->arena, db_bytes(read, 0)), &burial, &why) == ERR_ok, "%s", why.text);
    db_done(read);
    db_close(&db);
    return burial;
}

static void
expect_poison(const struct wire_burial *burial, const char *kind, const char *key)
{
    cr_expect(slice_equal(burial->kind, slice_of(kind)));
    cr_expect(slice_equal(burial->reason, slice_of("poison")));
    cr_expect(slice_equal(burial->destination, slice_of("stock/0")));
    cr_expect(slice_equal(burial->key, slice_of(key)), "%.*s", (int)burial->key.size, (const char *)burial->key.data);
    cr_expect(burial->attempts == TRIAL_DEATHS);
    cr_expect(memmem(burial->error.data, burial->error.size, "ended 3 times", 13) != NULL);
}

/* What becomes of the row, as the actor says; the client's ask() has no words for it. */
static err
retry(struct stage *stage, const struct wire_row *row, char outcome[32])
{
    struct larder_reply reply;
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    struct larder_request request = {.op = OP_any_retry, .body = row, .options = {.timeout_ms = WAIT_MS, .attempt_ms = 300}};
    cr_assert(larder_client_send(stage->client, &request) == ERR_ok);
    while (larder_client_receive(stage->client, 5, &reply) != ERR_ok) {
        cr_assert(link_steady_ms() < until_ms, "there is no end of it");
        serve(stage);
    }
    struct wire_row_outcome said;
    struct err_text why = {""};
    if (reply.status == ERR_ok) {
        cr_assert(wire_decode(&row_outcome_body, reply.frame, &said, &why) == ERR_ok, "%s", why.text);
        snprintf(outcome, 32, "%.*s", (int)said.outcome.size, (const char *)said.outcome.data);
    }
    return reply.status;
}

/* --- the module alone --- */

static struct trial *
load_trial(struct db *db)
{
    static const size_t most[TRIAL_KINDS] = {[TRIAL_EVENT] = 100, [TRIAL_REQUEST] = 100, [TRIAL_DUE] = 50};
    struct trial *trial = trial_create(db, "stock/0", most);
    place_expect(db, trial_part.load(trial), ERR_ok);
    place_expect(db, trial_start(trial), ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    trial_part.committed(trial);
    return trial;
}

static void
commit_trial(struct db *db, struct trial *trial, err queued)
{
    place_expect(db, queued, ERR_ok);
    place_expect(db, db_commit(db), ERR_ok);
    trial_part.committed(trial);
}

ON_BOTH(trial, begins_slowly_only_after_an_unclean_stop)
{
    struct db *db = place_open(place);
    struct trial *trial = load_trial(db);
    cr_expect(!trial_is_on(trial), "a new database");
    commit_trial(db, trial, trial_stop(trial));
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(!trial_is_on(trial), "it was stopped");
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(trial_is_on(trial), "it was not stopped");
    commit_trial(db, trial, trial_stop(trial));
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(!trial_is_on(trial));
    trial_part.destroy(trial);
    db_close(&db);
}

ON_BOTH(trial, blames_only_the_message_that_was_being_handled)
{
    struct db *db = place_open(place);
    struct trial_name first = trial_name_of_event(slice_of("factory/0"), 1);
    struct trial_name second = trial_name_of_event(slice_of("factory/0"), 2);
    struct trial_name third = trial_name_of_due(slice_of("toy"), slice_of("x"));
    struct trial *trial = load_trial(db);
    for (int deaths = 1; deaths <= TRIAL_DEATHS; deaths++) {
        commit_trial(db, trial, trial_begin(trial, &first));
        commit_trial(db, trial, trial_queue(trial, &second));
        cr_expect(trial_is_begun(trial, &second) && !trial_is_begun(trial, &first));
        place_expect(db, trial_queue(trial, &third), ERR_ok);
        db_rollback(db);
        trial_part.dropped(trial);
        trial_part.destroy(trial);
        trial = load_trial(db);
        cr_expect(trial_deaths(trial, &second) == deaths);
        cr_expect(trial_deaths(trial, &first) == 0 && trial_deaths(trial, &third) == 0);
    }
    commit_trial(db, trial, trial_convict(trial, &second));
    cr_expect(trial_is_convict(trial, &second));
    cr_expect(trial_deaths(trial, &second) == TRIAL_DEATHS - 1, "it has one more life when somebody asks for it");
    commit_trial(db, trial, trial_begin(trial, &second));
    commit_trial(db, trial, trial_queue(trial, NULL));
    cr_expect(trial_deaths(trial, &second) == TRIAL_DEATHS - 1, "its turn did not come, so it has not survived");
    commit_trial(db, trial, trial_begin(trial, &second));
    trial_handle(trial, &second);
    commit_trial(db, trial, trial_queue(trial, NULL));
    cr_expect(!trial_has_suspects(trial), "it has survived");
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $trial") == 1);
    trial_part.destroy(trial);
    db_close(&db);
}

static int64_t
try_as_many_as_are_wanted(struct db *db, struct trial *trial, enum trial_kind kind)
{
    for (int64_t i = 0;; i++) {
        struct id id = id_new();
        struct trial_name name = kind == TRIAL_EVENT     ? trial_name_of_event(slice_of("factory/0"), i)
                                 : kind == TRIAL_REQUEST ? trial_name_of_request(&id)
                                                         : trial_name_of_due(slice_of("toy"), (struct slice){id.bytes, ID_SIZE});
        if (!trial_wants(trial, &name, false)) {
            return i;
        }
        cr_assert(trial_is_on(trial));
        commit_trial(db, trial, trial_queue(trial, &name));
        trial_turn(trial, false);
    }
}

/* So many of each kind: busy clients do not use up the turns of an event. */
ON_BOTH(trial, tries_so_many_messages_alone_and_no_more)
{
    struct db *db = place_open(place);
    struct trial *trial = load_trial(db);
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(try_as_many_as_are_wanted(db, trial, TRIAL_REQUEST) == 100);
    cr_expect(try_as_many_as_are_wanted(db, trial, TRIAL_EVENT) == 100);
    cr_expect(try_as_many_as_are_wanted(db, trial, TRIAL_DUE) == 50);
    cr_expect(!trial_is_on(trial));
    trial_part.destroy(trial);
    db_close(&db);
}

/* A client that asks again without saying so is met when the actor ends for the second time. */
ON_BOTH(trial, tries_new_requests_after_the_second_end_in_a_row)
{
    struct db *db = place_open(place);
    struct id id = id_new();
    struct trial_name name = trial_name_of_request(&id);
    struct trial *trial = load_trial(db);
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(!trial_wants(trial, &name, true));
    trial_part.destroy(trial);
    trial = load_trial(db);
    cr_expect(trial_wants(trial, &name, true));
    trial_part.destroy(trial);
    db_close(&db);
}

/* Messages that kill may come from anywhere: the latest are remembered. */
ON_BOTH(trial, remembers_a_bounded_number)
{
    enum { MANY = 260, LIMIT = 256 };
    struct db *db = place_open(place);
    struct trial *trial = load_trial(db);
    for (int i = 0; i < MANY; i++) {
        struct trial_name name = trial_name_of_event(slice_of("factory/0"), i + 1);
        commit_trial(db, trial, trial_begin(trial, &name));
        commit_trial(db, trial, trial_convict(trial, &name));
    }
    cr_expect(place_number(db, "SELECT COUNT(*) FROM $trial") == LIMIT + 1);
    struct trial_name latest = trial_name_of_event(slice_of("factory/0"), MANY);
    cr_expect(trial_is_suspect(trial, &latest));
    trial_part.destroy(trial);
    db_close(&db);
}

/* --- an event --- */

/* The first end is blamed on nobody, every later one on the poison. */
static void
expect_ends(struct stage *stage, int wanted)
{
    int ends = atomic_load(&stage->shared->ends);
    cr_expect(ends == wanted, "%d ends instead of %d", ends, wanted);
}

ON_BOTH(trial, finds_the_event_that_ends_its_actor)
{
    enum { AROUND = 40 };
    struct stage stage;
    char product[32];
    start(&stage, place);
    for (int i = 0; i < AROUND; i++) {
        snprintf(product, sizeof product, "before-%d", i);
        produce(&stage, product);
    }
    produce(&stage, "kills");
    for (int i = 0; i < AROUND; i++) {
        snprintf(product, sizeof product, "behind-%d", i);
        produce(&stage, product);
    }
    produce(&stage, "donut");
    await_total(&stage, "donut", 1);
    expect_ends(&stage, 1 + TRIAL_DEATHS);
    expect_once(&stage, 2 * AROUND + 1);
    expect_number(&stage, "SELECT COUNT(*) FROM $parked", 1);
    expect_number(&stage, "SELECT seq FROM $parked WHERE state = 1", AROUND + 1);
    expect_number(&stage, "SELECT position FROM $cursor", 2 * AROUND + 2);
    struct wire_burial burial = only_letter(&stage);
    expect_poison(&burial, "event", "kills");
    cr_expect(burial.seq == AROUND + 1);
    finish(&stage);
}

/* Asked for again, it ends the actor once more and no more often; healed, it is done once. */
ON_BOTH(trial, costs_one_end_each_time_somebody_asks_for_it)
{
    struct stage stage;
    char outcome[32] = "";
    struct wire_row row = {0};
    start(&stage, place);
    produce(&stage, "kills");
    produce(&stage, "donut");
    await_total(&stage, "donut", 1);
    struct wire_burial burial = only_letter(&stage);
    WIRE_SET(&row, row, letter, burial.letter);
    WIRE_SET(&row, row, source, slice_of("factory/0"));
    WIRE_SET(&row, row, seq, 1);
    cr_expect(retry(&stage, &row, outcome) == ERR_ok);
    cr_expect(strcmp(outcome, "failed") == 0, "%s", outcome);
    expect_ends(&stage, 2 + TRIAL_DEATHS);
    expect_number(&stage, "SELECT COUNT(*) FROM $parked WHERE state = 1", 1);
    atomic_store(&stage.shared->is_healed, true);
    end_actor(&stage, SIGTERM);
    cr_expect(retry(&stage, &row, outcome) == ERR_ok);
    cr_expect(strcmp(outcome, "done") == 0, "%s", outcome);
    cr_expect(total_of(&stage, "kills") == 1);
    expect_number(&stage, "SELECT COUNT(*) FROM $parked", 0);
    expect_number(&stage, "SELECT COUNT(*) FROM $trial", 1);
    expect_once(&stage, 2);
    finish(&stage);
}

/* --- a due row --- */

ON_BOTH(trial, finds_the_due_row_that_ends_its_actor)
{
    enum { AROUND = 20 };
    struct stage stage;
    char product[32];
    start(&stage, place);
    cr_assert(adjust(&stage, "kills", 500, "later") == ERR_ok);
    for (int i = 0; i < AROUND; i++) {
        snprintf(product, sizeof product, "timer-%d", i);
        cr_assert(adjust(&stage, product, 480 + 2 * i, "later") == ERR_ok);
    }
    for (int i = 0; i < AROUND; i++) {
        snprintf(product, sizeof product, "timer-%d", i);
        await_total(&stage, product, 1);
    }
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    while (number(&stage, "SELECT COUNT(*) FROM $due WHERE due < 9223372036854775807") > 0) {
        cr_assert(link_steady_ms() < until_ms, "it fires for ever");
        serve(&stage);
    }
    expect_ends(&stage, 1 + TRIAL_DEATHS);
    expect_number(&stage, "SELECT COUNT(*) FROM $due", 1);
    expect_once(&stage, AROUND);
    struct wire_burial burial = only_letter(&stage);
    expect_poison(&burial, "call", "kills");
    cr_expect(slice_equal(burial.type, slice_of("stock.toy")));
    struct wire_row row = {0};
    char outcome[32] = "";
    WIRE_SET(&row, row, letter, burial.letter);
    WIRE_SET(&row, row, owner, slice_of("toy"));
    WIRE_SET(&row, row, key, slice_of("kills"));
    atomic_store(&stage.shared->is_healed, true);
    end_actor(&stage, SIGTERM);
    cr_expect(retry(&stage, &row, outcome) == ERR_ok);
    cr_expect(strcmp(outcome, "started") == 0, "%s", outcome);
    cr_expect(total_of(&stage, "kills") == 1);
    expect_number(&stage, "SELECT COUNT(*) FROM $due", 0);
    expect_number(&stage, "SELECT COUNT(*) FROM $trial", 1);
    burial = only_letter(&stage);
    cr_expect(WIRE_HAS(&burial, burial, settled) && burial.settled, "its letter is to be closed");
    finish(&stage);
}

/* --- a request --- */

ON_BOTH(trial, finds_the_request_that_ends_its_actor)
{
    struct stage stage;
    struct wire_stock_adjust body = {0};
    char detail[ERR_TEXT_MAX] = "";
    start(&stage, place);
    cr_assert(adjust(&stage, "donut", 1, NULL) == ERR_ok);
    WIRE_SET(&body, stock_adjust, product, slice_of("donut"));
    WIRE_SET(&body, stock_adjust, delta, 5);
    WIRE_SET(&body, stock_adjust, reason, slice_of("kills"));
    struct larder_request request = {
        .op = OP_stock_adjust, .body = &body, .options = {.id = id_new(), .timeout_ms = WAIT_MS, .attempt_ms = 200}};
    cr_expect(ask(&stage, &request, detail, NULL) == ERR_internal, "%s", detail);
    cr_expect(strstr(detail, "ended 3 times") != NULL, "%s", detail);
    expect_ends(&stage, 1 + TRIAL_DEATHS);
    cr_expect(adjust(&stage, "donut", 1, NULL) == ERR_ok);
    cr_expect(ask(&stage, &request, detail, NULL) == ERR_internal, "and again: %s", detail);
    cr_expect(total_of(&stage, "donut") == 2);
    expect_once(&stage, 2);
    finish(&stage);
}

/* A client that never says that it asks again: the run behind the second end takes everything alone. */
ON_BOTH(trial, finds_the_request_of_a_client_that_never_says_again)
{
    struct stage stage;
    struct wire_stock_adjust body = {0};
    char detail[ERR_TEXT_MAX] = "";
    int64_t until_ms = link_steady_ms() + WAIT_MS;
    start(&stage, place);
    WIRE_SET(&body, stock_adjust, product, slice_of("donut"));
    WIRE_SET(&body, stock_adjust, delta, 5);
    WIRE_SET(&body, stock_adjust, reason, slice_of("kills"));
    struct larder_request request = {
        .op = OP_stock_adjust, .body = &body, .options = {.id = id_new(), .timeout_ms = 300, .attempt_ms = WAIT_MS}};
    while (ask(&stage, &request, detail, NULL) != ERR_internal) {
        cr_assert(link_steady_ms() < until_ms, "it ends the actor for ever");
    }
    cr_expect(strstr(detail, "ended 3 times") != NULL, "%s", detail);
    int ends = atomic_load(&stage.shared->ends); /* the client's library says `again` when a connection breaks under a request */
    cr_expect(ends == 1 + TRIAL_DEATHS || ends == 2 + TRIAL_DEATHS, "%d ends", ends);
    cr_expect(adjust(&stage, "donut", 1, NULL) == ERR_ok);
    expect_once(&stage, 1);
    finish(&stage);
}

/* --- nothing is wrong with the messages --- */

ON_BOTH(trial, blames_nobody_when_the_actor_is_killed_from_outside)
{
    enum { ROUNDS = 4, EACH = 60 };
    struct stage stage;
    start(&stage, place);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < EACH; i++) {
            produce(&stage, "donut");
        }
        await_total(&stage, "donut", (round + 1) * EACH);
        end_actor(&stage, SIGKILL);
    }
    await_total(&stage, "donut", ROUNDS * EACH);
    expect_number(&stage, "SELECT COUNT(*) FROM $parked", 0);
    expect_once(&stage, ROUNDS * EACH);
    finish(&stage);
    expect_number(&stage, "SELECT COUNT(*) FROM $trial WHERE is_trying = 1", 0);
}
