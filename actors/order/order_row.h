/* SPDX-License-Identifier: MPL-2.0 */
/* An order in memory: what its rows say, and what is known of the step that is under way. */
#ifndef LARDER_ORDER_ROW_H
#define LARDER_ORDER_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "kit/durable/fingerprint.h"
#include "order/saga/order_rules.h"
#include "order/saga/order_saga.h"
#include "wire.h"

#define ORDER_METHOD_MAX 16
#define ORDER_SHARDS_MAX 8 /* a byte of `holds` each */
#define ORDER_DUE_UNKNOWN (-1)
#define ORDER_DUE_NONE 0

/* What is known of its charge. The numbers are in the databases, here and below: they do not change. */
enum order_money { MONEY_OPEN = 0, MONEY_PAID = 1, MONEY_FAILED = 2, MONEY_REFUNDED = 3 };

/* Bits of `told`: which facts about the charge have come as events. */
enum order_told { TOLD_SUCCEEDED = 1, TOLD_FAILED = 2, TOLD_REFUNDED = 4, TOLD_REFUND_FAILED = 8 };

struct order_row {
    /* as in $order; lines and note are the row's own memory */
    int64_t n;
    struct id id;
    enum order_status status;
    enum saga_state saga;
    enum saga_state back; /* the state in which it came to be stuck, until it ends; SAGA_STATE_COUNT: never */
    int64_t round;        /* of holds: raised by order.pay, and when units are reserved again */
    int64_t holds;        /* a byte per shard: the round of its hold */
    int64_t sold;         /* a bit per shard: its units have left */
    int64_t tries;        /* how often what was stuck was tried again */
    enum order_money money;
    int64_t told;
    char reason[WIRE_NAME_MAX + 1];
    int64_t total;
    char currency[4];
    char method[ORDER_METHOD_MAX + 1];
    bool has_note;
    struct slice note;
    bool has_customer;
    struct id customer;
    bool has_charge;
    struct id charge;
    int64_t charge_round;
    struct id request;              /* that began this round: order.place or order.pay */
    struct fingerprint fingerprint; /* of the place */
    int64_t placed_ms;
    int64_t changed_ms;
    int64_t deadline_ms;
    int64_t version;
    int64_t entries;        /* of the timeline */
    int64_t entered_ms;     /* the state of its saga */
    struct wire_list lines; /* of order_item */

    /* made of the above */
    uint64_t shards; /* a bit for each on which a line lies */

    /* of the step under way: nothing of it is on disk, all of it can be asked again */
    uint64_t asking;   /* a bit per shard whose answer is on its way; bit 0 for payment */
    uint64_t known;    /* that have answered */
    uint64_t failed;   /* of them with a no */
    err refusal;       /* the latest of these */
    uint64_t again;    /* that were, or may have been, asked before */
    bool is_told_away; /* the timeline says that somebody does not answer */
    int64_t attempts;
    int64_t due_ms;      /* when to look after it; ORDER_DUE_NONE; ORDER_DUE_UNKNOWN: as the due row says */
    int64_t due_disk_ms; /* as the due row says; ORDER_DUE_UNKNOWN */

    /* of the batch */
    bool is_new;
    bool is_touched;
    enum order_status status_disk;

    /* of the cache */
    struct order_row *next_by_id;
    struct order_row *next_by_n;
    struct order_row *older;
    struct order_row *newer;
};

/* All zero, on the heap. */
struct order_row *
order_row_create(void);
void
order_row_destroy(struct order_row **row);

/* Take copies. */
void
order_row_set_note(struct order_row *row, struct slice note);
void
order_row_set_lines(struct order_row *row, struct wire_list lines, int shards);

/* The round of a shard's hold. */
int64_t
order_row_hold_round(const struct order_row *row, int shard);
void
order_row_set_hold_round(struct order_row *row, int shard, int64_t round);

/* The shards that the row's state asks, payment being shard 0. */
uint64_t
order_row_asks(const struct order_row *row);

/* The id of what the row's state asks of a shard. */
struct id
order_row_step_id(const struct order_row *row, int shard);

struct id
order_row_hold(const struct order_row *row, int shard);

/* What it means to it that its money has come: order_trigger_of_payment(). */
enum saga_trigger
order_row_trigger_of_payment(const struct order_row *row);

/* As the wire has it; borrows from the row. */
struct wire_order
order_row_body(const struct order_row *row);

#endif
