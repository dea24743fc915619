/* SPDX-License-Identifier: MPL-2.0 */
/* The saga of an order as a table: order_saga.def, and what can be asked of it. Nothing here does anything. */
#ifndef LARDER_ORDER_SAGA_H
#define LARDER_ORDER_SAGA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "wire.h"

/* What people see. */
enum order_status {
    ORDER_PLACED,
    ORDER_AWAITING_PAYMENT,
    ORDER_RECEIVED,
    ORDER_IN_PREPARATION,
    ORDER_READY,
    ORDER_COMPLETED,
    ORDER_CANCELLED,
    ORDER_PAYMENT_FAILED,
    ORDER_STATUS_COUNT
};

/* Where the machine is. */
enum saga_state {
#define STATE(name, op, whom, decides, doc) SAGA_##name,
#include "order_saga.def"
    SAGA_back, /* in the table: the state from which it came to be stuck */
    SAGA_STATE_COUNT = SAGA_back
};

/* What moves it. */
enum saga_trigger {
#define TRIGGER(name, doc) ON_##name,
#include "order_saga.def"
    SAGA_TRIGGER_COUNT
};

/* Whom a state asks. */
enum saga_whom { NOBODY, PAYMENT, UNSOLD, SOLD };

/* When several shards were asked: which answers decide. */
enum saga_decides { FIRST_NO, EVERY_ANSWER };

struct saga_step {
    const char *name;
    enum op op; /* OP_COUNT: it asks nobody */
    enum saga_whom whom;
    enum saga_decides decides;
    const char *doc;
};

struct saga_edge {
    enum saga_state from;
    enum saga_trigger on;
    enum saga_state to;
    enum order_status status; /* ORDER_STATUS_COUNT: stays as it is */
    const char *reason;       /* why, where what moved it does not say: "" */
    const char *doc;
};

extern const struct saga_step saga_steps[SAGA_STATE_COUNT];

/* SAGA_STATE_COUNT for a word that is none. */
enum saga_state
saga_state_find(struct slice name);

const char *
saga_trigger_name(enum saga_trigger trigger);

/* NULL: this is nothing to a saga in this state. */
const struct saga_edge *
saga_edge(enum saga_state from, enum saga_trigger on);

/* Every edge, `saga_edge_count` of them, in the order of the table. */
extern const struct saga_edge saga_edges[];
extern const size_t saga_edge_count;

/* Whether an unpaid order in this state is cancelled when its time is over. */
bool
saga_has_deadline(enum saga_state state);

/* The id of what a state asks: a function of the order, the step and its direction, so that every attempt after any crash has the
 * same one. `round` is that of the shard's hold, or of the charge; `shard` is 0 for payment. The reserve's id is the hold's, the
 * charge's the charge's. A refund has the charge instead of the order, and the number of the try instead of the round. */
struct id
saga_step_id(const struct id *order, enum op op, int64_t round, int shard);

/* The table as a Mermaid graph and as Markdown, for PROTOCOL.md. */
void
saga_print(FILE *out);

#endif
