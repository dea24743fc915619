/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Claims about the tables: what one operation may make, every reply, event and letter can say. The bounds stand in bodies.def, where
 * values come from in feeds.def; whoever adds a field that is narrower than what feeds it, or says nothing of where its values come
 * from, meets this test. Nothing runs here but the tables.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "wire.h"

enum { PAIRS_MAX = 1024, WORD_MAX = 16, HEAD_MAX = 64, ELEMENT_MAX = 65536 };

/* --- feeds.def --- */

enum statement_kind { STATES_FEED, STATES_MADE, STATES_WORD, STATES_SYMBOL };

struct statement {
    enum statement_kind kind;
    const struct wire_body *body;
    const char *field;
    const struct wire_body *from;
    const char *from_field;
    int64_t number; /* times, or most */
};

static const struct statement statements[] = {
#define FEED(body, field, from_body, from_field, times) {STATES_FEED, &body##_body, #field, &from_body##_body, #from_field, times},
#define MADE(body, field, most, why) {STATES_MADE, &body##_body, #field, NULL, NULL, most},
#define WORD(body, field) {STATES_WORD, &body##_body, #field, NULL, NULL, WORD_MAX},
#define SYMBOL(body, field) {STATES_SYMBOL, &body##_body, #field, NULL, NULL, 0},
#include "feeds.def"
};

struct frame {
    const struct wire_body *body;
    int64_t stops_at;
};

static const struct frame frames[] = {
#define FRAME(body, stops_at, why) {&body##_body, stops_at},
#include "feeds.def"
};

#define STATEMENT_COUNT (sizeof statements / sizeof statements[0])
#define FRAME_COUNT (sizeof frames / sizeof frames[0])

/* --- who says and hears what --- */

struct pair {
    const char *owner;
    const struct wire_body *body;
};

struct pairs {
    struct pair pairs[PAIRS_MAX];
    size_t count;
};

static struct pairs said;
static struct pairs heard;

/* The body, and those that it holds. */
static void
note(struct pairs *pairs, const char *owner, const struct wire_body *body)
{
    for (size_t i = 0; i < pairs->count; i++) {
        if (pairs->pairs[i].body == body && strcmp(pairs->pairs[i].owner, owner) == 0) {
            return;
        }
    }
    cr_assert_lt(pairs->count, PAIRS_MAX);
    pairs->pairs[pairs->count++] = (struct pair){owner, body};
    for (size_t i = 0; i < body->field_count; i++) {
        if (body->fields[i].element != NULL) {
            note(pairs, owner, body->fields[i].element);
        }
    }
}

static void
note_events(struct pairs *pairs, const char *source, const char *owner)
{
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        if (strcmp(wire_events[i].owner, source) == 0) {
            note(pairs, owner, wire_events[i].body);
        }
    }
}

static void
read_tables(void)
{
    for (size_t i = 0; i < OP_COUNT; i++) {
        note(&heard, wire_ops[i].owner, wire_ops[i].request);
        note(&said, wire_ops[i].owner, wire_ops[i].reply);
    }
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        note(&said, wire_events[i].owner, wire_events[i].body);
    }
#define SUBSCRIBER(source, subscriber) note_events(&heard, #source, #subscriber);
#include "events.def"
#define SAYS(owner, body) note(&said, #owner, &body##_body);
#define HEARS(owner, body) note(&heard, #owner, &body##_body);
#include "feeds.def"
}

/* --- what is wrong --- */

static const struct wire_field *
field_named(const struct wire_body *body, const char *name)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if (strcmp(body->fields[i].name, name) == 0) {
            return &body->fields[i];
        }
    }
    return NULL;
}

/* Whether all that a field may hold, `times` of it summed, can be said by another. A text that is empty can be left out. */
static bool
is_wide_enough(const struct wire_field *field, const struct wire_field *from, int64_t times)
{
    int64_t most = 0;
    bool is_number = field->kind == WIRE_I64;
    bool has_room_below = field->lo <= from->lo || (!is_number && field->need == OPTIONAL);
    return !__builtin_mul_overflow(from->hi, times, &most) && field->hi >= most && has_room_below;
}

static int64_t
longest_symbol(void)
{
    size_t longest = 0;
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        size_t size = strlen(err_symbol((err)code));
        longest = size > longest ? size : longest;
    }
    return (int64_t)longest;
}

static bool
is_kept(const struct statement *statement)
{
    const struct wire_field *field = field_named(statement->body, statement->field);
    switch (statement->kind) {
    case STATES_FEED:
        return is_wide_enough(field, field_named(statement->from, statement->from_field), statement->number);
    case STATES_MADE:
    case STATES_WORD:
        return field->hi >= statement->number;
    case STATES_SYMBOL:
        return field->hi >= longest_symbol();
    }
    return false;
}

/* There is nothing that it could be too narrow for. */
static bool
has_all_room(const struct wire_field *field)
{
    switch ((enum wire_kind)field->kind) {
    case WIRE_I64:
        return field->hi == NUMBER_MAX;
    case WIRE_TIME:
        return field->hi == TIME_MAX;
    case WIRE_BOOL:
    case WIRE_ID:
    case WIRE_MAP:
        return true;
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
    case WIRE_LIST:
        return false;
    }
    return false;
}

static bool
is_stated(const struct wire_body *body, const struct wire_field *field)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        if (statements[i].body == body && strcmp(statements[i].field, field->name) == 0) {
            return true;
        }
    }
    return false;
}

/* Fields of its name that its actor hears; `narrow` is one that holds more. */
static size_t
count_namesakes(const struct pair *pair, const struct wire_field *field, const struct wire_body **narrow)
{
    size_t count = 0;
    for (size_t i = 0; i < heard.count; i++) {
        const struct wire_field *from =
            strcmp(heard.pairs[i].owner, pair->owner) == 0 ? field_named(heard.pairs[i].body, field->name) : NULL;
        if (from != NULL && from->kind == field->kind) {
            count++;
            *narrow = is_wide_enough(field, from, 1) ? *narrow : heard.pairs[i].body;
        }
    }
    return count;
}

/* The most bytes that a body can take. */
static double
most_bytes(const struct wire_body *body)
{
    double size = 3;
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        size += 1 + field->name_size;
        switch ((enum wire_kind)field->kind) {
        case WIRE_BOOL:
            size += 1;
            break;
        case WIRE_I64:
        case WIRE_TIME:
            size += 9;
            break;
        case WIRE_ID:
            size += 2 + ID_SIZE;
            break;
        case WIRE_STR:
        case WIRE_NAME:
        case WIRE_BYTES:
            size += 5 + (double)field->hi;
            break;
        case WIRE_LIST:
            size += 5 + (double)field->hi * most_bytes(field->element);
            break;
        case WIRE_MAP:
            size += most_bytes(field->element);
            break;
        }
    }
    return size;
}

static const struct frame *
frame_of(const struct wire_body *body)
{
    for (size_t i = 0; i < FRAME_COUNT; i++) {
        if (frames[i].body == body) {
            return &frames[i];
        }
    }
    return NULL;
}

/* --- claims --- */

Test(bounds, statements_name_fields_that_there_are)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        const struct statement *statement = &statements[i];
        cr_expect_not_null(field_named(statement->body, statement->field), "%s.%s", statement->body->name, statement->field);
        if (statement->from != NULL) {
            cr_expect_not_null(field_named(statement->from, statement->from_field), "%s.%s", statement->from->name,
                               statement->from_field);
        }
    }
}

Test(bounds, what_is_stated_of_a_field_fits_into_it)
{
    for (size_t i = 0; i < STATEMENT_COUNT; i++) {
        const struct statement *statement = &statements[i];
        cr_expect(is_kept(statement), "%s.%s is narrower than what feeds it", statement->body->name, statement->field);
    }
}

Test(bounds, no_field_that_is_said_is_narrower_than_what_feeds_it_or_forgotten)
{
    read_tables();
    for (size_t i = 0; i < said.count; i++) {
        const struct pair *pair = &said.pairs[i];
        for (size_t k = 0; k < pair->body->field_count; k++) {
            const struct wire_field *field = &pair->body->fields[k];
            const struct wire_body *narrow = NULL;
            if (has_all_room(field) || is_stated(pair->body, field)) {
                continue;
            }
            size_t namesakes = count_namesakes(pair, field, &narrow);
            cr_expect(namesakes > 0, "%s.%s of %s: feeds.def has to say where it comes from", pair->body->name, field->name,
                      pair->owner);
            cr_expect(narrow == NULL, "%s.%s of %s is narrower than %s.%s", pair->body->name, field->name, pair->owner,
                      narrow == NULL ? "" : narrow->name, field->name);
        }
    }
}

Test(bounds, a_body_that_is_said_fits_a_frame_or_its_maker_stops_in_time)
{
    read_tables();
    for (size_t i = 0; i < said.count; i++) {
        const struct wire_body *body = said.pairs[i].body;
        const struct frame *frame = frame_of(body);
        bool fits = most_bytes(body) <= WIRE_FRAME_MAX;
        bool is_element = strcmp(body->name, "fetched_event") == 0; /* of a page that stops; alone it is an event, and those fit */
        cr_expect(fits || frame != NULL || is_element, "%s may be %.0f bytes: feeds.def has to say who stops", body->name,
                  most_bytes(body));
        for (size_t k = 0; !fits && frame != NULL && k < body->field_count; k++) {
            const struct wire_body *element = body->fields[k].element;
            double more = element == NULL || most_bytes(element) > ELEMENT_MAX ? 0 : most_bytes(element);
            cr_expect((double)frame->stops_at + more + HEAD_MAX <= WIRE_FRAME_MAX, "%s.%s: one element more does not fit", body->name,
                      body->fields[k].name);
        }
    }
    for (size_t i = 0; i < EVENT_COUNT; i++) {
        cr_expect(most_bytes(wire_events[i].body) < 65536, "%s would not fit into a letter about it", wire_events[i].name);
    }
}

/* The case that this test is for, so that it is known to find it. */
Test(bounds, a_sum_of_a_thousand_lines_does_not_fit_into_one_line)
{
    const struct wire_field *line = field_named(&stock_line_body, "quantity");
    cr_assert(is_wide_enough(line, line, 1));
    cr_assert_not(is_wide_enough(line, line, 2));
    cr_assert(is_wide_enough(field_named(&stock_held_line_body, "quantity"), line, 1000));
    const struct wire_field *note = field_named(&order_body, "note");
    cr_assert_not(is_wide_enough(field_named(&order_entry_body, "detail"), note, 1));
    cr_assert_not(has_all_room(note));
}
