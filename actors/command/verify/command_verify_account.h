/* SPDX-License-Identifier: MPL-2.0 */
/* An order beside what stock and payment have of it, for `larder verify`: filled row by row, then judged and told of. */
#ifndef LARDER_COMMAND_VERIFY_ACCOUNT_H
#define LARDER_COMMAND_VERIFY_ACCOUNT_H

#include "command_verify_survey.h"

#define ACCOUNT_SHARDS_MAX 4
#define ACCOUNT_HOLD_ROUND_MAX 255

enum account_verdict { ACCOUNT_AGREES, ACCOUNT_UNDER_WAY, ACCOUNT_TO_COME, ACCOUNT_DIFFERS };

/* An order, and what the others have of it. Sums of lines are of the products' and quantities' hashes, for each shard. */
struct account {
    struct id id;
    int64_t n; /* 0: there is no such order */
    bool has_ended;
    bool is_stuck; /* something could not be undone: there is a letter */
    bool is_paid;
    bool was_made; /* cancelled after the kitchen had begun */
    bool is_back;  /* it knows that all its money went back */
    int64_t round;
    int64_t total;
    char currency[4];
    char status[17];
    struct id charge;
    uint64_t wanted[ACCOUNT_SHARDS_MAX];
    uint64_t committed[ACCOUNT_SHARDS_MAX];
    uint64_t current[ACCOUNT_SHARDS_MAX]; /* of these, those of the rounds that the order says */
    int64_t holds;                        /* a byte for each shard: that round */
    int64_t sold;                         /* a bit for each shard */
    bool is_money_known;
    char method[17];
    bool is_paying; /* it waits for its money */
    bool has_own;   /* payment has the charge that the order says */
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
    enum account_verdict verdict;
};

/* What account_see_order() reads of $order. */
#define ACCOUNT_ORDER_COLUMNS "n, id, status, saga, round, total, currency, charge, holds, sold, money, method"

void
account_see_order(struct account *account, struct db_statement *row);

void
account_see_line(struct account *account, int shard, struct slice product, int64_t quantity);

/* What account_see_charge() reads of $charge. */
#define ACCOUNT_CHARGE_COLUMNS "order_id, id, amount, currency, status, refunded, method"

void
account_see_charge(struct account *account, struct db_statement *row);

/* What account_see_hold() reads of $hold; `is_current`: it is of the round that the order says. */
#define ACCOUNT_HOLD_COLUMNS "hold, product, quantity, state"

void
account_see_hold(struct account *account, int shard, bool is_current, struct db_statement *row);

/* Whether stock has sold nothing for it. */
bool
account_is_unsold(const struct account *account);

enum account_verdict
account_judge(const struct account *account);

/* Why it differs. */
void
account_tell(const struct account *account, struct verify_survey *survey, const char *place);

#endif
