/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder letters watch`: the counts each second, and each letter as it is opened.
 *
 * MESSAGES
 *   dlq.stats and dlq.list, each second.
 *
 * FAILURES
 *   A dlq that is away is said once and asked on; so is its return.
 *
 * LIMITS
 *   Of more than PAGE letters in one second the latest PAGE are shown and the others are counted.
 */
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "command_letters.h"
#include "command_letters_line.h"
#include "larder.h"
#include "json.h"

#define PAGE 200
#define SECOND_US 1000000
#define ASK_MS 900

struct watch {
    struct letters letters;
    int64_t last; /* number of the newest letter that was seen; -1: none was asked for yet */
    int64_t rounds_left;
    bool is_terminal;
    bool is_away;
};

static volatile sig_atomic_t is_ended;

static void
note_end(int number)
{
    (void)number;
    is_ended = 1;
}

static void
clear_line(const struct watch *watch)
{
    if (watch->is_terminal && !watch->letters.as_json) {
        fputs("\r\033[K", stdout);
    }
}

static void
print_wrapped(const char *name, const struct wire_body *body, const void *source)
{
    printf("{\"%s\":", name);
    struct wire_buffer out = {0};
    json_write(body, source, &out);
    text_write(stdout, wire_buffer_slice(&out));
    puts("}");
    wire_buffer_fini(&out);
}

static void
show_stats(struct watch *watch, const struct wire_letter_stats *stats)
{
    if (watch->letters.as_json) {
        print_wrapped("stats", &letter_stats_body, stats);
        return;
    }
    clear_line(watch);
    letters_print_totals(stdout, stats, clock_utc_ms());
    fputs(watch->is_terminal ? "" : "\n", stdout);
}

/* The page is the newest first; they are shown in the order in which they were opened. */
static void
show_new(struct watch *watch, const struct wire_letter_page *page)
{
    static struct wire_letter fresh[PAGE];
    struct wire_list list = page->letters;
    struct wire_letter letter;
    size_t count = 0;
    int64_t newest = watch->last;
    int64_t oldest = 0;
    while (count < PAGE && wire_list_next(&list, &letter_body, &letter) && letter.number > watch->last) {
        newest = letter.number > newest ? letter.number : newest;
        oldest = letter.number;
        fresh[count++] = letter;
    }
    if (watch->last >= 0) {
        if (count > 0 && oldest > watch->last + 1 && !watch->letters.as_json) {
            clear_line(watch);
            printf("%lld more were opened\n", (long long)(oldest - watch->last - 1));
        }
        for (size_t i = count; i > 0; i--) {
            clear_line(watch);
            if (watch->letters.as_json) {
                print_wrapped("letter", &letter_body, &fresh[i - 1]);
            } else {
                letters_print_line(stdout, &fresh[i - 1], clock_utc_ms());
            }
        }
    }
    watch->last = newest < 0 ? 0 : newest;
}

static err
look(struct watch *watch, struct err_text *why)
{
    struct letters *letters = &watch->letters;
    struct wire_letter_filter filter = {0};
    struct wire_letter_page page;
    struct wire_letter_stats stats;
    WIRE_SET(&filter, letter_filter, limit, PAGE);
    err code = dlq_client_list(letters->client, &letters->options, &filter, &page, why);
    if (code != ERR_ok) {
        return code;
    }
    show_new(watch, &page);
    code = dlq_client_stats(letters->client, &letters->options, &(struct wire_nothing){0}, &stats, why);
    if (code == ERR_ok) {
        show_stats(watch, &stats);
    }
    fflush(stdout);
    return code;
}

static err
watch_on(struct watch *watch, struct err_text *why)
{
    while (is_ended == 0 && watch->rounds_left != 0 && ferror(stdout) == 0) {
        int64_t began_us = clock_steady_us();
        err code = look(watch, why);
        if (code != ERR_ok && err_disposition(code) != ERR_RETRY) {
            return code;
        }
        if (code != ERR_ok && !watch->is_away && is_ended == 0) {
            clear_line(watch);
            fflush(stdout);
            fprintf(stderr, "the dlq does not answer; it is asked on\n");
        }
        watch->is_away = code != ERR_ok;
        watch->rounds_left -= watch->rounds_left > 0 ? 1 : 0;
        int64_t left_us = SECOND_US - (clock_steady_us() - began_us);
        if (is_ended == 0 && watch->rounds_left != 0 && left_us > 0) {
            (void)poll(NULL, 0, (int)(left_us / 1000) + 1);
        }
    }
    clear_line(watch);
    return ERR_ok;
}

static enum exit_status
watch_run(struct command_line *line)
{
    struct watch watch = {.last = -1, .rounds_left = -1, .is_terminal = isatty(STDOUT_FILENO) == 1};
    struct err_text why;
    struct sigaction action = {.sa_handler = note_end, .sa_flags = (int)SA_RESETHAND};
    err code = letters_begin(&watch.letters, line, &why);
    if (code == ERR_ok) {
        code = command_take_number(line, "--count", 1, INT64_MAX, &watch.rounds_left, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&watch.letters, 0, 0, &why);
    }
    sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    watch.letters.options.timeout_ms = ASK_MS;
    if (code == ERR_ok) {
        code = watch_on(&watch, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&watch.letters, code, &why);
    letters_close(&watch.letters);
    return status;
}

const struct command letters_watch_command = {
    .name = "watch",
    .arguments = "[--count SECONDS] [--json]",
    .summary = "show the counts each second, and letters as they come",
    .help = "Ends with Ctrl-C, or after so many seconds. --json prints a document per line: {\"stats\":...} each second and\n"
            "{\"letter\":...} for each that is new.\n",
    .run = watch_run,
};
