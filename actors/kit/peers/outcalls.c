/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   See outcalls.h.
 *
 * STATE     The party's window and breaker; what broke it, since when; and how far its letter has been written. Due row "party" (key:
 *           the party's name, never due) as long as the letter is open: letter 16 bytes, since 8, told 8, state 1, big-endian. It is
 *           what any.retry finds: asked for, the party is probed at once.
 *
 * FAILURES  A batch that is dropped leaves the letter to the next one. A process that ends while the party is down begins with a
 *           probe.
 *
 * LIMITS    A call that is ready when the party breaks comes back as one that was not made. What a party is was true when a call
 *           ended: it is believed until the next one ends.
 */
#include "outcalls.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/big_endian.h"
#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"
#include "kit/settings/settings.h"

enum { PAYLOAD_SIZE = 33, WORDS_SIZE = 400 };

enum outcome {
    OUTCOME_ANSWERED,
    OUTCOME_BUSY,
    OUTCOME_FAILED,
    OUTCOME_NO_ANSWER,
    OUTCOME_NO_CONNECTION,
    OUTCOME_REFUSES_US,
    OUTCOME_COUNT
};

static const char *const outcome_names[OUTCOME_COUNT] = {"answered", "busy", "failed", "no_answer", "no_connection", "refuses_us"};

/* A call whose due row is on disk, and that begins when another ends. */
struct ready {
    struct ready *next;
    struct outbound_call call; /* its texts are these */
    char *url;
    char *bearer;
    uint8_t *json;
};

struct outcalls {
    const char *name;
    struct ready *ready;
    struct ready **ready_end;
    int ready_count;
    struct outbound *outbound;
    struct party party;
    int64_t waiting; /* as told last */
    int64_t good_ms;
    int64_t since_ms;       /* not up: since when */
    char words[WORDS_SIZE]; /* not up: what is wrong */
    bool has_letter;        /* as of the last commit */
    bool will_have_letter;
    struct id letter;
    int64_t told; /* attempts in the letter */
    uint64_t written;
    uint64_t writing;
    struct metric *calls[OUTCOME_COUNT];
    struct metric *seconds[OUTCOME_COUNT];
    struct metric *state;
    struct metric *since;
    struct metric *window;
    struct metric *under_way;
    struct metric *waits;
};

/* --- calls that are ready --- */

static void
push_ready(struct outcalls *outcalls, const struct outbound_call *call)
{
    struct ready *made = calloc(1, sizeof *made);
    char *url = strdup(call->url);
    char *bearer = call->bearer == NULL ? NULL : strdup(call->bearer);
    uint8_t *json = malloc(call->json.size + 1);
    if (made == NULL || url == NULL || json == NULL || (call->bearer != NULL && bearer == NULL)) {
        abort();
    }
    if (call->json.size > 0) {
        memcpy(json, call->json.data, call->json.size);
    }
    made->call = *call;
    made->call.url = made->url = url;
    made->call.bearer = made->bearer = bearer;
    made->call.json.data = made->json = json;
    *outcalls->ready_end = made;
    outcalls->ready_end = &made->next;
    outcalls->ready_count++;
}

static struct ready *
pop_ready(struct outcalls *outcalls)
{
    struct ready *first = outcalls->ready;
    outcalls->ready = first->next;
    outcalls->ready_end = outcalls->ready == NULL ? &outcalls->ready : outcalls->ready_end;
    outcalls->ready_count--;
    return first;
}

static void
free_ready(struct ready *ready)
{
    free(ready->url);
    free(ready->bearer);
    free(ready->json);
    free(ready);
}

/* --- life --- */

static void
make_metrics(struct outcalls *outcalls)
{
    char labels[96];
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        (void)snprintf(labels, sizeof labels, "party=\"%s\",outcome=\"%s\"", outcalls->name, outcome_names[i]);
        outcalls->calls[i] = metric(METRIC_COUNTER, "larder_outside_calls_total", labels, "Calls to an outside party that ended.");
        outcalls->seconds[i] = metric(METRIC_HISTOGRAM, "larder_outside_call_seconds", labels,
                                      "How long calls to an outside party took, from when they began.");
    }
    (void)snprintf(labels, sizeof labels, "party=\"%s\"", outcalls->name);
    outcalls->state = metric(METRIC_GAUGE, "larder_party_state", labels,
                             "0: it is up; 1: it is down, 2: it refuses our credentials or address; calls wait.");
    outcalls->since = metric(METRIC_GAUGE, "larder_party_down_since_seconds", labels,
                             "Since when it is down or refuses us, as Unix time; 0: it is up.");
    outcalls->window = metric(METRIC_GAUGE, "larder_party_window", labels, "How many calls may be under way at once.");
    outcalls->under_way = metric(METRIC_GAUGE, "larder_party_calls_under_way", labels, "Calls under way.");
    outcalls->waits = metric(METRIC_GAUGE, "larder_party_calls_waiting", labels, "Calls that wait for their turn.");
}

struct outcalls *
outcalls_create(const char *name, const struct settings *settings)
{
    struct outcalls *made = memory_new(1, sizeof *made);
    made->name = name;
    made->ready_end = &made->ready;
    made->outbound = outbound_create();
    party_init(&made->party, (int)settings->calls_max, settings->retry_first_ms, settings->call_timeout_ms);
    make_metrics(made);
    return made;
}

void
outcalls_destroy(struct outcalls **outcalls)
{
    if (*outcalls != NULL) {
        while ((*outcalls)->ready != NULL) {
            free_ready(pop_ready(*outcalls));
        }
        outbound_destroy(&(*outcalls)->outbound);
        free(*outcalls);
        *outcalls = NULL;
    }
}

err
outcalls_load(struct outcalls *outcalls, struct due_rows *due_rows, struct arena *arena)
{
    struct due_row row;
    bool is_there = false;
    err code = due_rows_find(due_rows, arena, slice_of(OUTCALLS_OWNER), slice_of(outcalls->name), &row, &is_there);
    if (code != ERR_ok || !is_there || row.payload.size != PAYLOAD_SIZE || outcalls->has_letter) {
        return code;
    }
    memcpy(outcalls->letter.bytes, row.payload.data, sizeof outcalls->letter.bytes);
    outcalls->since_ms = get_i64(row.payload.data + 16);
    outcalls->told = get_i64(row.payload.data + 24);
    outcalls->has_letter = true;
    (void)snprintf(outcalls->words, sizeof outcalls->words, "it was so when larder started, and has not been tried since");
    party_resume(&outcalls->party, row.payload.data[32] == PARTY_REFUSED ? PARTY_REFUSED : PARTY_DOWN, 1, clock_steady_us());
    return ERR_ok;
}

int
outcalls_fd(const struct outcalls *outcalls)
{
    return outbound_fd(outcalls->outbound);
}

/* --- room --- */

int
outcalls_room(const struct outcalls *outcalls)
{
    int64_t now_us = clock_steady_us();
    int ahead = party_ahead(&outcalls->party, now_us);
    int room = party_room(&outcalls->party, now_us) + ahead - outcalls->ready_count;
    bool is_stocked = outcalls->ready_count * 2 > ahead; /* many in one commit rather than one in each */
    return room > 0 && !is_stocked ? room : 0;
}

int64_t
outcalls_next_ms(const struct outcalls *outcalls, int64_t now_ms)
{
    int64_t now_us = clock_steady_us();
    int64_t next_us = party_next_us(&outcalls->party);
    if (outcalls_room(outcalls) > 0) {
        return now_ms;
    }
    return next_us == INT64_MAX || next_us <= now_us ? INT64_MAX : now_ms + (next_us - now_us + 999) / 1000;
}

static void
show(const struct outcalls *outcalls)
{
    const struct party *party = &outcalls->party;
    metric_set(outcalls->state, party->state);
    metric_set(outcalls->since, party->state == PARTY_UP ? 0 : outcalls->since_ms / 1000);
    metric_set(outcalls->window, party->window / 1000);
    metric_set(outcalls->under_way, party->under_way);
}

static void
begin(struct outcalls *outcalls, const struct outbound_call *call)
{
    outbound_start(outcalls->outbound, call);
    party_started(&outcalls->party, clock_steady_us()); /* behind it: a call that fills the window belongs to the full one */
}

static void
begin_ready(struct outcalls *outcalls)
{
    while (outcalls->ready != NULL && party_room(&outcalls->party, clock_steady_us()) > 0) {
        struct ready *ready = pop_ready(outcalls);
        begin(outcalls, &ready->call);
        free_ready(ready);
    }
}

void
outcalls_start(struct outcalls *outcalls, const struct outbound_call *call)
{
    if (outcalls->ready == NULL && party_room(&outcalls->party, clock_steady_us()) > 0) {
        begin(outcalls, call);
    } else {
        push_ready(outcalls, call);
    }
    show(outcalls);
}

/* --- ends --- */

static enum party_result
result_of(const struct outbound_result *result)
{
    int status = result->status;
    if (result->failure != OUTBOUND_ANSWERED) {
        return result->failure == OUTBOUND_MISLED ? PARTY_REFUSES : result->failure == OUTBOUND_TIMED_OUT ? PARTY_SLOW : PARTY_FAULT;
    }
    if (status == 401 || status == 407) {
        return PARTY_REFUSES;
    }
    if (status == 429 || status == 503) {
        return PARTY_BUSY;
    }
    if (status == 404 || status == 410) {
        return result->expects_missing ? PARTY_SILENT : PARTY_DOUBT;
    }
    if (status == 403 || status == 405 || status == 421 || status == 501 || (status >= 300 && status <= 399)) {
        return PARTY_DOUBT;
    }
    if (status == 408) {
        return PARTY_SLOW;
    }
    return status >= 500 ? PARTY_FAULT : PARTY_GOOD;
}

static enum outcome
outcome_of(enum party_result result, const struct outbound_result *from)
{
    switch (result) {
    case PARTY_BUSY:
        return OUTCOME_BUSY;
    case PARTY_SLOW:
        return OUTCOME_NO_ANSWER;
    case PARTY_FAULT:
        return from->failure == OUTBOUND_ANSWERED ? OUTCOME_FAILED : OUTCOME_NO_CONNECTION;
    case PARTY_DOUBT:
    case PARTY_REFUSES:
        return OUTCOME_REFUSES_US;
    case PARTY_GOOD:
    case PARTY_SILENT:
    case PARTY_RESULT_COUNT:
        break;
    }
    return OUTCOME_ANSWERED;
}

/* Answers of the other side may repeat what is secret; of them only the status is told. */
static void
keep_words(struct outcalls *outcalls, const struct outbound_result *result)
{
    if (result->failure == OUTBOUND_ANSWERED) {
        (void)snprintf(outcalls->words, sizeof outcalls->words, "it answers HTTP %d", result->status);
    } else {
        int size = result->text.size < 300 ? (int)result->text.size : 300;
        (void)snprintf(outcalls->words, sizeof outcalls->words, "%.*s", size, (const char *)result->text.data);
    }
    for (char *at = outcalls->words; *at != '\0'; at++) {
        *at = *at < ' ' || *at > '~' ? '?' : *at; /* a host's name may be cut between the bytes of a character */
    }
}

static void
tell_change(struct outcalls *outcalls, enum party_state before)
{
    enum party_state state = outcalls->party.state;
    int64_t now_ms = clock_utc_ms();
    if (state == before) {
        return;
    }
    if (state == PARTY_UP) {
        log_warn("outside_party_is_back", LOG_TEXT("party", outcalls->name), LOG_I64("away_ms", now_ms - outcalls->since_ms),
                 LOG_I64("waiting", outcalls->waiting), LOG_TEXT("now", "calls that waited go on, few at a time first"));
        return;
    }
    outcalls->since_ms = before == PARTY_UP ? now_ms : outcalls->since_ms;
    log_error(state == PARTY_REFUSED ? "outside_party_refuses_us" : "outside_party_is_down", LOG_TEXT("party", outcalls->name),
              LOG_TEXT("error", outcalls->words), LOG_I64("waiting", outcalls->waiting),
              LOG_TEXT("now", "calls wait; one at a time is tried with growing pauses"));
}

/* Those that are ready, and cannot begin soon any more. */
static bool
take_back(struct outcalls *outcalls, struct outbound_result *result, enum call_blame *blame)
{
    static const char reason[] = "not called: calls to it are held";
    int64_t now_us = clock_steady_us();
    if (outcalls->ready == NULL || (outcalls->party.state == PARTY_UP && now_us >= outcalls->party.held_us)) {
        return false;
    }
    struct ready *ready = pop_ready(outcalls);
    *result = (struct outbound_result){.context_id = ready->call.context_id,
                                       .tag = ready->call.tag,
                                       .failure = OUTBOUND_BROKEN,
                                       .started_us = now_us,
                                       .text = slice_of(reason)};
    *blame = CALL_NOT_CHARGED;
    free_ready(ready);
    return true;
}

bool
outcalls_next(struct outcalls *outcalls, struct outbound_result *result, enum call_blame *blame)
{
    struct party *party = &outcalls->party;
    if (!outbound_next(outcalls->outbound, result)) {
        return take_back(outcalls, result, blame);
    }
    int64_t now_us = clock_steady_us();
    enum party_state before = party->state;
    uint64_t version = party->version;
    struct party_answer answer = {.result = result_of(result),
                                  .call = result->context_id,
                                  .started_us = result->started_us,
                                  .retry_after_ms = result->retry_after_ms};
    enum outcome outcome = outcome_of(answer.result, result);
    metric_add(outcalls->calls[outcome], 1);
    metric_observe_us(outcalls->seconds[outcome], now_us - result->started_us);
    *blame = party_ended(party, &answer, now_us);
    if (answer.result == PARTY_GOOD) {
        outcalls->good_ms = clock_utc_ms();
    }
    if (party->version != version && party->state != PARTY_UP) {
        keep_words(outcalls, result);
    }
    tell_change(outcalls, before);
    begin_ready(outcalls);
    show(outcalls);
    return true;
}

bool
outcalls_probe(struct outcalls *outcalls)
{
    if (outcalls->party.state == PARTY_UP) {
        return false;
    }
    party_probe_soon(&outcalls->party);
    return true;
}

int64_t
outcalls_good_ms(const struct outcalls *outcalls)
{
    return outcalls->good_ms;
}

void
outcalls_retime(struct outcalls *outcalls, int64_t by_ms)
{
    outcalls->good_ms += outcalls->good_ms == 0 ? 0 : by_ms;
    outcalls->since_ms += outcalls->since_ms == 0 ? 0 : by_ms;
}

bool
outcalls_is_up(const struct outcalls *outcalls, struct slice *why)
{
    *why = slice_of(outcalls->words);
    return outcalls->party.state == PARTY_UP;
}

/* --- the letter --- */

bool
outcalls_is_due(const struct outcalls *outcalls)
{
    return outcalls->written != outcalls->party.version;
}

static void
bury(struct outcalls *outcalls, struct burials *burials, struct arena *arena, int64_t now_ms)
{
    struct wire_list history = {0};
    struct wire_buffer elements = {0};
    struct wire_letter_attempt attempt = {0};
    struct wire_burial burial = {0};
    char error[WORDS_SIZE + 64];
    err reason = outcalls->party.state == PARTY_REFUSED ? ERR_party_refuses_us : ERR_party_down;
    if (!outcalls->has_letter) {
        outcalls->letter = id_new();
        outcalls->told = 0;
    }
    outcalls->told++;
    (void)snprintf(error, sizeof error, "%s; %" PRId64 " calls wait", outcalls->words, outcalls->waiting);
    WIRE_SET(&attempt, letter_attempt, time, now_ms);
    WIRE_SET(&attempt, letter_attempt, error, slice_of(outcalls->words));
    wire_list_add(&history, &letter_attempt_body, &attempt, &elements);
    wire_list_end(&history, &elements);
    WIRE_SET(&burial, burial, letter, outcalls->letter);
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, waiting, true);
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(reason)));
    WIRE_SET(&burial, burial, error, slice_of(error));
    WIRE_SET(&burial, burial, attempts, outcalls->told);
    WIRE_SET(&burial, burial, first, outcalls->since_ms);
    WIRE_SET(&burial, burial, last, now_ms);
    WIRE_SET(&burial, burial, history, history);
    WIRE_SET(&burial, burial, key, slice_of(outcalls->name));
    WIRE_SET(&burial, burial, type, slice_of("outside.party"));
    WIRE_SET(&burial, burial, owner, slice_of(OUTCALLS_OWNER));
    WIRE_SET(&burial, burial, due_key, slice_of(outcalls->name));
    burials_add(burials, arena, &burial);
    wire_buffer_fini(&elements);
}

void
outcalls_write(struct outcalls *outcalls, struct due_rows *due_rows, struct burials *burials, struct arena *arena, int64_t now_ms)
{
    outcalls->writing = outcalls->party.version;
    outcalls->will_have_letter = outcalls->has_letter;
    if (outcalls->written == outcalls->writing) {
        return;
    }
    outcalls->will_have_letter = outcalls->party.state != PARTY_UP;
    if (outcalls->will_have_letter) {
        uint8_t payload[PAYLOAD_SIZE];
        bury(outcalls, burials, arena, now_ms);
        memcpy(payload, outcalls->letter.bytes, sizeof outcalls->letter.bytes);
        put_i64(payload + 16, outcalls->since_ms);
        put_i64(payload + 24, outcalls->told);
        payload[32] = (uint8_t)outcalls->party.state;
        due_rows_set(due_rows, arena,
                     &(struct due){.owner = OUTCALLS_OWNER,
                                   .key = slice_of(outcalls->name),
                                   .due_ms = DUE_NEVER,
                                   .attempts = outcalls->told,
                                   .payload = {payload, sizeof payload}});
    } else if (outcalls->has_letter) {
        burials_settle(burials, arena, &outcalls->letter, now_ms);
        due_rows_cancel(due_rows, arena, OUTCALLS_OWNER, slice_of(outcalls->name));
    }
}

void
outcalls_committed(struct outcalls *outcalls)
{
    outcalls->written = outcalls->writing;
    outcalls->has_letter = outcalls->will_have_letter;
}

void
outcalls_measure(struct outcalls *outcalls, int64_t waiting)
{
    outcalls->waiting = waiting;
    metric_set(outcalls->waits, waiting);
    show(outcalls);
}
