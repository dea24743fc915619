/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Sequences of operations against the whole program: every actor runs in this process, on SQLite in memory, and every eight bytes of
 * an input are one request of the random sequence (tests/random), up to WINDOW_MAX of them under way at once. Answers are judged as
 * there. What the actors know stays from input to input, and is thrown away after RUNS_PER_SHOP of them: so what an input finds may
 * need those before it, and the whole sequence since the shop was opened is in the file that is named when something is found.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/run/command_process.h"
#include "kit/telemetry/log.h"
#include "sequence.h"
#include "kit/settings/topology.h"
#include "windows.h"

#define RUNS_PER_SHOP 400
#define REQUESTS_MAX 48
#define CHANCE_SIZE 8

int
LLVMFuzzerInitialize(int *argc, char ***argv);
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
const char *
__asan_default_options(void); /* NOLINT(bugprone-reserved-identifier) */

static struct {
    struct settings settings;
    struct process process;
    struct sequence sequence;
    struct post post;
    struct windows windows;
    char log[128];
    int runs;
    int shops;
    bool is_open;
} here;

/* What the actors keep from one input to the next is no leak. */
const char *
__asan_default_options(void)
{
    return "detect_leaks=0";
}

static void
require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s\nthe sequence since the shop was opened: %s\n", what, here.log);
        abort();
    }
}

static void
inproc_address(const void *context, int actor, int shard, bool is_events, char *endpoint, size_t size)
{
    char name[ENDPOINT_MAX];
    (void)context;
    topology_inproc(sequence_actors[actor], shard, is_events ? ENDPOINT_EVENTS : ENDPOINT_REQUESTS, name);
    snprintf(endpoint, size, "%s", name);
}

static void
close_shop(void)
{
    char command[SETTING_TEXT_MAX + 16];
    if (!here.is_open) {
        return;
    }
    here.is_open = false;
    fclose(here.sequence.log);
    post_close(&here.post);
    sequence_fini(&here.sequence);
    for (size_t i = here.process.count; i > 0; i--) {
        if (here.process.hosted[i - 1].actor != NULL) {
            require(actor_outcome(here.process.hosted[i - 1].actor) == ACTOR_RUNNING, "an actor has ended by itself");
            require(actor_stop(&here.process.hosted[i - 1].actor) == ACTOR_STOPPED, "an actor did not stop");
        }
    }
    snprintf(command, sizeof command, "rm -rf '%s'", here.settings.data);
    require(system(command) == 0, command);
}

static void
open_shop(void)
{
    struct err_text why = {""};
    snprintf(here.settings.data, sizeof here.settings.data, "/dev/shm/larder-fuzz.%d.%d", (int)getpid(), here.shops++);
    err code = process_start(&here.process, false, &why);
    require(code == ERR_ok, why.text);
    snprintf(here.log, sizeof here.log, "/dev/shm/larder-fuzz.%d.%d/sequence.log", (int)getpid(), here.shops - 1);
    sequence_init(&here.sequence, (uint64_t)here.shops, (int)here.settings.stock_shards);
    here.sequence.log = fopen(here.log, "w");
    require(here.sequence.log != NULL, here.log);
    code = post_open(&here.post, &(struct post_addresses){inproc_address, NULL}, (int)here.settings.stock_shards, &why);
    require(code == ERR_ok, why.text);
    here.windows = (struct windows){.sequence = &here.sequence, .post = &here.post, .patience_ms = 60000};
    here.runs = 0;
    here.is_open = true;
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    static const char *const names[] = {"dlq", "stock", "factory", "product", "user", "payment", "order", "sales"};
    struct err_text why = {""};
    (void)argc;
    (void)argv;
    log_init(false, LOG_LEVEL_ERROR);
    require(settings_init(&here.settings, &why) == ERR_ok, why.text);
    here.settings.base_port = 5000 + getpid() % 1000 * 10;
    here.settings.stock_shards = 2;
    here.settings.lead_time_ms = 20;
    here.settings.alarm_repeat_ms = 100;
    here.settings.payment_delay_ms = 20;
    here.settings.order_ttl_ms = 1000;
    here.settings.retry_first_ms = 5;
    here.settings.retry_attempts = 2;
    here.settings.behind_ms = 200;
    require(process_init(&here.process, &here.settings, &why) == ERR_ok, why.text);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        require(process_add(&here.process, names[i], -1, &why) == ERR_ok, why.text);
    }
    require(atexit(close_shop) == 0, "atexit");
    return 0;
}

/* Up to WINDOW_MAX at once; the first byte of a request's eight says whether one more joins it. */
static bool
run_input(const uint8_t *data, size_t count)
{
    struct chance chances[WINDOW_MAX];
    size_t joined = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(&chances[joined++].state, data + CHANCE_SIZE * i, CHANCE_SIZE);
        bool is_last = i + 1 == count || joined == WINDOW_MAX || data[CHANCE_SIZE * i] % 4 == 0;
        if (is_last && (!windows_send_of(&here.windows, chances, joined) || !windows_settle(&here.windows))) {
            return false;
        }
        joined = is_last ? 0 : joined;
    }
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t count = size / CHANCE_SIZE < REQUESTS_MAX ? size / CHANCE_SIZE : REQUESTS_MAX;
    if (count == 0) {
        return 0;
    }
    if (here.is_open && here.runs >= RUNS_PER_SHOP) {
        close_shop();
    }
    if (!here.is_open) {
        open_shop();
    }
    here.runs++;
    bool is_fine = run_input(data, count);
    fflush(here.sequence.log);
    require(is_fine, here.sequence.fault);
    return 0;
}
