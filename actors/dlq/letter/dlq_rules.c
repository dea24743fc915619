/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The decisions about letters that need no database: see dlq_rules.h.
 *
 * FAILURES  Refusals are ERR_invalid_field and name the field.
 *
 * LIMITS    What is at stake is read from the names of fields, not from what they mean to the one who sent them: a body with none of
 *           these names has no value until its burial tells the units.
 */
#include "dlq_rules.h"

#include "kit/base/memory.h"

#include <stdlib.h>

/* Names of fields that count units, in the order in which they are looked for. */
static const char *const unit_names[] = {"quantity", "refused", "asked", "units"};

#define UNIT_NAME_COUNT (sizeof unit_names / sizeof unit_names[0])

/* --- burials --- */

/* Whether its owner could be asked about it. */
static bool
is_whole(const struct wire_burial *burial)
{
    enum dlq_kind kind = dlq_kind_find(burial->kind);
    bool is_event = kind == DLQ_EVENT && WIRE_HAS(burial, burial, source) && WIRE_HAS(burial, burial, seq);
    bool is_due_row = kind == DLQ_CALL || kind == DLQ_SAGA;
    return is_event || (is_due_row && WIRE_HAS(burial, burial, owner) && WIRE_HAS(burial, burial, due_key));
}

static bool
is_settled(const struct wire_burial *burial)
{
    return WIRE_HAS(burial, burial, settled) && burial->settled;
}

enum dlq_effect
dlq_rules_burial(const struct dlq_letter *known, const struct wire_burial *burial)
{
    if (is_settled(burial)) {
        if (known == NULL) {
            return is_whole(burial) ? DLQ_OPENS_DONE : DLQ_NOTHING;
        }
        return known->state == DLQ_DONE ? DLQ_NOTHING : DLQ_SETTLES;
    }
    if (known == NULL) {
        return DLQ_OPENS;
    }
    return burial->attempts > known->attempts ? DLQ_REOPENS : DLQ_NOTHING;
}

static err
say_field(struct err_text *why, size_t number, const char *field, const char *what)
{
    return err_say(why, ERR_invalid_field, "burials[%zu].%s: %s", number, field, what);
}

/* A body that could not be read is what such a letter is about; any other is a frame. */
static bool
is_body_of(const struct wire_burial *burial, enum event_type type)
{
    if (type == EVENT_COUNT || slice_equal(burial->reason, slice_of(err_symbol(ERR_malformed)))) {
        return true;
    }
    struct err_text ignored;
    void *target = memory_room(wire_events[type].body->size);
    err code = wire_decode(wire_events[type].body, burial->body, target, &ignored);
    free(target);
    return code != ERR_malformed;
}

static err
check_event(const struct wire_burial *burial, size_t number, struct wire_event_header *header, struct err_text *why)
{
    struct err_text reason = {""};
    bool has_header = WIRE_HAS(burial, burial, header);
    bool has_body = WIRE_HAS(burial, burial, body);
    if (!WIRE_HAS(burial, burial, source)) {
        return say_field(why, number, "source", "an event has one");
    }
    if (!WIRE_HAS(burial, burial, seq)) {
        return say_field(why, number, "seq", "an event has one");
    }
    if (has_header != has_body) {
        return say_field(why, number, has_header ? "body" : "header", "an event comes with both frames, or without them");
    }
    if (!has_header) {
        return ERR_ok; /* too large for a burial; its owner has them */
    }
    if (wire_decode(&event_header_body, burial->header, header, &reason) != ERR_ok) {
        return err_say(why, ERR_invalid_field, "burials[%zu].header: no header of an event: %s", number, reason.text);
    }
    if (!slice_equal(header->source, burial->source)) {
        return say_field(why, number, "source", "the header says another one");
    }
    if (header->seq != burial->seq) {
        return say_field(why, number, "seq", "the header says another one");
    }
    if (WIRE_HAS(burial, burial, type) && !slice_equal(header->type, burial->type)) {
        return say_field(why, number, "type", "the header says another one");
    }
    if (!is_body_of(burial, wire_event_find((const char *)header->type.data, header->type.size))) {
        return say_field(why, number, "body", "no frame of this protocol");
    }
    return ERR_ok;
}

static err
check_due_row(const struct wire_burial *burial, size_t number, struct err_text *why)
{
    if (!WIRE_HAS(burial, burial, owner)) {
        return say_field(why, number, "owner", "a call and a saga have one");
    }
    if (!WIRE_HAS(burial, burial, due_key)) {
        return say_field(why, number, "due_key", "a call and a saga have one");
    }
    return ERR_ok;
}

err
dlq_rules_check_burial(const struct wire_burial *burial, size_t number, struct wire_event_header *header, struct err_text *why)
{
    enum dlq_kind kind = dlq_kind_find(burial->kind);
    *header = (struct wire_event_header){0};
    if (kind != DLQ_EVENT && kind != DLQ_CALL && kind != DLQ_SAGA) {
        return say_field(why, number, "kind", "only an event, a call and a saga can be buried");
    }
    if (is_settled(burial) && !is_whole(burial)) {
        return ERR_ok;
    }
    return kind == DLQ_EVENT ? check_event(burial, number, header, why) : check_due_row(burial, number, why);
}

/* --- states --- */

bool
dlq_rules_may_change(enum dlq_state from, enum dlq_state to)
{
    static const bool allowed[DLQ_STATE_COUNT][DLQ_STATE_COUNT] = {
        [DLQ_WAITING] = {[DLQ_DEAD] = true, [DLQ_DONE] = true, [DLQ_DISCARDED] = true, [DLQ_STALE] = true, [DLQ_REPLAYING] = true},
        [DLQ_DEAD] = {[DLQ_WAITING] = true, [DLQ_REPLAYING] = true, [DLQ_DONE] = true, [DLQ_DISCARDED] = true, [DLQ_STALE] = true},
        [DLQ_REPLAYING] = {[DLQ_WAITING] = true, [DLQ_DEAD] = true, [DLQ_DONE] = true, [DLQ_DISCARDED] = true, [DLQ_STALE] = true},
        [DLQ_DONE] = {[DLQ_DEAD] = true, [DLQ_WAITING] = true},
        [DLQ_DISCARDED] = {[DLQ_DEAD] = true, [DLQ_WAITING] = true, [DLQ_STALE] = true, [DLQ_DONE] = true},
        [DLQ_STALE] = {[DLQ_WAITING] = true, [DLQ_REPLAYING] = true, [DLQ_DONE] = true, [DLQ_DEAD] = true, [DLQ_DISCARDED] = true},
    };
    bool are_states = (unsigned)from < DLQ_STATE_COUNT && (unsigned)to < DLQ_STATE_COUNT;
    return are_states && (from == to || allowed[from][to]);
}

/* --- value --- */

static bool
has_field(const void *values, size_t field)
{
    uint64_t has = 0;
    memcpy(&has, values, sizeof has);
    return ((has >> field) & 1U) != 0;
}

static int64_t
number_at(const void *values, const struct wire_field *field)
{
    int64_t number = 0;
    memcpy(&number, (const uint8_t *)values + field->offset, sizeof number);
    return number;
}

static void
add_units(struct dlq_value *value, int64_t units)
{
    int64_t sum = 0;
    if (units >= 0 && !__builtin_add_overflow(value->units < 0 ? 0 : value->units, units, &sum)) {
        value->units = sum < LEVEL_MAX ? sum : LEVEL_MAX;
    }
}

static void
add_values(const struct wire_body *body, const void *values, struct dlq_value *value);

static void
add_list(const struct wire_field *field, const void *values, struct dlq_value *value)
{
    struct wire_list list;
    memcpy(&list, (const uint8_t *)values + field->offset, sizeof list);
    void *element = memory_room(field->element->size);
    while (wire_list_next(&list, field->element, element)) {
        add_values(field->element, element, value);
    }
    free(element);
}

static void
add_money(const struct wire_field *field, const void *values, struct dlq_value *value)
{
    struct wire_money money;
    memcpy(&money, (const uint8_t *)values + field->offset, sizeof money);
    if (value->currency[0] == '\0') {
        dlq_copy(value->currency, sizeof value->currency, money.currency);
        value->amount = money.amount;
    }
}

/* The first of the names that counts something; of several that are 0 it is 0. */
static void
add_named_units(const struct wire_body *body, const void *values, struct dlq_value *value)
{
    int64_t found = DLQ_NONE;
    for (size_t name = 0; name < UNIT_NAME_COUNT && found <= 0; name++) {
        for (size_t i = 0; i < body->field_count; i++) {
            const struct wire_field *field = &body->fields[i];
            if (field->kind == WIRE_I64 && has_field(values, i) && strcmp(field->name, unit_names[name]) == 0) {
                found = number_at(values, field);
            }
        }
    }
    add_units(value, found);
}

static void
add_values(const struct wire_body *body, const void *values, struct dlq_value *value)
{
    add_named_units(body, values, value);
    for (size_t i = 0; i < body->field_count; i++) {
        const struct wire_field *field = &body->fields[i];
        if (!has_field(values, i)) {
            continue;
        }
        if (field->kind == WIRE_MAP && field->element == &money_body) {
            add_money(field, values, value);
        } else if (field->kind == WIRE_LIST) {
            add_list(field, values, value);
        }
    }
}

struct dlq_value
dlq_rules_value(const struct wire_body *body, struct slice frame)
{
    struct dlq_value value = {.units = DLQ_NONE, .amount = DLQ_NONE, .currency = ""};
    struct err_text ignored;
    if (body == NULL) {
        return value;
    }
    void *values = memory_room(body->size);
    if (wire_decode(body, frame, values, &ignored) == ERR_ok) {
        add_values(body, values, &value);
    }
    free(values);
    return value;
}

const struct wire_body *
dlq_rules_body(enum dlq_kind kind, struct slice type)
{
    if (kind == DLQ_EVENT) {
        enum event_type event = wire_event_find((const char *)type.data, type.size);
        return event == EVENT_COUNT ? NULL : wire_events[event].body;
    }
    if (kind == DLQ_REQUEST) {
        enum op op = wire_op_find((const char *)type.data, type.size);
        return op == OP_COUNT ? NULL : wire_ops[op].request;
    }
    return NULL;
}

bool
dlq_rules_is_secret(const struct wire_body *body)
{
    return body == &factory_callback_body;
}
