/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Payment's decisions, without I/O, state or clock.
 *
 *   Of a provider's answers only those count that say clearly what happened: a status in a 2xx answer, a refusal by a 4xx to a call
 * that creates, "not found" to a question. All else, a time-out first of all, is unknown: money may have moved, so the provider is
 * asked before it is told again.
 *
 *   A success always wins, also over a refusal that was told before and over a cancellation: whoever sees it late pays it back. A
 * refusal never wins over a success.
 *
 * LIMITS
 *   Bounds are those of the wire (LEVEL_MAX): no sum here comes near the end of int64_t.
 */
#include "payment_rules.h"

#include <assert.h>
#include <string.h>

#define TIMESTAMP_DIGITS_MAX 12

static const char *const method_names[PAYMENT_METHOD_COUNT] = {
    [PAYMENT_PIX] = "pix",     [PAYMENT_CREDIT_CARD] = "credit_card", [PAYMENT_DEBIT_CARD] = "debit_card",
    [PAYMENT_MONEY] = "money", [PAYMENT_NO_METHOD] = "unknown",
};

static const char *const provider_names[PAYMENT_PROVIDER_COUNT] = {
    [PAYMENT_SIMULATED] = "simulated",
    [PAYMENT_HTTP] = "http",
    [PAYMENT_BY_HAND] = "by_hand",
};

static const char *const status_names[PAYMENT_STATUS_COUNT] = {
    [PAYMENT_PENDING] = "pending",
    [PAYMENT_SUCCEEDED] = "succeeded",
    [PAYMENT_FAILED] = "failed",
    [PAYMENT_CANCELLED] = "cancelled",
};

static int
find(const char *const *names, int count, struct slice name)
{
    int i = 0;
    while (i < count && !slice_equal(name, slice_of(names[i]))) {
        i++;
    }
    return i;
}

const char *
payment_method_name(enum payment_method method)
{
    assert(method < PAYMENT_METHOD_COUNT);
    return method_names[method];
}

enum payment_method
payment_method_find(struct slice name)
{
    return (enum payment_method)find(method_names, PAYMENT_METHOD_COUNT, name);
}

const char *
payment_provider_name(enum payment_provider provider)
{
    assert(provider < PAYMENT_PROVIDER_COUNT);
    return provider_names[provider];
}

enum payment_provider
payment_provider_find(struct slice name)
{
    return (enum payment_provider)find(provider_names, PAYMENT_PROVIDER_COUNT, name);
}

const char *
payment_status_name(enum payment_status status)
{
    assert(status < PAYMENT_STATUS_COUNT);
    return status_names[status];
}

enum payment_status
payment_status_find(struct slice name)
{
    return (enum payment_status)find(status_names, PAYMENT_STATUS_COUNT, name);
}

bool
payment_is_currency(struct slice code)
{
    bool is_one = code.size == 3;
    for (size_t i = 0; i < code.size; i++) {
        is_one = is_one && code.data[i] >= 'A' && code.data[i] <= 'Z';
    }
    return is_one;
}

/* --- charges and refunds --- */

enum payment_status
payment_charge_after(enum payment_status status, enum payment_verdict verdict)
{
    if (verdict == VERDICT_SUCCEEDED) {
        return PAYMENT_SUCCEEDED;
    }
    return verdict == VERDICT_FAILED && status == PAYMENT_PENDING ? PAYMENT_FAILED : status;
}

enum payment_status
payment_refund_after(enum payment_status status, enum payment_verdict verdict, bool has_room)
{
    if (verdict == VERDICT_SUCCEEDED && (status == PAYMENT_PENDING || has_room)) {
        return PAYMENT_SUCCEEDED;
    }
    return verdict == VERDICT_FAILED && status == PAYMENT_PENDING ? PAYMENT_FAILED : status;
}

int64_t
payment_left(int64_t amount, int64_t refunded, int64_t refunding)
{
    int64_t left = amount - refunded - refunding;
    return left > 0 ? left : 0;
}

bool
payment_is_money_told(const struct money_told *told)
{
    return told->amount != MONEY_NOT_TOLD || told->currency[0] != '\0';
}

bool
payment_money_fits(const struct money_told *told, int64_t amount, const char *currency)
{
    bool is_amount = told->amount == MONEY_NOT_TOLD || told->amount == amount;
    return is_amount && (told->currency[0] == '\0' || strcmp(told->currency, currency) == 0);
}

/* --- a provider's answers --- */

static bool
is_refusal(int http_status)
{
    /* Too slow, under way with the same key, too early, too many: none of them is a no. */
    bool is_passing = http_status == 408 || http_status == 409 || http_status == 425 || http_status == 429;
    return http_status >= 400 && http_status <= 499 && !is_passing;
}

static enum payment_verdict
verdict_of_word(struct slice word)
{
    if (slice_equal(word, slice_of("succeeded"))) {
        return VERDICT_SUCCEEDED;
    }
    if (slice_equal(word, slice_of("failed"))) {
        return VERDICT_FAILED;
    }
    return slice_equal(word, slice_of("pending")) ? VERDICT_PENDING : VERDICT_UNKNOWN;
}

enum payment_verdict
payment_judge(enum payment_step step, int http_status, struct slice word)
{
    if (http_status >= 200 && http_status <= 299) {
        return verdict_of_word(word);
    }
    if (step == PAYMENT_ASK) {
        return http_status == 404 || http_status == 410 ? VERDICT_NOT_TAKEN : VERDICT_UNKNOWN;
    }
    return is_refusal(http_status) ? VERDICT_FAILED : VERDICT_UNKNOWN;
}

enum payment_verdict
payment_verdict_of_type(struct slice type, bool *is_refund)
{
    *is_refund = slice_equal(type, slice_of("refund.succeeded")) || slice_equal(type, slice_of("refund.failed"));
    if (slice_equal(type, slice_of("charge.succeeded")) || slice_equal(type, slice_of("refund.succeeded"))) {
        return VERDICT_SUCCEEDED;
    }
    return *is_refund || slice_equal(type, slice_of("charge.failed")) ? VERDICT_FAILED : VERDICT_COUNT;
}

struct habit {
    int64_t digits;
    enum payment_verdict created;
    enum payment_verdict again;
    enum payment_verdict asked;
    enum payment_verdict refunded;
    enum payment_verdict refund_asked;
    enum payment_verdict later;
};

static const struct habit habits[] = {
#define AMOUNT(digits, created, again, asked, refunded, refund_asked, later, doc) \
    {digits, VERDICT_##created, VERDICT_##again, VERDICT_##asked, VERDICT_##refunded, VERDICT_##refund_asked, VERDICT_##later},
#include "payment/provider/payment_amounts.def"
};

static const struct habit *
habit_of(int64_t amount)
{
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
        if (habits[i].digits == amount % 100) {
            return &habits[i];
        }
    }
    return &habits[0];
}

enum payment_verdict
payment_simulate_charge(int64_t amount, enum payment_step step, bool is_first)
{
    const struct habit *habit = habit_of(amount);
    if (step == PAYMENT_ASK) {
        return habit->asked;
    }
    return is_first ? habit->created : habit->again;
}

enum payment_verdict
payment_simulate_refund(int64_t amount, enum payment_step step)
{
    const struct habit *habit = habit_of(amount);
    return step == PAYMENT_ASK ? habit->refund_asked : habit->refunded;
}

enum payment_verdict
payment_simulate_later(int64_t amount)
{
    return habit_of(amount)->later;
}

/* --- when --- */

bool
payment_timestamp_parse(struct slice text, int64_t *seconds)
{
    int64_t value = 0;
    if (text.size == 0 || text.size > TIMESTAMP_DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    *seconds = value;
    return true;
}

bool
payment_is_timely(int64_t seconds, int64_t now_ms)
{
    int64_t distance_ms = now_ms - seconds * 1000;
    return distance_ms >= -PAYMENT_TOLERANCE_MS && distance_ms <= PAYMENT_TOLERANCE_MS;
}
