/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The table of order_saga.def as C: states, edges, the ids of steps, and the graph that PROTOCOL.md shows.
 * STATE     None; constants.
 * FAILURES  None. What is not in the table is NULL.
 * LIMITS    An edge is found by walking the table: some 45 rows.
 */
#include "order_saga.h"

#include <inttypes.h>

#define OP_none OP_COUNT
#define ORDER_KEEP ORDER_STATUS_COUNT

const struct saga_step saga_steps[SAGA_STATE_COUNT] = {
#define STATE(name, op, whom, decides, doc) {#name, OP_##op, whom, decides, doc},
#include "order_saga.def"
};

const struct saga_edge saga_edges[] = {
#define EDGE(from, on, to, status, reason, doc) {SAGA_##from, ON_##on, SAGA_##to, ORDER_##status, reason, doc},
#include "order_saga.def"
};

const size_t saga_edge_count = sizeof saga_edges / sizeof saga_edges[0];

static const char *const trigger_names[SAGA_TRIGGER_COUNT] = {
#define TRIGGER(name, doc) #name,
#include "order_saga.def"
};

static const char *const trigger_docs[SAGA_TRIGGER_COUNT] = {
#define TRIGGER(name, doc) doc,
#include "order_saga.def"
};

static const char *const status_names[] = {
#define EDGE(from, on, to, status, reason, doc) #status,
#include "order_saga.def"
};

enum saga_state
saga_state_find(struct slice name)
{
    unsigned state = 0;
    while (state < SAGA_STATE_COUNT && !slice_equal(name, slice_of(saga_steps[state].name))) {
        state++;
    }
    return (enum saga_state)state;
}

const char *
saga_trigger_name(enum saga_trigger trigger)
{
    return trigger < SAGA_TRIGGER_COUNT ? trigger_names[trigger] : "";
}

const struct saga_edge *
saga_edge(enum saga_state from, enum saga_trigger on)
{
    for (size_t i = 0; i < saga_edge_count; i++) {
        if (saga_edges[i].from == from && saga_edges[i].on == on) {
            return &saga_edges[i];
        }
    }
    return NULL;
}

bool
saga_has_deadline(enum saga_state state)
{
    return saga_edge(state, ON_deadline) != NULL;
}

/* A step and the one that undoes it share a name. */
struct step_name {
    const char *name;
    const char *way;
};

struct id
saga_step_id(const struct id *order, enum op op, int64_t round, int shard)
{
    static const struct step_name names[OP_COUNT] = {
        [OP_stock_reserve] = {"reserve", "do"}, [OP_stock_release] = {"reserve", "undo"}, [OP_stock_commit] = {"commit", "do"},
        [OP_stock_return] = {"commit", "undo"}, [OP_payment_charge] = {"charge", "do"},   [OP_payment_cancel] = {"charge", "undo"},
        [OP_payment_refund] = {"refund", "do"},
    };
    char step[64];
    (void)snprintf(step, sizeof step, "%s/%" PRId64 "/%d/%s", names[op].name, round, shard, names[op].way);
    return id_derive(order, step);
}

/* --- the graph --- */

static void
print_status(FILE *out, const char *status)
{
    for (; *status != '\0'; status++) {
        fputc(*status >= 'A' && *status <= 'Z' ? *status - 'A' + 'a' : *status, out);
    }
}

static void
print_graph(FILE *out)
{
    fputs("```mermaid\nstateDiagram-v2\n    [*] --> reserving\n", out);
    for (size_t i = 0; i < saga_edge_count; i++) {
        const struct saga_edge *edge = &saga_edges[i];
        if (edge->from == edge->to || edge->to == SAGA_back) {
            continue;
        }
        fprintf(out, "    %s --> %s: %s", saga_steps[edge->from].name, saga_steps[edge->to].name, trigger_names[edge->on]);
        if (edge->status != ORDER_KEEP) {
            fputs(" / ", out);
            print_status(out, status_names[i]);
        }
        fputc('\n', out);
    }
    fputs("```\n", out);
}

static void
print_states(FILE *out)
{
    static const char *const whom[] = {[NOBODY] = "", [PAYMENT] = "", [UNSOLD] = ", each shard", [SOLD] = ", each shard"};
    fputs("\n| state | asks | what it does |\n| --- | --- | --- |\n", out);
    for (unsigned i = 0; i < SAGA_STATE_COUNT; i++) {
        const struct saga_step *step = &saga_steps[i];
        if (step->op == OP_COUNT) {
            fprintf(out, "| `%s` | nobody | %s |\n", step->name, step->doc);
        } else {
            fprintf(out, "| `%s` | `%s`%s | %s |\n", step->name, wire_ops[step->op].name, whom[step->whom], step->doc);
        }
    }
}

void
saga_print(FILE *out)
{
    print_graph(out);
    print_states(out);
    fputs("\n| what moves it | that is |\n| --- | --- |\n", out);
    for (unsigned i = 0; i < SAGA_TRIGGER_COUNT; i++) {
        fprintf(out, "| `%s` | %s |\n", trigger_names[i], trigger_docs[i]);
    }
    fputs("\n| from | on | to | status | |\n| --- | --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < saga_edge_count; i++) {
        const struct saga_edge *edge = &saga_edges[i];
        fprintf(out, "| `%s` | `%s` | %s%s%s | ", saga_steps[edge->from].name, trigger_names[edge->on],
                edge->to == SAGA_back ? "" : "`", edge->to == SAGA_back ? "where it came from" : saga_steps[edge->to].name,
                edge->to == SAGA_back ? "" : "`");
        if (edge->status != ORDER_KEEP) {
            print_status(out, status_names[i]);
        }
        fprintf(out, " | %s |\n", edge->doc);
    }
}
