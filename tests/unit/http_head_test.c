/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about heads and bodies of requests, whole and in pieces; what is refused stands in tests/flow/test_framing.py as well. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <string.h>

#include "kit/http/http_answer.h"
#include "kit/http/http_body.h"
#include "kit/http/http_head.h"

#define LINE "GET /a?b=c HTTP/1.1\r\nHost: x\r\n"

static struct http_head head;

static void
start(void)
{
    http_head_init(&head);
}

static void
stop(void)
{
    http_head_fini(&head);
}

TestSuite(http_head, .init = start, .fini = stop);
TestSuite(http_body, .init = start, .fini = stop);

/* A head that is found byte by byte has the size that it has at once. */
static enum http_found
find(const char *text, size_t size, struct http_scan *scan)
{
    enum http_found found = HTTP_MORE;
    struct http_scan whole = {0};
    *scan = (struct http_scan){0};
    for (size_t i = 1; i <= size && found == HTTP_MORE; i++) {
        found = http_scan_head(scan, (const uint8_t *)text, i);
    }
    cr_assert_eq(http_scan_head(&whole, (const uint8_t *)text, size), found);
    cr_assert_eq(whole.at, scan->at, "%zu and %zu in %s", whole.at, scan->at, text);
    cr_assert_eq(whole.refusal, scan->refusal);
    return found;
}

static bool
read_text(const char *text)
{
    return http_head_read(&head, slice_of(text));
}

Test(http_head, ends_at_its_empty_line)
{
    struct http_scan scan;
    const char *text = LINE "\r\nGET";
    cr_assert_eq(find(text, strlen(text), &scan), HTTP_WHOLE);
    cr_assert_eq(scan.at, strlen(text) - 3);
    cr_assert_eq(find(text, strlen(text) - 4, &scan), HTTP_MORE);
    cr_assert_eq(find("\r\n" LINE "\r\n", strlen(LINE) + 4, &scan), HTTP_WHOLE);
    cr_assert_eq(scan.at, strlen(LINE) + 4);
}

struct byte_row {
    int from, to;
    char before[40];
    char behind[28];
    bool is_taken;
};

ParameterizedTestParameters(http_head, judges_each_byte)
{
    static struct byte_row rows[] = {
        {0, 8, LINE "X: ", "\r\n\r\n", false},
        {9, 9, LINE "X: ", "\r\n\r\n", true},
        {10, 31, LINE "X: ", "y\r\n\r\n", false},
        {32, 126, LINE "X: ", "\r\n\r\n", true},
        {127, 127, LINE "X: ", "\r\n\r\n", false},
        {128, 255, LINE "X: ", "\r\n\r\n", true},
        {0, 31, "GET /", "y HTTP/1.1\r\nHost: x\r\n", false},
        {127, 255, "GET /", "y HTTP/1.1\r\nHost: x\r\n", false},
        {0, 32, LINE "X", "y: z\r\n\r\n", false},
        {127, 255, LINE "X", "y: z\r\n\r\n", false},
    };
    return cr_make_param_array(struct byte_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct byte_row *row, http_head, judges_each_byte)
{
    for (int byte = row->from; byte <= row->to; byte++) {
        char text[80];
        struct http_scan scan;
        int size = snprintf(text, sizeof text, "%s%c%s", row->before, 'x', row->behind);
        text[strlen(row->before)] = (char)byte;
        cr_assert_eq(find(text, (size_t)size, &scan) == HTTP_WHOLE, row->is_taken, "%d behind %s", byte, row->before);
    }
}

Test(http_head, holds_8_KiB_and_no_more)
{
    static char text[HTTP_HEAD_MAX + 2];
    struct http_scan scan;
    for (size_t size = HTTP_HEAD_MAX; size <= HTTP_HEAD_MAX + 1; size++) {
        int written = snprintf(text, sizeof text, LINE "X: %0*d\r\n\r\n", (int)(size - strlen(LINE) - 7), 0);
        cr_assert_eq((size_t)written, size);
        cr_assert_eq(find(text, size, &scan), size == HTTP_HEAD_MAX ? HTTP_WHOLE : HTTP_BAD);
    }
    cr_assert_eq(scan.code, ERR_header_too_large);
}

Test(http_head, says_what_stands_in_it)
{
    cr_assert(read_text("POST /v1/takes?a=b HTTP/1.1\r\nhost: Shop.example:80\r\nX:  y z \r\nEmpty:\r\nContent-Length: 12\r\n"
                        "Expect: 100-Continue\r\nConnection: close\r\n\r\n"),
              "%s", head.refusal);
    cr_assert(slice_equal(head.method, slice_of("POST")) && slice_equal(head.path, slice_of("/v1/takes?a=b")));
    cr_assert(slice_equal(head.host, slice_of("Shop.example:80")));
    cr_assert_eq(head.count, 6);
    cr_assert(slice_equal(head.headers[1].name, slice_of("X")) && slice_equal(head.headers[1].value, slice_of("y z")));
    cr_assert(slice_equal(head.headers[2].name, slice_of("Empty")) && head.headers[2].value.size == 0);
    cr_assert(head.length == 12 && !head.is_chunked && head.expects_continue && !head.keeps_alive && !head.is_1_0);
}

Test(http_head, forgets_the_one_before)
{
    cr_assert(read_text("HEAD / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"));
    cr_assert(head.is_head && head.is_1_0 && head.keeps_alive && head.host.size == 0);
    cr_assert(!read_text("GET / HTTP/1.1\r\n\r\n"));
    cr_assert(read_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    cr_assert(!head.is_head && !head.is_1_0 && head.keeps_alive && head.length == 0 && head.count == 1 && head.is_complete);
}

Test(http_head, takes_an_upgrade_for_nothing)
{
    cr_assert(read_text(LINE "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
    cr_assert(head.is_complete && head.keeps_alive);
}

struct host_row {
    char text[48];
    char name[48]; /* empty: none */
    int port;
};

ParameterizedTestParameters(http_head, splits_hosts)
{
    static struct host_row rows[] = {
        {"x", "x", 0},
        {"x:1", "x", 1},
        {"x:65535", "x", 65535},
        {"a_b.c-d.", "a_b.c-d.", 0},
        {"[::1]", "::1", 0},
        {"[::1]:80", "::1", 80},
        {"127.0.0.1:8080", "127.0.0.1", 8080},
        {"", "", 0},
        {":80", "", 0},
        {"x:", "", 0},
        {"x:0", "", 0},
        {"x:65536", "", 0},
        {"x:1a", "", 0},
        {"x:000080", "", 0},
        {".x", "", 0},
        {"[::1", "", 0},
        {"[x]", "", 0},
        {"[::1]80", "", 0},
        {"::1", "", 0},
        {"a b", "", 0},
        {"a,b", "", 0},
        {"a@b", "", 0},
        {"a%41", "", 0},
    };
    return cr_make_param_array(struct host_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct host_row *row, http_head, splits_hosts)
{
    struct slice name;
    int port = 0;
    bool is_host = http_split_host(slice_of(row->text), &name, &port);
    cr_assert_eq(is_host, row->name[0] != 0, "%s", row->text);
    cr_assert(!is_host || (slice_equal(name, slice_of(row->name)) && port == row->port), "%s", row->text);
}

/* --- bodies --- */

/* Gives the body `step` bytes more each time, with what was left over before them, and says how it ended and where. */
static enum http_found
take_all(const char *text, size_t step, struct wire_buffer *into, size_t *used)
{
    struct http_body body;
    size_t size = strlen(text);
    enum http_found found = HTTP_MORE;
    http_body_begin(&body, &head);
    body.into = into;
    body.most = 1000;
    *used = 0;
    for (size_t given = step < size ? step : size; found == HTTP_MORE;) {
        size_t taken = 0;
        found = http_body_take(&body, (struct slice){(const uint8_t *)text + *used, given - *used}, &taken);
        *used += taken;
        if (given == size) {
            break;
        }
        given = given + step < size ? given + step : size;
    }
    return found;
}

struct body_row {
    char text[80];
    enum http_found found;
    char body[24];
    size_t behind; /* bytes of the next request */
};

ParameterizedTestParameters(http_body, ends_where_its_chunks_do)
{
    static struct body_row rows[] = {
        {"2\r\n{}\r\n0\r\n\r\nGET", HTTP_WHOLE, "{}", 3},
        {"1;a=b\r\n{\r\n0001;c\r\n}\r\n00\r\nX: y\r\n\r\n", HTTP_WHOLE, "{}", 0},
        {"A\r\n0123456789\r\n0\r\n\r\n0\r\n\r\n", HTTP_WHOLE, "0123456789", 5},
        {"0\r\n\r\n", HTTP_WHOLE, "", 0},
        {"2\r\n{}\r\n0\r\n", HTTP_MORE, "{}", 0},
        {"2\r\n{", HTTP_MORE, "{", 0},
        {"2\r\n{}x\r\n0\r\n\r\n", HTTP_BAD, "", 0},
        {"2 \r\n{}\r\n0\r\n\r\n", HTTP_BAD, "", 0},
        {"2\n{}\r\n0\r\n\r\n", HTTP_BAD, "", 0},
        {"0\r\nContent-Length: 1\r\n\r\n", HTTP_BAD, "", 0},
        {"g\r\n", HTTP_BAD, "", 0},
        {"fffffffffffffffff\r\n", HTTP_BAD, "", 0},
    };
    return cr_make_param_array(struct body_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct body_row *row, http_body, ends_where_its_chunks_do)
{
    struct wire_buffer into = {0};
    for (size_t step = 1; step <= strlen(row->text); step++) {
        size_t used = 0;
        cr_assert(read_text("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
        into.size = 0;
        cr_assert_eq(take_all(row->text, step, &into, &used), row->found, "%s by %zu", row->text, step);
        if (row->found != HTTP_BAD) {
            cr_assert(slice_equal(wire_buffer_slice(&into), slice_of(row->body)), "%s by %zu", row->text, step);
            cr_assert_eq(strlen(row->text) - used, row->behind, "%s by %zu", row->text, step);
        }
    }
    wire_buffer_fini(&into);
}

Test(http_body, ends_at_its_length)
{
    struct wire_buffer into = {0};
    for (size_t step = 1; step < 10; step++) {
        size_t used = 0;
        cr_assert(read_text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"));
        into.size = 0;
        cr_assert_eq(take_all("12345GET", step, &into, &used), HTTP_WHOLE);
        cr_assert(used == 5 && slice_equal(wire_buffer_slice(&into), slice_of("12345")));
    }
    wire_buffer_fini(&into);
}

Test(http_body, keeps_nothing_of_one_that_is_too_large)
{
    static char text[2048];
    struct wire_buffer into = {0};
    size_t used = 0;
    cr_assert(read_text("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000\r\n\r\n"));
    memset(text, 'x', 2000);
    cr_assert_eq(take_all(text, 300, &into, &used), HTTP_WHOLE);
    cr_assert(used == 2000 && into.size == 0);
    wire_buffer_fini(&into);
}

/* --- answers --- */

Test(http_answer, says_its_length_once)
{
    struct wire_buffer out = {0};
    char date[HTTP_DATE_SIZE];
    http_date(INT64_C(784111777000), date);
    struct http_answer answer = {
        .status = 200, .date = date, .lines = slice_of("A: b\r\n"), .content_size = 7, .connection = HTTP_SAYS_CLOSE};
    http_answer_write(&answer, &out);
    cr_assert(slice_equal(wire_buffer_slice(&out), slice_of("HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nA: b\r\n"
                                                            "Content-Length: 7\r\nConnection: close\r\n\r\n")));
    out.size = 0;
    answer = (struct http_answer){.status = 204, .date = date};
    http_answer_write(&answer, &out);
    cr_assert(
        slice_equal(wire_buffer_slice(&out), slice_of("HTTP/1.1 204 No Content\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n")));
    wire_buffer_fini(&out);
}
