/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder letters replay`: one letter, some, or all that a filter finds, with a progress bar on a terminal.
 *
 * MESSAGES
 *   dlq.replay per id; dlq.start, then dlq.status until it has ended, then dlq.list for what failed; dlq.show for a letter whose
 *   outcome comes later.
 *
 * FAILURES
 *   The dlq carries a replay out by itself: Ctrl-C, or this process's end, ends the watching only. A dlq that goes away meanwhile is
 *   waited for, AWAY_MS at the most; what it had begun it goes on with when it is back.
 *
 * LIMITS
 *   Of the letters that failed the first TOLD_MAX are told.
 */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "command_letters.h"
#include "command_letters_line.h"
#include "larder.h"

#define POLL_MS 200
#define LINE_US 1000000
#define AWAY_MS 60000
#define WAIT_MS 10000
#define WAIT_MS_MAX 3600000
#define TOLD_MAX 10
#define PAGE 1000
#define BAR_WIDTH 30
#define REPLAYS_RATE_MAX 1000000
#define REPLAYS_CANARY_MAX 10000

/* What was said on the command line. */
struct replay_order {
    struct letters letters;
    struct wire_letter_filter filter;
    bool is_all;
    bool has_filter;
    bool stops_on_failure;
    bool is_dry_run;
    bool is_detached;
    int64_t rate;    /* 0: not said */
    int64_t canary;  /* 0: not said */
    int64_t wait_ms; /* for an outcome that comes later */
};

/* How far a replay is, as it is shown. */
struct progress {
    int64_t began_us;
    int64_t line_us; /* when a plain line was printed last */
    int64_t shown;   /* how many were finished then */
    bool is_bar;
};

static volatile sig_atomic_t is_interrupted;

static void
note_interrupt(int number)
{
    (void)number;
    is_interrupted = 1;
}

/* From here on Ctrl-C is noted; a second one ends the process as ever. */
static void
catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = note_interrupt, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
}

/* --- one by one --- */

static bool
is_under_way(const struct wire_letter *letter)
{
    return slice_equal(letter->state, slice_of("replaying")) || slice_equal(letter->state, slice_of("waiting"));
}

static err
replay_one(struct replay_order *order, const struct id *id, struct wire_letter *letter, struct err_text *why)
{
    struct letters *letters = &order->letters;
    struct wire_dlq_replay body = {0};
    WIRE_SET(&body, dlq_replay, letter, *id);
    if (letters->author != NULL) {
        WIRE_SET(&body, dlq_replay, author, slice_of(letters->author));
    }
    if (letters->reason != NULL) {
        WIRE_SET(&body, dlq_replay, reason, slice_of(letters->reason));
    }
    err code = dlq_client_replay(letters->client, &letters->options, &body, letter, why);
    int64_t until_us = clock_steady_us() + order->wait_ms * 1000;
    while (code == ERR_ok && is_under_way(letter) && is_interrupted == 0 && clock_steady_us() < until_us) {
        struct wire_letter_ref ref = {0};
        struct wire_letter_whole whole;
        (void)poll(NULL, 0, POLL_MS);
        WIRE_SET(&ref, letter_ref, letter, *id);
        code = dlq_client_show(letters->client, &letters->options, &ref, &whole, why);
        *letter = code == ERR_ok ? whole.letter : *letter;
    }
    return code;
}

static void
note_outcome(struct letters *letters, struct letters_outcomes *outcomes, const struct id *id, const struct wire_letter *letter)
{
    struct err_text said;
    if (slice_equal(letter->state, slice_of("done"))) {
        letters_note_done(letters, outcomes, letter, "done");
    } else if (is_under_way(letter)) {
        (void)err_say(&said, ERR_deadline_exceeded, "%.*s: its outcome is not known yet; `larder letters show` tells it",
                      (int)letter->state.size, (const char *)letter->state.data);
        letters_note_failed(letters, outcomes, id, ERR_deadline_exceeded, said.text);
    } else {
        err reason = err_find((const char *)letter->reason.data, letter->reason.size);
        (void)err_say(&said, ERR_internal, "%.*s: %.*s: %.*s", (int)letter->state.size, (const char *)letter->state.data,
                      (int)letter->reason.size, (const char *)letter->reason.data, (int)letter->error.size,
                      (const char *)letter->error.data);
        letters_note_failed(letters, outcomes, id, reason == ERR_COUNT ? ERR_internal : reason, said.text);
    }
}

static enum exit_status
replay_ids(struct replay_order *order)
{
    static struct id ids[LETTERS_IDS_MAX];
    struct letters_outcomes outcomes = {0};
    struct err_text why;
    size_t count = 0;
    err code = letters_ids(&order->letters, ids, &count, &why);
    if (code != ERR_ok) {
        return letters_complain(&order->letters, code, &why);
    }
    catch_interrupt();
    for (size_t i = 0; i < count; i++) {
        struct wire_letter letter;
        if (is_interrupted != 0) {
            letters_note_failed(&order->letters, &outcomes, &ids[i], ERR_unavailable, "interrupted: it was not asked for");
            continue;
        }
        code = replay_one(order, &ids[i], &letter, &why);
        if (code == ERR_ok) {
            note_outcome(&order->letters, &outcomes, &ids[i], &letter);
        } else {
            letters_note_failed(&order->letters, &outcomes, &ids[i], code, why.text);
        }
    }
    return letters_end_outcomes(&order->letters, &outcomes);
}

/* --- a selection --- */

static void
show_bar(const struct progress *progress, const struct wire_replay *replay, int64_t finished)
{
    char bar[BAR_WIDTH + 1];
    int64_t total = replay->total > 0 ? replay->total : 1;
    int filled = (int)(finished >= total ? BAR_WIDTH : finished * BAR_WIDTH / total);
    double seconds = (double)(clock_steady_us() - progress->began_us) / 1e6;
    double rate = seconds > 0 ? (double)finished / seconds : 0;
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r[%s] %3d%%  %lld of %lld, %lld failed, %.0f/s", bar, (int)(finished >= total ? 100 : finished * 100 / total),
            (long long)finished, (long long)replay->total, (long long)replay->failed, rate);
    if (rate > 0 && finished < total) {
        fprintf(stderr, ", %.0f s to go", (double)(total - finished) / rate);
    }
    fputs("\033[K", stderr);
    fflush(stderr);
}

static void
show_progress(struct progress *progress, const struct wire_replay *replay)
{
    int64_t finished = replay->done + replay->failed;
    int64_t now_us = clock_steady_us();
    if (progress->is_bar) {
        show_bar(progress, replay, finished);
    } else if (now_us - progress->line_us >= LINE_US && finished != progress->shown) {
        fprintf(stderr, "%lld of %lld, %lld failed\n", (long long)finished, (long long)replay->total, (long long)replay->failed);
        progress->line_us = now_us;
        progress->shown = finished;
    }
}

static bool
has_ended(const struct wire_replay *replay)
{
    static const char *const ends[] = {"done", "stopped", "cancelled", "dry_run"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (slice_equal(replay->state, slice_of(ends[i]))) {
            return true;
        }
    }
    return false;
}

/* Whether the counts are final: a replay that was stopped still hears of what it had sent. */
static bool
is_settled(const struct wire_replay *replay)
{
    return has_ended(replay) && (!WIRE_HAS(replay, replay, under_way) || replay->under_way == 0);
}

/* Asks until the replay has ended and its counts are final, those that come late awaited for a while, or Ctrl-C; the slices of
 * `replay` are those of the last answer. */
static err
follow(struct letters *letters, struct wire_replay *replay, struct err_text *why)
{
    struct wire_replay_ref ref = {0};
    struct progress progress = {.began_us = clock_steady_us(), .is_bar = isatty(STDERR_FILENO) == 1};
    int64_t heard_us = clock_steady_us();
    err code = ERR_ok;
    progress.line_us = progress.began_us;
    WIRE_SET(&ref, replay_ref, replay, replay->id);
    while (is_interrupted == 0 && !(code == ERR_ok && is_settled(replay))) {
        (void)poll(NULL, 0, POLL_MS);
        code = dlq_client_status(letters->client, &letters->options, &ref, replay, why);
        if (code == ERR_ok) {
            heard_us = has_ended(replay) ? heard_us : clock_steady_us();
            show_progress(&progress, replay);
            if (clock_steady_us() - heard_us > AWAY_MS * INT64_C(1000)) {
                break;
            }
        } else if (err_disposition(code) != ERR_RETRY || clock_steady_us() - heard_us > AWAY_MS * INT64_C(1000)) {
            break;
        }
    }
    if (progress.is_bar) {
        fputc('\n', stderr);
    }
    return code;
}

/* The letters that this replay could not finish, and why. */
static void
tell_failed(struct replay_order *order, const struct id *replay)
{
    struct letters *letters = &order->letters;
    struct wire_letter_page page;
    struct wire_letter letter;
    struct err_text why;
    int told = 0;
    WIRE_SET(&order->filter, letter_filter, state, slice_of("dead"));
    WIRE_SET(&order->filter, letter_filter, limit, PAGE);
    if (dlq_client_list(letters->client, &letters->options, &order->filter, &page, &why) != ERR_ok) {
        return;
    }
    while (told < TOLD_MAX && wire_list_next(&page.letters, &letter_body, &letter)) {
        if (WIRE_HAS(&letter, letter, replay) && id_equal(&letter.replay, replay)) {
            letters_print_line(stderr, &letter, clock_utc_ms());
            told++;
        }
    }
    fprintf(stderr, "Those that failed are dead as before: `larder letters list --state dead` shows them.\n");
}

static void
print_shares(const struct wire_replay *replay)
{
    static const struct text_column columns[] = {{"DESTINATION", false}, {"REASON", false}, {"LETTERS", true}, {"UNITS", true}};
    struct wire_list shares = replay->shares;
    struct wire_replay_share share;
    struct text_table table = {0};
    printf("%lld letters would be replayed; nothing was done.\n", (long long)replay->total);
    if (!WIRE_HAS(replay, replay, shares) || shares.count == 0) {
        return;
    }
    text_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    while (wire_list_next(&shares, &replay_share_body, &share)) {
        text_table_add(&table, share.destination);
        text_table_add(&table, share.reason);
        text_table_add_number(&table, share.letters);
        text_table_add_number(&table, share.units);
    }
    text_table_print(&table, stdout, text_width(stdout));
}

static void
print_end(const struct letters *letters, const struct wire_replay *replay)
{
    if (letters->as_json) {
        letters_print_json(&replay_body, replay);
    } else if (slice_equal(replay->state, slice_of("dry_run"))) {
        print_shares(replay);
    } else {
        letters_print_replay(replay, clock_utc_ms());
    }
}

static void
say_goes_on(const struct id *id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    fprintf(stderr,
            "The replay goes on by itself. `larder letters replays %s` shows how far it is, `larder letters cancel %s` ends it.\n",
            text, text);
}

static err
start(struct replay_order *order, struct wire_replay *replay, struct err_text *why)
{
    struct letters *letters = &order->letters;
    struct wire_dlq_start body = {0};
    WIRE_SET(&body, dlq_start, filter, order->filter);
    if (order->rate > 0) {
        WIRE_SET(&body, dlq_start, rate, order->rate);
    }
    if (order->canary > 0) {
        WIRE_SET(&body, dlq_start, canary, order->canary);
    }
    if (order->stops_on_failure) {
        WIRE_SET(&body, dlq_start, stop_on_failure, true);
    }
    if (order->is_dry_run) {
        WIRE_SET(&body, dlq_start, dry_run, true);
    }
    if (letters->author != NULL) {
        WIRE_SET(&body, dlq_start, author, slice_of(letters->author));
    }
    if (letters->reason != NULL) {
        WIRE_SET(&body, dlq_start, reason, slice_of(letters->reason));
    }
    return dlq_client_start(letters->client, &letters->options, &body, replay, why);
}

static enum exit_status
replay_all(struct replay_order *order)
{
    struct wire_replay replay;
    struct err_text why;
    catch_interrupt();
    err code = start(order, &replay, &why);
    if (code != ERR_ok) {
        return letters_complain(&order->letters, code, &why);
    }
    struct id id = replay.id;
    if (!order->is_detached && !has_ended(&replay)) {
        code = follow(&order->letters, &replay, &why);
    }
    if (code != ERR_ok) {
        enum exit_status status = letters_complain(&order->letters, code, &why);
        say_goes_on(&id);
        return status;
    }
    bool is_ended = has_ended(&replay);
    bool is_good =
        slice_equal(replay.state, slice_of("dry_run")) || (slice_equal(replay.state, slice_of("done")) && replay.failed == 0);
    int64_t failed = replay.failed;
    print_end(&order->letters, &replay);
    if (!is_ended) {
        say_goes_on(&id);
        return order->is_detached ? EXIT_DONE : EXIT_FAILED;
    }
    if (failed > 0) {
        tell_failed(order, &id);
    }
    return is_good ? EXIT_DONE : EXIT_FAILED;
}

/* --- the command line --- */

static err
take_options(struct replay_order *order, struct err_text *why)
{
    const char *wait = NULL;
    const struct command_option options[] = {
        {"--all", .is_there = &order->is_all},
        {"--stop-on-failure", .is_there = &order->stops_on_failure},
        {"--dry-run", .is_there = &order->is_dry_run},
        {"--detach", .is_there = &order->is_detached},
        /* --reason narrows a selection by the letters' reason; why it is replayed is said by --because. */
        {"--because", .text = &order->letters.reason},
        {"--rate", .number = &order->rate, .lo = 1, .hi = REPLAYS_RATE_MAX},
        {"--canary", .number = &order->canary, .lo = 1, .hi = REPLAYS_CANARY_MAX},
        {"--wait", .text = &wait},
        {0},
    };
    err code = command_take(order->letters.line, options, why);
    if (code == ERR_ok && wait != NULL) {
        code = letters_duration("--wait", wait, &order->wait_ms, why);
    }
    if (code == ERR_ok && order->wait_ms > WAIT_MS_MAX) {
        code = err_say(why, ERR_wrong_setting, "--wait: one hour at the most");
    }
    return code;
}

/* What is for selections alone must not be said of ids, and a filter must not be taken for a wish to replay all. */
static err
check_order(const struct replay_order *order, struct err_text *why)
{
    int ids = order->letters.line->argc;
    bool is_of_all = order->rate > 0 || order->canary > 0 || order->stops_on_failure || order->is_dry_run || order->is_detached;
    if (ids > 0 && order->is_all) {
        return err_say(why, ERR_wrong_setting, "either ids or --all, not both");
    }
    if (ids > 0 && order->has_filter) {
        return err_say(why, ERR_wrong_setting, "either ids or --all with a filter, not both");
    }
    if (ids > 0 && is_of_all) {
        return err_say(why, ERR_wrong_setting, "--rate, --canary, --stop-on-failure, --dry-run and --detach are for --all");
    }
    if (ids == 0 && !order->is_all && order->has_filter) {
        return err_say(why, ERR_wrong_setting, "say --all to replay every letter that the filter finds");
    }
    if (ids == 0 && !order->is_all) {
        return err_say(why, ERR_wrong_setting, "say which: ids, or --all with a filter");
    }
    return ERR_ok;
}

static err
read_order(struct replay_order *order, struct command_line *line, struct err_text *why)
{
    err code = letters_begin(&order->letters, line, why);
    if (code == ERR_ok) {
        code = letters_take_filter(&order->letters, &order->filter, &order->has_filter, why);
    }
    if (code == ERR_ok) {
        code = letters_take_author(&order->letters, why);
    }
    if (code == ERR_ok) {
        code = take_options(order, why);
    }
    if (code == ERR_ok && order->letters.reason != NULL &&
        (strlen(order->letters.reason) > 255 || !wire_is_utf8(slice_of(order->letters.reason)))) {
        code = err_say(why, ERR_wrong_setting, "--because: at most 255 bytes of UTF-8");
    }
    if (code == ERR_ok) {
        code = letters_open(&order->letters, 0, LETTERS_IDS_MAX, why);
    }
    return code == ERR_ok ? check_order(order, why) : code;
}

static enum exit_status
replay_run(struct command_line *line)
{
    struct replay_order order = {.wait_ms = WAIT_MS};
    struct err_text why;
    err code = read_order(&order, line, &why);
    enum exit_status status;
    if (code != ERR_ok) {
        status = letters_complain(&order.letters, code, &why);
    } else {
        status = order.is_all ? replay_all(&order) : replay_ids(&order);
    }
    letters_close(&order.letters);
    return status;
}

const struct command letters_replay_command = {
    .name = "replay",
    .arguments = "ID... | --all [filters] [--rate N] [--canary N] [--stop-on-failure] [--dry-run] [--detach]",
    .summary = "process or deliver letters once more",
    .help = "A letter that is done already stays as it is: asked twice it is done once. Order is kept per key.\n"
            "\n"
            "--all replays every dead letter that the filters of `larder letters list` find now; the selection does not\n"
            "change afterwards, and the replay survives the end of the dlq and of this command.\n"
            "  --rate N            so many letters per second at the most\n"
            "  --canary N          first only so many; the rest when all of them are done, nothing more when one fails\n"
            "  --stop-on-failure   a failure ends the replay\n"
            "  --dry-run           only says what would be replayed\n"
            "  --detach            starts it and does not wait\n"
            "  --because WHY       kept with the replay and with each letter; --author NAME is $USER unless told otherwise\n"
            "Ctrl-C ends the watching, not the replay. With ids, an outcome that comes later (an outside call) is waited\n"
            "for 10 s; --wait 1m waits longer.\n"
            "\n"
            "  larder letters replay 3d931d17-b5c5-8136-aed8-b06a5766b58c\n"
            "  larder letters replay --all --destination factory/0 --reason call_failed --canary 10 --because 'factory mended'\n"
            "  larder letters replay --all --older-than 1h --rate 500 --stop-on-failure\n",
    .run = replay_run,
};
