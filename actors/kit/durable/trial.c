/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Poison: which message ends its actor whenever it is handled. The name of a message stands on disk while it is handled
 *           alone, so the next start knows it; one that was there TRIAL_DEATHS times is given up. In a run that follows a clean stop
 *           nothing is written but one row at the start and at the stop. A start that is refused before it serves (a port that is
 *           taken) is no run: nothing is written, and what the run before left is left.
 *
 * STATE     $trial: the row "running" (deaths: runs in a row that did not end cleanly; is_trying 1: one is running, or ended without
 *           saying so), and a row per message that is being tried (is_trying 1) or that killed its actor (deaths, is_convict 1: it was
 *           given up). A message that is handled loses its row. In memory the same rows, as committed and as of the transaction.
 *
 * FAILURES  A transaction that is rolled back takes its changes of memory back. A stop while the database is away leaves the row
 *           "running", and the next run begins slowly for nothing.
 *
 * LIMITS    SUSPECTS_MAX messages are remembered, the latest. The slow beginning lasts SLOW_MIN_MS at least, twice that after a second
 *           run in a row that did not end cleanly and so on up to SLOW_MAX_MS, so that a message that is sent again by a patient
 *           client is met in it; and as many messages of each kind as a full batch has of it at the most: busy clients do not use up
 *           the turns of an event. A process that is killed from outside while it tries a message counts as that message's work; so
 *           does an actor beside it that ends the process by a message which it does not try.
 */
#include "trial.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kit/base/backoff.h"
#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

enum { SUSPECTS_MAX = 256, SLOW_MIN_MS = 3000, SLOW_MAX_MS = 60000, ENTER_MAX_MS = 1000 };

static const char RUNNING[] = "running";

struct suspect {
    struct trial_name name;
    int64_t deaths;
    int64_t at_ms;
    bool is_trying;
    bool is_convict;
};

/* What $trial holds but the row "running". */
struct memory {
    struct suspect suspects[SUSPECTS_MAX];
    size_t count;
};

struct trial {
    struct db *db;
    struct memory committed;
    struct memory working;
    bool is_changed; /* working is not committed */
    bool is_started;
    bool is_on;
    bool is_strict;
    bool is_inside;           /* has the process to itself */
    size_t left[TRIAL_KINDS]; /* that may still be tried */
    int64_t until_us;         /* steady: not over before this */
    struct metric *deaths;
    struct trial_name handled; /* whose turn has come; size 0: nobody's */
    bool is_entered;           /* the batch under way has records that are run alone, each named on disk before */
    struct trial_name next;    /* that its transaction writes down */
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

/* --- names --- */

static void
append(struct trial_name *name, const void *bytes, size_t size)
{
    size_t room = sizeof name->bytes - name->size;
    size_t taken = size < room ? size : room;
    if (taken > 0) {
        memcpy(name->bytes + name->size, bytes, taken);
        name->size += taken;
    }
}

struct trial_name
trial_name_of_event(struct slice source, int64_t seq)
{
    struct trial_name name = {.kind = TRIAL_EVENT};
    char number[32];
    int size = snprintf(number, sizeof number, "/%lld", (long long)seq);
    append(&name, "event/", 6);
    append(&name, source.data, source.size);
    append(&name, number, (size_t)size);
    return name;
}

struct trial_name
trial_name_of_request(const struct id *id)
{
    struct trial_name name = {.kind = TRIAL_REQUEST};
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    append(&name, "request/", 8);
    append(&name, text, strlen(text));
    return name;
}

struct trial_name
trial_name_of_due(struct slice owner, struct slice key)
{
    struct trial_name name = {.kind = TRIAL_DUE};
    append(&name, "due/", 4);
    append(&name, owner.data, owner.size);
    append(&name, "/", 1);
    append(&name, key.data, key.size);
    return name;
}

static struct slice
bytes_of(const struct trial_name *name)
{
    return (struct slice){name->bytes, name->size};
}

static bool
is_same(const struct trial_name *a, const struct trial_name *b)
{
    return slice_equal(bytes_of(a), bytes_of(b));
}

/* --- memory --- */

static struct suspect *
find(struct memory *memory, const struct trial_name *name)
{
    for (size_t i = 0; i < memory->count; i++) {
        if (is_same(&memory->suspects[i].name, name)) {
            return &memory->suspects[i];
        }
    }
    return NULL;
}

static const struct suspect *
find_committed(const struct trial *trial, const struct trial_name *name)
{
    for (size_t i = 0; i < trial->committed.count; i++) {
        if (is_same(&trial->committed.suspects[i].name, name)) {
            return &trial->committed.suspects[i];
        }
    }
    return NULL;
}

static void
copy(struct memory *to, const struct memory *from)
{
    to->count = from->count;
    memcpy(to->suspects, from->suspects, from->count * sizeof from->suspects[0]);
}

/* --- rows --- */

static err
queue_row(struct trial *trial, struct slice what, const struct suspect *suspect)
{
    struct db_statement *put =
        db_statement(trial->db, "REPLACE INTO $trial (what, deaths, is_trying, is_convict, at) VALUES (?, ?, ?, ?, ?)");
    db_bind_bytes(put, what);
    db_bind_i64(put, suspect->deaths);
    db_bind_i64(put, suspect->is_trying ? 1 : 0);
    db_bind_i64(put, suspect->is_convict ? 1 : 0);
    db_bind_i64(put, suspect->at_ms);
    return db_queue(put, DB_ANY_ROWS);
}

static err
queue_forget(struct trial *trial, const struct trial_name *name)
{
    struct db_statement *forget = db_statement(trial->db, "DELETE FROM $trial WHERE what = ?");
    db_bind_bytes(forget, bytes_of(name));
    return db_queue(forget, DB_ANY_ROWS);
}

static err
forget(struct trial *trial, struct suspect *suspect)
{
    err code = queue_forget(trial, &suspect->name);
    *suspect = trial->working.suspects[--trial->working.count];
    trial->is_changed = true;
    return code;
}

/* Room for one more: who killed longest ago has to be met anew. */
static err
add(struct trial *trial, const struct trial_name *name, struct suspect **added)
{
    struct memory *memory = &trial->working;
    err code = ERR_ok;
    if (memory->count == SUSPECTS_MAX) {
        struct suspect *oldest = &memory->suspects[0];
        for (size_t i = 1; i < memory->count; i++) {
            oldest = memory->suspects[i].at_ms < oldest->at_ms ? &memory->suspects[i] : oldest;
        }
        code = forget(trial, oldest);
    }
    *added = &memory->suspects[memory->count++];
    **added = (struct suspect){.name = *name, .at_ms = clock_utc_ms()};
    trial->is_changed = true;
    return code;
}

/* Who was being tried has survived. One that was only named, because its turn was next and did not come, keeps its deaths. */
static err
acquit(struct trial *trial)
{
    err code = ERR_ok;
    for (size_t i = trial->working.count; code == ERR_ok && i > 0; i--) {
        struct suspect *suspect = &trial->working.suspects[i - 1];
        bool is_handled =
            suspect->name.size == trial->handled.size && memcmp(suspect->name.bytes, trial->handled.bytes, suspect->name.size) == 0;
        if (!suspect->is_trying) {
            continue;
        }
        if (suspect->deaths > 0 && !is_handled) {
            suspect->is_trying = false;
            trial->is_changed = true;
            code = queue_row(trial, bytes_of(&suspect->name), suspect);
        } else {
            code = forget(trial, suspect);
        }
    }
    return code;
}

/* --- life --- */

struct trial *
trial_create(struct db *db, const char *actor, const size_t most[TRIAL_KINDS])
{
    struct trial *trial = memory_new(1, sizeof *trial);
    char labels[WIRE_NAME_MAX + 32];
    snprintf(labels, sizeof labels, "actor=\"%s\"", actor);
    trial->db = db;
    memcpy(trial->left, most, sizeof trial->left);
    trial->deaths = metric(METRIC_COUNTER, "larder_poison_deaths_total", labels, "Ends of an actor while it handled a message alone.");
    return trial;
}

static void
destroy(void *self)
{
    trial_leave(self);
    free(self);
}

/* Reads all; `run` is the row "running". */
static err
read_rows(struct trial *trial, struct suspect *run)
{
    struct memory *memory = &trial->working;
    struct db_statement *read = db_statement(trial->db, "SELECT what, deaths, is_trying, is_convict, at FROM $trial ORDER BY at DESC");
    err code = db_query(read);
    *run = (struct suspect){.deaths = 0};
    memory->count = 0;
    while (code == ERR_ok && db_next(read)) {
        struct suspect row = {.deaths = db_i64(read, 1),
                              .is_trying = db_i64(read, 2) != 0,
                              .is_convict = db_i64(read, 3) != 0,
                              .at_ms = db_i64(read, 4)};
        append(&row.name, db_bytes(read, 0).data, db_bytes(read, 0).size);
        if (slice_equal(bytes_of(&row.name), slice_of(RUNNING))) {
            *run = row;
        } else if (memory->count < SUSPECTS_MAX) {
            memory->suspects[memory->count++] = row;
        }
    }
    return code;
}

static err
count_deaths(struct trial *trial)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < trial->working.count; i++) {
        struct suspect *suspect = &trial->working.suspects[i];
        if (!suspect->is_trying) {
            continue;
        }
        suspect->is_trying = false;
        suspect->deaths++;
        suspect->at_ms = clock_utc_ms();
        metric_add(trial->deaths, 1);
        log_error("message_ended_its_actor", LOG_SLICE("message", bytes_of(&suspect->name)), LOG_I64("deaths", suspect->deaths));
        code = queue_row(trial, bytes_of(&suspect->name), suspect);
    }
    return code;
}

static void
turn_on(struct trial *trial, int64_t runs)
{
    int64_t slow_ms = backoff_doubled_ms(SLOW_MIN_MS, SLOW_MAX_MS, runs);
    trial->is_on = true;
    trial->is_strict = runs > 1;
    trial->until_us = clock_steady_us() + slow_ms * 1000;
    log_warn("run_before_did_not_end_cleanly", LOG_I64("runs", runs), LOG_I64("suspects", (int64_t)trial->working.count),
             LOG_TEXT("now", "the first messages are handled one by one"));
}

static err
load(void *self)
{
    struct trial *trial = self;
    struct suspect run;
    err code = read_rows(trial, &run);
    copy(&trial->committed, &trial->working);
    trial->is_changed = false;
    return code;
}

err
trial_start(struct trial *trial)
{
    struct suspect run;
    err code = read_rows(trial, &run);
    bool is_unclean = run.is_trying;
    run = (struct suspect){.deaths = is_unclean ? run.deaths + 1 : 0, .is_trying = true, .at_ms = clock_utc_ms()};
    if (code == ERR_ok && is_unclean) {
        turn_on(trial, run.deaths);
        code = count_deaths(trial);
    }
    if (code == ERR_ok) {
        code = queue_row(trial, slice_of(RUNNING), &run);
    }
    trial->is_changed = true;
    trial->is_started = code == ERR_ok;
    return code;
}

bool
trial_is_started(const struct trial *trial)
{
    return trial->is_started;
}

bool
trial_is_on(const struct trial *trial)
{
    return trial->is_on;
}

bool
trial_wants(const struct trial *trial, const struct trial_name *name, bool is_new)
{
    if (!trial->is_on) {
        return false;
    }
    return trial->left[name->kind] > 0 && (!is_new || trial->is_strict);
}

bool
trial_has_suspects(const struct trial *trial)
{
    return trial->committed.count > 0;
}

bool
trial_is_suspect(const struct trial *trial, const struct trial_name *name)
{
    return find_committed(trial, name) != NULL;
}

int64_t
trial_deaths(const struct trial *trial, const struct trial_name *name)
{
    const struct suspect *suspect = find_committed(trial, name);
    return suspect == NULL ? 0 : suspect->deaths;
}

bool
trial_is_convict(const struct trial *trial, const struct trial_name *name)
{
    const struct suspect *suspect = find_committed(trial, name);
    return suspect != NULL && suspect->is_convict;
}

void
trial_turn(struct trial *trial, bool is_caught_up)
{
    bool is_used_up = true;
    for (int kind = 0; kind < TRIAL_KINDS; kind++) {
        is_used_up = is_used_up && trial->left[kind] == 0;
    }
    if (trial->is_on && (is_used_up || (is_caught_up && clock_steady_us() >= trial->until_us))) {
        trial->is_on = false;
        log_info("messages_share_batches_again", LOG_I64("suspects", (int64_t)trial->committed.count));
    }
}

/* --- what is written --- */

bool
trial_is_begun(const struct trial *trial, const struct trial_name *name)
{
    const struct suspect *suspect = find_committed(trial, name);
    return suspect != NULL && suspect->is_trying;
}

void
trial_handle(struct trial *trial, const struct trial_name *name)
{
    trial->handled = *name;
}

bool
trial_is_trying(const struct trial *trial)
{
    for (size_t i = 0; i < trial->committed.count; i++) {
        if (trial->committed.suspects[i].is_trying) {
            return true;
        }
    }
    return false;
}

err
trial_begin(struct trial *trial, const struct trial_name *name)
{
    err code = acquit(trial);
    struct suspect *suspect = find(&trial->working, name);
    if (code == ERR_ok && suspect == NULL) {
        code = add(trial, name, &suspect);
    }
    if (code != ERR_ok) {
        return code;
    }
    suspect->is_trying = true;
    trial->is_changed = true;
    trial->left[name->kind] -= trial->left[name->kind] > 0;
    return queue_row(trial, bytes_of(name), suspect);
}

err
trial_queue(struct trial *trial, const struct trial_name *next)
{
    return next != NULL && next->size > 0 ? trial_begin(trial, next) : acquit(trial);
}

/* Whoever is not tried has no name to be written. */
static err
queue(void *self)
{
    struct trial *trial = self;
    return trial->is_entered ? trial_queue(trial, &trial->next) : ERR_ok;
}

void
trial_set_next(struct trial *trial, const struct trial_name *next)
{
    trial->next = *next;
}

err
trial_convict(struct trial *trial, const struct trial_name *name)
{
    struct suspect *suspect = find(&trial->working, name);
    err code = suspect == NULL ? add(trial, name, &suspect) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    suspect->is_trying = false;
    suspect->is_convict = true;
    suspect->deaths = TRIAL_DEATHS - 1;
    suspect->at_ms = clock_utc_ms();
    trial->is_changed = true;
    return queue_row(trial, bytes_of(name), suspect);
}

err
trial_stop(struct trial *trial)
{
    struct suspect run = {.at_ms = clock_utc_ms()};
    err code = acquit(trial);
    return code == ERR_ok ? queue_row(trial, slice_of(RUNNING), &run) : code;
}

static void
committed(void *self)
{
    struct trial *trial = self;
    if (trial->is_changed) {
        copy(&trial->committed, &trial->working);
        trial->is_changed = false;
    }
}

static void
dropped(void *self)
{
    struct trial *trial = self;
    if (trial->is_changed) {
        copy(&trial->working, &trial->committed);
        trial->is_changed = false;
    }
}

const struct part trial_part = {.load = load, .queue = queue, .committed = committed, .dropped = dropped, .destroy = destroy};

/* --- one at a time --- */

void
trial_enter(struct trial *trial)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ENTER_MAX_MS / 1000;
    trial->is_entered = true;
    trial->is_inside = trial->is_inside || pthread_mutex_clocklock(&one_at_a_time, CLOCK_MONOTONIC, &until) == 0;
}

void
trial_leave(struct trial *trial)
{
    trial->is_entered = false;
    if (trial->is_inside) {
        pthread_mutex_unlock(&one_at_a_time);
        trial->is_inside = false;
    }
}

bool
trial_is_entered(const struct trial *trial)
{
    return trial != NULL && trial->is_entered;
}
