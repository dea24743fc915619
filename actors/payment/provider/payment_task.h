/* SPDX-License-Identifier: MPL-2.0 */
/* A charge or a refund on its way to the provider: who is called about it, what is posted, and the letter when that goes wrong. */
#ifndef LARDER_PAYMENT_TASK_H
#define LARDER_PAYMENT_TASK_H

#include <jansson.h>

#include "payment/payment_state.h"
#include "shared/outcall.h"

struct payment_task {
    struct payment_charge_slot *charge;
    struct payment_refund_slot *refund; /* NULL: it is the charge itself */
    const struct item *cause;
    struct outcall call;
};

/* How often the provider is called in vain, and how long what it has taken is left to it before it is asked. */
struct retry
payment_retry(const struct settings *settings);
struct retry
payment_patience(const struct settings *settings, bool is_simulated);

struct payment_task
payment_task_of(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund,
                const struct item *cause);

int64_t
payment_task_amount(const struct payment_task *task);

/* Its row is to be written. */
void
payment_task_touch(struct payment_task *task);
void
payment_task_say(struct payment_task *task, struct slice reason);

/* The text of `json`, which is consumed; lives as long as the batch. */
struct slice
payment_task_keep(struct payment *payment, json_t *json);

/* What is posted to create it. */
struct slice
payment_task_message(struct payment *payment, const struct payment_task *task);

/* Calls end here by themselves; it stays as it is. The latest attempt in its calls says why. `moved` is other money than was asked
 * for; NULL: that is not known. */
void
payment_task_bury(struct payment *payment, struct payment_task *task, struct slice error, const struct money_told *moved);

/* Whether a provider took other money for it than was asked for. */
bool
payment_task_is_doubted(const struct payment_task *task);

/* A success without a word about the amount is one of what was asked for, unless other money was told of before. */
bool
payment_task_is_right(struct payment_task *task, const struct money_told *told);

/* What came is not what was asked for: nothing is taken as done, and it is not asked for by itself any more. */
void
payment_task_take_other_money(struct payment *payment, struct payment_task *task, const struct money_told *told);

/* A refund that has arrived, whose number at the provider nobody has told: it is asked for. False: there is nobody to ask. */
bool
payment_ask_reference(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund);

/* Whether what is told to have moved is what was asked for. When it is not, nothing is taken as done: the charge, or the refund, has
 * a letter with what came, and is not asked for any more until somebody asks for that. `refund` may be NULL. */
MUST_CHECK err
payment_check_money(struct payment *payment, struct payment_charge_slot *charge, struct payment_refund_slot *refund,
                    const struct payment_words *words, const struct item *cause, bool *fits);

#endif
