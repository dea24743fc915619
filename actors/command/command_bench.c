/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder bench`: keeps a window of requests under way to an actor for some seconds, from one or more clients of their own threads,
 *   and prints one line of JSON with the rate and the latencies.
 *
 * MESSAGES
 *   any.ping, stock.get, stock.take, sales.show, sales.checkout.
 *
 * FAILURES
 *   Refusals (sold out is one) and requests without an answer are counted apart. Nothing is sent twice.
 *
 * LIMITS
 *   Latencies are kept in buckets 1/32 wide. The time runs until the last answer. It sells for real: use it on a shop of its own.
 */
#include "command_table.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>

#include "kit/base/clock.h"
#include "command_client.h"
#include "kit/base/memory.h"
#include "kit/settings/topology.h"

#define CLIENTS_MAX 64
#define BUCKETS_PER_DOUBLING ((size_t)32)
#define BUCKET_COUNT (BUCKETS_PER_DOUBLING * 40)
#define NAME_SIZE 24

struct plan {
    const struct settings *settings;
    enum op op;
    const char *endpoint;
    const char *product;
    int64_t products; /* 0: the one product */
    int64_t seconds;
    int64_t window;
    int64_t clients;
    bool again;
};

struct tally {
    int64_t ok;
    int64_t refused;
    int64_t failed;
    int64_t buckets[BUCKET_COUNT];
};

/* One thread's own; `plan` is only read. */
struct worker {
    const struct plan *plan;
    pthread_t thread;
    struct larder_client *client;
    int shards;
    uint64_t random;
    err code;
    struct err_text why;
    struct tally tally;
};

union bench_body {
    struct wire_nothing nothing;
    struct wire_stock_get get;
    struct wire_stock_take take;
    struct wire_sales_show show;
    struct wire_sales_checkout checkout;
};

static size_t
bucket_of(int64_t us)
{
    if (us < (int64_t)(2 * BUCKETS_PER_DOUBLING)) {
        return us < 0 ? 0 : (size_t)us;
    }
    int doubling = 63 - __builtin_clzll((unsigned long long)us);
    int shift = doubling - 5;
    size_t bucket = (size_t)(shift + 1) * BUCKETS_PER_DOUBLING + (size_t)(us >> shift) - BUCKETS_PER_DOUBLING;
    return bucket < BUCKET_COUNT ? bucket : BUCKET_COUNT - 1;
}

/* The upper end of a bucket. */
static int64_t
bucket_us(size_t bucket)
{
    if (bucket < 2 * BUCKETS_PER_DOUBLING) {
        return (int64_t)bucket;
    }
    size_t shift = bucket / BUCKETS_PER_DOUBLING - 1;
    return ((int64_t)(bucket % BUCKETS_PER_DOUBLING + BUCKETS_PER_DOUBLING + 1) << shift) - 1;
}

static int64_t
quantile_us(const struct tally *tally, int64_t percent)
{
    int64_t count = tally->ok + tally->refused;
    int64_t rank = (count * percent + 99) / 100;
    int64_t seen = 0;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        seen += tally->buckets[i];
        if (seen >= rank && seen > 0) {
            return bucket_us(i);
        }
    }
    return 0;
}

static struct slice
next_product(struct worker *worker, char name[NAME_SIZE])
{
    if (worker->plan->products == 0) {
        return slice_of(worker->plan->product);
    }
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    snprintf(name, NAME_SIZE, "p-%06llu", (unsigned long long)(worker->random % (uint64_t)worker->plan->products));
    return slice_of(name);
}

/* The operation's body for one product; a list's bytes lie in `lines`. */
static void
fill_body(union bench_body *body, enum op op, struct slice product, struct wire_buffer *lines)
{
    memset(body, 0, sizeof *body);
    if (op == OP_stock_get) {
        WIRE_SET(&body->get, stock_get, product, product);
    } else if (op == OP_sales_show) {
        WIRE_SET(&body->show, sales_show, product, product);
    } else if (op == OP_sales_checkout) {
        WIRE_SET(&body->checkout, sales_checkout, product, product);
    } else if (op == OP_stock_take) {
        struct wire_stock_line line = {0};
        struct wire_list list = {0};
        WIRE_SET(&line, stock_line, product, product);
        WIRE_SET(&line, stock_line, quantity, 1);
        lines->size = 0;
        wire_list_add(&list, &stock_line_body, &line, lines);
        wire_list_end(&list, lines);
        WIRE_SET(&body->take, stock_take, lines, list);
    }
}

static err
send_one(struct worker *worker, struct wire_buffer *lines)
{
    union bench_body body;
    char name[NAME_SIZE];
    enum op op = worker->plan->op;
    int shard = 0;
    fill_body(&body, op, next_product(worker, name), lines);
    if ((wire_ops[op].traits & OP_ROUTED) != 0) {
        err code = larder_route(op, &body, worker->shards, &shard, &worker->why);
        if (code != ERR_ok) {
            return code;
        }
    }
    struct larder_request request = {.op = op, .body = &body};
    request.options = (struct larder_options){.shard = shard, .again = worker->plan->again, .attempts = 1};
    return larder_client_send(worker->client, &request);
}

static void
count_reply(struct tally *tally, const struct larder_reply *reply)
{
    enum err_disposition disposition = err_disposition(reply->status);
    if (disposition == ERR_DONE) {
        tally->ok++;
    } else if (disposition == ERR_REFUSE) {
        tally->refused++;
    } else {
        tally->failed++;
        return;
    }
    tally->buckets[bucket_of(reply->waited_us)]++;
}

/* Takes what has come; waits for the first. */
static void
receive_some(struct worker *worker, int64_t timeout_ms)
{
    struct larder_reply reply;
    while (larder_client_receive(worker->client, timeout_ms, &reply) == ERR_ok) {
        count_reply(&worker->tally, &reply);
        timeout_ms = 0;
    }
}

static void *
work(void *context)
{
    struct worker *worker = context;
    const struct plan *plan = worker->plan;
    struct command_peers peers = {.settings = plan->settings, .actor = wire_ops[plan->op].owner, .endpoint = plan->endpoint};
    if (!topology_knows(peers.actor)) {
        peers.actor = "stock";
    }
    worker->code = command_client_create(&peers, &worker->client, &worker->shards, &worker->why);
    if (worker->code != ERR_ok) {
        return NULL;
    }
    struct wire_buffer lines = {0};
    int64_t end_us = clock_steady_us() + plan->seconds * 1000000;
    while (clock_steady_us() < end_us && worker->code == ERR_ok) {
        while (worker->code == ERR_ok && larder_client_pending(worker->client) < plan->window) {
            worker->code = send_one(worker, &lines);
        }
        if (worker->code == ERR_overloaded) {
            worker->code = ERR_ok;
        }
        receive_some(worker, 100);
    }
    int64_t last_us = clock_steady_us() + (int64_t)LARDER_TIMEOUT_MS * 1000;
    while (larder_client_pending(worker->client) > 0 && clock_steady_us() < last_us) {
        receive_some(worker, 100);
    }
    worker->tally.failed += larder_client_pending(worker->client);
    larder_client_destroy(&worker->client);
    wire_buffer_fini(&lines);
    return NULL;
}

static void
add_tally(struct tally *sum, const struct tally *tally)
{
    sum->ok += tally->ok;
    sum->refused += tally->refused;
    sum->failed += tally->failed;
    for (size_t i = 0; i < BUCKET_COUNT; i++) {
        sum->buckets[i] += tally->buckets[i];
    }
}

static void
print_result(const struct plan *plan, const struct tally *sum, int64_t took_us)
{
    int64_t answered = sum->ok + sum->refused;
    int64_t requests = answered + sum->failed;
    int64_t per_second = took_us > 0 ? answered * 1000000 / took_us : 0;
    printf("{\"op\":\"%s\",\"requests\":%lld,\"ok\":%lld,\"refused\":%lld,\"failed\":%lld,\"seconds\":%lld.%03lld,\"per_second\":%lld,"
           "\"p50_us\":%lld,\"p99_us\":%lld}\n",
           wire_ops[plan->op].name, (long long)requests, (long long)sum->ok, (long long)sum->refused, (long long)sum->failed,
           (long long)(took_us / 1000000), (long long)(took_us / 1000 % 1000), (long long)per_second, (long long)quantile_us(sum, 50),
           (long long)quantile_us(sum, 99));
}

static enum exit_status
run_plan(const struct command_line *line, const struct plan *plan)
{
    struct worker *workers = memory_new((size_t)plan->clients, sizeof *workers);
    struct tally *sum = memory_new(1, sizeof *sum);
    (void)zsys_init(); /* its first use must not be by two threads at once */
    enum exit_status status = EXIT_DONE;
    int64_t began_us = clock_steady_us();
    for (int64_t i = 0; i < plan->clients; i++) {
        workers[i].plan = plan;
        workers[i].random = UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(i + 1);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            abort();
        }
    }
    for (int64_t i = 0; i < plan->clients; i++) {
        pthread_join(workers[i].thread, NULL);
        add_tally(sum, &workers[i].tally);
        if (workers[i].code != ERR_ok && status == EXIT_DONE) {
            if (workers[i].why.text[0] == '\0') {
                (void)err_say(&workers[i].why, workers[i].code, "%s", err_words(workers[i].code));
            }
            status = command_complain(line, workers[i].code, &workers[i].why);
        }
    }
    if (status == EXIT_DONE) {
        print_result(plan, sum, clock_steady_us() - began_us);
        status = sum->ok + sum->refused > 0 ? EXIT_DONE : EXIT_FAILED;
    }
    free(sum);
    free(workers);
    return status;
}

static err
take_plan(struct command_line *line, struct plan *plan, struct err_text *why)
{
    static const enum op ops[] = {OP_any_ping, OP_stock_get, OP_stock_take, OP_sales_show, OP_sales_checkout};
    const char *op_name = "any.ping";
    const struct command_option options[] = {
        {"--again", .is_there = &plan->again},
        {"--products", .number = &plan->products, .lo = 1, .hi = 10000000},
        {"--seconds", .number = &plan->seconds, .lo = 1, .hi = 3600},
        {"--window", .number = &plan->window, .lo = 1, .hi = LARDER_WINDOW},
        {"--clients", .number = &plan->clients, .lo = 1, .hi = CLIENTS_MAX},
        {"--op", .text = &op_name},
        {"--endpoint", .text = &plan->endpoint},
        {"--product", .text = &plan->product},
        {0},
    };
    err code = command_take(line, options, why);
    if (code == ERR_ok) {
        code = command_rest(line, 0, 0, why);
    }
    if (code == ERR_ok && !wire_is_name(slice_of(plan->product))) {
        code = err_say(why, ERR_wrong_setting, "--product: \"%.60s\" is no name of a product", plan->product);
    }
    if (code != ERR_ok) {
        return code;
    }
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcmp(op_name, wire_ops[ops[i]].name) == 0) {
            plan->op = ops[i];
            return ERR_ok;
        }
    }
    return err_say(why, ERR_wrong_setting, "--op: \"%.60s\" is none of any.ping, stock.get, stock.take, sales.show, sales.checkout",
                   op_name);
}

static enum exit_status
bench_run(struct command_line *line)
{
    struct plan plan = {.product = "donut", .seconds = 5, .window = 256, .clients = 1};
    struct err_text why;
    err code = take_plan(line, &plan, &why);
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    plan.settings = &line->settings;
    return run_plan(line, &plan);
}

const struct command bench_command = {
    .name = "bench",
    .arguments = "--op OP [--product SKU | --products N] [--seconds S] [--window W] [--clients C] [--endpoint E]",
    .summary = "measure an actor with a pipelined ZeroMQ client",
    .help = "OP is any.ping, stock.get, stock.take, sales.show or sales.checkout, one unit each. --products N spreads over\n"
            "p-000000 to N-1, otherwise --product (donut). W requests (256) are under way for each of C clients (1) during\n"
            "S seconds (5). --again asks as a retry would. Without --endpoint the operation's owner is asked.\n"
            "\n"
            "Prints one line of JSON; latencies are those of answers, refusals included. It sells for real.\n"
            "Exit status: 0 measured, 1 nobody answered, 2 a flag is wrong.\n",
    .run = bench_run,
};
