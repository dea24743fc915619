/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Writes the heads of answers. A client that can read one can read all: the length is always said, and never twice.
 * LIMITS   Reasons for the statuses that larder answers; any other has none, which HTTP allows.
 */
#include "http_answer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct reason {
    int status;
    const char *words;
};

static const struct reason reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {410, "Gone"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

static const char *
reason_of(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].status == status) {
            return reasons[i].words;
        }
    }
    return "";
}

void
http_date(int64_t utc_ms, char date[HTTP_DATE_SIZE])
{
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t seconds = (time_t)(utc_ms / 1000);
    struct tm at;
    (void)gmtime_r(&seconds, &at);
    (void)snprintf(date, HTTP_DATE_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[at.tm_wday], at.tm_mday % 100, months[at.tm_mon],
                   (at.tm_year + 1900) % 10000, at.tm_hour % 100, at.tm_min % 100, at.tm_sec % 100);
}

bool
http_answer_has_content(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

void
http_answer_write(const struct http_answer *answer, struct wire_buffer *out)
{
    char text[160];
    int size = snprintf(text, sizeof text, "HTTP/1.1 %d %s\r\nDate: %s\r\n", answer->status, reason_of(answer->status), answer->date);
    wire_buffer_append(out, text, (size_t)size);
    wire_buffer_append(out, answer->lines.data, answer->lines.size);
    if (http_answer_has_content(answer->status)) {
        size = snprintf(text, sizeof text, "Content-Length: %zu\r\n", answer->content_size);
        wire_buffer_append(out, text, (size_t)size);
    }
    switch (answer->connection) {
    case HTTP_SAYS_NOTHING:
        break;
    case HTTP_SAYS_CLOSE:
        wire_buffer_append(out, "Connection: close\r\n", 19);
        break;
    case HTTP_SAYS_KEEP_ALIVE:
        wire_buffer_append(out, "Connection: Keep-Alive\r\n", 24);
        break;
    }
    wire_buffer_append(out, "\r\n", 2);
}
