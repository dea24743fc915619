/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One letter and selections of letters, on both databases: what is asked of the owner of a row, what its answer does to the letter,
 * and that a replay does each letter once whatever happens in between.
 *
 * PURPOSE   The test's thread is the one who buries, and the operator; the owner is tests/support/scripted_owner.h.
 * STATE     One dlq, a client, an owner that may be away. Letters are about events factory/0 1, 2, ... of product p<seq>.
 * LIMITS    Times are compared downwards only: a replay with a rate may be slow, never fast.
 */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "dlq/dlq.h"
#include "../support/kit_place.h"
#include "../support/scripted_owner.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    struct scripted_owner *owner;
};

#define ONCE ((struct larder_options){.timeout_ms = WAIT_MS, .attempts = 1})

/* --- life --- */

static void
run_dlq(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    place_await_ports_of(stage->place, 8);
    err code = actor_start(&dlq_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("dlq", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
}

static void
await_owner(struct stage *stage);

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .owner = scripted_owner_create()};
    log_init(false, LOG_LEVEL_ERROR);
    scripted_owner_open(stage->owner, &place->settings);
    run_dlq(stage);
    await_owner(stage);
}

static void
stop_dlq(struct stage *stage)
{
    larder_client_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
finish(struct stage *stage)
{
    stop_dlq(stage);
    scripted_owner_destroy(&stage->owner);
    close(stage->ended_fd);
}

/* --- letters --- */

static struct id
letter_id(int64_t seq)
{
    struct id id = id_of_bytes(&seq, sizeof seq);
    return id_derive(&id, "letter/stock/0");
}

static struct slice
encode(struct wire_buffer *buffer, const struct wire_body *shape, const void *body)
{
    buffer->size = 0;
    wire_encode(shape, body, buffer);
    return wire_buffer_slice(buffer);
}

static struct wire_burial
burial_of(int64_t seq, const char *key, int64_t attempts)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, letter_id(seq));
    WIRE_SET(&burial, burial, kind, slice_of("event"));
    WIRE_SET(&burial, burial, destination, slice_of("stock/0"));
    WIRE_SET(&burial, burial, reason, slice_of("would_overflow"));
    WIRE_SET(&burial, burial, error, slice_of("too many"));
    WIRE_SET(&burial, burial, attempts, attempts);
    WIRE_SET(&burial, burial, first, clock_utc_ms());
    WIRE_SET(&burial, burial, last, clock_utc_ms());
    WIRE_SET(&burial, burial, history, (struct wire_list){0});
    WIRE_SET(&burial, burial, key, slice_of(key));
    WIRE_SET(&burial, burial, source, slice_of("factory/0"));
    WIRE_SET(&burial, burial, seq, seq);
    return burial;
}

static void
send_burials(struct stage *stage, struct wire_list burials)
{
    struct wire_dlq_bury bury = {0};
    struct wire_dlq_buried buried;
    struct err_text why = {""};
    WIRE_SET(&bury, dlq_bury, burials, burials);
    struct larder_exchange exchange = {.op = OP_dlq_bury, .body = &bury, .answer = &buried};
    err code = larder_client_exchange(stage->client, &ONCE, &exchange, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
}

static void
add_burial(struct wire_list *burials, struct wire_buffer *list, int64_t seq, int64_t attempts)
{
    struct wire_buffer header = {0};
    struct wire_buffer body = {0};
    struct wire_event_header event = {0};
    struct wire_factory_fact fact = {0};
    char key[32];
    snprintf(key, sizeof key, "p%lld", (long long)seq);
    WIRE_SET(&event, event_header, v, WIRE_VERSION);
    WIRE_SET(&event, event_header, id, id_of_bytes(&seq, sizeof seq));
    WIRE_SET(&event, event_header, source, slice_of("factory/0"));
    WIRE_SET(&event, event_header, incarnation, id_of_bytes("factory", 7));
    WIRE_SET(&event, event_header, seq, seq);
    WIRE_SET(&event, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&event, event_header, key, slice_of(key));
    WIRE_SET(&event, event_header, time, clock_utc_ms());
    WIRE_SET(&fact, factory_fact, production, id_of_bytes(&seq, sizeof seq));
    WIRE_SET(&fact, factory_fact, product, slice_of(key));
    WIRE_SET(&fact, factory_fact, quantity, 10);
    struct wire_burial burial = burial_of(seq, key, attempts);
    WIRE_SET(&burial, burial, header, encode(&header, &event_header_body, &event));
    WIRE_SET(&burial, burial, body, encode(&body, &factory_fact_body, &fact));
    wire_list_add(burials, &burial_body, &burial, list);
    wire_buffer_fini(&header);
    wire_buffer_fini(&body);
}

/* Letters about events `from` to `to`. */
static void
bury(struct stage *stage, int64_t from, int64_t to)
{
    struct wire_buffer list = {0};
    for (int64_t seq = from; seq <= to;) {
        struct wire_list burials = {0};
        list.size = 0;
        for (int in_message = 0; in_message < 256 && seq <= to; in_message++) {
            add_burial(&burials, &list, seq++, 7);
        }
        wire_list_end(&burials, &list);
        send_burials(stage, burials);
    }
    wire_buffer_fini(&list);
}

/* A letter about a call of the owner's, whose row is that of event `seq`. */
static void
bury_call(struct stage *stage, int64_t seq, int64_t attempts, bool settled)
{
    struct wire_buffer list = {0};
    struct wire_list burials = {0};
    struct wire_burial burial = burial_of(seq, "call", attempts);
    burial.has &= ~((UINT64_C(1) << burial_BIT_source) | (UINT64_C(1) << burial_BIT_seq));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, type, slice_of("factory.call"));
    WIRE_SET(&burial, burial, owner, slice_of("call"));
    WIRE_SET(&burial, burial, due_key, slice_of("key"));
    if (settled) {
        WIRE_SET(&burial, burial, settled, true);
    }
    wire_list_add(&burials, &burial_body, &burial, &list);
    wire_list_end(&burials, &list);
    send_burials(stage, burials);
    wire_buffer_fini(&list);
}

static struct wire_letter_whole
show(struct stage *stage, int64_t seq)
{
    struct wire_letter_ref ref = {0};
    struct wire_letter_whole whole;
    struct err_text why = {""};
    WIRE_SET(&ref, letter_ref, letter, letter_id(seq));
    err code = dlq_client_show(stage->client, NULL, &ref, &whole, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return whole;
}

static void
assert_text(struct slice text, const char *wanted)
{
    cr_assert(slice_equal(text, slice_of(wanted)), "%.*s instead of %s", (int)text.size, (const char *)text.data, wanted);
}

static bool
holds(struct slice text, const char *part)
{
    return memmem(text.data, text.size, part, strlen(part)) != NULL;
}

static err
replay_one(struct stage *stage, int64_t seq, struct wire_letter *letter, struct err_text *why)
{
    struct wire_dlq_replay replay = {0};
    WIRE_SET(&replay, dlq_replay, letter, letter_id(seq));
    WIRE_SET(&replay, dlq_replay, author, slice_of("ann"));
    WIRE_SET(&replay, dlq_replay, reason, slice_of("mended"));
    return dlq_client_replay(stage->client, &ONCE, &replay, letter, why);
}

static void
expect_replay(struct stage *stage, int64_t seq, const char *state)
{
    struct wire_letter letter;
    struct err_text why = {""};
    err code = replay_one(stage, seq, &letter, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    assert_text(letter.state, state);
}

/* Refused so, with words that hold these. */
static void
assert_refused(err code, const struct err_text *why, err wanted, const char *words)
{
    cr_assert(code == wanted, "%s instead of %s: %s", err_symbol(code), err_symbol(wanted), why->text);
    cr_assert(strstr(why->text, words) != NULL, "`%s` does not say `%s`", why->text, words);
}

static void
expect_replay_refused(struct stage *stage, int64_t seq, err wanted, const char *words)
{
    struct wire_letter letter;
    struct err_text why = {""};
    err code = replay_one(stage, seq, &letter, &why);
    assert_refused(code, &why, wanted, words);
}

static err
discard(struct stage *stage, int64_t seq, struct wire_letter *letter, struct err_text *why)
{
    struct wire_dlq_discard body = {0};
    WIRE_SET(&body, dlq_discard, letter, letter_id(seq));
    WIRE_SET(&body, dlq_discard, author, slice_of("ann"));
    WIRE_SET(&body, dlq_discard, reason, slice_of("old news"));
    return dlq_client_discard(stage->client, &ONCE, &body, letter, why);
}

static void
expect_discarded(struct stage *stage, int64_t seq)
{
    struct wire_letter letter;
    struct err_text why = {""};
    err code = discard(stage, seq, &letter, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    assert_text(letter.state, "discarded");
}

/* The dlq connects while it runs, and a question before that is refused: one about a row of nobody is asked until it is answered. */
static void
await_owner(struct stage *stage)
{
    struct wire_letter letter;
    struct err_text why = {""};
    int64_t until_ms = clock_utc_ms() + WAIT_MS;
    bury(stage, OWNER_ROWS + 1, OWNER_ROWS + 1);
    err code = discard(stage, OWNER_ROWS + 1, &letter, &why);
    while (code == ERR_unavailable && clock_utc_ms() < until_ms) {
        code = discard(stage, OWNER_ROWS + 1, &letter, &why);
    }
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
}

static err
restore(struct stage *stage, int64_t seq, struct wire_letter *letter, struct err_text *why)
{
    struct wire_dlq_restore body = {0};
    WIRE_SET(&body, dlq_restore, letter, letter_id(seq));
    return dlq_client_restore(stage->client, &ONCE, &body, letter, why);
}

static err
edit(struct stage *stage, int64_t seq, const char *field, const char *value, struct wire_letter_whole *whole, struct err_text *why)
{
    struct wire_buffer list = {0};
    struct wire_list changes = {0};
    struct wire_letter_field change = {0};
    struct wire_dlq_edit body = {0};
    WIRE_SET(&change, letter_field, name, slice_of(field));
    WIRE_SET(&change, letter_field, value, slice_of(value));
    wire_list_add(&changes, &letter_field_body, &change, &list);
    wire_list_end(&changes, &list);
    WIRE_SET(&body, dlq_edit, letter, letter_id(seq));
    WIRE_SET(&body, dlq_edit, changes, changes);
    WIRE_SET(&body, dlq_edit, author, slice_of("bob"));
    WIRE_SET(&body, dlq_edit, reason, slice_of("a typing error"));
    err code = dlq_client_edit(stage->client, &ONCE, &body, whole, why);
    wire_buffer_fini(&list);
    return code;
}

static bool
has_field(struct wire_list fields, const char *name, const char *value)
{
    struct wire_letter_field field;
    while (wire_list_next(&fields, &letter_field_body, &field)) {
        if (slice_equal(field.name, slice_of(name))) {
            return slice_equal(field.value, slice_of(value));
        }
    }
    return false;
}

/* The latest line of that action; fails without one. */
static struct wire_letter_audit
audit_of(const struct wire_letter_whole *whole, const char *action)
{
    struct wire_list lines = whole->audit;
    struct wire_letter_audit line;
    struct wire_letter_audit found = {0};
    while (wire_list_next(&lines, &letter_audit_body, &line)) {
        found = slice_equal(line.action, slice_of(action)) ? line : found;
    }
    cr_assert(found.has != 0, "nobody is said to have done: %s", action);
    return found;
}

/* --- selections --- */

static struct wire_dlq_start
selection(void)
{
    struct wire_dlq_start start_body = {0};
    WIRE_SET(&start_body, dlq_start, filter, (struct wire_letter_filter){0});
    WIRE_SET(&start_body, dlq_start, author, slice_of("ann"));
    WIRE_SET(&start_body, dlq_start, reason, slice_of("mended"));
    return start_body;
}

static struct id
begin(struct stage *stage, const struct wire_dlq_start *body)
{
    struct wire_replay replay;
    struct err_text why = {""};
    err code = dlq_client_start(stage->client, &ONCE, body, &replay, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    assert_text(replay.state, "selecting");
    return replay.id;
}

static void
expect_start_refused(struct stage *stage, const struct wire_dlq_start *body, err wanted, const char *words)
{
    struct wire_replay replay;
    struct err_text why = {""};
    err code = dlq_client_start(stage->client, &ONCE, body, &replay, &why);
    assert_refused(code, &why, wanted, words);
}

static struct wire_replay
status(struct stage *stage, const struct id *id)
{
    struct wire_replay_ref ref = {0};
    struct wire_replay replay;
    struct err_text why = {""};
    struct larder_options patient = {.timeout_ms = WAIT_MS};
    WIRE_SET(&ref, replay_ref, replay, *id);
    err code = dlq_client_status(stage->client, &patient, &ref, &replay, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return replay;
}

static struct wire_replay
await_replay(struct stage *stage, const struct id *id, const char *state)
{
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;;) {
        struct wire_replay replay = status(stage, id);
        if (slice_equal(replay.state, slice_of(state))) {
            return replay;
        }
        cr_assert(link_steady_ms() < until_ms, "the replay is %.*s and not %s: %lld done, %lld failed of %lld", (int)replay.state.size,
                  (const char *)replay.state.data, state, (long long)replay.done, (long long)replay.failed, (long long)replay.total);
        (void)poll(NULL, 0, 5);
    }
}

static void
assert_counts(const struct wire_replay *replay, int64_t total, int64_t done, int64_t failed)
{
    cr_assert(replay->total == total && replay->done == done && replay->failed == failed, "%lld done, %lld failed of %lld",
              (long long)replay->done, (long long)replay->failed, (long long)replay->total);
}

/* Each effect exactly once. */
static void
assert_done_once(struct stage *stage, int64_t from, int64_t to)
{
    for (int64_t seq = from; seq <= to; seq++) {
        cr_assert(scripted_owner_done(stage->owner, seq) == 1, "%lld was done %d times", (long long)seq,
                  scripted_owner_done(stage->owner, seq));
    }
}

static void
await_asked(struct stage *stage, int64_t count)
{
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; scripted_owner_asked_in_all(stage->owner) < count;) {
        cr_assert(link_steady_ms() < until_ms, "the owner was asked %lld times", (long long)scripted_owner_asked_in_all(stage->owner));
        (void)poll(NULL, 0, 5);
    }
}

/* --- one letter --- */

ON_BOTH(dlq_owner, replays_a_letter_once)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 1);
    expect_replay(&stage, 1, "done");
    cr_assert(scripted_owner_done(stage.owner, 1) == 1);
    expect_replay(&stage, 1, "done");
    cr_assert(scripted_owner_asked(stage.owner, 1) == 1, "a letter that is done needs no question");
    struct wire_letter_whole whole = show(&stage, 1);
    struct wire_letter_audit line = audit_of(&whole, "replay");
    assert_text(line.author, "ann");
    assert_text(line.reason, "mended");
    assert_text(line.detail, "done");
    finish(&stage);
}

ON_BOTH(dlq_owner, keeps_a_letter_that_fails_again_with_the_new_error)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 1);
    scripted_owner_set(stage.owner, 1, 1, OWNER_FAILS);
    expect_replay(&stage, 1, "dead");
    struct wire_letter_whole whole = show(&stage, 1);
    assert_text(whole.letter.error, "still too many");
    cr_assert(whole.letter.attempts == 8 && whole.history.count == 1);
    scripted_owner_set(stage.owner, 1, 1, OWNER_DOES);
    expect_replay(&stage, 1, "done");
    finish(&stage);
}

ON_BOTH(dlq_owner, counts_an_attempt_once_when_its_burial_was_faster_than_the_answer)
{
    struct stage stage;
    struct wire_buffer list = {0};
    struct wire_list burials = {0};
    start(&stage, place);
    add_burial(&burials, &list, 1, 8);
    wire_list_end(&burials, &list);
    send_burials(&stage, burials);
    scripted_owner_set(stage.owner, 1, 1, OWNER_FAILS);
    expect_replay(&stage, 1, "dead");
    struct wire_letter_whole whole = show(&stage, 1);
    cr_assert(whole.letter.attempts == 8 && whole.history.count == 0, "%lld attempts, %u told", (long long)whole.letter.attempts,
              whole.history.count);
    wire_buffer_fini(&list);
    finish(&stage);
}

ON_BOTH(dlq_owner, says_that_another_of_the_key_goes_first)
{
    struct stage stage;
    struct wire_letter letter;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 1);
    scripted_owner_set(stage.owner, 1, 1, OWNER_WAITS);
    cr_assert(replay_one(&stage, 1, &letter, &why) == ERR_ok);
    assert_text(letter.state, "dead");
    assert_text(letter.error, "seq 7 of this key goes first");
    struct wire_letter_whole whole = show(&stage, 1);
    assert_text(whole.letter.error, "too many");
    finish(&stage);
}

ON_BOTH(dlq_owner, refuses_while_the_owner_is_away)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 1);
    scripted_owner_set(stage.owner, 1, 1, OWNER_BUSY);
    expect_replay_refused(&stage, 1, ERR_unavailable, "stock/0");
    stop_dlq(&stage); /* asked over a connection that has just broken, nobody would know what became of it */
    scripted_owner_close(stage.owner);
    run_dlq(&stage);
    expect_replay_refused(&stage, 1, ERR_unavailable, "stock/0");
    struct wire_letter_whole whole = show(&stage, 1);
    assert_text(whole.letter.state, "dead");
    cr_assert(whole.letter.attempts == 7);
    finish(&stage);
}

ON_BOTH(dlq_owner, asks_again_when_it_ended_before_the_answer_came)
{
    static const struct larder_options IMPATIENT = {.timeout_ms = 200, .attempts = 1};
    struct stage stage;
    struct wire_dlq_replay replay = {0};
    struct wire_letter letter;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 1);
    scripted_owner_set(stage.owner, 1, 1, OWNER_SILENT);
    WIRE_SET(&replay, dlq_replay, letter, letter_id(1));
    cr_assert(dlq_client_replay(stage.client, &IMPATIENT, &replay, &letter, &why) == ERR_deadline_exceeded, "%s", why.text);
    stop_dlq(&stage);
    scripted_owner_set(stage.owner, 1, 1, OWNER_DOES);
    run_dlq(&stage);
    int64_t until_ms = clock_utc_ms() + WAIT_MS;
    struct wire_letter_whole whole = show(&stage, 1);
    while (!slice_equal(whole.letter.state, slice_of("done")) && clock_utc_ms() < until_ms) {
        whole = show(&stage, 1);
    }
    assert_text(whole.letter.state, "done");
    cr_assert(scripted_owner_done(stage.owner, 1) == 1);
    finish(&stage);
}

ON_BOTH(dlq_owner, follows_a_call_that_was_begun)
{
    struct stage stage;
    start(&stage, place);
    bury_call(&stage, 1, 7, false);
    scripted_owner_set(stage.owner, 0, 0, OWNER_STARTS);
    expect_replay(&stage, 1, "replaying");
    bury_call(&stage, 1, 14, false);
    struct wire_letter_whole whole = show(&stage, 1);
    assert_text(whole.letter.state, "dead");
    expect_replay(&stage, 1, "replaying");
    bury_call(&stage, 1, 15, true);
    whole = show(&stage, 1);
    assert_text(whole.letter.state, "done");
    finish(&stage);
}

ON_BOTH(dlq_owner, discards_and_restores)
{
    struct stage stage;
    struct wire_letter letter;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 2);
    expect_discarded(&stage, 1);
    cr_assert(scripted_owner_is_aside(stage.owner, 1) == 1);
    expect_replay_refused(&stage, 1, ERR_letter_closed, "restore it first");
    cr_assert(restore(&stage, 1, &letter, &why) == ERR_ok, "%s", why.text);
    assert_text(letter.state, "dead");
    cr_assert(scripted_owner_is_aside(stage.owner, 1) == 0);
    err code = restore(&stage, 2, &letter, &why);
    assert_refused(code, &why, ERR_letter_closed, "not discarded");
    expect_replay(&stage, 1, "done");
    code = discard(&stage, 1, &letter, &why);
    assert_refused(code, &why, ERR_letter_closed, "done");
    struct wire_letter_whole whole = show(&stage, 1);
    assert_text(audit_of(&whole, "discard").reason, "old news");
    (void)audit_of(&whole, "restore");
    finish(&stage);
}

ON_BOTH(dlq_owner, lets_the_row_go_when_the_time_for_undoing_is_over)
{
    struct stage stage;
    struct wire_letter letter;
    struct err_text why = {""};
    place->settings.undo_ms = 1000;
    start(&stage, place);
    bury(&stage, 1, 1);
    expect_discarded(&stage, 1);
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; scripted_owner_purged(stage.owner, 1) == 0;) {
        cr_assert(link_steady_ms() < until_ms, "the row is kept for ever");
        (void)poll(NULL, 0, 20);
    }
    err code = restore(&stage, 1, &letter, &why);
    assert_refused(code, &why, ERR_letter_closed, "is over");
    finish(&stage);
}

ON_BOTH(dlq_owner, edits_a_message_and_keeps_the_original)
{
    struct stage stage;
    struct wire_letter_whole whole;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 1);
    cr_assert(edit(&stage, 1, "quantity", "3", &whole, &why) == ERR_ok, "%s", why.text);
    cr_assert(has_field(whole.fields, "quantity", "3") && has_field(whole.original, "quantity", "10"));
    cr_assert(edit(&stage, 1, "quantity", "4", &whole, &why) == ERR_ok, "%s", why.text);
    cr_assert(has_field(whole.fields, "quantity", "4") && has_field(whole.original, "quantity", "10"),
              "the first one is the original");
    cr_assert(whole.letter.units == 4);
    struct wire_letter_audit line = audit_of(&whole, "edit");
    assert_text(line.author, "bob");
    cr_assert(holds(line.detail, "quantity: 3 -> 4"), "%.*s", (int)line.detail.size, (const char *)line.detail.data);
    cr_assert(scripted_owner_edited(stage.owner, 1) == 2);
    finish(&stage);
}

ON_BOTH(dlq_owner, refuses_an_edit_that_does_not_decode)
{
    struct stage stage;
    struct wire_letter_whole whole;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 1);
    err code = edit(&stage, 1, "quantity", "many", &whole, &why);
    assert_refused(code, &why, ERR_invalid_field, "quantity");
    code = edit(&stage, 1, "colour", "red", &whole, &why);
    assert_refused(code, &why, ERR_invalid_field, "colour");
    code = edit(&stage, 1, "quantity", "10", &whole, &why);
    assert_refused(code, &why, ERR_invalid_field, "nothing");
    bury_call(&stage, 2, 7, false);
    code = edit(&stage, 2, "quantity", "3", &whole, &why);
    assert_refused(code, &why, ERR_not_editable, "call");
    cr_assert(scripted_owner_edited(stage.owner, 1) == 0);
    whole = show(&stage, 1);
    cr_assert(has_field(whole.fields, "quantity", "10") && whole.audit.count == 0);
    finish(&stage);
}

/* --- selections --- */

ON_BOTH(dlq_replay, does_each_letter_of_a_selection_once)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 1200);
    struct wire_dlq_start body = selection();
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 1200, 1200, 0);
    cr_assert(replay.number == 1 && WIRE_HAS(&replay, replay, ended));
    assert_text(replay.author, "ann");
    assert_done_once(&stage, 1, 1200);
    cr_assert(scripted_owner_asked_in_all(stage.owner) == 1200);
    struct wire_letter_whole whole = show(&stage, 77);
    assert_text(whole.letter.state, "done");
    cr_assert(id_equal(&whole.letter.replay, &id));
    finish(&stage);
}

ON_BOTH(dlq_replay, stops_when_its_canary_fails)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 100);
    scripted_owner_set(stage.owner, 3, 3, OWNER_FAILS);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, canary, 5);
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "stopped");
    struct id culprit = letter_id(3);
    cr_assert(id_equal(&replay.stopped_by, &culprit));
    assert_text(replay.error, "still too many");
    for (int64_t seq = 6; seq <= 100; seq++) {
        cr_assert(scripted_owner_asked(stage.owner, seq) == 0, "%lld was asked for", (long long)seq);
    }
    finish(&stage);
}

ON_BOTH(dlq_replay, goes_on_when_its_canary_is_well)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 300);
    scripted_owner_set(stage.owner, 200, 209, OWNER_FAILS);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, canary, 20);
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 300, 290, 10);
    finish(&stage);
}

ON_BOTH(dlq_replay, stops_at_any_failure_when_it_is_told_to)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 2000);
    scripted_owner_set(stage.owner, 50, 50, OWNER_FAILS);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, stop_on_failure, true);
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "stopped");
    struct id culprit = letter_id(50);
    cr_assert(id_equal(&replay.stopped_by, &culprit));
    cr_assert(scripted_owner_asked(stage.owner, 2000) == 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, says_what_it_would_do)
{
    struct stage stage;
    struct wire_replay replay;
    struct wire_replay_share share;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 1500);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, dry_run, true);
    for (int i = 0; i < 2; i++) {
        cr_assert(dlq_client_start(stage.client, &ONCE, &body, &replay, &why) == ERR_ok, "%s", why.text);
        assert_text(replay.state, "dry_run");
        cr_assert(replay.total == 1500 && replay.number == 0 && replay.shares.count == 1);
        cr_assert(wire_list_next(&replay.shares, &replay_share_body, &share));
        assert_text(share.destination, "stock/0");
        assert_text(share.reason, "would_overflow");
        cr_assert(share.letters == 1500 && share.units == 15000);
        WIRE_SET(&body.filter, letter_filter, min_units, 10); /* from the letters, not from the counters */
    }
    cr_assert(scripted_owner_asked_in_all(stage.owner) == 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, refuses_what_is_no_selection)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 1);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body.filter, letter_filter, before, 5);
    expect_start_refused(&stage, &body, ERR_invalid_field, "letter_filter.before");
    body = selection();
    WIRE_SET(&body.filter, letter_filter, limit, 5);
    expect_start_refused(&stage, &body, ERR_invalid_field, "letter_filter.limit");
    body = selection();
    WIRE_SET(&body.filter, letter_filter, state, slice_of("done"));
    expect_start_refused(&stage, &body, ERR_invalid_field, "letter_filter.state");
    body = selection();
    WIRE_SET(&body.filter, letter_filter, reason, slice_of("no_such_reason"));
    expect_start_refused(&stage, &body, ERR_invalid_field, "reason");
    body = selection();
    WIRE_SET(&body.filter, letter_filter, key, slice_of("nobody"));
    expect_start_refused(&stage, &body, ERR_unknown_letter, "no dead letter matches");
    struct wire_replay_ref ref = {0};
    struct wire_replay replay;
    struct err_text why = {""};
    WIRE_SET(&ref, replay_ref, replay, id_new());
    err code = dlq_client_status(stage.client, &ONCE, &ref, &replay, &why);
    assert_refused(code, &why, ERR_unknown_replay, "there is no replay");
    cr_assert(scripted_owner_asked_in_all(stage.owner) == 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, takes_only_what_its_filter_found_when_it_began)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 10);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body.filter, letter_filter, key, slice_of("p4"));
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 1, 1, 0);
    cr_assert(scripted_owner_asked_in_all(stage.owner) == 1);
    scripted_owner_set(stage.owner, 1, 100, OWNER_BUSY);
    body = selection();
    id = begin(&stage, &body);
    bury(&stage, 11, 20);
    scripted_owner_set(stage.owner, 1, 100, OWNER_DOES);
    replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 9, 9, 0);
    cr_assert(scripted_owner_asked(stage.owner, 11) == 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, keeps_to_its_rate)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 100);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, rate, 100);
    int64_t began_ms = link_steady_ms();
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 100, 100, 0);
    cr_assert(link_steady_ms() - began_ms >= 850, "100 letters at 100 a second took %lld ms",
              (long long)(link_steady_ms() - began_ms));
    finish(&stage);
}

ON_BOTH(dlq_replay, waits_for_an_owner_that_is_away)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 600);
    scripted_owner_close(stage.owner);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, stop_on_failure, true);
    struct id id = begin(&stage, &body);
    (void)await_replay(&stage, &id, "running");
    scripted_owner_set(stage.owner, 1, 20, OWNER_BUSY);
    scripted_owner_open(stage.owner, &place->settings);
    await_asked(&stage, 300);
    scripted_owner_set(stage.owner, 1, 20, OWNER_DOES);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 600, 600, 0);
    assert_done_once(&stage, 1, 600);
    finish(&stage);
}

ON_BOTH(dlq_replay, gives_up_on_a_letter_that_always_waits_for_another)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 5);
    scripted_owner_set(stage.owner, 2, 2, OWNER_WAITS);
    struct wire_dlq_start body = selection();
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 5, 4, 1);
    cr_assert(scripted_owner_asked(stage.owner, 2) > 1);
    finish(&stage);
}

ON_BOTH(dlq_replay, counts_what_the_owner_cannot_do)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 5);
    scripted_owner_set(stage.owner, 2, 2, OWNER_BREAKS);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, canary, 5);
    struct id id = begin(&stage, &body);
    struct wire_replay replay = await_replay(&stage, &id, "stopped");
    cr_assert(holds(replay.error, "internal"), "%.*s", (int)replay.error.size, (const char *)replay.error.data);
    cr_expect(replay.error.size > 250 && wire_is_utf8(replay.error), "the owner's words are cut between two characters");
    finish(&stage);
}

ON_BOTH(dlq_replay, leaves_out_what_was_discarded_since)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 300);
    scripted_owner_set(stage.owner, 1, 300, OWNER_BUSY);
    struct wire_dlq_start body = selection();
    struct id id = begin(&stage, &body);
    await_asked(&stage, 200);
    struct wire_letter letter;
    struct err_text why = {""};
    int64_t until_ms = clock_utc_ms() + WAIT_MS;
    err code = discard(&stage, 290, &letter, &why);
    while (code == ERR_unavailable && clock_utc_ms() < until_ms) { /* while the replay asks about it */
        code = discard(&stage, 290, &letter, &why);
    }
    cr_assert(code == ERR_ok, "%s", why.text);
    scripted_owner_set(stage.owner, 1, 300, OWNER_DOES);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 299, 299, 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, waits_for_the_outcome_of_a_call)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 3);
    bury_call(&stage, 4, 7, false);
    scripted_owner_set(stage.owner, 0, 0, OWNER_STARTS);
    struct wire_dlq_start body = selection();
    struct id id = begin(&stage, &body);
    await_asked(&stage, 4);
    bury_call(&stage, 4, 8, true);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 4, 4, 0);
    finish(&stage);
}

ON_BOTH(dlq_replay, can_be_cancelled)
{
    struct stage stage;
    struct wire_replay replay;
    struct err_text why = {""};
    start(&stage, place);
    bury(&stage, 1, 300);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, rate, 10);
    struct id id = begin(&stage, &body);
    await_asked(&stage, 1);
    struct wire_replay_ref ref = {0};
    WIRE_SET(&ref, replay_ref, replay, id);
    cr_assert(dlq_client_cancel(stage.client, &ONCE, &ref, &replay, &why) == ERR_ok, "%s", why.text);
    assert_text(replay.state, "cancelled");
    err code = dlq_client_cancel(stage.client, &ONCE, &ref, &replay, &why);
    assert_refused(code, &why, ERR_replay_closed, "cancelled");
    cr_assert(scripted_owner_asked(stage.owner, 300) == 0);
    struct wire_dlq_replays all = {0};
    struct wire_replay_page page;
    cr_assert(dlq_client_replays(stage.client, &ONCE, &all, &page, &why) == ERR_ok, "%s", why.text);
    cr_assert(page.replays.count == 1 && !page.has_more);
    finish(&stage);
}

ON_BOTH(dlq_replay, goes_on_after_a_restart)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 2000);
    scripted_owner_set(stage.owner, 900, 1100, OWNER_SILENT);
    struct wire_dlq_start body = selection();
    WIRE_SET(&body, dlq_start, canary, 10);
    struct id id = begin(&stage, &body);
    await_asked(&stage, 1000);
    stop_dlq(&stage);
    scripted_owner_close(stage.owner);
    scripted_owner_set(stage.owner, 900, 1100, OWNER_DOES);
    place_await_ports(place);
    scripted_owner_open(stage.owner, &place->settings);
    run_dlq(&stage);
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 2000, 2000, 0);
    assert_done_once(&stage, 1, 2000);
    finish(&stage);
}

ON_MYSQL(dlq_replay, goes_on_after_a_lost_connection)
{
    struct stage stage;
    start(&stage, place);
    bury(&stage, 1, 4000);
    struct wire_dlq_start body = selection();
    struct id id = begin(&stage, &body);
    for (int i = 1; i <= 5; i++) {
        await_asked(&stage, 500 * i);
        struct settings *settings = &place->settings;
        struct db_config config;
        struct db *db = NULL;
        struct err_text why = {""};
        cr_assert(settings_db(settings, "dlq", 0, &config, &why) == ERR_ok && db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
        place_kill(place, place_number(db, "SELECT connection FROM $shard"));
        db_close(&db);
    }
    struct wire_replay replay = await_replay(&stage, &id, "done");
    assert_counts(&replay, 4000, 4000, 0);
    assert_done_once(&stage, 1, 4000);
    finish(&stage);
}
