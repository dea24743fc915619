/* SPDX-License-Identifier: MPL-2.0 */
/* An order beside what stock and payment have of it, for `larder verify`: filled row by row, then judged and told of. */
#ifndef LARDER_COMMAND_VERIFY_ACCOUNT_H
#define LARDER_COMMAND_VERIFY_ACCOUNT_H

#include "command_verify_comparison.h"
#include "order/order_verify.h"
#include "payment/payment_verify.h"

#define ACCOUNT_SHARDS_MAX 4

/* An order, and what the others have of it. Sums of lines are of the products' and quantities' hashes, for each shard. */
struct account {
    enum verify_verdict verdict;
    struct order_said order;
    bool was_made; /* cancelled after the kitchen had begun */
    uint64_t wanted[ACCOUNT_SHARDS_MAX];
    uint64_t committed[ACCOUNT_SHARDS_MAX];
    uint64_t current[ACCOUNT_SHARDS_MAX]; /* of these, those of the rounds that the order says */
    bool has_own;                         /* payment has the charge that the order says */
    bool has_own_ended;
    bool is_own_told; /* an event says how it has ended */
    bool is_own;      /* and it is of the order's price and method */
    int64_t open_holds;
    int64_t live_charges; /* succeeded, and not all paid back */
    int64_t free_charges; /* of these, those of nothing: there is nothing to pay back */
    int64_t pending_charges;
    int64_t charged;
    int64_t refunded;
    struct id live_charge; /* the last of them */
    int64_t live_amount;
    char live_currency[4];
    bool has_news;  /* events of payment that it could not apply yet */
    bool has_stray; /* money that it did not ask for is on its way back */
};

void
account_see_line(struct account *account, int shard, struct slice product, int64_t quantity);

void
account_see_charge(struct account *account, const struct charge_said *charge);

/* A row of stock_select_holds(); `is_current`: it is of the round that the order says. */
void
account_see_hold(struct account *account, int shard, bool is_current, struct db_statement *row);

/* Whether stock has sold nothing for it. */
bool
account_is_unsold(const struct account *account);

enum verify_verdict
account_judge(const struct account *account);

/* Why it differs. */
void
account_tell(const struct account *account, struct verify_survey *survey, const char *place);

#endif
