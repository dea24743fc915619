/* SPDX-License-Identifier: MPL-2.0 */
/* What a provider's answer means, what becomes of a charge, when to call again; the table of simulated amounts; signatures. */
#include "payment/payment_rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sodium.h>

#include "payment/provider/payment_signature.h"
#include "shared/outcall.h"

/* --- answers --- */

struct judge_case {
    enum payment_step step;
    int http_status;
    char word[16];
    enum payment_verdict verdict;
};

static struct judge_case judge_cases[] = {
    {PAYMENT_CREATE, 200, "succeeded", VERDICT_SUCCEEDED},
    {PAYMENT_CREATE, 201, "pending", VERDICT_PENDING},
    {PAYMENT_CREATE, 202, "failed", VERDICT_FAILED},
    {PAYMENT_CREATE, 299, "succeeded", VERDICT_SUCCEEDED},
    {PAYMENT_CREATE, 200, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 200, "Succeeded", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 200, "refused", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 0, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 100, "succeeded", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 302, "succeeded", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 400, "", VERDICT_FAILED},
    {PAYMENT_CREATE, 402, "failed", VERDICT_FAILED},
    {PAYMENT_CREATE, 404, "", VERDICT_FAILED},
    {PAYMENT_CREATE, 422, "succeeded", VERDICT_FAILED},
    {PAYMENT_CREATE, 408, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 409, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 425, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 429, "", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 500, "succeeded", VERDICT_UNKNOWN},
    {PAYMENT_CREATE, 503, "failed", VERDICT_UNKNOWN},
    {PAYMENT_ASK, 200, "succeeded", VERDICT_SUCCEEDED},
    {PAYMENT_ASK, 200, "failed", VERDICT_FAILED},
    {PAYMENT_ASK, 200, "pending", VERDICT_PENDING},
    {PAYMENT_ASK, 200, "nothing", VERDICT_UNKNOWN},
    {PAYMENT_ASK, 404, "", VERDICT_NOT_TAKEN},
    {PAYMENT_ASK, 410, "", VERDICT_NOT_TAKEN},
    {PAYMENT_ASK, 400, "", VERDICT_UNKNOWN},
    {PAYMENT_ASK, 401, "", VERDICT_UNKNOWN},
    {PAYMENT_ASK, 500, "", VERDICT_UNKNOWN},
    {PAYMENT_ASK, 0, "", VERDICT_UNKNOWN},
};

ParameterizedTestParameters(payment_rules, an_answer_means)
{
    return cr_make_param_array(struct judge_case, judge_cases, sizeof judge_cases / sizeof *judge_cases);
}

ParameterizedTest(struct judge_case *row, payment_rules, an_answer_means)
{
    enum payment_verdict verdict = payment_judge(row->step, row->http_status, slice_of(row->word));
    cr_expect_eq(verdict, row->verdict, "step %d, HTTP %d, \"%s\": %d", row->step, row->http_status, row->word, verdict);
}

struct after_case {
    enum payment_status before;
    enum payment_verdict verdict;
    enum payment_status charge;
};

static struct after_case after_cases[] = {
    {PAYMENT_PENDING, VERDICT_SUCCEEDED, PAYMENT_SUCCEEDED},   {PAYMENT_PENDING, VERDICT_FAILED, PAYMENT_FAILED},
    {PAYMENT_PENDING, VERDICT_PENDING, PAYMENT_PENDING},       {PAYMENT_PENDING, VERDICT_UNKNOWN, PAYMENT_PENDING},
    {PAYMENT_PENDING, VERDICT_NOT_TAKEN, PAYMENT_PENDING},     {PAYMENT_SUCCEEDED, VERDICT_SUCCEEDED, PAYMENT_SUCCEEDED},
    {PAYMENT_SUCCEEDED, VERDICT_FAILED, PAYMENT_SUCCEEDED},    {PAYMENT_SUCCEEDED, VERDICT_NOT_TAKEN, PAYMENT_SUCCEEDED},
    {PAYMENT_FAILED, VERDICT_SUCCEEDED, PAYMENT_SUCCEEDED},    {PAYMENT_FAILED, VERDICT_FAILED, PAYMENT_FAILED},
    {PAYMENT_CANCELLED, VERDICT_SUCCEEDED, PAYMENT_SUCCEEDED}, {PAYMENT_CANCELLED, VERDICT_FAILED, PAYMENT_CANCELLED},
    {PAYMENT_CANCELLED, VERDICT_PENDING, PAYMENT_CANCELLED},
};

ParameterizedTestParameters(payment_rules, a_charge_becomes)
{
    return cr_make_param_array(struct after_case, after_cases, sizeof after_cases / sizeof *after_cases);
}

ParameterizedTest(struct after_case *row, payment_rules, a_charge_becomes)
{
    enum payment_status after = payment_charge_after(row->before, row->verdict);
    cr_expect_eq(after, row->charge, "%d and %d: %d", row->before, row->verdict, after);
}

Test(payment_rules, a_refund_that_failed_succeeds_later_only_where_there_is_room)
{
    cr_expect_eq(payment_refund_after(PAYMENT_PENDING, VERDICT_SUCCEEDED, false), PAYMENT_SUCCEEDED);
    cr_expect_eq(payment_refund_after(PAYMENT_PENDING, VERDICT_FAILED, true), PAYMENT_FAILED);
    cr_expect_eq(payment_refund_after(PAYMENT_FAILED, VERDICT_SUCCEEDED, true), PAYMENT_SUCCEEDED);
    cr_expect_eq(payment_refund_after(PAYMENT_FAILED, VERDICT_SUCCEEDED, false), PAYMENT_FAILED);
    cr_expect_eq(payment_refund_after(PAYMENT_SUCCEEDED, VERDICT_FAILED, true), PAYMENT_SUCCEEDED);
    cr_expect_eq(payment_refund_after(PAYMENT_SUCCEEDED, VERDICT_SUCCEEDED, false), PAYMENT_SUCCEEDED);
}

Test(payment_rules, what_is_left_counts_what_is_on_its_way)
{
    cr_expect_eq(payment_left(100, 0, 0), 100);
    cr_expect_eq(payment_left(100, 40, 50), 10);
    cr_expect_eq(payment_left(100, 60, 40), 0);
    cr_expect_eq(payment_left(LEVEL_MAX, 0, LEVEL_MAX), 0);
    cr_expect_eq(payment_left(0, 0, 0), 0);
}

Test(payment_rules, words_are_found_again)
{
    for (enum payment_method method = PAYMENT_PIX; method < PAYMENT_METHOD_COUNT; method++) {
        cr_expect_eq(payment_method_find(slice_of(payment_method_name(method))), method);
    }
    for (enum payment_provider provider = PAYMENT_SIMULATED; provider < PAYMENT_PROVIDER_COUNT; provider++) {
        cr_expect_eq(payment_provider_find(slice_of(payment_provider_name(provider))), provider);
    }
    for (enum payment_status status = PAYMENT_PENDING; status < PAYMENT_STATUS_COUNT; status++) {
        cr_expect_eq(payment_status_find(slice_of(payment_status_name(status))), status);
    }
    cr_expect_eq(payment_method_find(slice_of("Pix")), PAYMENT_METHOD_COUNT);
    cr_expect_eq(payment_status_find(slice_of("")), PAYMENT_STATUS_COUNT);
}

Test(payment_rules, a_currency_is_three_capital_letters)
{
    static const char *const wrong[] = {"", "BR", "BRLX", "brl", "BR1", "B-L", "B L"};
    cr_expect(payment_is_currency(slice_of("BRL")));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_not(payment_is_currency(slice_of(wrong[i])), "%s", wrong[i]);
    }
}

Test(payment_rules, only_four_types_say_something)
{
    bool is_refund = true;
    cr_expect_eq(payment_verdict_of_type(slice_of("charge.succeeded"), &is_refund), VERDICT_SUCCEEDED);
    cr_expect_not(is_refund);
    cr_expect_eq(payment_verdict_of_type(slice_of("charge.failed"), &is_refund), VERDICT_FAILED);
    cr_expect_not(is_refund);
    cr_expect_eq(payment_verdict_of_type(slice_of("refund.succeeded"), &is_refund), VERDICT_SUCCEEDED);
    cr_expect(is_refund);
    cr_expect_eq(payment_verdict_of_type(slice_of("refund.failed"), &is_refund), VERDICT_FAILED);
    cr_expect(is_refund);
    cr_expect_eq(payment_verdict_of_type(slice_of("charge.pending"), &is_refund), VERDICT_COUNT);
    cr_expect_eq(payment_verdict_of_type(slice_of(""), &is_refund), VERDICT_COUNT);
}

/* --- the simulated provider --- */

Test(payment_rules, amounts_that_are_not_in_the_table_are_approved)
{
    static const int64_t amounts[] = {0, 11, 50, 99, 100, 1234500, LEVEL_MAX};
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        cr_expect_eq(payment_simulate_charge(amounts[i], PAYMENT_CREATE, true), VERDICT_SUCCEEDED);
        cr_expect_eq(payment_simulate_refund(amounts[i], PAYMENT_CREATE), VERDICT_SUCCEEDED);
        cr_expect_eq(payment_simulate_later(amounts[i]), VERDICT_NOT_TAKEN);
    }
}

Test(payment_rules, a_simulated_call_that_was_not_taken_is_taken_the_second_time)
{
    cr_expect_eq(payment_simulate_charge(2503, PAYMENT_CREATE, true), VERDICT_UNKNOWN);
    cr_expect_eq(payment_simulate_charge(2503, PAYMENT_ASK, false), VERDICT_NOT_TAKEN);
    cr_expect_eq(payment_simulate_charge(2503, PAYMENT_CREATE, false), VERDICT_SUCCEEDED);
}

static char *
read_protocol(void)
{
    FILE *file = fopen("proto/PROTOCOL.md", "r");
    cr_assert_not_null(file, "the tests run in the root of the tree");
    char *text = calloc(1, 1048576);
    cr_assert_gt(fread(text, 1, 1048575, file), 0);
    fclose(file);
    return text;
}

Test(payment_rules, the_protocol_tells_every_simulated_amount)
{
    char *protocol = read_protocol();
    char row[256];
#define AMOUNT(digits, created, again, asked, refunded, refund_asked, later, doc) \
    (void)snprintf(row, sizeof row, "\n| %s%02d | %s |\n", "…", digits, doc);     \
    cr_expect_not_null(strstr(protocol, row), "PROTOCOL.md lacks the line%s", row);
#include "payment/provider/payment_amounts.def"
    free(protocol);
}

/* --- when --- */

static int64_t
patience_ms(int64_t times, int64_t first_ms)
{
    return outcall_patience_ms(&(struct retry){first_ms, PAYMENT_PATIENCE_MAX_MS, INT64_MAX}, times);
}

Test(payment_rules, patience_doubles_up_to_an_hour_and_never_is_nothing)
{
    cr_expect_eq(patience_ms(1, 2000), 2000);
    cr_expect_eq(patience_ms(2, 2000), 4000);
    cr_expect_eq(patience_ms(5, 2000), 32000);
    cr_expect_eq(patience_ms(1000000, 2000), PAYMENT_PATIENCE_MAX_MS);
    cr_expect_eq(patience_ms(1, 0), 1);
    cr_expect_eq(patience_ms(4, 0), 8);
    cr_expect_eq(patience_ms(INT64_MAX, 0), PAYMENT_PATIENCE_MAX_MS);
    cr_expect_eq(patience_ms(1, INT64_C(600000) * 10), PAYMENT_PATIENCE_MAX_MS);
}

Test(payment_rules, a_timestamp_is_digits)
{
    static const char *const wrong[] = {"", "-1", "+1", " 1", "1 ", "1.5", "1e3", "0x10", "1000000000000", "now"};
    int64_t seconds = -1;
    cr_expect(payment_timestamp_parse(slice_of("0"), &seconds));
    cr_expect_eq(seconds, 0);
    cr_expect(payment_timestamp_parse(slice_of("999999999999"), &seconds));
    cr_expect_eq(seconds, INT64_C(999999999999));
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_not(payment_timestamp_parse(slice_of(wrong[i]), &seconds), "\"%s\"", wrong[i]);
    }
}

Test(payment_rules, exactly_five_minutes_are_still_in_time)
{
    const int64_t seconds = 1700000000;
    const int64_t then_ms = seconds * 1000;
    cr_expect(payment_is_timely(seconds, then_ms));
    cr_expect(payment_is_timely(seconds, then_ms + 300000));
    cr_expect(payment_is_timely(seconds, then_ms - 300000));
    cr_expect_not(payment_is_timely(seconds, then_ms + 300001));
    cr_expect_not(payment_is_timely(seconds, then_ms - 300001));
    cr_expect_not(payment_is_timely(0, then_ms));
    cr_expect_not(payment_is_timely(INT64_C(999999999999), then_ms));
}

/* --- signatures --- */

static struct payment_key
demo_key(void)
{
    struct payment_key key;
    cr_assert(sodium_init() >= 0);
    cr_assert(payment_key_parse(PAYMENT_DEMO_SECRET, &key));
    return key;
}

Test(payment_rules, money_fits_when_all_that_is_told_of_it_is_what_was_asked_for)
{
    static const struct {
        int64_t amount;
        const char *currency;
        bool fits;
    } rows[] = {{MONEY_NOT_TOLD, "", true},
                {1000, "", true},
                {1000, "BRL", true},
                {MONEY_NOT_TOLD, "BRL", true},
                {999, "BRL", false},
                {1001, "", false},
                {0, "", false},
                {1000, "EUR", false},
                {10, "BRL", false},
                {MONEY_NOT_TOLD, "USD", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct money_told told = {.amount = rows[i].amount};
        (void)snprintf(told.currency, sizeof told.currency, "%s", rows[i].currency);
        cr_expect_eq(payment_money_fits(&told, 1000, "BRL"), rows[i].fits, "%zu", i);
        cr_expect_eq(payment_is_money_told(&told), i != 0);
    }
}

Test(payment_signature, is_that_of_standard_webhooks)
{
    /* The example of the specification's own libraries. */
    struct payment_key key;
    char signature[PAYMENT_SIGNATURE_SIZE];
    struct payment_signed what = {slice_of("msg_p5jXN8AQM9LWM0D4loKWxJek"), slice_of("1614265330"),
                                  slice_of("{\"test\": 2432232314}")};
    cr_assert(sodium_init() >= 0);
    cr_assert(payment_key_parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &key));
    payment_sign(&key, &what, signature);
    cr_expect_str_eq(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    cr_expect(payment_is_signed(&key, &what, slice_of(signature)));
}

Test(payment_signature, one_right_one_of_several_is_enough)
{
    struct payment_key key = demo_key();
    char signature[PAYMENT_SIGNATURE_SIZE];
    char several[256];
    struct payment_signed what = {slice_of("a"), slice_of("1"), slice_of("{}")};
    payment_sign(&key, &what, signature);
    (void)snprintf(several, sizeof several, "v1a,xyz v1,AAAA  %s v2,x", signature);
    cr_expect(payment_is_signed(&key, &what, slice_of(several)));
    (void)snprintf(several, sizeof several, "%s ", signature);
    cr_expect(payment_is_signed(&key, &what, slice_of(several)));
}

Test(payment_signature, everything_that_is_signed_counts)
{
    struct payment_key key = demo_key();
    char signature[PAYMENT_SIGNATURE_SIZE];
    struct payment_signed what = {slice_of("a"), slice_of("1"), slice_of("{}")};
    payment_sign(&key, &what, signature);
    cr_expect_not(payment_is_signed(&key, &(struct payment_signed){slice_of("b"), what.timestamp, what.body}, slice_of(signature)));
    cr_expect_not(payment_is_signed(&key, &(struct payment_signed){what.id, slice_of("2"), what.body}, slice_of(signature)));
    cr_expect_not(payment_is_signed(&key, &(struct payment_signed){what.id, what.timestamp, slice_of("{} ")}, slice_of(signature)));
    struct payment_key other;
    cr_assert(payment_key_parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &other));
    cr_expect_not(payment_is_signed(&other, &what, slice_of(signature)));
    struct payment_key none = {.size = 0};
    cr_expect_not(payment_is_signed(&none, &what, slice_of(signature)));
}

Test(payment_signature, what_is_no_signature_is_not_one)
{
    struct payment_key key = demo_key();
    char signature[PAYMENT_SIGNATURE_SIZE];
    struct payment_signed what = {slice_of("a"), slice_of("1"), slice_of("{}")};
    payment_sign(&key, &what, signature);
    cr_expect_not(payment_is_signed(&key, &what, slice_of("")));
    cr_expect_not(payment_is_signed(&key, &what, slice_of("v1,")));
    cr_expect_not(payment_is_signed(&key, &what, slice_of("v1,AAAA")));
    cr_expect_not(payment_is_signed(&key, &what, slice_of(signature + 3)));
    cr_expect_not(payment_is_signed(&key, &what, (struct slice){(const uint8_t *)signature, strlen(signature) - 1}));
    cr_expect_not(payment_is_signed(&key, &what, slice_of("                                        ")));
}

Test(payment_signature, a_secret_is_whsec_and_base64)
{
    static const char *const wrong[] = {"",
                                        "whsec_",
                                        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                                        "whsec_AAAA",
                                        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
                                        "whsec_!!!!!!!!!!!!!!!!!!!!!!!!",
                                        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw x"};
    struct payment_key key;
    cr_assert(sodium_init() >= 0);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_not(payment_key_parse(wrong[i], &key), "\"%s\"", wrong[i]);
        cr_expect_eq(key.size, 0);
    }
}
