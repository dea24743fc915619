/* SPDX-License-Identifier: MPL-2.0 */
/* Lines of one fault in groups, read back from standard error. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/telemetry/log_often.h"

#define MOMENT_MS INT64_C(1795212000123) /* 2026-11-20T22:00:00.123Z */

static int pipe_fds[2];
static int kept_stderr;

static void
capture(void)
{
    cr_assert_eq(pipe2(pipe_fds, O_NONBLOCK), 0);
    kept_stderr = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    clock_fake(MOMENT_MS);
    log_actor("dlq/0");
}

/* What was logged since capture() or the last call. */
static const char *
captured(void)
{
    static char text[65536];
    ssize_t size = read(pipe_fds[0], text, sizeof text - 1);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

static int
lines_of(const char *text)
{
    int count = 0;
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++) {
        count++;
    }
    return count;
}

static void
say(const char *key, const char *error, int64_t n)
{
    log_often(LOG_LEVEL_WARN, "letter_dead", key, LOG_TEXT("error", error), LOG_I64("n", n));
}

Test(log_often, first_line_is_written_at_once_with_its_words, .init = capture)
{
    say("factory/0", "connection refused", 1);
    cr_assert_str_eq(captured(), "2026-11-20T22:00:00.123Z warn dlq/0 letter_dead error=\"connection refused\" n=1\n");
}

Test(log_often, twenty_thousand_lines_of_one_second_are_two_and_the_second_counts_them, .init = capture)
{
    char error[32];
    for (int i = 1; i <= 20000; i++) {
        (void)snprintf(error, sizeof error, "number %d", i); /* its memory is used again */
        say("factory/0", error, i);
    }
    (void)snprintf(error, sizeof error, "overwritten");
    cr_assert_eq(lines_of(captured()), 1);
    log_often_flush();
    cr_assert_str_empty(captured(), "its second is not over");
    clock_fake_advance_ms(1000);
    log_often_flush();
    cr_assert_str_eq(captured(), "2026-11-20T22:00:01.123Z warn dlq/0 letter_dead error=\"number 20000\" n=20000 more=19998\n");
    log_often_flush();
    cr_assert_str_empty(captured(), "and nothing is said twice");
}

Test(log_often, line_that_is_held_back_alone_says_no_more, .init = capture)
{
    say("factory/0", "a", 1);
    say("factory/0", "b", 2);
    (void)captured();
    clock_fake_advance_ms(1000);
    log_often_flush();
    cr_assert_str_eq(captured(), "2026-11-20T22:00:01.123Z warn dlq/0 letter_dead error=b n=2\n");
}

Test(log_often, goes_on_with_one_line_a_second_also_when_nobody_flushes, .init = capture)
{
    int lines = 0;
    for (int i = 0; i < 5000; i++) {
        say("factory/0", "refused", i);
        clock_fake_advance_ms(1);
        lines += lines_of(captured());
    }
    cr_assert_geq(lines, 5);
    cr_assert_leq(lines, 6);
}

Test(log_often, line_of_another_key_or_event_does_not_wait, .init = capture)
{
    say("factory/0", "refused", 1);
    say("factory/0", "refused", 2);
    say("payment/0", "refused", 3);
    log_often(LOG_LEVEL_ERROR, "call_given_up", "factory/0", LOG_I64("n", 4));
    cr_assert_eq(lines_of(captured()), 3);
}

Test(log_often, group_that_was_quiet_speaks_at_once, .init = capture)
{
    say("factory/0", "refused", 1);
    clock_fake_advance_ms(1000);
    log_often_flush();
    say("factory/0", "refused", 2);
    cr_assert_eq(lines_of(captured()), 2);
}

Test(log_often, end_writes_what_is_held_back, .init = capture)
{
    say("factory/0", "a", 1);
    say("factory/0", "b", 2);
    say("factory/0", "c", 3);
    log_often_end();
    cr_assert(strstr(captured(), "error=c n=3 more=1\n") != NULL);
    log_often_end();
}

Test(log_often, who_chooses_keys_does_not_choose_the_number_of_lines, .init = capture)
{
    char key[32];
    int lines = 0;
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(key, sizeof key, "key-%d", i);
        say(key, "refused", i);
        lines += lines_of(captured());
    }
    cr_assert_leq(lines, 32);
    clock_fake_advance_ms(1000);
    log_often_flush();
    cr_assert(strstr(captured(), " more=") != NULL);
}

Test(log_often, ids_slices_and_long_texts_are_copied, .init = capture)
{
    char text[400];
    struct id id = {{0x01, 0x99, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff}};
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 2; i++) {
        log_often(LOG_LEVEL_WARN, "e", "", LOG_ID("id", &id), LOG_SLICE("s", ((struct slice){(const uint8_t *)text, sizeof text})),
                  LOG_TEXT("none", NULL));
    }
    (void)captured();
    memset(&id, 0, sizeof id);
    memset(text, 'y', sizeof text);
    log_often_end();
    const char *line = captured();
    cr_assert(strstr(line, "id=01990000-0000-7000-8000-0000000000ff") != NULL, "%s", line);
    cr_assert(strstr(line, "xxx...\"") != NULL && strchr(line, 'y') == NULL, "%s", line);
    cr_assert(strstr(line, "none=\"\"\n") != NULL, "%s", line);
}
