/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What waits in an actor's database when the clock was set: back to now and its kind's whole patience, or later by as much as the
 * clock went forward. On both databases, with rows as the actors write them.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../support/kit_place.h"
#include "kit/base/backoff.h"
#include "kit/peers/calls.h"
#include "dlq/dlq.h"
#include "dlq/letter/dlq_letter.h"
#include "factory/factory.h"
#include "order/order.h"
#include "payment/payment.h"
#include "kit/durable/retime.h"
#include "stock/stock.h"
#include "kit/http/token.h"
#include "user/user.h"
#include "user/user_token.h"

#define NOW INT64_C(1800000000000)
#define AHEAD (NOW + INT64_C(400) * 86400000) /* by the clock that was wrong */

struct stage {
    struct place *place;
    struct db *db;
    const struct actor_class *class;
    struct arena arena;
    int64_t changed;
};

static void
start(struct stage *stage, struct place *place, const struct actor_class *class)
{
    struct err_text why = {""};
    *stage = (struct stage){.place = place, .db = place_open(place), .class = class};
    cr_assert(db_migrate(stage->db, class->steps, class->step_count, &why) == ERR_ok, "%s", why.text);
}

static void
stop(struct stage *stage)
{
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
run(struct stage *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void
run(struct stage *stage, const char *format, ...)
{
    char sql[1024];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(sql, sizeof sql, format, arguments);
    va_end(arguments);
    cr_assert(size > 0 && (size_t)size < sizeof sql);
    place_expect(stage->db, db_run(db_statement(stage->db, sql), NULL), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
}

/* A key of 16 bytes, as SQL. */
static const char *
key(int n)
{
    static char text[8][48];
    char *out = text[n % 8];
    (void)snprintf(out, sizeof text[0], "X'%032x'", (unsigned)n);
    return out;
}

static void
wait_until(struct stage *stage, const char *owner, int n, int64_t due_ms)
{
    run(stage, "INSERT INTO $due (owner, due_key, due, attempts, payload) VALUES ('%s', %s, %lld, 0, X'')", owner, key(n),
        (long long)due_ms);
}

static void
wait_for_call(struct stage *stage, const char *owner, int n, int64_t due_ms, const struct calls *calls)
{
    struct wire_buffer payload = {0};
    calls_encode(calls, &payload);
    struct db_statement *insert =
        db_statement(stage->db, "INSERT INTO $due (owner, due_key, due, attempts, payload) VALUES (?, ?, ?, 0, ?)");
    struct id id = {{0}};
    id.bytes[ID_SIZE - 1] = (uint8_t)n;
    db_bind_text(insert, slice_of(owner));
    db_bind_id(insert, &id);
    db_bind_i64(insert, due_ms);
    db_bind_bytes(insert, wire_buffer_slice(&payload));
    place_expect(stage->db, db_run(insert, NULL), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    wire_buffer_fini(&payload);
}

static int64_t
number(struct stage *stage, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int64_t
number(struct stage *stage, const char *format, ...)
{
    char sql[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sql, sizeof sql, format, arguments);
    va_end(arguments);
    return place_number(stage->db, sql);
}

static int64_t
due(struct stage *stage, const char *owner, int n)
{
    return number(stage, "SELECT due FROM $due WHERE owner = '%s' AND due_key = %s", owner, key(n));
}

/* `by_ms`: forward, or (negative) back. */
static void
retime_at(struct stage *stage, int64_t now_ms, int64_t by_ms)
{
    struct retiming retiming = {.db = stage->db,
                                .settings = &stage->place->settings,
                                .arena = &stage->arena,
                                .now_ms = now_ms,
                                .by_ms = by_ms > 0 ? by_ms : 0,
                                .back_ms = by_ms < 0 ? -by_ms : 0};
    place_expect(stage->db, retime_rows(stage->class, &retiming, &stage->changed), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    arena_reset(&stage->arena);
}

static void
retime(struct stage *stage, int64_t by_ms)
{
    retime_at(stage, NOW, by_ms);
}

/* --- the kit's own --- */

static const struct actor_class retries = {.name = "stock"};

ON_BOTH(retime, leaves_what_waits_for_a_person_or_within_bounds)
{
    struct stage stage;
    start(&stage, place, &retries);
    wait_until(&stage, "test", 1, DUE_NEVER);
    wait_until(&stage, "test", 2, DUE_ASIDE);
    wait_until(&stage, "test", 3, NOW + 1000);
    wait_until(&stage, "test", 4, NOW - 1000);
    retime(&stage, 0);
    cr_expect(stage.changed == 0);
    cr_expect(due(&stage, "test", 1) == DUE_NEVER);
    cr_expect(due(&stage, "test", 2) == DUE_ASIDE);
    cr_expect(due(&stage, "test", 3) == NOW + 1000);
    cr_expect(due(&stage, "test", 4) == NOW - 1000);
    stop(&stage);
}

ON_BOTH(retime, brings_retries_and_parked_events_and_turns_back)
{
    struct stage stage;
    start(&stage, place, &retries);
    wait_until(&stage, "test", 1, AHEAD);
    wait_until(&stage, "test", 2, DUE_TURN + AHEAD);
    wait_until(&stage, "test", 3, DUE_TURN + NOW - 5);
    for (int seq = 1; seq <= 2; seq++) {
        run(&stage,
            "INSERT INTO $parked (source, seq, event_key, header, body, attempts, due, error) VALUES ('factory/0', %d, 'a', X'', X'', "
            "1, "
            "%lld, '')",
            seq, (long long)(seq == 1 ? AHEAD : INT64_MAX));
    }
    retime(&stage, 0);
    cr_expect(stage.changed == 3);
    cr_expect(due(&stage, "test", 1) == NOW + BACKOFF_MAX_MS);
    cr_expect(due(&stage, "test", 2) == DUE_TURN + NOW);
    cr_expect(due(&stage, "test", 3) == DUE_TURN + NOW - 5);
    cr_expect(number(&stage, "SELECT due FROM $parked WHERE seq = 1") == NOW + BACKOFF_MAX_MS);
    cr_expect(number(&stage, "SELECT due FROM $parked WHERE seq = 2") == INT64_MAX);
    stop(&stage);
}

ON_BOTH(retime, goes_through_more_rows_than_a_page)
{
    struct stage stage;
    start(&stage, place, &retries);
    for (int n = 0; n < 1234; n++) {
        struct db_rows *rows = db_rows(stage.db, "INSERT INTO $due (owner, due_key, due, attempts, payload)", 5);
        struct id id = id_new();
        db_rows_text(rows, slice_of(n % 2 == 0 ? "a" : "b"));
        db_rows_id(rows, &id);
        db_rows_i64(rows, AHEAD + n);
        db_rows_i64(rows, 0);
        db_rows_bytes(rows, slice_of(""));
        place_expect(stage.db, db_rows_queue(rows), ERR_ok);
    }
    place_expect(stage.db, db_commit(stage.db), ERR_ok);
    retime(&stage, 0);
    cr_expect(stage.changed == 1234);
    cr_expect(number(&stage, "SELECT MAX(due) FROM $due") == NOW + BACKOFF_MAX_MS);
    retime(&stage, 0);
    cr_expect(stage.changed == 0, "a second time changes nothing");
    stop(&stage);
}

ON_BOTH(retime, takes_everything_along_when_the_clock_went_forward)
{
    struct stage stage;
    start(&stage, place, &retries);
    const int64_t by_ms = 3600000;
    wait_until(&stage, "test", 1, NOW - by_ms + 20000);
    wait_until(&stage, "test", 2, DUE_NEVER);
    retime(&stage, by_ms);
    cr_expect(due(&stage, "test", 1) == NOW + 20000);
    cr_expect(due(&stage, "test", 2) == DUE_NEVER);
    stop(&stage);
}

/* --- stock --- */

/* A hold that was given `ttl_ms` by its reserve at `made_ms`. */
static void
hold(struct stage *stage, int n, int64_t made_ms, int64_t ttl_ms)
{
    run(stage,
        "INSERT INTO $move (n, request, line, kind, product, delta, reserved_delta, on_hand, reserved, incoming, version, previous, "
        "time,"
        " fingerprint, hold, expires) VALUES (%d, %s, 0, 'reserve', 'donut', 0, 1, 9, 1, 0, %d, 0, %lld, 0, %s, %lld)",
        n, key(n), n, (long long)made_ms, key(n), (long long)(made_ms + ttl_ms));
    run(stage, "INSERT INTO $hold (n, hold, line, product, quantity, state, expires) VALUES (%d, %s, 0, 'donut', 1, 'open', %lld)", n,
        key(n), (long long)(made_ms + ttl_ms));
    wait_until(stage, "hold", n, made_ms + ttl_ms);
}

static void
extend(struct stage *stage, int n, int of, int64_t made_ms, int64_t ttl_ms)
{
    run(stage,
        "INSERT INTO $move (n, request, line, kind, product, delta, reserved_delta, on_hand, reserved, incoming, version, previous, "
        "time,"
        " fingerprint, hold, expires) VALUES (%d, %s, 0, 'extend', 'donut', 0, 0, 9, 1, 0, %d, 0, %lld, 0, %s, %lld)",
        n, key(n), n, (long long)made_ms, key(of), (long long)(made_ms + ttl_ms));
    run(stage, "UPDATE $hold SET expires = %lld WHERE hold = %s", (long long)(made_ms + ttl_ms), key(of));
    run(stage, "UPDATE $due SET due = %lld WHERE owner = 'hold' AND due_key = %s", (long long)(made_ms + ttl_ms), key(of));
}

static int64_t
expires(struct stage *stage, int n)
{
    cr_expect(due(stage, "hold", n) == number(stage, "SELECT expires FROM $hold WHERE hold = %s", key(n)));
    return due(stage, "hold", n);
}

ON_BOTH(retime, gives_a_hold_once_more_what_it_was_given)
{
    struct stage stage;
    start(&stage, place, &stock_class);
    hold(&stage, 1, AHEAD, 120000);
    hold(&stage, 2, AHEAD, 5000);
    extend(&stage, 3, 2, AHEAD + 1000, 7200000);
    hold(&stage, 4, NOW - 60000, 2592000000);
    hold(&stage, 5, NOW - 60000, 30000);
    run(&stage, "INSERT INTO $due (owner, due_key, due, attempts, payload) VALUES ('alarm', X'646f6e7574', %lld, 0, X'')",
        (long long)AHEAD);
    retime(&stage, 0);
    cr_expect(expires(&stage, 1) == NOW + 120000);
    cr_expect(expires(&stage, 2) == NOW + 7200000, "an extension counts, not the first word");
    cr_expect(expires(&stage, 4) == NOW - 60000 + 2592000000, "what is within its own bounds stays, however far it is");
    cr_expect(expires(&stage, 5) == NOW - 30000);
    cr_expect(number(&stage, "SELECT due FROM $due WHERE owner = 'alarm'") == NOW + place->settings.alarm_repeat_ms);
    retime(&stage, 0);
    cr_expect(stage.changed == 0);
    stop(&stage);
}

ON_BOTH(retime, lets_a_hold_run_as_long_as_before_when_the_clock_went_forward)
{
    struct stage stage;
    start(&stage, place, &stock_class);
    const int64_t by_ms = 18000000;
    hold(&stage, 1, NOW - by_ms - 20000, 120000);
    retime(&stage, by_ms);
    cr_expect(expires(&stage, 1) == NOW + 100000);
    stop(&stage);
}

/* --- orders --- */

static void
order(struct stage *stage, int n, const char *status, const char *saga, int64_t deadline_ms, int64_t due_ms)
{
    run(stage,
        "INSERT INTO $order (n, id, status, saga, back, round, holds, sold, tries, money, told, reason, total, currency, method,"
        " charge_round, request, fingerprint, placed, changed, deadline, version, entries) VALUES (%d, %s, '%s', '%s', '', 0, 0, 0, "
        "0, 0,"
        " 0, '', 1, 'BRL', 'pix', 0, %s, 0, 0, 0, %lld, 1, 1)",
        n, key(n), status, saga, key(n), (long long)deadline_ms);
    wait_until(stage, "saga", n, due_ms);
}

ON_BOTH(retime, gives_an_unpaid_order_its_whole_time_and_looks_after_the_others_soon)
{
    struct stage stage;
    start(&stage, place, &order_class);
    int64_t ttl_ms = place->settings.order_ttl_ms;
    order(&stage, 1, "awaiting_payment", "paying", AHEAD + ttl_ms, AHEAD + ttl_ms);
    order(&stage, 2, "placed", "reserving", AHEAD + ttl_ms, AHEAD + 200);
    order(&stage, 3, "received", "committing", AHEAD + ttl_ms, AHEAD + 10000);
    order(&stage, 4, "awaiting_payment", "paying", NOW + 1000, NOW + 1000);
    order(&stage, 5, "awaiting_payment", "stuck", AHEAD + ttl_ms, DUE_NEVER);
    wait_until(&stage, "stray", 6, AHEAD);
    retime(&stage, 0);
    cr_expect(due(&stage, "saga", 1) == NOW + ttl_ms);
    cr_expect(number(&stage, "SELECT deadline FROM $order WHERE n = 1") == NOW + ttl_ms);
    cr_expect(due(&stage, "saga", 2) <= NOW + ttl_ms);
    cr_expect(number(&stage, "SELECT deadline FROM $order WHERE n = 2") == NOW + ttl_ms);
    cr_expect(due(&stage, "saga", 3) == NOW + 2 * place->settings.request_timeout_ms);
    cr_expect(due(&stage, "saga", 4) == NOW + 1000);
    cr_expect(due(&stage, "saga", 5) == DUE_NEVER);
    cr_expect(due(&stage, "stray", 6) <= NOW + 60000);
    stop(&stage);
}

/* --- payment --- */

static void
charge(struct stage *stage, int n, const char *provider, const char *status, int64_t changed_ms)
{
    run(stage,
        "INSERT INTO $charge (n, id, order_id, amount, currency, method, provider, status, refunded, refunding, reference, reason,"
        " attempts, created, changed) VALUES (%d, %s, %s, 5, 'BRL', 'pix', '%s', '%s', 0, 0, '', '', 1, 0, %lld)",
        n, key(n), key(n), provider, status, (long long)changed_ms);
}

ON_BOTH(retime, asks_for_a_charge_within_the_patience_that_it_has_come_to)
{
    struct stage stage;
    start(&stage, place, &payment_class);
    const struct settings *settings = &place->settings;
    const struct calls pending = {.wait = CALLS_WAIT_END, .accepted = 3};
    charge(&stage, 1, "simulated", "pending", AHEAD);
    wait_for_call(&stage, "charge", 1, AHEAD, &pending);
    charge(&stage, 2, "http", "pending", AHEAD);
    wait_for_call(&stage, "charge", 2, AHEAD, &pending);
    charge(&stage, 3, "http", "pending", AHEAD);
    wait_for_call(&stage, "charge", 3, AHEAD, &(struct calls){.wait = CALLS_WAIT_CALL});
    charge(&stage, 4, "http", "pending", AHEAD);
    wait_for_call(&stage, "charge", 4, AHEAD, &(struct calls){.wait = CALLS_WAIT_PAUSE, .failures = 2});
    wait_until(&stage, "told", 1, AHEAD);
    retime(&stage, 0);
    cr_expect(due(&stage, "charge", 1) == NOW + 4 * settings->payment_delay_ms);
    cr_expect(due(&stage, "charge", 2) == NOW + 40 * settings->call_timeout_ms * 5 / 4);
    cr_expect(due(&stage, "charge", 3) == NOW + 2 * settings->call_timeout_ms);
    cr_expect(due(&stage, "charge", 4) == NOW + BACKOFF_MAX_MS);
    cr_expect(due(&stage, "told", 1) == NOW + settings->payment_delay_ms);
    stop(&stage);
}

ON_BOTH(retime, forgets_a_doubt_that_lies_in_the_future_and_a_cancellation_too)
{
    struct stage stage;
    start(&stage, place, &payment_class);
    charge(&stage, 1, "http", "cancelled", AHEAD);
    wait_for_call(&stage, "charge", 1, DUE_TURN + AHEAD, &(struct calls){.wait = CALLS_WAIT_TURN, .doubted_ms = AHEAD / 1000 * 1000});
    charge(&stage, 2, "http", "cancelled", AHEAD);
    retime(&stage, 0);
    cr_expect(due(&stage, "charge", 1) == DUE_TURN + NOW);
    cr_expect(number(&stage, "SELECT changed FROM $charge WHERE n = 1") == NOW, "it is looked after for a day from now");
    cr_expect(number(&stage, "SELECT changed FROM $charge WHERE n = 2") == AHEAD, "nobody looks after it");
    struct db_statement *read = db_statement(stage.db, "SELECT payload FROM $due WHERE owner = 'charge'");
    place_expect(stage.db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    struct calls calls;
    calls_init(&calls, db_bytes(read, 0));
    cr_expect(calls.wait == CALLS_WAIT_TURN);
    cr_expect(calls.doubted_ms == NOW, "%lld", (long long)calls.doubted_ms);
    calls_fini(&calls);
    db_done(read);
    db_rollback(stage.db);
    stop(&stage);
}

/* --- factory --- */

static void
production(struct stage *stage, int n, const char *status, int64_t due_ms)
{
    run(stage,
        "INSERT INTO $production (n, id, product, quantity, status, ordered_at, due_at, done_at, attempts, accepted, error)"
        " VALUES (%d, %s, 'donut', 5, '%s', %lld, %lld, 0, 0, 2, '')",
        n, key(n), status, (long long)AHEAD, (long long)due_ms);
}

ON_BOTH(retime, gives_a_refill_its_lead_time_and_a_call_its_patience)
{
    struct stage stage;
    start(&stage, place, &factory_class);
    const struct settings *settings = &place->settings;
    production(&stage, 1, "ordered", AHEAD + settings->lead_time_ms);
    wait_until(&stage, "production", 1, AHEAD + settings->lead_time_ms);
    production(&stage, 2, "requested", 0);
    wait_for_call(&stage, "call", 2, AHEAD, &(struct calls){.wait = CALLS_WAIT_END});
    production(&stage, 3, "ordered", 0);
    wait_for_call(&stage, "call", 3, AHEAD, &(struct calls){.wait = CALLS_WAIT_CALL});
    retime(&stage, 0);
    cr_expect(due(&stage, "production", 1) == NOW + settings->lead_time_ms);
    cr_expect(number(&stage, "SELECT due_at FROM $production WHERE n = 1") == NOW + settings->lead_time_ms);
    cr_expect(due(&stage, "call", 2) == NOW + 20 * settings->call_timeout_ms * 5 / 4);
    cr_expect(number(&stage, "SELECT due_at FROM $production WHERE n = 2") == 0);
    cr_expect(due(&stage, "call", 3) == NOW + 2 * settings->call_timeout_ms);
    stop(&stage);
}

/* --- letters --- */

static void
letter(struct stage *stage, int n, int state, int kind, int64_t opened_ms, int64_t useful_ms)
{
    run(stage,
        "INSERT INTO $letter (n, id, state, kind, reason, error, destination, letter_key, type, source, seq, seq_to, row_owner, "
        "row_key,"
        " attempts, first, last, opened, changed, units, amount, currency, useful_until, request, replay, status, traceparent, "
        "principal)"
        " VALUES (%d, %s, %d, %d, '', '', 'stock/0', '', '', '', 0, 0, '', X'', 0, 0, 0, %lld, %lld, 0, 0, '', %lld, %s, %s, '', '', "
        "'')",
        n, key(n), state, kind, (long long)opened_ms, (long long)opened_ms, (long long)useful_ms, key(0), key(0));
}

ON_BOTH(retime, lets_a_letter_be_restored_and_a_request_be_useful_as_long_as_was_said)
{
    struct stage stage;
    start(&stage, place, &dlq_class);
    letter(&stage, 1, DLQ_DISCARDED, 0, AHEAD, 0);
    wait_until(&stage, "purge", 1, AHEAD + place->settings.undo_ms);
    letter(&stage, 2, DLQ_WAITING, DLQ_REQUEST, AHEAD, AHEAD + 70000);
    wait_until(&stage, "deliver", 2, AHEAD + 200);
    letter(&stage, 3, DLQ_WAITING, DLQ_REQUEST, NOW - 1000, NOW + 900000);
    wait_until(&stage, "asked", 1, AHEAD);
    for (int i = 0; i < 2; i++) {
        retime(&stage, 0);
        cr_expect(due(&stage, "purge", 1) == NOW + place->settings.undo_ms);
        cr_expect(number(&stage, "SELECT changed FROM $letter WHERE n = 1") == NOW);
        cr_expect(due(&stage, "deliver", 2) <= NOW + BACKOFF_MAX_MS);
        cr_expect(number(&stage, "SELECT useful_until FROM $letter WHERE n = 2") == NOW + 70000);
        cr_expect(number(&stage, "SELECT useful_until FROM $letter WHERE n = 3") == NOW + 900000);
        cr_expect(due(&stage, "asked", 1) <= NOW + BACKOFF_MAX_MS);
    }
    stop(&stage);
}

ON_BOTH(retime, takes_a_step_forward_behind_one_back)
{
    struct stage stage;
    start(&stage, place, &retries);
    run(&stage,
        "INSERT INTO $parked (source, seq, event_key, header, body, attempts, due, error) VALUES"
        " ('factory/0', 1, 'a', X'', X'', 1, %lld, '')",
        (long long)AHEAD);
    retime(&stage, -1000);
    retime(&stage, 2000);
    retime(&stage, -1000);
    cr_expect(number(&stage, "SELECT due FROM $parked WHERE seq = 1") == NOW + BACKOFF_MAX_MS);
    stop(&stage);
}

/* --- tokens --- */

#define LONG_AHEAD (-INT64_C(400) * 86400000)

static void
make_signer(struct stage *stage, struct token_key *key)
{
    struct db_statement *insert = db_statement(stage->db, "INSERT INTO $secret (name, secret) VALUES ('tokens', ?)");
    cr_assert(token_make_key(key) == ERR_ok);
    db_bind_bytes(insert, slice_of(key->private_pem));
    place_expect(stage->db, db_run(insert, NULL), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
}

static void
read_signer(struct stage *stage, struct token_key *key)
{
    struct db_statement *read = db_statement(stage->db, "SELECT secret FROM $secret WHERE name = 'tokens'");
    place_expect(stage->db, db_query(read), ERR_ok);
    cr_assert(db_next(read) && token_read_key(db_bytes(read, 0), key) == ERR_ok);
    db_done(read);
}

ON_BOTH(retime, retires_the_key_of_tokens_when_the_clock_was_ahead_by_more_than_they_last)
{
    struct stage stage;
    struct token_key before;
    struct token_key after;
    struct user_retired_key retired[USER_RETIRED_MAX];
    size_t count = 0;
    start(&stage, place, &user_class);
    retime(&stage, LONG_AHEAD);
    cr_expect(number(&stage, "SELECT COUNT(*) FROM $secret") == 0, "a shop without tokens needs no key");
    make_signer(&stage, &before);
    retime(&stage, 0);
    retime(&stage, -LONG_AHEAD);
    retime(&stage, -place->settings.token_ttl_ms);
    read_signer(&stage, &after);
    cr_expect_str_eq(after.kid, before.kid, "forward, or by little, it stays");
    retime(&stage, LONG_AHEAD);
    read_signer(&stage, &after);
    cr_expect_str_neq(after.kid, before.kid);
    place_expect(stage.db, user_token_read_retired(stage.db, retired, &count), ERR_ok);
    cr_assert_eq(count, 1);
    cr_expect_str_eq(retired[0].kid, before.kid);
    cr_expect_str_eq(retired[0].public_pem, before.public_pem);
    cr_expect_eq(retired[0].retired_ms, NOW);
    stop(&stage);
}

ON_BOTH(retime, keeps_as_many_retired_keys_as_can_be_told_and_the_latest_of_them)
{
    struct stage stage;
    struct token_key first;
    struct user_retired_key retired[USER_RETIRED_MAX];
    size_t count = 0;
    start(&stage, place, &user_class);
    make_signer(&stage, &first);
    for (int i = 0; i < USER_RETIRED_MAX + 2; i++) {
        retime_at(&stage, NOW + i, LONG_AHEAD);
    }
    place_expect(stage.db, user_token_read_retired(stage.db, retired, &count), ERR_ok);
    cr_expect_eq(count, USER_RETIRED_MAX);
    for (size_t i = 0; i < count; i++) {
        cr_expect(retired[i].retired_ms >= NOW + 2);
    }
    stop(&stage);
}
