/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of the order actor share. Not for others. */
#ifndef LARDER_ORDER_STATE_H
#define LARDER_ORDER_STATE_H

#include "kit/actor.h"
#include "shared/menu.h"
#include "order_cache.h"
#include "order_row.h"
#include "order/request/order_secret.h"
#include "order_standing.h"
#include "order_store.h"

/* Owners of due rows; keys are the order's id, the charge's, the customer's, the order's. */
#define ORDER_DUE_SAGA "saga"
#define ORDER_DUE_STRAY "stray"
#define ORDER_DUE_FORGET "forget"
#define ORDER_DUE_PAID_BACK "paid_back"

#define ORDER_FORGET_MAX 128 /* orders of a customer that one batch clears */

struct order_actor {
    struct actor *actor;
    const struct settings *settings;
    int shards; /* of stock */
    struct order_store *store;
    struct order_cache *cache;
    struct menu *menu;
    struct order_secrets *secrets;
    struct wire_buffer list; /* of the answer, or of the ask, that is being made */
    struct wire_buffer frame;

    /* sagas that have to be asked anew after a start */
    bool is_resumed;
    bool has_forgotten;   /* the batch under way clears somebody's notes */
    bool is_scrub_wanted; /* files still hold what was deleted */
    struct id resumed_to;
    struct order_standing standing;

    /* of the batch */
    struct batch *batch;
    struct order_row **touched;
    size_t touched_count;
    size_t touched_capacity;
    struct id *forgotten; /* of the customers of this batch, those who were erased */
    size_t forgotten_count;
};

/* --- order_batch.c --- */

/* Is read before the batch is handled, unless it lies in memory. */
void
order_want(struct order_actor *order, const struct id *id);

/* The id that is the key of a due row. */
struct id
order_key_of(const struct item *item);

/* The row is written at the end of the batch. */
void
order_touch(struct order_actor *order, struct order_row *row);

/* Writes all rows that were touched. */
MUST_CHECK err
order_flush(struct order_actor *order);

/* Something for the timeline: `what` and `outcome` of the wire's names; `detail` may be "". */
void
order_note(struct order_actor *order, struct order_row *row, const char *what, const char *outcome, const char *detail);

/* About a due row that was given up. */
struct order_letter {
    struct id id;
    const char *type;  /* "order.paid_back" */
    const char *owner; /* of the due row */
    const struct id *due_key;
    const struct id *order;
    err reason;
    const char *error;
    int64_t attempts;
    int64_t first_ms;
    int64_t amount; /* at stake */
    const char *currency;
};

void
order_bury(struct order_actor *order, const struct order_letter *letter);

/* --- order_ask.c --- */

/* Why something was asked. The context of a step and of a stray charge says which, by its number; that of product.get is the
 * waiter. */
enum order_ask_kind { ASKS_STEP, ASKS_STRAY, ASKS_MENU };

void *
order_context(enum order_ask_kind kind, int64_t n, int shard);
enum order_ask_kind
order_ask_kind_of(const struct item *reply);
int64_t
order_context_n(const void *context);
int
order_context_shard(const void *context);

/* Asks what is not known and not being asked. */
void
order_ask(struct order_actor *order, struct order_row *row, struct slice traceparent);

/* --- order_answers.c --- */

struct order_asker
order_asker_of(const struct item *item);

/* An order of this batch, if the asker may see it; NULL, and refused as unknown, otherwise: a wrong secret is told in the words of an
 * order that is not there. */
struct order_row *
order_find_visible(struct order_actor *order, struct item *item, const struct id *id);

/* A problem about an order. */
struct wire_problem
order_problem(const struct order_row *row, const char *detail);

void
order_answer(struct order_actor *order, struct item *item, const struct order_row *row);

/* What placing it is answered: the order, and of a guest's its secret, which is written to `secret`. In no other answer, and kept
 * nowhere. */
struct wire_order
order_placed(const struct order_actor *order, const struct order_row *row, char secret[ORDER_SECRET_SIZE]);

/* All who wait to be told what became of its reservation. */
void
order_answer_waiters(struct order_actor *order, const struct order_row *row, const struct wire_order *reply);
void
order_refuse_waiters(struct order_actor *order, const struct order_row *row, err code, const struct wire_problem *problem);

/* A refusal that is final for its id. */
MUST_CHECK err
order_keep_refusal(struct order_actor *order, const struct item *item);
/* What was done to an order. */
MUST_CHECK err
order_keep_done(struct order_actor *order, const struct item *item, const struct order_row *row);

/* Keeps the refusal of a round's reservation for those who ask again, and tells those who wait. */
MUST_CHECK err
order_refuse_round(struct order_actor *order, struct order_row *row, err code, const struct wire_problem *problem);

/* As actor_class has it. */
MUST_CHECK err
order_recall(void *state, struct batch *batch);

/* Whether the id of a request that is about an order is that of an order which was placed: then it is answered here. Versions that
 * allowed it have kept what was done. */
MUST_CHECK err
order_guard_id(struct order_actor *order, struct item *item, bool *is_taken);

/* The answer to who asks again for what began the order's round: waits while it is under way. */
void
order_answer_round(struct order_actor *order, struct item *item, struct order_row *row);

/* --- order_move.c: the saga --- */

/* Something that moves it. */
struct order_news {
    enum saga_trigger trigger;
    const char *what;    /* of the timeline */
    const char *outcome; /* of the timeline */
    const char *reason;  /* of a status that is bad news; "" */
    const char *detail;  /* in words; "" */
    const struct item *cause;
};

/* Goes where the table says. False, and nothing happens, when it says nothing. */
bool
order_move(struct order_actor *order, struct order_row *row, const struct order_news *news);

/* A status of its own accord: the kitchen's way. */
void
order_set_status(struct order_actor *order, struct order_row *row, enum order_status status, const char *reason,
                 const struct item *cause);

/* Begins at the first state. */
void
order_begin(struct order_actor *order, struct order_row *row, const struct item *cause);

/* --- order_stray.c --- */

/* Money for a charge that its order does not take. */
MUST_CHECK err
order_stray_money(struct order_actor *order, struct order_row *row, const struct item *item);
/* payment.refunded or refund_failed of a charge that is not its order's. */
MUST_CHECK err
order_stray_refund(struct order_actor *order, const struct item *item);
MUST_CHECK err
order_stray_reply(struct order_actor *order, struct item *item);
MUST_CHECK err
order_stray_due(struct order_actor *order, struct item *item);

/* --- order_paid_back.c --- */

/* payment.refunded of the order's own charge, which it knows to be paid. */
void
order_paid_back(struct order_actor *order, struct order_row *row, const struct item *item);
/* The order was given up: what was paid back is no loss any more. */
void
order_paid_back_end(struct order_actor *order, const struct order_row *row);
/* Somebody asks for the letter. */
MUST_CHECK err
order_paid_back_due(struct order_actor *order, struct item *item);

/* --- order_steps.c --- */

MUST_CHECK err
order_handle_step(struct order_actor *order, struct item *item);
MUST_CHECK err
order_handle_payment(struct order_actor *order, struct item *item);
MUST_CHECK err
order_handle_due(struct order_actor *order, struct item *item);

/* Sagas that were under way when the actor ended; some of them each time. */
MUST_CHECK err
order_resume(struct order_actor *order);

/* --- order_place.c --- */

MUST_CHECK err
order_place(struct order_actor *order, struct item *item);
/* product.get has answered. */
MUST_CHECK err
order_place_goes_on(struct order_actor *order, struct item *item);
/* What a batch needs of the menu for either, before it is handled. */
void
order_place_want(struct order_actor *order, const struct item *item);
void
order_place_want_again(struct order_actor *order, const struct item *item);

/* --- order_change.c, order_pages.c --- */

MUST_CHECK err
order_advance(struct order_actor *order, struct item *item);
MUST_CHECK err
order_cancel(struct order_actor *order, struct item *item);
MUST_CHECK err
order_pay(struct order_actor *order, struct item *item);
/* user.erased, or the due row of one who has more orders than a batch clears. */
MUST_CHECK err
order_forget_customer(struct order_actor *order, struct item *item);

MUST_CHECK err
order_get(struct order_actor *order, struct item *item);
MUST_CHECK err
order_list(struct order_actor *order, struct item *item);
MUST_CHECK err
order_kitchen(struct order_actor *order, struct item *item);
MUST_CHECK err
order_timeline(struct order_actor *order, struct item *item);

#define ORDER_STRAY_PAUSE_MS 10000

/* When a saga that nobody carries on is looked after. */
static inline int64_t
order_watchdog_ms(const struct settings *settings)
{
    return 2 * settings->request_timeout_ms;
}

/* --- order_retime.c --- */

/* The clock was set: says when this due row is due, and moves what belongs to it. */
MUST_CHECK err
order_retime(const struct retiming *retiming, struct due_row *row);

#endif
