/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Asks a running larder a sequence of random requests that follows from a seed, and judges every answer.
 *
 *       random_operations --base-port 4000 --shards 1 --http 127.0.0.1:8080 --seed 1 --requests 2000 --kill-every 300 --log FILE
 *                         --report FILE
 *
 *   Where the seed says so it prints `kill N` while requests are under way, and waits for a line on its standard input: whoever
 *   started it kills what N says, starts it again, and answers. Then everything that has no answer is asked again under its id.
 *
 * FAILURES
 *   Exit 1 and, on standard error, the seed, the number of the request and what is wrong. The log holds all requests and answers.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_asker.h"
#include "judge.h"
#include "junk.h"
#include "kit/settings/topology.h"
#include "windows.h"

struct options {
    int base_port;
    int shards;
    const char *http;
    uint64_t seed;
    uint64_t requests;
    uint64_t kill_every;
    const char *log;
    const char *report;
};

static void
tcp_address(const void *context, int actor, int shard, bool is_events, char *endpoint, size_t size)
{
    const struct options *options = context;
    snprintf(endpoint, size, "tcp://127.0.0.1:%d", options->base_port + actor + 1 + 200 * shard + (is_events ? 100 : 0));
}

static bool
read_options(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"base-port", required_argument, NULL, 'b'},
                                          {"shards", required_argument, NULL, 's'},
                                          {"http", required_argument, NULL, 'h'},
                                          {"seed", required_argument, NULL, 'e'},
                                          {"requests", required_argument, NULL, 'r'},
                                          {"kill-every", required_argument, NULL, 'k'},
                                          {"log", required_argument, NULL, 'l'},
                                          {"report", required_argument, NULL, 'p'},
                                          {0}};
    *options = (struct options){.base_port = 4000, .shards = 1, .requests = 1000};
    int chosen;
    while ((chosen = getopt_long(argc, argv, "", known, NULL)) != -1) {
        uint64_t number = strtoull(optarg == NULL ? "" : optarg, NULL, 10);
        switch (chosen) {
        case 'b':
            options->base_port = (int)number;
            break;
        case 's':
            options->shards = (int)number;
            break;
        case 'h':
            options->http = optarg;
            break;
        case 'e':
            options->seed = number;
            break;
        case 'r':
            options->requests = number;
            break;
        case 'k':
            options->kill_every = number;
            break;
        case 'l':
            options->log = optarg;
            break;
        case 'p':
            options->report = optarg;
            break;
        default:
            return false;
        }
    }
    return optind == argc && options->shards >= 1 && options->shards <= SEQUENCE_SHARDS_MAX;
}

/* A line per operation: its name, how often it was answered ok, refused and asked by HTTP, then what it was answered. Then the ids of
 * what only an outsider makes. */
static void
write_report(const struct sequence *sequence, const char *path)
{
    FILE *report = fopen(path, "w");
    if (report == NULL) {
        return;
    }
    for (int op = 0; op < OP_COUNT; op++) {
        const struct tally *tally = &sequence->tallies[op];
        fprintf(report, "%s %" PRIu64 " %" PRIu64 " %" PRIu64, wire_ops[op].name, tally->ok, tally->refused, tally->by_http);
        for (int status = 0; status < ERR_COUNT; status++) {
            if (tally->statuses[status] > 0) {
                fprintf(report, " %s=%" PRIu64, err_symbol((err)status), tally->statuses[status]);
            }
        }
        fputc('\n', report);
    }
    for (size_t at = 0; at < sequence->outside.size; at += ID_TEXT_SIZE) {
        fprintf(report, "outside %.*s", ID_TEXT_SIZE, (const char *)sequence->outside.data + at);
    }
    fclose(report);
}

/* False: whoever started this has gone. */
static bool
ask_for_kill(uint64_t drawn)
{
    char line[64];
    printf("kill %" PRIu64 "\n", drawn);
    fflush(stdout);
    return fgets(line, sizeof line, stdin) != NULL;
}

static bool
run(struct windows *windows, const struct options *options)
{
    struct sequence *sequence = windows->sequence;
    uint64_t next_kill = options->kill_every;
    struct junk junk = {.post = windows->post, .sequence = sequence, .http = options->http, .base_port = options->base_port};
    while (sequence->number < options->requests) {
        if (!windows_send(windows)) {
            return false;
        }
        if (options->kill_every > 0 && sequence->number >= next_kill) {
            struct chance chance = chance_of(sequence->seed, UINT64_MAX - sequence->number);
            next_kill = sequence->number + options->kill_every / 2 + chance_below(&chance, options->kill_every);
            if (!ask_for_kill(chance_below(&chance, 1000)) || !windows_send_again(windows)) {
                return false;
            }
        }
        if (!windows_settle(windows)) {
            return false;
        }
        junk_throw(&junk, sequence->number);
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct options options;
    if (!read_options(argc, argv, &options)) {
        fprintf(stderr, "random_operations: see the head of its source\n");
        return 2;
    }
    struct sequence sequence;
    struct post post;
    struct err_text why;
    sequence_init(&sequence, options.seed, options.shards);
    sequence.log = options.log == NULL ? NULL : fopen(options.log, "w");
    struct http_asker asker = {&sequence, options.http};
    struct windows windows = {.sequence = &sequence, .post = &post, .patience_ms = 12000, .ask_http = http_ask, .context = &asker};
    sequence.has_http = options.http != NULL;
    if (post_open(&post, &(struct post_addresses){tcp_address, &options}, options.shards, &why) != ERR_ok) {
        fprintf(stderr, "random_operations: %s\n", why.text);
        return 2;
    }
    bool is_fine = run(&windows, &options);
    if (!is_fine) {
        fprintf(stderr, "LARDER_SEED=%" PRIu64 ": %s\n", options.seed, sequence.fault);
    }
    if (options.report != NULL) {
        write_report(&sequence, options.report);
    }
    if (sequence.log != NULL) {
        fclose(sequence.log);
    }
    post_close(&post);
    sequence_fini(&sequence);
    return is_fine ? 0 : 1;
}
