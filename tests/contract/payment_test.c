/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The payment actor as a client sees it, on both databases: charges, refunds and webhooks, each asked once and again, early, late and
 * all together.
 *
 * STATE     One payment actor and a client; the provider is the simulated one, late by a few milliseconds.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "payment/payment.h"
#include "payment/provider/payment_signature.h"
#include "../support/kit_place.h"
#include "kit/actor.h"
#include "kit/base/clock.h"
#include "larder.h"
#include "link.h"
#include "kit/telemetry/log.h"
#include "../support/patience.h"
#include "kit/settings/topology.h"

#define WAIT_MS patience_ms(20000)
#define DELAY_MS 30
#define PAYMENT_OFFSET 4
#define MANY 300

struct stage {
    struct place *place;
    struct actor *actor;
    int ended_fd;
    struct larder_client *client;
    struct db *db; /* what the actor has committed */
};

/* --- life --- */

static void
run_payment(struct stage *stage)
{
    char endpoint[ENDPOINT_MAX];
    const char *peers[] = {endpoint};
    struct err_text why = {""};
    struct db_config config;
    err code = actor_start(&payment_class, &stage->place->settings, 0, stage->ended_fd, &stage->actor, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    topology_inproc("payment", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(larder_client_create(peers, 1, &stage->client, &why) == ERR_ok, "%s", why.text);
    cr_assert(settings_db(&stage->place->settings, "payment", 0, &config, &why) == ERR_ok, "%s", why.text);
    config.read_only = true;
    cr_assert(db_open(&config, &stage->db, &why) == ERR_ok, "%s", why.text);
}

static void
stop_payment(struct stage *stage)
{
    db_close(&stage->db);
    larder_client_destroy(&stage->client);
    cr_expect(actor_stop(&stage->actor) == ACTOR_STOPPED);
}

static void
start(struct stage *stage, struct place *place)
{
    *stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    place->settings.payment_delay_ms = DELAY_MS;
    place->settings.retry_first_ms = 5;
    log_init(false, LOG_LEVEL_ERROR);
    run_payment(stage);
}

static void
restart(struct stage *stage)
{
    stop_payment(stage);
    place_await_ports_of(stage->place, PAYMENT_OFFSET);
    run_payment(stage);
}

static int64_t
number(struct stage *stage, const char *sql)
{
    return place_number(stage->db, sql);
}

static void
tell(void *context, const char *sentence)
{
    (void)context;
    fprintf(stderr, "%s\n", sentence);
}

/* Proves the database, as `larder verify` does, and ends. */
static void
finish(struct stage *stage)
{
    struct verify_report report = {.say = tell};
    err code = payment_verify(stage->db, &report);
    cr_expect_eq(code, ERR_ok, "%s: %s", err_symbol(code), db_error(stage->db));
    cr_expect_eq(report.faults, 0, "%" PRId64 " faults", report.faults);
    db_rollback(stage->db);
    stop_payment(stage);
    close(stage->ended_fd);
}

/* --- asking --- */

static struct wire_payment_charge
charge_of(const struct id *order, int64_t amount, const char *method)
{
    struct wire_payment_charge body = {0};
    struct wire_money money = {0};
    WIRE_SET(&money, money, amount, amount);
    WIRE_SET(&money, money, currency, slice_of("BRL"));
    WIRE_SET(&body, payment_charge, order, *order);
    WIRE_SET(&body, payment_charge, amount, money);
    WIRE_SET(&body, payment_charge, method, slice_of(method));
    return body;
}

static const struct id ORDER = {{0x0a, 1}};

/* Asks for money for ORDER under the id; the slices of the answer live until the client is used again. */
static struct wire_charge
charge_again(struct stage *stage, const struct id *id, int64_t amount, bool again)
{
    struct wire_payment_charge body = charge_of(&ORDER, amount, "pix");
    struct larder_options options = {.id = *id, .again = again, .timeout_ms = WAIT_MS};
    struct wire_charge answer = {0};
    struct err_text why = {""};
    err code = payment_client_charge(stage->client, &options, &body, &answer, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return answer;
}

static struct wire_charge
charge(struct stage *stage, int64_t amount)
{
    struct id id = id_new();
    return charge_again(stage, &id, amount, false);
}

static struct wire_charge
get(struct stage *stage, const struct id *id)
{
    struct wire_payment_get body = {0};
    struct wire_charge answer = {0};
    struct err_text why = {""};
    WIRE_SET(&body, payment_get, charge, *id);
    err code = payment_client_get(stage->client, NULL, &body, &answer, &why);
    cr_assert(code == ERR_ok, "%s: %s", err_symbol(code), why.text);
    return answer;
}

static void
expect_status(struct slice status, const char *wanted)
{
    cr_expect(slice_equal(status, slice_of(wanted)), "it is %.*s and not %s", (int)status.size, (const char *)status.data, wanted);
}

/* The charge when it has come to that status. */
static struct wire_charge
await(struct stage *stage, const struct id *id, const char *status)
{
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;;) {
        struct wire_charge now = get(stage, id);
        if (slice_equal(now.status, slice_of(status))) {
            return now;
        }
        cr_assert(link_steady_ms() < until_ms, "it is %.*s and not %s", (int)now.status.size, (const char *)now.status.data, status);
    }
}

static err
cancel(struct stage *stage, const struct id *id, struct wire_charge *answer)
{
    struct wire_payment_cancel body = {0};
    struct err_text why = {""};
    WIRE_SET(&body, payment_cancel, charge, *id);
    WIRE_SET(&body, payment_cancel, order, ORDER);
    return payment_client_cancel(stage->client, NULL, &body, answer, &why);
}

/* Of all that is left when `amount` is 0. */
static err
refund_as(struct stage *stage, const struct id *id, const struct id *of, int64_t amount, struct wire_refund *answer)
{
    struct wire_payment_refund body = {0};
    struct larder_options options = {.id = *id, .timeout_ms = WAIT_MS};
    struct err_text why = {""};
    WIRE_SET(&body, payment_refund, charge, *of);
    if (amount > 0) {
        WIRE_SET(&body, payment_refund, amount, amount);
    }
    return payment_client_refund(stage->client, &options, &body, answer, &why);
}

static err
refund(struct stage *stage, const struct id *of, int64_t amount, struct wire_refund *answer)
{
    struct id id = id_new();
    return refund_as(stage, &id, of, amount, answer);
}

/* The number of events of the type that were told so far. */
static int64_t
told(struct stage *stage, const char *type)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM $outbox WHERE topic LIKE '%s.%%'", type);
    return number(stage, sql);
}

/* --- charges --- */

ON_BOTH(payment, a_charge_is_approved_at_once_and_told_once)
{
    struct stage stage;
    start(&stage, place);
    struct id id = id_new();
    struct wire_charge first = charge_again(&stage, &id, 2500, false);
    expect_status(first.status, "succeeded");
    cr_expect(id_equal(&first.id, &id) && id_equal(&first.order, &ORDER));
    cr_expect_eq(first.number, 1);
    cr_expect_eq(first.amount.amount, 2500);
    cr_expect_eq(first.attempts, 1);
    struct wire_charge again = charge_again(&stage, &id, 2500, true);
    expect_status(again.status, "succeeded");
    cr_expect_eq(again.number, 1);
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    struct wire_payment_charge other = charge_of(&ORDER, 2600, "pix");
    struct larder_options options = {.id = id, .again = true};
    struct err_text why = {""};
    cr_expect_eq(payment_client_charge(stage.client, &options, &other, NULL, &why), ERR_idempotency_mismatch);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $charge"), 1);
    finish(&stage);
}

ON_BOTH(payment, a_refusal_says_why_and_another_charge_replaces_it)
{
    struct stage stage;
    start(&stage, place);
    struct wire_charge refused = charge(&stage, 2501);
    expect_status(refused.status, "failed");
    cr_expect(refused.reason.size > 0);
    struct id id = id_new();
    struct wire_payment_charge body = charge_of(&ORDER, 2500, "credit_card");
    struct larder_options options = {.id = id};
    struct wire_charge answer = {0};
    struct err_text why = {""};
    WIRE_SET(&body, payment_charge, replaces, refused.id);
    cr_assert_eq(payment_client_charge(stage.client, &options, &body, &answer, &why), ERR_ok, "%s", why.text);
    expect_status(answer.status, "succeeded");
    cr_expect(id_equal(&answer.replaces, &refused.id));
    struct id other_order = id_new();
    WIRE_SET(&body, payment_charge, order, other_order);
    cr_expect_eq(payment_client_charge(stage.client, NULL, &body, &answer, &why), ERR_invalid_field);
    cr_expect_eq(told(&stage, "payment.failed"), 1);
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    finish(&stage);
}

struct habit {
    int64_t amount;
    const char *first;
    const char *end;
    int64_t attempts;
};

ON_BOTH(payment, simulated_amounts_go_the_way_of_an_outside_provider)
{
    static const struct habit habits[] = {
        {2502, "pending", "succeeded", 2}, {2503, "pending", "succeeded", 3},   {2504, "pending", "succeeded", 2},
        {2510, "pending", "failed", 2},    {2505, "succeeded", "succeeded", 1}, {2507, "succeeded", "succeeded", 1},
    };
    struct stage stage;
    struct id ids[sizeof habits / sizeof *habits];
    start(&stage, place);
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        struct wire_charge first = charge(&stage, habits[i].amount);
        expect_status(first.status, habits[i].first);
        ids[i] = first.id;
    }
    for (size_t i = 0; i < sizeof habits / sizeof *habits; i++) {
        struct wire_charge last = await(&stage, &ids[i], habits[i].end);
        cr_expect_eq(last.attempts, habits[i].attempts, "%d: %d attempts", (int)habits[i].amount, (int)last.attempts);
    }
    for (int64_t until_ms = link_steady_ms() + WAIT_MS;
         number(&stage, "SELECT COUNT(*) FROM $webhook WHERE outcome = 'ignored'") < 2;) {
        cr_assert(link_steady_ms() < until_ms, "what is told twice is noted as ignored");
    }
    cr_expect_eq(told(&stage, "payment.succeeded"), 5);
    cr_expect_eq(told(&stage, "payment.failed"), 1);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due"), 0);
    finish(&stage);
}

ON_BOTH(payment, what_is_pending_goes_on_after_a_restart)
{
    struct stage stage;
    place->settings.request_timeout_ms = WAIT_MS;
    start(&stage, place);
    struct id lost = charge(&stage, 1003).id;
    struct id late = charge(&stage, 1004).id;
    restart(&stage);
    (void)await(&stage, &lost, "succeeded");
    (void)await(&stage, &late, "succeeded");
    cr_expect_eq(told(&stage, "payment.succeeded"), 2);
    finish(&stage);
}

ON_BOTH(payment, what_is_no_charge_is_refused_by_the_name_of_its_field)
{
    struct stage stage;
    struct err_text why = {""};
    start(&stage, place);
    struct wire_payment_charge body = charge_of(&ORDER, 100, "cheque");
    cr_expect_eq(payment_client_charge(stage.client, NULL, &body, NULL, &why), ERR_invalid_field);
    cr_expect_not_null(strstr(why.text, "payment_charge.method"), "%s", why.text);
    body = charge_of(&ORDER, 100, "unknown");
    cr_expect_eq(payment_client_charge(stage.client, NULL, &body, NULL, &why), ERR_invalid_field);
    body = charge_of(&ORDER, 100, "pix");
    body.amount.currency = slice_of("brl");
    cr_expect_eq(payment_client_charge(stage.client, NULL, &body, NULL, &why), ERR_invalid_field);
    cr_expect_not_null(strstr(why.text, "payment_charge.amount"), "%s", why.text);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $charge"), 0);
    finish(&stage);
}

/* Sends that many first attempts without waiting, and takes all answers; an id may be among them that is taken already. */
static int
charge_many(struct stage *stage, const struct id *taken, int64_t amount)
{
    int cancelled = 0;
    for (int i = 0; i < MANY; i++) {
        struct wire_payment_charge body = charge_of(&ORDER, amount, "pix");
        struct larder_request request = {.op = OP_payment_charge, .body = &body, .options = {.timeout_ms = WAIT_MS, .attempts = 1}};
        request.options.id = taken != NULL && i == MANY / 2 ? *taken : id_new();
        cr_assert_eq(larder_client_send(stage->client, &request), ERR_ok);
    }
    for (int i = 0; i < MANY; i++) {
        struct larder_reply reply;
        struct wire_charge answer = {0};
        struct err_text why = {""};
        cr_assert_eq(larder_client_receive(stage->client, WAIT_MS, &reply), ERR_ok);
        cr_assert_eq(reply.status, ERR_ok, "%s", err_symbol(reply.status));
        cr_assert_eq(larder_reply_decode(&reply, &answer, &why), ERR_ok, "%s", why.text);
        cancelled += slice_equal(answer.status, slice_of("cancelled")) ? 1 : 0;
    }
    return cancelled;
}

ON_BOTH(payment, many_at_once_are_numbered_without_a_gap)
{
    struct stage stage;
    start(&stage, place);
    cr_expect_eq(charge_many(&stage, NULL, 100), 0);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $charge"), MANY);
    cr_expect_eq(number(&stage, "SELECT MAX(n) FROM $charge"), MANY);
    cr_expect_eq(told(&stage, "payment.succeeded"), MANY);
    finish(&stage);
}

ON_BOTH(payment, one_that_was_cancelled_before_does_not_hold_up_its_neighbours)
{
    struct stage stage;
    struct wire_charge answer = {0};
    struct id early = id_new();
    start(&stage, place);
    cr_assert_eq(cancel(&stage, &early, &answer), ERR_ok);
    expect_status(answer.status, "cancelled");
    cr_expect_eq(charge_many(&stage, &early, 2500), 1);
    struct wire_charge late = get(&stage, &early);
    expect_status(late.status, "cancelled");
    cr_expect_eq(late.amount.amount, 2500);
    cr_expect_eq(told(&stage, "payment.succeeded"), MANY - 1);
    finish(&stage);
}

/* --- cancelling --- */

ON_BOTH(payment, a_cancel_before_its_charge_is_remembered_with_and_without_a_restart)
{
    struct stage stage;
    struct wire_charge answer = {0};
    struct id first = id_new();
    struct id second = id_new();
    start(&stage, place);
    cr_assert_eq(cancel(&stage, &first, &answer), ERR_ok);
    cr_assert_eq(cancel(&stage, &first, &answer), ERR_ok);
    cr_assert_eq(cancel(&stage, &second, &answer), ERR_ok);
    expect_status(charge_again(&stage, &first, 2500, false).status, "cancelled");
    restart(&stage);
    expect_status(charge_again(&stage, &second, 2500, true).status, "cancelled");
    cr_expect_eq(told(&stage, "payment."), 0);
    cr_expect_eq(number(&stage, "SELECT SUM(attempts) FROM $charge"), 0);
    finish(&stage);
}

ON_BOTH(payment, what_is_paid_is_not_cancelled_and_what_failed_stays_so)
{
    struct stage stage;
    struct wire_charge answer = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 2500).id;
    struct id refused = charge(&stage, 2501).id;
    cr_expect_eq(cancel(&stage, &paid, &answer), ERR_charge_closed);
    cr_assert_eq(cancel(&stage, &refused, &answer), ERR_ok);
    expect_status(answer.status, "failed");
    finish(&stage);
}

ON_BOTH(payment, a_cancelled_charge_that_is_paid_after_all_is_told)
{
    struct stage stage;
    struct wire_charge answer = {0};
    start(&stage, place);
    place->settings.payment_delay_ms = 1500; /* time to cancel */
    restart(&stage);
    struct id taken = charge(&stage, 2502).id;
    struct id not_taken = charge(&stage, 2503).id;
    cr_assert_eq(cancel(&stage, &taken, &answer), ERR_ok);
    expect_status(answer.status, "cancelled");
    cr_assert_eq(cancel(&stage, &not_taken, &answer), ERR_ok);
    (void)await(&stage, &taken, "succeeded");
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; number(&stage, "SELECT COUNT(*) FROM $due") > 0;) {
        cr_assert(link_steady_ms() < until_ms, "nothing is asked any more");
    }
    struct wire_charge end = get(&stage, &not_taken);
    expect_status(end.status, "cancelled");
    cr_expect_eq(end.attempts, 2, "created, and asked for");
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    finish(&stage);
}

ON_BOTH(payment, a_cancel_in_the_name_of_another_order_finds_nothing)
{
    struct stage stage;
    struct wire_payment_cancel body = {0};
    struct err_text why = {""};
    start(&stage, place);
    WIRE_SET(&body, payment_cancel, charge, charge(&stage, 2506).id);
    WIRE_SET(&body, payment_cancel, order, id_new());
    cr_expect_eq(payment_client_cancel(stage.client, NULL, &body, NULL, &why), ERR_unknown_charge);
    expect_status(get(&stage, &body.charge).status, "pending");
    finish(&stage);
}

/* --- refunds --- */

ON_BOTH(payment, never_more_is_paid_back_than_was_paid)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    struct id id = id_new();
    cr_expect_eq(refund(&stage, &paid, 1001, &back), ERR_not_refundable);
    cr_assert_eq(refund_as(&stage, &id, &paid, 400, &back), ERR_ok);
    expect_status(back.status, "succeeded");
    cr_assert_eq(refund_as(&stage, &id, &paid, 400, &back), ERR_ok, "the same refund, asked again");
    cr_expect_eq(get(&stage, &paid).refunded, 400);
    cr_expect_eq(refund(&stage, &paid, 601, &back), ERR_not_refundable);
    cr_assert_eq(refund(&stage, &paid, 0, &back), ERR_ok);
    cr_expect_eq(back.amount.amount, 600);
    cr_expect_eq(refund(&stage, &paid, 0, &back), ERR_not_refundable);
    cr_expect_eq(refund(&stage, &paid, 1, &back), ERR_not_refundable);
    cr_expect_eq(get(&stage, &paid).refunded, 1000);
    cr_expect_eq(told(&stage, "payment.refunded"), 2);
    struct id unknown = id_new();
    cr_expect_eq(refund(&stage, &unknown, 0, &back), ERR_unknown_charge);
    struct id refused = charge(&stage, 1001).id;
    cr_expect_eq(refund(&stage, &refused, 0, &back), ERR_not_refundable);
    finish(&stage);
}

ON_BOTH(payment, a_refund_on_its_way_counts_and_one_that_failed_does_not)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id late = charge(&stage, 1009).id;
    cr_assert_eq(refund(&stage, &late, 1000, &back), ERR_ok);
    expect_status(back.status, "pending");
    cr_expect_eq(refund(&stage, &late, 10, &back), ERR_not_refundable);
    for (int64_t until_ms = link_steady_ms() + WAIT_MS; get(&stage, &late).refunded < 1000;) {
        cr_assert(link_steady_ms() < until_ms, "the late refund arrives");
    }
    cr_expect_eq(told(&stage, "payment.refunded"), 1);
    struct id refused = charge(&stage, 1008).id;
    cr_assert_eq(refund(&stage, &refused, 0, &back), ERR_ok);
    expect_status(back.status, "failed");
    cr_assert_eq(refund(&stage, &refused, 0, &back), ERR_ok, "another one may be tried");
    cr_expect_eq(get(&stage, &refused).refunded, 0);
    cr_expect_eq(told(&stage, "payment.refund_failed"), 2);
    finish(&stage);
}

ON_BOTH(payment, a_charge_over_nothing_is_paid_and_paid_back)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct wire_charge free = charge(&stage, 0);
    expect_status(free.status, "succeeded");
    struct id id = free.id;
    cr_assert_eq(refund(&stage, &id, 0, &back), ERR_ok);
    expect_status(back.status, "succeeded");
    cr_expect_eq(back.amount.amount, 0);
    finish(&stage);
}

ON_BOTH(payment, the_largest_amount_is_charged_and_paid_back)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id id = charge(&stage, LEVEL_MAX).id;
    cr_assert_eq(refund(&stage, &id, LEVEL_MAX, &back), ERR_ok);
    cr_expect_eq(get(&stage, &id).refunded, LEVEL_MAX);
    finish(&stage);
}

ON_BOTH(payment, refunds_and_charges_are_read_in_pages)
{
    struct stage stage;
    struct wire_refund back = {0};
    struct err_text why = {""};
    start(&stage, place);
    struct id first = charge(&stage, 300).id;
    struct id other = id_new();
    struct wire_payment_charge elsewhere = charge_of(&other, 300, "debit_card");
    cr_assert_eq(payment_client_charge(stage.client, NULL, &elsewhere, NULL, &why), ERR_ok);
    (void)charge(&stage, 300);
    cr_assert_eq(refund(&stage, &first, 100, &back), ERR_ok);
    cr_assert_eq(refund(&stage, &first, 50, &back), ERR_ok);
    struct wire_payment_refunds of = {0};
    struct wire_refund_page refunds = {0};
    WIRE_SET(&of, payment_refunds, charge, first);
    cr_assert_eq(payment_client_refunds(stage.client, NULL, &of, &refunds, &why), ERR_ok, "%s", why.text);
    cr_expect_eq(refunds.refunds.count, 2);
    cr_assert(wire_list_next(&refunds.refunds, &refund_body, &back));
    cr_expect_eq(back.amount.amount, 100, "the oldest first");
    struct wire_payment_list list = {0};
    struct wire_charge_page page = {0};
    struct wire_charge one = {0};
    WIRE_SET(&list, payment_list, order, ORDER);
    WIRE_SET(&list, payment_list, limit, 1);
    cr_assert_eq(payment_client_list(stage.client, NULL, &list, &page, &why), ERR_ok, "%s", why.text);
    cr_expect(page.has_more && wire_list_next(&page.charges, &charge_body, &one) && one.number == 3);
    WIRE_SET(&list, payment_list, before, one.number);
    cr_assert_eq(payment_client_list(stage.client, NULL, &list, &page, &why), ERR_ok, "%s", why.text);
    cr_expect(!page.has_more && wire_list_next(&page.charges, &charge_body, &one) && one.number == 1);
    finish(&stage);
}

/* --- by hand --- */

static err
confirm(struct stage *stage, const struct id *id, bool approved, struct wire_charge *answer)
{
    struct wire_payment_confirm body = {0};
    struct err_text why = {""};
    WIRE_SET(&body, payment_confirm, charge, *id);
    if (!approved) {
        WIRE_SET(&body, payment_confirm, approved, false);
    }
    return payment_client_confirm(stage->client, NULL, &body, answer, &why);
}

ON_BOTH(payment, cash_waits_for_an_employee)
{
    struct stage stage;
    struct wire_charge answer = {0};
    struct wire_refund back = {0};
    struct err_text why = {""};
    struct wire_payment_charge body = charge_of(&ORDER, 2501, "money");
    start(&stage, place);
    cr_assert_eq(payment_client_charge(stage.client, NULL, &body, &answer, &why), ERR_ok, "%s", why.text);
    expect_status(answer.status, "pending");
    expect_status(answer.provider, "by_hand");
    struct id paid = answer.id;
    cr_assert_eq(payment_client_charge(stage.client, NULL, &body, &answer, &why), ERR_ok);
    struct id unpaid = answer.id;
    cr_assert_eq(payment_client_charge(stage.client, NULL, &body, &answer, &why), ERR_ok);
    struct id cancelled = answer.id;
    cr_assert_eq(confirm(&stage, &paid, true, &answer), ERR_ok);
    expect_status(answer.status, "succeeded");
    cr_assert_eq(confirm(&stage, &paid, true, &answer), ERR_ok, "said twice");
    cr_expect_eq(confirm(&stage, &paid, false, &answer), ERR_charge_closed);
    cr_assert_eq(confirm(&stage, &unpaid, false, &answer), ERR_ok);
    expect_status(answer.status, "failed");
    cr_assert_eq(cancel(&stage, &cancelled, &answer), ERR_ok);
    cr_expect_eq(confirm(&stage, &cancelled, true, &answer), ERR_charge_closed);
    struct id simulated = charge(&stage, 2506).id;
    cr_expect_eq(confirm(&stage, &simulated, true, &answer), ERR_invalid_field);
    cr_assert_eq(refund(&stage, &paid, 0, &back), ERR_ok);
    expect_status(back.status, "succeeded");
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    cr_expect_eq(told(&stage, "payment.failed"), 1);
    finish(&stage);
}

/* --- webhooks --- */

struct webhook {
    char id[64];
    char timestamp[24];
    char signature[PAYMENT_SIGNATURE_SIZE];
    char text[512];
    struct wire_payment_webhook body;
};

/* Signed with the well-known secret, `late_s` seconds ago. */
static void
sign_text(struct webhook *webhook, const char *id, int64_t late_s)
{
    struct payment_key key;
    cr_assert(sodium_init() >= 0 && payment_key_parse(PAYMENT_DEMO_SECRET, &key));
    (void)snprintf(webhook->id, sizeof webhook->id, "%s", id);
    (void)snprintf(webhook->timestamp, sizeof webhook->timestamp, "%" PRId64, clock_utc_ms() / 1000 - late_s);
    payment_sign(&key, &(struct payment_signed){slice_of(webhook->id), slice_of(webhook->timestamp), slice_of(webhook->text)},
                 webhook->signature);
    webhook->body = (struct wire_payment_webhook){0};
    WIRE_SET(&webhook->body, payment_webhook, webhook_id, slice_of(webhook->id));
    WIRE_SET(&webhook->body, payment_webhook, timestamp, slice_of(webhook->timestamp));
    WIRE_SET(&webhook->body, payment_webhook, signature, slice_of(webhook->signature));
    WIRE_SET(&webhook->body, payment_webhook, body, slice_of(webhook->text));
}

static void
make(struct webhook *webhook, const char *id, const char *type, const struct id *of)
{
    char text[ID_TEXT_SIZE];
    id_format(of, text);
    (void)snprintf(webhook->text, sizeof webhook->text,
                   "{\"type\":\"%s\",\"data\":{\"charge\":\"%s\",\"reason\":\"bank\",\"more\":[1]}}", type, text);
    sign_text(webhook, id, 0);
}

static err
post(struct stage *stage, const struct webhook *webhook, const char *outcome)
{
    struct wire_payment_noted noted = {0};
    struct err_text why = {""};
    err code = payment_client_webhook(stage->client, NULL, &webhook->body, &noted, &why);
    if (outcome != NULL) {
        cr_assert_eq(code, ERR_ok, "%s: %s", err_symbol(code), why.text);
        expect_status(noted.outcome, outcome);
    }
    return code;
}

ON_BOTH(payment, a_webhook_ends_a_pending_charge_once)
{
    struct stage stage;
    struct webhook webhook;
    start(&stage, place);
    struct id id = charge(&stage, 2506).id;
    make(&webhook, "w-1", "charge.succeeded", &id);
    post(&stage, &webhook, "applied");
    post(&stage, &webhook, "ignored");
    make(&webhook, "w-2", "charge.succeeded", &id);
    post(&stage, &webhook, "ignored");
    make(&webhook, "w-3", "charge.failed", &id);
    post(&stage, &webhook, "ignored");
    struct wire_charge paid = get(&stage, &id);
    expect_status(paid.status, "succeeded");
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    cr_expect_eq(told(&stage, "payment.failed"), 0);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook"), 3);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due"), 0, "nothing is asked any more");
    finish(&stage);
}

ON_BOTH(payment, a_success_counts_after_a_refusal_and_after_a_cancellation)
{
    struct stage stage;
    struct webhook webhook;
    struct wire_charge answer = {0};
    start(&stage, place);
    struct id refused = charge(&stage, 2501).id;
    struct id cancelled = charge(&stage, 2506).id;
    cr_assert_eq(cancel(&stage, &cancelled, &answer), ERR_ok);
    make(&webhook, "w-1", "charge.failed", &cancelled);
    post(&stage, &webhook, "ignored");
    make(&webhook, "w-2", "charge.succeeded", &cancelled);
    post(&stage, &webhook, "applied");
    make(&webhook, "w-3", "charge.succeeded", &refused);
    post(&stage, &webhook, "applied");
    cr_expect_eq(told(&stage, "payment.succeeded"), 2);
    cr_expect_eq(told(&stage, "payment.failed"), 1);
    finish(&stage);
}

ON_BOTH(payment, a_webhook_before_its_charge_is_parked_and_applied)
{
    struct stage stage;
    struct webhook webhook;
    start(&stage, place);
    struct id early = id_new();
    struct id never = id_new();
    make(&webhook, "w-1", "charge.failed", &early);
    post(&stage, &webhook, "parked");
    make(&webhook, "w-2", "charge.succeeded", &early);
    post(&stage, &webhook, "parked");
    post(&stage, &webhook, "ignored");
    make(&webhook, "w-3", "charge.succeeded", &never);
    post(&stage, &webhook, "parked");
    restart(&stage);
    struct wire_charge known = charge_again(&stage, &early, 2506, false);
    expect_status(known.status, "succeeded");
    cr_expect_eq(known.attempts, 0, "nobody had to be asked");
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL"), 1);
    struct wire_charge answer = {0};
    cr_assert_eq(cancel(&stage, &never, &answer), ERR_ok);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL"), 0);
    finish(&stage);
}

/* Sends without waiting: all fall into few batches. */
static void
send_webhook(struct stage *stage, const struct webhook *webhook)
{
    struct larder_request request = {
        .op = OP_payment_webhook, .body = &webhook->body, .options = {.id = id_new(), .timeout_ms = WAIT_MS, .attempts = 1}};
    cr_assert_eq(larder_client_send(stage->client, &request), ERR_ok);
}

ON_BOTH(payment, webhooks_and_their_charge_at_the_same_moment_are_one_payment)
{
    struct stage stage;
    struct webhook webhook;
    int outcomes[3] = {0, 0, 0};
    start(&stage, place);
    for (int round = 0; round < 20; round++) {
        char id[32];
        struct wire_payment_charge body = charge_of(&ORDER, 2506, "pix");
        struct larder_request request = {
            .op = OP_payment_charge, .body = &body, .options = {.id = id_new(), .timeout_ms = WAIT_MS, .attempts = 1}};
        (void)snprintf(id, sizeof id, "round-%d", round);
        make(&webhook, id, "charge.succeeded", &request.options.id);
        send_webhook(&stage, &webhook);
        send_webhook(&stage, &webhook);
        cr_assert_eq(larder_client_send(stage.client, &request), ERR_ok);
        send_webhook(&stage, &webhook);
    }
    for (int i = 0; i < 80; i++) {
        struct larder_reply reply;
        struct wire_payment_noted noted = {0};
        struct err_text why = {""};
        cr_assert_eq(larder_client_receive(stage.client, WAIT_MS, &reply), ERR_ok);
        cr_assert_eq(reply.status, ERR_ok, "%s", err_symbol(reply.status));
        if (reply.op == OP_payment_webhook) {
            cr_assert_eq(larder_reply_decode(&reply, &noted, &why), ERR_ok);
            outcomes[0] += slice_equal(noted.outcome, slice_of("applied")) ? 1 : 0;
            outcomes[1] += slice_equal(noted.outcome, slice_of("parked")) ? 1 : 0;
            outcomes[2] += slice_equal(noted.outcome, slice_of("ignored")) ? 1 : 0;
        }
    }
    cr_expect_eq(outcomes[0] + outcomes[1], 20, "%d applied, %d parked", outcomes[0], outcomes[1]);
    cr_expect_eq(outcomes[2], 40);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $charge WHERE status = 'succeeded'"), 20);
    cr_expect_eq(told(&stage, "payment.succeeded"), 20);
    finish(&stage);
}

ON_BOTH(payment, what_is_not_signed_right_is_refused_and_leaves_nothing)
{
    struct stage stage;
    struct webhook webhook;
    start(&stage, place);
    struct id id = charge(&stage, 2506).id;
    make(&webhook, "w-1", "charge.succeeded", &id);
    webhook.signature[10] ^= 1;
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature);
    make(&webhook, "w-1", "charge.succeeded", &id);
    webhook.body.has &= ~(UINT64_C(1) << payment_webhook_BIT_signature);
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature);
    make(&webhook, "w-1", "charge.succeeded", &id);
    sign_text(&webhook, "w-1", 302);
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature);
    sign_text(&webhook, "w-1", -302);
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature);
    webhook.text[12] ^= 1;
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook"), 0);
    make(&webhook, "w-1", "charge.succeeded", &id);
    sign_text(&webhook, "w-1", 298);
    post(&stage, &webhook, "applied");
    finish(&stage);
}

ON_BOTH(payment, a_signed_body_that_says_nothing_is_refused_or_ignored)
{
    static const char *const broken[] = {
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        "{\"type\":7}",
        "{\"type\":\"charge.succeeded\"}",
        "{\"type\":\"charge.succeeded\",\"data\":[]}",
        "{\"type\":\"charge.succeeded\",\"data\":{\"charge\":\"x\"}}",
        "{\"type\":\"a\",\"type\":\"a\"}",
        "{\"type\":\"refund.succeeded\",\"data\":{\"charge\":\"00000000-0000-7000-8000-000000000001\"}}",
        "{\"type\":\"charge.failed\",\"data\":{\"charge\":\"00000000-0000-7000-8000-000000000001\",\"refund\":null}}"};
    struct stage stage;
    struct webhook webhook;
    start(&stage, place);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        (void)snprintf(webhook.text, sizeof webhook.text, "%s", broken[i]);
        sign_text(&webhook, "w-1", 0);
        err code = post(&stage, &webhook, NULL);
        cr_expect(code == ERR_malformed || code == ERR_invalid_field, "%s: %s", broken[i], err_symbol(code));
    }
    (void)snprintf(webhook.text, sizeof webhook.text, "{\"type\":\"payout.created\",\"data\":{}}");
    sign_text(&webhook, "w-1", 0);
    post(&stage, &webhook, "ignored");
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook"), 1, "what was signed is kept, also of a type that is not known");
    finish(&stage);
}

ON_BOTH(payment, without_a_secret_every_webhook_is_refused)
{
    struct stage stage;
    struct webhook webhook;
    struct id id = id_new();
    (void)snprintf(place->settings.http, sizeof place->settings.http, "10.0.0.1:8080");
    start(&stage, place);
    make(&webhook, "w-1", "charge.succeeded", &id);
    cr_expect_eq(post(&stage, &webhook, NULL), ERR_bad_signature, "the well-known secret is good on loopback alone");
    finish(&stage);
}

ON_BOTH(payment, a_webhook_about_a_refund_ends_it)
{
    struct stage stage;
    struct webhook webhook;
    struct wire_refund back = {0};
    char charge_text[ID_TEXT_SIZE];
    char refund_text[ID_TEXT_SIZE];
    place->settings.payment_delay_ms = 600000;
    stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR);
    run_payment(&stage);
    struct id paid = charge(&stage, 1009).id;
    cr_assert_eq(refund(&stage, &paid, 0, &back), ERR_ok);
    expect_status(back.status, "pending");
    id_format(&paid, charge_text);
    id_format(&back.id, refund_text);
    (void)snprintf(webhook.text, sizeof webhook.text, "{\"type\":\"refund.succeeded\",\"data\":{\"charge\":\"%s\",\"refund\":\"%s\"}}",
                   charge_text, refund_text);
    sign_text(&webhook, "w-1", 0);
    post(&stage, &webhook, "applied");
    cr_expect_eq(get(&stage, &paid).refunded, 1009);
    (void)snprintf(webhook.text, sizeof webhook.text, "{\"type\":\"refund.failed\",\"data\":{\"charge\":\"%s\",\"refund\":\"%s\"}}",
                   charge_text, charge_text);
    sign_text(&webhook, "w-2", 0);
    post(&stage, &webhook, "ignored");
    cr_expect_eq(told(&stage, "payment.refunded"), 1);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due"), 0);
    finish(&stage);
}

/* --- refunds that were made elsewhere --- */

/* Tells of a refund of the charge: `more` is what else stands in data, with a comma before it. */
static void
tell_refund(struct stage *stage, const char *webhook_id, const struct id *of, const char *more, const char *outcome)
{
    struct webhook webhook;
    char text[ID_TEXT_SIZE];
    id_format(of, text);
    (void)snprintf(webhook.text, sizeof webhook.text, "{\"type\":\"refund.succeeded\",\"data\":{\"charge\":\"%s\"%s}}", text, more);
    sign_text(&webhook, webhook_id, 0);
    post(stage, &webhook, outcome);
}

ON_BOTH(payment, a_refund_made_elsewhere_is_booked_once_by_whatever_name_it_is_told)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    tell_refund(&stage, "w-1", &paid, ",\"reference\":\"re_1\",\"amount\":300,\"currency\":\"BRL\"", "applied");
    tell_refund(&stage, "w-2", &paid, ",\"refund\":\"re_1\",\"amount\":300", "ignored");
    tell_refund(&stage, "w-3", &paid, ",\"refund\":\"5f5a3a3e-5b1f-4d9b-8a39-2f6d9d3a0a01\",\"amount\":100", "applied");
    tell_refund(&stage, "w-4", &paid, ",\"reference\":\"5f5a3a3e-5b1f-4d9b-8a39-2f6d9d3a0a01\"", "ignored");
    restart(&stage);
    tell_refund(&stage, "w-5", &paid, ",\"reference\":\"re_1\",\"amount\":300", "ignored");
    cr_expect_eq(get(&stage, &paid).refunded, 400);
    cr_expect_eq(refund(&stage, &paid, 601, &back), ERR_not_refundable, "600 are left");
    cr_assert_eq(refund(&stage, &paid, 0, &back), ERR_ok);
    cr_expect_eq(back.amount.amount, 600);
    cr_expect_eq(told(&stage, "payment.refunded"), 3);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $refund WHERE elsewhere = 1"), 2);
    finish(&stage);
}

ON_BOTH(payment, a_refund_made_elsewhere_without_an_amount_is_all_that_is_left)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    cr_assert_eq(refund(&stage, &paid, 400, &back), ERR_ok);
    tell_refund(&stage, "w-1", &paid, ",\"refund\":\"5f5a3a3e-5b1f-4d9b-8a39-2f6d9d3a0a01\"", "applied");
    cr_expect_eq(get(&stage, &paid).refunded, 1000);
    cr_expect_eq(refund(&stage, &paid, 0, &back), ERR_not_refundable);
    tell_refund(&stage, "w-2", &paid, ",\"reference\":\"re_2\"", "ignored");
    cr_expect_eq(number(&stage, "SELECT SUM(amount) FROM $refund"), 1000);
    finish(&stage);
}

ON_BOTH(payment, more_than_is_left_is_booked_as_far_as_it_goes_and_disputed)
{
    struct stage stage;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    cr_assert_eq(refund(&stage, &paid, 400, &back), ERR_ok);
    tell_refund(&stage, "w-1", &paid, ",\"reference\":\"re_1\",\"amount\":1000", "disputed");
    cr_expect_eq(get(&stage, &paid).refunded, 1000);
    tell_refund(&stage, "w-2", &paid, ",\"reference\":\"re_2\",\"amount\":1", "disputed");
    struct id other = charge(&stage, 1000).id;
    tell_refund(&stage, "w-3", &other, ",\"reference\":\"re_3\",\"amount\":1000,\"currency\":\"EUR\"", "disputed");
    cr_expect_eq(get(&stage, &other).refunded, 0);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'note'"), 3, "each has a letter");
    finish(&stage);
}

ON_BOTH(payment, a_refund_told_before_its_charge_is_paid_waits_for_that)
{
    struct stage stage;
    struct webhook webhook;
    struct wire_refund back = {0};
    start(&stage, place);
    struct id open = charge(&stage, 2506).id;
    tell_refund(&stage, "w-1", &open, ",\"reference\":\"re_1\",\"amount\":2506", "parked");
    restart(&stage);
    make(&webhook, "w-2", "charge.succeeded", &open);
    post(&stage, &webhook, "applied");
    cr_expect_eq(get(&stage, &open).refunded, 2506);
    cr_expect_eq(refund(&stage, &open, 0, &back), ERR_not_refundable);
    cr_expect_eq(told(&stage, "payment.refunded"), 1);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL"), 0);
    finish(&stage);
}

ON_BOTH(payment, money_for_a_charge_that_nobody_knows_is_a_letter_until_the_charge_comes)
{
    struct stage stage;
    struct webhook webhook;
    start(&stage, place);
    struct id late = id_new();
    make(&webhook, "w-1", "charge.succeeded", &late);
    post(&stage, &webhook, "parked");
    tell_refund(&stage, "w-2", &late, ",\"reference\":\"re_1\",\"amount\":2506", "parked");
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'note'"), 2);
    (void)charge_again(&stage, &late, 2506, false);
    cr_expect_eq(get(&stage, &late).refunded, 2506);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'note'"), 0);
    finish(&stage);
}

ON_BOTH(payment, a_refund_that_may_be_ours_waits_until_ours_is_known)
{
    struct stage stage;
    struct wire_refund back = {0};
    place->settings.payment_delay_ms = 600000;
    stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR);
    run_payment(&stage);
    char ours[ID_TEXT_SIZE + 32];
    char text[ID_TEXT_SIZE];
    struct id paid = charge(&stage, 1009).id;
    cr_assert_eq(refund(&stage, &paid, 500, &back), ERR_ok);
    expect_status(back.status, "pending");
    id_format(&back.id, text);
    tell_refund(&stage, "w-1", &paid, ",\"reference\":\"re_1\",\"amount\":500", "parked");
    tell_refund(&stage, "w-2", &paid, ",\"reference\":\"re_2\",\"amount\":9", "applied");
    cr_expect_eq(refund(&stage, &paid, 0, &back), ERR_unavailable, "500 may be gone once, or twice");
    (void)snprintf(ours, sizeof ours, ",\"refund\":\"%s\"", text);
    tell_refund(&stage, "w-3", &paid, ours, "applied");
    cr_expect_eq(get(&stage, &paid).refunded, 1009, "ours, re_1 and re_2");
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $refund"), 3);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL"), 0);
    cr_expect_eq(told(&stage, "payment.refunded"), 3);
    finish(&stage);
}

ON_BOTH(payment, what_says_no_amount_of_money_is_refused)
{
    static const char *const broken[] = {
        ",\"amount\":1.5",   ",\"amount\":-1",     ",\"amount\":\"1\"",     ",\"amount\":1000000000000001",
        ",\"amount\":null",  ",\"currency\":\"\"", ",\"currency\":\"brl\"", ",\"currency\":\"BRLX\"",
        ",\"currency\":986", ",\"amount\":{}",
    };
    struct stage stage;
    struct webhook webhook;
    char text[ID_TEXT_SIZE];
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    id_format(&paid, text);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        (void)snprintf(webhook.text, sizeof webhook.text,
                       "{\"type\":\"refund.succeeded\",\"data\":{\"charge\":\"%s\",\"reference\":\"re_1\"%s}}", text, broken[i]);
        sign_text(&webhook, "w-1", 0);
        cr_expect_eq(post(&stage, &webhook, NULL), ERR_invalid_field, "%s", broken[i]);
    }
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $webhook"), 0);
    cr_expect_eq(get(&stage, &paid).refunded, 0);
    finish(&stage);
}

/* --- other money than was asked for --- */

static void
tell_charge(struct stage *stage, const char *webhook_id, const struct id *of, const char *more, const char *outcome)
{
    struct webhook webhook;
    char text[ID_TEXT_SIZE];
    id_format(of, text);
    (void)snprintf(webhook.text, sizeof webhook.text, "{\"type\":\"charge.succeeded\",\"data\":{\"charge\":\"%s\"%s}}", text, more);
    sign_text(&webhook, webhook_id, 0);
    post(stage, &webhook, outcome);
}

ON_BOTH(payment, other_money_than_was_asked_for_is_not_taken_as_paid)
{
    static const char *const others[] = {
        ",\"amount\":2505,\"currency\":\"BRL\"",
        ",\"amount\":2506,\"currency\":\"EUR\"",
        ",\"amount\":25060",
        ",\"amount\":0",
        ",\"currency\":\"USD\"",
    };
    struct stage stage;
    struct wire_charge answer = {0};
    char name[16];
    start(&stage, place);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct id open = charge(&stage, 2506).id;
        (void)snprintf(name, sizeof name, "w-%zu", i);
        tell_charge(&stage, name, &open, others[i], "disputed");
        (void)snprintf(name, sizeof name, "x-%zu", i);
        tell_charge(&stage, name, &open, "", "disputed");
        expect_status(get(&stage, &open).status, "pending");
        answer = get(&stage, &open);
        cr_expect(WIRE_HAS(&answer, charge, came) && (answer.came.amount != 2506 || answer.came.currency.data[0] != 'B'));
    }
    cr_expect_eq(told(&stage, "payment.succeeded"), 0);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'charge'"), 5, "each has a letter");
    restart(&stage);
    struct id open = charge(&stage, 2506).id;
    tell_charge(&stage, "y-1", &open, ",\"amount\":1", "disputed");
    tell_charge(&stage, "y-2", &open, ",\"amount\":2506,\"currency\":\"BRL\"", "applied");
    expect_status(get(&stage, &open).status, "succeeded");
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'charge'"), 5, "its letter is closed");
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    finish(&stage);
}

ON_BOTH(payment, other_money_for_a_charge_that_ended_is_a_letter_and_changes_nothing)
{
    struct stage stage;
    struct wire_charge answer = {0};
    start(&stage, place);
    struct id paid = charge(&stage, 1000).id;
    struct id refused = charge(&stage, 2501).id;
    struct id cancelled = charge(&stage, 2506).id;
    cr_assert_eq(cancel(&stage, &cancelled, &answer), ERR_ok);
    tell_charge(&stage, "w-1", &paid, ",\"amount\":999", "disputed");
    tell_charge(&stage, "w-2", &refused, ",\"amount\":999", "disputed");
    tell_charge(&stage, "w-3", &cancelled, ",\"amount\":999", "disputed");
    expect_status(get(&stage, &paid).status, "succeeded");
    expect_status(get(&stage, &refused).status, "failed");
    expect_status(get(&stage, &cancelled).status, "cancelled");
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due WHERE owner = 'charge'"), 3);
    cr_expect_eq(told(&stage, "payment.succeeded"), 1);
    tell_charge(&stage, "w-4", &refused, ",\"amount\":2501", "applied");
    expect_status(get(&stage, &refused).status, "succeeded");
    finish(&stage);
}

ON_BOTH(payment, a_refund_of_ours_of_other_money_is_not_taken_as_done)
{
    struct stage stage;
    struct wire_refund back = {0};
    char more[128];
    char text[ID_TEXT_SIZE];
    place->settings.payment_delay_ms = 600000;
    stage = (struct stage){.place = place, .ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    log_init(false, LOG_LEVEL_ERROR + 1);
    run_payment(&stage);
    struct id paid = charge(&stage, 1009).id;
    cr_assert_eq(refund(&stage, &paid, 500, &back), ERR_ok);
    id_format(&back.id, text);
    (void)snprintf(more, sizeof more, ",\"refund\":\"%s\",\"amount\":5", text);
    tell_refund(&stage, "w-1", &paid, more, "disputed");
    cr_expect_eq(get(&stage, &paid).refunded, 0);
    (void)snprintf(more, sizeof more, ",\"refund\":\"%s\",\"amount\":500,\"currency\":\"BRL\"", text);
    tell_refund(&stage, "w-2", &paid, more, "applied");
    cr_expect_eq(get(&stage, &paid).refunded, 500);
    cr_expect_eq(number(&stage, "SELECT COUNT(*) FROM $due"), 0);
    finish(&stage);
}

/* --- the proof --- */

struct damage {
    const char *sql;
    const char *words;
};

static void
tell_all(void *context, const char *sentence)
{
    char *all = context;
    size_t size = strlen(all);
    (void)snprintf(all + size, 4096 - size, "%s\n", sentence);
}

static void
run_sql(struct db *db, const char *sql)
{
    err code = db_run(db_statement(db, sql), NULL);
    cr_assert(code == ERR_ok, "%s: %s", sql, db_error(db));
}

ON_BOTH(payment, verify_names_what_was_changed_by_hand)
{
    static const struct damage damages[] = {
        {"UPDATE $charge SET refunded = refunded - 1 WHERE n = 1", "is not the sum of its refunds"},
        {"UPDATE $charge SET refunded = 1 WHERE n = 2", "it has no refund"},
        {"UPDATE $charge SET refunding = 1 WHERE n = 1", "is not the sum of its pending refunds"},
        {"UPDATE $refund SET amount = amount + 1", "is not the sum of its refunds"},
        {"UPDATE $refund SET status = 'pending'", "no due row will ask"},
        {"UPDATE $refund SET status = 'lost'", "its status is none"},
        {"UPDATE $refund SET elsewhere = 1", "not as what the provider tells"},
        {"UPDATE $refund SET charge = id", "its charge is not there"},
        {"UPDATE $charge SET status = 'failed' WHERE n = 1", "but it is not paid"},
        {"UPDATE $charge SET status = 'Succeeded' WHERE n = 2", "its status is none"},
        {"UPDATE $charge SET provider = 'bank' WHERE n = 2", "its provider or its method is none"},
        {"UPDATE $charge SET method = 'unknown' WHERE n = 2", "its provider or its method is none"},
        {"DELETE FROM $due", "no due row will ask"},
        {"UPDATE $due SET owner = 'Charge'", "no due row will ask"},
        {"UPDATE $webhook SET charge = (SELECT id FROM $charge WHERE n = 2), parked = (SELECT id FROM $charge WHERE n = 2)",
         "waits for a charge that is there"},
        {"UPDATE $webhook SET parked = NULL", "do not agree"},
        {"UPDATE $webhook SET outcome = 'applied'", "do not agree"},
    };
    struct stage stage;
    struct webhook webhook;
    struct wire_refund back = {0};
    struct db_config config;
    struct err_text why = {""};
    struct id nobody = id_new();
    start(&stage, place);
    struct id paid = charge(&stage, 300).id;
    (void)charge(&stage, 400);
    (void)charge(&stage, 406);
    cr_assert_eq(refund(&stage, &paid, 100, &back), ERR_ok);
    make(&webhook, "w-1", "charge.succeeded", &nobody);
    post(&stage, &webhook, "parked");
    cr_assert_eq(settings_db(&place->settings, "payment", 0, &config, &why), ERR_ok);
    stop_payment(&stage);
    close(stage.ended_fd);
    struct db *db = NULL;
    cr_assert_eq(db_open(&config, &db, &why), ERR_ok, "%s", why.text);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        char all[4096] = "";
        struct verify_report report = {.say = tell_all, .context = all};
        run_sql(db, damages[i].sql);
        cr_assert_eq(payment_verify(db, &report), ERR_ok, "%s", db_error(db));
        cr_expect(report.faults >= 1 && strstr(all, damages[i].words) != NULL, "%s: %s", damages[i].sql, all);
        db_rollback(db);
    }
    struct verify_report whole = {.say = NULL};
    cr_assert_eq(payment_verify(db, &whole), ERR_ok);
    cr_expect_eq(whole.faults, 0);
    cr_expect_eq(whole.rows_checked, 5);
    db_close(&db);
}
