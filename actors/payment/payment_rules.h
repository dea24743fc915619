/* SPDX-License-Identifier: MPL-2.0 */
/* What payment decides: what an answer of a provider means, what becomes of a charge or a refund, and when to call again. Pure. */
#ifndef LARDER_PAYMENT_RULES_H
#define LARDER_PAYMENT_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum payment_method {
    PAYMENT_PIX,
    PAYMENT_CREDIT_CARD,
    PAYMENT_DEBIT_CARD,
    PAYMENT_MONEY,
    PAYMENT_NO_METHOD, /* of a charge that was cancelled before it came */
    PAYMENT_METHOD_COUNT
};

enum payment_provider { PAYMENT_SIMULATED, PAYMENT_HTTP, PAYMENT_BY_HAND, PAYMENT_PROVIDER_COUNT };

/* Of charges and of refunds; a refund is never cancelled. */
enum payment_status { PAYMENT_PENDING, PAYMENT_SUCCEEDED, PAYMENT_FAILED, PAYMENT_CANCELLED, PAYMENT_STATUS_COUNT };

/* What a provider says of a charge or a refund. */
enum payment_verdict {
    VERDICT_SUCCEEDED,
    VERDICT_FAILED,
    VERDICT_PENDING,   /* it has taken it, and knows no more yet */
    VERDICT_NOT_TAKEN, /* it does not know of it */
    VERDICT_UNKNOWN,   /* no answer, or none that can be believed: it may have been taken */
    VERDICT_COUNT
};

/* How much a provider says has moved. */
#define MONEY_NOT_TOLD (-1)
struct money_told {
    int64_t amount;   /* MONEY_NOT_TOLD: it does not say */
    char currency[4]; /* "": it does not say */
};

/* A provider is told of it, or asked what became of it. */
enum payment_step { PAYMENT_CREATE, PAYMENT_ASK };

/* Words of the wire and of the database, e.g. "credit_card"; the enum's count when there is none of that name. */
const char *
payment_method_name(enum payment_method method);
enum payment_method
payment_method_find(struct slice name);
const char *
payment_provider_name(enum payment_provider provider);
enum payment_provider
payment_provider_find(struct slice name);
const char *
payment_status_name(enum payment_status status);
enum payment_status
payment_status_find(struct slice name);

/* Three capital letters. */
bool
payment_is_currency(struct slice code);

/* --- charges and refunds --- */

/* What becomes of a charge. A success is believed whenever it comes: money that was taken is never overlooked. A refusal counts only
 * while nothing else is known. */
enum payment_status
payment_charge_after(enum payment_status status, enum payment_verdict verdict);

/* The same of a refund; a success after a refusal only when there is `room`, not to count more than was paid. */
enum payment_status
payment_refund_after(enum payment_status status, enum payment_verdict verdict, bool has_room);

/* How much may still be paid back, of what is neither paid back nor on its way. */
int64_t
payment_left(int64_t amount, int64_t refunded, int64_t refunding);

/* Whether what moved is what was asked for, as far as it was told. */
bool
payment_money_fits(const struct money_told *told, int64_t amount, const char *currency);

/* Whether anything is told of it. */
bool
payment_is_money_told(const struct money_told *told);

/* --- a provider's answers --- */

/* What an HTTP answer means. `word` is the "status" of its body, empty when it has none. */
enum payment_verdict
payment_judge(enum payment_step step, int http_status, struct slice word);

/* The verdict of "charge.succeeded" and the like; VERDICT_COUNT for a type that says nothing here. */
enum payment_verdict
payment_verdict_of_type(struct slice type, bool *is_refund);

/* The simulated provider's answers, by the last two digits of the amount (payment_amounts.def). */
enum payment_verdict
payment_simulate_charge(int64_t amount, enum payment_step step, bool is_first);
enum payment_verdict
payment_simulate_refund(int64_t amount, enum payment_step step);

/* What it tells once more after it has approved; VERDICT_NOT_TAKEN: nothing. */
enum payment_verdict
payment_simulate_later(int64_t amount);

/* --- when --- */

#define PAYMENT_PATIENCE_CALLS 10       /* the first wait for what is pending, in call time-outs */
#define PAYMENT_PATIENCE_MAX_MS 3600000 /* no wait for a pending answer is longer than this, but for a quarter */
#define PAYMENT_WATCH_MS 86400000       /* so long a cancelled charge is looked after, when it may still be paid */
#define PAYMENT_TOLERANCE_MS 300000     /* so far a webhook's clock may be from ours */

/* Reads seconds since 1970, digits only; false when they are none. */
bool
payment_timestamp_parse(struct slice text, int64_t *seconds);

/* Whether they are within the tolerance of now, both ways; exactly at its edge they are. */
bool
payment_is_timely(int64_t seconds, int64_t now_ms);

#endif
