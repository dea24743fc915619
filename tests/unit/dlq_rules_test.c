/* SPDX-License-Identifier: MPL-2.0 */
/* What burials do, what they must have, how letters may change and what is at stake. */
#include "dlq/letter/dlq_rules.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

static uint8_t frames[2][2048];

/* --- what a burial does --- */

struct effect_case {
    char claim[64];
    bool is_known;
    enum dlq_state state;
    int64_t known_attempts;
    int64_t attempts;
    bool is_settled;
    bool is_whole;
    enum dlq_effect effect;
};

static struct effect_case effect_cases[] = {
    {"the first opens a letter", false, 0, 0, 7, false, true, DLQ_OPENS},
    {"the same again changes nothing", true, DLQ_DEAD, 7, 7, false, true, DLQ_NOTHING},
    {"an older copy changes nothing", true, DLQ_DEAD, 8, 7, false, true, DLQ_NOTHING},
    {"a copy after it was done changes nothing", true, DLQ_DONE, 7, 7, false, true, DLQ_NOTHING},
    {"a copy after it was discarded changes nothing", true, DLQ_DISCARDED, 7, 7, false, true, DLQ_NOTHING},
    {"one more attempt reopens a dead one", true, DLQ_DEAD, 7, 8, false, true, DLQ_REOPENS},
    {"one more attempt ends a replay", true, DLQ_REPLAYING, 7, 8, false, true, DLQ_REOPENS},
    {"one more attempt reopens what was done", true, DLQ_DONE, 7, 8, false, true, DLQ_REOPENS},
    {"settled after all", true, DLQ_DEAD, 7, 7, true, false, DLQ_SETTLES},
    {"settled while it is replayed", true, DLQ_REPLAYING, 7, 1, true, false, DLQ_SETTLES},
    {"settled twice", true, DLQ_DONE, 7, 7, true, false, DLQ_NOTHING},
    {"settled before it was known, with all of it", false, 0, 0, 7, true, true, DLQ_OPENS_DONE},
    {"settled before it was known, and only that", false, 0, 0, 1, true, false, DLQ_NOTHING},
};

static struct slice
encode(const struct wire_body *body, const void *values, size_t place)
{
    struct wire_buffer buffer = {0};
    wire_encode(body, values, &buffer);
    cr_assert(buffer.size <= sizeof frames[place]);
    memcpy(frames[place], buffer.data, buffer.size);
    struct slice frame = {frames[place], buffer.size};
    wire_buffer_fini(&buffer);
    return frame;
}

static struct slice
a_header(void)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, 1);
    WIRE_SET(&header, event_header, id, id_of_bytes("e", 1));
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, id_of_bytes("i", 1));
    WIRE_SET(&header, event_header, seq, 12);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of("donut"));
    WIRE_SET(&header, event_header, time, 1000);
    return encode(&event_header_body, &header, 0);
}

static struct slice
a_fact(int64_t quantity)
{
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_of_bytes("p", 1));
    WIRE_SET(&fact, factory_fact, product, slice_of("donut"));
    WIRE_SET(&fact, factory_fact, quantity, quantity);
    return encode(&factory_fact_body, &fact, 1);
}

static struct wire_burial
a_burial(const char *kind)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, id_of_bytes("l", 1));
    WIRE_SET(&burial, burial, kind, slice_of(kind));
    WIRE_SET(&burial, burial, destination, slice_of("stock/0"));
    WIRE_SET(&burial, burial, reason, slice_of("internal"));
    WIRE_SET(&burial, burial, error, slice_of("no"));
    WIRE_SET(&burial, burial, attempts, 7);
    WIRE_SET(&burial, burial, key, slice_of("donut"));
    return burial;
}

static struct wire_burial
an_event(void)
{
    struct wire_burial burial = a_burial("event");
    WIRE_SET(&burial, burial, source, slice_of("factory/0"));
    WIRE_SET(&burial, burial, seq, 12);
    WIRE_SET(&burial, burial, header, a_header());
    WIRE_SET(&burial, burial, body, a_fact(10));
    return burial;
}

ParameterizedTestParameters(dlq_rules, a_burial_does)
{
    return cr_make_param_array(struct effect_case, effect_cases, sizeof effect_cases / sizeof *effect_cases);
}

ParameterizedTest(struct effect_case *row, dlq_rules, a_burial_does)
{
    struct dlq_letter known = {.state = row->state, .attempts = row->known_attempts};
    struct wire_burial burial = row->is_whole ? an_event() : a_burial("event");
    burial.attempts = row->attempts;
    if (row->is_settled) {
        WIRE_SET(&burial, burial, settled, true);
    }
    cr_expect(dlq_rules_burial(row->is_known ? &known : NULL, &burial) == row->effect, "%s", row->claim);
}

/* --- what it must have --- */

enum fault {
    NO_FAULT,
    KIND_UNKNOWN,
    KIND_NOT_BURIED,
    NO_SOURCE,
    NO_SEQ,
    NO_HEADER,
    NO_BODY,
    NO_FRAMES,
    HEADER_IS_BODY,
    HEADER_IS_RUBBISH,
    OTHER_SOURCE,
    OTHER_SEQ,
    OTHER_TYPE,
    BODY_IS_RUBBISH,
    BODY_IS_MALFORMED_AND_SAID,
    BODY_LACKS_FIELDS,
    CALL_WITHOUT_OWNER,
    CALL_WITHOUT_KEY,
    CALL,
    SETTLED_ALONE
};

struct check_case {
    enum fault fault;
    err code;
    char named[32];
};

static struct check_case check_cases[] = {
    {NO_FAULT, ERR_ok, ""},
    {KIND_UNKNOWN, ERR_invalid_field, "burials[3].kind"},
    {KIND_NOT_BURIED, ERR_invalid_field, "burials[3].kind"},
    {NO_SOURCE, ERR_invalid_field, "burials[3].source"},
    {NO_SEQ, ERR_invalid_field, "burials[3].seq"},
    {NO_HEADER, ERR_invalid_field, "burials[3].header"},
    {NO_BODY, ERR_invalid_field, "burials[3].body"},
    {NO_FRAMES, ERR_ok, ""},
    {HEADER_IS_BODY, ERR_invalid_field, "burials[3].header"},
    {HEADER_IS_RUBBISH, ERR_invalid_field, "burials[3].header"},
    {OTHER_SOURCE, ERR_invalid_field, "burials[3].source"},
    {OTHER_SEQ, ERR_invalid_field, "burials[3].seq"},
    {OTHER_TYPE, ERR_invalid_field, "burials[3].type"},
    {BODY_IS_RUBBISH, ERR_invalid_field, "burials[3].body"},
    {BODY_IS_MALFORMED_AND_SAID, ERR_ok, ""},
    {BODY_LACKS_FIELDS, ERR_ok, ""},
    {CALL_WITHOUT_OWNER, ERR_invalid_field, "burials[3].owner"},
    {CALL_WITHOUT_KEY, ERR_invalid_field, "burials[3].due_key"},
    {CALL, ERR_ok, ""},
    {SETTLED_ALONE, ERR_ok, ""},
};

#define WIRE_CLEAR(pointer, body_name, field_name) ((pointer)->has &= ~(UINT64_C(1) << body_name##_BIT_##field_name))

static struct wire_burial
a_call(void)
{
    struct wire_burial burial = a_burial("call");
    WIRE_SET(&burial, burial, owner, slice_of("call"));
    WIRE_SET(&burial, burial, due_key, slice_of("k"));
    return burial;
}

static struct wire_burial
with_fault(enum fault fault)
{
    static const uint8_t rubbish[] = {0xc1, 0xff, 0x00};
    struct wire_burial burial = fault >= CALL_WITHOUT_OWNER ? a_call() : an_event();
    switch (fault) {
    case KIND_UNKNOWN:
        burial.kind = slice_of("parcel");
        break;
    case KIND_NOT_BURIED:
        burial.kind = slice_of("request");
        break;
    case NO_SOURCE:
        WIRE_CLEAR(&burial, burial, source);
        break;
    case NO_SEQ:
        WIRE_CLEAR(&burial, burial, seq);
        break;
    case NO_HEADER:
        WIRE_CLEAR(&burial, burial, header);
        break;
    case NO_BODY:
        WIRE_CLEAR(&burial, burial, body);
        break;
    case NO_FRAMES:
        WIRE_CLEAR(&burial, burial, header);
        WIRE_CLEAR(&burial, burial, body);
        break;
    case HEADER_IS_BODY:
        burial.header = burial.body;
        break;
    case HEADER_IS_RUBBISH:
        burial.header = (struct slice){rubbish, sizeof rubbish};
        break;
    case OTHER_SOURCE:
        burial.source = slice_of("factory/1");
        break;
    case OTHER_SEQ:
        burial.seq++;
        break;
    case OTHER_TYPE:
        WIRE_SET(&burial, burial, type, slice_of("factory.failed"));
        break;
    case BODY_IS_MALFORMED_AND_SAID:
        burial.reason = slice_of("malformed");
        burial.body = (struct slice){rubbish, sizeof rubbish};
        break;
    case BODY_IS_RUBBISH:
        burial.body = (struct slice){rubbish, sizeof rubbish};
        break;
    case BODY_LACKS_FIELDS:
        burial.body = slice_of("\x80");
        break;
    case CALL_WITHOUT_OWNER:
        WIRE_CLEAR(&burial, burial, owner);
        break;
    case CALL_WITHOUT_KEY:
        WIRE_CLEAR(&burial, burial, due_key);
        break;
    case SETTLED_ALONE:
        burial = a_burial("event");
        WIRE_SET(&burial, burial, settled, true);
        break;
    case NO_FAULT:
    case CALL:
        break;
    }
    return burial;
}

ParameterizedTestParameters(dlq_rules, a_burial_is_checked)
{
    return cr_make_param_array(struct check_case, check_cases, sizeof check_cases / sizeof *check_cases);
}

ParameterizedTest(struct check_case *row, dlq_rules, a_burial_is_checked)
{
    struct wire_burial burial = with_fault(row->fault);
    struct wire_event_header header;
    struct err_text why = {""};
    err code = dlq_rules_check_burial(&burial, 3, &header, &why);
    cr_expect(code == row->code, "fault %d: %s, %s", (int)row->fault, err_symbol(code), why.text);
    cr_expect(strncmp(why.text, row->named, strlen(row->named)) == 0, "fault %d: %s", (int)row->fault, why.text);
}

/* --- states --- */

Test(dlq_rules, a_state_may_stay)
{
    for (enum dlq_state state = 0; state < DLQ_STATE_COUNT; state++) {
        cr_expect(dlq_rules_may_change(state, state));
    }
}

Test(dlq_rules, what_is_done_is_not_replayed_discarded_or_stale)
{
    cr_expect(!dlq_rules_may_change(DLQ_DONE, DLQ_REPLAYING));
    cr_expect(!dlq_rules_may_change(DLQ_DONE, DLQ_DISCARDED));
    cr_expect(!dlq_rules_may_change(DLQ_DONE, DLQ_STALE));
}

Test(dlq_rules, what_was_discarded_is_not_replayed_before_it_is_restored)
{
    cr_expect(!dlq_rules_may_change(DLQ_DISCARDED, DLQ_REPLAYING));
    cr_expect(dlq_rules_may_change(DLQ_DISCARDED, DLQ_DEAD));
}

Test(dlq_rules, there_are_no_other_states)
{
    cr_expect(!dlq_rules_may_change(DLQ_STATE_COUNT, DLQ_DEAD));
    cr_expect(!dlq_rules_may_change(DLQ_DEAD, DLQ_STATE_COUNT));
}

/* --- value --- */

Test(dlq_rules, quantity_is_units)
{
    struct dlq_value value = dlq_rules_value(&factory_fact_body, a_fact(10));
    cr_expect_eq(value.units, 10);
    cr_expect_eq(value.amount, DLQ_NONE);
    cr_expect_str_eq(value.currency, "");
}

Test(dlq_rules, lines_are_summed)
{
    struct wire_stock_take take = {0};
    struct wire_list lines = {0};
    struct wire_buffer bytes = {0};
    for (int64_t quantity = 1; quantity <= 3; quantity++) {
        struct wire_stock_line line = {0};
        WIRE_SET(&line, stock_line, product, slice_of("donut"));
        WIRE_SET(&line, stock_line, quantity, quantity);
        wire_list_add(&lines, &stock_line_body, &line, &bytes);
    }
    wire_list_end(&lines, &bytes);
    WIRE_SET(&take, stock_take, lines, lines);
    cr_expect_eq(dlq_rules_value(&stock_take_body, encode(&stock_take_body, &take, 0)).units, 6);
    wire_buffer_fini(&bytes);
}

Test(dlq_rules, money_is_amount_and_currency)
{
    struct wire_sales_product product = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, 19900);
    WIRE_SET(&price, money, currency, slice_of("KRW"));
    WIRE_SET(&product, sales_product, product, slice_of("donut"));
    WIRE_SET(&product, sales_product, price, price);
    WIRE_SET(&product, sales_product, on_hand, 3);
    WIRE_SET(&product, sales_product, reserved, 0);
    WIRE_SET(&product, sales_product, available, 3);
    WIRE_SET(&product, sales_product, incoming, 0);
    WIRE_SET(&product, sales_product, version, 1);
    struct dlq_value value = dlq_rules_value(&sales_product_body, encode(&sales_product_body, &product, 0));
    cr_expect_eq(value.amount, 19900);
    cr_expect_str_eq(value.currency, "KRW");
    cr_expect_eq(value.units, DLQ_NONE);
}

Test(dlq_rules, what_does_not_decode_has_no_value)
{
    cr_expect_eq(dlq_rules_value(&factory_fact_body, slice_of("\x80")).units, DLQ_NONE);
    cr_expect_eq(dlq_rules_value(NULL, slice_of("{}")).units, DLQ_NONE);
}

Test(dlq_rules, the_message_of_a_letter_is_found_by_kind_and_type)
{
    cr_expect_eq(dlq_rules_body(DLQ_EVENT, slice_of("factory.produced")), &factory_fact_body);
    cr_expect_eq(dlq_rules_body(DLQ_REQUEST, slice_of("stock.take")), &stock_take_body);
    cr_expect_null(dlq_rules_body(DLQ_EVENT, slice_of("stock.take")));
    cr_expect_null(dlq_rules_body(DLQ_CALL, slice_of("factory.call")));
}

/* --- names --- */

Test(dlq_rules, names_are_found_again)
{
    for (enum dlq_state state = 0; state < DLQ_STATE_COUNT; state++) {
        cr_expect(dlq_state_find(slice_of(dlq_state_name(state))) == state);
    }
    for (enum dlq_kind kind = 0; kind < DLQ_KIND_COUNT; kind++) {
        cr_expect(dlq_kind_find(slice_of(dlq_kind_name(kind))) == kind);
    }
    cr_expect(dlq_state_find(slice_of("deadly")) == DLQ_STATE_COUNT);
    cr_expect(dlq_kind_find(slice_of("")) == DLQ_KIND_COUNT);
}

Test(dlq_rules, a_destination_is_an_actor_and_a_number)
{
    char actor[DLQ_TEXT_SIZE];
    int shard = -1;
    cr_expect(dlq_split("stock/12", actor, &shard));
    cr_expect_str_eq(actor, "stock");
    cr_expect_eq(shard, 12);
    static const char *const wrong[] = {"stock", "stock/", "/0", "stock/x", "stock/-1", "stock/1000", "nobody/0", "stock/0/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect(!dlq_split(wrong[i], actor, &shard), "%s", wrong[i]);
    }
}

Test(dlq_rules, a_text_is_cut_at_the_border_of_a_character)
{
    char text[4];
    dlq_copy(text, sizeof text, slice_of("ab\xe2\x82\xac"));
    cr_expect_str_eq(text, "ab");
    dlq_copy(text, sizeof text, slice_of("\xe2\x82\xac"));
    cr_expect_str_eq(text, "\xe2\x82\xac");
}
