/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Prints the tables of errors.def, messages.def, events.def and bodies.def as Markdown. PROTOCOL.md holds the output between
 *   markers; the lint compares, so the document cannot say another thing than the codec does.
 *
 * FAILURES
 *   A part that there is not: ERR_not_found. A stream that cannot be written is the caller's to see, by ferror().
 *
 * LIMITS
 *   A `|` in a text of a table would end its cell: it is printed escaped.
 */
#include "docs.h"

#include <inttypes.h>
#include <string.h>

#include "wire.h"

struct follower {
    const char *source;
    const char *subscriber;
};

static const struct follower followers[] = {
#define SUBSCRIBER(source, subscriber) {#source, #subscriber},
#include "events.def"
};

static void
print_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|') {
            fputc('\\', out);
        }
        fputc(*text, out);
    }
}

/* The last cell of a row. */
static void
print_last(FILE *out, const char *text)
{
    fputs(" | ", out);
    print_text(out, text);
    fputs(" |\n", out);
}

static void
print_errors(FILE *out)
{
    static const char *const dispositions[] = {
        [ERR_DONE] = "DONE", [ERR_REFUSE] = "REFUSE", [ERR_RETRY] = "RETRY", [ERR_DEAD] = "DEAD", [ERR_BUG] = "BUG",
    };
    fputs("| status | HTTP | disposition | in words |\n| --- | --- | --- | --- |\n", out);
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        fprintf(out, "| `%s` | %d | %s", err_symbol((err)code), err_http((err)code), dispositions[err_disposition((err)code)]);
        print_last(out, err_words((err)code));
    }
}

static void
print_operations(FILE *out)
{
    fputs("| operation | request | reply | kind | what it does |\n| --- | --- | --- | --- | --- |\n", out);
    for (unsigned i = 0; i < OP_COUNT; i++) {
        const struct wire_op *op = &wire_ops[i];
        fprintf(out, "| `%s` | [`%s`](#%s) | [`%s`](#%s) | %s%s%s", op->name, op->request->name, op->request->name, op->reply->name,
                op->reply->name, (op->traits & OP_WRITES) != 0 ? "writes" : "reads", (op->traits & OP_ROUTED) != 0 ? ", by shard" : "",
                (op->traits & OP_FORWARDS) != 0 ? ", passed on" : "");
        print_last(out, op->doc);
    }
}

/* What an id does not stand for as it does everywhere else: by the traits that say so. */
static void
print_identity(FILE *out)
{
    static const struct {
        uint32_t trait;
        const char *words;
    } exceptions[] = {
        {OP_REPEATS, "known by what they say, and not by their id: what is done already is answered as what it is, under any id, and "
                     "another body under the same id is no mismatch"},
        {OP_FORWARDS, "the id is that of the request which it makes of another actor, and belongs to that there"},
        {OP_SOLD_OUT,
         "a first attempt that a sold-out shelf refuses is answered from memory, and not looked up: the last unit, sent twice "
         "without `again`, is sold and then `out_of_stock`"},
        {OP_WAITS, "may wait for another actor: what they do may be written behind its answer, where no clash of keys would send them "
                   "back, so the id is looked up before it is begun, also on a first attempt"},
    };
    fputs("| operations | |\n| --- | --- |\n| all that read | have no answer to keep: they are answered anew, whatever their id |\n",
          out);
    for (size_t i = 0; i < sizeof exceptions / sizeof exceptions[0]; i++) {
        const char *between = "| ";
        for (unsigned op = 0; op < OP_COUNT; op++) {
            uint32_t traits = wire_ops[op].traits;
            if ((traits & OP_WRITES) != 0 && (traits & exceptions[i].trait) != 0) {
                fprintf(out, "%s`%s`", between, wire_ops[op].name);
                between = ", ";
            }
        }
        print_last(out, exceptions[i].words);
    }
    fprintf(out, "| `%s` | its ids are apart from those of the actor's own operations |\n", wire_ops[OP_any_unsubscribe].name);
}

static void
print_events(FILE *out)
{
    fputs("| event | body | kept | what happened |\n| --- | --- | --- | --- |\n", out);
    for (unsigned i = 0; i < EVENT_COUNT; i++) {
        const struct wire_event *event = &wire_events[i];
        fprintf(out, "| `%s` | [`%s`](#%s) | %s", event->name, event->body->name, event->body->name,
                event->fate == DURABLE ? "until confirmed" : "no");
        print_last(out, event->doc);
    }
    fputs("\n| source | is followed from its first event on by |\n| --- | --- |\n", out);
    for (size_t i = 0; i < sizeof followers / sizeof followers[0]; i++) {
        fprintf(out, "| `%s` | `%s` |\n", followers[i].source, followers[i].subscriber);
    }
}

/* The msgpack type and the bounds, in one cell. */
static void
print_type(FILE *out, const struct wire_field *field)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        fputs("bool", out);
        break;
    case WIRE_I64:
        fprintf(out, "int, %" PRId64 " to %" PRId64, field->lo, field->hi);
        break;
    case WIRE_TIME:
        fprintf(out, "int, UTC milliseconds, %" PRId64 " to %" PRId64, field->lo, field->hi);
        break;
    case WIRE_STR:
        fprintf(out, "str, %" PRId64 " to %" PRId64 " bytes", field->lo, field->hi);
        break;
    case WIRE_NAME:
        fprintf(out, "str, %" PRId64 " to %" PRId64 " of `A-Z a-z 0-9 - _`", field->lo, field->hi);
        break;
    case WIRE_BYTES:
        fprintf(out, "bin, %" PRId64 " to %" PRId64 " bytes", field->lo, field->hi);
        break;
    case WIRE_ID:
        fprintf(out, "bin, %d bytes", ID_SIZE);
        break;
    case WIRE_LIST:
        fprintf(out, "array, %" PRId64 " to %" PRId64 " of [`%s`](#%s)", field->lo, field->hi, field->element->name,
                field->element->name);
        break;
    case WIRE_MAP:
        fprintf(out, "map, a [`%s`](#%s)", field->element->name, field->element->name);
        break;
    }
}

static void
print_body(FILE *out, const struct wire_body *body)
{
    fprintf(out, "#### %s\n\n", body->name);
    print_text(out, body->doc);
    fprintf(out, " %s\n\n", body->growth == OPEN ? "Unknown fields are skipped." : "Unknown fields are refused.");
    if (body->field_count == 0) {
        return;
    }
    fputs("| field | type | needed | meaning |\n| --- | --- | --- | --- |\n", out);
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        fprintf(out, "| `%s` | ", field->name);
        print_type(out, field);
        fprintf(out, " | %s", field->need == REQUIRED ? "yes" : "no");
        print_last(out, field->doc);
    }
    fputc('\n', out);
}

static void
print_bodies(FILE *out)
{
    for (unsigned i = 0; i < WIRE_BODY_COUNT; i++) {
        print_body(out, wire_bodies[i]);
    }
}

static const struct part {
    const char *name;
    void (*print)(FILE *out);
} parts[] = {
    {"errors", print_errors}, {"operations", print_operations}, {"identity", print_identity},
    {"events", print_events}, {"bodies", print_bodies},
};

err
docs_print(FILE *out, const char *part)
{
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(parts[i].name, part) == 0) {
            parts[i].print(out);
            return ERR_ok;
        }
    }
    return ERR_not_found;
}
