/* SPDX-License-Identifier: MPL-2.0 */
/* The thread that writes the log: who reads standard error slowly or not at all holds nobody, and what is lost is counted. */
#include <criterion/criterion.h>

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

#define RING_BYTES (1 << 20) /* as in log_writer.c */
#define TEXT_MAX (4 << 20)

static int reading = -1;
static int kept_stderr = -1;
static char text[TEXT_MAX];

/* Standard error becomes a pipe that nobody reads yet. */
static void
start(void)
{
    int fds[2];
    struct err_text why;
    cr_assert_eq(pipe(fds), 0);
    reading = fds[0];
    kept_stderr = dup(STDERR_FILENO);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    cr_assert_eq(log_start(&why), ERR_ok, "%s", why.text);
}

/* Reads until the text ends with `last`. */
static void
read_until(const char *last)
{
    size_t size = strlen(text);
    while (size < strlen(last) || strcmp(text + size - strlen(last), last) != 0) {
        struct pollfd something = {.fd = reading, .events = POLLIN};
        cr_assert_eq(poll(&something, 1, 10000), 1, "nothing more came behind %zu bytes", size);
        ssize_t got = read(reading, text + size, TEXT_MAX - 1 - size);
        cr_assert_gt(got, 0);
        size += (size_t)got;
        text[size] = '\0';
    }
}

static void
give_back(void)
{
    dup2(kept_stderr, STDERR_FILENO);
}

static int
log_lines(int from, int count)
{
    static const char filler[] = "0123456789012345678901234567890123456789012345678901234567890123456789";
    for (int i = from; i < from + count; i++) {
        log_info("line", LOG_I64("number", i), LOG_TEXT("filler", filler));
    }
    return from + count;
}

static int64_t
number_of(const char *line, const char *name)
{
    const char *at = strstr(line, name);
    cr_assert(at != NULL && at < strchr(line, '\n'), "%.100s", line);
    return strtoll(at + strlen(name), NULL, 10);
}

/* Every line from `expected` on is there once and in order, or counted where it is missing. Returns the number behind the last. */
static int64_t
check_sequence(int64_t expected, int64_t *lost)
{
    *lost = 0;
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strstr(line, " log_lines_lost ") != NULL && strstr(line, " log_lines_lost ") < strchr(line, '\n')) {
            *lost += number_of(line, " n=");
            expected += number_of(line, " n=");
            continue;
        }
        cr_assert_eq(number_of(line, " number="), expected, "%.80s", line);
        expected++;
    }
    return expected;
}

Test(log_writer, lines_come_in_the_order_in_which_they_were_said, .timeout = 60)
{
    int64_t lost = 0;
    start();
    log_lines(0, 3000);
    log_info("last", LOG_I64("number", 3000));
    read_until(" last number=3000\n");
    give_back();
    cr_expect_eq(check_sequence(0, &lost), 3001);
    cr_expect_eq(lost, 0);
}

Test(log_writer, nobody_waits_for_a_reader_and_what_does_not_fit_is_counted_in_its_place, .timeout = 60)
{
    int64_t lost = 0;
    start();
    int said = log_lines(0, 4 * RING_BYTES / 100);
    const struct metric *lost_total = metric(METRIC_COUNTER, "larder_log_lines_lost_total", "", "");
    int64_t counted = metric_value(lost_total);
    cr_expect_gt(counted, 1000);
    char line[64];
    snprintf(line, sizeof line, " log_lines_lost n=%lld\n", (long long)counted);
    read_until(line);
    log_info("last", LOG_I64("number", said));
    snprintf(line, sizeof line, " last number=%d\n", said);
    read_until(line);
    give_back();
    cr_expect_eq(check_sequence(0, &lost), said + 1);
    cr_expect_eq(lost, counted);
    cr_expect_eq(metric_value(lost_total), counted);
}

Test(log_writer, the_stream_goes_the_same_way_in_the_same_order, .timeout = 60)
{
    start();
    log_info("first", LOG_I64("number", 1));
    fprintf(stderr, "second, by %s\n", "a library");
    log_info("third", LOG_I64("number", 3));
    read_until("third number=3\n");
    give_back();
    const char *second = strstr(text, "second, by a library\n");
    cr_assert_not_null(second);
    cr_expect_gt(second, strstr(text, "first number=1\n"));
    cr_expect_lt(second, strstr(text, "third number=3\n"));
}

Test(log_writer, the_end_brings_what_is_left, .timeout = 60)
{
    int64_t lost = 0;
    start();
    log_lines(0, 100);
    log_stop(5000);
    cr_assert_gt(read(reading, text, TEXT_MAX - 1), 0);
    cr_expect_eq(check_sequence(0, &lost), 100);
    memset(text, 0, sizeof text);
    log_lines(100, 1); /* in the old way */
    cr_assert_gt(read(reading, text, TEXT_MAX - 1), 0);
    give_back();
    cr_expect_eq(check_sequence(100, &lost), 101);
}

Test(log_writer, the_end_does_not_wait_for_who_never_reads, .timeout = 60)
{
    start();
    int said = log_lines(0, 3000);
    int64_t began_us = clock_steady_us();
    log_stop(600000);
    cr_expect_lt(clock_steady_us() - began_us, 10000000);
    log_lines(said, 10000);
    give_back();
}

Test(log_writer, the_end_does_not_wait_for_who_has_gone, .timeout = 60)
{
    (void)signal(SIGPIPE, SIG_IGN);
    start();
    close(reading);
    log_lines(0, 100);
    int64_t began_us = clock_steady_us();
    log_stop(600000);
    cr_expect_lt(clock_steady_us() - began_us, 10000000);
    give_back();
}

/* A process that says `count` lines and fails an assertion, into a pipe that is read when it has ended. Returns how it ended. */
static int
fail_behind(int count)
{
    int fds[2];
    cr_assert_eq(pipe(fds), 0);
    volatile bool is_so = false;
    int status = 0;
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        struct err_text why;
        dup2(fds[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        if (log_start(&why) == ERR_ok) {
            log_lines(0, count);
            assert(is_so);
        }
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_gt(read(fds[0], text, TEXT_MAX - 1), 0);
    return status;
}

Test(log_writer, who_aborts_brings_its_last_lines, .timeout = 60)
{
    int64_t lost = 0;
    int status = fail_behind(100);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%x", (unsigned)status);
    char *words = strstr(text, "Assertion");
    cr_assert_not_null(words);
    while (words > text && words[-1] != '\n') {
        words--;
    }
    *words = '\0';
    cr_expect_eq(check_sequence(0, &lost), 100);
}

Test(log_writer, who_aborts_does_not_wait_for_who_never_reads, .timeout = 60)
{
    int status = fail_behind(3000);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%x", (unsigned)status);
}
