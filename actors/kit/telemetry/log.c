/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Writes log lines, as text or as JSON, so that whatever came from outside can neither forge a line nor move a terminal.
 *
 *   As text a value stands bare when it is plain; otherwise in quotes, with \" \\ \n \r \t, \xNN for a byte that is not UTF-8 or
 *   is a control character, and \uNNNN for the characters that steer a display (C1, line separators, bidirectional marks). As
 *   JSON the same characters are \uNNNN, and a byte that is not UTF-8 becomes the text \xNN, because JSON has no bytes.
 *
 * STATE
 *   Shape and least level: set once, before threads. The name of the actor: one per thread.
 *
 * FAILURES
 *   A process that does work for others calls log_start(): then a standard error that takes nothing loses lines, counted, and stops
 *   nobody (log_writer.c). In a command of a few seconds a line is a write. errno is left as it was.
 *
 * LIMITS
 *   A value is cut at 256 bytes, between characters, and marked with "...". A line is at most 4096 bytes, so that lines of several
 *   processes do not mix in a pipe (PIPE_BUF); fields that no longer fit are left out and `cut=1` says so.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "log_writer.h"
#include "utf8.h"

#define LINE_SIZE LOG_LINE_MAX
#define LINE_RESERVE 16 /* for cut=1, the closing brace and the end of the line */
#define VALUE_MAX 256
#define ACTOR_NAME_SIZE 40

struct line {
    size_t size;
    bool is_full;
    char data[LINE_SIZE];
};

static bool as_json;
static enum log_level least_level = LOG_LEVEL_INFO;
static _Thread_local char actor_name[ACTOR_NAME_SIZE];

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void
log_init(bool json, enum log_level least)
{
    as_json = json;
    least_level = least;
}

void
log_actor(const char *name)
{
    snprintf(actor_name, sizeof actor_name, "%s", name);
}

static void
put(struct line *line, const char *bytes, size_t size)
{
    if (line->is_full || line->size + size > LINE_SIZE - LINE_RESERVE) {
        line->is_full = true;
        return;
    }
    memcpy(line->data + line->size, bytes, size);
    line->size += size;
}

static void __attribute__((format(printf, 2, 3))) put_format(struct line *line, const char *format, ...)
{
    char text[128];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size > 0) {
        put(line, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
    }
}

static uint32_t
code_point(const uint8_t *bytes, size_t length)
{
    static const uint8_t lead_bits[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t point = bytes[0] & lead_bits[length];
    for (size_t i = 1; i < length; i++) {
        point = point << 6 | (bytes[i] & 0x3fU);
    }
    return point;
}

/* What a terminal or a viewer of logs would act upon instead of showing it. */
static bool
steers_display(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || (point >= 0x200e && point <= 0x200f) ||
           (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

static bool
is_plain(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte <= 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || byte == '=') {
            return false;
        }
    }
    return text.size > 0;
}

static void
put_character(struct line *line, const uint8_t *bytes, size_t length)
{
    uint32_t point = code_point(bytes, length);
    if (point == '"' || point == '\\') {
        put_format(line, "\\%c", (char)point);
    } else if (point == '\n') {
        put(line, "\\n", 2);
    } else if (point == '\r') {
        put(line, "\\r", 2);
    } else if (point == '\t') {
        put(line, "\\t", 2);
    } else if (!steers_display(point)) {
        put(line, (const char *)bytes, length);
    } else if (as_json || point > 0xff) {
        put_format(line, "\\u%04x", point);
    } else {
        put_format(line, "\\x%02x", point);
    }
}

static void
put_quoted(struct line *line, struct slice text, bool was_cut)
{
    put(line, "\"", 1);
    size_t at = 0;
    while (at < text.size) {
        size_t length = utf8_character(text.data + at, text.size - at);
        if (length == 0) {
            put_format(line, as_json ? "\\\\x%02x" : "\\x%02x", text.data[at]);
            length = 1;
        } else {
            put_character(line, text.data + at, length);
        }
        at += length;
    }
    if (was_cut) {
        put(line, "...", 3);
    }
    put(line, "\"", 1);
}

/* At most VALUE_MAX bytes; a character that would be cut in two is left out, unless the bytes there are no UTF-8 anyway. */
static struct slice
cut_value(struct slice text)
{
    if (text.size <= VALUE_MAX) {
        return text;
    }
    size_t start = VALUE_MAX;
    while (start > VALUE_MAX - 3 && (text.data[start] & 0xc0) == 0x80) {
        start--;
    }
    bool splits = utf8_character(text.data + start, text.size - start) > VALUE_MAX - start;
    return (struct slice){text.data, splits ? start : VALUE_MAX};
}

static void
put_text(struct line *line, struct slice text)
{
    struct slice kept = cut_value(text);
    if (!as_json && kept.size == text.size && is_plain(text)) {
        put(line, (const char *)text.data, text.size);
        return;
    }
    put_quoted(line, kept, kept.size < text.size);
}

static void
put_value(struct line *line, const struct log_field *field)
{
    char id_text[ID_TEXT_SIZE];
    switch (field->kind) {
    case LOG_KIND_I64:
        put_format(line, "%lld", (long long)field->number);
        break;
    case LOG_KIND_TEXT:
        put_text(line, slice_of(field->text == NULL ? "" : field->text));
        break;
    case LOG_KIND_SLICE:
        put_text(line, field->slice);
        break;
    case LOG_KIND_ID:
        id_format(field->id, id_text);
        put_text(line, slice_of(id_text));
        break;
    }
}

static void
put_field(struct line *line, const struct log_field *field)
{
    size_t before = line->size;
    put_format(line, as_json ? ",\"%s\":" : " %s=", field->key);
    put_value(line, field);
    if (line->is_full) {
        line->size = before;
    }
}

static void
put_head(struct line *line, enum log_level level, const char *event)
{
    int64_t now_ms = clock_utc_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char time_text[40];
    size_t size = strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(time_text + size, sizeof time_text - size, ".%03dZ", (int)(now_ms % 1000));

    const char *actor = actor_name[0] == '\0' ? "larder" : actor_name;
    if (as_json) {
        put_format(line, "{\"time\":\"%s\",\"level\":\"%s\"", time_text, level_names[level]);
        put_format(line, ",\"actor\":\"%s\",\"event\":\"%s\"", actor, event);
    } else {
        put_format(line, "%s %s %s %s", time_text, level_names[level], actor, event);
    }
}

static void
end_line(struct line *line)
{
    const char *end = as_json ? (line->is_full ? ",\"cut\":1}\n" : "}\n") : (line->is_full ? " cut=1\n" : "\n");
    size_t size = strlen(end);
    memcpy(line->data + line->size, end, size);
    line->size += size;
}

static void
make_line(struct line *line, enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    line->size = 0;
    line->is_full = false;
    put_head(line, level, event);
    for (size_t i = 0; i < count && !line->is_full; i++) {
        put_field(line, &fields[i]);
    }
    end_line(line);
}

void
log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count)
{
    if (level < least_level) {
        return;
    }
    int kept_errno = errno;
    struct line line;
    make_line(&line, level, event, fields, count);
    if (!log_writer_put(line.data, line.size)) {
        ssize_t written;
        do {
            written = write(STDERR_FILENO, line.data, line.size);
        } while (written < 0 && errno == EINTR);
    }
    errno = kept_errno;
}

static size_t
make_lost_line(char *text, int64_t lost)
{
    struct line line;
    make_line(&line, LOG_LEVEL_WARN, "log_lines_lost", &LOG_I64("n", lost), 1);
    memcpy(text, line.data, line.size);
    return line.size;
}

err
log_start(struct err_text *why)
{
    return log_writer_start(make_lost_line, why);
}

void
log_stop(int64_t most_ms)
{
    log_writer_stop(most_ms);
}
