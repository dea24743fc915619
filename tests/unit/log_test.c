/* SPDX-License-Identifier: MPL-2.0 */
/* Log lines, read back from standard error: their shape, and that nothing from outside can change it. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "kit/telemetry/log.h"

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
}

/* What was logged since capture(), one read: a line is one write. */
static const char *
captured(void)
{
    static char text[8192];
    ssize_t size = read(pipe_fds[0], text, sizeof text - 1);
    dup2(kept_stderr, STDERR_FILENO);
    text[size < 0 ? 0 : size] = '\0';
    return text;
}

Test(log, text_line_has_time_level_actor_event_and_fields)
{
    capture();
    log_actor("stock/0");
    struct id id = {{0x01, 0x99, 0, 0, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff}};
    log_warn("peer_away", LOG_TEXT("peer", "factory"), LOG_I64("waited_ms", -20), LOG_ID("req", &id));
    cr_assert_str_eq(captured(), "2026-11-20T22:00:00.123Z warn stock/0 peer_away peer=factory waited_ms=-20 "
                                 "req=01990000-0000-7000-8000-0000000000ff\n");
}

Test(log, json_line_is_the_same_as_an_object)
{
    capture();
    log_init(true, LOG_LEVEL_INFO);
    log_actor("sales/0");
    log_error("failed", LOG_TEXT("why", "no \"disk\""), LOG_I64("code", 7));
    cr_assert_str_eq(captured(),
                     "{\"time\":\"2026-11-20T22:00:00.123Z\",\"level\":\"error\",\"actor\":\"sales/0\",\"event\":\"failed\","
                     "\"why\":\"no \\\"disk\\\"\",\"code\":7}\n");
}

Test(log, level_below_the_least_is_silent)
{
    capture();
    log_init(false, LOG_LEVEL_WARN);
    log_info("quiet", LOG_I64("a", 1));
    cr_assert_str_empty(captured());
}

struct escape {
    char value[32];
    size_t size;
    char as_text[64];
    char as_json[64];
};

ParameterizedTestParameters(log, escapes)
{
    static struct escape rows[] = {
        {"plain", 5, "v=plain", "\"v\":\"plain\""},
        {"", 0, "v=\"\"", "\"v\":\"\""},
        {"two words", 9, "v=\"two words\"", "\"v\":\"two words\""},
        {"a=b", 3, "v=\"a=b\"", "\"v\":\"a=b\""},
        {"\"q\"", 3, "v=\"\\\"q\\\"\"", "\"v\":\"\\\"q\\\"\""},
        {"back\\slash", 10, "v=\"back\\\\slash\"", "\"v\":\"back\\\\slash\""},
        {"x\n2026 forged", 13, "v=\"x\\n2026 forged\"", "\"v\":\"x\\n2026 forged\""},
        {"\x1b[2J", 4, "v=\"\\x1b[2J\"", "\"v\":\"\\u001b[2J\""},
        {"nul\0in", 6, "v=\"nul\\x00in\"", "\"v\":\"nul\\u0000in\""},
        {"p\xc3\xa3o", 4, "v=\"p\xc3\xa3o\"", "\"v\":\"p\xc3\xa3o\""},
        {"\xff\xfe", 2, "v=\"\\xff\\xfe\"", "\"v\":\"\\\\xff\\\\xfe\""},
        {"\xc2\x85", 2, "v=\"\\x85\"", "\"v\":\"\\u0085\""},
        {"\xe2\x80\xae", 3, "v=\"\\u202e\"", "\"v\":\"\\u202e\""},
        {"\xc3", 1, "v=\"\\xc3\"", "\"v\":\"\\\\xc3\""},
    };
    return cr_make_param_array(struct escape, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct escape *row, log, escapes)
{
    struct slice value = {(const uint8_t *)row->value, row->size};
    char expected[160];
    capture();
    log_info("e", LOG_SLICE("v", value));
    snprintf(expected, sizeof expected, "2026-11-20T22:00:00.123Z info larder e %s\n", row->as_text);
    cr_assert_str_eq(captured(), expected);

    capture();
    log_init(true, LOG_LEVEL_INFO);
    log_info("e", LOG_SLICE("v", value));
    cr_assert_not_null(strstr(captured(), row->as_json));
}

Test(log, value_is_cut_at_256_bytes)
{
    char value[1000];
    memset(value, 'x', sizeof value);
    value[999] = '\0';
    capture();
    log_info("e", LOG_TEXT("v", value));
    const char *at = strstr(captured(), "v=\"");
    cr_assert_not_null(at);
    cr_assert_eq(strspn(at + 3, "x"), 256);
    cr_assert_str_eq(at + 3 + 256, "...\"\n");
}

Test(log, cut_never_splits_a_character)
{
    char value[300];
    memset(value, 'x', sizeof value);
    memcpy(value + 255, "\xe2\x82\xac", 3);
    value[299] = '\0';
    capture();
    log_info("e", LOG_TEXT("v", value));
    const char *at = strstr(captured(), "v=\"");
    cr_assert_eq(strspn(at + 3, "x"), 255);
    cr_assert_str_eq(at + 3 + 255, "...\"\n");
}

Test(log, line_that_grows_too_long_says_that_it_was_cut)
{
    char value[257];
    memset(value, '\x01', 256);
    value[256] = '\0';
    capture();
    log_info("e", LOG_TEXT("a", value), LOG_TEXT("b", value), LOG_TEXT("c", value), LOG_TEXT("d", value), LOG_I64("last", 1));
    const char *line = captured();
    size_t size = strlen(line);
    cr_assert_leq(size, 4096);
    cr_assert_str_eq(line + size - 7, " cut=1\n");
    cr_assert_null(strstr(line, "last="));
}

Test(log, errno_is_left_alone)
{
    capture();
    errno = 42;
    log_info("e", LOG_I64("a", 1));
    int after = errno;
    captured();
    cr_assert_eq(after, 42);
}
