/* SPDX-License-Identifier: MPL-2.0 */
/*
 * problem: refusals as application/problem+json
 *
 * PURPOSE
 *   Everything that is not done is answered with one document (RFC 9457): a stable `type` made of the symbol in errors.def, the
 *   table's words as `title`, the HTTP status, the sentence that names the thing and the reason, the request as `instance`, and
 *   what a program needs to go on: product, asked, available, version, letter, order, order_status, allowed.
 *
 * FAILURES
 *   Cannot fail. A code of the database is told as `unavailable` when trying again may help and as `internal` otherwise.
 *
 * LIMITS
 *   `detail` is cut at ERR_TEXT_MAX by those who wrote it.
 */
#include "problem.h"

#include <stdio.h>
#include <string.h>

#include "json.h"

#define TYPE_PREFIX "urn:larder:problem:"

err
problem_public(err code)
{
    if (code == ERR_ok || code == ERR_wrong_setting || code >= ERR_COUNT) {
        return ERR_internal;
    }
    if (code < ERR_db_unique || code > ERR_db_bug) {
        return code;
    }
    return err_disposition(code) == ERR_RETRY || code == ERR_db_stale ? ERR_unavailable : ERR_internal;
}

static void
put(struct wire_buffer *out, const char *text)
{
    wire_buffer_append(out, text, strlen(text));
}

static void
put_number(struct wire_buffer *out, const char *name, int64_t value)
{
    char text[64];
    int size = snprintf(text, sizeof text, ",\"%s\":%lld", name, (long long)value);
    wire_buffer_append(out, text, (size_t)size);
}

static void
put_text(struct wire_buffer *out, const char *name, struct slice text)
{
    put(out, ",\"");
    put(out, name);
    put(out, "\":");
    json_write_text(text, out);
}

static void
put_id(struct wire_buffer *out, const char *name, const struct id *id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    put_text(out, name, slice_of(text));
}

/* A list of words that stand in one text, by comma. */
static void
put_words(struct wire_buffer *out, const char *name, struct slice text)
{
    const char *lead = "";
    put(out, ",\"");
    put(out, name);
    put(out, "\":[");
    while (text.size > 0) {
        const uint8_t *comma = memchr(text.data, ',', text.size);
        size_t size = comma != NULL ? (size_t)(comma - text.data) : text.size;
        size_t step = comma != NULL ? size + 1 : size;
        struct slice word = {text.data, size};
        while (word.size > 0 && word.data[0] == ' ') {
            word = (struct slice){word.data + 1, word.size - 1};
        }
        put(out, lead);
        json_write_text(word, out);
        lead = ",";
        text = (struct slice){text.data + step, text.size - step};
    }
    put(out, "]");
}

/* What a program needs to go on. `status` of a problem on the wire is that of an order; here that name is taken. */
static void
put_members(const struct wire_problem *problem, struct wire_buffer *out)
{
    if (WIRE_HAS(problem, problem, product)) {
        put_text(out, "product", problem->product);
    }
    if (WIRE_HAS(problem, problem, asked)) {
        put_number(out, "asked", problem->asked);
    }
    if (WIRE_HAS(problem, problem, available)) {
        put_number(out, "available", problem->available);
    }
    if (WIRE_HAS(problem, problem, version)) {
        put_number(out, "version", problem->version);
    }
    if (WIRE_HAS(problem, problem, letter)) {
        put_id(out, "letter", &problem->letter);
    }
    if (WIRE_HAS(problem, problem, order)) {
        put_id(out, "order", &problem->order);
    }
    if (WIRE_HAS(problem, problem, status)) {
        put_text(out, "order_status", problem->status);
    }
    if (WIRE_HAS(problem, problem, allowed)) {
        put_words(out, "allowed", problem->allowed);
    }
}

void
problem_write(err code, const struct wire_problem *problem, const struct id *id, struct wire_buffer *out)
{
    char text[ID_TEXT_SIZE];
    err told = problem_public(code);
    put(out, "{\"type\":\"" TYPE_PREFIX);
    put(out, err_symbol(told));
    put(out, "\",\"title\":");
    json_write_text(slice_of(err_words(told)), out);
    put_number(out, "status", err_http(told));
    if (problem != NULL && WIRE_HAS(problem, problem, detail) && problem->detail.size > 0) {
        put(out, ",\"detail\":");
        json_write_text(problem->detail, out);
    }
    if (id != NULL) {
        id_format(id, text);
        put(out, ",\"instance\":\"urn:uuid:");
        put(out, text);
        put(out, "\"");
    }
    if (problem != NULL) {
        put_members(problem, out);
    }
    put(out, "}");
}
